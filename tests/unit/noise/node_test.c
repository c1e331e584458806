// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "control/noise/node.h"
#include "tests/unit/noise/pair.h"

#include <stdlib.h>

static void mac1_redo(struct side *to, uint8_t *msg, size_t size)
{
	struct noise_crypto *c = &noise_node_shared(to->node)->crypto;
	struct noise_cookie_maker m;

	noise_cookie_maker_init(&m, c, noise_node_public_key(to->node));
	noise_cookie_macs_add(&m, c, T0, msg, size);
}

// Sends every one-byte change of a good message. Nothing of the peer may change.
static void
tamper(struct pair *p,
       struct side *from,
       struct side *to,
       const struct noise_output *good,
       bool with_mac1)
{
	size_t n = with_mac1 ? good->size - 32 : good->size;
	struct noise_peer before;

	memcpy(&before, &to->peer, sizeof(before));
	// Without load nobody looks at mac2.
	if (good->bytes[0] != NOISE_MSG_COOKIE_REPLY && !with_mac1)
		n -= 16;
	for (size_t i = 0; i < n; i++) {
		uint8_t msg[NOISE_HANDSHAKE_SIZE_MAX];
		struct noise_output out;
		enum noise_verdict v;

		memcpy(msg, good->bytes, good->size);
		msg[i] ^= 1 << (i % 8);
		// The sender's index is not authenticated by Noise itself, only by mac1.
		if (with_mac1 && i >= 4 && i < 8)
			continue;
		if (with_mac1)
			mac1_redo(to, msg, good->size);
		v = deliver(p, from, to, msg, good->size, &out);
		if (v == NOISE_VERDICT_OK)
			fail_msg("type %u changed at %zu was accepted", good->bytes[0], i);
		if (!with_mac1 && i >= 4 && good->bytes[0] != NOISE_MSG_COOKIE_REPLY)
			assert_int_equal(v, NOISE_VERDICT_BAD_MAC1);
		assert_int_equal(out.size, 0);
		assert_int_equal(out.n_events, 0);
		assert_memory_equal(&before, &to->peer, sizeof(before));
	}
}

static void
truncate(struct pair *p, struct side *from, struct side *to, const struct noise_output *good)
{
	struct noise_peer before;

	memcpy(&before, &to->peer, sizeof(before));
	for (size_t size = 0; size <= good->size + 1; size++) {
		// Exactly sized, so that a read beyond it is seen by the sanitizer.
		uint8_t *msg = malloc(size + (size == 0));
		struct noise_output out;
		enum noise_verdict v;

		assert_non_null(msg);
		memset(msg, 0, size);
		memcpy(msg, good->bytes, size < good->size ? size : good->size);
		if (size != good->size) {
			v = deliver(p, from, to, msg, size, &out);
			assert_int_equal(
				v,
				size < good->size ? NOISE_VERDICT_TOO_SHORT
						  : NOISE_VERDICT_BAD_SIZE);
			assert_memory_equal(&before, &to->peer, sizeof(before));
		}
		free(msg);
	}
}

static void forged_messages(void **)
{
	struct pair p = {.rate = 100000};
	struct noise_output first, second, out;

	pair_init(&p);
	establish(&p, &p.a, &p.b);
	assert_int_equal(noise_peer_rekey(&p.a.peer, p.now, &first), 0);
	truncate(&p, &p.a, &p.b, &first);
	tamper(&p, &p.a, &p.b, &first, false);
	assert_int_equal(deliver(&p, &p.a, &p.b, first.bytes, first.size, &second), 0);
	truncate(&p, &p.b, &p.a, &second);
	tamper(&p, &p.b, &p.a, &second, false);
	// With a right mac1: what Noise itself refuses.
	tamper(&p, &p.b, &p.a, &second, true);
	assert_int_equal(deliver(&p, &p.b, &p.a, second.bytes, second.size, &out), 0);
	p.a.peer.attempt_ns = 0;
	p.now += NOISE_S_NS;
	assert_int_equal(noise_peer_rekey(&p.a.peer, p.now, &first), 0);
	// Its stamp is new: only the change can be the reason.
	tamper(&p, &p.a, &p.b, &first, true);
	pair_fini(&p);
}

