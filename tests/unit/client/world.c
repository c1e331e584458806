// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "tests/unit/client/world.h"

#include "tests/unit/unit.h"

#include <sodium.h>

#include <stdio.h>
#include <stdlib.h>

static const char client_host[] = "192.0.2.10:52625";
static const char gateway_host[] = "198.51.100.1:52625";
static const uint8_t psk[32] = {0x77};

#define CLIENT_UFRAG "euez"
#define CLIENT_PWD "anfok4ngd2b4r4rfkhnj6t"
#define GATEWAY_UFRAG "ptrp"
#define GATEWAY_PWD "febda525ybyjxlmz7kz3eq"

static void random_fill(void *, void *out, size_t size)
{
	randombytes_buf(out, size);
}

static void datagram_queue(
	struct world_datagram *queue,
	size_t *n,
	const struct ip_endpoint *from,
	const struct ip_endpoint *to,
	const void *data,
	size_t size,
	uint8_t ecn)
{
	struct world_datagram *d = &queue[(*n)++];

	assert_in_range(*n, 1, 512);
	assert_in_range(size, 1, sizeof(d->data));
	d->from = *from;
	d->to = *to;
	d->ecn = ecn;
	d->size = size;
	memcpy(d->data, data, size);
}

static void op_udp_send(
	void *ctx,
	const struct ip_endpoint *local,
	const struct ip_endpoint *remote,
	const void *data,
	size_t size,
	uint8_t ecn)
{
	struct world *w = ctx;

	if (w->is_network_up)
		datagram_queue(w->to_gateway, &w->n_to_gateway, local, remote, data, size, ecn);
}

static void op_tun_send(void *ctx, const uint8_t *packet, size_t size)
{
	struct world *w = ctx;

	assert_in_range(size, 1, 1280);
	w->n_host++;
	w->host_size = size;
	memcpy(w->host, packet, size);
}

static void candidates_take(struct world *w, const json_t *payload)
{
	const json_t *lines = json_object_get(payload, "candidates");
	const json_t *line;
	size_t i;

	json_array_foreach(lines, i, line) {
		w->n_candidates++;
		if (w->gateway.agent != NULL)
			assert_int_equal(
				ice_agent_add_remote_text(
					w->gateway.agent, w->now, json_string_value(line)),
				0);
	}
}

static bool op_portal_send(void *ctx, struct portal_push push)
{
	struct world *w = ctx;
	char *text;

	assert_non_null(push.payload);
	if (!w->is_portal_up) {
		json_decref(push.payload);
		return false;
	}
	if (strcmp(push.event, "request_authorization") == 0) {
		w->n_requests++;
		text = json_dumps(push.payload, JSON_COMPACT | JSON_SORT_KEYS);
		assert_non_null(text);
		snprintf(w->last_request, sizeof(w->last_request), "%s", text);
		free(text);
	} else if (strcmp(push.event, "new_gateway_ice_candidates") == 0) {
		candidates_take(w, push.payload);
	} else {
		fail_msg("unexpected event %s", push.event);
	}
	json_decref(push.payload);
	return true;
}

static enum portal_dialect op_portal_dialect(void *)
{
	return PORTAL_DIALECT_V2;
}

static int op_interface_set(void *, const struct ip_addr *v4, const struct ip_addr *v6)
{
	assert_int_equal(v4->family, IP_FAMILY_V4);
	assert_int_equal(v6->family, IP_FAMILY_V6);
	return 0;
}

static int op_route_set(void *ctx, const struct ip_prefix *, bool is_add)
{
	struct world *w = ctx;

	if (is_add)
		w->n_routes++;
	else
		w->n_routes--;
	return 0;
}

void world_portal_say(struct world *w, const char *event, const char *payload)
{
	json_t *json = json_loads(payload, JSON_DECODE_ANY, NULL);
	struct client_message m;
	struct portal_error err = {0};

	if (json == NULL)
		fail_msg("not JSON: %s", payload);
	if (client_message_parse(&m, event, json, &err) != 0)
		fail_msg("%s: %s", event, err.text);
	client_portal_message(w->client, w->now, &m);
	client_message_fini(&m);
	json_decref(json);
}

#define SITES "\"sites\":[{\"id\":\"bf56f32d-7b2c-4f5d-a784-788977d014a4\",\"name\":\"s\"}]"

