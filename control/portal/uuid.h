// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include <stdbool.h>
#include <stdint.h>

/**
 * The 128-bit identifiers that the portal gives to gateways, clients, resources, relays and sites.
 *
 * Thread-safety: pure functions on values.
 */

struct uuid {
	uint8_t bytes[16]; // text order
};

/** "8-4-4-4-12" and a NUL. */
#define UUID_TEXT_SIZE 37

/** Parses the hyphenated form, either case; nothing else. @return 0, -EINVAL (@p out untouched) */
[[nodiscard]] int uuid_parse(struct uuid *out, const char *text);
/** Writes the lower-case hyphenated form and a NUL; returns @p buf. */
char *uuid_format(const struct uuid *u, char buf[UUID_TEXT_SIZE]);
bool uuid_eq(const struct uuid *a, const struct uuid *b);
/** Total order of the bytes. */
int uuid_cmp(const struct uuid *a, const struct uuid *b);
/** Whether @p text is a UUID in any usual writing: hyphenated, 32 digits, {braced}, urn:uuid:. */
bool uuid_is_any_form(const char *text);
/** A random version 4 UUID from 16 random bytes. */
struct uuid uuid_v4(const uint8_t random[16]);
