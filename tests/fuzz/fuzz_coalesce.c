// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "control/base/cursor.h"
#include "peers/client/checksum.h"
#include "peers/client/coalesce.h"
#include "peers/client/packet.h"
#include "tests/fuzz/fuzz.h"

#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

// Packets on their way to the TUN: joined, then cut again, they are what they were. The input is a
// story: each step is one byte that says what is made right first, the size, and a packet.

enum {
	MEND_LENGTH = 1, // of the IP header
	MEND_CHECKSUMS = 2,
	MEND_NEXT = 4, // the sequence number continues the packet before
	HISTORY_MAX = 64,
};

struct packet {
	size_t size;
	uint8_t bytes[PACKET_SIZE_MAX];
};

struct world {
	struct coalescer held;
	struct packet history[HISTORY_MAX]; // what is in the coalescer
	unsigned n;
	uint32_t next_seq;
};

static size_t l4_of(const uint8_t *ip)
{
	return ip[0] >> 4 == 4 ? (ip[0] & 0xfu) * 4 : 40;
}

static void put_u16(uint8_t *p, size_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static void length_mend(struct packet *p)
{
	if (p->bytes[0] >> 4 == 4)
		put_u16(p->bytes + 2, p->size);
	else if (p->size >= 40)
		put_u16(p->bytes + 4, p->size - 40);
}

static void checksums_mend(struct packet *p)
{
	uint8_t *ip = p->bytes, *tcp = ip + l4_of(ip);
	size_t size = p->size - l4_of(ip);

	if (ip[0] >> 4 == 4) {
		put_u16(ip + 10, 0);
		checksum_store(ip + 10, checksum_add(0, ip, l4_of(ip)));
	}
	put_u16(tcp + 16, 0);
	checksum_store(
		tcp + 16, checksum_add(checksum_pseudo(0, ip, IPPROTO_TCP, size), tcp, size));
}

// The id and, with it, the header's checksum mean nothing to a packet that may not be fragmented.
static void id_forget(uint8_t *ip)
{
	if (ip[0] >> 4 != 4)
		return;
	memset(ip + 4, 0, 2);
	memset(ip + 10, 0, 2);
}

static void flush(struct world *w)
{
	size_t size = coalesce_finish(&w->held);
	uint8_t *out = malloc(SEGMENT_SIZE_MAX);
	bool is_joined = w->n > 1;
	struct segmenter s;

	if (size == 0 || out == NULL || segment_init(&s, w->held.frame, size) < 0)
		abort();
	for (unsigned i = 0; i < w->n; i++) {
		struct packet *p = &w->history[i];

		if (segment_next(&s, out) != p->size)
			abort();
		if (is_joined) {
			id_forget(out);
			id_forget(p->bytes);
		}
		if (memcmp(out, p->bytes, p->size) != 0)
			abort();
	}
	if (segment_next(&s, out) != 0)
		abort();
	free(out);
	w->n = 0;
}

static void add(struct world *w, const struct packet *p)
{
	if (w->n == HISTORY_MAX)
		flush(w);
	if (!coalesce_add(&w->held, p->bytes, p->size)) {
		if (w->n == 0)
			abort();
		flush(w);
		if (!coalesce_add(&w->held, p->bytes, p->size))
			abort();
	}
	w->history[w->n++] = *p;
}

static void step(struct world *w, uint8_t how, struct packet *p)
{
	struct packet_view view;

	if ((how & MEND_LENGTH) != 0)
		length_mend(p);
	if (packet_parse(&view, p->bytes, p->size) != PACKET_OK)
		return;
	if (view.protocol == IPPROTO_TCP && view.l4_offset == l4_of(p->bytes)) {
		uint8_t *tcp = p->bytes + view.l4_offset;
		size_t header = (size_t)(tcp[12] >> 4) * 4;

		if ((how & MEND_NEXT) != 0)
			memcpy(tcp + 4, (uint32_t[]){htonl(w->next_seq)}, 4);
		if ((how & MEND_CHECKSUMS) != 0)
			checksums_mend(p);
		memcpy(&w->next_seq, tcp + 4, 4);
		w->next_seq = ntohl(w->next_seq) + (uint32_t)(p->size - view.l4_offset - header);
	}
	add(w, p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct cursor c = cursor_reader(data, size);
	struct world *w = calloc(1, sizeof(*w));
	struct packet p;

	if (w == NULL)
		return 0;
	while (cursor_left(&c) > 3) {
		uint8_t how = cursor_read_u8(&c);
		size_t n = cursor_read_u16(&c) % (PACKET_SIZE_MAX + 1), left = cursor_left(&c);

		p.size = n < left ? n : left;
		memset(p.bytes, 0, sizeof(p.bytes));
		cursor_read(&c, p.bytes, p.size);
		step(w, how, &p);
	}
	if (w->n > 0)
		flush(w);
	free(w);
	return 0;
}
