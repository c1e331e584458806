#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The Sallyport authors
"""WireGuard's handshake, written from the paper and independent of control/noise.

Importable: Initiator, Responder, Transport, cookie functions. As a program it prints the vectors
that the unit tests replay (`oracle.py vectors`), or compares a file with them (`check FILE`).
"""

import hashlib
import hmac
import struct
import sys

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

CONSTRUCTION = b"Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s"
IDENTIFIER = b"WireGuard v1 zx2c4 Jason@zx2c4.com"


class Refused(Exception):
    """The message is not what it claims to be."""


def blake2s(*parts):
    return hashlib.blake2s(b"".join(parts)).digest()


def mac(key, data):
    return hashlib.blake2s(data, key=key, digest_size=16).digest()


def kdf(n, key, data):
    prk = hmac.new(key, data, hashlib.blake2s).digest()
    out, t = [], b""
    for i in range(1, n + 1):
        t = hmac.new(prk, t + bytes([i]), hashlib.blake2s).digest()
        out.append(t)
    return out


def public(private):
    key = X25519PrivateKey.from_private_bytes(private).public_key()
    return key.public_bytes(Encoding.Raw, PublicFormat.Raw)


def dh(private, peer):
    try:
        return X25519PrivateKey.from_private_bytes(private).exchange(
            X25519PublicKey.from_public_bytes(peer)
        )
    except ValueError as e:
        raise Refused("low-order point") from e


def seal(key, counter, plain, ad):
    return ChaCha20Poly1305(key).encrypt(struct.pack("<IQ", 0, counter), plain, ad)


def unseal(key, counter, sealed, ad):
    try:
        return ChaCha20Poly1305(key).decrypt(struct.pack("<IQ", 0, counter), sealed, ad)
    except InvalidTag as e:
        raise Refused("does not authenticate") from e


