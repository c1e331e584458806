// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "control/ops/config_peers.h"

#include <sodium.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT_OF(table) (sizeof(table) / sizeof((table)[0]))

enum {
	KEY_TEXT_SIZE = 44, // base64 of 32 bytes
	FILTERS_MAX = 1024, // per resource, as the portal allows
	RESOURCES_MAX = 1024, // per peer
};

// One more zeroed element behind @p n in *array; capacities are powers of two. NULL: an error.
static void *array_append(
	struct conf *s,
	const struct conf_node *node,
	void **array,
	size_t *n,
	size_t size,
	size_t max)
{
	char *grown = *array;

	if (*n == max) {
		conf_fail(s, node, "more than %zu of them", max);
		return NULL;
	}
	if ((*n & (*n - 1)) == 0) {
		grown = reallocarray(*array, *n == 0 ? 1 : 2 * *n, size);
		if (grown == NULL) {
			conf_fail(s, node, "out of memory");
			return NULL;
		}
		*array = grown;
	}
	memset(grown + *n * size, 0, size);
	return grown + (*n)++ * size;
}

bool config_key_parse(uint8_t out[CONFIG_KEY_SIZE], const char *text)
{
	size_t size = 0;

	if (strlen(text) == KEY_TEXT_SIZE
	    && sodium_base642bin(
		       out,
		       CONFIG_KEY_SIZE,
		       text,
		       KEY_TEXT_SIZE,
		       NULL,
		       &size,
		       NULL,
		       sodium_base64_VARIANT_ORIGINAL)
		    == 0
	    && size == CONFIG_KEY_SIZE && !sodium_is_zero(out, CONFIG_KEY_SIZE))
		return true;
	sodium_memzero(out, CONFIG_KEY_SIZE);
	return false;
}

static void key_parse(struct conf *s, const struct conf_node *node, uint8_t *out)
{
	const char *text = conf_text(s, node, CONFIG_TEXT_SIZE);

	if (conf_error(s) == NULL && !config_key_parse(out, text))
		conf_fail(s, node, "expected a key: base64 of %d bytes", CONFIG_KEY_SIZE);
}

// One address per family.
struct addr_pair {
	struct ip_addr *v4, *v6;
};

static void pair_parse(struct conf *s, const struct conf_node *node, void *out)
{
	const struct addr_pair *pair = out;
	const char *text = conf_text(s, node, IP_TEXT_SIZE);
	struct ip_addr addr, *place;

	if (conf_error(s) != NULL)
		return;
	if (ip_addr_parse(&addr, text) < 0) {
		conf_fail(s, node, "\"%s\" is not an address", text);
		return;
	}
	place = addr.family == IP_FAMILY_V4 ? pair->v4 : pair->v6;
	if (place->family != IP_FAMILY_NONE)
		conf_fail(s, node, "more than one address of a family");
	*place = addr;
}

void config_tunnel_parse(struct conf *s, const struct conf_node *node, void *out)
{
	struct config *config = out;
	struct addr_pair pair = {&config->tunnel_v4, &config->tunnel_v6};

	conf_one_or_list(s, node, pair_parse, &pair);
}

struct port_list {
	struct config_resource *resource;
	enum config_protocol protocol;
};

static void filter_add(
	struct conf *s,
	const struct conf_node *node,
	const struct port_list *list,
	unsigned first,
	unsigned last)
{
	struct config_resource *r = list->resource;
	void *array = r->filters;
	struct config_filter *f =
		array_append(s, node, &array, &r->n_filters, sizeof(*f), FILTERS_MAX);

	r->filters = array;
	if (f == NULL)
		return;
	*f = (struct config_filter){
		.protocol = list->protocol,
		.port_first = (uint16_t)first,
		.port_last = (uint16_t)last,
	};
}

