// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "peers/portal/portal_priv.h"

#include <string.h>

void channel_client_joined(struct channel *ch, struct instant now)
{
	channel_push(ch, "init", view_client_init(ch, now.unix_s));
}

// Candidates go on as they are; a gateway that is not there gets nothing.
static void
forward(struct channel *ch, const char *event, const char *gateway_id, json_t *candidates)
{
	struct device *gateway = portal_device_find(ch->portal, gateway_id);

	if (gateway == NULL || !gateway->is_gateway || gateway->channel == NULL)
		return;
	channel_push(
		gateway->channel,
		event,
		json_pack(
			"{s:s, s:O}",
			"client_id",
			ch->device->stored->id.text,
			"candidates",
			candidates));
}

// {"gateway_id":..,"candidates":[..]} or, of older clients, {"gateway_ids":[..],"candidates":[..]}
static bool forward_candidates(struct channel *ch, const char *event, json_t *payload)
{
	const char *gateway_id = json_string_value(json_object_get(payload, "gateway_id"));
	json_t *gateway_ids = json_object_get(payload, "gateway_ids");
	json_t *candidates = json_object_get(payload, "candidates");
	size_t i;
	json_t *id;

	if (!channel_is_text_array(candidates))
		return false;
	if (gateway_id != NULL) {
		forward(ch, event, gateway_id, candidates);
		return true;
	}
	if (!channel_is_text_array(gateway_ids))
		return false;
	json_array_foreach(gateway_ids, i, id)
		forward(ch, event, json_string_value(id), candidates);
	return true;
}

static bool request(struct channel *ch, json_t *payload, struct instant now)
{
	const char *resource_id = json_string_value(json_object_get(payload, "resource_id"));
	const json_t *connected = json_object_get(payload, "connected_gateway_ids");
	struct ident id;

	if (resource_id == NULL || ident_parse(&id, resource_id) != 0)
		return false;
	if (connected != NULL && !json_is_null(connected) && !channel_is_text_array(connected))
		return false;
	authorize_request(ch, id.text, connected, now);
	return true;
}

bool channel_client_event(
	struct channel *ch,
	const char *event,
	json_t *payload,
	json_t *,
	struct instant now)
{
	const char *request_event = ch->version == 1 ? "create_flow" : "request_authorization";

	if (strcmp(event, request_event) == 0)
		return request(ch, payload, now);
	if (strcmp(event, "new_gateway_ice_candidates") == 0
	    || strcmp(event, "broadcast_ice_candidates") == 0)
		return forward_candidates(ch, "ice_candidates", payload);
	if (strcmp(event, "invalidate_gateway_ice_candidates") == 0
	    || strcmp(event, "broadcast_invalidated_ice_candidates") == 0)
		return forward_candidates(ch, "invalidate_ice_candidates", payload);
	// Announced by the protocol as doing nothing.
	return strcmp(event, "request_device_access") == 0;
}
