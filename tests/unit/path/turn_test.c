// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "control/path/turn.h"
#include "tests/unit/path/hex.h"
#include "tests/unit/path/turn_bench.h"
#include "tests/unit/unit.h"

#include <errno.h>
#include <string.h>

#define RELAY_V4 "198.51.100.5"
#define RELAY_V6 "2001:db8:5::5"

static void assert_sent(const struct bench *b, const char *hex)
{
	uint8_t want[512];
	size_t size = hex_read(want, sizeof(want), hex);

	assert_true(size > 0);
	assert_int_equal(b->last.size, size);
	assert_memory_equal(b->last.data, want, size);
}

static void assert_candidate(
	const struct turn_event *event,
	enum ice_kind kind,
	const char *addr,
	const char *base,
	bool is_cross_family)
{
	struct ip_endpoint a = bench_endpoint(addr), bb = bench_endpoint(base);

	assert_int_equal(event->candidate.kind, kind);
	assert_true(ip_endpoint_eq(&event->candidate.addr, &a));
	assert_true(ip_endpoint_eq(&event->candidate.base, &bb));
	assert_int_equal(event->is_cross_family, is_cross_family);
}

// spec/connectivity.md B.6, B.4 and B.5; transaction id 00 01 .. 0b throughout.
static void appendix_b4_b5_b6_sent_by_the_turn_client(void **)
{
	struct bench *b = bench_create(RELAY_V4, NULL);
	struct ip_endpoint peer = bench_endpoint("203.0.113.7:52625");
	uint8_t reply[64];
	size_t size = hex_read(
		reply,
		sizeof(reply),
		"0101000c2112a442000102030405060708090a0b00200008"
		"0001ec83ea12d545");

	b->random = 0;
	b->is_cut = true;
	bench_start(b);
	assert_sent(b, "0001000c2112a442000102030405060708090a0b80220007736e6f776e657400");
	assert_int_equal(bench_deliver(b, reply, size), TURN_RX_RESPONSE);
	assert_sent(
		b,
		"000300542112a442000102030405060708090a0b0019000411000000800000040200000080220007"
		"736e6f776e6574000006000f323134353931363830303a73616c740000140008666972657a6f6e65"
		"000800144aa3e1ae2ff35e454069d505d86493198a57f3ce");
	// The next try of the Allocate goes through; its nonce is that of the vector.
	b->is_cut = false;
	bench_run(b, BENCH_S);
	assert_int_equal(turn_allocation_bind(b->a, b->now, &peer), 0);
	bench_drain(b);
	assert_sent(
		b,
		"000900802112a442000102030405060708090a0b001200080001ec83ea12d545000c000440000000"
		"80220007736e6f776e6574000006000f323134353931363830303a73616c740000140008666972657a"
		"6f6e650015002430303030303030302d303030302d303030302d303030302d30303030303030303030"
		"30"
		"3100080014ca30c44cc081f7bc3611342dc6ab88b1e0b586b7");
	bench_destroy(b);
}

