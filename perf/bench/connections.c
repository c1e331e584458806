// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "control/access/heap.h"
#include "control/base/uv_cast.h"
#include "control/gateway/connection.h"
#include "control/noise/cookie.h"
#include "control/noise/noise.h"
#include "perf/bench/bench.h"

#include <rte_cycles.h>
#include <rte_ip.h>
#include <rte_launch.h>
#include <rte_lcore.h>
#include <rte_malloc.h>
#include <rte_udp.h>
#include <sodium.h>

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

// The whole control core of the gateway with 10,000 clients whose ICE agents check every 1.5 s.
//
//   main lcore    gw_run(): the real loop, rings, timers, agents, WireGuard peers. Clients are authorized
//                 OPENED_PER_MS at a time until all are there.
//   second lcore  the worker, and at the far end of its WAN wire the clients: agents of control/path in
//                 the controlling role, which verify each answer, and WireGuard initiations at the rate of
//                 clients that rekey every 120 s.
//
// An answer's latency is from when a check is put on the wire to when the answer is taken from it: worker,
// punt ring, waking up, agent, lane, worker. The second lcore naps NAP_US when there is nothing to do, which
// is part of it. What only this bench does on the main lcore is opening.

enum {
	CLIENTS = BED_CLIENTS,
	OPEN_PERIOD_MS = 10,
	OPENED_PER_MS = 1,
	SETTLE_MS = 5000, // after the last one was opened
	NAP_US = 50,
	OUTSTANDING = 8, // checks of one client whose answers may still come
	SAMPLES_MAX = 1 << 18,
	SHAKES_PER_S = CLIENTS / 120,
	SHAKES_MAX = 4096,
	HEADERS = RTE_ETHER_HDR_LEN + sizeof(struct rte_ipv4_hdr) + sizeof(struct rte_udp_hdr),
};

#define NSEC_PER_S 1000000000ull

/** A check that waits for its answer. */
struct sent {
	struct stun_txid txid;
	uint64_t tsc;
};

/** A client's agent. */
struct remote {
	struct ice_agent *agent;
	struct heap_node timer;
	uint32_t slot;
	struct sent sent[OUTSTANDING];
	unsigned n_sent;
};

/** An initiation made ready, and what verifies its response. */
struct shake {
	struct noise_identity identity;
	struct noise_remote gateway;
	struct noise_handshake handshake;
	struct noise_msg_initiation msg;
};

/** What one window of a run saw. */
struct window {
	uint64_t sent, answered, shaken; // checks, their answers, WireGuard responses
	unsigned n; // of ms
	double ms[SAMPLES_MAX];
};

struct connections {
	struct bed *bed;
	struct gw gw;
	struct config config;
	uint64_t base_tsc;
	uint64_t steady_ms;

	// Control's side.
	uv_timer_t opener, phases;
	uint32_t n_opened;
	uint64_t cpu_ns, wall_ns; // at the start of the phase
	double opening_share, steady_share;
	bool is_steady;

	// Between the two.
	atomic_uint n_ready __rte_aligned(64); // opened and waiting for their client
	atomic_bool is_measured, is_stopping;

	// The clients' side.
	struct remote *remotes __rte_aligned(64);
	struct ice_table *table;
	struct stun_mac *mac;
	struct heap timers;
	struct noise_crypto crypto;
	struct shake *shakes;
	unsigned n_shakes, next_shake;
	uint64_t shake_at;
	unsigned n_started;
	struct window window;
};

static void check(bool is_ok, const char *what)
{
	if (is_ok)
		return;
	fprintf(stderr, "bench: connections: %s failed\n", what);
	exit(1);
}

static uint64_t clock_ns(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return (uint64_t)ts.tv_sec * NSEC_PER_S + (uint64_t)ts.tv_nsec;
}

