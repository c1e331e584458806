// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/**
 * A hash table of chained buckets, embedded in its elements: the caller hashes (with SipHash under a secret
 * key where strangers choose the keys), walks what has the same hash and compares. The buckets double as they
 * fill; when memory is short the chains grow instead, so that adding never fails.
 *
 *	for (struct hash_node *n = hash_map_first(&map, hash); n != NULL; n = hash_node_next(n))
 *
 * Ownership: owns its buckets, borrows the elements. Thread-safety: one owner.
 */

/** Zeroed: in no table. */
struct hash_node {
	struct hash_node *next;
	uint64_t hash;
	bool is_linked;
};

struct hash_map {
	struct hash_node **buckets;
	size_t n_buckets; // power of two
	size_t n_nodes;
};

/** @return 0, -ENOMEM */
[[nodiscard]] int hash_map_init(struct hash_map *map);
/** Frees the buckets; the elements stay as they are. A zeroed map is allowed. */
void hash_map_fini(struct hash_map *map);

/** Adds @p node, which is in no table. */
void hash_map_add(struct hash_map *map, struct hash_node *node, uint64_t hash);
/** Takes it out; one that is in no table is allowed. */
void hash_map_del(struct hash_map *map, struct hash_node *node);
/** @return the first element with this hash, or NULL */
struct hash_node *hash_map_first(const struct hash_map *map, uint64_t hash);
/** @return the next one with the same hash, or NULL */
struct hash_node *hash_node_next(const struct hash_node *node);
