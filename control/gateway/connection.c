// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "control/base/err.h"
#include "control/base/log.h"
#include "control/gateway/connection_impl.h"
#include "control/gateway/lane.h"
#include "control/gateway/relay.h"

#include <rte_cycles.h>
#include <sodium.h>

#include <stdlib.h>
#include <string.h>

#define LOG_AREA "gateway.connection"

#define NSEC_PER_S 1000000000ull

enum {
	IDLE_AFTER_S = 20, // without IP packets (spec/connectivity.md 6.1)
	IDLE_CHECK_S = 5,
};

// The WireGuard paper's, which plain clients keep.
static const struct noise_timing static_timing = {
	.rekey_attempt_ns = 90 * NOISE_S_NS,
	.rekey_timeout_ns = 5 * NOISE_S_NS,
	.keepalive_ns = 10 * NOISE_S_NS,
	.unanswered_ns = 15 * NOISE_S_NS,
};

static struct connection *peer_connection(struct noise_peer *peer)
{
	void *conn = (char *)peer - offsetof(struct connection, peer);

	return conn;
}

static struct connection *node_connection(struct heap_node *node)
{
	void *conn = (char *)node - offsetof(struct connection, timer);

	return conn;
}

const char *connection_id(const struct connection *conn, char buf[UUID_TEXT_SIZE])
{
	return uuid_format(&conn->client->id, buf);
}

struct connection *connection_create(struct gw *gw, struct access_client *client)
{
	struct connection *conn = calloc(1, sizeof(*conn));

	if (conn == NULL)
		return err_set_null(ENOMEM);
	conn->gw = gw;
	conn->client = client;
	conn->slot = client->slot;
	heap_node_init(&conn->timer);
	return conn;
}

// Drops agent and peer and, if the worker still knows the slot, its keys and path.
static void take_down(struct connection *conn, bool tell_worker)
{
	struct dp_cmd cmd = {.slot = conn->slot};

	if (!conn->is_up)
		return;
	conn->last_timestamp = conn->peer.last_timestamp;
	relay_users_leave(conn->gw->relay_users, &conn->relay_user);
	ice_agent_destroy(conn->agent);
	conn->agent = NULL;
	noise_peer_fini(&conn->peer);
	conn->is_up = false;
	conn->has_path = false;
	conn->held_size = 0;
	conn->route = (struct turn_route){0};
	conn->is_idle = false;
	heap_set(&conn->gw->deadlines, &conn->timer, UINT64_MAX);
	candidates_hold_forget(conn->gw->hold, &conn->client->id);
	if (!tell_worker)
		return;
	cmd.type = DP_CMD_KEYPAIRS_CLEAR;
	lane_command(conn->gw->lane, &cmd);
	cmd.type = DP_CMD_PATH_SET;
	lane_command(conn->gw->lane, &cmd);
}

void connection_destroy(struct connection *conn)
{
	if (conn == NULL)
		return;
	take_down(conn, false);
	sodium_memzero(conn, sizeof(*conn));
	free(conn);
}

