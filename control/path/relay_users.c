// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "control/path/relay_users.h"

#include "control/base/err.h"
#include "control/base/log.h"
#include "control/path/turn_channel.h"

#include <sodium.h>

#include <stdlib.h>
#include <string.h>

#define LOG_AREA "path.relay"

enum {
	CANDIDATES_MAX = 16, // of all relays together, for one connection
	REMOTES_MAX = 32, // that get a channel at a new relay; a peer has a handful
};

/** An event that all users are to be told of. */
struct news {
	STAILQ_ENTRY(news) link;
	struct relays_event event;
};

struct relay_users {
	struct relays *relays;
	struct relay_users_ops ops;
	void *ctx;
	TAILQ_HEAD(, relay_user) all;
	struct hash_map by_peer;
	uint8_t key[crypto_shorthash_KEYBYTES];
	STAILQ_HEAD(, news) news; // oldest first
	struct relay_user *next; // to be told the oldest news; NULL: everybody knows it
};

struct relay_users *
relay_users_create(struct relays *relays, const struct relay_users_ops *ops, void *ctx)
{
	struct relay_users *users = calloc(1, sizeof(*users));

	if (users == NULL || hash_map_init(&users->by_peer) < 0) {
		free(users);
		return err_set_null(ENOMEM);
	}
	users->relays = relays;
	users->ops = *ops;
	users->ctx = ctx;
	TAILQ_INIT(&users->all);
	STAILQ_INIT(&users->news);
	randombytes_buf(users->key, sizeof(users->key));
	return users;
}

static void news_drop(struct relay_users *users)
{
	struct news *oldest = STAILQ_FIRST(&users->news);

	STAILQ_REMOVE_HEAD(&users->news, link);
	free(oldest);
}

void relay_users_destroy(struct relay_users *users)
{
	if (users == NULL)
		return;
	while (!STAILQ_EMPTY(&users->news))
		news_drop(users);
	hash_map_fini(&users->by_peer);
	free(users);
}

// Lines to signal together.
struct lines {
	char texts[CANDIDATES_MAX][ICE_CANDIDATE_TEXT_SIZE];
	const char *lines[CANDIDATES_MAX];
	size_t n;
};

static void
line_add(struct lines *lines, const struct relay_user *user, const struct ice_candidate *c)
{
	char *text = lines->n < CANDIDATES_MAX ? lines->texts[lines->n] : NULL;

	if (text != NULL && ice_candidate_format(c, user->ufrag, text) > 0)
		lines->lines[lines->n++] = text;
}

static void local_add(
	uint64_t now,
	struct relay_user *user,
	const struct turn_event *event,
	struct lines *lines)
{
	struct ice_candidate added;
	int rc;

	rc = ice_agent_add_local(
		user->agent, now, &event->candidate, event->is_cross_family, &added);
	if (rc == 0)
		line_add(lines, user, &added);
	else if (rc != -EEXIST)
		LOG_LIMITED(WARNING, "ice_agent_add_local: %s", strerror(-rc));
}

static void local_remove(
	uint64_t now,
	struct relay_user *user,
	const struct ice_candidate *c,
	struct lines *lines)
{
	struct ice_candidate removed;

	if (ice_agent_remove_local(user->agent, now, c->kind, &c->addr, &removed) == 0)
		line_add(lines, user, &removed);
}

void relay_users_remotes_added(
	struct relay_users *users,
	uint64_t now,
	const struct relay_user *user)
{
	struct ice_candidate remotes[REMOTES_MAX];
	size_t n = ice_agent_list_remotes(user->agent, remotes, REMOTES_MAX);

	for (size_t i = 0; i < n; i++)
		relay_users_remote_added(users, now, user, &remotes[i]);
}

void relay_users_remote_added(
	struct relay_users *users,
	uint64_t now,
	const struct relay_user *user,
	const struct ice_candidate *remote)
{
	relays_want_channel(users->relays, now, user->relay, remote);
}

static void
choose(struct relay_users *users, uint64_t now, struct relay_user *user, struct lines *lines)
{
	struct turn_event candidates[CANDIDATES_MAX];
	size_t n;

	user->relay = relays_pick(users->relays);
	n = relays_candidates(users->relays, user->relay, candidates, CANDIDATES_MAX);
	for (size_t i = 0; i < n; i++)
		local_add(now, user, &candidates[i], lines);
	relay_users_remotes_added(users, now, user);
}

