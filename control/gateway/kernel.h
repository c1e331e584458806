// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include "control/gateway/gateway.h"

/**
 * The gateway's side of the kernel slow path: a TAP per port and a TUN for the tunnel addresses on
 * the control loop, and the FIB built from what the operator configured on them.
 *
 * Thread-safety: loop thread. Ownership: create/destroy.
 */

struct kernel;

enum {
	KERNEL_HOSTS_MAX = 2 * CONFIG_PORTS_MAX, // one address per family and WAN port
};

/**
 * Creates the devices, applies the configured addresses and routes, publishes the first FIB and
 * starts polling. @return owned, or NULL with errno after one log line
 */
struct kernel *kernel_create(struct gw *gw);
/** Stops polling; the loop must run until its handles are closed before kernel_destroy(). */
void kernel_stop(struct kernel *kernel);
/** Removes the devices and frees. NULL is allowed. */
void kernel_destroy(struct kernel *kernel);

/** Gives a frame that arrived on @p port_id to the host stack; a full kernel queue drops it. */
void kernel_frame(struct kernel *kernel, uint16_t port_id, const void *data, size_t size);
/** Gives an authenticated inner packet to the host stack (tunnel addresses of the gateway). */
void kernel_tunnel_packet(struct kernel *kernel, const void *data, size_t size);
/** Puts the gateway's tunnel addresses on the TUN, replacing former ones. @return 0, -errno */
[[nodiscard]] int
kernel_tunnel_set(struct kernel *kernel, const struct ip_addr *v4, const struct ip_addr *v6);
/** A client has a tunnel address that may lie outside the tunnel networks. @return 0, -errno */
[[nodiscard]] int kernel_tunnel_host_add(struct kernel *kernel, const struct ip_addr *addr);
/** Packets wait for this next hop: asks the kernel to resolve it. */
void kernel_resolve(struct kernel *kernel, uint16_t port_id, const struct ip_addr *addr);
/** About once a second. */
void kernel_tick(struct kernel *kernel);

/** The addresses that clients reach us at. @return how many were written, at most KERNEL_HOSTS_MAX */
size_t kernel_wan_addrs(const struct kernel *kernel, struct ip_addr *out);
