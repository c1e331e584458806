// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "peers/portal/ctl.h"
#include "peers/portal/portal.h"
#include "tests/unit/unit.h"

#include <sodium.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define WEB "11111111-1111-4111-8111-111111111111"
#define WIKI "22222222-2222-4222-8222-222222222222"
#define FAR "33333333-3333-4333-8333-333333333333"
#define LOST "44444444-4444-4444-8444-444444444444"
#define GW1 "aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaa1"
#define GW2 "aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaa2"
#define KEY1 "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
#define KEY2 "ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8="
#define T0 1000000

static const char policy_text[] =
	"account: acme\n"
	"listen: 127.0.0.1:1\n"
	"sites: [{name: lab, id: 55555555-5555-4555-8555-555555555555}, {name: far}]\n"
	"gateways:\n"
	"  - {name: gw1, token: g1, site: lab, id: " GW1 "}\n"
	"  - {name: gw2, token: g2, site: lab, id: " GW2 "}\n"
	"clients:\n"
	"  - {name: alice, token: c1}\n"
	"  - {name: bob, token: c2, expires_at: 1970-01-12T13:48:20Z}\n" // T0 + 100
	"groups: [{name: staff, members: [alice, bob]}]\n"
	"resources:\n"
	"  - {name: web, id: " WEB
	", type: ip, address: 192.0.2.1, site: lab, filters: [tcp: 80]}\n"
	"  - {name: wiki, id: " WIKI ", type: dns, address: wiki.example.com, site: lab}\n"
	"  - {name: remote, id: " FAR ", type: cidr, address: 198.51.100.0/24, site: far}\n"
	"  - {name: past, id: " LOST ", type: cidr, address: 203.0.113.0/24, site: lab}\n"
	"policies:\n"
	"  - {group: staff, resource: web, lifetime: 600}\n"
	"  - {client: alice, resource: wiki, expires_at: 1970-01-12T14:16:40Z}\n" // T0 + 1800
	"  - {client: alice, resource: remote}\n"
	"  - {client: alice, resource: past, expires_at: 1970-01-02T00:00:00Z}\n";

struct fixture {
	struct store *store;
	struct portal *portal;
	struct ctl ctl;
	struct instant now;
	uint64_t ref;
};

// Reproducible, and different each time: Knuth's linear congruential generator.
static void counter(void *out, size_t size)
{
	static uint64_t n;
	uint8_t *p = out;

	for (size_t i = 0; i < size; i++) {
		n = n * 6364136223846793005 + 1442695040888963407;
		p[i] = (uint8_t)(n >> 56);
	}
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	char *error = NULL;
	struct policy *policy = policy_parse("p", policy_text, sizeof(policy_text) - 1, &error);

	if (policy == NULL)
		fail_msg("%s", error);
	f->store = store_open(NULL, counter, &error);
	f->now = (struct instant){.mono_ms = 5000, .unix_s = T0};
	f->portal = portal_create(policy, f->store, counter, f->now);
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
	f->now.unix_s += ms / 1000;
	portal_tick(f->portal, f->now);
}

static struct connect_request client_request(const char *token, const char *external_id)
{
	return (struct connect_request){
		.path = "/client/v2/websocket",
		.token = token,
		.external_id = external_id,
		.name = "laptop",
		.public_key = KEY1,
		.user_agent = "Ubuntu/24.4.0 headless-client/1.5.12 (x86_64)",
		.ip = "198.51.100.7",
	};
}

static struct connect_request gateway_request(const char *token)
{
	return (struct connect_request){
		.path = "/gateway/v2/websocket",
		.token = token,
		.public_key = KEY2,
		.user_agent = "Ubuntu/22.4.0 gateway/1.6.1 (x86_64)",
	};
}

static struct channel *connect_peer(struct fixture *f, const struct connect_request *r)
{
	struct problem problem;
	struct channel *ch = portal_connect(f->portal, r, f->now, &problem);

	assert_non_null(ch);
	return ch;
}

static void send_text(struct fixture *f, struct channel *ch, const char *text)
{
	channel_receive(ch, text, strlen(text), f->now);
}

[[gnu::format(printf, 5, 6)]] static void send_event(
	struct fixture *f,
	struct channel *ch,
	const char *topic,
	const char *event,
	const char *fmt,
	...)
{
	char payload[1024];
	char text[2048];
	va_list args;

	va_start(args, fmt);
	vsnprintf(payload, sizeof(payload), fmt, args);
	va_end(args);
	snprintf(
		text,
		sizeof(text),
		"{\"topic\":\"%s\",\"event\":\"%s\",\"payload\":%s,\"ref\":%u}",
		topic,
		event,
		payload,
		(unsigned)f->ref++);
	send_text(f, ch, text);
}

// Next frame, which must be this event; returns its payload.
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

static void expect_event(struct channel *ch, const char *event)
{
	json_decref(expect(ch, event));
}

// Next frame, byte for byte.
static void expect_text(struct channel *ch, const char *text)
{
	struct frame *frame = channel_frame_pop(ch);

	assert_non_null(frame);
	assert_int_equal(frame->size, strlen(text));
	assert_memory_equal(frame->text, text, frame->size);
	free(frame);
}

static void expect_nothing(struct channel *ch)
{
	struct frame *frame = channel_frame_pop(ch);

	if (frame != NULL)
		fail_msg("unexpected %.*s", (int)frame->size, frame->text);
}

static const char *text_of(const json_t *payload, const char *key)
{
	const char *text = json_string_value(json_object_get(payload, key));

	assert_non_null(text);
	return text;
}

static struct channel *join(struct fixture *f, const struct connect_request *r)
{
	struct channel *ch = connect_peer(f, r);

	send_event(f, ch, strstr(r->path, "client") ? "client" : "gateway", "phx_join", "null");
	expect_event(ch, "phx_reply");
	expect_event(ch, "init");
	return ch;
}

