// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "perf/bench/acl_yardstick.h"
#include "perf/bench/bench.h"

#include <rte_cycles.h>
#include <rte_malloc.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Policy sets alone: how long compiling one takes that nobody has yet, what it occupies, and what a
// judgement costs, beside rte_acl given the same rules in the same run.

enum {
	RESOURCES_MAX = 4096,
	FILTERS_MAX = 4,
	SETS_MAX = 64,
	BURSTS = 400, // per run
};

struct shape {
	unsigned n_resources, n_filters;
	unsigned n_sets; // as many as memory and patience allow rte_acl
};

static const struct shape shapes[] = {
	{5, 3, SETS_MAX},
	{20, 3, SETS_MAX},
	{100, 3, 32},
	{1000, 3, 4},
	{4096, 4, 2},
};

enum {
	N_SHAPES = sizeof(shapes) / sizeof(shapes[0]),
};

// Ordered as in the results: ours, then the yardstick.
enum classifier {
	TABLE,
	RTE_ACL,
	N_CLASSIFIERS,
};

struct samples {
	struct sample_set compile_us, bytes, judge_one, judge_many;
};

struct scratch {
	struct bed *bed;
	struct acl_registry *registry; // knows none of the sets that the bed has
	struct acl_resource resources[RESOURCES_MAX];
	struct acl_filter filters[RESOURCES_MAX][FILTERS_MAX];
	uint16_t ordinals[RESOURCES_MAX];
	const struct acl_set *sets[SETS_MAX];
	struct acl_yardstick *yardsticks[SETS_MAX];
	struct acl_key keys[DP_BURST_MAX];
	struct measure one, many;
	struct samples samples[N_SHAPES][N_CLASSIFIERS];
};

static void resources_make(struct scratch *s, const struct shape *shape, unsigned variant)
{
	memset(s->resources, 0, sizeof(s->resources));
	for (unsigned i = 0; i < shape->n_resources; i++) {
		struct acl_resource *r = &s->resources[i];
		uint32_t id = i * 2654435761u;

		memcpy(r->id, &id, sizeof(id));
		r->prefix = (struct ip_prefix){
			.addr = ip_addr_v4((const uint8_t[]){10, (uint8_t)(i >> 8), (uint8_t)i, 0}),
			.len = 24,
		};
		for (unsigned k = 0; k < shape->n_filters; k++)
			s->filters[i][k] = (struct acl_filter){
				.protocol = (enum acl_protocol)(k % 3),
				.port_first = (uint16_t)(1 + k * 1000 + variant),
				.port_last = (uint16_t)(600 + k * 1000 + variant),
			};
		r->filters = s->filters[i];
		r->n_filters = shape->n_filters;
	}
}

static size_t bytes_used(void)
{
	struct rte_malloc_socket_stats stats = {0};

	rte_malloc_get_socket_stats(0, &stats);
	return stats.heap_allocsz_bytes;
}

// Compiles the sets of @p shape, the median of which is one sample.
static void compile_run(
	struct scratch *s,
	const struct shape *shape,
	struct samples *samples,
	enum classifier c)
{
	struct sample_set us = {0};
	size_t before = bytes_used();

	for (unsigned i = 0; i < shape->n_sets; i++) {
		uint64_t t0;

		resources_make(s, shape, i);
		t0 = rte_rdtsc();
		if (c == TABLE)
			s->sets[i] = acl_set_get(
				s->registry, s->resources, shape->n_resources, s->ordinals);
		else
			s->yardsticks[i] =
				acl_yardstick_create(s->resources, shape->n_resources, s->ordinals);
		sample_add(&us, (double)(rte_rdtsc() - t0) * 1e6 / (double)rte_get_tsc_hz());
		if (c == TABLE ? s->sets[i] == NULL : s->yardsticks[i] == NULL) {
			fputs("bench: acl: out of memory\n", stderr);
			exit(1);
		}
	}
	sample_add(&samples->compile_us, sample_median(&us));
	sample_add(&samples->bytes, (double)(bytes_used() - before) / shape->n_sets);
}

