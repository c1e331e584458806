// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "peers/client/gateways.h"

#include <errno.h>
#include <stdlib.h>

struct grant {
	struct uuid resource;
	struct gateway *gateway;
};

struct gateways {
	struct gateway *first;
	size_t count;
	struct grant *grants;
	size_t n_grants;
	size_t cap;
	uint64_t generation; // changes whenever an allowed source may have changed
};

struct gateways *gateways_create(void)
{
	struct gateways *set = calloc(1, sizeof(*set));

	if (set != NULL)
		set->generation = 1;
	return set;
}

void gateways_destroy(struct gateways *set)
{
	if (set == NULL)
		return;
	while (set->first != NULL) {
		struct gateway *g = set->first;

		set->first = g->next;
		free(g);
	}
	free(set->grants);
	free(set);
}

struct gateway *gateways_find(const struct gateways *set, const struct uuid *id)
{
	struct gateway *g = set->first;

	while (g != NULL && !uuid_eq(&g->id, id))
		g = g->next;
	return g;
}

struct gateway *gateways_learn(struct gateways *set, const struct uuid *id)
{
	struct gateway *g = gateways_find(set, id);

	if (g != NULL)
		return g;
	g = calloc(1, sizeof(*g));
	if (g == NULL)
		return NULL;
	g->id = *id;
	g->next = set->first;
	set->first = g;
	set->count++;
	return g;
}

struct gateway *gateways_first(const struct gateways *set)
{
	return set->first;
}

struct gateway *gateways_by_addr(const struct gateways *set, const struct ip_addr *addr)
{
	struct gateway *g = set->first;

	while (g != NULL
	       && (g->connection == NULL
		   || (!ip_addr_eq(&g->ipv4, addr) && !ip_addr_eq(&g->ipv6, addr))))
		g = g->next;
	return g;
}

static struct grant *grant_find(const struct gateways *set, const struct uuid *resource)
{
	for (size_t i = 0; i < set->n_grants; i++) {
		if (uuid_eq(&set->grants[i].resource, resource))
			return &set->grants[i];
	}
	return NULL;
}

int gateways_grant(struct gateways *set, const struct uuid *resource, struct gateway *g)
{
	struct grant *grant = grant_find(set, resource);

	if (grant == NULL && set->n_grants == set->cap) {
		size_t cap = set->cap > 0 ? set->cap * 2 : 16;
		struct grant *grants = realloc(set->grants, cap * sizeof(struct grant));

		if (grants == NULL)
			return -ENOMEM;
		set->grants = grants;
		set->cap = cap;
	}
	if (grant == NULL)
		grant = &set->grants[set->n_grants++];
	*grant = (struct grant){*resource, g};
	set->generation++;
	return 0;
}

static void grant_remove(struct gateways *set, struct grant *grant)
{
	*grant = set->grants[--set->n_grants];
	set->generation++;
}

struct gateway *gateways_revoke(struct gateways *set, const struct uuid *resource)
{
	struct grant *grant = grant_find(set, resource);
	struct gateway *g = grant != NULL ? grant->gateway : NULL;

	if (grant != NULL)
		grant_remove(set, grant);
	return g;
}

size_t gateways_revoke_all(struct gateways *set, const struct gateway *g, const struct uuid *except)
{
	size_t n = 0;

	for (size_t i = set->n_grants; i-- > 0;) {
		if (set->grants[i].gateway != g)
			continue;
		if (except != NULL && uuid_eq(&set->grants[i].resource, except))
			continue;
		grant_remove(set, &set->grants[i]);
		n++;
	}
	return n;
}

struct gateway *gateways_of(const struct gateways *set, const struct uuid *resource)
{
	const struct grant *grant = grant_find(set, resource);

	return grant != NULL ? grant->gateway : NULL;
}

bool gateways_has_grant(const struct gateways *set, const struct gateway *g)
{
	for (size_t i = 0; i < set->n_grants; i++) {
		if (set->grants[i].gateway == g)
			return true;
	}
	return false;
}

void gateways_resources_changed(struct gateways *set)
{
	set->generation++;
}

bool gateways_allows_source(
	struct gateways *set,
	struct gateway *g,
	const struct resources *resources,
	const struct ip_addr *src)
{
	if (g->source_generation == set->generation && ip_addr_eq(&g->source, src))
		return true;
	if (ip_addr_eq(src, &g->ipv4) || ip_addr_eq(src, &g->ipv6))
		return true;
	for (size_t i = 0; i < set->n_grants; i++) {
		const struct resource *r;

		if (set->grants[i].gateway != g)
			continue;
		r = resources_find(resources, &set->grants[i].resource);
		if (r == NULL || !resources_covers(resources, r, src))
			continue;
		g->source = *src;
		g->source_generation = set->generation;
		return true;
	}
	return false;
}

struct listed {
	struct uuid id;
	unsigned rank;
};

static int listed_cmp(const void *a, const void *b)
{
	const struct listed *x = a, *y = b;

	if (x->rank != y->rank)
		return x->rank < y->rank ? -1 : 1;
	return uuid_cmp(&x->id, &y->id);
}

struct uuid *gateways_list(const struct gateways *set, const struct uuid *resource, size_t *n)
{
	const struct gateway *serving = gateways_of(set, resource);
	struct listed *list = calloc(set->count, sizeof(*list));
	struct uuid *ids = calloc(set->count, sizeof(*ids));
	size_t i = 0;

	*n = 0;
	if (set->count == 0 || list == NULL || ids == NULL) {
		free(list);
		free(ids);
		return NULL;
	}
	for (const struct gateway *g = set->first; g != NULL; g = g->next)
		list[i++] = (struct listed){
			g->id,
			g == serving			? 0
				: g->connection != NULL ? 1
							: 2};
	qsort(list, i, sizeof(*list), listed_cmp);
	for (*n = 0; *n < i; (*n)++)
		ids[*n] = list[*n].id;
	free(list);
	return ids;
}
