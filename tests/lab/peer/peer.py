# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The Sallyport authors
"""A Firezone client whose every outer packet a test can see, forge, hold back and repeat."""

import base64
import collections
import ipaddress
import os
import socket
import struct
import sys
import threading
import time

from . import ice, stun
from .portal_client import PortalClient

_NOISE = os.path.join(os.path.dirname(__file__), "..", "..", "conformance", "noise")
sys.path.insert(0, os.path.abspath(_NOISE))
import oracle  # noqa: E402  (WireGuard, written from its paper)

GOODBYE = bytes.fromhex("600000000008ff00") + bytes(32) + bytes.fromhex("0200000000000000")
INITIATION, RESPONSE, COOKIE_REPLY, DATA = 1, 2, 3, 4


class Timeout(Exception):
    """Something that had to happen did not, in time."""


class Tunnel:
    """One connection to a gateway: a UDP socket, an ICE agent, WireGuard sessions.

    outer: the last messages as (direction, bytes), direction "in" or "out"
    filter: called with each outer message to send; what it returns is sent, None sends nothing
    """

    def __init__(self, *, private, gateway_key, psk, local, remote, addresses, bind, port=0):
        self.private, self.gateway_key, self.psk = private, gateway_key, psk
        self.ipv4, self.ipv6 = addresses
        self.family = ipaddress.ip_address(bind).version
        self.sock = socket.socket(socket.AF_INET6 if self.family == 6 else socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self.sock.bind((bind, port))
        self.local_address = self.sock.getsockname()[:2]
        self.agent = ice.Agent(self.family, local, remote)
        self.outer = collections.deque(maxlen=20000)
        self.filter = lambda data: data
        self.sessions, self.session, self.initiator = {}, None, None
        self.initiations, self.next_initiation = [], float("inf")
        self.inner, self.condition = collections.deque(), threading.Condition()
        self.is_closed, self.refused, self.last_stamp = False, [], 0
        self.answers = 0  # responses to our handshakes
        self.response = None  # the last one that was right
        self.cookie = None  # of the last cookie reply; in force for the next initiation
        threading.Thread(target=self._run, daemon=True).start()

    # Outer packets.

    def send_raw(self, data, address=None):
        """To the gateway as it is; needs a selected path or an address."""
        self.sock.sendto(data, address or self.agent.selected)

    def _send(self, data, address=None):
        data = self.filter(data)
        if data is not None:
            self.outer.append(("out", data))
            self.send_raw(data, address)

    def _run(self):
        self.sock.settimeout(0.05)
        while not self.is_closed:
            try:
                data, source = self.sock.recvfrom(65536)
            except (TimeoutError, BlockingIOError):
                data = None
            except OSError:
                if self.is_closed:
                    return
                continue  # ICMP errors of a gateway that is not there
            with self.condition:
                if self.is_closed:
                    return
                self._step(data, source[:2] if data is not None else None, time.monotonic())

    def _step(self, data, source, now):
        try:
            if data is not None:
                self.outer.append(("in", data))
                self._receive(data, source, now)
        except (stun.Malformed, oracle.Refused, struct.error) as e:
            self.refused.append(f"{e}: {data.hex()}")
        had_path = self.agent.selected is not None
        for address, message in self.agent.tick(now):
            self._send(message, address)
        if now >= self.next_initiation and had_path:
            self._initiate(now)
        self.condition.notify_all()

    def _receive(self, data, source, now):
        if stun.is_stun(data):
            had_path = self.agent.selected is not None
            for address, message in self.agent.handle(data, source, now):
                self._send(message, address)
            if self.agent.selected is not None and not had_path and self.session is None:
                self._initiate(now)
            return
        kind = struct.unpack("<I", data[:4])[0]
        if kind == RESPONSE:
            self._response(data)
        elif kind == COOKIE_REPLY:
            if self.initiator is None:
                raise oracle.Refused("cookie reply without an initiation")
            self.cookie = oracle.cookie_open(self.gateway_key, self.initiator.message, data)
            self.next_initiation = now  # at once; others wait for REKEY_TIMEOUT
        elif kind == DATA:
            session = self.sessions.get(struct.unpack("<I", data[4:8])[0])
            if session is None:
                raise oracle.Refused("index of no session")
            plain = session.decrypt(data)
            if plain:
                self.inner.append(plain)

    # WireGuard.

    def make_initiation(self, stamp=None, index=None):
        """(oracle.Initiator, message), not sent."""
        self.last_stamp = max(self.last_stamp + 1, time.time_ns())
        initiator = oracle.Initiator(self.private, self.gateway_key, self.psk)
        index = int.from_bytes(os.urandom(4), "little") if index is None else index
        stamp = oracle.tai64n(self.last_stamp) if stamp is None else stamp
        return initiator, initiator.initiation(index, os.urandom(32), stamp, self.cookie)

    def _initiate(self, now):
        self.initiator, message = self.make_initiation()
        self.initiations.append(message)
        self.next_initiation = now + 2
        self._send(message)

    def _response(self, data):
        # What was verified may come once more, to the byte: an answer that left before a path was
        # nominated is sent on the nominated one too.
        if self.initiator is None and data == self.response:
            return
        if self.initiator is None:
            raise oracle.Refused("response without an initiation")
        session = self.initiator.response(data)
        self.response = data
        self.initiator, self.next_initiation = None, float("inf")
        self.answers += 1
        self.sessions[session.local_index] = self.session = session
        self._send(session.encrypt(b""))  # confirms the keys

    def wait(self, condition, timeout, what):
        with self.condition:
            if not self.condition.wait_for(condition, timeout):
                raise Timeout(f"{what}: not within {timeout} s")

    def wait_established(self, timeout=10):
        self.wait(lambda: self.agent.selected is not None, timeout, "ICE nomination")
        self.wait(lambda: self.session is not None, timeout, "WireGuard session")

    def rekey(self, timeout=10):
        """A new session; the former one still decrypts."""
        former = self.session
        with self.condition:
            self._initiate(time.monotonic())
        self.wait(lambda: self.session is not former, timeout, "rekey")

    # Inner packets.

    def encrypt(self, packet, pad=False):
        """An outer message, not sent."""
        with self.condition:
            return self.session.encrypt(packet, pad)

    def send_inner(self, packet, pad=False):
        with self.condition:
            self._send(self.session.encrypt(packet, pad))

    def recv_inner(self, timeout=2, match=lambda packet: True):
        """The first packet that matches; raises Timeout. Others stay."""
        deadline = time.monotonic() + timeout
        with self.condition:
            while True:
                for packet in self.inner:
                    if match(packet):
                        self.inner.remove(packet)
                        return packet
                left = deadline - time.monotonic()
                if left <= 0:
                    raise Timeout("no inner packet")
                self.condition.wait(left)

    def drain_inner(self):
        """Everything that arrived so far."""
        with self.condition:
            packets = list(self.inner)
            self.inner.clear()
        return packets

    def goodbye(self):
        self.send_inner(GOODBYE)

    def close(self):
        with self.condition:
            self.is_closed = True
            self.sock.close()


class Peer:
    """A client of a portal. connect(resource) returns the Tunnel to the gateway it was given."""

    def __init__(self, portal_url, token, external_id, bind, name=None):
        self.private, self.bind = os.urandom(32), bind
        self.tunnels, self.early, self.parameters = {}, collections.defaultdict(list), {}
        self.lock = threading.Lock()
        public_key = oracle.public(self.private)
        self.portal = PortalClient(
            portal_url, token, external_id, public_key, name or external_id, self._push
        )
        interface = self.portal.init["interface"]
        self.ipv4, self.ipv6 = interface["ipv4"], interface["ipv6"]

    def _push(self, event, payload):
        if event != "ice_candidates":
            return False
        with self.lock:
            tunnel = self.tunnels.get(payload["gateway_id"])
            if tunnel is None:
                self.early[payload["gateway_id"]] += payload["candidates"]
                return True
        self._candidates(tunnel, payload["candidates"])
        return True

    def _candidates(self, tunnel, lines):
        with tunnel.condition:
            for line in lines:
                tunnel.agent.add_remote(line)

    def authorize(self, resource, timeout=10):
        """Asks for access; returns the payload of authorization_created."""
        resource_id = self.portal.resource(resource)
        self.portal.request_authorization(resource_id, self.tunnels)
        while True:
            answer = self.portal.wait("authorization_created", timeout)
            if answer["resource_id"] == resource_id:
                return answer

    def connect(self, resource, timeout=10):
        answer = self.authorize(resource, timeout)
        gateway = answer["gateway_id"]
        key = {k: v for k, v in answer.items() if k not in ("resource_id", "flow_logs_ingest_token")}
        if self.parameters.get(gateway) != key:
            self._open(gateway, answer)
            self.parameters[gateway] = key
        tunnel = self.tunnels[gateway]
        line = ice.candidate_line(*tunnel.local_address, tunnel.family, tunnel.agent.local.username)
        self.portal.candidates(gateway, [line])
        tunnel.wait_established(timeout)
        return tunnel

    def _open(self, gateway, answer):
        if gateway in self.tunnels:
            self.tunnels[gateway].close()
        tunnel = Tunnel(
            private=self.private,
            gateway_key=base64.b64decode(answer["gateway_public_key"]),
            psk=base64.b64decode(answer["preshared_key"]),
            local=ice.Credentials(**answer["client_ice_credentials"]),
            remote=ice.Credentials(**answer["gateway_ice_credentials"]),
            addresses=(self.ipv4, self.ipv6),
            bind=self.bind,
        )
        tunnel.gateway_ipv4, tunnel.gateway_ipv6 = answer["gateway_ipv4"], answer["gateway_ipv6"]
        with self.lock:
            self.tunnels[gateway] = tunnel
            early = self.early.pop(gateway, [])
        self._candidates(tunnel, early)

    def close(self):
        for tunnel in self.tunnels.values():
            tunnel.close()
        self.portal.close()
