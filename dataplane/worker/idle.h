// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include "dataplane/worker/worker.h"

#include <stdatomic.h>
#include <stdbool.h>

/**
 * Sleeping without losing a wake-up, the same on both sides of the rings. S sleeps, P produces:
 *
 *	S: asleep = true                      P: enqueue
 *	S: fence (seq_cst)                    P: fence (seq_cst)
 *	S: ring not empty? asleep = false     P: asleep? exchange it to false; it was true: write
 *	S: wait for the eventfd
 *
 * The two fences are the point: a store before a load of another location must not pass it. With
 * both in place either S sees what P enqueued, or P sees that S is asleep. Whoever takes the flag
 * down writes, so the eventfd is written at most once per sleep.
 *
 * Any number of producers may wake one sleeper: workers wake control, control and other workers
 * wake a worker.
 *
 * Thread-safety: the functions say who calls them.
 */

/** Control, other workers: after putting something into cmds, inject or handoff. */
void channel_kick_worker(struct dp_channel *ch);
/** Worker: after putting something into events or punt. */
void channel_wake_control(struct dp_channel *ch);
/** Control: about to sleep. @return false: there is work, do not. */
bool channel_control_sleep(struct dp_channel *channels, unsigned n);
/** Control: awake again. */
void channel_control_awake(struct dp_wake *wake);

/** Sets up epoll over the kick and what ports offer. @return 0, -errno */
[[nodiscard]] int idle_init(struct worker *w);
/** Arms rx interrupts of ports that were started meanwhile; on the worker's own thread. */
void idle_start(struct worker *w);
void idle_fini(struct worker *w);
/** A loop found nothing: pauses, naps or sleeps, as the policy says. */
void idle_wait(struct worker *w);
