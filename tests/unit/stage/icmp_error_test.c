// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "tests/unit/eal.h"
#include "tests/unit/stage/world.h"
#include "tests/unit/unit.h"

// The vectors of spec/datapath.md 1.5.
#define V4_ORIGINAL "450000240000000040110c84644000010a000005151900510010ab493132333435363738"
#define V4_PROHIBITED                                                                              \
	"4500003800000000140138800a00000564400001030d3c2f00000000450000240000000040110c84"         \
	"644000010a000005151900510010ab49"
#define V4_NETWORK                                                                                 \
	"4500003800000000140138800a0000056440000103003c3c00000000450000240000000040110c84"         \
	"644000010a000005151900510010ab49"
#define V6_ORIGINAL                                                                                \
	"6000000000101140fd002021111100000000000000000001fd002021111180000000000000000000"         \
	"1519005100103d283132333435363738"
#define V6_PROHIBITED                                                                              \
	"6000000000403a14fd002021111180000000000000000000fd002021111100000000000000000001"         \
	"0101b0ed00000000" V6_ORIGINAL
#define V6_UNREACHABLE                                                                             \
	"6000000000403a14fd002021111180000000000000000000fd002021111100000000000000000001"         \
	"0103b0eb00000000" V6_ORIGINAL

static struct packet
answer(struct world *wd, const struct packet *p, enum icmp_answer a, const uint8_t *source)
{
	struct rte_mbuf *m = rte_pktmbuf_alloc(wd->w->pool);
	struct packet out;

	memcpy(rte_pktmbuf_append(m, (uint16_t)p->size), p->bytes, p->size);
	assert_true(icmp_error_make(m, a, source));
	out = (struct packet){.size = m->pkt_len};
	memcpy(out.bytes, rte_pktmbuf_mtod(m, void *), out.size);
	rte_pktmbuf_free(m);
	return out;
}

static void vectors(void **state)
{
	static const struct {
		const char *original, *expected;
		enum icmp_answer answer;
	} rows[] = {
		{V4_ORIGINAL, V4_PROHIBITED, ICMP_ANSWER_PROHIBITED},
		{V4_ORIGINAL, V4_NETWORK, ICMP_ANSWER_NETWORK},
		{V6_ORIGINAL, V6_PROHIBITED, ICMP_ANSWER_PROHIBITED},
		{V6_ORIGINAL, V6_UNREACHABLE, ICMP_ANSWER_NETWORK},
	};

	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct packet original = packet_hex(rows[i].original);
		struct packet expected = packet_hex(rows[i].expected);
		struct packet got = answer(*state, &original, rows[i].answer, NULL);

		assert_int_equal(got.size, expected.size);
		assert_memory_equal(got.bytes, expected.bytes, got.size);
	}
}

static void quotes(void **state)
{
	struct packet big4 = packet_udp("100.64.0.1", 1, "192.0.2.10", 2, NULL, 1252);
	struct packet big6 = packet_udp("fd00:2021:1111::1", 1, "2001:db8::1", 2, NULL, 1232);
	struct packet options = packet_proto("100.64.0.1", "192.0.2.10", 17, 4 + 12);
	struct packet tiny = packet_proto("100.64.0.1", "192.0.2.10", 47, 3);
	struct packet got;

	assert_int_equal(big4.size, 1280);
	got = answer(*state, &big4, ICMP_ANSWER_PROHIBITED, NULL);
	assert_int_equal(got.size, 56);
	got = answer(*state, &big4, ICMP_ANSWER_TTL, NULL);
	assert_int_equal(got.size, 576);
	assert_true(packet_checksums_are_ok(got.bytes, got.size));
	assert_int_equal(big6.size, 1280);
	got = answer(*state, &big6, ICMP_ANSWER_PROHIBITED, NULL);
	assert_int_equal(got.size, 1280);
	assert_int_equal(packet_u16(&got, 4), 1240);
	assert_true(packet_checksums_are_ok(got.bytes, got.size));
	options.bytes[0] = 0x46;
	got = answer(*state, &options, ICMP_ANSWER_PROHIBITED, NULL);
	assert_int_equal(got.size, 20 + 8 + 24 + 8);
	got = answer(*state, &tiny, ICMP_ANSWER_PROHIBITED, NULL);
	assert_int_equal(got.size, 20 + 8 + 23);
	assert_true(packet_checksums_are_ok(got.bytes, got.size));
}

static void too_big_carries_the_mtu(void **state)
{
	struct packet p4 = packet_udp("192.0.2.10", 1, "192.0.2.1", 2, NULL, 1372);
	struct packet p6 = packet_udp("2001:db8:2::10", 1, "2001:db8:2::1", 2, NULL, 1372);
	struct packet got = answer(*state, &p4, ICMP_ANSWER_TOO_BIG, NULL);

	assert_int_equal(packet_u16(&got, 20), 0x0304);
	assert_int_equal(packet_u16(&got, 24), 0);
	assert_int_equal(packet_u16(&got, 26), 1280);
	assert_true(packet_is_from(&got, "192.0.2.1"));
	got = answer(*state, &p6, ICMP_ANSWER_TOO_BIG, NULL);
	assert_int_equal(packet_u16(&got, 40), 0x0200);
	assert_int_equal(packet_u16(&got, 46), 1280);
	assert_true(packet_checksums_are_ok(got.bytes, got.size));
}

// 1000 per second, bursts of 100.
static void token_bucket(void **)
{
	struct client *c = aligned_alloc(64, sizeof(*c));
	const uint64_t hz = 1000000000;
	uint64_t now = 5 * hz;
	unsigned passed = 0;

	assert_non_null(c);
	memset(c, 0, sizeof(*c));
	for (unsigned i = 0; i < 1000; i++)
		passed += client_icmp_take(c, now, hz / 1000);
	assert_int_equal(passed, 100);
	now += hz / 1000;
	assert_true(client_icmp_take(c, now, hz / 1000));
	assert_false(client_icmp_take(c, now, hz / 1000));
	now += hz;
	for (passed = 0; client_icmp_take(c, now, hz / 1000); passed++)
		;
	assert_int_equal(passed, 100);
	free(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(vectors, world_setup, world_teardown),
		cmocka_unit_test_setup_teardown(quotes, world_setup, world_teardown),
		cmocka_unit_test_setup_teardown(
			too_big_carries_the_mtu, world_setup, world_teardown),
		cmocka_unit_test(token_bucket),
	};

	return cmocka_run_group_tests(tests, unit_eal_init, unit_eal_fini);
}
