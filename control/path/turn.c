// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "control/path/turn.h"

#include "control/base/err.h"
#include "control/path/turn_internal.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define EVENTS_MAX 8192
#define EVENTS_MIN 16

const char *turn_rx_name(enum turn_rx rx)
{
	static const char *const names[TURN_RX_COUNT] = {
#define TURN_RX_NAME(name, text) [TURN_RX_##name] = text,
		TURN_RX_LIST(TURN_RX_NAME)
#undef TURN_RX_NAME
	};

	return rx < TURN_RX_COUNT ? names[rx] : "?";
}

const char *turn_failure_name(enum turn_failure failure)
{
	switch (failure) {
	case TURN_FAILURE_AUTHENTICATION:
		return "authentication";
	case TURN_FAILURE_PROTOCOL:
		return "protocol";
	case TURN_FAILURE_NO_RESPONSE:
		return "no_response";
	case TURN_FAILURE_NONE:
		break;
	}
	return "none";
}

struct turn_out *turn_out_add(struct turn_allocation *a, unsigned family, size_t size)
{
	struct turn_out *out;

	if (a->n_out == TURN_TRANSMIT_QUEUE_MAX)
		return NULL;
	out = malloc(sizeof(*out) + size);
	if (out == NULL)
		return NULL;
	out->next = NULL;
	out->local = a->locals[family];
	out->remote = a->remotes[family];
	out->size = size;
	*a->out_tail = out;
	a->out_tail = &out->next;
	a->n_out++;
	return out;
}

bool turn_allocation_poll_transmit(struct turn_allocation *a, struct turn_transmit *out)
{
	struct turn_out *first = a->out_head;

	if (first == NULL)
		return false;
	out->local = first->local;
	out->remote = first->remote;
	out->size = first->size;
	memcpy(out->data, first->data, first->size);
	a->out_head = first->next;
	if (a->out_head == NULL)
		a->out_tail = &a->out_head;
	a->n_out--;
	free(first);
	return true;
}

void turn_event_add(struct turn_allocation *a, const struct turn_event *event)
{
	size_t cap = a->cap_events == 0 ? EVENTS_MIN : 2 * a->cap_events;
	struct turn_event *grown;

	if (a->n_events == a->cap_events) {
		// Nobody polls: what is new matters less than the start of the story.
		if (cap > EVENTS_MAX)
			return;
		grown = realloc(a->events, cap * sizeof(*grown));
		if (grown == NULL)
			return;
		a->events = grown;
		a->cap_events = cap;
	}
	a->events[a->n_events++] = *event;
}

bool turn_allocation_poll_event(struct turn_allocation *a, struct turn_event *out)
{
	if (a->first_event == a->n_events) {
		a->first_event = 0;
		a->n_events = 0;
		return false;
	}
	*out = a->events[a->first_event++];
	return true;
}

static bool text_fits(const char *text)
{
	return text != NULL && text[0] != '\0' && strlen(text) <= TURN_TEXT_LEN_MAX;
}

static bool has_path(const struct turn_allocation *a, unsigned family)
{
	return a->remotes[family].port != 0 && a->locals[family].addr.family != IP_FAMILY_NONE;
}

static bool config_is_valid(const struct turn_config *c)
{
	return c->mac != NULL && c->random != NULL && text_fits(c->username)
		&& text_fits(c->password) && text_fits(c->realm) && text_fits(c->software)
		&& ((c->remote_v4.addr.family == IP_FAMILY_V4 && c->remote_v4.port != 0)
		    || (c->remote_v6.addr.family == IP_FAMILY_V6 && c->remote_v6.port != 0));
}

struct turn_allocation *turn_allocation_create(const struct turn_config *config, uint64_t now)
{
	struct turn_allocation *a;

	if (!config_is_valid(config))
		return err_set_null(EINVAL);
	a = calloc(1, sizeof(*a));
	if (a == NULL)
		return err_set_null(ENOMEM);
	a->mac = config->mac;
	a->random = config->random;
	a->random_ctx = config->random_ctx;
	a->remotes[0] = config->remote_v4;
	a->remotes[1] = config->remote_v6;
	a->locals[0] = config->local_v4;
	a->locals[1] = config->local_v6;
	strcpy(a->username, config->username);
	strcpy(a->realm, config->realm);
	strcpy(a->software, config->software);
	a->out_tail = &a->out_head;
	a->channels_at = TURN_DEADLINE_NONE;
	a->random(a->random_ctx, a->hash_key, sizeof(a->hash_key));
	if (stun_long_term_key(a->key, config->username, config->realm, config->password) < 0) {
		turn_allocation_destroy(a);
		return err_set_null(ENOMEM);
	}
	turn_begin(a, now);
	return a;
}

void turn_allocation_destroy(struct turn_allocation *a)
{
	if (a == NULL)
		return;
	while (a->out_head != NULL) {
		struct turn_out *next = a->out_head->next;

		free(a->out_head);
		a->out_head = next;
	}
	free(a->events);
	sodium_memzero(a, sizeof(*a));
	free(a);
}

