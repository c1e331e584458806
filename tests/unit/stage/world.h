// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include "acl/acl.h"
#include "dataplane/stage/stage.h"
#include "dataplane/worker/dp.h"
#include "tests/unit/stage/packet.h"

#include <stdbool.h>
#include <stdint.h>

/**
 * A gateway in a test tube: the real data plane between two ring ports, driven one loop at a time
 * with a clock of the test's. The other end of each tunnel is libsodium's AEAD.
 *
 *	client 198.51.100.<7+slot>:40000 -- wan 203.0.113.1:52625 [gateway] 192.0.2.1 lan -- 192.0.2.10
 *	       2001:db8:9::7                   2001:db8:1::1               2001:db8:2::1   2001:db8:2::10
 *
 * Tunnel addresses: client 100.64.0.<slot+1> and fd00:2021:1111::<slot+1>, gateway 100.64.9.9 and
 * fd00:2021:1111::9:9. The LAN also has 192.0.2.66, which never answers ARP.
 */

enum {
	WORLD_CLIENTS = 8,
	WORLD_WAN = 0,
	WORLD_LAN = 1,
	WORLD_UDP_PORT = 52625,
	WORLD_CLIENT_PORT = 40000,
	WORLD_NAT_FIRST = 20000,
	WORLD_NAT_LAST = 29999,
	WORLD_QUEUES = 4,
	WORLD_BY_RSS = -1,
};

#define WORLD_LAN_V4 "192.0.2.1"
#define WORLD_LAN_V6 "2001:db8:2::1"
#define WORLD_POOL_V4 "192.0.2.200"
#define WORLD_POOL_V6 "2001:db8:2::200"
#define WORLD_SERVER_V4 "192.0.2.10"
#define WORLD_SERVER_V6 "2001:db8:2::10"
#define WORLD_SILENT_V4 "192.0.2.66"
#define WORLD_GATEWAY_V4 "100.64.9.9"
#define WORLD_GATEWAY_V6 "fd00:2021:1111::9:9"
#define WORLD_CLIENT_V4 "100.64.0.1" // of slot 0
#define WORLD_CLIENT_V6 "fd00:2021:1111::1"

/** The client's end of a keypair. */
struct world_keys {
	uint32_t gateway_index; // receiver index of what the client sends
	uint32_t client_index;
	uint8_t to_gateway[DP_KEY_SIZE], to_client[DP_KEY_SIZE];
	uint64_t counter; // of the client's next packet
};

struct world {
	struct dp *dp;
	struct worker *w; // the first one
	unsigned n_workers, n_queues;
	int queue; // where frames arrive; WORLD_BY_RSS: as a NIC with the data plane's key puts them
	struct rte_ring *rx[2][WORLD_QUEUES],
		*tx[2][WORLD_QUEUES]; // by port, as the gateway sees it
	uint8_t mac[2][6];
	uint64_t now;
	struct acl_registry *acl;
	struct acl_policy *policy[WORLD_CLIENTS];
	uint32_t generation; // of policies
	uint32_t fib_generation;
	uint64_t drops_before[DROP_REASON_COUNT];
	bool is_path_v6;
	uint16_t channel; // of the relay that clients then are behind; 0: none
};

/** cmocka set-up and tear-down of one test; *state is a struct world with client 0 connected. */
int world_setup(void **state);
int world_setup_v6(void **state); // the client's path is over IPv6
int world_setup_relayed(void **state); // the client's addresses are those of a relay
int world_setup_relayed_v6(void **state);
int world_setup_pooled(void **state); // the LAN port has WORLD_POOL_V4 and _V6 for clients
int world_teardown(void **state);
/** The same with several workers, at most WORLD_QUEUES, and a number of queues per port. */
int world_fleet_setup(void **state, unsigned n_workers, unsigned n_queues, bool is_path_v6);

/** Runs loops until nothing more happens. */
void world_run(struct world *wd);
/** Moves the clock and does what is due. */
void world_wait(struct world *wd, double seconds);

/** Runs one worker until nothing more happens to it. */
void world_run_one(struct world *wd, unsigned index);

/** The worker that owns @p slot. */
struct worker *world_owner(struct world *wd, uint32_t slot);

/** CLIENT_ADD and PATH_SET. */
void world_client_add(struct world *wd, uint32_t slot);
/** KEYPAIR_ADD; number @p n makes keys and indices. */
struct world_keys world_keypair_add(struct world *wd, uint32_t slot, uint8_t n, bool is_initiator);
/** Publishes what the client may reach: CIDR resources; none: an empty set. */
void world_policy_set(struct world *wd, uint32_t slot, const struct acl_resource *r, size_t n);
/** Everything on the LAN without filters, until @p expires_tsc. */
void world_policy_open(struct world *wd, uint32_t slot, uint64_t expires_tsc);
/** Publishes addresses, routes and neighbours; @p silent_mac for 192.0.2.66, NULL: unresolved. */
void world_fib_set(struct world *wd, const uint8_t *silent_mac, bool is_failed);

/** The UDP payload of a data message. */
size_t world_seal(struct world_keys *k, const uint8_t *inner, size_t size, uint8_t *out);
/** A frame to the gateway's WAN port, from the client (or relay) in @p slot. */
struct packet world_outer(const struct world *wd, uint32_t slot, const void *payload, size_t size);
/** Puts frames on the wire; nothing runs yet. */
void world_wan_put(struct world *wd, const struct packet *frame);
void world_lan_put(struct world *wd, const struct packet *ip);
/** Encrypts, puts and runs. */
void world_client_send(struct world *wd, struct world_keys *k, const struct packet *inner);
/** Puts and runs. */
void world_lan_send(struct world *wd, const struct packet *ip);

/** Takes one frame from the wire. @return false: none */
bool world_take(struct world *wd, int port, struct packet *frame);
/** Takes one IP packet from the LAN and checks MACs, type and checksums. @return false: none */
bool world_lan_take(struct world *wd, struct packet *ip);
/**
 * Takes one packet for a client, checks the outer headers and opens it with @p k.
 * @return false: none. size 0: a keepalive. @p outer may be NULL.
 */
bool world_client_take(
	struct world *wd,
	const struct world_keys *k,
	struct packet *inner,
	struct packet *outer);

/** How often @p reason was counted since it was last asked for. */
uint64_t world_drops(struct world *wd, enum drop_reason reason);
/** Takes one event. @return false: none */
bool world_event(struct world *wd, struct dp_event *event);
/** Takes one punted packet. @return false: none */
bool world_punt(struct world *wd, enum dp_punt class_, struct packet *out, struct dp_meta *meta);
/** Asserts that the wires are silent. */
void world_expect_silence(struct world *wd);
