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

// Fields that lie side by side in a flow and in a key are compared as words, without a branch each.
static_assert(
	offsetof(struct flow, dport) - offsetof(struct flow, slot)
			== offsetof(struct flow_inside, dport) - offsetof(struct flow_inside, slot)
		&& offsetof(struct flow, sport) - offsetof(struct flow, slot) == 4,
	"slot and ports are one word");
static_assert(
	offsetof(struct flow, proto) - offsetof(struct flow, family) == 2
		&& offsetof(struct flow_inside, proto) - offsetof(struct flow_inside, family) == 2
		&& offsetof(struct flow_outside, proto) - offsetof(struct flow_outside, family)
			== 2,
	"what a flow is of lies together");

static inline uint64_t load64(const void *at)
{
	uint64_t v;

	memcpy(&v, at, sizeof(v));
	return v;
}

// Not 0 if the 16-byte addresses differ.
static inline uint64_t addr_difference(const uint8_t a[16], const uint8_t b[16])
{
	return (load64(a) ^ load64(b)) | (load64(a + 8) ^ load64(b + 8));
}

// Family, kind and protocol; what lies behind is another field.
static inline uint64_t what_difference(const uint8_t *a, const uint8_t *b)
{
	uint32_t x, y;

	memcpy(&x, a, sizeof(x));
	memcpy(&y, b, sizeof(y));
	return (x ^ y) & 0xffffff;
}

static inline bool inside_is_equal(const struct flow *f, const struct flow_inside *key)
{
	return (addr_difference(f->dst, key->dst) | (load64(&f->slot) ^ load64(&key->slot))
		| what_difference(&f->family, &key->family))
		== 0;
}

static inline bool outside_is_equal(const struct flow *f, const struct flow_outside *key)
{
	return (addr_difference(f->remote, key->remote) | addr_difference(f->lan, key->lan)
		| (uint64_t)(f->nat_port ^ key->nat_port) | (uint64_t)(f->dport ^ key->dport)
		| what_difference(&f->family, &key->family))
		== 0;
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
