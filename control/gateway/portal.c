// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "control/base/clock.h"
#include "control/base/log.h"
#include "control/gateway/connection.h"
#include "control/gateway/kernel.h"
#include "control/gateway/relay.h"

#include <string.h>

#define LOG_AREA "gateway.portal"

static void tunnel_apply(struct gw *gw, const struct gateway_init *init)
{
	int rc = gw_tunnel_set(gw, &init->interface.ipv4, &init->interface.ipv6);
	char v4[IP_TEXT_SIZE], v6[IP_TEXT_SIZE];

	if (rc < 0) {
		LOG(ERR, "tunnel addresses: %s", strerror(-rc));
		return;
	}
	LOG(NOTICE,
	    "init ipv4=%s ipv6=%s authorizations=%zu",
	    ip_addr_format(&gw->tunnel_v4, v4),
	    ip_addr_format(&gw->tunnel_v6, v6),
	    init->n_authorizations);
}

int gw_tunnel_set(struct gw *gw, const struct ip_addr *v4, const struct ip_addr *v6)
{
	int rc = kernel_tunnel_set(gw->kernel, v4, v6);

	if (rc < 0)
		return rc;
	gw->tunnel_v4 = *v4;
	gw->tunnel_v6 = *v6;
	dp_tunnel_set(gw->dp, &gw->tunnel_v4, &gw->tunnel_v6);
	names_bind(gw->names, v4, v6);
	return 0;
}

static void handle_init(struct gw *gw, const struct gateway_init *init)
{
	relay_list(gw, NULL, 0, init->relays, init->n_relays);
	tunnel_apply(gw, init);
	if (access_retain(gw->access, init->authorizations, init->n_authorizations) < 0)
		LOG(ERR, "access_retain: out of memory; the former authorizations stay in force");
	portal_flush_held(gw);
}

/*
 * The answer leaves before the first candidate of that client: a client drops candidates of a
 * connection that it does not know yet (spec/connectivity.md 1.2).
 */
static void handle_create_authorization(struct gw *gw, const struct gateway_create_authorization *m)
{
	struct access_grant grant = {
		.client_id = m->client.id,
		.ipv4 = m->client.ipv4,
		.ipv6 = m->client.ipv6,
		.resource = &m->resource,
		.expires_at = m->expires_at,
	};
	struct connection_params params = {
		.local_ufrag = m->gateway_ice.username,
		.local_pwd = m->gateway_ice.password,
		.remote_ufrag = m->client_ice.username,
		.remote_pwd = m->client_ice.password,
		.public_key = m->client.public_key,
		.preshared_key = m->client.preshared_key,
	};
	char client_id[UUID_TEXT_SIZE], resource_id[UUID_TEXT_SIZE];
	struct ip_addr hosts[KERNEL_HOSTS_MAX];
	struct access_client *client;
	struct portal_error err;
	bool is_new;
	int rc;

	if (m->use_iceless) {
		LOG(WARNING, "authorization without ICE, which we never offered; ignored");
		return;
	}
	// Not answered: the client asks again, when relays are here (spec/connectivity.md 1.2).
	if (!relay_is_usable(gw) && kernel_wan_addrs(gw->kernel, hosts) == 0) {
		LOG(WARNING, "authorization not served: neither a relay nor a WAN address");
		session_send(gw->session, gateway_push_no_relays());
		return;
	}
	is_new = access_by_id(gw->access, &grant.client_id) == NULL;
	client = access_authorize(gw->access, &grant, &err);
	if (client == NULL) {
		LOG(ERR, "create_authorization refused: %s", err.text);
		gw->stats.portal_refused++;
		return;
	}
	rc = client->user != NULL ? connection_upsert(client->user, &params) : -ENOMEM;
	if (rc < 0) {
		LOG(ERR, "connection refused: %s", strerror(-rc));
		gw->stats.portal_refused++;
		if (is_new)
			access_forget(gw->access, client);
		return;
	}
	gw->stats.authorized++;
	LOG(INFO,
	    "authorized client=%s resource=%s",
	    uuid_format(&m->client.id, client_id),
	    uuid_format(&m->resource.id, resource_id));
	session_send(
		gw->session,
		gateway_push_authorization_created(session_dialect(gw->session), m->ref));
	connection_announce(client->user);
	// A client from behind a NAT may need one all the same.
	if (!relay_is_usable(gw))
		session_send(gw->session, gateway_push_no_relays());
}

static void handle_reject(struct gw *gw, const struct gateway_reject_access *m)
{
	char client_id[UUID_TEXT_SIZE], resource_id[UUID_TEXT_SIZE];

	if (access_reject(gw->access, &m->client_id, &m->resource_id)) {
		LOG(INFO,
		    "access rejected client=%s resource=%s",
		    uuid_format(&m->client_id, client_id),
		    uuid_format(&m->resource_id, resource_id));
	}
}

