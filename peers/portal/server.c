// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "peers/portal/server.h"

#include "control/base/addr.h"
#include "control/base/alloc.h"
#include "control/base/err.h"
#include "control/base/log.h"
#include "control/base/uv_cast.h"

#include <libwebsockets.h>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define LOG_AREA "portal.server"

/** A peer that is silent for longer is gone; official peers beat every 10 s. */
#define IDLE_TIMEOUT_MS 37000
/** Sleep no longer than this, so that a step of the wall clock is noticed. */
#define SLEEP_MAX_MS 60000
/** How long peers may take to answer the close at shutdown. */
#define STOP_TIMEOUT_MS 1000
#define MESSAGE_SIZE_MAX (8U << 20)
#define HEADER_SIZE_MAX 16384
#define WS_CLOSE_PROTOCOL_ERROR 1002
#define WS_CLOSE_TOO_BIG 1009
#define WS_CLOSE_RESTART 1012
#define LISTEN_MAX 16

/** One upgraded connection; lives in libwebsockets' per-session memory. */
struct session {
	TAILQ_ENTRY(session) link; // by last_ms, oldest first
	LIST_ENTRY(session) closing_link;
	bool is_closing;
	struct lws *wsi;
	struct channel *channel;
	int64_t last_ms; // when the peer was last heard
	uint8_t *message; // fragments so far
	size_t message_size;
	size_t message_cap;
};

struct listener {
	uv_poll_t poll;
	struct server *server;
	int fd;
};

struct server {
	uv_loop_t *loop;
	uv_timer_t timer;
	struct portal *portal;
	struct lws_context *context;
	struct lws_vhost *vhost;
	struct listener *listeners[LISTEN_MAX];
	size_t n_listeners;
	TAILQ_HEAD(, session) sessions;
	LIST_HEAD(, session) closing; // to be closed from outside libwebsockets
	int64_t stop_ms; // give up on peers then; 0: not stopping
	void (*stop_done)(void *);
	void *stop_arg;
};

struct instant server_now(void)
{
	struct timespec mono;
	struct timespec wall;

	clock_gettime(CLOCK_MONOTONIC, &mono);
	clock_gettime(CLOCK_REALTIME, &wall);
	return (struct instant){
		.mono_ms = (int64_t)mono.tv_sec * 1000 + mono.tv_nsec / 1000000,
		.unix_s = wall.tv_sec,
	};
}

static void arm_timer(struct server *s);

static struct server *server_of(struct lws *wsi)
{
	return lws_context_user(lws_get_context(wsi));
}

// The texts of a connect request, in one block.
struct request {
	struct connect_request r;
	char path[256];
	char token[HEADER_SIZE_MAX];
	char external_id[1024];
	char name[1024];
	char public_key[256];
	char ipv4[64];
	char ipv6[64];
	char port[16];
	char user_agent[1024];
	char ip[64];
};

static const char *query(struct lws *wsi, const char *name, char *buf, size_t size)
{
	const char *value = lws_get_urlarg_by_name(wsi, name, buf, (int)size);

	return value != NULL && value[0] != '\0' ? value : NULL;
}

static const char *token_of(struct lws *wsi, char *buf, size_t size)
{
	static const char header[] = "x-authorization:";
	static const char prefix[] = "Bearer ";
	const int n = lws_hdr_custom_copy(wsi, buf, (int)size, header, sizeof(header) - 1);

	if (n > 0 && strncmp(buf, prefix, sizeof(prefix) - 1) == 0)
		return buf + sizeof(prefix) - 1;
	return query(wsi, "token=", buf, size);
}

static struct request *request_create(struct lws *wsi)
{
	struct request *q = alloc_zero(1, sizeof(*q));

