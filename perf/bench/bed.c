// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "perf/bench/bed.h"

#include <rte_cycles.h>
#include <rte_eth_ring.h>
#include <rte_ip.h>
#include <rte_malloc.h>
#include <rte_udp.h>
#include <sodium.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	RING_SIZE = 1024,
	SERVER_PORT = 5000,
	// The gateway's default range and what Linux clients use, which is not in it.
	NAT_FIRST = 1024,
	NAT_LAST = 32767,
	SPORT_FIRST = 32768,
	SPORT_COUNT = 28232,
	OUTER_SIZE = sizeof(struct rte_ether_hdr) + sizeof(struct rte_ipv4_hdr)
		+ sizeof(struct rte_udp_hdr),
	DATA_HEADER = sizeof(struct noise_msg_data),
	IMIX_PERIOD = 12,
};

static const uint8_t router_mac[6] = {2, 0, 0, 0, 0, 0xfe};
static const uint8_t imix_letters[IMIX_PERIOD + 1] = "SSSSSSSMMMML";

static _Noreturn void die(const char *what)
{
	fprintf(stderr, "bench: %s failed\n", what);
	exit(1);
}

static void check(bool is_ok, const char *what)
{
	if (!is_ok)
		die(what);
}

uint32_t bed_random(struct bed *bed)
{
	// xorshift32 (Marsaglia 2003): the order must look random, nothing else hangs on it.
	bed->rng ^= bed->rng << 13;
	bed->rng ^= bed->rng >> 17;
	bed->rng ^= bed->rng << 5;
	return bed->rng;
}

double bed_size_mean(unsigned size)
{
	return size != BED_SIZE_IMIX ? size : (7 * 64 + 4 * 594 + 1280) / 12.0;
}

static unsigned size_draw(struct bed *bed, unsigned size)
{
	if (size != BED_SIZE_IMIX)
		return size;
	switch (imix_letters[bed_random(bed) % IMIX_PERIOD]) {
	case 'S':
		return 64;
	case 'M':
		return 594;
	default:
		return 1280;
	}
}

// Addresses -----------------------------------------------------------------------------------

static struct ip_addr v4(uint8_t a, uint8_t b, uint8_t c, uint8_t d)
{
	return ip_addr_v4((const uint8_t[]){a, b, c, d});
}

static struct ip_addr tunnel_v4(uint32_t slot)
{
	return v4(100, 64 + (uint8_t)(slot >> 16), (uint8_t)(slot >> 8), (uint8_t)slot);
}

static struct ip_addr tunnel_v6(uint32_t slot)
{
	struct ip_addr a = {.family = IP_FAMILY_V6};
	const uint8_t prefix[8] = {0xfd, 0x00, 0x20, 0x21, 0x11, 0x11};

	memcpy(a.bytes, prefix, sizeof(prefix));
	a.bytes[13] = (uint8_t)(slot >> 16);
	a.bytes[14] = (uint8_t)(slot >> 8);
	a.bytes[15] = (uint8_t)slot;
	return a;
}

struct ip_addr bed_outer_v4(uint32_t slot)
{
	return v4(198, 18 + (uint8_t)(slot >> 16 & 1), (uint8_t)(slot >> 8), (uint8_t)slot);
}

struct ip_addr bed_gateway_v4(void)
{
	return v4(203, 0, 113, 1);
}

// Building ------------------------------------------------------------------------------------

static void route_add(struct fib_builder *b, struct ip_addr net, uint8_t len, uint16_t port)
{
	struct ip_prefix p = {.addr = net, .len = len};
	struct ip_addr via = port == 0 ? v4(203, 0, 113, 254) : v4(192, 0, 2, 254);

	check(fib_builder_add_route(b, &p, port, &via, NULL, 0) == 0, "route");
}

