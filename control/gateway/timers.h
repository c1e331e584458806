// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include "control/gateway/gateway.h"

/**
 * Every deadline of the control core behind one timer of the loop: the connections' in a heap, and
 * those of the authorizations and the relays. To move a deadline costs neither a system call nor more
 * than O(log n); the loop's timer is armed once per turn, before it waits.
 *
 * Connections are served TIMERS_BUDGET at a time: when thousands are due at once the rings get
 * their turn in between.
 *
 * Thread-safety: loop thread.
 */

/** @return 0, -errno */
[[nodiscard]] int timers_init(struct gw *gw);
/** Closes the loop's timer; the heap goes with timers_fini(), when no connection is left. */
void timers_stop(struct gw *gw);
void timers_fini(struct gw *gw);

/** Arms the loop's timer for the earliest deadline there is. Before each wait. */
void timers_arm(struct gw *gw);
