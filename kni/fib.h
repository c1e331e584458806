// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include "control/base/addr.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/**
 * The forwarding information base: an immutable snapshot of the kernel's addresses, routes and
 * neighbours on our ports, built by the control core from netlink (kni/mirror.h) and read by the
 * workers. A change builds a new snapshot and publishes it; the old one is freed after an RCU
 * grace period.
 *
 * Thread-safety: the builder belongs to one thread. A built snapshot may be read by any number of
 * workers; fib_lookup() neither writes nor allocates.
 *
 * Cost: README.md.
 */

enum {
	FIB_PORT_NONE = 0xffff,
};

/** What to do with a packet to an address. */
enum fib_verdict {
	FIB_FORWARD, // adjacency complete: send
	FIB_RESOLVE, // port and next hop known, link address not: ask the kernel, hold the packet
	FIB_FAILED, // the kernel tried to resolve the next hop and failed
	FIB_LOCAL, // one of the host's own addresses
	FIB_NO_ROUTE, // no route, an unreachable route, or a route to an interface that is no port
};

/** Where a packet leaves. */
struct fib_adj {
	uint16_t port_id; // DPDK port
	uint8_t dst_mac[6]; // valid for FIB_FORWARD
	// The gateway, or the destination itself when on link. Its family may differ from the
	// destination's: the Ethernet type follows the packet.
	struct ip_addr next_hop;
	struct ip_addr source; // ours, to use as source (SNAT); no family if the port has none
};

struct fib;
struct fib_builder;

/** @return an empty builder, or NULL with errno. */
struct fib_builder *fib_builder_create(void);
/** NULL is allowed. */
void fib_builder_destroy(struct fib_builder *b);

/**
 * One of the host's own addresses, in the order of preference as source; @p port_id may be
 * FIB_PORT_NONE (loopback, TUN). @return 0, -ENOMEM, -EINVAL (no family)
 */
[[nodiscard]] int
fib_builder_add_local(struct fib_builder *b, const struct ip_addr *addr, uint16_t port_id);
/**
 * One route. @p gateway NULL: on link; it may be of the other family. @p source NULL: the port's first
 * global address of the prefix' family. @p port_id FIB_PORT_NONE: unreachable, or not through a port.
 * Lower @p metric wins for equal prefixes, then the one added first.
 * @return 0, -ENOMEM, -EINVAL (prefix too long or with host bits, source of another family)
 */
[[nodiscard]] int fib_builder_add_route(
	struct fib_builder *b,
	const struct ip_prefix *prefix,
	uint16_t port_id,
	const struct ip_addr *gateway,
	const struct ip_addr *source,
	uint32_t metric);
/** A neighbour of a port; @p mac NULL: resolution failed. The last one added counts. @return 0, -ENOMEM */
[[nodiscard]] int fib_builder_add_neigh(
	struct fib_builder *b,
	uint16_t port_id,
	const struct ip_addr *addr,
	const uint8_t mac[6]);
/** @return the snapshot (the builder may be reused or destroyed), or NULL with errno. */
struct fib *fib_builder_build(const struct fib_builder *b, uint32_t generation);

/** NULL is allowed. */
void fib_destroy(struct fib *fib);

/** Changes with every snapshot; cached adjacencies are valid while it is the same. */
uint32_t fib_generation(const struct fib *fib);

/**
 * Longest prefix match and neighbour lookup. Worker safe. @p out is set except for FIB_NO_ROUTE; for
 * FIB_LOCAL it holds the address' own port (maybe FIB_PORT_NONE) and the address as source.
 * The unspecified, loopback, multicast and limited broadcast addresses are FIB_NO_ROUTE whatever the
 * routes say, and so are IPv6 link-local ones that are not our own, because no port is given (a
 * link-local gateway is fine: its route names the port). Directed broadcast addresses are FIB_NO_ROUTE
 * as the builder's user says so (kni/mirror.h adds the kernel's broadcast routes as unreachable).
 */
enum fib_verdict fib_lookup(const struct fib *fib, const struct ip_addr *dst, struct fib_adj *out);

/** @return whether @p addr is one of the host's own. Worker safe. */
bool fib_is_local(const struct fib *fib, const struct ip_addr *addr);

/**
 * The first address of @p family (enum ip_family) on a port; never an IPv6 link-local one, an IPv4
 * link-local one only if there is no other. @return false if it has none. Worker safe.
 */
bool fib_port_addr(const struct fib *fib, uint16_t port_id, uint8_t family, struct ip_addr *out);
