// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include "control/portal/schema.h"

/**
 * Tables of the values that gateway and client messages share. Internal to control/portal.
 *
 * Thread-safety: constants.
 */

extern const struct schema shared_authorization; // struct portal_authorization
extern const struct schema shared_candidates_client; // struct portal_candidates by client_id
extern const struct schema shared_candidates_gateway; // struct portal_candidates by gateway_id
extern const struct schema shared_disconnect; // const char *, the reason
extern const struct schema shared_flow_logs; // struct portal_flow_logs
extern const struct schema shared_ice_credentials; // struct portal_ice_credentials
extern const struct schema shared_interface; // struct portal_interface
extern const struct schema shared_relay; // struct portal_relay
extern const struct schema shared_relays_presence; // struct portal_relays_presence
extern const struct schema shared_resource_client; // struct portal_resource
extern const struct schema shared_resource_gateway; // struct portal_resource

/** Elements of lists. */
extern const struct schema_field shared_relay_element;
extern const struct schema_field shared_authorization_element;
extern const struct schema_field shared_resource_client_element;

/** A JSON array of UUID texts or NULL. */
json_t *shared_uuids_build(const struct uuid *ids, size_t n);
/** {"<key>": <id or [id]>, "candidates": [...]} or NULL. */
json_t *shared_candidates_build(
	const char *key,
	bool is_list,
	const struct uuid *id,
	const char *const *lines,
	size_t n_lines);
