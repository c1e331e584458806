// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "kni/fib.h"
#include "tests/unit/unit.h"

#include <errno.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static const uint8_t mac_gw[6] = {2, 0, 0, 0, 0, 1};
static const uint8_t mac_host[6] = {2, 0, 0, 0, 0, 2};
static const uint8_t mac_ll[6] = {2, 0, 0, 0, 0, 3};

static struct ip_addr addr(const char *text)
{
	struct ip_addr a;

	assert_int_equal(ip_addr_parse(&a, text), 0);
	return a;
}

static void local(struct fib_builder *b, const char *text, uint16_t port)
{
	struct ip_addr a = addr(text);

	assert_int_equal(fib_builder_add_local(b, &a, port), 0);
}

static void
route(struct fib_builder *b,
      const char *prefix,
      uint16_t port,
      const char *gateway,
      const char *source,
      uint32_t metric)
{
	struct ip_addr gw = {0}, src = {0};
	struct ip_prefix p;

	assert_int_equal(ip_prefix_parse(&p, prefix), 0);
	if (gateway != NULL)
		gw = addr(gateway);
	if (source != NULL)
		src = addr(source);
	assert_int_equal(
		fib_builder_add_route(
			b, &p, port, gateway ? &gw : NULL, source ? &src : NULL, metric),
		0);
}

static void neigh(struct fib_builder *b, uint16_t port, const char *text, const uint8_t *mac)
{
	struct ip_addr a = addr(text);

	assert_int_equal(fib_builder_add_neigh(b, port, &a, mac), 0);
}

// Two ports: WAN 0 with a default route, LAN 1 with a subnet and a route behind a router.
static struct fib *two_ports(void)
{
	struct fib_builder *b = fib_builder_create();
	struct fib *fib;

	assert_non_null(b);
	local(b, "100.64.0.1", FIB_PORT_NONE);
	local(b, "169.254.7.7", 0);
	local(b, "203.0.113.5", 0);
	local(b, "203.0.113.6", 0);
	local(b, "fe80::5", 0);
	local(b, "2001:db8::5", 0);
	local(b, "10.0.0.1", 1);
	local(b, "fe80::1", 1);
	route(b, "0.0.0.0/0", 0, "203.0.113.1", NULL, 100);
	route(b, "0.0.0.0/0", 1, "10.0.0.9", NULL, 200);
	route(b, "203.0.113.0/24", 0, NULL, NULL, 0);
	route(b, "203.0.113.255/32", FIB_PORT_NONE, NULL, NULL, 0);
	route(b, "10.0.0.0/24", 1, NULL, NULL, 0);
	route(b, "10.1.0.0/16", 1, "10.0.0.2", "203.0.113.6", 50);
	route(b, "10.1.0.0/16", 0, NULL, NULL, 60);
	route(b, "10.1.2.0/24", FIB_PORT_NONE, NULL, NULL, 0);
	route(b, "10.1.2.128/25", 1, "10.0.0.3", NULL, 0);
	route(b, "10.1.2.255/32", 1, "10.0.0.2", NULL, 0);
	route(b, "100.64.0.0/11", FIB_PORT_NONE, NULL, NULL, 0);
	route(b, "198.18.0.0/15", 1, "fe80::9", NULL, 0);
	route(b, "255.0.0.0/8", 1, NULL, NULL, 0);
	route(b, "::/0", 0, "fe80::9", NULL, 1024);
	route(b, "2001:db8::/64", 0, NULL, NULL, 256);
	route(b, "2001:db8:1::/48", 1, "fe80::9", NULL, 1024);
	route(b, "fe80::/64", 1, NULL, NULL, 256);
	neigh(b, 0, "203.0.113.1", mac_gw);
	neigh(b, 1, "203.0.113.7", mac_gw);
	neigh(b, 1, "10.0.0.2", mac_host);
	neigh(b, 1, "10.0.0.44", mac_gw);
	neigh(b, 1, "10.0.0.44", NULL);
	neigh(b, 0, "fe80::9", mac_gw);
	neigh(b, 1, "fe80::9", mac_ll);
	fib = fib_builder_build(b, 7);
	fib_builder_destroy(b);
	assert_non_null(fib);
	return fib;
}

