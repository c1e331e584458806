// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "peers/client/packet_queue.h"

#include <stdlib.h>
#include <string.h>

static struct packet_queued **slot_at(struct packet_queue *q, unsigned nth)
{
	return &q->slots[(q->head + nth) % PACKET_QUEUE_CAP];
}

bool packet_queue_push(struct packet_queue *q, const uint8_t *data, size_t size)
{
	struct packet_queued *p;

	for (unsigned i = 0; i < q->count; i++) {
		p = *slot_at(q, i);
		if (p->size == size && memcmp(p->data, data, size) == 0)
			return false;
	}
	p = malloc(sizeof(*p) + size);
	if (p == NULL)
		return false;
	p->size = size;
	memcpy(p->data, data, size);
	if (q->count == PACKET_QUEUE_CAP)
		free(packet_queue_pop(q));
	*slot_at(q, q->count++) = p;
	return true;
}

struct packet_queued *packet_queue_pop(struct packet_queue *q)
{
	struct packet_queued *p;

	if (q->count == 0)
		return NULL;
	p = q->slots[q->head];
	q->head = (q->head + 1) % PACKET_QUEUE_CAP;
	q->count--;
	return p;
}

void packet_queue_move(struct packet_queue *to, struct packet_queue *from)
{
	struct packet_queued *p;

	while ((p = packet_queue_pop(from)) != NULL) {
		packet_queue_push(to, p->data, p->size);
		free(p);
	}
}

void packet_queue_clear(struct packet_queue *q)
{
	struct packet_queued *p;

	while ((p = packet_queue_pop(q)) != NULL)
		free(p);
}
