// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "tests/unit/eal.h"
#include "tests/unit/stage/world.h"
#include "tests/unit/unit.h"

#include <netinet/in.h>

// Several workers in one tube: with a NIC that spreads packets as ours are to be, with one that
// does not, and with a single queue.

enum {
	WORKERS = 3,
};

struct side {
	const char *client, *lan, *server, *router;
};

static const struct side v4 = {NULL, WORLD_LAN_V4, WORLD_SERVER_V4, "192.0.2.77"};
static const struct side v6 = {NULL, WORLD_LAN_V6, WORLD_SERVER_V6, "2001:db8:2::77"};

static int setup_rss(void **state)
{
	return world_fleet_setup(state, WORKERS, WORKERS, false);
}

static int setup_rss_v6(void **state)
{
	return world_fleet_setup(state, WORKERS, WORKERS, true);
}

static int setup_single(void **state)
{
	return world_fleet_setup(state, WORKERS, 1, false);
}

static int setup_single_v6(void **state)
{
	return world_fleet_setup(state, WORKERS, 1, true);
}

static int setup_short(void **state)
{
	return world_fleet_setup(state, WORKERS, 2, false);
}

static struct side side_of(uint32_t slot, bool is_v6, char text[64])
{
	struct side side = is_v6 ? v6 : v4;

	snprintf(text, 64, is_v6 ? "fd00:2021:1111::%x" : "100.64.0.%u", slot + 1);
	side.client = text;
	return side;
}

static uint64_t handed_off(struct world *wd)
{
	struct dp_worker_stats stats;

	dp_worker_stats_get(wd->dp, &stats);
	assert_int_equal(stats.handed_off, stats.handed_in);
	return stats.handed_off;
}

static void connect_all(struct world *wd, struct world_keys keys[WORLD_CLIENTS])
{
	struct packet none = {0};

	for (uint32_t slot = 0; slot < WORLD_CLIENTS; slot++) {
		if (slot > 0)
			world_client_add(wd, slot);
		keys[slot] = world_keypair_add(wd, slot, 1, false);
		world_client_send(wd, &keys[slot], &none);
		world_policy_open(wd, slot, UINT64_MAX);
	}
}

// Out and back; the server answers whoever asked. @return the packet as the server saw it
static struct packet exchange(
	struct world *wd,
	struct world_keys *k,
	const struct side *side,
	uint8_t proto,
	uint16_t sport)
{
	struct packet out, seen, back, got;
	uint16_t nat;

	if (proto == IPPROTO_UDP)
		out = packet_udp(side->client, sport, side->server, 53, "question", 8);
	else if (proto == IPPROTO_TCP)
		out = packet_tcp(side->client, sport, side->server, 80, PACKET_SYN, 0);
	else
		out = packet_echo(side->client, side->server, false, sport, 20);
	world_client_send(wd, k, &out);
	assert_true(world_lan_take(wd, &seen));
	assert_true(packet_is_from(&seen, side->lan));
	nat = packet_u16(&seen, packet_l4(&seen) + (proto == IPPROTO_ICMP ? 4 : 0));
	if (proto == IPPROTO_UDP)
		back = packet_udp(side->server, 53, side->lan, nat, "answer", 6);
	else if (proto == IPPROTO_TCP)
		back = packet_tcp(side->server, 80, side->lan, nat, PACKET_SYN | PACKET_ACK, 0);
	else
		back = packet_echo(side->server, side->lan, true, nat, 20);
	world_lan_send(wd, &back);
	assert_true(world_client_take(wd, k, &got, NULL));
	assert_true(packet_is_to(&got, side->client));
	assert_int_equal(
		packet_u16(&got, packet_l4(&got) + (proto == IPPROTO_ICMP ? 4 : 2)), sport);
	assert_true(packet_checksums_are_ok(got.bytes, got.size));
	world_expect_silence(wd);
	return seen;
}

static void exchange_all(struct world *wd, struct world_keys *keys, uint8_t proto)
{
	for (uint32_t slot = 0; slot < WORLD_CLIENTS; slot++)
		for (unsigned n = 0; n < 6; n++) {
			char text[64];
			struct side side = side_of(slot, n % 2 == 1, text);

			exchange(wd, &keys[slot], &side, proto, (uint16_t)(20000 + 7 * slot + n));
		}
}

