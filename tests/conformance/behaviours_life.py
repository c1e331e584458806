# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The Sallyport authors
"""Behaviours 59-70: the life of an authorization."""

import os
import signal
import sys
import threading
import time
import uuid

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from conformance import oracle, world  # noqa: E402
from conformance.behaviours_lab import HOST, LOST_S, NET, OTHER, answer_to, echo, tcp, test, udp  # noqa: E402
from conformance.world import FOREVER, resource  # noqa: E402
from lab.peer import packets  # noqa: E402
from lab.peer.report import counters, increments  # noqa: E402


# Life of an authorization.


@test(59, "expires_at: traffic stops on time, then goodbye", ())
def expiry(w, _):
    r = resource(NET[4])
    c = w.new(r)
    w.forwarded(c, udp(c, HOST[4]))
    at = int(time.time()) + 3
    c.authorize(r, at)
    w.forwarded(c, udp(c, HOST[4]))
    while time.time() < at + 0.05:
        time.sleep(0.01)
    w.lan.clear()
    c.tunnel.send_inner(udp(c, HOST[4]))
    w.goodbye(c, LOST_S)
    assert not w.lan.packets(), "forwarded after its expiry"
    c.grants.clear()


@test(59, "expiry of one of two: prohibited from that moment, in an established flow and back")
def expiry_of_one(w, v):
    r = resource(NET[v])
    c = w.new(resource("10.1.0.0/24"), r)
    p = udp(c, HOST[v])
    seen = w.forwarded(c, p)
    w.replied(c, seen, p)
    at = int(time.time()) + 2
    c.authorize(r, at)
    time.sleep(max(0, at + 0.02 - time.time()))
    w.prohibited(c, udp(c, HOST[v]))
    w.undelivered(c, answer_to(seen, w.payload()), counter="policy_reply")
    del c.grants[r.id]


def next_packets(c, v):
    """What comes next in flows of each kind; the first time, what begins them."""
    return [tcp(c, HOST[v], 443, flags=0x18), udp(c, HOST[v], 443), echo(c, HOST[v])]


def flows(w, c, v):
    """Established ones over TCP, UDP and ICMP: what was seen of them on the LAN."""
    out = []
    for p in next_packets(c, v):
        seen = w.forwarded(c, p)
        w.replied(c, seen, p)
        out.append(seen)
    return out


def is_cut_off(w, c, v, established):
    """The very next packet of each flow is prohibited, and no reply gets in, before and after it."""
    w.undelivered(c, *(answer_to(seen, w.payload()) for seen in established), counter="policy_reply")
    w.prohibited(c, *next_packets(c, v))
    w.undelivered(c, *(answer_to(seen, w.payload()) for seen in established), counter="policy_reply")


@test(59, "expired: the next packet of established TCP, UDP and ICMP flows is prohibited, no reply passes")
def expired_flows(w, v):
    r = resource(NET[v])
    c = w.new(resource("10.1.0.0/24"), r)
    established = flows(w, c, v)
    at = int(time.time()) + 3
    c.authorize(r, at)
    while time.time() < at - 1:  # in force to the end; not before a busy machine could be late
        for p in next_packets(c, v):
            w.forwarded(c, p)
    time.sleep(max(0, at + 0.01 - time.time()))
    is_cut_off(w, c, v, established)
    del c.grants[r.id]


@test(62, "revoked: the next packet of established TCP, UDP and ICMP flows is prohibited, no reply passes")
def revoked_flows(w, v):
    r = resource(NET[v])
    c = w.new(resource("10.1.0.0/24"), r)
    established = flows(w, c, v)
    c.reject(r)
    w.barrier(c)
    is_cut_off(w, c, v, established)
    # Authorized again, the flows go on where they were.
    c.authorize(r)
    for seen, p in zip(established, next_packets(c, v)):
        assert w.forwarded(c, p).sport == seen.sport, "another NAT port"
        w.replied(c, seen, p)


