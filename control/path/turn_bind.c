// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "control/base/err.h"
#include "control/path/turn_internal.h"

#include <assert.h>
#include <string.h>

#define NO_CHANNEL TURN_CHANNEL_COUNT
#define SLOT_RETRY_NS TURN_S

static_assert((TURN_CHANNEL_COUNT & (TURN_CHANNEL_COUNT - 1)) == 0, "mask of the buckets");

static size_t bucket_of(const struct turn_allocation *a, const struct ip_endpoint *peer)
{
	uint8_t in[sizeof(peer->addr.bytes) + 3], out[crypto_shorthash_BYTES];
	uint32_t hash;

	memcpy(in, peer->addr.bytes, sizeof(peer->addr.bytes));
	in[sizeof(in) - 3] = peer->addr.family;
	in[sizeof(in) - 2] = (uint8_t)(peer->port >> 8);
	in[sizeof(in) - 1] = (uint8_t)peer->port;
	crypto_shorthash(out, in, sizeof(in), a->hash_key);
	memcpy(&hash, out, sizeof(hash));
	return hash & (TURN_CHANNEL_COUNT - 1);
}

// Index of the channel whose number belongs to the peer, or NO_CHANNEL.
static unsigned channel_find(const struct turn_allocation *a, const struct ip_endpoint *peer)
{
	for (unsigned i = a->buckets[bucket_of(a, peer)]; i != 0; i = a->channels[i - 1].next) {
		if (ip_endpoint_eq(&a->channels[i - 1].peer, peer))
			return i - 1;
	}
	return NO_CHANNEL;
}

static void channel_link(struct turn_allocation *a, unsigned index, const struct ip_endpoint *peer)
{
	uint16_t *bucket = &a->buckets[bucket_of(a, peer)];

	a->channels[index].peer = *peer;
	a->channels[index].next = *bucket;
	*bucket = (uint16_t)(index + 1);
}

// Takes the number from its peer.
static void channel_free(struct turn_allocation *a, unsigned index, uint64_t free_at)
{
	struct turn_channel *ch = &a->channels[index];
	uint16_t *link = &a->buckets[bucket_of(a, &ch->peer)];

	while (*link != index + 1)
		link = &a->channels[*link - 1].next;
	*link = ch->next;
	*ch = (struct turn_channel){.free_at = free_at};
}

// The relay keeps number and peer together for 300 s beyond the channel's 600 s.
static bool channel_is_cool(const struct turn_channel *ch, uint64_t now)
{
	if (ch->state == TURN_CHANNEL_LAPSED)
		return now >= ch->bound_at + TURN_CHANNEL_COOL_DOWN_NS && !ch->has_rx;
	return ch->state == TURN_CHANNEL_FREE && now >= ch->free_at;
}

static unsigned channel_choose(struct turn_allocation *a, uint64_t now)
{
	for (unsigned i = 0; i < TURN_CHANNEL_COUNT; i++) {
		unsigned index = (a->next_channel + i) % TURN_CHANNEL_COUNT;

		if (!channel_is_cool(&a->channels[index], now))
			continue;
		if (a->channels[index].state == TURN_CHANNEL_LAPSED)
			channel_free(a, index, 0);
		a->next_channel = (index + 1) % TURN_CHANNEL_COUNT;
		return index;
	}
	return NO_CHANNEL;
}

static void due_at(struct turn_allocation *a, uint64_t at)
{
	if (at < a->channels_at)
		a->channels_at = at;
}

static uint64_t refresh_age(const struct turn_allocation *a)
{
	return a->dialect == TURN_DIALECT_RFC ? TURN_CHANNEL_REFRESH_RFC_NS
					      : TURN_CHANNEL_REFRESH_NS;
}

static void waiting_add(struct turn_allocation *a, const struct ip_endpoint *peer)
{
	for (size_t i = 0; i < a->n_waiting; i++) {
		if (ip_endpoint_eq(&a->waiting[i], peer))
			return;
	}
	if (a->n_waiting == TURN_BIND_QUEUE_MAX) {
		a->n_waiting--;
		memmove(&a->waiting[0], &a->waiting[1], a->n_waiting * sizeof(a->waiting[0]));
	}
	a->waiting[a->n_waiting++] = *peer;
}

