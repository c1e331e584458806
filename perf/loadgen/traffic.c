// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "perf/loadgen/loadgen.h"

#include <rte_cycles.h>
#include <rte_ethdev.h>
#include <rte_ether.h>
#include <rte_ip.h>
#include <rte_udp.h>

#include <string.h>

enum {
	MAGIC = 0x53504c47,
	L4_CHECK_MASK = 15, // UDP checksums are looked at in one packet of 16
	PRIME_S = 30, // a gateway that others keep off its core takes its time
	PRIME_PAUSE_MS = 20,
};

static uint32_t random_next(struct loadgen *g)
{
	g->random ^= g->random << 13;
	g->random ^= g->random >> 17;
	g->random ^= g->random << 5;
	return g->random;
}

void lg_plan_set(struct loadgen *g, const struct lg_plan *plan)
{
	g->plan = *plan;
	memset(g->filler, 0xa5, sizeof(g->filler));
	g->filler_sum = rte_raw_cksum(g->filler, plan->size - LG_SIZE_MIN);
}

static uint32_t flow_count(const struct loadgen *g)
{
	return g->opt.n_clients * g->opt.n_flows;
}

static uint32_t flow_pick(struct loadgen *g)
{
	return (uint32_t)((uint64_t)random_next(g) * flow_count(g) >> 32);
}

static uint32_t server_of(uint32_t flow)
{
	return LG_LAN_SERVERS + 1 + flow % LG_SERVERS;
}

static uint32_t tunnel_addr(const struct loadgen *g, uint32_t flow)
{
	return LG_TUNNEL_CLIENTS + 1 + flow / g->opt.n_flows;
}

static uint16_t flow_port(const struct loadgen *g, uint32_t flow)
{
	return (uint16_t)(20000 + flow % g->opt.n_flows);
}

// The whole IP packet with right checksums. Addresses in wire order.
static void inner_write(
	struct loadgen *g,
	uint8_t *p,
	uint32_t src,
	uint32_t dst,
	uint16_t src_port,
	uint16_t dst_port,
	uint32_t flow,
	enum lg_direction direction)
{
	uint16_t size = (uint16_t)g->plan.size;
	struct rte_ipv4_hdr *ip = (struct rte_ipv4_hdr *)p;
	struct rte_udp_hdr *udp = (struct rte_udp_hdr *)(ip + 1);
	struct lg_payload payload = {
		.magic = MAGIC,
		.flow = flow,
		.seq = ++g->flows[flow].seq[direction],
		.sent_tsc = rte_rdtsc(),
		.trial = g->trial_number,
		.direction = direction,
	};
	uint32_t sum;

	memcpy(p, g->filler, size);
	*ip = (struct rte_ipv4_hdr){
		.version_ihl = RTE_IPV4_VHL_DEF,
		.total_length = rte_cpu_to_be_16(size),
		.time_to_live = 64,
		.next_proto_id = 17,
		.src_addr = src,
		.dst_addr = dst,
	};
	ip->hdr_checksum = rte_ipv4_cksum(ip);
	*udp = (struct rte_udp_hdr){
		.src_port = src_port,
		.dst_port = dst_port,
		.dgram_len = rte_cpu_to_be_16((uint16_t)(size - sizeof(*ip))),
	};
	memcpy(udp + 1, &payload, sizeof(payload));
	sum = g->filler_sum;
	sum += rte_ipv4_phdr_cksum(ip, 0);
	sum += rte_raw_cksum(udp, sizeof(*udp) + sizeof(payload));
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	udp->dgram_cksum = sum == 0xffff ? 0xffff : (uint16_t)~sum;
}

static void queue_send(
	struct loadgen *g,
	enum lg_port port,
	uint16_t queue,
	struct rte_mbuf **pkts,
	unsigned n,
	enum lg_direction direction)
{
	unsigned sent = rte_eth_tx_burst(g->port[port], queue, pkts, (uint16_t)n);

	if (sent < n)
		rte_pktmbuf_free_bulk(pkts + sent, n - sent);
	if (g->trial != NULL) {
		g->trial->sent[direction] += n;
		g->trial->refused += n - sent;
	}
}

// A client's packets take one queue each way, so that a flow stays in order; which one is none of the
// gateway's choice.
static void burst_send(
	struct loadgen *g,
	enum lg_port port,
	struct rte_mbuf **pkts,
	const uint32_t *flows,
	unsigned n,
	enum lg_direction direction)
{
	struct rte_mbuf *of_queue[LG_BURST];

	if (g->opt.n_queues == 1) {
		queue_send(g, port, 0, pkts, n, direction);
		return;
	}
	for (uint16_t q = 0; q < g->opt.n_queues; q++) {
		unsigned m = 0;

		for (unsigned i = 0; i < n; i++)
			if (flows[i] / g->opt.n_flows % g->opt.n_queues == q)
				of_queue[m++] = pkts[i];
		if (m > 0)
			queue_send(g, port, q, of_queue, m, direction);
	}
}

