// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "control/noise/peer.h"
#include "tests/unit/noise/pair.h"

#define S NOISE_S_NS

static void assert_between(uint64_t at, uint64_t from, uint64_t to)
{
	if (at < from || at > to)
		fail_msg(
			"%.3f s is not in %.3f-%.3f",
			(double)at / (double)S,
			(double)from / (double)S,
			(double)to / (double)S);
}

// A scheduled initiation: due time plus jitter.
static void assert_initiation(const struct noise_output *out, uint64_t at, uint64_t due)
{
	assert_int_equal(out->size, sizeof(struct noise_msg_initiation));
	assert_between(at, due, due + NOISE_JITTER_MAX_NS);
}

static void handshake_events(void **)
{
	struct noise_output first, second, last;
	struct pair p = {0};

	pair_init(&p);
	assert_int_equal(noise_peer_initiate(&p.a.peer, p.now, &first), 0);
	assert_int_equal(first.size, 148);
	assert_int_equal(first.n_events, 0);
	assert_int_equal(deliver(&p, &p.a, &p.b, first.bytes, 148, &second), NOISE_VERDICT_OK);
	assert_int_equal(second.size, 92);
	assert_int_equal(second.n_events, 1);
	assert_int_equal(second.events[0].type, NOISE_EVENT_KEYPAIR_READY);
	assert_false(second.events[0].may_send);
	assert_int_equal(deliver(&p, &p.b, &p.a, second.bytes, 92, &last), NOISE_VERDICT_OK);
	assert_int_equal(last.size, 0);
	assert_int_equal(last.n_events, 2);
	assert_int_equal(last.events[0].type, NOISE_EVENT_KEYPAIR_READY);
	assert_true(last.events[0].may_send);
	assert_int_equal(last.events[1].type, NOISE_EVENT_SEND_KEEPALIVE);

	// The first index of a connection ends in 1.
	assert_int_equal(last.events[0].keypair.local_index, 0x12340101);
	assert_int_equal(last.events[0].keypair.remote_index, 0x12340201);
	assert_memory_equal(last.events[0].keypair.send_key, second.events[0].keypair.recv_key, 32);
	assert_memory_equal(last.events[0].keypair.recv_key, second.events[0].keypair.send_key, 32);
	noise_output_wipe(&last);
	assert_true(sodium_is_zero((const uint8_t *)&last, sizeof(last)));
	pair_fini(&p);
}

struct rekey_case {
	const char *name;
	bool sent, received;
	uint64_t due; // after the handshake
};

static void b53_rekey_by_age(void **)
{
	static const struct rekey_case cases[] = {
		{"idle", false, false, 180 * S},
		{"received", false, true, 165 * S},
		{"sent", true, false, 120 * S},
		{"both", true, true, 120 * S},
	};

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct noise_output out;
		struct pair p = {0};
		uint64_t at;

		pair_init(&p);
		establish(&p, &p.a, &p.b);
		p.now += 50 * S;
		if (cases[i].sent) {
			assert_int_equal(send_data(&p, &p.a, &p.b, 100), 100);
			assert_int_equal(send_data(&p, &p.b, &p.a, 0), 0);
		}
		if (cases[i].received) {
			assert_int_equal(send_data(&p, &p.b, &p.a, 100), 100);
			assert_int_equal(send_data(&p, &p.a, &p.b, 0), 0);
		}
		at = step(&p, &p.a, &out);
		assert_initiation(&out, at, T0 + cases[i].due);
		pair_fini(&p);
	}
}

// The responder only waits for 540 s, whatever was sent.
static void responder_never_rekeys_by_age(void **)
{
	struct pair p = {0};

	pair_init(&p);
	establish(&p, &p.a, &p.b);
	p.now += 50 * S;
	assert_int_equal(send_data(&p, &p.b, &p.a, 100), 100);
	assert_int_equal(send_data(&p, &p.a, &p.b, 0), 0);
	assert_int_equal(noise_peer_deadline(&p.b.peer), T0 + 540 * S);
	pair_fini(&p);
}

