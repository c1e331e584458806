// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include "acl/acl.h"
#include "dataplane/stage/stage.h"
#include "dataplane/worker/dp.h"
#include "perf/bench/result.h"

#include <stdbool.h>
#include <stdint.h>

/**
 * The gateway on a test bed: the real data plane with one worker between two ring ports, many
 * clients with keys, paths and policies, and genuine packets for it.
 *
 *	client 198.18.<slot>:51820 -- wan 203.0.113.1:52625 [gateway] 192.0.2.1 lan -- 10.20.0.0/16
 *
 * The clock stands still except for what a measurement adds, so that no keypair or flow grows old
 * because a bench takes long to prepare.
 *
 * The other end of each ring is fed and emptied between two measured loops; what the ring driver
 * itself costs is a few cycles per packet and part of the figures (probe "rx" and "tx").
 *
 * Ownership: a bed owns its data plane. Thread-safety: one thread, unless policy_update.c says so.
 */

enum {
	BED_WAN = 0,
	BED_LAN = 1,
	BED_CLIENTS = 10000,
	BED_FLOWS_MAX = 1 << 20,
	BED_FLOWS_PER_CLIENT = 10,
	BED_RESOURCES = 20, // per client
	BED_GROUPS = 50, // distinct policy sets
	BED_ROUND = 4096, // packets made ready at once: more than the second-level cache holds
	BED_UDP_PORT = 52625,
	BED_WORKERS_MAX = 2,
	BED_CLIENT_PORT = 51820,
};

/** The client's end of a keypair. */
struct bed_keys {
	uint8_t to_gateway[DP_KEY_SIZE], to_client[DP_KEY_SIZE];
	uint64_t counter; // of the client's next packet
};

struct bed {
	struct dp *dp;
	struct worker *w;
	unsigned n_workers;
	// By bed_ring(); of a bed with one worker, by port.
	struct rte_ring *rx[2 * BED_WORKERS_MAX], *tx[2 * BED_WORKERS_MAX];
	uint8_t mac[2][6];
	uint64_t now;
	struct aead *aead; // ours, not the worker's
	struct acl_registry *acl;
	const struct fib *fib;
	struct acl_policy *policy[BED_CLIENTS]; // published here; NULL: by somebody else
	struct bed_keys keys[BED_CLIENTS];
	uint32_t rng;
	uint32_t n_new; // counts what must be different each time
};

/** A packet of a round. */
struct bed_packet {
	struct rte_mbuf *m;
	uint32_t slot;
	uint16_t flow;
	uint16_t size; // of the inner packet
	bool is_tcp; // a segment in the middle of a connection; else UDP
};

struct bed_round {
	unsigned n;
	struct bed_packet packet[BED_ROUND];
};

/** @return a bed with all clients connected; exits with a message if that fails. */
struct bed *bed_create(unsigned n_workers);
/** Takes policies that were not published by the bed itself with it. */
void bed_destroy(struct bed *bed);

/** Where a client's packets come from, and where they go to. */
struct ip_addr bed_outer_v4(uint32_t slot);
struct ip_addr bed_gateway_v4(void);

/** Takes back all policies that the bed published; nothing may run. For those who publish their own. */
void bed_policies_drop(struct bed *bed);
/** Publishes the policy of the client's group, made by the bed. */
void bed_policy_publish(struct bed *bed, uint32_t slot);
/** Fresh keys for all clients, aged 0. */
void bed_rekey(struct bed *bed);
/** Runs loops until nothing more happens, and empties the wires. */
void bed_settle(struct bed *bed);

/** Inner size that stands for the simple IMIX 7:4:1 of 64, 594 and 1280 bytes. */
enum {
	BED_SIZE_IMIX = 0,
};
/** Mean inner bytes of a size. */
double bed_size_mean(unsigned size);

/** Allocates the mbufs of @p n packets and draws clients, flows and sizes at random. */
void bed_round_draw(
	struct bed *bed,
	struct bed_round *r,
	unsigned n,
	unsigned tunnels,
	unsigned size);
/** Frees what is left of it. */
void bed_round_free(struct bed_round *r);

/** Where a client's packet goes. */
enum bed_target {
	BED_TARGET_FLOW, // its flow: allowed, known after the first round
	BED_TARGET_NEW, // allowed, a new flow each time
	BED_TARGET_DENIED, // no policy allows it
};

/** Writes and encrypts the packets as frames on the WAN wire. */
void bed_round_up(struct bed *bed, struct bed_round *r, enum bed_target target);
/** Writes the answers of the LAN; each packet's flow must exist. */
void bed_round_down(struct bed *bed, struct bed_round *r);
/** Writes a client's datagram to the gateway as a frame. */
void bed_datagram_up(
	struct bed *bed,
	struct rte_mbuf *m,
	uint32_t slot,
	const void *payload,
	uint16_t size);
/** Makes sure that all flows of the first @p tunnels clients exist. */
void bed_flows_make(struct bed *bed, unsigned tunnels);
/** @return the flow of a packet, or NULL. */
const struct flow *bed_flow(const struct bed *bed, const struct bed_packet *p);
/** Forgets all flows of the first @p tunnels clients. */
void bed_flows_clear(struct bed *bed, unsigned tunnels);

/** One burst's worth of the round, from @p at, as the AEAD sees it. @return how many */
unsigned bed_ops_up(
	struct bed *bed,
	const struct bed_round *r,
	unsigned at,
	struct aead_op *ops,
	bool is_one_key);
unsigned bed_ops_down(
	struct bed *bed,
	const struct bed_round *r,
	unsigned at,
	struct aead_op *ops,
	bool is_one_key);

/** @return the place in rx and tx of a worker's queue of a port */
static inline unsigned bed_ring(int port, unsigned worker)
{
	return (unsigned)port + 2 * worker;
}

/** @return whose client that is */
unsigned bed_owner(const struct bed *bed, uint32_t slot);

/** Puts up to DP_BURST_MAX packets from @p at on a wire, for worker 0. @return how many */
unsigned bed_feed(struct bed *bed, const struct bed_round *r, unsigned at, int port);
/** Takes everything from both wires and frees it. @return how many */
unsigned bed_take(struct bed *bed);
/** Drops of all names so far. */
uint64_t bed_drops(const struct bed *bed);

/** A repeatable random number. */
uint32_t bed_random(struct bed *bed);
