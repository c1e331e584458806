# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The Sallyport authors
"""What a gateway must do with a packet, from spec/datapath.md alone (sections 1, 2, 4, 5, 8).

outbound() judges what a client sent, inbound() what the LAN sent to a flow of a client. Both return
a Verdict; forwarded and delivered packets are given byte for byte, except for the NAT port, which is
the gateway's choice. README.md lists where the gateway differs from the specification on purpose.
"""

import ipaddress
import struct

ICMP, TCP, UDP, ICMP6 = 1, 6, 17, 58
MTU = 1280
TUNNEL = ("100.64.0.0/11", "fd00:2021:1111::/107")
PROXY = ("100.96.0.0/11", "fd00:2021:1111:8000::/107")
BLOCKED = (
    "10.0.0.0/8 172.16.0.0/12 192.168.0.0/16 127.0.0.0/8 169.254.0.0/16 100.64.0.0/10 224.0.0.0/4 240.0.0.0/4 "
    "::1/128 ::ffff:0:0/96 fc00::/7 fe80::/10 ff00::/8"
).split()
WALKED = {0, 43, 44, 60, 135, 139, 140, 253, 254}


class Network:
    def __init__(self, text):
        net = ipaddress.ip_network(text)
        self.text, self.size = text, 4 if net.version == 4 else 16
        self.shift = net.max_prefixlen - net.prefixlen
        self.value = int(net.network_address) >> self.shift

    def __contains__(self, address):
        return len(address) == self.size and int.from_bytes(address, "big") >> self.shift == self.value


TUNNEL, PROXY, BLOCKED = ([Network(n) for n in nets] for nets in (TUNNEL, PROXY, BLOCKED))


def within(address, networks):
    return any(address in n for n in networks)


class Gateway:
    def __init__(self, tunnel4, tunnel6, lan4, lan6):
        self.tunnel = tuple(ipaddress.ip_address(a).packed for a in (tunnel4, tunnel6))
        self.lan = {4: ipaddress.ip_address(lan4).packed, 6: ipaddress.ip_address(lan6).packed}


class Resource:
    """kind: cidr, internet or dns; filters: (protocol, first, last)"""

    def __init__(self, ident, kind, network=None, filters=()):
        self.id, self.kind, self.filters = ident, kind, list(filters)
        self.network = Network(network) if network else None

    def permits(self, kind, port):
        if not self.filters:
            return True
        for protocol, first, last in self.filters:
            if protocol == kind and first <= port <= last:
                return True
            if protocol == "icmp" and kind in ("echo", "icmp"):
                return True
        return False


class Client:
    def __init__(self, ipv4, ipv6):
        self.addresses = {4: ipaddress.ip_address(ipv4).packed, 6: ipaddress.ip_address(ipv6).packed}
        self.grants = {}  # resource id: [Resource, expiry in Unix seconds or None]

    def classify(self, address, kind, port, now):
        """allowed, prohibited or unreachable: spec 2.2 and 2.3."""
        live = [r for r, expires in self.grants.values() if expires is None or now < expires]
        has_internet = any(r.kind == "internet" for r in live)
        if has_internet and not within(address, PROXY):
            return "unreachable" if within(address, BLOCKED) else "allowed"
        kinds = ("dns",) if has_internet else ("cidr", "dns")
        covering = (r for r in live if r.kind in kinds and address in r.network)
        return "allowed" if any(r.permits(kind, port) for r in covering) else "prohibited"


class Verdict:
    """what: forward, deliver, answer, host, control or drop; reason: the counter of a drop."""

    def __init__(self, what, reason=None, data=None, view=None, flow=None):
        self.what, self.reason, self.data, self.view, self.flow = what, reason, data, view, flow

    def __repr__(self):
        return f"{self.what} {self.reason or ''}"


class Malformed(Exception):
    pass


class Fragment(Exception):
    pass


def fold(total):
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def checksum(data):
    if len(data) & 1:
        data += b"\0"
    # One's complement sums do not mind big integers: 2^16 is 1 modulo 2^16 - 1.
    total = int.from_bytes(data, "big")
    return (total % 0xFFFF or (0xFFFF if total else 0)) ^ 0xFFFF


