// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "dataplane/stage/checksum.h"
#include "dataplane/stage/stage.h"
#include "dataplane/worker/handoff.h"

#include <rte_ether.h>

#include <netinet/in.h>
#include <string.h>

enum {
	V4_TTL = 8,
	V6_HOP_LIMIT = 7,
	V4_DONT_FRAGMENT = 0x40, // in byte 6
	TCP_FLAGS = 13,
	TCP_CHECKSUM = 16,
	UDP_CHECKSUM = 6,
	ICMP_CHECKSUM = 2,
	ICMP_SIZE = 8,
	V6_FRAGMENT_SIZE = 8,
};

struct nat_in_batch {
	unsigned n;
	uint8_t place[DP_BURST_MAX];
	bool is_error[DP_BURST_MAX]; // ICMP error about a flow
	struct ip_view quote[DP_BURST_MAX];
	struct flow_outside key[DP_BURST_MAX];
	struct flow *flow[DP_BURST_MAX];
	struct judge judge;
	uint8_t judged[DP_BURST_MAX];
};

// No flow's: the host's if it is addressed to it.
static void nat_in_miss(struct worker *w, struct burst *b, uint16_t i)
{
	struct rte_mbuf *m = b->pkt[i];
	const uint8_t *ip = rte_pktmbuf_mtod(m, const uint8_t *);
	uint8_t family = ip[0] >> 4;
	struct dp_meta *meta = rte_mbuf_to_priv(m);

	if (!worker_is_local(w, family, ip + (family == IP_FAMILY_V4 ? 16 : 24))) {
		worker_drop(w, m, DROP_no_flow);
		return;
	}
	// demux took off the Ethernet header; it is still there.
	rte_pktmbuf_prepend(m, RTE_ETHER_HDR_LEN);
	*meta = (struct dp_meta){.port_id = b->port_id[i], .l3_offset = RTE_ETHER_HDR_LEN};
	punt_send(w, DP_PUNT_HOST, m);
}

// The destination port of a first fragment of TCP or UDP, or 0.
static uint16_t fragment_port(const uint8_t *ip, uint32_t size)
{
	uint32_t l4 = 40;
	uint8_t proto = ip[6];
	bool is_first;

	if (ip[0] >> 4 == 4) {
		l4 = (ip[0] & 0x0fu) * 4;
		proto = ip[9];
		is_first = ((ip[6] << 8 | ip[7]) & 0x1fff) == 0;
	} else {
		if (proto != IPPROTO_FRAGMENT || size < l4 + V6_FRAGMENT_SIZE)
			return 0;
		is_first = ((ip[42] << 8 | ip[43]) & 0xfff8) == 0;
		proto = ip[40];
		l4 += V6_FRAGMENT_SIZE;
	}
	if (!is_first || (proto != IPPROTO_TCP && proto != IPPROTO_UDP) || size < l4 + 4)
		return 0;
	return (uint16_t)(ip[l4 + 2] << 8 | ip[l4 + 3]);
}

// A fragment cannot reach a client. Without its first one, the host's kernel has nothing to
// reassemble and nothing to answer, so only the host's own datagrams get through to it.
static void nat_in_fragment(struct worker *w, struct burst *b, uint16_t i)
{
	struct rte_mbuf *m = b->pkt[i];
	uint16_t port = fragment_port(rte_pktmbuf_mtod(m, const uint8_t *), m->data_len);

	if (port >= w->nat_port_first && port <= w->nat_port_last)
		worker_drop(w, m, DROP_ip_fragment);
	else
		nat_in_miss(w, b, i);
}

static inline void
outside_key(struct flow_outside *key, const struct ip_view *view, const uint8_t *ip)
{
	bool is_echo = view->class_ == ACL_CLASS_ICMP_ECHO;

	*key = (struct flow_outside){
		.family = view->family,
		.kind = view->class_ <= ACL_CLASS_ICMP_ECHO ? view->class_ : FLOW_KIND_OTHER,
		.proto = view->proto,
		.nat_port = view->dport,
		.dport = is_echo ? 0 : view->sport,
	};
	ip_addr_copy(key->lan, view->family, ip_view_dst(view, ip));
	ip_addr_copy(key->remote, view->family, ip_view_src(view, ip));
}

