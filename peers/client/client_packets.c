// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

// Packets between the host and the gateways. Everything read from the network is unproven until its
// session authenticated it, and limited to what its gateway may say even then.

#include "control/base/log.h"
#include "control/noise/session.h"
#include "peers/client/client.h"
#include "peers/client/client_impl.h"

#include <errno.h>
#include <string.h>

#define LOG_AREA "client.packets"

static void count(struct client *c, enum client_counter counter)
{
	c->counters[counter]++;
}

static const struct ip_addr *own_addr(const struct client *c, uint8_t family)
{
	return family == IP_FAMILY_V4 ? &c->ipv4 : &c->ipv6;
}

static void host_send(struct client *c, const uint8_t *packet, size_t size)
{
	count(c, CLIENT_COUNTER_TUN_OUT);
	c->ops.tun_send(c->ops_ctx, packet, size);
}

// Tells the application at once what the gateway would say.
static void refuse(struct client *c, const struct packet_view *p)
{
	struct packet_icmp_error ignored;
	uint8_t answer[PACKET_SIZE_MAX];

	count(c, CLIENT_COUNTER_TUN_FILTERED);
	// RFC 1122 3.2.2: no error about an error.
	if (packet_icmp_classify(p, &ignored) != PACKET_ICMP_ERROR)
		host_send(c, answer, packet_prohibited_build(p, answer));
}

static void gateway_send(
	struct client *c,
	uint64_t now,
	struct gateway *g,
	const struct packet_view *p,
	uint8_t *buf)
{
	connection_send(g->connection, now, buf - CONNECTION_HEADROOM, p->size, packet_ecn(p));
	client_connection_drain(c, now, g);
}

// A gateway's own refusals can only be seen by a client that does not refuse by itself: without the
// local filter, what no resource covers goes to the first gateway with a connection.
static struct gateway *stray_gateway(const struct client *c)
{
	struct gateway *g = gateways_first(c->gateways);

	if (c->config.is_local_filter)
		return NULL;
	while (g != NULL && g->connection == NULL)
		g = g->next;
	return g;
}

static void resource_send(struct client *c, uint64_t now, const struct packet_view *p, uint8_t *buf)
{
	const struct resource *r;
	struct gateway *g;
	bool is_permitted;

	r = resources_lookup(c->resources, &p->dst, &p->dst_key, &is_permitted);
	if (r == NULL) {
		count(c, CLIENT_COUNTER_TUN_NO_RESOURCE);
		g = stray_gateway(c);
		if (g != NULL)
			gateway_send(c, now, g, p, buf);
		return;
	}
	if (!is_permitted && c->config.is_local_filter) {
		refuse(c, p);
		return;
	}
	g = gateways_of(c->gateways, &r->id);
	if (g != NULL && g->connection != NULL) {
		gateway_send(c, now, g, p, buf);
		return;
	}
	count(c, CLIENT_COUNTER_TUN_WAITING);
	client_authorization_request(c, now, r, "packet");
	pending_packet_add(c->pending, &r->id, p->data, p->size);
}

void client_tun_packet(struct client *c, uint64_t now, uint8_t *buf, size_t size)
{
	struct packet_view p;
	struct gateway *g;

	c->now = now;
	count(c, CLIENT_COUNTER_TUN_IN);
	if (packet_parse(&p, buf, size) != PACKET_OK) {
		count(c, CLIENT_COUNTER_TUN_MALFORMED);
		return;
	}
	if (!ip_addr_eq(&p.src, own_addr(c, p.src.family))) {
		count(c, CLIENT_COUNTER_TUN_BAD_SOURCE);
		return;
	}
	if (packet_is_multicast(&p.dst)) {
		count(c, CLIENT_COUNTER_TUN_MULTICAST);
		return;
	}
	g = gateways_by_addr(c->gateways, &p.dst);
	if (g != NULL)
		gateway_send(c, now, g, &p, buf);
	else
		resource_send(c, now, &p, buf);
	client_relays_drain(c, now);
}

