// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "tests/unit/eal.h"
#include "tests/unit/stage/world.h"
#include "tests/unit/unit.h"

static const uint8_t silent_mac[6] = {2, 0, 0, 0, 0, 0x66};

static struct world_keys connect_client(struct world *wd)
{
	struct world_keys k = world_keypair_add(wd, 0, 1, false);
	struct packet none = {0};
	struct dp_event e;

	world_client_send(wd, &k, &none);
	world_policy_open(wd, 0, UINT64_MAX);
	while (world_event(wd, &e))
		;
	return k;
}

static struct packet to_silent(uint16_t sport)
{
	return packet_udp(WORLD_CLIENT_V4, sport, WORLD_SILENT_V4, 81, NULL, 8);
}

static void expect_resolve(struct world *wd)
{
	struct dp_event e;
	char text[IP_TEXT_SIZE];

	assert_true(world_event(wd, &e));
	assert_int_equal(e.type, DP_EVENT_RESOLVE);
	assert_string_equal(ip_addr_format(&e.resolve.addr, text), WORLD_SILENT_V4);
	assert_int_equal(e.resolve.port_id, dp_port_id(wd->dp, WORLD_LAN));
}

static void held_until_resolved(void **state)
{
	struct world *wd = *state;
	struct world_keys k = connect_client(wd);
	struct packet p, frame;
	struct dp_event e;

	for (uint16_t i = 0; i < 3; i++) {
		p = to_silent((uint16_t)(25000 + i));
		world_client_send(wd, &k, &p);
	}
	world_expect_silence(wd);
	expect_resolve(wd);
	assert_false(world_event(wd, &e)); // asked once
	world_wait(wd, 1.1);
	expect_resolve(wd); // reminded
	world_fib_set(wd, NULL, false); // some other change
	world_run(wd);
	world_expect_silence(wd);
	world_fib_set(wd, silent_mac, false);
	world_run(wd);
	for (uint16_t i = 0; i < 3; i++) { // in order
		assert_true(world_take(wd, WORLD_LAN, &frame));
		assert_memory_equal(frame.bytes, silent_mac, 6);
		assert_int_equal(packet_u16(&frame, 34), 25000 + i);
		assert_true(packet_checksums_are_ok(frame.bytes + 14, frame.size - 14));
	}
	world_expect_silence(wd);
}

static void expect_host_unreachable(struct world *wd, const struct world_keys *k)
{
	struct packet got;

	assert_true(world_client_take(wd, k, &got, NULL));
	assert_int_equal(packet_u16(&got, 20), 0x0301);
	assert_true(packet_is_from(&got, WORLD_SILENT_V4));
	// The quote is what the client sent, not what NAT made of it.
	assert_memory_equal(got.bytes + 28 + 12, got.bytes + 16, 4);
	assert_int_equal(packet_u16(&got, 28 + 20), 25000);
}

static void times_out(void **state)
{
	struct world *wd = *state;
	struct world_keys k = connect_client(wd);
	struct packet p = to_silent(25000);

	world_client_send(wd, &k, &p);
	world_wait(wd, 2.9);
	world_expect_silence(wd);
	world_wait(wd, 0.2);
	assert_int_equal(world_drops(wd, DROP_neigh_timeout), 1);
	expect_host_unreachable(wd, &k);
	world_expect_silence(wd);
}

static void kernel_gives_up(void **state)
{
	struct world *wd = *state;
	struct world_keys k = connect_client(wd);
	struct packet p = to_silent(25000);
	struct dp_event e;

	world_client_send(wd, &k, &p);
	expect_resolve(wd);
	world_fib_set(wd, NULL, true);
	world_run(wd);
	assert_int_equal(world_drops(wd, DROP_neigh_failed), 1);
	expect_host_unreachable(wd, &k);
	// Later packets fail at once and let the kernel try again, not for each of them.
	while (world_event(wd, &e))
		;
	wd->now += wd->w->tsc_hz;
	for (unsigned i = 0; i < 10; i++)
		world_client_send(wd, &k, &p);
	assert_int_equal(world_drops(wd, DROP_neigh_failed), 10);
	expect_resolve(wd);
	assert_false(world_event(wd, &e));
}

