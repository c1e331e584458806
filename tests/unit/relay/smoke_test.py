#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The Sallyport authors
"""The relay program over real sockets on the loopback. usage: smoke_test.py path/to/sallyport-relay
With a second argument, a number of seconds, it also measures how much goes through and says so."""

import os
import re
import resource
import select
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request

import turn

PROGRAM = sys.argv[1]
SECRET = "4c98bf59c99b3e467ecd7cf9d6b3e5279645fca59be67bc5bb4af3cf653761ab"
RELAY_ID = "aa93cc3a-23e1-4e3b-93b9-0b7bb3c0a369"
EXPIRES_AT = 2145916800
TIMEOUT = 5


def has_ipv6():
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
        return True
    except OSError:
        return False


def free_tcp_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Relay:
    def __init__(self, **env):
        self.health = f"127.0.0.1:{free_tcp_port()}"
        settings = {
            "PUBLIC_IP4_ADDR": "127.0.0.1",
            "BIND_IP4_ADDR": "127.0.0.1",
            "LISTEN_PORT": "0",
            "HEALTH_CHECK_ADDR": self.health,
            "SALLYPORT_RELAY_SECRET": SECRET,
            "PATH": os.environ["PATH"],
            "ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", ""),
        }
        if has_ipv6():
            settings |= {"PUBLIC_IP6_ADDR": "::1", "BIND_IP6_ADDR": "::1"}
        # pylint: disable=consider-using-with
        self.process = subprocess.Popen(
            [PROGRAM, "--log-level", "info"],
            env={k: v for k, v in (settings | env).items() if v},
            stderr=subprocess.PIPE,
            text=True,
        )
        self.log = []
        self.port = None
        for line in self.process.stderr:
            self.log.append(line)
            found = re.search(r"relay is up id=(\S+) port=(\d+)", line)
            if found:
                self.id, self.port = found[1], int(found[2])
                break
        assert self.port, self.log
        self.reader = threading.Thread(target=lambda: self.log.extend(self.process.stderr), daemon=True)
        self.reader.start()

    def client(self, name, host="127.0.0.1"):
        return turn.Client((host, self.port), *turn.credentials(SECRET, name, EXPIRES_AT))

    def get(self, path):
        try:
            with urllib.request.urlopen(f"http://{self.health}{path}", timeout=TIMEOUT) as r:
                return r.status
        except urllib.error.HTTPError as e:
            return e.code

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(TIMEOUT)
        self.reader.join(TIMEOUT)
        assert status == 0, (status, self.log)


def test_allocation(relay):
    a = relay.client("a")
    assert a.bind_socket() == a.address
    answer = a.allocate()
    assert not answer.error, answer.error
    hosts = ["127.0.0.1", "::1"] if has_ipv6() else ["127.0.0.1"]
    assert [host for host, _ in answer.relayed] == hosts
    ports = {port for _, port in answer.relayed}
    assert len(ports) == 1 and 49152 <= ports.pop() <= 65535
    assert turn.address(answer.attributes[turn.MAPPED], answer.txid) == a.address
    assert answer.attributes[turn.LIFETIME] == (600).to_bytes(4, "big")
    assert a.allocate().error == 437
    assert a.refresh().attributes[turn.LIFETIME] == (600).to_bytes(4, "big")
    assert a.refresh(0).attributes[turn.LIFETIME] == bytes(4)
    assert a.refresh(0).error == 437
    # The port is free again.
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.bind(answer.relayed[0])
    bad = turn.Client(("127.0.0.1", relay.port), f"{EXPIRES_AT}:x", "wrong")
    try:
        bad.allocate()
        assert False, "signed with a password that we do not have"
    except AssertionError as e:
        assert isinstance(e.args[0], bytes), e


