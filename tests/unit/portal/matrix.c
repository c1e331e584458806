// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "tests/unit/portal/matrix.h"

#include "tests/unit/unit.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

json_t *matrix_load(const char *text)
{
	json_error_t error;
	json_t *value = json_loads(text, JSON_DECODE_ANY, &error);

	if (value == NULL)
		print_error("%s in %s\n", error.text, text);
	assert_non_null(value);
	return value;
}

// Walks to the object that holds the last name of path; writes that name to key.
static json_t *parent_of(json_t *root, const char *path, char key[64])
{
	json_t *at = root;

	for (;;) {
		size_t len = strcspn(path, ".[");

		assert_true(len < 64);
		memcpy(key, path, len);
		key[len] = '\0';
		path += len;
		if (*path == '\0')
			return at;
		at = json_object_get(at, key);
		assert_non_null(at);
		if (*path == '[') {
			at = json_array_get(at, strtoul(path + 1, NULL, 10));
			assert_non_null(at);
			path = strchr(path, ']') + 1;
		}
		path++;
	}
}

static bool is_kind(const char *json, char kind)
{
	static const char *const good[] = {"s\"", "i1", "bt", "o{", "a["};

	for (size_t i = 0; i < COUNT_OF(good); i++) {
		if (good[i][0] == kind)
			return json[0] == good[i][1] && strcmp(json, "1.5") != 0;
	}
	return false;
}

static void
one(matrix_parse_fn parse,
    const char *event,
    const char *payload,
    const struct matrix_field *f,
    const char *value,
    bool is_error)
{
	json_t *root = matrix_load(payload);
	struct portal_error err = {0};
	char key[64];
	json_t *parent = parent_of(root, f->path, key);
	int rc;

	assert_non_null(json_object_get(parent, key));
	if (value == NULL)
		json_object_del(parent, key);
	else
		json_object_set_new(parent, key, matrix_load(value));
	rc = parse(event, root, &err);
	if ((rc != 0) != is_error)
		print_error(
			"%s: %s = %s: %d %s\n",
			event,
			f->path,
			value != NULL ? value : "(missing)",
			rc,
			err.text);
	assert_int_equal(rc, is_error ? -EBADMSG : 0);
	if (is_error) {
		char start[128];

		// An empty object is told by its first missing member.
		snprintf(
			start,
			sizeof(start),
			"%s: %s%s",
			event,
			f->path,
			value != NULL && strcmp(value, "{}") == 0 ? "" : ": ");
		if (strncmp(err.text, start, strlen(start)) != 0)
			print_error("%s is not told: %s\n", start, err.text);
		assert_int_equal(strncmp(err.text, start, strlen(start)), 0);
	}
	json_decref(root);
}

void matrix_run(
	matrix_parse_fn parse,
	const char *event,
	const char *payload,
	const struct matrix_field *fields,
	size_t n_fields)
{
	static const char *const values[] = {"\"?\"", "1", "1.5", "true", "{}", "[]"};

	for (size_t i = 0; i < n_fields; i++) {
		const struct matrix_field *f = &fields[i];
		bool is_strict = f->rule != MATRIX_LENIENT;

		one(parse, event, payload, f, NULL, f->rule == MATRIX_REQUIRED);
		one(parse, event, payload, f, "null", f->rule == MATRIX_REQUIRED);
		for (size_t v = 0; v < COUNT_OF(values); v++) {
			if (!is_kind(values[v], f->kind))
				one(parse, event, payload, f, values[v], is_strict);
		}
	}
}
