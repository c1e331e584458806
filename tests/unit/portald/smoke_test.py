#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The Sallyport authors
"""The portal program over real sockets: a client and a gateway written from the wire's facts with
nothing but the standard library. usage: smoke_test.py path/to/sallyport-portal"""

import base64
import hashlib
import json
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse

PROGRAM = sys.argv[1]
TIMEOUT = 5
CLIENT_AGENT = "Ubuntu/24.4.0 headless-client/1.5.12 (x86_64; 6.8.0)"
GATEWAY_AGENT = "Ubuntu/22.04.0 gateway/1.6.1 (x86_64; 6.8.0)"
CLIENT_KEY = base64.b64encode(bytes(range(32))).decode()
GATEWAY_KEY = base64.b64encode(bytes(range(32, 64))).decode()

POLICY = """\
account: acme
listen: ["127.0.0.1:0", "{second}:0"]
control: {dir}/ctl.sock
sites:
  - name: lab
gateways:
  - name: gw
    token: gateway-token
    site: lab
  - name: gw-old
    token: gateway-token-old
    site: lab
clients:
  - name: alice
    token: client-token
resources:
  - name: web
    type: cidr
    address: 10.20.0.0/24
    site: lab
    filters: [tcp: [80, 5000-5010], icmp]
  - name: hidden
    type: ip
    address: 2001:db8::1
    site: lab
policies:
  - client: alice
    resource: web
    lifetime: 3600
"""


def policy_text(directory):
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
        second = "[::1]"
    except OSError:  # a machine without IPv6
        second = "127.0.0.1"
    return POLICY.format(dir=directory, second=second)


class Refused(Exception):
    def __init__(self, status, headers, body):
        super().__init__(f"{status} {body}")
        self.status, self.headers, self.body = status, headers, body


class Closed(Exception):
    def __init__(self, code):
        super().__init__(f"closed with {code}")
        self.code = code


