// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include "control/gateway/gateway.h"
#include "control/path/relay_users.h"

#include <stddef.h>

/**
 * The gateway's relays: the set of control/path/relays.h and its users between the portal's lists, the lane to
 * the worker and the connections. All connections share one allocation per relay, from the first
 * WAN address of each family.
 *
 * What a call makes the relays want to send or tell is carried out by relay_pump(), once per turn of
 * the loop.
 *
 * Thread-safety: loop thread.
 */

/** Creates gw->relays, empty. @return 0, -errno */
[[nodiscard]] int relay_init(struct gw *gw);
/** Destroys it. */
void relay_fini(struct gw *gw);
/** Gives the relayed addresses back; relay_pump() sends it. */
void relay_release(struct gw *gw);

/** The WAN addresses changed: every allocation starts over. */
void relay_hosts_set(struct gw *gw, const struct ip_addr *hosts, size_t n);
/** A list of the portal: drops @p disconnected, adds or refreshes @p connected. */
void relay_list(
	struct gw *gw,
	const struct uuid *disconnected,
	size_t n_disconnected,
	const struct portal_relay *connected,
	size_t n_connected);
/** @return whether a path through a relay can be offered now */
bool relay_is_usable(struct gw *gw);

/**
 * Unwraps what a relay sent.
 * @return true if @p d is now (or was already) a peer's; false if it was the relay's own, or dropped
 */
[[nodiscard]] bool relay_receive(struct gw *gw, struct relay_datagram *d);
/** Sends a datagram from @p local, wrapped if that is a relayed address. */
void relay_send(
	struct gw *gw,
	const struct ip_endpoint *local,
	const struct ip_endpoint *remote,
	const void *data,
	size_t size);

/** Sends and tells what the relays have queued, within bounds. @return whether there is more */
[[nodiscard]] bool relay_pump(struct gw *gw);
