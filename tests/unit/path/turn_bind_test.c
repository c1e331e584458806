// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "control/path/turn.h"
#include "tests/unit/path/turn_bench.h"
#include "tests/unit/unit.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define RELAY_V4 "198.51.100.5"
#define RELAY_V6 "2001:db8:5::5"
#define PEER "203.0.113.7:52625"

static struct bench *started(void)
{
	struct bench *b = bench_create(RELAY_V4, RELAY_V6);

	bench_start(b);
	return b;
}

static void bind_peer(struct bench *b, const char *peer)
{
	struct ip_endpoint ep = bench_endpoint(peer);

	assert_int_equal(turn_allocation_bind(b->a, b->now, &ep), 0);
	bench_drain(b);
}

static int send_peer(struct bench *b, const char *peer, const char *text)
{
	struct ip_endpoint ep = bench_endpoint(peer);
	int rc = turn_allocation_send(b->a, b->now, &ep, text, strlen(text));

	bench_drain(b);
	return rc;
}

static struct ip_endpoint numbered_peer(unsigned i)
{
	const uint8_t bytes[4] = {203, 0, (uint8_t)(i >> 8), (uint8_t)i};

	return (struct ip_endpoint){.addr = ip_addr_v4(bytes), .port = 1000};
}

static void b40_channel_data_header(void **)
{
	const uint8_t good[] = {0x4f, 0xff, 0x00, 0x03, 'a', 'b', 'c'};
	uint8_t frame[sizeof(good)] = {0}, edge[4] = {0x3f, 0xff, 0, 0};
	uint16_t channel = 0;

	turn_channel_header_write(frame, 0x4fff, 3);
	memcpy(frame + 4, "abc", 3);
	assert_memory_equal(frame, good, sizeof(good));
	assert_true(turn_channel_header_parse(frame, sizeof(frame), &channel));
	assert_int_equal(channel, 0x4fff);
	// Padding to four bytes is for streams; here it is an error.
	assert_false(turn_channel_header_parse(frame, sizeof(frame) - 1, &channel));
	for (size_t size = 0; size < 4; size++)
		assert_false(turn_channel_header_parse(frame, size, &channel));
	assert_false(turn_channel_header_parse(edge, sizeof(edge), &channel));
	edge[0] = 0x50;
	assert_false(turn_channel_header_parse(edge, sizeof(edge), &channel));
	edge[0] = 0x40;
	assert_true(turn_channel_header_parse(edge, sizeof(edge), &channel));
}

// Item 40: both ways, any size, no padding.
static void b40_data_both_ways_of_any_size(void **)
{
	struct bench *b = started();
	struct ip_endpoint peer = bench_endpoint(PEER), out, relayed;

	bind_peer(b, PEER);
	assert_int_equal(bench_event(b, TURN_EVENT_CHANNEL_UP, 0)->channel, 0x4000);
	assert_true(turn_allocation_channel_peer(b->a, 0x4000, &out));
	assert_true(ip_endpoint_eq(&out, &peer));
	bench_from_peer(b, PEER, "198.51.100.5:49152", "hello");
	assert_int_equal(b->rx[TURN_RX_DATA], 1);
	assert_string_equal((char *)b->data_bytes, "hello");
	assert_int_equal(b->data.channel, 0x4000);
	assert_true(ip_endpoint_eq(&b->data.remote, &peer));
	assert_true(turn_allocation_relayed(b->a, IP_FAMILY_V4, &relayed));
	assert_true(ip_endpoint_eq(&b->data.local, &relayed));
	assert_int_equal(send_peer(b, PEER, "abc"), 0);
	assert_int_equal(b->last.size, 7);
	assert_memory_equal(
		b->last.data,
		"\x40\x00\x00\x03"
		"abc",
		7);
	assert_int_equal(b->relay.n_forwarded, 2);

	bind_peer(b, "[2001:db8:7::7]:1");
	bench_from_peer(b, "[2001:db8:7::7]:1", "[2001:db8:5::5]:49152", "six");
	assert_int_equal(b->rx[TURN_RX_DATA], 2);
	assert_true(turn_allocation_relayed(b->a, IP_FAMILY_V6, &relayed));
	assert_true(ip_endpoint_eq(&b->data.local, &relayed));
	bench_destroy(b);
}

