// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "control/gateway/gateway.h"

#include "control/base/clock.h"
#include "control/base/err.h"
#include "control/base/log.h"
#include "control/base/uv_cast.h"
#include "control/gateway/connection.h"
#include "control/gateway/kernel.h"
#include "control/gateway/relay.h"
#include "control/gateway/timers.h"

#include <rte_cycles.h>
#include <sodium.h>

#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LOG_AREA "gateway"

enum {
	SHUTDOWN_MS = 1000, // for goodbyes and the portal's close handshake
	HOUSEKEEPING_MS = 1000,
	GOODBYE_SIZE = 48,
	HANDSHAKE_RATE_MIN = 100, // per second
};

#define ID_STATE_PATH "/var/lib/firezone/gateway_id"
#define MACHINE_ID_PATH "/etc/machine-id"

// The p2p control packet of type goodbye (spec/datapath.md 3.2).
static const uint8_t goodbye[GOODBYE_SIZE] = {
	[0] = 0x60,
	[5] = 8,
	[6] = 0xff,
	[40] = 2,
};

uint64_t gw_now_ns(void)
{
	return clock_boot_ns();
}

static void policy_free(void *registry, const void *policy)
{
	access_policy_free(registry, policy);
}

static void on_client_added(void *ctx, struct access_client *client)
{
	struct gw *gw = ctx;
	struct dp_cmd cmd = {
		.type = DP_CMD_CLIENT_ADD,
		.slot = client->slot,
		.client_add =
			{
				.v4 = client->ipv4,
				.v6 = client->ipv6,
				.follows_source = client->is_static,
			},
	};

	client->user = connection_create(gw, client);
	lane_command(gw->lane, &cmd);
}

static void
on_client_policy(void *ctx, struct access_client *client, const struct acl_policy *policy)
{
	struct gw *gw = ctx;
	const struct acl_policy *former = dp_policy_publish(gw->dp, client->slot, policy);

	dp_retire(gw->dp, former, policy_free, gw->registry);
}

static void on_client_removed(void *ctx, struct access_client *client)
{
	struct gw *gw = ctx;
	struct connection *conn = client->user;
	struct dp_cmd cmd = {.type = DP_CMD_CLIENT_DEL, .slot = client->slot};
	char id[UUID_TEXT_SIZE];

	if (conn != NULL && connection_has_path(conn) && !client->is_static && !gw->is_forgetting)
		cmd.client_del.mbuf = lane_inner_mbuf(gw->lane, goodbye, sizeof(goodbye));
	lane_command(gw->lane, &cmd);
	on_client_policy(gw, client, NULL);
	connection_destroy(conn);
	client->user = NULL;
	LOG(INFO, "client removed client=%s", uuid_format(&client->id, id));
}

static void on_housekeeping(uv_timer_t *timer)
{
	struct gw *gw = timer->data;

	// The loop's timers stand still while the machine is suspended, deadlines do not: look afresh.
	gw->timer_deadline = ACCESS_DEADLINE_NONE;
	kernel_tick(gw->kernel);
}

static void on_idle(uv_idle_t *) {}

// Before the loop would sleep: drain, then promise the workers to look again when they ring.
static void on_prepare(uv_prepare_t *prepare)
{
	struct gw *gw = prepare->data;
	bool more = punt_drain(gw);

	if (access_reconcile(gw->access, ACCESS_RECONCILE_BUDGET)) {
		more = true;
		gw->is_reconciling = true;
	} else if (gw->is_reconciling) {
		gw->is_reconciling = false;
		LOG(NOTICE,
		    "authorizations of init in force clients=%zu",
		    access_count(gw->access));
	}
	more = relay_pump(gw) || more;
	timers_arm(gw);
	dp_reclaim(gw->dp);
	if (more || !dp_sleep_enter(gw->dp))
		uv_idle_start(&gw->idle, on_idle);
	else
		uv_idle_stop(&gw->idle);
}

static void on_check(uv_check_t *check)
{
	struct gw *gw = check->data;

	dp_sleep_leave(gw->dp);
}

static void on_wake(uv_poll_t *poll, int, int)
{
	struct gw *gw = poll->data;
	uint64_t value;

	// The draining itself is on_prepare()'s.
	if (read(dp_wake_fd(gw->dp), &value, sizeof(value)) < 0)
		return;
}

static void on_signal(uv_signal_t *signal, int number)
{
	struct gw *gw = signal->data;

	LOG(NOTICE, "stopping signal=%d", number);
	gw_stop(gw, 0);
}

