// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "peers/client/client.h"

#include "control/base/err.h"
#include "control/base/log.h"
#include "peers/client/client_impl.h"

#include <stdlib.h>
#include <string.h>

#define LOG_AREA "client.core"

static_assert(CLIENT_HEADROOM >= CONNECTION_HEADROOM, "header fits before a TUN packet");
static_assert(CLIENT_TAILROOM >= CONNECTION_TAILROOM, "tag fits behind a TUN packet");

int client_node_create(struct client *c, uint64_t now)
{
	const struct noise_node_config config = {
		.private_key = c->config.private_key,
		.random = c->ops.random,
		.random_arg = c->ops_ctx,
		.now_ns = now,
		.wall_ns = c->config.wall_ns,
		.n_peers = 64,
	};
	noise_node_destroy(c->node);
	c->node = noise_node_create(&config);
	return c->node != NULL ? 0 : -errno;
}

static int parts_create(struct client *c, uint64_t now)
{
	uint8_t key[ICE_TABLE_KEY_SIZE];
	int rc = client_node_create(c, now);

	if (rc < 0)
		return rc;
	c->ops.random(c->ops_ctx, key, sizeof(key));
	c->table = ice_table_create(key);
	c->mac = stun_mac_create();
	c->resources = resources_create(c->config.is_internet_active);
	c->gateways = gateways_create();
	c->pending = pending_create();
	c->hold = candidates_hold_create();
	if (c->table == NULL || c->mac == NULL || c->resources == NULL || c->gateways == NULL
	    || c->pending == NULL || c->hold == NULL)
		return -ENOMEM;
	return client_relays_create(c, now);
}

struct client *client_create(
	const struct client_config *config,
	const struct client_ops *ops,
	void *ops_ctx,
	uint64_t now)
{
	struct client *c = calloc(1, sizeof(*c));
	int rc;

	if (c == NULL)
		return NULL;
	c->config = *config;
	c->ops = *ops;
	c->ops_ctx = ops_ctx;
	rc = parts_create(c, now);
	c->config.private_key = NULL;
	if (rc < 0) {
		client_destroy(c);
		return err_set_null(-rc);
	}
	client_env_init(c);
	ops->random(ops_ctx, &c->next_number, sizeof(c->next_number));
	return c;
}

void client_destroy(struct client *c)
{
	if (c == NULL)
		return;
	if (c->gateways != NULL) {
		for (struct gateway *g = gateways_first(c->gateways); g != NULL; g = g->next)
			connection_destroy(g->connection);
	}
	candidates_hold_destroy(c->hold);
	pending_destroy(c->pending);
	gateways_destroy(c->gateways);
	resources_destroy(c->resources);
	client_relays_destroy(c);
	free(c->remembered);
	ice_table_destroy(c->table);
	stun_mac_destroy(c->mac);
	noise_node_destroy(c->node);
	free(c);
}

const uint8_t *client_public_key(const struct client *c)
{
	return noise_node_public_key(c->node);
}

bool client_is_up(const struct client *c)
{
	return c->is_up;
}

uint32_t client_connection_number(struct client *c)
{
	do {
		c->next_number = (c->next_number + 1) & 0xffffff;
	} while (noise_node_peer_by_connection(c->node, c->next_number) != NULL);
	return c->next_number;
}

static void connection_drop(struct client *c, struct gateway *g)
{
	relay_users_leave(c->relay_users, &g->relay_user);
	connection_destroy(g->connection);
	g->connection = NULL;
	candidates_hold_forget(c->hold, &g->id);
}

void client_connection_lose(struct client *c, struct gateway *g, const char *reason)
{
	char id[UUID_TEXT_SIZE];
	size_t n = gateways_revoke_all(c->gateways, g, NULL);

	LOG(NOTICE,
	    "connection lost gateway=%s reason=\"%s\" resources=%zu",
	    uuid_format(&g->id, id),
	    reason,
	    n);
	connection_drop(c, g);
}

void client_connection_close(struct client *c, uint64_t now, struct gateway *g)
{
	char id[UUID_TEXT_SIZE];

	if (g->connection == NULL)
		return;
	LOG(NOTICE, "connection closed gateway=%s", uuid_format(&g->id, id));
	connection_goodbye_send(g->connection, now);
	connection_drop(c, g);
}

