// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "tests/unit/eal.h"
#include "tests/unit/stage/world.h"
#include "tests/unit/unit.h"

#include <netinet/in.h>
#include <stdlib.h>

// Whole packets through the whole worker: in at one wire, out at the other, and back.

static struct world_keys connect_client(struct world *wd, uint32_t slot)
{
	struct world_keys k = world_keypair_add(wd, slot, 1, false);
	struct packet none = {0};

	world_client_send(wd, &k, &none);
	world_policy_open(wd, slot, UINT64_MAX);
	return k;
}

static void round_trip(
	struct world *wd,
	struct world_keys *k,
	const struct packet *out,
	const struct packet *back,
	struct packet *got_out,
	struct packet *got_back)
{
	world_client_send(wd, k, out);
	assert_true(world_lan_take(wd, got_out));
	assert_int_equal(got_out->size, out->size);
	assert_int_equal(packet_ttl(got_out), packet_ttl(out) - 1);
	world_lan_send(wd, back);
	assert_true(world_client_take(wd, k, got_back, NULL));
	assert_int_equal(got_back->size, back->size);
	assert_int_equal(packet_ttl(got_back), packet_ttl(back) - 1);
	assert_true(packet_checksums_are_ok(got_back->bytes, got_back->size));
	world_expect_silence(wd);
}

static void udp_and_tcp(
	struct world *wd,
	struct world_keys *k,
	const char *client,
	const char *lan,
	const char *server)
{
	struct packet out, back, got_out, got_back;

	// A port of the NAT range is kept.
	out = packet_udp(client, 25401, server, 81, "12345678", 8);
	back = packet_udp(server, 81, lan, 25401, "abcdefghi", 9);
	round_trip(wd, k, &out, &back, &got_out, &got_back);
	assert_true(packet_is_from(&got_out, lan) && packet_is_to(&got_out, server));
	assert_int_equal(packet_u16(&got_out, packet_l4(&out)), 25401);
	assert_int_equal(packet_u16(&got_out, packet_l4(&out) + 2), 81);
	assert_true(packet_is_from(&got_back, server) && packet_is_to(&got_back, client));
	assert_int_equal(packet_u16(&got_back, packet_l4(&back) + 2), 25401);
	assert_memory_equal(got_back.bytes + packet_l4(&back) + 8, "abcdefghi", 9);

	out = packet_tcp(client, 25402, server, 80, PACKET_SYN, 0);
	back = packet_tcp(server, 80, lan, 25402, PACKET_SYN | PACKET_ACK, 0);
	round_trip(wd, k, &out, &back, &got_out, &got_back);
	assert_true(packet_is_from(&got_out, lan));
	assert_true(packet_is_to(&got_back, client));

	out = packet_echo(client, server, false, 77, 33);
	back = packet_echo(server, lan, true, 77, 33);
	round_trip(wd, k, &out, &back, &got_out, &got_back);
	assert_true(packet_is_to(&got_back, client));
	assert_int_equal(packet_u16(&got_back, packet_l4(&back) + 4), 77);
}

// What the LAN sees is the port's NAT address; what it sends to the port's own is no client's.
static void nat_addresses_of_the_port(void **state)
{
	struct world_keys k = connect_client(*state, 0);
	struct packet stray;

	udp_and_tcp(*state, &k, WORLD_CLIENT_V4, WORLD_POOL_V4, WORLD_SERVER_V4);
	udp_and_tcp(*state, &k, WORLD_CLIENT_V6, WORLD_POOL_V6, WORLD_SERVER_V6);
	stray = packet_udp(WORLD_SERVER_V4, 81, WORLD_LAN_V4, 25401, "x", 1);
	world_lan_send(*state, &stray);
	world_expect_silence(*state);
}

static void there_and_back_v4(void **state)
{
	struct world_keys k = connect_client(*state, 0);

	udp_and_tcp(*state, &k, WORLD_CLIENT_V4, WORLD_LAN_V4, WORLD_SERVER_V4);
}

static void there_and_back_v6(void **state)
{
	struct world_keys k = connect_client(*state, 0);

	udp_and_tcp(*state, &k, WORLD_CLIENT_V6, WORLD_LAN_V6, WORLD_SERVER_V6);
}

