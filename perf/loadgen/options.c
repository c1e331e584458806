// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "perf/loadgen/loadgen.h"

#include <getopt.h>
#include <stdlib.h>
#include <string.h>

enum {
	WORDS_MAX = 64,
};

void lg_usage(FILE *out)
{
	fprintf(out,
		"usage: loadgen [EAL options] -- [options]\n"
		"  --wan PORT --lan PORT   DPDK devices towards the gateway (net_memif0, "
		"net_memif1)\n"
		"  --clients N --flows N   tunnels, flows per tunnel (1, 10)\n"
		"  --queues N              of each port; a client's packets all take one (1)\n"
		"  --serve                 what to measure comes as lines of these options on "
		"stdin:\n"
		"  --size N                inner IP packet in bytes, %d..%d (1280)\n"
		"  --direction up|down|both\n"
		"  --rate PPS              measure at this rate per direction instead of "
		"searching\n"
		"  --max PPS               upper end of the search (2000000)\n"
		"  --seconds S             of each trial (0.5)\n"
		"  --loss SHARE            that a trial may lose and still pass (0)\n"
		"  --retries N             further trials at a rate that failed (2)\n"
		"  --runs N                searches, or measurements with --rate (1)\n"
		"  --pid PID               process under test: its CPU time is reported\n"
		"or:    loadgen --write-config DIR --clients N\n",
		LG_SIZE_MIN,
		LG_SIZE_MAX);
}

static unsigned number(const char *text)
{
	return (unsigned)strtoul(text, NULL, 10);
}

static bool trial_option(struct lg_plan *p, int c)
{
	switch (c) {
	case 's':
		p->size = number(optarg);
		break;
	case 'd':
		p->direction = strcmp(optarg, "up") == 0 ? LG_UP
			: strcmp(optarg, "down") == 0	 ? LG_DOWN
							 : LG_BOTH;
		break;
	case 'r':
		p->rate = strtod(optarg, NULL);
		break;
	case 'm':
		p->rate_max = strtod(optarg, NULL);
		break;
	case 't':
		p->seconds = strtod(optarg, NULL);
		break;
	case 'L':
		p->loss = strtod(optarg, NULL);
		break;
	case 'R':
		p->retries = number(optarg);
		break;
	case 'n':
		p->runs = number(optarg);
		break;
	case 'p':
		p->sut_pid = (int)strtol(optarg, NULL, 10);
		break;
	default:
		return false;
	}
	return true;
}

static bool start_option(struct lg_options *o, int c)
{
	switch (c) {
	case 'w':
		o->names[LG_WAN] = optarg;
		break;
	case 'l':
		o->names[LG_LAN] = optarg;
		break;
	case 'c':
		o->n_clients = number(optarg);
		break;
	case 'f':
		o->n_flows = number(optarg);
		break;
	case 'q':
		o->n_queues = number(optarg);
		break;
	case 'S':
		o->is_server = true;
		break;
	case 'W':
		o->config_dir = optarg;
		break;
	default:
		return false;
	}
	return true;
}

// A line of plan takes those of trial_option() only.
static const struct option options[] = {
	{"wan", 1, NULL, 'w'},
	{"lan", 1, NULL, 'l'},
	{"clients", 1, NULL, 'c'},
	{"flows", 1, NULL, 'f'},
	{"queues", 1, NULL, 'q'},
	{"serve", 0, NULL, 'S'},
	{"size", 1, NULL, 's'},
	{"direction", 1, NULL, 'd'},
	{"rate", 1, NULL, 'r'},
	{"max", 1, NULL, 'm'},
	{"seconds", 1, NULL, 't'},
	{"loss", 1, NULL, 'L'},
	{"retries", 1, NULL, 'R'},
	{"runs", 1, NULL, 'n'},
	{"pid", 1, NULL, 'p'},
	{"write-config", 1, NULL, 'W'},
	{NULL, 0, NULL, 0},
};

static bool plan_is_sane(const struct lg_plan *p)
{
	return p->size >= LG_SIZE_MIN && p->size <= LG_SIZE_MAX && p->seconds > 0;
}

bool lg_options_parse(struct lg_options *o, int argc, char **argv)
{
	int c;

	optind = 1;
	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1)
		if (!trial_option(&o->plan, c) && !start_option(o, c))
			return false;
	return o->n_clients >= 1 && o->n_clients <= LG_CLIENTS_MAX && o->n_flows >= 1
		&& o->n_flows <= 10000 && o->n_queues >= 1 && o->n_queues <= LG_QUEUES_MAX
		&& plan_is_sane(&o->plan)
		&& (o->config_dir != NULL
		    || (o->names[LG_WAN] != NULL && o->names[LG_LAN] != NULL));
}

bool lg_plan_parse(struct lg_plan *p, char *line)
{
	char name[] = "loadgen", *words[WORDS_MAX + 1] = {name}, *save;
	int n = 1, c;

	for (char *w = strtok_r(line, " \n", &save); w != NULL && n < WORDS_MAX;
	     w = strtok_r(NULL, " \n", &save))
		words[n++] = w;
	optind = 0; // from the start again
	while ((c = getopt_long(n, words, "", options, NULL)) != -1)
		if (!trial_option(p, c))
			return false;
	return optind == n && plan_is_sane(p);
}
