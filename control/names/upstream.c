// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

// The socket of each exchange: connected to its nameserver, so that only its answers come in, from
// a port that the kernel chose at random.

#include "control/base/uv_cast.h"
#include "control/names/impl.h"

#include <stdlib.h>
#include <string.h>

enum {
	DNS_PORT = 53,
};

static void on_closed(uv_handle_t *handle)
{
	free(handle->data);
}

void names_upstream_close(struct names *n, uint32_t id)
{
	struct names_upstream **slot = &n->upstreams[forwarder_slot(id)];
	struct names_upstream *u = *slot;

	if (u == NULL || u->id != id)
		return;
	*slot = NULL;
	uv_close(&u->handle, on_closed);
}

static void failed(struct names_upstream *u)
{
	struct forward_step step = forwarder_fail(u->names->forwarder, u->id);

	names_step(u->names, &step);
}

// @return whether the exchange is over, and the socket closed
static bool received(struct names_upstream *u, const void *data, size_t size)
{
	struct names *n = u->names;
	struct forward_step step = forwarder_response(n->forwarder, n->now(), u->id, data, size);

	names_step(n, &step);
	return step.verdict != FORWARD_NOTHING;
}

static void on_udp_alloc(uv_handle_t *handle, size_t, uv_buf_t *buf)
{
	struct names_upstream *u = handle->data;

	names_buf_alloc(u->names, buf);
}

static void
on_udp(uv_udp_t *udp, ssize_t size, const uv_buf_t *buf, const struct sockaddr *from, unsigned)
{
	if (size < 0)
		failed(udp->data);
	else if (from != NULL)
		received(udp->data, buf->base, (size_t)size);
}

static bool
udp_send(struct names_upstream *u, const struct sockaddr *server, const void *data, size_t size)
{
	uv_buf_t buf = uv_buf_init((char *)(uintptr_t)data, (unsigned)size);

	if (uv_udp_connect(&u->udp, server) < 0 || uv_udp_try_send(&u->udp, &buf, 1, NULL) < 0)
		return false;
	return uv_udp_recv_start(&u->udp, on_udp_alloc, on_udp) == 0;
}

static void on_tcp_alloc(uv_handle_t *handle, size_t, uv_buf_t *buf)
{
	struct names_upstream *u = handle->data;

	names_frame_alloc(&u->frame, buf);
}

static void on_tcp(uv_stream_t *stream, ssize_t size, const uv_buf_t *)
{
	struct names_upstream *u = stream->data;

	if (size < 0) {
		failed(u);
		return;
	}
	u->frame.size += (size_t)size;
	if (names_frame_is_complete(&u->frame)
	    && !received(u, u->frame.data + 2, names_frame_length(&u->frame)))
		failed(u);
}

static void on_written(uv_write_t *write, int status)
{
	struct names_upstream *u = write->data;

	if (status == UV_ECANCELED)
		return; // closed meanwhile
	u->frame.size = 0;
	if (status < 0 || uv_read_start(uv_cast_stream(&u->tcp), on_tcp_alloc, on_tcp) < 0)
		failed(u);
}

static void on_connected(uv_connect_t *connect, int status)
{
	struct names_upstream *u = connect->data;
	uv_buf_t buf = uv_buf_init((char *)u->frame.data, (unsigned)u->frame.size);

	if (status == UV_ECANCELED)
		return;
	if (status < 0 || uv_write(&u->write, uv_cast_stream(&u->tcp), &buf, 1, on_written) < 0)
		failed(u);
}

static bool
tcp_send(struct names_upstream *u, const struct sockaddr *server, const void *data, size_t size)
{
	u->frame.data[0] = (uint8_t)(size >> 8);
	u->frame.data[1] = (uint8_t)size;
	memcpy(u->frame.data + 2, data, size);
	u->frame.size = 2 + size;
	u->connect.data = u->write.data = u;
	return uv_tcp_connect(&u->connect, &u->tcp, server, on_connected) == 0;
}

// @return NULL when there is no memory
static struct names_upstream *
upstream_create(struct names *n, const struct forward_step *step, const struct names_origin *origin)
{
	struct names_upstream *u = malloc(sizeof(*u));

	if (u == NULL)
		return NULL;
	// Not zeroed as a whole: the frame, most of it, is filled as needed.
	u->names = n;
	u->id = step->id;
	u->origin = *origin;
	u->frame.size = 0;
	if (step->transport == FORWARD_UDP)
		uv_udp_init(n->loop, &u->udp);
	else
		uv_tcp_init(n->loop, &u->tcp);
	u->handle.data = u;
	n->upstreams[forwarder_slot(u->id)] = u;
	return u;
}

void names_upstream_open(
	struct names *n,
	const struct forward_step *step,
	const struct names_origin *origin)
{
	struct ip_endpoint server = {.addr = step->server, .port = DNS_PORT};
	struct names_upstream *u = upstream_create(n, step, origin);
	struct sockaddr_storage storage;
	const struct sockaddr *sa = uv_cast_sockaddr(&storage);
	struct forward_step failure;
	bool is_sent;

	if (u == NULL) {
		failure = forwarder_fail(n->forwarder, step->id);
		names_deliver(n, origin, &failure);
		return;
	}
	if (origin->client != NULL)
		origin->client->id = step->id;
	ip_endpoint_to_sockaddr(&server, &storage);
	if (step->transport == FORWARD_UDP)
		is_sent = udp_send(u, sa, step->data, step->size);
	else
		is_sent = tcp_send(u, sa, step->data, step->size);
	if (!is_sent)
		failed(u);
}