@test(24, "resource_updated: for every client that has the resource, and no other")
def updated_for_all(w, v):
    r, other = resource(NET[v]), resource(NET[v])
    clients = [w.new(resource("10.1.0.0/24"), r) for _ in range(3)]
    bystander = w.new(other)
    established = [flows(w, c, v) for c in clients]
    w.update(oracle.Resource(r.id, "cidr", NET[v], [("tcp", 80, 80)]))
    w.barrier(clients[-1])
    for c, seen in zip(clients, established):
        is_cut_off(w, c, v, seen)
        w.forwarded(c, tcp(c, HOST[v], 80))
    flows(w, bystander, v)
    w.update(oracle.Resource(r.id, "cidr", NET[v], []))  # and back
    w.barrier(clients[-1])
    for c in clients:
        flows(w, c, v)


@test(60, "repeating an authorization replaces its expiry: later and earlier", ())
def repeat(w, _):
    later, earlier, keep = resource(NET[4]), resource("10.10.0.0/24"), resource("10.1.0.0/24")
    c = w.new(keep)
    now = int(time.time())
    c.authorize(later, now + 2)
    c.authorize(earlier, now + 60)
    c.authorize(later, now + 60)
    c.authorize(earlier, now + 3)
    time.sleep(max(0, now + 3.05 - time.time()))
    w.forwarded(c, udp(c, HOST[4]))
    w.prohibited(c, udp(c, "10.10.0.1"))
    del c.grants[earlier.id]


@test(60, "access_authorization_expiry_updated is honoured (deviation)", ())
def expiry_updated(w, _):
    r = resource(NET[4])
    c = w.new(resource("10.1.0.0/24"))
    now = int(time.time())
    c.authorize(r, now + 60)
    w.portal.push("access_authorization_expiry_updated", {"client_id": c.id, "resource_id": r.id, "expires_at": now + 3})
    w.barrier(c)
    w.forwarded(c, udp(c, HOST[4]))
    time.sleep(max(0, now + 3.05 - time.time()))
    w.prohibited(c, udp(c, HOST[4]))
    del c.grants[r.id]


@test(60, "repeating with other filters and another network: filters count, network does not", ())
def repeat_filters(w, _):
    r = resource(NET[4], ("tcp", 80, 80))
    c = w.new(r)
    c.authorize(oracle.Resource(r.id, "cidr", "10.77.0.0/24", [("udp", 53, 53)]))
    w.forwarded(c, udp(c, HOST[4], 53))
    w.prohibited(c, tcp(c, HOST[4], 80), udp(c, OTHER[4], 53))


@test(61, "expires_at in the past: confirmed, then gone", ())
def already_expired(w, _):
    c = w.new(resource("10.1.0.0/24"))
    r = resource(NET[4])
    c.authorize(r, int(time.time()) - 10)
    w.prohibited(c, udp(c, HOST[4]))
    del c.grants[r.id]
    d = w.new()
    before = w.is_known()
    d.authorize(resource(NET[4]), 5)
    d.grants.clear()
    world.wait_until(lambda: w.is_known() <= before, 2, "the client with nothing left")


@test(62, "reject_access for one of two: prohibited at once; for the last: goodbye")
def reject(w, v):
    a, b = resource(NET[v]), resource("10.10.0.0/24")
    c = w.new(a, b)
    p = tcp(c, HOST[v])
    seen = w.forwarded(c, p)
    w.replied(c, seen, p)
    c.reject(a)
    w.barrier(c)
    w.prohibited(c, tcp(c, HOST[v], flags=0x10))
    w.undelivered(c, answer_to(seen, w.payload()), counter="policy_reply")
    w.forwarded(c, udp(c, "10.10.0.1"))
    c.reject(a)  # again: nothing
    before = w.is_known()
    c.reject(b)
    w.goodbye(c, LOST_S)
    world.wait_until(lambda: w.is_known() == before - 1, 2, "the client's end")


@test(64, "the same credentials and keys again: nothing is interrupted", ())
def same_again(w, _):
    r = resource(NET[4])
    c = w.new(r)
    p = udp(c, HOST[4])
    seen = w.forwarded(c, p)
    session, before = c.tunnel.session, counters()
    for _ in range(5):
        c.authorize(r)
        w.forwarded(c, udp(c, HOST[4]))
        w.replied(c, seen, p)
    assert c.tunnel.session is session and not increments(before, counters()).get("connections_opened"), "a new connection"


