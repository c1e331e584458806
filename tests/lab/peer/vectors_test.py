#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The Sallyport authors
"""The peer's own codecs against the spec's vectors: if these are wrong, no verdict of it counts."""

import os
import socket
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from peer import packets, stun, ws  # noqa: E402

TXID = bytes(range(12))
REQUEST = (
    "000100442112a442000102030405060708090a0b00060009636c6e743a6761746500000080290008"
    "0123456789abcdef002400046efffeff00080014d376396b9e7f29cba7cfc6ad3233b0cdf7190d3f"
    "8028000400557ce5"
)
SUCCESS4 = (
    "0101002c2112a442000102030405060708090a0b002000080001ec83ea12d545000800140faf963b"
    "d02519d77fc38a1cd2cbb0db959e464f802800043b600d8b"
)
SUCCESS6 = (
    "010100382112a442000102030405060708090a0b002000140002ec830113a9fa0001020304050607"
    "08090a0c00080014afafe2ea8387fcbab3d67c37e29841aa311259b080280004b28d53c5"
)
UDP4 = "450000240000000040110c84644000010a000005151900510010ab493132333435363738"
PROHIBITED4 = (
    "4500003800000000140138800a00000564400001030d3c2f00000000450000240000000040110c84"
    "644000010a000005151900510010ab49"
)
UDP6 = (
    "6000000000101140fd002021111100000000000000000001fd002021111180000000000000000000"
    "1519005100103d283132333435363738"
)
PROHIBITED6 = (
    "6000000000403a14fd002021111180000000000000000000fd002021111100000000000000000001"
    "0101b0ed00000000" + UDP6
)


class Stun(unittest.TestCase):
    def test_request(self):
        fields = {"tie_breaker": 0x0123456789ABCDEF, "priority": 0x6EFFFEFF, "txid": TXID}
        made = stun.request("clnt:gate", "clientpasswordclientpw", controlling=False, **fields)
        self.assertEqual(made.hex(), REQUEST)

    def test_success(self):
        for address, want in (("203.0.113.7", SUCCESS4), ("2001:db8::7", SUCCESS6)):
            made = stun.success(TXID, (address, 52625), "gatewaypasswordgateway")
            self.assertEqual(made.hex(), want)
            message = stun.Message(made)
            message.verify("gatewaypasswordgateway")
            self.assertEqual(message.mapped(), (address, 52625))
            with self.assertRaises(stun.Malformed):
                message.verify("anotherpassword")

    def test_tampered(self):
        good = bytes.fromhex(SUCCESS4)
        for at in range(len(good)):
            bad = good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :]
            with self.assertRaises((stun.Malformed, KeyError)):
                stun.Message(bad).verify("gatewaypasswordgateway")


class Packets(unittest.TestCase):
    def test_prohibited(self):
        self.assertEqual(packets.prohibited(bytes.fromhex(UDP4)).hex(), PROHIBITED4)
        self.assertEqual(packets.prohibited(bytes.fromhex(UDP6)).hex(), PROHIBITED6)

    def test_builders(self):
        made = packets.udp("100.64.0.1", "10.0.0.5", 5401, 81, b"12345678", ident=0, fragment=0)
        self.assertEqual(made.hex(), UDP4)
        made = packets.udp("fd00:2021:1111::1", "fd00:2021:1111:8000::", 5401, 81, b"12345678")
        self.assertEqual(made.hex(), UDP6)
        for p in (made, packets.echo("192.0.2.1", "192.0.2.2", 7), packets.tcp("::1", "::2", 1, 2)):
            packets.Packet(p)
            with self.assertRaises(ValueError):
                packets.Packet(p[:-1] + bytes([p[-1] ^ 1]))


class WebSocket(unittest.TestCase):
    def test_accept_key(self):  # RFC 6455 1.3
        self.assertEqual(ws.accept_key("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")

    def test_round_trip(self):
        a, b = socket.socketpair()
        self.addCleanup(a.close)
        self.addCleanup(b.close)
        client, server = ws.Connection(a, True), ws.Connection(b, False)
        for size in (0, 1, 125, 126, 65535, 65536):
            for one, other in ((client, server), (server, client)):
                one.send("x" * size)
                self.assertEqual(len(other.recv(1)), size)
        client.send_frame(ws.TEXT, "a", fin=False)
        client.send_frame(ws.PING, "p")
        client.send_frame(ws.CONTINUATION, "b")
        self.assertEqual(server.recv(1), b"ab")
        server.close(1012, "later")
        with self.assertRaises(ws.Closed) as closed:
            client.recv(1)
        self.assertEqual(closed.exception.code, 1012)


if __name__ == "__main__":
    unittest.main()
