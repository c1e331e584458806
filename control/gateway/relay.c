// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "control/gateway/relay.h"

#include "control/base/err.h"
#include "control/base/log.h"
#include "control/gateway/connection_impl.h"
#include "control/gateway/lane.h"
#include "control/portal/relays_entries.h"

#include <sodium.h>

#include <string.h>

#define LOG_AREA "gateway.relay"

static void random_bytes(void *, void *buf, size_t size)
{
	randombytes_buf(buf, size);
}

static void
on_send(void *ctx,
	const struct ip_endpoint *local,
	const struct ip_endpoint *remote,
	const void *data,
	size_t size,
	uint8_t)
{
	struct gw *gw = ctx;

	lane_send_udp(gw->lane, local, remote, data, size);
}

static void on_signal(
	void *ctx,
	struct relay_user *user,
	const char *const *lines,
	size_t n_lines,
	bool is_withdrawn)
{
	const struct uuid *id = &connection_of_relay_user(user)->client->id;

	if (is_withdrawn)
		portal_candidates_withdraw(ctx, id, lines, n_lines);
	else
		portal_candidates_send(ctx, id, lines, n_lines);
}

static void on_changed(void *, struct relay_user *user)
{
	struct connection *conn = connection_of_relay_user(user);

	connection_wake(conn);
	connection_ice_pump(conn);
	if (conn->is_up)
		connection_timer_update(conn);
}

static void on_route_changed(void *, struct relay_user *user)
{
	connection_path_publish(connection_of_relay_user(user));
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

static void on_lost(void *ctx, enum relays_event_type type)
{
	struct gw *gw = ctx;

	relays_publish(gw);
	if (type == RELAYS_EVENT_EMPTY && !gw->is_stopping && gw->session != NULL)
		session_send(gw->session, gateway_push_no_relays());
}

int relay_init(struct gw *gw)
{
	static const struct relay_users_ops ops = {
		.send = on_send,
		.signal = on_signal,
		.changed = on_changed,
		.route_changed = on_route_changed,
		.lost = on_lost,
	};
	const struct relays_config config = {
		.random = random_bytes,
		.mac = gw->stun_mac,
	};

	gw->relays = relays_create(&config, gw_now_ns());
	if (gw->relays == NULL)
		return -errno;
	gw->relay_users = relay_users_create(gw->relays, &ops, gw);
	return gw->relay_users != NULL ? 0 : -errno;
}

void relay_fini(struct gw *gw)
{
	relay_users_destroy(gw->relay_users);
	relays_destroy(gw->relays);
	gw->relay_users = NULL;
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
	struct relays_entry entries[RELAYS_ENTRIES_MAX];
	uint8_t gone[RELAYS_ENTRIES_MAX][RELAYS_ID_SIZE];
	size_t n_gone = relays_entries_ids(gone, disconnected, n_disconnected);
	size_t n = relays_entries_from(entries, connected, n_connected), n_held;

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
	enum turn_rx rx = relay_users_receive(gw->relay_users, gw_now_ns(), d);

	gw->stats.turn[rx]++;
	return relay_users_is_peers(rx);
}

void relay_send(
	struct gw *gw,
	const struct ip_endpoint *local,
	const struct ip_endpoint *remote,
	const void *data,
	size_t size)
{
	// Without a channel it is lost, as on any way that is not there yet; whoever sent it repeats.
	if (!relay_users_send(gw->relay_users, gw_now_ns(), local, remote, data, size, 0))
		gw->stats.relay_no_channel++;
}

bool relay_pump(struct gw *gw)
{
	return relay_users_pump(gw->relay_users, gw_now_ns());
}
