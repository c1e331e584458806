// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "peers/portal/policy.h"
#include "tests/unit/unit.h"

#include <sodium.h>

#include <stdio.h>
#include <stdlib.h>

// Ten lines; each case appends from line 11.
#define HEAD                                                                                       \
	"account: acme\n"                                                                          \
	"listen: 127.0.0.1:8081\n"                                                                 \
	"sites: [{name: lab}]\n"                                                                   \
	"gateways:\n"                                                                              \
	"  - {name: gw, token: g1, site: lab}\n"                                                   \
	"clients:\n"                                                                               \
	"  - {name: alice, token: c1}\n"                                                           \
	"  - {name: bob, token: c2}\n"                                                             \
	"groups:\n"                                                                                \
	"  - {name: staff, members: [alice]}\n"
#define RESOURCE(keys) HEAD "resources:\n  - name: web\n    site: lab\n" keys
#define WEB RESOURCE("    type: ip\n    address: 192.0.2.1\n")

static struct policy *parse(const char *text, char **error)
{
	return policy_parse("p.yaml", text, strlen(text), error);
}

static void test_errors(void **)
{
	static const struct {
		const char *text;
		const char *error;
	} cases[] = {
		{"", "p.yaml:1: the file is empty"},
		{"a: [\n", "p.yaml:2: not YAML: did not find expected node content"},
		{"- a\n", "p.yaml:1: expected keys with values"},
		{"account: acme\n", "p.yaml:1: listen: missing"},
		{HEAD "colour: red\n", "p.yaml:11: colour: unknown key"},
		{HEAD "account: again\n", "p.yaml:11: account: given twice"},
		{"account: Acme Inc\n",
		 "p.yaml:1: account: \"Acme Inc\": expected lower-case letters, digits, - and _"},
		{"account: a\nlisten: 8081\n",
		 "p.yaml:2: listen: \"8081\": expected address:port, like [::1]:8081"},
		{"account: a\nlisten:\n- 127.0.0.1:1\n- host:1\n",
		 "p.yaml:4: listen[1]: \"host:1\": expected address:port, like [::1]:8081"},
		{"account: a\nlisten: 127.0.0.1:1\nsites:\n- name: x\n- name: x\n",
		 "p.yaml:5: sites[1].name: \"x\" is already defined"},
		{"account: a\nlisten: 127.0.0.1:1\nsites:\n- name: ''\n",
		 "p.yaml:4: sites[0].name: is empty"},
		{"account: a\nlisten: 127.0.0.1:1\nsites:\n- name: x\n  id: 12\n",
		 "p.yaml:5: sites[0].id: \"12\" is not a UUID"},
		{"account: a\nlisten: 127.0.0.1:1\nsites:\n"
		 "- name: x\n  id: 3c492c15-8d41-49a4-afc7-9d8cfe6e066f\n"
		 "- name: y\n  id: 3C492C15-8D41-49A4-AFC7-9D8CFE6E066F\n",
		 "p.yaml:7: sites[1]: the id 3c492c15-8d41-49a4-afc7-9d8cfe6e066f is already "
		 "taken"},
		{"account: a\nlisten: 127.0.0.1:1\nsites:\n- name: x\ngateways:\n- name: g\n"
		 "  token: t\n  site: y\n",
		 "p.yaml:8: gateways[0].site: there is no site \"y\""},
		{"account: a\nlisten: 127.0.0.1:1\nsites:\n- name: x\ngateways:\n- name: g\n"
		 "  site: x\n",
		 "p.yaml:6: gateways[0].token: missing"},
		{"account: a\nlisten: 127.0.0.1:1\nsites:\n- name: x\ngateways:\n- name: g\n"
		 "  site: x\n  token: a b\n",
		 "p.yaml:8: gateways[0].token: a token is printable ASCII without spaces"},
		{"account: a\nlisten: 127.0.0.1:1\nsites:\n- name: x\ngateways:\n- name: g\n"
		 "  site: x\n  token: t\nclients:\n- name: c\n  token: t\n",
		 "p.yaml:11: clients[0].token: already the token of a gateway"},
		{"account: a\nlisten: 127.0.0.1:1\nsites: []\ngateways: []\nclients:\n"
		 "- name: c\n  token: t\nrelays:\n- name: r\n  token: t\n",
		 "p.yaml:10: relays[0].token: already the token of a client"},
		{"account: a\nlisten: 127.0.0.1:1\nsites: []\ngateways: []\nclients: []\n"
		 "relays:\n- name: r\n  token: t\n- name: r\n  token: u\n",
		 "p.yaml:9: relays[1].name: \"r\" is already defined"},
		{"account: a\nlisten: 127.0.0.1:1\nsites: []\ngateways: []\nclients: []\n"
		 "turn:\n  address: 192.0.2.1\n  username: u\n  password: p\n",
		 "p.yaml:7: turn.address: \"192.0.2.1\": expected address:port, like "
		 "192.0.2.1:3478"},
		{"account: a\nlisten: 127.0.0.1:1\nsites: []\ngateways: []\nclients: []\n"
		 "turn:\n  address: ['192.0.2.1:1', '192.0.2.2:1']\n  username: u\n  password: p\n",
		 "p.yaml:7: turn.address[1]: \"192.0.2.2:1\": one address per family"},
		{"account: a\nlisten: 127.0.0.1:1\nsites: []\ngateways: []\nclients: []\n"
		 "turn:\n  address: 192.0.2.1:1\n  username: u\n",
		 "p.yaml:7: turn.password: missing"},
		{"account: a\nlisten: 127.0.0.1:1\nsites: []\ngateways: []\nclients:\n"
		 "- name: c\n  token: t\n- name: d\n  token: t\n",
		 "p.yaml:9: clients[1].token: already the token of a client"},
		{"account: a\nlisten: 127.0.0.1:1\nsites: []\ngateways: []\nclients:\n"
		 "- name: c\n  token: t\n  expires_at: tomorrow\n",
		 "p.yaml:8: clients[0].expires_at: \"tomorrow\" is not a time like "
		 "2026-12-31T23:59:59Z"},
		{RESOURCE("    type: vlan\n"),
		 "p.yaml:14: resources[0].type: \"vlan\": expected cidr, ip, dns or internet"},
		{RESOURCE("    type: cidr\n"), "p.yaml:12: resources[0].address: missing"},
		{RESOURCE("    address: 192.0.2.1/33\n    type: cidr\n"),
		 "p.yaml:14: resources[0].address: \"192.0.2.1/33\" has a bad prefix length"},
		{RESOURCE("    type: cidr\n    address: 192.0.2.1/24\n"),
		 "p.yaml:15: resources[0].address: \"192.0.2.1/24\" has host bits set"},
		{RESOURCE("    type: cidr\n    address: 2001:db8::1/64\n"),
		 "p.yaml:15: resources[0].address: \"2001:db8::1/64\" has host bits set"},
		{RESOURCE("    type: cidr\n    address: example.com\n"),
		 "p.yaml:15: resources[0].address: \"example.com\" is not an IPv4 or IPv6 address"},
		{RESOURCE("    type: ip\n    address: 192.0.2.0/24\n"),
		 "p.yaml:15: resources[0].address: type ip is a single address; "
		 "use type: cidr for a prefix"},
		{RESOURCE("    type: cidr\n    address: 0.0.0.0/0\n"),
		 "p.yaml:15: resources[0].address: covers every address; use type: internet"},
		{RESOURCE("    type: cidr\n    address: ::/0\n"),
		 "p.yaml:15: resources[0].address: covers every address; use type: internet"},
		{RESOURCE("    type: cidr\n    address: 100.80.0.0/16\n"),
		 "p.yaml:15: resources[0].address: overlaps the tunnel addresses 100.64.0.0/10"},
		{RESOURCE("    type: cidr\n    address: 64.0.0.0/2\n"),
		 "p.yaml:15: resources[0].address: overlaps the tunnel addresses 100.64.0.0/10"},
		{RESOURCE("    type: ip\n    address: fd00:2021:1111:8000::1\n"),
		 "p.yaml:15: resources[0].address: overlaps the tunnel addresses "
		 "fd00:2021:1111::/48"},
		{RESOURCE("    type: ip\n    address: 127.0.0.1\n"),
		 "p.yaml:15: resources[0].address: overlaps loopback"},
		{RESOURCE("    type: ip\n    address: ::1\n"),
		 "p.yaml:15: resources[0].address: overlaps loopback"},
		{RESOURCE("    type: dns\n    address: a..b\n"),
		 "p.yaml:15: resources[0].address: \"a..b\" is not a DNS name or pattern"},
		{RESOURCE("    type: dns\n    address: example.*\n"),
		 "p.yaml:15: resources[0].address: \"example.*\": no wildcard in the last label"},
		{RESOURCE("    type: dns\n    address: a.b\n    ip_stack: both\n"),
		 "p.yaml:16: resources[0].ip_stack: \"both\": expected dual, ipv4_only or "
		 "ipv6_only"},
		{RESOURCE("    type: ip\n    address: 192.0.2.1\n    ip_stack: dual\n"),
		 "p.yaml:16: resources[0].ip_stack: only for type dns"},
		{RESOURCE("    type: internet\n    address: 192.0.2.1\n"),
		 "p.yaml:15: resources[0].address: type internet has none"},
		{RESOURCE("    type: internet\n    filters: [icmp]\n"),
		 "p.yaml:15: resources[0].filters: type internet has none"},
		{RESOURCE("    type: ip\n    address: 192.0.2.1\n    filters:\n"
			  "    - icmp\n    - tcp: [80, 90-80]\n"),
		 "p.yaml:18: resources[0].filters[1][1]: \"90-80\": the port range is inverted"},
		{RESOURCE("    type: ip\n    address: 192.0.2.1\n    filters: [tcp: 65536]\n"),
		 "p.yaml:16: resources[0].filters[0]: \"65536\": "
		 "expected a port (0-65535) or a range like 80-90"},
		{RESOURCE("    type: ip\n    address: 192.0.2.1\n    filters: [sctp: 80]\n"),
		 "p.yaml:16: resources[0].filters[0]: \"sctp\": expected tcp, udp or icmp"},
		{RESOURCE("    type: ip\n    address: 192.0.2.1\n    filters: [tcp: []]\n"),
		 "p.yaml:16: resources[0].filters[0]: tcp: the list of ports is empty"},
		{RESOURCE("    type: ip\n    address: 192.0.2.1\n    filters: [icmp: 8]\n"),
		 "p.yaml:16: resources[0].filters[0]: icmp has no ports"},
		{RESOURCE("    type: ip\n    address: 192.0.2.1\n    filters: tcp\n"),
		 "p.yaml:16: resources[0].filters: expected a list"},
		{RESOURCE("    type: ip\n    address: 192.0.2.1\n    port: 80\n"),
		 "p.yaml:16: resources[0].port: unknown key"},
		{WEB "policies:\n- client: carol\n  resource: web\n",
		 "p.yaml:17: policies[0].client: there is no client \"carol\""},
		{WEB "policies:\n- group: boss\n  resource: web\n",
		 "p.yaml:17: policies[0].group: there is no group \"boss\""},
		{WEB "policies:\n- client: alice\n  resource: wiki\n",
		 "p.yaml:18: policies[0].resource: there is no resource \"wiki\""},
		{WEB "policies:\n- resource: web\n",
		 "p.yaml:17: policies[0]: expected either client or group"},
		{WEB "policies:\n- client: alice\n  group: staff\n  resource: web\n",
		 "p.yaml:17: policies[0]: expected either client or group"},
		{WEB "policies:\n- client: alice\n  resource: web\n  lifetime: 0\n",
		 "p.yaml:19: policies[0].lifetime: \"0\" is not a number from 1 to 2147483647"},
		{WEB "policies:\n- client: alice\n  resource: web\n  lifetime: -5\n",
		 "p.yaml:19: policies[0].lifetime: \"-5\" is not a number from 1 to 2147483647"},
		{WEB
		 "policies:\n- client: alice\n  resource: web\n- client: alice\n  resource: web\n",
		 "p.yaml:19: policies[1]: the id 650fc3f8-f9b4-5c45-900e-cafb367234ce "
		 "is already taken"},
	};

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		char *error = NULL;
		struct policy *p = parse(cases[i].text, &error);

		if (p != NULL)
			fail_msg("case %zu: wanted \"%s\"", i, cases[i].error);
		assert_string_equal(error, cases[i].error);
		free(error);
	}
}

