// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "dataplane/flow/flow.h"
#include "tests/unit/flow/fixture.h"
#include "tests/unit/unit.h"

#include <rte_malloc.h>

static void bad_config(void **)
{
	const struct flow_table_config good = {
		.max_flows = 16,
		.max_clients = 4,
		.nat_port_first = 1,
		.nat_port_last = 65535,
		.tsc_hz = 1,
		.socket_id = SOCKET_ID_ANY,
	};
	struct flow_table_config bad[8];
	size_t n = 0;
	struct flow_table *t;

	for (size_t i = 0; i < COUNT_OF(bad); i++)
		bad[i] = good;
	bad[n++].max_flows = 0;
	bad[n++].max_flows = UINT32_MAX;
	bad[n++].max_clients = 0;
	bad[n++].max_clients = UINT32_MAX;
	bad[n++].nat_port_first = 0;
	bad[n].nat_port_first = 2;
	bad[n++].nat_port_last = 1;
	bad[n++].tsc_hz = 0;
	for (size_t i = 0; i < n; i++) {
		errno = 0;
		assert_null(flow_table_create(&bad[i]));
		assert_int_equal(errno, EINVAL);
	}
	bad[n].max_flows = 1 << 30; // more memory than there is
	errno = 0;
	assert_null(flow_table_create(&bad[n]));
	assert_int_equal(errno, ENOMEM);
	t = flow_table_create(&good);
	assert_non_null(t);
	flow_table_destroy(t);
	flow_table_destroy(NULL);
}

static void flow_has_what_it_was_made_of(void **)
{
	struct flow_table *t = fixture_create(4, 100);
	struct flow_inside key = fixture_inside(3, FLOW_KIND_UDP, "100.96.0.7", 5353, 53);
	struct ip_addr lan = fixture_addr("192.0.2.1"), remote = fixture_addr("203.0.113.9");
	struct flow *f;
	struct flow_outside reply;

	// The real destination need not be whom the client speaks to.
	f = flow_create(t, &key, lan.bytes, remote.bytes, 7);
	assert_non_null(f);
	assert_int_equal((uintptr_t)f % 64, 0);
	assert_memory_equal(f->dst, key.dst, 16);
	assert_memory_equal(f->remote, remote.bytes, 16);
	assert_memory_equal(f->lan, lan.bytes, 16);
	assert_int_equal(f->slot, 3);
	assert_int_equal(f->sport, rte_cpu_to_be_16(5353));
	assert_int_equal(f->dport, rte_cpu_to_be_16(53));
	assert_int_equal(f->kind, FLOW_KIND_UDP);
	assert_int_equal(f->state, 0);
	assert_int_equal(f->policy_generation, 0);
	assert_int_equal(f->fib_generation, 0);
	assert_int_equal(f->l3_delta | f->l4_delta, 0);
	assert_int_equal(f->last_out, 7);

	reply = fixture_reply(f);
	assert_memory_equal(reply.remote, remote.bytes, 16);
	assert_ptr_equal(fixture_find_reply(t, &reply), f);
	assert_ptr_equal(fixture_find(t, &key), f);

	flow_touch_out(t, f, 8, 100, 0);
	flow_touch_out(t, f, 9, 1280, 0);
	assert_int_equal(f->state, 0);
	flow_touch_in(t, f, 11, 60, 0);
	assert_int_equal(f->state, FLOW_STATE_CONFIRMED);
	assert_int_equal(f->packets_out, 2);
	assert_int_equal(f->bytes_out, 1380);
	assert_int_equal(f->packets_in, 1);
	assert_int_equal(f->bytes_in, 60);
	assert_int_equal(f->last_out, 9);
	assert_int_equal(f->last_in, 11);
	flow_table_destroy(t);
}

// With the hash of another flow, as if both collided: the comparison alone must tell them apart.
static void assert_only_key_decides(
	struct flow_table *t,
	const struct flow_inside *keys,
	const struct flow_outside *replies,
	size_t n)
{
	for (size_t i = 0; i < n; i++) {
		for (size_t k = 0; k < n; k++) {
			uint64_t inside = flow_inside_hash(t, &keys[k]);
			uint64_t outside = flow_outside_hash(t, &replies[k]);

			assert_int_equal(flow_inside_lookup(t, &keys[i], inside) != NULL, i == k);
			assert_int_equal(
				flow_outside_lookup(t, &replies[i], outside) != NULL, i == k);
		}
	}
}

