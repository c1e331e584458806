// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "control/portal/problem.h"

#include <jansson.h>

#include <errno.h>
#include <string.h>

static void text_copy(char *out, size_t size, const json_t *value)
{
	const char *text = json_string_value(value);
	size_t n = 0;

	for (; text != NULL && *text != '\0' && n < size - 1; text++)
		out[n++] = *text >= 0x20 && *text <= 0x7e ? *text : '?';
	out[n] = '\0';
}

int problem_parse(struct problem *out, const char *body, size_t size)
{
	json_error_t error;
	json_t *root = json_loadb(body, size, 0, &error);
	json_int_t status = json_integer_value(json_object_get(root, "status"));

	*out = (struct problem){0};
	if (!json_is_object(root)) {
		json_decref(root);
		return -EINVAL;
	}
	if (status >= 100 && status <= 999)
		out->status = (int)status;
	text_copy(out->code, sizeof(out->code), json_object_get(root, "code"));
	text_copy(out->title, sizeof(out->title), json_object_get(root, "title"));
	text_copy(out->detail, sizeof(out->detail), json_object_get(root, "detail"));
	json_decref(root);
	return 0;
}
