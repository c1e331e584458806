// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include "control/base/addr.h"
#include "dataplane/flow/flow.h"
#include "tests/unit/eal.h"
#include "tests/unit/unit.h"

#include <rte_memory.h>

#include <errno.h>
#include <netinet/in.h>

/**
 * A small flow table with a clock of 1 kHz (a tick is 64 of its cycles), and short ways to write keys.
 */

enum {
	FIXTURE_HZ = 1000,
	FIXTURE_TICK = 64, // cycles
	FIXTURE_CLIENTS = 8,
	FIXTURE_PORT_FIRST = 20000,
};

#define FIXTURE_START 1000000ULL

static inline struct flow_table *fixture_create(uint32_t max_flows, uint16_t n_ports)
{
	const struct flow_table_config config = {
		.max_flows = max_flows,
		.max_clients = FIXTURE_CLIENTS,
		.nat_port_first = FIXTURE_PORT_FIRST,
		.nat_port_last = (uint16_t)(FIXTURE_PORT_FIRST + n_ports - 1),
		.tsc_hz = FIXTURE_HZ,
		.now = FIXTURE_START,
		.seed = 42,
		.socket_id = SOCKET_ID_ANY,
	};
	struct flow_table *t = flow_table_create(&config);

	assert_non_null(t);
	return t;
}

static inline struct ip_addr fixture_addr(const char *text)
{
	struct ip_addr a;

	assert_int_equal(ip_addr_parse(&a, text), 0);
	return a;
}

static inline uint8_t fixture_proto(enum flow_kind kind, uint8_t family)
{
	switch (kind) {
	case FLOW_KIND_TCP:
		return IPPROTO_TCP;
	case FLOW_KIND_UDP:
		return IPPROTO_UDP;
	case FLOW_KIND_ECHO:
		return family == IP_FAMILY_V4 ? IPPROTO_ICMP : IPPROTO_ICMPV6;
	case FLOW_KIND_OTHER:
		break;
	}
	return IPPROTO_GRE;
}

static inline struct flow_inside
fixture_inside(uint32_t slot, enum flow_kind kind, const char *dst, uint16_t sport, uint16_t dport)
{
	struct ip_addr a = fixture_addr(dst);
	struct flow_inside key = {
		.slot = slot,
		.sport = rte_cpu_to_be_16(sport),
		.dport = rte_cpu_to_be_16(dport),
		.family = a.family,
		.kind = (uint8_t)kind,
		.proto = fixture_proto(kind, a.family),
	};

	memcpy(key.dst, a.bytes, sizeof(key.dst));
	return key;
}

/** Creates the flow from the LAN address of the key's family, to the key's destination. */
static inline struct flow *
fixture_flow(struct flow_table *t, const struct flow_inside *key, uint64_t now)
{
	struct ip_addr lan =
		fixture_addr(key->family == IP_FAMILY_V4 ? "192.0.2.1" : "2001:db8:1::1");

	return flow_create(t, key, lan.bytes, key->dst, flow_table_tick(t, now));
}

static inline struct flow *fixture_find(struct flow_table *t, const struct flow_inside *key)
{
	return flow_inside_lookup(t, key, flow_inside_hash(t, key));
}

/** The key of a reply to @p f. */
static inline struct flow_outside fixture_reply(const struct flow *f)
{
	struct flow_outside key = {
		.nat_port = f->nat_port,
		.dport = f->dport,
		.family = f->family,
		.kind = f->kind,
		.proto = f->proto,
	};

	memcpy(key.lan, f->lan, sizeof(key.lan));
	memcpy(key.remote, f->remote, sizeof(key.remote));
	return key;
}

static inline struct flow *fixture_find_reply(struct flow_table *t, const struct flow_outside *key)
{
	return flow_outside_lookup(t, key, flow_outside_hash(t, key));
}

static inline uint64_t fixture_count(const struct flow_table *t)
{
	struct flow_table_stats stats;

	flow_table_stats_get(t, &stats);
	return stats.flows;
}
