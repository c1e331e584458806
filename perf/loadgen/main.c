// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "perf/loadgen/loadgen.h"

#include <rte_cycles.h>
#include <rte_eal.h>
#include <rte_ethdev.h>
#include <sodium.h>

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
	N_MBUFS = 65535,
	N_DESC = 1024,
	ARP_WAIT_S = 60,
	PLAN_LINE_MAX = 1024,
	SERVE_POLL_MS = 10,
};

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

static int port_queues(const struct loadgen *g, uint16_t id)
{
	uint16_t n_rx = N_DESC, n_tx = N_DESC;
	int rc = rte_eth_dev_adjust_nb_rx_tx_desc(id, &n_rx, &n_tx);

	for (uint16_t q = 0; rc == 0 && q < g->opt.n_queues; q++) {
		rc = rte_eth_rx_queue_setup(id, q, n_rx, 0, NULL, g->pool);
		if (rc == 0)
			rc = rte_eth_tx_queue_setup(id, q, n_tx, 0, NULL);
	}
	return rc;
}

static int port_start(struct loadgen *g, enum lg_port which)
{
	const char *name = g->opt.names[which];
	struct rte_eth_conf conf = {0};
	uint16_t n = (uint16_t)g->opt.n_queues, id;
	int rc;

	rc = rte_eth_dev_get_port_by_name(name, &id);
	if (rc == 0)
		rc = rte_eth_dev_configure(id, n, n, &conf);
	if (rc == 0)
		rc = port_queues(g, id);
	if (rc == 0)
		rc = rte_eth_dev_start(id);
	if (rc != 0) {
		fprintf(stderr, "loadgen: port %s: %s\n", name, strerror(-rc));
		return -1;
	}
	g->port[which] = id;
	g->is_started[which] = true;
	// Not the device's: the kernel side of a net_tap has that one.
	memcpy(g->mac[which], (uint8_t[]){2, 0, 0, 0x5a, 0x11, (uint8_t)which}, 6);
	return 0;
}

static bool gateway_find(struct loadgen *g)
{
	if (g->has_peer_mac[LG_WAN] && g->has_peer_mac[LG_LAN])
		return true;
	if (!lg_arp_resolve(g, ARP_WAIT_S)) {
		fprintf(stderr, "loadgen: the gateway does not answer ARP\n");
		return false;
	}
	fprintf(stderr, "loadgen: gateway found on both ports\n");
	return true;
}

// @return false: end of input. Meanwhile nothing that arrives may fill the queues.
static bool line_read(struct loadgen *g, char line[PLAN_LINE_MAX])
{
	size_t n = 0;

	while (n < PLAN_LINE_MAX - 1) {
		struct pollfd p = {.fd = STDIN_FILENO, .events = POLLIN};

		lg_receive(g);
		if (poll(&p, 1, SERVE_POLL_MS) == 0)
			continue;
		if (read(STDIN_FILENO, line + n, 1) <= 0)
			return false;
		if (line[n++] == '\n')
			break;
	}
	line[n] = 0;
	return true;
}

// One process for all measurements of a gateway: a memif port that disconnects under traffic takes
// the gateway with it (its driver unmaps the rings that the worker is reading).
static int serve(struct loadgen *g)
{
	char line[PLAN_LINE_MAX];

	printf("{\"kind\": \"ready\"}\n");
	fflush(stdout);
	while (line_read(g, line)) {
		struct lg_plan plan = g->opt.plan;
		bool is_ok;

		is_ok = lg_plan_parse(&plan, line) && gateway_find(g) && lg_plan_run(g, &plan);
		printf("{\"kind\": \"done\", \"ok\": %s}\n", is_ok ? "true" : "false");
		fflush(stdout);
	}
	return 0;
}

static int run(struct loadgen *g)
{
	if (g->opt.is_server)
		return serve(g);
	return gateway_find(g) && lg_plan_run(g, &g->opt.plan) ? 0 : 1;
}

static int start(const struct lg_options *opt)
{
	struct loadgen *g = calloc(1, sizeof(*g));
	int rc = 1;

	if (g == NULL)
		return 1;
	g->opt = *opt;
	g->tsc_hz = rte_get_tsc_hz();
	g->random = 0x9e3779b9;
	g->pool = rte_pktmbuf_pool_create(
		"loadgen", N_MBUFS, 256, 0, RTE_MBUF_DEFAULT_BUF_SIZE, SOCKET_ID_ANY);
	g->aead = aead_create(SOCKET_ID_ANY);
	if (g->pool != NULL && g->aead != NULL && lg_clients_init(g) == 0
	    && port_start(g, LG_WAN) == 0 && port_start(g, LG_LAN) == 0)
		rc = run(g);
	else
		fprintf(stderr, "loadgen: could not start\n");
	for (unsigned i = 0; i < LG_PORTS; i++) {
		if (g->is_started[i] && rte_eth_dev_stop(g->port[i]) == 0)
			rte_eth_dev_close(g->port[i]);
	}
	aead_destroy(g->aead);
	lg_clients_fini(g);
	free(g);
	return rc;
}

int main(int argc, char **argv)
{
	struct lg_options opt = {
		.n_clients = 1,
		.n_flows = 10,
		.n_queues = 1,
		.plan =
			{
				.size = LG_SIZE_MAX,
				.direction = LG_UP,
				.rate_max = 2e6,
				.seconds = 0.5,
				.retries = 2,
				.runs = 1,
			},
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
	if (!lg_options_parse(&opt, argc - n_eal, argv + n_eal)) {
		lg_usage(stderr);
		return 2;
	}
	if (is_config)
		return config_write(opt.config_dir, opt.n_clients);
	rc = start(&opt);
	rte_eal_cleanup();
	return rc;
}
