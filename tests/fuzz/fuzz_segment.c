// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "peers/client/segment.h"
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>

// One frame of the TUN. Its payload comes out whole, in packets that fit.
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *out = malloc(SEGMENT_SIZE_MAX);
	struct segmenter s;
	size_t n, payload = 0;

	if (out == NULL || size > SEGMENT_FRAME_MAX || segment_init(&s, data, size) < 0) {
		free(out);
		return 0;
	}
	while ((n = segment_next(&s, out)) > 0) {
		if (n > SEGMENT_SIZE_MAX || n < s.header_size)
			abort();
		payload += n - s.header_size;
	}
	if (payload != s.size - s.header_size || segment_next(&s, out) != 0)
		abort();
	free(out);
	return 0;
}
