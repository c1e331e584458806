#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The Sallyport authors
"""Random policies, packets and replies; the gateway's verdict on each against the oracle's.

One thread, which drives every socket itself. A round is a window of packets from the clients, closed
by two fences for each client: one that must reach the LAN and one that must be refused. All paths keep
their order, so what has not appeared behind both fences has been dropped, and a dropped packet that
should have appeared is sent once more before it counts. Then the LAN answers, in the same way.
"""

import argparse
import os
import random
import socket
import struct
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from cryptography.exceptions import InvalidTag  # noqa: E402
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305  # noqa: E402

from conformance import generate, oracle, world  # noqa: E402
from conformance.generate import FENCE, MARK  # noqa: E402
from lab.peer.report import counters, increments  # noqa: E402
from lab.peer.wire import mac_of  # noqa: E402

N_CLIENTS = 6
WINDOW = 320  # packets of a round and direction
REKEY_S = 90
FLOW_S = 40  # younger than any timeout of a flow
EXPIRY_GUARD_S = 0.2  # the clocks of the two processes and the end of a round
RAW = getattr(socket, "MSG_DONTWAIT")


class Disagreement(Exception):
    pass


class Fast:
    """A client's tunnel without the thread: the caller reads and steps it."""

    def __init__(self, client, number):
        self.client, self.number, self.tunnel = client, number, client.tunnel
        self.tunnel.is_closed = True  # ends the thread; the socket stays
        self.sock = self.tunnel.sock
        time.sleep(0.1)
        self.sock.settimeout(0)
        self.sock.setblocking(False)
        self.sock.setsockopt(socket.SOL_SOCKET, 33, 32 << 20)
        self.ecn, self.is_v6 = 0, self.tunnel.family == 6
        self.keyed, self.seal, self.opens = None, None, {}
        self.ports = {}  # of the fences on the LAN
        self.next_step = 0
        self.rekeyed = time.monotonic()

    def send(self, packet, ecn=0):
        session = self.tunnel.session
        if self.keyed is not session:
            self.keyed, self.seal = session, ChaCha20Poly1305(session.send).encrypt
        if ecn != self.ecn:
            level, option = (socket.IPPROTO_IPV6, socket.IPV6_TCLASS) if self.is_v6 else (socket.IPPROTO_IP, socket.IP_TOS)
            self.sock.setsockopt(level, option, ecn)
            self.ecn = ecn
        counter = session.counter
        session.counter += 1
        message = struct.pack("<IIQ", 4, session.remote_index, counter)
        message += self.seal(struct.pack("<IQ", 0, counter), packet, b"")
        self.sock.sendto(message, self.tunnel.agent.selected)

    def poll(self):
        """Inner packets that arrived."""
        out = []
        while True:
            try:
                data, source = self.sock.recvfrom(4096, RAW)
            except (BlockingIOError, ConnectionRefusedError):
                break
            if data[:4] == b"\4\0\0\0":
                plain = self.open(data)
                if plain:
                    out.append(plain)
            else:
                self.step(data, source[:2])
        now = time.monotonic()
        if now >= self.next_step:
            self.next_step = now + 0.1
            self.step(None, None)
        if now >= self.rekeyed + REKEY_S:
            self.rekeyed = now
            with self.tunnel.condition:
                self.tunnel._initiate(now)
        return out

    def open(self, data):
        index, counter = struct.unpack("<IQ", data[4:16])
        session = self.tunnel.sessions.get(index)
        if session is None:
            raise Disagreement("data for an index that we do not have")
        if index not in self.opens:
            self.opens[index] = ChaCha20Poly1305(session.receive).decrypt
        try:
            return self.opens[index](struct.pack("<IQ", 0, counter), data[16:], b"")
        except InvalidTag:
            raise Disagreement("data that does not authenticate") from None

    def step(self, data, source):
        with self.tunnel.condition:
            self.tunnel._step(data, source, time.monotonic())


class Pending:
    """One packet and what must become of it."""

    def __init__(self, fast, packet, ecn, verdict, mark):
        self.fast, self.packet, self.ecn, self.verdict, self.mark = fast, packet, ecn, verdict, mark
        self.is_done = False


class Recent:
    """A set that forgets: it keeps at least the last 500,000."""

    def __init__(self):
        self.now, self.before = set(), set()

    def add(self, item):
        self.now.add(item)
        if len(self.now) > 500000:
            self.now, self.before = set(), self.now

    def __contains__(self, item):
        return item in self.now or item in self.before


