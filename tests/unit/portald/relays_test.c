// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "peers/portal/ctl.h"
#include "peers/portal/portal.h"
#include "tests/unit/unit.h"

#include <sodium.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

// The portal protocol's published vectors.
#define SECRET "4c98bf59c99b3e467ecd7cf9d6b3e5279645fca59be67bc5bb4af3cf653761ab"
#define RELAY_ID "aa93cc3a-23e1-4e3b-93b9-0b7bb3c0a369"
#define KEY "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
#define SALT "kF8o3vGOqsBa5vErLDRSdEr69ibaE0PVezlbVE4FGbY"
#define PASSWORD "w5eemSt/cvynH6o07o696HL4LJbA7RZff2Ac32MQj0I"
#define T0 1000000

#define POLICY                                                                                     \
	"account: acme\n"                                                                          \
	"listen: 127.0.0.1:1\n"                                                                    \
	"sites: [{name: lab}]\n"                                                                   \
	"gateways: [{name: gw, token: g, site: lab}]\n"                                            \
	"clients:\n"                                                                               \
	"  - {name: alice, token: c1}\n"                                                           \
	"  - {name: bob, token: c2, expires_at: 1970-01-12T13:48:20Z}\n" // T0 + 100
#define RELAYS "relays: [{name: r1, token: r}, {name: r2, token: other}]\n"
#define TURN "turn: {address: ['192.0.2.9:3478', '[2001:db8::9]:3479'], username: u, password: p}\n"

struct fixture {
	struct store *store;
	struct portal *portal;
	struct ctl ctl;
	struct instant now;
};

static void counter(void *out, size_t size)
{
	static uint64_t n;
	uint8_t *p = out;

	for (size_t i = 0; i < size; i++) {
		n = n * 6364136223846793005 + 1442695040888963407;
		p[i] = (uint8_t)(n >> 56);
	}
}

static struct policy *policy_of(const char *text)
{
	char *error = NULL;
	struct policy *policy = policy_parse("p", text, strlen(text), &error);

	if (policy == NULL)
		fail_msg("%s", error);
	return policy;
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	char *error = NULL;

	f->store = store_open(NULL, counter, &error);
	f->now = (struct instant){.mono_ms = 5000, .unix_s = T0};
	f->portal = portal_create(policy_of(POLICY RELAYS), f->store, counter, f->now);
	f->ctl = (struct ctl){.portal = f->portal, .policy_path = "/nonexistent"};
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	portal_destroy(f->portal);
	store_close(f->store);
	free(f);
	return 0;
}

static void pass(struct fixture *f, int64_t ms)
{
	f->now.mono_ms += ms;
	portal_tick(f->portal, f->now);
}

static struct connect_request relay_request(void)
{
	return (struct connect_request){
		.path = "/relay/websocket",
		.token = "r",
		.name = "relay-1",
		.ipv4 = "203.0.113.101",
		.ipv6 = "203:0:113::101",
		.port = "3478",
		.user_agent = "Ubuntu/22.4.0 relay/0.1.0 (x86_64)",
		.ip = "198.51.100.9",
	};
}

static struct channel *connect_peer(struct fixture *f, const struct connect_request *r)
{
	struct problem problem;
	struct channel *ch = portal_connect(f->portal, r, f->now, &problem);

	assert_non_null(ch);
	return ch;
}

static void send_event(
	struct fixture *f,
	struct channel *ch,
	const char *topic,
	const char *event,
	const char *payload)
{
	char text[1024];

	snprintf(
		text,
		sizeof(text),
		"{\"topic\":\"%s\",\"event\":\"%s\",\"payload\":%s,\"ref\":0}",
		topic,
		event,
		payload);
	channel_receive(ch, text, strlen(text), f->now);
}

static json_t *expect(struct channel *ch, const char *event)
{
	struct frame *frame = channel_frame_pop(ch);
	json_t *message;
	json_t *payload;

	if (frame == NULL)
		fail_msg("wanted %s, got nothing", event);
	message = json_loadb(frame->text, frame->size, 0, NULL);
	assert_string_equal(json_string_value(json_object_get(message, "event")), event);
	payload = json_incref(json_object_get(message, "payload"));
	json_decref(message);
	free(frame);
	return payload;
}

