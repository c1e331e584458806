// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include "acl/acl.h"
#include "acl/acl_canon.h"

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

/**
 * Internal to acl/: the rules of one family, compiled for two binary searches.
 *
 *   addresses   0 ........ 10.0.0.0 .... 10.1.0.0 .. 10.2.0.0 ....... 11.0.0.0 ....
 *   bounds      |  none    |  10/8       | 10.1/16   | 10/8           | none
 *                             |            |
 *   nets                     10/8 <------ 10.1/16 (its parent)
 *                             |            |
 *   segments                  class, port -> ordinal, of the resources with exactly this prefix
 *
 * The most specific network of an address is the bound before it. If none of its resources permits
 * class and port, its parent is asked: that is the attribution order of spec/datapath.md 2.2. So a
 * judgement costs a search of at most 13 steps over the addresses, and one of at most 16 steps for
 * each network around the address; compiling costs sorting. Both were measured against rte_acl: see
 * README.md.
 *
 * Thread-safety: compiling is the control core's; a table is immutable, any thread may search it (acl_classify.c).
 * Ownership: a draft owns its memory, a table borrows the memory it was written to.
 */

enum {
	ACL_NET_NONE = 0xffff, // no network
	ACL_PORT_BITS = 16,
	ACL_ORDINAL_BITS = 13, // 12 for ACL_RESOURCES_MAX and one value more:
	ACL_ORDINAL_NONE = (1 << ACL_ORDINAL_BITS) - 1, // nobody permits
};

static_assert((unsigned)ACL_RESOURCES_MAX <= (unsigned)ACL_ORDINAL_NONE, "ordinals fit a segment");

/** One distinct prefix. */
struct acl_net {
	uint32_t segs; // the first of them
	uint16_t n_segs;
	uint16_t parent; // the next wider one, or ACL_NET_NONE
};

static_assert(2 * (ACL_RULES_MAX + 1) + 1 <= UINT16_MAX, "segments of a network fit n_segs");

/** Where a stretch of IPv6 addresses begins, and its most specific network. */
struct acl_bound_v6 {
	uint64_t hi, lo;
	uint64_t net;
};

struct acl_table {
	union {
		const uint64_t *v4; // address << 32 | network
		const struct acl_bound_v6 *v6;
	} bounds; // ascending; the first begins at address 0
	const struct acl_net *nets; // and behind them
	// the segments, uint32_t: class << 29 | port << 13 | ordinal, ascending within a network
	uint32_t n_nets;
	uint32_t n_bounds; // 0: no rules of the family
};

/** A table in the making. */
struct acl_draft {
	enum ip_family family;
	struct acl_bound_v6 *bounds; // of both families; IPv4 addresses in lo
	struct acl_net *nets;
	uint32_t *segs;
	size_t n_bounds, n_nets, n_segs;
};

/** Compiles the rules of @p family. @return 0, -ENOMEM; after an error there is nothing to free */
[[nodiscard]] int
acl_draft_init(struct acl_draft *d, const struct acl_canon *canon, enum ip_family family);
void acl_draft_fini(struct acl_draft *d);
/** @return how many bytes the table needs, a multiple of 8. */
size_t acl_draft_size(const struct acl_draft *d);
/** Writes the table to @p memory (8-byte aligned, acl_draft_size() bytes). */
void acl_draft_write(const struct acl_draft *d, struct acl_table *table, void *memory);
