// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "control/portal/problem.h"
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>
#include <string.h>

// A refusal's body: its texts go to the log, so that they must be printable and end.
static void text_check(const char *text, size_t size)
{
	if (memchr(text, '\0', size) == NULL)
		abort();
	for (; *text != '\0'; text++) {
		if (*text < 0x20 || *text > 0x7e)
			abort();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct problem p;

	if (problem_parse(&p, (const char *)data, size) < 0
	    && (p.status != 0 || p.code[0] != '\0' || p.title[0] != '\0' || p.detail[0] != '\0'))
		abort();
	if (p.status != 0 && (p.status < 100 || p.status > 999))
		abort();
	text_check(p.code, sizeof(p.code));
	text_check(p.title, sizeof(p.title));
	text_check(p.detail, sizeof(p.detail));
	return 0;
}
