#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The Sallyport authors
"""The numbered behaviours of the data path, each a named test against the real gateway.

Each test makes its own clients. The number in the name is that of the list in README.md; a test that
makes sense for both families runs for each. Expected packets come from the oracle.
"""

import contextlib
import os
import re
import signal
import socket
import struct
import sys
import threading
import time
import uuid

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from conformance import dns, oracle, world  # noqa: E402
from conformance.world import FOREVER, LAN, resource  # noqa: E402
from lab.peer import packets  # noqa: E402
from lab.peer.netns import netns  # noqa: E402
from lab.peer.peer import GOODBYE, Timeout  # noqa: E402
from lab.peer.report import Report, counted, counters, increments, settle, telemetry  # noqa: E402
from lab.peer.tun import Tun  # noqa: E402
from lab.peer.wire import Wire, ip_of, mac_of  # noqa: E402

NET = {4: "10.9.0.0/24", 6: "fd10:9::/64"}
HOST = {4: "10.9.0.5", 6: "fd10:9::5"}
OTHER = {4: "10.77.0.5", 6: "fd10:77::5"}  # nobody is authorized for it, except by the Internet Resource
PUBLIC = {4: "8.8.8.8", 6: "2606:4700::1111"}
QUIET_S = 0.25
LOST_S = 3  # the machine may be busy with other things; a packet that has not come by then is sent again
MARK = b"conform-"
TESTS = []


def test(number, text, families=(4, 6)):
    """Registers a test; one for both families is given the version."""

    def register(function):
        for version in families or (None,):
            name = f"{number} {text}" + (f" (IPv{version})" if len(families) > 1 else "")
            TESTS.append((name, function, version))
        return function

    return register


def udp(c, dst, dport=80, payload=None, sport=4000, src=None, **fields):
    version = packets.version(dst)
    return packets.udp(src or c.me(version), dst, sport, dport, c.w.payload() if payload is None else payload, **fields)


def tcp(c, dst, dport=80, flags=2, sport=4000, payload=None, **fields):
    version = packets.version(dst)
    return packets.tcp(c.me(version), dst, sport, dport, c.w.payload() if payload is None else payload, flags=flags, **fields)


def echo(c, dst, ident=77, payload=None, src=None, **fields):
    version = packets.version(dst)
    return packets.echo(src or c.me(version), dst, ident, 1, c.w.payload() if payload is None else payload, **fields)


def gre(c, dst):
    return packets.ip(c.me(packets.version(dst)), dst, 47, c.w.payload())


def view(packet):
    return oracle.View(packet)


