// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include "control/portal/types.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/**
 * What a peer tells the portal about itself before the channel starts: URL, id, name, key, token
 * and user agent.
 *
 * URL rules, as the official programs have them: http and ws mean ws, https and wss mean wss;
 * "/<role>/v2/websocket" is appended to the path, "/relay/websocket" for a relay; a query in the configured URL is dropped. Port:
 * the explicit one, else 443. Trap of the official programs: for them ws:// without a port, and even
 * ws://host:80, also means 443. Here ws:// without a port is refused, and :80 means 80.
 *
 * Thread-safety: pure but for login_external_id_resolve() and login_system_read(), which read files.
 */

/** Versions that the user agents claim; the portal pairs clients and gateways by them. */
#define LOGIN_GATEWAY_VERSION "1.6.0"
#define LOGIN_CLIENT_VERSION "1.5.12"
#define LOGIN_RELAY_VERSION "0.1.0"

#define LOGIN_HOST_SIZE 256
#define LOGIN_ID_SIZE 256
#define LOGIN_USER_AGENT_SIZE 256
#define LOGIN_TOKEN_SIZE 4096

enum login_role {
	LOGIN_ROLE_GATEWAY = 0,
	LOGIN_ROLE_CLIENT,
	LOGIN_ROLE_RELAY,
};

/** What the URL is made of. Strings are borrowed. */
struct login_params {
	enum login_role role;
	const char *api_url;
	const char *external_id; // as it goes on the wire, see login_external_id_*()
	const char *name;
	const char *token;
	const uint8_t *public_key; // PORTAL_KEY_SIZE bytes
	// A relay has neither id nor key, but addresses under which it is reached.
	const char *ipv4; // NULL: none
	const char *ipv6; // NULL: none
	uint16_t port;
};

/** Where to connect and what to ask for. Free with login_target_fini(), which wipes it. */
struct login_target {
	bool is_tls;
	char host[LOGIN_HOST_SIZE]; // name or address; IPv6 without brackets
	uint16_t port;
	char *request; // path and query
	size_t request_size; // with the NUL
};

/**
 * Builds the target. The token is in the query only for the v1 dialect (portals before 2026); the
 * header carries it always.
 * @return 0, -EINVAL (@p err says which part), -ENOMEM
 */
[[nodiscard]] int login_target_init(
	struct login_target *out,
	const struct login_params *params,
	enum portal_dialect dialect,
	struct portal_error *err);
void login_target_fini(struct login_target *t);

/** "gateway", "client" or "relay": the topic, and the first step of the path. */
const char *login_role_name(enum login_role role);
/** Copies @p token without any white space. @return 0, -EINVAL (empty or not printable ASCII), -E2BIG */
[[nodiscard]] int login_token_clean(char out[LOGIN_TOKEN_SIZE], const char *token);

/** A configured id: lower-case hex SHA-256 of it if it is a UUID in any form, else as it is. @return 0, -EINVAL */
[[nodiscard]] int login_external_id_configured(char out[LOGIN_ID_SIZE], const char *id);
/** Hex HMAC-SHA256 of the whole contents of /etc/machine-id, newline included. */
void login_external_id_machine(char out[LOGIN_ID_SIZE], const void *contents, size_t size);
/** The "id" of a state file {"id":"..."}. @return 0, -EINVAL */
[[nodiscard]] int login_external_id_stored(char out[LOGIN_ID_SIZE], const char *text, size_t size);
/**
 * The id of this installation: @p configured if not empty, else the state file, else the machine id,
 * else a new random one that is written to the state file (directory 0770, file 0640).
 * @return 0, -EINVAL (@p configured too long), -errno of the last resort
 */
[[nodiscard]] int login_external_id_resolve(
	char out[LOGIN_ID_SIZE],
	const char *configured,
	const char *state_path,
	const char *machine_id_path);

/** The host as the user agent shows it; empty strings are left out. */
struct login_system {
	char os_name[64]; // "Debian"
	char os_version[32]; // "12.0.0"
	char machine[65]; // "x86_64"
	char kernel[65];
};

/** Fills from os-release text and uname(2). */
void login_system_read(struct login_system *out);
/** Parses os-release text for the first two fields. */
void login_system_parse_os_release(struct login_system *out, const char *text);
/** "<OS>/<version> gateway/1.6.0 (<machine>; <kernel>)", ASCII only. */
void login_user_agent(
	char out[LOGIN_USER_AGENT_SIZE],
	enum login_role role,
	const struct login_system *system);
