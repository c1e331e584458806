// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "control/base/log.h"
#include "peers/client/runtime_impl.h"

#include <errno.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>

#define LOG_AREA "client"

// The portal's way around the tunnel. libwebsockets does not let us mark its socket, so the
// addresses that it may connect to are exempt instead.

static void bypass_add(struct runtime *r, struct ip_endpoint to)
{
	char text[IP_TEXT_SIZE];
	int rc;

	to.port = r->portal_port;
	rc = tun_bypass_add(r->tun, &to);
	if (rc < 0)
		LOG(WARNING,
		    "portal not exempt from the tunnel addr=%s error=\"%s\"",
		    ip_endpoint_format(&to, text),
		    strerror(-rc));
}

static void on_resolved(uv_getaddrinfo_t *request, int, struct addrinfo *result)
{
	struct runtime *r = request->data;
	struct ip_endpoint to;

	r->is_resolving = false;
	for (const struct addrinfo *a = result; a != NULL && !r->is_stopping; a = a->ai_next) {
		if (ip_endpoint_from_sockaddr(&to, a->ai_addr) == 0)
			bypass_add(r, to);
	}
	uv_freeaddrinfo(result);
}

static void portal_exempt(struct runtime *r)
{
	const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
	struct ip_endpoint to;

	if (ip_addr_parse(&to.addr, r->portal_host) == 0) {
		bypass_add(r, to);
	} else if (!r->is_resolving) {
		r->resolve.data = r;
		r->is_resolving =
			uv_getaddrinfo(
				&r->loop, &r->resolve, on_resolved, r->portal_host, NULL, &hints)
			== 0;
	}
}

bool runtime_portal_send(void *ctx, struct portal_push push)
{
	struct runtime *r = ctx;

	return session_send(r->session, push);
}

enum portal_dialect runtime_portal_dialect(void *ctx)
{
	const struct runtime *r = ctx;

	return session_dialect(r->session);
}

// The session.

void runtime_on_partition(uv_timer_t *timer)
{
	struct runtime *r = timer->data;

	LOG(ERR, "portal not reached for too long url=%s", r->config->api_url);
	runtime_stop(r, EXIT_FAILURE);
}

static void on_joined(void *ctx)
{
	struct runtime *r = ctx;

	LOG(NOTICE, "portal joined url=%s", r->config->api_url);
	uv_timer_stop(&r->partition);
}

static void on_down(void *ctx, const char *reason)
{
	struct runtime *r = ctx;

	LOG(NOTICE, "portal lost reason=\"%s\"", reason);
	// Its addresses may be others by now.
	if (!r->is_stopping)
		portal_exempt(r);
	if (!r->is_stopping && r->config->max_partition_ms > 0)
		uv_timer_start(&r->partition, runtime_on_partition, r->config->max_partition_ms, 0);
}

static void on_fatal(void *ctx, const char *)
{
	// The session said why.
	runtime_stop(ctx, EXIT_FAILURE);
}

static void on_message(void *ctx, const char *event, const json_t *payload)
{
	struct runtime *r = ctx;
	struct client_message m;
	struct portal_error err;
	int rc = client_message_parse(&m, event, payload, &err);

	if (rc == -ENOMSG) {
		LOG(INFO, "unknown portal message ignored event=%s", event);
		return;
	}
	if (rc < 0) {
		LOG(WARNING,
		    "portal message refused error=\"%s\"",
		    rc == -EBADMSG ? err.text : strerror(-rc));
		return;
	}
	runtime_turn_begin(r);
	client_portal_message(r->client, r->now, &m);
	client_message_fini(&m);
	runtime_turn_end(r);
}

static void on_closed(void *ctx)
{
	struct runtime *r = ctx;

	// A session that was dropped for a new one ends later than that begins.
	if (r->n_dropped > 0)
		r->n_dropped--;
	else
		r->session = NULL;
}

void runtime_portal_restart(struct runtime *r)
{
	if (r->session != NULL) {
		r->n_dropped++;
		session_destroy(r->session);
		r->session = NULL;
	}
	if (runtime_portal_start(r) < 0)
		runtime_stop(r, EXIT_FAILURE);
	else if (r->config->max_partition_ms > 0)
		uv_timer_start(&r->partition, runtime_on_partition, r->config->max_partition_ms, 0);
}

static int portal_locate(struct runtime *r, const struct login_params *login)
{
	struct login_target target;
	struct portal_error err;
	int rc = login_target_init(&target, login, PORTAL_DIALECT_V2, &err);

	if (rc < 0) {
		LOG(ERR, "portal address refused error=\"%s\"", err.text);
		return rc;
	}
	memcpy(r->portal_host, target.host, sizeof(r->portal_host));
	r->portal_port = target.port;
	login_target_fini(&target);
	portal_exempt(r);
	return 0;
}

int runtime_portal_start(struct runtime *r)
{
	char user_agent[LOGIN_USER_AGENT_SIZE];
	struct login_system system;
	struct portal_error err;
	const struct session_config config = {
		.login =
			{
				.role = LOGIN_ROLE_CLIENT,
				.api_url = r->config->api_url,
				.external_id = r->config->external_id,
				.name = r->config->name,
				.token = r->config->token,
				.public_key = client_public_key(r->client),
			},
		.user_agent = user_agent,
		.callbacks =
			{
				.on_joined = on_joined,
				.on_message = on_message,
				.on_down = on_down,
				.on_fatal = on_fatal,
				.on_closed = on_closed,
			},
		.ctx = r,
	};

	if (portal_locate(r, &config.login) < 0)
		return -EINVAL;
	login_system_read(&system);
	login_user_agent(user_agent, LOGIN_ROLE_CLIENT, &system);
	r->session = session_create(&r->loop, &config, &err);
	if (r->session != NULL)
		return 0;
	if (errno == EINVAL)
		LOG(ERR, "portal session refused error=\"%s\"", err.text);
	return -errno;
}
