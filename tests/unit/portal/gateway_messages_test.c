// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "control/portal/gateway_messages.h"
#include "tests/unit/portal/matrix.h"
#include "tests/unit/unit.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define CLIENT_ID "3abd725a-733b-4801-ac16-72f26cd98a24"
#define RESOURCE_ID "c7793628-8579-465b-83e3-1a5d4af4db3b"
#define RELAY_ID "0a133356-7a9e-4b9a-b413-0d95a5720fd8"

static const char init_json[] =
	"{\"interface\":{\"ipv4\":\"100.115.164.78\",\"ipv6\":\"fd00:2021:1111::2c:f6ab\"},"
	"\"config\":{\"ipv4_masquerade_enabled\":true,\"ipv6_masquerade_enabled\":true},"
	"\"account_slug\":\"mycorp\","
	"\"relays\":[{\"id\":\"" RELAY_ID "\",\"type\":\"turn\",\"addr\":\"172.28.0.101:3478\","
	"\"username\":\"2145916800:NWLp4ctz7rLLgXpcpv2ZaZkqDbnPeMw4snvraPYvhwQ\","
	"\"password\":\"ZWYiBeFHOJyYq0mcwAXjRpcuXIJJpzWlOXVdxwttrWg\",\"expires_at\":2145916800}],"
	"\"authorizations\":[{\"client_id\":\"" CLIENT_ID "\",\"resource_id\":\"" RESOURCE_ID "\","
	"\"expires_at\":1787300000}],"
	"\"flow_logs\":{\"api_url\":\"https://flow-api.example.com/\",\"upload_interval_secs\":60,"
	"\"upload_batch_size\":1000}}";

static const char create_json[] =
	"{\"ref\":\"SFMyNTY.g2gDbQAA\","
	"\"client\":{\"id\":\"" CLIENT_ID "\","
	"\"public_key\":\"fiAjSBWDgQfD1CFJkTwOf4zg+1QhH0eTT+oLaVIMpH8=\","
	"\"preshared_key\":\"BzPiNE9qszKczZcZzGsyieLYeJ2EQfkfdibls/l3beM=\","
	"\"ipv4\":\"100.93.74.51\",\"ipv6\":\"fd00:2021:1111::f:853b\","
	"\"version\":\"1.5.16\",\"device_os_name\":\"Windows\",\"device_os_version\":\"10.0."
	"26100\","
	"\"device_serial\":null},"
	"\"subject\":{\"actor_id\":\"24eb631e-c529-4182-a746-d99ee66f7426\",\"actor_name\":\"Jane "
	"Doe\","
	"\"actor_email\":\"jane@mycorp.com\",\"ip_lat\":39.7},"
	"\"resource\":{\"id\":\"" RESOURCE_ID "\",\"type\":\"cidr\",\"name\":\"MyCorp Network\","
	"\"address\":\"172.20.0.0/16\",\"filters\":["
	"{\"protocol\":\"tcp\",\"port_range_start\":80,\"port_range_end\":443},"
	"{\"protocol\":\"udp\"},{\"protocol\":\"icmp\"}]},"
	"\"gateway_ice_credentials\":{\"username\":\"ejqt\",\"password\":"
	"\"zfjrrjdkbci42t2axyd45a\"},"
	"\"client_ice_credentials\":{\"username\":\"hgwh\",\"password\":\"j2fqufatn7xlrrvv6fsvea\"}"
	","
	"\"expires_at\":1787300000,\"use_iceless\":false,\"flow_logs_ingest_token\":\"a.b.c\"}";

static const char reject_json[] =
	"{\"client_id\":\"" CLIENT_ID "\",\"resource_id\":\"" RESOURCE_ID "\"}";
static const char updated_json[] =
	"{\"id\":\"57f9ebbb-c1bc-4f3e-8a7c-0c9c5c8a6a4d\",\"name\":\"?.httpbin\",\"type\":\"dns\","
	"\"address\":\"?.httpbin\",\"filters\":[{\"protocol\":\"icmp\"},{\"protocol\":\"tcp\"}]}";
static const char candidates_json[] =
	"{\"client_id\":\"" CLIENT_ID "\",\"candidates\":["
	"\"candidate:7854631899965427361 1 udp 1694498559 172.28.0.100 47717 typ srflx\"]}";