// The quoted packet went the other way.
static void outside_key_quote(struct flow_outside *key, const struct ip_view *q, const uint8_t *ip)
{
	size_t size = q->family == IP_FAMILY_V4 ? 4 : 16;
	bool is_echo = q->class_ == ACL_CLASS_ICMP_ECHO;

	*key = (struct flow_outside){
		.family = q->family,
		.kind = q->class_,
		.proto = q->proto,
		.nat_port = q->sport,
		.dport = is_echo ? 0 : q->dport,
	};
	memcpy(key->lan, ip_view_src(q, ip), size);
	memcpy(key->remote, ip_view_dst(q, ip), size);
}

static bool is_echo_request(const struct ip_view *view, const uint8_t *ip)
{
	return view->class_ == ACL_CLASS_ICMP_ECHO
		&& ip[view->l4] == (view->family == IP_FAMILY_V4 ? 8 : 128);
}

// @return whether the packet may belong to a flow; its key is then in the batch
static bool nat_in_key(struct worker *w, struct burst *b, uint16_t i, struct nat_in_batch *batch)
{
	struct rte_mbuf *m = b->pkt[i];
	const uint8_t *ip = rte_pktmbuf_mtod(m, const uint8_t *);
	struct ip_view *view = &b->ip[i];
	enum ip_verdict v = ip_view_parse(view, ip, m->data_len);
	struct ip_view *quote = &batch->quote[batch->n];

	if (v == IP_VERDICT_FRAGMENT) {
		nat_in_fragment(w, b, i);
		return false;
	}
	if (v != IP_VERDICT_OK) {
		worker_drop(w, m, DROP_rx_malformed);
		return false;
	}
	if (ip_is_tunnel(view->family, ip_view_src(view, ip))) {
		worker_drop(w, m, DROP_rx_spoofed);
		return false;
	}
	batch->is_error[batch->n] = false;
	switch (ip_view_icmp(view, ip, quote)) {
	case IP_ICMP_NONE:
		if (is_echo_request(view, ip))
			break; // a flow expects replies; requests are for the host
		outside_key(&batch->key[batch->n], view, ip);
		return true;
	case IP_ICMP_ERROR:
		batch->is_error[batch->n] = true;
		outside_key_quote(&batch->key[batch->n], quote, ip + view->l4 + ICMP_SIZE);
		return true;
	case IP_ICMP_UNUSABLE:
		break; // neighbour discovery among others
	}
	nat_in_miss(w, b, i);
	return false;
}

// A packet without a flow of ours may have one of another worker's. @return whether it went there
static bool
nat_in_hand_off(struct worker *w, struct burst *b, uint16_t i, const struct flow_outside *key)
{
	uint16_t port = rte_be_to_cpu_16(key->nat_port);
	unsigned owner;

	if (w->share == NULL || b->is_handed)
		return false;
	if ((key->kind == FLOW_KIND_TCP || key->kind == FLOW_KIND_UDP)
	    && (port < w->nat_port_first || port > w->nat_port_last))
		return false;
	owner = flow_share_owner(w->share, key);
	if (owner == w->index || owner == FLOW_SHARE_NOBODY)
		return false;
	handoff_down(w, owner, b->pkt[i], b->port_id[i]);
	return true;
}

static void nat_in_lookup(struct worker *w, struct burst *b, struct nat_in_batch *batch)
{
	unsigned hits = 0;

	batch->n = 0;
	BURST_FOREACH(b, i)
		if (nat_in_key(w, b, i, batch))
			batch->place[batch->n++] = (uint8_t)i;
	flow_outside_lookup_burst(w->flows, batch->key, batch->flow, batch->n);
	for (unsigned at = 0; at < batch->n; at++) {
		uint16_t i = batch->place[at];

		if (batch->flow[at] == NULL) {
			if (!nat_in_hand_off(w, b, i, &batch->key[at]))
				nat_in_miss(w, b, i);
			continue;
		}
		b->flow[i] = batch->flow[at];
		b->client[i] = &w->clients[batch->flow[at]->slot];
		rte_prefetch0(b->client[i]);
		batch->place[hits] = (uint8_t)i;
		batch->is_error[hits] = batch->is_error[at];
		batch->quote[hits++] = batch->quote[at];
	}
	batch->n = hits;
}

