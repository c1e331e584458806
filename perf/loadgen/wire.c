// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "perf/loadgen/loadgen.h"

#include <rte_arp.h>
#include <rte_ethdev.h>
#include <rte_ether.h>
#include <rte_ip.h>
#include <rte_udp.h>

#include <string.h>
#include <time.h>

uint64_t lg_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * NOISE_S_NS + (uint64_t)ts.tv_nsec;
}

static uint32_t router(enum lg_port port)
{
	return port == LG_WAN ? LG_WAN_ROUTER : LG_LAN_ROUTER;
}

static uint32_t gateway(enum lg_port port)
{
	return port == LG_WAN ? LG_WAN_GATEWAY : LG_LAN_GATEWAY;
}

static void frame_send(struct loadgen *g, enum lg_port port, struct rte_mbuf *m)
{
	if (rte_eth_tx_burst(g->port[port], 0, &m, 1) != 1)
		rte_pktmbuf_free(m);
}

static void arp_send(
	struct loadgen *g,
	enum lg_port port,
	uint16_t opcode,
	const uint8_t dst_mac[6],
	uint32_t dst)
{
	struct rte_mbuf *m = rte_pktmbuf_alloc(g->pool);
	struct rte_ether_hdr *eth;
	struct rte_arp_hdr *arp;

	if (m == NULL)
		return;
	eth = (struct rte_ether_hdr *)lg_frame(m, 60);
	memset(eth, 0, 60);
	arp = (struct rte_arp_hdr *)(eth + 1);
	memcpy(&eth->dst_addr, dst_mac, 6);
	memcpy(&eth->src_addr, g->mac[port], 6);
	eth->ether_type = RTE_BE16(RTE_ETHER_TYPE_ARP);
	arp->arp_hardware = RTE_BE16(RTE_ARP_HRD_ETHER);
	arp->arp_protocol = RTE_BE16(RTE_ETHER_TYPE_IPV4);
	arp->arp_hlen = 6;
	arp->arp_plen = 4;
	arp->arp_opcode = rte_cpu_to_be_16(opcode);
	memcpy(&arp->arp_data.arp_sha, g->mac[port], 6);
	arp->arp_data.arp_sip = rte_cpu_to_be_32(router(port));
	memcpy(&arp->arp_data.arp_tha, dst_mac, 6);
	arp->arp_data.arp_tip = rte_cpu_to_be_32(dst);
	frame_send(g, port, m);
}

void lg_arp_handle(struct loadgen *g, enum lg_port port, const uint8_t *frame, size_t size)
{
	struct rte_arp_hdr arp;
	uint32_t from;

	if (size < sizeof(struct rte_ether_hdr) + sizeof(arp))
		return;
	memcpy(&arp, frame + sizeof(struct rte_ether_hdr), sizeof(arp));
	from = rte_be_to_cpu_32(arp.arp_data.arp_sip);
	if (from == gateway(port)) {
		memcpy(g->peer_mac[port], &arp.arp_data.arp_sha, 6);
		g->has_peer_mac[port] = true;
	}
	if (arp.arp_opcode == RTE_BE16(RTE_ARP_OP_REQUEST)
	    && rte_be_to_cpu_32(arp.arp_data.arp_tip) == router(port))
		arp_send(g, port, RTE_ARP_OP_REPLY, arp.arp_data.arp_sha.addr_bytes, from);
}

bool lg_arp_resolve(struct loadgen *g, double timeout_s)
{
	static const uint8_t broadcast[6] = {255, 255, 255, 255, 255, 255};
	uint64_t deadline = lg_now_ns() + (uint64_t)(timeout_s * 1e9);
	uint64_t next = 0;

	while (!g->has_peer_mac[LG_WAN] || !g->has_peer_mac[LG_LAN]) {
		uint64_t now = lg_now_ns();

		if (now > deadline)
			return false;
		if (now >= next) {
			for (unsigned p = 0; p < LG_PORTS; p++)
				arp_send(g, p, RTE_ARP_OP_REQUEST, broadcast, gateway(p));
			next = now + 200 * NOISE_MS_NS;
		}
		lg_receive(g);
	}
	return true;
}

void lg_headers_write(
	const struct loadgen *g,
	enum lg_port port,
	uint8_t *frame,
	uint32_t src,
	uint32_t dst,
	uint16_t src_port,
	uint16_t dst_port,
	size_t size)
{
	struct rte_ether_hdr *eth = (struct rte_ether_hdr *)frame;
	struct rte_ipv4_hdr *ip = (struct rte_ipv4_hdr *)(eth + 1);
	struct rte_udp_hdr *udp = (struct rte_udp_hdr *)(ip + 1);

	memcpy(&eth->dst_addr, g->peer_mac[port], 6);
	memcpy(&eth->src_addr, g->mac[port], 6);
	eth->ether_type = RTE_BE16(RTE_ETHER_TYPE_IPV4);
	*ip = (struct rte_ipv4_hdr){
		.version_ihl = RTE_IPV4_VHL_DEF,
		.total_length = rte_cpu_to_be_16((uint16_t)(size + 28)),
		.time_to_live = 64,
		.next_proto_id = 17,
		.src_addr = rte_cpu_to_be_32(src),
		.dst_addr = rte_cpu_to_be_32(dst),
	};
	ip->hdr_checksum = rte_ipv4_cksum(ip);
	*udp = (struct rte_udp_hdr){
		.src_port = rte_cpu_to_be_16(src_port),
		.dst_port = rte_cpu_to_be_16(dst_port),
		.dgram_len = rte_cpu_to_be_16((uint16_t)(size + 8)),
	};
}

void lg_client_send(struct loadgen *g, unsigned client, const void *payload, size_t size)
{
	struct rte_mbuf *m = rte_pktmbuf_alloc(g->pool);
	uint8_t *frame;

	if (m == NULL)
		return;
	frame = lg_frame(m, 42 + size);
	lg_headers_write(
		g,
		LG_WAN,
		frame,
		LG_CLIENTS + 1 + client,
		LG_WAN_GATEWAY,
		LG_CLIENT_PORT,
		LG_GATEWAY_PORT,
		size);
	memcpy(frame + 42, payload, size);
	frame_send(g, LG_WAN, m);
}
