// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "dataplane/worker/owner.h"

#include "control/base/err.h"

#include <stdlib.h>

int owner_init(
	struct owner_table *t,
	const struct rss *rss,
	uint32_t max_clients,
	unsigned n_workers)
{
	t->rss = rss;
	t->n_workers = n_workers;
	t->owners = calloc(max_clients, sizeof(*t->owners));
	t->slots = calloc(max_clients, sizeof(*t->slots));
	return t->owners != NULL && t->slots != NULL ? 0 : err_set(ENOMEM);
}

void owner_fini(struct owner_table *t)
{
	free((void *)t->owners);
	free(t->slots);
	*t = (struct owner_table){0};
}

// A relay's clients all come by the same tuple: they stay spread over the workers and are handed off.
static bool is_direct(const struct dp_cmd *cmd)
{
	return cmd->type == DP_CMD_PATH_SET && cmd->path_set.channel == 0
		&& cmd->path_set.remote.addr.family != IP_FAMILY_NONE;
}

// Where the NIC puts what comes from the other end of the path.
static unsigned path_worker(const struct owner_table *t, const struct dp_cmd *cmd)
{
	const struct ip_endpoint *local = &cmd->path_set.local, *remote = &cmd->path_set.remote;
	uint8_t bits = rss_bits(
		t->rss,
		remote->addr.family,
		remote->addr.bytes,
		local->addr.bytes,
		rte_cpu_to_be_16(remote->port));

	return rss_worker(t->rss, remote->addr.family, bits, rte_cpu_to_be_16(local->port));
}

unsigned owner_choose(struct owner_table *t, const struct dp_cmd *cmd)
{
	const struct owner_slot *slot = &t->slots[cmd->slot];
	unsigned owner = owner_get(t->owners, cmd->slot);

	if (cmd->type == DP_CMD_CLIENT_ADD && !slot->is_alive)
		return cmd->slot % t->n_workers;
	if (!is_direct(cmd) || !slot->is_alive || slot->is_pinned)
		return owner;
	return path_worker(t, cmd);
}

void owner_note(struct owner_table *t, const struct dp_cmd *cmd, unsigned worker)
{
	struct owner_slot *slot = &t->slots[cmd->slot];

	switch (cmd->type) {
	case DP_CMD_CLIENT_ADD:
		*slot = (struct owner_slot){
			.v4 = cmd->client_add.v4,
			.v6 = cmd->client_add.v6,
			.follows_source = cmd->client_add.follows_source,
			.is_alive = true,
		};
		break;
	case DP_CMD_CLIENT_DEL:
		*slot = (struct owner_slot){0};
		break;
	case DP_CMD_KEYPAIR_ADD:
		slot->is_pinned = true;
		break;
	case DP_CMD_PATH_SET:
		if (worker != owner_get(t->owners, cmd->slot))
			t->stats.moved++;
		else if (slot->is_alive && is_direct(cmd) && path_worker(t, cmd) != worker)
			t->stats.kept++;
		break;
	case DP_CMD_KEYPAIRS_CLEAR:
	case DP_CMD_FLOWS_CLEAR:
	case DP_CMD_CLIENT_RELEASE:
		break;
	}
	// Workers that read the former owner hand off to one that no longer knows the client: it had no
	// keypair yet, so there is nothing to lose.
	atomic_store_explicit(&t->owners[cmd->slot], (uint8_t)worker, memory_order_relaxed);
}
