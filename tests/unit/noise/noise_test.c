// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "control/noise/cookie.h"
#include "control/noise/noise.h"
#include "tests/unit/noise/pair.h"

#include <stdio.h>
#include <stdlib.h>

// Values of one case of tests/vectors/noise/handshake.txt, made by the Python oracle.
struct vector {
	char name[64];
	struct {
		char name[32];
		uint8_t bytes[256];
		size_t size;
	} values[40];
	size_t n_values;
};

static const char *vectors_path;
static struct vector vectors[8];
static size_t n_vectors;

static int vectors_read(void **)
{
	FILE *f = fopen(vectors_path, "r");
	char name[32], hex[600], line[700];

	assert_non_null(f);
	while (fgets(line, sizeof(line), f) != NULL) {
		struct vector *v = &vectors[n_vectors == 0 ? 0 : n_vectors - 1];
		size_t k = v->n_values;

		if (line[0] == '#')
			continue;
		assert_int_equal(sscanf(line, "%31s %599s", name, hex), 2);
		if (strcmp(name, "case") == 0) {
			assert_true(n_vectors < COUNT_OF(vectors));
			snprintf(vectors[n_vectors++].name, sizeof(v->name), "%.63s", hex);
			continue;
		}
		assert_true(k < COUNT_OF(v->values));
		snprintf(v->values[k].name, sizeof(v->values[k].name), "%s", name);
		assert_int_equal(
			sodium_hex2bin(
				v->values[k].bytes,
				sizeof(v->values[k].bytes),
				hex,
				strlen(hex),
				"-",
				&v->values[k].size,
				NULL),
			0);
		v->n_values++;
	}
	fclose(f);
	assert_true(n_vectors >= 3);
	return 0;
}

static const uint8_t *get_any(const struct vector *v, const char *name, size_t *size)
{
	for (size_t i = 0; i < v->n_values; i++) {
		if (strcmp(v->values[i].name, name) == 0) {
			*size = v->values[i].size;
			return v->values[i].bytes;
		}
	}
	*size = 0;
	fail_msg("%s: no %s", v->name, name);
	return NULL;
}

static const uint8_t *get(const struct vector *v, const char *name, size_t size)
{
	size_t n;
	const uint8_t *bytes = get_any(v, name, &n);

	assert_int_equal(n, size);
	return bytes;
}

