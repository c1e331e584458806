// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "tests/unit/eal.h"
#include "tests/unit/stage/world.h"
#include "tests/unit/unit.h"

static struct world_keys connect_client(struct world *wd)
{
	struct world_keys k = world_keypair_add(wd, 0, 1, false);
	struct packet none = {0};

	world_client_send(wd, &k, &none);
	world_policy_open(wd, 0, UINT64_MAX);
	return k;
}

static void
silent(struct world *wd, struct world_keys *k, const struct packet *p, enum drop_reason r)
{
	world_client_send(wd, k, p);
	assert_int_equal(world_drops(wd, r), 1);
	world_expect_silence(wd);
}

static void
prohibited(struct world *wd, struct world_keys *k, const struct packet *p, enum drop_reason r)
{
	bool is_v4 = p->bytes[0] >> 4 == 4;
	struct packet got;

	world_client_send(wd, k, p);
	assert_int_equal(world_drops(wd, r), 1);
	assert_true(world_client_take(wd, k, &got, NULL));
	assert_int_equal(packet_u16(&got, is_v4 ? 20 : 40), is_v4 ? 0x030d : 0x0101);
	assert_memory_equal(
		got.bytes + (is_v4 ? 12 : 8), p->bytes + (is_v4 ? 16 : 24), is_v4 ? 4 : 16);
	assert_memory_equal(
		got.bytes + (is_v4 ? 16 : 24), p->bytes + (is_v4 ? 12 : 8), is_v4 ? 4 : 16);
	assert_true(packet_checksums_are_ok(got.bytes, got.size));
	world_expect_silence(wd);
}

static void malformed_is_silent(void **state)
{
	struct world *wd = *state;
	struct world_keys k = connect_client(wd);
	struct packet good = packet_udp(WORLD_CLIENT_V4, 5401, WORLD_SERVER_V4, 81, NULL, 8);
	struct packet p;

	for (size_t size = 1; size < good.size; size++) {
		p = good;
		p.size = size;
		silent(wd, &k, &p, DROP_inner_malformed);
	}
	p = good;
	p.bytes[25]++; // UDP length
	silent(wd, &k, &p, DROP_inner_malformed);
	p = good;
	p.bytes[6] = 0x20;
	silent(wd, &k, &p, DROP_ip_fragment);
}

static void the_biggest_passes(void **state)
{
	struct world *wd = *state;
	struct world_keys k = connect_client(wd);
	struct packet p = packet_udp(WORLD_CLIENT_V4, 5401, WORLD_SERVER_V4, 81, NULL, 1252), got;

	assert_int_equal(p.size, 1280);
	world_client_send(wd, &k, &p);
	assert_true(world_lan_take(wd, &got));
	p = packet_udp(WORLD_CLIENT_V4, 5401, WORLD_SERVER_V4, 81, NULL, 1253);
	silent(wd, &k, &p, DROP_inner_too_big);
	p = packet_udp(WORLD_CLIENT_V6, 5401, WORLD_SERVER_V6, 81, NULL, 1233);
	silent(wd, &k, &p, DROP_inner_too_big);
}

// Other WireGuard implementations pad to 16 bytes.
static void padding_is_cut(void **state)
{
	struct world *wd = *state;
	struct world_keys k = connect_client(wd);
	struct packet p = packet_udp(WORLD_CLIENT_V4, 5401, WORLD_SERVER_V4, 81, NULL, 9), got;
	struct packet p6 = packet_udp(WORLD_CLIENT_V6, 5401, WORLD_SERVER_V6, 81, NULL, 9);
	size_t size = p.size;

	p.size += 11;
	world_client_send(wd, &k, &p);
	assert_true(world_lan_take(wd, &got));
	assert_int_equal(got.size, size);
	size = p6.size;
	p6.size += 7;
	world_client_send(wd, &k, &p6);
	assert_true(world_lan_take(wd, &got));
	assert_int_equal(got.size, size);
}

static void multicast(void **state)
{
	struct world *wd = *state;
	struct world_keys k = connect_client(wd);
	struct packet p = packet_udp(WORLD_CLIENT_V4, 1, "224.0.0.251", 5353, NULL, 8);

	silent(wd, &k, &p, DROP_inner_multicast);
	p = packet_udp(WORLD_CLIENT_V6, 1, "ff02::fb", 5353, NULL, 8);
	silent(wd, &k, &p, DROP_inner_multicast);
}

