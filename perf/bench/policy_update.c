// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "control/access/access.h"
#include "control/portal/gateway_messages.h"
#include "perf/bench/bench.h"

#include <rte_cycles.h>
#include <rte_launch.h>
#include <rte_lcore.h>
#include <rte_pause.h>

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// How long from the portal's message, as text, to the first packet that is judged by it.
//
//   main lcore    every millisecond: JSON text -> message -> access_authorize() -> new policy
//                 compiled and published -> asks the other side for a packet of that client
//   second lcore  feeds bursts of established flows of all clients to the worker and runs it; puts
//                 a packet of the asked client first and looks which policy its flow was judged by
//
// Once with updates that leave the client with the rules of its group (the portal refreshes an
// authorization: a new expiry, the set is found ready), once with rules that nobody else has, so that
// each update compiles a set of 60 rules. All packets belong to allowed flows, so each one must come
// out at the other end.

enum {
	UPDATES_PER_SECOND = 1000,
	SAMPLES_MAX = 1 << 17,
	JSON_SIZE = 2048,
	TRAFFIC_SIZE = 256,
};

struct update {
	struct bed *bed;
	struct access *access;
	struct bed_round round;
	uint64_t base_tsc; // bed->now plus what went by since

	// One probe at a time: main sets slot and generation, then is_asked; the other answers.
	uint32_t slot, generation;
	atomic_bool is_asked __rte_aligned(64);
	uint64_t judged_tsc;
	uint64_t fed, passed;
	atomic_bool is_stopping __rte_aligned(64);

	bool has_pauses; // measure loops instead of answering
	unsigned n_pauses;
	double pause_ms[SAMPLES_MAX]; // how long each loop with a burst took

	uint32_t published_generation; // of the last on_policy()
	bool is_unique; // each update makes a set of its own
	uint32_t n_updates;
	unsigned n;
	double ms[SAMPLES_MAX], compile_ms[SAMPLES_MAX];
};

static void check(bool is_ok, const char *what)
{
	if (is_ok)
		return;
	fprintf(stderr, "bench: policy_update: %s failed\n", what);
	exit(1);
}

static void policy_free(void *arg, const void *policy)
{
	access_policy_free(arg, policy);
}

static void on_added(void *, struct access_client *) {}
static void on_removed(void *, struct access_client *) {}

static void on_policy(void *ctx, struct access_client *client, const struct acl_policy *policy)
{
	struct update *u = ctx;

	u->published_generation = policy->generation;
	dp_retire(
		u->bed->dp,
		dp_policy_publish(u->bed->dp, client->slot, policy),
		policy_free,
		u->bed->acl);
}

static struct uuid uuid_of(uint8_t kind, uint32_t n)
{
	struct uuid id = {.bytes = {kind}};

	memcpy(id.bytes + 12, &n, sizeof(n));
	return id;
}

static struct ip_addr client_v4(uint32_t n)
{
	return ip_addr_v4((const uint8_t[]){100, 64, (uint8_t)(n >> 8), (uint8_t)n});
}

// Client and resources as the bed has them; slots are handed out in order.
static void grant_add(struct update *u, uint32_t slot, uint8_t resource)
{
	struct portal_filter filters[] = {
		{PORTAL_PROTOCOL_TCP, 1, (uint16_t)(60000 + slot % BED_GROUPS)},
		{PORTAL_PROTOCOL_UDP, 1, (uint16_t)(60000 + slot % BED_GROUPS)},
		{PORTAL_PROTOCOL_ICMP, 0, 65535},
	};
	struct portal_resource r = {
		.id = uuid_of(2, resource),
		.prefix = {.addr = ip_addr_v4((const uint8_t[]){10, 20, resource, 0}), .len = 24},
		.filters = filters,
		.n_filters = 3,
	};
	struct access_grant grant = {
		.client_id = uuid_of(1, slot),
		.ipv4 = client_v4(slot),
		.resource = &r,
		.expires_at = PORTAL_NEVER,
	};
	struct portal_error err;
	struct access_client *c;

	check(ip_addr_parse(&grant.ipv6, "fd00:2021:1111::1") == 0, "address");
	memcpy(grant.ipv6.bytes + 12, &slot, sizeof(slot));
	c = access_authorize(u->access, &grant, &err);
	check(c != NULL && c->slot == slot, "access_authorize");
}