// From our end to the gateway's.
static const char *
path_kind(const struct client *c, const struct gateway *g, const struct ip_endpoint *local)
{
	bool is_relayed = relays_find_relayed(c->relays, local) != RELAYS_NONE;

	if (connection_remote_is_relay(g->connection))
		return is_relayed ? "relay-to-relay" : "peer-to-relay";
	return is_relayed ? "relay-to-peer" : "direct";
}

static void path_log(const struct client *c, const struct gateway *g, const char *what)
{
	char id[UUID_TEXT_SIZE], from[IP_TEXT_SIZE], to[IP_TEXT_SIZE];
	struct ip_endpoint local, remote;

	if (!connection_path(g->connection, &local, &remote))
		return;
	LOG(NOTICE,
	    "%s gateway=%s path=%s local=%s remote=%s",
	    what,
	    uuid_format(&g->id, id),
	    path_kind(c, g, &local),
	    ip_endpoint_format(&local, from),
	    ip_endpoint_format(&remote, to));
}

// A gateway that died under traffic: asks for another one without waiting for a packet, since
// whoever downloads sends none. Only for what worked before, so that this ends.
static void lost_replace(struct client *c, uint64_t now, struct gateway *g, const char *reason)
{
	enum {
		REPLACED_MAX = 16
	};
	bool was_busy = connection_is_busy(g->connection);
	const struct resource *lost[REPLACED_MAX], *r;
	size_t n = 0;

	for (size_t i = 0; (r = resources_at(c->resources, i)) != NULL && n < REPLACED_MAX; i++) {
		if (gateways_of(c->gateways, &r->id) == g)
			lost[n++] = r;
	}
	client_connection_lose(c, g, reason);
	for (size_t i = 0; i < n && was_busy; i++)
		client_authorization_request(c, now, lost[i], "lost");
}

void client_connection_drain(struct client *c, uint64_t now, struct gateway *g)
{
	const char *reason = "";

	while (g->connection != NULL) {
		switch (connection_poll_event(g->connection, &reason)) {
		case CONNECTION_EVENT_NONE:
			return;
		case CONNECTION_EVENT_ESTABLISHED:
			path_log(c, g, "connection established");
			break;
		case CONNECTION_EVENT_PATH_CHANGED:
			path_log(c, g, "connection path changed");
			break;
		case CONNECTION_EVENT_LOST:
			lost_replace(c, now, g, reason);
			break;
		}
	}
}

void client_candidates_signal(
	struct client *c,
	const struct gateway *g,
	const char *const *lines,
	size_t n_lines)
{
	enum portal_dialect dialect = c->ops.portal_dialect(c->ops_ctx);

	if (n_lines == 0)
		return;
	if (c->ops.portal_send(
		    c->ops_ctx, client_push_ice_candidates(dialect, &g->id, lines, n_lines)))
		return;
	for (size_t i = 0; i < n_lines; i++) {
		if (candidates_hold_add(c->hold, &g->id, lines[i]) < 0)
			LOG_LIMITED(WARNING, "candidate lost while the portal is away");
	}
}

void client_candidates_withdraw(
	struct client *c,
	const struct gateway *g,
	const char *const *lines,
	size_t n_lines)
{
	enum portal_dialect dialect = c->ops.portal_dialect(c->ops_ctx);

	if (c->ops.portal_send(
		    c->ops_ctx,
		    client_push_invalidated_ice_candidates(dialect, &g->id, lines, n_lines)))
		return;
	for (size_t i = 0; i < n_lines; i++) {
		if (candidates_hold_remove(c->hold, &g->id, lines[i]) < 0)
			LOG_LIMITED(WARNING, "withdrawal lost while the portal is away");
	}
}

void client_grants_remember(struct client *c)
{
	const struct resource *r;
	size_t n = 0;

	while (resources_at(c->resources, n) != NULL)
		n++;
	free(c->remembered);
	c->n_remembered = 0;
	c->remembered = calloc(n + 1, sizeof(*c->remembered));
	if (c->remembered == NULL)
		return; // the next packet asks instead
	for (size_t i = 0; (r = resources_at(c->resources, i)) != NULL; i++) {
		if (gateways_of(c->gateways, &r->id) != NULL)
			c->remembered[c->n_remembered++] = r->id;
	}
}