// Item 32: Binding to both, Allocate without nonce, 401, Allocate, two addresses of one port.
static void b32_allocates_dual_stack(void **)
{
	struct bench *b = bench_create(RELAY_V4, RELAY_V6);
	uint64_t rtt;

	b->mapped_as[0] = bench_endpoint("203.0.113.7:40123");
	b->latency = 8 * BENCH_MS;
	bench_start(b);
	assert_int_equal(b->relay.n_binding, 2);
	assert_int_equal(b->relay.n_allocate, 2);
	assert_int_equal(b->relay.n_denied, 1);
	assert_int_equal(bench_count_events(b, TURN_EVENT_USABLE), 1);
	assert_int_equal(b->events[0].type, TURN_EVENT_USABLE);
	assert_candidate(
		bench_event(b, TURN_EVENT_CANDIDATE, 0),
		ICE_KIND_HOST,
		"10.0.0.2:52625",
		"10.0.0.2:52625",
		false);
	assert_candidate(
		bench_event(b, TURN_EVENT_CANDIDATE, 1),
		ICE_KIND_SRFLX,
		"203.0.113.7:40123",
		"10.0.0.2:52625",
		false);
	assert_candidate(
		bench_event(b, TURN_EVENT_CANDIDATE, 2),
		ICE_KIND_HOST,
		"[2001:db8:1::2]:52625",
		"[2001:db8:1::2]:52625",
		false);
	assert_candidate(
		bench_event(b, TURN_EVENT_CANDIDATE, 4),
		ICE_KIND_RELAY,
		"198.51.100.5:49152",
		"198.51.100.5:49152",
		false);
	assert_candidate(
		bench_event(b, TURN_EVENT_CANDIDATE, 5),
		ICE_KIND_RELAY,
		"[2001:db8:5::5]:49152",
		"[2001:db8:5::5]:49152",
		true);
	assert_true(turn_allocation_rtt(b->a, &rtt));
	assert_true(rtt >= 8 * BENCH_MS && rtt < 24 * BENCH_MS);
	// The IPv4 Binding was answered first: IPv4 carries the rest.
	for (size_t i = 2; i < b->n_sent; i++)
		assert_int_equal(b->sent[i].remote.addr.family, IP_FAMILY_V4);
	bench_destroy(b);
}

// Item 33.
static void b33_relays_of_one_family(void **)
{
	struct bench *b = bench_create(NULL, RELAY_V6);
	struct ip_endpoint peer = bench_endpoint("203.0.113.7:52625"), out;

	bench_start(b);
	assert_true(turn_allocation_relayed(b->a, IP_FAMILY_V6, &out));
	assert_false(turn_allocation_relayed(b->a, IP_FAMILY_V4, &out));
	assert_int_equal(bench_count_events(b, TURN_EVENT_CANDIDATE), 3);
	assert_false(bench_event(b, TURN_EVENT_CANDIDATE, 2)->is_cross_family);
	assert_int_equal(turn_allocation_bind(b->a, b->now, &peer), -EAFNOSUPPORT);
	bench_destroy(b);

	// IPv4 only, spoken to over IPv6: cross family.
	b = bench_create(NULL, RELAY_V6);
	assert_int_equal(ip_addr_parse(&b->relay.relay_addrs[0], RELAY_V4), 0);
	b->relay.relay_addrs[1].family = IP_FAMILY_NONE;
	bench_start(b);
	assert_int_equal(bench_count_events(b, TURN_EVENT_CANDIDATE), 3);
	assert_true(bench_event(b, TURN_EVENT_CANDIDATE, 2)->is_cross_family);
	bench_destroy(b);
}

static void test_retransmits_and_gives_up(void **)
{
	const uint64_t at[] = {0, 1000, 2500, 4750};
	struct bench *b = bench_create(RELAY_V4, NULL);

	b->is_cut = true;
	bench_start(b);
	bench_run(b, 8124 * BENCH_MS);
	assert_int_equal(b->n_sent, 4);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(b->sent[i].at, at[i] * BENCH_MS);
	assert_int_equal(b->n_events, 0);
	bench_run(b, 2 * BENCH_MS);
	assert_int_equal(b->n_events, 1);
	assert_int_equal(b->events[0].type, TURN_EVENT_FAILED);
	assert_int_equal(b->events[0].failure, TURN_FAILURE_NO_RESPONSE);
	assert_int_equal(turn_allocation_next_deadline(b->a), TURN_DEADLINE_NONE);
	bench_destroy(b);
}

static void b32_the_other_family_answers(void **)
{
	struct bench *b = bench_create(RELAY_V4, RELAY_V6);
	struct ip_endpoint out;

	b->config.remote_v4 = bench_endpoint("198.51.100.66:3478"); // nobody there
	bench_start(b);
	bench_run(b, 20 * BENCH_S);
	assert_true(turn_allocation_relayed(b->a, IP_FAMILY_V4, &out));
	assert_true(bench_event(b, TURN_EVENT_CANDIDATE, 2)->is_cross_family);
	assert_int_equal(bench_count_events(b, TURN_EVENT_FAILED), 0);
	assert_int_equal(bench_count_events(b, TURN_EVENT_WITHDRAWN), 0);
	bench_destroy(b);
}

