# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The Sallyport authors
"""Random policies and packets for the differential run. Everything comes from one random.Random."""

import ipaddress
import struct
import uuid

from conformance import oracle
from conformance.oracle import ICMP, ICMP6, TCP, UDP

MARK = b"\xd1ff\xa5"
NETWORKS = {
    4: "10.0.0.0/8 10.1.0.0/16 10.1.2.0/24 10.1.2.0/25 10.1.2.3/32 10.1.2.130/32 172.16.0.0/12 172.20.1.0/24 "
    "192.168.0.0/16 192.168.7.0/24 8.8.8.0/24 8.8.0.0/16 9.9.9.9/32 192.0.2.128/26 1.0.0.0/8 0.0.0.0/0".split(),
    6: "fd10::/16 fd10:1::/32 fd10:1:2::/48 fd10:1:2::/64 fd10:1:2::3/128 2001:db8:ff00::/40 2001:db8:ff01::/48 "
    "2606:4700::/32 2606:4700::1111/128 2001:db8:2:0:8000::/65 ::/0".split(),
}
PORTS = (22, 53, 80, 81, 443, 8000, 8080, 9000)
OTHERS = (47, 50, 132, 89, 51)
FENCE = {4: "198.18.0.1", 6: "2001:db8:fe::1"}