@test(64, "another client key: the connection is replaced, other authorizations stay", ())
def other_key(w, _):
    a, b = resource(NET[4]), resource("10.10.0.0/24")
    c = w.new(a)
    old = c.tunnel
    c.new_keys()
    c.lines.clear()
    c.connect(b)
    w.forwarded(c, udp(c, HOST[4]))
    w.forwarded(c, udp(c, "10.10.0.1"))
    old.close()


@test(65, "the same client with other tunnel addresses: the old authorizations are gone", ())
def other_addresses(w, _):
    a, b = resource(NET[4]), resource("10.10.0.0/24")
    c = w.new(a)
    former = c.ipv4
    w.number += 1
    c.ipv4, c.ipv6 = f"100.64.1.{w.number}", f"fd00:2021:1111::1:{w.number:x}"
    oracle.Client.__init__(c, c.ipv4, c.ipv6)
    c.new_credentials()
    c.lines.clear()
    c.connect(b)
    w.forwarded(c, udp(c, "10.10.0.1"))
    w.prohibited(c, udp(c, HOST[4]), udp(c, "10.10.0.1", src=former))


@test(66, "connection lost without goodbye: LAN packets dropped, and a new one finds the authorizations", ())
def connection_lost(w, _):
    a, b = resource(NET[4]), resource("10.10.0.0/24")
    c = w.new(a)
    seen = w.forwarded(c, udp(c, HOST[4]))
    known = w.is_known()
    c.tunnel.close()

    def is_noticed():
        w.from_lan(answer_to(seen, w.payload()))  # what is sent and never answered
        time.sleep(0.5)
        with open("gateway.log", encoding="utf-8") as f:
            return f"connection lost client={c.id}" in f.read()

    start = time.monotonic()
    world.wait_until(is_noticed, 120, "the connection's end")
    noticed = time.monotonic() - start
    assert w.is_known() == known, "the client is forgotten"
    before = counters()

    def is_dropped():
        w.from_lan(answer_to(seen, w.payload()))
        time.sleep(0.1)
        return increments(before, counters()).get("drop_wg_no_keypair")

    world.wait_until(is_dropped, LOST_S, "a drop for want of keys")
    c.new_credentials()
    c.lines.clear()
    c.connect(b)
    w.forwarded(c, udp(c, "10.10.0.1"))
    p = udp(c, HOST[4])
    w.replied(c, w.forwarded(c, p), p)
    return f"noticed after {noticed:.0f} s"


@test(66, "goodbye of the client: gone without an answer, its LAN packets dropped", ())
def client_goodbye(w, _):
    c = w.new(resource(NET[4]))
    seen = w.forwarded(c, udp(c, HOST[4]))
    before = w.is_known()
    c.tunnel.drain_inner()
    c.tunnel.goodbye()
    world.wait_until(lambda: w.is_known() == before - 1, 2, "the client's end")
    w.undelivered(c, answer_to(seen, w.payload()))
    w.silent(c, udp(c, HOST[4]), counter="wg_unknown_index")
    c.grants.clear()


@test(67, "init: what it omits is revoked, unknown pairs mean nothing, listed ones get its expiry", ())
def init(w, _):
    a, b, gone = resource(NET[4]), resource("10.10.0.0/24"), resource("10.11.0.0/24")
    c, d = w.new(a, b, gone), w.new(a)
    seen = w.forwarded(c, udp(c, "10.11.0.1"))
    del c.grants[gone.id]
    at = int(time.time()) + 6
    listed = [p for p in w.held() if p["client_id"] != d.id]
    for pair in listed:
        if pair["resource_id"] == b.id:
            pair["expires_at"] = at
    listed.append({"client_id": str(uuid.uuid4()), "resource_id": a.id, "expires_at": FOREVER})
    listed.append({"client_id": c.id, "resource_id": str(uuid.uuid4()), "expires_at": FOREVER})
    w.init(listed)
    w.goodbye(d, LOST_S)
    d.grants.clear()
    w.forwarded(c, udp(c, HOST[4]))
    w.prohibited(c, udp(c, "10.11.0.1"))
    w.undelivered(c, answer_to(seen, w.payload()), counter="policy_reply")
    w.forwarded(c, udp(c, "10.10.0.1"))
    time.sleep(max(0, at + 0.05 - time.time()))
    w.prohibited(c, udp(c, "10.10.0.1"))
    del c.grants[b.id]


