# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The Sallyport authors
"""Verdict lines as in tests/functional/tap.sh, and the gateway's counters."""

import contextlib
import json
import socket
import sys
import time
import traceback

SOCKET = "/run/dpdk/sallyport/dpdk_telemetry.v2"


class Report:
    def __init__(self):
        self.steps = self.failed = 0

    @contextlib.contextmanager
    def group(self, name):
        """A group of cases; yields a list for what is worth printing. An exception is its failure."""
        notes = []
        self.steps += 1
        try:
            yield notes
        except Exception as e:  # pylint: disable=broad-except
            self.failed += 1
            where = traceback.extract_tb(e.__traceback__)[-1]
            reason = str(e) or f"{type(e).__name__} at {where.filename}:{where.lineno}"
            print(f"not ok - {name}: {reason}", flush=True)
            traceback.print_exc(file=sys.stderr)
        else:
            print(f"ok - {name}{' (' + ', '.join(notes) + ')' if notes else ''}", flush=True)

    def end(self):
        """Exit status of the program."""
        return 1 if self.failed else 0


def telemetry(command):
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as s:
        s.settimeout(5)
        s.connect(SOCKET)
        s.recv(16384)
        s.send(command.encode())
        return next(iter(json.loads(s.recv(1 << 20)).values()))


def counters():
    """Drops, worker and control counters in one dictionary; drops as drop_NAME."""
    out = {f"drop_{k}": v for k, v in telemetry("/sallyport/drops").items()}
    return {**out, **telemetry("/sallyport/worker"), **telemetry("/sallyport/control")}


def increments(before, now):
    return {k: v - before[k] for k, v in now.items() if v != before[k]}


def total(delta, names):
    return sum(delta.get(n, 0) for n in names.split("+"))


def settle(before, expected, timeout=3):
    """Waits until each "name" or "name+name" of @expected grew by its number; returns what grew."""
    deadline = time.monotonic() + timeout
    while True:
        delta = increments(before, counters())
        if all(total(delta, n) >= v for n, v in expected.items()) or time.monotonic() > deadline:
            return delta
        time.sleep(0.05)


@contextlib.contextmanager
def counted(exactly, at_least=None, timeout=3):
    """The block makes the counters grow by these numbers; "a+b" is the sum of two counters."""
    at_least = at_least or {}
    before = counters()
    yield
    delta = settle(before, {**exactly, **at_least}, timeout)
    grown = {n: total(delta, n) for n in (*exactly, *at_least)}
    wrong = {n: f"{grown[n]} instead of {v}" for n, v in exactly.items() if grown[n] != v}
    wrong |= {n: f"{grown[n]} instead of {v} or more" for n, v in at_least.items() if grown[n] < v}
    if wrong:
        drops = {k: v for k, v in delta.items() if k.startswith(("drop_", "ice_", "noise_"))}
        raise AssertionError(f"{wrong}; all that grew: {drops}")
