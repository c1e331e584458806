// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "control/path/stun.h"

#include "control/base/err.h"

#include <string.h>

#define LENGTH_POS 2
#define ATTR_HEADER_SIZE 4
#define FAMILY_V4 1
#define FAMILY_V6 2
// RFC 8489 14.3, 14.9, 14.10: 508 bytes of USERNAME, 763 of REALM and NONCE; older texts allow 513.
#define USERNAME_SIZE_MAX 513
#define TEXT_SIZE_MAX 763

// How the value of a known attribute is laid out.
enum shape {
	SHAPE_BYTES, // limit is the largest size
	SHAPE_FLAG,
	SHAPE_U16, // followed by two reserved bytes
	SHAPE_U32,
	SHAPE_U64,
	SHAPE_XOR_ADDRESS,
	SHAPE_RELAYED_ADDRESS,
	SHAPE_ERROR,
	SHAPE_POSITION, // limit is the exact size
};

struct rule {
	uint16_t type;
	uint8_t shape;
	uint16_t limit;
	uint32_t has;
	size_t offset; // in struct stun_msg
};

#define AT(field) offsetof(struct stun_msg, field)

static const struct rule rules[] = {
	{STUN_ATTR_USERNAME, SHAPE_BYTES, USERNAME_SIZE_MAX, STUN_HAS_USERNAME, AT(username)},
	{STUN_ATTR_REALM, SHAPE_BYTES, TEXT_SIZE_MAX, STUN_HAS_REALM, AT(realm)},
	{STUN_ATTR_NONCE, SHAPE_BYTES, TEXT_SIZE_MAX, STUN_HAS_NONCE, AT(nonce)},
	{STUN_ATTR_DATA, SHAPE_BYTES, UINT16_MAX, STUN_HAS_DATA, AT(payload)},
	{STUN_ATTR_USE_CANDIDATE, SHAPE_FLAG, 0, STUN_HAS_USE_CANDIDATE, 0},
	{STUN_ATTR_CHANNEL_NUMBER, SHAPE_U16, 0, STUN_HAS_CHANNEL_NUMBER, AT(channel)},
	{STUN_ATTR_LIFETIME, SHAPE_U32, 0, STUN_HAS_LIFETIME, AT(lifetime_s)},
	{STUN_ATTR_PRIORITY, SHAPE_U32, 0, STUN_HAS_PRIORITY, AT(priority)},
	{STUN_ATTR_ICE_CONTROLLED, SHAPE_U64, 0, STUN_HAS_CONTROLLED, AT(tie_breaker)},
	{STUN_ATTR_ICE_CONTROLLING, SHAPE_U64, 0, STUN_HAS_CONTROLLING, AT(tie_breaker)},
	{STUN_ATTR_XOR_MAPPED_ADDRESS, SHAPE_XOR_ADDRESS, 0, STUN_HAS_MAPPED_ADDRESS, AT(mapped)},
	{STUN_ATTR_XOR_PEER_ADDRESS, SHAPE_XOR_ADDRESS, 0, STUN_HAS_PEER_ADDRESS, AT(peer)},
	{STUN_ATTR_XOR_RELAYED_ADDRESS, SHAPE_RELAYED_ADDRESS, 0, STUN_HAS_RELAYED_ADDRESS, 0},
	{STUN_ATTR_ERROR_CODE, SHAPE_ERROR, TEXT_SIZE_MAX, STUN_HAS_ERROR_CODE, 0},
	{STUN_ATTR_MESSAGE_INTEGRITY,
	 SHAPE_POSITION,
	 STUN_INTEGRITY_SIZE,
	 STUN_HAS_INTEGRITY,
	 AT(integrity_pos)},
	{STUN_ATTR_FINGERPRINT, SHAPE_POSITION, 4, STUN_HAS_FINGERPRINT, AT(fingerprint_pos)},
};

bool stun_is_message(const void *data, size_t size)
{
	struct cursor c = cursor_reader(data, size);
	uint16_t type, length;
	uint32_t cookie;

	type = cursor_read_u16(&c);
	length = cursor_read_u16(&c);
	cookie = cursor_read_u32(&c);
	cursor_take(&c, STUN_TXID_SIZE);
	return !c.is_bad && (type & 0xc000) == 0 && cookie == STUN_COOKIE && length % 4 == 0
		&& cursor_left(&c) == length;
}

int stun_xor_address_read(
	const struct stun_bytes *value,
	const struct stun_txid *txid,
	struct ip_endpoint *out)
{
	struct cursor c = cursor_reader(value->data, value->size);
	const uint8_t cookie[4] = {0x21, 0x12, 0xa4, 0x42};
	uint8_t bytes[16], family;
	struct ip_endpoint ep;

