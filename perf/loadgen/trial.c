// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "perf/loadgen/loadgen.h"

#include <rte_cycles.h>

#include <dirent.h>
#include <string.h>

enum {
	TICKS_PER_MAGNITUDE = 1 << LG_HISTOGRAM_SHIFT,
	BACKLOG_MAX = 256, // packets that may be made up for after a pause
	DRAIN_QUIET_MS = 20,
	DRAIN_MAX_MS = 300,
};

static unsigned histogram_place(uint64_t v)
{
	unsigned e;

	if (v < TICKS_PER_MAGNITUDE)
		return (unsigned)v;
	e = 63 - (unsigned)__builtin_clzll(v);
	return (e - LG_HISTOGRAM_SHIFT + 1) << LG_HISTOGRAM_SHIFT
		| (unsigned)(v >> (e - LG_HISTOGRAM_SHIFT) & (TICKS_PER_MAGNITUDE - 1));
}

static uint64_t histogram_value(unsigned place)
{
	unsigned e = place >> LG_HISTOGRAM_SHIFT;
	uint64_t mantissa = place & (TICKS_PER_MAGNITUDE - 1);

	return e == 0 ? mantissa : (TICKS_PER_MAGNITUDE + mantissa) << (e - 1);
}

void lg_trial_count(struct lg_trial *t, enum lg_direction direction, uint64_t latency)
{
	t->latency[histogram_place(latency)]++;
	t->received[direction]++;
}

// CPU time of all threads of a process, in seconds.
static double cpu_seconds(int pid)
{
	char path[64];
	double total = 0;
	struct dirent *e;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	dir = pid != 0 ? opendir(path) : NULL;
	while (dir != NULL && (e = readdir(dir)) != NULL) {
		unsigned long long ns;
		char file[384];
		FILE *f;

		snprintf(file, sizeof(file), "%s/%s/schedstat", path, e->d_name);
		f = e->d_name[0] != '.' ? fopen(file, "re") : NULL;
		if (f == NULL)
			continue;
		if (fscanf(f, "%llu", &ns) == 1)
			total += (double)ns / 1e9;
		fclose(f);
	}
	if (dir != NULL)
		closedir(dir);
	return total;
}

static void send_phase(struct loadgen *g, double pps, double seconds)
{
	double per_cycle = pps / (double)g->tsc_hz;
	uint64_t begin = rte_rdtsc(), start = begin;
	uint64_t end = begin + (uint64_t)(seconds * (double)g->tsc_hz);
	uint64_t sent = 0, now;

	while ((now = rte_rdtsc()) < end) {
		uint64_t due = (uint64_t)((double)(now - start) * per_cycle);

		if (due > sent + BACKLOG_MAX) {
			// The machine took us off the core: a burst now would test its scheduler.
			start += (uint64_t)((double)(due - sent - LG_BURST) / per_cycle);
			due = sent + LG_BURST;
			g->trial->late_bursts++;
		}
		if (due > sent) {
			unsigned n = due - sent < LG_BURST ? (unsigned)(due - sent) : LG_BURST;

			lg_send(g, n);
			sent += n;
		}
		lg_receive(g);
	}
	g->trial->seconds = (double)(rte_rdtsc() - begin) / (double)g->tsc_hz;
}

void lg_trial_run(struct loadgen *g, double pps, double seconds, struct lg_trial *out)
{
	uint64_t end, quiet;
	double cpu;

	memset(out, 0, sizeof(*out));
	out->offered_pps = pps;
	g->trial_number++;
	g->trial = out;
	cpu = cpu_seconds(g->plan.sut_pid);
	send_phase(g, pps, seconds);
	end = rte_rdtsc() + g->tsc_hz / 1000 * DRAIN_MAX_MS;
	quiet = rte_rdtsc() + g->tsc_hz / 1000 * DRAIN_QUIET_MS;
	while (lg_trial_lost(out) > 0 && rte_rdtsc() < end && rte_rdtsc() < quiet) {
		if (lg_receive(g) > 0)
			quiet = rte_rdtsc() + g->tsc_hz / 1000 * DRAIN_QUIET_MS;
	}
	// Of all that arrived, also what was still on its way when the sending ended.
	out->sut_cpu_seconds = cpu_seconds(g->plan.sut_pid) - cpu;
	g->trial = NULL;
}

uint64_t lg_trial_lost(const struct lg_trial *t)
{
	uint64_t sent = t->sent[LG_UP] + t->sent[LG_DOWN];
	uint64_t received = t->received[LG_UP] + t->received[LG_DOWN];

	return sent > received ? sent - received : 0;
}

double lg_trial_latency_us(const struct loadgen *g, const struct lg_trial *t, double q)
{
	uint64_t total = t->received[LG_UP] + t->received[LG_DOWN];
	uint64_t rank = (uint64_t)((double)total * q), sum = 0;

	for (unsigned i = 0; i < LG_HISTOGRAM_SIZE; i++) {
		sum += t->latency[i];
		if (sum > rank)
			return (double)histogram_value(i) * 1e6 / (double)g->tsc_hz;
	}
	return 0;
}

double lg_aead_cycles(struct loadgen *g)
{
	enum {
		ROUNDS = 200
	};
	static uint8_t data[LG_BURST][LG_SIZE_MAX + NOISE_TAG_SIZE];
	static const uint8_t key[AEAD_KEY_SIZE] = {1};
	uint64_t best = UINT64_MAX;

	for (unsigned round = 0; round < ROUNDS; round++) {
		struct aead_op ops[LG_BURST];
		uint64_t t0;

		for (unsigned i = 0; i < LG_BURST; i++) {
			ops[i] = (struct aead_op){
				.data = data[i],
				.size = g->plan.size,
				.key = key,
				.counter = round * LG_BURST + i,
			};
		}
		t0 = rte_rdtsc();
		aead_seal_burst(g->aead, ops, LG_BURST);
		t0 = rte_rdtsc() - t0;
		best = t0 < best ? t0 : best;
	}
	return (double)best / LG_BURST;
}
