# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The Sallyport authors
"""A portal for gateways that says what the test tells it to say, and remembers the answers."""

import base64
import json
import queue
import socket
import threading
import time
import urllib.parse

from . import ws

INTERFACE = {"ipv4": "100.64.7.1", "ipv6": "fd00:2021:1111::7:1"}


class ScriptedPortal:
    """Accepts websockets at (host, port) one after the other and joins them.

    authorizations, answers_heartbeats, answers_joins: what the next (or this) connection gets
    connection, joins, public_key, target, headers: what it saw
    """

    def __init__(self, host, port):
        self.authorizations, self.answers_heartbeats, self.answers_joins = [], True, True
        self.refuse_with = None  # bytes of an HTTP answer instead of the upgrade
        self.connection, self.joins, self.attempts = None, 0, 0
        self.messages, self.condition = queue.Queue(), threading.Condition()
        self.public_key = self.target = self.headers = None
        self.closes = []  # what ended each connection
        self.listener = socket.create_server((host, port), reuse_port=True)
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock):
        with self.condition:
            self.attempts += 1
            self.condition.notify_all()
        try:
            if self.refuse_with is not None:
                ws.read_head(sock)
                sock.sendall(self.refuse_with)
                sock.close()
                return
            connection, target, self.headers = ws.upgrade(sock)
        except (ws.Closed, ws.Refused, OSError):
            return
        self.target = target
        query = urllib.parse.parse_qs(urllib.parse.urlsplit(target).query)
        self.public_key = base64.b64decode(query["public_key"][0])
        self.connection = connection
        while True:
            try:
                self._handle(connection, json.loads(connection.recv(3600)))
            except (ws.Closed, OSError) as e:
                with self.condition:
                    self.closes.append(e)
                    self.condition.notify_all()
                sock.close()
                return

    def _handle(self, connection, frame):
        if frame["topic"] == "phoenix":
            if self.answers_heartbeats:
                self._reply(connection, frame)
        elif frame["event"] == "phx_join":
            if not self.answers_joins:
                return
            self._reply(connection, frame)
            self.push("init", self.init(), connection)
            with self.condition:
                self.joins += 1
                self.condition.notify_all()
        else:
            self.messages.put((frame["event"], frame["payload"]))

    def _reply(self, connection, frame):
        payload = {"status": "ok", "response": {}}
        answer = {"topic": frame["topic"], "event": "phx_reply", "ref": frame["ref"]}
        connection.send(json.dumps({**answer, "payload": payload}))

    def init(self):
        return {
            "interface": INTERFACE,
            "config": {"ipv4_masquerade_enabled": True, "ipv6_masquerade_enabled": True},
            "account_slug": "test",
            "relays": [],
            "authorizations": self.authorizations,
            "flow_logs": {"api_url": "https://test/", "upload_interval_secs": 0, "upload_batch_size": 1},
        }

    def push(self, event, payload, connection=None):
        frame = {"topic": "gateway", "event": event, "payload": payload, "ref": None}
        (connection or self.connection).send(json.dumps(frame))

    def text(self, text):
        self.connection.send(text)

    def expect(self, event, timeout=5, match=lambda payload: True):
        """The payload of the next message with this name; others are dropped."""
        deadline = time.monotonic() + timeout
        while True:
            try:
                name, payload = self.messages.get(timeout=max(0.01, deadline - time.monotonic()))
            except queue.Empty:
                raise TimeoutError(f"no {event} within {timeout} s") from None
            if name == event and match(payload):
                return payload

    def wait_joined(self, more_than, timeout):
        with self.condition:
            if not self.condition.wait_for(lambda: self.joins > more_than, timeout):
                raise TimeoutError(f"no join within {timeout} s")

    def close(self):
        self.listener.close()
        if self.connection:
            self.connection.drop()