static void b54_unanswered_data_starts_a_handshake(void **)
{
	for (int from_b = 0; from_b < 2; from_b++) {
		struct noise_output out;
		struct pair p = {0};
		struct side *s = from_b ? &p.b : &p.a;
		uint8_t buf[1500];
		uint64_t at;

		pair_init(&p);
		establish(&p, &p.a, &p.b);
		p.now = T0 + 10 * S;
		assert_int_equal(seal(&p, s, buf, 100), 132);
		// Counted from the first unanswered packet, not from later ones.
		p.now = T0 + 20 * S;
		assert_int_equal(seal(&p, s, buf, 100), 132);
		at = step(&p, s, &out);
		assert_initiation(&out, at, T0 + 25 * S);
		pair_fini(&p);
	}
}

static void unanswered_is_answered(void **)
{
	struct pair p = {0};
	uint8_t buf[1500];

	pair_init(&p);
	establish(&p, &p.a, &p.b);
	p.now += 1 * S;
	assert_int_equal(seal(&p, &p.b, buf, 100), 132);
	// A keepalive is no data: it neither needs an answer nor is missing as one.
	p.now += 1 * S;
	assert_int_equal(send_data(&p, &p.a, &p.b, 0), 0);
	assert_int_equal(seal(&p, &p.b, buf, 0), 32);
	assert_int_equal(noise_peer_deadline(&p.b.peer), T0 + 540 * S);
	pair_fini(&p);
}

struct give_up_case {
	struct noise_timing timing;
	uint64_t interval, limit;
	unsigned n_min, n_max;
};

static void b54_gives_up_after_20_s(void **)
{
	const struct give_up_case cases[] = {
		{NOISE_TIMING_ICE, 5 * S, 20 * S, 4, 4},
		{NOISE_TIMING_ICELESS, 2 * S, 90 * S, 39, 45},
	};

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct pair p = {.timing = cases[i].timing};
		struct noise_output out;
		unsigned n = 1;
		uint64_t last, at;

		pair_init(&p);
		assert_int_equal(noise_peer_initiate(&p.a.peer, p.now, &out), 0);
		for (last = p.now; (at = step(&p, &p.a, &out)) < T0 + cases[i].limit; n++) {
			assert_initiation(&out, at, last + cases[i].interval);
			last = at;
		}
		assert_int_equal(at, T0 + cases[i].limit);
		assert_int_equal(out.size, 0);
		assert_int_equal(out.n_events, 1);
		assert_int_equal(out.events[0].type, NOISE_EVENT_EXPIRED);
		assert_between(n, cases[i].n_min, cases[i].n_max);
		assert_int_equal(noise_peer_deadline(&p.a.peer), NOISE_NEVER);
		// A response that comes now is too late; a new wish revives the peer.
		assert_false(p.a.peer.has_initiation[0] || p.a.peer.has_initiation[1]);
		establish(&p, &p.a, &p.b);
		assert_true(noise_peer_has_session(&p.a.peer, p.now));
		pair_fini(&p);
	}
}

static void b67_expires_after_540_s(void **)
{
	struct noise_output out;
	struct pair p = {0};

	pair_init(&p);
	// Never a handshake.
	assert_int_equal(step(&p, &p.a, &out), T0 + 540 * S);
	assert_int_equal(out.events[0].type, NOISE_EVENT_EXPIRED);
	// As responder: after the last session.
	p.now = T0 + 100 * S;
	establish(&p, &p.a, &p.b);
	assert_int_equal(step(&p, &p.b, &out), T0 + 640 * S);
	assert_int_equal(out.n_events, 1);
	assert_int_equal(out.events[0].type, NOISE_EVENT_EXPIRED);
	assert_null(p.b.session.current);
	noise_peer_handle_timeout(&p.b.peer, p.now + S, &out);
	assert_int_equal(out.n_events, 0);
	// An initiation revives it.
	establish(&p, &p.a, &p.b);
	assert_int_equal(noise_peer_deadline(&p.b.peer), T0 + (640 + 540) * S);
	pair_fini(&p);
}

