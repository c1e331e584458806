# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The Sallyport authors
"""Behaviours 11 and 12: DNS on the gateway's own address."""

import contextlib
import os
import socket
import struct
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from conformance import dns  # noqa: E402
from conformance.behaviours_lab import NET, test  # noqa: E402
from conformance.world import resource  # noqa: E402
from lab.peer.netns import netns  # noqa: E402
from lab.peer.tun import Tun  # noqa: E402


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


def dns_ready(w, s):
    """Returns when the gateway has measured its nameservers, of which the fast one wins."""
    deadline = time.monotonic() + 20
    while True:
        q, r = ask_udp(s, f"ready{w.payload().hex()[-8:]}.test")
        if r == dns.answer(q, b"fast"):
            return
        assert time.monotonic() < deadline, f"not ready: {r.hex()}"
        assert r in (servfail(q), dns.answer(q, b"slow")), r.hex()
        time.sleep(0.2)


def is_relayed(w, transport, q, r):
    """By the fastest nameserver alone, as it was asked, and its answer as it was given."""
    name = dns.asked(q)[0]
    assert w.nameservers[0].seen(name)[-1:] == [(transport, q)], "the query that the nameserver got"
    assert r == dns.answer(q, b"fast"), r.hex()
    assert not any(n.seen(name) for n in w.nameservers[1:]), "another nameserver was asked"


@test(11, "UDP query to port 53535: relayed as it is to the fastest nameserver")
def dns_udp(w, v):
    with sockets(w, v) as (s, _):
        dns_ready(w, s)
        for n in range(3):
            is_relayed(w, "udp", *ask_udp(s, f"a{n}.udp{v}.test"))
        q, r = ask_udp(s, f"wrong.udp{v}.test")
        assert r == dns.answer(q, b"fast"), "a response that answers something else"


@test(11, "an upstream that is dead: SERVFAIL after 5 s; one that refuses: at once")
def dns_dead(w, v):
    with sockets(w, v) as (s, tcp_socket):
        dns_ready(w, s)
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
        dns_ready(w, s)
        for size in (1100, 1200, 1201, 4000):
            # The text that makes an answer of just this size.
            names = ((f"big{n}.u{size}v{v}.test", n) for n in range(size))
            answers = ((name, dns.answer(dns.query(name), b"x" * n, flags=0x0400)) for name, n in names)
            name, whole = next((name, whole) for name, whole in answers if len(whole) == size)
            q, r = ask_udp(s, name)
            if size <= 1200:
                assert r[2:] == whole[2:], f"{len(r)} bytes instead of {size}"
            else:
                assert r == dns.without_records(q, dns.QR | dns.RD | dns.RA | dns.TC | 0x0400, 0), r.hex()
        with tcp_socket() as t:
            ((q, r),) = ask_tcp(t, f"big60000.v{v}.test")
            assert r == dns.answer(q, b"x" * 60000, flags=0x0400), f"{len(r)} bytes"


@test(11, "what is no query is not answered, and the rest goes on")
def dns_hostile(w, v):
    with sockets(w, v) as (s, tcp_socket):
        dns_ready(w, s)
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
        dns_ready(w, s)
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
        dns_ready(w, s)
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
