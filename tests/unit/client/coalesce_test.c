// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "peers/client/coalesce.h"
#include "tests/unit/unit.h"

#include <stdlib.h>

struct packet {
	size_t size;
	uint8_t data[1280];
};

// Sum of 16-bit words as RFC 1071 words it, one byte at a time.
static uint32_t words(uint32_t sum, const uint8_t *data, size_t size)
{
	for (size_t i = 0; i < size; i++)
		sum += i % 2 == 0 ? (uint32_t)data[i] << 8 : data[i];
	while (sum > 0xffff)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

static void put_sum(uint8_t *field, uint32_t sum)
{
	field[0] = (uint8_t)(~sum >> 8);
	field[1] = (uint8_t)~sum;
}

static void seal(struct packet *p)
{
	bool is_v4 = p->data[0] >> 4 == 4;
	size_t l4 = is_v4 ? 20 : 40;
	uint32_t sum = 6 + (uint32_t)(p->size - l4);

	if (is_v4) {
		memset(p->data + 10, 0, 2);
		put_sum(p->data + 10, words(0, p->data, 20));
	}
	memset(p->data + l4 + 16, 0, 2);
	sum = is_v4 ? words(sum, p->data + 12, 8) : words(sum, p->data + 8, 32);
	put_sum(p->data + l4 + 16, words(sum, p->data + l4, p->size - l4));
}

// The @p nth packet of a flow with 1000 bytes in each, but @p payload in this one.
static void make(struct packet *p, bool is_v4, unsigned nth, size_t payload)
{
	static const uint8_t v4[20] = {0x45, 0, 0,  0,	0, 0, 0x40, 0,	60, 6,
				       0,    0, 10, 20, 0, 1, 100,  64, 0,  11};
	static const uint8_t v6[8] = {0x60, 1, 2, 3, 0, 0, 6, 60};
	size_t l4 = is_v4 ? 20 : 40;
	uint32_t seq = 0xfffffe00u + nth * 1000;
	uint8_t *tcp = p->data + l4;

	memset(p, 0, sizeof(*p));
	p->size = l4 + 32 + payload;
	memcpy(p->data, is_v4 ? v4 : v6, is_v4 ? sizeof(v4) : sizeof(v6));
	if (is_v4) {
		p->data[2] = (uint8_t)(p->size >> 8);
		p->data[3] = (uint8_t)p->size;
		p->data[5] = (uint8_t)(7 + nth);
	} else {
		p->data[4] = (uint8_t)((p->size - 40) >> 8);
		p->data[5] = (uint8_t)(p->size - 40);
		p->data[8] = 0x20;
		p->data[24] = 0xfd;
	}
	tcp[1] = 80;
	tcp[3] = 90;
	for (unsigned i = 0; i < 4; i++)
		tcp[4 + i] = (uint8_t)(seq >> (24 - 8 * i));
	tcp[11] = 5;
	tcp[12] = 0x80;
	tcp[13] = 0x10;
	tcp[15] = 77;
	for (size_t i = 0; i < payload; i++)
		tcp[32 + i] = (uint8_t)(nth * 31 + i * 7);
	seal(p);
}

// Joins packets and cuts them again: the same must come out.
static void round_trip(void **)
{
	static const struct {
		unsigned n;
		size_t last;
	} cases[] = {{1, 1000}, {2, 1000}, {3, 1}, {20, 999}, {60, 1000}};
	static struct coalescer c;
	struct packet p;
	uint8_t out[SEGMENT_SIZE_MAX];

	for (size_t i = 0; i < 2 * COUNT_OF(cases); i++) {
		bool is_v4 = i % 2 == 0;
		unsigned n = cases[i / 2].n;
		struct segmenter s;
		size_t size;

		assert_int_equal(coalesce_finish(&c), 0);
		for (unsigned nth = 0; nth < n; nth++) {
			make(&p, is_v4, nth, nth + 1 == n ? cases[i / 2].last : 1000);
			assert_true(coalesce_add(&c, p.data, p.size));
		}
		size = coalesce_finish(&c);
		assert_int_equal(
			size,
			SEGMENT_HEADER_SIZE + (is_v4 ? 52 : 72) + (n - 1) * 1000
				+ cases[i / 2].last);
		assert_int_equal(c.frame[1], n == 1 ? 0 : is_v4 ? 1 : 4);
		if (is_v4)
			assert_int_equal(words(0, c.frame + SEGMENT_HEADER_SIZE, 20), 0xffff);
		assert_int_equal(segment_init(&s, c.frame, size), 0);
		for (unsigned nth = 0; nth < n; nth++) {
			make(&p, is_v4, nth, nth + 1 == n ? cases[i / 2].last : 1000);
			assert_int_equal(segment_next(&s, out), p.size);
			assert_memory_equal(out, p.data, p.size);
		}
		assert_int_equal(segment_next(&s, out), 0);
	}
}

// Each difference on its own keeps the second packet out; it is sealed afterwards unless it is the
// checksum that is wrong.
static void kept_apart(void **)
{
	static const struct {
		const char *what;
		bool is_v4;
		int offset; // in the second packet, from the IP header
		uint8_t flip;
		bool is_unsealed;
	} cases[] = {
		{"nothing", true, -1, 0, false}, // control: joins
		{"nothing v6", false, -1, 0, false},
		{"id", true, 4, 0x10, false}, // means nothing with DF: joins
		{"tos", true, 1, 1, false},
		{"no DF", true, 6, 0x40, false},
		{"ttl", true, 8, 1, false},
		{"protocol", true, 9, 0x11 ^ 6, false},
		{"source", true, 15, 1, false},
		{"destination", true, 19, 1, false},
		{"IP checksum", true, 10, 1, true},
		{"source port", true, 21, 1, false},
		{"destination port", true, 23, 1, false},
		{"sequence", true, 27, 1, false},
		{"acknowledgement", true, 31, 1, false},
		{"header length", true, 32, 0x10, false},
		{"FIN", true, 33, 0x01, false},
		{"SYN", true, 33, 0x02, false},
		{"RST", true, 33, 0x04, false},
		{"no ACK", true, 33, 0x10, false},
		{"URG", true, 33, 0x20, false},
		{"ECE", true, 33, 0x40, false},
		{"CWR", true, 33, 0x80, false},
		{"window", true, 35, 1, false},
		{"TCP checksum", true, 36, 1, true},
		{"payload corrupt", true, 60, 1, true},
		{"urgent pointer", true, 39, 1, false},
		{"option", true, 45, 1, false},
		{"traffic class", false, 0, 1, false},
		{"flow label", false, 3, 1, false},
		{"hop limit", false, 7, 1, false},
		{"source v6", false, 23, 1, false},
		{"destination v6", false, 39, 1, false},
		{"TCP checksum v6", false, 56, 1, true},
	};
	static struct coalescer c;
	struct packet first, second;

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		bool joined, expected = i < 3;

		make(&first, cases[i].is_v4, 0, 1000);
		make(&second, cases[i].is_v4, 1, 1000);
		if (cases[i].offset >= 0)
			second.data[cases[i].offset] ^= cases[i].flip;
		if (!cases[i].is_unsealed)
			seal(&second);
		assert_true(coalesce_add(&c, first.data, first.size));
		joined = coalesce_add(&c, second.data, second.size);
		if (joined != expected)
			fail_msg("%s", cases[i].what);
		assert_true(coalesce_finish(&c) > 0);
		// On its own it passes as it is, whatever it is.
		if (!joined) {
			assert_true(coalesce_add(&c, second.data, second.size));
			assert_int_equal(coalesce_finish(&c), SEGMENT_HEADER_SIZE + second.size);
			assert_memory_equal(
				c.frame + SEGMENT_HEADER_SIZE, second.data, second.size);
			assert_int_equal(c.frame[0], 0);
		}
	}
}

