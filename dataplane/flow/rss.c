// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "dataplane/flow/rss.h"

#include <rte_thash.h>

#include <assert.h>
#include <string.h>

static_assert((RSS_SPREAD & (RSS_SPREAD - 1)) == 0, "low bits of the hash");
static_assert(RSS_V6_TUPLE + 4 <= RSS_KEY_SIZE_MIN, "a key covers the tuple");
static_assert(RTE_BYTE_ORDER == RTE_LITTLE_ENDIAN, "bytes of ports are taken apart as such");

// What rte_softrss() makes of a tuple that is zero but for one byte.
static uint8_t share_of(const struct rss *rss, unsigned offset, uint8_t byte)
{
	uint32_t words[RSS_V6_TUPLE / 4] = {0};

	words[offset / 4] = (uint32_t)byte << (24 - offset % 4 * 8);
	return (uint8_t)(rte_softrss(words, RSS_V6_TUPLE / 4, rss->key) % RSS_SPREAD);
}

void rss_init(struct rss *rss, const uint8_t key[RSS_KEY_SIZE], unsigned n_workers)
{
	assert(n_workers > 0 && n_workers <= RSS_SPREAD);
	memcpy(rss->key, key, RSS_KEY_SIZE);
	for (unsigned i = 0; i < RSS_SPREAD; i++)
		rss->workers[i] = (uint8_t)(i % n_workers);
	for (unsigned offset = 0; offset < RSS_V6_TUPLE; offset++)
		for (unsigned byte = 0; byte < 256; byte++)
			rss->shares[offset][byte] = share_of(rss, offset, (uint8_t)byte);
}
