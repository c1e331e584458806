// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "tests/unit/eal.h"
#include "tests/unit/stage/world.h"
#include "tests/unit/unit.h"

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

static struct rte_mbuf *
mbuf_of(struct world *wd, const struct packet *p, const struct dp_meta *meta)
{
	struct rte_mbuf *m = dp_mbuf_alloc(wd->dp);

	assert_non_null(m);
	memcpy(rte_pktmbuf_append(m, (uint16_t)p->size), p->bytes, p->size);
	*(struct dp_meta *)rte_mbuf_to_priv(m) = *meta;
	return m;
}

static void inject(struct world *wd, const struct packet *p, const struct dp_meta *meta)
{
	assert_int_equal(dp_inject(wd->dp, mbuf_of(wd, p, meta)), 0);
	world_run(wd);
}

static void del_says_goodbye_and_wipes(void **state)
{
	struct world *wd = *state;
	struct world_keys k = connect_client(wd);
	struct packet goodbye = packet_proto("::", "::", 0xff, 8), p, got;
	struct dp_cmd del = {.type = DP_CMD_CLIENT_DEL};
	static const uint8_t none[sizeof(struct keypair)];
	struct dp_event e;

	p = packet_udp(WORLD_CLIENT_V4, 25000, WORLD_SERVER_V4, 81, NULL, 8);
	world_client_send(wd, &k, &p);
	assert_true(world_lan_take(wd, &got));
	goodbye.bytes[40] = 2;
	del.client_del.mbuf = mbuf_of(wd, &goodbye, &(struct dp_meta){0});
	assert_int_equal(dp_cmd_send(wd->dp, &del), 0);
	world_run(wd);
	assert_true(world_client_take(wd, &k, &got, NULL));
	assert_int_equal(got.size, 48);
	assert_memory_equal(got.bytes, goodbye.bytes, 48);
	assert_true(world_event(wd, &e));
	assert_int_equal(e.type, DP_EVENT_CLIENT_GONE);
	assert_int_equal(e.slot, 0);
	for (unsigned i = 0; i < CLIENT_KEYPAIRS; i++)
		assert_memory_equal(&wd->w->clients[0].keypairs[i], none, sizeof(none));
	worker_housekeep(wd->w);
	assert_int_equal(wd->w->stats.flows, 0);
	world_client_send(wd, &k, &p);
	assert_int_equal(world_drops(wd, DROP_wg_unknown_index), 1);
	// The slot may live again.
	world_client_add(wd, 0);
	k = connect_client(wd);
	world_client_send(wd, &k, &p);
	assert_true(world_lan_take(wd, &got));
}

// Without keys or path the goodbye is a named drop, not a leak.
static void del_of_an_unconnected_client(void **state)
{
	struct world *wd = *state;
	struct packet goodbye = packet_proto("::", "::", 0xff, 8);
	struct dp_cmd del = {.type = DP_CMD_CLIENT_DEL};
	struct dp_event e;

	del.client_del.mbuf = mbuf_of(wd, &goodbye, &(struct dp_meta){0});
	assert_int_equal(dp_cmd_send(wd->dp, &del), 0);
	world_run(wd);
	assert_int_equal(world_drops(wd, DROP_wg_no_keypair), 1);
	assert_true(world_event(wd, &e));
	assert_int_equal(e.type, DP_EVENT_CLIENT_GONE);
}

static void keys_do_not_stay_in_the_ring(void **state)
{
	struct world *wd = *state;
	const uint8_t *ring = (const uint8_t *)wd->w->channel->cmds;
	size_t size = (size_t)rte_ring_get_memsize_elem(sizeof(struct dp_cmd), 1024);
	uint8_t needle[DP_KEY_SIZE];
	struct world_keys k = world_keypair_add(wd, 0, 5, false);

	memcpy(needle, k.to_gateway, sizeof(needle));
	assert_null(memmem(ring, size, needle, sizeof(needle)));
	memcpy(needle, k.to_client, sizeof(needle));
	assert_null(memmem(ring, size, needle, sizeof(needle)));
}

static void flows_clear(void **state)
{
	struct world *wd = *state;
	struct world_keys k = connect_client(wd);
	struct packet p = packet_udp(WORLD_CLIENT_V4, 25000, WORLD_SERVER_V4, 81, NULL, 8), got;
	const struct dp_cmd clear = {.type = DP_CMD_FLOWS_CLEAR};
	struct dp_meta meta;

	world_client_send(wd, &k, &p);
	assert_true(world_lan_take(wd, &got));
	assert_int_equal(dp_cmd_send(wd->dp, &clear), 0);
	world_run(wd);
	p = packet_udp(WORLD_SERVER_V4, 81, WORLD_LAN_V4, 25000, NULL, 8);
	world_lan_send(wd, &p);
	assert_true(world_punt(wd, DP_PUNT_HOST, &got, &meta));
}

static void path_none(void **state)
{
	struct world *wd = *state;
	struct world_keys k = connect_client(wd);
	const struct dp_cmd none = {.type = DP_CMD_PATH_SET};
	struct packet p = packet_udp(WORLD_CLIENT_V4, 53, "10.0.0.1", 53, NULL, 8);

	assert_int_equal(dp_cmd_send(wd->dp, &none), 0);
	world_run(wd);
	world_client_send(wd, &k, &p); // receiving needs no path
	assert_int_equal(world_drops(wd, DROP_policy_prohibited), 1);
	assert_int_equal(world_drops(wd, DROP_wg_no_path), 1);
	world_expect_silence(wd);
}

