// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "dataplane/worker/handoff.h"

#include "control/noise/messages.h"
#include "dataplane/stage/stage.h"
#include "dataplane/worker/idle.h"

#include <rte_prefetch.h>

enum {
	PREFETCH_AHEAD = 8, // packets: another core has them in its cache
};

enum handoff_kind {
	HANDOFF_UP,
	HANDOFF_DOWN,
	HANDOFF_TX,
};

// In the private area of the mbuf; a packet is never handed off and punted at once.
struct handoff_meta {
	uint8_t kind; // enum handoff_kind
	uint8_t outer_ecn, outer_size; // UP
	uint8_t reserved;
	uint16_t port_id;
	uint32_t slot; // UP
};
static_assert(sizeof(struct handoff_meta) <= sizeof(struct dp_meta), "private area of an mbuf");

static void out_flush(struct worker *w, unsigned to)
{
	struct handoff_out *out = &w->handoff[to];
	struct dp_channel *ch = &w->channels[to];
	unsigned n;

	if (out->n == 0)
		return;
	n = rte_ring_sp_enqueue_burst(ch->handoff[w->index], (void *)out->pkts, out->n, NULL);
	stat_add(&w->stats.handed_off, n);
	for (unsigned i = n; i < out->n; i++)
		worker_drop(w, out->pkts[i], DROP_handoff_full);
	out->n = 0;
	if (n > 0)
		channel_kick_worker(ch);
}

static void push(struct worker *w, unsigned to, struct rte_mbuf *m, struct handoff_meta meta)
{
	struct handoff_out *out = &w->handoff[to];

	*(struct handoff_meta *)rte_mbuf_to_priv(m) = meta;
	out->pkts[out->n++] = m;
	if (out->n == DP_BURST_MAX)
		out_flush(w, to);
}

void handoff_up(
	struct worker *w,
	unsigned to,
	struct rte_mbuf *m,
	uint16_t port_id,
	uint8_t outer_ecn,
	uint8_t outer_size)
{
	// It has an owner, so it is long enough and the slot exists.
	const struct noise_msg_data *msg = rte_pktmbuf_mtod(m, const struct noise_msg_data *);

	push(w,
	     to,
	     m,
	     (struct handoff_meta){
		     .kind = HANDOFF_UP,
		     .slot = noise_le32_get(msg->receiver_index) >> 8,
		     .port_id = port_id,
		     .outer_ecn = outer_ecn,
		     .outer_size = outer_size,
	     });
}

void handoff_down(struct worker *w, unsigned to, struct rte_mbuf *m, uint16_t port_id)
{
	push(w, to, m, (struct handoff_meta){.kind = HANDOFF_DOWN, .port_id = port_id});
}

void handoff_tx(struct worker *w, unsigned to, struct rte_mbuf *m, uint16_t port_id)
{
	push(w, to, m, (struct handoff_meta){.kind = HANDOFF_TX, .port_id = port_id});
}

void handoff_flush(struct worker *w)
{
	for (unsigned i = 0; i < w->n_workers; i++)
		out_flush(w, i);
}

static void take_one(struct worker *w, struct rte_mbuf *m)
{
	const struct handoff_meta *meta = rte_mbuf_to_priv(m);
	uint16_t i;

	switch (meta->kind) {
	case HANDOFF_UP:
		rte_prefetch0(&w->clients[meta->slot]);
		i = burst_push(&w->up, m);
		w->up.port_id[i] = meta->port_id;
		w->up.outer_ecn[i] = meta->outer_ecn;
		w->up.outer_size[i] = meta->outer_size;
		break;
	case HANDOFF_DOWN:
		i = burst_push(&w->down, m);
		w->down.port_id[i] = meta->port_id;
		break;
	default:
		worker_tx(w, meta->port_id, m);
		break;
	}
}

static void mbuf_prefetch(struct rte_mbuf *m)
{
	rte_prefetch0(m);
	rte_prefetch0(rte_mbuf_to_priv(m));
}

static void frame_prefetch(const struct rte_mbuf *m)
{
	const uint8_t *p = rte_pktmbuf_mtod(m, const uint8_t *);

	rte_prefetch0(p);
	rte_prefetch0(p + RTE_CACHE_LINE_SIZE);
}

// First the mbufs, then what they point at.
static void take_all(struct worker *w, struct rte_mbuf **pkts, unsigned n)
{
	for (unsigned i = 0; i < n && i < 2 * PREFETCH_AHEAD; i++)
		mbuf_prefetch(pkts[i]);
	for (unsigned i = 0; i < n && i < PREFETCH_AHEAD; i++)
		frame_prefetch(pkts[i]);
	for (unsigned i = 0; i < n; i++) {
		if (i + 2 * PREFETCH_AHEAD < n)
			mbuf_prefetch(pkts[i + 2 * PREFETCH_AHEAD]);
		if (i + PREFETCH_AHEAD < n)
			frame_prefetch(pkts[i + PREFETCH_AHEAD]);
		take_one(w, pkts[i]);
	}
}

unsigned handoff_run(struct worker *w)
{
	struct rte_mbuf *pkts[DP_BURST_MAX];
	unsigned total = 0;

	for (unsigned from = 0; from < w->n_workers; from++) {
		struct rte_ring *ring = w->channel->handoff[from];
		unsigned n;

		if (ring == NULL)
			continue;
		n = rte_ring_sc_dequeue_burst(ring, (void *)pkts, DP_BURST_MAX, NULL);
		if (n == 0)
			continue;
		burst_reset(&w->up);
		burst_reset(&w->down);
		w->down.is_handed = true;
		take_all(w, pkts, n);
		worker_stages(w);
		total += n;
	}
	stat_add(&w->stats.handed_in, total);
	return total;
}

bool handoff_is_waiting(const struct worker *w)
{
	for (unsigned from = 0; from < w->n_workers; from++)
		if (w->channel->handoff[from] != NULL && !rte_ring_empty(w->channel->handoff[from]))
			return true;
	return false;
}

void handoff_clear(struct worker *w)
{
	for (unsigned i = 0; i < w->n_workers; i++) {
		rte_pktmbuf_free_bulk(w->handoff[i].pkts, w->handoff[i].n);
		w->handoff[i].n = 0;
	}
}