static int handles_init(struct gw *gw)
{
	static const int numbers[] = {SIGINT, SIGTERM};
	int rc;

	uv_prepare_init(gw->loop, &gw->prepare);
	uv_check_init(gw->loop, &gw->check);
	uv_idle_init(gw->loop, &gw->idle);
	uv_timer_init(gw->loop, &gw->housekeeping);
	uv_timer_init(gw->loop, &gw->shutdown_timer);
	gw->prepare.data = gw->check.data = gw->idle.data = gw;
	gw->housekeeping.data = gw->shutdown_timer.data = gw;
	for (unsigned i = 0; i < 2; i++) {
		uv_signal_init(gw->loop, &gw->signals[i]);
		gw->signals[i].data = gw;
		rc = uv_signal_start(&gw->signals[i], on_signal, numbers[i]);
		if (rc < 0)
			return rc;
	}
	rc = uv_poll_init(gw->loop, &gw->wake, dp_wake_fd(gw->dp));
	if (rc < 0)
		return rc;
	gw->wake.data = gw;
	return 0;
}

static int libraries_init(struct gw *gw)
{
	static const uint8_t none[CONFIG_KEY_SIZE];
	const uint8_t *private_key = gw->config->private_key;
	struct noise_node_config noise = {
		.private_key =
			sodium_memcmp(private_key, none, sizeof(none)) != 0 ? private_key : NULL,
		.now_ns = gw_now_ns(),
		.wall_ns = clock_wall_ns(),
		.n_peers = gw->config->max_clients,
		// Every client rekeys each 120 s; twice that before cookies are asked for.
		.handshake_rate = HANDSHAKE_RATE_MIN + gw->config->max_clients / 60,
	};
	uint8_t key[ICE_TABLE_KEY_SIZE];

	gw->node = noise_node_create(&noise);
	gw->stun_mac = stun_mac_create();
	randombytes_buf(key, sizeof(key));
	gw->ice = ice_table_create(key);
	gw->hold = candidates_hold_create();
	gw->lane = lane_create(gw->dp);
	gw->registry = acl_registry_create(SOCKET_ID_ANY);
	if (gw->node == NULL || gw->stun_mac == NULL || gw->ice == NULL || gw->hold == NULL
	    || gw->lane == NULL || gw->registry == NULL)
		return err_set(errno != 0 ? errno : ENOMEM);
	return relay_init(gw);
}

static int access_init(struct gw *gw)
{
	struct access_config config = {
		.max_clients = gw->config->max_clients,
		.boot_ns = clock_boot_ns(),
		.unix_ns = (int64_t)clock_wall_ns(),
		.tsc_hz = gw->tsc_hz,
		.callbacks =
			{
				.on_added = on_client_added,
				.on_policy = on_client_policy,
				.on_removed = on_client_removed,
			},
		.ctx = gw,
	};

	gw->access = access_create(&config, gw->registry);
	return gw->access != NULL ? 0 : -errno;
}

int gw_init(struct gw *gw, const struct config *config, struct dp *dp)
{
	int rc;

	memset(gw, 0, sizeof(*gw));
	gw->config = config;
	gw->dp = dp;
	gw->tsc_hz = rte_get_tsc_hz();
	gw->loop = uv_default_loop();
	rc = timers_init(gw);
	if (rc == 0)
		rc = libraries_init(gw);
	if (rc == 0)
		rc = access_init(gw);
	if (rc < 0) {
		LOG(ERR, "control core: %s", strerror(-rc));
		return rc;
	}
	gw->kernel = kernel_create(gw);
	if (gw->kernel == NULL)
		return -errno;
	rc = handles_init(gw);
	if (rc < 0) {
		LOG(ERR, "event loop: %s", uv_strerror(rc));
		return rc;
	}
	gw->names = names_create(gw->loop, config->resolv_conf, gw_now_ns);
	if (gw->names == NULL) {
		LOG(ERR, "names_create: %s", strerror(errno));
		return -errno;
	}
	return 0;
}

static void on_joined(void *ctx)
{
	struct gw *gw = ctx;

	LOG(NOTICE,
	    "portal joined dialect=%s",
	    session_dialect(gw->session) == PORTAL_DIALECT_V2 ? "v2" : "v1");
}

static void on_message(void *ctx, const char *event, const json_t *payload)
{
	struct gw *gw = ctx;

	if (!gw->is_stopping)
		portal_message(gw, event, payload);
}

static void on_down(void *, const char *reason)
{
	LOG(WARNING, "portal connection lost reason=%s; traffic goes on", reason);
}

static void on_fatal(void *ctx, const char *reason)
{
	LOG(ERR, "the portal refuses us for good: %s", reason);
	gw_stop(ctx, 1);
}

