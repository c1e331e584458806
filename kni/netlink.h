// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include "control/base/addr.h"

#include <stdint.h>

/**
 * Requests to the kernel by rtnetlink: links, addresses, routes, neighbours of the namespace the
 * process runs in. Each call sends one request and waits for the kernel's answer, which the kernel
 * computes before sendmsg() returns: no call sleeps.
 *
 * Each change is idempotent: what is there already is no error. Each failure returns -errno after one
 * log line that names the operation.
 *
 * Thread-safety: one thread per struct kni_nl. Ownership: create/destroy.
 */

struct kni_nl;
struct nlmsghdr;

/** @return a request socket, or NULL with errno after one log line. */
struct kni_nl *kni_nl_create(void);
/** NULL is allowed. */
void kni_nl_destroy(struct kni_nl *nl);

/**
 * Dumps what RTM_GETLINK, RTM_GETADDR, RTM_GETROUTE or RTM_GETNEIGH gives, both families, calling @p fn for
 * each message; @p what names it for the log.
 * @return 0, -EINTR (not logged: it changed meanwhile, what came may be inconsistent: do it again), -errno
 */
[[nodiscard]] int kni_nl_dump(
	struct kni_nl *nl,
	uint16_t type,
	const char *what,
	void (*fn)(void *arg, const struct nlmsghdr *nlh),
	void *arg);

/** @return the interface index of @p name (> 0), -ENODEV */
[[nodiscard]] int kni_link_index(const char *name);
/** @return 0, -errno */
[[nodiscard]] int kni_link_mac_set(struct kni_nl *nl, int ifindex, const uint8_t mac[6]);
/** @param mtu bytes. @return 0, -errno */
[[nodiscard]] int kni_link_mtu_set(struct kni_nl *nl, int ifindex, uint32_t mtu);
/** @param len packets. @return 0, -errno */
[[nodiscard]] int kni_link_txqlen_set(struct kni_nl *nl, int ifindex, uint32_t len);
/** The kernel makes no IPv6 link-local address for this device (address generation mode "none"). @return 0, -errno */
[[nodiscard]] int kni_link_addrgen_none(struct kni_nl *nl, int ifindex);
/** @return 0, -errno */
[[nodiscard]] int kni_link_up(struct kni_nl *nl, int ifindex);
/** @return 0, -errno */
[[nodiscard]] int kni_link_down(struct kni_nl *nl, int ifindex);

/**
 * Adds @p addr with @p prefix_len (32 and 128 on the TUN; the configured length on a TAP, which also
 * makes the on-link route). IPv6 addresses are usable at once (no duplicate address detection), though
 * the kernel joins the multicast group on which it is solicited a few milliseconds later.
 * @return 0, -errno
 */
[[nodiscard]] int
kni_addr_add(struct kni_nl *nl, int ifindex, const struct ip_addr *addr, uint8_t prefix_len);
/**
 * Adds @p addr alone, without a network, as one that the host answers for (ARP, NDP) but does not
 * take as source by itself: it is born deprecated (RFC 4862 5.5.4). @return 0, -errno
 */
[[nodiscard]] int kni_addr_add_passive(struct kni_nl *nl, int ifindex, const struct ip_addr *addr);
/** @return 0 (also if it was not there), -errno */
[[nodiscard]] int
kni_addr_del(struct kni_nl *nl, int ifindex, const struct ip_addr *addr, uint8_t prefix_len);
/** Removes every address of the device but IPv6 link-local ones. @return 0, the first -errno */
[[nodiscard]] int kni_addr_flush(struct kni_nl *nl, int ifindex);

/** A route in table main. */
struct kni_route {
	struct ip_prefix prefix;
	int ifindex;
	struct ip_addr gateway; // no family: on link
	struct ip_addr source; // preferred source; no family: the kernel's choice
	uint32_t metric; // 0: the kernel's default (0 for IPv4, 1024 for IPv6)
};

/** Adds or replaces. The device must be up. @return 0, -ENETUNREACH (gateway not on link), -errno */
[[nodiscard]] int kni_route_add(struct kni_nl *nl, const struct kni_route *route);
/** @return 0 (also if it was not there), -errno */
[[nodiscard]] int kni_route_del(struct kni_nl *nl, const struct kni_route *route);

/**
 * Asks the kernel to use the neighbour as if it had a packet for it (NTF_USE): it creates and resolves
 * an unknown or failed one, re-probes a stale one, and does nothing to a reachable one. The outcome
 * comes through kni/mirror.h. @return 0, -errno
 */
[[nodiscard]] int kni_neigh_use(struct kni_nl *nl, int ifindex, const struct ip_addr *addr);