// The gateway refuses a packet of ours although the portal let us: it has lost the authorization,
// so ask for it again. The error itself still reaches the application.
static void prohibited_handle(struct client *c, uint64_t now, const struct packet_view *p)
{
	struct packet_icmp_error error;
	const struct resource *r;
	bool is_permitted;

	if (packet_icmp_classify(p, &error) != PACKET_ICMP_ERROR || !error.is_prohibited)
		return;
	count(c, CLIENT_COUNTER_INNER_PROHIBITED);
	if (!c->config.is_prohibited_request)
		return;
	r = resources_lookup(c->resources, &error.quoted_dst, &error.quoted_dst_key, &is_permitted);
	// What the resource's own filters forbid no authorization will allow.
	if (r != NULL && is_permitted)
		client_authorization_request(c, now, r, "prohibited");
}

// Without the local filter also a refusal of what stray_gateway() let out: it comes from an address
// that the gateway does not serve, but quotes a packet of ours.
static bool is_allowed_source(struct client *c, struct gateway *g, const struct packet_view *p)
{
	struct packet_icmp_error error;

	if (gateways_allows_source(c->gateways, g, c->resources, &p->src))
		return true;
	return !c->config.is_local_filter && packet_icmp_classify(p, &error) == PACKET_ICMP_ERROR
		&& error.is_prohibited && ip_addr_eq(&error.quoted_src, &p->dst)
		&& ip_addr_eq(&error.quoted_dst, &p->src);
}

static void inner_handle(
	struct client *c,
	uint64_t now,
	struct gateway *g,
	uint8_t ecn,
	uint8_t *packet,
	size_t size)
{
	struct packet_view p;
	int control;

	if (packet_parse(&p, packet, size) != PACKET_OK) {
		count(c, CLIENT_COUNTER_INNER_MALFORMED);
		return;
	}
	control = packet_control_event(&p);
	if (control >= 0) {
		count(c, CLIENT_COUNTER_INNER_CONTROL);
		if (control == PACKET_CONTROL_GOODBYE)
			client_connection_lose(c, g, "goodbye");
		return;
	}
	if (!ip_addr_eq(&p.dst, own_addr(c, p.dst.family))) {
		count(c, CLIENT_COUNTER_INNER_BAD_DESTINATION);
		return;
	}
	if (!is_allowed_source(c, g, &p)) {
		count(c, CLIENT_COUNTER_INNER_BAD_SOURCE);
		return;
	}
	prohibited_handle(c, now, &p);
	packet_ecn_merge(packet, &p, ecn);
	host_send(c, packet, size);
}

static void data_handle(struct client *c, uint64_t now, uint8_t ecn, uint8_t *buf, size_t size)
{
	struct noise_msg_data header;
	struct noise_peer *peer;
	struct connection *connection;
	struct gateway *g;
	int rc;

	if (size < NOISE_DATA_SIZE_MIN) {
		count(c, CLIENT_COUNTER_UDP_UNKNOWN);
		return;
	}
	memcpy(&header, buf, sizeof(header));
	peer = noise_node_peer_by_connection(c->node, noise_le32_get(header.receiver_index) >> 8);
	if (peer == NULL) {
		count(c, CLIENT_COUNTER_UDP_NO_SESSION);
		return;
	}
	connection = connection_of_peer(peer);
	g = connection_user(connection);
	rc = connection_open(connection, now, buf, size);
	if (rc > 0)
		inner_handle(c, now, g, ecn, buf + CONNECTION_HEADROOM, (size_t)rc);
	else if (rc == -ENOENT)
		count(c, CLIENT_COUNTER_UDP_NO_SESSION);
	else if (rc == -EALREADY)
		count(c, CLIENT_COUNTER_UDP_REPLAYED);
	else if (rc == -EPROTO)
		count(c, CLIENT_COUNTER_INNER_MALFORMED);
	else if (rc < 0)
		count(c, CLIENT_COUNTER_UDP_FORGED);
	client_connection_drain(c, now, g);
}

