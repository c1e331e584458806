// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "dataplane/stage/ip_view.h"

enum {
	ICMP_SIZE = 8,
	UDP_SIZE = 8,
	PROTO_HIP = 139,
	PROTO_SHIM6 = 140,
	PROTO_TEST1 = 253,
	PROTO_TEST2 = 254,
};

static inline uint16_t read_u16(const uint8_t *p)
{
	return (uint16_t)((unsigned)p[0] << 8 | p[1]);
}

static inline rte_be16_t read_be16(const uint8_t *p)
{
	rte_be16_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

static bool is_walked(uint8_t proto)
{
	switch (proto) {
	case IPPROTO_HOPOPTS:
	case IPPROTO_ROUTING:
	case IPPROTO_FRAGMENT:
	case IPPROTO_DSTOPTS:
	case IPPROTO_MH:
	case PROTO_HIP:
	case PROTO_SHIM6:
	case PROTO_TEST1:
	case PROTO_TEST2:
		return true;
	default:
		return false;
	}
}

// The IP headers alone. Where the transport header starts is *l4, never beyond size.
static enum ip_verdict v4_walk(struct ip_view *out, const uint8_t *ip, uint32_t size, uint32_t *l4)
{
	uint32_t ihl;

	if (size < IP_V4_SIZE || ip[0] >> 4 != 4)
		return IP_VERDICT_MALFORMED;
	ihl = (ip[0] & 0x0fu) * 4;
	if (ihl < IP_V4_SIZE || ihl > size)
		return IP_VERDICT_MALFORMED;
	// MF or an offset; the reserved and DF bits do not matter.
	if ((read_u16(ip + 6) & 0x3fff) != 0)
		return IP_VERDICT_FRAGMENT;
	out->family = IP_FAMILY_V4;
	out->proto = ip[9];
	*l4 = ihl;
	return IP_VERDICT_OK;
}

static enum ip_verdict v6_walk(struct ip_view *out, const uint8_t *ip, uint32_t size, uint32_t *l4)
{
	uint32_t at = IP_V6_SIZE;
	uint8_t proto;

	if (size < IP_V6_SIZE || ip[0] >> 4 != 6)
		return IP_VERDICT_MALFORMED;
	proto = ip[6];
	while (is_walked(proto)) {
		uint32_t len;

		if (size - at < 8)
			return IP_VERDICT_MALFORMED;
		len = proto == IPPROTO_FRAGMENT ? 8 : (ip[at + 1] + 1u) * 8;
		if (len > size - at)
			return IP_VERDICT_MALFORMED;
		// An atomic fragment (RFC 6946) has neither offset nor M.
		if (proto == IPPROTO_FRAGMENT && (read_u16(ip + at + 2) & 0xfff9) != 0)
			return IP_VERDICT_FRAGMENT;
		proto = ip[at];
		at += len;
	}
	out->family = IP_FAMILY_V6;
	out->proto = proto;
	*l4 = at;
	return IP_VERDICT_OK;
}

static bool is_echo(uint8_t family, const uint8_t *icmp)
{
	if (icmp[1] != 0)
		return false;
	return family == IP_FAMILY_V4 ? icmp[0] == 8 || icmp[0] == 0
				      : icmp[0] == 128 || icmp[0] == 129;
}

static enum ip_verdict icmp_parse(struct ip_view *out, const uint8_t *icmp, uint32_t size)
{
	bool is_v6 = out->proto == IPPROTO_ICMPV6;

	if (size < ICMP_SIZE || is_v6 != (out->family == IP_FAMILY_V6))
		return IP_VERDICT_MALFORMED;
	out->class_ = ACL_CLASS_ICMP_OTHER;
	if (is_echo(out->family, icmp)) {
		out->class_ = ACL_CLASS_ICMP_ECHO;
		out->sport = out->dport = read_be16(icmp + 4);
	}
	return IP_VERDICT_OK;
}

static enum ip_verdict l4_parse(struct ip_view *out, const uint8_t *l4, uint32_t size)
{
	switch (out->proto) {
	case IPPROTO_UDP:
		if (size < UDP_SIZE || read_u16(l4 + 4) != size)
			return IP_VERDICT_MALFORMED;
		out->class_ = ACL_CLASS_UDP;
		break;
	case IPPROTO_TCP:
		if (size < IP_TCP_SIZE || l4[12] >> 4 < 5 || (l4[12] >> 4) * 4u > size)
			return IP_VERDICT_MALFORMED;
		out->class_ = ACL_CLASS_TCP;
		break;
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6:
		return icmp_parse(out, l4, size);
	default:
		out->class_ = ACL_CLASS_OTHER;
		return IP_VERDICT_OK;
	}
	out->sport = read_be16(l4);
	out->dport = read_be16(l4 + 2);
	return IP_VERDICT_OK;
}

enum ip_verdict ip_view_parse_any(struct ip_view *out, const uint8_t *ip, uint32_t size)
{
	enum ip_verdict v;
	uint32_t l4;

	*out = (struct ip_view){.size = (uint16_t)size};
	if (size == 0 || size > UINT16_MAX || ip_claimed_size(ip, size) != size)
		return IP_VERDICT_MALFORMED;
	v = ip[0] >> 4 == 4 ? v4_walk(out, ip, size, &l4) : v6_walk(out, ip, size, &l4);
	if (v != IP_VERDICT_OK)
		return v;
	out->l4 = (uint16_t)l4;
	return l4_parse(out, ip + l4, size - l4);
}

// The quoted packet: complete IP header, then TCP or UDP ports, or a whole echo request header.
static bool quote_parse(struct ip_view *out, uint8_t family, const uint8_t *ip, uint32_t size)
{
	const uint8_t *icmp;
	enum ip_verdict v;
	uint32_t l4;

	*out = (struct ip_view){.size = (uint16_t)size};
	v = family == IP_FAMILY_V4 ? v4_walk(out, ip, size, &l4) : v6_walk(out, ip, size, &l4);
	if (v != IP_VERDICT_OK)
		return false;
	out->l4 = (uint16_t)l4;
	if (out->proto == IPPROTO_TCP || out->proto == IPPROTO_UDP) {
		if (size - l4 < 4)
			return false;
		out->class_ = out->proto == IPPROTO_TCP ? ACL_CLASS_TCP : ACL_CLASS_UDP;
		out->sport = read_be16(ip + l4);
		out->dport = read_be16(ip + l4 + 2);
		return true;
	}
	if (out->proto != (family == IP_FAMILY_V4 ? IPPROTO_ICMP : IPPROTO_ICMPV6)
	    || size - l4 < ICMP_SIZE)
		return false;
	icmp = ip + l4;
	if (icmp[0] != (family == IP_FAMILY_V4 ? 8 : 128) || icmp[1] != 0)
		return false;
	out->class_ = ACL_CLASS_ICMP_ECHO;
	out->sport = out->dport = read_be16(icmp + 4);
	return true;
}

static bool is_error_type(uint8_t family, uint8_t type, uint8_t code)
{
	if (family == IP_FAMILY_V4)
		return type == 3 || type == 11;
	return type == 1 || (type == 2 && code == 0) || type == 3;
}

enum ip_icmp
ip_view_icmp_other(const struct ip_view *view, const uint8_t *ip, struct ip_view *quote)
{
	const uint8_t *icmp = ip + view->l4;
	uint32_t at = view->l4 + (uint32_t)ICMP_SIZE;

	if (!is_error_type(view->family, icmp[0], icmp[1])
	    || !quote_parse(quote, view->family, ip + at, view->size - at))
		return IP_ICMP_UNUSABLE;
	return IP_ICMP_ERROR;
}
