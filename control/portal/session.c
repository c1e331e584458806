// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "control/portal/session.h"

#include "control/base/err.h"
#include "control/base/log.h"
#include "control/base/uv_cast.h"
#include "control/portal/backoff.h"
#include "control/portal/phoenix.h"
#include "control/portal/transport.h"

#include <sodium.h>

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LOG_AREA "portal.session"

enum {
	ADDRESSES_MAX = 16
};

//   WAITING --timer--> RESOLVING --> CONNECTING --upgrade--> OPEN
//      ^                   |             | next address         |
//      +------- attempt or connection over ---------------------+
//   FATAL: 401 with a final code.   CLOSING: session_close(), then DESTROYING.
enum state {
	STATE_WAITING = 0,
	STATE_RESOLVING,
	STATE_CONNECTING,
	STATE_OPEN,
	STATE_FATAL,
	STATE_CLOSING,
	STATE_DESTROYING,
};

struct session {
	uv_loop_t *loop;
	struct session_callbacks callbacks;
	void *ctx;
	char user_agent[LOGIN_USER_AGENT_SIZE];
	char token[LOGIN_TOKEN_SIZE];
	struct login_target targets[2]; // by enum portal_dialect
	enum portal_dialect dialect;
	struct transport *transport;
	struct phoenix *phoenix;
	struct backoff backoff;
	enum state state;
	bool is_told_joined;
	bool is_drop_due; // the connection is to be given up outside of its callbacks
	uv_timer_t timer; // what the state waits for
	uint64_t handshake_deadline;
	uv_getaddrinfo_t resolve;
	bool is_resolving;
	struct ip_addr addresses[ADDRESSES_MAX];
	size_t n_addresses;
	size_t next_address;
	bool is_timer_closed;
	bool is_transport_gone;
	char reason[192]; // why the connection is given up
	uint32_t delay_min_ms;
};

static void on_timer(uv_timer_t *timer);

static uint64_t now_ms(const struct session *s)
{
	return uv_now(s->loop);
}

static void timer_at(struct session *s, uint64_t delay_ms)
{
	uv_timer_start(&s->timer, on_timer, delay_ms, 0);
}

static void tell_down(struct session *s, const char *reason)
{
	if (!s->is_told_joined)
		return;
	s->is_told_joined = false;
	LOG(WARNING, "portal lost: %s", reason);
	if (s->state < STATE_CLOSING && s->callbacks.on_down != NULL)
		s->callbacks.on_down(s->ctx, reason);
}

// Waits for the next attempt. The connection is already gone or was never there.
static void retry(struct session *s, const char *reason, int64_t retry_after_ms)
{
	uint32_t delay = backoff_next_ms(&s->backoff, retry_after_ms, randombytes_random());
	bool was_joined = s->is_told_joined;

	if (delay < s->delay_min_ms)
		delay = s->delay_min_ms;
	s->delay_min_ms = 0;
	phoenix_close(s->phoenix);
	s->state = STATE_WAITING;
	s->is_drop_due = false;
	timer_at(s, delay);
	if (!was_joined)
		LOG(WARNING, "no connection to the portal: %s; next try in %u ms", reason, delay);
	tell_down(s, reason);
}

static void refused(struct session *s, const struct transport_end *end)
{
	if (backoff_is_fatal(end->http_status, end->code)) {
		phoenix_close(s->phoenix);
		tell_down(s, end->text);
		s->state = STATE_FATAL;
		uv_timer_stop(&s->timer);
		LOG(ERR, "the portal refuses the token: %s code=%s", end->text, end->code);
		s->callbacks.on_fatal(s->ctx, end->code);
		return;
	}
	// A portal without this dialect's path; the other one may be there.
	if (end->http_status == 404 || end->http_status == 308) {
		s->dialect =
			s->dialect == PORTAL_DIALECT_V2 ? PORTAL_DIALECT_V1 : PORTAL_DIALECT_V2;
		// Portals accept one connect a second.
		s->delay_min_ms = BACKOFF_FIRST_CONNECT_MS;
	}
	retry(s, end->text, end->retry_after_ms);
}

