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

#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define LOG_AREA "dataplane.dp"

enum {
	DP_WORKERS = 1,
	DP_CMD_RING = 1024,
	DP_EVENT_RING = 4096,
	DP_INJECT_RING = 1024,
	DP_CONTROL_MBUFS = 4095,
	DP_MBUF_CACHE = 250,
};

// What waits for control when it is late, by class.
static const unsigned dp_punt_rings[DP_PUNT_COUNT] = {
	[DP_PUNT_HANDSHAKE] = 512,
	[DP_PUNT_STUN] = 512,
	[DP_PUNT_HOST] = 512,
	[DP_PUNT_TUN] = 256,
	[DP_PUNT_P2P] = 256,
};

static_assert(sizeof(struct dp_cmd) % 4 == 0 && sizeof(struct dp_event) % 4 == 0, "ring elements");
// Frames start a cache line, so that the outer headers of one (58 bytes over IPv4) are in one.
#define DP_PRIV_SIZE RTE_ALIGN(sizeof(struct dp_meta), RTE_CACHE_LINE_SIZE)
static_assert(
	(sizeof(struct rte_mbuf) + DP_PRIV_SIZE + RTE_PKTMBUF_HEADROOM) % RTE_CACHE_LINE_SIZE == 0,
	"frames start a cache line");

struct dp {
	struct dp_config config; // ports points at nothing after creation
	struct port *ports;
	struct dp_published published;
	struct dp_channel channel;
	struct rte_mempool *worker_pool, *control_pool;
	struct retire_queue retire;
	struct worker *worker;
	bool is_running;
};

static int dp_fail(const char *call)
{
	LOG(ERR, "%s failed error=\"%s\"", call, rte_strerror(rte_errno));
	return err_set(rte_errno != 0 ? rte_errno : ENOMEM);
}

static struct rte_ring *dp_ring_create(unsigned elem_size, unsigned count)
{
	ssize_t size = rte_ring_get_memsize_elem(elem_size, count);
	struct rte_ring *r;

	// Not rte_ring_create_elem(): its names are global to the process.
	r = rte_zmalloc("sp_ring", (size_t)size, RTE_CACHE_LINE_SIZE);
	if (r == NULL)
		return NULL;
	if (rte_ring_init(r, "sp_ring", count, RING_F_SP_ENQ | RING_F_SC_DEQ) != 0) {
		rte_free(r);
		return NULL;
	}
	return r;
}

static int channel_init(struct dp_channel *ch)
{
	ch->kick_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	ch->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (ch->kick_fd < 0 || ch->wake_fd < 0) {
		rte_errno = errno;
		return dp_fail("eventfd");
	}
	ch->cmds = dp_ring_create(sizeof(struct dp_cmd), DP_CMD_RING);
	ch->events = dp_ring_create(sizeof(struct dp_event), DP_EVENT_RING);
	ch->inject = dp_ring_create(sizeof(void *), DP_INJECT_RING);
	if (ch->cmds == NULL || ch->events == NULL || ch->inject == NULL)
		return dp_fail("ring");
	for (unsigned i = 0; i < DP_PUNT_COUNT; i++) {
		ch->punt[i] = dp_ring_create(sizeof(void *), dp_punt_rings[i]);
		if (ch->punt[i] == NULL)
			return dp_fail("ring");
	}
	return 0;
}

static void mbuf_ring_free(struct rte_ring *r)
{
	void *m;

	while (r != NULL && rte_ring_sc_dequeue(r, &m) == 0)
		rte_pktmbuf_free(m);
	rte_free(r);
}

static void cmd_ring_free(struct rte_ring *r)
{
	struct dp_cmd cmd;

	while (r != NULL && rte_ring_sc_dequeue_elem(r, &cmd, sizeof(cmd)) == 0)
		if (cmd.type == DP_CMD_CLIENT_DEL)
			rte_pktmbuf_free(cmd.client_del.mbuf);
	sodium_memzero(&cmd, sizeof(cmd));
	if (r != NULL)
		sodium_memzero(r, (size_t)rte_ring_get_memsize_elem(sizeof(cmd), DP_CMD_RING));
	rte_free(r);
}

