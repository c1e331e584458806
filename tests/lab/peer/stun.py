# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The Sallyport authors
"""STUN Binding messages between ICE agents (RFC 8489, RFC 8445), without looking at control/path."""

import binascii
import hashlib
import hmac
import ipaddress
import os
import struct

COOKIE = 0x2112A442
REQUEST, SUCCESS, ERROR = 0x0001, 0x0101, 0x0111
USERNAME, MESSAGE_INTEGRITY, ERROR_CODE = 0x0006, 0x0008, 0x0009
XOR_MAPPED_ADDRESS, PRIORITY, USE_CANDIDATE = 0x0020, 0x0024, 0x0025
FINGERPRINT, ICE_CONTROLLED, ICE_CONTROLLING = 0x8028, 0x8029, 0x802A


class Malformed(Exception):
    """Not a STUN message, or not one that verifies."""


def attribute(kind, value):
    return struct.pack(">HH", kind, len(value)) + value + bytes(-len(value) % 4)


def header(kind, length, txid, cookie=COOKIE):
    return struct.pack(">HHI", kind, length, cookie) + txid


def integrity(kind, body, txid, key):
    """The attribute for a message with these attributes so far."""
    covered = header(kind, len(body) + 24, txid) + body
    return attribute(MESSAGE_INTEGRITY, hmac.new(key, covered, hashlib.sha1).digest())


def fingerprint(kind, body, txid):
    covered = header(kind, len(body) + 8, txid) + body
    return attribute(FINGERPRINT, struct.pack(">I", binascii.crc32(covered) ^ 0x5354554E))


def finish(kind, attributes, txid, key):
    """Joins (type, value) pairs and closes them with both check values."""
    body = b"".join(attribute(k, v) for k, v in attributes)
    body += integrity(kind, body, txid, key)
    body += fingerprint(kind, body, txid)
    return header(kind, len(body), txid) + body


def new_txid():
    return os.urandom(12)


def xor_address(ip, port, txid):
    ip = ipaddress.ip_address(ip)
    pad = struct.pack(">I", COOKIE) + txid
    value = bytes(a ^ b for a, b in zip(ip.packed, pad))
    return struct.pack(">BBH", 0, 1 if ip.version == 4 else 2, port ^ (COOKIE >> 16)) + value


def address_read(value, txid):
    family, port = value[1], struct.unpack(">H", value[2:4])[0] ^ (COOKIE >> 16)
    if (family, len(value)) not in ((1, 8), (2, 20)):
        raise Malformed("address")
    pad = struct.pack(">I", COOKIE) + txid
    return str(ipaddress.ip_address(bytes(a ^ b for a, b in zip(value[4:], pad)))), port


def request(username, key, tie_breaker, priority, use_candidate=False, txid=None, controlling=True):
    """A connectivity check; @key is the receiver's password."""
    role = ICE_CONTROLLING if controlling else ICE_CONTROLLED
    attributes = [(USERNAME, username.encode()), (role, struct.pack(">Q", tie_breaker))]
    attributes += [(PRIORITY, struct.pack(">I", priority))]
    if use_candidate:
        attributes += [(USE_CANDIDATE, b"")]
    return finish(REQUEST, attributes, txid or new_txid(), key.encode())


def success(txid, address, key):
    """The answer to a check that came from address = (ip, port)."""
    mapped = xor_address(address[0], address[1], txid)
    return finish(SUCCESS, [(XOR_MAPPED_ADDRESS, mapped)], txid, key.encode())


class Message:
    """A parsed message: kind, txid, attributes (type -> first value)."""

    def __init__(self, data):
        if len(data) < 20 or data[0] & 0xC0 or len(data) % 4:
            raise Malformed("size")
        self.kind, length, cookie = struct.unpack(">HHI", data[:8])
        if cookie != COOKIE or length != len(data) - 20:
            raise Malformed("cookie or length")
        self.data, self.txid, self.attributes, self.integrity_at = data, data[8:20], {}, None
        at = 20
        while at < len(data):
            kind, size = struct.unpack(">HH", data[at : at + 4])
            if at + 4 + size > len(data):
                raise Malformed("attribute")
            if kind == MESSAGE_INTEGRITY and self.integrity_at is None:
                self.integrity_at = at
            self.attributes.setdefault(kind, data[at + 4 : at + 4 + size])
            at += 4 + size + -size % 4

    def verify(self, key):
        """Raises Malformed unless both check values are right."""
        at = self.integrity_at
        if at is None:
            raise Malformed("no MESSAGE-INTEGRITY")
        body = self.data[20:at]
        want = integrity(self.kind, body, self.txid, key.encode())
        if not hmac.compare_digest(want, self.data[at : at + 24]):
            raise Malformed("MESSAGE-INTEGRITY")
        body = self.data[20 : at + 24]
        if self.data[at + 24 :] != fingerprint(self.kind, body, self.txid):
            raise Malformed("FINGERPRINT")

    def mapped(self):
        return address_read(self.attributes[XOR_MAPPED_ADDRESS], self.txid)


def is_stun(data):
    return len(data) >= 20 and not data[0] & 0xC0 and data[4:8] == struct.pack(">I", COOKIE)
