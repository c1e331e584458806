// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "control/noise/replay.h"
#include "tests/unit/unit.h"

#include <stdlib.h>

enum {
	W = NOISE_REPLAY_WINDOW,
	STEPS_MAX = 12
};

struct replay_case {
	const char *name;
	struct {
		uint64_t counter;
		bool accepted;
	} steps[STEPS_MAX];
	size_t n_steps;
};

#define LIMIT NOISE_REJECT_AFTER_MESSAGES

static void b56_window_edges(void **)
{
	static const struct replay_case cases[] = {
		{"first is 0", {{0, true}, {0, false}, {1, true}, {0, false}}, 4},
		{"first is not 0", {{5, true}, {0, true}, {4, true}, {5, false}, {0, false}}, 5},
		{"window", {{0, true}, {W - 1, true}, {0, false}, {1, true}, {1, false}}, 5},
		{"oldest inside", {{W - 1, true}, {0, true}, {0, false}}, 3},
		{"oldest outside", {{W, true}, {0, false}, {1, true}, {1, false}}, 4},
		{"window + 1", {{W + 1, true}, {0, false}, {1, false}, {2, true}}, 4},
		{"word edges",
		 {{63, true},
		  {64, true},
		  {127, true},
		  {128, true},
		  {64, false},
		  {63, false},
		  {65, true}},
		 7},
		{"slide by one word",
		 {{W + 63, true}, {64, true}, {63, false}, {W + 64, true}, {64, false}, {65, true}},
		 6},
		{"ring word is reused clean",
		 {{0, true}, {64 * NOISE_REPLAY_WORDS, true}, {64 * NOISE_REPLAY_WORDS + 1, true}},
		 3},
		{"far jump",
		 {{3, true},
		  {1000000, true},
		  {3, false},
		  {1000000, false},
		  {1000000 - W, false},
		  {1000000 - W + 1, true},
		  {1000000 - W + 1, false},
		  {999999, true}},
		 8},
		{"jump to the limit",
		 {{0, true},
		  {LIMIT - 1, true},
		  {LIMIT - 1, false},
		  {LIMIT - W, true},
		  {LIMIT - W - 1, false}},
		 5},
		{"beyond the limit",
		 {{LIMIT, false}, {UINT64_MAX, false}, {LIMIT - 1, true}, {LIMIT, false}},
		 4},
	};

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct noise_replay r = {0};

		for (size_t k = 0; k < cases[i].n_steps; k++) {
			struct noise_replay before = r;
			uint64_t counter = cases[i].steps[k].counter;
			bool expected = cases[i].steps[k].accepted;

			if (noise_replay_check(&r, counter) != expected)
				fail_msg("%s: check of step %zu", cases[i].name, k);
			assert_memory_equal(&r, &before, sizeof(r));
			if (noise_replay_update(&r, counter) != expected)
				fail_msg("%s: update of step %zu", cases[i].name, k);
			if (!expected)
				assert_memory_equal(&r, &before, sizeof(r));
		}
	}
}

// Against a model that remembers every accepted counter.
static void random_walk(void **)
{
	enum {
		N = 60000
	};
	static uint8_t seen[N * 4];
	struct noise_replay r = {0};
	uint64_t greatest = 0, next = 0;

	memset(seen, 0, sizeof(seen));
	srandom(7);
	for (unsigned i = 0; i < N; i++) {
		uint64_t back = (uint64_t)random() % (W + W / 4);
		uint64_t counter;
		bool expected;

		next += (uint64_t)random() % 4;
		if (random() % 5000 == 0 && next + W < sizeof(seen))
			next += W / 2;
		counter = random() % 2 != 0 || next < back ? next : next - back;
		if (counter >= sizeof(seen))
			break;
		expected = !seen[counter] && (counter > greatest || greatest - counter < W);
		assert_int_equal(noise_replay_update(&r, counter), expected);
		if (expected) {
			seen[counter] = 1;
			greatest = counter > greatest ? counter : greatest;
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(b56_window_edges),
		cmocka_unit_test(random_walk),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