class View:
    """A packet that passed the gate (spec 1.1)."""

    def __init__(self, data, is_quote=False):
        self.data = data
        size = len(data)
        self.version = data[0] >> 4 if data else 0
        if self.version == 4:
            self._four(data, size, is_quote)
        elif self.version == 6:
            self._six(data, size, is_quote)
        else:
            raise Malformed("version")
        self.sport = self.dport = 0
        self.kind = "other"
        if is_quote:
            self._quoted(data[self.l4 :])
        else:
            self._transport(data[self.l4 :])

    def _four(self, data, size, is_quote):
        if size < 20:
            raise Malformed("size")
        self.l4 = (data[0] & 15) * 4
        if self.l4 < 20 or self.l4 > size:
            raise Malformed("IHL")
        if not is_quote and struct.unpack(">H", data[2:4])[0] != size:
            raise Malformed("total length")
        if struct.unpack(">H", data[6:8])[0] & 0x3FFF:
            raise Fragment()
        self.ttl, self.proto, self.src, self.dst = data[8], data[9], data[12:16], data[16:20]

    def _six(self, data, size, is_quote):
        if size < 40 or not is_quote and struct.unpack(">H", data[4:6])[0] != size - 40:
            raise Malformed("payload length")
        self.ttl, self.proto, self.src, self.dst = data[7], data[6], data[8:24], data[24:40]
        self.l4 = 40
        while self.proto in WALKED:
            if size - self.l4 < 8:
                raise Malformed("extension header")
            length = 8 if self.proto == 44 else (data[self.l4 + 1] + 1) * 8
            if length > size - self.l4:
                raise Malformed("extension header")
            if self.proto == 44 and struct.unpack(">H", data[self.l4 + 2 : self.l4 + 4])[0] & 0xFFF9:
                raise Fragment()
            self.proto = data[self.l4]
            self.l4 += length

    def _ports(self, l4):
        self.sport, self.dport = struct.unpack(">HH", l4[:4])

    def _transport(self, l4):
        if self.proto == UDP:
            if len(l4) < 8 or struct.unpack(">H", l4[4:6])[0] != len(l4):
                raise Malformed("UDP length")
            self.kind = "udp"
            self._ports(l4)
        elif self.proto == TCP:
            if len(l4) < 20 or l4[12] >> 4 < 5 or (l4[12] >> 4) * 4 > len(l4):
                raise Malformed("TCP data offset")
            self.kind = "tcp"
            self._ports(l4)
        elif self.proto in (ICMP, ICMP6):
            if len(l4) < 8 or (self.proto == ICMP) != (self.version == 4):
                raise Malformed("ICMP")
            self.kind = "icmp"
            if l4[1] == 0 and l4[0] in ((8, 0) if self.version == 4 else (128, 129)):
                self.kind = "echo"
                self.sport = self.dport = struct.unpack(">H", l4[4:6])[0]

    def _quoted(self, l4):
        if self.proto in (TCP, UDP) and len(l4) >= 4:
            self.kind = "tcp" if self.proto == TCP else "udp"
            self._ports(l4)
        elif self.proto == (ICMP if self.version == 4 else ICMP6) and len(l4) >= 8:
            if l4[0] != (8 if self.version == 4 else 128) or l4[1] != 0:
                raise Malformed("quoted ICMP")
            self.kind = "echo"
            self.sport = self.dport = struct.unpack(">H", l4[4:6])[0]
        else:
            raise Malformed("quoted protocol")

    @property
    def port(self):
        """The one that a filter of an outbound packet tests."""
        return self.dport if self.kind in ("tcp", "udp") else 0

    def error(self):
        """"no", "bad" (parse failure) or the View of the quoted packet: spec 1.1."""
        if self.kind != "icmp":
            return "no"
        kind, code = self.data[self.l4 : self.l4 + 2]
        if self.version == 4:
            is_error = kind in (3, 11)
        else:
            is_error = kind in (1, 3) or (kind, code) == (2, 0)
        if not is_error:
            return "bad"
        try:
            quote = View(self.data[self.l4 + 8 :], True)
        except (Malformed, Fragment):
            return "bad"
        return quote if quote.version == self.version else "bad"

    def pseudo(self, src, dst):
        size = len(self.data) - self.l4
        return src + dst + struct.pack(">IHBB", size, 0, 0, self.proto)

    def l4_ok(self):
        l4 = self.data[self.l4 :]
        if self.kind == "other" or self.kind == "udp" and l4[6:8] == b"\0\0":
            return True
        cover = b"" if self.proto == ICMP else self.pseudo(self.src, self.dst)
        return checksum(cover + l4) == 0

    def header_ok(self):
        return self.version == 6 or checksum(self.data[: self.l4]) == 0


