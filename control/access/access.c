// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "control/access/access.h"

#include "control/access/access_impl.h"
#include "control/base/clock.h"
#include "control/base/err.h"
#include "control/base/log.h"

#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LOG_AREA "access"

static int compare_id(const void *a, const void *b)
{
	const struct client *x = a, *y = b;

	return uuid_cmp(&x->pub.id, &y->pub.id);
}

static int compare_addr(const void *a, const void *b)
{
	const struct addr_node *x = a, *y = b;

	return ip_addr_cmp(&x->addr, &y->addr);
}

struct access *access_create(const struct access_config *config, struct acl_registry *registry)
{
	struct access *a;

	if (config->max_clients == 0 || config->tsc_hz == 0)
		return err_set_null(EINVAL);
	a = calloc(1, sizeof(*a));
	if (a == NULL)
		return err_set_null(ENOMEM);
	a->config = *config;
	a->registry = registry;
	access_clock_set(a, config->boot_ns, config->unix_ns);
	a->by_slot = calloc(config->max_clients, sizeof(struct client *));
	a->free_slots = calloc(config->max_clients, sizeof(*a->free_slots));
	if (a->by_slot == NULL || a->free_slots == NULL
	    || heap_init(&a->timers, config->max_clients) < 0) {
		access_destroy(a);
		return err_set_null(ENOMEM);
	}
	for (uint32_t i = config->max_clients; i > 0; i--)
		a->free_slots[a->n_free_slots++] = i - 1;
	return a;
}

static void client_free(struct access *a, struct client *c)
{
	acl_set_put(a->registry, c->set);
	for (size_t i = 0; i < c->n_grants; i++)
		grant_fini(&c->grants[i]);
	free(c->grants);
	free(c);
}

// Takes @p c out of every index; its slot stays taken until the data plane lets go of it.
static void client_unlink(struct access *a, struct client *c)
{
	tdelete(c, &a->by_id, compare_id);
	for (unsigned i = 0; i < 2; i++) {
		struct addr_node **found = tfind(&c->addr_nodes[i], &a->by_addr, compare_addr);

		// A later client with the same address may have taken the entry over.
		if (found != NULL && *found == &c->addr_nodes[i])
			tdelete(&c->addr_nodes[i], &a->by_addr, compare_addr);
	}
	heap_set(&a->timers, &c->timer, UINT64_MAX);
	a->by_slot[c->pub.slot] = NULL;
	a->n_clients--;
}

void access_destroy(struct access *a)
{
	if (a == NULL)
		return;
	for (uint32_t i = 0; a->by_slot != NULL && i < a->config.max_clients; i++) {
		struct client *c = a->by_slot[i];

		if (c != NULL) {
			client_unlink(a, c);
			client_free(a, c);
		}
	}
	snapshot_end(a);
	heap_fini(&a->timers);
	free(a->by_slot);
	free(a->free_slots);
	free(a);
}

void access_policy_free(struct acl_registry *registry, const struct acl_policy *policy)
{
	if (policy == NULL)
		return;
	acl_set_put(registry, policy->set);
	free((void *)(uintptr_t)policy);
}

static void filters_convert(struct acl_filter *out, const struct portal_filter *in, size_t n)
{
	static const enum acl_protocol protocols[] = {
		[PORTAL_PROTOCOL_TCP] = ACL_PROTOCOL_TCP,
		[PORTAL_PROTOCOL_UDP] = ACL_PROTOCOL_UDP,
		[PORTAL_PROTOCOL_ICMP] = ACL_PROTOCOL_ICMP,
	};

	for (size_t i = 0; i < n; i++) {
		out[i] = (struct acl_filter){
			.protocol = protocols[in[i].protocol],
			.port_first = in[i].port_first,
			.port_last = in[i].port_last,
		};
	}
}

void access_clock_set(struct access *a, uint64_t boot_ns, int64_t unix_ns)
{
	a->unix_to_boot_ns = (int64_t)boot_ns - unix_ns;
}

