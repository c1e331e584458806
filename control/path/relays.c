// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "control/path/relays.h"

#include "control/base/err.h"
#include "control/path/relays_internal.h"

#include <stdlib.h>
#include <string.h>

#define REALM "firezone"
#define SOFTWARE "snownet"
#define EVENTS_MAX 16384

// One relay of a portal list, its entries merged.
struct listed {
	const struct relays_entry *entry;
	struct ip_endpoint remotes[2];
};

static bool text_fits(const char *text)
{
	return text != NULL && strlen(text) <= TURN_TEXT_LEN_MAX;
}

struct relays *relays_create(const struct relays_config *config, uint64_t)
{
	const char *realm = config->realm != NULL ? config->realm : REALM;
	const char *software = config->software != NULL ? config->software : SOFTWARE;
	struct relays *relays;

	if (config->mac == NULL || config->random == NULL || !text_fits(realm)
	    || !text_fits(software))
		return err_set_null(EINVAL);
	relays = calloc(1, sizeof(*relays));
	if (relays == NULL)
		return err_set_null(ENOMEM);
	strcpy(relays->realm, realm);
	strcpy(relays->software, software);
	relays->config = (struct turn_config){
		.local_v4 = config->local_v4,
		.local_v6 = config->local_v6,
		.realm = relays->realm,
		.software = relays->software,
		.random = config->random,
		.random_ctx = config->random_ctx,
		.mac = config->mac,
	};
	return relays;
}

void relays_destroy(struct relays *relays)
{
	if (relays == NULL)
		return;
	for (size_t i = 0; i < relays->n; i++)
		turn_allocation_destroy(relays->all[i].allocation);
	free(relays->events);
	free(relays);
}

static void event_add(struct relays *relays, const struct relays_event *event)
{
	size_t cap = relays->cap_events == 0 ? 16 : 2 * relays->cap_events;
	struct relays_event *grown;

	if (relays->n_events == relays->cap_events) {
		if (cap > EVENTS_MAX)
			return;
		grown = realloc(relays->events, cap * sizeof(*grown));
		if (grown == NULL)
			return;
		relays->events = grown;
		relays->cap_events = cap;
	}
	relays->events[relays->n_events++] = *event;
}

static void lost_add(struct relays *relays, const struct relay *relay, enum turn_failure failure)
{
	event_add(
		relays,
		&(struct relays_event){
			.type = RELAYS_EVENT_LOST,
			.relay = relay->handle,
			.failure = failure,
		});
}

// Passes on what the allocation has to say. @return how it ended, or NONE
static enum turn_failure pump(struct relays *relays, struct relay *relay)
{
	static const enum relays_event_type types[] = {
		[TURN_EVENT_USABLE] = RELAYS_EVENT_USABLE,
		[TURN_EVENT_CANDIDATE] = RELAYS_EVENT_CANDIDATE,
		[TURN_EVENT_WITHDRAWN] = RELAYS_EVENT_WITHDRAWN,
		[TURN_EVENT_CHANNEL_UP] = RELAYS_EVENT_CHANNEL_UP,
		[TURN_EVENT_CHANNEL_DOWN] = RELAYS_EVENT_CHANNEL_DOWN,
	};
	bool is_suspended = turn_allocation_is_suspended(relay->allocation);
	enum turn_failure failure = TURN_FAILURE_NONE;
	struct relays_event event = {.relay = relay->handle};

	while (turn_allocation_poll_event(relay->allocation, &event.turn)) {
		if (event.turn.type == TURN_EVENT_FAILED) {
			failure = event.turn.failure;
			continue;
		}
		event.type = types[event.turn.type];
		event_add(relays, &event);
	}
	if (is_suspended && !relay->was_suspended)
		lost_add(relays, relay, TURN_FAILURE_NONE);
	relay->was_suspended = is_suspended;
	return failure;
}

