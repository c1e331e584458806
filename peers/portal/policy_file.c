// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "control/base/alloc.h"
#include "control/base/conf.h"
#include "control/base/err.h"
#include "peers/portal/policy.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define NAME_SIZE_MAX 255
#define TOKEN_SIZE_MAX 4096
#define FILE_SIZE_MAX (64 << 20)
#define COUNT_OF(table) (sizeof(table) / sizeof((table)[0]))

// One element of a section while its keys are read; the nodes are kept for checks across keys.
struct item {
	struct policy *policy;
	union {
		struct policy_site *site;
		struct policy_gateway *gateway;
		struct policy_client *client;
		struct policy_relay *relay;
		struct policy_turn *turn;
		struct policy_group *group;
		struct policy_resource *resource;
		struct policy_rule *rule;
	};
	const struct conf_node *id_node;
	const struct conf_node *address_node;
	const struct conf_node *filters_node;
	const struct conf_node *ip_stack_node;
	bool has_client;
	bool has_group;
};

// Appends a zeroed element and gives its address.
#define APPEND(array, n) ((array) = alloc_grow(array, n, sizeof(*(array))), &(array)[(n)++])

// Values shared by several sections.

static void
parse_id(struct conf *s, const struct conf_node *node, struct item *item, struct ident *id)
{
	const char *text = conf_text(s, node, NAME_SIZE_MAX);

	item->id_node = node;
	if (conf_error(s) == NULL && ident_parse(id, text) != 0)
		conf_fail(s, node, "\"%s\" is not a UUID", text);
}

static int64_t parse_time(struct conf *s, const struct conf_node *node)
{
	const char *text = conf_text(s, node, NAME_SIZE_MAX);
	struct tm tm = {};
	const char *end = strptime(text, "%Y-%m-%dT%H:%M:%SZ", &tm);

	if (conf_error(s) != NULL)
		return POLICY_NEVER;
	if (end == NULL || *end != '\0') {
		conf_fail(s, node, "\"%s\" is not a time like 2026-12-31T23:59:59Z", text);
		return POLICY_NEVER;
	}
	return timegm(&tm);
}

static size_t parse_site_ref(struct conf *s, const struct conf_node *node, const struct policy *p)
{
	const char *text = conf_text(s, node, NAME_SIZE_MAX);

	for (size_t i = 0; i < p->n_sites; i++) {
		if (strcmp(p->sites[i].name, text) == 0 || strcmp(p->sites[i].id.text, text) == 0)
			return i;
	}
	conf_fail(s, node, "there is no site \"%s\"", text);
	return 0;
}

static size_t parse_client_ref(struct conf *s, const struct conf_node *node, const struct policy *p)
{
	const char *text = conf_text(s, node, NAME_SIZE_MAX);
	const struct policy_client *c = policy_client_find(p, text);

	if (c == NULL)
		conf_fail(s, node, "there is no client \"%s\"", text);
	return c != NULL ? (size_t)(c - p->clients) : 0;
}

static void parse_token(
	struct conf *s,
	const struct conf_node *node,
	struct item *item,
	struct policy_token *out)
{
	const struct policy *p = item->policy;
	const char *text = conf_text(s, node, TOKEN_SIZE_MAX);

	if (conf_error(s) != NULL)
		return;
	for (const char *c = text; *c != '\0'; c++) {
		if (*c <= ' ' || *c > '~') {
			conf_fail(s, node, "a token is printable ASCII without spaces");
			return;
		}
	}
	if (policy_gateway_by_token(p, text) != NULL)
		conf_fail(s, node, "already the token of a gateway");
	else if (policy_client_by_token(p, text) != NULL)
		conf_fail(s, node, "already the token of a client");
	else if (policy_relay_by_token(p, text) != NULL)
		conf_fail(s, node, "already the token of a relay");
	*out = policy_token_make(text);
}

