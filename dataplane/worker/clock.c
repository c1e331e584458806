// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "dataplane/worker/clock.h"

#include "control/base/clock.h"

void worker_clock_init(struct worker_clock *c, uint64_t hz, uint64_t tsc, uint64_t (*boot_ns)(void))
{
	*c = (struct worker_clock){
		.hz = hz,
		.jump_tsc = hz / 1000 * WORKER_CLOCK_JUMP_MS,
		.boot_ns = boot_ns,
		.tsc = tsc,
	};
	worker_clock_sync(c, tsc);
	c->ticks = tsc + c->offset;
}

void worker_clock_sync(struct worker_clock *c, uint64_t tsc)
{
	c->offset = clock_ticks(c->boot_ns(), c->hz) - tsc;
	c->synced_tsc = tsc;
}
