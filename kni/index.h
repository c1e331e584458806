// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/**
 * A hash index over an array of structs that begin with their key: open addressing, linear probing, at
 * most half full. A slot holds the item's number plus one, 0 is empty. Used by kni/fib.c alone; inline
 * because the workers' lookup consists of it.
 *
 * Thread-safety: readers may share an index that no longer changes.
 */

/** @return how many slots @p n items need: a power of two, at least 2 n. */
static inline uint32_t index_n_slots(size_t n)
{
	uint32_t n_slots = 4;

	while (n_slots < n * 2)
		n_slots *= 2;
	return n_slots;
}

/** Not keyed: the kernel bounds how many neighbours strangers can make (gc_thresh3). */
static inline uint32_t index_hash(const void *key, size_t size)
{
	const uint8_t *p = key;
	uint64_t h = size, word;

	for (; size >= sizeof(word); size -= sizeof(word), p += sizeof(word)) {
		memcpy(&word, p, sizeof(word));
		h = (h ^ word) * 0x9e3779b97f4a7c15u;
		h ^= h >> 32;
	}
	word = 0;
	memcpy(&word, p, size);
	h = (h ^ word) * 0x9e3779b97f4a7c15u;
	return (uint32_t)(h ^ h >> 32);
}

/** @return the slot of the item whose first @p key_size bytes equal @p key, or the empty one where it belongs. */
static inline uint32_t index_find(
	const uint32_t *slots,
	uint32_t mask,
	const void *items,
	size_t item_size,
	size_t key_size,
	const void *key)
{
	uint32_t i = index_hash(key, key_size) & mask;

	while (slots[i] != 0) {
		const char *item = (const char *)items + (slots[i] - 1) * item_size;

		if (memcmp(item, key, key_size) == 0)
			break;
		i = (i + 1) & mask;
	}
	return i;
}
