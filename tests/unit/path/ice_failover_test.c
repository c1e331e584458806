// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

// Behaviours 22 and 23 of spec/connectivity.md section 8 and the rules of C.4: a dead path is left,
// a living one is not.

#include "tests/unit/path/sim.h"
#include "tests/unit/unit.h"

#include <stdio.h>

// The client has two addresses, so there are two paths; the IPv6 one ranks higher.
#define BETTER "[2001:db8::10]:40000"
#define WORSE "192.0.2.10:40000"

static int setup(void **state)
{
	struct sim *sim = sim_create();

	sim_start_both(sim);
	sim_host(sim, SIM_GATEWAY, SIM_CLIENT, "192.0.2.20:52625");
	sim_host(sim, SIM_GATEWAY, SIM_CLIENT, "[2001:db8::20]:52625");
	*state = sim;
	return 0;
}

static int teardown(void **state)
{
	sim_destroy(*state);
	return 0;
}

// Which directions of the path through sim->blocked are dead.
enum blocked {
	BLOCKED_NONE,
	BLOCKED_BOTH,
	BLOCKED_TO_CLIENT,
	BLOCKED_TO_GATEWAY,
};

static bool block_filter(struct sim *sim, struct sim_packet *packet)
{
	enum blocked blocked = *(enum blocked *)sim->test;
	bool is_to_client = ip_endpoint_eq(&packet->to, &sim->blocked);
	bool is_to_gateway = ip_endpoint_eq(&packet->from, &sim->blocked);

	if (is_to_client)
		return blocked == BLOCKED_NONE || blocked == BLOCKED_TO_GATEWAY;
	if (is_to_gateway)
		return blocked == BLOCKED_NONE || blocked == BLOCKED_TO_CLIENT;
	return true;
}

static bool gateway_uses(const struct sim *sim, const char *client)
{
	struct ip_endpoint ep = sim_endpoint(client), local, remote;

	return ice_agent_selected(sim->nodes[SIM_GATEWAY].agent, &local, &remote)
		&& ip_endpoint_eq(&remote, &ep);
}

static bool client_uses(const struct sim *sim, const char *client)
{
	struct ip_endpoint ep = sim_endpoint(client), local, remote;

	return ice_agent_selected(sim->nodes[SIM_CLIENT].agent, &local, &remote)
		&& ip_endpoint_eq(&local, &ep);
}

struct failover {
	const char *name;
	enum blocked blocked;
	bool is_worse_first; // the worse path was nominated before the better one
	uint64_t gateway_ns; // must have followed after this
};

static void connect_both(struct sim *sim, bool is_worse_first)
{
	if (is_worse_first) {
		sim_host(sim, SIM_CLIENT, SIM_GATEWAY, WORSE);
		sim_run(sim, SIM_S);
		assert_true(gateway_uses(sim, WORSE));
		sim_host(sim, SIM_CLIENT, SIM_GATEWAY, BETTER);
	} else {
		sim_host(sim, SIM_CLIENT, SIM_GATEWAY, BETTER);
		sim_run(sim, SIM_S);
		assert_true(gateway_uses(sim, BETTER));
		sim_host(sim, SIM_CLIENT, SIM_GATEWAY, WORSE);
	}
	sim_run(sim, 40 * SIM_S);
	assert_true(gateway_uses(sim, BETTER));
	assert_true(client_uses(sim, BETTER));
}

// Blackholes the better path for a minute: both leave it once, in time, and return to it afterwards.
static void fail_over(void **state, const struct failover *f)
{
	enum blocked blocked = BLOCKED_NONE;
	uint64_t start, gateway_ns = 0, client_ns = 0;
	unsigned n_before;
	struct sim *sim;

	teardown(state);
	setup(state);
	sim = *state;
	sim->blocked = sim_endpoint(BETTER);
	sim->filter = block_filter;
	sim->test = &blocked;
	connect_both(sim, f->is_worse_first);
	blocked = f->blocked;
	n_before = sim->nodes[SIM_GATEWAY].n_selected;
	start = sim->now;
	while (sim->now - start < 60 * SIM_S) {
		sim_run(sim, 100 * SIM_MS);
		if (client_ns == 0 && client_uses(sim, WORSE))
			client_ns = sim->now - start;
		if (gateway_ns == 0 && gateway_uses(sim, WORSE))
			gateway_ns = sim->now - start;
	}
	print_message(
		"%s: client %.1f s, gateway %.1f s\n",
		f->name,
		(double)client_ns / SIM_S,
		(double)gateway_ns / SIM_S);
	assert_in_range(client_ns, SIM_MS, 18200 * SIM_MS);
	assert_in_range(gateway_ns, SIM_MS, f->gateway_ns);
	// Once, and for good.
	assert_int_equal(sim->nodes[SIM_GATEWAY].n_selected, n_before + 1);
	assert_true(sim_agree(sim));
	assert_int_equal(sim->nodes[SIM_GATEWAY].n_disconnected, 0);
	assert_int_equal(sim->nodes[SIM_CLIENT].n_disconnected, 0);
	blocked = BLOCKED_NONE;
	sim_run(sim, 40 * SIM_S);
	assert_true(gateway_uses(sim, BETTER));
	assert_true(client_uses(sim, BETTER));
	assert_int_equal(sim->nodes[SIM_GATEWAY].n_selected, n_before + 2);
}

