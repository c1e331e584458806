// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "perf/bench/result.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	INTERRUPTED_FACTOR = 8,
};

void sample_add(struct sample_set *s, double value)
{
	assert(s->n < RUNS_MAX);
	s->value[s->n++] = value;
}

static int compare_double(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double sample_rank(const struct sample_set *s, unsigned rank)
{
	struct sample_set sorted = *s;

	if (s->n == 0)
		return 0;
	qsort(sorted.value, sorted.n, sizeof(sorted.value[0]), compare_double);
	return sorted.value[rank];
}

double sample_median(const struct sample_set *s)
{
	return sample_rank(s, s->n / 2);
}

double sample_min(const struct sample_set *s)
{
	return sample_rank(s, 0);
}

double sample_max(const struct sample_set *s)
{
	return sample_rank(s, s->n - 1);
}

void measure_add(struct measure *m, uint64_t cycles, uint32_t packets)
{
	if (m->n == MEASURE_MAX || packets == 0)
		return;
	m->cycles[m->n] = cycles;
	m->packets[m->n++] = packets;
}

static int compare_u64(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

uint64_t measure_limit(const struct measure *m)
{
	uint64_t *sorted = malloc(sizeof(m->cycles[0]) * (m->n + 1));
	uint64_t limit;

	if (sorted == NULL || m->n == 0) {
		free(sorted);
		return UINT64_MAX;
	}
	memcpy(sorted, m->cycles, sizeof(m->cycles[0]) * m->n);
	qsort(sorted, m->n, sizeof(sorted[0]), compare_u64);
	limit = sorted[m->n / 2] * INTERRUPTED_FACTOR;
	free(sorted);
	return limit;
}

double measure_result(const struct measure *m, unsigned *interrupted)
{
	uint64_t limit = measure_limit(m), cycles = 0, packets = 0;
	unsigned left_out = 0;

	for (unsigned i = 0; i < m->n; i++) {
		if (m->cycles[i] > limit) {
			left_out++;
			continue;
		}
		cycles += m->cycles[i];
		packets += m->packets[i];
	}
	if (interrupted != NULL)
		*interrupted += left_out;
	return packets > 0 ? (double)cycles / (double)packets : 0;
}

json_t *result_add(
	struct results *r,
	const char *bench,
	const char *size,
	unsigned tunnels,
	unsigned flows_per_tunnel)
{
	json_t *result = json_pack(
		"{s:s, s:i, s:i, s:i}",
		"bench",
		bench,
		"tunnels",
		(int)tunnels,
		"flows_per_tunnel",
		(int)flows_per_tunnel,
		"workers",
		1);
	char *end;
	long bytes = strtol(size, &end, 10);

	if (result == NULL)
		abort();
	json_object_set_new(result, "size", *end == 0 ? json_integer(bytes) : json_string(size));
	json_array_append_new(r->array, result);
	return result;
}

void result_number(json_t *result, const char *name, double value)
{
	json_object_set_new(result, name, json_real(value));
}

void result_samples(json_t *result, const char *name, const struct sample_set *s)
{
	char key[64];

	result_number(result, name, sample_median(s));
	snprintf(key, sizeof(key), "%s_min", name);
	result_number(result, key, sample_min(s));
	snprintf(key, sizeof(key), "%s_max", name);
	result_number(result, key, sample_max(s));
}

void result_cycles(
	const struct results *r,
	json_t *result,
	const struct sample_set *s,
	double mean_size)
{
	double mpps = r->tsc_hz / sample_median(s) / 1e6;

	result_samples(result, "cycles_per_packet", s);
	result_number(result, "runs", s->n);
	result_number(result, "mpps", mpps);
	result_number(result, "gbps", mpps * mean_size * 8 / 1e3);
}