static void access_fill(struct update *u)
{
	struct access_config config = {
		.max_clients = BED_CLIENTS,
		.boot_ns = 1,
		.unix_ns = INT64_C(1700000000) * 1000000000,
		.tsc_hz = rte_get_tsc_hz(),
		.callbacks = {on_added, on_policy, on_removed},
		.ctx = u,
	};
	struct bed *bed = u->bed;

	bed_policies_drop(bed);
	u->access = access_create(&config, bed->acl);
	check(u->access != NULL, "access_create");
	// Resource by resource, so that clients of a group find each other's sets.
	for (uint8_t r = 0; r < BED_RESOURCES; r++)
		for (uint32_t slot = 0; slot < BED_CLIENTS; slot++)
			grant_add(u, slot, r);
	worker_housekeep(bed->w);
	dp_reclaim(bed->dp);
}

// The message that refreshes one resource of a client.
static size_t message_write(char *json, uint32_t slot, uint32_t n, bool is_unique)
{
	unsigned group_last = 60000 + slot % BED_GROUPS;
	char client[UUID_TEXT_SIZE], resource[UUID_TEXT_SIZE], v4[IP_TEXT_SIZE], v6[IP_TEXT_SIZE];
	struct uuid client_id = uuid_of(1, slot), resource_id = uuid_of(2, n % BED_RESOURCES);
	struct ip_addr a4 = client_v4(slot), a6;

	check(ip_addr_parse(&a6, "fd00:2021:1111::1") == 0, "address");
	memcpy(a6.bytes + 12, &slot, sizeof(slot));
	return (size_t)snprintf(
		json,
		JSON_SIZE,
		"{\"ref\":\"SFMyNTY.g2gDbQAA\",\"client\":{\"id\":\"%s\",\"public_key\":"
		"\"fiAjSBWDgQfD1CFJkTwOf4zg+1QhH0eTT+oLaVIMpH8=\",\"preshared_key\":"
		"\"BzPiNE9qszKczZcZzGsyieLYeJ2EQfkfdibls/l3beM=\",\"ipv4\":\"%s\",\"ipv6\":\"%s\"},"
		"\"subject\":{},\"resource\":{\"id\":\"%s\",\"type\":\"cidr\",\"name\":\"net\","
		"\"address\":\"10.20.%u.0/24\",\"filters\":["
		"{\"protocol\":\"udp\",\"port_range_start\":%u,\"port_range_end\":%u},"
		"{\"protocol\":\"tcp\",\"port_range_start\":1,\"port_range_end\":%u},"
		"{\"protocol\":\"icmp\"}]},"
		"\"gateway_ice_credentials\":{\"username\":\"ejqt\",\"password\":"
		"\"zfjrrjdkbci42t2axyd45a\"},"
		"\"client_ice_credentials\":{\"username\":\"hgwh\",\"password\":"
		"\"j2fqufatn7xlrrvv6fsvea\"}"
		","
		"\"expires_at\":%u}",
		uuid_format(&client_id, client),
		ip_addr_format(&a4, v4),
		ip_addr_format(&a6, v6),
		uuid_format(&resource_id, resource),
		n % BED_RESOURCES,
		is_unique ? 1 + n % 4000 : 1,
		is_unique ? 10000 + n % 50000 : group_last,
		is_unique ? 10000 + n / 4000 % 50000 : group_last,
		1990000000 + n % 1000000);
}

