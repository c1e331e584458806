// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "dataplane/flow/flow_share.h"
#include "tests/unit/flow/fixture.h"
#include "tests/unit/unit.h"

#include <rte_malloc.h>

// The key of Microsoft's "Verifying the RSS hash calculation", with zeros behind.
static const uint8_t known_key[RSS_KEY_SIZE] = {
	0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3,
	0x8f, 0xb0, 0xd0, 0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3,
	0x80, 0x30, 0xf2, 0x0c, 0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa,
};

static void known_hashes(void **)
{
	static const struct {
		const char *src, *dst;
		uint16_t sport, dport;
		uint32_t hash;
	} table[] = {
		{"66.9.149.187", "161.142.100.80", 2794, 1766, 0x51ccc178},
		{"199.92.111.2", "65.69.140.83", 14230, 4739, 0xc626b0ea},
		{"24.19.198.95", "12.22.207.184", 12898, 38024, 0x5c2b394a},
		{"3ffe:2501:200:1fff::7", "3ffe:2501:200:3::1", 2794, 1766, 0x40207d3d},
		{"3ffe:501:8::260:97ff:fe40:efab", "ff02::1", 14230, 4739, 0xdde51bbf},
	};
	struct rss *rss = malloc(sizeof(*rss));

	assert_non_null(rss);
	rss_init(rss, known_key, RSS_SPREAD);
	for (size_t i = 0; i < COUNT_OF(table); i++) {
		struct ip_addr src = fixture_addr(table[i].src), dst = fixture_addr(table[i].dst);
		uint8_t bits = rss_bits(
			rss, src.family, src.bytes, dst.bytes, rte_cpu_to_be_16(table[i].sport));
		unsigned worker =
			rss_worker(rss, src.family, bits, rte_cpu_to_be_16(table[i].dport));

		assert_int_equal(worker, table[i].hash % RSS_SPREAD);
	}
	rss_init(rss, known_key, 3);
	for (unsigned i = 0; i < RSS_SPREAD; i++)
		assert_int_equal(rss->workers[i], i % 3);
	free(rss);
}

enum {
	WORKERS = 3,
	PORTS = 120, // fewer per worker than the probes of one flow
};

struct fleet {
	struct rss rss;
	struct flow_share *share;
	struct flow_table *tables[WORKERS];
};

static struct fleet *fleet_create(void)
{
	static const uint64_t secrets[4] = {
		0x8f2c51d3a07b6e95,
		0x3b94e06d72fa18c7,
		0xd61f7a4c2be50389,
		0x52c8b3096ed4f17b,
	};
	struct fleet *f = calloc(1, sizeof(*f));
	struct flow_table_config config = {
		.max_flows = 4096,
		.max_clients = FIXTURE_CLIENTS,
		.nat_port_first = FIXTURE_PORT_FIRST,
		.nat_port_last = FIXTURE_PORT_FIRST + PORTS - 1,
		.tsc_hz = FIXTURE_HZ,
		.now = FIXTURE_START,
		.seed = 42,
		.socket_id = SOCKET_ID_ANY,
	};

	assert_non_null(f);
	rss_init(&f->rss, known_key, WORKERS);
	f->share = flow_share_create(&f->rss, secrets);
	assert_non_null(f->share);
	config.share = f->share;
	for (unsigned i = 0; i < WORKERS; i++) {
		config.worker = i;
		f->tables[i] = flow_table_create(&config);
		assert_non_null(f->tables[i]);
	}
	return f;
}

static void fleet_destroy(struct fleet *f)
{
	for (unsigned i = 0; i < WORKERS; i++)
		flow_table_destroy(f->tables[i]);
	rte_free(f->share);
	free(f);
}

// Every reply hashes to the table that has its flow, and no port is used by two tables.
static void replies_hash_to_their_flow(void **)
{
	static const enum flow_kind kinds[] = {FLOW_KIND_TCP, FLOW_KIND_UDP, FLOW_KIND_ECHO};
	static const char *const servers[] = {"10.0.0.1", "2001:db8::1"};
	struct fleet *fleet = fleet_create();
	unsigned kept = 0;

	for (unsigned s = 0; s < COUNT_OF(servers); s++)
		for (unsigned n = 0; n < 30 * COUNT_OF(kinds) * WORKERS; n++) {
			enum flow_kind kind = kinds[n / WORKERS % COUNT_OF(kinds)];
			struct flow_inside key = fixture_inside(
				n % FIXTURE_CLIENTS,
				kind,
				servers[s],
				(uint16_t)(20000 + n / 9),
				kind == FLOW_KIND_ECHO ? 0 : 443);
			struct flow *f =
				fixture_flow(fleet->tables[n % WORKERS], &key, FIXTURE_START);
			struct flow_outside reply;

			assert_non_null(f);
			reply = fixture_reply(f);
			assert_int_equal(flow_share_owner(fleet->share, &reply), n % WORKERS);
			for (unsigned w = 0; w < WORKERS; w++) {
				struct flow *found = fixture_find_reply(fleet->tables[w], &reply);

				assert_true(found == (w == n % WORKERS ? f : NULL));
			}
			kept += f->nat_port == f->sport;
		}
	// A third of the clients' own ports are the right ones by chance.
	assert_in_range(kept, 60, 400);
	fleet_destroy(fleet);
}

