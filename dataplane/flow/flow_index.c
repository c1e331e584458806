// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "dataplane/flow/flow_index.h"

#include <rte_malloc.h>

#include <errno.h>

int flow_index_init(struct flow_index *x, uint32_t max_entries, int socket_id)
{
	uint32_t n_main = rte_align32pow2((max_entries + FLOW_BUCKET_LOAD - 1) / FLOW_BUCKET_LOAD);
	// A chain of n entries has at most (n - 1) / FLOW_BUCKET_SIZE overflow buckets.
	uint32_t n_spare = max_entries / FLOW_BUCKET_SIZE;

	x->mask = n_main - 1;
	x->spare = 0;
	x->buckets = rte_zmalloc_socket(
		"flow_index",
		((size_t)n_main + n_spare) * sizeof(*x->buckets),
		RTE_CACHE_LINE_SIZE,
		socket_id);
	if (x->buckets == NULL)
		return -ENOMEM;
	for (uint32_t i = n_main; i < n_main + n_spare; i++) {
		x->buckets[i].next = x->spare;
		x->spare = i;
	}
	return 0;
}

void flow_index_fini(struct flow_index *x)
{
	rte_free(x->buckets);
	x->buckets = NULL;
}

static unsigned bucket_used(const struct flow_bucket *b)
{
	return (unsigned)__builtin_ctz(flow_index_match(b, 0) | 1u << FLOW_BUCKET_SIZE);
}

void flow_index_insert(struct flow_index *x, uint64_t hash, uint32_t entry)
{
	struct flow_bucket *b = &x->buckets[(uint32_t)hash & x->mask];
	unsigned at;

	while (b->next != 0)
		b = &x->buckets[b->next];
	at = bucket_used(b);
	if (at == FLOW_BUCKET_SIZE) {
		uint32_t spare = x->spare;

		assert(spare != 0);
		b->next = spare;
		b = &x->buckets[spare];
		x->spare = b->next;
		b->next = 0;
		at = 0;
	}
	b->tags[at] = flow_index_tag(hash);
	b->entries[at] = entry;
}

static struct flow_bucket *
pair_find(struct flow_index *x, uint64_t hash, uint32_t entry, unsigned *at)
{
	struct flow_bucket *b = &x->buckets[(uint32_t)hash & x->mask];

	for (;; b = &x->buckets[b->next]) {
		uint32_t match = flow_index_match(b, flow_index_tag(hash));

		for (; match != 0; match &= match - 1) {
			*at = (unsigned)__builtin_ctz(match);
			if (b->entries[*at] == entry)
				return b;
		}
		assert(b->next != 0);
	}
}

void flow_index_remove(struct flow_index *x, uint64_t hash, uint32_t entry)
{
	unsigned at, last_at;
	struct flow_bucket *b = pair_find(x, hash, entry, &at), *last, *before = NULL;

	last = &x->buckets[(uint32_t)hash & x->mask];
	while (last->next != 0) {
		before = last;
		last = &x->buckets[last->next];
	}
	last_at = bucket_used(last) - 1;
	b->tags[at] = last->tags[last_at];
	b->entries[at] = last->entries[last_at];
	last->tags[last_at] = 0;
	if (last_at == 0 && before != NULL) {
		uint32_t number = before->next;

		before->next = 0;
		last->next = x->spare;
		x->spare = number;
	}
}
