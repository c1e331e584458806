// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "peers/client/packet.h"

#include "peers/client/checksum.h"

#include <netinet/in.h>
#include <string.h>

enum {
	IPV4_HEADER_MIN = 20,
	IPV6_HEADER = 40,
	ICMP_HEADER = 8,
	UDP_HEADER = 8,
	TCP_HEADER_MIN = 20,
	ERROR_TTL = 20,
	CONTROL_PROTOCOL = 0xff,
	CONTROL_HEADER = 8,
};

// IPv6 extension headers that are walked; AH and ESP count as transport protocols here.
enum {
	EXT_HOP_BY_HOP = 0,
	EXT_ROUTING = 43,
	EXT_FRAGMENT = 44,
	EXT_DEST_OPTIONS = 60,
	EXT_MOBILITY = 135,
	EXT_HIP = 139,
	EXT_SHIM6 = 140,
	EXT_EXPERIMENT_1 = 253,
	EXT_EXPERIMENT_2 = 254,
};

enum {
	ICMP4_ECHO_REPLY = 0,
	ICMP4_UNREACHABLE = 3,
	ICMP4_ECHO = 8,
	ICMP4_TIME_EXCEEDED = 11,
	ICMP4_CODE_PROHIBITED = 13,
	ICMP6_UNREACHABLE = 1,
	ICMP6_TOO_BIG = 2,
	ICMP6_TIME_EXCEEDED = 3,
	ICMP6_ECHO = 128,
	ICMP6_ECHO_REPLY = 129,
	ICMP6_CODE_PROHIBITED = 1,
};

// Where the transport header of a packet starts, and which protocol it is.
struct l3 {
	struct ip_addr src, dst;
	size_t length; // what the IP header claims for the whole packet
	size_t l4_offset;
	uint8_t protocol;
};

static uint16_t get_u16(const uint8_t *p)
{
	return (uint16_t)((unsigned)p[0] << 8 | p[1]);
}