class Generator:
    def __init__(self, rng, gateway):
        self.rng, self.gateway, self.serial = rng, gateway, 0

    # Policies.

    def filters(self):
        rng, out = self.rng, []
        for _ in range(rng.choice((0, 0, 1, 1, 1, 2, 3))):
            protocol = rng.choice(("tcp", "tcp", "udp", "icmp"))
            if protocol == "icmp":
                out.append((protocol, 0, 0))
                continue
            kind = rng.random()
            first = rng.choice(PORTS)
            if kind < 0.1:
                out.append((protocol, 0, 65535))
            elif kind < 0.6:
                out.append((protocol, first, first))
            else:
                out.append((protocol, first, min(65535, first + rng.choice((1, 10, 1000, 60000)))))
        return out

    def resource(self):
        rng = self.rng
        ident = str(uuid.UUID(int=rng.getrandbits(128), version=4))
        if rng.random() < 0.04:
            return oracle.Resource(ident, "internet")
        nets = NETWORKS[4 if rng.random() < 0.55 else 6]
        # The whole Internet as a CIDR would hide most of the rest.
        network = rng.choice(nets if rng.random() < 0.05 else nets[:-1])
        return oracle.Resource(ident, "cidr", network, self.filters())

    # Addresses.

    def host(self, version, number):
        """In or near one of the networks, never where the lab itself lives; @number keeps clients apart."""
        rng = self.rng
        net = ipaddress.ip_network(rng.choice(NETWORKS[version][:-1]))
        value = int(net.network_address)
        kind = rng.random()
        if kind < 0.15:
            value = int(net.network_address) + rng.choice((-1, net.num_addresses))
        elif net.num_addresses > 1:
            value += rng.choice((1, 2, 3, net.num_addresses - 2, rng.randrange(net.num_addresses)))
        if number is not None and net.num_addresses > 64:
            value = value & ~63 | number
        address = value.to_bytes(4 if version == 4 else 16, "big")
        if version == 4 and (address[:3] == b"\xc0\x00\x02" and not 128 <= address[3] < 192 or address[0] in (0, 127)):
            return self.host(version, number)
        return address

    def granted(self, client, version, number):
        """An address in a network that the client holds, if it holds any: (address, Resource)."""
        size = 4 if version == 4 else 16
        held = [r for r, _ in client.grants.values() if r.network and r.network.size == size and r.network.shift != 0 or r.kind == "internet"]
        if not held:
            return None, None
        r = self.rng.choice(held)
        if r.kind == "internet":
            return (bytes([8, 8, self.rng.randrange(256), number]) if version == 4 else b"\x26\x06\x47" + bytes(12) + bytes([number])), r
        net = ipaddress.ip_network(r.network.text)
        value = int(net.network_address) + self.rng.randrange(net.num_addresses)
        if net.num_addresses > 64:
            value = value & ~63 | number
        address = value.to_bytes(size, "big")
        if version == 4 and (address[:3] in (b"\xc0\x00\x02", b"\xcb\x00\x71") or address[0] in (0, 127) or address[0] >= 224):
            return None, None
        return address, r

    def mark(self):
        self.serial += 1
        return MARK + struct.pack(">I", self.serial)

    # Packets. Each carries its mark where nothing but a truncation removes it.

    def header(self, version, src, dst, proto, body, ttl=None, tos=None, options=b"", ident=None, fragment=0x4000):
        rng = self.rng
        ttl = rng.choice((64, 64, 64, 2, 3, 255, 128)) if ttl is None else ttl
        tos = rng.choice((0, 0, 0, 1, 2, 3, 0xB8, 0x2A)) if tos is None else tos
        if version == 4:
            ident = self.serial & 0xFFFF if ident is None else ident
            words = 5 + len(options) // 4
            head = struct.pack(">BBHHHBB", 0x40 | words, tos, words * 4 + len(body), ident, fragment, ttl, proto)
            head += b"\0\0" + src + dst + options
            return head[:10] + struct.pack(">H", oracle.checksum(head)) + head[12:] + body
        return struct.pack(">IHBB", 6 << 28 | tos << 20 | rng.getrandbits(20), len(body), proto, ttl) + src + dst + body

    def checked(self, version, src, dst, proto, body):
        cover = b"" if proto == ICMP else src + dst + struct.pack(">IHBB", len(body), 0, 0, proto)
        value = oracle.checksum(cover + body)
        if value == 0 and proto == UDP:
            value = 0xFFFF
        at = oracle.CHECK_AT[proto]
        return body[:at] + struct.pack(">H", value) + body[at + 2 :]

    def l4(self, version, src, dst, proto, sport, dport, payload, flags=None):
        if proto == UDP:
            body = struct.pack(">HHHH", sport, dport, 8 + len(payload), 0) + payload
        elif proto == TCP:
            # Neither FIN nor RST: they end flows on timers of their own (behaviours_test has those).
            flags = self.rng.choice((0x02, 0x10, 0x18, 0x12)) if flags is None else flags
            body = struct.pack(">HHIIBBHHH", sport, dport, 1, 1, 5 << 4, flags, 1000, 0, 0) + payload
        return self.checked(version, src, dst, proto, body)

    def icmp(self, version, src, dst, kind, code, rest):
        proto = ICMP if version == 4 else ICMP6
        return self.checked(version, src, dst, proto, struct.pack(">BBH", kind, code, 0) + rest)

    def payload(self, overhead):
        rng, mark = self.rng, self.mark()
        kind = rng.random()
        if kind < 0.93:
            return mark + bytes(rng.randrange(0, 40))
        if kind < 0.97:
            return mark + bytes(max(0, rng.choice((1278, 1279, 1280, 1281, 1300)) - overhead - len(mark)))
        return mark + bytes(rng.randrange(0, 1200))

    def valid(self, client, number, version=None, dst=None, src=None):
        """A well-formed packet to somewhere: (bytes, mark)."""
        rng = self.rng
        version = version or (4 if rng.random() < 0.55 else 6)
        src = src or client.addresses[version]
        kind = rng.random()
        is_other = 0.88 <= kind
        r = None
        if dst is None and rng.random() < 0.75:
            dst, r = self.granted(client, version, number)
        dst = dst or self.host(version, number if is_other else None)
        head = 20 if version == 4 else 40
        sport = rng.randrange(20000, 20400)
        dport = rng.choice(PORTS) + rng.choice((0, 0, 0, 1, -1))
        if r is not None and r.filters and rng.random() < 0.8:
            protocol, first, last = rng.choice(r.filters)
            kind = {"tcp": 0.1, "udp": 0.5, "icmp": 0.8}[protocol]
            dport = min(65535, max(0, rng.choice((first, last, last, rng.randrange(first, last + 1), last + 1, first - 1))))
        if kind < 0.35:
            payload = self.payload(head + 20)
            proto, body = TCP, self.l4(version, src, dst, TCP, sport, dport, payload)
        elif kind < 0.7:
            payload = self.payload(head + 8)
            proto, body = UDP, self.l4(version, src, dst, UDP, sport, dport, payload)
            # "Not computed" stays so.
            if rng.random() < 0.05:
                body = body[:6] + b"\0\0" + body[8:]
        elif kind < 0.88:
            payload = self.payload(head + 8)
            kinds = (8, 0) if version == 4 else (128, 129)
            rest = struct.pack(">HH", rng.randrange(500, 560), rng.getrandbits(16)) + payload
            proto = ICMP if version == 4 else ICMP6
            body = self.icmp(version, src, dst, kinds[rng.random() < 0.1], 0, rest)
        elif kind < 0.95:
            payload = self.payload(head)
            proto, body = rng.choice(OTHERS), payload
        else:
            payload = self.payload(head + 8)
            proto = ICMP if version == 4 else ICMP6
            kind, code = rng.choice(((13, 0), (17, 0), (5, 1), (8, 1), (12, 0)) if version == 4 else ((139, 0), (128, 3), (4, 0), (200, 7)))
            body = self.icmp(version, src, dst, kind, code, bytes(4) + payload)
        options = bytes.fromhex("01010101") * rng.randrange(1, 10) if version == 4 and rng.random() < 0.04 else b""
        if version == 6 and rng.random() < 0.06:
            proto, body = self.extension(proto, body)
        ttl = 1 if rng.random() < 0.02 else 0 if rng.random() < 0.005 else None
        return self.header(version, src, dst, proto, body, ttl=ttl, options=options)

    def extension(self, proto, body):
        """Hop-by-hop or destination options, or an atomic fragment."""
        if self.rng.random() < 0.4:
            return 44, struct.pack(">BBHI", proto, 0, 0, 77) + body
        words = self.rng.choice((0, 1, 2))
        pad = bytes([1, 6 + words * 8 - 2 + 0]) + bytes(4 + words * 8)
        return self.rng.choice((0, 60)), bytes([proto, words]) + pad + body

    def spoiled(self, client, number):
        """Something is wrong with it."""
        rng = self.rng
        version = 4 if rng.random() < 0.55 else 6
        me = client.addresses[version]
        kind = rng.randrange(13)
        if kind == 0:
            other = bytes(me[:-1]) + bytes([me[-1] ^ 0x80])
            return self.valid(client, number, version, src=rng.choice((other, self.host(version, None), self.gateway.tunnel[version == 6])))
        if kind == 1:
            dst = ipaddress.ip_network("100.64.0.0/11" if version == 4 else "fd00:2021:1111::/107")
            dst = int(dst.network_address) + 0x10000 + rng.randrange(0x100000)
            return self.valid(client, number, version, dst=dst.to_bytes(len(me), "big"))
        if kind == 2:
            group = rng.choice((b"\xe0\0\0\1", b"\xef\xff\xff\xfa") if version == 4 else (b"\xff\2" + bytes(13) + b"\1",))
            return self.valid(client, number, version, dst=group)
        packet = self.valid(client, number, version)
        head = 20 if version == 4 else 40
        if kind == 3:
            return packet[: rng.randrange(1, len(packet))]
        if kind == 4:
            at = 2 if version == 4 else 4
            value = rng.choice((0, 19, 20, len(packet) + 1, len(packet) - 1, 0xFFFF, rng.getrandbits(16)))
            return self.fixed(packet[:at] + struct.pack(">H", value) + packet[at + 2 :])
        if kind == 5:
            return bytes([rng.getrandbits(8)]) + packet[1:]
        if kind == 6:
            return self.fragmented(client, version)
        if kind == 7:
            return self.error(client, version)
        if kind == 8 and version == 4:
            at = rng.randrange(12)
            return packet[:at] + bytes([packet[at] ^ 1 << rng.randrange(8)]) + packet[at + 1 :]
        if kind in (8, 9):
            at = rng.randrange(head, min(len(packet), head + 20))
            return packet[:at] + bytes([packet[at] ^ 1 << rng.randrange(8)]) + packet[at + 1 :]
        if kind == 10:
            return packet + bytes(rng.randrange(1, 32))
        if kind == 11:
            proto = rng.choice((TCP, UDP, ICMP, ICMP6))
            return self.header(version, me, self.host(version, number), proto, self.mark() + rng.randbytes(rng.randrange(0, 30)))
        return rng.randbytes(rng.randrange(1, 100))

    def fixed(self, packet):
        """With a right header checksum again."""
        if packet[0] >> 4 != 4:
            return packet
        size = (packet[0] & 15) * 4
        head = packet[:10] + b"\0\0" + packet[12:size]
        return packet[:10] + struct.pack(">H", oracle.checksum(head)) + packet[12:]

    def fragmented(self, client, version):
        src, dst = client.addresses[version], self.host(version, None)
        body = self.l4(version, src, dst, UDP, 20000, 53, self.payload(100))
        if version == 4:
            return self.header(4, src, dst, UDP, body, fragment=self.rng.choice((0x2000, 0x0001, 0x2010, 0x1FFF)))
        offset = self.rng.choice((1, 8, 9, 0xFFF8))
        return self.header(6, src, dst, 44, struct.pack(">BBHI", UDP, 0, offset, 1) + body)

    def error(self, client, version):
        """An ICMP error, with a quote that parses or does not."""
        rng = self.rng
        src, dst = client.addresses[version], self.host(version, None)
        quote = self.header(version, dst, src, UDP, self.l4(version, dst, src, UDP, 53, 20000, self.mark()))
        kind, code = rng.choice(((3, 3), (11, 0), (3, 4), (5, 1)) if version == 4 else ((1, 4), (2, 0), (3, 0), (2, 1), (4, 0)))
        quote = quote[: rng.choice((len(quote), len(quote), rng.randrange(len(quote))))]
        body = self.icmp(version, src, dst, kind, code, bytes(4) + quote)
        return self.header(version, src, dst, ICMP if version == 4 else ICMP6, body)

    # From the LAN.

    def reply(self, flow, lan):
        """What the other side of @flow may say, or someone who is not the other side."""
        rng, version = self.rng, flow.version
        src, dport, sport = flow.remote, flow.nat_port, flow.dport
        stranger = rng.random()
        if stranger < 0.04:
            src = self.host(version, None)
        elif stranger < 0.08:
            dport = rng.randrange(1100, 1900)
        elif stranger < 0.12:
            sport = sport ^ 1
        elif stranger < 0.13:
            src = flow.client.addresses[version]
        if src[:3] == lan[:3]:
            src = flow.remote
        head = 20 if version == 4 else 40
        payload = self.payload(head + 20)
        if rng.random() < 0.04:
            payload += bytes(rng.randrange(1200, 1400) - len(payload)) if len(payload) < 1200 else b""
        proto = flow.proto
        if flow.kind in ("tcp", "udp"):
            body = self.l4(version, src, lan, proto, sport, dport, payload)
        elif flow.kind == "echo":
            kinds = (0, 8) if version == 4 else (129, 128)
            code = int(rng.random() < 0.03)
            body = self.icmp(version, src, lan, kinds[rng.random() < 0.05], code, struct.pack(">HH", dport, 1) + payload)
        elif proto in (ICMP, ICMP6):
            body = self.icmp(version, src, lan, 14 if version == 4 else 140, 0, bytes(4) + payload)
        else:
            body = payload
        if version == 6 and rng.random() < 0.04:
            proto, body = self.extension(proto, body)
        fragment = rng.choice((0x4000, 0x4000, 0)) if rng.random() < 0.98 else 0x2000
        ttl = 1 if rng.random() < 0.02 else None
        return self.header(version, src, lan, proto, body, ttl=ttl, fragment=fragment)

    def lan_error(self, flow, sent, lan):
        """An ICMP error about a packet that was seen on the LAN, its quote sometimes spoiled."""
        rng, version = self.rng, flow.version
        src = flow.remote if rng.random() < 0.6 else self.host(version, None)
        if src[:3] == lan[:3]:
            src = flow.remote
        head = (sent[0] & 15) * 4 if version == 4 else 40
        ttl_at = 8 if version == 4 else 7
        quote = self.fixed(sent[:ttl_at] + bytes([rng.randrange(1, 60)]) + sent[ttl_at + 1 :])
        kind, code = rng.choice(((3, 1), (3, 3), (3, 4), (11, 0), (3, 13), (12, 0)) if version == 4 else ((1, 0), (1, 4), (2, 0), (3, 0), (4, 0)))
        spoil = rng.random()
        if spoil < 0.06:
            quote = quote[: rng.randrange(head + 8)]
        elif spoil < 0.12:
            at = head + rng.choice((0, 1, 4, 5))
            quote = quote[:at] + bytes([quote[at] ^ 0x40]) + quote[at + 1 :]
        elif spoil < 0.5:
            quote = quote[: head + rng.choice((8, 8, 20))]
        else:
            quote = quote[:1180]
        rest = struct.pack(">HH", 0, rng.choice((0, 1280, 1400))) + quote
        # The mark, behind the quote like an extension, so that a lost error can be told from another.
        body = self.icmp(version, src, lan, kind, code, rest + self.mark())
        if rng.random() < 0.04:
            body = body[:9] + bytes([body[9] ^ 4]) + body[10:]
        return self.header(version, src, lan, ICMP if version == 4 else ICMP6, body)
