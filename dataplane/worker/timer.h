// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include <stdint.h>

/**
 * A timer wheel over client slots: each client is in it at most once, at the earliest tick at which
 * one of its deadlines may have come. Links live in struct client, so nothing is allocated, and
 * no client is looked at before its tick.
 *
 * A deadline beyond the wheel's span (51 s) is parked at its end and placed again from there.
 * A deadline that was cleared stays in the wheel; its visit finds nothing to do.
 *
 * Thread-safety: one worker owns it.
 */

enum {
	TIMER_BUCKETS = 512,
	TIMER_TICKS_PER_SECOND = 10,
	TIMER_END = 0xffffffff,
};

struct client;

struct timer_wheel {
	uint32_t heads[TIMER_BUCKETS]; // slots
	uint64_t start_tsc, tick_tsc; // tick = 1 + (now - start) / tick_tsc
	uint32_t tick; // all up to and including this one were visited
	struct client *clients;
};

void timer_init(struct timer_wheel *t, struct client *clients, uint64_t now, uint64_t tsc_hz);
/** Has @p slot visited at @p deadline_tsc or earlier; never later than already planned. */
void timer_arm(struct timer_wheel *t, uint32_t slot, uint64_t deadline_tsc);
/** Takes @p slot out. */
void timer_disarm(struct timer_wheel *t, uint32_t slot);
/**
 * Calls visit(arg, slot) for each client whose tick has come; it is out of the wheel then and
 * visit() arms it again for what is left.
 */
void timer_run(
	struct timer_wheel *t,
	uint64_t now,
	void (*visit)(void *arg, uint32_t slot),
	void *arg);
