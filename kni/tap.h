// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/**
 * The kernel's side of a port (a TAP with the port's MAC) and of the tunnel addresses (a TUN), each
 * one non-blocking file descriptor on /dev/net/tun that the control core polls. What the kernel sends
 * is read from it, what the kernel should receive is written to it. Checksums are complete in both
 * directions: no virtio header, no offloads.
 *
 * Ownership: the descriptor is the device. Closing it (or the end of the process, however it ends)
 * removes the device with its addresses, routes and neighbours.
 * Thread-safety: none needed beyond that of descriptors.
 */

enum {
	KNI_TUN_MTU = 1280,
	KNI_TUN_TXQLEN = 10000, // packets
};

#define KNI_TUN_NAME "tun-firezone"

/**
 * Creates TAP @p name with the port's @p mac and @p mtu (bytes, without Ethernet header). It is
 * administratively down, so that sysctls (kni/sysctl.h) apply before the kernel makes addresses; see
 * kni_link_up() for the rest.
 * @return the descriptor, or -errno after one log line: -EPERM without CAP_NET_ADMIN, -ENOENT without
 * /dev/net/tun, -EBUSY if the name is in use, -EINVAL for a name that does not fit.
 */
[[nodiscard]] int kni_tap_create(const char *name, const uint8_t mac[6], uint16_t mtu);

/**
 * Creates TUN @p name (IP packets without header; down; no IPv6 link-local address will be made).
 * @return the descriptor, or -errno after one log line, as kni_tap_create().
 */
[[nodiscard]] int kni_tun_create(const char *name, uint16_t mtu, uint32_t txqueuelen);

/**
 * Reads one frame (TAP) or packet (TUN) that the kernel sent.
 * @return its size in bytes, cut to @p size; -EAGAIN when there is none; other -errno.
 */
ssize_t kni_tap_read(int fd, void *buf, size_t size);

/**
 * Hands one frame (TAP) or packet (TUN) to the kernel, whole or not at all.
 * @return 0, -EAGAIN (kernel queue full), -EINVAL (not a frame), -EIO (device down), other -errno
 */
[[nodiscard]] int kni_tap_write(int fd, const void *buf, size_t size);

/** Closes and thereby removes the device. Negative is allowed. */
void kni_tap_close(int fd);
