// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "control/portal/gateway_messages.h"
#include "control/portal/session.h"
#include "tests/unit/unit.h"

#include <libwebsockets.h>

#include <stdio.h>
#include <stdlib.h>

// A portal on 127.0.0.1 in the same loop, written from RFC 6455 on a plain socket, so that it can
// misbehave. Each connection it accepts follows the next entry of its script, the last one for ever.

enum act {
	ACT_HTTP = 0, // answer with http and close
	ACT_SERVE, // upgrade, answer the join, push the frames of text
	ACT_VANISH, // as SERVE, then close the socket
	ACT_FRAGMENTS, // as SERVE, with text cut into one-byte frames, a ping between them
	ACT_HUGE, // as SERVE, with a message of 65 MB before
	ACT_LARGE, // as SERVE, with an init of 8 MB in one frame and one in many
	ACT_SILENT, // accept and say nothing
};

struct step {
	enum act act;
	const char *http;
	const char *text[4];
};

struct connection {
	uv_tcp_t tcp;
	struct portal *portal;
	struct step step;
	bool is_upgraded;
	char in[65536];
	size_t n_in;
};

struct portal {
	uv_loop_t loop;
	uv_tcp_t tcp;
	uv_timer_t deadline;
	bool is_late;
	uint16_t port;
	const struct step *script;
	size_t n_steps;
	size_t n_accepted;
	char request[4096]; // of the last connection
	char frames[8][1024]; // text of the client, all connections
	size_t n_frames;
	unsigned close_code;
	struct connection *connections[16];
	// The session under test.
	struct session *session;
	char log[1024]; // one word per callback
	char payload[1024]; // of the last message, its start
	size_t payload_size;
	const char *stop_at; // stops when log contains it
	bool is_closed;
	bool is_push_wanted; // send no_relays after the join
};

#define LARGE_SIZE ((size_t)8 << 20)
#define JOIN_REPLY                                                                                 \
	"{\"event\":\"phx_reply\",\"payload\":{\"status\":\"ok\",\"response\":{}},\"ref\":0,"      \
	"\"topic\":\"gateway\"}"
#define INIT "{\"event\":\"init\",\"payload\":{\"a\":1},\"ref\":null,\"topic\":\"gateway\"}"

// libuv's way of inheriting, through void * where the compiler frowns on the cast.
static uv_stream_t *stream_of(void *tcp)
{
	return tcp;
}

static uv_handle_t *handle_of(void *handle)
{
	return handle;
}

static struct sockaddr *sockaddr_of(void *addr)
{
	return addr;
}

static void note(struct portal *p, const char *word)
{
	size_t len = strlen(p->log);

	snprintf(p->log + len, sizeof(p->log) - len, "%s;", word);
	if (p->stop_at != NULL && strstr(p->log, p->stop_at) != NULL)
		uv_stop(&p->loop);
}

static void written(uv_write_t *request, int)
{
	free(request);
}

// Copies data behind the request, so that one free() is enough.
static void send_bytes(struct connection *c, const void *data, size_t size)
{
	uv_write_t *request = malloc(sizeof(*request) + size);
	uv_buf_t buf;

	assert_non_null(request);
	memcpy(request + 1, data, size);
	buf = uv_buf_init((char *)(request + 1), (unsigned)size);
	if (uv_write(request, stream_of(&c->tcp), &buf, 1, written) != 0)
		free(request);
}

// RFC 6455 section 5.2, server to client, not masked.
static void send_frame(struct connection *c, unsigned first_byte, const char *text, size_t size)
{
	uint8_t head[10] = {(uint8_t)first_byte};
	size_t head_size = 2;

	if (size < 126) {
		head[1] = (uint8_t)size;
	} else if (size < 65536) {
		head[1] = 126;
		head[2] = (uint8_t)(size >> 8);
		head[3] = (uint8_t)size;
		head_size = 4;
	} else {
		head[1] = 127;
		for (int i = 0; i < 8; i++)
			head[2 + i] = (uint8_t)((uint64_t)size >> (56 - 8 * i));
		head_size = 10;
	}
	send_bytes(c, head, head_size);
	if (size > 0)
		send_bytes(c, text, size);
}