class Lab(world.World):
    """World with the questions that tests ask."""

    def __init__(self):
        # The second is slower; the third answers at once, but never with what counts.
        self.nameservers = [
            dns.Nameserver("lan", "192.0.2.80", "fast"),
            dns.Nameserver("lan", "2001:db8:2::81", "slow", delay=0.3),
            dns.Nameserver("lan", "192.0.2.99", "refuses", rcode=5),
        ]
        with open("resolv.conf", "w", encoding="ascii") as f:
            f.write("# a comment\nsearch test\nnameserver 192.0.2.99\n")
            f.write("nameserver 2001:db8:2::81\nnameserver\t192.0.2.80 # fast\nnameserver x\n")
        super().__init__()
        self.lan = Wire("lan", "wire-lan")
        self.lan.keep = lambda f: MARK in f
        self.macs = None
        self.serial = 0

    def payload(self, size=24):
        self.serial += 1
        mark = MARK + struct.pack(">I", self.serial)
        return mark + bytes(max(0, size - len(mark)))

    def new(self, *resources, version=4, expires=None):
        c = self.client(*resources, version=version, expires=expires)
        c.w = self
        return c

    def sender(self):
        """MAC addresses to send a frame to the gateway's LAN port with."""
        if self.macs is None:
            router = mac_of("lan", "lan")
            with netns("lan"):
                for version, options in ((4, ""), (6, "")):
                    os.system(f"ping -c 1 -W 2 {LAN[version]} >/dev/null 2>&1 {options}")
                out = os.popen(f"ip neigh show {LAN[4]}").read().split()
            self.macs = bytes.fromhex(out[out.index("lladdr") + 1].replace(":", "")), router
        return self.macs

    def init_done(self, **fields):
        self.init(**fields)
        self.barrier(next(c for c in self.clients.values() if c.grants))

    def dns_ready(self, s):
        """Returns when the gateway has measured its nameservers, of which the fast one wins."""
        deadline = time.monotonic() + 20
        while True:
            q, r = ask_udp(s, f"ready{self.payload().hex()[-8:]}.test")
            if r == dns.answer(q, b"fast"):
                return
            assert time.monotonic() < deadline, f"not ready: {r.hex()}"
            assert r in (servfail(q), dns.answer(q, b"slow")), r.hex()
            time.sleep(0.2)

    def from_lan(self, packet):
        gateway, router = self.sender()
        kind = b"\x08\0" if packet[0] >> 4 == 4 else b"\x86\xdd"
        self.lan.send(gateway + router + kind + packet)

    # Expectations.

    def forwarded(self, c, packet, ecn=0, send=None):
        """It reaches the LAN exactly as the oracle says; returns its View there."""
        want = view(oracle.claimed(packet) if send else packet)
        mark = packet[packet.index(MARK) :][: len(MARK) + 4]
        try:
            (send or c.tunnel.send_inner)(packet)
            seen = self.lan.take(lambda p: mark in p, LOST_S)
        except TimeoutError:
            (send or c.tunnel.send_inner)(packet)
            seen = self.lan.take(lambda p: mark in p, LOST_S, what=f"forwarded packet {packet.hex()}")
        port = view(seen).sport if want.kind != "other" else None
        expected = oracle.on_lan(self.gateway, want, ecn, port)
        assert oracle.canonical(seen) == oracle.canonical(expected), f"{seen.hex()} instead of {expected.hex()}"
        return view(seen)

    def replied(self, c, seen, packet):
        """Sends an answer to the forwarded packet @packet, seen on the LAN as @seen; it must arrive."""
        payload = self.payload()
        reply = answer_to(seen, payload)
        self.from_lan(reply)
        got = c.tunnel.recv_inner(2 * LOST_S, lambda p: payload[:12] in p)
        want = oracle.translate(view(reply), dst=view(packet).src, dport=view(packet).sport)
        assert oracle.canonical(got) == oracle.canonical(want), f"{got.hex()} instead of {want.hex()}"

    def answered(self, c, packet, want, timeout=2 * LOST_S):
        c.tunnel.drain_inner()
        self.lan.clear()
        c.tunnel.send_inner(packet)
        try:
            got = c.tunnel.recv_inner(timeout)
        except Timeout:
            raise AssertionError(f"no answer to {packet.hex()}") from None
        assert got == want, f"answer {got.hex()} instead of {want.hex()}"
        self.nothing_left(packet)

    def nothing_left(self, packet):
        assert not self.lan.packets(), f"{packet.hex()} left as {self.lan.packets()[0].hex()}"

    def prohibited(self, c, *refused):
        for p in refused:
            self.answered(c, p, oracle.prohibited(view(p)))

    def unreachable(self, c, *refused):
        for p in refused:
            self.answered(c, p, oracle.unreachable(view(p)))

    def silent(self, c, *dropped, counter=None):
        c.tunnel.drain_inner()
        self.lan.clear()
        with counted({f"drop_{counter}": len(dropped)} if counter else {}):
            for p in dropped:
                c.tunnel.send_inner(p)
        time.sleep(QUIET_S)
        got = c.tunnel.drain_inner()
        assert not got, f"answer {got[0].hex()}"
        self.nothing_left(dropped[0])

    def undelivered(self, c, *dropped, counter=None):
        """Packets from the LAN that no client gets."""
        c.tunnel.drain_inner()
        with counted({f"drop_{counter}": len(dropped)} if counter else {}):
            for p in dropped:
                self.from_lan(p)
        time.sleep(QUIET_S)
        got = c.tunnel.drain_inner()
        assert not got, f"delivered {got[0].hex()}"

    def until(self, c, make, what, timeout):
        """Seconds until a packet of make() is answered with prohibited."""
        start = time.monotonic()
        while time.monotonic() < start + timeout:
            p = make()
            c.tunnel.drain_inner()
            c.tunnel.send_inner(p)
            try:
                if c.tunnel.recv_inner(0.2) == oracle.prohibited(view(p)):
                    return time.monotonic() - start
            except Timeout:
                pass
        raise AssertionError(f"{what}: not within {timeout} s")

    def goodbye(self, c, timeout):
        try:
            c.tunnel.recv_inner(timeout, lambda p: p == GOODBYE)
        except Timeout:
            raise AssertionError(f"no goodbye within {timeout} s") from None

    def is_known(self):
        return telemetry("/sallyport/clients")["clients"]


def answer_to(seen, payload, **fields):
    """The reply of a forwarded packet's destination."""
    src, dst = (str(world.ipaddress.ip_address(a)) for a in (seen.dst, seen.src))
    if seen.kind == "udp":
        return packets.udp(src, dst, seen.dport, seen.sport, payload, **fields)
    if seen.kind == "tcp":
        return packets.tcp(src, dst, seen.dport, seen.sport, payload, flags=fields.pop("flags", 0x18), **fields)
    if seen.kind == "echo":
        return packets.echo(src, dst, seen.sport, 1, payload, reply=True, **fields)
    return packets.ip(src, dst, seen.proto, payload, **fields)


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


