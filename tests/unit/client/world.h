// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include "control/noise/node.h"
#include "control/noise/session.h"
#include "control/path/ice.h"
#include "peers/client/client.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/**
 * A client core with a fake clock, network, portal and host around it, and a gateway made of the
 * responder sides of control/path and control/noise. Datagrams travel in no time and in order.
 *
 * Thread-safety: none. Ownership: world_create/world_destroy.
 */

#define WORLD_RESOURCE "73037362-715d-4a83-a749-f18eadd970e6"
#define WORLD_RESOURCE_V6 "73037362-715d-4a83-a749-f18eadd970e7"
#define WORLD_RESOURCE_WEB "73037362-715d-4a83-a749-f18eadd970e8"
#define WORLD_GATEWAY "3c492c15-8d41-49a4-afc7-9d8cfe6e066f"
#define WORLD_MS 1000000ull
#define WORLD_S (1000 * WORLD_MS)

/** The other side of one connection. */
struct world_gateway {
	bool is_alive; // false: says nothing, hears nothing
	struct noise_node *node;
	struct noise_peer peer;
	struct noise_session session;
	struct stun_mac *mac;
	struct ice_agent *agent;
	struct ip_endpoint local, client; // path
	unsigned n_initiations;
	unsigned n_packets; // inner packets received
	unsigned n_goodbyes;
	uint8_t last[1280];
	size_t last_size;
	uint8_t last_ecn;
};

struct world_datagram {
	struct ip_endpoint from, to;
	uint8_t ecn;
	size_t size;
	uint8_t data[1400];
};

struct world {
	struct client *client;
	uint64_t now;
	bool is_portal_up;
	bool is_network_up;
	struct world_gateway gateway;
	struct world_datagram to_gateway[512], to_client[512];
	size_t n_to_gateway, n_to_client;
	unsigned n_requests; // request_authorization
	unsigned n_candidates; // lines of new_gateway_ice_candidates
	char last_request[1024]; // payload
	unsigned n_host; // packets handed to the host
	uint8_t host[1280];
	size_t host_size;
	unsigned n_routes; // in place
	char key_text[64]; // gateway's public key, base64
};

/** A client that has had its init: 10.20.0.0/16, 2001:db8:20::/48, 10.30.0.0/16 with tcp 80 and icmp. */
struct world *world_create(bool is_local_filter, bool is_prohibited_request);
void world_destroy(struct world *w);

/** A new process of the gateway: new keys, no peers. */
void world_gateway_restart(struct world *w);
/** Hands a message of the portal to the client; @p payload is JSON. */
void world_portal_say(struct world *w, const char *event, const char *payload);
/** The init that world_create() sent. */
void world_portal_init(struct world *w);
/** The portal lets the client in, and the gateway knows it. */
void world_authorize(struct world *w, const char *resource);
/** Lets @p ms pass. */
void world_run(struct world *w, uint64_t ms);

/** A packet from an application; a UDP datagram from our address. */
void world_host_send(struct world *w, const char *dst, uint16_t port, const char *text);
/** An inner packet from the gateway. */
void world_gateway_send(struct world *w, const uint8_t *packet, size_t size);
/** A UDP datagram from behind the gateway. */
void world_gateway_reply(struct world *w, const char *src, const char *dst, const char *text);
/** Builds a UDP packet. @return its size */
size_t world_udp_build(
	uint8_t out[1280],
	const char *src,
	const char *dst,
	uint16_t port,
	const char *text);
/** Value of a counter. */
unsigned world_counter(const struct world *w, enum client_counter counter);
