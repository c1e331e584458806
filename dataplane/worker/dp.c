// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "dataplane/worker/dp.h"

#include "control/base/err.h"
#include "control/base/log.h"
#include "dataplane/port/port.h"
#include "dataplane/worker/idle.h"
#include "dataplane/worker/retire.h"
#include "dataplane/worker/worker.h"

#include <rte_errno.h>
#include <rte_launch.h>
#include <rte_lcore.h>
#include <rte_malloc.h>
#include <sodium.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LOG_AREA "dataplane.dp"

enum {
	DP_CONTROL_MBUFS = 4095,
	DP_MBUF_CACHE = 250,
};

// Frames start a cache line, so that the outer headers of one (58 bytes over IPv4) are in one.
#define DP_PRIV_SIZE RTE_ALIGN(sizeof(struct dp_meta), RTE_CACHE_LINE_SIZE)
static_assert(
	(sizeof(struct rte_mbuf) + DP_PRIV_SIZE + RTE_PKTMBUF_HEADROOM) % RTE_CACHE_LINE_SIZE == 0,
	"frames start a cache line");

struct dp {
	struct dp_config config; // ports points at nothing after creation
	struct port *ports;
	struct dp_published published;
	struct dp_wake wake;
	struct dp_channel channels[DP_WORKERS_MAX];
	struct rte_mempool *pools[DP_WORKERS_MAX], *control_pool;
	struct retire_queue retire;
	struct rss rss;
	struct flow_share *share; // NULL: one worker
	struct owner_table owner;
	unsigned last_cmd; // the worker that the last command went to
	unsigned next_event, next_punt; // workers that are asked first
	struct worker *workers[DP_WORKERS_MAX];
	unsigned n_running;
};

static int dp_fail(const char *call)
{
	LOG(ERR, "%s failed error=\"%s\"", call, rte_strerror(rte_errno));
	return err_set(rte_errno != 0 ? rte_errno : ENOMEM);
}

static int published_init(struct dp_published *p, const struct dp_config *config)
{
	struct dp_tunnel *tunnel = calloc(1, sizeof(*tunnel));
	struct dp_relays *relays = calloc(1, sizeof(*relays));

	p->policies = calloc(config->max_clients, sizeof(*p->policies));
	p->generations = calloc(config->max_clients, sizeof(*p->generations));
	atomic_store(&p->tunnel, tunnel);
	atomic_store(&p->relays, relays);
	if (tunnel == NULL || relays == NULL || p->policies == NULL || p->generations == NULL) {
		rte_errno = ENOMEM;
		return dp_fail("calloc");
	}
	tunnel->v4 = config->tunnel_v4;
	tunnel->v6 = config->tunnel_v6;
	return 0;
}

static int worker_socket(const struct dp *dp, unsigned index)
{
	return (int)rte_lcore_to_socket_id(dp->config.worker_lcores[index]);
}

static int channels_init(struct dp *dp)
{
	int rc = wake_init(&dp->wake);

	for (unsigned i = 0; rc == 0 && i < dp->config.n_workers; i++)
		rc = channel_init(
			&dp->channels[i], &dp->wake, i, dp->config.n_workers, worker_socket(dp, i));
	return rc;
}

// The RSS key is random, or whoever knows it could aim everything at one worker.
static int steering_init(struct dp *dp)
{
	unsigned n_workers = dp->config.n_workers;
	uint8_t key[RSS_KEY_SIZE];
	uint64_t secrets[4];

	randombytes_buf(key, sizeof(key));
	randombytes_buf(secrets, sizeof(secrets));
	rss_init(&dp->rss, key, n_workers);
	if (n_workers > 1) {
		dp->share = flow_share_create(&dp->rss, secrets);
		if (dp->share == NULL)
			return dp_fail("rte_zmalloc(flow_share)");
	}
	if (owner_init(&dp->owner, &dp->rss, dp->config.max_clients, n_workers) < 0)
		return dp_fail("calloc");
	dp->published.owners = dp->owner.owners;
	return 0;
}

