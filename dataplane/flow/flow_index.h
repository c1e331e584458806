// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include <rte_common.h>
#include <rte_prefetch.h>

#include <assert.h>
#include <emmintrin.h>
#include <stdint.h>

/**
 * Internal to dataplane/flow: from a 64-bit hash to candidate entry numbers. A bucket is one cache
 * line of eight (tag, entry) pairs; a full bucket continues in an overflow bucket. Chains are kept
 * without holes, so the overflow buckets set aside at creation are always enough and an insertion
 * cannot fail.
 *
 * The index does not know keys: the caller compares, see flow_index_match().
 *
 * Thread-safety: none, as the table.
 */

enum {
	FLOW_BUCKET_SIZE = 8,
	FLOW_BUCKET_LOAD = 4, // entries per bucket when the table is full
};

struct flow_bucket {
	uint16_t tags[FLOW_BUCKET_SIZE] __rte_cache_aligned; // 0 = free; no holes
	uint32_t entries[FLOW_BUCKET_SIZE];
	uint32_t next; // number of the overflow bucket, 0 = none
	uint32_t reserved[3];
};
static_assert(sizeof(struct flow_bucket) == 64, "a bucket is a cache line");

struct flow_index {
	struct flow_bucket *buckets; // main, then overflow
	uint32_t mask; // main buckets - 1
	uint32_t spare; // list of free overflow buckets by next
};

/** @return 0, -ENOMEM. After an error fini is still allowed. */
[[nodiscard]] int flow_index_init(struct flow_index *x, uint32_t max_entries, int socket_id);
void flow_index_fini(struct flow_index *x);

void flow_index_insert(struct flow_index *x, uint64_t hash, uint32_t entry);
/** The pair must be there. */
void flow_index_remove(struct flow_index *x, uint64_t hash, uint32_t entry);

// Bucket and tag come from opposite ends of the hash.
static inline const struct flow_bucket *flow_index_bucket(const struct flow_index *x, uint64_t hash)
{
	return &x->buckets[(uint32_t)hash & x->mask];
}

static inline uint16_t flow_index_tag(uint64_t hash)
{
	uint16_t tag = (uint16_t)(hash >> 48);

	return tag != 0 ? tag : 1;
}

/** @return a bit for each pair of @p b that carries @p tag. */
static inline uint32_t flow_index_match(const struct flow_bucket *b, uint16_t tag)
{
	__m128i tags = _mm_load_si128((const void *)b->tags);
	__m128i equal = _mm_cmpeq_epi16(tags, _mm_set1_epi16((int16_t)tag));

	return (uint32_t)_mm_movemask_epi8(_mm_packs_epi16(equal, _mm_setzero_si128()));
}
