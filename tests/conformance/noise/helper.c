// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "control/noise/node.h"
#include "control/noise/session.h"

#include <sodium.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/**
 * Our side of tests/conformance/noise/live_test.py: one node with one peer and its data session,
 * driven by lines on stdin, one answer line on stdout each. Bytes are hex, "-" is nothing.
 *
 *   node PRIVATE NOW_NS RATE SOURCE_RATE  -> ok PUBLIC
 *   peer PUBLIC PSK CONNECTION            -> ok
 *   time NOW_NS                           -> ok
 *   initiate                              -> ok BYTES EVENTS
 *   handle ADDR:PORT BYTES                -> VERDICT BYTES EVENTS
 *   seal BYTES | open BYTES               -> ok BYTES, or error NUMBER
 *   digest                                -> ok HASH   of everything that the peer remembers
 */

enum {
	LINE_SIZE_MAX = 8192,
	BYTES_MAX = 2048
};

struct state {
	struct noise_node *node;
	struct noise_peer peer;
	struct noise_session session;
	uint64_t now;
};

static size_t hex_in(const char *hex, uint8_t *out, size_t cap)
{
	size_t size = 0;

	if (hex == NULL || strcmp(hex, "-") == 0)
		return 0;
	if (sodium_hex2bin(out, cap, hex, strlen(hex), NULL, &size, NULL) != 0) {
		fprintf(stderr, "helper: bad hex\n");
		exit(2);
	}
	return size;
}

static void hex_out(const uint8_t *bytes, size_t size)
{
	char text[2 * BYTES_MAX + 1];

	sodium_bin2hex(text, sizeof(text), bytes, size);
	printf(" %s", size == 0 ? "-" : text);
}

static void output_print(struct state *s, struct noise_output *out)
{
	static const char *const names[] = {
		[NOISE_EVENT_KEYPAIR_READY] = "keypair",
		[NOISE_EVENT_SEND_KEEPALIVE] = "keepalive",
		[NOISE_EVENT_EXPIRED] = "expired",
	};

	hex_out(out->bytes, out->size);
	for (unsigned i = 0; i < out->n_events; i++) {
		printf(" %s", names[out->events[i].type]);
		noise_session_handle_event(&s->session, &out->events[i]);
	}
	putchar('\n');
	noise_output_wipe(out);
}

static void cmd_node(struct state *s, char **args)
{
	uint8_t key[NOISE_KEY_SIZE];
	struct noise_node_config config = {
		.private_key = key,
		.wall_ns = UINT64_C(1700000000) * NOISE_S_NS,
	};

	hex_in(args[0], key, sizeof(key));
	s->now = config.now_ns = strtoull(args[1], NULL, 10);
	config.handshake_rate = (uint32_t)strtoul(args[2], NULL, 10);
	config.source_rate = (uint32_t)strtoul(args[3], NULL, 10);
	noise_peer_fini(&s->peer);
	noise_node_destroy(s->node);
	s->node = noise_node_create(&config);
	if (s->node == NULL)
		exit(2);
	printf("ok");
	hex_out(noise_node_public_key(s->node), NOISE_KEY_SIZE);
	putchar('\n');
}

static void cmd_peer(struct state *s, char **args)
{
	uint8_t key[NOISE_KEY_SIZE], psk[NOISE_KEY_SIZE];
	struct noise_peer_config config = {
		.public_key = key,
		.psk = psk,
		.timing = NOISE_TIMING_ICE,
	};

	hex_in(args[0], key, sizeof(key));
	hex_in(args[1], psk, sizeof(psk));
	config.connection = (uint32_t)strtoul(args[2], NULL, 10);
	noise_peer_fini(&s->peer);
	if (noise_peer_init(&s->peer, s->node, s->now, &config) < 0
	    || noise_node_peer_add(s->node, &s->peer) < 0)
		exit(2);
	noise_session_init(&s->session, &s->peer);
	puts("ok");
}

