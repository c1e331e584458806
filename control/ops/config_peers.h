// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include "control/base/conf.h"
#include "control/ops/config.h"

/**
 * The part of the configuration that concerns static peers: plain WireGuard clients with fixed keys
 * and tunnel addresses. Called from config.c's tables; @p out is the struct config.
 *
 *   private_key_file: /etc/sallyport/private.key
 *   tunnel_addresses: [100.64.0.1, "fd00:2021:1111::1"]
 *   peers:
 *     - name: plotter
 *       public_key: HIgo9xNzJMWLKASShiTqIybxZ0U3wGLiUeJ1PKf8ykw=
 *       preshared_key: ...                       # optional
 *       addresses: [100.64.9.1, "fd00:2021:1111::9:1"]
 *       resources:
 *         - address: 192.0.2.0/24
 *           filters: [tcp: [80, 5000-5010], udp: 53, icmp]  # none: everything
 *
 * Thread-safety: pure. Ownership: the peers belong to the struct config.
 */

/** "tunnel_addresses": one address per family at most. */
void config_tunnel_parse(struct conf *s, const struct conf_node *node, void *out);
/** "peers". Parsed last: looks at private_key_file, tunnel_addresses and max_clients. */
void config_peers_parse(struct conf *s, const struct conf_node *node, void *out);
/** Wipes and frees the peers. */
void config_peers_free(struct config *config);

/** Parses base64 of 32 bytes. @return false: it is not; @p out is then zeroed */
bool config_key_parse(uint8_t out[CONFIG_KEY_SIZE], const char *text);
