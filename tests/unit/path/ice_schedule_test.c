// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

// The tables of spec/connectivity.md 2.5 and C.5: when checks leave and when a pair is given up.

#include "tests/unit/path/sim.h"
#include "tests/unit/unit.h"

#include <stdio.h>

#define SENDS_MAX 128

struct log {
	uint64_t start;
	unsigned n;
	uint64_t sends[SENDS_MAX]; // ms since start
};

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

static void log_send(struct sim *sim, const struct sim_packet *packet)
{
	struct log *log = sim->test;
	struct stun_msg msg;

	assert_int_equal(stun_msg_parse(&msg, packet->data, packet->size), 0);
	if (msg.cls != STUN_CLASS_REQUEST)
		return;
	assert_true(log->n < SENDS_MAX);
	log->sends[log->n++] = (sim->now - log->start) / SIM_MS;
}

static const struct {
	const char *name;
	enum ice_profile profile;
	bool is_idle;
	unsigned n; // sends in all
	uint64_t first[18]; // ms; the start of the list
	uint64_t last; // ms of the last send
	uint64_t given_up; // ms
} schedules[] = {
	{"client",
	 ICE_PROFILE_CLIENT,
	 false,
	 12,
	 {0, 250, 750, 1750, 3250, 4750, 6250, 7750, 9250, 10750, 12250, 13750},
	 13750,
	 15250},
	{"client idle", ICE_PROFILE_CLIENT, true, 4, {0, 25000, 50000, 75000}, 75000, 100000},
	{"server",
	 ICE_PROFILE_SERVER,
	 false,
	 51,
	 {0,
	  250,
	  750,
	  1750,
	  3250,
	  4750,
	  6250,
	  7750,
	  9250,
	  10750,
	  12250,
	  13750,
	  15250,
	  30250,
	  45250},
	 585250,
	 600250},
	{"server idle", ICE_PROFILE_SERVER, true, 40, {0, 25000, 50000, 75000}, 975000, 1000000},
};

static void test_never_answered(void **state)
{
	for (size_t i = 0; i < COUNT_OF(schedules); i++) {
		struct sim *sim = *state;
		struct ice_config config = sim_config(sim, 0);
		struct log log = {.start = sim->now};

		print_message("%s\n", schedules[i].name);
		config.profile = schedules[i].profile;
		sim->test = &log;
		sim->watch = log_send;
		sim_start(sim, 0, &config);
		ice_agent_set_idle(sim->nodes[0].agent, sim->now, schedules[i].is_idle);
		sim_host(sim, 0, 0, "192.0.2.10:40000");
		sim_signal(sim, 0, ICE_KIND_HOST, "192.0.2.20:52625");
		sim_run(sim, schedules[i].given_up * SIM_MS - SIM_MS);
		assert_int_equal(ice_agent_pair_count(sim->nodes[0].agent), 1);
		sim_run(sim, 2 * SIM_MS);
		assert_int_equal(ice_agent_pair_count(sim->nodes[0].agent), 0);
		assert_int_equal(log.n, schedules[i].n);
		for (size_t j = 0; j < COUNT_OF(schedules[i].first) && j < log.n; j++) {
			if (j > 0 && schedules[i].first[j] == 0)
				break;
			assert_int_equal(log.sends[j], schedules[i].first[j]);
		}
		assert_int_equal(log.sends[log.n - 1], schedules[i].last);
		assert_int_equal(sim->nodes[0].n_failed, 0);
		sim_run(sim, 2 * SIM_S);
		assert_int_equal(sim->nodes[0].n_failed, 1);
		sim->watch = NULL;
	}
}

static bool lose_all(struct sim *, struct sim_packet *)
{
	return false;
}

