// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "control/base/conf.h"

#include "control/base/alloc.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

struct conf {
	char *file;
	char *error;
	char path[256]; // of the value being parsed, "resources[2].address"
	yaml_parser_t parser;
	yaml_document_t document;
	bool has_document;
};

static const yaml_node_t *inner(const struct conf_node *node)
{
	return (const yaml_node_t *)node;
}

static const struct conf_node *node_at(struct conf *s, int index)
{
	return (const struct conf_node *)yaml_document_get_node(&s->document, index);
}

const char *conf_error(const struct conf *s)
{
	return s->error;
}

// What is quoted from the file may hold anything; an error stays one line of text.
static void text_clean(char *text)
{
	for (; *text != '\0'; text++) {
		if ((unsigned char)*text < 0x20 || *text == 0x7f)
			*text = '?';
	}
}

[[gnu::format(printf, 3, 0)]] static void
fail_at(struct conf *s, size_t line, const char *fmt, va_list args)
{
	char *what = NULL;

	if (s->error != NULL)
		return;
	if (vasprintf(&what, fmt, args) < 0)
		what = NULL;
	s->error = alloc_format(
		"%s:%zu: %s%s%s",
		s->file,
		line,
		s->path,
		s->path[0] != '\0' ? ": " : "",
		(const char *)alloc_check(what));
	text_clean(s->error);
	free(what);
}

void conf_fail(struct conf *s, const struct conf_node *node, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	fail_at(s, node != NULL ? inner(node)->start_mark.line + 1 : 1, fmt, args);
	va_end(args);
}

[[gnu::format(printf, 3, 4)]] static void
fail_line(struct conf *s, size_t line, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	fail_at(s, line, fmt, args);
	va_end(args);
}

struct conf *conf_create(const char *file, const char *text, size_t size)
{
	struct conf *s = alloc_zero(1, sizeof(*s));

	s->file = alloc_text(file);
	if (yaml_parser_initialize(&s->parser) != 1)
		alloc_check(NULL);
	yaml_parser_set_input_string(&s->parser, (const unsigned char *)text, size);
	if (yaml_parser_load(&s->parser, &s->document) == 1)
		s->has_document = true;
	else
		fail_line(
			s,
			(s->parser.problem_mark.line != 0 ? s->parser.problem_mark.line
							  : s->parser.context_mark.line)
				+ 1,
			"not YAML: %s",
			s->parser.problem != NULL ? s->parser.problem : "cannot be read");
	return s;
}

void conf_destroy(struct conf *s)
{
	if (s == NULL)
		return;
	if (s->has_document)
		yaml_document_delete(&s->document);
	yaml_parser_delete(&s->parser);
	free(s->error);
	free(s->file);
	free(s);
}

const struct conf_node *conf_root(struct conf *s)
{
	yaml_node_t *root;

	if (s->error != NULL)
		return NULL;
	root = yaml_document_get_root_node(&s->document);
	if (root == NULL)
		conf_fail(s, NULL, "the file is empty");
	return (const struct conf_node *)root;
}

// Appends to the path for the time of one nested value; returns what to restore.
[[gnu::format(printf, 2, 3)]] static size_t path_push(struct conf *s, const char *fmt, ...)
{
	const size_t size = strlen(s->path);
	va_list args;

	va_start(args, fmt);
	vsnprintf(s->path + size, sizeof(s->path) - size, fmt, args);
	va_end(args);
	return size;
}

static size_t path_push_key(struct conf *s, const char *key)
{
	return path_push(s, "%s%.64s", s->path[0] != '\0' ? "." : "", key);
}

void conf_fail_key(
	struct conf *s,
	const struct conf_node *node,
	const char *key,
	const char *fmt,
	...)
{
	const size_t mark = path_push_key(s, key);
	va_list args;

	va_start(args, fmt);
	fail_at(s, inner(node)->start_mark.line + 1, fmt, args);
	va_end(args);
	s->path[mark] = '\0';
}

static const char *scalar(const struct conf_node *node)
{
	return (const char *)inner(node)->data.scalar.value;
}

// A scalar with a NUL inside would compare as something else than it shows.
static bool is_clean(const struct conf_node *node)
{
	return strlen(scalar(node)) == inner(node)->data.scalar.length;
}

bool conf_is_text(const struct conf_node *node)
{
	return inner(node)->type == YAML_SCALAR_NODE;
}

static const struct conf_field *
find_field(const struct conf_field *fields, size_t n, const char *key)
{
	for (size_t i = 0; i < n; i++) {
		if (strcmp(fields[i].key, key) == 0)
			return &fields[i];
	}
	return NULL;
}

