#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The Sallyport authors
"""One TCP connection attempt; prints `connected` or the name of the error, TIMEOUT after 5 s.

usage: connect.py HOST PORT
"""

import errno
import socket
import sys

try:
    socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=5).close()
    print("connected")
except TimeoutError:
    print("TIMEOUT")
except OSError as e:
    print(errno.errorcode.get(e.errno, str(e)))