// Item 42.
static void b42_refresh_keepalive_and_silence(void **)
{
	struct bench *b = bench_create(RELAY_V4, NULL);
	size_t mark;

	bench_start(b);
	mark = b->n_sent;
	bench_run(b, 301 * BENCH_S);
	assert_int_equal(b->relay.n_refresh, 1);
	assert_int_equal(bench_count_sent(b, mark, STUN_METHOD_BINDING), 12);
	bench_run(b, 300 * BENCH_S);
	assert_int_equal(b->relay.n_refresh, 2);
	assert_int_equal(bench_count_events(b, TURN_EVENT_WITHDRAWN), 0);
	// Silent for good: the next Binding (25 s) is given up after 8.125 s.
	b->is_cut = true;
	bench_run(b, 34 * BENCH_S);
	assert_int_equal(bench_count_events(b, TURN_EVENT_WITHDRAWN), 1);
	assert_true(turn_allocation_is_suspended(b->a));
	assert_false(turn_allocation_rtt(b->a, &(uint64_t){0}));
	assert_int_equal(bench_count_events(b, TURN_EVENT_FAILED), 0);
	// Back again: what the relay still holds for us is deleted first.
	b->is_cut = false;
	turn_allocation_probe(b->a, b->now);
	bench_drain(b);
	assert_int_equal(b->relay.n_delete, 1);
	assert_int_equal(bench_count_events(b, TURN_EVENT_USABLE), 2);
	assert_int_equal(bench_event(b, TURN_EVENT_CANDIDATE, 3)->candidate.addr.port, 49153);
	bench_destroy(b);
}

static void test_retries_by_itself(void **)
{
	struct bench *b = bench_create(RELAY_V4, NULL);
	struct ip_endpoint out;

	bench_start(b);
	b->is_cut = true;
	bench_run(b, 40 * BENCH_S);
	assert_true(turn_allocation_is_suspended(b->a));
	b->is_cut = false;
	bench_run(b, 60 * BENCH_S);
	assert_false(turn_allocation_is_suspended(b->a));
	assert_true(turn_allocation_relayed(b->a, IP_FAMILY_V4, &out));
	bench_destroy(b);
}

static void test_lifetime_expires(void **)
{
	struct bench *b = bench_create(RELAY_V4, NULL);

	b->relay.lifetime_s = 20;
	bench_start(b);
	// Refreshes are refused for other reasons, until the allocation ends.
	b->relay.fail_method = STUN_METHOD_REFRESH;
	b->relay.fail_code = 500;
	b->relay.fail_times = 100;
	bench_run(b, 19 * BENCH_S);
	assert_int_equal(bench_count_events(b, TURN_EVENT_WITHDRAWN), 0);
	bench_run(b, 2 * BENCH_S);
	assert_int_equal(bench_count_events(b, TURN_EVENT_WITHDRAWN), 1);
	assert_int_equal(bench_event(b, TURN_EVENT_CANDIDATE, 3)->candidate.addr.port, 49153);
	bench_destroy(b);
}

// Item 34.
static void b34_stale_nonce(void **)
{
	struct bench *b = bench_create(RELAY_V4, NULL);
	struct ip_endpoint peer = bench_endpoint("203.0.113.7:52625");

	bench_start(b);
	b->relay.nonce = 2;
	assert_int_equal(turn_allocation_bind(b->a, b->now, &peer), 0);
	bench_drain(b);
	assert_int_equal(bench_count_events(b, TURN_EVENT_CHANNEL_UP), 1);
	assert_int_equal(b->relay.n_denied, 2);
	assert_int_equal(b->relay.n_channel_bind, 2);
	bench_destroy(b);
}

static void test_endless_challenges_are_bounded(void **)
{
	struct bench *b = bench_create(RELAY_V4, NULL);

	b->relay.fail_method = STUN_METHOD_ALLOCATE;
	b->relay.fail_code = 438;
	b->relay.fail_times = 1000;
	bench_start(b);
	bench_run(b, 59 * BENCH_S);
	assert_true(turn_allocation_is_suspended(b->a));
	assert_true(b->relay.n_allocate < 20);
	bench_destroy(b);
}

