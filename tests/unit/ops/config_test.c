// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "control/ops/config.h"
#include "tests/unit/unit.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const char good[] = "# comment\n"
			   "ports:\n"
			   "  - name: wan\n"
			   "    role: wan\n"
			   "    device: net_tap0,iface=wire-wan\n"
			   "    addresses: [203.0.113.10/24, \"2001:db8:113::10/64\"]\n"
			   "    routes:\n"
			   "      - {to: 0.0.0.0/0, via: 203.0.113.1}\n"
			   "  - {name: lan, role: lan, device: \"0000:01:00.1\"}\n"
			   "cores: {control: 2, worker: 3}\n"
			   "idle: sleep\n"
			   "hugepages: false\n"
			   "nat_ports: 2000-3000\n"
			   "icmp_errors_per_second: 50\n";

static void accepts(void **)
{
	char error[CONFIG_ERROR_SIZE];
	struct config *c = config_parse("g.yaml", good, strlen(good), error);
	char text[IP_TEXT_SIZE];

	assert_non_null(c);
	assert_int_equal(c->n_ports, 2);
	assert_string_equal(c->ports[0].name, "wan");
	assert_int_equal(c->ports[0].role, CONFIG_ROLE_WAN);
	assert_int_equal(c->ports[0].n_addrs, 2);
	assert_string_equal(ip_addr_format(&c->ports[0].addrs[1].addr, text), "2001:db8:113::10");
	assert_int_equal(c->ports[0].addrs[1].prefix_len, 64);
	assert_int_equal(c->ports[0].n_routes, 1);
	assert_int_equal(c->ports[0].routes[0].to.len, 0);
	assert_true(config_device_is_vdev(c->ports[0].device));
	assert_false(config_device_is_vdev(c->ports[1].device));
	assert_int_equal(c->control_core, 2);
	assert_int_equal(c->worker_core, 3);
	assert_true(c->is_idle_sleep);
	assert_false(c->has_hugepages);
	assert_int_equal(c->nat_port_first, 2000);
	assert_int_equal(c->nat_port_last, 3000);
	assert_int_equal(c->udp_port, 52625);
	config_destroy(c);
}

#define PORT "ports:\n  - {name: wan, role: wan, device: net_tap0}\n"

// Each error names file, line and key.
static void refuses(void **)
{
	static const struct {
		const char *text;
		const char *expected;
	} cases[] = {
		{"", "g.yaml"},
		{"cores: {control: 0, worker: 1}\n", "ports"},
		{PORT "colour: red\n", "g.yaml:3: colour"},
		{PORT "idle: maybe\n", "g.yaml:3: idle"},
		{PORT "hugepages: 1\n", "g.yaml:3: hugepages"},
		{PORT "udp_port: 0\n", "g.yaml:3: udp_port"},
		{PORT "udp_port: 65536\n", "g.yaml:3: udp_port"},
		{PORT "udp_port: x\n", "g.yaml:3: udp_port"},
		{PORT "nat_ports: 3000-2000\n", "g.yaml:3: nat_ports"},
		{PORT "icmp_errors_per_second: 0\n", "g.yaml:3: icmp_errors_per_second"},
		{PORT "nat_ports: 1-70000\n", "g.yaml:3: nat_ports"},
		{PORT "cores: {control: 1, worker: 1}\n", "g.yaml:3: cores"},
		{PORT "cores: {control: 1}\n", "worker"},
		{PORT "ports: []\n", "ports"},
		{"ports:\n  - {name: lan, role: lan, device: net_tap0}\n", "g.yaml:2: ports"},
		{"ports:\n  - {name: wan, role: dmz, device: net_tap0}\n", "ports[0].role"},
		{"ports:\n  - {name: w/n, role: wan, device: net_tap0}\n", "ports[0].name"},
		{"ports:\n  - {name: an-interface-name, role: wan, device: x}\n", "ports[0].name"},
		{"ports:\n  - {name: wan, role: wan}\n", "ports[0]"},
		{"ports:\n  - {name: wan, role: wan, device: a, addresses: [10.0.0.1]}\n",
		 "ports[0].addresses[0]"},
		{"ports:\n  - {name: wan, role: wan, device: a, addresses: [10.0.0.1/33]}\n",
		 "ports[0].addresses[0]"},
		{"ports:\n  - {name: wan, role: wan, device: a, routes: [{to: 10.0.0.1/8, via: "
		 "10.0.0.1}]}\n",
		 "ports[0].routes[0].to"},
		{"ports:\n  - {name: wan, role: wan, device: a, routes: [{to: \"::/0\", via: "
		 "10.0.0.1}]}\n",
		 "ports[0].routes[0]"},
		{"ports:\n  - {name: wan, role: wan, device: a}\n  - {name: wan, role: lan, "
		 "device: b}\n",
		 "ports[1]"},
		{"ports: [\n", "g.yaml"},
	};

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		char error[CONFIG_ERROR_SIZE] = "";

		errno = 0;
		assert_null(config_parse("g.yaml", cases[i].text, strlen(cases[i].text), error));
		if (strstr(error, cases[i].expected) == NULL || strstr(error, "g.yaml") == NULL)
			fail_msg("case %zu: \"%s\" lacks \"%s\"", i, error, cases[i].expected);
	}
}

static const char *no_environment(const char *)
{
	return NULL;
}

static const char *short_environment(const char *name)
{
	return strcmp(name, "FIREZONE_TOKEN") == 0 ? "token\n" : NULL;
}

static void needs_a_token(void **)
{
	char path[] = "/tmp/sallyport-config.XXXXXX";
	char error[CONFIG_ERROR_SIZE];
	struct config *c;
	int fd = mkstemp(path);
	FILE *f = fdopen(fd, "w");

	assert_non_null(f);
	fputs(good, f);
	fclose(f);
	assert_null(config_load(path, no_environment, error));
	assert_non_null(strstr(error, "FIREZONE_TOKEN"));
	c = config_load(path, short_environment, error);
	assert_non_null(c);
	assert_string_equal(c->token, "token");
	assert_string_equal(c->api_url, "wss://api.firezone.dev");
	assert_string_not_equal(c->name, "");
	config_destroy(c);
	remove(path);
	assert_null(config_load(path, short_environment, error));
	assert_int_equal(errno, ENOENT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(accepts),
		cmocka_unit_test(refuses),
		cmocka_unit_test(needs_a_token),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
