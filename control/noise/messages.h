// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/**
 * WireGuard on the wire: message layouts, sizes and the protocol's times.
 *
 * Every struct consists of bytes only, so it has alignment 1, no padding, and may be overlaid on
 * any buffer whose size was checked first. Integers are little endian inside noise_le32/noise_le64
 * and can only be read through the functions below.
 *
 * Header only, links nothing: workers may include it. Thread-safety: pure functions.
 */

struct noise_le32 {
	uint8_t bytes[4];
};

struct noise_le64 {
	uint8_t bytes[8];
};

static inline uint32_t noise_le32_get(struct noise_le32 v)
{
	return (uint32_t)v.bytes[0] | (uint32_t)v.bytes[1] << 8 | (uint32_t)v.bytes[2] << 16
		| (uint32_t)v.bytes[3] << 24;
}

static inline struct noise_le32 noise_le32_make(uint32_t v)
{
	return (struct noise_le32){
		{(uint8_t)v, (uint8_t)(v >> 8), (uint8_t)(v >> 16), (uint8_t)(v >> 24)}};
}

static inline uint64_t noise_le64_get(struct noise_le64 v)
{
	uint64_t r = 0;

	for (int i = 7; i >= 0; i--)
		r = r << 8 | v.bytes[i];
	return r;
}

static inline struct noise_le64 noise_le64_make(uint64_t v)
{
	struct noise_le64 r;

	for (int i = 0; i < 8; i++)
		r.bytes[i] = (uint8_t)(v >> (8 * i));
	return r;
}

enum {
	NOISE_KEY_SIZE = 32,
	NOISE_HASH_SIZE = 32,
	NOISE_TAG_SIZE = 16,
	NOISE_MAC_SIZE = 16,
	NOISE_COOKIE_SIZE = 16,
	NOISE_COOKIE_NONCE_SIZE = 24,
	NOISE_TIMESTAMP_SIZE = 12,
	/** Sessions that one peer can have at a time; a slot is the index modulo this. */
	NOISE_SESSIONS = 8,
};

/** First 4 bytes as one little endian number: a type byte and three reserved zeros. */
enum noise_msg_type {
	NOISE_MSG_INITIATION = 1,
	NOISE_MSG_RESPONSE = 2,
	NOISE_MSG_COOKIE_REPLY = 3,
	NOISE_MSG_DATA = 4,
};

struct noise_msg_initiation {
	struct noise_le32 type;
	struct noise_le32 sender_index;
	uint8_t ephemeral[NOISE_KEY_SIZE];
	uint8_t static_sealed[NOISE_KEY_SIZE + NOISE_TAG_SIZE];
	uint8_t timestamp_sealed[NOISE_TIMESTAMP_SIZE + NOISE_TAG_SIZE];
	uint8_t mac1[NOISE_MAC_SIZE];
	uint8_t mac2[NOISE_MAC_SIZE];
};

struct noise_msg_response {
	struct noise_le32 type;
	struct noise_le32 sender_index;
	struct noise_le32 receiver_index;
	uint8_t ephemeral[NOISE_KEY_SIZE];
	uint8_t empty_sealed[NOISE_TAG_SIZE];
	uint8_t mac1[NOISE_MAC_SIZE];
	uint8_t mac2[NOISE_MAC_SIZE];
};

struct noise_msg_cookie_reply {
	struct noise_le32 type;
	struct noise_le32 receiver_index;
	uint8_t nonce[NOISE_COOKIE_NONCE_SIZE];
	uint8_t cookie_sealed[NOISE_COOKIE_SIZE + NOISE_TAG_SIZE];
};

/** Header of a data message; ciphertext and a 16-byte tag follow. */
struct noise_msg_data {
	struct noise_le32 type;
	struct noise_le32 receiver_index;
	struct noise_le64 counter;
};

static_assert(sizeof(struct noise_msg_initiation) == 148, "wire size");
static_assert(sizeof(struct noise_msg_response) == 92, "wire size");
static_assert(sizeof(struct noise_msg_cookie_reply) == 64, "wire size");
static_assert(sizeof(struct noise_msg_data) == 16, "wire size");
static_assert(offsetof(struct noise_msg_initiation, mac1) == 116, "mac1 covers what precedes it");
static_assert(offsetof(struct noise_msg_response, mac1) == 60, "mac1 covers what precedes it");

