// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "perf/loadgen/loadgen.h"

#include <stdlib.h>

enum {
	SEARCH_STEPS = 9,
	SESSION_AGE_S = 90, // fresh ones before each measurement: no rekey falls into it
	SESSION_WAIT_S = 60,
};

static const char *direction_name(enum lg_direction d)
{
	return d == LG_UP ? "up" : d == LG_DOWN ? "down" : "both";
}

static unsigned direction_count(const struct loadgen *g)
{
	return g->plan.direction == LG_BOTH ? 2 : 1;
}

static double trial_pps(const struct lg_trial *t)
{
	return (double)(t->sent[LG_UP] + t->sent[LG_DOWN]) / t->seconds;
}

static void trial_print(const struct loadgen *g, const struct lg_trial *t, const char *kind)
{
	printf("{\"kind\": \"%s\", \"direction\": \"%s\", \"size\": %u, \"tunnels\": %u, "
	       "\"flows_per_tunnel\": %u, \"offered_pps\": %.0f, \"sent_pps\": %.0f, "
	       "\"received_pps\": %.0f, \"seconds\": %.3f, ",
	       kind,
	       direction_name(g->plan.direction),
	       g->plan.size,
	       g->opt.n_clients,
	       g->opt.n_flows,
	       t->offered_pps * direction_count(g),
	       trial_pps(t),
	       (double)(t->received[LG_UP] + t->received[LG_DOWN]) / t->seconds,
	       t->seconds);
	printf("\"lost_up\": %lu, \"lost_down\": %lu, \"refused\": %lu, \"reordered\": %lu, "
	       "\"duplicated\": %lu, \"bad\": %lu, \"late_bursts\": %lu, ",
	       t->sent[LG_UP] - t->received[LG_UP],
	       t->sent[LG_DOWN] - t->received[LG_DOWN],
	       t->refused,
	       t->reordered,
	       t->duplicated,
	       t->bad,
	       t->late_bursts);
	printf("\"p50_us\": %.1f, \"p99_us\": %.1f, \"p999_us\": %.1f, \"sut_cpu_s\": %.6f}\n",
	       lg_trial_latency_us(g, t, 0.5),
	       lg_trial_latency_us(g, t, 0.99),
	       lg_trial_latency_us(g, t, 0.999),
	       t->sut_cpu_seconds);
	fflush(stdout);
}

static bool trial_passes(struct loadgen *g, double pps, struct lg_trial *t, struct lg_trial *best)
{
	const struct lg_plan *p = &g->plan;

	for (unsigned i = 0; i <= p->retries; i++) {
		uint64_t sent;

		lg_trial_run(g, pps, p->seconds, t);
		sent = t->sent[LG_UP] + t->sent[LG_DOWN];
		if (sent > 0 && t->bad == 0 && (double)lg_trial_lost(t) <= (double)sent * p->loss) {
			if (trial_pps(t) > trial_pps(best))
				*best = *t;
			return true;
		}
	}
	return false;
}

// RFC 2544 26.1 as a binary search: the highest rate at which nothing (or no more than --loss) is
// lost. What counts is the rate that was really sent. @return it, per direction
static double search(struct loadgen *g)
{
	struct lg_trial *t = calloc(2, sizeof(*t)), *best = t + 1;
	double low = 0, high = g->plan.rate_max;
	double result;

	if (t == NULL)
		return 0;
	best->seconds = 1;
	for (unsigned i = 0; i < SEARCH_STEPS && high - low > high * 0.02; i++) {
		double pps = (low + high) / 2;

		if (!trial_passes(g, pps, t, best)) {
			high = pps;
		} else if (t->late_bursts > 0 && trial_pps(t) < 0.95 * t->offered_pps) {
			// We could not send faster: there is nothing to be found above. Whoever reads
			// the result sees it by sent_pps and offered_pps.
			high = pps;
		} else {
			low = pps;
		}
	}
	result = trial_pps(best) / direction_count(g);
	trial_print(g, best, "ndr");
	free(t);
	return result;
}

static void measure(struct loadgen *g, double pps, const char *kind)
{
	struct lg_trial *t = calloc(1, sizeof(*t));

	if (t == NULL)
		return;
	lg_trial_run(g, pps, g->plan.seconds, t);
	trial_print(g, t, kind);
	free(t);
}

static bool sessions_ready(struct loadgen *g)
{
	uint64_t t0 = lg_now_ns();
	unsigned missing = lg_sessions_establish(g, SESSION_AGE_S, SESSION_WAIT_S);

	if (missing > 0) {
		fprintf(stderr, "loadgen: %u clients got no session\n", missing);
		return false;
	}
	fprintf(stderr, "loadgen: sessions ready, %.2f s\n", (double)(lg_now_ns() - t0) / 1e9);
	missing = lg_flows_prime(g);
	if (missing > 0) {
		fprintf(stderr, "loadgen: %u flows do not get through\n", missing);
		return false;
	}
	return true;
}

bool lg_plan_run(struct loadgen *g, const struct lg_plan *plan)
{
	lg_plan_set(g, plan);
	printf("{\"kind\": \"machine\", \"tsc_hz\": %lu, \"aead_cycles\": %.0f, \"size\": %u}\n",
	       g->tsc_hz,
	       lg_aead_cycles(g),
	       plan->size);
	for (unsigned i = 0; i < plan->runs; i++) {
		double ndr;

		if (!sessions_ready(g))
			return false;
		if (plan->rate > 0) {
			measure(g, plan->rate, "trial");
			continue;
		}
		ndr = search(g);
		if (ndr > 0) {
			measure(g, ndr * 0.5, "latency50");
			measure(g, ndr * 0.9, "latency90");
		}
	}
	return true;
}