static void expect_nothing(struct channel *ch)
{
	struct frame *frame = channel_frame_pop(ch);

	if (frame != NULL)
		fail_msg("unexpected %.*s", (int)frame->size, frame->text);
}

static struct channel *join_relay(struct fixture *f, const char *secret)
{
	const struct connect_request r = relay_request();
	struct channel *ch = connect_peer(f, &r);
	char payload[128];

	snprintf(payload, sizeof(payload), "{\"stamp_secret\":\"%s\"}", secret);
	send_event(f, ch, "relay", "phx_join", payload);
	json_decref(expect(ch, "phx_reply"));
	json_decref(expect(ch, "init"));
	return ch;
}

static struct channel *connect_client(struct fixture *f, const char *token, const char *id)
{
	const struct connect_request r = {
		.path = "/client/v2/websocket",
		.token = token,
		.external_id = id,
		.public_key = KEY,
		.user_agent = "Ubuntu/24.4.0 headless-client/1.5.12 (x86_64)",
	};

	return connect_peer(f, &r);
}

static struct channel *connect_gateway(struct fixture *f)
{
	const struct connect_request r = {
		.path = "/gateway/v2/websocket",
		.token = "g",
		.public_key = KEY,
		.user_agent = "Ubuntu/22.4.0 gateway/1.6.1 (x86_64)",
	};

	return connect_peer(f, &r);
}

// Joins and returns the relays of init.
static json_t *join_peer(struct fixture *f, struct channel *ch, const char *topic)
{
	json_t *init;
	json_t *relays;

	send_event(f, ch, topic, "phx_join", "null");
	json_decref(expect(ch, "phx_reply"));
	init = expect(ch, "init");
	relays = json_incref(json_object_get(init, "relays"));
	json_decref(init);
	assert_true(json_is_array(relays));
	return relays;
}

static void join_without_relays(struct fixture *f, struct channel *ch, const char *topic)
{
	json_t *relays = join_peer(f, ch, topic);

	assert_int_equal(json_array_size(relays), 0);
	json_decref(relays);
}

static void assert_json(json_t *json, const char *expected)
{
	char *text = json_dumps(json, JSON_COMPACT | JSON_ENCODE_ANY);

	assert_string_equal(text, expected);
	free(text);
	json_decref(json);
}

// {disconnected_ids, connected ids without repetition} as "gone,gone|here,here"
static void expect_presence(struct channel *ch, size_t n_gone, size_t n_connected)
{
	json_t *payload = expect(ch, "relays_presence");

	assert_int_equal(json_array_size(json_object_get(payload, "disconnected_ids")), n_gone);
	// Two families each.
	assert_int_equal(json_array_size(json_object_get(payload, "connected")), 2 * n_connected);
	json_decref(payload);
}

static void admission(void **state)
{
	struct fixture *f = *state;
	char long_name[300] = {};
	struct connect_request r = relay_request();
	struct problem problem;
	const struct {
		const char *token, *name, *ipv4, *ipv6, *port;
		unsigned status; // 0: welcome
	} cases[] = {
		{"r", "n", "203.0.113.1", "2001:db8::1", "3478", 0},
		{"r", NULL, "203.0.113.1", NULL, NULL, 0},
		{"other", NULL, NULL, "2001:db8::1", "65535", 0},
		{"r", "n", "", "2001:db8::1", "", 0},
		{NULL, "n", "203.0.113.1", NULL, NULL, 401},
		{"g", "n", "203.0.113.1", NULL, NULL, 401},
		{"r", "n", NULL, NULL, NULL, 400},
		{"r", "n", "", "", NULL, 400},
		{"r", "n", "2001:db8::1", NULL, NULL, 400},
		{"r", "n", NULL, "203.0.113.1", NULL, 400},
		{"r", "n", "relay.example", NULL, NULL, 400},
		{"r", "n", "203.0.113.1", NULL, "0", 400},
		{"r", "n", "203.0.113.1", NULL, "65536", 400},
		{"r", "n", "203.0.113.1", NULL, "-1", 400},
		{"r", "n", "203.0.113.1", NULL, "3478x", 400},
		{"r", long_name, "203.0.113.1", NULL, NULL, 400},
	};

	memset(long_name, 'x', sizeof(long_name) - 1);
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		r.token = cases[i].token;
		r.name = cases[i].name;
		r.ipv4 = cases[i].ipv4;
		r.ipv6 = cases[i].ipv6;
		r.port = cases[i].port;
		problem.status = 0;
		assert_int_equal(
			portal_admit(f->portal, &r, f->now, &problem),
			cases[i].status != 0 ? -EACCES : 0);
		assert_int_equal(problem.status, cases[i].status);
	}
	r = relay_request();
	r.path = "/relay/v2/websocket";
	assert_int_equal(portal_admit(f->portal, &r, f->now, &problem), -EACCES);
	assert_int_equal(problem.status, 404);
}

