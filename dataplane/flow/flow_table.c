// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "dataplane/flow/flow_table.h"

#include "control/base/err.h"
#include "dataplane/flow/flow_share.h"

#include <rte_malloc.h>

#include <string.h>

enum {
	FLOWS_MAX = 1 << 30, // entry numbers leave room for FLOW_LINK_HEAD
};

static bool config_is_valid(const struct flow_table_config *c)
{
	return c->max_flows > 0 && c->max_flows <= FLOWS_MAX && c->max_clients > 0
		&& c->max_clients <= FLOWS_MAX && c->nat_port_first > 0
		&& c->nat_port_first <= c->nat_port_last && c->tsc_hz > 0;
}

static void *array_alloc(size_t n, size_t size, int socket_id)
{
	return rte_zmalloc_socket("flow_table", n * size, RTE_CACHE_LINE_SIZE, socket_id);
}

static int table_alloc(struct flow_table *t, int socket_id)
{
	int rc;

	t->flows = array_alloc(t->max_flows, sizeof(*t->flows), socket_id);
	t->timer_links = array_alloc(t->max_flows, sizeof(*t->timer_links), socket_id);
	t->client_links = array_alloc(t->max_flows, sizeof(*t->client_links), socket_id);
	t->wheel = array_alloc(FLOW_WHEEL_SIZE, sizeof(*t->wheel), socket_id);
	t->clients = array_alloc(t->max_clients, sizeof(*t->clients), socket_id);
	if (t->flows == NULL || t->timer_links == NULL || t->client_links == NULL
	    || t->wheel == NULL || t->clients == NULL)
		return -ENOMEM;
	rc = flow_index_init(&t->inside, t->max_flows, socket_id);
	if (rc < 0)
		return rc;
	return flow_index_init(&t->outside, t->max_flows, socket_id);
}

static void lists_init(struct flow_table *t)
{
	for (uint32_t i = 0; i < FLOW_WHEEL_SIZE; i++)
		t->wheel[i] = FLOW_ENTRY_NONE;
	for (uint32_t i = 0; i < t->max_clients; i++)
		t->clients[i] = FLOW_ENTRY_NONE;
	t->free = FLOW_ENTRY_NONE;
	for (uint32_t i = t->max_flows; i-- > 0;) {
		t->client_links[i].next = t->free;
		t->free = i;
	}
}

// splitmix64: one seed becomes several secrets.
static void secrets_init(struct flow_table *t, uint64_t seed)
{
	for (unsigned i = 0; i < FLOW_N_SECRETS; i++) {
		uint64_t z = seed += 0x9e3779b97f4a7c15;

		z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
		z = (z ^ z >> 27) * 0x94d049bb133111eb;
		t->secrets[i] = z ^ z >> 31;
	}
}

struct flow_table *flow_table_create(const struct flow_table_config *config)
{
	struct flow_table *t;
	int rc;

	if (!config_is_valid(config))
		return err_set_null(EINVAL);
	t = array_alloc(1, sizeof(*t), config->socket_id);
	if (t == NULL)
		return err_set_null(ENOMEM);
	t->max_flows = config->max_flows;
	t->max_clients = config->max_clients;
	t->base = config->now;
	t->share = config->share;
	t->worker = config->worker;
	t->ports = flow_nat_range_make(
		config->nat_port_first, config->nat_port_last - config->nat_port_first + 1u);
	t->ids = flow_nat_range_make(0, UINT16_MAX + 1);
	secrets_init(t, config->seed);
	flow_timer_init(t, config->tsc_hz);
	rc = table_alloc(t, config->socket_id);
	if (rc < 0) {
		flow_table_destroy(t);
		return err_set_null(-rc);
	}
	lists_init(t);
	return t;
}

void flow_table_destroy(struct flow_table *t)
{
	if (t == NULL)
		return;
	flow_index_fini(&t->inside);
	flow_index_fini(&t->outside);
	rte_free(t->flows);
	rte_free(t->timer_links);
	rte_free(t->client_links);
	rte_free(t->wheel);
	rte_free(t->clients);
	rte_free(t);
}

void flow_table_stats_get(const struct flow_table *t, struct flow_table_stats *out)
{
	*out = t->stats;
}

