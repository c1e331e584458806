// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "dataplane/flow/flow_share.h"
#include "dataplane/flow/flow_table.h"

#include <errno.h>

static uint32_t gcd(uint32_t a, uint32_t b)
{
	while (b != 0) {
		uint32_t rest = a % b;

		a = b;
		b = rest;
	}
	return a;
}

enum {
	POOL_TRIES_MAX = 4, // addresses; each costs up to FLOW_NAT_PROBES_MAX look-ups
};

struct flow *flow_create_pooled(
	struct flow_table *t,
	const struct flow_inside *key,
	const struct flow_nat_pool *pool,
	const uint8_t remote[16],
	uint32_t tick)
{
	unsigned tries = RTE_MIN((unsigned)pool->n, (unsigned)POOL_TRIES_MAX);
	struct flow *f = NULL;

	for (unsigned i = 0; i < tries; i++) {
		f = flow_create(t, key, pool->addrs[(key->slot + i) % pool->n], remote, tick);
		if (f != NULL || errno != EADDRNOTAVAIL)
			break;
	}
	return f;
}

struct flow_nat_range flow_nat_range_make(uint32_t first, uint32_t n)
{
	// Near the golden section, where successive steps lie far from all earlier ones.
	uint32_t step = (uint32_t)((uint64_t)n * 618 / 1000);

	if (step == 0)
		step = 1;
	while (gcd(step, n) != 1)
		step++;
	return (struct flow_nat_range){.first = first, .n = n, .step = step};
}

static bool
port_try(struct flow_table *t, struct flow_outside *key, rte_be16_t port, uint64_t *hash)
{
	key->nat_port = port;
	*hash = flow_outside_hash(t, key);
	return flow_outside_lookup(t, key, *hash) == NULL;
}

// What is constant while ports are tried: with other workers about, which ports are ours.
struct port_filter {
	const struct rss *rss; // NULL: all of them
	uint8_t family, bits;
	unsigned worker;
};

static struct port_filter filter_make(const struct flow_table *t, const struct flow_outside *key)
{
	struct port_filter filter = {.family = key->family, .worker = t->worker};

	// ICMP other than echo never comes back.
	if (t->share == NULL || key->kind == FLOW_KIND_OTHER)
		return filter;
	filter.rss = t->share->rss;
	filter.bits = rss_bits(filter.rss, key->family, key->remote, key->lan, key->dport);
	return filter;
}

static bool port_is_ours(const struct port_filter *f, rte_be16_t port)
{
	return f->rss == NULL || rss_worker(f->rss, f->family, f->bits, port) == f->worker;
}

static int pair_pick(struct flow_table *t, struct flow_outside *key, uint64_t *hash)
{
	if (!port_try(t, key, 0, hash))
		return -EADDRNOTAVAIL;
	if (t->share != NULL && !flow_share_claim(t->share, key, t->worker))
		return -EADDRNOTAVAIL;
	return 0;
}

int flow_nat_pick(
	struct flow_table *t,
	struct flow_outside *key,
	rte_be16_t sport,
	uint64_t seed,
	uint64_t *hash)
{
	// ICMP other than echo never comes back, so its clients need not share: the number is only ours.
	const struct flow_nat_range *range = key->kind >= FLOW_KIND_ECHO ? &t->ids : &t->ports;
	struct port_filter filter = filter_make(t, key);
	uint32_t own = rte_be_to_cpu_16(sport);
	uint32_t at, probes = FLOW_NAT_PROBES_MAX;

	if (flow_share_is_claimed(key))
		return pair_pick(t, key, hash);
	if (own >= range->first && own - range->first < range->n && port_is_ours(&filter, sport)
	    && port_try(t, key, sport, hash))
		return 0;
	at = (uint32_t)((seed >> 16) % range->n);
	for (uint32_t i = 0; i < range->n && probes > 0; i++) {
		rte_be16_t port = rte_cpu_to_be_16((uint16_t)(range->first + at));

		at = (at + range->step) % range->n;
		if (!port_is_ours(&filter, port))
			continue;
		probes--;
		if (port_try(t, key, port, hash))
			return 0;
	}
	return -EADDRNOTAVAIL;
}
