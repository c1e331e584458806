// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "control/noise/session.h"
#include "tests/unit/noise/pair.h"

#define S NOISE_S_NS

struct snapshot {
	struct noise_session session;
	struct noise_peer peer;
};

static void take(struct snapshot *s, const struct side *side)
{
	memcpy(&s->session, &side->session, sizeof(s->session));
	memcpy(&s->peer, &side->peer, sizeof(s->peer));
}

static void assert_unchanged(const struct snapshot *s, const struct side *side)
{
	assert_memory_equal(&s->session, &side->session, sizeof(s->session));
	assert_memory_equal(&s->peer, &side->peer, sizeof(s->peer));
}

static void b57_b58_sizes(void **)
{
	struct pair p = {0};
	uint8_t buf[1500];

	pair_init(&p);
	assert_int_equal(seal(&p, &p.a, buf, 100), -ENOKEY);
	establish(&p, &p.a, &p.b);
	assert_int_equal(seal(&p, &p.a, buf, 0), 32);
	// No padding: 1280 bytes leave as 1312.
	assert_int_equal(seal(&p, &p.a, buf, 1280), 1312);
	assert_int_equal(noise_session_open(&p.b.session, p.now, buf, 1312), 1280);
	assert_int_equal(seal(&p, &p.a, buf, 33), 65);
	pair_fini(&p);
}

static void b57_padding_is_cut(void **)
{
	static const struct {
		uint8_t head[6];
		size_t size; // of the plaintext
		int result;
	} cases[] = {
		{{0x45, 0, 0, 20}, 20, 20},
		{{0x45, 0, 0, 20}, 32, 20},
		{{0x45, 0, 0, 33}, 48, 33},
		{{0x45, 0, 0, 21}, 20, -EPROTO},
		{{0x45, 0, 0, 19}, 20, -EPROTO},
		{{0x45, 0, 0xff, 0xff}, 20, -EPROTO},
		{{0x45, 0, 0, 19}, 19, -EPROTO},
		{{0x60, 0, 0, 0, 0, 0}, 40, 40},
		{{0x60, 0, 0, 0, 0, 8}, 48, 48},
		{{0x60, 0, 0, 0, 0, 8}, 64, 48},
		{{0x60, 0, 0, 0, 0, 1}, 40, -EPROTO},
		{{0x60, 0, 0, 0, 0, 0}, 39, -EPROTO},
		{{0x00}, 40, -EPROTO},
		{{0x45}, 1, -EPROTO},
	};
	struct pair p = {0};

	pair_init(&p);
	establish(&p, &p.a, &p.b);
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		uint8_t buf[256] = {0};
		int n;

		memcpy(buf + 16, cases[i].head, sizeof(cases[i].head));
		n = noise_session_seal(&p.a.session, p.now, buf, cases[i].size);
		assert_int_equal(n, (int)cases[i].size + 32);
		if (noise_session_open(&p.b.session, p.now, buf, (size_t)n) != cases[i].result)
			fail_msg("case %zu", i);
	}
	pair_fini(&p);
}

// Nothing about a session or a peer changes before its packet authenticated.
static void forged_data(void **)
{
	struct pair p = {0};
	struct snapshot before;
	uint8_t good[1500], buf[1500];
	int n;

	pair_init(&p);
	// Not even a confirmation is forgeable.
	shake(&p, &p.a, &p.b);
	n = seal(&p, &p.a, good, 60);
	take(&before, &p.b);
	for (int i = 0; i < n; i++) {
		memcpy(buf, good, sizeof(buf));
		buf[i] ^= 1 << (i % 8);
		assert_true(noise_session_open(&p.b.session, p.now, buf, (size_t)n) < 0);
		assert_unchanged(&before, &p.b);
	}
	for (int size = 0; size < n; size++) {
		memcpy(buf, good, sizeof(buf));
		assert_true(noise_session_open(&p.b.session, p.now, buf, (size_t)size) < 0);
		assert_unchanged(&before, &p.b);
	}
	assert_int_equal(noise_session_open(&p.b.session, p.now, good, (size_t)n), 60);
	pair_fini(&p);
}

