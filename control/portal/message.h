// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include "control/portal/schema.h"

#include <stddef.h>

/**
 * Messages of the portal by tables: which event has which payload, and where in the message struct it
 * goes. One parser serves all kinds of peers. Internal to control/portal.
 *
 * A message struct has the members `type`, an enum, and `arena`, which owns what the rest points at.
 *
 * Thread-safety: pure.
 */

/** Largest message struct; bytes. */
#define MESSAGE_SIZE_MAX 512

/** An event and how its payload goes into the message struct. */
struct message_kind {
	const char *event;
	int type;
	bool is_ignored; // recognised, its payload not looked at
	struct schema_field root;
};

struct message_table {
	const struct message_kind *kinds;
	size_t n_kinds;
	size_t size; // of the message struct, at most MESSAGE_SIZE_MAX
	size_t type_offset, arena_offset;
};

/** The kind @p name whose payload is an object that goes to @p member of struct @p owner. */
#define MESSAGE_KIND(owner, name, type_of, member, schema_of)                                      \
	{                                                                                          \
		.event = (name), .type = (type_of),                                                \
		.root = {                                                                          \
			.type = SCHEMA_OBJECT,                                                     \
			.object = &(schema_of),                                                    \
			.offset = offsetof(struct owner, member),                                  \
		},                                                                                 \
	}
/** A kind that is known and means nothing to us. */
#define MESSAGE_KIND_IGNORED(name, type_of)                                                        \
	{                                                                                          \
		.event = (name), .type = (type_of), .is_ignored = true,                            \
	}
#define MESSAGE_TABLE(owner, kinds_of)                                                             \
	{                                                                                          \
		.kinds = (kinds_of), .n_kinds = sizeof(kinds_of) / sizeof((kinds_of)[0]),          \
		.size = sizeof(struct owner), .type_offset = offsetof(struct owner, type),         \
		.arena_offset = offsetof(struct owner, arena),                                     \
	}

/**
 * Parses the payload of @p event into the message struct @p out, which is untouched after an error.
 * @return 0, -ENOMSG (no such event), -EBADMSG (@p err says why), -ENOMEM
 */
[[nodiscard]] int message_parse(
	const struct message_table *table,
	void *out,
	const char *event,
	const json_t *payload,
	struct portal_error *err);
/** Frees and wipes. */
void message_fini(const struct message_table *table, void *message);