static void cmd_time(struct state *s, char **args)
{
	s->now = strtoull(args[0], NULL, 10);
	puts("ok");
}

static void cmd_initiate(struct state *s, char **)
{
	struct noise_output out;

	// A handshake in flight is given up: the test decides when a new one starts.
	s->peer.attempt_ns = 0;
	if (noise_peer_rekey(&s->peer, s->now, &out) < 0)
		exit(2);
	printf("ok");
	output_print(s, &out);
}

static void cmd_handle(struct state *s, char **args)
{
	uint8_t bytes[BYTES_MAX];
	size_t size = hex_in(args[1], bytes, sizeof(bytes));
	struct ip_endpoint source;
	struct noise_output out;
	struct noise_peer *peer;
	enum noise_verdict v;

	if (ip_endpoint_parse(&source, args[0]) < 0)
		exit(2);
	v = noise_node_handle_handshake(s->node, s->now, &source, bytes, size, &peer, &out);
	printf("%s", noise_verdict_name(v));
	output_print(s, &out);
}

static void result_print(int n, const uint8_t *bytes)
{
	if (n < 0) {
		printf("error %d\n", -n);
		return;
	}
	printf("ok");
	hex_out(bytes, (size_t)n);
	putchar('\n');
}

static void cmd_seal(struct state *s, char **args)
{
	uint8_t buf[BYTES_MAX];
	size_t size =
		hex_in(args[0],
		       buf + NOISE_SESSION_HEADROOM,
		       sizeof(buf) - NOISE_SESSION_HEADROOM - NOISE_SESSION_TAILROOM);

	result_print(noise_session_seal(&s->session, s->now, buf, size), buf);
}

static void cmd_open(struct state *s, char **args)
{
	uint8_t buf[BYTES_MAX];
	size_t size = hex_in(args[0], buf, sizeof(buf));

	result_print(
		noise_session_open(&s->session, s->now, buf, size), buf + NOISE_SESSION_HEADROOM);
}

static void cmd_digest(struct state *s, char **)
{
	crypto_generichash_state h;
	uint8_t out[32];

	crypto_generichash_init(&h, NULL, 0, sizeof(out));
	crypto_generichash_update(&h, (const uint8_t *)&s->peer, sizeof(s->peer));
	crypto_generichash_update(&h, (const uint8_t *)&s->session, sizeof(s->session));
	crypto_generichash_final(&h, out, sizeof(out));
	printf("ok");
	hex_out(out, sizeof(out));
	putchar('\n');
}

static const struct command {
	const char *name;
	size_t n_args;
	void (*run)(struct state *s, char **args);
} commands[] = {
	{"node", 4, cmd_node},
	{"peer", 3, cmd_peer},
	{"time", 1, cmd_time},
	{"initiate", 0, cmd_initiate},
	{"handle", 2, cmd_handle},
	{"seal", 1, cmd_seal},
	{"open", 1, cmd_open},
	{"digest", 0, cmd_digest},
};

static bool run(struct state *s, char *line)
{
	char *words[6] = {0};
	size_t n = 0;

	for (char *w = strtok(line, " \n"); w != NULL && n < 6; w = strtok(NULL, " \n"))
		words[n++] = w;
	for (size_t i = 0; n > 0 && i < sizeof(commands) / sizeof(commands[0]); i++) {
		if (strcmp(words[0], commands[i].name) == 0 && commands[i].n_args == n - 1) {
			commands[i].run(s, words + 1);
			return true;
		}
	}
	return false;
}

int main(void)
{
	static struct state s;
	static char line[LINE_SIZE_MAX];
	int rc = 0;

	while (rc == 0 && fgets(line, sizeof(line), stdin) != NULL) {
		if (!run(&s, line)) {
			fprintf(stderr, "helper: unknown command\n");
			rc = 2;
		}
		fflush(stdout);
	}
	noise_session_fini(&s.session);
	noise_peer_fini(&s.peer);
	noise_node_destroy(s.node);
	return rc;
}