static bool is_known_local(const struct client *c, const struct ip_endpoint *local)
{
	for (size_t i = 0; i < c->n_locals; i++) {
		if (ip_endpoint_eq(&c->locals[i], local))
			return true;
	}
	return false;
}

static void
local_offer(struct client *c, uint64_t now, struct gateway *g, const struct ip_endpoint *local)
{
	const struct ice_candidate host = {.kind = ICE_KIND_HOST, .addr = *local};
	char text[ICE_CANDIDATE_TEXT_SIZE];
	const char *line = text;

	if (connection_local_add(g->connection, now, &host, false, text) == 0)
		client_candidates_signal(c, g, &line, 1);
	client_connection_drain(c, now, g);
}

void client_locals_set(
	struct client *c,
	uint64_t now,
	const struct ip_endpoint *locals,
	size_t n_locals)
{
	char text[IP_TEXT_SIZE];

	c->now = now;
	if (n_locals > ICE_LOCALS_MAX)
		n_locals = ICE_LOCALS_MAX;
	for (size_t i = 0; i < n_locals; i++) {
		if (is_known_local(c, &locals[i]))
			continue;
		LOG(DEBUG, "local address added addr=%s", ip_endpoint_format(&locals[i], text));
		for (struct gateway *g = gateways_first(c->gateways); g != NULL; g = g->next) {
			if (g->connection != NULL)
				local_offer(c, now, g, &locals[i]);
		}
	}
	if (n_locals > 0)
		memcpy(c->locals, locals, n_locals * sizeof(*locals));
	c->n_locals = n_locals;
	client_relays_drain(c, now);
}

void client_authorization_request(
	struct client *c,
	uint64_t now,
	const struct resource *r,
	const char *why)
{
	enum portal_dialect dialect = c->ops.portal_dialect(c->ops_ctx);
	char id[UUID_TEXT_SIZE];
	struct uuid *known;
	size_t n_known;

	if (!pending_trigger(c->pending, now, &r->id))
		return;
	known = gateways_list(c->gateways, &r->id, &n_known);
	if (c->ops.portal_send(
		    c->ops_ctx, client_push_request_authorization(dialect, &r->id, known, n_known)))
		LOG(NOTICE,
		    "authorization requested resource=%s trigger=%s",
		    uuid_format(&r->id, id),
		    why);
	else
		LOG(INFO,
		    "authorization not requested, no portal resource=%s",
		    uuid_format(&r->id, id));
	free(known);
}

void client_handle_timeout(struct client *c, uint64_t now)
{
	c->now = now;
	relays_handle_timeout(c->relays, now);
	for (struct gateway *g = gateways_first(c->gateways); g != NULL; g = g->next) {
		if (g->connection == NULL)
			continue;
		connection_handle_timeout(g->connection, now);
		client_connection_drain(c, now, g);
	}
	client_relays_drain(c, now);
}

uint64_t client_deadline(const struct client *c)
{
	uint64_t deadline = relay_users_deadline(c->relay_users);

	for (const struct gateway *g = gateways_first(c->gateways); g != NULL; g = g->next) {
		uint64_t d =
			g->connection != NULL ? connection_deadline(g->connection) : CLIENT_NEVER;

		if (d < deadline)
			deadline = d;
	}
	return deadline;
}

void client_relays_release(struct client *c, uint64_t now)
{
	c->now = now;
	relays_release(c->relays, now);
	client_relays_drain(c, now);
}

void client_goodbye(struct client *c, uint64_t now)
{
	c->now = now;
	for (struct gateway *g = gateways_first(c->gateways); g != NULL; g = g->next) {
		gateways_revoke_all(c->gateways, g, NULL);
		client_connection_close(c, now, g);
	}
}

uint64_t client_counter_get(const struct client *c, enum client_counter counter)
{
	return c->counters[counter];
}

const char *client_counter_name(enum client_counter counter)
{
	static const char *const names[] = {
#define CLIENT_COUNTER_NAME(name, text) [CLIENT_COUNTER_##name] = text,
		CLIENT_COUNTERS(CLIENT_COUNTER_NAME)
#undef CLIENT_COUNTER_NAME
	};

	return names[counter];
}
