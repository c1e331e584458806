// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "control/path/relays.h"
#include "tests/unit/path/relay_sim.h"
#include "tests/unit/unit.h"

#include <errno.h>
#include <string.h>

#define LOCAL_V4 "10.0.0.2:52625"
#define LOCAL_V6 "[2001:db8:1::2]:52625"

static struct rsim *one_node(unsigned n_relays)
{
	const char *v4[] = {"198.51.100.5", "198.51.100.6", "198.51.100.7", "198.51.100.8"};
	const char *v6[] = {"2001:db8:5::5", "2001:db8:5::6", "2001:db8:5::7", "2001:db8:5::8"};
	struct rsim *sim = rsim_create();

	for (unsigned i = 0; i < n_relays; i++)
		rsim_relay(sim, v4[i], v6[i]);
	rsim_node(sim, 0, LOCAL_V4, LOCAL_V6, NULL);
	return sim;
}

static unsigned event_count(const struct rsim *sim, enum relays_event_type type)
{
	return sim->nodes[0].events[type];
}

static void test_entries_of_one_id_are_one_relay(void **)
{
	struct rsim *sim = one_node(2);
	struct relays *relays = sim->nodes[0].relays;

	assert_int_equal(relays_pick(relays), RELAYS_NONE);
	rsim_list(sim, 0, 3);
	assert_int_equal(relays_count(relays), 2);
	rsim_run(sim, RSIM_S);
	assert_int_equal(sim->relays[0].n_binding, 2);
	assert_int_equal(event_count(sim, RELAYS_EVENT_USABLE), 2);
	// Listed again: nothing happens.
	rsim_list(sim, 0, 3);
	rsim_run(sim, RSIM_S);
	assert_int_equal(sim->relays[0].n_binding, 2);
	assert_int_equal(sim->relays[0].n_refresh, 0);
	assert_int_equal(event_count(sim, RELAYS_EVENT_WITHDRAWN), 0);
	rsim_destroy(sim);
}

