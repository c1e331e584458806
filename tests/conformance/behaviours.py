#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The Sallyport authors
"""The numbered behaviours of the data path, each a named test against the real gateway.

Each test makes its own clients. The number in the name is that of the list in README.md; a test that
makes sense for both families runs for each. Expected packets come from the oracle.
"""

import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from conformance.behaviours_lab import TESTS, Lab  # noqa: E402
from lab.peer.report import Report  # noqa: E402

# Each registers its tests, in the order of running. The last test ends the gateway.
from conformance import behaviours_packets, behaviours_dns, behaviours_policy, behaviours_nat, behaviours_life  # noqa: E402,F401


def main():
    report = Report()
    w = Lab()
    is_ended_by_failure = "-x" in sys.argv
    patterns = [a for a in sys.argv[1:] if a != "-x"] or ["."]
    for name, function, version in TESTS:
        if report.failed and is_ended_by_failure:
            break
        if not any(re.search(p, name) for p in patterns):
            continue
        with report.group(name) as notes:
            notes += filter(None, [function(w, version)])
        for c in list(w.clients.values()):  # their tunnels stay in the gateway until they are rejected
            if c.tunnel is not None and function is not behaviours_life.sigterm:
                for r, _ in list(c.grants.values()):
                    c.reject(r)
                c.tunnel.close()
            del w.clients[c.id]
    return report.end()


if __name__ == "__main__":
    sys.exit(main())