static uint32_t get_index(const struct vector *v, const char *name)
{
	const uint8_t *b = get(v, name, 4);

	return (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
}

struct role {
	struct noise_crypto crypto;
	struct noise_identity id;
	struct noise_remote remote;
	struct noise_cookie_maker maker;
};

static void role_init(struct role *r, const struct vector *v, const char *own, const char *other)
{
	char name[64];
	size_t cookie_size = 0;
	const uint8_t *cookie = get_any(v, "cookie", &cookie_size);

	assert_int_equal(noise_crypto_init(&r->crypto, NULL, NULL), 0);
	snprintf(name, sizeof(name), "%s_private", own);
	assert_int_equal(noise_identity_init(&r->id, get(v, name, 32)), 0);
	snprintf(name, sizeof(name), "%s_public", own);
	assert_memory_equal(r->id.public_key, get(v, name, 32), 32);
	snprintf(name, sizeof(name), "%s_public", other);
	assert_int_equal(
		noise_remote_init(&r->remote, &r->id, get(v, name, 32), get(v, "psk", 32)), 0);
	noise_cookie_maker_init(&r->maker, &r->crypto, r->remote.public_key);
	if (cookie_size != 0) {
		memcpy(r->maker.cookie, cookie, sizeof(r->maker.cookie));
		r->maker.has_cookie = true;
		r->maker.cookie_ns = T0;
	}
}

static void vector_initiator(void **)
{
	for (size_t i = 0; i < n_vectors; i++) {
		const struct vector *v = &vectors[i];
		struct noise_msg_initiation first;
		struct noise_handshake hs;
		struct noise_keypair k;
		struct tai64n stamp;
		struct role r;

		role_init(&r, v, "initiator", "responder");
		memcpy(stamp.bytes, get(v, "timestamp", 12), 12);
		assert_int_equal(
			noise_initiation_create(
				&r.crypto,
				&r.id,
				&r.remote,
				get(v, "initiator_ephemeral", 32),
				get_index(v, "initiator_index"),
				&stamp,
				&hs,
				&first),
			0);
		noise_cookie_macs_add(&r.maker, &r.crypto, T0, &first, sizeof(first));
		assert_memory_equal(&first, get(v, "initiation", sizeof(first)), sizeof(first));
		assert_int_equal(
			noise_response_consume(
				&r.crypto,
				&r.id,
				&r.remote,
				&hs,
				(const void *)get(v, "response", sizeof(struct noise_msg_response)),
				&k),
			0);
		assert_memory_equal(k.send_key, get(v, "initiator_send", 32), 32);
		assert_memory_equal(k.recv_key, get(v, "initiator_receive", 32), 32);
		assert_int_equal(k.local_index, get_index(v, "initiator_index"));
		assert_int_equal(k.remote_index, get_index(v, "responder_index"));
		assert_true(k.is_initiator);
		noise_crypto_fini(&r.crypto);
	}
}

static void vector_responder(void **)
{
	for (size_t i = 0; i < n_vectors; i++) {
		const struct vector *v = &vectors[i];
		struct noise_initiation_opened opened;
		struct noise_msg_response second;
		struct noise_handshake hs;
		struct noise_keypair k;
		struct tai64n stamp;
		struct role r;

		role_init(&r, v, "responder", "initiator");
		assert_int_equal(
			noise_initiation_open(
				&r.crypto,
				&r.id,
				(const void *)get(
					v, "initiation", sizeof(struct noise_msg_initiation)),
				&opened),
			0);
		assert_memory_equal(opened.remote_public_key, get(v, "initiator_public", 32), 32);
		assert_int_equal(
			noise_initiation_consume(&r.crypto, &r.remote, &opened, &hs, &stamp), 0);
		assert_memory_equal(stamp.bytes, get(v, "timestamp", 12), 12);
		assert_int_equal(
			noise_response_create(
				&r.crypto,
				&r.remote,
				&hs,
				get(v, "responder_ephemeral", 32),
				get_index(v, "responder_index"),
				&second,
				&k),
			0);
		noise_cookie_macs_add(&r.maker, &r.crypto, T0, &second, sizeof(second));
		assert_memory_equal(&second, get(v, "response", sizeof(second)), sizeof(second));
		assert_memory_equal(k.recv_key, get(v, "initiator_send", 32), 32);
		assert_memory_equal(k.send_key, get(v, "initiator_receive", 32), 32);
		assert_int_equal(k.local_index, get_index(v, "responder_index"));
		assert_int_equal(k.remote_index, get_index(v, "initiator_index"));
		assert_false(k.is_initiator);
		noise_crypto_fini(&r.crypto);
	}
}

static void nonce_inject(void *arg, void *out, size_t size)
{
	const struct vector *v = arg;

	memcpy(out, get(v, "cookie_nonce", size), size);
}

static void vector_cookie(void **)
{
	for (size_t i = 0; i < n_vectors; i++) {
		struct vector *v = &vectors[i];
		const uint8_t *msg = get(v, "initiation", sizeof(struct noise_msg_initiation));
		struct noise_cookie_checker checker;
		struct noise_msg_cookie_reply reply;
		struct ip_endpoint source = {.port = 52625};
		size_t address_size = 0;
		const uint8_t *address = get_any(v, "cookie_address", &address_size);
		struct role r;

		role_init(&r, v, "initiator", "responder");
		r.crypto.random = nonce_inject;
		r.crypto.random_arg = v;
		source.addr = address_size == 4 ? ip_addr_v4(address) : ip_addr_v6(address);
		noise_cookie_checker_init(&checker, &r.crypto, r.remote.public_key);
		memcpy(checker.secret, get(v, "cookie_secret", 32), 32);
		checker.secret_ns = T0;
		checker.has_secret = true;
		assert_true(noise_cookie_mac1_check(&checker, &r.crypto, msg, 148));
		assert_int_equal(
			noise_cookie_reply_create(
				&checker, &r.crypto, T0, &source, msg, 148, &reply),
			0);
		assert_memory_equal(&reply, get(v, "cookie_reply", sizeof(reply)), sizeof(reply));

		memcpy(r.maker.last_mac1, msg + 116, sizeof(r.maker.last_mac1));
		memcpy(&r.maker.last_index, msg + 4, 4);
		r.maker.has_last_mac1 = true;
		assert_int_equal(noise_cookie_reply_consume(&r.maker, T0, &reply), 0);
		assert_memory_equal(r.maker.cookie, get(v, "cookie_baked", 16), 16);
		noise_crypto_fini(&r.crypto);
	}
}

static void vector_data(void **)
{
	for (size_t i = 0; i < n_vectors; i++) {
		const struct vector *v = &vectors[i];
		struct noise_event event = {.type = NOISE_EVENT_KEYPAIR_READY, .may_send = true};
		struct pair p = {0};
		uint8_t buf[256];
		size_t size;
		const uint8_t *plain = get_any(v, "plain", &size), *msg;

		pair_init(&p);
		event.keypair.is_initiator = true;
		event.keypair.created_ns = p.now;
		event.keypair.local_index = get_index(v, "initiator_index");
		event.keypair.remote_index = get_index(v, "responder_index");
		memcpy(event.keypair.send_key, get(v, "initiator_send", 32), 32);
		memcpy(event.keypair.recv_key, get(v, "initiator_receive", 32), 32);
		noise_session_handle_event(&p.a.session, &event);

		assert_int_equal(noise_session_seal(&p.a.session, p.now, buf, 0), 32);
		assert_memory_equal(buf, get(v, "data_keepalive", 32), 32);
		memcpy(buf, get(v, "data_0", 32 + size), 32 + size);
		assert_int_equal(noise_session_open(&p.a.session, p.now, buf, 32 + size), size);
		assert_memory_equal(buf + 16, plain, size);
		msg = get(v, "data_1_padded", 32 + (size + 15) / 16 * 16);
		memcpy(buf, msg, 32 + (size + 15) / 16 * 16);
		assert_int_equal(
			noise_session_open(&p.a.session, p.now, buf, 32 + (size + 15) / 16 * 16),
			size);
		assert_memory_equal(buf + 16, plain, size);
		pair_fini(&p);
	}
}

// Points of small order give a shared secret of zeros.
static void low_order_refused(void **)
{
	static const uint8_t points[][32] = {
		{0},
		{1},
		{0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3,
		 0xfa, 0xf1, 0x9f, 0xc4, 0x6a, 0xda, 0x09, 0x8d, 0xeb, 0x9c, 0x32,
		 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49, 0xb8, 0x00},
		{0xec, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
		 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
		 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f},
	};
	const struct vector *v = &vectors[0];
	struct role r;

	role_init(&r, v, "responder", "initiator");
	for (size_t i = 0; i < COUNT_OF(points); i++) {
		struct noise_msg_initiation msg;
		struct noise_msg_response response = {0};
		struct noise_initiation_opened opened;
		struct noise_handshake hs = {.ephemeral_private = {8, 1}};
		struct noise_remote remote;
		struct noise_keypair k;

		assert_int_equal(noise_remote_init(&remote, &r.id, points[i], NULL), -EINVAL);
		memcpy(&msg, get(v, "initiation", sizeof(msg)), sizeof(msg));
		memcpy(msg.ephemeral, points[i], 32);
		assert_int_equal(noise_initiation_open(&r.crypto, &r.id, &msg, &opened), -EBADMSG);
		memcpy(response.ephemeral, points[i], 32);
		assert_int_equal(
			noise_response_consume(&r.crypto, &r.id, &r.remote, &hs, &response, &k),
			-EBADMSG);
	}
	noise_crypto_fini(&r.crypto);
}

// When libcrypto failed, nothing may be written out.
static void broken_crypto(void **)
{
	const struct vector *v = &vectors[1];
	struct noise_msg_initiation msg = {0}, zero = {0};
	struct noise_handshake hs = {0};
	struct tai64n stamp = {0};
	struct role r;

	role_init(&r, v, "initiator", "responder");
	r.crypto.is_broken = true;
	assert_int_equal(
		noise_initiation_create(
			&r.crypto,
			&r.id,
			&r.remote,
			get(v, "initiator_ephemeral", 32),
			1,
			&stamp,
			&hs,
			&msg),
		-EIO);
	assert_memory_equal(&msg, &zero, sizeof(msg));
	noise_crypto_fini(&r.crypto);
}

int main(int, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(vector_initiator),
		cmocka_unit_test(vector_responder),
		cmocka_unit_test(vector_cookie),
		cmocka_unit_test(vector_data),
		cmocka_unit_test(low_order_refused),
		cmocka_unit_test(broken_crypto),
	};

	vectors_path = argv[1];
	return cmocka_run_group_tests(tests, vectors_read, NULL);
}