static void connection_closed(uv_handle_t *handle)
{
	struct connection *c = handle->data;

	for (size_t i = 0; i < COUNT_OF(c->portal->connections); i++) {
		if (c->portal->connections[i] == c)
			c->portal->connections[i] = NULL;
	}
	free(c);
}

static void connection_close(struct connection *c)
{
	if (!uv_is_closing(handle_of(&c->tcp)))
		uv_close(handle_of(&c->tcp), connection_closed);
}

static void shut(uv_shutdown_t *request, int)
{
	connection_close(request->handle->data);
	free(request);
}

static void connection_shutdown(struct connection *c)
{
	uv_shutdown_t *request = malloc(sizeof(*request));

	if (uv_shutdown(request, stream_of(&c->tcp), shut) != 0)
		free(request);
}

static void upgrade(struct connection *c)
{
	static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
	const char *key = strcasestr(c->in, "sec-websocket-key: ");
	unsigned char hash[20];
	char accept[64];
	char text[256];
	int len;

	assert_non_null(key);
	key += strlen("sec-websocket-key: ");
	snprintf(text, sizeof(text), "%.*s%s", (int)strcspn(key, "\r"), key, guid);
	lws_SHA1((const unsigned char *)text, strlen(text), hash);
	lws_b64_encode_string((const char *)hash, sizeof(hash), accept, sizeof(accept));
	len = snprintf(
		text,
		sizeof(text),
		"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
		"Sec-WebSocket-Accept: %s\r\n\r\n",
		accept);
	send_bytes(c, text, (size_t)len);
	c->is_upgraded = true;
	c->n_in = 0;
}

static void serve_huge(struct connection *c)
{
	size_t size = 65 << 20;
	char *huge = malloc(size);

	assert_non_null(huge);
	memset(huge, ' ', size);
	send_frame(c, 0x81, huge, size);
	free(huge);
}

// Two inits with the same long string.
static void serve_large(struct connection *c)
{
	static const char head[] = "{\"event\":\"init\",\"payload\":{\"a\":\"",
			  tail[] = "\"},\"ref\":null,\"topic\":\"gateway\"}";
	size_t size = LARGE_SIZE, fragment = 65000;
	char *large = malloc(size);

	assert_non_null(large);
	memset(large, 'x', size);
	memcpy(large, head, sizeof(head) - 1);
	memcpy(large + size - (sizeof(tail) - 1), tail, sizeof(tail) - 1);
	send_frame(c, 0x81, large, size);
	for (size_t n = 0; n < size; n += fragment) {
		bool is_last = size - n <= fragment;

		send_frame(
			c,
			(n == 0 ? 1U : 0U) | (is_last ? 0x80U : 0U),
			large + n,
			is_last ? size - n : fragment);
	}
	free(large);
}

static void serve(struct connection *c)
{
	const struct step *s = &c->step;

	send_frame(c, 0x81, JOIN_REPLY, strlen(JOIN_REPLY));
	if (s->act == ACT_HUGE)
		serve_huge(c);
	if (s->act == ACT_LARGE)
		serve_large(c);
	for (size_t i = 0; i < COUNT_OF(s->text) && s->text[i] != NULL; i++) {
		const char *text = s->text[i];
		size_t len = strlen(text);

		if (s->act != ACT_FRAGMENTS) {
			send_frame(c, 0x81, text, len);
			continue;
		}
		for (size_t n = 0; n < len; n++) {
			send_frame(
				c, (n == 0 ? 1U : 0U) | (n == len - 1 ? 0x80U : 0U), text + n, 1);
			if (n == len / 2)
				send_frame(c, 0x89, "ping", 4);
		}
	}
	if (s->act == ACT_VANISH)
		connection_shutdown(c);
}