// A port outside the NAT range changes, and comes back as it was.
static void changed_port(void **state)
{
	struct world *wd = *state;
	struct world_keys k = connect_client(wd, 0);
	static const struct {
		const char *client, *lan, *server;
	} families[] = {
		{WORLD_CLIENT_V4, WORLD_LAN_V4, WORLD_SERVER_V4},
		{WORLD_CLIENT_V6, WORLD_LAN_V6, WORLD_SERVER_V6},
	};

	for (size_t i = 0; i < COUNT_OF(families); i++) {
		struct packet p =
			packet_udp(families[i].client, 53, families[i].server, 53, NULL, 21);
		struct packet got;
		uint16_t port;

		world_client_send(wd, &k, &p);
		assert_true(world_lan_take(wd, &got));
		port = packet_u16(&got, packet_l4(&got));
		assert_in_range(port, WORLD_NAT_FIRST, WORLD_NAT_LAST);
		p = packet_udp(families[i].server, 53, families[i].lan, port, NULL, 22);
		world_lan_send(wd, &p);
		assert_true(world_client_take(wd, &k, &got, NULL));
		assert_int_equal(packet_u16(&got, packet_l4(&got) + 2), 53);
		assert_true(packet_checksums_are_ok(got.bytes, got.size));
	}
}

static void two_clients_one_port(void **state)
{
	struct world *wd = *state;
	struct world_keys k0 = connect_client(wd, 0), k1;
	struct packet a = packet_udp("100.64.0.1", 26000, WORLD_SERVER_V4, 81, NULL, 1);
	struct packet b = packet_udp("100.64.0.2", 26000, WORLD_SERVER_V4, 81, NULL, 2);
	struct packet ga, gb, p, got;

	world_client_add(wd, 1);
	k1 = connect_client(wd, 1);
	world_client_send(wd, &k0, &a);
	assert_true(world_lan_take(wd, &ga));
	world_client_send(wd, &k1, &b);
	assert_true(world_lan_take(wd, &gb));
	assert_int_equal(packet_u16(&ga, 20), 26000);
	assert_int_not_equal(packet_u16(&gb, 20), 26000);
	p = packet_udp(WORLD_SERVER_V4, 81, WORLD_LAN_V4, packet_u16(&gb, 20), NULL, 3);
	world_lan_send(wd, &p);
	assert_true(world_client_take(wd, &k1, &got, NULL));
	assert_true(packet_is_to(&got, "100.64.0.2"));
	assert_int_equal(packet_u16(&got, 22), 26000);
}

// Echo identifiers collide too.
static void two_clients_one_echo_id(void **state)
{
	struct world *wd = *state;
	struct world_keys k0 = connect_client(wd, 0), k1;
	struct packet a = packet_echo("100.64.0.1", WORLD_SERVER_V4, false, 77, 8);
	struct packet b = packet_echo("100.64.0.2", WORLD_SERVER_V4, false, 77, 8);
	struct packet got;
	uint16_t id;

	world_client_add(wd, 1);
	k1 = connect_client(wd, 1);
	world_client_send(wd, &k0, &a);
	assert_true(world_lan_take(wd, &got));
	assert_int_equal(packet_u16(&got, 24), 77);
	world_client_send(wd, &k1, &b);
	assert_true(world_lan_take(wd, &got));
	id = packet_u16(&got, 24);
	assert_int_not_equal(id, 77);
	a = packet_echo(WORLD_SERVER_V4, WORLD_LAN_V4, true, id, 8);
	world_lan_send(wd, &a);
	assert_true(world_client_take(wd, &k1, &got, NULL));
	assert_int_equal(packet_u16(&got, 24), 77);
	assert_true(packet_checksums_are_ok(got.bytes, got.size));
}

static void udp_checksum_zero_is_kept(void **state)
{
	struct world *wd = *state;
	struct world_keys k = connect_client(wd, 0);
	struct packet p = packet_udp(WORLD_CLIENT_V4, 53, WORLD_SERVER_V4, 53, NULL, 8), got;

	p.bytes[26] = p.bytes[27] = 0;
	world_client_send(wd, &k, &p);
	assert_true(world_lan_take(wd, &got));
	assert_int_equal(packet_u16(&got, 26), 0);
	p = packet_udp(WORLD_SERVER_V4, 53, WORLD_LAN_V4, packet_u16(&got, 20), NULL, 8);
	p.bytes[26] = p.bytes[27] = 0;
	world_lan_send(wd, &p);
	assert_true(world_client_take(wd, &k, &got, NULL));
	assert_int_equal(packet_u16(&got, 26), 0);
}

