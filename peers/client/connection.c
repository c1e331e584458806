// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "peers/client/connection.h"

#include "control/base/err.h"
#include "control/base/log.h"
#include "control/noise/session.h"
#include "control/path/ice.h"
#include "peers/client/packet_queue.h"

#include <sodium.h>

#include <stdlib.h>
#include <string.h>

#define LOG_AREA "client.connection"

struct connection {
	const struct connection_env *env;
	void *user;
	struct ice_agent *agent;
	struct noise_peer peer;
	struct noise_session session;
	char local_ufrag[ICE_UFRAG_LEN_MAX + 1];
	uint8_t identity[crypto_generichash_BYTES]; // of all parameters, see identity_make()
	bool has_path;
	struct ip_endpoint local, remote; // the path
	uint64_t packet_ns; // last IP packet in either direction
	bool is_idle;
	bool is_established;
	const char *lost_reason; // NULL: alive
	bool is_established_told, is_path_told, is_lost_told;
	struct packet_queue packets; // IP packets that wait for the session
	struct packet_queue handshakes; // WireGuard messages that wait for a path
};

// Keyless hash of everything whose change makes another connection of it.
static void
identity_make(uint8_t out[crypto_generichash_BYTES], const struct client_authorization_created *a)
{
	const char *const texts[] = {
		a->client_ice.username,
		a->client_ice.password,
		a->gateway_ice.username,
		a->gateway_ice.password,
	};
	crypto_generichash_state state;

	crypto_generichash_init(&state, NULL, 0, crypto_generichash_BYTES);
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		crypto_generichash_update(&state, (const uint8_t *)texts[i], strlen(texts[i]) + 1);
	crypto_generichash_update(&state, a->gateway_public_key, PORTAL_KEY_SIZE);
	crypto_generichash_update(&state, a->preshared_key, PORTAL_KEY_SIZE);
	crypto_generichash_final(&state, out, crypto_generichash_BYTES);
	sodium_memzero(&state, sizeof(state));
}

static int
agent_make(struct connection *c, uint64_t now, const struct client_authorization_created *auth)
{
	struct ice_config config = {
		.role = ICE_ROLE_CONTROLLING,
		.profile = ICE_PROFILE_CLIENT,
		.local_ufrag = auth->client_ice.username,
		.local_pwd = auth->client_ice.password,
		.remote_ufrag = auth->gateway_ice.username,
		.remote_pwd = auth->gateway_ice.password,
		.random = c->env->random,
		.random_ctx = c->env->ctx,
		.mac = c->env->mac,
		.table = c->env->table,
		.user = c,
	};

	c->env->random(c->env->ctx, &config.tie_breaker, sizeof(config.tie_breaker));
	c->agent = ice_agent_create(&config, now);
	if (c->agent == NULL)
		return -errno;
	memcpy(c->local_ufrag, config.local_ufrag, strlen(config.local_ufrag) + 1);
	return 0;
}

static int peer_make(
	struct connection *c,
	uint64_t now,
	uint32_t number,
	const struct client_authorization_created *auth)
{
	const struct noise_peer_config config = {
		.public_key = auth->gateway_public_key,
		.psk = auth->preshared_key,
		.connection = number,
		.timing = NOISE_TIMING_ICE,
	};
	int rc = noise_peer_init(&c->peer, c->env->node, now, &config);

	if (rc < 0)
		return rc;
	noise_session_init(&c->session, &c->peer);
	return noise_node_peer_add(c->env->node, &c->peer);
}

struct connection *connection_create(
	const struct connection_env *env,
	uint64_t now,
	uint32_t number,
	const struct client_authorization_created *auth,
	void *user)
{
	struct connection *c;
	int rc;

	if (strlen(auth->client_ice.username) > ICE_UFRAG_LEN_MAX)
		return err_set_null(EINVAL);
	c = calloc(1, sizeof(*c));
	if (c == NULL)
		return NULL;
	c->env = env;
	c->user = user;
	c->packet_ns = now;
	identity_make(c->identity, auth);
	rc = peer_make(c, now, number, auth);
	if (rc == 0)
		rc = agent_make(c, now, auth);
	if (rc < 0) {
		connection_destroy(c);
		return err_set_null(-rc);
	}
	return c;
}

