// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "control/base/hash_map.h"
#include "tests/unit/unit.h"

enum {
	ITEMS = 10000,
	SAME = 7, // items per hash
};

struct item {
	struct hash_node node; // first: items are found by their node
	unsigned value;
};

static struct item items[ITEMS];

static uint64_t hash_of(unsigned value)
{
	return value / SAME * UINT64_C(0x9e3779b97f4a7c15);
}

static struct item *find(const struct hash_map *map, unsigned value)
{
	struct hash_node *n = hash_map_first(map, hash_of(value));

	while (n != NULL && ((struct item *)n)->value != value)
		n = hash_node_next(n);
	return (struct item *)n;
}

static void fill(struct hash_map *map)
{
	assert_int_equal(hash_map_init(map), 0);
	for (unsigned i = 0; i < ITEMS; i++) {
		items[i] = (struct item){.value = i};
		hash_map_add(map, &items[i].node, hash_of(i));
	}
}

static void finds_each_of_many(void **)
{
	struct hash_map map;

	fill(&map);
	assert_int_equal(map.n_nodes, ITEMS);
	assert_true(map.n_buckets >= ITEMS);
	for (unsigned i = 0; i < ITEMS; i++)
		assert_ptr_equal(find(&map, i), &items[i]);
	assert_null(find(&map, ITEMS + SAME));
	hash_map_fini(&map);
}

static void walks_only_the_same_hash(void **)
{
	struct hash_map map;
	unsigned n = 0;

	fill(&map);
	for (struct hash_node *h = hash_map_first(&map, hash_of(SAME)); h != NULL;
	     h = hash_node_next(h)) {
		assert_int_equal(((struct item *)h)->value / SAME, 1);
		n++;
	}
	assert_int_equal(n, SAME);
	hash_map_fini(&map);
}

static void forgets_what_was_deleted(void **)
{
	struct hash_map map;

	fill(&map);
	for (unsigned i = 0; i < ITEMS; i += 2)
		hash_map_del(&map, &items[i].node);
	hash_map_del(&map, &items[0].node); // harmless
	assert_int_equal(map.n_nodes, ITEMS / 2);
	for (unsigned i = 0; i < ITEMS; i++)
		assert_ptr_equal(find(&map, i), i % 2 == 0 ? NULL : &items[i]);
	hash_map_fini(&map);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(finds_each_of_many),
		cmocka_unit_test(walks_only_the_same_hash),
		cmocka_unit_test(forgets_what_was_deleted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
