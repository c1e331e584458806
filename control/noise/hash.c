// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "control/noise/hash.h"

#include "control/base/err.h"

#include <openssl/core_names.h>
#include <openssl/params.h>
#include <sodium.h>

#include <string.h>

enum {
	BLAKE2S_BLOCK_SIZE = 64
};

static void random_default(void *, void *out, size_t size)
{
	randombytes_buf(out, size);
}

int noise_crypto_init(struct noise_crypto *c, noise_random_fn *random, void *random_arg)
{
	size_t mac_size = NOISE_MAC_SIZE;
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_size_t(OSSL_MAC_PARAM_SIZE, &mac_size),
		OSSL_PARAM_construct_end(),
	};
	EVP_MAC *mac;

	memset(c, 0, sizeof(*c));
	if (sodium_init() < 0)
		return err_set(ENOTSUP);
	c->random = random != NULL ? random : random_default;
	c->random_arg = random_arg;
	c->blake2s = EVP_MD_fetch(NULL, "BLAKE2S-256", NULL);
	mac = EVP_MAC_fetch(NULL, "BLAKE2SMAC", NULL);
	if (c->blake2s == NULL || mac == NULL) {
		EVP_MAC_free(mac);
		noise_crypto_fini(c);
		return err_set(ENOTSUP);
	}
	c->hash = EVP_MD_CTX_new();
	c->mac = EVP_MAC_CTX_new(mac);
	EVP_MAC_free(mac); // the context holds its own reference
	if (c->hash == NULL || c->mac == NULL || EVP_MAC_CTX_set_params(c->mac, params) != 1) {
		noise_crypto_fini(c);
		return err_set(ENOMEM);
	}
	return 0;
}

void noise_crypto_fini(struct noise_crypto *c)
{
	EVP_MAC_CTX_free(c->mac);
	EVP_MD_CTX_free(c->hash);
	EVP_MD_free(c->blake2s);
	sodium_memzero(c, sizeof(*c));
}

void noise_crypto_random(struct noise_crypto *c, void *out, size_t size)
{
	c->random(c->random_arg, out, size);
}

static void hash_begin(struct noise_crypto *c)
{
	if (EVP_DigestInit_ex2(c->hash, c->blake2s, NULL) != 1)
		c->is_broken = true;
}

static void hash_update(struct noise_crypto *c, const struct noise_span *spans, size_t n_spans)
{
	for (size_t i = 0; i < n_spans; i++) {
		if (EVP_DigestUpdate(c->hash, spans[i].data, spans[i].size) != 1)
			c->is_broken = true;
	}
}

// libcrypto wipes the state of the hash here, so nothing secret stays in the context.
static void hash_end(struct noise_crypto *c, uint8_t out[NOISE_HASH_SIZE])
{
	if (EVP_DigestFinal_ex(c->hash, out, NULL) != 1)
		c->is_broken = true;
	if (c->is_broken)
		memset(out, 0, NOISE_HASH_SIZE);
}

void noise_hash(
	struct noise_crypto *c,
	uint8_t out[NOISE_HASH_SIZE],
	const struct noise_span *spans,
	size_t n_spans)
{
	hash_begin(c);
	hash_update(c, spans, n_spans);
	hash_end(c, out);
}

// RFC 2104 over the hash rather than EVP_MAC "HMAC", which allocates a copy of the key for each
// use and keeps it until the next one.
void noise_hmac(
	struct noise_crypto *c,
	uint8_t out[NOISE_HASH_SIZE],
	const uint8_t *key,
	size_t key_size,
	const struct noise_span *spans,
	size_t n_spans)
{
	uint8_t pad[BLAKE2S_BLOCK_SIZE] = {0};
	uint8_t inner[NOISE_HASH_SIZE];

	if (key_size > sizeof(pad)) {
		c->is_broken = true;
		key_size = 0;
	}
	memcpy(pad, key, key_size);
	for (size_t i = 0; i < sizeof(pad); i++)
		pad[i] ^= 0x36;
	hash_begin(c);
	hash_update(c, &(struct noise_span){pad, sizeof(pad)}, 1);
	hash_update(c, spans, n_spans);
	hash_end(c, inner);

	for (size_t i = 0; i < sizeof(pad); i++)
		pad[i] ^= 0x36 ^ 0x5c;
	noise_hash(c, out, (struct noise_span[]){{pad, sizeof(pad)}, {inner, sizeof(inner)}}, 2);
	sodium_memzero(pad, sizeof(pad));
	sodium_memzero(inner, sizeof(inner));
}

void noise_kdf(
	struct noise_crypto *c,
	uint8_t out1[NOISE_HASH_SIZE],
	uint8_t out2[NOISE_HASH_SIZE],
	uint8_t out3[NOISE_HASH_SIZE],
	const uint8_t key[NOISE_HASH_SIZE],
	const void *input,
	size_t input_size)
{
	uint8_t *outs[] = {out1, out2, out3};
	uint8_t prk[NOISE_HASH_SIZE];
	uint8_t t[NOISE_HASH_SIZE] = {0};

	noise_hmac(c, prk, key, NOISE_HASH_SIZE, &(struct noise_span){input, input_size}, 1);
	for (uint8_t i = 0; i < 3 && outs[i] != NULL; i++) {
		uint8_t label = i + 1;

		noise_hmac(
			c,
			t,
			prk,
			sizeof(prk),
			(struct noise_span[]){{t, i == 0 ? 0 : sizeof(t)}, {&label, 1}},
			2);
		memcpy(outs[i], t, sizeof(t));
	}
	sodium_memzero(prk, sizeof(prk));
	sodium_memzero(t, sizeof(t));
}

void noise_mac(
	struct noise_crypto *c,
	uint8_t out[NOISE_MAC_SIZE],
	const uint8_t *key,
	size_t key_size,
	const struct noise_span *spans,
	size_t n_spans)
{
	size_t size = 0;

	if (EVP_MAC_init(c->mac, key, key_size, NULL) != 1)
		c->is_broken = true;
	for (size_t i = 0; i < n_spans; i++) {
		if (EVP_MAC_update(c->mac, spans[i].data, spans[i].size) != 1)
			c->is_broken = true;
	}
	if (EVP_MAC_final(c->mac, out, &size, NOISE_MAC_SIZE) != 1 || size != NOISE_MAC_SIZE)
		c->is_broken = true;
	if (c->is_broken)
		memset(out, 0, NOISE_MAC_SIZE);
}
