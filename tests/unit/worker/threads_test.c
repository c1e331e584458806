// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "dataplane/worker/worker.h"
#include "tests/unit/stage/world.h"
#include "tests/unit/unit.h"

#include <rte_mempool.h>
#include <rte_ring.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/*
 * Two workers and control in threads of their own: hand-off both ways, commands, events, injected and
 * punted packets, policies, FIBs and addresses published and retired under traffic. Meant for
 * ThreadSanitizer (tests/run builds it so), for which everything that passes from thread to thread
 * must pass in code that it sees: rings and RCU are inline in DPDK's headers (with
 * RTE_USE_C11_MEM_MODEL the rings use atomics instead of barriers), mbufs change hands in a pool of
 * our own below, and the rings of the ports, whose driver is a shared library, have the same thread at
 * both ends.
 */

enum {
	WORKERS = 2,
	ROUNDS = 250,
	QUIET_LOOPS = 64, // of each worker, longer than any packet takes
	SLOTS = WORLD_CLIENTS,
	UNDER_WAY_MAX = 64,
	CONTROL_PAUSE_US = 50, // what it injects must not fill the hand-off rings
};

// A mempool of one ring in code that the sanitizer sees.

static int pool_alloc(struct rte_mempool *mp)
{
	char name[RTE_RING_NAMESIZE];

	snprintf(name, sizeof(name), "t_%s", mp->name);
	mp->pool_data = rte_ring_create(name, rte_align32pow2(mp->size + 1), mp->socket_id, 0);
	return mp->pool_data != NULL ? 0 : -ENOMEM;
}

static void pool_free(struct rte_mempool *mp)
{
	rte_ring_free(mp->pool_data);
}

static int pool_enqueue(struct rte_mempool *mp, void *const *objects, unsigned n)
{
	return rte_ring_mp_enqueue_bulk(mp->pool_data, objects, n, NULL) == n ? 0 : -ENOBUFS;
}

static int pool_dequeue(struct rte_mempool *mp, void **objects, unsigned n)
{
	return rte_ring_mc_dequeue_bulk(mp->pool_data, objects, n, NULL) == n ? 0 : -ENOBUFS;
}

static unsigned pool_count(const struct rte_mempool *mp)
{
	return rte_ring_count(mp->pool_data);
}

static const struct rte_mempool_ops pool_ops = {
	.name = "threads",
	.alloc = pool_alloc,
	.free = pool_free,
	.enqueue = pool_enqueue,
	.dequeue = pool_dequeue,
	.get_count = pool_count,
};

// What one worker's thread does besides: it is the other end of its own queues.
struct lane {
	struct world *wd;
	unsigned index, n_feeders;
	struct world_keys *keys; // of all slots; those that we send for are ours alone
	atomic_uint *n_done; // lanes that have sent all
	atomic_bool *is_stopping;
	atomic_uint *n_under_way; // to the LAN: rings are short
	unsigned sent, answered, on_lan, at_clients;
};

static void put(const struct lane *l, int port, const struct packet *frame)
{
	struct rte_mbuf *m = rte_pktmbuf_alloc(dp_worker(l->wd->dp, l->index)->pool);

	if (m == NULL)
		return;
	memcpy(rte_pktmbuf_append(m, (uint16_t)frame->size), frame->bytes, frame->size);
	if (rte_ring_enqueue(l->wd->rx[port][l->index], m) != 0)
		rte_pktmbuf_free(m);
}

static void clients_send(struct lane *l, unsigned round)
{
	for (uint32_t slot = l->index; slot < SLOTS; slot += l->n_feeders) {
		uint8_t payload[PACKET_MAX];
		char client[32];
		struct packet ip, frame;
		size_t size;

		snprintf(client, sizeof(client), "100.64.0.%u", slot + 1);
		ip = packet_udp(
			client, (uint16_t)(20000 + round % 20), WORLD_SERVER_V4, 53, "question", 8);
		size = world_seal(&l->keys[slot], ip.bytes, ip.size, payload);
		frame = world_outer(l->wd, slot, payload, size);
		put(l, WORLD_WAN, &frame);
		l->sent++;
		atomic_fetch_add_explicit(l->n_under_way, 1, memory_order_relaxed);
	}
}

// What came out on the LAN is answered, by the same queue, whoever's flow it is.
static void wires_empty(struct lane *l)
{
	static const uint8_t server_mac[6] = {2, 0, 0, 0, 0, 0x10};
	struct rte_mbuf *m;

	while (rte_ring_dequeue(l->wd->tx[WORLD_WAN][l->index], (void *)&m) == 0) {
		l->at_clients++;
		rte_pktmbuf_free(m);
	}
	while (rte_ring_dequeue(l->wd->tx[WORLD_LAN][l->index], (void *)&m) == 0) {
		struct packet seen = {.size = m->pkt_len - 14u}, back, frame;

		memcpy(seen.bytes, rte_pktmbuf_mtod_offset(m, uint8_t *, 14), seen.size);
		rte_pktmbuf_free(m);
		l->on_lan++;
		atomic_fetch_sub_explicit(l->n_under_way, 1, memory_order_relaxed);
		back = packet_udp(
			WORLD_SERVER_V4,
			53,
			WORLD_LAN_V4,
			packet_u16(&seen, packet_l4(&seen)),
			"answer",
			6);
		frame = packet_ether(l->wd->mac[WORLD_LAN], server_mac, &back);
		put(l, WORLD_LAN, &frame);
		l->answered++;
	}
}

