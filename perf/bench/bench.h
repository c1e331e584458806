// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include "perf/bench/bed.h"
#include "perf/bench/result.h"

/**
 * The benches: each runs, prints lines of the table and appends to the results.
 *
 * Thread-safety: none.
 */

struct bench_config {
	unsigned runs; // at least 5 for figures that are to be believed
	unsigned rounds; // of BED_ROUND packets, per run and case
	double update_seconds; // per run of policy_update
	unsigned handshakes; // per run
	unsigned connection_runs;
	double connection_seconds; // measured per run, after some 15 s of opening
};

/** aead, path_up, path_down for all sizes and numbers of tunnels, and what scales from 1 to 10,000. */
void bench_path(struct bed *bed, const struct bench_config *config, struct results *r);
/** Policy sets alone, beside rte_acl. */
void bench_acl(struct bed *bed, const struct bench_config *config, struct results *r);
/** miss and deny. */
void bench_miss(struct bed *bed, const struct bench_config *config, struct results *r);
/** Responder handshakes per second, alone and in a flood. */
void bench_handshake(const struct bench_config *config, struct results *r);
/** From the portal's message to the first packet judged by it; uses a second lcore. */
void bench_policy_update(struct bed *bed, const struct bench_config *config, struct results *r);
/** The control core with 10,000 clients that check every 1.5 s; uses a second lcore. Call it last. */
void bench_connections(struct bed *bed, const struct bench_config *config, struct results *r);
/**
 * Two workers beside each other against one alone, and packets that all arrive at the wrong worker.
 * @p bed has two workers; uses a second lcore.
 */
void bench_workers(struct bed *bed, const struct bench_config *config, struct results *r);
/** What all that takes of memory; call it with the bed at its fullest. */
void bench_memory(struct bed *bed, struct results *r);