static void test_lookup(void **)
{
	static const struct {
		const char *dst;
		enum fib_verdict verdict;
		uint16_t port;
		const char *next_hop, *source;
		const uint8_t *mac;
	} table[] = {
		// Default route, metric, gateway, first global address though a link-local came first.
		{"198.51.100.1", FIB_FORWARD, 0, "203.0.113.1", "203.0.113.5", mac_gw},
		{"1.0.0.0", FIB_FORWARD, 0, "203.0.113.1", "203.0.113.5", mac_gw},
		{"223.255.255.255", FIB_FORWARD, 0, "203.0.113.1", "203.0.113.5", mac_gw},
		// On link; a neighbour counts on its own port only.
		{"203.0.113.1", FIB_FORWARD, 0, "203.0.113.1", "203.0.113.5", mac_gw},
		{"203.0.113.7", FIB_RESOLVE, 0, "203.0.113.7", "203.0.113.5", NULL},
		{"10.0.0.44", FIB_FAILED, 1, "10.0.0.44", "10.0.0.1", NULL},
		{"10.0.0.255", FIB_RESOLVE, 1, "10.0.0.255", "10.0.0.1", NULL},
		{"203.0.113.255", FIB_NO_ROUTE, 0, NULL, NULL, NULL},
		// Behind a router, with a preferred source; both edges; holes in holes.
		{"10.1.0.0", FIB_FORWARD, 1, "10.0.0.2", "203.0.113.6", mac_host},
		{"10.1.255.255", FIB_FORWARD, 1, "10.0.0.2", "203.0.113.6", mac_host},
		{"10.1.1.255", FIB_FORWARD, 1, "10.0.0.2", "203.0.113.6", mac_host},
		{"10.1.2.0", FIB_NO_ROUTE, 0, NULL, NULL, NULL},
		{"10.1.2.127", FIB_NO_ROUTE, 0, NULL, NULL, NULL},
		{"10.1.2.128", FIB_RESOLVE, 1, "10.0.0.3", "10.0.0.1", NULL},
		{"10.1.2.254", FIB_RESOLVE, 1, "10.0.0.3", "10.0.0.1", NULL},
		{"10.1.2.255", FIB_FORWARD, 1, "10.0.0.2", "10.0.0.1", mac_host},
		{"10.1.3.0", FIB_FORWARD, 1, "10.0.0.2", "203.0.113.6", mac_host},
		{"10.2.0.0", FIB_FORWARD, 0, "203.0.113.1", "203.0.113.5", mac_gw},
		// A route to an interface that is no port hides the default route.
		{"100.64.0.2", FIB_NO_ROUTE, 0, NULL, NULL, NULL},
		{"100.96.0.0", FIB_FORWARD, 0, "203.0.113.1", "203.0.113.5", mac_gw},
		// IPv4 through an IPv6 next hop (RFC 5549).
		{"198.19.255.255", FIB_FORWARD, 1, "fe80::9", "10.0.0.1", mac_ll},
		// Our own.
		{"100.64.0.1", FIB_LOCAL, FIB_PORT_NONE, "100.64.0.1", "100.64.0.1", NULL},
		{"203.0.113.6", FIB_LOCAL, 0, "203.0.113.6", "203.0.113.6", NULL},
		{"fe80::1", FIB_LOCAL, 1, "fe80::1", "fe80::1", NULL},
		{"2001:db8::5", FIB_LOCAL, 0, "2001:db8::5", "2001:db8::5", NULL},
		// IPv6: the same link-local next hop on two ports is two neighbours; port 1 has
		// no global address, so there is no source.
		{"2001:db8:2::1", FIB_FORWARD, 0, "fe80::9", "2001:db8::5", mac_gw},
		{"2001:db8:1:ffff::1", FIB_FORWARD, 1, "fe80::9", "", mac_ll},
		{"2001:db8::9", FIB_RESOLVE, 0, "2001:db8::9", "2001:db8::5", NULL},
		{"fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
		 FIB_FORWARD,
		 0,
		 "fe80::9",
		 "2001:db8::5",
		 mac_gw},
		// Never routed, default route or not.
		{"0.0.0.0", FIB_NO_ROUTE, 0, NULL, NULL, NULL},
		{"0.1.2.3", FIB_NO_ROUTE, 0, NULL, NULL, NULL},
		{"127.0.0.1", FIB_NO_ROUTE, 0, NULL, NULL, NULL},
		{"224.0.0.1", FIB_NO_ROUTE, 0, NULL, NULL, NULL},
		{"239.255.255.255", FIB_NO_ROUTE, 0, NULL, NULL, NULL},
		{"255.255.255.255", FIB_NO_ROUTE, 0, NULL, NULL, NULL},
		{"255.255.255.254", FIB_RESOLVE, 1, "255.255.255.254", "10.0.0.1", NULL},
		{"::", FIB_NO_ROUTE, 0, NULL, NULL, NULL},
		{"::1", FIB_NO_ROUTE, 0, NULL, NULL, NULL},
		{"::2", FIB_FORWARD, 0, "fe80::9", "2001:db8::5", mac_gw},
		{"ff02::1", FIB_NO_ROUTE, 0, NULL, NULL, NULL},
		{"fe80::9", FIB_NO_ROUTE, 0, NULL, NULL, NULL},
		{"febf::1", FIB_NO_ROUTE, 0, NULL, NULL, NULL},
	};
	struct fib *fib = two_ports();

	for (size_t i = 0; i < COUNT_OF(table); i++) {
		struct ip_addr dst = addr(table[i].dst);
		struct fib_adj adj = {0};
		char text[IP_TEXT_SIZE];
		enum fib_verdict verdict = fib_lookup(fib, &dst, &adj);

		if (verdict != table[i].verdict)
			fail_msg(
				"%s: verdict %d, want %d", table[i].dst, verdict, table[i].verdict);
		assert_int_equal(fib_is_local(fib, &dst), verdict == FIB_LOCAL);
		if (verdict == FIB_NO_ROUTE)
			continue;
		assert_int_equal(adj.port_id, table[i].port);
		assert_string_equal(ip_addr_format(&adj.next_hop, text), table[i].next_hop);
		if (table[i].source[0] == '\0')
			assert_int_equal(adj.source.family, IP_FAMILY_NONE);
		else
			assert_string_equal(ip_addr_format(&adj.source, text), table[i].source);
		if (verdict == FIB_FORWARD)
			assert_memory_equal(adj.dst_mac, table[i].mac, 6);
	}
	assert_int_equal(fib_generation(fib), 7);
	fib_destroy(fib);
}

