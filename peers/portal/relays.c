// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "control/base/alloc.h"
#include "control/base/log.h"
#include "peers/portal/portal_priv.h"
#include "peers/relay/credentials.h"

#include <sodium.h>

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define LOG_AREA "portal.relays"
/** Relays come and go in swarms: peers hear of it so long after the last change. */
#define DEBOUNCE_MS 1000
/** 2038-01-01T00:00:00Z: expiry of the credentials of gateways, so that these never change. */
#define EXPIRES_LAST 2145916800

static_assert(sizeof(((struct ident *)0)->text) == CREDENTIALS_UUID_SIZE, "both are a UUID's text");

void relay_peer_destroy(struct relay_peer *r)
{
	if (r == NULL)
		return;
	sodium_memzero(r->secret, sizeof(r->secret));
	free(r->name);
	free(r);
}

void relays_changed(struct portal *p, struct instant now)
{
	p->presence_ms = now.mono_ms + DEBOUNCE_MS;
}

static bool is_joined_relay(const struct channel *ch)
{
	return ch->is_joined && ident_is_set(&ch->relay->id);
}

void relays_leave(struct channel *ch, struct instant now)
{
	if (!is_joined_relay(ch))
		return;
	TAILQ_REMOVE(&ch->portal->relays, ch, relay_link);
	ch->is_joined = false;
	relays_changed(ch->portal, now);
}

static struct channel *find_online(const struct portal *p, const struct ident *id)
{
	struct channel *ch;

	TAILQ_FOREACH(ch, &p->relays, relay_link) {
		if (ident_eq(&ch->relay->id, id))
			return ch;
	}
	return NULL;
}

bool relays_join(struct channel *ch, const json_t *payload, struct instant now)
{
	const json_t *value = json_object_get(payload, "stamp_secret");
	const size_t size = json_string_length(value);
	struct channel *other;
	struct ident id;

	if (size == 0 || size >= sizeof(ch->relay->secret))
		return false;
	// A second join on one socket starts over.
	relays_leave(ch, now);
	credentials_relay_id(id.text, json_string_value(value));
	other = find_online(ch->portal, &id);
	if (other != NULL) {
		// The same process, whose older connection we have not seen die.
		channel_push(other, "phx_close", json_object());
		channel_close(other, WS_CLOSE_GOING_AWAY);
		relays_leave(other, now);
	}
	memcpy(ch->relay->secret, json_string_value(value), size + 1);
	ch->relay->id = id;
	TAILQ_INSERT_TAIL(&ch->portal->relays, ch, relay_link);
	relays_changed(ch->portal, now);
	return true;
}

static const struct policy_turn *find_turn(const struct policy *p, const struct ident *id)
{
	for (size_t i = 0; i < p->n_turn; i++) {
		if (ident_eq(&p->turn[i].id, id))
			return &p->turn[i];
	}
	return NULL;
}

bool relays_policy_differs(const struct policy *a, const struct policy *b)
{
	if (a->n_turn != b->n_turn)
		return true;
	for (size_t i = 0; i < a->n_turn; i++) {
		if (!ident_eq(&a->turn[i].id, &b->turn[i].id))
			return true;
	}
	return false;
}

static void add_entries(
	json_t *list,
	const struct ident *id,
	const struct ip_endpoint *addresses,
	size_t n_addresses,
	const char *username,
	const char *password,
	int64_t expires_at)
{
	char text[IP_TEXT_SIZE];

	for (size_t i = 0; i < n_addresses; i++)
		json_array_append_new(
			list,
			json_pack(
				"{s:s, s:s, s:s, s:s, s:s, s:I}",
				"id",
				id->text,
				"type",
				"turn",
				"addr",
				ip_endpoint_format(&addresses[i], text),
				"username",
				username,
				"password",
				password,
				"expires_at",
				(json_int_t)expires_at));
}

// A client's end with its token.
static int64_t expires_at(const struct channel *ch)
{
	const struct policy_client *client;

	if (ch->kind != CHANNEL_CLIENT)
		return EXPIRES_LAST;
	client = portal_client_of(ch->portal, ch->device);
	return client != NULL && client->expires_at < EXPIRES_LAST ? client->expires_at
								   : EXPIRES_LAST;
}

