// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "dataplane/crypto/poly_x16.h"
#include "tests/unit/rand.h"
#include "tests/unit/unit.h"

#include <sodium.h>

#include <stdio.h>

// Keys and texts that an AEAD would meet once in 2^100 messages: sums just below and above the
// modulus, limbs full of ones, every carry taken.

enum {
	TEXT_SIZE_MAX = 300,
	PATTERNS = 8,
};

static void pattern_fill(struct unit_rand *r, uint8_t *at, size_t size)
{
	switch (unit_rand_below(r, PATTERNS)) {
	case 0:
		memset(at, 0x00, size);
		return;
	case 1:
	case 2:
		memset(at, 0xff, size);
		return;
	case 3: // a small number in every block
		memset(at, 0, size);
		for (size_t i = 0; i < size; i += 16)
			at[i] = (uint8_t)unit_rand_below(r, 8);
		return;
	case 4: // 2^128 - a small number in every block
		memset(at, 0xff, size);
		for (size_t i = 0; i < size; i += 16)
			at[i] = (uint8_t)(0xff - unit_rand_below(r, 8));
		return;
	case 5: // ones from some bit on
		memset(at, 0xff, size);
		memset(at, 0, unit_rand_below(r, (uint32_t)size + 1));
		return;
	default:
		unit_rand_fill(r, at, size);
	}
}

// RFC 8439 2.8 with libsodium's Poly1305.
static void
tag_expected(uint8_t tag[POLY_TAG_SIZE], const uint8_t *text, uint32_t size, const uint8_t *key)
{
	uint8_t input[TEXT_SIZE_MAX + 32] = {0};
	uint32_t padded = (size + 15) / 16 * 16;

	memcpy(input, text, size);
	input[padded + 8] = (uint8_t)size;
	input[padded + 9] = (uint8_t)(size >> 8);
	crypto_onetimeauth_poly1305(tag, input, padded + 16, key);
}

static void extremes_like_libsodium(void **)
{
	struct unit_rand r = unit_rand_init(1305);
	static uint8_t text[POLY_X16][TEXT_SIZE_MAX], key[POLY_X16][POLY_KEY_SIZE];
	struct poly_x16 p;

	for (unsigned round = 0; round < 20000; round++) {
		unsigned n = 1 + round % POLY_X16;

		for (unsigned i = 0; i < n; i++) {
			p.text[i] = text[i];
			p.key[i] = key[i];
			p.size[i] = unit_rand_below(&r, TEXT_SIZE_MAX + 1);
			pattern_fill(&r, text[i], TEXT_SIZE_MAX);
			pattern_fill(&r, key[i], 16);
			pattern_fill(&r, key[i] + 16, 16);
		}
		poly_x16_run(&p, n);
		for (unsigned i = 0; i < n; i++) {
			uint8_t expected[POLY_TAG_SIZE];

			tag_expected(expected, text[i], p.size[i], key[i]);
			assert_memory_equal(p.tag[i], expected, POLY_TAG_SIZE);
		}
	}
}

// With r = 1 the sum is that of the blocks, here 2^130 - 5 and its neighbours: in 32 bytes of text
// and their length block, 3 * 2^128 + 32 * 2^64 and the number in the text.
static void sums_around_the_modulus(void **)
{
	static uint8_t text[POLY_X16][32], key[POLY_X16][POLY_KEY_SIZE];
	struct poly_x16 p;

	for (unsigned i = 0; i < POLY_X16; i++) {
		unsigned __int128 number = (unsigned __int128)i - 5 - 3;

		number -= (unsigned __int128)32 << 64;
		memcpy(text[i] + 16, &number, sizeof(number));
		key[i][0] = 1;
		p.text[i] = text[i];
		p.key[i] = key[i];
		p.size[i] = 32;
	}
	poly_x16_run(&p, POLY_X16);
	for (unsigned i = 0; i < POLY_X16; i++) {
		uint8_t expected[POLY_TAG_SIZE];

		tag_expected(expected, text[i], 32, key[i]);
		assert_memory_equal(p.tag[i], expected, POLY_TAG_SIZE);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(extremes_like_libsodium),
		cmocka_unit_test(sums_around_the_modulus),
	};

	if (!__builtin_cpu_supports("avx512ifma")) {
		fputs("poly_test: this CPU has no AVX-512 IFMA\n", stderr);
		return 77; // meson: skipped
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
