// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include "dataplane/stage/burst.h"
#include "dataplane/worker/worker.h"

#include <stdbool.h>
#include <stdint.h>

/**
 * The packet stages, in the order in which a packet meets them. Each is one file.
 *
 *   up     demux -> decrypt -> inner -> classify -> nat_out (check) -> forward (route)
 *          -> nat_out (rewrite) -> forward (Ethernet, tx)
 *   down   demux -> nat_in -> encrypt -> tx
 *   aside  punt, icmp_error, hold
 *
 * nat_out is in two halves around the route lookup: what can be refused is refused, and what must
 * wait for a next hop waits, while the packet is still the client's own. So a held packet is
 * judged again when it is released, and an ICMP answer quotes what the client sent.
 *
 * Every packet that a stage does not keep has been dropped with a name, punted, answered, held or
 * sent. Stages with a burst read and write only it, the worker and the clients and flows in it.
 *
 * Thread-safety: all of it belongs to the worker's thread.
 */

/** Sorts received frames into w->up (WireGuard data: mbuf data is the message) and w->down (IP). */
void stage_demux(struct worker *w, uint16_t port_id, struct rte_mbuf **pkts, uint16_t n);

/** Authenticates; keeps packets whose data is then the inner plaintext. */
void stage_decrypt(struct worker *w, struct burst *b);
/** Gate and ordered checks of spec/datapath.md 1.1 and 1.2 #1-#7. */
void stage_inner(struct worker *w, struct burst *b);
/** Flow and policy: keeps packets with a flow whose authorization holds. */
void stage_classify(struct worker *w, struct burst *b);
/** TTL and checksums: what the kernel of the official gateway would not forward. */
void stage_nat_out_check(struct worker *w, struct burst *b);
/** The same for the packet at @p i. @return whether to keep it */
bool nat_out_check(struct worker *w, struct burst *b, uint16_t i);
/** Keeps packets whose flow has a current adjacency; holds, answers or drops the others. */
void stage_route(struct worker *w, struct burst *b);
/** Rewrites source, ports, TTL and ECN. */
void stage_nat_out(struct worker *w, struct burst *b);
/** Ethernet header from the flow's adjacency, then tx; keeps none. */
void stage_forward(struct worker *w, struct burst *b);
/** Everything from classify on: for received packets and for those that were held. */
void stage_up_tail(struct worker *w, struct burst *b);

/** From the LAN: flow lookup, authorization, un-NAT, then encrypt; keeps none. */
void stage_nat_in(struct worker *w, struct burst *b);

/** Queues an inner packet for its client; takes @p m. */
void seal_push(struct worker *w, struct client *c, struct rte_mbuf *m);
/** Encrypts and sends what was queued. Must run before keypairs or paths change. */
void stage_encrypt(struct worker *w);

/**
 * The adjacency of @p dst, asking control about a next hop that failed. Port ids that are none of
 * ours count as no route.
 */
enum fib_verdict forward_lookup(struct worker *w, const struct ip_addr *dst, struct fib_adj *adj);
/** Routes and sends an outer IP packet of ours (mbuf data: IP header); takes @p m. */
void forward_outer(struct worker *w, struct rte_mbuf *m);

/** Gives a packet to control; takes @p m. Full ring: drop punt_full. */
void punt_send(struct worker *w, enum dp_punt class_, struct rte_mbuf *m);

/** The same for an inner packet of @p c; classes DP_PUNT_TUN and DP_PUNT_P2P. */
void punt_client(struct worker *w, enum dp_punt class_, struct client *c, struct rte_mbuf *m);

enum icmp_answer {
	ICMP_ANSWER_PROHIBITED, // v4 3/13, v6 1/1
	ICMP_ANSWER_NETWORK, // v4 3/0, v6 1/3
	ICMP_ANSWER_HOST, // v4 3/1, v6 1/3
	ICMP_ANSWER_TTL, // v4 11/0, v6 3/0; from the gateway's tunnel address
	ICMP_ANSWER_TOO_BIG, // v4 3/4, v6 2/0 with MTU 1280; from the address that was sent to
};

/**
 * Ends a packet of a client with @p reason and answers it with an ICMP error through the client's
 * own connection, if its rate allows (else the drop is counted as icmp_limited as well).
 */
void icmp_error_to_client(
	struct worker *w,
	struct client *c,
	struct rte_mbuf *m,
	enum icmp_answer answer,
	enum drop_reason reason);
/** The same for a packet from the LAN about @p c, answered to its sender. */
void icmp_error_to_lan(
	struct worker *w,
	struct client *c,
	struct rte_mbuf *m,
	enum icmp_answer answer,
	enum drop_reason reason);
/**
 * Turns the IP packet in @p m into the ICMP error about it (layout: spec/datapath.md 1.5).
 * @param source of the error, 4 or 16 bytes; NULL: the packet's destination
 * @return false if there was no room
 */
bool icmp_error_make(struct rte_mbuf *m, enum icmp_answer answer, const uint8_t *source);

/**
 * Holds a packet until @p entry->dst resolves, asking control. Takes entry->m; full: a drop.
 * The caller sets m, dst, next_hop, port_id and, for inner packets, is_inner, slot, outer_ecn.
 */
void hold_push(struct worker *w, const struct hold_entry *entry);
/** Retries everything if the FIB changed and ends what waited too long. */
void hold_run(struct worker *w);
/** Frees what a client holds. */
void hold_client_clear(struct worker *w, uint32_t slot);
/** Frees everything. */
void hold_clear(struct worker *w);

/** Addresses to judge in one acl_classify_burst(). */
struct judge {
	unsigned n;
	const struct acl_policy *policy[DP_BURST_MAX];
	struct acl_key key[DP_BURST_MAX];
	uint16_t verdict[DP_BURST_MAX]; // ordinal, or enum acl_verdict; expired ones are prohibited
};

/** Judges all keys at @p now. */
void judge_run(struct judge *j, uint64_t now);
/** @return whether @p f may be used under a policy of @p generation without asking it again. */
static inline bool judge_is_fresh(const struct flow *f, uint32_t generation, uint64_t now)
{
	return generation != 0 && f->policy_generation == generation && now < f->expires_tsc;
}
/** Notes in the flow that @p policy allows it through resource @p ordinal. */
void judge_note(struct flow *f, const struct acl_policy *policy, uint16_t ordinal);