static void b22_blackholed_path_is_left(void **state)
{
	static const struct failover cases[] = {
		{"worse path never nominated", BLOCKED_BOTH, false, 18200 * SIM_MS},
		{"worse path once nominated", BLOCKED_BOTH, true, 11 * SIM_S},
	};

	for (size_t i = 0; i < COUNT_OF(cases); i++)
		fail_over(state, &cases[i]);
}

static void b23_path_that_is_dead_towards_the_client(void **state)
{
	static const struct failover cases[] = {
		{"worse path never nominated", BLOCKED_TO_CLIENT, false, 18200 * SIM_MS},
		{"worse path once nominated", BLOCKED_TO_CLIENT, true, 12 * SIM_S},
	};

	for (size_t i = 0; i < COUNT_OF(cases); i++)
		fail_over(state, &cases[i]);
}

// Gaps between the gateway's checks on the better path since the client's stopped to arrive.
struct pace {
	enum blocked blocked; // first: block_filter() reads it
	uint64_t last, longest;
};

static void watch_pace(struct sim *sim, const struct sim_packet *packet)
{
	struct pace *pace = sim->test;
	struct stun_msg msg;

	assert_int_equal(stun_msg_parse(&msg, packet->data, packet->size), 0);
	if (!ip_endpoint_eq(&packet->to, &sim->blocked) || msg.cls != STUN_CLASS_REQUEST)
		return;
	if (sim->now - pace->last > pace->longest)
		pace->longest = sim->now - pace->last;
	pace->last = sim->now;
}

// Only the direction to the gateway dies. Our client leaves as usual. An official one keeps the pair until
// it has not heard the gateway on it for 15 s, so the gateway must not check as often as that.
static void b22_path_that_is_dead_towards_the_gateway(void **state)
{
	static const struct failover f = {
		"towards the gateway", BLOCKED_TO_GATEWAY, false, 18200 * SIM_MS};
	struct pace pace = {.blocked = BLOCKED_NONE};
	struct sim *sim;

	fail_over(state, &f);
	teardown(state);
	setup(state);
	sim = *state;
	sim->blocked = sim_endpoint(BETTER);
	sim->filter = block_filter;
	sim->watch = watch_pace;
	sim->test = &pace;
	connect_both(sim, false);
	pace.blocked = BLOCKED_TO_GATEWAY;
	pace.last = sim->now;
	pace.longest = 0;
	sim_run(sim, 60 * SIM_S);
	assert_true(pace.longest > 16 * SIM_S);
	// Still looking whether it heals.
	assert_true(sim->now - pace.last < 25 * SIM_S);
	assert_true(ice_agent_pair_count(sim->nodes[SIM_GATEWAY].agent) == 2);
}

// An idle peer that wakes up to a dead path must not be kept waiting for the idle cadence.
static void test_dead_after_idle(void **state)
{
	enum blocked blocked = BLOCKED_NONE;
	struct sim *sim = *state;

	sim->blocked = sim_endpoint(BETTER);
	sim->filter = block_filter;
	sim->test = &blocked;
	connect_both(sim, true);
	ice_agent_set_idle(sim->nodes[SIM_CLIENT].agent, sim->now, true);
	ice_agent_set_idle(sim->nodes[SIM_GATEWAY].agent, sim->now, true);
	sim_run(sim, 90 * SIM_S);
	assert_true(gateway_uses(sim, BETTER));
	blocked = BLOCKED_BOTH;
	sim_run(sim, 20 * SIM_S);
	ice_agent_set_idle(sim->nodes[SIM_CLIENT].agent, sim->now, false);
	ice_agent_set_idle(sim->nodes[SIM_GATEWAY].agent, sim->now, false);
	sim_drain(sim, SIM_CLIENT);
	sim_drain(sim, SIM_GATEWAY);
	sim_run(sim, 4 * SIM_S);
	assert_true(gateway_uses(sim, WORSE));
}

