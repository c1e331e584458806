// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "dataplane/flow/flow_index.h"
#include "tests/unit/eal.h"
#include "tests/unit/rand.h"
#include "tests/unit/unit.h"

#include <rte_memory.h>

#include <stdbool.h>

enum {
	N_ENTRIES = 200,
};

// How often the index names the entry under the hash.
static unsigned count(const struct flow_index *x, uint64_t hash, uint32_t entry)
{
	const struct flow_bucket *b = flow_index_bucket(x, hash);
	unsigned n = 0;

	for (;; b = &x->buckets[b->next]) {
		uint32_t match = flow_index_match(b, flow_index_tag(hash));

		for (; match != 0; match &= match - 1)
			n += b->entries[__builtin_ctz(match)] == entry;
		if (b->next == 0)
			return n;
	}
}

// Random insertions and removals up to the full number of entries, with hashes that differ in ever
// fewer bits: down to one hash for all, where only the overflow chain is left.
static void chains(void **)
{
	static const uint64_t masks[] = {
		UINT64_MAX,
		0xffff000000000003, // four buckets
		0xffff000000000000, // one bucket, all tags
		0x0001000000000000, // one bucket, tags 0 (stored as 1) and 1
		0,
	};
	struct unit_rand r = unit_rand_init(7);

	for (size_t m = 0; m < COUNT_OF(masks); m++) {
		uint64_t hashes[N_ENTRIES];
		bool is_in[N_ENTRIES] = {false};
		struct flow_index x;

		assert_int_equal(flow_index_init(&x, N_ENTRIES, SOCKET_ID_ANY), 0);
		for (unsigned step = 0; step < 6000; step++) {
			// Tides: mostly fill, then mostly drain.
			bool is_flood = step / 1000 % 2 == 0;
			uint32_t i = unit_rand_below(&r, N_ENTRIES);

			if (is_in[i] && unit_rand_below(&r, 4) >= is_flood * 3u) {
				flow_index_remove(&x, hashes[i], i);
				is_in[i] = false;
				assert_int_equal(count(&x, hashes[i], i), 0);
			} else if (!is_in[i] && (is_flood || unit_rand_below(&r, 4) == 0)) {
				hashes[i] = unit_rand_u64(&r) & masks[m];
				flow_index_insert(&x, hashes[i], i);
				is_in[i] = true;
			}
			if (step % 50 != 0)
				continue;
			for (uint32_t k = 0; k < N_ENTRIES; k++)
				assert_true(!is_in[k] || count(&x, hashes[k], k) == 1);
		}
		for (uint32_t i = 0; i < N_ENTRIES; i++) {
			if (!is_in[i]) {
				hashes[i] = unit_rand_u64(&r) & masks[m];
				flow_index_insert(&x, hashes[i], i);
			}
		}
		for (uint32_t i = 0; i < N_ENTRIES; i++)
			assert_int_equal(count(&x, hashes[i], i), 1);
		for (uint32_t i = 0; i < N_ENTRIES; i++)
			flow_index_remove(&x, hashes[i], i);
		for (uint32_t i = 0; i <= x.mask; i++) {
			assert_int_equal(x.buckets[i].tags[0], 0);
			assert_int_equal(x.buckets[i].next, 0);
		}
		flow_index_fini(&x);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(chains),
	};

	return cmocka_run_group_tests(tests, unit_eal_init, unit_eal_fini);
}
