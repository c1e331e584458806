// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include "dataplane/flow/flow.h"
#include "dataplane/flow/flow_index.h"

#include <stdint.h>

/**
 * Internal to dataplane/flow: what a table is made of. An entry is known by its number; its links
 * live in arrays of their own because the packet path never touches them.
 */

#define FLOW_ENTRY_NONE UINT32_MAX

enum {
	FLOW_N_SECRETS = 8,
	FLOW_WHEEL_SIZE = 4096, // ticks; 256 to 512 s
	FLOW_NAT_PROBES_MAX = 64,
};

/** A place in a doubly linked list of entries that starts in an array of heads. */
struct flow_link {
	uint32_t next; // entry
	uint32_t prev; // entry, or FLOW_LINK_HEAD | number of the head
};

#define FLOW_LINK_HEAD 0x80000000u

/** A run of NAT ports and the stride in which it is searched. */
struct flow_nat_range {
	uint32_t first; // host order
	uint32_t n;
	uint32_t step; // has no common divisor with n, so n steps meet every port
};

struct flow_table {
	struct flow *flows;
	struct flow_share *share; // NULL: no other worker
	unsigned worker;
	struct flow_index inside, outside;
	uint64_t secrets[FLOW_N_SECRETS];
	uint64_t base; // TSC of tick 0
	unsigned tick_shift; // TSC cycles of a tick, log2

	struct flow_link *timer_links, *client_links; // by entry
	uint32_t *wheel; // heads by tick % FLOW_WHEEL_SIZE
	uint32_t *clients; // heads by slot
	uint32_t wheel_tick; // the last tick all of whose entries were looked at
	uint32_t free; // free entries, linked by client_links[].next
	uint32_t max_flows, max_clients;
	uint32_t ttl[FLOW_KIND_OTHER + 1]; // ticks, by kind
	uint32_t ttl_unconfirmed, ttl_fin;
	struct flow_nat_range ports, ids;
	struct flow_table_stats stats;
};

/**
 * The two halves of a 128-bit product folded together: with secrets a keyed hash that clients who
 * choose their ports and destinations cannot aim, unlike a CRC, whose collisions do not depend on the
 * seed.
 */
static inline uint64_t flow_fold(uint64_t a, uint64_t b)
{
	unsigned __int128 product = (unsigned __int128)a * b;

	return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static inline void
flow_link_insert(struct flow_link *links, uint32_t *heads, uint32_t head, uint32_t entry)
{
	uint32_t next = heads[head];

	links[entry].next = next;
	links[entry].prev = FLOW_LINK_HEAD | head;
	if (next != FLOW_ENTRY_NONE)
		links[next].prev = entry;
	heads[head] = entry;
}

static inline void flow_link_remove(struct flow_link *links, uint32_t *heads, uint32_t entry)
{
	uint32_t next = links[entry].next, prev = links[entry].prev;

	if ((prev & FLOW_LINK_HEAD) != 0)
		heads[prev & ~FLOW_LINK_HEAD] = next;
	else
		links[prev].next = next;
	if (next != FLOW_ENTRY_NONE)
		links[next].prev = prev;
}

/** Takes the entry out of every list and index and makes it free. */
void flow_entry_free(struct flow_table *t, uint32_t entry);

/**
 * Picks key->nat_port for a flow whose client uses @p sport. @p seed decides where the search of
 * the range starts.
 * @return 0 and the hash of the finished key, or -EADDRNOTAVAIL
 */
[[nodiscard]] int flow_nat_pick(
	struct flow_table *t,
	struct flow_outside *key,
	rte_be16_t sport,
	uint64_t seed,
	uint64_t *hash);
/** @return the range of @p n values from @p first, with its stride. */
struct flow_nat_range flow_nat_range_make(uint32_t first, uint32_t n);

/** Sets the timeouts in ticks. */
void flow_timer_init(struct flow_table *t, uint64_t tsc_hz);
/** Puts a new entry on the wheel. */
void flow_timer_start(struct flow_table *t, uint32_t entry);
