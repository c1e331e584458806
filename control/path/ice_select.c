// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "control/path/ice_internal.h"

// A nominated pair is live while a check of the peer arrived within LIVE_BASE + 2 x cadence.
#define LIVE_BASE_NS (5 * ICE_S)
// A pair nominated for the first time wins at once against one that was silent this long.
#define YIELD_NS (4 * ICE_S)
// Our own checks unanswered this often and this long: loss alone does not do that.
#define SUSPECT_ATTEMPTS 6
#define SUSPECT_NS (4 * ICE_S)

static bool is_live(const struct ice_pair *pair, uint64_t now, uint64_t peer_cadence)
{
	return pair->n_rx > 0 && now - pair->last_rx <= LIVE_BASE_NS + 2 * peer_cadence;
}

// A pair that is kept only because the peer is heard on it carries nothing of ours any more.
static struct ice_pair *best_answered(const struct ice_agent *agent)
{
	struct ice_pair *best = NULL;

	for (size_t i = 0; i < agent->n_pairs; i++) {
		struct ice_pair *pair = agent->pairs[i];

		if (pair->has_succeeded && !ice_check_is_unanswered(pair)
		    && (best == NULL || pair->priority > best->priority))
			best = pair;
	}
	return best;
}

// Controlling: the best pair that answered is nominated and used from now on.
static void select_controlling(struct ice_agent *agent, uint64_t now)
{
	struct ice_pair *best = best_answered(agent);

	if (best == NULL || best == agent->selected)
		return;
	agent->selected = best;
	best->is_nominated = true;
	best->next_tx = now;
}

// The peer's checks may arrive on a path that has gone dead in the other direction: then ours stay
// unanswered. A pair that never had an answer is suspect as well.
static bool is_suspect(const struct ice_pair *pair, uint64_t now)
{
	return pair->n_trailing >= SUSPECT_ATTEMPTS && now - pair->trailing_since >= SUSPECT_NS;
}

static bool outranks(const struct ice_pair *a, const struct ice_pair *b, uint64_t now)
{
	bool a_suspect = is_suspect(a, now), b_suspect = is_suspect(b, now);

	return a_suspect != b_suspect ? b_suspect : a->priority > b->priority;
}

// The best live nominated pair other than the one in use.
static struct ice_pair *best_challenger(const struct ice_agent *agent, uint64_t now)
{
	struct ice_pair *best = NULL;

	for (size_t i = 0; i < agent->n_pairs; i++) {
		struct ice_pair *pair = agent->pairs[i];

		if (pair == agent->selected || !pair->is_nominated
		    || !is_live(pair, now, ice_pair_cadence(pair)))
			continue;
		// A pair that was left counts again when it is heard again, not for what it did before.
		if (agent->selected != NULL && pair->last_rx < agent->selected_since)
			continue;
		if (best == NULL || outranks(pair, best, now))
			best = pair;
	}
	return best;
}

// With nothing live and nothing in use: where the peer was heard last.
static struct ice_pair *latest_nominated(const struct ice_agent *agent)
{
	struct ice_pair *latest = NULL;

	for (size_t i = 0; i < agent->n_pairs; i++) {
		struct ice_pair *pair = agent->pairs[i];

		if (pair->is_nominated && (latest == NULL || pair->last_rx > latest->last_rx))
			latest = pair;
	}
	return latest;
}

// Controlled (spec/connectivity.md C.4). The peer repeats USE-CANDIDATE on every pair that it ever
// nominated, so the flag alone says nothing about the pair it uses now; checks that keep arriving
// do. The current pair is measured with the challenger's cadence, not its own: when an idle peer
// falls from 1.5 s to 25 s, or wakes up, it does so on all pairs, and what the challenger shows
// is what the current pair would show if it were alive.
static void select_controlled(struct ice_agent *agent, uint64_t now, struct ice_pair *nominated)
{
	struct ice_pair *current = agent->selected, *best;

	if (current != NULL && nominated != NULL && now - current->last_rx > YIELD_NS) {
		agent->selected = nominated;
		return;
	}
	best = best_challenger(agent, now);
	if (current == NULL) {
		agent->selected = best != NULL ? best : latest_nominated(agent);
		return;
	}
	if (best == NULL)
		return;
	if (outranks(best, current, now) || !is_live(current, now, ice_pair_cadence(best)))
		agent->selected = best;
}

void ice_select_run(struct ice_agent *agent, uint64_t now, struct ice_pair *nominated)
{
	struct ice_pair *before = agent->selected;
	struct ice_event event = {.type = ICE_EVENT_SELECTED_PAIR_CHANGED};

	if (agent->role == ICE_ROLE_CONTROLLING)
		select_controlling(agent, now);
	else
		select_controlled(agent, now, nominated);
	if (agent->selected == NULL || agent->selected == before)
		return;
	agent->selected_since = now;
	event.local = agent->selected->local->base;
	event.remote = agent->selected->remote->c.addr;
	ice_agent_report(agent, &event);
}

static void fail(struct ice_agent *agent, enum ice_failure failure)
{
	const struct ice_event event = {.type = ICE_EVENT_FAILED, .failure = failure};

	agent->has_failed = true;
	ice_agent_report(agent, &event);
}

void ice_select_report(struct ice_agent *agent, uint64_t now)
{
	struct ice_event event = {.type = ICE_EVENT_DISCONNECTED};
	// Without candidates on either side some may still come (RFC 8838); that is not a failure.
	bool is_hopeless = agent->n_pairs == 0 && agent->n_locals > 0 && ice_remote_any(agent);

	if (agent->selected != NULL && !agent->is_connected) {
		event.type = ICE_EVENT_CONNECTED;
		event.local = agent->selected->local->base;
		event.remote = agent->selected->remote->c.addr;
	}
	if ((agent->selected != NULL) != agent->is_connected) {
		agent->is_connected = !agent->is_connected;
		ice_agent_report(agent, &event);
	}
	if (!is_hopeless)
		agent->grace_deadline = ICE_DEADLINE_NONE;
	else if (agent->grace_deadline == ICE_DEADLINE_NONE)
		agent->grace_deadline = now
			+ (agent->profile == ICE_PROFILE_CLIENT ? ICE_DISCONNECTED_GRACE_CLIENT_NS
								: ICE_DISCONNECTED_GRACE_SERVER_NS);
	if (now >= agent->candidate_deadline)
		fail(agent, ICE_FAILURE_NO_CANDIDATES);
	else if (now >= agent->grace_deadline)
		fail(agent, ICE_FAILURE_NO_PATH);
}
