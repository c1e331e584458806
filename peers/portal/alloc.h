// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include <stddef.h>

/**
 * Allocation for the portal's control state. Nothing here runs per packet and there is no useful
 * way for a portal to go on without memory, so these end the program with a message instead of
 * returning NULL.
 *
 * Ownership: the caller frees. Thread-safety: as malloc().
 */

/** Zeroed array of @p n elements of @p size bytes. */
[[gnu::returns_nonnull]] void *alloc_zero(size_t n, size_t size);
/** Resizes @p array (may be NULL) to @p n elements of @p size bytes. New elements are not zeroed. */
[[gnu::returns_nonnull]] void *alloc_resize(void *array, size_t n, size_t size);
/** Resizes @p array from @p n to n + 1 elements and zeroes the new one. */
[[gnu::returns_nonnull]] void *alloc_grow(void *array, size_t n, size_t size);
/** Copy of @p text; NULL stays NULL. */
char *alloc_text(const char *text);
/** Formats into a new string. */
[[gnu::format(printf, 1, 2), gnu::returns_nonnull]] char *alloc_format(const char *fmt, ...);
/** Ends the program when @p p is NULL, else returns it; for libraries that allocate. */
[[gnu::returns_nonnull]] void *alloc_check(void *p);
