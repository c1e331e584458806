# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The Sallyport authors
"""A scripted portal, its clients and the LAN of a gateway, for tests that know what must happen."""

import base64
import ipaddress
import os
import socket
import sys
import threading
import time
import uuid

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from conformance import oracle  # noqa: E402
from lab.peer import ice, peer  # noqa: E402
from lab.peer.netns import netns  # noqa: E402
from lab.peer.scripted_portal import INTERFACE, ScriptedPortal  # noqa: E402

PORTAL = ("203.0.113.1", 8081)
FOREVER = 4000000000  # init has no null
BIND = {4: "203.0.113.1", 6: "2001:db8:113::1"}
LAN = {4: "192.0.2.1", 6: "2001:db8:2::1"}
wireguard = peer.oracle  # tests/conformance/noise


def word(n):
    return base64.b32encode(os.urandom(n)).decode().lower()[:n]


def never(expires):
    return None if expires is None else int(expires)


def resource_json(r):
    out = {"id": r.id, "type": r.kind, "name": f"resource {r.id[:4]}"}
    if r.kind == "internet":
        return out
    out["address"] = r.network.text if r.kind == "cidr" else r.pattern
    out["filters"] = []
    for protocol, first, last in r.filters:
        entry = {"protocol": protocol}
        if protocol != "icmp":
            entry |= {"port_range_start": first, "port_range_end": last}
        out["filters"].append(entry)
    return out


def resource(network, *filters, ident=None):
    kind = "internet" if network is None else "cidr"
    return oracle.Resource(ident or str(uuid.uuid4()), kind, network, filters)


class Refused(Exception):
    """The gateway did not confirm an authorization."""


class Client(oracle.Client):
    """A client that the portal invented; tunnel is a peer.Tunnel once connected."""

    def __init__(self, world, number, version=4):
        self.ipv4, self.ipv6 = f"100.64.1.{number}", f"fd00:2021:1111::1:{number:x}"
        super().__init__(self.ipv4, self.ipv6)
        self.world, self.version, self.id = world, version, str(uuid.uuid4())
        self.new_keys()
        self.tunnel, self.lines = None, []
        world.clients[self.id] = self

    def new_keys(self):
        self.private, self.psk = os.urandom(32), os.urandom(32)
        self.new_credentials()

    def new_credentials(self):
        self.local = ice.Credentials(word(4), word(22))
        self.remote = ice.Credentials(word(4), word(22))

    def me(self, version):
        return self.ipv4 if version == 4 else self.ipv6

    def payload(self, r, expires, ref):
        return {
            "ref": ref,
            "client": {
                "id": self.id,
                "public_key": base64.b64encode(wireguard.public(self.private)).decode(),
                "preshared_key": base64.b64encode(self.psk).decode(),
                "ipv4": self.ipv4,
                "ipv6": self.ipv6,
            },
            "subject": {},
            "resource": resource_json(r),
            "gateway_ice_credentials": vars(self.remote),
            "client_ice_credentials": vars(self.local),
            "expires_at": never(expires),
            "use_iceless": False,
            "flow_logs_ingest_token": "a.b.c",
        }

    def authorize(self, r, expires=None, timeout=5):
        """Returns when the gateway confirmed; the oracle knows it too."""
        ref = str(uuid.uuid4())
        self.world.portal.push("create_authorization", self.payload(r, expires, ref))
        created = self.world.portal.expect("authorization_created", timeout, lambda p: p["ref"] == ref)
        held = self.grants.get(r.id)
        if held is not None:
            kept = oracle.Resource(r.id, held[0].kind, held[0].network and held[0].network.text, r.filters)
            self.grants[r.id] = [kept, expires]
        else:
            self.grants[r.id] = [r, expires]
        return created

    def reject(self, r):
        self.world.portal.push("reject_access", {"client_id": self.id, "resource_id": r.id})
        self.grants.pop(r.id, None)

    def connect(self, *resources, expires=None, timeout=10):
        """Authorizes and brings the tunnel up."""
        for r in resources:
            self.authorize(r, expires)
        if self.tunnel is not None:
            self.tunnel.close()
        with netns("internet"):
            self.tunnel = peer.Tunnel(
                private=self.private,
                gateway_key=self.world.portal.public_key,
                psk=self.psk,
                local=self.local,
                remote=self.remote,
                addresses=(self.ipv4, self.ipv6),
                bind=BIND[self.version],
            )
        for line in self.lines:
            self.tunnel.agent.add_remote(line)
        t = self.tunnel
        line = ice.candidate_line(*t.local_address, t.family, self.local.username)
        self.world.portal.push("ice_candidates", {"client_id": self.id, "candidates": [line]})
        self.tunnel.wait_established(timeout)
        return self

    def candidates(self, lines):
        self.lines += lines
        if self.tunnel is not None:
            with self.tunnel.condition:
                for line in lines:
                    self.tunnel.agent.add_remote(line)


