// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include "control/noise/messages.h"

#include <assert.h>
#include <stdint.h>
#include <string.h>

/**
 * TAI64N stamps of handshake initiations: 8 bytes of seconds (2^62 + 10 + UNIX time) and 4 bytes
 * of nanoseconds, big endian, so that memcmp() orders them.
 *
 * The wall clock is read once, by the caller; later stamps follow the monotonic clock, so a step
 * of the wall clock can never make a responder refuse us. Stamps of one clock strictly increase.
 *
 * Thread-safety: one owner per clock.
 */

struct tai64n {
	uint8_t bytes[NOISE_TIMESTAMP_SIZE];
};

static_assert(sizeof(struct tai64n) == 12, "wire size");

struct tai64n_clock {
	uint64_t wall_ns; // UNIX time when the monotonic clock showed mono_ns
	uint64_t mono_ns;
	uint64_t last_ns; // UNIX time of the last stamp
};

/** Makes the stamp of @p unix_ns nanoseconds since 1970-01-01 UTC. */
static inline struct tai64n tai64n_make(uint64_t unix_ns)
{
	uint64_t s = (UINT64_C(1) << 62) + 10 + unix_ns / NOISE_S_NS;
	uint32_t ns = (uint32_t)(unix_ns % NOISE_S_NS);
	struct tai64n t;

	for (int i = 0; i < 8; i++)
		t.bytes[i] = (uint8_t)(s >> (56 - 8 * i));
	for (int i = 0; i < 4; i++)
		t.bytes[8 + i] = (uint8_t)(ns >> (24 - 8 * i));
	return t;
}

/** <0, 0, >0 as @p a is before, equal to or after @p b. */
static inline int tai64n_cmp(const struct tai64n *a, const struct tai64n *b)
{
	return memcmp(a->bytes, b->bytes, sizeof(a->bytes));
}

/** Next stamp at monotonic time @p now_ns; later than every stamp before it. */
static inline struct tai64n tai64n_clock_next(struct tai64n_clock *c, uint64_t now_ns)
{
	uint64_t t = c->wall_ns + (now_ns - c->mono_ns);

	if (t <= c->last_ns)
		t = c->last_ns + 1;
	c->last_ns = t;
	return tai64n_make(t);
}
