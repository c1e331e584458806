// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "control/portal/transport.h"

#include "control/base/err.h"
#include "control/base/log.h"
#include "control/portal/backoff.h"
#include "control/portal/problem.h"
#include "control/portal/types.h"

#include <libwebsockets.h>

#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define LOG_AREA "portal.transport"

enum {
	// libwebsockets frees its handles over several turns of a foreign loop and tells nobody when:
	// closing one kind starts closing the next. Three turns do it; some more are free.
	DESTROY_TURNS = 6,
	// How long a refused upgrade may hold the loop while its body is still on the wire.
	BODY_WAIT_MS = 100,
	// What libwebsockets formats the request line into.
	REQUEST_MAX = 2000,
};

struct transport {
	uv_loop_t *loop;
	struct lws_context *lws; // libwebsockets resets it when it is freed
	struct lws *wsi; // NULL: no connection or attempt
	struct transport_callbacks callbacks;
	void *ctx;
	const char *user_agent;
	const char *token;
	uv_timer_t timer; // a close, then the turns of a destruction
	uv_check_t destroy_check;
	bool is_check_closed;
	unsigned destroy_turns;
	bool is_open;
	bool is_closing;
	bool is_skipping; // the rest of a binary or refused message
	struct transport_end end;
	char *rx;
	size_t rx_size;
	size_t rx_cap;
};

static void lws_log(int level, const char *line)
{
	size_t len = strcspn(line, "\n");

	if (level == LLL_ERR)
		LOG_LIMITED(INFO, "libwebsockets: %.*s", (int)len, line);
	else
		LOG_LIMITED(DEBUG, "libwebsockets: %.*s", (int)len, line);
}

// Collects the body of a refused upgrade; the non-zero return keeps libwebsockets from starting
// over on a connection that is about to be closed.
static int body_collect(struct transport *t, const char *data, size_t size)
{
	struct problem problem;

	if (problem_parse(&problem, data, size) == 0) {
		memcpy(t->end.code, problem.code, sizeof(t->end.code));
		snprintf(
			t->end.text,
			sizeof(t->end.text),
			"HTTP status %d %s",
			t->end.http_status,
			problem.detail);
	}
	return -1;
}

static void body_read(struct lws *wsi)
{
	struct pollfd fd = {.fd = lws_get_socket_fd(wsi), .events = POLLIN};

	for (int i = 0; i < 2; i++) {
		char buf[2048];
		char *at = buf;
		int len = sizeof(buf);

		// Ends in body_collect() with -1, also on an error.
		if (lws_http_client_read(wsi, &at, &len) < 0)
			return;
		if (i == 0)
			poll(&fd, 1, BODY_WAIT_MS);
	}
}

// The last moment to see why an upgrade was refused: the headers are parsed, the websocket code has
// not looked yet.
static void response_read(struct transport *t, struct lws *wsi)
{
	int status = (int)lws_http_client_http_response(wsi);
	char value[64];

	if (status == 101)
		return;
	t->end.http_status = status;
	snprintf(t->end.text, sizeof(t->end.text), "HTTP status %d", status);
	if (lws_hdr_copy(wsi, value, sizeof(value), WSI_TOKEN_HTTP_RETRY_AFTER) > 0)
		t->end.retry_after_ms = backoff_retry_after_parse(value, time(NULL));
	if (status == 401)
		body_read(wsi);
}

static int header_add(struct lws *wsi, const char *name, const char *value, void *in, size_t len)
{
	unsigned char **at = in;
	unsigned char *end = *at + len;

	return lws_add_http_header_by_name(
		wsi,
		(const unsigned char *)name,
		(const unsigned char *)value,
		(int)strlen(value),
		at,
		end);
}

static int headers_add(struct transport *t, struct lws *wsi, void *in, size_t len)
{
	char bearer[LOGIN_TOKEN_SIZE + sizeof("Bearer ")];
	unsigned char *start = *(unsigned char **)in;
	int rc = header_add(wsi, "User-Agent:", t->user_agent, in, len);

	if (rc == 0) {
		len -= (size_t)(*(unsigned char **)in - start);
		snprintf(bearer, sizeof(bearer), "Bearer %s", t->token);
		rc = header_add(wsi, "X-Authorization:", bearer, in, len);
		explicit_bzero(bearer, sizeof(bearer));
	}
	return rc;
}

static int rx_reserve(struct transport *t, size_t size)
{
	size_t cap = t->rx_cap > 0 ? t->rx_cap : 4096;
	char *rx;

	if (size <= t->rx_cap)
		return 0;
	while (cap < size)
		cap *= 2;
	rx = realloc(t->rx, cap);
	if (rx == NULL)
		return -ENOMEM;
	t->rx = rx;
	t->rx_cap = cap;
	return 0;
}

