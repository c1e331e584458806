// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "dataplane/worker/session.h"

#include "dataplane/stage/stage.h"

static bool handshake_ask(struct worker *w, const struct client *c)
{
	const struct dp_event event = {
		.type = DP_EVENT_HANDSHAKE_DUE,
		.slot = worker_slot(w, c),
	};

	return worker_event_send(w, &event);
}

void session_rekey_ask(struct worker *w, struct client *c, struct keypair *k)
{
	// Only the keypair that is sent on; previous and next say nothing about freshness.
	if (client_keypair(c, CLIENT_ROLE_CURRENT) == k)
		k->is_rekey_asked = handshake_ask(w, c);
}

void session_keypair_added(struct worker *w, struct client *c)
{
	for (unsigned role = 0; role < CLIENT_ROLE_COUNT; role++) {
		const struct keypair *k = client_keypair(c, role);

		if (k != NULL)
			worker_client_arm(w, c, k->expires_tsc);
	}
}

void session_keepalive_send(struct worker *w, struct client *c)
{
	struct rte_mbuf *m = rte_pktmbuf_alloc(w->pool);

	if (m == NULL) {
		stat_add(&w->stats.drops[DROP_no_mbuf], 1);
		return;
	}
	seal_push(w, c, m);
}

static void keepalive_visit(struct worker *w, struct client *c)
{
	bool is_again = c->is_keepalive_again;

	if (c->keepalive_tsc == 0 || w->now < c->keepalive_tsc)
		return;
	c->keepalive_tsc = 0;
	c->is_keepalive_again = false;
	session_keepalive_send(w, c);
	// Encrypting clears the timer; what came while it ran wants an answer of its own.
	stage_encrypt(w);
	if (is_again)
		c->keepalive_tsc = w->now + SESSION_KEEPALIVE_S * w->tsc_hz;
}

static void unanswered_visit(struct worker *w, struct client *c)
{
	if (c->unanswered_tsc == 0 || w->now < c->unanswered_tsc)
		return;
	// A full event ring: ask again in a second.
	c->unanswered_tsc = handshake_ask(w, c) ? 0 : w->now + w->tsc_hz;
}

static void keypairs_visit(struct worker *w, struct client *c)
{
	for (unsigned role = 0; role < CLIENT_ROLE_COUNT; role++) {
		const struct keypair *k = client_keypair(c, role);

		if (k == NULL || w->now < k->expires_tsc)
			continue;
		// An idle tunnel whose initiator we were stays fresh (spec/connectivity.md 4.2).
		if (role == CLIENT_ROLE_CURRENT && k->is_initiator && !handshake_ask(w, c))
			continue;
		client_keypair_wipe(c, role);
	}
}

static uint64_t earliest(uint64_t a, uint64_t deadline_or_0)
{
	return deadline_or_0 != 0 && deadline_or_0 < a ? deadline_or_0 : a;
}

void worker_client_visit(void *arg, uint32_t slot)
{
	struct worker *w = arg;
	struct client *c = &w->clients[slot];
	uint64_t next = UINT64_MAX;

	if (!c->is_alive)
		return;
	keepalive_visit(w, c);
	unanswered_visit(w, c);
	keypairs_visit(w, c);
	next = earliest(next, c->keepalive_tsc);
	next = earliest(next, c->unanswered_tsc);
	for (unsigned role = 0; role < CLIENT_ROLE_COUNT; role++) {
		const struct keypair *k = client_keypair(c, role);

		if (k != NULL)
			next = earliest(next, k->expires_tsc);
	}
	if (next != UINT64_MAX)
		worker_client_arm(w, c, next);
}