static void bad_checksums_do_not_leave(void **state)
{
	struct world *wd = *state;
	struct world_keys k = connect_client(wd, 0);
	struct packet p = packet_udp(WORLD_CLIENT_V4, 53, WORLD_SERVER_V4, 53, NULL, 8);

	p.bytes[26] ^= 1;
	world_client_send(wd, &k, &p);
	assert_int_equal(world_drops(wd, DROP_l4_checksum), 1);
	p = packet_udp(WORLD_CLIENT_V6, 53, WORLD_SERVER_V6, 53, NULL, 8);
	p.bytes[46] ^= 1;
	world_client_send(wd, &k, &p);
	assert_int_equal(world_drops(wd, DROP_l4_checksum), 1);
	p = packet_udp(WORLD_CLIENT_V4, 53, WORLD_SERVER_V4, 53, NULL, 8);
	p.bytes[10] ^= 1;
	world_client_send(wd, &k, &p);
	assert_int_equal(world_drops(wd, DROP_ip_checksum), 1);
	world_expect_silence(wd);
	worker_housekeep(wd->w);
	assert_int_equal(wd->w->stats.flows, 0);
}

static void ttl_runs_out(void **state)
{
	struct world *wd = *state;
	struct world_keys k = connect_client(wd, 0);
	struct packet p = packet_udp(WORLD_CLIENT_V4, 53, WORLD_SERVER_V4, 53, NULL, 8), got;

	packet_ttl_set(&p, 1);
	world_client_send(wd, &k, &p);
	assert_int_equal(world_drops(wd, DROP_ttl_expired), 1);
	assert_true(world_client_take(wd, &k, &got, NULL));
	assert_int_equal(packet_u16(&got, 20), 0x0b00);
	assert_true(packet_is_from(&got, WORLD_GATEWAY_V4));
	assert_true(packet_is_to(&got, WORLD_CLIENT_V4));
	assert_memory_equal(got.bytes + 28, p.bytes, p.size);
	p = packet_udp(WORLD_CLIENT_V6, 53, WORLD_SERVER_V6, 53, NULL, 8);
	packet_ttl_set(&p, 1);
	world_client_send(wd, &k, &p);
	assert_true(world_client_take(wd, &k, &got, NULL));
	assert_int_equal(packet_u16(&got, 40), 0x0300);
	assert_true(packet_is_from(&got, WORLD_GATEWAY_V6));
	// TTL 1 toward something forbidden says prohibited first.
	p = packet_udp(WORLD_CLIENT_V4, 53, "10.1.1.1", 53, NULL, 8);
	packet_ttl_set(&p, 1);
	world_client_send(wd, &k, &p);
	assert_int_equal(world_drops(wd, DROP_policy_prohibited), 1);
}

static void
outer_send(struct world *wd, struct world_keys *k, const struct packet *p, uint8_t outer_ecn)
{
	uint8_t msg[PACKET_MAX];
	size_t size = world_seal(k, p->bytes, p->size, msg);
	struct packet frame = world_outer(wd, 0, msg, size), ip = {.size = frame.size - 14};

	memcpy(ip.bytes, frame.bytes + 14, ip.size);
	packet_ecn_set(&ip, outer_ecn);
	memcpy(frame.bytes + 14, ip.bytes, ip.size);
	world_wan_put(wd, &frame);
	world_run(wd);
}