// Item 35: a process before us left an allocation on our port.
static void b35_mismatch_on_allocate(void **)
{
	struct bench *b = bench_create(RELAY_V4, NULL);

	bench_start(b);
	turn_allocation_destroy(b->a);
	b->n_events = 0;
	bench_start(b);
	assert_int_equal(b->relay.n_delete, 1);
	assert_int_equal(bench_event(b, TURN_EVENT_CANDIDATE, 2)->candidate.addr.port, 49153);
	bench_destroy(b);
}

// coturn says so unsigned, before it asks who we are.
static void b35_mismatch_at_rfc_server(void **)
{
	struct bench *b = bench_create(RELAY_V4, NULL);

	b->relay.is_rfc = true;
	bench_start(b);
	turn_allocation_destroy(b->a);
	b->n_events = 0;
	bench_start(b);
	assert_int_equal(b->relay.n_delete, 2);
	assert_int_equal(bench_event(b, TURN_EVENT_CANDIDATE, 2)->candidate.addr.port, 49153);
	bench_destroy(b);
}

static void test_mismatch_for_ever(void **)
{
	struct bench *b = bench_create(RELAY_V4, NULL);

	b->relay.fail_method = STUN_METHOD_ALLOCATE;
	b->relay.fail_code = 437;
	b->relay.fail_times = 1000;
	bench_start(b);
	assert_true(turn_allocation_is_suspended(b->a));
	assert_true(b->relay.n_allocate < 10);
	bench_destroy(b);
}

// Item 36.
static void b36_mismatch_on_refresh(void **)
{
	struct bench *b = bench_create(RELAY_V4, NULL);
	struct ip_endpoint peer = bench_endpoint("203.0.113.7:52625");

	bench_start(b);
	assert_int_equal(turn_allocation_bind(b->a, b->now, &peer), 0);
	bench_drain(b);
	double_forget(&b->relay);
	bench_run(b, 301 * BENCH_S);
	assert_int_equal(bench_count_events(b, TURN_EVENT_WITHDRAWN), 1);
	assert_int_equal(bench_event(b, TURN_EVENT_WITHDRAWN, 0)->candidate.addr.port, 49152);
	assert_int_equal(bench_event(b, TURN_EVENT_CANDIDATE, 3)->candidate.addr.port, 49153);
	// The channel follows.
	assert_int_equal(bench_count_events(b, TURN_EVENT_CHANNEL_UP), 2);
	bench_destroy(b);
}

static void b36_mismatch_on_channel_bind(void **)
{
	struct bench *b = bench_create(RELAY_V4, NULL);
	struct ip_endpoint peer = bench_endpoint("203.0.113.7:52625");

	bench_start(b);
	double_forget(&b->relay);
	assert_int_equal(turn_allocation_bind(b->a, b->now, &peer), 0);
	bench_drain(b);
	assert_int_equal(bench_count_events(b, TURN_EVENT_WITHDRAWN), 1);
	assert_int_equal(bench_count_events(b, TURN_EVENT_CHANNEL_UP), 1);
	assert_int_equal(bench_event(b, TURN_EVENT_CANDIDATE, 3)->candidate.addr.port, 49153);
	bench_destroy(b);
}

// Item 37.
static void b37_wrong_credentials(void **)
{
	for (unsigned is_rfc = 0; is_rfc < 2; is_rfc++) {
		struct bench *b = bench_create(RELAY_V4, NULL);

		b->relay.is_rfc = is_rfc != 0;
		bench_start(b);
		b->n_events = 0;
		// The relay takes others from now on; signed with what it knew of us.
		b->relay.fail_method = STUN_METHOD_REFRESH;
		b->relay.fail_code = 401;
		b->relay.fail_times = 1;
		bench_run(b, 301 * BENCH_S);
		assert_int_equal(b->events[0].type, TURN_EVENT_WITHDRAWN);
		assert_int_equal(b->events[1].type, TURN_EVENT_FAILED);
		assert_int_equal(b->events[1].failure, TURN_FAILURE_AUTHENTICATION);
		bench_destroy(b);
	}
}

