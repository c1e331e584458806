// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "tests/unit/eal.h"
#include "tests/unit/stage/world.h"
#include "tests/unit/unit.h"

static void events_drain(struct world *wd)
{
	struct dp_event e;

	while (world_event(wd, &e))
		;
}

static struct world_keys connect_client(struct world *wd, bool is_initiator)
{
	struct world_keys k = world_keypair_add(wd, 0, 1, is_initiator);
	struct packet p = {0};

	world_client_send(wd, &k, &p);
	world_policy_open(wd, 0, UINT64_MAX);
	while (world_client_take(wd, &k, &p, NULL))
		;
	events_drain(wd);
	return k;
}

static struct packet hello(void)
{
	return packet_udp(WORLD_CLIENT_V4, 25000, WORLD_SERVER_V4, 81, NULL, 8);
}

static struct packet answer(void)
{
	return packet_udp(WORLD_SERVER_V4, 81, WORLD_LAN_V4, 25000, NULL, 8);
}

// Counts what reaches the client; all of it must be keepalives.
static unsigned keepalives(struct world *wd, const struct world_keys *k)
{
	struct packet p;
	unsigned n = 0;

	while (world_client_take(wd, k, &p, NULL)) {
		assert_int_equal(p.size, 0);
		n++;
	}
	return n;
}

static void passive_keepalive(void **state)
{
	struct world *wd = *state;
	struct world_keys k = connect_client(wd, false);
	struct packet p = hello(), got;

	world_client_send(wd, &k, &p);
	assert_true(world_lan_take(wd, &got));
	world_wait(wd, 9.9);
	assert_int_equal(keepalives(wd, &k), 0);
	world_wait(wd, 0.4);
	assert_int_equal(keepalives(wd, &k), 1);
	world_wait(wd, 30);
	assert_int_equal(keepalives(wd, &k), 0);
}

static void no_keepalive_after_an_answer(void **state)
{
	struct world *wd = *state;
	struct world_keys k = connect_client(wd, false);
	struct packet p = hello(), back = answer(), got;

	world_client_send(wd, &k, &p);
	world_wait(wd, 5);
	world_lan_send(wd, &back);
	assert_true(world_client_take(wd, &k, &got, NULL));
	assert_true(world_lan_take(wd, &got));
	world_wait(wd, 14);
	assert_int_equal(keepalives(wd, &k), 0);
}

// Data that comes while a keepalive is pending is answered by one of its own.
static void keepalive_again(void **state)
{
	struct world *wd = *state;
	struct world_keys k = connect_client(wd, false);
	struct packet p = hello(), got;

	world_client_send(wd, &k, &p);
	world_wait(wd, 5);
	world_client_send(wd, &k, &p);
	while (world_lan_take(wd, &got))
		;
	world_wait(wd, 5.3);
	assert_int_equal(keepalives(wd, &k), 1);
	world_wait(wd, 10.3);
	assert_int_equal(keepalives(wd, &k), 1);
	world_wait(wd, 30);
	assert_int_equal(keepalives(wd, &k), 0);
}

static void a_keepalive_asks_for_nothing(void **state)
{
	struct world *wd = *state;
	struct world_keys k = connect_client(wd, false);
	struct packet none = {0};

	world_client_send(wd, &k, &none);
	world_wait(wd, 20);
	assert_int_equal(keepalives(wd, &k), 0);
}

static void expect_due(struct world *wd, unsigned n)
{
	struct dp_event e;

	for (; world_event(wd, &e); n--) {
		assert_int_equal(e.type, DP_EVENT_HANDSHAKE_DUE);
		assert_int_equal(e.slot, 0);
	}
	assert_int_equal(n, 0);
}

