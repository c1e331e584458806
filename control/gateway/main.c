// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "control/base/log.h"
#include "control/gateway/gateway.h"
#include "control/ops/telemetry.h"

#include <rte_eal.h>
#include <rte_errno.h>
#include <sodium.h>

#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LOG_AREA "main"

#define DEFAULT_CONFIG "/etc/sallyport/gateway.yaml"

enum {
	EAL_ARGS_MAX = 32,
	EAL_ARG_SIZE = 384, // 32 workers on cores of three digits take 300
};

struct eal_args {
	char text[EAL_ARGS_MAX][EAL_ARG_SIZE];
	char *argv[EAL_ARGS_MAX + 1];
	int argc;
};

[[gnu::format(printf, 2, 3)]] static void eal_arg(struct eal_args *a, const char *fmt, ...)
{
	va_list ap;

	if (a->argc == EAL_ARGS_MAX)
		return;
	va_start(ap, fmt);
	vsnprintf(a->text[a->argc], EAL_ARG_SIZE, fmt, ap);
	va_end(ap);
	a->argv[a->argc] = a->text[a->argc];
	a->argc++;
}

static void usage(FILE *out)
{
	fprintf(out,
		"usage: sallyport-gateway [--config FILE] [--log-level LEVEL] [--check]\n"
		"  --config FILE      default " DEFAULT_CONFIG "\n"
		"  --log-level LEVEL  err, warning, notice (default), info, debug\n"
		"  --check            validate the configuration and exit\n"
		"environment: FIREZONE_TOKEN, FIREZONE_API_URL, FIREZONE_ID, FIREZONE_NAME\n");
}

// Lcore 0 is control, the workers follow, each pinned to its core.
static const char *lcores_text(const struct config *config, char text[EAL_ARG_SIZE])
{
	int n = snprintf(text, EAL_ARG_SIZE, "0@%u", config->control_core);

	for (size_t i = 0; i < config->n_workers && n < EAL_ARG_SIZE; i++)
		n += snprintf(
			text + n,
			(size_t)(EAL_ARG_SIZE - n),
			",%zu@%u",
			i + 1,
			config->worker_cores[i]);
	return text;
}

// Hugepages that no file system keeps: --huge-unlink removes the files as they are mapped.
static void eal_args_fill(struct eal_args *a, const struct config *config)
{
	char text[EAL_ARG_SIZE];
	bool has_pci = false;

	eal_arg(a, "sallyport-gateway");
	eal_arg(a, "--lcores=%s", lcores_text(config, text));
	eal_arg(a, "--main-lcore=0");
	eal_arg(a, "--file-prefix=%s", config->file_prefix);
	eal_arg(a, "-m");
	eal_arg(a, "%u", config->memory_mb);
	eal_arg(a, "--log-level=lib.eal:warning");
	if (config->has_hugepages)
		eal_arg(a, "--huge-unlink=always");
	else
		eal_arg(a, "--no-huge");
	for (size_t i = 0; i < config->n_ports; i++) {
		if (config_device_is_vdev(config->ports[i].device)) {
			eal_arg(a, "--vdev=%s", config->ports[i].device);
		} else {
			eal_arg(a, "-a");
			eal_arg(a, "%s", config->ports[i].device);
			has_pci = true;
		}
	}
	if (!has_pci)
		eal_arg(a, "--no-pci");
}

static int eal_start(const struct config *config)
{
	// EAL keeps pointers into its arguments, so they live as long as the process.
	static struct eal_args args;

	eal_args_fill(&args, config);
	if (rte_eal_init(args.argc, args.argv) < 0) {
		LOG(ERR,
		    "rte_eal_init: %s%s",
		    rte_strerror(rte_errno),
		    config->has_hugepages ? " (are hugepages reserved? or set hugepages: false)"
					  : "");
		return -1;
	}
	return 0;
}

