// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "control/path/stun.h"
#include "peers/relay/credentials.h"
#include "peers/relay/relay.h"
#include "tests/unit/unit.h"

#include <sodium.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define SECRET "4c98bf59c99b3e467ecd7cf9d6b3e5279645fca59be67bc5bb4af3cf653761ab"
#define T0 1700000000
#define LISTEN 3478
#define LOWEST 49152
#define HIGHEST 49163
#define PUBLIC_V4 "203.0.113.1"
#define PUBLIC_V6 "2001:db8::1"
#define HEADROOM 16

struct fixture {
	struct relay *relay;
	struct relay_now now;
	struct stun_mac *mac;
	unsigned open[65536]; // families
	int open_fails; // so many times
	uint8_t txid;
	uint8_t buf[HEADROOM + 2048];
	struct relay_packet p; // the last packet
	struct stun_msg msg; // the last answer
	uint64_t drops[RELAY_DROP_COUNT]; // as seen by expect_dropped()
};

// One end of a conversation.
struct user {
	struct ip_endpoint from;
	struct credentials c;
	uint8_t key[STUN_LONG_TERM_KEY_SIZE];
	char nonce[64]; // "": none yet
};

static void counter(void *out, size_t size)
{
	static uint64_t n;
	uint8_t *p = out;

	for (size_t i = 0; i < size; i++) {
		n = n * 6364136223846793005 + 1442695040888963407;
		p[i] = (uint8_t)(n >> 56);
	}
}

static int port_open(void *ctx, uint16_t port, unsigned families)
{
	struct fixture *f = ctx;

	if (f->open_fails > 0) {
		f->open_fails--;
		return -EADDRINUSE;
	}
	assert_int_equal(f->open[port], 0);
	f->open[port] = families;
	return 0;
}

static void port_close(void *ctx, uint16_t port, unsigned families)
{
	struct fixture *f = ctx;

	assert_int_equal(f->open[port], families);
	f->open[port] = 0;
}

static struct ip_addr addr(const char *text)
{
	struct ip_addr a = {};

	if (text != NULL)
		assert_int_equal(ip_addr_parse(&a, text), 0);
	return a;
}

static struct ip_endpoint endpoint(const char *text)
{
	struct ip_endpoint e;

	assert_int_equal(ip_endpoint_parse(&e, text), 0);
	return e;
}

static struct relay_config config_make(struct fixture *f)
{
	return (struct relay_config){
		.public_v4 = addr(PUBLIC_V4),
		.public_v6 = addr(PUBLIC_V6),
		.listen_port = LISTEN,
		.lowest_port = LOWEST,
		.highest_port = HIGHEST,
		.secret = SECRET,
		.software = "test",
		.ports = {port_open, port_close, f},
		.random = counter,
	};
}

static void restart(struct fixture *f, const struct relay_config *config)
{
	relay_destroy(f->relay);
	f->relay = relay_create(config);
	assert_non_null(f->relay);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct relay_config config = config_make(f);

	f->mac = stun_mac_create();
	f->now = (struct relay_now){.mono_ms = 123456789, .unix_s = T0};
	restart(f, &config);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	relay_destroy(f->relay);
	for (size_t i = 0; i < COUNT_OF(f->open); i++)
		assert_int_equal(f->open[i], 0);
	stun_mac_destroy(f->mac);
	free(f);
	return 0;
}

static void pass(struct fixture *f, uint64_t ms)
{
	f->now.mono_ms += ms;
	f->now.unix_s += (int64_t)(ms / 1000);
	relay_tick(f->relay, f->now);
}

static struct user user_make(const char *from, const char *public_key, int64_t expires_at)
{
	struct user u = {.from = endpoint(from)};

	credentials_make(&u.c, SECRET, public_key, expires_at);
	assert_int_equal(
		stun_long_term_key(u.key, u.c.username, CREDENTIALS_REALM, u.c.password), 0);
	return u;
}

static struct user user(const char *from)
{
	// Whoever comes from another place is somebody else.
	return user_make(from, from, 2145916800);
}

static bool
handle(struct fixture *f,
       uint16_t port,
       const struct ip_endpoint *from,
       const void *data,
       size_t size)
{
	f->p = (struct relay_packet){
		.data = f->buf + HEADROOM,
		.size = size,
		.cap = sizeof(f->buf) - HEADROOM,
		.remote = *from,
		.port = port,
	};
	memmove(f->p.data, data, size);
	return relay_handle_packet(f->relay, f->now, &f->p);
}

static void request_start(struct fixture *f, struct stun_writer *w, uint16_t method)
{
	struct stun_txid txid = {.bytes = {[11] = ++f->txid}};

	stun_writer_init(
		w, f->buf + HEADROOM, sizeof(f->buf) - HEADROOM, STUN_CLASS_REQUEST, method, &txid);
}

