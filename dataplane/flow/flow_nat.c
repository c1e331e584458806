// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "dataplane/flow/flow_table.h"

#include <errno.h>
#include <netinet/in.h>

static uint32_t gcd(uint32_t a, uint32_t b)
{
	while (b != 0) {
		uint32_t rest = a % b;

		a = b;
		b = rest;
	}
	return a;
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

int flow_nat_pick(
	struct flow_table *t,
	struct flow_outside *key,
	rte_be16_t sport,
	uint64_t seed,
	uint64_t *hash)
{
	// ICMP other than echo never comes back, so its clients need not share: the number is only ours.
	const struct flow_nat_range *range = key->kind >= FLOW_KIND_ECHO ? &t->ids : &t->ports;
	uint32_t own = rte_be_to_cpu_16(sport);
	uint32_t at, probes;

	if (key->kind == FLOW_KIND_OTHER && key->proto != IPPROTO_ICMP
	    && key->proto != IPPROTO_ICMPV6)
		return port_try(t, key, 0, hash) ? 0 : -EADDRNOTAVAIL;
	if (own >= range->first && own - range->first < range->n && port_try(t, key, sport, hash))
		return 0;
	at = (uint32_t)((seed >> 16) % range->n);
	probes = RTE_MIN(range->n, (uint32_t)FLOW_NAT_PROBES_MAX);
	for (uint32_t i = 0; i < probes; i++) {
		if (port_try(t, key, rte_cpu_to_be_16((uint16_t)(range->first + at)), hash))
			return 0;
		at = (at + range->step) % range->n;
	}
	return -EADDRNOTAVAIL;
}