static void connect_next(struct session *s)
{
	const struct login_target *target = &s->targets[s->dialect];

	s->state = STATE_CONNECTING;
	while (s->next_address < s->n_addresses && now_ms(s) < s->handshake_deadline) {
		const struct ip_addr *addr = &s->addresses[s->next_address++];
		uint64_t left;

		if (transport_connect(s->transport, addr, target) != 0)
			continue;
		left = s->handshake_deadline - now_ms(s);
		timer_at(s, left < SESSION_CONNECT_MS ? left : SESSION_CONNECT_MS);
		return;
	}
	retry(s, "no address of the portal answers", BACKOFF_NO_RETRY_AFTER);
}

static void on_resolved(uv_getaddrinfo_t *request, int status, struct addrinfo *result)
{
	struct session *s = request->data;

	s->is_resolving = false;
	if (s->state == STATE_RESOLVING) {
		s->n_addresses = 0;
		for (struct addrinfo *a = result; a != NULL; a = a->ai_next) {
			struct ip_endpoint e;

			if (s->n_addresses < ADDRESSES_MAX
			    && ip_endpoint_from_sockaddr(&e, a->ai_addr) == 0)
				s->addresses[s->n_addresses++] = e.addr;
		}
		if (status != 0)
			retry(s, "the portal's name does not resolve", BACKOFF_NO_RETRY_AFTER);
		else
			connect_next(s);
	}
	uv_freeaddrinfo(result);
}

static void attempt(struct session *s)
{
	const struct login_target *target = &s->targets[s->dialect];
	const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};

	s->handshake_deadline = now_ms(s) + SESSION_HANDSHAKE_MS;
	s->next_address = 0;
	if (ip_addr_parse(&s->addresses[0], target->host) == 0) {
		s->n_addresses = 1;
		connect_next(s);
		return;
	}
	s->state = STATE_RESOLVING;
	timer_at(s, SESSION_HANDSHAKE_MS);
	// A lookup that outlived its attempt is still in the thread pool: its answer will do.
	if (s->is_resolving)
		return;
	s->resolve.data = s;
	s->is_resolving =
		uv_getaddrinfo(s->loop, &s->resolve, on_resolved, target->host, NULL, &hints) == 0;
	if (!s->is_resolving)
		retry(s, "name lookup cannot start", BACKOFF_NO_RETRY_AFTER);
}

static void destroy_start(struct session *s)
{
	s->state = STATE_DESTROYING;
	s->is_told_joined = false;
	uv_timer_stop(&s->timer);
	phoenix_close(s->phoenix);
	transport_destroy(s->transport);
}

// Gives the connection up from outside of its callbacks.
static void drop_soon(struct session *s, const char *reason)
{
	if (s->is_drop_due)
		return;
	snprintf(s->reason, sizeof(s->reason), "%s", reason);
	s->is_drop_due = true;
	timer_at(s, 0);
}

static void down_handle(struct session *s, const struct phoenix_event *e)
{
	char text[sizeof(s->reason)];

	snprintf(
		text,
		sizeof(text),
		"%s%s%s",
		phoenix_down_name(e->down),
		e->detail[0] != '\0' ? ": " : "",
		e->detail);
	if (e->down == PHOENIX_DOWN_TOKEN_EXPIRED)
		s->delay_min_ms = BACKOFF_TOKEN_EXPIRED_MS;
	drop_soon(s, text);
}

static void event_handle(struct session *s, const struct phoenix_event *e)
{
	switch (e->type) {
	case PHOENIX_EVENT_JOINED:
		backoff_reset(&s->backoff);
		s->is_told_joined = true;
		LOG(NOTICE, "joined dialect=%s", s->dialect == PORTAL_DIALECT_V2 ? "v2" : "v1");
		s->callbacks.on_joined(s->ctx);
		break;
	case PHOENIX_EVENT_REJOINING:
		tell_down(s, "joining again");
		break;
	case PHOENIX_EVENT_MESSAGE:
		s->callbacks.on_message(s->ctx, e->name, e->payload);
		break;
	case PHOENIX_EVENT_DOWN:
		down_handle(s, e);
		break;
	}
}

