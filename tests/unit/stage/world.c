// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "tests/unit/stage/world.h"

#include "tests/unit/unit.h"

#include <rte_cycles.h>
#include <rte_dev.h>
#include <rte_eth_ring.h>
#include <sodium.h>

#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>

static const uint8_t router_mac[6] = {2, 0, 0, 0, 0, 0xfe};
static const uint8_t server_mac[6] = {2, 0, 0, 0, 0, 0x10};

static struct ip_addr addr_of(const char *text)
{
	struct ip_addr a;

	assert_int_equal(ip_addr_parse(&a, text), 0);
	return a;
}

static struct ip_prefix prefix_of(const char *text)
{
	struct ip_prefix p;

	assert_int_equal(ip_prefix_parse(&p, text), 0);
	return p;
}

static void fib_free(void *, const void *fib)
{
	fib_destroy((struct fib *)(uintptr_t)fib);
}

static void fib_local(struct fib_builder *b, const char *addr, uint16_t port)
{
	struct ip_addr a = addr_of(addr);

	assert_int_equal(fib_builder_add_local(b, &a, port), 0);
}

static void fib_route(struct fib_builder *b, const char *prefix, uint16_t port, const char *gateway)
{
	struct ip_prefix p = prefix_of(prefix);
	struct ip_addr g;

	if (gateway != NULL)
		g = addr_of(gateway);
	assert_int_equal(
		fib_builder_add_route(b, &p, port, gateway != NULL ? &g : NULL, NULL, 0), 0);
}

static void fib_neigh(struct fib_builder *b, uint16_t port, const char *addr, const uint8_t *mac)
{
	struct ip_addr a = addr_of(addr);

	assert_int_equal(fib_builder_add_neigh(b, port, &a, mac), 0);
}

void world_fib_set(struct world *wd, const uint8_t *silent_mac, bool is_failed)
{
	uint16_t wan = dp_port_id(wd->dp, WORLD_WAN), lan = dp_port_id(wd->dp, WORLD_LAN);
	struct fib_builder *b = fib_builder_create();
	struct fib *fib;

	assert_non_null(b);
	fib_local(b, "203.0.113.1", wan);
	fib_local(b, "2001:db8:1::1", wan);
	fib_local(b, WORLD_LAN_V4, lan);
	fib_local(b, WORLD_LAN_V6, lan);
	fib_route(b, "203.0.113.0/24", wan, NULL);
	fib_route(b, "198.51.100.0/24", wan, "203.0.113.254");
	fib_route(b, "2001:db8:1::/64", wan, NULL);
	fib_route(b, "2001:db8:9::/64", wan, "2001:db8:1::fe");
	fib_route(b, "192.0.2.0/24", lan, NULL);
	fib_route(b, "2001:db8:2::/64", lan, NULL);
	fib_neigh(b, wan, "203.0.113.254", router_mac);
	fib_neigh(b, wan, "2001:db8:1::fe", router_mac);
	fib_neigh(b, lan, WORLD_SERVER_V4, server_mac);
	fib_neigh(b, lan, WORLD_SERVER_V6, server_mac);
	if (silent_mac != NULL || is_failed)
		fib_neigh(b, lan, WORLD_SILENT_V4, silent_mac);
	fib = fib_builder_build(b, ++wd->fib_generation);
	assert_non_null(fib);
	fib_builder_destroy(b);
	dp_retire(wd->dp, dp_fib_publish(wd->dp, fib), fib_free, NULL);
	dp_reclaim(wd->dp);
}

static const char *const devices[] = {"net_ring_world_wan", "net_ring_world_lan"};

static struct rte_ring *ring_create(const char *port, const char *way, unsigned queue)
{
	char name[32];
	struct rte_ring *r;

	snprintf(name, sizeof(name), "%s_%s%u", port, way, queue);
	r = rte_ring_create(name, 256, SOCKET_ID_ANY, RING_F_SP_ENQ | RING_F_SC_DEQ);
	assert_non_null(r);
	return r;
}

static void rings_create(struct world *wd, int port, const char **device)
{
	static const char *const names[] = {"world_wan", "world_lan"};

	for (unsigned q = 0; q < wd->n_queues; q++) {
		wd->rx[port][q] = ring_create(names[port], "rx", q);
		wd->tx[port][q] = ring_create(names[port], "tx", q);
	}
	assert_true(
		rte_eth_from_rings(
			names[port], wd->rx[port], wd->n_queues, wd->tx[port], wd->n_queues, 0)
		>= 0);
	*device = devices[port];
}

