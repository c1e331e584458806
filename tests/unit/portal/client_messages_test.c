// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "control/portal/client_messages.h"
#include "tests/unit/portal/matrix.h"
#include "tests/unit/unit.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define RESOURCE_ID "73037362-715d-4a83-a749-f18eadd970e6"
#define GATEWAY_ID "3c492c15-8d41-49a4-afc7-9d8cfe6e066f"
#define SITE_ID "bf56f32d-7b2c-4f5d-a784-788977d014a4"
#define RELAY_ID "aa93cc3a-23e1-4e3b-93b9-0b7bb3c0a369"
#define SITES "\"sites\":[{\"id\":\"" SITE_ID "\",\"name\":\"AWS US-East\"}]"

static const char init_json[] =
	"{\"flow_logs\":{\"api_url\":\"https://flow-api.example.com/\",\"upload_interval_secs\":60,"
	"\"upload_batch_size\":1000},"
	"\"interface\":{\"ipv4\":\"100.64.0.11\",\"ipv6\":\"fd00:2021:1111::b\","
	"\"search_domain\":\"httpbin.search.test\","
	"\"upstream_do53\":[{\"ip\":\"1.1.1.1\"},{\"ip\":\"2606:4700:4700::1111\"}],"
	"\"upstream_doh\":[],"
	"\"upstream_dns\":[{\"protocol\":\"ip_port\",\"address\":\"9.9.9.9:53\"}]},"
	"\"resources\":["
	"{\"id\":\"" RESOURCE_ID
	"\",\"type\":\"cidr\",\"name\":\"lab\",\"address\":\"10.20.0.0/16\","
	"\"address_description\":null,\"filters\":[]," SITES "},"
	"{\"id\":\"03000143-e25e-45c7-aafb-144990e57dcd\",\"type\":\"dns\",\"name\":\"gitlab\","
	"\"address\":\"**.mycorp.com\",\"address_description\":\"docs\",\"ip_stack\":\"ipv6_only\","
	"\"filters\":[{\"protocol\":\"tcp\",\"port_range_start\":443,\"port_range_end\":443},"
	"{\"protocol\":\"icmp\"}]," SITES "},"
	"{\"id\":\"1106047c-cd5d-4151-b679-96b93da7383b\",\"type\":\"internet\","
	"\"can_be_disabled\":true,\"gateway_groups\":[{\"id\":\"" SITE_ID "\"}]},"
	"{\"id\":\"1106047c-cd5d-4151-b679-96b93da7383c\",\"type\":\"static_device_pool\"},"
	"{\"id\":\"1106047c-cd5d-4151-b679-96b93da7383d\",\"type\":\"cidr\",\"name\":\"bad\","
	"\"address\":\"10.20.0.1/16\"," SITES "}],"
	"\"relays\":[{\"id\":\"" RELAY_ID "\",\"type\":\"turn\",\"addr\":\"203.0.113.101:3478\","
	"\"username\":\"1792540800:kF8o\",\"password\":\"p\",\"expires_at\":1792540800},"
	"{\"id\":\"" RELAY_ID "\",\"type\":\"turn\",\"addr\":\"[203:0:113::101]:3478\","
	"\"username\":\"1792540800:kF8o\",\"password\":\"p\",\"expires_at\":1792540800}],"
	"\"authorizations\":[]}";

static const char resource_json[] =
	"{\"id\":\"" RESOURCE_ID "\",\"type\":\"dns\",\"name\":\"lab\",\"address\":\"*.lab.test\","
	"\"address_description\":\"d\",\"ip_stack\":\"dual\","
	"\"filters\":[{\"protocol\":\"tcp\",\"port_range_start\":1,\"port_range_end\":2}]," SITES
	"}";

static const char created_json[] =
	"{\"resource_id\":\"" RESOURCE_ID "\",\"gateway_id\":\"" GATEWAY_ID
	"\",\"site_id\":\"" SITE_ID
	"\",\"gateway_public_key\":\"ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8=\","
	"\"gateway_ipv4\":\"100.72.145.83\",\"gateway_ipv6\":\"fd00:2021:1111::5:bcfd\","
	"\"preshared_key\":\"3Gc7HrusF04fGLP8KnMQMPCmbfuLueIll1oghrX2DXA=\","
	"\"client_ice_credentials\":{\"username\":\"euez\",\"password\":\"anfok4ngd2b4r4rfkhnj6t\"}"
	","
	"\"gateway_ice_credentials\":{\"username\":\"ptrp\",\"password\":"
	"\"febda525ybyjxlmz7kz3eq\"},"
	"\"use_iceless\":false,\"flow_logs_ingest_token\":\"a.b.c\"}";