// Signs as official peers do, sends, and checks what every answer must have. @return 0 or error code
static unsigned request_send(struct fixture *f, struct user *u, struct stun_writer *w)
{
	const struct stun_txid txid = w->txid;
	int size;

	stun_writer_add(w, STUN_ATTR_SOFTWARE, "snownet", 7);
	stun_writer_add(w, STUN_ATTR_USERNAME, u->c.username, strlen(u->c.username));
	stun_writer_add(w, STUN_ATTR_REALM, "firezone", 8);
	if (u->nonce[0] != '\0')
		stun_writer_add(w, STUN_ATTR_NONCE, u->nonce, strlen(u->nonce));
	stun_writer_add_integrity(w, f->mac, u->key, sizeof(u->key));
	size = stun_writer_finish(w);
	assert_true(size > 0);
	assert_true(handle(f, LISTEN, &u->from, f->buf + HEADROOM, (size_t)size));
	assert_int_equal(f->p.port, LISTEN);
	assert_true(ip_endpoint_eq(&f->p.remote, &u->from));
	assert_int_equal(stun_msg_parse(&f->msg, f->p.data, f->p.size), 0);
	assert_memory_equal(&f->msg.txid, &txid, sizeof(txid));
	if (f->msg.cls == STUN_CLASS_SUCCESS)
		return 0;
	assert_int_equal(f->msg.cls, STUN_CLASS_ERROR);
	return f->msg.error_code;
}

static bool is_signed(const struct fixture *f, const struct user *u)
{
	return stun_msg_verify(f->mac, &f->msg, u->key, sizeof(u->key));
}

static void nonce_take(struct fixture *f, struct user *u)
{
	assert_true(f->msg.has & STUN_HAS_NONCE);
	assert_int_equal(f->msg.nonce.size, 36);
	memcpy(u->nonce, f->msg.nonce.data, 36);
	assert_int_equal(u->nonce[14], '4');
	assert_int_equal(f->msg.realm.size, 8);
	assert_memory_equal(f->msg.realm.data, "firezone", 8);
}

static unsigned allocate_once(struct fixture *f, struct user *u)
{
	struct stun_writer w;

	request_start(f, &w, STUN_METHOD_ALLOCATE);
	stun_writer_add_u32(&w, STUN_ATTR_REQUESTED_TRANSPORT, 17U << 24);
	stun_writer_add_u32(&w, STUN_ATTR_ADDITIONAL_ADDRESS_FAMILY, 2U << 24);
	return request_send(f, u, &w);
}

// The dance. @return the port
static uint16_t allocate(struct fixture *f, struct user *u)
{
	assert_int_equal(allocate_once(f, u), 401);
	assert_true(is_signed(f, u));
	nonce_take(f, u);
	assert_int_equal(allocate_once(f, u), 0);
	assert_true(is_signed(f, u));
	return f->msg.relayed_v4.addr.family != 0 ? f->msg.relayed_v4.port : f->msg.relayed_v6.port;
}

static unsigned refresh(struct fixture *f, struct user *u, int64_t lifetime_s)
{
	struct stun_writer w;

	request_start(f, &w, STUN_METHOD_REFRESH);
	stun_writer_add_u32(&w, STUN_ATTR_REQUESTED_TRANSPORT, 17U << 24);
	stun_writer_add_u32(&w, STUN_ATTR_ADDITIONAL_ADDRESS_FAMILY, 2U << 24);
	if (lifetime_s >= 0)
		stun_writer_add_u32(&w, STUN_ATTR_LIFETIME, (uint32_t)lifetime_s);
	return request_send(f, u, &w);
}

static unsigned
bind_to(struct fixture *f, struct user *u, uint16_t number, const struct ip_endpoint *peer)
{
	struct stun_writer w;

	request_start(f, &w, STUN_METHOD_CHANNEL_BIND);
	stun_writer_add_xor_address(&w, STUN_ATTR_XOR_PEER_ADDRESS, peer);
	stun_writer_add_u32(&w, STUN_ATTR_CHANNEL_NUMBER, (uint32_t)number << 16);
	return request_send(f, u, &w);
}

static unsigned bind_text(struct fixture *f, struct user *u, uint16_t number, const char *peer)
{
	const struct ip_endpoint e = endpoint(peer);

	return bind_to(f, u, number, &e);
}

// ChannelData whose payload is text, with a header that says `size`.
static bool channel_data(
	struct fixture *f,
	const struct user *u,
	uint16_t number,
	const char *text,
	size_t size)
{
	uint8_t data[128] = {
		(uint8_t)(number >> 8), (uint8_t)number, (uint8_t)(size >> 8), (uint8_t)size};

	memcpy(data + 4, text, strlen(text));
	return handle(f, LISTEN, &u->from, data, 4 + strlen(text));
}

static void expect_packet(
	const struct fixture *f,
	uint16_t port,
	const struct ip_endpoint *to,
	const char *text)
{
	assert_int_equal(f->p.port, port);
	assert_true(ip_endpoint_eq(&f->p.remote, to));
	assert_int_equal(f->p.size, strlen(text));
	assert_memory_equal(f->p.data, text, f->p.size);
}

static void expect_channel_data(
	const struct fixture *f,
	const struct user *u,
	uint16_t number,
	const char *text)
{
	const uint8_t head[4] = {(uint8_t)(number >> 8), (uint8_t)number, 0, (uint8_t)strlen(text)};

	assert_int_equal(f->p.port, LISTEN);
	assert_true(ip_endpoint_eq(&f->p.remote, &u->from));
	assert_int_equal(f->p.size, 4 + strlen(text));
	assert_memory_equal(f->p.data, head, 4);
	assert_memory_equal(f->p.data + 4, text, strlen(text));
}

static void expect_dropped(struct fixture *f, bool is_sent, enum relay_drop why)
{
	const struct relay_stats *stats = relay_stats(f->relay);

	assert_false(is_sent);
	if (stats->drops[why] != f->drops[why] + 1)
		fail_msg("not counted as %s", relay_drop_name(why));
	memcpy(f->drops, stats->drops, sizeof(f->drops));
}

