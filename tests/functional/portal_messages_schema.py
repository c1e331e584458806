# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The Sallyport authors
"""What the portal's messages are made of, and from it every way in which one field can be wrong.

A message is a tree of the types below. bad(tree, message) yields (path, message with one fault) for each field and
fault; fine(tree, message) yields the messages that differ and must still be taken. Written from the protocol's
description alone.
"""

import copy

HUGE = 100000
WRONG_FOR_TEXT = (7, 1.5, True, [], {})


class Field:
    """optional: absent and null are fine; lenient: any value is."""

    def __init__(self, optional=False, lenient=False):
        self.optional, self.lenient = optional or lenient, lenient

    def wrong(self):
        """Values that are not of this type."""
        return ()

    def faults(self, value):
        """(path below this field, value with one fault)."""
        for w in self.wrong():
            yield "", w

    def right(self):
        """Other values that are."""
        return ()


class Text(Field):
    def __init__(self, least=0, most=1024, **kw):
        super().__init__(**kw)
        self.least, self.most = least, most

    def wrong(self):
        few = ["x" * (self.least - 1)] if self.least else []
        return (*WRONG_FOR_TEXT, *few, "x" * (self.most + 1), "x" * HUGE)

    def right(self):
        return ("x" * max(self.least, 1), "x" * self.most)


class Uuid(Field):
    def wrong(self):
        good = "3abd725a-733b-4801-ac16-72f26cd98a24"
        return (*WRONG_FOR_TEXT, "", "x", "0" * 36, good[:-1], good + "0", good.replace("-", "g"), "x" * HUGE)


class Key(Field):
    """Base64 of 32 bytes."""

    def wrong(self):
        good = "fiAjSBWDgQfD1CFJkTwOf4zg+1QhH0eTT+oLaVIMpH8="
        return (*WRONG_FOR_TEXT, "", good[:-1], good + "A", good[:40], "*" * 44, "A" * 43 + "!", good * 2, "A" * HUGE)


class Address(Field):
    def __init__(self, version, **kw):
        super().__init__(**kw)
        self.version = version

    def wrong(self):
        four = ("1.2.3", "1.2.3.4.5", "::1", "1.2.3.4/24", "1.2.3.256", "1.2.3.4 ", "1.2.3.4/33")
        six = ("1.2.3.4", "fd00::1::2", "g::", "fd00::1%eth0", "fd00::1/64", "fd00::1/129")
        return (*WRONG_FOR_TEXT, "", *(four if self.version == 4 else six), "1" * HUGE)


class Network(Field):
    def wrong(self):
        host_bits = ("192.0.2.80/24", "fd00::1/64")
        return (*WRONG_FOR_TEXT, "", *host_bits, "1.2.3.4/33", "x/8", "1.2.3.4/-1", "1.2.3.4/", "::/129", "1" * HUGE)


class Endpoint(Field):
    def wrong(self):
        return (*WRONG_FOR_TEXT, "", "1.2.3.4", "1.2.3.4:0", "1.2.3.4:65536", "::1:3478", "[::1]", ":3478", "a:1", "1" * HUGE)


class Choice(Field):
    def __init__(self, *names, **kw):
        super().__init__(**kw)
        self.names = names

    def wrong(self):
        return (*WRONG_FOR_TEXT, "", self.names[0].upper(), self.names[0] + " ", "device_pool", "x" * HUGE)


class Number(Field):
    """A whole number."""

    def wrong(self):
        return ("", "soon", "1", 1.5, 1e300, True, [], {})

    def right(self):
        return (2**63 - 1,)


class Port(Field):
    def wrong(self):
        return ("", "80", -1, 65536, 2**40, 80.5, True, [], {})


class Truth(Field):
    def wrong(self):
        return ("", "no", "true", 0, 1, [], {})


class Anything(Field):
    """Not looked at."""

    def __init__(self):
        super().__init__(lenient=True)

    def right(self):
        return (7, "x", [], {"a": [{}]}, "x" * HUGE)


