// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include "acl/acl.h"
#include "control/base/addr.h"
#include "control/portal/types.h"
#include "control/portal/uuid.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/**
 * Who may reach what: the portal's authorizations and what follows from them.
 *
 * Each client that holds at least one authorization has a *slot*, the number under which the data
 * plane knows it. Every change of a client's authorizations compiles a new policy and hands it to
 * the owner through a callback; the change is complete when the callback returns. An error leaves
 * the former state in force (spec/datapath.md 6, spec/portal-gateway.md 3).
 *
 * Expiry is exact: the policy carries the moment per resource, which workers check on each packet,
 * and access_handle_timeout() removes what has passed. The portal's Unix seconds are mapped when they
 * arrive onto the clock that is monotonic and goes on in suspend (access_clock_set()); later steps of
 * the wall clock neither extend nor shorten what was authorized before.
 *
 * The portal's whole list is put in force in slices (access_reconcile()), what it takes away first.
 * Messages that come in between take effect at once, and the list does not undo them.
 *
 * Time: `now` and boot_ns are CLOCK_BOOTTIME in nanoseconds (control/base/clock.h); policies are in
 * ticks of the same clock. Sans-IO; control thread only.
 * Ownership: the access table owns its clients; policies belong to whoever the callback gives them to.
 */

enum {
	ACCESS_SLOT_NONE = 0xffffffff,
	ACCESS_RECONCILE_BUDGET = 10000, // about a millisecond
};

#define ACCESS_DEADLINE_NONE UINT64_MAX

/** One client as the outside may see it. */
struct access_client {
	struct uuid id;
	uint32_t slot;
	struct ip_addr ipv4, ipv6; // tunnel addresses, the only sources it may use
	bool is_static; // from the configuration, not from the portal
	void *user; // the owner's connection; NULL at first
};

struct access_callbacks {
	/** A client came to life; its first policy follows at once. */
	void (*on_added)(void *ctx, struct access_client *client);
	/** The policy in force from now on; takes it (access_policy_free()). Never NULL. */
	void (*on_policy)(void *ctx, struct access_client *client, const struct acl_policy *policy);
	/**
	 * The client holds nothing any more and is forgotten when this returns. Its slot is used again
	 * only after access_slot_release().
	 */
	void (*on_removed)(void *ctx, struct access_client *client);
};

struct access_config {
	uint32_t max_clients; // slots are 0 .. max_clients - 1
	uint64_t boot_ns; // as for access_clock_set()
	int64_t unix_ns;
	uint64_t tsc_hz; // ticks per second of policies
	struct access_callbacks callbacks;
	void *ctx;
};

struct access;

/** @return the table, or NULL with errno ENOMEM, EINVAL. @p registry is borrowed. */
struct access *access_create(const struct access_config *config, struct acl_registry *registry);
/** Frees all clients without callbacks. NULL is allowed. */
void access_destroy(struct access *access);
/** What both clocks say at this moment: call it when a message has arrived, before it is handled. */
void access_clock_set(struct access *access, uint64_t boot_ns, int64_t unix_ns);
/** Frees a policy and drops its reference to the set; after an RCU grace period. NULL is allowed. */
void access_policy_free(struct acl_registry *registry, const struct acl_policy *policy);

/** What the portal authorized. */
struct access_grant {
	struct uuid client_id;
	struct ip_addr ipv4, ipv6; // no family: none
	bool is_static; // of a new client: the portal's lists do not touch it
	const struct portal_resource *resource; // borrowed
	int64_t expires_at; // Unix seconds, PORTAL_NEVER
};

/**
 * Adds or refreshes an authorization. A resource the client already has keeps its network, its
 * filters and expiry are replaced. Other tunnel addresses under the same id: the old client is
 * removed first, with all it had. An expiry in the past is accepted and ends at the next timeout.
 *
 * @return the client, or NULL with errno and @p err: ENOSPC (no slot left), E2BIG, EINVAL, ENOMEM
 */
struct access_client *
access_authorize(struct access *access, const struct access_grant *grant, struct portal_error *err);

/** Takes one resource away. @return whether the client had it */
bool access_reject(
	struct access *access,
	const struct uuid *client_id,
	const struct uuid *resource_id);
/** Replaces the filters of a resource in every client that has it; other changes are ignored. @return 0 or the first error */
[[nodiscard]] int access_resource_update(
	struct access *access,
	const struct portal_resource *resource,
	struct portal_error *err);
/**
 * The portal's whole list (init): what is not in it is revoked, the rest gets the listed expiry,
 * unknown pairs mean nothing. Static clients keep what they have. Copies the list; takes effect with
 * access_reconcile(). A later list replaces one that is not done. @return 0, -ENOMEM (nothing changed)
 */
[[nodiscard]] int
access_retain(struct access *access, const struct portal_authorization *pairs, size_t n_pairs);
/**
 * Puts the next slice of the list in force: first what is revoked or shortened, then the rest.
 * @param budget work to do, in units of about 0.1 us
 * @return whether there is more to do
 */
bool access_reconcile(struct access *access, unsigned budget);
/** Sets the expiry of a pair that exists. @return whether it does */
bool access_expiry_set(struct access *access, const struct portal_authorization *pair);
/** The client said goodbye or was evicted: forgets it with all it had (on_removed). */
void access_forget(struct access *access, struct access_client *client);

/** When access_handle_timeout() is wanted; ACCESS_DEADLINE_NONE: not at all. */
uint64_t access_deadline(const struct access *access);
/** Removes what has expired. */
void access_handle_timeout(struct access *access, uint64_t now);

/** The data plane has let go of the slot: it may be given to another client. */
void access_slot_release(struct access *access, uint32_t slot);

/** @return the client or NULL. */
struct access_client *access_by_id(const struct access *access, const struct uuid *id);
struct access_client *access_by_slot(const struct access *access, uint32_t slot);
/** By tunnel address, of either family. @return the client or NULL */
struct access_client *access_by_addr(const struct access *access, const struct ip_addr *addr);
/** @return whether the client holds the resource. */
bool access_has(
	const struct access *access,
	const struct access_client *client,
	const struct uuid *resource_id);
/** @return the number of clients. */
size_t access_count(const struct access *access);
/** @return the number of authorizations the client holds. */
size_t access_client_count(const struct access_client *client);
/** Calls @p fn for each client; it must not add or remove any. */
void access_each(
	const struct access *access,
	void (*fn)(void *arg, struct access_client *client),
	void *arg);
