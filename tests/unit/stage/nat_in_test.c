// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "tests/unit/eal.h"
#include "tests/unit/stage/world.h"
#include "tests/unit/unit.h"

struct family {
	const char *client, *lan, *server, *router;
	bool is_v4;
};

static const struct family v4 = {
	WORLD_CLIENT_V4,
	WORLD_LAN_V4,
	WORLD_SERVER_V4,
	"192.0.2.200",
	true,
};
static const struct family v6 = {
	WORLD_CLIENT_V6,
	WORLD_LAN_V6,
	WORLD_SERVER_V6,
	"2001:db8:2::200",
	false,
};

static struct world_keys connect_client(struct world *wd)
{
	struct world_keys k = world_keypair_add(wd, 0, 1, false);
	struct packet none = {0};

	world_client_send(wd, &k, &none);
	world_policy_open(wd, 0, UINT64_MAX);
	return k;
}

// Sends a packet out and returns it as the LAN saw it.
static struct packet out(struct world *wd, struct world_keys *k, const struct packet *p)
{
	struct packet got;

	world_client_send(wd, k, p);
	assert_true(world_lan_take(wd, &got));
	return got;
}

// A router on the way reports about what it saw; the client must recognize its own packet.
static void
error_reaches_client(struct world *wd, const struct family *f, const struct packet *sent)
{
	struct world_keys k = connect_client(wd);
	struct packet seen = out(wd, &k, sent), error, got, quoted;
	size_t l4 = f->is_v4 ? 20 : 40;

	error = packet_icmp(
		f->router, f->lan, f->is_v4 ? 3 : 1, f->is_v4 ? 1 : 3, 0, seen.bytes, seen.size);
	world_lan_send(wd, &error);
	assert_true(world_client_take(wd, &k, &got, NULL));
	assert_true(packet_checksums_are_ok(got.bytes, got.size));
	assert_true(packet_is_from(&got, f->router));
	assert_true(packet_is_to(&got, f->client));
	assert_int_equal(packet_ttl(&got), 63);
	quoted = (struct packet){.size = got.size - l4 - 8};
	memcpy(quoted.bytes, got.bytes + l4 + 8, quoted.size);
	assert_true(packet_is_from(&quoted, f->client));
	assert_true(packet_is_to(&quoted, f->server));
	// Checksums in the quote are the client's own again; its TTL is one less.
	assert_true(packet_checksums_are_ok(quoted.bytes, quoted.size));
	packet_ttl_set(&quoted, 64);
	assert_int_equal(quoted.size, sent->size);
	assert_memory_equal(quoted.bytes, sent->bytes, sent->size);
}

static void icmp_errors_udp(void **state)
{
	struct packet p = packet_udp(v4.client, 53, v4.server, 53, NULL, 40);

	error_reaches_client(*state, &v4, &p);
}

static void icmp_errors_tcp(void **state)
{
	struct packet p = packet_tcp(v4.client, 443, v4.server, 443, PACKET_SYN, 0);

	error_reaches_client(*state, &v4, &p);
}

static void icmp_errors_echo(void **state)
{
	struct packet p = packet_echo(v4.client, v4.server, false, 99, 20);

	error_reaches_client(*state, &v4, &p);
}

static void icmp_errors_udp_v6(void **state)
{
	struct packet p = packet_udp(v6.client, 53, v6.server, 53, NULL, 40);

	error_reaches_client(*state, &v6, &p);
}

static void icmp_errors_tcp_v6(void **state)
{
	struct packet p = packet_tcp(v6.client, 443, v6.server, 443, PACKET_SYN, 7);

	error_reaches_client(*state, &v6, &p);
}

static void icmp_errors_echo_v6(void **state)
{
	struct packet p = packet_echo(v6.client, v6.server, false, 99, 20);

	error_reaches_client(*state, &v6, &p);
}

// Quotes of every length, as routers cut them.
static void icmp_errors_short_quotes(void **state)
{
	struct world *wd = *state;
	struct world_keys k = connect_client(wd);
	struct packet p = packet_tcp(v4.client, 443, v4.server, 443, PACKET_SYN, 10), got;
	struct packet seen = out(wd, &k, &p), error;
	struct dp_meta meta;

	for (size_t size = 20; size <= seen.size; size++) {
		error = packet_icmp(v4.router, v4.lan, 11, 0, 0, seen.bytes, size);
		world_lan_send(wd, &error);
		if (size < 24) {
			assert_true(world_punt(wd, DP_PUNT_HOST, &got, &meta));
			continue;
		}
		assert_true(world_client_take(wd, &k, &got, NULL));
		assert_true(packet_checksums_are_ok(got.bytes, got.size));
		assert_int_equal(packet_u16(&got, 28 + 20), 443);
	}
}