static void test_no_family(void **)
{
	struct fib *fib = two_ports();
	struct fib_adj adj;

	assert_int_equal(fib_lookup(fib, &(struct ip_addr){0}, &adj), FIB_NO_ROUTE);
	assert_false(fib_is_local(fib, &(struct ip_addr){0}));
	fib_destroy(fib);
}

static void test_port_addr(void **)
{
	struct fib *fib = two_ports();
	struct ip_addr a;
	char text[IP_TEXT_SIZE];

	assert_true(fib_port_addr(fib, 0, IP_FAMILY_V4, &a));
	assert_string_equal(ip_addr_format(&a, text), "203.0.113.5");
	assert_true(fib_port_addr(fib, 0, IP_FAMILY_V6, &a));
	assert_string_equal(ip_addr_format(&a, text), "2001:db8::5");
	assert_true(fib_port_addr(fib, 1, IP_FAMILY_V4, &a));
	assert_false(fib_port_addr(fib, 1, IP_FAMILY_V6, &a));
	assert_false(fib_port_addr(fib, 2, IP_FAMILY_V4, &a));
	assert_false(fib_port_addr(fib, FIB_PORT_NONE, IP_FAMILY_V4, &a));
	fib_destroy(fib);
}

static void test_empty(void **)
{
	struct fib_builder *b = fib_builder_create();
	struct fib *fib = fib_builder_build(b, 1);
	struct ip_addr v4 = addr("192.0.2.1"), v6 = addr("2001:db8::1"), out;
	struct fib_adj adj;

	assert_non_null(fib);
	assert_int_equal(fib_lookup(fib, &v4, &adj), FIB_NO_ROUTE);
	assert_int_equal(fib_lookup(fib, &v6, &adj), FIB_NO_ROUTE);
	assert_false(fib_is_local(fib, &v4));
	assert_false(fib_port_addr(fib, 0, IP_FAMILY_V4, &out));
	fib_destroy(fib);
	fib_destroy(NULL);
	fib_builder_destroy(b);
	fib_builder_destroy(NULL);
}