// Return traffic is judged like the way out, by the resource's side (spec/datapath.md 1.3 #11).
// Errors about a flow pass without (#10).
static void nat_in_judge(struct worker *w, struct burst *b, struct nat_in_batch *batch)
{
	struct judge *j = &batch->judge;

	j->n = 0;
	for (unsigned at = 0; at < batch->n; at++) {
		const struct flow *f = b->flow[batch->place[at]];
		const struct client *c = b->client[batch->place[at]];
		bool has_port = f->kind == FLOW_KIND_TCP || f->kind == FLOW_KIND_UDP;

		if (batch->is_error[at]
		    || likely(judge_is_fresh(f, worker_policy_generation(w, c), w->now)))
			continue;
		batch->judged[j->n] = (uint8_t)at;
		j->key[j->n] = (struct acl_key){
			.class_ = b->ip[batch->place[at]].class_,
			.family = f->family,
			.port = has_port ? rte_be_to_cpu_16(f->dport) : 0,
		};
		memcpy(j->key[j->n].addr, f->dst, sizeof(f->dst));
		j->policy[j->n++] = worker_policy(w, c);
	}
	judge_run(j, w->now);
	for (unsigned i = 0; i < j->n; i++) {
		uint16_t place = batch->place[batch->judged[i]];

		if (j->verdict[i] < ACL_VERDICT_UNREACHABLE) {
			judge_note(b->flow[place], j->policy[i], j->verdict[i]);
			continue;
		}
		worker_drop(w, b->pkt[place], DROP_policy_reply);
		b->pkt[place] = NULL;
	}
}

static void
v4_header_rewrite(uint8_t *ip, const struct flow *f, const struct client *c, uint16_t delta)
{
	uint8_t before[2];

	memcpy(before, ip + V4_TTL, 2);
	ip[V4_TTL]--;
	delta = csum_delta_words(delta, before, ip + V4_TTL, 1);
	memcpy(ip + 12, f->dst, 4);
	memcpy(ip + 16, c->v4, 4);
	csum_apply(ip + 10, delta);
}

static void header_rewrite(uint8_t *ip, const struct flow *f, const struct client *c)
{
	if (f->family == IP_FAMILY_V4) {
		v4_header_rewrite(ip, f, c, (uint16_t)~f->l3_delta);
		return;
	}
	ip[V6_HOP_LIMIT]--;
	memcpy(ip + 8, f->dst, 16);
	memcpy(ip + 24, c->v6, 16);
}

static void l4_rewrite(uint8_t *l4, const struct flow *f)
{
	uint16_t delta = (uint16_t)~f->l4_delta;

	switch (f->kind) {
	case FLOW_KIND_TCP:
		memcpy(l4 + 2, &f->sport, 2);
		csum_apply(l4 + TCP_CHECKSUM, delta);
		break;
	case FLOW_KIND_UDP:
		memcpy(l4 + 2, &f->sport, 2);
		if (l4[UDP_CHECKSUM] != 0 || l4[UDP_CHECKSUM + 1] != 0)
			csum_apply(l4 + UDP_CHECKSUM, delta);
		break;
	case FLOW_KIND_ECHO:
		memcpy(l4 + 4, &f->sport, 2);
		if (f->family == IP_FAMILY_V6 || f->nat_port != f->sport)
			csum_apply(l4 + ICMP_CHECKSUM, delta);
		break;
	default:
		// Known by its address pair alone. The official gateway carries such protocols out but
		// not back (spec/datapath.md 1.3 #6); ICMP beyond echo never gets here.
		break;
	}
}

// The quote shows the client its own packet again, with right checksums as far as they are quoted.
static void quote_rewrite(
	uint8_t *ip,
	const struct ip_view *quote,
	const struct flow *f,
	const struct client *c)
{
	uint8_t *l4 = ip + quote->l4;
	uint32_t left = quote->size - (uint32_t)quote->l4;
	uint16_t delta = (uint16_t)~f->l4_delta;

	if (f->family == IP_FAMILY_V4) {
		memcpy(ip + 12, c->v4, 4);
		memcpy(ip + 16, f->dst, 4);
		csum_apply(ip + 10, (uint16_t)~f->l3_delta);
	} else {
		memcpy(ip + 8, c->v6, 16);
		memcpy(ip + 24, f->dst, 16);
	}
	memcpy(l4 + (f->kind == FLOW_KIND_ECHO ? 4 : 0), &f->sport, 2);
	if (f->kind == FLOW_KIND_TCP && left >= TCP_CHECKSUM + 2)
		csum_apply(l4 + TCP_CHECKSUM, delta);
	else if (
		f->kind == FLOW_KIND_UDP && left >= UDP_CHECKSUM + 2
		&& (l4[UDP_CHECKSUM] != 0 || l4[UDP_CHECKSUM + 1] != 0))
		csum_apply(l4 + UDP_CHECKSUM, delta);
	else if (f->kind == FLOW_KIND_ECHO)
		csum_apply(l4 + ICMP_CHECKSUM, delta);
}

