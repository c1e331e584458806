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
			   "  - {name: lan, role: lan, device: \"0000:01:00.1\",\n"
			   "     nat_addresses: [192.0.2.200, \"2001:db8:2::200\"]}\n"
			   "cores: {control: 2, workers: [3, 7]}\n"
			   "idle: sleep\n"
			   "hugepages: false\n"
			   "nat_ports: 2000-3000\n"
			   "icmp_errors_per_second: 50\n"
			   "names: {resolv_conf: /run/resolv.conf}\n";

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
	assert_int_equal(c->ports[0].n_nat_addrs, 0);
	assert_int_equal(c->ports[1].n_nat_addrs, 2);
	assert_string_equal(ip_addr_format(&c->ports[1].nat_addrs[1], text), "2001:db8:2::200");
	assert_true(config_device_is_vdev(c->ports[0].device));
	assert_false(config_device_is_vdev(c->ports[1].device));
	assert_int_equal(c->control_core, 2);
	assert_int_equal(c->n_workers, 2);
	assert_int_equal(c->worker_cores[0], 3);
	assert_int_equal(c->worker_cores[1], 7);
	assert_false(c->has_shared_cores);
	assert_true(c->is_idle_sleep);
	assert_false(c->has_hugepages);
	assert_int_equal(c->nat_port_first, 2000);
	assert_int_equal(c->nat_port_last, 3000);
	assert_int_equal(c->udp_port, 52625);
	assert_string_equal(c->resolv_conf, "/run/resolv.conf");
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
		{PORT "udp_port: 2000\n", "udp_port lies within nat_ports"},
		{PORT "cores: {control: 1, worker: 1}\n", "g.yaml:3: cores"},
		{PORT "cores: {control: 1}\n", "g.yaml:3: cores: workers"},
		{PORT "cores: {control: 1, workers: []}\n", "g.yaml:3: cores"},
		{PORT "cores: {control: 1, workers: [2, 1]}\n", "g.yaml:3: cores: control and"},
		{PORT "cores: {control: 1, workers: [2, 2]}\n", "g.yaml:3: cores: control and"},
		{PORT "cores: {control: 1, workers: 2}\n", "g.yaml:3: cores.workers"},
		{PORT "cores: {control: 1, workers: [2, x]}\n", "g.yaml:3: cores.workers[1]"},
		{PORT "names: {resolv_conf: resolv.conf}\n", "g.yaml:3: names.resolv_conf"},
		{PORT "names: {resolver: /x}\n", "g.yaml:3: names.resolver"},
		{PORT "ports: []\n", "ports"},
		{"ports:\n  - {name: lan, role: lan, device: net_tap0}\n", "g.yaml:2: ports"},
		{"ports:\n  - {name: wan, role: dmz, device: net_tap0}\n", "ports[0].role"},
		{"ports:\n  - {name: w/n, role: wan, device: net_tap0}\n", "ports[0].name"},
		{"ports:\n  - {name: an-interface-name, role: wan, device: x}\n", "ports[0].name"},
		{"ports:\n  - {name: wan, role: wan}\n", "ports[0]"},
		{"ports:\n  - {name: wan, role: wan, device: a, addresses: [10.0.0.1]}\n",
		 "ports[0].addresses[0]"},
		{"ports:\n  - {name: wan, role: wan, device: a, addresses: [\"10\\n/8\"]}\n",
		 "10?/8"},
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
		{"ports:\n  - {name: wan, role: wan, device: a, nat_addresses: [10.0.0.1]}\n",
		 "nat_addresses are for ports with the role lan"},
		{PORT "  - {name: lan, role: lan, device: b, nat_addresses: [10.0.0.1/24]}\n",
		 "g.yaml:3: ports[1].nat_addresses[0]"},
		{PORT
		 "  - {name: lan, role: lan, device: b, nat_addresses: [10.0.0.1, 10.0.0.1]}\n",
		 "ports[1].nat_addresses[1]"},
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

// Keys are wg genkey | wg pubkey of nobody.
#define KEY_A "HIgo9xNzJMWLKASShiTqIybxZ0U3wGLiUeJ1PKf8ykw="
#define KEY_B "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg="
#define STATIC                                                                                     \
	PORT "private_key_file: k\ntunnel_addresses: [100.64.0.1, \"fd00:2021:1111::1\"]\n"        \
	     "peers:\n"
#define PEER(key, addresses, resources)                                                            \
	"  - {public_key: " key ", addresses: " addresses ", resources: " resources "}\n"
#define WEB "[{address: 192.0.2.80, filters: [tcp: [80, 5000-5010], udp, icmp]}]"

