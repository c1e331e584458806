// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "dataplane/port/port.h"
#include "dataplane/stage/stage.h"

#include <rte_ether.h>

#include <string.h>

// Someone wants a next hop that failed: let the kernel try again, some times a second at most.
static void failed_ask(struct worker *w, const struct fib_adj *adj)
{
	const struct dp_event event = {
		.type = DP_EVENT_RESOLVE,
		.resolve = {.addr = adj->next_hop, .port_id = adj->port_id},
	};

	if (w->now < w->hold.failed_ask_tsc)
		return;
	w->hold.failed_ask_tsc = w->now + w->tsc_hz / 4;
	if (!worker_event_send(w, &event))
		return;
}

enum fib_verdict forward_lookup(struct worker *w, const struct ip_addr *dst, struct fib_adj *adj)
{
	enum fib_verdict v;

	if (w->fib == NULL)
		return FIB_NO_ROUTE;
	v = fib_lookup(w->fib, dst, adj);
	if (v == FIB_NO_ROUTE || v == FIB_LOCAL)
		return v;
	if (adj->port_id >= RTE_MAX_ETHPORTS || w->tx[adj->port_id].port == NULL)
		return FIB_NO_ROUTE;
	if (v == FIB_FAILED)
		failed_ask(w, adj);
	return v;
}

// The adjacency in the flow is of an older FIB, or there was none. @return whether to keep
static bool route_one(struct worker *w, struct burst *b, uint16_t i)
{
	struct flow *f = b->flow[i];
	struct hold_entry entry = {
		.m = b->pkt[i],
		.dst = {.family = f->family},
		.slot = f->slot,
		.is_inner = true,
		.outer_ecn = b->outer_ecn[i],
	};
	struct fib_adj adj;

	memcpy(entry.dst.bytes, f->remote, sizeof(entry.dst.bytes));
	switch (forward_lookup(w, &entry.dst, &adj)) {
	case FIB_FORWARD:
		f->port_id = adj.port_id;
		memcpy(f->dst_mac, adj.dst_mac, sizeof(f->dst_mac));
		f->fib_generation = w->fib_generation;
		return true;
	case FIB_RESOLVE:
		entry.next_hop = adj.next_hop;
		entry.port_id = adj.port_id;
		hold_push(w, &entry);
		break;
	case FIB_FAILED:
		icmp_error_to_client(w, b->client[i], entry.m, ICMP_ANSWER_HOST, DROP_neigh_failed);
		break;
	case FIB_LOCAL:
		punt_client(w, DP_PUNT_TUN, b->client[i], entry.m);
		break;
	case FIB_NO_ROUTE:
		icmp_error_to_client(w, b->client[i], entry.m, ICMP_ANSWER_NETWORK, DROP_no_route);
		break;
	}
	return false;
}

void stage_route(struct worker *w, struct burst *b)
{
	uint16_t kept = 0;

	BURST_FOREACH(b, i)
		if (likely(b->flow[i]->fib_generation == w->fib_generation
			   && w->fib_generation != 0)
		    || route_one(w, b, i))
			b->live[kept++] = (uint8_t)i;
	b->n_live = kept;
}

static void ether_send(
	struct worker *w,
	struct rte_mbuf *m,
	uint8_t family,
	uint16_t port_id,
	const uint8_t *dst_mac)
{
	struct rte_ether_hdr *eth = (void *)rte_pktmbuf_prepend(m, RTE_ETHER_HDR_LEN);

	if (unlikely(eth == NULL)) {
		worker_drop(w, m, DROP_inject_bad);
		return;
	}
	memcpy(eth->dst_addr.addr_bytes, dst_mac, 6);
	memcpy(eth->src_addr.addr_bytes, w->tx[port_id].port->mac, 6);
	eth->ether_type = family == IP_FAMILY_V4 ? RTE_BE16(RTE_ETHER_TYPE_IPV4)
						 : RTE_BE16(RTE_ETHER_TYPE_IPV6);
	worker_tx(w, port_id, m);
}

void stage_forward(struct worker *w, struct burst *b)
{
	BURST_FOREACH(b, i) {
		const struct flow *f = b->flow[i];

		ether_send(w, b->pkt[i], f->family, f->port_id, f->dst_mac);
	}
	b->n_live = 0;
}

void forward_outer(struct worker *w, struct rte_mbuf *m)
{
	const uint8_t *ip = rte_pktmbuf_mtod(m, const uint8_t *);
	uint32_t claimed = ip_claimed_size(ip, m->data_len);
	struct hold_entry entry = {.m = m};
	struct fib_adj adj;

	if (claimed == 0 || claimed != m->pkt_len) {
		worker_drop(w, m, DROP_inject_bad);
		return;
	}
	entry.dst.family = ip[0] >> 4;
	if (entry.dst.family == IP_FAMILY_V4)
		memcpy(entry.dst.bytes, ip + 16, 4);
	else
		memcpy(entry.dst.bytes, ip + 24, 16);
	switch (forward_lookup(w, &entry.dst, &adj)) {
	case FIB_FORWARD:
		ether_send(w, m, entry.dst.family, adj.port_id, adj.dst_mac);
		break;
	case FIB_RESOLVE:
		entry.next_hop = adj.next_hop;
		entry.port_id = adj.port_id;
		hold_push(w, &entry);
		break;
	case FIB_FAILED:
		worker_drop(w, m, DROP_neigh_failed);
		break;
	case FIB_LOCAL:
		worker_drop(w, m, DROP_inject_bad);
		break;
	case FIB_NO_ROUTE:
		worker_drop(w, m, DROP_no_route);
		break;
	}
}