static void passive_keepalive(void **)
{
	struct noise_output out;
	struct pair p = {0};
	uint8_t buf[1500];

	pair_init(&p);
	establish(&p, &p.a, &p.b);
	p.now += 5 * S;
	assert_int_equal(send_data(&p, &p.a, &p.b, 100), 100);
	p.now += 3 * S;
	assert_int_equal(send_data(&p, &p.a, &p.b, 100), 100);
	assert_int_equal(step(&p, &p.b, &out), T0 + 15 * S);
	assert_int_equal(out.size, 0);
	assert_int_equal(out.n_events, 1);
	assert_int_equal(out.events[0].type, NOISE_EVENT_SEND_KEEPALIVE);
	assert_int_equal(seal(&p, &p.b, buf, 0), 32);
	assert_int_equal(noise_session_open(&p.a.session, p.now, buf, 32), 0);
	// A keepalive earns no keepalive.
	assert_int_equal(noise_peer_deadline(&p.b.peer), T0 + 540 * S);
	assert_true(noise_peer_deadline(&p.a.peer) >= T0 + 120 * S);
	// Whatever we send makes it unnecessary.
	p.now += S;
	assert_int_equal(send_data(&p, &p.a, &p.b, 100), 100);
	p.now += S;
	assert_int_equal(send_data(&p, &p.b, &p.a, 100), 100);
	assert_int_equal(send_data(&p, &p.a, &p.b, 0), 0);
	assert_int_equal(noise_peer_deadline(&p.b.peer), T0 + 540 * S);
	pair_fini(&p);
}

static void b52_responder_waits_for_data(void **)
{
	struct noise_output out;
	struct pair p = {0};
	uint8_t buf[1500];

	pair_init(&p);
	shake(&p, &p.a, &p.b);
	assert_true(noise_peer_has_session(&p.a.peer, p.now));
	assert_false(noise_peer_has_session(&p.b.peer, p.now));
	assert_int_equal(seal(&p, &p.b, buf, 100), -ENOKEY);
	assert_int_equal(send_data(&p, &p.a, &p.b, 100), 100);
	assert_true(noise_peer_has_session(&p.b.peer, p.now));
	assert_int_equal(send_data(&p, &p.b, &p.a, 100), 100);

	// A confirmation ends a handshake of ours, and cannot be repeated or invented.
	assert_int_equal(noise_peer_rekey(&p.b.peer, p.now, &out), 0);
	p.now += S;
	shake(&p, &p.a, &p.b);
	noise_peer_note_keypair_confirmed(&p.b.peer, p.now, 0x12340203 + 8);
	noise_peer_note_keypair_confirmed(&p.b.peer, p.now, 0);
	assert_true(p.b.peer.attempt_ns != 0);
	assert_int_equal(p.b.peer.current_index, 0x12340201);
	noise_peer_note_keypair_confirmed(&p.b.peer, p.now, 0x12340203);
	assert_int_equal(p.b.peer.attempt_ns, 0);
	assert_int_equal(p.b.peer.current_index, 0x12340203);
	// The older session's late packets do not turn back.
	noise_peer_note_keypair_confirmed(&p.b.peer, p.now, 0x12340201);
	assert_int_equal(p.b.peer.current_index, 0x12340203);
	pair_fini(&p);
}

static void late_confirmation_ignored(void **)
{
	struct pair p = {0};

	pair_init(&p);
	shake(&p, &p.a, &p.b);
	noise_peer_note_keypair_confirmed(&p.b.peer, p.now + 180 * S, 0x12340201);
	assert_false(p.b.peer.has_current);
	noise_peer_note_keypair_confirmed(&p.b.peer, p.now + 180 * S - 1, 0x12340201);
	assert_true(p.b.peer.has_current);
	pair_fini(&p);
}