// Credentials of a pair, as the portal hands them out: 4 and 22 characters.
static void credentials(char ufrag[8], char pwd[24], char side, uint32_t slot)
{
	static const char digits[] = "abcdefghijklmnopqrstuvwxyz012345";

	ufrag[0] = side;
	for (unsigned i = 1; i < 4; i++)
		ufrag[i] = digits[slot >> 5 * (i - 1) & 31];
	ufrag[4] = '\0';
	snprintf(pwd, 24, "%c%021u", side, slot);
}

static struct ip_endpoint gateway_endpoint(void)
{
	return (struct ip_endpoint){.addr = bed_gateway_v4(), .port = BED_UDP_PORT};
}

static struct ip_endpoint client_endpoint(uint32_t slot)
{
	return (struct ip_endpoint){.addr = bed_outer_v4(slot), .port = BED_CLIENT_PORT};
}

// Control's side --------------------------------------------------------------------------------

static void grant_make(struct access_grant *grant, struct portal_resource *r, uint32_t slot)
{
	*r = (struct portal_resource){
		.id = {.bytes = {2}},
		.prefix = {.addr = ip_addr_v4((const uint8_t[]){10, 20, 0, 0}), .len = 16},
	};
	*grant = (struct access_grant){
		.client_id = {.bytes = {1}},
		.ipv4 = ip_addr_v4((const uint8_t[]){100, 64, (uint8_t)(slot >> 8), (uint8_t)slot}),
		.resource = r,
		.expires_at = PORTAL_NEVER,
	};
	memcpy(grant->client_id.bytes + 12, &slot, sizeof(slot));
}

// What portal.c does for an authorization, without the message.
static void open_one(struct connections *s, uint32_t number)
{
	char local_ufrag[8], local_pwd[24], remote_ufrag[8], remote_pwd[24],
		line[ICE_CANDIDATE_TEXT_SIZE];
	uint8_t key[NOISE_KEY_SIZE];
	const uint8_t psk[NOISE_KEY_SIZE] = {0};
	struct connection_params params = {
		.local_ufrag = local_ufrag,
		.local_pwd = local_pwd,
		.remote_ufrag = remote_ufrag,
		.remote_pwd = remote_pwd,
		.public_key = key,
		.preshared_key = psk,
	};
	struct ice_candidate c = {.kind = ICE_KIND_HOST, .addr = client_endpoint(number)};
	struct access_client *client;
	struct portal_resource resource;
	struct access_grant grant;
	struct portal_error err;

	randombytes_buf(key, sizeof(key));
	if (number < s->n_shakes)
		memcpy(key, s->shakes[number].identity.public_key, sizeof(key));
	credentials(local_ufrag, local_pwd, 'g', number);
	credentials(remote_ufrag, remote_pwd, 'c', number);
	grant_make(&grant, &resource, number);
	client = access_authorize(s->gw.access, &grant, &err);
	check(client != NULL && client->slot == number, "access_authorize");
	check(connection_upsert(client->user, &params) == 0, "connection_upsert");
	c.base = c.addr;
	c.priority = 2130706431;
	strcpy(c.foundation, "1");
	check(ice_candidate_format(&c, remote_ufrag, line) > 0, "ice_candidate_format");
	connection_candidate(client->user, line, false);
}

static void on_opener(uv_timer_t *timer)
{
	struct connections *s = timer->data;

	for (unsigned i = 0; i < OPEN_PERIOD_MS * OPENED_PER_MS && s->n_opened < CLIENTS; i++)
		open_one(s, s->n_opened++);
	atomic_store_explicit(&s->n_ready, s->n_opened, memory_order_release);
	if (s->n_opened == CLIENTS)
		uv_timer_stop(timer);
}

static double share_take(struct connections *s)
{
	uint64_t cpu = clock_ns(CLOCK_THREAD_CPUTIME_ID), wall = clock_ns(CLOCK_MONOTONIC);
	double share = (double)(cpu - s->cpu_ns) / (double)(wall - s->wall_ns);

	s->cpu_ns = cpu;
	s->wall_ns = wall;
	return share;
}

