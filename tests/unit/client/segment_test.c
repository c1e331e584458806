// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "peers/client/packet.h"
#include "peers/client/segment.h"
#include "tests/unit/unit.h"

#include <stdlib.h>

// virtio_net_hdr: flags, gso_type, hdr_len, gso_size, csum_start, csum_offset (host order).
struct header {
	uint8_t flags, type;
	uint16_t header_size, gso_size, start, offset;
};

enum {
	NONE = 0,
	TCP4 = 1,
	TCP6 = 4,
	ECN = 0x80,
	CSUM = 1
};

struct frame {
	size_t size;
	uint8_t data[SEGMENT_FRAME_MAX];
};

// Sum of 16-bit words as RFC 1071 words it, one byte at a time.
static uint32_t words(uint32_t sum, const uint8_t *data, size_t size)
{
	for (size_t i = 0; i < size; i++)
		sum += i % 2 == 0 ? (uint32_t)data[i] << 8 : data[i];
	while (sum > 0xffff)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

static bool transport_checksum_is_good(const uint8_t *packet, size_t size)
{
	bool is_v4 = packet[0] >> 4 == 4;
	size_t l4 = is_v4 ? 20 : 40;
	uint32_t sum = (is_v4 ? packet[9] : packet[6]) + (uint32_t)(size - l4);

	sum = is_v4 ? words(sum, packet + 12, 8) : words(sum, packet + 8, 32);
	return words(sum, packet + l4, size - l4) == 0xffff;
}

// A TCP packet with @p payload bytes of data and the pseudo header's sum in the checksum field.
static void tcp_frame(struct frame *f, bool is_v4, size_t payload, const struct header *h)
{
	size_t l4 = is_v4 ? 20 : 40, size = l4 + 32 + payload;
	uint8_t *p = f->data + SEGMENT_HEADER_SIZE;

	memset(f, 0, sizeof(*f));
	memcpy(f->data, h, sizeof(*h));
	f->size = SEGMENT_HEADER_SIZE + size;
	if (is_v4) {
		static const uint8_t head[20] = {0x45, 0, 0,   0,  0xff, 0xfe, 0x40, 0,	 64, 6,
						 0,    0, 100, 64, 0,	 11,   10,   20, 0,  1};

		memcpy(p, head, sizeof(head));
		p[2] = (uint8_t)(size >> 8);
		p[3] = (uint8_t)size;
	} else {
		static const uint8_t head[8] = {0x60, 0, 0, 0, 0, 0, 6, 64};

		memcpy(p, head, sizeof(head));
		p[4] = (uint8_t)((size - 40) >> 8);
		p[5] = (uint8_t)(size - 40);
		p[8] = 0xfd;
		p[24] = 0x20;
	}
	p += l4;
	p[1] = 80;
	p[3] = 81;
	// Close enough to the end that the sequence number wraps.
	memset(p + 4, 0xff, 4);
	p[12] = 0x80;
	p[13] = 0x80 | 0x10 | 0x08 | 0x01; // CWR ACK PSH FIN
	for (size_t i = 0; i < payload; i++)
		p[32 + i] = (uint8_t)(i * 7 + i / 256);
}

static void segments_check(bool is_v4, size_t payload, size_t gso_size, uint8_t type)
{
	const struct header h = {CSUM, type, 0, (uint16_t)gso_size, is_v4 ? 20 : 40, 16};
	static struct frame f;
	struct segmenter s;
	size_t header = (is_v4 ? 20 : 40) + 32, at = 0, n;
	uint8_t out[SEGMENT_SIZE_MAX];
	unsigned count = 0;

	tcp_frame(&f, is_v4, payload, &h);
	assert_int_equal(segment_init(&s, f.data, f.size), 0);
	while ((n = segment_next(&s, out)) > 0) {
		const uint8_t *tcp = out + header - 32;
		bool is_last = at + n - header == payload;
		struct packet_view view;
		uint32_t seq = (uint32_t)tcp[4] << 24 | (uint32_t)tcp[5] << 16
			| (uint32_t)tcp[6] << 8 | tcp[7];

		assert_int_equal(packet_parse(&view, out, n), PACKET_OK);
		assert_true(transport_checksum_is_good(out, n));
		if (is_v4) {
			assert_int_equal(words(0, out, 20), 0xffff);
			assert_int_equal(
				(uint16_t)(out[4] << 8 | out[5]), (uint16_t)(0xfffe + count));
		}
		assert_int_equal(seq, (uint32_t)(0xffffffff + at));
		assert_int_equal(tcp[13], 0x10 | (count == 0 ? 0x80 : 0) | (is_last ? 0x09 : 0));
		assert_true(is_last || n - header == gso_size);
		assert_memory_equal(
			out + header, f.data + SEGMENT_HEADER_SIZE + header + at, n - header);
		at += n - header;
		count++;
		assert_in_range(count, 1, 100);
	}
	assert_int_equal(at, payload);
	assert_int_equal(count, payload == 0 ? 1 : (payload + gso_size - 1) / gso_size);
	assert_int_equal(segment_next(&s, out), 0);
}

static void tcp_segments(void **)
{
	static const size_t payloads[] = {0, 1, 1199, 1200, 1201, 2400, 2401, 60000};

	for (size_t i = 0; i < COUNT_OF(payloads); i++) {
		segments_check(true, payloads[i], 1200, TCP4);
		segments_check(false, payloads[i], 1200, TCP6);
		segments_check(true, payloads[i], 1199, TCP4 | ECN);
	}
}

static void whole_packets(void **)
{
	// UDP 100.64.0.11:5401 -> 10.20.0.1:81 with three bytes; the field holds the pseudo header's sum.
	static const uint8_t packet[] = {0x45, 0,   0,	31, 0,	0,  0,	 0,   64, 17,	0,
					 0,    100, 64, 0,  11, 10, 20,	 0,   1,  0x15, 0x19,
					 0,    81,  0,	11, 0,	0,  'a', 'b', 'c'};
	const struct header with = {CSUM, NONE, 0, 0, 20, 6}, without = {0};
	uint8_t frame[SEGMENT_HEADER_SIZE + sizeof(packet)], out[SEGMENT_SIZE_MAX];
	struct segmenter s;
	uint32_t pseudo;

	memcpy(frame, &without, sizeof(without));
	memcpy(frame + SEGMENT_HEADER_SIZE, packet, sizeof(packet));
	assert_int_equal(segment_init(&s, frame, sizeof(frame)), 0);
	assert_int_equal(segment_next(&s, out), sizeof(packet));
	assert_memory_equal(out, packet, sizeof(packet));
	assert_int_equal(segment_next(&s, out), 0);

	memcpy(frame, &with, sizeof(with));
	pseudo = words(17 + 11, packet + 12, 8);
	frame[SEGMENT_HEADER_SIZE + 26] = (uint8_t)(pseudo >> 8);
	frame[SEGMENT_HEADER_SIZE + 27] = (uint8_t)pseudo;
	assert_int_equal(segment_init(&s, frame, sizeof(frame)), 0);
	assert_int_equal(segment_next(&s, out), sizeof(packet));
	assert_true(transport_checksum_is_good(out, sizeof(packet)));
}

static void refused(void **)
{
	static const struct {
		const char *what;
		struct header h;
		bool is_v4;
		int patch; // offset in the packet, -1: none
		uint8_t value;
	} cases[] = {
		{"no checksum asked for", {0, TCP4, 0, 1200, 20, 16}, true, -1, 0},
		{"wrong checksum field", {CSUM, TCP4, 0, 1200, 20, 6}, true, -1, 0},
		{"start inside the IP header", {CSUM, TCP4, 0, 1200, 19, 16}, true, -1, 0},
		{"start behind the IP header", {CSUM, TCP4, 0, 1200, 24, 16}, true, -1, 0},
		{"start inside the IPv6 header", {CSUM, TCP6, 0, 1200, 20, 16}, false, -1, 0},
		{"start behind the end", {CSUM, TCP4, 0, 1200, 65535, 16}, true, -1, 0},
		{"field behind the end", {CSUM, TCP4, 0, 1200, 20, 65535}, true, -1, 0},
		{"no size", {CSUM, TCP4, 0, 0, 20, 16}, true, -1, 0},
		{"segments too large", {CSUM, TCP4, 0, 2000, 20, 16}, true, -1, 0},
		{"other family", {CSUM, TCP6, 0, 1200, 20, 16}, true, -1, 0},
		{"other family", {CSUM, TCP4, 0, 1200, 40, 16}, false, -1, 0},
		{"UDP fragmentation", {CSUM, 3, 0, 1200, 20, 16}, true, -1, 0},
		{"UDP segmentation", {CSUM, 5, 0, 1200, 20, 16}, true, -1, 0},
		{"not TCP", {CSUM, TCP4, 0, 1200, 20, 16}, true, 9, 17},
		{"TCP header too short", {CSUM, TCP4, 0, 1200, 20, 16}, true, 32, 0x40},
		{"TCP header beyond the end", {CSUM, TCP4, 0, 1200, 20, 16}, true, 32, 0xf0},
	};
	static struct frame f;
	struct segmenter s;

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		tcp_frame(&f, cases[i].is_v4, 20, &cases[i].h);
		if (cases[i].patch >= 0)
			f.data[SEGMENT_HEADER_SIZE + cases[i].patch] = cases[i].value;
		if (segment_init(&s, f.data, f.size) == 0)
			fail_msg("%s", cases[i].what);
	}
}

// No length makes it read or write beyond; ASan watches.
static void truncated(void **)
{
	const struct header h = {CSUM, TCP4, 0, 100, 20, 16};
	static struct frame f;
	uint8_t out[SEGMENT_SIZE_MAX];

	tcp_frame(&f, true, 300, &h);
	for (size_t size = 0; size < f.size; size++) {
		uint8_t *exact = malloc(size + 1);
		struct segmenter s;

		memcpy(exact + 1, f.data, size);
		if (segment_init(&s, exact + 1, size) == 0) {
			while (segment_next(&s, out) > 0)
				;
		}
		free(exact);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tcp_segments),
		cmocka_unit_test(whole_packets),
		cmocka_unit_test(refused),
		cmocka_unit_test(truncated),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