// Tells what the channel has for us and arms the timer for what comes next.
static void channel_pump(struct session *s)
{
	struct phoenix_event e;
	uint64_t deadline;

	while (s->state == STATE_OPEN && phoenix_next_event(s->phoenix, &e)) {
		event_handle(s, &e);
		phoenix_event_fini(&e);
	}
	if (s->state != STATE_OPEN)
		return;
	transport_want_write(s->transport);
	deadline = phoenix_deadline(s->phoenix);
	if (!s->is_drop_due && deadline != PHOENIX_NO_DEADLINE)
		timer_at(s, deadline > now_ms(s) ? deadline - now_ms(s) : 0);
}

static void on_timer(uv_timer_t *timer)
{
	struct session *s = timer->data;

	switch (s->state) {
	case STATE_WAITING:
		attempt(s);
		break;
	case STATE_RESOLVING:
		retry(s, "the portal's name does not resolve in time", BACKOFF_NO_RETRY_AFTER);
		break;
	case STATE_CONNECTING:
		if (transport_is_tcp_up(s->transport) && now_ms(s) < s->handshake_deadline) {
			timer_at(s, s->handshake_deadline - now_ms(s));
			break;
		}
		transport_drop(s->transport);
		connect_next(s);
		break;
	case STATE_OPEN:
		if (!s->is_drop_due) {
			phoenix_tick(s->phoenix, now_ms(s));
			channel_pump(s);
			break;
		}
		transport_drop(s->transport);
		retry(s, s->reason, BACKOFF_NO_RETRY_AFTER);
		break;
	case STATE_CLOSING:
		destroy_start(s);
		break;
	case STATE_FATAL:
	case STATE_DESTROYING:
		break;
	}
}

static void on_open(void *ctx)
{
	struct session *s = ctx;

	if (s->state != STATE_CONNECTING)
		return;
	s->state = STATE_OPEN;
	s->is_drop_due = false;
	phoenix_open(s->phoenix, now_ms(s));
	channel_pump(s);
}

static void on_message(void *ctx, const char *text, size_t size)
{
	struct session *s = ctx;

	if (s->state != STATE_OPEN || s->is_drop_due)
		return;
	phoenix_receive(s->phoenix, text, size, now_ms(s));
	channel_pump(s);
}

static char *next_frame(void *ctx, size_t *size)
{
	struct session *s = ctx;

	// While closing: what was sent before, so that a goodbye is not lost.
	return s->is_drop_due ? NULL : phoenix_next_frame(s->phoenix, size);
}

static void on_gone(void *ctx, const struct transport_end *end)
{
	struct session *s = ctx;

	switch (s->state) {
	case STATE_CONNECTING:
		if (end->http_status != 0) {
			refused(s, end);
		} else if (s->next_address < s->n_addresses) {
			timer_at(s, 0);
		} else {
			retry(s, end->text, BACKOFF_NO_RETRY_AFTER);
		}
		break;
	case STATE_OPEN:
		retry(s, s->is_drop_due ? s->reason : end->text, BACKOFF_NO_RETRY_AFTER);
		break;
	case STATE_CLOSING:
		timer_at(s, 0);
		break;
	default:
		break;
	}
}

static void free_if_done(struct session *s)
{
	void (*on_closed)(void *) = s->callbacks.on_closed;
	void *ctx = s->ctx;

	if (!s->is_timer_closed || !s->is_transport_gone)
		return;
	phoenix_destroy(s->phoenix);
	login_target_fini(&s->targets[PORTAL_DIALECT_V2]);
	login_target_fini(&s->targets[PORTAL_DIALECT_V1]);
	sodium_memzero(s->token, sizeof(s->token));
	free(s);
	if (on_closed != NULL)
		on_closed(ctx);
}

static void on_timer_closed(uv_handle_t *handle)
{
	struct session *s = handle->data;

	s->is_timer_closed = true;
	free_if_done(s);
}

// A lookup in the thread pool cannot be taken back once it runs; nothing is freed before it is home.
static void wait_for_resolver(uv_timer_t *timer)
{
	struct session *s = timer->data;

	if (s->is_resolving) {
		void *request = &s->resolve;

		uv_cancel(request);
		uv_timer_start(timer, wait_for_resolver, 10, 0);
		return;
	}
	uv_close(uv_cast_handle(timer), on_timer_closed);
}

static void on_transport_destroyed(void *ctx)
{
	struct session *s = ctx;

	s->is_transport_gone = true;
	wait_for_resolver(&s->timer);
}

