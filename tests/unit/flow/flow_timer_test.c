// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "dataplane/flow/flow.h"
#include "tests/unit/flow/fixture.h"
#include "tests/unit/unit.h"

/**
 * The timeouts of spec/datapath.md 3.7 (behaviours 47-49) on a clock of our own. A flow must be there
 * a moment before its time and gone two ticks after it, with the worker expiring in steps of any size.
 */

enum {
	END = 0, // ends a list of packets
	OUT = 1,
	IN,
};

enum {
	FIN = 0x01,
	SYN = 0x02,
	RST = 0x04,
	ACK = 0x10,
};

struct packet {
	uint32_t at_ms; // after creation, rising
	int way;
	uint8_t flags;
};

static const struct {
	const char *name;
	enum flow_kind kind;
	struct packet packets[5];
	uint64_t end_ms; // when it is over; 0: at the next tick after the last packet
} table[] = {
	{"47: UDP without reply", FLOW_KIND_UDP, {}, 60000},
	{"47: UDP without reply, still sending", FLOW_KIND_UDP, {{30000, OUT, 0}}, 90000},
	{"47: UDP with reply", FLOW_KIND_UDP, {{10, IN, 0}}, 120010},
	{"UDP with reply just in time", FLOW_KIND_UDP, {{59999, IN, 0}}, 179999},
	{"UDP replied, then client only", FLOW_KIND_UDP, {{10, IN, 0}, {90000, OUT, 0}}, 210000},
	{"echo without reply", FLOW_KIND_ECHO, {}, 60000},
	{"echo with reply", FLOW_KIND_ECHO, {{10, IN, 0}}, 120010},
	{"GRE without reply", FLOW_KIND_OTHER, {}, 60000},
	{"GRE with reply", FLOW_KIND_OTHER, {{10, IN, 0}}, 120010},
	{"TCP without reply", FLOW_KIND_TCP, {}, 60000},
	{"48: TCP with reply", FLOW_KIND_TCP, {{50, IN, SYN | ACK}}, 7440050},
	{"TCP FIN out only", FLOW_KIND_TCP, {{50, IN, ACK}, {1000, OUT, FIN | ACK}}, 7441000},
	{"TCP FIN in only", FLOW_KIND_TCP, {{50, IN, ACK}, {1000, IN, FIN | ACK}}, 7441000},
	{"49: TCP FIN both ways",
	 FLOW_KIND_TCP,
	 {{50, IN, ACK}, {1000, OUT, FIN | ACK}, {2000, IN, FIN | ACK}},
	 7000},
	{"49: FIN both ways, last ACK",
	 FLOW_KIND_TCP,
	 {{1000, IN, FIN | ACK}, {2000, OUT, FIN | ACK}, {6900, IN, ACK}},
	 11900},
	{"49: RST out", FLOW_KIND_TCP, {{50, IN, ACK}, {9000, OUT, RST}}, 0},
	{"49: RST in", FLOW_KIND_TCP, {{50, IN, ACK}, {9000, IN, RST | ACK}}, 0},
	{"RST before any reply", FLOW_KIND_TCP, {{9000, OUT, RST}}, 0},
	{"RST after FIN both ways",
	 FLOW_KIND_TCP,
	 {{50, IN, FIN}, {60, OUT, FIN}, {70, OUT, RST}},
	 0},
	{"flags mean nothing to UDP", FLOW_KIND_UDP, {{50, IN, RST | FIN}, {60, OUT, FIN}}, 120060},
};

static void expire_until(struct flow_table *t, uint64_t *now, uint64_t until, uint64_t step)
{
	while (*now < until) {
		*now = *now + step < until ? *now + step : until;
		flow_table_expire(t, *now, 100);
	}
}

static void run(size_t i, uint64_t step)
{
	uint16_t dport = table[i].kind >= FLOW_KIND_ECHO ? 0 : 80;
	uint16_t sport = table[i].kind == FLOW_KIND_OTHER ? 0 : 20007;
	struct flow_inside key = fixture_inside(1, table[i].kind, "10.0.0.1", sport, dport);
	struct flow_table *t = fixture_create(4, 100);
	uint64_t start = FIXTURE_START + 12345 + step % 63, now = start, end;
	struct flow *f;

	flow_table_expire(t, now, 100);
	f = fixture_flow(t, &key, now);
	assert_non_null(f);
	for (const struct packet *p = table[i].packets; p->way != END; p++) {
		expire_until(t, &now, start + p->at_ms, step);
		assert_ptr_equal(fixture_find(t, &key), f);
		if (p->way == OUT)
			flow_touch_out(t, f, flow_table_tick(t, now), 40, p->flags);
		else
			flow_touch_in(t, f, flow_table_tick(t, now), 40, p->flags);
	}
	end = table[i].end_ms != 0 ? start + table[i].end_ms : now;
	if (end > now) {
		expire_until(t, &now, end - 1, step);
		if (fixture_find(t, &key) != f)
			fail_msg(
				"%s, step %llu: gone too early",
				table[i].name,
				(unsigned long long)step);
	}
	expire_until(t, &now, end + 2 * FIXTURE_TICK, step);
	if (fixture_find(t, &key) != NULL)
		fail_msg("%s, step %llu: still there", table[i].name, (unsigned long long)step);
	assert_int_equal(fixture_count(t), 0);
	flow_table_destroy(t);
}