static struct channel *join_client(struct fixture *f)
{
	const struct connect_request r = client_request("c1", "device");

	return join(f, &r);
}

static struct channel *join_gateway(struct fixture *f, const char *token)
{
	const struct connect_request r = gateway_request(token);

	return join(f, &r);
}

static void request(struct fixture *f, struct channel *client, const char *resource)
{
	send_event(
		f,
		client,
		"client",
		"request_authorization",
		"{\"resource_id\":\"%s\",\"connected_gateway_ids\":[]}",
		resource);
}

static void expect_failure(struct channel *client, const char *resource, const char *reason)
{
	json_t *payload = expect(client, "authorization_creation_failed");

	assert_string_equal(text_of(payload, "resource_id"), resource);
	assert_string_equal(text_of(payload, "reason"), reason);
	json_decref(payload);
}

static void answer(struct fixture *f, struct channel *gateway, const json_t *asked)
{
	send_event(
		f,
		gateway,
		"gateway",
		"authorization_created",
		"{\"ref\":\"%s\"}",
		text_of(asked, "ref"));
	expect_event(gateway, "phx_reply");
}

// Requests and answers; returns the client's payload.
static json_t *
authorize(struct fixture *f, struct channel *client, struct channel *gateway, const char *resource)
{
	json_t *asked;

	request(f, client, resource);
	asked = expect(gateway, "create_authorization");
	answer(f, gateway, asked);
	json_decref(asked);
	return expect(client, "authorization_created");
}

static void expect_reject(struct channel *gateway, const char *resource)
{
	json_t *payload = expect(gateway, "reject_access");

	assert_string_equal(text_of(payload, "resource_id"), resource);
	json_decref(payload);
}

static json_t *command(struct fixture *f, const char *text)
{
	char *reply = ctl_handle(&f->ctl, text, strlen(text), f->now);
	json_t *json = json_loads(reply, 0, NULL);

	assert_non_null(json);
	assert_int_equal(reply[strlen(reply) - 1], '\n');
	free(reply);
	return json;
}

static void command_ok(struct fixture *f, const char *text)
{
	json_t *reply = command(f, text);

	if (!json_is_true(json_object_get(reply, "ok")))
		fail_msg("%s", json_string_value(json_object_get(reply, "error")));
	json_decref(reply);
}

static void test_refusals(void **state)
{
	struct fixture *f = *state;
	char long_text[300];
	const struct {
		const char *field;
		struct connect_request r;
		unsigned status;
		const char *code;
	} cases[] = {
		{"path", {.path = "/client/v3/websocket"}, 404, NULL},
		{"token", {.path = "/client/v2/websocket"}, 401, "missing_token"},
		{"token", {.path = "/client/v2/websocket", .token = ""}, 401, "missing_token"},
		{"token", {.path = "/client/v2/websocket", .token = "g1"}, 401, "invalid_token"},
		{"token", {.path = "/gateway/websocket", .token = "c1"}, 401, "invalid_token"},
		{"key",
		 {.path = "/gateway/websocket", .token = "g1"},
		 400,
		 "invalid_connect_params"},
		{"key",
		 {.path = "/gateway/websocket", .token = "g1", .public_key = "AAAA"},
		 400,
		 "invalid_connect_params"},
		{"external_id",
		 {.path = "/client/websocket", .token = "c1", .public_key = KEY1},
		 400,
		 "invalid_connect_params"},
		{"external_id",
		 {.path = "/client/websocket",
		  .token = "c1",
		  .public_key = KEY1,
		  .external_id = long_text,
		  .user_agent = "x/1 headless-client/1.5.0"},
		 400,
		 "invalid_connect_params"},
		{"name",
		 {.path = "/client/websocket",
		  .token = "c1",
		  .public_key = KEY1,
		  .external_id = "e",
		  .name = long_text,
		  .user_agent = "x/1 headless-client/1.5.0"},
		 400,
		 "invalid_connect_params"},
		{"agent",
		 {.path = "/client/websocket",
		  .token = "c1",
		  .public_key = KEY1,
		  .external_id = "e",
		  .user_agent = "curl/8"},
		 400,
		 "invalid_connect_params"},
	};

	memset(long_text, 'x', 256);
	long_text[256] = '\0';
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct problem problem = {};

		assert_int_equal(portal_admit(f->portal, &cases[i].r, f->now, &problem), -EACCES);
		assert_int_equal(problem.status, cases[i].status);
		if (cases[i].code != NULL)
			assert_string_equal(problem.code, cases[i].code);
		assert_null(portal_connect(f->portal, &cases[i].r, f->now, &problem));
	}
}

static void test_framing(void **state)
{
	struct fixture *f = *state;
	const struct connect_request r = client_request("c1", "device");
	struct channel *ch = connect_peer(f, &r);

	// Heartbeats before the join, the official join byte for byte, refs of any JSON type.
	send_text(
		f, ch, "{\"topic\":\"phoenix\",\"event\":\"heartbeat\",\"payload\":{},\"ref\":7}");
	expect_text(
		ch,
		"{\"topic\":\"phoenix\",\"event\":\"phx_reply\","
		"\"payload\":{\"status\":\"ok\",\"response\":{}},\"ref\":7}");
	send_text(
		f,
		ch,
		"{\"topic\":\"client\",\"event\":\"no_relays\",\"payload\":{},\"ref\":\"a\"}");
	expect_text(
		ch,
		"{\"topic\":\"client\",\"event\":\"phx_reply\",\"payload\":{\"status\":\"error\","
		"\"response\":{\"reason\":\"unmatched topic\"}},\"ref\":\"a\"}");
	send_text(
		f,
		ch,
		"{\"topic\":\"gateway\",\"event\":\"phx_join\",\"payload\":null,\"ref\":null}");
	expect_text(
		ch,
		"{\"topic\":\"gateway\",\"event\":\"phx_reply\",\"payload\":{\"status\":\"error\","
		"\"response\":{\"reason\":\"unmatched topic\"}},\"ref\":null}");
	send_text(
		f, ch, "{\"topic\":\"client\",\"event\":\"phx_join\",\"payload\":null,\"ref\":0}");
	expect_text(
		ch,
		"{\"topic\":\"client\",\"event\":\"phx_reply\","
		"\"payload\":{\"status\":\"ok\",\"response\":{}},\"ref\":0}");
	expect_event(ch, "init");
	send_event(f, ch, "client", "set_snownet_capabilities", "{\"iceless\":true}");
	expect_nothing(ch);
	send_event(f, ch, "client", "no_relays", "{}");
	expect_text(
		ch,
		"{\"topic\":\"client\",\"event\":\"relays_presence\","
		"\"payload\":{\"disconnected_ids\":[],\"connected\":[]},\"ref\":null}");
	send_event(f, ch, "client", "phx_leave", "{}");
	expect_event(ch, "phx_reply");
	expect_event(ch, "phx_close");
	send_event(f, ch, "client", "no_relays", "{}");
	expect_event(ch, "phx_reply");
}