static void ecn(struct world *wd, const char *client, const char *lan, const char *server)
{
	// inner, outer, expected on the LAN
	static const uint8_t up[][3] = {
		{0, 0, 0}, {0, 3, 0}, {1, 3, 3}, {2, 3, 3}, {3, 0, 3}, {1, 0, 1}, {2, 1, 2}};
	struct world_keys k = connect_client(wd, 0);
	struct packet p = packet_udp(client, 25000, server, 81, NULL, 8), got, outer;

	for (size_t i = 0; i < COUNT_OF(up); i++) {
		p.bytes[1] |= p.bytes[0] >> 4 == 4 ? 0xb8 : 0; // DSCP EF
		packet_ecn_set(&p, up[i][0]);
		outer_send(wd, &k, &p, up[i][1]);
		assert_true(world_lan_take(wd, &got));
		assert_int_equal(packet_ecn(&got), up[i][2]);
		assert_int_equal(got.bytes[1] & 0xc0, p.bytes[1] & 0xc0);
	}
	p = packet_udp(server, 81, lan, 25000, NULL, 8);
	for (uint8_t e = 0; e < 4; e++) {
		packet_ecn_set(&p, e);
		world_lan_send(wd, &p);
		assert_true(world_client_take(wd, &k, &got, &outer));
		assert_int_equal(packet_ecn(&got), e);
		assert_int_equal(packet_ecn(&outer), e);
	}
}

static void ecn_v4(void **state)
{
	ecn(*state, WORLD_CLIENT_V4, WORLD_LAN_V4, WORLD_SERVER_V4);
}

static void ecn_v6(void **state)
{
	ecn(*state, WORLD_CLIENT_V6, WORLD_LAN_V6, WORLD_SERVER_V6);
}

// Nothing authorized, no policy at all, wrong port: prohibited at once, from the resource.
static void denied(void **state)
{
	struct world *wd = *state;
	struct world_keys k = connect_client(wd, 0);
	const struct acl_filter filter = {ACL_PROTOCOL_UDP, 80, 80};
	struct acl_resource r = {.id = {1}, .filters = &filter, .n_filters = 1};
	struct packet p = packet_udp(WORLD_CLIENT_V4, 53, WORLD_SERVER_V4, 81, NULL, 8), got;

	assert_int_equal(ip_prefix_parse(&r.prefix, "192.0.2.0/24"), 0);
	for (unsigned i = 0; i < 2; i++) {
		world_policy_set(wd, 0, &r, i);
		world_client_send(wd, &k, &p);
		assert_int_equal(world_drops(wd, DROP_policy_prohibited), 1);
		assert_true(world_client_take(wd, &k, &got, NULL));
		assert_int_equal(got.size, 56);
		assert_int_equal(packet_u16(&got, 20), 0x030d);
		assert_true(packet_is_from(&got, WORLD_SERVER_V4));
		world_expect_silence(wd);
	}
	p = packet_udp(WORLD_CLIENT_V4, 53, WORLD_SERVER_V4, 80, NULL, 8);
	world_client_send(wd, &k, &p);
	assert_true(world_lan_take(wd, &got));
	assert_int_equal(wd->w->stats.flows, 0); // not counted yet, but only one was made
	worker_housekeep(wd->w);
	assert_int_equal(wd->w->stats.flows, 1);
}

// A change of policy bites an established flow on its next packet, both ways; so does giving back.
static void policy_change_bites_both_ways(void **state)
{
	struct world *wd = *state;
	struct world_keys k = connect_client(wd, 0);
	struct packet out = packet_tcp(WORLD_CLIENT_V4, 25000, WORLD_SERVER_V4, 80, PACKET_ACK, 10);
	struct packet back = packet_tcp(WORLD_SERVER_V4, 80, WORLD_LAN_V4, 25000, PACKET_ACK, 10);
	struct packet got_out, got_back;

	round_trip(wd, &k, &out, &back, &got_out, &got_back);
	world_policy_set(wd, 0, NULL, 0);
	world_lan_send(wd, &back);
	assert_int_equal(world_drops(wd, DROP_policy_reply), 1);
	world_expect_silence(wd);
	world_client_send(wd, &k, &out);
	assert_int_equal(world_drops(wd, DROP_policy_prohibited), 1);
	assert_true(world_client_take(wd, &k, &got_back, NULL));
	assert_int_equal(packet_u16(&got_back, 20), 0x030d);
	world_policy_open(wd, 0, UINT64_MAX);
	round_trip(wd, &k, &out, &back, &got_out, &got_back);
}

