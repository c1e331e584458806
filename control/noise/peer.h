// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include "control/noise/cookie.h"
#include "control/noise/hash.h"
#include "control/noise/messages.h"
#include "control/noise/noise.h"
#include "control/noise/tai64n.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/**
 * One remote peer: its handshakes, which sessions exist, and every timer of the protocol.
 *
 * Keys leave in events; data packets are somebody else's work (a worker core, or session.h), who
 * reports back with the noise_peer_note_* functions. Those may be called per packet or now and
 * then with older times: only the times count, not when or how often the calls come.
 *
 *                 noise_peer_initiate / timer                      response
 *   (no handshake) ---------------------------> (in flight) -------------------> KEYPAIR_READY
 *        ^                                       |       |                       may_send
 *        |      every 5 s + jitter: a new one <--+       +--> 20 s: EXPIRED
 *        |
 *        +--- initiation received: response out, KEYPAIR_READY, not may_send;
 *             noise_peer_note_keypair_confirmed() makes it the sending session
 *
 * A message that does not authenticate leaves the struct byte for byte as it was.
 *
 * Times are monotonic nanoseconds and never 0. Call noise_peer_handle_timeout() when
 * noise_peer_deadline() has come, and look at the deadline again after every call.
 *
 * Ownership: caller's memory (about 1.3 KB); borrows the identity, crypto and clock of its node.
 * Thread-safety: one owner.
 */

enum noise_event_type {
	/** New keys; see noise_event.may_send. Older sessions stay valid for receiving. */
	NOISE_EVENT_KEYPAIR_READY,
	/** Send an empty data packet now, or any data packet that is waiting. */
	NOISE_EVENT_SEND_KEEPALIVE,
	/** The peer does not answer: all sessions are over. */
	NOISE_EVENT_EXPIRED,
};

struct noise_event {
	enum noise_event_type type;
	/**
	 * KEYPAIR_READY: true for the initiator: use these keys for sending at once. False for the
	 * responder: only receive with them; switch sending when the first data packet (also an
	 * empty one) authenticated under them, and report that.
	 */
	bool may_send;
	struct noise_keypair keypair; // KEYPAIR_READY
};

enum {
	NOISE_EVENTS_MAX = 2
};

/** What a call wants done: at most one message to send and events in order. */
struct noise_output {
	size_t size; // of bytes; 0: nothing to send
	uint8_t bytes[NOISE_HANDSHAKE_SIZE_MAX];
	unsigned n_events;
	struct noise_event events[NOISE_EVENTS_MAX];
};

/** Wipes an output after use; its events hold keys. */
void noise_output_wipe(struct noise_output *out);

/** A session as the timers see it; the keys are elsewhere. */
struct noise_peer_session {
	uint64_t created_ns; // 0: free slot
	uint32_t local_index;
	bool is_initiator;
};

struct noise_peer_config {
	const uint8_t *public_key; // peer's, NOISE_KEY_SIZE
	const uint8_t *psk; // NOISE_KEY_SIZE; NULL for none
	uint32_t connection; // 24-bit number; local indices are connection << 8 | counter
	struct noise_timing timing; // NOISE_TIMING_ICE or NOISE_TIMING_ICELESS
	struct tai64n last_timestamp; // of an earlier object for the same peer, or zeros
};

struct noise_node;

struct noise_peer {
	// Set by init.
	struct noise_node *node; // borrowed
	struct noise_timing timing;
	struct noise_remote remote;
	uint32_t connection;
	struct noise_peer *next_by_key; // chains of the node's tables
	struct noise_peer *next_by_connection;
	bool is_added;

	// Handshake.
	uint8_t next_index; // low 8 bits of the next local index
	bool has_initiation[2];
	struct noise_handshake initiations[2]; // current, previous
	struct tai64n last_timestamp; // newest accepted from the peer
	struct noise_cookie_maker cookie;

	// Sessions, slot local_index % NOISE_SESSIONS.
	struct noise_peer_session sessions[NOISE_SESSIONS];
	bool has_current;
	uint32_t current_index; // the sending session

