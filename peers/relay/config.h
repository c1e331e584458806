// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include "control/base/addr.h"
#include "control/portal/login.h"
#include "peers/relay/credentials.h"

#include <stdbool.h>
#include <stdint.h>

/**
 * The relay's settings: the environment of the official relay, plus SALLYPORT_RELAY_SECRET.
 *
 *   PUBLIC_IP4_ADDR, PUBLIC_IP6_ADDR   addresses that peers are told; at least one
 *   BIND_IP4_ADDR, BIND_IP6_ADDR       local addresses (0.0.0.0, ::)
 *   LISTEN_PORT                        UDP port for clients (3478)
 *   LOWEST_PORT, HIGHEST_PORT          UDP ports of allocations (49152, 65535)
 *   FIREZONE_API_URL                   the portal, e.g. ws://portal:8081; none: serves without a portal
 *   FIREZONE_TOKEN                     the relay's token there
 *   FIREZONE_NAME                      name shown there (the host name)
 *   HEALTH_CHECK_ADDR                  address:port for /healthz and /readyz; none: no listener
 *   SALLYPORT_RELAY_SECRET             stamp secret; none: a random one, which needs a portal to be of use
 *
 * Ownership: everything is copied. Thread-safety: pure but for getenv().
 */

#define CONFIG_ERROR_SIZE 256

/** A getenv(). */
typedef const char *(*config_env_fn)(const char *name);

struct config {
	struct ip_addr public_v4; // family NONE: not served
	struct ip_addr public_v6;
	struct ip_addr bind_v4; // family NONE when not served
	struct ip_addr bind_v6;
	uint16_t listen_port;
	uint16_t lowest_port;
	uint16_t highest_port;
	struct ip_endpoint health; // family NONE: no listener
	char api_url[512]; // "": no portal
	char token[LOGIN_TOKEN_SIZE];
	char name[256];
	char secret[256]; // "": to be made
};

/** @return 0, -EINVAL with the reason in @p error */
[[nodiscard]] int config_read(struct config *c, config_env_fn env, char error[CONFIG_ERROR_SIZE]);
/** Wipes the secrets. */
void config_fini(struct config *c);