static void test_malformed(void **state)
{
	static const char *const cases[] = {
		"",
		"x",
		"[]",
		"null",
		"{}",
		"{\"topic\":\"client\",\"event\":\"phx_join\",\"payload\":null}",
		"{\"topic\":\"client\",\"event\":\"phx_join\",\"ref\":0}",
		"{\"topic\":null,\"event\":\"phx_join\",\"payload\":null,\"ref\":0}",
		"{\"topic\":\"client\",\"event\":1,\"payload\":null,\"ref\":0}",
		"{\"topic\":\"client\",\"event\":\"\xff\",\"payload\":null,\"ref\":0}",
		"{\"topic\":\"client\",\"event\":\"phx_join\",\"payload\":null,\"ref\":0}x",
	};
	struct fixture *f = *state;
	const struct connect_request r = client_request("c1", "device");

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct channel *ch = connect_peer(f, &r);

		send_text(f, ch, cases[i]);
		assert_int_equal(channel_close_code(ch), 1011);
		expect_nothing(ch);
		assert_ptr_equal(portal_dirty_pop(f->portal), ch);
		channel_destroy(ch, f->now);
	}
}

// Events with a payload that is not theirs, on both sides.
static void test_unknown_messages(void **state)
{
	static const struct {
		bool is_gateway;
		const char *event;
		const char *payload;
	} cases[] = {
		{false, "dance", "{}"},
		{false,
		 "create_flow",
		 "{\"resource_id\":\"" WEB "\",\"connected_gateway_ids\":[]}"},
		{false, "request_authorization", "null"},
		{false, "request_authorization", "{}"},
		{false, "request_authorization", "{\"resource_id\":1}"},
		{false, "request_authorization", "{\"resource_id\":\"web\"}"},
		{false,
		 "request_authorization",
		 "{\"resource_id\":\"" WEB "\",\"connected_gateway_ids\":[1]}"},
		{false,
		 "request_authorization",
		 "{\"resource_id\":\"" WEB "\",\"connected_gateway_ids\":{}}"},
		{false, "new_gateway_ice_candidates", "[]"},
		{false, "new_gateway_ice_candidates", "{\"gateway_id\":\"" GW1 "\"}"},
		{false,
		 "new_gateway_ice_candidates",
		 "{\"gateway_id\":\"" GW1 "\",\"candidates\":[null]}"},
		{false, "new_gateway_ice_candidates", "{\"gateway_id\":5,\"candidates\":[]}"},
		{false, "broadcast_ice_candidates", "{\"gateway_ids\":[5],\"candidates\":[]}"},
		{false, "set_snownet_capabilities", "null"},
		{true, "flow_authorized", "{\"ref\":\"x\"}"},
		{true, "authorization_created", "{}"},
		{true, "authorization_created", "{\"ref\":null}"},
		{true, "broadcast_ice_candidates", "{\"client_ids\":\"x\",\"candidates\":[]}"},
		{true, "broadcast_ice_candidates", "{\"client_ids\":[]}"},
		{true, "request_authorization", "{\"resource_id\":\"" WEB "\"}"},
	};
	struct fixture *f = *state;
	struct channel *client = join_client(f);
	struct channel *gateway = join_gateway(f, "g1");

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct channel *ch = cases[i].is_gateway ? gateway : client;
		json_t *reply;

		send_event(
			f,
			ch,
			cases[i].is_gateway ? "gateway" : "client",
			cases[i].event,
			"%s",
			cases[i].payload);
		reply = expect(ch, "phx_reply");
		assert_string_equal(text_of(reply, "status"), "error");
		assert_string_equal(
			text_of(json_object_get(reply, "response"), "reason"), "unknown_message");
		json_decref(reply);
		expect_nothing(client);
		expect_nothing(gateway);
		assert_int_equal(channel_close_code(ch), 0);
	}
}

static void test_client_init(void **state)
{
	struct fixture *f = *state;
	const struct connect_request r = client_request("c1", "device");
	struct channel *ch = connect_peer(f, &r);
	json_t *init;
	json_t *resources;
	json_t *dns;

	send_event(f, ch, "client", "phx_join", "{}");
	expect_event(ch, "phx_reply");
	init = expect(ch, "init");
	resources = json_object_get(init, "resources");
	// Not the one whose policy has ended.
	assert_int_equal(json_array_size(resources), 3);
	assert_string_equal(text_of(json_array_get(resources, 0), "type"), "cidr");
	assert_string_equal(text_of(json_array_get(resources, 0), "address"), "192.0.2.1/32");
	dns = json_array_get(resources, 1);
	assert_string_equal(text_of(dns, "ip_stack"), "dual");
	assert_int_equal(json_array_size(json_object_get(dns, "filters")), 0);
	assert_true(json_is_null(json_object_get(dns, "address_description")));
	assert_null(json_object_get(dns, "gateway_groups"));
	assert_string_equal(
		text_of(json_array_get(json_object_get(dns, "sites"), 0), "name"), "lab");
	assert_int_equal(json_array_size(json_object_get(init, "relays")), 0);
	assert_int_equal(json_array_size(json_object_get(init, "authorizations")), 0);
	assert_int_equal(
		json_integer_value(json_object_get(
			json_object_get(init, "flow_logs"), "upload_interval_secs")),
		0);
	json_decref(init);
}