// Byte for byte as relays are spoken to.
static void relay_join(void **state)
{
	struct fixture *f = *state;
	const struct connect_request r = relay_request();
	struct channel *ch = connect_peer(f, &r);
	static const char *const frames[] = {
		"{\"topic\":\"relay\",\"event\":\"phx_reply\",\"payload\":{\"status\":\"ok\","
		"\"response\":{}},\"ref\":0}",
		"{\"topic\":\"relay\",\"event\":\"init\",\"payload\":{},\"ref\":null}",
	};

	send_event(f, ch, "relay", "phx_join", "null");
	json_decref(expect(ch, "phx_reply"));
	expect_nothing(ch);
	send_event(f, ch, "relay", "phx_join", "{\"stamp_secret\":\"\"}");
	json_decref(expect(ch, "phx_reply"));
	expect_nothing(ch);
	send_event(f, ch, "relay", "phx_join", "{\"stamp_secret\":\"" SECRET "\"}");
	for (size_t i = 0; i < COUNT_OF(frames); i++) {
		struct frame *frame = channel_frame_pop(ch);

		assert_non_null(frame);
		assert_int_equal(frame->size, strlen(frames[i]));
		assert_memory_equal(frame->text, frames[i], frame->size);
		free(frame);
	}
	// Not a peer: it has no use for these.
	send_event(f, ch, "relay", "no_relays", "{}");
	json_decref(expect(ch, "phx_reply"));
	send_event(f, ch, "phoenix", "heartbeat", "{}");
	json_decref(expect(ch, "phx_reply"));
	expect_nothing(ch);
}

static void credentials(void **state)
{
	struct fixture *f = *state;
	struct channel *client;

	join_relay(f, SECRET);
	assert_json(
		join_peer(f, connect_gateway(f), "gateway"),
		"[{\"id\":\"" RELAY_ID "\",\"type\":\"turn\",\"addr\":\"203.0.113.101:3478\","
		"\"username\":\"2145916800:" SALT "\",\"password\":\"" PASSWORD "\","
		"\"expires_at\":2145916800},"
		"{\"id\":\"" RELAY_ID "\",\"type\":\"turn\",\"addr\":\"[203:0:113::101]:3478\","
		"\"username\":\"2145916800:" SALT "\",\"password\":\"" PASSWORD "\","
		"\"expires_at\":2145916800}]");
	// A client's end with its token; the password made with Python's hashlib.
	client = connect_client(f, "c2", "d");
	json_t *relays = join_peer(f, client, "client");
	json_t *first = json_array_get(relays, 0);
	assert_int_equal(json_integer_value(json_object_get(first, "expires_at")), T0 + 100);
	assert_string_equal(json_string_value(json_object_get(first, "username")), "1000100:" SALT);
	assert_string_equal(
		json_string_value(json_object_get(first, "password")),
		"GzI/OxhlmpXi1fFaEHs58bKTmgl5V01gPDbMx/ebZAg");
	json_decref(relays);
	relays = join_peer(f, connect_client(f, "c1", "d"), "client");
	first = json_array_get(relays, 0);
	assert_int_equal(json_integer_value(json_object_get(first, "expires_at")), 2145916800);
	json_decref(relays);
}

