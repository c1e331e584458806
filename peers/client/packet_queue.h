// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/**
 * Packets that wait for an authorization or a connection: at most 128, each once, oldest first out.
 * A packet equal to a waiting one (a retransmission) is not stored again; when the queue is full the
 * oldest packet makes room.
 *
 * Ownership: copies packets; the holder calls packet_queue_clear(). A zeroed struct is an empty
 * queue. Thread-safety: none.
 */

#define PACKET_QUEUE_CAP 128

struct packet_queue {
	struct packet_queued *slots[PACKET_QUEUE_CAP];
	unsigned head; // oldest
	unsigned count;
};

struct packet_queued {
	size_t size;
	uint8_t data[];
};

/** Stores a copy. @return whether it was stored: false for a duplicate or when memory is short */
bool packet_queue_push(struct packet_queue *q, const uint8_t *data, size_t size);
/** Takes the oldest packet; free() it. @return NULL when empty */
struct packet_queued *packet_queue_pop(struct packet_queue *q);
/** Moves everything from @p from behind what @p to holds. */
void packet_queue_move(struct packet_queue *to, struct packet_queue *from);
void packet_queue_clear(struct packet_queue *q);
