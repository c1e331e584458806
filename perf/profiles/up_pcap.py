#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The Sallyport authors
"""Makes a pcap of genuine WireGuard data packets for a static peer of the gateway.

Shakes hands with the running gateway from this host's --source, then writes --count frames with counters
1, 2, 3 ... that a packet generator plays ONCE, in order, from the same outer address, within 180 s: after
that the keys are too old, and a second time everything is a replay.

    up_pcap.py --key client.key --gateway-key gateway.pub --gateway 203.0.113.10:52625 \\
        --source 198.51.100.20:40000 --tunnel 100.64.9.1 --server 192.0.2.80:7 \\
        --source-mac 02:00:00:00:00:01 --next-hop-mac 02:00:00:00:00:02 --count 100000 up.pcap
"""

import argparse
import base64
import os
import pathlib
import socket
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "tests/conformance/noise"))
import oracle  # noqa: E402  (WireGuard, written from its paper)
from scapy.all import IP, UDP, Ether, PcapWriter, Raw  # noqa: E402


def endpoint(text):
    host, port = text.rsplit(":", 1)
    return host, int(port)


def key_file(path):
    return base64.b64decode(pathlib.Path(path).read_text(encoding="ascii").strip())


def arguments():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    p.add_argument("--key", type=key_file, required=True, help="the peer's private key (wg genkey)")
    p.add_argument("--gateway-key", type=key_file, required=True, help="the gateway's public key")
    p.add_argument("--psk", type=key_file, default=bytes(32))
    p.add_argument("--gateway", type=endpoint, required=True)
    p.add_argument("--source", type=endpoint, required=True, help="outer address of this host")
    p.add_argument("--tunnel", required=True, help="the peer's tunnel address")
    p.add_argument("--server", type=endpoint, required=True)
    p.add_argument("--source-mac", required=True)
    p.add_argument("--next-hop-mac", required=True, help="the gateway's WAN port, or its router")
    p.add_argument("--size", type=int, default=1280, help="inner IP packet (1280)")
    p.add_argument("--flows", type=int, default=10)
    p.add_argument("--count", type=int, default=100000)
    p.add_argument("out")
    return p.parse_args()


def handshake(a):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind(a.source)
    s.settimeout(5)
    initiator = oracle.Initiator(a.key, a.gateway_key, a.psk)
    index = int.from_bytes(os.urandom(4), "little")
    s.sendto(initiator.initiation(index, os.urandom(32), oracle.tai64n(time.time_ns())), a.gateway)
    session = initiator.response(s.recv(2048))
    s.sendto(session.encrypt(b""), a.gateway)  # confirms the keys
    s.close()
    return session


def main():
    a = arguments()
    session = handshake(a)
    outer = Ether(src=a.source_mac, dst=a.next_hop_mac) / IP(src=a.source[0], dst=a.gateway[0]) \
        / UDP(sport=a.source[1], dport=a.gateway[1], chksum=0)
    inners = [bytes(IP(src=a.tunnel, dst=a.server[0]) / UDP(sport=20000 + i, dport=a.server[1])
                    / Raw(bytes(a.size - 28))) for i in range(a.flows)]
    head = bytes(outer / Raw(bytes(a.size + 32)))[:42]  # lengths and checksum are those of every frame
    with PcapWriter(a.out, linktype=1, sync=False) as w:
        for i in range(a.count):
            w.write(head + session.encrypt(inners[i % a.flows]))
    print(f"{a.count} frames in {a.out}; play them once, within 180 s")


main()
