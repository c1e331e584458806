// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "control/portal/arena.h"

#include "control/base/err.h"

#include <sodium.h>

#include <stdalign.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

struct portal_chunk {
	struct portal_chunk *next;
	size_t size;
	size_t used;
	alignas(max_align_t) unsigned char data[];
};

enum {
	CHUNK_SIZE = 2048
};

static struct portal_chunk *chunk_add(struct portal_arena *a, size_t need)
{
	size_t size = need > CHUNK_SIZE ? need : CHUNK_SIZE;
	struct portal_chunk *c = calloc(1, sizeof(*c) + size);

	if (c == NULL)
		return NULL;
	c->size = size;
	c->next = a->chunks;
	a->chunks = c;
	return c;
}

void *portal_arena_alloc(struct portal_arena *a, size_t size)
{
	const size_t align = alignof(max_align_t);
	struct portal_chunk *c = a->chunks;
	size_t rounded;
	void *p;

	if (size > SIZE_MAX / 2)
		return err_set_null(ENOMEM);
	rounded = (size + align - 1) / align * align;
	if (c == NULL || c->size - c->used < rounded)
		c = chunk_add(a, rounded);
	if (c == NULL)
		return err_set_null(ENOMEM);
	p = c->data + c->used;
	c->used += rounded;
	return p;
}

char *portal_arena_text(struct portal_arena *a, const char *text, size_t len)
{
	char *copy = portal_arena_alloc(a, len + 1);

	if (copy != NULL)
		memcpy(copy, text, len);
	return copy;
}

void portal_arena_fini(struct portal_arena *a)
{
	while (a->chunks != NULL) {
		struct portal_chunk *c = a->chunks;

		a->chunks = c->next;
		sodium_memzero(c->data, c->size);
		free(c);
	}
}