static void fleet_setup(
	void **state,
	unsigned n_workers,
	unsigned n_queues,
	bool is_path_v6,
	const struct ip_addr *nat_addrs,
	size_t n_nat_addrs)
{
	struct world *wd = calloc(1, sizeof(*wd));
	struct dp_port_config ports[2] = {
		{.role = DP_ROLE_WAN},
		{.role = DP_ROLE_LAN, .nat_addrs = nat_addrs, .n_nat_addrs = n_nat_addrs},
	};
	struct dp_config config = {
		.ports = ports,
		.n_ports = 2,
		.idle = DP_IDLE_BUSY,
		.udp_port = WORLD_UDP_PORT,
		.max_clients = WORLD_CLIENTS,
		.max_flows = 1024,
		.nat_port_first = WORLD_NAT_FIRST,
		.nat_port_last = WORLD_NAT_LAST,
		.n_workers = n_workers,
		.n_mbufs = 4095,
		.tunnel_v4 = addr_of(WORLD_GATEWAY_V4),
		.tunnel_v6 = addr_of(WORLD_GATEWAY_V6),
	};

	assert_non_null(wd);
	wd->is_path_v6 = is_path_v6;
	wd->n_workers = n_workers;
	wd->n_queues = n_queues;
	wd->queue = WORLD_BY_RSS;
	for (int i = 0; i < 2; i++)
		rings_create(wd, i, &ports[i].device);
	wd->dp = dp_create(&config);
	assert_non_null(wd->dp);
	wd->w = dp_start_inline(wd->dp);
	assert_non_null(wd->w);
	for (int i = 0; i < 2; i++)
		dp_port_mac(wd->dp, (size_t)i, wd->mac[i]);
	wd->now = dp_now() + rte_get_tsc_hz();
	wd->acl = acl_registry_create(SOCKET_ID_ANY);
	assert_non_null(wd->acl);
	world_fib_set(wd, NULL, false);
	world_client_add(wd, 0);
	world_run(wd);
	*state = wd;
}

int world_fleet_setup(void **state, unsigned n_workers, unsigned n_queues, bool is_path_v6)
{
	fleet_setup(state, n_workers, n_queues, is_path_v6, NULL, 0);
	return 0;
}

int world_setup_pooled(void **state)
{
	const struct ip_addr pool[] = {addr_of(WORLD_POOL_V4), addr_of(WORLD_POOL_V6)};

	fleet_setup(state, 1, 1, false, pool, COUNT_OF(pool));
	return 0;
}

static int setup(void **state, bool is_path_v6)
{
	return world_fleet_setup(state, 1, 1, is_path_v6);
}

int world_setup(void **state)
{
	return setup(state, false);
}

int world_setup_v6(void **state)
{
	return setup(state, true);
}

static struct ip_endpoint client_outer(const struct world *wd, uint32_t slot);

static int setup_relayed(void **state, bool is_v6)
{
	struct ip_endpoint relay;
	struct world *wd;
	int rc;

	rc = setup(state, is_v6);
	if (rc != 0)
		return rc;
	wd = *state;
	wd->channel = 0x4abc;
	relay = client_outer(wd, 0);
	dp_relays_set(wd->dp, &relay, 1);
	world_client_add(wd, 0);
	return 0;
}

int world_setup_relayed(void **state)
{
	return setup_relayed(state, false);
}

int world_setup_relayed_v6(void **state)
{
	return setup_relayed(state, true);
}

// Each mbuf has exactly one owner: once the wires and rings are empty, none is out.
static void leak_check(struct world *wd)
{
	for (int port = 0; port < 2; port++)
		for (unsigned q = 0; q < wd->n_queues; q++) {
			void *m;

			while (rte_ring_dequeue(wd->tx[port][q], &m) == 0)
				rte_pktmbuf_free(m);
		}
	for (unsigned i = 0; i < DP_PUNT_COUNT; i++) {
		struct rte_mbuf *m;

		while (dp_punt_poll(wd->dp, i, &m, 1) == 1)
			rte_pktmbuf_free(m);
	}
	for (unsigned i = 0; i < wd->n_workers; i++)
		hold_clear(dp_worker(wd->dp, i));
	for (unsigned i = 0; i < wd->n_workers; i++)
		assert_int_equal(rte_mempool_in_use_count(dp_worker(wd->dp, i)->pool), 0);
}

