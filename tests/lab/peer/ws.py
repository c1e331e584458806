# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The Sallyport authors
"""WebSocket (RFC 6455), as much as a Phoenix channel needs: blocking, one object per connection."""

import base64
import hashlib
import os
import select
import socket
import struct
import threading
import time
import urllib.parse

GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10


class Closed(Exception):
    """The other side closed: code (None without one) and reason."""

    def __init__(self, code=None, reason=""):
        super().__init__(f"closed: {code} {reason}")
        self.code, self.reason = code, reason


class Refused(Exception):
    """The upgrade was answered with another status than 101."""

    def __init__(self, status, body):
        super().__init__(f"HTTP {status}: {body[:200]!r}")
        self.status, self.body = status, body


def accept_key(key):
    return base64.b64encode(hashlib.sha1((key + GUID).encode()).digest()).decode()


class Connection:
    def __init__(self, sock, is_client, rest=b""):
        self.sock, self.is_client, self.buffer = sock, is_client, rest
        self.lock = threading.Lock()
        self.message = b""

    def send_frame(self, opcode, payload, fin=True):
        if isinstance(payload, str):
            payload = payload.encode()
        mask_bit = 0x80 if self.is_client else 0
        head = bytes([opcode | (0x80 if fin else 0)])
        if len(payload) < 126:
            head += bytes([mask_bit | len(payload)])
        elif len(payload) < 1 << 16:
            head += struct.pack(">BH", mask_bit | 126, len(payload))
        else:
            head += struct.pack(">BQ", mask_bit | 127, len(payload))
        if self.is_client:
            mask = os.urandom(4)
            stream = (mask * (len(payload) // 4 + 1))[: len(payload)]
            n = len(payload)
            masked = int.from_bytes(payload, "big") ^ int.from_bytes(stream, "big")
            head, payload = head + mask, masked.to_bytes(n, "big")
        with self.lock:
            self.sock.sendall(head + payload)

    def send(self, text):
        self.send_frame(TEXT, text)

    def close(self, code=1000, reason=""):
        try:
            self.send_frame(CLOSE, struct.pack(">H", code) + reason.encode())
        except OSError:
            pass

    def drop(self):
        """Without a closing handshake."""
        try:
            self.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.sock.close()

    def _need(self, n, deadline):
        while len(self.buffer) < n:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.sock], [], [], left)[0]:
                raise TimeoutError("no message in time")
            try:
                data = self.sock.recv(65536)
            except OSError as e:
                raise Closed(None, str(e)) from e
            if not data:
                raise Closed(None, "end of stream")
            self.buffer += data

    def _frame(self, deadline):
        self._need(2, deadline)
        size, at = self.buffer[1] & 0x7F, 2
        if size == 126:
            self._need(4, deadline)
            size, at = struct.unpack(">H", self.buffer[2:4])[0], 4
        elif size == 127:
            self._need(10, deadline)
            size, at = struct.unpack(">Q", self.buffer[2:10])[0], 10
        mask = None
        if self.buffer[1] & 0x80:
            self._need(at + 4, deadline)
            mask, at = self.buffer[at : at + 4], at + 4
        self._need(at + size, deadline)
        first, payload = self.buffer[0], self.buffer[at : at + size]
        self.buffer = self.buffer[at + size :]
        if mask:
            payload = bytes(b ^ mask[i % 4] for i, b in enumerate(payload))
        return first & 0x0F, bool(first & 0x80), payload

    def recv(self, timeout):
        """The next text or binary message (bytes). Raises TimeoutError or Closed."""
        deadline = time.monotonic() + timeout
        while True:
            opcode, fin, payload = self._frame(deadline)
            if opcode == PING:
                self.send_frame(PONG, payload)
            elif opcode == CLOSE:
                code = struct.unpack(">H", payload[:2])[0] if len(payload) >= 2 else None
                self.close(code or 1000)
                raise Closed(code, payload[2:].decode(errors="replace"))
            elif opcode in (TEXT, BINARY, CONTINUATION):
                self.message += payload
                if fin:
                    message, self.message = self.message, b""
                    return message


def read_head(sock, timeout=10):
    """An HTTP head: (first line, lower-case headers, bytes behind it)."""
    sock.settimeout(timeout)
    data = b""
    while b"\r\n\r\n" not in data:
        chunk = sock.recv(4096)
        if not chunk:
            raise Closed(None, "end of stream in the HTTP head")
        data += chunk
    sock.settimeout(None)
    head, rest = data.split(b"\r\n\r\n", 1)
    first, *lines = head.decode("latin-1").split("\r\n")
    pairs = (line.split(":", 1) for line in lines if ":" in line)
    return first, {k.strip().lower(): v.strip() for k, v in pairs}, rest


def connect(url, headers, timeout=10):
    """Opens ws://host:port/path; @headers are added to the request."""
    parts = urllib.parse.urlsplit(url)
    sock = socket.create_connection((parts.hostname, parts.port), timeout)
    key = base64.b64encode(os.urandom(16)).decode()
    lines = [f"GET {parts.path}?{parts.query} HTTP/1.1", f"Host: {parts.hostname}"]
    lines += ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"]
    lines += [f"Sec-WebSocket-Key: {key}"] + [f"{k}: {v}" for k, v in headers.items()]
    sock.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
    first, answer, rest = read_head(sock, timeout)
    status = int(first.split()[1])
    if status != 101:
        raise Refused(status, rest)
    if answer.get("sec-websocket-accept") != accept_key(key):
        raise Refused(status, b"wrong Sec-WebSocket-Accept")
    return Connection(sock, True, rest)


def upgrade(sock, timeout=10):
    """Server side: (Connection, target of the request, headers)."""
    first, headers, rest = read_head(sock, timeout)
    key = headers.get("sec-websocket-key")
    if not key:
        raise Refused(400, first.encode())
    answer = ["HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade"]
    answer += [f"Sec-WebSocket-Accept: {accept_key(key)}"]
    sock.sendall(("\r\n".join(answer) + "\r\n\r\n").encode())
    return Connection(sock, False, rest), first.split()[1], headers
