// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "control/path/candidate.h"
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1), again[ICE_CANDIDATE_TEXT_SIZE];
	struct ice_candidate c, d;

	if (text == NULL)
		return 0;
	memcpy(text, data, size);
	text[size] = '\0';
	if (ice_candidate_parse(&c, text, NULL) == 0) {
		// What was understood can be written and is understood the same again.
		if (ice_candidate_format(&c, "jbi4", again) < 0
		    || ice_candidate_parse(&d, again, "jbi4") < 0 || d.kind != c.kind
		    || d.priority != c.priority || !ip_endpoint_eq(&c.addr, &d.addr))
			abort();
	}
	free(text);
	return 0;
}