static void expiry_bites_both_ways(void **state)
{
	struct world *wd = *state;
	struct world_keys k = connect_client(wd, 0);
	struct packet out = packet_tcp(WORLD_CLIENT_V6, 25000, WORLD_SERVER_V6, 80, PACKET_ACK, 10);
	struct packet back = packet_tcp(WORLD_SERVER_V6, 80, WORLD_LAN_V6, 25000, PACKET_ACK, 10);
	struct packet got_out, got_back;

	world_policy_open(wd, 0, wd->now + 5 * wd->w->tsc_hz);
	wd->now += 5 * wd->w->tsc_hz - 1;
	round_trip(wd, &k, &out, &back, &got_out, &got_back);
	wd->now += 1;
	world_lan_send(wd, &back);
	assert_int_equal(world_drops(wd, DROP_policy_reply), 1);
	world_client_send(wd, &k, &out);
	assert_int_equal(world_drops(wd, DROP_policy_prohibited), 1);
	assert_true(world_client_take(wd, &k, &got_back, NULL));
	assert_int_equal(packet_u16(&got_back, 40), 0x0101);
	// Renewed: the same flow goes on.
	world_policy_open(wd, 0, UINT64_MAX);
	round_trip(wd, &k, &out, &back, &got_out, &got_back);
}

static void internet_blocklist_is_unreachable(void **state)
{
	struct world *wd = *state;
	struct world_keys k = connect_client(wd, 0);
	const struct acl_resource internet = {.id = {9}, .type = ACL_RESOURCE_INTERNET};
	struct packet p = packet_udp(WORLD_CLIENT_V4, 53, "10.0.0.1", 53, NULL, 8), got;
	struct dp_meta meta;

	world_policy_set(wd, 0, &internet, 1);
	world_client_send(wd, &k, &p);
	assert_int_equal(world_drops(wd, DROP_policy_unreachable), 1);
	assert_true(world_client_take(wd, &k, &got, NULL));
	assert_int_equal(packet_u16(&got, 20), 0x0300);
	// Allowed, but the table has no route.
	p = packet_udp(WORLD_CLIENT_V4, 53, "8.8.8.8", 53, NULL, 8);
	world_client_send(wd, &k, &p);
	assert_int_equal(world_drops(wd, DROP_no_route), 1);
	assert_true(world_client_take(wd, &k, &got, NULL));
	assert_int_equal(packet_u16(&got, 20), 0x0300);
	// Allowed, but it is the gateway itself.
	p = packet_udp(WORLD_CLIENT_V4, 53, "203.0.113.1", 53, NULL, 8);
	world_client_send(wd, &k, &p);
	assert_true(world_punt(wd, DP_PUNT_TUN, &got, &meta));
	assert_int_equal(got.size, p.size);
	world_expect_silence(wd);
}

// 64 first packets of 16 new flows in one burst make 16 flows.
static void burst_of_new_flows(void **state)
{
	struct world *wd = *state;
	struct world_keys k = connect_client(wd, 0);
	struct packet got;
	unsigned n = 0;

	for (unsigned i = 0; i < DP_BURST_MAX; i++) {
		struct packet p = packet_udp(
			WORLD_CLIENT_V4, (uint16_t)(25000 + i % 16), WORLD_SERVER_V4, 81, NULL, i);
		uint8_t msg[PACKET_MAX];
		size_t size = world_seal(&k, p.bytes, p.size, msg);
		struct packet frame = world_outer(wd, 0, msg, size);

		world_wan_put(wd, &frame);
	}
	world_run(wd);
	for (; world_lan_take(wd, &got); n++)
		assert_int_equal(got.size, 28 + n); // in order
	assert_int_equal(n, DP_BURST_MAX);
	worker_housekeep(wd->w);
	assert_int_equal(wd->w->stats.flows, 16);
}