static void on_session_closed(void *ctx)
{
	struct gw *gw = ctx;

	gw->session = NULL;
}

static int session_start(struct gw *gw)
{
	struct session_config config = {
		.login =
			{
				.role = LOGIN_ROLE_GATEWAY,
				.api_url = gw->config->api_url,
				.name = gw->config->name,
				.token = gw->config->token,
				.public_key = noise_node_public_key(gw->node),
			},
		.ca_file = gw->config->ca_file[0] != '\0' ? gw->config->ca_file : NULL,
		.callbacks =
			{
				.on_joined = on_joined,
				.on_message = on_message,
				.on_down = on_down,
				.on_fatal = on_fatal,
				.on_closed = on_session_closed,
			},
		.ctx = gw,
	};
	char id[LOGIN_ID_SIZE], user_agent[LOGIN_USER_AGENT_SIZE];
	struct login_system system;
	struct portal_error err;
	int rc;

	rc = login_external_id_resolve(id, gw->config->id, ID_STATE_PATH, MACHINE_ID_PATH);
	if (rc < 0) {
		LOG(ERR, "FIREZONE_ID: %s", strerror(-rc));
		return rc;
	}
	login_system_read(&system);
	login_user_agent(user_agent, LOGIN_ROLE_GATEWAY, &system);
	config.login.external_id = id;
	config.user_agent = user_agent;
	gw->session = session_create(gw->loop, &config, &err);
	if (gw->session == NULL) {
		LOG(ERR, "portal: %s", err.text);
		return -errno;
	}
	return 0;
}

int gw_run(struct gw *gw)
{
	if (static_peers_start(gw) < 0)
		return 1;
	if (gw->config->token[0] == '\0')
		LOG(NOTICE, "no token: without a portal");
	else if (session_start(gw) < 0)
		return 1;
	uv_prepare_start(&gw->prepare, on_prepare);
	uv_check_start(&gw->check, on_check);
	uv_poll_start(&gw->wake, UV_READABLE, on_wake);
	uv_timer_start(&gw->housekeeping, on_housekeeping, HOUSEKEEPING_MS, HOUSEKEEPING_MS);
	uv_run(gw->loop, UV_RUN_DEFAULT);
	return gw->exit_code;
}

static void client_collect(void *arg, struct access_client *client)
{
	struct access_client ***next = arg;

	*(*next)++ = client;
}

// Removing while walking is not allowed, so the clients are listed first.
static void forget_all(struct gw *gw)
{
	size_t n = access_count(gw->access);
	struct access_client **list = calloc(n + 1, sizeof(struct access_client *));
	struct access_client **next = list;

	if (list == NULL)
		return; // they will notice by themselves
	access_each(gw->access, client_collect, &next);
	for (size_t i = 0; i < n; i++)
		access_forget(gw->access, list[i]);
	free(list);
}

static void on_shutdown(uv_timer_t *timer)
{
	struct gw *gw = timer->data;

	// The portal's close handshake bounds itself; the workers send the goodbyes at once.
	if (gw->session == NULL)
		uv_stop(gw->loop);
}

void gw_stop(struct gw *gw, int exit_code)
{
	if (gw->is_stopping) {
		uv_stop(gw->loop);
		return;
	}
	gw->is_stopping = true;
	gw->exit_code = exit_code;
	forget_all(gw);
	relay_release(gw);
	if (gw->session != NULL)
		session_close(gw->session);
	uv_timer_start(&gw->shutdown_timer, on_shutdown, 50, 20);
}

void gw_fini(struct gw *gw)
{
	gw->is_forgetting = true; // no worker is left to send anything
	if (gw->access != NULL && gw->lane != NULL)
		forget_all(gw);
	session_destroy(gw->session);
	uv_cast_close(&gw->prepare);
	uv_cast_close(&gw->check);
	uv_cast_close(&gw->idle);
	uv_cast_close(&gw->wake);
	timers_stop(gw);
	uv_cast_close(&gw->housekeeping);
	uv_cast_close(&gw->shutdown_timer);
	uv_cast_close(&gw->signals[0]);
	uv_cast_close(&gw->signals[1]);
	names_stop(gw->names);
	kernel_stop(gw->kernel);
	uv_run(gw->loop, UV_RUN_DEFAULT);
	uv_loop_close(gw->loop);

	lane_destroy(gw->lane);
	names_destroy(gw->names);
	kernel_destroy(gw->kernel);
	access_destroy(gw->access);
	candidates_hold_destroy(gw->hold);
	timers_fini(gw);
	ice_table_destroy(gw->ice);
	relay_fini(gw);
	stun_mac_destroy(gw->stun_mac);
	noise_node_destroy(gw->node);
}
