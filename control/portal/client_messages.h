// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include "control/portal/types.h"

#include <jansson.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/**
 * Messages between a client and the portal, as typed values. As control/portal/gateway_messages.h,
 * but a malformed resource in the list of an init is left out with a warning, as are resource types
 * that this client does not have (device pools).
 *
 * Ownership: a parsed message owns what it points at until client_message_fini().
 * Thread-safety: none needed, values of one thread.
 */

enum client_message_type {
	CLIENT_MESSAGE_INIT = 0,
	CLIENT_MESSAGE_RESOURCE_CREATED_OR_UPDATED,
	CLIENT_MESSAGE_RESOURCE_DELETED,
	CLIENT_MESSAGE_CONFIG_CHANGED,
	CLIENT_MESSAGE_AUTHORIZATION_CREATED, // flow_created in v1
	CLIENT_MESSAGE_AUTHORIZATION_CREATION_FAILED, // flow_creation_failed in v1
	CLIENT_MESSAGE_ICE_CANDIDATES,
	CLIENT_MESSAGE_INVALIDATE_ICE_CANDIDATES,
	CLIENT_MESSAGE_RELAYS_PRESENCE,
	CLIENT_MESSAGE_DISCONNECT,
	CLIENT_MESSAGE_IGNORED, // client-to-client and obsolete messages
};

/** Full state after each join. */
struct client_init {
	struct portal_interface interface;
	struct portal_resource *resources; // replaces the known set
	size_t n_resources;
	size_t n_resources_skipped; // malformed or of an unknown type
	struct portal_relay *relays; // add or refresh only
	size_t n_relays;
	struct portal_flow_logs flow_logs;
};

/** A gateway that will serve the resource. Ignore it if nothing was asked for that resource. */
struct client_authorization_created {
	struct uuid resource_id;
	struct uuid gateway_id;
	struct uuid site_id;
	uint8_t gateway_public_key[PORTAL_KEY_SIZE];
	uint8_t preshared_key[PORTAL_KEY_SIZE];
	struct ip_addr gateway_ipv4;
	struct ip_addr gateway_ipv6;
	struct portal_ice_credentials client_ice; // ours
	struct portal_ice_credentials gateway_ice;
	bool use_iceless; // we never announce it, so this is false
	const char *ingest_token; // NULL if none
};

enum client_failure {
	CLIENT_FAILURE_NOT_FOUND = 0,
	CLIENT_FAILURE_OFFLINE,
	CLIENT_FAILURE_FORBIDDEN,
	CLIENT_FAILURE_VERSION_MISMATCH,
	CLIENT_FAILURE_DISABLED,
	CLIENT_FAILURE_AMBIGUOUS_ADDRESS,
	CLIENT_FAILURE_MISSING_ADDRESS,
	CLIENT_FAILURE_INVALID_ADDRESS,
	CLIENT_FAILURE_UNKNOWN,
};

struct client_authorization_failed {
	struct uuid resource_id;
	enum client_failure reason;
	const char **violated_properties; // only with FORBIDDEN
	size_t n_violated_properties;
};

struct client_message {
	enum client_message_type type;
	union {
		struct client_init init;
		struct portal_resource resource; // RESOURCE_CREATED_OR_UPDATED
		struct uuid resource_deleted;
		struct portal_interface config_changed;
		struct client_authorization_created authorization_created;
		struct client_authorization_failed authorization_failed;
		struct portal_candidates candidates; // ICE_CANDIDATES, INVALIDATE_ICE_CANDIDATES
		struct portal_relays_presence relays_presence;
		const char *disconnect_reason;
	};
	struct portal_arena arena;
};

/**
 * Parses the payload of @p event.
 * @return 0, -ENOMSG (unknown event: ignore it), -EBADMSG (@p err says why), -ENOMEM
 */
[[nodiscard]] int client_message_parse(
	struct client_message *out,
	const char *event,
	const json_t *payload,
	struct portal_error *err);
/** Frees and wipes. */
void client_message_fini(struct client_message *m);
/** "offline" and so on, for the log. */
const char *client_failure_name(enum client_failure reason);

/** Asks for a gateway for @p resource_id; @p connected are gateways this process already knows. */
struct portal_push client_push_request_authorization(
	enum portal_dialect dialect,
	const struct uuid *resource_id,
	const struct uuid *connected,
	size_t n_connected);
/** Local candidates for one gateway, highest priority first. */
struct portal_push client_push_ice_candidates(
	enum portal_dialect dialect,
	const struct uuid *gateway_id,
	const char *const *lines,
	size_t n_lines);
/** Local candidates that are gone. */
struct portal_push client_push_invalidated_ice_candidates(
	enum portal_dialect dialect,
	const struct uuid *gateway_id,
	const char *const *lines,
	size_t n_lines);
/** Asks for relays; answered by relays_presence. */
struct portal_push client_push_no_relays(void);