class Differential:
    def __init__(self, seed, verdicts):
        self.seed, self.target, self.rng = seed, verdicts, random.Random(seed)
        self.world = world.World()
        self.gateway = self.world.gateway
        self.gen = generate.Generator(self.rng, self.gateway)
        self.lan = world.raw_socket("lan", "wire-lan")
        self.lan.setblocking(False)
        self.fence = {v: generate_fence(v) for v in (4, 6)}
        self.pool = [self.gen.resource() for _ in range(40)]
        self.fasts = []
        for n in range(N_CLIENTS):
            client = self.world.client(*self.fence.values(), version=4 if n % 2 == 0 else 6)
            self.fasts.append(Fast(client, n + 1))
        self.flows = {}  # as the LAN addresses them: (Flow, last packet, as seen, own key)
        self.own = {}  # as the client does: key of self.flows
        self.others = {}  # pairs of other protocols are one client's at a time
        self.compared = self.resent = 0
        self.kinds, self.wrong = {}, []
        self.waiting = {}  # fences on their way: their mark, or the answer
        self.done = Recent()  # what may still come, a second time or quoted by the gateway's host
        self.gateway_mac = None
        self.peer_mac = bytes.fromhex("020000000280")

    # Changes of policy.

    def change(self):
        rng = self.rng
        self.settle_expiries()  # init would bring back what the gateway has forgotten
        fast = rng.choice(self.fasts)
        client = fast.client
        held = [r for r, _ in client.grants.values() if r.id not in self.fence_ids()]
        kind = rng.random()
        if kind < 0.68 or not held:
            r = rng.choice(self.pool)
            expires = None if rng.random() < 0.94 else int(time.time()) + rng.choice((1, 2, 3, 0, -5))
            if r.kind == "internet" and rng.random() < 0.6:
                expires = int(time.time()) + 2
            client.authorize(oracle.Resource(r.id, r.kind, r.network and r.network.text, r.filters), expires)
        elif kind < 0.82:
            for r in rng.sample(held, min(len(held), rng.choice((1, 1, 2, 5)))):
                client.reject(r)
        elif kind < 0.95:
            at = rng.randrange(len(self.pool))
            old = self.pool[at]
            if old.kind == "cidr":
                # Another network in it changes nothing for those who hold it.
                network = old.network.text if rng.random() < 0.8 else rng.choice(generate.NETWORKS[4])
                self.pool[at] = oracle.Resource(old.id, "cidr", old.network.text, self.gen.filters())
                self.world.update(oracle.Resource(old.id, "cidr", network, self.pool[at].filters))
        else:
            self.init()
        self.world.barrier(client)
        if len(client.grants) > 14:
            for r in held[:6]:
                client.reject(r)
            self.world.barrier(client)

    def fence_ids(self):
        return [r.id for r in self.fence.values()]

    def init(self):
        """A whole list, from which some pairs are missing and others get another expiry."""
        for fast in self.fasts:
            grants = fast.client.grants
            for rid in [rid for rid in grants if rid not in self.fence_ids()]:
                if self.rng.random() < 0.1:
                    del grants[rid]
                elif self.rng.random() < 0.02:
                    grants[rid][1] = self.rng.choice((world.FOREVER, int(time.time()) + 2))
        unknown = {"client_id": "3abd725a-733b-4801-ac16-72f26cd98a24", "resource_id": self.pool[0].id, "expires_at": 2000000000}
        self.world.init(self.world.held() + [unknown])

    def settle_expiries(self):
        """Waits while the moment of an expiry is near; forgets what has expired."""
        while True:
            now = time.time()
            times = [e for f in self.fasts for _, e in f.client.grants.values() if e is not None]
            near = [e for e in times if now - EXPIRY_GUARD_S < e < now + EXPIRY_GUARD_S]
            if not near:
                break
            time.sleep(max(near) + EXPIRY_GUARD_S - now + 0.001)
        for fast in self.fasts:
            for rid, (_, expires) in list(fast.client.grants.items()):
                if expires is not None and expires <= now:
                    del fast.client.grants[rid]
        future = [e - EXPIRY_GUARD_S / 2 for e in times if e > now]
        return min(future, default=float("inf"))

    # Packets.

    def up(self, fast):
        rng = self.rng
        spoiled = rng.random() < 0.22
        packet = self.gen.spoiled(fast.client, fast.number) if spoiled else self.gen.valid(fast.client, fast.number)
        mark = mark_of(packet)
        ecn = rng.choice((0, 0, 0, 1, 2, 3, 3))
        if not spoiled and rng.random() < 0.05:
            packet += bytes(-len(packet) % 16)  # as peers that pad do
        verdict = oracle.outbound(self.gateway, fast.client, packet, time.time())
        if verdict.what == "forward" and verdict.view.kind == "other":
            verdict = self.pair(fast, verdict)
        if verdict is not None and verdict.what == "forward":
            mark = mark_of(verdict.view.data)  # a length may have cut it off
        return Pending(fast, packet, ecn, verdict, mark)

    def pair(self, fast, verdict):
        """Other protocols: an address pair belongs to the client that used it first."""
        view = verdict.view
        owner = self.others.setdefault((view.proto, view.dst), fast)
        if owner is fast:
            return verdict
        return None  # not ours to predict: not sent

    def skip(self, pending):
        v = pending.verdict
        if v is None or v.what in ("host", "control") or v.what == "forward" and pending.mark is None:
            return True
        # No route, by the gateway's own table: the official one's kernel would not forward it either.
        if v.what == "forward":
            d = v.view.dst
            if v.view.version == 4:
                return d[0] in (0, 127) or d[0] >= 224 or d[:3] in (b"\xc0\0\2", b"\xcb\0\x71")
            return d[:2] == b"\xfe\x80" or d[:8] in (world.packed("2001:db8:2::")[:8], world.packed("2001:db8:113::")[:8]) or d[:15] == bytes(15)
        return False

    def round(self):
        deadline = self.settle_expiries()
        if deadline - time.time() < EXPIRY_GUARD_S:
            return
        batch, marks = [], set()
        while len(batch) < WINDOW:
            pending = self.up(self.rng.choice(self.fasts))
            if not self.skip(pending) and (pending.mark is None or pending.mark not in marks):
                batch.append(pending)
                marks.add(pending.mark)
        self.exchange(batch, self.send_up)
        self.judge(batch)
        lan = self.answers()
        if time.time() < deadline and lan:
            self.exchange(lan, self.send_down)
            self.judge(lan)

    def send_up(self, pending):
        pending.fast.send(pending.packet, pending.ecn)

    def send_down(self, pending):
        self.lan_send(pending.packet)

    def lan_send(self, packet):
        kind = b"\x08\0" if packet[0] >> 4 == 4 else b"\x86\xdd"
        self.lan.send(self.gateway_mac + self.peer_mac + kind + packet)

    def answers(self):
        """What the LAN says to the flows that were used lately."""
        now, out = time.monotonic(), []
        recent = [k for k, (_, last, *_) in self.flows.items() if now - last < FLOW_S]
        table = {k: self.flows[k][0] for k in recent}
        if not recent:
            return []
        for _ in range(WINDOW):
            # Mostly the latest, some of them older than a change of policy.
            at = self.rng.randrange(len(recent)) if self.rng.random() < 0.3 else -1 - min(self.rng.randrange(200), len(recent) - 1)
            flow, _, seen, _ = self.flows[recent[at]]
            lan = self.gateway.lan[flow.version]
            if self.rng.random() < 0.2 and flow.kind != "other":
                packet = self.gen.lan_error(flow, seen, lan)
            else:
                packet = self.gen.reply(flow, lan)
            verdict = oracle.inbound(self.gateway, table, packet, time.time())
            if verdict.reason == "no_flow":
                # An old flow that the table above leaves out may still be there.
                other = oracle.inbound(self.gateway, {k: v[0] for k, v in self.flows.items()}, packet, time.time()) if len(table) != len(self.flows) else verdict
                if other.reason != "no_flow":
                    continue
            if verdict.data is None and verdict.what == "answer":
                verdict.data = oracle_time_exceeded(verdict.view)
            out.append(Pending(None, packet, 0, verdict, mark_of(packet)))
        return out

    # Exchanging a window.

    def exchange(self, batch, send):
        self.by_mark, self.by_bytes = {}, {}
        self.is_down = send == self.send_down
        for pending in batch:
            v = pending.verdict
            if v.what == "forward":
                self.by_mark[pending.mark] = pending
            elif v.data is not None:
                self.by_bytes.setdefault(oracle.canonical(v.data), []).append(pending)
        todo, self.late = batch, set()
        for attempt in range(2):
            for at in range(0, len(todo), 60):
                for pending in todo[at : at + 60]:
                    send(pending)
                self.drain()
            self.fences(batch)
            todo = [p for p in batch if p.verdict.what != "drop" and not p.is_done]
            if not todo:
                return
            self.resent += len(todo) if attempt == 0 else 0
            self.late = set(self.by_bytes)
        for pending in todo:
            self.disagree(pending, "nothing")

    def fences(self, batch):
        """Returns when everything sent before has been handled."""
        self.waiting, start = {}, time.monotonic()
        sent = 0.0
        while True:
            now = time.monotonic()
            if now - sent > 0.5:
                if now - start > 10:
                    raise Disagreement(f"fences missing: {sorted(self.waiting.values())}")
                if sent == 0.0:
                    self.fence_make()
                self.fence_send()
                sent = now
            if not self.drain():
                time.sleep(0.0005)
            if not self.waiting:
                return

    def fence_make(self):
        self.fence_out = []
        for fast in self.fasts:
            for version in (4, 6):
                me, dst = fast.client.addresses[version], world.packed(FENCE[version])
                mark = self.gen.mark()
                body = self.gen.l4(version, me, dst, oracle.UDP, 19000 + fast.number, 9, mark)
                packet = self.gen.header(version, me, dst, oracle.UDP, body, ttl=64, tos=0)
                if self.is_down:
                    port = fast.ports[version]
                    reply = self.gen.l4(version, dst, self.gateway.lan[version], oracle.UDP, 9, port, mark)
                    reply = self.gen.header(version, dst, self.gateway.lan[version], oracle.UDP, reply, ttl=64, tos=0)
                    self.waiting[mark] = f"reply to {fast.number}"
                    self.fence_out.append((None, reply))
                else:
                    self.waiting[mark] = f"LAN from {fast.number}"
                    self.fence_out.append((fast, packet))
                    foreign = bytes(me[:-1]) + bytes([me[-1] ^ 0x40])
                    body = self.gen.l4(version, foreign, dst, oracle.UDP, 19000, 9, b"fence" + mark[4:])
                    refused = self.gen.header(version, foreign, dst, oracle.UDP, body, ttl=64, tos=0)
                    answer = oracle.canonical(oracle.prohibited(oracle.View(refused)))
                    self.waiting[answer] = f"answer to {fast.number}"
                    self.fence_out.append((fast, refused))

    def fence_send(self):
        for fast, packet in self.fence_out:
            if fast is None:
                self.lan_send(packet)
            else:
                fast.send(packet)

    def drain(self):
        """Reads every socket once. @return whether there was anything"""
        got = False
        while True:
            try:
                frame, address = self.lan.recvfrom(4096, RAW)
            except BlockingIOError:
                break
            if address[2] != socket.PACKET_OUTGOING:
                got = True
                self.on_lan(frame)
        for fast in self.fasts:
            for packet in fast.poll():
                got = True
                self.on_client(fast, packet)
        return got

    def on_lan(self, frame):
        if frame[12:14] not in (b"\x08\0", b"\x86\xdd"):
            return
        self.gateway_mac = self.gateway_mac or frame[6:12]
        packet = oracle.claimed(frame[14:])
        if packet is None:
            return
        mark = mark_of(packet)
        if mark in self.waiting:
            self.fence_port(mark, packet)
            del self.waiting[mark]
            self.done.add(mark)
            return
        if self.is_down:
            self.match(None, packet)  # PTB and the like; the host's own answers are its own business
            return
        pending = self.by_mark.get(mark)
        if pending is not None:
            self.forwarded(pending, packet)
        elif packet[:1] == b"\x45" and packet[12] == 100 or mark is not None and mark not in self.done:
            self.wrong.append(f"on the LAN: {packet.hex()}")

    def fence_port(self, mark, packet):
        view = oracle.View(packet)
        for fast, sent in self.fence_out:
            if fast is not None and mark in sent:
                fast.ports[view.version] = view.sport
                return

    def forwarded(self, pending, packet):
        view = pending.verdict.view
        if pending.is_done:
            return
        try:
            seen = oracle.View(packet)
        except (oracle.Malformed, oracle.Fragment):
            self.disagree(pending, f"malformed {packet.hex()}")
            return
        port = seen.sport
        want = oracle.on_lan(self.gateway, view, pending.ecn, port if view.kind != "other" else None)
        if packet != want and oracle.canonical(packet) != oracle.canonical(want):
            self.disagree(pending, f"forward {packet.hex()} instead of {want.hex()}")
            return
        pending.is_done = True
        self.learn(pending, view, port, packet)

    def learn(self, pending, view, port, packet):
        client = pending.fast.client
        own = (client.id, view.version, view.proto, view.kind, view.dst, view.sport, 0 if view.kind == "echo" else view.dport)
        flow = oracle.Flow(client, view, port)
        key, now = flow.key(), time.monotonic()
        if view.kind == "icmp":
            return
        old = self.own.get(own)
        if old is not None and old != key and now - self.flows[old][1] < FLOW_S:
            self.disagree(pending, f"NAT port {port}, and the flow had {self.flows[old][0].nat_port}")
        holder = self.flows.get(key)
        if holder is not None and holder[3] != own and now - holder[1] < FLOW_S:
            self.disagree(pending, f"NAT port {port}, which is another flow's")
        self.flows.pop(key, None)
        self.flows[key] = (flow, now, packet, own)
        self.own[own] = key

    def on_client(self, fast, packet):
        if self.match(fast, packet):
            return
        for name in (mark_of(packet), oracle.canonical(packet)):
            if name in self.waiting:
                del self.waiting[name]
                self.done.add(name)
                return
            if name in self.done or name in self.late:
                return
        self.wrong.append(f"to client {fast.number}: {packet.hex()}")

    def match(self, fast, packet):
        """One of the expected answers and deliveries."""
        whole = oracle.canonical(packet)
        for pending in self.by_bytes.get(whole, ()):
            if pending.is_done:
                continue
            owner = pending.fast and pending.fast.client
            if self.is_down and pending.verdict.what == "deliver":
                owner = pending.verdict.flow.client
            if owner is (fast and fast.client):
                pending.is_done = True
                return True
        return False

    # Results.

    def disagree(self, pending, what):
        pending.is_done = True
        who = pending.fast.number if pending.fast else "LAN"
        self.wrong.append(f"{who}: {pending.packet.hex()} ecn {pending.ecn}: expected {pending.verdict}, saw {what}")

    def judge(self, batch):
        for pending in batch:
            self.compared += 1
            name = str(pending.verdict).strip()
            self.kinds[name] = self.kinds.get(name, 0) + 1
            if pending.mark is not None:
                self.done.add(pending.mark)
        if self.wrong:
            raise Disagreement("; ".join(self.wrong[:5]))

    def run(self):
        start = time.monotonic()
        self.is_down, self.by_mark, self.by_bytes, self.late = False, {}, {}, set()
        self.fences([])
        for fast in self.fasts:
            for _ in range(4):
                self.change()
        shown = start
        while self.compared < self.target:
            for _ in range(self.rng.choice((0, 1, 1, 2, 3))):
                self.change()
            self.round()
            self.forget()
            if time.monotonic() - shown > 20:
                shown = time.monotonic()
                print(f"# {self.compared} verdicts after {shown - start:.0f} s", flush=True)
        return time.monotonic() - start

    def forget(self):
        """Flows whose timeouts are near."""
        now = time.monotonic()
        if len(self.flows) < 20000:
            return
        for key in [k for k, v in self.flows.items() if now - v[1] > 600]:
            self.own.pop(self.flows.pop(key)[3], None)