CHECK_AT = {TCP: 16, UDP: 6, ICMP: 2, ICMP6: 2}


def translate(view, *, src=None, dst=None, sport=None, dport=None, ecn=None):
    """The packet with other addresses and ports, one hop less to live and right checksums."""
    out = bytearray(view.data)
    src, dst = src or view.src, dst or view.dst
    if view.version == 4:
        out[8] -= 1
        out[12:16], out[16:20] = src, dst
        if ecn is not None:
            out[1] = out[1] & 0xFC | ecn
        out[10:12] = b"\0\0"
        out[10:12] = struct.pack(">H", checksum(bytes(out[: (out[0] & 15) * 4])))
    else:
        out[7] -= 1
        out[8:24], out[24:40] = src, dst
        if ecn is not None:
            out[1] = out[1] & 0xCF | ecn << 4
    at = view.l4
    if view.kind in ("tcp", "udp"):
        if sport is not None:
            out[at : at + 2] = struct.pack(">H", sport)
        if dport is not None:
            out[at + 2 : at + 4] = struct.pack(">H", dport)
    elif view.kind == "echo":
        ident = sport if sport is not None else dport
        if ident is not None:
            out[at + 4 : at + 6] = struct.pack(">H", ident)
    if view.kind != "other" and not (view.kind == "udp" and out[at + 6 : at + 8] == b"\0\0"):
        check(out, view, src, dst)
    return bytes(out)


def check(out, view, src, dst):
    at = view.l4 + CHECK_AT[view.proto]
    out[at : at + 2] = b"\0\0"
    cover = b"" if view.proto == ICMP else view.pseudo(src, dst)
    value = checksum(cover + bytes(out[view.l4 :]))
    out[at : at + 2] = struct.pack(">H", value or (0xFFFF if view.proto == UDP else 0))


def canonical(data):
    """With 0xFFFF as 0 in checksums: both are the same number, and either may be written (5.2)."""
    try:
        view = View(data)
    except (Malformed, Fragment):
        return data
    out = bytearray(data)
    places = [10] if view.version == 4 else []
    if view.proto in CHECK_AT:
        places.append(view.l4 + CHECK_AT[view.proto])
    quote = view.error()
    if isinstance(quote, View):
        # What depends on quoted checksums is one of them less; left out of the comparison.
        start = view.l4 + 8
        inner = [10] if view.version == 4 else []
        inner.append(quote.l4 + CHECK_AT[quote.proto])
        for at in (start + a for a in inner if start + a + 2 <= len(out)):
            if out[at : at + 2] == b"\xff\xff":
                out[at : at + 2] = b"\0\0"
    for at in places:
        if out[at : at + 2] == b"\xff\xff":
            out[at : at + 2] = b"\0\0"
    return bytes(out)


def icmp(version, src, dst, kind, code, rest, ttl, tos=0):
    """A whole ICMP message; rest is everything behind the checksum."""
    body = struct.pack(">BBH", kind, code, 0) + rest
    if version == 4:
        body = body[:2] + struct.pack(">H", checksum(body)) + body[4:]
        head = struct.pack(">BBHHHBBH", 0x45, tos, 20 + len(body), 0, 0, ttl, ICMP, 0) + src + dst
        return head[:10] + struct.pack(">H", checksum(head)) + head[12:] + body
    cover = src + dst + struct.pack(">IHBB", len(body), 0, 0, ICMP6)
    body = body[:2] + struct.pack(">H", checksum(cover + body)) + body[4:]
    return struct.pack(">IHBB", 0x60000000, len(body), ICMP6, ttl) + src + dst + body


def refuse(view, four, six):
    """The answer of spec 1.5 to a client's packet."""
    data = view.data
    if view.version == 4:
        quote = data[: (data[0] & 15) * 4 + 8]
        return icmp(4, view.dst, view.src, *four, bytes(4) + quote, 20)
    return icmp(6, view.dst, view.src, *six, bytes(4) + data[:1232], 20)


