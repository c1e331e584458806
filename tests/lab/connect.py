#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The Sallyport authors
"""One TCP connection attempt; prints `connected` or the name of the error, TIMEOUT after 5 s.

usage: connect.py HOST PORT
"""

import errno
import socket
import sys
import time


def peer_check(s):
    """A socket that was just refused may look connected: it is closed before the reason can be read."""
    try:
        s.getpeername()
    except OSError as e:
        time.sleep(0.05)
        raise OSError(s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) or e.errno, "") from e


try:
    with socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=5) as connection:
        peer_check(connection)
    print("connected")
except TimeoutError:
    print("TIMEOUT")
except OSError as e:
    print(errno.errorcode.get(e.errno, str(e)))