static const char presence_json[] =
	"{\"disconnected_ids\":[\"" RELAY_ID "\"],\"connected\":[{\"id\":\"" RELAY_ID "\","
	"\"type\":\"turn\",\"addr\":\"[2001:db8::1]:3478\",\"username\":\"u\",\"password\":\"p\","
	"\"expires_at\":1}]}";
static const char expiry_json[] = "{\"client_id\":\"" CLIENT_ID "\",\"resource_id\":\"" RESOURCE_ID
				  "\",\"expires_at\":1787300000}";

// Parses text; the message must be good.
static struct gateway_message parsed(const char *event, const char *text)
{
	json_t *payload = matrix_load(text);
	struct portal_error err = {0};
	struct gateway_message m;
	int rc = gateway_message_parse(&m, event, payload, &err);

	if (rc != 0)
		print_error("%s\n", err.text);
	assert_int_equal(rc, 0);
	// What was parsed must not need the JSON any more.
	json_decref(payload);
	return m;
}

static int parse_and_check(const char *event, const json_t *payload, struct portal_error *err)
{
	struct gateway_message before;
	struct gateway_message m;
	int rc;

	memset(&before, 0xa5, sizeof(before));
	memcpy(&m, &before, sizeof(m));
	rc = gateway_message_parse(&m, event, payload, err);
	if (rc == 0)
		gateway_message_fini(&m);
	else
		assert_memory_equal(&m, &before, sizeof(m));
	return rc;
}

static void assert_uuid(const struct uuid *u, const char *text)
{
	char buf[UUID_TEXT_SIZE];

	assert_string_equal(uuid_format(u, buf), text);
}

static void assert_addr(const struct ip_addr *a, const char *text)
{
	char buf[IP_TEXT_SIZE];

	assert_string_equal(ip_addr_format(a, buf), text);
}

static void init_parse(void **)
{
	struct gateway_message m = parsed("init", init_json);
	char buf[IP_TEXT_SIZE];

	assert_int_equal(m.type, GATEWAY_MESSAGE_INIT);
	assert_addr(&m.init.interface.ipv4, "100.115.164.78");
	assert_addr(&m.init.interface.ipv6, "fd00:2021:1111::2c:f6ab");
	assert_string_equal(m.init.account_slug, "mycorp");
	assert_int_equal(m.init.n_relays, 1);
	assert_uuid(&m.init.relays[0].id, RELAY_ID);
	assert_int_equal(m.init.relays[0].type, PORTAL_RELAY_TURN);
	assert_string_equal(
		ip_endpoint_format(&m.init.relays[0].endpoint, buf), "172.28.0.101:3478");
	assert_string_equal(
		m.init.relays[0].username,
		"2145916800:NWLp4ctz7rLLgXpcpv2ZaZkqDbnPeMw4snvraPYvhwQ");
	assert_int_equal(m.init.relays[0].expires_at, 2145916800);
	assert_int_equal(m.init.n_authorizations, 1);
	assert_uuid(&m.init.authorizations[0].client_id, CLIENT_ID);
	assert_uuid(&m.init.authorizations[0].resource_id, RESOURCE_ID);
	assert_int_equal(m.init.authorizations[0].expires_at, 1787300000);
	assert_int_equal(m.init.flow_logs.upload_interval_secs, 60);
	gateway_message_fini(&m);

	m = parsed("init", "{\"interface\":{\"ipv4\":\"100.64.0.1/32\",\"ipv6\":\"fd00::1/128\"}}");
	assert_addr(&m.init.interface.ipv4, "100.64.0.1");
	assert_addr(&m.init.interface.ipv6, "fd00::1");
	assert_null(m.init.account_slug);
	assert_int_equal(m.init.n_relays + m.init.n_authorizations, 0);
	assert_int_equal(m.init.flow_logs.upload_interval_secs, 0);
	gateway_message_fini(&m);
}