static void test_queued_until_allocated(void **)
{
	struct bench *b = bench_create(RELAY_V4, NULL);
	struct ip_endpoint peer = bench_endpoint(PEER), six = bench_endpoint("[2001:db8::1]:1");

	b->is_cut = true;
	bench_start(b);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(turn_allocation_bind(b->a, b->now, &peer), 0);
	assert_int_equal(turn_allocation_bind(b->a, b->now, &six), 0);
	assert_int_equal(send_peer(b, PEER, "early"), -ENOTCONN);
	b->is_cut = false;
	bench_run(b, 2 * BENCH_S);
	// Once per peer; the family that the relay lacks is skipped.
	assert_int_equal(b->relay.n_channel_bind, 1);
	assert_int_equal(bench_count_events(b, TURN_EVENT_CHANNEL_UP), 1);
	bench_destroy(b);
}

static void test_queue_keeps_the_newest(void **)
{
	struct bench *b = bench_create(RELAY_V4, NULL);
	struct ip_endpoint peer, out;

	b->is_cut = true;
	bench_start(b);
	for (unsigned i = 0; i < TURN_BIND_QUEUE_MAX + 5; i++) {
		peer = numbered_peer(i);
		assert_int_equal(turn_allocation_bind(b->a, b->now, &peer), 0);
	}
	b->is_cut = false;
	bench_run(b, 2 * BENCH_S);
	assert_int_equal(bench_count_events(b, TURN_EVENT_CHANNEL_UP), TURN_BIND_QUEUE_MAX);
	peer = numbered_peer(5);
	assert_true(turn_allocation_channel_peer(b->a, 0x4000, &out));
	assert_true(ip_endpoint_eq(&out, &peer));
	bench_destroy(b);
}

static void b41_unconfirmed_and_unknown_channels(void **)
{
	struct bench *b = started();
	struct ip_endpoint peer = bench_endpoint(PEER);
	struct turn_route route;
	uint8_t frame[5] = {0x40, 0x00, 0x00, 0x01, 'x'};

	b->is_cut = true;
	// The packet that finds no channel is dropped, the next ones go ahead of the confirmation.
	assert_int_equal(send_peer(b, PEER, "one"), -ENOTCONN);
	assert_int_equal(send_peer(b, PEER, "two"), 0);
	assert_int_equal(turn_allocation_route(b->a, b->now, &peer, &route), 0);
	assert_int_equal(route.channel, 0x4000);
	assert_false(route.is_confirmed);
	// Item 41: nothing is received on it yet.
	assert_int_equal(bench_deliver(b, frame, sizeof(frame)), TURN_RX_UNCONFIRMED_CHANNEL);
	frame[1] = 1;
	assert_int_equal(bench_deliver(b, frame, sizeof(frame)), TURN_RX_UNKNOWN_CHANNEL);
	b->is_cut = false;
	bench_run(b, BENCH_S);
	assert_int_equal(turn_allocation_route(b->a, b->now, &peer, &route), 0);
	assert_true(route.is_confirmed);
	assert_true(ip_endpoint_eq(&route.remote, &b->config.remote_v4));
	assert_true(ip_endpoint_eq(&route.local, &b->config.local_v4));
	frame[1] = 0;
	assert_int_equal(bench_deliver(b, frame, sizeof(frame)), TURN_RX_DATA);
	bench_destroy(b);
}

// Item 39: with traffic.
static void b39_refresh_at_300_s_with_traffic(void **)
{
	struct bench *b = started();

	bind_peer(b, PEER);
	bench_run(b, 100 * BENCH_S);
	bench_from_peer(b, PEER, "198.51.100.5:49152", "x");
	bench_run(b, 199 * BENCH_S);
	assert_int_equal(b->relay.n_channel_bind, 1);
	bench_run(b, 2 * BENCH_S);
	assert_int_equal(b->relay.n_channel_bind, 2);
	// Late data refreshes at once; from then on there is none.
	bench_run(b, 350 * BENCH_S);
	assert_int_equal(b->relay.n_channel_bind, 2);
	bench_from_peer(b, PEER, "198.51.100.5:49152", "y");
	assert_int_equal(b->relay.n_channel_bind, 3);
	bench_run(b, 599 * BENCH_S);
	assert_int_equal(bench_count_events(b, TURN_EVENT_CHANNEL_DOWN), 0);
	bench_run(b, 2 * BENCH_S);
	assert_int_equal(bench_count_events(b, TURN_EVENT_CHANNEL_DOWN), 1);
	assert_int_equal(b->relay.n_channel_bind, 3);
	assert_int_equal(bench_count_events(b, TURN_EVENT_CHANNEL_UP), 1);
	bench_destroy(b);
}

