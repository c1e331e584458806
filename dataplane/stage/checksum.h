// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include "dataplane/stage/ip_view.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/**
 * Internet checksums: verified in full, updated by deltas (RFC 1624).
 *
 * A delta is a folded one's complement sum of (new - old) over 16-bit words as they lie in memory,
 * so byte order does not matter. The delta of the way back is its complement.
 *
 * Thread-safety: pure functions.
 */

/** @return @p sum folded to 16 bits. */
static inline uint16_t csum_fold(uint32_t sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)((sum & 0xffff) + (sum >> 16));
}

/** The same for a sum of 32-bit words; 0 only if all of them are 0. */
static inline uint16_t csum_fold64(uint64_t sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffffffff) + (sum >> 32);
	return csum_fold((uint32_t)((sum & 0xffff) + (sum >> 16)));
}

/** @return the sum of @p size bytes (up to 65535) as 16-bit words, an odd one padded with 0. */
uint16_t csum_sum(const void *data, size_t size);

/** Adds @p n words (new) and the complement of @p n words (old) to a delta. */
static inline uint16_t
csum_delta_words(uint16_t delta, const void *old_words, const void *new_words, unsigned n)
{
	const uint8_t *o = old_words, *w = new_words;
	uint32_t sum = delta;

	for (unsigned i = 0; i < n; i++) {
		uint16_t a, b;

		__builtin_memcpy(&a, o + 2 * i, 2);
		__builtin_memcpy(&b, w + 2 * i, 2);
		sum += (uint16_t)~a;
		sum += b;
	}
	return csum_fold(sum);
}

/** Both deltas in one. */
static inline uint16_t csum_delta_add(uint16_t a, uint16_t b)
{
	return csum_fold((uint32_t)a + b);
}

/** Applies @p delta to the checksum at @p at; 0x0000 becomes 0xFFFF (spec/datapath.md 5.2). */
static inline void csum_apply(uint8_t *at, uint16_t delta)
{
	uint16_t c;

	__builtin_memcpy(&c, at, 2);
	c = (uint16_t)~csum_fold((uint32_t)(uint16_t)~c + delta);
	if (c == 0)
		c = 0xffff;
	__builtin_memcpy(at, &c, 2);
}

/** A sum that is still being added to; words may come in any order and width. */
struct csum {
	unsigned __int128 sum;
};

static inline void csum_add64(struct csum *c, const void *at)
{
	uint64_t word;

	__builtin_memcpy(&word, at, sizeof(word));
	c->sum += word;
}

static inline void csum_add32(struct csum *c, const void *at)
{
	uint32_t word;

	__builtin_memcpy(&word, at, sizeof(word));
	c->sum += word;
}

/** @return the sum as 16 bits, 0 only if all was 0: 2^64 is 1 modulo 65535, as 2^16 is. */
static inline uint16_t csum_end(const struct csum *c)
{
	unsigned __int128 sum = (uint64_t)c->sum + (c->sum >> 64);

	return csum_fold64((uint64_t)sum + (uint64_t)(sum >> 64));
}

/** @return whether the IPv4 header checksum is right; the header must be complete. */
static inline bool csum_ipv4_is_ok(const uint8_t *ip)
{
	struct csum c = {0};

	if (unlikely((ip[0] & 0x0fu) != 5))
		return csum_sum(ip, (ip[0] & 0x0fu) * 4) == 0xffff;
	csum_add64(&c, ip);
	csum_add64(&c, ip + 8);
	csum_add32(&c, ip + 16);
	return csum_end(&c) == 0xffff;
}

/**
 * @return whether the TCP, UDP or ICMP checksum is right. Other protocols: true. A UDP checksum
 * of 0 is none, for IPv6 too (RFC 6935): the receiver decides, as behind the official gateway.
 */
bool csum_l4_is_ok(const struct ip_view *view, const uint8_t *ip);
/** Writes the checksum of an ICMP or ICMPv6 message into it. */
void csum_icmp_write(const struct ip_view *view, uint8_t *ip);
