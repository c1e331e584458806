// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "peers/client/resources.h"

#include "control/base/err.h"

#include <stdlib.h>
#include <string.h>

// Answers for the addresses in use; direct-mapped, forgotten at every change of the set.
enum {
	CACHE_SIZE = 1024
};

struct cache_entry {
	uint64_t generation; // 0: empty
	struct ip_addr dst;
	struct packet_key key;
	const struct resource *resource;
	bool is_permitted;
};

struct resources {
	struct resource **items;
	size_t count;
	size_t cap;
	bool is_internet_active;
	uint64_t generation;
	struct cache_entry cache[CACHE_SIZE];
};

struct resources *resources_create(bool is_internet_active)
{
	struct resources *set = calloc(1, sizeof(*set));

	if (set == NULL)
		return NULL;
	set->is_internet_active = is_internet_active;
	set->generation = 1;
	return set;
}

void resource_destroy(struct resource *r)
{
	if (r == NULL)
		return;
	free(r->name);
	free(r->pattern);
	free(r->filters);
	free(r->sites);
	free(r);
}

void resources_destroy(struct resources *set)
{
	if (set == NULL)
		return;
	for (size_t i = 0; i < set->count; i++)
		resource_destroy(set->items[i]);
	free(set->items);
	free(set);
}

static struct resource *resource_copy(const struct portal_resource *from)
{
	struct resource *r = calloc(1, sizeof(*r));

	if (r == NULL)
		return NULL;
	r->id = from->id;
	r->type = from->type;
	r->prefix = from->prefix;
	r->ip_stack = from->ip_stack;
	r->n_filters = from->n_filters;
	r->n_sites = from->n_sites;
	r->name = strdup(from->name != NULL ? from->name : "Internet Resource");
	r->pattern = from->pattern != NULL ? strdup(from->pattern) : NULL;
	r->filters = calloc(from->n_filters + 1, sizeof(*r->filters));
	r->sites = calloc(from->n_sites + 1, sizeof(*r->sites));
	if (r->name == NULL || (from->pattern != NULL && r->pattern == NULL) || r->filters == NULL
	    || r->sites == NULL) {
		resource_destroy(r);
		return err_set_null(ENOMEM);
	}
	if (from->n_filters > 0)
		memcpy(r->filters, from->filters, from->n_filters * sizeof(*r->filters));
	for (size_t i = 0; i < from->n_sites; i++)
		r->sites[i] = from->sites[i].id;
	return r;
}

static bool text_eq(const char *a, const char *b)
{
	if (a == NULL || b == NULL)
		return a == b;
	return strcmp(a, b) == 0;
}

static bool filter_eq(const struct portal_filter *a, const struct portal_filter *b)
{
	return a->protocol == b->protocol && a->port_first == b->port_first
		&& a->port_last == b->port_last;
}

// Equal in everything that decides who serves it and what it admits.
static bool is_same_access(const struct resource *a, const struct resource *b)
{
	if (a->type != b->type || a->ip_stack != b->ip_stack
	    || !ip_prefix_eq(&a->prefix, &b->prefix) || !text_eq(a->pattern, b->pattern))
		return false;
	if (a->n_filters != b->n_filters || a->n_sites != b->n_sites)
		return false;
	for (size_t i = 0; i < a->n_filters; i++) {
		if (!filter_eq(&a->filters[i], &b->filters[i]))
			return false;
	}
	for (size_t i = 0; i < a->n_sites; i++) {
		if (!uuid_eq(&a->sites[i], &b->sites[i]))
			return false;
	}
	return true;
}

static size_t index_of(const struct resources *set, const struct uuid *id)
{
	size_t i = 0;

	while (i < set->count && !uuid_eq(&set->items[i]->id, id))
		i++;
	return i;
}

static int room_make(struct resources *set)
{
	size_t cap = set->cap > 0 ? set->cap * 2 : 16;
	struct resource **items;

	if (set->count < set->cap)
		return 0;
	items = realloc(set->items, cap * sizeof(struct resource *));
	if (items == NULL)
		return -ENOMEM;
	set->items = items;
	set->cap = cap;
	return 0;
}

int resources_upsert(
	struct resources *set,
	const struct portal_resource *r,
	enum resource_change *change,
	struct ip_prefix *old_prefix)
{
	size_t i = index_of(set, &r->id);
	struct resource *fresh;

	*old_prefix = (struct ip_prefix){0};
	if (i == set->count && room_make(set) < 0)
		return -ENOMEM;
	fresh = resource_copy(r);
	if (fresh == NULL)
		return -ENOMEM;
	set->generation++;
	if (i == set->count) {
		set->items[set->count++] = fresh;
		*change = RESOURCE_CHANGE_ADDED;
		return 0;
	}
	*change = is_same_access(set->items[i], fresh) ? RESOURCE_CHANGE_NONE
						       : RESOURCE_CHANGE_REPLACED;
	if (*change == RESOURCE_CHANGE_REPLACED && set->items[i]->type == PORTAL_RESOURCE_CIDR)
		*old_prefix = set->items[i]->prefix;
	resource_destroy(set->items[i]);
	set->items[i] = fresh;
	return 0;
}