void world_portal_init(struct world *w)
{
	world_portal_say(
		w,
		"init",
		"{\"interface\":{\"ipv4\":\"100.64.0.11\",\"ipv6\":\"fd00:2021:1111::b\"},"
		"\"flow_logs\":{\"api_url\":\"https://x/\",\"upload_interval_secs\":0,"
		"\"upload_batch_size\":1},\"relays\":[],\"resources\":["
		"{\"id\":\"" WORLD_RESOURCE "\",\"type\":\"cidr\",\"name\":\"lab\","
		"\"address\":\"10.20.0.0/16\",\"filters\":[]," SITES "},"
		"{\"id\":\"" WORLD_RESOURCE_V6 "\",\"type\":\"cidr\",\"name\":\"lab6\","
		"\"address\":\"2001:db8:20::/48\",\"filters\":[]," SITES "},"
		"{\"id\":\"" WORLD_RESOURCE_WEB "\",\"type\":\"cidr\",\"name\":\"web\","
		"\"address\":\"10.30.0.0/16\",\"filters\":[{\"protocol\":\"udp\","
		"\"port_range_start\":80,\"port_range_end\":80},{\"protocol\":\"icmp\"}]," SITES
		"}]}");
}

static void gateway_fini(struct world_gateway *g)
{
	ice_agent_destroy(g->agent);
	if (g->peer.node != NULL) {
		noise_session_fini(&g->session);
		noise_peer_fini(&g->peer);
	}
	noise_node_destroy(g->node);
	stun_mac_destroy(g->mac);
	memset(g, 0, sizeof(*g));
}

void world_gateway_restart(struct world *w)
{
	const struct noise_node_config config = {
		.now_ns = w->now,
		.wall_ns = 1700000000 * WORLD_S + w->now,
	};

	gateway_fini(&w->gateway);
	w->gateway.node = noise_node_create(&config);
	assert_non_null(w->gateway.node);
	w->gateway.mac = stun_mac_create();
	w->gateway.is_alive = true;
	sodium_bin2base64(
		w->key_text,
		sizeof(w->key_text),
		noise_node_public_key(w->gateway.node),
		32,
		sodium_base64_VARIANT_ORIGINAL);
}

static void gateway_peer_make(struct world *w)
{
	struct world_gateway *g = &w->gateway;
	const struct ice_config ice = {
		.role = ICE_ROLE_CONTROLLED,
		.profile = ICE_PROFILE_SERVER,
		.local_ufrag = GATEWAY_UFRAG,
		.local_pwd = GATEWAY_PWD,
		.remote_ufrag = CLIENT_UFRAG,
		.remote_pwd = CLIENT_PWD,
		.tie_breaker = 1,
		.random = random_fill,
		.mac = g->mac,
	};
	const struct noise_peer_config noise = {
		.public_key = client_public_key(w->client),
		.psk = psk,
		.connection = 5,
		.timing = NOISE_TIMING_ICE,
	};
	struct ice_candidate host = {.kind = ICE_KIND_HOST};

	g->agent = ice_agent_create(&ice, w->now);
	assert_non_null(g->agent);
	assert_int_equal(ip_endpoint_parse(&host.addr, gateway_host), 0);
	assert_int_equal(ice_agent_add_local(g->agent, w->now, &host, false, NULL), 0);
	assert_int_equal(noise_peer_init(&g->peer, g->node, w->now, &noise), 0);
	assert_int_equal(noise_node_peer_add(g->node, &g->peer), 0);
	noise_session_init(&g->session, &g->peer);
}

void world_authorize(struct world *w, const char *resource)
{
	char text[1024], line[ICE_CANDIDATE_TEXT_SIZE], psk_text[64];
	struct ice_candidate local;

	if (w->gateway.agent == NULL)
		gateway_peer_make(w);
	sodium_bin2base64(psk_text, sizeof(psk_text), psk, 32, sodium_base64_VARIANT_ORIGINAL);
	snprintf(
		text,
		sizeof(text),
		"{\"resource_id\":\"%s\",\"gateway_id\":\"" WORLD_GATEWAY "\","
		"\"site_id\":\"bf56f32d-7b2c-4f5d-a784-788977d014a4\",\"gateway_public_key\":\"%"
		"s\","
		"\"gateway_ipv4\":\"100.64.0.1\",\"gateway_ipv6\":\"fd00:2021:1111::1\","
		"\"preshared_key\":\"%s\",\"client_ice_credentials\":{\"username\":\"" CLIENT_UFRAG
		"\",\"password\":\"" CLIENT_PWD
		"\"},\"gateway_ice_credentials\":{\"username\":\"" GATEWAY_UFRAG
		"\",\"password\":\"" GATEWAY_PWD "\"},\"use_iceless\":false,"
		"\"flow_logs_ingest_token\":\"a.b.c\"}",
		resource,
		w->key_text,
		psk_text);
	world_portal_say(w, "authorization_created", text);
	assert_int_equal(ice_agent_list_locals(w->gateway.agent, &local, 1), 1);
	assert_true(ice_candidate_format(&local, GATEWAY_UFRAG, line) > 0);
	snprintf(
		text,
		sizeof(text),
		"{\"gateway_id\":\"" WORLD_GATEWAY "\",\"candidates\":[\"%s\"]}",
		line);
	world_portal_say(w, "ice_candidates", text);
}