enum {
	/** Largest handshake message. */
	NOISE_HANDSHAKE_SIZE_MAX = sizeof(struct noise_msg_initiation),
	/** A data message is never shorter: header and tag, the size of a keepalive. */
	NOISE_DATA_SIZE_MIN = sizeof(struct noise_msg_data) + NOISE_TAG_SIZE,
};

/** @return the type of a message of at least 4 bytes, or 0 if it is shorter, unknown or reserved bytes are set. */
static inline uint32_t noise_msg_type_get(const void *msg, size_t size)
{
	struct noise_le32 type;
	uint32_t v;

	if (size < sizeof(type))
		return 0;
	memcpy(&type, msg, sizeof(type));
	v = noise_le32_get(type);
	return v <= NOISE_MSG_DATA ? v : 0;
}

#define NOISE_MS_NS UINT64_C(1000000)
#define NOISE_S_NS UINT64_C(1000000000)

/** No deadline. */
#define NOISE_NEVER UINT64_MAX

/** The initiator of a session that sent data starts a new handshake at this age. */
#define NOISE_REKEY_AFTER_TIME_NS (120 * NOISE_S_NS)
/** Nothing is sent or accepted on a session of this age; an idle one is renewed by its initiator. */
#define NOISE_REJECT_AFTER_TIME_NS (180 * NOISE_S_NS)
/** The initiator of a session that only received data starts a new handshake at this age. */
#define NOISE_REKEY_AFTER_RECV_NS (165 * NOISE_S_NS)
/** The initiator sends nothing on a session of this age (the responder: until REJECT_AFTER_TIME). */
#define NOISE_INITIATOR_SEND_TIME_NS (170 * NOISE_S_NS)
/** A peer without a new session for this long has expired. */
#define NOISE_EXPIRE_TIME_NS (3 * NOISE_REJECT_AFTER_TIME_NS)
/** Upper bound (exclusive) of the random delay of each scheduled initiation. */
#define NOISE_JITTER_MAX_NS (333 * NOISE_MS_NS)
/** A wish to initiate within this time of the last granted one is suppressed. */
#define NOISE_PROACTIVE_INTERVAL_NS (20 * NOISE_S_NS)
/** Life of a cookie secret and of a received cookie. */
#define NOISE_COOKIE_TIME_NS (120 * NOISE_S_NS)
/** Data messages with this counter or a higher one are neither sent nor accepted. */
#define NOISE_REJECT_AFTER_MESSAGES (UINT64_MAX - (UINT64_C(1) << 13))

/** Times that differ between the two ways a path can be found. */
struct noise_timing {
	uint64_t rekey_attempt_ns; // fruitless initiations for this long: expired
	uint64_t rekey_timeout_ns; // initiation retransmitted
	uint64_t keepalive_ns; // data received and nothing sent for this long: empty packet
	uint64_t unanswered_ns; // data sent and nothing received for this long: initiate
};

/** With ICE: expired after 20 s, retransmit every 5 s, keepalive 10 s, unanswered 15 s. */
#define NOISE_TIMING_ICE                                                                           \
	((struct noise_timing){                                                                    \
		.rekey_attempt_ns = 20 * NOISE_S_NS,                                               \
		.rekey_timeout_ns = 5 * NOISE_S_NS,                                                \
		.keepalive_ns = 10 * NOISE_S_NS,                                                   \
		.unanswered_ns = 15 * NOISE_S_NS,                                                  \
	})

/** Without ICE: expired after 90 s, retransmit every 2 s, keepalive 5 s, unanswered 7 s. */
#define NOISE_TIMING_ICELESS                                                                       \
	((struct noise_timing){                                                                    \
		.rekey_attempt_ns = 90 * NOISE_S_NS,                                               \
		.rekey_timeout_ns = 2 * NOISE_S_NS,                                                \
		.keepalive_ns = 5 * NOISE_S_NS,                                                    \
		.unanswered_ns = 7 * NOISE_S_NS,                                                   \
	})