static void malformed_types(void **)
{
	static const struct {
		uint8_t head[4];
		enum noise_verdict verdict;
	} cases[] = {
		{{0, 0, 0, 0}, NOISE_VERDICT_BAD_TYPE},
		{{4, 0, 0, 0}, NOISE_VERDICT_BAD_TYPE},
		{{5, 0, 0, 0}, NOISE_VERDICT_BAD_TYPE},
		{{1, 1, 0, 0}, NOISE_VERDICT_BAD_TYPE},
		{{1, 0, 1, 0}, NOISE_VERDICT_BAD_TYPE},
		{{1, 0, 0, 0x80}, NOISE_VERDICT_BAD_TYPE},
		{{2, 0, 0, 0}, NOISE_VERDICT_BAD_SIZE},
		{{3, 0, 0, 0}, NOISE_VERDICT_BAD_SIZE},
		{{1, 0, 0, 0}, NOISE_VERDICT_BAD_MAC1},
	};
	struct pair p = {0};

	pair_init(&p);
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		uint8_t msg[148] = {0};
		struct noise_output out;

		memcpy(msg, cases[i].head, 4);
		assert_int_equal(deliver(&p, &p.a, &p.b, msg, sizeof(msg), &out), cases[i].verdict);
	}
	pair_fini(&p);
}

static void b51_duplicate_initiation(void **)
{
	struct noise_output first, second, old, out;
	struct noise_peer before;
	struct pair p = {0};

	pair_init(&p);
	assert_int_equal(noise_peer_initiate(&p.a.peer, p.now, &old), 0);
	step(&p, &p.a, &first);
	assert_int_equal(deliver(&p, &p.a, &p.b, first.bytes, 148, &second), NOISE_VERDICT_OK);
	assert_int_equal(deliver(&p, &p.b, &p.a, second.bytes, 92, &out), NOISE_VERDICT_OK);
	assert_int_equal(send_data(&p, &p.a, &p.b, 0), 0);
	memcpy(&before, &p.b.peer, sizeof(before));
	assert_int_equal(deliver(&p, &p.a, &p.b, first.bytes, 148, &out), NOISE_VERDICT_REPLAYED);
	assert_int_equal(deliver(&p, &p.a, &p.b, old.bytes, 148, &out), NOISE_VERDICT_REPLAYED);
	assert_int_equal(out.size, 0);
	assert_memory_equal(&before, &p.b.peer, sizeof(before));
	assert_int_equal(send_data(&p, &p.b, &p.a, 100), 100);
	pair_fini(&p);
}

// A new object for the same peer goes on with newer stamps, and knows the last one if told.
static void b13_recreated_peer_goes_on_with_newer_stamps(void **)
{
	struct noise_output out;
	struct noise_output first;
	struct tai64n last;
	struct pair p = {0};
	struct noise_peer_config config = {.connection = 77, .timing = NOISE_TIMING_ICE};
	uint8_t psk[32];

	pair_init(&p);
	memset(psk, 7, sizeof(psk));
	assert_int_equal(noise_peer_initiate(&p.a.peer, p.now, &first), 0);
	assert_int_equal(deliver(&p, &p.a, &p.b, first.bytes, 148, &out), NOISE_VERDICT_OK);
	last = p.b.peer.last_timestamp;
	noise_peer_fini(&p.a.peer);
	noise_peer_fini(&p.b.peer);
	side_connect(&p, &p.a, &p.b, 7);
	config.public_key = noise_node_public_key(p.a.node);
	config.psk = psk;
	config.last_timestamp = last;
	assert_int_equal(noise_peer_init(&p.b.peer, p.b.node, p.now, &config), 0);
	assert_int_equal(noise_node_peer_add(p.b.node, &p.b.peer), 0);
	noise_session_init(&p.b.session, &p.b.peer);
	assert_int_equal(deliver(&p, &p.a, &p.b, first.bytes, 148, &out), NOISE_VERDICT_REPLAYED);
	establish(&p, &p.a, &p.b);
	pair_fini(&p);
}