	if (lws_hdr_copy(wsi, q->path, sizeof(q->path), WSI_TOKEN_GET_URI) < 0)
		q->path[0] = '\0';
	q->r.path = q->path;
	q->r.token = token_of(wsi, q->token, sizeof(q->token));
	q->r.external_id = query(wsi, "external_id=", q->external_id, sizeof(q->external_id));
	if (q->r.external_id == NULL)
		q->r.external_id =
			query(wsi, "firezone_id=", q->external_id, sizeof(q->external_id));
	q->r.name = query(wsi, "name=", q->name, sizeof(q->name));
	q->r.ipv4 = query(wsi, "ipv4=", q->ipv4, sizeof(q->ipv4));
	q->r.ipv6 = query(wsi, "ipv6=", q->ipv6, sizeof(q->ipv6));
	q->r.port = query(wsi, "port=", q->port, sizeof(q->port));
	q->r.public_key = query(wsi, "public_key=", q->public_key, sizeof(q->public_key));
	if (lws_hdr_copy(wsi, q->user_agent, sizeof(q->user_agent), WSI_TOKEN_HTTP_USER_AGENT) > 0)
		q->r.user_agent = q->user_agent;
	lws_get_peer_simple(wsi, q->ip, sizeof(q->ip));
	q->r.ip = q->ip;
	return q;
}

static void request_destroy(struct request *q)
{
	if (q == NULL)
		return;
	explicit_bzero(q, sizeof(*q));
	free(q);
}

static int respond(struct lws *wsi, const struct problem *problem)
{
	uint8_t head[LWS_PRE + 1024];
	uint8_t body[LWS_PRE + 1024];
	uint8_t *p = head + LWS_PRE;
	char *text;
	size_t size;
	json_t *json;

	if (problem->code != NULL) {
		json = json_pack(
			"{s:s, s:s, s:i, s:s, s:s}",
			"type",
			"about:blank",
			"title",
			problem->title,
			"status",
			(int)problem->status,
			"detail",
			problem->detail,
			"code",
			problem->code);
		text = alloc_check(json_dumps(alloc_check(json), JSON_COMPACT));
		json_decref(json);
	} else {
		text = alloc_text(problem->title);
	}
	size = strlen(text);
	if (size > sizeof(body) - LWS_PRE)
		size = sizeof(body) - LWS_PRE;
	memcpy(body + LWS_PRE, text, size);
	free(text);
	if (lws_add_http_common_headers(
		    wsi,
		    problem->status,
		    problem->code != NULL ? "application/problem+json; charset=utf-8"
					  : "text/plain; charset=utf-8",
		    size,
		    &p,
		    head + sizeof(head))
		    != 0
	    || lws_finalize_write_http_header(wsi, head + LWS_PRE, &p, head + sizeof(head)) != 0
	    || lws_write(wsi, body + LWS_PRE, size, LWS_WRITE_HTTP_FINAL) != (int)size)
		return -1;
	return 0;
}

// Before the upgrade: >0 when refused with an answer, <0 to hang up.
static int on_upgrade(struct lws *wsi, const char *protocol)
{
	struct server *s = server_of(wsi);
	struct problem problem;
	struct request *q;
	int rc = 0;

	if (protocol == NULL || strcmp(protocol, "websocket") != 0)
		return -1;
	q = request_create(wsi);
	if (portal_admit(s->portal, &q->r, server_now(), &problem) != 0) {
		LOG_LIMITED(
			INFO,
			"refused path=%s status=%u code=%s",
			q->path,
			problem.status,
			problem.code != NULL ? problem.code : "");
		request_destroy(q);
		rc = respond(wsi, &problem) == 0 ? 1 : -1;
	} else {
		// The headers are gone by the time the connection is established.
		lws_set_opaque_user_data(wsi, q);
	}
	server_pump(s);
	return rc;
}

static int on_plain_http(struct lws *wsi)
{
	static const struct problem not_found = {404, "Not Found", NULL, NULL};

	if (respond(wsi, &not_found) != 0 || lws_http_transaction_completed(wsi) != 0)
		return -1;
	return 0;
}

static void session_heard(struct server *s, struct session *session)
{
	session->last_ms = server_now().mono_ms;
	TAILQ_REMOVE(&s->sessions, session, link);
	TAILQ_INSERT_TAIL(&s->sessions, session, link);
}

