// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "dataplane/stage/stage.h"

#include <string.h>

enum {
	P2P_PROTO = 0xff,
	P2P_SIZE_MIN = 40 + 8,
	P2P_ADDRS = 8, // offset of the two addresses
};

// Peers that pad to 16 bytes are tolerated: the packet is what its header says.
static inline enum ip_verdict inner_parse(struct ip_view *view, struct rte_mbuf *m)
{
	const uint8_t *ip = rte_pktmbuf_mtod(m, const uint8_t *);
	uint32_t claimed = ip_claimed_size(ip, m->data_len);

	if (claimed == 0 || claimed > m->data_len)
		return IP_VERDICT_MALFORMED;
	if (unlikely(claimed != m->data_len))
		rte_pktmbuf_trim(m, (uint16_t)(m->data_len - claimed));
	return ip_view_parse(view, ip, claimed);
}

// The well-formedness gate (spec/datapath.md 1.1): a failure is silent.
static inline enum drop_reason inner_gate(struct ip_view *view, struct rte_mbuf *m)
{
	switch (inner_parse(view, m)) {
	case IP_VERDICT_OK:
		return m->data_len > DP_INNER_SIZE_MAX ? DROP_inner_too_big : DROP_REASON_COUNT;
	case IP_VERDICT_FRAGMENT:
		return DROP_ip_fragment;
	case IP_VERDICT_MALFORMED:
		break;
	}
	return DROP_inner_malformed;
}

static inline bool is_p2p(const struct ip_view *view, const uint8_t *ip)
{
	static const uint8_t unspecified[32];

	return view->family == IP_FAMILY_V6 && ip[6] == P2P_PROTO && view->size >= P2P_SIZE_MIN
		&& memcmp(ip + P2P_ADDRS, unspecified, sizeof(unspecified)) == 0;
}

static inline bool
is_gateway(const struct worker *w, const struct ip_view *view, const uint8_t *dst)
{
	if (view->family == IP_FAMILY_V4)
		return w->tunnel->v4.family == IP_FAMILY_V4
			&& memcmp(w->tunnel->v4.bytes, dst, 4) == 0;
	return w->tunnel->v6.family == IP_FAMILY_V6 && memcmp(w->tunnel->v6.bytes, dst, 16) == 0;
}

// The ordered checks of spec/datapath.md 1.2; the numbers are its rows. @return whether to keep
static inline bool inner_one(struct worker *w, struct burst *b, uint16_t i)
{
	struct ip_view *view = &b->ip[i];
	struct client *c = b->client[i];
	struct rte_mbuf *m = b->pkt[i];
	enum drop_reason reason = inner_gate(view, m);
	struct ip_view quote;
	const uint8_t *ip, *dst;

	if (unlikely(reason != DROP_REASON_COUNT)) {
		worker_drop(w, m, reason);
		return false;
	}
	ip = rte_pktmbuf_mtod(m, const uint8_t *);
	dst = ip_view_dst(view, ip);
	if (unlikely(ip_is_multicast(view->family, dst))) { // 1
		worker_drop(w, m, DROP_inner_multicast);
	} else if (unlikely(is_p2p(view, ip))) { // 3
		punt_client(w, DP_PUNT_P2P, c, m);
	} else if (unlikely(ip_view_icmp(view, ip, &quote) == IP_ICMP_ERROR)) { // 4
		worker_drop(w, m, DROP_inner_icmp_error);
	} else if (unlikely(!client_owns(c, view->family, ip_view_src(view, ip)))) { // 5
		icmp_error_to_client(w, c, m, ICMP_ANSWER_PROHIBITED, DROP_inner_spoofed);
	} else if (unlikely(is_gateway(w, view, dst))) { // 6
		punt_client(w, DP_PUNT_TUN, c, m);
	} else if (unlikely(ip_is_tunnel(view->family, dst))) { // 7
		icmp_error_to_client(w, c, m, ICMP_ANSWER_PROHIBITED, DROP_inner_tunnel_dst);
	} else {
		return true;
	}
	return false;
}

void stage_inner(struct worker *w, struct burst *b)
{
	uint16_t kept = 0;

	BURST_FOREACH(b, i)
		if (inner_one(w, b, i))
			b->live[kept++] = (uint8_t)i;
	b->n_live = kept;
}