static void accepts_peers(void **)
{
	static const char text[] = STATIC PEER(KEY_A, "[100.64.9.1, \"fd00:2021:1111::9\"]", WEB)
		PEER(KEY_B, "100.64.9.2", "[{address: \"2001:db8::/32\"}]");
	char error[CONFIG_ERROR_SIZE] = "";
	struct config *c = config_parse("g.yaml", text, strlen(text), error);
	const struct config_resource *r;
	char buf[IP_TEXT_SIZE];

	if (c == NULL)
		fail_msg("%s", error);
	assert_int_equal(c->n_peers, 2);
	assert_string_equal(ip_addr_format(&c->tunnel_v6, buf), "fd00:2021:1111::1");
	assert_int_equal(c->peers[0].public_key[0], 0x1c);
	assert_int_equal(c->peers[0].public_key[31], 0x4c);
	assert_string_equal(ip_addr_format(&c->peers[0].v4, buf), "100.64.9.1");
	assert_string_equal(ip_addr_format(&c->peers[0].v6, buf), "fd00:2021:1111::9");
	assert_int_equal(c->peers[1].v6.family, IP_FAMILY_NONE);
	assert_int_equal(c->peers[0].n_resources, 1);
	r = &c->peers[0].resources[0];
	assert_int_equal(r->prefix.len, 32);
	assert_int_equal(r->n_filters, 4);
	assert_int_equal(r->filters[0].protocol, CONFIG_PROTOCOL_TCP);
	assert_int_equal(r->filters[0].port_first, 80);
	assert_int_equal(r->filters[0].port_last, 80);
	assert_int_equal(r->filters[1].port_first, 5000);
	assert_int_equal(r->filters[1].port_last, 5010);
	assert_int_equal(r->filters[2].protocol, CONFIG_PROTOCOL_UDP);
	assert_int_equal(r->filters[2].port_last, 65535);
	assert_int_equal(r->filters[3].protocol, CONFIG_PROTOCOL_ICMP);
	assert_int_equal(c->peers[1].resources[0].n_filters, 0);
	config_destroy(c);
}

static void refuses_peers(void **)
{
	static const struct {
		const char *text;
		const char *expected;
	} cases[] = {
		{PORT "tunnel_addresses: [10.0.0.1, 10.0.0.2]\n", "tunnel_addresses[1]"},
		{PORT "tunnel_addresses: [10.0.0.1/24]\n", "tunnel_addresses[0]"},
		{PORT "tunnel_addresses: 10.0.0.1\npeers:\n" PEER(KEY_A, "100.64.9.1", WEB),
		 "private_key_file"},
		{PORT "private_key_file: k\npeers:\n" PEER(KEY_A, "100.64.9.1", WEB),
		 "tunnel_addresses"},
		{STATIC PEER("short", "100.64.9.1", WEB), "peers[0].public_key"},
		{STATIC PEER("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", "100.64.9.1", WEB),
		 "peers[0].public_key"},
		{STATIC PEER(KEY_A ", preshared_key: x", "100.64.9.1", WEB),
		 "peers[0].preshared_key"},
		{STATIC PEER(KEY_A ", colour: red", "100.64.9.1", WEB), "colour"},
		{STATIC PEER(KEY_A, "[]", WEB), "peers[0].addresses"},
		{STATIC PEER(KEY_A, "100.64.9.1/32", WEB), "peers[0].addresses"},
		{STATIC PEER(KEY_A, "[100.64.9.1, 100.64.9.2]", WEB), "peers[0].addresses[1]"},
		{STATIC PEER(KEY_A, "100.64.9.1", "[]"), "peers[0].resources"},
		{STATIC PEER(KEY_A, "100.64.9.1", "[{address: 192.0.2.1/24}]"),
		 "peers[0].resources[0].address"},
		{STATIC PEER(KEY_A, "100.64.9.1", "[{address: 192.0.2.1, filters: []}]"),
		 "peers[0].resources[0].filters"},
		{STATIC PEER(KEY_A, "100.64.9.1", "[{address: 192.0.2.1, filters: [sctp]}]"),
		 "filters[0]"},
		{STATIC PEER(KEY_A, "100.64.9.1", "[{address: 192.0.2.1, filters: [icmp: 8]}]"),
		 "filters[0]"},
		{STATIC PEER(KEY_A, "100.64.9.1", "[{address: 192.0.2.1, filters: [tcp: 9-8]}]"),
		 "inverted"},
		{STATIC PEER(KEY_A, "100.64.9.1", "[{address: 192.0.2.1, filters: [tcp: 65536]}]"),
		 "expected a port"},
		{STATIC PEER(KEY_A, "100.64.9.1", "[{address: 192.0.2.1, filters: [tcp: 80-]}]"),
		 "expected a port"},
		{STATIC PEER(KEY_A, "100.64.9.1", WEB) PEER(KEY_A, "100.64.9.2", WEB),
		 "same public key"},
		{STATIC PEER(KEY_A, "100.64.9.1", WEB) PEER(KEY_B, "100.64.9.1", WEB),
		 "same IPv4 address"},
		{"max_clients: 1\n" STATIC PEER(KEY_A, "100.64.9.1", WEB)
			 PEER(KEY_B, "100.64.9.2", WEB),
		 "peers[1]: more than 1"},
	};

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		char error[CONFIG_ERROR_SIZE] = "";

		assert_null(config_parse("g.yaml", cases[i].text, strlen(cases[i].text), error));
		if (strstr(error, cases[i].expected) == NULL || strstr(error, "g.yaml") == NULL)
			fail_msg("case %zu: \"%s\" lacks \"%s\"", i, error, cases[i].expected);
	}
}

