// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "tests/unit/eal.h"
#include "tests/unit/stage/world.h"
#include "tests/unit/unit.h"

#include <stdlib.h>

static void payload_put(struct world *wd, const uint8_t *payload, size_t size)
{
	struct packet frame = world_outer(wd, 0, payload, size);

	world_wan_put(wd, &frame);
	world_run(wd);
}

static struct packet hello(void)
{
	return packet_udp(WORLD_CLIENT_V4, 5401, WORLD_SERVER_V4, 81, "12345678", 8);
}

// What cannot be authenticated changes no byte of the client's state.
struct frozen {
	struct client *copy;
	struct dp_event event;
};

static struct frozen freeze(struct world *wd)
{
	struct frozen f = {.copy = aligned_alloc(64, sizeof(struct client))};

	while (world_event(wd, &f.event))
		;
	assert_non_null(f.copy);
	memcpy(f.copy, &wd->w->clients[0], sizeof(*f.copy));
	return f;
}

static void thaw(struct world *wd, struct frozen *f)
{
	assert_memory_equal(f->copy, &wd->w->clients[0], sizeof(*f->copy));
	assert_false(world_event(wd, &f->event));
	world_expect_silence(wd);
	free(f->copy);
}

static void truncated_at_every_byte(void **state)
{
	struct world *wd = *state;
	struct world_keys k = world_keypair_add(wd, 0, 1, false);
	struct packet p = hello();
	uint8_t msg[PACKET_MAX];
	size_t size = world_seal(&k, p.bytes, p.size, msg);
	struct frozen f = freeze(wd);

	for (size_t n = 4; n < size; n++) {
		payload_put(wd, msg, n);
		if (n < 32)
			assert_int_equal(world_drops(wd, DROP_wg_short), 1);
		else
			assert_int_equal(world_drops(wd, DROP_wg_auth), 1);
	}
	for (size_t n = 0; n < 4; n++)
		payload_put(wd, msg, n);
	assert_int_equal(world_drops(wd, DROP_rx_unknown_type), 4);
	thaw(wd, &f);
}

static void forged_at_every_byte(void **state)
{
	struct world *wd = *state;
	struct world_keys k = world_keypair_add(wd, 0, 1, false);
	struct packet p = hello();
	uint8_t msg[PACKET_MAX];
	size_t size = world_seal(&k, p.bytes, p.size, msg);
	struct frozen f = freeze(wd);
	struct dp_meta meta;

	for (size_t at = 0; at < size; at++) {
		msg[at] ^= 0x80;
		payload_put(wd, msg, size);
		msg[at] ^= 0x80;
	}
	// Type and reserved bytes, the receiver index, counter and everything behind it.
	assert_int_equal(world_drops(wd, DROP_rx_unknown_type), 4);
	assert_int_equal(world_drops(wd, DROP_wg_unknown_index), 4);
	assert_int_equal(
		world_drops(wd, DROP_wg_auth) + world_drops(wd, DROP_wg_expired), size - 8);
	thaw(wd, &f);
	assert_false(world_punt(wd, DP_PUNT_HANDSHAKE, &p, &meta));
	// The same message untouched is good.
	payload_put(wd, msg, size);
	assert_int_equal(wd->w->clients[0].stats.rx_packets, 1);
}

static void replayed(void **state)
{
	struct world *wd = *state;
	struct world_keys k = world_keypair_add(wd, 0, 1, false);
	struct packet p = hello(), got;
	uint8_t msg[PACKET_MAX];
	struct frozen f;
	size_t size;

	world_policy_open(wd, 0, UINT64_MAX);
	k.counter = 9000;
	size = world_seal(&k, p.bytes, p.size, msg);
	payload_put(wd, msg, size);
	assert_true(world_lan_take(wd, &got));
	f = freeze(wd);
	payload_put(wd, msg, size);
	assert_int_equal(world_drops(wd, DROP_wg_replay), 1);
	k.counter = 9000 - 8192; // just behind the window
	size = world_seal(&k, p.bytes, p.size, msg);
	payload_put(wd, msg, size);
	assert_int_equal(world_drops(wd, DROP_wg_replay), 1);
	thaw(wd, &f);
	k.counter = 9000 - 8191; // its last place
	world_client_send(wd, &k, &p);
	assert_true(world_lan_take(wd, &got));
}

