// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

/**
 * Two nodes, a and b, that know each other, with data sessions, a fake clock and repeatable random
 * bytes. Messages travel only when a test says so.
 */

// Included after a header under test.
#include "control/noise/node.h"
#include "control/noise/session.h"
#include "tests/unit/unit.h"

#include <sodium.h>

#include <errno.h>

struct side {
	struct noise_node *node;
	struct noise_peer peer; // the other side
	struct noise_session session;
	struct ip_endpoint address;
	uint64_t random_n;
	uint8_t seed;
};

struct pair {
	struct side a, b;
	uint64_t now;
	uint32_t rate; // handshake_rate of b
	uint32_t source_rate;
	bool has_wrong_psk;
	struct noise_timing timing;
};

#define T0 (1000 * NOISE_S_NS)

static inline void side_random(void *arg, void *out, size_t size)
{
	struct side *s = arg;
	uint8_t seed[randombytes_SEEDBYTES] = {s->seed};

	memcpy(seed + 1, &s->random_n, sizeof(s->random_n));
	s->random_n++;
	randombytes_buf_deterministic(out, size, seed);
}

static inline void side_begin(struct pair *p, struct side *s, uint8_t seed)
{
	struct noise_node_config config = {
		.random = side_random,
		.random_arg = s,
		.now_ns = p->now,
		.wall_ns = UINT64_C(1700000000) * NOISE_S_NS,
		.handshake_rate = p->rate,
		.source_rate = p->source_rate,
	};

	s->seed = seed;
	s->address = (struct ip_endpoint){
		.addr = ip_addr_v4((const uint8_t[]){192, 0, 2, seed}),
		.port = 52625,
	};
	s->node = noise_node_create(&config);
	assert_non_null(s->node);
}

static inline void side_connect(struct pair *p, struct side *s, struct side *other, uint8_t psk)
{
	uint8_t psk_bytes[NOISE_KEY_SIZE];
	struct noise_peer_config config = {
		.public_key = noise_node_public_key(other->node),
		.psk = psk_bytes,
		.connection = 0x123400u + s->seed,
		.timing = p->timing,
	};

	memset(psk_bytes, psk, sizeof(psk_bytes));
	assert_int_equal(noise_peer_init(&s->peer, s->node, p->now, &config), 0);
	assert_int_equal(noise_node_peer_add(s->node, &s->peer), 0);
	noise_session_init(&s->session, &s->peer);
}

static inline void pair_init(struct pair *p)
{
	p->now = T0;
	if (p->timing.keepalive_ns == 0)
		p->timing = NOISE_TIMING_ICE;
	side_begin(p, &p->a, 1);
	side_begin(p, &p->b, 2);
	side_connect(p, &p->a, &p->b, 7);
	side_connect(p, &p->b, &p->a, p->has_wrong_psk ? 8 : 7);
}

static inline void pair_fini(struct pair *p)
{
	struct side *sides[] = {&p->a, &p->b};

	for (size_t i = 0; i < COUNT_OF(sides); i++) {
		noise_session_fini(&sides[i]->session);
		noise_peer_fini(&sides[i]->peer);
		noise_node_destroy(sides[i]->node);
	}
}

static inline void session_feed(struct side *s, const struct noise_output *out)
{
	for (unsigned i = 0; i < out->n_events; i++)
		noise_session_handle_event(&s->session, &out->events[i]);
}

/** Hands a message to @p to; its events go to its session. */
static inline enum noise_verdict
deliver(struct pair *p,
	struct side *from,
	struct side *to,
	const void *bytes,
	size_t size,
	struct noise_output *out)
{
	struct noise_peer *peer;
	enum noise_verdict v = noise_node_handle_handshake(
		to->node, p->now, &from->address, bytes, size, &peer, out);

	if (v == NOISE_VERDICT_OK)
		assert_ptr_equal(peer, &to->peer);
	session_feed(to, out);
	return v;
}

/** Seals @p size bytes of an IPv4 packet (0: keepalive). @return the message's size */
static inline int seal(struct pair *p, struct side *s, uint8_t buf[1500], size_t size)
{
	memset(buf, 0, 1500);
	buf[NOISE_SESSION_HEADROOM] = 0x45;
	buf[NOISE_SESSION_HEADROOM + 2] = (uint8_t)(size >> 8);
	buf[NOISE_SESSION_HEADROOM + 3] = (uint8_t)size;
	return noise_session_seal(&s->session, p->now, buf, size);
}

/** Sends one data packet. @return what noise_session_open() says, or noise_session_seal()'s error */
static inline int send_data(struct pair *p, struct side *from, struct side *to, size_t size)
{
	uint8_t buf[1500];
	int n = seal(p, from, buf, size);

	return n < 0 ? n : noise_session_open(&to->session, p->now, buf, (size_t)n);
}

/** Messages 1 and 2; no data yet. */
static inline void shake(struct pair *p, struct side *from, struct side *to)
{
	struct noise_output first, second, last;

	assert_int_equal(noise_peer_rekey(&from->peer, p->now, &first), 0);
	assert_int_equal(deliver(p, from, to, first.bytes, first.size, &second), NOISE_VERDICT_OK);
	assert_int_equal(second.size, sizeof(struct noise_msg_response));
	assert_int_equal(deliver(p, to, from, second.bytes, second.size, &last), NOISE_VERDICT_OK);
	assert_int_equal(last.size, 0);
}

/** A whole handshake with the keepalive that confirms it. */
static inline void establish(struct pair *p, struct side *from, struct side *to)
{
	shake(p, from, to);
	assert_int_equal(send_data(p, from, to, 0), 0);
}

/** Moves the clock to the peer's next deadline and handles it. @return the new time */
static inline uint64_t step(struct pair *p, struct side *s, struct noise_output *out)
{
	uint64_t at = noise_peer_deadline(&s->peer);

	assert_true(at != NOISE_NEVER);
	assert_true(at >= p->now);
	p->now = at;
	noise_peer_handle_timeout(&s->peer, p->now, out);
	session_feed(s, out);
	// A timer that is still due would make its caller spin.
	assert_true(noise_peer_deadline(&s->peer) > p->now);
	return at;
}
