// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

// Behaviours 13-15, 18, 20, 24, 25, 27-30 of spec/connectivity.md section 8: from candidates to a
// path, and keeping it.

#include "tests/unit/path/sim.h"
#include "tests/unit/unit.h"

#include <errno.h>
#include <stdio.h>

static int setup(void **state)
{
	*state = sim_create();
	return 0;
}

static int teardown(void **state)
{
	sim_destroy(*state);
	return 0;
}

static void assert_selected(const struct sim *sim, const char *client, const char *gateway)
{
	struct ip_endpoint c = sim_endpoint(client), g = sim_endpoint(gateway);

	assert_true(sim_agree(sim));
	assert_true(ip_endpoint_eq(&sim->nodes[SIM_CLIENT].local, &c));
	assert_true(ip_endpoint_eq(&sim->nodes[SIM_CLIENT].remote, &g));
}

static void start_dual(struct sim *sim)
{
	sim_start_both(sim);
	sim_host(sim, SIM_GATEWAY, SIM_CLIENT, "192.0.2.20:52625");
	sim_host(sim, SIM_GATEWAY, SIM_CLIENT, "[2001:db8::20]:52625");
	sim_host(sim, SIM_CLIENT, SIM_GATEWAY, "192.0.2.10:40000");
	sim_host(sim, SIM_CLIENT, SIM_GATEWAY, "[2001:db8::10]:40000");
}

static void b14_b24_b29_dual_stack_connects_at_once(void **state)
{
	struct sim *sim = *state;
	uint64_t start = sim->now;

	start_dual(sim);
	sim_run(sim, SIM_S);
	assert_selected(sim, "[2001:db8::10]:40000", "[2001:db8::20]:52625");
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(sim->nodes[i].n_connected, 1);
		assert_true(sim->nodes[i].connected_at - start < 100 * SIM_MS);
		// Families are never mixed.
		assert_int_equal(ice_agent_pair_count(sim->nodes[i].agent), 2);
	}
	// The controlled side nominates nothing and never claims to control.
	assert_int_equal(sim->nodes[SIM_GATEWAY].n_use_candidate, 0);
	assert_int_equal(sim->nodes[SIM_GATEWAY].n_controlling, 0);
	assert_true(sim->nodes[SIM_CLIENT].n_use_candidate > 0);
}

static void b29_single_stack(void **state)
{
	static const char *const addrs[][2] = {
		{"192.0.2.10:40000", "192.0.2.20:52625"},
		{"[2001:db8::10]:40000", "[2001:db8::20]:52625"},
	};

	for (size_t i = 0; i < COUNT_OF(addrs); i++) {
		struct sim *sim = *state;

		sim_start_both(sim);
		sim_host(sim, SIM_GATEWAY, SIM_CLIENT, addrs[i][1]);
		sim_host(sim, SIM_CLIENT, SIM_GATEWAY, addrs[i][0]);
		sim_run(sim, SIM_S);
		assert_selected(sim, addrs[i][0], addrs[i][1]);
	}
}

static void test_loss(void **state)
{
	struct sim *sim = *state;

	for (unsigned round = 0; round < 20; round++) {
		sim->loss_percent = 30;
		start_dual(sim);
		sim_run(sim, 30 * SIM_S);
		sim->loss_percent = 0;
		sim_run(sim, 20 * SIM_S);
		assert_true(sim_agree(sim));
		assert_int_equal(sim->nodes[SIM_CLIENT].n_failed, 0);
		assert_int_equal(sim->nodes[SIM_GATEWAY].n_failed, 0);
	}
}

// A client that learns its candidates late finds a gateway that is already waiting, and the other
// way round: all orders work.
static void b21_a_better_pair_is_followed_within_one_check(void **state)
{
	struct sim *sim = *state;

	sim_start_both(sim);
	sim_host(sim, SIM_CLIENT, SIM_GATEWAY, "192.0.2.10:40000");
	sim_run(sim, 9 * SIM_S);
	sim_host(sim, SIM_GATEWAY, SIM_CLIENT, "192.0.2.20:52625");
	sim_run(sim, SIM_S);
	assert_selected(sim, "192.0.2.10:40000", "192.0.2.20:52625");
	sim_host(sim, SIM_GATEWAY, SIM_CLIENT, "[2001:db8::20]:52625");
	sim_host(sim, SIM_CLIENT, SIM_GATEWAY, "[2001:db8::10]:40000");
	sim_run(sim, 100 * SIM_MS);
	// Upgraded within one check.
	assert_selected(sim, "[2001:db8::10]:40000", "[2001:db8::20]:52625");
	assert_int_equal(sim->nodes[SIM_GATEWAY].n_selected, 2);
}