static void create_authorization_parse(void **)
{
	static const uint8_t public_key[] = {
		0x7e, 0x20, 0x23, 0x48, 0x15, 0x83, 0x81, 0x07, 0xc3, 0xd4, 0x21,
		0x49, 0x91, 0x3c, 0x0e, 0x7f, 0x8c, 0xe0, 0xfb, 0x54, 0x21, 0x1f,
		0x47, 0x93, 0x4f, 0xea, 0x0b, 0x69, 0x52, 0x0c, 0xa4, 0x7f,
	};
	static const char *const names[] = {"create_authorization", "authorize_flow"};

	for (size_t i = 0; i < COUNT_OF(names); i++) {
		struct gateway_message m = parsed(names[i], create_json);
		const struct gateway_create_authorization *a = &m.create_authorization;
		char buf[IP_TEXT_SIZE];

		assert_int_equal(m.type, GATEWAY_MESSAGE_CREATE_AUTHORIZATION);
		assert_string_equal(a->ref, "SFMyNTY.g2gDbQAA");
		assert_uuid(&a->client.id, CLIENT_ID);
		assert_memory_equal(a->client.public_key, public_key, sizeof(public_key));
		assert_int_equal(a->client.preshared_key[0], 0x07);
		assert_int_equal(a->client.preshared_key[31], 0xe3);
		assert_addr(&a->client.ipv4, "100.93.74.51");
		assert_addr(&a->client.ipv6, "fd00:2021:1111::f:853b");
		assert_string_equal(a->client.version, "1.5.16");
		assert_string_equal(a->subject.actor_email, "jane@mycorp.com");
		assert_int_equal(a->resource.type, PORTAL_RESOURCE_CIDR);
		assert_string_equal(a->resource.name, "MyCorp Network");
		assert_string_equal(ip_prefix_format(&a->resource.prefix, buf), "172.20.0.0/16");
		assert_int_equal(a->resource.n_filters, 3);
		assert_int_equal(a->resource.filters[0].protocol, PORTAL_PROTOCOL_TCP);
		assert_int_equal(a->resource.filters[0].port_first, 80);
		assert_int_equal(a->resource.filters[0].port_last, 443);
		assert_int_equal(a->resource.filters[1].protocol, PORTAL_PROTOCOL_UDP);
		assert_int_equal(a->resource.filters[1].port_first, 0);
		assert_int_equal(a->resource.filters[1].port_last, 65535);
		assert_int_equal(a->resource.filters[2].protocol, PORTAL_PROTOCOL_ICMP);
		assert_string_equal(a->gateway_ice.username, "ejqt");
		assert_string_equal(a->gateway_ice.password, "zfjrrjdkbci42t2axyd45a");
		assert_string_equal(a->client_ice.username, "hgwh");
		assert_int_equal(a->expires_at, 1787300000);
		assert_false(a->use_iceless);
		assert_string_equal(a->ingest_token, "a.b.c");
		gateway_message_fini(&m);
	}
}

static void small_messages_parse(void **)
{
	struct gateway_message m = parsed("reject_access", reject_json);
	char buf[IP_TEXT_SIZE];

	assert_uuid(&m.reject_access.client_id, CLIENT_ID);
	assert_uuid(&m.reject_access.resource_id, RESOURCE_ID);
	gateway_message_fini(&m);

	m = parsed("resource_updated", updated_json);
	assert_int_equal(m.resource_updated.type, PORTAL_RESOURCE_DNS);
	assert_string_equal(m.resource_updated.pattern, "?.httpbin");
	assert_int_equal(m.resource_updated.n_filters, 2);
	assert_int_equal(m.resource_updated.filters[1].port_last, 65535);
	gateway_message_fini(&m);

	m = parsed("resource_updated", "{\"id\":\"" RESOURCE_ID "\",\"type\":\"internet\"}");
	assert_int_equal(m.resource_updated.type, PORTAL_RESOURCE_INTERNET);
	assert_null(m.resource_updated.name);
	gateway_message_fini(&m);

	m = parsed("ice_candidates", candidates_json);
	assert_int_equal(m.type, GATEWAY_MESSAGE_ICE_CANDIDATES);
	assert_int_equal(m.candidates.n_lines, 1);
	gateway_message_fini(&m);
	m = parsed("invalidate_ice_candidates", candidates_json);
	assert_int_equal(m.type, GATEWAY_MESSAGE_INVALIDATE_ICE_CANDIDATES);
	assert_uuid(&m.candidates.peer_id, CLIENT_ID);
	gateway_message_fini(&m);

	m = parsed("relays_presence", presence_json);
	assert_int_equal(m.relays_presence.n_disconnected_ids, 1);
	assert_uuid(&m.relays_presence.disconnected_ids[0], RELAY_ID);
	assert_string_equal(
		ip_endpoint_format(&m.relays_presence.connected[0].endpoint, buf),
		"[2001:db8::1]:3478");
	gateway_message_fini(&m);

	m = parsed("access_authorization_expiry_updated", expiry_json);
	assert_int_equal(m.expiry_updated.expires_at, 1787300000);
	gateway_message_fini(&m);

	m = parsed("disconnect", "{\"reason\":\"certificate_revoked\"}");
	assert_string_equal(m.disconnect_reason, "certificate_revoked");
	gateway_message_fini(&m);

	m = parsed("request_connection", "{}");
	assert_int_equal(m.type, GATEWAY_MESSAGE_IGNORED);
	gateway_message_fini(&m);
	m = parsed("allow_access", "null");
	assert_int_equal(m.type, GATEWAY_MESSAGE_IGNORED);
	gateway_message_fini(&m);
}

