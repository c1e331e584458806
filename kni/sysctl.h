// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

/**
 * The few kernel settings that the slow path needs, all of them on our own devices. A value that is
 * already right is not written, so a container with a read-only /proc/sys works when it was set up
 * beforehand. IP forwarding is left as it is: forwarded packets never cross the kernel.
 *
 * Thread-safety: none needed.
 */

/**
 * Writes @p value to /proc/sys/@p path ("net/ipv4/ip_local_port_range") unless it reads the same.
 * @return 0, -errno after one log line
 */
[[nodiscard]] int kni_sysctl_set(const char *path, const char *value);

/**
 * Settings of TAP @p name; call it before kni_link_up(). ARP answers only for the TAP's own addresses
 * and from the right one (arp_ignore 1, arp_announce 2); IPv6 on, without duplicate address detection
 * (addresses are usable at once), without autoconfiguration and router advertisements.
 * @return 0, or the first -errno; the others are attempted all the same.
 */
[[nodiscard]] int kni_sysctl_tap(const char *name);

/** Settings of TUN @p name: IPv6 on, nothing automatic. @return as kni_sysctl_tap() */
[[nodiscard]] int kni_sysctl_tun(const char *name);