static void test_bad_entries_are_skipped(void **)
{
	struct rsim *sim = one_node(1);
	struct relays_entry entries[3];
	char text[TURN_TEXT_LEN_MAX + 2];

	memset(text, 'a', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	rsim_entries(sim, 0, 1, entries);
	entries[0].username = text;
	entries[1].endpoint.port = 0;
	entries[2] = entries[1];
	entries[2].password = NULL;
	assert_int_equal(relays_apply(sim->nodes[0].relays, sim->now, NULL, 0, entries, 3), 0);
	rsim_drain(sim, 0);
	assert_int_equal(event_count(sim, RELAYS_EVENT_EMPTY), 0);
	rsim_destroy(sim);
}

// Item 44.
static void b44_other_credentials_replace_the_relay(void **)
{
	struct rsim *sim = one_node(1);
	struct rsim_node *n = &sim->nodes[0];
	uint32_t before, after;

	rsim_list(sim, 0, 1);
	rsim_run(sim, RSIM_S);
	before = relays_pick(n->relays);
	double_credentials(&sim->relays[0], "2145916800:other", "pw");
	rsim_list(sim, 0, 1);
	assert_int_equal(event_count(sim, RELAYS_EVENT_WITHDRAWN), 2);
	assert_int_equal(event_count(sim, RELAYS_EVENT_LOST), 1);
	assert_int_equal(event_count(sim, RELAYS_EVENT_EMPTY), 0);
	rsim_run(sim, RSIM_S);
	after = relays_pick(n->relays);
	assert_int_not_equal(after, RELAYS_NONE);
	assert_int_not_equal(after, before);
	assert_null(relays_allocation(n->relays, before));
	assert_non_null(relays_allocation(n->relays, after));
	rsim_destroy(sim);
}

// Item 45.
static void b45_unlisted_relay_is_probed(void **)
{
	struct rsim *sim = one_node(2);

	rsim_list(sim, 0, 3);
	rsim_run(sim, RSIM_S);
	rsim_list(sim, 0, 1);
	rsim_run(sim, 2 * RSIM_S);
	assert_int_equal(sim->relays[0].n_refresh, 0);
	assert_int_equal(sim->relays[1].n_refresh, 1);
	assert_int_equal(event_count(sim, RELAYS_EVENT_LOST), 0);
	assert_int_equal(relays_count(sim->nodes[0].relays), 2);
	sim->relays[1].is_dead = true;
	rsim_list(sim, 0, 1);
	rsim_run(sim, 2 * RSIM_S);
	assert_int_equal(event_count(sim, RELAYS_EVENT_LOST), 1);
	assert_int_equal(event_count(sim, RELAYS_EVENT_WITHDRAWN), 2);
	assert_int_equal(relays_count(sim->nodes[0].relays), 2);
	// It is back, and listed: it starts over at once.
	sim->relays[1].is_dead = false;
	rsim_list(sim, 0, 3);
	rsim_run(sim, RSIM_S);
	assert_int_equal(event_count(sim, RELAYS_EVENT_USABLE), 3);
	rsim_destroy(sim);
}

static void b44_restarted_relay_has_another_id(void **)
{
	struct rsim *sim = one_node(1);
	struct relays_entry entries[2];
	size_t n;

	rsim_list(sim, 0, 1);
	rsim_run(sim, RSIM_S);
	double_forget(&sim->relays[0]);
	n = rsim_entries(sim, 0, 77, entries);
	assert_int_equal(relays_apply(sim->nodes[0].relays, sim->now, NULL, 0, entries, n), 1);
	rsim_drain(sim, 0);
	rsim_run(sim, RSIM_S);
	assert_int_equal(event_count(sim, RELAYS_EVENT_LOST), 1);
	assert_int_equal(event_count(sim, RELAYS_EVENT_USABLE), 2);
	rsim_destroy(sim);
}

// Item 37, and a relay that never answers.
static void b37_wrong_credentials_of_the_last_relay(void **)
{
	struct rsim *sim = one_node(2);

	sim->relays[0].is_dead = true;
	sim->relays[1].fail_method = STUN_METHOD_REFRESH;
	sim->relays[1].fail_code = 401;
	sim->relays[1].fail_times = 1;
	rsim_list(sim, 0, 3);
	rsim_run(sim, 9 * RSIM_S);
	assert_int_equal(relays_count(sim->nodes[0].relays), 1);
	assert_int_equal(event_count(sim, RELAYS_EVENT_LOST), 1);
	assert_int_equal(sim->nodes[0].failure, TURN_FAILURE_NO_RESPONSE);
	assert_int_equal(event_count(sim, RELAYS_EVENT_EMPTY), 0);
	rsim_run(sim, 300 * RSIM_S);
	assert_int_equal(relays_count(sim->nodes[0].relays), 0);
	assert_int_equal(sim->nodes[0].failure, TURN_FAILURE_AUTHENTICATION);
	assert_int_equal(event_count(sim, RELAYS_EVENT_EMPTY), 1);
	assert_int_equal(relays_next_deadline(sim->nodes[0].relays), TURN_DEADLINE_NONE);
	rsim_destroy(sim);
}

static enum turn_rx deliver(struct rsim *sim, const char *remote, const void *data, size_t size)
{
	struct ip_endpoint local = rsim_endpoint(LOCAL_V4), from = rsim_endpoint(remote);
	struct turn_data out;
	uint32_t relay;

	return relays_handle_packet(
		sim->nodes[0].relays, sim->now, &local, &from, data, size, &relay, &out);
}

// Item 47.
static void b47_port_3478_is_not_always_a_relay(void **)
{
	const uint8_t frame[4] = {0x40, 0, 0, 0}, wireguard[32] = {4};
	struct rsim *sim = one_node(1);
	uint8_t stun[20] = {0x01, 0x01, 0, 0, 0x21, 0x12, 0xa4, 0x42};
	struct ip_endpoint remote = rsim_endpoint("198.51.100.5:3478");

	rsim_list(sim, 0, 1);
	rsim_run(sim, RSIM_S);
	assert_true(relays_is_relay(sim->nodes[0].relays, &remote));
	assert_int_equal(deliver(sim, "198.51.100.5:3478", frame, 4), TURN_RX_UNKNOWN_CHANNEL);
	assert_int_equal(deliver(sim, "203.0.113.7:3478", frame, 4), TURN_RX_NOT_FROM_RELAY);
	assert_int_equal(deliver(sim, "203.0.113.7:3478", stun, 20), TURN_RX_NOT_FROM_RELAY);
	rsim_unlist(sim, 0, 1);
	assert_false(relays_is_relay(sim->nodes[0].relays, &remote));
	assert_int_equal(deliver(sim, "198.51.100.5:3478", frame, 4), TURN_RX_FORMER_RELAY);
	assert_int_equal(deliver(sim, "198.51.100.5:3478", stun, 20), TURN_RX_FORMER_RELAY);
	assert_int_equal(deliver(sim, "198.51.100.5:3478", wireguard, 32), TURN_RX_NOT_FROM_RELAY);
	assert_int_equal(deliver(sim, "198.51.100.5:3479", frame, 4), TURN_RX_NOT_FROM_RELAY);
	rsim_destroy(sim);
}

// How often each of the relays is chosen out of 400 times.
static void count_choices(struct rsim *sim, unsigned counts[RSIM_RELAYS_MAX])
{
	struct relays *relays = sim->nodes[0].relays;
	uint32_t first = relays_pick(relays);

	memset(counts, 0, RSIM_RELAYS_MAX * sizeof(counts[0]));
	for (unsigned i = 1; i < RSIM_RELAYS_MAX + 1; i++) {
		if (relays_allocation(relays, i) != NULL)
			first = i < first ? i : first;
	}
	for (unsigned i = 0; i < 400; i++)
		counts[relays_pick(relays) - first]++;
}

// spec/connectivity.md 3.7.
static void test_near_relays_are_chosen(void **)
{
	unsigned counts[RSIM_RELAYS_MAX];
	struct rsim *sim = one_node(2);

	// Round trips 10 and 14 ms: both; 10 and 30 ms: only the first.
	sim->delays[1] = 2 * RSIM_MS;
	rsim_list(sim, 0, 3);
	rsim_run(sim, RSIM_S);
	count_choices(sim, counts);
	assert_true(counts[0] > 100 && counts[1] > 100);
	rsim_destroy(sim);
	sim = one_node(2);
	sim->delays[1] = 10 * RSIM_MS;
	rsim_list(sim, 0, 3);
	rsim_run(sim, RSIM_S);
	count_choices(sim, counts);
	assert_int_equal(counts[0], 400);
	rsim_destroy(sim);
	// 10, 12, 14 and 60 ms: median 13, deviation at least 2, limit 19.
	sim = one_node(4);
	sim->delays[1] = 1 * RSIM_MS;
	sim->delays[2] = 2 * RSIM_MS;
	sim->delays[3] = 25 * RSIM_MS;
	rsim_list(sim, 0, 15);
	rsim_run(sim, RSIM_S);
	count_choices(sim, counts);
	for (unsigned i = 0; i < 3; i++)
		assert_true(counts[i] > 80);
	assert_int_equal(counts[3], 0);
	rsim_destroy(sim);
}

static void test_candidates_of_a_connection(void **)
{
	struct rsim *sim = one_node(2);
	struct relays *relays = sim->nodes[0].relays;
	struct turn_event all[16];
	uint32_t relay;
	size_t n;

	rsim_list(sim, 0, 3);
	rsim_run(sim, RSIM_S);
	relay = relays_pick(relays);
	// Host and server-reflexive ones are the same from both relays, relay ones only from the chosen.
	n = relays_candidates(relays, relay, all, 16);
	assert_int_equal(n, 6);
	for (size_t i = 0; i < n; i++) {
		bool is_relay = all[i].candidate.kind == ICE_KIND_RELAY;

		assert_int_equal(is_relay, i >= 4);
		assert_int_equal(
			relays_find_relayed(relays, &all[i].candidate.base),
			is_relay ? relay : RELAYS_NONE);
	}
	assert_int_equal(relays_candidates(relays, relay, all, 2), 2);
	assert_int_equal(relays_candidates(relays, RELAYS_NONE, all, 16), 4);
	rsim_destroy(sim);
}

static void test_channels_and_routes(void **)
{
	struct rsim *sim = one_node(1);
	struct relays *relays = sim->nodes[0].relays;
	struct ice_candidate remote = {.addr = rsim_endpoint("203.0.113.7:1000")};
	const enum ice_kind kinds[] = {ICE_KIND_SRFLX, ICE_KIND_RELAY, ICE_KIND_PRFLX};
	struct ip_endpoint base, local = rsim_endpoint(LOCAL_V4);
	struct turn_route route;
	uint32_t relay;

	rsim_list(sim, 0, 1);
	rsim_run(sim, RSIM_S);
	relay = relays_pick(relays);
	assert_true(turn_allocation_relayed(relays_allocation(relays, relay), IP_FAMILY_V4, &base));
	for (size_t i = 0; i < 3; i++) {
		remote.kind = kinds[i];
		remote.addr.port = (uint16_t)(1000 + i);
		relays_want_channel(relays, sim->now, relay, &remote);
	}
	remote.kind = ICE_KIND_HOST;
	remote.addr.port = 2000;
	relays_want_channel(relays, sim->now, relay, &remote);
	relays_want_channel(relays, sim->now, RELAYS_NONE, &remote);
	rsim_drain(sim, 0);
	rsim_run(sim, RSIM_S);
	assert_int_equal(event_count(sim, RELAYS_EVENT_CHANNEL_UP), 3);
	remote.addr.port = 1001;
	assert_int_equal(relays_route(relays, sim->now, &base, &remote.addr, &route), 0);
	assert_int_equal(route.channel, 0x4001);
	assert_true(ip_endpoint_eq(&route.local, &local));
	assert_int_equal(
		relays_route(relays, sim->now, &local, &remote.addr, &route), -EADDRNOTAVAIL);
	assert_int_equal(
		relays_send(relays, sim->now, &local, &remote.addr, "x", 1), RELAYS_SEND_DIRECT);
	assert_int_equal(
		relays_send(relays, sim->now, &base, &remote.addr, "x", 1), RELAYS_SEND_RELAYED);
	// A host candidate gets its channel when something is sent there.
	remote.addr.port = 2000;
	assert_int_equal(
		relays_send(relays, sim->now, &base, &remote.addr, "x", 1), RELAYS_SEND_DROPPED);
	assert_int_equal(
		relays_send(relays, sim->now, &base, &remote.addr, "x", 1), RELAYS_SEND_RELAYED);
	rsim_destroy(sim);
}

static void test_restart_and_release(void **)
{
	const struct ip_endpoint none = {.port = 0};
	struct rsim *sim = one_node(1);
	struct rsim_node *n = &sim->nodes[0];
	uint32_t relay;

	rsim_list(sim, 0, 1);
	rsim_run(sim, RSIM_S);
	relay = relays_pick(n->relays);
	n->locals[0] = rsim_endpoint("10.9.0.2:40000");
	relays_restart(n->relays, sim->now, &n->locals[0], &none);
	rsim_drain(sim, 0);
	assert_int_equal(event_count(sim, RELAYS_EVENT_WITHDRAWN), 2);
	assert_int_equal(event_count(sim, RELAYS_EVENT_LOST), 0);
	rsim_run(sim, RSIM_S);
	assert_int_equal(relays_pick(n->relays), relay);
	relays_release(n->relays, sim->now);
	rsim_drain(sim, 0);
	rsim_run(sim, RSIM_S);
	assert_int_equal(sim->relays[0].n_delete, 1);
	rsim_destroy(sim);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_entries_of_one_id_are_one_relay),
		cmocka_unit_test(test_bad_entries_are_skipped),
		cmocka_unit_test(b44_other_credentials_replace_the_relay),
		cmocka_unit_test(b45_unlisted_relay_is_probed),
		cmocka_unit_test(b44_restarted_relay_has_another_id),
		cmocka_unit_test(b37_wrong_credentials_of_the_last_relay),
		cmocka_unit_test(b47_port_3478_is_not_always_a_relay),
		cmocka_unit_test(test_near_relays_are_chosen),
		cmocka_unit_test(test_candidates_of_a_connection),
		cmocka_unit_test(test_channels_and_routes),
		cmocka_unit_test(test_restart_and_release),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