// Falling idle and waking up, on pairs whose checks come at different times, moves nothing.
static void test_idle_keeps(void **state)
{
	struct sim *sim = *state;
	unsigned n_selected;

	connect_both(sim, true);
	n_selected = sim->nodes[SIM_GATEWAY].n_selected;
	for (unsigned i = 0; i < 30; i++) {
		ice_agent_set_idle(sim->nodes[SIM_CLIENT].agent, sim->now, i % 2 == 0);
		sim_drain(sim, SIM_CLIENT);
		sim_run(sim, (20 + sim_random(sim) % 100) * SIM_S);
	}
	assert_int_equal(sim->nodes[SIM_GATEWAY].n_selected, n_selected);
	assert_true(gateway_uses(sim, BETTER));
}

static void test_never_flaps(void **state)
{
	struct sim *sim = *state;
	unsigned n_selected;

	connect_both(sim, true);
	n_selected = sim->nodes[SIM_GATEWAY].n_selected;
	sim->loss_percent = 10;
	sim_run(sim, 1800 * SIM_S);
	assert_int_equal(sim->nodes[SIM_GATEWAY].n_selected, n_selected);
	assert_true(gateway_uses(sim, BETTER));
	assert_true(client_uses(sim, BETTER));
}

// Everything dead: the client notices after 16.5 s, up to a check interval, and 1 s of grace, and says
// so once.
static void b12_client_gives_up_a_dead_gateway(void **state)
{
	enum blocked blocked = BLOCKED_BOTH;
	struct sim *sim = *state;
	uint64_t start, failed = 0;

	sim_host(sim, SIM_CLIENT, SIM_GATEWAY, BETTER);
	sim_run(sim, 40 * SIM_S);
	sim->blocked = sim_endpoint(BETTER);
	sim->filter = block_filter;
	sim->test = &blocked;
	start = sim->now;
	while (sim->now - start < 60 * SIM_S) {
		sim_run(sim, 100 * SIM_MS);
		if (failed == 0 && sim->nodes[SIM_CLIENT].n_failed > 0)
			failed = sim->now - start;
	}
	assert_in_range(failed, 17 * SIM_S, 19 * SIM_S + 100 * SIM_MS);
	assert_int_equal(sim->nodes[SIM_CLIENT].n_disconnected, 1);
	assert_int_equal(sim->nodes[SIM_CLIENT].n_failed, 1);
	assert_int_equal(sim->nodes[SIM_CLIENT].failure, ICE_FAILURE_NO_PATH);
	assert_true(ice_agent_next_deadline(sim->nodes[SIM_CLIENT].agent) == ICE_DEADLINE_NONE);
	// The gateway keeps its only path: nothing better is known (its own timers decide).
	assert_true(gateway_uses(sim, BETTER));
	assert_int_equal(sim->nodes[SIM_GATEWAY].n_disconnected, 0);
}

static void b05_no_candidates_fails_after_10_s(void **state)
{
	struct sim *sim = *state;
	struct ice_config config = sim_config(sim, SIM_GATEWAY);

	sim_start(sim, SIM_GATEWAY, &config);
	sim_host(sim, SIM_GATEWAY, SIM_GATEWAY, "192.0.2.20:52625");
	sim_run(sim, 9990 * SIM_MS);
	assert_int_equal(sim->nodes[SIM_GATEWAY].n_failed, 0);
	sim_run(sim, 20 * SIM_MS);
	assert_int_equal(sim->nodes[SIM_GATEWAY].n_failed, 1);
	assert_int_equal(sim->nodes[SIM_GATEWAY].failure, ICE_FAILURE_NO_CANDIDATES);
	assert_int_equal(sim->nodes[SIM_GATEWAY].n_disconnected, 0);
}

// A candidate that comes within the grace saves the connection.
static void test_grace(void **state)
{
	struct sim *sim = *state;

	// The gateway at these addresses is not there.
	sim_start_both(sim);
	sim_host(sim, SIM_CLIENT, SIM_CLIENT, WORSE);
	sim_signal(sim, SIM_CLIENT, ICE_KIND_HOST, "198.51.100.1:1");
	sim_run(sim, 16 * SIM_S);
	assert_int_equal(ice_agent_pair_count(sim->nodes[SIM_CLIENT].agent), 0);
	assert_int_equal(sim->nodes[SIM_CLIENT].n_failed, 0);
	// The same candidate again makes a fresh pair (2.4), given up like the first.
	sim_signal(sim, SIM_CLIENT, ICE_KIND_HOST, "198.51.100.1:1");
	assert_int_equal(ice_agent_pair_count(sim->nodes[SIM_CLIENT].agent), 1);
	sim_run(sim, 15 * SIM_S);
	assert_int_equal(ice_agent_pair_count(sim->nodes[SIM_CLIENT].agent), 1);
	sim_run(sim, SIM_S);
	assert_int_equal(ice_agent_pair_count(sim->nodes[SIM_CLIENT].agent), 0);
	assert_int_equal(sim->nodes[SIM_CLIENT].n_failed, 0);
	sim_run(sim, SIM_S);
	assert_int_equal(sim->nodes[SIM_CLIENT].n_failed, 1);
	assert_int_equal(sim->nodes[SIM_CLIENT].failure, ICE_FAILURE_NO_PATH);
}

