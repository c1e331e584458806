// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include "dataplane/worker/dp.h"

#include <rte_ring.h>

#include <stdatomic.h>

/**
 * The rings of one worker: four to and from control, one from each other worker, and the flags by
 * which either side sleeps (idle.h). Each ring has one producer and one consumer.
 *
 * Thread-safety: creation and end are control's; the rings' users are named beside them.
 */

/** Control's sleep: one flag for all workers. */
struct dp_wake {
	int fd; // eventfd: wakes control
	atomic_bool is_control_asleep __rte_aligned(64); // control: set, all: clear
};

struct dp_channel {
	struct rte_ring *cmds; // struct dp_cmd; control -> worker
	struct rte_ring *events; // struct dp_event; worker -> control
	struct rte_ring *inject; // mbufs; control -> worker
	struct rte_ring *punt[DP_PUNT_COUNT]; // mbufs; worker -> control
	struct rte_ring *handoff[DP_WORKERS_MAX]; // mbufs (handoff.h); other worker -> worker
	struct dp_wake *wake; // shared by all channels
	int kick_fd; // eventfd: wakes the worker
	atomic_bool is_worker_asleep __rte_aligned(64); // worker: set, all: clear
};

/** @return 0, -errno after one log line */
[[nodiscard]] int wake_init(struct dp_wake *wake);
void wake_fini(struct dp_wake *wake);

/**
 * Makes the rings of worker @p index among @p n_workers, in the memory of @p socket_id.
 * @return 0, -errno after one log line; then channel_fini() as well
 */
[[nodiscard]] int channel_init(
	struct dp_channel *ch,
	struct dp_wake *wake,
	unsigned index,
	unsigned n_workers,
	int socket_id);
/** Frees what waits in the rings and wipes keys. A zeroed channel is allowed if kick_fd is -1. */
void channel_fini(struct dp_channel *ch);
