# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The Sallyport authors
"""Behaviours 15-31 and 50: filters and resources."""

import os
import struct
import sys
import time
import uuid

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from conformance import oracle  # noqa: E402
from conformance.behaviours_lab import HOST, LOST_S, NET, OTHER, PUBLIC, answer_to, echo, gre, tcp, test, udp  # noqa: E402
from conformance.world import LAN, resource  # noqa: E402
from lab.peer import packets  # noqa: E402
from lab.peer.report import counters, increments  # noqa: E402


# Filters.


@test(15, "CIDR without filters: TCP, UDP, echo and GRE leave")
def no_filters(w, v):
    c = w.new(resource(NET[v]))
    for p in (tcp(c, HOST[v]), udp(c, HOST[v]), echo(c, HOST[v]), gre(c, HOST[v])):
        w.forwarded(c, p)


@test(16, "GRE and SCTP replies come back to who spoke first (deviation)")
def other_replies(w, v):
    c = w.new(resource(NET[v]))
    d = w.new(resource(NET[v]))
    for proto in (47, 132):
        host = HOST[v] + str(proto) if v == 4 else f"fd10:9::{proto:x}"
        host = host if v == 6 else f"10.9.0.{proto}"
        p = packets.ip(c.me(v), host, proto, w.payload())
        w.replied(c, w.forwarded(c, p), p)
        w.undelivered(c, packets.ip(HOST[v], LAN[v], proto, w.payload()))  # not this one
        # The pair is taken: the second client is told so instead of getting the other's replies.
        w.unreachable(d, packets.ip(d.me(v), host, proto, w.payload()))


@test(17, "tcp 80-80: that port alone")
def one_port(w, v):
    c = w.new(resource(NET[v], ("tcp", 80, 80)))
    w.forwarded(c, tcp(c, HOST[v], 80))
    w.prohibited(c, tcp(c, HOST[v], 81), tcp(c, HOST[v], 79), udp(c, HOST[v], 80), echo(c, HOST[v]), gre(c, HOST[v]))


@test(17, "tcp 80-80 and 82-82: not what lies between")
def two_ports(w, v):
    c = w.new(resource(NET[v], ("tcp", 80, 80), ("tcp", 82, 82), ("udp", 80, 81), ("udp", 82, 83)))
    for port in (80, 82):
        w.forwarded(c, tcp(c, HOST[v], port))
    w.prohibited(c, *(tcp(c, HOST[v], port) for port in (79, 81, 83)))
    for port in (80, 81, 82, 83):
        w.forwarded(c, udp(c, HOST[v], port))
    w.prohibited(c, udp(c, HOST[v], 79), udp(c, HOST[v], 84))


@test(18, "udp without ports: all of them")
def all_ports(w, v):
    c = w.new(resource("10.1.0.0/24"))
    r = resource(NET[v], ("udp", 0, 65535))
    ref, payload = str(uuid.uuid4()), None
    payload = c.payload(r, None, ref)
    payload["resource"]["filters"] = [{"protocol": "udp"}]
    w.portal.push("create_authorization", payload)
    w.portal.expect("authorization_created", 5, lambda p: p["ref"] == ref)
    for port in (1, 53, 40000, 65535):
        w.forwarded(c, udp(c, HOST[v], port))
    w.prohibited(c, tcp(c, HOST[v], 53))


@test(19, "icmp: echo and other types leave; TCP prohibited")
def icmp_filter(w, v):
    c = w.new(resource(NET[v], ("icmp", 0, 0)))
    w.forwarded(c, echo(c, HOST[v]))
    w.forwarded(c, packets.icmp(c.me(v), HOST[v], 13 if v == 4 else 139, 0, bytes(4) + w.payload()))
    w.prohibited(c, tcp(c, HOST[v]), udp(c, HOST[v]))


