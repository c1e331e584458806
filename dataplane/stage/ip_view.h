// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include "acl/acl.h"
#include "control/base/addr.h"

#include <rte_branch_prediction.h>
#include <rte_byteorder.h>

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/**
 * The well-formedness gate of spec/datapath.md 1.1 and what the stages need to know of a packet
 * that passed it. Every length is checked before the bytes behind it are read.
 *
 * Checksums are not looked at here. Thread-safety: pure functions.
 */

enum {
	IP_V4_SIZE = 20, // headers without options or extensions
	IP_V6_SIZE = 40,
	IP_TCP_SIZE = 20,
};

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
static inline uint32_t ip_claimed_size(const uint8_t *ip, uint32_t size)
{
	rte_be16_t claimed;

	if (likely(size >= IP_V4_SIZE && ip[0] >> 4 == 4)) {
		memcpy(&claimed, ip + 2, sizeof(claimed));
		return rte_be_to_cpu_16(claimed);
	}
	if (size >= IP_V6_SIZE && ip[0] >> 4 == 6) {
		memcpy(&claimed, ip + 4, sizeof(claimed));
		return (uint32_t)IP_V6_SIZE + rte_be_to_cpu_16(claimed);
	}
	return 0;
}

/** ip_view_parse() for whatever ip_view_parse_plain() does not know. */
enum ip_verdict ip_view_parse_any(struct ip_view *out, const uint8_t *ip, uint32_t size);

/**
 * Recognizes what nearly all traffic is: TCP or UDP directly behind an IPv4 header without options
 * or an IPv6 header without extensions, sound in every length. A packet that is not that may still
 * be well formed. @p size is what the IP header claims. @return whether @p out is set
 */
static inline bool ip_view_parse_plain(struct ip_view *out, const uint8_t *ip, uint32_t size)
{
	bool is_v4 = ip[0] == 0x45;
	uint32_t l4 = is_v4 ? IP_V4_SIZE : IP_V6_SIZE, room = size - l4, left;
	rte_be16_t fragment, length;
	uint8_t proto;

	// From here on both transport headers fit.
	if (unlikely(
		    size < IP_V6_SIZE + IP_TCP_SIZE && (!is_v4 || size < IP_V4_SIZE + IP_TCP_SIZE)))
		return false;
	memcpy(&fragment, ip + 6, sizeof(fragment));
	proto = ip[is_v4 ? 9 : 6];
	if (unlikely(is_v4 ? (fragment & RTE_BE16(0x3fff)) != 0 : ip[0] >> 4 != 6))
		return false;
	if (proto == IPPROTO_UDP) {
		memcpy(&length, ip + l4 + 4, sizeof(length));
		left = rte_be_to_cpu_16(length);
		if (unlikely(left != room))
			return false;
		out->class_ = ACL_CLASS_UDP;
	} else if (proto == IPPROTO_TCP) {
		left = (ip[l4 + 12] >> 4) * 4u;
		if (unlikely(left < IP_TCP_SIZE || left > room))
			return false;
		out->class_ = ACL_CLASS_TCP;
	} else {
		return false;
	}
	out->family = is_v4 ? IP_FAMILY_V4 : IP_FAMILY_V6;
	out->proto = proto;
	out->reserved = 0;
	out->size = (uint16_t)size;
	out->l4 = (uint16_t)l4;
	memcpy(&out->sport, ip + l4, sizeof(out->sport));
	memcpy(&out->dport, ip + l4 + 2, sizeof(out->dport));
	return true;
}

/** Applies the gate to exactly @p size bytes; any size up to 65535. @p out is set for OK. */
static inline enum ip_verdict ip_view_parse(struct ip_view *out, const uint8_t *ip, uint32_t size)
{
	if (likely(size > 0 && size <= UINT16_MAX && ip_claimed_size(ip, size) == size
		   && ip_view_parse_plain(out, ip, size)))
		return IP_VERDICT_OK;
	return ip_view_parse_any(out, ip, size);
}

/** ip_view_icmp() for ICMP that is no echo. */
enum ip_icmp
ip_view_icmp_other(const struct ip_view *view, const uint8_t *ip, struct ip_view *quote);

/**
 * Classifies ICMP. For IP_ICMP_ERROR @p quote receives the quoted packet's view, whose size is the
 * number of quoted bytes; it starts at @p ip + view->l4 + 8.
 */
static inline enum ip_icmp
ip_view_icmp(const struct ip_view *view, const uint8_t *ip, struct ip_view *quote)
{
	if (likely(view->class_ != ACL_CLASS_ICMP_OTHER))
		return IP_ICMP_NONE;
	return ip_view_icmp_other(view, ip, quote);
}

/** Source and destination address: 4 or 16 bytes. */
static inline const uint8_t *ip_view_src(const struct ip_view *view, const uint8_t *ip)
{
	return ip + (view->family == IP_FAMILY_V4 ? 12 : 8);
}

static inline const uint8_t *ip_view_dst(const struct ip_view *view, const uint8_t *ip)
{
	return ip + (view->family == IP_FAMILY_V4 ? 16 : 24);
}

/** Copies an address: as memcpy() with a constant size, which a size by family would not be. */
static inline void ip_addr_copy(uint8_t *out, uint8_t family, const uint8_t *addr)
{
	if (family == IP_FAMILY_V4)
		memcpy(out, addr, 4);
	else
		memcpy(out, addr, 16);
}

/** @return whether @p addr is in the range of clients' and gateways' tunnel addresses. */
static inline bool ip_is_tunnel(uint8_t family, const uint8_t *addr)
{
	static const uint8_t v6[] = {0xfd, 0x00, 0x20, 0x21, 0x11, 0x11, 0, 0, 0, 0, 0, 0, 0};

	// 100.64.0.0/11 and fd00:2021:1111::/107
	if (family == IP_FAMILY_V4)
		return addr[0] == 100 && (addr[1] & 0xe0) == 64;
	return memcmp(addr, v6, sizeof(v6)) == 0 && (addr[13] & 0xe0) == 0;
}

/** @return whether @p addr is multicast. */
static inline bool ip_is_multicast(uint8_t family, const uint8_t *addr)
{
	return family == IP_FAMILY_V4 ? (addr[0] & 0xf0) == 0xe0 : addr[0] == 0xff;
}
