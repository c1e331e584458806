// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include "control/base/addr.h"
#include "kni/fib.h"
#include "kni/msg.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/**
 * The tables behind kni/mirror.h, fed with parsed netlink messages: no sockets, no clock. What is mirrored
 * and how a route gets its source is described there.
 *
 * The kernel does not tell everything: when a link goes down or an address goes away it drops routes
 * silently, and a change to one hop of an IPv6 multipath route does not say which entry it was. In such
 * cases the answer is KNI_STATE_RESYNC: make a new state from a full dump.
 *
 * Thread-safety: one thread. Ownership: create/destroy.
 */

enum kni_state_effect {
	KNI_STATE_SAME, // a FIB built now equals one built before
	KNI_STATE_CHANGED,
	KNI_STATE_RESYNC, // these tables may be wrong: dump
};

struct kni_state;

/** @return an empty state with the ports of @p from (NULL: none), or NULL with errno. */
struct kni_state *kni_state_create(const struct kni_state *from);
/** NULL is allowed. */
void kni_state_destroy(struct kni_state *s);

/** Interface @p ifindex is the kernel's side of @p port_id; a port has one. @return 0, -ENOMEM */
[[nodiscard]] int kni_state_port_add(struct kni_state *s, int ifindex, uint16_t port_id);
/** @return the interface of @p port_id, 0 if there is none. */
int kni_state_port_ifindex(const struct kni_state *s, uint16_t port_id);

/**
 * Takes one message. @p is_dump: it is part of a dump, which comes in the kernel's order of preference
 * and whose failed neighbours may have failed long ago (they count as unresolved).
 * @return enum kni_state_effect, -ENOMEM (the tables then lack it)
 */
[[nodiscard]] int
kni_state_apply(struct kni_state *s, const struct kni_msg *msg, bool is_dump, uint64_t now_ms);

/** Forgets failures of @p age_ms and older. @return whether there was one on a port. */
bool kni_state_failures_expire(struct kni_state *s, uint64_t now_ms, uint64_t age_ms);

/** @return a snapshot, or NULL with errno. */
struct fib *kni_state_build(const struct kni_state *s, uint32_t generation);

/** Number of routes, unusable ones included. */
size_t kni_state_n_routes(const struct kni_state *s);

/** Where a round through the neighbours stands. Zeroed: at the beginning. */
struct kni_neigh_cursor {
	int ifindex;
	struct ip_addr addr;
};

/**
 * Calls @p fn for each stale neighbour of the ports, beginning behind @p cursor and once around, until it
 * returns false; the cursor then stands on that one.
 */
void kni_state_stale_each(
	const struct kni_state *s,
	struct kni_neigh_cursor *cursor,
	bool (*fn)(void *arg, int ifindex, uint16_t port_id, const struct ip_addr *addr),
	void *arg);
