// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include "control/base/addr.h"
#include "control/noise/node.h"
#include "control/noise/session.h"
#include "control/path/candidate.h"
#include "control/path/ice_table.h"
#include "control/portal/client_messages.h"
#include "peers/client/packet.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/**
 * One gateway's connection: the ICE agent (controlling) that finds the path, the WireGuard peer
 * (initiator after every change of path) and the packets that wait until both are there.
 *
 *   created --pair nominated--> handshake --response--> established --20 s without packets--> idle
 *      |                            |                        |                                 |
 *      +------ no candidates, no path, no answer, goodbye: CONNECTION_EVENT_LOST (final) ------+
 *
 * Sans-IO: datagrams leave through connection_env.send during the call that made them; everything
 * else through connection_poll_event(), to be drained after each call. `now` is nanoseconds of one
 * monotonic clock, never 0.
 *
 * Ownership: create/destroy; borrows its environment. Thread-safety: none.
 */

/** Without IP packets for this long checks become rare. */
#define CONNECTION_IDLE_NS (20 * NOISE_S_NS)

/** Room that connection_send() needs around the packet. */
#define CONNECTION_HEADROOM NOISE_SESSION_HEADROOM
#define CONNECTION_TAILROOM NOISE_SESSION_TAILROOM

struct connection;

/** What all connections of a client share. */
struct connection_env {
	struct noise_node *node;
	struct stun_mac *mac;
	struct ice_table *table;
	/** Sends one datagram; @p data is valid during the call. @p ecn 0-3. */
	void (*send)(
		void *ctx,
		const struct ip_endpoint *local,
		const struct ip_endpoint *remote,
		const void *data,
		size_t size,
		uint8_t ecn);
	void (*random)(void *ctx, void *out, size_t size);
	void *ctx;
};

enum connection_event {
	CONNECTION_EVENT_NONE = 0,
	CONNECTION_EVENT_ESTABLISHED, // path and session, for the first time
	CONNECTION_EVENT_PATH_CHANGED,
	CONNECTION_EVENT_LOST, // destroy it
};

/**
 * Creates the connection that an authorization describes.
 * @param number 24 bits, unique among the connections of the node
 * @return NULL with errno EINVAL (credentials or key unusable), EEXIST (another connection has this
 * gateway's key), ENOMEM
 */
struct connection *connection_create(
	const struct connection_env *env,
	uint64_t now,
	uint32_t number,
	const struct client_authorization_created *auth,
	void *user);
void connection_destroy(struct connection *c);
/** What connection_create() was given. */
void *connection_user(const struct connection *c);

/** The connection that owns @p agent or @p peer. */
struct connection *connection_of_agent(const struct ice_agent *agent);
struct connection *connection_of_peer(struct noise_peer *peer);

/** @return whether @p auth has the credentials and keys of @p c, so that @p c can go on */
bool connection_matches(
	const struct connection *c,
	const struct client_authorization_created *auth);
/** The gateway was authorized again with equal parameters: wakes up and renews the session. */
void connection_renew(struct connection *c, uint64_t now);

/**
 * Adds one of our addresses.
 * @param is_cross_family see ice_agent_add_local()
 * @param text the candidate to signal
 * @return 0, -EEXIST (known: nothing to signal), -errno
 */
[[nodiscard]] int connection_local_add(
	struct connection *c,
	uint64_t now,
	const struct ice_candidate *given,
	bool is_cross_family,
	char text[ICE_CANDIDATE_TEXT_SIZE]);
/** Our addresses were changed through the agent: sends what that causes. */
void connection_locals_changed(struct connection *c, uint64_t now);
/** For relay_users_join(): the agent and our ufrag, as long as the connection lives. */
struct ice_agent *connection_agent(struct connection *c);
const char *connection_ufrag(const struct connection *c);
/** Writes the text of the @p nth candidate to signal, best first. @return whether there is one */
bool connection_local_text(
	const struct connection *c,
	size_t nth,
	char text[ICE_CANDIDATE_TEXT_SIZE]);
/** @return whether the path in use ends at a relayed address of the gateway */
bool connection_remote_is_relay(const struct connection *c);
/** Adds or withdraws a candidate of the gateway. Bad ones are logged and left out. */
void connection_remote_set(struct connection *c, uint64_t now, const char *text, bool is_add);

/**
 * Sends an IP packet, or lets it wait for the session.
 * @param buf the packet with CONNECTION_HEADROOM before and CONNECTION_TAILROOM behind it; changed
 */
void connection_send(struct connection *c, uint64_t now, uint8_t *buf, size_t size, uint8_t ecn);
/** As connection_send() from a packet without room around it. */
void connection_send_copy(struct connection *c, uint64_t now, const uint8_t *packet, size_t size);
/** Tells the gateway that we leave, if there is a session and a path. */
void connection_goodbye_send(struct connection *c, uint64_t now);

/**
 * Opens a data message in place; see noise_session_open(). The packet lies at
 * @p buf + CONNECTION_HEADROOM.
 */
[[nodiscard]] int connection_open(struct connection *c, uint64_t now, uint8_t *buf, size_t size);
/** The ICE agent took a packet. */
void connection_ice_drain(struct connection *c, uint64_t now);
/** The node made this for our peer; wipes it. */
void connection_noise_output(struct connection *c, uint64_t now, struct noise_output *out);

void connection_handle_timeout(struct connection *c, uint64_t now);
/** When connection_handle_timeout() is wanted; UINT64_MAX: never. */
uint64_t connection_deadline(const struct connection *c);

/** @param reason of LOST, static text */
enum connection_event connection_poll_event(struct connection *c, const char **reason);
bool connection_is_established(const struct connection *c);
/** @return whether it was established and has carried packets within CONNECTION_IDLE_NS */
bool connection_is_busy(const struct connection *c);
/** The path in use. @return whether there is one */
bool connection_path(
	const struct connection *c,
	struct ip_endpoint *local,
	struct ip_endpoint *remote);
