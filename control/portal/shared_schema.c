// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "control/portal/shared_schema.h"

#include <stdint.h>
#include <string.h>

static const char *const protocol_names[] = {"tcp", "udp", "icmp", NULL};
static const char *const resource_type_names[] = {"cidr", "dns", "internet", NULL};
static const char *const ip_stack_names[] = {"dual", "ipv4_only", "ipv6_only", NULL};
static const char *const relay_type_names[] = {"turn", "stun", NULL};

// filter

static const char *filter_check(void *object)
{
	const struct portal_filter *f = object;

	return f->port_first > f->port_last ? "port range is inverted" : NULL;
}

static const struct schema_field filter_port_fields[] = {
	{
		.name = "port_range_start",
		.type = SCHEMA_PORT,
		.flags = SCHEMA_OPTIONAL,
		.offset = offsetof(struct portal_filter, port_first),
	},
	{
		.name = "port_range_end",
		.type = SCHEMA_PORT,
		.flags = SCHEMA_OPTIONAL,
		.fallback = UINT16_MAX,
		.offset = offsetof(struct portal_filter, port_last),
	},
};

static const struct schema filter_ports = {
	SCHEMA_FIELDS(filter_port_fields),
	.check = filter_check};

static const struct schema *filter_next(const void *object)
{
	const struct portal_filter *f = object;

	return f->protocol == PORTAL_PROTOCOL_ICMP ? NULL : &filter_ports;
}

// Until the ports are read, and for ICMP for good, the range is everything.
static const char *filter_default(void *object)
{
	struct portal_filter *f = object;

	f->port_first = 0;
	f->port_last = UINT16_MAX;
	return NULL;
}

static const struct schema_field filter_fields[] = {
	{
		.name = "protocol",
		.type = SCHEMA_ENUM,
		.names = protocol_names,
		.offset = offsetof(struct portal_filter, protocol),
	},
};

static const struct schema filter = {
	SCHEMA_FIELDS(filter_fields),
	.size = sizeof(struct portal_filter),
	.next = filter_next,
	.check = filter_default,
};

static const struct schema_field filter_element = {.type = SCHEMA_OBJECT, .object = &filter};

// site

static const struct schema_field site_fields[] = {
	{.name = "id", .type = SCHEMA_UUID, .offset = offsetof(struct portal_site, id)},
	{
		.name = "name",
		.type = SCHEMA_STRING,
		.flags = SCHEMA_OPTIONAL,
		.offset = offsetof(struct portal_site, name),
	},
};

static const char *site_check(void *object)
{
	struct portal_site *s = object;

	if (s->name == NULL)
		s->name = "";
	return NULL;
}

static const struct schema site = {
	SCHEMA_FIELDS(site_fields),
	.size = sizeof(struct portal_site),
	.check = site_check,
};

static const struct schema_field site_element = {.type = SCHEMA_OBJECT, .object = &site};

// resource

#define RESOURCE_NAME(field_flags)                                                                 \
	{                                                                                          \
		.name = "name", .type = SCHEMA_STRING, .flags = (field_flags),                     \
		.offset = offsetof(struct portal_resource, name),                                  \
	}
#define RESOURCE_PREFIX                                                                            \
	{                                                                                          \
		.name = "address", .type = SCHEMA_PREFIX,                                          \
		.offset = offsetof(struct portal_resource, prefix),                                \
	}
#define RESOURCE_PATTERN                                                                           \
	{                                                                                          \
		.name = "address", .type = SCHEMA_STRING, .min = 1,                                \
		.offset = offsetof(struct portal_resource, pattern),                               \
	}
#define RESOURCE_FILTERS(field_flags)                                                              \
	{                                                                                          \
		.name = "filters", .type = SCHEMA_LIST, .flags = (field_flags),                    \
		.element = &filter_element, .element_size = sizeof(struct portal_filter),          \
		.max = PORTAL_FILTERS_MAX, .offset = offsetof(struct portal_resource, filters),    \
		.count_offset = offsetof(struct portal_resource, n_filters),                       \
	}
#define RESOURCE_SITES                                                                             \
	{                                                                                          \
		.name = "sites", .alias = "gateway_groups", .type = SCHEMA_LIST,                   \
		.element = &site_element, .element_size = sizeof(struct portal_site),              \
		.max = PORTAL_SITES_MAX, .offset = offsetof(struct portal_resource, sites),        \
		.count_offset = offsetof(struct portal_resource, n_sites),                         \
	}
#define RESOURCE_DESCRIPTION                                                                       \
	{                                                                                          \
		.name = "address_description", .type = SCHEMA_STRING, .flags = SCHEMA_OPTIONAL,    \
		.offset = offsetof(struct portal_resource, address_description),                   \
	}

