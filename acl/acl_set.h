// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include "acl/acl.h"
#include "acl/acl_canon.h"
#include "acl/acl_table.h"

#include <rte_common.h>

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

/**
 * Internal to acl/: what a set is made of. One allocation: the set, then what its tables point to.
 *
 * Thread-safety: as in acl.h; the first cache line is all that workers read of it.
 */

enum {
	ACL_CLASSIFY_MAX = 64, // keys in one acl_classify_burst()
};

struct acl_set {
	// control: write once; workers: ro
	struct acl_table v4, v6;
	uint16_t internet; // ordinal of the Internet resource, or ACL_VERDICT_PROHIBITED: none

	// control: write once; workers: ro, while an authorization has expired
	uint8_t *bytes __rte_cache_aligned; // the canonical form
	size_t bytes_size;
	uint32_t n_resources;

	// control: rw
	struct acl_set *next __rte_cache_aligned; // in its bucket
	uint32_t hash;
	uint32_t n_refs;
};

static_assert(offsetof(struct acl_set, internet) + 2 <= RTE_CACHE_LINE_SIZE, "one line to judge");
