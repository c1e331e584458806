// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include "control/path/ice.h"
#include "control/path/ice_table.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/**
 * Two or more ICE agents on a fake network with a fake clock. Datagrams take 5 ms; a test decides
 * with `filter` which are lost or rewritten on the way. Everything is deterministic.
 */

#define SIM_MS 1000000ull
#define SIM_S 1000000000ull
#define SIM_NODES_MAX 4
#define SIM_FLIGHT_MAX 4096

struct sim_packet {
	uint64_t at; // arrival time
	struct ip_endpoint from;
	struct ip_endpoint to;
	size_t size;
	uint8_t data[ICE_TRANSMIT_SIZE_MAX];
};

/** One agent and what was seen of it. */
struct sim_node {
	struct ice_agent *agent;
	struct ip_endpoint addrs[8]; // packets to these are for this node
	size_t n_addrs;
	unsigned rx[ICE_RX_COUNT]; // results of the packets received
	unsigned n_requests; // sent
	unsigned n_answers; // success responses sent
	unsigned n_role_errors; // sent
	unsigned n_use_candidate; // sent
	unsigned n_controlling; // sent
	unsigned n_selected; // SELECTED_PAIR_CHANGED events
	unsigned n_connected;
	unsigned n_disconnected;
	unsigned n_failed;
	enum ice_failure failure;
	uint64_t connected_at; // time of the last CONNECTED
	uint64_t selected_at; // time of the last SELECTED_PAIR_CHANGED
	struct ip_endpoint local; // of the last SELECTED_PAIR_CHANGED
	struct ip_endpoint remote;
};

struct sim {
	uint64_t now;
	uint64_t seed;
	struct stun_mac *mac;
	struct sim_node nodes[SIM_NODES_MAX];
	size_t n_nodes;
	struct sim_packet flight[SIM_FLIGHT_MAX];
	size_t n_flight;
	/** @return false to lose the packet; may rewrite it */
	bool (*filter)(struct sim *sim, struct sim_packet *packet);
	/** Sees every packet when it is sent; may be NULL. */
	void (*watch)(struct sim *sim, const struct sim_packet *packet);
	unsigned loss_percent;
	struct ip_endpoint blocked; // for filters
	void *test; // for filters and watchers
};

/** The parties of most tests. */
enum {
	SIM_CLIENT = 0,
	SIM_GATEWAY = 1,
};

struct ip_endpoint sim_endpoint(const char *text);
/** @return owned, with no nodes */
struct sim *sim_create(void);
void sim_destroy(struct sim *sim);
/** A pseudo-random number. */
uint64_t sim_random(struct sim *sim);
/** struct ice_config.random over the simulation's generator. */
void sim_random_bytes(void *sim, void *buf, size_t size);
/** Configuration of the client or the gateway, ufrags clnt and gate. */
struct ice_config sim_config(struct sim *sim, unsigned node);
/** Creates (or replaces) the agent of a node. */
void sim_start(struct sim *sim, unsigned node, const struct ice_config *config);
/** Client and gateway with their usual configurations. */
void sim_start_both(struct sim *sim);
/** Gives a node a host address; signals it to the peer node as text unless @p peer is itself. */
void sim_host(struct sim *sim, unsigned node, unsigned peer, const char *addr);
/** A remote host candidate as a string, as if the peer of @p node had signalled it. */
void sim_signal(struct sim *sim, unsigned node, enum ice_kind kind, const char *addr);
/** Sends and reports what an agent has pending. */
void sim_drain(struct sim *sim, unsigned node);
/** Hands a datagram to a node at once. */
enum ice_rx sim_deliver(
	struct sim *sim,
	unsigned node,
	const char *local,
	const char *remote,
	const void *data,
	size_t size);
/** Lets @p ns pass. */
void sim_run(struct sim *sim, uint64_t ns);
/** @return whether both use the same pair, each from its own side */
bool sim_agree(const struct sim *sim);
