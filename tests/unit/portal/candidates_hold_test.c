// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "control/portal/candidates_hold.h"
#include "tests/unit/unit.h"

#include <errno.h>
#include <stdio.h>

#define HOST "candidate:1 1 udp 2130706431 192.0.2.1 1 typ host"
#define SRFLX "candidate:2 1 udp 1694498815 192.0.2.2 1 typ srflx raddr 192.0.2.1 rport 1"
#define RELAY "candidate:3 1 udp 50331391 192.0.2.3 1 typ relay"

static const struct uuid a = {.bytes = {1}};
static const struct uuid b = {.bytes = {2}};

static void assert_batch(
	struct candidates_hold *h,
	const struct uuid *peer,
	bool is_removal,
	const char *const *lines,
	size_t n)
{
	struct candidates_batch batch;

	assert_true(candidates_hold_next(h, &batch));
	assert_true(uuid_eq(&batch.peer_id, peer));
	assert_int_equal(batch.is_removal, is_removal);
	assert_int_equal(batch.n_lines, n);
	for (size_t i = 0; i < n; i++)
		assert_string_equal(batch.lines[i], lines[i]);
}

static void assert_done(struct candidates_hold *h)
{
	struct candidates_batch batch;

	assert_false(candidates_hold_next(h, &batch));
	assert_true(candidates_hold_is_empty(h));
}

static void b64_held_candidates_come_in_batches(void **)
{
	static const char *const by_priority[] = {HOST, SRFLX, RELAY};
	struct candidates_hold *h = candidates_hold_create();

	assert_true(candidates_hold_is_empty(h));
	assert_int_equal(candidates_hold_add(h, &a, RELAY), 0);
	assert_int_equal(candidates_hold_add(h, &a, HOST), 0);
	assert_int_equal(candidates_hold_add(h, &a, HOST), 0);
	assert_int_equal(candidates_hold_add(h, &a, SRFLX), 0);
	assert_int_equal(candidates_hold_remove(h, &b, HOST), 0);
	assert_int_equal(
		candidates_hold_remove(h, &a, "candidate:9 1 udp 1 192.0.2.9 1 typ host"), 0);
	assert_false(candidates_hold_is_empty(h));
	assert_batch(h, &a, false, by_priority, 3);
	assert_batch(
		h, &a, true, (const char *const[]){"candidate:9 1 udp 1 192.0.2.9 1 typ host"}, 1);
	assert_batch(h, &b, true, by_priority, 1);
	assert_done(h);
	candidates_hold_destroy(h);
}

static void b64_held_opposites_cancel(void **)
{
	static const char *const host[] = {HOST};
	struct candidates_hold *h = candidates_hold_create();

	// Only held as an addition: the other side never knew it.
	assert_int_equal(candidates_hold_add(h, &a, HOST), 0);
	assert_int_equal(candidates_hold_remove(h, &a, HOST), 0);
	assert_done(h);
	// Back again before its removal was told: told as an addition, which does no harm.
	assert_int_equal(candidates_hold_remove(h, &a, HOST), 0);
	assert_int_equal(candidates_hold_add(h, &a, HOST), 0);
	assert_batch(h, &a, false, host, 1);
	assert_done(h);
	candidates_hold_destroy(h);
}

static void forget(void **)
{
	struct candidates_hold *h = candidates_hold_create();
	struct candidates_batch batch;

	assert_int_equal(candidates_hold_add(h, &a, HOST), 0);
	candidates_hold_forget(h, &a);
	candidates_hold_forget(h, &b);
	assert_done(h);
	assert_int_equal(candidates_hold_add(h, &a, HOST), 0);
	assert_int_equal(candidates_hold_remove(h, &a, RELAY), 0);
	assert_true(candidates_hold_next(h, &batch));
	candidates_hold_forget(h, &a);
	assert_done(h);
	candidates_hold_destroy(h);
}

static void limit(void **)
{
	struct candidates_hold *h = candidates_hold_create();
	char line[64];

	for (int i = 0; i <= CANDIDATES_HOLD_LINES_MAX; i++) {
		snprintf(line, sizeof(line), "candidate:%d 1 udp %d 192.0.2.1 1 typ host", i, i);
		assert_int_equal(
			candidates_hold_add(h, &a, line),
			i < CANDIDATES_HOLD_LINES_MAX ? 0 : -ENOBUFS);
	}
	// With lines still held.
	candidates_hold_destroy(h);
	candidates_hold_destroy(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(b64_held_candidates_come_in_batches),
		cmocka_unit_test(b64_held_opposites_cancel),
		cmocka_unit_test(forget),
		cmocka_unit_test(limit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
