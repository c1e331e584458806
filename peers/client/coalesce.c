// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "peers/client/coalesce.h"

#include "peers/client/checksum.h"

#include <linux/virtio_net.h>
#include <netinet/in.h>
#include <string.h>

enum {
	IPV4_HEADER = 20,
	IPV6_HEADER = 40,
	TCP_HEADER_MIN = 20,
	TCP_FLAGS_OFFSET = 13,
	TCP_CSUM_OFFSET = 16,
	TCP_ACK = 0x10,
	TCP_PSH = 0x08,
	IP_SIZE_MAX = 65535,
};

static uint16_t get_u16(const uint8_t *p)
{
	return (uint16_t)((unsigned)p[0] << 8 | p[1]);
}

static uint32_t get_u32(const uint8_t *p)
{
	return (uint32_t)get_u16(p) << 16 | get_u16(p + 2);
}

static void put_u16(uint8_t *p, size_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static bool is_zero_sum(uint64_t sum)
{
	static const uint8_t zero[2];
	uint8_t field[2];

	checksum_store(field, sum);
	return memcmp(field, zero, sizeof(zero)) == 0;
}

// Offset of the TCP header of a packet that may be joined with others, else 0.
static size_t tcp_offset(const uint8_t *packet, size_t size)
{
	size_t l4;

	if (packet[0] == 0x45) {
		l4 = IPV4_HEADER;
		// DF, no fragment: then the id means nothing (RFC 6864).
		if (packet[9] != IPPROTO_TCP || get_u16(packet + 6) != 0x4000)
			return 0;
		if (!is_zero_sum(checksum_add(0, packet, l4)))
			return 0;
	} else if (packet[0] >> 4 == 6) {
		l4 = IPV6_HEADER;
		if (packet[6] != IPPROTO_TCP)
			return 0;
	} else {
		return 0;
	}
	if ((packet[l4 + TCP_FLAGS_OFFSET] & ~TCP_PSH) != TCP_ACK)
		return 0;
	return is_zero_sum(checksum_add(
		       checksum_pseudo(0, packet, IPPROTO_TCP, size - l4), packet + l4, size - l4))
		? l4
		: 0;
}

static void start(struct coalescer *c, const uint8_t *packet, size_t size)
{
	size_t l4 = tcp_offset(packet, size);

	memset(c->frame, 0, SEGMENT_HEADER_SIZE);
	memcpy(c->frame + SEGMENT_HEADER_SIZE, packet, size);
	c->size = SEGMENT_HEADER_SIZE + size;
	c->count = 1;
	c->is_joinable = false;
	if (l4 == 0)
		return;
	c->l4 = l4;
	c->header_size = l4 + (size_t)(packet[l4 + 12] >> 4) * 4;
	c->segment_size = size - c->header_size;
	c->next_seq = get_u32(packet + l4 + 4) + (uint32_t)c->segment_size;
	c->is_joinable = c->segment_size > 0 && (packet[l4 + TCP_FLAGS_OFFSET] & TCP_PSH) == 0;
}

static bool is_same_ip(const uint8_t *a, const uint8_t *b)
{
	// Everything but length, id and checksum; but payload length.
	if (a[0] >> 4 == 4)
		return memcmp(a, b, 2) == 0 && memcmp(a + 6, b + 6, 4) == 0
			&& memcmp(a + 12, b + 12, 8) == 0;
	return memcmp(a, b, 4) == 0 && memcmp(a + 6, b + 6, 34) == 0;
}

static bool is_same_tcp(const uint8_t *a, const uint8_t *b, size_t size)
{
	// Ports; acknowledgement and header length; window; urgent pointer and options.
	return memcmp(a, b, 4) == 0 && memcmp(a + 8, b + 8, 5) == 0
		&& memcmp(a + 14, b + 14, 2) == 0 && memcmp(a + 18, b + 18, size - 18) == 0;
}

static bool joins(const struct coalescer *c, const uint8_t *packet, size_t size)
{
	const uint8_t *held = c->frame + SEGMENT_HEADER_SIZE;
	size_t held_size = c->size - SEGMENT_HEADER_SIZE;

	if (!c->is_joinable || size <= c->header_size || size - c->header_size > c->segment_size
	    || held_size + size - c->header_size > IP_SIZE_MAX)
		return false;
	// The cheap comparisons first; the checksums last.
	return is_same_ip(held, packet)
		&& is_same_tcp(held + c->l4, packet + c->l4, c->header_size - c->l4)
		&& get_u32(packet + c->l4 + 4) == c->next_seq && tcp_offset(packet, size) == c->l4;
}

bool coalesce_add(struct coalescer *c, const uint8_t *packet, size_t size)
{
	size_t payload;
	uint8_t psh;

	if (c->size == 0) {
		start(c, packet, size);
		return true;
	}
	if (!joins(c, packet, size))
		return false;
	payload = size - c->header_size;
	psh = packet[c->l4 + TCP_FLAGS_OFFSET] & TCP_PSH;
	memcpy(c->frame + c->size, packet + c->header_size, payload);
	c->frame[SEGMENT_HEADER_SIZE + c->l4 + TCP_FLAGS_OFFSET] |= psh;
	c->size += payload;
	c->count++;
	c->next_seq += (uint32_t)payload;
	c->is_joinable = payload == c->segment_size && psh == 0;
	return true;
}

static void complete(struct coalescer *c)
{
	uint8_t *ip = c->frame + SEGMENT_HEADER_SIZE;
	size_t size = c->size - SEGMENT_HEADER_SIZE;
	bool is_v4 = ip[0] >> 4 == 4;
	const struct virtio_net_hdr h = {
		.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
		.gso_type = is_v4 ? VIRTIO_NET_HDR_GSO_TCPV4 : VIRTIO_NET_HDR_GSO_TCPV6,
		.hdr_len = (uint16_t)c->header_size,
		.gso_size = (uint16_t)c->segment_size,
		.csum_start = (uint16_t)c->l4,
		.csum_offset = TCP_CSUM_OFFSET,
	};

	memcpy(c->frame, &h, sizeof(h));
	if (is_v4) {
		put_u16(ip + 2, size);
		put_u16(ip + 10, 0);
		checksum_store(ip + 10, checksum_add(0, ip, IPV4_HEADER));
	} else {
		put_u16(ip + 4, size - IPV6_HEADER);
	}
	checksum_store_partial(
		ip + c->l4 + TCP_CSUM_OFFSET, checksum_pseudo(0, ip, IPPROTO_TCP, size - c->l4));
}

size_t coalesce_finish(struct coalescer *c)
{
	size_t size = c->size;

	if (c->count > 1)
		complete(c);
	c->size = 0;
	c->count = 0;
	return size;
}