static const char failed_json[] = "{\"resource_id\":\"" RESOURCE_ID "\",\"reason\":\"forbidden\","
				  "\"violated_properties\":[\"remote_ip\",\"client_verified\"]}";
static const char candidates_json[] =
	"{\"gateway_id\":\"" GATEWAY_ID "\",\"candidates\":["
	"\"candidate:7031633958891736544 1 udp 50331391 35.244.108.190 53909 typ relay\"]}";
static const char config_json[] =
	"{\"interface\":{\"ipv4\":\"100.64.0.11\",\"ipv6\":\"fd00:2021:1111::b\"}}";
static const char presence_json[] =
	"{\"disconnected_ids\":[\"" RELAY_ID "\"],\"connected\":[{\"id\":\"" RELAY_ID "\","
	"\"type\":\"stun\",\"addr\":\"203.0.113.101:3478\"}]}";

static struct client_message parsed(const char *event, const char *text)
{
	json_t *payload = matrix_load(text);
	struct portal_error err = {0};
	struct client_message m;
	int rc = client_message_parse(&m, event, payload, &err);

	if (rc != 0)
		print_error("%s\n", err.text);
	assert_int_equal(rc, 0);
	json_decref(payload);
	return m;
}

static int parse_and_check(const char *event, const json_t *payload, struct portal_error *err)
{
	struct client_message before;
	struct client_message m;
	int rc;

	memset(&before, 0xa5, sizeof(before));
	memcpy(&m, &before, sizeof(m));
	rc = client_message_parse(&m, event, payload, err);
	if (rc == 0)
		client_message_fini(&m);
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
	struct client_message m = parsed("init", init_json);
	const struct portal_resource *r = m.init.resources;

	assert_int_equal(m.type, CLIENT_MESSAGE_INIT);
	assert_addr(&m.init.interface.ipv4, "100.64.0.11");
	assert_addr(&m.init.interface.ipv6, "fd00:2021:1111::b");
	assert_string_equal(m.init.interface.search_domain, "httpbin.search.test");
	assert_int_equal(m.init.interface.n_upstream_do53, 2);
	assert_addr(&m.init.interface.upstream_do53[1], "2606:4700:4700::1111");
	assert_int_equal(m.init.interface.n_upstream_doh, 0);
	assert_int_equal(m.init.n_resources, 3);
	assert_int_equal(m.init.n_resources_skipped, 2);
	assert_uuid(&r[0].id, RESOURCE_ID);
	assert_int_equal(r[0].type, PORTAL_RESOURCE_CIDR);
	assert_int_equal(r[0].prefix.len, 16);
	assert_int_equal(r[0].n_filters, 0);
	assert_null(r[0].address_description);
	assert_int_equal(r[0].n_sites, 1);
	assert_uuid(&r[0].sites[0].id, SITE_ID);
	assert_string_equal(r[0].sites[0].name, "AWS US-East");
	assert_int_equal(r[1].type, PORTAL_RESOURCE_DNS);
	assert_string_equal(r[1].pattern, "**.mycorp.com");
	assert_int_equal(r[1].ip_stack, PORTAL_IP_STACK_IPV6_ONLY);
	assert_int_equal(r[1].n_filters, 2);
	assert_int_equal(r[1].filters[0].port_first, 443);
	assert_int_equal(r[2].type, PORTAL_RESOURCE_INTERNET);
	assert_string_equal(r[2].sites[0].name, "");
	assert_int_equal(m.init.n_relays, 2);
	assert_true(uuid_eq(&m.init.relays[0].id, &m.init.relays[1].id));
	assert_int_equal(m.init.relays[1].endpoint.addr.family, IP_FAMILY_V6);
	client_message_fini(&m);
}

static void resolver_fallback(void **)
{
	struct client_message m = parsed(
		"config_changed",
		"{\"interface\":{\"ipv4\":\"100.64.0.11/"
		"32\",\"ipv6\":\"fd00::b\",\"upstream_do53\":[],"
		"\"upstream_dns\":[{\"protocol\":\"ip_port\",\"address\":\"[2001:db8::53]:53\"},"
		"{\"protocol\":\"other\",\"address\":7}],"
		"\"upstream_doh\":[{\"url\":\"https://dns.example/q\"}]}}");

	assert_int_equal(m.type, CLIENT_MESSAGE_CONFIG_CHANGED);
	assert_int_equal(m.config_changed.n_upstream_do53, 1);
	assert_addr(&m.config_changed.upstream_do53[0], "2001:db8::53");
	assert_int_equal(m.config_changed.n_upstream_doh, 1);
	assert_string_equal(m.config_changed.upstream_doh[0], "https://dns.example/q");
	client_message_fini(&m);
}

