// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include "control/base/addr.h"

#include <stdbool.h>
#include <stdint.h>

/**
 * The kernel's addresses, routes and rules, over rtnetlink. Requests are synchronous: the kernel
 * answers them before sendto() returns, so nothing here waits.
 *
 * Thread-safety: one thread per object. Ownership: create/destroy.
 */

struct netlink;

/** Opens the request socket. @return the object, NULL with errno */
struct netlink *netlink_create(void);
void netlink_destroy(struct netlink *nl);

/** Sets the MTU and brings the interface up, without an IPv6 link-local address. @return 0, -errno */
[[nodiscard]] int netlink_link_up(struct netlink *nl, unsigned ifindex, uint32_t mtu);

/** Adds or removes an interface address (no duplicate address detection). @return 0, -errno */
[[nodiscard]] int
netlink_addr_set(struct netlink *nl, unsigned ifindex, const struct ip_prefix *p, bool is_add);

/** Adds or removes a device route in routing table @p table. Already so: 0. @return 0, -errno */
[[nodiscard]] int netlink_route_set(
	struct netlink *nl,
	unsigned ifindex,
	uint32_t table,
	const struct ip_prefix *p,
	bool is_add);

/** A policy rule; 0 fields are absent. */
struct netlink_rule {
	uint8_t family; // enum ip_family
	uint32_t priority;
	uint32_t unless_mark; // applies to packets that do not carry this mark
	uint32_t table;
	bool is_default_ignored; // ignore what the table's default routes say
	struct ip_endpoint
		tcp_to; // applies to TCP to this endpoint only; family none: to everything
};

/** Adds a rule. Already there: 0. @return 0, -errno */
[[nodiscard]] int netlink_rule_add(struct netlink *nl, const struct netlink_rule *rule);
/** Removes all rules of a priority, whoever made them. @return 0, -errno */
[[nodiscard]] int netlink_rules_flush(struct netlink *nl, enum ip_family family, uint32_t priority);

/** Gets each address that peers could reach this host at, see netlink_addrs_list(). */
typedef void (*netlink_addr_fn)(void *ctx, const struct ip_addr *addr);

/**
 * Lists the interface addresses of both families, without loopback, link-local, multicast,
 * tentative, deprecated and temporary ones and without those of interface @p skip_ifindex.
 * @return 0, -errno
 */
[[nodiscard]] int
netlink_addrs_list(struct netlink *nl, unsigned skip_ifindex, netlink_addr_fn fn, void *ctx);

/** Opens a socket that becomes readable when addresses change. @return the object, NULL with errno */
struct netlink *netlink_monitor_create(void);
/** Descriptor to poll. */
int netlink_fd(const struct netlink *nl);
/** Reads everything queued. @return whether addresses may have changed */
bool netlink_monitor_drain(struct netlink *nl);
