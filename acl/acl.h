// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include "control/base/addr.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/**
 * Policy sets: what a client may reach, compiled into tables that are searched.
 *
 * The portal authorizes a client for resources; each resource is a network (or the Internet) with
 * filters. All resources of a client together make one *set*. Sets are immutable and interned by
 * content, so ten thousand clients in fifty groups share fifty sets. A packet is allowed if any
 * resource of the set permits it (the union rule, spec/datapath.md 2.2); which one it is
 * attributed to follows that section's order.
 *
 * The expiry of an authorization belongs to the client, not to the set: struct acl_policy binds a
 * set to one client and carries one expiry per resource of the set.
 *
 * Thread-safety: the registry, get and put belong to the control core. acl_classify_burst() may
 * run on any number of workers at once; it neither writes to the set nor allocates.
 * Ownership: the registry owns the sets; callers hold references. A set that a worker may still
 * read is put only after an RCU grace period.
 */

/** Limits, enforced by acl_set_get() with -E2BIG. */
enum {
	ACL_RESOURCES_MAX = 4096, // per client
	ACL_FILTERS_MAX = 1024, // per resource; a portal message carries as many
	ACL_RULES_MAX = 16384, // per set, after merging: filters, and one for each resource without
};

enum acl_protocol {
	ACL_PROTOCOL_TCP,
	ACL_PROTOCOL_UDP,
	ACL_PROTOCOL_ICMP, // all types, ICMP and ICMPv6
};

/** One entry of a resource's allow list; ports are inclusive, host order, unused for ICMP. */
struct acl_filter {
	enum acl_protocol protocol;
	uint16_t port_first;
	uint16_t port_last;
};

enum acl_resource_type {
	ACL_RESOURCE_CIDR,
	ACL_RESOURCE_DNS, // one proxy address per entry: prefix is a /32 or /128
	// Prefix unused, no filters; the blocklist of spec/datapath.md 2.3 applies and CIDR resources
	// of the same set count for nothing.
	ACL_RESOURCE_INTERNET,
};

/** One authorized resource. No filters: everything is allowed, also other IP protocols. */
struct acl_resource {
	uint8_t id[16]; // UUID, wire bytes; part of the content (attribution order)
	enum acl_resource_type type;
	struct ip_prefix prefix;
	const struct acl_filter *filters; // borrowed during the call
	size_t n_filters;
};

/** How a packet presents itself to the filters (spec/datapath.md 1.1, "protocol key"). */
enum acl_class {
	ACL_CLASS_TCP = 1,
	ACL_CLASS_UDP,
	ACL_CLASS_ICMP_ECHO,
	ACL_CLASS_ICMP_OTHER,
	ACL_CLASS_OTHER, // any other IP protocol
};

/**
 * What is judged: the resource's side of a packet, i.e. destination address and port of a packet
 * from the client, source address and port of a packet to it.
 */
struct acl_key {
	uint8_t class_; // enum acl_class
	uint8_t family; // enum ip_family
	uint16_t port; // host order; 0 unless TCP or UDP
	uint8_t addr[16]; // network order; IPv4 in the first 4 bytes
};

/** A verdict is the ordinal of the permitting resource in the set, or one of these. */
enum acl_verdict {
	ACL_VERDICT_PROHIBITED = 0xffff, // answer administratively prohibited
	ACL_VERDICT_UNREACHABLE = 0xfffe, // Internet resource blocklist: answer network unreachable
};

struct acl_registry;
struct acl_set;

/**
 * One client's view of a set. Immutable once published; freed after an RCU grace period.
 *
 * A verdict of acl_classify_burst() knows nothing of expiry: until control publishes a policy without
 * it, an expired resource still wins the attribution. acl_policy_settle() says what is true then.
 */
struct acl_policy {
	const struct acl_set *set; // holds a reference
	uint32_t
		generation; // differs from every other policy the client had, not 0; flows remember it
	uint32_t n_resources; // of the set
	// By ordinal: the workers' time (ticks, control/base/clock.h) from which the resource is gone,
	// UINT64_MAX = never.
	uint64_t expires_tsc[];
};

/** @return a new registry, or NULL with errno. @p socket_id as in rte_malloc. */
struct acl_registry *acl_registry_create(int socket_id);
/** All sets must have been put. NULL is allowed. */
void acl_registry_destroy(struct acl_registry *registry);
/** @return the number of distinct sets alive. */
size_t acl_registry_size(const struct acl_registry *registry);

/**
 * Finds or compiles the set of @p resources (any order, duplicates allowed; none is a set that
 * prohibits everything).
 *
 * @param ordinals if not NULL, receives for each resource its ordinal in the set
 * @return a reference, or NULL with errno: EINVAL (inverted range, host bits, bad enum,
 *         DNS entry that is no full-length prefix, filters of an Internet resource), E2BIG
 *         (a limit above), ENOMEM. Nothing changes on error.
 */
const struct acl_set *acl_set_get(
	struct acl_registry *registry,
	const struct acl_resource *resources,
	size_t n_resources,
	uint16_t *ordinals);
/** Takes another reference. */
void acl_set_ref(const struct acl_set *set);
/** Drops a reference; the last one frees the set at once. NULL is allowed. */
void acl_set_put(struct acl_registry *registry, const struct acl_set *set);
/** @return how many ordinals the set has. */
uint32_t acl_set_size(const struct acl_set *set);

/**
 * Judges a burst. Worker safe: no allocation, no lock.
 *
 * @param sets one per key; NULL prohibits
 * @param verdicts receives an ordinal or an enum acl_verdict for each key
 * @param n at most 64
 */
void acl_classify_burst(
	const struct acl_set *const *sets,
	const struct acl_key *keys,
	uint16_t *verdicts,
	unsigned n);

/**
 * Takes expiry into account: @return @p verdict if its resource lasts at @p now, else the verdict of
 * the resources that do. That one walks the set, which is slower, but happens only until control has
 * published a policy without the expired one. Worker safe.
 */
uint16_t acl_policy_settle(
	const struct acl_policy *policy,
	const struct acl_key *key,
	uint16_t verdict,
	uint64_t now);
