// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/**
 * Identifiers as the wire carries them: UUIDs in lower-case hyphenated text. The portal compares
 * and prints them but never computes with them, so the text is the value.
 *
 * Thread-safety: pure functions, except ident_random() as its random source allows.
 */

/** A UUID in canonical text with its NUL; all zero bytes mean none. */
struct ident {
	char text[37];
};

/** Fills @p size random bytes at @p out; sodium's randombytes_buf() has this shape. */
typedef void (*random_fn)(void *out, size_t size);

/** Parses 8-4-4-4-12 hexadecimal digits of either case. @return 0, -EINVAL */
[[nodiscard]] int ident_parse(struct ident *out, const char *text);
bool ident_eq(const struct ident *a, const struct ident *b);
bool ident_is_set(const struct ident *id);

/**
 * Name-based UUID, version 5 (RFC 9562 5.5), in the namespace of @p account:
 *   uuid5(uuid5(NAMESPACE_URL, "sallyport:" account), kind ":" name)
 * so that any uuid tool can reproduce what the portal derived from a name.
 */
struct ident ident_derive(const char *account, const char *kind, const char *name);
/** Random UUID, version 4. */
struct ident ident_random(random_fn random);
