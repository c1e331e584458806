// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include "control/base/addr.h"
#include "control/path/relay_users.h"
#include "control/portal/uuid.h"
#include "peers/client/resources.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/**
 * The gateways that this process ever learned of, and which of them serves which resource (a
 * grant). Gateways are never forgotten, so that the portal hears which ones we know; a grant lives
 * until its resource or the connection is gone.
 *
 * Ownership: create/destroy; connections belong to the caller. Thread-safety: none.
 */

struct connection;

struct gateway {
	struct gateway *next;
	struct uuid id;
	struct ip_addr ipv4, ipv6; // its tunnel addresses
	struct connection *connection; // NULL: none; owned by the client
	struct relay_user relay_user; // joined while there is a connection
	struct ip_addr source; // last one that gateways_allows_source() accepted
	uint64_t source_generation;
};

struct gateways;

/** @return NULL with errno ENOMEM */
struct gateways *gateways_create(void);
void gateways_destroy(struct gateways *set);

/** Finds or adds. @return NULL with errno ENOMEM */
struct gateway *gateways_learn(struct gateways *set, const struct uuid *id);
/** @return NULL if unknown */
struct gateway *gateways_find(const struct gateways *set, const struct uuid *id);
/** First of the list that gateway.next continues. */
struct gateway *gateways_first(const struct gateways *set);
/** @return the connected gateway with this tunnel address, or NULL */
struct gateway *gateways_by_addr(const struct gateways *set, const struct ip_addr *addr);

/** Lets @p g serve @p resource, instead of any other one. @return 0, -ENOMEM */
[[nodiscard]] int
gateways_grant(struct gateways *set, const struct uuid *resource, struct gateway *g);
/** Ends the grant. @return the gateway that served the resource, or NULL */
struct gateway *gateways_revoke(struct gateways *set, const struct uuid *resource);
/** Ends all grants of @p g but that for @p except (may be NULL). @return how many */
size_t
gateways_revoke_all(struct gateways *set, const struct gateway *g, const struct uuid *except);
/** @return the gateway that serves @p resource, or NULL */
struct gateway *gateways_of(const struct gateways *set, const struct uuid *resource);
/** @return whether @p g serves anything */
bool gateways_has_grant(const struct gateways *set, const struct gateway *g);

/**
 * Whether a packet from @p g may carry the source @p src: its tunnel addresses, and what lies in a
 * resource that it serves.
 */
bool gateways_allows_source(
	struct gateways *set,
	struct gateway *g,
	const struct resources *resources,
	const struct ip_addr *src);
/** Call when resources changed: what gateways_allows_source() remembers is void. */
void gateways_resources_changed(struct gateways *set);

/**
 * Lists all known gateways for a request: the one that serves @p resource, then connected ones, then
 * the others, each by id. @return owned array, NULL if there is none
 */
struct uuid *gateways_list(const struct gateways *set, const struct uuid *resource, size_t *n);
