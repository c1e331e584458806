// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include "control/gateway/connection.h"
#include "control/noise/messages.h"
#include "control/path/candidate.h"
#include "control/path/relay_users.h"

/**
 * What connection.c (life, handshakes, keys) and connection_path.c (candidates and the way to the
 * client) share. Nobody else includes it.
 *
 * Thread-safety: loop thread.
 */

enum {
	CONNECTION_CREDENTIAL_SIZE =
		256, // ufrag and password; the portal's are 4 and 22 characters
};

struct connection_credentials {
	char local_ufrag[CONNECTION_CREDENTIAL_SIZE], local_pwd[CONNECTION_CREDENTIAL_SIZE];
	char remote_ufrag[CONNECTION_CREDENTIAL_SIZE], remote_pwd[CONNECTION_CREDENTIAL_SIZE];
	uint8_t public_key[NOISE_KEY_SIZE];
	uint8_t preshared_key[NOISE_KEY_SIZE];
};

struct connection {
	struct gw *gw;
	struct access_client *client;
	uint32_t slot;
	struct heap_node timer; // in gw->deadlines

	bool is_up; // agent and peer exist; the agent only if the portal knows the client
	struct connection_credentials cred; // of the last time it was up
	struct tai64n last_timestamp; // the newest that cred.public_key's owner used
	struct ice_agent *agent;
	struct noise_peer peer;
	bool is_idle;
	uint64_t idle_check; // boot time, ns
	uint64_t awake_until; // boot time, ns: not idle before, with packets or without

	struct relay_user relay_user; // joined while it has an agent
	bool has_path;
	struct ip_endpoint local, remote; // the selected pair
	// The newest answer to a handshake that came before there was a path.
	uint8_t held[sizeof(struct noise_msg_response)];
	size_t held_size; // 0: none
	struct turn_route route; // as the worker knows it; channel 0: direct
};

/** Text of the client's id for the log. */
const char *connection_id(const struct connection *conn, char buf[UUID_TEXT_SIZE]);
/**
 * A candidate came or went, or the client was authorized again: checks are frequent for a while as after a
 * packet (spec/connectivity.md 6.1). The connection is up and has an agent.
 */
void connection_wake(struct connection *conn);
/** Sends what the agent wants sent and acts on its events; the connection may be down afterwards. */
void connection_ice_pump(struct connection *conn);
/** Notes the next deadline; the connection is up. */
void connection_timer_update(struct connection *conn);

/** The connection that a user of the relays is. */
static inline struct connection *connection_of_relay_user(struct relay_user *user)
{
	return (struct connection
			*)(void *)((char *)user - offsetof(struct connection, relay_user));
}

/** Tells the worker how the client is reached, if that changed. */
void connection_path_publish(struct connection *conn);
/** Gives a new agent our addresses: those of the ports and those that relays gave us. */
void connection_locals_add(struct connection *conn);
/** Keeps an answer to a handshake until a path is selected; other messages are not kept. */
void connection_answer_hold(struct connection *conn, const void *bytes, size_t size);
/** Uses the pair from now on; an answer that was kept is sent on it. */
void connection_path_select(
	struct connection *conn,
	const struct ip_endpoint *local,
	const struct ip_endpoint *remote);
/** Data went through the relay since @p since_tsc, past the control core: keeps the channel. */
void connection_relay_note(
	struct connection *conn,
	const struct dp_client_stats *stats,
	uint64_t since_tsc);