// With a NIC that hashes, no packet of TCP or UDP ever changes workers.
static void nothing_moves_behind_rss(void **state)
{
	struct world_keys keys[WORLD_CLIENTS];
	struct world *wd = *state;
	struct dp_owner_stats owners;
	unsigned per_worker[WORKERS] = {0};

	connect_all(wd, keys);
	exchange_all(wd, keys, IPPROTO_UDP);
	exchange_all(wd, keys, IPPROTO_TCP);
	assert_int_equal(handed_off(wd), 0);
	for (uint32_t slot = 0; slot < WORLD_CLIENTS; slot++) {
		struct dp_client_stats stats;

		per_worker[world_owner(wd, slot)->index]++;
		assert_true(dp_client_stats_get(wd->dp, slot, &stats));
		assert_int_equal(stats.rx_packets, 12);
		assert_int_equal(stats.tx_packets, 12);
	}
	// Random, like the key; all eight clients on one of three workers is once in 2000 times.
	assert_true(per_worker[0] + per_worker[1] + per_worker[2] == WORLD_CLIENTS);
	dp_owner_stats_get(wd->dp, &owners);
	assert_int_equal(owners.kept, 0);

	// Echo hashes by addresses only: it arrives anywhere and finds its flow.
	exchange_all(wd, keys, IPPROTO_ICMP);
}

// With one queue, worker 0 does the wires of all, and each client still has one worker.
static void single_queue(void **state)
{
	struct world_keys keys[WORLD_CLIENTS];
	struct world *wd = *state;

	connect_all(wd, keys);
	exchange_all(wd, keys, IPPROTO_UDP);
	exchange_all(wd, keys, IPPROTO_TCP);
	exchange_all(wd, keys, IPPROTO_ICMP);
	for (unsigned i = 1; i < WORKERS; i++)
		assert_int_equal(dp_worker(wd->dp, i)->stats.rx_packets, 0);
	for (uint32_t slot = 0; slot < WORLD_CLIENTS; slot++)
		for (unsigned i = 0; i < WORKERS; i++)
			assert_int_equal(
				dp_worker(wd->dp, i)->clients[slot].is_alive,
				dp_worker(wd->dp, i) == world_owner(wd, slot));
}

// A client that a test makes another worker's than the one at which its packets arrive.
static uint32_t stray_client(struct world *wd, struct world_keys keys[WORLD_CLIENTS], int *queue)
{
	connect_all(wd, keys);
	*queue = (int)((world_owner(wd, 1)->index + 1) % wd->n_queues);
	return 1;
}

// ICMP errors find the flow by what they quote, wherever they arrive.
static void icmp_errors(void **state)
{
	struct world_keys keys[WORLD_CLIENTS];
	struct world *wd = *state;
	int queue;
	uint32_t slot = stray_client(wd, keys, &queue);

	for (unsigned family = 0; family < 2; family++) {
		static const uint8_t protos[] = {IPPROTO_UDP, IPPROTO_TCP, IPPROTO_ICMP};

		for (unsigned i = 0; i < COUNT_OF(protos); i++) {
			char text[64];
			struct side side = side_of(slot, family == 1, text);
			struct packet seen, error, got;

			seen = exchange(wd, &keys[slot], &side, protos[i], 20400);
			error = packet_icmp(
				side.router,
				side.lan,
				family == 1 ? 1 : 3,
				family == 1 ? 0 : 1,
				0,
				seen.bytes,
				seen.size);
			for (wd->queue = 0; wd->queue < (int)wd->n_queues; wd->queue++) {
				world_lan_send(wd, &error);
				assert_true(world_client_take(wd, &keys[slot], &got, NULL));
				assert_true(packet_is_from(&got, side.router));
				assert_true(packet_is_to(&got, side.client));
			}
			wd->queue = WORLD_BY_RSS;
		}
	}
}