def dns_port(w, v):
    return (w.tunnel_ip[v], 53535)


@contextlib.contextmanager
def sockets(w, v):
    """A client with the kernel's sockets: (udp socket connected to the DNS port, function that opens a TCP one)."""
    c = w.new(resource(NET[v]))
    tun = Tun(c.tunnel, "client")
    family = socket.AF_INET if v == 4 else socket.AF_INET6

    def tcp_socket():
        with netns("client"):
            s = socket.socket(family, socket.SOCK_STREAM)
        s.settimeout(8)
        s.connect(dns_port(w, v))
        return s

    with netns("client"):
        s = socket.socket(family, socket.SOCK_DGRAM)
    s.settimeout(8)
    s.connect(dns_port(w, v))
    try:
        with s:
            yield s, tcp_socket
    finally:
        tun.close()


def ask_udp(s, name):
    q = dns.query(name, ident=int.from_bytes(os.urandom(2), "big"))
    s.send(q)
    while True:
        r = s.recv(65535)
        if r[:2] == q[:2]:
            return q, r


def ask_tcp(s, *names):
    """Sends all the queries at once, then reads as many answers."""
    queries = [dns.query(name, ident=n) for n, name in enumerate(names)]
    s.sendall(b"".join(struct.pack(">H", len(q)) + q for q in queries))
    return [(q, dns.read_tcp(s)) for q in queries]


def servfail(q):
    return dns.without_records(q, dns.QR | dns.RD | dns.RA, 2)


def is_relayed(w, transport, q, r):
    """By the fastest nameserver alone, as it was asked, and its answer as it was given."""
    name = dns.asked(q)[0]
    assert w.nameservers[0].seen(name)[-1:] == [(transport, q)], "the query that the nameserver got"
    assert r == dns.answer(q, b"fast"), r.hex()
    assert not any(n.seen(name) for n in w.nameservers[1:]), "another nameserver was asked"


@test(11, "UDP query to port 53535: relayed as it is to the fastest nameserver")
def dns_udp(w, v):
    with sockets(w, v) as (s, _):
        w.dns_ready(s)
        for n in range(3):
            is_relayed(w, "udp", *ask_udp(s, f"a{n}.udp{v}.test"))
        q, r = ask_udp(s, f"wrong.udp{v}.test")
        assert r == dns.answer(q, b"fast"), "a response that answers something else"


@test(11, "an upstream that is dead: SERVFAIL after 5 s; one that refuses: at once")
def dns_dead(w, v):
    with sockets(w, v) as (s, tcp_socket):
        w.dns_ready(s)
        start = time.monotonic()
        q, r = ask_udp(s, f"dead.udp{v}.test")
        assert r == servfail(q), r.hex()
        took = time.monotonic() - start
        assert 4.9 < took < 7.5, f"{took:.2f} s"
        with tcp_socket() as t:
            start = time.monotonic()
            ((q, r),) = ask_tcp(t, f"close.tcp{v}.test")
            assert r == servfail(q) and time.monotonic() - start < 2, r.hex()
    return f"{took:.2f} s"


@test(11, "an answer over 1200 bytes: header and question with TC; over TCP whole")
def dns_big(w, v):
    with sockets(w, v) as (s, tcp_socket):
        w.dns_ready(s)
        for size in (1100, 1200, 1201, 4000):
            name = f"big{size - 60}.u{size}v{v}.test"
            whole = dns.answer(dns.query(name), b"x" * (size - 60), flags=0x0400)
            q, r = ask_udp(s, name)
            if len(whole) <= 1200:
                assert r[2:] == whole[2:], f"{len(r)} bytes instead of {len(whole)}"
            else:
                assert r == dns.without_records(q, dns.QR | dns.RD | dns.RA | dns.TC | 0x0400, 0), r.hex()
        with tcp_socket() as t:
            ((q, r),) = ask_tcp(t, f"big60000.v{v}.test")
            assert r == dns.answer(q, b"x" * 60000, flags=0x0400), f"{len(r)} bytes"


