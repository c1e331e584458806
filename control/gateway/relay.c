// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "control/gateway/relay.h"

#include "control/base/err.h"
#include "control/base/log.h"
#include "control/gateway/connection.h"
#include "control/gateway/lane.h"

#include <sodium.h>

#include <string.h>

#define LOG_AREA "gateway.relay"

static_assert(RELAYS_ID_SIZE == sizeof(struct uuid), "ids of the portal are passed on as they are");

static void random_bytes(void *, void *buf, size_t size)
{
	randombytes_buf(buf, size);
}

int relay_init(struct gw *gw)
{
	const struct relays_config config = {
		.random = random_bytes,
		.mac = gw->stun_mac,
	};

	gw->relays = relays_create(&config, gw_now_ns());
	return gw->relays != NULL ? 0 : -errno;
}

void relay_fini(struct gw *gw)
{
	relays_destroy(gw->relays);
	gw->relays = NULL;
}

void relay_release(struct gw *gw)
{
	relays_release(gw->relays, gw_now_ns());
}

void relay_hosts_set(struct gw *gw, const struct ip_addr *hosts, size_t n)
{
	struct ip_endpoint v4 = {0}, v6 = {0};

	for (size_t i = n; i-- > 0;) {
		struct ip_endpoint *local = hosts[i].family == IP_FAMILY_V4 ? &v4 : &v6;

		*local = (struct ip_endpoint){.addr = hosts[i], .port = gw->config->udp_port};
	}
	relays_restart(gw->relays, gw_now_ns(), &v4, &v6);
}

// Tells the worker which addresses ChannelData may come from: those listed that are still in use.
static void relays_publish(struct gw *gw)
{
	size_t n = 0;

	for (size_t i = 0; i < gw->n_relay_addrs; i++) {
		if (relays_is_relay(gw->relays, &gw->relay_addrs[i]))
			gw->relay_addrs[n++] = gw->relay_addrs[i];
	}
	gw->n_relay_addrs = n;
	dp_relays_set(gw->dp, gw->relay_addrs, n);
}

static void addr_note(struct gw *gw, const struct ip_endpoint *addr)
{
	for (size_t i = 0; i < gw->n_relay_addrs; i++) {
		if (ip_endpoint_eq(&gw->relay_addrs[i], addr))
			return;
	}
	if (gw->n_relay_addrs < DP_RELAYS_MAX)
		gw->relay_addrs[gw->n_relay_addrs++] = *addr;
}

void relay_list(
	struct gw *gw,
	const struct uuid *disconnected,
	size_t n_disconnected,
	const struct portal_relay *connected,
	size_t n_connected)
{
	struct relays_entry entries[DP_RELAYS_MAX];
	uint8_t gone[DP_RELAYS_MAX][RELAYS_ID_SIZE];
	size_t n_gone = 0, n = 0, n_held;

	for (size_t i = 0; i < n_disconnected && n_gone < DP_RELAYS_MAX; i++)
		memcpy(gone[n_gone++], disconnected[i].bytes, RELAYS_ID_SIZE);
	for (size_t i = 0; i < n_connected && n < DP_RELAYS_MAX; i++) {
		const struct portal_relay *r = &connected[i];

		if (r->type != PORTAL_RELAY_TURN)
			continue;
		memcpy(entries[n].id, r->id.bytes, RELAYS_ID_SIZE);
		entries[n].endpoint = r->endpoint;
		entries[n].username = r->username;
		entries[n].password = r->password;
		n++;
	}
	n_held = relays_apply(gw->relays, gw_now_ns(), gone, n_gone, entries, n);
	relays_publish(gw);
	for (size_t i = 0; i < n; i++)
		addr_note(gw, &entries[i].endpoint);
	relays_publish(gw);
	LOG(INFO, "relays listed=%zu gone=%zu held=%zu", n, n_gone, n_held);
}

bool relay_is_usable(struct gw *gw)
{
	return relays_pick(gw->relays) != RELAYS_NONE;
}

bool relay_receive(struct gw *gw, struct relay_datagram *d)
{
	struct turn_data data = {0};
	uint32_t relay;
	enum turn_rx rx;

	rx = relays_handle_packet(
		gw->relays, gw_now_ns(), &d->local, &d->remote, d->data, d->size, &relay, &data);
	gw->stats.turn[rx]++;
	switch (rx) {
	case TURN_RX_NOT_FROM_RELAY:
	case TURN_RX_OTHER:
		return true;
	case TURN_RX_DATA:
		*d = (struct relay_datagram){data.local, data.remote, data.data, data.size};
		return true;
	default:
		return false;
	}
}

void relay_send(
	struct gw *gw,
	const struct ip_endpoint *local,
	const struct ip_endpoint *remote,
	const void *data,
	size_t size)
{
	if (relays_send(gw->relays, gw_now_ns(), local, remote, data, size) == RELAYS_SEND_DIRECT)
		lane_send_udp(gw->lane, local, remote, data, size);
}

static void on_event(void *arg, struct access_client *client)
{
	if (client->user != NULL)
		connection_relay_event(client->user, arg);
}

static void candidate_log(const struct relays_event *event)
{
	char addr[IP_TEXT_SIZE];

	LOG(INFO,
	    "relay %s relay=%u kind=%s addr=%s",
	    event->type == RELAYS_EVENT_CANDIDATE ? "candidate" : "candidate withdrawn",
	    event->relay,
	    ice_kind_name(event->turn.candidate.kind),
	    ip_endpoint_format(&event->turn.candidate.addr, addr));
}

static void event_handle(struct gw *gw, struct relays_event *event)
{
	switch (event->type) {
	case RELAYS_EVENT_EMPTY:
		LOG(WARNING, "no relay left");
		relays_publish(gw);
		if (!gw->is_stopping && gw->session != NULL)
			session_send(gw->session, gateway_push_no_relays());
		return;
	case RELAYS_EVENT_LOST:
		LOG(NOTICE,
		    "relay lost relay=%u reason=%s",
		    event->relay,
		    turn_failure_name(event->failure));
		relays_publish(gw);
		break;
	case RELAYS_EVENT_CANDIDATE:
	case RELAYS_EVENT_WITHDRAWN:
		candidate_log(event);
		break;
	case RELAYS_EVENT_USABLE:
	case RELAYS_EVENT_CHANNEL_UP:
	case RELAYS_EVENT_CHANNEL_DOWN:
		break;
	}
	if (!gw->is_stopping)
		access_each(gw->access, on_event, event);
}

void relay_pump(struct gw *gw)
{
	struct turn_transmit transmit;
	struct relays_event event;
	bool is_more;

	// What an event causes may again be something to send or to tell.
	do {
		is_more = false;
		while (relays_poll_transmit(gw->relays, &transmit)) {
			lane_send_udp(
				gw->lane,
				&transmit.local,
				&transmit.remote,
				transmit.data,
				transmit.size);
		}
		while (relays_poll_event(gw->relays, &event)) {
			event_handle(gw, &event);
			is_more = true;
		}
	} while (is_more);
}