	cursor_take(&c, 1);
	family = cursor_read_u8(&c);
	ep.port = cursor_read_u16(&c) ^ (uint16_t)(STUN_COOKIE >> 16);
	if (family != FAMILY_V4 && family != FAMILY_V6)
		return err_set(EBADMSG);
	cursor_read(&c, bytes, family == FAMILY_V4 ? 4 : 16);
	if (c.is_bad || cursor_left(&c) != 0)
		return err_set(EBADMSG);
	for (unsigned i = 0; i < 4; i++)
		bytes[i] ^= cookie[i];
	if (family == FAMILY_V4) {
		ep.addr = ip_addr_v4(bytes);
	} else {
		for (unsigned i = 4; i < 16; i++)
			bytes[i] ^= txid->bytes[i - 4];
		ep.addr = ip_addr_v6(bytes);
	}
	*out = ep;
	return 0;
}

// RFC 8489 14.8: 21 reserved bits, class 3..6, number 0..99, then UTF-8 text.
static int read_error(struct stun_msg *msg, struct cursor *c)
{
	uint8_t cls, number;

	cursor_take(c, 2);
	cls = cursor_read_u8(c) & 7;
	number = cursor_read_u8(c);
	if (c->is_bad || cls < 3 || cls > 6 || number > 99)
		return err_set(EBADMSG);
	msg->error_code = cls * 100 + number;
	msg->error_reason.size = cursor_left(c);
	msg->error_reason.data = cursor_take(c, msg->error_reason.size);
	return 0;
}

// A dual-stack allocation carries the attribute twice, IPv4 and IPv6 (RFC 8656 7.3).
static int read_relayed(struct stun_msg *msg, const struct stun_bytes *value)
{
	struct ip_endpoint ep, *slot;
	int rc = stun_xor_address_read(value, &msg->txid, &ep);

	if (rc < 0)
		return rc;
	slot = ep.addr.family == IP_FAMILY_V4 ? &msg->relayed_v4 : &msg->relayed_v6;
	if (slot->addr.family == IP_FAMILY_NONE)
		*slot = ep;
	return 0;
}

static const struct rule *find_rule(uint16_t type)
{
	for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
		if (rules[i].type == type)
			return &rules[i];
	}
	return NULL;
}

static int read_value(struct stun_msg *msg, const struct rule *rule, const struct stun_attr *attr)
{
	struct cursor c = cursor_reader(attr->value.data, attr->value.size);
	uint8_t *field = (uint8_t *)msg + rule->offset;
	uint64_t u64;
	uint32_t u32;
	uint16_t u16;
	size_t pos;

	switch ((enum shape)rule->shape) {
	case SHAPE_BYTES:
		memcpy(field, &attr->value, sizeof(attr->value));
		return attr->value.size <= rule->limit ? 0 : err_set(EBADMSG);
	case SHAPE_FLAG:
		break;
	case SHAPE_U16:
		u16 = cursor_read_u16(&c);
		cursor_take(&c, 2);
		memcpy(field, &u16, sizeof(u16));
		break;
	case SHAPE_U32:
		u32 = cursor_read_u32(&c);
		memcpy(field, &u32, sizeof(u32));
		break;
	case SHAPE_U64:
		u64 = cursor_read_u64(&c);
		memcpy(field, &u64, sizeof(u64));
		break;
	case SHAPE_XOR_ADDRESS:
		return stun_xor_address_read(
			&attr->value, &msg->txid, (struct ip_endpoint *)(void *)field);
	case SHAPE_RELAYED_ADDRESS:
		return read_relayed(msg, &attr->value);
	case SHAPE_ERROR:
		return attr->value.size <= rule->limit ? read_error(msg, &c) : err_set(EBADMSG);
	case SHAPE_POSITION:
		pos = (size_t)(attr->value.data - msg->data) - ATTR_HEADER_SIZE;
		memcpy(field, &pos, sizeof(pos));
		cursor_take(&c, rule->limit);
		break;
	}
	return c.is_bad || cursor_left(&c) != 0 ? err_set(EBADMSG) : 0;
}

// One attribute header, value and padding. A walk ends at the end or at the first overrun.
static bool attr_read(struct cursor *c, struct stun_attr *out)
{
	out->type = cursor_read_u16(c);
	out->value.size = cursor_read_u16(c);
	out->value.data = cursor_take(c, out->value.size);
	cursor_take(c, (4 - out->value.size % 4) % 4);
	return !c->is_bad;
}

bool stun_attr_next(const struct stun_msg *msg, size_t *pos, struct stun_attr *out)
{
	struct cursor c = cursor_reader(msg->data, msg->size);

	cursor_take(&c, *pos == 0 ? STUN_HEADER_SIZE : *pos);
	if (cursor_left(&c) == 0 || !attr_read(&c, out))
		return false;
	*pos = c.pos;
	return true;
}

// Whether the message's own rules let an attribute of this type count at this place.
static bool attr_counts(const struct stun_msg *msg, const struct rule *rule)
{
	if (msg->has & STUN_HAS_FINGERPRINT)
		return false;
	if (msg->has & STUN_HAS_INTEGRITY)
		return rule->type == STUN_ATTR_FINGERPRINT;
	return (msg->has & rule->has) == 0 || rule->shape == SHAPE_RELAYED_ADDRESS;
}