uint64_t expiry_to_boot(int64_t unix_to_boot_ns, int64_t unix_s)
{
	__int128 ns = (__int128)unix_s * (int64_t)CLOCK_NS_PER_S + unix_to_boot_ns;

	if (unix_s == PORTAL_NEVER)
		return UINT64_MAX;
	if (ns <= 0)
		return 0;
	return ns >= (__int128)UINT64_MAX ? UINT64_MAX : (uint64_t)ns;
}

static int grant_init(
	struct grant *g,
	struct access *a,
	const struct portal_resource *resource,
	int64_t expires_at)
{
	*g = (struct grant){
		.resource_id = resource->id,
		.type = resource->type,
		.prefix = resource->prefix,
		.n_filters = resource->n_filters,
		.expires = expiry_to_boot(a->unix_to_boot_ns, expires_at),
		.changed = ++a->n_messages,
		.ordinal = GRANT_NOT_IN_SET,
	};
	if (g->n_filters == 0)
		return 0;
	g->filters = calloc(g->n_filters, sizeof(*g->filters));
	if (g->filters == NULL)
		return err_set(ENOMEM);
	filters_convert(g->filters, resource->filters, g->n_filters);
	return 0;
}

void client_remove(struct access *a, struct client *c)
{
	client_unlink(a, c);
	if (a->snapshot.last == c)
		a->snapshot.last = NULL;
	a->config.callbacks.on_removed(a->config.ctx, &c->pub);
	client_free(a, c);
}

static void client_index(struct access *a, struct client *c)
{
	const struct ip_addr *addrs[2] = {&c->pub.ipv4, &c->pub.ipv6};

	for (unsigned i = 0; i < 2; i++) {
		struct addr_node **found;

		c->addr_nodes[i] = (struct addr_node){.addr = *addrs[i], .client = c};
		if (addrs[i]->family == IP_FAMILY_NONE)
			continue;
		// The last client that the portal named with an address has it.
		found = tfind(&c->addr_nodes[i], &a->by_addr, compare_addr);
		if (found != NULL)
			tdelete(*found, &a->by_addr, compare_addr);
		if (tsearch(&c->addr_nodes[i], &a->by_addr, compare_addr) == NULL)
			abort(); // a node of 32 bytes
	}
	if (tsearch(c, &a->by_id, compare_id) == NULL)
		abort();
	a->by_slot[c->pub.slot] = c;
	a->n_clients++;
}

static struct access_client *fail(struct portal_error *err, int code, const char *what)
{
	if (code == E2BIG) {
		snprintf(
			err->text,
			sizeof(err->text),
			"%s: more than %d resources of one client, or %d rules of all their "
			"filters",
			what,
			ACL_RESOURCES_MAX,
			ACL_RULES_MAX);
	} else {
		snprintf(err->text, sizeof(err->text), "%s: %s", what, strerror(code));
	}
	return err_set_null(code);
}

static struct access_client *authorize_new(
	struct access *a,
	const struct access_grant *grant,
	struct grant *g,
	struct portal_error *err)
{
	struct acl_policy *policy;
	struct client *c;

	if (a->n_free_slots == 0)
		return fail(err, ENOSPC, "no free client slot (max_clients)");
	c = calloc(1, sizeof(*c));
	if (c == NULL)
		return fail(err, ENOMEM, "client");
	c->grants = calloc(1, sizeof(*c->grants));
	if (c->grants == NULL) {
		free(c);
		return fail(err, ENOMEM, "grants");
	}
	c->pub.id = grant->client_id;
	c->pub.ipv4 = grant->ipv4;
	c->pub.ipv6 = grant->ipv6;
	c->pub.is_static = grant->is_static;
	heap_node_init(&c->timer);
	c->grants[0] = *g;
	c->n_grants = 1;
	policy = policy_compile(a, c);
	if (policy == NULL) {
		int code = errno;

		c->n_grants = 0; // g is the caller's to free
		client_free(a, c);
		return fail(err, code, "policy");
	}
	c->pub.slot = a->free_slots[--a->n_free_slots];
	client_index(a, c);
	a->config.callbacks.on_added(a->config.ctx, &c->pub);
	policy_hand_over(a, c, policy);
	return &c->pub;
}

