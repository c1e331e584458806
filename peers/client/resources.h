// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include "control/portal/types.h"
#include "peers/client/packet.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/**
 * The resources that the portal lets this client see, and which of them a packet belongs to.
 *
 * Of all resources whose network covers an address the best is the one whose filters permit the
 * packet, then the longest prefix, then the larger id. The Internet resource counts as a network of
 * length 0 without filters, for everything but the tunnel's own ranges. DNS resources are kept but
 * no packet finds them yet.
 *
 * Ownership: create/destroy; copies what it keeps. Thread-safety: none.
 */

struct resource {
	struct uuid id;
	enum portal_resource_type type;
	char *name; // never NULL
	struct ip_prefix prefix; // cidr only
	char *pattern; // dns only
	enum portal_ip_stack ip_stack;
	struct portal_filter *filters;
	size_t n_filters;
	struct uuid *sites;
	size_t n_sites;
};

struct resources;

/** @param is_internet_active whether the Internet resource is used. @return NULL with errno ENOMEM */
struct resources *resources_create(bool is_internet_active);
void resources_destroy(struct resources *set);

enum resource_change {
	RESOURCE_CHANGE_NONE, // equal, or only its name changed
	RESOURCE_CHANGE_ADDED,
	RESOURCE_CHANGE_REPLACED, // address, stack, site or filters changed: as removed and added
};

/**
 * Adds or updates a resource.
 * @param change what that meant
 * @param old_prefix of a replaced cidr resource, else family none
 * @return 0, -ENOMEM with nothing changed
 */
[[nodiscard]] int resources_upsert(
	struct resources *set,
	const struct portal_resource *r,
	enum resource_change *change,
	struct ip_prefix *old_prefix);

/** Unlinks a resource; resource_destroy() it. @return NULL if unknown */
struct resource *resources_remove(struct resources *set, const struct uuid *id);
void resource_destroy(struct resource *r);

/** @return borrowed until the next change, or NULL */
const struct resource *resources_find(const struct resources *set, const struct uuid *id);
/** Walks all; @p nth from 0. @return NULL behind the last */
const struct resource *resources_at(const struct resources *set, size_t nth);

/** @return whether packets may belong to @p r at all: cidr, or the Internet resource if it is used */
bool resources_is_active(const struct resources *set, const struct resource *r);
/** @return whether an active resource has exactly this network */
bool resources_has_prefix(const struct resources *set, const struct ip_prefix *p);
/** @return whether packets from @p addr may come from @p r */
bool resources_covers(
	const struct resources *set,
	const struct resource *r,
	const struct ip_addr *addr);

/** @return whether @p r's filters let a packet with this key through */
bool resource_permits(const struct resource *r, const struct packet_key *key);

/**
 * The resource that a packet to @p dst with key @p key belongs to.
 * @param is_permitted what its filters say
 * @return borrowed until the next change, or NULL
 */
const struct resource *resources_lookup(
	struct resources *set,
	const struct ip_addr *dst,
	const struct packet_key *key,
	bool *is_permitted);
