// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "dataplane/crypto/aead.h"

#include "control/base/err.h"
#include "dataplane/crypto/aead_engine.h"

#include <rte_malloc.h>

#include <assert.h>
#include <string.h>

enum {
	CLASS_SIZE = 64,
	N_CLASSES = 32, // the last takes all from 1984 bytes on
};

struct aead {
	struct aead_ipsec_mb *ipsec_mb;
	struct aead_x16 *x16; // NULL: not for this CPU, or not wanted
};

static bool cpu_has_x16(void)
{
	return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw")
		&& __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq")
		&& __builtin_cpu_supports("avx512ifma");
}

struct aead *aead_create_engine(int socket_id, enum aead_engine engine)
{
	bool has_x16 = engine != AEAD_ENGINE_IPSEC_MB && cpu_has_x16();
	struct aead *a;

	if (engine == AEAD_ENGINE_X16 && !has_x16)
		return err_set_null(ENOTSUP);
	a = rte_zmalloc_socket("aead", sizeof(*a), RTE_CACHE_LINE_SIZE, socket_id);
	if (a == NULL)
		return err_set_null(ENOMEM);
	if (engine != AEAD_ENGINE_X16) {
		a->ipsec_mb = aead_ipsec_mb_create(socket_id);
		if (a->ipsec_mb == NULL)
			goto err;
	}
	if (has_x16) {
		a->x16 = aead_x16_create(socket_id);
		if (a->x16 == NULL)
			goto err;
	}
	return a;

err:
	aead_destroy(a);
	return NULL;
}

struct aead *aead_create(int socket_id)
{
	return aead_create_engine(socket_id, AEAD_ENGINE_BEST);
}

void aead_destroy(struct aead *a)
{
	if (a == NULL)
		return;
	aead_ipsec_mb_destroy(a->ipsec_mb);
	aead_x16_destroy(a->x16);
	rte_free(a);
}

static bool op_is_valid(const struct aead_op *op, bool is_seal)
{
	if (is_seal)
		return op->size <= AEAD_SIZE_MAX - AEAD_TAG_SIZE;
	return op->size >= AEAD_TAG_SIZE && op->size <= AEAD_SIZE_MAX;
}

static unsigned size_class(const struct aead_op *op)
{
	unsigned class_ = op->size / CLASS_SIZE;

	return class_ < N_CLASSES ? class_ : N_CLASSES - 1u;
}

// Longest first, in steps of CLASS_SIZE: messages of one group should be alike.
static void ops_sort(struct aead_op **ops, unsigned n)
{
	struct aead_op *sorted[AEAD_BURST_MAX];
	uint8_t at[N_CLASSES + 1] = {0};

	for (unsigned i = 0; i < n; i++)
		at[size_class(ops[i]) + 1]++;
	for (unsigned class_ = 0; class_ < N_CLASSES; class_++)
		at[class_ + 1] += at[class_];
	for (unsigned i = 0; i < n; i++)
		sorted[n - 1u - at[size_class(ops[i])]++] = ops[i];
	memcpy(ops, sorted, n * sizeof(sorted[0]));
}

// Few or unlike messages leave too many lanes empty. Cycles as measured on Emerald Rapids; on other
// CPUs only the choice would be a little off.
static bool is_x16_faster(struct aead_op *const *ops, unsigned n)
{
	unsigned blocks = 0, x16, ipsec_mb = 0;

	for (unsigned i = 0; i < n; i++) {
		blocks += (ops[i]->size + 63) / 64;
		ipsec_mb += 320 + ops[i]->size * 2 / 3;
	}
	// Passes of ChaCha20, then Poly1305 as long as the first and longest message.
	x16 = 430 * (1 + (blocks + 15) / 16);
	x16 += (n > 8 ? 41 : 25) * (ops[0]->size / 16 + 1);
	return 200 + 20 * n + x16 < ipsec_mb;
}

static void valid_run(struct aead *a, struct aead_op **ops, unsigned n, bool is_seal)
{
	struct aead_op *rest[AEAD_BURST_MAX];
	unsigned n_rest = 0;

	for (unsigned at = 0; at < n; at += AEAD_X16_MAX) {
		unsigned count = n - at < AEAD_X16_MAX ? n - at : (unsigned)AEAD_X16_MAX;

		if (a->ipsec_mb == NULL || is_x16_faster(ops + at, count)) {
			aead_x16_run(a->x16, ops + at, count, is_seal);
			continue;
		}
		memcpy(rest + n_rest, ops + at, count * sizeof(rest[0]));
		n_rest += count;
	}
	if (n_rest > 0)
		aead_ipsec_mb_run(a->ipsec_mb, rest, n_rest, is_seal);
}

static void burst_run(struct aead *a, struct aead_op *ops, unsigned n, bool is_seal)
{
	struct aead_op *valid[AEAD_BURST_MAX];
	unsigned n_valid = 0;
	bool is_mixed = false;

	assert(n <= AEAD_BURST_MAX);
	for (unsigned i = 0; i < n; i++) {
		ops[i].is_ok = false;
		if (!op_is_valid(&ops[i], is_seal))
			continue;
		valid[n_valid++] = &ops[i];
		is_mixed |= size_class(&ops[i]) != size_class(valid[0]);
	}
	if (a->x16 == NULL) {
		aead_ipsec_mb_run(a->ipsec_mb, valid, n_valid, is_seal);
		return;
	}
	if (is_mixed)
		ops_sort(valid, n_valid);
	valid_run(a, valid, n_valid, is_seal);
}

void aead_seal_burst(struct aead *a, struct aead_op *ops, unsigned n)
{
	burst_run(a, ops, n, true);
}

void aead_open_burst(struct aead *a, struct aead_op *ops, unsigned n)
{
	burst_run(a, ops, n, false);
}
