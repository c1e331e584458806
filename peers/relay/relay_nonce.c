// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "peers/relay/relay_priv.h"

#include <string.h>

// Stateless nonces change this often; the last one is good for as long again.
#define EPOCH_MS (UINT64_C(1) << 20)
#define NONCE_LEN (CREDENTIALS_UUID_SIZE - 1)

// Only we can make it, only this socket can use it, and we need not keep it: whoever sends from an
// address that is not his own does not get to see it.
static void nonce_make(
	const struct relay *r,
	const struct ip_endpoint *from,
	uint64_t epoch,
	char out[CREDENTIALS_UUID_SIZE])
{
	uint8_t input[27];
	uint8_t hash[16];

	input[0] = from->addr.family;
	memcpy(input + 1, from->addr.bytes, 16);
	memcpy(input + 17, &from->port, 2);
	memcpy(input + 19, &epoch, 8);
	crypto_generichash(
		hash, sizeof(hash), input, sizeof(input), r->nonce_key, sizeof(r->nonce_key));
	credentials_uuid(out, hash);
}

static bool is_equal(const struct stun_bytes *nonce, const char *text)
{
	return nonce->size == NONCE_LEN && sodium_memcmp(nonce->data, text, NONCE_LEN) == 0;
}

void relay_nonce_current(
	const struct relay *r,
	const struct relay_client *client,
	const struct ip_endpoint *from,
	uint64_t now_ms,
	char out[CREDENTIALS_UUID_SIZE])
{
	if (client != NULL)
		memcpy(out, client->nonce, CREDENTIALS_UUID_SIZE);
	else
		nonce_make(r, from, now_ms / EPOCH_MS, out);
}

bool relay_nonce_check(
	const struct relay *r,
	struct relay_client *client,
	const struct ip_endpoint *from,
	uint64_t now_ms,
	const struct stun_bytes *nonce)
{
	const uint64_t epoch = now_ms / EPOCH_MS;
	char text[CREDENTIALS_UUID_SIZE];
	uint8_t bytes[16];

	if (client != NULL) {
		if (!is_equal(nonce, client->nonce))
			return false;
		if (client->nonce_uses < RELAY_NONCE_USES)
			return true;
		r->config.random(bytes, sizeof(bytes));
		credentials_uuid(client->nonce, bytes);
		client->nonce_uses = 0;
		return false;
	}
	nonce_make(r, from, epoch, text);
	if (is_equal(nonce, text))
		return true;
	if (epoch == 0)
		return false;
	nonce_make(r, from, epoch - 1, text);
	return is_equal(nonce, text);
}
