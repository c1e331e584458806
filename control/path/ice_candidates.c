// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "control/base/err.h"
#include "control/path/ice_internal.h"

#include <stdlib.h>
#include <string.h>

// Optimistic candidates made per signalled one (spec/connectivity.md 7).
#define OPTIMISTIC_PER_CANDIDATE 2

struct ice_candidate *ice_local_find(const struct ice_agent *agent, const struct ip_endpoint *base)
{
	struct ice_candidate *best = NULL;

	for (size_t i = 0; i < agent->n_locals; i++) {
		struct ice_candidate *local = agent->locals[i];

		if (ip_endpoint_eq(&local->base, base)
		    && (best == NULL || local->priority > best->priority))
			best = local;
	}
	return best;
}

// The local preference falls with each earlier candidate of the kind and family.
static unsigned local_count(const struct ice_agent *agent, const struct ice_candidate *c)
{
	unsigned n = 0;

	for (size_t i = 0; i < agent->n_locals; i++) {
		const struct ice_candidate *l = agent->locals[i];

		if (l->kind == c->kind && l->addr.addr.family == c->addr.addr.family)
			n++;
	}
	return n;
}

// The local candidate of the same address and base, which makes another one redundant.
static struct ice_candidate *
local_twin(const struct ice_agent *agent, const struct ice_candidate *c)
{
	for (size_t i = 0; i < agent->n_locals; i++) {
		if (ip_endpoint_eq(&agent->locals[i]->addr, &c->addr)
		    && ip_endpoint_eq(&agent->locals[i]->base, &c->base))
			return agent->locals[i];
	}
	return NULL;
}

static void local_changed(struct ice_agent *agent, uint64_t now, struct ice_candidate *local)
{
	for (size_t i = 0; i < agent->n_pairs; i++) {
		if (agent->pairs[i]->local == local)
			ice_pair_rank(agent->pairs[i]);
	}
	for (size_t i = 0; i < agent->n_remotes; i++) {
		if (!agent->remotes[i]->is_withdrawn)
			ice_pair_form(agent, now, local, agent->remotes[i]);
	}
	ice_agent_progress(agent, now);
}

int ice_agent_add_local(
	struct ice_agent *agent,
	uint64_t now,
	const struct ice_candidate *c,
	bool is_cross_family,
	struct ice_candidate *added)
{
	struct ice_candidate new = *c, *local;

	if (c->kind >= ICE_KIND_COUNT || !ice_candidate_is_usable(&c->addr))
		return err_set(EINVAL);
	ice_candidate_complete(&new, local_count(agent, c), is_cross_family);
	if (new.base.addr.family != new.addr.addr.family || new.base.port == 0)
		return err_set(EINVAL);
	local = local_twin(agent, &new);
	if (local != NULL && new.priority <= local->priority)
		return err_set(EEXIST);
	if (local == NULL) {
		if (agent->n_locals == ICE_LOCALS_MAX)
			return err_set(ENOSPC);
		local = malloc(sizeof(*local));
		if (local == NULL)
			return err_set(ENOMEM);
		agent->locals[agent->n_locals++] = local;
	}
	*local = new;
	if (added != NULL)
		*added = new;
	local_changed(agent, now, local);
	return 0;
}

int ice_agent_remove_local(
	struct ice_agent *agent,
	uint64_t now,
	enum ice_kind kind,
	const struct ip_endpoint *addr,
	struct ice_candidate *removed)
{
	for (size_t i = 0; i < agent->n_locals; i++) {
		struct ice_candidate *local = agent->locals[i];

		if (local->kind != kind || !ip_endpoint_eq(&local->addr, addr))
			continue;
		if (removed != NULL)
			*removed = *local;
		ice_pair_remove_local(agent, local);
		agent->locals[i] = agent->locals[--agent->n_locals];
		free(local);
		// A redundant candidate of the same base may take over the lost pairs.
		for (size_t j = 0; j < agent->n_remotes; j++) {
			if (!agent->remotes[j]->is_withdrawn)
				ice_pair_form_remote(agent, now, agent->remotes[j]);
		}
		ice_agent_progress(agent, now);
		return 0;
	}
	return err_set(ENOENT);
}

