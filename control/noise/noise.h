// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include "control/noise/hash.h"
#include "control/noise/messages.h"
#include "control/noise/tai64n.h"

#include <stdbool.h>
#include <stdint.h>

/**
 * Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s, the pure handshake: no time, no peers, no MACs.
 *
 *   initiator                                      responder
 *   noise_initiation_create  -- e, es, s, ss, t -> noise_initiation_open (whose is it?)
 *                                                  noise_initiation_consume
 *   noise_response_consume   <- e, ee, se, psk --  noise_response_create
 *   keypair                                        keypair
 *
 * Each function computes into locals and writes its outputs only when everything succeeded; a
 * failed one leaves every argument as it was. Secrets in locals are wiped on all paths. A Diffie-
 * Hellman result of all zeros (low-order public key) is refused.
 *
 * Errors: -EBADMSG (does not authenticate), -EIO (crypto library).
 * Ownership: caller's memory; wipe handshakes and keypairs with sodium_memzero().
 * Thread-safety: pure but for the noise_crypto.
 */

/** Our static key pair. */
struct noise_identity {
	uint8_t private_key[NOISE_KEY_SIZE];
	uint8_t public_key[NOISE_KEY_SIZE];
};

/** What the handshake knows about the other side. */
struct noise_remote {
	uint8_t public_key[NOISE_KEY_SIZE];
	uint8_t psk[NOISE_KEY_SIZE];
	uint8_t static_static[NOISE_KEY_SIZE]; // DH of both static keys
};

/** State between two messages. */
struct noise_handshake {
	uint8_t chaining_key[NOISE_HASH_SIZE];
	uint8_t hash[NOISE_HASH_SIZE];
	uint8_t ephemeral_private[NOISE_KEY_SIZE]; // initiator only
	uint8_t remote_ephemeral[NOISE_KEY_SIZE]; // responder only
	uint32_t local_index; // initiator only
	uint32_t remote_index; // responder only
};

/** An initiation whose sender is known but not yet proven. */
struct noise_initiation_opened {
	struct noise_handshake handshake;
	uint8_t remote_public_key[NOISE_KEY_SIZE];
	uint8_t timestamp_sealed[NOISE_TIMESTAMP_SIZE + NOISE_TAG_SIZE];
};

/** Keys of one transport session. Indices are host order numbers. */
struct noise_keypair {
	uint8_t send_key[NOISE_KEY_SIZE];
	uint8_t recv_key[NOISE_KEY_SIZE];
	uint32_t local_index; // receiver index of packets to us
	uint32_t remote_index; // receiver index of packets to the peer
	bool is_initiator;
	uint64_t created_ns; // monotonic; set by the caller of the pure functions
};

/** Age limit for sending: 170 s for the initiator, 180 s for the responder. */
static inline uint64_t noise_keypair_send_until_ns(const struct noise_keypair *k)
{
	return k->created_ns
		+ (k->is_initiator ? NOISE_INITIATOR_SEND_TIME_NS : NOISE_REJECT_AFTER_TIME_NS);
}

/** Age limit for receiving: 180 s. */
static inline uint64_t noise_keypair_recv_until_ns(const struct noise_keypair *k)
{
	return k->created_ns + NOISE_REJECT_AFTER_TIME_NS;
}

/** Derives the public key of @p private_key (clamped). @return 0, -EINVAL (degenerate key) */
[[nodiscard]] int
noise_identity_init(struct noise_identity *id, const uint8_t private_key[NOISE_KEY_SIZE]);

/**
 * Prepares the other side: precomputes the static-static secret.
 * @param psk  NULL for none (32 zeros).
 * @return 0, -EINVAL (low-order public key)
 */
[[nodiscard]] int noise_remote_init(
	struct noise_remote *r,
	const struct noise_identity *id,
	const uint8_t public_key[NOISE_KEY_SIZE],
	const uint8_t psk[NOISE_KEY_SIZE]);

/**
 * First message. MACs of @p msg are left zero. @p ephemeral must be fresh random bytes.
 * @return 0, -EBADMSG, -EIO
 */
[[nodiscard]] int noise_initiation_create(
	struct noise_crypto *c,
	const struct noise_identity *id,
	const struct noise_remote *remote,
	const uint8_t ephemeral[NOISE_KEY_SIZE],
	uint32_t local_index,
	const struct tai64n *timestamp,
	struct noise_handshake *hs,
	struct noise_msg_initiation *msg);

/**
 * Decrypts the sender's static key, which tells the peer whose noise_remote
 * noise_initiation_consume() needs. The caller checked the size, the type and mac1.
 * @return 0, -EBADMSG, -EIO
 */
[[nodiscard]] int noise_initiation_open(
	struct noise_crypto *c,
	const struct noise_identity *id,
	const struct noise_msg_initiation *msg,
	struct noise_initiation_opened *opened);

/**
 * Proves the sender and gives the stamp; the caller refuses stamps that are not newer.
 * @return 0, -EBADMSG (also when @p remote is not the sender), -EIO
 */
[[nodiscard]] int noise_initiation_consume(
	struct noise_crypto *c,
	const struct noise_remote *remote,
	const struct noise_initiation_opened *opened,
	struct noise_handshake *hs,
	struct tai64n *timestamp);

/**
 * Second message and the responder's keys. MACs of @p msg are left zero.
 * @return 0, -EBADMSG, -EIO
 */
[[nodiscard]] int noise_response_create(
	struct noise_crypto *c,
	const struct noise_remote *remote,
	const struct noise_handshake *hs,
	const uint8_t ephemeral[NOISE_KEY_SIZE],
	uint32_t local_index,
	struct noise_msg_response *msg,
	struct noise_keypair *keypair);

/**
 * The initiator's keys. The caller found @p hs by the message's receiver index.
 * @return 0, -EBADMSG, -EIO
 */
[[nodiscard]] int noise_response_consume(
	struct noise_crypto *c,
	const struct noise_identity *id,
	const struct noise_remote *remote,
	const struct noise_handshake *hs,
	const struct noise_msg_response *msg,
	struct noise_keypair *keypair);
