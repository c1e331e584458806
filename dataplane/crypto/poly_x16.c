// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "dataplane/crypto/poly_x16.h"

#include "dataplane/crypto/x512.h"

#include <stdbool.h>
#include <string.h>

// Numbers modulo 2^130 - 5 are three limbs of 44, 44 and 42 bits. IFMA multiplies 52-bit factors and
// adds the low or the high 52 bits of the product, so the high half of a product of limbs i and j
// counts 2^8 in limb i + j + 1. Limbs are carried once per block, which leaves limb 1 a bit or two
// too large; factors below 2^52 are all that is needed.

enum {
	BLOCK_SIZE = 16,
	CHUNK_SIZE = 64, // what is loaded and turned at a time
	CHUNK_BLOCKS = CHUNK_SIZE / BLOCK_SIZE,
	LANES = 8,
	SETS_MAX = POLY_X16 / LANES,
};

#define MASK_44 UINT64_C(0xfffffffffff)
#define MASK_42 UINT64_C(0x3ffffffffff)
#define CLAMP_LOW UINT64_C(0x0ffffffc0fffffff)
#define CLAMP_HIGH UINT64_C(0x0ffffffc0ffffffc)

struct acc {
	__m512i h[3];
	__m512i r[3];
	__m512i r20[3]; // of limbs 1 and 2: 20 times, for products of weight 2^132 and more
};

static inline __m512i splat(uint64_t v)
{
	return _mm512_set1_epi64((long long)v);
}

// The low 64 and the high 64 bits of a 128-bit number as limbs.
static inline void limbs_split(__m512i limb[3], __m512i low, __m512i high)
{
	limb[0] = _mm512_and_si512(low, splat(MASK_44));
	// (a | b) & mask
	limb[1] = _mm512_ternarylogic_epi64(
		_mm512_srli_epi64(low, 44), _mm512_slli_epi64(high, 20), splat(MASK_44), 0xa8);
	limb[2] = _mm512_srli_epi64(high, 24);
}

static inline __m512i times_5(__m512i v)
{
	return _mm512_add_epi64(v, _mm512_slli_epi64(v, 2));
}

struct product {
	__m512i low[3], high[3];
};

static inline void product_add(struct product *p, int limb, __m512i a, __m512i b)
{
	p->low[limb] = _mm512_madd52lo_epu64(p->low[limb], a, b);
	p->high[limb] = _mm512_madd52hi_epu64(p->high[limb], a, b);
}

static inline void product_carry(__m512i h[3], const struct product *p)
{
	__m512i mask = splat(MASK_44), carry;

	h[0] = _mm512_and_si512(p->low[0], mask);
	h[1] = _mm512_add_epi64(p->low[1], _mm512_slli_epi64(p->high[0], 8));
	h[1] = _mm512_add_epi64(h[1], _mm512_srli_epi64(p->low[0], 44));
	h[2] = _mm512_add_epi64(p->low[2], _mm512_slli_epi64(p->high[1], 8));
	h[2] = _mm512_add_epi64(h[2], _mm512_srli_epi64(h[1], 44));
	h[1] = _mm512_and_si512(h[1], mask);
	// 2^130 is 5.
	carry = _mm512_add_epi64(_mm512_slli_epi64(p->high[2], 10), _mm512_srli_epi64(h[2], 42));
	h[2] = _mm512_and_si512(h[2], splat(MASK_42));
	h[0] = _mm512_add_epi64(h[0], times_5(carry));
	h[1] = _mm512_add_epi64(h[1], _mm512_srli_epi64(h[0], 44));
	h[0] = _mm512_and_si512(h[0], mask);
}

// h = (h + block) * r; every block is a whole one.
static inline void block_add(struct acc *a, __m512i low, __m512i high)
{
	struct product p;
	__m512i m[3];

	limbs_split(m, low, high);
	m[2] = _mm512_or_si512(m[2], splat(UINT64_C(1) << 40));
	for (int i = 0; i < 3; i++) {
		m[i] = _mm512_add_epi64(m[i], a->h[i]);
		p.low[i] = p.high[i] = _mm512_setzero_si512();
	}
	product_add(&p, 0, m[0], a->r[0]);
	product_add(&p, 0, m[1], a->r20[2]);
	product_add(&p, 0, m[2], a->r20[1]);
	product_add(&p, 1, m[0], a->r[1]);
	product_add(&p, 1, m[1], a->r[0]);
	product_add(&p, 1, m[2], a->r20[2]);
	product_add(&p, 2, m[0], a->r[2]);
	product_add(&p, 2, m[1], a->r[1]);
	product_add(&p, 2, m[2], a->r[0]);
	product_carry(a->h, &p);
}

