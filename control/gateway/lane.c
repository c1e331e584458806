// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "control/gateway/lane.h"

#include "control/base/err.h"
#include "control/base/log.h"

#include <rte_ip.h>
#include <rte_udp.h>

#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#define LOG_AREA "gateway.lane"

enum {
	LANE_PACKETS_MAX = 1024, // waiting, beyond the worker's own ring
	OUTER_TTL = 64,
};

struct lane_item {
	STAILQ_ENTRY(lane_item) next;
	struct rte_mbuf *mbuf; // NULL: a command
	struct dp_cmd cmd;
};

struct lane {
	struct dp *dp;
	STAILQ_HEAD(, lane_item) waiting;
	size_t n_waiting;
	size_t n_packets;
	uint64_t dropped;
};

struct lane *lane_create(struct dp *dp)
{
	struct lane *lane = calloc(1, sizeof(*lane));

	if (lane == NULL)
		return err_set_null(ENOMEM);
	lane->dp = dp;
	STAILQ_INIT(&lane->waiting);
	return lane;
}

static void item_free(struct lane_item *item)
{
	// Keypairs pass through here.
	explicit_bzero(item, sizeof(*item));
	free(item);
}

void lane_destroy(struct lane *lane)
{
	struct lane_item *item;

	if (lane == NULL)
		return;
	while ((item = STAILQ_FIRST(&lane->waiting)) != NULL) {
		STAILQ_REMOVE_HEAD(&lane->waiting, next);
		rte_pktmbuf_free(item->mbuf);
		if (item->mbuf == NULL && item->cmd.type == DP_CMD_CLIENT_DEL)
			rte_pktmbuf_free(item->cmd.client_del.mbuf);
		item_free(item);
	}
	free(lane);
}

static int item_offer(struct lane *lane, struct rte_mbuf *mbuf, const struct dp_cmd *cmd)
{
	return mbuf != NULL ? dp_inject(lane->dp, mbuf) : dp_cmd_send(lane->dp, cmd);
}

static struct lane_item *item_append(struct lane *lane)
{
	struct lane_item *item = calloc(1, sizeof(*item));

	if (item != NULL) {
		STAILQ_INSERT_TAIL(&lane->waiting, item, next);
		lane->n_waiting++;
	}
	return item;
}

void lane_command(struct lane *lane, const struct dp_cmd *cmd)
{
	struct lane_item *item;

	if (lane->n_waiting == 0 && item_offer(lane, NULL, cmd) == 0)
		return;
	item = item_append(lane);
	if (item == NULL) {
		LOG(ERR, "out of memory for a worker command type=%d", cmd->type);
		abort();
	}
	item->cmd = *cmd;
}

void lane_inject(struct lane *lane, struct rte_mbuf *m)
{
	struct lane_item *item;

	if (lane->n_waiting == 0 && item_offer(lane, m, NULL) == 0)
		return;
	item = lane->n_packets < LANE_PACKETS_MAX ? item_append(lane) : NULL;
	if (item == NULL) {
		rte_pktmbuf_free(m);
		lane->dropped++;
		return;
	}
	item->mbuf = m;
	lane->n_packets++;
}

size_t lane_flush(struct lane *lane)
{
	struct lane_item *item;

	while ((item = STAILQ_FIRST(&lane->waiting)) != NULL) {
		if (item_offer(lane, item->mbuf, &item->cmd) < 0)
			break;
		STAILQ_REMOVE_HEAD(&lane->waiting, next);
		lane->n_waiting--;
		if (item->mbuf != NULL)
			lane->n_packets--;
		item_free(item);
	}
	return lane->n_waiting;
}

uint64_t lane_dropped(const struct lane *lane)
{
	return lane->dropped;
}

// An mbuf from control's pool with @p size bytes appended, all of them uninitialised.
static struct rte_mbuf *mbuf_sized(struct lane *lane, size_t size, char **data)
{
	struct rte_mbuf *m = size <= UINT16_MAX ? dp_mbuf_alloc(lane->dp) : NULL;

	*data = m != NULL ? rte_pktmbuf_append(m, (uint16_t)size) : NULL;
	if (*data == NULL) {
		rte_pktmbuf_free(m);
		lane->dropped++;
		return NULL;
	}
	memset(rte_mbuf_to_priv(m), 0, sizeof(struct dp_meta));
	return m;
}