static void binding(void **state)
{
	struct fixture *f = *state;
	// Connectivity spec, appendix B.6.
	static const uint8_t request[] = {
		0x00, 0x01, 0x00, 0x0c, 0x21, 0x12, 0xa4, 0x42, 0x00, 0x01, 0x02,
		0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0a, 0x0b, 0x80, 0x22,
		0x00, 0x07, 's',  'n',	'o',  'w',  'n',  'e',	't',  0x00,
	};
	// XOR-MAPPED-ADDRESS as in B.2, then SOFTWARE.
	static const uint8_t answer[] = {
		0x01, 0x01, 0x00, 0x14, 0x21, 0x12, 0xa4, 0x42, 0x00, 0x01, 0x02, 0x03, 0x04, 0x05,
		0x06, 0x07, 0x08, 0x09, 0x0a, 0x0b, 0x00, 0x20, 0x00, 0x08, 0x00, 0x01, 0xec, 0x83,
		0xea, 0x12, 0xd5, 0x45, 0x80, 0x22, 0x00, 0x04, 't',  'e',  's',  't',
	};
	const struct ip_endpoint v4 = endpoint("203.0.113.7:52625");
	const struct ip_endpoint v6 = endpoint("[2001:db8::7]:52625");

	assert_true(handle(f, LISTEN, &v4, request, sizeof(request)));
	assert_int_equal(f->p.size, sizeof(answer));
	assert_memory_equal(f->p.data, answer, sizeof(answer));
	assert_true(ip_endpoint_eq(&f->p.remote, &v4));
	assert_true(handle(f, LISTEN, &v6, request, sizeof(request)));
	assert_int_equal(stun_msg_parse(&f->msg, f->p.data, f->p.size), 0);
	assert_true(ip_endpoint_eq(&f->msg.mapped, &v6));
	// Keeps nothing.
	assert_int_equal(relay_stats(f->relay)->n_clients, 0);
}

static void first_allocate(void **state)
{
	struct fixture *f = *state;
	struct user u = user("198.51.100.7:1000");
	struct stun_attr attr;
	size_t n_relayed = 0;
	uint16_t port;

	assert_int_equal(allocate_once(f, &u), 401);
	assert_true(is_signed(f, &u));
	assert_int_equal(relay_stats(f->relay)->n_clients, 0);
	port = allocate(f, &u);
	assert_in_range(port, LOWEST, HIGHEST);
	assert_int_equal(f->open[port], RELAY_V4 | RELAY_V6);
	assert_int_equal(f->msg.lifetime_s, 600);
	assert_true(ip_endpoint_eq(&f->msg.mapped, &u.from));
	assert_int_equal(f->msg.relayed_v6.port, port);
	for (size_t pos = 0; stun_attr_next(&f->msg, &pos, &attr);) {
		struct ip_endpoint e;

		if (attr.type != STUN_ATTR_XOR_RELAYED_ADDRESS)
			continue;
		assert_int_equal(stun_xor_address_read(&attr.value, &f->msg.txid, &e), 0);
		const struct ip_addr want = addr(n_relayed++ == 0 ? PUBLIC_V4 : PUBLIC_V6);
		assert_true(ip_addr_eq(&e.addr, &want));
	}
	assert_int_equal(n_relayed, 2);
	// The same request again is a retransmission, another one is a mistake.
	f->txid--;
	assert_int_equal(allocate_once(f, &u), 0);
	assert_int_equal(f->msg.relayed_v4.port, port);
	assert_int_equal(allocate_once(f, &u), 437);
	assert_true(is_signed(f, &u));
	assert_int_equal(refresh(f, &u, 0), 0);
	assert_int_equal(f->msg.lifetime_s, 0);
	assert_int_equal(f->open[port], 0);
	assert_int_equal(refresh(f, &u, 0), 437);
	assert_int_equal(allocate_once(f, &u), 0);
}

// A client of RFC 8656 asks without anything first.
static void plain_allocate(void **state)
{
	struct fixture *f = *state;
	struct user u = user("198.51.100.7:1000");
	struct stun_writer w;
	int size;

	request_start(f, &w, STUN_METHOD_ALLOCATE);
	stun_writer_add_u32(&w, STUN_ATTR_REQUESTED_TRANSPORT, 17U << 24);
	size = stun_writer_finish(&w);
	assert_true(handle(f, LISTEN, &u.from, f->buf + HEADROOM, (size_t)size));
	assert_int_equal(stun_msg_parse(&f->msg, f->p.data, f->p.size), 0);
	assert_int_equal(f->msg.error_code, 401);
	assert_false(f->msg.has & STUN_HAS_INTEGRITY);
	nonce_take(f, &u);
	request_start(f, &w, STUN_METHOD_ALLOCATE);
	stun_writer_add_u32(&w, STUN_ATTR_REQUESTED_TRANSPORT, 17U << 24);
	stun_writer_add_u32(&w, STUN_ATTR_LIFETIME, 777);
	assert_int_equal(request_send(f, &u, &w), 0);
	assert_int_equal(f->msg.relayed_v6.addr.family, IP_FAMILY_NONE);
	assert_int_equal(f->open[f->msg.relayed_v4.port], RELAY_V4);
	assert_int_equal(f->msg.lifetime_s, 777);
	request_start(f, &w, STUN_METHOD_CREATE_PERMISSION);
	assert_int_equal(request_send(f, &u, &w), 0);
	assert_true(is_signed(f, &u));
}