// A symmetric NAT in front of the client: its checks come from a port that nobody signalled.
static bool nat_filter(struct sim *sim, struct sim_packet *packet)
{
	struct ip_endpoint inside = sim_endpoint("10.0.0.10:40000");
	struct ip_endpoint outside = sim_endpoint("203.0.113.7:61001");

	if (ip_endpoint_eq(&packet->from, &inside))
		packet->from = outside;
	else if (ip_endpoint_eq(&packet->to, &outside))
		packet->to = inside;
	else if (ip_endpoint_eq(&packet->to, &inside))
		return false;
	(*(unsigned *)sim->test)++;
	return true;
}

static void b18_unknown_source_port_is_usable(void **state)
{
	struct sim *sim = *state;
	unsigned n_passed = 0;
	size_t n_pairs;

	sim->test = &n_passed;
	sim->filter = nat_filter;
	sim_start_both(sim);
	sim_host(sim, SIM_GATEWAY, SIM_CLIENT, "192.0.2.20:52625");
	sim_host(sim, SIM_CLIENT, SIM_GATEWAY, "10.0.0.10:40000");
	sim_run(sim, SIM_S);
	assert_int_equal(sim->nodes[SIM_CLIENT].n_connected, 1);
	assert_int_equal(sim->nodes[SIM_GATEWAY].n_connected, 1);
	{
		struct ip_endpoint outside = sim_endpoint("203.0.113.7:61001");

		assert_true(ip_endpoint_eq(&sim->nodes[SIM_GATEWAY].remote, &outside));
	}
	assert_true(n_passed > 0);
	// Its announcement takes the place of the peer-reflexive one; nothing is paired twice.
	n_pairs = ice_agent_pair_count(sim->nodes[SIM_GATEWAY].agent);
	sim_signal(sim, SIM_GATEWAY, ICE_KIND_SRFLX, "203.0.113.7:61001");
	assert_int_equal(ice_agent_pair_count(sim->nodes[SIM_GATEWAY].agent), n_pairs + 1);
	sim_run(sim, 30 * SIM_S);
	assert_int_equal(sim->nodes[SIM_GATEWAY].n_selected, 1);
	assert_int_equal(sim->nodes[SIM_CLIENT].n_disconnected, 0);
}

static void watch_optimistic(struct sim *sim, const struct sim_packet *packet)
{
	struct ip_endpoint guess = sim_endpoint("203.0.113.7:52625");

	if (ip_endpoint_eq(&packet->to, &guess))
		(*(unsigned *)sim->test)++;
}

// The gateway's NAT forwards 52625 but maps outgoing packets to another port.
static void b28_optimistic_candidates(void **state)
{
	struct sim *sim = *state;
	struct ice_candidate c;
	unsigned n_tried = 0;
	size_t n_before;

	sim->test = &n_tried;
	sim->watch = watch_optimistic;
	sim_start_both(sim);
	sim_host(sim, SIM_CLIENT, SIM_CLIENT, "192.0.2.10:40000");
	sim_signal(sim, SIM_CLIENT, ICE_KIND_HOST, "10.1.1.1:52625");
	sim_signal(sim, SIM_CLIENT, ICE_KIND_SRFLX, "203.0.113.7:33333");
	assert_int_equal(n_tried, 1);
	// host, srflx and one guess; repeated announcements guess nothing new
	assert_int_equal(ice_agent_pair_count(sim->nodes[SIM_CLIENT].agent), 3);
	sim_signal(sim, SIM_CLIENT, ICE_KIND_SRFLX, "203.0.113.7:33333");
	assert_int_equal(ice_agent_pair_count(sim->nodes[SIM_CLIENT].agent), 3);
	// At most two guesses per announcement.
	sim_signal(sim, SIM_CLIENT, ICE_KIND_HOST, "10.1.1.2:1001");
	sim_signal(sim, SIM_CLIENT, ICE_KIND_HOST, "10.1.1.3:1002");
	n_before = ice_agent_pair_count(sim->nodes[SIM_CLIENT].agent);
	sim_signal(sim, SIM_CLIENT, ICE_KIND_SRFLX, "203.0.113.8:33333");
	assert_int_equal(ice_agent_pair_count(sim->nodes[SIM_CLIENT].agent), n_before + 3);
	// No IPv6 variant.
	n_before = ice_agent_pair_count(sim->nodes[SIM_CLIENT].agent);
	sim_host(sim, SIM_CLIENT, SIM_CLIENT, "[2001:db8::10]:40000");
	sim_signal(sim, SIM_CLIENT, ICE_KIND_HOST, "[2001:db8::20]:52625");
	sim_signal(sim, SIM_CLIENT, ICE_KIND_SRFLX, "[2001:db8::21]:33333");
	// The IPv4 guess left over above is made on these occasions.
	assert_true(ice_agent_pair_count(sim->nodes[SIM_CLIENT].agent) <= n_before + 3);
	// Guesses vanish with the mapped address that they came from.
	c = (struct ice_candidate){
		.kind = ICE_KIND_SRFLX,
		.addr = sim_endpoint("203.0.113.8:33333"),
	};
	n_before = ice_agent_pair_count(sim->nodes[SIM_CLIENT].agent);
	assert_int_equal(ice_agent_remove_remote(sim->nodes[SIM_CLIENT].agent, sim->now, &c), 0);
	assert_int_equal(ice_agent_pair_count(sim->nodes[SIM_CLIENT].agent), n_before - 4);
	sim_drain(sim, SIM_CLIENT);
}