// What must be the last of a frame, or alone in it.
static void ends(void **)
{
	static struct coalescer c;
	struct packet p;

	// A shorter one.
	make(&p, true, 0, 1000);
	assert_true(coalesce_add(&c, p.data, p.size));
	make(&p, true, 1, 500);
	assert_true(coalesce_add(&c, p.data, p.size));
	make(&p, true, 2, 500);
	p.data[26] -= 2;
	p.data[27] += 12; // 1500 behind the first
	seal(&p);
	assert_false(coalesce_add(&c, p.data, p.size));
	assert_true(coalesce_finish(&c) > 0);

	// A longer one.
	make(&p, true, 0, 1000);
	assert_true(coalesce_add(&c, p.data, p.size));
	make(&p, true, 1, 1001);
	assert_false(coalesce_add(&c, p.data, p.size));
	assert_true(coalesce_finish(&c) > 0);

	// PSH.
	make(&p, true, 0, 1000);
	assert_true(coalesce_add(&c, p.data, p.size));
	make(&p, true, 1, 1000);
	p.data[33] |= 0x08;
	seal(&p);
	assert_true(coalesce_add(&c, p.data, p.size));
	assert_int_equal(c.frame[SEGMENT_HEADER_SIZE + 33], 0x18);
	make(&p, true, 2, 1000);
	assert_false(coalesce_add(&c, p.data, p.size));
	assert_true(coalesce_finish(&c) > 0);

	// Bare acknowledgements: each counts.
	make(&p, true, 0, 0);
	assert_true(coalesce_add(&c, p.data, p.size));
	assert_false(coalesce_add(&c, p.data, p.size));
	assert_true(coalesce_finish(&c) > 0);
}

static void never_too_large(void **)
{
	static struct coalescer c;
	struct packet p;
	unsigned n = 0;

	for (;; n++) {
		make(&p, true, n, 1000);
		if (!coalesce_add(&c, p.data, p.size))
			break;
		assert_in_range(n, 0, 65);
	}
	assert_int_equal(n, 65);
	assert_int_equal(coalesce_finish(&c), SEGMENT_HEADER_SIZE + 52 + 65000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(round_trip),
		cmocka_unit_test(kept_apart),
		cmocka_unit_test(ends),
		cmocka_unit_test(never_too_large),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
