// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include "control/portal/types.h"

#include <jansson.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/**
 * Messages between a gateway and the portal, as typed values.
 *
 * Parsing tolerates unknown fields and null for optional ones. Anything required that is missing,
 * null or of the wrong type makes the whole message an error and leaves the output untouched.
 *
 * Ownership: a parsed message owns what it points at until gateway_message_fini().
 * Thread-safety: none needed, values of the control core.
 */

enum gateway_message_type {
	GATEWAY_MESSAGE_INIT = 0,
	GATEWAY_MESSAGE_CREATE_AUTHORIZATION, // authorize_flow in v1
	GATEWAY_MESSAGE_REJECT_ACCESS,
	GATEWAY_MESSAGE_RESOURCE_UPDATED,
	GATEWAY_MESSAGE_ICE_CANDIDATES,
	GATEWAY_MESSAGE_INVALIDATE_ICE_CANDIDATES,
	GATEWAY_MESSAGE_RELAYS_PRESENCE,
	GATEWAY_MESSAGE_ACCESS_AUTHORIZATION_EXPIRY_UPDATED,
	GATEWAY_MESSAGE_DISCONNECT, // other reasons than token_expired, which control/portal/phoenix.h handles
	GATEWAY_MESSAGE_IGNORED, // request_connection and allow_access of clients before 1.4
};

/** Full state after each join; pairs not in authorizations are revoked, unknown pairs mean nothing. */
struct gateway_init {
	struct portal_interface interface;
	const char *account_slug; // NULL if none
	struct portal_relay *relays; // add or refresh only
	size_t n_relays;
	struct portal_authorization *authorizations;
	size_t n_authorizations;
	struct portal_flow_logs flow_logs;
};

/** The peer that is to be let in. Only the first block is required. */
struct gateway_client {
	struct uuid id;
	uint8_t public_key[PORTAL_KEY_SIZE];
	uint8_t preshared_key[PORTAL_KEY_SIZE];
	struct ip_addr ipv4;
	struct ip_addr ipv6;
	// For the flow log; NULL if absent.
	const char *version;
	const char *device_os_name;
	const char *device_os_version;
};

/** Who the client belongs to, for the flow log; NULL if absent. */
struct gateway_subject {
	const char *actor_id;
	const char *actor_name;
	const char *actor_email;
};

struct gateway_create_authorization {
	const char *ref; // echo in the answer, byte for byte, within 15 s and before any candidate
	struct gateway_client client;
	struct gateway_subject subject;
	struct portal_resource resource;
	struct portal_ice_credentials gateway_ice; // ours
	struct portal_ice_credentials client_ice;
	int64_t expires_at; // Unix seconds, PORTAL_NEVER
	bool use_iceless; // we never announce it, so this is false
	const char *ingest_token; // NULL if none
};

/** Take one resource away from one client. Both ids may be unknown or repeated: then ignore it. */
struct gateway_reject_access {
	struct uuid client_id;
	struct uuid resource_id;
};

struct gateway_message {
	enum gateway_message_type type;
	union {
		struct gateway_init init;
		struct gateway_create_authorization create_authorization;
		struct gateway_reject_access reject_access;
		struct portal_resource resource_updated; // only its filters may be applied
		struct portal_candidates candidates; // ICE_CANDIDATES, INVALIDATE_ICE_CANDIDATES
		struct portal_relays_presence relays_presence;
		struct portal_authorization expiry_updated;
		const char *disconnect_reason;
	};
	struct portal_arena arena;
};

/**
 * Parses the payload of @p event.
 * @return 0, -ENOMSG (unknown event: ignore it), -EBADMSG (@p err says why), -ENOMEM
 */
[[nodiscard]] int gateway_message_parse(
	struct gateway_message *out,
	const char *event,
	const json_t *payload,
	struct portal_error *err);
/** Frees and wipes. */
void gateway_message_fini(struct gateway_message *m);

/** Answer to a create_authorization; @p ref as it came. */
struct portal_push gateway_push_authorization_created(enum portal_dialect dialect, const char *ref);
/** Local candidates for one client, highest priority first. */
struct portal_push
gateway_push_ice_candidates(const struct uuid *client_id, const char *const *lines, size_t n_lines);
/** Local candidates that are gone. */
struct portal_push gateway_push_invalidated_ice_candidates(
	const struct uuid *client_id,
	const char *const *lines,
	size_t n_lines);
/** Asks for relays; answered by relays_presence. */
struct portal_push gateway_push_no_relays(void);
