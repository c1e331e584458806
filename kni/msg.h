// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include "control/base/addr.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct nlmsghdr;

/**
 * rtnetlink messages as plain structs: the parser between the socket (kni/mirror.h) and the tables
 * (kni/state.h). It opens nothing and allocates nothing.
 *
 * What cannot matter to the FIB is KNI_MSG_OTHER: other families, other tables than main and local, route
 * cache clones, routes with TOS or a source prefix, proxy neighbours.
 *
 * Thread-safety: pure functions.
 */

enum {
	KNI_HOPS_MAX = 8, // of a multipath route; further ones are ignored
};

enum kni_msg_type {
	KNI_MSG_OTHER,
	KNI_MSG_LINK,
	KNI_MSG_ADDR,
	KNI_MSG_ROUTE,
	KNI_MSG_NEIGH,
};

struct kni_msg_link {
	int ifindex;
	bool is_up; // administratively
};

struct kni_msg_addr {
	int ifindex;
	struct ip_addr addr;
	uint8_t prefix_len;
	bool is_usable; // neither tentative nor found to be a duplicate
	bool is_secondary; // or deprecated: the last choice as source
};

enum kni_route_kind {
	KNI_ROUTE_UNICAST,
	KNI_ROUTE_LOCAL, // delivered to this host, anycast included
	KNI_ROUTE_UNREACHABLE, // broadcast, multicast, blackhole, prohibit, throw, unreachable
};

struct kni_hop {
	int ifindex;
	struct ip_addr gateway; // no family: on link
	bool is_dead;
};

struct kni_msg_route {
	struct ip_prefix prefix;
	bool is_main; // table main; else table local
	enum kni_route_kind kind;
	uint32_t metric;
	struct ip_addr source; // preferred source; no family: none
	bool is_multipath;
	bool is_replace; // takes the place of a route with the same prefix and metric
	bool is_append; // comes after those with the same prefix and metric
	uint8_t n_hops;
	struct kni_hop hops[KNI_HOPS_MAX];
};

enum kni_neigh_state {
	KNI_NEIGH_UNRESOLVED,
	KNI_NEIGH_RESOLVED,
	KNI_NEIGH_STALE, // resolved, but not confirmed lately
	KNI_NEIGH_FAILED,
};

struct kni_msg_neigh {
	int ifindex;
	struct ip_addr addr;
	enum kni_neigh_state state;
	uint8_t mac[6]; // if resolved or stale
};

struct kni_msg {
	enum kni_msg_type type;
	bool is_del;
	union {
		struct kni_msg_link link;
		struct kni_msg_addr addr;
		struct kni_msg_route route;
		struct kni_msg_neigh neigh;
	};
};

/**
 * Parses one message; @p nlh->nlmsg_len bytes are readable.
 * @return 0 (KNI_MSG_OTHER if it is of no interest), -EBADMSG (too short, an attribute cut off or of
 * the wrong size, a prefix with host bits)
 */
[[nodiscard]] int kni_msg_parse(struct kni_msg *out, const struct nlmsghdr *nlh);

/**
 * Walks the messages of a datagram, which is aligned to 4 bytes.
 * @return the message at @p *pos, after moving *pos behind it; NULL at the end or when what is left is
 * no whole message (*pos is then less than @p size).
 */
const struct nlmsghdr *kni_msg_next(const void *datagram, size_t size, size_t *pos);
