// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "control/base/alloc.h"
#include "peers/portal/portal_priv.h"

struct status {
	struct portal *portal;
	const struct policy_client *client; // whose devices are listed
	json_t *devices;
	json_t *authorizations;
	int64_t now;
};

static json_t *connection(const struct device *device)
{
	const struct channel *ch = device->channel;

	if (ch == NULL)
		return json_null();
	return json_pack(
		"{s:i, s:s, s:s, s:s}",
		"channel",
		(int)ch->version,
		"version",
		ch->agent.version_text,
		"ip",
		ch->ip,
		"public_key",
		ch->public_key);
}

static json_t *gateway_json(struct portal *p, const struct policy_gateway *g)
{
	const struct device *device = portal_device_find(p, g->id.text);
	json_t *json = json_pack(
		"{s:s, s:s, s:s, s:b}",
		"id",
		g->id.text,
		"name",
		g->name,
		"site",
		p->policy->sites[g->site].name,
		"connected",
		device != NULL && device->channel != NULL);

	alloc_check(json);
	if (device != NULL) {
		json_object_set_new(json, "ipv4", json_string(device->stored->ipv4));
		json_object_set_new(json, "ipv6", json_string(device->stored->ipv6));
		json_object_set_new(json, "connection", connection(device));
	}
	return json;
}

static void add_device(struct device *device, void *arg)
{
	struct status *s = arg;

	if (device->is_gateway || !ident_eq(&device->owner, &s->client->id))
		return;
	json_array_append_new(
		s->devices,
		json_pack(
			"{s:s, s:s, s:s, s:b, s:s, s:s, s:o}",
			"id",
			device->stored->id.text,
			"external_id",
			device->stored->external_id,
			"name",
			device->name,
			"connected",
			device->channel != NULL,
			"ipv4",
			device->stored->ipv4,
			"ipv6",
			device->stored->ipv6,
			"connection",
			connection(device)));
}

static void add_authorization(struct device *device, void *arg)
{
	struct status *s = arg;
	struct portal *p = s->portal;
	const struct policy_client *owner = portal_client_of(p, device);
	struct authorization *a;

	LIST_FOREACH(a, &device->authorizations, of_client) {
		const struct policy_resource *r =
			policy_resource_find(p->policy, a->resource_id.text);
		const struct device *g = portal_device_find(p, a->gateway_id.text);

		if (a->expires_at <= s->now)
			continue;
		json_array_append_new(
			s->authorizations,
			json_pack(
				"{s:s, s:s, s:s, s:s, s:s, s:s, s:I}",
				"client",
				owner != NULL ? owner->name : "",
				"client_id",
				device->stored->id.text,
				"resource",
				r != NULL ? r->name : "",
				"resource_id",
				a->resource_id.text,
				"gateway",
				g != NULL ? g->name : "",
				"gateway_id",
				a->gateway_id.text,
				"expires_at",
				(json_int_t)a->expires_at));
	}
}

static json_t *addresses_json(const struct ip_endpoint *addresses, size_t n)
{
	json_t *list = alloc_check(json_array());
	char text[IP_TEXT_SIZE];

	for (size_t i = 0; i < n; i++)
		json_array_append_new(list, json_string(ip_endpoint_format(&addresses[i], text)));
	return list;
}

// Who is connected with this token.
static json_t *relay_json(const struct portal *p, const struct policy_relay *relay)
{
	json_t *list = alloc_check(json_array());
	const struct channel *ch;

	TAILQ_FOREACH(ch, &p->relays, relay_link) {
		if (!policy_token_eq(&ch->token, &relay->token))
			continue;
		json_array_append_new(
			list,
			json_pack(
				"{s:s, s:s, s:o, s:s, s:s}",
				"id",
				ch->relay->id.text,
				"name",
				ch->relay->name,
				"addresses",
				addresses_json(ch->relay->addresses, ch->relay->n_addresses),
				"version",
				ch->agent.version_text,
				"ip",
				ch->ip));
	}
	return json_pack("{s:s, s:o}", "name", relay->name, "connections", list);
}

static json_t *turn_json(const struct policy_turn *turn)
{
	return json_pack(
		"{s:s, s:o, s:s}",
		"id",
		turn->id.text,
		"addresses",
		addresses_json(turn->addresses, turn->n_addresses),
		"username",
		turn->username);
}

json_t *portal_status(struct portal *p, struct instant now)
{
	struct status s = {.portal = p, .now = now.unix_s, .authorizations = json_array()};
	json_t *gateways = alloc_check(json_array());
	json_t *clients = alloc_check(json_array());
	json_t *relays = alloc_check(json_array());
	json_t *turn = alloc_check(json_array());
	json_t *resources = alloc_check(json_array());

	portal_tick(p, now);
	for (size_t i = 0; i < p->policy->n_gateways; i++)
		json_array_append_new(gateways, gateway_json(p, &p->policy->gateways[i]));
	for (size_t i = 0; i < p->policy->n_clients; i++) {
		s.client = &p->policy->clients[i];
		s.devices = alloc_check(json_array());
		portal_device_walk(p, add_device, &s);
		json_array_append_new(
			clients,
			json_pack(
				"{s:s, s:s, s:o}",
				"id",
				s.client->id.text,
				"name",
				s.client->name,
				"devices",
				s.devices));
	}
	for (size_t i = 0; i < p->policy->n_relays; i++)
		json_array_append_new(relays, relay_json(p, &p->policy->relays[i]));
	for (size_t i = 0; i < p->policy->n_turn; i++)
		json_array_append_new(turn, turn_json(&p->policy->turn[i]));
	for (size_t i = 0; i < p->policy->n_resources; i++)
		json_array_append_new(
			resources, view_client_resource_full(p->policy, &p->policy->resources[i]));
	portal_device_walk(p, add_authorization, &s);
	return json_pack(
		"{s:s, s:o, s:o, s:o, s:o, s:o, s:o}",
		"account",
		p->policy->account,
		"gateways",
		gateways,
		"clients",
		clients,
		"relays",
		relays,
		"turn",
		turn,
		"resources",
		resources,
		"authorizations",
		s.authorizations);
}
