// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "control/portal/gateway_messages.h"

#include "control/portal/message.h"
#include "control/portal/shared_schema.h"

#include <assert.h>

// init

static const struct schema_field init_fields[] = {
	{
		.name = "interface",
		.type = SCHEMA_OBJECT,
		.object = &shared_interface,
		.offset = offsetof(struct gateway_init, interface),
	},
	{
		.name = "account_slug",
		.type = SCHEMA_STRING,
		.flags = SCHEMA_OPTIONAL | SCHEMA_LENIENT,
		.offset = offsetof(struct gateway_init, account_slug),
	},
	{
		.name = "relays",
		.type = SCHEMA_LIST,
		.flags = SCHEMA_OPTIONAL,
		.element = &shared_relay_element,
		.element_size = sizeof(struct portal_relay),
		.max = PORTAL_RELAYS_MAX,
		.offset = offsetof(struct gateway_init, relays),
		.count_offset = offsetof(struct gateway_init, n_relays),
	},
	{
		.name = "authorizations",
		.type = SCHEMA_LIST,
		.flags = SCHEMA_OPTIONAL,
		.element = &shared_authorization_element,
		.element_size = sizeof(struct portal_authorization),
		.max = PORTAL_AUTHORIZATIONS_MAX,
		.offset = offsetof(struct gateway_init, authorizations),
		.count_offset = offsetof(struct gateway_init, n_authorizations),
	},
	{
		.name = "flow_logs",
		.type = SCHEMA_OBJECT,
		.flags = SCHEMA_OPTIONAL | SCHEMA_LENIENT,
		.object = &shared_flow_logs,
		.offset = offsetof(struct gateway_init, flow_logs),
	},
};

static const struct schema init_schema = {
	SCHEMA_FIELDS(init_fields),
	.size = sizeof(struct gateway_init),
};

// create_authorization

// Attribution for the flow log: never a reason to refuse an authorization.
#define ATTRIBUTE(owner, member)                                                                   \
	{                                                                                          \
		.name = #member, .type = SCHEMA_STRING, .flags = SCHEMA_OPTIONAL | SCHEMA_LENIENT, \
		.offset = offsetof(owner, member),                                                 \
	}

static const struct schema_field client_fields[] = {
	{.name = "id", .type = SCHEMA_UUID, .offset = offsetof(struct gateway_client, id)},
	{
		.name = "public_key",
		.type = SCHEMA_KEY,
		.offset = offsetof(struct gateway_client, public_key),
	},
	{
		.name = "preshared_key",
		.type = SCHEMA_KEY,
		.offset = offsetof(struct gateway_client, preshared_key),
	},
	{.name = "ipv4", .type = SCHEMA_IPV4, .offset = offsetof(struct gateway_client, ipv4)},
	{.name = "ipv6", .type = SCHEMA_IPV6, .offset = offsetof(struct gateway_client, ipv6)},
	ATTRIBUTE(struct gateway_client, version),
	ATTRIBUTE(struct gateway_client, device_os_name),
	ATTRIBUTE(struct gateway_client, device_os_version),
};

static const struct schema client_schema = {
	SCHEMA_FIELDS(client_fields),
	.size = sizeof(struct gateway_client),
};

static const struct schema_field subject_fields[] = {
	ATTRIBUTE(struct gateway_subject, actor_id),
	ATTRIBUTE(struct gateway_subject, actor_name),
	ATTRIBUTE(struct gateway_subject, actor_email),
};

static const struct schema subject_schema = {
	SCHEMA_FIELDS(subject_fields),
	.size = sizeof(struct gateway_subject),
};

static const struct schema_field create_authorization_fields[] = {
	{
		.name = "ref",
		.type = SCHEMA_STRING,
		.min = 1,
		.max = PORTAL_REF_SIZE,
		.offset = offsetof(struct gateway_create_authorization, ref),
	},
	{
		.name = "client",
		.type = SCHEMA_OBJECT,
		.object = &client_schema,
		.offset = offsetof(struct gateway_create_authorization, client),
	},
	{
		.name = "subject",
		.type = SCHEMA_OBJECT,
		.flags = SCHEMA_OPTIONAL | SCHEMA_LENIENT,
		.object = &subject_schema,
		.offset = offsetof(struct gateway_create_authorization, subject),
	},
	{
		.name = "resource",
		.type = SCHEMA_OBJECT,
		.object = &shared_resource_gateway,
		.offset = offsetof(struct gateway_create_authorization, resource),
	},
	{
		.name = "gateway_ice_credentials",
		.type = SCHEMA_OBJECT,
		.object = &shared_ice_credentials,
		.offset = offsetof(struct gateway_create_authorization, gateway_ice),
	},
	{
		.name = "client_ice_credentials",
		.type = SCHEMA_OBJECT,
		.object = &shared_ice_credentials,
		.offset = offsetof(struct gateway_create_authorization, client_ice),
	},
	{
		.name = "expires_at",
		.type = SCHEMA_INT,
		.flags = SCHEMA_OPTIONAL,
		.fallback = PORTAL_NEVER,
		.offset = offsetof(struct gateway_create_authorization, expires_at),
	},
	{
		.name = "use_iceless",
		.type = SCHEMA_BOOL,
		.flags = SCHEMA_OPTIONAL,
		.offset = offsetof(struct gateway_create_authorization, use_iceless),
	},
	{
		.name = "flow_logs_ingest_token",
		.type = SCHEMA_STRING,
		.max = PORTAL_REF_SIZE,
		.flags = SCHEMA_OPTIONAL | SCHEMA_LENIENT,
		.offset = offsetof(struct gateway_create_authorization, ingest_token),
	},
};

