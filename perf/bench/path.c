// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "perf/bench/bench.h"

#include <rte_cycles.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Whole path and bare AEAD, each on the same mbufs in the same order, one directly after the other
// and in turns first. All cases of a run are measured before the next run begins, so that ratios
// between cases compare neighbours in time as well.

enum path_kind {
	PATH_UP,
	PATH_DOWN,
};

struct path_case {
	enum path_kind kind;
	unsigned size, tunnels;
	struct sample_set path, aead, ratio, over;
	struct sample_set own, over_own; // the worker's own choice of AEAD
	struct sample_set stage[PROBE_COUNT];
	unsigned interrupted;
	uint64_t packets, passed, drops;
};

static const unsigned path_sizes[] = {64, 256, 512, 1280, BED_SIZE_IMIX};
static const unsigned path_tunnels[] = {1, 100, 1000, 10000};

enum {
	N_SIZES = sizeof(path_sizes) / sizeof(path_sizes[0]),
	N_TUNNELS = sizeof(path_tunnels) / sizeof(path_tunnels[0]),
	N_CASES = 2 * N_SIZES * N_TUNNELS,
};

// What one case works with; too big for the stack.
struct path_scratch {
	struct bed_round round;
	struct measure path, aead, own;
	struct probe probe;
	struct aead *ipsec_mb; // what the requirements compare with, whatever the worker uses
	uint64_t limit; // a burst that took longer was interrupted
};

static const char *size_name(unsigned size)
{
	static char text[16];

	if (size == BED_SIZE_IMIX)
		return "imix";
	snprintf(text, sizeof(text), "%u", size);
	return text;
}

static void round_make(struct bed *bed, struct bed_round *r, enum path_kind kind)
{
	if (kind == PATH_UP)
		bed_round_up(bed, r, BED_TARGET_FLOW);
	else
		bed_round_down(bed, r);
}

static void aead_measure(
	struct bed *bed,
	struct path_scratch *s,
	enum path_kind kind,
	struct aead *aead,
	struct measure *to)
{
	struct aead_op ops[DP_BURST_MAX];

	for (unsigned at = 0; at < s->round.n; at += DP_BURST_MAX) {
		uint64_t t0;
		unsigned n;

		n = kind == PATH_UP ? bed_ops_up(bed, &s->round, at, ops, false)
				    : bed_ops_down(bed, &s->round, at, ops, false);
		t0 = rte_rdtsc();
		if (kind == PATH_UP)
			aead_open_burst(aead, ops, n);
		else
			aead_seal_burst(aead, ops, n);
		measure_add(to, rte_rdtsc() - t0, n);
	}
}

// The loop as worker_main() has it.
static void worker_step(struct bed *bed)
{
	worker_run_once(bed->w, bed->now);
	if (--bed->w->loops_to_housekeeping == 0)
		worker_housekeep(bed->w);
}

static void probe_add(struct probe *to, const struct probe *from)
{
	for (unsigned i = 0; i < PROBE_COUNT; i++)
		to->cycles[i] += from->cycles[i];
}

static void path_measure(struct bed *bed, struct path_scratch *s, struct path_case *c, int port)
{
	for (unsigned at = 0; at < s->round.n; at += DP_BURST_MAX) {
		unsigned n = bed_feed(bed, &s->round, at, port);
		uint64_t t0, cycles;

		memset(&bed->w->probe, 0, sizeof(bed->w->probe));
		t0 = rte_rdtsc();
		bed->w->probe.last_tsc = t0;
		worker_step(bed);
		cycles = rte_rdtsc() - t0;
		measure_add(&s->path, cycles, n);
		bed->now += cycles;
		if (cycles <= s->limit)
			probe_add(&s->probe, &bed->w->probe);
		c->passed += bed_take(bed);
		c->packets += n;
	}
	s->round.n = 0; // the worker and bed_take() freed them
}

