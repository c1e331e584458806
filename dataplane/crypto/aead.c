// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "dataplane/crypto/aead.h"

#include "control/base/err.h"

#include <intel-ipsec-mb.h>
#include <rte_malloc.h>

#include <assert.h>
#include <string.h>

enum {
	NONCE_SIZE = 12,
};

struct aead {
	IMB_MGR *mgr;
	uint8_t nonce[AEAD_BURST_MAX][NONCE_SIZE];
	uint8_t tag[AEAD_BURST_MAX][AEAD_TAG_SIZE]; // computed while opening
};

struct aead *aead_create(int socket_id)
{
	size_t size = imb_get_mb_mgr_size();
	IMB_ARCH arch;
	struct aead *a;

	a = rte_zmalloc_socket("aead", sizeof(*a), RTE_CACHE_LINE_SIZE, socket_id);
	if (a == NULL)
		return err_set_null(ENOMEM);
	a->mgr = rte_zmalloc_socket("aead_mgr", size, RTE_CACHE_LINE_SIZE, socket_id);
	if (a->mgr == NULL || imb_set_pointers_mb_mgr(a->mgr, 0, 1) == NULL)
		goto err_aead;
	init_mb_mgr_auto(a->mgr, &arch);
	if (imb_get_errno(a->mgr) != 0) {
		errno = ENOTSUP;
		goto err_mgr;
	}
	return a;

err_aead:
	errno = ENOMEM;
err_mgr:
	rte_free(a->mgr);
	rte_free(a);
	return NULL;
}

void aead_destroy(struct aead *a)
{
	if (a == NULL)
		return;
	// Neither holds a key, but the manager's scratch may hold key stream.
	imb_clear_mem(a->mgr, imb_get_mb_mgr_size());
	rte_free(a->mgr);
	imb_clear_mem(a, sizeof(*a));
	rte_free(a);
}

static void
job_fill(IMB_JOB *job, const struct aead_op *op, const uint8_t *nonce, uint8_t *tag, bool is_seal)
{
	uint32_t size = is_seal ? op->size : op->size - AEAD_TAG_SIZE;

	job->cipher_mode = IMB_CIPHER_CHACHA20_POLY1305;
	job->hash_alg = IMB_AUTH_CHACHA20_POLY1305;
	job->cipher_direction = is_seal ? IMB_DIR_ENCRYPT : IMB_DIR_DECRYPT;
	job->chain_order = is_seal ? IMB_ORDER_CIPHER_HASH : IMB_ORDER_HASH_CIPHER;
	job->enc_keys = op->key;
	job->dec_keys = op->key;
	job->key_len_in_bytes = AEAD_KEY_SIZE;
	job->iv = nonce;
	job->iv_len_in_bytes = NONCE_SIZE;
	job->src = op->data;
	job->dst = op->data;
	job->cipher_start_src_offset_in_bytes = 0;
	job->msg_len_to_cipher_in_bytes = size;
	job->hash_start_src_offset_in_bytes = 0;
	job->msg_len_to_hash_in_bytes = size;
	job->u.CHACHA20_POLY1305.aad = NULL;
	job->u.CHACHA20_POLY1305.aad_len_in_bytes = 0;
	job->auth_tag_output = tag;
	job->auth_tag_output_len_in_bytes = AEAD_TAG_SIZE;
}

static void nonce_fill(uint8_t nonce[NONCE_SIZE], uint64_t counter)
{
	// The first 4 bytes stay 0 (WireGuard paper 5.4.6); the library is x86 only: little endian.
	memcpy(nonce + 4, &counter, sizeof(counter));
}

// Every job of this algorithm is done when submit returns; flush is for the impossible rest.
static unsigned jobs_run(struct aead *a, IMB_JOB **jobs, unsigned n)
{
	unsigned done = IMB_SUBMIT_BURST_NOCHECK(a->mgr, n, jobs);

	while (done < n) {
		unsigned more = IMB_FLUSH_BURST(a->mgr, n - done, jobs + done);

		if (more == 0)
			break;
		done += more;
	}
	return done;
}

static bool tag_is_equal(const uint8_t *a, const uint8_t *b)
{
	uint64_t x[2], y[2];

	memcpy(x, a, sizeof(x));
	memcpy(y, b, sizeof(y));
	return ((x[0] ^ y[0]) | (x[1] ^ y[1])) == 0;
}

static bool op_is_valid(const struct aead_op *op, bool is_seal)
{
	if (is_seal)
		return op->size <= AEAD_SIZE_MAX - AEAD_TAG_SIZE;
	return op->size >= AEAD_TAG_SIZE && op->size <= AEAD_SIZE_MAX;
}

static void burst_run(struct aead *a, struct aead_op *ops, unsigned n, bool is_seal)
{
	IMB_JOB *jobs[AEAD_BURST_MAX];
	struct aead_op *op_of[AEAD_BURST_MAX];
	unsigned n_jobs = 0, done;

	assert(n <= AEAD_BURST_MAX);
	for (unsigned i = 0; i < n; i++) {
		ops[i].is_ok = false;
		if (op_is_valid(&ops[i], is_seal))
			op_of[n_jobs++] = &ops[i];
	}
	if (n_jobs == 0 || IMB_GET_NEXT_BURST(a->mgr, n_jobs, jobs) != n_jobs)
		return;
	for (unsigned i = 0; i < n_jobs; i++) {
		struct aead_op *op = op_of[i];

		nonce_fill(a->nonce[i], op->counter);
		job_fill(
			jobs[i],
			op,
			a->nonce[i],
			is_seal ? op->data + op->size : a->tag[i],
			is_seal);
		jobs[i]->user_data = op;
	}
	done = jobs_run(a, jobs, n_jobs);
	for (unsigned i = 0; i < done; i++) {
		struct aead_op *op = jobs[i]->user_data;

		if (jobs[i]->status != IMB_STATUS_COMPLETED)
			continue;
		op->is_ok = is_seal
			|| tag_is_equal(
				    jobs[i]->auth_tag_output, op->data + op->size - AEAD_TAG_SIZE);
	}
}

void aead_seal_burst(struct aead *a, struct aead_op *ops, unsigned n)
{
	burst_run(a, ops, n, true);
}

void aead_open_burst(struct aead *a, struct aead_op *ops, unsigned n)
{
	burst_run(a, ops, n, false);
}
