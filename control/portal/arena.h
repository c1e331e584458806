// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include "control/portal/types.h"

#include <stddef.h>

/**
 * Memory that one parsed message points into: grows in chunks, freed and wiped as a whole, since it
 * holds passwords and tokens.
 *
 * Ownership: the message. Thread-safety: none.
 */

/** @return @p size zeroed bytes, aligned for any object, or NULL with errno ENOMEM */
void *portal_arena_alloc(struct portal_arena *a, size_t size);
/** Copies @p len bytes and adds a NUL. @return NULL with errno ENOMEM */
char *portal_arena_text(struct portal_arena *a, const char *text, size_t len);
/** Wipes and frees everything. */
void portal_arena_fini(struct portal_arena *a);