// Every check of ten minutes is answered, every pair survives.
static void b20_every_check_is_answered_for_ten_minutes(void **state)
{
	struct sim *sim = *state;

	start_dual(sim);
	sim_run(sim, 600 * SIM_S);
	assert_int_equal(sim->nodes[SIM_GATEWAY].n_answers, sim->nodes[SIM_CLIENT].n_requests);
	assert_int_equal(sim->nodes[SIM_CLIENT].n_answers, sim->nodes[SIM_GATEWAY].n_requests);
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(ice_agent_pair_count(sim->nodes[i].agent), 2);
		assert_int_equal(sim->nodes[i].n_disconnected, 0);
		assert_true(sim->nodes[i].n_selected <= 2);
	}
	// 1.5 s at the client, 15 s at the gateway after its first 15 s.
	assert_in_range(sim->nodes[SIM_CLIENT].n_requests, 2 * 390, 2 * 410);
	assert_in_range(sim->nodes[SIM_GATEWAY].n_requests, 2 * 45, 2 * 60);
}

// Two clients: the controlled one keeps the clients' pace, and neither excites the other.
static void test_client_to_client(void **state)
{
	struct sim *sim = *state;
	struct ice_config config;

	config = sim_config(sim, SIM_CLIENT);
	sim_start(sim, SIM_CLIENT, &config);
	config = sim_config(sim, SIM_GATEWAY);
	config.profile = ICE_PROFILE_CLIENT;
	sim_start(sim, SIM_GATEWAY, &config);
	sim_host(sim, SIM_GATEWAY, SIM_CLIENT, "192.0.2.20:52625");
	sim_host(sim, SIM_CLIENT, SIM_GATEWAY, "192.0.2.10:40000");
	sim_run(sim, 300 * SIM_S);
	assert_selected(sim, "192.0.2.10:40000", "192.0.2.20:52625");
	assert_in_range(sim->nodes[SIM_CLIENT].n_requests, 198, 206);
	assert_in_range(sim->nodes[SIM_GATEWAY].n_requests, 198, 206);
}

static void b30_idle_checks_every_25_s(void **state)
{
	struct sim *sim = *state;
	unsigned n_client, n_gateway;

	start_dual(sim);
	sim_run(sim, 20 * SIM_S);
	ice_agent_set_idle(sim->nodes[SIM_CLIENT].agent, sim->now, true);
	sim_run(sim, 3 * SIM_S);
	ice_agent_set_idle(sim->nodes[SIM_GATEWAY].agent, sim->now, true);
	n_client = sim->nodes[SIM_CLIENT].n_requests;
	n_gateway = sim->nodes[SIM_GATEWAY].n_requests;
	sim_run(sim, 300 * SIM_S);
	assert_in_range(sim->nodes[SIM_CLIENT].n_requests - n_client, 22, 26);
	assert_in_range(sim->nodes[SIM_GATEWAY].n_requests - n_gateway, 22, 26);
	n_client = sim->nodes[SIM_CLIENT].n_requests;
	ice_agent_set_idle(sim->nodes[SIM_CLIENT].agent, sim->now, false);
	ice_agent_set_idle(sim->nodes[SIM_GATEWAY].agent, sim->now, false);
	sim_drain(sim, SIM_CLIENT);
	assert_int_equal(sim->nodes[SIM_CLIENT].n_requests, n_client + 2);
	sim_run(sim, 60 * SIM_S);
	assert_in_range(sim->nodes[SIM_CLIENT].n_requests - n_client, 78, 84);
	assert_true(sim->nodes[SIM_GATEWAY].n_selected <= 2);
	assert_true(sim->nodes[SIM_GATEWAY].selected_at < 1001 * SIM_S);
	assert_true(sim_agree(sim));
}