// Handshakes that are never confirmed use up the slots in turn but not the sending session's.
static void b59_rapid_handshakes(void **)
{
	struct noise_output first, second;
	struct pair p = {.rate = 100000};

	pair_init(&p);
	establish(&p, &p.a, &p.b);
	for (int i = 0; i < 300; i++) {
		p.now += NOISE_MS_NS;
		p.a.peer.attempt_ns = 0;
		assert_int_equal(noise_peer_rekey(&p.a.peer, p.now, &first), 0);
		assert_int_equal(
			deliver(&p, &p.a, &p.b, first.bytes, 148, &second), NOISE_VERDICT_OK);
		assert_int_equal(send_data(&p, &p.a, &p.b, 50), 50);
		assert_int_equal(send_data(&p, &p.b, &p.a, 60), 60);
	}
	assert_int_equal(p.b.peer.current_index, 0x12340201);
	for (int i = 0; i < 9; i++) {
		p.now += NOISE_MS_NS;
		p.a.peer.attempt_ns = 0;
		establish(&p, &p.a, &p.b);
		assert_int_equal(send_data(&p, &p.b, &p.a, 60), 60);
	}
	pair_fini(&p);
}

// Two initiations are remembered.
static void late_response(void **)
{
	struct noise_output i1, i2, i3, r1, r2, out;
	struct pair p = {0};

	pair_init(&p);
	assert_int_equal(noise_peer_initiate(&p.a.peer, p.now, &i1), 0);
	step(&p, &p.a, &i2);
	assert_int_equal(i2.size, 148);
	step(&p, &p.a, &i3);
	assert_int_equal(deliver(&p, &p.a, &p.b, i1.bytes, 148, &r1), NOISE_VERDICT_OK);
	assert_int_equal(deliver(&p, &p.a, &p.b, i2.bytes, 148, &r2), NOISE_VERDICT_OK);
	assert_int_equal(deliver(&p, &p.b, &p.a, r1.bytes, 92, &out), NOISE_VERDICT_STALE_INDEX);
	assert_int_equal(deliver(&p, &p.b, &p.a, r2.bytes, 92, &out), NOISE_VERDICT_OK);
	assert_int_equal(send_data(&p, &p.a, &p.b, 0), 0);
	assert_int_equal(send_data(&p, &p.b, &p.a, 100), 100);
	// The same response twice is nothing.
	assert_int_equal(deliver(&p, &p.b, &p.a, r2.bytes, 92, &out), NOISE_VERDICT_STALE_INDEX);
	pair_fini(&p);
}

// Both start at once: both handshakes survive, and data flows both ways.
static void simultaneous(void **)
{
	struct noise_output ia, ib, ra, rb, out;
	struct pair p = {0};

	pair_init(&p);
	assert_int_equal(noise_peer_initiate(&p.a.peer, p.now, &ia), 0);
	assert_int_equal(noise_peer_initiate(&p.b.peer, p.now, &ib), 0);
	assert_int_equal(deliver(&p, &p.a, &p.b, ia.bytes, 148, &rb), NOISE_VERDICT_OK);
	assert_int_equal(deliver(&p, &p.b, &p.a, ib.bytes, 148, &ra), NOISE_VERDICT_OK);
	assert_int_equal(deliver(&p, &p.a, &p.b, ra.bytes, 92, &out), NOISE_VERDICT_OK);
	assert_int_equal(deliver(&p, &p.b, &p.a, rb.bytes, 92, &out), NOISE_VERDICT_OK);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(send_data(&p, &p.a, &p.b, 100), 100);
		assert_int_equal(send_data(&p, &p.b, &p.a, 100), 100);
	}
	pair_fini(&p);
}