void relay_users_join(
	struct relay_users *users,
	uint64_t now,
	struct relay_user *user,
	struct ice_agent *agent,
	const char *ufrag)
{
	struct lines ignored = {.n = 0};

	*user = (struct relay_user){.agent = agent, .ufrag = ufrag};
	// At the head: what is being told now it learns from choose() already.
	TAILQ_INSERT_HEAD(&users->all, user, link);
	choose(users, now, user, &ignored);
}

void relay_users_leave(struct relay_users *users, struct relay_user *user)
{
	if (user->agent == NULL)
		return;
	if (users->next == user)
		users->next = TAILQ_NEXT(user, link);
	TAILQ_REMOVE(&users->all, user, link);
	hash_map_del(&users->by_peer, &user->by_peer);
	*user = (struct relay_user){.agent = NULL};
}

static uint64_t peer_hash(const struct relay_users *users, const struct ip_endpoint *peer)
{
	uint8_t in[sizeof(peer->addr.bytes) + 3], out[crypto_shorthash_BYTES];
	uint64_t hash;

	memcpy(in, peer->addr.bytes, sizeof(peer->addr.bytes));
	in[sizeof(in) - 3] = peer->addr.family;
	in[sizeof(in) - 2] = (uint8_t)(peer->port >> 8);
	in[sizeof(in) - 1] = (uint8_t)peer->port;
	crypto_shorthash(out, in, sizeof(in), users->key);
	memcpy(&hash, out, sizeof(hash));
	return hash;
}

bool relay_users_path_set(
	struct relay_users *users,
	struct relay_user *user,
	const struct ip_endpoint *local,
	const struct ip_endpoint *remote)
{
	bool is_relayed = relays_find_relayed(users->relays, local) != RELAYS_NONE;

	hash_map_del(&users->by_peer, &user->by_peer);
	user->local = *local;
	user->remote = *remote;
	if (is_relayed && user->agent != NULL)
		hash_map_add(&users->by_peer, &user->by_peer, peer_hash(users, remote));
	return is_relayed;
}

// An address at a relay that was withdrawn is an address of ours no more, though not every user knows yet.
static bool is_withdrawn(const struct relay_users *users, const struct ip_endpoint *local)
{
	const struct news *n;

	STAILQ_FOREACH(n, &users->news, link) {
		if (n->event.type == RELAYS_EVENT_WITHDRAWN
		    && ip_endpoint_eq(&n->event.turn.candidate.addr, local))
			return true;
	}
	return false;
}

static bool send_relayed(
	struct relay_users *users,
	uint64_t now,
	uint32_t relay,
	const struct relay_datagram *d,
	uint8_t ecn)
{
	uint8_t wrapped[TURN_TRANSMIT_SIZE_MAX];
	struct turn_route route;

	if (d->size > sizeof(wrapped) - TURN_CHANNEL_HEADER_SIZE
	    || relays_route(users->relays, now, &d->local, &d->remote, &route) < 0)
		return false;
	turn_channel_header_write(wrapped, route.channel, (uint16_t)d->size);
	memcpy(wrapped + TURN_CHANNEL_HEADER_SIZE, d->data, d->size);
	users->ops.send(
		users->ctx,
		&route.local,
		&route.remote,
		wrapped,
		TURN_CHANNEL_HEADER_SIZE + d->size,
		ecn);
	turn_allocation_note_sent(relays_allocation(users->relays, relay), now);
	return true;
}

bool relay_users_send(
	struct relay_users *users,
	uint64_t now,
	const struct ip_endpoint *local,
	const struct ip_endpoint *remote,
	const void *data,
	size_t size,
	uint8_t ecn)
{
	uint32_t relay = relays_find_relayed(users->relays, local);
	struct relay_datagram d = {*local, *remote, data, size};

	if (relay != RELAYS_NONE)
		return send_relayed(users, now, relay, &d, ecn);
	if (is_withdrawn(users, local))
		return false;
	users->ops.send(users->ctx, local, remote, data, size, ecn);
	return true;
}

enum turn_rx relay_users_receive(struct relay_users *users, uint64_t now, struct relay_datagram *d)
{
	struct turn_data data;
	uint32_t relay;
	enum turn_rx rx;

	rx = relays_handle_packet(
		users->relays, now, &d->local, &d->remote, d->data, d->size, &relay, &data);
	if (rx == TURN_RX_DATA)
		*d = (struct relay_datagram){data.local, data.remote, data.data, data.size};
	return rx;
}