static void test_values(void **)
{
	static const char text[] =
		RESOURCE("    id: 73037362-715d-4a83-a749-f18eadd970e6\n"
			 "    type: ip\n    address: 2001:DB8::1\n    description: d\n"
			 "    filters: [tcp: [80, 90-99], udp: 53, tcp, icmp]\n"
			 "  - {name: all, type: internet, site: lab}\n"
			 "  - {name: dns, type: dns, address: '**.example.com', site: lab}\n"
			 "policies:\n"
			 "  - {group: staff, resource: web, lifetime: 60, expires_at: "
			 "2026-01-01T00:00:00Z}\n");
	static const struct filter filters[] = {
		{FILTER_PROTOCOL_TCP, 80, 80},
		{FILTER_PROTOCOL_TCP, 90, 99},
		{FILTER_PROTOCOL_UDP, 53, 53},
		{FILTER_PROTOCOL_TCP, 0, 65535},
		{FILTER_PROTOCOL_ICMP, 0, 0},
	};
	const struct filter_list wanted = {(struct filter *)(uintptr_t)filters, COUNT_OF(filters)};
	char *error = NULL;
	struct policy *first = parse(text, &error);
	struct policy *p;

	assert_null(error);
	p = policy_clone(first);
	policy_destroy(first);
	assert_string_equal(p->resources[0].id.text, "73037362-715d-4a83-a749-f18eadd970e6");
	assert_string_equal(p->resources[0].address, "2001:db8::1/128");
	assert_true(filter_list_eq(&p->resources[0].filters, &wanted));
	assert_null(p->resources[1].address);
	assert_int_equal(p->rules[0].lifetime_s, 60);
	assert_int_equal(p->rules[0].expires_at, 1767225600);
	assert_ptr_equal(policy_gateway_by_token(p, "g1"), &p->gateways[0]);
	assert_null(policy_gateway_by_token(p, "c1"));
	assert_ptr_equal(policy_client_by_token(p, "c2"), &p->clients[1]);
	p->clients[1].token.is_valid = false;
	assert_null(policy_client_by_token(p, "c2"));
	policy_destroy(p);
}

