// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include <stddef.h>
#include <stdint.h>

/**
 * What portal and relay agree on without talking about it: a relay's id and the TURN credentials
 * of a peer both follow from the stamp secret, which the relay tells the portal when it joins.
 *
 *   id       = first 16 bytes of SHA-256(secret), shaped as a version 4 UUID
 *   salt     = base64(SHA-256(peer's public key as base64 text)), no padding
 *   username = <expires_at, Unix seconds>:<salt>
 *   password = base64(SHA-256(<expires_at>:<secret>:<salt>)), no padding
 *
 * The secret is text here as everywhere: its hexadecimal digits are hashed, not what they stand for.
 * Thread-safety: pure functions.
 */

#define CREDENTIALS_REALM "firezone"
/** Text of a UUID and its NUL. */
#define CREDENTIALS_UUID_SIZE 37
/** A stamp secret as relays make it, 64 hexadecimal digits, and its NUL. */
#define CREDENTIALS_SECRET_SIZE 65
/** Unpadded base64 of 32 bytes and its NUL. */
#define CREDENTIALS_PASSWORD_SIZE 44
/** Longest user name that a relay takes, and its NUL. */
#define CREDENTIALS_USERNAME_SIZE 129

/** What a peer needs to allocate on one relay. */
struct credentials {
	char username[CREDENTIALS_USERNAME_SIZE];
	char password[CREDENTIALS_PASSWORD_SIZE];
};

/** Writes @p bytes as a version 4 UUID. */
void credentials_uuid(char out[CREDENTIALS_UUID_SIZE], const uint8_t bytes[16]);
/** The id under which the portal hands out a relay. */
void credentials_relay_id(char out[CREDENTIALS_UUID_SIZE], const char *secret);
/** The credentials of the peer with @p public_key (base64 text) until @p expires_at. */
void credentials_make(
	struct credentials *out,
	const char *secret,
	const char *public_key,
	int64_t expires_at);
/**
 * The other way round, as the relay sees it.
 * @param expires_at when the user name says that it expires
 * @return 0, -EINVAL: not of the form <digits>:<text>
 */
[[nodiscard]] int credentials_of_username(
	char password[CREDENTIALS_PASSWORD_SIZE],
	int64_t *expires_at,
	const char *secret,
	const char *username);
