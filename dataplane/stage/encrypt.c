// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "control/path/turn_channel.h"
#include "dataplane/port/port.h"
#include "dataplane/stage/checksum.h"
#include "dataplane/stage/stage.h"
#include "dataplane/worker/session.h"

#include <rte_ether.h>
#include <rte_ip.h>
#include <rte_udp.h>

#include <string.h>

enum {
	DATA_HEADER = sizeof(struct noise_msg_data),
	OUTER_V4_SIZE =
		RTE_ETHER_HDR_LEN + sizeof(struct rte_ipv4_hdr) + sizeof(struct rte_udp_hdr),
	OUTER_V6_SIZE =
		RTE_ETHER_HDR_LEN + sizeof(struct rte_ipv6_hdr) + sizeof(struct rte_udp_hdr),
};

// The whole outer header fits in front of any inner packet (design 4).
static_assert(
	RTE_PKTMBUF_HEADROOM >= RTE_ETHER_HDR_LEN + sizeof(struct rte_ipv6_hdr)
			+ sizeof(struct rte_udp_hdr) + TURN_CHANNEL_HEADER_SIZE + DATA_HEADER,
	"headroom");

struct seal_job {
	struct rte_mbuf *m;
	struct client *client;
	struct keypair *keypair;
	uint16_t size; // of the inner packet
	uint8_t ecn;
};

struct seal_batch {
	unsigned n;
	struct seal_job job[DP_BURST_MAX];
	struct aead_op op[DP_BURST_MAX];
};

void seal_push(struct worker *w, struct client *c, struct rte_mbuf *m)
{
	struct seal_queue *q = &w->seal;

	q->pkt[q->n] = m;
	q->client[q->n] = c;
	client_prefetch_seal(c);
	// Where the outer headers go.
	rte_prefetch0(rte_pktmbuf_mtod_offset(m, uint8_t *, -RTE_CACHE_LINE_SIZE));
	if (++q->n == DP_BURST_MAX)
		stage_encrypt(w);
}

// ECN of the inner packet goes outside (spec/datapath.md 5.3); keepalives have none.
static uint8_t inner_ecn(const struct rte_mbuf *m)
{
	const uint8_t *ip = rte_pktmbuf_mtod(m, const uint8_t *);

	if (m->data_len < 2)
		return 0;
	return (ip[0] >> 4 == 4 ? ip[1] : ip[1] >> 4) & 3;
}

// Writes header and room for the tag. @return DROP_REASON_COUNT if it may be encrypted
static enum drop_reason
seal_prepare(struct worker *w, struct client *c, struct rte_mbuf *m, struct seal_job *job)
{
	struct keypair *k = client_keypair(c, CLIENT_ROLE_CURRENT);
	struct noise_msg_data *msg;

	if (unlikely(k == NULL))
		return DROP_wg_no_keypair;
	if (unlikely(session_is_over(w, k)))
		return DROP_wg_expired;
	if (unlikely(c->path.size == 0))
		return DROP_wg_no_path;
	if (unlikely(m->nb_segs > 1 || m->data_len > DP_INNER_SIZE_MAX))
		return DROP_inject_bad;
	*job = (struct seal_job){
		.m = m,
		.client = c,
		.keypair = k,
		.size = m->data_len,
		.ecn = inner_ecn(m),
	};
	msg = (void *)rte_pktmbuf_prepend(m, DATA_HEADER);
	if (unlikely(msg == NULL || rte_pktmbuf_append(m, NOISE_TAG_SIZE) == NULL))
		return DROP_inject_bad;
	*msg = (struct noise_msg_data){
		.type = noise_le32_make(NOISE_MSG_DATA),
		.receiver_index = noise_le32_make(k->remote_index),
		.counter = noise_le64_make(k->send_counter),
	};
	return DROP_REASON_COUNT;
}

static void seal_pass1(struct worker *w, struct seal_batch *batch)
{
	struct seal_queue *q = &w->seal;

	batch->n = 0;
	for (unsigned i = 0; i < q->n; i++) {
		struct seal_job *job = &batch->job[batch->n];
		enum drop_reason reason = seal_prepare(w, q->client[i], q->pkt[i], job);

		if (unlikely(reason != DROP_REASON_COUNT)) {
			worker_drop(w, q->pkt[i], reason);
			continue;
		}
		batch->op[batch->n++] = (struct aead_op){
			.data = rte_pktmbuf_mtod_offset(job->m, uint8_t *, DATA_HEADER),
			.size = job->size,
			.key = job->keypair->send_key,
			.counter = job->keypair->send_counter++,
		};
	}
	// Before pass 3: it may queue again.
	q->n = 0;
}

static void
v4_outer_finish(const struct client_path *p, uint8_t *l3, uint32_t udp_size, uint8_t ecn)
{
	struct rte_ipv4_hdr *ip = (void *)l3;
	uint16_t total = rte_cpu_to_be_16((uint16_t)(sizeof(*ip) + udp_size));

	ip->type_of_service = ecn;
	ip->total_length = total;
	ip->hdr_checksum =
		(uint16_t)~csum_fold((uint32_t)p->ip_sum + total + rte_cpu_to_be_16(ecn));
	// The UDP checksum stays 0, "not computed": the tag proves more.
}

