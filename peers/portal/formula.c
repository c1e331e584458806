// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "peers/portal/formula.h"

#include "control/base/alloc.h"

#include <openssl/evp.h>
#include <sodium.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define B64 sodium_base64_VARIANT_ORIGINAL
#define B64URL sodium_base64_VARIANT_URLSAFE_NO_PADDING
#define REF_PART_SIZE 16
#define REF_PART_LEN 22

void formula_psk(
	const struct formula_peer *client,
	const struct formula_peer *gateway,
	char out[FORMULA_KEY_TEXT_SIZE])
{
	uint8_t password[2 * FORMULA_SECRET_SIZE];
	uint8_t psk[32];
	char *salt = alloc_format(
		"WG_PSK|C_ID:%s|G_ID:%s|C_PK:%s|G_PK:%s",
		client->id,
		gateway->id,
		client->public_key,
		gateway->public_key);

	memcpy(password, client->psk_base, FORMULA_SECRET_SIZE);
	memcpy(password + FORMULA_SECRET_SIZE, gateway->psk_base, FORMULA_SECRET_SIZE);
	if (PKCS5_PBKDF2_HMAC(
		    (const char *)password,
		    sizeof(password),
		    (const uint8_t *)salt,
		    (int)strlen(salt),
		    1,
		    EVP_sha256(),
		    sizeof(psk),
		    psk)
	    != 1)
		abort();
	sodium_bin2base64(out, FORMULA_KEY_TEXT_SIZE, psk, sizeof(psk), B64);
	sodium_memzero(password, sizeof(password));
	sodium_memzero(psk, sizeof(psk));
	free(salt);
}

// Lower-case base32 without padding, RFC 4648 section 6.
static void base32(char *out, const uint8_t *in, size_t size)
{
	static const char alphabet[] = "abcdefghijklmnopqrstuvwxyz234567";
	unsigned bits = 0;
	unsigned n_bits = 0;

	for (size_t i = 0; i < size; i++) {
		bits = (bits << 8 | in[i]) & 0xffff;
		for (n_bits += 8; n_bits >= 5; n_bits -= 5)
			*out++ = alphabet[bits >> (n_bits - 5) & 31];
	}
	if (n_bits > 0)
		*out++ = alphabet[bits << (5 - n_bits) & 31];
	*out = '\0';
}

static const char *slice(char *out, const char *text, size_t len)
{
	memcpy(out, text, len);
	out[len] = '\0';
	return text + len;
}

void formula_ice(
	const struct formula_peer *client,
	const struct formula_peer *gateway,
	struct formula_ice *out)
{
	uint8_t hash[crypto_hash_sha256_BYTES];
	char text[53];
	const char *p = text;
	char *in = alloc_format(
		"%s:%s:%s:%s", client->id, client->public_key, gateway->id, gateway->public_key);

	crypto_hash_sha256(hash, (const uint8_t *)in, strlen(in));
	base32(text, hash, sizeof(hash));
	p = slice(out->client_user, p, FORMULA_ICE_USER_LEN);
	p = slice(out->client_password, p, FORMULA_ICE_PASSWORD_LEN);
	p = slice(out->gateway_user, p, FORMULA_ICE_USER_LEN);
	slice(out->gateway_password, p, FORMULA_ICE_PASSWORD_LEN);
	free(in);
	sodium_memzero(hash, sizeof(hash));
	sodium_memzero(text, sizeof(text));
}

static char *base64url(const void *in, size_t size)
{
	const size_t text_size = sodium_base64_encoded_len(size, B64URL);

	return sodium_bin2base64(alloc_zero(1, text_size), text_size, in, size, B64URL);
}

char *formula_jwt(const json_t *claims, const uint8_t secret[FORMULA_SECRET_SIZE])
{
	static const char header[] = "{\"alg\":\"HS256\",\"typ\":\"JWT\"}";
	uint8_t mac[crypto_auth_hmacsha256_BYTES];
	char *claims_text = alloc_check(json_dumps(claims, JSON_COMPACT));
	char *head = base64url(header, sizeof(header) - 1);
	char *body = base64url(claims_text, strlen(claims_text));
	char *signed_text = alloc_format("%s.%s", head, body);
	char *signature;
	char *token;

	// sodium's one-shot HMAC-SHA256 takes a 32-byte key, which is what the secret is.
	crypto_auth_hmacsha256(mac, (const uint8_t *)signed_text, strlen(signed_text), secret);
	signature = base64url(mac, sizeof(mac));
	token = alloc_format("%s.%s", signed_text, signature);
	free(signature);
	free(signed_text);
	free(body);
	free(head);
	free(claims_text);
	return token;
}

static void ref_sign(
	char out[REF_PART_LEN + 1],
	const uint8_t secret[FORMULA_SECRET_SIZE],
	const char *gateway_id,
	const char *nonce)
{
	uint8_t mac[crypto_auth_hmacsha256_BYTES];
	char *in = alloc_format("ref:%s:%.*s", gateway_id, REF_PART_LEN, nonce);

	crypto_auth_hmacsha256(mac, (const uint8_t *)in, strlen(in), secret);
	sodium_bin2base64(out, REF_PART_LEN + 1, mac, REF_PART_SIZE, B64URL);
	free(in);
}

void formula_ref_make(
	const uint8_t secret[FORMULA_SECRET_SIZE],
	const char *gateway_id,
	random_fn random,
	char out[FORMULA_REF_TEXT_SIZE])
{
	uint8_t nonce[REF_PART_SIZE];

	random(nonce, sizeof(nonce));
	sodium_bin2base64(out, REF_PART_LEN + 1, nonce, sizeof(nonce), B64URL);
	out[REF_PART_LEN] = '.';
	ref_sign(out + REF_PART_LEN + 1, secret, gateway_id, out);
}

bool formula_ref_is_valid(
	const uint8_t secret[FORMULA_SECRET_SIZE],
	const char *gateway_id,
	const char *text)
{
	char expected[REF_PART_LEN + 1];

	if (strlen(text) != FORMULA_REF_TEXT_SIZE - 1 || text[REF_PART_LEN] != '.')
		return false;
	ref_sign(expected, secret, gateway_id, text);
	return sodium_memcmp(expected, text + REF_PART_LEN + 1, REF_PART_LEN) == 0;
}

bool formula_key_is_valid(const char *text)
{
	uint8_t key[32];
	size_t size;
	const char *end;

	return strlen(text) == FORMULA_KEY_TEXT_SIZE - 1
		&& sodium_base642bin(
			   key,
			   sizeof(key),
			   text,
			   FORMULA_KEY_TEXT_SIZE - 1,
			   NULL,
			   &size,
			   &end,
			   B64)
		== 0
		&& size == sizeof(key) && *end == '\0';
}
