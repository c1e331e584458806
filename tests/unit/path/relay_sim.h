// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include "control/path/relays.h"
#include "tests/unit/path/relay_double.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/**
 * Nodes with their relays and (optionally) one ICE agent each, NATs before them, relay doubles, a
 * signalling channel between two nodes, a fake clock and a network with delays. A node is wired as the
 * essay of relays.h says; it plays the owner.
 */

#define RSIM_MS 1000000ull
#define RSIM_S 1000000000ull
#define RSIM_NODES_MAX 2
#define RSIM_RELAYS_MAX 4
#define RSIM_FLIGHT_MAX 2048
#define RSIM_TEXTS_MAX 64
#define RSIM_MAPPINGS_MAX 64

enum rsim_nat {
	RSIM_NAT_NONE,
	RSIM_NAT_SYMMETRIC, // another public port for each remote, closed to all others
};

struct rsim_mapping {
	struct ip_endpoint local;
	struct ip_endpoint remote;
	uint16_t port;
};

struct rsim_node {
	struct relays *relays;
	struct ice_agent *agent; // NULL: none
	uint32_t relay; // handle
	struct ip_endpoint locals[2];
	enum rsim_nat nat;
	struct ip_addr public_addr;
	struct rsim_mapping mappings[RSIM_MAPPINGS_MAX];
	size_t n_mappings;
	bool is_direct_dead; // what it sends to anyone but relays is lost
	char announced[RSIM_TEXTS_MAX][ICE_CANDIDATE_TEXT_SIZE];
	size_t n_announced;
	struct ice_candidate remotes[RSIM_TEXTS_MAX];
	size_t n_remotes;

	unsigned rx[TURN_RX_COUNT];
	unsigned events[RELAYS_EVENT_EMPTY + 1];
	enum turn_failure failure; // of the last LOST
	unsigned n_relayed_answers; // ICE answers sent through a relay
	unsigned n_withdrawals_sent;
	unsigned n_data; // application datagrams received
	uint64_t data_at; // time of the last
	bool is_connected;
	bool has_failed;
	uint64_t connected_at;
	struct ip_endpoint local; // selected pair
	struct ip_endpoint remote;
};

struct rsim_packet {
	uint64_t at;
	struct ip_endpoint from;
	struct ip_endpoint to;
	size_t size;
	uint8_t data[512];
};

struct rsim_signal {
	uint64_t at;
	unsigned node; // receiver
	bool is_withdrawal;
	char text[ICE_CANDIDATE_TEXT_SIZE];
};

struct rsim {
	uint64_t now;
	uint64_t seed;
	struct stun_mac *mac;
	struct rsim_node nodes[RSIM_NODES_MAX];
	struct relay_double relays[RSIM_RELAYS_MAX];
	uint64_t delays[RSIM_RELAYS_MAX]; // from and to the relay, beyond the usual 5 ms
	size_t n_relays;
	struct rsim_packet flight[RSIM_FLIGHT_MAX];
	size_t n_flight;
	struct rsim_signal signals[RSIM_TEXTS_MAX];
	size_t n_signals;
};

struct ip_endpoint rsim_endpoint(const char *text);
struct rsim *rsim_create(void);
void rsim_destroy(struct rsim *sim);
/** Adds a relay with these addresses. @return its index */
unsigned rsim_relay(struct rsim *sim, const char *v4, const char *v6);
/** Sets up a node with these sockets (text or NULL); @p nat_addr NULL: no NAT for IPv4. */
void rsim_node(
	struct rsim *sim,
	unsigned node,
	const char *v4,
	const char *v6,
	const char *nat_addr);
/** Fills in entries for a relay of the simulation, id all bytes @p id. @return how many, 1 or 2 */
size_t rsim_entries(struct rsim *sim, unsigned relay, uint8_t id, struct relays_entry out[2]);
/** The portal lists these relays (a set of bits, id is index + 1) to a node; nothing disconnected. */
void rsim_list(struct rsim *sim, unsigned node, unsigned relays);
/** The portal says that these relays are gone. */
void rsim_unlist(struct rsim *sim, unsigned node, unsigned relays);
/** Starts the ICE agents of both nodes, node 0 controlling, as an authorization does. */
void rsim_connect(struct rsim *sim);
/** Sends an application datagram on the selected pair. */
void rsim_send(struct rsim *sim, unsigned node);
/** Sends and reports what a node has pending. */
void rsim_drain(struct rsim *sim, unsigned node);
/** Lets @p ns pass. */
void rsim_run(struct rsim *sim, uint64_t ns);
/** Both send a datagram every 100 ms for @p ns. @return the longest gap that either saw */
uint64_t rsim_talk(struct rsim *sim, uint64_t ns);
/** @return whether the selected local address is one at a relay */
bool rsim_is_relayed(const struct rsim *sim, unsigned node);