static int on_established(struct lws *wsi, struct session *session)
{
	struct server *s = server_of(wsi);
	struct request *q = lws_get_opaque_user_data(wsi);
	struct problem problem;

	*session = (struct session){.wsi = wsi, .last_ms = server_now().mono_ms};
	if (q == NULL)
		return -1;
	session->channel = portal_connect(s->portal, &q->r, server_now(), &problem);
	lws_set_opaque_user_data(wsi, NULL);
	request_destroy(q);
	if (session->channel == NULL)
		return -1;
	channel_set_user(session->channel, session);
	TAILQ_INSERT_TAIL(&s->sessions, session, link);
	server_pump(s);
	return 0;
}

static void message_append(struct session *session, const void *in, size_t size)
{
	const size_t wanted = session->message_size + size;

	if (wanted >= session->message_cap) {
		session->message_cap = 2 * wanted + 1;
		session->message = alloc_resize(session->message, session->message_cap, 1);
	}
	if (size > 0)
		memcpy(session->message + session->message_size, in, size);
	session->message_size = wanted;
}

static void message_free(struct session *session)
{
	free(session->message);
	session->message = NULL;
	session->message_size = 0;
	session->message_cap = 0;
}

static void on_receive(struct lws *wsi, struct session *session, const void *in, size_t size)
{
	struct server *s = server_of(wsi);
	struct channel *ch = session->channel;

	if (ch == NULL)
		return;
	session_heard(s, session);
	if (lws_is_first_fragment(wsi))
		message_free(session);
	if (session->message_size + size > MESSAGE_SIZE_MAX) {
		channel_close(ch, WS_CLOSE_TOO_BIG);
		message_free(session);
	} else if (channel_close_code(ch) == 0 && !lws_frame_is_binary(wsi)) {
		message_append(session, in, size);
	}
	if (lws_is_final_fragment(wsi) && lws_remaining_packet_payload(wsi) == 0) {
		if (session->message != NULL)
			channel_receive(
				ch,
				(const char *)session->message,
				session->message_size,
				server_now());
		message_free(session);
	}
	server_pump(s);
}

// On libuv, libwebsockets 4.1 closes twice when a callback asks for it, and the second time drops
// the connection before the close frame is out. From a timer it closes once.
static void close_later(struct server *s, struct session *session)
{
	if (session->is_closing)
		return;
	session->is_closing = true;
	LIST_INSERT_HEAD(&s->closing, session, closing_link);
	arm_timer(s);
}

static void close_now(struct server *s)
{
	struct session *session;

	while ((session = LIST_FIRST(&s->closing)) != NULL) {
		struct lws *wsi = session->wsi;

		LIST_REMOVE(session, closing_link);
		session->is_closing = false;
		lws_close_reason(
			wsi, (enum lws_close_status)channel_close_code(session->channel), NULL, 0);
		lws_set_timeout(wsi, PENDING_TIMEOUT_USER_OK, LWS_TO_KILL_SYNC);
	}
}

static int on_writeable(struct lws *wsi, struct session *session)
{
	struct frame *f;
	uint8_t *buf;
	int n;

	if (session->channel == NULL)
		return 0;
	f = channel_frame_pop(session->channel);
	if (f == NULL) {
		if (channel_close_code(session->channel) != 0)
			close_later(server_of(wsi), session);
		return 0;
	}
	buf = alloc_zero(1, LWS_PRE + f->size);
	memcpy(buf + LWS_PRE, f->text, f->size);
	n = lws_write(wsi, buf + LWS_PRE, f->size, LWS_WRITE_TEXT);
	free(buf);
	free(f);
	if (n < 0)
		return -1;
	lws_callback_on_writable(wsi);
	return 0;
}

static void on_closed(struct lws *wsi, struct session *session)
{
	struct server *s = server_of(wsi);

	if (session->channel == NULL)
		return;
	TAILQ_REMOVE(&s->sessions, session, link);
	if (session->is_closing)
		LIST_REMOVE(session, closing_link);
	session->is_closing = false;
	channel_destroy(session->channel, server_now());
	session->channel = NULL;
	message_free(session);
	server_pump(s);
}