static void client_frame(struct connection *c, unsigned opcode, const char *text, size_t size)
{
	struct portal *p = c->portal;

	if (opcode == 8) {
		p->close_code = size >= 2 ? (unsigned)(uint8_t)text[0] << 8 | (uint8_t)text[1] : 0;
		send_frame(c, 0x88, text, size);
		connection_shutdown(c);
	}
	if (opcode == 10)
		note(p, "pong");
	if (opcode != 1 || p->n_frames == COUNT_OF(p->frames))
		return;
	snprintf(p->frames[p->n_frames++], sizeof(p->frames[0]), "%.*s", (int)size, text);
	if (strstr(p->frames[p->n_frames - 1], "phx_join") != NULL)
		serve(c);
	else
		note(p, "frame");
}

// Takes whole frames off the front of the input. RFC 6455 section 5.2, masked.
static void client_frames(struct connection *c)
{
	for (;;) {
		uint8_t *in = (uint8_t *)c->in;
		size_t head = 6;
		size_t size;

		if (c->n_in < 8)
			return;
		size = in[1] & 0x7f;
		assert_true((in[1] & 0x80) != 0);
		assert_int_not_equal(size, 127);
		if (size == 126) {
			size = (size_t)in[2] << 8 | in[3];
			head = 8;
		}
		if (c->n_in < head + size)
			return;
		for (size_t i = 0; i < size; i++)
			in[head + i] ^= in[head - 4 + i % 4];
		client_frame(c, in[0] & 15, c->in + head, size);
		c->n_in -= head + size;
		memmove(c->in, c->in + head + size, c->n_in);
	}
}

static void readable(uv_stream_t *stream, ssize_t n, const uv_buf_t *)
{
	struct connection *c = stream->data;

	if (n < 0) {
		connection_close(c);
		return;
	}
	c->n_in += (size_t)n;
	assert_true(c->n_in < sizeof(c->in));
	if (c->is_upgraded) {
		client_frames(c);
		return;
	}
	c->in[c->n_in] = '\0';
	if (strstr(c->in, "\r\n\r\n") == NULL || c->step.act == ACT_SILENT)
		return;
	snprintf(
		c->portal->request,
		sizeof(c->portal->request),
		"%.*s",
		(int)sizeof(c->portal->request) - 1,
		c->in);
	if (c->step.act == ACT_HTTP) {
		send_bytes(c, c->step.http, strlen(c->step.http));
		connection_shutdown(c);
		return;
	}
	upgrade(c);
}

static void give_buffer(uv_handle_t *handle, size_t, uv_buf_t *buf)
{
	struct connection *c = handle->data;

	*buf = uv_buf_init(c->in + c->n_in, (unsigned)(sizeof(c->in) - 1 - c->n_in));
}

static void accepted(uv_stream_t *server, int)
{
	struct portal *p = server->data;
	struct connection *c = calloc(1, sizeof(*c));
	size_t step = p->n_accepted < p->n_steps ? p->n_accepted : p->n_steps - 1;

	assert_true(p->n_accepted < COUNT_OF(p->connections));
	c->portal = p;
	c->step = p->script[step];
	uv_tcp_init(&p->loop, &c->tcp);
	c->tcp.data = c;
	assert_int_equal(uv_accept(server, stream_of(&c->tcp)), 0);
	p->connections[p->n_accepted++] = c;
	uv_read_start(stream_of(&c->tcp), give_buffer, readable);
}

static void on_joined(void *ctx)
{
	struct portal *p = ctx;

	note(p, "joined");
	if (p->is_push_wanted) {
		assert_true(session_send(p->session, gateway_push_no_relays()));
		// The same again while it is queued is not sent twice.
		assert_true(session_send(p->session, gateway_push_no_relays()));
	}
}

static void on_message(void *ctx, const char *event, const json_t *payload)
{
	struct portal *p = ctx;
	char *text = json_dumps(payload, JSON_COMPACT | JSON_ENCODE_ANY);

	p->payload_size = strlen(text);
	snprintf(p->payload, sizeof(p->payload), "%s", text);
	free(text);
	note(p, event);
}

static void on_down(void *ctx, const char *reason)
{
	struct portal *p = ctx;

	note(p, "down");
	note(p, reason);
}

static void on_fatal(void *ctx, const char *reason)
{
	struct portal *p = ctx;

	note(p, "fatal");
	note(p, reason);
}