static void message_handle(struct update *u, const char *json, size_t size)
{
	json_t *payload = json_loadb(json, size, 0, NULL);
	struct gateway_message m;
	struct portal_error err;
	const struct gateway_create_authorization *a = &m.create_authorization;
	struct access_grant grant;

	check(payload != NULL, "json_loadb");
	check(gateway_message_parse(&m, "create_authorization", payload, &err) == 0, err.text);
	grant = (struct access_grant){
		.client_id = a->client.id,
		.ipv4 = a->client.ipv4,
		.ipv6 = a->client.ipv6,
		.resource = &a->resource,
		.expires_at = a->expires_at,
	};
	check(access_authorize(u->access, &grant, &err) != NULL, "access_authorize");
	gateway_message_fini(&m);
	json_decref(payload);
}

// The worker's side -----------------------------------------------------------------------------

static uint64_t bed_clock(const struct update *u)
{
	return u->bed->now + (rte_rdtsc() - u->base_tsc);
}

// What the LAN got counts; what goes to clients are keepalives.
static void wires_empty(struct update *u)
{
	struct rte_mbuf *pkts[DP_BURST_MAX];
	unsigned n;

	while ((n = rte_ring_sc_dequeue_burst(
			u->bed->tx[BED_LAN], (void *)pkts, DP_BURST_MAX, NULL))
	       > 0) {
		rte_pktmbuf_free_bulk(pkts, n);
		u->passed += n;
	}
	while ((n = rte_ring_sc_dequeue_burst(
			u->bed->tx[BED_WAN], (void *)pkts, DP_BURST_MAX, NULL))
	       > 0)
		rte_pktmbuf_free_bulk(pkts, n);
}

static void burst_run(struct update *u, bool is_asked)
{
	struct bed *bed = u->bed;
	uint64_t t0;

	bed_round_draw(bed, &u->round, DP_BURST_MAX, BED_CLIENTS, TRAFFIC_SIZE);
	if (is_asked) {
		u->round.packet[0].slot = u->slot;
		u->round.packet[0].flow = 0;
	}
	bed_round_up(bed, &u->round, BED_TARGET_FLOW);
	u->fed += bed_feed(bed, &u->round, 0, BED_WAN);
	t0 = rte_rdtsc();
	worker_run_once(bed->w, bed_clock(u));
	if (--bed->w->loops_to_housekeeping == 0)
		worker_housekeep(bed->w);
	if (u->has_pauses && u->n_pauses < SAMPLES_MAX)
		u->pause_ms[u->n_pauses++] =
			(double)(rte_rdtsc() - t0) * 1e3 / (double)rte_get_tsc_hz();
	wires_empty(u);
}

static int traffic_main(void *arg)
{
	struct update *u = arg;
	struct worker *w = u->bed->w;

	rte_rcu_qsbr_thread_online(w->rcu, w->index);
	while (!atomic_load(&u->is_stopping)) {
		bool is_asked = atomic_load_explicit(&u->is_asked, memory_order_acquire);
		const struct flow *f;

		burst_run(u, is_asked);
		if (!is_asked)
			continue;
		f = bed_flow(u->bed, &u->round.packet[0]);
		if (f == NULL || f->policy_generation != u->generation)
			continue;
		u->judged_tsc = rte_rdtsc();
		atomic_store_explicit(&u->is_asked, false, memory_order_release);
	}
	rte_rcu_qsbr_thread_offline(w->rcu, w->index);
	return 0;
}

// Control's side --------------------------------------------------------------------------------

static void update_one(struct update *u)
{
	double tsc_ms = (double)rte_get_tsc_hz() / 1e3;
	char json[JSON_SIZE];
	uint64_t t0, t1;
	size_t size;

	u->slot = bed_random(u->bed) % BED_CLIENTS;
	size = message_write(json, u->slot, u->n_updates++, u->is_unique);
	t0 = rte_rdtsc();
	message_handle(u, json, size);
	t1 = rte_rdtsc();
	u->generation = u->published_generation;
	atomic_store_explicit(&u->is_asked, true, memory_order_release);
	while (atomic_load_explicit(&u->is_asked, memory_order_acquire))
		rte_pause();
	u->compile_ms[u->n] = (double)(t1 - t0) / tsc_ms;
	u->ms[u->n++] = (double)(u->judged_tsc - t0) / tsc_ms;
	dp_reclaim(u->bed->dp);
}

