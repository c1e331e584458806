// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "peers/portal/portal_priv.h"

#include <string.h>

void channel_gateway_joined(struct channel *ch, struct instant now)
{
	channel_push(ch, "init", view_gateway_init(ch, now.unix_s));
}

static bool forward_candidates(struct channel *ch, const char *event, json_t *payload)
{
	json_t *client_ids = json_object_get(payload, "client_ids");
	json_t *candidates = json_object_get(payload, "candidates");
	size_t i;
	json_t *id;

	if (!channel_is_text_array(client_ids) || !channel_is_text_array(candidates))
		return false;
	json_array_foreach(client_ids, i, id) {
		struct device *client = portal_device_find(ch->portal, json_string_value(id));

		if (client == NULL || client->is_gateway || client->channel == NULL)
			continue;
		channel_push(
			client->channel,
			event,
			json_pack(
				"{s:s, s:O}",
				"gateway_id",
				ch->device->stored->id.text,
				"candidates",
				candidates));
	}
	return true;
}

static bool answer(struct channel *ch, json_t *payload, json_t *ref)
{
	const char *opaque = json_string_value(json_object_get(payload, "ref"));

	if (opaque == NULL)
		return false;
	if (authorize_answer(ch, opaque))
		channel_reply_ok(ch, ref);
	else
		channel_reply_error(ch, "invalid_ref", ref);
	return true;
}

bool channel_gateway_event(
	struct channel *ch,
	const char *event,
	json_t *payload,
	json_t *ref,
	struct instant)
{
	const char *answer_event = ch->version == 1 ? "flow_authorized" : "authorization_created";

	if (strcmp(event, answer_event) == 0)
		return answer(ch, payload, ref);
	if (strcmp(event, "broadcast_ice_candidates") == 0)
		return forward_candidates(ch, "ice_candidates", payload);
	if (strcmp(event, "broadcast_invalidated_ice_candidates") == 0)
		return forward_candidates(ch, "invalidate_ice_candidates", payload);
	return false;
}
