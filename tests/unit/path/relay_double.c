// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "tests/unit/path/relay_double.h"

#include "tests/unit/unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHANNEL_ACTIVE (600 * DOUBLE_NS)
#define CHANNEL_RESERVED (900 * DOUBLE_NS)

void double_credentials(struct relay_double *d, const char *username, const char *password)
{
	snprintf(d->username, sizeof(d->username), "%s", username);
	assert_int_equal(stun_long_term_key(d->key, username, d->realm, password), 0);
}

void double_init(struct relay_double *d, const char *v4, const char *v6)
{
	const char *texts[2] = {v4, v6};

	memset(d, 0, sizeof(*d));
	d->mac = stun_mac_create();
	assert_non_null(d->mac);
	d->realm = "firezone";
	d->lifetime_s = 600;
	d->next_port = 49152;
	d->nonce = 1;
	double_credentials(d, "2145916800:salt", "pw");
	for (unsigned i = 0; i < 2; i++) {
		if (texts[i] == NULL)
			continue;
		assert_int_equal(ip_addr_parse(&d->relay_addrs[i], texts[i]), 0);
		d->addrs[i] = (struct ip_endpoint){.addr = d->relay_addrs[i], .port = 3478};
	}
}

static void client_clear(struct double_client *c)
{
	free(c->channels);
	memset(c, 0, sizeof(*c));
}

void double_forget(struct relay_double *d)
{
	for (unsigned i = 0; i < DOUBLE_CLIENTS_MAX; i++)
		client_clear(&d->clients[i]);
}

void double_fini(struct relay_double *d)
{
	double_forget(d);
	stun_mac_destroy(d->mac);
}

bool double_owns(const struct relay_double *d, const struct ip_endpoint *to)
{
	return ip_addr_eq(&to->addr, &d->relay_addrs[0])
		|| ip_addr_eq(&to->addr, &d->relay_addrs[1]) || ip_endpoint_eq(to, &d->addrs[0])
		|| ip_endpoint_eq(to, &d->addrs[1]);
}

static struct double_client *
client_of(struct relay_double *d, uint64_t now, const struct ip_endpoint *source)
{
	for (unsigned i = 0; i < DOUBLE_CLIENTS_MAX; i++) {
		struct double_client *c = &d->clients[i];

		if (c->source.port == 0 || !ip_endpoint_eq(&c->source, source))
			continue;
		if (now < c->expires_at)
			return c;
		client_clear(c);
	}
	return NULL;
}

struct double_client *double_first(struct relay_double *d, uint64_t now)
{
	for (unsigned i = 0; i < DOUBLE_CLIENTS_MAX; i++) {
		if (d->clients[i].source.port != 0 && now < d->clients[i].expires_at)
			return &d->clients[i];
	}
	return NULL;
}

// A request being answered.
struct ask {
	struct relay_double *d;
	uint64_t now;
	const struct ip_endpoint *from;
	const struct ip_endpoint *to;
	struct stun_msg msg;
	struct stun_writer w;
	uint8_t buf[512];
};

static void answer_start(struct ask *ask, enum stun_class cls)
{
	stun_writer_init(&ask->w, ask->buf, sizeof(ask->buf), cls, ask->msg.method, &ask->msg.txid);
}

static void answer_send(struct ask *ask, bool is_signed, const uint8_t *key)
{
	int size;

	if (is_signed)
		stun_writer_add_integrity(&ask->w, ask->d->mac, key, STUN_LONG_TERM_KEY_SIZE);
	size = stun_writer_finish(&ask->w);
	assert_true(size > 0);
	ask->d->emit(ask->d->emit_ctx, ask->to, ask->from, ask->buf, (size_t)size);
}

static void answer_ok(struct ask *ask)
{
	stun_writer_add(&ask->w, STUN_ATTR_SOFTWARE, "double", 6);
	answer_send(ask, true, ask->d->key);
}

static void nonce_text(const struct relay_double *d, char out[37])
{
	snprintf(out, 37, "00000000-0000-0000-0000-%012u", d->nonce);
}