static int by_priority(const void *a, const void *b)
{
	const struct ice_candidate *x = a, *y = b;

	return (x->priority < y->priority) - (x->priority > y->priority);
}

size_t ice_agent_list_locals(const struct ice_agent *agent, struct ice_candidate *out, size_t cap)
{
	struct ice_candidate all[ICE_LOCALS_MAX];
	size_t n = 0;

	for (size_t i = 0; i < agent->n_locals; i++) {
		if (agent->locals[i]->kind != ICE_KIND_PRFLX)
			all[n++] = *agent->locals[i];
	}
	qsort(all, n, sizeof(all[0]), by_priority);
	n = n < cap ? n : cap;
	memcpy(out, all, n * sizeof(all[0]));
	return n;
}

size_t ice_agent_list_remotes(const struct ice_agent *agent, struct ice_candidate *out, size_t cap)
{
	size_t n = 0;

	for (size_t i = 0; i < agent->n_remotes && n < cap; i++) {
		if (agent->remotes[i]->is_signalled && !agent->remotes[i]->is_withdrawn)
			out[n++] = agent->remotes[i]->c;
	}
	return n;
}

enum ice_kind ice_agent_remote_kind(const struct ice_agent *agent, const struct ip_endpoint *addr)
{
	const struct ice_remote *remote = ice_remote_find(agent, addr);

	return remote != NULL ? remote->c.kind : ICE_KIND_COUNT;
}

struct ice_remote *ice_remote_find(const struct ice_agent *agent, const struct ip_endpoint *addr)
{
	for (size_t i = 0; i < agent->n_remotes; i++) {
		if (ip_endpoint_eq(&agent->remotes[i]->c.addr, addr))
			return agent->remotes[i];
	}
	return NULL;
}

bool ice_remote_any(const struct ice_agent *agent)
{
	for (size_t i = 0; i < agent->n_remotes; i++) {
		if (!agent->remotes[i]->is_withdrawn)
			return true;
	}
	return false;
}

void ice_remote_forget(struct ice_agent *agent, struct ice_remote *remote)
{
	ice_pair_remove_remote(agent, remote);
	for (size_t i = 0; i < agent->n_remotes; i++) {
		if (agent->remotes[i] != remote)
			continue;
		agent->n_remotes--;
		memmove(&agent->remotes[i],
			&agent->remotes[i + 1],
			(agent->n_remotes - i) * sizeof(agent->remotes[0]));
		break;
	}
	free(remote);
}

// Frees a slot: the oldest remote that nothing is being tried with, other than by announcement.
static bool remote_make_room(struct ice_agent *agent)
{
	if (agent->n_remotes < ICE_REMOTES_MAX)
		return true;
	for (size_t i = 0; i < agent->n_remotes; i++) {
		struct ice_remote *r = agent->remotes[i];

		if (r->is_withdrawn || (!r->is_signalled && ice_pair_count_remote(agent, r) == 0)) {
			ice_remote_forget(agent, r);
			return true;
		}
	}
	return false;
}

struct ice_remote *ice_remote_add(struct ice_agent *agent, const struct ice_candidate *c)
{
	struct ice_remote *remote;

	if (!remote_make_room(agent))
		return NULL;
	remote = calloc(1, sizeof(*remote));
	if (remote == NULL)
		return NULL;
	remote->c = *c;
	remote->c.base = c->addr;
	agent->remotes[agent->n_remotes++] = remote;
	agent->candidate_deadline = ICE_DEADLINE_NONE;
	return remote;
}

static bool is_signalled_v4(const struct ice_remote *r, enum ice_kind kind)
{
	return r->is_signalled && !r->is_withdrawn && r->c.kind == kind
		&& r->c.addr.addr.family == IP_FAMILY_V4;
}

