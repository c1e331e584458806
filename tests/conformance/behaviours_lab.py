# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The Sallyport authors
"""What the tests of behaviours share: the lab with the questions that they ask, and the packets they send."""

import os
import struct
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from conformance import dns, oracle, world  # noqa: E402
from conformance.world import LAN  # noqa: E402
from lab.peer import packets  # noqa: E402
from lab.peer.netns import netns  # noqa: E402
from lab.peer.peer import GOODBYE, Timeout  # noqa: E402
from lab.peer.report import counted, telemetry  # noqa: E402
from lab.peer.wire import Wire, mac_of  # noqa: E402

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