static void ports_parse(struct conf *s, const struct conf_node *node, void *out)
{
	const char *text = conf_text(s, node, 16);
	unsigned first = 0, last = 0;
	int end = 0;

	if (conf_error(s) != NULL)
		return;
	if (sscanf(text, "%5u%n-%5u%n", &first, &end, &last, &end) == 1)
		last = first;
	if (end == 0 || text[end] != '\0' || first > UINT16_MAX || last > UINT16_MAX) {
		conf_fail(s, node, "\"%s\": expected a port or a range like 80-90", text);
		return;
	}
	if (first > last)
		conf_fail(s, node, "\"%s\": the port range is inverted", text);
	filter_add(s, node, out, first, last);
}

// "tcp" alone, or "tcp: 80", "tcp: [80, 5000-5010]", as in the portal's policy file.
static void filter_parse(struct conf *s, const struct conf_node *node, void *out)
{
	static const char *const protocols[] = {"tcp", "udp", "icmp"};
	struct port_list list = {.resource = out};
	const struct conf_node *ports = NULL;
	const char *text = "";
	size_t i;

	if (conf_is_text(node)) {
		text = conf_text(s, node, 8);
	} else if (!conf_single(s, node, &text, &ports)) {
		conf_fail(s, node, "expected tcp, udp or icmp, or like tcp: [80, 5000-5010]");
		return;
	}
	for (i = 0; i < COUNT_OF(protocols) && strcmp(text, protocols[i]) != 0; i++)
		continue;
	list.protocol = (enum config_protocol)i;
	if (i == COUNT_OF(protocols))
		conf_fail(s, node, "\"%s\": expected tcp, udp or icmp", text);
	else if (ports == NULL)
		filter_add(s, node, &list, 0, UINT16_MAX);
	else if (list.protocol == CONFIG_PROTOCOL_ICMP)
		conf_fail(s, node, "icmp has no ports");
	else
		conf_one_or_list(s, ports, ports_parse, &list);
}

// An empty list would mean "everything", which nobody writes that way on purpose.
static void filters_parse(struct conf *s, const struct conf_node *node, void *out)
{
	const struct config_resource *resource = out;

	conf_list(s, node, filter_parse, out);
	if (resource->n_filters == 0)
		conf_fail(s, node, "the list is empty; leave the key out to allow everything");
}

static void resource_address_parse(struct conf *s, const struct conf_node *node, void *out)
{
	struct config_resource *resource = out;
	const char *text = conf_text(s, node, IP_TEXT_SIZE);

	if (conf_error(s) == NULL && ip_prefix_parse(&resource->prefix, text) < 0)
		conf_fail(s, node, "\"%s\" is not an address or a network (host bits zero)", text);
}

static void resource_parse(struct conf *s, const struct conf_node *node, void *out)
{
	static const struct conf_field fields[] = {
		{"address", resource_address_parse, true},
		{"filters", filters_parse, false},
	};
	struct config_peer *peer = out;
	void *array = peer->resources;
	struct config_resource *resource =
		array_append(s, node, &array, &peer->n_resources, sizeof(*resource), RESOURCES_MAX);

	peer->resources = array;
	if (resource != NULL)
		conf_map(s, node, fields, COUNT_OF(fields), resource);
}

static void peer_name_parse(struct conf *s, const struct conf_node *node, void *out)
{
	struct config_peer *peer = out;

	snprintf(peer->name, sizeof(peer->name), "%s", conf_text(s, node, sizeof(peer->name) - 1));
}

static void peer_public_key_parse(struct conf *s, const struct conf_node *node, void *out)
{
	struct config_peer *peer = out;

	key_parse(s, node, peer->public_key);
}

static void peer_preshared_key_parse(struct conf *s, const struct conf_node *node, void *out)
{
	struct config_peer *peer = out;

	key_parse(s, node, peer->preshared_key);
}

static void peer_addresses_parse(struct conf *s, const struct conf_node *node, void *out)
{
	struct config_peer *peer = out;
	struct addr_pair pair = {&peer->v4, &peer->v6};

	conf_one_or_list(s, node, pair_parse, &pair);
	if (peer->v4.family == IP_FAMILY_NONE && peer->v6.family == IP_FAMILY_NONE)
		conf_fail(s, node, "the list is empty");
}

