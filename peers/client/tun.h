// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include "control/base/addr.h"

#include <net/if.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/**
 * The TUN device and the routing around it.
 *
 * Resource routes live in a table of our own that every packet looks at unless it carries the mark
 * of our sockets, so the tunnel's own datagrams never enter the tunnel, whatever the resources
 * cover. The portal's connection is not ours to mark, so its destination is exempt by a rule. The default routes of the Internet resource are in a second table
 * that is asked only after the main table's specific routes, so the local network stays reachable.
 *
 *   priority 20211: TCP to the portal -> main
 *   priority 20212: not mark -> TUN_TABLE
 *   priority 20213: main, without its default routes      (Internet resource only)
 *   priority 20214: not mark -> TUN_TABLE_INTERNET        (Internet resource only)
 *
 * The device is not persistent: it and its routes vanish with the descriptor; rules are deleted by
 * tun_destroy().
 *
 * Thread-safety: one thread. Ownership: create/destroy.
 */

/** Mark of our own sockets (SO_MARK). */
#define TUN_SOCKET_MARK 0xfd002021u
#define TUN_TABLE 0x2021fd00u
#define TUN_TABLE_INTERNET 0x2021fd01u

struct tun;

/** Opens the device, sets the MTU, brings it up. @return the object, NULL with errno */
struct tun *tun_create(const char *name, uint32_t mtu);
/** Removes rules and device; accepts NULL. */
void tun_destroy(struct tun *t);

int tun_fd(const struct tun *t);
unsigned tun_ifindex(const struct tun *t);

/**
 * Gives the device these two addresses instead of the ones it had, and routes the tunnel ranges.
 * @return 0, -errno
 */
[[nodiscard]] int tun_addrs_set(struct tun *t, const struct ip_addr *v4, const struct ip_addr *v6);

/** Adds or removes the route of a resource; length 0 is the Internet resource. @return 0, -errno */
[[nodiscard]] int tun_route_set(struct tun *t, const struct ip_prefix *p, bool is_add);

/** Endpoints that TCP must reach without the tunnel, see tun_bypass_add(). */
#define TUN_BYPASS_MAX 32

/** Keeps TCP to @p to out of the tunnel. @return 0, -ENOSPC, -errno */
[[nodiscard]] int tun_bypass_add(struct tun *t, const struct ip_endpoint *to);

/**
 * Reads one frame, which segment.h cuts into packets.
 * @param size at least SEGMENT_FRAME_MAX
 * @return bytes, -EAGAIN when there is none, -errno
 */
[[nodiscard]] ssize_t tun_read(struct tun *t, uint8_t *frame, size_t size);
/** Writes one frame; when the queue is full it is lost, as on any link. @return 0, -errno */
[[nodiscard]] int tun_write(struct tun *t, const uint8_t *frame, size_t size);