static const struct schema_field resource_fields[] = {
	{.name = "id", .type = SCHEMA_UUID, .offset = offsetof(struct portal_resource, id)},
	{
		.name = "type",
		.type = SCHEMA_ENUM,
		.names = resource_type_names,
		.offset = offsetof(struct portal_resource, type),
	},
};

static const struct schema_field gateway_cidr_fields[] = {
	RESOURCE_NAME(0),
	RESOURCE_PREFIX,
	RESOURCE_FILTERS(0), // absent must not turn into "allow everything"
};
static const struct schema_field gateway_dns_fields[] = {
	RESOURCE_NAME(0),
	RESOURCE_PATTERN,
	RESOURCE_FILTERS(0),
};
static const struct schema_field gateway_internet_fields[] = {RESOURCE_NAME(SCHEMA_OPTIONAL)};

static const struct schema_field client_cidr_fields[] = {
	RESOURCE_NAME(0),
	RESOURCE_PREFIX,
	RESOURCE_FILTERS(SCHEMA_OPTIONAL),
	RESOURCE_SITES,
	RESOURCE_DESCRIPTION,
};
static const struct schema_field client_dns_fields[] = {
	RESOURCE_NAME(0),
	RESOURCE_PATTERN,
	RESOURCE_FILTERS(SCHEMA_OPTIONAL),
	RESOURCE_SITES,
	RESOURCE_DESCRIPTION,
	{
		.name = "ip_stack",
		.type = SCHEMA_ENUM,
		.flags = SCHEMA_OPTIONAL,
		.names = ip_stack_names,
		.offset = offsetof(struct portal_resource, ip_stack),
	},
};
static const struct schema_field client_internet_fields[] = {
	RESOURCE_NAME(SCHEMA_OPTIONAL),
	RESOURCE_SITES,
};

static const struct schema *resource_gateway_next(const void *object)
{
	static const struct schema by_type[] = {
		[PORTAL_RESOURCE_CIDR] = {SCHEMA_FIELDS(gateway_cidr_fields)},
		[PORTAL_RESOURCE_DNS] = {SCHEMA_FIELDS(gateway_dns_fields)},
		[PORTAL_RESOURCE_INTERNET] = {SCHEMA_FIELDS(gateway_internet_fields)},
	};
	const struct portal_resource *r = object;

	return &by_type[r->type];
}

static const struct schema *resource_client_next(const void *object)
{
	static const struct schema by_type[] = {
		[PORTAL_RESOURCE_CIDR] = {SCHEMA_FIELDS(client_cidr_fields)},
		[PORTAL_RESOURCE_DNS] = {SCHEMA_FIELDS(client_dns_fields)},
		[PORTAL_RESOURCE_INTERNET] = {SCHEMA_FIELDS(client_internet_fields)},
	};
	const struct portal_resource *r = object;

	return &by_type[r->type];
}

const struct schema shared_resource_gateway = {
	SCHEMA_FIELDS(resource_fields),
	.size = sizeof(struct portal_resource),
	.next = resource_gateway_next,
};

const struct schema shared_resource_client = {
	SCHEMA_FIELDS(resource_fields),
	.size = sizeof(struct portal_resource),
	.next = resource_client_next,
};

const struct schema_field shared_resource_client_element = {
	.type = SCHEMA_OBJECT,
	.object = &shared_resource_client,
};

// ICE credentials; the lengths are those of RFC 8839 section 5.4

static const struct schema_field ice_credentials_fields[] = {
	{
		.name = "username",
		.type = SCHEMA_STRING,
		.min = 4,
		.max = 256,
		.offset = offsetof(struct portal_ice_credentials, username),
	},
	{
		.name = "password",
		.type = SCHEMA_STRING,
		.min = 22,
		.max = 256,
		.offset = offsetof(struct portal_ice_credentials, password),
	},
};

const struct schema shared_ice_credentials = {
	SCHEMA_FIELDS(ice_credentials_fields),
	.size = sizeof(struct portal_ice_credentials),
};

// relay

static const struct schema_field relay_fields[] = {
	{.name = "id", .type = SCHEMA_UUID, .offset = offsetof(struct portal_relay, id)},
	{
		.name = "type",
		.type = SCHEMA_ENUM,
		.names = relay_type_names,
		.offset = offsetof(struct portal_relay, type),
	},
	{
		.name = "addr",
		.type = SCHEMA_ENDPOINT,
		.offset = offsetof(struct portal_relay, endpoint),
	},
};