static void flow_fill(
	struct flow *f,
	const struct flow_inside *key,
	const struct flow_outside *outside,
	uint32_t tick)
{
	*f = (struct flow){
		.slot = key->slot,
		.sport = key->sport,
		.dport = key->dport,
		.nat_port = outside->nat_port,
		.family = key->family,
		.kind = key->kind,
		.proto = key->proto,
		.last_out = tick,
	};
	memcpy(f->dst, key->dst, sizeof(f->dst));
	memcpy(f->remote, outside->remote, sizeof(f->remote));
	memcpy(f->lan, outside->lan, sizeof(f->lan));
}

static void ports_count(struct flow_table *t, const struct flow *f)
{
	if (f->kind == FLOW_KIND_OTHER)
		return;
	if (f->nat_port == f->sport)
		t->stats.ports_kept++;
	else
		t->stats.ports_changed++;
}

struct flow *flow_create(
	struct flow_table *t,
	const struct flow_inside *key,
	const uint8_t lan[16],
	const uint8_t remote[16],
	uint32_t tick)
{
	uint64_t inside_hash = flow_inside_hash(t, key), outside_hash;
	struct flow_outside outside = {
		.dport = key->dport,
		.family = key->family,
		.kind = key->kind,
		.proto = key->proto,
	};
	uint32_t entry = t->free;
	struct flow *f;
	int rc;

	if (key->slot >= t->max_clients || key->kind < FLOW_KIND_TCP || key->kind > FLOW_KIND_OTHER)
		return err_set_null(EINVAL);
	f = flow_inside_lookup(t, key, inside_hash);
	if (f != NULL)
		return f;
	if (entry == FLOW_ENTRY_NONE)
		return err_set_null(ENOSPC);
	memcpy(outside.lan, lan, sizeof(outside.lan));
	memcpy(outside.remote, remote, sizeof(outside.remote));
	rc = flow_nat_pick(t, &outside, key->sport, inside_hash, &outside_hash);
	if (rc < 0)
		return err_set_null(-rc);

	t->free = t->client_links[entry].next;
	f = &t->flows[entry];
	flow_fill(f, key, &outside, tick);
	flow_index_insert(&t->inside, inside_hash, entry);
	flow_index_insert(&t->outside, outside_hash, entry);
	flow_link_insert(t->client_links, t->clients, key->slot, entry);
	flow_timer_start(t, entry);
	t->stats.flows++;
	t->stats.created++;
	ports_count(t, f);
	return f;
}

void flow_entry_free(struct flow_table *t, uint32_t entry)
{
	struct flow *f = &t->flows[entry];
	struct flow_inside inside = {
		.slot = f->slot,
		.sport = f->sport,
		.dport = f->dport,
		.family = f->family,
		.kind = f->kind,
		.proto = f->proto,
	};
	struct flow_outside outside = {
		.nat_port = f->nat_port,
		.dport = f->dport,
		.family = f->family,
		.kind = f->kind,
		.proto = f->proto,
	};

	memcpy(inside.dst, f->dst, sizeof(inside.dst));
	memcpy(outside.lan, f->lan, sizeof(outside.lan));
	memcpy(outside.remote, f->remote, sizeof(outside.remote));
	if (t->share != NULL && flow_share_is_claimed(&outside))
		flow_share_release(t->share, &outside, t->worker);
	flow_index_remove(&t->inside, flow_inside_hash(t, &inside), entry);
	flow_index_remove(&t->outside, flow_outside_hash(t, &outside), entry);
	flow_link_remove(t->timer_links, t->wheel, entry);
	flow_link_remove(t->client_links, t->clients, entry);
	f->kind = 0;
	t->client_links[entry].next = t->free;
	t->free = entry;
	t->stats.flows--;
}

void flow_delete(struct flow_table *t, struct flow *f)
{
	flow_entry_free(t, (uint32_t)(f - t->flows));
	t->stats.deleted++;
}

unsigned flow_client_clear(struct flow_table *t, uint32_t slot, unsigned budget)
{
	unsigned n = 0;

	if (slot >= t->max_clients)
		return 0;
	for (; n < budget && t->clients[slot] != FLOW_ENTRY_NONE; n++)
		flow_entry_free(t, t->clients[slot]);
	t->stats.deleted += n;
	return n;
}