static void b37_wrong_password_at_rfc_server(void **)
{
	struct bench *b = bench_create(RELAY_V4, NULL);

	b->relay.is_rfc = true;
	b->config.password = "other";
	bench_start(b);
	assert_int_equal(
		bench_event(b, TURN_EVENT_FAILED, 0)->failure, TURN_FAILURE_AUTHENTICATION);
	bench_destroy(b);
}

static void test_protocol_failures(void **)
{
	struct bench *b = bench_create(RELAY_V4, NULL);

	b->relay.fail_method = STUN_METHOD_ALLOCATE;
	b->relay.fail_code = 420;
	b->relay.fail_times = 1;
	bench_start(b);
	assert_int_equal(bench_event(b, TURN_EVENT_FAILED, 0)->failure, TURN_FAILURE_PROTOCOL);
	bench_destroy(b);

	b = bench_create(RELAY_V4, NULL);
	b->relay.realm = "elsewhere";
	bench_start(b);
	assert_int_equal(bench_event(b, TURN_EVENT_FAILED, 0)->failure, TURN_FAILURE_PROTOCOL);
	assert_int_equal(b->relay.n_allocate, 1);
	bench_destroy(b);
}

static void test_refused_allocate(void **)
{
	const unsigned codes[] = {400, 440, 441, 486, 500, 508};

	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
		struct bench *b = bench_create(RELAY_V4, NULL);
		struct ip_endpoint out;

		b->relay.fail_method = STUN_METHOD_ALLOCATE;
		b->relay.fail_code = codes[i];
		b->relay.fail_times = 1;
		bench_start(b);
		assert_int_equal(b->relay.n_allocate, 1);
		assert_true(turn_allocation_is_suspended(b->a));
		assert_int_equal(bench_count_events(b, TURN_EVENT_FAILED), 0);
		// Host and server-reflexive candidates were learnt all the same.
		assert_int_equal(bench_count_events(b, TURN_EVENT_CANDIDATE), 2);
		bench_run(b, 59 * BENCH_S);
		assert_int_equal(b->relay.n_allocate, 1);
		bench_run(b, 2 * BENCH_S);
		assert_true(turn_allocation_relayed(b->a, IP_FAMILY_V4, &out));
		bench_destroy(b);
	}
}

// Item 38: once a relay has signed, nothing unsigned or wrongly signed counts.
static void b38_unsigned_answers_are_ignored(void **)
{
	const unsigned codes[] = {400, 401, 437, 438, 508};

	for (size_t i = 0; i < 2 * sizeof(codes) / sizeof(codes[0]); i++) {
		struct bench *b = bench_create(RELAY_V4, NULL);
		struct ip_endpoint peer = bench_endpoint("203.0.113.7:52625");
		bool is_unsigned = i % 2 == 0;

		bench_start(b);
		b->relay.fail_method = STUN_METHOD_CHANNEL_BIND;
		b->relay.fail_code = codes[i / 2];
		b->relay.fail_times = 1;
		b->relay.fails_unsigned = is_unsigned;
		b->relay.fails_badly_signed = !is_unsigned;
		assert_int_equal(turn_allocation_bind(b->a, b->now, &peer), 0);
		bench_drain(b);
		assert_int_equal(b->rx[is_unsigned ? TURN_RX_UNSIGNED : TURN_RX_BAD_INTEGRITY], 1);
		assert_int_equal(bench_count_events(b, TURN_EVENT_CHANNEL_UP), 0);
		assert_int_equal(bench_count_events(b, TURN_EVENT_WITHDRAWN), 0);
		// The request stays in flight and is repeated.
		bench_run(b, BENCH_S);
		assert_int_equal(bench_count_events(b, TURN_EVENT_CHANNEL_UP), 1);
		bench_destroy(b);
	}
}

