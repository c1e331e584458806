// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "perf/bench/bench.h"

#include <rte_cycles.h>

#include <stdlib.h>

// Packets that the flow table does not know: each a new flow, or each refused and answered.

struct miss_case {
	const char *bench;
	enum bed_target target;
	unsigned tunnels;
	struct sample_set cycles;
	unsigned interrupted;
	uint64_t drops;
};

struct miss_scratch {
	struct bed_round round;
	struct measure measure;
};

enum {
	MISS_SIZE = 256,
};

static void round_run(struct bed *bed, struct miss_scratch *s, const struct miss_case *c)
{
	bed_round_draw(bed, &s->round, BED_ROUND, c->tunnels, MISS_SIZE);
	bed_round_up(bed, &s->round, c->target);
	for (unsigned at = 0; at < s->round.n; at += DP_BURST_MAX) {
		unsigned n = bed_feed(bed, &s->round, at, BED_WAN);
		uint64_t t0 = rte_rdtsc(), cycles;

		worker_run_once(bed->w, bed->now);
		cycles = rte_rdtsc() - t0;
		measure_add(&s->measure, cycles, n);
		bed->now += cycles;
		bed_take(bed);
	}
	s->round.n = 0;
}

static void case_run(
	struct bed *bed,
	const struct bench_config *config,
	struct miss_scratch *s,
	struct miss_case *c)
{
	uint64_t before = bed_drops(bed);

	s->measure.n = 0;
	for (unsigned i = 0; i < config->rounds; i++)
		round_run(bed, s, c);
	sample_add(&c->cycles, measure_result(&s->measure, &c->interrupted));
	c->drops += bed_drops(bed) - before;
	bed_flows_clear(bed, c->tunnels);
}

void bench_miss(struct bed *bed, const struct bench_config *config, struct results *r)
{
	struct miss_case cases[] = {
		{.bench = "miss", .target = BED_TARGET_NEW, .tunnels = 1},
		{.bench = "miss", .target = BED_TARGET_NEW, .tunnels = 10000},
		{.bench = "deny", .target = BED_TARGET_DENIED, .tunnels = 1},
		{.bench = "deny", .target = BED_TARGET_DENIED, .tunnels = 10000},
	};
	const unsigned n_cases = sizeof(cases) / sizeof(cases[0]);
	struct miss_scratch *s = calloc(1, sizeof(*s));

	if (s == NULL)
		abort();
	bed_flows_clear(bed, BED_CLIENTS);
	for (unsigned run = 0; run < config->runs; run++) {
		bed_rekey(bed);
		for (unsigned i = 0; i < n_cases; i++)
			case_run(bed, config, s, &cases[i]);
	}
	for (unsigned i = 0; i < n_cases; i++) {
		json_t *result = result_add(r, cases[i].bench, "256", cases[i].tunnels, 0);

		result_cycles(r, result, &cases[i].cycles, MISS_SIZE);
		result_number(result, "drops", (double)cases[i].drops);
		result_number(result, "interrupted", cases[i].interrupted);
	}
	free(s);
}
