// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

struct gw;

/**
 * What an operator sees at run time, over DPDK's telemetry socket:
 *   /sallyport/drops    every drop reason of the data plane and its count
 *   /sallyport/worker   counters of all workers together, and the main ones of each
 *   /sallyport/control  what became of STUN, handshake and portal messages
 *   /sallyport/clients  number of clients, flows and policy sets
 *
 * Thread-safety: DPDK answers from a thread of its own, which only reads counters.
 */

/** Registers the commands; @p gw must live until telemetry_stop(). @return 0, -errno after one log line */
[[nodiscard]] int telemetry_start(struct gw *gw);
/** The commands answer with an empty object from now on. */
void telemetry_stop(void);