static void presence(void **state)
{
	struct fixture *f = *state;
	struct channel *gateway = connect_gateway(f);
	struct channel *client = connect_client(f, "c1", "d");
	struct channel *relays[3];

	join_without_relays(f, gateway, "gateway");
	join_without_relays(f, client, "client");
	relays[0] = join_relay(f, "first");
	// A second after the last change, not after the first.
	pass(f, 999);
	relays[1] = join_relay(f, "second");
	assert_int_equal(portal_next_deadline(f->portal, f->now), f->now.mono_ms + 1000);
	pass(f, 999);
	expect_nothing(gateway);
	pass(f, 1);
	expect_presence(gateway, 0, 2);
	expect_presence(client, 0, 2);
	// Two are enough.
	relays[2] = join_relay(f, "third");
	pass(f, 1000);
	expect_nothing(gateway);
	expect_nothing(client);
	// One gone, and its place taken.
	channel_destroy(relays[0], f->now);
	pass(f, 1000);
	expect_presence(gateway, 1, 2);
	expect_presence(client, 1, 2);
	channel_destroy(relays[1], f->now);
	pass(f, 1000);
	expect_presence(gateway, 1, 1);
	json_decref(expect(client, "relays_presence"));
	channel_destroy(relays[2], f->now);
	pass(f, 1000);
	expect_presence(gateway, 1, 0);
	json_decref(expect(client, "relays_presence"));
	pass(f, 100000);
	expect_nothing(gateway);
}

// Back within the second: nobody hears of it.
static void short_absence(void **state)
{
	struct fixture *f = *state;
	struct channel *one = join_relay(f, "first");
	struct channel *gateway = connect_gateway(f);
	json_t *relays;

	join_relay(f, "second");
	pass(f, 1000);
	relays = join_peer(f, gateway, "gateway");
	assert_int_equal(json_array_size(relays), 4);
	json_decref(relays);
	channel_destroy(one, f->now);
	pass(f, 500);
	join_relay(f, "first");
	pass(f, 1000);
	expect_nothing(gateway);
}

// A restarted relay has a new secret, so it is a new one at the old address.
static void restarted(void **state)
{
	struct fixture *f = *state;
	struct channel *one = join_relay(f, SECRET);
	struct channel *gateway = connect_gateway(f);
	json_t *payload;

	pass(f, 1000);
	json_decref(join_peer(f, gateway, "gateway"));
	channel_destroy(one, f->now);
	join_relay(f, "new");
	pass(f, 1000);
	payload = expect(gateway, "relays_presence");
	assert_json(
		json_incref(json_object_get(payload, "disconnected_ids")), "[\"" RELAY_ID "\"]");
	assert_int_equal(json_array_size(json_object_get(payload, "connected")), 2);
	json_decref(payload);
}

static void connected_twice(void **state)
{
	struct fixture *f = *state;
	struct channel *older = join_relay(f, SECRET);
	struct channel *newer = join_relay(f, SECRET);
	json_t *relays;

	json_decref(expect(older, "phx_close"));
	expect_nothing(older);
	assert_int_not_equal(channel_close_code(older), 0);
	assert_int_equal(channel_close_code(newer), 0);
	channel_destroy(older, f->now);
	relays = join_peer(f, connect_gateway(f), "gateway");
	assert_int_equal(json_array_size(relays), 2);
	json_decref(relays);
	// And a second join on the same socket is the same relay.
	send_event(f, newer, "relay", "phx_join", "{\"stamp_secret\":\"" SECRET "\"}");
	json_decref(expect(newer, "phx_reply"));
	json_decref(expect(newer, "init"));
	send_event(f, newer, "relay", "phx_leave", "{}");
	json_decref(expect(newer, "phx_reply"));
	json_decref(expect(newer, "phx_close"));
}

static void no_relays(void **state)
{
	struct fixture *f = *state;
	struct channel *gateway = connect_gateway(f);

	join_without_relays(f, gateway, "gateway");
	send_event(f, gateway, "gateway", "no_relays", "{}");
	assert_json(
		expect(gateway, "relays_presence"), "{\"disconnected_ids\":[],\"connected\":[]}");
	join_relay(f, "first");
	join_relay(f, "second");
	join_relay(f, "third");
	send_event(f, gateway, "gateway", "no_relays", "{}");
	expect_presence(gateway, 0, 2);
}