bool connection_has_path(const struct connection *conn)
{
	return conn->has_path;
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

void connection_timer_update(struct connection *conn)
{
	uint64_t deadline = noise_peer_deadline(&conn->peer);

	if (conn->agent != NULL) {
		deadline = earlier(deadline, ice_agent_next_deadline(conn->agent));
		deadline = earlier(deadline, conn->idle_check);
	}
	heap_set(&conn->gw->deadlines, &conn->timer, deadline);
}

static void fail(struct connection *conn, const char *why)
{
	char id[UUID_TEXT_SIZE];

	LOG(INFO, "connection lost client=%s reason=%s", connection_id(conn, id), why);
	conn->gw->stats.connections_failed++;
	take_down(conn, true);
}

// Sends what the agent wants sent and acts on its events. The connection may be down afterwards.
void connection_ice_pump(struct connection *conn)
{
	struct ice_transmit transmit;
	struct ice_event event;

	while (ice_agent_poll_transmit(conn->agent, &transmit)) {
		relay_send(
			conn->gw, &transmit.local, &transmit.remote, transmit.data, transmit.size);
	}
	while (ice_agent_poll_event(conn->agent, &event)) {
		switch (event.type) {
		case ICE_EVENT_SELECTED_PAIR_CHANGED:
			connection_path_select(conn, &event.local, &event.remote);
			break;
		case ICE_EVENT_FAILED:
			fail(conn,
			     event.failure == ICE_FAILURE_NO_CANDIDATES ? "no_candidates"
									: "no_path");
			return;
		case ICE_EVENT_CONNECTED:
		case ICE_EVENT_DISCONNECTED:
			break;
		}
	}
}

static void keypair_hand_over(struct connection *conn, const struct noise_event *event)
{
	struct dp_cmd cmd = {
		.type = DP_CMD_KEYPAIR_ADD,
		.slot = conn->slot,
		.keypair_add =
			{
				.local_index = event->keypair.local_index,
				.remote_index = event->keypair.remote_index,
				.is_initiator = event->may_send,
				.created_tsc = dp_now(),
			},
	};

	memcpy(cmd.keypair_add.send_key, event->keypair.send_key, DP_KEY_SIZE);
	memcpy(cmd.keypair_add.recv_key, event->keypair.recv_key, DP_KEY_SIZE);
	lane_command(conn->gw->lane, &cmd);
	sodium_memzero(&cmd, sizeof(cmd));
}

/*
 * The keys go first: the worker must know them before the message arrives that makes the client
 * use them. Before a path is nominated the answer goes back the way the message came, which the
 * client accepts (spec/connectivity.md C.11), and once more on the nominated path: the way back may be
 * closed, e.g. a channel that is not bound yet.
 */
static void noise_act(
	struct connection *conn,
	const struct noise_output *out,
	const struct ip_endpoint *local,
	const struct ip_endpoint *remote)
{
	for (unsigned i = 0; i < out->n_events; i++) {
		switch (out->events[i].type) {
		case NOISE_EVENT_KEYPAIR_READY:
			keypair_hand_over(conn, &out->events[i]);
			break;
		case NOISE_EVENT_SEND_KEEPALIVE:
			break; // the worker does, on a keypair of an initiator
		case NOISE_EVENT_EXPIRED:
			if (conn->agent == NULL)
				break; // its next handshake finds everything ready
			fail(conn, "wireguard_expired");
			return;
		}
	}
	if (out->size == 0)
		return;
	if (conn->has_path) {
		local = &conn->local;
		remote = &conn->remote;
	} else if (conn->agent != NULL) {
		connection_answer_hold(conn, out->bytes, out->size);
	}
	if (local != NULL)
		relay_send(conn->gw, local, remote, out->bytes, out->size);
}

static void idle_set(struct connection *conn, uint64_t now, bool is_idle)
{
	if (is_idle == conn->is_idle)
		return;
	conn->is_idle = is_idle;
	ice_agent_set_idle(conn->agent, now, is_idle);
}

void connection_wake(struct connection *conn)
{
	uint64_t now = gw_now_ns();

	conn->awake_until = now + IDLE_AFTER_S * NSEC_PER_S;
	idle_set(conn, now, false);
}

static void idle_update(struct connection *conn, uint64_t now)
{
	uint64_t limit = IDLE_AFTER_S * conn->gw->tsc_hz;
	struct dp_client_stats stats;
	uint64_t last, tsc;

	if (now < conn->idle_check)
		return;
	conn->idle_check = now + IDLE_CHECK_S * NSEC_PER_S;
	if (!dp_client_stats_get(conn->gw->dp, conn->slot, &stats))
		return;
	last = stats.last_rx_tsc > stats.last_tx_tsc ? stats.last_rx_tsc : stats.last_tx_tsc;
	tsc = dp_now();
	connection_relay_note(conn, &stats, tsc - IDLE_CHECK_S * conn->gw->tsc_hz);
	idle_set(
		conn,
		now,
		conn->has_path && tsc > last && tsc - last > limit && now >= conn->awake_until);
}

// Everything that is due, then the next deadline.
void connection_handle_timeout(struct heap_node *node, uint64_t now)
{
	struct connection *conn = node_connection(node);
	struct noise_output out;

	if (conn->agent != NULL) {
		idle_update(conn, now);
		ice_agent_handle_timeout(conn->agent, now);
		connection_ice_pump(conn);
	}
	if (!conn->is_up)
		return;
	noise_peer_handle_timeout(&conn->peer, now, &out);
	noise_act(conn, &out, NULL, NULL);
	noise_output_wipe(&out);
	if (conn->is_up)
		connection_timer_update(conn);
}

static bool
credentials_set(struct connection_credentials *out, const struct connection_params *params)
{
	const char *const texts[] = {
		params->local_ufrag,
		params->local_pwd,
		params->remote_ufrag,
		params->remote_pwd,
	};
	char *const fields[] = {
		out->local_ufrag,
		out->local_pwd,
		out->remote_ufrag,
		out->remote_pwd,
	};

	// Compared with memcmp, so every byte counts.
	memset(out, 0, sizeof(*out));
	for (unsigned i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		size_t size = strlen(texts[i]);

		if (size == 0 || size >= CONNECTION_CREDENTIAL_SIZE)
			return false;
		memcpy(fields[i], texts[i], size);
	}
	memcpy(out->public_key, params->public_key, NOISE_KEY_SIZE);
	memcpy(out->preshared_key, params->preshared_key, NOISE_KEY_SIZE);
	return true;
}

static void random_bytes(void *, void *buf, size_t size)
{
	randombytes_buf(buf, size);
}

static struct ice_agent *agent_create(struct connection *conn, uint64_t now)
{
	struct ice_config config = {
		.role = ICE_ROLE_CONTROLLED,
		.profile = ICE_PROFILE_SERVER,
		.local_ufrag = conn->cred.local_ufrag,
		.local_pwd = conn->cred.local_pwd,
		.remote_ufrag = conn->cred.remote_ufrag,
		.remote_pwd = conn->cred.remote_pwd,
		.random = random_bytes,
		.mac = conn->gw->stun_mac,
		.table = conn->gw->ice,
		.user = conn,
	};

	randombytes_buf(&config.tie_breaker, sizeof(config.tie_breaker));
	return ice_agent_create(&config, now);
}

static int bring_up(struct connection *conn, uint64_t now)
{
	struct noise_peer_config config = {
		.public_key = conn->cred.public_key,
		.psk = conn->cred.preshared_key,
		.connection = conn->slot,
		.timing = NOISE_TIMING_ICE,
		.last_timestamp = conn->last_timestamp,
	};
	int rc;

	rc = noise_peer_init(&conn->peer, conn->gw->node, now, &config);
	if (rc < 0)
		return rc;
	rc = noise_node_peer_add(conn->gw->node, &conn->peer);
	if (rc < 0)
		goto err_peer;
	conn->agent = agent_create(conn, now);
	if (conn->agent == NULL) {
		rc = -errno;
		goto err_peer;
	}
	conn->is_up = true;
	conn->idle_check = now + IDLE_AFTER_S * NSEC_PER_S;
	connection_locals_add(conn);
	conn->gw->stats.connections_opened++;
	return 0;

err_peer:
	noise_peer_fini(&conn->peer);
	return rc;
}

int connection_upsert(struct connection *conn, const struct connection_params *params)
{
	struct noise_peer *holder;
	uint64_t now = gw_now_ns();
	struct connection_credentials cred;
	int rc;

	if (!credentials_set(&cred, params))
		return err_set(EINVAL);
	if (conn->is_up && memcmp(&cred, &conn->cred, sizeof(cred)) == 0) {
		connection_wake(conn);
		ice_agent_rearm(conn->agent, now);
		connection_ice_pump(conn);
		if (conn->is_up)
			connection_timer_update(conn);
		sodium_memzero(&cred, sizeof(cred));
		return conn->is_up ? 0 : err_set(ECONNABORTED);
	}
	// Another client with this key would make handshakes ambiguous.
	holder = noise_node_peer_by_key(conn->gw->node, cred.public_key);
	if (holder != NULL && holder != &conn->peer)
		return err_set(EEXIST);
	take_down(conn, true);
	if (memcmp(cred.public_key, conn->cred.public_key, NOISE_KEY_SIZE) != 0)
		conn->last_timestamp = (struct tai64n){0};
	conn->cred = cred;
	sodium_memzero(&cred, sizeof(cred));
	rc = bring_up(conn, now);
	if (rc < 0)
		return err_set(-rc);
	connection_ice_pump(conn);
	connection_timer_update(conn);
	return 0;
}

int connection_static_start(
	struct connection *conn,
	const uint8_t public_key[NOISE_KEY_SIZE],
	const uint8_t preshared_key[NOISE_KEY_SIZE])
{
	struct noise_peer_config config = {
		.public_key = public_key,
		.psk = preshared_key,
		.connection = conn->slot,
		.timing = static_timing,
	};
	int rc;

	rc = noise_peer_init(&conn->peer, conn->gw->node, gw_now_ns(), &config);
	if (rc < 0)
		return rc;
	rc = noise_node_peer_add(conn->gw->node, &conn->peer);
	if (rc < 0) {
		noise_peer_fini(&conn->peer);
		return rc;
	}
	conn->is_up = true;
	connection_timer_update(conn);
	return 0;
}

void connection_stun(
	struct gw *gw,
	const struct ip_endpoint *local,
	const struct ip_endpoint *remote,
	const void *data,
	size_t size)
{
	struct ice_agent *agent = NULL;
	struct connection *conn;
	enum ice_rx rx;

	rx = ice_table_handle_packet(gw->ice, gw_now_ns(), local, remote, data, size, &agent);
	gw->stats.ice[rx]++;
	if (agent == NULL)
		return;
	conn = ice_agent_user(agent);
	connection_ice_pump(conn);
	if (conn->is_up)
		connection_timer_update(conn);
}

// A handshake that made keys says where a static peer is.
static void static_path_learn(
	struct connection *conn,
	const struct noise_output *out,
	const struct ip_endpoint *local,
	const struct ip_endpoint *remote)
{
	if (conn->agent != NULL || out->n_events == 0
	    || out->events[0].type != NOISE_EVENT_KEYPAIR_READY)
		return;
	if (!conn->has_path || !ip_endpoint_eq(&conn->remote, remote)
	    || !ip_endpoint_eq(&conn->local, local))
		connection_path_select(conn, local, remote);
}

void connection_moved(
	struct connection *conn,
	const struct ip_endpoint *local,
	const struct ip_endpoint *remote)
{
	if (!conn->is_up || conn->agent != NULL)
		return;
	conn->gw->stats.static_moved++;
	connection_path_select(conn, local, remote);
}

void connection_handshake(
	struct gw *gw,
	const struct ip_endpoint *local,
	const struct ip_endpoint *remote,
	const void *data,
	size_t size)
{
	struct noise_peer *peer = NULL;
	struct noise_output out;
	struct connection *conn;
	enum noise_verdict v;

	v = noise_node_handle_handshake(gw->node, gw_now_ns(), remote, data, size, &peer, &out);
	gw->stats.noise[v]++;
	if (peer != NULL) {
		conn = peer_connection(peer);
		static_path_learn(conn, &out, local, remote);
		noise_act(conn, &out, local, remote);
		if (conn->is_up)
			connection_timer_update(conn);
	} else if (out.size > 0) {
		relay_send(gw, local, remote, out.bytes, out.size);
	}
	noise_output_wipe(&out);
}

void connection_keypair_confirmed(struct connection *conn, uint32_t local_index)
{
	char id[UUID_TEXT_SIZE];

	if (!conn->is_up)
		return;
	conn->held_size = 0;
	noise_peer_note_keypair_confirmed(&conn->peer, gw_now_ns(), local_index);
	connection_timer_update(conn);
	LOG(DEBUG, "session confirmed client=%s", connection_id(conn, id));
}

void connection_handshake_due(struct connection *conn)
{
	struct noise_output out;

	if (!conn->is_up)
		return;
	if (noise_peer_rekey(&conn->peer, gw_now_ns(), &out) == 0)
		noise_act(conn, &out, NULL, NULL);
	noise_output_wipe(&out);
	if (conn->is_up)
		connection_timer_update(conn);
}
