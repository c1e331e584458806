// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include "control/noise/replay.h"
#include "dataplane/worker/dp.h"

#include <rte_common.h>
#include <rte_prefetch.h>

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/**
 * What a worker knows of one client: keypairs, the way out, tunnel addresses, timers. The slot is
 * the array index and, in WireGuard messages to us, receiver_index >> 8: no hash, no search.
 *
 * Keypairs move as in the WireGuard paper, 6.5 and the kernel's noise.c:
 *
 *   responder handshake   -> next
 *   initiator handshake   -> current      (former current or next -> previous)
 *   first packet on next  -> next becomes current, current becomes previous, previous is wiped
 *
 * Timers are deadlines that packets set and clear; a timer wheel (timer.h) looks at a client when
 * the earliest one may have come.
 *
 * Thread-safety: one worker owns the whole struct; stats are read by anyone.
 */

enum client_role {
	CLIENT_ROLE_NEXT,
	CLIENT_ROLE_CURRENT,
	CLIENT_ROLE_PREVIOUS,
	CLIENT_ROLE_COUNT,
};

enum {
	CLIENT_KEYPAIRS = 3,
	CLIENT_KEYPAIR_NONE = 0xff,
	CLIENT_HEADER_SIZE = 68, // Ethernet, IPv6, UDP and ChannelData are 66 bytes
	CLIENT_ICMP_PER_SECOND = 1000,
	CLIENT_ICMP_BURST = 100,
};

struct keypair {
	uint8_t recv_key[DP_KEY_SIZE];
	uint8_t send_key[DP_KEY_SIZE];
	uint64_t send_counter __rte_aligned(64); // of the next packet
	uint64_t created_tsc;
	uint64_t expires_tsc; // REJECT_AFTER_TIME
	uint32_t local_index, remote_index; // host order
	bool is_initiator;
	bool is_rekey_asked; // DP_EVENT_HANDSHAKE_DUE for its age was sent
	uint8_t reserved[22];
	struct noise_replay replay; // its greatest counter ends the second line
} __rte_cache_aligned;
static_assert(offsetof(struct keypair, send_counter) == 64, "keys fill the first line");
static_assert(offsetof(struct keypair, replay.words) == 128, "the window starts a line");

/** The way to the client: everything outside the WireGuard message, ready to be copied. */
struct client_path {
	uint8_t header
		[CLIENT_HEADER_SIZE]; // Ethernet, IP, UDP, ChannelData; lengths, ECN and checksums zero
	uint8_t size; // bytes of header in use; 0: no path
	uint8_t l3_size; // 20 or 40
	bool is_resolved; // the MAC addresses are good for fib_generation
	bool is_move_told; // DP_EVENT_CLIENT_MOVED was sent since the path was set
	bool has_tx_udp_cksum; // egress port writes UDP checksums
	bool is_relayed; // the header ends with a ChannelData header
	uint16_t port_id; // egress
	uint16_t ip_sum; // IPv4: unfolded header sum without length and ECN; IPv6: pseudo header
	uint32_t fib_generation;
	struct ip_addr remote;
} __rte_cache_aligned;

struct client {
	// First line: what each packet in either direction reads.
	bool is_alive;
	bool is_keepalive_again; // data came while a keepalive was pending
	uint8_t role[CLIENT_ROLE_COUNT]; // number in keypairs, or CLIENT_KEYPAIR_NONE
	uint8_t v4[4]; // tunnel address; zero: none
	bool follows_source; // static peer: see session_source_check()
	uint8_t confirm_retry; // KEYPAIR_CONFIRMED found the event ring full
	uint32_t
		local_index[CLIENT_KEYPAIRS]; // copy of the keypairs'; counts only if it has a role
	uint64_t keepalive_tsc; // answer received data with an empty packet; 0: off
	uint64_t unanswered_tsc; // ask for a handshake unless something comes; 0: off
	uint64_t timer_tsc; // when the wheel looks at us
	uint32_t timer_tick; // the same as its tick; 0: not in the wheel
	uint32_t timer_next, timer_prev; // slots, TIMER_END ends the list
	// Second line.
	uint8_t v6[16] __rte_aligned(64); // tunnel address; zero: none
	struct dp_client_stats stats; // worker: rw, anyone: ro
	// Third line and on.
	struct client_path path;
	uint64_t icmp_tat; // token bucket as a theoretical arrival time (GCRA)
	struct keypair keypairs[CLIENT_KEYPAIRS];
} __rte_cache_aligned;
static_assert(offsetof(struct client, v6) == 64, "the hot fields fill one line");
static_assert(offsetof(struct client, path) == 128, "addresses and counters fill one line");

