// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include "control/access/access.h"
#include "control/access/heap.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** Internal to control/access: the table and its clients. */

/** One authorization: a resource with the expiry that this client has for it. */
struct grant {
	struct uuid resource_id;
	enum portal_resource_type type;
	struct ip_prefix prefix; // CIDR only
	struct acl_filter *filters;
	size_t n_filters;
	uint64_t expires; // boot time, ns; UINT64_MAX: never
	uint64_t changed; // number of the message that last said so
	uint64_t listed; // number of the last snapshot that lists it,
	uint64_t listed_expires; // and what it says
	uint16_t ordinal; // in the client's set; GRANT_NOT_IN_SET
};

enum {
	GRANT_NOT_IN_SET = 0xffff,
};

struct addr_node {
	struct ip_addr addr;
	struct client *client;
};

struct client {
	struct access_client pub; // first: access_client pointers are client pointers
	struct grant *grants; // by resource id
	size_t n_grants;
	const struct acl_set *set; // of the policy in force, a reference of our own; NULL: cut off
	struct heap_node timer; // earliest expiry
	struct addr_node addr_nodes[2];
};

/** A list of all authorizations that is being put in force, slice by slice. */
struct snapshot {
	enum snapshot_phase {
		SNAPSHOT_NONE,
		SNAPSHOT_MARK, // pairs: what is listed
		SNAPSHOT_RESTRICT, // slots: clients that lose something
		SNAPSHOT_EXTEND, // slots: the others
	} phase;
	uint64_t number; // of its message
	int64_t unix_to_boot_ns; // as it was then
	struct portal_authorization *pairs;
	size_t n_pairs;
	size_t at; // pair or slot
	struct client *last; // of the pair before, which often is the next one's
};

struct access {
	struct access_config config;
	struct acl_registry *registry;
	int64_t unix_to_boot_ns; // what to add to the portal's times
	void *by_id, *by_addr; // tsearch trees of struct client, struct addr_node
	struct client **by_slot;
	uint32_t *free_slots; // a stack
	uint32_t n_free_slots;
	size_t n_clients;
	uint32_t generation;
	uint64_t n_messages;
	struct heap timers;
	struct snapshot snapshot;
};

static inline struct client *to_client(const struct access_client *pub)
{
	return (struct client *)(uintptr_t)pub;
}

/** Unix seconds to boot time; what lies before boot is 0, i.e. expired. */
uint64_t expiry_to_boot(int64_t unix_to_boot_ns, int64_t unix_s);

/** @return the grant or NULL. */
struct grant *grant_find(const struct client *c, const struct uuid *resource_id);
/** Takes it away without a new policy. */
void grant_remove(struct client *c, struct grant *g);
void grant_fini(struct grant *g);

/** Compiles what @p c holds now. @return NULL with errno: the former set and ordinals stay */
struct acl_policy *policy_compile(struct access *a, struct client *c);
/** The same set with the expiries that hold now. @return NULL with errno */
struct acl_policy *policy_renew(struct access *a, const struct client *c);
/** Puts @p policy in force. */
void policy_hand_over(struct access *a, struct client *c, struct acl_policy *policy);
/** After something was taken away there is no way back: what cannot be compiled allows nothing. */
void client_restrict(struct access *a, struct client *c);
/** After nothing but expiries changed. */
void client_renew(struct access *a, struct client *c);
/** Forgets the client and frees it. */
void client_remove(struct access *a, struct client *c);

/** Forgets the list. */
void snapshot_end(struct access *a);
/** Puts in force what the snapshot says of one client, which may be removed. @return whether it changed */
bool snapshot_apply(struct access *a, struct client *c);