// Each key differs from the first in one member, and each must get a flow of its own.
static void every_part_of_the_key_counts(void **)
{
	const struct flow_inside keys[] = {
		fixture_inside(1, FLOW_KIND_TCP, "10.0.0.1", 1000, 80),
		fixture_inside(2, FLOW_KIND_TCP, "10.0.0.1", 1000, 80),
		fixture_inside(1, FLOW_KIND_UDP, "10.0.0.1", 1000, 80),
		fixture_inside(1, FLOW_KIND_TCP, "10.0.0.2", 1000, 80),
		fixture_inside(1, FLOW_KIND_TCP, "10.0.0.1", 1001, 80),
		fixture_inside(1, FLOW_KIND_TCP, "10.0.0.1", 1000, 81),
		fixture_inside(1, FLOW_KIND_TCP, "a00:1::", 1000, 80), // same bytes as IPv6
		fixture_inside(1, FLOW_KIND_ECHO, "10.0.0.1", 0, 0),
		fixture_inside(1, FLOW_KIND_OTHER, "10.0.0.1", 0, 0),
		fixture_inside(1, FLOW_KIND_ECHO, "10.0.0.1", 1000, 0),
		{.proto = 0},
		{.proto = 0},
	};
	struct flow_table *t = fixture_create(COUNT_OF(keys), 1000);
	struct flow_inside all[COUNT_OF(keys)];
	struct flow *flows[COUNT_OF(keys)], *found[COUNT_OF(keys)];
	struct flow_outside replies[COUNT_OF(keys)];

	memcpy(all, keys, sizeof(all));
	all[10] = all[8];
	all[10].proto = IPPROTO_ICMP; // other ICMP types beside echo id 0
	all[11] = all[8];
	all[11].proto = IPPROTO_SCTP;
	for (size_t i = 0; i < COUNT_OF(all); i++) {
		assert_null(fixture_find(t, &all[i]));
		flows[i] = fixture_flow(t, &all[i], FIXTURE_START);
		assert_non_null(flows[i]);
		replies[i] = fixture_reply(flows[i]);
		// A second first packet of the burst finds what the first made.
		assert_ptr_equal(fixture_flow(t, &all[i], FIXTURE_START), flows[i]);
	}
	assert_int_equal(fixture_count(t), COUNT_OF(all));
	flow_inside_lookup_burst(t, all, found, COUNT_OF(all));
	assert_memory_equal(found, flows, sizeof(flows));
	flow_outside_lookup_burst(t, replies, found, COUNT_OF(all));
	assert_memory_equal(found, flows, sizeof(flows));

	assert_only_key_decides(t, all, replies, COUNT_OF(all));
	for (size_t i = 0; i < COUNT_OF(all); i++) {
		flow_delete(t, flows[i]);
		assert_null(fixture_find(t, &all[i]));
		assert_null(fixture_find_reply(t, &replies[i]));
		for (size_t k = i + 1; k < COUNT_OF(all); k++)
			assert_ptr_equal(fixture_find(t, &all[k]), flows[k]);
	}
	assert_int_equal(fixture_count(t), 0);
	flow_table_destroy(t);
}

static void wrong_source_finds_nothing(void **)
{
	struct flow_table *t = fixture_create(4, 100);
	struct flow_inside key = fixture_inside(1, FLOW_KIND_TCP, "2001:db8::5", 20007, 80);
	struct flow_outside good, bad[7];

	good = fixture_reply(fixture_flow(t, &key, FIXTURE_START));
	for (size_t i = 0; i < COUNT_OF(bad); i++)
		bad[i] = good;
	bad[0].lan[15] ^= 1;
	bad[1].remote[0] ^= 0x80;
	bad[2].nat_port ^= rte_cpu_to_be_16(1);
	bad[3].dport ^= rte_cpu_to_be_16(1);
	bad[4].kind = FLOW_KIND_UDP;
	bad[5].proto = IPPROTO_UDP;
	bad[6].family = IP_FAMILY_V4;
	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		assert_null(fixture_find_reply(t, &bad[i]));
		assert_null(flow_outside_lookup(t, &bad[i], flow_outside_hash(t, &good)));
	}
	assert_non_null(fixture_find_reply(t, &good));
	flow_table_destroy(t);
}

