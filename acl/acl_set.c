// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "acl/acl_set.h"

#include "control/base/err.h"

#include <rte_jhash.h>
#include <rte_malloc.h>

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	N_BUCKETS = 4096, // chains; sets are far fewer than clients
};

struct acl_registry {
	int socket_id;
	uint32_t n_named; // contexts ever named; rte_acl wants names that differ
	size_t n_sets;
	struct acl_set *buckets[N_BUCKETS];
};

struct acl_registry *acl_registry_create(int socket_id)
{
	struct acl_registry *registry = calloc(1, sizeof(*registry));

	if (registry == NULL)
		return err_set_null(ENOMEM);
	registry->socket_id = socket_id;
	return registry;
}

void acl_registry_destroy(struct acl_registry *registry)
{
	assert(registry == NULL || registry->n_sets == 0);
	free(registry);
}

size_t acl_registry_size(const struct acl_registry *registry)
{
	return registry->n_sets;
}

static struct acl_set **bucket_of(struct acl_registry *registry, uint32_t hash)
{
	return &registry->buckets[hash % N_BUCKETS];
}

static struct acl_set *
set_find(struct acl_registry *registry, uint32_t hash, const uint8_t *bytes, size_t size)
{
	struct acl_set *set = *bucket_of(registry, hash);

	while (set != NULL
	       && (set->hash != hash || set->bytes_size != size
		   || memcmp(set->bytes, bytes, size) != 0))
		set = set->next;
	return set;
}

static void set_free(struct acl_set *set)
{
	rte_acl_free(set->v4);
	rte_acl_free(set->v6);
	rte_free(set);
}

static int context_create(
	struct acl_registry *registry,
	struct rte_acl_ctx **ctx,
	const struct acl_canon *canon,
	enum ip_family family)
{
	char name[RTE_ACL_NAMESIZE];

	// The address tells registries apart: names are per process. rte_acl_create() would hand
	// out an existing context for a known name.
	snprintf(
		name,
		sizeof(name),
		"acl%llx.%x",
		(unsigned long long)(uintptr_t)registry,
		registry->n_named++);
	return acl_compile(ctx, canon, family, name, registry->socket_id);
}

static struct acl_set *set_build(struct acl_registry *registry, const struct acl_canon *canon)
{
	struct acl_set *set = rte_zmalloc_socket(
		"acl_set", sizeof(*set), RTE_CACHE_LINE_SIZE, registry->socket_id);
	int rc;

	if (set == NULL)
		return err_set_null(ENOMEM);
	set->n_resources = (uint32_t)canon->n_resources;
	set->internet = ACL_VERDICT_PROHIBITED;
	// Of several Internet resources the last one has the largest id.
	for (size_t i = 0; i < canon->n_resources; i++) {
		if (canon->resources[i].resource.type == ACL_RESOURCE_INTERNET)
			set->internet = (uint16_t)i;
	}
	rc = context_create(registry, &set->v4, canon, IP_FAMILY_V4);
	if (rc == 0)
		rc = context_create(registry, &set->v6, canon, IP_FAMILY_V6);
	if (rc < 0) {
		set_free(set);
		return err_set_null(-rc);
	}
	return set;
}

static struct acl_set *set_intern(struct acl_registry *registry, const struct acl_canon *canon)
{
	struct acl_set *set, **bucket;
	uint8_t *bytes;
	uint32_t hash;
	size_t size;

	bytes = acl_canon_bytes(canon, &size);
	if (bytes == NULL)
		return NULL;
	hash = rte_jhash(bytes, (uint32_t)size, 0);
	set = set_find(registry, hash, bytes, size);
	if (set != NULL) {
		set->n_refs++;
		free(bytes);
		return set;
	}
	set = set_build(registry, canon);
	if (set == NULL) {
		free(bytes);
		return NULL;
	}
	bucket = bucket_of(registry, hash);
	set->next = *bucket;
	set->hash = hash;
	set->n_refs = 1;
	set->bytes = bytes;
	set->bytes_size = size;
	*bucket = set;
	registry->n_sets++;
	return set;
}

const struct acl_set *acl_set_get(
	struct acl_registry *registry,
	const struct acl_resource *resources,
	size_t n_resources,
	uint16_t *ordinals)
{
	struct acl_canon canon;
	struct acl_set *set;
	int rc;

	rc = acl_canon_init(&canon, resources, n_resources);
	if (rc < 0)
		return err_set_null(-rc);
	if (canon.n_rules > ACL_RULES_MAX) {
		acl_canon_fini(&canon);
		return err_set_null(E2BIG);
	}
	set = set_intern(registry, &canon);
	if (set != NULL && ordinals != NULL)
		memcpy(ordinals, canon.ordinals, n_resources * sizeof(*ordinals));
	acl_canon_fini(&canon);
	return set;
}

void acl_set_put(struct acl_registry *registry, const struct acl_set *set)
{
	struct acl_set **link;

	if (set == NULL)
		return;
	link = bucket_of(registry, set->hash);
	while (*link != set) {
		assert(*link != NULL);
		link = &(*link)->next;
	}
	if (--(*link)->n_refs > 0)
		return;
	*link = set->next;
	registry->n_sets--;
	free(set->bytes);
	set_free((struct acl_set *)(uintptr_t)set);
}

uint32_t acl_set_size(const struct acl_set *set)
{
	return set->n_resources;
}