static void handshake_handle(
	struct client *c,
	uint64_t now,
	const struct ip_endpoint *local,
	const struct ip_endpoint *remote,
	const uint8_t *data,
	size_t size)
{
	struct noise_output out;
	struct noise_peer *peer;
	enum noise_verdict verdict;

	verdict = noise_node_handle_handshake(c->node, now, remote, data, size, &peer, &out);
	if (verdict != NOISE_VERDICT_OK) {
		count(c, CLIENT_COUNTER_UDP_HANDSHAKE_REFUSED);
		LOG_LIMITED(
			DEBUG, "handshake message refused reason=%s", noise_verdict_name(verdict));
	}
	if (peer != NULL) {
		struct connection *connection = connection_of_peer(peer);
		struct gateway *g = connection_user(connection);

		connection_noise_output(connection, now, &out);
		client_connection_drain(c, now, g);
		return;
	}
	if (out.size > 0)
		c->env.send(c->env.ctx, local, remote, out.bytes, out.size, 0);
	noise_output_wipe(&out);
}

static void stun_handle(
	struct client *c,
	uint64_t now,
	const struct ip_endpoint *local,
	const struct ip_endpoint *remote,
	const uint8_t *data,
	size_t size)
{
	struct ice_agent *agent = NULL;
	enum ice_rx rx = ice_table_handle_packet(c->table, now, local, remote, data, size, &agent);
	struct connection *connection;

	if (rx != ICE_RX_REQUEST && rx != ICE_RX_RESPONSE) {
		count(c, CLIENT_COUNTER_UDP_STUN_REFUSED);
		LOG_LIMITED(DEBUG, "stun message refused reason=%s", ice_rx_name(rx));
	}
	if (agent == NULL)
		return;
	connection = connection_of_agent(agent);
	connection_ice_drain(connection, now);
	client_connection_drain(c, now, connection_user(connection));
}

// A datagram that is a peer's, unwrapped if a relay brought it.
static void peer_datagram(
	struct client *c,
	uint64_t now,
	const struct ip_endpoint *local,
	const struct ip_endpoint *remote,
	uint8_t ecn,
	uint8_t *buf,
	size_t size)
{
	if (stun_is_message(buf, size)) {
		stun_handle(c, now, local, remote, buf, size);
		return;
	}
	switch (noise_msg_type_get(buf, size)) {
	case NOISE_MSG_DATA:
		data_handle(c, now, ecn, buf, size);
		return;
	case NOISE_MSG_INITIATION:
	case NOISE_MSG_RESPONSE:
	case NOISE_MSG_COOKIE_REPLY:
		handshake_handle(c, now, local, remote, buf, size);
		return;
	}
	count(c, CLIENT_COUNTER_UDP_UNKNOWN);
}

void client_udp_packet(
	struct client *c,
	uint64_t now,
	const struct ip_endpoint *local,
	const struct ip_endpoint *remote,
	uint8_t ecn,
	uint8_t *buf,
	size_t size)
{
	struct relay_datagram d = {*local, *remote, buf, size};
	enum turn_rx rx;

	c->now = now;
	count(c, CLIENT_COUNTER_UDP_IN);
	rx = relay_users_receive(c->relay_users, now, &d);
	if (relay_users_is_peers(rx)) {
		buf += d.data - buf;
		peer_datagram(c, now, &d.local, &d.remote, ecn, buf, d.size);
	} else if (rx != TURN_RX_RESPONSE) {
		count(c, CLIENT_COUNTER_UDP_RELAY_REFUSED);
		LOG_LIMITED(DEBUG, "relay message refused reason=%s", turn_rx_name(rx));
	}
	client_relays_drain(c, now);
}
