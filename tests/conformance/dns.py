# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The Sallyport authors
"""Nameservers that do what the name asked for says, and the few DNS bytes that a test needs."""

import os
import socket
import struct
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from lab.peer.netns import netns  # noqa: E402

A, TXT, OPT, IN = 1, 16, 41, 1
QR, TC, RD, RA = 0x8000, 0x0200, 0x0100, 0x0080
PROBE = "firezone.dev"


def name_bytes(name):
    return b"".join(bytes([len(part)]) + part.encode() for part in name.split(".")) + b"\0"


def question(name, kind=TXT):
    return name_bytes(name) + struct.pack(">HH", kind, IN)


def query(name, kind=TXT, ident=0x4242, questions=1):
    """With an OPT record, which has to get through as it is."""
    head = struct.pack(">HHHHHH", ident, RD, questions, 0, 0, 1)
    return head + question(name, kind) * questions + b"\0" + struct.pack(">HHIH", OPT, 4096, 0, 0)


def asked(message):
    """Name and end of the question."""
    at, parts = 12, []
    while message[at]:
        parts.append(message[at + 1 : at + 1 + message[at]].decode())
        at += 1 + message[at]
    return ".".join(parts), at + 5


def answer(message, text, rcode=0, flags=0):
    """One TXT record of @text."""
    _, end = asked(message)
    strings = b"".join(bytes([len(text[i : i + 255])]) + text[i : i + 255] for i in range(0, len(text), 255))
    record = b"\xc0\x0c" + struct.pack(">HHIH", TXT, IN, 60, len(strings)) + strings
    records = 0 if rcode else 1
    head = message[:2] + struct.pack(">HHHHH", QR | RD | RA | flags | rcode, 1, records, 0, 0)
    return head + message[12:end] + record * records


def without_records(message, flags, rcode):
    """What a server that only knows the question says."""
    _, end = asked(message)
    return message[:2] + struct.pack(">HHHHH", flags | rcode, 1, 0, 0, 0) + message[12:end]


class Nameserver:
    """Answers after @delay with @text; names that begin with dead, close, wrong or big<N> get what they ask for.

    queries: (transport, message) of all that was asked
    """

    def __init__(self, namespace, address, text, delay=0, rcode=0):
        self.text, self.delay, self.rcode, self.queries = text.encode(), delay, rcode, []
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with netns(namespace):
            self.udp = socket.socket(family, socket.SOCK_DGRAM)
            self.udp.bind((address, 53))
            self.tcp = socket.create_server((address, 53), family=family)
        for target in (self._udp, self._tcp):
            threading.Thread(target=target, daemon=True).start()

    def seen(self, name):
        return [(transport, m) for transport, m in self.queries if asked(m)[0] == name]

    def _response(self, transport, message):
        """What to send; None: nothing."""
        self.queries.append((transport, message))
        name, _ = asked(message)
        time.sleep(self.delay)
        if name.startswith("dead"):
            return []
        if name.startswith("wrong"):
            # Another id, another question, no response: none of them answers this.
            other = bytes([message[0] ^ 1]) + message[1:]
            forged = [answer(other, b"forged"), answer(query("wrong.other", ident=0x4242), b"forged"), message]
            return [*forged, answer(message, self.text)]
        if name.startswith("big"):
            return [answer(message, b"x" * int(name[3 : name.index(".")]), flags=0x0400)]
        return [answer(message, self.text, self.rcode)]

    def _udp(self):
        while True:
            message, address = self.udp.recvfrom(65535)
            threading.Thread(target=self._udp_one, args=(message, address), daemon=True).start()

    def _udp_one(self, message, address):
        for response in self._response("udp", message):
            self.udp.sendto(response, address)

    def _tcp(self):
        while True:
            connection, _ = self.tcp.accept()
            threading.Thread(target=self._tcp_one, args=(connection,), daemon=True).start()

    def _tcp_one(self, connection):
        with connection:
            message = read_tcp(connection)
            if not message or asked(message)[0].startswith("close"):
                return
            for response in self._response("tcp", message)[-1:]:
                framed = struct.pack(">H", len(response)) + response
                connection.sendall(framed[:1])  # in pieces, as a network may deliver it
                time.sleep(0.01)
                connection.sendall(framed[1:])
            connection.settimeout(10)
            connection.recv(1)


def read_exactly(connection, size):
    data = b""
    while len(data) < size:
        more = connection.recv(size - len(data))
        if not more:
            return b""
        data += more
    return data


def read_tcp(connection):
    """One message with a length before it; empty at the end of the stream."""
    head = read_exactly(connection, 2)
    return read_exactly(connection, struct.unpack(">H", head)[0]) if head else b""