static int pools_init(struct dp *dp)
{
	for (unsigned i = 0; i < dp->config.n_workers; i++) {
		char name[RTE_MEMPOOL_NAMESIZE];

		snprintf(name, sizeof(name), "sp_worker%u", i);
		dp->pools[i] = rte_pktmbuf_pool_create(
			name,
			dp->config.n_mbufs,
			DP_MBUF_CACHE,
			DP_PRIV_SIZE,
			RTE_MBUF_DEFAULT_BUF_SIZE,
			worker_socket(dp, i));
		if (dp->pools[i] == NULL)
			return dp_fail("rte_pktmbuf_pool_create(worker)");
	}
	dp->control_pool = rte_pktmbuf_pool_create(
		"sp_control",
		DP_CONTROL_MBUFS,
		DP_MBUF_CACHE,
		DP_PRIV_SIZE,
		RTE_MBUF_DEFAULT_BUF_SIZE,
		(int)rte_socket_id());
	return dp->control_pool != NULL ? 0 : dp_fail("rte_pktmbuf_pool_create(control)");
}

static int ports_init(struct dp *dp, const struct dp_config *config)
{
	const struct port_need need = {
		.n_queues = (uint16_t)dp->config.n_workers,
		.wants_rx_intr = config->idle == DP_IDLE_SLEEP,
		.pools = dp->pools,
		.rss = &dp->rss,
	};

	dp->ports = calloc(config->n_ports, sizeof(*dp->ports));
	if (dp->ports == NULL)
		return err_set(ENOMEM);
	for (size_t i = 0; i < config->n_ports; i++) {
		int rc = port_open(&dp->ports[i], &config->ports[i], &need);

		if (rc < 0)
			return rc;
	}
	return 0;
}

static int workers_init(struct dp *dp)
{
	struct worker_config wc = {
		.dp = &dp->config,
		.published = &dp->published,
		.channels = dp->channels,
		.share = dp->share,
		.ports = dp->ports,
		.rcu = dp->retire.rcu,
		.n_workers = dp->config.n_workers,
	};

	for (unsigned i = 0; i < dp->config.n_workers; i++) {
		wc.index = i;
		wc.pool = dp->pools[i];
		wc.socket_id = worker_socket(dp, i);
		dp->workers[i] = worker_create(&wc);
		if (dp->workers[i] == NULL)
			return -errno;
	}
	return 0;
}

static int dp_init(struct dp *dp, const struct dp_config *config)
{
	int rc;

	rc = channels_init(dp);
	if (rc == 0)
		rc = steering_init(dp);
	if (rc == 0)
		rc = published_init(&dp->published, config);
	if (rc == 0)
		rc = retire_init(&dp->retire, dp->config.n_workers);
	if (rc == 0)
		rc = pools_init(dp);
	if (rc == 0)
		rc = ports_init(dp, config);
	if (rc == 0)
		rc = workers_init(dp);
	return rc;
}

static bool config_is_sane(const struct dp_config *config)
{
	if (config->n_ports == 0 || config->n_ports > WORKER_PORTS_MAX)
		LOG(ERR, "between 1 and %d ports are needed", WORKER_PORTS_MAX);
	else if (config->max_clients == 0 || config->max_clients > 1u << 24)
		LOG(ERR, "max_clients=%u must be within 1 and 2^24", config->max_clients);
	else if (config->n_workers > DP_WORKERS_MAX)
		LOG(ERR, "at most %d workers", DP_WORKERS_MAX);
	else if (config->max_flows == 0 || config->n_mbufs == 0)
		LOG(ERR, "max_flows and n_mbufs must not be 0");
	else
		return true;
	return false;
}

struct dp *dp_create(const struct dp_config *config)
{
	struct dp *dp;
	int rc;

	if (!config_is_sane(config))
		return err_set_null(EINVAL);
	dp = rte_zmalloc("sp_dp", sizeof(*dp), RTE_CACHE_LINE_SIZE);
	if (dp == NULL) {
		LOG(ERR, "rte_zmalloc(dp) failed");
		return err_set_null(ENOMEM);
	}
	dp->config = *config;
	dp->config.ports = NULL;
	if (dp->config.n_workers == 0)
		dp->config.n_workers = 1;
	dp->wake.fd = -1;
	for (unsigned i = 0; i < DP_WORKERS_MAX; i++)
		dp->channels[i].kick_fd = -1;
	rc = dp_init(dp, config);
	if (rc < 0) {
		dp_destroy(dp);
		return err_set_null(-rc);
	}
	return dp;
}

