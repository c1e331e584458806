#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The Sallyport authors
"""Portal, relay and a peer: what the portal hands out works at the relay, and who hears when a relay
comes or goes. usage: portal_test.py path/to/sallyport-portal path/to/sallyport-relay"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

import turn

sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "portald"))
import smoke_test as portald  # pylint: disable=wrong-import-position

RELAY = sys.argv[2]
TIMEOUT = 10


class Relay:
    def __init__(self, portal, name, health=None):
        env = {
            "PUBLIC_IP4_ADDR": "127.0.0.1",
            "BIND_IP4_ADDR": "127.0.0.1",
            "LISTEN_PORT": "0",
            "FIREZONE_API_URL": "ws://%s:%d" % portal.addresses[0],
            "FIREZONE_TOKEN": "relay-token",
            "FIREZONE_NAME": name,
            "HEALTH_CHECK_ADDR": health or "",
            "ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", ""),
        }
        # pylint: disable=consider-using-with
        self.process = subprocess.Popen(
            [RELAY], env={k: v for k, v in env.items() if v}, stderr=subprocess.PIPE, text=True
        )
        self.health = health
        self.log, self.id = [], None
        for line in self.process.stderr:
            self.log.append(line)
            found = re.search(r"relay is up id=(\S+)", line)
            self.id = found[1] if found else self.id
            if "joined" in line:
                return
        raise AssertionError(self.log)

    def ready(self):
        try:
            with urllib.request.urlopen(f"http://{self.health}/readyz", timeout=TIMEOUT) as r:
                return r.status
        except urllib.error.HTTPError as e:
            return e.code

    def kill(self):
        self.process.kill()
        self.process.wait(TIMEOUT)

    def stop(self):
        self.process.terminate()
        assert self.process.wait(TIMEOUT) == 0, self.log


def peer(portal):
    client = portald.Peer(
        portal.addresses[0],
        "/client/v2/websocket",
        "client-token",
        {"external_id": "d", "public_key": portald.CLIENT_KEY},
        portald.CLIENT_AGENT,
    )
    return client, client.join()


def allocate(entry):
    host, port = entry["addr"].rsplit(":", 1)
    client = turn.Client((host, int(port)), entry["username"], entry["password"])
    answer = client.allocate()
    assert not answer.error, answer.error
    return client, answer.relayed[0]


def connections(portal):
    (relay,) = json.loads(portal.ctl("status"))["relays"]
    return sorted(c["name"] for c in relay["connections"])


def test(portal, relays):
    client, init = peer(portal)
    assert init["relays"] == []
    relays.append(Relay(portal, "one", "127.0.0.1:%d" % free_port()))
    start = time.monotonic()
    assert relays[0].ready() == 200
    connected = client.expect("relays_presence")["payload"]["connected"]
    assert 0.5 < time.monotonic() - start < 3
    assert [e["id"] for e in connected] == [relays[0].id]
    a, at_a = allocate(connected[0])
    relays.append(Relay(portal, "two"))
    connected = client.expect("relays_presence")["payload"]["connected"]
    assert {e["id"] for e in connected} == {r.id for r in relays}
    assert connections(portal) == ["one", "two"]
    # Between the two relays, through both.
    b, at_b = allocate(next(e for e in connected if e["id"] == relays[1].id))
    assert not a.bind_channel(0x4000, at_b).error
    assert not b.bind_channel(0x4001, at_a).error
    a.send(0x4000, b"hello")
    assert b.recv() == (0x4001, b"hello")
    relays.pop(0).kill()
    presence = client.expect("relays_presence")["payload"]
    assert presence["disconnected_ids"] and [e["id"] for e in presence["connected"]] == [relays[0].id]
    relays.pop(0).stop()
    presence = client.expect("relays_presence")["payload"]
    assert len(presence["disconnected_ids"]) == 1 and presence["connected"] == []
    assert connections(portal) == []


# Without its portal a relay serves, is not ready, and is the same relay when the portal is back.
def test_portal_restart(portal, relays):
    relays.append(Relay(portal, "one", "127.0.0.1:%d" % free_port()))
    client, init = peer(portal)
    a, _ = allocate(init["relays"][0])
    address = portal.addresses[0]
    portal.stop()
    wait_for(lambda: relays[0].ready() == 503)
    assert not a.refresh().error
    with open(portal.policy, encoding="utf-8") as f:
        text = f.read().replace("127.0.0.1:0", "%s:%d" % address, 1)
    with open(portal.policy, "w", encoding="utf-8") as f:
        f.write(text)
    portal.start()
    wait_for(lambda: relays[0].ready() == 200)
    client, init = peer(portal)
    assert [e["id"] for e in init["relays"]] == [relays[0].id]
    client.close()
    relays.pop(0).stop()


# A token that the portal does not know is the end.
def test_bad_token(portal):
    url = "ws://%s:%d" % portal.addresses[0]
    env = {"PUBLIC_IP4_ADDR": "127.0.0.1", "LISTEN_PORT": "0", "FIREZONE_API_URL": url}
    done = subprocess.run(
        [RELAY],
        env=env | {"FIREZONE_TOKEN": "wrong"},
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    assert done.returncode == 1 and "invalid_token" in done.stderr, done


def free_port():
    with portald.socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for(condition):
    end = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def main():
    directory = tempfile.mkdtemp(prefix="sallyport-relay-")
    portald.POLICY += "relays:\n  - name: relays\n    token: relay-token\n"
    portal, relays = portald.Portal(directory), []
    try:
        test(portal, relays)
        test_portal_restart(portal, relays)
        test_bad_token(portal)
        portal.stop()
    except BaseException:
        portal.process.kill()
        for relay in relays:
            relay.kill()
        print("".join(portal.log))
        raise
    finally:
        shutil.rmtree(directory)


main()