static void fib_make(struct bed *bed)
{
	uint16_t wan = dp_port_id(bed->dp, BED_WAN), lan = dp_port_id(bed->dp, BED_LAN);
	struct fib_builder *b = fib_builder_create();
	struct ip_addr wan_v4 = bed_gateway_v4(), lan_v4 = v4(192, 0, 2, 1);
	struct ip_addr wan_hop = v4(203, 0, 113, 254), lan_hop = v4(192, 0, 2, 254);
	struct ip_prefix wan_net = {.addr = v4(203, 0, 113, 0), .len = 24};
	struct ip_prefix lan_net = {.addr = v4(192, 0, 2, 0), .len = 24};

	check(b != NULL && wan == 0 && lan == 1, "fib_builder_create");
	check(fib_builder_add_local(b, &wan_v4, wan) == 0, "local");
	check(fib_builder_add_local(b, &lan_v4, lan) == 0, "local");
	check(fib_builder_add_route(b, &wan_net, wan, NULL, NULL, 0) == 0, "route");
	check(fib_builder_add_route(b, &lan_net, lan, NULL, NULL, 0) == 0, "route");
	route_add(b, v4(198, 18, 0, 0), 15, wan);
	route_add(b, v4(10, 0, 0, 0), 8, lan);
	check(fib_builder_add_neigh(b, wan, &wan_hop, router_mac) == 0, "neigh");
	check(fib_builder_add_neigh(b, lan, &lan_hop, router_mac) == 0, "neigh");
	bed->fib = fib_builder_build(b, 1);
	check(bed->fib != NULL, "fib_builder_build");
	fib_builder_destroy(b);
	dp_fib_publish(bed->dp, bed->fib);
}

static void command(struct bed *bed, const struct dp_cmd *cmd)
{
	while (dp_cmd_send(bed->dp, cmd) == -EAGAIN)
		bed_settle(bed);
}

static void client_add(struct bed *bed, uint32_t slot)
{
	struct dp_cmd add = {
		.type = DP_CMD_CLIENT_ADD,
		.slot = slot,
		.client_add = {.v4 = tunnel_v4(slot), .v6 = tunnel_v6(slot)},
	};
	struct dp_cmd path = {
		.type = DP_CMD_PATH_SET,
		.slot = slot,
		.path_set =
			{
				.local = {.addr = bed_gateway_v4(), .port = BED_UDP_PORT},
				.remote = {.addr = bed_outer_v4(slot), .port = BED_CLIENT_PORT},
			},
	};

	command(bed, &add);
	command(bed, &path);
}

static void client_rekey(struct bed *bed, uint32_t slot)
{
	struct bed_keys *k = &bed->keys[slot];
	struct dp_cmd cmd = {
		.type = DP_CMD_KEYPAIR_ADD,
		.slot = slot,
		.keypair_add =
			{
				.local_index = slot << 8,
				.remote_index = slot << 8 | 1,
				.is_initiator = true, // in use at once
				.created_tsc = bed->now,
			},
	};
	struct dp_cmd clear = {.type = DP_CMD_KEYPAIRS_CLEAR, .slot = slot};

	randombytes_buf(k, sizeof(*k));
	k->counter = 0;
	memcpy(cmd.keypair_add.recv_key, k->to_gateway, DP_KEY_SIZE);
	memcpy(cmd.keypair_add.send_key, k->to_client, DP_KEY_SIZE);
	command(bed, &clear);
	command(bed, &cmd);
}

void bed_rekey(struct bed *bed)
{
	for (uint32_t slot = 0; slot < BED_CLIENTS; slot++)
		client_rekey(bed, slot);
	bed_settle(bed);
}

