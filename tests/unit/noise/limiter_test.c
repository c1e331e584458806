// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "control/noise/limiter.h"
#include "control/noise/messages.h"
#include "tests/unit/unit.h"

#define T0 (1000 * NOISE_S_NS)

static struct noise_crypto crypto;
static struct noise_limiter limiter;

static int setup(void **)
{
	return noise_crypto_init(&crypto, NULL, NULL);
}

static int teardown(void **)
{
	noise_crypto_fini(&crypto);
	return 0;
}

static struct ip_endpoint v4(uint32_t n)
{
	return (struct ip_endpoint){
		.addr = ip_addr_v4(
			(const uint8_t[]){198, (uint8_t)(n >> 16), (uint8_t)(n >> 8), (uint8_t)n}),
		.port = (uint16_t)n,
	};
}

static void load(void **)
{
	noise_limiter_init(&limiter, &crypto, 0, 0);
	for (int i = 0; i < NOISE_LIMITER_RATE; i++)
		assert_false(noise_limiter_count(&limiter, T0 + (uint64_t)i));
	assert_true(noise_limiter_count(&limiter, T0 + 500 * NOISE_MS_NS));
	// Load lasts a second from the last message too many, also into the next window.
	assert_true(noise_limiter_count(&limiter, T0 + 1100 * NOISE_MS_NS));
	assert_false(noise_limiter_count(&limiter, T0 + 1500 * NOISE_MS_NS));
}

static void steady_rate_is_no_load(void **)
{
	noise_limiter_init(&limiter, &crypto, 100, 0);
	for (uint64_t i = 0; i < 1000; i++)
		assert_false(noise_limiter_count(&limiter, T0 + i * 10 * NOISE_MS_NS));
}

static void bucket(void **)
{
	struct ip_endpoint a = v4(1), same = v4(1), other = v4(2);
	int n = 0;

	same.port = 9;
	noise_limiter_init(&limiter, &crypto, 0, 10);
	while (n < 100 && noise_limiter_source_take(&limiter, T0, &a))
		n++;
	assert_int_equal(n, 10);
	assert_false(noise_limiter_source_take(&limiter, T0, &same));
	assert_true(noise_limiter_source_take(&limiter, T0, &other));
	assert_false(noise_limiter_source_take(&limiter, T0 + 99 * NOISE_MS_NS, &a));
	assert_true(noise_limiter_source_take(&limiter, T0 + 100 * NOISE_MS_NS, &a));
	assert_false(noise_limiter_source_take(&limiter, T0 + 100 * NOISE_MS_NS, &a));
}

// One IPv6 site is one source.
static void ipv6_prefix(void **)
{
	struct ip_endpoint a, b, c;

	assert_int_equal(ip_endpoint_parse(&a, "[2001:db8:1:2::1]:1"), 0);
	assert_int_equal(ip_endpoint_parse(&b, "[2001:db8:1:2:ffff::9]:2"), 0);
	assert_int_equal(ip_endpoint_parse(&c, "[2001:db8:1:3::1]:1"), 0);
	noise_limiter_init(&limiter, &crypto, 0, 1);
	assert_true(noise_limiter_source_take(&limiter, T0, &a));
	assert_false(noise_limiter_source_take(&limiter, T0, &b));
	assert_true(noise_limiter_source_take(&limiter, T0, &c));
}

// More sources than slots: everybody is served, the busy one stays limited.
static void many_sources(void **)
{
	struct ip_endpoint busy = v4(0);

	noise_limiter_init(&limiter, &crypto, 0, 10);
	for (uint32_t i = 1; i < 3 * NOISE_LIMITER_SETS * NOISE_LIMITER_WAYS; i++) {
		struct ip_endpoint e = v4(i);

		assert_true(noise_limiter_source_take(&limiter, T0, &e));
		if (i < 10)
			assert_true(noise_limiter_source_take(&limiter, T0, &busy));
	}
	assert_true(noise_limiter_source_take(&limiter, T0, &busy));
	assert_false(noise_limiter_source_take(&limiter, T0, &busy));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(load),
		cmocka_unit_test(steady_rate_is_no_load),
		cmocka_unit_test(bucket),
		cmocka_unit_test(ipv6_prefix),
		cmocka_unit_test(many_sources),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