static void test_judge(void **)
{
	static const char text[] =
		WEB "policies:\n"
		    "  - {group: staff, resource: web, lifetime: 60}\n"
		    "  - {client: alice, resource: web, expires_at: 1970-01-01T00:16:40Z}\n"
		    "  - {client: bob, resource: web, expires_at: 1970-01-01T00:16:40Z}\n";
	char *error = NULL;
	struct policy *p = parse(text, &error);
	const struct policy_rule *rule = NULL;
	int64_t expires_at;

	assert_non_null(p);
	// The rule that lasts longer wins.
	assert_int_equal(
		policy_judge(p, &p->clients[0], p->resources, 900, &rule, &expires_at),
		POLICY_VERDICT_ALLOWED);
	assert_ptr_equal(rule, &p->rules[1]);
	assert_int_equal(expires_at, 1000);
	assert_int_equal(
		policy_judge(p, &p->clients[0], p->resources, 990, &rule, &expires_at),
		POLICY_VERDICT_ALLOWED);
	assert_ptr_equal(rule, &p->rules[0]);
	assert_int_equal(expires_at, 1050);
	// A client's token ends its authorizations too.
	p->clients[0].expires_at = 995;
	policy_judge(p, &p->clients[0], p->resources, 990, &rule, &expires_at);
	assert_int_equal(expires_at, 995);
	assert_int_equal(
		policy_judge(p, &p->clients[1], p->resources, 1000, NULL, NULL),
		POLICY_VERDICT_FORBIDDEN);
	assert_int_equal(policy_next_expiry(p, 994), 995);
	assert_int_equal(policy_next_expiry(p, 995), 1000);
	assert_int_equal(policy_next_expiry(p, 1000), POLICY_NEVER);
	policy_destroy(p);
}