static void answer_error(struct ask *ask, unsigned code, bool is_signed)
{
	const uint8_t wrong[STUN_LONG_TERM_KEY_SIZE] = {1};
	struct relay_double *d = ask->d;
	char nonce[37];

	answer_start(ask, STUN_CLASS_ERROR);
	stun_writer_add_error(&ask->w, code, "refused");
	if ((code == 401 || code == 438) && !(d->fail_times > 0 && d->says_nothing_new)) {
		nonce_text(d, nonce);
		stun_writer_add(&ask->w, STUN_ATTR_REALM, d->realm, strlen(d->realm));
		stun_writer_add(&ask->w, STUN_ATTR_NONCE, nonce, strlen(nonce));
		d->n_denied++;
	}
	if (d->fail_times > 0 && d->fails_unsigned)
		is_signed = false;
	if (d->fail_times > 0 && d->fails_badly_signed)
		answer_send(ask, true, wrong);
	else
		answer_send(ask, is_signed, d->key);
}

// spec/portal-client.md 4.4 for Firezone relays, RFC 8489 9.2.4 for the others.
static bool authenticate(struct ask *ask)
{
	struct relay_double *d = ask->d;
	bool has_user = ask->msg.has & STUN_HAS_USERNAME,
	     has_mac = ask->msg.has & STUN_HAS_INTEGRITY;
	char nonce[37];

	nonce_text(d, nonce);
	if (d->is_rfc && has_mac && !(ask->msg.has & STUN_HAS_NONCE)) {
		answer_error(ask, 400, false);
		return false;
	}
	if (!has_mac || !has_user || !(ask->msg.has & STUN_HAS_NONCE)) {
		answer_error(ask, 401, has_user && !d->is_rfc);
		return false;
	}
	if (ask->msg.username.size != strlen(d->username)
	    || memcmp(ask->msg.username.data, d->username, ask->msg.username.size) != 0
	    || !stun_msg_verify(d->mac, &ask->msg, d->key, sizeof(d->key))) {
		answer_error(ask, 401, !d->is_rfc);
		return false;
	}
	if (ask->msg.nonce.size != strlen(nonce)
	    || memcmp(ask->msg.nonce.data, nonce, strlen(nonce)) != 0) {
		answer_error(ask, 438, !d->is_rfc);
		return false;
	}
	return true;
}

static void do_binding(struct ask *ask)
{
	answer_start(ask, STUN_CLASS_SUCCESS);
	stun_writer_add_xor_address(&ask->w, STUN_ATTR_XOR_MAPPED_ADDRESS, ask->from);
	answer_send(ask, false, NULL);
}

static bool has_attr(const struct ask *ask, uint16_t type)
{
	struct stun_attr attr;
	size_t pos = 0;

	while (stun_attr_next(&ask->msg, &pos, &attr)) {
		if (attr.type == type)
			return true;
	}
	return false;
}

// coturn 4.6.1 knows the draft's number of ADDITIONAL-ADDRESS-FAMILY only.
static bool wants_v6(const struct ask *ask)
{
	return has_attr(
		ask,
		ask->d->is_rfc ? STUN_ATTR_ADDITIONAL_ADDRESS_FAMILY_DRAFT
			       : STUN_ATTR_ADDITIONAL_ADDRESS_FAMILY);
}