static void *lane_main(void *arg)
{
	struct lane *l = arg;
	struct worker *w = dp_worker(l->wd->dp, l->index);
	unsigned loop = 0, round = l->index < l->n_feeders ? 0 : ROUNDS - 1;

	rte_rcu_qsbr_thread_online(w->rcu, w->index);
	while (!atomic_load(l->is_stopping)) {
		// Relaxed: the sanitizer must not take it for the way that packets pass.
		bool is_next = round < ROUNDS
			&& atomic_load_explicit(l->n_under_way, memory_order_relaxed)
				< UNDER_WAY_MAX;

		if (is_next && l->index < l->n_feeders)
			clients_send(l, round);
		worker_run_once(w, l->wd->now);
		if (l->index < l->wd->n_queues)
			wires_empty(l);
		if (loop++ % 8 == 0)
			worker_housekeep(w);
		if (is_next && ++round == ROUNDS)
			atomic_fetch_add(l->n_done, 1);
	}
	worker_housekeep(w);
	rte_rcu_qsbr_thread_offline(w->rcu, w->index);
	return NULL;
}

// Control ----------------------------------------------------------------------------------------

static void policy_free(void *arg, const void *object)
{
	const struct acl_policy *p = object;
	struct world *wd = arg;

	acl_set_put(wd->acl, p->set);
	free((void *)(uintptr_t)p);
}

// Everything stays allowed, under a new generation and in new memory.
static void policy_renew(struct world *wd, uint32_t slot)
{
	const struct acl_policy *old = dp_policy_get(wd->dp, slot);
	size_t size = sizeof(*old) + old->n_resources * sizeof(old->expires_tsc[0]);
	struct acl_policy *p = malloc(size);

	assert_non_null(p);
	memcpy(p, old, size);
	p->generation = ++wd->generation;
	acl_set_ref(p->set);
	wd->policy[slot] = p;
	dp_retire(wd->dp, dp_policy_publish(wd->dp, slot, p), policy_free, wd);
}

static void inject(struct world *wd, uint32_t slot)
{
	struct rte_mbuf *m = dp_mbuf_alloc(wd->dp);
	struct packet ip = packet_udp("192.0.2.10", 7, "100.64.0.1", 7, "hello", 5);
	struct dp_meta *meta;

	if (m == NULL)
		return;
	memcpy(rte_pktmbuf_append(m, (uint16_t)ip.size), ip.bytes, ip.size);
	meta = rte_mbuf_to_priv(m);
	*meta = (struct dp_meta){.kind = DP_INJECT_CLIENT, .slot = slot};
	if (dp_inject(wd->dp, m) < 0)
		rte_pktmbuf_free(m);
}

static void poll_all(struct world *wd)
{
	struct dp_worker_stats stats;
	struct dp_client_stats client;
	struct dp_event events[16];
	struct rte_mbuf *m;

	while (dp_event_poll(wd->dp, events, COUNT_OF(events)) > 0)
		;
	for (unsigned i = 0; i < DP_PUNT_COUNT; i++)
		while (dp_punt_poll(wd->dp, i, &m, 1) == 1)
			rte_pktmbuf_free(m);
	dp_worker_stats_get(wd->dp, &stats);
	assert_true(dp_client_stats_get(wd->dp, 0, &client));
	if (dp_sleep_enter(wd->dp))
		dp_sleep_leave(wd->dp);
}

static void control_step(struct world *wd, unsigned step)
{
	const struct ip_addr v4 = {.family = IP_FAMILY_V4, .bytes = {100, 64, 9, 9}};
	const struct ip_addr v6 = {.family = IP_FAMILY_V6, .bytes = {0xfd}};
	const struct ip_endpoint relay = {.addr = v4, .port = 3478};
	uint32_t slot = step % SLOTS;
	struct dp_cmd clear = {.type = DP_CMD_FLOWS_CLEAR, .slot = slot};

	policy_renew(wd, slot);
	if (step % 4 == 0)
		inject(wd, slot);
	if (step % 4 == 0)
		world_fib_set(wd, NULL, false);
	if (step % 4 == 1)
		dp_tunnel_set(wd->dp, &v4, &v6);
	if (step % 4 == 2)
		dp_relays_set(wd->dp, &relay, 1);
	if (step % 16 == 3 && dp_cmd_send(wd->dp, &clear) < 0)
		return;
	poll_all(wd);
	dp_reclaim(wd->dp);
	usleep(CONTROL_PAUSE_US);
}

