// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "dataplane/flow/flow_share.h"

#include "dataplane/flow/flow_table.h"

#include <rte_malloc.h>

#include <netinet/in.h>
#include <string.h>

struct flow_share *flow_share_create(const struct rss *rss, const uint64_t secrets[4])
{
	struct flow_share *share = rte_zmalloc("flow_share", sizeof(*share), RTE_CACHE_LINE_SIZE);

	if (share == NULL)
		return NULL;
	share->rss = rss;
	memcpy(share->secrets, secrets, sizeof(share->secrets));
	return share;
}

bool flow_share_is_claimed(const struct flow_outside *key)
{
	return key->kind == FLOW_KIND_OTHER && key->proto != IPPROTO_ICMP
		&& key->proto != IPPROTO_ICMPV6;
}

// A bucket and a tag that is never 0.
static uint64_t
claim_of(struct flow_share *share, const struct flow_outside *key, _Atomic uint64_t **bucket)
{
	uint64_t lan[2], remote[2], hash;

	memcpy(lan, key->lan, sizeof(lan));
	memcpy(remote, key->remote, sizeof(remote));
	hash = flow_fold(lan[0] ^ share->secrets[0], lan[1] ^ share->secrets[1]);
	hash ^= flow_fold(remote[0] ^ share->secrets[2], remote[1] ^ share->secrets[3]);
	hash = flow_fold(
		hash ^ share->secrets[0],
		(key->family | (uint64_t)key->proto << 8) ^ share->secrets[2]);
	*bucket = share->claims[hash % FLOW_CLAIM_BUCKETS];
	return (hash | 1ull << 63) & ~0xffull;
}

// @return the word of @p bucket that has @p tag and is not @p but, or NULL
static _Atomic uint64_t *
claim_find(_Atomic uint64_t *bucket, uint64_t tag, const _Atomic uint64_t *but)
{
	for (unsigned i = 0; i < FLOW_CLAIM_WAYS; i++)
		if (&bucket[i] != but && (atomic_load(&bucket[i]) & ~0xffull) == tag)
			return &bucket[i];
	return NULL;
}

static _Atomic uint64_t *claim_insert(_Atomic uint64_t *bucket, uint64_t mine)
{
	for (unsigned i = 0; i < FLOW_CLAIM_WAYS; i++) {
		uint64_t free = 0;

		if (atomic_compare_exchange_strong(&bucket[i], &free, mine))
			return &bucket[i];
	}
	return NULL;
}

bool flow_share_claim(struct flow_share *share, const struct flow_outside *key, unsigned worker)
{
	_Atomic uint64_t *bucket, *word;
	uint64_t tag = claim_of(share, key, &bucket), mine = tag | (worker + 1);

	word = claim_find(bucket, tag, NULL);
	if (word != NULL)
		return atomic_load(word) == mine;
	word = claim_insert(bucket, mine);
	if (word == NULL)
		return false;
	// Two workers that claim a pair at once may both get here, in different words, and at least one
	// of them sees the other's: all of this is in one order. Who does, gives way.
	if (claim_find(bucket, tag, word) == NULL)
		return true;
	atomic_store(word, 0);
	return false;
}

void flow_share_release(struct flow_share *share, const struct flow_outside *key, unsigned worker)
{
	_Atomic uint64_t *bucket;
	uint64_t mine = claim_of(share, key, &bucket) | (worker + 1);

	for (unsigned i = 0; i < FLOW_CLAIM_WAYS; i++) {
		uint64_t found = mine;

		if (atomic_compare_exchange_strong(&bucket[i], &found, 0))
			return;
	}
}

unsigned flow_share_owner(struct flow_share *share, const struct flow_outside *key)
{
	_Atomic uint64_t *bucket, *word;
	uint64_t found, tag;

	if (key->kind != FLOW_KIND_OTHER)
		return rss_worker(
			share->rss,
			key->family,
			rss_bits(share->rss, key->family, key->remote, key->lan, key->dport),
			key->nat_port);
	if (!flow_share_is_claimed(key))
		return FLOW_SHARE_NOBODY;
	tag = claim_of(share, key, &bucket);
	word = claim_find(bucket, tag, NULL);
	// Given up since, and perhaps another's: then nobody's or theirs, in whatever order it happened.
	found = word != NULL ? atomic_load(word) : 0;
	return (found & ~0xffull) == tag ? (unsigned)(found & 0xff) - 1 : FLOW_SHARE_NOBODY;
}