static void test_grant_and_revoke(void **)
{
	static const char text[] = WEB "policies:\n  - {group: staff, resource: web}\n";
	char *error = NULL;
	struct policy *p = parse(text, &error);
	int64_t expires_at;

	assert_non_null(p);
	assert_false(policy_revoke(p, 1, 0));
	policy_grant(p, 1, 0, 60, 500);
	assert_int_equal(
		policy_judge(p, &p->clients[1], p->resources, 100, NULL, &expires_at),
		POLICY_VERDICT_ALLOWED);
	assert_int_equal(expires_at, 160);
	policy_grant(p, 1, 0, POLICY_NEVER, POLICY_NEVER);
	policy_judge(p, &p->clients[1], p->resources, 100, NULL, &expires_at);
	assert_int_equal(expires_at, POLICY_NEVER);
	assert_true(policy_revoke(p, 1, 0));
	assert_int_equal(
		policy_judge(p, &p->clients[1], p->resources, 100, NULL, NULL),
		POLICY_VERDICT_NOT_FOUND);
	// What a group grants is taken from this member alone, and given back.
	assert_true(policy_revoke(p, 0, 0));
	assert_int_equal(
		policy_judge(p, &p->clients[0], p->resources, 100, NULL, NULL),
		POLICY_VERDICT_NOT_FOUND);
	assert_false(policy_revoke(p, 0, 0));
	policy_grant(p, 0, 0, POLICY_NEVER, POLICY_NEVER);
	assert_int_equal(
		policy_judge(p, &p->clients[0], p->resources, 100, NULL, NULL),
		POLICY_VERDICT_ALLOWED);
	policy_destroy(p);
}