static int
targets_build(struct session *s, const struct session_config *config, struct portal_error *err)
{
	const struct login_target *target = &s->targets[PORTAL_DIALECT_V2];

	for (int d = PORTAL_DIALECT_V2; d <= PORTAL_DIALECT_V1; d++) {
		int rc = login_target_init(
			&s->targets[d], &config->login, (enum portal_dialect)d, err);

		if (rc != 0)
			return rc;
	}
	// libwebsockets 4.1 cuts the name to verify at its first colon.
	if (target->is_tls && strchr(target->host, ':') != NULL) {
		snprintf(
			err->text,
			sizeof(err->text),
			"api url: wss needs a name or an IPv4 address");
		return -EINVAL;
	}
	if (config->ca_file != NULL && access(config->ca_file, R_OK) != 0) {
		snprintf(err->text, sizeof(err->text), "ca file: cannot be read");
		return -EINVAL;
	}
	return login_token_clean(s->token, config->login.token);
}

static void unwind(struct session *s)
{
	phoenix_destroy(s->phoenix);
	login_target_fini(&s->targets[PORTAL_DIALECT_V2]);
	login_target_fini(&s->targets[PORTAL_DIALECT_V1]);
	sodium_memzero(s->token, sizeof(s->token));
	free(s);
}

struct session *
session_create(uv_loop_t *loop, const struct session_config *config, struct portal_error *err)
{
	struct session *s = calloc(1, sizeof(*s));
	struct transport_config transport;
	int rc;

	if (s == NULL)
		return err_set_null(ENOMEM);
	s->loop = loop;
	s->callbacks = config->callbacks;
	s->ctx = config->ctx;
	snprintf(s->user_agent, sizeof(s->user_agent), "%s", config->user_agent);
	backoff_init(&s->backoff);
	rc = targets_build(s, config, err);
	if (rc != 0) {
		unwind(s);
		return err_set_null(-rc);
	}
	s->phoenix = phoenix_create(login_role_name(config->login.role));
	if (s->phoenix != NULL && config->join_payload != NULL
	    && phoenix_join_payload_set(s->phoenix, config->join_payload) < 0) {
		unwind(s);
		return err_set_null(ENOMEM);
	}
	transport = (struct transport_config){
		.ca_file = config->ca_file,
		.user_agent = s->user_agent,
		.token = s->token,
		.is_tls = s->targets[PORTAL_DIALECT_V2].is_tls,
		.callbacks =
			{
				.on_open = on_open,
				.on_message = on_message,
				.next_frame = next_frame,
				.on_gone = on_gone,
				.on_destroyed = on_transport_destroyed,
			},
		.ctx = s,
	};
	if (s->phoenix != NULL)
		s->transport = transport_create(loop, &transport);
	if (s->transport == NULL) {
		snprintf(err->text, sizeof(err->text), "websocket library cannot start");
		unwind(s);
		return err_set_null(ENOMEM);
	}
	uv_timer_init(loop, &s->timer);
	s->timer.data = s;
	timer_at(s, 0);
	return s;
}

bool session_is_joined(const struct session *s)
{
	return s->state == STATE_OPEN && !s->is_drop_due && phoenix_is_joined(s->phoenix);
}

enum portal_dialect session_dialect(const struct session *s)
{
	return s->dialect;
}

bool session_send(struct session *s, struct portal_push push)
{
	int rc = -ENOTCONN;

	if (push.payload == NULL)
		rc = -ENOMEM;
	else if (session_is_joined(s))
		rc = phoenix_send(s->phoenix, push.event, push.payload);
	json_decref(push.payload);
	if (rc != 0) {
		LOG_LIMITED(INFO, "not sent event=%s: %s", push.event, strerror(-rc));
		return false;
	}
	transport_want_write(s->transport);
	return true;
}

void session_close(struct session *s)
{
	if (s->state >= STATE_CLOSING)
		return;
	if (s->state == STATE_OPEN && !s->is_drop_due) {
		s->state = STATE_CLOSING;
		transport_close(s->transport);
		timer_at(s, SESSION_CLOSE_MS);
		return;
	}
	s->state = STATE_CLOSING;
	timer_at(s, 0);
}

void session_destroy(struct session *s)
{
	if (s == NULL || s->state == STATE_DESTROYING)
		return;
	destroy_start(s);
}