static void peer_resources_parse(struct conf *s, const struct conf_node *node, void *out)
{
	const struct config_peer *peer = out;

	conf_list(s, node, resource_parse, out);
	if (peer->n_resources == 0)
		conf_fail(s, node, "the list is empty");
}

static void peer_parse(struct conf *s, const struct conf_node *node, void *out)
{
	static const struct conf_field fields[] = {
		{"name", peer_name_parse, false},
		{"public_key", peer_public_key_parse, true},
		{"preshared_key", peer_preshared_key_parse, false},
		{"addresses", peer_addresses_parse, true},
		{"resources", peer_resources_parse, true},
	};
	struct config *config = out;
	void *array = config->peers;
	struct config_peer *peer =
		array_append(s, node, &array, &config->n_peers, sizeof(*peer), config->max_clients);

	config->peers = array;
	if (peer != NULL)
		conf_map(s, node, fields, COUNT_OF(fields), peer);
}

static int compare_key(const void *a, const void *b)
{
	const struct config_peer *const *x = a, *const *y = b;

	return memcmp((*x)->public_key, (*y)->public_key, CONFIG_KEY_SIZE);
}

static int compare_v4(const void *a, const void *b)
{
	const struct config_peer *const *x = a, *const *y = b;

	return ip_addr_cmp(&(*x)->v4, &(*y)->v4);
}

static int compare_v6(const void *a, const void *b)
{
	const struct config_peer *const *x = a, *const *y = b;

	return ip_addr_cmp(&(*x)->v6, &(*y)->v6);
}

static bool has_v4(const struct config_peer *peer)
{
	return peer->v4.family != IP_FAMILY_NONE;
}

static bool has_v6(const struct config_peer *peer)
{
	return peer->v6.family != IP_FAMILY_NONE;
}

static void
peers_check_unique(struct conf *s, const struct conf_node *node, const struct config *config)
{
	static const struct {
		int (*compare)(const void *, const void *);
		bool (*applies)(const struct config_peer *);
		const char *what;
	} checks[] = {
		{compare_key, NULL, "public key"},
		{compare_v4, has_v4, "IPv4 address"},
		{compare_v6, has_v6, "IPv6 address"},
	};
	const struct config_peer **sorted =
		calloc(config->n_peers + 1, sizeof(struct config_peer *));

	for (size_t i = 0; sorted != NULL && i < config->n_peers; i++)
		sorted[i] = &config->peers[i];
	for (size_t c = 0; sorted != NULL && c < COUNT_OF(checks); c++) {
		qsort(sorted, config->n_peers, sizeof(*sorted), checks[c].compare);
		for (size_t i = 1; i < config->n_peers; i++) {
			if (checks[c].applies != NULL && !checks[c].applies(sorted[i]))
				continue;
			if (checks[c].compare(&sorted[i - 1], &sorted[i]) == 0)
				conf_fail(
					s,
					node,
					"peers[%td] and peers[%td] have the same %s",
					sorted[i - 1] - config->peers,
					sorted[i] - config->peers,
					checks[c].what);
		}
	}
	free(sorted);
}

void config_peers_parse(struct conf *s, const struct conf_node *node, void *out)
{
	struct config *config = out;

	conf_list(s, node, peer_parse, config);
	if (conf_error(s) != NULL)
		return;
	if (config->private_key_file[0] == '\0')
		conf_fail(s, node, "peers need a private_key_file: they know its public key");
	if (config->tunnel_v4.family == IP_FAMILY_NONE
	    && config->tunnel_v6.family == IP_FAMILY_NONE)
		conf_fail(s, node, "peers need tunnel_addresses");
	peers_check_unique(s, node, config);
}

void config_peers_free(struct config *config)
{
	for (size_t i = 0; i < config->n_peers; i++) {
		struct config_peer *peer = &config->peers[i];

		for (size_t r = 0; r < peer->n_resources; r++)
			free(peer->resources[r].filters);
		free(peer->resources);
		sodium_memzero(peer, sizeof(*peer));
	}
	free(config->peers);
	config->peers = NULL;
	config->n_peers = 0;
}
