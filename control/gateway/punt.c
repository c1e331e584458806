// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "control/base/cursor.h"
#include "control/base/log.h"
#include "control/gateway/connection.h"
#include "control/gateway/kernel.h"
#include "control/gateway/relay.h"
#include "control/noise/messages.h"

#include <rte_mbuf.h>

#include <string.h>

#define LOG_AREA "gateway.punt"

enum {
	PUNT_BURST = 32,
	// Packets of one class handled before the others and the sockets get their turn.
	PUNT_BUDGET = 256,
	P2P_HEADER_SIZE = 48, // IPv6 header, event type, 7 reserved bytes
	P2P_EVENT_OFFSET = 40,
};

enum p2p_event {
	P2P_ASSIGNED_IPS = 0,
	P2P_DOMAIN_STATUS = 1,
	P2P_GOODBYE = 2,
};

// Outer addresses of a frame whose UDP header the worker has checked. @return false: not so
static bool endpoints_read(
	const struct rte_mbuf *m,
	const struct dp_meta *meta,
	struct ip_endpoint *local,
	struct ip_endpoint *remote)
{
	struct cursor c = cursor_reader(rte_pktmbuf_mtod(m, const void *), m->data_len);
	const uint8_t *ip, *src, *dst;
	uint8_t version;

	cursor_take(&c, meta->l3_offset);
	ip = cursor_take(&c, 1);
	if (ip == NULL)
		return false;
	version = *ip >> 4;
	cursor_take(&c, version == 4 ? 11 : 7);
	src = cursor_take(&c, version == 4 ? 4 : 16);
	dst = cursor_take(&c, version == 4 ? 4 : 16);
	if (c.is_bad || meta->payload_offset < 8)
		return false;
	remote->addr = version == 4 ? ip_addr_v4(src) : ip_addr_v6(src);
	local->addr = version == 4 ? ip_addr_v4(dst) : ip_addr_v6(dst);
	c = cursor_reader(rte_pktmbuf_mtod(m, const void *), m->data_len);
	cursor_take(&c, (size_t)meta->payload_offset - 8);
	remote->port = cursor_read_u16(&c);
	local->port = cursor_read_u16(&c);
	cursor_take(&c, 4);
	cursor_take(&c, meta->payload_size);
	return !c.is_bad;
}

static void handle_datagram(struct gw *gw, const struct rte_mbuf *m, const struct dp_meta *meta)
{
	struct relay_datagram d = {.size = meta->payload_size};

	if (!endpoints_read(m, meta, &d.local, &d.remote))
		return;
	d.data = rte_pktmbuf_mtod_offset(m, const uint8_t *, meta->payload_offset);
	if (!relay_receive(gw, &d))
		return;
	// Looked at again: the worker did not tell what is inside ChannelData.
	if (noise_msg_type_get(d.data, d.size) == 0)
		connection_stun(gw, &d.local, &d.remote, d.data, d.size);
	else
		connection_handshake(gw, &d.local, &d.remote, d.data, d.size);
}

// Authenticated by the worker, so it is from the client in the slot.
static void handle_p2p(struct gw *gw, const struct rte_mbuf *m, const struct dp_meta *meta)
{
	struct access_client *client = access_by_slot(gw->access, meta->slot);
	const uint8_t *packet = rte_pktmbuf_mtod(m, const uint8_t *);
	char id[UUID_TEXT_SIZE];

	if (client == NULL || m->data_len < P2P_HEADER_SIZE)
		return;
	switch (packet[P2P_EVENT_OFFSET]) {
	case P2P_GOODBYE:
		if (client->is_static)
			break; // not of its protocol, and nothing would bring it back
		LOG(INFO, "client said goodbye client=%s", uuid_format(&client->id, id));
		gw->is_forgetting = true;
		access_forget(gw->access, client);
		gw->is_forgetting = false;
		break;
	case P2P_ASSIGNED_IPS: // DNS resources: control/names
	case P2P_DOMAIN_STATUS:
	default:
		break;
	}
}

static void handle_packet(struct gw *gw, const struct rte_mbuf *m)
{
	const struct dp_meta *meta = rte_mbuf_to_priv((struct rte_mbuf *)(uintptr_t)m);

	switch ((enum dp_punt)meta->kind) {
	case DP_PUNT_HANDSHAKE:
	case DP_PUNT_STUN:
		handle_datagram(gw, m, meta);
		break;
	case DP_PUNT_HOST:
		kernel_frame(
			gw->kernel, meta->port_id, rte_pktmbuf_mtod(m, const void *), m->data_len);
		break;
	case DP_PUNT_TUN:
		kernel_tunnel_packet(gw->kernel, rte_pktmbuf_mtod(m, const void *), m->data_len);
		break;
	case DP_PUNT_P2P:
		handle_p2p(gw, m, meta);
		break;
	case DP_PUNT_COUNT:
		break;
	}
}

static bool class_drain(struct gw *gw, enum dp_punt class_)
{
	struct rte_mbuf *mbufs[PUNT_BURST];
	unsigned n, done = 0;

	do {
		n = dp_punt_poll(gw->dp, class_, mbufs, PUNT_BURST);
		for (unsigned i = 0; i < n; i++) {
			if (rte_pktmbuf_linearize(mbufs[i]) == 0)
				handle_packet(gw, mbufs[i]);
			rte_pktmbuf_free(mbufs[i]);
		}
		done += n;
	} while (n == PUNT_BURST && done < PUNT_BUDGET);
	return n == PUNT_BURST;
}

static void handle_event(struct gw *gw, const struct dp_event *event)
{
	struct access_client *client;

	if (event->type == DP_EVENT_CLIENT_GONE) {
		access_slot_release(gw->access, event->slot);
		return;
	}
	if (event->type == DP_EVENT_RESOLVE) {
		kernel_resolve(gw->kernel, event->resolve.port_id, &event->resolve.addr);
		return;
	}
	client = access_by_slot(gw->access, event->slot);
	if (client == NULL || client->user == NULL)
		return;
	if (event->type == DP_EVENT_KEYPAIR_CONFIRMED)
		connection_keypair_confirmed(client->user, event->local_index);
	else if (event->type == DP_EVENT_CLIENT_MOVED)
		connection_moved(client->user, &event->moved.local, &event->moved.remote);
	else
		connection_handshake_due(client->user);
}

bool punt_drain(struct gw *gw)
{
	struct dp_event events[PUNT_BURST];
	bool more = false;
	unsigned n;

	n = dp_event_poll(gw->dp, events, PUNT_BURST);
	for (unsigned i = 0; i < n; i++)
		handle_event(gw, &events[i]);
	more = n == PUNT_BURST;
	for (unsigned class_ = 0; class_ < DP_PUNT_COUNT; class_++)
		more = class_drain(gw, class_) || more;
	more = lane_flush(gw->lane) > 0 || more;
	return more;
}