static void test_filter_text(void **)
{
	static const struct {
		const char *text;
		const char *json; // or the error after '!'
	} cases[] = {
		{"tcp:80,90-99 icmp",
		 "[{\"protocol\":\"tcp\",\"port_range_start\":80,\"port_range_end\":80},"
		 "{\"protocol\":\"tcp\",\"port_range_start\":90,\"port_range_end\":99},"
		 "{\"protocol\":\"icmp\"}]"},
		{"udp", "[{\"protocol\":\"udp\",\"port_range_start\":0,\"port_range_end\":65535}]"},
		{"any", "[]"},
		{"", "!expected filters like \"tcp:80,443 icmp\", or \"any\" alone"},
		{"any tcp", "!expected filters like \"tcp:80,443 icmp\", or \"any\" alone"},
		{"tcp:9-8", "!\"9-8\": the port range is inverted"},
		{"tcp:", "!\"tcp:\": no ports after the colon"},
		{"tcp:80x", "!\"80x\": expected a port (0-65535) or a range like 80-90"},
		{"tcp:99999", "!\"99999\": expected a port (0-65535) or a range like 80-90"},
		{"icmp:1", "!icmp has no ports"},
		{"gre", "!\"gre\": expected tcp, udp or icmp"},
	};

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct filter_list list;
		struct filter_list again;
		char *error = filter_list_parse(&list, cases[i].text);
		json_t *json;
		char *text;

		if (cases[i].json[0] == '!') {
			assert_string_equal(error, cases[i].json + 1);
			assert_int_equal(list.n_items, 0);
			free(error);
			continue;
		}
		assert_null(error);
		json = filter_list_to_json(&list);
		text = json_dumps(json, JSON_COMPACT);
		assert_string_equal(text, cases[i].json);
		assert_null(filter_list_from_json(&again, json));
		assert_true(filter_list_eq(&list, &again));
		free(text);
		json_decref(json);
		filter_list_fini(&list);
		filter_list_fini(&again);
	}
}

static void test_filter_json_errors(void **)
{
	static const char *const cases[] = {
		"{}",
		"[1]",
		"[{}]",
		"[{\"protocol\":\"gre\"}]",
		"[{\"protocol\":\"icmp\",\"port_range_start\":1}]",
		"[{\"protocol\":\"tcp\",\"port_range_start\":\"1\"}]",
		"[{\"protocol\":\"tcp\",\"port_range_start\":-1}]",
		"[{\"protocol\":\"tcp\",\"port_range_end\":65536}]",
		"[{\"protocol\":\"tcp\",\"port_range_start\":2,\"port_range_end\":1}]",
	};

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		json_t *json = json_loads(cases[i], 0, NULL);
		struct filter_list list;
		char *error = filter_list_from_json(&list, json);

		assert_non_null(error);
		assert_int_equal(list.n_items, 0);
		free(error);
		json_decref(json);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_errors),
		cmocka_unit_test(test_values),
		cmocka_unit_test(test_judge),
		cmocka_unit_test(test_grant_and_revoke),
		cmocka_unit_test(test_filter_text),
		cmocka_unit_test(test_filter_json_errors),
	};

	return sodium_init() < 0 ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
