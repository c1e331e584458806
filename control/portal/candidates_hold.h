// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include "control/portal/uuid.h"

#include <stdbool.h>
#include <stddef.h>

/**
 * Candidate changes that happen while the portal is away: kept per peer, flushed after the next
 * join. Adding a line cancels its waiting removal; removing a line that only waits to be added
 * cancels it silently. Everything else that cannot be sent meanwhile is dropped, not held.
 *
 * Ownership: creator owns; lines are copied. Thread-safety: none, one thread.
 */

/** Lines that wait per peer and direction; further ones are dropped (the peer has enough to try). */
#define CANDIDATES_HOLD_LINES_MAX 64

struct candidates_hold;

/** One message to send. Valid until the next call on the same hold. */
struct candidates_batch {
	struct uuid peer_id;
	bool is_removal;
	const char *const *lines; // highest priority first
	size_t n_lines;
};

/** @return NULL with errno ENOMEM */
struct candidates_hold *candidates_hold_create(void);
void candidates_hold_destroy(struct candidates_hold *h);

/** Holds the addition of @p line. @return 0, -ENOMEM, -ENOBUFS */
[[nodiscard]] int
candidates_hold_add(struct candidates_hold *h, const struct uuid *peer, const char *line);
/** Holds the removal of @p line. @return 0, -ENOMEM, -ENOBUFS */
[[nodiscard]] int
candidates_hold_remove(struct candidates_hold *h, const struct uuid *peer, const char *line);
/** The connection to @p peer is gone: forgets what waits for it. */
void candidates_hold_forget(struct candidates_hold *h, const struct uuid *peer);
/** Takes the next batch, per peer additions before removals. @return whether there was one */
bool candidates_hold_next(struct candidates_hold *h, struct candidates_batch *out);
bool candidates_hold_is_empty(const struct candidates_hold *h);