void bed_policy_publish(struct bed *bed, uint32_t slot)
{
	uint16_t group = (uint16_t)(slot % BED_GROUPS);
	const struct acl_filter filters[] = {
		{ACL_PROTOCOL_TCP, 1, 60000 + group},
		{ACL_PROTOCOL_UDP, 1, 60000 + group},
		{ACL_PROTOCOL_ICMP, 0, 0},
	};
	struct acl_resource r[BED_RESOURCES];
	const struct acl_set *set;
	struct acl_policy *p;

	for (uint8_t i = 0; i < BED_RESOURCES; i++)
		r[i] = (struct acl_resource){
			.id = {1, i},
			.prefix = {.addr = v4(10, 20, i, 0), .len = 24},
			.filters = filters,
			.n_filters = 3,
		};
	set = acl_set_get(bed->acl, r, BED_RESOURCES, NULL);
	check(set != NULL, "acl_set_get");
	p = calloc(1, sizeof(*p) + acl_set_size(set) * sizeof(p->expires_tsc[0]));
	check(p != NULL, "policy");
	p->set = set;
	p->generation = slot + 1;
	p->n_resources = acl_set_size(set);
	for (uint32_t i = 0; i < p->n_resources; i++)
		p->expires_tsc[i] = UINT64_MAX - 1;
	bed->policy[slot] = p;
	dp_policy_publish(bed->dp, slot, p);
}

// Names are never used twice: the bus keeps devices that are closed.
static void port_make(struct bed *bed, int port, unsigned serial, char device[RTE_DEV_NAME_MAX_LEN])
{
	struct rte_ring *rx[BED_WORKERS_MAX], *tx[BED_WORKERS_MAX];
	char name[32], ring[48];

	snprintf(name, sizeof(name), "bench%u_%s", serial, port == BED_WAN ? "wan" : "lan");
	for (unsigned w = 0; w < bed->n_workers; w++) {
		snprintf(ring, sizeof(ring), "%s_rx%u", name, w);
		rx[w] = rte_ring_create(
			ring, RING_SIZE, SOCKET_ID_ANY, RING_F_SP_ENQ | RING_F_SC_DEQ);
		snprintf(ring, sizeof(ring), "%s_tx%u", name, w);
		tx[w] = rte_ring_create(
			ring, RING_SIZE, SOCKET_ID_ANY, RING_F_SP_ENQ | RING_F_SC_DEQ);
		check(rx[w] != NULL && tx[w] != NULL, "rte_ring_create");
		bed->rx[bed_ring(port, w)] = rx[w];
		bed->tx[bed_ring(port, w)] = tx[w];
	}
	check(rte_eth_from_rings(name, rx, bed->n_workers, tx, bed->n_workers, 0) >= 0,
	      "rte_eth_from_rings");
	snprintf(device, RTE_DEV_NAME_MAX_LEN, "net_ring_%s", name);
}

static void dp_make(struct bed *bed)
{
	static unsigned serial;
	char devices[2][RTE_DEV_NAME_MAX_LEN];
	struct dp_port_config ports[2] = {{.role = DP_ROLE_WAN}, {.role = DP_ROLE_LAN}};
	struct dp_config config = {
		.ports = ports,
		.n_ports = 2,
		.idle = DP_IDLE_BUSY,
		.udp_port = BED_UDP_PORT,
		.max_clients = BED_CLIENTS,
		.max_flows = BED_FLOWS_MAX,
		.nat_port_first = NAT_FIRST,
		.nat_port_last = NAT_LAST,
		.n_mbufs = 16383,
		.worker_lcores = {0, 1},
		.n_workers = bed->n_workers,
		.tunnel_v4 = v4(100, 127, 255, 1),
		.tunnel_v6 = tunnel_v6(0xffffff),
	};

	for (int i = 0; i < 2; i++) {
		port_make(bed, i, serial, devices[i]);
		ports[i].device = devices[i];
	}
	serial++;
	bed->dp = dp_create(&config);
	check(bed->dp != NULL, "dp_create");
	bed->w = dp_start_inline(bed->dp);
	check(bed->w != NULL, "dp_start_inline");
	for (int i = 0; i < 2; i++)
		dp_port_mac(bed->dp, (size_t)i, bed->mac[i]);
}

struct bed *bed_create(unsigned n_workers)
{
	struct bed *bed = rte_zmalloc("bed", sizeof(*bed), RTE_CACHE_LINE_SIZE);

