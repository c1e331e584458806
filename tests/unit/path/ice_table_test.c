// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

// The look-up of agents: many of them, equal names, and what leaves with an agent.

#include "control/path/ice_table.h"
#include "tests/unit/path/sim.h"
#include "tests/unit/unit.h"

#include <stdio.h>
#include <stdlib.h>

#define N_CLIENTS 500
#define GATEWAY "192.0.2.20:52625"

static const uint8_t key[ICE_TABLE_KEY_SIZE] = {7};

// The gateway's agents, all in one table, and one client for each.
struct crowd {
	struct sim *sim;
	struct ice_table *table;
	struct ice_agent *gateways[N_CLIENTS];
	struct ice_agent *clients[N_CLIENTS];
	struct ip_endpoint addrs[N_CLIENTS];
};

static void start(struct crowd *crowd, unsigned i, const char *ufrags[2], const char *pwds[2])
{
	struct ice_candidate gateway = {.kind = ICE_KIND_HOST, .addr = sim_endpoint(GATEWAY)};
	struct ice_candidate client = {.kind = ICE_KIND_HOST};
	struct ice_config config = sim_config(crowd->sim, SIM_GATEWAY);
	char text[64];

	snprintf(text, sizeof(text), "198.51.%u.%u:4000", i / 200, i % 200 + 1);
	client.addr = crowd->addrs[i] = sim_endpoint(text);
	config.table = crowd->table;
	config.user = &crowd->addrs[i];
	config.local_ufrag = ufrags[0];
	config.remote_ufrag = ufrags[1];
	config.local_pwd = pwds[0];
	config.remote_pwd = pwds[1];
	crowd->gateways[i] = ice_agent_create(&config, crowd->sim->now);
	assert_non_null(crowd->gateways[i]);
	config = sim_config(crowd->sim, SIM_CLIENT);
	config.local_ufrag = ufrags[1];
	config.remote_ufrag = ufrags[0];
	config.local_pwd = pwds[1];
	config.remote_pwd = pwds[0];
	crowd->clients[i] = ice_agent_create(&config, crowd->sim->now);
	assert_non_null(crowd->clients[i]);
	assert_int_equal(
		ice_agent_add_local(crowd->gateways[i], crowd->sim->now, &gateway, false, NULL), 0);
	assert_int_equal(
		ice_agent_add_local(crowd->clients[i], crowd->sim->now, &client, false, NULL), 0);
	gateway.base = gateway.addr;
	client.base = client.addr;
	assert_int_equal(ice_agent_add_remote(crowd->clients[i], crowd->sim->now, &gateway), 0);
	assert_int_equal(ice_agent_add_remote(crowd->gateways[i], crowd->sim->now, &client), 0);
}

// Client to gateway through the table; the answers straight back.
static void exchange(struct crowd *crowd, unsigned i, bool is_from_gateway)
{
	struct ice_agent *from = is_from_gateway ? crowd->gateways[i] : crowd->clients[i], *agent;
	struct ice_transmit t;

	while (ice_agent_poll_transmit(from, &t)) {
		enum ice_rx rx;

		if (is_from_gateway) {
			rx = ice_agent_handle_packet(
				crowd->clients[i],
				crowd->sim->now,
				&t.remote,
				&t.local,
				t.data,
				t.size);
		} else {
			rx = ice_table_handle_packet(
				crowd->table,
				crowd->sim->now,
				&t.remote,
				&t.local,
				t.data,
				t.size,
				&agent);
			assert_ptr_equal(agent, crowd->gateways[i]);
			assert_ptr_equal(ice_agent_user(agent), &crowd->addrs[i]);
		}
		assert_true(rx == ICE_RX_REQUEST || rx == ICE_RX_RESPONSE);
	}
}

static void converse(struct crowd *crowd, unsigned n)
{
	for (unsigned round = 0; round < 4; round++) {
		for (unsigned i = 0; i < n; i++) {
			exchange(crowd, i, false);
			exchange(crowd, i, true);
		}
	}
	for (unsigned i = 0; i < n; i++) {
		struct ip_endpoint local, remote;

		assert_true(ice_agent_selected(crowd->gateways[i], &local, &remote));
		assert_true(ip_endpoint_eq(&remote, &crowd->addrs[i]));
		assert_true(ice_agent_selected(crowd->clients[i], &local, &remote));
	}
}

static int setup(void **state)
{
	struct crowd *crowd = calloc(1, sizeof(*crowd));

	assert_non_null(crowd);
	crowd->sim = sim_create();
	crowd->table = ice_table_create(key);
	assert_non_null(crowd->table);
	*state = crowd;
	return 0;
}