@test(11, "what is no query is not answered, and the rest goes on")
def dns_hostile(w, v):
    with sockets(w, v) as (s, tcp_socket):
        w.dns_ready(s)
        good = dns.query("x.test")
        bad = [b"", b"\0", good[:11], good[:20], dns.query("x.test", questions=0), dns.query("x.test", questions=2)]
        bad += [good[:2] + b"\x80\0" + good[4:], good[:12] + b"\xc0\x0c" + good[14:], os.urandom(1200)[:2] + bytes(1198)]
        for p in bad:
            s.send(p)
        s.settimeout(0.5)
        with contextlib.suppress(TimeoutError):
            raise AssertionError(f"answer {s.recv(2000).hex()}")
        s.settimeout(8)
        for p in bad:
            with tcp_socket() as t:
                t.sendall(struct.pack(">H", len(p)) + p)
                assert t.recv(10) == b"", "an answer to what is no query"
        is_relayed(w, "udp", *ask_udp(s, f"after.hostile{v}.test"))


@test(12, "two TCP queries on one connection: both answered, one after the other")
def dns_tcp(w, v):
    with sockets(w, v) as (s, tcp_socket):
        w.dns_ready(s)
        with tcp_socket() as t:
            for n in range(2):
                is_relayed(w, "tcp", *ask_tcp(t, f"s{n}.tcp{v}.test")[0])
            for q, r in ask_tcp(t, *(f"p{n}.tcp{v}.test" for n in range(20))):  # all in one segment
                is_relayed(w, "tcp", q, r)
            q = dns.query(f"slow.tcp{v}.test")
            for at in range(len(q) + 2):  # byte by byte
                t.sendall((struct.pack(">H", len(q)) + q)[at : at + 1])
            is_relayed(w, "tcp", q, dns.read_tcp(t))
        many = [tcp_socket() for _ in range(16)]
        with tcp_socket() as t:
            assert t.recv(1) == b"", "more connections of one client than allowed"
        is_relayed(w, "tcp", *ask_tcp(many[15], f"many.tcp{v}.test")[0])
        for t in many:
            t.close()


@test(12, "DNS after init: at the same addresses, and at new ones")
def dns_init(w, v):
    with sockets(w, v) as (s, tcp_socket):
        w.dns_ready(s)
        w.init_done()
        is_relayed(w, "udp", *ask_udp(s, f"again.init{v}.test"))
        with tcp_socket() as t:
            is_relayed(w, "tcp", *ask_tcp(t, f"again.init{v}.test")[0])
        former = w.tunnel_ip
        moved = {"ipv4": "100.64.7.2", "ipv6": "fd00:2021:1111::7:2"}
        w.init_done(interface=moved)
        w.tunnel_ip = {4: moved["ipv4"], 6: moved["ipv6"]}
        try:
            with tcp_socket() as t:
                is_relayed(w, "tcp", *ask_tcp(t, f"moved.init{v}.test")[0])
        finally:
            w.tunnel_ip = former
            w.init_done()
        with tcp_socket() as t:
            is_relayed(w, "tcp", *ask_tcp(t, f"back.init{v}.test")[0])


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


@test(27, "1000 denied packets at once: 100 answers, the rest counted (deviation)")
def limited(w, v):
    c = w.new(resource(NET[v]))
    c.tunnel.drain_inner()
    before = counters()
    for n in range(50, 1001, 50):  # the wire holds no more
        for _ in range(50):
            c.tunnel.send_inner(udp(c, OTHER[v]))
        settle(before, {"drop_policy_prohibited": n})
    time.sleep(0.5)
    grown = increments(before, counters())
    answers = len(c.tunnel.drain_inner())
    limited_ = grown.get("drop_icmp_limited", 0)
    assert grown.get("drop_policy_prohibited") == 1000 and answers + limited_ == 1000, f"{answers} answers, {grown}"
    assert answers >= 100, f"{answers} answers"
    time.sleep(0.2)
    w.prohibited(c, udp(c, OTHER[v]))


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
    c = w.new(resource(None))
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
    w.undelivered(c, answer_to(seen, w.payload()), counter="wg_no_keypair")
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
    w.prohibited(c, udp(c, "10.11.0.1"))
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
    w.silent(c, *bad, counter="l4_checksum")
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


def main():
    report = Report()
    w = Lab()
    is_ended_by_failure = "-x" in sys.argv
    patterns = [a for a in sys.argv[1:] if a != "-x"] or ["."]
    for name, function, version in TESTS:
        if report.failed and is_ended_by_failure:
            break
        if not any(re.search(p, name) for p in patterns):
            continue
        with report.group(name) as notes:
            notes += filter(None, [function(w, version)])
        for c in list(w.clients.values()):  # their tunnels stay in the gateway until they are rejected
            if c.tunnel is not None and function is not sigterm:
                for r, _ in list(c.grants.values()):
                    c.reject(r)
                c.tunnel.close()
            del w.clients[c.id]
    return report.end()


if __name__ == "__main__":
    sys.exit(main())
