// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "control/noise/tai64n.h"
#include "tests/unit/unit.h"

static void layout(void **)
{
	// 2^62 + 10 + 1700000000 s, 123456789 ns
	static const uint8_t expected[] = {
		0x40, 0, 0, 0, 0x65, 0x53, 0xf1, 0x0a, 0x07, 0x5b, 0xcd, 0x15};
	struct tai64n t = tai64n_make(UINT64_C(1700000000123456789));

	assert_memory_equal(t.bytes, expected, sizeof(expected));
}

static void order(void **)
{
	static const uint64_t times[] = {
		0, 1, 255, 256, NOISE_S_NS - 1, NOISE_S_NS, 256 * NOISE_S_NS, UINT64_C(1) << 62};

	for (size_t i = 0; i < COUNT_OF(times); i++) {
		for (size_t k = 0; k < COUNT_OF(times); k++) {
			struct tai64n a = tai64n_make(times[i]), b = tai64n_make(times[k]);
			int c = tai64n_cmp(&a, &b);

			assert_int_equal((c > 0) - (c < 0), (i > k) - (i < k));
		}
	}
}

// Strictly increasing also when the monotonic clock stands still.
static void clock_increases(void **)
{
	struct tai64n_clock c = {.wall_ns = 5000 * NOISE_S_NS, .mono_ns = 100};
	struct tai64n a = tai64n_clock_next(&c, 100);
	struct tai64n b = tai64n_clock_next(&c, 100);
	struct tai64n d = tai64n_clock_next(&c, 101);
	struct tai64n e = tai64n_clock_next(&c, 100 + NOISE_S_NS);
	struct tai64n expected = tai64n_make(5001 * NOISE_S_NS);

	assert_true(tai64n_cmp(&a, &b) < 0);
	assert_true(tai64n_cmp(&b, &d) < 0);
	assert_true(tai64n_cmp(&d, &e) < 0);
	assert_int_equal(tai64n_cmp(&e, &expected), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(layout),
		cmocka_unit_test(order),
		cmocka_unit_test(clock_increases),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