// Opening and settling first, then the window that is measured.
static void on_phase(uv_timer_t *timer)
{
	struct connections *s = timer->data;

	if (!s->is_steady) {
		s->is_steady = true;
		s->opening_share = share_take(s);
		atomic_store(&s->is_measured, true);
		return;
	}
	s->steady_share = share_take(s);
	atomic_store(&s->is_measured, false);
	uv_timer_stop(timer);
	uv_stop(s->gw.loop);
}

static void control_run(struct connections *s)
{
	uint64_t opening_ms = CLIENTS / OPENED_PER_MS + SETTLE_MS;

	uv_timer_init(s->gw.loop, &s->opener);
	uv_timer_init(s->gw.loop, &s->phases);
	s->opener.data = s->phases.data = s;
	uv_timer_start(&s->opener, on_opener, OPEN_PERIOD_MS, OPEN_PERIOD_MS);
	uv_timer_start(&s->phases, on_phase, opening_ms, s->steady_ms);
	share_take(s);
	check(gw_run(&s->gw) == 0, "gw_run");
	uv_cast_close(&s->opener);
	uv_cast_close(&s->phases);
}

// The clients' side -----------------------------------------------------------------------------

static void random_bytes(void *, void *buf, size_t size)
{
	randombytes_buf(buf, size);
}

static void wire_put(struct connections *s, uint32_t slot, const void *payload, size_t size)
{
	struct rte_mbuf *m = rte_pktmbuf_alloc(s->bed->w->pool);

	check(m != NULL, "rte_pktmbuf_alloc");
	bed_datagram_up(s->bed, m, slot, payload, (uint16_t)size);
	// A full wire loses packets, as wires do; the agent repeats, and the loss is counted.
	if (rte_ring_sp_enqueue(s->bed->rx[BED_WAN], m) != 0)
		rte_pktmbuf_free(m);
}

static void sent_note(struct connections *s, struct remote *r, const struct ice_transmit *t)
{
	struct sent *sent = &r->sent[r->n_sent++ % OUTSTANDING];

	memcpy(sent->txid.bytes, t->data + 8, sizeof(sent->txid.bytes));
	sent->tsc = rte_rdtsc();
	if (atomic_load_explicit(&s->is_measured, memory_order_relaxed))
		s->window.sent++;
	else
		sent->tsc = 0; // its answer is of no window
}

static void remote_pump(struct connections *s, struct remote *r)
{
	struct ice_transmit t;
	struct ice_event event;

	while (ice_agent_poll_transmit(r->agent, &t)) {
		if ((t.data[0] & 1) == 0 && (t.data[1] & 0x10) == 0)
			sent_note(s, r, &t);
		wire_put(s, r->slot, t.data, t.size);
	}
	while (ice_agent_poll_event(r->agent, &event))
		check(event.type != ICE_EVENT_FAILED, "an agent's path");
	heap_set(&s->timers, &r->timer, ice_agent_next_deadline(r->agent));
}

static void remote_start(struct connections *s, uint32_t slot, uint64_t now)
{
	char local_ufrag[8], local_pwd[24], remote_ufrag[8], remote_pwd[24];
	struct ice_config config = {
		.role = ICE_ROLE_CONTROLLING,
		.profile = ICE_PROFILE_CLIENT,
		.local_ufrag = local_ufrag,
		.local_pwd = local_pwd,
		.remote_ufrag = remote_ufrag,
		.remote_pwd = remote_pwd,
		.tie_breaker = slot,
		.random = random_bytes,
		.mac = s->mac,
		.table = s->table,
		.user = &s->remotes[slot],
	};
	struct ice_candidate local = {.kind = ICE_KIND_HOST, .addr = client_endpoint(slot)};
	struct ice_candidate gateway = {.kind = ICE_KIND_HOST, .addr = gateway_endpoint()};
	struct remote *r = &s->remotes[slot];

	credentials(local_ufrag, local_pwd, 'c', slot);
	credentials(remote_ufrag, remote_pwd, 'g', slot);
	local.base = local.addr;
	gateway.base = gateway.addr;
	gateway.priority = 2130706431;
	r->slot = slot;
	heap_node_init(&r->timer);
	r->agent = ice_agent_create(&config, now);
	check(r->agent != NULL, "ice_agent_create");
	check(ice_agent_add_local(r->agent, now, &local, false, NULL) == 0, "ice_agent_add_local");
	check(ice_agent_add_remote(r->agent, now, &gateway) == 0, "ice_agent_add_remote");
	remote_pump(s, r);
}