// Names and ids are unique within their section. The last element is the one being read.
static void parse_name(
	struct conf *s,
	const struct conf_node *node,
	char **out,
	const void *items,
	size_t n_items,
	size_t item_size,
	size_t name_offset)
{
	const char *text = conf_text(s, node, NAME_SIZE_MAX);
	struct ident id;

	if (conf_error(s) != NULL)
		return;
	if (ident_parse(&id, text) == 0)
		conf_fail(s, node, "a name that looks like an id is confusing");
	for (size_t i = 0; i + 1 < n_items; i++) {
		const void *slot = (const char *)items + i * item_size + name_offset;
		const char *other = *(char *const *)slot;

		if (strcmp(other, text) == 0)
			conf_fail(s, node, "\"%s\" is already defined", text);
	}
	*out = alloc_text(text);
}

static void finish_id(
	struct conf *s,
	const struct conf_node *node,
	struct item *item,
	struct ident *id,
	struct ident derived,
	const void *items,
	size_t n_items,
	size_t item_size)
{
	if (conf_error(s) != NULL)
		return;
	if (!ident_is_set(id))
		*id = derived;
	// The id is the first member of every section's struct.
	for (size_t i = 0; i + 1 < n_items; i++) {
		const struct ident *other = (const void *)((const char *)items + i * item_size);

		if (ident_eq(other, id))
			conf_fail(
				s,
				item->id_node != NULL ? item->id_node : node,
				"the id %s is already taken",
				id->text);
	}
}

#define PARSE_NAME(s, node, out, array, n)                                                         \
	parse_name(s, node, out, array, n, sizeof(*(array)), offsetof(typeof(*(array)), name))
#define FINISH_ID(s, node, item, id, kind, name, array, n)                                         \
	do {                                                                                       \
		if (conf_error(s) == NULL)                                                         \
			finish_id(                                                                 \
				s,                                                                 \
				node,                                                              \
				item,                                                              \
				id,                                                                \
				ident_derive((item)->policy->account, kind, name),                 \
				array,                                                             \
				n,                                                                 \
				sizeof(*(array)));                                                 \
	} while (0)

// sites

static void site_id(struct conf *s, const struct conf_node *node, void *out)
{
	struct item *item = out;

	parse_id(s, node, item, &item->site->id);
}

static void site_name(struct conf *s, const struct conf_node *node, void *out)
{
	struct item *item = out;

	PARSE_NAME(s, node, &item->site->name, item->policy->sites, item->policy->n_sites);
}

static void parse_site(struct conf *s, const struct conf_node *node, void *out)
{
	static const struct conf_field fields[] = {
		{"id", site_id, false},
		{"name", site_name, true},
	};
	struct policy *p = out;
	struct item item = {.policy = p};

	item.site = APPEND(p->sites, p->n_sites);
	conf_map(s, node, fields, COUNT_OF(fields), &item);
	FINISH_ID(s, node, &item, &item.site->id, "site", item.site->name, p->sites, p->n_sites);
}

// gateways

static void gateway_id(struct conf *s, const struct conf_node *node, void *out)
{
	struct item *item = out;

	parse_id(s, node, item, &item->gateway->id);
}

static void gateway_name(struct conf *s, const struct conf_node *node, void *out)
{
	struct item *item = out;

	PARSE_NAME(s, node, &item->gateway->name, item->policy->gateways, item->policy->n_gateways);
}

static void gateway_token(struct conf *s, const struct conf_node *node, void *out)
{
	struct item *item = out;

	parse_token(s, node, item, &item->gateway->token);
}

static void gateway_site(struct conf *s, const struct conf_node *node, void *out)
{
	struct item *item = out;

	item->gateway->site = parse_site_ref(s, node, item->policy);
}

