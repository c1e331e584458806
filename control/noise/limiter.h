// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include "control/base/addr.h"
#include "control/noise/hash.h"

#include <stdbool.h>
#include <stdint.h>

/**
 * How many handshake messages a node works on: a count per second for the whole node that says
 * when cookies are demanded, and a token bucket per source address for those who have one.
 *
 * The buckets are only asked after a cookie proved the source: otherwise anyone could empty the
 * bucket of somebody else by forging the address. They sit in a fixed table (no allocation, no
 * way to exhaust memory); a full set gives the slot that was idle longest to the new source.
 * Sources are IPv4 addresses or IPv6 /64 networks.
 *
 * Ownership: caller's memory, about 130 KB. Thread-safety: one owner.
 */

enum {
	NOISE_LIMITER_SETS = 1024,
	NOISE_LIMITER_WAYS = 4,
	/** Default handshake messages per second before cookies are demanded. */
	NOISE_LIMITER_RATE = 100,
	/** Default handshake messages per second and burst of one proven source. */
	NOISE_LIMITER_SOURCE_RATE = 50,
};

struct noise_limiter_bucket {
	uint8_t source[17]; // family and address
	uint64_t full_ns; // when the bucket will be full again (GCRA)
};

struct noise_limiter {
	uint32_t rate; // per second, node
	uint32_t source_rate; // per second, source
	uint32_t n_window; // messages in this second
	uint64_t window_ns; // start of this second
	uint64_t loaded_until_ns;
	uint8_t table_key[16];
	struct noise_limiter_bucket buckets[NOISE_LIMITER_SETS][NOISE_LIMITER_WAYS];
};

/** @param rate, source_rate  0 for the defaults */
void noise_limiter_init(
	struct noise_limiter *l,
	struct noise_crypto *c,
	uint32_t rate,
	uint32_t source_rate);

/** Counts one message with a right mac1. @return whether the node is under load (for a second more). */
bool noise_limiter_count(struct noise_limiter *l, uint64_t now_ns);

/** Takes a token of @p source. @return false when it has none left. */
bool noise_limiter_source_take(
	struct noise_limiter *l,
	uint64_t now_ns,
	const struct ip_endpoint *source);