static void authorization_created_parse(void **)
{
	static const char *const names[] = {"authorization_created", "flow_created"};

	for (size_t i = 0; i < COUNT_OF(names); i++) {
		struct client_message m = parsed(names[i], created_json);
		const struct client_authorization_created *a = &m.authorization_created;

		assert_int_equal(m.type, CLIENT_MESSAGE_AUTHORIZATION_CREATED);
		assert_uuid(&a->resource_id, RESOURCE_ID);
		assert_uuid(&a->gateway_id, GATEWAY_ID);
		assert_uuid(&a->site_id, SITE_ID);
		for (uint8_t b = 0; b < PORTAL_KEY_SIZE; b++)
			assert_int_equal(a->gateway_public_key[b], 0x20 + b);
		assert_int_equal(a->preshared_key[0], 0xdc);
		assert_addr(&a->gateway_ipv4, "100.72.145.83");
		assert_addr(&a->gateway_ipv6, "fd00:2021:1111::5:bcfd");
		assert_string_equal(a->client_ice.username, "euez");
		assert_string_equal(a->gateway_ice.password, "febda525ybyjxlmz7kz3eq");
		assert_false(a->use_iceless);
		client_message_fini(&m);
	}
}

static void site_alias(void **)
{
	json_t *payload = matrix_load(created_json);
	struct portal_error err = {0};
	json_t *site = json_incref(json_object_get(payload, "site_id"));

	json_object_set(payload, "gateway_group_id", site);
	assert_int_equal(parse_and_check("flow_created", payload, &err), -EBADMSG);
	assert_string_equal(
		err.text, "flow_created: site_id: given twice, also as gateway_group_id");
	json_object_del(payload, "site_id");
	assert_int_equal(parse_and_check("flow_created", payload, &err), 0);
	json_decref(site);
	json_decref(payload);
}

static void failures(void **)
{
	static const struct {
		const char *reason;
		enum client_failure expected;
	} cases[] = {
		{"not_found", CLIENT_FAILURE_NOT_FOUND},
		{"offline", CLIENT_FAILURE_OFFLINE},
		{"forbidden", CLIENT_FAILURE_FORBIDDEN},
		{"version_mismatch", CLIENT_FAILURE_VERSION_MISMATCH},
		{"disabled", CLIENT_FAILURE_DISABLED},
		{"ambiguous_address", CLIENT_FAILURE_AMBIGUOUS_ADDRESS},
		{"missing_address", CLIENT_FAILURE_MISSING_ADDRESS},
		{"invalid_address", CLIENT_FAILURE_INVALID_ADDRESS},
		{"full_moon", CLIENT_FAILURE_UNKNOWN},
	};
	struct client_message m = parsed("authorization_creation_failed", failed_json);

	assert_int_equal(m.authorization_failed.n_violated_properties, 2);
	assert_string_equal(m.authorization_failed.violated_properties[1], "client_verified");
	client_message_fini(&m);
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		char text[128];

		snprintf(
			text,
			sizeof(text),
			"{\"resource_id\":\"" RESOURCE_ID "\",\"reason\":\"%s\"}",
			cases[i].reason);
		m = parsed("flow_creation_failed", text);
		assert_int_equal(m.type, CLIENT_MESSAGE_AUTHORIZATION_CREATION_FAILED);
		assert_int_equal(m.authorization_failed.reason, cases[i].expected);
		if (cases[i].expected != CLIENT_FAILURE_UNKNOWN)
			assert_string_equal(
				client_failure_name(cases[i].expected), cases[i].reason);
		client_message_fini(&m);
	}
}

