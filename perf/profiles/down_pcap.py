#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The Sallyport authors
"""Makes a pcap of LAN packets towards NAT mappings that exist, one frame each; play it in a loop.

Which mappings exist is what the LAN side sees while up.pcap plays, e.g.
    tcpdump -n -i lan -w seen.pcap 'udp dst port 7'
    down_pcap.py --source-mac 02:00:00:00:00:03 --gateway-mac 02:00:00:00:00:04 seen.pcap down.pcap
"""

import argparse

from scapy.all import IP, UDP, Ether, PcapWriter, Raw, rdpcap


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    p.add_argument("--source-mac", required=True)
    p.add_argument("--gateway-mac", required=True, help="the gateway's LAN port")
    p.add_argument("--size", type=int, default=1280, help="inner IP packet (1280)")
    p.add_argument("seen")
    p.add_argument("out")
    a = p.parse_args()
    flows = {(q[IP].src, q[UDP].sport, q[IP].dst, q[UDP].dport) for q in rdpcap(a.seen) if UDP in q}
    with PcapWriter(a.out, linktype=1, sync=False) as w:
        for gateway, port, server, service in sorted(flows):
            w.write(Ether(src=a.source_mac, dst=a.gateway_mac) / IP(src=server, dst=gateway)
                    / UDP(sport=service, dport=port) / Raw(bytes(a.size - 28)))
    print(f"{len(flows)} flows in {a.out}")


main()