static void former_add(struct relays *relays, const struct ip_endpoint *remote)
{
	if (remote->port == 0)
		return;
	relays->former[relays->next_former] = remote->addr;
	relays->next_former = (relays->next_former + 1) % RELAYS_FORMER_MAX;
}

// Withdraws what the relay gave, tells the loss and forgets the relay.
static void
relay_remove(struct relays *relays, uint64_t now, size_t index, enum turn_failure failure)
{
	struct relay relay = relays->all[index];

	// The relay has to hear of it: with other credentials the same sockets would be refused.
	turn_allocation_release(relay.allocation, now);
	while (relays->n_farewells < RELAYS_FAREWELLS_MAX
	       && turn_allocation_poll_transmit(
		       relay.allocation, &relays->farewells[relays->n_farewells]))
		relays->n_farewells++;
	pump(relays, &relay);
	lost_add(relays, &relay, failure);
	turn_allocation_destroy(relay.allocation);
	former_add(relays, &relay.remotes[0]);
	former_add(relays, &relay.remotes[1]);
	relays->n--;
	memmove(&relays->all[index],
		&relays->all[index + 1],
		(relays->n - index) * sizeof(relays->all[0]));
}

static void empty_add(struct relays *relays)
{
	event_add(relays, &(struct relays_event){.type = RELAYS_EVENT_EMPTY});
}

void relays_settle(struct relays *relays, uint64_t now)
{
	size_t n_before = relays->n;

	for (size_t i = relays->n; i-- > 0;) {
		enum turn_failure failure = pump(relays, &relays->all[i]);

		if (failure != TURN_FAILURE_NONE)
			relay_remove(relays, now, i, failure);
	}
	if (n_before > 0 && relays->n == 0)
		empty_add(relays);
}

static bool id_eq(const uint8_t *a, const uint8_t *b)
{
	return memcmp(a, b, RELAYS_ID_SIZE) == 0;
}

static size_t
merge(const struct relays_entry *entries, size_t n_entries, struct listed out[RELAYS_MAX])
{
	size_t n = 0;

	for (size_t i = 0; i < n_entries; i++) {
		const struct relays_entry *e = &entries[i];
		size_t at = 0;

		if (!text_fits(e->username) || !text_fits(e->password) || e->endpoint.port == 0
		    || ip_addr_size(&e->endpoint.addr) == 0)
			continue;
		while (at < n && !id_eq(out[at].entry->id, e->id))
			at++;
		if (at == RELAYS_MAX)
			continue;
		if (at == n)
			out[n++] = (struct listed){.entry = e};
		out[at].remotes[e->endpoint.addr.family == IP_FAMILY_V6 ? 1 : 0] = e->endpoint;
	}
	return n;
}

static size_t find_id(const struct relays *relays, const uint8_t *id)
{
	size_t i = 0;

	while (i < relays->n && !id_eq(relays->all[i].id, id))
		i++;
	return i;
}

static bool shares_address(const struct relay *relay, const struct listed *l)
{
	for (unsigned i = 0; i < 2; i++) {
		if (l->remotes[i].port != 0 && ip_endpoint_eq(&relay->remotes[i], &l->remotes[i]))
			return true;
	}
	return false;
}

static void relay_add(struct relays *relays, uint64_t now, const struct listed *l)
{
	struct turn_config config = relays->config;
	struct relay *relay;

	// A relay that restarted has the address of before and a new id.
	for (size_t i = relays->n; i-- > 0;) {
		if (shares_address(&relays->all[i], l))
			relay_remove(relays, now, i, TURN_FAILURE_NONE);
	}
	if (relays->n == RELAYS_MAX)
		return;
	relay = &relays->all[relays->n];
	config.remote_v4 = l->remotes[0];
	config.remote_v6 = l->remotes[1];
	config.username = l->entry->username;
	config.password = l->entry->password;
	*relay = (struct relay){.remotes = {l->remotes[0], l->remotes[1]}};
	memcpy(relay->id, l->entry->id, sizeof(relay->id));
	relay->allocation = turn_allocation_create(&config, now);
	if (relay->allocation == NULL)
		return;
	relay->handle = ++relays->last_handle;
	relay->was_suspended = turn_allocation_is_suspended(relay->allocation);
	relays->n++;
}

