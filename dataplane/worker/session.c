// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "dataplane/worker/session.h"

#include "dataplane/stage/stage.h"

#include <rte_ether.h>
#include <rte_udp.h>

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

void session_source_check(struct worker *w, struct client *c, const uint8_t *ip, uint8_t size)
{
	struct dp_event event = {.type = DP_EVENT_CLIENT_MOVED, .slot = worker_slot(w, c)};
	const uint8_t *udp = ip + size - sizeof(struct rte_udp_hdr);
	const uint8_t *path_ip = c->path.header + RTE_ETHER_HDR_LEN;
	const uint8_t *path_udp = path_ip + c->path.l3_size;
	bool is_v4 = ip[0] >> 4 == 4;
	size_t n = is_v4 ? 4 : 16, src = is_v4 ? 12 : 8, dst = src + n;

	if (likely(c->path.l3_size == (is_v4 ? 20 : 40) && memcmp(path_ip + src, ip + dst, n) == 0
		   && memcmp(path_ip + dst, ip + src, n) == 0 && memcmp(path_udp, udp + 2, 2) == 0
		   && memcmp(path_udp + 2, udp, 2) == 0))
		return;
	if (c->path.is_move_told)
		return;
	event.moved.remote.addr = is_v4 ? ip_addr_v4(ip + src) : ip_addr_v6(ip + src);
	event.moved.local.addr = is_v4 ? ip_addr_v4(ip + dst) : ip_addr_v6(ip + dst);
	event.moved.remote.port = (uint16_t)(udp[0] << 8 | udp[1]);
	event.moved.local.port = (uint16_t)(udp[2] << 8 | udp[3]);
	// With the event ring full, the next packet tries again.
	c->path.is_move_told = worker_event_send(w, &event);
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