static void test_stable_addresses(void **state)
{
	struct fixture *f = *state;
	const struct connect_request requests[] = {
		client_request("c1", "one"),
		client_request("c1", "two"),
		client_request("c2", "one"),
		client_request("c1", "one"),
	};
	char ipv4[COUNT_OF(requests)][16];

	for (size_t i = 0; i < COUNT_OF(requests); i++) {
		struct channel *ch = connect_peer(f, &requests[i]);
		json_t *init;

		send_event(f, ch, "client", "phx_join", "null");
		expect_event(ch, "phx_reply");
		init = expect(ch, "init");
		snprintf(
			ipv4[i],
			sizeof(ipv4[i]),
			"%s",
			text_of(json_object_get(init, "interface"), "ipv4"));
		json_decref(init);
		channel_destroy(ch, f->now);
	}
	assert_string_equal(ipv4[0], ipv4[3]);
	assert_string_not_equal(ipv4[0], ipv4[1]);
	assert_string_not_equal(ipv4[0], ipv4[2]);
	assert_string_not_equal(ipv4[1], ipv4[2]);
}

static void test_authorization(void **state)
{
	struct fixture *f = *state;
	struct channel *client = join_client(f);
	struct channel *gateway = join_gateway(f, "g1");
	json_t *asked;
	json_t *answered;
	json_t *again;

	request(f, client, WEB);
	expect_nothing(client);
	asked = expect(gateway, "create_authorization");
	assert_int_equal(json_integer_value(json_object_get(asked, "expires_at")), T0 + 600);
	assert_string_equal(text_of(json_object_get(asked, "resource"), "address"), "192.0.2.1/32");
	assert_null(json_object_get(json_object_get(asked, "resource"), "sites"));
	assert_string_equal(text_of(json_object_get(asked, "client"), "device_os_name"), "Ubuntu");
	assert_string_equal(text_of(json_object_get(asked, "subject"), "actor_name"), "alice");
	answer(f, gateway, asked);
	answered = expect(client, "authorization_created");
	assert_string_equal(text_of(answered, "gateway_id"), GW1);
	assert_string_equal(text_of(answered, "gateway_public_key"), KEY2);
	assert_string_equal(
		text_of(answered, "preshared_key"),
		text_of(json_object_get(asked, "client"), "preshared_key"));
	assert_true(json_equal(
		json_object_get(asked, "gateway_ice_credentials"),
		json_object_get(answered, "gateway_ice_credentials")));
	// The same two processes get the same secrets for another resource.
	again = authorize(f, client, gateway, WIKI);
	assert_string_equal(text_of(again, "preshared_key"), text_of(answered, "preshared_key"));
	assert_true(json_equal(
		json_object_get(again, "client_ice_credentials"),
		json_object_get(answered, "client_ice_credentials")));
	// Answering twice changes nothing.
	answer(f, gateway, asked);
	expect_nothing(client);
	json_decref(again);
	json_decref(answered);
	json_decref(asked);
}

static void test_ingest_token(void **state)
{
	static const char *const claims[] = {
		"account_id",
		"role",
		"initiator_device_id",
		"responder_device_id",
		"policy_authorization_id",
		"policy_id",
		"resource_id",
		"resource_name",
		"initiator_actor_id",
		"initiator_actor_name",
		"authorized_at",
		"authorization_expires_at",
	};
	struct fixture *f = *state;
	struct channel *client = join_client(f);
	struct channel *gateway = join_gateway(f, "g1");
	json_t *answered = authorize(f, client, gateway, WEB);
	const char *body = strchr(text_of(answered, "flow_logs_ingest_token"), '.') + 1;
	unsigned char text[4096];
	size_t size;
	json_t *json;

	assert_int_equal(
		sodium_base642bin(
			text,
			sizeof(text),
			body,
			strcspn(body, "."),
			NULL,
			&size,
			NULL,
			sodium_base64_VARIANT_URLSAFE_NO_PADDING),
		0);
	json = json_loadb((char *)text, size, 0, NULL);
	for (size_t i = 0; i < COUNT_OF(claims); i++)
		assert_non_null(text_of(json, claims[i]));
	assert_string_equal(text_of(json, "role"), "initiator");
	assert_string_equal(text_of(json, "authorized_at"), "1970-01-12T13:46:40Z");
	assert_true(json_is_false(json_object_get(json, "uploads_enabled")));
	assert_int_equal(
		json_integer_value(json_object_get(json, "exp")), T0 + 600 + 30 * 24 * 3600);
	json_decref(json);
	json_decref(answered);
}

static void test_failures(void **state)
{
	struct fixture *f = *state;
	struct channel *client = join_client(f);
	struct connect_request old = gateway_request("g1");
	struct channel *gateway;

	request(f, client, "66666666-6666-4666-8666-666666666666");
	expect_failure(client, "66666666-6666-4666-8666-666666666666", "not_found");
	request(f, client, LOST);
	expect_failure(client, LOST, "forbidden");
	request(f, client, WEB);
	expect_failure(client, WEB, "offline");
	old.user_agent = "x/1 gateway/1.3.0";
	gateway = join(f, &old);
	request(f, client, WEB);
	expect_failure(client, WEB, "version_mismatch");
	// A gateway of another site does not help.
	request(f, client, FAR);
	expect_failure(client, FAR, "offline");
	expect_nothing(gateway);
}

