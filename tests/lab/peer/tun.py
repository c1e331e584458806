# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The Sallyport authors
"""The kernel's sockets over a Tunnel: a TUN device in a namespace that has the client's addresses."""

import contextlib
import fcntl
import os
import select
import struct
import subprocess
import threading

from .netns import netns
from .peer import Timeout

TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 1, 0x1000
NETWORKS = ("100.64.0.0/11", "fd00:2021:1111::/107")


class Tun:
    """Carries what @namespace sends to the tunnel networks, until closed; takes all inner packets."""

    def __init__(self, tunnel, namespace, name="peer0"):
        self.tunnel, self.is_closed = tunnel, False
        with netns(namespace):
            self.fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
            fcntl.ioctl(self.fd, TUNSETIFF, struct.pack("16sH14x", name.encode(), IFF_TUN | IFF_NO_PI))
            for words in (
                ["addr", "add", f"{tunnel.ipv4}/32", "dev", name],
                ["addr", "add", f"{tunnel.ipv6}/128", "dev", name, "nodad"],
                ["link", "set", name, "mtu", "1280", "up"],
                *(["route", "add", network, "dev", name] for network in NETWORKS),
            ):
                subprocess.run(["ip", *words], check=True)
        self.threads = [threading.Thread(target=t, daemon=True) for t in (self._up, self._down)]
        for thread in self.threads:
            thread.start()

    def _up(self):
        while not self.is_closed:
            if not select.select([self.fd], [], [], 0.2)[0]:
                continue
            with contextlib.suppress(OSError):
                self.tunnel.send_inner(os.read(self.fd, 2000))

    def _down(self):
        while not self.is_closed:
            with contextlib.suppress(OSError, Timeout):
                os.write(self.fd, self.tunnel.recv_inner(0.2))

    def close(self):
        self.is_closed = True
        for thread in self.threads:
            thread.join()
        os.close(self.fd)