// Protocols without ports: the pair of addresses is one worker's at a time.
static void pairs(void **state)
{
	struct world_keys keys[WORLD_CLIENTS];
	struct world *wd = *state;
	uint32_t a = 0, b = 1;
	struct packet out, back, got;
	char text[64];

	connect_all(wd, keys);
	while (b < WORLD_CLIENTS && world_owner(wd, a) == world_owner(wd, b))
		b++;
	if (b == WORLD_CLIENTS)
		skip(); // by chance all on one worker
	out = packet_proto(side_of(a, false, text).client, v4.server, IPPROTO_GRE, 40);
	back = packet_proto(v4.server, v4.lan, IPPROTO_GRE, 44);
	world_client_send(wd, &keys[a], &out);
	assert_true(world_lan_take(wd, &got));
	for (wd->queue = 0; wd->queue < (int)wd->n_queues; wd->queue++) {
		world_lan_send(wd, &back);
		assert_true(world_client_take(wd, &keys[a], &got, NULL));
		assert_true(packet_is_to(&got, text));
	}
	wd->queue = WORLD_BY_RSS;
	// Another client of another worker must not get those replies.
	out = packet_proto(side_of(b, false, text).client, v4.server, IPPROTO_GRE, 40);
	world_client_send(wd, &keys[b], &out);
	assert_int_equal(world_drops(wd, DROP_nat_ports_full), 1);
	assert_true(world_client_take(wd, &keys[b], &got, NULL)); // the answer
	world_expect_silence(wd);
}

// What belongs to nobody reaches the host once, wherever it arrives.
static void host_traffic(void **state)
{
	struct world *wd = *state;
	struct packet p, frame;
	struct dp_meta meta;

	for (unsigned i = 0; i < wd->n_queues; i++) {
		wd->queue = (int)i;
		p = packet_tcp(v4.server, 40000, v4.lan, 22, PACKET_SYN, 0);
		world_lan_send(wd, &p);
		p = packet_udp(v4.server, 40000, v4.lan, 25000, "nobody's", 8);
		world_lan_send(wd, &p);
		p = packet_echo(v6.server, v6.lan, false, 1, 8);
		world_lan_send(wd, &p);
		for (unsigned n = 0; n < 3; n++)
			assert_true(world_punt(wd, DP_PUNT_HOST, &frame, &meta));
		assert_false(world_punt(wd, DP_PUNT_HOST, &frame, &meta));
	}
}

static void path_set(struct world *wd, uint32_t slot, const char *addr, uint16_t port)
{
	struct dp_cmd cmd = {.type = DP_CMD_PATH_SET, .slot = slot};

	assert_int_equal(ip_addr_parse(&cmd.path_set.local.addr, "203.0.113.1"), 0);
	assert_int_equal(ip_addr_parse(&cmd.path_set.remote.addr, addr), 0);
	cmd.path_set.local.port = WORLD_UDP_PORT;
	cmd.path_set.remote.port = port;
	assert_int_equal(dp_cmd_send(wd->dp, &cmd), 0);
	world_run(wd);
}

// Before its keys a client moves freely; with keys it stays, and its packets are handed off.
static void roaming(void **state)
{
	struct world *wd = *state;
	struct dp_owner_stats before, after;
	struct world_keys keys[WORLD_CLIENTS];
	const struct worker *owner;
	uint16_t port = 1000;

	owner = world_owner(wd, 0);
	while (world_owner(wd, 0) == owner)
		path_set(wd, 0, "198.51.100.7", port++);
	dp_owner_stats_get(wd->dp, &before);
	assert_true(before.moved >= 1);
	assert_int_equal(before.kept, 0);
	assert_false(owner->clients[0].is_alive);
	assert_true(world_owner(wd, 0)->clients[0].is_alive);
	path_set(wd, 0, "198.51.100.7", WORLD_CLIENT_PORT);

	connect_all(wd, keys);
	owner = world_owner(wd, 0);
	do {
		path_set(wd, 0, "198.51.100.7", port++);
		assert_ptr_equal(world_owner(wd, 0), owner);
		dp_owner_stats_get(wd->dp, &after);
	} while (after.kept == 0);
	assert_ptr_equal(world_owner(wd, 0), owner);
	assert_true(owner->clients[0].is_alive);
	// It comes from where it came before, as far as the test's frames go; make them arrive elsewhere.
	path_set(wd, 0, "198.51.100.7", WORLD_CLIENT_PORT);
	wd->queue = (int)((owner->index + 1) % WORKERS);
	exchange_all(wd, keys, IPPROTO_UDP);
	assert_true(handed_off(wd) > 0);
	// Gone, it leaves no worker with its keys, and a new one starts over.
	assert_int_equal(
		dp_cmd_send(wd->dp, &(struct dp_cmd){.type = DP_CMD_CLIENT_DEL, .slot = 0}), 0);
	world_run(wd);
	for (unsigned i = 0; i < WORKERS; i++)
		assert_false(dp_worker(wd->dp, i)->clients[0].is_alive);
}