static void credentials(void **state)
{
	struct fixture *f = *state;
	struct user expired = user_make("198.51.100.7:1", "k", T0 - 1);
	struct user just = user_make("198.51.100.7:2", "k", T0);
	struct user wrong = user("198.51.100.7:3");
	struct user odd = user("198.51.100.7:4");

	assert_int_equal(allocate_once(f, &expired), 401);
	nonce_take(f, &expired);
	assert_int_equal(allocate_once(f, &expired), 401);
	assert_true(is_signed(f, &expired));
	allocate(f, &just);
	wrong.key[0] ^= 1;
	assert_int_equal(allocate_once(f, &wrong), 401);
	nonce_take(f, &wrong);
	assert_int_equal(allocate_once(f, &wrong), 401);
	assert_false(is_signed(f, &wrong));
	// A name that is not of the form has no key to sign with.
	strcpy(odd.c.username, "x:y");
	assert_int_equal(allocate_once(f, &odd), 401);
	assert_false(f->msg.has & STUN_HAS_INTEGRITY);
	nonce_take(f, &odd);
	assert_int_equal(allocate_once(f, &odd), 401);
	assert_int_equal(relay_stats(f->relay)->n_clients, 1);
}

static void nonces(void **state)
{
	struct fixture *f = *state;
	struct user u = user("198.51.100.7:1000");
	struct user other = user("198.51.100.7:1001");
	char last[64];

	// One socket's nonce is nothing to another one.
	assert_int_equal(allocate_once(f, &u), 401);
	nonce_take(f, &u);
	memcpy(other.nonce, u.nonce, sizeof(u.nonce));
	assert_int_equal(allocate_once(f, &other), 438);
	assert_true(is_signed(f, &other));
	nonce_take(f, &other);
	assert_int_equal(allocate_once(f, &other), 0);
	// Good for at least 18 minutes without state, and not for 36.
	pass(f, 18 * 60000 - 600000);
	assert_int_equal(refresh(f, &other, -1), 0);
	pass(f, 600000 - 1);
	assert_int_equal(allocate_once(f, &u), 0);
	assert_int_equal(refresh(f, &u, 0), 0);
	// 10,000 requests; two were made.
	for (int i = 2; i < 10000; i++)
		assert_int_equal(refresh(f, &u, 0), 437);
	memcpy(last, u.nonce, sizeof(last));
	assert_int_equal(refresh(f, &u, 0), 438);
	assert_true(is_signed(f, &u));
	nonce_take(f, &u);
	assert_string_not_equal(u.nonce, last);
	assert_int_equal(refresh(f, &u, 0), 437);
	memcpy(u.nonce, last, sizeof(last));
	assert_int_equal(refresh(f, &u, 0), 438);
}

static void old_nonce(void **state)
{
	struct fixture *f = *state;
	struct user u = user("198.51.100.7:1000");

	assert_int_equal(allocate_once(f, &u), 401);
	nonce_take(f, &u);
	pass(f, 36 * 60000);
	assert_int_equal(allocate_once(f, &u), 438);
}

static void refused_allocations(void **state)
{
	struct fixture *f = *state;
	static const struct {
		uint16_t type[2];
		uint32_t value[2];
		unsigned code;
	} cases[] = {
		{{0}, {0}, 400},
		{{STUN_ATTR_REQUESTED_TRANSPORT}, {6U << 24}, 442},
		{{STUN_ATTR_REQUESTED_TRANSPORT, STUN_ATTR_REQUESTED_ADDRESS_FAMILY},
		 {17U << 24, 3U << 24},
		 440},
		{{STUN_ATTR_REQUESTED_TRANSPORT, STUN_ATTR_ADDITIONAL_ADDRESS_FAMILY},
		 {17U << 24, 1U << 24},
		 400},
		{{STUN_ATTR_REQUESTED_TRANSPORT, 0x001a}, {17U << 24}, 420}, // DONT-FRAGMENT
		{{STUN_ATTR_REQUESTED_TRANSPORT, 0x7fff}, {17U << 24}, 420},
		{{STUN_ATTR_REQUESTED_TRANSPORT, 0xffff}, {17U << 24}, 0},
	};

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct user u = user("198.51.100.7:1000");
		struct stun_writer w;

		assert_int_equal(refresh(f, &u, 0), 401);
		nonce_take(f, &u);
		request_start(f, &w, STUN_METHOD_ALLOCATE);
		for (int k = 0; k < 2; k++) {
			if (cases[i].type[k] != 0)
				stun_writer_add_u32(&w, cases[i].type[k], cases[i].value[k]);
		}
		assert_int_equal(request_send(f, &u, &w), cases[i].code);
		assert_true(is_signed(f, &u));
	}
}

static void both_families_asked(void **state)
{
	struct fixture *f = *state;
	struct user u = user("198.51.100.7:1000");
	struct stun_writer w;

	assert_int_equal(refresh(f, &u, 0), 401);
	nonce_take(f, &u);
	request_start(f, &w, STUN_METHOD_ALLOCATE);
	stun_writer_add_u32(&w, STUN_ATTR_REQUESTED_TRANSPORT, 17U << 24);
	stun_writer_add_u32(&w, STUN_ATTR_REQUESTED_ADDRESS_FAMILY, 1U << 24);
	stun_writer_add_u32(&w, STUN_ATTR_ADDITIONAL_ADDRESS_FAMILY, 2U << 24);
	assert_int_equal(request_send(f, &u, &w), 400);
}

