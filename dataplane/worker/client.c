// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "dataplane/worker/client.h"

#include "control/path/turn_channel.h"

#include <rte_byteorder.h>
#include <rte_ether.h>
#include <rte_ip.h>
#include <rte_udp.h>
#include <sodium.h>

#include <string.h>

static void client_roles_reset(struct client *c)
{
	memset(c->role, CLIENT_KEYPAIR_NONE, sizeof(c->role));
}

void client_init(struct client *c, const struct ip_addr *v4, const struct ip_addr *v6)
{
	client_fini(c);
	memset(&c->stats, 0, sizeof(c->stats));
	if (v4->family == IP_FAMILY_V4)
		memcpy(c->v4, v4->bytes, sizeof(c->v4));
	if (v6->family == IP_FAMILY_V6)
		memcpy(c->v6, v6->bytes, sizeof(c->v6));
	c->is_alive = true;
}

void client_fini(struct client *c)
{
	struct dp_client_stats stats = c->stats;

	sodium_memzero(c, sizeof(*c));
	c->stats = stats;
	client_roles_reset(c);
}

void client_keypair_wipe(struct client *c, enum client_role role)
{
	uint8_t n = c->role[role];

	if (n == CLIENT_KEYPAIR_NONE)
		return;
	c->role[role] = CLIENT_KEYPAIR_NONE;
	c->local_index[n] = 0;
	sodium_memzero(&c->keypairs[n], sizeof(c->keypairs[n]));
}

void client_keypairs_clear(struct client *c)
{
	for (unsigned role = 0; role < CLIENT_ROLE_COUNT; role++)
		client_keypair_wipe(c, role);
	c->keepalive_tsc = 0;
	c->unanswered_tsc = 0;
	c->is_keepalive_again = false;
}

static void client_role_move(struct client *c, enum client_role from, enum client_role to)
{
	client_keypair_wipe(c, to);
	c->role[to] = c->role[from];
	c->role[from] = CLIENT_KEYPAIR_NONE;
}

// Three places and at most two of them taken once the target role is empty.
static uint8_t client_keypair_alloc(const struct client *c)
{
	for (uint8_t i = 0; i < CLIENT_KEYPAIRS; i++)
		if (memchr(c->role, i, sizeof(c->role)) == NULL)
			return i;
	return CLIENT_KEYPAIR_NONE;
}

void client_keypair_add(struct client *c, const struct dp_cmd *cmd, uint64_t lifetime_tsc)
{
	enum client_role role = CLIENT_ROLE_NEXT;
	struct keypair *k;
	uint8_t n;

	if (cmd->keypair_add.is_initiator) {
		// An unconfirmed next is newer than current: the peer may send on it already.
		role = CLIENT_ROLE_CURRENT;
		if (client_keypair(c, CLIENT_ROLE_NEXT) != NULL)
			client_role_move(c, CLIENT_ROLE_NEXT, CLIENT_ROLE_PREVIOUS);
		else if (client_keypair(c, CLIENT_ROLE_CURRENT) != NULL)
			client_role_move(c, CLIENT_ROLE_CURRENT, CLIENT_ROLE_PREVIOUS);
	}
	client_keypair_wipe(c, role);
	n = client_keypair_alloc(c);
	assert(n != CLIENT_KEYPAIR_NONE);
	k = &c->keypairs[n];
	memset(k, 0, sizeof(*k));
	memcpy(k->recv_key, cmd->keypair_add.recv_key, sizeof(k->recv_key));
	memcpy(k->send_key, cmd->keypair_add.send_key, sizeof(k->send_key));
	k->local_index = cmd->keypair_add.local_index;
	k->remote_index = cmd->keypair_add.remote_index;
	k->is_initiator = cmd->keypair_add.is_initiator;
	k->created_tsc = cmd->keypair_add.created_tsc;
	k->expires_tsc = k->created_tsc + lifetime_tsc;
	c->local_index[n] = k->local_index;
	c->role[role] = n;
}

