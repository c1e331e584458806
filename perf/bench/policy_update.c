// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "perf/bench/authority.h"

#include <rte_cycles.h>

#include <stdlib.h>

// How long from the portal's message, as text, to the first packet that is judged by it.
//
// policy_update: once with updates that leave the client with the rules of its group (the portal
// refreshes an authorization: a new expiry, the set is found ready), once with rules that nobody else has,
// so that each update compiles a set of 60 rules. All packets belong to allowed flows, so each one must
// come out at the other end.
//
// revocation: an established TCP flow, reject_access, and the first of its packets that is refused. The
// resource is given back before the next one.

enum {
	MESSAGES_PER_SECOND = 1000,
};

enum message_case {
	CASE_SHARED, // policy_update
	CASE_UNIQUE,
	CASE_REVOCATION,
	N_CASES,
};

struct samples {
	struct sample_set p50, p99, worst, control, rate, mpps;
	uint64_t lost, refused;
};

struct timing {
	uint32_t n_messages;
	unsigned n;
	double ms[AUTHORITY_SAMPLES_MAX], control_ms[AUTHORITY_SAMPLES_MAX];
};

static double tsc_to_ms(uint64_t tsc)
{
	return (double)tsc * 1e3 / (double)rte_get_tsc_hz();
}

// One message and its packet.
static void message_probe(
	struct authority *a,
	struct timing *t,
	const char *event,
	const char *json,
	size_t size)
{
	uint64_t t0 = rte_rdtsc(), t1;

	authority_message(a, event, json, size);
	t1 = rte_rdtsc();
	a->probe.generation = a->published_generation;
	t->ms[t->n] = tsc_to_ms(authority_probe(a) - t0);
	t->control_ms[t->n++] = tsc_to_ms(t1 - t0);
}

static void update_one(struct authority *a, struct timing *t, bool is_unique)
{
	uint32_t slot = bed_random(a->bed) % BED_CLIENTS, n = t->n_messages++;
	char json[AUTHORITY_JSON_SIZE];
	size_t size = authority_grant_write(json, slot, n % BED_RESOURCES, n, is_unique);

	a->probe.kind = PROBE_JUDGED;
	a->probe.slot = slot;
	a->probe.is_tcp = false;
	message_probe(a, t, "create_authorization", json, size);
}

static void revoke_one(struct authority *a, struct timing *t)
{
	uint32_t slot = bed_random(a->bed) % BED_CLIENTS, resource = slot % BED_RESOURCES;
	char json[AUTHORITY_JSON_SIZE];
	size_t size;

	// Flow 0 goes there, and passes.
	a->probe.kind = PROBE_JUDGED;
	a->probe.slot = slot;
	a->probe.is_tcp = true;
	a->probe.generation = dp_policy_get(a->bed->dp, slot)->generation;
	authority_probe(a);

	a->probe.kind = PROBE_REFUSED;
	size = authority_reject_write(json, slot, resource);
	message_probe(a, t, "reject_access", json, size);
	size = authority_grant_write(json, slot, resource, t->n_messages++, false);
	authority_message(a, "create_authorization", json, size);
}

static void run_once(
	struct authority *a,
	struct timing *t,
	enum message_case c,
	double seconds,
	struct samples *s)
{
	uint64_t hz = rte_get_tsc_hz(), start, end, due;

	t->n = 0;
	authority_traffic_start(a);
	start = due = rte_rdtsc();
	while (rte_rdtsc() - start < (uint64_t)(seconds * (double)hz)
	       && t->n < AUTHORITY_SAMPLES_MAX) {
		while (rte_rdtsc() < due)
			rte_delay_us_sleep(50);
		if (c == CASE_REVOCATION)
			revoke_one(a, t);
		else
			update_one(a, t, c == CASE_UNIQUE);
		dp_reclaim(a->bed->dp);
		due += hz / MESSAGES_PER_SECOND;
	}
	end = rte_rdtsc();
	authority_traffic_stop(a);
	sample_add(&s->rate, t->n * (double)hz / (double)(end - start));
	sample_add(&s->mpps, (double)a->fed * (double)hz / (double)(end - start) / 1e6);
	sample_add(&s->control, authority_percentile(t->control_ms, t->n, 0.5));
	sample_add(&s->p50, authority_percentile(t->ms, t->n, 0.5));
	sample_add(&s->p99, authority_percentile(t->ms, t->n, 0.99));
	sample_add(&s->worst, t->ms[t->n - 1]);
	s->refused += a->refused;
	s->lost += a->fed - a->passed - a->refused;
}

static void report(struct results *r, const struct samples *s, enum message_case c)
{
	static const char *const sets[] = {[CASE_SHARED] = "shared", [CASE_UNIQUE] = "unique"};
	bool is_revocation = c == CASE_REVOCATION;
	json_t *result = result_add(
		r,
		is_revocation ? "revocation" : "policy_update",
		"256",
		BED_CLIENTS,
		BED_FLOWS_PER_CLIENT);

	if (!is_revocation)
		json_object_set_new(result, "sets", json_string(sets[c]));
	result_samples(result, "p50_ms", &s->p50);
	result_samples(result, "p99_ms", &s->p99);
	result_samples(result, "worst_ms", &s->worst);
	result_samples(result, "control_ms", &s->control);
	result_samples(
		result, is_revocation ? "revocations_per_second" : "updates_per_second", &s->rate);
	result_number(result, "mpps", sample_median(&s->mpps));
	result_number(result, "resources", BED_RESOURCES);
	result_number(result, "runs", s->p50.n);
	result_number(result, "refused", (double)s->refused);
	json_object_set_new(result, "lost", json_integer((json_int_t)s->lost));
}

void bench_policy_update(struct bed *bed, const struct bench_config *config, struct results *r)
{
	struct authority *a = authority_create(bed);
	struct timing *t = calloc(1, sizeof(*t));

	authority_check(t != NULL, "calloc");
	for (enum message_case c = CASE_SHARED; c < N_CASES; c++) {
		struct samples samples = {0};

		for (unsigned run = 0; run < config->runs; run++)
			run_once(a, t, c, config->update_seconds, &samples);
		// An update takes nothing away: what was refused then is lost.
		if (c != CASE_REVOCATION)
			samples.lost += samples.refused;
		report(r, &samples, c);
	}
	bench_snapshot(a, config, r);
	authority_destroy(a);
	free(t);
}