static void unknown_event(void **)
{
	json_t *payload = json_object();
	struct portal_error err;
	struct gateway_message m;

	assert_int_equal(gateway_message_parse(&m, "good_morning", payload, &err), -ENOMSG);
	assert_int_equal(gateway_message_parse(&m, "", payload, &err), -ENOMSG);
	json_decref(payload);
}

static void field_matrix(void **)
{
	static const struct matrix_field init_fields[] = {
		{"interface", MATRIX_REQUIRED, 'x'},
		{"interface.ipv4", MATRIX_REQUIRED, 'f'},
		{"interface.ipv6", MATRIX_REQUIRED, 'f'},
		{"account_slug", MATRIX_LENIENT, 's'},
		{"relays", MATRIX_OPTIONAL, 'a'},
		{"relays[0].id", MATRIX_REQUIRED, 'f'},
		{"relays[0].type", MATRIX_REQUIRED, 'f'},
		{"relays[0].addr", MATRIX_REQUIRED, 'f'},
		{"relays[0].username", MATRIX_REQUIRED, 's'},
		{"relays[0].password", MATRIX_REQUIRED, 's'},
		{"relays[0].expires_at", MATRIX_REQUIRED, 'i'},
		{"authorizations", MATRIX_OPTIONAL, 'a'},
		{"authorizations[0].client_id", MATRIX_REQUIRED, 'f'},
		{"authorizations[0].resource_id", MATRIX_REQUIRED, 'f'},
		{"authorizations[0].expires_at", MATRIX_REQUIRED, 'i'},
		{"config", MATRIX_LENIENT, 'o'},
		{"flow_logs", MATRIX_LENIENT, 'o'},
		{"flow_logs.api_url", MATRIX_LENIENT, 's'},
		{"flow_logs.upload_interval_secs", MATRIX_LENIENT, 'i'},
		{"flow_logs.upload_batch_size", MATRIX_LENIENT, 'i'},
	};
	static const struct matrix_field create_fields[] = {
		{"ref", MATRIX_REQUIRED, 's'},
		{"client", MATRIX_REQUIRED, 'x'},
		{"client.id", MATRIX_REQUIRED, 'f'},
		{"client.public_key", MATRIX_REQUIRED, 'f'},
		{"client.preshared_key", MATRIX_REQUIRED, 'f'},
		{"client.ipv4", MATRIX_REQUIRED, 'f'},
		{"client.ipv6", MATRIX_REQUIRED, 'f'},
		{"client.version", MATRIX_LENIENT, 's'},
		{"client.device_os_name", MATRIX_LENIENT, 's'},
		{"client.device_serial", MATRIX_LENIENT, 's'},
		{"subject", MATRIX_LENIENT, 'o'},
		{"subject.actor_name", MATRIX_LENIENT, 's'},
		{"resource", MATRIX_REQUIRED, 'x'},
		{"resource.id", MATRIX_REQUIRED, 'f'},
		{"resource.type", MATRIX_REQUIRED, 'f'},
		{"resource.name", MATRIX_REQUIRED, 's'},
		{"resource.address", MATRIX_REQUIRED, 'f'},
		{"resource.filters", MATRIX_REQUIRED, 'a'},
		{"resource.filters[0].protocol", MATRIX_REQUIRED, 'f'},
		{"gateway_ice_credentials", MATRIX_REQUIRED, 'x'},
		{"gateway_ice_credentials.username", MATRIX_REQUIRED, 'f'},
		{"gateway_ice_credentials.password", MATRIX_REQUIRED, 'f'},
		{"client_ice_credentials", MATRIX_REQUIRED, 'x'},
		{"client_ice_credentials.username", MATRIX_REQUIRED, 'f'},
		{"client_ice_credentials.password", MATRIX_REQUIRED, 'f'},
		{"expires_at", MATRIX_OPTIONAL, 'i'},
		{"use_iceless", MATRIX_OPTIONAL, 'b'},
		{"flow_logs_ingest_token", MATRIX_LENIENT, 's'},
	};
	static const struct matrix_field pair_fields[] = {
		{"client_id", MATRIX_REQUIRED, 'f'},
		{"resource_id", MATRIX_REQUIRED, 'f'},
	};
	static const struct matrix_field updated_fields[] = {
		{"id", MATRIX_REQUIRED, 'f'},
		{"type", MATRIX_REQUIRED, 'f'},
		{"name", MATRIX_REQUIRED, 's'},
		{"address", MATRIX_REQUIRED, 's'},
		{"filters", MATRIX_REQUIRED, 'a'},
		{"filters[0].protocol", MATRIX_REQUIRED, 'f'},
	};
	static const struct matrix_field candidates_fields[] = {
		{"client_id", MATRIX_REQUIRED, 'f'},
		{"candidates", MATRIX_REQUIRED, 'a'},
	};
	static const struct matrix_field presence_fields[] = {
		{"disconnected_ids", MATRIX_REQUIRED, 'a'},
		{"connected", MATRIX_REQUIRED, 'a'},
		{"connected[0].id", MATRIX_REQUIRED, 'f'},
		{"connected[0].addr", MATRIX_REQUIRED, 'f'},
		{"connected[0].username", MATRIX_REQUIRED, 's'},
	};
	static const struct matrix_field expiry_fields[] = {
		{"client_id", MATRIX_REQUIRED, 'f'},
		{"resource_id", MATRIX_REQUIRED, 'f'},
		{"expires_at", MATRIX_REQUIRED, 'i'},
	};
	static const struct matrix_field disconnect_fields[] = {{"reason", MATRIX_REQUIRED, 's'}};

#define RUN(event, json, fields) matrix_run(parse_and_check, event, json, fields, COUNT_OF(fields))
	RUN("init", init_json, init_fields);
	RUN("create_authorization", create_json, create_fields);
	RUN("authorize_flow", create_json, create_fields);
	RUN("reject_access", reject_json, pair_fields);
	RUN("resource_updated", updated_json, updated_fields);
	RUN("ice_candidates", candidates_json, candidates_fields);
	RUN("invalidate_ice_candidates", candidates_json, candidates_fields);
	RUN("relays_presence", presence_json, presence_fields);
	RUN("access_authorization_expiry_updated", expiry_json, expiry_fields);
	RUN("disconnect", "{\"reason\":\"x\"}", disconnect_fields);
#undef RUN
}