static void unanswered_data(void **state)
{
	struct world *wd = *state;
	struct world_keys k = connect_client(wd, false);
	struct packet p = hello(), back = answer(), got, none = {0};

	world_client_send(wd, &k, &p);
	assert_true(world_lan_take(wd, &got));
	world_lan_send(wd, &back);
	world_wait(wd, 10);
	world_lan_send(wd, &back); // the first unanswered one counts
	world_wait(wd, 4.9);
	expect_due(wd, 0);
	world_wait(wd, 0.4);
	expect_due(wd, 1);
	world_wait(wd, 60);
	expect_due(wd, 0);
	// Answered in time, if only by a keepalive: nothing.
	world_lan_send(wd, &back);
	world_wait(wd, 14);
	world_client_send(wd, &k, &none);
	world_wait(wd, 5);
	expect_due(wd, 0);
	while (world_client_take(wd, &k, &got, NULL))
		;
}

static void initiator_rekeys_when_sending(void **state)
{
	struct world *wd = *state;
	struct world_keys k = connect_client(wd, true);
	struct packet p = hello(), back = answer(), got, none = {0};

	world_client_send(wd, &k, &p);
	assert_true(world_lan_take(wd, &got));
	world_wait(wd, 119);
	world_client_send(wd, &k, &p); // keeps the flow
	world_lan_send(wd, &back);
	world_client_send(wd, &k, &none);
	expect_due(wd, 0);
	world_wait(wd, 1.1);
	world_lan_send(wd, &back);
	expect_due(wd, 1);
	world_lan_send(wd, &back);
	expect_due(wd, 0); // once
	while (world_client_take(wd, &k, &got, NULL))
		;
}

static void initiator_rekeys_when_receiving(void **state)
{
	struct world *wd = *state;
	struct world_keys k = connect_client(wd, true);
	struct packet p = hello(), got;

	world_wait(wd, 164);
	world_client_send(wd, &k, &p);
	expect_due(wd, 0);
	world_wait(wd, 1.1);
	world_client_send(wd, &k, &p);
	expect_due(wd, 1);
	while (world_lan_take(wd, &got))
		;
}

static void responder_does_not_rekey_by_age(void **state)
{
	struct world *wd = *state;
	struct world_keys k = connect_client(wd, false);
	struct packet p = hello(), got;

	world_wait(wd, 170);
	world_client_send(wd, &k, &p);
	world_wait(wd, 30);
	expect_due(wd, 0);
	assert_true(world_lan_take(wd, &got));
	keepalives(wd, &k);
}

// An idle tunnel whose initiator we are is renewed when its keypair ends.
static void idle_initiator_renews(void **state)
{
	struct world *wd = *state;
	struct world_keys k = connect_client(wd, true);

	for (unsigned i = 0; i < 179; i++)
		world_wait(wd, 1);
	expect_due(wd, 0);
	world_wait(wd, 1.5);
	expect_due(wd, 1);
	assert_null(client_keypair_find(&wd->w->clients[0], k.gateway_index));
}

// The initiator stops sending at 170 s, the responder at 180 s.
static void nothing_is_sent_on_an_old_keypair(void **state)
{
	struct world *wd = *state;
	struct world_keys k = connect_client(wd, true);
	struct packet p = hello(), back = answer(), got;

	wd->now += 169 * wd->w->tsc_hz;
	world_client_send(wd, &k, &p);
	assert_true(world_lan_take(wd, &got));
	world_lan_send(wd, &back);
	assert_true(world_client_take(wd, &k, &got, NULL));
	wd->now += wd->w->tsc_hz + 1;
	world_lan_send(wd, &back);
	assert_int_equal(world_drops(wd, DROP_wg_expired), 1);
	world_expect_silence(wd);
}

#define WORLD_TEST(name) cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WORLD_TEST(passive_keepalive),
		WORLD_TEST(no_keepalive_after_an_answer),
		WORLD_TEST(keepalive_again),
		WORLD_TEST(a_keepalive_asks_for_nothing),
		WORLD_TEST(unanswered_data),
		WORLD_TEST(initiator_rekeys_when_sending),
		WORLD_TEST(initiator_rekeys_when_receiving),
		WORLD_TEST(responder_does_not_rekey_by_age),
		WORLD_TEST(idle_initiator_renews),
		WORLD_TEST(nothing_is_sent_on_an_old_keypair),
	};

	return cmocka_run_group_tests(tests, unit_eal_init, unit_eal_fini);
}