int stun_msg_parse(struct stun_msg *out, const void *data, size_t size)
{
	struct stun_msg msg = {.data = data, .size = size};
	struct cursor c = cursor_reader(data, size);
	struct stun_attr attr;
	uint16_t type;

	if (!stun_is_message(data, size))
		return err_set(EBADMSG);
	type = cursor_read_u16(&c);
	// RFC 8489 figure 3: the class bits sit at 4 and 8 between the method bits.
	msg.cls = (enum stun_class)((type >> 4 & 1) | (type >> 7 & 2));
	msg.method = (type & 0x000f) | (type >> 1 & 0x0070) | (type >> 2 & 0x0f80);
	cursor_take(&c, 6);
	cursor_read(&c, msg.txid.bytes, sizeof(msg.txid.bytes));
	while (cursor_left(&c) > 0) {
		const struct rule *rule;

		if (!attr_read(&c, &attr))
			return err_set(EBADMSG);
		rule = find_rule(attr.type);
		if (rule == NULL || !attr_counts(&msg, rule))
			continue;
		if (read_value(&msg, rule, &attr) < 0)
			return err_set(EBADMSG);
		msg.has |= rule->has;
	}
	*out = msg;
	return 0;
}

// The length field counts what follows the header; it is kept right after every attribute.
static void length_update(struct stun_writer *w)
{
	struct cursor c = cursor_writer(w->cur.data, w->cur.size);

	if (w->cur.is_bad)
		return;
	cursor_take(&c, LENGTH_POS);
	cursor_write_u16(&c, (uint16_t)(w->cur.pos - STUN_HEADER_SIZE));
}

void stun_writer_init(
	struct stun_writer *w,
	void *buf,
	size_t size,
	enum stun_class cls,
	uint16_t method,
	const struct stun_txid *txid)
{
	unsigned m = method, k = cls;
	unsigned type =
		(m & 0x000f) | (m & 0x0070) << 1 | (m & 0x0f80) << 2 | (k & 1) << 4 | (k & 2) << 7;

	// Beyond this the length field would not hold the size.
	w->cur = cursor_writer(buf, size < UINT16_MAX ? size : UINT16_MAX);
	w->txid = *txid;
	cursor_write_u16(&w->cur, (uint16_t)type);
	cursor_write_u16(&w->cur, 0);
	cursor_write_u32(&w->cur, STUN_COOKIE);
	cursor_write(&w->cur, txid->bytes, sizeof(txid->bytes));
}

void stun_writer_add(struct stun_writer *w, uint16_t type, const void *value, size_t size)
{
	const uint8_t zeros[3] = {0};

	if (size > UINT16_MAX)
		w->cur.is_bad = true;
	cursor_write_u16(&w->cur, type);
	cursor_write_u16(&w->cur, (uint16_t)size);
	if (size > 0)
		cursor_write(&w->cur, value, size);
	cursor_write(&w->cur, zeros, (4 - size % 4) % 4);
	length_update(w);
}

void stun_writer_add_u32(struct stun_writer *w, uint16_t type, uint32_t value)
{
	uint8_t bytes[4];
	struct cursor c = cursor_writer(bytes, sizeof(bytes));

	cursor_write_u32(&c, value);
	stun_writer_add(w, type, bytes, sizeof(bytes));
}

void stun_writer_add_u64(struct stun_writer *w, uint16_t type, uint64_t value)
{
	uint8_t bytes[8];
	struct cursor c = cursor_writer(bytes, sizeof(bytes));

	cursor_write_u64(&c, value);
	stun_writer_add(w, type, bytes, sizeof(bytes));
}

void stun_writer_add_xor_address(struct stun_writer *w, uint16_t type, const struct ip_endpoint *ep)
{
	const uint8_t cookie[4] = {0x21, 0x12, 0xa4, 0x42};
	size_t addr_size = ip_addr_size(&ep->addr);
	uint8_t value[20];
	struct cursor c = cursor_writer(value, sizeof(value));

	if (addr_size == 0) {
		w->cur.is_bad = true;
		return;
	}
	cursor_write_u8(&c, 0);
	cursor_write_u8(&c, addr_size == 4 ? FAMILY_V4 : FAMILY_V6);
	cursor_write_u16(&c, ep->port ^ (uint16_t)(STUN_COOKIE >> 16));
	for (unsigned i = 0; i < addr_size; i++) {
		uint8_t mask = i < 4 ? cookie[i] : w->txid.bytes[i - 4];

		cursor_write_u8(&c, ep->addr.bytes[i] ^ mask);
	}
	stun_writer_add(w, type, value, c.pos);
}

void stun_writer_add_error(struct stun_writer *w, unsigned code, const char *reason)
{
	uint8_t value[4 + 128] = {0};
	size_t reason_size = strlen(reason);

	if (code < 300 || code > 699 || reason_size > sizeof(value) - 4) {
		w->cur.is_bad = true;
		return;
	}
	value[2] = (uint8_t)(code / 100);
	value[3] = (uint8_t)(code % 100);
	memcpy(value + 4, reason, reason_size);
	stun_writer_add(w, STUN_ATTR_ERROR_CODE, value, 4 + reason_size);
}

int stun_writer_finish(const struct stun_writer *w)
{
	return w->cur.is_bad ? err_set(EMSGSIZE) : (int)w->cur.pos;
}
