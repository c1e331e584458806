// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "dataplane/worker/clock.h"
#include "tests/unit/eal.h"
#include "tests/unit/stage/world.h"
#include "tests/unit/unit.h"

#include <stdio.h>

// The machine as a test wants it: CLOCK_BOOTTIME and the TSC are numbers.

enum {
	HZ = 2000000000, // two ticks per ns
	HOUR_S = 3600,
};

static uint64_t boot_ns;
static unsigned n_readings;

static uint64_t fake_boot_ns(void)
{
	n_readings++;
	return boot_ns;
}

static const uint64_t start_ns = 5000 * CLOCK_NS_PER_S;

static struct worker_clock clock_start(uint64_t tsc)
{
	struct worker_clock c;

	boot_ns = start_ns;
	worker_clock_init(&c, HZ, tsc, fake_boot_ns);
	n_readings = 0;
	return c;
}

static void tsc_carries_it_on(void **)
{
	uint64_t tsc = 77;
	struct worker_clock c = clock_start(tsc);

	assert_int_equal(worker_clock_now(&c, tsc), 2 * start_ns);
	for (unsigned i = 1; i <= 1000; i++)
		assert_int_equal(worker_clock_now(&c, tsc + i), 2 * start_ns + i);
	assert_int_equal(n_readings, 0);
}

// The TSC gains a part in a thousand: after an hour that would be 3.6 s. What it gained in a second is
// more than a loop takes, so the clock must wait rather than go back.
static void rates_that_differ_do_not_add_up(void **)
{
	uint64_t tsc = 1000, before = 0;
	struct worker_clock c = clock_start(tsc);

	for (unsigned loop = 0; loop < HOUR_S * 1000; loop++) {
		uint64_t now;

		boot_ns += 100000;
		tsc += 200200;
		now = worker_clock_now(&c, tsc);
		assert_true(now >= before); // never backwards
		assert_in_range(now, 2 * boot_ns, 2 * boot_ns + HZ / 500);
		before = now;
	}
	assert_in_range(n_readings, HOUR_S / 10, HOUR_S / 10 + 2);
}

// An hour of suspend in which the TSC stood still but for freezing and thawing, began again at 0, was
// set back, or went on.
static void suspend_counts(void **)
{
	static const uint64_t resumed[] = {
		1000000 * (uint64_t)HZ + HZ / 50, 0, 400 * (uint64_t)HZ, 1003600 * (uint64_t)HZ};

	for (unsigned i = 0; i < COUNT_OF(resumed); i++) {
		struct worker_clock c = clock_start(1000000 * (uint64_t)HZ);

		worker_clock_now(&c, 1000000 * (uint64_t)HZ + 5000);
		boot_ns += HOUR_S * CLOCK_NS_PER_S;
		assert_int_equal(worker_clock_now(&c, resumed[i]), 2 * boot_ns);
		assert_int_equal(worker_clock_now(&c, resumed[i] + 9), 2 * boot_ns + 9);
		assert_int_equal(n_readings, 1);
	}
}

// From the authorization's expiry to the packet: established TCP, suspended for a minute, refused at
// once; suspended for an hour, refused with the first packet of the new session.
static void suspend_ends_authorizations(void **state)
{
	struct world *wd = *state;
	struct packet out = packet_tcp(WORLD_CLIENT_V4, 25000, WORLD_SERVER_V4, 80, PACKET_ACK, 10);
	struct packet none = {0}, got;
	struct worker_clock c;
	uint64_t hz = wd->w->tsc_hz, tsc = 12345;

	boot_ns = (uint64_t)((unsigned __int128)wd->now * CLOCK_NS_PER_S / hz) + 1;
	worker_clock_init(&c, hz, tsc, fake_boot_ns);
	for (unsigned i = 0; i < 2; i++) {
		unsigned asleep_s = i == 0 ? 60 : HOUR_S;
		struct world_keys k = world_keypair_add(wd, 0, (uint8_t)(2 * i + 1), false);

		wd->now = worker_clock_now(&c, tsc);
		world_client_send(wd, &k, &none);
		world_policy_open(
			wd, 0, clock_ticks(boot_ns + (asleep_s - 1) * CLOCK_NS_PER_S, hz));
		world_client_send(wd, &k, &out);
		assert_true(world_lan_take(wd, &got));
		boot_ns += asleep_s * CLOCK_NS_PER_S;
		tsc += hz / 50; // what the TSC saw of it
		wd->now = worker_clock_now(&c, tsc);
		if (asleep_s > 180)
			k = world_keypair_add(wd, 0, 9, false);
		world_client_send(wd, &k, &out);
		assert_int_equal(world_drops(wd, DROP_policy_prohibited), 1);
		assert_false(world_lan_take(wd, &got));
		assert_true(world_client_take(wd, &k, &got, NULL));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tsc_carries_it_on),
		cmocka_unit_test(rates_that_differ_do_not_add_up),
		cmocka_unit_test(suspend_counts),
		cmocka_unit_test_setup_teardown(
			suspend_ends_authorizations, world_setup, world_teardown),
	};

	return cmocka_run_group_tests(tests, unit_eal_init, unit_eal_fini);
}
