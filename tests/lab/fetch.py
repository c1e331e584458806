#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The Sallyport authors
"""Downloads at a bounded rate and looks at the longest time without a byte.

usage: fetch.py URL SHA256 MAX_GAP_MS [BYTES_PER_SECOND]

Succeeds if the hash is right and no gap was longer.
"""

import hashlib
import sys
import time
import urllib.request

CHUNK = 64 * 1024


def main():
    url, wanted, max_gap = sys.argv[1], sys.argv[2], int(sys.argv[3])
    rate = int(sys.argv[4]) if len(sys.argv) > 4 else 8_000_000
    digest, size, gap = hashlib.sha256(), 0, 0.0
    start = time.monotonic()
    with urllib.request.urlopen(url, timeout=40) as response:
        while True:
            before = time.monotonic()
            data = response.read1(CHUNK)
            gap = max(gap, time.monotonic() - before)
            if not data:
                break
            digest.update(data)
            size += len(data)
            ahead = size / rate - (time.monotonic() - start)
            if ahead > 0:
                time.sleep(ahead)
    took = time.monotonic() - start
    print(f"{size} bytes in {took:.1f} s, longest gap {gap * 1000:.0f} ms")
    if digest.hexdigest() != wanted:
        print("SHA-256 differs")
        return 1
    if gap * 1000 > max_gap:
        print(f"longest gap {gap * 1000:.0f} ms, at most {max_gap} wanted")
        return 1
    return 0


sys.exit(main())