static void test_bad_input(void **)
{
	struct fib_builder *b = fib_builder_create();
	struct ip_addr v6 = addr("2001:db8::1");
	struct ip_prefix p = {.addr = addr("192.0.2.0"), .len = 33};

	assert_int_equal(fib_builder_add_route(b, &p, 0, NULL, NULL, 0), -EINVAL);
	p.len = 16; // host bits
	assert_int_equal(fib_builder_add_route(b, &p, 0, NULL, NULL, 0), -EINVAL);
	p.len = 24;
	assert_int_equal(fib_builder_add_route(b, &p, 0, NULL, &v6, 0), -EINVAL);
	p.addr.family = IP_FAMILY_NONE;
	assert_int_equal(fib_builder_add_route(b, &p, 0, NULL, NULL, 0), -EINVAL);
	assert_int_equal(fib_builder_add_local(b, &(struct ip_addr){0}, 0), -EINVAL);
	fib_builder_destroy(b);
}

// The builder goes on after a build, and earlier snapshots do not change.
static void test_reuse(void **)
{
	struct fib_builder *b = fib_builder_create();
	struct ip_addr dst = addr("192.0.2.1");
	struct fib_adj adj;
	struct fib *one, *two;

	local(b, "198.51.100.1", FIB_PORT_NONE);
	local(b, "198.51.100.1", 3);
	route(b, "192.0.2.0/24", 3, NULL, NULL, 5);
	one = fib_builder_build(b, 1);
	route(b, "192.0.2.0/24", 4, NULL, NULL, 5);
	route(b, "192.0.2.0/24", 5, NULL, NULL, 4);
	two = fib_builder_build(b, 2);
	fib_builder_destroy(b);
	assert_int_equal(fib_lookup(one, &dst, &adj), FIB_RESOLVE);
	assert_int_equal(adj.port_id, 3);
	assert_int_equal(adj.source.family, IP_FAMILY_V4);
	assert_int_equal(fib_lookup(two, &dst, &adj), FIB_RESOLVE);
	assert_int_equal(adj.port_id, 5);
	fib_destroy(one);
	fib_destroy(two);
}

// Differential test against the definition of longest prefix match.

struct model_route {
	struct ip_prefix prefix;
	uint16_t port;
	uint32_t metric;
};

// xorshift64*: the same numbers in each run.
static uint64_t rng(uint64_t *state)
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return *state * 0x2545f4914f6cdd1du;
}

// Few distinct bits, so that prefixes nest, coincide and touch the ends of the address space.
static struct ip_addr random_addr(uint64_t *state, bool is_v6)
{
	static const uint8_t bytes[] = {0x00, 0xff, 0x80, 0x7f, 0x0a, 0x01, 0xfe, 0x20};
	struct ip_addr a = {.family = is_v6 ? IP_FAMILY_V6 : IP_FAMILY_V4};

	for (size_t i = 0; i < ip_addr_size(&a); i++)
		a.bytes[i] = bytes[rng(state) % COUNT_OF(bytes)];
	return a;
}

static bool model_contains(const struct ip_prefix *p, const struct ip_addr *a)
{
	if (p->addr.family != a->family)
		return false;
	for (unsigned bit = 0; bit < p->len; bit++)
		if ((p->addr.bytes[bit / 8] ^ a->bytes[bit / 8]) & 0x80 >> bit % 8)
			return false;
	return true;
}