	check(bed != NULL && sodium_init() >= 0, "bed");
	bed->n_workers = n_workers;
	bed->rng = 0x5a11;
	bed->now = dp_now() + rte_get_tsc_hz();
	bed->aead = aead_create(SOCKET_ID_ANY);
	bed->acl = acl_registry_create(SOCKET_ID_ANY);
	check(bed->aead != NULL && bed->acl != NULL, "aead_create");
	dp_make(bed);
	fib_make(bed);
	bed_settle(bed);
	for (uint32_t slot = 0; slot < BED_CLIENTS; slot++) {
		client_add(bed, slot);
		bed_policy_publish(bed, slot);
	}
	bed_rekey(bed);
	return bed;
}

void bed_policies_drop(struct bed *bed)
{
	for (uint32_t slot = 0; slot < BED_CLIENTS; slot++) {
		dp_policy_publish(bed->dp, slot, NULL);
		if (bed->policy[slot] == NULL)
			continue;
		acl_set_put(bed->acl, bed->policy[slot]->set);
		free(bed->policy[slot]);
		bed->policy[slot] = NULL;
	}
}

void bed_destroy(struct bed *bed)
{
	bed_policies_drop(bed);
	dp_fib_publish(bed->dp, NULL);
	dp_destroy(bed->dp);
	fib_destroy((struct fib *)(uintptr_t)bed->fib);
	acl_registry_destroy(bed->acl);
	aead_destroy(bed->aead);
	for (unsigned i = 0; i < 2 * bed->n_workers; i++) {
		rte_ring_free(bed->rx[i]);
		rte_ring_free(bed->tx[i]);
	}
	rte_free(bed);
}

// Wires ---------------------------------------------------------------------------------------

unsigned bed_take(struct bed *bed)
{
	struct rte_mbuf *pkts[DP_BURST_MAX];
	struct dp_event events[DP_BURST_MAX];
	unsigned n, total = 0;

	for (unsigned ring = 0; ring < 2 * bed->n_workers; ring++)
		do {
			n = rte_ring_sc_dequeue_burst(
				bed->tx[ring], (void *)pkts, DP_BURST_MAX, NULL);
			rte_pktmbuf_free_bulk(pkts, n);
			total += n;
		} while (n > 0);
	for (unsigned class_ = 0; class_ < DP_PUNT_COUNT; class_++)
		while ((n = dp_punt_poll(bed->dp, class_, pkts, DP_BURST_MAX)) > 0)
			rte_pktmbuf_free_bulk(pkts, n);
	while (dp_event_poll(bed->dp, events, DP_BURST_MAX) > 0)
		;
	return total;
}

void bed_settle(struct bed *bed)
{
	unsigned idle = 0;

	while (idle < 2) {
		unsigned work = 0;

		for (unsigned i = 0; i < bed->n_workers; i++)
			work += worker_run_once(dp_worker(bed->dp, i), bed->now);
		idle = work == 0 ? idle + 1 : 0;
		bed_take(bed);
	}
	for (unsigned i = 0; i < bed->n_workers; i++)
		worker_housekeep(dp_worker(bed->dp, i));
	dp_reclaim(bed->dp);
}

unsigned bed_owner(const struct bed *bed, uint32_t slot)
{
	return owner_get(bed->w->published->owners, slot);
}

unsigned bed_feed(struct bed *bed, const struct bed_round *r, unsigned at, int port)
{
	struct rte_mbuf *pkts[DP_BURST_MAX];
	unsigned n = RTE_MIN(r->n - at, (unsigned)DP_BURST_MAX);

	for (unsigned i = 0; i < n; i++)
		pkts[i] = r->packet[at + i].m;
	check(rte_ring_sp_enqueue_bulk(bed->rx[port], (void *)pkts, n, NULL) == n, "feed");
	return n;
}

uint64_t bed_drops(const struct bed *bed)
{
	struct dp_worker_stats stats;
	uint64_t n = 0;

	dp_worker_stats_get(bed->dp, &stats);
	for (unsigned i = 0; i < DROP_REASON_COUNT; i++)
		n += stats.drops[i];
	return n;
}

// Packets -------------------------------------------------------------------------------------

