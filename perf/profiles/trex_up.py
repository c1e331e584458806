# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The Sallyport authors
"""TRex stateless profile: plays up.pcap once on the WAN port.

trex> start -f trex_up.py -p 0 -t pcap=up.pcap,ipg_us=2      (0.5 Mpps)
"""

from trex_stl_lib.api import STLProfile


class UpProfile:
    def get_streams(self, direction=0, pcap="up.pcap", ipg_us="2", **_):
        if direction != 0:
            return []
        return STLProfile.load_pcap(pcap, ipg_usec=float(ipg_us), loop_count=1).get_streams()


def register():
    return UpProfile()
