// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "acl/acl_set.h"

#include "control/base/err.h"

#include <rte_jhash.h>
#include <rte_malloc.h>

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum {
	N_BUCKETS = 4096, // chains; sets are far fewer than clients
};

struct acl_registry {
	int socket_id;
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

// One allocation: the set and what its tables point to.
static struct acl_set *set_write(
	const struct acl_registry *registry,
	const struct acl_draft *v4,
	const struct acl_draft *v6)
{
	size_t v4_size = acl_draft_size(v4);
	struct acl_set *set = rte_malloc_socket(
		"acl_set",
		sizeof(*set) + v4_size + acl_draft_size(v6),
		RTE_CACHE_LINE_SIZE,
		registry->socket_id);

	if (set == NULL)
		return err_set_null(ENOMEM);
	*set = (struct acl_set){0};
	acl_draft_write(v4, &set->v4, set + 1);
	acl_draft_write(v6, &set->v6, (uint8_t *)(set + 1) + v4_size);
	return set;
}

static struct acl_set *set_build(struct acl_registry *registry, const struct acl_canon *canon)
{
	struct acl_draft v4 = {0}, v6 = {0};
	struct acl_set *set = NULL;

	if (acl_draft_init(&v4, canon, IP_FAMILY_V4) == 0
	    && acl_draft_init(&v6, canon, IP_FAMILY_V6) == 0)
		set = set_write(registry, &v4, &v6);
	acl_draft_fini(&v4);
	acl_draft_fini(&v6);
	if (set == NULL)
		return err_set_null(ENOMEM);
	set->n_resources = (uint32_t)canon->n_resources;
	set->internet = ACL_VERDICT_PROHIBITED;
	// Of several Internet resources the last one has the largest id.
	for (size_t i = 0; i < canon->n_resources; i++) {
		if (canon->resources[i].resource.type == ACL_RESOURCE_INTERNET)
			set->internet = (uint16_t)i;
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

void acl_set_ref(const struct acl_set *set)
{
	((struct acl_set *)(uintptr_t)set)->n_refs++;
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
	rte_free((void *)(uintptr_t)set);
}

uint32_t acl_set_size(const struct acl_set *set)
{
	return set->n_resources;
}