bool client_keypair_confirm(struct client *c, const struct keypair *k)
{
	if (likely(client_keypair(c, CLIENT_ROLE_NEXT) != k))
		return false;
	if (client_keypair(c, CLIENT_ROLE_CURRENT) != NULL)
		client_role_move(c, CLIENT_ROLE_CURRENT, CLIENT_ROLE_PREVIOUS);
	client_role_move(c, CLIENT_ROLE_NEXT, CLIENT_ROLE_CURRENT);
	return true;
}

bool client_icmp_take(struct client *c, uint64_t now, uint64_t interval_tsc)
{
	uint64_t tat = c->icmp_tat > now ? c->icmp_tat : now;

	if (tat + interval_tsc > now + CLIENT_ICMP_BURST * interval_tsc)
		return false;
	c->icmp_tat = tat + interval_tsc;
	return true;
}

static void
path_v4_write(struct client_path *p, const struct ip_addr *from, const struct ip_addr *to)
{
	struct rte_ipv4_hdr *ip = (void *)(p->header + RTE_ETHER_HDR_LEN);

	*ip = (struct rte_ipv4_hdr){
		.version_ihl = 0x45,
		// The identification may be 0 in atomic datagrams (RFC 6864 4.1).
		.fragment_offset = RTE_BE16(RTE_IPV4_HDR_DF_FLAG),
		.time_to_live = 64,
		.next_proto_id = IPPROTO_UDP,
	};
	memcpy(&ip->src_addr, from->bytes, 4);
	memcpy(&ip->dst_addr, to->bytes, 4);
	p->ip_sum = rte_raw_cksum(ip, sizeof(*ip));
}

static void
path_v6_write(struct client_path *p, const struct ip_addr *from, const struct ip_addr *to)
{
	struct rte_ipv6_hdr *ip = (void *)(p->header + RTE_ETHER_HDR_LEN);

	*ip = (struct rte_ipv6_hdr){
		.vtc_flow = RTE_BE32(0x60000000),
		.proto = IPPROTO_UDP,
		.hop_limits = 64,
	};
	memcpy(ip->src_addr, from->bytes, 16);
	memcpy(ip->dst_addr, to->bytes, 16);
	// With payload length 0: encrypt adds the length twice, as RFC 8200 8.1 and RFC 768 do.
	p->ip_sum = rte_ipv6_phdr_cksum(ip, 0);
}

void client_path_set(
	struct client *c,
	const struct ip_endpoint *local,
	const struct ip_endpoint *remote,
	uint16_t channel)
{
	struct client_path *p = &c->path;
	bool is_v4 = remote->addr.family == IP_FAMILY_V4;
	struct rte_ether_hdr *eth = (void *)p->header;
	struct rte_udp_hdr *udp;

	memset(p, 0, sizeof(*p));
	if (remote->addr.family == IP_FAMILY_NONE || local->addr.family != remote->addr.family)
		return;
	p->remote = remote->addr;
	p->l3_size = is_v4 ? sizeof(struct rte_ipv4_hdr) : sizeof(struct rte_ipv6_hdr);
	p->size = (uint8_t)(RTE_ETHER_HDR_LEN + p->l3_size + sizeof(struct rte_udp_hdr));
	eth->ether_type = is_v4 ? RTE_BE16(RTE_ETHER_TYPE_IPV4) : RTE_BE16(RTE_ETHER_TYPE_IPV6);
	if (is_v4)
		path_v4_write(p, &local->addr, &remote->addr);
	else
		path_v6_write(p, &local->addr, &remote->addr);
	udp = (void *)(p->header + RTE_ETHER_HDR_LEN + p->l3_size);
	udp->src_port = rte_cpu_to_be_16(local->port);
	udp->dst_port = rte_cpu_to_be_16(remote->port);
	if (channel == 0)
		return;
	p->is_relayed = true;
	turn_channel_header_write(p->header + p->size, channel, 0);
	p->size += TURN_CHANNEL_HEADER_SIZE;
}