class Object(Field):
    """Fields by name; each combination in @whole is a value of this type that is wrong as a whole."""

    def __init__(self, fields, whole=(), **kw):
        super().__init__(**kw)
        self.fields, self.whole = fields, whole

    def wrong(self):
        return (7, 1.5, True, [], "x", [{}], "x" * HUGE, *self.whole)

    def faults(self, value):
        yield from super().faults(value)
        for name, field in self.fields.items():
            if field.lenient:
                continue
            if name not in value:
                # An optional one that this message does not have.
                yield from (("." + name, value | {name: w}) for w in field.wrong())
                continue
            for path, w in field.faults(value[name]):
                yield "." + name + path, value | {name: w}
            if not field.optional:
                yield "." + name, {n: v for n, v in value.items() if n != name}
                yield "." + name, value | {name: None}

    def variants(self, value):
        """(path, value) that differ from @value and are as good."""
        yield "", value | {"no_such_field": [1]}
        for name, field in self.fields.items():
            others = [*field.right(), *(WRONG_FOR_TEXT if field.lenient else ())]
            for other in others:
                yield "." + name, value | {name: other}
            if field.optional:
                yield "." + name, {n: v for n, v in value.items() if n != name}
                yield "." + name, value | {name: None}
            if isinstance(field, Object) and name in value:
                for path, other in field.variants(value[name]):
                    yield "." + name + path, value | {name: other}


class List(Field):
    """At most @most elements; of lenient ones, bad ones are left out one by one."""

    def __init__(self, element, most, **kw):
        super().__init__(**kw)
        self.element, self.most = element, most

    def wrong(self):
        return (7, 1.5, True, {}, "x", "x" * HUGE)

    def faults(self, value):
        yield from super().faults(value)
        if not value:
            return
        # How many is looked at before what they are.
        for size in (self.most + 1, max(self.most + 1, HUGE)):
            yield "", [{}] * size
        if self.element.lenient:
            return
        # The last of several: those before it must not be applied either.
        at = len(value)
        for path, w in self.element.faults(value[-1]):
            yield f"[{at}]{path}", [*value, w]
        yield f"[{at}]", [*value, None]


RANGE = {"protocol": Choice("tcp", "udp"), "port_range_start": Port(optional=True), "port_range_end": Port(optional=True)}
INVERTED = [{"protocol": p, "port_range_start": a, "port_range_end": b} for p, a, b in (("tcp", 2, 1), ("udp", 65535, 0))]
FILTER = Object(RANGE, whole=INVERTED + [{"protocol": p} for p in ("sctp", "ICMP", "")])
RESOURCE = {"id": Uuid(), "type": Choice("cidr"), "name": Text(), "filters": List(FILTER, 1024)}
CIDR = Object(RESOURCE | {"address": Network()})
DNS = Object(RESOURCE | {"type": Choice("dns"), "address": Text(1)})
INTERNET = Object({"id": Uuid(), "type": Choice("internet"), "name": Text(optional=True)})
CREDENTIALS = Object({"username": Text(4, 256), "password": Text(22, 256)})
PAIR = {"client_id": Uuid(), "resource_id": Uuid()}
AUTHORIZATION = Object(PAIR | {"expires_at": Number()})
RELAY = Object(
    {
        "id": Uuid(),
        "type": Choice("turn", "stun"),
        "addr": Endpoint(),
        "username": Text(1, 512),
        "password": Text(1),
        "expires_at": Number(),
    }
)
CLIENT = Object(
    {
        "id": Uuid(),
        "public_key": Key(),
        "preshared_key": Key(),
        "ipv4": Address(4),
        "ipv6": Address(6),
        **{n: Anything() for n in ("version", "device_os_name", "device_os_version", "device_serial", "device_uuid")},
    }
)


def create_authorization(resource):
    return Object(
        {
            "ref": Text(1, 8192),
            "client": CLIENT,
            "subject": Anything(),
            "resource": resource,
            "gateway_ice_credentials": CREDENTIALS,
            "client_ice_credentials": CREDENTIALS,
            "expires_at": Number(optional=True),
            "use_iceless": Truth(optional=True),
            "flow_logs_ingest_token": Anything(),
        }
    )


CANDIDATES = Object({"client_id": Uuid(), "candidates": List(Anything(), 256)})
MESSAGES = {
    "init": Object(
        {
            "interface": Object({"ipv4": Address(4), "ipv6": Address(6)}),
            "config": Anything(),
            "account_slug": Anything(),
            "relays": List(RELAY, 64, optional=True),
            "authorizations": List(AUTHORIZATION, 524288, optional=True),
            "flow_logs": Anything(),
        }
    ),
    "reject_access": Object(PAIR),
    "ice_candidates": CANDIDATES,
    "invalidate_ice_candidates": CANDIDATES,
    "relays_presence": Object({"disconnected_ids": List(Uuid(), 64), "connected": List(RELAY, 64)}),
    "access_authorization_expiry_updated": AUTHORIZATION,
}


def bad(tree, message):
    """(path as a log line has it, message with that one fault)."""
    for path, faulty in tree.faults(message):
        yield path.removeprefix("."), copy.copy(faulty)


def fine(tree, message):
    """(path of what is different, message that must be taken)."""
    for path, other in tree.variants(message):
        yield path.removeprefix("."), other
