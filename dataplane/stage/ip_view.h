// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include "control/base/addr.h"

#include <rte_byteorder.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/**
 * The well-formedness gate of spec/datapath.md 1.1 and what the stages need to know of a packet
 * that passed it. Every length is checked before the bytes behind it are read.
 *
 * Checksums are not looked at here. Thread-safety: pure functions.
 */

enum ip_verdict {
	IP_VERDICT_OK,
	IP_VERDICT_MALFORMED, // a length, the version or the transport header is wrong
	IP_VERDICT_FRAGMENT,
};

/** A parsed packet. Offsets are from the start of the IP header. */
struct ip_view {
	uint8_t family; // enum ip_family
	uint8_t class_; // enum acl_class
	uint8_t proto; // transport protocol, behind any IPv6 extension headers
	uint8_t reserved;
	uint16_t size; // of the whole packet
	uint16_t l4; // offset of the transport header
	rte_be16_t sport, dport; // ports; echo: the identifier in both; else 0
};

/** How an ICMP packet presents itself (spec/datapath.md 1.1, "ICMP error"). */
enum ip_icmp {
	IP_ICMP_NONE, // not ICMP, or echo
	IP_ICMP_ERROR, // an error with a usable quote
	IP_ICMP_UNUSABLE, // any other type, or an error whose quote cannot be used
};

/** @return the length that the IP header claims, or 0 if @p size bytes do not hold a header. */
uint32_t ip_claimed_size(const uint8_t *ip, uint32_t size);

/** Applies the gate to exactly @p size bytes; any size up to 65535. @p out is set for OK. */
enum ip_verdict ip_view_parse(struct ip_view *out, const uint8_t *ip, uint32_t size);

/**
 * Classifies ICMP. For IP_ICMP_ERROR @p quote receives the quoted packet's view, whose size is the
 * number of quoted bytes; it starts at @p ip + view->l4 + 8.
 */
enum ip_icmp ip_view_icmp(const struct ip_view *view, const uint8_t *ip, struct ip_view *quote);

/** Source and destination address: 4 or 16 bytes. */
static inline const uint8_t *ip_view_src(const struct ip_view *view, const uint8_t *ip)
{
	return ip + (view->family == IP_FAMILY_V4 ? 12 : 8);
}

static inline const uint8_t *ip_view_dst(const struct ip_view *view, const uint8_t *ip)
{
	return ip + (view->family == IP_FAMILY_V4 ? 16 : 24);
}

/** @return whether @p addr is in the range of clients' and gateways' tunnel addresses. */
bool ip_is_tunnel(uint8_t family, const uint8_t *addr);
/** @return whether @p addr is multicast. */
bool ip_is_multicast(uint8_t family, const uint8_t *addr);
