// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "dataplane/worker/client.h"
#include "dataplane/worker/timer.h"
#include "tests/unit/unit.h"

#include <stdlib.h>

enum {
	SLOTS = 100,
	HZ = 1000, // so that a tick is 100
};

struct bench {
	struct timer_wheel t;
	struct client *clients;
	uint64_t now;
	uint64_t deadline[SLOTS]; // 0: none
	unsigned visits;
	bool is_rearming;
};

static void visit(void *arg, uint32_t slot)
{
	struct bench *b = arg;

	b->visits++;
	if (b->now < b->deadline[slot]) {
		// Parked at the end of the wheel: not yet.
		timer_arm(&b->t, slot, b->deadline[slot]);
		return;
	}
	// Never early, at most two ticks late when looked at each tick.
	assert_in_range(b->now - b->deadline[slot], 0, 200);
	b->deadline[slot] = 0;
	if (b->is_rearming) {
		b->deadline[slot] = b->now + (uint64_t)(random() % 200000);
		timer_arm(&b->t, slot, b->deadline[slot]);
	}
}

static int setup(void **state)
{
	struct bench *b = calloc(1, sizeof(*b));

	assert_non_null(b);
	b->clients = aligned_alloc(64, SLOTS * sizeof(struct client));
	assert_non_null(b->clients);
	memset(b->clients, 0, SLOTS * sizeof(struct client));
	b->now = 123456;
	timer_init(&b->t, b->clients, b->now, HZ);
	*state = b;
	return 0;
}

static int teardown(void **state)
{
	struct bench *b = *state;

	free(b->clients);
	free(b);
	return 0;
}

static void arm(struct bench *b, uint32_t slot, uint64_t in)
{
	b->deadline[slot] = b->now + in;
	timer_arm(&b->t, slot, b->deadline[slot]);
}

static void step(struct bench *b, uint64_t by)
{
	b->now += by;
	timer_run(&b->t, b->now, visit, b);
}

static void random_deadlines(void **state)
{
	struct bench *b = *state;

	srandom(7);
	b->is_rearming = true;
	for (uint32_t slot = 0; slot < SLOTS; slot++)
		arm(b, slot, (uint64_t)(random() % 200000));
	for (unsigned i = 0; i < 20000; i++)
		step(b, 100);
	b->is_rearming = false;
	for (unsigned i = 0; i < 2100; i++)
		step(b, 100);
	for (uint32_t slot = 0; slot < SLOTS; slot++)
		assert_int_equal(b->deadline[slot], 0);
}

static void earlier_wins_later_is_ignored(void **state)
{
	struct bench *b = *state;

	arm(b, 3, 5000);
	timer_arm(&b->t, 3, b->now + 9000);
	b->deadline[3] = b->now + 1000;
	timer_arm(&b->t, 3, b->deadline[3]);
	for (unsigned i = 0; i < 13; i++)
		step(b, 100);
	assert_int_equal(b->visits, 1);
	for (unsigned i = 0; i < 200; i++)
		step(b, 100);
	assert_int_equal(b->visits, 1);
}

static void disarmed(void **state)
{
	struct bench *b = *state;

	// Same bucket: head, middle and tail of its list.
	for (uint32_t slot = 0; slot < 5; slot++)
		arm(b, slot, 1000);
	timer_disarm(&b->t, 0);
	timer_disarm(&b->t, 2);
	timer_disarm(&b->t, 4);
	timer_disarm(&b->t, 4);
	timer_disarm(&b->t, 50);
	for (unsigned i = 0; i < 20; i++)
		step(b, 100);
	assert_int_equal(b->visits, 2);
}

static void long_stall(void **state)
{
	struct bench *b = *state;

	for (uint32_t slot = 0; slot < SLOTS; slot++)
		timer_arm(&b->t, slot, b->now + slot * 400);
	b->now += 10000000;
	memset(b->deadline, 0xff, sizeof(b->deadline));
	for (uint32_t slot = 0; slot < SLOTS; slot++)
		b->deadline[slot] = b->now;
	timer_run(&b->t, b->now, visit, b);
	assert_int_equal(b->visits, SLOTS);
}

#define WHEEL_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WHEEL_TEST(random_deadlines),
		WHEEL_TEST(earlier_wins_later_is_ignored),
		WHEEL_TEST(disarmed),
		WHEEL_TEST(long_stall),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