// The same packet twice in one burst: both pass the early check, one the window.
static void replayed_within_a_burst(void **state)
{
	struct world *wd = *state;
	struct world_keys k = world_keypair_add(wd, 0, 1, false);
	struct packet p = hello(), got, frame;
	uint8_t msg[PACKET_MAX];
	size_t size = world_seal(&k, p.bytes, p.size, msg);

	world_policy_open(wd, 0, UINT64_MAX);
	frame = world_outer(wd, 0, msg, size);
	world_wan_put(wd, &frame);
	world_wan_put(wd, &frame);
	world_run(wd);
	assert_int_equal(world_drops(wd, DROP_wg_replay), 1);
	assert_true(world_lan_take(wd, &got));
	assert_false(world_lan_take(wd, &got));
}

static void unknown_index(void **state)
{
	struct world *wd = *state;
	struct world_keys k = world_keypair_add(wd, 0, 1, false);
	struct packet p = hello();
	static const uint32_t indices[] = {2, 0, 0x101, 0x701, 0x801, 0xffffffff};

	for (size_t i = 0; i < COUNT_OF(indices); i++) {
		uint8_t msg[PACKET_MAX];
		size_t size;
		struct packet frame;

		k.gateway_index = indices[i];
		size = world_seal(&k, p.bytes, p.size, msg);
		frame = world_outer(wd, 0, msg, size);
		world_wan_put(wd, &frame);
		world_run(wd);
		assert_int_equal(world_drops(wd, DROP_wg_unknown_index), 1);
	}
}

static void expired(void **state)
{
	struct world *wd = *state;
	struct world_keys k = world_keypair_add(wd, 0, 1, false);
	struct packet p = hello(), got;

	world_policy_open(wd, 0, UINT64_MAX);
	k.counter = UINT64_MAX - (1 << 13); // REJECT_AFTER_MESSAGES
	world_client_send(wd, &k, &p);
	assert_int_equal(world_drops(wd, DROP_wg_expired), 1);
	k.counter = 0;
	wd->now += 179 * wd->w->tsc_hz;
	world_client_send(wd, &k, &p);
	assert_true(world_lan_take(wd, &got));
	wd->now += wd->w->tsc_hz;
	world_client_send(wd, &k, &p);
	assert_int_equal(world_drops(wd, DROP_wg_expired), 1);
	// The wheel wipes the key.
	world_wait(wd, 1);
	assert_null(client_keypair_find(&wd->w->clients[0], k.gateway_index));
	world_client_send(wd, &k, &p);
	assert_int_equal(world_drops(wd, DROP_wg_unknown_index), 1);
}

static void to_client(struct world *wd)
{
	struct rte_mbuf *m = dp_mbuf_alloc(wd->dp);
	struct packet p = packet_udp(WORLD_GATEWAY_V4, 53535, WORLD_CLIENT_V4, 1, NULL, 9);

	memcpy(rte_pktmbuf_append(m, (uint16_t)p.size), p.bytes, p.size);
	*(struct dp_meta *)rte_mbuf_to_priv(m) = (struct dp_meta){.kind = DP_INJECT_CLIENT};
	assert_int_equal(dp_inject(wd->dp, m), 0);
	world_run(wd);
}

