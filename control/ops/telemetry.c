// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "control/ops/telemetry.h"

#include "control/base/log.h"
#include "control/gateway/gateway.h"

#include <rte_telemetry.h>

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#define LOG_AREA "ops.telemetry"
#define COUNT_OF(table) (sizeof(table) / sizeof((table)[0]))

// rte_telemetry_register_cmd() takes no argument for the callback in DPDK 22.11. The lock keeps the
// gateway alive while DPDK's telemetry thread answers.
static struct gw *telemetry_gw;
static pthread_mutex_t telemetry_lock = PTHREAD_MUTEX_INITIALIZER;

static void fill_drops(const struct gw *gw, struct rte_tel_data *data)
{
	struct dp_worker_stats stats;

	dp_worker_stats_get(gw->dp, &stats);
	for (unsigned i = 0; i < DROP_REASON_COUNT; i++)
		rte_tel_data_add_dict_u64(data, drop_reason_name(i), stats.drops[i]);
}

static void add_named(struct rte_tel_data *data, const char *area, const char *name, uint64_t value)
{
	char key[64];

	snprintf(key, sizeof(key), "%s_%s", area, name);
	rte_tel_data_add_dict_u64(data, key, value);
}

// The counters that tell how the load is spread, as worker<i>_<name>.
static void fill_each_worker(const struct gw *gw, struct rte_tel_data *data)
{
	struct dp_worker_stats stats;

	for (unsigned i = 0; dp_worker_stats_of(gw->dp, i, &stats); i++) {
		char area[16];

		snprintf(area, sizeof(area), "worker%u", i);
		add_named(data, area, "rx_packets", stats.rx_packets);
		add_named(data, area, "tx_packets", stats.tx_packets);
		add_named(data, area, "decrypted", stats.decrypted);
		add_named(data, area, "encrypted", stats.encrypted);
		add_named(data, area, "flows", stats.flows);
		add_named(data, area, "handed_off", stats.handed_off);
		add_named(data, area, "handed_in", stats.handed_in);
	}
}

static void fill_worker(const struct gw *gw, struct rte_tel_data *data)
{
	static const char *const punts[] = {
		[DP_PUNT_HANDSHAKE] = "punt_handshake",
		[DP_PUNT_STUN] = "punt_stun",
		[DP_PUNT_HOST] = "punt_host",
		[DP_PUNT_TUN] = "punt_tun",
		[DP_PUNT_P2P] = "punt_p2p",
	};
	struct dp_worker_stats stats;
	struct dp_owner_stats owners;

	dp_worker_stats_get(gw->dp, &stats);
	dp_owner_stats_get(gw->dp, &owners);
	rte_tel_data_add_dict_u64(data, "workers", dp_n_workers(gw->dp));
	rte_tel_data_add_dict_u64(data, "loops", stats.loops);
	rte_tel_data_add_dict_u64(data, "sleeps", stats.sleeps);
	rte_tel_data_add_dict_u64(data, "rx_packets", stats.rx_packets);
	rte_tel_data_add_dict_u64(data, "tx_packets", stats.tx_packets);
	rte_tel_data_add_dict_u64(data, "decrypted", stats.decrypted);
	rte_tel_data_add_dict_u64(data, "encrypted", stats.encrypted);
	rte_tel_data_add_dict_u64(data, "flows", stats.flows);
	rte_tel_data_add_dict_u64(data, "handed_off", stats.handed_off);
	rte_tel_data_add_dict_u64(data, "owners_moved", owners.moved);
	rte_tel_data_add_dict_u64(data, "owners_kept", owners.kept);
	for (unsigned i = 0; i < DP_PUNT_COUNT; i++)
		rte_tel_data_add_dict_u64(data, punts[i], stats.punted[i]);
	fill_each_worker(gw, data);
}

static void fill_control(const struct gw *gw, struct rte_tel_data *data)
{
	const struct gw_stats *stats = &gw->stats;
	struct forwarder_stats names = names_stats(gw->names);

	for (unsigned i = 0; i < ICE_RX_COUNT; i++)
		add_named(data, "ice", ice_rx_name(i), stats->ice[i]);
	for (unsigned i = 0; i < TURN_RX_COUNT; i++)
		add_named(data, "turn", turn_rx_name(i), stats->turn[i]);
	for (unsigned i = 0; i < NOISE_VERDICT_COUNT; i++)
		add_named(data, "noise", noise_verdict_name(i), stats->noise[i]);
	rte_tel_data_add_dict_u64(data, "portal_refused", stats->portal_refused);
	rte_tel_data_add_dict_u64(data, "authorized", stats->authorized);
	rte_tel_data_add_dict_u64(data, "connections_opened", stats->connections_opened);
	rte_tel_data_add_dict_u64(data, "connections_failed", stats->connections_failed);
	rte_tel_data_add_dict_u64(data, "static_moved", stats->static_moved);
	rte_tel_data_add_dict_u64(data, "kernel_refused", stats->kernel_refused);
#define X(name) add_named(data, "names", #name, names.name);
	FORWARDER_COUNTERS(X)
#undef X
	rte_tel_data_add_dict_u64(data, "relay_no_channel", stats->relay_no_channel);
	rte_tel_data_add_dict_u64(data, "timer_late_us", stats->timer_late_ns / 1000);
	rte_tel_data_add_dict_u64(data, "lane_dropped", lane_dropped(gw->lane));
}

static void fill_clients(const struct gw *gw, struct rte_tel_data *data)
{
	struct dp_worker_stats stats;

	dp_worker_stats_get(gw->dp, &stats);
	rte_tel_data_add_dict_u64(data, "clients", access_count(gw->access));
	rte_tel_data_add_dict_u64(data, "flows", stats.flows);
	rte_tel_data_add_dict_u64(data, "policy_sets", acl_registry_size(gw->registry));
}

struct command {
	const char *name;
	void (*fill)(const struct gw *gw, struct rte_tel_data *data);
	const char *help;
};

static const struct command commands[] = {
	{"/sallyport/drops", fill_drops, "Dropped packets by reason. No parameters."},
	{"/sallyport/worker", fill_worker, "Counters of all workers and of each. No parameters."},
	{"/sallyport/control", fill_control, "Counters of the control core. No parameters."},
	{"/sallyport/clients", fill_clients, "Clients, flows, policy sets. No parameters."},
};

static int on_command(const char *name, const char *, struct rte_tel_data *data)
{
	rte_tel_data_start_dict(data);
	pthread_mutex_lock(&telemetry_lock);
	for (unsigned i = 0; telemetry_gw != NULL && i < COUNT_OF(commands); i++) {
		if (strcmp(commands[i].name, name) == 0)
			commands[i].fill(telemetry_gw, data);
	}
	pthread_mutex_unlock(&telemetry_lock);
	return 0;
}

int telemetry_start(struct gw *gw)
{
	telemetry_gw = gw;
	for (unsigned i = 0; i < COUNT_OF(commands); i++) {
		int rc = rte_telemetry_register_cmd(commands[i].name, on_command, commands[i].help);

		if (rc != 0) {
			LOG(ERR, "rte_telemetry_register_cmd: %s", strerror(-rc));
			return rc;
		}
	}
	return 0;
}

void telemetry_stop(void)
{
	pthread_mutex_lock(&telemetry_lock);
	telemetry_gw = NULL;
	pthread_mutex_unlock(&telemetry_lock);
}