static int teardown(void **state)
{
	struct crowd *crowd = *state;

	for (unsigned i = 0; i < N_CLIENTS; i++) {
		ice_agent_destroy(crowd->gateways[i]);
		ice_agent_destroy(crowd->clients[i]);
	}
	assert_int_equal(ice_table_agent_count(crowd->table), 0);
	ice_table_destroy(crowd->table);
	ice_table_destroy(NULL);
	sim_destroy(crowd->sim);
	free(crowd);
	return 0;
}

static void test_many(void **state)
{
	struct crowd *crowd = *state;
	char ufrags[2][8], pwds[2][32];

	for (unsigned i = 0; i < N_CLIENTS; i++) {
		const char *u[2] = {ufrags[0], ufrags[1]}, *p[2] = {pwds[0], pwds[1]};

		for (unsigned side = 0; side < 2; side++) {
			snprintf(ufrags[side], sizeof(ufrags[side]), "%c%03x", "gc"[side], i);
			snprintf(pwds[side], sizeof(pwds[side]), "password%u-%u", side, i);
		}
		start(crowd, i, u, p);
	}
	assert_int_equal(ice_table_agent_count(crowd->table), N_CLIENTS);
	converse(crowd, N_CLIENTS);
	// Half of them leave; the others are still found.
	for (unsigned i = 0; i < N_CLIENTS; i += 2) {
		ice_agent_destroy(crowd->gateways[i]);
		crowd->gateways[i] = NULL;
	}
	assert_int_equal(ice_table_agent_count(crowd->table), N_CLIENTS / 2);
	crowd->sim->now += 2 * SIM_S;
	for (unsigned i = 0; i < N_CLIENTS; i++) {
		struct ice_agent *agent;
		struct ice_transmit t;

		ice_agent_handle_timeout(crowd->clients[i], crowd->sim->now);
		assert_true(ice_agent_poll_transmit(crowd->clients[i], &t));
		assert_int_equal(
			ice_table_handle_packet(
				crowd->table,
				crowd->sim->now,
				&t.remote,
				&t.local,
				t.data,
				t.size,
				&agent),
			i % 2 == 0 ? ICE_RX_UNKNOWN_USERNAME : ICE_RX_REQUEST);
		assert_ptr_equal(agent, crowd->gateways[i]);
	}
}

// Behaviour 8: three clients with the same USERNAME in both halves; the passwords differ.
static void b08_equal_ufrags_of_several_clients(void **state)
{
	struct crowd *crowd = *state;
	const char *u[2] = {"gate", "clnt"};
	const char *pwds[][2] = {{"g1", "c1"}, {"g2", "c2"}, {"g3", "c3"}};

	for (unsigned i = 0; i < COUNT_OF(pwds); i++)
		start(crowd, i, u, pwds[i]);
	converse(crowd, COUNT_OF(pwds));
}

static void test_refused(void **state)
{
	const struct stun_txid txid = {{9}};
	struct crowd *crowd = *state;
	const char *u[2] = {"gate", "clnt"}, *p[2] = {"g1", "c1"};
	struct ip_endpoint local = sim_endpoint(GATEWAY), remote = sim_endpoint("192.0.2.66:1");
	struct ice_agent *agent = (struct ice_agent *)1;
	struct stun_writer w;
	uint8_t buf[128];

	start(crowd, 0, u, p);
	assert_int_equal(
		ice_table_handle_packet(crowd->table, 0, &local, &remote, "x", 1, &agent),
		ICE_RX_NOT_STUN);
	assert_null(agent);
	for (unsigned cls = 0; cls < 4; cls++) {
		static const enum ice_rx want[] = {
			[STUN_CLASS_REQUEST] = ICE_RX_BAD_INTEGRITY,
			[STUN_CLASS_INDICATION] = ICE_RX_INDICATION,
			[STUN_CLASS_SUCCESS] = ICE_RX_UNKNOWN_TXID,
			[STUN_CLASS_ERROR] = ICE_RX_ERROR_RESPONSE,
		};

		stun_writer_init(&w, buf, sizeof(buf), cls, STUN_METHOD_BINDING, &txid);
		stun_writer_add(&w, STUN_ATTR_USERNAME, "gate:clnt", 9);
		stun_writer_add_u32(&w, STUN_ATTR_PRIORITY, 1);
		stun_writer_add_integrity(&w, crowd->sim->mac, "no", 2);
		assert_int_equal(
			ice_table_handle_packet(
				crowd->table,
				crowd->sim->now,
				&local,
				&remote,
				buf,
				(size_t)stun_writer_finish(&w),
				&agent),
			want[cls]);
		assert_null(agent);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_many, setup, teardown),
		cmocka_unit_test_setup_teardown(
			b08_equal_ufrags_of_several_clients, setup, teardown),
		cmocka_unit_test_setup_teardown(test_refused, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
