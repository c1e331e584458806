#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The Sallyport authors
"""Behaviour 63: what a gateway says that clients cannot reach. Runs in the lab of no_relays_test."""

import os
import queue
import subprocess
import sys
import uuid

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from conformance import world  # noqa: E402
from lab.peer import packets  # noqa: E402
from lab.peer.packets import Packet  # noqa: E402
from lab.peer.report import Report, counters, telemetry  # noqa: E402

PORTAL = ("192.0.2.99", 8081)
WEB = "192.0.2.80"
RELAY = {"type": "turn", "addr": "203.0.113.77:3478", "username": "u", "password": "p", "expires_at": world.FOREVER}


class Lab(world.World):
    def __init__(self):
        super().__init__("lan", PORTAL)
        self.c = world.Client(self, 1)
        self.r = world.resource("192.0.2.0/24")
        self.unrelated()

    def unrelated(self):
        """Takes what the portal has got so far."""
        events = []
        while True:
            try:
                events.append(self.portal.messages.get(timeout=0.5)[0])
            except queue.Empty:
                return events

    def ask(self):
        """What the gateway answers to an authorization."""
        self.portal.push("create_authorization", self.c.payload(self.r, None, str(uuid.uuid4())))
        self.portal.messages.put(self.portal.messages.get(timeout=10))  # the first may take its time
        return self.unrelated()

    def refused(self):
        before = counters()["authorized"]
        answers = self.ask()
        assert answers == ["no_relays"], answers
        assert counters()["authorized"] == before and telemetry("/sallyport/clients")["clients"] == 0, "state kept"


def main():
    report, w = Report(), Lab()
    with report.group("63 neither a relay nor an address: no_relays, no authorization_created, nothing kept"):
        w.refused()
    with report.group("63 the client's second try, and relays_presence without relays: the same"):
        w.refused()
        w.portal.push("relays_presence", {"disconnected_ids": [], "connected": []})
        w.refused()
    with report.group("63 reachable, relays_presence, and tried again: served, and the tunnel works"):
        subprocess.run(["ip", "-n", "gateway", "addr", "add", "203.0.113.10/24", "dev", "wan"], check=True)
        w.portal.push("relays_presence", {"disconnected_ids": [], "connected": [RELAY | {"id": str(uuid.uuid4())}]})
        world.wait_until(lambda: "authorization_created" in w.ask(), 10, "authorization_created")
        w.c.connect(w.r)
        request = packets.echo(w.c.ipv4, WEB, 7, 1, b"after no_relays")
        w.c.tunnel.send_inner(request)
        reply = Packet(w.c.tunnel.recv_inner(10, lambda p: b"after no_relays" in p))
        assert (reply.kind, reply.src) == (0, WEB), vars(reply)
    return report.end()


if __name__ == "__main__":
    sys.exit(main())
