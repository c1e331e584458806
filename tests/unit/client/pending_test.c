// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "peers/client/pending.h"
#include "tests/unit/unit.h"

#include <stdlib.h>

#define MS 1000000ull

static const struct uuid a = {{1}}, b = {{2}};

static void two_second_rule(void **)
{
	// Triggers in order; an answer removes the entry before the step.
	static const struct {
		uint64_t at_ms;
		const struct uuid *resource;
		bool is_answered;
		bool expected;
	} steps[] = {
		{1, &a, false, true},
		{2, &a, false, false},
		{2, &b, false, true},
		{2000, &a, false, false},
		{2001, &a, false, true},
		{4000, &a, false, false},
		{4001, &a, false, true},
		{4002, &a, true, true},
		{4003, &a, false, false},
		{4004, &b, false, true},
	};
	struct pending *p = pending_create();
	struct packet_queue q = {0};

	for (size_t i = 0; i < COUNT_OF(steps); i++) {
		if (steps[i].is_answered)
			assert_true(pending_take(p, steps[i].resource, &q));
		assert_int_equal(
			pending_trigger(p, steps[i].at_ms * MS, steps[i].resource),
			steps[i].expected);
	}
	assert_int_equal(pending_count(p), 2);
	pending_drop(p, &a);
	assert_false(pending_has(p, &a));
	assert_true(pending_has(p, &b));
	pending_destroy(p);
}

static void unsolicited(void **)
{
	struct pending *p = pending_create();
	struct packet_queue q = {0};

	assert_false(pending_take(p, &a, &q));
	pending_packet_add(p, &a, (const uint8_t *)"x", 1);
	assert_int_equal(pending_count(p), 0);
	pending_destroy(p);
}

static void packets_wait(void **)
{
	struct pending *p = pending_create();
	struct packet_queue q = {0};
	struct packet_queued *packet;

	assert_true(pending_trigger(p, 1, &a));
	for (uint32_t i = 0; i < 200; i++) {
		pending_packet_add(p, &a, (const uint8_t *)&i, sizeof(i));
		// A retransmission.
		pending_packet_add(p, &a, (const uint8_t *)&i, sizeof(i));
	}
	assert_true(pending_take(p, &a, &q));
	assert_int_equal(q.count, 128);
	// The oldest made room.
	for (uint32_t i = 72; i < 200; i++) {
		packet = packet_queue_pop(&q);
		assert_non_null(packet);
		assert_int_equal(packet->size, sizeof(i));
		assert_memory_equal(packet->data, &i, sizeof(i));
		free(packet);
	}
	assert_null(packet_queue_pop(&q));
	pending_destroy(p);
}

static void queue_move(void **)
{
	struct packet_queue from = {0}, to = {0};

	assert_true(packet_queue_push(&to, (const uint8_t *)"1", 1));
	assert_true(packet_queue_push(&from, (const uint8_t *)"2", 1));
	assert_true(packet_queue_push(&from, (const uint8_t *)"1", 1));
	assert_false(packet_queue_push(&from, (const uint8_t *)"1", 1));
	assert_true(packet_queue_push(&from, (const uint8_t *)"12", 2));
	packet_queue_move(&to, &from);
	assert_int_equal(from.count, 0);
	assert_int_equal(to.count, 3);
	packet_queue_clear(&to);
	assert_int_equal(to.count, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(two_second_rule),
		cmocka_unit_test(unsolicited),
		cmocka_unit_test(packets_wait),
		cmocka_unit_test(queue_move),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
