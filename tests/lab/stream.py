#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The Sallyport authors
"""A stream of numbered datagrams that an echo server sends back: nothing may be missing.

usage: stream.py echo PORT
       stream.py send HOST PORT SECONDS PER_SECOND

The sender prints one line of JSON: sent, lost, repeated, longest_gap_ms (between two that came back).
"""

import json
import socket
import struct
import sys
import threading
import time

SIZE = 1000
LAST_WAIT_S = 1.0


def bound(port=0):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
    s.bind(("", port))
    return s


def echo(port):
    s = bound(port)
    while True:
        data, source = s.recvfrom(2048)
        s.sendto(data, source)


class Receiver(threading.Thread):
    def __init__(self, sock):
        super().__init__(daemon=True)
        self.sock, self.seen, self.repeated, self.gap, self.last = sock, set(), 0, 0.0, None

    def run(self):
        while True:
            (number,) = struct.unpack_from(">I", self.sock.recv(2048))
            now = time.monotonic()
            self.gap = max(self.gap, now - (self.last or now))
            self.last = now
            self.repeated += number in self.seen
            self.seen.add(number)


def send(host, port, seconds, per_second):
    s = bound()
    s.connect((host, port))
    receiver = Receiver(s)
    receiver.start()
    start, total = time.monotonic(), int(seconds * per_second)
    for number in range(total):
        ahead = start + number / per_second - time.monotonic()
        if ahead > 0:
            time.sleep(ahead)
        s.send(struct.pack(">I", number).ljust(SIZE, b"."))
    deadline = time.monotonic() + LAST_WAIT_S
    while len(receiver.seen) < total and time.monotonic() < deadline:
        time.sleep(0.02)
    lost = total - len(receiver.seen)
    gap = round(receiver.gap * 1000)
    print(json.dumps({"sent": total, "lost": lost, "repeated": receiver.repeated, "longest_gap_ms": gap}))


if sys.argv[1] == "echo":
    echo(int(sys.argv[2]))
else:
    send(sys.argv[2], int(sys.argv[3]), float(sys.argv[4]), float(sys.argv[5]))
