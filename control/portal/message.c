// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "control/portal/message.h"

#include "control/portal/arena.h"

#include <sodium.h>

#include <assert.h>
#include <errno.h>
#include <stdalign.h>
#include <string.h>

static const struct message_kind *kind_find(const struct message_table *table, const char *event)
{
	for (size_t i = 0; i < table->n_kinds; i++) {
		if (strcmp(table->kinds[i].event, event) == 0)
			return &table->kinds[i];
	}
	return NULL;
}

static struct portal_arena *arena_of(const struct message_table *table, void *message)
{
	void *arena = (char *)message + table->arena_offset;

	return arena;
}

int message_parse(
	const struct message_table *table,
	void *out,
	const char *event,
	const json_t *payload,
	struct portal_error *err)
{
	const struct message_kind *kind = kind_find(table, event);
	alignas(max_align_t) char m[MESSAGE_SIZE_MAX] = {0};
	int rc = 0;

	assert(table->size <= sizeof(m));
	if (kind == NULL)
		return -ENOMSG;
	memcpy(m + table->type_offset, &kind->type, sizeof(kind->type));
	if (!kind->is_ignored)
		rc = schema_parse(&kind->root, payload, m, arena_of(table, m), kind->event, err);
	if (rc == 0)
		memcpy(out, m, table->size);
	else
		portal_arena_fini(arena_of(table, m));
	sodium_memzero(m, sizeof(m));
	return rc;
}

void message_fini(const struct message_table *table, void *message)
{
	portal_arena_fini(arena_of(table, message));
	sodium_memzero(message, table->size);
}