static void icmp_error_passes_without_authorization(void **state)
{
	struct world *wd = *state;
	struct world_keys k = connect_client(wd);
	struct packet p = packet_udp(v4.client, 53, v4.server, 53, NULL, 40), got, error;
	struct packet seen = out(wd, &k, &p);

	world_policy_set(wd, 0, NULL, 0);
	error = packet_icmp(v4.server, v4.lan, 3, 3, 0, seen.bytes, 28);
	world_lan_send(wd, &error);
	assert_true(world_client_take(wd, &k, &got, NULL));
}

static void icmp_error_about_nothing_of_ours(void **state)
{
	struct world *wd = *state;
	struct packet quoted = packet_udp(v4.lan, 21000, v4.server, 53, NULL, 8), got;
	struct packet error = packet_icmp(v4.router, v4.lan, 3, 1, 0, quoted.bytes, 28);
	struct dp_meta meta;

	connect_client(wd);
	world_lan_send(wd, &error);
	assert_true(world_punt(wd, DP_PUNT_HOST, &got, &meta)); // perhaps the host's
	world_expect_silence(wd);
}

static void icmp_error_with_bad_checksum(void **state)
{
	struct world *wd = *state;
	struct world_keys k = connect_client(wd);
	struct packet p = packet_udp(v4.client, 53, v4.server, 53, NULL, 40), error;
	struct packet seen = out(wd, &k, &p);

	error = packet_icmp(v4.server, v4.lan, 3, 3, 0, seen.bytes, 28);
	error.bytes[22] ^= 1;
	world_lan_send(wd, &error);
	assert_int_equal(world_drops(wd, DROP_l4_checksum), 1);
	world_expect_silence(wd);
}

// From LAN to client: at most 1280 bytes; the sender is told where it may not fragment.
static void too_big(struct world *wd, const struct family *f, bool has_df)
{
	struct world_keys k = connect_client(wd);
	size_t l4 = f->is_v4 ? 20 : 40;
	struct packet p = packet_udp(f->client, 25000, f->server, 53, NULL, 40), got;

	out(wd, &k, &p);
	p = packet_udp(f->server, 53, f->lan, 25000, NULL, 1280 - l4 - 8);
	world_lan_send(wd, &p);
	assert_true(world_client_take(wd, &k, &got, NULL));
	assert_int_equal(got.size, 1280);
	p = packet_udp(f->server, 53, f->lan, 25000, NULL, 1281 - l4 - 8);
	if (has_df)
		p.bytes[6] = 0x40;
	packet_checksums_fix(&p);
	world_lan_send(wd, &p);
	assert_int_equal(world_drops(wd, DROP_mtu_exceeded), 1);
	if (f->is_v4 && !has_df) {
		world_expect_silence(wd);
		return;
	}
	assert_true(world_lan_take(wd, &got));
	assert_true(packet_is_from(&got, f->lan));
	assert_true(packet_is_to(&got, f->server));
	assert_int_equal(packet_u16(&got, l4), f->is_v4 ? 0x0304 : 0x0200);
	assert_int_equal(packet_u16(&got, l4 + 6), 1280);
	assert_memory_equal(got.bytes + l4 + 8, p.bytes, 48);
	world_expect_silence(wd);
}

static void too_big_df(void **state)
{
	too_big(*state, &v4, true);
}

static void too_big_without_df(void **state)
{
	too_big(*state, &v4, false);
}

static void too_big_v6(void **state)
{
	too_big(*state, &v6, false);
}

static void ttl_from_the_lan(void **state)
{
	struct world *wd = *state;
	struct world_keys k = connect_client(wd);
	struct packet p = packet_udp(v4.client, 25000, v4.server, 53, NULL, 40), got;

	out(wd, &k, &p);
	p = packet_udp(v4.server, 53, v4.lan, 25000, NULL, 8);
	packet_ttl_set(&p, 1);
	world_lan_send(wd, &p);
	assert_int_equal(world_drops(wd, DROP_ttl_expired), 1);
	assert_true(world_lan_take(wd, &got));
	assert_int_equal(packet_u16(&got, 20), 0x0b00);
	assert_true(packet_is_from(&got, v4.lan));
	world_expect_silence(wd);
}

// Another host or port than the flow's is not the flow's.
static void only_the_flows_own_peer(void **state)
{
	struct world *wd = *state;
	struct world_keys k = connect_client(wd);
	struct packet p = packet_udp(v4.client, 25000, v4.server, 53, NULL, 40), got;
	struct dp_meta meta;

	out(wd, &k, &p);
	p = packet_udp(v4.router, 53, v4.lan, 25000, NULL, 8);
	world_lan_send(wd, &p);
	assert_true(world_punt(wd, DP_PUNT_HOST, &got, &meta));
	p = packet_udp(v4.server, 54, v4.lan, 25000, NULL, 8);
	world_lan_send(wd, &p);
	assert_true(world_punt(wd, DP_PUNT_HOST, &got, &meta));
	p = packet_udp(v4.server, 53, "192.0.2.77", 25000, NULL, 8);
	world_lan_send(wd, &p);
	assert_int_equal(world_drops(wd, DROP_no_flow), 1);
	world_expect_silence(wd);
}