static void small_messages(void **)
{
	static const struct {
		const char *event;
		enum client_message_type type;
	} candidates[] = {
		{"ice_candidates", CLIENT_MESSAGE_ICE_CANDIDATES},
		{"gateway_ice_candidates", CLIENT_MESSAGE_ICE_CANDIDATES},
		{"invalidate_ice_candidates", CLIENT_MESSAGE_INVALIDATE_ICE_CANDIDATES},
		{"invalidate_gateway_ice_candidates", CLIENT_MESSAGE_INVALIDATE_ICE_CANDIDATES},
	};
	struct client_message m = parsed("resource_deleted", "\"" RESOURCE_ID "\"");
	struct portal_error err = {0};
	json_t *bad = matrix_load("{\"id\":\"" RESOURCE_ID "\"}");

	assert_uuid(&m.resource_deleted, RESOURCE_ID);
	client_message_fini(&m);
	assert_int_equal(parse_and_check("resource_deleted", bad, &err), -EBADMSG);
	assert_string_equal(err.text, "resource_deleted: expected a UUID");
	assert_int_equal(parse_and_check("good_evening", bad, &err), -ENOMSG);
	json_decref(bad);
	for (size_t i = 0; i < COUNT_OF(candidates); i++) {
		m = parsed(candidates[i].event, candidates_json);
		assert_int_equal(m.type, candidates[i].type);
		assert_uuid(&m.candidates.peer_id, GATEWAY_ID);
		assert_int_equal(m.candidates.n_lines, 1);
		client_message_fini(&m);
	}
	m = parsed("resource_created_or_updated", resource_json);
	assert_string_equal(m.resource.pattern, "*.lab.test");
	assert_string_equal(m.resource.address_description, "d");
	client_message_fini(&m);
	m = parsed("relays_presence", presence_json);
	assert_int_equal(m.relays_presence.connected[0].type, PORTAL_RELAY_STUN);
	assert_null(m.relays_presence.connected[0].username);
	client_message_fini(&m);
	m = parsed("disconnect", "{\"reason\":\"x\"}");
	assert_string_equal(m.disconnect_reason, "x");
	client_message_fini(&m);
	m = parsed("client_ice_candidates", "7");
	assert_int_equal(m.type, CLIENT_MESSAGE_IGNORED);
	client_message_fini(&m);
}

