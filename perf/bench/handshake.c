// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "control/noise/node.h"
#include "perf/bench/bench.h"

#include <rte_cycles.h>
#include <sodium.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Responder handshakes: genuine initiations of many clients, made ready before, answered by the
// gateway's node. In the flood, each of them comes with forged ones whose mac1 is right (their
// maker knows our public key) and whose rest is noise; the genuine senders have their cookies.

enum {
	PEERS = 200,
	FORGED_PER_GENUINE = 10,
};

struct initiation {
	uint8_t bytes[NOISE_HANDSHAKE_SIZE_MAX];
	size_t size;
};

struct shake {
	struct noise_node *gateway;
	struct noise_peer at_gateway[PEERS], at_client[PEERS];
	struct noise_node *client_node[PEERS];
	uint64_t now_ns;
};

static void check(bool is_ok, const char *what)
{
	if (is_ok)
		return;
	fprintf(stderr, "bench: handshake: %s failed\n", what);
	exit(1);
}

static struct ip_endpoint source_of(unsigned peer)
{
	return (struct ip_endpoint){
		.addr = ip_addr_v4((const uint8_t[]){198, 18, (uint8_t)(peer >> 8), (uint8_t)peer}),
		.port = 51820,
	};
}

static struct noise_node *node_make(uint64_t now_ns, uint32_t rate)
{
	struct noise_node_config config = {
		.now_ns = now_ns,
		.wall_ns = UINT64_C(1700000000) * NOISE_S_NS,
		.n_peers = PEERS,
		.handshake_rate = rate,
		.source_rate = 1000000,
	};
	struct noise_node *n = noise_node_create(&config);

	check(n != NULL, "noise_node_create");
	return n;
}

static void peer_make(
	struct shake *s,
	struct noise_peer *p,
	struct noise_node *node,
	const uint8_t *public_key,
	unsigned number)
{
	uint8_t psk[NOISE_KEY_SIZE];
	struct noise_peer_config config = {
		.public_key = public_key,
		.psk = psk,
		.connection = number + 1,
		.timing = NOISE_TIMING_ICE,
	};

	memset(psk, (int)number, sizeof(psk));
	check(noise_peer_init(p, node, s->now_ns, &config) == 0, "noise_peer_init");
	check(noise_node_peer_add(node, p) == 0, "noise_node_peer_add");
}

static struct shake *shake_create(uint32_t rate)
{
	struct shake *s = calloc(1, sizeof(*s));

	check(s != NULL, "calloc");
	s->now_ns = 1000 * NOISE_S_NS;
	s->gateway = node_make(s->now_ns, rate);
	for (unsigned i = 0; i < PEERS; i++) {
		s->client_node[i] = node_make(s->now_ns, 0);
		peer_make(
			s,
			&s->at_client[i],
			s->client_node[i],
			noise_node_public_key(s->gateway),
			i);
		peer_make(
			s,
			&s->at_gateway[i],
			s->gateway,
			noise_node_public_key(s->client_node[i]),
			i);
	}
	return s;
}

static void shake_destroy(struct shake *s)
{
	for (unsigned i = 0; i < PEERS; i++) {
		noise_peer_fini(&s->at_client[i]);
		noise_node_destroy(s->client_node[i]);
		noise_peer_fini(&s->at_gateway[i]);
	}
	noise_node_destroy(s->gateway);
	free(s);
}

static enum noise_verdict
answer(struct shake *s, unsigned peer, const struct initiation *in, struct noise_output *out)
{
	struct ip_endpoint source = source_of(peer);
	struct noise_peer *found;

	return noise_node_handle_handshake(
		s->gateway, s->now_ns, &source, in->bytes, in->size, &found, out);
}

static void initiate(struct shake *s, unsigned peer, struct initiation *in)
{
	struct noise_output out;

	// Each side suppresses what comes too soon after the last one, by its own clock.
	s->now_ns += NOISE_S_NS / PEERS;
	noise_peer_fini(&s->at_client[peer]);
	peer_make(
		s,
		&s->at_client[peer],
		s->client_node[peer],
		noise_node_public_key(s->gateway),
		peer);
	check(noise_peer_rekey(&s->at_client[peer], s->now_ns, &out) == 0, "noise_peer_rekey");
	memcpy(in->bytes, out.bytes, out.size);
	in->size = out.size;
	noise_output_wipe(&out);
}

// Fills the initiation with noise but for type and mac1, as one who knows our key can.
static void forge(struct shake *s, struct noise_crypto *c, struct initiation *in)
{
	struct noise_cookie_maker maker;
	struct noise_msg_initiation *msg = (void *)in->bytes;

	randombytes_buf(in->bytes, sizeof(*msg));
	msg->type = noise_le32_make(NOISE_MSG_INITIATION);
	in->size = sizeof(*msg);
	noise_cookie_maker_init(&maker, c, noise_node_public_key(s->gateway));
	noise_cookie_macs_add(&maker, c, s->now_ns, in->bytes, in->size);
}

