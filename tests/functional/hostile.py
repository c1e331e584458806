#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The Sallyport authors
"""Cases of hostile_test: what anybody on the internet can send to a gateway.

Runs in the lab, outside of its namespaces, while the real client downloads. After each group the
download runs on, the Python peer's tunnel works, and the gateway has the same clients and flows.

usage: hostile.py HOST   (whose /blob the client downloads; ./blob.sha256 is its sum)
"""

import os
import random
import socket
import struct
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lab"))
from peer import packets, stun, wire  # noqa: E402
from peer.netns import netns  # noqa: E402
from peer.packets import Packet  # noqa: E402
from peer.peer import DATA, INITIATION, Peer, oracle  # noqa: E402
from peer.report import Report, counted, telemetry  # noqa: E402

PORTAL = "ws://203.0.113.1:8081"
PORT = 52625
RATE = "3M"  # of the download, so that it lasts as long as the attacks
PACE_S = 0.0005
HERE = {4: "203.0.113.1", 6: "2001:db8:113::1"}
GATEWAY = {4: "203.0.113.10", 6: "2001:db8:113::10"}
CLIENT = ("198.51.100.20", "2001:db8:51::20")


def outer(packet):
    """(type, UDP packet) of a WireGuard message, ("STUN", UDP packet), or (0, None)."""
    if not packet or packet[9 if packet[0] >> 4 == 4 else 6] != packets.UDP:
        return 0, None
    udp = Packet(packet, verify=False)
    if stun.is_stun(udp.payload):
        return "STUN", udp
    if len(udp.payload) < 32 or udp.payload[1:4] != bytes(3) or not 1 <= udp.payload[0] <= 4:
        return 0, None
    return udp.payload[0], udp


