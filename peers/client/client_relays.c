// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

// Relays: candidates for the connections, ChannelData around their packets, and starting over when
// the network changed.

#include "control/base/err.h"
#include "control/base/log.h"
#include "control/path/turn_channel.h"
#include "peers/client/client.h"
#include "peers/client/client_impl.h"

#include <string.h>

#define LOG_AREA "client.relays"

enum {
	CANDIDATES_MAX = 16, // of all relays together
	REMOTES_MAX = 32, // that get a channel at a new relay
	ENTRIES_MAX = 32, // of the portal's lists
	DATAGRAM_MAX = 1500,
};

int client_relays_create(struct client *c, uint64_t now)
{
	const struct relays_config config = {
		.local_v4 = {.addr = {.family = IP_FAMILY_V4}},
		.local_v6 = {.addr = {.family = IP_FAMILY_V6}},
		.random = c->ops.random,
		.random_ctx = c->ops_ctx,
		.mac = c->mac,
	};

	c->relays = relays_create(&config, now);
	return c->relays != NULL ? 0 : -errno;
}

static void random_take(void *ctx, void *out, size_t size)
{
	struct client *c = ctx;

	c->ops.random(c->ops_ctx, out, size);
}

// What connections send: as it is, or in front of it a ChannelData header and to the relay.
static void env_send(
	void *ctx,
	const struct ip_endpoint *local,
	const struct ip_endpoint *remote,
	const void *data,
	size_t size,
	uint8_t ecn)
{
	struct client *c = ctx;
	uint32_t relay = relays_find_relayed(c->relays, local);
	uint8_t wrapped[DATAGRAM_MAX];
	struct turn_route route;

	if (relay == RELAYS_NONE) {
		c->ops.udp_send(c->ops_ctx, local, remote, data, size, ecn);
		return;
	}
	if (size > DATAGRAM_MAX - TURN_CHANNEL_HEADER_SIZE
	    || relays_route(c->relays, c->now, local, remote, &route) < 0) {
		c->counters[CLIENT_COUNTER_UDP_NO_CHANNEL]++;
		return;
	}
	turn_channel_header_write(wrapped, route.channel, (uint16_t)size);
	memcpy(wrapped + TURN_CHANNEL_HEADER_SIZE, data, size);
	c->ops.udp_send(
		c->ops_ctx,
		&route.local,
		&route.remote,
		wrapped,
		TURN_CHANNEL_HEADER_SIZE + size,
		ecn);
	turn_allocation_note_sent(relays_allocation(c->relays, relay), c->now);
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
	uint8_t gone[ENTRIES_MAX][RELAYS_ID_SIZE];
	struct relays_entry entries[ENTRIES_MAX];
	size_t n_gone = 0, n = 0, n_held;

	for (size_t i = 0; i < n_disconnected && n_gone < ENTRIES_MAX; i++)
		memcpy(gone[n_gone++], disconnected[i].bytes, RELAYS_ID_SIZE);
	for (size_t i = 0; i < n_connected && n < ENTRIES_MAX; i++) {
		const struct portal_relay *r = &connected[i];

		if (r->type != PORTAL_RELAY_TURN)
			continue;
		memcpy(entries[n].id, r->id.bytes, RELAYS_ID_SIZE);
		entries[n].endpoint = r->endpoint;
		entries[n].username = r->username;
		entries[n].password = r->password;
		n++;
	}
	n_held = relays_apply(c->relays, now, gone, n_gone, entries, n);
	LOG(INFO, "relays listed=%zu gone=%zu held=%zu", n, n_gone, n_held);
}

// Candidates to signal together.
struct lines {
	char texts[CANDIDATES_MAX][ICE_CANDIDATE_TEXT_SIZE];
	const char *lines[CANDIDATES_MAX];
	size_t n;
};

static void local_add(
	struct client *c,
	uint64_t now,
	struct gateway *g,
	const struct turn_event *event,
	struct lines *lines)
{
	if (lines->n == CANDIDATES_MAX)
		return;
	if (connection_local_add(
		    g->connection,
		    now,
		    &event->candidate,
		    event->is_cross_family,
		    lines->texts[lines->n])
	    < 0)
		return;
	lines->lines[lines->n] = lines->texts[lines->n];
	lines->n++;
	client_connection_drain(c, now, g);
}

