// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "control/base/err.h"
#include "dataplane/crypto/aead_engine.h"
#include "dataplane/crypto/chacha_x16.h"
#include "dataplane/crypto/poly_x16.h"

#include <rte_malloc.h>

#include <assert.h>
#include <string.h>

// Up to sixteen messages in three steps (RFC 8439 2.8): key stream block 0 of each in one pass, the
// one-time keys; the tags over the cipher text; then the other blocks, sixteen a pass.
// Sealing does the last two the other way round.

static_assert(
	(int)AEAD_X16_MAX == (int)CHACHA_X16 && (int)CHACHA_X16 == (int)POLY_X16,
	"one pass makes all one-time keys");
static_assert((int)AEAD_KEY_SIZE == (int)CHACHA_KEY_SIZE, "one key size");
static_assert((int)AEAD_TAG_SIZE == (int)POLY_TAG_SIZE, "one tag size");

enum {
	ROW_SIZE = CHACHA_X16 * CHACHA_BLOCK_SIZE,
};

struct aead_x16 {
	struct chacha_x16 pass;
	// What fills the lanes of the pass until all are taken.
	unsigned n_lanes;
	uint32_t block[CHACHA_X16] __rte_aligned(64);
	uint32_t nonce[2][CHACHA_X16];
	const uint8_t *key[CHACHA_X16];
	uint8_t one_time_key[AEAD_X16_MAX][CHACHA_BLOCK_SIZE];
	struct poly_x16 poly;
};

static const uint8_t zeros[CHACHA_BLOCK_SIZE];

struct aead_x16 *aead_x16_create(int socket_id)
{
	struct aead_x16 *e =
		rte_zmalloc_socket("aead_x16", sizeof(*e), RTE_CACHE_LINE_SIZE, socket_id);

	return e != NULL ? e : err_set_null(ENOMEM);
}

void aead_x16_destroy(struct aead_x16 *e)
{
	if (e == NULL)
		return;
	explicit_bzero(e, sizeof(*e));
	rte_free(e);
}

static void lanes_run(struct aead_x16 *e)
{
	struct chacha_x16 *x = &e->pass;

	for (unsigned i = e->n_lanes; i < CHACHA_X16; i++) {
		e->key[i] = e->key[0];
		x->src[i] = x->dst[i] = x->dst[0];
		x->mask[i] = 0;
	}
	chacha_x16_keys_set(x, e->key);
	x->block = _mm512_load_si512(e->block);
	x->nonce[0] = _mm512_load_si512(e->nonce[0]);
	x->nonce[1] = _mm512_load_si512(e->nonce[1]);
	chacha_x16_run(x);
	e->n_lanes = 0;
}

static inline void lane_push(
	struct aead_x16 *e,
	const struct aead_op *op,
	uint32_t block,
	const uint8_t *src,
	uint8_t *dst,
	uint32_t size)
{
	unsigned i = e->n_lanes++;

	e->key[i] = op->key;
	e->block[i] = block;
	e->nonce[0][i] = (uint32_t)op->counter;
	e->nonce[1][i] = (uint32_t)(op->counter >> 32);
	e->pass.src[i] = src;
	e->pass.dst[i] = dst;
	e->pass.mask[i] = UINT64_MAX >> (CHACHA_BLOCK_SIZE - size);
	if (e->n_lanes == CHACHA_X16)
		lanes_run(e);
}

static void text_push(struct aead_x16 *e, const struct aead_op *op, uint32_t size)
{
	uint8_t *at = op->data;
	uint32_t block = 1;

	// These need no gathering.
	for (; size >= ROW_SIZE; size -= ROW_SIZE) {
		chacha_x16_run_row(op->key, op->counter, block, at);
		at += ROW_SIZE;
		block += CHACHA_X16;
	}
	for (; size > CHACHA_BLOCK_SIZE; size -= CHACHA_BLOCK_SIZE) {
		lane_push(e, op, block++, at, at, CHACHA_BLOCK_SIZE);
		at += CHACHA_BLOCK_SIZE;
	}
	if (size > 0)
		lane_push(e, op, block, at, at, size);
}

static void one_time_keys_make(struct aead_x16 *e, struct aead_op *const *ops, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		lane_push(e, ops[i], 0, zeros, e->one_time_key[i], CHACHA_BLOCK_SIZE);
	if (e->n_lanes > 0)
		lanes_run(e);
}

// Into e->poly.tag. @param tag_size what follows the cipher text within the sizes
static void tags_make(struct aead_x16 *e, struct aead_op *const *ops, unsigned n, uint32_t tag_size)
{
	for (unsigned i = 0; i < n; i++) {
		e->poly.key[i] = e->one_time_key[i];
		e->poly.text[i] = ops[i]->data;
		e->poly.size[i] = ops[i]->size - tag_size;
	}
	poly_x16_run(&e->poly, n);
}

static void seal(struct aead_x16 *e, struct aead_op *const *ops, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		text_push(e, ops[i], ops[i]->size);
	if (e->n_lanes > 0)
		lanes_run(e);
	tags_make(e, ops, n, 0);
	for (unsigned i = 0; i < n; i++) {
		memcpy(ops[i]->data + ops[i]->size, e->poly.tag[i], AEAD_TAG_SIZE);
		ops[i]->is_ok = true;
	}
}

static void open(struct aead_x16 *e, struct aead_op *const *ops, unsigned n)
{
	tags_make(e, ops, n, AEAD_TAG_SIZE);
	for (unsigned i = 0; i < n; i++) {
		struct aead_op *op = ops[i];

		op->is_ok = aead_tag_is_equal(e->poly.tag[i], op->data + op->size - AEAD_TAG_SIZE);
		// What is forged is not worth deciphering.
		if (op->is_ok)
			text_push(e, op, op->size - AEAD_TAG_SIZE);
	}
	if (e->n_lanes > 0)
		lanes_run(e);
}

void aead_x16_run(struct aead_x16 *e, struct aead_op *const *ops, unsigned n, bool is_seal)
{
	assert(n <= AEAD_X16_MAX);
	if (n == 0)
		return;
	one_time_keys_make(e, ops, n);
	if (is_seal)
		seal(e, ops, n);
	else
		open(e, ops, n);
}