// Clients behind one relay come by one tuple; they keep the workers of their numbers.
static void relayed(void **state)
{
	struct world *wd = *state;

	for (uint32_t slot = 1; slot < WORLD_CLIENTS; slot++) {
		wd->channel = (uint16_t)(0x4000 + slot);
		world_client_add(wd, slot);
		assert_int_equal(world_owner(wd, slot)->index, slot % WORKERS);
	}
}

// Packets of one flow stay in order through the rings, both ways, over many bursts.
static void order(void **state)
{
	struct world_keys keys[WORLD_CLIENTS];
	struct world *wd = *state;
	char text[64];
	int queue;
	uint32_t slot = stray_client(wd, keys, &queue);
	struct side side = side_of(slot, false, text);
	struct packet seen = exchange(wd, &keys[slot], &side, IPPROTO_UDP, 20500), p, got;
	uint16_t nat = packet_u16(&seen, packet_l4(&seen));
	uint8_t sealed[PACKET_MAX];

	wd->queue = queue;
	for (unsigned round = 0; round < 5; round++) {
		for (uint8_t i = 0; i < 150; i++) {
			struct packet frame;
			size_t size;

			p = packet_udp(side.client, 20500, side.server, 53, &i, 1);
			size = world_seal(&keys[slot], p.bytes, p.size, sealed);
			frame = world_outer(wd, slot, sealed, size);
			world_wan_put(wd, &frame);
			p = packet_udp(side.server, 53, side.lan, nat, &i, 1);
			world_lan_put(wd, &p);
		}
		world_run(wd);
		for (uint8_t i = 0; i < 150; i++) {
			assert_true(world_lan_take(wd, &got));
			assert_int_equal(got.bytes[packet_l4(&got) + 8], i);
			assert_true(world_client_take(wd, &keys[slot], &got, NULL));
			assert_int_equal(got.bytes[packet_l4(&got) + 8], i);
		}
		world_expect_silence(wd);
	}
}

// An owner that does not keep up costs packets of its own, by name, and nobody else's.
static void full_ring(void **state)
{
	struct world_keys keys[WORLD_CLIENTS];
	struct world *wd = *state;
	char text[64];
	int queue;
	uint32_t slot = stray_client(wd, keys, &queue);
	struct side side = side_of(slot, false, text);
	unsigned arrived = 0;
	uint8_t sealed[PACKET_MAX];
	struct packet p, got;

	wd->queue = queue;
	for (unsigned round = 0; round < 6; round++) {
		for (unsigned i = 0; i < 200; i++) {
			size_t size;

			p = packet_udp(side.client, 20600, side.server, 53, "x", 1);
			size = world_seal(&keys[slot], p.bytes, p.size, sealed);
			p = world_outer(wd, slot, sealed, size);
			world_wan_put(wd, &p);
		}
		world_run_one(wd, (unsigned)queue);
	}
	assert_int_equal(world_drops(wd, DROP_handoff_full), 1200 - 1023);
	while (worker_run_once(world_owner(wd, slot), wd->now) > 0)
		while (world_lan_take(wd, &got))
			arrived++;
	world_run(wd);
	while (world_lan_take(wd, &got))
		arrived++;
	assert_int_equal(arrived, 1023);
	wd->queue = WORLD_BY_RSS;
	exchange(wd, &keys[slot], &side, IPPROTO_UDP, 20600);
}

