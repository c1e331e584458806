// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "control/base/err.h"
#include "peers/relay/relay_priv.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Ports tried before saying that there is none.
#define PORT_TRIES 64
#define CHANNELS_MIN 8

static uint64_t hash_bytes(const struct relay *r, const void *data, size_t size)
{
	uint64_t hash;

	crypto_shorthash((uint8_t *)&hash, data, size, r->hash_key);
	return hash;
}

static uint64_t hash_endpoint(const struct relay *r, const struct ip_endpoint *e)
{
	uint8_t key[19];

	key[0] = e->addr.family;
	memcpy(key + 1, &e->port, sizeof(e->port));
	memcpy(key + 3, e->addr.bytes, sizeof(e->addr.bytes));
	return hash_bytes(r, key, sizeof(key));
}

static struct relay_clients *client_bucket(const struct relay *r, const struct ip_endpoint *e)
{
	return &r->clients[hash_endpoint(r, e) & (r->n_buckets - 1)];
}

static struct relay_allocations *user_bucket(const struct relay *r, const char *username)
{
	return &r->users[hash_bytes(r, username, strlen(username)) & (r->n_buckets - 1)];
}

static size_t n_ports(const struct relay *r)
{
	return (size_t)(r->config.highest_port - r->config.lowest_port) + 1;
}

int relay_table_init(struct relay *r)
{
	TAILQ_INIT(&r->idle);
	for (r->n_buckets = 64; r->n_buckets < r->config.clients_max;)
		r->n_buckets *= 2;
	r->clients = calloc(r->n_buckets, sizeof(*r->clients));
	r->users = calloc(r->n_buckets, sizeof(*r->users));
	r->by_port = calloc(n_ports(r), sizeof(struct relay_allocation *));
	if (r->clients == NULL || r->users == NULL || r->by_port == NULL)
		return err_set(ENOMEM);
	return 0;
}

static void client_del(struct relay *r, struct relay_client *client)
{
	TAILQ_REMOVE(&r->idle, client, of_idle);
	LIST_REMOVE(client, of_hash);
	r->stats.n_clients--;
	free(client);
}

void relay_table_fini(struct relay *r)
{
	struct relay_client *client;

	for (size_t i = 0; r->by_port != NULL && i < n_ports(r); i++) {
		if (r->by_port[i] != NULL)
			relay_allocation_del(r, r->by_port[i]);
	}
	while ((client = TAILQ_FIRST(&r->idle)) != NULL)
		client_del(r, client);
	free(r->clients);
	free(r->users);
	free(r->by_port);
}

struct relay_client *relay_client_find(const struct relay *r, const struct ip_endpoint *endpoint)
{
	struct relay_client *client;

	LIST_FOREACH(client, client_bucket(r, endpoint), of_hash) {
		if (ip_endpoint_eq(&client->endpoint, endpoint))
			return client;
	}
	return NULL;
}

struct relay_client *relay_client_add(struct relay *r, const struct ip_endpoint *endpoint)
{
	struct relay_client *client;

	if (r->stats.n_clients >= r->config.clients_max) {
		if (TAILQ_EMPTY(&r->idle))
			return err_set_null(ENOBUFS);
		client_del(r, TAILQ_FIRST(&r->idle));
	}
	client = calloc(1, sizeof(*client));
	if (client == NULL)
		return err_set_null(ENOMEM);
	client->endpoint = *endpoint;
	LIST_INSERT_HEAD(client_bucket(r, endpoint), client, of_hash);
	TAILQ_INSERT_TAIL(&r->idle, client, of_idle);
	r->stats.n_clients++;
	return client;
}

struct relay_allocation *relay_allocation_of_user(const struct relay *r, const char *username)
{
	struct relay_allocation *a;

	LIST_FOREACH(a, user_bucket(r, username), of_user) {
		if (strcmp(a->username, username) == 0)
			return a;
	}
	return NULL;
}

