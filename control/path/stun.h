// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include "control/base/addr.h"
#include "control/base/cursor.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/**
 * STUN messages (RFC 8489) as bytes in and bytes out: a strict parser, an attribute walker for
 * what the parser does not keep, and a writer with a sticky error. Serves ICE connectivity checks
 * and the TURN dialect of the relays.
 *
 * A received message is judged in this order: stun_is_message() (cheap, for demultiplexing),
 * stun_msg_parse() (all lengths), stun_msg_verify() (MESSAGE-INTEGRITY). Nothing of an unverified
 * message may change state. FINGERPRINT is written where the dialect has it but not demanded.
 *
 * Byte order: struct fields are in host order, struct ip_endpoint as everywhere.
 * Ownership: a parsed message borrows the datagram. Thread-safety: pure functions; a struct
 * stun_mac belongs to one thread.
 */

#define STUN_HEADER_SIZE 20
#define STUN_COOKIE 0x2112a442u
#define STUN_TXID_SIZE 12
#define STUN_INTEGRITY_SIZE 20 // HMAC-SHA1
#define STUN_LONG_TERM_KEY_SIZE 16 // MD5

enum stun_class {
	STUN_CLASS_REQUEST = 0,
	STUN_CLASS_INDICATION = 1,
	STUN_CLASS_SUCCESS = 2,
	STUN_CLASS_ERROR = 3,
};

enum stun_method {
	STUN_METHOD_BINDING = 0x001,
	STUN_METHOD_ALLOCATE = 0x003,
	STUN_METHOD_REFRESH = 0x004,
	STUN_METHOD_SEND = 0x006,
	STUN_METHOD_DATA = 0x007,
	STUN_METHOD_CREATE_PERMISSION = 0x008,
	STUN_METHOD_CHANNEL_BIND = 0x009,
};

enum stun_attr_type {
	STUN_ATTR_MAPPED_ADDRESS = 0x0001,
	STUN_ATTR_USERNAME = 0x0006,
	STUN_ATTR_MESSAGE_INTEGRITY = 0x0008,
	STUN_ATTR_ERROR_CODE = 0x0009,
	STUN_ATTR_UNKNOWN_ATTRIBUTES = 0x000a,
	STUN_ATTR_CHANNEL_NUMBER = 0x000c,
	STUN_ATTR_LIFETIME = 0x000d,
	STUN_ATTR_XOR_PEER_ADDRESS = 0x0012,
	STUN_ATTR_DATA = 0x0013,
	STUN_ATTR_REALM = 0x0014,
	STUN_ATTR_NONCE = 0x0015,
	STUN_ATTR_XOR_RELAYED_ADDRESS = 0x0016,
	STUN_ATTR_REQUESTED_ADDRESS_FAMILY = 0x0017,
	STUN_ATTR_REQUESTED_TRANSPORT = 0x0019,
	STUN_ATTR_XOR_MAPPED_ADDRESS = 0x0020,
	STUN_ATTR_PRIORITY = 0x0024,
	STUN_ATTR_USE_CANDIDATE = 0x0025,
	STUN_ATTR_ADDITIONAL_ADDRESS_FAMILY = 0x8000,
	STUN_ATTR_SOFTWARE = 0x8022,
	STUN_ATTR_FINGERPRINT = 0x8028,
	STUN_ATTR_ICE_CONTROLLED = 0x8029,
	STUN_ATTR_ICE_CONTROLLING = 0x802a,
	STUN_ATTR_ADDITIONAL_ADDRESS_FAMILY_DRAFT = 0x8032, // before RFC 8656; what coturn knows
};

/** Which optional parts of struct stun_msg were present (bits of its `has`). */
enum stun_has {
	STUN_HAS_USERNAME = 1 << 0,
	STUN_HAS_INTEGRITY = 1 << 1,
	STUN_HAS_ERROR_CODE = 1 << 2,
	STUN_HAS_CHANNEL_NUMBER = 1 << 3,
	STUN_HAS_LIFETIME = 1 << 4,
	STUN_HAS_PEER_ADDRESS = 1 << 5,
	STUN_HAS_REALM = 1 << 6,
	STUN_HAS_NONCE = 1 << 7,
	STUN_HAS_RELAYED_ADDRESS = 1 << 8,
	STUN_HAS_MAPPED_ADDRESS = 1 << 9,
	STUN_HAS_PRIORITY = 1 << 10,
	STUN_HAS_USE_CANDIDATE = 1 << 11,
	STUN_HAS_FINGERPRINT = 1 << 12,
	STUN_HAS_CONTROLLED = 1 << 13,
	STUN_HAS_CONTROLLING = 1 << 14,
	STUN_HAS_DATA = 1 << 15,
};

/** A transaction id. */
struct stun_txid {
	uint8_t bytes[STUN_TXID_SIZE];
};

/** A variable length attribute value inside the datagram; not NUL terminated. */
struct stun_bytes {
	const uint8_t *data;
	size_t size; // bytes, without padding
};

/**
 * A parsed message. Of a repeated attribute the first counts (RFC 8489 14), except that the
 * first IPv4 and the first IPv6 XOR-RELAYED-ADDRESS are both kept. Attributes after
 * MESSAGE-INTEGRITY are not looked at, except FINGERPRINT.
 */
