// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include "acl/acl.h"
#include "acl/acl_canon.h"

#include <rte_acl.h>
#include <rte_common.h>

#include <stddef.h>
#include <stdint.h>

/**
 * Internal to acl/: what a set is made of, and the compiler from canonical resources to rte_acl.
 *
 * One rte_acl context per family that has rules. A rule's userdata is the resource's ordinal + 1
 * (0 is "no match"), its priority the same number. Only permitting rules exist.
 *
 * Thread-safety: as in acl.h; the first cache line is all that workers read.
 */

enum {
	ACL_CLASSIFY_MAX = 64, // keys in one acl_classify_burst()
};

struct acl_set {
	// control: write once; workers: ro
	struct rte_acl_ctx *v4, *v6; // NULL: no rules of the family
	uint16_t internet; // ordinal of the Internet resource, or ACL_VERDICT_PROHIBITED: none

	uint32_t n_resources;
	uint8_t *bytes; // the canonical form
	size_t bytes_size;

	// control: rw
	struct acl_set *next __rte_cache_aligned; // in its bucket
	uint32_t hash;
	uint32_t n_refs;
};

/** What rte_acl reads. Both families use the same layout; IPv4 has its address in addr[0]. */
struct acl_input {
	uint8_t class_;
	uint8_t pad[3];
	rte_be32_t addr[4];
	rte_be16_t port;
	uint16_t pad2;
};

/**
 * Compiles the rules of @p family into a context named @p name.
 * @param ctx receives the context, or NULL if the family has no rules
 * @return 0, -ENOMEM, -E2BIG (more than rte_acl can build)
 */
[[nodiscard]] int acl_compile(
	struct rte_acl_ctx **ctx,
	const struct acl_canon *canon,
	enum ip_family family,
	const char *name,
	int socket_id);
