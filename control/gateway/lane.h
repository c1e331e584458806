// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include "control/base/addr.h"
#include "dataplane/worker/dp.h"

#include <stddef.h>
#include <stdint.h>

/**
 * The lane from control to the worker: commands and injected packets in the order in which
 * control issued them. The worker's rings push back when they are full; the lane then keeps what
 * could not be handed over and offers it again, so that nothing is lost and nothing overtakes.
 * In particular a keypair reaches the worker before the handshake response that makes the peer
 * use it.
 *
 * Thread-safety: control thread only. Ownership: takes the mbufs it is given.
 */

struct lane;

/** @return a lane into @p dp (borrowed), or NULL with errno. */
struct lane *lane_create(struct dp *dp);
/** Frees what still waits. NULL is allowed. */
void lane_destroy(struct lane *lane);

/** Queues a command. It is never lost; memory exhaustion aborts, since state would diverge. */
void lane_command(struct lane *lane, const struct dp_cmd *cmd);
/**
 * Queues a packet whose dp_meta is filled. Packets may be lost like on any network: beyond a
 * bound they are freed and counted.
 */
void lane_inject(struct lane *lane, struct rte_mbuf *m);

/** Offers what waits again; call it each loop. @return how many items still wait. */
size_t lane_flush(struct lane *lane);
/** @return packets given up because too many were waiting. */
uint64_t lane_dropped(const struct lane *lane);

/**
 * Builds IP and UDP headers around @p size bytes and queues the packet for the outer network.
 * Nothing is sent if the families differ or no mbuf is left (counted like a full lane).
 */
void lane_send_udp(
	struct lane *lane,
	const struct ip_endpoint *local,
	const struct ip_endpoint *remote,
	const void *payload,
	size_t size);
/** Queues the inner IP packet for the client in @p slot: the worker encrypts it. */
void lane_send_inner(struct lane *lane, uint32_t slot, const void *packet, size_t size);
/** @return an mbuf that holds the inner packet, for DP_CMD_CLIENT_DEL; NULL when none is left. */
struct rte_mbuf *lane_inner_mbuf(struct lane *lane, const void *packet, size_t size);
