// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "dataplane/stage/stage.h"

#include <string.h>

enum {
	HOLD_TIMEOUT_S = 3,
	HOLD_ASK_S = 1,
};

// The queue is in order of arrival, hence of deadlines: its head says when something ends.

static bool is_same_hop(const struct hold_entry *a, const struct hold_entry *b)
{
	return a->port_id == b->port_id && ip_addr_eq(&a->next_hop, &b->next_hop);
}

static void hold_ask(struct worker *w, const struct hold_entry *e)
{
	const struct dp_event event = {
		.type = DP_EVENT_RESOLVE,
		.slot = e->slot,
		.resolve = {.addr = e->next_hop, .port_id = e->port_id},
	};

	// Lost in a full ring: hold_run() reminds control in a second.
	if (!worker_event_send(w, &event))
		return;
}

// How many earlier entries wait for the same next hop.
static unsigned hold_count_before(const struct hold *h, unsigned end)
{
	unsigned n = 0;

	for (unsigned i = 0; i < end; i++)
		n += is_same_hop(&h->entries[i], &h->entries[end]);
	return n;
}

void hold_push(struct worker *w, const struct hold_entry *entry)
{
	struct hold *h = &w->hold;
	struct hold_entry *e = &h->entries[h->n];
	unsigned n_same;

	if (h->n == HOLD_CAP) {
		worker_drop(w, entry->m, DROP_neigh_hold_full);
		return;
	}
	*e = *entry;
	n_same = hold_count_before(h, h->n);
	if (n_same >= HOLD_PER_HOP) {
		worker_drop(w, entry->m, DROP_neigh_hold_full);
		return;
	}
	if (h->n == 0) {
		h->fib_generation = w->fib_generation;
		h->ask_tsc = w->now + HOLD_ASK_S * w->tsc_hz;
	}
	e->deadline_tsc = w->now + HOLD_TIMEOUT_S * w->tsc_hz;
	h->n++;
	if (n_same == 0)
		hold_ask(w, e);
}

static void hold_remind(struct worker *w)
{
	struct hold *h = &w->hold;

	if (w->now < h->ask_tsc)
		return;
	h->ask_tsc = w->now + HOLD_ASK_S * w->tsc_hz;
	for (unsigned i = 0; i < h->n; i++)
		if (hold_count_before(h, i) == 0)
			hold_ask(w, &h->entries[i]);
}

static bool hold_is_ready(const struct worker *w, const struct hold_entry *e, bool is_new_fib)
{
	struct fib_adj adj;

	if (w->now >= e->deadline_tsc)
		return true;
	return is_new_fib && (w->fib == NULL || fib_lookup(w->fib, &e->dst, &adj) != FIB_RESOLVE);
}

// Takes up to a burst of entries that are ready out of the queue, keeping the order of the rest.
static unsigned hold_take(struct worker *w, bool is_new_fib, struct hold_entry *out)
{
	struct hold *h = &w->hold;
	unsigned taken = 0;
	uint16_t kept = 0;

	for (unsigned i = 0; i < h->n; i++) {
		struct hold_entry *e = &h->entries[i];

		if (taken < DP_BURST_MAX && hold_is_ready(w, e, is_new_fib))
			out[taken++] = *e;
		else
			h->entries[kept++] = *e;
	}
	h->n = kept;
	return taken;
}

static void hold_timeout(struct worker *w, const struct hold_entry *e)
{
	if (e->is_inner)
		icmp_error_to_client(
			w, &w->clients[e->slot], e->m, ICMP_ANSWER_HOST, DROP_neigh_timeout);
	else
		worker_drop(w, e->m, DROP_neigh_timeout);
}

// A held packet of a client is judged again: its authorization may be gone meanwhile.
static void hold_release(struct worker *w, struct burst *b, const struct hold_entry *e)
{
	struct ip_view view;
	uint16_t i;

	if (!e->is_inner) {
		forward_outer(w, e->m);
		return;
	}
	if (ip_view_parse(&view, rte_pktmbuf_mtod(e->m, const uint8_t *), e->m->data_len)
	    != IP_VERDICT_OK) {
		worker_drop(w, e->m, DROP_inner_malformed);
		return;
	}
	i = burst_push(b, e->m);
	b->ip[i] = view;
	b->client[i] = &w->clients[e->slot];
	b->outer_ecn[i] = e->outer_ecn;
}

void hold_run(struct worker *w)
{
	struct hold_entry ready[DP_BURST_MAX];
	struct hold *h = &w->hold;
	bool is_new_fib = h->fib_generation != w->fib_generation;
	unsigned n;

	if (h->n == 0)
		return;
	if (!is_new_fib && w->now < h->entries[0].deadline_tsc) {
		hold_remind(w);
		return;
	}
	h->fib_generation = w->fib_generation;
	do {
		burst_reset(&w->up);
		n = hold_take(w, is_new_fib, ready);
		for (unsigned i = 0; i < n; i++) {
			if (w->now >= ready[i].deadline_tsc)
				hold_timeout(w, &ready[i]);
			else
				hold_release(w, &w->up, &ready[i]);
		}
		stage_up_tail(w, &w->up);
		// What was held again waits for the next snapshot: it is not ready now.
	} while (n == DP_BURST_MAX);
}

void hold_client_clear(struct worker *w, uint32_t slot)
{
	struct hold *h = &w->hold;
	uint16_t kept = 0;

	for (unsigned i = 0; i < h->n; i++) {
		if (h->entries[i].is_inner && h->entries[i].slot == slot)
			rte_pktmbuf_free(h->entries[i].m);
		else
			h->entries[kept++] = h->entries[i];
	}
	h->n = kept;
}

void hold_clear(struct worker *w)
{
	for (unsigned i = 0; i < w->hold.n; i++)
		rte_pktmbuf_free(w->hold.entries[i].m);
	w->hold.n = 0;
}