static void b38_unsigned_before_the_dialect_is_known(void **)
{
	const unsigned codes[] = {401, 438, 508};

	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
		struct bench *b = bench_create(RELAY_V4, NULL);

		b->relay.fail_method = STUN_METHOD_ALLOCATE;
		b->relay.fail_code = codes[i];
		b->relay.fail_times = 1;
		b->relay.fails_unsigned = true;
		b->relay.says_nothing_new = true;
		bench_start(b);
		assert_int_equal(b->rx[TURN_RX_UNSIGNED], 1);
		assert_int_equal(b->relay.n_allocate, 1);
		bench_run(b, BENCH_S);
		assert_int_equal(bench_count_events(b, TURN_EVENT_CANDIDATE), 3);
		bench_destroy(b);
	}
}

static void test_rfc_server_gives_both_families(void **)
{
	struct bench *b = bench_create(RELAY_V4, RELAY_V6);
	struct ip_endpoint out;

	b->relay.is_rfc = true;
	bench_start(b);
	assert_true(turn_allocation_relayed(b->a, IP_FAMILY_V4, &out));
	assert_true(turn_allocation_relayed(b->a, IP_FAMILY_V6, &out));
	bench_destroy(b);
}

static void test_rfc_server(void **)
{
	struct bench *b = bench_create(RELAY_V4, NULL);
	struct ip_endpoint peer = bench_endpoint("203.0.113.7:52625");

	b->relay.is_rfc = true;
	bench_start(b);
	// With credentials but no nonce: 400; without: 401; with both: success.
	assert_int_equal(b->relay.n_allocate, 3);
	assert_int_equal(bench_count_events(b, TURN_EVENT_CANDIDATE), 3);
	assert_int_equal(turn_allocation_bind(b->a, b->now, &peer), 0);
	bench_drain(b);
	assert_int_equal(bench_count_events(b, TURN_EVENT_CHANNEL_UP), 1);
	// An unsigned stale nonce; Refresh without the leftovers of Allocate.
	b->relay.nonce = 2;
	bench_run(b, 301 * BENCH_S);
	assert_int_equal(b->relay.n_refresh, 2);
	assert_int_equal(bench_count_events(b, TURN_EVENT_WITHDRAWN), 0);
	// Its errors other than challenges must be signed.
	b->relay.fail_method = STUN_METHOD_REFRESH;
	b->relay.fail_code = 437;
	b->relay.fail_times = 1;
	b->relay.fails_unsigned = true;
	bench_run(b, 300 * BENCH_S);
	assert_int_equal(bench_count_events(b, TURN_EVENT_WITHDRAWN), 0);
	assert_int_equal(b->rx[TURN_RX_UNSIGNED], 1);
	bench_destroy(b);
}

static void test_rfc_server_with_unsigned_challenge(void **)
{
	struct bench *b = bench_create(RELAY_V4, NULL);

	// 401 with REALM and NONCE at once, unsigned: followed as well.
	b->relay.fail_method = STUN_METHOD_ALLOCATE;
	b->relay.fail_code = 401;
	b->relay.fail_times = 1;
	b->relay.fails_unsigned = true;
	bench_start(b);
	assert_int_equal(b->relay.n_allocate, 2);
	assert_int_equal(bench_count_events(b, TURN_EVENT_CANDIDATE), 3);
	bench_destroy(b);
}

static void test_incomplete_success(void **)
{
	struct bench *b = bench_create(RELAY_V4, NULL);

	b->relay.forgets_lifetime = true;
	bench_start(b);
	assert_int_equal(b->rx[TURN_RX_INCOMPLETE], 1);
	assert_int_equal(bench_count_events(b, TURN_EVENT_CANDIDATE), 2);
	bench_destroy(b);
}

static void test_changed_mapping(void **)
{
	struct bench *b = bench_create(RELAY_V4, NULL);

	bench_start(b);
	b->mapped_as[0] = bench_endpoint("203.0.113.9:1024");
	bench_run(b, 26 * BENCH_S);
	assert_candidate(
		bench_event(b, TURN_EVENT_CANDIDATE, 3),
		ICE_KIND_SRFLX,
		"203.0.113.9:1024",
		"10.0.0.2:52625",
		false);
	assert_int_equal(bench_count_events(b, TURN_EVENT_WITHDRAWN), 0);
	bench_destroy(b);
}