static void do_allocate(struct ask *ask)
{
	struct relay_double *d = ask->d;
	struct double_client *c = client_of(d, ask->now, ask->from);

	if (c != NULL) {
		answer_error(ask, 437, true);
		return;
	}
	for (c = d->clients; c->source.port != 0; c++)
		assert_true(c < &d->clients[DOUBLE_CLIENTS_MAX - 1]);
	c->source = *ask->from;
	c->server = *ask->to;
	c->expires_at = ask->now + d->lifetime_s * DOUBLE_NS;
	c->channels = calloc(DOUBLE_CHANNELS_MAX, sizeof(c->channels[0]));
	assert_non_null(c->channels);
	answer_start(ask, STUN_CLASS_SUCCESS);
	for (unsigned i = 0; i < 2; i++) {
		if (d->relay_addrs[i].family == IP_FAMILY_NONE || (i == 1 && !wants_v6(ask)))
			continue;
		c->relayed[i] =
			(struct ip_endpoint){.addr = d->relay_addrs[i], .port = d->next_port};
		stun_writer_add_xor_address(&ask->w, STUN_ATTR_XOR_RELAYED_ADDRESS, &c->relayed[i]);
	}
	d->next_port++;
	stun_writer_add_xor_address(&ask->w, STUN_ATTR_XOR_MAPPED_ADDRESS, ask->from);
	if (!d->forgets_lifetime)
		stun_writer_add_u32(&ask->w, STUN_ATTR_LIFETIME, d->lifetime_s);
	answer_ok(ask);
}

static void do_refresh(struct ask *ask)
{
	struct relay_double *d = ask->d;
	struct double_client *c = client_of(d, ask->now, ask->from);
	uint32_t lifetime_s = d->lifetime_s;

	if (c == NULL) {
		answer_error(ask, 437, true);
		return;
	}
	// RFC servers do not know the attributes of Allocate here.
	if (d->is_rfc && has_attr(ask, STUN_ATTR_REQUESTED_TRANSPORT)) {
		answer_error(ask, 420, true);
		return;
	}
	if (ask->msg.has & STUN_HAS_LIFETIME)
		lifetime_s = ask->msg.lifetime_s;
	c->expires_at = ask->now + lifetime_s * DOUBLE_NS;
	if (lifetime_s == 0)
		client_clear(c);
	answer_start(ask, STUN_CLASS_SUCCESS);
	stun_writer_add_u32(&ask->w, STUN_ATTR_LIFETIME, lifetime_s);
	answer_ok(ask);
}

static void do_channel_bind(struct ask *ask)
{
	struct relay_double *d = ask->d;
	struct double_client *c = client_of(d, ask->now, ask->from);
	struct double_channel *slot = NULL;

	if (c == NULL) {
		answer_error(ask, 437, true);
		return;
	}
	assert_true(ask->msg.channel >= 0x4000 && ask->msg.channel <= 0x4fff);
	for (size_t i = 0; i < c->n_channels; i++) {
		struct double_channel *ch = &c->channels[i];
		bool is_number = ch->number == ask->msg.channel;
		bool is_peer = ip_endpoint_eq(&ch->peer, &ask->msg.peer);

		if (ask->now >= ch->bound_at + CHANNEL_RESERVED) {
			if (is_number)
				slot = ch;
			continue;
		}
		if (is_number != is_peer) {
			answer_error(ask, 400, true);
			return;
		}
		if (is_number)
			slot = ch;
	}
	if (slot == NULL) {
		assert_true(c->n_channels < DOUBLE_CHANNELS_MAX);
		slot = &c->channels[c->n_channels++];
	}
	*slot = (struct double_channel){ask->msg.channel, ask->msg.peer, ask->now};
	answer_start(ask, STUN_CLASS_SUCCESS);
	answer_ok(ask);
}

static void count(struct relay_double *d, const struct stun_msg *msg)
{
	switch (msg->method) {
	case STUN_METHOD_BINDING:
		d->n_binding++;
		break;
	case STUN_METHOD_ALLOCATE:
		d->n_allocate++;
		break;
	case STUN_METHOD_REFRESH:
		if ((msg->has & STUN_HAS_LIFETIME) && msg->lifetime_s == 0)
			d->n_delete++;
		else
			d->n_refresh++;
		break;
	case STUN_METHOD_CHANNEL_BIND:
		d->n_channel_bind++;
		break;
	default:
		fail_msg("method %u is not of the dialect", msg->method);
	}
}

