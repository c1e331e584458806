// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include "dataplane/flow/rss.h"
#include "dataplane/worker/dp.h"

#include <stdatomic.h>

/**
 * Which worker owns a client. Control decides; workers read one byte per slot.
 *
 * A client starts with the worker of its slot number. When its path is set, before it has any
 * keypair, it moves to the worker at which that path's packets arrive by the NIC's RSS. From its
 * first keypair on it stays: keypairs, windows and flows are one worker's, and a client that
 * roams later, or is behind a relay, is handed off instead.
 *
 * Thread-safety: the control thread, except owner_get().
 */

struct owner_slot {
	struct ip_addr v4, v6;
	bool follows_source;
	bool is_alive; // CLIENT_ADD came, CLIENT_DEL did not
	bool is_pinned; // keypairs were handed over
};

struct owner_table {
	_Atomic uint8_t *owners; // by slot; control: rw, workers: ro
	struct owner_slot *slots;
	const struct rss *rss;
	unsigned n_workers;
	struct dp_owner_stats stats;
};

/** @return 0, -ENOMEM */
[[nodiscard]] int
owner_init(struct owner_table *t, const struct rss *rss, uint32_t max_clients, unsigned n_workers);
void owner_fini(struct owner_table *t);

/** Any thread. @return the worker that owns @p slot. */
static inline unsigned owner_get(const _Atomic uint8_t *owners, uint32_t slot)
{
	return atomic_load_explicit(&owners[slot], memory_order_relaxed);
}

/** Before a command goes out. @return the worker it should go to; differs from owner_get(): move */
unsigned owner_choose(struct owner_table *t, const struct dp_cmd *cmd);
/** The command was sent to @p worker, which owns the slot from now on. */
void owner_note(struct owner_table *t, const struct dp_cmd *cmd, unsigned worker);