// An established path that dies: one steady interval, then the count starts over.
static void test_loss_of_established(void **state)
{
	static const uint64_t gaps[] = {
		1500, 500, 1000, 1500, 1500, 1500, 1500, 1500, 1500, 1500, 1500};
	struct sim *sim = *state;
	struct log log = {0};

	sim_start_both(sim);
	sim_host(sim, SIM_GATEWAY, SIM_CLIENT, "192.0.2.20:52625");
	sim_host(sim, SIM_CLIENT, SIM_GATEWAY, "192.0.2.10:40000");
	sim_run(sim, 30 * SIM_S);
	// The gateway's answers get lost from now on, and the gateway falls silent.
	sim->filter = lose_all;
	sim->n_nodes = 1;
	log.start = sim->now;
	sim->test = &log;
	sim->watch = log_send;
	sim_run(sim, 40 * SIM_S);
	assert_int_equal(log.n, 12);
	for (size_t i = 0; i < COUNT_OF(gaps); i++)
		assert_int_equal(log.sends[i + 1] - log.sends[i], gaps[i]);
	assert_int_equal(sim->nodes[SIM_CLIENT].n_failed, 1);
	sim->n_nodes = 2;
}

// Re-arming starts the burst again on every pair, and revives what was given up.
static void test_rearm(void **state)
{
	struct sim *sim = *state;
	struct ice_config config = sim_config(sim, SIM_GATEWAY);
	struct ice_agent *agent;
	struct log log = {0};

	sim_start(sim, 0, &config);
	agent = sim->nodes[0].agent;
	sim_host(sim, 0, 0, "192.0.2.20:52625");
	assert_int_equal(
		ice_agent_add_remote_text(
			agent, sim->now, "candidate:1 1 udp 2130706175 192.0.2.10 40000 typ host"),
		0);
	sim_drain(sim, 0);
	sim_run(sim, 100 * SIM_S);
	log.start = sim->now;
	sim->test = &log;
	sim->watch = log_send;
	ice_agent_rearm(agent, sim->now);
	sim_drain(sim, 0);
	sim_run(sim, 2 * SIM_S);
	assert_int_equal(log.n, 4);
	assert_int_equal(log.sends[0], 0);
	assert_int_equal(log.sends[3], 1750);
	sim->watch = NULL;
	sim_run(sim, 601 * SIM_S - 2 * SIM_S);
	assert_int_equal(ice_agent_pair_count(agent), 0);
	ice_agent_rearm(agent, sim->now);
	sim_drain(sim, 0);
	assert_int_equal(ice_agent_pair_count(agent), 1);
	sim_run(sim, 3 * SIM_S);
	assert_int_equal(sim->nodes[0].n_failed, 0);
}

// Every attempt has its own transaction id, and PRIORITY is that of a peer-reflexive candidate.
static void watch_ids(struct sim *sim, const struct sim_packet *packet)
{
	static struct stun_txid last;
	struct stun_msg msg;

	assert_int_equal(stun_msg_parse(&msg, packet->data, packet->size), 0);
	assert_memory_not_equal(&msg.txid, &last, sizeof(last));
	last = msg.txid;
	assert_int_equal(msg.priority, 1862270719);
	assert_true(stun_msg_verify(sim->mac, &msg, "gatewaypasswordgateway", 22));
	assert_int_equal(msg.username.size, 9);
	assert_memory_equal(msg.username.data, "gate:clnt", 9);
	// The order of spec/connectivity.md 2.1: USERNAME, role, PRIORITY, M-I, FINGERPRINT.
	assert_int_equal(packet->data[21], STUN_ATTR_USERNAME);
	assert_int_equal(packet->data[37], STUN_ATTR_ICE_CONTROLLING & 0xff);
	assert_int_equal(packet->data[49], STUN_ATTR_PRIORITY);
	assert_int_equal(packet->data[57], STUN_ATTR_MESSAGE_INTEGRITY);
	assert_int_equal(packet->size, 88);
}

static void test_request_bytes(void **state)
{
	struct sim *sim = *state;
	struct ice_config config = sim_config(sim, SIM_CLIENT);

	sim->watch = watch_ids;
	sim_start(sim, 0, &config);
	sim_host(sim, 0, 0, "192.0.2.10:40000");
	sim_signal(sim, 0, ICE_KIND_HOST, "192.0.2.20:52625");
	sim_run(sim, 10 * SIM_S);
	assert_true(sim->nodes[0].n_requests > 5);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_never_answered, setup, teardown),
		cmocka_unit_test_setup_teardown(test_loss_of_established, setup, teardown),
		cmocka_unit_test_setup_teardown(test_rearm, setup, teardown),
		cmocka_unit_test_setup_teardown(test_request_bytes, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