# An echo server beyond the relay, both families, and back.
def test_echo(relay, host):
    kind = socket.AF_INET6 if ":" in host else socket.AF_INET
    a = relay.client("echo")
    with socket.socket(kind, socket.SOCK_DGRAM) as peer:
        peer.bind((host, 0))
        peer.settimeout(TIMEOUT)
        peer_address = peer.getsockname()[:2]
        relayed = next(r for r in a.allocate().relayed if r[0] == host)
        assert not a.bind_channel(0x4000, peer_address).error
        for payload in (b"x", b"", os.urandom(1300), os.urandom(8000)):
            a.send(0x4000, payload)
            data, source = peer.recvfrom(65535)
            assert (data, source[:2]) == (payload, relayed)
            peer.sendto(data, relayed)
            assert a.recv() == (0x4000, payload)
        assert a.bind_channel(0x4000, (host, 1)).error == 400
    assert not a.refresh(0).error


# Two clients, each of the other's relayed address, over different families towards the relay.
def test_two_allocations(relay):
    a = relay.client("a")
    b = relay.client("b", "::1" if has_ipv6() else "127.0.0.1")
    at_a, at_b = a.allocate().relayed[0], b.allocate().relayed[0]
    assert not a.bind_channel(0x4001, at_b).error
    assert not b.bind_channel(0x4002, at_a).error
    for i in range(200):
        a.send(0x4001, b"to b %d" % i)
        assert b.recv() == (0x4002, b"to b %d" % i)
        b.send(0x4002, b"to a %d" % i)
        assert a.recv() == (0x4001, b"to a %d" % i)
    # The same user from elsewhere takes the allocation along.
    moved = relay.client("a")
    assert not moved.allocate().error
    assert a.refresh().error == 437


def test_health(relay):
    assert relay.id == RELAY_ID
    assert relay.get("/healthz") == 200
    assert relay.get("/readyz") == 200
    assert relay.get("/readyz2") == 404


# A portal that is configured but not there.
def test_not_ready():
    relay = Relay(FIREZONE_API_URL=f"ws://127.0.0.1:{free_tcp_port()}", FIREZONE_TOKEN="t")
    assert relay.get("/healthz") == 200
    assert relay.get("/readyz") == 503
    relay.stop()


def test_bad_settings():
    for env, said in (
        ({}, "PUBLIC_IP4_ADDR or PUBLIC_IP6_ADDR"),
        ({"PUBLIC_IP4_ADDR": "127.0.0.1"}, "FIREZONE_API_URL or SALLYPORT_RELAY_SECRET"),
        ({"PUBLIC_IP4_ADDR": "127.0.0.1", "LISTEN_PORT": "x"}, "LISTEN_PORT"),
    ):
        done = subprocess.run([PROGRAM], env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 1 and said in done.stderr, done


# A sender and an echoing peer share this machine with the relay, so this is less than it can do.
def measure(relay, seconds):
    a = relay.client("load")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.bind(("127.0.0.1", 0))
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        peer.setblocking(False)
        a.allocate()
        assert not a.bind_channel(0x4000, peer.getsockname()).error
        payload, frames, got = bytes(1300), 0, 0
        cpu = process_cpu(relay.process.pid)
        start = time.monotonic()
        while time.monotonic() < start + seconds:
            for _ in range(32):
                a.send(0x4000, payload)
            frames += 32
            while select.select([peer], [], [], 0)[0]:
                got += len(peer.recv(65535)) == 1300
        took = time.monotonic() - start
        cpu = process_cpu(relay.process.pid) - cpu
    print(
        f"loopback, 1300-byte ChannelData, client to peer: sent {frames / took:.0f}/s, "
        f"arrived {got / took:.0f}/s ({got * 1300 * 8 / took / 1e6:.0f} Mbit/s), "
        f"relay used {100 * cpu / took:.0f} % of a core, {1e6 * cpu / max(got, 1):.2f} us per packet"
    )


def process_cpu(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main():
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    relay = Relay()
    test_health(relay)
    test_allocation(relay)
    test_echo(relay, "127.0.0.1")
    if has_ipv6():
        test_echo(relay, "::1")
    test_two_allocations(relay)
    if len(sys.argv) > 2:
        measure(relay, float(sys.argv[2]))
    relay.stop()
    assert any("totals" in line for line in relay.log), relay.log
    test_not_ready()
    test_bad_settings()


main()