static struct dp *dataplane_create(const struct config *config)
{
	struct dp_port_config ports[CONFIG_PORTS_MAX];
	char names[CONFIG_PORTS_MAX][CONFIG_TEXT_SIZE];
	struct dp_config dp = {
		.ports = ports,
		.n_ports = config->n_ports,
		.n_workers = (unsigned)config->n_workers,
		.idle = config->is_idle_sleep ? DP_IDLE_SLEEP : DP_IDLE_BUSY,
		.udp_port = config->udp_port,
		.max_clients = config->max_clients,
		.max_flows = config->max_flows,
		.nat_port_first = config->nat_port_first,
		.nat_port_last = config->nat_port_last,
		.n_mbufs = config->n_mbufs,
		.icmp_per_second = config->icmp_errors_per_second,
	};

	for (unsigned i = 0; i < dp.n_workers; i++)
		dp.worker_lcores[i] = i + 1;
	for (size_t i = 0; i < config->n_ports; i++) {
		const struct config_port *port = &config->ports[i];

		// A vdev's name ends where its arguments begin.
		snprintf(
			names[i],
			sizeof(names[i]),
			"%.*s",
			(int)strcspn(port->device, ","),
			port->device);
		ports[i].device = names[i];
		ports[i].nat_addrs = port->nat_addrs;
		ports[i].n_nat_addrs = port->n_nat_addrs;
		ports[i].role = port->role == CONFIG_ROLE_WAN ? DP_ROLE_WAN : DP_ROLE_LAN;
	}
	return dp_create(&dp);
}

static int run(const struct config *config)
{
	struct dp *dp;
	struct gw gw;
	int rc = 1;

	dp = dataplane_create(config);
	if (dp == NULL)
		return 1;
	if (gw_init(&gw, config, dp) == 0 && telemetry_start(&gw) == 0) {
		rc = dp_start(dp);
		if (rc == 0) {
			LOG(NOTICE,
			    "data plane up ports=%zu workers=%zu",
			    config->n_ports,
			    config->n_workers);
			rc = gw_run(&gw);
			dp_stop(dp);
		} else {
			LOG(ERR, "dp_start: %s", strerror(-rc));
			rc = 1;
		}
	}
	telemetry_stop();
	gw_fini(&gw);
	dp_destroy(dp);
	acl_registry_destroy(gw.registry);
	return rc;
}

static const char *environment(const char *name)
{
	return getenv(name);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"config", required_argument, NULL, 'c'},
		{"log-level", required_argument, NULL, 'l'},
		{"check", no_argument, NULL, 'n'},
		{"help", no_argument, NULL, 'h'},
		{"version", no_argument, NULL, 'V'},
		{NULL, 0, NULL, 0},
	};
	const char *path = DEFAULT_CONFIG;
	char error[CONFIG_ERROR_SIZE];
	struct config *config;
	bool is_check = false;
	int c, rc;

	while ((c = getopt_long(argc, argv, "c:l:hV", options, NULL)) != -1) {
		switch (c) {
		case 'c':
			path = optarg;
			break;
		case 'l':
			if (log_level_set(optarg) < 0) {
				fprintf(stderr, "--log-level: unknown level \"%s\"\n", optarg);
				return 2;
			}
			break;
		case 'n':
			is_check = true;
			break;
		case 'V':
			printf("sallyport-gateway %s\n", SALLYPORT_VERSION);
			return 0;
		case 'h':
			usage(stdout);
			return 0;
		default:
			usage(stderr);
			return 2;
		}
	}
	config = config_load(path, environment, error);
	if (config == NULL) {
		fprintf(stderr, "sallyport-gateway: %s\n", error);
		return 1;
	}
	unsetenv("FIREZONE_TOKEN");
	if (is_check) {
		config_destroy(config);
		return 0;
	}
	rc = 1;
	if (sodium_init() >= 0 && eal_start(config) == 0) {
		rc = run(config);
		rte_eal_cleanup();
	}
	config_destroy(config);
	return rc;
}