void turn_begin(struct turn_allocation *a, uint64_t now)
{
	bool has_any = false;

	a->active = TURN_ACTIVE_NONE;
	a->is_suspended = false;
	a->n_mismatches = 0;
	a->retry_at = TURN_DEADLINE_NONE;
	a->refresh_at = TURN_DEADLINE_NONE;
	a->expires_at = TURN_DEADLINE_NONE;
	a->keepalive_at = TURN_DEADLINE_NONE;
	for (unsigned i = 0; i < TURN_FAMILIES; i++) {
		if (!has_path(a, i))
			continue;
		turn_request_start_at(a, now, TURN_PURPOSE_BINDING, i);
		has_any = true;
	}
	// No address in common now: a network change may bring one.
	if (!has_any)
		turn_suspend(a, now, true);
}

static void withdraw(struct turn_allocation *a, unsigned family)
{
	if (a->relayed[family].port == 0)
		return;
	turn_event_add(
		a,
		&(struct turn_event){
			.type = TURN_EVENT_WITHDRAWN,
			.candidate =
				{
					.kind = ICE_KIND_RELAY,
					.addr = a->relayed[family],
					.base = a->relayed[family],
				},
		});
	a->relayed[family] = (struct ip_endpoint){.port = 0};
}

void turn_invalidate(struct turn_allocation *a, bool is_coming_back)
{
	for (unsigned i = 0; i < TURN_FAMILIES; i++)
		withdraw(a, i);
	a->has_allocation = false;
	a->refresh_at = TURN_DEADLINE_NONE;
	a->expires_at = TURN_DEADLINE_NONE;
	a->keepalive_at = TURN_DEADLINE_NONE;
	turn_request_end_all(a);
	turn_bind_clear(a, is_coming_back);
}

void turn_suspend(struct turn_allocation *a, uint64_t now, bool is_silent)
{
	turn_invalidate(a, false);
	if (is_silent)
		a->active = TURN_ACTIVE_NONE;
	a->is_suspended = true;
	a->is_usable = false;
	a->retry_at = now + TURN_RETRY_NS;
}

void turn_fail(struct turn_allocation *a, enum turn_failure failure)
{
	turn_invalidate(a, false);
	a->has_failed = true;
	a->is_usable = false;
	a->retry_at = TURN_DEADLINE_NONE;
	sodium_memzero(a->key, sizeof(a->key));
	turn_event_add(a, &(struct turn_event){.type = TURN_EVENT_FAILED, .failure = failure});
}

enum turn_rx turn_allocation_handle_packet(
	struct turn_allocation *a,
	uint64_t now,
	const struct ip_endpoint *local,
	const struct ip_endpoint *remote,
	const void *data,
	size_t size,
	struct turn_data *out)
{
	const uint8_t *bytes = data;
	struct stun_msg msg;
	uint16_t channel;
	enum turn_rx rx;

	if (!ip_endpoint_eq(remote, &a->remotes[turn_family_index(remote)]))
		return TURN_RX_NOT_FROM_RELAY;
	if (size > 0 && turn_channel_is_first_byte(bytes[0])) {
		if (!turn_channel_header_parse(bytes, size, &channel))
			return TURN_RX_MALFORMED;
		if (a->active != turn_family_index(remote))
			return TURN_RX_WRONG_SOCKET;
		rx = turn_bind_receive(a, now, channel, out);
		out->data = bytes + TURN_CHANNEL_HEADER_SIZE;
		out->size = size - TURN_CHANNEL_HEADER_SIZE;
		return rx;
	}
	if (!stun_is_message(data, size))
		return TURN_RX_OTHER;
	if (stun_msg_parse(&msg, data, size) < 0)
		return TURN_RX_MALFORMED;
	return turn_response_handle(a, now, local, remote, &msg);
}

static void refresh_run(struct turn_allocation *a, uint64_t now)
{
	if (now >= a->expires_at) {
		turn_invalidate(a, true);
		turn_request_start(a, now, TURN_PURPOSE_ALLOCATE);
		return;
	}
	if (now >= a->refresh_at) {
		// Its answer sets the next time.
		a->refresh_at = TURN_DEADLINE_NONE;
		if (!turn_request_any(a, TURN_PURPOSE_REFRESH))
			turn_request_start(a, now, TURN_PURPOSE_REFRESH);
	}
	if (now >= a->keepalive_at) {
		a->keepalive_at = now + TURN_KEEPALIVE_NS;
		if (!turn_request_any(a, TURN_PURPOSE_BINDING))
			turn_request_start(a, now, TURN_PURPOSE_BINDING);
	}
}

void turn_allocation_handle_timeout(struct turn_allocation *a, uint64_t now)
{
	if (a->has_failed)
		return;
	if (now >= a->retry_at)
		turn_begin(a, now);
	turn_request_run(a, now);
	if (!a->has_allocation)
		return;
	turn_bind_run(a, now);
	refresh_run(a, now);
	turn_bind_waiting(a, now);
}

