// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include "peers/portal/ident.h"

#include <jansson.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/**
 * The authorizations that the store keeps, so that a portal that starts again still knows them: a
 * gateway lets go of everything that the portal does not list when it comes back.
 *
 * Ownership: the set owns copies. Thread-safety: one thread.
 */

/** Hexadecimal text of a digest of what an authorization rests on. */
#define GRANT_BASIS_SIZE 33

/** One client reaches one resource through one gateway; there is one of each such triple. */
struct grant {
	struct ident client_id; // device
	struct ident resource_id;
	struct ident gateway_id; // device
	struct ident owner_id; // of the client's device: policy_client.id
	struct ident rule_id;
	struct ident id;
	char basis[GRANT_BASIS_SIZE];
	int64_t expires_at; // Unix seconds
};

struct grants {
	void *by_triple; // tsearch tree of struct grant
	size_t n;
};

/** Adds, or puts it in the place of the one with the same triple. */
void grants_put(struct grants *set, const struct grant *g);
/** @return whether there was one with this triple */
bool grants_del(struct grants *set, const struct grant *triple);
/** Calls @p visit for each; it may not change the set. */
void grants_walk(const struct grants *set, void (*visit)(const struct grant *, void *), void *arg);
void grants_fini(struct grants *set);

/** @return owned: {"grant": ...} */
json_t *grant_line(const struct grant *g);
/** @return owned: {"end": ...}, the triple alone */
json_t *grant_end_line(const struct grant *g);
/** Applies a line that one of the two made. @return false: it is none */
bool grants_apply(struct grants *set, const json_t *line);