// @return whether no packet moved while each worker made some loops
static bool is_quiet(struct world *wd)
{
	bool is_same = true;

	for (unsigned i = 0; i < WORKERS; i++) {
		struct dp_worker_stats all, one, now;
		uint64_t loops;

		dp_worker_stats_get(wd->dp, &all);
		assert_true(dp_worker_stats_of(wd->dp, i, &one));
		loops = one.loops + QUIET_LOOPS;
		do {
			usleep(1000);
			assert_true(dp_worker_stats_of(wd->dp, i, &one));
		} while (one.loops < loops);
		dp_worker_stats_get(wd->dp, &now);
		is_same = is_same && now.rx_packets == all.rx_packets
			&& now.tx_packets == all.tx_packets && now.handed_in == all.handed_in
			&& now.handed_off == all.handed_off;
	}
	return is_same;
}

static void threads_run(struct world *wd, unsigned n_feeders)
{
	struct world_keys keys[SLOTS];
	struct packet none = {0};
	struct lane lanes[WORKERS];
	pthread_t threads[WORKERS];
	atomic_uint n_done = 0, n_under_way = 0;
	atomic_bool is_stopping = false;
	struct dp_worker_stats stats;
	unsigned sent = 0, on_lan = 0, at_clients = 0;

	for (uint32_t slot = 0; slot < SLOTS; slot++) {
		keys[slot] = world_keypair_add(wd, slot, 1, false);
		world_client_send(wd, &keys[slot], &none);
		world_policy_open(wd, slot, UINT64_MAX);
	}
	for (unsigned i = 0; i < WORKERS; i++) {
		lanes[i] = (struct lane){
			.wd = wd,
			.index = i,
			.n_feeders = n_feeders,
			.keys = keys,
			.n_done = &n_done,
			.is_stopping = &is_stopping,
			.n_under_way = &n_under_way,
		};
		assert_int_equal(pthread_create(&threads[i], NULL, lane_main, &lanes[i]), 0);
	}
	for (unsigned step = 0; atomic_load(&n_done) < WORKERS; step++)
		control_step(wd, step);
	while (!is_quiet(wd))
		;
	atomic_store(&is_stopping, true);
	for (unsigned i = 0; i < WORKERS; i++) {
		assert_int_equal(pthread_join(threads[i], NULL), 0);
		sent += lanes[i].sent;
		on_lan += lanes[i].on_lan;
		at_clients += lanes[i].at_clients;
	}
	poll_all(wd);
	assert_int_equal(dp_reclaim(wd->dp), 0);
	dp_worker_stats_get(wd->dp, &stats);
	assert_int_equal(sent, SLOTS * ROUNDS);
	assert_int_equal(on_lan, sent);
	assert_true(at_clients > 0);
	assert_true(stats.handed_off > 0);
	assert_int_equal(stats.handed_off, stats.handed_in);
	assert_int_equal(stats.drops[DROP_handoff_full], 0);
}

// The RSS key is random: once in a while all clients are of the worker that their packets arrive at.
static bool is_mixed(struct world *wd)
{
	for (uint32_t slot = 0; slot < SLOTS; slot++)
		if (world_owner(wd, slot)->index != slot % wd->n_queues)
			return true;
	return false;
}

static int setup(void **state, unsigned n_queues)
{
	while (world_fleet_setup(state, WORKERS, n_queues, false) == 0) {
		for (uint32_t slot = 1; slot < SLOTS; slot++)
			world_client_add(*state, slot);
		if (is_mixed(*state))
			return 0;
		for (uint32_t slot = 0; slot < SLOTS; slot++)
			world_policy_open(*state, slot, UINT64_MAX);
		world_teardown(state);
	}
	return -1;
}

static int setup_two_queues(void **state)
{
	return setup(state, WORKERS);
}

static int setup_one_queue(void **state)
{
	return setup(state, 1);
}

// Each thread sends for half of the clients; about half of them are the other worker's.
static void a_queue_for_each(void **state)
{
	threads_run(*state, WORKERS);
}

// The first worker receives and sends for both.
static void one_queue_for_both(void **state)
{
	threads_run(*state, 1);
}

static int group_setup(void **)
{
	char *argv[] = {
		(char[]){"unit"},
		(char[]){"--no-huge"},
		(char[]){"--no-shconf"},
		(char[]){"--no-pci"},
		(char[]){"--no-telemetry"},
		(char[]){"--log-level=lib.*:error"},
		(char[]){"--mbuf-pool-ops-name=threads"},
		(char[]){"-m"},
		(char[]){"128"},
		(char[]){"-l"},
		(char[]){"0"},
		NULL,
	};

	if (rte_mempool_register_ops(&pool_ops) < 0)
		return -1;
	return rte_eal_init(COUNT_OF(argv) - 1, argv) < 0 ? -1 : 0;
}

static int group_teardown(void **)
{
	return rte_eal_cleanup();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_queue_for_each, setup_two_queues, world_teardown),
		cmocka_unit_test_setup_teardown(
			one_queue_for_both, setup_one_queue, world_teardown),
	};

	return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