// Looks up a key; more than one is an error at the second.
static const struct conf_node *
find_value(struct conf *s, const struct conf_node *node, const char *key)
{
	const yaml_node_t *map = inner(node);
	const struct conf_node *found = NULL;

	for (yaml_node_pair_t *p = map->data.mapping.pairs.start; p < map->data.mapping.pairs.top;
	     p++) {
		const struct conf_node *name = node_at(s, p->key);

		if (strcmp(scalar(name), key) != 0)
			continue;
		if (found != NULL)
			conf_fail_key(s, name, key, "given twice");
		found = node_at(s, p->value);
	}
	return found;
}

static void
check_keys(struct conf *s, const yaml_node_t *map, const struct conf_field *fields, size_t n)
{
	for (yaml_node_pair_t *p = map->data.mapping.pairs.start; p < map->data.mapping.pairs.top;
	     p++) {
		const struct conf_node *name = node_at(s, p->key);

		if (!conf_is_text(name)) {
			conf_fail(s, name, "a key must be plain text");
			return;
		}
		if (is_clean(name) && find_field(fields, n, scalar(name)) != NULL)
			continue;
		conf_fail_key(s, name, scalar(name), "unknown key");
	}
}

void conf_map(
	struct conf *s,
	const struct conf_node *node,
	const struct conf_field *fields,
	size_t n_fields,
	void *out)
{
	if (node == NULL || s->error != NULL)
		return;
	if (inner(node)->type != YAML_MAPPING_NODE) {
		conf_fail(s, node, "expected keys with values");
		return;
	}
	check_keys(s, inner(node), fields, n_fields);
	for (size_t i = 0; i < n_fields && s->error == NULL; i++) {
		const struct conf_node *value = find_value(s, node, fields[i].key);
		const size_t mark = path_push_key(s, fields[i].key);

		if (value != NULL)
			fields[i].parse(s, value, out);
		else if (fields[i].is_required)
			conf_fail(s, node, "missing");
		s->path[mark] = '\0';
	}
}

void conf_list(struct conf *s, const struct conf_node *node, conf_parse_fn parse, void *out)
{
	const yaml_node_t *list = inner(node);
	size_t i = 0;

	if (s->error != NULL)
		return;
	if (list->type != YAML_SEQUENCE_NODE) {
		conf_fail(s, node, "expected a list");
		return;
	}
	for (yaml_node_item_t *item = list->data.sequence.items.start;
	     item < list->data.sequence.items.top && s->error == NULL;
	     item++) {
		const size_t mark = path_push(s, "[%zu]", i++);

		parse(s, node_at(s, *item), out);
		s->path[mark] = '\0';
	}
}

void conf_one_or_list(struct conf *s, const struct conf_node *node, conf_parse_fn parse, void *out)
{
	if (inner(node)->type == YAML_SEQUENCE_NODE)
		conf_list(s, node, parse, out);
	else if (s->error == NULL)
		parse(s, node, out);
}

bool conf_single(
	struct conf *s,
	const struct conf_node *node,
	const char **key,
	const struct conf_node **value)
{
	const yaml_node_t *map = inner(node);
	const yaml_node_pair_t *pair;

	if (map->type != YAML_MAPPING_NODE)
		return false;
	pair = map->data.mapping.pairs.start;
	if (map->data.mapping.pairs.top - pair != 1 || !conf_is_text(node_at(s, pair->key)))
		return false;
	*key = scalar(node_at(s, pair->key));
	*value = node_at(s, pair->value);
	return true;
}

const char *conf_text(struct conf *s, const struct conf_node *node, size_t max_size)
{
	if (s->error != NULL)
		return "";
	if (!conf_is_text(node))
		conf_fail(s, node, "expected plain text");
	else if (!is_clean(node))
		conf_fail(s, node, "contains a zero byte");
	else if (scalar(node)[0] == '\0')
		conf_fail(s, node, "is empty");
	else if (strlen(scalar(node)) > max_size)
		conf_fail(s, node, "longer than %zu bytes", max_size);
	return s->error == NULL ? scalar(node) : "";
}

uint64_t conf_number(struct conf *s, const struct conf_node *node, uint64_t min, uint64_t max)
{
	const char *text = conf_text(s, node, 20);
	unsigned long long n;
	char *end;

	if (s->error != NULL)
		return 0;
	errno = 0;
	n = strtoull(text, &end, 10);
	if (text[strspn(text, "0123456789")] != '\0' || errno != 0 || n < min || n > max) {
		conf_fail(
			s,
			node,
			"\"%s\" is not a number from %llu to %llu",
			text,
			(unsigned long long)min,
			(unsigned long long)max);
		return 0;
	}
	return n;
}