int world_teardown(void **state)
{
	struct world *wd = *state;

	for (uint32_t slot = 0; slot < WORLD_CLIENTS; slot++)
		world_policy_set(wd, slot, NULL, 0);
	for (uint32_t slot = 0; slot < WORLD_CLIENTS; slot++) {
		dp_policy_publish(wd->dp, slot, NULL);
		acl_set_put(wd->acl, wd->policy[slot]->set);
		free(wd->policy[slot]);
	}
	assert_int_equal(acl_registry_size(wd->acl), 0);
	acl_registry_destroy(wd->acl);
	leak_check(wd);
	fib_destroy((struct fib *)(uintptr_t)dp_fib_publish(wd->dp, NULL));
	dp_destroy(wd->dp);
	for (int i = 0; i < 2; i++) {
		// Closing the port leaves the virtual device.
		assert_int_equal(rte_eal_hotplug_remove("vdev", devices[i]), 0);
		for (unsigned q = 0; q < wd->n_queues; q++) {
			rte_ring_free(wd->rx[i][q]);
			rte_ring_free(wd->tx[i][q]);
		}
	}
	free(wd);
	return 0;
}

void world_run_one(struct world *wd, unsigned index)
{
	unsigned idle = 0;

	while (idle < 2)
		idle = worker_run_once(dp_worker(wd->dp, index), wd->now) == 0 ? idle + 1 : 0;
}

void world_run(struct world *wd)
{
	unsigned idle = 0;

	while (idle < 2) {
		unsigned work = 0;

		for (unsigned i = 0; i < wd->n_workers; i++)
			work += worker_run_once(dp_worker(wd->dp, i), wd->now);
		idle = work == 0 ? idle + 1 : 0;
	}
}

struct worker *world_owner(struct world *wd, uint32_t slot)
{
	return dp_worker(wd->dp, owner_get(wd->w->published->owners, slot));
}

void world_wait(struct world *wd, double seconds)
{
	wd->now += (uint64_t)(seconds * (double)rte_get_tsc_hz());
	world_run(wd);
	// Flow expiry has a budget per call.
	for (unsigned i = 0; i < 64 * wd->n_workers; i++)
		worker_housekeep(dp_worker(wd->dp, i % wd->n_workers));
	world_run(wd);
}

static struct ip_addr client_addr(uint32_t slot, bool is_v6)
{
	char text[64];

	snprintf(text, sizeof(text), is_v6 ? "fd00:2021:1111::%x" : "100.64.0.%u", slot + 1);
	return addr_of(text);
}

static struct ip_endpoint client_outer(const struct world *wd, uint32_t slot)
{
	char text[64];

	snprintf(text, sizeof(text), wd->is_path_v6 ? "2001:db8:9::%x" : "198.51.100.%u", slot + 7);
	return (struct ip_endpoint){.addr = addr_of(text), .port = WORLD_CLIENT_PORT};
}

static struct ip_endpoint gateway_outer(const struct world *wd)
{
	return (struct ip_endpoint){
		.addr = addr_of(wd->is_path_v6 ? "2001:db8:1::1" : "203.0.113.1"),
		.port = WORLD_UDP_PORT,
	};
}

void world_client_add(struct world *wd, uint32_t slot)
{
	struct dp_cmd add = {
		.type = DP_CMD_CLIENT_ADD,
		.slot = slot,
		.client_add = {.v4 = client_addr(slot, false), .v6 = client_addr(slot, true)},
	};
	struct dp_cmd path = {
		.type = DP_CMD_PATH_SET,
		.slot = slot,
		.path_set =
			{
				.local = gateway_outer(wd),
				.remote = client_outer(wd, slot),
				.channel = wd->channel,
			},
	};

	assert_int_equal(dp_cmd_send(wd->dp, &add), 0);
	assert_int_equal(dp_cmd_send(wd->dp, &path), 0);
	world_run(wd);
}