static void test_choice_of_gateway(void **state)
{
	struct fixture *f = *state;
	struct channel *client = join_client(f);
	struct channel *gateways[] = {join_gateway(f, "g1"), join_gateway(f, "g2")};
	const char *const ids[] = {GW1, GW2};
	unsigned n_asked[2] = {};

	for (size_t i = 0; i < 2; i++) {
		for (unsigned round = 0; round < 20; round++) {
			send_event(
				f,
				client,
				"client",
				"request_authorization",
				"{\"resource_id\":\"" WEB "\",\"connected_gateway_ids\":[\"%s\"]}",
				ids[i]);
			expect_event(gateways[i], "create_authorization");
			expect_nothing(gateways[1 - i]);
		}
	}
	for (unsigned round = 0; round < 40; round++) {
		struct frame *frame;

		request(f, client, WEB);
		for (size_t i = 0; i < 2; i++) {
			frame = channel_frame_pop(gateways[i]);
			n_asked[i] += frame != NULL;
			free(frame);
		}
	}
	assert_int_equal(n_asked[0] + n_asked[1], 40);
	assert_in_range(n_asked[0], 1, 39);
}

static void test_timeout(void **state)
{
	struct fixture *f = *state;
	struct channel *client = join_client(f);
	struct channel *gateway = join_gateway(f, "g1");
	json_t *asked;

	request(f, client, WEB);
	asked = expect(gateway, "create_authorization");
	assert_int_equal(portal_next_deadline(f->portal, f->now), f->now.mono_ms + 15000);
	pass(f, 14999);
	expect_nothing(client);
	pass(f, 1);
	expect_failure(client, WEB, "offline");
	// Too late: acknowledged, ignored.
	answer(f, gateway, asked);
	expect_nothing(client);
	send_event(f, gateway, "gateway", "authorization_created", "{\"ref\":\"forged\"}");
	json_decref(asked);
	asked = expect(gateway, "phx_reply");
	assert_string_equal(text_of(json_object_get(asked, "response"), "reason"), "invalid_ref");
	json_decref(asked);
}

static void test_newer_request_replaces(void **state)
{
	struct fixture *f = *state;
	struct channel *client = join_client(f);
	struct channel *gateway = join_gateway(f, "g1");
	json_t *first;
	json_t *second;

	request(f, client, WEB);
	first = expect(gateway, "create_authorization");
	pass(f, 10000);
	request(f, client, WEB);
	second = expect(gateway, "create_authorization");
	pass(f, 10000);
	expect_nothing(client);
	answer(f, gateway, first);
	expect_nothing(client);
	answer(f, gateway, second);
	expect_event(client, "authorization_created");
	pass(f, 20000);
	expect_nothing(client);
	json_decref(first);
	json_decref(second);
}

static void test_peers_leave(void **state)
{
	struct fixture *f = *state;
	struct channel *client = join_client(f);
	struct channel *gateway = join_gateway(f, "g1");
	json_t *asked;

	request(f, client, WEB);
	expect_event(gateway, "create_authorization");
	channel_destroy(gateway, f->now);
	expect_failure(client, WEB, "offline");
	gateway = join_gateway(f, "g1");
	request(f, client, WEB);
	asked = expect(gateway, "create_authorization");
	channel_destroy(client, f->now);
	answer(f, gateway, asked);
	pass(f, 20000);
	json_decref(asked);
}

static void test_candidates(void **state)
{
	static const struct {
		bool from_gateway;
		const char *sent;
		const char *received;
	} cases[] = {
		{false, "new_gateway_ice_candidates", "ice_candidates"},
		{false, "broadcast_ice_candidates", "ice_candidates"},
		{false, "invalidate_gateway_ice_candidates", "invalidate_ice_candidates"},
		{false, "broadcast_invalidated_ice_candidates", "invalidate_ice_candidates"},
		{true, "broadcast_ice_candidates", "ice_candidates"},
		{true, "broadcast_invalidated_ice_candidates", "invalidate_ice_candidates"},
	};
	struct fixture *f = *state;
	struct channel *client = join_client(f);
	struct channel *gateway = join_gateway(f, "g1");
	json_t *asked;
	char client_id[40];

	request(f, client, WEB);
	asked = expect(gateway, "create_authorization");
	snprintf(
		client_id,
		sizeof(client_id),
		"%s",
		text_of(json_object_get(asked, "client"), "id"));
	answer(f, gateway, asked);
	json_decref(asked);
	expect_event(client, "authorization_created");
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		const bool from_gateway = cases[i].from_gateway;
		const bool is_one = strncmp(cases[i].sent, "broadcast", 9) != 0;
		json_t *got;

		send_event(
			f,
			from_gateway ? gateway : client,
			from_gateway ? "gateway" : "client",
			cases[i].sent,
			is_one ? "{\"%s\":\"%s\",\"candidates\":[\"candidate:1\",\"x\"]}"
			       : "{\"%ss\":[\"%s\",\"" LOST "\",\"junk\"],"
				 "\"candidates\":[\"candidate:1\",\"x\"]}",
			from_gateway ? "client_id" : "gateway_id",
			from_gateway ? client_id : GW1);
		got = expect(from_gateway ? client : gateway, cases[i].received);
		assert_string_equal(
			text_of(got, from_gateway ? "gateway_id" : "client_id"),
			from_gateway ? GW1 : client_id);
		assert_int_equal(json_array_size(json_object_get(got, "candidates")), 2);
		json_decref(got);
		expect_nothing(client);
		expect_nothing(gateway);
	}
}