static void on_closed(void *ctx)
{
	struct portal *p = ctx;

	p->is_closed = true;
	p->session = NULL;
	note(p, "closed");
}

static void late(uv_timer_t *timer)
{
	struct portal *p = timer->data;

	p->is_late = true;
	uv_stop(&p->loop);
}

static struct portal *portal_start(const struct step *script, size_t n_steps)
{
	struct portal *p = calloc(1, sizeof(*p));
	struct sockaddr_in addr;
	int size = sizeof(addr);

	p->script = script;
	p->n_steps = n_steps;
	uv_loop_init(&p->loop);
	uv_tcp_init(&p->loop, &p->tcp);
	p->tcp.data = p;
	uv_ip4_addr("127.0.0.1", 0, &addr);
	assert_int_equal(uv_tcp_bind(&p->tcp, sockaddr_of(&addr), 0), 0);
	assert_int_equal(uv_listen(stream_of(&p->tcp), 8, accepted), 0);
	uv_tcp_getsockname(&p->tcp, sockaddr_of(&addr), &size);
	p->port = ntohs(addr.sin_port);
	uv_timer_init(&p->loop, &p->deadline);
	p->deadline.data = p;
	return p;
}

static void session_start(struct portal *p, const char *host)
{
	static const uint8_t key[PORTAL_KEY_SIZE] = {1};
	char url[64];
	struct portal_error err;
	struct session_config config = {
		.login =
			{
				.role = LOGIN_ROLE_GATEWAY,
				.api_url = url,
				.external_id = "gw-1",
				.name = "first gateway",
				.token = ".SFMyNTY.abc\n",
				.public_key = key,
			},
		.user_agent = "Debian/12.0.0 gateway/1.6.0 (x86_64; 6.1.0)",
		.callbacks = {on_joined, on_message, on_down, on_fatal, on_closed},
		.ctx = p,
	};

	snprintf(url, sizeof(url), "ws://%s:%u", host, p->port);
	p->session = session_create(&p->loop, &config, &err);
	assert_non_null(p->session);
}

// Runs until the log contains text; fails after 10 s.
static void run_until(struct portal *p, const char *text)
{
	p->stop_at = text;
	p->is_late = false;
	uv_timer_start(&p->deadline, late, 10000, 0);
	if (strstr(p->log, text) == NULL)
		uv_run(&p->loop, UV_RUN_DEFAULT);
	p->stop_at = NULL;
	if (strstr(p->log, text) == NULL)
		print_error("waited for %s, got %s\n", text, p->log);
	assert_non_null(strstr(p->log, text));
}

static void portal_stop(struct portal *p, bool is_graceful)
{
	if (p->session != NULL && is_graceful)
		session_close(p->session);
	else
		session_destroy(p->session);
	run_until(p, "closed;");
	for (size_t i = 0; i < COUNT_OF(p->connections); i++) {
		if (p->connections[i] != NULL)
			connection_close(p->connections[i]);
	}
	uv_close(handle_of(&p->tcp), NULL);
	uv_close(handle_of(&p->deadline), NULL);
	uv_run(&p->loop, UV_RUN_DEFAULT);
	// Nothing of libwebsockets may be left on a loop that is not its own.
	assert_int_equal(uv_loop_close(&p->loop), 0);
	free(p);
}