static void answer_note(struct connections *s, struct remote *r, const uint8_t *data)
{
	for (unsigned i = 0; i < OUTSTANDING; i++) {
		struct sent *sent = &r->sent[i];

		if (sent->tsc == 0 || memcmp(sent->txid.bytes, data + 8, sizeof(sent->txid)) != 0)
			continue;
		s->window.answered++;
		if (s->window.n < SAMPLES_MAX)
			s->window.ms[s->window.n++] =
				(double)(rte_rdtsc() - sent->tsc) * 1e3 / (double)rte_get_tsc_hz();
		sent->tsc = 0;
		return;
	}
}

static void response_take(struct connections *s, uint32_t slot, const uint8_t *data, size_t size)
{
	const struct noise_msg_response *msg = (const void *)data;
	struct noise_keypair keypair;
	struct shake *shake;

	if (size != sizeof(*msg) || slot >= s->n_shakes)
		return;
	shake = &s->shakes[slot];
	check(noise_response_consume(
		      &s->crypto,
		      &shake->identity,
		      &shake->gateway,
		      &shake->handshake,
		      msg,
		      &keypair)
		      == 0,
	      "noise_response_consume");
	s->window.shaken++;
}

// One frame from the gateway.
static void wire_take(struct connections *s, struct rte_mbuf *m)
{
	const struct rte_ipv4_hdr *ip =
		rte_pktmbuf_mtod_offset(m, const struct rte_ipv4_hdr *, RTE_ETHER_HDR_LEN);
	const uint8_t *data = rte_pktmbuf_mtod_offset(m, const uint8_t *, HEADERS);
	const uint8_t *dst = (const uint8_t *)&ip->dst_addr;
	uint32_t slot = (uint32_t)(dst[1] - 18) << 16 | (uint32_t)dst[2] << 8 | dst[3];
	struct ip_endpoint local = client_endpoint(slot), remote = gateway_endpoint();
	size_t size = m->data_len - HEADERS;
	struct ice_agent *agent;
	enum ice_rx rx;

	check(m->data_len > HEADERS && slot < CLIENTS, "a frame to a client");
	if (slot >= s->n_started)
		return; // the gateway's first check came before its client
	if (noise_msg_type_get(data, size) != 0) {
		response_take(s, slot, data, size);
		return;
	}
	rx = ice_table_handle_packet(s->table, gw_now_ns(), &local, &remote, data, size, &agent);
	if (agent == NULL)
		return;
	if (rx == ICE_RX_RESPONSE)
		answer_note(s, ice_agent_user(agent), data);
	remote_pump(s, ice_agent_user(agent));
}

static unsigned wires_empty(struct connections *s)
{
	struct rte_mbuf *pkts[DP_BURST_MAX];
	unsigned n, total = 0;

	while ((n = rte_ring_sc_dequeue_burst(
			s->bed->tx[BED_WAN], (void *)pkts, DP_BURST_MAX, NULL))
	       > 0) {
		for (unsigned i = 0; i < n; i++)
			wire_take(s, pkts[i]);
		rte_pktmbuf_free_bulk(pkts, n);
		total += n;
	}
	return total;
}

