# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The Sallyport authors
"""Behaviours 1-10, 13, 14 and 51-58: what a packet may be, and what becomes of it on its way."""

import os
import socket
import struct
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from conformance import oracle, world  # noqa: E402
from conformance.behaviours_lab import HOST, LOST_S, NET, OTHER, answer_to, echo, tcp, test, udp, view  # noqa: E402
from conformance.world import LAN, resource  # noqa: E402
from lab.peer import packets  # noqa: E402
from lab.peer.wire import Wire  # noqa: E402


# Parsing and sources.


@test(1, "IPv4 fragment: silence", (4,))
def fragment4(w, _):
    c = w.new(resource(NET[4]))
    w.silent(c, udp(c, HOST[4], fragment=0x2000), udp(c, HOST[4], fragment=0x0010), counter="ip_fragment")


@test(2, "IPv6 fragment dropped, atomic fragment forwarded", (6,))
def fragment6(w, _):
    c = w.new(resource(NET[6]))
    body = packets.udp_header(c.ipv6, HOST[6], 4000, 80, w.payload())
    for offset, more in ((8, False), (0, True), (8, True)):
        w.silent(c, packets.fragment6(c.ipv6, HOST[6], packets.UDP, body, offset=offset, more=more), counter="ip_fragment")
    w.forwarded(c, packets.fragment6(c.ipv6, HOST[6], packets.UDP, body))


@test(3, "UDP length that is not the payload's: silence")
def udp_length(w, v):
    c = w.new(resource(NET[v]))
    w.silent(c, *(udp(c, HOST[v], length=n) for n in (8, 31, 33)), counter="inner_malformed")


@test(4, "1280 bytes forwarded, 1281 dropped")
def sizes(w, v):
    c = w.new(resource(NET[v]))
    head = 28 if v == 4 else 48
    w.forwarded(c, udp(c, HOST[v], payload=w.payload(1280 - head)))
    w.silent(c, udp(c, HOST[v], payload=w.payload(1281 - head)), counter="inner_too_big")


@test(5, "IPv4 options forwarded intact", (4,))
def options(w, _):
    c = w.new(resource(NET[4]))
    seen = w.forwarded(c, udp(c, HOST[4], options=bytes.fromhex("9404000001010100")))
    assert seen.data[20:28] == bytes.fromhex("9404000001010100"), "options changed"


@test(6, "another client's source address: prohibited, to the sender")
def spoofed(w, v):
    a, b = w.new(resource(NET[v])), w.new(resource(NET[v]))
    w.prohibited(a, udp(a, HOST[v], src=b.me(v)))
    assert not b.tunnel.drain_inner(), "the spoofed client got something"


@test(7, "multicast: silence, even with the Internet Resource")
def multicast(w, v):
    c = w.new(resource(None))
    w.silent(c, udp(c, "224.0.0.251" if v == 4 else "ff02::fb", 5353), counter="inner_multicast")


@test(8, "another client's tunnel address with the Internet Resource: prohibited")
def hairpin(w, v):
    a, b = w.new(resource(None)), w.new(resource(NET[v]))
    w.prohibited(a, udp(a, b.me(v)), echo(a, b.me(v)))


@test(9, "padding beyond the IP length is trimmed")
def padding(w, v):
    c = w.new(resource(NET[v]))
    keep, frames = w.lan.keep, []
    w.lan.keep = lambda f: keep(f) and (frames.append(f) or True)
    for size in (20, 23, 31, 200):
        p = udp(c, HOST[v], payload=w.payload(size))
        w.forwarded(c, p + bytes(-len(p) % 16 + 16), send=c.tunnel.send_inner)
        assert len(frames[-1]) == 14 + len(p), f"a frame of {len(frames[-1])} bytes for {len(p)}"
    w.lan.keep = keep


# The gateway's own address.


@test(10, "echo to the gateway's tunnel address without a resource for it")
def gateway_echo(w, v):
    c = w.new(resource(NET[v]))
    payload = w.payload()
    c.tunnel.send_inner(echo(c, w.tunnel_ip[v], payload=payload))
    reply = packets.Packet(c.tunnel.recv_inner(2 * LOST_S, lambda p: payload in p))
    assert (reply.src, reply.dst, reply.ident) == (w.tunnel_ip[v], c.me(v), 77), vars(reply)


