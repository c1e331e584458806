// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include <stddef.h>
#include <stdint.h>

/**
 * A binary heap of deadlines, embedded in its elements: the earliest is on top, moving one costs
 * O(log n), removing does too. Holds pointers; allocates only to grow.
 *
 * Ownership: borrows the elements. Thread-safety: one owner.
 */

struct heap_node {
	uint64_t deadline; // UINT64_MAX: not in the heap
	size_t index;
};

struct heap {
	struct heap_node **nodes;
	size_t n, cap;
};

/** Room for @p cap elements at once; heap_set() then never allocates. @return 0, -ENOMEM */
[[nodiscard]] int heap_init(struct heap *h, size_t cap);
void heap_fini(struct heap *h);
/** A node must start here. */
void heap_node_init(struct heap_node *node);
/** Puts, moves or (UINT64_MAX) removes @p node. */
void heap_set(struct heap *h, struct heap_node *node, uint64_t deadline);
/** @return the earliest, or NULL. */
struct heap_node *heap_top(const struct heap *h);