class Portal(ScriptedPortal):
    """Candidates go to the clients that they are for."""

    def __init__(self, world, address):
        self.world = world
        super().__init__(*address)

    def _handle(self, connection, frame):
        if frame["event"] == "broadcast_ice_candidates":
            for client_id in frame["payload"]["client_ids"]:
                self.world.candidates(client_id, frame["payload"]["candidates"])
        super()._handle(connection, frame)


class World:
    """The portal is in a namespace at an address, which the gateway was given."""

    def __init__(self, namespace="internet", address=PORTAL):
        self.clients, self.lock = {}, threading.Lock()
        with netns(namespace):
            self.portal = Portal(self, address)
        with open("portal.ready", "w", encoding="ascii"):
            pass
        self.portal.wait_joined(0, 60)
        self.gateway = oracle.Gateway(INTERFACE["ipv4"], INTERFACE["ipv6"], LAN[4], LAN[6])
        self.tunnel_ip = {4: INTERFACE["ipv4"], 6: INTERFACE["ipv6"]}
        self.number = 0

    def candidates(self, client_id, lines):
        with self.lock:
            client = self.clients.get(client_id)
            if client is not None:
                client.candidates(lines)

    def client(self, *resources, version=4, expires=None):
        """A new client with a tunnel over the family @version."""
        self.number += 1
        made = Client(self, self.number, version)
        return made.connect(*resources, expires=expires) if resources else made

    def update(self, r):
        """resource_updated: filters only, for every client that holds it."""
        self.portal.push("resource_updated", resource_json(r))
        for client in self.clients.values():
            held = client.grants.get(r.id)
            if held is not None and held[0].kind == r.kind:
                network = held[0].network and held[0].network.text
                held[0] = oracle.Resource(r.id, r.kind, network, r.filters)

    def init(self, authorizations=None, **fields):
        """Sends init again, with other @fields; without authorizations, what the clients hold."""
        if authorizations is None:
            authorizations = self.held()
        self.portal.authorizations = authorizations
        self.portal.push("init", self.portal.init() | fields)

    def held(self):
        return [
            {"client_id": c.id, "resource_id": rid, "expires_at": int(expires or FOREVER)}
            for c in self.clients.values()
            for rid, (_, expires) in c.grants.items()
        ]

    def barrier(self, client):
        """Returns when the gateway has handled everything that the portal pushed so far."""
        rid, (r, expires) = next(iter(client.grants.items()))
        client.authorize(oracle.Resource(rid, r.kind, r.network and r.network.text, r.filters), expires, 60)


def packed(address):
    return ipaddress.ip_address(address).packed


def gateway_pid():
    with open("gateway.pid", encoding="ascii") as f:
        return int(f.read())


def wait_until(condition, timeout, what):
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {timeout} s")
        time.sleep(0.02)


def raw_socket(namespace, device):
    """Frames of a device, for a test that does its own reading."""
    with netns(namespace):
        s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        s.setsockopt(socket.SOL_SOCKET, 33, 64 << 20)  # SO_RCVBUFFORCE
        s.bind((device, 3))
    return s
