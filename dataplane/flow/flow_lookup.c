// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "dataplane/flow/flow_table.h"

#include <assert.h>
#include <string.h>

static inline uint64_t fold_addr(const uint8_t addr[16], const uint64_t secrets[2])
{
	uint64_t words[2];

	memcpy(words, addr, sizeof(words));
	return flow_fold(words[0] ^ secrets[0], words[1] ^ secrets[1]);
}

uint64_t flow_inside_hash(const struct flow_table *t, const struct flow_inside *key)
{
	uint64_t ports = key->slot | (uint64_t)key->sport << 32 | (uint64_t)key->dport << 48;
	uint64_t what = key->family | (uint64_t)key->kind << 8 | (uint64_t)key->proto << 16;
	uint64_t hash = fold_addr(key->dst, t->secrets)
		^ flow_fold(ports ^ t->secrets[2], what ^ t->secrets[3]);

	return flow_fold(hash ^ t->secrets[6], t->secrets[7]);
}

uint64_t flow_outside_hash(const struct flow_table *t, const struct flow_outside *key)
{
	uint64_t ports = key->nat_port | (uint64_t)key->dport << 16 | (uint64_t)key->family << 32
		| (uint64_t)key->kind << 40 | (uint64_t)key->proto << 48;
	uint64_t hash = fold_addr(key->lan, t->secrets) ^ fold_addr(key->remote, t->secrets + 2)
		^ flow_fold(ports ^ t->secrets[4], t->secrets[5]);

	return flow_fold(hash ^ t->secrets[6], t->secrets[7]);
}

static inline bool inside_is_equal(const struct flow *f, const struct flow_inside *key)
{
	return memcmp(f->dst, key->dst, sizeof(f->dst)) == 0 && f->slot == key->slot
		&& f->sport == key->sport && f->dport == key->dport && f->family == key->family
		&& f->kind == key->kind && f->proto == key->proto;
}

static inline bool outside_is_equal(const struct flow *f, const struct flow_outside *key)
{
	return memcmp(f->remote, key->remote, sizeof(f->remote)) == 0
		&& memcmp(f->lan, key->lan, sizeof(f->lan)) == 0 && f->nat_port == key->nat_port
		&& f->dport == key->dport && f->family == key->family && f->kind == key->kind
		&& f->proto == key->proto;
}

struct flow *
flow_inside_lookup(const struct flow_table *t, const struct flow_inside *key, uint64_t hash)
{
	const struct flow_bucket *b = flow_index_bucket(&t->inside, hash);

	for (;; b = &t->inside.buckets[b->next]) {
		uint32_t match = flow_index_match(b, flow_index_tag(hash));

		for (; match != 0; match &= match - 1) {
			struct flow *f = &t->flows[b->entries[__builtin_ctz(match)]];

			if (inside_is_equal(f, key))
				return f;
		}
		if (b->next == 0)
			return NULL;
	}
}

struct flow *
flow_outside_lookup(const struct flow_table *t, const struct flow_outside *key, uint64_t hash)
{
	const struct flow_bucket *b = flow_index_bucket(&t->outside, hash);

	for (;; b = &t->outside.buckets[b->next]) {
		uint32_t match = flow_index_match(b, flow_index_tag(hash));

		for (; match != 0; match &= match - 1) {
			struct flow *f = &t->flows[b->entries[__builtin_ctz(match)]];

			if (outside_is_equal(f, key))
				return f;
		}
		if (b->next == 0)
			return NULL;
	}
}

void flow_inside_prefetch(const struct flow_table *t, uint64_t hash)
{
	rte_prefetch0(flow_index_bucket(&t->inside, hash));
}

void flow_outside_prefetch(const struct flow_table *t, uint64_t hash)
{
	rte_prefetch0(flow_index_bucket(&t->outside, hash));
}

// Both lines of the likely flow; the second is written for every packet.
static inline void
flow_prefetch(const struct flow_table *t, const struct flow_index *x, uint64_t hash)
{
	const struct flow_bucket *b = flow_index_bucket(x, hash);
	uint32_t match = flow_index_match(b, flow_index_tag(hash));
	const struct flow *f;

	if (match == 0)
		return;
	f = &t->flows[b->entries[__builtin_ctz(match)]];
	rte_prefetch0(f);
	rte_prefetch0(&f->expires_tsc);
}

void flow_inside_lookup_burst(
	const struct flow_table *t,
	const struct flow_inside *keys,
	struct flow **flows,
	unsigned n)
{
	uint64_t hashes[FLOW_BURST_MAX];

	assert(n <= FLOW_BURST_MAX);
	for (unsigned i = 0; i < n; i++) {
		hashes[i] = flow_inside_hash(t, &keys[i]);
		flow_inside_prefetch(t, hashes[i]);
	}
	for (unsigned i = 0; i < n; i++)
		flow_prefetch(t, &t->inside, hashes[i]);
	for (unsigned i = 0; i < n; i++)
		flows[i] = flow_inside_lookup(t, &keys[i], hashes[i]);
}

void flow_outside_lookup_burst(
	const struct flow_table *t,
	const struct flow_outside *keys,
	struct flow **flows,
	unsigned n)
{
	uint64_t hashes[FLOW_BURST_MAX];

	assert(n <= FLOW_BURST_MAX);
	for (unsigned i = 0; i < n; i++) {
		hashes[i] = flow_outside_hash(t, &keys[i]);
		flow_outside_prefetch(t, hashes[i]);
	}
	for (unsigned i = 0; i < n; i++)
		flow_prefetch(t, &t->outside, hashes[i]);
	for (unsigned i = 0; i < n; i++)
		flows[i] = flow_outside_lookup(t, &keys[i], hashes[i]);
}
