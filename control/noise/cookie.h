// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include "control/base/addr.h"
#include "control/noise/hash.h"
#include "control/noise/messages.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/**
 * mac1, mac2 and cookies: what makes a flood of handshakes cheap to refuse.
 *
 * The *checker* is the receiving side, one per node: it proves that the sender knows our public
 * key (mac1) and, under load, that it can receive at its source address (mac2 keyed with a cookie
 * that only that address was told). It keeps no state per sender: a cookie is a MAC of the source
 * address and port under a secret that changes every 120 s.
 * The *maker* is the sending side, one per peer.
 *
 * Ownership: caller's memory. Thread-safety: one owner.
 */

struct noise_cookie_checker {
	uint8_t mac1_key[NOISE_HASH_SIZE]; // HASH("mac1----" || our public key)
	uint8_t seal_key[NOISE_HASH_SIZE]; // HASH("cookie--" || our public key)
	uint8_t secret[NOISE_KEY_SIZE];
	uint64_t secret_ns; // when the secret was made
	bool has_secret;
};

struct noise_cookie_maker {
	uint8_t mac1_key[NOISE_HASH_SIZE]; // HASH("mac1----" || peer's public key)
	uint8_t seal_key[NOISE_HASH_SIZE]; // HASH("cookie--" || peer's public key)
	uint8_t last_mac1[NOISE_MAC_SIZE]; // of the last message sent
	struct noise_le32 last_index; // sender index of it
	uint8_t cookie[NOISE_COOKIE_SIZE];
	uint64_t cookie_ns; // when the cookie arrived
	bool has_last_mac1;
	bool has_cookie;
};

void noise_cookie_checker_init(
	struct noise_cookie_checker *k,
	struct noise_crypto *c,
	const uint8_t public_key[NOISE_KEY_SIZE]);
void noise_cookie_maker_init(
	struct noise_cookie_maker *m,
	struct noise_crypto *c,
	const uint8_t public_key[NOISE_KEY_SIZE]);

/**
 * @param msg, size  a whole initiation or response (the last 32 bytes are mac1 and mac2)
 * @return whether mac1 is right; constant time
 */
bool noise_cookie_mac1_check(
	const struct noise_cookie_checker *k,
	struct noise_crypto *c,
	const void *msg,
	size_t size);

/** @return whether mac2 proves @p source; rotates the secret when it is due. */
bool noise_cookie_mac2_check(
	struct noise_cookie_checker *k,
	struct noise_crypto *c,
	uint64_t now_ns,
	const struct ip_endpoint *source,
	const void *msg,
	size_t size);

/**
 * Makes the cookie reply to a message that passed mac1.
 * @return 0, -EIO
 */
[[nodiscard]] int noise_cookie_reply_create(
	struct noise_cookie_checker *k,
	struct noise_crypto *c,
	uint64_t now_ns,
	const struct ip_endpoint *source,
	const void *msg,
	size_t size,
	struct noise_msg_cookie_reply *reply);

/** Writes mac1, and mac2 while there is a fresh cookie, into a whole message; remembers mac1. */
void noise_cookie_macs_add(
	struct noise_cookie_maker *m,
	struct noise_crypto *c,
	uint64_t now_ns,
	void *msg,
	size_t size);

/**
 * Takes a cookie. Only a reply to the last message sent is accepted, and only once.
 * @return 0, -EBADMSG (nothing changed)
 */
[[nodiscard]] int noise_cookie_reply_consume(
	struct noise_cookie_maker *m,
	uint64_t now_ns,
	const struct noise_msg_cookie_reply *reply);