static void gateway_output(struct world *w, struct noise_output *out)
{
	struct world_gateway *g = &w->gateway;

	if (out->size > 0)
		datagram_queue(
			w->to_client,
			&w->n_to_client,
			&g->local,
			&g->client,
			out->bytes,
			out->size,
			0);
	for (unsigned i = 0; i < out->n_events; i++)
		noise_session_handle_event(&g->session, &out->events[i]);
	noise_output_wipe(out);
}

static void gateway_drain(struct world *w)
{
	struct world_gateway *g = &w->gateway;
	struct ice_transmit t;
	struct ice_event e;

	while (ice_agent_poll_transmit(g->agent, &t))
		datagram_queue(
			w->to_client, &w->n_to_client, &t.local, &t.remote, t.data, t.size, 0);
	while (ice_agent_poll_event(g->agent, &e)) {
		if (e.type == ICE_EVENT_SELECTED_PAIR_CHANGED) {
			g->local = e.local;
			g->client = e.remote;
		}
	}
}

static void gateway_data(struct world_gateway *g, uint64_t now, struct world_datagram *d)
{
	static const uint8_t goodbye[] = {0x60, 0, 0, 0, 0, 8, 0xff};
	int rc = noise_session_open(&g->session, now, d->data, d->size);

	assert_true(rc >= 0);
	if (rc == 0)
		return;
	if (rc == 48 && memcmp(d->data + NOISE_SESSION_HEADROOM, goodbye, sizeof(goodbye)) == 0) {
		g->n_goodbyes++;
		return;
	}
	g->n_packets++;
	g->last_ecn = d->ecn;
	g->last_size = (size_t)rc;
	memcpy(g->last, d->data + NOISE_SESSION_HEADROOM, (size_t)rc);
}

static void gateway_receive(struct world *w, struct world_datagram *d)
{
	struct world_gateway *g = &w->gateway;
	struct noise_output out;
	struct noise_peer *peer;

	if (!g->is_alive || g->agent == NULL)
		return;
	if (stun_is_message(d->data, d->size)) {
		ice_agent_handle_packet(g->agent, w->now, &d->to, &d->from, d->data, d->size);
		gateway_drain(w);
		return;
	}
	if (noise_msg_type_get(d->data, d->size) == NOISE_MSG_DATA) {
		gateway_data(g, w->now, d);
		return;
	}
	g->n_initiations++;
	if (noise_node_handle_handshake(g->node, w->now, &d->from, d->data, d->size, &peer, &out)
	    == NOISE_VERDICT_OK)
		gateway_output(w, &out);
}

static void deliver(struct world *w)
{
	for (size_t i = 0, j = 0; i < w->n_to_gateway || j < w->n_to_client;) {
		if (i < w->n_to_gateway)
			gateway_receive(w, &w->to_gateway[i++]);
		if (j < w->n_to_client) {
			struct world_datagram *d = &w->to_client[j++];

			if (w->is_network_up && w->gateway.is_alive)
				client_udp_packet(
					w->client,
					w->now,
					&d->to,
					&d->from,
					d->ecn,
					d->data,
					d->size);
		}
	}
	w->n_to_gateway = 0;
	w->n_to_client = 0;
}

static void gateway_tick(struct world *w)
{
	struct world_gateway *g = &w->gateway;
	struct noise_output out;

	if (!g->is_alive || g->agent == NULL)
		return;
	ice_agent_handle_timeout(g->agent, w->now);
	gateway_drain(w);
	noise_peer_handle_timeout(&g->peer, w->now, &out);
	gateway_output(w, &out);
}