static void handle_request(struct ask *ask)
{
	struct relay_double *d = ask->d;

	assert_int_equal(ask->msg.cls, STUN_CLASS_REQUEST);
	assert_false(ask->msg.has & STUN_HAS_FINGERPRINT);
	count(d, &ask->msg);
	if (ask->msg.method == STUN_METHOD_BINDING) {
		do_binding(ask);
		return;
	}
	if (d->fail_times > 0 && d->fail_method == ask->msg.method) {
		answer_error(ask, d->fail_code, true);
		d->fail_times--;
		return;
	}
	// As coturn 4.6.1 was seen to do.
	if (d->is_rfc && ask->msg.method == STUN_METHOD_ALLOCATE
	    && client_of(d, ask->now, ask->from) != NULL) {
		answer_error(ask, 437, false);
		return;
	}
	if (!authenticate(ask))
		return;
	if (ask->msg.method == STUN_METHOD_ALLOCATE)
		do_allocate(ask);
	else if (ask->msg.method == STUN_METHOD_REFRESH)
		do_refresh(ask);
	else
		do_channel_bind(ask);
}

static const struct double_channel *active_channel(
	const struct double_client *c,
	uint64_t now,
	uint16_t number,
	const struct ip_endpoint *peer)
{
	for (size_t i = 0; c != NULL && i < c->n_channels; i++) {
		const struct double_channel *ch = &c->channels[i];

		if ((peer != NULL ? ip_endpoint_eq(&ch->peer, peer) : ch->number == number)
		    && now < ch->bound_at + CHANNEL_ACTIVE)
			return ch;
	}
	return NULL;
}

static void from_client(struct ask *ask, const uint8_t *data, size_t size)
{
	struct double_client *c = client_of(ask->d, ask->now, ask->from);
	uint16_t number = (uint16_t)(data[0] << 8 | data[1]);
	const struct double_channel *ch = active_channel(c, ask->now, number, NULL);

	assert_int_equal(data[2] << 8 | data[3], size - 4);
	if (ch == NULL) {
		ask->d->n_unforwarded++;
		return;
	}
	ask->d->n_forwarded++;
	ask->d->emit(
		ask->d->emit_ctx,
		&c->relayed[ch->peer.addr.family == IP_FAMILY_V6],
		&ch->peer,
		data + 4,
		size - 4);
}

static void from_peer(struct ask *ask, const void *data, size_t size)
{
	struct relay_double *d = ask->d;
	unsigned family = ask->to->addr.family == IP_FAMILY_V6;
	uint8_t frame[1600];

	for (unsigned i = 0; i < DOUBLE_CLIENTS_MAX; i++) {
		struct double_client *c = &d->clients[i];
		const struct double_channel *ch;

		if (c->source.port == 0 || !ip_endpoint_eq(&c->relayed[family], ask->to))
			continue;
		ch = active_channel(c, ask->now, 0, ask->from);
		if (ch == NULL || ask->now >= c->expires_at)
			break;
		frame[0] = (uint8_t)(ch->number >> 8);
		frame[1] = (uint8_t)ch->number;
		frame[2] = (uint8_t)(size >> 8);
		frame[3] = (uint8_t)size;
		memcpy(frame + 4, data, size);
		d->n_forwarded++;
		d->emit(d->emit_ctx, &c->server, &c->source, frame, size + 4);
		return;
	}
	d->n_unforwarded++;
}

void double_receive(
	struct relay_double *d,
	uint64_t now,
	const struct ip_endpoint *from,
	const struct ip_endpoint *to,
	const void *data,
	size_t size)
{
	struct ask ask = {.d = d, .now = now, .from = from, .to = to};
	const uint8_t *bytes = data;

	if (d->is_dead)
		return;
	if (to->port != 3478) {
		from_peer(&ask, data, size);
		return;
	}
	if (size >= 4 && bytes[0] >> 6 == 1) {
		from_client(&ask, bytes, size);
		return;
	}
	assert_int_equal(stun_msg_parse(&ask.msg, data, size), 0);
	handle_request(&ask);
}
