// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "peers/relay/relay.h"

#include "control/base/err.h"
#include "peers/relay/relay_priv.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define CHANNEL_HEADER_SIZE 4

static_assert(CHANNEL_HEADER_SIZE <= RELAY_HEADROOM, "the header goes in front of the payload");

bool relay_drop(struct relay *r, enum relay_drop why)
{
	r->stats.drops[why]++;
	return false;
}

const char *relay_drop_name(enum relay_drop drop)
{
	static const char *const names[] = {
#define X(name, text) [RELAY_DROP_##name] = #name,
		RELAY_DROPS(X)
#undef X
	};

	return drop < RELAY_DROP_COUNT ? names[drop] : "";
}

const struct ip_addr *relay_public(const struct relay *r, uint8_t family)
{
	return family == IP_FAMILY_V6 ? &r->config.public_v6 : &r->config.public_v4;
}

unsigned relay_family_bit(const struct ip_addr *a)
{
	switch (a->family) {
	case IP_FAMILY_V4:
		return RELAY_V4;
	case IP_FAMILY_V6:
		return RELAY_V6;
	default:
		return 0;
	}
}

unsigned relay_families(const struct relay *r)
{
	return relay_family_bit(&r->config.public_v4) | relay_family_bit(&r->config.public_v6);
}

struct relay *relay_create(const struct relay_config *config)
{
	struct relay *r = calloc(1, sizeof(*r));

	if (r == NULL)
		return err_set_null(ENOMEM);
	r->config = *config;
	if (relay_families(r) == 0 || config->lowest_port == 0
	    || config->lowest_port > config->highest_port || config->secret[0] == '\0') {
		free(r);
		return err_set_null(EINVAL);
	}
	if (r->config.clients_max == 0)
		r->config.clients_max =
			2 * ((size_t)(config->highest_port - config->lowest_port) + 1);
	r->secret = strdup(config->secret);
	r->software = strdup(config->software);
	r->mac = stun_mac_create();
	config->random(r->hash_key, sizeof(r->hash_key));
	config->random(r->nonce_key, sizeof(r->nonce_key));
	if (relay_table_init(r) < 0 || r->secret == NULL || r->software == NULL || r->mac == NULL) {
		relay_destroy(r);
		return err_set_null(ENOMEM);
	}
	r->config.secret = r->secret;
	r->config.software = r->software;
	return r;
}

void relay_destroy(struct relay *r)
{
	if (r == NULL)
		return;
	relay_table_fini(r);
	stun_mac_destroy(r->mac);
	if (r->secret != NULL)
		sodium_memzero(r->secret, strlen(r->secret));
	free(r->secret);
	free(r->software);
	sodium_memzero(r->nonce_key, sizeof(r->nonce_key));
	free(r);
}

const struct relay_stats *relay_stats(const struct relay *r)
{
	return &r->stats;
}

static bool is_active(const struct relay_channel *c, uint64_t now_ms)
{
	return c != NULL && now_ms < c->active_until_ms;
}

static bool is_alive(const struct relay_allocation *a, uint64_t now_ms)
{
	return a != NULL && now_ms < a->expires_ms;
}

// To the client of `a`, from a peer. The payload is at p->data, the header goes in front of it.
static bool to_client(
	struct relay *r,
	const struct relay_allocation *a,
	const struct ip_endpoint *peer,
	uint64_t now_ms,
	struct relay_packet *p)
{
	const struct relay_channel *c;

	if (!is_alive(a, now_ms))
		return relay_drop(r, RELAY_DROP_NO_ALLOCATION);
	c = relay_channel_of_peer(r, a, peer);
	if (!is_active(c, now_ms) || p->size > UINT16_MAX)
		return relay_drop(r, RELAY_DROP_NO_CHANNEL);
	r->stats.to_client++;
	r->stats.to_client_bytes += p->size;
	p->data -= CHANNEL_HEADER_SIZE;
	p->data[0] = (uint8_t)(c->number >> 8);
	p->data[1] = (uint8_t)c->number;
	p->data[2] = (uint8_t)(p->size >> 8);
	p->data[3] = (uint8_t)p->size;
	p->size += CHANNEL_HEADER_SIZE;
	p->cap += CHANNEL_HEADER_SIZE;
	p->remote = a->client->endpoint;
	p->port = r->config.listen_port;
	return true;
}