static void join_and_close(void **)
{
	static const struct step script[] = {{.act = ACT_SERVE, .text = {INIT}}};
	struct portal *p = portal_start(script, COUNT_OF(script));

	p->is_push_wanted = true;
	session_start(p, "127.0.0.1");
	assert_false(session_is_joined(p->session));
	assert_false(session_send(p->session, gateway_push_no_relays()));
	run_until(p, "frame;");
	run_until(p, "joined;init;");
	assert_true(session_is_joined(p->session));
	assert_int_equal(session_dialect(p->session), PORTAL_DIALECT_V2);
	assert_string_equal(p->payload, "{\"a\":1}");
	assert_int_equal(p->n_frames, 2);
	assert_string_equal(
		p->frames[0],
		"{\"topic\":\"gateway\",\"event\":\"phx_join\",\"payload\":null,\"ref\":0}");
	assert_string_equal(
		p->frames[1],
		"{\"topic\":\"gateway\",\"event\":\"no_relays\",\"payload\":{},\"ref\":1}");
	assert_non_null(strstr(
		p->request,
		"GET /gateway/v2/websocket?external_id=gw-1&name=first+gateway&public_key=AQAAAAAA"
		"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA%3D HTTP/1.1\r\n"));
	assert_non_null(strstr(p->request, "\r\nHost: 127.0.0.1\r\n"));
	assert_non_null(strstr(p->request, "X-Authorization: Bearer .SFMyNTY.abc\r\n"));
	assert_non_null(
		strstr(p->request, "User-Agent: Debian/12.0.0 gateway/1.6.0 (x86_64; 6.1.0)\r\n"));
	assert_null(strcasestr(p->request, "origin:"));
	assert_null(strcasestr(p->request, "sec-websocket-protocol"));
	assert_null(strcasestr(p->request, "sec-websocket-extensions"));
	assert_null(strstr(p->request, "token="));
	session_close(p->session);
	run_until(p, "closed;");
	assert_int_equal(p->close_code, 1000);
	assert_null(strstr(p->log, "down"));
	portal_stop(p, true);
}

static void wrong_token(void **)
{
	static const struct step script[] = {{
		.act = ACT_HTTP,
		.http = "HTTP/1.1 401 Unauthorized\r\ncontent-type: application/problem+json\r\n"
			"content-length: 108\r\n\r\n"
			"{\"type\":\"about:blank\",\"title\":\"Unauthorized\",\"status\":401,"
			"\"detail\":\"Invalid token\",\"code\":\"invalid_token\"}",
	}};
	struct portal *p = portal_start(script, COUNT_OF(script));

	session_start(p, "127.0.0.1");
	run_until(p, "fatal;invalid_token;");
	portal_stop(p, true);
}

static void proxy_401_is_not_final(void **)
{
	static const struct step script[] = {
		{.act = ACT_HTTP,
		 .http = "HTTP/1.1 401 Unauthorized\r\ncontent-length: 14\r\n\r\n<html>no</html"},
		{.act = ACT_SERVE, .text = {INIT}},
	};
	struct portal *p = portal_start(script, COUNT_OF(script));

	session_start(p, "127.0.0.1");
	run_until(p, "joined;init;");
	assert_int_equal(p->n_accepted, 2);
	portal_stop(p, false);
}

static void old_portal(void **)
{
	static const struct step script[] = {
		{.act = ACT_HTTP,
		 .http = "HTTP/1.1 404 Not Found\r\ncontent-length: 9\r\n\r\nNot Found"},
		{.act = ACT_SERVE, .text = {INIT}},
	};
	struct portal *p = portal_start(script, COUNT_OF(script));

	session_start(p, "127.0.0.1");
	run_until(p, "joined;init;");
	assert_int_equal(session_dialect(p->session), PORTAL_DIALECT_V1);
	assert_non_null(strstr(
		p->request, "GET /gateway/websocket?token=.SFMyNTY.abc&external_id=gw-1&name="));
	assert_non_null(strstr(p->request, "X-Authorization: Bearer .SFMyNTY.abc\r\n"));
	portal_stop(p, true);
}

static void redirect_means_old_portal(void **)
{
	static const struct step script[] = {
		{.act = ACT_HTTP,
		 .http = "HTTP/1.1 308 Permanent Redirect\r\nlocation: http://127.0.0.1:1/\r\n"
			 "content-length: 0\r\n\r\n"},
		{.act = ACT_SERVE, .text = {INIT}},
	};
	struct portal *p = portal_start(script, COUNT_OF(script));

	session_start(p, "127.0.0.1");
	run_until(p, "joined;init;");
	assert_int_equal(session_dialect(p->session), PORTAL_DIALECT_V1);
	portal_stop(p, true);
}