static void
tell(struct relay_users *users,
     uint64_t now,
     struct relay_user *user,
     const struct relays_event *event)
{
	bool is_withdrawn = event->type == RELAYS_EVENT_WITHDRAWN,
	     is_own = user->relay == event->relay;
	struct lines lines = {.n = 0};

	if (is_withdrawn)
		local_remove(now, user, &event->turn.candidate, &lines);
	else if (event->type == RELAYS_EVENT_CANDIDATE && is_own)
		local_add(now, user, &event->turn, &lines);
	else if (event->type == RELAYS_EVENT_LOST && is_own)
		choose(users, now, user, &lines);
	else if (event->type == RELAYS_EVENT_USABLE && user->relay == RELAYS_NONE)
		choose(users, now, user, &lines);
	else
		return;
	if (lines.n == 0)
		return;
	users->ops.signal(users->ctx, user, lines.lines, lines.n, is_withdrawn);
	users->ops.changed(users->ctx, user);
}

static void channel_changed(struct relay_users *users, const struct relays_event *event)
{
	uint64_t hash = peer_hash(users, &event->turn.peer);
	struct hash_node *node, *next;

	for (node = hash_map_first(&users->by_peer, hash); node != NULL; node = next) {
		struct relay_user *user =
			(void *)((char *)node - offsetof(struct relay_user, by_peer));

		next = hash_node_next(node);
		if (ip_endpoint_eq(&user->remote, &event->turn.peer)
		    && relays_find_relayed(users->relays, &user->local) == event->relay)
			users->ops.route_changed(users->ctx, user);
	}
}

static void event_log(const struct relays_event *event)
{
	char addr[IP_TEXT_SIZE];

	if (event->type == RELAYS_EVENT_EMPTY)
		LOG(WARNING, "no relay left");
	else if (event->type == RELAYS_EVENT_LOST)
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

// What all have to know waits for its turn; the rest is done at once.
static void event_take(struct relay_users *users, const struct relays_event *event)
{
	struct news *news;

	event_log(event);
	if (users->ops.lost != NULL
	    && (event->type == RELAYS_EVENT_LOST || event->type == RELAYS_EVENT_EMPTY))
		users->ops.lost(users->ctx, event->type);
	if (event->type == RELAYS_EVENT_CHANNEL_UP || event->type == RELAYS_EVENT_CHANNEL_DOWN) {
		if (users->ops.route_changed != NULL)
			channel_changed(users, event);
		return;
	}
	if (event->type == RELAYS_EVENT_EMPTY || TAILQ_EMPTY(&users->all))
		return;
	news = calloc(1, sizeof(*news));
	if (news == NULL) {
		LOG(ERR, "out of memory for news of a relay");
		abort(); // connections would keep a relay that is gone
	}
	news->event = *event;
	if (STAILQ_EMPTY(&users->news))
		users->next = TAILQ_FIRST(&users->all);
	STAILQ_INSERT_TAIL(&users->news, news, link);
}

// @return whether somebody still has to be told something
static bool news_tell(struct relay_users *users, uint64_t now)
{
	for (unsigned i = 0; i < RELAY_USERS_SLICE; i++) {
		struct relay_user *user;

		while (users->next == NULL && !STAILQ_EMPTY(&users->news)) {
			news_drop(users);
			if (!STAILQ_EMPTY(&users->news))
				users->next = TAILQ_FIRST(&users->all);
		}
		if (STAILQ_EMPTY(&users->news))
			return false;
		user = users->next;
		users->next = TAILQ_NEXT(user, link);
		tell(users, now, user, &STAILQ_FIRST(&users->news)->event);
	}
	return true;
}

bool relay_users_pump(struct relay_users *users, uint64_t now)
{
	struct turn_transmit t;
	struct relays_event event;
	bool is_more = news_tell(users, now);

	// What an event causes may again be something to send.
	while (relays_poll_event(users->relays, &event)) {
		event_take(users, &event);
		is_more = true;
	}
	while (relays_poll_transmit(users->relays, &t))
		users->ops.send(users->ctx, &t.local, &t.remote, t.data, t.size, 0);
	return is_more;
}

uint64_t relay_users_deadline(const struct relay_users *users)
{
	return STAILQ_EMPTY(&users->news) ? relays_next_deadline(users->relays) : 0;
}