static void test_gateway_twice(void **state)
{
	struct fixture *f = *state;
	const struct connect_request r = gateway_request("g1");
	struct channel *first = connect_peer(f, &r);
	struct channel *second = connect_peer(f, &r);
	struct problem problem;
	json_t *payload;

	// Neither had joined when both connected: the first to join stays.
	send_event(f, first, "gateway", "phx_join", "null");
	expect_event(first, "phx_reply");
	expect_event(first, "init");
	send_event(f, second, "gateway", "phx_join", "null");
	payload = expect(second, "disconnect");
	assert_string_equal(text_of(payload, "reason"), "token_expired");
	json_decref(payload);
	assert_int_not_equal(channel_close_code(second), 0);
	assert_int_equal(portal_admit(f->portal, &r, f->now, &problem), -EACCES);
	assert_int_equal(problem.status, 409);
	assert_string_equal(problem.code, "gateway_already_connected");
	channel_destroy(second, f->now);
	channel_destroy(first, f->now);
	assert_int_equal(portal_admit(f->portal, &r, f->now, &problem), 0);
}

static void test_client_twice(void **state)
{
	struct fixture *f = *state;
	struct channel *first = join_client(f);
	struct channel *gateway = join_gateway(f, "g1");
	struct channel *second;
	json_t *payload;

	request(f, first, WEB);
	expect_event(gateway, "create_authorization");
	second = join_client(f);
	payload = expect(first, "disconnect");
	assert_string_equal(text_of(payload, "reason"), "token_expired");
	json_decref(payload);
	assert_int_not_equal(channel_close_code(first), 0);
	channel_destroy(first, f->now);
	// The device is the second's now.
	json_decref(authorize(f, second, gateway, WEB));
}

static void test_rejoin_of_gateway(void **state)
{
	struct fixture *f = *state;
	struct channel *client = join_client(f);
	struct channel *gateway = join_gateway(f, "g1");
	const struct connect_request r = gateway_request("g1");
	json_t *init;
	json_t *list;

	json_decref(authorize(f, client, gateway, WEB));
	json_decref(authorize(f, client, gateway, WIKI));
	json_decref(authorize(f, client, gateway, WEB));
	channel_destroy(gateway, f->now);
	pass(f, 599000);
	gateway = connect_peer(f, &r);
	send_event(f, gateway, "gateway", "phx_join", "null");
	expect_event(gateway, "phx_reply");
	init = expect(gateway, "init");
	assert_int_equal(json_array_size(json_object_get(init, "authorizations")), 2);
	json_decref(init);
	channel_destroy(gateway, f->now);
	// One has expired; the other's policy ends at T0 + 1800.
	pass(f, 1000);
	gateway = connect_peer(f, &r);
	send_event(f, gateway, "gateway", "phx_join", "null");
	expect_event(gateway, "phx_reply");
	init = expect(gateway, "init");
	list = json_object_get(init, "authorizations");
	assert_int_equal(json_array_size(list), 1);
	assert_string_equal(text_of(json_array_get(list, 0), "resource_id"), WIKI);
	json_decref(init);
}

// A portal that starts anew with @p from replaced by @p to in its policy; all peers are gone.
static void restart(struct fixture *f, const char *from, const char *to)
{
	const char *at = strstr(policy_text, from);
	char text[sizeof(policy_text) + 64];
	char *error = NULL;
	struct policy *policy;
	int size;

	assert_non_null(at);
	size = snprintf(
		text,
		sizeof(text),
		"%.*s%s%s",
		(int)(at - policy_text),
		policy_text,
		to,
		at + strlen(from));
	policy = policy_parse("p", text, (size_t)size, &error);
	assert_non_null(policy);
	portal_destroy(f->portal);
	f->portal = portal_create(policy, f->store, counter, f->now);
	f->ctl.portal = f->portal;
}

static void expect_listed(struct fixture *f, const char *const *resources)
{
	const struct connect_request r = gateway_request("g1");
	struct channel *gateway = connect_peer(f, &r);
	size_t n = 0;
	json_t *init;
	json_t *list;

	send_event(f, gateway, "gateway", "phx_join", "null");
	expect_event(gateway, "phx_reply");
	init = expect(gateway, "init");
	list = json_object_get(init, "authorizations");
	for (; resources[n] != NULL; n++) {
		bool is_found = false;

		for (size_t i = 0; i < json_array_size(list); i++)
			is_found |= strcmp(text_of(json_array_get(list, i), "resource_id"),
					   resources[n])
				== 0;
		assert_true(is_found);
	}
	assert_int_equal(json_array_size(list), n);
	json_decref(init);
	channel_destroy(gateway, f->now);
}

// A gateway lets go of whatever a portal does not list when it is back.
static void test_restart(void **state)
{
	static const char *const both[] = {WEB, WIKI, NULL};
	static const char *const web[] = {WEB, NULL};
	static const char *const wiki[] = {WIKI, NULL};
	static const struct {
		const char *from;
		const char *to;
		const char *const *listed;
	} cases[] = {
		{"account", "account", both},
		{"tcp: 80", "tcp: 81", both},
		{"wiki.example.com", "wiki2.example.com", web},
		{"1970-01-12T14:16:40Z", "1970-01-12T14:16:41Z", web},
		{"members: [alice, bob]", "members: [bob]", wiki},
		{"token: c1", "token: c9", both},
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct channel *client;
		struct channel *gateway;

		client = join_client(f);
		gateway = join_gateway(f, "g1");
		json_decref(authorize(f, client, gateway, WEB));
		json_decref(authorize(f, client, gateway, WIKI));
		restart(f, cases[i].from, cases[i].to);
		expect_listed(f, cases[i].listed);
		// What ended stays so, also when the policy is as it was.
		restart(f, "account", "account");
		expect_listed(f, cases[i].listed);
	}
	pass(f, 601000);
	restart(f, "account", "account");
	expect_listed(f, wiki);
}

