// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "perf/bench/bench.h"

#include <rte_cycles.h>
#include <rte_eal.h>
#include <rte_malloc.h>

#include <getopt.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// One process, one worker driven by hand: see perf/README.md.

struct options {
	bool is_quick, has_hugepages;
	const char *json;
	const char *only; // NULL: all
};

static void usage(FILE *f)
{
	fputs("bench [--quick] [--huge] [--json FILE] [--only "
	      "path|miss|acl|handshake|policy_update|memory|connections|workers]\n",
	      f);
}

static struct options options_parse(int argc, char **argv)
{
	static const struct option longs[] = {
		{"quick", no_argument, NULL, 'q'},
		{"huge", no_argument, NULL, 'g'},
		{"json", required_argument, NULL, 'j'},
		{"only", required_argument, NULL, 'o'},
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	struct options o = {0};
	int c;

	while ((c = getopt_long(argc, argv, "h", longs, NULL)) != -1) {
		switch (c) {
		case 'q':
			o.is_quick = true;
			break;
		case 'g':
			o.has_hugepages = true;
			break;
		case 'j':
			o.json = optarg;
			break;
		case 'o':
			o.only = optarg;
			break;
		default:
			usage(c == 'h' ? stdout : stderr);
			exit(c == 'h' ? 0 : 2);
		}
	}
	return o;
}

static void eal_start(bool has_hugepages)
{
	char *argv[] = {
		(char[]){"bench"},
		(char[]){"--no-pci"},
		(char[]){"--no-telemetry"},
		(char[]){"--log-level=lib.*:error"},
		(char[]){"-l"},
		(char[]){"0,1"},
		(char[]){"-m"},
		(char[]){"640"},
		has_hugepages ? (char[]){"--in-memory"} : (char[]){"--no-shconf"},
		has_hugepages ? NULL : (char[]){"--no-huge"},
		NULL,
	};

	if (rte_eal_init(has_hugepages ? 9 : 10, argv) < 0) {
		fputs("bench: rte_eal_init failed\n", stderr);
		exit(1);
	}
}

static uint64_t status_kib(const char *key)
{
	FILE *f = fopen("/proc/self/status", "re");
	unsigned long long kib = 0;
	char line[256];

	while (f != NULL && fgets(line, sizeof(line), f) != NULL)
		if (strncmp(line, key, strlen(key)) == 0)
			kib = strtoull(line + strlen(key) + 1, NULL, 10);
	if (f != NULL)
		fclose(f);
	return kib;
}

// As many flows as the table takes. @return how many it has
static uint64_t flows_fill(struct bed *bed)
{
	struct bed_round *round = calloc(1, sizeof(*round));
	struct dp_worker_stats stats = {0};

	if (round == NULL)
		abort();
	for (unsigned n = 0; n < BED_FLOWS_MAX; n += BED_ROUND) {
		bed_round_draw(bed, round, BED_ROUND, BED_CLIENTS, 64);
		bed_round_up(bed, round, BED_TARGET_NEW);
		for (unsigned at = 0; at < round->n; at += DP_BURST_MAX) {
			bed_feed(bed, round, at, BED_WAN);
			worker_run_once(bed->w, bed->now);
			bed_take(bed);
		}
	}
	free(round);
	bed_settle(bed);
	dp_worker_stats_get(bed->dp, &stats);
	return stats.flows;
}

void bench_memory(struct bed *bed, struct results *r)
{
	uint64_t n_flows = flows_fill(bed);
	json_t *result = result_add(r, "memory", "0", BED_CLIENTS, 0);
	struct rte_malloc_socket_stats stats = {0};
	struct mallinfo2 heap = mallinfo2();

	if (rte_malloc_get_socket_stats(0, &stats) < 0)
		stats.heap_allocsz_bytes = 0;
	result_number(result, "max_flows", BED_FLOWS_MAX);
	result_number(result, "flows", (double)n_flows);
	result_number(result, "policies", (double)acl_registry_size(bed->acl));
	result_number(result, "dpdk_bytes", (double)stats.heap_allocsz_bytes);
	result_number(result, "heap_bytes", (double)(heap.uordblks + heap.hblkhd));
	result_number(result, "resident_bytes", (double)status_kib("VmRSS:") * 1024);
	result_number(result, "hugetlb_bytes", (double)status_kib("HugetlbPages:") * 1024);
	result_number(
		result, "bytes", (double)(stats.heap_allocsz_bytes + heap.uordblks + heap.hblkhd));
	bed_flows_clear(bed, BED_CLIENTS);
}

static double number(const json_t *result, const char *name)
{
	return json_number_value(json_object_get(result, name));
}

// One line per result: what it is, then its numbers.
static void table_line(const json_t *result)
{
	const char *bench = json_string_value(json_object_get(result, "bench"));
	const json_t *size = json_object_get(result, "size"), *value;
	const char *key;
	char text[16];

	snprintf(text, sizeof(text), "%lld", (long long)json_integer_value(size));
	printf("%-14s %5s %6.0f",
	       bench,
	       json_is_string(size) ? json_string_value(size) : text,
	       number(result, "tunnels"));
	if (json_object_get(result, "cycles_per_packet") != NULL)
		printf(" %8.0f [%.0f-%.0f]",
		       number(result, "cycles_per_packet"),
		       number(result, "cycles_per_packet_min"),
		       number(result, "cycles_per_packet_max"));
	json_object_foreach((json_t *)(uintptr_t)result, key, value) {
		static const char *const shown[] = {
			"aead_cycles_per_packet",
			"aead_ratio",
			"over_aead_cycles",
			"ratio",
			"aead_scale",
			"over_direct_cycles",
			"arrival_cycles",
			"mpps",
			"gbps",
			"drops",
			"per_second",
			"flood",
			"p50_ms",
			"p99_ms",
			"worst_ms",
			"control_ms",
			"slice_ms",
			"json_ms",
			"parse_ms",
			"revocations_per_second",
			"updates_per_second",
			"lost",
			"timer_late_ms",
			"cpu_share",
			"cpu_share_opening",
			"answers_per_second",
			"handshakes_per_second",
			"sets",
			"classifier",
			"rules",
			"compile_us",
			"judge_one_cycles",
			"judge_many_cycles",
			"bytes",
			"flows",
			"resident_bytes",
			"hugetlb_bytes",
			"forged_cycles",
			"working_set",
			"path",
		};

		for (size_t i = 0; i < sizeof(shown) / sizeof(shown[0]); i++) {
			if (strcmp(key, shown[i]) != 0)
				continue;
			if (json_is_string(value))
				printf(" %s=%s", key, json_string_value(value));
			else
				printf(" %s=%.4g", key, json_number_value(value));
		}
	}
	putchar('\n');
	value = json_object_get(result, "stages");
	if (value == NULL)
		return;
	printf("%-14s", "");
	json_object_foreach((json_t *)(uintptr_t)value, key, size)
		printf(" %s=%.0f", key, json_number_value(size));
	putchar('\n');
}

static bool is_wanted(const struct options *o, const char *bench)
{
	return o->only == NULL || strcmp(o->only, bench) == 0;
}

static void benches_run(const struct options *o, struct results *r)
{
	const struct bench_config config = {
		.runs = o->is_quick ? 5 : 11,
		.rounds = o->is_quick ? 2 : 8,
		.update_seconds = o->is_quick ? 2 : 10,
		.handshakes = o->is_quick ? 600 : 4000,
		.connection_runs = o->is_quick ? 1 : 3,
		.connection_seconds = o->is_quick ? 10 : 30,
	};
	struct bed *bed = bed_create(1);

	if (is_wanted(o, "path"))
		bench_path(bed, &config, r);
	if (is_wanted(o, "miss"))
		bench_miss(bed, &config, r);
	if (is_wanted(o, "acl"))
		bench_acl(bed, &config, r);
	if (is_wanted(o, "handshake"))
		bench_handshake(&config, r);
	if (is_wanted(o, "memory"))
		bench_memory(bed, r);
	if (is_wanted(o, "policy_update"))
		bench_policy_update(bed, &config, r);
	if (is_wanted(o, "connections"))
		bench_connections(bed, &config, r);
	bed_destroy(bed);
	if (!is_wanted(o, "workers"))
		return;
	bed = bed_create(2);
	bench_workers(bed, &config, r);
	bed_destroy(bed);
}

int main(int argc, char **argv)
{
	struct options o = options_parse(argc, argv);
	struct results r = {.array = json_array()};
	const json_t *result;
	json_t *top;
	size_t i;
	int rc = 0;

	eal_start(o.has_hugepages);
	r.tsc_hz = (double)rte_get_tsc_hz();
	benches_run(&o, &r);
	printf("%-14s %5s %6s %8s [min-max]\n", "bench", "size", "tunnels", "cycles");
	json_array_foreach(r.array, i, result)
		table_line(result);
	top = json_pack(
		"{s:{s:f, s:b}, s:o}",
		"machine",
		"tsc_hz",
		r.tsc_hz,
		"hugepages",
		o.has_hugepages,
		"results",
		r.array);
	if (o.json != NULL && json_dump_file(top, o.json, JSON_INDENT(1)) < 0) {
		fprintf(stderr, "bench: cannot write %s\n", o.json);
		rc = 1;
	}
	json_decref(top);
	rte_eal_cleanup();
	return rc;
}
