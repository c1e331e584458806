// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "control/base/hash_map.h"

#include "control/base/err.h"

#include <stdlib.h>

#define BUCKETS_MIN 64 // power of two

int hash_map_init(struct hash_map *map)
{
	*map = (struct hash_map){.n_buckets = BUCKETS_MIN};
	map->buckets = calloc(BUCKETS_MIN, sizeof(map->buckets[0]));
	return map->buckets != NULL ? 0 : err_set(ENOMEM);
}

void hash_map_fini(struct hash_map *map)
{
	free(map->buckets);
	*map = (struct hash_map){0};
}

static void link_node(struct hash_map *map, struct hash_node *node)
{
	struct hash_node **bucket = &map->buckets[node->hash & (map->n_buckets - 1)];

	node->next = *bucket;
	*bucket = node;
}

static void grow(struct hash_map *map)
{
	struct hash_map bigger = {.n_buckets = map->n_buckets * 2, .n_nodes = map->n_nodes};

	bigger.buckets = calloc(bigger.n_buckets, sizeof(bigger.buckets[0]));
	if (bigger.buckets == NULL)
		return;
	for (size_t i = 0; i < map->n_buckets; i++) {
		while (map->buckets[i] != NULL) {
			struct hash_node *node = map->buckets[i];

			map->buckets[i] = node->next;
			link_node(&bigger, node);
		}
	}
	free(map->buckets);
	*map = bigger;
}

void hash_map_add(struct hash_map *map, struct hash_node *node, uint64_t hash)
{
	if (map->n_nodes >= map->n_buckets)
		grow(map);
	node->hash = hash;
	node->is_linked = true;
	link_node(map, node);
	map->n_nodes++;
}

void hash_map_del(struct hash_map *map, struct hash_node *node)
{
	struct hash_node **link;

	if (!node->is_linked)
		return;
	link = &map->buckets[node->hash & (map->n_buckets - 1)];
	while (*link != node)
		link = &(*link)->next;
	*link = node->next;
	node->is_linked = false;
	map->n_nodes--;
}

static struct hash_node *with_hash(struct hash_node *node, uint64_t hash)
{
	while (node != NULL && node->hash != hash)
		node = node->next;
	return node;
}

struct hash_node *hash_map_first(const struct hash_map *map, uint64_t hash)
{
	return with_hash(map->buckets[hash & (map->n_buckets - 1)], hash);
}

struct hash_node *hash_node_next(const struct hash_node *node)
{
	return with_hash(node->next, node->hash);
}
