// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "control/noise/cookie.h"

#include "control/base/err.h"

#include <sodium.h>

#include <assert.h>
#include <string.h>

// Both MACs end every handshake message: ... | mac1 | mac2.
enum {
	MACS_SIZE = 2 * NOISE_MAC_SIZE
};

static_assert(crypto_aead_xchacha20poly1305_ietf_NPUBBYTES == NOISE_COOKIE_NONCE_SIZE, "nonce");
static_assert(crypto_aead_xchacha20poly1305_ietf_ABYTES == NOISE_TAG_SIZE, "tag");

static void label_hash(
	struct noise_crypto *c,
	uint8_t out[NOISE_HASH_SIZE],
	const char label[8],
	const uint8_t public_key[NOISE_KEY_SIZE])
{
	noise_hash(c, out, (struct noise_span[]){{label, 8}, {public_key, NOISE_KEY_SIZE}}, 2);
}

void noise_cookie_checker_init(
	struct noise_cookie_checker *k,
	struct noise_crypto *c,
	const uint8_t public_key[NOISE_KEY_SIZE])
{
	memset(k, 0, sizeof(*k));
	label_hash(c, k->mac1_key, "mac1----", public_key);
	label_hash(c, k->seal_key, "cookie--", public_key);
}

void noise_cookie_maker_init(
	struct noise_cookie_maker *m,
	struct noise_crypto *c,
	const uint8_t public_key[NOISE_KEY_SIZE])
{
	memset(m, 0, sizeof(*m));
	label_hash(c, m->mac1_key, "mac1----", public_key);
	label_hash(c, m->seal_key, "cookie--", public_key);
}

static const uint8_t *mac1_at(const void *msg, size_t size)
{
	assert(size > MACS_SIZE && size <= NOISE_HANDSHAKE_SIZE_MAX);
	return (const uint8_t *)msg + size - MACS_SIZE;
}

// Initiation and response both start with their type and the sender's index.
static struct noise_le32 sender_index(const void *msg)
{
	struct noise_le32 index;

	memcpy(&index, (const uint8_t *)msg + sizeof(index), sizeof(index));
	return index;
}

static void mac1_make(
	struct noise_crypto *c,
	const uint8_t key[NOISE_HASH_SIZE],
	const void *msg,
	size_t size,
	uint8_t out[NOISE_MAC_SIZE])
{
	noise_mac(c, out, key, NOISE_HASH_SIZE, &(struct noise_span){msg, size - MACS_SIZE}, 1);
}

static void mac2_make(
	struct noise_crypto *c,
	const uint8_t cookie[NOISE_COOKIE_SIZE],
	const void *msg,
	size_t size,
	uint8_t out[NOISE_MAC_SIZE])
{
	noise_mac(
		c,
		out,
		cookie,
		NOISE_COOKIE_SIZE,
		&(struct noise_span){msg, size - NOISE_MAC_SIZE},
		1);
}

// A cookie made just before the secret changes would be worthless at once, but the peer's retry
// comes 5 s later and gets a new one; keeping the former secret too is not worth its state.
static void secret_refresh(struct noise_cookie_checker *k, struct noise_crypto *c, uint64_t now_ns)
{
	if (k->has_secret && now_ns - k->secret_ns < NOISE_COOKIE_TIME_NS)
		return;
	noise_crypto_random(c, k->secret, sizeof(k->secret));
	k->secret_ns = now_ns;
	k->has_secret = true;
}

static void cookie_make(
	const struct noise_cookie_checker *k,
	struct noise_crypto *c,
	const struct ip_endpoint *source,
	uint8_t out[NOISE_COOKIE_SIZE])
{
	const uint8_t port[2] = {(uint8_t)(source->port >> 8), (uint8_t)source->port};

	noise_mac(
		c,
		out,
		k->secret,
		sizeof(k->secret),
		(struct noise_span[]){
			{source->addr.bytes, ip_addr_size(&source->addr)}, {port, sizeof(port)}},
		2);
}

