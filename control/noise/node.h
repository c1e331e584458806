// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include "control/base/addr.h"
#include "control/noise/noise.h"
#include "control/noise/peer.h"

#include <stddef.h>
#include <stdint.h>

/**
 * What a process has one of: the static key pair, the crypto context, the clock of stamps, the
 * cookie secret, the limiter, and the tables that find the peer of a handshake message.
 *
 * An initiation goes through these doors, cheapest first:
 *   size and type -> mac1 -> under load: mac2 or a cookie reply -> source's bucket -> X25519 ->
 *   peer by public key -> X25519 proof and stamp -> response
 * A response and a cookie reply find their peer by receiver_index >> 8.
 *
 * Ownership: peers belong to the caller and must leave before the node is destroyed.
 * Thread-safety: one owner, for the node and all its peers.
 */

/** NAME, text: what became of a handshake message. */
#define NOISE_VERDICTS(X)                                                                          \
	X(OK, "ok")                                                                                \
	X(TOO_SHORT, "too_short")                                                                  \
	X(BAD_TYPE, "bad_type")                                                                    \
	X(BAD_SIZE, "bad_size")                                                                    \
	X(BAD_MAC1, "bad_mac1")                                                                    \
	X(COOKIE_SENT, "cookie_sent")                                                              \
	X(RATE_LIMITED, "rate_limited")                                                            \
	X(UNKNOWN_PEER, "unknown_peer")                                                            \
	X(UNKNOWN_INDEX, "unknown_index")                                                          \
	X(STALE_INDEX, "stale_index")                                                              \
	X(DECRYPT_FAILED, "decrypt_failed")                                                        \
	X(REPLAYED, "replayed")                                                                    \
	X(COOKIE_REFUSED, "cookie_refused")                                                        \
	X(CRYPTO_ERROR, "crypto_error")

enum noise_verdict {
#define NOISE_VERDICT_ENUM(name, text) NOISE_VERDICT_##name,
	NOISE_VERDICTS(NOISE_VERDICT_ENUM)
#undef NOISE_VERDICT_ENUM
	NOISE_VERDICT_COUNT,
};

/** Text of a verdict for counters, e.g. "bad_mac1". */
const char *noise_verdict_name(enum noise_verdict v);

struct noise_node_config {
	const uint8_t *private_key; // NOISE_KEY_SIZE; NULL: generate
	noise_random_fn *random; // NULL: libsodium
	void *random_arg;
	uint64_t now_ns; // monotonic, as in all later calls
	uint64_t wall_ns; // UNIX time at now_ns
	uint32_t n_peers; // expected; sizes the tables (more still work). 0: 1024
	uint32_t handshake_rate; // handshake messages per second before cookies. 0: 100
	uint32_t source_rate; // per second of one proven source under load. 0: 50
};

struct noise_node;

/** @return a node, or NULL with errno EINVAL (private key), ENOMEM, ENOTSUP, EIO */
struct noise_node *noise_node_create(const struct noise_node_config *config);
/** Wipes and frees; accepts NULL. Peers must have left. */
void noise_node_destroy(struct noise_node *n);

/** Our public key, NOISE_KEY_SIZE bytes, valid as long as the node. */
const uint8_t *noise_node_public_key(const struct noise_node *n);

/**
 * Makes @p p findable.
 * @return 0, -EEXIST (its public key or its connection number is taken)
 */
[[nodiscard]] int noise_node_peer_add(struct noise_node *n, struct noise_peer *p);
/** Takes @p p out; no effect if it is not in. */
void noise_node_peer_del(struct noise_node *n, struct noise_peer *p);

/** @return the peer with that static public key, or NULL */
struct noise_peer *
noise_node_peer_by_key(const struct noise_node *n, const uint8_t public_key[NOISE_KEY_SIZE]);
/** @return the peer with that 24-bit connection number (local index >> 8), or NULL */
struct noise_peer *noise_node_peer_by_connection(const struct noise_node *n, uint32_t connection);

/**
 * Handles a message of type 1, 2 or 3 (data messages are BAD_TYPE here).
 *
 * @param source  where it came from: outer address, or the peer's address behind a relay
 * @param peer    set to the peer that it concerned, NULL when there is none
 * @param out     filled in any case. With a peer: send its bytes on that peer's selected path and
 *                handle the events. Without (COOKIE_SENT): send its bytes back to @p source.
 *                Wipe it after use.
 * @return the verdict; for everything but OK no peer has changed
 */
enum noise_verdict noise_node_handle_handshake(
	struct noise_node *n,
	uint64_t now_ns,
	const struct ip_endpoint *source,
	const void *bytes,
	size_t size,
	struct noise_peer **peer,
	struct noise_output *out);

// For peer.c.

/** What peers borrow from their node. */
struct noise_node_shared {
	struct noise_crypto crypto;
	struct noise_identity identity;
	struct tai64n_clock clock;
};

struct noise_node_shared *noise_node_shared(struct noise_node *n);
