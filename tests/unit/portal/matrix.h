// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include "control/portal/types.h"

#include <jansson.h>

#include <stddef.h>

/**
 * The same questions asked of every field of every message: what if it is missing, null, or of
 * another type? The expected answers come from a hand-written list, not from the parser's tables.
 */

enum matrix_rule {
	MATRIX_REQUIRED = 0, // anything but a good value is an error
	MATRIX_OPTIONAL, // missing and null are fine
	MATRIX_LENIENT, // nothing is an error
};

struct matrix_field {
	const char *path; // "client.id", "relays[0].addr"
	enum matrix_rule rule;
	char kind; // 's' any string, 'f' string of a form, 'i' integer, 'b' boolean, 'o' object, 'a' array,
		// 'x' object that must not be empty
};

/** Parses, compares @p out with what it was before when it fails, frees when it succeeds. */
typedef int (*matrix_parse_fn)(const char *event, const json_t *payload, struct portal_error *err);

void matrix_run(
	matrix_parse_fn parse,
	const char *event,
	const char *payload,
	const struct matrix_field *fields,
	size_t n_fields);

/** json_loads or a failed test. */
json_t *matrix_load(const char *text);