static void p2p_control(void **state)
{
	struct world *wd = *state;
	struct world_keys k = connect_client(wd);
	struct packet p = packet_proto("::", "::", 0xff, 8), got;
	struct dp_meta meta;

	p.bytes[40] = 2; // goodbye
	world_client_send(wd, &k, &p);
	assert_true(world_punt(wd, DP_PUNT_P2P, &got, &meta));
	assert_int_equal(meta.slot, 0);
	assert_int_equal(got.size, 48);
	assert_memory_equal(got.bytes, p.bytes, 48);
	world_expect_silence(wd);
	p = packet_proto("::", "::", 0xff, 7); // too short to be control
	prohibited(wd, &k, &p, DROP_inner_spoofed);
}

static void icmp_error_from_client(void **state)
{
	struct world *wd = *state;
	struct world_keys k = connect_client(wd);
	struct packet quoted = packet_udp(WORLD_SERVER_V4, 81, WORLD_CLIENT_V4, 5401, NULL, 8);
	struct packet p = packet_icmp(WORLD_CLIENT_V4, WORLD_SERVER_V4, 3, 3, 0, quoted.bytes, 28);

	silent(wd, &k, &p, DROP_inner_icmp_error);
}

static void spoofed_source(void **state)
{
	struct world *wd = *state;
	struct world_keys k = connect_client(wd);
	struct packet p = packet_udp("100.64.0.2", 1, WORLD_SERVER_V4, 81, NULL, 8);

	prohibited(wd, &k, &p, DROP_inner_spoofed);
	p = packet_udp("fd00:2021:1111::2", 1, WORLD_SERVER_V6, 81, NULL, 8);
	prohibited(wd, &k, &p, DROP_inner_spoofed);
	p = packet_udp("192.0.2.5", 1, WORLD_SERVER_V4, 81, NULL, 8);
	prohibited(wd, &k, &p, DROP_inner_spoofed);
}

static void gateway_tunnel_address(void **state)
{
	struct world *wd = *state;
	struct world_keys k = connect_client(wd);
	struct packet p = packet_udp(WORLD_CLIENT_V4, 1, WORLD_GATEWAY_V4, 53535, NULL, 8), got;
	struct dp_meta meta;

	world_policy_set(wd, 0, NULL, 0); // needs no authorization
	world_client_send(wd, &k, &p);
	assert_true(world_punt(wd, DP_PUNT_TUN, &got, &meta));
	assert_int_equal(got.size, p.size);
	assert_memory_equal(got.bytes, p.bytes, p.size);
	assert_int_equal(meta.slot, 0);
	p = packet_echo(WORLD_CLIENT_V6, WORLD_GATEWAY_V6, false, 1, 8);
	world_client_send(wd, &k, &p);
	assert_true(world_punt(wd, DP_PUNT_TUN, &got, &meta));
	world_expect_silence(wd);
}

static void tunnel_range(void **state)
{
	struct world *wd = *state;
	struct world_keys k = connect_client(wd);
	struct packet p = packet_udp(WORLD_CLIENT_V4, 1, "100.64.0.2", 81, NULL, 8);

	prohibited(wd, &k, &p, DROP_inner_tunnel_dst);
	p = packet_udp(WORLD_CLIENT_V6, 1, "fd00:2021:1111::2", 81, NULL, 8);
	prohibited(wd, &k, &p, DROP_inner_tunnel_dst);
	// Beyond the range policy decides.
	p = packet_udp(WORLD_CLIENT_V4, 1, "100.96.0.1", 81, NULL, 8);
	prohibited(wd, &k, &p, DROP_policy_prohibited);
}

#define WORLD_TEST(name) cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WORLD_TEST(malformed_is_silent),
		WORLD_TEST(the_biggest_passes),
		WORLD_TEST(padding_is_cut),
		WORLD_TEST(multicast),
		WORLD_TEST(p2p_control),
		WORLD_TEST(icmp_error_from_client),
		WORLD_TEST(spoofed_source),
		WORLD_TEST(gateway_tunnel_address),
		WORLD_TEST(tunnel_range),
	};

	return cmocka_run_group_tests(tests, unit_eal_init, unit_eal_fini);
}