@test(67, "init with 200,000 authorizations: applied, and no packet is lost meanwhile", ())
def big_init(w, _):
    a, gone = resource(NET[4]), resource("10.11.0.0/24")
    c = w.new(a, gone)
    w.forwarded(c, udp(c, HOST[4]))
    w.forwarded(c, udp(c, "10.11.0.1"))
    del c.grants[gone.id]
    clients = [str(uuid.uuid4()) for _ in range(10000)]
    listed = [{"client_id": x, "resource_id": str(uuid.uuid4()), "expires_at": FOREVER} for x in clients for _ in range(20)]
    done = threading.Event()

    def push():
        w.init(listed + w.held())
        w.barrier(c)
        done.set()

    w.lan.clear()
    thread = threading.Thread(target=push)
    thread.start()
    n = 0
    while not done.is_set() or n < 100:
        c.tunnel.send_inner(udp(c, HOST[4]))
        n += 1
        time.sleep(0.005)
        assert n < 20000, "the list was not applied"
    thread.join()
    world.wait_until(lambda: len(w.lan.packets()) >= n, LOST_S, f"all of {n} packets on the LAN")
    # The list is applied in slices, so that what came with it may be confirmed first.
    w.until(c, lambda: udp(c, "10.11.0.1"), "the revocation", 30)
    return f"{n} packets forwarded meanwhile"


@test(68, "portal away: traffic goes on until the expiry; its return reconciles", ())
def portal_away(w, _):
    a, b, gone = resource(NET[4]), resource("10.10.0.0/24"), resource("10.11.0.0/24")
    c = w.new(a, gone)
    now = int(time.time()) + 2
    c.authorize(b, now + 4)
    joins = w.portal.joins
    w.portal.authorizations = [p for p in w.held() if p["resource_id"] != gone.id]
    w.portal.refuse_with = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"
    w.portal.connection.drop()
    time.sleep(0.5)
    for host in (HOST[4], "10.10.0.1", "10.11.0.1"):
        w.forwarded(c, udp(c, host))
    time.sleep(max(0, now + 4.05 - time.time()))
    w.prohibited(c, udp(c, "10.10.0.1"))
    del c.grants[b.id]
    w.forwarded(c, udp(c, HOST[4]))
    w.portal.refuse_with = None
    w.portal.wait_joined(joins, 40)
    del c.grants[gone.id]
    w.barrier(c)
    w.forwarded(c, udp(c, HOST[4]))
    w.prohibited(c, udp(c, "10.11.0.1"))


@test(70, "unknown p2p events and garbage are ignored", ())
def p2p(w, _):
    c = w.new(resource(NET[4]))
    for kind in (0, 1, 3, 77, 255):
        body = bytes([kind]) + bytes(7) + b"{garbage"
        c.tunnel.send_inner(packets.ip6("::", "::", 255, body))
    c.tunnel.send_inner(packets.ip6("::", "::", 255, bytes(8)))
    short = packets.ip6("::", "::", 255, bytes(7))
    w.prohibited(c, short)
    w.forwarded(c, udp(c, HOST[4]))


@test(69, "SIGTERM: goodbye to every client within a second", ())
def sigterm(w, _):
    """The last one: the gateway is gone afterwards."""
    everyone = [w.new(resource(NET[4])) for _ in range(3)]
    for c in everyone:
        w.forwarded(c, udp(c, HOST[4]))  # confirms the keys: before, nothing could be sent on them
    start = time.monotonic()
    os.kill(world.gateway_pid(), signal.SIGTERM)
    for c in everyone:
        w.goodbye(c, LOST_S)
    assert time.monotonic() - start < LOST_S