static void ports_stop(struct dp *dp)
{
	for (size_t i = 0; dp->ports != NULL && i < dp->config.n_ports; i++)
		port_stop(&dp->ports[i]);
}

static int ports_start(struct dp *dp)
{
	for (size_t i = 0; i < dp->config.n_ports; i++) {
		int rc = port_start(&dp->ports[i]);

		if (rc < 0) {
			ports_stop(dp);
			return rc;
		}
	}
	return 0;
}

struct worker *dp_start_inline(struct dp *dp)
{
	int rc = ports_start(dp);

	return rc == 0 ? dp->workers[0] : err_set_null(-rc);
}

struct worker *dp_worker(struct dp *dp, unsigned index)
{
	return dp->workers[index];
}

const struct rss *dp_rss(const struct dp *dp)
{
	return &dp->rss;
}

static int worker_launch(struct dp *dp, unsigned index)
{
	unsigned lcore = dp->config.worker_lcores[index];
	int rc;

	atomic_store(&dp->workers[index]->is_stopping, false);
	rc = rte_eal_remote_launch(worker_main, dp->workers[index], lcore);
	if (rc < 0)
		LOG(ERR,
		    "rte_eal_remote_launch failed lcore=%u error=\"%s\"",
		    lcore,
		    rte_strerror(-rc));
	return rc;
}

// The last one first: those without a queue of their own transmit through the first ones.
static void workers_stop(struct dp *dp)
{
	while (dp->n_running > 0) {
		unsigned i = --dp->n_running;

		atomic_store(&dp->workers[i]->is_stopping, true);
		channel_kick_worker(&dp->channels[i]);
		rte_eal_wait_lcore(dp->config.worker_lcores[i]);
	}
}

int dp_start(struct dp *dp)
{
	int rc = ports_start(dp);

	if (rc < 0)
		return rc;
	for (unsigned i = 0; i < dp->config.n_workers; i++) {
		rc = worker_launch(dp, i);
		if (rc < 0) {
			workers_stop(dp);
			ports_stop(dp);
			return rc;
		}
		dp->n_running++;
	}
	return 0;
}

void dp_stop(struct dp *dp)
{
	if (dp->n_running == 0)
		return;
	workers_stop(dp);
	ports_stop(dp);
}

void dp_destroy(struct dp *dp)
{
	if (dp == NULL)
		return;
	dp_stop(dp);
	for (unsigned i = 0; i < DP_WORKERS_MAX; i++)
		worker_destroy(dp->workers[i]);
	for (unsigned i = 0; i < DP_WORKERS_MAX; i++)
		channel_fini(&dp->channels[i]);
	wake_fini(&dp->wake);
	for (size_t i = 0; dp->ports != NULL && i < dp->config.n_ports; i++)
		port_close(&dp->ports[i]);
	free(dp->ports);
	retire_fini(&dp->retire);
	for (unsigned i = 0; i < DP_WORKERS_MAX; i++)
		rte_mempool_free(dp->pools[i]);
	rte_mempool_free(dp->control_pool);
	free((void *)(uintptr_t)atomic_load(&dp->published.tunnel));
	free((void *)(uintptr_t)atomic_load(&dp->published.relays));
	free((void *)dp->published.policies);
	free((void *)dp->published.generations);
	owner_fini(&dp->owner);
	rte_free(dp->share);
	rte_free(dp);
}

uint16_t dp_port_id(const struct dp *dp, size_t i)
{
	return dp->ports[i].id;
}

void dp_port_mac(const struct dp *dp, size_t i, uint8_t mac[6])
{
	memcpy(mac, dp->ports[i].mac, sizeof(dp->ports[i].mac));
}

bool dp_port_link_is_up(const struct dp *dp, size_t i)
{
	return port_link_is_up(&dp->ports[i]);
}

static void published_free(void *, const void *object)
{
	free((void *)(uintptr_t)object);
}

void dp_tunnel_set(struct dp *dp, const struct ip_addr *v4, const struct ip_addr *v6)
{
	struct dp_tunnel *fresh = malloc(sizeof(*fresh));

	if (fresh == NULL) {
		LOG(ERR, "tunnel addresses not set: out of memory");
		return;
	}
	*fresh = (struct dp_tunnel){.v4 = *v4, .v6 = *v6};
	dp_retire(
		dp,
		atomic_exchange_explicit(&dp->published.tunnel, fresh, memory_order_acq_rel),
		published_free,
		NULL);
}

