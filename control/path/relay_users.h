// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include "control/base/hash_map.h"
#include "control/path/relays.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

/**
 * The connections that use a set of relays: the wiring of relays.h, done once for gateway and client. Each
 * connection has a relay of its own choice whose addresses its ICE agent offers; what happens to a
 * relay is told to the connections; packets pass with or without ChannelData around them.
 *
 *   relays --events--> relay_users --candidates--> ice_agent of each user
 *                         |    \--lines, routes---> owner (struct relay_users_ops)
 *   owner --packets----> send, receive <--------> owner's sockets or lane
 *
 * What concerns all users is told RELAY_USERS_SLICE of them at a time, so that the loss of a relay
 * with ten thousand connections holds up nothing else: relay_users_pump() says when there is more. What
 * concerns one peer finds its users by a hash.
 *
 * Sans-IO, as relays.h: after every call with `now` here or there, relay_users_pump(), and one timer for
 * relay_users_deadline().
 *
 * Ownership: borrows the relays and the users; a user stays where it is from join to leave.
 * Thread-safety: none; the control thread.
 */

enum {
	RELAY_USERS_SLICE = 256,
};

/** A connection, embedded in its owner's. Zeroed: not joined. */
struct relay_user {
	TAILQ_ENTRY(relay_user) link;
	struct ice_agent *agent; // NULL: not joined
	const char *ufrag; // ours, of candidate lines
	uint32_t relay; // whose relayed addresses it offers; RELAYS_NONE: no relay has answered yet
	struct hash_node by_peer; // while its path is relayed
	struct ip_endpoint local, remote; // that path
};

/** The owner. No call may come back into relay_users but relay_users_leave() and relay_users_send(). */
struct relay_users_ops {
	/** Sends a datagram from an address of ours. @p ecn 0-3 for its IP header. */
	void (*send)(
		void *ctx,
		const struct ip_endpoint *local,
		const struct ip_endpoint *remote,
		const void *data,
		size_t size,
		uint8_t ecn);
	/** Tells the peer of candidates that appeared or, as they were told, are gone. */
	void (*signal)(
		void *ctx,
		struct relay_user *user,
		const char *const *lines,
		size_t n_lines,
		bool is_withdrawn);
	/** After signal(): the agent may have something to send, and another deadline. The user may leave. */
	void (*changed)(void *ctx, struct relay_user *user);
	/** The channel of its path came or went: relays_route(). NULL: nobody asks. */
	void (*route_changed)(void *ctx, struct relay_user *user);
	/** A relay was lost (LOST), or the last one (EMPTY). NULL: nobody asks. */
	void (*lost)(void *ctx, enum relays_event_type type);
};

struct relay_users;

/** @return a set without users, or NULL with errno ENOMEM */
struct relay_users *
relay_users_create(struct relays *relays, const struct relay_users_ops *ops, void *ctx);
/** Users that are left are forgotten. NULL is allowed. */
void relay_users_destroy(struct relay_users *users);

/**
 * Adds a connection, chooses a relay for it and gives its agent what the relays know of our addresses;
 * signals nothing, since the owner tells all candidates together. @p agent and @p ufrag are borrowed.
 */
void relay_users_join(
	struct relay_users *users,
	uint64_t now,
	struct relay_user *user,
	struct ice_agent *agent,
	const char *ufrag);
/** Before its agent goes. One that has not joined is allowed. */
void relay_users_leave(struct relay_users *users, struct relay_user *user);
/** The peer named a candidate: binds a channel to it. */
void relay_users_remote_added(
	struct relay_users *users,
	uint64_t now,
	const struct relay_user *user,
	const struct ice_candidate *remote);
/** The same for all candidates that the agent knows. */
void relay_users_remotes_added(
	struct relay_users *users,
	uint64_t now,
	const struct relay_user *user);
/** The pair in use from now on; route_changed() follows its channel. @return whether it is relayed */
bool relay_users_path_set(
	struct relay_users *users,
	struct relay_user *user,
	const struct ip_endpoint *local,
	const struct ip_endpoint *remote);

/** Sends from @p local, which may be an address at a relay. @return false: dropped, no channel yet */
bool relay_users_send(
	struct relay_users *users,
	uint64_t now,
	const struct ip_endpoint *local,
	const struct ip_endpoint *remote,
	const void *data,
	size_t size,
	uint8_t ecn);

/** A datagram: as it arrived, then as the peer sent it. */
struct relay_datagram {
	struct ip_endpoint local, remote;
	const uint8_t *data;
	size_t size;
};

/** Unwraps what a relay sent. @return what it was; see relay_users_is_peers() */
enum turn_rx relay_users_receive(struct relay_users *users, uint64_t now, struct relay_datagram *d);
/** @return whether the datagram is now (or was already) a peer's; else it was the relay's, or bad */
static inline bool relay_users_is_peers(enum turn_rx rx)
{
	return rx == TURN_RX_DATA || rx == TURN_RX_NOT_FROM_RELAY || rx == TURN_RX_OTHER;
}

/** Sends and tells what is due, within a slice. @return whether there is more: call again soon */
bool relay_users_pump(struct relay_users *users, uint64_t now);
/** When to call relays_handle_timeout() and relay_users_pump(); 0: the latter at once. */
uint64_t relay_users_deadline(const struct relay_users *users);
