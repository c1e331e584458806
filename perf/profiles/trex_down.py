# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The Sallyport authors
"""TRex stateless profile: plays down.pcap in a loop on the LAN port.

trex> start -f trex_down.py -p 1 -t pcap=down.pcap,ipg_us=2
"""

from trex_stl_lib.api import STLProfile


class DownProfile:
    def get_streams(self, direction=0, pcap="down.pcap", ipg_us="2", **_):
        return STLProfile.load_pcap(pcap, ipg_usec=float(ipg_us), loop_count=0).get_streams()


def register():
    return DownProfile()
