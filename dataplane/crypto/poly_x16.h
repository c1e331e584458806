// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include <stdint.h>

/**
 * Poly1305 tags (RFC 8439 2.5, 2.8) of up to sixteen messages at once with AVX-512 IFMA, one per
 * 64-bit lane of two sets of registers, whose instructions fill each other's waiting times. A tag is
 * over the text, padded with zeros to whole blocks, and the AEAD's length block; there is no
 * associated data.
 *
 * Messages of about the same size make best use of it: all lanes run as long as the longest.
 *
 * No branch and no address depends on a key or a text. Only for CPUs with AVX512F, AVX512BW and
 * AVX512IFMA.
 *
 * Thread-safety: pure functions.
 */

enum {
	POLY_X16 = 16, // messages
	POLY_TAG_SIZE = 16,
	POLY_KEY_SIZE = 32,
};

struct poly_x16 {
	const uint8_t *key[POLY_X16]; // POLY_KEY_SIZE bytes: r, not yet clamped, and s
	const uint8_t *text[POLY_X16];
	uint32_t size[POLY_X16];
	uint8_t tag[POLY_X16][POLY_TAG_SIZE]; // set by poly_x16_run()
};

/** @p n from 1 to POLY_X16. What lies behind the n messages is overwritten. */
void poly_x16_run(struct poly_x16 *p, unsigned n);