struct world_keys world_keypair_add(struct world *wd, uint32_t slot, uint8_t n, bool is_initiator)
{
	struct world_keys k = {
		.gateway_index = slot << 8 | n,
		.client_index = 0xc0ffee00 | n,
	};
	struct dp_cmd cmd = {
		.type = DP_CMD_KEYPAIR_ADD,
		.slot = slot,
		.keypair_add =
			{
				.local_index = k.gateway_index,
				.remote_index = k.client_index,
				.is_initiator = is_initiator,
				.created_tsc = wd->now,
			},
	};

	memset(k.to_gateway, (int)(slot * 16 + n), sizeof(k.to_gateway));
	memset(k.to_client, (int)(0x80 + slot * 16 + n), sizeof(k.to_client));
	memcpy(cmd.keypair_add.recv_key, k.to_gateway, DP_KEY_SIZE);
	memcpy(cmd.keypair_add.send_key, k.to_client, DP_KEY_SIZE);
	assert_int_equal(dp_cmd_send(wd->dp, &cmd), 0);
	world_run(wd);
	return k;
}

static void policy_publish(struct world *wd, uint32_t slot, struct acl_policy *p)
{
	const struct acl_policy *old = dp_policy_publish(wd->dp, slot, p);

	// Nothing runs between two loops, so the grace period is over at once.
	if (old != NULL) {
		acl_set_put(wd->acl, old->set);
		free((void *)(uintptr_t)old);
	}
	wd->policy[slot] = p;
}

void world_policy_set(struct world *wd, uint32_t slot, const struct acl_resource *r, size_t n)
{
	const struct acl_set *set = acl_set_get(wd->acl, r, n, NULL);
	struct acl_policy *p;

	assert_non_null(set);
	p = calloc(1, sizeof(*p) + acl_set_size(set) * sizeof(p->expires_tsc[0]));
	assert_non_null(p);
	p->set = set;
	p->generation = ++wd->generation;
	p->n_resources = acl_set_size(set);
	for (uint32_t i = 0; i < p->n_resources; i++)
		p->expires_tsc[i] = UINT64_MAX;
	policy_publish(wd, slot, p);
}

void world_policy_open(struct world *wd, uint32_t slot, uint64_t expires_tsc)
{
	const struct acl_resource all[] = {
		{.id = {1}, .prefix = prefix_of("192.0.2.0/24")},
		{.id = {2}, .prefix = prefix_of("2001:db8:2::/64")},
	};

	world_policy_set(wd, slot, all, COUNT_OF(all));
	for (uint32_t i = 0; i < wd->policy[slot]->n_resources; i++)
		wd->policy[slot]->expires_tsc[i] = expires_tsc;
}

static void nonce_make(uint8_t nonce[12], uint64_t counter)
{
	memset(nonce, 0, 4);
	for (int i = 0; i < 8; i++)
		nonce[4 + i] = (uint8_t)(counter >> (8 * i));
}

static void put_le(uint8_t *p, uint64_t v, int size)
{
	for (int i = 0; i < size; i++)
		p[i] = (uint8_t)(v >> (8 * i));
}

size_t world_seal(struct world_keys *k, const uint8_t *inner, size_t size, uint8_t *out)
{
	unsigned long long sealed;
	uint8_t nonce[12];

	nonce_make(nonce, k->counter);
	put_le(out, 4, 4);
	put_le(out + 4, k->gateway_index, 4);
	put_le(out + 8, k->counter++, 8);
	crypto_aead_chacha20poly1305_ietf_encrypt(
		out + 16, &sealed, inner, size, NULL, 0, NULL, nonce, k->to_gateway);
	return 16 + (size_t)sealed;
}

struct packet world_outer(const struct world *wd, uint32_t slot, const void *payload, size_t size)
{
	char from[64], to[64];
	struct ip_endpoint a = client_outer(wd, slot), b = gateway_outer(wd);
	struct packet ip;

	ip_addr_format(&a.addr, from);
	ip_addr_format(&b.addr, to);
	ip = packet_udp(from, WORLD_CLIENT_PORT, to, WORLD_UDP_PORT, payload, size);
	return packet_ether(wd->mac[WORLD_WAN], router_mac, &ip);
}

