// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include "dataplane/flow/flow.h"
#include "dataplane/flow/rss.h"
#include "dataplane/worker/dp.h"

#include <rte_mempool.h>

#include <stdbool.h>
#include <stdint.h>

/**
 * One DPDK port: found by device name, configured with one receive and one transmit queue per
 * worker as far as it has them, and with our RSS key and spread where it takes them; started and
 * stopped. Works for any ethdev; what a driver does not offer is done in
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
	uint16_t n_queues; // pairs; worker i has pair i, workers beyond use the others' by hand-off
	bool has_rx_ip_cksum; // the NIC checks IPv4 header checksums
	bool has_tx_udp_cksum; // the NIC writes UDP checksums
	bool has_rss; // the NIC spreads packets by need.rss
	bool is_started;
	bool is_open;
	uint16_t n_wanted; // queue pairs, one per worker
	uint8_t rss_key_size;
	uint64_t rss_types;
	uint16_t reta_size; // of the NIC's redirection table; 0: leave it alone
	const struct rss *rss;
	char name[64]; // device name, for messages
	struct flow_nat_pool nat_v4, nat_v6; // source addresses for clients; may be empty
};

/** What the data plane wants of each port. */
struct port_need {
	uint16_t n_queues; // pairs; one per worker
	bool wants_rx_intr; // idle: sleep
	struct rte_mempool *const *pools; // receive buffers, by queue
	const struct rss *rss; // kept
};

/**
 * Finds and configures a device. Logs one line naming device and call on failure.
 * @return 0, -ENODEV (no such device), -E2BIG (too many NAT addresses), -errno of the driver
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