class Attack:
    def __init__(self, report, host):
        self.report, self.random, self.serial = report, random.Random(4), 0
        # What the real client says, from its first packet on, as the gateway gets it: one datagram a
        # frame, which the client's own wire does not show when it sends with UDP_SEGMENT.
        self.tap = wire.Wire("internet", "wire-wan", outgoing=True)
        self.tap.keep = lambda f: outer(wire.ip_of(f))[1] and len(self.tap.frames) < 3000
        self.host, self.downloads = host, 0
        self.download_start()
        with netns("internet"):
            self.peer = Peer(PORTAL, "peer-token", "hostile", HERE[4])
            self.tunnel = self.peer.connect("web4")
            self.strangers = {}
            for version, address in HERE.items():
                kind = socket.AF_INET if version == 4 else socket.AF_INET6
                self.strangers[version] = socket.socket(kind, socket.SOCK_DGRAM)
                self.strangers[version].bind((address, 0))
                self.strangers[version].sendto(b"", (GATEWAY[version], PORT))  # resolves the neighbour
            self.raw = wire.Wire("internet", "wan")
        time.sleep(2.5)  # the client settles on its path
        self.gateway_mac = wire.neighbour("internet", GATEWAY[4])
        self.our_mac = wire.mac_of("internet", "wan")
        seen = [outer(p) for p in self.tap.packets()]
        self.client_data = [u for kind, u in seen if kind == DATA and u.src in CLIENT]
        self.client_checks = [u for kind, u in seen if kind == "STUN" and u.src in CLIENT]
        self.client_initiations = [u for kind, u in seen if kind == INITIATION and u.src in CLIENT]
        self.alive()
        self.state = self.settled()

    def download_start(self):
        curl = ["ip", "netns", "exec", "client", "curl", "-sS", "--limit-rate", RATE, "--max-time", "120"]
        self.curl = subprocess.Popen([*curl, f"http://{self.host}/blob"], stdout=subprocess.PIPE)
        self.sum = subprocess.Popen(["sha256sum"], stdin=self.curl.stdout, stdout=subprocess.PIPE)
        self.curl.stdout.close()

    def download_end(self):
        out, _ = self.sum.communicate(timeout=90)
        status = self.curl.wait(5)
        assert status == 0, f"curl: exit status {status}"
        with open("blob.sha256", encoding="ascii") as f:
            assert out.decode().split()[0] == f.read().strip(), "SHA-256 differs"
        self.downloads += 1

    def download_check(self):
        """On a slow machine the attacks outlast a download; then there is another."""
        if self.curl.poll() is not None:
            self.download_end()
            self.download_start()
            time.sleep(1)
            self.state["flows"] = self.snapshot()["flows"]

    def snapshot(self):
        clients = telemetry("/sallyport/clients")
        with open("gateway.log", encoding="utf-8") as f:
            paths = f.read().count("path selected")
        return {"clients": clients["clients"], "flows": clients["flows"], "paths": paths}

    def settled(self):
        """The first snapshot with both flows, the download's and our echo's: workers publish their count now and then."""
        deadline = time.monotonic() + 3
        while (state := self.snapshot())["flows"] < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert state["flows"] == 2, state
        return state

    def alive(self):
        self.serial += 1
        payload = struct.pack(">I", self.serial) + b"still here"
        self.tunnel.send_inner(packets.echo(self.peer.ipv4, "192.0.2.80", 77, self.serial, payload))
        self.tunnel.recv_inner(3, lambda p: payload in p)

    def answers(self):
        """What came back, but for the gateway's own checks of paths that it heard of."""
        out = []
        for s in self.strangers.values():
            s.setblocking(False)
            try:
                while True:
                    out.append(s.recv(2048))
            except BlockingIOError:
                pass
        return [m for m in out if m[:2] != b"\0\1"]

    def group(self, name, send, exactly, at_least=None, may_answer=False):
        """@send makes the counters grow, and changes nothing else. It returns how many it sent."""
        with self.report.group(name) as notes:
            self.answers()
            with counted(exactly, at_least):
                notes.append(f"{send()} packets")
            self.alive()
            self.download_check()
            state = self.snapshot()
            assert state == self.state, f"{state} instead of {self.state}"
            answers = self.answers()
            assert may_answer or not answers, f"answered: {answers[0].hex()}"

    # Ways to send.

    def datagrams(self, messages, versions=(4, 6)):
        """From a stranger's sockets, each message over each IP version."""
        for message in messages:
            for version in versions:
                self.strangers[version].sendto(message, (GATEWAY[version], PORT))
                time.sleep(PACE_S)
        return len(messages) * len(versions)

    def frames(self, cases, kind=None, dst=None):
        for packet in cases:
            self.raw.send(wire.frame(dst or self.gateway_mac, self.our_mac, packet, kind))
            time.sleep(PACE_S)
        return len(cases)

    def as_client(self, messages):
        """With the source address of the real client."""
        like = self.client_data[0]
        cases = [packets.udp(like.src, like.dst, like.sport, PORT, m) for m in messages]
        return self.frames(cases)

    def bytes(self, n):
        return self.random.randbytes(n)

    # WireGuard.

    def truncated(self):
        _, initiation = self.tunnel.make_initiation()
        index = struct.pack("<I", self.tunnel.session.remote_index)
        response = struct.pack("<I", 2) + index + self.bytes(84)
        cookie = struct.pack("<I", 3) + index + self.bytes(56)
        data = self.tunnel.encrypt(packets.echo(self.peer.ipv4, "192.0.2.80", 78))
        for name, whole in (("initiation", initiation), ("response", response), ("cookie reply", cookie)):
            cases = [whole[:n] for n in range(len(whole))]
            expected = {"drop_rx_unknown_type": 2 * 4, "noise_too_short": 2 * (len(whole) - 4)}
            self.group(f"{name} truncated at every length", lambda c=cases: self.datagrams(c), expected)
        longer = [m + b"\0" for m in (initiation, response, cookie)]
        self.group("handshake messages with a byte too many", lambda: self.datagrams(longer), {"noise_bad_size": 6})
        cases = [data[:n] for n in range(len(data))]
        expected = {"drop_rx_unknown_type": 8, "drop_wg_short": 2 * 28, "drop_wg_auth": 2 * (len(data) - 32)}
        self.group("data truncated at every length", lambda: self.datagrams(cases), expected)

    def forged_handshakes(self):
        key = self.tunnel.gateway_key
        noise = [struct.pack("<I", 1) + self.bytes(144) for _ in range(50)]
        self.group("forged initiations", lambda: self.datagrams(noise), {"noise_bad_mac1": 100})
        time.sleep(1.1)  # messages with a right mac1 count toward the load that brings cookies
        noise = [oracle.macs(m[:116], key) for m in noise[:20]]
        expected = {"noise_decrypt_failed": 40}
        self.group("initiations with a right mac1 and nothing else", lambda: self.datagrams(noise), expected)
        strangers = []
        for i in range(5):
            initiator = oracle.Initiator(self.bytes(32), key)
            strangers.append(initiator.initiation(i, self.bytes(32), oracle.tai64n(time.time_ns())))
        self.group("initiations of a key nobody authorized", lambda: self.datagrams(strangers), {"noise_unknown_peer": 10})
        time.sleep(1.1)
        ours = struct.pack("<I", self.tunnel.session.remote_index)
        free = struct.pack("<I", 0x3F3F3F01)
        cases = [oracle.macs(struct.pack("<I", 2) + i + ours + self.bytes(48), key) for i in (ours, free)]
        cases += [oracle.macs(struct.pack("<II", 2, 9) + i + self.bytes(48), key) for i in (ours, free)]
        expected = {"noise_unknown_index+noise_stale_index+noise_decrypt_failed": 8}
        self.group("forged responses", lambda: self.datagrams(cases), expected)
        cookies = [struct.pack("<I", 3) + i + self.bytes(56) for i in (ours, free) for _ in range(5)]
        expected = {"noise_unknown_index": 10, "noise_cookie_refused": 10}
        self.group("forged cookie replies", lambda: self.datagrams(cookies), expected)

    def forged_data(self):
        free = [struct.pack("<IIQ", 4, self.random.getrandbits(32) | 0x80000000, i) for i in range(50)]
        cases = [h + self.bytes(self.random.randrange(16, 1300)) for h in free]
        self.group("data for random receiver indices", lambda: self.datagrams(cases), {"drop_wg_unknown_index": 100})
        index = self.tunnel.session.remote_index
        cases = [struct.pack("<IIQ", 4, index, 10**6 + i) + self.bytes(64 + i) for i in range(50)]
        self.group("data with the peer's index and a wrong tag", lambda: self.datagrams(cases), {"drop_wg_auth": 100})
        good = self.tunnel.encrypt(packets.echo(self.peer.ipv4, "192.0.2.80", 79))
        flips = [good[:i] + bytes([good[i] ^ 1]) + good[i + 1 :] for i in range(16, len(good))]
        expected = {"drop_wg_auth": 2 * len(flips)}
        self.group("data with one bit wrong, each byte", lambda: self.datagrams(flips), expected)
        victims = self.client_data[-100:]
        cases = [v.payload[:-1] + bytes([v.payload[-1] ^ 1]) for v in victims]
        cases = [c[:8] + struct.pack("<Q", 2**40 + i) + c[16:] for i, c in enumerate(cases)]
        expected = {"drop_wg_auth": len(cases)}
        self.group("data in the real client's name, wrong tag", lambda: self.as_client(cases), expected)

    def replays(self):
        for _ in range(20):
            self.alive()
        own = [m for way, m in self.tunnel.outer if way == "out" and m[:4] == b"\4\0\0\0"][-20:]
        self.group("replayed data of the peer", lambda: self.datagrams(own), {"drop_wg_replay": 2 * len(own)})
        theirs = [u.payload for u in self.client_data[-150:]]
        expected = {"drop_wg_replay": 2 * len(theirs)}
        self.group("replayed data of the real client, from elsewhere", lambda: self.datagrams(theirs), expected)
        self.group(
            "replayed data of the real client, from its address",
            lambda: self.as_client(theirs),
            {"drop_wg_replay": len(theirs)},
        )
        time.sleep(1.1)
        first = self.tunnel.initiations + [u.payload for u in self.client_initiations]
        assert len(first) > len(self.tunnel.initiations), "the client's initiation was not seen"
        send = lambda: self.datagrams(first) + self.as_client(first[-1:])
        expected = {"noise_replayed": 2 * len(first) + 1}
        self.group("replayed initiations of the peer and of the real client", send, expected)

    # STUN.

    def stun_messages(self):
        agent = self.tunnel.agent
        remote = next(r for r in agent.remotes if r.address == agent.selected)
        make = lambda **fields: agent.check(remote, **fields)
        good = make()
        cases = [good[:n] for n in range(len(good))]
        expected = {"drop_rx_unknown_type": 40, "ice_malformed+ice_not_stun": 2 * (len(good) - 20)}
        self.group("STUN truncated at every length", lambda: self.datagrams(cases), expected)
        cases = [good[:4] + self.bytes(4) + good[8:] for _ in range(20)]
        self.group("STUN with a wrong cookie", lambda: self.datagrams(cases), {"drop_rx_unknown_type": 40})
        lengths = [n for n in range(0, 400, 4) if n != len(good) - 20]
        cases = [good[:2] + struct.pack(">H", n) + good[4:] for n in lengths]
        self.group("STUN with a wrong length", lambda: self.datagrams(cases), {"ice_malformed+ice_not_stun": 2 * len(cases)})
        cases = [make(key=f"wrong-{i}") for i in range(20)]
        self.group("STUN with a wrong MESSAGE-INTEGRITY", lambda: self.datagrams(cases), {"ice_bad_integrity": 40})
        names = (f"{agent.remote.username}:xxxx", f"xxxx:{agent.local.username}", "x:y", ":", "x" * 513)
        cases = [make(username=n) for n in names]
        expected = {"ice_unknown_username+ice_no_username+ice_malformed": 10}
        self.group("STUN with a wrong USERNAME", lambda: self.datagrams(cases), expected)
        self.stun_without(agent)
        self.stun_kinds(agent)
        noise = [stun.header(1, 4 * n, self.bytes(12)) + self.bytes(4 * n) for n in range(60)]
        expected = {"ice_malformed+ice_not_stun+ice_no_username+ice_unknown_username+ice_not_binding": 120}
        self.group("STUN of random attributes", lambda: self.datagrams(noise), expected)

    def stun_without(self, agent):
        """Requests that lack one attribute but are right otherwise."""
        username = (stun.USERNAME, f"{agent.remote.username}:{agent.local.username}".encode())
        role = (stun.ICE_CONTROLLING, struct.pack(">Q", agent.tie_breaker))
        priority = (stun.PRIORITY, struct.pack(">I", 1))
        key = agent.remote.password.encode()
        for missing, counter in (("USERNAME", "ice_no_username"), ("PRIORITY", "ice_no_priority")):
            attributes = [a for a in (username, role, priority) if a[0] != getattr(stun, missing)]
            cases = [stun.finish(stun.REQUEST, attributes, stun.new_txid(), key) for _ in range(10)]
            self.group(f"STUN without {missing}", lambda c=cases: self.datagrams(c), {counter: 20})
        body = b"".join(stun.attribute(*a) for a in (username, role, priority))
        cases = [stun.header(1, len(body), stun.new_txid()) + body for _ in range(10)]
        self.group("STUN without MESSAGE-INTEGRITY", lambda: self.datagrams(cases), {"ice_bad_integrity": 20})

    def stun_kinds(self, agent):
        address, key = ("203.0.113.1", 9), agent.remote.password
        cases = [stun.success(stun.new_txid(), address, key) for _ in range(10)]
        self.group("STUN answers nobody asked for", lambda: self.datagrams(cases), {"ice_unknown_txid": 20})
        error = [(stun.ERROR_CODE, bytes([0, 0, 4, 87]) + b"Role Conflict")]
        kinds = ((0x0111, error, "ice_error_response"), (0x0011, [], "ice_indication"), (0x0003, [], "ice_not_binding"))
        for kind, attributes, counter in kinds:
            cases = [stun.finish(kind, attributes, stun.new_txid(), key.encode()) for _ in range(10)]
            name = f"STUN messages of type {kind:#06x}"
            self.group(name, lambda c=cases: self.datagrams(c), {counter: 20})

    def right_credentials(self):
        """What somebody on the path, or a client itself, can do to ICE."""
        agent = self.tunnel.agent
        remote = next(r for r in agent.remotes if r.address == agent.selected)
        checks = [u.payload for u in self.client_checks if u.payload[:2] == b"\0\1"][-20:]
        name = "checks of the real client repeated from elsewhere do not move its path"
        least = {"ice_request+ice_unknown_local+ice_wrong_path+ice_no_room": 2 * len(checks)}
        self.group(name, lambda: self.datagrams(checks), {}, least, may_answer=True)
        cases = [agent.check(remote, controlling=False, tie_breaker=0) for _ in range(10)]
        expected = {"ice_role_conflict": 10}
        name = "right checks in the wrong role"
        self.group(name, lambda: self.datagrams(cases, (4,)), expected, may_answer=True)
        make = lambda n: packets.udp(HERE[4], GATEWAY[4], 20000 + n, PORT, agent.check(remote, use_candidate=False))
        cases = [make(n) for n in range(300)]
        least = {"ice_request+ice_no_room": 300}
        name = "right checks from 300 ports fill no more than their own table"
        self.group(name, lambda: self.frames(cases), {}, least, may_answer=True)

    def flood(self):
        """More handshakes a second than the gateway takes from those who did not prove their address."""
        key = self.tunnel.gateway_key
        cases = [oracle.macs(struct.pack("<II", 1, i) + self.bytes(108), key) for i in range(150)]

        def send():
            n = self.datagrams(cases)
            self.tunnel.rekey(3)
            assert self.tunnel.cookie, "the peer was not asked for a cookie"
            assert not self.tunnel.refused, self.tunnel.refused[0]
            return n

        name = "a flood of initiations brings cookies; with one the peer rekeys"
        self.group(name, send, {}, {"noise_cookie_sent": 100}, may_answer=True)

    # Everything else.

    def garbage(self):
        cases = []
        while len(cases) < 150:
            message = self.bytes(self.random.randrange(0, 1400))
            if not 0x40 <= (message or b"\0")[0] <= 0x4F:
                cases.append(message)
        self.group("garbage", lambda: self.datagrams(cases), {"drop_rx_unknown_type": 300})
        cases = [bytes([0x40 + i % 16]) + self.bytes(3 + 10 * i) for i in range(50)]
        self.group("ChannelData of no relay", lambda: self.datagrams(cases), {"drop_relay_unknown": 100})

    def lengths(self):
        make = lambda version, **f: packets.udp(HERE[version], GATEWAY[version], 9, PORT, bytes(40), **f)
        cases = [make(4, total=n) for n in (0, 1, 19, 69, 1500, 65535)]
        cases += [make(4, ihl=n) for n in range(5)] + [make(4)[:n] for n in range(1, 68)]
        cases += [make(4, length=n) for n in (0, 1, 7, 49, 1500, 65535)]
        wide = packets.udp_header(HERE[6], GATEWAY[6], 9, PORT, bytes(40))
        cases += [packets.ip6(HERE[6], GATEWAY[6], packets.UDP, wide, length=n) for n in (49, 1500, 65535)]
        cases += [packets.udp(HERE[6], GATEWAY[6], 9, PORT, bytes(40), length=n) for n in (0, 1, 7, 49, 65535)]
        cases += [make(6)[:n] for n in range(1, 88)]
        # The version in the packet's first bits and the one in the frame disagree.
        kinds = [0x0800 if p[0] >> 4 == 4 else 0x86DD for p in cases] + [0x86DD, 0x0800]
        cases += [make(4), make(6)]

        def send():
            for packet, kind in zip(cases, kinds):
                self.frames([packet], kind)
            return len(cases)

        self.group("frames with wrong IP and UDP lengths", send, {"drop_rx_malformed": len(cases)})
        bad = [make(4)[:10] + struct.pack(">H", n) + make(4)[12:] for n in range(20)]
        self.group("wrong IPv4 header checksums", lambda: self.frames(bad), {"drop_ip_checksum": 20})

    def strays(self):
        packet = packets.udp(HERE[4], GATEWAY[4], 9, PORT, b"x")
        nobody = bytes.fromhex("020000009999")
        expected = {"drop_rx_other_host": 20}
        self.group("frames for another station", lambda: self.frames([packet] * 20, dst=nobody), {}, expected)
        tagged = [struct.pack(">HH", n, 0x0800) + packet for n in range(20)]
        self.group("VLAN tags", lambda: self.frames(tagged, 0x8100), {"drop_rx_vlan": 20})
        cases = [packets.udp("100.64.0.5", GATEWAY[4], 9, 5000 + n) for n in range(10)]
        cases += [packets.udp("fd00:2021:1111::5", GATEWAY[6], 9, 5000 + n) for n in range(10)]
        self.group("tunnel addresses outside of a tunnel", lambda: self.frames(cases), {"drop_rx_spoofed": 20})

    def fragments(self):
        body = packets.udp_header(HERE[4], GATEWAY[4], 9, PORT, bytes(64))
        places = ((0, True), (0, True), (1, True), (4, False), (0x1FFF, False))
        cases = [packets.ip4(HERE[4], GATEWAY[4], 17, body, fragment=m << 13 | o, ident=o) for o, m in places]
        body = packets.udp_header(HERE[6], GATEWAY[6], 9, PORT, bytes(64))
        cases += [packets.fragment6(HERE[6], GATEWAY[6], 17, body, o, m, ident=o) for o, m in places]
        cases *= 5
        expected = {"drop_ip_fragment+punt_host": len(cases)}
        self.group("fragments", lambda: self.frames(cases), {}, expected, may_answer=True)

    def neighbours(self):
        ours, theirs = packets.raw(HERE[4]), packets.raw(GATEWAY[4])
        arp = struct.pack(">HHBBH", 1, 0x0800, 6, 4, 1) + self.our_mac + ours + bytes(6) + theirs
        cases = [arp[:n] for n in range(1, len(arp))] + [self.bytes(28) for _ in range(20)]
        cases += [arp[:4] + bytes([n, m]) + arp[6:] for n in (0, 5, 255) for m in (0, 3, 255)]
        send = lambda: self.frames(cases, 0x0806) + self.frames(cases[:20], 0x0806, dst=b"\xff" * 6)
        self.group("ARP garbage", send, {}, {"punt_host": len(cases) + 20})
        # Neighbour and router advertisements that did not come over one hop, options of no length.
        rests = [bytes(4) + packets.raw(HERE[6]) + o for o in (b"", b"\1\0", b"\2\0" + bytes(6), self.bytes(40))]
        cases = [packets.icmp(HERE[6], GATEWAY[6], k, 0, r, ttl=t) for k in range(133, 138) for r in rests for t in (64, 255)]
        self.group("NDP garbage", lambda: self.frames(cases), {}, {"punt_host": len(cases)}, may_answer=True)
        cases = [packets.udp(HERE[v], GATEWAY[v], 9, 1 + n) for n in range(20) for v in (4, 6)]
        cases += [packets.tcp(HERE[v], GATEWAY[v], 9, 1 + n, flags=n) for n in range(20) for v in (4, 6)]
        self.group("other ports of the gateway", lambda: self.frames(cases), {}, {"punt_host": len(cases)}, may_answer=True)

    def finish(self):
        with self.report.group("the download finishes with the right sum") as notes:
            if self.downloads == 0:
                self.download_end()
            notes.append(f"100 MB, {self.downloads} times")
        with self.report.group("the peer's tunnel still rekeys and works"):
            self.tunnel.rekey()
            self.alive()
            assert not self.tunnel.refused, self.tunnel.refused[0]

    def run(self):
        self.truncated()
        self.forged_handshakes()
        self.forged_data()
        self.replays()
        self.stun_messages()
        self.right_credentials()
        self.flood()
        self.garbage()
        self.lengths()
        self.strays()
        self.fragments()
        self.neighbours()
        self.finish()


def main():
    report, attack = Report(), None
    with report.group("the client downloads, the Python peer is connected") as notes:
        attack = Attack(report, sys.argv[1])
        assert attack.client_data and attack.client_initiations and attack.client_checks, "the client's packets were not seen"
        notes.append(f"the client's path starts at {attack.client_data[-1].src}")
    if attack:
        attack.run()
    return report.end()


sys.exit(main())