void connection_destroy(struct connection *c)
{
	if (c == NULL)
		return;
	ice_agent_destroy(c->agent);
	noise_session_fini(&c->session);
	noise_peer_fini(&c->peer);
	packet_queue_clear(&c->packets);
	packet_queue_clear(&c->handshakes);
	sodium_memzero(c, sizeof(*c));
	free(c);
}

void *connection_user(const struct connection *c)
{
	return c->user;
}

struct connection *connection_of_agent(const struct ice_agent *agent)
{
	return ice_agent_user(agent);
}

struct connection *connection_of_peer(struct noise_peer *peer)
{
	return (void *)((char *)peer - offsetof(struct connection, peer));
}

bool connection_matches(const struct connection *c, const struct client_authorization_created *auth)
{
	uint8_t identity[crypto_generichash_BYTES];

	identity_make(identity, auth);
	return sodium_memcmp(identity, c->identity, sizeof(identity)) == 0;
}

static void lose(struct connection *c, const char *reason)
{
	if (c->lost_reason == NULL)
		c->lost_reason = reason;
}

// An IP packet passed: resumes frequent checks if there was none for long.
static void packet_note(struct connection *c, uint64_t now)
{
	c->packet_ns = now;
	if (!c->is_idle)
		return;
	c->is_idle = false;
	ice_agent_set_idle(c->agent, now, false);
	connection_ice_drain(c, now);
}

static void message_send(struct connection *c, const uint8_t *data, size_t size)
{
	if (c->has_path)
		c->env->send(c->env->ctx, &c->local, &c->remote, data, size, 0);
	else
		packet_queue_push(&c->handshakes, data, size);
}

static void keepalive_send(struct connection *c, uint64_t now)
{
	uint8_t buf[CONNECTION_HEADROOM + CONNECTION_TAILROOM];
	int size = noise_session_seal(&c->session, now, buf, 0);

	if (size > 0)
		message_send(c, buf, (size_t)size);
}

// Lets the packets go that waited for the session, as soon as there is also a path.
static void establish(struct connection *c, uint64_t now)
{
	struct packet_queued *p;

	if (!c->has_path || c->session.current == NULL)
		return;
	c->is_established = true;
	// Counted, because a packet that cannot be sealed goes back into the queue.
	for (unsigned n = c->packets.count; n > 0; n--) {
		p = packet_queue_pop(&c->packets);
		connection_send_copy(c, now, p->data, p->size);
		free(p);
	}
}

void connection_noise_output(struct connection *c, uint64_t now, struct noise_output *out)
{
	if (out->size > 0)
		message_send(c, out->bytes, out->size);
	for (unsigned i = 0; i < out->n_events; i++) {
		noise_session_handle_event(&c->session, &out->events[i]);
		switch (out->events[i].type) {
		case NOISE_EVENT_KEYPAIR_READY:
			break;
		case NOISE_EVENT_SEND_KEEPALIVE:
			if (c->packets.count == 0)
				keepalive_send(c, now);
			break;
		case NOISE_EVENT_EXPIRED:
			lose(c, "no answer to handshakes");
			break;
		}
	}
	noise_output_wipe(out);
	establish(c, now);
}

static void handshake_start(struct connection *c, uint64_t now)
{
	struct noise_output out;
	int rc = noise_peer_initiate(&c->peer, now, &out);

	if (rc == 0)
		connection_noise_output(c, now, &out);
	else if (rc != -EALREADY)
		LOG_LIMITED(WARNING, "handshake not started error=\"%s\"", strerror(-rc));
}

