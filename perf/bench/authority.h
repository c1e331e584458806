// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include "control/access/access.h"
#include "perf/bench/bench.h"

#include <stdatomic.h>

/**
 * The bed with the control core's side of authorizations: the portal's messages as text on one lcore,
 * packets of all clients on another.
 *
 *   main lcore    JSON text -> message -> access -> new policy published -> asks the other side for a
 *                 packet of that client
 *   second lcore  feeds bursts of established flows of all clients to the worker and runs it; puts a
 *                 packet of the asked client first and looks what became of it
 *
 * Thread-safety: one control thread; the traffic thread only between start and stop.
 */

enum {
	AUTHORITY_SAMPLES_MAX = 1 << 17,
	AUTHORITY_JSON_SIZE = 2048,
	AUTHORITY_TRAFFIC_SIZE = 256,
};

/** What must have become of the probe's packet. */
enum probe_kind {
	PROBE_JUDGED, // its flow was permitted by the policy of probe.generation
	PROBE_REFUSED, // answered with the prohibited error
};

struct authority {
	struct bed *bed;
	struct access *access;
	struct bed_round round;
	uint64_t base_tsc; // bed->now plus what went by since
	unsigned lcore; // of the traffic

	// One probe at a time: main sets it, then is_asked; the other answers.
	struct {
		enum probe_kind kind;
		uint32_t slot, generation;
		bool is_tcp;
		uint64_t done_tsc;
	} probe;
	atomic_bool is_asked __rte_aligned(64);
	uint64_t fed, passed, refused;
	atomic_bool is_stopping __rte_aligned(64);

	bool has_pauses; // measure loops
	unsigned n_pauses;
	double pause_ms[AUTHORITY_SAMPLES_MAX]; // how long each loop with a burst took

	uint32_t published_generation; // of the last policy
};

/** Takes the bed's policies over: every client is authorized for BED_RESOURCES resources. */
struct authority *authority_create(struct bed *bed);
void authority_destroy(struct authority *a);

/** Ids as the portal would know them: a client's by slot, a resource's by number. */
struct uuid authority_client_id(uint32_t slot);
struct uuid authority_resource_id(uint32_t resource);

/**
 * Writes create_authorization for one resource of a client: with the rules of its group, or, if
 * @p is_unique, with rules that number @p n makes different from all others. @return the text's size
 */
size_t
authority_grant_write(char *json, uint32_t slot, uint32_t resource, uint32_t n, bool is_unique);
/** Writes reject_access. */
size_t authority_reject_write(char *json, uint32_t slot, uint32_t resource);
/** Parses the text and does what it says; exits with a message if that fails. */
void authority_message(struct authority *a, const char *event, const char *json, size_t size);

/** Starts the traffic; counts from 0. */
void authority_traffic_start(struct authority *a);
/** Stops it; the bed's clock is where the traffic's was. */
void authority_traffic_stop(struct authority *a);
/** Asks for the probe's packet and waits. @return the TSC when it was done */
uint64_t authority_probe(struct authority *a);

void authority_check(bool is_ok, const char *what);
/** Sorts @p v. */
double authority_percentile(double *v, unsigned n, double p);

/** One init of all authorizations; the last part of bench_policy_update(). */
void bench_snapshot(struct authority *a, const struct bench_config *config, struct results *r);
