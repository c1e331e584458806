// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "control/path/stun.h"
#include "peers/relay/credentials.h"
#include "peers/relay/relay.h"
#include "tests/fuzz/fuzz.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

// The input is a story: each step is one byte of size, one that says who sends it where and how much
// later, and a datagram. Requests whose last attribute has the shape of MESSAGE-INTEGRITY are signed
// right here for the user name they carry, and get the nonce that the relay told last.

#define SECRET "4c98bf59c99b3e467ecd7cf9d6b3e5279645fca59be67bc5bb4af3cf653761ab"

enum {
	STEP_SIZE = 2,
	SENDERS = 4,
	LISTEN = 3478,
	LOWEST = 50000,
	HIGHEST = 50005,
	NONCE_SIZE = 36,
	INTEGRITY_SIZE = 4 + STUN_INTEGRITY_SIZE,
	BUFFER_SIZE = RELAY_PACKET_SIZE_MIN,
};

struct world {
	struct relay *relay;
	struct stun_mac *mac;
	struct relay_now now;
	unsigned open[HIGHEST - LOWEST + 1]; // families
	uint16_t allocated; // the port that was opened last
	uint8_t nonce[NONCE_SIZE];
};

static void random_bytes(void *out, size_t size)
{
	static uint8_t n;

	memset(out, n++, size);
}

static int port_open(void *ctx, uint16_t port, unsigned families)
{
	struct world *w = ctx;

	if (port < LOWEST || port > HIGHEST || families == 0 || w->open[port - LOWEST] != 0)
		abort();
	w->open[port - LOWEST] = families;
	w->allocated = port;
	return 0;
}

static void port_close(void *ctx, uint16_t port, unsigned families)
{
	struct world *w = ctx;

	if (w->open[port - LOWEST] != families)
		abort();
	w->open[port - LOWEST] = 0;
}

static struct ip_endpoint sender(unsigned who)
{
	const uint8_t v4[4] = {192, 0, 2, (uint8_t)(1 + who)},
		      v6[16] = {0x20, 1, 0xd, 0xb8, [15] = 9};

	return (struct ip_endpoint){
		.addr = who == 2 ? ip_addr_v6(v6) : ip_addr_v4(v4),
		.port = 5000,
	};
}

static void nonce_fill(const struct world *w, uint8_t *data, size_t size)
{
	struct stun_msg msg;

	if (stun_msg_parse(&msg, data, size) == 0 && (msg.has & STUN_HAS_NONCE) != 0
	    && msg.nonce.size == NONCE_SIZE)
		memcpy(data + (msg.nonce.data - data), w->nonce, NONCE_SIZE);
}

static void sign(const struct world *w, uint8_t *data, size_t size)
{
	char username[CREDENTIALS_USERNAME_SIZE] = {0}, password[CREDENTIALS_PASSWORD_SIZE];
	struct stun_writer writer = {.cur = cursor_writer(data, size)};
	uint8_t key[STUN_LONG_TERM_KEY_SIZE];
	struct stun_msg msg;
	int64_t expires_at;

	if (size < STUN_HEADER_SIZE + INTEGRITY_SIZE || stun_msg_parse(&msg, data, size) < 0
	    || (msg.has & STUN_HAS_USERNAME) == 0 || msg.username.size >= sizeof(username)
	    || msg.integrity_pos != size - INTEGRITY_SIZE)
		return;
	memcpy(username, msg.username.data, msg.username.size);
	if (credentials_of_username(password, &expires_at, SECRET, username) < 0
	    || stun_long_term_key(key, username, CREDENTIALS_REALM, password) < 0)
		return;
	writer.cur.pos = msg.integrity_pos;
	stun_writer_add_integrity(&writer, w->mac, key, sizeof(key));
}

static void answer_check(struct world *w, const struct relay_packet *p)
{
	struct stun_msg msg;

	if (p->size > p->cap || p->remote.port == 0)
		abort();
	if (p->port != LISTEN
	    && (p->port < LOWEST || p->port > HIGHEST || w->open[p->port - LOWEST] == 0))
		abort();
	// What goes to a client is a whole STUN message or ChannelData.
	if (p->port != LISTEN || p->size == 0 || p->data[0] >= 4)
		return;
	if (stun_msg_parse(&msg, p->data, p->size) < 0)
		abort();
	if ((msg.has & STUN_HAS_NONCE) != 0 && msg.nonce.size == NONCE_SIZE)
		memcpy(w->nonce, msg.nonce.data, NONCE_SIZE);
}

static void step(struct world *w, uint8_t how, const uint8_t *data, size_t size)
{
	// From the heap, so that a byte before or behind it is found.
	uint8_t *buffer = malloc(RELAY_HEADROOM + BUFFER_SIZE);
	struct relay_packet p = {
		.size = size,
		.cap = BUFFER_SIZE,
		.remote = sender(how % SENDERS),
		.port = (how & 4) != 0 && w->allocated != 0 ? w->allocated : LISTEN,
	};

	if (buffer == NULL)
		return;
	p.data = buffer + RELAY_HEADROOM;
	memcpy(p.data, data, size);
	if (p.port == LISTEN) {
		nonce_fill(w, p.data, size);
		sign(w, p.data, size);
	}
	w->now.mono_ms += (uint64_t)(how >> 3) * 20000;
	w->now.unix_s += (how >> 3) * 20;
	relay_tick(w->relay, w->now);
	if (relay_handle_packet(w->relay, w->now, &p))
		answer_check(w, &p);
	free(buffer);
}

static void tell(struct world *w, const uint8_t *data, size_t size)
{
	struct cursor c = cursor_reader(data, size);

	while (cursor_left(&c) > STEP_SIZE) {
		size_t n = cursor_read_u8(&c), left;
		uint8_t how = cursor_read_u8(&c);

		left = cursor_left(&c);
		n = n < left ? n : left;
		step(w, how, cursor_take(&c, n), n);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t v4[4] = {203, 0, 113, 1}, v6[16] = {0x20, 1, 0xd, 0xb8, [15] = 1};
	struct world w = {.now = {.mono_ms = 1000000, .unix_s = 1700000000}};
	struct relay_config config = {
		.public_v4 = ip_addr_v4(v4),
		.public_v6 = ip_addr_v6(v6),
		.listen_port = LISTEN,
		.lowest_port = LOWEST,
		.highest_port = HIGHEST,
		.secret = SECRET,
		.software = "fuzz",
		.ports = {port_open, port_close, &w},
		.random = random_bytes,
	};

	w.mac = stun_mac_create();
	w.relay = relay_create(&config);
	if (w.mac == NULL || w.relay == NULL)
		abort();
	tell(&w, data, size);
	relay_destroy(w.relay);
	stun_mac_destroy(w.mac);
	for (unsigned i = 0; i <= HIGHEST - LOWEST; i++) {
		if (w.open[i] != 0)
			abort();
	}
	return 0;
}
