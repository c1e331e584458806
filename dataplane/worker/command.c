// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "dataplane/stage/stage.h"
#include "dataplane/worker/session.h"
#include "dataplane/worker/worker.h"

#include <rte_ring_peek_zc.h>
#include <sodium.h>

#include <limits.h>

static void client_flows_clear(struct worker *w, uint32_t slot)
{
	flow_client_clear(w->flows, slot, UINT_MAX);
	hold_client_clear(w, slot);
}

static void client_add(struct worker *w, struct client *c, const struct dp_cmd *cmd)
{
	// Flows remember checksum deltas of the former tunnel addresses.
	client_flows_clear(w, cmd->slot);
	timer_disarm(&w->timers, cmd->slot);
	client_init(c, &cmd->client_add.v4, &cmd->client_add.v6);
	c->follows_source = cmd->client_add.follows_source;
}

static void client_release(struct worker *w, struct client *c, uint32_t slot)
{
	client_flows_clear(w, slot);
	timer_disarm(&w->timers, slot);
	client_fini(c);
}

static void client_del(struct worker *w, struct client *c, const struct dp_cmd *cmd)
{
	const struct dp_event gone = {.type = DP_EVENT_CLIENT_GONE, .slot = cmd->slot};

	// The goodbye leaves on the keypair that is about to be wiped.
	if (cmd->client_del.mbuf != NULL)
		seal_push(w, c, cmd->client_del.mbuf);
	stage_encrypt(w);
	client_release(w, c, cmd->slot);
	// Room was made sure of before the command was taken.
	if (!worker_event_send(w, &gone))
		return;
}

static void keypair_add(struct worker *w, struct client *c, const struct dp_cmd *cmd)
{
	client_keypair_add(c, cmd, w->keypair_life_tsc);
	session_keypair_added(w, c);
	// The responder may not send before it heard from us on the new keypair.
	if (cmd->keypair_add.is_initiator)
		session_keepalive_send(w, c);
}

static void cmd_run(struct worker *w, const struct dp_cmd *cmd)
{
	struct client *c = &w->clients[cmd->slot];

	if (cmd->type == DP_CMD_CLIENT_ADD) {
		client_add(w, c, cmd);
		return;
	}
	if (cmd->type == DP_CMD_CLIENT_DEL) {
		client_del(w, c, cmd);
		return;
	}
	if (cmd->type == DP_CMD_CLIENT_RELEASE) {
		client_release(w, c, cmd->slot);
		return;
	}
	if (!c->is_alive)
		return;
	switch (cmd->type) {
	case DP_CMD_KEYPAIR_ADD:
		keypair_add(w, c, cmd);
		break;
	case DP_CMD_KEYPAIRS_CLEAR:
		client_keypairs_clear(c);
		break;
	case DP_CMD_PATH_SET:
		client_path_set(
			c, &cmd->path_set.local, &cmd->path_set.remote, cmd->path_set.channel);
		break;
	case DP_CMD_FLOWS_CLEAR:
		client_flows_clear(w, cmd->slot);
		break;
	case DP_CMD_CLIENT_ADD:
	case DP_CMD_CLIENT_DEL:
	case DP_CMD_CLIENT_RELEASE:
		break;
	}
	// Packets that keypair_add() queued leave on the path of now, not of the next command.
	stage_encrypt(w);
}

unsigned worker_cmds_run(struct worker *w)
{
	unsigned n = 0;

	while (n < WORKER_CMDS_PER_LOOP && rte_ring_free_count(w->channel->events) > 0) {
		struct rte_ring_zc_data zc;

		// Zero copy, so that keys can be wiped from the ring itself.
		if (rte_ring_dequeue_zc_bulk_elem_start(
			    w->channel->cmds, sizeof(struct dp_cmd), 1, &zc, NULL)
		    == 0)
			break;
		cmd_run(w, zc.ptr1);
		sodium_memzero(zc.ptr1, sizeof(struct dp_cmd));
		rte_ring_dequeue_zc_elem_finish(w->channel->cmds, 1);
		n++;
	}
	return n;
}

static void inject_client(struct worker *w, struct rte_mbuf *m, uint32_t slot)
{
	if (slot >= w->max_clients || !w->clients[slot].is_alive) {
		worker_drop(w, m, DROP_inject_bad);
		return;
	}
	seal_push(w, &w->clients[slot], m);
}

static void inject_one(struct worker *w, struct rte_mbuf *m)
{
	const struct dp_meta *meta = rte_mbuf_to_priv(m);
	uint16_t port_id = meta->port_id;

	switch (meta->kind) {
	case DP_INJECT_FRAME:
		if (port_id >= RTE_MAX_ETHPORTS || w->tx[port_id].port == NULL)
			worker_drop(w, m, DROP_inject_bad);
		else
			worker_tx(w, port_id, m);
		break;
	case DP_INJECT_IP:
		forward_outer(w, m);
		break;
	case DP_INJECT_CLIENT:
		inject_client(w, m, meta->slot);
		break;
	default:
		worker_drop(w, m, DROP_inject_bad);
		break;
	}
}

unsigned worker_inject_run(struct worker *w)
{
	struct rte_mbuf *pkts[DP_BURST_MAX];
	unsigned n;

	n = rte_ring_sc_dequeue_burst(w->channel->inject, (void *)pkts, DP_BURST_MAX, NULL);
	for (unsigned i = 0; i < n; i++)
		inject_one(w, pkts[i]);
	return n;
}
