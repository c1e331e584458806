// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include "dataplane/flow/flow.h"
#include "dataplane/flow/rss.h"

#include <stdatomic.h>
#include <stdint.h>

/**
 * What the flow tables of several workers must agree on: whose a packet from the LAN is. Workers
 * share no flow; they share this rule.
 *
 *	TCP, UDP, echo   the RSS of (remote, lan, dport, nat_port): a worker only takes NAT ports that
 *	                 hash to itself, so replies arrive at it, and any other worker knows whose they are
 *	other protocols  no port to choose: the first worker to use a pair of addresses claims it in
 *	                 a table of atomic words, which only such packets read
 *
 * Other types of ICMP never come back and belong to nobody.
 *
 * Thread-safety: any worker. Ownership: the data plane's; outlives the tables.
 */

enum {
	FLOW_CLAIM_WAYS = 8, // a cache line
	FLOW_CLAIM_BUCKETS = 1 << 11, // full with 8 of some 16,000 pairs: the ninth is refused
	FLOW_SHARE_NOBODY = 0xff,
};

struct flow_share {
	const struct rss *rss;
	uint64_t secrets[4]; // random
	// tag << 8 | worker + 1; 0: free
	_Atomic uint64_t claims[FLOW_CLAIM_BUCKETS][FLOW_CLAIM_WAYS] __rte_cache_aligned;
};

/** @return zeroed but for its arguments, or NULL; free with rte_free(). */
struct flow_share *flow_share_create(const struct rss *rss, const uint64_t secrets[4]);

/** @return the worker in whose table @p key is if anywhere, or FLOW_SHARE_NOBODY. */
unsigned flow_share_owner(struct flow_share *share, const struct flow_outside *key);

/** @return whether @p worker holds the pair of addresses now; false: another one does. */
bool flow_share_claim(struct flow_share *share, const struct flow_outside *key, unsigned worker);
/** Gives up what flow_share_claim() took. */
void flow_share_release(struct flow_share *share, const struct flow_outside *key, unsigned worker);
/** @return whether flows of this key need a claim */
bool flow_share_is_claimed(const struct flow_outside *key);
