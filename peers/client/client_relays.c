// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

// Relays: candidates for the connections, ChannelData around their packets, and starting over when
// the network changed.

#include "control/base/err.h"
#include "control/base/log.h"
#include "control/path/relay_users.h"
#include "control/portal/relays_entries.h"
#include "peers/client/client.h"
#include "peers/client/client_impl.h"

#define LOG_AREA "client.relays"

static struct gateway *gateway_of(struct relay_user *user)
{
	return (struct gateway *)(void *)((char *)user - offsetof(struct gateway, relay_user));
}

static void
on_send(void *ctx,
	const struct ip_endpoint *local,
	const struct ip_endpoint *remote,
	const void *data,
	size_t size,
	uint8_t ecn)
{
	struct client *c = ctx;

	c->ops.udp_send(c->ops_ctx, local, remote, data, size, ecn);
}

static void on_signal(
	void *ctx,
	struct relay_user *user,
	const char *const *lines,
	size_t n_lines,
	bool is_withdrawn)
{
	if (is_withdrawn)
		client_candidates_withdraw(ctx, gateway_of(user), lines, n_lines);
	else
		client_candidates_signal(ctx, gateway_of(user), lines, n_lines);
}

static void on_changed(void *ctx, struct relay_user *user)
{
	struct client *c = ctx;
	struct gateway *g = gateway_of(user);

	connection_locals_changed(g->connection, c->now);
	client_connection_drain(c, c->now, g);
}

static void on_lost(void *ctx, enum relays_event_type type)
{
	if (type == RELAYS_EVENT_EMPTY)
		client_no_relays_send(ctx);
}

int client_relays_create(struct client *c, uint64_t now)
{
	static const struct relay_users_ops ops = {
		.send = on_send,
		.signal = on_signal,
		.changed = on_changed,
		.lost = on_lost,
	};
	const struct relays_config config = {
		.local_v4 = {.addr = {.family = IP_FAMILY_V4}},
		.local_v6 = {.addr = {.family = IP_FAMILY_V6}},
		.random = c->ops.random,
		.random_ctx = c->ops_ctx,
		.mac = c->mac,
	};

	c->relays = relays_create(&config, now);
	if (c->relays == NULL)
		return -errno;
	c->relay_users = relay_users_create(c->relays, &ops, c);
	return c->relay_users != NULL ? 0 : -errno;
}

void client_relays_destroy(struct client *c)
{
	relay_users_destroy(c->relay_users);
	relays_destroy(c->relays);
	c->relay_users = NULL;
	c->relays = NULL;
}

static void random_take(void *ctx, void *out, size_t size)
{
	struct client *c = ctx;

	c->ops.random(c->ops_ctx, out, size);
}

// What connections send.
static void env_send(
	void *ctx,
	const struct ip_endpoint *local,
	const struct ip_endpoint *remote,
	const void *data,
	size_t size,
	uint8_t ecn)
{
	struct client *c = ctx;

	if (!relay_users_send(c->relay_users, c->now, local, remote, data, size, ecn))
		c->counters[CLIENT_COUNTER_UDP_NO_CHANNEL]++;
}

void client_env_init(struct client *c)
{
	c->env = (struct connection_env){
		.node = c->node,
		.mac = c->mac,
		.table = c->table,
		.send = env_send,
		.random = random_take,
		.ctx = c,
	};
}

void client_relays_apply(
	struct client *c,
	uint64_t now,
	const struct uuid *disconnected,
	size_t n_disconnected,
	const struct portal_relay *connected,
	size_t n_connected)
{
	struct relays_entry entries[RELAYS_ENTRIES_MAX];
	uint8_t gone[RELAYS_ENTRIES_MAX][RELAYS_ID_SIZE];
	size_t n_gone = relays_entries_ids(gone, disconnected, n_disconnected);
	size_t n = relays_entries_from(entries, connected, n_connected), n_held;

	n_held = relays_apply(c->relays, now, gone, n_gone, entries, n);
	LOG(INFO, "relays listed=%zu gone=%zu held=%zu", n, n_gone, n_held);
}

void client_no_relays_send(struct client *c)
{
	if (!c->ops.portal_send(c->ops_ctx, client_push_no_relays()))
		LOG(INFO, "no_relays not sent, no portal");
}

void client_relays_drain(struct client *c, uint64_t now)
{
	// A client has a handful of connections: no slice is too long for one call.
	while (relay_users_pump(c->relay_users, now))
		continue;
}

int client_reset(struct client *c, uint64_t now, uint64_t wall_ns)
{
	LOG(NOTICE, "network reset");
	c->now = now;
	client_grants_remember(c);
	// Without a word: nothing sent now would arrive as ours.
	for (struct gateway *g = gateways_first(c->gateways); g != NULL; g = g->next) {
		if (g->connection != NULL)
			client_connection_lose(c, g, "network reset");
	}
	c->config.wall_ns = wall_ns;
	if (client_node_create(c, now) < 0)
		return -errno;
	client_env_init(c);
	c->n_locals = 0;
	// A new key means new credentials, and a relay refuses those from sockets that it knows with other
	// ones: the addresses are given back, and the next init brings the relays anew.
	client_relays_release(c, now);
	client_relays_destroy(c);
	return client_relays_create(c, now);
}