static bool is_chosen(const struct ident *chosen, size_t n, const struct ident *id)
{
	for (size_t i = 0; i < n; i++) {
		if (ident_eq(&chosen[i], id))
			return true;
	}
	return false;
}

// A random one that is not chosen yet; false when there is none.
static bool choose_random(struct portal *p, const struct ident *chosen, size_t n, struct ident *out)
{
	uint32_t n_seen = 0;
	uint32_t dice;
	const struct channel *ch;

	TAILQ_FOREACH(ch, &p->relays, relay_link) {
		if (is_chosen(chosen, n, &ch->relay->id))
			continue;
		p->random(&dice, sizeof(dice));
		if (dice % ++n_seen == 0)
			*out = ch->relay->id;
	}
	return n_seen > 0;
}

// What the operator listed comes first, then what the peer already has and then others at random.
static size_t choose(struct channel *ch, struct ident chosen[RELAYS_GIVEN_MAX])
{
	struct portal *p = ch->portal;
	size_t n = 0;

	for (size_t i = 0; i < p->policy->n_turn && n < RELAYS_GIVEN_MAX; i++)
		chosen[n++] = p->policy->turn[i].id;
	for (size_t i = 0; i < ch->n_given && n < RELAYS_GIVEN_MAX; i++) {
		if (find_online(p, &ch->given[i]) != NULL)
			chosen[n++] = ch->given[i];
	}
	while (n < RELAYS_GIVEN_MAX && choose_random(p, chosen, n, &chosen[n]))
		n++;
	return n;
}

json_t *relays_give(struct channel *ch)
{
	const struct portal *p = ch->portal;
	json_t *list = alloc_check(json_array());
	struct ident chosen[RELAYS_GIVEN_MAX];
	const size_t n = choose(ch, chosen);
	const int64_t expiry = expires_at(ch);

	for (size_t i = 0; i < n; i++) {
		const struct policy_turn *turn = find_turn(p->policy, &chosen[i]);
		const struct channel *relay = find_online(p, &chosen[i]);
		struct credentials c;

		if (turn != NULL) {
			add_entries(
				list,
				&turn->id,
				turn->addresses,
				turn->n_addresses,
				turn->username,
				turn->password,
				EXPIRES_LAST);
			continue;
		}
		if (relay == NULL)
			continue;
		credentials_make(&c, relay->relay->secret, ch->public_key, expiry);
		add_entries(
			list,
			&relay->relay->id,
			relay->relay->addresses,
			relay->relay->n_addresses,
			c.username,
			c.password,
			expiry);
		sodium_memzero(&c, sizeof(c));
	}
	memcpy(ch->given, chosen, sizeof(chosen[0]) * n);
	ch->n_given = n;
	return list;
}

static bool is_there(const struct portal *p, const struct ident *id)
{
	return find_online(p, id) != NULL || find_turn(p->policy, id) != NULL;
}

void relays_push(struct channel *ch)
{
	json_t *gone = alloc_check(json_array());

	for (size_t i = 0; i < ch->n_given; i++) {
		if (!is_there(ch->portal, &ch->given[i]))
			json_array_append_new(gone, json_string(ch->given[i].text));
	}
	channel_push(
		ch,
		"relays_presence",
		json_pack("{s:o, s:o}", "disconnected_ids", gone, "connected", relays_give(ch)));
}

// A peer hears of it when one of its relays is gone, or when it has too few and there are some.
static bool has_news(const struct channel *ch)
{
	const struct portal *p = ch->portal;

	for (size_t i = 0; i < ch->n_given; i++) {
		if (!is_there(p, &ch->given[i]))
			return true;
	}
	return ch->n_given < RELAYS_GIVEN_MAX
		&& (!TAILQ_EMPTY(&p->relays) || p->policy->n_turn > 0);
}

void relays_tick(struct portal *p, struct instant now)
{
	struct channel *ch;

	if (now.mono_ms < p->presence_ms)
		return;
	p->presence_ms = INT64_MAX;
	TAILQ_FOREACH(ch, &p->channels, link) {
		if (ch->kind != CHANNEL_RELAY && ch->is_joined && has_news(ch))
			relays_push(ch);
	}
}
