// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include "dataplane/worker/worker.h"

/**
 * Packets that arrived at one worker and belong to another: where no NIC hashes, or not on what
 * decides (ICMP, roamed or relayed clients, ports with fewer queues than workers).
 *
 *	UP     WireGuard data of a client: to the client's owner
 *	DOWN   IP packet of a flow: to the worker whose table would have it
 *	TX     finished frame: to the worker that owns a queue of the port
 *
 * One SPSC ring per pair of workers, filled once per loop, so the packets of a flow that arrive at
 * one queue stay in order. A full ring is the drop handoff_full. A packet is handed on once.
 *
 * Thread-safety: the worker's thread.
 */

/** Gives a data message (mbuf data; outer header in front of it) to worker @p to; takes @p m. */
void handoff_up(
	struct worker *w,
	unsigned to,
	struct rte_mbuf *m,
	uint16_t port_id,
	uint8_t outer_ecn,
	uint8_t outer_size);
/** Gives an IP packet (mbuf data; Ethernet header in front of it) to worker @p to; takes @p m. */
void handoff_down(struct worker *w, unsigned to, struct rte_mbuf *m, uint16_t port_id);
/** Gives a frame to worker @p to for transmission on @p port_id; takes @p m. */
void handoff_tx(struct worker *w, unsigned to, struct rte_mbuf *m, uint16_t port_id);

/** Puts what was given into the rings and wakes who sleeps. */
void handoff_flush(struct worker *w);
/** Takes what others gave, sorts it into w->up and w->down and runs the stages. @return how many */
unsigned handoff_run(struct worker *w);
/** @return whether something waits for @p w. */
bool handoff_is_waiting(const struct worker *w);
/** Frees what was not flushed. */
void handoff_clear(struct worker *w);
