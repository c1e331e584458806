// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "dataplane/worker/worker.h"

#include "control/base/clock.h"
#include "control/base/err.h"
#include "control/base/log.h"
#include "dataplane/port/port.h"
#include "dataplane/stage/stage.h"
#include "dataplane/worker/clock.h"
#include "dataplane/worker/handoff.h"
#include "dataplane/worker/idle.h"
#include "dataplane/worker/session.h"

#include <rte_cycles.h>
#include <rte_errno.h>
#include <rte_malloc.h>
#include <sodium.h>

#include <errno.h>
#include <string.h>

#define LOG_AREA "dataplane.worker"

static_assert(offsetof(struct worker, now) % 64 == 0, "per-loop fields start a cache line");
static_assert(offsetof(struct worker, stats) % 64 == 0, "counters start a cache line");

bool worker_event_send(struct worker *w, const struct dp_event *event)
{
	if (rte_ring_enqueue_elem(w->channel->events, (void *)(uintptr_t)event, sizeof(*event)) < 0)
		return false;
	w->is_signal_due = true;
	return true;
}

void worker_tx(struct worker *w, uint16_t port_id, struct rte_mbuf *m)
{
	struct worker_tx *tx = &w->tx[port_id];

	if (unlikely(tx->via != w->index)) {
		handoff_tx(w, tx->via, m, port_id);
		return;
	}
	if (unlikely(tx->n == WORKER_TX_CAP)) {
		worker_drop(w, m, DROP_tx_full);
		return;
	}
	tx->pkts[tx->n++] = m;
}

bool worker_tx_flush(struct worker *w)
{
	bool is_left = false;

	if (w->n_workers > 1)
		handoff_flush(w);
	for (uint16_t i = 0; i < w->n_ports; i++) {
		struct worker_tx *tx = &w->tx[w->ports[i]->id];
		uint16_t sent;

		if (tx->n == 0)
			continue;
		sent = rte_eth_tx_burst(w->ports[i]->id, (uint16_t)w->index, tx->pkts, tx->n);
		stat_add(&w->stats.tx_packets, sent);
		tx->n -= sent;
		// What the NIC did not take goes first the next time: order is kept.
		if (unlikely(tx->n > 0)) {
			memmove(tx->pkts, tx->pkts + sent, tx->n * sizeof(tx->pkts[0]));
			is_left = true;
		}
	}
	return is_left;
}

bool worker_is_local(struct worker *w, uint8_t family, const uint8_t *addr)
{
	struct ip_addr a = {.family = family};
	struct ip_addr *memo = family == IP_FAMILY_V4 ? &w->local_v4 : &w->local_v6;

	if (unlikely(w->fib == NULL))
		return false;
	memcpy(a.bytes, addr, family == IP_FAMILY_V4 ? 4 : 16);
	if (unlikely(w->local_generation != w->fib_generation)) {
		w->local_v4 = (struct ip_addr){0};
		w->local_v6 = (struct ip_addr){0};
		w->local_generation = w->fib_generation;
	}
	if (likely(memcmp(memo, &a, sizeof(a)) == 0))
		return true;
	if (!fib_is_local(w->fib, &a))
		return false;
	*memo = a;
	return true;
}

static void worker_load(struct worker *w, uint64_t now)
{
	w->now = now;
	w->flow_tick = flow_table_tick(w->flows, now);
	w->fib = atomic_load_explicit(&w->published->fib, memory_order_acquire);
	w->tunnel = atomic_load_explicit(&w->published->tunnel, memory_order_acquire);
	w->relays = atomic_load_explicit(&w->published->relays, memory_order_acquire);
	w->fib_generation = w->fib != NULL ? fib_generation(w->fib) : 0;
}

void worker_stages(struct worker *w)
{
	if (w->up.n_live > 0) {
		stage_decrypt(w, &w->up);
		stage_inner(w, &w->up);
		PROBE(w, inner);
		stage_up_tail(w, &w->up);
	}
	if (w->down.n_live > 0)
		stage_nat_in(w, &w->down);
	PROBE(w, nat_in);
}