	// Timers; 0: not running.
	uint64_t attempt_ns; // first initiation of the running attempt
	uint64_t initiation_ns; // last initiation sent
	uint64_t proactive_ns; // last granted noise_peer_initiate()
	uint64_t alive_ns; // last session made, or init
	uint64_t data_sent_ns; // last data packet
	uint64_t data_received_ns;
	uint64_t sent_ns; // last packet of any kind, keepalives too
	uint64_t received_ns;
	uint64_t unanswered_ns; // first data packet sent since received_ns
	uint64_t keepalive_owed_ns; // first data packet received since sent_ns
	uint64_t jitter_ns; // of the next scheduled initiation
	bool is_expired;
};

/**
 * Prepares a peer of @p node (not yet findable: noise_node_peer_add()).
 * @return 0, -EINVAL (low-order public key, connection above 24 bits), -EIO
 */
[[nodiscard]] int noise_peer_init(
	struct noise_peer *p,
	struct noise_node *node,
	uint64_t now_ns,
	const struct noise_peer_config *config);
/** Takes the peer out of its node if added, and wipes it. Accepts a zeroed peer. */
void noise_peer_fini(struct noise_peer *p);

/**
 * Starts a handshake because the caller wants one: a path was nominated or changed, or the peer
 * was authorised again. Suppressed when one is in flight or was
 * started this way less than 20 s ago. Revives an expired peer.
 * @return 0 (initiation in @p out), -EALREADY (suppressed), -EIO
 */
[[nodiscard]] int
noise_peer_initiate(struct noise_peer *p, uint64_t now_ns, struct noise_output *out);

/**
 * Starts a handshake because the data plane needs one: data waits and there is no session, or it
 * keeps the rekey times itself and found one due (with the noise_peer_note_* functions the peer
 * does that). Suppressed only while one is in flight. Revives an expired peer.
 * @return 0 (initiation in @p out), -EALREADY (one is in flight), -EIO
 */
[[nodiscard]] int noise_peer_rekey(struct noise_peer *p, uint64_t now_ns, struct noise_output *out);

/** When noise_peer_handle_timeout() wants to be called; NOISE_NEVER if not at all. */
uint64_t noise_peer_deadline(const struct noise_peer *p);
/** Does what is due at @p now_ns; harmless when nothing is. Fills @p out in any case. */
void noise_peer_handle_timeout(struct noise_peer *p, uint64_t now_ns, struct noise_output *out);

/**
 * A data packet with content was encrypted and sent at @p at_ns. The call that matters is the one
 * for the first packet after the last received one: 15 s later a handshake starts.
 */
void noise_peer_note_data_sent(struct noise_peer *p, uint64_t at_ns);
/** An empty data packet was sent at @p at_ns: the peer knows that we live. */
void noise_peer_note_keepalive_sent(struct noise_peer *p, uint64_t at_ns);
/** A data packet with content authenticated at @p at_ns. Starts the passive keepalive. */
void noise_peer_note_data_received(struct noise_peer *p, uint64_t at_ns);
/** An empty data packet authenticated at @p at_ns. */
void noise_peer_note_keepalive_received(struct noise_peer *p, uint64_t at_ns);
/**
 * The first packet authenticated under the keys with @p local_index, which we made as responder:
 * they are the sending session now, and a handshake of our own that was in flight is over. Call
 * once per session, at the moment or soon after. Unknown and outdated indices are ignored.
 */
void noise_peer_note_keypair_confirmed(struct noise_peer *p, uint64_t at_ns, uint32_t local_index);

/** @return whether keys for sending exist at @p now_ns. */
bool noise_peer_has_session(const struct noise_peer *p, uint64_t now_ns);

// For node.c, which found the peer and checked the size, type and MACs of the message.

/** @return 0 (response and KEYPAIR_READY in @p out), -EBADMSG, -EALREADY (stamp not newer), -EIO */
[[nodiscard]] int noise_peer_handle_initiation(
	struct noise_peer *p,
	uint64_t now_ns,
	const struct noise_initiation_opened *opened,
	struct noise_output *out);
/** @return 0 (KEYPAIR_READY, SEND_KEEPALIVE), -ENOENT (no such handshake in flight), -EBADMSG, -EIO */
[[nodiscard]] int noise_peer_handle_response(
	struct noise_peer *p,
	uint64_t now_ns,
	const struct noise_msg_response *msg,
	struct noise_output *out);
/** @return 0 (the next initiation will carry mac2), -EBADMSG */
[[nodiscard]] int noise_peer_handle_cookie_reply(
	struct noise_peer *p,
	uint64_t now_ns,
	const struct noise_msg_cookie_reply *msg);