struct resource *resources_remove(struct resources *set, const struct uuid *id)
{
	size_t i = index_of(set, id);
	struct resource *r;

	if (i == set->count)
		return NULL;
	r = set->items[i];
	set->items[i] = set->items[--set->count];
	set->generation++;
	return r;
}

const struct resource *resources_find(const struct resources *set, const struct uuid *id)
{
	size_t i = index_of(set, id);

	return i < set->count ? set->items[i] : NULL;
}

const struct resource *resources_at(const struct resources *set, size_t nth)
{
	return nth < set->count ? set->items[nth] : NULL;
}

bool resources_is_active(const struct resources *set, const struct resource *r)
{
	return r->type == PORTAL_RESOURCE_CIDR
		|| (r->type == PORTAL_RESOURCE_INTERNET && set->is_internet_active);
}

bool resources_has_prefix(const struct resources *set, const struct ip_prefix *p)
{
	for (size_t i = 0; i < set->count; i++) {
		if (set->items[i]->type == PORTAL_RESOURCE_CIDR
		    && ip_prefix_eq(&set->items[i]->prefix, p))
			return true;
	}
	return false;
}

// 100.64.0.0/10 and fd00:2021:1111::/48: peers, proxies and resolvers of the tunnel.
static bool is_tunnel_range(const struct ip_addr *a)
{
	static const uint8_t v6[] = {0xfd, 0x00, 0x20, 0x21, 0x11, 0x11};

	if (a->family == IP_FAMILY_V4)
		return a->bytes[0] == 100 && (a->bytes[1] & 0xc0) == 64;
	return memcmp(a->bytes, v6, sizeof(v6)) == 0;
}

bool resources_covers(
	const struct resources *set,
	const struct resource *r,
	const struct ip_addr *addr)
{
	if (r->type == PORTAL_RESOURCE_INTERNET)
		return set->is_internet_active && !is_tunnel_range(addr);
	return r->type == PORTAL_RESOURCE_CIDR && ip_prefix_contains(&r->prefix, addr);
}

static bool filter_permits(const struct portal_filter *f, const struct packet_key *key)
{
	bool is_in_range = f->port_first <= key->value && key->value <= f->port_last;

	switch (key->kind) {
	case PACKET_KEY_TCP:
		return f->protocol == PORTAL_PROTOCOL_TCP && is_in_range;
	case PACKET_KEY_UDP:
		return f->protocol == PORTAL_PROTOCOL_UDP && is_in_range;
	case PACKET_KEY_ECHO:
	case PACKET_KEY_ICMP_OTHER:
		return f->protocol == PORTAL_PROTOCOL_ICMP;
	case PACKET_KEY_OTHER:
		return false;
	}
	return false;
}

bool resource_permits(const struct resource *r, const struct packet_key *key)
{
	if (r->n_filters == 0)
		return true;
	for (size_t i = 0; i < r->n_filters; i++) {
		if (filter_permits(&r->filters[i], key))
			return true;
	}
	return false;
}

// Whether @p a beats @p b, given what their filters say.
static bool
is_better(const struct resource *a, bool a_permits, const struct resource *b, bool b_permits)
{
	if (a_permits != b_permits)
		return a_permits;
	if (a->prefix.len != b->prefix.len)
		return a->prefix.len > b->prefix.len;
	return uuid_cmp(&a->id, &b->id) > 0;
}

static void cache_fill(struct resources *set, struct cache_entry *e)
{
	e->generation = set->generation;
	e->resource = NULL;
	e->is_permitted = false;
	for (size_t i = 0; i < set->count; i++) {
		const struct resource *r = set->items[i];
		bool permits;

		if (!resources_covers(set, r, &e->dst))
			continue;
		permits = resource_permits(r, &e->key);
		if (e->resource == NULL || is_better(r, permits, e->resource, e->is_permitted)) {
			e->resource = r;
			e->is_permitted = permits;
		}
	}
}

static size_t cache_index(const struct ip_addr *dst, const struct packet_key *key)
{
	uint64_t a, b;

	memcpy(&a, dst->bytes, sizeof(a));
	memcpy(&b, dst->bytes + 8, sizeof(b));
	a ^= b * 0x9e3779b97f4a7c15u;
	a ^= (uint64_t)key->kind << 32 | key->value;
	a *= 0xff51afd7ed558ccdu;
	return (size_t)(a >> 40) % CACHE_SIZE;
}

const struct resource *resources_lookup(
	struct resources *set,
	const struct ip_addr *dst,
	const struct packet_key *key,
	bool *is_permitted)
{
	struct cache_entry *e = &set->cache[cache_index(dst, key)];

	if (e->generation != set->generation || !ip_addr_eq(&e->dst, dst)
	    || e->key.kind != key->kind || e->key.value != key->value) {
		e->dst = *dst;
		e->key = *key;
		cache_fill(set, e);
	}
	*is_permitted = e->is_permitted;
	return e->resource;
}
