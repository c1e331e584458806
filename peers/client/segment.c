// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "peers/client/segment.h"

#include "peers/client/checksum.h"

#include <assert.h>
#include <errno.h>
#include <linux/virtio_net.h>
#include <netinet/in.h>
#include <string.h>

static_assert(sizeof(struct virtio_net_hdr) == SEGMENT_HEADER_SIZE, "legacy header");

enum {
	IPV4_HEADER_MIN = 20,
	IPV6_HEADER = 40,
	TCP_HEADER_MIN = 20,
	TCP_FIN = 0x01,
	TCP_PSH = 0x08,
	TCP_CWR = 0x80,
	TCP_CSUM_OFFSET = 16,
	UDP_CSUM_OFFSET = 6,
};

static uint16_t get_u16(const uint8_t *p)
{
	return (uint16_t)((unsigned)p[0] << 8 | p[1]);
}

static void put_u16(uint8_t *p, size_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static uint32_t get_u32(const uint8_t *p)
{
	return (uint32_t)get_u16(p) << 16 | get_u16(p + 2);
}

static void put_u32(uint8_t *p, uint32_t v)
{
	put_u16(p, v >> 16);
	put_u16(p + 2, v);
}

static bool is_v4(const uint8_t *packet)
{
	return packet[0] >> 4 == 4;
}

// The IP header must be there in full and lead to a TCP header where the checksum starts.
static int tcp_init(struct segmenter *s, const struct virtio_net_hdr *h)
{
	uint8_t type = h->gso_type & (uint8_t)~VIRTIO_NET_HDR_GSO_ECN;
	size_t ip = is_v4(s->packet) ? IPV4_HEADER_MIN : IPV6_HEADER;

	if (type != (is_v4(s->packet) ? VIRTIO_NET_HDR_GSO_TCPV4 : VIRTIO_NET_HDR_GSO_TCPV6))
		return -EBADMSG;
	if (!s->needs_csum || s->csum_offset != TCP_CSUM_OFFSET || s->l4 < ip || h->gso_size == 0)
		return -EBADMSG;
	if (is_v4(s->packet)
	    && (s->packet[9] != IPPROTO_TCP || (size_t)(s->packet[0] & 0xf) * 4 != s->l4))
		return -EBADMSG;
	if (s->l4 + TCP_HEADER_MIN > s->size)
		return -EBADMSG;
	s->header_size = s->l4 + (size_t)(s->packet[s->l4 + 12] >> 4) * 4;
	s->payload_size = h->gso_size;
	if (s->header_size < s->l4 + TCP_HEADER_MIN || s->header_size > s->size
	    || s->header_size + s->payload_size > SEGMENT_SIZE_MAX)
		return -EBADMSG;
	return 0;
}

int segment_init(struct segmenter *s, const uint8_t *frame, size_t size)
{
	struct virtio_net_hdr h;

	if (size < SEGMENT_HEADER_SIZE + IPV4_HEADER_MIN)
		return -EBADMSG;
	memcpy(&h, frame, sizeof(h));
	*s = (struct segmenter){
		.packet = frame + SEGMENT_HEADER_SIZE,
		.size = size - SEGMENT_HEADER_SIZE,
		.needs_csum = (h.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) != 0,
		.l4 = h.csum_start,
		.csum_offset = h.csum_offset,
	};
	if (s->needs_csum && s->l4 + s->csum_offset + 2 > s->size)
		return -EBADMSG;
	if (h.gso_type == VIRTIO_NET_HDR_GSO_NONE)
		return s->size <= SEGMENT_SIZE_MAX ? 0 : -EBADMSG;
	return tcp_init(s, &h);
}

// The field holds the sum of the pseudo header; the rest is ours.
static size_t whole_packet(struct segmenter *s, uint8_t *out)
{
	uint8_t *field = out + s->l4 + s->csum_offset;

	s->is_done = true;
	memcpy(out, s->packet, s->size);
	if (!s->needs_csum)
		return s->size;
	checksum_store(field, checksum_add(0, out + s->l4, s->size - s->l4));
	// RFC 768: zero would mean that there is no checksum.
	if (s->csum_offset == UDP_CSUM_OFFSET && get_u16(field) == 0)
		put_u16(field, 0xffff);
	return s->size;
}

static void ip_finish(const struct segmenter *s, uint8_t *out, size_t size)
{
	if (!is_v4(out)) {
		put_u16(out + 4, size - IPV6_HEADER);
		return;
	}
	put_u16(out + 2, size);
	put_u16(out + 4, get_u16(out + 4) + s->count);
	put_u16(out + 10, 0);
	checksum_store(out + 10, checksum_add(0, out, s->l4));
}

static void tcp_finish(const struct segmenter *s, uint8_t *out, size_t size, bool is_last)
{
	uint8_t *tcp = out + s->l4;
	size_t l4_size = size - s->l4;
	uint64_t sum;

	put_u32(tcp + 4, get_u32(tcp + 4) + (uint32_t)s->pos);
	if (!is_last)
		tcp[13] &= (uint8_t) ~(TCP_FIN | TCP_PSH);
	if (s->count > 0)
		tcp[13] &= (uint8_t)~TCP_CWR;
	put_u16(tcp + TCP_CSUM_OFFSET, 0);
	sum = checksum_pseudo(0, out, IPPROTO_TCP, l4_size);
	checksum_store(tcp + TCP_CSUM_OFFSET, checksum_add(sum, tcp, l4_size));
}

size_t segment_next(struct segmenter *s, uint8_t out[SEGMENT_SIZE_MAX])
{
	size_t total = s->size - s->header_size, n, size;

	if (s->is_done)
		return 0;
	if (s->header_size == 0)
		return whole_packet(s, out);
	n = total - s->pos < s->payload_size ? total - s->pos : s->payload_size;
	size = s->header_size + n;
	memcpy(out, s->packet, s->header_size);
	memcpy(out + s->header_size, s->packet + s->header_size + s->pos, n);
	ip_finish(s, out, size);
	tcp_finish(s, out, size, s->pos + n == total);
	s->pos += n;
	s->count++;
	s->is_done = s->pos == total;
	return size;
}