static void one_family(void **state)
{
	struct fixture *f = *state;
	struct relay_config config = config_make(f);
	struct user u = user("198.51.100.7:1000");
	struct user v = user("[2001:db8::2]:1000");
	struct stun_writer w;
	uint16_t port;

	config.public_v6 = addr(NULL);
	restart(f, &config);
	port = allocate(f, &u);
	assert_int_equal(f->open[port], RELAY_V4);
	assert_int_equal(f->msg.relayed_v6.addr.family, IP_FAMILY_NONE);
	assert_int_equal(bind_text(f, &u, 0x4000, "[2001:db8::9]:9"), 443);
	assert_true(is_signed(f, &u));
	config.public_v4 = addr(NULL);
	config.public_v6 = addr(PUBLIC_V6);
	restart(f, &config);
	port = allocate(f, &v);
	assert_int_equal(f->open[port], RELAY_V6);
	assert_int_equal(refresh(f, &v, 0), 0);
	request_start(f, &w, STUN_METHOD_ALLOCATE);
	stun_writer_add_u32(&w, STUN_ATTR_REQUESTED_TRANSPORT, 17U << 24);
	assert_int_equal(request_send(f, &v, &w), 440);
}

static void one_per_username(void **state)
{
	struct fixture *f = *state;
	struct user u = user("198.51.100.7:1000");
	struct user moved = u;
	uint16_t first;
	uint16_t second;

	first = allocate(f, &u);
	moved.from = endpoint("198.51.100.8:2000");
	second = allocate(f, &moved);
	assert_int_equal(relay_stats(f->relay)->n_allocations, 1);
	assert_int_equal(f->open[second], RELAY_V4 | RELAY_V6);
	if (first != second)
		assert_int_equal(f->open[first], 0);
	assert_int_equal(refresh(f, &u, -1), 437);
	assert_int_equal(refresh(f, &moved, -1), 0);
}

// The second user of a socket may not touch the first one's allocation.
static void wrong_user(void **state)
{
	struct fixture *f = *state;
	struct user u = user("198.51.100.7:1000");
	struct user w = user_make("198.51.100.7:1000", "other", 2145916800);

	allocate(f, &u);
	memcpy(w.nonce, u.nonce, sizeof(w.nonce));
	assert_int_equal(refresh(f, &w, 0), 441);
	assert_int_equal(bind_text(f, &w, 0x4000, "192.0.2.1:9"), 441);
	assert_int_equal(allocate_once(f, &w), 437);
	assert_int_equal(refresh(f, &u, -1), 0);
}

static void lifetimes(void **state)
{
	struct fixture *f = *state;
	struct user u = user("198.51.100.7:1000");
	static const struct {
		int64_t asked;
		uint32_t granted;
	} cases[] = {
		{-1, 600}, {1, 600}, {601, 601}, {3600, 3600}, {3601, 3600}, {UINT32_MAX, 3600}};
	uint16_t port = allocate(f, &u);

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		assert_int_equal(refresh(f, &u, cases[i].asked), 0);
		assert_int_equal(f->msg.lifetime_s, cases[i].granted);
		pass(f, cases[i].granted * UINT64_C(1000) - 1);
		assert_int_equal(f->open[port], RELAY_V4 | RELAY_V6);
	}
	// To the millisecond for requests, within a second for the port.
	f->now.mono_ms += 1;
	assert_int_equal(refresh(f, &u, -1), 437);
	port = allocate_once(f, &u) == 0 ? f->msg.relayed_v4.port : 0;
	assert_true(relay_next_deadline(f->relay) <= f->now.mono_ms + 1000);
	pass(f, 601000);
	assert_int_equal(f->open[port], 0);
	assert_true(relay_next_deadline(f->relay) == UINT64_MAX);
}

static void ports_run_out(void **state)
{
	struct fixture *f = *state;
	struct user users[HIGHEST - LOWEST + 2];
	char from[32];
	const size_t last = COUNT_OF(users) - 1;

	// Some are in use by others: another one is taken.
	f->open_fails = 3;
	for (size_t i = 0; i < COUNT_OF(users); i++) {
		snprintf(from, sizeof(from), "198.51.100.7:%zu", 1000 + i);
		users[i] = user(from);
		if (i < last)
			allocate(f, &users[i]);
	}
	assert_int_equal(allocate_once(f, &users[last]), 401);
	nonce_take(f, &users[last]);
	assert_int_equal(allocate_once(f, &users[last]), 508);
	assert_true(is_signed(f, &users[last]));
	assert_int_equal(refresh(f, &users[3], 0), 0);
	assert_int_equal(allocate_once(f, &users[last]), 0);
	assert_int_equal(refresh(f, &users[4], 0), 0);
	f->open_fails = 1000;
	assert_int_equal(allocate_once(f, &users[4]), 508);
	f->open_fails = 0;
	assert_int_equal(allocate_once(f, &users[4]), 0);
}

