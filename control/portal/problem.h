// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include <stddef.h>

/**
 * The portal's reason for refusing a connection: an application/problem+json body.
 *
 * Thread-safety: pure function.
 */

/** Missing or oddly typed members are zero or empty; texts are cut to fit, printable ASCII only. */
struct problem {
	int status;
	char code[64]; // e.g. "invalid_token"
	char title[64];
	char detail[128];
};

/** @return 0, -EINVAL if @p body is no JSON object (@p out is then empty) */
[[nodiscard]] int problem_parse(struct problem *out, const char *body, size_t size);