struct relay_allocation *relay_allocation_of_port(const struct relay *r, uint16_t port)
{
	if (port < r->config.lowest_port || port > r->config.highest_port)
		return NULL;
	return r->by_port[port - r->config.lowest_port];
}

// A random port, so that peers cannot be guessed (RFC 8656 7.2); the next free one when that is taken.
static int port_open(struct relay *r, unsigned families)
{
	uint32_t first;

	r->config.random(&first, sizeof(first));
	for (size_t i = 0, tries = 0; i < n_ports(r) && tries < PORT_TRIES; i++) {
		const size_t index = (first % n_ports(r) + i) % n_ports(r);
		const uint16_t port = (uint16_t)(r->config.lowest_port + index);

		if (r->by_port[index] != NULL || port == r->config.listen_port)
			continue;
		if (r->config.ports.open(r->config.ports.ctx, port, families) == 0)
			return port;
		tries++;
	}
	return err_set(EADDRNOTAVAIL);
}

static void wheel_add(struct relay *r, struct relay_allocation *a)
{
	// In the second after its end, so that nothing is early.
	const uint64_t second = a->expires_ms / 1000 + 1;

	LIST_INSERT_HEAD(&r->wheel[second % RELAY_WHEEL_SLOTS], a, of_second);
}

struct relay_allocation *relay_allocation_add(
	struct relay *r,
	struct relay_client *client,
	const char *username,
	unsigned families,
	uint64_t now_ms,
	uint32_t lifetime_s)
{
	struct relay_allocation *a = calloc(1, sizeof(*a));
	const int port = a != NULL ? port_open(r, families) : -ENOMEM;

	if (port < 0) {
		free(a);
		return err_set_null(-port);
	}
	memset(a->slot_of_number, 0xff, sizeof(a->slot_of_number));
	a->client = client;
	a->port = (uint16_t)port;
	a->families = families;
	a->lifetime_s = lifetime_s;
	a->expires_ms = now_ms + lifetime_s * UINT64_C(1000);
	snprintf(a->username, sizeof(a->username), "%s", username);
	client->allocation = a;
	TAILQ_REMOVE(&r->idle, client, of_idle);
	r->by_port[a->port - r->config.lowest_port] = a;
	LIST_INSERT_HEAD(user_bucket(r, username), a, of_user);
	wheel_add(r, a);
	r->stats.n_allocations++;
	return a;
}

void relay_allocation_del(struct relay *r, struct relay_allocation *a)
{
	struct relay_client *client = a->client;

	LIST_REMOVE(a, of_user);
	LIST_REMOVE(a, of_second);
	r->by_port[a->port - r->config.lowest_port] = NULL;
	client->allocation = NULL;
	TAILQ_INSERT_TAIL(&r->idle, client, of_idle);
	r->stats.n_allocations--;
	r->config.ports.close(r->config.ports.ctx, a->port, a->families);
	free(a->channels);
	free(a->buckets);
	free(a);
}

void relay_allocation_refresh(
	struct relay *r,
	struct relay_allocation *a,
	uint64_t now_ms,
	uint32_t lifetime_s)
{
	LIST_REMOVE(a, of_second);
	a->lifetime_s = lifetime_s;
	a->expires_ms = now_ms + lifetime_s * UINT64_C(1000);
	wheel_add(r, a);
}

struct relay_channel *relay_channel_of_number(const struct relay_allocation *a, uint16_t number)
{
	uint16_t slot;

	if (number < RELAY_CHANNEL_FIRST || number > RELAY_CHANNEL_LAST)
		return NULL;
	slot = a->slot_of_number[number - RELAY_CHANNEL_FIRST];
	return slot != RELAY_NONE ? &a->channels[slot] : NULL;
}

static uint16_t *
peer_bucket(const struct relay *r, const struct relay_allocation *a, const struct ip_endpoint *peer)
{
	return &a->buckets[hash_endpoint(r, peer) & (a->n_buckets - 1)];
}