static const struct schema create_authorization_schema = {
	SCHEMA_FIELDS(create_authorization_fields),
	.size = sizeof(struct gateway_create_authorization),
};

// reject_access

static const struct schema_field reject_access_fields[] = {
	{
		.name = "client_id",
		.type = SCHEMA_UUID,
		.offset = offsetof(struct gateway_reject_access, client_id),
	},
	{
		.name = "resource_id",
		.type = SCHEMA_UUID,
		.offset = offsetof(struct gateway_reject_access, resource_id),
	},
};

static const struct schema reject_access_schema = {
	SCHEMA_FIELDS(reject_access_fields),
	.size = sizeof(struct gateway_reject_access),
};

#define KIND(name, type_of, member, schema_of)                                                     \
	MESSAGE_KIND(gateway_message, name, GATEWAY_MESSAGE_##type_of, member, schema_of)
#define IGNORED(name) MESSAGE_KIND_IGNORED(name, GATEWAY_MESSAGE_IGNORED)

static const struct message_kind kinds[] = {
	KIND("init", INIT, init, init_schema),
	KIND("create_authorization",
	     CREATE_AUTHORIZATION,
	     create_authorization,
	     create_authorization_schema),
	KIND("authorize_flow",
	     CREATE_AUTHORIZATION,
	     create_authorization,
	     create_authorization_schema),
	KIND("reject_access", REJECT_ACCESS, reject_access, reject_access_schema),
	KIND("resource_updated", RESOURCE_UPDATED, resource_updated, shared_resource_gateway),
	KIND("ice_candidates", ICE_CANDIDATES, candidates, shared_candidates_client),
	KIND("invalidate_ice_candidates",
	     INVALIDATE_ICE_CANDIDATES,
	     candidates,
	     shared_candidates_client),
	KIND("relays_presence", RELAYS_PRESENCE, relays_presence, shared_relays_presence),
	KIND("access_authorization_expiry_updated",
	     ACCESS_AUTHORIZATION_EXPIRY_UPDATED,
	     expiry_updated,
	     shared_authorization),
	KIND("disconnect", DISCONNECT, disconnect_reason, shared_disconnect),
	IGNORED("request_connection"),
	IGNORED("allow_access"),
};

static_assert(sizeof(struct gateway_message) <= MESSAGE_SIZE_MAX, "room for parsing");
static const struct message_table table = MESSAGE_TABLE(gateway_message, kinds);

int gateway_message_parse(
	struct gateway_message *out,
	const char *event,
	const json_t *payload,
	struct portal_error *err)
{
	return message_parse(&table, out, event, payload, err);
}

void gateway_message_fini(struct gateway_message *m)
{
	message_fini(&table, m);
}

struct portal_push gateway_push_authorization_created(enum portal_dialect dialect, const char *ref)
{
	return (struct portal_push){
		.event = dialect == PORTAL_DIALECT_V2 ? "authorization_created" : "flow_authorized",
		.payload = json_pack("{s:s}", "ref", ref),
	};
}

struct portal_push
gateway_push_ice_candidates(const struct uuid *client_id, const char *const *lines, size_t n_lines)
{
	return (struct portal_push){
		.event = "broadcast_ice_candidates",
		.payload = shared_candidates_build("client_ids", true, client_id, lines, n_lines),
	};
}

struct portal_push gateway_push_invalidated_ice_candidates(
	const struct uuid *client_id,
	const char *const *lines,
	size_t n_lines)
{
	return (struct portal_push){
		.event = "broadcast_invalidated_ice_candidates",
		.payload = shared_candidates_build("client_ids", true, client_id, lines, n_lines),
	};
}

struct portal_push gateway_push_no_relays(void)
{
	return (struct portal_push){.event = "no_relays", .payload = json_object()};
}