static void put_u16(uint8_t *p, uint16_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static enum packet_verdict parse_ipv4(struct l3 *l3, const uint8_t *data, size_t size)
{
	size_t header;

	if (size < IPV4_HEADER_MIN)
		return PACKET_BAD_LENGTH;
	header = (size_t)(data[0] & 0x0f) * 4;
	if (header < IPV4_HEADER_MIN || header > size)
		return PACKET_BAD_LENGTH;
	// MF or an offset.
	if ((get_u16(data + 6) & 0x3fff) != 0)
		return PACKET_FRAGMENT;
	*l3 = (struct l3){
		.src = ip_addr_v4(data + 12),
		.dst = ip_addr_v4(data + 16),
		.length = get_u16(data + 2),
		.l4_offset = header,
		.protocol = data[9],
	};
	return PACKET_OK;
}

static bool is_ext_header(uint8_t protocol)
{
	switch (protocol) {
	case EXT_HOP_BY_HOP:
	case EXT_ROUTING:
	case EXT_FRAGMENT:
	case EXT_DEST_OPTIONS:
	case EXT_MOBILITY:
	case EXT_HIP:
	case EXT_SHIM6:
	case EXT_EXPERIMENT_1:
	case EXT_EXPERIMENT_2:
		return true;
	}
	return false;
}

static enum packet_verdict parse_ipv6(struct l3 *l3, const uint8_t *data, size_t size)
{
	size_t at = IPV6_HEADER;
	uint8_t next;

	if (size < IPV6_HEADER)
		return PACKET_BAD_LENGTH;
	next = data[6];
	while (is_ext_header(next)) {
		size_t step;

		if (size - at < 8)
			return PACKET_BAD_LENGTH;
		// RFC 8200 section 4.5: the fragment header has a fixed size; an atomic one is no fragment.
		if (next == EXT_FRAGMENT) {
			if ((get_u16(data + at + 2) & 0xfff9) != 0)
				return PACKET_FRAGMENT;
			step = 8;
		} else {
			step = ((size_t)data[at + 1] + 1) * 8;
		}
		if (step > size - at)
			return PACKET_BAD_LENGTH;
		next = data[at];
		at += step;
	}
	*l3 = (struct l3){
		.src = ip_addr_v6(data + 8),
		.dst = ip_addr_v6(data + 24),
		.length = (size_t)get_u16(data + 4) + IPV6_HEADER,
		.l4_offset = at,
		.protocol = next,
	};
	return PACKET_OK;
}

static enum packet_verdict parse_l3(struct l3 *l3, const uint8_t *data, size_t size)
{
	if (size == 0)
		return PACKET_BAD_LENGTH;
	switch (data[0] >> 4) {
	case 4:
		return parse_ipv4(l3, data, size);
	case 6:
		return parse_ipv6(l3, data, size);
	}
	return PACKET_BAD_VERSION;
}

static bool is_icmp_of_family(const struct l3 *l3)
{
	return l3->protocol == (l3->src.family == IP_FAMILY_V4 ? IPPROTO_ICMP : IPPROTO_ICMPV6);
}

static struct packet_key icmp_key(bool is_v4, const uint8_t *l4)
{
	uint8_t request = is_v4 ? ICMP4_ECHO : ICMP6_ECHO;
	uint8_t reply = is_v4 ? ICMP4_ECHO_REPLY : ICMP6_ECHO_REPLY;

	if ((l4[0] == request || l4[0] == reply) && l4[1] == 0)
		return (struct packet_key){PACKET_KEY_ECHO, get_u16(l4 + 4)};
	return (struct packet_key){.kind = PACKET_KEY_ICMP_OTHER};
}

static void keys_from_ports(struct packet_view *p, enum packet_key_kind kind, const uint8_t *l4)
{
	p->src_key = (struct packet_key){kind, get_u16(l4)};
	p->dst_key = (struct packet_key){kind, get_u16(l4 + 2)};
}

static enum packet_verdict parse_l4(struct packet_view *p, const struct l3 *l3)
{
	const uint8_t *l4 = p->data + p->l4_offset;
	size_t left = (size_t)p->size - p->l4_offset;

	switch (l3->protocol) {
	case IPPROTO_UDP:
		if (left < UDP_HEADER || get_u16(l4 + 4) != left)
			return PACKET_BAD_TRANSPORT;
		keys_from_ports(p, PACKET_KEY_UDP, l4);
		return PACKET_OK;
	case IPPROTO_TCP:
		if (left < TCP_HEADER_MIN || l4[12] >> 4 < 5 || (size_t)(l4[12] >> 4) * 4 > left)
			return PACKET_BAD_TRANSPORT;
		keys_from_ports(p, PACKET_KEY_TCP, l4);
		return PACKET_OK;
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6:
		if (!is_icmp_of_family(l3) || left < ICMP_HEADER)
			return PACKET_BAD_TRANSPORT;
		p->src_key = icmp_key(l3->protocol == IPPROTO_ICMP, l4);
		p->dst_key = p->src_key;
		return PACKET_OK;
	}
	p->src_key = (struct packet_key){.kind = PACKET_KEY_OTHER};
	p->dst_key = p->src_key;
	return PACKET_OK;
}

enum packet_verdict packet_parse(struct packet_view *out, const uint8_t *data, size_t size)
{
	enum packet_verdict verdict;
	struct l3 l3;

	if (size > PACKET_SIZE_MAX)
		return PACKET_TOO_LONG;
	verdict = parse_l3(&l3, data, size);
	if (verdict != PACKET_OK)
		return verdict;
	if (l3.length != size || l3.l4_offset > size)
		return PACKET_BAD_LENGTH;
	*out = (struct packet_view){
		.data = data,
		.size = (uint16_t)size,
		.l4_offset = (uint16_t)l3.l4_offset,
		.protocol = l3.protocol,
		.src = l3.src,
		.dst = l3.dst,
	};
	return parse_l4(out, &l3);
}

size_t packet_length(const uint8_t *data, size_t size)
{
	size_t length = 0;

	if (size >= IPV4_HEADER_MIN && data[0] >> 4 == 4)
		length = get_u16(data + 2);
	else if (size >= IPV6_HEADER && data[0] >> 4 == 6)
		length = (size_t)get_u16(data + 4) + IPV6_HEADER;
	return length <= size ? length : 0;
}

static bool is_error_type(bool is_v4, uint8_t type, uint8_t code)
{
	if (is_v4)
		return type == ICMP4_UNREACHABLE || type == ICMP4_TIME_EXCEEDED;
	return type == ICMP6_UNREACHABLE || (type == ICMP6_TOO_BIG && code == 0)
		|| type == ICMP6_TIME_EXCEEDED;
}

// A quote is cut short by design, so only the ports or the echo identifier have to be there.
static bool
quoted_keys(struct packet_icmp_error *out, const struct l3 *l3, const uint8_t *l4, size_t left)
{
	enum packet_key_kind kind;

	switch (l3->protocol) {
	case IPPROTO_TCP:
	case IPPROTO_UDP:
		if (left < 4)
			return false;
		kind = l3->protocol == IPPROTO_TCP ? PACKET_KEY_TCP : PACKET_KEY_UDP;
		out->quoted_src_key = (struct packet_key){kind, get_u16(l4)};
		out->quoted_dst_key = (struct packet_key){kind, get_u16(l4 + 2)};
		return true;
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6:
		if (!is_icmp_of_family(l3) || left < ICMP_HEADER)
			return false;
		// With another code it is no echo, and had no identifier to be known by.
		if (l4[0] != (l3->protocol == IPPROTO_ICMP ? ICMP4_ECHO : ICMP6_ECHO) || l4[1] != 0)
			return false;
		out->quoted_src_key = (struct packet_key){PACKET_KEY_ECHO, get_u16(l4 + 4)};
		out->quoted_dst_key = out->quoted_src_key;
		return true;
	}
	return false;
}

enum packet_icmp_class
packet_icmp_classify(const struct packet_view *p, struct packet_icmp_error *out)
{
	bool is_v4 = p->src.family == IP_FAMILY_V4;
	const uint8_t *icmp = p->data + p->l4_offset;
	struct packet_icmp_error error;
	const uint8_t *quote;
	size_t left;
	struct l3 l3;

	if (p->protocol != IPPROTO_ICMP && p->protocol != IPPROTO_ICMPV6)
		return PACKET_ICMP_NONE;
	if (p->dst_key.kind == PACKET_KEY_ECHO)
		return PACKET_ICMP_NONE;
	if (!is_error_type(is_v4, icmp[0], icmp[1]))
		return PACKET_ICMP_UNREADABLE;

	quote = icmp + ICMP_HEADER;
	left = (size_t)p->size - p->l4_offset - ICMP_HEADER;
	if (parse_l3(&l3, quote, left) != PACKET_OK || l3.src.family != p->src.family)
		return PACKET_ICMP_UNREADABLE;
	error = (struct packet_icmp_error){
		.type = icmp[0],
		.code = icmp[1],
		.is_prohibited = is_v4
			? icmp[0] == ICMP4_UNREACHABLE && icmp[1] == ICMP4_CODE_PROHIBITED
			: icmp[0] == ICMP6_UNREACHABLE && icmp[1] == ICMP6_CODE_PROHIBITED,
		.quoted_src = l3.src,
		.quoted_dst = l3.dst,
	};
	if (!quoted_keys(&error, &l3, quote + l3.l4_offset, left - l3.l4_offset))
		return PACKET_ICMP_UNREADABLE;
	*out = error;
	return PACKET_ICMP_ERROR;
}

static size_t prohibited_v4_build(const struct packet_view *p, uint8_t *out)
{
	size_t quote = (size_t)(p->data[0] & 0x0f) * 4 + 8;
	size_t size;

	if (quote > p->size)
		quote = p->size;
	size = IPV4_HEADER_MIN + ICMP_HEADER + quote;
	memset(out, 0, IPV4_HEADER_MIN + ICMP_HEADER);
	out[0] = 0x45;
	put_u16(out + 2, (uint16_t)size);
	out[8] = ERROR_TTL;
	out[9] = IPPROTO_ICMP;
	memcpy(out + 12, p->data + 16, 4);
	memcpy(out + 16, p->data + 12, 4);
	checksum_store(out + 10, checksum_add(0, out, IPV4_HEADER_MIN));
	out[20] = ICMP4_UNREACHABLE;
	out[21] = ICMP4_CODE_PROHIBITED;
	memcpy(out + 28, p->data, quote);
	checksum_store(out + 22, checksum_add(0, out + 20, ICMP_HEADER + quote));
	return size;
}

static size_t prohibited_v6_build(const struct packet_view *p, uint8_t *out)
{
	size_t quote = p->size;
	uint64_t sum;

	if (quote > PACKET_SIZE_MAX - IPV6_HEADER - ICMP_HEADER)
		quote = PACKET_SIZE_MAX - IPV6_HEADER - ICMP_HEADER;
	memset(out, 0, IPV6_HEADER + ICMP_HEADER);
	out[0] = 0x60;
	put_u16(out + 4, (uint16_t)(ICMP_HEADER + quote));
	out[6] = IPPROTO_ICMPV6;
	out[7] = ERROR_TTL;
	memcpy(out + 8, p->data + 24, 16);
	memcpy(out + 24, p->data + 8, 16);
	out[40] = ICMP6_UNREACHABLE;
	out[41] = ICMP6_CODE_PROHIBITED;
	memcpy(out + 48, p->data, quote);
	sum = checksum_pseudo(0, out, IPPROTO_ICMPV6, ICMP_HEADER + quote);
	checksum_store(out + 42, checksum_add(sum, out + 40, ICMP_HEADER + quote));
	return IPV6_HEADER + ICMP_HEADER + quote;
}

size_t packet_prohibited_build(const struct packet_view *p, uint8_t out[PACKET_SIZE_MAX])
{
	return p->src.family == IP_FAMILY_V4 ? prohibited_v4_build(p, out)
					     : prohibited_v6_build(p, out);
}

int packet_control_event(const struct packet_view *p)
{
	static const uint8_t unspecified[32];

	if (p->src.family != IP_FAMILY_V6 || p->data[6] != CONTROL_PROTOCOL)
		return -1;
	if (memcmp(p->data + 8, unspecified, sizeof(unspecified)) != 0)
		return -1;
	if (p->size < IPV6_HEADER + CONTROL_HEADER)
		return -1;
	return p->data[IPV6_HEADER];
}

void packet_goodbye_build(uint8_t out[PACKET_GOODBYE_SIZE])
{
	memset(out, 0, PACKET_GOODBYE_SIZE);
	out[0] = 0x60;
	put_u16(out + 4, CONTROL_HEADER);
	out[6] = CONTROL_PROTOCOL;
	out[IPV6_HEADER] = PACKET_CONTROL_GOODBYE;
}

uint8_t packet_ecn(const struct packet_view *p)
{
	return p->src.family == IP_FAMILY_V4 ? p->data[1] & 3 : p->data[1] >> 4 & 3;
}

void packet_ecn_merge(uint8_t *data, const struct packet_view *p, uint8_t outer_ecn)
{
	uint8_t inner = packet_ecn(p);
	uint8_t words[6]; // complements of checksum and old word, new word

	if (outer_ecn != 3 || inner == 0 || inner == 3)
		return;
	if (p->src.family == IP_FAMILY_V6) {
		data[1] |= 0x30;
		return;
	}
	// RFC 1624: only the changed word counts, so that a wrong checksum stays wrong.
	for (size_t i = 0; i < 2; i++) {
		words[i] = (uint8_t)~data[10 + i];
		words[2 + i] = (uint8_t)~data[i];
	}
	data[1] |= 3;
	memcpy(words + 4, data, 2);
	checksum_store(data + 10, checksum_add(0, words, sizeof(words)));
}

bool packet_is_multicast(const struct ip_addr *a)
{
	if (a->family == IP_FAMILY_V4)
		return a->bytes[0] >> 4 == 14;
	return a->family == IP_FAMILY_V6 && a->bytes[0] == 0xff;
}