// A responder does not send on a keypair before the initiator's first packet on it.
static void responder_keypair_waits_for_confirmation(void **state)
{
	struct world *wd = *state;
	struct world_keys k1 = world_keypair_add(wd, 0, 1, false), k2;
	struct packet p = hello(), got;
	struct dp_event e;

	world_policy_open(wd, 0, UINT64_MAX);
	to_client(wd);
	assert_int_equal(world_drops(wd, DROP_wg_no_keypair), 1);
	world_client_send(wd, &k1, &p);
	assert_true(world_event(wd, &e));
	assert_int_equal(e.type, DP_EVENT_KEYPAIR_CONFIRMED);
	assert_int_equal(e.slot, 0);
	assert_int_equal(e.local_index, k1.gateway_index);
	to_client(wd);
	assert_true(world_client_take(wd, &k1, &got, NULL));

	// Rekey: next exists, current still sends; then an empty packet confirms.
	k2 = world_keypair_add(wd, 0, 2, false);
	to_client(wd);
	assert_true(world_client_take(wd, &k1, &got, NULL));
	got.size = 0;
	world_client_send(wd, &k2, &got);
	assert_true(world_event(wd, &e));
	assert_int_equal(e.local_index, k2.gateway_index);
	to_client(wd);
	assert_true(world_client_take(wd, &k2, &got, NULL));
	// What was in flight on the previous keypair still arrives.
	assert_true(world_lan_take(wd, &got));
	world_client_send(wd, &k1, &p);
	assert_true(world_lan_take(wd, &got));
	assert_false(world_event(wd, &e));
}

static void initiator_keypair_is_current_at_once(void **state)
{
	struct world *wd = *state;
	struct world_keys k1 = world_keypair_add(wd, 0, 1, false), k2, k3;
	struct packet p = hello(), got;

	world_policy_open(wd, 0, UINT64_MAX);
	world_client_send(wd, &k1, &p);
	assert_true(world_lan_take(wd, &got));
	k2 = world_keypair_add(wd, 0, 2, true);
	assert_true(world_client_take(wd, &k2, &got, NULL));
	assert_int_equal(got.size, 0); // the keepalive that confirms
	to_client(wd);
	assert_true(world_client_take(wd, &k2, &got, NULL));
	world_client_send(wd, &k1, &p); // previous
	assert_true(world_lan_take(wd, &got));
	k3 = world_keypair_add(wd, 0, 3, true);
	assert_true(world_client_take(wd, &k3, &got, NULL));
	world_client_send(wd, &k1, &p); // gone
	assert_int_equal(world_drops(wd, DROP_wg_unknown_index), 1);
	world_client_send(wd, &k2, &p);
	assert_true(world_lan_take(wd, &got));
}

// In one burst: a packet on the old current, one on next (which confirms), one on the old again.
static void rekey_within_a_burst_loses_nothing(void **state)
{
	struct world *wd = *state;
	struct world_keys k1 = world_keypair_add(wd, 0, 1, false), k2;
	struct packet p = hello(), got;
	struct world_keys *order[5];
	unsigned n = 0;

	world_policy_open(wd, 0, UINT64_MAX);
	world_client_send(wd, &k1, &p);
	assert_true(world_lan_take(wd, &got));
	k2 = world_keypair_add(wd, 0, 2, false);
	order[0] = order[2] = order[4] = &k1;
	order[1] = order[3] = &k2;
	for (unsigned i = 0; i < COUNT_OF(order); i++) {
		uint8_t msg[PACKET_MAX];
		size_t size = world_seal(order[i], p.bytes, p.size, msg);
		struct packet frame = world_outer(wd, 0, msg, size);

		world_wan_put(wd, &frame);
	}
	world_run(wd);
	while (world_lan_take(wd, &got))
		n++;
	assert_int_equal(n, 5);
}

static void cleared_keypairs_are_gone(void **state)
{
	struct world *wd = *state;
	struct world_keys k = world_keypair_add(wd, 0, 1, true);
	const struct dp_cmd clear = {.type = DP_CMD_KEYPAIRS_CLEAR};
	static const uint8_t none[sizeof(struct keypair)];
	struct packet p = hello(), got;

	assert_true(world_client_take(wd, &k, &got, NULL));
	assert_int_equal(dp_cmd_send(wd->dp, &clear), 0);
	world_run(wd);
	world_client_send(wd, &k, &p);
	assert_int_equal(world_drops(wd, DROP_wg_unknown_index), 1);
	for (unsigned i = 0; i < CLIENT_KEYPAIRS; i++)
		assert_memory_equal(&wd->w->clients[0].keypairs[i], none, sizeof(none));
}