static bool filters_eq(const struct grant *a, const struct grant *b)
{
	return a->n_filters == b->n_filters
		&& (a->n_filters == 0
		    || memcmp(a->filters, b->filters, a->n_filters * sizeof(*a->filters)) == 0);
}

// A resource that the client already has: only filters and expiry are taken from @p g.
static struct access_client *authorize_again(
	struct access *a,
	struct client *c,
	struct grant *old,
	struct grant *g,
	struct portal_error *err)
{
	bool is_renewal = filters_eq(old, g) && c->set != NULL;
	struct acl_policy *policy;
	struct grant saved = *old;

	g->type = old->type;
	g->prefix = old->prefix;
	g->ordinal = old->ordinal;
	*old = *g;
	policy = is_renewal ? policy_renew(a, c) : policy_compile(a, c);
	if (policy == NULL) {
		int code = errno;

		*old = saved;
		return fail(err, code, "policy");
	}
	grant_fini(&saved);
	policy_hand_over(a, c, policy);
	return &c->pub;
}

static struct access_client *
authorize_another(struct access *a, struct client *c, struct grant *g, struct portal_error *err)
{
	struct grant *grown = reallocarray(c->grants, c->n_grants + 1, sizeof(*grown));
	struct acl_policy *policy;
	size_t at = 0;

	if (grown == NULL)
		return fail(err, ENOMEM, "grants");
	c->grants = grown;
	while (at < c->n_grants && uuid_cmp(&grown[at].resource_id, &g->resource_id) < 0)
		at++;
	memmove(&grown[at + 1], &grown[at], (c->n_grants - at) * sizeof(*grown));
	grown[at] = *g;
	c->n_grants++;
	policy = policy_compile(a, c);
	if (policy == NULL) {
		int code = errno;

		grown[at].filters = NULL; // g's, which is the caller's to free
		grant_remove(c, &grown[at]);
		return fail(err, code, "policy");
	}
	policy_hand_over(a, c, policy);
	return &c->pub;
}

static struct access_client *
authorize_existing(struct access *a, struct client *c, struct grant *g, struct portal_error *err)
{
	struct grant *old = grant_find(c, &g->resource_id);

	return old != NULL ? authorize_again(a, c, old, g, err) : authorize_another(a, c, g, err);
}

struct access_client *
access_authorize(struct access *a, const struct access_grant *grant, struct portal_error *err)
{
	struct client *c = to_client(access_by_id(a, &grant->client_id));
	struct access_client *result;
	struct grant g;

	if (grant_init(&g, a, grant->resource, grant->expires_at) < 0)
		return fail(err, ENOMEM, "filters");
	if (c != NULL
	    && (!ip_addr_eq(&c->pub.ipv4, &grant->ipv4)
		|| !ip_addr_eq(&c->pub.ipv6, &grant->ipv6))) {
		client_remove(a, c);
		c = NULL;
	}
	result = c != NULL ? authorize_existing(a, c, &g, err) : authorize_new(a, grant, &g, err);
	if (result == NULL) {
		int code = errno;

		grant_fini(&g);
		return err_set_null(code);
	}
	return result;
}

bool access_reject(struct access *a, const struct uuid *client_id, const struct uuid *resource_id)
{
	struct client *c = to_client(access_by_id(a, client_id));
	struct grant *g = c != NULL ? grant_find(c, resource_id) : NULL;

	if (g == NULL)
		return false;
	grant_remove(c, g);
	if (c->n_grants == 0)
		client_remove(a, c);
	else
		client_restrict(a, c);
	return true;
}

static int filters_replace(
	struct access *a,
	struct client *c,
	struct grant *g,
	const struct portal_resource *resource)
{
	struct grant old = *g, fresh = *g;
	struct acl_policy *policy;

	fresh.filters = NULL;
	fresh.n_filters = resource->n_filters;
	if (fresh.n_filters > 0) {
		fresh.filters = calloc(fresh.n_filters, sizeof(*fresh.filters));
		if (fresh.filters == NULL)
			return err_set(ENOMEM);
		filters_convert(fresh.filters, resource->filters, fresh.n_filters);
	}
	if (filters_eq(&old, &fresh)) {
		free(fresh.filters);
		return 0;
	}
	*g = fresh;
	policy = policy_compile(a, c);
	if (policy == NULL) {
		int code = errno;

		*g = old;
		free(fresh.filters);
		return err_set(code);
	}
	free(old.filters);
	policy_hand_over(a, c, policy);
	return 0;
}

