// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "control/access/heap.h"
#include "tests/unit/unit.h"

#include <stdlib.h>

enum {
	N = 200,
};

// The obvious way: the smallest of all that are in.
static uint64_t minimum(const struct heap_node *nodes)
{
	uint64_t min = UINT64_MAX;

	for (unsigned i = 0; i < N; i++) {
		if (nodes[i].deadline < min)
			min = nodes[i].deadline;
	}
	return min;
}

static void top_is_always_the_minimum(void **)
{
	static struct heap_node nodes[N];
	struct heap h;

	srand(7);
	assert_int_equal(heap_init(&h, N), 0);
	for (unsigned i = 0; i < N; i++)
		heap_node_init(&nodes[i]);
	assert_null(heap_top(&h));
	for (unsigned round = 0; round < 20000; round++) {
		struct heap_node *node = &nodes[rand() % N];
		uint64_t min;

		heap_set(&h, node, rand() % 3 == 0 ? UINT64_MAX : (uint64_t)(rand() % 1000));
		min = minimum(nodes);
		if (min == UINT64_MAX)
			assert_null(heap_top(&h));
		else
			assert_int_equal(heap_top(&h)->deadline, min);
	}
	heap_fini(&h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(top_is_always_the_minimum),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
