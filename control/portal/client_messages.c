// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "control/portal/client_messages.h"

#include "control/portal/message.h"
#include "control/portal/shared_schema.h"

#include <assert.h>

// In the order of enum client_failure.
static const char *const failure_names[] = {
	"not_found",
	"offline",
	"forbidden",
	"version_mismatch",
	"disabled",
	"ambiguous_address",
	"missing_address",
	"invalid_address",
	NULL,
};

static const struct schema_field init_fields[] = {
	{
		.name = "interface",
		.type = SCHEMA_OBJECT,
		.object = &shared_interface,
		.offset = offsetof(struct client_init, interface),
	},
	{
		.name = "resources",
		.type = SCHEMA_LIST,
		.flags = SCHEMA_OPTIONAL | SCHEMA_SKIP_BAD,
		.element = &shared_resource_client_element,
		.element_size = sizeof(struct portal_resource),
		.max = PORTAL_RESOURCES_MAX,
		.offset = offsetof(struct client_init, resources),
		.count_offset = offsetof(struct client_init, n_resources),
		.skipped_offset = offsetof(struct client_init, n_resources_skipped),
	},
	{
		.name = "relays",
		.type = SCHEMA_LIST,
		.flags = SCHEMA_OPTIONAL,
		.element = &shared_relay_element,
		.element_size = sizeof(struct portal_relay),
		.max = PORTAL_RELAYS_MAX,
		.offset = offsetof(struct client_init, relays),
		.count_offset = offsetof(struct client_init, n_relays),
	},
	{
		.name = "flow_logs",
		.type = SCHEMA_OBJECT,
		.flags = SCHEMA_OPTIONAL | SCHEMA_LENIENT,
		.object = &shared_flow_logs,
		.offset = offsetof(struct client_init, flow_logs),
	},
};

static const struct schema init_schema = {
	SCHEMA_FIELDS(init_fields),
	.size = sizeof(struct client_init),
};

static const struct schema_field config_changed_fields[] = {
	{.name = "interface", .type = SCHEMA_OBJECT, .object = &shared_interface},
};

static const struct schema config_changed_schema = {
	SCHEMA_FIELDS(config_changed_fields),
	.size = sizeof(struct portal_interface),
};

static const struct schema_field authorization_created_fields[] = {
	{
		.name = "resource_id",
		.type = SCHEMA_UUID,
		.offset = offsetof(struct client_authorization_created, resource_id),
	},
	{
		.name = "gateway_id",
		.type = SCHEMA_UUID,
		.offset = offsetof(struct client_authorization_created, gateway_id),
	},
	{
		.name = "site_id",
		.alias = "gateway_group_id",
		.type = SCHEMA_UUID,
		.offset = offsetof(struct client_authorization_created, site_id),
	},
	{
		.name = "gateway_public_key",
		.type = SCHEMA_KEY,
		.offset = offsetof(struct client_authorization_created, gateway_public_key),
	},
	{
		.name = "preshared_key",
		.type = SCHEMA_KEY,
		.offset = offsetof(struct client_authorization_created, preshared_key),
	},
	{
		.name = "gateway_ipv4",
		.type = SCHEMA_IPV4,
		.offset = offsetof(struct client_authorization_created, gateway_ipv4),
	},
	{
		.name = "gateway_ipv6",
		.type = SCHEMA_IPV6,
		.offset = offsetof(struct client_authorization_created, gateway_ipv6),
	},
	{
		.name = "client_ice_credentials",
		.type = SCHEMA_OBJECT,
		.object = &shared_ice_credentials,
		.offset = offsetof(struct client_authorization_created, client_ice),
	},
	{
		.name = "gateway_ice_credentials",
		.type = SCHEMA_OBJECT,
		.object = &shared_ice_credentials,
		.offset = offsetof(struct client_authorization_created, gateway_ice),
	},
	{
		.name = "use_iceless",
		.type = SCHEMA_BOOL,
		.flags = SCHEMA_OPTIONAL,
		.offset = offsetof(struct client_authorization_created, use_iceless),
	},
	{
		.name = "flow_logs_ingest_token",
		.type = SCHEMA_STRING,
		.max = PORTAL_REF_SIZE,
		.flags = SCHEMA_OPTIONAL | SCHEMA_LENIENT,
		.offset = offsetof(struct client_authorization_created, ingest_token),
	},
};

static const struct schema authorization_created_schema = {
	SCHEMA_FIELDS(authorization_created_fields),
	.size = sizeof(struct client_authorization_created),
};

static const struct schema_field text_element = {.type = SCHEMA_STRING};

static const struct schema_field authorization_failed_fields[] = {
	{
		.name = "resource_id",
		.type = SCHEMA_UUID,
		.offset = offsetof(struct client_authorization_failed, resource_id),
	},
	{
		.name = "reason",
		.type = SCHEMA_ENUM,
		.flags = SCHEMA_ENUM_OPEN,
		.names = failure_names,
		.fallback = CLIENT_FAILURE_UNKNOWN,
		.offset = offsetof(struct client_authorization_failed, reason),
	},
	{
		.name = "violated_properties",
		.type = SCHEMA_LIST,
		.flags = SCHEMA_OPTIONAL | SCHEMA_SKIP_BAD,
		.element = &text_element,
		.element_size = sizeof(const char *),
		.max = 64,
		.offset = offsetof(struct client_authorization_failed, violated_properties),
		.count_offset = offsetof(struct client_authorization_failed, n_violated_properties),
	},
};

