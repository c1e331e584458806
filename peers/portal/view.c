// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "control/base/alloc.h"
#include "peers/portal/portal_priv.h"

#include <time.h>

void view_time(int64_t unix_s, char out[32])
{
	const time_t t = (time_t)unix_s;
	struct tm tm;

	gmtime_r(&t, &tm);
	strftime(out, 32, "%Y-%m-%dT%H:%M:%SZ", &tm);
}

// Uploads are off; peers demand the object all the same.
json_t *view_flow_logs(void)
{
	return alloc_check(json_pack(
		"{s:s, s:i, s:i}",
		"api_url",
		"https://flow-logs.invalid/",
		"upload_interval_secs",
		0,
		"upload_batch_size",
		1000));
}

static json_t *sites(const struct policy *policy, const struct policy_resource *r)
{
	const struct policy_site *site = &policy->sites[r->site];

	return json_pack("[{s:s, s:s}]", "id", site->id.text, "name", site->name);
}

// On the wire a single address is a CIDR of full length.
static const char *wire_type(const struct policy_resource *r)
{
	switch (r->type) {
	case POLICY_RESOURCE_DNS:
		return "dns";
	case POLICY_RESOURCE_INTERNET:
		return "internet";
	default:
		return "cidr";
	}
}

static json_t *resource_json(
	const struct policy *policy,
	const struct policy_resource *resource,
	const char *sites_key)
{
	json_t *json =
		json_pack("{s:s, s:s}", "id", resource->id.text, "type", wire_type(resource));

	alloc_check(json);
	if (resource->type == POLICY_RESOURCE_INTERNET) {
		json_object_set_new(json, "can_be_disabled", json_true());
	} else {
		json_object_set_new(json, "name", json_string(resource->name));
		json_object_set_new(json, "address", json_string(resource->address));
		json_object_set_new(
			json,
			"address_description",
			resource->description != NULL ? json_string(resource->description)
						      : json_null());
		if (resource->type == POLICY_RESOURCE_DNS)
			json_object_set_new(
				json,
				"ip_stack",
				json_string(
					resource->ip_stack != NULL ? resource->ip_stack : "dual"));
		json_object_set_new(json, "filters", filter_list_to_json(&resource->filters));
	}
	json_object_set_new(json, sites_key, alloc_check(sites(policy, resource)));
	return json;
}

json_t *view_client_resource(
	const struct policy *policy,
	const struct policy_resource *resource,
	const struct agent *client)
{
	return resource_json(
		policy, resource, agent_reads_sites(client) ? "sites" : "gateway_groups");
}

json_t *
view_client_resource_full(const struct policy *policy, const struct policy_resource *resource)
{
	json_t *json = resource_json(policy, resource, "sites");

	json_object_set_new(json, "name", json_string(resource->name));
	return json;
}

json_t *view_gateway_resource(const struct policy_resource *resource)
{
	if (resource->type == POLICY_RESOURCE_INTERNET)
		return alloc_check(
			json_pack("{s:s, s:s}", "id", resource->id.text, "type", "internet"));
	return alloc_check(json_pack(
		"{s:s, s:s, s:s, s:s, s:o}",
		"id",
		resource->id.text,
		"type",
		wire_type(resource),
		"name",
		resource->name,
		"address",
		resource->address,
		"filters",
		filter_list_to_json(&resource->filters)));
}

json_t *view_client_init(struct channel *ch, int64_t now)
{
	const struct policy *policy = ch->portal->policy;
	const struct policy_client *client = portal_client_of(ch->portal, ch->device);
	json_t *resources = alloc_check(json_array());

	for (size_t i = 0; client != NULL && i < policy->n_resources; i++) {
		const struct policy_resource *r = &policy->resources[i];

		if (policy_judge(policy, client, r, now, NULL, NULL) == POLICY_VERDICT_ALLOWED)
			json_array_append_new(
				resources, view_client_resource(policy, r, &ch->agent));
	}
	return json_pack(
		"{s:{s:s, s:s, s:n, s:[], s:[], s:[]}, s:o, s:o, s:[], s:o}",
		"interface",
		"ipv4",
		ch->device->stored->ipv4,
		"ipv6",
		ch->device->stored->ipv6,
		"search_domain",
		"upstream_do53",
		"upstream_doh",
		"upstream_dns",
		"resources",
		resources,
		"relays",
		relays_give(ch),
		"authorizations",
		"flow_logs",
		view_flow_logs());
}

struct gateway_authorizations {
	const struct ident *gateway_id;
	int64_t now;
	json_t *out;
};

static void add_authorizations(struct device *device, void *arg)
{
	struct gateway_authorizations *list = arg;
	struct authorization *a;

	LIST_FOREACH(a, &device->authorizations, of_client) {
		if (!ident_eq(&a->gateway_id, list->gateway_id) || a->expires_at <= list->now)
			continue;
		json_array_append_new(
			list->out,
			json_pack(
				"{s:s, s:s, s:I}",
				"client_id",
				device->stored->id.text,
				"resource_id",
				a->resource_id.text,
				"expires_at",
				(json_int_t)a->expires_at));
	}
}

json_t *view_gateway_init(struct channel *ch, int64_t now)
{
	struct gateway_authorizations list = {
		.gateway_id = &ch->device->stored->id,
		.now = now,
		.out = alloc_check(json_array()),
	};

	portal_device_walk(ch->portal, add_authorizations, &list);
	return json_pack(
		"{s:{s:s, s:s}, s:{s:b, s:b}, s:s, s:o, s:o, s:o}",
		"interface",
		"ipv4",
		ch->device->stored->ipv4,
		"ipv6",
		ch->device->stored->ipv6,
		"config",
		"ipv4_masquerade_enabled",
		1,
		"ipv6_masquerade_enabled",
		1,
		"account_slug",
		ch->portal->policy->account,
		"relays",
		relays_give(ch),
		"authorizations",
		list.out,
		"flow_logs",
		view_flow_logs());
}
