// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

// What the portal says: our addresses, the resources, who serves them and where gateways are.

#include "control/base/err.h"
#include "control/base/log.h"
#include "peers/client/client.h"
#include "peers/client/client_impl.h"

#include <stdlib.h>
#include <string.h>

#define LOG_AREA "client.portal"

static void interface_apply(struct client *c, uint64_t now, const struct portal_interface *i)
{
	char v4[IP_TEXT_SIZE], v6[IP_TEXT_SIZE];
	int rc;

	if (c->is_up && ip_addr_eq(&c->ipv4, &i->ipv4) && ip_addr_eq(&c->ipv6, &i->ipv6))
		return;
	// Gateways let us in by address, so all that they granted is void.
	if (c->is_up)
		client_goodbye(c, now);
	rc = c->ops.interface_set(c->ops_ctx, &i->ipv4, &i->ipv6);
	if (rc < 0) {
		LOG(ERR, "tunnel addresses not set error=\"%s\"", strerror(-rc));
		return;
	}
	c->ipv4 = i->ipv4;
	c->ipv6 = i->ipv6;
	c->is_up = true;
	LOG(NOTICE,
	    "tunnel up ipv4=%s ipv6=%s",
	    ip_addr_format(&i->ipv4, v4),
	    ip_addr_format(&i->ipv6, v6));
}

static void route_change(struct client *c, const struct ip_prefix *p, bool is_add)
{
	char text[IP_TEXT_SIZE];
	int rc = c->ops.route_set(c->ops_ctx, p, is_add);

	if (rc < 0)
		LOG(ERR,
		    "route not %s prefix=%s error=\"%s\"",
		    is_add ? "added" : "removed",
		    ip_prefix_format(p, text),
		    strerror(-rc));
}

static void internet_routes_change(struct client *c, bool is_add)
{
	static const struct ip_prefix all[] = {
		{.addr = {.family = IP_FAMILY_V4}},
		{.addr = {.family = IP_FAMILY_V6}},
	};

	for (size_t i = 0; i < 2; i++)
		route_change(c, &all[i], is_add);
}

// The route of a network stays as long as any resource has exactly that network.
static void prefix_leave(struct client *c, const struct ip_prefix *p)
{
	if (p->addr.family != IP_FAMILY_NONE && !resources_has_prefix(c->resources, p))
		route_change(c, p, false);
}

// Nothing may use the resource any more: forgets who served it, and parts from a gateway that now
// serves nothing.
static void access_end(struct client *c, uint64_t now, const struct uuid *id)
{
	struct gateway *g = gateways_revoke(c->gateways, id);

	pending_drop(c->pending, id);
	if (g != NULL && !gateways_has_grant(c->gateways, g))
		client_connection_close(c, now, g);
}

static void resource_remove(struct client *c, uint64_t now, const struct uuid *id)
{
	struct resource *r = resources_remove(c->resources, id);
	char text[UUID_TEXT_SIZE];

	if (r == NULL)
		return;
	LOG(INFO, "resource removed resource=%s", uuid_format(id, text));
	gateways_resources_changed(c->gateways);
	access_end(c, now, id);
	if (r->type == PORTAL_RESOURCE_CIDR)
		prefix_leave(c, &r->prefix);
	else if (r->type == PORTAL_RESOURCE_INTERNET && resources_is_active(c->resources, r))
		internet_routes_change(c, false);
	resource_destroy(r);
}

static void resource_upsert(struct client *c, uint64_t now, const struct portal_resource *given)
{
	const struct resource *old = resources_find(c->resources, &given->id);
	enum resource_change change;
	struct ip_prefix old_prefix;
	const struct resource *r;
	char text[UUID_TEXT_SIZE];

	// Another type is another resource.
	if (old != NULL && old->type != given->type)
		resource_remove(c, now, &given->id);
	if (resources_upsert(c->resources, given, &change, &old_prefix) < 0) {
		LOG(ERR, "resource not added, out of memory");
		return;
	}
	gateways_resources_changed(c->gateways);
	if (change == RESOURCE_CHANGE_NONE)
		return;
	r = resources_find(c->resources, &given->id);
	LOG(INFO,
	    "resource %s resource=%s",
	    change == RESOURCE_CHANGE_ADDED ? "added" : "changed",
	    uuid_format(&r->id, text));
	if (change == RESOURCE_CHANGE_REPLACED)
		access_end(c, now, &r->id);
	prefix_leave(c, &old_prefix);
	if (r->type == PORTAL_RESOURCE_CIDR)
		route_change(c, &r->prefix, true);
	else if (change == RESOURCE_CHANGE_ADDED && resources_is_active(c->resources, r))
		internet_routes_change(c, true);
}