static void up_write(struct loadgen *g, struct rte_mbuf *m, uint32_t flow, struct aead_op *op)
{
	uint32_t number = flow / g->opt.n_flows;
	struct lg_client *c = &g->clients[number];
	uint32_t size = g->plan.size;
	struct noise_msg_data head = {
		.type = noise_le32_make(NOISE_MSG_DATA),
		.receiver_index = noise_le32_make(c->keys.remote_index),
		.counter = noise_le64_make(c->counter),
	};
	uint8_t *frame = lg_frame(m, LG_OUTER_HEADERS + size + NOISE_TAG_SIZE);

	lg_headers_write(
		g,
		LG_WAN,
		frame,
		LG_CLIENTS + 1 + number,
		LG_WAN_GATEWAY,
		LG_CLIENT_PORT,
		LG_GATEWAY_PORT,
		sizeof(head) + size + NOISE_TAG_SIZE);
	memcpy(frame + 42, &head, sizeof(head));
	inner_write(
		g,
		frame + LG_OUTER_HEADERS,
		rte_cpu_to_be_32(tunnel_addr(g, flow)),
		rte_cpu_to_be_32(server_of(flow)),
		rte_cpu_to_be_16(flow_port(g, flow)),
		RTE_BE16(LG_SERVER_PORT),
		flow,
		LG_UP);
	*op = (struct aead_op){
		.data = frame + LG_OUTER_HEADERS,
		.size = size,
		.key = c->keys.send_key,
		.counter = c->counter++,
	};
}

static void up_send(struct loadgen *g, const uint32_t *flows, unsigned n)
{
	struct rte_mbuf *pkts[LG_BURST];
	struct aead_op ops[LG_BURST];

	if (rte_pktmbuf_alloc_bulk(g->pool, pkts, n) != 0)
		return;
	for (unsigned i = 0; i < n; i++)
		up_write(g, pkts[i], flows[i], &ops[i]);
	aead_seal_burst(g->aead, ops, n);
	burst_send(g, LG_WAN, pkts, flows, n, LG_UP);
}

static void down_send(struct loadgen *g, const uint32_t *flows, unsigned n)
{
	struct rte_mbuf *pkts[LG_BURST];

	if (rte_pktmbuf_alloc_bulk(g->pool, pkts, n) != 0)
		return;
	for (unsigned i = 0; i < n; i++) {
		const struct lg_flow *f = &g->flows[flows[i]];
		uint8_t *frame = lg_frame(pkts[i], 14 + g->plan.size);
		struct rte_ether_hdr *eth = (struct rte_ether_hdr *)frame;

		memcpy(&eth->dst_addr, g->peer_mac[LG_LAN], 6);
		memcpy(&eth->src_addr, g->mac[LG_LAN], 6);
		eth->ether_type = RTE_BE16(RTE_ETHER_TYPE_IPV4);
		inner_write(
			g,
			frame + 14,
			rte_cpu_to_be_32(server_of(flows[i])),
			f->nat_addr,
			RTE_BE16(LG_SERVER_PORT),
			f->nat_port,
			flows[i],
			LG_DOWN);
	}
	burst_send(g, LG_LAN, pkts, flows, n, LG_DOWN);
}

static bool udp_is_ok(const struct rte_ipv4_hdr *ip)
{
	uint32_t sum = rte_ipv4_phdr_cksum(ip, 0);

	sum += rte_raw_cksum(ip + 1, rte_be_to_cpu_16(ip->total_length) - sizeof(*ip));
	sum = (sum & 0xffff) + (sum >> 16);
	return sum == 0xffff;
}

// An IP packet that went through the SUT, complete and decrypted. @return its flow, or NULL
static struct lg_flow *
packet_count(struct loadgen *g, const uint8_t *p, size_t size, enum lg_direction direction)
{
	const struct rte_ipv4_hdr *ip = (const struct rte_ipv4_hdr *)p;
	struct lg_payload payload;
	struct lg_flow *f;

	if (size < LG_SIZE_MIN || p[0] != 0x45 || ip->next_proto_id != 17) {
		g->other++;
		return NULL;
	}
	memcpy(&payload, p + LG_INNER_HEADERS, sizeof(payload));
	if (payload.magic != MAGIC || payload.flow >= flow_count(g)
	    || payload.direction != direction) {
		g->other++;
		return NULL;
	}
	f = &g->flows[payload.flow];
	if (g->trial == NULL || payload.trial != g->trial_number)
		return f;
	if (size != g->plan.size || rte_ipv4_cksum(ip) != 0
	    || ((payload.seq & L4_CHECK_MASK) == 0 && !udp_is_ok(ip))) {
		g->trial->bad++;
		return f;
	}
	if (payload.seq == f->seen[direction])
		g->trial->duplicated++;
	else if (payload.seq < f->seen[direction])
		g->trial->reordered++;
	else
		f->seen[direction] = payload.seq;
	lg_trial_count(g->trial, direction, rte_rdtsc() - payload.sent_tsc);
	return f;
}

