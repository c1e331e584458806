// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "control/path/ice_internal.h"

#include <stdlib.h>

// Cadences of the official clients: active, and idle.
#define CADENCE_MIN_NS (1500 * ICE_MS)
#define CADENCE_MAX_NS (25 * ICE_S)

struct ice_pair *ice_pair_find(
	const struct ice_agent *agent,
	const struct ip_endpoint *base,
	const struct ip_endpoint *remote)
{
	for (size_t i = 0; i < agent->n_pairs; i++) {
		struct ice_pair *pair = agent->pairs[i];

		if (ip_endpoint_eq(&pair->remote->c.addr, remote)
		    && ip_endpoint_eq(&pair->local->base, base))
			return pair;
	}
	return NULL;
}

static uint64_t
rank(const struct ice_agent *agent,
     const struct ice_candidate *local,
     const struct ice_remote *remote)
{
	if (agent->role == ICE_ROLE_CONTROLLING)
		return ice_pair_priority(local->priority, remote->c.priority);
	return ice_pair_priority(remote->c.priority, local->priority);
}

void ice_pair_rank(struct ice_pair *pair)
{
	pair->priority = rank(pair->agent, pair->local, pair->remote);
}

void ice_pair_remove(struct ice_agent *agent, struct ice_pair *pair)
{
	if (agent->table != NULL) {
		for (size_t i = 0; i < ICE_ATTEMPTS_MAX; i++)
			ice_table_del_attempt(agent->table, &pair->attempts[i]);
	}
	if (agent->selected == pair)
		agent->selected = NULL;
	for (size_t i = 0; i < agent->n_pairs; i++) {
		if (agent->pairs[i] == pair) {
			agent->pairs[i] = agent->pairs[--agent->n_pairs];
			break;
		}
	}
	free(pair);
}

// Makes room for a pair of this priority. The selected pair is never the victim.
static bool make_room(struct ice_agent *agent, uint64_t priority)
{
	struct ice_pair *lowest = NULL;

	if (agent->n_pairs < ICE_PAIRS_MAX)
		return true;
	for (size_t i = 0; i < agent->n_pairs; i++) {
		struct ice_pair *pair = agent->pairs[i];

		if (pair != agent->selected
		    && (lowest == NULL || pair->priority < lowest->priority))
			lowest = pair;
	}
	if (lowest == NULL || lowest->priority >= priority)
		return false;
	ice_pair_remove(agent, lowest);
	return true;
}

struct ice_pair *ice_pair_form(
	struct ice_agent *agent,
	uint64_t now,
	struct ice_candidate *local,
	struct ice_remote *remote)
{
	struct ice_pair *pair = ice_pair_find(agent, &local->base, &remote->c.addr);
	uint64_t priority = rank(agent, local, remote);

	if (pair != NULL) {
		// Redundant (RFC 8445 6.1.2.4): the same packets on the wire. Keep the better name.
		if (priority > pair->priority) {
			pair->local = local;
			pair->priority = priority;
		}
		return pair;
	}
	if (local->base.addr.family != remote->c.addr.addr.family || !make_room(agent, priority))
		return NULL;
	pair = calloc(1, sizeof(*pair));
	if (pair == NULL)
		return NULL;
	pair->agent = agent;
	pair->local = local;
	pair->remote = remote;
	pair->priority = priority;
	for (size_t i = 0; i < ICE_ATTEMPTS_MAX; i++)
		pair->attempts[i].pair = pair;
	ice_check_arm(pair, now);
	agent->pairs[agent->n_pairs++] = pair;
	return pair;
}

void ice_pair_form_remote(struct ice_agent *agent, uint64_t now, struct ice_remote *remote)
{
	for (size_t i = 0; i < agent->n_locals; i++)
		ice_pair_form(agent, now, agent->locals[i], remote);
}

// Removal moves the last pair into the gap, so both walks go backwards.
void ice_pair_remove_local(struct ice_agent *agent, const struct ice_candidate *local)
{
	for (size_t i = agent->n_pairs; i-- > 0;) {
		if (agent->pairs[i]->local == local)
			ice_pair_remove(agent, agent->pairs[i]);
	}
}

void ice_pair_remove_remote(struct ice_agent *agent, const struct ice_remote *remote)
{
	for (size_t i = agent->n_pairs; i-- > 0;) {
		if (agent->pairs[i]->remote == remote)
			ice_pair_remove(agent, agent->pairs[i]);
	}
}

size_t ice_pair_count_remote(const struct ice_agent *agent, const struct ice_remote *remote)
{
	size_t n = 0;

	for (size_t i = 0; i < agent->n_pairs; i++)
		n += agent->pairs[i]->remote == remote ? 1 : 0;
	return n;
}

// How often the peer checks this pair: the longer of the last two gaps, so that one early or lost
// check does not change the judgement.
uint64_t ice_pair_cadence(const struct ice_pair *pair)
{
	uint64_t gap = pair->agent->is_idle ? CADENCE_MAX_NS : CADENCE_MIN_NS;

	if (pair->n_rx >= 2)
		gap = pair->gaps[0];
	if (pair->n_rx >= 3 && pair->gaps[1] > gap)
		gap = pair->gaps[1];
	if (gap < CADENCE_MIN_NS)
		return CADENCE_MIN_NS;
	return gap > CADENCE_MAX_NS ? CADENCE_MAX_NS : gap;
}
