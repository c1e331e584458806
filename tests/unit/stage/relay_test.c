// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "tests/unit/eal.h"
#include "tests/unit/stage/world.h"
#include "tests/unit/unit.h"

// A client behind a TURN relay: ChannelData around everything, both ways.

static struct world_keys connect_client(struct world *wd)
{
	struct world_keys k = world_keypair_add(wd, 0, 1, false);
	struct packet none = {0};

	world_client_send(wd, &k, &none);
	world_policy_open(wd, 0, UINT64_MAX);
	return k;
}

// Every size of a datagram, odd ones too: no padding, and IPv6 has its UDP checksum.
static void b40_b58_both_ways(void **state)
{
	struct world *wd = *state;
	struct world_keys k = connect_client(wd);
	uint8_t data[1252];

	memset(data, 0x5a, sizeof(data));
	for (size_t size = 0; size <= sizeof(data); size += size < 40 ? 1 : 101) {
		struct packet out =
			packet_udp(WORLD_CLIENT_V4, 25000, WORLD_SERVER_V4, 7, data, size);
		struct packet back =
			packet_udp(WORLD_SERVER_V4, 7, WORLD_LAN_V4, 25000, data, size);
		struct packet got, outer;

		world_client_send(wd, &k, &out);
		assert_true(world_lan_take(wd, &got));
		assert_int_equal(got.size, out.size);
		world_lan_send(wd, &back);
		assert_true(world_client_take(wd, &k, &got, &outer));
		assert_int_equal(got.size, back.size);
		assert_int_equal(outer.size, (wd->is_path_v6 ? 40 : 20) + 8 + 4 + 32 + back.size);
		world_expect_silence(wd);
	}
}

static void b62_ecn_passes(void **state)
{
	struct world *wd = *state;
	struct world_keys k = connect_client(wd);
	struct packet out = packet_udp(WORLD_CLIENT_V4, 25000, WORLD_SERVER_V4, 7, NULL, 9);
	struct packet back = packet_udp(WORLD_SERVER_V4, 7, WORLD_LAN_V4, 25000, NULL, 9);
	struct packet got, outer;

	world_client_send(wd, &k, &out);
	assert_true(world_lan_take(wd, &got));
	packet_ecn_set(&back, 3);
	world_lan_send(wd, &back);
	assert_true(world_client_take(wd, &k, &got, &outer));
	assert_int_equal(packet_ecn(&outer), 3);
}

// The answer to a refused packet is built where the packet was, and needs the most headroom.
static void icmp_answer_fits(void **state)
{
	struct world *wd = *state;
	struct world_keys k = connect_client(wd);
	struct packet out = packet_udp(WORLD_CLIENT_V6, 25000, "2001:db8:77::1", 7, NULL, 1200);
	struct packet got;

	world_client_send(wd, &k, &out);
	assert_int_equal(world_drops(wd, DROP_policy_prohibited), 1);
	assert_true(world_client_take(wd, &k, &got, NULL));
	assert_int_equal(got.bytes[40], 1);
	assert_int_equal(got.bytes[41], 1);
}

static void put(struct world *wd, uint32_t slot, const void *payload, size_t size)
{
	struct packet frame = world_outer(wd, slot, payload, size);

	world_wan_put(wd, &frame);
	world_run(wd);
}

static void framing(void **state)
{
	struct world *wd = *state;
	struct world_keys k = connect_client(wd);
	struct packet p = packet_udp(WORLD_CLIENT_V4, 25000, WORLD_SERVER_V4, 7, NULL, 5), got;
	uint8_t msg[PACKET_MAX] = {0x4a, 0xbc};
	size_t size = 4 + world_seal(&k, p.bytes, p.size, msg + 4);

	// The length says what is there, neither padding nor less.
	for (size_t said = 0; said < size + 8; said++) {
		if (said == size - 4)
			continue;
		msg[2] = (uint8_t)(said >> 8);
		msg[3] = (uint8_t)said;
		put(wd, 0, msg, size);
		assert_int_equal(world_drops(wd, DROP_relay_framing), 1);
	}
	msg[2] = (uint8_t)((size - 4) >> 8);
	msg[3] = (uint8_t)(size - 4);
	for (size_t cut = 4; cut < size; cut++) {
		put(wd, 0, msg, cut);
		assert_int_equal(world_drops(wd, DROP_relay_framing), 1);
	}
	for (size_t cut = 1; cut < 4; cut++) {
		put(wd, 0, msg, cut);
		assert_int_equal(world_drops(wd, DROP_rx_unknown_type), 1);
	}
	put(wd, 0, msg, size);
	assert_true(world_lan_take(wd, &got));
	// Numbers beyond 0x4fff are no channels.
	msg[0] = 0x50;
	put(wd, 0, msg, size);
	assert_int_equal(world_drops(wd, DROP_rx_unknown_type), 1);
	world_expect_silence(wd);
}

