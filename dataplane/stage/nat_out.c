// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "dataplane/stage/checksum.h"
#include "dataplane/stage/stage.h"

#include <netinet/in.h>
#include <string.h>

enum {
	ECN_NOT_ECT = 0,
	ECN_CE = 3,
	V4_TTL = 8,
	V6_HOP_LIMIT = 7,
	TCP_FLAGS = 13,
};

static bool checksums_are_ok(struct worker *w, const struct ip_view *view, struct rte_mbuf *m)
{
	const uint8_t *ip = rte_pktmbuf_mtod(m, const uint8_t *);

	if (unlikely(view->family == IP_FAMILY_V4 && !csum_ipv4_is_ok(ip))) {
		worker_drop(w, m, DROP_ip_checksum);
		return false;
	}
	if (unlikely(!csum_l4_is_ok(view, ip))) {
		worker_drop(w, m, DROP_l4_checksum);
		return false;
	}
	return true;
}

bool nat_out_check(struct worker *w, struct burst *b, uint16_t i)
{
	const struct ip_view *view = &b->ip[i];
	struct rte_mbuf *m = b->pkt[i];
	const uint8_t *ip = rte_pktmbuf_mtod(m, const uint8_t *);

	// With a wrong checksum, a rewrite would hide the damage (spec/datapath.md 8.2).
	if (!checksums_are_ok(w, view, m))
		return false;
	if (unlikely(ip[view->family == IP_FAMILY_V4 ? V4_TTL : V6_HOP_LIMIT] <= 1)) {
		icmp_error_to_client(w, b->client[i], m, ICMP_ANSWER_TTL, DROP_ttl_expired);
		return false;
	}
	return true;
}

void stage_nat_out_check(struct worker *w, struct burst *b)
{
	uint16_t kept = 0;

	BURST_FOREACH(b, i)
		if (nat_out_check(w, b, i))
			b->live[kept++] = (uint8_t)i;
	b->n_live = kept;
}

// CE of the outer header reaches an ECN-capable inner one (spec/datapath.md 5.3).
static bool is_ce_due(uint8_t inner, uint8_t outer)
{
	return outer == ECN_CE && inner != ECN_NOT_ECT;
}

static void v4_rewrite(uint8_t *ip, const struct flow *f, uint8_t outer_ecn)
{
	uint16_t delta = f->l3_delta;
	uint8_t before[2];

	memcpy(before, ip + V4_TTL, 2);
	ip[V4_TTL]--;
	delta = csum_delta_words(delta, before, ip + V4_TTL, 1);
	if (unlikely(is_ce_due(ip[1] & 3, outer_ecn))) {
		memcpy(before, ip, 2);
		ip[1] |= ECN_CE;
		delta = csum_delta_words(delta, before, ip, 1);
	}
	memcpy(ip + 12, f->lan, 4);
	memcpy(ip + 16, f->remote, 4);
	csum_apply(ip + 10, delta);
}

static void v6_rewrite(uint8_t *ip, const struct flow *f, uint8_t outer_ecn)
{
	ip[V6_HOP_LIMIT]--;
	if (unlikely(is_ce_due(ip[1] >> 4 & 3, outer_ecn)))
		ip[1] |= ECN_CE << 4;
	memcpy(ip + 8, f->lan, 16);
	memcpy(ip + 24, f->remote, 16);
}

static void l4_rewrite(uint8_t *l4, const struct flow *f)
{
	switch (f->kind) {
	case FLOW_KIND_TCP:
		memcpy(l4, &f->nat_port, 2);
		csum_apply(l4 + 16, f->l4_delta);
		break;
	case FLOW_KIND_UDP:
		memcpy(l4, &f->nat_port, 2);
		// 0 means "not computed" and stays so.
		if (l4[6] != 0 || l4[7] != 0)
			csum_apply(l4 + 6, f->l4_delta);
		break;
	case FLOW_KIND_ECHO:
		memcpy(l4 + 4, &f->nat_port, 2);
		// ICMPv4 without a changed identifier keeps its checksum as it is.
		if (f->family == IP_FAMILY_V6 || f->nat_port != f->sport)
			csum_apply(l4 + 2, f->l4_delta);
		break;
	default:
		if (f->proto == IPPROTO_ICMPV6)
			csum_apply(l4 + 2, f->l4_delta);
		break;
	}
}

void stage_nat_out(struct worker *w, struct burst *b)
{
	BURST_FOREACH(b, i) {
		const struct ip_view *view = &b->ip[i];
		struct flow *f = b->flow[i];
		uint8_t *ip = rte_pktmbuf_mtod(b->pkt[i], uint8_t *);
		uint8_t *l4 = ip + view->l4;
		uint8_t tcp_flags = 0;

		// The flags of the packet that made the flow do not count (spec/datapath.md 3.7).
		if (f->kind == FLOW_KIND_TCP && f->packets_out > 0)
			tcp_flags = l4[TCP_FLAGS];
		if (view->family == IP_FAMILY_V4)
			v4_rewrite(ip, f, b->outer_ecn[i]);
		else
			v6_rewrite(ip, f, b->outer_ecn[i]);
		l4_rewrite(l4, f);
		flow_touch_out(w->flows, f, w->flow_tick, view->size, tcp_flags);
	}
}