class Peer:
    """One websocket speaking Phoenix V1 objects."""

    def __init__(self, address, path, token=None, query=None, agent=None, upgrade=True):
        self.sock = socket.create_connection(address, timeout=TIMEOUT)
        self.buf = b""
        self.ref = 0
        self.topic = "client" if "client" in path else "gateway"
        if query:
            path += "?" + urllib.parse.urlencode(query)
        lines = [f"GET {path} HTTP/1.1", f"Host: {address[0]}"]
        if upgrade:
            key = base64.b64encode(os.urandom(16)).decode()
            lines += [
                "Connection: Upgrade",
                "Upgrade: websocket",
                "Sec-WebSocket-Version: 13",
                f"Sec-WebSocket-Key: {key}",
            ]
        if agent:
            lines.append(f"User-Agent: {agent}")
        if token:
            lines.append(f"X-Authorization: Bearer {token}")
        self.sock.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        head = self.read_until(b"\r\n\r\n").decode()
        status = int(head.split()[1])
        headers = dict(
            (k.lower(), v.strip()) for k, v in (l.split(":", 1) for l in head.split("\r\n")[1:] if l)
        )
        if status != 101:
            raise Refused(status, headers, self.read(int(headers.get("content-length", 0))).decode())
        accept = hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()
        assert headers["sec-websocket-accept"] == base64.b64encode(accept).decode()

    def fill(self):
        data = self.sock.recv(65536)
        if not data:
            raise Closed(None)
        self.buf += data

    def read(self, n):
        while len(self.buf) < n:
            self.fill()
        data, self.buf = self.buf[:n], self.buf[n:]
        return data

    def read_until(self, end):
        while end not in self.buf:
            self.fill()
        return self.read(self.buf.index(end) + len(end))

    def send_frame(self, opcode, data, fin=True):
        mask = os.urandom(4)
        head = bytes([(0x80 if fin else 0) | opcode])
        if len(data) < 126:
            head += bytes([0x80 | len(data)])
        elif len(data) < 65536:
            head += bytes([0x80 | 126]) + struct.pack(">H", len(data))
        else:
            head += bytes([0x80 | 127]) + struct.pack(">Q", len(data))
        key = int.from_bytes((mask * (len(data) // 4 + 1))[: len(data)], "big")
        masked = (int.from_bytes(data, "big") ^ key).to_bytes(len(data), "big") if data else b""
        self.sock.sendall(head + mask + masked)

    def send_text(self, text):
        self.send_frame(1, text.encode())

    def send(self, event, payload, topic=None):
        ref, self.ref = self.ref, self.ref + 1
        self.send_text(
            json.dumps({"topic": topic or self.topic, "event": event, "payload": payload, "ref": ref})
        )
        return ref

    def recv_text(self, timeout=TIMEOUT):
        self.sock.settimeout(timeout)
        text = b""
        while True:
            first, size = self.read(2)
            if size == 126:
                (size,) = struct.unpack(">H", self.read(2))
            elif size == 127:
                (size,) = struct.unpack(">Q", self.read(8))
            data = self.read(size)
            opcode = first & 15
            if opcode == 8:
                code = struct.unpack(">H", data[:2])[0] if data else None
                self.send_frame(8, data)
                raise Closed(code)
            if opcode in (0, 1):
                text += data
                if first & 0x80:
                    return text.decode()

    def recv(self):
        return json.loads(self.recv_text())

    def expect(self, event):
        message = self.recv()
        assert message["event"] == event, f"wanted {event}, got {message}"
        return message

    def join(self):
        ref = self.ref
        self.ref += 1
        self.send_text(f'{{"topic":"{self.topic}","event":"phx_join","payload":null,"ref":{ref}}}')
        reply = self.recv()
        assert reply == {
            "topic": self.topic,
            "event": "phx_reply",
            "payload": {"status": "ok", "response": {}},
            "ref": ref,
        }, reply
        return self.expect("init")["payload"]

    def ask(self, event, payload, topic=None):
        ref = self.send(event, payload, topic)
        reply = self.expect("phx_reply")
        assert reply["ref"] == ref, reply
        return reply["payload"]

    def expect_closed(self, *codes):
        try:
            while True:
                message = self.recv_text()
                assert "never" not in message
        except Closed as closed:
            assert closed.code in codes, closed

    def close(self):
        self.send_frame(8, struct.pack(">H", 1000))
        try:
            self.recv_text()
        except Closed as closed:
            assert closed.code == 1000, closed
        self.sock.close()


class Portal:
    def __init__(self, directory):
        self.dir = directory
        self.policy = os.path.join(directory, "policy.yaml")
        with open(self.policy, "w", encoding="utf-8") as f:
            f.write(policy_text(directory))
        self.start()

    def start(self):
        # pylint: disable=consider-using-with
        self.process = subprocess.Popen(
            [PROGRAM, "--log-level", "debug", self.policy], stderr=subprocess.PIPE, text=True
        )
        self.addresses = []
        self.log = []
        for line in self.process.stderr:
            self.log.append(line)
            found = re.search(r"listening address=\[?(.*?)\]?:(\d+)$", line.strip())
            if found:
                self.addresses.append((found[1], int(found[2])))
            if "portal is up" in line:
                break
        assert len(self.addresses) == 2, self.log
        self.reader = threading.Thread(target=lambda: self.log.extend(self.process.stderr), daemon=True)
        self.reader.start()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.wait()

    def wait(self):
        status = self.process.wait(TIMEOUT)
        self.reader.join(TIMEOUT)
        assert status == 0, status

    def ctl(self, *words, status=0):
        done = subprocess.run(
            [PROGRAM, "ctl", "--socket", os.path.join(self.dir, "ctl.sock"), *words],
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )
        assert done.returncode == status, (words, done)
        return done.stdout if status == 0 else done.stderr

    def client(self, path="/client/v2/websocket", token="client-token", **kwargs):
        query = {"external_id": "dev +/1", "name": "laptop", "public_key": CLIENT_KEY}
        query.update(kwargs.pop("query", {}))
        return Peer(self.addresses[0], path, token, query, kwargs.pop("agent", CLIENT_AGENT), **kwargs)

    def gateway(self, path="/gateway/v2/websocket", token="gateway-token", **kwargs):
        query = {"external_id": "gw-1", "name": "gw", "public_key": GATEWAY_KEY}
        query.update(kwargs.pop("query", {}))
        return Peer(self.addresses[1], path, token, query, kwargs.pop("agent", GATEWAY_AGENT), **kwargs)


def refused(make, status, code):
    try:
        make()
    except Refused as r:
        assert r.status == status, r
        if code:
            assert r.headers["content-type"].startswith("application/problem+json"), r.headers
            body = json.loads(r.body)
            assert body["code"] == code and body["status"] == status, body
            assert body["type"] == "about:blank" and body["title"] and body["detail"], body
        return
    raise AssertionError(f"not refused with {status} {code}")


def test_refusals(portal):
    refused(lambda: portal.client(token="wrong"), 401, "invalid_token")
    refused(lambda: portal.client(token="gateway-token"), 401, "invalid_token")
    refused(lambda: portal.client(token=None), 401, "missing_token")
    refused(lambda: portal.client(query={"public_key": "short"}), 400, "invalid_connect_params")
    refused(lambda: portal.client(query={"external_id": ""}), 400, "invalid_connect_params")
    refused(lambda: portal.client(agent="curl/8"), 400, "invalid_connect_params")
    refused(lambda: portal.client(path="/relay/websocket"), 401, "invalid_token")
    refused(lambda: portal.client(path="/nothing/websocket"), 404, None)
    refused(lambda: portal.client(upgrade=False), 404, None)
    refused(lambda: portal.gateway(query={"public_key": "!" * 44}), 400, "invalid_connect_params")


def test_framing(portal):
    client = portal.client(token=None, query={"token": "client-token"})
    client.send("create_flow", {})
    assert client.recv()["payload"]["response"] == {"reason": "unmatched topic"}
    client.join()
    text = '{"topic":"phoenix","event":"heartbeat","payload":{},"ref":7}'
    client.send_frame(1, text[:20].encode(), fin=False)
    client.send_frame(0, text[20:40].encode(), fin=False)
    client.send_frame(0, text[40:].encode())
    reply = client.recv_text()
    assert '"ref":7' in reply and json.loads(reply)["payload"] == {"status": "ok", "response": {}}
    client.send_text('{"topic":"phoenix","event":"heartbeat","payload":{},"ref":"x"}')
    assert client.recv()["ref"] == "x"
    assert client.ask("nonsense", {})["response"] == {"reason": "unknown_message"}
    # The v1 name on a v2 channel.
    assert client.ask("create_flow", {})["response"] == {"reason": "unknown_message"}
    client.send_frame(2, b"\x00binary is dropped")
    client.send("no_relays", {})
    assert client.expect("relays_presence")["payload"] == {"disconnected_ids": [], "connected": []}
    # Close to the limit of 8 MB, then beyond.
    assert client.ask("heartbeat", {"x": "y" * 7_900_000}, "phoenix")["status"] == "ok"
    client.send_text('{"topic":"phoenix"}')
    client.expect_closed(1011)
    client = portal.client()
    try:
        client.send_frame(1, b" " * (8 * 1024 * 1024 + 1))
        client.expect_closed(1009)
    except (ConnectionError, Closed):
        pass
    for bad in ("", "not json", "[]", '{"topic":1,"event":"e","payload":null,"ref":0}', "\ud800"):
        client = portal.client()
        client.send_frame(1, bad.encode("utf-8", "surrogatepass"))
        client.expect_closed(1011, 1007, None)


def test_authorization(portal):
    gateway = portal.gateway()
    init = gateway.join()
    assert init["account_slug"] == "acme" and init["relays"] == [] and init["authorizations"] == []
    assert init["flow_logs"]["upload_interval_secs"] == 0
    gateway.send("set_snownet_capabilities", {"iceless": True})
    refused(portal.gateway, 409, "gateway_already_connected")
    client = portal.client()
    init = client.join()
    (web,) = init["resources"]
    assert web["address"] == "10.20.0.0/24" and len(web["filters"]) == 3 and web["sites"], web
    addresses = init["interface"]
    request = {"resource_id": web["id"], "connected_gateway_ids": []}
    client.send("request_authorization", request)
    asked = gateway.expect("create_authorization")["payload"]
    assert asked["resource"]["type"] == "cidr" and asked["client"]["public_key"] == CLIENT_KEY
    assert asked["client"]["ipv4"] == addresses["ipv4"]
    assert 0 < asked["expires_at"] - time.time() <= 3601
    assert gateway.ask("authorization_created", {"ref": asked["ref"]})["status"] == "ok"
    gateway.send(
        "broadcast_ice_candidates", {"client_ids": [asked["client"]["id"]], "candidates": ["candidate:g"]}
    )
    answer = client.expect("authorization_created")["payload"]
    assert answer["preshared_key"] == asked["client"]["preshared_key"]
    assert answer["client_ice_credentials"] == asked["client_ice_credentials"]
    assert answer["gateway_public_key"] == GATEWAY_KEY
    assert client.expect("ice_candidates")["payload"] == {
        "gateway_id": answer["gateway_id"],
        "candidates": ["candidate:g"],
    }
    client.send(
        "new_gateway_ice_candidates", {"gateway_id": answer["gateway_id"], "candidates": ["candidate:c"]}
    )
    forwarded = gateway.expect("ice_candidates")["payload"]
    assert forwarded == {"client_id": asked["client"]["id"], "candidates": ["candidate:c"]}
    # Answering twice is harmless, a made-up reference is not.
    assert gateway.ask("authorization_created", {"ref": asked["ref"]})["status"] == "ok"
    assert gateway.ask("authorization_created", {"ref": "x"})["response"] == {"reason": "invalid_ref"}
    hidden = dict(request, resource_id="11111111-2222-4333-8444-555555555555")
    client.send("request_authorization", hidden)
    assert client.expect("authorization_creation_failed")["payload"]["reason"] == "not_found"
    return client, gateway, web["id"], asked["client"]["id"], addresses


def test_control(portal, client, gateway, resource_id, client_id):
    status = json.loads(portal.ctl("status"))
    (authorization,) = status["authorizations"]
    assert authorization["client"] == "alice" and authorization["resource"] == "web"
    assert os.stat(os.path.join(portal.dir, "ctl.sock")).st_mode & 0o777 == 0o600
    assert os.stat(portal.policy + ".state").st_mode & 0o777 == 0o600
    portal.ctl("grant", "alice", "hidden", "--expires", "60")
    assert client.expect("resource_created_or_updated")["payload"]["address"] == "2001:db8::1/128"
    portal.ctl("set-filters", "web", "tcp:443", "icmp")
    assert len(gateway.expect("resource_updated")["payload"]["filters"]) == 2
    assert len(client.expect("resource_created_or_updated")["payload"]["filters"]) == 2
    assert "inverted" in portal.ctl("set-filters", "web", "tcp:9-8", status=1)
    portal.ctl("reject", "alice", "web")
    pair = {"client_id": client_id, "resource_id": resource_id}
    assert gateway.expect("reject_access")["payload"] == pair
    assert "no authorization" in portal.ctl("reject", "alice", "web", status=1)
    client.send("request_authorization", {"resource_id": resource_id, "connected_gateway_ids": []})
    ref = gateway.expect("create_authorization")["payload"]["ref"]
    gateway.ask("authorization_created", {"ref": ref})
    client.expect("authorization_created")
    portal.ctl("revoke", "alice", "web")
    assert gateway.expect("reject_access")["payload"] == pair
    assert client.expect("resource_deleted")["payload"] == resource_id
    assert "no client" in portal.ctl("grant", "bob", "web", status=1)
    assert "unknown command" in portal.ctl("dance", status=1)
    # Back to the file; a broken file changes nothing.
    portal.ctl("reload")
    assert client.expect("resource_deleted")["payload"] != resource_id
    assert client.expect("resource_created_or_updated")["payload"]["id"] == resource_id
    gateway.expect("resource_updated")
    with open(portal.policy, "a", encoding="utf-8") as f:
        f.write("nonsense: 1\n")
    assert "nonsense: unknown key" in portal.ctl("reload", status=1)
    portal.ctl("delete-token", "gw")
    assert gateway.expect("disconnect")["payload"] == {"reason": "token_expired"}
    gateway.expect_closed(1001)
    refused(portal.gateway, 401, "invalid_token")


def test_first_version(portal):
    gateway = portal.gateway("/gateway/websocket", "gateway-token-old")
    gateway.join()
    client = portal.client(
        "/client/websocket", agent="Ubuntu/24.4.0 headless-client/1.5.5", query={"external_id": "old"}
    )
    (web,) = client.join()["resources"]
    assert "sites" not in web and web["gateway_groups"][0]["name"] == "lab"
    client.send("create_flow", {"resource_id": web["id"], "connected_gateway_ids": []})
    ref = gateway.expect("authorize_flow")["payload"]["ref"]
    assert gateway.ask("flow_authorized", {"ref": ref})["status"] == "ok"
    assert client.expect("flow_created")["payload"]["resource_id"] == web["id"]
    gateway.close()
    client.send("create_flow", {"resource_id": web["id"], "connected_gateway_ids": []})
    assert client.expect("flow_creation_failed")["payload"]["reason"] == "offline"
    client.close()


def test_takeover_and_restart(portal, first, addresses):
    second = portal.client()
    assert second.join()["interface"] == addresses
    assert first.expect("disconnect")["payload"] == {"reason": "token_expired"}
    first.expect_closed(1001)
    portal.process.send_signal(signal.SIGTERM)
    second.expect_closed(1012)
    portal.wait()
    with open(portal.policy, "w", encoding="utf-8") as f:
        f.write(policy_text(portal.dir))
    portal.start()
    third = portal.client()
    assert third.join()["interface"] == addresses
    portal.process.send_signal(signal.SIGHUP)
    assert third.ask("heartbeat", {}, "phoenix")["status"] == "ok"
    third.close()


def main():
    directory = tempfile.mkdtemp(prefix="sallyport-portal-")
    portal = Portal(directory)
    try:
        test_refusals(portal)
        test_framing(portal)
        client, gateway, resource_id, client_id, addresses = test_authorization(portal)
        test_control(portal, client, gateway, resource_id, client_id)
        test_first_version(portal)
        test_takeover_and_restart(portal, client, addresses)
        portal.stop()
    except BaseException:
        portal.process.kill()
        print("".join(portal.log))
        raise
    finally:
        shutil.rmtree(directory)


if __name__ == "__main__":
    main()
