// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "perf/bench/bench.h"

#include <rte_cycles.h>
#include <rte_launch.h>
#include <rte_lcore.h>

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Two workers on two cores. Packets are made and encrypted before, wires are filled and emptied
// between two loops, and only worker_run_once() is timed: no generator shares the cores.

enum {
	N_WORKERS = 2,
	TUNNELS = 1000,
	ROUNDS = 4, // times config.rounds: a round is short
	FLOWS = BED_FLOWS_PER_CLIENT,
};

// What one lcore does with one worker.
struct lane {
	struct bed *bed;
	unsigned index;
	struct worker *w;
	struct bed_round round;
	struct measure measure, aead;
	atomic_uint *n_started, *n_ended;
	unsigned n_lanes;
	uint64_t passed;
};

struct workers {
	struct bed *bed;
	struct lane lane[N_WORKERS];
	atomic_uint n_started, n_ended; // lanes, of this stretch
};

static void check(bool is_ok, const char *what)
{
	if (is_ok)
		return;
	fprintf(stderr, "bench: workers: %s\n", what);
	exit(1);
}

// Packets of clients that worker @p owner has.
static void round_make(struct bed *bed, struct bed_round *r, unsigned owner, unsigned size)
{
	bed_round_draw(bed, r, BED_ROUND, TUNNELS, size);
	for (unsigned i = 0; i < r->n; i++)
		while (bed_owner(bed, r->packet[i].slot) != owner)
			r->packet[i].slot = bed_random(bed) % TUNNELS;
	bed_round_up(bed, r, BED_TARGET_FLOW);
}

static void lane_feed(struct lane *l, unsigned at)
{
	struct rte_mbuf *pkts[DP_BURST_MAX];

	for (unsigned i = 0; i < DP_BURST_MAX; i++)
		pkts[i] = l->round.packet[at + i].m;
	rte_ring_sp_enqueue_bulk(
		l->bed->rx[bed_ring(BED_WAN, l->index)], (void *)pkts, DP_BURST_MAX, NULL);
}

static void lane_take(struct lane *l)
{
	struct rte_mbuf *pkts[DP_BURST_MAX];
	struct rte_ring *tx = l->bed->tx[bed_ring(BED_LAN, l->index)];
	unsigned n;

	while ((n = rte_ring_sc_dequeue_burst(tx, (void *)pkts, DP_BURST_MAX, NULL)) > 0) {
		rte_pktmbuf_free_bulk(pkts, n);
		l->passed += n;
	}
}

// The bare AEAD on what the loop will get, sealed text thrown away: what the cores themselves can.
static void lane_aead(struct lane *l)
{
	static uint8_t data[N_WORKERS][DP_BURST_MAX][DP_INNER_SIZE_MAX + NOISE_TAG_SIZE];
	struct aead_op ops[DP_BURST_MAX];
	uint64_t t0;

	for (unsigned i = 0; i < DP_BURST_MAX; i++)
		ops[i] = (struct aead_op){
			.data = data[l->index][i],
			.size = l->round.packet[i].size,
			.key = l->bed->keys[i].to_gateway,
			.counter = i,
		};
	t0 = rte_rdtsc();
	aead_seal_burst(l->w->aead, ops, DP_BURST_MAX);
	measure_add(&l->aead, rte_rdtsc() - t0, DP_BURST_MAX);
}

// The lcore function. What is measured when another lane is not at work any more is not kept.
static int lane_main(void *arg)
{
	struct lane *l = arg;
	uint64_t now = l->bed->now;

	atomic_fetch_add(l->n_started, 1);
	while (atomic_load(l->n_started) < l->n_lanes)
		rte_pause();
	for (unsigned at = 0; at < l->round.n; at += DP_BURST_MAX) {
		uint64_t t0, cycles;

		lane_feed(l, at);
		t0 = rte_rdtsc();
		worker_run_once(l->w, now);
		cycles = rte_rdtsc() - t0;
		now += cycles;
		lane_take(l);
		if (atomic_load(l->n_ended) > 0)
			continue;
		measure_add(&l->measure, cycles, DP_BURST_MAX);
		lane_aead(l);
	}
	atomic_fetch_add(l->n_ended, 1);
	return 0;
}

// Both lanes, or the first alone. @return packets per 1000 cycles of the lanes together
static double lanes_run(struct workers *s, unsigned n, unsigned size, double *aead)
{
	unsigned lcore = rte_get_next_lcore(-1, 1, 0);
	double rate = 0;

	atomic_store(&s->n_started, 0);
	atomic_store(&s->n_ended, 0);
	*aead = 0;
	for (unsigned i = 0; i < n; i++) {
		struct lane *l = &s->lane[i];

		l->n_lanes = n;
		l->measure.n = l->aead.n = 0;
		round_make(s->bed, &l->round, i, size);
	}
	if (n > 1)
		check(rte_eal_remote_launch(lane_main, &s->lane[1], lcore) == 0, "launch");
	lane_main(&s->lane[0]);
	rte_eal_wait_lcore(lcore);
	for (unsigned i = 0; i < n; i++) {
		s->lane[i].round.n = 0;
		rate += 1000 / measure_result(&s->lane[i].measure, NULL);
		*aead += 1000 / measure_result(&s->lane[i].aead, NULL);
	}
	s->bed->now += rte_get_tsc_hz() / 1000;
	bed_settle(s->bed);
	return rate;
}