// The same packets for either AEAD and for the path, made anew each time.
static void round_run(struct bed *bed, struct path_scratch *s, struct path_case *c)
{
	bed_round_draw(bed, &s->round, BED_ROUND, c->tunnels, c->size);
	round_make(bed, &s->round, c->kind);
	aead_measure(bed, s, c->kind, s->ipsec_mb, &s->aead);
	round_make(bed, &s->round, c->kind);
	aead_measure(bed, s, c->kind, bed->w->aead, &s->own);
	round_make(bed, &s->round, c->kind);
	path_measure(bed, s, c, c->kind == PATH_UP ? BED_WAN : BED_LAN);
}

static void case_run(
	struct bed *bed,
	const struct bench_config *config,
	struct path_scratch *s,
	struct path_case *c)
{
	uint64_t before = bed_drops(bed);
	double path, aead, own;

	s->path.n = s->aead.n = s->own.n = 0;
	// One round to bring the case's working set to where it would be.
	s->limit = UINT64_MAX;
	round_run(bed, s, c);
	s->limit = measure_limit(&s->path);
	s->path.n = s->aead.n = s->own.n = 0;
	memset(&s->probe, 0, sizeof(s->probe));
	for (unsigned i = 0; i < config->rounds; i++)
		round_run(bed, s, c);
	path = measure_result(&s->path, &c->interrupted);
	aead = measure_result(&s->aead, &c->interrupted);
	own = measure_result(&s->own, &c->interrupted);
	sample_add(&c->path, path);
	sample_add(&c->aead, aead);
	sample_add(&c->ratio, path / aead);
	sample_add(&c->over, path - aead);
	sample_add(&c->own, own);
	sample_add(&c->over_own, path - own);
	for (unsigned i = 0; i < PROBE_COUNT; i++)
		sample_add(
			&c->stage[i],
			(double)s->probe.cycles[i] / (config->rounds * (double)BED_ROUND));
	c->drops += bed_drops(bed) - before;
}

static json_t *stages_json(const struct path_case *c)
{
	static const char *const names[] = {
#define PROBE_TEXT(name) #name,
		PROBES(PROBE_TEXT)
#undef PROBE_TEXT
	};
	json_t *stages = json_object();

	for (unsigned i = 0; i < PROBE_COUNT; i++) {
		double cycles = sample_median(&c->stage[i]);

		if (cycles >= 0.05)
			json_object_set_new(stages, names[i], json_real(cycles));
	}
	return stages;
}

static void case_report(const struct path_case *c, struct results *r)
{
	const char *bench = c->kind == PATH_UP ? "path_up" : "path_down";
	json_t *result = result_add(r, bench, size_name(c->size), c->tunnels, BED_FLOWS_PER_CLIENT);

	result_cycles(r, result, &c->path, bed_size_mean(c->size));
	result_samples(result, "aead_cycles_per_packet", &c->aead);
	result_samples(result, "aead_ratio", &c->ratio);
	result_samples(result, "over_aead_cycles", &c->over);
	result_samples(result, "own_aead_cycles_per_packet", &c->own);
	result_samples(result, "over_own_aead_cycles", &c->over_own);
	result_number(result, "drops", (double)c->drops);
	result_number(result, "lost", (double)(c->packets - c->passed));
	result_number(result, "interrupted", c->interrupted);
	json_object_set_new(result, "stages", stages_json(c));
}

// Packets per second with 10,000 tunnels as a share of those with one, run by run.
static void
scale_report(const struct path_case *one, const struct path_case *many, struct results *r)
{
	json_t *result =
		result_add(r, "scale", size_name(one->size), many->tunnels, BED_FLOWS_PER_CLIENT);
	struct sample_set ratio = {0};

	for (unsigned i = 0; i < one->path.n; i++)
		sample_add(&ratio, one->path.value[i] / many->path.value[i]);
	json_object_set_new(
		result, "path", json_string(one->kind == PATH_UP ? "path_up" : "path_down"));
	result_samples(result, "ratio", &ratio);
}