// A worker's part of the range runs out alone.
static void ports_run_out_per_worker(void **)
{
	struct fleet *fleet = fleet_create();
	unsigned n = 0, total = 0;

	for (unsigned w = 0; w < WORKERS; w++) {
		for (n = 0; n < PORTS; n++) {
			struct flow_inside key = fixture_inside(
				1, FLOW_KIND_UDP, "10.0.0.1", (uint16_t)(1000 + n), 53);

			if (fixture_flow(fleet->tables[w], &key, FIXTURE_START) == NULL)
				break;
			total++;
		}
		assert_int_equal(errno, EADDRNOTAVAIL);
		assert_in_range(n, 20, 60);
	}
	assert_int_equal(total, PORTS);
	fleet_destroy(fleet);
}

static void pairs_are_claimed(void **)
{
	struct fleet *fleet = fleet_create();
	struct flow_inside a = fixture_inside(1, FLOW_KIND_OTHER, "10.0.0.1", 0, 0);
	struct flow_inside b = fixture_inside(2, FLOW_KIND_OTHER, "10.0.0.1", 0, 0);
	struct flow *f = fixture_flow(fleet->tables[1], &a, FIXTURE_START);
	struct flow_outside reply;

	assert_non_null(f);
	reply = fixture_reply(f);
	assert_int_equal(flow_share_owner(fleet->share, &reply), 1);
	assert_null(fixture_flow(fleet->tables[2], &b, FIXTURE_START));
	assert_int_equal(errno, EADDRNOTAVAIL);
	flow_delete(fleet->tables[1], f);
	assert_int_equal(flow_share_owner(fleet->share, &reply), FLOW_SHARE_NOBODY);
	f = fixture_flow(fleet->tables[2], &b, FIXTURE_START);
	assert_non_null(f);
	assert_int_equal(flow_share_owner(fleet->share, &reply), 2);
	assert_int_equal(flow_client_clear(fleet->tables[2], 2, 10), 1);
	assert_int_equal(flow_share_owner(fleet->share, &reply), FLOW_SHARE_NOBODY);

	// ICMP other than echo never comes back: every worker may have some.
	a.proto = b.proto = IPPROTO_ICMP;
	f = fixture_flow(fleet->tables[0], &a, FIXTURE_START);
	assert_non_null(f);
	assert_non_null(fixture_flow(fleet->tables[1], &b, FIXTURE_START));
	reply = fixture_reply(f);
	assert_int_equal(flow_share_owner(fleet->share, &reply), FLOW_SHARE_NOBODY);
	fleet_destroy(fleet);
}

// As many pairs as a busy gateway has: none is refused because of another one.
static void many_pairs_are_claimed(void **)
{
	enum {
		PAIRS = 1500
	};
	struct fleet *fleet = fleet_create();
	static struct flow_outside keys[PAIRS];

	for (unsigned i = 0; i < PAIRS; i++) {
		keys[i] = (struct flow_outside){
			.family = IP_FAMILY_V4,
			.kind = FLOW_KIND_OTHER,
			.proto = IPPROTO_GRE,
			.lan = {192, 0, 2, 1},
			.remote = {10, 0, (uint8_t)(i >> 8), (uint8_t)i},
		};
		assert_true(flow_share_claim(fleet->share, &keys[i], i % WORKERS));
	}
	for (unsigned i = 0; i < PAIRS; i++) {
		assert_int_equal(flow_share_owner(fleet->share, &keys[i]), i % WORKERS);
		assert_true(flow_share_claim(fleet->share, &keys[i], i % WORKERS));
		assert_false(flow_share_claim(fleet->share, &keys[i], (i + 1) % WORKERS));
		flow_share_release(fleet->share, &keys[i], (i + 1) % WORKERS);
		assert_int_equal(flow_share_owner(fleet->share, &keys[i]), i % WORKERS);
	}
	for (unsigned i = 0; i < PAIRS; i++) {
		flow_share_release(fleet->share, &keys[i], i % WORKERS);
		assert_int_equal(flow_share_owner(fleet->share, &keys[i]), FLOW_SHARE_NOBODY);
	}
	fleet_destroy(fleet);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(known_hashes),
		cmocka_unit_test(replies_hash_to_their_flow),
		cmocka_unit_test(ports_run_out_per_worker),
		cmocka_unit_test(pairs_are_claimed),
		cmocka_unit_test(many_pairs_are_claimed),
	};

	return cmocka_run_group_tests(tests, unit_eal_init, unit_eal_fini);
}
