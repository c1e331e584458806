#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The Sallyport authors
"""Asks a running gateway over DPDK's telemetry socket and prints the answer's JSON body.

usage: telemetry.py COMMAND [FILE_PREFIX]      e.g. telemetry.py /sallyport/drops
"""

import json
import socket
import sys

command = sys.argv[1]
prefix = sys.argv[2] if len(sys.argv) > 2 else "sallyport"
with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as s:
    s.settimeout(5)
    s.connect(f"/run/dpdk/{prefix}/dpdk_telemetry.v2")
    s.recv(16384)  # greeting: version, pid, max output length
    s.send(command.encode())
    reply = json.loads(s.recv(1 << 20))
print(json.dumps(next(iter(reply.values()))))
