// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "control/base/err.h"
#include "control/noise/tai64n.h"
#include "perf/loadgen/loadgen.h"

#include <sodium.h>

#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
	IN_FLIGHT_MAX = 64, // handshakes at a time: X25519 on both sides takes its time
};

#define RETRY_NS (1000 * NOISE_MS_NS)

static void random_bytes(void *, void *out, size_t size)
{
	randombytes_buf(out, size);
}

static int client_init(struct loadgen *g, struct lg_client *c, unsigned number)
{
	uint8_t key[NOISE_KEY_SIZE], gateway[NOISE_KEY_SIZE];
	int rc;

	lg_key_gateway(key);
	if (crypto_scalarmult_base(gateway, key) != 0)
		return err_set(EIO);
	lg_key_client(key, number);
	rc = noise_identity_init(&c->identity, key);
	if (rc == 0)
		rc = noise_remote_init(&c->remote, &c->identity, gateway, NULL);
	if (rc == 0)
		noise_cookie_maker_init(&c->cookie, &g->crypto, gateway);
	return rc;
}

int lg_clients_init(struct loadgen *g)
{
	int rc = noise_crypto_init(&g->crypto, random_bytes, NULL);

	g->clients = calloc(g->opt.n_clients, sizeof(*g->clients));
	g->flows = calloc((size_t)g->opt.n_clients * g->opt.n_flows, sizeof(*g->flows));
	if (g->clients == NULL || g->flows == NULL)
		return err_set(ENOMEM);
	for (unsigned i = 0; rc == 0 && i < g->opt.n_clients; i++)
		rc = client_init(g, &g->clients[i], i);
	return rc;
}

void lg_clients_fini(struct loadgen *g)
{
	free(g->clients);
	free(g->flows);
	noise_crypto_fini(&g->crypto);
}

static struct tai64n stamp_now(void)
{
	static uint64_t last;
	struct timespec ts;
	uint64_t ns;

	clock_gettime(CLOCK_REALTIME, &ts);
	ns = (uint64_t)ts.tv_sec * NOISE_S_NS + (uint64_t)ts.tv_nsec;
	last = ns > last ? ns : last + 1;
	return tai64n_make(last);
}

static void initiate(struct loadgen *g, unsigned number)
{
	struct lg_client *c = &g->clients[number];
	struct noise_msg_initiation msg;
	uint8_t ephemeral[NOISE_KEY_SIZE];
	struct tai64n stamp = stamp_now();
	uint64_t now = lg_now_ns();

	randombytes_buf(ephemeral, sizeof(ephemeral));
	if (noise_initiation_create(
		    &g->crypto,
		    &c->identity,
		    &c->remote,
		    ephemeral,
		    number << 8 | ++c->index,
		    &stamp,
		    &c->handshake,
		    &msg)
	    < 0) {
		g->handshake_bad++;
		return;
	}
	noise_cookie_macs_add(&c->cookie, &g->crypto, now, &msg, sizeof(msg));
	c->initiated_ns = now;
	lg_client_send(g, number, &msg, sizeof(msg));
}

static void keepalive_send(struct loadgen *g, unsigned number)
{
	struct lg_client *c = &g->clients[number];
	uint8_t msg[NOISE_DATA_SIZE_MIN];
	struct noise_msg_data head = {
		.type = noise_le32_make(NOISE_MSG_DATA),
		.receiver_index = noise_le32_make(c->keys.remote_index),
		.counter = noise_le64_make(c->counter),
	};
	struct aead_op op = {
		.data = msg + sizeof(head),
		.key = c->keys.send_key,
		.counter = c->counter++,
	};

	memcpy(msg, &head, sizeof(head));
	aead_seal_burst(g->aead, &op, 1);
	lg_client_send(g, number, msg, sizeof(msg));
}

static void handle_response(struct loadgen *g, const uint8_t *bytes)
{
	struct noise_msg_response msg;
	struct noise_keypair keys;
	struct lg_client *c;
	uint32_t index;

	memcpy(&msg, bytes, sizeof(msg));
	index = noise_le32_get(msg.receiver_index);
	if (index >> 8 >= g->opt.n_clients) {
		g->handshake_bad++;
		return;
	}
	c = &g->clients[index >> 8];
	if (c->initiated_ns == 0 || c->handshake.local_index != index
	    || noise_response_consume(
		       &g->crypto, &c->identity, &c->remote, &c->handshake, &msg, &keys)
		    < 0) {
		g->handshake_bad++;
		return;
	}
	keys.created_ns = lg_now_ns();
	c->keys = keys;
	c->counter = 0;
	c->initiated_ns = 0;
	c->has_keys = true;
	// The SUT may not send before it has seen the new keys in use.
	keepalive_send(g, index >> 8);
}

static void handle_cookie(struct loadgen *g, const uint8_t *bytes)
{
	struct noise_msg_cookie_reply msg;
	uint32_t number;

	memcpy(&msg, bytes, sizeof(msg));
	number = noise_le32_get(msg.receiver_index) >> 8;
	if (number >= g->opt.n_clients
	    || noise_cookie_reply_consume(&g->clients[number].cookie, lg_now_ns(), &msg) < 0) {
		g->handshake_bad++;
		return;
	}
	initiate(g, number);
}

void lg_session_handle(struct loadgen *g, const uint8_t *msg, size_t size)
{
	uint32_t type = noise_msg_type_get(msg, size);

	if (type == NOISE_MSG_RESPONSE && size == sizeof(struct noise_msg_response))
		handle_response(g, msg);
	else if (type == NOISE_MSG_COOKIE_REPLY && size == sizeof(struct noise_msg_cookie_reply))
		handle_cookie(g, msg);
	else
		g->handshake_bad++;
}

unsigned lg_sessions_establish(struct loadgen *g, uint64_t max_age_s, double timeout_s)
{
	uint64_t begin = lg_now_ns(), deadline = begin + (uint64_t)(timeout_s * 1e9);
	unsigned missing, in_flight;

	do {
		uint64_t now = lg_now_ns();

		missing = in_flight = 0;
		for (unsigned i = 0; i < g->opt.n_clients; i++) {
			struct lg_client *c = &g->clients[i];

			// Aged at the beginning, so that slow handshakes do not chase their own tail.
			if (c->has_keys && c->keys.created_ns + max_age_s * NOISE_S_NS > begin)
				continue;
			missing++;
			if (in_flight >= IN_FLIGHT_MAX)
				continue;
			in_flight++;
			if (c->initiated_ns == 0 || now > c->initiated_ns + RETRY_NS)
				initiate(g, i);
			lg_receive(g);
		}
		lg_receive(g);
	} while (missing > 0 && lg_now_ns() < deadline);
	return missing;
}
