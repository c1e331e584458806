# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The Sallyport authors
"""Watching and making Ethernet frames on a device of a namespace."""

import socket
import struct
import subprocess
import threading
import time

from .netns import netns

ETH_P_ALL, PACKET_OUTGOING = 3, 4


class Wire:
    """Frames that arrive at @device in @namespace since creation (outgoing ones too if asked)."""

    def __init__(self, namespace, device, outgoing=False):
        with netns(namespace):
            self.sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 << 20)
            self.sock.bind((device, ETH_P_ALL))
        self.namespace, self.device, self.outgoing = namespace, device, outgoing
        self.frames, self.condition, self.is_closed = [], threading.Condition(), False
        self.keep = lambda frame: True
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self):
        while not self.is_closed:
            try:
                frame, address = self.sock.recvfrom(65536)
            except OSError:
                return
            if address[2] == PACKET_OUTGOING and not self.outgoing or not self.keep(frame):
                continue
            with self.condition:
                self.frames.append(frame)
                self.condition.notify_all()

    def send(self, frame):
        self.sock.send(frame)

    def take(self, match, timeout=2, what="frame"):
        """Removes and returns the IP packet of the first frame whose IP packet matches."""
        deadline = time.monotonic() + timeout
        with self.condition:
            while True:
                for frame in self.frames:
                    if match(ip_of(frame)):
                        self.frames.remove(frame)
                        return ip_of(frame)
                left = deadline - time.monotonic()
                if left <= 0:
                    raise TimeoutError(f"no {what} on {self.device} within {timeout} s")
                self.condition.wait(left)

    def packets(self):
        """The IP packets seen and not taken."""
        with self.condition:
            return [p for p in map(ip_of, self.frames) if p]

    def clear(self):
        with self.condition:
            self.frames.clear()

    def close(self):
        self.is_closed = True
        self.sock.close()


def ip_of(frame):
    """The IP packet of a frame without Ethernet's padding; empty for other frames."""
    packet = frame[14:]
    if frame[12:14] == b"\x08\x00" and len(packet) >= 20:
        return packet[: struct.unpack(">H", packet[2:4])[0]]
    if frame[12:14] == b"\x86\xdd" and len(packet) >= 40:
        return packet[: 40 + struct.unpack(">H", packet[4:6])[0]]
    return b""


def mac_of(namespace, device):
    with netns(namespace):
        out = subprocess.check_output(["ip", "-o", "link", "show", device], text=True)
    words = out.split()
    return bytes.fromhex(words[words.index("link/ether") + 1].replace(":", ""))


def neighbour(namespace, address):
    """The MAC that the namespace's kernel has for the address."""
    with netns(namespace):
        out = subprocess.check_output(["ip", "neigh", "show", address], text=True)
    words = out.split()
    return bytes.fromhex(words[words.index("lladdr") + 1].replace(":", ""))


def frame(dst, src, packet, kind=None):
    if kind is None:
        kind = 0x0800 if packet[0] >> 4 == 4 else 0x86DD
    return dst + src + struct.pack(">H", kind) + packet