static void parse_gateway(struct conf *s, const struct conf_node *node, void *out)
{
	static const struct conf_field fields[] = {
		{"id", gateway_id, false},
		{"name", gateway_name, true},
		{"token", gateway_token, true},
		{"site", gateway_site, true},
	};
	struct policy *p = out;
	struct item item = {.policy = p};

	item.gateway = APPEND(p->gateways, p->n_gateways);
	conf_map(s, node, fields, COUNT_OF(fields), &item);
	FINISH_ID(
		s,
		node,
		&item,
		&item.gateway->id,
		"gateway",
		item.gateway->name,
		p->gateways,
		p->n_gateways);
}

// clients

static void client_id(struct conf *s, const struct conf_node *node, void *out)
{
	struct item *item = out;

	parse_id(s, node, item, &item->client->id);
}

static void client_name(struct conf *s, const struct conf_node *node, void *out)
{
	struct item *item = out;

	PARSE_NAME(s, node, &item->client->name, item->policy->clients, item->policy->n_clients);
}

static void client_token(struct conf *s, const struct conf_node *node, void *out)
{
	struct item *item = out;

	parse_token(s, node, item, &item->client->token);
}

static void client_expires_at(struct conf *s, const struct conf_node *node, void *out)
{
	struct item *item = out;

	item->client->expires_at = parse_time(s, node);
}

static void parse_client(struct conf *s, const struct conf_node *node, void *out)
{
	static const struct conf_field fields[] = {
		{"id", client_id, false},
		{"name", client_name, true},
		{"token", client_token, true},
		{"expires_at", client_expires_at, false},
	};
	struct policy *p = out;
	struct item item = {.policy = p};

	item.client = APPEND(p->clients, p->n_clients);
	item.client->expires_at = POLICY_NEVER;
	conf_map(s, node, fields, COUNT_OF(fields), &item);
	FINISH_ID(
		s,
		node,
		&item,
		&item.client->id,
		"client",
		item.client->name,
		p->clients,
		p->n_clients);
}

// relays

static void relay_name(struct conf *s, const struct conf_node *node, void *out)
{
	struct item *item = out;

	PARSE_NAME(s, node, &item->relay->name, item->policy->relays, item->policy->n_relays);
}

static void relay_token(struct conf *s, const struct conf_node *node, void *out)
{
	struct item *item = out;

	parse_token(s, node, item, &item->relay->token);
}

static void parse_relay(struct conf *s, const struct conf_node *node, void *out)
{
	static const struct conf_field fields[] = {
		{"name", relay_name, true},
		{"token", relay_token, true},
	};
	struct policy *p = out;
	struct item item = {.policy = p};

	item.relay = APPEND(p->relays, p->n_relays);
	conf_map(s, node, fields, COUNT_OF(fields), &item);
}

// turn

static void turn_one_address(struct conf *s, const struct conf_node *node, void *out)
{
	struct item *item = out;
	struct policy_turn *t = item->turn;
	const char *text = conf_text(s, node, IP_TEXT_SIZE);
	struct ip_endpoint endpoint;

	if (conf_error(s) != NULL)
		return;
	if (ip_endpoint_parse(&endpoint, text) != 0 || endpoint.port == 0)
		conf_fail(s, node, "\"%s\": expected address:port, like 192.0.2.1:3478", text);
	else if (t->n_addresses > 0 && t->addresses[0].addr.family == endpoint.addr.family)
		conf_fail(s, node, "\"%s\": one address per family", text);
	else
		t->addresses[t->n_addresses++] = endpoint;
}

static void turn_address(struct conf *s, const struct conf_node *node, void *out)
{
	struct item *item = out;

	conf_one_or_list(s, node, turn_one_address, out);
	if (item->turn->n_addresses == 0)
		conf_fail(s, node, "the list of addresses is empty");
}

static void turn_username(struct conf *s, const struct conf_node *node, void *out)
{
	struct item *item = out;

	item->turn->username = alloc_text(conf_text(s, node, NAME_SIZE_MAX));
}

