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

// A place and a tag that is never 0. Two pairs with one place: the later one is refused.
static uint64_t
claim_of(const struct flow_share *share, const struct flow_outside *key, unsigned *place)
{
	uint64_t lan[2], remote[2], hash;

	memcpy(lan, key->lan, sizeof(lan));
	memcpy(remote, key->remote, sizeof(remote));
	hash = flow_fold(lan[0] ^ share->secrets[0], lan[1] ^ share->secrets[1]);
	hash ^= flow_fold(remote[0] ^ share->secrets[2], remote[1] ^ share->secrets[3]);
	hash = flow_fold(
		hash ^ share->secrets[0],
		(key->family | (uint64_t)key->proto << 8) ^ share->secrets[2]);
	*place = hash % FLOW_CLAIMS;
	return (hash | 1ull << 63) & ~0xffull;
}

bool flow_share_claim(struct flow_share *share, const struct flow_outside *key, unsigned worker)
{
	unsigned place;
	uint64_t mine = claim_of(share, key, &place) | (worker + 1), found = 0;

	return atomic_compare_exchange_strong(&share->claims[place], &found, mine) || found == mine;
}

void flow_share_release(struct flow_share *share, const struct flow_outside *key, unsigned worker)
{
	unsigned place;
	uint64_t mine = claim_of(share, key, &place) | (worker + 1);

	atomic_compare_exchange_strong(&share->claims[place], &mine, 0);
}

unsigned flow_share_owner(const struct flow_share *share, const struct flow_outside *key)
{
	uint64_t found, tag;
	unsigned place;

	if (key->kind != FLOW_KIND_OTHER)
		return rss_worker(
			share->rss,
			key->family,
			rss_bits(share->rss, key->family, key->remote, key->lan, key->dport),
			key->nat_port);
	if (!flow_share_is_claimed(key))
		return FLOW_SHARE_NOBODY;
	tag = claim_of(share, key, &place);
	found = atomic_load_explicit(&share->claims[place], memory_order_relaxed);
	return (found & ~0xffull) == tag ? (unsigned)(found & 0xff) - 1 : FLOW_SHARE_NOBODY;
}