static void test_refresh_by_worker_report(void **)
{
	struct bench *b = started();

	bind_peer(b, PEER);
	turn_allocation_note_received(b->a, b->now, 0x4000);
	turn_allocation_note_received(b->a, b->now, 0x4001); // nobody's
	turn_allocation_note_received(b->a, b->now, 0x5000);
	bench_run(b, 301 * BENCH_S);
	assert_int_equal(b->relay.n_channel_bind, 2);
	bench_destroy(b);
}

// Permissions of RFC servers end after 300 s.
static void test_refresh_at_rfc_server(void **)
{
	struct bench *b = bench_create(RELAY_V4, NULL);

	b->relay.is_rfc = true;
	bench_start(b);
	bind_peer(b, PEER);
	bench_from_peer(b, PEER, "198.51.100.5:49152", "x");
	bench_run(b, 241 * BENCH_S);
	assert_int_equal(b->relay.n_channel_bind, 2);
	bench_destroy(b);
}

// Item 39: without traffic.
static void b39_lapse_at_600_s_reuse_at_900_s(void **)
{
	struct bench *b = started();
	struct ip_endpoint out;

	bind_peer(b, PEER);
	bench_run(b, 601 * BENCH_S);
	assert_int_equal(bench_count_events(b, TURN_EVENT_CHANNEL_DOWN), 1);
	assert_false(turn_allocation_channel_peer(b->a, 0x4000, &out));
	bench_from_peer(b, PEER, "198.51.100.5:49152", "x");
	assert_int_equal(b->rx[TURN_RX_DATA], 0);
	// The same peer gets the same number while it is reserved.
	assert_int_equal(send_peer(b, PEER, "x"), -ENOTCONN);
	assert_int_equal(bench_event(b, TURN_EVENT_CHANNEL_UP, 1)->channel, 0x4000);
	// And another one when it is not.
	bench_run(b, 901 * BENCH_S);
	assert_int_equal(send_peer(b, PEER, "x"), -ENOTCONN);
	assert_int_equal(bench_event(b, TURN_EVENT_CHANNEL_UP, 2)->channel, 0x4001);
	bench_destroy(b);
}

// Item 39: more peers than numbers.
static void b39_more_than_4096_peers(void **)
{
	struct bench *b = bench_create(RELAY_V4, NULL);
	struct ip_endpoint peer;
	struct turn_route route;

	b->is_quiet = true;
	bench_start(b);
	for (unsigned i = 0; i < TURN_CHANNEL_COUNT; i++) {
		peer = numbered_peer(i);
		assert_int_equal(turn_allocation_bind(b->a, b->now, &peer), 0);
		b->n_sent = 0;
		bench_drain(b);
	}
	for (unsigned i = 0; i < TURN_CHANNEL_COUNT; i += 371) {
		peer = numbered_peer(i);
		assert_int_equal(turn_allocation_route(b->a, b->now, &peer, &route), 0);
		assert_int_equal(route.channel, 0x4000 + i);
	}
	peer = numbered_peer(TURN_CHANNEL_COUNT);
	assert_int_equal(turn_allocation_bind(b->a, b->now, &peer), -ENOSPC);
	// Still reserved after they lapsed, free after 900 s.
	for (unsigned s = 0; s < 899; s += 25) {
		bench_run(b, (s == 875 ? 24 : 25) * BENCH_S);
		b->n_sent = 0;
	}
	assert_int_equal(turn_allocation_bind(b->a, b->now, &peer), -ENOSPC);
	bench_run(b, 2 * BENCH_S);
	assert_int_equal(turn_allocation_bind(b->a, b->now, &peer), 0);
	bench_drain(b);
	assert_int_equal(turn_allocation_route(b->a, b->now, &peer, &route), 0);
	assert_int_equal(route.channel, 0x4000);
	assert_true(route.is_confirmed);
	bench_destroy(b);
}