static void apply_listed(struct relays *relays, uint64_t now, const struct listed *l)
{
	size_t at = find_id(relays, l->entry->id);

	if (at < relays->n) {
		struct turn_allocation *a = relays->all[at].allocation;

		if (turn_allocation_matches(
			    a,
			    &l->remotes[0],
			    &l->remotes[1],
			    l->entry->username,
			    l->entry->password)) {
			// Listed means alive: one that had given up is worth trying at once.
			if (turn_allocation_is_suspended(a))
				turn_allocation_probe(a, now);
			return;
		}
		relay_remove(relays, now, at, TURN_FAILURE_NONE);
	}
	relay_add(relays, now, l);
}

size_t relays_apply(
	struct relays *relays,
	uint64_t now,
	const uint8_t (*disconnected)[RELAYS_ID_SIZE],
	size_t n_disconnected,
	const struct relays_entry *connected,
	size_t n_connected)
{
	struct listed listed[RELAYS_MAX];
	size_t n_listed = merge(connected, n_connected, listed), n_before = relays->n, at;

	for (size_t i = 0; i < n_disconnected; i++) {
		at = find_id(relays, disconnected[i]);
		if (at < relays->n)
			relay_remove(relays, now, at, TURN_FAILURE_NONE);
	}
	for (size_t i = 0; i < relays->n; i++) {
		at = 0;
		while (at < n_listed && !id_eq(listed[at].entry->id, relays->all[i].id))
			at++;
		if (at == n_listed)
			turn_allocation_probe(relays->all[i].allocation, now);
	}
	for (size_t i = 0; i < n_listed; i++)
		apply_listed(relays, now, &listed[i]);
	if (n_before > 0 && relays->n == 0)
		empty_add(relays);
	relays_settle(relays, now);
	return relays->n;
}

void relays_restart(
	struct relays *relays,
	uint64_t now,
	const struct ip_endpoint *local_v4,
	const struct ip_endpoint *local_v6)
{
	relays->config.local_v4 = *local_v4;
	relays->config.local_v6 = *local_v6;
	for (size_t i = 0; i < relays->n; i++)
		turn_allocation_restart(relays->all[i].allocation, now, local_v4, local_v6);
	relays_settle(relays, now);
}

void relays_release(struct relays *relays, uint64_t now)
{
	for (size_t i = 0; i < relays->n; i++)
		turn_allocation_release(relays->all[i].allocation, now);
	relays_settle(relays, now);
}

void relays_handle_timeout(struct relays *relays, uint64_t now)
{
	for (size_t i = 0; i < relays->n; i++)
		turn_allocation_handle_timeout(relays->all[i].allocation, now);
	relays_settle(relays, now);
}

uint64_t relays_next_deadline(const struct relays *relays)
{
	uint64_t next = TURN_DEADLINE_NONE;

	for (size_t i = 0; i < relays->n; i++) {
		uint64_t each = turn_allocation_next_deadline(relays->all[i].allocation);

		next = each < next ? each : next;
	}
	return next;
}

bool relays_poll_transmit(struct relays *relays, struct turn_transmit *out)
{
	// Before what a successor wants to send.
	if (relays->next_farewell < relays->n_farewells) {
		*out = relays->farewells[relays->next_farewell++];
		return true;
	}
	relays->next_farewell = 0;
	relays->n_farewells = 0;
	for (size_t i = 0; i < relays->n; i++) {
		if (turn_allocation_poll_transmit(relays->all[i].allocation, out))
			return true;
	}
	return false;
}

bool relays_poll_event(struct relays *relays, struct relays_event *out)
{
	if (relays->first_event == relays->n_events) {
		relays->first_event = 0;
		relays->n_events = 0;
		return false;
	}
	*out = relays->events[relays->first_event++];
	return true;
}
