// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include "control/noise/messages.h"

#include <openssl/evp.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/**
 * BLAKE2s as WireGuard uses it (hash, HMAC, KDF, keyed 16-byte MAC) and the source of randomness,
 * in one explicit context. libcrypto's algorithms are fetched once when the context is made.
 *
 * Errors: libcrypto can fail in theory at each step. Instead of a check per step the context has a
 * sticky is_broken like a cursor; a broken operation gives zeros, and every handshake function
 * looks at is_broken before it commits anything (-EIO).
 *
 * Ownership: noise_crypto_init() takes libcrypto objects, noise_crypto_fini() frees them.
 * Thread-safety: one context per thread.
 */

/** Fills @p out with @p size unpredictable bytes; @p arg is noise_crypto.random_arg. */
typedef void noise_random_fn(void *arg, void *out, size_t size);

struct noise_crypto {
	EVP_MD *blake2s;
	EVP_MD_CTX *hash;
	EVP_MAC_CTX *mac;
	noise_random_fn *random;
	void *random_arg;
	bool is_broken;
};

/** A piece of input; lists of them are hashed one after the other. */
struct noise_span {
	const void *data;
	size_t size; // bytes
};

/**
 * Makes a context.
 *
 * @param random  NULL for libsodium's randombytes_buf(); tests inject their own.
 * @return 0, -ENOTSUP (libsodium or BLAKE2s missing), -ENOMEM
 */
[[nodiscard]] int
noise_crypto_init(struct noise_crypto *c, noise_random_fn *random, void *random_arg);
/** Frees what init made; accepts a zeroed context. */
void noise_crypto_fini(struct noise_crypto *c);
/** Random bytes from the context's source. */
void noise_crypto_random(struct noise_crypto *c, void *out, size_t size);

/** BLAKE2s-256 over @p n_spans pieces. */
void noise_hash(
	struct noise_crypto *c,
	uint8_t out[NOISE_HASH_SIZE],
	const struct noise_span *spans,
	size_t n_spans);

/** HMAC-BLAKE2s-256 (RFC 2104, block 64 bytes); @p key_size at most 64. */
void noise_hmac(
	struct noise_crypto *c,
	uint8_t out[NOISE_HASH_SIZE],
	const uint8_t *key,
	size_t key_size,
	const struct noise_span *spans,
	size_t n_spans);

/**
 * KDF1..KDF3 of the WireGuard paper: HKDF with HMAC-BLAKE2s, salt @p key and no info.
 * @p out2 and @p out3 may be NULL (out3 must be when out2 is). Outputs may alias @p key.
 */
void noise_kdf(
	struct noise_crypto *c,
	uint8_t out1[NOISE_HASH_SIZE],
	uint8_t out2[NOISE_HASH_SIZE],
	uint8_t out3[NOISE_HASH_SIZE],
	const uint8_t key[NOISE_HASH_SIZE],
	const void *input,
	size_t input_size);

/** Keyed BLAKE2s with 16 bytes of output; @p key_size 1 to 32. */
void noise_mac(
	struct noise_crypto *c,
	uint8_t out[NOISE_MAC_SIZE],
	const uint8_t *key,
	size_t key_size,
	const struct noise_span *spans,
	size_t n_spans);