void bed_round_draw(
	struct bed *bed,
	struct bed_round *r,
	unsigned n,
	unsigned tunnels,
	unsigned size)
{
	r->n = n;
	for (unsigned i = 0; i < r->n; i++) {
		struct bed_packet *p = &r->packet[i];

		p->m = rte_pktmbuf_alloc(bed->w->pool);
		check(p->m != NULL, "rte_pktmbuf_alloc");
		p->slot = bed_random(bed) % tunnels;
		p->flow = (uint16_t)(bed_random(bed) % BED_FLOWS_PER_CLIENT);
		p->size = (uint16_t)size_draw(bed, size);
		p->is_tcp = false;
	}
}

void bed_round_free(struct bed_round *r)
{
	for (unsigned i = 0; i < r->n; i++)
		rte_pktmbuf_free(r->packet[i].m);
	r->n = 0;
}

// The ten flows of a client are spread over its resources and over servers that others use too.
static struct ip_addr server_of(uint32_t slot, uint16_t flow)
{
	return v4(
		10,
		20,
		(uint8_t)((slot + 7u * flow) % BED_RESOURCES),
		(uint8_t)(1 + (slot / BED_RESOURCES + flow) % 250));
}

static uint16_t sport_of(uint32_t slot, uint16_t flow)
{
	return (uint16_t)(SPORT_FIRST + (slot * 2654435761u + flow * 40503u) % SPORT_COUNT);
}

// @return behind the header
static void *ipv4_write(
	uint8_t *at,
	const struct ip_addr *src,
	const struct ip_addr *dst,
	uint8_t proto,
	uint16_t size)
{
	struct rte_ipv4_hdr *ip = (void *)at;

	*ip = (struct rte_ipv4_hdr){
		.version_ihl = 0x45,
		.total_length = rte_cpu_to_be_16(size),
		.time_to_live = 64,
		.next_proto_id = proto,
	};
	memcpy(&ip->src_addr, src->bytes, 4);
	memcpy(&ip->dst_addr, dst->bytes, 4);
	ip->hdr_checksum = rte_ipv4_cksum(ip);
	return ip + 1;
}

static void udp_write(
	uint8_t *at,
	const struct ip_addr *src,
	uint16_t sport,
	const struct ip_addr *dst,
	uint16_t dport,
	uint16_t size)
{
	struct rte_udp_hdr *udp = ipv4_write(at, src, dst, IPPROTO_UDP, size);

	*udp = (struct rte_udp_hdr){
		.src_port = rte_cpu_to_be_16(sport),
		.dst_port = rte_cpu_to_be_16(dport),
		.dgram_len = rte_cpu_to_be_16((uint16_t)(size - sizeof(struct rte_ipv4_hdr))),
	};
	udp->dgram_cksum = rte_ipv4_udptcp_cksum((void *)at, udp);
}

static void tcp_write(
	uint8_t *at,
	const struct ip_addr *src,
	uint16_t sport,
	const struct ip_addr *dst,
	uint16_t dport,
	uint16_t size)
{
	struct rte_tcp_hdr *tcp = ipv4_write(at, src, dst, IPPROTO_TCP, size);

	*tcp = (struct rte_tcp_hdr){
		.src_port = rte_cpu_to_be_16(sport),
		.dst_port = rte_cpu_to_be_16(dport),
		.data_off = sizeof(*tcp) / 4 << 4,
		.tcp_flags = RTE_TCP_ACK_FLAG,
		.rx_win = RTE_BE16(8192),
	};
	tcp->cksum = rte_ipv4_udptcp_cksum((void *)at, tcp);
}

static uint8_t *frame_begin(struct bed *bed, struct rte_mbuf *m, int port, size_t size)
{
	struct rte_ether_hdr *eth;

	rte_pktmbuf_reset(m);
	eth = (void *)rte_pktmbuf_append(m, (uint16_t)(sizeof(*eth) + size));
	if (eth == NULL)
		die("rte_pktmbuf_append");
	memcpy(eth->dst_addr.addr_bytes, bed->mac[port], 6);
	memcpy(eth->src_addr.addr_bytes, router_mac, 6);
	eth->ether_type = RTE_BE16(RTE_ETHER_TYPE_IPV4);
	return (uint8_t *)(eth + 1);
}