@test(13, "closed ports of the gateway: RST and port unreachable from the tunnel address")
def gateway_ports(w, v):
    c = w.new(resource(NET[v]))
    c.tunnel.send_inner(tcp(c, w.tunnel_ip[v], 9, payload=b""))
    reset = packets.Packet(c.tunnel.recv_inner(2 * LOST_S))
    assert reset.proto == packets.TCP and reset.l4[13] & 4 and reset.src == w.tunnel_ip[v], vars(reset)
    c.tunnel.send_inner(udp(c, w.tunnel_ip[v], 9))
    error = packets.Packet(c.tunnel.recv_inner(2 * LOST_S))
    assert (error.kind, error.code) == ((3, 3) if v == 4 else (1, 4)) and error.src == w.tunnel_ip[v], vars(error)


@test(14, "TTL 1: time exceeded from the gateway's tunnel address; TTL n arrives as n-1")
def ttl(w, v):
    c = w.new(resource(NET[v]))
    for n in (1, 0):
        p = udp(c, HOST[v], ttl=n)
        w.answered(c, p, oracle.time_exceeded(view(p), world.packed(w.tunnel_ip[v])))
    for n in (2, 64, 255):
        assert w.forwarded(c, udp(c, HOST[v], ttl=n)).ttl == n - 1


# ICMP and path MTU.


def lan_error(w, seen, kind, code, rest=bytes(4), src=None, quote=None):
    src = src or str(world.ipaddress.ip_address(seen.dst))
    return packets.icmp(src, LAN[seen.version], kind, code, rest + (seen.data if quote is None else quote))


def error_arrives(w, c, p, error):
    """Byte for byte, the quote translated back."""
    c.tunnel.drain_inner()
    w.from_lan(error)
    got = c.tunnel.recv_inner(2 * LOST_S)
    flow = oracle.Flow(c, view(p), oracle.View(error).error().sport)
    want = oracle.inbound(w.gateway, {flow.key(): flow}, error, time.time())
    assert want.what == "deliver", want
    assert oracle.canonical(got) == oracle.canonical(want.data), f"{got.hex()} instead of {want.data.hex()}"
    return packets.Packet(got)


@test(51, "port unreachable from a real host: from it, quoting the client's own packet")
def port_unreachable(w, v):
    c = w.new(resource(NET[v]))
    for p in (udp(c, HOST[v]), tcp(c, HOST[v]), echo(c, HOST[v])):
        seen = w.forwarded(c, p)
        got = error_arrives(w, c, p, lan_error(w, seen, *((3, 3) if v == 4 else (1, 4))))
        ends = got.payload[12:20] if v == 4 else got.payload[8:40]
        assert ends == packets.raw(c.me(v)) + packets.raw(HOST[v]), "quoted addresses"
        # A reporter on the way there keeps its own address.
        got = error_arrives(w, c, p, lan_error(w, seen, *((3, 3) if v == 4 else (1, 4)), src=OTHER[v]))
        assert got.src == OTHER[v], got.src


@test(52, "frag needed and packet too big keep their MTU")
def mtu_kept(w, v):
    c = w.new(resource(NET[v]))
    p = udp(c, HOST[v])
    seen = w.forwarded(c, p)
    rest = struct.pack(">I", 1300)
    got = error_arrives(w, c, p, lan_error(w, seen, *((3, 4) if v == 4 else (2, 0)), rest=rest))
    assert got.l4[4:8] == rest, "MTU"


@test(53, "host unreachable for a flow passes a TCP-only filter")
def error_bypasses(w, v):
    c = w.new(resource(NET[v], ("tcp", 80, 80)))
    p = tcp(c, HOST[v])
    seen = w.forwarded(c, p)
    for kind, code in ((3, 1), (11, 0), (3, 13)) if v == 4 else ((1, 3), (3, 0), (1, 1)):
        error_arrives(w, c, p, lan_error(w, seen, kind, code))
    error_arrives(w, c, p, lan_error(w, seen, *((3, 1) if v == 4 else (1, 3)), src=OTHER[v]))