static void b56_reordering(void **)
{
	struct pair p = {0};
	struct snapshot before;
	uint8_t first[1500], buf[1500], late[1500];

	pair_init(&p);
	establish(&p, &p.a, &p.b);
	assert_int_equal(seal(&p, &p.a, first, 60), 92);
	memcpy(buf, first, sizeof(buf));
	assert_int_equal(noise_session_open(&p.b.session, p.now, buf, 92), 60);
	take(&before, &p.b);
	memcpy(buf, first, sizeof(buf));
	assert_int_equal(noise_session_open(&p.b.session, p.now, buf, 92), -EALREADY);
	assert_unchanged(&before, &p.b);
	// 8191 packets of reordering are fine, one more is not.
	assert_int_equal(seal(&p, &p.a, first, 60), 92);
	assert_int_equal(seal(&p, &p.a, late, 60), 92);
	p.a.session.current->send_counter += NOISE_REPLAY_WINDOW - 2;
	assert_int_equal(send_data(&p, &p.a, &p.b, 60), 60);
	assert_int_equal(noise_session_open(&p.b.session, p.now, late, 92), 60);
	assert_int_equal(noise_session_open(&p.b.session, p.now, first, 92), -EALREADY);
	pair_fini(&p);
}

static void age_limits(void **)
{
	struct pair p = {0};
	uint8_t buf[1500], from_a[1500];

	pair_init(&p);
	establish(&p, &p.a, &p.b);
	p.now = T0 + 170 * S - 1;
	assert_int_equal(seal(&p, &p.a, from_a, 60), 92);
	assert_true(noise_peer_has_session(&p.a.peer, p.now));
	p.now = T0 + 170 * S;
	assert_int_equal(seal(&p, &p.a, buf, 60), -ENOKEY);
	assert_false(noise_peer_has_session(&p.a.peer, p.now));
	p.now = T0 + 180 * S - 1;
	assert_int_equal(send_data(&p, &p.b, &p.a, 60), 60);
	memcpy(buf, from_a, sizeof(buf));
	p.now = T0 + 180 * S;
	assert_int_equal(noise_session_open(&p.b.session, p.now, buf, 92), -ENOENT);
	assert_int_equal(seal(&p, &p.b, buf, 60), -ENOKEY);
	assert_false(noise_peer_has_session(&p.b.peer, p.now));
	pair_fini(&p);
}

static void counter_limit(void **)
{
	struct pair p = {0};
	uint8_t buf[1500];

	pair_init(&p);
	establish(&p, &p.a, &p.b);
	p.a.session.current->send_counter = NOISE_REJECT_AFTER_MESSAGES - 1;
	assert_int_equal(send_data(&p, &p.a, &p.b, 60), 60);
	assert_int_equal(seal(&p, &p.a, buf, 60), -ENOKEY);
	pair_fini(&p);
}

// During a rekey the responder goes on with the old session, and packets under it still count.
static void b52_rekey_loses_nothing(void **)
{
	struct pair p = {0};
	uint8_t old_a[1500], old_b[1500];

	pair_init(&p);
	establish(&p, &p.a, &p.b);
	p.now += 120 * S;
	assert_int_equal(seal(&p, &p.a, old_a, 60), 92);
	shake(&p, &p.a, &p.b);
	assert_int_equal(seal(&p, &p.b, old_b, 60), 92);
	assert_int_equal(old_b[4], 0x01); // a's first index: the old session
	assert_int_equal(noise_session_open(&p.b.session, p.now, old_a, 92), 60);
	assert_int_equal(p.b.session.current->keypair.local_index, 0x12340201);
	assert_int_equal(send_data(&p, &p.a, &p.b, 60), 60);
	assert_int_equal(p.b.session.current->keypair.local_index, 0x12340202);
	assert_int_equal(noise_session_open(&p.a.session, p.now, old_b, 92), 60);
	assert_int_equal(send_data(&p, &p.b, &p.a, 60), 60);
	pair_fini(&p);
}

// Right connection, stale low 8 bits.
static void b60_stale_index(void **)
{
	struct pair p = {0};
	struct snapshot before;
	uint8_t buf[1500];

	pair_init(&p);
	establish(&p, &p.a, &p.b);
	take(&before, &p.b);
	assert_int_equal(seal(&p, &p.a, buf, 60), 92);
	buf[4] += 8; // same slot
	assert_int_equal(noise_session_open(&p.b.session, p.now, buf, 92), -ENOENT);
	buf[4] += 1; // a slot never used
	assert_int_equal(noise_session_open(&p.b.session, p.now, buf, 92), -ENOENT);
	assert_unchanged(&before, &p.b);
	pair_fini(&p);
}