void world_run(struct world *w, uint64_t ms)
{
	uint64_t end = w->now + ms * WORLD_MS;

	deliver(w);
	while (w->now < end) {
		w->now += 10 * WORLD_MS;
		if (w->now > end)
			w->now = end;
		if (client_deadline(w->client) <= w->now)
			client_handle_timeout(w->client, w->now);
		gateway_tick(w);
		deliver(w);
	}
}

struct world *world_create(bool is_local_filter, bool is_prohibited_request)
{
	static const struct client_ops ops = {
		.udp_send = op_udp_send,
		.tun_send = op_tun_send,
		.portal_send = op_portal_send,
		.portal_dialect = op_portal_dialect,
		.interface_set = op_interface_set,
		.route_set = op_route_set,
		.random = random_fill,
	};
	struct world *w = calloc(1, sizeof(*w));
	const struct client_config config = {
		.is_local_filter = is_local_filter,
		.is_prohibited_request = is_prohibited_request,
		.wall_ns = 1700000000 * WORLD_S,
	};
	struct ip_endpoint host;

	assert_non_null(w);
	w->now = WORLD_S;
	w->is_portal_up = true;
	w->is_network_up = true;
	w->client = client_create(&config, &ops, w, w->now);
	assert_non_null(w->client);
	world_gateway_restart(w);
	assert_int_equal(ip_endpoint_parse(&host, client_host), 0);
	client_locals_set(w->client, w->now, &host, 1);
	world_portal_init(w);
	return w;
}

void world_destroy(struct world *w)
{
	client_destroy(w->client);
	gateway_fini(&w->gateway);
	free(w);
}

size_t world_udp_build(
	uint8_t out[1280],
	const char *src,
	const char *dst,
	uint16_t port,
	const char *text)
{
	struct ip_addr from, to;
	size_t size = strlen(text), header;

	assert_int_equal(ip_addr_parse(&from, src), 0);
	assert_int_equal(ip_addr_parse(&to, dst), 0);
	header = from.family == IP_FAMILY_V4 ? 20 : 40;
	memset(out, 0, header + 8);
	if (header == 20) {
		out[0] = 0x45;
		out[2] = (uint8_t)((header + 8 + size) >> 8);
		out[3] = (uint8_t)(header + 8 + size);
		out[8] = 64;
		out[9] = 17;
		memcpy(out + 12, from.bytes, 4);
		memcpy(out + 16, to.bytes, 4);
	} else {
		out[0] = 0x60;
		out[4] = (uint8_t)((8 + size) >> 8);
		out[5] = (uint8_t)(8 + size);
		out[6] = 17;
		out[7] = 64;
		memcpy(out + 8, from.bytes, 16);
		memcpy(out + 24, to.bytes, 16);
	}
	out[header] = 0x15;
	out[header + 2] = (uint8_t)(port >> 8);
	out[header + 3] = (uint8_t)port;
	out[header + 4] = (uint8_t)((8 + size) >> 8);
	out[header + 5] = (uint8_t)(8 + size);
	memcpy(out + header + 8, text, size);
	return header + 8 + size;
}

void world_host_send(struct world *w, const char *dst, uint16_t port, const char *text)
{
	uint8_t buf[CLIENT_HEADROOM + 1280 + CLIENT_TAILROOM];
	const char *src = strchr(dst, ':') != NULL ? "fd00:2021:1111::b" : "100.64.0.11";
	size_t size = world_udp_build(buf + CLIENT_HEADROOM, src, dst, port, text);

	client_tun_packet(w->client, w->now, buf + CLIENT_HEADROOM, size);
}

void world_gateway_send(struct world *w, const uint8_t *packet, size_t size)
{
	struct world_gateway *g = &w->gateway;
	uint8_t buf[NOISE_SESSION_HEADROOM + 1400 + NOISE_SESSION_TAILROOM];
	int sealed;

	memcpy(buf + NOISE_SESSION_HEADROOM, packet, size);
	sealed = noise_session_seal(&g->session, w->now, buf, size);
	assert_true(sealed > 0);
	datagram_queue(
		w->to_client, &w->n_to_client, &g->local, &g->client, buf, (size_t)sealed, 0);
	deliver(w);
}

void world_gateway_reply(struct world *w, const char *src, const char *dst, const char *text)
{
	uint8_t packet[1280];

	world_gateway_send(w, packet, world_udp_build(packet, src, dst, 5401, text));
}

unsigned world_counter(const struct world *w, enum client_counter counter)
{
	return (unsigned)client_counter_get(w->client, counter);
}