static void turn_password(struct conf *s, const struct conf_node *node, void *out)
{
	struct item *item = out;

	item->turn->password = alloc_text(conf_text(s, node, NAME_SIZE_MAX));
}

static struct ident turn_ident(const struct policy *p, const struct policy_turn *t)
{
	char first[IP_TEXT_SIZE];
	char second[IP_TEXT_SIZE] = "";
	struct ident id;
	char *text;

	ip_endpoint_format(&t->addresses[0], first);
	if (t->n_addresses > 1)
		ip_endpoint_format(&t->addresses[1], second);
	text = alloc_format("%s %s %s %s", first, second, t->username, t->password);
	id = ident_derive(p->account, "turn", text);
	free(text);
	return id;
}

static void parse_turn(struct conf *s, const struct conf_node *node, void *out)
{
	static const struct conf_field fields[] = {
		{"address", turn_address, true},
		{"username", turn_username, true},
		{"password", turn_password, true},
	};
	struct policy *p = out;
	struct item item = {.policy = p};

	item.turn = APPEND(p->turn, p->n_turn);
	conf_map(s, node, fields, COUNT_OF(fields), &item);
	if (conf_error(s) != NULL)
		return;
	item.turn->id = turn_ident(p, item.turn);
	for (size_t i = 0; i + 1 < p->n_turn; i++) {
		if (ident_eq(&p->turn[i].id, &item.turn->id))
			conf_fail(s, node, "listed twice");
	}
}

// groups

static void group_name(struct conf *s, const struct conf_node *node, void *out)
{
	struct item *item = out;

	PARSE_NAME(s, node, &item->group->name, item->policy->groups, item->policy->n_groups);
}

static void group_member(struct conf *s, const struct conf_node *node, void *out)
{
	struct item *item = out;
	const size_t client = parse_client_ref(s, node, item->policy);

	if (conf_error(s) == NULL)
		item->group->is_member[client] = true;
}

static void group_members(struct conf *s, const struct conf_node *node, void *out)
{
	conf_one_or_list(s, node, group_member, out);
}

static void parse_group(struct conf *s, const struct conf_node *node, void *out)
{
	static const struct conf_field fields[] = {
		{"name", group_name, true},
		{"members", group_members, true},
	};
	struct policy *p = out;
	struct item item = {.policy = p};

	item.group = APPEND(p->groups, p->n_groups);
	item.group->is_member = alloc_zero(p->n_clients, sizeof(bool));
	conf_map(s, node, fields, COUNT_OF(fields), &item);
}

// resources

static const struct {
	const char *name;
	enum policy_resource_type type;
} resource_types[] = {
	{"cidr", POLICY_RESOURCE_CIDR},
	{"ip", POLICY_RESOURCE_IP},
	{"dns", POLICY_RESOURCE_DNS},
	{"internet", POLICY_RESOURCE_INTERNET},
};

static void resource_id(struct conf *s, const struct conf_node *node, void *out)
{
	struct item *item = out;

	parse_id(s, node, item, &item->resource->id);
}

static void resource_name(struct conf *s, const struct conf_node *node, void *out)
{
	struct item *item = out;

	PARSE_NAME(
		s, node, &item->resource->name, item->policy->resources, item->policy->n_resources);
}

static void resource_type(struct conf *s, const struct conf_node *node, void *out)
{
	struct item *item = out;
	const char *text = conf_text(s, node, NAME_SIZE_MAX);

	for (size_t i = 0; i < COUNT_OF(resource_types); i++) {
		if (strcmp(resource_types[i].name, text) == 0) {
			item->resource->type = resource_types[i].type;
			return;
		}
	}
	conf_fail(s, node, "\"%s\": expected cidr, ip, dns or internet", text);
}

