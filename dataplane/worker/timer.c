// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "dataplane/worker/timer.h"

#include "dataplane/worker/client.h"

void timer_init(struct timer_wheel *t, struct client *clients, uint64_t now, uint64_t tsc_hz)
{
	*t = (struct timer_wheel){
		.start_tsc = now,
		.tick_tsc = tsc_hz / TIMER_TICKS_PER_SECOND,
		.clients = clients,
	};
	for (unsigned i = 0; i < TIMER_BUCKETS; i++)
		t->heads[i] = TIMER_END;
}

static uint32_t timer_tick(const struct timer_wheel *t, uint64_t tsc)
{
	// Tick 0 means "not in the wheel".
	return tsc <= t->start_tsc ? 1 : (uint32_t)(1 + (tsc - t->start_tsc) / t->tick_tsc);
}

void timer_disarm(struct timer_wheel *t, uint32_t slot)
{
	struct client *c = &t->clients[slot];

	if (c->timer_tick == 0)
		return;
	if (c->timer_prev == TIMER_END)
		t->heads[c->timer_tick % TIMER_BUCKETS] = c->timer_next;
	else
		t->clients[c->timer_prev].timer_next = c->timer_next;
	if (c->timer_next != TIMER_END)
		t->clients[c->timer_next].timer_prev = c->timer_prev;
	c->timer_tick = 0;
}

void timer_arm(struct timer_wheel *t, uint32_t slot, uint64_t deadline_tsc)
{
	struct client *c = &t->clients[slot];
	// The tick after the deadline's own: a visit is never early.
	uint32_t tick = timer_tick(t, deadline_tsc) + 1;
	uint32_t *head;

	if (tick <= t->tick)
		tick = t->tick + 1;
	if (tick - t->tick >= TIMER_BUCKETS)
		tick = t->tick + TIMER_BUCKETS - 1;
	if (c->timer_tick != 0 && c->timer_tick <= tick)
		return;
	timer_disarm(t, slot);
	head = &t->heads[tick % TIMER_BUCKETS];
	c->timer_tick = tick;
	c->timer_tsc = t->start_tsc + (tick - 1) * t->tick_tsc;
	c->timer_prev = TIMER_END;
	c->timer_next = *head;
	if (*head != TIMER_END)
		t->clients[*head].timer_prev = slot;
	*head = slot;
}

void timer_run(
	struct timer_wheel *t,
	uint64_t now,
	void (*visit)(void *arg, uint32_t slot),
	void *arg)
{
	uint32_t end = timer_tick(t, now);

	// After a stall of more than a round every bucket is due once, whatever tick it stands for.
	if (end - t->tick > TIMER_BUCKETS && end > t->tick)
		t->tick = end - TIMER_BUCKETS;
	while (t->tick < end) {
		uint32_t slot;

		t->tick++;
		while ((slot = t->heads[t->tick % TIMER_BUCKETS]) != TIMER_END) {
			timer_disarm(t, slot);
			visit(arg, slot);
		}
	}
}
