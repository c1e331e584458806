// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include <stdint.h>
#include <string.h>

/** A query for a.test TXT with id 0x1234, RD and an OPT record; its question ends at QUERY_HEAD. */
enum {
	QUERY_HEAD = 12 + 8 + 4,
	QUERY_SIZE = QUERY_HEAD + 11,
};

static const uint8_t query[QUERY_SIZE] = {
	0x12, 0x34, 0x01, 0x00, 0,   1,	  0,   0, 0, 0,	 0, 1, // header
	1,    'a',  4,	  't',	'e', 's', 't', 0, 0, 16, 0, 1, // question
	0,    0,    41,	  0x10, 0,   0,	  0,   0, 0, 0,	 0, // OPT
};

/** Makes a response to @p head (header and question of @p head_size bytes) of @p size bytes. */
static inline void
response_make(uint8_t *out, const uint8_t *head, size_t head_size, size_t size, uint8_t rcode)
{
	memset(out, 0xaa, size);
	memcpy(out, head, head_size);
	out[2] = 0x85; // QR, AA, RD
	out[3] = 0x80 | rcode;
	memset(out + 6, 0, 6);
	out[7] = 1;
}