def prohibited(view):
    return refuse(view, (3, 13), (1, 1))


def unreachable(view):
    return refuse(view, (3, 0), (1, 3))


def host_unreachable(view):
    return refuse(view, (3, 1), (1, 3))


def time_exceeded(view, source):
    """What the kernel of the official gateway sends: spec 8.2."""
    if view.version == 4:
        return icmp(4, source, view.src, 11, 0, bytes(4) + view.data[:548], 64, 0xC0)
    return icmp(6, source, view.src, 3, 0, bytes(4) + view.data[:1232], 64)


def too_big(view):
    """Toward the LAN, from the address that was sent to."""
    rest = struct.pack(">I", MTU)
    if view.version == 4:
        return icmp(4, view.dst, view.src, 3, 4, rest + view.data[:548], 64, 0xC0)
    return icmp(6, view.dst, view.src, 2, 0, rest + view.data[:1232], 64)


def claimed(data):
    """The plaintext as long as its header says (spec 1.1, trimming), or None."""
    if len(data) >= 20 and data[0] >> 4 == 4:
        size = struct.unpack(">H", data[2:4])[0]
    elif len(data) >= 40 and data[0] >> 4 == 6:
        size = 40 + struct.unpack(">H", data[4:6])[0]
    else:
        return None
    return data[:size] if 0 < size <= len(data) else None


def gate(data):
    data = claimed(data)
    if data is None:
        return None, Verdict("drop", "inner_malformed")
    try:
        view = View(data)
    except Malformed:
        return None, Verdict("drop", "inner_malformed")
    except Fragment:
        return None, Verdict("drop", "ip_fragment")
    if len(data) > MTU:
        return None, Verdict("drop", "inner_too_big")
    return view, None


def is_multicast(address):
    return address[0] == 0xFF if len(address) == 16 else address[0] & 0xF0 == 0xE0


def outbound(gateway, client, plaintext, now):
    """Spec 1.2, its rows in order, then what the official gateway's kernel does (8.2)."""
    view, verdict = gate(plaintext)
    if verdict:
        return verdict
    if is_multicast(view.dst):
        return Verdict("drop", "inner_multicast")
    if view.version == 6 and view.data[6] == 0xFF and view.src + view.dst == bytes(32) and len(view.data) >= 48:
        return Verdict("control")
    if isinstance(view.error(), View):
        return Verdict("drop", "inner_icmp_error")
    if view.src != client.addresses[view.version]:
        return Verdict("answer", "inner_spoofed", prohibited(view), view)
    if view.dst in gateway.tunnel:
        return Verdict("host")
    if within(view.dst, TUNNEL):
        return Verdict("answer", "inner_tunnel_dst", prohibited(view), view)
    judged = client.classify(view.dst, view.kind, view.port, now)
    if judged == "prohibited":
        return Verdict("answer", "policy_prohibited", prohibited(view), view)
    if judged == "unreachable":
        return Verdict("answer", "policy_unreachable", unreachable(view), view)
    if not view.header_ok():
        return Verdict("drop", "ip_checksum")
    if not view.l4_ok():
        return Verdict("drop", "l4_checksum")
    if view.ttl <= 1:
        source = gateway.tunnel[view.version == 6]
        return Verdict("answer", "ttl_expired", time_exceeded(view, source), view)
    return Verdict("forward", view=view)


def ecn_of(view):
    return view.data[1] & 3 if view.version == 4 else view.data[1] >> 4 & 3


def on_lan(gateway, view, outer_ecn, nat_port):
    """The forwarded packet (5.3, 8.2) with this NAT port or echo identifier."""
    ecn = 3 if outer_ecn == 3 and ecn_of(view) else None
    return translate(view, src=gateway.lan[view.version], sport=nat_port, ecn=ecn)


class Flow:
    """What a forwarded packet leaves behind: enough to take replies back."""

    def __init__(self, client, view, nat_port):
        self.client, self.nat_port = client, nat_port
        self.version, self.kind, self.proto = view.version, view.kind, view.proto
        self.remote, self.sport, self.dport = view.dst, view.sport, view.dport

    def key(self):
        """As the LAN addresses it."""
        if self.kind == "other":
            return self.version, self.proto, self.remote, 0, 0
        return self.version, self.proto, self.remote, 0 if self.kind == "echo" else self.dport, self.nat_port