static void proactive_is_suppressed(void **)
{
	struct noise_output out;
	struct pair p = {0};

	pair_init(&p);
	assert_int_equal(noise_peer_initiate(&p.a.peer, p.now, &out), 0);
	p.now += S;
	assert_int_equal(noise_peer_initiate(&p.a.peer, p.now, &out), -EALREADY);
	assert_int_equal(noise_peer_rekey(&p.a.peer, p.now, &out), -EALREADY);
	assert_int_equal(out.size, 0);
	p.a.peer.attempt_ns = 0;
	establish(&p, &p.a, &p.b);
	p.now = T0 + 20 * S - 1;
	assert_int_equal(noise_peer_initiate(&p.a.peer, p.now, &out), -EALREADY);
	p.now = T0 + 20 * S;
	assert_int_equal(noise_peer_initiate(&p.a.peer, p.now, &out), 0);
	pair_fini(&p);
}

// The data plane reports late and in any order.
static void coarse_notes(void **)
{
	struct pair p = {0};
	struct noise_peer *b = &p.b.peer;

	pair_init(&p);
	establish(&p, &p.a, &p.b);
	// Answered before we were told of either.
	noise_peer_note_data_received(b, T0 + 8 * S);
	noise_peer_note_data_sent(b, T0 + 3 * S);
	assert_int_equal(b->unanswered_ns, 0);
	// Sent after the last packet received, reported before it.
	noise_peer_note_data_sent(b, T0 + 20 * S);
	noise_peer_note_data_received(b, T0 + 12 * S);
	assert_int_equal(b->unanswered_ns, T0 + 20 * S);
	assert_int_equal(b->keepalive_owed_ns, 0);
	noise_peer_note_keepalive_received(b, T0 + 21 * S);
	assert_int_equal(b->unanswered_ns, 0);
	noise_peer_note_data_received(b, T0 + 30 * S);
	noise_peer_note_data_received(b, T0 + 33 * S);
	assert_int_equal(noise_peer_deadline(b), T0 + 40 * S);
	noise_peer_note_keepalive_sent(b, T0 + 31 * S);
	assert_int_equal(noise_peer_deadline(b), T0 + 43 * S);
	noise_peer_note_keepalive_sent(b, T0 + 33 * S);
	assert_int_equal(noise_peer_deadline(b), T0 + 540 * S);
	pair_fini(&p);
}

static void bad_config(void **)
{
	static const uint8_t zero[NOISE_KEY_SIZE];
	struct pair p = {0};
	struct noise_peer peer;
	struct noise_peer_config config = {.public_key = zero, .timing = NOISE_TIMING_ICE};

	pair_init(&p);
	assert_int_equal(noise_peer_init(&peer, p.a.node, p.now, &config), -EINVAL);
	noise_peer_fini(&peer);
	config.public_key = noise_node_public_key(p.b.node);
	config.connection = 0x1000000;
	assert_int_equal(noise_peer_init(&peer, p.a.node, p.now, &config), -EINVAL);
	pair_fini(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(handshake_events),
		cmocka_unit_test(b53_rekey_by_age),
		cmocka_unit_test(responder_never_rekeys_by_age),
		cmocka_unit_test(b54_unanswered_data_starts_a_handshake),
		cmocka_unit_test(unanswered_is_answered),
		cmocka_unit_test(b54_gives_up_after_20_s),
		cmocka_unit_test(b67_expires_after_540_s),
		cmocka_unit_test(passive_keepalive),
		cmocka_unit_test(b52_responder_waits_for_data),
		cmocka_unit_test(late_confirmation_ignored),
		cmocka_unit_test(b59_rapid_handshakes),
		cmocka_unit_test(late_response),
		cmocka_unit_test(simultaneous),
		cmocka_unit_test(proactive_is_suppressed),
		cmocka_unit_test(coarse_notes),
		cmocka_unit_test(bad_config),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