static void shake_next(struct connections *s, uint64_t now)
{
	bool is_measured = atomic_load_explicit(&s->is_measured, memory_order_relaxed);

	if (!is_measured || now < s->shake_at || s->next_shake == s->n_shakes)
		return;
	s->shake_at = now + NSEC_PER_S / SHAKES_PER_S;
	wire_put(
		s,
		s->next_shake,
		&s->shakes[s->next_shake].msg,
		sizeof(s->shakes[s->next_shake].msg));
	s->next_shake++;
}

static unsigned clients_run(struct connections *s)
{
	unsigned n_ready = atomic_load_explicit(&s->n_ready, memory_order_acquire), n = 0;
	uint64_t now = gw_now_ns();
	struct heap_node *top;

	while (s->n_started < n_ready)
		remote_start(s, s->n_started++, now);
	// Half a wire at once leaves room for the answers to the gateway's own checks.
	while (n < DP_BURST_MAX && (top = heap_top(&s->timers)) != NULL && top->deadline <= now) {
		void *r = (char *)top - offsetof(struct remote, timer);

		ice_agent_handle_timeout(((struct remote *)r)->agent, now);
		remote_pump(s, r);
		n++;
	}
	shake_next(s, now);
	return n;
}

static int clients_main(void *arg)
{
	struct connections *s = arg;
	struct worker *w = s->bed->w;

	rte_rcu_qsbr_thread_online(w->rcu, w->index);
	while (!atomic_load_explicit(&s->is_stopping, memory_order_relaxed)) {
		unsigned n = clients_run(s);

		n += worker_run_once(w, s->bed->now + (rte_rdtsc() - s->base_tsc));
		if (--w->loops_to_housekeeping == 0)
			worker_housekeep(w);
		n += wires_empty(s);
		if (n > 0)
			continue;
		worker_housekeep(w);
		usleep(NAP_US);
	}
	rte_rcu_qsbr_thread_offline(w->rcu, w->index);
	return 0;
}

// Around both -----------------------------------------------------------------------------------

static void shakes_make(struct connections *s)
{
	const uint8_t *gateway = noise_node_public_key(s->gw.node);
	struct noise_cookie_maker maker;

	check(noise_crypto_init(&s->crypto, NULL, NULL) == 0, "noise_crypto_init");
	noise_cookie_maker_init(&maker, &s->crypto, gateway);
	for (unsigned i = 0; i < s->n_shakes; i++) {
		const struct tai64n stamp = {.bytes = {0x40, [7] = 1}};
		struct shake *shake = &s->shakes[i];
		uint8_t private_key[NOISE_KEY_SIZE], ephemeral[NOISE_KEY_SIZE];
		const uint8_t psk[NOISE_KEY_SIZE] = {0};

		randombytes_buf(private_key, sizeof(private_key));
		randombytes_buf(ephemeral, sizeof(ephemeral));
		check(noise_identity_init(&shake->identity, private_key) == 0
			      && noise_remote_init(&shake->gateway, &shake->identity, gateway, psk)
				      == 0
			      && noise_initiation_create(
					 &s->crypto,
					 &shake->identity,
					 &shake->gateway,
					 ephemeral,
					 i,
					 &stamp,
					 &shake->handshake,
					 &shake->msg)
				      == 0,
		      "noise_initiation_create");
		noise_cookie_macs_add(
			&maker, &s->crypto, gw_now_ns(), (void *)&shake->msg, sizeof(shake->msg));
	}
}

static struct connections *connections_create(struct bed *bed, double seconds)
{
	struct connections *s = rte_zmalloc("connections", sizeof(*s), RTE_CACHE_LINE_SIZE);
	uint8_t key[ICE_TABLE_KEY_SIZE];