int access_resource_update(
	struct access *a,
	const struct portal_resource *resource,
	struct portal_error *err)
{
	int first = 0;

	for (uint32_t i = 0; i < a->config.max_clients; i++) {
		struct client *c = a->by_slot[i];
		struct grant *g = c != NULL ? grant_find(c, &resource->id) : NULL;
		int rc;

		if (g == NULL)
			continue;
		if (g->type != resource->type) {
			LOG(WARNING, "resource_updated changes the type; ignored");
			continue;
		}
		rc = filters_replace(a, c, g, resource);
		if (rc < 0 && first == 0) {
			fail(err, -rc, "resource_updated");
			first = rc;
		}
	}
	return first;
}

bool access_expiry_set(struct access *a, const struct portal_authorization *pair)
{
	struct client *c = to_client(access_by_id(a, &pair->client_id));
	struct grant *g = c != NULL ? grant_find(c, &pair->resource_id) : NULL;

	if (g == NULL)
		return false;
	g->expires = expiry_to_boot(a->unix_to_boot_ns, pair->expires_at);
	g->changed = ++a->n_messages;
	client_renew(a, c);
	return true;
}

void access_forget(struct access *a, struct access_client *client)
{
	client_remove(a, to_client(client));
}

uint64_t access_deadline(const struct access *a)
{
	const struct heap_node *top = heap_top(&a->timers);

	// What is about to expire may be in the list for longer.
	if (a->snapshot.phase == SNAPSHOT_MARK)
		return ACCESS_DEADLINE_NONE;
	return top != NULL ? top->deadline : ACCESS_DEADLINE_NONE;
}

static struct client *timer_client(struct heap_node *node)
{
	void *client = (char *)node - offsetof(struct client, timer);

	return client;
}

void access_handle_timeout(struct access *a, uint64_t now)
{
	struct heap_node *top;

	if (a->snapshot.phase == SNAPSHOT_MARK)
		return;
	while ((top = heap_top(&a->timers)) != NULL && top->deadline <= now) {
		struct client *c = timer_client(top);

		if (snapshot_apply(a, c))
			continue;
		for (size_t i = c->n_grants; i > 0; i--) {
			if (c->grants[i - 1].expires <= now)
				grant_remove(c, &c->grants[i - 1]);
		}
		if (c->n_grants == 0)
			client_remove(a, c);
		else
			client_restrict(a, c);
	}
}

void access_slot_release(struct access *a, uint32_t slot)
{
	a->free_slots[a->n_free_slots++] = slot;
}

struct access_client *access_by_id(const struct access *a, const struct uuid *id)
{
	struct client key = {.pub.id = *id};
	struct client **found = tfind(&key, &a->by_id, compare_id);

	return found != NULL ? &(*found)->pub : NULL;
}

struct access_client *access_by_slot(const struct access *a, uint32_t slot)
{
	struct client *c = slot < a->config.max_clients ? a->by_slot[slot] : NULL;

	return c != NULL ? &c->pub : NULL;
}

struct access_client *access_by_addr(const struct access *a, const struct ip_addr *addr)
{
	struct addr_node key = {.addr = *addr};
	struct addr_node **found = tfind(&key, &a->by_addr, compare_addr);

	return found != NULL ? &(*found)->client->pub : NULL;
}

bool access_has(
	const struct access *,
	const struct access_client *client,
	const struct uuid *resource_id)
{
	return grant_find(to_client(client), resource_id) != NULL;
}

size_t access_count(const struct access *a)
{
	return a->n_clients;
}

size_t access_client_count(const struct access_client *client)
{
	return to_client(client)->n_grants;
}

void access_each(
	const struct access *a,
	void (*fn)(void *arg, struct access_client *client),
	void *arg)
{
	for (uint32_t i = 0; i < a->config.max_clients; i++) {
		if (a->by_slot[i] != NULL)
			fn(arg, &a->by_slot[i]->pub);
	}
}
