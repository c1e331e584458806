// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/**
 * Reading a YAML file by tables of keys, with errors that say where: "policy.yaml:12:
 * resources[2].address: host bits are set".
 *
 * On libyaml's document API instead of libcyaml: libcyaml knows the line of a key only while it
 * loads, so a check of meaning (a CIDR with host bits, a name that nobody defined, a token used
 * twice) could no longer say where the value stands. Here the parse function of a field sees the
 * node and reports through it.
 *
 * The first error sticks: later calls do nothing and fail, so that callers may check once.
 * Ownership: nodes belong to the schema. Thread-safety: one schema, one thread.
 */

struct schema;
struct schema_node; // opaque; is libyaml's node

/** Parses the value of one key or one list element into @p out; errors go to the schema. */
typedef void (*schema_parse_fn)(struct schema *s, const struct schema_node *node, void *out);

/** One key of a mapping. Keys are parsed in table order, whatever their order in the file. */
struct schema_field {
	const char *key;
	schema_parse_fn parse;
	bool is_required;
};

/** Loads the single document of @p text; @p file is for messages only. Never NULL: see schema_error(). */
struct schema *schema_create(const char *file, const char *text, size_t size);
void schema_destroy(struct schema *s);

/** The first error as "file:line: path: what", or NULL. Borrowed. */
const char *schema_error(const struct schema *s);
/** Records the error at @p node (NULL: the whole file) unless there is one already. */
[[gnu::format(printf, 3, 4)]] void
schema_fail(struct schema *s, const struct schema_node *node, const char *fmt, ...);

/** Like schema_fail(), about a key of the mapping at hand. */
[[gnu::format(printf, 4, 5)]] void schema_fail_key(
	struct schema *s,
	const struct schema_node *node,
	const char *key,
	const char *fmt,
	...);

/** The top node, or NULL after an error. */
const struct schema_node *schema_root(struct schema *s);

/**
 * Parses a mapping by its table. Unknown, repeated and missing keys and empty values are errors.
 */
void schema_map(
	struct schema *s,
	const struct schema_node *node,
	const struct schema_field *fields,
	size_t n_fields,
	void *out);
/** Calls @p parse for each element of a list. */
void schema_list(
	struct schema *s,
	const struct schema_node *node,
	schema_parse_fn parse,
	void *out);
/** Like schema_list(), and a value that is not a list counts as a list of one. */
void schema_one_or_list(
	struct schema *s,
	const struct schema_node *node,
	schema_parse_fn parse,
	void *out);
/** @return whether the node is a mapping with exactly one key, then in *key and *value. */
bool schema_single(
	struct schema *s,
	const struct schema_node *node,
	const char **key,
	const struct schema_node **value);
/** @return whether the node is plain text (a scalar). */
bool schema_is_text(const struct schema_node *node);
/** Non-empty text of a scalar of at most @p max_size bytes, borrowed; "" after an error. */
const char *schema_text(struct schema *s, const struct schema_node *node, size_t max_size);
/** A decimal number within min..max; 0 after an error. */
uint64_t
schema_number(struct schema *s, const struct schema_node *node, uint64_t min, uint64_t max);