static void short_data_inside(void **state)
{
	struct world *wd = *state;
	uint8_t msg[4 + 31] = {0x4a, 0xbc, 0, 0, 4};

	for (uint8_t size = 4; size < 32; size++) {
		msg[3] = size;
		put(wd, 0, msg, 4u + size);
		assert_int_equal(world_drops(wd, DROP_wg_short), 1);
	}
}

static void relays_are_known_by_address_and_port(void **state)
{
	struct world *wd = *state;
	struct world_keys k = connect_client(wd);
	struct packet p = packet_udp(WORLD_CLIENT_V4, 25000, WORLD_SERVER_V4, 7, NULL, 5), got;
	uint8_t msg[PACKET_MAX] = {0x40, 1};
	size_t size = world_seal(&k, p.bytes, p.size, msg + 4);
	struct ip_endpoint other[DP_RELAYS_MAX + 1] = {0};
	const char *relay = wd->is_path_v6 ? "[2001:db8:9::7]:40000" : "198.51.100.7:40000";
	const char *port = wd->is_path_v6 ? "[2001:db8:9::7]:3478" : "198.51.100.7:3478";

	msg[3] = (uint8_t)size;
	put(wd, 1, msg, 4 + size); // another address
	assert_int_equal(world_drops(wd, DROP_relay_unknown), 1);
	assert_int_equal(ip_endpoint_parse(&other[0], port), 0);
	dp_relays_set(wd->dp, other, 1);
	put(wd, 0, msg, 4 + size);
	assert_int_equal(world_drops(wd, DROP_relay_unknown), 1);
	dp_relays_set(wd->dp, NULL, 0);
	put(wd, 0, msg, 4 + size);
	assert_int_equal(world_drops(wd, DROP_relay_unknown), 1);
	// One more than fits is left out, the last that fits is not.
	assert_int_equal(ip_endpoint_parse(&other[DP_RELAYS_MAX], relay), 0);
	dp_relays_set(wd->dp, other, COUNT_OF(other));
	put(wd, 0, msg, 4 + size);
	assert_int_equal(world_drops(wd, DROP_relay_unknown), 1);
	other[DP_RELAYS_MAX - 1] = other[DP_RELAYS_MAX];
	dp_relays_set(wd->dp, other, COUNT_OF(other));
	put(wd, 0, msg, 4 + size);
	assert_true(world_lan_take(wd, &got));
}

static void expect_punt(struct world *wd, enum dp_punt class_, const uint8_t *payload, size_t size)
{
	struct packet got;
	struct dp_meta meta;

	assert_true(world_punt(wd, class_, &got, &meta));
	assert_int_equal(meta.payload_size, size);
	assert_memory_equal(got.bytes + meta.payload_offset, payload, size);
	world_expect_silence(wd);
}

// What is not data is control's, with the frame around it: only control knows the peers.
static void the_rest_is_punted_whole(void **state)
{
	struct world *wd = *state;
	uint8_t stun[24] = {0x4f, 0xff, 0, 20, 0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42};
	uint8_t bare[20] = {1, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42};
	uint8_t init[152] = {0x40, 0, 0, 148, 1};
	uint8_t junk[5] = {0x40, 0, 0, 1, 0xff};
	uint8_t empty[4] = {0x40, 0, 0, 0};

	put(wd, 0, stun, sizeof(stun));
	expect_punt(wd, DP_PUNT_STUN, stun, sizeof(stun));
	put(wd, 0, bare, sizeof(bare));
	expect_punt(wd, DP_PUNT_STUN, bare, sizeof(bare));
	put(wd, 0, init, sizeof(init));
	expect_punt(wd, DP_PUNT_HANDSHAKE, init, sizeof(init));
	put(wd, 0, junk, sizeof(junk));
	expect_punt(wd, DP_PUNT_STUN, junk, sizeof(junk));
	put(wd, 0, empty, sizeof(empty));
	expect_punt(wd, DP_PUNT_STUN, empty, sizeof(empty));
}

#define RELAY_TESTS(name)                                                                          \
	cmocka_unit_test_setup_teardown(name, world_setup_relayed, world_teardown),                \
		cmocka_unit_test_setup_teardown(name, world_setup_relayed_v6, world_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		RELAY_TESTS(b40_b58_both_ways),
		RELAY_TESTS(b62_ecn_passes),
		RELAY_TESTS(icmp_answer_fits),
		RELAY_TESTS(framing),
		RELAY_TESTS(short_data_inside),
		RELAY_TESTS(relays_are_known_by_address_and_port),
		RELAY_TESTS(the_rest_is_punted_whole),
	};

	return cmocka_run_group_tests(tests, unit_eal_init, unit_eal_fini);
}
