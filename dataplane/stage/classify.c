// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "dataplane/port/port.h"
#include "dataplane/stage/checksum.h"
#include "dataplane/stage/stage.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>

static_assert((int)FLOW_KIND_TCP == (int)ACL_CLASS_TCP, "one numbering");
static_assert((int)FLOW_KIND_UDP == (int)ACL_CLASS_UDP, "one numbering");
static_assert((int)FLOW_KIND_ECHO == (int)ACL_CLASS_ICMP_ECHO, "one numbering");
static_assert((int)DP_BURST_MAX <= (int)FLOW_BURST_MAX, "one lookup per burst");

void judge_run(struct judge *j, uint64_t now)
{
	const struct acl_set *sets[DP_BURST_MAX];

	if (j->n == 0)
		return;
	for (unsigned i = 0; i < j->n; i++)
		sets[i] = j->policy[i] != NULL ? j->policy[i]->set : NULL;
	acl_classify_burst(sets, j->key, j->verdict, j->n);
	for (unsigned i = 0; i < j->n; i++) {
		if (j->policy[i] != NULL && j->policy[i]->set != NULL)
			j->verdict[i] =
				acl_policy_settle(j->policy[i], &j->key[i], j->verdict[i], now);
	}
}

void judge_note(struct flow *f, const struct acl_policy *policy, uint16_t ordinal)
{
	f->policy_generation = policy->generation;
	f->expires_tsc = policy->expires_tsc[ordinal];
	f->ordinal = ordinal;
}

static inline void
inside_key(struct flow_inside *key, uint32_t slot, const struct ip_view *view, const uint8_t *ip)
{
	*key = (struct flow_inside){
		.slot = slot,
		.family = view->family,
		.kind = view->class_ <= ACL_CLASS_ICMP_ECHO ? view->class_ : FLOW_KIND_OTHER,
		.proto = view->proto,
		.sport = view->sport,
		.dport = view->class_ == ACL_CLASS_ICMP_ECHO ? 0 : view->dport,
	};
	ip_addr_copy(key->dst, view->family, ip_view_dst(view, ip));
}

// What the rewrite adds to each checksum, outwards; nat_in takes the complement.
static void flow_deltas_set(struct flow *f, const struct client *c)
{
	bool is_v4 = f->family == IP_FAMILY_V4;
	unsigned words = is_v4 ? 2 : 8;
	uint16_t l3 = csum_delta_words(0, is_v4 ? c->v4 : c->v6, f->lan, words);
	uint16_t l4 = 0;

	l3 = csum_delta_words(l3, f->dst, f->remote, words);
	// The pseudo header is part of TCP, UDP and ICMPv6 checksums, not of ICMP's.
	if (f->kind == FLOW_KIND_TCP || f->kind == FLOW_KIND_UDP || f->proto == IPPROTO_ICMPV6)
		l4 = l3;
	if (f->kind != FLOW_KIND_OTHER)
		l4 = csum_delta_words(l4, &f->sport, &f->nat_port, 1);
	f->l3_delta = l3;
	f->l4_delta = l4;
}

// The addresses that clients have on the port of @p adj; NULL: the one that the kernel would take.
static const struct flow_nat_pool *
nat_pool(const struct worker *w, const struct fib_adj *adj, uint8_t family)
{
	const struct port *port = adj->port_id < RTE_MAX_ETHPORTS ? w->tx[adj->port_id].port : NULL;
	const struct flow_nat_pool *pool;

	if (port == NULL)
		return NULL;
	pool = family == IP_FAMILY_V4 ? &port->nat_v4 : &port->nat_v6;
	return pool->n > 0 ? pool : NULL;
}

static struct flow *classify_create(
	struct worker *w,
	struct client *c,
	struct rte_mbuf *m,
	const struct flow_inside *key)
{
	struct ip_addr dst = {.family = key->family};
	const struct flow_nat_pool *pool;
	struct fib_adj adj;
	struct flow *f;

	memcpy(dst.bytes, key->dst, sizeof(dst.bytes));
	switch (forward_lookup(w, &dst, &adj)) {
	case FIB_NO_ROUTE:
		icmp_error_to_client(w, c, m, ICMP_ANSWER_NETWORK, DROP_no_route);
		return NULL;
	case FIB_LOCAL:
		// Allowed to reach the gateway's own address: the host answers (spec/datapath.md 8.2).
		punt_client(w, DP_PUNT_TUN, c, m);
		return NULL;
	case FIB_FORWARD:
	case FIB_RESOLVE:
	case FIB_FAILED:
		break;
	}
	pool = nat_pool(w, &adj, key->family);
	if (pool != NULL) {
		f = flow_create_pooled(w->flows, key, pool, key->dst, w->flow_tick);
	} else if (adj.source.family == key->family) {
		f = flow_create(w->flows, key, adj.source.bytes, key->dst, w->flow_tick);
	} else {
		worker_drop(w, m, DROP_no_source);
		return NULL;
	}
	if (f != NULL) {
		flow_deltas_set(f, c);
		return f;
	}
	icmp_error_to_client(
		w,
		c,
		m,
		ICMP_ANSWER_NETWORK,
		errno == EADDRNOTAVAIL ? DROP_nat_ports_full : DROP_flow_table_full);
	return NULL;
}