static void
scale_run(struct workers *s, const struct bench_config *config, unsigned size, struct results *r)
{
	struct sample_set cycles = {0}, ratio = {0}, aead_scale = {0};
	uint64_t before = bed_drops(s->bed);
	json_t *result;

	for (unsigned run = 0; run < config->runs; run++) {
		double one = 0, two = 0, aead_one = 0, aead_two = 0, aead;

		bed_rekey(s->bed);
		lanes_run(s, N_WORKERS, size, &aead); // flows are made, caches are filled
		for (unsigned i = 0; i < ROUNDS * config->rounds; i++) {
			one += lanes_run(s, 1, size, &aead);
			aead_one += aead;
			two += lanes_run(s, N_WORKERS, size, &aead);
			aead_two += aead;
		}
		sample_add(&ratio, two / one);
		sample_add(&aead_scale, aead_two / aead_one);
		sample_add(&cycles, 1000 * ROUNDS * config->rounds / two);
	}
	result = result_add(r, "workers", size == 64 ? "64" : "1280", TUNNELS, FLOWS);
	json_object_set_new(result, "workers", json_integer(N_WORKERS));
	result_cycles(r, result, &cycles, size);
	result_samples(result, "ratio", &ratio);
	result_samples(result, "aead_scale", &aead_scale);
	result_number(result, "drops", (double)(bed_drops(s->bed) - before));
}

// Hand-off -----------------------------------------------------------------------------------------

// A loop of the second worker, on its own lcore.
struct remote {
	struct worker *w;
	uint64_t now, cycles;
	atomic_uint asked, done;
	atomic_bool is_stopping;
};

static int remote_main(void *arg)
{
	struct remote *o = arg;

	while (!atomic_load(&o->is_stopping)) {
		unsigned n = atomic_load(&o->asked);
		uint64_t t0;

		if (n == atomic_load(&o->done)) {
			rte_pause();
			continue;
		}
		t0 = rte_rdtsc();
		worker_run_once(o->w, o->now);
		o->cycles = rte_rdtsc() - t0;
		atomic_store(&o->done, n);
	}
	return 0;
}

static uint64_t remote_once(struct remote *o, uint64_t now)
{
	unsigned n = atomic_load(&o->asked) + 1;

	o->now = now;
	atomic_store(&o->asked, n);
	while (atomic_load(&o->done) != n)
		rte_pause();
	return o->cycles;
}

struct handoff_measure {
	struct measure direct, arrival, owner;
};

// Packets of the first worker's clients, in turns at its own queue and at the second worker's.
static void
handoff_round(struct workers *s, struct remote *o, struct handoff_measure *m, unsigned size)
{
	struct lane *mine = &s->lane[0], *other = &s->lane[1];

	round_make(s->bed, &mine->round, 0, size);
	other->round = mine->round;
	for (unsigned at = 0; at < mine->round.n; at += DP_BURST_MAX) {
		bool is_direct = at / DP_BURST_MAX % 2 == 0;
		uint64_t cycles, t0;

		lane_feed(is_direct ? mine : other, at);
		if (!is_direct)
			measure_add(&m->arrival, remote_once(o, s->bed->now), DP_BURST_MAX);
		t0 = rte_rdtsc();
		worker_run_once(mine->w, s->bed->now);
		cycles = rte_rdtsc() - t0;
		measure_add(is_direct ? &m->direct : &m->owner, cycles, DP_BURST_MAX);
		s->bed->now += cycles;
		lane_take(mine);
	}
	mine->round.n = other->round.n = 0;
	bed_take(s->bed);
}

static void handoff_run_all(
	struct workers *s,
	const struct bench_config *config,
	unsigned size,
	struct results *r)
{
	struct sample_set cycles = {0}, arrival = {0}, over = {0};
	struct handoff_measure *m = calloc(1, sizeof(*m));
	struct remote o = {.w = s->lane[1].w};
	uint64_t before = bed_drops(s->bed);
	json_t *result;

	check(m != NULL, "calloc");
	check(rte_eal_remote_launch(remote_main, &o, rte_get_next_lcore(-1, 1, 0)) == 0, "launch");
	for (unsigned run = 0; run < config->runs; run++) {
		double sum;

		// No bed_rekey(): the second worker's loop is another thread's.
		memset(m, 0, sizeof(*m));
		for (unsigned i = 0; i < ROUNDS * config->rounds; i++)
			handoff_round(s, &o, m, size);
		sample_add(&arrival, measure_result(&m->arrival, NULL));
		sum = measure_result(&m->arrival, NULL) + measure_result(&m->owner, NULL);
		sample_add(&cycles, sum);
		sample_add(&over, sum - measure_result(&m->direct, NULL));
	}
	atomic_store(&o.is_stopping, true);
	rte_eal_mp_wait_lcore();
	result = result_add(r, "handoff", size == 64 ? "64" : "1280", TUNNELS, FLOWS);
	json_object_set_new(result, "workers", json_integer(N_WORKERS));
	result_cycles(r, result, &cycles, size);
	result_samples(result, "arrival_cycles", &arrival);
	result_samples(result, "over_direct_cycles", &over);
	result_number(result, "drops", (double)(bed_drops(s->bed) - before));
	free(m);
}

void bench_workers(struct bed *bed, const struct bench_config *config, struct results *r)
{
	static const unsigned sizes[] = {64, 1280};
	struct workers *s = calloc(1, sizeof(*s));

	check(s != NULL, "calloc");
	s->bed = bed;
	for (unsigned i = 0; i < N_WORKERS; i++) {
		s->lane[i].bed = bed;
		s->lane[i].index = i;
		s->lane[i].w = dp_worker(bed->dp, i);
		s->lane[i].n_started = &s->n_started;
		s->lane[i].n_ended = &s->n_ended;
	}
	for (unsigned i = 0; i < RTE_DIM(sizes); i++) {
		fprintf(stderr, "bench: workers %u bytes\n", sizes[i]);
		scale_run(s, config, sizes[i], r);
		handoff_run_all(s, config, sizes[i], r);
	}
	free(s);
}