static void lan_handle(struct loadgen *g, const uint8_t *frame, size_t size)
{
	const struct rte_ipv4_hdr *ip = (const struct rte_ipv4_hdr *)(frame + 14);
	const struct rte_udp_hdr *udp = (const struct rte_udp_hdr *)(frame + 34);
	struct lg_flow *f;

	// Ethernet pads short frames.
	if (size > 34 && rte_be_to_cpu_16(ip->total_length) <= size - 14)
		size = rte_be_to_cpu_16(ip->total_length) + 14u;
	f = packet_count(g, frame + 14, size - 14, LG_UP);
	if (f == NULL || (f->nat_addr == ip->src_addr && f->nat_port == udp->src_port))
		return;
	f->nat_addr = ip->src_addr;
	f->nat_port = udp->src_port;
}

// @return whether the frame is a data message with an operation in @p op
static bool wan_handle(struct loadgen *g, uint8_t *frame, size_t size, struct aead_op *op)
{
	struct noise_msg_data head;
	const struct rte_udp_hdr *udp = (const struct rte_udp_hdr *)(frame + 34);
	struct lg_client *c;
	uint32_t index;

	if (size < 42 + 32 || frame[14] != 0x45 || frame[23] != 17
	    || rte_be_to_cpu_16(udp->dgram_len) > size - 34) {
		g->other++;
		return false;
	}
	size = rte_be_to_cpu_16(udp->dgram_len) - 8u;
	memcpy(&head, frame + 42, sizeof(head));
	if (noise_le32_get(head.type) != NOISE_MSG_DATA) {
		lg_session_handle(g, frame + 42, size);
		return false;
	}
	index = noise_le32_get(head.receiver_index);
	c = index >> 8 < g->opt.n_clients ? &g->clients[index >> 8] : NULL;
	if (c == NULL || !c->has_keys || c->keys.local_index != index) {
		g->other++;
		return false;
	}
	*op = (struct aead_op){
		.data = frame + 42 + sizeof(head),
		.size = (uint32_t)(size - sizeof(head)),
		.key = c->keys.recv_key,
		.counter = noise_le64_get(head.counter),
	};
	return true;
}

static unsigned queue_receive(struct loadgen *g, enum lg_port port, uint16_t queue)
{
	struct rte_mbuf *pkts[LG_BURST];
	struct aead_op ops[LG_BURST];
	unsigned n = rte_eth_rx_burst(g->port[port], queue, pkts, LG_BURST);
	unsigned n_ops = 0;

	for (unsigned i = 0; i < n; i++) {
		uint8_t *frame = rte_pktmbuf_mtod(pkts[i], uint8_t *);
		const struct rte_ether_hdr *eth = (const struct rte_ether_hdr *)frame;

		if (eth->ether_type == RTE_BE16(RTE_ETHER_TYPE_ARP))
			lg_arp_handle(g, port, frame, pkts[i]->data_len);
		else if (eth->ether_type != RTE_BE16(RTE_ETHER_TYPE_IPV4))
			g->other++;
		else if (port == LG_LAN)
			lan_handle(g, frame, pkts[i]->data_len);
		else if (wan_handle(g, frame, pkts[i]->data_len, &ops[n_ops]))
			n_ops++;
	}
	if (n_ops > 0)
		aead_open_burst(g->aead, ops, n_ops);
	for (unsigned i = 0; i < n_ops; i++) {
		if (!ops[i].is_ok)
			g->other++;
		else if (ops[i].size > NOISE_TAG_SIZE)
			packet_count(g, ops[i].data, ops[i].size - NOISE_TAG_SIZE, LG_DOWN);
	}
	rte_pktmbuf_free_bulk(pkts, n);
	return n;
}

unsigned lg_receive(struct loadgen *g)
{
	unsigned n = 0;

	for (uint16_t q = 0; q < g->opt.n_queues; q++)
		n += queue_receive(g, LG_WAN, q) + queue_receive(g, LG_LAN, q);
	return n;
}

static void receive_for(struct loadgen *g, unsigned ms)
{
	uint64_t end = rte_rdtsc() + g->tsc_hz / 1000 * ms;

	while (rte_rdtsc() < end)
		lg_receive(g);
}

unsigned lg_flows_prime(struct loadgen *g)
{
	uint64_t end = rte_rdtsc() + g->tsc_hz * PRIME_S;
	uint32_t list[LG_BURST];
	unsigned missing = flow_count(g);

	while (missing > 0 && rte_rdtsc() < end) {
		unsigned n = 0;

		missing = 0;
		for (uint32_t flow = 0; flow < flow_count(g); flow++) {
			if (g->flows[flow].nat_addr != 0)
				continue;
			missing++;
			list[n++] = flow;
			if (n < LG_BURST)
				continue;
			up_send(g, list, n);
			n = 0;
			rte_delay_us_block(100);
			lg_receive(g);
		}
		if (n > 0)
			up_send(g, list, n);
		receive_for(g, PRIME_PAUSE_MS);
	}
	return missing;
}

void lg_send(struct loadgen *g, unsigned n)
{
	uint32_t list[LG_BURST];

	for (unsigned i = 0; i < n; i++)
		list[i] = flow_pick(g);
	if (g->plan.direction & LG_UP)
		up_send(g, list, n);
	if (g->plan.direction & LG_DOWN)
		down_send(g, list, n);
}
