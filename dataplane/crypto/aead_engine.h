// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include "dataplane/crypto/aead.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/**
 * Internal to dataplane/crypto: the two programs behind aead.h. Both take operations whose sizes
 * are valid and set their is_ok.
 *
 *   ipsec_mb   any x86: one message at a time, as many bytes of it at once as the CPU can
 *   x16        AVX-512 IFMA: sixteen messages at a time
 *
 * Thread-safety: one context per worker.
 */

struct aead_ipsec_mb;

/** @return NULL with errno */
struct aead_ipsec_mb *aead_ipsec_mb_create(int socket_id);
/** Wipes it. NULL is allowed. */
void aead_ipsec_mb_destroy(struct aead_ipsec_mb *e);
/** @p n <= AEAD_BURST_MAX */
void aead_ipsec_mb_run(
	struct aead_ipsec_mb *e,
	struct aead_op *const *ops,
	unsigned n,
	bool is_seal);

enum {
	AEAD_X16_MAX = 16, // operations of a call
};

struct aead_x16;

/** Only on a CPU that has it: this function is AVX-512 itself. @return NULL with errno */
struct aead_x16 *aead_x16_create(int socket_id);
/** Wipes it. NULL is allowed. */
void aead_x16_destroy(struct aead_x16 *e);
/** @p n <= AEAD_X16_MAX. What fails to open is left as it was. */
void aead_x16_run(struct aead_x16 *e, struct aead_op *const *ops, unsigned n, bool is_seal);

static inline bool aead_tag_is_equal(const uint8_t *a, const uint8_t *b)
{
	uint64_t x[2], y[2];

	memcpy(x, a, sizeof(x));
	memcpy(y, b, sizeof(y));
	return ((x[0] ^ y[0]) | (x[1] ^ y[1])) == 0;
}
