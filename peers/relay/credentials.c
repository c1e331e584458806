// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "peers/relay/credentials.h"

#include "control/base/err.h"

#include <sodium.h>

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define B64 sodium_base64_VARIANT_ORIGINAL_NO_PADDING
// More digits than this and int64_t might not hold the number.
#define EXPIRY_DIGITS_MAX 15

void credentials_uuid(char out[CREDENTIALS_UUID_SIZE], const uint8_t bytes[16])
{
	uint8_t b[16];
	char hex[33];

	memcpy(b, bytes, sizeof(b));
	// RFC 9562 5.4: version 4, variant 10.
	b[6] = (uint8_t)((b[6] & 0x0f) | 0x40);
	b[8] = (uint8_t)((b[8] & 0x3f) | 0x80);
	sodium_bin2hex(hex, sizeof(hex), b, sizeof(b));
	snprintf(
		out,
		CREDENTIALS_UUID_SIZE,
		"%.8s-%.4s-%.4s-%.4s-%.12s",
		hex,
		hex + 8,
		hex + 12,
		hex + 16,
		hex + 20);
}

void credentials_relay_id(char out[CREDENTIALS_UUID_SIZE], const char *secret)
{
	uint8_t hash[crypto_hash_sha256_BYTES];

	crypto_hash_sha256(hash, (const uint8_t *)secret, strlen(secret));
	credentials_uuid(out, hash);
}

static void password_make(
	char out[CREDENTIALS_PASSWORD_SIZE],
	const char *secret,
	const char *username,
	size_t expiry_len)
{
	uint8_t hash[crypto_hash_sha256_BYTES];
	const char *rest = username + expiry_len; // ":<salt>"
	crypto_hash_sha256_state state;

	crypto_hash_sha256_init(&state);
	crypto_hash_sha256_update(&state, (const uint8_t *)username, expiry_len);
	crypto_hash_sha256_update(&state, (const uint8_t *)":", 1);
	crypto_hash_sha256_update(&state, (const uint8_t *)secret, strlen(secret));
	crypto_hash_sha256_update(&state, (const uint8_t *)rest, strlen(rest));
	crypto_hash_sha256_final(&state, hash);
	sodium_bin2base64(out, CREDENTIALS_PASSWORD_SIZE, hash, sizeof(hash), B64);
	sodium_memzero(hash, sizeof(hash));
	sodium_memzero(&state, sizeof(state));
}

void credentials_make(
	struct credentials *out,
	const char *secret,
	const char *public_key,
	int64_t expires_at)
{
	uint8_t hash[crypto_hash_sha256_BYTES];
	char salt[CREDENTIALS_PASSWORD_SIZE];

	crypto_hash_sha256(hash, (const uint8_t *)public_key, strlen(public_key));
	sodium_bin2base64(salt, sizeof(salt), hash, sizeof(hash), B64);
	snprintf(out->username, sizeof(out->username), "%" PRId64 ":%s", expires_at, salt);
	password_make(out->password, secret, out->username, strcspn(out->username, ":"));
}

int credentials_of_username(
	char password[CREDENTIALS_PASSWORD_SIZE],
	int64_t *expires_at,
	const char *secret,
	const char *username)
{
	const size_t n_digits = strspn(username, "0123456789");
	int64_t expiry = 0;

	if (n_digits == 0 || n_digits > EXPIRY_DIGITS_MAX || username[n_digits] != ':')
		return err_set(EINVAL);
	for (size_t i = 0; i < n_digits; i++)
		expiry = expiry * 10 + (username[i] - '0');
	*expires_at = expiry;
	password_make(password, secret, username, n_digits);
	return 0;
}
