// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "dataplane/crypto/chacha_x16.h"

#include "dataplane/crypto/x512.h"

#include <stddef.h>
#include <string.h>

enum {
	WORDS = 16, // of the state
	DOUBLE_ROUNDS = 10,
};

// "expand 32-byte k"
static const int32_t constants[4] = {0x61707865, 0x3320646e, 0x79622d32, 0x6b206574};

// Keys of lanes l and l + 8 share a register, so that the halves turn at the same time.
static __m512i key_pair_load(const uint8_t *low, const uint8_t *high)
{
	__m512i v = _mm512_castsi256_si512(_mm256_loadu_si256((const void *)low));

	return _mm512_inserti64x4(v, _mm256_loadu_si256((const void *)high), 1);
}

void chacha_x16_keys_set(struct chacha_x16 *x, const uint8_t *const keys[CHACHA_X16])
{
	const __m512i low = _mm512_setr_epi64(0, 1, 8, 9, 4, 5, 12, 13);
	const __m512i high = _mm512_setr_epi64(2, 3, 10, 11, 6, 7, 14, 15);
	__m512i row[8], word[8];

	for (int i = 0; i < 8; i++)
		row[i] = key_pair_load(keys[i], keys[i + 8]);
	// Each 128-bit part then has word j, or j + 4, of four lanes.
	x512_transpose_32(word, row);
	x512_transpose_32(word + 4, row + 4);
	for (int j = 0; j < 4; j++) {
		x->key[j] = _mm512_permutex2var_epi64(word[j], low, word[4 + j]);
		x->key[j + 4] = _mm512_permutex2var_epi64(word[j], high, word[4 + j]);
	}
}

#define QUARTER_STEP(a, b, d, bits)                                                                \
	do {                                                                                       \
		v[a] = _mm512_add_epi32(v[a], v[b]);                                               \
		v[d] = _mm512_rol_epi32(_mm512_xor_si512(v[d], v[a]), bits);                       \
	} while (0)

#define QUARTER_ROUND(a, b, c, d)                                                                  \
	do {                                                                                       \
		QUARTER_STEP(a, b, d, 16);                                                         \
		QUARTER_STEP(c, d, b, 12);                                                         \
		QUARTER_STEP(a, b, d, 8);                                                          \
		QUARTER_STEP(c, d, b, 7);                                                          \
	} while (0)

static inline void double_round(__m512i v[WORDS])
{
	QUARTER_ROUND(0, 4, 8, 12);
	QUARTER_ROUND(1, 5, 9, 13);
	QUARTER_ROUND(2, 6, 10, 14);
	QUARTER_ROUND(3, 7, 11, 15);
	QUARTER_ROUND(0, 5, 10, 15);
	QUARTER_ROUND(1, 6, 11, 12);
	QUARTER_ROUND(2, 7, 8, 13);
	QUARTER_ROUND(3, 4, 9, 14);
}

static inline void state_begin(__m512i start[WORDS])
{
	for (int i = 0; i < 4; i++)
		start[i] = _mm512_set1_epi32(constants[i]);
	start[13] = _mm512_setzero_si512();
}

// From the start state to the key stream: stream[4 * q + j] in part[j][q].
static inline void stream_make(__m512i part[4][4], const __m512i start[WORDS])
{
	__m512i v[WORDS], row[4][4];

	for (int i = 0; i < WORDS; i++)
		v[i] = start[i];
	for (int i = 0; i < DOUBLE_ROUNDS; i++)
		double_round(v);
	for (int i = 0; i < WORDS; i++)
		v[i] = _mm512_add_epi32(v[i], start[i]);
	// row[g][j]: in its 128-bit element q, words 4g to 4g + 3 of lane 4q + j.
	for (int g = 0; g < 4; g++)
		x512_transpose_32(row[g], v + 4 * g);
	for (int j = 0; j < 4; j++) {
		const __m512i lanes[4] = {row[0][j], row[1][j], row[2][j], row[3][j]};

		x512_transpose_128(part[j], lanes);
	}
}

void chacha_x16_run(const struct chacha_x16 *x)
{
	__m512i start[WORDS], part[4][4];

	state_begin(start);
	for (int i = 0; i < 8; i++)
		start[4 + i] = x->key[i];
	start[12] = x->block;
	start[14] = x->nonce[0];
	start[15] = x->nonce[1];
	stream_make(part, start);
	for (int lane = 0; lane < CHACHA_X16; lane++) {
		__mmask64 mask = x->mask[lane];
		__m512i text = _mm512_maskz_loadu_epi8(mask, x->src[lane]);

		text = _mm512_xor_si512(text, part[lane % 4][lane / 4]);
		_mm512_mask_storeu_epi8(x->dst[lane], mask, text);
	}
}

void chacha_x16_run_row(
	const uint8_t key[CHACHA_KEY_SIZE],
	uint64_t nonce,
	uint32_t block,
	uint8_t *data)
{
	const __m512i lane =
		_mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
	__m512i start[WORDS], part[4][4];

	state_begin(start);
	for (int i = 0; i < 8; i++) {
		int32_t word;

		memcpy(&word, key + 4 * i, sizeof(word));
		start[4 + i] = _mm512_set1_epi32(word);
	}
	start[12] = _mm512_add_epi32(_mm512_set1_epi32((int32_t)block), lane);
	start[14] = _mm512_set1_epi32((int32_t)(uint32_t)nonce);
	start[15] = _mm512_set1_epi32((int32_t)(uint32_t)(nonce >> 32));
	stream_make(part, start);
	for (int i = 0; i < CHACHA_X16; i++) {
		uint8_t *at = data + (ptrdiff_t)i * CHACHA_BLOCK_SIZE;

		_mm512_storeu_si512(
			at, _mm512_xor_si512(_mm512_loadu_si512(at), part[i % 4][i / 4]));
	}
}
