// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "control/gateway/timers.h"

#include "control/base/uv_cast.h"
#include "control/gateway/connection.h"
#include "control/path/relay_users.h"

#define NSEC_PER_MS 1000000ull

enum {
	TIMERS_BUDGET = 256, // connections per turn of the loop
};

int timers_init(struct gw *gw)
{
	gw->timer_deadline = ACCESS_DEADLINE_NONE;
	uv_timer_init(gw->loop, &gw->timer);
	gw->timer.data = gw;
	return heap_init(&gw->deadlines, gw->config->max_clients);
}

void timers_stop(struct gw *gw)
{
	uv_cast_close(&gw->timer);
}

void timers_fini(struct gw *gw)
{
	heap_fini(&gw->deadlines);
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static uint64_t earliest(const struct gw *gw)
{
	const struct heap_node *top = heap_top(&gw->deadlines);
	uint64_t deadline = relay_users_deadline(gw->relay_users);

	if (!gw->is_stopping)
		deadline = earlier(deadline, access_deadline(gw->access));
	return top != NULL ? earlier(deadline, top->deadline) : deadline;
}

static void late_note(struct gw *gw, uint64_t now, uint64_t deadline)
{
	if (now - deadline > gw->stats.timer_late_ns)
		gw->stats.timer_late_ns = now - deadline;
}

static void connections_run(struct gw *gw, uint64_t now)
{
	struct heap_node *top;

	for (unsigned i = 0; i < TIMERS_BUDGET; i++) {
		top = heap_top(&gw->deadlines);
		if (top == NULL || top->deadline > now)
			return;
		late_note(gw, now, top->deadline);
		connection_handle_timeout(top, now);
		now = gw_now_ns();
	}
}

static void on_timer(uv_timer_t *timer)
{
	struct gw *gw = timer->data;
	uint64_t now = gw_now_ns();

	gw->timer_deadline = ACCESS_DEADLINE_NONE; // timers_arm() looks afresh
	if (!gw->is_stopping && access_deadline(gw->access) <= now)
		access_handle_timeout(gw->access, now);
	if (relays_next_deadline(gw->relays) <= now)
		relays_handle_timeout(gw->relays, now);
	connections_run(gw, now);
}

void timers_arm(struct gw *gw)
{
	uint64_t deadline = earliest(gw), now, delay, clock_ms;

	if (deadline == gw->timer_deadline)
		return;
	gw->timer_deadline = deadline;
	if (deadline == ACCESS_DEADLINE_NONE) {
		uv_timer_stop(&gw->timer);
		return;
	}
	now = gw_now_ns();
	delay = deadline > now ? deadline - now : 0;
	uv_update_time(gw->loop);
	// The loop counts whole milliseconds of its own clock; one that fires early finds nothing due.
	clock_ms = (uv_hrtime() + delay + NSEC_PER_MS - 1) / NSEC_PER_MS;
	uv_timer_start(&gw->timer, on_timer, clock_ms - uv_now(gw->loop), 0);
}
