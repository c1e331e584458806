// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include "control/path/relays.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/**
 * What the files of the relay set share among themselves; nobody else includes it. relays.c follows the
 * portal's lists and the allocations' ends, relays_use.c serves the connections.
 */

#define RELAYS_FAREWELLS_MAX 8

struct relay {
	uint32_t handle;
	uint8_t id[RELAYS_ID_SIZE];
	struct ip_endpoint remotes[2]; // IPv4, IPv6
	struct turn_allocation *allocation;
	bool was_suspended; // as told to the owner
};

struct relays {
	struct turn_config config; // without the relay's own fields
	char realm[TURN_TEXT_LEN_MAX + 1];
	char software[TURN_TEXT_LEN_MAX + 1];
	struct relay all[RELAYS_MAX];
	size_t n;
	uint32_t last_handle;
	struct ip_addr former[RELAYS_FORMER_MAX]; // a ring
	size_t next_former;
	struct relays_event *events;
	size_t n_events;
	size_t cap_events;
	size_t first_event;
	struct turn_transmit farewells[RELAYS_FAREWELLS_MAX]; // of relays that were removed
	size_t n_farewells, next_farewell;
};

/** Passes on all events and drops the relays that failed. */
void relays_settle(struct relays *relays, uint64_t now);