// Item 45.
static void b45_probe_has_one_second(void **)
{
	struct bench *b = bench_create(RELAY_V4, NULL);

	bench_start(b);
	turn_allocation_probe(b->a, b->now);
	bench_drain(b);
	assert_int_equal(b->relay.n_refresh, 1);
	bench_run(b, 2 * BENCH_S);
	assert_false(turn_allocation_is_suspended(b->a));
	b->is_cut = true;
	turn_allocation_probe(b->a, b->now);
	bench_drain(b);
	bench_run(b, 999 * BENCH_MS);
	assert_false(turn_allocation_is_suspended(b->a));
	bench_run(b, 2 * BENCH_MS);
	assert_true(turn_allocation_is_suspended(b->a));
	assert_int_equal(bench_count_events(b, TURN_EVENT_WITHDRAWN), 1);
	bench_destroy(b);
}

static void test_restart_on_other_sockets(void **)
{
	const struct ip_endpoint none = {.port = 0};
	struct bench *b = bench_create(RELAY_V4, NULL);
	struct ip_endpoint peer = bench_endpoint("203.0.113.7:52625");

	bench_start(b);
	assert_int_equal(turn_allocation_bind(b->a, b->now, &peer), 0);
	bench_drain(b);
	b->local[0] = bench_endpoint("10.9.0.2:60000");
	turn_allocation_restart(b->a, b->now, &b->local[0], &none);
	bench_drain(b);
	assert_int_equal(bench_count_events(b, TURN_EVENT_WITHDRAWN), 1);
	assert_candidate(
		bench_event(b, TURN_EVENT_CANDIDATE, 3),
		ICE_KIND_HOST,
		"10.9.0.2:60000",
		"10.9.0.2:60000",
		false);
	assert_int_equal(bench_count_events(b, TURN_EVENT_CHANNEL_UP), 2);
	// Without any socket it waits.
	turn_allocation_restart(b->a, b->now, &none, &none);
	assert_true(turn_allocation_is_suspended(b->a));
	bench_destroy(b);
}

static void test_release(void **)
{
	struct bench *b = bench_create(RELAY_V4, NULL);

	bench_start(b);
	turn_allocation_release(b->a, b->now);
	bench_drain(b);
	assert_int_equal(b->relay.n_delete, 1);
	assert_null(double_first(&b->relay, b->now));
	assert_int_equal(turn_allocation_next_deadline(b->a), TURN_DEADLINE_NONE);
	assert_int_equal(bench_count_events(b, TURN_EVENT_WITHDRAWN), 1);
	bench_destroy(b);
}

static void test_matches(void **)
{
	const struct ip_endpoint none = {.port = 0};
	struct bench *b = bench_create(RELAY_V4, NULL);
	const struct ip_endpoint *v4 = &b->config.remote_v4;

	bench_start(b);
	assert_true(turn_allocation_matches(b->a, v4, &none, "2145916800:salt", "pw"));
	assert_false(turn_allocation_matches(b->a, v4, &none, "2145916800:salt", "pw2"));
	assert_false(turn_allocation_matches(b->a, v4, &none, "2145916801:salt", "pw"));
	assert_false(turn_allocation_matches(b->a, v4, v4, "2145916800:salt", "pw"));
	bench_destroy(b);
}