@test(54, "ICMP error about an unknown flow: not delivered")
def error_unknown(w, v):
    c = w.new(resource(NET[v]))
    p = udp(c, HOST[v])
    seen = w.forwarded(c, p)
    kind = (3, 3) if v == 4 else (1, 4)
    foreign = packets.udp(LAN[v], HOST[v], 9999, 80, w.payload())
    l4 = 20 if v == 4 else 40
    cases = [lan_error(w, seen, *kind, quote=q) for q in (foreign, seen.data[: l4 + 3], seen.data[: l4 - 1], b"")]
    w.undelivered(c, *cases)
    w.replied(c, seen, p)


@test(55, "port unreachable from the client: silence")
def client_error(w, v):
    c = w.new(resource(NET[v]))
    quote = packets.udp(HOST[v], c.me(v), 80, 4000, w.payload())
    kind = (3, 3) if v == 4 else (1, 4)
    w.silent(c, packets.icmp(c.me(v), HOST[v], *kind, bytes(4) + quote), counter="inner_icmp_error")


@test(56, "1400 bytes from a resource: too big with MTU 1280 toward it, nothing to the client")
def too_big(w, v):
    c = w.new(resource(NET[v]))
    p = udp(c, HOST[v])
    seen = w.forwarded(c, p)
    big = answer_to(seen, w.payload(1372 if v == 4 else 1352))
    w.lan.clear()
    w.undelivered(c, big)
    got = w.lan.packets()
    want = oracle.too_big(view(big))
    assert got == [want], f"{[g.hex() for g in got]} instead of {want.hex()}"
    if v == 4:
        w.lan.clear()
        w.undelivered(c, answer_to(seen, w.payload(1372), fragment=0), counter="mtu_exceeded")
        assert not w.lan.packets(), "an error for a packet that may be fragmented"
    c.tunnel.drain_inner()
    exact = w.payload(1280 - (28 if v == 4 else 48))
    w.from_lan(answer_to(seen, exact))
    assert len(c.tunnel.recv_inner(2 * LOST_S)) == 1280


# ECN.


@test(57, "outer CE reaches an ECN-capable packet and no other")
def ecn_up(w, v):
    for outer in (4, 6):
        c = w.new(resource(NET[v]), version=outer)
        level, option = (socket.IPPROTO_IP, socket.IP_TOS) if outer == 4 else (socket.IPPROTO_IPV6, socket.IPV6_TCLASS)
        for ecn in (0, 1, 2, 3):
            c.tunnel.sock.setsockopt(level, option, ecn)
            for inner in (0, 1, 2, 3):
                tos = 0xB8 | inner
                seen = w.forwarded(c, tcp(c, HOST[v], tos=tos), ecn)
                assert oracle.ecn_of(seen) == (3 if ecn == 3 and inner else inner)


@test(58, "ECN of a LAN packet is that of the outer one, whose DSCP is 0; the inner DSCP stays")
def ecn_down(w, v):
    wan = Wire("internet", "wire-wan")
    for outer in (4, 6):
        c = w.new(resource(NET[v]), version=outer)
        p = udp(c, HOST[v])
        seen = w.forwarded(c, p)
        ours = struct.pack(">H", c.tunnel.local_address[1])
        for ecn in (0, 1, 2, 3):
            wan.clear()
            payload = w.payload(333)
            w.from_lan(answer_to(seen, payload, tos=0xB8 | ecn))
            got = view(c.tunnel.recv_inner(2 * LOST_S, lambda q: payload in q))
            tos = got.data[1] if v == 4 else struct.unpack(">H", got.data[:2])[0] >> 4 & 0xFF
            assert tos == 0xB8 | ecn, f"inner {tos:#x}"
            at = 22 if outer == 4 else 42
            q = wan.take(lambda q, at=at: q[:1] and q[0] >> 4 == outer and q[at : at + 2] == ours and len(q) > 333)
            tos = q[1] if outer == 4 else struct.unpack(">H", q[:2])[0] >> 4 & 0xFF
            assert tos == ecn, f"outer {tos:#x} instead of {ecn:#x}"
    wan.close()