static void port_matrix(void **)
{
	static const struct {
		const char *filter;
		const char *error; // NULL: fine
	} cases[] = {
		{"{\"protocol\":\"tcp\",\"port_range_start\":1,\"port_range_end\":1}", NULL},
		{"{\"protocol\":\"tcp\",\"port_range_start\":null,\"port_range_end\":1}", NULL},
		{"{\"protocol\":\"tcp\",\"port_range_start\":65535}", NULL},
		{"{\"protocol\":\"icmp\",\"port_range_start\":\"x\"}", NULL},
		{"{\"protocol\":\"tcp\",\"port_range_start\":2,\"port_range_end\":1}",
		 "filters[0]: port range is inverted"},
		{"{\"protocol\":\"udp\",\"port_range_start\":-1,\"port_range_end\":1}",
		 "filters[0].port_range_start: expected a port of 0 to 65535"},
		{"{\"protocol\":\"udp\",\"port_range_start\":1,\"port_range_end\":65536}",
		 "filters[0].port_range_end: expected a port of 0 to 65535"},
		{"{\"protocol\":\"udp\",\"port_range_start\":\"1\"}",
		 "filters[0].port_range_start: expected a port of 0 to 65535"},
		{"{\"protocol\":\"udp\",\"port_range_start\":[]}",
		 "filters[0].port_range_start: expected a port of 0 to 65535"},
		{"{\"protocol\":\"sctp\"}", "filters[0].protocol: unknown value"},
		{"\"tcp\"", "filters[0]: expected an object"},
		{"null", "filters[0]: expected an object"},
	};

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		json_t *payload = matrix_load(updated_json);
		struct portal_error err = {0};
		char expected[160];

		json_array_set_new(
			json_object_get(payload, "filters"), 0, matrix_load(cases[i].filter));
		assert_int_equal(
			parse_and_check("resource_updated", payload, &err),
			cases[i].error != NULL ? -EBADMSG : 0);
		if (cases[i].error != NULL) {
			snprintf(
				expected, sizeof(expected), "resource_updated: %s", cases[i].error);
			assert_string_equal(err.text, expected);
		}
		json_decref(payload);
	}
}