static void other_protocols_return_from_whom_the_client_asked(void **state)
{
	struct world *wd = *state;
	struct world_keys k = connect_client(wd, 0);
	struct packet p = packet_proto(WORLD_CLIENT_V4, WORLD_SERVER_V4, 47, 24), got;

	world_client_send(wd, &k, &p);
	assert_true(world_lan_take(wd, &got));
	assert_true(packet_is_from(&got, WORLD_LAN_V4));
	p = packet_proto(WORLD_SERVER_V4, WORLD_LAN_V4, 47, 24);
	world_lan_send(wd, &p);
	assert_true(world_client_take(wd, &k, &got, NULL));
	assert_true(packet_is_from(&got, WORLD_SERVER_V4));
	assert_int_equal(got.size, p.size);
	assert_true(packet_checksums_are_ok(got.bytes, got.size));
	// Nobody asked this host anything.
	p = packet_proto("192.0.2.99", WORLD_LAN_V4, 47, 24);
	world_lan_send(wd, &p);
	world_expect_silence(wd);
	p = packet_icmp(WORLD_CLIENT_V4, WORLD_SERVER_V4, 13, 0, 0, NULL, 12);
	world_client_send(wd, &k, &p);
	assert_true(world_lan_take(wd, &got));
	p = packet_icmp(WORLD_CLIENT_V6, WORLD_SERVER_V6, 139, 0, 0, NULL, 12);
	world_client_send(wd, &k, &p);
	assert_true(world_lan_take(wd, &got)); // its checksum is checked there
	world_expect_silence(wd);
}

static void icmp_answers_are_limited(void **state)
{
	struct world *wd = *state;
	struct world_keys k = connect_client(wd, 0);
	struct packet p = packet_udp(WORLD_CLIENT_V4, 53, "10.0.0.1", 53, NULL, 8), got;
	unsigned n = 0;

	for (unsigned i = 0; i < 120; i++) {
		world_client_send(wd, &k, &p);
		n += world_client_take(wd, &k, &got, NULL);
	}
	assert_int_equal(n, 100);
	assert_int_equal(world_drops(wd, DROP_icmp_limited), 20);
	assert_int_equal(world_drops(wd, DROP_policy_prohibited), 120);
}

static void counters(void **state)
{
	struct world *wd = *state;
	struct world_keys k = connect_client(wd, 0);
	struct packet out = packet_udp(WORLD_CLIENT_V4, 25000, WORLD_SERVER_V4, 81, NULL, 72);
	struct packet back = packet_udp(WORLD_SERVER_V4, 81, WORLD_LAN_V4, 25000, NULL, 172);
	struct packet got_out, got_back;
	struct dp_client_stats stats;

	round_trip(wd, &k, &out, &back, &got_out, &got_back);
	assert_true(dp_client_stats_get(wd->dp, 0, &stats));
	assert_int_equal(stats.rx_packets, 1);
	assert_int_equal(stats.rx_bytes, 100);
	assert_int_equal(stats.tx_packets, 1);
	assert_int_equal(stats.tx_bytes, 200);
	assert_int_equal(stats.last_rx_tsc, wd->now);
	assert_false(dp_client_stats_get(wd->dp, WORLD_CLIENTS, &stats));
}

#define WORLD_TEST(name) cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)
#define WORLD_TEST_V6(name)                                                                        \
	{                                                                                          \
#name "_outer_v6", name, world_setup_v6, world_teardown, NULL                      \
	}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WORLD_TEST(there_and_back_v4),
		cmocka_unit_test_setup_teardown(
			nat_addresses_of_the_port, world_setup_pooled, world_teardown),
		WORLD_TEST(there_and_back_v6),
		WORLD_TEST_V6(there_and_back_v4),
		WORLD_TEST_V6(there_and_back_v6),
		WORLD_TEST(changed_port),
		WORLD_TEST(two_clients_one_port),
		WORLD_TEST(two_clients_one_echo_id),
		WORLD_TEST(udp_checksum_zero_is_kept),
		WORLD_TEST(bad_checksums_do_not_leave),
		WORLD_TEST(ttl_runs_out),
		WORLD_TEST(ecn_v4),
		WORLD_TEST(ecn_v6),
		WORLD_TEST_V6(ecn_v4),
		WORLD_TEST_V6(ecn_v6),
		WORLD_TEST(denied),
		WORLD_TEST(policy_change_bites_both_ways),
		WORLD_TEST(expiry_bites_both_ways),
		WORLD_TEST(internet_blocklist_is_unreachable),
		WORLD_TEST(burst_of_new_flows),
		WORLD_TEST(other_protocols_return_from_whom_the_client_asked),
		WORLD_TEST(icmp_answers_are_limited),
		WORLD_TEST(counters),
	};

	return cmocka_run_group_tests(tests, unit_eal_init, unit_eal_fini);
}
