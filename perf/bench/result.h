// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include <jansson.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/**
 * Samples, one per run, and what is said of them: median, least and greatest.
 *
 * Thread-safety: none.
 */

enum {
	RUNS_MAX = 64,
};

struct sample_set {
	unsigned n;
	double value[RUNS_MAX];
};

void sample_add(struct sample_set *s, double value);
double sample_median(const struct sample_set *s);
double sample_min(const struct sample_set *s);
double sample_max(const struct sample_set *s);

/**
 * Adds up measured stretches and leaves out those in which the machine did something else: what
 * took more than eight times the median of its own run is an interruption. At most MEASURE_MAX.
 */
enum {
	MEASURE_MAX = 16384,
};

struct measure {
	unsigned n;
	uint64_t cycles[MEASURE_MAX];
	uint32_t packets[MEASURE_MAX];
};

void measure_add(struct measure *m, uint64_t cycles, uint32_t packets);
/** @return cycles per packet; @p interrupted (may be NULL) receives how many were left out. */
double measure_result(const struct measure *m, unsigned *interrupted);
/** @return the limit above which a stretch counts as interrupted. */
uint64_t measure_limit(const struct measure *m);

/** The array "results" being built. */
struct results {
	json_t *array;
	double tsc_hz;
};

/** Starts a result with the fields that all have. @return it, borrowed from the array */
json_t *result_add(
	struct results *r,
	const char *bench,
	const char *size,
	unsigned tunnels,
	unsigned flows_per_tunnel);
/** Sets @p name to the median, name_min and name_max. */
void result_samples(json_t *result, const char *name, const struct sample_set *s);
void result_number(json_t *result, const char *name, double value);
/** Sets cycles_per_packet, and mpps and gbps from it. */
void result_cycles(
	const struct results *r,
	json_t *result,
	const struct sample_set *s,
	double mean_size);
