// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "dataplane/flow/flow.h"
#include "tests/unit/flow/fixture.h"
#include "tests/unit/unit.h"

static uint16_t nat_port(const struct flow *f)
{
	return rte_be_to_cpu_16(f->nat_port);
}

// spec/datapath.md 11.1, 75.
static void own_port_is_kept_when_free(void **)
{
	static const struct {
		enum flow_kind kind;
		uint16_t sport;
		bool is_kept;
	} table[] = {
		{FLOW_KIND_TCP, 20000, true},
		{FLOW_KIND_TCP, 20099, true},
		{FLOW_KIND_TCP, 19999, false}, // outside the range: may be the kernel's
		{FLOW_KIND_TCP, 20100, false},
		{FLOW_KIND_UDP, 20050, true},
		{FLOW_KIND_UDP, 0, false},
		{FLOW_KIND_UDP, 65535, false},
		{FLOW_KIND_ECHO, 0, true}, // identifiers have no range
		{FLOW_KIND_ECHO, 65535, true},
	};
	struct flow_table *t = fixture_create(100, 100);
	struct flow_table_stats stats;

	for (size_t i = 0; i < COUNT_OF(table); i++) {
		bool is_echo = table[i].kind == FLOW_KIND_ECHO;
		struct flow_inside key = fixture_inside(
			1, table[i].kind, "2001:db8::1", table[i].sport, is_echo ? 0 : 80);
		const struct flow *f = fixture_flow(t, &key, FIXTURE_START);

		assert_non_null(f);
		assert_int_equal(nat_port(f) == table[i].sport, table[i].is_kept);
		if (!is_echo)
			assert_in_range(nat_port(f), 20000, 20099);
	}
	flow_table_stats_get(t, &stats);
	assert_int_equal(stats.ports_kept, 5);
	assert_int_equal(stats.ports_changed, 4);
	flow_table_destroy(t);
}

// spec/datapath.md 11.1, 74: two clients, same source port, same server and port.
static void same_port_of_two_clients(void **)
{
	static const enum flow_kind kinds[] = {FLOW_KIND_TCP, FLOW_KIND_UDP, FLOW_KIND_ECHO};
	struct flow_table *t = fixture_create(100, 100);

	for (size_t i = 0; i < COUNT_OF(kinds); i++) {
		uint16_t dport = kinds[i] == FLOW_KIND_ECHO ? 0 : 443;
		struct flow_inside a = fixture_inside(1, kinds[i], "10.0.0.1", 20055, dport);
		struct flow_inside b = fixture_inside(2, kinds[i], "10.0.0.1", 20055, dport);
		struct flow *fa = fixture_flow(t, &a, FIXTURE_START);
		struct flow *fb = fixture_flow(t, &b, FIXTURE_START);
		struct flow_outside ra, rb;

		assert_true(fa != NULL && fb != NULL && fa != fb);
		assert_int_equal(nat_port(fa), 20055);
		assert_int_not_equal(nat_port(fb), 20055);
		ra = fixture_reply(fa);
		rb = fixture_reply(fb);
		assert_ptr_equal(fixture_find_reply(t, &ra), fa);
		assert_ptr_equal(fixture_find_reply(t, &rb), fb);
	}
	flow_table_destroy(t);
}

// The mapping depends on the endpoint: another server, port or LAN address leaves the port free.
static void port_is_shared_between_endpoints(void **)
{
	struct flow_table *t = fixture_create(100, 100);
	struct flow_inside keys[] = {
		fixture_inside(1, FLOW_KIND_TCP, "10.0.0.1", 20055, 443),
		fixture_inside(2, FLOW_KIND_TCP, "10.0.0.2", 20055, 443),
		fixture_inside(3, FLOW_KIND_TCP, "10.0.0.1", 20055, 80),
		fixture_inside(4, FLOW_KIND_UDP, "10.0.0.1", 20055, 443),
		fixture_inside(1, FLOW_KIND_TCP, "10.0.0.1", 20055, 444),
	};
	struct ip_addr lan = fixture_addr("192.0.2.2");
	struct flow_inside other_lan = fixture_inside(5, FLOW_KIND_TCP, "10.0.0.1", 20055, 443);
	struct flow *f;

	for (size_t i = 0; i < COUNT_OF(keys); i++) {
		f = fixture_flow(t, &keys[i], FIXTURE_START);
		assert_non_null(f);
		assert_int_equal(nat_port(f), 20055);
	}
	f = flow_create(t, &other_lan, lan.bytes, other_lan.dst, 0);
	assert_non_null(f);
	assert_int_equal(nat_port(f), 20055);
	flow_table_destroy(t);
}

static struct flow_nat_pool pool_of(unsigned n)
{
	struct flow_nat_pool pool = {.n = (uint16_t)n};

	for (unsigned i = 0; i < n; i++) {
		const struct ip_addr addr = fixture_addr("192.0.2.0");

		memcpy(pool.addrs[i], addr.bytes, sizeof(pool.addrs[i]));
		pool.addrs[i][3] = (uint8_t)(100 + i);
	}
	return pool;
}

static unsigned
pooled(struct flow_table *t, const struct flow_nat_pool *pool, uint32_t slot, uint16_t sport)
{
	struct flow_inside key = fixture_inside(slot, FLOW_KIND_UDP, "10.0.0.1", sport, 53);
	const struct flow *f = flow_create_pooled(t, &key, pool, key.dst, 0);

	return f != NULL ? f->lan[3] : 0;
}

