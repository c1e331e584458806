# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The Sallyport authors
"""Behaviours 74-77, and those of the specification's 1.3 and 8.2: what the kernel does for the official gateway."""

import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from conformance import oracle, world  # noqa: E402
from conformance.behaviours_lab import HOST, LOST_S, NET, OTHER, answer_to, echo, tcp, test, udp, view  # noqa: E402
from conformance.world import LAN, resource  # noqa: E402
from lab.peer import packets  # noqa: E402
from lab.peer.report import telemetry  # noqa: E402


# The kernel's part.


@test(74, "two clients with one source port to one server: different NAT ports, both work")
def same_port(w, v):
    a, b = w.new(resource(NET[v])), w.new(resource(NET[v]))
    for make in (udp, tcp):
        p, q = make(a, HOST[v], sport=6000), make(b, HOST[v], sport=6000)
        x, y = w.forwarded(a, p), w.forwarded(b, q)
        assert x.sport != y.sport, "one port for two"
        w.replied(a, x, p)
        w.replied(b, y, q)
    p, q = echo(a, HOST[v], 6000), echo(b, HOST[v], 6000)
    x, y = w.forwarded(a, p), w.forwarded(b, q)
    assert x.sport != y.sport, "one identifier for two"
    w.replied(a, x, p)
    w.replied(b, y, q)


@test(75, "a flow keeps its NAT port; NAT66 to the LAN address; UDP without checksum stays so")
def nat(w, v):
    c = w.new(resource(NET[v]))
    # Its own is kept only where the reply lands on the right worker (unit test flow/share).
    ports = {w.forwarded(c, udp(c, HOST[v], sport=7000)).sport for _ in range(5)}
    assert len(ports) == 1, f"ports {ports}"
    p = udp(c, HOST[v])
    at = 26 if v == 4 else 46
    seen = w.forwarded(c, p[:at] + b"\0\0" + p[at + 2 :])
    assert seen.data[at : at + 2] == b"\0\0" and seen.src == world.packed(LAN[v])
    payload = w.payload()
    reply = answer_to(seen, payload)
    w.from_lan(reply[:at] + b"\0\0" + reply[at + 2 :])
    got = c.tunnel.recv_inner(2 * LOST_S, lambda q: payload in q)
    assert got[at : at + 2] == b"\0\0"


@test(76, "bad L4 checksums never leave")
def bad_checksum(w, v):
    c = w.new(resource(NET[v]))
    l4 = 20 if v == 4 else 40
    cases = [(udp(c, HOST[v]), 6), (tcp(c, HOST[v]), 16), (echo(c, HOST[v]), 2)]
    bad = [p[: l4 + at] + bytes([p[l4 + at] ^ 0x55]) + p[l4 + at + 1 :] for p, at in cases]
    before = telemetry("/sallyport/clients")["flows"]
    w.silent(c, *bad, counter="l4_checksum")
    assert telemetry("/sallyport/clients")["flows"] <= before, "a dropped packet holds a NAT port"
    if v == 4:
        p = udp(c, HOST[v])
        w.silent(c, p[:10] + bytes([p[10] ^ 1]) + p[11:], counter="ip_checksum")


@test(77, "a next hop that does not answer: host unreachable from the address that was sent to")
def no_neighbour(w, v):
    c = w.new(resource("192.0.2.0/24" if v == 4 else "2001:db8:2::/64"))
    for host in ("192.0.2.201", "192.0.2.202") if v == 4 else ("2001:db8:2::201", "2001:db8:2::202"):
        p, q = udp(c, host), udp(c, host)
        w.answered(c, p, oracle.host_unreachable(view(p)), timeout=10)
        # From now on it is known.
        start = time.monotonic()
        w.answered(c, q, oracle.host_unreachable(view(q)), timeout=5)
        assert time.monotonic() - start < 2, "waited again"


@test("8.2", "the gateway's own LAN address, if authorized: the host answers, filters hold")
def own_address(w, v):
    c = w.new(resource(LAN[v] + ("/32" if v == 4 else "/128"), ("icmp", 0, 0), ("udp", 9, 9)))
    payload = w.payload()
    c.tunnel.send_inner(echo(c, LAN[v], payload=payload))
    reply = packets.Packet(c.tunnel.recv_inner(2 * LOST_S, lambda p: payload in p))
    assert (reply.src, reply.dst, reply.ident) == (LAN[v], c.me(v), 77), vars(reply)
    c.tunnel.send_inner(udp(c, LAN[v], 9))
    error = packets.Packet(c.tunnel.recv_inner(2 * LOST_S))
    assert (error.kind, error.code, error.src) == ((3, 3, LAN[v]) if v == 4 else (1, 4, LAN[v])), vars(error)
    w.prohibited(c, tcp(c, LAN[v], 80))


@test("1.3", "LAN packets with a tunnel source or without a flow are dropped")
def unsolicited(w, v):
    c = w.new(resource(NET[v]))
    p = udp(c, HOST[v])
    seen = w.forwarded(c, p)
    inside = packets.udp(c.me(v), LAN[v], seen.dport, seen.sport, w.payload())
    w.undelivered(c, inside, counter="rx_spoofed")
    stranger = packets.udp(OTHER[v], LAN[v], seen.dport, seen.sport, w.payload())
    other_port = packets.udp(HOST[v], LAN[v], seen.dport + 1, seen.sport, w.payload())
    direct = packets.udp(HOST[v], c.me(v), seen.dport, 4000, w.payload())
    w.undelivered(c, stranger, other_port, direct)
    w.replied(c, seen, p)
