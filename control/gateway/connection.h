// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include "control/gateway/gateway.h"

/**
 * A connection: what the control core keeps per client beside its authorizations, i.e. the ICE
 * agent (controlled), the WireGuard peer (responder) and their deadlines. It lives as long as the
 * client holds an authorization; when ICE or WireGuard give up it is only *down* and the next
 * authorization brings it up again (spec/datapath.md 6.4).
 *
 * A static peer's connection has no agent: its path is where its newest authenticated message came
 * from, and it is never down.
 *
 * Ownership: created and destroyed from access callbacks. Thread-safety: loop thread.
 */

struct connection;

/** What the portal hands out per pair; constant while neither side restarts. */
struct connection_params {
	const char *local_ufrag, *local_pwd; // ours
	const char *remote_ufrag, *remote_pwd; // the client's
	const uint8_t *public_key; // the client's, 32 bytes
	const uint8_t *preshared_key; // 32 bytes
};

/** @return a connection that is down, or NULL with errno. */
struct connection *connection_create(struct gw *gw, struct access_client *client);
/** Wipes and frees it. NULL is allowed. */
void connection_destroy(struct connection *conn);

/**
 * Brings it up. Equal parameters keep everything and re-arm the checks; others replace agent and
 * peer and wipe the worker's keys. @return 0, -errno (former state in force)
 */
[[nodiscard]] int
connection_upsert(struct connection *conn, const struct connection_params *params);
/** Brings a static peer's up, once. @p preshared_key of zeros: none. @return 0, -errno */
[[nodiscard]] int connection_static_start(
	struct connection *conn,
	const uint8_t public_key[NOISE_KEY_SIZE],
	const uint8_t preshared_key[NOISE_KEY_SIZE]);
/** Announces every local candidate through the portal. */
void connection_announce(struct connection *conn);
/** Adds or withdraws a remote candidate line; bad lines are logged and skipped. */
void connection_candidate(struct connection *conn, const char *line, bool is_withdrawn);
/** A WAN address appeared: a new host candidate for this connection. */
void connection_host_add(struct connection *conn, const struct ip_addr *addr);

/** A STUN packet from the client's side; counts the outcome. */
void connection_stun(
	struct gw *gw,
	const struct ip_endpoint *local,
	const struct ip_endpoint *remote,
	const void *data,
	size_t size);
/** A handshake message; counts the outcome. */
void connection_handshake(
	struct gw *gw,
	const struct ip_endpoint *local,
	const struct ip_endpoint *remote,
	const void *data,
	size_t size);
/** Everything that is due of the connection whose deadline is @p node; see timers.h. */
void connection_handle_timeout(struct heap_node *node, uint64_t now);

/** The worker reports for this connection. */
void connection_keypair_confirmed(struct connection *conn, uint32_t local_index);
void connection_handshake_due(struct connection *conn);

/** The worker saw a static peer's newest packet come this way. */
void connection_moved(
	struct connection *conn,
	const struct ip_endpoint *local,
	const struct ip_endpoint *remote);

/** @return whether a path is nominated. */
bool connection_has_path(const struct connection *conn);
