// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include "peers/portal/ident.h"

#include <jansson.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/**
 * What the portal computes for its peers: preshared keys, ICE credentials, ingest tokens and
 * opaque references. All are pure functions of ids, public keys and stored secrets, so that a
 * repeated authorization between the same two processes gives the same values and the peers keep
 * their connection.
 *
 * Thread-safety: pure functions.
 */

#define FORMULA_SECRET_SIZE 32
/** Padded base64 of 32 bytes and a NUL. */
#define FORMULA_KEY_TEXT_SIZE 45
#define FORMULA_ICE_USER_LEN 4
#define FORMULA_ICE_PASSWORD_LEN 22
/** Text of an opaque reference: two unpadded base64url values of 16 bytes, a dot and a NUL. */
#define FORMULA_REF_TEXT_SIZE 46

/** One end of a connection as the formulas see it. */
struct formula_peer {
	const char *id; // UUID text
	const char *public_key; // base64 text as the peer sent it
	const uint8_t *psk_base; // FORMULA_SECRET_SIZE bytes, stored per device
};

/** Short-term credentials of both ICE agents. */
struct formula_ice {
	char client_user[FORMULA_ICE_USER_LEN + 1];
	char client_password[FORMULA_ICE_PASSWORD_LEN + 1];
	char gateway_user[FORMULA_ICE_USER_LEN + 1];
	char gateway_password[FORMULA_ICE_PASSWORD_LEN + 1];
};

/** The WireGuard preshared key of the pair as padded base64. */
void formula_psk(
	const struct formula_peer *client,
	const struct formula_peer *gateway,
	char out[FORMULA_KEY_TEXT_SIZE]);

/** The ICE credentials of the pair; psk_base is not used. */
void formula_ice(
	const struct formula_peer *client,
	const struct formula_peer *gateway,
	struct formula_ice *out);

/** Compact JWT, HS256, over @p claims (borrowed). @return owned text */
char *formula_jwt(const json_t *claims, const uint8_t secret[FORMULA_SECRET_SIZE]);

/**
 * Makes the reference that a gateway echoes when it has applied an authorization. Only this
 * portal can make one for this gateway: a late answer is told from a forged one without keeping it.
 */
void formula_ref_make(
	const uint8_t secret[FORMULA_SECRET_SIZE],
	const char *gateway_id,
	random_fn random,
	char out[FORMULA_REF_TEXT_SIZE]);
/** @return whether formula_ref_make() with the same secret and gateway made @p text. */
bool formula_ref_is_valid(
	const uint8_t secret[FORMULA_SECRET_SIZE],
	const char *gateway_id,
	const char *text);

/** @return whether @p text is a 32-byte key in padded base64 (44 characters). */
bool formula_key_is_valid(const char *text);