static void test_strange_packets(void **)
{
	struct bench *b = bench_create(RELAY_V4, RELAY_V6);
	uint8_t wireguard[32] = {4}, frame[8] = {0x40, 0, 0, 4}, binding[20] = {0x01, 0x01};
	struct ip_endpoint elsewhere = bench_endpoint("198.51.100.9:3478");

	bench_start(b);
	memcpy(binding + 4, "\x21\x12\xa4\x42", 4);
	assert_int_equal(bench_deliver(b, wireguard, sizeof(wireguard)), TURN_RX_OTHER);
	assert_int_equal(bench_deliver(b, wireguard, 0), TURN_RX_OTHER);
	assert_int_equal(bench_deliver(b, frame, sizeof(frame)), TURN_RX_UNKNOWN_CHANNEL);
	assert_int_equal(bench_deliver(b, frame, sizeof(frame) - 1), TURN_RX_MALFORMED);
	assert_int_equal(bench_deliver(b, frame, 3), TURN_RX_MALFORMED);
	assert_int_equal(bench_deliver(b, binding, sizeof(binding)), TURN_RX_UNKNOWN_TXID);
	binding[0] = 0;
	assert_int_equal(bench_deliver(b, binding, sizeof(binding)), TURN_RX_NOT_RESPONSE);
	assert_int_equal(
		turn_allocation_handle_packet(
			b->a,
			b->now,
			&b->local[1],
			&b->config.remote_v6,
			frame,
			sizeof(frame),
			&b->data),
		TURN_RX_WRONG_SOCKET);
	assert_int_equal(
		turn_allocation_handle_packet(
			b->a, b->now, &b->local[0], &elsewhere, frame, sizeof(frame), &b->data),
		TURN_RX_NOT_FROM_RELAY);
	bench_destroy(b);
}

static void test_bad_config(void **)
{
	struct bench *b = bench_create(RELAY_V4, NULL);
	struct turn_config config = b->config;
	char text[TURN_TEXT_LEN_MAX + 2];

	memset(text, 'a', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	config.username = text;
	assert_null(turn_allocation_create(&config, b->now));
	assert_int_equal(errno, EINVAL);
	config = b->config;
	config.password = "";
	assert_null(turn_allocation_create(&config, b->now));
	config = b->config;
	config.remote_v4.port = 0;
	assert_null(turn_allocation_create(&config, b->now));
	assert_string_equal(turn_rx_name(TURN_RX_UNKNOWN_CHANNEL), "unknown_channel");
	assert_string_equal(turn_failure_name(TURN_FAILURE_NO_RESPONSE), "no_response");
	bench_destroy(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(appendix_b4_b5_b6_sent_by_the_turn_client),
		cmocka_unit_test(b32_allocates_dual_stack),
		cmocka_unit_test(b33_relays_of_one_family),
		cmocka_unit_test(test_retransmits_and_gives_up),
		cmocka_unit_test(b32_the_other_family_answers),
		cmocka_unit_test(b42_refresh_keepalive_and_silence),
		cmocka_unit_test(test_retries_by_itself),
		cmocka_unit_test(test_lifetime_expires),
		cmocka_unit_test(b34_stale_nonce),
		cmocka_unit_test(test_endless_challenges_are_bounded),
		cmocka_unit_test(b35_mismatch_on_allocate),
		cmocka_unit_test(b35_mismatch_at_rfc_server),
		cmocka_unit_test(test_mismatch_for_ever),
		cmocka_unit_test(b36_mismatch_on_refresh),
		cmocka_unit_test(b36_mismatch_on_channel_bind),
		cmocka_unit_test(b37_wrong_credentials),
		cmocka_unit_test(b37_wrong_password_at_rfc_server),
		cmocka_unit_test(test_protocol_failures),
		cmocka_unit_test(test_refused_allocate),
		cmocka_unit_test(b38_unsigned_answers_are_ignored),
		cmocka_unit_test(b38_unsigned_before_the_dialect_is_known),
		cmocka_unit_test(test_rfc_server),
		cmocka_unit_test(test_rfc_server_gives_both_families),
		cmocka_unit_test(test_rfc_server_with_unsigned_challenge),
		cmocka_unit_test(test_incomplete_success),
		cmocka_unit_test(test_changed_mapping),
		cmocka_unit_test(b45_probe_has_one_second),
		cmocka_unit_test(test_restart_on_other_sockets),
		cmocka_unit_test(test_release),
		cmocka_unit_test(test_matches),
		cmocka_unit_test(test_strange_packets),
		cmocka_unit_test(test_bad_config),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