static uint64_t earlier(uint64_t x, uint64_t y)
{
	return x < y ? x : y;
}

uint64_t turn_allocation_next_deadline(const struct turn_allocation *a)
{
	uint64_t next = a->retry_at;
	unsigned left = a->n_requests;

	if (a->has_failed)
		return TURN_DEADLINE_NONE;
	for (size_t i = 0; left > 0; i++) {
		if (a->requests[i].purpose == TURN_PURPOSE_NONE)
			continue;
		next = earlier(next, a->requests[i].next_tx);
		left--;
	}
	if (!a->has_allocation)
		return next;
	next = earlier(next, a->channels_at);
	next = earlier(next, a->keepalive_at);
	return earlier(next, earlier(a->refresh_at, a->expires_at));
}

void turn_allocation_probe(struct turn_allocation *a, uint64_t now)
{
	struct turn_request *r;

	if (a->has_failed || a->is_released)
		return;
	if (a->is_suspended) {
		turn_begin(a, now);
		return;
	}
	if (!a->has_allocation || turn_request_any(a, TURN_PURPOSE_REFRESH))
		return;
	r = turn_request_start(a, now, TURN_PURPOSE_REFRESH);
	if (r == NULL)
		return;
	r->is_probe = true;
	r->next_tx = now + TURN_PROBE_NS;
}

void turn_allocation_restart(
	struct turn_allocation *a,
	uint64_t now,
	const struct ip_endpoint *local_v4,
	const struct ip_endpoint *local_v6)
{
	if (a->has_failed || a->is_released)
		return;
	turn_invalidate(a, true);
	a->locals[0] = *local_v4;
	a->locals[1] = *local_v6;
	memset(a->hosts, 0, sizeof(a->hosts));
	memset(a->mapped, 0, sizeof(a->mapped));
	memset(a->mapped_base, 0, sizeof(a->mapped_base));
	a->nonce_size = 0; // nonces belong to a socket
	a->is_usable = false;
	turn_begin(a, now);
}

bool turn_allocation_matches(
	const struct turn_allocation *a,
	const struct ip_endpoint *remote_v4,
	const struct ip_endpoint *remote_v6,
	const char *username,
	const char *password)
{
	uint8_t key[STUN_LONG_TERM_KEY_SIZE];
	bool is_same;

	if (!ip_endpoint_eq(&a->remotes[0], remote_v4) || !ip_endpoint_eq(&a->remotes[1], remote_v6)
	    || strcmp(a->username, username) != 0
	    || stun_long_term_key(key, username, a->realm, password) < 0)
		return false;
	is_same = sodium_memcmp(key, a->key, sizeof(key)) == 0;
	sodium_memzero(key, sizeof(key));
	return is_same;
}

void turn_allocation_release(struct turn_allocation *a, uint64_t now)
{
	bool had_allocation = a->has_allocation;

	if (a->has_failed || a->is_released)
		return;
	turn_invalidate(a, false);
	a->is_released = true;
	a->is_usable = false;
	if (had_allocation)
		turn_request_start(a, now, TURN_PURPOSE_DELETE);
	turn_request_end_all(a);
	a->retry_at = TURN_DEADLINE_NONE;
}

bool turn_allocation_rtt(const struct turn_allocation *a, uint64_t *rtt_ns)
{
	if (!a->has_rtt || !a->is_usable)
		return false;
	*rtt_ns = a->rtt_ns;
	return true;
}

bool turn_allocation_relayed(
	const struct turn_allocation *a,
	enum ip_family family,
	struct ip_endpoint *out)
{
	unsigned index = family == IP_FAMILY_V6 ? 1 : 0;

	if (a->relayed[index].port == 0)
		return false;
	*out = a->relayed[index];
	return true;
}

bool turn_allocation_is_suspended(const struct turn_allocation *a)
{
	return a->is_suspended;
}

size_t
turn_allocation_candidates(const struct turn_allocation *a, struct turn_event *out, size_t cap)
{
	size_t n = 0;

	for (unsigned i = 0; i < TURN_FAMILIES; i++) {
		const struct ice_candidate all[] = {
			{.kind = ICE_KIND_HOST, .addr = a->hosts[i], .base = a->hosts[i]},
			{.kind = ICE_KIND_SRFLX, .addr = a->mapped[i], .base = a->mapped_base[i]},
			{.kind = ICE_KIND_RELAY, .addr = a->relayed[i], .base = a->relayed[i]},
		};

		for (size_t j = 0; j < sizeof(all) / sizeof(all[0]) && n < cap; j++) {
			if (all[j].addr.port == 0)
				continue;
			out[n++] = (struct turn_event){
				.type = TURN_EVENT_CANDIDATE,
				.candidate = all[j],
				.is_cross_family = all[j].kind == ICE_KIND_RELAY && i != a->active,
			};
		}
	}
	return n;
}