static bool drop_answers(struct sim *sim, struct sim_packet *packet)
{
	bool is_everything = *(bool *)sim->test;
	struct stun_msg msg;

	assert_int_equal(stun_msg_parse(&msg, packet->data, packet->size), 0);
	return !is_everything && msg.cls == STUN_CLASS_REQUEST;
}

// A pair is not given up while the peer's checks arrive, however long ours stay unanswered.
static void test_heard_pair_stays(void **state)
{
	struct sim *sim = *state;
	struct ice_config config = sim_config(sim, SIM_GATEWAY);
	bool is_everything = false;

	config.profile = ICE_PROFILE_CLIENT;
	sim_start_both(sim);
	sim_start(sim, SIM_GATEWAY, &config);
	sim->filter = drop_answers;
	sim->test = &is_everything;
	sim_host(sim, SIM_GATEWAY, SIM_CLIENT, "192.0.2.20:52625");
	sim_host(sim, SIM_CLIENT, SIM_GATEWAY, WORSE);
	sim_run(sim, 60 * SIM_S);
	assert_int_equal(ice_agent_pair_count(sim->nodes[SIM_CLIENT].agent), 1);
	assert_int_equal(ice_agent_pair_count(sim->nodes[SIM_GATEWAY].agent), 1);
	is_everything = true;
	sim_run(sim, 14 * SIM_S);
	assert_int_equal(ice_agent_pair_count(sim->nodes[SIM_CLIENT].agent), 1);
	sim_run(sim, 3 * SIM_S);
	assert_int_equal(ice_agent_pair_count(sim->nodes[SIM_CLIENT].agent), 0);
}

// A relayed address that was met before it was announced ranks as peer-reflexive, above the
// server-reflexive one that the client prefers. The announcement puts that right.
static void b18_announcement_replaces_peer_reflexive(void **state)
{
	const char *relayed = "198.51.100.5:53909";
	struct ice_candidate relay = {.kind = ICE_KIND_RELAY, .addr = sim_endpoint(relayed)};
	struct ice_candidate srflx = {.kind = ICE_KIND_SRFLX, .addr = sim_endpoint(WORSE)};
	struct sim *sim = *state;
	struct sim_node *client = &sim->nodes[SIM_CLIENT];

	srflx.base = srflx.addr;
	client->addrs[client->n_addrs++] = relay.addr;
	client->addrs[client->n_addrs++] = srflx.addr;
	assert_int_equal(ice_agent_add_local(client->agent, sim->now, &relay, false, NULL), 0);
	sim_drain(sim, SIM_CLIENT);
	sim_run(sim, SIM_S);
	assert_true(gateway_uses(sim, relayed));
	assert_int_equal(ice_agent_add_local(client->agent, sim->now, &srflx, false, NULL), 0);
	sim_drain(sim, SIM_CLIENT);
	sim_signal(sim, SIM_GATEWAY, ICE_KIND_SRFLX, WORSE);
	sim_run(sim, 3 * SIM_S);
	assert_true(client_uses(sim, WORSE));
	assert_true(gateway_uses(sim, relayed));
	sim_signal(sim, SIM_GATEWAY, ICE_KIND_RELAY, relayed);
	sim_run(sim, 2 * SIM_S);
	assert_true(gateway_uses(sim, WORSE));
	assert_true(sim_agree(sim));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(b22_blackholed_path_is_left, setup, teardown),
		cmocka_unit_test_setup_teardown(
			b22_path_that_is_dead_towards_the_gateway, setup, teardown),
		cmocka_unit_test_setup_teardown(
			b23_path_that_is_dead_towards_the_client, setup, teardown),
		cmocka_unit_test_setup_teardown(test_dead_after_idle, setup, teardown),
		cmocka_unit_test_setup_teardown(test_idle_keeps, setup, teardown),
		cmocka_unit_test_setup_teardown(test_never_flaps, setup, teardown),
		cmocka_unit_test_setup_teardown(
			b12_client_gives_up_a_dead_gateway, setup, teardown),
		cmocka_unit_test_setup_teardown(
			b05_no_candidates_fails_after_10_s, setup, teardown),
		cmocka_unit_test_setup_teardown(test_grace, setup, teardown),
		cmocka_unit_test_setup_teardown(test_heard_pair_stays, setup, teardown),
		cmocka_unit_test_setup_teardown(
			b18_announcement_replaces_peer_reflexive, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