struct classify_batch {
	unsigned n;
	uint8_t place[DP_BURST_MAX];
	struct flow_inside key[DP_BURST_MAX];
	struct flow *flow[DP_BURST_MAX];
	// Positions in the arrays above that need a judgement.
	struct judge judge;
	uint8_t judged[DP_BURST_MAX];
};

static void classify_lookup(struct worker *w, struct burst *b, struct classify_batch *batch)
{
	batch->n = 0;
	BURST_FOREACH(b, i) {
		batch->place[batch->n] = (uint8_t)i;
		inside_key(
			&batch->key[batch->n++],
			worker_slot(w, b->client[i]),
			&b->ip[i],
			rte_pktmbuf_mtod(b->pkt[i], const uint8_t *));
	}
	flow_inside_lookup_burst(w->flows, batch->key, batch->flow, batch->n);
}

static void judge_push(
	struct judge *j,
	const struct acl_policy *policy,
	const struct ip_view *view,
	const uint8_t *addr)
{
	struct acl_key *key = &j->key[j->n];
	bool has_port = view->class_ == ACL_CLASS_TCP || view->class_ == ACL_CLASS_UDP;

	*key = (struct acl_key){
		.class_ = view->class_,
		.family = view->family,
		.port = has_port ? rte_be_to_cpu_16(view->dport) : 0,
	};
	memcpy(key->addr, addr, view->family == IP_FAMILY_V4 ? 4 : 16);
	j->policy[j->n++] = policy;
}

// Acts on one verdict. @return the flow, or NULL if the packet is gone
static struct flow *
classify_verdict(struct worker *w, struct burst *b, const struct classify_batch *batch, unsigned j)
{
	unsigned at = batch->judged[j];
	uint16_t i = batch->place[at];
	uint16_t verdict = batch->judge.verdict[j];
	struct flow *f = batch->flow[at];

	if (verdict == ACL_VERDICT_PROHIBITED) {
		icmp_error_to_client(
			w, b->client[i], b->pkt[i], ICMP_ANSWER_PROHIBITED, DROP_policy_prohibited);
		return NULL;
	}
	if (verdict == ACL_VERDICT_UNREACHABLE) {
		icmp_error_to_client(
			w, b->client[i], b->pkt[i], ICMP_ANSWER_NETWORK, DROP_policy_unreachable);
		return NULL;
	}
	// What does not go on must leave no flow behind: it would hold a port or an address pair.
	if (f == NULL && !nat_out_check(w, b, i))
		return NULL;
	// flow_create() finds what an earlier packet of this burst made.
	if (f == NULL)
		f = classify_create(w, b->client[i], b->pkt[i], &batch->key[at]);
	if (f != NULL)
		judge_note(f, batch->judge.policy[j], verdict);
	return f;
}

void stage_classify(struct worker *w, struct burst *b)
{
	struct classify_batch batch;
	uint16_t kept = 0;

	classify_lookup(w, b, &batch);
	batch.judge.n = 0;
	for (unsigned at = 0; at < batch.n; at++) {
		uint16_t i = batch.place[at];
		uint32_t generation = worker_policy_generation(w, b->client[i]);
		struct flow *f = batch.flow[at];

		b->flow[i] = f;
		if (likely(f != NULL && judge_is_fresh(f, generation, w->now)))
			continue;
		batch.judged[batch.judge.n] = (uint8_t)at;
		judge_push(
			&batch.judge,
			worker_policy(w, b->client[i]),
			&b->ip[i],
			ip_view_dst(&b->ip[i], rte_pktmbuf_mtod(b->pkt[i], const uint8_t *)));
	}
	judge_run(&batch.judge, w->now);
	for (unsigned j = 0; j < batch.judge.n; j++)
		b->flow[batch.place[batch.judged[j]]] = classify_verdict(w, b, &batch, j);
	BURST_FOREACH(b, i)
		if (b->flow[i] != NULL)
			b->live[kept++] = (uint8_t)i;
	b->n_live = kept;
}

void stage_up_tail(struct worker *w, struct burst *b)
{
	stage_classify(w, b);
	PROBE(w, classify);
	stage_nat_out_check(w, b);
	PROBE(w, checksums);
	stage_route(w, b);
	PROBE(w, route);
	stage_nat_out(w, b);
	PROBE(w, nat_out);
	stage_forward(w, b);
	PROBE(w, forward);
}
