// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include "acl/acl.h"

#include <stddef.h>
#include <stdint.h>

/**
 * Internal to acl/: the canonical form of a list of resources. Two lists mean the same set exactly
 * if their canonical forms have the same bytes.
 *
 * Filters of a resource are sorted and overlapping or adjacent ranges merged; resources are sorted
 * by (prefix length, id, the rest) and duplicates dropped. That order is the attribution order of
 * spec/datapath.md 2.2 from weakest to strongest, so the position is both ordinal and priority.
 *
 * Thread-safety: pure functions. No DPDK.
 */

struct acl_canon_resource {
	struct acl_resource resource; // filters point into the canon
	size_t input; // position in the caller's list, of one of the duplicates
};

struct acl_canon {
	struct acl_canon_resource *resources;
	size_t n_resources; // distinct
	size_t n_rules; // filters, and one for each resource without
	struct acl_filter *filters;
	uint16_t *ordinals; // by the caller's position
};

/** Fills @p canon. @return 0, -EINVAL, -E2BIG, -ENOMEM; after an error there is nothing to free. */
[[nodiscard]] int
acl_canon_init(struct acl_canon *canon, const struct acl_resource *resources, size_t n_resources);
void acl_canon_fini(struct acl_canon *canon);

enum {
	ACL_CANON_SPARE_BYTES = 12, // zeros behind the bytes: rte_jhash() reads whole words
};

/** @return the form as malloc'd bytes for comparison and hashing, or NULL with errno ENOMEM. */
uint8_t *acl_canon_bytes(const struct acl_canon *canon, size_t *size);
