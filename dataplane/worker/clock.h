// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include <rte_branch_prediction.h>

#include <stdint.h>

/**
 * A worker's clock: CLOCK_BOOTTIME in ticks of the TSC's rate, without a call per packet or burst.
 *
 * Between two readings of CLOCK_BOOTTIME the TSC carries it on. It is read again every second, so that
 * rates that differ by some parts per million never add up, and at once when the TSC jumped: the
 * machine was suspended (where the TSC may stand still, start again from 0, or go on), or the worker
 * slept. So authorizations that ran out during a suspend are gone at the first packet after it. The
 * reading is a vDSO call (no system call where the kernel's clock source is the TSC).
 *
 * Never goes backwards. Thread-safety: one owner.
 */

enum {
	// Freezing and thawing a machine's processes and devices takes far longer than this, with the TSC
	// running; a loop takes microseconds.
	WORKER_CLOCK_JUMP_MS = 10,
};

struct worker_clock {
	uint64_t hz, jump_tsc;
	uint64_t (*boot_ns)(void); // clock_boot_ns(), or a test's
	uint64_t tsc, synced_tsc; // of the last call; of the last reading
	uint64_t offset; // ticks - TSC
	uint64_t ticks; // handed out last
};

void worker_clock_init(
	struct worker_clock *c,
	uint64_t hz,
	uint64_t tsc,
	uint64_t (*boot_ns)(void));
/** Reads CLOCK_BOOTTIME. */
void worker_clock_sync(struct worker_clock *c, uint64_t tsc);

/** @return the time at @p tsc, which is now's. */
static inline uint64_t worker_clock_now(struct worker_clock *c, uint64_t tsc)
{
	// Backwards is a large difference, too.
	if (unlikely(tsc - c->tsc > c->jump_tsc || tsc - c->synced_tsc > c->hz))
		worker_clock_sync(c, tsc);
	c->tsc = tsc;
	if (likely(tsc + c->offset > c->ticks))
		c->ticks = tsc + c->offset;
	return c->ticks;
}
