// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include <immintrin.h>
#include <stdint.h>

/**
 * Sixteen ChaCha20 blocks (RFC 8439 2.3) at once with AVX-512, one per 32-bit lane of the
 * registers. The lanes are independent: each has its own key, nonce and block number, so that
 * blocks of one message or of sixteen different ones fill a pass alike.
 *
 * No branch and no address depends on a key or a text. Only for CPUs with AVX512F and AVX512BW.
 *
 * Thread-safety: pure functions.
 */

enum {
	CHACHA_X16 = 16, // lanes
	CHACHA_BLOCK_SIZE = 64,
	CHACHA_KEY_SIZE = 32,
};

/** The input of a pass. Lanes that are not wanted need a readable src and an empty mask. */
struct chacha_x16 {
	__m512i key[CHACHA_KEY_SIZE / 4]; // one word of all lanes each
	__m512i block; // block numbers
	__m512i nonce[2]; // second and third word; the first is 0 (WireGuard paper 5.4.6)
	const uint8_t *src[CHACHA_X16];
	uint8_t *dst[CHACHA_X16]; // may be the same; lanes may not overlap otherwise
	uint64_t mask[CHACHA_X16]; // a bit for each byte of the block that is to be written
};

/** Sets the keys of all lanes from CHACHA_KEY_SIZE bytes each. */
void chacha_x16_keys_set(struct chacha_x16 *x, const uint8_t *const keys[CHACHA_X16]);
/** Writes src XOR key stream to dst in all lanes. */
void chacha_x16_run(const struct chacha_x16 *x);
/**
 * The same for sixteen blocks in a row of one message, in place.
 * @param block number of the first
 */
void chacha_x16_run_row(
	const uint8_t key[CHACHA_KEY_SIZE],
	uint64_t nonce,
	uint32_t block,
	uint8_t *data);
