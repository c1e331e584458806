// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "tests/unit/eal.h"
#include "tests/unit/stage/world.h"
#include "tests/unit/unit.h"

static void wan_send(struct world *wd, const struct packet *frame)
{
	world_wan_put(wd, frame);
	world_run(wd);
}

static void payload_send(struct world *wd, const void *payload, size_t size)
{
	struct packet frame = world_outer(wd, 0, payload, size);

	wan_send(wd, &frame);
}

static void expect_punt(struct world *wd, enum dp_punt class_, const uint8_t *payload, size_t size)
{
	struct packet got;
	struct dp_meta meta;

	assert_true(world_punt(wd, class_, &got, &meta));
	assert_int_equal(meta.port_id, dp_port_id(wd->dp, WORLD_WAN));
	assert_int_equal(meta.l3_offset, 14);
	assert_int_equal(meta.payload_size, size);
	assert_memory_equal(got.bytes + meta.payload_offset, payload, size);
	world_expect_silence(wd);
}

static void handshakes(void **state)
{
	static const struct {
		uint8_t type;
		size_t size;
	} rows[] = {{1, 148}, {2, 92}, {3, 64}};

	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		uint8_t msg[148] = {rows[i].type};

		msg[rows[i].size - 1] = 0x77;
		payload_send(*state, msg, rows[i].size);
		expect_punt(*state, DP_PUNT_HANDSHAKE, msg, rows[i].size);
	}
}

static void stun(void **state)
{
	uint8_t msg[20] = {0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42, 1, 2, 3};

	payload_send(*state, msg, sizeof(msg));
	expect_punt(*state, DP_PUNT_STUN, msg, sizeof(msg));
}

static void datagrams_of_no_protocol(void **state)
{
	struct world *wd = *state;
	uint8_t junk[64];

	memset(junk, 0xff, sizeof(junk));
	for (size_t size = 0; size < sizeof(junk); size++)
		payload_send(wd, junk, size);
	assert_int_equal(world_drops(wd, DROP_rx_unknown_type), sizeof(junk));
	memset(junk, 0, sizeof(junk)); // no magic cookie
	payload_send(wd, junk, sizeof(junk));
	junk[0] = 4;
	junk[1] = 1; // reserved bits
	payload_send(wd, junk, sizeof(junk));
	assert_int_equal(world_drops(wd, DROP_rx_unknown_type), 2);
}

static void host_traffic(void **state)
{
	struct world *wd = *state;
	struct packet arp = {.size = 60}, got, ip, frame;
	struct dp_meta meta;
	static const uint8_t group4[6] = {1, 0, 0x5e, 0, 0, 0xfb};
	static const uint8_t group6[6] = {0x33, 0x33, 0, 0, 0, 1};

	memset(arp.bytes, 0xff, 6);
	arp.bytes[12] = 8;
	arp.bytes[13] = 6;
	wan_send(wd, &arp);
	assert_true(world_punt(wd, DP_PUNT_HOST, &got, &meta));
	assert_int_equal(got.size, 60);
	ip = packet_udp("203.0.113.9", 5353, "224.0.0.251", 5353, NULL, 8);
	frame = packet_ether(group4, group4, &ip);
	wan_send(wd, &frame);
	assert_true(world_punt(wd, DP_PUNT_HOST, &got, &meta));
	ip = packet_icmp("2001:db8:1::fe", "ff02::1:ff00:1", 135, 0, 0, NULL, 16);
	frame = packet_ether(group6, group6, &ip);
	wan_send(wd, &frame);
	assert_true(world_punt(wd, DP_PUNT_HOST, &got, &meta));
	// Our port, but not our address.
	ip = packet_udp("198.51.100.7", 1, "203.0.113.77", WORLD_UDP_PORT, NULL, 8);
	frame = packet_ether(wd->mac[WORLD_WAN], group4, &ip);
	wan_send(wd, &frame);
	assert_int_equal(world_drops(wd, DROP_no_flow), 1);
}