static const struct schema_field relay_turn_fields[] = {
	{
		.name = "username",
		.type = SCHEMA_STRING,
		.min = 1,
		.max = 512, // RFC 8489 section 14.3: fewer than 509 bytes
		.offset = offsetof(struct portal_relay, username),
	},
	{
		.name = "password",
		.type = SCHEMA_STRING,
		.min = 1,
		.offset = offsetof(struct portal_relay, password),
	},
	{
		.name = "expires_at",
		.type = SCHEMA_INT,
		.offset = offsetof(struct portal_relay, expires_at),
	},
};

static const struct schema *relay_next(const void *object)
{
	static const struct schema turn = {SCHEMA_FIELDS(relay_turn_fields)};
	const struct portal_relay *r = object;

	return r->type == PORTAL_RELAY_TURN ? &turn : NULL;
}

const struct schema shared_relay = {
	SCHEMA_FIELDS(relay_fields),
	.size = sizeof(struct portal_relay),
	.next = relay_next,
};

const struct schema_field shared_relay_element = {.type = SCHEMA_OBJECT, .object = &shared_relay};

static const struct schema_field uuid_element = {.type = SCHEMA_UUID};

static const struct schema_field relays_presence_fields[] = {
	{
		.name = "disconnected_ids",
		.type = SCHEMA_LIST,
		.element = &uuid_element,
		.element_size = sizeof(struct uuid),
		.max = PORTAL_RELAYS_MAX,
		.offset = offsetof(struct portal_relays_presence, disconnected_ids),
		.count_offset = offsetof(struct portal_relays_presence, n_disconnected_ids),
	},
	{
		.name = "connected",
		.type = SCHEMA_LIST,
		.element = &shared_relay_element,
		.element_size = sizeof(struct portal_relay),
		.max = PORTAL_RELAYS_MAX,
		.offset = offsetof(struct portal_relays_presence, connected),
		.count_offset = offsetof(struct portal_relays_presence, n_connected),
	},
};

const struct schema shared_relays_presence = {
	SCHEMA_FIELDS(relays_presence_fields),
	.size = sizeof(struct portal_relays_presence),
};

// authorization

static const struct schema_field authorization_fields[] = {
	{
		.name = "client_id",
		.type = SCHEMA_UUID,
		.offset = offsetof(struct portal_authorization, client_id),
	},
	{
		.name = "resource_id",
		.type = SCHEMA_UUID,
		.offset = offsetof(struct portal_authorization, resource_id),
	},
	{
		.name = "expires_at",
		.type = SCHEMA_INT,
		.offset = offsetof(struct portal_authorization, expires_at),
	},
};

const struct schema shared_authorization = {
	SCHEMA_FIELDS(authorization_fields),
	.size = sizeof(struct portal_authorization),
};

const struct schema_field shared_authorization_element = {
	.type = SCHEMA_OBJECT,
	.object = &shared_authorization,
};

// interface

static const struct schema_field do53_fields[] = {{.name = "ip", .type = SCHEMA_IP}};
static const struct schema do53 = {SCHEMA_FIELDS(do53_fields), .size = sizeof(struct ip_addr)};
static const struct schema_field do53_element = {.type = SCHEMA_OBJECT, .object = &do53};

static const struct schema_field legacy_dns_fields[] = {
	{.name = "address", .type = SCHEMA_ENDPOINT_ADDR},
};
static const struct schema legacy_dns = {
	SCHEMA_FIELDS(legacy_dns_fields),
	.size = sizeof(struct ip_addr),
};
static const struct schema_field legacy_dns_element = {
	.type = SCHEMA_OBJECT,
	.object = &legacy_dns,
};

static const struct schema_field doh_fields[] = {{.name = "url", .type = SCHEMA_STRING, .min = 1}};
static const struct schema doh = {SCHEMA_FIELDS(doh_fields), .size = sizeof(const char *)};
static const struct schema_field doh_element = {.type = SCHEMA_OBJECT, .object = &doh};