void client_channels_want(struct client *c, uint64_t now, const struct gateway *g)
{
	struct ice_candidate remotes[REMOTES_MAX];
	size_t n = connection_remotes(g->connection, remotes, REMOTES_MAX);

	for (size_t i = 0; i < n; i++)
		relays_want_channel(c->relays, now, g->relay, &remotes[i]);
}

static void choose(struct client *c, uint64_t now, struct gateway *g, struct lines *lines)
{
	struct turn_event candidates[CANDIDATES_MAX];
	size_t n;

	g->relay = relays_pick(c->relays);
	n = relays_candidates(c->relays, g->relay, candidates, CANDIDATES_MAX);
	for (size_t i = 0; i < n && g->connection != NULL; i++)
		local_add(c, now, g, &candidates[i], lines);
	if (g->connection != NULL)
		client_channels_want(c, now, g);
}

void client_relay_choose(struct client *c, uint64_t now, struct gateway *g)
{
	struct lines ignored = {.n = 0};

	choose(c, now, g, &ignored);
}

static void
local_withdraw(struct client *c, uint64_t now, struct gateway *g, const struct ice_candidate *gone)
{
	char text[ICE_CANDIDATE_TEXT_SIZE];
	const char *line = text;

	if (connection_local_remove(g->connection, now, gone, text) < 0)
		return;
	client_candidates_withdraw(c, g, &line, 1);
	client_connection_drain(c, now, g);
}

static void
gateway_event(struct client *c, uint64_t now, struct gateway *g, const struct relays_event *event)
{
	struct lines lines = {.n = 0};

	switch (event->type) {
	case RELAYS_EVENT_USABLE:
		if (g->relay == RELAYS_NONE)
			choose(c, now, g, &lines);
		break;
	case RELAYS_EVENT_CANDIDATE:
		if (g->relay == event->relay)
			local_add(c, now, g, &event->turn, &lines);
		break;
	case RELAYS_EVENT_WITHDRAWN:
		local_withdraw(c, now, g, &event->turn.candidate);
		break;
	case RELAYS_EVENT_LOST:
		if (g->relay == event->relay)
			choose(c, now, g, &lines);
		break;
	case RELAYS_EVENT_CHANNEL_UP:
	case RELAYS_EVENT_CHANNEL_DOWN:
	case RELAYS_EVENT_EMPTY:
		break;
	}
	client_candidates_signal(c, g, lines.lines, lines.n);
}

static void event_log(const struct relays_event *event)
{
	char addr[IP_TEXT_SIZE];

	if (event->type == RELAYS_EVENT_LOST)
		LOG(NOTICE,
		    "relay lost relay=%u reason=%s",
		    event->relay,
		    turn_failure_name(event->failure));
	else if (event->type == RELAYS_EVENT_CANDIDATE || event->type == RELAYS_EVENT_WITHDRAWN)
		LOG(INFO,
		    "relay candidate%s relay=%u kind=%s addr=%s",
		    event->type == RELAYS_EVENT_CANDIDATE ? "" : " withdrawn",
		    event->relay,
		    ice_kind_name(event->turn.candidate.kind),
		    ip_endpoint_format(&event->turn.candidate.addr, addr));
}

static void event_handle(struct client *c, uint64_t now, const struct relays_event *event)
{
	event_log(event);
	if (event->type == RELAYS_EVENT_EMPTY) {
		LOG(WARNING, "no relay left");
		client_no_relays_send(c);
		return;
	}
	for (struct gateway *g = gateways_first(c->gateways); g != NULL; g = g->next) {
		if (g->connection != NULL)
			gateway_event(c, now, g, event);
	}
}

void client_no_relays_send(struct client *c)
{
	if (!c->ops.portal_send(c->ops_ctx, client_push_no_relays()))
		LOG(INFO, "no_relays not sent, no portal");
}

void client_relays_drain(struct client *c, uint64_t now)
{
	struct turn_transmit t;
	struct relays_event event;
	bool is_more;

	// What an event causes may again be something to send or to tell.
	do {
		is_more = false;
		while (relays_poll_transmit(c->relays, &t))
			c->ops.udp_send(c->ops_ctx, &t.local, &t.remote, t.data, t.size, 0);
		while (relays_poll_event(c->relays, &event)) {
			event_handle(c, now, &event);
			is_more = true;
		}
	} while (is_more);
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
	relays_destroy(c->relays);
	return client_relays_create(c, now);
}