@test(19, "echo with a code is no echo: it leaves as other ICMP does, and nothing comes back")
def echo_with_code(w, v):
    c = w.new(resource(NET[v], ("icmp", 0, 0)))
    request, reply = (8, 0) if v == 4 else (128, 129)
    rest = struct.pack(">HH", 99, 1)
    w.forwarded(c, packets.icmp(c.me(v), HOST[v], request, 1, rest + w.payload()))
    w.undelivered(c, *(packets.icmp(HOST[v], LAN[v], reply, code, rest + w.payload()) for code in (0, 1)))


@test(20, "two resources on one network: the ports of both")
def union(w, v):
    c = w.new(resource(NET[v], ("tcp", 22, 22)), resource(NET[v], ("tcp", 443, 443)))
    w.forwarded(c, tcp(c, HOST[v], 22))
    w.forwarded(c, tcp(c, HOST[v], 443))
    w.prohibited(c, tcp(c, HOST[v], 80))


@test(21, "a narrow network with a filter inside a wide one without: allowed")
def enclosed(w, v):
    c = w.new(resource(NET[v], ("tcp", 22, 22)), resource("10.9.0.0/16" if v == 4 else "fd10:9::/48"))
    w.forwarded(c, tcp(c, HOST[v], 80))


@test(22, "removing one of two overlapping resources: its own ports alone")
def overlap_removed(w, v):
    a, b = resource(NET[v], ("tcp", 22, 80)), resource(NET[v], ("tcp", 80, 443))
    c = w.new(a, b)
    for port in (22, 80, 443):
        w.forwarded(c, tcp(c, HOST[v], port))
    c.reject(a)
    w.barrier(c)
    w.prohibited(c, tcp(c, HOST[v], 22))
    for port in (80, 443):
        w.forwarded(c, tcp(c, HOST[v], port))


@test(23, "a reply whose port the filter no longer has: dropped, nothing to the resource")
def reply_filtered(w, v):
    r = resource(NET[v], ("udp", 80, 90))
    c = w.new(r)
    p = udp(c, HOST[v], 85)
    seen = w.forwarded(c, p)
    w.replied(c, seen, p)
    w.update(oracle.Resource(r.id, "cidr", NET[v], [("udp", 80, 80)]))
    w.barrier(c)
    w.lan.clear()
    w.undelivered(c, answer_to(seen, w.payload()), counter="policy_reply")
    assert not w.lan.packets(), "the resource got something"


@test(24, "resource_updated narrows the filters: an established flow is blocked both ways at once")
def narrowed(w, v):
    r = resource(NET[v], ("tcp", 80, 443))
    c = w.new(r, resource("10.1.0.0/24"))
    p = tcp(c, HOST[v], 443)
    seen = w.forwarded(c, p)
    w.replied(c, seen, p)
    w.forwarded(c, tcp(c, HOST[v], 443, flags=0x10))
    w.update(oracle.Resource(r.id, "cidr", NET[v], [("tcp", 80, 80)]))
    w.barrier(c)
    w.prohibited(c, tcp(c, HOST[v], 443, flags=0x10))
    w.undelivered(c, answer_to(seen, w.payload()), counter="policy_reply")
    w.forwarded(c, tcp(c, HOST[v], 80))


@test(25, "resource_updated with another network: the old one stays")
def updated_network(w, v):
    r = resource(NET[v])
    c = w.new(r)
    elsewhere = "10.77.0.0/24" if v == 4 else "fd10:77::/64"
    w.update(oracle.Resource(r.id, "cidr", elsewhere, [("tcp", 80, 80)]))
    w.barrier(c)
    w.forwarded(c, tcp(c, HOST[v], 80))
    w.prohibited(c, udp(c, HOST[v], 80), tcp(c, OTHER[v], 80))