// A NIC's RSS: ports count for TCP and UDP only; what is not IP goes to the first queue.
static unsigned queue_of(const struct world *wd, const struct packet *frame)
{
	struct packet ip = {0};
	bool is_v4, has_ports;
	uint16_t sport = 0, dport = 0;
	const uint8_t *src;
	uint8_t family, proto, bits;
	size_t size;

	if (wd->queue != WORLD_BY_RSS)
		return (unsigned)wd->queue;
	if (wd->n_queues == 1)
		return 0;
	ip.size = frame->size - 14;
	memcpy(ip.bytes, frame->bytes + 14, ip.size);
	is_v4 = packet_u16(frame, 12) == 0x0800;
	if (!is_v4 && packet_u16(frame, 12) != 0x86dd)
		return 0;
	family = is_v4 ? IP_FAMILY_V4 : IP_FAMILY_V6;
	size = is_v4 ? 4 : 16;
	src = ip.bytes + (is_v4 ? 12 : 8);
	proto = ip.bytes[is_v4 ? 9 : 6];
	has_ports = proto == IPPROTO_TCP || proto == IPPROTO_UDP;
	if (has_ports) {
		memcpy(&sport, ip.bytes + packet_l4(&ip), 2);
		memcpy(&dport, ip.bytes + packet_l4(&ip) + 2, 2);
	}
	bits = rss_bits(dp_rss(wd->dp), family, src, src + size, sport);
	return rss_worker(dp_rss(wd->dp), family, bits, dport) % wd->n_queues;
}

static void frame_put(struct world *wd, int port, const struct packet *frame)
{
	unsigned queue = queue_of(wd, frame);
	struct rte_mbuf *m = rte_pktmbuf_alloc(dp_worker(wd->dp, queue)->pool);

	assert_non_null(m);
	memcpy(rte_pktmbuf_append(m, (uint16_t)frame->size), frame->bytes, frame->size);
	assert_int_equal(rte_ring_enqueue(wd->rx[port][queue], m), 0);
}

void world_wan_put(struct world *wd, const struct packet *frame)
{
	frame_put(wd, WORLD_WAN, frame);
}

void world_lan_put(struct world *wd, const struct packet *ip)
{
	struct packet frame = packet_ether(wd->mac[WORLD_LAN], server_mac, ip);

	frame_put(wd, WORLD_LAN, &frame);
}

void world_client_send(struct world *wd, struct world_keys *k, const struct packet *inner)
{
	uint8_t payload[PACKET_MAX];
	size_t skip = wd->channel != 0 ? 4 : 0;
	size_t size = world_seal(k, inner->bytes, inner->size, payload + skip);
	struct packet frame;

	if (skip > 0)
		memcpy(payload,
		       (const uint8_t[]){
			       (uint8_t)(wd->channel >> 8),
			       (uint8_t)wd->channel,
			       (uint8_t)(size >> 8),
			       (uint8_t)size},
		       4);
	frame = world_outer(wd, k->gateway_index >> 8, payload, skip + size);

	world_wan_put(wd, &frame);
	world_run(wd);
}

void world_lan_send(struct world *wd, const struct packet *ip)
{
	world_lan_put(wd, ip);
	world_run(wd);
}

bool world_take(struct world *wd, int port, struct packet *frame)
{
	struct rte_mbuf *m = NULL;

	for (unsigned q = 0; q < wd->n_queues && m == NULL; q++)
		if (rte_ring_dequeue(wd->tx[port][q], (void *)&m) != 0)
			m = NULL;
	if (m == NULL)
		return false;
	assert_int_equal(m->nb_segs, 1);
	*frame = (struct packet){.size = m->pkt_len};
	memcpy(frame->bytes, rte_pktmbuf_mtod(m, void *), frame->size);
	rte_pktmbuf_free(m);
	return true;
}

// Takes off the Ethernet header after looking at all of it.
static void ether_check(
	const struct world *wd,
	int port,
	const uint8_t *dst,
	const struct packet *frame,
	struct packet *ip)
{
	assert_memory_equal(frame->bytes, dst, 6);
	assert_memory_equal(frame->bytes + 6, wd->mac[port], 6);
	*ip = (struct packet){.size = frame->size - 14};
	memcpy(ip->bytes, frame->bytes + 14, ip->size);
	assert_int_equal(packet_u16(frame, 12), ip->bytes[0] >> 4 == 4 ? 0x0800 : 0x86dd);
	assert_int_equal(
		ip->bytes[0] >> 4 == 4 ? packet_u16(ip, 2) : packet_u16(ip, 4) + 40, ip->size);
	assert_true(packet_checksums_are_ok(ip->bytes, ip->size));
}

