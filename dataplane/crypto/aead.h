// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include <stdbool.h>
#include <stdint.h>

/**
 * ChaCha20-Poly1305 (RFC 8439) over a burst of WireGuard data messages: no associated data, nonce
 * of 4 zero bytes and the 64-bit little-endian counter, 16-byte tag directly behind the text.
 * Works in place on contiguous buffers; nothing is allocated per call.
 *
 * Only the cipher: lengths of the message header, replay and key lifetime are the caller's.
 *
 * Thread-safety: one context per worker. Ownership: operations borrow their buffers and keys.
 */

enum {
	AEAD_KEY_SIZE = 32,
	AEAD_TAG_SIZE = 16,
	AEAD_BURST_MAX = 64,
	AEAD_SIZE_MAX = 65535, // of an operation's data
};

/** One message. The operations of a burst are independent and may all have different keys. */
struct aead_op {
	uint8_t *data;
	uint32_t
		size; // seal: of the text (AEAD_TAG_SIZE more bytes get written); open: text and tag
	const uint8_t *key; // AEAD_KEY_SIZE bytes
	uint64_t counter;
	bool is_ok; // set by the call
};

struct aead;

/** Which program does the work; for tests and benchmarks. All of them give the same bytes. */
enum aead_engine {
	AEAD_ENGINE_BEST, // what is faster for each burst on this CPU
	AEAD_ENGINE_IPSEC_MB,
	AEAD_ENGINE_X16, // ours: sixteen messages at a time, AVX-512 IFMA
};

/** @return a context with the fastest code for this CPU, or NULL with errno. */
struct aead *aead_create(int socket_id);
/** The same with one engine. @return NULL with errno: ENOTSUP if the CPU cannot run it */
struct aead *aead_create_engine(int socket_id, enum aead_engine engine);
/** Wipes and frees it. NULL is allowed. */
void aead_destroy(struct aead *a);

/** Encrypts and appends the tags. is_ok is false only for a size over the limit. @p n <= AEAD_BURST_MAX */
void aead_seal_burst(struct aead *a, struct aead_op *ops, unsigned n);
/**
 * Decrypts and checks the tags in constant time. Where is_ok is false (wrong tag, or a size under
 * AEAD_TAG_SIZE or over the limit) the bytes in data mean nothing and must not be used.
 * @p n <= AEAD_BURST_MAX
 */
void aead_open_burst(struct aead *a, struct aead_op *ops, unsigned n);
