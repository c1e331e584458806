// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include "control/portal/uuid.h"
#include "peers/client/packet_queue.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/**
 * Authorizations that were asked for and not answered yet, one per resource, with the packets that
 * wait for them. There is no timer: a request is repeated by the next trigger, at the earliest two
 * seconds after the last one. After an answer the entry is gone and the next trigger asks at once.
 *
 * Sans-IO. Ownership: create/destroy; owns the packets. Thread-safety: none.
 */

/** Shortest time between two requests for the same resource. */
#define PENDING_INTERVAL_NS (2 * 1000000000ull)

struct pending;

/** @return NULL with errno ENOMEM */
struct pending *pending_create(void);
void pending_destroy(struct pending *p);

/**
 * Something needs @p resource: makes an entry if there is none.
 * @return whether a request must be sent now
 */
bool pending_trigger(struct pending *p, uint64_t now, const struct uuid *resource);

/** Lets a packet wait; ignored without an entry. */
void pending_packet_add(
	struct pending *p,
	const struct uuid *resource,
	const uint8_t *data,
	size_t size);

/**
 * An answer came: removes the entry and hands its packets over.
 * @param packets emptied first; the caller clears it. @return false if nothing was asked for
 */
bool pending_take(struct pending *p, const struct uuid *resource, struct packet_queue *packets);

/** Removes the entry and its packets, if there is one. */
void pending_drop(struct pending *p, const struct uuid *resource);

bool pending_has(const struct pending *p, const struct uuid *resource);
size_t pending_count(const struct pending *p);