static void punted_frame_is_whole(void **state)
{
	struct world *wd = *state;
	struct packet p = packet_tcp(v4.server, 40000, v4.lan, 22, PACKET_SYN, 0), got;
	struct dp_meta meta;

	world_lan_send(wd, &p);
	assert_true(world_punt(wd, DP_PUNT_HOST, &got, &meta));
	assert_int_equal(got.size, 14 + p.size);
	assert_memory_equal(got.bytes, wd->mac[WORLD_LAN], 6);
	assert_memory_equal(got.bytes + 14, p.bytes, p.size);
	assert_int_equal(meta.port_id, dp_port_id(wd->dp, WORLD_LAN));
	assert_int_equal(meta.l3_offset, 14);
}

static void tunnel_sources_from_the_lan(void **state)
{
	struct world *wd = *state;
	struct packet p = packet_udp("100.64.0.7", 1, v4.lan, 2, NULL, 8);

	world_lan_send(wd, &p);
	p = packet_udp("fd00:2021:1111::7", 1, v6.lan, 2, NULL, 8);
	world_lan_send(wd, &p);
	assert_int_equal(world_drops(wd, DROP_rx_spoofed), 2);
}

static void echo_request_is_for_the_host(void **state)
{
	struct world *wd = *state;
	struct world_keys k = connect_client(wd);
	struct packet p = packet_echo(v4.client, v4.server, false, 77, 8), got;
	struct dp_meta meta;

	out(wd, &k, &p);
	p = packet_echo(v4.server, v4.lan, false, 77, 8); // the same identifier
	world_lan_send(wd, &p);
	assert_true(world_punt(wd, DP_PUNT_HOST, &got, &meta));
	world_expect_silence(wd);
}

static void fragments(void **state)
{
	struct world *wd = *state;
	struct world_keys k = connect_client(wd);
	struct packet p = packet_udp(v4.client, 25000, v4.server, 53, NULL, 40), got;
	struct dp_meta meta;

	out(wd, &k, &p);
	p = packet_udp(v4.server, 53, v4.lan, 25000, NULL, 8);
	p.bytes[6] = 0x20; // the first of a flow's
	packet_checksums_fix(&p);
	world_lan_send(wd, &p);
	assert_int_equal(world_drops(wd, DROP_ip_fragment), 1);
	p = packet_udp(v4.server, 53, v4.lan, 40000, NULL, 8);
	p.bytes[6] = 0x20; // of the host's
	packet_checksums_fix(&p);
	world_lan_send(wd, &p);
	assert_true(world_punt(wd, DP_PUNT_HOST, &got, &meta));
	world_expect_silence(wd);
}

// Replies keep a flow alive; without any, it ends after a minute (spec/datapath.md 3.7).
static void flows_end(void **state)
{
	struct world *wd = *state;
	struct world_keys k = connect_client(wd);
	struct packet p = packet_udp(v4.client, 25000, v4.server, 53, NULL, 40), got;
	struct packet back = packet_udp(v4.server, 53, v4.lan, 25000, NULL, 8);
	struct dp_meta meta;

	out(wd, &k, &p);
	world_wait(wd, 58);
	world_lan_send(wd, &back);
	assert_true(world_client_take(wd, &k, &got, NULL));
	world_wait(wd, 110);
	world_lan_send(wd, &back);
	while (world_client_take(wd, &k, &got, NULL))
		;
	world_wait(wd, 121);
	world_lan_send(wd, &back);
	assert_true(world_punt(wd, DP_PUNT_HOST, &got, &meta));
}

#define WORLD_TEST(name) cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WORLD_TEST(icmp_errors_udp),
		WORLD_TEST(icmp_errors_tcp),
		WORLD_TEST(icmp_errors_echo),
		WORLD_TEST(icmp_errors_udp_v6),
		WORLD_TEST(icmp_errors_tcp_v6),
		WORLD_TEST(icmp_errors_echo_v6),
		WORLD_TEST(icmp_errors_short_quotes),
		WORLD_TEST(icmp_error_passes_without_authorization),
		WORLD_TEST(icmp_error_about_nothing_of_ours),
		WORLD_TEST(icmp_error_with_bad_checksum),
		WORLD_TEST(too_big_df),
		WORLD_TEST(too_big_without_df),
		WORLD_TEST(too_big_v6),
		WORLD_TEST(ttl_from_the_lan),
		WORLD_TEST(only_the_flows_own_peer),
		WORLD_TEST(punted_frame_is_whole),
		WORLD_TEST(tunnel_sources_from_the_lan),
		WORLD_TEST(echo_request_is_for_the_host),
		WORLD_TEST(fragments),
		WORLD_TEST(flows_end),
	};

	return cmocka_run_group_tests(tests, unit_eal_init, unit_eal_fini);
}
