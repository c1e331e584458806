// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

// Where a client is reached: candidates of both sides, the relay, and what the worker is told.

#include "control/base/log.h"
#include "control/gateway/connection_impl.h"
#include "control/gateway/kernel.h"
#include "control/gateway/lane.h"
#include "control/gateway/relay.h"

#include <errno.h>
#include <string.h>

#define LOG_AREA "gateway.connection"

static bool endpoint_routes_are_equal(const struct turn_route *a, const struct turn_route *b)
{
	return a->channel == b->channel && ip_endpoint_eq(&a->local, &b->local)
		&& ip_endpoint_eq(&a->remote, &b->remote);
}

void connection_path_publish(struct connection *conn)
{
	struct turn_route route = {.local = conn->local, .remote = conn->remote};
	struct dp_cmd cmd = {.type = DP_CMD_PATH_SET, .slot = conn->slot};
	int rc;

	rc = relays_route(conn->gw->relays, gw_now_ns(), &conn->local, &conn->remote, &route);
	// Relayed, but without a channel, there is no way until CHANNEL_UP tells of one.
	if (rc < 0 && rc != -EADDRNOTAVAIL)
		route = (struct turn_route){0};
	if (endpoint_routes_are_equal(&route, &conn->route))
		return;
	conn->route = route;
	cmd.path_set.local = route.local;
	cmd.path_set.remote = route.remote;
	cmd.path_set.channel = route.channel;
	lane_command(conn->gw->lane, &cmd);
}

void connection_answer_hold(struct connection *conn, const void *bytes, size_t size)
{
	if (size != sizeof(conn->held))
		return;
	memcpy(conn->held, bytes, size);
	conn->held_size = size;
}

void connection_path_select(
	struct connection *conn,
	const struct ip_endpoint *local,
	const struct ip_endpoint *remote)
{
	bool is_relay =
		relay_users_path_set(conn->gw->relay_users, &conn->relay_user, local, remote);
	char id[UUID_TEXT_SIZE], from[IP_TEXT_SIZE], to[IP_TEXT_SIZE];

	conn->has_path = true;
	conn->local = *local;
	conn->remote = *remote;
	connection_path_publish(conn);
	if (conn->held_size > 0)
		relay_send(conn->gw, local, remote, conn->held, conn->held_size);
	conn->held_size = 0;
	LOG(INFO,
	    "path selected client=%s path=%s",
	    connection_id(conn, id),
	    is_relay ? "relay" : "direct");
	LOG(DEBUG,
	    "path client=%s local=%s remote=%s",
	    connection_id(conn, id),
	    ip_endpoint_format(local, from),
	    ip_endpoint_format(remote, to));
}

void connection_relay_note(
	struct connection *conn,
	const struct dp_client_stats *stats,
	uint64_t since_tsc)
{
	struct relays *relays = conn->gw->relays;
	uint64_t now = gw_now_ns();
	struct turn_allocation *a;

	if (conn->route.channel == 0)
		return;
	a = relays_allocation(relays, relays_find_relayed(relays, &conn->local));
	if (a == NULL)
		return;
	if (stats->last_tx_tsc > since_tsc)
		turn_allocation_note_sent(a, now);
	if (stats->last_rx_tsc > since_tsc)
		turn_allocation_note_received(a, now, conn->route.channel);
}

/** Lines to signal together. */
struct lines {
	char texts[ICE_LOCALS_MAX][ICE_CANDIDATE_TEXT_SIZE];
	const char *lines[ICE_LOCALS_MAX];
	size_t n;
};

static void
line_add(struct lines *lines, const struct connection *conn, const struct ice_candidate *c)
{
	if (lines->n == ICE_LOCALS_MAX)
		return;
	if (ice_candidate_format(c, conn->cred.local_ufrag, lines->texts[lines->n]) <= 0)
		return;
	lines->lines[lines->n] = lines->texts[lines->n];
	lines->n++;
}

static void lines_send(const struct lines *lines, struct connection *conn)
{
	if (lines->n > 0)
		portal_candidates_send(conn->gw, &conn->client->id, lines->lines, lines->n);
}

void connection_locals_add(struct connection *conn)
{
	struct ip_addr hosts[KERNEL_HOSTS_MAX];
	size_t n = kernel_wan_addrs(conn->gw->kernel, hosts);

	for (size_t i = 0; i < n; i++)
		connection_host_add(conn, &hosts[i]);
	// All of them are announced together, after the answer to the authorization.
	relay_users_join(
		conn->gw->relay_users,
		gw_now_ns(),
		&conn->relay_user,
		conn->agent,
		conn->cred.local_ufrag);
}

void connection_host_add(struct connection *conn, const struct ip_addr *addr)
{
	struct ice_candidate candidate = {
		.kind = ICE_KIND_HOST,
		.addr = {.addr = *addr, .port = conn->gw->config->udp_port},
	};
	int rc;

	candidate.base = candidate.addr;
	if (!conn->is_up || conn->agent == NULL)
		return;
	rc = ice_agent_add_local(conn->agent, gw_now_ns(), &candidate, false, NULL);
	if (rc == 0)
		connection_wake(conn);
	else if (rc != -EEXIST)
		LOG(WARNING, "ice_agent_add_local: %s", strerror(-rc));
}

void connection_announce(struct connection *conn)
{
	struct ice_candidate locals[ICE_LOCALS_MAX];
	struct lines lines = {.n = 0};
	size_t n;

	if (!conn->is_up || conn->agent == NULL)
		return;
	n = ice_agent_list_locals(conn->agent, locals, ICE_LOCALS_MAX);
	for (size_t i = 0; i < n; i++)
		line_add(&lines, conn, &locals[i]);
	lines_send(&lines, conn);
}

void connection_candidate(struct connection *conn, const char *line, bool is_withdrawn)
{
	uint64_t now = gw_now_ns();
	struct ice_candidate c;
	int rc;

	if (!conn->is_up || conn->agent == NULL)
		return;
	rc = ice_candidate_parse(&c, line, conn->cred.remote_ufrag);
	if (rc == 0)
		rc = is_withdrawn ? ice_agent_remove_remote(conn->agent, now, &c)
				  : ice_agent_add_remote(conn->agent, now, &c);
	if (rc < 0)
		LOG_LIMITED(DEBUG, "candidate skipped: %s", strerror(-rc));
	else
		connection_wake(conn);
	if (rc == 0 && !is_withdrawn)
		relay_users_remote_added(conn->gw->relay_users, now, &conn->relay_user, &c);
	connection_ice_pump(conn);
	if (conn->is_up)
		connection_timer_update(conn);
}