bool noise_cookie_mac1_check(
	const struct noise_cookie_checker *k,
	struct noise_crypto *c,
	const void *msg,
	size_t size)
{
	uint8_t mac[NOISE_MAC_SIZE];

	mac1_make(c, k->mac1_key, msg, size, mac);
	return !c->is_broken && sodium_memcmp(mac, mac1_at(msg, size), sizeof(mac)) == 0;
}

bool noise_cookie_mac2_check(
	struct noise_cookie_checker *k,
	struct noise_crypto *c,
	uint64_t now_ns,
	const struct ip_endpoint *source,
	const void *msg,
	size_t size)
{
	const uint8_t *mac2 = mac1_at(msg, size) + NOISE_MAC_SIZE;
	uint8_t cookie[NOISE_COOKIE_SIZE];
	uint8_t mac[NOISE_MAC_SIZE];
	bool ok;

	secret_refresh(k, c, now_ns);
	cookie_make(k, c, source, cookie);
	mac2_make(c, cookie, msg, size, mac);
	ok = !c->is_broken && sodium_memcmp(mac, mac2, sizeof(mac)) == 0;
	sodium_memzero(cookie, sizeof(cookie));
	sodium_memzero(mac, sizeof(mac));
	return ok;
}

int noise_cookie_reply_create(
	struct noise_cookie_checker *k,
	struct noise_crypto *c,
	uint64_t now_ns,
	const struct ip_endpoint *source,
	const void *msg,
	size_t size,
	struct noise_msg_cookie_reply *reply)
{
	uint8_t cookie[NOISE_COOKIE_SIZE];

	secret_refresh(k, c, now_ns);
	cookie_make(k, c, source, cookie);
	if (c->is_broken)
		return err_set(EIO);
	reply->type = noise_le32_make(NOISE_MSG_COOKIE_REPLY);
	reply->receiver_index = sender_index(msg);
	noise_crypto_random(c, reply->nonce, sizeof(reply->nonce));
	crypto_aead_xchacha20poly1305_ietf_encrypt(
		reply->cookie_sealed,
		NULL,
		cookie,
		sizeof(cookie),
		mac1_at(msg, size),
		NOISE_MAC_SIZE,
		NULL,
		reply->nonce,
		k->seal_key);
	sodium_memzero(cookie, sizeof(cookie));
	return 0;
}

void noise_cookie_macs_add(
	struct noise_cookie_maker *m,
	struct noise_crypto *c,
	uint64_t now_ns,
	void *msg,
	size_t size)
{
	uint8_t *macs = (uint8_t *)msg + size - MACS_SIZE;

	mac1_make(c, m->mac1_key, msg, size, macs);
	memcpy(m->last_mac1, macs, sizeof(m->last_mac1));
	m->last_index = sender_index(msg);
	m->has_last_mac1 = true;
	if (m->has_cookie && now_ns - m->cookie_ns >= NOISE_COOKIE_TIME_NS) {
		sodium_memzero(m->cookie, sizeof(m->cookie));
		m->has_cookie = false;
	}
	if (m->has_cookie)
		mac2_make(c, m->cookie, msg, size, macs + NOISE_MAC_SIZE);
	else
		memset(macs + NOISE_MAC_SIZE, 0, NOISE_MAC_SIZE);
}

int noise_cookie_reply_consume(
	struct noise_cookie_maker *m,
	uint64_t now_ns,
	const struct noise_msg_cookie_reply *reply)
{
	uint8_t cookie[NOISE_COOKIE_SIZE];

	if (!m->has_last_mac1
	    || noise_le32_get(reply->receiver_index) != noise_le32_get(m->last_index)
	    || crypto_aead_xchacha20poly1305_ietf_decrypt(
		       cookie,
		       NULL,
		       NULL,
		       reply->cookie_sealed,
		       sizeof(reply->cookie_sealed),
		       m->last_mac1,
		       sizeof(m->last_mac1),
		       reply->nonce,
		       m->seal_key)
		    != 0)
		return err_set(EBADMSG);
	memcpy(m->cookie, cookie, sizeof(m->cookie));
	m->cookie_ns = now_ns;
	m->has_cookie = true;
	m->has_last_mac1 = false;
	sodium_memzero(cookie, sizeof(cookie));
	return 0;
}