static void error_texts(void **)
{
	static const struct {
		const char *event;
		const char *payload;
		const char *error;
	} cases[] = {
		{"reject_access", "[]", "reject_access: expected an object"},
		{"reject_access", "null", "reject_access: expected an object"},
		{"reject_access", "{}", "reject_access: client_id: missing"},
		{"reject_access",
		 "{\"client_id\":null}",
		 "reject_access: client_id: null, but required"},
		{"reject_access",
		 "{\"client_id\":\"3abd725a733b4801ac1672f26cd98a24\"}",
		 "reject_access: client_id: expected a UUID"},
		{"create_authorization",
		 "{\"ref\":\"x\",\"client\":{\"id\":\"" CLIENT_ID
		 "\",\"public_key\":\"fiAjSBWDgQfD1CFJkTwOf4zg+1QhH0eTT+oLaVIMpH8=\","
		 "\"preshared_key\":\"fiAjSBWDgQfD1CFJkTwOf4zg+1QhH0eTT+oLaVIMpH8\"}}",
		 "create_authorization: client.preshared_key: expected base64 of 32 bytes"},
		{"resource_updated",
		 "{\"id\":\"" RESOURCE_ID "\",\"type\":\"cidr\",\"name\":\"n\","
		 "\"address\":\"10.0.0.1/8\",\"filters\":[]}",
		 "resource_updated: address: expected a CIDR block without host bits"},
		{"resource_updated",
		 "{\"id\":\"" RESOURCE_ID "\",\"type\":\"static_device_pool\"}",
		 "resource_updated: type: unknown value"},
		{"relays_presence",
		 "{\"disconnected_ids\":[\"x\"],\"connected\":[]}",
		 "relays_presence: disconnected_ids[0]: expected a UUID"},
		{"init",
		 "{\"interface\":{\"ipv4\":\"100.64.0.0/24\",\"ipv6\":\"fd00::1\"}}",
		 "init: interface.ipv4: expected an IPv4 address"},
		{"init",
		 "{\"interface\":{\"ipv4\":\"fd00::1\",\"ipv6\":\"fd00::1\"}}",
		 "init: interface.ipv4: expected an IPv4 address"},
	};

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		json_t *payload = matrix_load(cases[i].payload);
		struct portal_error err = {0};

		assert_int_equal(parse_and_check(cases[i].event, payload, &err), -EBADMSG);
		assert_string_equal(err.text, cases[i].error);
		json_decref(payload);
	}
}