static void data_both_ways(void **state)
{
	struct fixture *f = *state;
	struct user u = user("198.51.100.7:1000");
	struct user stranger = user("198.51.100.7:1001");
	const struct ip_endpoint v4 = endpoint("192.0.2.1:52625");
	const struct ip_endpoint v6 = endpoint("[2001:db8:2::1]:52625");
	const struct ip_endpoint unbound = endpoint("192.0.2.1:52626");
	uint16_t port = allocate(f, &u);

	assert_int_equal(bind_to(f, &u, 0x4000, &v4), 0);
	assert_true(is_signed(f, &u));
	assert_int_equal(bind_to(f, &u, 0x4fff, &v6), 0);
	assert_true(channel_data(f, &u, 0x4000, "hello", 5));
	expect_packet(f, port, &v4, "hello");
	assert_true(channel_data(f, &u, 0x4fff, "six", 3));
	expect_packet(f, port, &v6, "six");
	assert_true(handle(f, port, &v4, "answer", 6));
	expect_channel_data(f, &u, 0x4000, "answer");
	assert_true(handle(f, port, &v6, "v6", 2));
	expect_channel_data(f, &u, 0x4fff, "v6");
	assert_true(handle(f, port, &v4, "", 0));
	expect_channel_data(f, &u, 0x4000, "");
	assert_true(channel_data(f, &u, 0x4000, "", 0));
	expect_packet(f, port, &v4, "");
	// What a stranger pads is cut off; what is missing cannot be sent.
	assert_true(channel_data(f, &u, 0x4000, "hello...", 5));
	expect_packet(f, port, &v4, "hello");
	expect_dropped(f, channel_data(f, &u, 0x4000, "hello", 6), RELAY_DROP_BAD_CHANNEL_DATA);
	expect_dropped(f, channel_data(f, &u, 0x4001, "hello", 5), RELAY_DROP_NO_CHANNEL);
	expect_dropped(f, channel_data(f, &u, 0x5000, "hello", 5), RELAY_DROP_NO_CHANNEL);
	expect_dropped(f, handle(f, port, &unbound, "hello", 5), RELAY_DROP_NO_CHANNEL);
	expect_dropped(f, channel_data(f, &stranger, 0x4000, "hello", 5), RELAY_DROP_NO_ALLOCATION);
	expect_dropped(
		f,
		handle(f, (uint16_t)(port == LOWEST ? LOWEST + 1 : LOWEST), &v4, "hello", 5),
		RELAY_DROP_NO_ALLOCATION);
	assert_int_equal(relay_stats(f->relay)->to_client, 3);
	assert_int_equal(relay_stats(f->relay)->to_client_bytes, 8);
	// Over with the lifetime, also when the timer is late.
	f->now.mono_ms += 600000;
	expect_dropped(f, channel_data(f, &u, 0x4000, "hello", 5), RELAY_DROP_NO_ALLOCATION);
	expect_dropped(f, handle(f, port, &v4, "hello", 5), RELAY_DROP_NO_ALLOCATION);
}

static void junk(void **state)
{
	struct fixture *f = *state;
	const struct ip_endpoint from = endpoint("192.0.2.1:52625");
	static const uint8_t indication[20] = {0, 0x16, 0, 0, 0x21, 0x12, 0xa4, 0x42};
	static const uint8_t truncated[24] = {
		0, 3, 0, 4, 0x21, 0x12, 0xa4, 0x42, [21] = 6, [23] = 1};

	expect_dropped(f, handle(f, LISTEN, &from, "", 0), RELAY_DROP_NOT_STUN);
	expect_dropped(f, handle(f, LISTEN, &from, "\x40", 1), RELAY_DROP_NOT_STUN);
	expect_dropped(f, handle(f, LISTEN, &from, "\xff\xff\xff\xff\xff", 5), RELAY_DROP_NOT_STUN);
	expect_dropped(f, handle(f, LISTEN, &from, "\x04\0\0\0", 4), RELAY_DROP_NOT_STUN);
	expect_dropped(
		f,
		handle(f, LISTEN, &from, indication, sizeof(indication)),
		RELAY_DROP_NOT_REQUEST);
	expect_dropped(
		f, handle(f, LISTEN, &from, truncated, sizeof(truncated)), RELAY_DROP_BAD_STUN);
}

static void hairpin(void **state)
{
	struct fixture *f = *state;
	struct user a = user("198.51.100.7:1000");
	struct user b = user("[2001:db8::2]:1000");
	struct ip_endpoint at_a = {addr(PUBLIC_V4), 0};
	struct ip_endpoint at_b = {addr(PUBLIC_V4), 0};
	struct ip_endpoint self = {addr(PUBLIC_V4), LISTEN};

	at_a.port = allocate(f, &a);
	at_b.port = allocate(f, &b);
	assert_int_equal(bind_to(f, &a, 0x4001, &at_b), 0);
	expect_dropped(f, channel_data(f, &a, 0x4001, "early", 5), RELAY_DROP_NO_CHANNEL);
	assert_int_equal(bind_to(f, &b, 0x4002, &at_a), 0);
	assert_true(channel_data(f, &a, 0x4001, "to b", 4));
	expect_channel_data(f, &b, 0x4002, "to b");
	assert_true(channel_data(f, &b, 0x4002, "to a...", 4));
	expect_channel_data(f, &a, 0x4001, "to a");
	// The relay itself is nobody's peer.
	assert_int_equal(bind_to(f, &a, 0x4003, &self), 0);
	expect_dropped(f, channel_data(f, &a, 0x4003, "x", 1), RELAY_DROP_OWN_ADDRESS);
	assert_int_equal(refresh(f, &b, 0), 0);
	// Another program of this host may have that port now.
	assert_true(channel_data(f, &a, 0x4001, "x", 1));
	expect_packet(f, at_a.port, &at_b, "x");
}