void dp_relays_set(struct dp *dp, const struct ip_endpoint *relays, size_t n)
{
	struct dp_relays *fresh = calloc(1, sizeof(*fresh));

	if (fresh == NULL) {
		LOG(ERR, "relays not set: out of memory");
		return;
	}
	fresh->n = n < DP_RELAYS_MAX ? n : DP_RELAYS_MAX;
	if (fresh->n > 0)
		memcpy(fresh->relay, relays, fresh->n * sizeof(*relays));
	dp_retire(
		dp,
		atomic_exchange_explicit(&dp->published.relays, fresh, memory_order_acq_rel),
		published_free,
		NULL);
}

static int cmd_enqueue(struct dp *dp, unsigned worker, const struct dp_cmd *cmd)
{
	struct dp_channel *ch = &dp->channels[worker];

	if (rte_ring_sp_enqueue_elem(ch->cmds, (void *)(uintptr_t)cmd, sizeof(struct dp_cmd)) < 0)
		return -EAGAIN;
	channel_kick_worker(ch);
	dp->last_cmd = worker;
	return 0;
}

// A client without keypairs goes to another worker: its record is made there, then the command.
static int cmd_move(struct dp *dp, unsigned from, unsigned to, const struct dp_cmd *cmd)
{
	const struct owner_slot *slot = &dp->owner.slots[cmd->slot];
	const struct dp_cmd release = {.type = DP_CMD_CLIENT_RELEASE, .slot = cmd->slot};
	const struct dp_cmd add = {
		.type = DP_CMD_CLIENT_ADD,
		.slot = cmd->slot,
		.client_add =
			{
				.v4 = slot->v4,
				.v6 = slot->v6,
				.follows_source = slot->follows_source,
			},
	};

	// All or nothing; only we fill these rings.
	if (rte_ring_free_count(dp->channels[from].cmds) < 1
	    || rte_ring_free_count(dp->channels[to].cmds) < 2)
		return -EAGAIN;
	if (cmd_enqueue(dp, from, &release) < 0 || cmd_enqueue(dp, to, &add) < 0)
		return -EAGAIN;
	return cmd_enqueue(dp, to, cmd);
}

int dp_cmd_send(struct dp *dp, const struct dp_cmd *cmd)
{
	unsigned from, to;
	int rc;

	if (cmd->slot >= dp->config.max_clients)
		return err_set(EINVAL);
	from = owner_get(dp->owner.owners, cmd->slot);
	to = owner_choose(&dp->owner, cmd);
	rc = from == to || cmd->type == DP_CMD_CLIENT_ADD ? cmd_enqueue(dp, to, cmd)
							  : cmd_move(dp, from, to, cmd);
	if (rc == 0)
		owner_note(&dp->owner, cmd, to);
	return rc;
}

// All workers have their turn to be first, so that none starves while the caller's array is short.
unsigned dp_event_poll(struct dp *dp, struct dp_event *out, unsigned n)
{
	unsigned n_workers = dp->config.n_workers, done = 0;

	dp->next_event = (dp->next_event + 1) % n_workers;
	for (unsigned i = 0; i < n_workers && done < n; i++)
		done += rte_ring_sc_dequeue_burst_elem(
			dp->channels[(dp->next_event + i) % n_workers].events,
			out + done,
			sizeof(struct dp_event),
			n - done,
			NULL);
	return done;
}

unsigned dp_punt_poll(struct dp *dp, enum dp_punt class_, struct rte_mbuf **out, unsigned n)
{
	unsigned n_workers = dp->config.n_workers, done = 0;

	dp->next_punt = (dp->next_punt + 1) % n_workers;
	for (unsigned i = 0; i < n_workers && done < n; i++)
		done += rte_ring_sc_dequeue_burst(
			dp->channels[(dp->next_punt + i) % n_workers].punt[class_],
			(void *)(out + done),
			n - done,
			NULL);
	return done;
}

struct rte_mbuf *dp_mbuf_alloc(struct dp *dp)
{
	return rte_pktmbuf_alloc(dp->control_pool);
}

