#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The Sallyport authors
"""Runs the oracle against control/noise, live: live_test.py HELPER

Both directions, with and without PSK, every byte of every message tampered with, wrong MACs,
cookies under load, replays, rekey and padded data. Prints one line per test.
"""

import os
import subprocess
import sys
import traceback

import oracle
from oracle import Initiator, Refused, Responder, public

SECOND = 10**9
T0 = 1000 * SECOND
SOURCE = "192.0.2.33:52625"
IP = bytes.fromhex("4500002100000000401100000a0000010a000002") + bytes(13)


class Ours:
    """The helper process: our node, one peer, one session."""

    def __init__(self, path):
        self.proc = subprocess.Popen([path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def __call__(self, *words):
        line = " ".join(w.hex() or "-" if isinstance(w, bytes) else str(w) for w in words)
        self.proc.stdin.write(line.encode() + b"\n")
        self.proc.stdin.flush()
        answer = self.proc.stdout.readline().decode().split()
        assert answer, f"helper died after: {line[:60]}"
        return answer

    def begin(self, psk, theirs, rate=1000000, source_rate=0):
        self.now = T0
        answer = self("node", os.urandom(32), self.now, rate, source_rate)
        self.public = bytes.fromhex(answer[1])
        assert self("peer", public(theirs), psk, 4711) == ["ok"]

    def tick(self, ns=SECOND):
        self.now += ns
        self("time", self.now)

    def handle(self, msg, source=SOURCE):
        verdict, out, *events = self("handle", source, msg)
        return verdict, b"" if out == "-" else bytes.fromhex(out), events

    def initiate(self):
        return bytes.fromhex(self("initiate")[1])

    def data(self, word, msg):
        answer = self(word, msg)
        if answer[0] == "error":
            return -int(answer[1])
        return b"" if answer[1] == "-" else bytes.fromhex(answer[1])

    def digest(self):
        return self("digest")[1]


class Clock:
    """Stamps that increase."""

    ns = 1_600_000_000 * SECOND

    @classmethod
    def stamp(cls):
        cls.ns += 1
        return oracle.tai64n(cls.ns)


def flip(msg, i):
    return msg[:i] + bytes([msg[i] ^ (1 << (i % 8))]) + msg[i + 1 :]


def with_mac1(msg, receiver_public):
    return oracle.macs(msg[:-32], receiver_public)


def refused(f, *args):
    try:
        f(*args)
    except Refused:
        return
    raise AssertionError("the oracle accepted a wrong message")


def both_ways(ours, transport):
    for size in (0, 20, 33, 1280):
        plain = (b"\x45\0" + size.to_bytes(2, "big") + os.urandom(size))[:size]
        assert transport.decrypt(ours.data("seal", plain)) == plain, size
        assert ours.data("open", transport.encrypt(plain)) == plain, size
        assert ours.data("open", transport.encrypt(plain, pad=True)) == plain, size


def as_responder(ours, psk, me):
    """The oracle initiates."""
    them = Initiator(me, ours.public, psk)
    verdict, second, events = ours.handle(them.initiation(0x55, os.urandom(32), Clock.stamp()))
    assert (verdict, events) == ("ok", ["keypair"]), verdict
    return them.response(second)


def as_initiator(ours, psk, me):
    """We initiate."""
    them = Responder(me, lambda _: psk)
    remote, _ = them.initiation(ours.initiate())
    assert remote == ours.public
    second, transport = them.response(0x66, os.urandom(32))
    verdict, _, events = ours.handle(second)
    assert (verdict, events) == ("ok", ["keypair", "keepalive"]), verdict
    return transport


def test_handshakes(ours):
    for psk in (bytes(32), os.urandom(32)):
        me = os.urandom(32)
        ours.begin(psk, me)
        # The responder may not send before the first packet of the new session.
        transport = as_responder(ours, psk, me)
        assert ours.data("seal", IP) < 0
        assert ours.data("open", transport.encrypt(b"")) == b""
        both_ways(ours, transport)
        ours.tick()
        old, transport = transport, as_initiator(ours, psk, me)
        both_ways(ours, transport)
        assert ours.data("open", old.encrypt(IP)) == IP
        ours.tick()
        for _ in range(12):
            old, transport = transport, as_responder(ours, psk, me)
            assert old.decrypt(ours.data("seal", IP)) == IP
            assert ours.data("open", transport.encrypt(IP)) == IP
            both_ways(ours, transport)
            ours.tick()


def test_wrong_psk(ours):
    me = os.urandom(32)
    ours.begin(os.urandom(32), me)
    them = Initiator(me, ours.public, os.urandom(32))
    verdict, second, _ = ours.handle(them.initiation(1, os.urandom(32), Clock.stamp()))
    assert verdict == "ok"
    refused(them.response, second)
    them = Responder(me, lambda _: os.urandom(32))
    them.initiation(ours.initiate())
    second, _ = them.response(2, os.urandom(32))
    before = ours.digest()
    assert ours.handle(second)[0] == "decrypt_failed"
    assert ours.digest() == before


def test_tampered_to_us(ours):
    psk, me = os.urandom(32), os.urandom(32)
    ours.begin(psk, me)
    them = Initiator(me, ours.public, psk)
    first = them.initiation(1, os.urandom(32), Clock.stamp())
    responder = Responder(me, lambda _: psk)
    responder.initiation(ours.initiate())
    second, _ = responder.response(2, os.urandom(32))
    before = ours.digest()
    for msg in (first, second):
        for i in range(len(msg) - 16):
            verdict, out, events = ours.handle(flip(msg, i))
            assert verdict == ("bad_mac1" if i >= 4 else verdict) != "ok", (i, verdict)
            # Bytes 4-7 are the sender's own index, which only mac1 protects.
            if 8 <= i < len(msg) - 32:
                verdict, out, events = ours.handle(with_mac1(flip(msg, i), ours.public))
                assert verdict in ("decrypt_failed", "stale_index", "unknown_index"), (i, verdict)
            assert (out, events) == (b"", [])
        for size in range(len(msg)):
            assert ours.handle(msg[:size])[0] == "too_short"
        assert ours.handle(msg + b"\0")[0] == "bad_size"
    assert ours.digest() == before
    assert ours.handle(second)[0] == "ok"
    verdict, answer, _ = ours.handle(first)
    assert verdict == "ok"
    transport = them.response(answer)
    data = transport.encrypt(IP)
    before = ours.digest()
    for i in range(len(data)):
        assert ours.data("open", flip(data, i)) in (-74, -2), i  # EBADMSG, ENOENT
    assert ours.digest() == before
    assert ours.data("open", data) == IP
    assert ours.data("open", data) == -114  # EALREADY


def test_tampered_by_us(ours):
    """The other way round: the oracle refuses what is not exactly our message."""
    psk, me = os.urandom(32), os.urandom(32)
    ours.begin(psk, me)
    first = ours.initiate()
    for i in range(8, 116, 2):
        refused(Responder(me, lambda _: psk).initiation, with_mac1(flip(first, i), public(me)))
        refused(Responder(me, lambda _: psk).initiation, flip(first, i))
    assert Responder(me).initiation(first)[0] == ours.public
    ephemeral = os.urandom(32)
    for i in range(12, 60, 3):
        ours.tick(1)
        them = Initiator(me, ours.public, psk)
        first = them.initiation(1, ephemeral, Clock.stamp())
        second = ours.handle(first)[1]
        refused(them.response, with_mac1(flip(second, i), public(me)))


def test_stranger(ours):
    ours.begin(bytes(32), os.urandom(32))
    stranger = Initiator(os.urandom(32), ours.public)
    before = ours.digest()
    msg = stranger.initiation(1, os.urandom(32), Clock.stamp())
    assert ours.handle(msg)[0] == "unknown_peer"
    # mac1 of another responder: somebody who does not know our key.
    assert ours.handle(with_mac1(msg, os.urandom(32)))[0] == "bad_mac1"
    # Right keys but an ephemeral of small order.
    assert ours.handle(with_mac1(msg[:8] + bytes(32) + msg[40:], ours.public))[0] == (
        "decrypt_failed"
    )
    assert ours.digest() == before


def test_replayed_initiation(ours):
    psk, me = os.urandom(32), os.urandom(32)
    ours.begin(psk, me)
    them = Initiator(me, ours.public, psk)
    older, stamp = Clock.stamp(), Clock.stamp()
    first = them.initiation(1, os.urandom(32), stamp)
    assert ours.handle(first)[0] == "ok"
    before = ours.digest()
    assert ours.handle(first)[0] == "replayed"
    assert ours.handle(them.initiation(2, os.urandom(32), stamp))[0] == "replayed"
    assert ours.handle(them.initiation(3, os.urandom(32), older))[0] == "replayed"
    assert ours.digest() == before
    assert ours.handle(them.initiation(4, os.urandom(32), Clock.stamp()))[0] == "ok"


def test_our_stamps_increase(ours):
    psk, me = os.urandom(32), os.urandom(32)
    ours.begin(psk, me)
    stamps = [Responder(me).initiation(ours.initiate())[1] for _ in range(5)]
    ours.tick()
    stamps.append(Responder(me).initiation(ours.initiate())[1])
    assert stamps == sorted(set(stamps))


def test_cookie_from_us(ours):
    psk, me = os.urandom(32), os.urandom(32)
    ours.begin(psk, me, rate=10, source_rate=100)
    for source in (SOURCE, "[2001:db8::5]:1"):
        them = Initiator(me, ours.public, psk)
        for _ in range(12):
            first = them.initiation(1, os.urandom(32), Clock.stamp())
            verdict, reply, _ = ours.handle(first, source)
        assert verdict == "cookie_sent" and len(reply) == 64
        refused(oracle.cookie_open, ours.public, first, flip(reply, 40))
        cookie = oracle.cookie_open(ours.public, first, reply)
        first = them.initiation(1, os.urandom(32), Clock.stamp(), cookie)
        before = ours.digest()
        assert ours.handle(first, "198.51.100.9:52625")[0] == "cookie_sent"
        assert ours.handle(flip(first, 147), source)[0] == "cookie_sent"
        assert ours.digest() == before
        verdict, second, _ = ours.handle(first, source)
        assert verdict == "ok"
        transport = them.response(second)
        assert ours.data("open", transport.encrypt(IP)) == IP


def test_cookie_to_us(ours):
    psk, me = os.urandom(32), os.urandom(32)
    ours.begin(psk, me)
    first, cookie = ours.initiate(), os.urandom(16)
    reply = oracle.cookie_reply(public(me), first, cookie, os.urandom(24))
    before = ours.digest()
    for i in range(len(reply)):
        assert ours.handle(flip(reply, i))[0] != "ok", i
    assert ours.digest() == before
    assert ours.handle(reply)[0] == "ok"
    assert ours.handle(reply)[0] == "cookie_refused"
    again = ours.initiate()
    assert again == oracle.macs(again[:-32], public(me), cookie)
    ours.tick(120 * SECOND)
    again = ours.initiate()
    assert again == oracle.macs(again[:-32], public(me))
    # Also our response carries mac2 once its own cookie came.
    them = Initiator(me, ours.public, psk)
    second = ours.handle(them.initiation(1, os.urandom(32), Clock.stamp()))[1]
    reply = oracle.cookie_reply(public(me), second, cookie, os.urandom(24))
    assert ours.handle(reply)[0] == "ok"
    second = ours.handle(them.initiation(1, os.urandom(32), Clock.stamp()))[1]
    assert second == oracle.macs(second[:-32], public(me), cookie)


def main():
    ours = Ours(sys.argv[1])
    failed = 0
    for name, test in list(globals().items()):
        if not name.startswith("test_"):
            continue
        try:
            test(ours)
            print(f"ok - {name[5:]}")
        except Exception:  # a test that fails in any way is a failed test
            failed += 1
            print(f"not ok - {name[5:]}")
            traceback.print_exc(file=sys.stdout)
    ours.proc.stdin.close()
    status = ours.proc.wait(10)
    if status != 0:
        print(f"not ok - helper ended with {status}")
    return 1 if failed or status else 0


if __name__ == "__main__":
    sys.exit(main())