// ChannelData of a client: RFC 8656 12.6. Official peers send no padding; what follows is cut off.
static bool from_client(struct relay *r, uint64_t now_ms, struct relay_packet *p)
{
	const uint16_t number = (uint16_t)(p->data[0] << 8 | p->data[1]);
	const uint16_t size = (uint16_t)(p->data[2] << 8 | p->data[3]);
	const struct relay_client *client;
	const struct relay_allocation *a;
	const struct relay_channel *c;
	struct ip_endpoint self;

	if (size > p->size - CHANNEL_HEADER_SIZE)
		return relay_drop(r, RELAY_DROP_BAD_CHANNEL_DATA);
	client = relay_client_find(r, &p->remote);
	a = client != NULL ? client->allocation : NULL;
	if (!is_alive(a, now_ms))
		return relay_drop(r, RELAY_DROP_NO_ALLOCATION);
	c = relay_channel_of_number(a, number);
	if (!is_active(c, now_ms))
		return relay_drop(r, RELAY_DROP_NO_CHANNEL);
	if (c->peer.port == r->config.listen_port
	    && ip_addr_eq(&c->peer.addr, relay_public(r, c->peer.addr.family)))
		return relay_drop(r, RELAY_DROP_OWN_ADDRESS);
	r->stats.to_peer++;
	r->stats.to_peer_bytes += size;
	p->data += CHANNEL_HEADER_SIZE;
	p->cap -= CHANNEL_HEADER_SIZE;
	p->size = size;
	if (ip_addr_eq(&c->peer.addr, relay_public(r, c->peer.addr.family))) {
		const struct relay_allocation *other = relay_allocation_of_port(r, c->peer.port);

		if (other != NULL) {
			self = (struct ip_endpoint){c->peer.addr, a->port};
			return to_client(r, other, &self, now_ms, p);
		}
	}
	p->remote = c->peer;
	p->port = a->port;
	return true;
}

bool relay_handle_packet(struct relay *r, struct relay_now now, struct relay_packet *p)
{
	if (p->port != r->config.listen_port)
		return to_client(
			r, relay_allocation_of_port(r, p->port), &p->remote, now.mono_ms, p);
	if (p->size >= CHANNEL_HEADER_SIZE && (p->data[0] & 0xc0) == 0x40)
		return from_client(r, now.mono_ms, p);
	if (p->size == 0 || (p->data[0] & 0xc0) != 0)
		return relay_drop(r, RELAY_DROP_NOT_STUN);
	return relay_request_handle(r, now, p);
}

void relay_tick(struct relay *r, struct relay_now now)
{
	const uint64_t now_s = now.mono_ms / 1000;
	struct relay_allocation *a;
	struct relay_allocation *next;

	// A lap covers everything, however long ago the last call was.
	if (now_s > r->wheel_s + RELAY_WHEEL_SLOTS)
		r->wheel_s = now_s - RELAY_WHEEL_SLOTS;
	for (; r->wheel_s < now_s; r->wheel_s++) {
		const size_t slot = (r->wheel_s + 1) % RELAY_WHEEL_SLOTS;

		for (a = LIST_FIRST(&r->wheel[slot]); a != NULL; a = next) {
			next = LIST_NEXT(a, of_second);
			if (now.mono_ms >= a->expires_ms)
				relay_allocation_del(r, a);
		}
	}
}

uint64_t relay_next_deadline(const struct relay *r)
{
	return r->stats.n_allocations > 0 ? (r->wheel_s + 1) * 1000 : UINT64_MAX;
}