static void check_reserved(struct conf *s, const struct conf_node *node, const struct ip_prefix *p)
{
	static const struct {
		const char *prefix;
		const char *what;
	} reserved[] = {
		{"100.64.0.0/10", "the tunnel addresses 100.64.0.0/10"},
		{"fd00:2021:1111::/48", "the tunnel addresses fd00:2021:1111::/48"},
		{"127.0.0.0/8", "loopback"},
		{"::1/128", "loopback"},
	};

	if (p->len == 0) {
		conf_fail(s, node, "covers every address; use type: internet");
		return;
	}
	for (size_t i = 0; i < COUNT_OF(reserved); i++) {
		struct ip_prefix r;

		if (ip_prefix_parse(&r, reserved[i].prefix) != 0)
			abort();
		if (ip_prefix_contains(&r, &p->addr) || ip_prefix_contains(p, &r.addr))
			conf_fail(s, node, "overlaps %s", reserved[i].what);
	}
}

static void
check_cidr(struct conf *s, const struct conf_node *node, struct policy_resource *r, bool is_host)
{
	struct ip_prefix prefix;
	struct ip_addr addr;
	char text[IP_TEXT_SIZE];
	const size_t addr_size = strcspn(r->address, "/");

	if (addr_size < sizeof(text)) {
		memcpy(text, r->address, addr_size);
		text[addr_size] = '\0';
	}
	if (addr_size >= sizeof(text) || ip_addr_parse(&addr, text) != 0) {
		conf_fail(s, node, "\"%s\" is not an IPv4 or IPv6 address", r->address);
		return;
	}
	if (is_host && r->address[addr_size] != '\0') {
		conf_fail(s, node, "type ip is a single address; use type: cidr for a prefix");
		return;
	}
	if (ip_prefix_parse(&prefix, r->address) != 0) {
		const char *len = r->address + addr_size + 1;
		const unsigned long max = ip_addr_size(&addr) * 8;
		const bool is_len = len[0] != '\0' && strlen(len) <= 3
			&& len[strspn(len, "0123456789")] == '\0' && strtoul(len, NULL, 10) <= max;

		conf_fail(
			s,
			node,
			is_len ? "\"%s\" has host bits set" : "\"%s\" has a bad prefix length",
			r->address);
		return;
	}
	check_reserved(s, node, &prefix);
	free(r->address);
	r->address = alloc_text(ip_prefix_format(&prefix, text));
}