// The same in the lanes of @p mask only.
static inline void block_add_masked(struct acc *a, __m512i low, __m512i high, __mmask8 mask)
{
	struct acc next = *a;

	block_add(&next, low, high);
	for (int i = 0; i < 3; i++)
		a->h[i] = _mm512_mask_mov_epi64(a->h[i], mask, next.h[i]);
}

// One-time keys: r and s of all lanes as 64-bit halves.
static inline void keys_load(struct acc *a, __m512i s[2], const uint8_t *const *key)
{
	__m512i row[LANES], half[LANES];

	for (int i = 0; i < LANES; i++)
		row[i] = _mm512_castsi256_si512(_mm256_loadu_si256((const void *)key[i]));
	x512_transpose_64(half, row);
	limbs_split(
		a->r,
		_mm512_and_si512(half[0], splat(CLAMP_LOW)),
		_mm512_and_si512(half[1], splat(CLAMP_HIGH)));
	for (int i = 0; i < 3; i++) {
		a->r20[i] = _mm512_slli_epi64(times_5(a->r[i]), 2);
		a->h[i] = _mm512_setzero_si512();
	}
	s[0] = half[2];
	s[1] = half[3];
}

static inline uint32_t blocks_of(uint32_t size)
{
	return (size + BLOCK_SIZE - 1) / BLOCK_SIZE + 1;
}

// Chunk @p at of a message, with its padding and its length block where they fall into it.
static inline __m512i chunk_end_load(const uint8_t *text, uint32_t size, uint32_t at)
{
	uint32_t start = at * CHUNK_SIZE;
	uint32_t left = size > start ? size - start : 0;
	uint32_t length_at = (blocks_of(size) - 1) * BLOCK_SIZE;
	__mmask64 mask = left >= CHUNK_SIZE ? UINT64_MAX : (UINT64_C(1) << left) - 1;
	__m512i v = _mm512_maskz_loadu_epi8(mask, text + (left > 0 ? start : 0));

	// Its first half, the size of the associated data, is 0.
	if (length_at / CHUNK_SIZE == at)
		v = _mm512_mask_mov_epi64(
			v,
			(__mmask8)(1u << (length_at % CHUNK_SIZE / sizeof(uint64_t) + 1)),
			splat(size));
	return v;
}

static inline uint32_t size_least(const struct poly_x16 *p, int n)
{
	uint32_t least = p->size[0];

	for (int i = 1; i < n; i++)
		least = p->size[i] < least ? p->size[i] : least;
	return least;
}

static inline uint32_t size_most(const struct poly_x16 *p, int n)
{
	uint32_t most = p->size[0];

	for (int i = 1; i < n; i++)
		most = p->size[i] > most ? p->size[i] : most;
	return most;
}

// The chunks that are text in all lanes. @return how many
static inline uint32_t
whole_chunks_add(const struct poly_x16 *p, struct acc a[SETS_MAX], const int sets)
{
	uint32_t n = size_least(p, sets * LANES) / CHUNK_SIZE;

	for (uint32_t at = 0; at < n; at++) {
		__m512i row[LANES], word[SETS_MAX][LANES];

		for (int set = 0; set < sets; set++) {
			for (int i = 0; i < LANES; i++)
				row[i] = _mm512_loadu_si512(
					p->text[set * LANES + i] + (size_t)at * CHUNK_SIZE);
			x512_transpose_64(word[set], row);
		}
		for (int i = 0; i < CHUNK_BLOCKS; i++)
			for (int set = 0; set < sets; set++)
				block_add(&a[set], word[set][2 * i], word[set][2 * i + 1]);
	}
	return n;
}