static bool is_listed(const struct client_init *init, const struct uuid *id)
{
	for (size_t i = 0; i < init->n_resources; i++) {
		if (uuid_eq(&init->resources[i].id, id))
			return true;
	}
	return false;
}

static void hold_flush(struct client *c)
{
	enum portal_dialect dialect = c->ops.portal_dialect(c->ops_ctx);
	struct candidates_batch b;

	while (candidates_hold_next(c->hold, &b)) {
		struct portal_push push = b.is_removal
			? client_push_invalidated_ice_candidates(
				dialect, &b.peer_id, b.lines, b.n_lines)
			: client_push_ice_candidates(dialect, &b.peer_id, b.lines, b.n_lines);

		if (!c->ops.portal_send(c->ops_ctx, push))
			LOG(WARNING, "held candidates not sent");
	}
}

// What was in use before a network reset may have nobody left to send the packet that asks: whoever
// downloads only waits.
static void remembered_request(struct client *c, uint64_t now)
{
	for (size_t i = 0; i < c->n_remembered; i++) {
		const struct resource *r = resources_find(c->resources, &c->remembered[i]);

		if (r == NULL || gateways_of(c->gateways, &r->id) != NULL)
			continue;
		// A packet may have asked while the portal was not there to hear it.
		pending_drop(c->pending, &r->id);
		client_authorization_request(c, now, r, "reset");
	}
	c->n_remembered = 0;
}

static void init_apply(struct client *c, uint64_t now, const struct client_init *init)
{
	const struct resource *r;

	interface_apply(c, now, &init->interface);
	for (size_t i = 0; (r = resources_at(c->resources, i)) != NULL;) {
		const struct uuid id = r->id;

		// Removal moves another one into this place.
		if (is_listed(init, &id))
			i++;
		else
			resource_remove(c, now, &id);
	}
	for (size_t i = 0; i < init->n_resources; i++)
		resource_upsert(c, now, &init->resources[i]);
	client_relays_apply(c, now, NULL, 0, init->relays, init->n_relays);
	hold_flush(c);
	remembered_request(c, now);
}

// Every candidate goes out again: the gateway may have lost them.
static void candidates_announce(struct client *c, const struct gateway *g)
{
	char texts[ICE_LOCALS_MAX][ICE_CANDIDATE_TEXT_SIZE];
	const char *lines[ICE_LOCALS_MAX];
	size_t n = 0;

	while (n < ICE_LOCALS_MAX && connection_local_text(g->connection, n, texts[n])) {
		lines[n] = texts[n];
		n++;
	}
	client_candidates_signal(c, g, lines, n);
}

static int connection_upsert(
	struct client *c,
	uint64_t now,
	struct gateway *g,
	const struct client_authorization_created *auth)
{
	if (g->connection != NULL && connection_matches(g->connection, auth)) {
		candidates_announce(c, g);
		connection_renew(g->connection, now);
		return 0;
	}
	// New keys are a new process over there, which knows nothing of what the old one granted.
	if (g->connection != NULL)
		client_connection_lose(c, g, "replaced");
	g->connection = connection_create(&c->env, now, client_connection_number(c), auth, g);
	if (g->connection == NULL)
		return -errno;
	for (size_t i = 0; i < c->n_locals; i++) {
		const struct ice_candidate host = {.kind = ICE_KIND_HOST, .addr = c->locals[i]};
		char text[ICE_CANDIDATE_TEXT_SIZE];
		int rc = connection_local_add(g->connection, now, &host, false, text);

		if (rc < 0 && rc != -EEXIST)
			LOG(INFO, "local address not used error=\"%s\"", strerror(-rc));
	}
	relay_users_join(
		c->relay_users,
		now,
		&g->relay_user,
		connection_agent(g->connection),
		connection_ufrag(g->connection));
	connection_locals_changed(g->connection, now);
	client_connection_drain(c, now, g);
	if (g->connection != NULL)
		candidates_announce(c, g);
	return 0;
}

static void
packets_release(struct client *c, uint64_t now, struct gateway *g, struct packet_queue *packets)
{
	struct packet_queued *p;

	while ((p = packet_queue_pop(packets)) != NULL) {
		if (g->connection != NULL)
			connection_send_copy(g->connection, now, p->data, p->size);
		free(p);
	}
	client_connection_drain(c, now, g);
}