// The client lost its half and starts over with the same credentials; the gateway was told
// nothing (13), or re-armed by the repeated authorization.
static void b13_client_agent_starts_over_with_equal_credentials(void **state)
{
	struct sim *sim = *state;

	for (unsigned is_told = 0; is_told < 2; is_told++) {
		struct ice_config config;

		start_dual(sim);
		sim_run(sim, 40 * SIM_S);
		config = sim_config(sim, SIM_CLIENT);
		sim_start(sim, SIM_CLIENT, &config);
		sim_run(sim, 5 * SIM_S);
		if (is_told) {
			ice_agent_rearm(sim->nodes[SIM_GATEWAY].agent, sim->now);
			sim_drain(sim, SIM_GATEWAY);
		}
		sim_host(sim, SIM_CLIENT, SIM_GATEWAY, "[2001:db8::10]:41111");
		sim_signal(sim, SIM_CLIENT, ICE_KIND_HOST, "[2001:db8::20]:52625");
		sim_run(sim, SIM_S);
		assert_selected(sim, "[2001:db8::10]:41111", "[2001:db8::20]:52625");
		assert_int_equal(sim->nodes[SIM_GATEWAY].n_disconnected, 0);
	}
}

static void b25_withdrawn_remote_is_silent_until_announced_again(void **state)
{
	struct sim *sim = *state;
	const char *text = "candidate:1 1 udp 2130706431 2001:db8::10 40000 typ host ufrag clnt";
	struct ice_agent *gateway;
	unsigned n_answers;

	start_dual(sim);
	gateway = sim->nodes[SIM_GATEWAY].agent;
	sim_run(sim, 2 * SIM_S);
	assert_int_equal(ice_agent_remove_remote_text(gateway, sim->now, text), 0);
	sim_drain(sim, SIM_GATEWAY);
	assert_int_equal(ice_agent_pair_count(gateway), 1);
	// Followed to the other pair that the client nominated once, or none yet.
	assert_int_equal(ice_agent_remove_remote_text(gateway, sim->now, text), -ENOENT);
	sim_run(sim, 10 * SIM_MS);
	n_answers = sim->nodes[SIM_GATEWAY].n_answers;
	sim->nodes[SIM_GATEWAY].rx[ICE_RX_WITHDRAWN_REMOTE] = 0;
	sim_run(sim, 25 * SIM_S);
	assert_true(sim->nodes[SIM_GATEWAY].rx[ICE_RX_WITHDRAWN_REMOTE] > 3);
	assert_true(sim->nodes[SIM_GATEWAY].n_answers > n_answers); // IPv4 goes on
	assert_selected(sim, "192.0.2.10:40000", "192.0.2.20:52625");
	// Announced again: back to the better path.
	assert_int_equal(ice_agent_add_remote_text(gateway, sim->now, text), 0);
	sim_drain(sim, SIM_GATEWAY);
	sim_run(sim, 2 * SIM_S);
	assert_selected(sim, "[2001:db8::10]:40000", "[2001:db8::20]:52625");
}

static void b27_pairs_are_bounded_and_the_best_stay(void **state)
{
	struct sim *sim = *state;
	struct ice_agent *gateway;
	char addr[64];

	sim_start_both(sim);
	gateway = sim->nodes[SIM_GATEWAY].agent;
	for (unsigned i = 0; i < 3; i++) {
		snprintf(addr, sizeof(addr), "192.0.2.20:%u", 52625 + i);
		sim_host(sim, SIM_GATEWAY, SIM_GATEWAY, addr);
	}
	for (unsigned i = 0; i < 40; i++) {
		snprintf(addr, sizeof(addr), "198.51.100.%u:1000", i + 1);
		sim_signal(sim, SIM_GATEWAY, ICE_KIND_RELAY, addr);
	}
	assert_int_equal(ice_agent_pair_count(gateway), ICE_PAIRS_MAX);
	// A better candidate still gets all its pairs, and a path.
	sim_host(sim, SIM_CLIENT, SIM_GATEWAY, "192.0.2.10:40000");
	sim_signal(sim, SIM_CLIENT, ICE_KIND_HOST, "192.0.2.20:52625");
	assert_int_equal(ice_agent_pair_count(gateway), ICE_PAIRS_MAX);
	sim_run(sim, SIM_S);
	assert_selected(sim, "192.0.2.10:40000", "192.0.2.20:52625");
	for (unsigned i = 0; i < 200; i++) {
		struct ice_candidate c = {.kind = ICE_KIND_RELAY, .priority = i};

		snprintf(addr, sizeof(addr), "203.0.113.%u:1000", i + 1);
		c.addr = sim_endpoint(addr);
		c.base = c.addr;
		if (ice_agent_add_remote(gateway, sim->now, &c) < 0)
			break;
		assert_true(i < ICE_REMOTES_MAX);
	}
	sim_drain(sim, SIM_GATEWAY);
	assert_true(sim_agree(sim));
}