static void path_change(struct connection *c, uint64_t now, const struct ice_event *event)
{
	struct packet_queued *p;

	c->local = event->local;
	c->remote = event->remote;
	c->has_path = true;
	c->is_path_told = false;
	while ((p = packet_queue_pop(&c->handshakes)) != NULL) {
		message_send(c, p->data, p->size);
		free(p);
	}
	handshake_start(c, now);
	establish(c, now);
}

void connection_ice_drain(struct connection *c, uint64_t now)
{
	struct ice_transmit transmit;
	struct ice_event event;

	while (ice_agent_poll_transmit(c->agent, &transmit))
		c->env->send(
			c->env->ctx,
			&transmit.local,
			&transmit.remote,
			transmit.data,
			transmit.size,
			0);
	while (ice_agent_poll_event(c->agent, &event)) {
		switch (event.type) {
		case ICE_EVENT_SELECTED_PAIR_CHANGED:
			path_change(c, now, &event);
			break;
		case ICE_EVENT_CONNECTED:
			break;
		case ICE_EVENT_DISCONNECTED:
			LOG(INFO, "path lost");
			break;
		case ICE_EVENT_FAILED:
			lose(c,
			     event.failure == ICE_FAILURE_NO_CANDIDATES ? "no candidates"
									: "no path");
			break;
		}
	}
}

void connection_renew(struct connection *c, uint64_t now)
{
	packet_note(c, now);
	if (c->has_path)
		handshake_start(c, now);
}

int connection_local_add(
	struct connection *c,
	uint64_t now,
	const struct ice_candidate *given,
	bool is_cross_family,
	char text[ICE_CANDIDATE_TEXT_SIZE])
{
	struct ice_candidate added;
	int rc = ice_agent_add_local(c->agent, now, given, is_cross_family, &added);

	if (rc < 0)
		return rc;
	connection_locals_changed(c, now);
	rc = ice_candidate_format(&added, c->local_ufrag, text);
	return rc < 0 ? rc : 0;
}

void connection_locals_changed(struct connection *c, uint64_t now)
{
	packet_note(c, now);
	connection_ice_drain(c, now);
}

struct ice_agent *connection_agent(struct connection *c)
{
	return c->agent;
}

const char *connection_ufrag(const struct connection *c)
{
	return c->local_ufrag;
}

bool connection_remote_is_relay(const struct connection *c)
{
	return c->has_path && ice_agent_remote_kind(c->agent, &c->remote) == ICE_KIND_RELAY;
}

bool connection_local_text(
	const struct connection *c,
	size_t nth,
	char text[ICE_CANDIDATE_TEXT_SIZE])
{
	struct ice_candidate locals[ICE_LOCALS_MAX];
	size_t n = ice_agent_list_locals(c->agent, locals, ICE_LOCALS_MAX);

	return nth < n && ice_candidate_format(&locals[nth], c->local_ufrag, text) >= 0;
}

void connection_remote_set(struct connection *c, uint64_t now, const char *text, bool is_add)
{
	int rc = is_add ? ice_agent_add_remote_text(c->agent, now, text)
			: ice_agent_remove_remote_text(c->agent, now, text);

	if (rc < 0) {
		LOG_LIMITED(INFO, "candidate left out error=\"%s\"", strerror(-rc));
		return;
	}
	packet_note(c, now);
	connection_ice_drain(c, now);
}

void connection_send(struct connection *c, uint64_t now, uint8_t *buf, size_t size, uint8_t ecn)
{
	int sealed = -ENOKEY;

	packet_note(c, now);
	if (c->has_path && c->session.current != NULL)
		sealed = noise_session_seal(&c->session, now, buf, size);
	if (sealed > 0) {
		c->env->send(c->env->ctx, &c->local, &c->remote, buf, (size_t)sealed, ecn);
		return;
	}
	packet_queue_push(&c->packets, buf + CONNECTION_HEADROOM, size);
	// A session that ran out while we were silent.
	if (c->has_path)
		handshake_start(c, now);
}