// Returns non-zero to close the connection.
static int receive(struct transport *t, struct lws *wsi, const char *data, size_t size)
{
	if (lws_is_first_fragment(wsi)) {
		t->rx_size = 0;
		t->is_skipping = lws_frame_is_binary(wsi);
		if (t->is_skipping)
			LOG_LIMITED(INFO, "ignored a binary message");
	}
	if (t->is_skipping)
		return 0;
	if (size > PORTAL_FRAME_MAX - t->rx_size) {
		snprintf(
			t->end.text,
			sizeof(t->end.text),
			"the portal sent a message of more than %u bytes",
			PORTAL_FRAME_MAX);
		LOG(WARNING, "%s", t->end.text);
		return -1;
	}
	if (rx_reserve(t, t->rx_size + size) != 0) {
		snprintf(t->end.text, sizeof(t->end.text), "out of memory");
		return -1;
	}
	if (size > 0)
		memcpy(t->rx + t->rx_size, data, size);
	t->rx_size += size;
	if (!lws_is_final_fragment(wsi))
		return 0;
	t->callbacks.on_message(t->ctx, t->rx != NULL ? t->rx : "", t->rx_size);
	// A rare big init must not stay resident.
	if (t->rx_cap > 65536) {
		free(t->rx);
		t->rx = NULL;
		t->rx_cap = 0;
	}
	t->rx_size = 0;
	return 0;
}

// Not from the writable callback: libwebsockets takes a close there for a dead socket and sends no
// close frame.
static void close_start(uv_timer_t *timer)
{
	struct transport *t = timer->data;

	if (t->wsi == NULL || !t->is_open)
		return;
	lws_close_reason(t->wsi, LWS_CLOSE_STATUS_NORMAL, NULL, 0);
	lws_set_timeout(t->wsi, PENDING_TIMEOUT_CLOSE_SEND, LWS_TO_KILL_SYNC);
}

// Returns non-zero to close the connection.
static int send_next(struct transport *t, struct lws *wsi)
{
	size_t size = 0;
	char *frame = t->callbacks.next_frame(t->ctx, &size);
	unsigned char *buf;
	int n;

	if (frame == NULL) {
		if (t->is_closing)
			uv_timer_start(&t->timer, close_start, 0, 0);
		return 0;
	}
	buf = malloc(LWS_PRE + size);
	if (buf == NULL) {
		free(frame);
		return -1;
	}
	memcpy(buf + LWS_PRE, frame, size);
	free(frame);
	n = lws_write(wsi, buf + LWS_PRE, size, LWS_WRITE_TEXT);
	free(buf);
	if (n < (int)size)
		return -1;
	lws_callback_on_writable(wsi);
	return 0;
}

static void gone(struct transport *t)
{
	struct transport_end end = t->end;

	t->wsi = NULL;
	end.was_open = t->is_open;
	t->is_open = false;
	t->callbacks.on_gone(t->ctx, &end);
}

static void failure_note(struct transport *t, const char *what, size_t len)
{
	if (t->end.text[0] == '\0')
		snprintf(t->end.text, sizeof(t->end.text), "%.*s", (int)len, what);
}

static int callback(struct lws *wsi, enum lws_callback_reasons reason, void *, void *in, size_t len)
{
	struct lws_context *lws = wsi != NULL ? lws_get_context(wsi) : NULL;
	struct transport *t = lws != NULL ? lws_context_user(lws) : NULL;

	// Also the last words of a connection that was dropped.
	if (t == NULL || wsi != t->wsi)
		return 0;
	switch (reason) {
	case LWS_CALLBACK_CLIENT_APPEND_HANDSHAKE_HEADER:
		return headers_add(t, wsi, in, len);
	case LWS_CALLBACK_ESTABLISHED_CLIENT_HTTP:
		response_read(t, wsi);
		return 0;
	case LWS_CALLBACK_RECEIVE_CLIENT_HTTP_READ:
		return body_collect(t, in, len);
	case LWS_CALLBACK_CLIENT_CONNECTION_ERROR:
		failure_note(t, in != NULL ? in : "connection failed", in != NULL ? len : 17);
		gone(t);
		return 0;
	case LWS_CALLBACK_CLIENT_ESTABLISHED:
		t->is_open = true;
		t->callbacks.on_open(t->ctx);
		return 0;
	case LWS_CALLBACK_CLIENT_RECEIVE:
		return receive(t, wsi, in, len);
	case LWS_CALLBACK_CLIENT_WRITEABLE:
		return send_next(t, wsi);
	case LWS_CALLBACK_WS_PEER_INITIATED_CLOSE:
		if (len >= 2) {
			const unsigned char *code = in;

			snprintf(
				t->end.text,
				sizeof(t->end.text),
				"the portal closed with code %u",
				(unsigned)code[0] << 8 | code[1]);
		}
		return 0;
	case LWS_CALLBACK_CLIENT_CLOSED:
		failure_note(t, "connection lost", 15);
		gone(t);
		return 0;
	default:
		return 0;
	}
}

static const struct lws_protocols protocols[] = {
	{.name = "portal", .callback = callback},
	{.name = NULL},
};