static int
callback(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in, size_t size)
{
	switch (reason) {
	case LWS_CALLBACK_HTTP_CONFIRM_UPGRADE:
		return on_upgrade(wsi, in);
	case LWS_CALLBACK_HTTP:
		return on_plain_http(wsi);
	case LWS_CALLBACK_ESTABLISHED:
		return on_established(wsi, user);
	case LWS_CALLBACK_RECEIVE:
		on_receive(wsi, user, in, size);
		return 0;
	case LWS_CALLBACK_SERVER_WRITEABLE:
		return on_writeable(wsi, user);
	case LWS_CALLBACK_CLOSED:
		on_closed(wsi, user);
		return 0;
	case LWS_CALLBACK_WSI_DESTROY:
		request_destroy(lws_get_opaque_user_data(wsi));
		lws_set_opaque_user_data(wsi, NULL);
		return 0;
	default:
		return 0;
	}
}

static void log_lws(int level, const char *line)
{
	const int size = (int)strcspn(line, "\n");

	if (level == LLL_ERR)
		LOG_LIMITED(WARNING, "libwebsockets: %.*s", size, line);
	else
		LOG(DEBUG, "libwebsockets: %.*s", size, line);
}

static void maybe_stopped(struct server *s, int64_t now_ms)
{
	void (*stop_done)(void *) = s->stop_done;

	if (stop_done == NULL || (!TAILQ_EMPTY(&s->sessions) && now_ms < s->stop_ms))
		return;
	s->stop_done = NULL;
	stop_done(s->stop_arg);
}

static void on_timer(uv_timer_t *timer)
{
	struct server *s = timer->data;
	const struct instant now = server_now();
	struct session *session;

	close_now(s);
	portal_tick(s->portal, now);
	TAILQ_FOREACH(session, &s->sessions, link) {
		if (session->last_ms + IDLE_TIMEOUT_MS > now.mono_ms)
			break;
		channel_close(session->channel, WS_CLOSE_PROTOCOL_ERROR);
	}
	server_pump(s);
	maybe_stopped(s, now.mono_ms);
}

static int64_t min64(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

// Sessions that were asked to close stay at the head until they are gone.
static const struct session *first_open(const struct server *s)
{
	const struct session *session;

	TAILQ_FOREACH(session, &s->sessions, link) {
		if (channel_close_code(session->channel) == 0)
			return session;
	}
	return NULL;
}

static void arm_timer(struct server *s)
{
	const struct instant now = server_now();
	const struct session *first = first_open(s);
	int64_t at = min64(portal_next_deadline(s->portal, now), now.mono_ms + SLEEP_MAX_MS);

	if (first != NULL)
		at = min64(at, first->last_ms + IDLE_TIMEOUT_MS);
	if (!LIST_EMPTY(&s->closing))
		at = now.mono_ms;
	if (s->stop_done != NULL)
		at = TAILQ_EMPTY(&s->sessions) ? now.mono_ms : min64(at, s->stop_ms);
	uv_timer_start(&s->timer, on_timer, at > now.mono_ms ? (uint64_t)(at - now.mono_ms) : 0, 0);
}

void server_pump(struct server *s)
{
	struct channel *ch;

	while ((ch = portal_dirty_pop(s->portal)) != NULL) {
		struct session *session = channel_user(ch);

		if (session != NULL)
			lws_callback_on_writable(session->wsi);
	}
	arm_timer(s);
}

struct server *server_create(uv_loop_t *loop, struct portal *portal)
{
	static const struct lws_protocols protocols[] = {
		{.name = "portal",
		 .callback = callback,
		 .per_session_data_size = sizeof(struct session)},
		{},
	};
	struct server *s = alloc_zero(1, sizeof(*s));
	void *loops[] = {loop};
	struct lws_context_creation_info info = {
		.port = CONTEXT_PORT_NO_LISTEN,
		.protocols = protocols,
		.options = LWS_SERVER_OPTION_LIBUV | LWS_SERVER_OPTION_EXPLICIT_VHOSTS,
		.foreign_loops = loops,
		.max_http_header_data2 = HEADER_SIZE_MAX,
		.pt_serv_buf_size = 65536, // bytes read at a time, not a limit of a message
		.vhost_name = "portal",
		.user = s,
	};

	s->loop = loop;
	s->portal = portal;
	TAILQ_INIT(&s->sessions);
	LIST_INIT(&s->closing);
	lws_set_log_level(LLL_ERR | LLL_WARN, log_lws);
	s->context = lws_create_context(&info);
	if (s->context != NULL) {
		info.port = CONTEXT_PORT_NO_LISTEN_SERVER;
		s->vhost = lws_create_vhost(s->context, &info);
	}
	if (s->vhost == NULL) {
		if (s->context != NULL)
			lws_context_destroy(s->context);
		free(s);
		return err_set_null(ENOTSUP);
	}
	uv_timer_init(loop, &s->timer);
	s->timer.data = s;
	return s;
}

static void on_accept(uv_poll_t *poll, int, int)
{
	struct listener *l = poll->data;
	const int on = 1;
	const int fd = accept4(l->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd < 0) {
		if (errno != EAGAIN && errno != ECONNABORTED && errno != EINTR)
			LOG_LIMITED(WARNING, "accept error=%m");
		return;
	}
	// Small frames in both directions: without this each waits for the peer's delayed ACK.
	if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) != 0)
		LOG_LIMITED(WARNING, "TCP_NODELAY error=%m");
	if (lws_adopt_socket_vhost(l->server->vhost, fd) == NULL)
		LOG_LIMITED(WARNING, "a connection could not be taken");
}

