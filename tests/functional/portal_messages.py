#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The Sallyport authors
"""Cases of portal_messages_test. Runs in the lab, outside of its namespaces."""

import base64
import contextlib
import copy
import json
import os
import re
import struct
import sys
import threading
import time
import uuid

HERE_DIR = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE_DIR, os.path.join(HERE_DIR, "..", "lab")]
import portal_messages_schema as schema  # noqa: E402
from peer import ice, packets, ws  # noqa: E402
from peer.netns import netns  # noqa: E402
from peer.packets import Packet  # noqa: E402
from peer.peer import GOODBYE, Timeout, Tunnel, oracle  # noqa: E402
from peer.report import Report, telemetry  # noqa: E402
from peer.scripted_portal import ScriptedPortal  # noqa: E402
from portal_messages_schema import HUGE  # noqa: E402

MAX_MESSAGE = 64 << 20
PATIENCE_S = 15  # what has to happen may be slow where the machine is busy
CLIENT_ICE = {"username": "clnt", "password": "clientpasswordclientpw"}
GATEWAY_ICE = {"username": "gate", "password": "gatewaypasswordgateway"}
HERE, WEB = "203.0.113.1", "192.0.2.80"


def b64(data):
    return base64.b64encode(data).decode()


def put(message, path, value):
    """A copy with the value at a dotted path."""
    message = copy.deepcopy(message)
    at, *rest = message, *path.split(".")
    for name in rest[:-1]:
        at = at[name]
    at[rest[-1]] = value
    return message


def resident_mb():
    """What the gateway holds in memory, in MB."""
    with open("gateway.pid", encoding="ascii") as f, open(f"/proc/{int(f.read())}/status", encoding="ascii") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS:")) // 1024


class Log:
    """What the gateway logged since mark()."""

    def __init__(self):
        self.at = 0

    def text(self):
        with open("gateway.log", "rb") as f:
            f.seek(self.at)
            return f.read().decode(errors="replace")

    def mark(self):
        self.at = os.path.getsize("gateway.log")

    def wait(self, pattern, timeout=PATIENCE_S):
        deadline = time.monotonic() + timeout
        while not re.search(pattern, self.text()):
            assert time.monotonic() < deadline, f"no log line matches {pattern}: {self.text()[-300:]!r}"
            time.sleep(0.005)


