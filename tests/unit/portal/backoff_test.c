// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "control/portal/backoff.h"
#include "control/portal/problem.h"
#include "tests/unit/unit.h"

static void before_the_first_join(void **)
{
	struct backoff b;

	backoff_init(&b);
	for (int i = 0; i < 100; i++)
		assert_int_equal(backoff_next_ms(&b, BACKOFF_NO_RETRY_AFTER, UINT32_MAX), 1000);
}

static void after_a_join(void **)
{
	// 500 ms times 1.5 each, cut to whole milliseconds, at most a minute.
	static const uint32_t expected[] = {
		500,
		750,
		1125,
		1687,
		2530,
		3795,
		5692,
		8538,
		12807,
		19210,
		28815,
		43222,
		60000,
		60000,
	};
	struct backoff b;

	backoff_init(&b);
	backoff_reset(&b);
	for (size_t i = 0; i < COUNT_OF(expected); i++)
		assert_int_equal(backoff_next_ms(&b, BACKOFF_NO_RETRY_AFTER, 0), expected[i]);
	assert_int_equal(backoff_next_ms(&b, BACKOFF_NO_RETRY_AFTER, UINT32_MAX), 120000);
	assert_int_equal(backoff_next_ms(&b, BACKOFF_NO_RETRY_AFTER, UINT32_MAX / 2), 89999);
	backoff_reset(&b);
	assert_int_equal(backoff_next_ms(&b, BACKOFF_NO_RETRY_AFTER, 0), 500);
	// The server's word replaces the delay and uses no step up.
	assert_int_equal(backoff_next_ms(&b, 7000, 5), 7000);
	// "At once" is not taken literally: who says so each time would keep us busy for ever.
	assert_int_equal(backoff_next_ms(&b, 0, 5), BACKOFF_RETRY_AFTER_MIN_MS);
	assert_int_equal(backoff_next_ms(&b, BACKOFF_NO_RETRY_AFTER, 0), 750);
}

static void retry_after(void **)
{
	// 1994-11-06 08:49:37 UTC is the date of RFC 9110's example.
	static const struct {
		const char *value;
		int64_t expected;
	} cases[] = {
		{"0", 0},
		{"1", 1000},
		{" 120 ", 120000},
		{"3601", BACKOFF_RETRY_AFTER_MAX_MS},
		{"99999999999999999999999", BACKOFF_RETRY_AFTER_MAX_MS},
		{"Sun, 06 Nov 1994 08:49:37 GMT", 37000},
		{"Sun, 06 Nov 1994 08:49:37 +0000", 37000},
		{"Sun, 06 Nov 1994 08:48:59 GMT", 0},
		{"Mon, 01 Jan 2001 00:00:00 GMT", BACKOFF_RETRY_AFTER_MAX_MS},
		{"Sun, 06 Nov 1994 08:49:37", BACKOFF_NO_RETRY_AFTER},
		{"Sun, 06 Nov 1994 08:49:37 CET", BACKOFF_NO_RETRY_AFTER},
		{"-1", BACKOFF_NO_RETRY_AFTER},
		{"1.5", BACKOFF_NO_RETRY_AFTER},
		{"soon", BACKOFF_NO_RETRY_AFTER},
		{"", BACKOFF_NO_RETRY_AFTER},
	};

	for (size_t i = 0; i < COUNT_OF(cases); i++)
		assert_int_equal(
			backoff_retry_after_parse(cases[i].value, 784111740), cases[i].expected);
}

static void fatal(void **)
{
	assert_true(backoff_is_fatal(401, "invalid_token"));
	assert_true(backoff_is_fatal(401, "missing_token"));
	assert_false(backoff_is_fatal(401, "other"));
	assert_false(backoff_is_fatal(401, ""));
	assert_false(backoff_is_fatal(401, NULL));
	assert_false(backoff_is_fatal(403, "invalid_token"));
	assert_false(backoff_is_fatal(409, "gateway_already_connected"));
	assert_false(backoff_is_fatal(503, "rate_limit"));
}

static void problem(void **)
{
	static const char good[] =
		"{\"type\":\"about:blank\",\"title\":\"Unauthorized\",\"status\":401,"
		"\"detail\":\"Invalid token\",\"code\":\"invalid_token\"}";
	static const char odd[] =
		"{\"title\":null,\"status\":\"401\",\"detail\":\"a\\nb\",\"code\":[1]}";
	static const char *const bad[] = {"", "Unauthorized", "[]", "null", "{\"status\":"};
	char long_code[256] = "{\"code\":\"";
	struct problem p;

	assert_int_equal(problem_parse(&p, good, strlen(good)), 0);
	assert_int_equal(p.status, 401);
	assert_string_equal(p.code, "invalid_token");
	assert_string_equal(p.title, "Unauthorized");
	assert_string_equal(p.detail, "Invalid token");
	assert_int_equal(problem_parse(&p, odd, strlen(odd)), 0);
	assert_int_equal(p.status, 0);
	assert_string_equal(p.code, "");
	assert_string_equal(p.detail, "a?b");
	for (size_t i = 0; i < COUNT_OF(bad); i++)
		assert_int_not_equal(problem_parse(&p, bad[i], strlen(bad[i])), 0);
	memset(long_code + 9, 'x', 200);
	strcat(long_code, "\"}");
	assert_int_equal(problem_parse(&p, long_code, strlen(long_code)), 0);
	assert_int_equal(strlen(p.code), sizeof(p.code) - 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(before_the_first_join),
		cmocka_unit_test(after_a_join),
		cmocka_unit_test(retry_after),
		cmocka_unit_test(fatal),
		cmocka_unit_test(problem),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
