// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include "control/base/addr.h"
#include "control/names/forwarder.h"

#include <uv.h>

/**
 * The in-tunnel DNS server: the forwarder's sockets on a libuv loop. It listens on port 53535 of
 * the gateway's tunnel addresses, UDP and TCP, which the kernel's TUN carries; nameservers are
 * reached like any host that the gateway's own stack talks to.
 *
 * Thread-safety: loop thread. Ownership: create, stop, run the loop until its handles are closed,
 * destroy.
 */

enum {
	NAMES_PORT = 53535,
	NAMES_BIND_ATTEMPTS = 3,
	NAMES_BIND_PAUSE_MS = 100,
	NAMES_PROBE_RETRY_MS = 5000, // while no nameserver answers: a link may just be coming up
	NAMES_CLIENTS_MAX = 256, // TCP connections
	NAMES_CLIENTS_PER_ADDR_MAX = 16,
	NAMES_CLIENT_IDLE_MS = 10000,
};

struct names;

/**
 * Starts measuring the nameservers of @p resolv_conf (borrowed), which is read again at each round.
 * @param now the monotonic clock @return owned, or NULL with errno
 */
struct names *names_create(uv_loop_t *loop, const char *resolv_conf, uint64_t (*now)(void));
/**
 * Listens on these addresses from now on and on no former ones; of no family: leaves that one out.
 * An address that cannot be bound is tried again; at last a log line says that there is no DNS on
 * it until the next call.
 */
void names_bind(struct names *names, const struct ip_addr *v4, const struct ip_addr *v6);
/** Closes everything. NULL is allowed. */
void names_stop(struct names *names);
/** After the loop has closed the handles. NULL is allowed. */
void names_destroy(struct names *names);

/** Counters since the start. NULL gives zeros. */
struct forwarder_stats names_stats(const struct names *names);
