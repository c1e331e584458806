# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The Sallyport authors
"""IP packets as bytes: right ones, wrong ones on request, and what a gateway must answer."""

import ipaddress
import struct

ICMP, TCP, UDP, ICMP6 = 1, 6, 17, 58


def version(ip):
    return ipaddress.ip_address(ip).version


def raw(ip):
    return ipaddress.ip_address(ip).packed


def checksum(data):
    data += bytes(len(data) % 2)
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


def pseudo(src, dst, proto, size):
    if version(src) == 4:
        return raw(src) + raw(dst) + struct.pack(">BBH", 0, proto, size)
    return raw(src) + raw(dst) + struct.pack(">IHBB", size, 0, 0, proto)


def ip4(src, dst, proto, payload, *, ttl=64, tos=0, ident=0x1234, fragment=0x4000, total=None, ihl=None, options=b""):
    """@total and @ihl (in words) override the truth; @fragment is flags and offset."""
    words = 5 + len(options) // 4
    first = 0x40 | (words if ihl is None else ihl)
    size = words * 4 + len(payload) if total is None else total
    head = struct.pack(">BBHHHBBH", first, tos, size, ident, fragment, ttl, proto, 0)
    head += raw(src) + raw(dst) + options
    return head[:10] + struct.pack(">H", checksum(head)) + head[12:] + payload


def ip6(src, dst, proto, payload, *, ttl=64, tos=0, length=None):
    size = len(payload) if length is None else length
    head = struct.pack(">IHBB", 0x60000000 | tos << 20, size, proto, ttl)
    return head + raw(src) + raw(dst) + payload


def ip(src, dst, proto, payload, **fields):
    return (ip4 if version(src) == 4 else ip6)(src, dst, proto, payload, **fields)


def udp_header(src, dst, sport, dport, payload, length=None):
    size = 8 + len(payload) if length is None else length
    head = struct.pack(">HHHH", sport, dport, size, 0)
    check = checksum(pseudo(src, dst, UDP, 8 + len(payload)) + head + payload) or 0xFFFF
    return head[:6] + struct.pack(">H", check) + payload


def udp(src, dst, sport, dport, payload=b"", length=None, **fields):
    return ip(src, dst, UDP, udp_header(src, dst, sport, dport, payload, length), **fields)


def tcp_header(src, dst, sport, dport, payload=b"", flags=2, seq=1, ack=0, offset=5):
    head = struct.pack(">HHIIBBHHH", sport, dport, seq, ack, offset << 4, flags, 65535, 0, 0)
    check = checksum(pseudo(src, dst, TCP, len(head) + len(payload)) + head + payload)
    return head[:16] + struct.pack(">H", check) + head[18:] + payload


def tcp(src, dst, sport, dport, payload=b"", flags=2, seq=1, ack=0, offset=5, **fields):
    header = tcp_header(src, dst, sport, dport, payload, flags, seq, ack, offset)
    return ip(src, dst, TCP, header, **fields)


def icmp(src, dst, kind, code, rest, **fields):
    """@rest: everything behind the checksum."""
    proto = ICMP if version(src) == 4 else ICMP6
    head = struct.pack(">BBH", kind, code, 0)
    cover = b"" if proto == ICMP else pseudo(src, dst, ICMP6, 4 + len(rest))
    body = head[:2] + struct.pack(">H", checksum(cover + head + rest)) + rest
    return ip(src, dst, proto, body, **fields)


def echo(src, dst, ident, seq=1, payload=b"sallyport", reply=False, **fields):
    kind = {4: (8, 0), 6: (128, 129)}[version(src)][reply]
    return icmp(src, dst, kind, 0, struct.pack(">HH", ident, seq) + payload, **fields)


def fragment6(src, dst, proto, payload, offset=0, more=False, ident=0x1234):
    head = struct.pack(">BBHI", proto, 0, offset << 3 | more, ident)
    return ip6(src, dst, 44, head + payload)


class Packet:
    """What a right packet says. Raises ValueError if a length or a checksum is wrong.

    A packet seen on its sender's side may not have its L4 checksum yet: verify=False.
    """

    def __init__(self, data, verify=True):
        self.data, self.version = data, data[0] >> 4
        if self.version == 4:
            head = (data[0] & 15) * 4
            if struct.unpack(">H", data[2:4])[0] != len(data) or checksum(data[:head]) != 0:
                raise ValueError("IPv4 length or checksum")
            self.ttl, self.proto, src, dst = data[8], data[9], data[12:16], data[16:20]
        else:
            head = 40
            if struct.unpack(">H", data[4:6])[0] != len(data) - 40:
                raise ValueError("IPv6 length")
            self.ttl, self.proto, src, dst = data[7], data[6], data[8:24], data[24:40]
            if self.proto == 44:  # fragment header
                self.proto, head = data[40], 48
        self.src, self.dst = str(ipaddress.ip_address(src)), str(ipaddress.ip_address(dst))
        self.l4 = data[head:]
        self.sport = self.dport = self.ident = None
        self.payload = self.l4
        self._transport(verify)

    def _transport(self, verify):
        cover = pseudo(self.src, self.dst, self.proto, len(self.l4))
        if self.proto == ICMP:
            cover = b""
        if verify and self.proto in (TCP, UDP, ICMP, ICMP6) and checksum(cover + self.l4) != 0:
            raise ValueError("L4 checksum")
        if self.proto in (TCP, UDP):
            self.sport, self.dport = struct.unpack(">HH", self.l4[:4])
            self.payload = self.l4[8 if self.proto == UDP else (self.l4[12] >> 4) * 4 :]
        if self.proto in (ICMP, ICMP6):
            self.kind, self.code = self.l4[:2]
            self.ident = struct.unpack(">H", self.l4[4:6])[0]
            self.payload = self.l4[8:]


def prohibited(packet):
    """The answer to a refused packet, byte for byte: spec/datapath.md 1.5."""
    if packet[0] >> 4 == 4:
        quote = packet[: (packet[0] & 15) * 4 + 8]
        src, dst = (str(ipaddress.ip_address(a)) for a in (packet[16:20], packet[12:16]))
        return icmp(src, dst, 3, 13, bytes(4) + quote, ttl=20, ident=0, fragment=0)
    src, dst = (str(ipaddress.ip_address(a)) for a in (packet[24:40], packet[8:24]))
    return icmp(src, dst, 1, 1, bytes(4) + packet[:1232], ttl=20)
