// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "perf/bench/authority.h"

#include "control/portal/gateway_messages.h"

#include <rte_cycles.h>
#include <rte_launch.h>
#include <rte_lcore.h>
#include <rte_pause.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	PROBE_TIMEOUT_S = 20,
};

void authority_check(bool is_ok, const char *what)
{
	if (is_ok)
		return;
	fprintf(stderr, "bench: authorizations: %s failed\n", what);
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
	struct authority *a = ctx;

	a->published_generation = policy->generation;
	dp_retire(
		a->bed->dp,
		dp_policy_publish(a->bed->dp, client->slot, policy),
		policy_free,
		a->bed->acl);
}

static struct uuid uuid_of(uint8_t kind, uint32_t n)
{
	struct uuid id = {.bytes = {kind}};

	memcpy(id.bytes + 12, &n, sizeof(n));
	return id;
}

struct uuid authority_client_id(uint32_t slot)
{
	return uuid_of(1, slot);
}

struct uuid authority_resource_id(uint32_t resource)
{
	return uuid_of(2, resource);
}

static struct ip_addr client_v4(uint32_t n)
{
	return ip_addr_v4((const uint8_t[]){100, 64, (uint8_t)(n >> 8), (uint8_t)n});
}

// Client and resources as the bed has them; slots are handed out in order.
static void grant_add(struct authority *a, uint32_t slot, uint8_t resource)
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

	authority_check(ip_addr_parse(&grant.ipv6, "fd00:2021:1111::1") == 0, "address");
	memcpy(grant.ipv6.bytes + 12, &slot, sizeof(slot));
	c = access_authorize(a->access, &grant, &err);
	authority_check(c != NULL && c->slot == slot, "access_authorize");
}

static void access_fill(struct authority *a)
{
	struct access_config config = {
		.max_clients = BED_CLIENTS,
		.boot_ns = 1,
		.unix_ns = INT64_C(1700000000) * 1000000000,
		.tsc_hz = rte_get_tsc_hz(),
		.callbacks = {on_added, on_policy, on_removed},
		.ctx = a,
	};
	struct bed *bed = a->bed;

	bed_policies_drop(bed);
	a->access = access_create(&config, bed->acl);
	authority_check(a->access != NULL, "access_create");
	// Resource by resource, so that clients of a group find each other's sets.
	for (uint8_t r = 0; r < BED_RESOURCES; r++)
		for (uint32_t slot = 0; slot < BED_CLIENTS; slot++)
			grant_add(a, slot, r);
	worker_housekeep(bed->w);
	dp_reclaim(bed->dp);
}

size_t authority_grant_write(char *json, uint32_t slot, uint32_t r, uint32_t n, bool is_unique)
{
	unsigned group_last = 60000 + slot % BED_GROUPS;
	char client[UUID_TEXT_SIZE], resource[UUID_TEXT_SIZE], v4[IP_TEXT_SIZE], v6[IP_TEXT_SIZE];
	struct uuid client_id = uuid_of(1, slot), resource_id = uuid_of(2, r);
	struct ip_addr a4 = client_v4(slot), a6;

	authority_check(ip_addr_parse(&a6, "fd00:2021:1111::1") == 0, "address");
	memcpy(a6.bytes + 12, &slot, sizeof(slot));
	return (size_t)snprintf(
		json,
		AUTHORITY_JSON_SIZE,
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
		r,
		is_unique ? 1 + n % 4000 : 1,
		is_unique ? 10000 + n % 50000 : group_last,
		is_unique ? 10000 + n / 4000 % 50000 : group_last,
		1990000000 + n % 1000000);
}

size_t authority_reject_write(char *json, uint32_t slot, uint32_t r)
{
	char client[UUID_TEXT_SIZE], resource[UUID_TEXT_SIZE];
	struct uuid client_id = uuid_of(1, slot), resource_id = uuid_of(2, r);

	return (size_t)snprintf(
		json,
		AUTHORITY_JSON_SIZE,
		"{\"client_id\":\"%s\",\"resource_id\":\"%s\"}",
		uuid_format(&client_id, client),
		uuid_format(&resource_id, resource));
}

static void grant_handle(struct authority *a, const struct gateway_create_authorization *m)
{
	struct access_grant grant = {
		.client_id = m->client.id,
		.ipv4 = m->client.ipv4,
		.ipv6 = m->client.ipv6,
		.resource = &m->resource,
		.expires_at = m->expires_at,
	};
	struct portal_error err;

	authority_check(access_authorize(a->access, &grant, &err) != NULL, "access_authorize");
}

void authority_message(struct authority *a, const char *event, const char *json, size_t size)
{
	json_t *payload = json_loadb(json, size, 0, NULL);
	struct gateway_message m;
	struct portal_error err;

	authority_check(payload != NULL, "json_loadb");
	authority_check(gateway_message_parse(&m, event, payload, &err) == 0, err.text);
	if (m.type == GATEWAY_MESSAGE_CREATE_AUTHORIZATION)
		grant_handle(a, &m.create_authorization);
	else if (m.type == GATEWAY_MESSAGE_REJECT_ACCESS)
		authority_check(
			access_reject(
				a->access,
				&m.reject_access.client_id,
				&m.reject_access.resource_id),
			"access_reject");
	gateway_message_fini(&m);
	json_decref(payload);
}