static void channel_lives(void **state)
{
	struct fixture *f = *state;
	struct user u = user("198.51.100.7:1000");
	uint16_t port = allocate(f, &u);
	const struct ip_endpoint first = endpoint("192.0.2.1:1");

	assert_int_equal(refresh(f, &u, 3600), 0);
	assert_int_equal(bind_text(f, &u, 0x4000, "192.0.2.1:1"), 0);
	assert_int_equal(bind_text(f, &u, 0x4000, "192.0.2.1:2"), 400);
	assert_int_equal(bind_text(f, &u, 0x4001, "192.0.2.1:1"), 400);
	pass(f, 300000);
	assert_int_equal(bind_text(f, &u, 0x4000, "192.0.2.1:1"), 0);
	pass(f, 599999);
	assert_true(channel_data(f, &u, 0x4000, "x", 1));
	pass(f, 1);
	// Lapsed, but reserved.
	expect_dropped(f, channel_data(f, &u, 0x4000, "x", 1), RELAY_DROP_NO_CHANNEL);
	expect_dropped(f, handle(f, port, &first, "x", 1), RELAY_DROP_NO_CHANNEL);
	assert_int_equal(bind_text(f, &u, 0x4000, "192.0.2.1:2"), 400);
	assert_int_equal(bind_text(f, &u, 0x4001, "192.0.2.1:1"), 400);
	assert_int_equal(bind_text(f, &u, 0x4000, "192.0.2.1:1"), 0);
	assert_true(channel_data(f, &u, 0x4000, "x", 1));
	pass(f, 899999);
	assert_int_equal(bind_text(f, &u, 0x4000, "192.0.2.1:2"), 400);
	pass(f, 1);
	assert_int_equal(bind_text(f, &u, 0x4000, "192.0.2.1:2"), 0);
	assert_int_equal(bind_text(f, &u, 0x4001, "192.0.2.1:1"), 0);
	assert_true(handle(f, port, &first, "x", 1));
	expect_channel_data(f, &u, 0x4001, "x");
}

static void refused_channels(void **state)
{
	struct fixture *f = *state;
	struct user u = user("198.51.100.7:1000");
	static const struct {
		uint16_t number;
		const char *peer;
		unsigned code;
	} cases[] = {
		{0x3fff, "192.0.2.1:1", 400},
		{0x5000, "192.0.2.1:1", 400},
		{0x4000, "192.0.2.1:0", 403},
		{0x4000, "127.0.0.1:1", 403},
		{0x4000, "0.0.0.0:1", 403},
		{0x4000, "224.0.0.1:1", 403},
		{0x4000, "255.255.255.255:1", 403},
		{0x4000, "[::1]:1", 403},
		{0x4000, "[::]:1", 403},
		{0x4000, "[ff02::1]:1", 403},
		{0x4000, "10.0.0.1:1", 0},
		{0x4001, "[fd00::1]:1", 0},
	};
	struct stun_writer w;

	assert_int_equal(refresh(f, &u, 0), 401);
	nonce_take(f, &u);
	assert_int_equal(bind_text(f, &u, 0x4000, "192.0.2.1:1"), 437);
	assert_int_equal(allocate_once(f, &u), 0);
	for (size_t i = 0; i < COUNT_OF(cases); i++)
		assert_int_equal(bind_text(f, &u, cases[i].number, cases[i].peer), cases[i].code);
	request_start(f, &w, STUN_METHOD_CHANNEL_BIND);
	stun_writer_add_u32(&w, STUN_ATTR_CHANNEL_NUMBER, 0x4005U << 16);
	assert_int_equal(request_send(f, &u, &w), 400);
	request_start(f, &w, STUN_METHOD_CHANNEL_BIND);
	stun_writer_add_xor_address(&w, STUN_ATTR_XOR_PEER_ADDRESS, &u.from);
	assert_int_equal(request_send(f, &u, &w), 400);
	request_start(f, &w, STUN_METHOD_SEND);
	assert_int_equal(request_send(f, &u, &w), 400);
}

// Random binds over a long time against the rules written down naively.
static void channel_model(void **state)
{
	struct fixture *f = *state;
	struct user u = user("198.51.100.7:1000");
	struct {
		unsigned peer;
		uint64_t bound_ms; // 0: never
	} model[48] = {};
	uint16_t port = allocate(f, &u);
	uint32_t dice;

	for (int step = 0; step < 8000; step++) {
		struct ip_endpoint peer = endpoint("192.0.2.1:1");
		bool is_free = true;
		unsigned number;
		unsigned who;

		counter(&dice, sizeof(dice));
		number = dice % COUNT_OF(model);
		who = dice / 1024 % 64;
		pass(f, dice / 65536 % 32768);
		if (refresh(f, &u, 3600) == 438) {
			nonce_take(f, &u);
			assert_int_equal(refresh(f, &u, 3600), 0);
		}
		for (unsigned i = 0; i < COUNT_OF(model); i++) {
			if (model[i].bound_ms != 0 && f->now.mono_ms < model[i].bound_ms + 900000
			    && (i == number) != (model[i].peer == who))
				is_free = false;
		}
		peer.port = (uint16_t)(1 + who);
		unsigned code = bind_to(f, &u, (uint16_t)(0x4000 + number), &peer);
		if (code == 438) {
			nonce_take(f, &u);
			code = bind_to(f, &u, (uint16_t)(0x4000 + number), &peer);
		}
		assert_int_equal(code, is_free ? 0 : 400);
		for (unsigned i = 0; is_free && i < COUNT_OF(model); i++) {
			if (model[i].peer == who)
				model[i].bound_ms = 0;
		}
		if (is_free) {
			model[number].peer = who;
			model[number].bound_ms = f->now.mono_ms;
		}
		for (unsigned i = 0; i < COUNT_OF(model); i++) {
			const bool is_active = model[i].bound_ms != 0
				&& f->now.mono_ms < model[i].bound_ms + 600000;

			peer.port = (uint16_t)(1 + model[i].peer);
			assert_int_equal(
				channel_data(f, &u, (uint16_t)(0x4000 + i), "x", 1), is_active);
			if (!is_active)
				continue;
			expect_packet(f, port, &peer, "x");
			assert_true(handle(f, port, &peer, "y", 1));
			expect_channel_data(f, &u, (uint16_t)(0x4000 + i), "y");
		}
	}
}