static void full_table(void **)
{
	enum {
		N = 100
	};
	struct flow_table *t = fixture_create(N, 1000);
	struct flow_inside key;
	struct flow *f = NULL;

	for (uint16_t i = 0; i < N; i++) {
		key = fixture_inside(i % 3, FLOW_KIND_UDP, "10.0.0.1", (uint16_t)(20000 + i), 53);
		f = fixture_flow(t, &key, FIXTURE_START);
		assert_non_null(f);
	}
	key.dport ^= 1;
	errno = 0;
	assert_null(fixture_flow(t, &key, FIXTURE_START));
	assert_int_equal(errno, ENOSPC);
	assert_int_equal(fixture_count(t), N);
	flow_delete(t, f);
	assert_non_null(fixture_flow(t, &key, FIXTURE_START));
	flow_table_destroy(t);
}

static void bad_slot_or_kind(void **)
{
	struct flow_table *t = fixture_create(4, 10);
	struct flow_inside keys[] = {
		fixture_inside(FIXTURE_CLIENTS, FLOW_KIND_TCP, "10.0.0.1", 1, 1),
		fixture_inside(UINT32_MAX, FLOW_KIND_TCP, "10.0.0.1", 1, 1),
		fixture_inside(0, FLOW_KIND_TCP, "10.0.0.1", 1, 1),
		fixture_inside(0, FLOW_KIND_TCP, "10.0.0.1", 1, 1),
	};

	keys[2].kind = 0;
	keys[3].kind = FLOW_KIND_OTHER + 1;
	for (size_t i = 0; i < COUNT_OF(keys); i++) {
		errno = 0;
		assert_null(fixture_flow(t, &keys[i], FIXTURE_START));
		assert_int_equal(errno, EINVAL);
	}
	assert_int_equal(fixture_count(t), 0);
	assert_int_equal(flow_client_clear(t, FIXTURE_CLIENTS, 10), 0);
	flow_table_destroy(t);
}

static void clear_of_one_client(void **)
{
	enum {
		N = 50
	};
	struct flow_table *t = fixture_create(3 * N, 1000);
	struct flow_table_stats stats;

	for (uint16_t i = 0; i < 3 * N; i++) {
		struct flow_inside key = fixture_inside(
			i % 3, FLOW_KIND_TCP, "10.0.0.1", (uint16_t)(20000 + i), 443);

		assert_non_null(fixture_flow(t, &key, FIXTURE_START));
	}
	assert_int_equal(flow_client_clear(t, 7, 10), 0);
	assert_int_equal(flow_client_clear(t, 1, 0), 0);
	assert_int_equal(flow_client_clear(t, 1, 20), 20);
	assert_int_equal(flow_client_clear(t, 1, 20), 20);
	assert_int_equal(flow_client_clear(t, 1, 20), 10);
	assert_int_equal(flow_client_clear(t, 1, 20), 0);
	for (uint16_t i = 0; i < 3 * N; i++) {
		struct flow_inside key = fixture_inside(
			i % 3, FLOW_KIND_TCP, "10.0.0.1", (uint16_t)(20000 + i), 443);

		assert_int_equal(fixture_find(t, &key) != NULL, i % 3 != 1);
	}
	flow_table_stats_get(t, &stats);
	assert_int_equal(stats.created, 3 * N);
	assert_int_equal(stats.deleted, N);
	assert_int_equal(stats.flows, 2 * N);
	// What was freed is off the wheel too: nothing of it expires.
	assert_int_equal(flow_table_expire(t, FIXTURE_START + 61 * FIXTURE_HZ, 1000), 2 * N);
	flow_table_destroy(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bad_config),
		cmocka_unit_test(flow_has_what_it_was_made_of),
		cmocka_unit_test(every_part_of_the_key_counts),
		cmocka_unit_test(wrong_source_finds_nothing),
		cmocka_unit_test(full_table),
		cmocka_unit_test(bad_slot_or_kind),
		cmocka_unit_test(clear_of_one_client),
	};

	return cmocka_run_group_tests(tests, unit_eal_init, unit_eal_fini);
}