/** Brings a zeroed or former client to life. */
void client_init(struct client *c, const struct ip_addr *v4, const struct ip_addr *v6);
/** Wipes everything but the counters; the wheel must not hold it any more. */
void client_fini(struct client *c);

/** @return the keypair in @p role, or NULL. */
static inline struct keypair *client_keypair(struct client *c, enum client_role role)
{
	uint8_t n = c->role[role];

	return n == CLIENT_KEYPAIR_NONE ? NULL : &c->keypairs[n];
}

/** @return the keypair of a receiver index, or NULL. Reads the client's first line only. */
static inline struct keypair *client_keypair_find(struct client *c, uint32_t local_index)
{
	for (unsigned role = 0; role < CLIENT_ROLE_COUNT; role++) {
		uint8_t n = c->role[role];

		if (n != CLIENT_KEYPAIR_NONE && c->local_index[n] == local_index)
			return &c->keypairs[n];
	}
	return NULL;
}

/** Fetches what opening a packet with @p counter on @p k reads and writes, before it is needed. */
static inline void
client_prefetch_open(const struct client *c, const struct keypair *k, uint64_t counter)
{
	rte_prefetch0(k->recv_key);
	rte_prefetch0(&k->send_counter);
	rte_prefetch0(&k->replay.words[counter / 64 % NOISE_REPLAY_WORDS]);
	rte_prefetch0(c->v6);
}

/** The same for sealing a packet and sending it on its way. */
static inline void client_prefetch_seal(const struct client *c)
{
	uint8_t n = c->role[CLIENT_ROLE_CURRENT];

	rte_prefetch0(c->v6);
	rte_prefetch0(c->path.header);
	rte_prefetch0(&c->path.size);
	if (n == CLIENT_KEYPAIR_NONE)
		return;
	rte_prefetch0(c->keypairs[n].send_key);
	rte_prefetch0(&c->keypairs[n].send_counter);
}

/** Takes over a keypair from the control core, see the essay. @p lifetime_tsc is REJECT_AFTER_TIME. */
void client_keypair_add(struct client *c, const struct dp_cmd *cmd, uint64_t lifetime_tsc);
/**
 * Key confirmation: call for each authenticated packet. @return whether @p k was next and became
 * current.
 */
bool client_keypair_confirm(struct client *c, const struct keypair *k);
/** Wipes the keypair in @p role; none is fine. */
void client_keypair_wipe(struct client *c, enum client_role role);
void client_keypairs_clear(struct client *c);

/** One token of the client's ICMP answers, of which one comes every @p interval_tsc. @return false: over the rate */
bool client_icmp_take(struct client *c, uint64_t now, uint64_t interval_tsc);

/**
 * Sets the way out; @p remote without family: none. Adjacency is resolved at the next packet.
 * @param channel of the relay @p remote; 0: @p remote is the client itself
 */
void client_path_set(
	struct client *c,
	const struct ip_endpoint *local,
	const struct ip_endpoint *remote,
	uint16_t channel);

/** @return whether @p addr (4 or 16 wire bytes) is the client's tunnel address of @p family. */
static inline bool client_owns(const struct client *c, uint8_t family, const uint8_t *addr)
{
	static const uint8_t none[16];

	if (family == IP_FAMILY_V4)
		return memcmp(c->v4, addr, 4) == 0 && memcmp(c->v4, none, 4) != 0;
	return memcmp(c->v6, addr, 16) == 0 && memcmp(c->v6, none, 16) != 0;
}