static unsigned worker_rx(struct worker *w, uint16_t port_id)
{
	struct rte_mbuf *pkts[DP_BURST_MAX];
	uint16_t n;

	PROBE(w, rest);
	n = rte_eth_rx_burst(port_id, (uint16_t)w->index, pkts, DP_BURST_MAX);
	PROBE(w, rx);
	if (n == 0)
		return 0;
	stat_add(&w->stats.rx_packets, n);
	stage_demux(w, port_id, pkts, n);
	PROBE(w, demux);
	worker_stages(w);
	return n;
}

void worker_housekeep(struct worker *w)
{
	struct flow_table_stats flows;

	w->loops_to_housekeeping = WORKER_HOUSEKEEPING_LOOPS;
	timer_run(&w->timers, w->now, worker_client_visit, w);
	flow_table_expire(w->flows, w->now, WORKER_FLOW_EXPIRE_BUDGET);
	hold_run(w);
	stage_encrypt(w);
	flow_table_stats_get(w->flows, &flows);
	stat_set(&w->stats.flows, flows.flows);
	if (w->is_signal_due) {
		w->is_signal_due = false;
		channel_wake_control(w->channel);
	}
	rte_rcu_qsbr_quiescent(w->rcu, w->index);
}

unsigned worker_run_once(struct worker *w, uint64_t now)
{
	unsigned work = 0, n_cmds;

	worker_load(w, now);
	stat_add(&w->stats.loops, 1);
	for (uint16_t i = 0; i < w->n_rx_ports; i++)
		work += worker_rx(w, w->rx_ports[i]->id);
	if (w->n_workers > 1)
		work += handoff_run(w);
	// Before commands: they may wipe what queued packets are to be encrypted with.
	stage_encrypt(w);
	n_cmds = worker_cmds_run(w);
	work += n_cmds;
	// What is injected may rely on the commands that were sent before it.
	if (likely(n_cmds < WORKER_CMDS_PER_LOOP))
		work += worker_inject_run(w);
	if (unlikely(w->hold.n > 0))
		hold_run(w);
	stage_encrypt(w);
	PROBE(w, rest);
	work += worker_tx_flush(w);
	PROBE(w, tx);
	if (w->is_signal_due) {
		w->is_signal_due = false;
		channel_wake_control(w->channel);
	}
	return work;
}

void worker_drain(struct worker *w)
{
	enum {
		TRIES = 1000
	};

	for (unsigned i = 0; i < TRIES; i++) {
		bool is_left = worker_cmds_run(w) + worker_inject_run(w) + handoff_run(w) > 0;

		stage_encrypt(w);
		if (!worker_tx_flush(w) && !is_left)
			return;
		rte_delay_us_block(10);
	}
}

int worker_main(void *arg)
{
	struct worker *w = arg;
	struct worker_clock clock;

	worker_clock_init(&clock, w->tsc_hz, rte_rdtsc(), clock_boot_ns);
	rte_rcu_qsbr_thread_online(w->rcu, w->index);
	idle_start(w);
	w->loops_to_housekeeping = WORKER_HOUSEKEEPING_LOOPS;
	while (!atomic_load_explicit(&w->is_stopping, memory_order_relaxed)) {
		bool is_idle = worker_run_once(w, worker_clock_now(&clock, rte_rdtsc())) == 0;

		if (--w->loops_to_housekeeping == 0)
			worker_housekeep(w);
		if (is_idle)
			idle_wait(w);
		else
			w->empty_loops = 0;
	}
	worker_load(w, worker_clock_now(&clock, rte_rdtsc()));
	worker_drain(w);
	rte_rcu_qsbr_thread_offline(w->rcu, w->index);
	return 0;
}