static void retry_after(void **)
{
	static const struct step script[] = {
		{.act = ACT_HTTP,
		 .http = "HTTP/1.1 503 Service Unavailable\r\nretry-after: 0\r\n"
			 "content-length: 0\r\n\r\n"},
		{.act = ACT_SERVE, .text = {INIT}},
	};
	struct portal *p = portal_start(script, COUNT_OF(script));
	uint64_t start = uv_hrtime();

	session_start(p, "127.0.0.1");
	run_until(p, "joined;init;");
	// Without the header it would have been a second.
	assert_true(uv_hrtime() - start < 900000000);
	portal_stop(p, true);
}

static void fragments(void **)
{
	static const struct step script[] = {{.act = ACT_FRAGMENTS, .text = {INIT, INIT}}};
	struct portal *p = portal_start(script, COUNT_OF(script));

	session_start(p, "127.0.0.1");
	run_until(p, "init;init;");
	assert_string_equal(p->payload, "{\"a\":1}");
	run_until(p, "pong;");
	portal_stop(p, true);
}

static void garbage_is_ignored(void **)
{
	static const struct step script[] = {
		{.act = ACT_SERVE,
		 .text = {"{\"event\":", "[1,2]", "{\"event\":\"x\",\"topic\":\"other\"}", INIT}}};
	struct portal *p = portal_start(script, COUNT_OF(script));

	session_start(p, "127.0.0.1");
	run_until(p, "joined;init;");
	portal_stop(p, true);
}

static void huge_message(void **)
{
	static const struct step script[] = {
		{.act = ACT_HUGE},
		{.act = ACT_SERVE, .text = {INIT}},
	};
	struct portal *p = portal_start(script, COUNT_OF(script));

	session_start(p, "127.0.0.1");
	run_until(
		p,
		"joined;down;the portal sent a message of more than 67108864 bytes;joined;init;");
	portal_stop(p, true);
}

static void large_messages(void **)
{
	static const struct step script[] = {{.act = ACT_LARGE}};
	struct portal *p = portal_start(script, COUNT_OF(script));
	size_t want = LARGE_SIZE
		- strlen("{\"event\":\"init\",\"payload\":,\"ref\":null,"
			 "\"topic\":\"gateway\"}");

	session_start(p, "127.0.0.1");
	run_until(p, "joined;init;");
	assert_int_equal(p->payload_size, want);
	run_until(p, "init;init;");
	assert_int_equal(p->payload_size, want);
	assert_null(strstr(p->log, "down"));
	portal_stop(p, true);
}

#define REFUSED(line, code)                                                                        \
	"HTTP/1.1 " line "\r\ncontent-type: application/problem+json; charset=utf-8\r\n"           \
	"retry-after: 0\r\ncontent-length: 51\r\n\r\n"                                             \
	"{\"type\":\"about:blank\",\"code\":\"" code "\"}"

// Whatever the status: tried again, in the same dialect, and the code is of no matter unless it is 401's.
static void refusals_are_not_final(void **)
{
	static const char *const answers[] = {
		REFUSED("400 Bad Request", "invalid_connect_par"),
		REFUSED("402 Payment Required", "limits_exceeded_too"),
		REFUSED("403 Forbidden", "account_disabled_id"),
		REFUSED("408 Request Timeout", "invalid_token_place"),
		REFUSED("409 Conflict", "already_connected_1"),
		REFUSED("429 Too Many Requests", "rate_limit_rate_lim"),
		REFUSED("500 Server Error", "unhandled_connect_e"),
		REFUSED("503 Unavailable", "rate_limit_rate_lim"),
	};

	for (size_t i = 0; i < COUNT_OF(answers); i++) {
		struct step script[] = {
			{.act = ACT_HTTP, .http = answers[i]},
			{.act = ACT_SERVE, .text = {INIT}},
		};
		struct portal *p = portal_start(script, COUNT_OF(script));

		session_start(p, "127.0.0.1");
		run_until(p, "joined;init;");
		assert_int_equal(p->n_accepted, 2);
		assert_int_equal(session_dialect(p->session), PORTAL_DIALECT_V2);
		assert_null(strstr(p->log, "fatal"));
		portal_stop(p, true);
	}
}

