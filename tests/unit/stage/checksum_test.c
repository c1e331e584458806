// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "dataplane/stage/checksum.h"
#include "tests/unit/stage/packet.h"
#include "tests/unit/unit.h"

#include <stdlib.h>

#define C4 "100.64.0.1"
#define S4 "192.0.2.10"
#define C6 "fd00:2021:1111::1"
#define S6 "2001:db8:2::10"

// Changing any words and applying the delta gives what a full computation gives.
static void delta_equals_full_computation(void **)
{
	srandom(1);
	for (unsigned round = 0; round < 20000; round++) {
		struct packet p = packet_udp(C4, 5401, S4, 81, NULL, 16);
		struct packet full;
		uint8_t before[8];
		uint16_t delta;

		memcpy(before, p.bytes + 12, 8);
		for (unsigned i = 0; i < 8; i++)
			p.bytes[12 + i] = (uint8_t)(random() % 3 == 0 ? 0 : random());
		delta = csum_delta_words(0, before, p.bytes + 12, 4);
		full = p;
		packet_checksums_fix(&full);
		csum_apply(p.bytes + 10, delta);
		csum_apply(p.bytes + 26, delta);
		// 0x0000 and 0xffff are the same number; the rewrite always writes the latter.
		if (packet_u16(&full, 10) == 0)
			assert_int_equal(packet_u16(&p, 10), 0xffff);
		else
			assert_int_equal(packet_u16(&p, 10), packet_u16(&full, 10));
		assert_int_equal(packet_u16(&p, 26), packet_u16(&full, 26));
		// And back again.
		csum_apply(p.bytes + 26, (uint16_t)~delta);
		memcpy(p.bytes + 12, before, 8);
		full = p;
		packet_checksums_fix(&full);
		assert_int_equal(packet_u16(&p, 26), packet_u16(&full, 26));
	}
}

static void zero_becomes_ffff(void **)
{
	uint8_t c[2] = {0x12, 0x34};
	const uint8_t old_word[2] = {0, 0}, new_word[2] = {0x12, 0x34};

	// HC' = HC - (new - old) = 0
	csum_apply(c, csum_delta_words(0, old_word, new_word, 1));
	assert_int_equal(c[0], 0xff);
	assert_int_equal(c[1], 0xff);
}

static void verifies(void **)
{
	static struct packet all[7];

	all[0] = packet_udp(C4, 1, S4, 2, NULL, 0);
	all[1] = packet_udp(C4, 1, S4, 2, NULL, 33);
	all[2] = packet_udp(C6, 1, S6, 2, NULL, 7);
	all[3] = packet_tcp(C4, 1, S4, 2, PACKET_ACK, 1200);
	all[4] = packet_tcp(C6, 1, S6, 2, PACKET_ACK, 1201);
	all[5] = packet_echo(C4, S4, false, 1, 9);
	all[6] = packet_echo(C6, S6, false, 1, 9);
	for (size_t i = 0; i < COUNT_OF(all); i++) {
		struct packet *p = &all[i];
		struct ip_view v;

		assert_int_equal(ip_view_parse(&v, p->bytes, (uint32_t)p->size), IP_VERDICT_OK);
		assert_true(csum_l4_is_ok(&v, p->bytes));
		for (size_t at = packet_l4(p); at < p->size; at++) {
			p->bytes[at] ^= 1;
			assert_false(csum_l4_is_ok(&v, p->bytes));
			p->bytes[at] ^= 1;
		}
		if (v.family == IP_FAMILY_V6)
			continue;
		assert_true(csum_ipv4_is_ok(p->bytes));
		p->bytes[8]--;
		assert_false(csum_ipv4_is_ok(p->bytes));
	}
}

static void udp_zero_checksum(void **)
{
	struct packet p4 = packet_udp(C4, 1, S4, 2, NULL, 8),
		      p6 = packet_udp(C6, 1, S6, 2, NULL, 8);
	struct ip_view v;

	p4.bytes[26] = p4.bytes[27] = 0;
	p6.bytes[46] = p6.bytes[47] = 0;
	assert_int_equal(ip_view_parse(&v, p4.bytes, (uint32_t)p4.size), IP_VERDICT_OK);
	assert_true(csum_l4_is_ok(&v, p4.bytes));
	assert_int_equal(ip_view_parse(&v, p6.bytes, (uint32_t)p6.size), IP_VERDICT_OK);
	assert_true(csum_l4_is_ok(&v, p6.bytes));
}

// RFC 1071 word by word.
static uint16_t naive_sum(const uint8_t *p, size_t size)
{
	uint32_t sum = 0;

	for (size_t i = 0; i < size; i++) {
		sum += (uint32_t)p[i] << (i % 2 == 0 ? 0 : 8);
		sum = (sum & 0xffff) + (sum >> 16);
	}
	return (uint16_t)sum;
}

static void sum_of_any_size_and_alignment(void **)
{
	static uint8_t bytes[65536];

	srandom(2);
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)random();
	for (size_t size = 0; size < 1500; size++)
		assert_int_equal(
			csum_sum(bytes + size % 67, size), naive_sum(bytes + size % 67, size));
	assert_int_equal(csum_sum(bytes, 65535), naive_sum(bytes, 65535));
	memset(bytes, 0xff, sizeof(bytes));
	for (size_t size = 65535; size > 65400; size--)
		assert_int_equal(csum_sum(bytes + 1, size), naive_sum(bytes + 1, size));
	memset(bytes, 0, sizeof(bytes));
	assert_int_equal(csum_sum(bytes, 1000), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(delta_equals_full_computation),
		cmocka_unit_test(zero_becomes_ffff),
		cmocka_unit_test(verifies),
		cmocka_unit_test(udp_zero_checksum),
		cmocka_unit_test(sum_of_any_size_and_alignment),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