// Half of the packets are for a port that no filter has.
static void keys_make(struct scratch *s, const struct shape *shape)
{
	for (unsigned i = 0; i < DP_BURST_MAX; i++) {
		uint32_t at = bed_random(s->bed) % shape->n_resources;
		uint8_t addr[] = {10, (uint8_t)(at >> 8), (uint8_t)at, (uint8_t)bed_random(s->bed)};
		struct acl_key *key = &s->keys[i];

		*key = (struct acl_key){
			.class_ = (uint8_t)(ACL_CLASS_TCP + bed_random(s->bed) % 2),
			.family = IP_FAMILY_V4,
			.port = (uint16_t)(bed_random(s->bed) % (shape->n_filters * 1000)),
		};
		memcpy(key->addr, addr, sizeof(addr));
	}
}

// One burst of @p n_sets clients.
static void
burst_run(struct scratch *s, unsigned n_sets, enum classifier c, struct measure *measure)
{
	const struct acl_yardstick *yardsticks[DP_BURST_MAX];
	const struct acl_set *sets[DP_BURST_MAX];
	uint16_t verdicts[DP_BURST_MAX];
	uint64_t t0;

	for (unsigned i = 0; i < DP_BURST_MAX; i++) {
		unsigned at = bed_random(s->bed) % n_sets;

		sets[i] = s->sets[at];
		yardsticks[i] = s->yardsticks[at];
	}
	t0 = rte_rdtsc();
	if (c == TABLE)
		acl_classify_burst(sets, s->keys, verdicts, DP_BURST_MAX);
	else
		acl_yardstick_burst(yardsticks, s->keys, verdicts, DP_BURST_MAX);
	measure_add(measure, rte_rdtsc() - t0, DP_BURST_MAX);
}

static void judgements_run(
	struct scratch *s,
	const struct shape *shape,
	struct samples *samples,
	enum classifier c)
{
	s->one.n = s->many.n = 0;
	for (unsigned i = 0; i < BURSTS; i++) {
		keys_make(s, shape);
		burst_run(s, 1, c, &s->one);
		burst_run(s, shape->n_sets, c, &s->many);
	}
	sample_add(&samples->judge_one, measure_result(&s->one, NULL));
	sample_add(&samples->judge_many, measure_result(&s->many, NULL));
}

static void shape_run(struct scratch *s, const struct shape *shape, struct samples *samples)
{
	for (enum classifier c = TABLE; c < N_CLASSIFIERS; c++) {
		compile_run(s, shape, &samples[c], c);
		judgements_run(s, shape, &samples[c], c);
	}
	for (unsigned i = 0; i < shape->n_sets; i++) {
		acl_set_put(s->registry, s->sets[i]);
		acl_yardstick_destroy(s->yardsticks[i]);
	}
}

static void report(struct results *r, const struct shape *shape, const struct samples *samples)
{
	static const char *const names[] = {[TABLE] = "table", [RTE_ACL] = "rte_acl"};

	for (enum classifier c = TABLE; c < N_CLASSIFIERS; c++) {
		json_t *result = result_add(r, "acl", "0", 0, 0);

		json_object_set_new(result, "classifier", json_string(names[c]));
		result_number(result, "resources", shape->n_resources);
		result_number(result, "rules", shape->n_resources * shape->n_filters);
		result_samples(result, "compile_us", &samples[c].compile_us);
		result_number(result, "bytes", sample_median(&samples[c].bytes));
		result_samples(result, "judge_one_cycles", &samples[c].judge_one);
		result_samples(result, "judge_many_cycles", &samples[c].judge_many);
	}
}

void bench_acl(struct bed *bed, const struct bench_config *config, struct results *r)
{
	struct scratch *s = calloc(1, sizeof(*s));

	if (s == NULL)
		abort();
	s->bed = bed;
	s->registry = acl_registry_create(SOCKET_ID_ANY);
	if (s->registry == NULL)
		abort();
	for (unsigned run = 0; run < config->runs; run++)
		for (size_t i = 0; i < N_SHAPES; i++)
			shape_run(s, &shapes[i], s->samples[i]);
	for (size_t i = 0; i < N_SHAPES; i++)
		report(r, &shapes[i], s->samples[i]);
	acl_registry_destroy(s->registry);
	free(s);
}