static int compare_double(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double percentile(double *v, unsigned n, double p)
{
	qsort(v, n, sizeof(*v), compare_double);
	return v[(unsigned)((n - 1) * p)];
}

struct update_samples {
	struct sample_set p50, p99, worst, compile, rate, mpps;
	uint64_t lost;
};

static void run_once(struct update *u, double seconds, struct update_samples *s)
{
	uint64_t hz = rte_get_tsc_hz(), start, end, due;
	unsigned lcore = rte_get_next_lcore(-1, 1, 0);

	u->n = 0;
	u->fed = u->passed = 0;
	u->base_tsc = rte_rdtsc();
	atomic_store(&u->is_stopping, false);
	check(rte_eal_remote_launch(traffic_main, u, lcore) == 0, "rte_eal_remote_launch");
	start = due = rte_rdtsc();
	while (rte_rdtsc() - start < (uint64_t)(seconds * (double)hz) && u->n < SAMPLES_MAX) {
		while (rte_rdtsc() < due)
			rte_delay_us_sleep(50);
		update_one(u);
		due += hz / UPDATES_PER_SECOND;
	}
	end = rte_rdtsc();
	atomic_store(&u->is_stopping, true);
	rte_eal_wait_lcore(lcore);
	u->bed->now = bed_clock(u);
	dp_reclaim(u->bed->dp);
	sample_add(&s->rate, u->n * (double)hz / (double)(end - start));
	sample_add(&s->mpps, (double)u->fed * (double)hz / (double)(end - start) / 1e6);
	sample_add(&s->compile, percentile(u->compile_ms, u->n, 0.5));
	sample_add(&s->p50, percentile(u->ms, u->n, 0.5));
	sample_add(&s->p99, percentile(u->ms, u->n, 0.99));
	sample_add(&s->worst, u->ms[u->n - 1]);
	s->lost += u->fed - u->passed;
}

// A whole snapshot (init) --------------------------------------------------------------------------

// Every pair there is, with another expiry: each client gets a new policy.
static struct portal_authorization *snapshot_make(int64_t expires_at)
{
	struct portal_authorization *pairs = calloc(BED_CLIENTS * BED_RESOURCES, sizeof(*pairs));
	size_t n = 0;

	check(pairs != NULL, "calloc");
	for (uint8_t r = 0; r < BED_RESOURCES; r++)
		for (uint32_t slot = 0; slot < BED_CLIENTS; slot++)
			pairs[n++] = (struct portal_authorization){
				.client_id = uuid_of(1, slot),
				.resource_id = uuid_of(2, r),
				.expires_at = expires_at,
			};
	return pairs;
}

struct snapshot_samples {
	struct sample_set control, slice, p50, p99, worst;
	uint64_t lost;
};

// As the gateway's loop does, but for what it does between two slices. @return the longest slice
static uint64_t snapshot_reconcile(struct update *u)
{
	uint64_t t0 = rte_rdtsc(), t1, worst = 0;

	while (access_reconcile(u->access, ACCESS_RECONCILE_BUDGET)) {
		t1 = rte_rdtsc();
		worst = RTE_MAX(worst, t1 - t0);
		t0 = t1;
	}
	return worst;
}

static void snapshot_once(struct update *u, int64_t expires_at, struct snapshot_samples *s)
{
	struct portal_authorization *pairs = snapshot_make(expires_at);
	unsigned lcore = rte_get_next_lcore(-1, 1, 0);
	uint64_t t0, t1, slice;

	u->fed = u->passed = 0;
	u->n_pauses = 0;
	u->has_pauses = true;
	u->base_tsc = rte_rdtsc();
	atomic_store(&u->is_stopping, false);
	check(rte_eal_remote_launch(traffic_main, u, lcore) == 0, "rte_eal_remote_launch");
	t0 = rte_rdtsc();
	check(access_retain(u->access, pairs, BED_CLIENTS * BED_RESOURCES) == 0, "access_retain");
	slice = snapshot_reconcile(u);
	t1 = rte_rdtsc();
	dp_reclaim(u->bed->dp);
	atomic_store(&u->is_stopping, true);
	rte_eal_wait_lcore(lcore);
	u->has_pauses = false;
	u->bed->now = bed_clock(u);
	dp_reclaim(u->bed->dp);
	free(pairs);
	if (u->n_pauses == 0)
		return;
	sample_add(&s->control, (double)(t1 - t0) * 1e3 / (double)rte_get_tsc_hz());
	sample_add(&s->slice, (double)slice * 1e3 / (double)rte_get_tsc_hz());
	sample_add(&s->p50, percentile(u->pause_ms, u->n_pauses, 0.5));
	sample_add(&s->p99, percentile(u->pause_ms, u->n_pauses, 0.99));
	sample_add(&s->worst, u->pause_ms[u->n_pauses - 1]);
	s->lost += u->fed - u->passed;
}

static void snapshot_run(struct update *u, unsigned runs, struct results *r)
{
	struct snapshot_samples s = {0};
	json_t *result;

	for (unsigned run = 0; run < runs; run++)
		snapshot_once(u, INT64_C(2000000000) + run, &s);
	result = result_add(r, "snapshot", "256", BED_CLIENTS, BED_FLOWS_PER_CLIENT);
	result_samples(result, "control_ms", &s.control);
	result_samples(result, "slice_ms", &s.slice);
	result_samples(result, "p50_ms", &s.p50);
	result_samples(result, "p99_ms", &s.p99);
	result_samples(result, "worst_ms", &s.worst);
	result_number(result, "authorizations", BED_CLIENTS * BED_RESOURCES);
	json_object_set_new(result, "lost", json_integer((json_int_t)s.lost));
}

static void report(struct results *r, const struct update_samples *s, bool is_unique)
{
	json_t *result = result_add(r, "policy_update", "256", BED_CLIENTS, BED_FLOWS_PER_CLIENT);

	json_object_set_new(result, "sets", json_string(is_unique ? "unique" : "shared"));
	result_samples(result, "p50_ms", &s->p50);
	result_samples(result, "p99_ms", &s->p99);
	result_samples(result, "worst_ms", &s->worst);
	result_samples(result, "control_ms", &s->compile);
	result_samples(result, "updates_per_second", &s->rate);
	result_number(result, "mpps", sample_median(&s->mpps));
	result_number(result, "resources", BED_RESOURCES);
	result_number(result, "runs", s->p50.n);
	json_object_set_new(result, "lost", json_integer((json_int_t)s->lost));
}

void bench_policy_update(struct bed *bed, const struct bench_config *config, struct results *r)
{
	struct update *u = calloc(1, sizeof(*u));
	struct update_samples samples;

	check(u != NULL, "calloc");
	u->bed = bed;
	access_fill(u);
	bed_rekey(bed);
	bed_flows_make(bed, BED_CLIENTS);
	for (int is_unique = 0; is_unique <= 1; is_unique++) {
		samples = (struct update_samples){0};
		u->is_unique = is_unique != 0;
		for (unsigned run = 0; run < config->runs; run++)
			run_once(u, config->update_seconds, &samples);
		report(r, &samples, u->is_unique);
	}
	snapshot_run(u, config->runs, r);
	for (uint32_t slot = 0; slot < BED_CLIENTS; slot++)
		access_policy_free(bed->acl, dp_policy_publish(bed->dp, slot, NULL));
	access_destroy(u->access);
	free(u);
}