static void b60_unknown_peer_and_index(void **)
{
	struct noise_output first, second, out;
	struct pair p = {0};

	pair_init(&p);
	assert_int_equal(noise_peer_initiate(&p.a.peer, p.now, &first), 0);
	noise_node_peer_del(p.b.node, &p.b.peer);
	assert_int_equal(
		deliver(&p, &p.a, &p.b, first.bytes, 148, &out), NOISE_VERDICT_UNKNOWN_PEER);
	assert_int_equal(noise_node_peer_add(p.b.node, &p.b.peer), 0);
	assert_int_equal(deliver(&p, &p.a, &p.b, first.bytes, 148, &second), NOISE_VERDICT_OK);
	// Right connection, stale low part; then a connection that is not there.
	second.bytes[8]++;
	mac1_redo(&p.a, second.bytes, 92);
	assert_int_equal(
		deliver(&p, &p.b, &p.a, second.bytes, 92, &out), NOISE_VERDICT_STALE_INDEX);
	second.bytes[8]--;
	second.bytes[9]++;
	mac1_redo(&p.a, second.bytes, 92);
	assert_int_equal(
		deliver(&p, &p.b, &p.a, second.bytes, 92, &out), NOISE_VERDICT_UNKNOWN_INDEX);
	second.bytes[9]--;
	mac1_redo(&p.a, second.bytes, 92);
	assert_int_equal(deliver(&p, &p.b, &p.a, second.bytes, 92, &out), NOISE_VERDICT_OK);
	pair_fini(&p);
}

static void wrong_psk(void **)
{
	struct pair p = {.has_wrong_psk = true};
	struct noise_output first, second, out;
	struct noise_peer before;

	pair_init(&p);
	assert_int_equal(noise_peer_initiate(&p.a.peer, p.now, &first), 0);
	// psk2: only the initiator can notice.
	assert_int_equal(deliver(&p, &p.a, &p.b, first.bytes, 148, &second), NOISE_VERDICT_OK);
	memcpy(&before, &p.a.peer, sizeof(before));
	assert_int_equal(
		deliver(&p, &p.b, &p.a, second.bytes, 92, &out), NOISE_VERDICT_DECRYPT_FAILED);
	assert_memory_equal(&before, &p.a.peer, sizeof(before));
	pair_fini(&p);
}

// Puts b under load with messages that only pass mac1.
static void flood(struct pair *p, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		struct noise_msg_initiation junk = {.type = noise_le32_make(1)};
		struct noise_output out;

		mac1_redo(&p->b, (uint8_t *)&junk, sizeof(junk));
		assert_int_equal(
			deliver(p, &p->a, &p->b, &junk, sizeof(junk), &out),
			i < 100 ? NOISE_VERDICT_DECRYPT_FAILED : NOISE_VERDICT_COOKIE_SENT);
	}
}

static void b55_cookie_under_load(void **)
{
	struct pair p = {.rate = 100, .source_rate = 2};
	struct noise_output first, reply, out;
	struct noise_peer before;
	struct side elsewhere;

	pair_init(&p);
	flood(&p, 102);
	memcpy(&before, &p.b.peer, sizeof(before));
	assert_int_equal(noise_peer_initiate(&p.a.peer, p.now, &first), 0);
	assert_int_equal(
		deliver(&p, &p.a, &p.b, first.bytes, 148, &reply), NOISE_VERDICT_COOKIE_SENT);
	assert_memory_equal(&before, &p.b.peer, sizeof(before));
	assert_int_equal(reply.size, 64);
	truncate(&p, &p.b, &p.a, &reply);
	tamper(&p, &p.b, &p.a, &reply, false);
	assert_int_equal(deliver(&p, &p.b, &p.a, reply.bytes, 64, &out), NOISE_VERDICT_OK);
	assert_int_equal(out.size, 0);
	// Once only.
	assert_int_equal(
		deliver(&p, &p.b, &p.a, reply.bytes, 64, &out), NOISE_VERDICT_COOKIE_REFUSED);

	p.a.peer.attempt_ns = 0;
	p.now += NOISE_MS_NS;
	assert_int_equal(noise_peer_rekey(&p.a.peer, p.now, &first), 0);
	// Worth nothing at another address or port.
	elsewhere = p.a;
	elsewhere.address.port++;
	assert_int_equal(
		deliver(&p, &elsewhere, &p.b, first.bytes, 148, &out), NOISE_VERDICT_COOKIE_SENT);
	elsewhere = p.a;
	elsewhere.address.addr.bytes[3]++;
	assert_int_equal(
		deliver(&p, &elsewhere, &p.b, first.bytes, 148, &out), NOISE_VERDICT_COOKIE_SENT);
	assert_int_equal(deliver(&p, &p.a, &p.b, first.bytes, 148, &out), NOISE_VERDICT_OK);
	// The source has a bucket of its own.
	assert_int_equal(deliver(&p, &p.a, &p.b, first.bytes, 148, &out), NOISE_VERDICT_REPLAYED);
	assert_int_equal(
		deliver(&p, &p.a, &p.b, first.bytes, 148, &out), NOISE_VERDICT_RATE_LIMITED);
	pair_fini(&p);
}

