// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include "dataplane/crypto/aead.h"
#include "dataplane/flow/flow.h"
#include "dataplane/flow/flow_share.h"
#include "dataplane/stage/burst.h"
#include "dataplane/stage/probe.h"
#include "dataplane/worker/channel.h"
#include "dataplane/worker/client.h"
#include "dataplane/worker/dp.h"
#include "dataplane/worker/owner.h"
#include "dataplane/worker/timer.h"

#include <rte_epoll.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>
#include <rte_rcu_qsbr.h>
#include <rte_ring.h>

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/**
 * One worker: a lcore, its queue of each port, and everything its packets touch. Workers share
 * nothing but what control publishes through struct dp_published and the rule by which replies find
 * their flow (flow_share.h); packets of another worker's go to it by ring (handoff.h).
 *
 * A worker never locks, allocates from the heap, logs or makes a system call, with two exceptions
 * that only happen when there is nothing else to do: going to sleep, and waking a sleeping control.
 *
 * Thread-safety: fields belong to the worker's thread unless their comment says otherwise.
 */

enum {
	WORKER_HOUSEKEEPING_LOOPS = 256, // quiescent report, timers, statistics
	WORKER_FLOW_EXPIRE_BUDGET = 512, // flow entries looked at per housekeeping
	WORKER_TX_CAP = 256, // packets that wait for a full NIC queue, per port
	WORKER_CMDS_PER_LOOP = 32,
	WORKER_PORTS_MAX = 16,
	HOLD_CAP = 256, // packets that wait for next hops
	HOLD_PER_HOP = 32,

	WORKER_SLEEP_EMPTY_LOOPS = 64, // without work before sleeping
	WORKER_SLEEP_MS = 10, // longest sleep with interrupts: bounds the timers' lateness
	WORKER_NAP_US = 100, // sleep without interrupts
};

/** The gateway's addresses in the tunnel. */
struct dp_tunnel {
	struct ip_addr v4, v6;
};

/** Where ChannelData may come from. */
struct dp_relays {
	size_t n;
	struct ip_endpoint relay[DP_RELAYS_MAX];
};

/** What control publishes and workers read, each pointer kept alive by RCU. */
struct dp_published {
	_Atomic(const struct fib *) fib; // control: rw, workers: ro
	_Atomic(const struct dp_tunnel *) tunnel; // control: rw, workers: ro; never NULL
	_Atomic(const struct dp_relays *) relays; // control: rw, workers: ro; never NULL
	_Atomic(const struct acl_policy *) *policies; // by slot; control: rw, workers: ro
	// Of the policies, by slot; 0 without. Lets a packet of a known flow leave them alone: 40 KB
	// for 10,000 clients stay in the cache, 10,000 policies do not. Written after the pointer, so
	// a worker that sees the new number sees the new policy.
	_Atomic(uint32_t) *generations; // control: rw, workers: ro
	_Atomic uint8_t *owners; // workers by slot; control: rw, workers: ro
};

struct worker_tx {
	const struct port *port; // NULL: no such port
	uint8_t via; // the worker that sends for us: ourselves, if the port has a queue for us
	uint16_t n; // packets waiting
	struct rte_mbuf *pkts[WORKER_TX_CAP];
};

/** A packet that waits until its next hop resolves. */
struct hold_entry {
	struct rte_mbuf *m; // data: inner IP packet (is_inner) or outer IP packet
	struct ip_addr dst; // what to look up
	struct ip_addr next_hop;
	uint64_t deadline_tsc;
	uint32_t slot; // of an inner packet
	uint16_t port_id;
	bool is_inner;
	uint8_t outer_ecn;
};

struct hold {
	uint32_t fib_generation; // the entries were looked at with
	uint16_t n;
	uint64_t ask_tsc; // when control is reminded of what still waits
	uint64_t failed_ask_tsc; // when control may be asked again about a failed next hop
	struct hold_entry entries[HOLD_CAP]; // oldest first
};

/** Packets on their way to clients, gathered over a loop for one AEAD burst. */
struct seal_queue {
	uint16_t n;
	struct rte_mbuf *pkt[DP_BURST_MAX];
	struct client *client[DP_BURST_MAX];
};

/** Packets that go to another worker at the end of the loop. */
struct handoff_out {
	uint16_t n;
	struct rte_mbuf *pkts[DP_BURST_MAX];
};

struct worker {
	// Constant after worker_create().
	struct dp_published *published;
	struct dp_channel *channel; // ours
	struct dp_channel *channels; // of all workers
	struct client *clients; // by slot
	struct rte_mempool *pool;
	struct flow_table *flows;
	struct aead *aead;
	struct rte_rcu_qsbr *rcu;
	uint64_t tsc_hz;
	uint64_t keypair_life_tsc; // REJECT_AFTER_TIME
	uint64_t icmp_interval_tsc; // between two ICMP answers for one client in the long run
	uint32_t max_clients;
	unsigned index; // our number, and that of our queues and our RCU thread
	unsigned n_workers;
	struct flow_share *share; // NULL: we are alone
	rte_be16_t udp_port;
	uint16_t nat_port_first, nat_port_last; // host order
	enum dp_idle idle;
	uint16_t n_ports, n_rx_ports;
	const struct port *ports[WORKER_PORTS_MAX];
	const struct port *rx_ports[WORKER_PORTS_MAX]; // those with a queue of ours