static void turn_entry(void **state)
{
	struct fixture *f = *state;
	struct channel *gateway = connect_gateway(f);
	json_t *payload;
	json_t *first;

	join_relay(f, SECRET);
	pass(f, 1000);
	json_decref(join_peer(f, gateway, "gateway"));
	portal_publish(f->portal, policy_of(POLICY RELAYS TURN), f->now);
	pass(f, 1000);
	payload = expect(gateway, "relays_presence");
	assert_int_equal(json_array_size(json_object_get(payload, "connected")), 4);
	first = json_array_get(json_object_get(payload, "connected"), 0);
	json_object_del(first, "id");
	assert_json(
		json_incref(first),
		"{\"type\":\"turn\",\"addr\":\"192.0.2.9:3478\",\"username\":\"u\","
		"\"password\":\"p\",\"expires_at\":2145916800}");
	first = json_array_get(json_object_get(payload, "connected"), 1);
	assert_string_equal(
		json_string_value(json_object_get(first, "addr")), "[2001:db8::9]:3479");
	json_decref(payload);
	// The same policy again is no news; one without is.
	portal_publish(f->portal, policy_of(POLICY RELAYS TURN), f->now);
	pass(f, 1000);
	expect_nothing(gateway);
	portal_publish(f->portal, policy_of(POLICY RELAYS), f->now);
	pass(f, 1000);
	expect_presence(gateway, 1, 1);
}

static void token_taken(void **state)
{
	struct fixture *f = *state;
	struct channel *relay = join_relay(f, SECRET);
	struct channel *gateway = connect_gateway(f);
	const struct connect_request r = relay_request();
	struct problem problem;
	static const char command[] = "{\"command\":\"delete-token\",\"args\":[\"r1\"]}";
	char *reply;

	pass(f, 1000);
	json_decref(join_peer(f, gateway, "gateway"));
	reply = ctl_handle(&f->ctl, command, strlen(command), f->now);
	assert_non_null(strstr(reply, "\"ok\":true"));
	free(reply);
	json_decref(expect(relay, "disconnect"));
	assert_int_equal(portal_admit(f->portal, &r, f->now, &problem), -EACCES);
	assert_int_equal(problem.status, 401);
	pass(f, 1000);
	expect_presence(gateway, 1, 0);
	channel_destroy(relay, f->now);
}

static void status(void **state)
{
	struct fixture *f = *state;
	json_t *json;

	join_relay(f, SECRET);
	json = portal_status(f->portal, f->now);
	assert_json(
		json_incref(json_object_get(json, "relays")),
		"[{\"name\":\"r1\",\"connections\":[{\"id\":\"" RELAY_ID
		"\",\"name\":\"relay-1\",\"addresses\":[\"203.0.113.101:3478\","
		"\"[203:0:113::101]:3478\"],\"version\":\"0.1.0\",\"ip\":\"198.51.100.9\"}]},"
		"{\"name\":\"r2\",\"connections\":[]}]");
	json_decref(json);
}

// A request for access walks the channels, relays among them.
static void beside_requests(void **state)
{
	struct fixture *f = *state;
	struct channel *client = connect_client(f, "c1", "d");

	portal_publish(
		f->portal,
		policy_of(POLICY RELAYS
			  "resources: [{name: x, id: 11111111-1111-4111-8111-111111111111, "
			  "type: ip, address: 192.0.2.1, site: lab}]\n"
			  "policies: [{client: alice, resource: x}]\n"),
		f->now);
	join_relay(f, SECRET);
	json_decref(join_peer(f, client, "client"));
	send_event(
		f,
		client,
		"client",
		"request_authorization",
		"{\"resource_id\":\"11111111-1111-4111-8111-111111111111\","
		"\"connected_gateway_ids\":[\"x\"]}");
	json_decref(expect(client, "authorization_creation_failed"));
	portal_close_all(f->portal, 1012);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	static const struct CMUnitTest tests[] = {
		TEST(admission),
		TEST(relay_join),
		TEST(credentials),
		TEST(presence),
		TEST(short_absence),
		TEST(restarted),
		TEST(connected_twice),
		TEST(no_relays),
		TEST(turn_entry),
		TEST(token_taken),
		TEST(status),
		TEST(beside_requests),
	};

	return sodium_init() < 0 ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