struct relay_channel *relay_channel_of_peer(
	const struct relay *r,
	const struct relay_allocation *a,
	const struct ip_endpoint *peer)
{
	if (a->n_buckets == 0)
		return NULL;
	for (uint16_t i = *peer_bucket(r, a, peer); i != RELAY_NONE; i = a->channels[i].next) {
		if (ip_endpoint_eq(&a->channels[i].peer, peer))
			return &a->channels[i];
	}
	return NULL;
}

static void peer_link(const struct relay *r, struct relay_allocation *a, uint16_t slot)
{
	uint16_t *bucket = peer_bucket(r, a, &a->channels[slot].peer);

	a->channels[slot].next = *bucket;
	*bucket = slot;
}

static void peer_unlink(const struct relay *r, struct relay_allocation *a, uint16_t slot)
{
	uint16_t *at = peer_bucket(r, a, &a->channels[slot].peer);

	while (*at != slot)
		at = &a->channels[*at].next;
	*at = a->channels[slot].next;
}

static int channels_grow(const struct relay *r, struct relay_allocation *a)
{
	const uint16_t cap = a->cap_channels == 0 ? CHANNELS_MIN : (uint16_t)(a->cap_channels * 2);
	struct relay_channel *channels = realloc(a->channels, cap * sizeof(*channels));
	uint16_t *buckets;

	if (channels == NULL)
		return err_set(ENOMEM);
	a->channels = channels;
	buckets = malloc(2 * cap * sizeof(*buckets));
	if (buckets == NULL)
		return err_set(ENOMEM);
	memset(buckets, 0xff, 2 * cap * sizeof(*buckets));
	free(a->buckets);
	a->buckets = buckets;
	a->n_buckets = 2U * cap;
	a->cap_channels = cap;
	for (uint16_t i = 0; i < a->n_channels; i++)
		peer_link(r, a, i);
	return 0;
}

// The last channel moves into the hole.
static void channel_del(const struct relay *r, struct relay_allocation *a, struct relay_channel *c)
{
	const uint16_t slot = (uint16_t)(c - a->channels);
	const uint16_t last = (uint16_t)(a->n_channels - 1);

	a->slot_of_number[c->number - RELAY_CHANNEL_FIRST] = RELAY_NONE;
	peer_unlink(r, a, slot);
	if (slot != last) {
		peer_unlink(r, a, last);
		*c = a->channels[last];
		a->slot_of_number[c->number - RELAY_CHANNEL_FIRST] = slot;
		peer_link(r, a, slot);
	}
	a->n_channels--;
}

static bool is_taken(const struct relay_channel *c, uint64_t now_ms)
{
	return c != NULL && now_ms < c->active_until_ms + RELAY_CHANNEL_RESERVED_MS;
}

int relay_channel_bind(
	const struct relay *r,
	struct relay_allocation *a,
	uint16_t number,
	const struct ip_endpoint *peer,
	uint64_t now_ms)
{
	struct relay_channel *of_number = relay_channel_of_number(a, number);
	struct relay_channel *of_peer = relay_channel_of_peer(r, a, peer);
	uint16_t slot;

	if (of_number != NULL && of_number == of_peer) {
		of_number->active_until_ms = now_ms + RELAY_CHANNEL_ACTIVE_MS;
		return 0;
	}
	if (is_taken(of_number, now_ms) || is_taken(of_peer, now_ms))
		return err_set(EEXIST);
	if (of_peer != NULL)
		channel_del(r, a, of_peer);
	// Looked up again: the deletion moves another channel.
	of_number = relay_channel_of_number(a, number);
	if (of_number != NULL)
		channel_del(r, a, of_number);
	if (a->n_channels == a->cap_channels && channels_grow(r, a) < 0)
		return -ENOMEM;
	slot = a->n_channels++;
	a->channels[slot] = (struct relay_channel){
		.peer = *peer,
		.number = number,
		.active_until_ms = now_ms + RELAY_CHANNEL_ACTIVE_MS,
	};
	a->slot_of_number[number - RELAY_CHANNEL_FIRST] = slot;
	peer_link(r, a, slot);
	return 0;
}