static void refused_frames(void **state)
{
	struct world *wd = *state;
	struct packet ip = packet_udp("198.51.100.7", 1, "203.0.113.1", 2, NULL, 8);
	struct packet good = packet_ether(wd->mac[WORLD_WAN], wd->mac[WORLD_WAN], &ip), p;

	p = good;
	p.bytes[0] ^= 2;
	wan_send(wd, &p);
	assert_int_equal(world_drops(wd, DROP_rx_other_host), 1);
	p = good;
	p.bytes[12] = 0x81;
	p.bytes[13] = 0;
	wan_send(wd, &p);
	assert_int_equal(world_drops(wd, DROP_rx_vlan), 1);
	p = good;
	p.bytes[14 + 10] ^= 1;
	wan_send(wd, &p);
	assert_int_equal(world_drops(wd, DROP_ip_checksum), 1);
	for (size_t size = 1; size < good.size; size++) {
		p = good;
		p.size = size;
		wan_send(wd, &p);
	}
	assert_int_equal(world_drops(wd, DROP_rx_malformed), good.size - 1);
	world_expect_silence(wd);
}

// The UDP length of a datagram to our port, every value against the same frame.
static void udp_lengths_lie(void **state)
{
	struct world *wd = *state;
	uint8_t msg[40] = {1};

	for (uint16_t size = 0; size < 80; size++) {
		struct packet frame = world_outer(wd, 0, msg, sizeof(msg)), got;
		struct dp_meta meta;

		frame.bytes[14 + 20 + 5] = (uint8_t)size;
		wan_send(wd, &frame);
		if (size < 8 || size > 48) {
			assert_int_equal(world_drops(wd, DROP_rx_malformed), 1);
		} else if (size < 12) {
			assert_int_equal(world_drops(wd, DROP_rx_unknown_type), 1);
		} else {
			assert_true(world_punt(wd, DP_PUNT_HANDSHAKE, &got, &meta));
			assert_int_equal(meta.payload_size, size - 8);
		}
	}
}

// A flood of one class leaves the others alone.
static void full_ring_is_a_drop_of_its_class(void **state)
{
	struct world *wd = *state;
	uint8_t msg[148] = {1}, stun[20] = {0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42};

	for (unsigned i = 0; i < 600; i++)
		payload_send(wd, msg, sizeof(msg));
	assert_int_equal(world_drops(wd, DROP_punt_full), 600 - 511);
	assert_int_equal(wd->w->stats.punted[DP_PUNT_HANDSHAKE], 511);
	payload_send(wd, stun, sizeof(stun));
	expect_punt(wd, DP_PUNT_STUN, stun, sizeof(stun));
}

static void ethernet_padding_is_cut(void **state)
{
	struct world *wd = *state;
	struct world_keys k = world_keypair_add(wd, 0, 1, false);
	struct packet none = {0},
		      p = packet_udp(WORLD_CLIENT_V4, 25000, WORLD_SERVER_V4, 1, NULL, 1);
	struct packet got;

	world_client_send(wd, &k, &none);
	world_policy_open(wd, 0, UINT64_MAX);
	world_client_send(wd, &k, &p);
	assert_true(world_lan_take(wd, &got));
	p = packet_udp(WORLD_SERVER_V4, 1, WORLD_LAN_V4, 25000, NULL, 1);
	p.size = 46; // with zeros
	world_lan_send(wd, &p);
	assert_true(world_client_take(wd, &k, &got, NULL));
	assert_int_equal(got.size, 29);
}

#define WORLD_TEST(name) cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WORLD_TEST(handshakes),
		WORLD_TEST(stun),
		WORLD_TEST(datagrams_of_no_protocol),
		WORLD_TEST(host_traffic),
		WORLD_TEST(refused_frames),
		WORLD_TEST(udp_lengths_lie),
		WORLD_TEST(full_ring_is_a_drop_of_its_class),
		WORLD_TEST(ethernet_padding_is_cut),
	};

	return cmocka_run_group_tests(tests, unit_eal_init, unit_eal_fini);
}