	// Loaded or reset each loop.
	uint64_t now __rte_aligned(64); // TSC at the start of the burst
	const struct fib *fib; // NULL before the first one is published
	const struct dp_tunnel *tunnel;
	const struct dp_relays *relays;
	uint32_t fib_generation; // of fib; 0 without
	uint32_t flow_tick;
	bool is_signal_due; // control has something new to read
	uint32_t empty_loops;
	uint32_t loops_to_housekeeping;
	// Memo of the last answers of fib_is_local(), for fib_generation.
	struct ip_addr local_v4, local_v6;
	uint32_t local_generation;

	struct dp_worker_stats stats __rte_aligned(64); // worker: rw, anyone: ro
	struct timer_wheel timers;
	struct seal_queue seal;
	struct burst up, down;
	struct hold hold;
	struct worker_tx tx[RTE_MAX_ETHPORTS]; // by DPDK port id
	struct handoff_out handoff[DP_WORKERS_MAX]; // by worker

	// Sleeping.
	int epoll_fd;
	bool has_rx_intr; // each of our queues can wake us
	struct rte_epoll_event kick_event;
	struct rte_epoll_event port_events[WORKER_PORTS_MAX];
	bool is_intr_armable[WORKER_PORTS_MAX]; // needs rte_eth_dev_rx_intr_enable()

#ifdef SALLYPORT_PROBE
	struct probe probe;
#endif

	atomic_bool is_stopping __rte_aligned(64); // control: rw, worker: ro
};

struct worker_config {
	const struct dp_config *dp;
	struct dp_published *published;
	struct dp_channel *channels; // of all workers
	struct flow_share *share; // NULL: there is one worker
	struct port *ports; // opened; dp->n_ports of them
	struct rte_mempool *pool;
	struct rte_rcu_qsbr *rcu;
	unsigned index, n_workers;
	int socket_id;
};

/** @return a worker, or NULL with errno after one log line. */
struct worker *worker_create(const struct worker_config *config);
/** Wipes keys and frees everything, waiting packets included. NULL is allowed. */
void worker_destroy(struct worker *w);

/**
 * Instead of dp_start(): starts the ports and hands out the first worker for the caller to run itself
 * with worker_run_once(). For tests and benchmarks. @return NULL with errno
 */
struct worker *dp_start_inline(struct dp *dp);
/** @return worker @p index, after dp_create(). For the same. */
struct worker *dp_worker(struct dp *dp, unsigned index);
/** @return where packets arrive. For the same. */
const struct rss *dp_rss(const struct dp *dp);

/** The lcore function: loops until is_stopping, then drains. @param arg struct worker */
int worker_main(void *arg);
/** One loop at @p now without sleeping. @return how much work there was */
unsigned worker_run_once(struct worker *w, uint64_t now);
/** Everything that is due now and then, whatever the loop count. */
void worker_housekeep(struct worker *w);
/** Empties the command and inject rings and the transmit buffers before the end. */
void worker_drain(struct worker *w);

/** Applies up to WORKER_CMDS_PER_LOOP commands. @return how many (command.c) */
unsigned worker_cmds_run(struct worker *w);
/** Sends what control injected. @return how many (command.c) */
unsigned worker_inject_run(struct worker *w);
/** Timer wheel visit: acts on the client's deadlines (session.c). @param arg struct worker */
void worker_client_visit(void *arg, uint32_t slot);

/** Adds to a counter that other threads read. */
static inline void stat_add(uint64_t *counter, uint64_t n)
{
	__atomic_store_n(counter, *counter + n, __ATOMIC_RELAXED);
}

static inline void stat_set(uint64_t *field, uint64_t value)
{
	__atomic_store_n(field, value, __ATOMIC_RELAXED);
}

static inline uint32_t worker_slot(const struct worker *w, const struct client *c)
{
	return (uint32_t)(c - w->clients);
}

/** The client's policy as of now; read once per packet or burst. NULL: everything is prohibited. */
static inline const struct acl_policy *worker_policy(const struct worker *w, const struct client *c)
{
	return atomic_load_explicit(
		&w->published->policies[worker_slot(w, c)], memory_order_acquire);
}

/** The generation of that policy, 0 without one: what a flow that was judged already is compared to. */
static inline uint32_t worker_policy_generation(const struct worker *w, const struct client *c)
{
	return atomic_load_explicit(
		&w->published->generations[worker_slot(w, c)], memory_order_acquire);
}

/** Ends a packet with a reason. */
static inline void worker_drop(struct worker *w, struct rte_mbuf *m, enum drop_reason reason)
{
	stat_add(&w->stats.drops[reason], 1);
	rte_pktmbuf_free(m);
}

/** @return false if the ring is full: the caller keeps what it wanted to say for later. */
bool worker_event_send(struct worker *w, const struct dp_event *event);
/** What arrived in w->up and w->down through all stages. */
void worker_stages(struct worker *w);
/** Queues a frame; takes @p m. A full buffer is the drop tx_full. */
void worker_tx(struct worker *w, uint16_t port_id, struct rte_mbuf *m);
/** Sends and hands off what is queued. @return whether packets still wait for a NIC queue. */
bool worker_tx_flush(struct worker *w);
/** @return whether @p addr (wire bytes) is the host's, with a memo of the last one. */
bool worker_is_local(struct worker *w, uint8_t family, const uint8_t *addr);
/** Arms the wheel for one of the client's deadlines. */
static inline void worker_client_arm(struct worker *w, struct client *c, uint64_t deadline_tsc)
{
	// Nearly always it is in the wheel early enough.
	if (c->timer_tick == 0 || deadline_tsc < c->timer_tsc)
		timer_arm(&w->timers, worker_slot(w, c), deadline_tsc);
}
