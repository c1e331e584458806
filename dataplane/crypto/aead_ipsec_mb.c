// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "control/base/err.h"
#include "dataplane/crypto/aead_engine.h"

#include <intel-ipsec-mb.h>
#include <rte_malloc.h>

#include <assert.h>
#include <string.h>

enum {
	NONCE_SIZE = 12,
};

struct aead_ipsec_mb {
	IMB_MGR *mgr;
	uint8_t nonce[AEAD_BURST_MAX][NONCE_SIZE];
	uint8_t tag[AEAD_BURST_MAX][AEAD_TAG_SIZE]; // computed while opening
};

struct aead_ipsec_mb *aead_ipsec_mb_create(int socket_id)
{
	size_t size = imb_get_mb_mgr_size();
	struct aead_ipsec_mb *e;
	IMB_ARCH arch;

	e = rte_zmalloc_socket("aead_ipsec_mb", sizeof(*e), RTE_CACHE_LINE_SIZE, socket_id);
	if (e == NULL)
		return err_set_null(ENOMEM);
	e->mgr = rte_zmalloc_socket("aead_mgr", size, RTE_CACHE_LINE_SIZE, socket_id);
	if (e->mgr == NULL || imb_set_pointers_mb_mgr(e->mgr, 0, 1) == NULL)
		goto err_engine;
	init_mb_mgr_auto(e->mgr, &arch);
	if (imb_get_errno(e->mgr) != 0) {
		errno = ENOTSUP;
		goto err_mgr;
	}
	return e;

err_engine:
	errno = ENOMEM;
err_mgr:
	rte_free(e->mgr);
	rte_free(e);
	return NULL;
}

void aead_ipsec_mb_destroy(struct aead_ipsec_mb *e)
{
	if (e == NULL)
		return;
	// Neither holds a key, but the manager's scratch may hold key stream.
	imb_clear_mem(e->mgr, imb_get_mb_mgr_size());
	rte_free(e->mgr);
	imb_clear_mem(e, sizeof(*e));
	rte_free(e);
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
static unsigned jobs_run(struct aead_ipsec_mb *e, IMB_JOB **jobs, unsigned n)
{
	unsigned done = IMB_SUBMIT_BURST_NOCHECK(e->mgr, n, jobs);

	while (done < n) {
		unsigned more = IMB_FLUSH_BURST(e->mgr, n - done, jobs + done);

		if (more == 0)
			break;
		done += more;
	}
	return done;
}

void aead_ipsec_mb_run(
	struct aead_ipsec_mb *e,
	struct aead_op *const *ops,
	unsigned n,
	bool is_seal)
{
	IMB_JOB *jobs[AEAD_BURST_MAX];
	unsigned done;

	assert(n <= AEAD_BURST_MAX);
	for (unsigned i = 0; i < n; i++)
		ops[i]->is_ok = false;
	if (n == 0 || IMB_GET_NEXT_BURST(e->mgr, n, jobs) != n)
		return;
	for (unsigned i = 0; i < n; i++) {
		struct aead_op *op = ops[i];

		nonce_fill(e->nonce[i], op->counter);
		job_fill(
			jobs[i],
			op,
			e->nonce[i],
			is_seal ? op->data + op->size : e->tag[i],
			is_seal);
		jobs[i]->user_data = op;
	}
	done = jobs_run(e, jobs, n);
	for (unsigned i = 0; i < done; i++) {
		struct aead_op *op = jobs[i]->user_data;

		if (jobs[i]->status != IMB_STATUS_COMPLETED)
			continue;
		op->is_ok = is_seal
			|| aead_tag_is_equal(
				    jobs[i]->auth_tag_output, op->data + op->size - AEAD_TAG_SIZE);
	}
}
