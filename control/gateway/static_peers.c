// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "control/base/err.h"
#include "control/base/log.h"
#include "control/gateway/connection.h"
#include "control/gateway/kernel.h"

#include <sodium.h>

#include <stdlib.h>
#include <string.h>

#define LOG_AREA "gateway.static"

// Access knows clients and resources by id; these have none, so theirs follow from what they are.
static struct uuid id_of(const struct config_peer *peer, const struct config_resource *resource)
{
	crypto_generichash_state state;
	struct uuid id;

	crypto_generichash_init(&state, NULL, 0, sizeof(id.bytes));
	crypto_generichash_update(&state, peer->public_key, sizeof(peer->public_key));
	if (resource != NULL) {
		size_t index = (size_t)(resource - peer->resources);

		crypto_generichash_update(&state, (const uint8_t *)&index, sizeof(index));
	}
	crypto_generichash_final(&state, id.bytes, sizeof(id.bytes));
	id.bytes[6] = (id.bytes[6] & 0x0f) | 0x80; // version 8: RFC 9562 5.8
	id.bytes[8] = (id.bytes[8] & 0x3f) | 0x80;
	return id;
}

// @return owned, n_filters of them, or NULL with errno
static struct portal_filter *filters_convert(const struct config_resource *resource)
{
	static const enum portal_protocol protocols[] = {
		[CONFIG_PROTOCOL_TCP] = PORTAL_PROTOCOL_TCP,
		[CONFIG_PROTOCOL_UDP] = PORTAL_PROTOCOL_UDP,
		[CONFIG_PROTOCOL_ICMP] = PORTAL_PROTOCOL_ICMP,
	};
	struct portal_filter *filters = calloc(resource->n_filters + 1, sizeof(*filters));

	for (size_t i = 0; filters != NULL && i < resource->n_filters; i++) {
		filters[i] = (struct portal_filter){
			.protocol = protocols[resource->filters[i].protocol],
			.port_first = resource->filters[i].port_first,
			.port_last = resource->filters[i].port_last,
		};
	}
	return filters;
}

static struct access_client *resource_authorize(
	struct gw *gw,
	const struct config_peer *peer,
	const struct config_resource *from,
	struct portal_error *err)
{
	struct portal_resource resource = {
		.id = id_of(peer, from),
		.type = PORTAL_RESOURCE_CIDR,
		.name = "static",
		.prefix = from->prefix,
		.filters = filters_convert(from),
		.n_filters = from->n_filters,
	};
	struct access_grant grant = {
		.client_id = id_of(peer, NULL),
		.ipv4 = peer->v4,
		.ipv6 = peer->v6,
		.is_static = true,
		.resource = &resource,
		.expires_at = PORTAL_NEVER,
	};
	struct access_client *client = NULL;

	if (resource.filters != NULL)
		client = access_authorize(gw->access, &grant, err);
	free(resource.filters);
	return client;
}

static int peer_start(struct gw *gw, const struct config_peer *peer)
{
	struct portal_error err = {"out of memory"};
	struct access_client *client = NULL;
	int rc;

	for (size_t i = 0; i < peer->n_resources; i++) {
		client = resource_authorize(gw, peer, &peer->resources[i], &err);
		if (client == NULL) {
			LOG(ERR, "peer %s: %s", peer->name, err.text);
			return -errno;
		}
	}
	if (client == NULL || client->user == NULL)
		return err_set(ENOMEM);
	rc = connection_static_start(client->user, peer->public_key, peer->preshared_key);
	if (rc == 0)
		rc = kernel_tunnel_host_add(gw->kernel, &peer->v4);
	if (rc == 0)
		rc = kernel_tunnel_host_add(gw->kernel, &peer->v6);
	if (rc < 0)
		LOG(ERR, "peer %s: %s", peer->name, strerror(-rc));
	return rc;
}

int static_peers_start(struct gw *gw)
{
	const struct config *config = gw->config;
	int rc;

	if (config->n_peers == 0)
		return 0;
	rc = gw_tunnel_set(gw, &config->tunnel_v4, &config->tunnel_v6);
	if (rc < 0) {
		LOG(ERR, "tunnel addresses: %s", strerror(-rc));
		return rc;
	}
	for (size_t i = 0; i < config->n_peers; i++) {
		rc = peer_start(gw, &config->peers[i]);
		if (rc < 0)
			return rc;
	}
	LOG(NOTICE, "static peers ready n=%zu", config->n_peers);
	return 0;
}