static void test_policy_ends(void **state)
{
	struct fixture *f = *state;
	struct channel *client = join_client(f);
	struct channel *gateway = join_gateway(f, "g1");
	const struct connect_request r = client_request("c2", "bob's");
	struct channel *bob = join(f, &r);
	json_t *payload;

	json_decref(authorize(f, client, gateway, WIKI));
	// bob's token ends at T0 + 100.
	pass(f, 100000);
	payload = expect(bob, "disconnect");
	json_decref(payload);
	expect_nothing(client);
	pass(f, 1700000);
	payload = expect(client, "resource_deleted");
	assert_string_equal(json_string_value(payload), WIKI);
	json_decref(payload);
	// The gateway ends it by itself.
	expect_nothing(gateway);
	request(f, client, WIKI);
	expect_failure(client, WIKI, "forbidden");
}

static void test_revoke_and_grant(void **state)
{
	struct fixture *f = *state;
	struct channel *client = join_client(f);
	struct channel *gateway = join_gateway(f, "g1");
	json_t *payload;

	json_decref(authorize(f, client, gateway, WEB));
	json_decref(authorize(f, client, gateway, WIKI));
	command_ok(f, "{\"command\":\"revoke\",\"args\":[\"alice\",\"web\"]}");
	expect_reject(gateway, WEB);
	payload = expect(client, "resource_deleted");
	assert_string_equal(json_string_value(payload), WEB);
	json_decref(payload);
	expect_nothing(client);
	expect_nothing(gateway);
	request(f, client, WEB);
	expect_failure(client, WEB, "not_found");
	command_ok(f, "{\"command\":\"grant\",\"args\":[\"alice\",\"" WEB "\"]}");
	expect_event(client, "resource_created_or_updated");
	json_decref(authorize(f, client, gateway, WEB));
}

static void test_reject(void **state)
{
	struct fixture *f = *state;
	struct channel *client = join_client(f);
	struct channel *gateway = join_gateway(f, "g1");
	json_t *reply;

	json_decref(authorize(f, client, gateway, WEB));
	command_ok(f, "{\"command\":\"reject\",\"args\":[\"alice\",\"web\"]}");
	expect_reject(gateway, WEB);
	expect_nothing(client);
	reply = command(f, "{\"command\":\"reject\",\"args\":[\"alice\",\"web\"]}");
	assert_string_equal(text_of(reply, "error"), "alice has no authorization for web");
	json_decref(reply);
	json_decref(authorize(f, client, gateway, WEB));
}

// A revocation while the gateway is being asked must not end in an authorization.
static void test_revoke_while_pending(void **state)
{
	struct fixture *f = *state;
	struct channel *client = join_client(f);
	struct channel *gateway = join_gateway(f, "g1");
	json_t *asked;

	request(f, client, WEB);
	asked = expect(gateway, "create_authorization");
	command_ok(f, "{\"command\":\"revoke\",\"args\":[\"alice\",\"web\"]}");
	expect_reject(gateway, WEB);
	expect_event(client, "resource_deleted");
	answer(f, gateway, asked);
	pass(f, 20000);
	expect_nothing(client);
	json_decref(asked);
}

static void test_set_filters(void **state)
{
	struct fixture *f = *state;
	struct channel *client = join_client(f);
	const struct connect_request r = client_request("c2", "bob's");
	struct channel *bob = join(f, &r);
	struct channel *gateway = join_gateway(f, "g1");
	struct channel *other = join_gateway(f, "g2");
	json_t *payload;

	send_event(
		f,
		client,
		"client",
		"request_authorization",
		"{\"resource_id\":\"" WIKI "\",\"connected_gateway_ids\":[\"" GW1 "\"]}");
	expect_event(gateway, "create_authorization");
	command_ok(f, "{\"command\":\"set-filters\",\"args\":[\"wiki\",\"tcp:1-2\",\"icmp\"]}");
	payload = expect(gateway, "resource_updated");
	assert_string_equal(text_of(payload, "id"), WIKI);
	assert_int_equal(json_array_size(json_object_get(payload, "filters")), 2);
	json_decref(payload);
	expect_event(other, "resource_updated");
	expect_event(client, "resource_created_or_updated");
	expect_nothing(bob);
	// No revocation.
	expect_nothing(gateway);
	command_ok(f, "{\"command\":\"set-filters\",\"args\":[\"wiki\",\"tcp:1-2 icmp\"]}");
	expect_nothing(gateway);
	expect_nothing(client);
}

static void test_delete_token(void **state)
{
	static const struct {
		const char *name;
		bool is_gateway;
	} cases[] = {{"gw1", true}, {"alice", false}};
	struct fixture *f = *state;

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		const struct connect_request r = cases[i].is_gateway
			? gateway_request("g1")
			: client_request("c1", "device");
		struct channel *ch = join(f, &r);
		struct problem problem;
		char text[128];
		json_t *payload;

		snprintf(
			text,
			sizeof(text),
			"{\"command\":\"delete-token\",\"args\":[\"%s\"]}",
			cases[i].name);
		command_ok(f, text);
		payload = expect(ch, "disconnect");
		assert_string_equal(text_of(payload, "reason"), "token_expired");
		json_decref(payload);
		expect_event(ch, "phx_close");
		assert_int_equal(channel_close_code(ch), 1001);
		channel_destroy(ch, f->now);
		assert_int_equal(portal_admit(f->portal, &r, f->now, &problem), -EACCES);
		assert_string_equal(problem.code, "invalid_token");
		payload = command(f, text);
		assert_true(json_is_false(json_object_get(payload, "ok")));
		json_decref(payload);
	}
}