class Cases:
    def __init__(self, report):
        self.report, self.log, self.serial = report, Log(), 0
        self.private, self.psk = os.urandom(32), os.urandom(32)
        self.client = {
            "id": str(uuid.uuid4()),
            "public_key": b64(oracle.public(self.private)),
            "preshared_key": b64(self.psk),
            "ipv4": "100.64.9.9",
            "ipv6": "fd00:2021:1111::9:9",
        }
        self.resource = {
            "id": str(uuid.uuid4()),
            "type": "cidr",
            "name": "web",
            "address": f"{WEB}/32",
            "filters": [{"protocol": "icmp"}, {"protocol": "tcp", "port_range_start": 80, "port_range_end": 80}],
        }
        with netns("internet"):
            self.portal = ScriptedPortal(HERE, 8081)
        self.tunnel = None

    # What the portal says.

    def authorization(self):
        self.serial += 1
        return {
            "ref": f"ref-{self.serial}",
            "client": self.client,
            "subject": {"actor_name": "Jane Doe"},
            "resource": self.resource,
            "gateway_ice_credentials": GATEWAY_ICE,
            "client_ice_credentials": CLIENT_ICE,
            "expires_at": int(time.time()) + 3600,
            "use_iceless": False,
            "flow_logs_ingest_token": "x.y.z",
        }

    def listed(self):
        pair = {"client_id": self.client["id"], "resource_id": self.resource["id"]}
        return [{**pair, "expires_at": int(time.time()) + 3600}]

    def authorize(self, message=None):
        message = message or self.authorization()
        self.portal.push("create_authorization", message)
        self.portal.expect("authorization_created", PATIENCE_S, lambda p: p == {"ref": message["ref"]})

    def echo(self, timeout=PATIENCE_S):
        self.serial += 1
        payload = struct.pack(">I", self.serial) + b"portal messages"
        request = packets.echo(self.client["ipv4"], WEB, 7, 1, payload)
        self.tunnel.send_inner(request)
        return request, Packet(self.tunnel.recv_inner(timeout, lambda p: payload in p))

    def works(self, closed=443):
        """The established flow goes on, and what the filters leave out is still refused."""
        request, reply = self.echo()
        assert reply.kind == 0 and reply.src == WEB, f"ICMP {reply.kind}/{reply.code} to {request.hex()}"
        syn = packets.tcp(self.client["ipv4"], WEB, 5000, closed)
        self.tunnel.drain_inner()
        self.tunnel.send_inner(syn)
        assert self.tunnel.recv_inner(PATIENCE_S) == packets.prohibited(syn), "a port that was closed is open"

    def group(self, name, joins_again=False):
        """The case, then: same connection, right authorizations answered, former ones in force."""
        return Group(self, name, joins_again)

    # Cases.

    def joins(self):
        with self.report.group("the gateway joins") as notes:
            self.portal.wait_joined(0, 30)
            target, headers = self.portal.target, self.portal.headers
            assert target.startswith("/gateway/v2/websocket?external_id=lab-gateway-1&name=gw-1&public_key="), target
            assert headers["x-authorization"] == "Bearer gateway-token", headers
            assert re.search(r" gateway/1\.[4-6]\.\d+", headers["user-agent"]), headers["user-agent"]
            assert "origin" not in headers and headers["host"] == HERE, headers
            notes.append(headers["user-agent"])
        with self.report.group("an authorization is answered before the candidates; the tunnel comes up"):
            message = self.authorization()
            self.portal.push("create_authorization", message)
            events = [self.portal.messages.get(timeout=5) for _ in range(2)]
            if events[0][0] == "set_snownet_capabilities":
                assert not events.pop(0)[1].get("iceless"), "offers what it cannot do"
                events.append(self.portal.messages.get(timeout=5))
            assert events[0] == ("authorization_created", {"ref": message["ref"]}), events
            assert events[1][0] == "broadcast_ice_candidates", events
            assert events[1][1]["client_ids"] == [self.client["id"]], events
            self.connect(events[1][1]["candidates"])
            self.works()
        self.portal.authorizations = self.listed()

    def connect(self, candidates):
        with netns("internet"):
            self.tunnel = Tunnel(
                private=self.private,
                gateway_key=self.portal.public_key,
                psk=self.psk,
                local=ice.Credentials(**CLIENT_ICE),
                remote=ice.Credentials(**GATEWAY_ICE),
                addresses=(self.client["ipv4"], self.client["ipv6"]),
                bind=HERE,
            )
        with self.tunnel.condition:
            for line in candidates:
                assert line.split()[-2:] == ["ufrag", GATEWAY_ICE["username"]], line
                self.tunnel.agent.add_remote(line)
        line = ice.candidate_line(*self.tunnel.local_address, 4, CLIENT_ICE["username"])
        self.portal.push("ice_candidates", {"client_id": self.client["id"], "candidates": [line]})
        self.tunnel.wait_established(10)
        threading.Thread(target=self.stay_alive, daemon=True).start()

    def stay_alive(self):
        """A peer that never sends by itself counts as dead, and its keys end after 180 s."""
        keyed = time.monotonic()
        while not self.tunnel.is_closed:
            time.sleep(5)
            with contextlib.suppress(OSError, Timeout):
                self.tunnel.send_inner(b"")
                if time.monotonic() > keyed + 100:
                    self.tunnel.rekey()
                    keyed = time.monotonic()

    def not_messages(self):
        with self.group("frames that are no channel messages") as notes:
            texts = ["", " ", "{", "}", "null", "[]", "42", '"x"', "{}", "true", "nan", "{'a':1}", "\0"]
            texts += ["[" * 100000, '{"a":' * 50000, '{"topic":"gateway"}', '{"event":"init"}', "\ufeff{}"]
            texts += ['{"topic":1,"event":2,"payload":3,"ref":4}', '{"topic":"gateway","event":null,"payload":{}}']
            texts += ['{"topic":"gateway","event":"init","event":"init","payload":{}}', "9" * 5000]
            texts += ['{"topic":"gateway","event":"init","payload":{}', '{"topic":"gateway","event":"\\ud800"}']
            for text in texts:
                self.portal.text(text)
            self.log.wait("ignored a frame that is no channel message")
            notes.append(f"{len(texts)} frames")

    def unknown(self):
        with self.group("unknown events, other topics, stray replies"):
            for event in ("no_such_event", "", "x" * 10000, "allow_access", "request_connection", "phx_join"):
                for payload in ({}, None, [], "x", 7):
                    self.portal.push(event, payload)
            for topic in ("client", "phoenix", "relay", ""):
                frame = {"topic": topic, "event": "reject_access", "payload": self.listed()[0], "ref": None}
                self.portal.text(json.dumps(frame))
            for ref in (None, -1, 10**9, 2**70, "0", [], 1.5):
                for payload in (None, {}, {"status": "error", "response": {"reason": "unknown_message"}}):
                    frame = {"topic": "gateway", "event": "phx_reply", "payload": payload, "ref": ref}
                    self.portal.text(json.dumps(frame))
            self.log.wait("unknown event ignored event=no_such_event")

    def refused(self, event, message, pattern):
        """The message is refused with a log line about the field and not answered."""
        self.log.mark()
        self.portal.push(event, message)
        self.log.wait(f"message refused: {event}[:. ]+{pattern}")

    def samples(self):
        """A right message of each kind: (event, what it is made of, message)."""
        pair = {"client_id": self.client["id"], "resource_id": self.resource["id"]}
        candidate = ice.candidate_line(*self.tunnel.local_address, 4, CLIENT_ICE["username"])
        relay = {"type": "turn", "addr": "203.0.113.77:3478", "username": "u", "password": "p", "expires_at": 4000000000}
        relay["id"] = str(uuid.uuid4())
        messages = {
            "init": self.portal.init() | {"relays": [relay]},
            "reject_access": pair,
            "ice_candidates": {"client_id": self.client["id"], "candidates": [candidate]},
            "invalidate_ice_candidates": {"client_id": self.client["id"], "candidates": [candidate]},
            "relays_presence": {"disconnected_ids": [str(uuid.uuid4())], "connected": [relay]},
            "access_authorization_expiry_updated": pair | {"expires_at": 1},
        }
        for event, message in messages.items():
            yield event, event, schema.MESSAGES[event], message
        dns = self.resource | {"type": "dns", "address": "*.example.com"}
        internet = {"id": self.resource["id"], "type": "internet"}
        for made_of, resource in ((schema.CIDR, self.resource), (schema.DNS, dns), (schema.INTERNET, internet)):
            of = f"of a {resource['type']} resource"
            tree = schema.create_authorization(made_of)
            for event in ("create_authorization", "authorize_flow"):
                if event == "create_authorization" or made_of is schema.CIDR:
                    yield f"{event} {of}", event, tree, self.authorization() | {"resource": resource}
            yield f"resource_updated {of}", "resource_updated", made_of, resource

    def every_fault(self):
        """Each field of each message: missing, null, of wrong types, wrong values, huge."""
        for name, event, tree, message in self.samples():
            with self.group(f"{name}: every field wrong in every way: refused with event and field") as notes:
                before, n = self.state(), 0
                for payload in (None, 7, "x", [], [{}], True):
                    self.refused(event, payload, "expected an object")
                    n += 1
                for path, faulty in schema.bad(tree, message):
                    self.refused(event, faulty, re.escape(path) + r"[:. \[]" if path else "expected an object")
                    n += 1
                after = self.state()
                assert after == before | {"portal_refused": before["portal_refused"] + n}, f"{before} became {after}"
                notes.append(f"{n} messages")

    def state(self):
        """Counters that only messages which are taken change, and one of those that are not."""
        now = {**telemetry("/sallyport/control"), **telemetry("/sallyport/clients")}
        return {n: now[n] for n in ("portal_refused", "authorized", "connections_opened", "clients", "policy_sets")}

    def every_variant(self):
        with self.group("optional fields absent or null, fields that mean nothing to us: taken") as notes:
            n = 0
            message = self.authorization()
            tree = schema.create_authorization(schema.CIDR)
            # Other credentials are another connection, and another id another client: not these.
            kept = ("gateway_ice_credentials", "client_ice_credentials")
            for path, other in schema.fine(tree, message):
                if not path.startswith(kept):
                    self.authorize(other)
                    n += 1
            self.authorize()
            self.log.mark()
            for path, other in schema.fine(schema.MESSAGES["init"], self.portal.init()):
                if path != "authorizations":  # without it, nobody would be left
                    self.portal.push("init", other)
                    n += 1
            self.authorize()
            assert "message refused" not in self.log.text(), self.log.text()
            notes.append(f"{n} messages")

    def many_filters(self):
        with self.group("1024 filters are taken"):
            filters = [{"protocol": "tcp", "port_range_start": 2 * n, "port_range_end": 2 * n} for n in range(1023)]
            wide = put(self.authorization(), "resource.filters", [{"protocol": "icmp"}, *filters])
            self.authorize(wide)
            self.works(closed=81)
        with self.group("100,000 filters cost no memory that stays") as notes:
            filters = [{"protocol": "tcp", "port_range_start": n % 65536, "port_range_end": n % 65536} for n in range(HUGE)]
            huge = {**self.resource, "filters": filters}

            def push_two():
                self.refused("create_authorization", self.authorization() | {"resource": huge}, "resource.filters: more than 1024")
                self.refused("resource_updated", huge, "filters: more than 1024")
                return resident_mb()

            first = push_two()  # what one message needs, the allocator may keep
            grown = max(push_two() for _ in range(5)) - first
            assert grown < 16, f"{grown} MB more"
            notes.append(f"{grown} MB more after 10 of them")
        with self.group("rules beyond 16,384 in one client's policy: refused, what it had stays") as notes:
            added = []
            for n in range(17):
                ports = [{"protocol": "udp", "port_range_start": 2 * i, "port_range_end": 2 * i} for i in range(1024)]
                extra = {"id": str(uuid.uuid4()), "type": "cidr", "name": "x", "address": f"198.18.{n}.0/24", "filters": ports}
                self.log.mark()
                self.portal.push("create_authorization", self.authorization() | {"resource": extra})
                self.log.wait("create_authorization refused: |authorized client", 60)
                if "refused" in self.log.text():
                    break
                added.append(extra["id"])
            assert "16384 rules" in self.log.text() and len(added) == 15, f"{len(added)} resources taken"
            self.works()
            for ident in added:
                self.portal.push("reject_access", {"client_id": self.client["id"], "resource_id": ident})
            notes.append(self.log.text().strip().rsplit("refused: ", 1)[-1])

    def bad_candidates(self):
        with self.group("bad candidate lines are left out one by one"):
            good = ice.candidate_line(*self.tunnel.local_address, 4, CLIENT_ICE["username"])
            lines = [7, None, "", "candidate:", "x" * 5000, good.replace(" udp ", " tcp "), good.replace(" 1 udp", " 2 udp")]
            lines += [good.replace(HERE, "203.0.113.256"), good.replace("typ host", "typ x"), good[:-4] + "nope"]
            lines += [good.replace(str(self.tunnel.local_address[1]), "0"), good.replace(HERE, "224.0.0.1"), good]
            for event in ("ice_candidates", "invalidate_ice_candidates"):
                known = lines if event == "ice_candidates" else lines[:-1]
                self.portal.push(event, {"client_id": self.client["id"], "candidates": known})
                self.portal.push(event, {"client_id": str(uuid.uuid4()), "candidates": known})

    def binary(self):
        with self.group("binary frames are ignored"):
            text = json.dumps({"topic": "gateway", "event": "reject_access", "payload": self.listed()[0], "ref": None})
            for payload in (b"", b"\0", os.urandom(5000), text.encode(), os.urandom(1 << 20)):
                self.portal.connection.send_frame(ws.BINARY, payload)
            self.portal.connection.send_frame(ws.PING, b"are you there")

    def fragments(self):
        with self.group("a message in fragments, with a ping in between, is one message"):
            message = self.authorization()
            frame = {"topic": "gateway", "event": "create_authorization", "payload": message, "ref": None}
            text, connection = json.dumps(frame), self.portal.connection
            connection.send_frame(ws.TEXT, text[:100], fin=False)
            connection.send_frame(ws.CONTINUATION, text[100:101], fin=False)
            connection.send_frame(ws.PING, b"x")
            connection.send_frame(ws.CONTINUATION, "", fin=False)
            connection.send_frame(ws.CONTINUATION, text[101:])
            self.portal.expect("authorization_created", PATIENCE_S, lambda p: p == {"ref": message["ref"]})

    def large(self):
        with self.group("a message of just under 64 MB is read"):
            frame = '{"topic":"gateway","event":"large_event","payload":"%s","ref":null}'
            self.portal.text(frame % ("x" * (MAX_MESSAGE - len(frame))))
            self.log.wait("unknown event ignored event=large_event", 30)
        with self.group("a message over 64 MB ends the connection with a reason", joins_again=True):
            self.portal.text('{"topic":"gateway","event":"init","payload":"%s"}' % ("x" * MAX_MESSAGE))
            self.log.wait(str(MAX_MESSAGE), 30)
        with self.group("so do 65 MB in many frames", joins_again=True):
            try:
                self.portal.connection.send_frame(ws.TEXT, '{"x":"', fin=False)
                for _ in range(65):
                    self.portal.connection.send_frame(ws.CONTINUATION, "x" * (1 << 20), fin=False)
            except OSError:
                pass  # it need not read on
            self.log.wait(str(MAX_MESSAGE), 30)

    def closes(self):
        for code in (1000, 1001, 1002, 1011, 1012):
            with self.group(f"closed with code {code}: joins again", joins_again=True):
                self.portal.connection.close(code, "test")
        with self.group("connection lost: joins again", joins_again=True):
            self.portal.connection.drop()
        with self.group("frames against RFC 6455: joins again", joins_again=True):
            self.portal.connection.send_frame(7, b"reserved opcode")
        with self.group("phx_close: joins again", joins_again=True):
            self.portal.push("phx_close", {})
        with self.group("phx_error and a disconnect for other reasons: stays"):
            for payload in ({}, None, {"reason": "channel_crash"}):
                self.portal.push("phx_error", payload)
            self.portal.push("disconnect", {"reason": "certificate_revoked"})
            for payload in (None, 7, {"reason": 7}):
                self.portal.push("disconnect", payload)
        with self.group("unmatched topic: joins on the same connection", joins_again=True):
            reply = {"status": "error", "response": {"reason": "unmatched topic"}}
            frame = {"topic": "gateway", "event": "phx_reply", "payload": reply, "ref": 10**6}
            self.portal.text(json.dumps(frame))
        with self.group("token_expired: waits, then joins again", joins_again=True) as notes:
            self.portal.push("disconnect", {"reason": "token_expired"})
            self.log.wait("token_expired", 3)
            notes.append("says so in the log")

    def refusals(self):
        answers = {
            "503 with Retry-After": b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n",
            "409": b"HTTP/1.1 409 Conflict\r\nContent-Length: 0\r\n\r\n",
            "nonsense": b"SSH-2.0-OpenSSH_9.2\r\n",
        }
        for name, answer in answers.items():
            with self.group(f"reconnection refused with {name}: tries again", joins_again=True):
                self.portal.refuse_with, attempts = answer, self.portal.attempts
                self.portal.connection.close(1012)
                with self.portal.condition:
                    assert self.portal.condition.wait_for(lambda: self.portal.attempts > attempts, 10), "no attempt"
                time.sleep(0.2)
                self.works()
                self.portal.refuse_with = None
        with self.group("join not answered: gives up after 5 s and joins again", joins_again=True):
            self.portal.answers_joins, attempts = False, self.portal.attempts
            self.portal.connection.close(1012)
            with self.portal.condition:
                assert self.portal.condition.wait_for(lambda: self.portal.attempts > attempts, 10), "no attempt"
            self.log.wait("the join was not answered", 8)
            self.portal.answers_joins = True

    def ends(self):
        with self.report.group("init that does not list the client takes its access away, with a goodbye"):
            self.portal.authorizations, joins = [], self.portal.joins
            self.portal.push("init", self.portal.init())
            assert self.tunnel.recv_inner(3, lambda p: p[6] == 0xFF) == GOODBYE
            deadline = time.monotonic() + 3
            while telemetry("/sallyport/clients")["clients"] != 0:
                assert time.monotonic() < deadline, "the gateway still has the client"
                time.sleep(0.05)
            assert self.portal.joins == joins, "the gateway reconnected"
        with self.report.group("401 invalid_token on reconnection: a message and the end"):
            body = b'{"type":"about:blank","title":"Unauthorized","status":401,"detail":"Invalid token","code":"invalid_token"}'
            head = f"HTTP/1.1 401 Unauthorized\r\nContent-Type: application/problem+json\r\nContent-Length: {len(body)}\r\n\r\n"
            self.portal.refuse_with = head.encode() + body
            self.log.mark()
            self.portal.connection.close(1012)
            self.log.wait("refuses the token.*invalid_token", 10)

    def run(self):
        self.joins()
        if self.tunnel is None or self.tunnel.session is None:
            return
        for case in (
            self.not_messages,
            self.unknown,
            self.every_fault,
            self.every_variant,
            self.many_filters,
            self.bad_candidates,
            self.binary,
            self.fragments,
            self.large,
            self.closes,
            self.refusals,
            self.ends,
        ):
            case()


class Group:
    """with cases.group(...): see there."""

    def __init__(self, cases, name, joins_again):
        self.cases, self.joins_again = cases, joins_again
        self.inner = cases.report.group(name)

    def __enter__(self):
        notes = self.inner.__enter__()
        self.cases.log.mark()
        self.cases.portal.authorizations = self.cases.listed()
        self.joins, self.connection = self.cases.portal.joins, self.cases.portal.connection
        return notes

    def __exit__(self, kind, value, trace):
        if kind is None:
            try:
                self.after()
            except BaseException:  # its verdict is the group's
                return self.inner.__exit__(*sys.exc_info())
        return self.inner.__exit__(kind, value, trace)

    def after(self):
        cases = self.cases
        if self.joins_again:
            cases.works()  # without a portal too
            cases.portal.wait_joined(self.joins, 20)
        cases.works()
        cases.authorize()
        assert self.joins_again or cases.portal.joins == self.joins, "the gateway reconnected"


def main():
    report = Report()
    Cases(report).run()
    return report.end()


sys.exit(main())
