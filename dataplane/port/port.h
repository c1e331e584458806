// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include "dataplane/worker/dp.h"

#include <rte_mempool.h>

#include <stdbool.h>
#include <stdint.h>

/**
 * One DPDK port: found by device name, configured with one receive and one transmit queue per
 * worker, started and stopped. Works for any ethdev; what a driver does not offer is done in
 * software by the stages.
 *
 * Known ground: the kernel side of a net_tap may be moved to another network namespace once the
 * port is started. Its file descriptor keeps working; the driver's ioctls fail from then on, so
 * nothing here that can fail for that reason is treated as an error after port_start().
 *
 * Thread-safety: control thread only, except the plain fields, which are constant after
 * port_open().
 */

enum {
	PORT_MTU_MIN =
		1500, // outer packets are <= 1370 bytes; LAN frames are Ethernet's usual size
	PORT_RX_DESC = 1024,
	PORT_TX_DESC = 1024,
};

struct port {
	uint16_t id; // DPDK port id
	enum dp_role role;
	uint8_t mac[6];
	uint16_t mtu;
	bool has_rx_ip_cksum; // the NIC checks IPv4 header checksums
	bool has_tx_udp_cksum; // the NIC writes UDP checksums
	bool is_started;
	bool is_open;
	char name[64]; // device name, for messages
};

/** What the data plane wants of each port. */
struct port_need {
	uint16_t n_queues; // receive and transmit, each
	bool wants_rx_intr; // idle: sleep
	struct rte_mempool *pool; // receive buffers
};

/**
 * Finds and configures a device. Logs one line naming device and call on failure.
 * @return 0, -ENODEV (no such device), -errno of the driver
 */
[[nodiscard]] int
port_open(struct port *port, const struct dp_port_config *config, const struct port_need *need);
/** Starts queues and link. @return 0, -errno after one log line */
[[nodiscard]] int port_start(struct port *port);
/** Stops the queues; harmless if not started. */
void port_stop(struct port *port);
/** Releases the device; harmless if not open. */
void port_close(struct port *port);
/** @return whether the link is up, without waiting for it. */
bool port_link_is_up(const struct port *port);