// Binds with a slot known to be free, or the peer waits.
static int channel_bind(struct turn_allocation *a, uint64_t now, const struct ip_endpoint *peer)
{
	unsigned index = channel_find(a, peer);
	struct turn_channel *ch;

	if (index != NO_CHANNEL && a->channels[index].state != TURN_CHANNEL_LAPSED)
		return 0;
	if (a->n_requests >= TURN_REQUESTS_MAX - TURN_REQUESTS_RESERVED) {
		waiting_add(a, peer);
		return 0;
	}
	if (index != NO_CHANNEL && channel_is_cool(&a->channels[index], now)) {
		channel_free(a, index, 0);
		index = NO_CHANNEL;
	}
	if (index == NO_CHANNEL) {
		index = channel_choose(a, now);
		if (index == NO_CHANNEL)
			return err_set(ENOSPC);
		channel_link(a, index, peer);
	}
	ch = &a->channels[index];
	ch->state = TURN_CHANNEL_BINDING;
	ch->has_rx = false;
	ch->is_requested = true;
	turn_request_start_bind(a, now, peer, (uint16_t)(TURN_CHANNEL_MIN + index));
	return 0;
}

int turn_allocation_bind(struct turn_allocation *a, uint64_t now, const struct ip_endpoint *peer)
{
	if (!ice_candidate_is_usable(peer))
		return err_set(EINVAL);
	if (a->has_failed || a->is_released)
		return err_set(ENOTCONN);
	if (!a->has_allocation) {
		waiting_add(a, peer);
		return 0;
	}
	if (a->relayed[turn_family_index(peer)].port == 0)
		return err_set(EAFNOSUPPORT);
	return channel_bind(a, now, peer);
}

void turn_bind_waiting(struct turn_allocation *a, uint64_t now)
{
	while (a->has_allocation && a->n_waiting > 0
	       && a->n_requests < TURN_REQUESTS_MAX - TURN_REQUESTS_RESERVED) {
		struct ip_endpoint peer = a->waiting[0];

		a->n_waiting--;
		memmove(&a->waiting[0], &a->waiting[1], a->n_waiting * sizeof(a->waiting[0]));
		// A peer of the family that the relay did not give is skipped.
		if (turn_allocation_bind(a, now, &peer) < 0)
			continue;
	}
}

int turn_allocation_route(
	struct turn_allocation *a,
	uint64_t now,
	const struct ip_endpoint *peer,
	struct turn_route *out)
{
	unsigned index = channel_find(a, peer);
	int rc;

	if (index == NO_CHANNEL || a->channels[index].state == TURN_CHANNEL_LAPSED) {
		rc = turn_allocation_bind(a, now, peer);
		return rc < 0 ? rc : err_set(ENOTCONN);
	}
	out->local = a->locals[a->active];
	out->remote = a->remotes[a->active];
	out->channel = (uint16_t)(TURN_CHANNEL_MIN + index);
	out->is_confirmed = a->channels[index].state == TURN_CHANNEL_BOUND;
	return 0;
}

int turn_allocation_send(
	struct turn_allocation *a,
	uint64_t now,
	const struct ip_endpoint *peer,
	const void *data,
	size_t size)
{
	struct turn_route route;
	struct turn_out *out;
	int rc;

	if (size > TURN_TRANSMIT_SIZE_MAX - TURN_CHANNEL_HEADER_SIZE)
		return err_set(EMSGSIZE);
	rc = turn_allocation_route(a, now, peer, &route);
	if (rc < 0)
		return rc;
	out = turn_out_add(a, a->active, TURN_CHANNEL_HEADER_SIZE + size);
	if (out == NULL)
		return err_set(ENOBUFS);
	turn_channel_header_write(out->data, route.channel, (uint16_t)size);
	memcpy(out->data + TURN_CHANNEL_HEADER_SIZE, data, size);
	turn_allocation_note_sent(a, now);
	return 0;
}

void turn_allocation_note_sent(struct turn_allocation *a, uint64_t now)
{
	// Sending alone shows nothing about a relay that may have died.
	if (a->has_allocation && now - a->heard_at < TURN_KEEPALIVE_NS)
		a->keepalive_at = now + TURN_KEEPALIVE_NS;
}

void turn_allocation_note_received(struct turn_allocation *a, uint64_t now, uint16_t channel)
{
	struct turn_channel *ch;

	if (channel < TURN_CHANNEL_MIN || channel > TURN_CHANNEL_MAX)
		return;
	ch = &a->channels[channel - TURN_CHANNEL_MIN];
	if (ch->state != TURN_CHANNEL_BOUND)
		return;
	a->heard_at = now;
	if (ch->has_rx)
		return;
	ch->has_rx = true;
	due_at(a, ch->bound_at + refresh_age(a));
	turn_bind_run(a, now);
}