// The AEAD alone with its data and one key in the first cache.
static void
aead_warm(struct bed *bed, const struct bench_config *config, struct results *r, unsigned size)
{
	struct aead *aead = aead_create_engine(SOCKET_ID_ANY, AEAD_ENGINE_IPSEC_MB);
	struct path_scratch *s = calloc(1, sizeof(*s));
	struct aead_op ops[DP_BURST_MAX];
	struct sample_set samples = {0};
	json_t *result;

	if (s == NULL || aead == NULL)
		abort();
	for (unsigned run = 0; run < config->runs; run++) {
		s->aead.n = 0;
		bed_round_draw(bed, &s->round, BED_ROUND, 1, size);
		bed_round_up(bed, &s->round, BED_TARGET_FLOW);
		bed_ops_up(bed, &s->round, 0, ops, true);
		for (unsigned i = 0; i < config->rounds * BED_ROUND / DP_BURST_MAX; i++) {
			uint64_t t0 = rte_rdtsc();

			// Deciphering twice over is as much work; that the tags are wrong by then costs
			// nothing in a comparison without branches.
			aead_open_burst(aead, ops, DP_BURST_MAX);
			measure_add(&s->aead, rte_rdtsc() - t0, DP_BURST_MAX);
		}
		bed_round_free(&s->round);
		sample_add(&samples, measure_result(&s->aead, NULL));
	}
	result = result_add(r, "aead", size_name(size), 1, 1);
	result_cycles(r, result, &samples, bed_size_mean(size));
	result_number(result, "aead_cycles_per_packet", sample_median(&samples));
	result_number(result, "drops", 0);
	json_object_set_new(result, "working_set", json_string("warm"));
	aead_destroy(aead);
	free(s);
}

static void aead_cold_report(const struct path_case *c, struct results *r)
{
	json_t *result =
		result_add(r, "aead", size_name(c->size), c->tunnels, BED_FLOWS_PER_CLIENT);

	result_cycles(r, result, &c->aead, bed_size_mean(c->size));
	result_number(result, "aead_cycles_per_packet", sample_median(&c->aead));
	result_number(result, "drops", 0);
	json_object_set_new(result, "working_set", json_string("case"));
}

static void path_report(const struct path_case *cases, struct results *r)
{
	for (unsigned i = 0; i < N_CASES; i++) {
		case_report(&cases[i], r);
		if (cases[i].kind == PATH_UP)
			aead_cold_report(&cases[i], r);
	}
	for (unsigned i = 0; i < N_CASES; i += N_TUNNELS)
		scale_report(&cases[i], &cases[i + N_TUNNELS - 1], r);
}

void bench_path(struct bed *bed, const struct bench_config *config, struct results *r)
{
	struct path_case *cases = calloc(N_CASES, sizeof(*cases));
	struct path_scratch *s = calloc(1, sizeof(*s));
	unsigned n = 0;

	if (cases == NULL || s == NULL)
		abort();
	s->ipsec_mb = aead_create_engine(SOCKET_ID_ANY, AEAD_ENGINE_IPSEC_MB);
	if (s->ipsec_mb == NULL)
		abort();
	for (int kind = PATH_UP; kind <= PATH_DOWN; kind++)
		for (unsigned i = 0; i < N_SIZES; i++)
			for (unsigned j = 0; j < N_TUNNELS; j++)
				cases[n++] = (struct path_case){
					.kind = kind,
					.size = path_sizes[i],
					.tunnels = path_tunnels[j],
				};
	bed_flows_make(bed, BED_CLIENTS);
	for (unsigned run = 0; run < config->runs; run++) {
		fprintf(stderr, "bench: path run %u of %u\n", run + 1, config->runs);
		bed_rekey(bed);
		for (unsigned i = 0; i < N_CASES; i++)
			case_run(bed, config, s, &cases[i]);
	}
	for (unsigned i = 0; i < N_SIZES; i++)
		aead_warm(bed, config, r, path_sizes[i]);
	path_report(cases, r);
	aead_destroy(s->ipsec_mb);
	free(s);
	free(cases);
}
