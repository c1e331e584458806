// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include "control/base/addr.h"
#include "kni/fib.h"
#include "kni/netlink.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/**
 * A copy of the kernel's links, addresses, routes and neighbours, kept by a netlink subscription, and
 * the maker of FIB snapshots from it. The operator configures the TAPs with the tools they know.
 *
 * What is mirrored: tables main and local of the process' namespace; other tables, rules and VRFs are
 * ignored. One next hop per route: of a multipath route the first live one on a port. Dead routes
 * are skipped. Among routes to the same prefix table local wins, then the lower metric.
 * Neighbours: REACHABLE, STALE, DELAY, PROBE, PERMANENT and NOARP are resolved, FAILED is failed,
 * anything else unresolved. A failure is remembered for MIRROR_FAILED_MS only; after that the address
 * is unresolved again, the data plane asks anew, and the kernel tries anew.
 * Source of a route: its preferred source; else the port's address whose subnet holds the next hop;
 * else the port's first global address. Tentative and duplicate IPv6 addresses do not exist here;
 * deprecated and secondary ones come last.
 *
 * Use, all on the control core:
 *
 *   create -> port_add per TAP -> [poll mirror_fd] -> handle -> changed? -> build -> dp_fib_publish
 *
 * Coalescing: handle() drains the socket, so a burst that is queued costs one build. Beyond that the
 * caller builds at once when the last build is at least mirror_pause_ms() ago, and otherwise sets a
 * timer for the remainder and lets further changes pile up. That is 10 ms in a lab; with a million routes
 * about a second, so that BGP convergence does not keep the control core busy with building.
 *
 * A full dump (create, after a lost notification, after a link went up or down or an address
 * went away, because the kernel then drops routes without telling) runs inside handle(): well below a
 * millisecond for a lab, about 2 s for a million routes.
 *
 * Thread-safety: one thread. Time: now_ms is any monotonic clock in milliseconds.
 */

enum {
	MIRROR_FAILED_MS = 3000,
	MIRROR_REFRESH_MS = 30000, // suggested period of kni_neigh_refresh()
};

struct mirror;

/** Subscribes and dumps. @return the mirror, or NULL with errno after one log line. */
struct mirror *mirror_create(uint64_t now_ms);
/** NULL is allowed. */
void mirror_destroy(struct mirror *m);

/**
 * Says that interface @p ifindex is the kernel's side of DPDK port @p port_id; the next build knows it.
 * @return 0, -ENOMEM
 */
[[nodiscard]] int mirror_port_add(struct mirror *m, int ifindex, uint16_t port_id);

/** Readable when mirror_handle() should be called. */
int mirror_fd(const struct mirror *m);
/**
 * Reads all notifications, dumps again if some were lost. Never blocks for input.
 * @return 1 if a snapshot built now may differ from the last one, 0 if not, -errno after one log line
 * (the tables are as before and the next call dumps again).
 */
[[nodiscard]] int mirror_handle(struct mirror *m, uint64_t now_ms);
/**
 * Forgets neighbour failures older than MIRROR_FAILED_MS and dumps again if that is still to be done.
 * Call it about once a second. @return as mirror_handle()
 */
[[nodiscard]] int mirror_tick(struct mirror *m, uint64_t now_ms);
/** @return a snapshot of the tables as they are; the caller's. NULL with errno. */
struct fib *mirror_build(struct mirror *m, uint32_t generation);
/** Milliseconds to leave between two builds. */
uint32_t mirror_pause_ms(const struct mirror *m);

/** Asks the kernel to resolve @p addr on @p port_id (DP_EVENT_RESOLVE). @return 0, -ENODEV, -errno */
[[nodiscard]] int mirror_neigh_request(
	struct mirror *m,
	struct kni_nl *nl,
	uint16_t port_id,
	const struct ip_addr *addr);

/**
 * Keeps neighbours alive although the kernel sees no traffic of ours: asks it to re-probe those of our
 * ports that went STALE (NTF_USE), at most @p max a call, going round. A neighbour that does not answer
 * turns FAILED, which comes back through mirror_handle(). Call it each MIRROR_REFRESH_MS.
 * @param in_use tells whether the data plane uses this next hop; NULL: any may be in use
 * @return how many were asked for, -errno
 */
[[nodiscard]] int kni_neigh_refresh(
	struct mirror *m,
	struct kni_nl *nl,
	bool (*in_use)(void *arg, uint16_t port_id, const struct ip_addr *addr),
	void *arg,
	size_t max);