// After 120 s both the secret and the received cookie are stale.
static void cookie_grows_old(void **)
{
	struct pair p = {.rate = 100};
	struct noise_output first, reply, out;

	pair_init(&p);
	flood(&p, 102);
	assert_int_equal(noise_peer_rekey(&p.a.peer, p.now, &first), 0);
	assert_int_equal(
		deliver(&p, &p.a, &p.b, first.bytes, 148, &reply), NOISE_VERDICT_COOKIE_SENT);
	assert_int_equal(deliver(&p, &p.b, &p.a, reply.bytes, 64, &out), NOISE_VERDICT_OK);
	p.now += NOISE_COOKIE_TIME_NS - 1;
	p.a.peer.attempt_ns = 0;
	assert_int_equal(noise_peer_rekey(&p.a.peer, p.now, &first), 0);
	assert_false(sodium_is_zero(first.bytes + 132, 16));
	p.now += 1;
	flood(&p, 102);
	assert_int_equal(
		deliver(&p, &p.a, &p.b, first.bytes, 148, &reply), NOISE_VERDICT_COOKIE_SENT);
	p.a.peer.attempt_ns = 0;
	assert_int_equal(noise_peer_rekey(&p.a.peer, p.now, &first), 0);
	assert_true(sodium_is_zero(first.bytes + 132, 16));
	pair_fini(&p);
}

static void thousands_of_peers(void **)
{
	enum {
		N = 3000
	};
	struct noise_peer *peers = calloc(N, sizeof(*peers));
	struct noise_peer extra;
	struct pair p = {0};

	pair_init(&p);
	assert_non_null(peers);
	for (uint32_t i = 0; i < N; i++) {
		// The tables do not care that these are no real keys.
		memset(peers[i].remote.public_key, 0x55, NOISE_KEY_SIZE);
		memcpy(peers[i].remote.public_key, &i, sizeof(i));
		peers[i].connection = i * 5;
		assert_int_equal(noise_node_peer_add(p.b.node, &peers[i]), 0);
	}
	extra = peers[17];
	extra.connection = 0xfffff0;
	assert_int_equal(noise_node_peer_add(p.b.node, &extra), -EEXIST);
	extra.remote.public_key[31]++;
	extra.connection = peers[18].connection;
	assert_int_equal(noise_node_peer_add(p.b.node, &extra), -EEXIST);
	for (uint32_t i = 0; i < N; i += 2)
		noise_node_peer_del(p.b.node, &peers[i]);
	noise_node_peer_del(p.b.node, &peers[0]);
	for (uint32_t i = 0; i < N; i++) {
		struct noise_peer *expected = i % 2 != 0 ? &peers[i] : NULL;

		assert_ptr_equal(
			noise_node_peer_by_key(p.b.node, peers[i].remote.public_key), expected);
		assert_ptr_equal(noise_node_peer_by_connection(p.b.node, i * 5), expected);
	}
	establish(&p, &p.a, &p.b);
	for (uint32_t i = 0; i < N; i++)
		noise_node_peer_del(p.b.node, &peers[i]);
	free(peers);
	pair_fini(&p);
}

static void verdict_names(void **)
{
	for (unsigned v = 0; v < NOISE_VERDICT_COUNT; v++)
		assert_string_not_equal(noise_verdict_name(v), "unknown");
	assert_string_equal(noise_verdict_name(NOISE_VERDICT_BAD_MAC1), "bad_mac1");
	assert_string_equal(noise_verdict_name(NOISE_VERDICT_COUNT), "unknown");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(forged_messages),
		cmocka_unit_test(malformed_types),
		cmocka_unit_test(b51_duplicate_initiation),
		cmocka_unit_test(b13_recreated_peer_goes_on_with_newer_stamps),
		cmocka_unit_test(b60_unknown_peer_and_index),
		cmocka_unit_test(wrong_psk),
		cmocka_unit_test(b55_cookie_under_load),
		cmocka_unit_test(cookie_grows_old),
		cmocka_unit_test(thousands_of_peers),
		cmocka_unit_test(verdict_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
