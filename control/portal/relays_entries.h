// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include "control/path/relays.h"
#include "control/portal/types.h"

#include <assert.h>
#include <string.h>

/**
 * From the portal's lists of relays to those of control/path/relays.h. Apart from both, so that neither
 * knows the other. Borrows all texts.
 *
 * Thread-safety: pure.
 */

#define RELAYS_ENTRIES_MAX 32

static_assert(RELAYS_ID_SIZE == sizeof(struct uuid), "ids are passed on as they are");

/** Takes the TURN relays, at most RELAYS_ENTRIES_MAX. @return how many */
static inline size_t relays_entries_from(
	struct relays_entry out[RELAYS_ENTRIES_MAX],
	const struct portal_relay *relays,
	size_t n_relays)
{
	size_t n = 0;

	for (size_t i = 0; i < n_relays && n < RELAYS_ENTRIES_MAX; i++) {
		if (relays[i].type != PORTAL_RELAY_TURN)
			continue;
		out[n] = (struct relays_entry){
			.endpoint = relays[i].endpoint,
			.username = relays[i].username,
			.password = relays[i].password,
		};
		memcpy(out[n++].id, relays[i].id.bytes, RELAYS_ID_SIZE);
	}
	return n;
}

/** @return how many ids were taken, at most RELAYS_ENTRIES_MAX */
static inline size_t relays_entries_ids(
	uint8_t out[RELAYS_ENTRIES_MAX][RELAYS_ID_SIZE],
	const struct uuid *ids,
	size_t n_ids)
{
	size_t n = n_ids < RELAYS_ENTRIES_MAX ? n_ids : RELAYS_ENTRIES_MAX;

	for (size_t i = 0; i < n; i++)
		memcpy(out[i], ids[i].bytes, RELAYS_ID_SIZE);
	return n;
}
