# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The Sallyport authors
"""The controlling side of ICE with one host candidate: checks, nomination, answers. Sans-IO."""

import os

from . import stun

STEADY_S = 1.5
PRIORITY = {4: 2130706175, 6: 2130706431}  # first host candidate of the family
PRIORITY_CHECK = {4: 1862270719, 6: 1862270975}  # the same as peer reflexive


class Credentials:
    def __init__(self, username, password):
        self.username, self.password = username, password


def candidate_line(ip, port, family, ufrag):
    return f"candidate:{0x7E000000 + family:x} 1 udp {PRIORITY[family]} {ip} {port} typ host ufrag {ufrag}"


def candidate_address(line):
    """(ip, port) of a UDP candidate line, or None."""
    words = line.removeprefix("candidate:").split()
    if len(words) < 8 or words[2].lower() != "udp" or words[6] != "typ":
        return None
    return words[4], int(words[5])


class Remote:
    def __init__(self, address):
        self.address, self.is_valid, self.next_check, self.n_checks = address, False, 0.0, 0


class Agent:
    """handle() and tick() return [(address, bytes)] to send; selected is an address or None."""

    def __init__(self, family, local, remote):
        self.family, self.local, self.remote = family, local, remote
        self.tie_breaker = int.from_bytes(os.urandom(8), "big")
        self.remotes, self.pending, self.selected = [], {}, None
        self.checks_answered = self.checks_seen = 0

    def add_remote(self, line):
        address = candidate_address(line)
        if address is None or (":" in address[0]) != (self.family == 6):
            return
        if all(r.address != address for r in self.remotes):
            self.remotes.append(Remote(address))

    def check(self, remote, **fields):
        """A check, with fields to override those of stun.request()."""
        txid = stun.new_txid()
        self.pending[txid] = remote
        arguments = {
            "username": f"{self.remote.username}:{self.local.username}",
            "key": self.remote.password,
            "tie_breaker": self.tie_breaker,
            "priority": PRIORITY_CHECK[self.family],
            "use_candidate": remote.is_valid,
            "txid": txid,
        }
        return stun.request(**{**arguments, **fields})

    def tick(self, now):
        out = []
        for r in self.remotes:
            if now < r.next_check:
                continue
            r.n_checks += 1
            wait = STEADY_S if r.is_valid else min(0.25 * 2 ** min(r.n_checks - 1, 4), STEADY_S)
            r.next_check = now + wait
            out.append((r.address, self.check(r)))
        return out

    def handle(self, data, source, now):
        message = stun.Message(data)
        if message.kind == stun.REQUEST:
            message.verify(self.local.password)
            want = f"{self.local.username}:{self.remote.username}"
            if message.attributes.get(stun.USERNAME) != want.encode():
                raise stun.Malformed("USERNAME")
            if stun.ICE_CONTROLLED not in message.attributes:
                raise stun.Malformed("not from a controlled agent")
            if stun.USE_CANDIDATE in message.attributes:
                raise stun.Malformed("USE-CANDIDATE of a controlled agent")
            self.checks_seen += 1
            return [(source, stun.success(message.txid, source, self.local.password))]
        if message.kind != stun.SUCCESS:
            return []
        remote = self.pending.pop(message.txid, None)
        if remote is None:
            return []
        message.verify(self.remote.password)
        message.mapped()
        self.checks_answered += 1
        if remote.is_valid:
            return []
        remote.is_valid = True
        if self.selected is None:
            self.selected = remote.address
            remote.next_check = now  # says USE-CANDIDATE at once
        return self.tick(now)