static int open_listener(const struct ip_endpoint *endpoint)
{
	struct sockaddr_storage sa;
	const socklen_t size = ip_endpoint_to_sockaddr(endpoint, &sa);
	const int on = 1;
	const int fd = socket(sa.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return -errno;
	// "[::]" shall not take IPv4 as well: both may be listed.
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0
	    || (sa.ss_family == AF_INET6
		&& setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on)) != 0)
	    || bind(fd, (void *)&sa, size) != 0 || listen(fd, SOMAXCONN) != 0) {
		const int rc = -errno;

		close(fd);
		return rc;
	}
	return fd;
}

int server_listen(struct server *s, const char *address)
{
	struct ip_endpoint endpoint;
	struct sockaddr_storage sa;
	socklen_t size = sizeof(sa);
	char text[IP_TEXT_SIZE];
	struct listener *l;
	int fd;

	if (ip_endpoint_parse(&endpoint, address) != 0)
		return err_set(EINVAL);
	if (s->n_listeners == LISTEN_MAX)
		return err_set(E2BIG);
	fd = open_listener(&endpoint);
	if (fd < 0)
		return err_set(-fd);
	l = alloc_zero(1, sizeof(*l));
	l->fd = fd;
	l->server = s;
	l->poll.data = l;
	uv_poll_init(s->loop, &l->poll, fd);
	uv_poll_start(&l->poll, UV_READABLE, on_accept);
	s->listeners[s->n_listeners++] = l;
	if (getsockname(fd, (void *)&sa, &size) == 0
	    && ip_endpoint_from_sockaddr(&endpoint, (void *)&sa) == 0)
		LOG(NOTICE, "listening address=%s", ip_endpoint_format(&endpoint, text));
	arm_timer(s);
	return 0;
}

static void on_listener_closed(uv_handle_t *handle)
{
	struct listener *l = handle->data;

	close(l->fd);
	free(l);
}

static void close_listeners(struct server *s)
{
	for (size_t i = 0; i < s->n_listeners; i++)
		uv_close(uv_cast_handle(&s->listeners[i]->poll), on_listener_closed);
	s->n_listeners = 0;
}

void server_stop(struct server *s, void (*done)(void *), void *arg)
{
	close_listeners(s);
	s->stop_done = done;
	s->stop_arg = arg;
	s->stop_ms = server_now().mono_ms + STOP_TIMEOUT_MS;
	portal_close_all(s->portal, WS_CLOSE_RESTART);
	server_pump(s);
}

void server_close(struct server *s)
{
	if (s == NULL)
		return;
	close_listeners(s);
	lws_context_destroy(s->context);
	uv_close(uv_cast_handle(&s->timer), NULL);
}

void server_destroy(struct server *s)
{
	if (s == NULL)
		return;
	// The first call began to close its handles on our loop, the second frees what they needed.
	lws_context_destroy(s->context);
	free(s);
}