struct transport *transport_create(uv_loop_t *loop, const struct transport_config *config)
{
	void *loops[] = {loop};
	struct transport *t = calloc(1, sizeof(*t));
	struct lws_context_creation_info info = {
		.port = CONTEXT_PORT_NO_LISTEN,
		.protocols = protocols,
		.gid = (gid_t)-1,
		.uid = (uid_t)-1,
		.options = LWS_SERVER_OPTION_LIBUV,
		.foreign_loops = loops,
		.user = t,
		.client_ssl_ca_filepath = config->ca_file,
		.fd_limit_per_thread = 32,
		.pt_serv_buf_size = 16384,
		.max_http_header_data = 16384,
		.http_proxy_address = "none:0", // not the environment's proxy
		.pcontext = t != NULL ? &t->lws : NULL,
	};

	if (t == NULL)
		return err_set_null(ENOMEM);
	if (config->is_tls)
		info.options |= LWS_SERVER_OPTION_DO_SSL_GLOBAL_INIT;
	t->loop = loop;
	t->callbacks = config->callbacks;
	t->ctx = config->ctx;
	t->user_agent = config->user_agent;
	t->token = config->token;
	lws_set_log_level(LLL_ERR | LLL_WARN, lws_log);
	t->lws = lws_create_context(&info);
	if (t->lws == NULL) {
		free(t);
		return err_set_null(EIO);
	}
	uv_timer_init(loop, &t->timer);
	t->timer.data = t;
	uv_check_init(loop, &t->destroy_check);
	t->destroy_check.data = t;
	return t;
}

int transport_connect(
	struct transport *t,
	const struct ip_addr *addr,
	const struct login_target *target)
{
	char address[IP_TEXT_SIZE];
	char host[LOGIN_HOST_SIZE + 2];
	struct lws_client_connect_info info = {
		.context = t->lws,
		.address = ip_addr_format(addr, address),
		.port = target->port,
		.path = target->request,
		.host = host,
		.ssl_connection = LCCSCF_HTTP_NO_FOLLOW_REDIRECT,
		.local_protocol_name = "portal",
		.alpn = "http/1.1",
		.pwsi = &t->wsi,
	};

	if (t->wsi != NULL)
		return -EBUSY;
	if (target->request_size > REQUEST_MAX)
		return -EIO;
	snprintf(
		host,
		sizeof(host),
		strchr(target->host, ':') != NULL ? "[%s]" : "%s",
		target->host);
	if (target->is_tls)
		info.ssl_connection |= LCCSCF_USE_SSL;
	t->end = (struct transport_end){.retry_after_ms = BACKOFF_NO_RETRY_AFTER};
	t->is_open = false;
	t->is_closing = false;
	t->rx_size = 0;
	if (lws_client_connect_via_info(&info) == NULL) {
		t->wsi = NULL;
		return -EIO;
	}
	return 0;
}

bool transport_is_tcp_up(const struct transport *t)
{
	struct tcp_info info;
	socklen_t size = sizeof(info);

	if (t->wsi == NULL)
		return false;
	if (getsockopt(lws_get_socket_fd(t->wsi), IPPROTO_TCP, TCP_INFO, &info, &size) != 0)
		return false;
	return info.tcpi_state == TCP_ESTABLISHED;
}

void transport_want_write(struct transport *t)
{
	if (t->wsi != NULL && t->is_open)
		lws_callback_on_writable(t->wsi);
}

void transport_close(struct transport *t)
{
	t->is_closing = true;
	transport_want_write(t);
}

void transport_drop(struct transport *t)
{
	struct lws *wsi = t->wsi;

	t->wsi = NULL;
	t->is_open = false;
	if (wsi != NULL)
		lws_set_timeout(wsi, PENDING_TIMEOUT_KILLED_BY_PARENT, LWS_TO_KILL_SYNC);
}

static void destroy_handle_closed(uv_handle_t *handle)
{
	struct transport *t = handle->data;
	void (*on_destroyed)(void *) = t->callbacks.on_destroyed;
	void *ctx = t->ctx;

	if (!t->is_check_closed) {
		t->is_check_closed = true;
		return;
	}
	free(t->rx);
	free(t);
	on_destroyed(ctx);
}

static void destroy_turn(uv_timer_t *timer)
{
	struct transport *t = timer->data;
	void *handles[] = {&t->timer, &t->destroy_check};

	if (++t->destroy_turns < DESTROY_TURNS)
		return;
	// The second call frees what the first one left for the loop to close.
	if (t->lws != NULL)
		lws_context_destroy(t->lws);
	uv_close(handles[0], destroy_handle_closed);
	uv_close(handles[1], destroy_handle_closed);
}

// libwebsockets 4.1 closes the descriptor of its wake-up event here and once more when the loop has
// closed the handle. From a check callback nothing of this loop runs in between that could have been
// given the same number.
static void destroy_start(uv_check_t *check)
{
	struct transport *t = check->data;

	uv_check_stop(check);
	lws_context_destroy(t->lws);
	uv_timer_start(&t->timer, destroy_turn, 1, 1);
}

static void destroy_wake(uv_timer_t *) {}

void transport_destroy(struct transport *t)
{
	if (t == NULL)
		return;
	transport_drop(t);
	uv_check_start(&t->destroy_check, destroy_start);
	// Lets the loop come around to the check without waiting.
	uv_timer_start(&t->timer, destroy_wake, 1, 1);
}
