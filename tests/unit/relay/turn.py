# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The Sallyport authors
"""A TURN client in the dialect of Firezone peers, written from the protocol's description with nothing
but the standard library."""

import base64
import hashlib
import hmac
import os
import socket
import struct

COOKIE = 0x2112A442
BINDING, ALLOCATE, REFRESH, CHANNEL_BIND = 0x0001, 0x0003, 0x0004, 0x0009
USERNAME, INTEGRITY, ERROR, CHANNEL, LIFETIME, PEER = 0x6, 0x8, 0x9, 0xC, 0xD, 0x12
REALM, NONCE, RELAYED, TRANSPORT, MAPPED = 0x14, 0x15, 0x16, 0x19, 0x20
ADDITIONAL_FAMILY, SOFTWARE = 0x8000, 0x8022


def b64(data):
    return base64.b64encode(data).decode().rstrip("=")


def credentials(secret, public_key, expires_at):
    salt = b64(hashlib.sha256(public_key.encode()).digest())
    password = b64(hashlib.sha256(f"{expires_at}:{secret}:{salt}".encode()).digest())
    return f"{expires_at}:{salt}", password


def attribute(kind, value):
    return struct.pack(">HH", kind, len(value)) + value + bytes(-len(value) % 4)


def xor(data, txid):
    mask = struct.pack(">I", COOKIE) + txid
    return bytes(a ^ b for a, b in zip(data, mask))


def address(value, txid):
    family, port = value[1], struct.unpack(">H", value[2:4])[0] ^ (COOKIE >> 16)
    kind = socket.AF_INET if family == 1 else socket.AF_INET6
    return socket.inet_ntop(kind, xor(value[4:], txid)), port


def address_value(host, port, txid):
    kind, family = (socket.AF_INET6, 2) if ":" in host else (socket.AF_INET, 1)
    head = struct.pack(">BBH", 0, family, port ^ (COOKIE >> 16))
    return head + xor(socket.inet_pton(kind, host), txid)


class Answer:
    """A parsed response; the first of each attribute, and all XOR-RELAYED-ADDRESSes."""

    def __init__(self, data):
        self.data = data
        self.type, size, cookie = struct.unpack(">HHI", data[:8])
        self.txid = data[8:20]
        assert cookie == COOKIE and size == len(data) - 20, data
        self.attributes, self.relayed, self.integrity_at = {}, [], None
        at = 20
        while at < len(data):
            kind, size = struct.unpack(">HH", data[at : at + 4])
            value = data[at + 4 : at + 4 + size]
            assert len(value) == size
            if kind == RELAYED:
                self.relayed.append(address(value, self.txid))
            if kind == INTEGRITY:
                self.integrity_at = at
            self.attributes.setdefault(kind, value)
            at += 4 + size + -size % 4

    @property
    def error(self):
        value = self.attributes.get(ERROR)
        return value[2] * 100 + value[3] if value else 0

    def is_signed(self, key):
        at = self.integrity_at
        if at is None:
            return False
        head = self.data[:2] + struct.pack(">H", at + 24 - 20) + self.data[4:at]
        return hmac.digest(key, head, "sha1") == self.data[at + 4 : at + 24]


class Client:
    """One socket towards a relay."""

    def __init__(self, relay, username, password, timeout=5):
        family = socket.AF_INET6 if ":" in relay[0] else socket.AF_INET
        self.sock = socket.socket(family, socket.SOCK_DGRAM)
        self.sock.settimeout(timeout)
        self.sock.connect(relay)
        self.address = self.sock.getsockname()[:2]
        self.username = username
        self.key = hashlib.md5(f"{username}:firezone:{password}".encode()).digest()
        self.nonce = None

    def exchange(self, method, attributes, is_signed=True):
        """Sends a request and returns its answer. Attributes are (type, bytes) or, where the
        transaction id goes into the value, (type, host, port)."""
        txid = os.urandom(12)
        body = b""
        for kind, *value in attributes:
            body += attribute(kind, address_value(*value, txid) if len(value) == 2 else value[0])
        body += attribute(SOFTWARE, b"snownet")
        if is_signed:
            body += attribute(USERNAME, self.username.encode()) + attribute(REALM, b"firezone")
            if self.nonce:
                body += attribute(NONCE, self.nonce)
            head = struct.pack(">HHI", method, len(body) + 24, COOKIE) + txid
            body += attribute(INTEGRITY, hmac.digest(self.key, head + body, "sha1"))
        self.sock.send(struct.pack(">HHI", method, len(body), COOKIE) + txid + body)
        answer = Answer(self.sock.recv(65535))
        assert answer.txid == txid
        assert answer.type in (method | 0x100, method | 0x110), hex(answer.type)
        # Official peers do not even look at an unsigned answer.
        assert not is_signed or answer.is_signed(self.key), answer.data
        return answer

    def bind_socket(self):
        answer = self.exchange(BINDING, [], is_signed=False)
        return address(answer.attributes[MAPPED], answer.txid)

    def allocate(self):
        asked = [(TRANSPORT, b"\x11\0\0\0"), (ADDITIONAL_FAMILY, b"\x02\0\0\0")]
        answer = self.exchange(ALLOCATE, asked)
        if answer.error in (401, 438):
            assert answer.attributes[REALM] == b"firezone"
            self.nonce = answer.attributes[NONCE]
            answer = self.exchange(ALLOCATE, asked)
        return answer

    def refresh(self, lifetime=None):
        asked = [] if lifetime is None else [(LIFETIME, struct.pack(">I", lifetime))]
        return self.exchange(REFRESH, asked)

    def bind_channel(self, number, peer):
        return self.exchange(CHANNEL_BIND, [(PEER, *peer), (CHANNEL, struct.pack(">HH", number, 0))])

    def send(self, number, payload):
        self.sock.send(struct.pack(">HH", number, len(payload)) + payload)

    def recv(self):
        data = self.sock.recv(65535)
        number, size = struct.unpack(">HH", data[:4])
        assert size == len(data) - 4
        return number, data[4:]
