// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include "control/base/addr.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/**
 * The gateway's configuration: a YAML file for the machine (ports, cores, memory) and the official
 * gateway's environment variables for the rest (token, portal, name).
 *
 * Every error names file, line and key; nothing has been touched then. Unknown keys are errors.
 * Thread-safety: pure. Ownership: config_load() allocates, config_destroy() wipes and frees.
 */

enum {
	CONFIG_PORTS_MAX = 16,
	CONFIG_WORKERS_MAX = 32,
	CONFIG_ADDRS_MAX = 16, // per port
	CONFIG_NAT_ADDRS_MAX = 64, // per port
	CONFIG_ROUTES_MAX = 64, // per port
	CONFIG_NAME_SIZE = 16, // an interface name and its NUL
	CONFIG_TEXT_SIZE = 256,
	CONFIG_TOKEN_SIZE = 4096,
	CONFIG_KEY_SIZE = 32, // X25519 keys and preshared keys
	CONFIG_PEERS_MAX = 1 << 16,
	CONFIG_ERROR_SIZE = 512,
};

enum config_role {
	CONFIG_ROLE_WAN,
	CONFIG_ROLE_LAN,
};

/** An address with the length of its subnet; host bits are kept. */
struct config_addr {
	struct ip_addr addr;
	uint8_t prefix_len;
};

struct config_route {
	struct ip_prefix to;
	struct ip_addr via;
};

struct config_port {
	char name[CONFIG_NAME_SIZE]; // of the kernel's TAP for this port
	enum config_role role;
	char device[CONFIG_TEXT_SIZE]; // PCI address, or a DPDK vdev with its arguments
	struct config_addr addrs[CONFIG_ADDRS_MAX];
	size_t n_addrs;
	struct ip_addr
		nat_addrs[CONFIG_NAT_ADDRS_MAX]; // a LAN's extra ones for clients' traffic only
	size_t n_nat_addrs;
	struct config_route routes[CONFIG_ROUTES_MAX];
	size_t n_routes;
};

enum config_protocol {
	CONFIG_PROTOCOL_TCP,
	CONFIG_PROTOCOL_UDP,
	CONFIG_PROTOCOL_ICMP, // the ports are 0..65535 and mean nothing
};

struct config_filter {
	enum config_protocol protocol;
	uint16_t port_first, port_last; // host order, inclusive
};

/** What a static peer may reach. No filters: everything there. */
struct config_resource {
	struct ip_prefix prefix;
	struct config_filter *filters;
	size_t n_filters;
};

/** A plain WireGuard client that no portal knows. */
struct config_peer {
	char name[CONFIG_TEXT_SIZE]; // empty: none
	uint8_t public_key[CONFIG_KEY_SIZE];
	uint8_t preshared_key[CONFIG_KEY_SIZE]; // zeros: none
	struct ip_addr v4, v6; // tunnel addresses, at least one of them
	struct config_resource *resources;
	size_t n_resources;
};

struct config {
	struct config_port ports[CONFIG_PORTS_MAX];
	size_t n_ports;

	unsigned control_core, worker_cores[CONFIG_WORKERS_MAX];
	size_t n_workers;
	bool has_shared_cores; // several threads may run on one core: for a lab
	bool is_idle_sleep; // workers sleep when nothing comes
	bool has_hugepages;
	uint32_t memory_mb;
	char file_prefix[CONFIG_NAME_SIZE * 2]; // DPDK's, names the telemetry socket too
	char tun[CONFIG_NAME_SIZE];
	char ca_file[CONFIG_TEXT_SIZE]; // empty: only the system's trust store

	char resolv_conf[CONFIG_TEXT_SIZE]; // whose nameservers the in-tunnel DNS asks

	uint16_t udp_port;
	uint16_t nat_port_first, nat_port_last;
	uint32_t max_clients, max_flows, n_mbufs;
	uint32_t icmp_errors_per_second; // to one client, in the long run; 100 at once

	// Static peers. With some and without a token there is no portal.
	struct config_peer *peers;
	size_t n_peers;
	struct ip_addr tunnel_v4, tunnel_v6; // the gateway's own; a portal's `init` replaces them
	char private_key_file[CONFIG_TEXT_SIZE]; // empty: a new key at each start
	uint8_t private_key[CONFIG_KEY_SIZE]; // what config_load() read from it; zeros: none

	// From the environment.
	char api_url[CONFIG_TEXT_SIZE];
	char token[CONFIG_TOKEN_SIZE]; // empty: no portal
	char id[CONFIG_TEXT_SIZE]; // FIREZONE_ID as given; empty if not
	char name[CONFIG_TEXT_SIZE];
};

/**
 * Reads the file, the private key that it names and the environment.
 * @param getenv_fn getenv(3) or a test's
 * @param error receives one line on failure
 * @return owned, or NULL with errno EINVAL, ENOENT, ENOMEM...
 */
struct config *config_load(
	const char *path,
	const char *(*getenv_fn)(const char *name),
	char error[CONFIG_ERROR_SIZE]);
/** Parses @p text as the file's contents only; the environment's fields stay empty. As config_load(). */
struct config *
config_parse(const char *file, const char *text, size_t size, char error[CONFIG_ERROR_SIZE]);
/** Wipes and frees; NULL is allowed. */
void config_destroy(struct config *config);

/** @return whether a device is a DPDK virtual one ("net_tap0,..."), not a PCI address. */
bool config_device_is_vdev(const char *device);
