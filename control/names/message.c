// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "control/names/message.h"

#include "control/base/cursor.h"
#include "control/base/err.h"

#include <ctype.h>

// Offsets and bits of the header.
enum {
	FLAGS_HIGH = 2, // QR, opcode, AA, TC, RD
	FLAGS_LOW = 3, // RA, Z, AD, CD, response code
	QUESTIONS = 4,
	RECORDS = 6, // three counts

	QR = 0x80,
	OPCODE = 0x78,
	TC = 0x02,
	RD = 0x01,
	RA = 0x80,
	RCODE = 0x0f,

	LABEL_MAX = 63, // above: compressed or reserved
	TYPE_A = 1,
	CLASS_IN = 1,
};

static const uint8_t probe_name[] = "\x08"
				    "firezone"
				    "\x03"
				    "dev";

// Advances over the question's name, type and class.
static bool question_skip(struct cursor *c)
{
	size_t start = c->pos;
	uint8_t label;

	do {
		label = cursor_read_u8(c);
		if (label > LABEL_MAX)
			return false;
		cursor_take(c, label);
	} while (label != 0 && !c->is_bad);
	if (c->pos - start > DNS_NAME_SIZE)
		return false;
	cursor_take(c, 4);
	return !c->is_bad;
}

static uint16_t questions(const uint8_t *header)
{
	return (uint16_t)(header[QUESTIONS] << 8 | header[QUESTIONS + 1]);
}

int dns_query_parse(struct dns_head *head, const void *data, size_t size)
{
	struct cursor c = cursor_reader(data, size);
	const uint8_t *header = cursor_take(&c, DNS_HEADER_SIZE);

	if (header == NULL || (header[FLAGS_HIGH] & QR) != 0 || questions(header) != 1
	    || !question_skip(&c))
		return err_set(EBADMSG);
	head->size = (uint16_t)c.pos;
	memcpy(head->data, data, head->size);
	return 0;
}

// A server may answer in the case of its own zone.
static bool equals_but_case(const uint8_t *a, const uint8_t *b, size_t size)
{
	for (size_t i = 0; i < size; i++) {
		if (tolower(a[i]) != tolower(b[i]))
			return false;
	}
	return true;
}

bool dns_response_matches(const struct dns_head *query, const void *data, size_t size)
{
	const uint8_t *r = data;
	size_t question = query->size - (size_t)DNS_HEADER_SIZE;

	if (size < DNS_HEADER_SIZE || (r[FLAGS_HIGH] & QR) == 0 || r[0] != query->data[0]
	    || r[1] != query->data[1])
		return false;
	if (questions(r) == 0)
		return (r[FLAGS_LOW] & RCODE) != DNS_RCODE_NOERROR;
	return questions(r) == 1 && size >= query->size
		&& equals_but_case(r + DNS_HEADER_SIZE, query->data + DNS_HEADER_SIZE, question);
}

unsigned dns_rcode(const void *data, size_t size)
{
	const uint8_t *r = data;

	return size > FLAGS_LOW ? r[FLAGS_LOW] & RCODE : DNS_RCODE_SERVFAIL;
}

size_t dns_servfail_write(uint8_t out[DNS_HEAD_SIZE], const struct dns_head *query)
{
	memcpy(out, query->data, query->size);
	out[FLAGS_HIGH] = (uint8_t)(QR | (query->data[FLAGS_HIGH] & (OPCODE | RD)));
	out[FLAGS_LOW] = RA | DNS_RCODE_SERVFAIL;
	memset(out + RECORDS, 0, 6);
	return query->size;
}

size_t
dns_truncated_write(uint8_t out[DNS_HEAD_SIZE], const struct dns_head *query, const void *response)
{
	memcpy(out, query->data, query->size);
	memcpy(out, response, QUESTIONS);
	out[FLAGS_HIGH] |= TC;
	memset(out + RECORDS, 0, 6);
	return query->size;
}

size_t dns_probe_write(uint8_t out[DNS_HEAD_SIZE], uint16_t id)
{
	struct cursor c = cursor_writer(out, DNS_HEAD_SIZE);

	cursor_write_u16(&c, id);
	cursor_write_u16(&c, RD << 8);
	cursor_write_u16(&c, 1);
	cursor_write(&c, (const uint8_t[6]){0}, 6);
	cursor_write(&c, probe_name, sizeof(probe_name));
	cursor_write_u16(&c, TYPE_A);
	cursor_write_u16(&c, CLASS_IN);
	return c.pos;
}
