// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include <rte_branch_prediction.h>
#include <rte_byteorder.h>
#include <rte_common.h>

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/**
 * The fused flow and NAT table of one worker (design: one flow replaces DNS NAT and masquerade).
 *
 *   inside   (slot, family, kind, proto, dst, sport, dport)      as the client speaks
 *   outside  (family, kind, proto, lan, nat_port, remote, dport) as the LAN hears
 *
 * Two indexes over one array of entries; the outside tuple is unique (endpoint-dependent mapping).
 * All memory is taken at creation. Idle flows leave through a timer wheel, never through a sweep.
 *
 * Kinds: TCP and UDP carry ports. Echo carries the identifier in sport and nat_port, dport is 0.
 * Everything else (other ICMP types, GRE, SCTP, ...) is keyed by the address pair and the protocol
 * with ports 0, so that replies from the address the client spoke to can be matched; only one
 * client at a time can hold such a pair, except for ICMP, whose other types are never let back.
 *
 * Byte order: addresses, ports and identifiers are wire bytes; IPv4 uses the first 4 bytes of an
 * address and the other 12 are 0. nat_port_first and nat_port_last alone are host order.
 * Time: `now` is TSC cycles; inside the table it is counted in ticks of 1/16 to 1/8 s.
 *
 * Thread-safety: none; one worker owns the table and everything in it.
 * Ownership: a struct flow * belongs to the table and is valid until flow_delete(),
 * flow_client_clear() or flow_table_expire().
 */

enum flow_kind {
	FLOW_KIND_TCP = 1,
	FLOW_KIND_UDP,
	FLOW_KIND_ECHO, // ICMP or ICMPv6 echo, code 0
	FLOW_KIND_OTHER,
};

/** Bits of flow.state; the table writes them. */
enum flow_state {
	FLOW_STATE_CONFIRMED = 1 << 0, // something came back
	FLOW_STATE_FIN_OUT = 1 << 1,
	FLOW_STATE_FIN_IN = 1 << 2,
	FLOW_STATE_RST = 1 << 3,
};

enum {
	FLOW_BURST_MAX = 64,
};

/** What a packet from a client is looked up by. Unused bytes are 0. */
struct flow_inside {
	uint8_t dst[16];
	uint32_t slot; // host order
	rte_be16_t sport, dport;
	uint8_t family; // enum ip_family
	uint8_t kind; // enum flow_kind
	uint8_t proto; // IP protocol number
	uint8_t reserved; // 0
};

/**
 * What a packet from the LAN is looked up by: lan and nat_port are its destination, remote and
 * dport its source. For an ICMP error: the source and the destination of the quoted packet.
 */
struct flow_outside {
	uint8_t lan[16];
	uint8_t remote[16];
	rte_be16_t nat_port, dport;
	uint8_t family, kind, proto, reserved;
};

/**
 * One flow: what a packet needs to be recognized and rewritten in the first cache line, what it
 * leaves behind and where it goes in the second.
 */
struct flow {
	// Written by the table at creation, constant afterwards, except state and ordinal.
	uint8_t dst[16]; // whom the client believes to speak to
	uint8_t remote[16]; // whom we send to; differs from dst for DNS resources only
	uint8_t lan[16]; // our address, the source on the LAN
	uint32_t slot;
	rte_be16_t sport, dport;
	rte_be16_t nat_port; // source port or echo identifier on the LAN
	uint8_t family, kind, proto;
	uint8_t state; // enum flow_state
	uint16_t ordinal; // worker: rw; the permitting resource in the policy's set

	// Written by the worker after flow_create() and whenever it judges or routes again.
	uint64_t expires_tsc __rte_aligned(64); // of the permitting resource; UINT64_MAX = never
	uint32_t policy_generation; // of the policy that permitted it
	uint32_t fib_generation; // of the adjacency below; 0 = none yet
	uint16_t port_id; // adjacency: DPDK port (the source MAC is that port's)
	uint8_t dst_mac[6];

	// Accounting: flow_touch_out() and flow_touch_in(). Bytes are of inner IP packets.
	uint64_t bytes_out, bytes_in;
	// The deltas (worker: rw) share words with counters that never need 64 bits: one's complement
	// sums of new minus old for the way out, l3 of the IPv4 header, l4 of TCP, UDP or ICMP; the way
	// back uses their complements.
	uint64_t packets_out : 48, l3_delta : 16;
	uint64_t packets_in : 48, l4_delta : 16;
	uint32_t last_out, last_in; // ticks
};
static_assert(sizeof(struct flow) == 128, "a flow is two cache lines");
static_assert(offsetof(struct flow, expires_tsc) == 64, "keys and rewrite fill the first line");

struct flow_table_config {
	uint32_t max_flows; // at least 1
	uint32_t max_clients; // slots are 0 .. max_clients-1
	uint16_t nat_port_first,
		nat_port_last; // TCP and UDP, host order, inclusive, 0 is not allowed
	uint64_t tsc_hz;
	uint64_t now; // TSC at creation
	uint64_t seed; // random: keeps clients from aiming at one hash bucket
	int socket_id; // as in rte_malloc
	struct flow_share *share; // with other workers' tables (flow_share.h); NULL: there are none
	unsigned worker; // whose table it is
};

struct flow_share;

struct flow_table_stats {
	uint64_t flows; // now
	uint64_t created, expired, deleted; // deleted: by flow_delete() or flow_client_clear()
	uint64_t ports_kept, ports_changed; // TCP, UDP and echo flows by NAT outcome
};

struct flow_table;