// An ICMP error about a flow. Its source stays the reporter's, except for a translated
// destination (spec/datapath.md 4.1, 4.2). @return whether it is for the client now
static bool error_rewrite(
	struct worker *w,
	struct rte_mbuf *m,
	const struct ip_view *view,
	const struct ip_view *quote,
	const struct flow *f,
	const struct client *c)
{
	uint8_t *ip = rte_pktmbuf_mtod(m, uint8_t *);
	bool is_v4 = f->family == IP_FAMILY_V4;
	size_t size = is_v4 ? 4 : 16;
	uint8_t *src = ip + (is_v4 ? 12 : 8), *dst = ip + (is_v4 ? 16 : 24);
	uint8_t before[2 + 8] = {0};

	// The rewrite computes a new checksum and must not bless a broken message.
	if (!csum_l4_is_ok(view, ip)) {
		worker_drop(w, m, DROP_l4_checksum);
		return false;
	}
	quote_rewrite(ip + view->l4 + ICMP_SIZE, quote, f, c);
	if (is_v4) {
		memcpy(before, ip + V4_TTL, 2);
		memcpy(before + 2, ip + 12, 8);
	}
	if (memcmp(f->dst, f->remote, sizeof(f->dst)) != 0)
		memcpy(src, f->dst, size);
	memcpy(dst, is_v4 ? c->v4 : c->v6, size);
	ip[is_v4 ? V4_TTL : V6_HOP_LIMIT]--;
	if (is_v4) {
		uint16_t delta = csum_delta_words(0, before, ip + V4_TTL, 1);

		csum_apply(ip + 10, csum_delta_words(delta, before + 2, ip + 12, 4));
	}
	csum_icmp_write(view, ip);
	return true;
}

// What may not go on: too big, at the end of its hops. @return whether to keep
static bool nat_in_check(
	struct worker *w,
	struct client *c,
	struct rte_mbuf *m,
	const struct ip_view *view,
	bool is_error)
{
	const uint8_t *ip = rte_pktmbuf_mtod(m, const uint8_t *);
	bool is_v4 = view->family == IP_FAMILY_V4;

	if (unlikely(view->size > DP_INNER_SIZE_MAX)) {
		// No error about an error, and none where the sender allows fragments.
		if (is_error || (is_v4 && (ip[6] & V4_DONT_FRAGMENT) == 0))
			worker_drop(w, m, DROP_mtu_exceeded);
		else
			icmp_error_to_lan(w, c, m, ICMP_ANSWER_TOO_BIG, DROP_mtu_exceeded);
		return false;
	}
	if (unlikely(ip[is_v4 ? V4_TTL : V6_HOP_LIMIT] <= 1)) {
		if (is_error)
			worker_drop(w, m, DROP_ttl_expired);
		else
			icmp_error_to_lan(w, c, m, ICMP_ANSWER_TTL, DROP_ttl_expired);
		return false;
	}
	return true;
}

static void nat_in_one(
	struct worker *w,
	struct burst *b,
	uint16_t i,
	bool is_error,
	const struct ip_view *quote)
{
	const struct ip_view *view = &b->ip[i];
	struct rte_mbuf *m = b->pkt[i];
	struct client *c = b->client[i];
	struct flow *f = b->flow[i];
	uint8_t *ip = rte_pktmbuf_mtod(m, uint8_t *);
	uint8_t tcp_flags = 0;

	if (!nat_in_check(w, c, m, view, is_error))
		return;
	if (is_error) {
		if (!error_rewrite(w, m, view, quote, f, c))
			return;
	} else {
		if (f->kind == FLOW_KIND_TCP)
			tcp_flags = ip[view->l4 + TCP_FLAGS];
		header_rewrite(ip, f, c);
		l4_rewrite(ip + view->l4, f);
	}
	flow_touch_in(w->flows, f, w->flow_tick, view->size, tcp_flags);
	seal_push(w, c, m);
}

void stage_nat_in(struct worker *w, struct burst *b)
{
	struct nat_in_batch batch;

	nat_in_lookup(w, b, &batch);
	nat_in_judge(w, b, &batch);
	for (unsigned at = 0; at < batch.n; at++)
		if (b->pkt[batch.place[at]] != NULL)
			nat_in_one(w, b, batch.place[at], batch.is_error[at], &batch.quote[at]);
	b->n_live = 0;
}