// IPv6 receivers refuse a UDP checksum of 0 (RFC 8200 8.1).
static void v6_outer_finish(
	const struct client_path *p,
	struct rte_mbuf *m,
	uint8_t *l3,
	uint32_t udp_size,
	uint8_t ecn)
{
	struct rte_ipv6_hdr *ip = (void *)l3;
	struct rte_udp_hdr *udp = (void *)(l3 + sizeof(*ip));
	uint16_t be_size = rte_cpu_to_be_16((uint16_t)udp_size);
	uint16_t sum = csum_fold((uint32_t)p->ip_sum + be_size);

	ip->payload_len = be_size;
	l3[1] |= (uint8_t)(ecn << 4);
	if (p->has_tx_udp_cksum) {
		udp->dgram_cksum = sum;
		m->l2_len = RTE_ETHER_HDR_LEN;
		m->l3_len = sizeof(*ip);
		m->ol_flags |= RTE_MBUF_F_TX_IPV6 | RTE_MBUF_F_TX_UDP_CKSUM;
		return;
	}
	sum = (uint16_t)~csum_fold((uint32_t)sum + csum_sum(udp, udp_size));
	udp->dgram_cksum = sum != 0 ? sum : 0xffff;
}

static void outer_write(const struct client_path *p, struct rte_mbuf *m, uint8_t ecn)
{
	uint32_t udp_size = m->data_len + (uint32_t)(p->size - RTE_ETHER_HDR_LEN - p->l3_size);
	uint16_t be_size = rte_cpu_to_be_16(m->data_len);
	uint8_t *out = (uint8_t *)rte_pktmbuf_prepend(m, p->size);
	uint8_t *l3 = out + RTE_ETHER_HDR_LEN;
	struct rte_udp_hdr *udp = (void *)(l3 + p->l3_size);

	// Of a size that the compiler knows.
	if (p->l3_size == sizeof(struct rte_ipv4_hdr))
		memcpy(out, p->header, OUTER_V4_SIZE);
	else
		memcpy(out, p->header, OUTER_V6_SIZE);
	if (unlikely(p->is_relayed)) {
		memcpy(out + p->size - TURN_CHANNEL_HEADER_SIZE,
		       p->header + p->size - TURN_CHANNEL_HEADER_SIZE,
		       sizeof(be_size));
		memcpy(out + p->size - sizeof(be_size), &be_size, sizeof(be_size));
	}
	udp->dgram_len = rte_cpu_to_be_16((uint16_t)udp_size);
	m->ol_flags = 0;
	if (p->l3_size == sizeof(struct rte_ipv4_hdr))
		v4_outer_finish(p, l3, udp_size, ecn);
	else
		v6_outer_finish(p, m, l3, udp_size, ecn);
}

// Brings the cached adjacency up to the current FIB. @return whether the path can be sent on
static bool path_resolve(struct worker *w, struct client_path *p)
{
	struct rte_ether_hdr *eth = (void *)p->header;
	struct fib_adj adj;

	if (likely(p->is_resolved && p->fib_generation == w->fib_generation))
		return true;
	p->is_resolved = false;
	p->has_tx_udp_cksum = false;
	if (forward_lookup(w, &p->remote, &adj) != FIB_FORWARD)
		return false;
	memcpy(eth->dst_addr.addr_bytes, adj.dst_mac, 6);
	memcpy(eth->src_addr.addr_bytes, w->tx[adj.port_id].port->mac, 6);
	p->port_id = adj.port_id;
	p->has_tx_udp_cksum = w->tx[adj.port_id].port->has_tx_udp_cksum;
	p->fib_generation = w->fib_generation;
	p->is_resolved = true;
	return true;
}

static void seal_pass3(struct worker *w, const struct seal_batch *batch)
{
	for (unsigned j = 0; j < batch->n; j++) {
		const struct seal_job *job = &batch->job[j];
		struct client *c = job->client;
		bool is_resolved = path_resolve(w, &c->path);

		stat_add(&w->stats.encrypted, 1);
		session_sent(w, c, job->keypair, job->size);
		outer_write(&c->path, job->m, job->ecn);
		if (likely(is_resolved)) {
			worker_tx(w, c->path.port_id, job->m);
			continue;
		}
		// Routed like any packet of ours: held, or dropped with the reason.
		rte_pktmbuf_adj(job->m, RTE_ETHER_HDR_LEN);
		forward_outer(w, job->m);
	}
}

void stage_encrypt(struct worker *w)
{
	struct seal_batch batch;

	if (w->seal.n == 0)
		return;
	PROBE(w, nat_in);
	seal_pass1(w, &batch);
	PROBE(w, seal_prepare);
	if (batch.n > 0)
		aead_seal_burst(w->aead, batch.op, batch.n);
	PROBE(w, seal_aead);
	seal_pass3(w, &batch);
	PROBE(w, seal_finish);
}