static int worker_memory_init(struct worker *w, const struct worker_config *config)
{
	const struct dp_config *dp = config->dp;
	struct flow_table_config fc = {
		.max_flows = (dp->max_flows + config->n_workers - 1) / config->n_workers,
		.max_clients = dp->max_clients,
		.nat_port_first = dp->nat_port_first,
		.nat_port_last = dp->nat_port_last,
		.tsc_hz = w->tsc_hz,
		.now = clock_ticks(clock_boot_ns(), w->tsc_hz),
		.socket_id = config->socket_id,
		.share = config->share,
		.worker = config->index,
	};

	randombytes_buf(&fc.seed, sizeof(fc.seed));
	w->clients = rte_zmalloc_socket(
		"sp_clients",
		sizeof(struct client) * dp->max_clients,
		RTE_CACHE_LINE_SIZE,
		config->socket_id);
	if (w->clients == NULL)
		return err_set(ENOMEM);
	for (uint32_t i = 0; i < dp->max_clients; i++)
		client_fini(&w->clients[i]);
	timer_init(&w->timers, w->clients, fc.now, w->tsc_hz);
	w->flows = flow_table_create(&fc);
	if (w->flows == NULL)
		return -errno;
	w->aead = aead_create(config->socket_id);
	return w->aead != NULL ? 0 : -errno;
}

static void worker_port_add(struct worker *w, uint16_t i, const struct port *port)
{
	struct worker_tx *tx = &w->tx[port->id];

	w->ports[i] = port;
	tx->port = port;
	tx->via = (uint8_t)(w->index % port->n_queues);
	if (w->index < port->n_queues)
		w->rx_ports[w->n_rx_ports++] = port;
}

static int worker_init(struct worker *w, const struct worker_config *config)
{
	const struct dp_config *dp = config->dp;
	int rc;

	w->published = config->published;
	w->channels = config->channels;
	w->channel = &config->channels[config->index];
	w->share = config->share;
	w->pool = config->pool;
	w->rcu = config->rcu;
	w->index = config->index;
	w->n_workers = config->n_workers;
	w->max_clients = dp->max_clients;
	w->udp_port = rte_cpu_to_be_16(dp->udp_port);
	w->nat_port_first = dp->nat_port_first;
	w->nat_port_last = dp->nat_port_last;
	w->idle = dp->idle;
	w->tsc_hz = rte_get_tsc_hz();
	w->keypair_life_tsc = SESSION_REJECT_S * w->tsc_hz;
	w->icmp_interval_tsc = w->tsc_hz
		/ (config->dp->icmp_per_second != 0 ? config->dp->icmp_per_second
						    : CLIENT_ICMP_PER_SECOND);
	w->loops_to_housekeeping = WORKER_HOUSEKEEPING_LOOPS;
	w->n_ports = (uint16_t)dp->n_ports;
	for (uint16_t i = 0; i < w->n_ports; i++)
		worker_port_add(w, i, &config->ports[i]);
	rc = worker_memory_init(w, config);
	if (rc < 0)
		return rc;
	rc = rte_rcu_qsbr_thread_register(w->rcu, w->index);
	if (rc != 0)
		return err_set(EINVAL);
	return idle_init(w);
}

struct worker *worker_create(const struct worker_config *config)
{
	struct worker *w;
	int rc;

	w = rte_zmalloc_socket("sp_worker", sizeof(*w), RTE_CACHE_LINE_SIZE, config->socket_id);
	if (w == NULL) {
		LOG(ERR, "rte_zmalloc_socket(worker) failed size=%zu", sizeof(*w));
		return err_set_null(ENOMEM);
	}
	w->epoll_fd = -1;
	rc = worker_init(w, config);
	if (rc < 0) {
		LOG(ERR, "worker setup failed error=\"%s\"", rte_strerror(-rc));
		worker_destroy(w);
		return err_set_null(-rc);
	}
	return w;
}

void worker_destroy(struct worker *w)
{
	if (w == NULL)
		return;
	hold_clear(w);
	handoff_clear(w);
	for (uint16_t i = 0; i < w->seal.n; i++)
		rte_pktmbuf_free(w->seal.pkt[i]);
	for (uint16_t i = 0; i < w->n_ports; i++) {
		struct worker_tx *tx = &w->tx[w->ports[i]->id];

		rte_pktmbuf_free_bulk(tx->pkts, tx->n);
	}
	rte_rcu_qsbr_thread_unregister(w->rcu, w->index);
	idle_fini(w);
	aead_destroy(w->aead);
	flow_table_destroy(w->flows);
	if (w->clients != NULL)
		sodium_memzero(w->clients, sizeof(struct client) * w->max_clients);
	rte_free(w->clients);
	rte_free(w);
}
