#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The Sallyport authors
"""A NAT between one client and one server, whose outside address changes at SIGUSR1.

usage: nat.py LISTEN:PORT SERVER:PORT OUTSIDE:PORT OUTSIDE:PORT

The outside addresses take turns; what arrives at the one that is not in use is lost, as behind a
NAT that lost its state.
"""

import select
import signal
import socket
import sys


def endpoint(text):
    host, port = text.rsplit(":", 1)
    return host, int(port)


def bound(addr):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind(addr)
    return s


def main():
    listen, server, *outside = [endpoint(a) for a in sys.argv[1:]]
    inner = bound(listen)
    outer = [bound(a) for a in outside]
    client = None
    signal.signal(signal.SIGUSR1, lambda *_: outer.reverse())
    while True:
        ready, _, _ = select.select([inner, *outer], [], [])
        for s in ready:
            data, source = s.recvfrom(65536)
            if s is inner:
                client = source
                outer[0].sendto(data, server)
            elif s is outer[0] and client:
                inner.sendto(data, client)


main()