def reply_key(view):
    if view.kind == "other":
        return view.version, view.proto, view.src, 0, 0
    return view.version, view.proto, view.src, 0 if view.kind == "echo" else view.sport, view.dport


def quote_key(quote):
    return quote.version, quote.proto, quote.dst, 0 if quote.kind == "echo" else quote.dport, quote.sport


def inbound(gateway, flows, data, now):
    """A packet from the LAN to the gateway's LAN address: spec 1.3 and 4. flows: by Flow.key()."""
    try:
        view = View(data)
    except Malformed:
        return Verdict("drop", "rx_malformed")
    except Fragment:
        return Verdict("drop", "ip_fragment")
    if not view.header_ok():
        return Verdict("drop", "ip_checksum")
    if within(view.src, TUNNEL):
        return Verdict("drop", "rx_spoofed")
    quote = view.error()
    is_request = view.kind == "echo" and view.data[view.l4] in (8, 128)
    if quote == "bad" or is_request:
        return Verdict("drop", "no_flow")
    if isinstance(quote, View):
        flow = flows.get(quote_key(quote)) if quote.src == gateway.lan[view.version] else None
    else:
        flow = flows.get(reply_key(view))
    if flow is None or view.dst != gateway.lan[view.version]:
        return Verdict("drop", "no_flow")
    if isinstance(quote, View):
        return inbound_error(view, quote, flow)
    judged = flow.client.classify(view.src, view.kind, view.sport if view.kind in ("tcp", "udp") else 0, now)
    if judged != "allowed":
        return Verdict("drop", "policy_reply")
    if len(data) > MTU:
        if view.version == 6 or data[6] & 0x40:
            return Verdict("answer", "mtu_exceeded", too_big(view), view)
        return Verdict("drop", "mtu_exceeded")
    if view.ttl <= 1:
        # From the gateway's LAN address.
        return Verdict("answer", "ttl_expired", None, view)
    me = flow.client.addresses[view.version]
    return Verdict("deliver", data=translate(view, dst=me, dport=flow.sport), view=view, flow=flow)


def inbound_error(view, quote, flow):
    """Spec 4.2: the reporter stays, the quote is the client's own packet again."""
    if len(view.data) > MTU:
        return Verdict("drop", "mtu_exceeded")
    if view.ttl <= 1:
        return Verdict("drop", "ttl_expired")
    if not view.l4_ok():
        return Verdict("drop", "l4_checksum")
    me = flow.client.addresses[view.version]
    start = view.l4 + 8
    inner = bytearray(view.data[start:])
    patch_quote(inner, quote, me, flow.sport)
    out = View(view.data[:start] + bytes(inner))
    return Verdict("deliver", data=translate(out, dst=me), view=view, flow=flow)


def adjust(old_check, old, new):
    """RFC 1624."""
    total = (~old_check & 0xFFFF) + (0xFFFF - checksum_sum(old)) + checksum_sum(new)
    return fold(total) ^ 0xFFFF


def checksum_sum(data):
    return checksum(data) ^ 0xFFFF


def patch_quote(inner, quote, me, sport):
    at = quote.l4
    port_at = at + 4 if quote.kind == "echo" else at
    old_source, old_port = quote.src, bytes(inner[port_at : port_at + 2])
    new_port = struct.pack(">H", sport)
    if quote.version == 4:
        inner[12:16] = me
        check_at = 10
        value = adjust(struct.unpack(">H", inner[10:12])[0], old_source, me)
        inner[check_at : check_at + 2] = struct.pack(">H", value)
    else:
        inner[8:24] = me
    inner[port_at : port_at + 2] = new_port
    check_at = at + CHECK_AT[quote.proto]
    if check_at + 2 > len(inner) or quote.kind == "udp" and inner[check_at : check_at + 2] == b"\0\0":
        return
    has_pseudo = quote.proto != ICMP
    old, new = (old_source, me) if has_pseudo else (b"", b"")
    value = adjust(struct.unpack(">H", inner[check_at : check_at + 2])[0], old + old_port, new + new_port)
    if value == 0 and quote.kind == "udp":
        value = 0xFFFF
    inner[check_at : check_at + 2] = struct.pack(">H", value)