static const struct schema_field interface_fields[] = {
	{.name = "ipv4", .type = SCHEMA_IPV4, .offset = offsetof(struct portal_interface, ipv4)},
	{.name = "ipv6", .type = SCHEMA_IPV6, .offset = offsetof(struct portal_interface, ipv6)},
	{
		.name = "search_domain",
		.type = SCHEMA_STRING,
		.flags = SCHEMA_OPTIONAL,
		.offset = offsetof(struct portal_interface, search_domain),
	},
	{
		.name = "upstream_do53",
		.type = SCHEMA_LIST,
		.flags = SCHEMA_OPTIONAL | SCHEMA_SKIP_BAD,
		.element = &do53_element,
		.element_size = sizeof(struct ip_addr),
		.max = PORTAL_RESOLVERS_MAX,
		.offset = offsetof(struct portal_interface, upstream_do53),
		.count_offset = offsetof(struct portal_interface, n_upstream_do53),
	},
	{
		.name = "upstream_dns",
		.type = SCHEMA_LIST,
		.flags = SCHEMA_OPTIONAL | SCHEMA_SKIP_BAD | SCHEMA_ELSE,
		.element = &legacy_dns_element,
		.element_size = sizeof(struct ip_addr),
		.max = PORTAL_RESOLVERS_MAX,
		.offset = offsetof(struct portal_interface, upstream_do53),
		.count_offset = offsetof(struct portal_interface, n_upstream_do53),
	},
	{
		.name = "upstream_doh",
		.type = SCHEMA_LIST,
		.flags = SCHEMA_OPTIONAL | SCHEMA_SKIP_BAD,
		.element = &doh_element,
		.element_size = sizeof(const char *),
		.max = PORTAL_RESOLVERS_MAX,
		.offset = offsetof(struct portal_interface, upstream_doh),
		.count_offset = offsetof(struct portal_interface, n_upstream_doh),
	},
};

const struct schema shared_interface = {
	SCHEMA_FIELDS(interface_fields),
	.size = sizeof(struct portal_interface),
};

// disconnect

static const struct schema_field disconnect_fields[] = {
	{.name = "reason", .type = SCHEMA_STRING},
};

const struct schema shared_disconnect = {
	SCHEMA_FIELDS(disconnect_fields),
	.size = sizeof(const char *),
};

// flow logs

static const struct schema_field flow_logs_fields[] = {
	{
		.name = "api_url",
		.type = SCHEMA_STRING,
		.offset = offsetof(struct portal_flow_logs, api_url),
	},
	{
		.name = "upload_interval_secs",
		.type = SCHEMA_INT,
		.max = INT64_MAX,
		.offset = offsetof(struct portal_flow_logs, upload_interval_secs),
	},
	{
		.name = "upload_batch_size",
		.type = SCHEMA_INT,
		.max = INT64_MAX,
		.offset = offsetof(struct portal_flow_logs, upload_batch_size),
	},
};

const struct schema shared_flow_logs = {
	SCHEMA_FIELDS(flow_logs_fields),
	.size = sizeof(struct portal_flow_logs),
};

// candidates

static const struct schema_field candidate_element = {.type = SCHEMA_CANDIDATE};

#define CANDIDATES(id_name)                                                                        \
	{                                                                                          \
		{                                                                                  \
			.name = (id_name),                                                         \
			.type = SCHEMA_UUID,                                                       \
			.offset = offsetof(struct portal_candidates, peer_id),                     \
		},                                                                                 \
			{                                                                          \
				.name = "candidates",                                              \
				.type = SCHEMA_LIST,                                               \
				.flags = SCHEMA_SKIP_BAD,                                          \
				.element = &candidate_element,                                     \
				.element_size = sizeof(const char *),                              \
				.max = PORTAL_CANDIDATES_MAX,                                      \
				.offset = offsetof(struct portal_candidates, lines),               \
				.count_offset = offsetof(struct portal_candidates, n_lines),       \
			},                                                                         \
	}

static const struct schema_field candidates_client_fields[] = CANDIDATES("client_id");
static const struct schema_field candidates_gateway_fields[] = CANDIDATES("gateway_id");

const struct schema shared_candidates_client = {
	SCHEMA_FIELDS(candidates_client_fields),
	.size = sizeof(struct portal_candidates),
};

const struct schema shared_candidates_gateway = {
	SCHEMA_FIELDS(candidates_gateway_fields),
	.size = sizeof(struct portal_candidates),
};

json_t *shared_uuids_build(const struct uuid *ids, size_t n)
{
	json_t *list = json_array();

	for (size_t i = 0; i < n; i++) {
		char text[UUID_TEXT_SIZE];

		if (json_array_append_new(list, json_string(uuid_format(&ids[i], text))) != 0) {
			json_decref(list);
			return NULL;
		}
	}
	return list;
}

static json_t *lines_build(const char *const *lines, size_t n)
{
	json_t *list = json_array();

	for (size_t i = 0; i < n; i++) {
		if (json_array_append_new(list, json_string(lines[i])) != 0) {
			json_decref(list);
			return NULL;
		}
	}
	return list;
}

json_t *shared_candidates_build(
	const char *key,
	bool is_list,
	const struct uuid *id,
	const char *const *lines,
	size_t n_lines)
{
	char text[UUID_TEXT_SIZE];
	json_t *id_value = is_list ? shared_uuids_build(id, 1) : json_string(uuid_format(id, text));

	// "o" steals the references, also when the pack fails.
	return json_pack("{s:o, s:o}", key, id_value, "candidates", lines_build(lines, n_lines));
}