static void missing_token(void **)
{
	static const struct step script[] = {
		{.act = ACT_HTTP,
		 .http = "HTTP/1.1 401 Unauthorized\r\ncontent-type: application/problem+json\r\n"
			 "content-length: 24\r\n\r\n{\"code\":\"missing_token\"}"},
	};
	struct portal *p = portal_start(script, COUNT_OF(script));

	session_start(p, "127.0.0.1");
	run_until(p, "fatal;missing_token;");
	portal_stop(p, true);
}

static void vanish(void **)
{
	static const struct step script[] = {
		{.act = ACT_VANISH, .text = {INIT}},
		{.act = ACT_SERVE, .text = {INIT}},
	};
	struct portal *p = portal_start(script, COUNT_OF(script));

	session_start(p, "127.0.0.1");
	run_until(p, "joined;init;down;");
	assert_false(session_is_joined(p->session));
	run_until(p, "connection lost;joined;init;");
	// References start over on the new connection.
	assert_string_equal(p->frames[1], p->frames[0]);
	portal_stop(p, true);
}

static void channel_closed(void **)
{
	static const struct step script[] = {
		{.act = ACT_SERVE,
		 .text =
			 {INIT,
			  "{\"event\":\"phx_close\",\"payload\":{},\"ref\":null,\"topic\":"
			  "\"gateway\"}"}},
		{.act = ACT_SERVE, .text = {INIT}},
	};
	struct portal *p = portal_start(script, COUNT_OF(script));

	session_start(p, "127.0.0.1");
	run_until(p, "joined;init;down;the portal closed the channel;joined;init;");
	portal_stop(p, false);
}

static void host_name(void **)
{
	static const struct step script[] = {{.act = ACT_SERVE, .text = {INIT}}};
	struct portal *p = portal_start(script, COUNT_OF(script));

	session_start(p, "localhost");
	run_until(p, "joined;init;");
	assert_non_null(strstr(p->request, "\r\nHost: localhost\r\n"));
	portal_stop(p, true);
}

static void destroy_anywhere(void **)
{
	static const struct step script[] = {{.act = ACT_SILENT}};
	static const char *const hosts[] = {"127.0.0.1", "localhost"};

	for (size_t i = 0; i < 8; i++) {
		struct portal *p = portal_start(script, COUNT_OF(script));

		session_start(p, hosts[i / 4]);
		for (size_t turn = 0; turn < i % 4; turn++)
			uv_run(&p->loop, UV_RUN_NOWAIT);
		portal_stop(p, i % 2 == 0);
	}
}

static void bad_config(void **)
{
	static const uint8_t key[PORTAL_KEY_SIZE];
	struct session_config config = {
		.login =
			{
				.api_url = "ws://127.0.0.1",
				.external_id = "i",
				.name = "n",
				.token = "t",
				.public_key = key,
			},
		.user_agent = "",
	};
	struct portal_error err;
	uv_loop_t loop;

	uv_loop_init(&loop);
	assert_null(session_create(&loop, &config, &err));
	assert_string_equal(err.text, "api url: give the port, ws:// has no default");
	config.login.api_url = "wss://[::1]";
	assert_null(session_create(&loop, &config, &err));
	assert_string_equal(err.text, "api url: wss needs a name or an IPv4 address");
	config.login.api_url = "wss://localhost";
	config.ca_file = "/nonexistent/ca.pem";
	assert_null(session_create(&loop, &config, &err));
	assert_string_equal(err.text, "ca file: cannot be read");
	assert_int_equal(uv_loop_close(&loop), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(join_and_close),
		cmocka_unit_test(wrong_token),
		cmocka_unit_test(proxy_401_is_not_final),
		cmocka_unit_test(old_portal),
		cmocka_unit_test(redirect_means_old_portal),
		cmocka_unit_test(retry_after),
		cmocka_unit_test(fragments),
		cmocka_unit_test(garbage_is_ignored),
		cmocka_unit_test(huge_message),
		cmocka_unit_test(large_messages),
		cmocka_unit_test(refusals_are_not_final),
		cmocka_unit_test(missing_token),
		cmocka_unit_test(vanish),
		cmocka_unit_test(channel_closed),
		cmocka_unit_test(host_name),
		cmocka_unit_test(destroy_anywhere),
		cmocka_unit_test(bad_config),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