bool world_lan_take(struct world *wd, struct packet *ip)
{
	struct packet frame;

	if (!world_take(wd, WORLD_LAN, &frame))
		return false;
	ether_check(wd, WORLD_LAN, server_mac, &frame, ip);
	return true;
}

static void outer_check(const struct world *wd, const struct world_keys *k, const struct packet *ip)
{
	struct ip_endpoint to = client_outer(wd, k->gateway_index >> 8);
	size_t l4 = packet_l4(ip);
	char text[64];

	assert_true(packet_is_to(ip, ip_addr_format(&to.addr, text)));
	assert_true(packet_is_from(ip, wd->is_path_v6 ? "2001:db8:1::1" : "203.0.113.1"));
	assert_int_equal(packet_u16(ip, l4), WORLD_UDP_PORT);
	assert_int_equal(packet_u16(ip, l4 + 2), WORLD_CLIENT_PORT);
	assert_int_equal(packet_u16(ip, l4 + 4), ip->size - l4);
	if (wd->is_path_v6) {
		assert_int_not_equal(packet_u16(ip, l4 + 6), 0);
	} else {
		assert_int_equal(ip->bytes[6], 0x40); // DF
		assert_int_equal(ip->bytes[1] & ~3, 0); // DSCP
	}
}

bool world_client_take(
	struct world *wd,
	const struct world_keys *k,
	struct packet *inner,
	struct packet *outer)
{
	struct packet frame, ip;
	unsigned long long opened;
	const uint8_t *msg;
	uint64_t counter = 0;
	uint8_t nonce[12], header[8];
	size_t l4;

	if (!world_take(wd, WORLD_WAN, &frame))
		return false;
	ether_check(wd, WORLD_WAN, router_mac, &frame, &ip);
	outer_check(wd, k, &ip);
	l4 = packet_l4(&ip);
	if (wd->channel != 0) {
		assert_int_equal(packet_u16(&ip, l4 + 8), wd->channel);
		assert_int_equal(packet_u16(&ip, l4 + 10), ip.size - l4 - 12);
		l4 += 4;
	}
	msg = ip.bytes + l4 + 8;
	put_le(header, 4, 4);
	put_le(header + 4, k->client_index, 4);
	assert_memory_equal(msg, header, 8);
	for (int i = 7; i >= 0; i--)
		counter = counter << 8 | msg[8 + i];
	nonce_make(nonce, counter);
	*inner = (struct packet){0};
	assert_int_equal(
		crypto_aead_chacha20poly1305_ietf_decrypt(
			inner->bytes,
			&opened,
			NULL,
			msg + 16,
			ip.size - l4 - 8 - 16,
			NULL,
			0,
			nonce,
			k->to_client),
		0);
	inner->size = (size_t)opened;
	if (outer != NULL)
		*outer = ip;
	return true;
}

uint64_t world_drops(struct world *wd, enum drop_reason reason)
{
	struct dp_worker_stats stats;
	uint64_t n;

	dp_worker_stats_get(wd->dp, &stats);
	n = stats.drops[reason] - wd->drops_before[reason];
	wd->drops_before[reason] = stats.drops[reason];
	return n;
}

bool world_event(struct world *wd, struct dp_event *event)
{
	return dp_event_poll(wd->dp, event, 1) == 1;
}

bool world_punt(struct world *wd, enum dp_punt class_, struct packet *out, struct dp_meta *meta)
{
	struct rte_mbuf *m;

	if (dp_punt_poll(wd->dp, class_, &m, 1) == 0)
		return false;
	*out = (struct packet){.size = m->pkt_len};
	memcpy(out->bytes, rte_pktmbuf_mtod(m, void *), out->size);
	*meta = *(const struct dp_meta *)rte_mbuf_to_priv(m);
	rte_pktmbuf_free(m);
	assert_int_equal(meta->kind, class_);
	return true;
}

void world_expect_silence(struct world *wd)
{
	struct packet frame;

	assert_false(world_take(wd, WORLD_WAN, &frame));
	assert_false(world_take(wd, WORLD_LAN, &frame));
}