static void all_channels(void **state)
{
	struct fixture *f = *state;
	struct user u = user("198.51.100.7:1000");
	struct ip_endpoint peer = endpoint("192.0.2.1:1");
	uint16_t port = allocate(f, &u);

	for (uint16_t n = 0x4000; n <= 0x4fff; n++) {
		peer.port = (uint16_t)(n - 0x3000);
		assert_int_equal(bind_to(f, &u, n, &peer), 0);
	}
	for (uint16_t n = 0x4000; n <= 0x4fff; n++) {
		peer.port = (uint16_t)(n - 0x3000);
		assert_true(handle(f, port, &peer, "x", 1));
		expect_channel_data(f, &u, n, "x");
	}
}

// Sockets without an allocation make room for others, those with one do not.
static void clients_run_out(void **state)
{
	struct fixture *f = *state;
	struct relay_config config = config_make(f);
	struct user users[4];
	char from[32];

	config.clients_max = 2;
	restart(f, &config);
	for (size_t i = 0; i < COUNT_OF(users); i++) {
		snprintf(from, sizeof(from), "198.51.100.7:%zu", 1000 + i);
		users[i] = user(from);
	}
	allocate(f, &users[0]);
	for (size_t i = 1; i < COUNT_OF(users); i++) {
		assert_int_equal(refresh(f, &users[i], 0), 401);
		nonce_take(f, &users[i]);
		assert_int_equal(refresh(f, &users[i], 0), 437);
		assert_int_equal(relay_stats(f->relay)->n_clients, 2);
	}
	assert_int_equal(allocate_once(f, &users[3]), 0);
	assert_int_equal(refresh(f, &users[1], 0), 508);
	assert_int_equal(refresh(f, &users[0], 0), 0);
	assert_int_equal(refresh(f, &users[1], 0), 437);
}

// A request with any one byte changed gets no further than without credentials.
static void flipped_bytes(void **state)
{
	struct fixture *f = *state;
	struct user u = user("198.51.100.7:1000");
	uint8_t good[512];
	struct stun_writer w;
	int size;

	assert_int_equal(refresh(f, &u, 0), 401);
	nonce_take(f, &u);
	stun_writer_init(
		&w,
		good,
		sizeof(good),
		STUN_CLASS_REQUEST,
		STUN_METHOD_ALLOCATE,
		&(struct stun_txid){});
	stun_writer_add_u32(&w, STUN_ATTR_REQUESTED_TRANSPORT, 17U << 24);
	stun_writer_add(&w, STUN_ATTR_USERNAME, u.c.username, strlen(u.c.username));
	stun_writer_add(&w, STUN_ATTR_REALM, "firezone", 8);
	stun_writer_add(&w, STUN_ATTR_NONCE, u.nonce, strlen(u.nonce));
	stun_writer_add_integrity(&w, f->mac, u.key, sizeof(u.key));
	size = stun_writer_finish(&w);
	for (int i = 0; i < size * 8; i++) {
		uint8_t bad[512];

		memcpy(bad, good, (size_t)size);
		bad[i / 8] ^= (uint8_t)(1 << i % 8);
		handle(f, LISTEN, &u.from, bad, (size_t)size);
		assert_int_equal(relay_stats(f->relay)->n_clients, 0);
		handle(f, LISTEN, &u.from, good, (size_t)(i / 8));
		assert_int_equal(relay_stats(f->relay)->n_clients, 0);
	}
	assert_true(handle(f, LISTEN, &u.from, good, (size_t)size));
	assert_int_equal(relay_stats(f->relay)->n_allocations, 1);
}

static void bad_configs(void **state)
{
	struct fixture *f = *state;
	struct relay_config c = config_make(f);

	c.public_v4 = c.public_v6 = addr(NULL);
	assert_null(relay_create(&c));
	c = config_make(f);
	c.lowest_port = HIGHEST + 1;
	assert_null(relay_create(&c));
	c = config_make(f);
	c.secret = "";
	assert_null(relay_create(&c));
	assert_int_equal(errno, EINVAL);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	static const struct CMUnitTest tests[] = {
		TEST(binding),
		TEST(first_allocate),
		TEST(plain_allocate),
		TEST(credentials),
		TEST(nonces),
		TEST(old_nonce),
		TEST(refused_allocations),
		TEST(both_families_asked),
		TEST(one_family),
		TEST(one_per_username),
		TEST(wrong_user),
		TEST(lifetimes),
		TEST(ports_run_out),
		TEST(data_both_ways),
		TEST(junk),
		TEST(hairpin),
		TEST(channel_lives),
		TEST(refused_channels),
		TEST(channel_model),
		TEST(all_channels),
		TEST(clients_run_out),
		TEST(flipped_bytes),
		TEST(bad_configs),
	};

	return sodium_init() < 0 ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