bool turn_allocation_channel_peer(
	const struct turn_allocation *a,
	uint16_t channel,
	struct ip_endpoint *peer)
{
	const struct turn_channel *ch;

	if (channel < TURN_CHANNEL_MIN || channel > TURN_CHANNEL_MAX)
		return false;
	ch = &a->channels[channel - TURN_CHANNEL_MIN];
	if (ch->state != TURN_CHANNEL_BOUND)
		return false;
	*peer = ch->peer;
	return true;
}

enum turn_rx
turn_bind_receive(struct turn_allocation *a, uint64_t now, uint16_t channel, struct turn_data *out)
{
	const struct turn_channel *ch = &a->channels[channel - TURN_CHANNEL_MIN];

	if (ch->state == TURN_CHANNEL_BINDING)
		return TURN_RX_UNCONFIRMED_CHANNEL;
	if (ch->state != TURN_CHANNEL_BOUND)
		return TURN_RX_UNKNOWN_CHANNEL;
	out->local = a->relayed[turn_family_index(&ch->peer)];
	out->remote = ch->peer;
	out->channel = channel;
	turn_allocation_note_received(a, now, channel);
	return TURN_RX_DATA;
}

static void report(struct turn_allocation *a, enum turn_event_type type, unsigned index)
{
	turn_event_add(
		a,
		&(struct turn_event){
			.type = type,
			.channel = (uint16_t)(TURN_CHANNEL_MIN + index),
			.peer = a->channels[index].peer,
		});
}

void turn_bind_confirm(struct turn_allocation *a, uint64_t now, uint16_t channel)
{
	unsigned index = channel - TURN_CHANNEL_MIN;
	struct turn_channel *ch = &a->channels[index];
	bool was_bound = ch->state == TURN_CHANNEL_BOUND;

	ch->state = TURN_CHANNEL_BOUND;
	ch->is_requested = false;
	ch->has_rx = false;
	ch->bound_at = now;
	due_at(a, now + TURN_CHANNEL_LIFETIME_NS);
	if (!was_bound)
		report(a, TURN_EVENT_CHANNEL_UP, index);
}

void turn_bind_refuse(struct turn_allocation *a, uint64_t now, uint16_t channel)
{
	unsigned index = channel - TURN_CHANNEL_MIN;

	if (a->channels[index].state == TURN_CHANNEL_BOUND)
		report(a, TURN_EVENT_CHANNEL_DOWN, index);
	channel_free(a, index, now + TURN_CHANNEL_COOL_DOWN_NS);
}

// Does what is due to a bound channel. @return when it is due next
static uint64_t channel_run(struct turn_allocation *a, uint64_t now, unsigned index)
{
	struct turn_channel *ch = &a->channels[index];
	uint64_t lapse_at = ch->bound_at + TURN_CHANNEL_LIFETIME_NS;
	uint64_t refresh_at = ch->bound_at + refresh_age(a);

	if (now >= lapse_at) {
		ch->state = TURN_CHANNEL_LAPSED;
		report(a, TURN_EVENT_CHANNEL_DOWN, index);
		return TURN_DEADLINE_NONE;
	}
	if (!ch->has_rx || ch->is_requested)
		return lapse_at;
	if (now < refresh_at)
		return refresh_at;
	ch->is_requested =
		turn_request_start_bind(a, now, &ch->peer, (uint16_t)(TURN_CHANNEL_MIN + index))
		!= NULL;
	return ch->is_requested ? lapse_at : now + SLOT_RETRY_NS;
}

void turn_bind_run(struct turn_allocation *a, uint64_t now)
{
	if (now < a->channels_at)
		return;
	a->channels_at = TURN_DEADLINE_NONE;
	for (unsigned i = 0; i < TURN_CHANNEL_COUNT; i++) {
		if (a->channels[i].state == TURN_CHANNEL_BOUND)
			due_at(a, channel_run(a, now, i));
	}
}

void turn_bind_clear(struct turn_allocation *a, bool is_coming_back)
{
	for (unsigned i = 0; i < TURN_CHANNEL_COUNT && is_coming_back; i++) {
		enum turn_channel_state state = a->channels[i].state;

		if (state == TURN_CHANNEL_BOUND || state == TURN_CHANNEL_BINDING)
			waiting_add(a, &a->channels[i].peer);
	}
	if (!is_coming_back)
		a->n_waiting = 0;
	memset(a->channels, 0, sizeof(a->channels));
	memset(a->buckets, 0, sizeof(a->buckets));
	a->channels_at = TURN_DEADLINE_NONE;
}
