// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "control/portal/candidates_hold.h"

#include "control/base/err.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

enum {
	N_BUCKETS = 1024
};

struct line_list {
	char *lines[CANDIDATES_HOLD_LINES_MAX];
	size_t n;
};

struct held_peer {
	LIST_ENTRY(held_peer) link;
	struct uuid id;
	struct line_list added;
	struct line_list removed;
};

struct candidates_hold {
	LIST_HEAD(, held_peer) buckets[N_BUCKETS];
	size_t n_peers;
	size_t next_bucket; // no peer in the buckets before it
	struct held_peer *current; // what the last batch points into; not in a bucket
	bool is_removal_next; // of current
};

struct candidates_hold *candidates_hold_create(void)
{
	struct candidates_hold *h = calloc(1, sizeof(*h));

	return h != NULL ? h : err_set_null(ENOMEM);
}

static void list_clear(struct line_list *list)
{
	while (list->n > 0)
		free(list->lines[--list->n]);
}

static void peer_free(struct held_peer *peer)
{
	if (peer == NULL)
		return;
	list_clear(&peer->added);
	list_clear(&peer->removed);
	free(peer);
}

static size_t bucket_of(const struct uuid *id)
{
	// Ids are random; any bits will do.
	return ((size_t)id->bytes[0] << 8 | id->bytes[1]) % N_BUCKETS;
}

static struct held_peer *peer_find(struct candidates_hold *h, const struct uuid *id)
{
	struct held_peer *peer = LIST_FIRST(&h->buckets[bucket_of(id)]);

	while (peer != NULL && !uuid_eq(&peer->id, id))
		peer = LIST_NEXT(peer, link);
	return peer;
}

static struct held_peer *peer_obtain(struct candidates_hold *h, const struct uuid *id)
{
	struct held_peer *peer = peer_find(h, id);

	if (peer != NULL)
		return peer;
	peer = calloc(1, sizeof(*peer));
	if (peer == NULL)
		return NULL;
	peer->id = *id;
	LIST_INSERT_HEAD(&h->buckets[bucket_of(id)], peer, link);
	h->n_peers++;
	h->next_bucket = 0;
	return peer;
}

static bool list_take(struct line_list *list, const char *line)
{
	for (size_t i = 0; i < list->n; i++) {
		if (strcmp(list->lines[i], line) != 0)
			continue;
		free(list->lines[i]);
		list->n--;
		memmove(list->lines + i,
			list->lines + i + 1,
			(list->n - i) * sizeof(list->lines[0]));
		return true;
	}
	return false;
}

static int list_put(struct line_list *list, const char *line)
{
	char *copy;

	for (size_t i = 0; i < list->n; i++) {
		if (strcmp(list->lines[i], line) == 0)
			return 0;
	}
	if (list->n == CANDIDATES_HOLD_LINES_MAX)
		return -ENOBUFS;
	copy = strdup(line);
	if (copy == NULL)
		return -ENOMEM;
	list->lines[list->n++] = copy;
	return 0;
}

int candidates_hold_add(struct candidates_hold *h, const struct uuid *id, const char *line)
{
	struct held_peer *peer = peer_obtain(h, id);

	if (peer == NULL)
		return -ENOMEM;
	list_take(&peer->removed, line);
	return list_put(&peer->added, line);
}

int candidates_hold_remove(struct candidates_hold *h, const struct uuid *id, const char *line)
{
	struct held_peer *peer = peer_obtain(h, id);

	if (peer == NULL)
		return -ENOMEM;
	// The other side never heard of a line that was only held.
	if (list_take(&peer->added, line))
		return 0;
	return list_put(&peer->removed, line);
}

void candidates_hold_forget(struct candidates_hold *h, const struct uuid *id)
{
	struct held_peer *peer = peer_find(h, id);

	if (h->current != NULL && uuid_eq(&h->current->id, id)) {
		peer_free(h->current);
		h->current = NULL;
	}
	if (peer == NULL)
		return;
	LIST_REMOVE(peer, link);
	h->n_peers--;
	peer_free(peer);
}

static unsigned long line_priority(const char *line)
{
	// RFC 8839 section 5.1: the fourth field.
	for (int field = 1; field < 4 && line != NULL; field++) {
		line = strchr(line, ' ');
		if (line != NULL)
			line++;
	}
	return line != NULL ? strtoul(line, NULL, 10) : 0;
}

static int by_priority(const void *a, const void *b)
{
	const char *const *line_a = a;
	const char *const *line_b = b;
	unsigned long priority_a = line_priority(*line_a);
	unsigned long priority_b = line_priority(*line_b);

	if (priority_a != priority_b)
		return priority_a > priority_b ? -1 : 1;
	return strcmp(*line_a, *line_b);
}

static void batch_make(struct candidates_batch *out, struct held_peer *peer, bool is_removal)
{
	struct line_list *list = is_removal ? &peer->removed : &peer->added;

	qsort(list->lines, list->n, sizeof(list->lines[0]), by_priority);
	*out = (struct candidates_batch){
		.peer_id = peer->id,
		.is_removal = is_removal,
		.lines = (const char *const *)list->lines,
		.n_lines = list->n,
	};
}

static struct held_peer *peer_take(struct candidates_hold *h)
{
	for (; h->next_bucket < N_BUCKETS; h->next_bucket++) {
		struct held_peer *peer = LIST_FIRST(&h->buckets[h->next_bucket]);

		if (peer != NULL) {
			LIST_REMOVE(peer, link);
			h->n_peers--;
			return peer;
		}
	}
	return NULL;
}

bool candidates_hold_next(struct candidates_hold *h, struct candidates_batch *out)
{
	for (;;) {
		if (h->current != NULL && h->is_removal_next) {
			h->is_removal_next = false;
			if (h->current->removed.n > 0) {
				batch_make(out, h->current, true);
				return true;
			}
		}
		peer_free(h->current);
		h->current = peer_take(h);
		if (h->current == NULL)
			return false;
		h->is_removal_next = true;
		if (h->current->added.n > 0) {
			batch_make(out, h->current, false);
			return true;
		}
	}
}

bool candidates_hold_is_empty(const struct candidates_hold *h)
{
	return h->n_peers == 0 && h->current == NULL;
}

void candidates_hold_destroy(struct candidates_hold *h)
{
	struct candidates_batch batch;

	if (h == NULL)
		return;
	while (candidates_hold_next(h, &batch))
		continue;
	free(h);
}
