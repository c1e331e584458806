// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include "control/noise/node.h"
#include "control/path/ice.h"
#include "control/path/ice_table.h"
#include "control/path/relay_users.h"
#include "control/path/relays.h"
#include "control/portal/candidates_hold.h"
#include "peers/client/client.h"
#include "peers/client/connection.h"
#include "peers/client/gateways.h"
#include "peers/client/pending.h"
#include "peers/client/resources.h"

/**
 * What client.c (life of the object and its connections), client_portal.c (messages),
 * client_packets.c (packets) and client_relays.c share. Nobody else includes it.
 *
 * Thread-safety: none, one loop.
 */

struct client {
	struct client_config config;
	struct client_ops ops;
	void *ops_ctx;
	struct noise_node *node;
	struct stun_mac *mac;
	struct ice_table *table;
	struct relays *relays;
	struct relay_users *relay_users;
	struct connection_env env;
	uint64_t now; // of the call that is running
	struct uuid *remembered; // resources in use before a network reset
	size_t n_remembered;
	uint32_t next_number; // of connections, 24 bits

	bool is_up;
	struct ip_addr ipv4, ipv6; // our tunnel addresses
	struct resources *resources;
	struct gateways *gateways;
	struct pending *pending;
	struct candidates_hold *hold;
	struct ip_endpoint locals[ICE_LOCALS_MAX];
	size_t n_locals;
	uint64_t counters[CLIENT_COUNTER_COUNT];
};

/** A 24-bit number that no connection has. */
uint32_t client_connection_number(struct client *c);
/** Acts on what happened to @p g's connection; afterwards it may be gone. */
void client_connection_drain(struct client *c, uint64_t now, struct gateway *g);
/** Drops the connection without a word; its resources have to be asked for again. */
void client_connection_lose(struct client *c, struct gateway *g, const char *reason);
/** Says goodbye and drops the connection, if there is one. */
void client_connection_close(struct client *c, uint64_t now, struct gateway *g);
/** Signals candidates to a gateway, now or after the next join. */
void client_candidates_signal(
	struct client *c,
	const struct gateway *g,
	const char *const *lines,
	size_t n_lines);
/** Withdraws them; @p lines as they were signalled. */
void client_candidates_withdraw(
	struct client *c,
	const struct gateway *g,
	const char *const *lines,
	size_t n_lines);

/** Makes the node, with a fresh key unless configured, in place of any former one. @return 0, -errno */
[[nodiscard]] int client_node_create(struct client *c, uint64_t now);
/** Keeps in mind which resources are served, to ask for them again after the next init. */
void client_grants_remember(struct client *c);

/** @return 0, -errno */
[[nodiscard]] int client_relays_create(struct client *c, uint64_t now);
/** Destroys them; no connection is left. Accepts what was never created. */
void client_relays_destroy(struct client *c);
/** Fills in c->env. */
void client_env_init(struct client *c);
/** A list of the portal: drops @p disconnected, adds or refreshes @p connected. */
void client_relays_apply(
	struct client *c,
	uint64_t now,
	const struct uuid *disconnected,
	size_t n_disconnected,
	const struct portal_relay *connected,
	size_t n_connected);
/** Asks the portal for relays. */
void client_no_relays_send(struct client *c);
/** Sends and acts on everything that the relays have queued; at the end of each call. */
void client_relays_drain(struct client *c, uint64_t now);
/** Something needs @p r: asks the portal if the rules let us. @param why for the log */
void client_authorization_request(
	struct client *c,
	uint64_t now,
	const struct resource *r,
	const char *why);
