// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "dataplane/worker/retire.h"
#include "tests/unit/eal.h"

static void count_free(void *arg, const void *object)
{
	unsigned *freed = arg;

	assert_int_equal((uintptr_t)object, *freed + 1); // in order
	(*freed)++;
}

static void push(struct retire_queue *q, uintptr_t n, unsigned *freed)
{
	retire_push(q, (const void *)n, count_free, freed);
}

static void waits_for_the_reader(void **)
{
	struct retire_queue q;
	unsigned freed = 0;

	assert_int_equal(retire_init(&q, 1), 0);
	assert_int_equal(rte_rcu_qsbr_thread_register(q.rcu, 0), 0);
	rte_rcu_qsbr_thread_online(q.rcu, 0);
	for (uintptr_t i = 1; i <= 200; i++)
		push(&q, i, &freed);
	retire_push(&q, NULL, count_free, &freed);
	assert_int_equal(retire_reclaim(&q), 200);
	assert_int_equal(freed, 0);
	rte_rcu_qsbr_quiescent(q.rcu, 0);
	push(&q, 201, &freed);
	assert_int_equal(retire_reclaim(&q), 1); // what came after waits
	assert_int_equal(freed, 200);
	rte_rcu_qsbr_thread_offline(q.rcu, 0);
	assert_int_equal(retire_reclaim(&q), 0);
	push(&q, 202, &freed);
	retire_fini(&q);
	assert_int_equal(freed, 202);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(waits_for_the_reader),
	};

	return cmocka_run_group_tests(tests, unit_eal_init, unit_eal_fini);
}
