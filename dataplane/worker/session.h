// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include "dataplane/worker/worker.h"

/**
 * WireGuard's timers of a transport session, on the worker's side of the line:
 *
 *   data received, nothing sent for 10 s       an empty packet (passive keepalive)
 *   data sent, nothing received for 15 s       DP_EVENT_HANDSHAKE_DUE
 *   our initiator keypair sends at 120 s or receives at 165 s   DP_EVENT_HANDSHAKE_DUE, once
 *   our initiator keypair reaches 180 s as current              DP_EVENT_HANDSHAKE_DUE
 *   any keypair reaches 180 s                  wiped
 *
 * Thread-safety: the worker's thread.
 */

enum {
	SESSION_KEEPALIVE_S = 10,
	SESSION_UNANSWERED_S = 15,
	SESSION_REKEY_SENT_S = 120,
	SESSION_REKEY_RECEIVED_S = 165,
	SESSION_INITIATOR_SEND_S = 170,
	SESSION_REJECT_S = 180,
};

/** Asks control for a handshake because of @p k's age; once per keypair. */
void session_rekey_ask(struct worker *w, struct client *c, struct keypair *k);
/** A command brought a keypair. */
void session_keypair_added(struct worker *w, struct client *c);

/** Call for each packet that authenticated on @p k, with the plaintext's size; 0: keepalive. */
static inline void
session_received(struct worker *w, struct client *c, struct keypair *k, uint32_t size)
{
	c->unanswered_tsc = 0;
	if (unlikely(
		    k->is_initiator && !k->is_rekey_asked
		    && w->now >= k->created_tsc + SESSION_REKEY_RECEIVED_S * w->tsc_hz))
		session_rekey_ask(w, c, k);
	if (size == 0)
		return;
	stat_add(&c->stats.rx_packets, 1);
	stat_add(&c->stats.rx_bytes, size);
	stat_set(&c->stats.last_rx_tsc, w->now);
	if (c->keepalive_tsc != 0) {
		c->is_keepalive_again = true;
		return;
	}
	c->keepalive_tsc = w->now + SESSION_KEEPALIVE_S * w->tsc_hz;
	worker_client_arm(w, c, c->keepalive_tsc);
}

/** Call for each packet that was sent on @p k, with the plaintext's size; 0: keepalive. */
static inline void
session_sent(struct worker *w, struct client *c, struct keypair *k, uint32_t size)
{
	c->keepalive_tsc = 0;
	c->is_keepalive_again = false;
	if (size == 0)
		return;
	stat_add(&c->stats.tx_packets, 1);
	stat_add(&c->stats.tx_bytes, size);
	stat_set(&c->stats.last_tx_tsc, w->now);
	if (unlikely(
		    k->is_initiator && !k->is_rekey_asked
		    && w->now >= k->created_tsc + SESSION_REKEY_SENT_S * w->tsc_hz))
		session_rekey_ask(w, c, k);
	if (c->unanswered_tsc != 0)
		return;
	c->unanswered_tsc = w->now + SESSION_UNANSWERED_S * w->tsc_hz;
	worker_client_arm(w, c, c->unanswered_tsc);
}

/** @return whether nothing may be sent on @p k any more. */
static inline bool session_is_over(const struct worker *w, const struct keypair *k)
{
	uint64_t life = (k->is_initiator ? SESSION_INITIATOR_SEND_S : SESSION_REJECT_S) * w->tsc_hz;

	// created_tsc comes from another core's clock reading and may lie a little ahead.
	return w->now >= k->created_tsc + life || k->send_counter >= NOISE_REJECT_AFTER_MESSAGES;
}

/**
 * For clients without ICE: @p ip is the outer header of the newest packet that authenticated, @p size
 * bytes with the UDP header. If it came another way than the path goes, control is told, once per
 * path: a client that roams is followed, and nobody without its keys can move it.
 */
void session_source_check(struct worker *w, struct client *c, const uint8_t *ip, uint8_t size);

/** Queues an empty packet. */
void session_keepalive_send(struct worker *w, struct client *c);