static unsigned inject_worker(const struct dp *dp, const struct rte_mbuf *m)
{
	const struct dp_meta *meta = rte_mbuf_to_priv((struct rte_mbuf *)(uintptr_t)m);

	switch (meta->kind) {
	case DP_INJECT_IP:
		return dp->last_cmd;
	case DP_INJECT_CLIENT:
		return meta->slot < dp->config.max_clients ? owner_get(dp->owner.owners, meta->slot)
							   : 0;
	default:
		return 0;
	}
}

int dp_inject(struct dp *dp, struct rte_mbuf *m)
{
	struct dp_channel *ch = &dp->channels[inject_worker(dp, m)];

	if (rte_ring_sp_enqueue(ch->inject, m) < 0)
		return -EAGAIN;
	channel_kick_worker(ch);
	return 0;
}

const struct acl_policy *
dp_policy_publish(struct dp *dp, uint32_t slot, const struct acl_policy *policy)
{
	const struct acl_policy *old = atomic_exchange_explicit(
		&dp->published.policies[slot], policy, memory_order_acq_rel);

	// In between, flows are compared to the former generation: as if this came a little later.
	atomic_store_explicit(
		&dp->published.generations[slot],
		policy != NULL ? policy->generation : 0,
		memory_order_release);
	return old;
}

const struct acl_policy *dp_policy_get(const struct dp *dp, uint32_t slot)
{
	return atomic_load_explicit(&dp->published.policies[slot], memory_order_acquire);
}

const struct fib *dp_fib_publish(struct dp *dp, const struct fib *fib)
{
	const struct fib *old =
		atomic_exchange_explicit(&dp->published.fib, fib, memory_order_acq_rel);

	// Held packets wait for exactly this.
	for (unsigned i = 0; i < dp->config.n_workers; i++)
		channel_kick_worker(&dp->channels[i]);
	return old;
}

void dp_retire(
	struct dp *dp,
	const void *object,
	void (*free_fn)(void *arg, const void *object),
	void *arg)
{
	retire_push(&dp->retire, object, free_fn, arg);
}

size_t dp_reclaim(struct dp *dp)
{
	return retire_reclaim(&dp->retire);
}

int dp_wake_fd(const struct dp *dp)
{
	return dp->wake.fd;
}

bool dp_sleep_enter(struct dp *dp)
{
	return channel_control_sleep(dp->channels, dp->config.n_workers);
}

void dp_sleep_leave(struct dp *dp)
{
	channel_control_awake(&dp->wake);
}

// Counters are 64-bit words that only the worker writes; reading each alone is all that is promised.
static void words_copy(void *out, const void *in, size_t size)
{
	const uint64_t *from = in;
	uint64_t *to = out;

	for (size_t i = 0; i < size / sizeof(*to); i++)
		to[i] = __atomic_load_n(&from[i], __ATOMIC_RELAXED);
}

static_assert(sizeof(struct dp_worker_stats) % sizeof(uint64_t) == 0, "words only");
static_assert(sizeof(struct dp_owner_stats) % sizeof(uint64_t) == 0, "words only");
static_assert(sizeof(struct dp_client_stats) % sizeof(uint64_t) == 0, "words only");

unsigned dp_n_workers(const struct dp *dp)
{
	return dp->config.n_workers;
}

bool dp_worker_stats_of(const struct dp *dp, unsigned index, struct dp_worker_stats *out)
{
	if (index >= dp->config.n_workers)
		return false;
	words_copy(out, &dp->workers[index]->stats, sizeof(*out));
	return true;
}

void dp_worker_stats_get(const struct dp *dp, struct dp_worker_stats *out)
{
	uint64_t *sum = (void *)out;
	struct dp_worker_stats one;
	const uint64_t *words = (const void *)&one;

	memset(out, 0, sizeof(*out));
	for (unsigned i = 0; dp_worker_stats_of(dp, i, &one); i++)
		for (size_t at = 0; at < sizeof(one) / sizeof(*words); at++)
			sum[at] += words[at];
}

void dp_owner_stats_get(const struct dp *dp, struct dp_owner_stats *out)
{
	words_copy(out, &dp->owner.stats, sizeof(*out));
}

bool dp_client_stats_get(const struct dp *dp, uint32_t slot, struct dp_client_stats *out)
{
	if (slot >= dp->config.max_clients)
		return false;
	words_copy(
		out,
		&dp->workers[owner_get(dp->owner.owners, slot)]->clients[slot].stats,
		sizeof(*out));
	return true;
}
