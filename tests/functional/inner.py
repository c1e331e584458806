#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The Sallyport authors
"""Cases of inner_test: every inner packet that a client may send, and most that it may not.

Runs in the lab, outside of its namespaces. Expected answers are made in peer/packets.py.
"""

import os
import socket
import struct
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lab"))
from peer import packets  # noqa: E402
from peer.netns import netns  # noqa: E402
from peer.packets import Packet  # noqa: E402
from peer.peer import Peer, Timeout  # noqa: E402
from peer.report import Report, counted, counters, settle, telemetry  # noqa: E402
from peer.wire import Wire  # noqa: E402

PORTAL = "ws://203.0.113.1:8081"
MARK = b"sallyport-inner-"
QUIET_S = 0.4  # how long an answer that must not come is waited for
OPEN = (7000, 7001, 7009)  # UDP ports of the LAN's web host that something listens on; 7005 is closed


def mutate(packet, at, value):
    return packet[:at] + value + packet[at + len(value) :]


class Family:
    """Addresses and builders of one IP version, and the cases."""

    def __init__(self, version, report):
        self.version, self.report = version, report
        four = version == 4
        self.web, self.other, self.stranger = (
            ("192.0.2.80", "192.0.2.81", "192.0.2.99")
            if four
            else ("2001:db8:2::80", "2001:db8:2::81", "2001:db8:2::99")
        )
        self.gateway_lan = "192.0.2.1" if four else "2001:db8:2::1"
        self.family = socket.AF_INET if four else socket.AF_INET6
        self.sinks = []
        with netns("lan"):
            for port in OPEN:
                self.sinks.append(socket.socket(self.family, socket.SOCK_DGRAM))
                self.sinks[-1].bind((self.web, port))
        bind = "203.0.113.1" if four else "2001:db8:113::1"
        self.lan = Wire("lan", "lan")
        # Not what the LAN's own programs and neighbour discovery say.
        self.lan.keep = lambda f: MARK in f or f[12:14] in (b"\x08\x00", b"\x86\xdd")
        with netns("internet"):
            self.peer = Peer(PORTAL, "peer-token", f"inner-{version}", bind)
            self.tunnel = self.peer.connect(f"web{version}")
            self.peer.connect(f"other{version}")
        self.me = self.peer.ipv4 if four else self.peer.ipv6
        self.gateway_tunnel = self.tunnel.gateway_ipv4 if four else self.tunnel.gateway_ipv6
        self.serial = 0

    def group(self, name):
        return self.report.group(f"IPv{self.version}: {name}")

    def payload(self, size=24):
        self.serial += 1
        mark = MARK + struct.pack(">I", self.serial)
        return mark + bytes(max(0, size - len(mark)))

    def udp(self, payload=None, dst=None, src=None, sport=4000, dport=7001, **fields):
        payload = self.payload() if payload is None else payload
        return packets.udp(src or self.me, dst or self.web, sport, dport, payload, **fields)

    # What must happen.

    def forwarded(self, packet, **send):
        """The packet reaches the LAN from the gateway's address; returns it as seen there."""
        inner = Packet(packet)
        self.tunnel.send_inner(packet, **send)
        seen = Packet(self.lan.take(lambda p: inner.payload and inner.payload in p, what="forwarded packet"))
        assert seen.src == self.gateway_lan, f"source {seen.src} is not the gateway's"
        assert (seen.dst, seen.dport) == (inner.dst, inner.dport) or inner.ident, f"to {seen.dst}:{seen.dport}"
        assert seen.ttl == inner.ttl - 1, f"TTL {seen.ttl}"
        return seen

    def answered(self, packet, want, timeout=2):
        """The exact answer comes back and nothing leaves."""
        self.tunnel.drain_inner()
        self.tunnel.send_inner(packet)
        try:
            got = self.tunnel.recv_inner(timeout)
        except Timeout:
            raise AssertionError(f"no answer to {packet.hex()}") from None
        assert got == want, f"answer {got.hex()} instead of {want.hex()}"

    def silent(self, cases, expected):
        """None of the packets is answered or forwarded; the counters grow as expected."""
        self.tunnel.drain_inner()
        self.lan.clear()
        with counted(expected):
            for packet in cases:
                self.tunnel.send_inner(packet)
                time.sleep(0.001)
        time.sleep(QUIET_S)
        got = self.tunnel.drain_inner()
        assert not got, f"{len(got)} answers, the first: {got[0].hex()}"
        leaked = [p for p in self.lan.packets() if MARK in p]
        assert not leaked, f"{len(leaked)} forwarded, the first: {leaked[0].hex()}"
        self.alive()

    def refused(self, cases, counter):
        """Each is answered with "prohibited", byte for byte."""
        self.lan.clear()
        with counted({f"drop_{counter}": len(cases)}):
            for packet in cases:
                self.answered(packet, packets.prohibited(packet))
        leaked = [p for p in self.lan.packets() if MARK in p]
        assert not leaked, f"forwarded: {leaked[0].hex()}"

    def alive(self):
        """An echo through the tunnel still works."""
        self.serial += 1
        payload = self.payload()
        request = packets.echo(self.me, self.web, 77, self.serial, payload)
        self.tunnel.send_inner(request)
        is_reply = lambda p: payload in p and Packet(p).src == self.web
        reply = Packet(self.tunnel.recv_inner(3, is_reply))
        assert (reply.dst, reply.ident) == (self.me, 77), "echo reply not translated back"
        # Not to be taken for a leak by whoever looks next.
        self.lan.take(lambda p: payload in p, what="echo request")

    # Valid packets.

    def check_udp(self):
        with self.group("UDP leaves with the gateway's LAN address; the reply returns") as notes:
            seen = self.forwarded(self.udp())
            notes.append(f"port 4000 became {seen.sport}")
            again = self.forwarded(self.udp())
            assert again.sport == seen.sport, "a flow changed its port"
            self.lan_udp(seen.sport)
            reply = Packet(self.tunnel.recv_inner(2, lambda p: b"pong" in p))
            assert (reply.src, reply.sport, reply.dst, reply.dport) == (self.web, 7001, self.me, 4000), vars(reply)

    def lan_udp(self, port):
        """From the web host's port 7001 to the gateway's LAN address."""
        self.sinks[1].sendto(b"pong" + MARK, (self.gateway_lan, port))

    def check_lan_error(self):
        with self.group("a LAN host's port unreachable returns, its quote translated back"):
            packet = self.udp(dport=7005)
            self.tunnel.send_inner(packet)
            answer = Packet(self.tunnel.recv_inner(3, lambda p: MARK in p))
            want = (3, 3) if self.version == 4 else (1, 4)
            assert (answer.kind, answer.code, answer.src, answer.dst) == (*want, self.web, self.me), vars(answer)
            quote = answer.payload
            ends = quote[12:20] if self.version == 4 else quote[8:40]
            assert ends == packets.raw(self.me) + packets.raw(self.web), f"quote {quote.hex()}"
            ports = quote[20:24] if self.version == 4 else quote[40:44]
            assert ports == struct.pack(">HH", 4000, 7005), f"quote {quote.hex()}"

    def check_tcp(self):
        with self.group("TCP handshake with the LAN's web server"):
            self.tunnel.send_inner(packets.tcp(self.me, self.web, 4001, 80, seq=1000))
            answer = Packet(self.tunnel.recv_inner(2, lambda p: Packet(p).proto == packets.TCP))
            ack = struct.unpack(">I", answer.l4[8:12])[0]
            assert answer.l4[13] & 0x3F == 0x12, f"flags {answer.l4[13]:#x} instead of SYN and ACK"
            assert (answer.src, answer.sport, answer.dport, ack) == (self.web, 80, 4001, 1001), vars(answer)
            self.tunnel.send_inner(packets.tcp(self.me, self.web, 4001, 80, flags=4, seq=1001))

    def check_echo(self):
        with self.group("ICMP echo"):
            for _ in range(5):
                self.alive()

    def check_sizes(self):
        with self.group("1280 bytes pass, 1281 do not"):
            head = 28 if self.version == 4 else 48
            self.forwarded(self.udp(self.payload(1280 - head)))
            self.silent([self.udp(self.payload(1281 - head))], {"drop_inner_too_big": 1})

    def check_padding(self):
        with self.group("padded plaintext is cut to the packet") as notes:
            for size in range(20, 37):
                packet = self.udp(self.payload(size))
                seen = self.forwarded(packet, pad=True)
                assert len(seen.data) == len(packet), "padding reached the LAN"
            notes.append("17 sizes")

    def check_keepalive(self):
        with self.group("keepalives are neither packets nor drops"):
            before = counters()
            for _ in range(3):
                self.tunnel.send_inner(b"")
            delta = settle(before, {"decrypted": 3})
            drops = {k: v for k, v in delta.items() if k.startswith("drop_") and k != "drop_rx_other_host"}
            assert delta.get("decrypted", 0) >= 3 and not drops, delta
            self.alive()

    def check_atomic(self):
        with self.group("atomic fragment is a packet"):
            payload = self.payload()
            body = packets.udp_header(self.me, self.web, 4002, 7001, payload)
            self.forwarded(packets.fragment6(self.me, self.web, packets.UDP, body))

    def check_local(self):
        with self.group("the gateway's own tunnel address answers"):
            payload = self.payload()
            self.tunnel.send_inner(packets.echo(self.me, self.gateway_tunnel, 78, 1, payload))
            reply = Packet(self.tunnel.recv_inner(3, lambda p: payload in p))
            assert (reply.src, reply.ident) == (self.gateway_tunnel, 78), vars(reply)

    # Wrong lengths.

    def valid(self):
        """One valid packet of each kind, none with Ethernet's minimum in mind."""
        return [
            self.udp(),
            packets.tcp(self.me, self.web, 4001, 80, self.payload()),
            packets.echo(self.me, self.web, 79, 1, self.payload()),
        ]

    def check_truncated(self):
        with self.group("every truncation of a valid packet") as notes:
            cases = [p[:n] for p in self.valid() for n in range(1, len(p))]
            self.silent(cases, {"drop_inner_malformed": len(cases)})
            notes.append(f"{len(cases)} packets")

    def check_lengths(self):
        with self.group("IP length fields") as notes:
            cases, udp = [], self.udp()
            real = len(udp)
            at = 2 if self.version == 4 else 4
            for value in [*range(0, real + 40), 0x7FFF, 0xFFFF]:
                if value != (real if self.version == 4 else real - 40):
                    cases.append(mutate(udp, at, struct.pack(">H", value)))
            if self.version == 4:
                cases += [bytes([0x40 | n]) + udp[1:] for n in range(16) if n != 5]
            cases += [bytes([n << 4 | udp[0] & 15]) + udp[1:] for n in range(16) if n != self.version]
            self.silent(cases, {"drop_inner_malformed": len(cases)})
            notes.append(f"{len(cases)} packets")

    def check_l4_lengths(self):
        with self.group("UDP length, TCP data offset, short ICMP") as notes:
            payload, cases = self.payload(), []
            for n in [*range(0, 80), 0x7FFF, 0xFFFF]:
                if n != 8 + len(payload):
                    cases.append(self.udp(payload, length=n))
            for n in range(16):
                header = packets.tcp_header(self.me, self.web, 4001, 80, offset=n)
                if n != 5:
                    cases.append(packets.ip(self.me, self.web, packets.TCP, header))
            icmp = packets.echo(self.me, self.web, 80, 1)[20 if self.version == 4 else 40 :]
            own, foreign = (packets.ICMP, packets.ICMP6)[:: 1 if self.version == 4 else -1]
            cases += [packets.ip(self.me, self.web, own, icmp[:n]) for n in range(8)]
            cases += [packets.ip(self.me, self.web, foreign, icmp)]
            cases += [packets.ip(self.me, self.web, packets.UDP, bytes(n)) for n in range(8)]
            cases += [packets.ip(self.me, self.web, packets.TCP, bytes(n)) for n in range(20)]
            self.silent(cases, {"drop_inner_malformed": len(cases)})
            notes.append(f"{len(cases)} packets")

    def check_fragments(self):
        with self.group("fragments") as notes:
            payload = self.payload(64)
            if self.version == 4:
                cases = [self.udp(payload, fragment=f) for f in (0x2000, 0x2001, 0x0001, 0x1FFF, 0x3FFF)]
            else:
                body = packets.udp_header(self.me, self.web, 4000, 7001, payload)
                places = ((0, True), (1, True), (1, False), (0x1FFF, False))
                cases = [packets.fragment6(self.me, self.web, packets.UDP, body, o, m) for o, m in places]
            self.silent(cases, {"drop_ip_fragment": len(cases)})
            notes.append(f"{len(cases)} packets")

    # Refusals.

    def check_multicast(self):
        with self.group("multicast"):
            groups = ("224.0.0.1", "239.255.255.250") if self.version == 4 else ("ff02::1", "ff0e::1")
            self.silent([self.udp(dst=g) for g in groups], {"drop_inner_multicast": 2})

    def check_icmp_error(self):
        with self.group("ICMP errors of a client"):
            quote = packets.udp(self.web, self.me, 7001, 4000, self.payload())
            kinds = ((3, 1), (3, 13), (11, 0)) if self.version == 4 else ((1, 0), (1, 1), (3, 0))
            cases = [packets.icmp(self.me, self.web, k, c, bytes(4) + quote) for k, c in kinds]
            self.silent(cases, {"drop_inner_icmp_error": len(cases)})

    def check_spoofed(self):
        with self.group("spoofed source: prohibited"):
            spoofed = "100.64.99.99" if self.version == 4 else "fd00:2021:1111::99:99"
            cases = [self.udp(src=s) for s in (spoofed, self.other, self.gateway_tunnel)]
            self.refused(cases, "inner_spoofed")

    def check_tunnel_destination(self):
        with self.group("other tunnel addresses: prohibited"):
            dsts = ("100.64.0.0", "100.95.255.255") if self.version == 4 else ("fd00:2021:1111::", "fd00:2021:1111::1f:ffff")
            self.refused([self.udp(dst=d) for d in dsts], "inner_tunnel_dst")

    def check_policy(self):
        with self.group("port outside the filter, unauthorized host: prohibited") as notes:
            cases = [self.udp(dport=p) for p in (0, 1, 6999, 7010, 65535)]
            cases += [packets.tcp(self.me, self.web, 4003, p) for p in (79, 81, 5200, 7001)]
            cases += [self.udp(dst=self.stranger), packets.echo(self.me, self.stranger, 81)]
            cases += [packets.tcp(self.me, self.stranger, 4003, 80)]
            cases += [packets.ip(self.me, self.web, 47, MARK + bytes(4))]  # GRE and filters
            cases += [self.udp(self.payload(1200), dst=self.stranger)]
            self.refused(cases, "policy_prohibited")
            notes.append(f"{len(cases)} packets")
            for port in (7000, 7009):
                self.forwarded(self.udp(dport=port))

    def check_options(self):
        with self.group("IPv4 options: forwarded, and quoted in a refusal"):
            options = bytes.fromhex("01010100")
            self.forwarded(self.udp(options=options))
            self.refused([self.udp(dst=self.stranger, options=options)], "policy_prohibited")

    def check_ttl(self):
        with self.group("TTL 1: time exceeded from the gateway's tunnel address"):
            packet = self.udp(ttl=1)
            self.tunnel.drain_inner()
            with counted({"drop_ttl_expired": 1}):
                self.tunnel.send_inner(packet)
                answer = Packet(self.tunnel.recv_inner())
            want = (11, 0) if self.version == 4 else (3, 0)
            assert (answer.kind, answer.code) == want and answer.src == self.gateway_tunnel, vars(answer)
            assert packet[:28] in answer.data, "the packet is not quoted"

    def check_checksum(self):
        with self.group("bad L4 checksum: counted, not forwarded"):
            packet = self.udp()
            at = 26 if self.version == 4 else 46
            bad = mutate(packet, at, bytes([packet[at] ^ 0x55]))
            self.tunnel.drain_inner()
            self.silent([bad], {"drop_l4_checksum": 1})

    def check_unsolicited(self):
        with self.group("LAN packets without a flow stay outside"):
            self.tunnel.drain_inner()
            self.lan_udp(1)
            self.lan_udp(65535)
            time.sleep(QUIET_S)
            assert not [p for p in self.tunnel.drain_inner() if MARK in p], "reached the client"

    def check_rekey(self):
        with self.group("packets of both sessions around a rekey"):
            late = self.udp()
            message = self.tunnel.encrypt(late)
            self.tunnel.rekey()
            self.alive()
            self.tunnel.send_raw(message)
            self.lan.take(lambda p: Packet(late).payload in p, what="packet of the former session")

    def check_window(self):
        with self.group("counters: any order within the window, none behind it, none at the end of the range"):
            session = self.tunnel.session
            packet = [self.udp() for _ in range(24)]
            message = [self.tunnel.encrypt(p) for p in packet]
            before = counters()
            for m in reversed(message[:20]):
                self.tunnel.send_raw(m)
            for p in packet[:20]:
                self.lan.take(lambda seen, p=p: Packet(p).payload in seen, what="packet out of order")
            newest = session.counter + 9000
            at = lambda counter, p: setattr(session, "counter", counter) or self.tunnel.encrypt(p)
            self.tunnel.send_raw(at(newest, packet[20]))
            self.lan.take(lambda p: Packet(packet[20]).payload in p, what="packet far ahead")
            self.tunnel.send_raw(at(newest - 8191, packet[21]))
            self.lan.take(lambda p: Packet(packet[21]).payload in p, what="packet at the window's edge")
            with counted({"drop_wg_replay": 2}):
                self.tunnel.send_raw(at(newest - 8192, packet[22]))
                self.tunnel.send_raw(message[22])
            with counted({"drop_wg_expired": 2}):
                for counter in (2**64 - 2**13 - 1, 2**64 - 1):
                    self.tunnel.send_raw(at(counter, packet[23]))
            session.counter = newest + 1
            self.alive()
            grown = settle(before, {}).get("drop_wg_auth", 0)
            assert grown == 0, f"{grown} right packets did not authenticate"

    def check_goodbye(self):
        with self.group("goodbye ends the connection"):
            before = telemetry("/sallyport/clients")["clients"]
            self.tunnel.goodbye()
            deadline = time.monotonic() + 3
            while telemetry("/sallyport/clients")["clients"] != before - 1:
                assert time.monotonic() < deadline, "the gateway still has the client"
                time.sleep(0.05)
            # The worker forgets the keys a moment after control forgot the client.
            before, index = counters(), "drop_wg_unknown_index"
            while index not in settle(before, {index: 1}, 0.1):
                assert time.monotonic() < deadline, "the worker still has the keys"
                self.tunnel.send_inner(self.udp())

    def close(self):
        self.peer.close()
        self.lan.close()
        for sink in self.sinks:
            sink.close()

    def run(self):
        checks = [self.check_udp, self.check_lan_error, self.check_tcp, self.check_echo, self.check_sizes, self.check_padding]
        checks += [self.check_keepalive, self.check_local]
        checks += [self.check_truncated, self.check_lengths, self.check_l4_lengths, self.check_fragments]
        checks += [self.check_multicast, self.check_icmp_error, self.check_spoofed]
        checks += [self.check_tunnel_destination, self.check_policy, self.check_ttl, self.check_checksum]
        checks += [self.check_options] if self.version == 4 else [self.check_atomic]
        checks += [self.check_unsolicited, self.check_window, self.check_rekey, self.check_goodbye]
        for check in checks:
            check()
        refused = self.tunnel.refused
        with self.group("nothing came that does not verify"):
            assert not refused, f"{len(refused)}, the first: {refused[0]}"


def main():
    report = Report()
    for version in (4, 6):
        family = None
        with report.group(f"IPv{version}: a client in Python connects") as notes:
            family = Family(version, report)
            notes.append(f"path {family.tunnel.agent.selected[0]}")
        if family:
            family.run()
            family.close()
    return report.end()


sys.exit(main())
