// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "dataplane/flow/flow_table.h"

/**
 * The timer wheel. An entry sits where its time would be over if no more packets came; packets do
 * not move it. When the wheel gets there it looks at what the flow says now and frees it or puts it
 * where its time is over now. Only FIN and RST bring an entry forward. Times beyond the wheel's
 * span wait at its far end.
 */

// spec/datapath.md 3.7, in seconds.
enum {
	TTL_TCP = 7440,
	TTL_UDP = 120,
	TTL_ECHO = 120,
	TTL_OTHER = 120,
	TTL_UNCONFIRMED = 60,
	TTL_FIN = 5,
};

enum {
	TCP_FIN = 0x01,
	TCP_RST = 0x04,
};

// One tick more than the ceiling: the packet came somewhere within its tick, so this is never early.
static uint32_t ttl_ticks(const struct flow_table *t, uint64_t tsc_hz, uint32_t seconds)
{
	uint64_t cycles = tsc_hz * seconds;

	return (uint32_t)((cycles + (1ULL << t->tick_shift) - 1) >> t->tick_shift) + 1;
}

void flow_timer_init(struct flow_table *t, uint64_t tsc_hz)
{
	// The largest power of two in 1/8 s: 28 bits at 2.6 GHz, so 32 bits of ticks last years.
	for (t->tick_shift = 0; tsc_hz >> 3 >> (t->tick_shift + 1) != 0;)
		t->tick_shift++;
	t->ttl[FLOW_KIND_TCP] = ttl_ticks(t, tsc_hz, TTL_TCP);
	t->ttl[FLOW_KIND_UDP] = ttl_ticks(t, tsc_hz, TTL_UDP);
	t->ttl[FLOW_KIND_ECHO] = ttl_ticks(t, tsc_hz, TTL_ECHO);
	t->ttl[FLOW_KIND_OTHER] = ttl_ticks(t, tsc_hz, TTL_OTHER);
	t->ttl_unconfirmed = ttl_ticks(t, tsc_hz, TTL_UNCONFIRMED);
	t->ttl_fin = ttl_ticks(t, tsc_hz, TTL_FIN);
}

uint32_t flow_table_tick(const struct flow_table *t, uint64_t now)
{
	return now > t->base ? (uint32_t)((now - t->base) >> t->tick_shift) : 0;
}

// The tick at which the flow is over if nothing more comes.
static uint32_t deadline(const struct flow_table *t, const struct flow *f)
{
	const uint8_t fin_both = FLOW_STATE_FIN_OUT | FLOW_STATE_FIN_IN;
	uint32_t last = RTE_MAX(f->last_out, f->last_in);
	uint32_t end = last + t->ttl[f->kind];

	if ((f->state & FLOW_STATE_RST) != 0)
		return 0;
	if ((f->state & FLOW_STATE_CONFIRMED) == 0)
		end = RTE_MIN(end, f->last_out + t->ttl_unconfirmed);
	if ((f->state & fin_both) == fin_both)
		end = RTE_MIN(end, last + t->ttl_fin);
	return end;
}

static void timer_arm(struct flow_table *t, uint32_t entry, uint32_t tick)
{
	uint32_t first = t->wheel_tick + 1, last = t->wheel_tick + FLOW_WHEEL_SIZE - 1;

	tick = RTE_MIN(RTE_MAX(tick, first), last);
	flow_link_insert(t->timer_links, t->wheel, tick % FLOW_WHEEL_SIZE, entry);
}

void flow_timer_start(struct flow_table *t, uint32_t entry)
{
	timer_arm(t, entry, deadline(t, &t->flows[entry]));
}

void flow_tcp_close(struct flow_table *t, struct flow *f, bool is_out, uint8_t tcp_flags)
{
	uint32_t entry = (uint32_t)(f - t->flows);

	if (f->kind != FLOW_KIND_TCP)
		return;
	if ((tcp_flags & TCP_RST) != 0)
		f->state |= FLOW_STATE_RST;
	if ((tcp_flags & TCP_FIN) != 0)
		f->state |= is_out ? FLOW_STATE_FIN_OUT : FLOW_STATE_FIN_IN;
	flow_link_remove(t->timer_links, t->wheel, entry);
	timer_arm(t, entry, deadline(t, f));
}

// Looks at the first entry of a wheel position and says whether it was freed.
static bool entry_check(struct flow_table *t, uint32_t entry, uint32_t tick)
{
	uint32_t end = deadline(t, &t->flows[entry]);

	if (end <= tick) {
		flow_entry_free(t, entry);
		t->stats.expired++;
		return true;
	}
	flow_link_remove(t->timer_links, t->wheel, entry);
	timer_arm(t, entry, end);
	return false;
}

unsigned flow_table_expire(struct flow_table *t, uint64_t now, unsigned budget)
{
	uint32_t tick = flow_table_tick(t, now);
	unsigned n_freed = 0;

	// After a long pause once around is enough: every entry is looked at.
	if (tick > t->wheel_tick + FLOW_WHEEL_SIZE)
		t->wheel_tick = tick - FLOW_WHEEL_SIZE;
	while (t->wheel_tick < tick) {
		const uint32_t *head = &t->wheel[(t->wheel_tick + 1) % FLOW_WHEEL_SIZE];

		for (; *head != FLOW_ENTRY_NONE; budget--) {
			if (budget == 0)
				return n_freed;
			n_freed += entry_check(t, *head, tick);
		}
		t->wheel_tick++;
	}
	return n_freed;
}
