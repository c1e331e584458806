// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "peers/client/pending.h"

#include <stdlib.h>

struct pending_entry {
	struct pending_entry *next;
	struct uuid resource;
	uint64_t asked_at; // ns
	struct packet_queue packets;
};

struct pending {
	struct pending_entry *entries;
	size_t count;
};

struct pending *pending_create(void)
{
	return calloc(1, sizeof(struct pending));
}

static void entry_destroy(struct pending_entry *e)
{
	packet_queue_clear(&e->packets);
	free(e);
}

void pending_destroy(struct pending *p)
{
	if (p == NULL)
		return;
	while (p->entries != NULL) {
		struct pending_entry *e = p->entries;

		p->entries = e->next;
		entry_destroy(e);
	}
	free(p);
}

// The link that points at the entry of @p resource, or at the end of the list.
static struct pending_entry **entry_link(struct pending *p, const struct uuid *resource)
{
	struct pending_entry **link = &p->entries;

	while (*link != NULL && !uuid_eq(&(*link)->resource, resource))
		link = &(*link)->next;
	return link;
}

static struct pending_entry *entry_unlink(struct pending *p, const struct uuid *resource)
{
	struct pending_entry **link = entry_link(p, resource);
	struct pending_entry *e = *link;

	if (e != NULL) {
		*link = e->next;
		p->count--;
	}
	return e;
}

bool pending_trigger(struct pending *p, uint64_t now, const struct uuid *resource)
{
	struct pending_entry **link = entry_link(p, resource);
	struct pending_entry *e = *link;

	if (e != NULL) {
		if (now - e->asked_at < PENDING_INTERVAL_NS)
			return false;
		e->asked_at = now;
		return true;
	}
	e = calloc(1, sizeof(*e));
	if (e == NULL)
		return false;
	e->resource = *resource;
	e->asked_at = now;
	*link = e;
	p->count++;
	return true;
}

void pending_packet_add(
	struct pending *p,
	const struct uuid *resource,
	const uint8_t *data,
	size_t size)
{
	struct pending_entry *e = *entry_link(p, resource);

	if (e != NULL)
		packet_queue_push(&e->packets, data, size);
}

bool pending_take(struct pending *p, const struct uuid *resource, struct packet_queue *packets)
{
	struct pending_entry *e = entry_unlink(p, resource);

	packet_queue_clear(packets);
	if (e == NULL)
		return false;
	*packets = e->packets;
	free(e);
	return true;
}

void pending_drop(struct pending *p, const struct uuid *resource)
{
	struct pending_entry *e = entry_unlink(p, resource);

	if (e != NULL)
		entry_destroy(e);
}

bool pending_has(const struct pending *p, const struct uuid *resource)
{
	for (const struct pending_entry *e = p->entries; e != NULL; e = e->next) {
		if (uuid_eq(&e->resource, resource))
			return true;
	}
	return false;
}

size_t pending_count(const struct pending *p)
{
	return p->count;
}