static double quiet_run(unsigned n)
{
	struct shake *s = shake_create(1u << 30);
	struct measure *m = calloc(1, sizeof(*m));
	struct initiation in;
	double cycles;

	check(m != NULL, "calloc");
	for (unsigned i = 0; i < n; i++) {
		struct noise_output out;
		uint64_t t0;

		initiate(s, i % PEERS, &in);
		t0 = rte_rdtsc();
		check(answer(s, i % PEERS, &in, &out) == NOISE_VERDICT_OK, "answer");
		measure_add(m, rte_rdtsc() - t0, 1);
	}
	cycles = measure_result(m, NULL);
	free(m);
	shake_destroy(s);
	return cycles;
}

// Under load the gateway answers whoever has no cookie with one. One initiation a second is load
// here; a jump of the clock ends it, and some forged ones bring it back.
static void load(struct shake *s, struct noise_crypto *crypto)
{
	struct noise_output out;
	struct initiation in;

	for (unsigned i = 0; i < 3; i++) {
		forge(s, crypto, &in);
		answer(s, 0, &in, &out);
	}
}

static void cookie_fetch(struct shake *s, unsigned peer)
{
	const struct ip_endpoint gateway = source_of(PEERS);
	struct noise_output reply, none;
	struct initiation in;
	struct noise_peer *found;

	initiate(s, peer, &in);
	check(answer(s, peer, &in, &reply) == NOISE_VERDICT_COOKIE_SENT, "cookie");
	check(noise_node_handle_handshake(
		      s->client_node[peer],
		      s->now_ns,
		      &gateway,
		      reply.bytes,
		      reply.size,
		      &found,
		      &none)
		      == NOISE_VERDICT_OK,
	      "cookie reply");
}

// The retransmission, 5 s and a jitter later, carries mac2.
static void initiate_with_cookie(
	struct shake *s,
	struct noise_crypto *crypto,
	unsigned peer,
	struct initiation *in)
{
	struct noise_output out;

	load(s, crypto);
	cookie_fetch(s, peer);
	s->now_ns += 6 * NOISE_S_NS;
	noise_peer_handle_timeout(&s->at_client[peer], s->now_ns, &out);
	check(out.size == sizeof(struct noise_msg_initiation), "initiation with a cookie");
	memcpy(in->bytes, out.bytes, out.size);
	in->size = out.size;
	load(s, crypto);
}

static double flood_run(unsigned n, double *per_forged)
{
	struct measure *genuine = calloc(1, sizeof(*genuine)), *forged = calloc(1, sizeof(*forged));
	struct shake *s = shake_create(1);
	struct noise_crypto crypto;
	struct initiation in;
	double cycles;

	check(genuine != NULL && forged != NULL, "calloc");
	check(noise_crypto_init(&crypto, NULL, NULL) == 0, "noise_crypto_init");
	for (unsigned i = 0; i < n; i++) {
		struct noise_output out;
		enum noise_verdict v;
		uint64_t t0, t1;

		for (unsigned j = 0; j < FORGED_PER_GENUINE; j++) {
			if (j == 0)
				load(s, &crypto);
			forge(s, &crypto, &in);
			t0 = rte_rdtsc();
			check(answer(s, j, &in, &out) == NOISE_VERDICT_COOKIE_SENT, "forged");
			measure_add(forged, rte_rdtsc() - t0, 1);
		}
		initiate_with_cookie(s, &crypto, i % PEERS, &in);
		t0 = rte_rdtsc();
		v = answer(s, i % PEERS, &in, &out);
		t1 = rte_rdtsc();
		// Now and then the secret changed between the cookie and its use: the client would try
		// again, and so does the next turn.
		check(v == NOISE_VERDICT_OK || v == NOISE_VERDICT_COOKIE_SENT, "genuine");
		if (v == NOISE_VERDICT_OK)
			measure_add(genuine, t1 - t0, 1);
	}
	*per_forged = measure_result(forged, NULL);
	cycles = measure_result(genuine, NULL) + FORGED_PER_GENUINE * *per_forged;
	noise_crypto_fini(&crypto);
	free(genuine);
	free(forged);
	shake_destroy(s);
	return cycles;
}

static void report(struct results *r, const struct sample_set *per_second, int flood, double forged)
{
	json_t *result = result_add(r, "handshake", "148", PEERS, 0);

	result_samples(result, "per_second", per_second);
	result_number(result, "runs", per_second->n);
	json_object_set_new(result, "flood", json_integer(flood));
	if (flood == 0)
		return;
	result_number(result, "forged_per_genuine", FORGED_PER_GENUINE);
	result_number(result, "forged_cycles", forged);
}

void bench_handshake(const struct bench_config *config, struct results *r)
{
	struct sample_set quiet = {0}, flood = {0}, forged = {0};

	for (unsigned run = 0; run < config->runs; run++) {
		double per_forged;

		sample_add(&quiet, r->tsc_hz / quiet_run(config->handshakes));
		sample_add(&flood, r->tsc_hz / flood_run(config->handshakes, &per_forged));
		sample_add(&forged, per_forged);
	}
	report(r, &quiet, 0, 0);
	report(r, &flood, 1, sample_median(&forged));
}