void connection_send_copy(struct connection *c, uint64_t now, const uint8_t *packet, size_t size)
{
	uint8_t buf[CONNECTION_HEADROOM + PACKET_SIZE_MAX + CONNECTION_TAILROOM];
	struct packet_view view;

	if (size > PACKET_SIZE_MAX)
		return;
	memcpy(buf + CONNECTION_HEADROOM, packet, size);
	view = (struct packet_view){
		.data = packet,
		.src.family = packet[0] >> 4 == 4 ? IP_FAMILY_V4 : IP_FAMILY_V6,
	};
	connection_send(c, now, buf, size, packet_ecn(&view));
}

void connection_goodbye_send(struct connection *c, uint64_t now)
{
	uint8_t buf[CONNECTION_HEADROOM + PACKET_GOODBYE_SIZE + CONNECTION_TAILROOM];
	int size;

	if (!c->has_path)
		return;
	packet_goodbye_build(buf + CONNECTION_HEADROOM);
	size = noise_session_seal(&c->session, now, buf, PACKET_GOODBYE_SIZE);
	if (size > 0)
		c->env->send(c->env->ctx, &c->local, &c->remote, buf, (size_t)size, 0);
}

int connection_open(struct connection *c, uint64_t now, uint8_t *buf, size_t size)
{
	int rc = noise_session_open(&c->session, now, buf, size);

	if (rc > 0)
		packet_note(c, now);
	// The first packet under keys that we made as responder is what lets us send with them.
	if (rc >= 0 && c->packets.count > 0)
		establish(c, now);
	return rc;
}

void connection_handle_timeout(struct connection *c, uint64_t now)
{
	struct noise_output out;

	if (now >= ice_agent_next_deadline(c->agent)) {
		ice_agent_handle_timeout(c->agent, now);
		connection_ice_drain(c, now);
	}
	if (now >= noise_peer_deadline(&c->peer)) {
		noise_peer_handle_timeout(&c->peer, now, &out);
		connection_noise_output(c, now, &out);
	}
	if (!c->is_idle && c->has_path && now - c->packet_ns >= CONNECTION_IDLE_NS) {
		c->is_idle = true;
		ice_agent_set_idle(c->agent, now, true);
		connection_ice_drain(c, now);
	}
}

uint64_t connection_deadline(const struct connection *c)
{
	uint64_t deadline = ice_agent_next_deadline(c->agent);
	uint64_t noise = noise_peer_deadline(&c->peer);

	if (noise < deadline)
		deadline = noise;
	if (!c->is_idle && c->has_path && c->packet_ns + CONNECTION_IDLE_NS < deadline)
		deadline = c->packet_ns + CONNECTION_IDLE_NS;
	return deadline;
}

enum connection_event connection_poll_event(struct connection *c, const char **reason)
{
	if (c->lost_reason != NULL) {
		*reason = c->lost_reason;
		if (c->is_lost_told)
			return CONNECTION_EVENT_NONE;
		c->is_lost_told = true;
		return CONNECTION_EVENT_LOST;
	}
	if (c->is_established && !c->is_established_told) {
		c->is_established_told = true;
		c->is_path_told = true;
		return CONNECTION_EVENT_ESTABLISHED;
	}
	if (c->is_established && !c->is_path_told) {
		c->is_path_told = true;
		return CONNECTION_EVENT_PATH_CHANGED;
	}
	return CONNECTION_EVENT_NONE;
}

bool connection_is_established(const struct connection *c)
{
	return c->is_established;
}

bool connection_is_busy(const struct connection *c)
{
	return c->is_established && !c->is_idle;
}

bool connection_path(
	const struct connection *c,
	struct ip_endpoint *local,
	struct ip_endpoint *remote)
{
	if (!c->has_path)
		return false;
	*local = c->local;
	*remote = c->remote;
	return true;
}