static void check_dns(struct conf *s, const struct conf_node *node, const char *pattern)
{
	static const char label[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_*?.";
	const char *last = strrchr(pattern, '.');
	const size_t size = strlen(pattern);

	last = last != NULL ? last + 1 : pattern;
	if (size > 253 || pattern[0] == '.' || *last == '\0' || strstr(pattern, "..") != NULL
	    || pattern[strspn(pattern, label)] != '\0')
		conf_fail(s, node, "\"%s\" is not a DNS name or pattern", pattern);
	else if (strpbrk(last, "*?") != NULL)
		conf_fail(s, node, "\"%s\": no wildcard in the last label", pattern);
}

static void resource_address(struct conf *s, const struct conf_node *node, void *out)
{
	struct item *item = out;

	item->address_node = node;
	item->resource->address = alloc_text(conf_text(s, node, NAME_SIZE_MAX));
}

static void resource_description(struct conf *s, const struct conf_node *node, void *out)
{
	struct item *item = out;

	item->resource->description = alloc_text(conf_text(s, node, NAME_SIZE_MAX));
}

static void resource_ip_stack(struct conf *s, const struct conf_node *node, void *out)
{
	struct item *item = out;
	const char *text = conf_text(s, node, NAME_SIZE_MAX);

	item->ip_stack_node = node;
	if (strcmp(text, "dual") != 0 && strcmp(text, "ipv4_only") != 0
	    && strcmp(text, "ipv6_only") != 0)
		conf_fail(s, node, "\"%s\": expected dual, ipv4_only or ipv6_only", text);
	item->resource->ip_stack = alloc_text(text);
}

static void resource_site(struct conf *s, const struct conf_node *node, void *out)
{
	struct item *item = out;

	item->resource->site = parse_site_ref(s, node, item->policy);
}

// What the elements of a port list need: where filters go and which protocol they are of.
struct port_list {
	struct filter_list *filters;
	enum filter_protocol protocol;
};

static void filter_ports(struct conf *s, const struct conf_node *node, void *out)
{
	struct port_list *list = out;
	struct filter f = {.protocol = list->protocol};
	const char *text = conf_text(s, node, NAME_SIZE_MAX);
	const char *what;

	if (conf_error(s) != NULL)
		return;
	what = filter_ports_parse(&f, text);
	if (what != NULL)
		conf_fail(s, node, "\"%s\": %s", text, what);
	else
		filter_list_add(list->filters, f);
}

// "tcp" alone, or "tcp: 80", "tcp: [80, 5000-5010]".
static void resource_filter(struct conf *s, const struct conf_node *node, void *out)
{
	struct item *item = out;
	struct port_list list = {.filters = &item->resource->filters};
	const struct conf_node *ports = NULL;
	const char *protocol;

	if (conf_is_text(node)) {
		protocol = conf_text(s, node, NAME_SIZE_MAX);
	} else if (!conf_single(s, node, &protocol, &ports)) {
		conf_fail(s, node, "expected tcp, udp or icmp, or like tcp: [80, 5000-5010]");
		return;
	}
	if (filter_protocol_parse(&list.protocol, protocol) != 0) {
		conf_fail(s, node, "\"%s\": expected tcp, udp or icmp", protocol);
	} else if (ports == NULL) {
		const bool has_ports = list.protocol != FILTER_PROTOCOL_ICMP;

		filter_list_add(
			list.filters,
			(struct filter){list.protocol, 0, has_ports ? UINT16_MAX : 0});
	} else if (list.protocol == FILTER_PROTOCOL_ICMP) {
		conf_fail(s, node, "icmp has no ports");
	} else {
		const size_t before = list.filters->n_items;

		conf_one_or_list(s, ports, filter_ports, &list);
		if (list.filters->n_items == before)
			conf_fail(s, node, "%s: the list of ports is empty", protocol);
	}
}

static void resource_filters(struct conf *s, const struct conf_node *node, void *out)
{
	struct item *item = out;

	item->filters_node = node;
	conf_list(s, node, resource_filter, out);
}

static void check_resource(struct conf *s, const struct conf_node *node, struct item *item)
{
	struct policy_resource *r = item->resource;
	const struct conf_node *at = item->address_node;

	if (conf_error(s) != NULL)
		return;
	if (r->type == POLICY_RESOURCE_INTERNET) {
		if (at != NULL)
			conf_fail_key(s, at, "address", "type internet has none");
		if (item->filters_node != NULL)
			conf_fail_key(s, item->filters_node, "filters", "type internet has none");
	} else if (at == NULL) {
		conf_fail_key(s, node, "address", "missing");
	}
	if (item->ip_stack_node != NULL && r->type != POLICY_RESOURCE_DNS)
		conf_fail_key(s, item->ip_stack_node, "ip_stack", "only for type dns");
}

// Knows the type by now, which stands before it in the table of keys.
static void resource_checked_address(struct conf *s, const struct conf_node *node, void *out)
{
	struct item *item = out;
	struct policy_resource *r = item->resource;

	resource_address(s, node, out);
	if (conf_error(s) != NULL)
		return;
	if (r->type == POLICY_RESOURCE_CIDR || r->type == POLICY_RESOURCE_IP)
		check_cidr(s, node, r, r->type == POLICY_RESOURCE_IP);
	else if (r->type == POLICY_RESOURCE_DNS)
		check_dns(s, node, r->address);
}

static void parse_resource(struct conf *s, const struct conf_node *node, void *out)
{
	static const struct conf_field fields[] = {
		{"id", resource_id, false},
		{"name", resource_name, true},
		{"type", resource_type, true},
		{"address", resource_checked_address, false},
		{"description", resource_description, false},
		{"ip_stack", resource_ip_stack, false},
		{"site", resource_site, true},
		{"filters", resource_filters, false},
	};
	struct policy *p = out;
	struct item item = {.policy = p};

	item.resource = APPEND(p->resources, p->n_resources);
	conf_map(s, node, fields, COUNT_OF(fields), &item);
	check_resource(s, node, &item);
	FINISH_ID(
		s,
		node,
		&item,
		&item.resource->id,
		"resource",
		item.resource->name,
		p->resources,
		p->n_resources);
}

// policies

static void rule_id(struct conf *s, const struct conf_node *node, void *out)
{
	struct item *item = out;

	parse_id(s, node, item, &item->rule->id);
}

static void rule_client(struct conf *s, const struct conf_node *node, void *out)
{
	struct item *item = out;

	item->rule->subject = parse_client_ref(s, node, item->policy);
	item->has_client = true;
}

static void rule_group(struct conf *s, const struct conf_node *node, void *out)
{
	struct item *item = out;
	const struct policy *p = item->policy;
	const char *text = conf_text(s, node, NAME_SIZE_MAX);

	item->has_group = true;
	item->rule->is_group = true;
	for (size_t i = 0; i < p->n_groups; i++) {
		if (strcmp(p->groups[i].name, text) == 0) {
			item->rule->subject = i;
			return;
		}
	}
	conf_fail(s, node, "there is no group \"%s\"", text);
}

static void rule_resource(struct conf *s, const struct conf_node *node, void *out)
{
	struct item *item = out;
	const struct policy *p = item->policy;
	const char *text = conf_text(s, node, NAME_SIZE_MAX);
	const struct policy_resource *r = policy_resource_find(p, text);

	if (r == NULL)
		conf_fail(s, node, "there is no resource \"%s\"", text);
	else
		item->rule->resource = (size_t)(r - p->resources);
}

static void rule_lifetime(struct conf *s, const struct conf_node *node, void *out)
{
	struct item *item = out;

	item->rule->lifetime_s = (int64_t)conf_number(s, node, 1, INT_MAX);
}

static void rule_expires_at(struct conf *s, const struct conf_node *node, void *out)
{
	struct item *item = out;

	item->rule->expires_at = parse_time(s, node);
}

static void parse_rule(struct conf *s, const struct conf_node *node, void *out)
{
	static const struct conf_field fields[] = {
		{"id", rule_id, false},
		{"client", rule_client, false},
		{"group", rule_group, false},
		{"resource", rule_resource, true},
		{"lifetime", rule_lifetime, false},
		{"expires_at", rule_expires_at, false},
	};
	struct policy *p = out;
	struct item item = {.policy = p};

	item.rule = APPEND(p->rules, p->n_rules);
	item.rule->lifetime_s = POLICY_NEVER;
	item.rule->expires_at = POLICY_NEVER;
	conf_map(s, node, fields, COUNT_OF(fields), &item);
	if (conf_error(s) != NULL)
		return;
	if (item.has_client == item.has_group) {
		conf_fail(s, node, "expected either client or group");
		return;
	}
	finish_id(
		s,
		node,
		&item,
		&item.rule->id,
		policy_rule_ident(p, item.rule),
		p->rules,
		p->n_rules,
		sizeof(*p->rules));
}

// top level

static void top_account(struct conf *s, const struct conf_node *node, void *out)
{
	struct policy *p = out;
	const char *text = conf_text(s, node, 64);

	if (text[strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789_-")] != '\0')
		conf_fail(s, node, "\"%s\": expected lower-case letters, digits, - and _", text);
	p->account = alloc_text(text);
}

static void listen_address(struct conf *s, const struct conf_node *node, void *out)
{
	struct policy *p = out;
	const char *text = conf_text(s, node, IP_TEXT_SIZE);
	struct ip_endpoint endpoint;
	char **slot;

	if (conf_error(s) != NULL)
		return;
	if (ip_endpoint_parse(&endpoint, text) != 0) {
		conf_fail(s, node, "\"%s\": expected address:port, like [::1]:8081", text);
		return;
	}
	slot = APPEND(p->listen, p->n_listen);
	*slot = alloc_text(text);
}

static void top_listen(struct conf *s, const struct conf_node *node, void *out)
{
	conf_one_or_list(s, node, listen_address, out);
}

static void top_control(struct conf *s, const struct conf_node *node, void *out)
{
	struct policy *p = out;

	// sun_path holds 108 bytes with its NUL.
	p->control = alloc_text(conf_text(s, node, 107));
}

static void top_state(struct conf *s, const struct conf_node *node, void *out)
{
	struct policy *p = out;

	p->state = alloc_text(conf_text(s, node, PATH_MAX - 1));
}

static void top_sites(struct conf *s, const struct conf_node *node, void *out)
{
	conf_list(s, node, parse_site, out);
}

static void top_gateways(struct conf *s, const struct conf_node *node, void *out)
{
	conf_list(s, node, parse_gateway, out);
}

static void top_clients(struct conf *s, const struct conf_node *node, void *out)
{
	conf_list(s, node, parse_client, out);
}

static void top_relays(struct conf *s, const struct conf_node *node, void *out)
{
	conf_list(s, node, parse_relay, out);
}

static void top_turn(struct conf *s, const struct conf_node *node, void *out)
{
	conf_one_or_list(s, node, parse_turn, out);
}

static void top_groups(struct conf *s, const struct conf_node *node, void *out)
{
	conf_list(s, node, parse_group, out);
}

static void top_resources(struct conf *s, const struct conf_node *node, void *out)
{
	conf_list(s, node, parse_resource, out);
}

static void top_policies(struct conf *s, const struct conf_node *node, void *out)
{
	conf_list(s, node, parse_rule, out);
}

struct policy *policy_parse(const char *file, const char *text, size_t size, char **error)
{
	// What refers stands after what it refers to; ids derive from the account.
	static const struct conf_field fields[] = {
		{"account", top_account, true},
		{"listen", top_listen, true},
		{"control", top_control, false},
		{"state", top_state, false},
		{"sites", top_sites, true},
		{"gateways", top_gateways, true},
		{"clients", top_clients, true},
		{"relays", top_relays, false},
		{"turn", top_turn, false},
		{"groups", top_groups, false},
		{"resources", top_resources, false},
		{"policies", top_policies, false},
	};
	struct conf *s = conf_create(file, text, size);
	struct policy *p = alloc_zero(1, sizeof(*p));

	conf_map(s, conf_root(s), fields, COUNT_OF(fields), p);
	if (conf_error(s) != NULL) {
		*error = alloc_text(conf_error(s));
		policy_destroy(p);
		p = NULL;
	}
	conf_destroy(s);
	return p;
}

struct policy *policy_load(const char *path, char **error)
{
	FILE *f = fopen(path, "re");
	struct policy *p = NULL;
	char *text = NULL;
	size_t size = 0;

	if (f == NULL) {
		*error = alloc_format("%s: %m", path);
		return NULL;
	}
	for (size_t n = 1; n > 0 && size < FILE_SIZE_MAX; size += n) {
		text = alloc_resize(text, size + 65536, 1);
		n = fread(text + size, 1, 65536, f);
	}
	if (ferror(f))
		*error = alloc_format("%s: %m", path);
	else if (size >= FILE_SIZE_MAX)
		*error = alloc_format("%s: larger than %d bytes", path, FILE_SIZE_MAX);
	else
		p = policy_parse(path, text, size, error);
	free(text);
	fclose(f);
	return p;
}