static uint16_t model_lookup(const struct model_route *routes, size_t n, const struct ip_addr *dst)
{
	const struct model_route *best = NULL;

	for (size_t i = 0; i < n; i++) {
		const struct model_route *r = &routes[i];

		if (!model_contains(&r->prefix, dst))
			continue;
		if (best == NULL || r->prefix.len > best->prefix.len
		    || (r->prefix.len == best->prefix.len && r->metric < best->metric))
			best = r;
	}
	return best != NULL ? best->port : FIB_PORT_NONE;
}

// The addresses that matter most: one before, at the ends of, and one after a prefix.
static struct ip_addr edge_of(const struct ip_prefix *p, unsigned which)
{
	struct ip_addr a = p->addr;
	size_t size = ip_addr_size(&a);

	if (which >= 2)
		for (size_t bit = p->len; bit < size * 8; bit++)
			a.bytes[bit / 8] |= (uint8_t)(0x80 >> bit % 8);
	for (size_t i = size; which % 2 != 0 && i-- > 0;) {
		a.bytes[i] = (uint8_t)(which == 1 ? a.bytes[i] - 1 : a.bytes[i] + 1);
		if (a.bytes[i] != (which == 1 ? 0xff : 0x00))
			break;
	}
	return a;
}

// Every other route hangs on an edge of the one before it (NULL: there is none).
static void random_route(struct model_route *r, const struct model_route *prev, uint64_t *state)
{
	bool is_v6 = rng(state) % 2 != 0;
	size_t bits;

	if (prev != NULL && rng(state) % 2 != 0)
		r->prefix.addr = edge_of(&prev->prefix, rng(state) % 4);
	else
		r->prefix.addr = random_addr(state, is_v6);
	bits = ip_addr_size(&r->prefix.addr) * 8;
	r->prefix.len = (uint8_t)(rng(state) % 4 == 0 ? bits : rng(state) % (bits + 1));
	for (size_t bit = r->prefix.len; bit < bits; bit++)
		r->prefix.addr.bytes[bit / 8] &= (uint8_t) ~(0x80 >> bit % 8);
	r->port = rng(state) % 8 == 0 ? FIB_PORT_NONE : (uint16_t)(rng(state) % 5);
	r->metric = (uint32_t)(rng(state) % 3);
}

static bool is_never_routed(const struct ip_addr *a)
{
	char text[IP_TEXT_SIZE];

	if (a->family == IP_FAMILY_V4)
		return a->bytes[0] == 0 || a->bytes[0] == 127
			|| (a->bytes[0] >= 224 && a->bytes[0] <= 239)
			|| strcmp(ip_addr_format(a, text), "255.255.255.255") == 0;
	ip_addr_format(a, text);
	return a->bytes[0] == 0xff || (a->bytes[0] == 0xfe && a->bytes[1] / 64 == 2)
		|| strcmp(text, "::") == 0 || strcmp(text, "::1") == 0;
}

static void
compare(const struct fib *fib, const struct model_route *routes, size_t n, const struct ip_addr *a)
{
	uint16_t want = is_never_routed(a) ? FIB_PORT_NONE : model_lookup(routes, n, a);
	struct fib_adj adj = {.port_id = FIB_PORT_NONE};
	char text[IP_TEXT_SIZE];

	if (fib_lookup(fib, a, &adj) == FIB_NO_ROUTE)
		adj.port_id = FIB_PORT_NONE;
	if (adj.port_id != want)
		fail_msg("%s: port %u, want %u", ip_addr_format(a, text), adj.port_id, want);
}

static void test_against_model(void **)
{
	struct model_route routes[200];
	uint64_t state = 20261123;

	for (unsigned round = 0; round < 60; round++) {
		size_t n = rng(&state) % COUNT_OF(routes);
		struct fib_builder *b = fib_builder_create();
		struct fib *fib;

		for (size_t i = 0; i < n; i++) {
			random_route(&routes[i], i > 0 ? &routes[i - 1] : NULL, &state);
			assert_int_equal(
				fib_builder_add_route(
					b,
					&routes[i].prefix,
					routes[i].port,
					NULL,
					NULL,
					routes[i].metric),
				0);
		}
		fib = fib_builder_build(b, round);
		fib_builder_destroy(b);
		assert_non_null(fib);
		for (size_t i = 0; i < n * 4; i++) {
			struct ip_addr a = edge_of(&routes[i / 4].prefix, i % 4);

			compare(fib, routes, n, &a);
		}
		for (unsigned i = 0; i < 300; i++) {
			struct ip_addr a = random_addr(&state, i % 2 != 0);

			compare(fib, routes, n, &a);
		}
		fib_destroy(fib);
	}
}

