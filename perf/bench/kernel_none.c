// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "control/gateway/kernel.h"
#include "perf/bench/bed.h"

// The kernel side of a gateway that has none: no TAPs, no netlink, one WAN address. Routes and
// neighbours are the bed's.

struct kernel {
	char unused;
};

struct kernel *kernel_create(struct gw *)
{
	static struct kernel none;

	return &none;
}

void kernel_stop(struct kernel *) {}
void kernel_destroy(struct kernel *) {}
void kernel_frame(struct kernel *, uint16_t, const void *, size_t) {}
void kernel_tunnel_packet(struct kernel *, const void *, size_t) {}
void kernel_resolve(struct kernel *, uint16_t, const struct ip_addr *) {}
void kernel_tick(struct kernel *) {}

int kernel_tunnel_set(struct kernel *, const struct ip_addr *, const struct ip_addr *)
{
	return 0;
}

int kernel_tunnel_host_add(struct kernel *, const struct ip_addr *)
{
	return 0;
}

size_t kernel_wan_addrs(const struct kernel *, struct ip_addr *out)
{
	out[0] = bed_gateway_v4();
	return 1;
}
