// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "control/noise/node.h"
#include "control/noise/session.h"
#include "tests/fuzz/fuzz.h"

#include <sodium.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

// The first byte chooses: a handshake message as it is (0), one with mac1 made right (1), a data
// message (2). Keys and random bytes are fixed, so that the corpus can hold authentic messages.
enum {
	MODE_RAW,
	MODE_MAC1,
	MODE_DATA,
	MODE_COUNT
};

struct side {
	struct noise_node *node;
	struct noise_peer peer;
	struct noise_session session;
};

#define NOW (1000 * NOISE_S_NS)

static void fixed_random(void *, void *out, size_t size)
{
	memset(out, 0x33, size);
}

static void side_create(struct side *s)
{
	uint8_t key[NOISE_KEY_SIZE], other[NOISE_KEY_SIZE], remote[NOISE_KEY_SIZE];
	struct noise_node_config config = {
		.private_key = key,
		.random = fixed_random,
		.now_ns = NOW,
		.n_peers = 16,
	};
	struct noise_peer_config peer = {
		.public_key = remote,
		.connection = 1,
		.timing = NOISE_TIMING_ICE,
	};
	struct noise_event event = {.type = NOISE_EVENT_KEYPAIR_READY};

	memset(key, 0x11, sizeof(key));
	memset(other, 0x22, sizeof(other));
	s->node = noise_node_create(&config);
	if (s->node == NULL || crypto_scalarmult_base(remote, other) != 0
	    || noise_peer_init(&s->peer, s->node, NOW, &peer) < 0
	    || noise_node_peer_add(s->node, &s->peer) < 0)
		abort();
	noise_session_init(&s->session, &s->peer);
	event.keypair.local_index = 0x102;
	event.keypair.created_ns = NOW;
	memset(event.keypair.recv_key, 0x44, NOISE_KEY_SIZE);
	noise_session_handle_event(&s->session, &event);
}

static void handshake(struct side *s, uint8_t *msg, size_t size, bool with_mac1)
{
	const struct ip_endpoint source = {.addr = {.family = IP_FAMILY_V4}, .port = 1};
	struct noise_output out;
	struct noise_peer before, *peer;
	enum noise_verdict v;

	if (noise_peer_rekey(&s->peer, NOW, &out) < 0)
		abort();
	if (with_mac1 && size >= sizeof(struct noise_msg_response)
	    && size <= NOISE_HANDSHAKE_SIZE_MAX) {
		struct noise_crypto *c = &noise_node_shared(s->node)->crypto;
		struct noise_cookie_maker m;

		noise_cookie_maker_init(&m, c, noise_node_public_key(s->node));
		noise_cookie_macs_add(&m, c, NOW, msg, size);
	}
	memcpy(&before, &s->peer, sizeof(before));
	v = noise_node_handle_handshake(s->node, NOW, &source, msg, size, &peer, &out);
	if (v != NOISE_VERDICT_OK
	    && (out.n_events != 0 || memcmp(&before, &s->peer, sizeof(before)) != 0))
		abort();
}

static void data(struct side *s, uint8_t *msg, size_t size)
{
	struct noise_peer before;
	int n;

	memcpy(&before, &s->peer, sizeof(before));
	n = noise_session_open(&s->session, NOW, msg, size);
	if (n > 0 && (size_t)n > size - NOISE_DATA_SIZE_MIN)
		abort();
	if (n < 0 && n != -EPROTO && memcmp(&before, &s->peer, sizeof(before)) != 0)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
	static struct side s;
	uint8_t *msg;

	if (size == 0)
		return 0;
	// Exactly sized and writable.
	msg = malloc(size - 1 + (size == 1));
	if (msg == NULL)
		abort();
	memcpy(msg, input + 1, size - 1);
	side_create(&s);
	if (input[0] % MODE_COUNT == MODE_DATA)
		data(&s, msg, size - 1);
	else
		handshake(&s, msg, size - 1, input[0] % MODE_COUNT == MODE_MAC1);
	noise_session_fini(&s.session);
	noise_peer_fini(&s.peer);
	noise_node_destroy(s.node);
	free(msg);
	return 0;
}