// What a changed file means; each line replaces a text of the policy.
static void test_publish(void **state)
{
	static const struct {
		const char *from;
		const char *to;
		const char *gateway_events; // space-separated
		const char *client_events;
	} cases[] = {
		{"192.0.2.1", "192.0.2.2", "reject_access", "resource_created_or_updated"},
		{"tcp: 80", "tcp: 81", "resource_updated", "resource_created_or_updated"},
		{"name: web,", "name: www,", "", "resource_created_or_updated"},
		{"lifetime: 600", "lifetime: 601", "reject_access", ""},
		{"members: [alice, bob]", "members: [bob]", "reject_access", "resource_deleted"},
		{"token: c1", "token: c9", "", "disconnect phx_close"},
		{"token: g1", "token: g9", "disconnect phx_close", ""},
		{"account: acme", "account: acme2", "reject_access init", "disconnect phx_close"},
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		void *fresh;
		const char *at = strstr(policy_text, cases[i].from);
		char text[sizeof(policy_text) + 64];
		char *error = NULL;
		struct channel *channels[2];
		struct policy *policy;

		snprintf(
			text,
			sizeof(text),
			"%.*s%s%s",
			(int)(at - policy_text),
			policy_text,
			cases[i].to,
			at + strlen(cases[i].from));
		if (strcmp(cases[i].to, "name: www,") == 0)
			memcpy(strstr(text, "resource: web"), "resource: www", 13);
		setup(&fresh);
		f = fresh;
		channels[0] = join_gateway(f, "g1");
		channels[1] = join_client(f);
		json_decref(authorize(f, channels[1], channels[0], WEB));
		policy = policy_parse("p", text, strlen(text), &error);
		assert_null(error);
		portal_publish(f->portal, policy, f->now);
		for (size_t side = 0; side < 2; side++) {
			char events[128];
			char *rest = NULL;

			snprintf(
				events,
				sizeof(events),
				"%s",
				side == 0 ? cases[i].gateway_events : cases[i].client_events);
			for (char *e = strtok_r(events, " ", &rest); e != NULL;
			     e = strtok_r(NULL, " ", &rest))
				expect_event(channels[side], e);
			expect_nothing(channels[side]);
		}
		teardown(&fresh);
	}
}

static void test_command_errors(void **state)
{
	static const struct {
		const char *text;
		const char *error;
	} cases[] = {
		{"", "expected a JSON object with \"command\""},
		{"[]", "expected a JSON object with \"command\""},
		{"{\"command\":1}", "expected a JSON object with \"command\""},
		{"{\"command\":\"dance\"}", "unknown command \"dance\""},
		{"{\"command\":\"grant\",\"args\":[\"alice\"]}",
		 "usage: grant <client> <resource> [--expires SECONDS] [--lifetime SECONDS]"},
		{"{\"command\":\"grant\",\"args\":[\"alice\",1]}",
		 "\"args\" holds something else than text"},
		{"{\"command\":\"grant\",\"args\":[\"eve\",\"web\"]}",
		 "there is no client \"eve\""},
		{"{\"command\":\"grant\",\"args\":[\"alice\",\"x\"]}",
		 "there is no resource \"x\""},
		{"{\"command\":\"grant\",\"args\":[\"alice\",\"web\"],\"options\":{\"expires\":\"-"
		 "1\"}}",
		 "--expires: \"-1\" is not a number of seconds"},
		{"{\"command\":\"grant\",\"args\":[\"alice\",\"web\"],\"options\":{\"expires\":5}}",
		 "--expires: expected text"},
		{"{\"command\":\"revoke\",\"args\":[\"alice\",\"web\"],\"options\":{\"now\":\"1\"}"
		 "}",
		 "unknown option --now"},
		{"{\"command\":\"status\",\"options\":[]}", "\"options\" is not an object"},
		{"{\"command\":\"revoke\",\"args\":[\"bob\",\"wiki\"]}",
		 "bob has no access to wiki"},
		{"{\"command\":\"set-filters\",\"args\":[\"web\",\"\"]}",
		 "expected filters like \"tcp:80,443 icmp\", or \"any\" alone"},
		{"{\"command\":\"set-filters\",\"args\":[\"web\",\"[{}\"]}",
		 "expected a JSON array of filters"},
		{"{\"command\":\"delete-token\",\"args\":[\"x\"]}",
		 "there is no gateway, client or relay \"x\""},
		{"{\"command\":\"reload\"}", "/nonexistent: No such file or directory"},
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		json_t *reply = command(f, cases[i].text);

		assert_true(json_is_false(json_object_get(reply, "ok")));
		assert_string_equal(text_of(reply, "error"), cases[i].error);
		json_decref(reply);
	}
}

static void test_slow_peer(void **state)
{
	struct fixture *f = *state;
	struct channel *client = join_client(f);

	char text[4096];

	snprintf(
		text,
		sizeof(text),
		"{\"topic\":\"phoenix\",\"event\":\"heartbeat\",\"payload\":{},\"ref\":\"%"
		"03900d\"}",
		0);
	for (unsigned i = 0; i < 10000 && channel_close_code(client) == 0; i++)
		send_text(f, client, text);
	assert_int_not_equal(channel_close_code(client), 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	static const struct CMUnitTest tests[] = {
		TEST(test_refusals),
		TEST(test_framing),
		TEST(test_malformed),
		TEST(test_unknown_messages),
		TEST(test_client_init),
		TEST(test_stable_addresses),
		TEST(test_authorization),
		TEST(test_ingest_token),
		TEST(test_failures),
		TEST(test_choice_of_gateway),
		TEST(test_timeout),
		TEST(test_newer_request_replaces),
		TEST(test_peers_leave),
		TEST(test_candidates),
		TEST(test_gateway_twice),
		TEST(test_client_twice),
		TEST(test_rejoin_of_gateway),
		TEST(test_restart),
		TEST(test_policy_ends),
		TEST(test_revoke_and_grant),
		TEST(test_reject),
		TEST(test_revoke_while_pending),
		TEST(test_set_filters),
		TEST(test_delete_token),
		TEST(test_publish),
		TEST(test_command_errors),
		TEST(test_slow_peer),
	};

	return sodium_init() < 0 ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