static void
authorization_apply(struct client *c, uint64_t now, const struct client_authorization_created *auth)
{
	char resource[UUID_TEXT_SIZE], gateway[UUID_TEXT_SIZE];
	struct packet_queue packets = {0};
	struct gateway *g;
	int rc = -ENOMEM;

	uuid_format(&auth->resource_id, resource);
	uuid_format(&auth->gateway_id, gateway);
	if (resources_find(c->resources, &auth->resource_id) == NULL) {
		LOG(WARNING, "authorization of an unknown resource ignored resource=%s", resource);
		return;
	}
	if (!pending_take(c->pending, &auth->resource_id, &packets)) {
		LOG(INFO, "authorization that nobody asked for ignored resource=%s", resource);
		return;
	}
	if (auth->use_iceless) {
		LOG(WARNING, "authorization needs a path agent, ignored resource=%s", resource);
		packet_queue_clear(&packets);
		return;
	}
	if (c->n_locals == 0 && relays_pick(c->relays) == RELAYS_NONE) {
		LOG(WARNING, "authorization not used: no relay resource=%s", resource);
		client_no_relays_send(c);
		packet_queue_clear(&packets);
		return;
	}
	g = gateways_learn(c->gateways, &auth->gateway_id);
	if (g != NULL) {
		g->ipv4 = auth->gateway_ipv4;
		g->ipv6 = auth->gateway_ipv6;
		rc = connection_upsert(c, now, g, auth);
	}
	if (rc == 0)
		rc = gateways_grant(c->gateways, &auth->resource_id, g);
	if (rc < 0) {
		LOG(ERR, "authorization not used gateway=%s error=\"%s\"", gateway, strerror(-rc));
		packet_queue_clear(&packets);
		return;
	}
	LOG(NOTICE, "authorization created resource=%s gateway=%s", resource, gateway);
	packets_release(c, now, g, &packets);
}

static void failure_apply(struct client *c, const struct client_authorization_failed *f)
{
	char id[UUID_TEXT_SIZE];

	LOG(NOTICE,
	    "authorization failed resource=%s reason=%s",
	    uuid_format(&f->resource_id, id),
	    client_failure_name(f->reason));
	// Only then does the very next packet ask again; otherwise the 2 s rule goes on.
	if (f->reason == CLIENT_FAILURE_OFFLINE)
		pending_drop(c->pending, &f->resource_id);
}

static void
candidates_apply(struct client *c, uint64_t now, const struct portal_candidates *list, bool is_add)
{
	struct gateway *g = gateways_find(c->gateways, &list->peer_id);
	char id[UUID_TEXT_SIZE];

	if (g == NULL || g->connection == NULL) {
		LOG(INFO,
		    "candidates of an unknown connection dropped gateway=%s",
		    uuid_format(&list->peer_id, id));
		return;
	}
	for (size_t i = 0; i < list->n_lines; i++)
		connection_remote_set(g->connection, now, list->lines[i], is_add);
	if (is_add)
		relay_users_remotes_added(c->relay_users, now, &g->relay_user);
	client_connection_drain(c, now, g);
}

void client_portal_message(struct client *c, uint64_t now, const struct client_message *m)
{
	c->now = now;
	switch (m->type) {
	case CLIENT_MESSAGE_INIT:
		init_apply(c, now, &m->init);
		break;
	case CLIENT_MESSAGE_CONFIG_CHANGED:
		interface_apply(c, now, &m->config_changed);
		break;
	case CLIENT_MESSAGE_RESOURCE_CREATED_OR_UPDATED:
		resource_upsert(c, now, &m->resource);
		break;
	case CLIENT_MESSAGE_RESOURCE_DELETED:
		resource_remove(c, now, &m->resource_deleted);
		break;
	case CLIENT_MESSAGE_AUTHORIZATION_CREATED:
		authorization_apply(c, now, &m->authorization_created);
		break;
	case CLIENT_MESSAGE_AUTHORIZATION_CREATION_FAILED:
		failure_apply(c, &m->authorization_failed);
		break;
	case CLIENT_MESSAGE_ICE_CANDIDATES:
		candidates_apply(c, now, &m->candidates, true);
		break;
	case CLIENT_MESSAGE_INVALIDATE_ICE_CANDIDATES:
		candidates_apply(c, now, &m->candidates, false);
		break;
	case CLIENT_MESSAGE_DISCONNECT:
		LOG(WARNING, "portal says disconnect");
		break;
	case CLIENT_MESSAGE_RELAYS_PRESENCE:
		client_relays_apply(
			c,
			now,
			m->relays_presence.disconnected_ids,
			m->relays_presence.n_disconnected_ids,
			m->relays_presence.connected,
			m->relays_presence.n_connected);
		break;
	case CLIENT_MESSAGE_IGNORED:
		break;
	}
	client_relays_drain(c, now);
}
