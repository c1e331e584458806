// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "control/access/access_impl.h"
#include "control/base/clock.h"
#include "control/base/err.h"
#include "control/base/log.h"

#include <stdlib.h>
#include <string.h>

#define LOG_AREA "access"

void grant_fini(struct grant *g)
{
	free(g->filters);
	*g = (struct grant){0};
}

struct grant *grant_find(const struct client *c, const struct uuid *resource_id)
{
	size_t low = 0, high = c->n_grants;

	while (low < high) {
		size_t mid = low + (high - low) / 2;
		int order = uuid_cmp(&c->grants[mid].resource_id, resource_id);

		if (order == 0)
			return &c->grants[mid];
		if (order < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return NULL;
}

void grant_remove(struct client *c, struct grant *g)
{
	size_t index = (size_t)(g - c->grants);

	grant_fini(g);
	memmove(g, g + 1, (c->n_grants - index - 1) * sizeof(*g));
	c->n_grants--;
}

// The grants that the classifier knows. DNS resources have no addresses until their translation
// records exist (control/names).
static size_t resources_collect(const struct client *c, struct acl_resource *out, size_t *grants)
{
	size_t n = 0;

	for (size_t i = 0; i < c->n_grants; i++) {
		const struct grant *g = &c->grants[i];

		if (g->type == PORTAL_RESOURCE_DNS)
			continue;
		out[n] = (struct acl_resource){
			.type = g->type == PORTAL_RESOURCE_INTERNET ? ACL_RESOURCE_INTERNET
								    : ACL_RESOURCE_CIDR,
			.prefix = g->prefix,
			.filters = g->filters,
			.n_filters = g->n_filters,
		};
		memcpy(out[n].id, g->resource_id.bytes, sizeof(out[n].id));
		grants[n++] = i;
	}
	return n;
}

static struct acl_policy *policy_alloc(struct access *a, const struct acl_set *set)
{
	uint32_t n = set != NULL ? acl_set_size(set) : 0;
	struct acl_policy *p = calloc(1, sizeof(*p) + n * sizeof(p->expires_tsc[0]));

	if (p != NULL) {
		p->set = set;
		p->generation = ++a->generation;
		p->n_resources = n;
	}
	return p;
}

static struct acl_policy *
policy_fill(struct access *a, const struct client *c, const struct acl_set *set)
{
	struct acl_policy *p = policy_alloc(a, set);

	if (p == NULL)
		return err_set_null(ENOMEM);
	// Ids differ within a client, so each resource has an ordinal of its own.
	for (size_t i = 0; i < c->n_grants; i++) {
		const struct grant *g = &c->grants[i];

		if (g->ordinal != GRANT_NOT_IN_SET)
			p->expires_tsc[g->ordinal] = clock_ticks(g->expires, a->config.tsc_hz);
	}
	return p;
}

struct acl_policy *policy_renew(struct access *a, const struct client *c)
{
	struct acl_policy *p = policy_fill(a, c, c->set);

	if (p != NULL)
		acl_set_ref(c->set);
	return p;
}

// Makes @p set the client's; takes the reference.
static void set_replace(struct access *a, struct client *c, const struct acl_set *set)
{
	acl_set_put(a->registry, c->set);
	c->set = set;
}

static void ordinals_swap(struct client *c, const size_t *grants, uint16_t *ordinals, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct grant *g = &c->grants[grants[i]];
		uint16_t former = g->ordinal;

		g->ordinal = ordinals[i];
		ordinals[i] = former;
	}
}

struct acl_policy *policy_compile(struct access *a, struct client *c)
{
	struct acl_resource *resources = calloc(c->n_grants + 1, sizeof(*resources));
	uint16_t *ordinals = calloc(c->n_grants + 1, sizeof(*ordinals));
	size_t *grants = calloc(c->n_grants + 1, sizeof(*grants));
	const struct acl_set *set = NULL;
	struct acl_policy *policy = NULL;
	int err = ENOMEM;
	size_t n;

	if (resources == NULL || ordinals == NULL || grants == NULL)
		goto out;
	n = resources_collect(c, resources, grants);
	set = acl_set_get(a->registry, resources, n, ordinals);
	if (set == NULL) {
		err = errno;
		goto out;
	}
	ordinals_swap(c, grants, ordinals, n);
	policy = policy_fill(a, c, set);
	if (policy == NULL) {
		ordinals_swap(c, grants, ordinals, n);
		acl_set_put(a->registry, set);
		goto out;
	}
	acl_set_ref(set);
	set_replace(a, c, set);
out:
	free(resources);
	free(ordinals);
	free(grants);
	return policy != NULL ? policy : err_set_null(err);
}

static void client_timer_update(struct access *a, struct client *c)
{
	uint64_t earliest = UINT64_MAX;

	for (size_t i = 0; i < c->n_grants; i++) {
		if (c->grants[i].expires < earliest)
			earliest = c->grants[i].expires;
	}
	heap_set(&a->timers, &c->timer, earliest);
}

void policy_hand_over(struct access *a, struct client *c, struct acl_policy *policy)
{
	client_timer_update(a, c);
	a->config.callbacks.on_policy(a->config.ctx, &c->pub, policy);
}

static void client_cut_off(struct access *a, struct client *c)
{
	struct acl_policy *policy = policy_alloc(a, NULL);

	LOG(ERR, "policy: %s; the client is cut off", strerror(errno));
	if (policy == NULL)
		abort();
	set_replace(a, c, NULL);
	policy_hand_over(a, c, policy);
}

void client_restrict(struct access *a, struct client *c)
{
	struct acl_policy *policy = policy_compile(a, c);

	if (policy != NULL)
		policy_hand_over(a, c, policy);
	else
		client_cut_off(a, c);
}

void client_renew(struct access *a, struct client *c)
{
	struct acl_policy *policy;

	if (c->set == NULL) {
		client_restrict(a, c);
		return;
	}
	policy = policy_renew(a, c);
	if (policy != NULL)
		policy_hand_over(a, c, policy);
	else
		client_cut_off(a, c);
}