// Rekeys while packets are in every ring: next, current and previous, and nothing is lost.
static void rekey_under_load(void **state)
{
	struct world_keys keys[WORLD_CLIENTS], k;
	struct world *wd = *state;
	char text[64];
	int queue;
	uint32_t slot = stray_client(wd, keys, &queue);
	struct side side = side_of(slot, false, text);
	struct packet seen = exchange(wd, &keys[slot], &side, IPPROTO_UDP, 20700), p, got;
	uint16_t nat = packet_u16(&seen, packet_l4(&seen));
	uint8_t sealed[PACKET_MAX];

	wd->queue = queue;
	k = keys[slot];
	for (uint8_t n = 2; n < 12; n++) {
		struct world_keys fresh;
		bool is_initiator = n % 3 == 0;
		unsigned to_lan = 0, to_client = 0;

		for (uint8_t i = 0; i < 30; i++) {
			p = packet_udp(side.client, 20700, side.server, 53, &i, 1);
			p = world_outer(wd, slot, sealed, world_seal(&k, p.bytes, p.size, sealed));
			world_wan_put(wd, &p);
			p = packet_udp(side.server, 53, side.lan, nat, &i, 1);
			world_lan_put(wd, &p);
		}
		// All of it is in the hand-off ring when the new keys come, one burst for the owner.
		world_run_one(wd, (unsigned)queue);
		fresh = world_keypair_add(wd, slot, n, is_initiator);
		// The old keys still work after, and before, the new ones were used.
		for (uint8_t i = 0; i < 40; i++) {
			struct world_keys *by = i % 2 == 0 ? &k : &fresh;

			p = packet_udp(side.client, 20700, side.server, 53, &i, 1);
			p = world_outer(wd, slot, sealed, world_seal(by, p.bytes, p.size, sealed));
			world_wan_put(wd, &p);
		}
		world_run(wd);
		while (world_lan_take(wd, &got))
			to_lan++;
		assert_int_equal(to_lan, 70);
		// Those that were sealed before the switch are the old keypair's, in order; an initiator
		// switches at once and says so with a keepalive.
		while (to_client < 30 && world_client_take(wd, &k, &got, NULL))
			to_client += got.size != 0;
		assert_int_equal(to_client, 30);
		if (is_initiator) {
			assert_true(world_client_take(wd, &fresh, &got, NULL));
			assert_int_equal(got.size, 0);
		}
		world_expect_silence(wd);
		p = packet_udp(side.server, 53, side.lan, nat, "new", 3);
		world_lan_send(wd, &p);
		assert_true(world_client_take(wd, &fresh, &got, NULL));
		k = fresh;
	}
	for (unsigned reason = 0; reason < DROP_REASON_COUNT; reason++)
		assert_int_equal(world_drops(wd, reason), 0);
}

// An injected outer packet goes by the worker that got the last command: behind the keys.
static void injected_after_keys(void **state)
{
	struct world_keys keys[WORLD_CLIENTS];
	struct world *wd = *state;

	connect_all(wd, keys);
	for (uint32_t slot = 0; slot < WORLD_CLIENTS; slot++) {
		const struct dp_cmd cmd = {.type = DP_CMD_KEYPAIRS_CLEAR, .slot = slot};
		struct packet p = packet_udp(
			"203.0.113.1", WORLD_UDP_PORT, "198.51.100.7", 40000, "answer", 6);
		struct rte_mbuf *m = dp_mbuf_alloc(wd->dp);
		struct packet frame;

		assert_non_null(m);
		memcpy(rte_pktmbuf_append(m, (uint16_t)p.size), p.bytes, p.size);
		*(struct dp_meta *)rte_mbuf_to_priv(m) = (struct dp_meta){.kind = DP_INJECT_IP};
		assert_int_equal(dp_cmd_send(wd->dp, &cmd), 0);
		assert_int_equal(dp_inject(wd->dp, m), 0);
		for (unsigned i = 0; i < WORKERS; i++) {
			if (dp_worker(wd->dp, i) == world_owner(wd, slot))
				continue;
			world_run_one(wd, i);
			assert_false(world_take(wd, WORLD_WAN, &frame));
		}
		world_run(wd);
		assert_true(world_take(wd, WORLD_WAN, &frame));
	}
}

#define FLEET_TEST(test, setup) cmocka_unit_test_setup_teardown(test, setup, world_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		FLEET_TEST(nothing_moves_behind_rss, setup_rss),
		FLEET_TEST(nothing_moves_behind_rss, setup_rss_v6),
		FLEET_TEST(single_queue, setup_single),
		FLEET_TEST(single_queue, setup_single_v6),
		FLEET_TEST(icmp_errors, setup_rss),
		FLEET_TEST(icmp_errors, setup_single),
		FLEET_TEST(pairs, setup_rss),
		FLEET_TEST(pairs, setup_single),
		FLEET_TEST(host_traffic, setup_rss),
		FLEET_TEST(host_traffic, setup_short),
		FLEET_TEST(roaming, setup_rss),
		FLEET_TEST(relayed, setup_single),
		FLEET_TEST(order, setup_rss),
		FLEET_TEST(order, setup_short),
		FLEET_TEST(full_ring, setup_rss),
		FLEET_TEST(rekey_under_load, setup_rss),
		FLEET_TEST(rekey_under_load, setup_rss_v6),
		FLEET_TEST(injected_after_keys, setup_rss),
	};

	return cmocka_run_group_tests(tests, unit_eal_init, unit_eal_fini);
}