@test(26, "prohibited: type, code, source, TTL 20, quote")
def prohibited_bytes(w, v):
    c = w.new(resource(NET[v]))
    for size in (24, 300, 1200):
        p = udp(c, OTHER[v], payload=w.payload(size))
        c.tunnel.drain_inner()
        c.tunnel.send_inner(p)
        got = packets.Packet(c.tunnel.recv_inner(2 * LOST_S))
        assert (got.kind, got.code) == ((3, 13) if v == 4 else (1, 1)) and got.ttl == 20, vars(got)
        assert (got.src, got.dst) == (OTHER[v], c.me(v)) and got.payload == (p[:28] if v == 4 else p[:1232])


@test(27, "1000 denied packets at once: 100 answers and 1000 a second, the rest counted (deviation)")
def limited(w, v):
    c = w.new(resource(NET[v]))
    time.sleep(0.2)
    c.tunnel.drain_inner()
    before, start = counters(), time.monotonic()
    for n in range(50, 1001, 50):  # the wire holds no more than some
        for _ in range(50):
            c.tunnel.send_inner(udp(c, OTHER[v]))
        while increments(before, counters()).get("drop_policy_prohibited", 0) < n:
            assert time.monotonic() < start + 30, f"{n} packets sent, {increments(before, counters())}"
            time.sleep(0.001)
    took = time.monotonic() - start
    time.sleep(0.5)
    grown = increments(before, counters())
    answers = len(c.tunnel.drain_inner())
    limited_ = grown.get("drop_icmp_limited", 0)
    assert grown.get("drop_policy_prohibited") == 1000 and answers + limited_ == 1000, f"{answers} answers, {grown}"
    assert 100 <= answers <= 101 + 1000 * took, f"{answers} answers in {took:.3f} s"
    w.prohibited(c, udp(c, OTHER[v]))
    return f"{answers} answers in {took:.2f} s"


# The Internet Resource.


@test(28, "Internet Resource: any protocol to the Internet")
def internet(w, v):
    c = w.new(resource(None))
    for p in (tcp(c, PUBLIC[v], 853), udp(c, PUBLIC[v], 53), echo(c, PUBLIC[v]), gre(c, PUBLIC[v])):
        seen = w.forwarded(c, p)
    w.replied(c, seen, p)


@test(29, "Internet Resource: blocked ranges are unreachable")
def blocked(w, v):
    c = w.new(resource(None))
    four = ("10.0.0.1", "172.16.0.1", "192.168.0.1", "169.254.169.254", "240.0.0.1", "127.0.0.1", "255.255.255.255")
    six = ("fd12::1", "fe80::1", "::ffff:1.2.3.4", "::1")
    for dst in four if v == 4 else six:
        w.unreachable(c, udp(c, dst, 53), tcp(c, dst, 80))
    w.prohibited(c, udp(c, "100.64.200.1" if v == 4 else "fd00:2021:1111::1f:1"))


@test(30, "Internet Resource: a proxy address without a record is prohibited")
def proxy(w, v):
    # Nor does a CIDR that covers them count beside the Internet Resource.
    for others in ((), (resource("100.96.0.0/11" if v == 4 else "fd00:2021:1111:8000::/107"),)):
        c = w.new(resource(None), *others)
        w.prohibited(c, udp(c, "100.96.0.1" if v == 4 else "fd00:2021:1111:8000::1"))


@test(31, "Internet Resource and a private CIDR: still unreachable")
def internet_and_cidr(w, v):
    r = resource(None)
    c = w.new(resource(NET[v]), r)
    w.unreachable(c, udp(c, HOST[v]))
    c.reject(r)
    w.barrier(c)
    w.forwarded(c, udp(c, HOST[v]))


@test(50, "SCTP to a proxy address without a DNS resource: prohibited (its silence comes with DNS resources)")
def proxy_sctp(w, v):
    c = w.new(resource(NET[v]))
    w.prohibited(c, packets.ip(c.me(v), "100.96.0.1" if v == 4 else "fd00:2021:1111:8000::1", 132, w.payload()))
