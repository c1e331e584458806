// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "peers/relay/health.h"

#include "control/base/err.h"
#include "control/base/log.h"
#include "control/base/uv_cast.h"

#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#define LOG_AREA "relay.health"
#define BACKLOG 16
#define CONNECTIONS_MAX 32
#define REQUEST_SIZE_MAX 1024

struct health {
	uv_tcp_t tcp;
	bool (*is_ready)(void *ctx);
	void *ctx;
	LIST_HEAD(, connection) connections;
	size_t n_connections;
	bool is_closed;
};

struct connection {
	LIST_ENTRY(connection) link;
	struct health *owner;
	uv_tcp_t tcp;
	uv_timer_t timer;
	uv_write_t write;
	unsigned n_open; // handles
	size_t size;
	char request[REQUEST_SIZE_MAX];
};

static void free_if_unused(struct health *h)
{
	if (h->is_closed && h->n_connections == 0)
		free(h);
}

static void on_handle_closed(uv_handle_t *handle)
{
	struct connection *c = handle->data;
	struct health *h = c->owner;

	if (--c->n_open > 0)
		return;
	LIST_REMOVE(c, link);
	free(c);
	h->n_connections--;
	free_if_unused(h);
}

static void connection_close(struct connection *c)
{
	if (uv_is_closing(uv_cast_handle(&c->tcp)))
		return;
	uv_close(uv_cast_handle(&c->tcp), on_handle_closed);
	uv_close(uv_cast_handle(&c->timer), on_handle_closed);
}

static void on_written(uv_write_t *write, int)
{
	connection_close(write->data);
}

static void on_timeout(uv_timer_t *timer)
{
	connection_close(timer->data);
}

static void respond(struct connection *c)
{
	static char ok[] = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
	static char unready[] = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n"
				"Connection: close\r\n\r\n";
	static char missing[] = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n"
				"Connection: close\r\n\r\n";
	char *text = missing;
	uv_buf_t buf;

	if (strncmp(c->request, "GET /healthz ", 13) == 0)
		text = ok;
	else if (strncmp(c->request, "GET /readyz ", 12) == 0)
		text = c->owner->is_ready(c->owner->ctx) ? ok : unready;
	buf = uv_buf_init(text, (unsigned)strlen(text));
	uv_read_stop(uv_cast_stream(&c->tcp));
	c->write.data = c;
	if (uv_write(&c->write, uv_cast_stream(&c->tcp), &buf, 1, on_written) != 0)
		connection_close(c);
}

static void on_alloc(uv_handle_t *handle, size_t, uv_buf_t *buf)
{
	struct connection *c = handle->data;

	// The last byte stays zero.
	*buf = uv_buf_init(c->request + c->size, (unsigned)(sizeof(c->request) - 1 - c->size));
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *)
{
	struct connection *c = stream->data;

	if (n < 0) {
		connection_close(c);
		return;
	}
	c->size += (size_t)n;
	if (strstr(c->request, "\r\n\r\n") != NULL || c->size == sizeof(c->request) - 1)
		respond(c);
}

static void on_connection(uv_stream_t *stream, int status)
{
	struct health *h = stream->data;
	struct connection *c;

	if (status != 0)
		return;
	c = calloc(1, sizeof(*c));
	// The next one may have more luck; this one waits in the queue.
	if (c == NULL)
		return;
	c->owner = h;
	c->n_open = 2;
	LIST_INSERT_HEAD(&h->connections, c, link);
	h->n_connections++;
	uv_tcp_init(stream->loop, &c->tcp);
	uv_timer_init(stream->loop, &c->timer);
	c->tcp.data = c;
	c->timer.data = c;
	if (uv_accept(stream, uv_cast_stream(&c->tcp)) != 0 || h->n_connections > CONNECTIONS_MAX) {
		connection_close(c);
		return;
	}
	uv_timer_start(&c->timer, on_timeout, HEALTH_TIMEOUT_MS, 0);
	uv_read_start(uv_cast_stream(&c->tcp), on_alloc, on_read);
}

static void on_listener_closed(uv_handle_t *handle)
{
	struct health *h = handle->data;

	h->is_closed = true;
	free_if_unused(h);
}

struct health *
health_create(uv_loop_t *loop, const struct ip_endpoint *at, bool (*is_ready)(void *ctx), void *ctx)
{
	struct health *h = calloc(1, sizeof(*h));
	struct sockaddr_storage sa;
	int rc;

	if (h == NULL)
		return err_set_null(ENOMEM);
	h->is_ready = is_ready;
	h->ctx = ctx;
	ip_endpoint_to_sockaddr(at, &sa);
	uv_tcp_init(loop, &h->tcp);
	h->tcp.data = h;
	rc = uv_tcp_bind(&h->tcp, (const void *)&sa, 0);
	if (rc == 0)
		rc = uv_listen(uv_cast_stream(&h->tcp), BACKLOG, on_connection);
	if (rc != 0) {
		health_close(h);
		return err_set_null(-rc);
	}
	return h;
}

void health_close(struct health *h)
{
	struct connection *c;

	if (h == NULL)
		return;
	LIST_FOREACH(c, &h->connections, link)
		connection_close(c);
	uv_close(uv_cast_handle(&h->tcp), on_listener_closed);
}