	check(s != NULL, "rte_zmalloc");
	s->bed = bed;
	s->steady_ms = (uint64_t)(seconds * 1000);
	s->config.max_clients = CLIENTS;
	s->config.udp_port = BED_UDP_PORT;
	check(gw_init(&s->gw, &s->config, bed->dp) == 0, "gw_init");
	randombytes_buf(key, sizeof(key));
	s->table = ice_table_create(key);
	s->mac = stun_mac_create();
	s->remotes = calloc(CLIENTS, sizeof(*s->remotes));
	s->n_shakes = RTE_MIN((unsigned)(seconds * SHAKES_PER_S), (unsigned)SHAKES_MAX);
	s->shakes = calloc(s->n_shakes + 1, sizeof(*s->shakes));
	check(s->table != NULL && s->mac != NULL && s->remotes != NULL && s->shakes != NULL
		      && heap_init(&s->timers, CLIENTS) == 0,
	      "calloc");
	shakes_make(s);
	return s;
}

static void connections_destroy(struct connections *s)
{
	gw_fini(&s->gw);
	bed_settle(s->bed);
	acl_registry_destroy(s->gw.registry);
	for (unsigned i = 0; i < s->n_started; i++)
		ice_agent_destroy(s->remotes[i].agent);
	ice_table_destroy(s->table);
	stun_mac_destroy(s->mac);
	heap_fini(&s->timers);
	noise_crypto_fini(&s->crypto);
	free(s->remotes);
	free(s->shakes);
	rte_free(s);
}

struct samples {
	struct sample_set p50, p99, worst, late, cpu, cpu_opening, rate, shakes;
	uint64_t lost;
};

static int compare_double(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static void samples_take(struct connections *s, struct samples *out)
{
	double seconds = (double)s->steady_ms / 1e3;
	struct window *w = &s->window;

	check(w->n > 0 && s->gw.stats.connections_failed == 0, "any answer");
	qsort(w->ms, w->n, sizeof(w->ms[0]), compare_double);
	sample_add(&out->p50, w->ms[w->n / 2]);
	sample_add(&out->p99, w->ms[(unsigned)((w->n - 1) * 0.99)]);
	sample_add(&out->worst, w->ms[w->n - 1]);
	sample_add(&out->late, (double)s->gw.stats.timer_late_ns / 1e6);
	sample_add(&out->cpu, s->steady_share);
	sample_add(&out->cpu_opening, s->opening_share);
	sample_add(&out->rate, (double)w->answered / seconds);
	sample_add(&out->shakes, (double)w->shaken / seconds);
	out->lost += w->sent - w->answered;
}

static void run_once(struct bed *bed, double seconds, struct samples *out)
{
	struct connections *s = connections_create(bed, seconds);
	unsigned lcore = rte_get_next_lcore(-1, 1, 0);

	s->base_tsc = rte_rdtsc();
	check(rte_eal_remote_launch(clients_main, s, lcore) == 0, "rte_eal_remote_launch");
	control_run(s);
	// The last answers are on their way.
	rte_delay_us_sleep(20000);
	atomic_store(&s->is_stopping, true);
	rte_eal_wait_lcore(lcore);
	bed->now += rte_rdtsc() - s->base_tsc;
	samples_take(s, out);
	connections_destroy(s);
}

void bench_connections(struct bed *bed, const struct bench_config *config, struct results *r)
{
	struct samples samples = {0};
	json_t *result;

	bed_policies_drop(bed);
	for (unsigned run = 0; run < config->connection_runs; run++)
		run_once(bed, config->connection_seconds, &samples);
	result = result_add(r, "connections", "0", CLIENTS, 0);
	result_samples(result, "p50_ms", &samples.p50);
	result_samples(result, "p99_ms", &samples.p99);
	result_samples(result, "worst_ms", &samples.worst);
	result_samples(result, "timer_late_ms", &samples.late);
	result_samples(result, "cpu_share", &samples.cpu);
	result_samples(result, "cpu_share_opening", &samples.cpu_opening);
	result_samples(result, "answers_per_second", &samples.rate);
	result_samples(result, "handshakes_per_second", &samples.shakes);
	result_number(result, "runs", samples.p50.n);
	json_object_set_new(result, "lost", json_integer((json_int_t)samples.lost));
}