void bed_datagram_up(
	struct bed *bed,
	struct rte_mbuf *m,
	uint32_t slot,
	const void *payload,
	uint16_t size)
{
	struct ip_addr from = bed_outer_v4(slot), to = bed_gateway_v4();
	uint16_t ip_size = (uint16_t)(OUTER_SIZE - RTE_ETHER_HDR_LEN + size);
	uint8_t *ip = frame_begin(bed, m, BED_WAN, ip_size);

	memcpy(ip + OUTER_SIZE - RTE_ETHER_HDR_LEN, payload, size);
	udp_write(ip, &from, BED_CLIENT_PORT, &to, BED_UDP_PORT, ip_size);
}

static void
inner_write(struct bed *bed, const struct bed_packet *p, uint8_t *at, enum bed_target target)
{
	struct ip_addr src = tunnel_v4(p->slot), dst = server_of(p->slot, p->flow);
	uint16_t sport = sport_of(p->slot, p->flow), dport = SERVER_PORT + p->flow;

	if (target == BED_TARGET_NEW) {
		bed->n_new++;
		dst.bytes[3] = (uint8_t)(1 + bed->n_new % 250);
		dport = (uint16_t)(1024 + bed->n_new / 250 % 50000);
	} else if (target == BED_TARGET_DENIED) {
		dst.bytes[1] = 99;
	}
	if (p->is_tcp)
		tcp_write(at, &src, sport, &dst, dport, p->size);
	else
		udp_write(at, &src, sport, &dst, dport, p->size);
}

static void up_write(struct bed *bed, struct bed_packet *p, enum bed_target target)
{
	struct ip_addr from = bed_outer_v4(p->slot), to = bed_gateway_v4();
	uint16_t size =
		(uint16_t)(OUTER_SIZE - RTE_ETHER_HDR_LEN + DATA_HEADER + p->size + NOISE_TAG_SIZE);
	uint8_t *ip = frame_begin(bed, p->m, BED_WAN, size);
	uint8_t *payload = ip + OUTER_SIZE - RTE_ETHER_HDR_LEN;
	struct noise_msg_data *msg = (void *)payload;

	udp_write(ip, &from, BED_CLIENT_PORT, &to, BED_UDP_PORT, size);
	*msg = (struct noise_msg_data){
		.type = noise_le32_make(NOISE_MSG_DATA),
		.receiver_index = noise_le32_make(p->slot << 8),
		.counter = noise_le64_make(bed->keys[p->slot].counter++),
	};
	inner_write(bed, p, payload + DATA_HEADER, target);
}

static uint8_t *up_text(const struct bed_packet *p)
{
	return rte_pktmbuf_mtod_offset(p->m, uint8_t *, OUTER_SIZE + DATA_HEADER);
}

static uint64_t up_counter(const struct bed_packet *p)
{
	const struct noise_msg_data *msg =
		rte_pktmbuf_mtod_offset(p->m, const struct noise_msg_data *, OUTER_SIZE);

	return noise_le64_get(msg->counter);
}

void bed_round_up(struct bed *bed, struct bed_round *r, enum bed_target target)
{
	struct aead_op ops[DP_BURST_MAX];

	for (unsigned at = 0; at < r->n; at += DP_BURST_MAX) {
		unsigned n = RTE_MIN(r->n - at, (unsigned)DP_BURST_MAX);

		for (unsigned i = 0; i < n; i++) {
			struct bed_packet *p = &r->packet[at + i];

			up_write(bed, p, target);
			ops[i] = (struct aead_op){
				.data = up_text(p),
				.size = p->size,
				.key = bed->keys[p->slot].to_gateway,
				.counter = up_counter(p),
			};
		}
		aead_seal_burst(bed->aead, ops, n);
	}
}