static void timeouts(void **)
{
	static const uint64_t steps[] = {1, 63, 64, 65, 1000, 5000, 300000, 10000000};

	for (size_t i = 0; i < COUNT_OF(table); i++) {
		// Millisecond steps over two hours would take long and show nothing more.
		for (size_t k = table[i].end_ms > 200000 ? 1 : 0; k < COUNT_OF(steps); k++)
			run(i, steps[k]);
	}
}

// Busy flows stay for ever and cost one look per turn of the wheel or so, not one per tick.
static void busy_flow_stays(void **)
{
	struct flow_inside key = fixture_inside(1, FLOW_KIND_UDP, "10.0.0.1", 1, 1);
	struct flow_table *t = fixture_create(4, 100);
	uint64_t now = FIXTURE_START;
	struct flow *f = fixture_flow(t, &key, now);

	flow_touch_in(t, f, 0, 1, 0);
	for (unsigned i = 0; i < 36000; i++) {
		now += FIXTURE_HZ;
		flow_touch_out(t, f, flow_table_tick(t, now), 1, 0);
		assert_int_equal(flow_table_expire(t, now, 100), 0);
	}
	assert_ptr_equal(fixture_find(t, &key), f);
	flow_table_destroy(t);
}

// No more than the budget at once; the rest later, also when new flows join meanwhile.
static void budget_is_kept(void **)
{
	enum {
		N = 1000
	};
	struct flow_table *t = fixture_create(2 * N, 10000);
	uint64_t now = FIXTURE_START;
	struct flow_table_stats stats;
	unsigned n = 0;

	for (uint16_t i = 0; i < N; i++) {
		struct flow_inside key = fixture_inside(1, FLOW_KIND_UDP, "10.0.0.1", i, 1);

		assert_non_null(fixture_flow(t, &key, now));
	}
	now += 61 * FIXTURE_HZ;
	assert_int_equal(flow_table_expire(t, now, 0), 0);
	for (uint16_t i = 0; i < 10; i++) {
		struct flow_inside key = fixture_inside(2, FLOW_KIND_UDP, "10.0.0.2", i, 1);

		n = flow_table_expire(t, now, N / 10);
		assert_int_equal(n, N / 10);
		assert_non_null(fixture_flow(t, &key, now));
	}
	assert_int_equal(flow_table_expire(t, now, N), 0);
	flow_table_stats_get(t, &stats);
	assert_int_equal(stats.flows, 10);
	assert_int_equal(stats.expired, N);
	now += 61 * FIXTURE_HZ;
	assert_int_equal(flow_table_expire(t, now, N), 10);
	flow_table_destroy(t);
}

// At the clock of a real machine: the unit of time is what the header says, and nothing overflows.
static void real_clock(void **)
{
	struct flow_table_config config = {
		.max_flows = 4,
		.max_clients = FIXTURE_CLIENTS,
		.nat_port_first = 1,
		.nat_port_last = 100,
		.now = 1ULL << 60,
		.socket_id = SOCKET_ID_ANY,
	};
	static const uint64_t hz[] = {2300000000, 2600000000, 5000000000, 1ULL << 31};
	struct flow_inside key = fixture_inside(1, FLOW_KIND_TCP, "10.0.0.1", 1, 1);

	for (size_t i = 0; i < COUNT_OF(hz); i++) {
		struct flow_table *t;
		uint64_t now = config.now + 30ULL * 365 * 86400 * hz[i] / 8; // years of uptime
		struct flow *f;

		config.tsc_hz = hz[i];
		t = flow_table_create(&config);
		assert_non_null(t);
		assert_in_range(flow_table_tick(t, config.now + 100 * hz[i]), 800, 1600);
		assert_int_equal(flow_table_tick(t, config.now - 1), 0);
		flow_table_expire(t, now, 1);
		f = fixture_flow(t, &key, now);
		flow_touch_in(t, f, flow_table_tick(t, now), 1, 0);
		assert_int_equal(flow_table_expire(t, now + 7439 * hz[i], 100), 0);
		assert_int_equal(flow_table_expire(t, now + 7441 * hz[i], 100), 1);
		flow_table_destroy(t);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(timeouts),
		cmocka_unit_test(busy_flow_stays),
		cmocka_unit_test(budget_is_kept),
		cmocka_unit_test(real_clock),
	};

	return cmocka_run_group_tests(tests, unit_eal_init, unit_eal_fini);
}