// A peer behind a NAT that forwards its port 1:1 is reachable at its mapped address and its host
// port even when the mapping that the relay saw has another port.
static void optimistic_add(struct ice_agent *agent, uint64_t now)
{
	unsigned n_new = 0;
	size_t n = agent->n_remotes;

	for (size_t i = 0; i < n; i++) {
		if (!is_signalled_v4(agent->remotes[i], ICE_KIND_SRFLX))
			continue;
		for (size_t j = 0; j < n && n_new < OPTIMISTIC_PER_CANDIDATE; j++) {
			struct ice_candidate c = agent->remotes[i]->c;
			struct ice_remote *remote;

			if (!is_signalled_v4(agent->remotes[j], ICE_KIND_HOST))
				continue;
			c.addr.port = agent->remotes[j]->c.addr.port;
			if (ice_remote_find(agent, &c.addr) != NULL
			    || agent->n_remotes == ICE_REMOTES_MAX)
				continue;
			remote = ice_remote_add(agent, &c);
			if (remote == NULL)
				return;
			remote->is_optimistic = true;
			ice_pair_form_remote(agent, now, remote);
			n_new++;
		}
	}
}

// Guesses live no longer than the mapped address that they were made from.
static void optimistic_remove(struct ice_agent *agent, const struct ip_addr *addr)
{
	for (size_t i = 0; i < agent->n_remotes; i++) {
		if (is_signalled_v4(agent->remotes[i], ICE_KIND_SRFLX)
		    && ip_addr_eq(&agent->remotes[i]->c.addr.addr, addr))
			return;
	}
	for (size_t i = agent->n_remotes; i-- > 0;) {
		if (agent->remotes[i]->is_optimistic
		    && ip_addr_eq(&agent->remotes[i]->c.addr.addr, addr))
			ice_remote_forget(agent, agent->remotes[i]);
	}
}

// The announced identity replaces a peer-reflexive, optimistic or lower one; the pairs follow.
static void
remote_identify(struct ice_agent *agent, struct ice_remote *remote, const struct ice_candidate *c)
{
	if (remote->is_signalled && !remote->is_withdrawn && c->priority <= remote->c.priority)
		return;
	remote->c = *c;
	remote->c.base = c->addr;
	for (size_t i = 0; i < agent->n_pairs; i++) {
		if (agent->pairs[i]->remote == remote)
			ice_pair_rank(agent->pairs[i]);
	}
}

int ice_agent_add_remote(struct ice_agent *agent, uint64_t now, const struct ice_candidate *c)
{
	struct ice_remote *remote;

	if (c->kind >= ICE_KIND_COUNT || !ice_candidate_is_usable(&c->addr))
		return err_set(EINVAL);
	remote = ice_remote_find(agent, &c->addr);
	if (remote != NULL)
		remote_identify(agent, remote, c);
	else
		remote = ice_remote_add(agent, c);
	if (remote == NULL)
		return err_set(ENOSPC);
	remote->is_signalled = true;
	remote->is_optimistic = false;
	remote->is_withdrawn = false;
	ice_pair_form_remote(agent, now, remote);
	optimistic_add(agent, now);
	ice_agent_progress(agent, now);
	return 0;
}

int ice_agent_remove_remote(struct ice_agent *agent, uint64_t now, const struct ice_candidate *c)
{
	struct ice_remote *remote = ice_remote_find(agent, &c->addr);

	if (remote == NULL || !remote->is_signalled || remote->is_withdrawn
	    || remote->c.kind != c->kind)
		return err_set(ENOENT);
	remote->is_withdrawn = true;
	ice_pair_remove_remote(agent, remote);
	optimistic_remove(agent, &c->addr.addr);
	ice_agent_progress(agent, now);
	return 0;
}

int ice_agent_add_remote_text(struct ice_agent *agent, uint64_t now, const char *text)
{
	struct ice_candidate c;
	int rc = ice_candidate_parse(&c, text, agent->remote_ufrag);

	return rc < 0 ? rc : ice_agent_add_remote(agent, now, &c);
}

int ice_agent_remove_remote_text(struct ice_agent *agent, uint64_t now, const char *text)
{
	struct ice_candidate c;
	int rc = ice_candidate_parse(&c, text, agent->remote_ufrag);

	return rc < 0 ? rc : ice_agent_remove_remote(agent, now, &c);
}