unsigned bed_ops_up(
	struct bed *bed,
	const struct bed_round *r,
	unsigned at,
	struct aead_op *ops,
	bool is_one_key)
{
	unsigned n = RTE_MIN(r->n - at, (unsigned)DP_BURST_MAX);

	for (unsigned i = 0; i < n; i++) {
		const struct bed_packet *p = &r->packet[at + i];
		struct client *c = &bed->w->clients[is_one_key ? 0 : p->slot];

		ops[i] = (struct aead_op){
			.data = up_text(p),
			.size = p->size + (uint32_t)NOISE_TAG_SIZE,
			.key = c->keypairs[c->role[CLIENT_ROLE_CURRENT]].recv_key,
			.counter = up_counter(p),
		};
	}
	return n;
}

const struct flow *bed_flow(const struct bed *bed, const struct bed_packet *p)
{
	struct ip_addr dst = server_of(p->slot, p->flow);
	struct flow_inside key = {
		.slot = p->slot,
		.family = IP_FAMILY_V4,
		.kind = p->is_tcp ? FLOW_KIND_TCP : FLOW_KIND_UDP,
		.proto = p->is_tcp ? IPPROTO_TCP : IPPROTO_UDP,
		.sport = rte_cpu_to_be_16(sport_of(p->slot, p->flow)),
		.dport = rte_cpu_to_be_16(SERVER_PORT + p->flow),
	};

	memcpy(key.dst, dst.bytes, 4);
	return flow_inside_lookup(bed->w->flows, &key, flow_inside_hash(bed->w->flows, &key));
}

void bed_round_down(struct bed *bed, struct bed_round *r)
{
	struct ip_addr to = v4(192, 0, 2, 1);

	for (unsigned i = 0; i < r->n; i++) {
		struct bed_packet *p = &r->packet[i];
		const struct flow *f = bed_flow(bed, p);
		struct ip_addr from = server_of(p->slot, p->flow);

		check(f != NULL, "flow of a packet from the LAN");
		udp_write(
			frame_begin(bed, p->m, BED_LAN, p->size),
			&from,
			SERVER_PORT + p->flow,
			&to,
			rte_be_to_cpu_16(f->nat_port),
			p->size);
	}
}

unsigned bed_ops_down(
	struct bed *bed,
	const struct bed_round *r,
	unsigned at,
	struct aead_op *ops,
	bool is_one_key)
{
	unsigned n = RTE_MIN(r->n - at, (unsigned)DP_BURST_MAX);

	for (unsigned i = 0; i < n; i++) {
		const struct bed_packet *p = &r->packet[at + i];
		struct client *c = &bed->w->clients[is_one_key ? 0 : p->slot];

		ops[i] = (struct aead_op){
			.data = rte_pktmbuf_mtod_offset(p->m, uint8_t *, RTE_ETHER_HDR_LEN),
			.size = p->size,
			.key = c->keypairs[c->role[CLIENT_ROLE_CURRENT]].send_key,
			.counter = at + i,
		};
	}
	return n;
}

void bed_flows_make(struct bed *bed, unsigned tunnels)
{
	struct bed_round *r = calloc(1, sizeof(*r));
	unsigned total = tunnels * BED_FLOWS_PER_CLIENT;

	check(r != NULL, "calloc");
	for (unsigned done = 0; done < total; done += r->n) {
		bed_round_draw(bed, r, RTE_MIN(total - done, (unsigned)BED_ROUND), tunnels, 64);
		for (unsigned i = 0; i < r->n; i++) {
			r->packet[i].slot = (done + i) / BED_FLOWS_PER_CLIENT;
			r->packet[i].flow = (uint16_t)((done + i) % BED_FLOWS_PER_CLIENT);
		}
		bed_round_up(bed, r, BED_TARGET_FLOW);
		for (unsigned at = 0; at < r->n; at += DP_BURST_MAX) {
			bed_feed(bed, r, at, BED_WAN);
			worker_run_once(bed->w, bed->now);
			bed_take(bed);
		}
	}
	free(r);
	bed_settle(bed);
}

void bed_flows_clear(struct bed *bed, unsigned tunnels)
{
	for (uint32_t slot = 0; slot < tunnels; slot++)
		flow_client_clear(bed->w->flows, slot, UINT32_MAX);
}
