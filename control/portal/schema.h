// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include "control/portal/types.h"

#include <jansson.h>

#include <stddef.h>
#include <stdint.h>

/**
 * Declarative JSON to struct: a message is a table of fields, each with a name, a type and the
 * offset where its value goes. One parser walks the tables, so that presence, null, types, ranges and
 * error texts behave the same in every message. Unknown members are ignored.
 *
 * Ownership: values are copied, variable-size ones into the given arena. Thread-safety: pure.
 */

enum schema_type {
	SCHEMA_STRING = 0, // const char *; max: bytes, 0 means PORTAL_TEXT_SIZE; min: bytes
	SCHEMA_UUID, // struct uuid
	SCHEMA_KEY, // uint8_t[PORTAL_KEY_SIZE], padded base64
	SCHEMA_IPV4, // struct ip_addr; "/32" tolerated
	SCHEMA_IPV6, // struct ip_addr; "/128" tolerated
	SCHEMA_IP, // struct ip_addr, either family
	SCHEMA_PREFIX, // struct ip_prefix
	SCHEMA_ENDPOINT, // struct ip_endpoint, port not 0
	SCHEMA_ENDPOINT_ADDR, // struct ip_addr of an endpoint text
	SCHEMA_BOOL, // bool
	SCHEMA_INT, // int64_t; min..max if they differ
	SCHEMA_PORT, // uint16_t
	SCHEMA_ENUM, // enum; index into names
	SCHEMA_CANDIDATE, // const char *, an SDP candidate line
	SCHEMA_OBJECT, // struct described by object
	SCHEMA_LIST, // pointer to array and size_t at count_offset; max: elements
};

enum schema_flag {
	SCHEMA_OPTIONAL = 1, // absent or null leaves zero or the fallback
	SCHEMA_LENIENT = 2, // a bad value counts as absent
	SCHEMA_SKIP_BAD = 4, // LIST: a bad element is left out with a warning
	SCHEMA_ELSE = 8, // LIST: only if the list at the same offset is still empty
	SCHEMA_ENUM_OPEN = 16, // ENUM: an unknown text is the fallback
};

struct schema_field {
	const char *name;
	const char *alias; // the same field under another name; both at once is an error
	enum schema_type type;
	unsigned flags;
	size_t offset;
	int64_t min;
	int64_t max;
	int64_t fallback; // INT, PORT, ENUM
	const char *const *names; // ENUM, NULL-terminated
	const struct schema *object; // OBJECT
	const struct schema_field *element; // LIST
	size_t element_size; // LIST
	size_t count_offset; // LIST
	size_t skipped_offset; // LIST with SKIP_BAD: size_t, 0 if nobody asks
};

/** The table of a struct schema. */
#define SCHEMA_FIELDS(table) .fields = (table), .n_fields = sizeof(table) / sizeof((table)[0])

struct schema {
	const struct schema_field *fields;
	size_t n_fields;
	size_t size; // of the struct
	/** Which further fields of the same object follow from those read so far; NULL: none. */
	const struct schema *(*next)(const void *object);
	/** Checks and completes across fields. @return NULL or what is wrong */
	const char *(*check)(void *object);
};

/**
 * Parses @p value as @p root describes; root's offset counts from @p out, its name is not used.
 * @param event how errors start
 * @return 0, -EBADMSG with @p err set, -ENOMEM. After an error @p out holds rubbish.
 */
[[nodiscard]] int schema_parse(
	const struct schema_field *root,
	const json_t *value,
	void *out,
	struct portal_arena *arena,
	const char *event,
	struct portal_error *err);