static void b39_refused_number_rests(void **)
{
	struct bench *b = started();
	struct ip_endpoint peer = bench_endpoint(PEER);
	struct turn_route route;

	b->relay.fail_method = STUN_METHOD_CHANNEL_BIND;
	b->relay.fail_code = 400;
	b->relay.fail_times = 1;
	bind_peer(b, PEER);
	assert_int_equal(bench_count_events(b, TURN_EVENT_CHANNEL_UP), 0);
	// The next packet tries another number.
	assert_int_equal(send_peer(b, PEER, "x"), -ENOTCONN);
	assert_int_equal(turn_allocation_route(b->a, b->now, &peer, &route), 0);
	assert_int_equal(route.channel, 0x4001);
	assert_true(route.is_confirmed);
	bench_destroy(b);
}

static void test_data_postpones_keepalive(void **)
{
	struct bench *b = bench_create(RELAY_V4, NULL);
	size_t mark;

	b->relay.lifetime_s = 3600;
	bench_start(b);
	bind_peer(b, PEER);
	mark = b->n_sent;
	for (unsigned i = 0; i < 10; i++) {
		bench_run(b, 24 * BENCH_S);
		bench_from_peer(b, PEER, "198.51.100.5:49152", "x");
		assert_int_equal(send_peer(b, PEER, "x"), 0);
	}
	assert_int_equal(bench_count_sent(b, mark, STUN_METHOD_BINDING), 0);
	bench_run(b, 20 * BENCH_S);
	turn_allocation_note_sent(b->a, b->now);
	bench_run(b, 24 * BENCH_S);
	assert_int_equal(bench_count_sent(b, mark, STUN_METHOD_BINDING), 0);
	bench_run(b, 2 * BENCH_S);
	assert_int_equal(bench_count_sent(b, mark, STUN_METHOD_BINDING), 1);
	bench_destroy(b);
}

// Sending alone shows nothing about the relay.
static void test_sending_hides_no_dead_relay(void **)
{
	struct bench *b = started();

	bind_peer(b, PEER);
	b->is_cut = true;
	for (unsigned i = 0; i < 60 && !turn_allocation_is_suspended(b->a); i++) {
		turn_allocation_note_sent(b->a, b->now);
		bench_run(b, BENCH_S);
	}
	assert_true(turn_allocation_is_suspended(b->a));
	bench_destroy(b);
}

static void test_bad_peers_and_sizes(void **)
{
	const char *bad[] = {"0.0.0.0:1", "224.0.0.1:1", "203.0.113.7:0", "[ff02::1]:1"};
	struct bench *b = started();
	struct ip_endpoint peer = bench_endpoint(PEER);
	uint8_t big[TURN_TRANSMIT_SIZE_MAX] = {0};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct ip_endpoint ep = bench_endpoint(bad[i]);

		assert_int_equal(turn_allocation_bind(b->a, b->now, &ep), -EINVAL);
	}
	bind_peer(b, PEER);
	assert_int_equal(
		turn_allocation_send(b->a, b->now, &peer, big, sizeof(big) - 3), -EMSGSIZE);
	assert_int_equal(turn_allocation_send(b->a, b->now, &peer, big, sizeof(big) - 4), 0);
	for (unsigned i = 1; i < TURN_TRANSMIT_QUEUE_MAX; i++)
		assert_int_equal(turn_allocation_send(b->a, b->now, &peer, big, 1), 0);
	assert_int_equal(turn_allocation_send(b->a, b->now, &peer, big, 1), -ENOBUFS);
	bench_destroy(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(b40_channel_data_header),
		cmocka_unit_test(b40_data_both_ways_of_any_size),
		cmocka_unit_test(test_queued_until_allocated),
		cmocka_unit_test(test_queue_keeps_the_newest),
		cmocka_unit_test(b41_unconfirmed_and_unknown_channels),
		cmocka_unit_test(b39_refresh_at_300_s_with_traffic),
		cmocka_unit_test(test_refresh_by_worker_report),
		cmocka_unit_test(test_refresh_at_rfc_server),
		cmocka_unit_test(b39_lapse_at_600_s_reuse_at_900_s),
		cmocka_unit_test(b39_more_than_4096_peers),
		cmocka_unit_test(b39_refused_number_rests),
		cmocka_unit_test(test_data_postpones_keepalive),
		cmocka_unit_test(test_sending_hides_no_dead_relay),
		cmocka_unit_test(test_bad_peers_and_sizes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
