// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include "dataplane/flow/flow.h"
#include "dataplane/stage/ip_view.h"
#include "dataplane/worker/client.h"

#include <rte_mbuf.h>

#include <stdbool.h>
#include <stdint.h>

/**
 * Up to 64 packets on their way through the stages, as parallel arrays. A packet keeps its place
 * i from stage to stage; live[] lists the places that are still in the burst, in arrival order.
 * A stage walks live[] and writes back the places it keeps:
 *
 *	uint16_t kept = 0;
 *
 *	BURST_FOREACH(b, i)
 *		if (stage likes packet i)
 *			b->live[kept++] = i;
 *	b->n_live = kept;
 *
 * A packet that is not kept has gone somewhere: dropped by name, punted, answered, held or sent.
 *
 * Thread-safety: scratch memory of one worker.
 */
struct burst {
	uint16_t n; // places in use
	uint16_t n_live;
	bool is_handed; // all came from another worker: none is handed on
	uint8_t live[DP_BURST_MAX];
	uint8_t outer_ecn[DP_BURST_MAX];
	uint8_t outer_size
		[DP_BURST_MAX]; // up: IP and UDP header, still in the headroom; 0: relayed
	uint16_t port_id[DP_BURST_MAX];
	struct rte_mbuf *pkt[DP_BURST_MAX];
	struct client *client[DP_BURST_MAX];
	struct flow *flow[DP_BURST_MAX];
	struct ip_view ip[DP_BURST_MAX];
};

// Safe while the body rewrites live[] at or before the current position.
#define BURST_FOREACH(b, i)                                                                        \
	for (uint16_t i##_at = 0, i = (b)->live[0]; i##_at < (b)->n_live;                          \
	     i##_at++, i = (b)->live[i##_at % DP_BURST_MAX])

/** Empties the burst; it owns nothing any more. */
static inline void burst_reset(struct burst *b)
{
	b->n = 0;
	b->n_live = 0;
	b->is_handed = false;
	b->live[0] = 0;
}

/** Appends a packet; the burst must have room. @return its place */
static inline uint16_t burst_push(struct burst *b, struct rte_mbuf *m)
{
	uint16_t i = b->n++;

	b->live[b->n_live++] = (uint8_t)i;
	b->pkt[i] = m;
	return i;
}
