// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include "control/base/addr.h"

#include <stddef.h>
#include <stdint.h>

/**
 * Longest prefix match as disjoint address ranges: prefixes nest or are disjoint, so n of them cut the
 * address space into at most 2 n + 1 ranges, each with one answer. Neighbouring ranges with the same
 * answer become one. A lookup is a binary search for the last start that is not above the address.
 *
 * Why not rte_rib or a trie: no pool to size in advance, nothing but two arrays, exact size, and
 * a full table with few next hops shrinks well. What it costs is in README.md.
 *
 * Thread-safety: finished arrays may be read by anyone.
 */

/** An address as a number; IPv4 uses the low 32 bits. */
typedef unsigned __int128 range_key_t;

/** One route: the addresses first to last lead to @p hop. */
struct range_route {
	range_key_t first, last;
	uint32_t metric;
	uint32_t order; // among equals in prefix and metric the lowest wins
	uint32_t hop;
};

struct range {
	range_key_t start;
	uint32_t hop;
};

/** Ranges by ascending start; the first starts at 0. Hop 0 means no route. */
struct range_list {
	struct range *items;
	size_t len;
};

struct ranges4 {
	const uint32_t *starts;
	const uint32_t *hops;
	uint32_t len;
};

struct ranges6 {
	const range_key_t *starts;
	const uint32_t *hops;
	uint32_t len;
};

/** @return the number that the address bytes are in network order. */
range_key_t range_key(const struct ip_addr *addr);

/** The host bits of a prefix of @p len bits, of @p bits. */
range_key_t range_host_mask(size_t bits, uint8_t len);

/**
 * Makes the ranges of @p routes of an address family of @p bits (32, 128). They may be in any order;
 * sorted ones are faster. @return 0, -ENOMEM
 */
[[nodiscard]] int
range_list_make(struct range_list *out, const struct range_route *routes, size_t n, size_t bits);
/** Frees the items. */
void range_list_fini(struct range_list *list);

/** @return the hop for @p key. Worker safe. */
uint32_t ranges4_find(const struct ranges4 *r, uint32_t key);
/** @return the hop for @p key. Worker safe. */
uint32_t ranges6_find(const struct ranges6 *r, range_key_t key);