// The rest: ends at a different block in each lane.
static inline void
end_chunks_add(const struct poly_x16 *p, struct acc a[SETS_MAX], const int sets, uint32_t at)
{
	uint32_t most = blocks_of(size_most(p, sets * LANES));
	__m512i blocks[SETS_MAX];

	for (int set = 0; set < sets; set++) {
		uint64_t n[LANES];

		for (int i = 0; i < LANES; i++)
			n[i] = blocks_of(p->size[set * LANES + i]);
		blocks[set] = _mm512_loadu_si512(n);
	}
	for (; at * CHUNK_BLOCKS < most; at++) {
		__m512i row[LANES], word[SETS_MAX][LANES];

		for (int set = 0; set < sets; set++) {
			for (int i = 0; i < LANES; i++)
				row[i] = chunk_end_load(
					p->text[set * LANES + i], p->size[set * LANES + i], at);
			x512_transpose_64(word[set], row);
		}
		for (uint32_t i = 0; i < CHUNK_BLOCKS && at * CHUNK_BLOCKS + i < most; i++)
			for (int set = 0; set < sets; set++)
				block_add_masked(
					&a[set],
					word[set][2 * i],
					word[set][2 * i + 1],
					_mm512_cmpgt_epu64_mask(
						blocks[set], splat(at * CHUNK_BLOCKS + i)));
	}
}

// h modulo 2^130 - 5, in one form: subtracts the modulus where h is not below it.
static inline void reduce(__m512i h[3])
{
	__m512i mask = splat(MASK_44), g[3];
	__mmask8 is_below;

	// Carried twice, every limb is in its range.
	for (int i = 0; i < 2; i++) {
		h[2] = _mm512_add_epi64(h[2], _mm512_srli_epi64(h[1], 44));
		h[1] = _mm512_and_si512(h[1], mask);
		h[0] = _mm512_add_epi64(h[0], times_5(_mm512_srli_epi64(h[2], 42)));
		h[2] = _mm512_and_si512(h[2], splat(MASK_42));
		h[1] = _mm512_add_epi64(h[1], _mm512_srli_epi64(h[0], 44));
		h[0] = _mm512_and_si512(h[0], mask);
	}
	g[0] = _mm512_add_epi64(h[0], splat(5));
	g[1] = _mm512_add_epi64(h[1], _mm512_srli_epi64(g[0], 44));
	g[2] = _mm512_add_epi64(h[2], _mm512_srli_epi64(g[1], 44));
	is_below = _mm512_cmplt_epu64_mask(g[2], splat(UINT64_C(1) << 42));
	h[0] = _mm512_mask_mov_epi64(_mm512_and_si512(g[0], mask), is_below, h[0]);
	h[1] = _mm512_mask_mov_epi64(_mm512_and_si512(g[1], mask), is_below, h[1]);
	h[2] = _mm512_mask_mov_epi64(g[2], is_below, h[2]);
}

// (h + s) modulo 2^128
static inline void tags_write(uint8_t (*tag)[POLY_TAG_SIZE], __m512i h[3], const __m512i s[2])
{
	uint64_t low[LANES], high[LANES];
	__m512i l, u;
	__mmask8 carry;

	reduce(h);
	l = _mm512_or_si512(h[0], _mm512_slli_epi64(h[1], 44));
	u = _mm512_or_si512(_mm512_srli_epi64(h[1], 20), _mm512_slli_epi64(h[2], 24));
	l = _mm512_add_epi64(l, s[0]);
	carry = _mm512_cmplt_epu64_mask(l, s[0]);
	u = _mm512_add_epi64(u, s[1]);
	u = _mm512_mask_add_epi64(u, carry, u, splat(1));
	_mm512_storeu_si512(low, l);
	_mm512_storeu_si512(high, u);
	for (int i = 0; i < LANES; i++) {
		memcpy(tag[i], &low[i], sizeof(low[i]));
		memcpy(tag[i] + sizeof(low[i]), &high[i], sizeof(high[i]));
	}
}

static inline void run(struct poly_x16 *p, const int sets)
{
	struct acc a[SETS_MAX];
	__m512i s[SETS_MAX][2];

	for (int set = 0; set < sets; set++)
		keys_load(&a[set], s[set], p->key + set * LANES);
	end_chunks_add(p, a, sets, whole_chunks_add(p, a, sets));
	for (int set = 0; set < sets; set++)
		tags_write(p->tag + set * LANES, a[set].h, s[set]);
}

void poly_x16_run(struct poly_x16 *p, unsigned n)
{
	for (unsigned i = n; i % LANES != 0; i++) {
		p->key[i] = p->key[0];
		p->text[i] = p->text[0];
		p->size[i] = p->size[0];
	}
	if (n <= LANES)
		run(p, 1);
	else
		run(p, 2);
}
