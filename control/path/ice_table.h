// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include "control/base/addr.h"
#include "control/path/ice.h"

#include <stddef.h>
#include <stdint.h>

/**
 * Finds the agent that a STUN packet belongs to among thousands, without a scan: requests by their
 * whole USERNAME (ours:theirs, collisions told apart by MESSAGE-INTEGRITY), success responses by
 * transaction id. Both keys are chosen by strangers, so they are hashed with SipHash under a
 * secret key.
 *
 * Agents register themselves when their config names the table, keep their outstanding
 * transactions in it, and leave in ice_agent_destroy().
 *
 * Ownership: owns its buckets, never an agent. Thread-safety: none; one thread for the table and
 * all its agents.
 */

#define ICE_TABLE_KEY_SIZE 16

/** @param key random and secret. @return owned table, or NULL with errno ENOMEM */
struct ice_table *ice_table_create(const uint8_t key[ICE_TABLE_KEY_SIZE]);
/** Destroy all agents first. Accepts NULL. */
void ice_table_destroy(struct ice_table *table);

/**
 * Parses one datagram, finds its agent and feeds it.
 * @param agent set to the agent that took the packet: drain it and re-arm its timer; NULL if none
 */
enum ice_rx ice_table_handle_packet(
	struct ice_table *table,
	uint64_t now,
	const struct ip_endpoint *local,
	const struct ip_endpoint *remote,
	const void *data,
	size_t size,
	struct ice_agent **agent);

/** Registered agents. */
size_t ice_table_agent_count(const struct ice_table *table);