static const struct schema authorization_failed_schema = {
	SCHEMA_FIELDS(authorization_failed_fields),
	.size = sizeof(struct client_authorization_failed),
};

#define KIND(name, type_of, member, schema_of)                                                     \
	MESSAGE_KIND(client_message, name, CLIENT_MESSAGE_##type_of, member, schema_of)
#define IGNORED(name) MESSAGE_KIND_IGNORED(name, CLIENT_MESSAGE_IGNORED)

static const struct message_kind kinds[] = {
	KIND("init", INIT, init, init_schema),
	KIND("resource_created_or_updated",
	     RESOURCE_CREATED_OR_UPDATED,
	     resource,
	     shared_resource_client),
	{
		.event = "resource_deleted",
		.type = CLIENT_MESSAGE_RESOURCE_DELETED,
		.root =
			{
				.type = SCHEMA_UUID, // the payload is the bare string
				.offset = offsetof(struct client_message, resource_deleted),
			},
	},
	KIND("config_changed", CONFIG_CHANGED, config_changed, config_changed_schema),
	KIND("authorization_created",
	     AUTHORIZATION_CREATED,
	     authorization_created,
	     authorization_created_schema),
	KIND("flow_created",
	     AUTHORIZATION_CREATED,
	     authorization_created,
	     authorization_created_schema),
	KIND("authorization_creation_failed",
	     AUTHORIZATION_CREATION_FAILED,
	     authorization_failed,
	     authorization_failed_schema),
	KIND("flow_creation_failed",
	     AUTHORIZATION_CREATION_FAILED,
	     authorization_failed,
	     authorization_failed_schema),
	KIND("ice_candidates", ICE_CANDIDATES, candidates, shared_candidates_gateway),
	KIND("gateway_ice_candidates", ICE_CANDIDATES, candidates, shared_candidates_gateway),
	KIND("invalidate_ice_candidates",
	     INVALIDATE_ICE_CANDIDATES,
	     candidates,
	     shared_candidates_gateway),
	KIND("invalidate_gateway_ice_candidates",
	     INVALIDATE_ICE_CANDIDATES,
	     candidates,
	     shared_candidates_gateway),
	KIND("relays_presence", RELAYS_PRESENCE, relays_presence, shared_relays_presence),
	KIND("disconnect", DISCONNECT, disconnect_reason, shared_disconnect),
	IGNORED("client_device_access_authorized"),
	IGNORED("client_device_access_denied"),
	IGNORED("client_ice_candidates"),
	IGNORED("invalidate_client_ice_candidates"),
	IGNORED("client_ice_candidate_error"),
	IGNORED("device_pool_domain_resolved"),
	IGNORED("device_pool_domain_resolution_failed"),
	IGNORED("resource_filters_updated"),
	IGNORED("reject_access"),
	IGNORED("access_authorization_expiry_updated"),
};

static_assert(sizeof(struct client_message) <= MESSAGE_SIZE_MAX, "room for parsing");
static const struct message_table table = MESSAGE_TABLE(client_message, kinds);

int client_message_parse(
	struct client_message *out,
	const char *event,
	const json_t *payload,
	struct portal_error *err)
{
	return message_parse(&table, out, event, payload, err);
}

void client_message_fini(struct client_message *m)
{
	message_fini(&table, m);
}

const char *client_failure_name(enum client_failure reason)
{
	return reason < CLIENT_FAILURE_UNKNOWN ? failure_names[reason] : "unknown";
}

struct portal_push client_push_request_authorization(
	enum portal_dialect dialect,
	const struct uuid *resource_id,
	const struct uuid *connected,
	size_t n_connected)
{
	char text[UUID_TEXT_SIZE];

	return (struct portal_push){
		.event = dialect == PORTAL_DIALECT_V2 ? "request_authorization" : "create_flow",
		.payload = json_pack(
			"{s:s, s:o}",
			"resource_id",
			uuid_format(resource_id, text),
			"connected_gateway_ids",
			shared_uuids_build(connected, n_connected)),
	};
}

struct portal_push client_push_ice_candidates(
	enum portal_dialect dialect,
	const struct uuid *gateway_id,
	const char *const *lines,
	size_t n_lines)
{
	bool is_v1 = dialect == PORTAL_DIALECT_V1;

	return (struct portal_push){
		.event = is_v1 ? "broadcast_ice_candidates" : "new_gateway_ice_candidates",
		.payload = shared_candidates_build(
			is_v1 ? "gateway_ids" : "gateway_id", is_v1, gateway_id, lines, n_lines),
	};
}

struct portal_push client_push_invalidated_ice_candidates(
	enum portal_dialect dialect,
	const struct uuid *gateway_id,
	const char *const *lines,
	size_t n_lines)
{
	bool is_v1 = dialect == PORTAL_DIALECT_V1;

	return (struct portal_push){
		.event = is_v1 ? "broadcast_invalidated_ice_candidates"
			       : "invalidate_gateway_ice_candidates",
		.payload = shared_candidates_build(
			is_v1 ? "gateway_ids" : "gateway_id", is_v1, gateway_id, lines, n_lines),
	};
}

struct portal_push client_push_no_relays(void)
{
	return (struct portal_push){.event = "no_relays", .payload = json_object()};
}