static void candidates_skip(void **)
{
	static const char *const bad[] = {
		"1",
		"null",
		"{}",
		"\"kandidate:1 1 udp 1 192.0.2.1 1 typ host\"",
		"\"candidate:1 1 udp\"",
		"\"candidate:1 1 udp x 192.0.2.1 1 typ host\"",
		"\"candidate:1 1 udp 1x 192.0.2.1 1 typ host\"",
		"\"candidate:1 1 udp 1 192.0.2.1 1 typ host\\n\"",
		"\"\"",
	};

	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		json_t *payload = matrix_load(candidates_json);
		struct gateway_message m;
		struct portal_error err;

		json_array_insert_new(
			json_object_get(payload, "candidates"), 0, matrix_load(bad[i]));
		assert_int_equal(gateway_message_parse(&m, "ice_candidates", payload, &err), 0);
		assert_int_equal(m.candidates.n_lines, 1);
		assert_string_equal(
			m.candidates.lines[0],
			"candidate:7854631899965427361 1 udp 1694498559 172.28.0.100 47717 typ "
			"srflx");
		gateway_message_fini(&m);
		json_decref(payload);
	}
}

static void limits(void **)
{
	json_t *payload = matrix_load(updated_json);
	json_t *filters = json_object_get(payload, "filters");
	struct portal_error err = {0};

	while (json_array_size(filters) < PORTAL_FILTERS_MAX)
		json_array_append_new(filters, json_pack("{s:s}", "protocol", "tcp"));
	assert_int_equal(parse_and_check("resource_updated", payload, &err), 0);
	json_array_append_new(filters, json_pack("{s:s}", "protocol", "tcp"));
	assert_int_equal(parse_and_check("resource_updated", payload, &err), -EBADMSG);
	assert_string_equal(err.text, "resource_updated: filters: more than 1024 entries");
	json_decref(payload);
}

static void no_expiry(void **)
{
	json_t *payload = matrix_load(create_json);
	struct portal_error err;
	struct gateway_message m;

	json_object_del(payload, "expires_at");
	assert_int_equal(gateway_message_parse(&m, "create_authorization", payload, &err), 0);
	assert_true(m.create_authorization.expires_at == PORTAL_NEVER);
	gateway_message_fini(&m);
	json_decref(payload);
}

static void assert_push(struct portal_push push, const char *event, const char *payload)
{
	char *text = json_dumps(push.payload, JSON_COMPACT);

	assert_string_equal(push.event, event);
	assert_string_equal(text, payload);
	free(text);
	json_decref(push.payload);
}

static void pushes(void **)
{
	static const char *const lines[] = {
		"candidate:fffeff6435be70ddbf995982 1 udp 1694498559 87.121.72.60 57114 typ srflx "
		"raddr 0.0.0.0 rport 0"};
	struct uuid id;

	assert_int_equal(uuid_parse(&id, CLIENT_ID), 0);
	assert_push(
		gateway_push_authorization_created(PORTAL_DIALECT_V2, "SFM/yNTY.\"x"),
		"authorization_created",
		"{\"ref\":\"SFM/yNTY.\\\"x\"}");
	assert_push(
		gateway_push_authorization_created(PORTAL_DIALECT_V1, "r"),
		"flow_authorized",
		"{\"ref\":\"r\"}");
	assert_push(
		gateway_push_ice_candidates(&id, lines, 1),
		"broadcast_ice_candidates",
		"{\"client_ids\":[\"" CLIENT_ID "\"],\"candidates\":[\"candidate:"
		"fffeff6435be70ddbf995982 1 udp 1694498559 87.121.72.60 57114 typ srflx raddr "
		"0.0.0.0 rport 0\"]}");
	assert_push(
		gateway_push_invalidated_ice_candidates(&id, NULL, 0),
		"broadcast_invalidated_ice_candidates",
		"{\"client_ids\":[\"" CLIENT_ID "\"],\"candidates\":[]}");
	assert_push(gateway_push_no_relays(), "no_relays", "{}");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(init_parse),
		cmocka_unit_test(create_authorization_parse),
		cmocka_unit_test(small_messages_parse),
		cmocka_unit_test(unknown_event),
		cmocka_unit_test(field_matrix),
		cmocka_unit_test(port_matrix),
		cmocka_unit_test(error_texts),
		cmocka_unit_test(candidates_skip),
		cmocka_unit_test(limits),
		cmocka_unit_test(no_expiry),
		cmocka_unit_test(pushes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
