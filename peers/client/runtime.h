// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include "peers/client/config.h"

/**
 * The client on a libuv loop: TUN, UDP sockets, netlink monitor, portal session, timer and signals
 * around struct client.
 *
 * SIGTERM and SIGINT end it gracefully (goodbye to gateways, close code 1000 to the portal, rules
 * and device removed), a second one at once. SIGUSR1 logs the packet counters.
 *
 * Thread-safety: one thread; runs its own loop.
 */

/** Official clients give up when the portal was never reached within this time. */
#define RUNTIME_FIRST_JOIN_MS 15000

/** Runs until a signal, a final answer of the portal or --exit. @return exit status */
[[nodiscard]] int runtime_run(const struct config *config);