def tai64n(unix_ns):
    return struct.pack(">QI", 2**62 + 10 + unix_ns // 10**9, unix_ns % 10**9)


class Symmetric:
    """Chaining key, hash and key of Noise."""

    def __init__(self, responder_public):
        self.ck = blake2s(CONSTRUCTION)
        self.h = blake2s(self.ck, IDENTIFIER)
        self.k = None
        self.mix_hash(responder_public)

    def mix_hash(self, data):
        self.h = blake2s(self.h, data)

    def mix_key(self, data):
        self.ck, self.k = kdf(2, self.ck, data)

    def mix_chain(self, data):
        (self.ck,) = kdf(1, self.ck, data)

    def mix_psk(self, psk):
        self.ck, tau, self.k = kdf(3, self.ck, psk)
        self.mix_hash(tau)

    def seal(self, plain):
        out = seal(self.k, 0, plain, self.h)
        self.mix_hash(out)
        return out

    def unseal(self, sealed):
        out = unseal(self.k, 0, sealed, self.h)
        self.mix_hash(sealed)
        return out


def macs(msg, receiver_public, cookie=None):
    """Appends mac1 and mac2 to a message without them."""
    msg += mac(blake2s(b"mac1----", receiver_public), msg)
    return msg + (mac(cookie, msg) if cookie else bytes(16))


def mac1_check(msg, our_public):
    if not hmac.compare_digest(mac(blake2s(b"mac1----", our_public), msg[:-32]), msg[-32:-16]):
        raise Refused("mac1")


class Initiator:
    def __init__(self, private, remote_public, psk=bytes(32)):
        self.private, self.remote, self.psk = private, remote_public, psk

    def initiation(self, index, ephemeral, stamp, cookie=None):
        self.index, self.ephemeral = index, ephemeral
        s = self.s = Symmetric(self.remote)
        e = public(ephemeral)
        s.mix_chain(e)
        s.mix_hash(e)
        s.mix_key(dh(ephemeral, self.remote))
        sealed_static = s.seal(public(self.private))
        s.mix_key(dh(self.private, self.remote))
        msg = struct.pack("<II", 1, index) + e + sealed_static + s.seal(stamp)
        self.message = macs(msg, self.remote, cookie)
        return self.message

    def response(self, msg):
        """Returns the Transport."""
        if len(msg) != 92:
            raise Refused("size")
        kind, sender, receiver = struct.unpack("<III", msg[:12])
        if kind != 2 or receiver != self.index:
            raise Refused("type or index")
        mac1_check(msg, public(self.private))
        s, e = self.s, msg[12:44]
        s.mix_chain(e)
        s.mix_hash(e)
        s.mix_chain(dh(self.ephemeral, e))
        s.mix_chain(dh(self.private, e))
        s.mix_psk(self.psk)
        s.unseal(msg[44:60])
        send, receive = kdf(2, s.ck, b"")
        return Transport(send, receive, self.index, sender)


class Responder:
    def __init__(self, private, psk_of=lambda remote_public: bytes(32)):
        self.private, self.psk_of = private, psk_of

    def initiation(self, msg):
        """Returns (initiator's public key, stamp)."""
        if len(msg) != 148:
            raise Refused("size")
        kind, self.sender = struct.unpack("<II", msg[:8])
        if kind != 1:
            raise Refused("type")
        mac1_check(msg, public(self.private))
        s = self.s = Symmetric(public(self.private))
        self.e = msg[8:40]
        s.mix_chain(self.e)
        s.mix_hash(self.e)
        s.mix_key(dh(self.private, self.e))
        self.remote = s.unseal(msg[40:88])
        s.mix_key(dh(self.private, self.remote))
        return self.remote, s.unseal(msg[88:116])

    def response(self, index, ephemeral, cookie=None):
        """Returns (message, Transport)."""
        s, e = self.s, public(ephemeral)
        s.mix_chain(e)
        s.mix_hash(e)
        s.mix_chain(dh(ephemeral, self.e))
        s.mix_chain(dh(ephemeral, self.remote))
        s.mix_psk(self.psk_of(self.remote))
        msg = struct.pack("<III", 2, index, self.sender) + e + s.seal(b"")
        receive, send = kdf(2, s.ck, b"")
        return macs(msg, self.remote, cookie), Transport(send, receive, index, self.sender)


class Transport:
    def __init__(self, send, receive, local_index, remote_index):
        self.send, self.receive = send, receive
        self.local_index, self.remote_index, self.counter = local_index, remote_index, 0

    def encrypt(self, plain, pad=False):
        if pad:
            plain += bytes(-len(plain) % 16)
        counter, self.counter = self.counter, self.counter + 1
        header = struct.pack("<IIQ", 4, self.remote_index, counter)
        return header + seal(self.send, counter, plain, b"")

    def decrypt(self, msg):
        if len(msg) < 32:
            raise Refused("size")
        kind, index, counter = struct.unpack("<IIQ", msg[:16])
        if kind != 4 or index != self.local_index:
            raise Refused("type or index")
        return unseal(self.receive, counter, msg[16:], b"")


def hchacha20(key, nonce16):
    """The XChaCha subkey (draft-irtf-cfrg-xchacha); python3-cryptography has only ChaCha20."""
    x = list(struct.unpack("<4I", b"expand 32-byte k") + struct.unpack("<8I", key))
    x += struct.unpack("<4I", nonce16)

    def quarter(a, b, c, d):
        for i, j, k, r in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
            x[i] = (x[i] + x[j]) & 0xFFFFFFFF
            v = x[k] ^ x[i]
            x[k] = (v << r | v >> (32 - r)) & 0xFFFFFFFF

    for _ in range(10):
        for i in range(4):
            quarter(i, 4 + i, 8 + i, 12 + i)
        for i in range(4):
            quarter(i, 4 + (i + 1) % 4, 8 + (i + 2) % 4, 12 + (i + 3) % 4)
    return struct.pack("<8I", *x[:4], *x[12:])


def cookie_make(secret, address_bytes, port):
    return mac(secret, address_bytes + struct.pack(">H", port))


def cookie_reply(our_public, msg, cookie, nonce):
    """Answers an initiation or response under load."""
    key = hchacha20(blake2s(b"cookie--", our_public), nonce[:16])
    sealed = ChaCha20Poly1305(key).encrypt(bytes(4) + nonce[16:], cookie, msg[-32:-16])
    return struct.pack("<I", 3) + msg[4:8] + nonce + sealed


def cookie_open(remote_public, msg, reply):
    """The cookie in the reply to our message."""
    if len(reply) != 64 or reply[:8] != struct.pack("<I", 3) + msg[4:8]:
        raise Refused("size, type or index")
    key = hchacha20(blake2s(b"cookie--", remote_public), reply[8:24])
    try:
        return ChaCha20Poly1305(key).decrypt(bytes(4) + reply[24:32], reply[32:], msg[-32:-16])
    except InvalidTag as e:
        raise Refused("does not authenticate") from e


def pattern(label):
    return blake2s(b"sallyport test vector: ", label.encode())


def vectors():
    """Yields (name, value) of handshakes with fixed keys; a name "case" starts each."""
    cases = (("no psk", bytes(32), None), ("psk", pattern("psk"), None))
    cases += (("psk and cookie", pattern("psk"), pattern("cookie")[:16]),)
    for n, (name, psk, cookie) in enumerate(cases):
        keys = {
            k: pattern(f"{k} {n}")
            for k in ("initiator_private", "responder_private")
            + ("initiator_ephemeral", "responder_ephemeral", "cookie_secret")
        }
        index_i, index_r = 0x00123401 + n, 0xFEDCBA01 + n
        stamp = tai64n(1_700_000_000_123_456_789 + n)
        i = Initiator(keys["initiator_private"], public(keys["responder_private"]), psk)
        r = Responder(keys["responder_private"], lambda _: psk)
        first = i.initiation(index_i, keys["initiator_ephemeral"], stamp, cookie)
        assert r.initiation(first) == (public(keys["initiator_private"]), stamp)
        second, tr = r.response(index_r, keys["responder_ephemeral"], cookie)
        ti = i.response(second)
        plain = bytes.fromhex("45000021000040004011") + bytes(23)
        nonce = pattern(f"nonce {n}")[:24]
        address = bytes([192, 0, 2, 33]) if n != 1 else bytes.fromhex("20010db8") + bytes(11) + b"\1"
        baked = cookie_make(keys["cookie_secret"], address, 52625)
        reply = cookie_reply(public(keys["responder_private"]), first, baked, nonce)
        assert cookie_open(public(keys["responder_private"]), first, reply) == baked
        yield "case", name.replace(" ", "_")
        yield from keys.items()
        yield from (("psk", psk), ("cookie", cookie or b""), ("timestamp", stamp))
        yield "initiator_public", public(keys["initiator_private"])
        yield "responder_public", public(keys["responder_private"])
        yield from (("initiator_index", struct.pack(">I", index_i)),)
        yield from (("responder_index", struct.pack(">I", index_r)),)
        yield from (("initiation", first), ("response", second))
        yield from (("initiator_send", ti.send), ("initiator_receive", ti.receive))
        yield from (("cookie_address", address), ("cookie_nonce", nonce), ("cookie_reply", reply))
        yield from (("cookie_baked", baked), ("plain", plain), ("data_keepalive", ti.encrypt(b"")))
        yield from (("data_0", tr.encrypt(plain)), ("data_1_padded", tr.encrypt(plain, pad=True)))


def vectors_text():
    lines = ["# SPDX-License-Identifier: Apache-2.0", "# Copyright 2026 The Sallyport authors"]
    lines += ["# Made by tests/conformance/noise/oracle.py vectors; name and value in hex."]
    for name, value in vectors():
        lines.append(f"{name} {value if isinstance(value, str) else value.hex() or '-'}")
    return "\n".join(lines) + "\n"


def main():
    if sys.argv[1:] == ["vectors"]:
        sys.stdout.write(vectors_text())
        return 0
    if len(sys.argv) == 3 and sys.argv[1] == "check":
        with open(sys.argv[2], encoding="ascii") as f:
            if f.read() == vectors_text():
                return 0
        print(f"{sys.argv[2]} differs from what the oracle makes", file=sys.stderr)
        return 1
    print("usage: oracle.py vectors | check FILE", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