// The worker's side -----------------------------------------------------------------------------

static uint64_t bed_clock(const struct authority *a)
{
	return a->bed->now + (rte_rdtsc() - a->base_tsc);
}

// What the LAN got counts; what goes to clients are keepalives.
static void wires_empty(struct authority *a)
{
	struct rte_mbuf *pkts[DP_BURST_MAX];
	unsigned n;

	while ((n = rte_ring_sc_dequeue_burst(
			a->bed->tx[BED_LAN], (void *)pkts, DP_BURST_MAX, NULL))
	       > 0) {
		rte_pktmbuf_free_bulk(pkts, n);
		a->passed += n;
	}
	while ((n = rte_ring_sc_dequeue_burst(
			a->bed->tx[BED_WAN], (void *)pkts, DP_BURST_MAX, NULL))
	       > 0)
		rte_pktmbuf_free_bulk(pkts, n);
}

static void burst_run(struct authority *a, bool is_asked)
{
	struct bed *bed = a->bed;
	uint64_t t0;

	bed_round_draw(bed, &a->round, DP_BURST_MAX, BED_CLIENTS, AUTHORITY_TRAFFIC_SIZE);
	if (is_asked) {
		a->round.packet[0].slot = a->probe.slot;
		a->round.packet[0].flow = 0;
		a->round.packet[0].is_tcp = a->probe.is_tcp;
	}
	bed_round_up(bed, &a->round, BED_TARGET_FLOW);
	a->fed += bed_feed(bed, &a->round, 0, BED_WAN);
	t0 = rte_rdtsc();
	worker_run_once(bed->w, bed_clock(a));
	if (--bed->w->loops_to_housekeeping == 0)
		worker_housekeep(bed->w);
	if (a->has_pauses && a->n_pauses < AUTHORITY_SAMPLES_MAX)
		a->pause_ms[a->n_pauses++] =
			(double)(rte_rdtsc() - t0) * 1e3 / (double)rte_get_tsc_hz();
	wires_empty(a);
}

// Only what is asked for is ever refused, and UDP of the same client to the same resource beside it.
static bool probe_is_done(struct authority *a, uint64_t refused)
{
	const struct flow *f;

	if (a->probe.kind == PROBE_REFUSED)
		return refused > 0;
	f = bed_flow(a->bed, &a->round.packet[0]);
	return f != NULL && f->policy_generation == a->probe.generation;
}

static int traffic_main(void *arg)
{
	struct authority *a = arg;
	struct worker *w = a->bed->w;
	const uint64_t *drops = &w->stats.drops[DROP_policy_prohibited];

	rte_rcu_qsbr_thread_online(w->rcu, w->index);
	while (!atomic_load(&a->is_stopping)) {
		bool is_asked = atomic_load_explicit(&a->is_asked, memory_order_acquire);
		uint64_t before = *drops, refused;

		burst_run(a, is_asked);
		refused = *drops - before;
		a->refused += refused;
		if (!is_asked || !probe_is_done(a, refused))
			continue;
		a->probe.done_tsc = rte_rdtsc();
		atomic_store_explicit(&a->is_asked, false, memory_order_release);
	}
	rte_rcu_qsbr_thread_offline(w->rcu, w->index);
	return 0;
}

void authority_traffic_start(struct authority *a)
{
	a->fed = a->passed = a->refused = 0;
	a->base_tsc = rte_rdtsc();
	a->lcore = rte_get_next_lcore(-1, 1, 0);
	atomic_store(&a->is_stopping, false);
	authority_check(
		rte_eal_remote_launch(traffic_main, a, a->lcore) == 0, "rte_eal_remote_launch");
}

void authority_traffic_stop(struct authority *a)
{
	atomic_store(&a->is_stopping, true);
	rte_eal_wait_lcore(a->lcore);
	a->bed->now = bed_clock(a);
	dp_reclaim(a->bed->dp);
}

uint64_t authority_probe(struct authority *a)
{
	uint64_t start = rte_rdtsc();

	atomic_store_explicit(&a->is_asked, true, memory_order_release);
	while (atomic_load_explicit(&a->is_asked, memory_order_acquire)) {
		authority_check(
			rte_rdtsc() - start < PROBE_TIMEOUT_S * rte_get_tsc_hz(),
			"probe: nothing was judged for 20 s;");
		rte_pause();
	}
	return a->probe.done_tsc;
}

static int compare_double(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

double authority_percentile(double *v, unsigned n, double p)
{
	qsort(v, n, sizeof(*v), compare_double);
	return v[(unsigned)((n - 1) * p)];
}

struct authority *authority_create(struct bed *bed)
{
	struct authority *a = calloc(1, sizeof(*a));

	authority_check(a != NULL, "calloc");
	a->bed = bed;
	access_fill(a);
	bed_rekey(bed);
	bed_flows_make(bed, BED_CLIENTS);
	return a;
}

void authority_destroy(struct authority *a)
{
	for (uint32_t slot = 0; slot < BED_CLIENTS; slot++)
		access_policy_free(a->bed->acl, dp_policy_publish(a->bed->dp, slot, NULL));
	access_destroy(a->access);
	free(a);
}