struct stun_msg {
	const uint8_t *data; // whole datagram, borrowed
	size_t size;
	enum stun_class cls;
	uint16_t method; // enum stun_method, or one we do not know
	struct stun_txid txid;
	uint32_t has; // enum stun_has
	struct stun_bytes username;
	struct stun_bytes realm;
	struct stun_bytes nonce;
	struct stun_bytes payload; // DATA
	struct stun_bytes error_reason;
	uint16_t error_code; // 300..699
	uint16_t channel;
	uint32_t lifetime_s;
	uint32_t priority;
	uint64_t tie_breaker; // of CONTROLLED or CONTROLLING, see has
	struct ip_endpoint mapped; // XOR-MAPPED-ADDRESS
	struct ip_endpoint peer; // XOR-PEER-ADDRESS
	struct ip_endpoint relayed_v4; // XOR-RELAYED-ADDRESS, family NONE when absent
	struct ip_endpoint relayed_v6;
	size_t integrity_pos; // offset of the MESSAGE-INTEGRITY attribute header
	size_t fingerprint_pos; // offset of the FINGERPRINT attribute header
};

/** One attribute met by stun_attr_next(). */
struct stun_attr {
	uint16_t type; // enum stun_attr_type, or one we do not know
	struct stun_bytes value;
};

/**
 * Cheap test for demultiplexing: top bits zero, magic cookie, header length equal to the rest of
 * the datagram and a multiple of 4. WireGuard messages and ChannelData never pass.
 */
bool stun_is_message(const void *data, size_t size);

/**
 * Parses a whole datagram. Unknown attributes are skipped; a known attribute of wrong size, or
 * any attribute that reaches beyond the message, makes the message bad.
 * @return 0, -EBADMSG
 */
[[nodiscard]] int stun_msg_parse(struct stun_msg *out, const void *data, size_t size);

/** Walks all attributes of a parsed message. @param pos 0 before the first call. @return found */
bool stun_attr_next(const struct stun_msg *msg, size_t *pos, struct stun_attr *out);

/** Decodes an XOR-*-ADDRESS value; @p txid is needed for IPv6. @return 0, -EBADMSG */
[[nodiscard]] int stun_xor_address_read(
	const struct stun_bytes *value,
	const struct stun_txid *txid,
	struct ip_endpoint *out);

/** HMAC-SHA1 context, fetched from libcrypto once and used for every message of a thread. */
struct stun_mac;

/** @return owned context, or NULL with errno ENOMEM */
struct stun_mac *stun_mac_create(void);
/** Wipes and frees; accepts NULL. */
void stun_mac_destroy(struct stun_mac *mac);

/**
 * Verifies MESSAGE-INTEGRITY in constant time.
 * @return whether it is present and right under @p key
 */
bool stun_msg_verify(
	struct stun_mac *mac,
	const struct stun_msg *msg,
	const void *key,
	size_t key_size);
/** @return whether FINGERPRINT is present, last, and right */
bool stun_msg_verify_fingerprint(const struct stun_msg *msg);

/**
 * Key of the long-term credential mechanism: MD5(username:realm:password), no SASLprep.
 * @return 0, -ENOMEM
 */
[[nodiscard]] int stun_long_term_key(
	uint8_t out[STUN_LONG_TERM_KEY_SIZE],
	const char *username,
	const char *realm,
	const char *password);

/**
 * Builds one message into the caller's buffer. Errors stick: check stun_writer_finish() only.
 * Attributes are padded with zeros and appear in the order of the calls.
 */
struct stun_writer {
	struct cursor cur;
	struct stun_txid txid;
};

/** Starts a message; the header length follows each attribute. */
void stun_writer_init(
	struct stun_writer *w,
	void *buf,
	size_t size,
	enum stun_class cls,
	uint16_t method,
	const struct stun_txid *txid);
/** Appends an attribute of @p size bytes (0 for a flag such as USE-CANDIDATE). */
void stun_writer_add(struct stun_writer *w, uint16_t type, const void *value, size_t size);
/** Appends a 4-byte attribute (PRIORITY, LIFETIME; CHANNEL-NUMBER is @p value << 16). */
void stun_writer_add_u32(struct stun_writer *w, uint16_t type, uint32_t value);
/** Appends an 8-byte attribute (ICE-CONTROLLED, ICE-CONTROLLING). */
void stun_writer_add_u64(struct stun_writer *w, uint16_t type, uint64_t value);
/** Appends an XOR-*-ADDRESS attribute. */
void stun_writer_add_xor_address(
	struct stun_writer *w,
	uint16_t type,
	const struct ip_endpoint *ep);
/** Appends ERROR-CODE; @p code 300..699. */
void stun_writer_add_error(struct stun_writer *w, unsigned code, const char *reason);
/** Appends MESSAGE-INTEGRITY over everything so far. */
void stun_writer_add_integrity(
	struct stun_writer *w,
	struct stun_mac *mac,
	const void *key,
	size_t key_size);
/** Appends FINGERPRINT; nothing may follow. */
void stun_writer_add_fingerprint(struct stun_writer *w);
/** @return size of the message in bytes, or -EMSGSIZE when anything went wrong */
[[nodiscard]] int stun_writer_finish(const struct stun_writer *w);
