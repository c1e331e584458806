// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "control/path/relays.h"
#include "tests/unit/path/relay_sim.h"
#include "tests/unit/unit.h"

// Both behind symmetric NATs, with two relays: the first is near, the second 40 ms further.
static struct rsim *double_symmetric(unsigned relays0, unsigned relays1)
{
	struct rsim *sim = rsim_create();

	rsim_relay(sim, "198.51.100.5", NULL);
	rsim_relay(sim, "198.51.100.6", NULL);
	sim->delays[1] = 20 * RSIM_MS;
	rsim_node(sim, 0, "10.0.0.2:52625", NULL, "203.0.113.7");
	rsim_node(sim, 1, "10.1.0.2:52625", NULL, "192.0.2.9");
	rsim_list(sim, 0, relays0);
	rsim_list(sim, 1, relays1);
	rsim_run(sim, RSIM_S);
	rsim_connect(sim);
	return sim;
}

static void assert_connected(const struct rsim *sim, uint64_t since)
{
	for (unsigned i = 0; i < 2; i++) {
		assert_true(sim->nodes[i].is_connected);
		assert_false(sim->nodes[i].has_failed);
		assert_true(sim->nodes[i].connected_at - since < 3 * RSIM_S);
	}
}

static void b19_answers_go_back_through_the_relay(void **)
{
	struct rsim *sim = double_symmetric(1, 2);
	uint64_t start = sim->now;

	rsim_run(sim, 3 * RSIM_S);
	assert_connected(sim, start);
	assert_true(rsim_is_relayed(sim, 0) || rsim_is_relayed(sim, 1));
	// Item 19 is asserted by the simulation for each answer; here: there were some.
	assert_true(sim->nodes[0].n_relayed_answers + sim->nodes[1].n_relayed_answers > 0);
	assert_true(rsim_talk(sim, 20 * 60 * RSIM_S) <= RSIM_S);
	assert_int_equal(sim->nodes[0].events[RELAYS_EVENT_WITHDRAWN], 0);
	assert_int_equal(sim->nodes[1].events[RELAYS_EVENT_WITHDRAWN], 0);
	rsim_destroy(sim);
}

// Item 46.
static void b46_both_at_the_same_relay(void **)
{
	struct rsim *sim = double_symmetric(1, 1);
	uint64_t start = sim->now;

	rsim_run(sim, 3 * RSIM_S);
	assert_connected(sim, start);
	assert_true(rsim_talk(sim, 60 * RSIM_S) <= RSIM_S);
	rsim_destroy(sim);
}

// Item 14 with relays about: a public gateway is reached directly, also from a symmetric NAT.
static void b21_direct_is_preferred_to_the_relay(void **)
{
	struct rsim *sim = rsim_create();

	rsim_relay(sim, "198.51.100.5", NULL);
	rsim_node(sim, 0, "10.0.0.2:52625", NULL, "203.0.113.7");
	rsim_node(sim, 1, "192.0.2.9:52625", NULL, NULL);
	rsim_list(sim, 0, 1);
	rsim_list(sim, 1, 1);
	rsim_run(sim, RSIM_S);
	rsim_connect(sim);
	rsim_run(sim, 5 * RSIM_S);
	assert_true(sim->nodes[0].is_connected && sim->nodes[1].is_connected);
	assert_false(rsim_is_relayed(sim, 0));
	assert_false(rsim_is_relayed(sim, 1));
	assert_true(ip_endpoint_eq(&sim->nodes[0].remote, &sim->nodes[1].locals[0]));
	assert_true(rsim_talk(sim, 10 * RSIM_S) <= 200 * RSIM_MS);
	rsim_destroy(sim);
}

// Item 43: the portal says that the relay is gone; item 26 is asserted by the simulation.
static void b43_b26_relay_removed_by_the_portal(void **)
{
	struct rsim *sim = double_symmetric(3, 3);
	uint64_t start = sim->now;

	rsim_run(sim, 3 * RSIM_S);
	assert_connected(sim, start);
	rsim_talk(sim, 5 * RSIM_S);
	sim->relays[0].is_dead = true;
	rsim_unlist(sim, 0, 1);
	rsim_unlist(sim, 1, 1);
	assert_true(rsim_talk(sim, 20 * RSIM_S) < 2 * RSIM_S);
	for (unsigned i = 0; i < 2; i++) {
		assert_true(sim->nodes[i].n_withdrawals_sent > 0);
		assert_int_equal(sim->nodes[i].events[RELAYS_EVENT_LOST], 1);
		assert_int_equal(relays_count(sim->nodes[i].relays), 1);
	}
	assert_true(sim->nodes[1].rx[TURN_RX_DATA] > 0);
	rsim_destroy(sim);
}

// Item 42: nobody says anything; the allocation notices by itself, at the latest after two keep-alive
// times and one giving up.
static void b42_silent_relay_is_left(void **)
{
	struct rsim *sim = double_symmetric(3, 3);

	rsim_run(sim, 3 * RSIM_S);
	rsim_talk(sim, 5 * RSIM_S);
	sim->relays[0].is_dead = true;
	rsim_talk(sim, 70 * RSIM_S);
	for (unsigned i = 0; i < 2; i++)
		assert_true(sim->nodes[i].events[RELAYS_EVENT_LOST] >= 1);
	// The gateway's agent stays; a client would be authorized again if its own had failed.
	if (!sim->nodes[0].has_failed)
		assert_true(rsim_talk(sim, 10 * RSIM_S) <= RSIM_S);
	rsim_destroy(sim);
}

// Item 36 end to end: the relay restarts and has forgotten everything.
static void b36_relay_that_forgot_everything(void **)
{
	struct rsim *sim = double_symmetric(1, 1);

	rsim_run(sim, 3 * RSIM_S);
	double_forget(&sim->relays[0]);
	sim->relays[0].nonce++;
	for (unsigned i = 0; i < 2; i++) {
		rsim_list(sim, i, 2); // unlisted: probed with a Refresh, which tells 437
		rsim_list(sim, i, 3);
	}
	rsim_run(sim, 3 * RSIM_S);
	assert_true(rsim_talk(sim, 10 * RSIM_S) <= RSIM_S);
	assert_true(sim->nodes[0].n_withdrawals_sent > 0);
	rsim_destroy(sim);
}

// A dual-stack relay joins a peer that has only IPv6 to one that has only IPv4.
static void b29_a_relay_joins_the_families(void **)
{
	struct rsim *sim = rsim_create();
	uint64_t start;

	rsim_relay(sim, "198.51.100.5", "2001:db8:5::5");
	rsim_node(sim, 0, NULL, "[2001:db8:1::2]:52625", NULL);
	rsim_node(sim, 1, "192.0.2.9:52625", NULL, NULL);
	rsim_list(sim, 0, 1);
	rsim_list(sim, 1, 1);
	rsim_run(sim, RSIM_S);
	rsim_connect(sim);
	start = sim->now;
	rsim_run(sim, 3 * RSIM_S);
	assert_connected(sim, start);
	assert_true(rsim_talk(sim, 10 * RSIM_S) <= RSIM_S);
	rsim_destroy(sim);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(b19_answers_go_back_through_the_relay),
		cmocka_unit_test(b46_both_at_the_same_relay),
		cmocka_unit_test(b21_direct_is_preferred_to_the_relay),
		cmocka_unit_test(b43_b26_relay_removed_by_the_portal),
		cmocka_unit_test(b42_silent_relay_is_left),
		cmocka_unit_test(b36_relay_that_forgot_everything),
		cmocka_unit_test(b29_a_relay_joins_the_families),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
