// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include "control/base/addr.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/**
 * ICE candidates (RFC 8445, one component, UDP): the value, its priority, and the text form that
 * peers exchange through the portal:
 *   candidate:<foundation> 1 udp <priority> <ip> <port> typ <kind>[ raddr <ip> rport <port>][ ufrag <ufrag>]
 *
 * Reading is tolerant (white space, unknown extensions), writing is exactly what the strictest
 * peer accepts, with the related address spoofed so that it reveals nothing.
 *
 * Thread-safety: pure functions.
 */

enum ice_kind {
	ICE_KIND_HOST = 0,
	ICE_KIND_PRFLX,
	ICE_KIND_SRFLX,
	ICE_KIND_RELAY,
	ICE_KIND_COUNT,
};

#define ICE_FOUNDATION_SIZE 33 // 32 characters and a NUL
#define ICE_CANDIDATE_TEXT_SIZE 320 // longest text we write and a NUL
#define ICE_UFRAG_LEN_MAX 64
#define ICE_PWD_LEN_MAX 256

struct ice_candidate {
	enum ice_kind kind;
	struct ip_endpoint addr; // what the peer sends to
	struct ip_endpoint base; // local: where we send from; host, relay and all remotes: addr
	struct ip_endpoint related; // as read; family NONE when absent; never written
	uint32_t priority;
	char foundation[ICE_FOUNDATION_SIZE];
};

/** Local preference: @p nth counts earlier local candidates of the same kind and family. */
uint16_t
ice_local_preference(enum ice_kind kind, enum ip_family family, unsigned nth, bool is_cross_family);
/** Candidate priority of component 1. */
uint32_t ice_priority(enum ice_kind kind, uint16_t local_preference);
/** PRIORITY attribute of checks sent from a candidate: its priority with the type of a prflx. */
uint32_t ice_priority_prflx(uint32_t priority);
/** Pair priority (RFC 8445 6.1.2.3). */
uint64_t ice_pair_priority(uint32_t controlling, uint32_t controlled);

/**
 * Completes a local candidate: kind, addr and (srflx only) base are given; sets base, priority
 * and foundation.
 * @param nth, is_cross_family as for ice_local_preference()
 */
void ice_candidate_complete(struct ice_candidate *c, unsigned nth, bool is_cross_family);

/** @return whether an address may be a candidate: not unspecified, multicast, broadcast or IPv4 link-local; port not 0 */
bool ice_candidate_is_usable(const struct ip_endpoint *ep);

/**
 * Parses the text of a remote candidate.
 * @param ufrag the sender's ufrag; a candidate naming another one is refused. NULL: any.
 * @return 0; -EINVAL not the grammar; -EPROTONOSUPPORT not UDP; -EOPNOTSUPP component not 1;
 * -EKEYREJECTED other ufrag; -EADDRNOTAVAIL unusable address
 */
[[nodiscard]] int
ice_candidate_parse(struct ice_candidate *out, const char *text, const char *ufrag);

/**
 * Writes the text and a NUL; the same candidate always gives the same bytes (needed to withdraw
 * it). @param ufrag our own, at most ICE_UFRAG_LEN_MAX characters. @return length, -EINVAL
 */
[[nodiscard]] int ice_candidate_format(
	const struct ice_candidate *c,
	const char *ufrag,
	char buf[ICE_CANDIDATE_TEXT_SIZE]);

/** "host", "prflx", "srflx" or "relay". */
const char *ice_kind_name(enum ice_kind kind);
