#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The Sallyport authors
"""Cases of flood_test: what costs the control core most, beside a download and a stream of numbered
datagrams of the real client. Neither loses a packet to it.

The floods are paced, because their sender shares the machine's cores with the lab. A datagram that a
queue of the lab's kernel had no room for, while a program of the lab did not get a core, was not lost
to the gateway: such queues are counted, too.

usage: flood.py HOST   (whose /blob the client downloads, and which echoes on UDP port 7000)
"""

import json
import os
import random
import re
import struct
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lab"))
from peer import packets, wire  # noqa: E402
from peer.netns import netns  # noqa: E402
from peer.peer import Peer, oracle  # noqa: E402
from peer.report import Report, counters, settle, total  # noqa: E402

LAB = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lab")
PORTAL = "ws://203.0.113.1:8081"
GATEWAY, PORT = "203.0.113.10", 52625
# Strangers of this net do not exist; what the gateway answers them goes nowhere.
STRANGERS = "198.51.100."
FLOOD_S, AROUND_S = 12, 1.5
PER_SECOND = int(os.environ.get("FLOOD_PPS", "20000"))
BURST_S, BURST_MAX = 0.001, 256
STREAM_PER_SECOND = 500
JUDGED_PER_SECOND = 100  # at least; the gateway may leave the rest unread
DOWNLOAD_GAP_MS = "3000"
DOWNLOAD_RATE = "2100000"  # it lasts as long as all of the cases
# Drops that a packet of the client's, or one for it, can end in; the flood's own are others.
OWN_DROPS = (
    "ip_checksum l4_checksum wg_short wg_unknown_index wg_expired wg_auth wg_replay wg_no_keypair wg_no_path inner_malformed "
    "inner_too_big inner_spoofed policy_prohibited policy_unreachable policy_reply flow_table_full nat_ports_full no_flow "
    "no_route handoff_full tx_full no_mbuf"
).split()


def in_ns(namespace, *command):
    return subprocess.Popen(["ip", "netns", "exec", namespace, *command], stdout=subprocess.PIPE, text=True)


def lab_losses():
    """Packets for which a device's or a socket's queue in the lab had no room."""
    n = 0
    for namespace in ("client", "internet", "lan"):
        out = subprocess.check_output(["ip", "-n", namespace, "-s", "-j", "link"], text=True)
        n += sum(link["stats64"]["tx"]["dropped"] for link in json.loads(out) if link)
        out = subprocess.check_output(["ip", "netns", "exec", namespace, "nstat", "-asz", "*RcvbufErrors"], text=True)
        n += sum(int(line.split()[1]) for line in out.splitlines() if line[0] != "#")
    return n


def paths():
    """How often a path was chosen, at either end."""
    n = 0
    for log in ("client.log", "gateway.log"):
        with open(log, encoding="utf-8") as f:
            n += len(re.findall(r" path=", f.read()))
    return n


class Floods:
    def __init__(self, report, host):
        self.report, self.host, self.random = report, host, random.Random(5)
        with netns("internet"):
            self.peer = Peer(PORTAL, "peer-token", "flood", "203.0.113.1")
            self.tunnel = self.peer.connect("web4")
            self.raw = wire.Wire("internet", "wan")
            self.raw.keep = lambda frame: False
        self.to = wire.neighbour("internet", GATEWAY), wire.mac_of("internet", "wan")
        with open("blob.sha256", encoding="ascii") as f:
            arguments = (f"http://{host}/blob", f.read().strip(), DOWNLOAD_GAP_MS, DOWNLOAD_RATE)
        self.download = in_ns("client", "/usr/bin/python3", f"{LAB}/fetch.py", *arguments)

    def frame(self, payload):
        source = STRANGERS + str(self.random.randrange(192, 255))
        return wire.frame(*self.to, packets.udp(source, GATEWAY, self.random.randrange(1024, 65536), PORT, payload))

    def send(self, frames):
        """For FLOOD_S, in bursts. Returns how many were sent in how many seconds."""
        sent, start = 0, time.monotonic()
        while (passed := time.monotonic() - start) < FLOOD_S:
            due = min(int(passed * PER_SECOND) - sent, BURST_MAX)
            for _ in range(due if frames else 0):
                self.raw.send(frames[sent % len(frames)])
                sent += 1
            time.sleep(BURST_S)
        return sent, passed

    def flood(self, name, frames, counts):
        with self.report.group(name) as notes:
            before, paths_before, losses_before = counters(), paths(), lab_losses()
            seconds = str(FLOOD_S + 2 * AROUND_S)
            arguments = ("send", self.host, "7000", seconds, str(STREAM_PER_SECOND))
            stream = in_ns("client", "/usr/bin/python3", f"{LAB}/stream.py", *arguments)
            time.sleep(AROUND_S)
            sent, passed = self.send(frames)
            result = json.loads(stream.communicate(timeout=30)[0])
            delta = settle(before, {})
            judged, losses = total(delta, counts), lab_losses() - losses_before
            if frames:
                notes.append(f"{sent / passed:.0f} packets/s for {passed:.0f} s: {judged} judged, {delta.get('drop_punt_full', 0)} dropped unread")
            notes.append(f"stream of {result['sent']}, {result['lost']} lost, longest gap {result['longest_gap_ms']} ms")
            notes.append(f"{losses} lost in queues of the lab")
            own = {n: delta[f"drop_{n}"] for n in OWN_DROPS if f"drop_{n}" in delta}
            assert not own, f"the client's own packets were dropped: {own}; {notes}"
            assert result["lost"] <= losses, str(notes)
            assert paths() == paths_before, f"another path was chosen; {notes}"
            assert judged >= FLOOD_S * JUDGED_PER_SECOND * bool(frames), str(notes)

    def stun(self):
        """Checks with the name of a connection that exists, signed with another key."""
        agent = self.tunnel.agent
        remote = next(r for r in agent.remotes if r.address == agent.selected)
        return [self.frame(agent.check(remote, key=f"wrong-{n}")) for n in range(2000)]

    def initiations(self):
        """Right to the first MAC, random behind it."""
        key = self.tunnel.gateway_key
        make = lambda n: oracle.macs(struct.pack("<II", 1, n) + self.random.randbytes(108), key)
        return [self.frame(make(n)) for n in range(2000)]

    def rekey(self):
        with self.report.group("after the floods the peer's tunnel rekeys and works"):
            time.sleep(1.1)
            self.tunnel.rekey()
            self.tunnel.send_inner(packets.echo(self.peer.ipv4, self.host, 77))
            self.tunnel.recv_inner(3)

    def finish(self):
        with self.report.group("the download that all this ran beside finishes") as notes:
            notes.append(self.download.communicate(timeout=120)[0].strip())
            assert self.download.returncode == 0, notes[0]

    def run(self):
        self.flood("without a flood", [], "")
        self.flood("STUN with a wrong MESSAGE-INTEGRITY", self.stun(), "ice_bad_integrity")
        self.flood("forged initiations with a right mac1", self.initiations(), "noise_cookie_sent+noise_decrypt_failed")
        self.rekey()
        self.finish()


def main():
    report = Report()
    Floods(report, sys.argv[1]).run()
    return report.end()


sys.exit(main())
