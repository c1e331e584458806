// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include "control/noise/messages.h"
#include "control/noise/noise.h"
#include "control/noise/peer.h"
#include "control/noise/replay.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/**
 * The data packets of one peer in user space with libsodium, for the client. The gateway's workers
 * do not use this.
 *
 * Keys come from the peer's events; everything the peer's timers need goes back to it from here,
 * so the caller only passes events on:
 *
 *   noise_peer / noise_node ---- events ----> noise_session_handle_event
 *   TUN packet ----> noise_session_seal ----> UDP
 *   UDP ----> noise_session_open ----> TUN packet, or nothing for a keepalive
 *
 * Nothing about the session or the peer changes before a packet authenticated.
 *
 * Ownership: caller's memory (about 10 KB); borrows the peer. Thread-safety: the peer's owner.
 */

struct noise_session_slot {
	bool is_used;
	bool is_confirmed; // the peer has proven that it has these keys
	struct noise_keypair keypair;
	uint64_t send_counter; // of the next packet
	struct noise_replay replay;
};

struct noise_session {
	struct noise_peer *peer;
	struct noise_session_slot slots[NOISE_SESSIONS]; // slot: local_index % NOISE_SESSIONS
	struct noise_session_slot *current; // for sending; NULL: none yet
};

enum {
	/** Room in front of the plaintext for the header. */
	NOISE_SESSION_HEADROOM = sizeof(struct noise_msg_data),
	/** Room behind the plaintext for the tag. */
	NOISE_SESSION_TAILROOM = NOISE_TAG_SIZE,
};

void noise_session_init(struct noise_session *s, struct noise_peer *peer);
/** Wipes all keys. */
void noise_session_fini(struct noise_session *s);

/**
 * Installs or drops keys as @p event says. SEND_KEEPALIVE is the caller's: seal an empty packet
 * (noise_session_seal() with size 0) and send it.
 */
void noise_session_handle_event(struct noise_session *s, const struct noise_event *event);

/**
 * Encrypts in place: the plaintext of @p size bytes lies at @p buf + NOISE_SESSION_HEADROOM, and
 * NOISE_SESSION_TAILROOM bytes follow it. No padding. Size 0 is a keepalive.
 * @return the message's size at @p buf, -ENOKEY (no session: noise_peer_rekey(), whose
 *         -EALREADY means that one is under way)
 */
[[nodiscard]] int
noise_session_seal(struct noise_session *s, uint64_t now_ns, uint8_t *buf, size_t size);

/**
 * Authenticates and decrypts a data message in place. The packet starts at @p buf +
 * NOISE_SESSION_HEADROOM and is cut to the length in its IP header. After an error the content of
 * @p buf is unspecified.
 * @return the inner packet's size, 0 for a keepalive, -EBADMSG (too short, wrong type, forged),
 *         -ENOENT (no such session), -EALREADY (replayed or too old), -EPROTO (authentic, but its
 *         IP header is wrong; counted as received)
 */
[[nodiscard]] int
noise_session_open(struct noise_session *s, uint64_t now_ns, uint8_t *buf, size_t size);