/** @return a table, or NULL with errno: EINVAL (a limit is 0, inverted port range), ENOMEM. */
struct flow_table *flow_table_create(const struct flow_table_config *config);
/** NULL is allowed. */
void flow_table_destroy(struct flow_table *t);
void flow_table_stats_get(const struct flow_table *t, struct flow_table_stats *out);

/** @return @p now as ticks; once per burst, for flow_create() and the flow_touch functions. */
uint32_t flow_table_tick(const struct flow_table *t, uint64_t now);

/**
 * Looks up a burst, with the buckets and then the flows prefetched across it.
 * @param flows receives the flow or NULL for each key
 * @param n at most FLOW_BURST_MAX
 */
void flow_inside_lookup_burst(
	const struct flow_table *t,
	const struct flow_inside *keys,
	struct flow **flows,
	unsigned n);
void flow_outside_lookup_burst(
	const struct flow_table *t,
	const struct flow_outside *keys,
	struct flow **flows,
	unsigned n);

/**
 * The same for one key, and in steps for a caller that schedules its own prefetches:
 * hash, flow_*_prefetch() of the bucket, later the lookup with the hash.
 */
uint64_t flow_inside_hash(const struct flow_table *t, const struct flow_inside *key);
uint64_t flow_outside_hash(const struct flow_table *t, const struct flow_outside *key);
void flow_inside_prefetch(const struct flow_table *t, uint64_t hash);
void flow_outside_prefetch(const struct flow_table *t, uint64_t hash);
/** @return the flow or NULL. */
struct flow *
flow_inside_lookup(const struct flow_table *t, const struct flow_inside *key, uint64_t hash);
struct flow *
flow_outside_lookup(const struct flow_table *t, const struct flow_outside *key, uint64_t hash);

/**
 * Makes the flow of @p key with source @p lan towards @p remote and picks its NAT port: the
 * client's own if it is in the range (echo: any identifier) and the tuple is free, else one of the
 * range. With other workers about, only ports whose replies are ours count. The worker then fills in policy, adjacency and checksum deltas, which are 0.
 *
 * If the key has a flow already (two first packets in one burst), that flow is returned as it is.
 *
 * @param lan,remote 16 bytes like the addresses in the key
 * @return the flow, or NULL with errno: ENOSPC (no free entry: drop flow_table_full),
 *         EADDRNOTAVAIL (no free port found: drop nat_ports_full), EINVAL (slot or kind)
 */
struct flow *flow_create(
	struct flow_table *t,
	const struct flow_inside *key,
	const uint8_t lan[16],
	const uint8_t remote[16],
	uint32_t tick);

enum {
	FLOW_NAT_ADDRS_MAX = 64,
};

/** Source addresses that the flows of one port and family share. */
struct flow_nat_pool {
	uint16_t n;
	uint8_t addrs[FLOW_NAT_ADDRS_MAX][16];
};

/**
 * flow_create() with a source address of @p pool, which holds at least one. A client keeps one address for all its
 * flows (RFC 4787 REQ-2, "paired") until no port of it is left towards the destination; then it gets
 * one of the next few.
 */
struct flow *flow_create_pooled(
	struct flow_table *t,
	const struct flow_inside *key,
	const struct flow_nat_pool *pool,
	const uint8_t remote[16],
	uint32_t tick);

/** Frees one flow. */
void flow_delete(struct flow_table *t, struct flow *f);

/**
 * Frees up to @p budget flows of a client.
 * @return how many; less than @p budget means that none is left
 */
unsigned flow_client_clear(struct flow_table *t, uint32_t slot, unsigned budget);

/**
 * Frees flows whose time is over, looking at no more than @p budget entries; call it each loop.
 *
 * A flow ends at the earliest of: last packet + 7440 s (TCP) or 120 s (all else); last packet out
 * + 60 s if nothing ever came back; last packet + 5 s after FIN both ways; the next tick after
 * RST. At most two ticks late, never early.
 *
 * @return how many were freed
 */
unsigned flow_table_expire(struct flow_table *t, uint64_t now, unsigned budget);

/** The rare half of the flow_touch functions: notes FIN and RST and brings the timer forward. */
void flow_tcp_close(struct flow_table *t, struct flow *f, bool is_out, uint8_t tcp_flags);

enum {
	FLOW_TCP_FLAGS_CLOSE = 0x01 | 0x04, // FIN, RST
};

/**
 * Accounts a packet from the client.
 * @param size of the inner IP packet
 * @param tcp_flags byte 13 of the TCP header; 0 for other protocols and for the packet that
 *        created the flow (its flags are not looked at, spec/datapath.md 3.7)
 */
static inline void flow_touch_out(
	struct flow_table *t,
	struct flow *f,
	uint32_t tick,
	uint32_t size,
	uint8_t tcp_flags)
{
	f->last_out = tick;
	f->packets_out++;
	f->bytes_out += size;
	if (unlikely(tcp_flags & FLOW_TCP_FLAGS_CLOSE))
		flow_tcp_close(t, f, true, tcp_flags);
}

/** Accounts a packet to the client, ICMP errors about the flow included (with tcp_flags 0). */
static inline void
flow_touch_in(struct flow_table *t, struct flow *f, uint32_t tick, uint32_t size, uint8_t tcp_flags)
{
	f->last_in = tick;
	f->packets_in++;
	f->bytes_in += size;
	f->state |= FLOW_STATE_CONFIRMED;
	if (unlikely(tcp_flags & FLOW_TCP_FLAGS_CLOSE))
		flow_tcp_close(t, f, false, tcp_flags);
}