static void test_local_candidates(void **state)
{
	struct sim *sim = *state;
	struct ice_candidate host = {.kind = ICE_KIND_HOST}, srflx = {.kind = ICE_KIND_SRFLX},
			     out[4];
	struct ice_candidate relay = {.kind = ICE_KIND_RELAY}, added, removed;
	struct ice_agent *gateway;

	sim_start_both(sim);
	gateway = sim->nodes[SIM_GATEWAY].agent;
	relay.addr = sim_endpoint("198.51.100.5:53909");
	host.addr = sim_endpoint("192.0.2.20:52625");
	srflx.addr = host.addr;
	srflx.base = host.addr;
	assert_int_equal(ice_agent_add_local(gateway, sim->now, &relay, true, &added), 0);
	assert_int_equal(added.priority, 37492479);
	assert_int_equal(ice_agent_add_local(gateway, sim->now, &host, false, NULL), 0);
	// A public machine sees itself through the relay: nothing new.
	assert_int_equal(ice_agent_add_local(gateway, sim->now, &srflx, false, NULL), -EEXIST);
	srflx.addr = sim_endpoint("203.0.113.7:40123");
	assert_int_equal(ice_agent_add_local(gateway, sim->now, &srflx, false, &added), 0);
	assert_int_equal(added.priority, 1686109951);
	assert_int_equal(ice_agent_list_locals(gateway, out, COUNT_OF(out)), 3);
	assert_int_equal(out[0].kind, ICE_KIND_HOST);
	assert_int_equal(out[1].kind, ICE_KIND_SRFLX);
	assert_int_equal(out[2].kind, ICE_KIND_RELAY);
	assert_int_equal(ice_agent_list_locals(gateway, out, 1), 1);
	// host and srflx share a base, so a remote gives two pairs, not three
	sim_signal(sim, SIM_GATEWAY, ICE_KIND_HOST, "192.0.2.10:40000");
	assert_int_equal(ice_agent_pair_count(gateway), 2);
	assert_int_equal(
		ice_agent_remove_local(gateway, sim->now, ICE_KIND_RELAY, &relay.addr, &removed),
		0);
	assert_int_equal(removed.priority, 37492479);
	assert_int_equal(ice_agent_pair_count(gateway), 1);
	// The srflx takes over the pair of the host that it was redundant to.
	assert_int_equal(
		ice_agent_remove_local(gateway, sim->now, ICE_KIND_HOST, &host.addr, NULL), 0);
	assert_int_equal(ice_agent_pair_count(gateway), 1);
	assert_int_equal(
		ice_agent_remove_local(gateway, sim->now, ICE_KIND_HOST, &host.addr, NULL),
		-ENOENT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			b14_b24_b29_dual_stack_connects_at_once, setup, teardown),
		cmocka_unit_test_setup_teardown(b29_single_stack, setup, teardown),
		cmocka_unit_test_setup_teardown(test_loss, setup, teardown),
		cmocka_unit_test_setup_teardown(
			b21_a_better_pair_is_followed_within_one_check, setup, teardown),
		cmocka_unit_test_setup_teardown(b18_unknown_source_port_is_usable, setup, teardown),
		cmocka_unit_test_setup_teardown(b28_optimistic_candidates, setup, teardown),
		cmocka_unit_test_setup_teardown(
			b20_every_check_is_answered_for_ten_minutes, setup, teardown),
		cmocka_unit_test_setup_teardown(test_client_to_client, setup, teardown),
		cmocka_unit_test_setup_teardown(b30_idle_checks_every_25_s, setup, teardown),
		cmocka_unit_test_setup_teardown(
			b13_client_agent_starts_over_with_equal_credentials, setup, teardown),
		cmocka_unit_test_setup_teardown(
			b25_withdrawn_remote_is_silent_until_announced_again, setup, teardown),
		cmocka_unit_test_setup_teardown(
			b27_pairs_are_bounded_and_the_best_stay, setup, teardown),
		cmocka_unit_test_setup_teardown(test_local_candidates, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
