# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The Sallyport authors
"""The portal's websocket as a client sees it (Phoenix V1 objects, /client/v2/websocket)."""

import base64
import json
import queue
import threading
import time
import urllib.parse

from . import ws

HEARTBEAT_S = 10
USER_AGENT = "Debian/12.0.0 headless-client/1.5.12 (x86_64; 6.1.0)"


class PortalError(Exception):
    """The portal refused or did not answer."""


class PortalClient:
    """Joined after construction. Pushes go to @on_push(event, payload) on the reader's thread; those
    for which it returns a false value wait in a queue for wait()."""

    def __init__(self, url, token, external_id, public_key, name, on_push=lambda event, payload: False):
        query = {"external_id": external_id, "name": name}
        query["public_key"] = base64.b64encode(public_key).decode()
        target = f"{url}/client/v2/websocket?{urllib.parse.urlencode(query)}"
        headers = {"User-Agent": USER_AGENT, "X-Authorization": f"Bearer {token}"}
        self.connection = ws.connect(target, headers)
        self.on_push, self.ref, self.pushes, self.replies = on_push, 0, queue.Queue(), queue.Queue()
        self.lock, self.is_closed = threading.Lock(), False
        threading.Thread(target=self._read, daemon=True).start()
        self.send("phx_join", None)
        _, payload = self._get(self.replies, 5, "join reply")
        if payload != {"status": "ok", "response": {}}:
            raise PortalError(f"join: {payload}")
        self.init = self.wait("init")

    def send(self, event, payload, topic="client"):
        with self.lock:
            ref, self.ref = self.ref, self.ref + 1
        frame = {"topic": topic, "event": event, "payload": payload, "ref": ref}
        self.connection.send(json.dumps(frame))

    def _get(self, q, timeout, what):
        try:
            return q.get(timeout=timeout)
        except queue.Empty:
            raise PortalError(f"no {what} within {timeout} s") from None

    def wait(self, event, timeout=10):
        """The payload of the next push with this name; others are dropped."""
        deadline = time.monotonic() + timeout
        while True:
            left = max(0.01, deadline - time.monotonic())
            name, payload = self._get(self.pushes, left, event)
            if name == event:
                return payload

    def _read(self):
        next_beat = time.monotonic() + HEARTBEAT_S
        while not self.is_closed:
            try:
                frame = json.loads(self.connection.recv(0.5))
            except TimeoutError:
                frame = None
            except (ws.Closed, OSError):
                return
            if time.monotonic() >= next_beat:
                next_beat += HEARTBEAT_S
                self.send("heartbeat", {}, "phoenix")
            if frame is None or frame["topic"] == "phoenix":
                continue
            item = frame["event"], frame["payload"]
            if item[0] == "phx_reply":
                self.replies.put(item)
            elif not self.on_push(*item):
                self.pushes.put(item)

    def resource(self, name):
        """The id of the resource with this name in init."""
        for r in self.init["resources"]:
            if name in (r["name"], r["id"]):
                return r["id"]
        raise PortalError(f"no resource {name} in init")

    def request_authorization(self, resource_id, gateway_ids=()):
        payload = {"resource_id": resource_id, "connected_gateway_ids": list(gateway_ids)}
        self.send("request_authorization", payload)

    def candidates(self, gateway_id, lines):
        self.send("new_gateway_ice_candidates", {"gateway_id": gateway_id, "candidates": lines})

    def close(self):
        self.is_closed = True
        self.connection.close()
        self.connection.drop()
