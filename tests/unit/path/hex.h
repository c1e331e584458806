// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/**
 * Hex text of the test vectors; white space between bytes is skipped.
 */

/** @return bytes written, 0 when the text is not hex or does not fit */
static inline size_t hex_read(uint8_t *out, size_t cap, const char *text)
{
	size_t n = 0;
	int used;

	while (sscanf(text, " %2hhx%n", &out[n], &used) == 1) {
		text += used;
		if (++n == cap)
			return 0;
	}
	return text[0] == '\0' ? n : 0;
}