static void handle_resource_updated(struct gw *gw, const struct portal_resource *resource)
{
	struct portal_error err;

	if (access_resource_update(gw->access, resource, &err) < 0) {
		LOG(ERR, "%s; the former filters stay in force", err.text);
		gw->stats.portal_refused++;
	}
}

static void handle_candidates(struct gw *gw, const struct portal_candidates *m, bool is_withdrawn)
{
	struct access_client *client = access_by_id(gw->access, &m->peer_id);

	if (client == NULL || client->user == NULL)
		return;
	for (size_t i = 0; i < m->n_lines; i++)
		connection_candidate(client->user, m->lines[i], is_withdrawn);
}

static void dispatch(struct gw *gw, const struct gateway_message *m)
{
	switch (m->type) {
	case GATEWAY_MESSAGE_INIT:
		handle_init(gw, &m->init);
		break;
	case GATEWAY_MESSAGE_CREATE_AUTHORIZATION:
		handle_create_authorization(gw, &m->create_authorization);
		break;
	case GATEWAY_MESSAGE_REJECT_ACCESS:
		handle_reject(gw, &m->reject_access);
		break;
	case GATEWAY_MESSAGE_RESOURCE_UPDATED:
		handle_resource_updated(gw, &m->resource_updated);
		break;
	case GATEWAY_MESSAGE_ICE_CANDIDATES:
	case GATEWAY_MESSAGE_INVALIDATE_ICE_CANDIDATES:
		handle_candidates(
			gw, &m->candidates, m->type == GATEWAY_MESSAGE_INVALIDATE_ICE_CANDIDATES);
		break;
	case GATEWAY_MESSAGE_ACCESS_AUTHORIZATION_EXPIRY_UPDATED:
		access_expiry_set(gw->access, &m->expiry_updated);
		break;
	case GATEWAY_MESSAGE_RELAYS_PRESENCE:
		relay_list(
			gw,
			m->relays_presence.disconnected_ids,
			m->relays_presence.n_disconnected_ids,
			m->relays_presence.connected,
			m->relays_presence.n_connected);
		break;
	case GATEWAY_MESSAGE_DISCONNECT:
	case GATEWAY_MESSAGE_IGNORED:
		break;
	}
}

void portal_message(struct gw *gw, const char *event, const json_t *payload)
{
	struct gateway_message m;
	struct portal_error err;
	int rc = gateway_message_parse(&m, event, payload, &err);

	if (rc == -ENOMSG) {
		LOG_LIMITED(INFO, "unknown event ignored event=%s", event);
		return;
	}
	if (rc < 0) {
		LOG(ERR, "message refused: %s", rc == -EBADMSG ? err.text : strerror(-rc));
		gw->stats.portal_refused++;
		return;
	}
	// The portal's times are the wall clock's as it is now.
	access_clock_set(gw->access, clock_boot_ns(), (int64_t)clock_wall_ns());
	dispatch(gw, &m);
	gateway_message_fini(&m);
}

void portal_candidates_send(
	struct gw *gw,
	const struct uuid *client_id,
	const char *const *lines,
	size_t n_lines)
{
	if (session_is_joined(gw->session)
	    && session_send(gw->session, gateway_push_ice_candidates(client_id, lines, n_lines)))
		return;
	for (size_t i = 0; i < n_lines; i++) {
		if (candidates_hold_add(gw->hold, client_id, lines[i]) < 0)
			LOG_LIMITED(WARNING, "candidate not held: %s", strerror(errno));
	}
}

void portal_candidates_withdraw(
	struct gw *gw,
	const struct uuid *client_id,
	const char *const *lines,
	size_t n_lines)
{
	if (session_is_joined(gw->session)
	    && session_send(
		    gw->session,
		    gateway_push_invalidated_ice_candidates(client_id, lines, n_lines)))
		return;
	for (size_t i = 0; i < n_lines; i++) {
		if (candidates_hold_remove(gw->hold, client_id, lines[i]) < 0)
			LOG_LIMITED(WARNING, "withdrawal not held: %s", strerror(errno));
	}
}

void portal_flush_held(struct gw *gw)
{
	struct candidates_batch batch;

	while (candidates_hold_next(gw->hold, &batch)) {
		struct portal_push push;

		push = batch.is_removal
			? gateway_push_invalidated_ice_candidates(
				&batch.peer_id, batch.lines, batch.n_lines)
			: gateway_push_ice_candidates(&batch.peer_id, batch.lines, batch.n_lines);
		if (!session_send(gw->session, push))
			return;
	}
}
