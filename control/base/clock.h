// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include <stdint.h>
#include <time.h>

/**
 * The machine's clocks, and the units in which they are handed on.
 *
 * Durations and deadlines are on CLOCK_BOOTTIME: it is monotonic, no step of the wall clock moves it, and
 * it goes on while the machine is suspended. Workers count the same time in *ticks* of the TSC's rate,
 * from the same zero, so that both sides compare numbers without a common starting point.
 *
 * Thread-safety: any thread.
 */

#define CLOCK_NS_PER_S 1000000000ull

static inline uint64_t clock_read_ns(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return (uint64_t)ts.tv_sec * CLOCK_NS_PER_S + (uint64_t)ts.tv_nsec;
}

/** Monotonic, suspend aware: CLOCK_BOOTTIME in nanoseconds. */
static inline uint64_t clock_boot_ns(void)
{
	return clock_read_ns(CLOCK_BOOTTIME);
}

/** The wall clock: nanoseconds since 1970. */
static inline uint64_t clock_wall_ns(void)
{
	return clock_read_ns(CLOCK_REALTIME);
}

/** Boot time in ticks of @p hz; UINT64_MAX (never) stays. */
static inline uint64_t clock_ticks(uint64_t boot_ns, uint64_t hz)
{
	unsigned __int128 ticks = (unsigned __int128)boot_ns * hz / CLOCK_NS_PER_S;

	return boot_ns == UINT64_MAX || ticks >= UINT64_MAX ? UINT64_MAX : (uint64_t)ticks;
}