#define WORLD_TEST(name) cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)

static bool moved(struct world *wd, struct dp_event *event)
{
	while (world_event(wd, event)) {
		if (event->type == DP_EVENT_CLIENT_MOVED)
			return true;
	}
	return false;
}

// Seals now, for a delivery from the address of client @p slot.
static struct packet sealed_from(struct world *wd, struct world_keys *k, uint32_t slot)
{
	struct packet p = hello();
	uint8_t msg[PACKET_MAX];
	size_t size = world_seal(k, p.bytes, p.size, msg);

	return world_outer(wd, slot, msg, size);
}

static void deliver(struct world *wd, const struct packet *frame)
{
	struct packet got;

	world_wan_put(wd, frame);
	world_run(wd);
	while (world_lan_take(wd, &got))
		;
}

// A client without ICE is where its newest authenticated packet came from.
static void source_followed(void **state)
{
	struct world *wd = *state;
	struct world_keys k = world_keypair_add(wd, 0, 1, false);
	struct dp_cmd set = {.type = DP_CMD_PATH_SET};
	struct packet home, late, forged, away;
	struct dp_event event;
	char text[IP_TEXT_SIZE];

	world_policy_open(wd, 0, UINT64_MAX);
	wd->w->clients[0].follows_source = true;
	home = sealed_from(wd, &k, 0);
	late = sealed_from(wd, &k, 1);
	deliver(wd, &home);
	assert_false(moved(wd, &event));
	home = sealed_from(wd, &k, 0);
	deliver(wd, &home);
	deliver(wd, &late);
	assert_false(moved(wd, &event)); // not the newest

	forged = sealed_from(wd, &k, 1);
	forged.bytes[forged.size - 1] ^= 1;
	deliver(wd, &forged);
	assert_false(moved(wd, &event));

	away = sealed_from(wd, &k, 1);
	deliver(wd, &away);
	assert_true(moved(wd, &event));
	assert_int_equal(event.slot, 0);
	assert_string_equal(ip_endpoint_format(&event.moved.remote, text), "198.51.100.8:40000");
	assert_string_equal(ip_endpoint_format(&event.moved.local, text), "203.0.113.1:52625");
	away = sealed_from(wd, &k, 1);
	deliver(wd, &away);
	assert_false(moved(wd, &event)); // told, not answered yet

	set.path_set.local = event.moved.local;
	set.path_set.remote = event.moved.remote;
	assert_int_equal(dp_cmd_send(wd->dp, &set), 0);
	world_run(wd);
	away = sealed_from(wd, &k, 1);
	deliver(wd, &away);
	assert_false(moved(wd, &event));
	away = sealed_from(wd, &k, 0);
	deliver(wd, &away);
	assert_true(moved(wd, &event)); // and back
}

static void source_ignored_with_ice(void **state)
{
	struct world *wd = *state;
	struct world_keys k = world_keypair_add(wd, 0, 1, false);
	struct dp_event event;
	struct packet away;

	world_policy_open(wd, 0, UINT64_MAX);
	away = sealed_from(wd, &k, 1);
	deliver(wd, &away);
	assert_int_equal(wd->w->clients[0].stats.rx_packets, 1);
	assert_false(moved(wd, &event));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WORLD_TEST(truncated_at_every_byte),
		WORLD_TEST(forged_at_every_byte),
		WORLD_TEST(replayed),
		WORLD_TEST(replayed_within_a_burst),
		WORLD_TEST(unknown_index),
		WORLD_TEST(expired),
		WORLD_TEST(responder_keypair_waits_for_confirmation),
		WORLD_TEST(initiator_keypair_is_current_at_once),
		WORLD_TEST(rekey_within_a_burst_loses_nothing),
		WORLD_TEST(cleared_keypairs_are_gone),
		WORLD_TEST(source_followed),
		WORLD_TEST(source_ignored_with_ice),
	};

	return cmocka_run_group_tests(tests, unit_eal_init, unit_eal_fini);
}
