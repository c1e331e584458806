// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "perf/loadgen/loadgen.h"

#include <rte_cycles.h>
#include <rte_eal.h>
#include <rte_ethdev.h>
#include <sodium.h>

#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum {
	N_MBUFS = 65535,
	N_DESC = 1024,
	SEARCH_STEPS = 9,
	SESSION_AGE_S = 90, // fresh ones before each measurement: no rekey falls into it
};

struct program {
	struct lg_options opt;
	const char *config_dir;
	double rate; // pps per direction; 0: search
	double rate_max;
	double seconds;
	double loss; // share of packets that may be lost
	unsigned runs, retries;
};

static void usage(FILE *out)
{
	fprintf(out,
		"usage: loadgen [EAL options] -- [options]\n"
		"  --wan PORT --lan PORT   DPDK devices towards the gateway (net_memif0, "
		"net_memif1)\n"
		"  --clients N --flows N   tunnels, flows per tunnel (1, 10)\n"
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

static bool options_parse(struct program *p, int argc, char **argv)
{
	static const struct option options[] = {
		{"wan", 1, NULL, 'w'},
		{"lan", 1, NULL, 'l'},
		{"clients", 1, NULL, 'c'},
		{"flows", 1, NULL, 'f'},
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
	struct lg_options *o = &p->opt;
	int c;

	optind = 1;
	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (c) {
		case 'w':
			o->names[LG_WAN] = optarg;
			break;
		case 'l':
			o->names[LG_LAN] = optarg;
			break;
		case 'c':
			o->n_clients = (unsigned)strtoul(optarg, NULL, 10);
			break;
		case 'f':
			o->n_flows = (unsigned)strtoul(optarg, NULL, 10);
			break;
		case 's':
			o->size = (unsigned)strtoul(optarg, NULL, 10);
			break;
		case 'd':
			o->direction = strcmp(optarg, "up") == 0 ? LG_UP
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
			p->retries = (unsigned)strtoul(optarg, NULL, 10);
			break;
		case 'n':
			p->runs = (unsigned)strtoul(optarg, NULL, 10);
			break;
		case 'p':
			o->sut_pid = (int)strtol(optarg, NULL, 10);
			break;
		case 'W':
			p->config_dir = optarg;
			break;
		default:
			return false;
		}
	}
	return o->n_clients >= 1 && o->n_clients <= LG_CLIENTS_MAX && o->n_flows >= 1
		&& o->n_flows <= 10000 && o->size >= LG_SIZE_MIN && o->size <= LG_SIZE_MAX
		&& (p->config_dir != NULL
		    || (o->names[LG_WAN] != NULL && o->names[LG_LAN] != NULL));
}

static FILE *file_create(const char *dir, const char *name)
{
	char path[512];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, "we");
	if (f == NULL)
		fprintf(stderr, "loadgen: %s: %s\n", path, strerror(errno));
	return f;
}

static int config_write(const char *dir, unsigned n_clients)
{
	char key_file[512];
	uint8_t key[NOISE_KEY_SIZE];
	FILE *gateway, *wg, *key_out;

	umask(077);
	gateway = file_create(dir, "peers.yaml");
	wg = file_create(dir, "wg.conf");
	key_out = file_create(dir, "gateway.key");
	if (gateway == NULL || wg == NULL || key_out == NULL)
		return 1;
	snprintf(key_file, sizeof(key_file), "%s/gateway.key", dir);
	lg_config_gateway(gateway, n_clients, key_file);
	lg_config_wg(wg, n_clients);
	lg_key_gateway(key);
	lg_key_print(key_out, key);
	return fclose(gateway) + fclose(wg) + fclose(key_out) != 0;
}

static int port_start(struct loadgen *g, enum lg_port which)
{
	const char *name = g->opt.names[which];
	struct rte_eth_conf conf = {0};
	uint16_t n_rx = N_DESC, n_tx = N_DESC;
	uint16_t id;
	int rc;

	rc = rte_eth_dev_get_port_by_name(name, &id);
	if (rc == 0)
		rc = rte_eth_dev_configure(id, 1, 1, &conf);
	if (rc == 0)
		rc = rte_eth_dev_adjust_nb_rx_tx_desc(id, &n_rx, &n_tx);
	if (rc == 0)
		rc = rte_eth_rx_queue_setup(id, 0, n_rx, 0, NULL, g->pool);
	if (rc == 0)
		rc = rte_eth_tx_queue_setup(id, 0, n_tx, 0, NULL);
	if (rc == 0)
		rc = rte_eth_dev_start(id);
	if (rc != 0) {
		fprintf(stderr, "loadgen: port %s: %s\n", name, strerror(-rc));
		return -1;
	}
	g->port[which] = id;
	// Not the device's: the kernel side of a net_tap has that one.
	memcpy(g->mac[which], (uint8_t[]){2, 0, 0, 0x5a, 0x11, (uint8_t)which}, 6);
	return 0;
}

static const char *direction_name(enum lg_direction d)
{
	return d == LG_UP ? "up" : d == LG_DOWN ? "down" : "both";
}

static double trial_pps(const struct lg_trial *t)
{
	return (double)(t->sent[LG_UP] + t->sent[LG_DOWN]) / t->seconds;
}

static void trial_print(const struct loadgen *g, const struct lg_trial *t, const char *kind)
{
	const struct lg_options *o = &g->opt;

	printf("{\"kind\": \"%s\", \"direction\": \"%s\", \"size\": %u, \"tunnels\": %u, "
	       "\"flows_per_tunnel\": %u, \"offered_pps\": %.0f, \"sent_pps\": %.0f, "
	       "\"received_pps\": %.0f, \"seconds\": %.3f, ",
	       kind,
	       direction_name(o->direction),
	       o->size,
	       o->n_clients,
	       o->n_flows,
	       t->offered_pps * (o->direction == LG_BOTH ? 2 : 1),
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
	printf("\"p50_us\": %.1f, \"p99_us\": %.1f, \"p999_us\": %.1f, \"sut_cpu_s\": %.4f}\n",
	       lg_trial_latency_us(g, t, 0.5),
	       lg_trial_latency_us(g, t, 0.99),
	       lg_trial_latency_us(g, t, 0.999),
	       t->sut_cpu_seconds);
	fflush(stdout);
}

static bool trial_passes(
	const struct program *p,
	struct loadgen *g,
	double pps,
	struct lg_trial *t,
	struct lg_trial *best)
{
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
// lost. What counts is the rate that was really sent.
static double search(const struct program *p, struct loadgen *g)
{
	struct lg_trial *t = calloc(2, sizeof(*t)), *best = t + 1;
	double low = 0, high = p->rate_max;
	double result;

	if (t == NULL)
		return 0;
	best->seconds = 1;
	for (unsigned i = 0; i < SEARCH_STEPS && high - low > high * 0.02; i++) {
		double pps = (low + high) / 2;

		if (!trial_passes(p, g, pps, t, best)) {
			high = pps;
		} else if (t->late_bursts > 0 && trial_pps(t) < 0.95 * t->offered_pps) {
			// We could not send faster: there is nothing to be found above. Whoever reads
			// the result sees it by sent_pps and offered_pps.
			high = pps;
		} else {
			low = pps;
		}
	}
	result = trial_pps(best);
	trial_print(g, best, "ndr");
	free(t);
	return result / (g->opt.direction == LG_BOTH ? 2 : 1);
}

static void measure(const struct program *p, struct loadgen *g, double pps, const char *kind)
{
	struct lg_trial *t = calloc(1, sizeof(*t));

	if (t == NULL)
		return;
	lg_trial_run(g, pps, p->seconds, t);
	trial_print(g, t, kind);
	free(t);
}

static bool sessions_ready(struct loadgen *g)
{
	uint64_t t0 = lg_now_ns();
	unsigned missing = lg_sessions_establish(g, SESSION_AGE_S, 60);

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

static int run(const struct program *p, struct loadgen *g)
{
	if (!lg_arp_resolve(g, 30)) {
		fprintf(stderr, "loadgen: the gateway does not answer ARP\n");
		return 1;
	}
	fprintf(stderr, "loadgen: gateway found on both ports\n");
	printf("{\"kind\": \"machine\", \"tsc_hz\": %lu, \"aead_cycles\": %.0f, \"size\": %u}\n",
	       g->tsc_hz,
	       lg_aead_cycles(g),
	       g->opt.size);
	for (unsigned i = 0; i < p->runs; i++) {
		double ndr;

		if (!sessions_ready(g))
			return 1;
		if (p->rate > 0) {
			measure(p, g, p->rate, "trial");
			continue;
		}
		ndr = search(p, g);
		if (ndr > 0) {
			measure(p, g, ndr * 0.5, "latency50");
			measure(p, g, ndr * 0.9, "latency90");
		}
	}
	return 0;
}

static int start(struct program *p)
{
	struct loadgen *g = calloc(1, sizeof(*g));
	int rc = 1;

	if (g == NULL)
		return 1;
	g->opt = p->opt;
	g->tsc_hz = rte_get_tsc_hz();
	g->random = 0x9e3779b9;
	memset(g->filler, 0xa5, sizeof(g->filler));
	g->filler_sum = rte_raw_cksum(g->filler, g->opt.size - LG_SIZE_MIN);
	g->pool = rte_pktmbuf_pool_create(
		"loadgen", N_MBUFS, 256, 0, RTE_MBUF_DEFAULT_BUF_SIZE, SOCKET_ID_ANY);
	g->aead = aead_create(SOCKET_ID_ANY);
	if (g->pool != NULL && g->aead != NULL && lg_clients_init(g) == 0
	    && port_start(g, LG_WAN) == 0 && port_start(g, LG_LAN) == 0)
		rc = run(p, g);
	else
		fprintf(stderr, "loadgen: could not start\n");
	for (unsigned i = 0; i < LG_PORTS; i++) {
		if (rte_eth_dev_stop(g->port[i]) == 0)
			rte_eth_dev_close(g->port[i]);
	}
	aead_destroy(g->aead);
	lg_clients_fini(g);
	free(g);
	return rc;
}

int main(int argc, char **argv)
{
	struct program p = {
		.opt = {.n_clients = 1, .n_flows = 10, .size = LG_SIZE_MAX, .direction = LG_UP},
		.rate_max = 2e6,
		.seconds = 0.5,
		.retries = 2,
		.runs = 1,
	};
	bool is_config = argc > 1 && strcmp(argv[1], "--write-config") == 0;
	int n_eal = 0, rc;

	if (sodium_init() < 0)
		return 1;
	if (!is_config) {
		n_eal = rte_eal_init(argc, argv);
		if (n_eal < 0)
			return 1;
	}
	if (!options_parse(&p, argc - n_eal, argv + n_eal)) {
		usage(stderr);
		return 2;
	}
	if (is_config)
		return config_write(p.config_dir, p.opt.n_clients);
	rc = start(&p);
	rte_eal_cleanup();
	return rc;
}
