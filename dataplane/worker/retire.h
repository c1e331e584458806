// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include <rte_rcu_qsbr.h>

#include <stddef.h>
#include <stdint.h>

/**
 * Objects that were replaced and may still be read by a worker: freed after a grace period, many
 * per period, without ever waiting for one.
 *
 * Thread-safety: the control thread. Ownership: takes the objects.
 */

struct retired {
	const void *object;
	void (*free_fn)(void *arg, const void *object);
	void *arg;
	uint64_t token; // of the grace period after which it is free
};

struct retire_queue {
	struct rte_rcu_qsbr *rcu;
	struct retired *items; // ring, oldest first
	size_t cap, first, n;
};

/** @param n_workers RCU threads 0 .. n_workers-1. @return 0, -ENOMEM after one log line */
[[nodiscard]] int retire_init(struct retire_queue *q, unsigned n_workers);
/** Frees everything at once: no worker may run any more. */
void retire_fini(struct retire_queue *q);
/** NULL objects are ignored. Without memory for the queue it waits for the workers and frees. */
void retire_push(
	struct retire_queue *q,
	const void *object,
	void (*free_fn)(void *arg, const void *object),
	void *arg);
/** Frees what may be freed. @return how many objects still wait */
size_t retire_reclaim(struct retire_queue *q);