static void revoked_while_held(void **state)
{
	struct world *wd = *state;
	struct world_keys k = connect_client(wd);
	struct packet p = to_silent(25000), got;

	world_client_send(wd, &k, &p);
	world_policy_set(wd, 0, NULL, 0);
	world_fib_set(wd, silent_mac, false);
	world_run(wd);
	assert_int_equal(world_drops(wd, DROP_policy_prohibited), 1);
	assert_true(world_client_take(wd, &k, &got, NULL));
	assert_int_equal(packet_u16(&got, 20), 0x030d);
	world_expect_silence(wd);
}

static void one_hop_cannot_fill_the_queue(void **state)
{
	struct world *wd = *state;
	struct world_keys k = connect_client(wd);
	struct packet p = to_silent(25000), frame;
	unsigned n = 0;

	for (unsigned i = 0; i < HOLD_PER_HOP + 5; i++)
		world_client_send(wd, &k, &p);
	assert_int_equal(world_drops(wd, DROP_neigh_hold_full), 5);
	assert_int_equal(wd->w->hold.n, HOLD_PER_HOP);
	world_fib_set(wd, silent_mac, false);
	world_run(wd);
	while (world_take(wd, WORLD_LAN, &frame))
		n++;
	assert_int_equal(n, HOLD_PER_HOP);
}

static void client_gone_while_held(void **state)
{
	struct world *wd = *state;
	struct world_keys k = connect_client(wd);
	struct packet p = to_silent(25000);
	const struct dp_cmd del = {.type = DP_CMD_CLIENT_DEL};

	world_client_send(wd, &k, &p);
	assert_int_equal(dp_cmd_send(wd->dp, &del), 0);
	world_run(wd);
	assert_int_equal(wd->w->hold.n, 0);
	world_fib_set(wd, silent_mac, false);
	world_run(wd);
	world_expect_silence(wd);
}

// The way to a client may wait for its next hop as well.
static void outer_packets_wait_too(void **state)
{
	struct world *wd = *state;
	struct world_keys k = connect_client(wd);
	struct dp_cmd path = {.type = DP_CMD_PATH_SET};
	struct packet p = packet_udp(WORLD_CLIENT_V4, 25000, WORLD_SERVER_V4, 81, NULL, 8), frame;
	struct packet back = packet_udp(WORLD_SERVER_V4, 81, WORLD_LAN_V4, 25000, NULL, 8);

	assert_int_equal(ip_endpoint_parse(&path.path_set.local, WORLD_LAN_V4 ":52625"), 0);
	assert_int_equal(ip_endpoint_parse(&path.path_set.remote, WORLD_SILENT_V4 ":40000"), 0);
	world_client_send(wd, &k, &p);
	assert_true(world_lan_take(wd, &frame));
	assert_int_equal(dp_cmd_send(wd->dp, &path), 0);
	world_run(wd);
	world_lan_send(wd, &back);
	world_expect_silence(wd);
	expect_resolve(wd);
	world_fib_set(wd, silent_mac, false);
	world_run(wd);
	for (unsigned i = 0; i < 2; i++) {
		assert_true(world_take(wd, WORLD_LAN, &frame));
		assert_memory_equal(frame.bytes, silent_mac, 6);
		assert_int_equal(frame.size, 14 + 20 + 8 + 32 + back.size);
		world_lan_send(wd, &back);
	}
}

#define WORLD_TEST(name) cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WORLD_TEST(held_until_resolved),
		WORLD_TEST(times_out),
		WORLD_TEST(kernel_gives_up),
		WORLD_TEST(revoked_while_held),
		WORLD_TEST(one_hop_cannot_fill_the_queue),
		WORLD_TEST(client_gone_while_held),
		WORLD_TEST(outer_packets_wait_too),
	};

	return cmocka_run_group_tests(tests, unit_eal_init, unit_eal_fini);
}
