// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

// Clients over TCP. A connection has one query in flight; what a client sends meanwhile waits in its
// socket, so that no client has more memory here than one message.

#include "control/base/uv_cast.h"
#include "control/names/impl.h"

#include <stdlib.h>
#include <string.h>

enum {
	HANDLES = 2,
};

// An answer on its way.
struct answer {
	uv_write_t write;
	struct names_client *client;
	uint8_t prefix[2];
	uint8_t data[];
};

static void next_query(struct names_client *c);

static void on_closed(uv_handle_t *handle)
{
	struct names_client *c = handle->data;

	if (--c->n_open == 0)
		free(c);
}

void names_client_close(struct names_client *c)
{
	struct names *n = c->names;

	if (c->is_closing)
		return;
	c->is_closing = true;
	if (c->is_waiting) {
		forwarder_cancel(n->forwarder, c->id);
		names_upstream_close(n, c->id);
	}
	TAILQ_REMOVE(&n->clients, c, link);
	n->n_clients--;
	uv_close(uv_cast_handle(&c->tcp), on_closed);
	uv_close(uv_cast_handle(&c->idle), on_closed);
}

static void on_idle(uv_timer_t *timer)
{
	names_client_close(timer->data);
}

static void on_alloc(uv_handle_t *handle, size_t, uv_buf_t *buf)
{
	struct names_client *c = handle->data;

	names_frame_alloc(&c->frame, buf);
}

static void on_read(uv_stream_t *stream, ssize_t size, const uv_buf_t *)
{
	struct names_client *c = stream->data;

	if (size < 0) {
		names_client_close(c);
		return;
	}
	c->frame.size += (size_t)size;
	next_query(c);
}

// The frame holds at least one whole message, the query that was just taken.
static void frame_advance(struct names_frame *frame)
{
	size_t used = 2 + names_frame_length(frame);

	frame->size -= used;
	memmove(frame->data, frame->data + used, frame->size);
}

static void next_query(struct names_client *c)
{
	const struct names_origin origin = {.client = c};
	int rc;

	if (!names_frame_is_complete(&c->frame)) {
		rc = uv_read_start(uv_cast_stream(&c->tcp), on_alloc, on_read);
		if (rc < 0 && rc != UV_EALREADY)
			names_client_close(c);
		return;
	}
	uv_read_stop(uv_cast_stream(&c->tcp));
	uv_timer_stop(&c->idle);
	c->is_waiting = true;
	if (!names_query(
		    c->names,
		    &origin,
		    FORWARD_TCP,
		    c->frame.data + 2,
		    names_frame_length(&c->frame))) {
		c->is_waiting = false;
		names_client_close(c);
	}
}

static void on_written(uv_write_t *write, int status)
{
	struct answer *answer = write->data;
	struct names_client *c = answer->client;

	free(answer);
	if (c->is_closing)
		return;
	if (status < 0) {
		names_client_close(c);
		return;
	}
	uv_timer_start(&c->idle, on_idle, NAMES_CLIENT_IDLE_MS, 0);
	next_query(c);
}

void names_client_reply(struct names_client *c, const void *data, size_t size)
{
	struct answer *answer = malloc(sizeof(*answer) + size);
	uv_buf_t bufs[2];

	c->is_waiting = false;
	frame_advance(&c->frame);
	if (answer == NULL) {
		names_client_close(c);
		return;
	}
	*answer = (struct answer){
		.write.data = answer,
		.client = c,
		.prefix = {(uint8_t)(size >> 8), (uint8_t)size},
	};
	memcpy(answer->data, data, size);
	bufs[0] = uv_buf_init((char *)answer->prefix, sizeof(answer->prefix));
	bufs[1] = uv_buf_init((char *)answer->data, (unsigned)size);
	// A client that does not read its answer is idle too.
	uv_timer_start(&c->idle, on_idle, NAMES_CLIENT_IDLE_MS, 0);
	if (uv_write(&answer->write, uv_cast_stream(&c->tcp), bufs, 2, on_written) < 0) {
		free(answer);
		names_client_close(c);
	}
}

static bool is_allowed(const struct names *n, const struct ip_addr *addr)
{
	const struct names_client *c;
	size_t same = 0;

	TAILQ_FOREACH(c, &n->clients, link)
		same += ip_addr_eq(&c->addr, addr);
	return n->n_clients < NAMES_CLIENTS_MAX && same < NAMES_CLIENTS_PER_ADDR_MAX;
}

static int peer_addr(const uv_tcp_t *tcp, struct ip_addr *out)
{
	struct sockaddr_storage sa;
	struct ip_endpoint peer;
	int size = sizeof(sa);
	int rc = uv_tcp_getpeername(tcp, uv_cast_sockaddr(&sa), &size);

	if (rc == 0)
		rc = ip_endpoint_from_sockaddr(&peer, uv_cast_sockaddr(&sa));
	if (rc == 0)
		*out = peer.addr;
	return rc;
}

static struct names_client *client_create(struct names *n)
{
	struct names_client *c = malloc(sizeof(*c));

	if (c == NULL)
		return NULL;
	c->names = n;
	c->frame.size = 0;
	c->id = 0;
	c->addr = (struct ip_addr){0};
	c->is_waiting = c->is_closing = false;
	c->n_open = HANDLES;
	uv_tcp_init(n->loop, &c->tcp);
	uv_timer_init(n->loop, &c->idle);
	c->tcp.data = c->idle.data = c;
	return c;
}

void names_client_accept(struct names_listener *listener)
{
	struct names *n = listener->names;
	struct names_client *c = client_create(n);
	int rc;

	if (c == NULL)
		return; // the connection waits in the kernel's bounded queue
	rc = uv_accept(uv_cast_stream(&listener->tcp), uv_cast_stream(&c->tcp));
	if (rc == 0)
		rc = peer_addr(&c->tcp, &c->addr);
	if (rc == 0 && !is_allowed(n, &c->addr))
		rc = -EMFILE;
	TAILQ_INSERT_TAIL(&n->clients, c, link);
	n->n_clients++;
	if (rc < 0) {
		names_client_close(c);
		return;
	}
	uv_timer_start(&c->idle, on_idle, NAMES_CLIENT_IDLE_MS, 0);
	next_query(c);
}
