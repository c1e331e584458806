// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "control/noise/limiter.h"

#include <sodium.h>

#include <assert.h>
#include <string.h>

static_assert(crypto_shorthash_KEYBYTES == 16, "SipHash key");
static_assert((NOISE_LIMITER_SETS & (NOISE_LIMITER_SETS - 1)) == 0, "power of two");

void noise_limiter_init(
	struct noise_limiter *l,
	struct noise_crypto *c,
	uint32_t rate,
	uint32_t source_rate)
{
	memset(l, 0, sizeof(*l));
	l->rate = rate != 0 ? rate : NOISE_LIMITER_RATE;
	l->source_rate = source_rate != 0 ? source_rate : NOISE_LIMITER_SOURCE_RATE;
	noise_crypto_random(c, l->table_key, sizeof(l->table_key));
}

bool noise_limiter_count(struct noise_limiter *l, uint64_t now_ns)
{
	if (now_ns - l->window_ns >= NOISE_S_NS) {
		l->window_ns = now_ns;
		l->n_window = 0;
	}
	if (l->n_window < l->rate)
		l->n_window++;
	else
		l->loaded_until_ns = now_ns + NOISE_S_NS;
	return now_ns < l->loaded_until_ns;
}

static void source_key(const struct ip_addr *a, uint8_t key[17])
{
	memset(key, 0, 17);
	key[0] = a->family;
	memcpy(key + 1, a->bytes, a->family == IP_FAMILY_V6 ? 8 : 4);
}

static struct noise_limiter_bucket *bucket_find(struct noise_limiter *l, const uint8_t key[17])
{
	struct noise_limiter_bucket *set, *idle;
	uint64_t hash;

	crypto_shorthash((uint8_t *)&hash, key, 17, l->table_key);
	set = l->buckets[hash & (NOISE_LIMITER_SETS - 1)];
	idle = &set[0];
	for (int i = 0; i < NOISE_LIMITER_WAYS; i++) {
		if (memcmp(set[i].source, key, 17) == 0)
			return &set[i];
		if (set[i].full_ns < idle->full_ns)
			idle = &set[i];
	}
	memcpy(idle->source, key, 17);
	idle->full_ns = 0;
	return idle;
}

bool noise_limiter_source_take(
	struct noise_limiter *l,
	uint64_t now_ns,
	const struct ip_endpoint *source)
{
	struct noise_limiter_bucket *b;
	uint64_t token_ns = NOISE_S_NS / l->source_rate;
	uint64_t full_ns;
	uint8_t key[17];

	source_key(&source->addr, key);
	b = bucket_find(l, key);
	full_ns = b->full_ns > now_ns ? b->full_ns : now_ns;
	// The bucket holds one second's worth.
	if (full_ns + token_ns > now_ns + NOISE_S_NS)
		return false;
	b->full_ns = full_ns + token_ns;
	return true;
}
