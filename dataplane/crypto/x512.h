// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include <immintrin.h>

/**
 * Turning rows into columns between AVX-512 registers, for the kernels of this folder.
 *
 * Thread-safety: pure functions.
 */

/** Four registers as a 4x4 matrix of 128-bit elements: out[q] gets element q of each row. */
static inline void x512_transpose_128(__m512i out[4], const __m512i row[4])
{
	__m512i even_low = _mm512_shuffle_i64x2(row[0], row[1], 0x88);
	__m512i even_high = _mm512_shuffle_i64x2(row[2], row[3], 0x88);
	__m512i odd_low = _mm512_shuffle_i64x2(row[0], row[1], 0xdd);
	__m512i odd_high = _mm512_shuffle_i64x2(row[2], row[3], 0xdd);

	out[0] = _mm512_shuffle_i64x2(even_low, even_high, 0x88);
	out[1] = _mm512_shuffle_i64x2(odd_low, odd_high, 0x88);
	out[2] = _mm512_shuffle_i64x2(even_low, even_high, 0xdd);
	out[3] = _mm512_shuffle_i64x2(odd_low, odd_high, 0xdd);
}

/**
 * In each 128-bit part, four registers as a 4x4 matrix of 32-bit elements: out[j] gets element j of
 * each row.
 */
static inline void x512_transpose_32(__m512i out[4], const __m512i row[4])
{
	__m512i low_01 = _mm512_unpacklo_epi32(row[0], row[1]);
	__m512i low_23 = _mm512_unpacklo_epi32(row[2], row[3]);
	__m512i high_01 = _mm512_unpackhi_epi32(row[0], row[1]);
	__m512i high_23 = _mm512_unpackhi_epi32(row[2], row[3]);

	out[0] = _mm512_unpacklo_epi64(low_01, low_23);
	out[1] = _mm512_unpackhi_epi64(low_01, low_23);
	out[2] = _mm512_unpacklo_epi64(high_01, high_23);
	out[3] = _mm512_unpackhi_epi64(high_01, high_23);
}

/** Eight registers as an 8x8 matrix of 64-bit elements: out[j] gets element j of each row. */
static inline void x512_transpose_64(__m512i out[8], const __m512i row[8])
{
	__m512i even[4], odd[4], even_out[4], odd_out[4];

	for (int i = 0; i < 4; i++) {
		even[i] = _mm512_unpacklo_epi64(row[2 * i], row[2 * i + 1]);
		odd[i] = _mm512_unpackhi_epi64(row[2 * i], row[2 * i + 1]);
	}
	x512_transpose_128(even_out, even);
	x512_transpose_128(odd_out, odd);
	for (int i = 0; i < 4; i++) {
		out[2 * i] = even_out[i];
		out[2 * i + 1] = odd_out[i];
	}
}
