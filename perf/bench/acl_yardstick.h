// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include "acl/acl.h"

#include <stddef.h>
#include <stdint.h>

/**
 * The rules of a policy set given to rte_acl, as a second opinion and as a yardstick for our own
 * tables: the bench `acl` compares time and memory, the differential unit test compares verdicts.
 *
 * One context per family; a rule's priority and userdata are its resource's ordinal + 1.
 *
 * Thread-safety: creating is one thread's; judging is anyone's. Ownership: the caller destroys.
 */

enum {
	YARDSTICK_BURST_MAX = 64,
};

struct acl_yardstick;

/**
 * @param resources no Internet resource among them
 * @param ordinals of the resources, as acl_set_get() gave them
 * @return a yardstick, or NULL if rte_acl cannot build it
 */
struct acl_yardstick *
acl_yardstick_create(const struct acl_resource *resources, size_t n, const uint16_t *ordinals);
/** NULL is allowed. */
void acl_yardstick_destroy(struct acl_yardstick *y);

/** As acl_classify_burst(): equal neighbours are judged in one rte_acl_classify(). */
void acl_yardstick_burst(
	const struct acl_yardstick *const *yardsticks,
	const struct acl_key *keys,
	uint16_t *verdicts,
	unsigned n);