static void full_command_ring_is_back_pressure(void **state)
{
	struct world *wd = *state;
	const struct dp_cmd clear = {.type = DP_CMD_FLOWS_CLEAR, .slot = 3};
	const struct dp_cmd beyond = {.type = DP_CMD_FLOWS_CLEAR, .slot = WORLD_CLIENTS};
	unsigned n = 0;

	assert_int_equal(dp_cmd_send(wd->dp, &beyond), -EINVAL);
	while (dp_cmd_send(wd->dp, &clear) == 0)
		n++;
	assert_int_equal(n, 1023);
	assert_int_equal(dp_cmd_send(wd->dp, &clear), -EAGAIN);
	for (unsigned i = 0; i < 40; i++)
		worker_run_once(wd->w, wd->now);
	assert_int_equal(dp_cmd_send(wd->dp, &clear), 0);
}

static void inject_frame(void **state)
{
	struct world *wd = *state;
	struct packet frame = {.size = 60}, got;
	struct dp_meta meta = {.kind = DP_INJECT_FRAME};

	frame.bytes[20] = 0x33;
	meta.port_id = dp_port_id(wd->dp, WORLD_LAN);
	inject(wd, &frame, &meta);
	assert_true(world_take(wd, WORLD_LAN, &got));
	assert_memory_equal(got.bytes, frame.bytes, 60);
	meta.port_id = 31;
	inject(wd, &frame, &meta);
	meta.port_id = 0xffff;
	inject(wd, &frame, &meta);
	meta.kind = 77;
	inject(wd, &frame, &meta);
	assert_int_equal(world_drops(wd, DROP_inject_bad), 3);
}

static void inject_ip(void **state)
{
	struct world *wd = *state;
	const struct dp_meta meta = {.kind = DP_INJECT_IP};
	struct packet p = packet_udp("203.0.113.1", 52625, "198.51.100.7", 40000, NULL, 20), got;

	inject(wd, &p, &meta);
	assert_true(world_take(wd, WORLD_WAN, &got));
	assert_int_equal(got.size, 14 + p.size);
	assert_int_equal(got.bytes[5], 0xfe); // the router
	assert_memory_equal(got.bytes + 6, wd->mac[WORLD_WAN], 6);
	assert_memory_equal(got.bytes + 14, p.bytes, p.size);
	p = packet_udp("203.0.113.1", 52625, "8.8.8.8", 40000, NULL, 20);
	inject(wd, &p, &meta);
	assert_int_equal(world_drops(wd, DROP_no_route), 1);
	p = packet_udp("203.0.113.1", 52625, "192.0.2.1", 40000, NULL, 20);
	inject(wd, &p, &meta);
	assert_int_equal(world_drops(wd, DROP_inject_bad), 1);
	p = packet_udp("2001:db8:1::1", 52625, "2001:db8:9::7", 40000, NULL, 20);
	inject(wd, &p, &meta);
	assert_true(world_take(wd, WORLD_WAN, &got));
	for (size_t size = 0; size < p.size; size++) {
		struct packet cut = p;

		cut.size = size;
		inject(wd, &cut, &meta);
	}
	assert_int_equal(world_drops(wd, DROP_inject_bad), p.size);
	world_expect_silence(wd);
}

static void inject_client(void **state)
{
	struct world *wd = *state;
	struct world_keys k = connect_client(wd);
	struct dp_meta meta = {.kind = DP_INJECT_CLIENT};
	struct packet p = packet_udp(WORLD_GATEWAY_V4, 53535, WORLD_CLIENT_V4, 1, NULL, 1252), got;

	inject(wd, &p, &meta);
	assert_true(world_client_take(wd, &k, &got, NULL));
	assert_int_equal(got.size, 1280);
	assert_memory_equal(got.bytes, p.bytes, p.size);
	p.size++;
	inject(wd, &p, &meta); // too big
	meta.slot = 1;
	inject(wd, &p, &meta); // no such client
	meta.slot = WORLD_CLIENTS;
	inject(wd, &p, &meta);
	assert_int_equal(world_drops(wd, DROP_inject_bad), 3);
	world_expect_silence(wd);
}

static void tunnel_addresses_change(void **state)
{
	struct world *wd = *state;
	struct world_keys k = connect_client(wd);
	struct packet p = packet_udp(WORLD_CLIENT_V4, 1, "100.64.7.7", 53535, NULL, 8), got;
	struct ip_addr v4, v6 = {0};
	struct dp_meta meta;

	world_client_send(wd, &k, &p);
	assert_int_equal(world_drops(wd, DROP_inner_tunnel_dst), 1);
	assert_true(world_client_take(wd, &k, &got, NULL));
	assert_int_equal(ip_addr_parse(&v4, "100.64.7.7"), 0);
	dp_tunnel_set(wd->dp, &v4, &v6);
	world_client_send(wd, &k, &p);
	assert_true(world_punt(wd, DP_PUNT_TUN, &got, &meta));
	assert_int_equal(dp_reclaim(wd->dp), 0);
}

#define WORLD_TEST(name) cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WORLD_TEST(del_says_goodbye_and_wipes),
		WORLD_TEST(del_of_an_unconnected_client),
		WORLD_TEST(keys_do_not_stay_in_the_ring),
		WORLD_TEST(flows_clear),
		WORLD_TEST(path_none),
		WORLD_TEST(full_command_ring_is_back_pressure),
		WORLD_TEST(inject_frame),
		WORLD_TEST(inject_ip),
		WORLD_TEST(inject_client),
		WORLD_TEST(tunnel_addresses_change),
	};

	return cmocka_run_group_tests(tests, unit_eal_init, unit_eal_fini);
}
