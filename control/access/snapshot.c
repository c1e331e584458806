// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "control/access/access_impl.h"
#include "control/base/err.h"

#include <stdlib.h>
#include <string.h>

// The portal's whole list, put in force in slices: 200,000 pairs must not keep the control core from
// handshakes and from later messages, which go on in between. Those are numbered, so that the list never
// undoes what was said after it.

// What a step costs, about a tenth of a microsecond each.
enum {
	COST_PAIR = 4,
	COST_CLIENT = 2, // one that stays as it is
	COST_CHANGED = 128,
};

void snapshot_end(struct access *a)
{
	free(a->snapshot.pairs);
	a->snapshot = (struct snapshot){0};
}

int access_retain(struct access *a, const struct portal_authorization *pairs, size_t n_pairs)
{
	struct portal_authorization *copy = calloc(n_pairs + 1, sizeof(*copy));

	if (copy == NULL)
		return err_set(ENOMEM);
	if (n_pairs > 0)
		memcpy(copy, pairs, n_pairs * sizeof(*copy));
	// A list that is still being worked on knows less than this one.
	snapshot_end(a);
	a->snapshot = (struct snapshot){
		.phase = SNAPSHOT_MARK,
		.number = ++a->n_messages,
		.unix_to_boot_ns = a->unix_to_boot_ns,
		.pairs = copy,
		.n_pairs = n_pairs,
	};
	return 0;
}

static bool is_listed(const struct snapshot *s, const struct grant *g)
{
	return g->listed == s->number;
}

// Said after the list.
static bool is_newer(const struct snapshot *s, const struct grant *g)
{
	return g->changed > s->number;
}

static void pair_mark(struct access *a, const struct portal_authorization *pair)
{
	struct snapshot *s = &a->snapshot;
	struct grant *g;

	if (s->last == NULL || !uuid_eq(&s->last->pub.id, &pair->client_id))
		s->last = to_client(access_by_id(a, &pair->client_id));
	g = s->last != NULL ? grant_find(s->last, &pair->resource_id) : NULL;
	if (g == NULL)
		return;
	g->listed = s->number;
	g->listed_expires = expiry_to_boot(s->unix_to_boot_ns, pair->expires_at);
}

static bool client_loses(const struct snapshot *s, const struct client *c)
{
	for (size_t i = 0; i < c->n_grants; i++) {
		const struct grant *g = &c->grants[i];

		if (!is_newer(s, g) && (!is_listed(s, g) || g->listed_expires < g->expires))
			return true;
	}
	return false;
}

bool snapshot_apply(struct access *a, struct client *c)
{
	const struct snapshot *s = &a->snapshot;
	bool is_reduced = false, is_timed = false;

	if (s->phase == SNAPSHOT_NONE || c->pub.is_static)
		return false;
	for (size_t i = c->n_grants; i > 0; i--) {
		struct grant *g = &c->grants[i - 1];

		if (is_newer(s, g))
			continue;
		if (!is_listed(s, g)) {
			grant_remove(c, g);
			is_reduced = true;
		} else if (g->listed_expires != g->expires) {
			g->expires = g->listed_expires;
			is_timed = true;
		}
	}
	if (c->n_grants == 0)
		client_remove(a, c);
	else if (is_reduced)
		client_restrict(a, c);
	else if (is_timed)
		client_renew(a, c);
	return is_reduced || is_timed;
}

// @return what it cost
static unsigned slot_visit(struct access *a, uint32_t slot)
{
	const struct snapshot *s = &a->snapshot;
	struct client *c = a->by_slot[slot];
	unsigned cost;

	if (c == NULL)
		return 1;
	cost = COST_CLIENT + (unsigned)c->n_grants;
	if (s->phase == SNAPSHOT_RESTRICT && (c->pub.is_static || !client_loses(s, c)))
		return cost;
	return snapshot_apply(a, c) ? cost + COST_CHANGED : cost;
}

static void phase_next(struct access *a)
{
	struct snapshot *s = &a->snapshot;

	s->at = 0;
	s->last = NULL;
	if (s->phase == SNAPSHOT_EXTEND)
		snapshot_end(a);
	else
		s->phase++;
}

bool access_reconcile(struct access *a, unsigned budget)
{
	struct snapshot *s = &a->snapshot;
	unsigned cost = 0;

	while (s->phase != SNAPSHOT_NONE && cost < budget) {
		size_t end = s->phase == SNAPSHOT_MARK ? s->n_pairs : a->config.max_clients;

		if (s->at == end) {
			phase_next(a);
		} else if (s->phase == SNAPSHOT_MARK) {
			pair_mark(a, &s->pairs[s->at++]);
			cost += COST_PAIR;
		} else {
			cost += slot_visit(a, (uint32_t)s->at++);
		}
	}
	return s->phase != SNAPSHOT_NONE;
}