static void fill_ipv4(
	char *data,
	const struct ip_endpoint *local,
	const struct ip_endpoint *remote,
	size_t udp_size)
{
	struct rte_ipv4_hdr *ip = (struct rte_ipv4_hdr *)data;
	struct rte_udp_hdr *udp = (struct rte_udp_hdr *)(ip + 1);

	*ip = (struct rte_ipv4_hdr){
		.version_ihl = RTE_IPV4_VHL_DEF,
		.total_length = rte_cpu_to_be_16((uint16_t)(sizeof(*ip) + udp_size)),
		.fragment_offset = rte_cpu_to_be_16(RTE_IPV4_HDR_DF_FLAG),
		.time_to_live = OUTER_TTL,
		.next_proto_id = IPPROTO_UDP,
	};
	memcpy(&ip->src_addr, local->addr.bytes, 4);
	memcpy(&ip->dst_addr, remote->addr.bytes, 4);
	ip->hdr_checksum = rte_ipv4_cksum(ip);
	udp->dgram_cksum = rte_ipv4_udptcp_cksum(ip, udp);
}

static void fill_ipv6(
	char *data,
	const struct ip_endpoint *local,
	const struct ip_endpoint *remote,
	size_t udp_size)
{
	struct rte_ipv6_hdr *ip = (struct rte_ipv6_hdr *)data;
	struct rte_udp_hdr *udp = (struct rte_udp_hdr *)(ip + 1);

	*ip = (struct rte_ipv6_hdr){
		.vtc_flow = rte_cpu_to_be_32(6u << 28),
		.payload_len = rte_cpu_to_be_16((uint16_t)udp_size),
		.proto = IPPROTO_UDP,
		.hop_limits = OUTER_TTL,
	};
	memcpy(ip->src_addr, local->addr.bytes, 16);
	memcpy(ip->dst_addr, remote->addr.bytes, 16);
	udp->dgram_cksum = rte_ipv6_udptcp_cksum(ip, udp);
}

void lane_send_udp(
	struct lane *lane,
	const struct ip_endpoint *local,
	const struct ip_endpoint *remote,
	const void *payload,
	size_t size)
{
	bool is_v4 = remote->addr.family == IP_FAMILY_V4;
	size_t ip_size = is_v4 ? sizeof(struct rte_ipv4_hdr) : sizeof(struct rte_ipv6_hdr);
	size_t udp_size = sizeof(struct rte_udp_hdr) + size;
	struct rte_udp_hdr *udp;
	struct dp_meta *meta;
	struct rte_mbuf *m;
	char *data;

	if (local->addr.family != remote->addr.family || size > UINT16_MAX - 128)
		return;
	m = mbuf_sized(lane, ip_size + udp_size, &data);
	if (m == NULL)
		return;
	udp = (struct rte_udp_hdr *)(data + ip_size);
	udp->src_port = rte_cpu_to_be_16(local->port);
	udp->dst_port = rte_cpu_to_be_16(remote->port);
	udp->dgram_len = rte_cpu_to_be_16((uint16_t)udp_size);
	udp->dgram_cksum = 0;
	memcpy(udp + 1, payload, size);
	if (is_v4)
		fill_ipv4(data, local, remote, udp_size);
	else
		fill_ipv6(data, local, remote, udp_size);
	meta = rte_mbuf_to_priv(m);
	meta->kind = DP_INJECT_IP;
	lane_inject(lane, m);
}

struct rte_mbuf *lane_inner_mbuf(struct lane *lane, const void *packet, size_t size)
{
	struct rte_mbuf *m;
	char *data;

	m = mbuf_sized(lane, size, &data);
	if (m != NULL)
		memcpy(data, packet, size);
	return m;
}

void lane_send_inner(struct lane *lane, uint32_t slot, const void *packet, size_t size)
{
	struct rte_mbuf *m = lane_inner_mbuf(lane, packet, size);
	struct dp_meta *meta;

	if (m == NULL)
		return;
	meta = rte_mbuf_to_priv(m);
	meta->kind = DP_INJECT_CLIENT;
	meta->slot = slot;
	lane_inject(lane, m);
}