// Hands on what a side wants done, and what follows from it. @return handshakes that were started
static unsigned pump(struct pair *p, struct side *s, const struct noise_output *first)
{
	struct side *other = s == &p->a ? &p->b : &p->a;
	unsigned n = first->size == sizeof(struct noise_msg_initiation);
	struct noise_output answer;

	for (unsigned i = 0; i < first->n_events; i++) {
		assert_int_not_equal(first->events[i].type, NOISE_EVENT_EXPIRED);
		if (first->events[i].type == NOISE_EVENT_SEND_KEEPALIVE)
			assert_int_equal(send_data(p, s, other, 0), 0);
	}
	if (first->size != 0) {
		assert_int_equal(
			deliver(p, s, other, first->bytes, first->size, &answer), NOISE_VERDICT_OK);
		n += pump(p, other, &answer);
	}
	return n;
}

static unsigned run_timers(struct pair *p, struct side *s)
{
	struct noise_output out;

	if (p->now < noise_peer_deadline(&s->peer))
		return 0;
	noise_peer_handle_timeout(&s->peer, p->now, &out);
	session_feed(s, &out);
	return pump(p, s, &out);
}

// An hour in quarters of a second: no packet lost over all rekeys, and no needless handshake.
static void b52_b53_hour_of_traffic(void **)
{
	static const struct {
		const char *name;
		unsigned a_every, b_every; // seconds between packets, 0: none
		unsigned n_min, n_max; // handshakes
	} cases[] = {
		{"both", 1, 1, 29, 30},
		{"only initiator", 1, 0, 29, 30},
		{"only responder", 0, 1, 20, 22},
		{"idle", 0, 0, 19, 20},
		{"now and then", 50, 70, 29, 30},
	};

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct pair p = {0};
		unsigned n = 0;

		pair_init(&p);
		establish(&p, &p.a, &p.b);
		for (unsigned t = 1; t <= 3600 * 4; t++) {
			p.now += S / 4;
			n += run_timers(&p, &p.a) + run_timers(&p, &p.b);
			if (cases[i].a_every != 0 && t % (4 * cases[i].a_every) == 0)
				assert_int_equal(send_data(&p, &p.a, &p.b, 100), 100);
			if (cases[i].b_every != 0 && t % (4 * cases[i].b_every) == 0)
				assert_int_equal(send_data(&p, &p.b, &p.a, 100), 100);
		}
		if (n < cases[i].n_min || n > cases[i].n_max)
			fail_msg("%s: %u handshakes", cases[i].name, n);
		pair_fini(&p);
	}
}

// Idle for 175 s: the initiator may not send any more, asks for a handshake and goes on.
static void data_without_session(void **)
{
	struct noise_output out;
	struct pair p = {0};

	pair_init(&p);
	establish(&p, &p.a, &p.b);
	p.now += 175 * S;
	assert_int_equal(send_data(&p, &p.a, &p.b, 100), -ENOKEY);
	assert_int_equal(noise_peer_rekey(&p.a.peer, p.now, &out), 0);
	assert_int_equal(noise_peer_rekey(&p.a.peer, p.now, &(struct noise_output){0}), -EALREADY);
	assert_int_equal(pump(&p, &p.a, &out), 1);
	assert_int_equal(send_data(&p, &p.a, &p.b, 100), 100);
	assert_int_equal(send_data(&p, &p.b, &p.a, 100), 100);
	pair_fini(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(b57_b58_sizes),
		cmocka_unit_test(b57_padding_is_cut),
		cmocka_unit_test(forged_data),
		cmocka_unit_test(b56_reordering),
		cmocka_unit_test(age_limits),
		cmocka_unit_test(counter_limit),
		cmocka_unit_test(b52_rekey_loses_nothing),
		cmocka_unit_test(b60_stale_index),
		cmocka_unit_test(b52_b53_hour_of_traffic),
		cmocka_unit_test(data_without_session),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