static void field_matrix(void **)
{
	static const struct matrix_field init_fields[] = {
		{"interface", MATRIX_REQUIRED, 'x'},
		{"interface.ipv4", MATRIX_REQUIRED, 'f'},
		{"interface.ipv6", MATRIX_REQUIRED, 'f'},
		{"interface.search_domain", MATRIX_OPTIONAL, 's'},
		{"interface.upstream_do53", MATRIX_OPTIONAL, 'a'},
		{"interface.upstream_doh", MATRIX_OPTIONAL, 'a'},
		{"interface.upstream_dns", MATRIX_OPTIONAL, 'a'},
		{"resources", MATRIX_OPTIONAL, 'a'},
		{"resources[0].id", MATRIX_LENIENT, 'f'}, // the entry is left out
		{"resources[0].address", MATRIX_LENIENT, 'f'},
		{"resources[1].filters", MATRIX_LENIENT, 'a'},
		{"resources[1].sites", MATRIX_LENIENT, 'a'},
		{"relays", MATRIX_OPTIONAL, 'a'},
		{"relays[1].addr", MATRIX_REQUIRED, 'f'},
		{"flow_logs", MATRIX_LENIENT, 'o'},
		{"authorizations", MATRIX_LENIENT, 'a'},
	};
	static const struct matrix_field resource_fields[] = {
		{"id", MATRIX_REQUIRED, 'f'},
		{"type", MATRIX_REQUIRED, 'f'},
		{"name", MATRIX_REQUIRED, 's'},
		{"address", MATRIX_REQUIRED, 's'},
		{"address_description", MATRIX_OPTIONAL, 's'},
		{"ip_stack", MATRIX_OPTIONAL, 'f'},
		{"filters", MATRIX_OPTIONAL, 'a'},
		{"filters[0].protocol", MATRIX_REQUIRED, 'f'},
		{"filters[0].port_range_start", MATRIX_OPTIONAL, 'i'},
		{"filters[0].port_range_end", MATRIX_OPTIONAL, 'i'},
		{"sites", MATRIX_REQUIRED, 'a'},
		{"sites[0].id", MATRIX_REQUIRED, 'f'},
		{"sites[0].name", MATRIX_OPTIONAL, 's'},
	};
	static const struct matrix_field created_fields[] = {
		{"resource_id", MATRIX_REQUIRED, 'f'},
		{"gateway_id", MATRIX_REQUIRED, 'f'},
		{"site_id", MATRIX_REQUIRED, 'f'},
		{"gateway_public_key", MATRIX_REQUIRED, 'f'},
		{"preshared_key", MATRIX_REQUIRED, 'f'},
		{"gateway_ipv4", MATRIX_REQUIRED, 'f'},
		{"gateway_ipv6", MATRIX_REQUIRED, 'f'},
		{"client_ice_credentials", MATRIX_REQUIRED, 'x'},
		{"client_ice_credentials.username", MATRIX_REQUIRED, 'f'},
		{"client_ice_credentials.password", MATRIX_REQUIRED, 'f'},
		{"gateway_ice_credentials", MATRIX_REQUIRED, 'x'},
		{"gateway_ice_credentials.username", MATRIX_REQUIRED, 'f'},
		{"gateway_ice_credentials.password", MATRIX_REQUIRED, 'f'},
		{"use_iceless", MATRIX_OPTIONAL, 'b'},
		{"flow_logs_ingest_token", MATRIX_LENIENT, 's'},
	};
	static const struct matrix_field failed_fields[] = {
		{"resource_id", MATRIX_REQUIRED, 'f'},
		{"reason", MATRIX_REQUIRED, 's'},
		{"violated_properties", MATRIX_OPTIONAL, 'a'},
	};
	static const struct matrix_field candidates_fields[] = {
		{"gateway_id", MATRIX_REQUIRED, 'f'},
		{"candidates", MATRIX_REQUIRED, 'a'},
	};
	static const struct matrix_field config_fields[] = {{"interface", MATRIX_REQUIRED, 'x'}};
	static const struct matrix_field presence_fields[] = {
		{"disconnected_ids", MATRIX_REQUIRED, 'a'},
		{"connected", MATRIX_REQUIRED, 'a'},
		{"connected[0].addr", MATRIX_REQUIRED, 'f'},
	};

#define RUN(event, json, fields) matrix_run(parse_and_check, event, json, fields, COUNT_OF(fields))
	RUN("init", init_json, init_fields);
	RUN("resource_created_or_updated", resource_json, resource_fields);
	RUN("config_changed", config_json, config_fields);
	RUN("authorization_created", created_json, created_fields);
	RUN("flow_created", created_json, created_fields);
	RUN("authorization_creation_failed", failed_json, failed_fields);
	RUN("flow_creation_failed", failed_json, failed_fields);
	RUN("ice_candidates", candidates_json, candidates_fields);
	RUN("invalidate_ice_candidates", candidates_json, candidates_fields);
	RUN("relays_presence", presence_json, presence_fields);
#undef RUN
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
	static const char *const lines[] = {"candidate:1 1 udp 1 192.0.2.1 1 typ host"};
	struct uuid resource;
	struct uuid gateway;

	assert_int_equal(uuid_parse(&resource, RESOURCE_ID), 0);
	assert_int_equal(uuid_parse(&gateway, GATEWAY_ID), 0);
	assert_push(
		client_push_request_authorization(PORTAL_DIALECT_V2, &resource, NULL, 0),
		"request_authorization",
		"{\"resource_id\":\"" RESOURCE_ID "\",\"connected_gateway_ids\":[]}");
	assert_push(
		client_push_request_authorization(PORTAL_DIALECT_V1, &resource, &gateway, 1),
		"create_flow",
		"{\"resource_id\":\"" RESOURCE_ID "\",\"connected_gateway_ids\":[\"" GATEWAY_ID
		"\"]}");
	assert_push(
		client_push_ice_candidates(PORTAL_DIALECT_V2, &gateway, lines, 1),
		"new_gateway_ice_candidates",
		"{\"gateway_id\":\"" GATEWAY_ID
		"\",\"candidates\":[\"candidate:1 1 udp 1 192.0.2.1 1 typ host\"]}");
	assert_push(
		client_push_ice_candidates(PORTAL_DIALECT_V1, &gateway, lines, 1),
		"broadcast_ice_candidates",
		"{\"gateway_ids\":[\"" GATEWAY_ID
		"\"],\"candidates\":[\"candidate:1 1 udp 1 192.0.2.1 1 typ host\"]}");
	assert_push(
		client_push_invalidated_ice_candidates(PORTAL_DIALECT_V2, &gateway, lines, 0),
		"invalidate_gateway_ice_candidates",
		"{\"gateway_id\":\"" GATEWAY_ID "\",\"candidates\":[]}");
	assert_push(
		client_push_invalidated_ice_candidates(PORTAL_DIALECT_V1, &gateway, lines, 0),
		"broadcast_invalidated_ice_candidates",
		"{\"gateway_ids\":[\"" GATEWAY_ID "\"],\"candidates\":[]}");
	assert_push(client_push_no_relays(), "no_relays", "{}");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(init_parse),
		cmocka_unit_test(resolver_fallback),
		cmocka_unit_test(authorization_created_parse),
		cmocka_unit_test(site_alias),
		cmocka_unit_test(failures),
		cmocka_unit_test(small_messages),
		cmocka_unit_test(field_matrix),
		cmocka_unit_test(pushes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