static void write_file(const char *path, const char *text)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	fputs(text, f);
	fclose(f);
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

// What the environment of token_sources() says; NULL: not set.
static const char *token_variable, *credentials_directory;

static const char *token_environment(const char *name)
{
	if (strcmp(name, "FIREZONE_TOKEN") == 0)
		return token_variable;
	return strcmp(name, "CREDENTIALS_DIRECTORY") == 0 ? credentials_directory : NULL;
}

static void token_sources(void **)
{
	char dir[] = "/tmp/sallyport-config.XXXXXX";
	char path[64], credential[64], file[64], error[CONFIG_ERROR_SIZE] = "";
	struct {
		const char *variable, *directory;
		const char *want; // NULL: refused
	} cases[] = {
		{"from.the.variable\r\n", NULL, "from.the.variable"},
		{" from.the.variable", dir, "from.the.variable"},
		{file, dir, "from.the.file"},
		{NULL, dir, "from.the.credential"},
		{"", dir, "from.the.credential"},
		{NULL, "/nonexistent", NULL},
		{"/nonexistent/token", dir, NULL},
		{"", NULL, NULL},
		{"\n", NULL, NULL},
	};

	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/g.yaml", dir);
	snprintf(credential, sizeof(credential), "%s/FIREZONE_TOKEN", dir);
	snprintf(file, sizeof(file), "%s/token", dir);
	write_file(path, good);
	write_file(credential, "\n from.the.credential\n");
	write_file(file, "from.the.file\n\n");
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct config *c;

		token_variable = cases[i].variable;
		credentials_directory = cases[i].directory;
		c = config_load(path, token_environment, error);
		assert_int_equal(c != NULL, cases[i].want != NULL);
		if (c == NULL) {
			// The path or the variable is named, never a token.
			assert_true(
				strstr(error, "FIREZONE_TOKEN") || strstr(error, "/nonexistent"));
			continue;
		}
		assert_string_equal(c->token, cases[i].want);
		config_destroy(c);
	}
	remove(file);
	remove(credential);
	remove(path);
	remove(dir);
}

// With peers the token is optional; the private key is read from its file.
static void loads_private_key(void **)
{
	char dir[] = "/tmp/sallyport-config.XXXXXX";
	char path[64], key[64], text[1024], error[CONFIG_ERROR_SIZE] = "";
	struct config *c;

	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/g.yaml", dir);
	snprintf(key, sizeof(key), "%s/key", dir);
	snprintf(
		text,
		sizeof(text),
		PORT "tunnel_addresses: 100.64.0.1\nprivate_key_file: %s\n"
		     "peers:\n" PEER(KEY_A, "100.64.9.1", WEB),
		key);
	write_file(path, text);
	assert_null(config_load(path, no_environment, error));
	assert_non_null(strstr(error, "private_key_file"));
	write_file(key, "not a key\n");
	assert_null(config_load(path, no_environment, error));
	assert_non_null(strstr(error, "wg genkey"));
	write_file(key, KEY_B "\n");
	c = config_load(path, no_environment, error);
	if (c == NULL)
		fail_msg("%s", error);
	assert_int_equal(c->private_key[0], 0xc5);
	assert_string_equal(c->token, "");
	config_destroy(c);
	remove(key);
	remove(path);
	remove(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(accepts),
		cmocka_unit_test(refuses),
		cmocka_unit_test(needs_a_token),
		cmocka_unit_test(token_sources),
		cmocka_unit_test(accepts_peers),
		cmocka_unit_test(refuses_peers),
		cmocka_unit_test(loads_private_key),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
