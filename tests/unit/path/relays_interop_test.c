// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

// Behaviours 21-23, 33 and 42-43 of spec/connectivity.md section 8, end to end: two nodes, relays, and a
// conversation that must go on.

#include "tests/unit/path/relay_sim.h"
#include "tests/unit/unit.h"

#include <string.h>

// A public gateway, a client behind a symmetric NAT, two relays: direct is possible.
static struct rsim *direct_with_relays(void)
{
	struct rsim *sim = rsim_create();

	rsim_relay(sim, "198.51.100.5", NULL);
	rsim_relay(sim, "198.51.100.6", NULL);
	rsim_node(sim, 0, "10.0.0.2:52625", NULL, "203.0.113.7");
	rsim_node(sim, 1, "192.0.2.9:52625", NULL, NULL);
	rsim_list(sim, 0, 3);
	rsim_list(sim, 1, 3);
	rsim_run(sim, RSIM_S);
	rsim_connect(sim);
	return sim;
}

static bool is_relayed_either(struct rsim *sim)
{
	return rsim_is_relayed(sim, 0) || rsim_is_relayed(sim, 1);
}

// Checks of the client through the relay come first when the direct ones get lost; then the direct path
// appears, and both move there while they talk.
static void b21_relay_first_then_direct(void **)
{
	struct rsim *sim = direct_with_relays();

	sim->nodes[0].is_direct_dead = true;
	sim->nodes[1].is_direct_dead = true;
	rsim_run(sim, 5 * RSIM_S);
	assert_true(sim->nodes[0].is_connected && sim->nodes[1].is_connected);
	assert_true(is_relayed_either(sim));
	sim->nodes[0].is_direct_dead = false;
	sim->nodes[1].is_direct_dead = false;
	// Nothing is lost on the way: data is taken from any path.
	assert_true(rsim_talk(sim, 3 * RSIM_S) <= 200 * RSIM_MS);
	assert_false(is_relayed_either(sim));
	rsim_destroy(sim);
}

// Breaks the direct path of an old connection in these directions. Traffic of both resumes within 20 s and
// the gateway does not go on sending to the dead path.
static void blackhole(bool to_gateway, bool to_client)
{
	struct rsim *sim = direct_with_relays();

	rsim_run(sim, 5 * RSIM_S);
	assert_false(is_relayed_either(sim));
	rsim_talk(sim, 60 * RSIM_S);
	sim->nodes[0].is_direct_dead = to_gateway;
	sim->nodes[1].is_direct_dead = to_client;
	assert_true(rsim_talk(sim, 30 * RSIM_S) < 20 * RSIM_S);
	assert_true(is_relayed_either(sim));
	for (unsigned i = 0; i < 2; i++) {
		assert_true(sim->nodes[i].is_connected);
		assert_false(sim->nodes[i].has_failed);
	}
	assert_true(rsim_talk(sim, 300 * RSIM_S) <= RSIM_S);
	// Healed: direct again, without a gap.
	sim->nodes[0].is_direct_dead = false;
	sim->nodes[1].is_direct_dead = false;
	assert_true(rsim_talk(sim, 60 * RSIM_S) <= RSIM_S);
	rsim_destroy(sim);
}

static void b22_direct_path_blackholed_fails_over_to_relay(void **)
{
	blackhole(true, true);
}

static void b22_direct_path_blackholed_towards_the_gateway(void **)
{
	blackhole(true, false);
}

static void b23_direct_path_blackholed_towards_the_client(void **)
{
	blackhole(false, true);
}

static bool has_announced(const struct rsim_node *n, const char *part)
{
	for (size_t i = 0; i < n->n_announced; i++) {
		if (strstr(n->announced[i], part) != NULL)
			return true;
	}
	return false;
}