static void channel_fini(struct dp_channel *ch)
{
	cmd_ring_free(ch->cmds);
	rte_free(ch->events);
	mbuf_ring_free(ch->inject);
	for (unsigned i = 0; i < DP_PUNT_COUNT; i++)
		mbuf_ring_free(ch->punt[i]);
	if (ch->kick_fd >= 0)
		close(ch->kick_fd);
	if (ch->wake_fd >= 0)
		close(ch->wake_fd);
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

static int pools_init(struct dp *dp)
{
	unsigned lcore_socket = rte_lcore_to_socket_id(dp->config.worker_lcore);

	dp->worker_pool = rte_pktmbuf_pool_create(
		"sp_worker0",
		dp->config.n_mbufs,
		DP_MBUF_CACHE,
		DP_PRIV_SIZE,
		RTE_MBUF_DEFAULT_BUF_SIZE,
		(int)lcore_socket);
	if (dp->worker_pool == NULL)
		return dp_fail("rte_pktmbuf_pool_create(worker)");
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
		.n_queues = DP_WORKERS,
		.wants_rx_intr = config->idle == DP_IDLE_SLEEP,
		.pool = dp->worker_pool,
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

static int dp_init(struct dp *dp, const struct dp_config *config)
{
	struct worker_config wc = {
		.dp = config,
		.published = &dp->published,
		.channel = &dp->channel,
		.socket_id = (int)rte_lcore_to_socket_id(config->worker_lcore),
	};
	int rc;

	rc = channel_init(&dp->channel);
	if (rc == 0)
		rc = published_init(&dp->published, config);
	if (rc == 0)
		rc = retire_init(&dp->retire, DP_WORKERS);
	if (rc == 0)
		rc = pools_init(dp);
	if (rc == 0)
		rc = ports_init(dp, config);
	if (rc < 0)
		return rc;
	wc.pool = dp->worker_pool;
	wc.ports = dp->ports;
	wc.rcu = dp->retire.rcu;
	dp->worker = worker_create(&wc);
	return dp->worker != NULL ? 0 : -errno;
}

static bool config_is_sane(const struct dp_config *config)
{
	if (config->n_ports == 0 || config->n_ports > WORKER_PORTS_MAX)
		LOG(ERR, "between 1 and %d ports are needed", WORKER_PORTS_MAX);
	else if (config->max_clients == 0 || config->max_clients > 1u << 24)
		LOG(ERR, "max_clients=%u must be within 1 and 2^24", config->max_clients);
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
	dp->channel.kick_fd = dp->channel.wake_fd = -1;
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

	return rc == 0 ? dp->worker : err_set_null(-rc);
}

int dp_start(struct dp *dp)
{
	int rc = ports_start(dp);

	if (rc < 0)
		return rc;
	atomic_store(&dp->worker->is_stopping, false);
	rc = rte_eal_remote_launch(worker_main, dp->worker, dp->config.worker_lcore);
	if (rc < 0) {
		LOG(ERR,
		    "rte_eal_remote_launch failed lcore=%u error=\"%s\"",
		    dp->config.worker_lcore,
		    rte_strerror(-rc));
		ports_stop(dp);
		return rc;
	}
	dp->is_running = true;
	return 0;
}

void dp_stop(struct dp *dp)
{
	if (!dp->is_running)
		return;
	atomic_store(&dp->worker->is_stopping, true);
	channel_kick_worker(&dp->channel);
	rte_eal_wait_lcore(dp->config.worker_lcore);
	dp->is_running = false;
	ports_stop(dp);
}

void dp_destroy(struct dp *dp)
{
	if (dp == NULL)
		return;
	dp_stop(dp);
	worker_destroy(dp->worker);
	channel_fini(&dp->channel);
	for (size_t i = 0; dp->ports != NULL && i < dp->config.n_ports; i++)
		port_close(&dp->ports[i]);
	free(dp->ports);
	retire_fini(&dp->retire);
	rte_mempool_free(dp->worker_pool);
	rte_mempool_free(dp->control_pool);
	free((void *)(uintptr_t)atomic_load(&dp->published.tunnel));
	free((void *)(uintptr_t)atomic_load(&dp->published.relays));
	free((void *)dp->published.policies);
	free((void *)dp->published.generations);
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

int dp_cmd_send(struct dp *dp, const struct dp_cmd *cmd)
{
	if (cmd->slot >= dp->config.max_clients)
		return err_set(EINVAL);
	if (rte_ring_sp_enqueue_elem(
		    dp->channel.cmds, (void *)(uintptr_t)cmd, sizeof(struct dp_cmd))
	    < 0)
		return -EAGAIN;
	channel_kick_worker(&dp->channel);
	return 0;
}

unsigned dp_event_poll(struct dp *dp, struct dp_event *out, unsigned n)
{
	return rte_ring_sc_dequeue_burst_elem(
		dp->channel.events, out, sizeof(struct dp_event), n, NULL);
}

unsigned dp_punt_poll(struct dp *dp, enum dp_punt class_, struct rte_mbuf **out, unsigned n)
{
	return rte_ring_sc_dequeue_burst(dp->channel.punt[class_], (void *)out, n, NULL);
}

struct rte_mbuf *dp_mbuf_alloc(struct dp *dp)
{
	return rte_pktmbuf_alloc(dp->control_pool);
}

int dp_inject(struct dp *dp, struct rte_mbuf *m)
{
	if (rte_ring_sp_enqueue(dp->channel.inject, m) < 0)
		return -EAGAIN;
	channel_kick_worker(&dp->channel);
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
	channel_kick_worker(&dp->channel);
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
	return dp->channel.wake_fd;
}

bool dp_sleep_enter(struct dp *dp)
{
	return channel_control_sleep(&dp->channel);
}

void dp_sleep_leave(struct dp *dp)
{
	channel_control_awake(&dp->channel);
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
static_assert(sizeof(struct dp_client_stats) % sizeof(uint64_t) == 0, "words only");

void dp_worker_stats_get(const struct dp *dp, struct dp_worker_stats *out)
{
	words_copy(out, &dp->worker->stats, sizeof(*out));
}

bool dp_client_stats_get(const struct dp *dp, uint32_t slot, struct dp_client_stats *out)
{
	if (slot >= dp->config.max_clients)
		return false;
	words_copy(out, &dp->worker->clients[slot].stats, sizeof(*out));
	return true;
}