def mark_of(packet):
    at = packet.find(MARK)
    return packet[at : at + 8] if 0 <= at <= len(packet) - 8 else None


def generate_fence(version):
    return world.resource(f"{FENCE[version]}/{32 if version == 4 else 128}", ("udp", 9, 9))


def oracle_time_exceeded(view):
    return oracle.time_exceeded(view, view.dst)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4), "big"))
    parser.add_argument("--verdicts", type=int, default=210000)
    args = parser.parse_args()
    print(f"# seed {args.seed}", flush=True)
    d = Differential(args.seed, args.verdicts)
    before = counters()
    n_wrong, took = 0, 0.0
    try:
        took = d.run()
    except Disagreement as e:
        print(f"# {e}", flush=True)
        for fast in d.fasts:
            held = [(r.id[:8], r.kind, r.network and r.network.text, r.filters, e) for r, e in fast.client.grants.values()]
            print(f"# client {fast.number} holds {held}", flush=True)
        n_wrong = max(1, len(d.wrong))
    grown = increments(before, counters())
    print("# " + ", ".join(f"{v} {k}" for k, v in sorted(d.kinds.items(), key=lambda i: -i[1])))
    print("# counters: " + ", ".join(f"{k} {v}" for k, v in grown.items() if k.startswith("drop_")))
    print(f"# {took:.0f} s, {d.resent} packets sent twice")
    print(f"{'not ok' if n_wrong else 'ok'} - random policies and packets, seed {args.seed}")
    print(f"{d.compared} verdicts compared, {n_wrong} disagreements, seed {args.seed}", flush=True)
    return 1 if n_wrong else 0


if __name__ == "__main__":
    sys.exit(main())