// Many neighbours: the index finds each of them and nothing else.
static void test_many_neighbours(void **)
{
	struct fib_builder *b = fib_builder_create();
	struct fib_adj adj;
	struct fib *fib;

	route(b, "10.0.0.0/8", 1, NULL, NULL, 0);
	for (uint32_t i = 0; i < 5000; i++) {
		const uint8_t bytes[4] = {10, 1, (uint8_t)(i >> 8), (uint8_t)i};
		const uint8_t mac[6] = {2, 0, 0, 0, (uint8_t)(i >> 8), (uint8_t)i};
		struct ip_addr a = ip_addr_v4(bytes);

		assert_int_equal(fib_builder_add_neigh(b, 1, &a, mac), 0);
	}
	fib = fib_builder_build(b, 1);
	for (uint32_t i = 0; i < 10000; i++) {
		const uint8_t bytes[4] = {10, 1, (uint8_t)(i >> 8), (uint8_t)i};
		struct ip_addr a = ip_addr_v4(bytes);

		assert_int_equal(fib_lookup(fib, &a, &adj), i < 5000 ? FIB_FORWARD : FIB_RESOLVE);
		if (i < 5000)
			assert_memory_equal(&adj.dst_mac[4], &bytes[2], 2);
	}
	fib_destroy(fib);
	fib_builder_destroy(b);
}

static double now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec * 1e6 + (double)ts.tv_nsec / 1e3;
}

// Printed, not asserted: n IPv4 /24 routes over eight gateways.
static void measure(uint32_t n)
{
	struct fib_builder *b = fib_builder_create();
	double add = now_us(), build, look;
	uint64_t state = 1;
	size_t size;
	struct fib *fib;

	for (uint32_t i = 0; i < n; i++) {
		const uint32_t at = i * (0xe0000000u / n);
		const uint8_t bytes[4] = {
			(uint8_t)(at >> 24), (uint8_t)(at >> 16), (uint8_t)(at >> 8)};
		const uint8_t gw[4] = {10, 0, 0, (uint8_t)(1 + rng(&state) % 8)};
		const struct ip_prefix p = {.addr = ip_addr_v4(bytes), .len = 24};
		const struct ip_addr gateway = ip_addr_v4(gw);

		assert_int_equal(fib_builder_add_route(b, &p, 0, &gateway, NULL, 0), 0);
	}
	build = now_us();
	fib = fib_builder_build(b, 1);
	assert_non_null(fib);
	look = now_us();
	size = malloc_usable_size(fib);
	for (uint32_t i = 0; i < 100000; i++) {
		const struct ip_addr a = {
			.family = IP_FAMILY_V4,
			.bytes = {
				1 + rng(&state) % 126, (uint8_t)rng(&state), (uint8_t)rng(&state)}};
		struct fib_adj adj;

		fib_lookup(fib, &a, &adj);
	}
	printf("fib: %u routes: added in %.0f us, built in %.0f us, %zu bytes, lookup %.0f ns\n",
	       n,
	       build - add,
	       look - build,
	       size,
	       (now_us() - look) / 100);
	fib_destroy(fib);
	fib_builder_destroy(b);
}

static void test_measure(void **)
{
	measure(10);
	measure(1000);
	measure(100000);
	if (getenv("FIB_MEASURE_FULL") != NULL)
		measure(1000000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lookup),
		cmocka_unit_test(test_no_family),
		cmocka_unit_test(test_port_addr),
		cmocka_unit_test(test_empty),
		cmocka_unit_test(test_bad_input),
		cmocka_unit_test(test_reuse),
		cmocka_unit_test(test_against_model),
		cmocka_unit_test(test_many_neighbours),
		cmocka_unit_test(test_measure),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
