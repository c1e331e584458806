// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include "control/base/addr.h"
#include "control/portal/uuid.h"

#include <jansson.h>

#include <stddef.h>
#include <stdint.h>

/**
 * Values that both sides of the portal protocol share: resources, relays, credentials, candidate
 * lists, and how a parse error is told.
 *
 * Ownership: everything a parsed message points at lives in that message's arena and dies with it;
 * copy what must live longer. Strings never contain a NUL and are valid UTF-8.
 * Thread-safety: none needed, values of the control core.
 */

/** X25519 public keys and WireGuard preshared keys. */
#define PORTAL_KEY_SIZE 32
/** expires_at of something that does not expire. */
#define PORTAL_NEVER INT64_MAX

/** Limits of what one message may hold; beyond them the message is refused with an error. */
// Bytes of one text message, both ways: an init with 200,000 authorizations is about 30 MB.
#define PORTAL_FRAME_MAX (64U << 20)
#define PORTAL_FILTERS_MAX 1024 // per resource
#define PORTAL_RESOURCES_MAX 16384 // per client init
#define PORTAL_SITES_MAX 64 // per resource
#define PORTAL_RELAYS_MAX 64
#define PORTAL_AUTHORIZATIONS_MAX 524288 // per gateway init
#define PORTAL_CANDIDATES_MAX 256 // per message
#define PORTAL_CANDIDATE_SIZE 512 // bytes of one line
#define PORTAL_RESOLVERS_MAX 64
#define PORTAL_REF_SIZE 8192 // bytes of an authorization's reply token
#define PORTAL_TEXT_SIZE 1024 // bytes of a name, pattern, user name or password

/** v2 is the current dialect; v1 has other paths and five other event names. */
enum portal_dialect {
	PORTAL_DIALECT_V2 = 0,
	PORTAL_DIALECT_V1,
};

/** What was wrong, e.g. "create_authorization: client.preshared_key: expected base64 of 32 bytes". */
struct portal_error {
	char text[256];
};

/** Memory of one parsed message; wiped when freed. Internal to the parser. */
struct portal_arena {
	struct portal_chunk *chunks;
};

/** A message to send: event name (static) and payload (owned, NULL: out of memory). */
struct portal_push {
	const char *event;
	json_t *payload;
};

enum portal_resource_type {
	PORTAL_RESOURCE_CIDR = 0,
	PORTAL_RESOURCE_DNS,
	PORTAL_RESOURCE_INTERNET,
};

enum portal_protocol {
	PORTAL_PROTOCOL_TCP = 0,
	PORTAL_PROTOCOL_UDP,
	PORTAL_PROTOCOL_ICMP, // every ICMP type; the ports are 0..65535 and mean nothing
};

/** One allowed protocol and port range; host order, both ends inclusive, first <= last. */
struct portal_filter {
	enum portal_protocol protocol;
	uint16_t port_first;
	uint16_t port_last;
};

struct portal_site {
	struct uuid id;
	const char *name; // "" if the portal gave none
};

enum portal_ip_stack {
	PORTAL_IP_STACK_DUAL = 0,
	PORTAL_IP_STACK_IPV4_ONLY,
	PORTAL_IP_STACK_IPV6_ONLY,
};

/** A resource. No filters: everything is allowed; any filter: only what is listed. */
struct portal_resource {
	struct uuid id;
	enum portal_resource_type type;
	const char *name; // NULL for the internet resource without one
	struct ip_prefix prefix; // cidr only; host bits zero
	const char *pattern; // dns only, e.g. "*.example.com"
	const char *address_description; // client only; NULL if none
	enum portal_ip_stack ip_stack; // dns on a client only
	struct portal_filter *filters;
	size_t n_filters;
	struct portal_site *sites; // client only
	size_t n_sites;
};

/** ICE ufrag and password of one side. */
struct portal_ice_credentials {
	const char *username;
	const char *password;
};

enum portal_relay_type {
	PORTAL_RELAY_TURN = 0,
	PORTAL_RELAY_STUN, // never seen in practice; no user name, password or expiry; ignore it
};

/** One address of a relay: a dual-stack relay is two elements with the same id. */
struct portal_relay {
	struct uuid id;
	enum portal_relay_type type;
	struct ip_endpoint endpoint;
	const char *username;
	const char *password;
	int64_t expires_at; // Unix seconds
};

/** A pair that is allowed. On a client: an inbound grant, which this client does not have. */
struct portal_authorization {
	struct uuid client_id;
	struct uuid resource_id;
	int64_t expires_at; // Unix seconds, PORTAL_NEVER
};

/** This peer's own tunnel addresses; the rest is for clients and empty on a gateway. */
struct portal_interface {
	struct ip_addr ipv4;
	struct ip_addr ipv6;
	const char *search_domain; // NULL if none
	struct ip_addr *upstream_do53; // upstream_dns of older portals if there is no upstream_do53
	size_t n_upstream_do53;
	const char **upstream_doh; // URLs
	size_t n_upstream_doh;
};

/** Where flow logs would be uploaded; all zero and NULL when the portal sent nothing usable. */
struct portal_flow_logs {
	const char *api_url;
	int64_t upload_interval_secs; // 0: no uploads
	int64_t upload_batch_size;
};

/**
 * Candidate lines ("candidate:<foundation> 1 udp <priority> ...") of or for one peer. Lines that are
 * no such text were left out by the parser; the rest of the line is checked by control/path.
 */
struct portal_candidates {
	struct uuid peer_id; // client id on a gateway, gateway id on a client
	const char **lines;
	size_t n_lines;
};

/** Drop the relays in @p disconnected_ids first, then add or refresh @p connected. */
struct portal_relays_presence {
	struct uuid *disconnected_ids;
	size_t n_disconnected_ids;
	struct portal_relay *connected;
	size_t n_connected;
};
