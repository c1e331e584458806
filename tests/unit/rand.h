// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

/**
 * Repeatable random numbers for tests (splitmix64). The seed is printed; UNIT_SEED in the
 * environment overrides it, to look again at a failure or to look elsewhere.
 */
struct unit_rand {
	uint64_t state;
};

static inline struct unit_rand unit_rand_init(uint64_t seed)
{
	const char *text = getenv("UNIT_SEED");

	if (text != NULL)
		seed = strtoull(text, NULL, 0);
	fprintf(stderr, "UNIT_SEED=%llu\n", (unsigned long long)seed);
	return (struct unit_rand){.state = seed};
}

static inline uint64_t unit_rand_u64(struct unit_rand *r)
{
	uint64_t z = r->state += 0x9e3779b97f4a7c15;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

/** @return 0 .. n-1. */
static inline uint32_t unit_rand_below(struct unit_rand *r, uint32_t n)
{
	return (uint32_t)(unit_rand_u64(r) % n);
}

static inline void unit_rand_fill(struct unit_rand *r, void *out, size_t size)
{
	for (size_t i = 0; i < size; i++)
		((uint8_t *)out)[i] = (uint8_t)unit_rand_u64(r);
}