// A relay with allocations of one family gives one relay candidate, cheaper when it is not the family that
// it was asked over.
static void b33_relays_of_one_family(void **)
{
	static const struct {
		const char *v4, *v6; // of the relay's sockets
		bool gives_v4; // its only allocations
		const char *want, *never;
	} cases[] = {
		{"198.51.100.5", NULL, true, " udp 37748479 198.51.100.5 ", " :: "},
		{NULL, "2001:db8:5::5", false, " udp 37748735 2001:db8:5::5 ", " 198.51.100.5 "},
		{NULL, "2001:db8:5::5", true, " udp 37492479 198.51.100.5 ", " 2001:db8:5::5 "},
		{"198.51.100.5", NULL, false, " udp 37492735 2001:db8:5::5 ", " 198.51.100.5 "},
	};

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct rsim *sim = rsim_create();
		struct relay_double *d;

		rsim_relay(sim, cases[i].v4, cases[i].v6);
		d = &sim->relays[0];
		assert_int_equal(ip_addr_parse(&d->relay_addrs[0], "198.51.100.5"), 0);
		assert_int_equal(ip_addr_parse(&d->relay_addrs[1], "2001:db8:5::5"), 0);
		d->relay_addrs[cases[i].gives_v4 ? 1 : 0].family = IP_FAMILY_NONE;
		rsim_node(sim, 0, "10.0.0.2:52625", "[2001:db8:1::2]:52625", NULL);
		rsim_node(sim, 1, "10.1.0.2:52625", "[2001:db8:2::2]:52625", NULL);
		rsim_list(sim, 0, 1);
		rsim_list(sim, 1, 1);
		rsim_run(sim, RSIM_S);
		rsim_connect(sim);
		rsim_run(sim, RSIM_S);
		assert_true(has_announced(&sim->nodes[1], cases[i].want));
		assert_false(has_announced(&sim->nodes[1], cases[i].never));
		rsim_destroy(sim);
	}
}

// Both behind symmetric NATs; the relay in use stays silent for 10 s and comes back unchanged.
static void b42_relay_blocked_for_10_s(void **)
{
	struct rsim *sim = rsim_create();

	rsim_relay(sim, "198.51.100.5", NULL);
	rsim_relay(sim, "198.51.100.6", NULL);
	rsim_node(sim, 0, "10.0.0.2:52625", NULL, "203.0.113.7");
	rsim_node(sim, 1, "10.1.0.2:52625", NULL, "192.0.2.9");
	rsim_list(sim, 0, 1);
	rsim_list(sim, 1, 1);
	rsim_run(sim, RSIM_S);
	rsim_connect(sim);
	rsim_run(sim, 3 * RSIM_S);
	assert_true(is_relayed_either(sim));
	rsim_talk(sim, 5 * RSIM_S);
	// The portal lists another one, and asks about the first, which does not answer for 1 s.
	sim->relays[0].is_dead = true;
	for (unsigned i = 0; i < 2; i++)
		rsim_list(sim, i, 2);
	assert_true(rsim_talk(sim, 10 * RSIM_S) < 3 * RSIM_S);
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(sim->nodes[i].events[RELAYS_EVENT_LOST], 1);
		assert_int_equal(relays_count(sim->nodes[i].relays), 2);
	}
	// Listed again: it recovers, and nothing moves back to it by force.
	sim->relays[0].is_dead = false;
	for (unsigned i = 0; i < 2; i++)
		rsim_list(sim, i, 3);
	assert_true(rsim_talk(sim, 10 * RSIM_S) <= RSIM_S);
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(sim->nodes[i].events[RELAYS_EVENT_LOST], 1);
		assert_int_equal(sim->nodes[i].events[RELAYS_EVENT_USABLE], 3);
	}
	rsim_destroy(sim);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(b21_relay_first_then_direct),
		cmocka_unit_test(b22_direct_path_blackholed_fails_over_to_relay),
		cmocka_unit_test(b22_direct_path_blackholed_towards_the_gateway),
		cmocka_unit_test(b23_direct_path_blackholed_towards_the_client),
		cmocka_unit_test(b33_relays_of_one_family),
		cmocka_unit_test(b42_relay_blocked_for_10_s),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