// RFC 4787 REQ-2: a client has one address as long as it can; clients are spread over all.
static void client_keeps_its_address_of_the_pool(void **)
{
	struct flow_nat_pool pool = pool_of(3);
	struct flow_table *t = fixture_create(100, 4);

	for (uint32_t slot = 0; slot < 6; slot++)
		for (uint16_t i = 0; i < 2; i++)
			assert_int_equal(
				pooled(t, &pool, slot, (uint16_t)(1000 + i)), 100 + slot % 3);
	flow_table_destroy(t);
}

// Four ports each: the ones of other addresses are used when the own are gone, four addresses far.
static void next_address_when_ports_run_out(void **)
{
	struct flow_nat_pool pool = pool_of(5);
	struct flow_table *t = fixture_create(100, 4);

	for (uint16_t i = 0; i < 16; i++)
		assert_int_equal(pooled(t, &pool, 2, i), 100 + (2 + i / 4) % 5);
	errno = 0;
	assert_int_equal(pooled(t, &pool, 2, 16), 0);
	assert_int_equal(errno, EADDRNOTAVAIL);
	assert_int_equal(pooled(t, &pool, 1, 16), 101);
	// What there is already stays where it is.
	assert_int_equal(pooled(t, &pool, 2, 3), 102);
	flow_table_destroy(t);
}

// Every port of the range is found, then the next flow fails, then a freed port is found.
static void range_runs_out(void **)
{
	static const uint16_t sizes[] = {1, 2, 3, 5, 10, 16, 17, 50, 60, 64};

	for (size_t i = 0; i < COUNT_OF(sizes); i++) {
		uint16_t n = sizes[i];
		struct flow_table *t = fixture_create(100, n);
		struct flow *flows[64];
		uint64_t seen = 0;
		struct flow_inside key;
		uint16_t port;

		for (uint16_t k = 0; k < n; k++) {
			key = fixture_inside(
				1, FLOW_KIND_UDP, "10.0.0.1", (uint16_t)(1000 + k), 53);
			flows[k] = fixture_flow(t, &key, FIXTURE_START);
			assert_non_null(flows[k]);
			assert_in_range(nat_port(flows[k]), 20000, 20000 + n - 1);
			assert_int_equal(seen >> (nat_port(flows[k]) - 20000) & 1, 0);
			seen |= 1ULL << (nat_port(flows[k]) - 20000);
		}
		key = fixture_inside(1, FLOW_KIND_UDP, "10.0.0.1", 20000, 53);
		errno = 0;
		assert_null(fixture_flow(t, &key, FIXTURE_START));
		assert_int_equal(errno, EADDRNOTAVAIL);
		assert_int_equal(fixture_count(t), n);
		// Another destination has the whole range.
		key.dport ^= rte_cpu_to_be_16(1);
		assert_non_null(fixture_flow(t, &key, FIXTURE_START));
		key.dport ^= rte_cpu_to_be_16(1);

		port = nat_port(flows[n / 2]);
		flow_delete(t, flows[n / 2]);
		flows[n / 2] = fixture_flow(t, &key, FIXTURE_START);
		assert_non_null(flows[n / 2]);
		assert_int_equal(nat_port(flows[n / 2]), port);
		flow_table_destroy(t);
	}
}

// With a large range the search is bounded; it still fills most of the range.
static void large_range_fills_up(void **)
{
	enum {
		N = 20000
	};
	struct flow_table *t = fixture_create(2 * N, N);
	unsigned n = 0;

	for (unsigned i = 0; i < 2 * N; i++) {
		struct flow_inside key = fixture_inside(
			i % FIXTURE_CLIENTS, FLOW_KIND_TCP, "10.0.0.1", (uint16_t)i, 443);

		n += fixture_flow(t, &key, FIXTURE_START) != NULL;
	}
	assert_in_range(n, N * 95 / 100, N);
	flow_table_destroy(t);
}

// Protocols without ports: one client per pair of addresses and protocol.
static void pair_without_ports(void **)
{
	struct flow_table *t = fixture_create(10, 10);
	struct flow_inside a = fixture_inside(1, FLOW_KIND_OTHER, "10.0.0.1", 0, 0);
	struct flow_inside b = fixture_inside(2, FLOW_KIND_OTHER, "10.0.0.1", 0, 0);
	struct flow_inside c = fixture_inside(2, FLOW_KIND_OTHER, "10.0.0.2", 0, 0);
	struct flow *f = fixture_flow(t, &a, FIXTURE_START);
	struct flow_outside reply;

	assert_non_null(f);
	assert_int_equal(f->nat_port, 0);
	reply = fixture_reply(f);
	assert_ptr_equal(fixture_find_reply(t, &reply), f);
	errno = 0;
	assert_null(fixture_flow(t, &b, FIXTURE_START));
	assert_int_equal(errno, EADDRNOTAVAIL);
	assert_non_null(fixture_flow(t, &c, FIXTURE_START));
	flow_delete(t, f);
	assert_non_null(fixture_flow(t, &b, FIXTURE_START));
	flow_table_destroy(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(own_port_is_kept_when_free),
		cmocka_unit_test(same_port_of_two_clients),
		cmocka_unit_test(port_is_shared_between_endpoints),
		cmocka_unit_test(client_keeps_its_address_of_the_pool),
		cmocka_unit_test(next_address_when_ports_run_out),
		cmocka_unit_test(range_runs_out),
		cmocka_unit_test(large_range_fills_up),
		cmocka_unit_test(pair_without_ports),
	};

	return cmocka_run_group_tests(tests, unit_eal_init, unit_eal_fini);
}
