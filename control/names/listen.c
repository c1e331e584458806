// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

// The sockets of the tunnel addresses.

#include "control/base/log.h"
#include "control/base/uv_cast.h"
#include "control/names/impl.h"

#include <stdlib.h>
#include <string.h>

#define LOG_AREA "names.listen"

enum {
	BACKLOG = 64,
	HANDLES = 2,
};

static void on_closed(uv_handle_t *handle)
{
	struct names_listener *listener = handle->data;

	if (--listener->n_open == 0)
		free(listener);
}

static void listener_close(struct names *n, unsigned family)
{
	struct names_listener *listener = n->listeners[family];

	if (listener == NULL)
		return;
	n->listeners[family] = NULL;
	uv_close(uv_cast_handle(&listener->udp), on_closed);
	uv_close(uv_cast_handle(&listener->tcp), on_closed);
}

void names_listeners_close(struct names *n)
{
	uv_timer_stop(&n->bind_timer);
	for (unsigned family = 0; family < NAMES_FAMILIES; family++)
		listener_close(n, family);
}

static void on_alloc(uv_handle_t *handle, size_t, uv_buf_t *buf)
{
	struct names_listener *listener = handle->data;

	names_buf_alloc(listener->names, buf);
}

static void
on_udp(uv_udp_t *udp, ssize_t size, const uv_buf_t *buf, const struct sockaddr *from, unsigned)
{
	struct names_listener *listener = udp->data;
	struct names_origin origin = {.family = listener->family};
	struct ip_endpoint client;

	if (size <= 0 || from == NULL || ip_endpoint_from_sockaddr(&client, from) < 0)
		return;
	ip_endpoint_to_sockaddr(&client, &origin.addr);
	names_query(listener->names, &origin, FORWARD_UDP, buf->base, (size_t)size);
}

static void on_connection(uv_stream_t *stream, int status)
{
	if (status == 0)
		names_client_accept(stream->data);
}

void names_listener_reply(
	struct names *n,
	const struct names_origin *to,
	const void *data,
	size_t size)
{
	struct names_listener *listener = n->listeners[to->family];
	struct sockaddr_storage addr = to->addr;
	uv_buf_t buf = uv_buf_init((char *)(uintptr_t)data, (unsigned)size);

	if (listener == NULL)
		return; // that address is no longer ours
	// A full socket drops it, as the network might; the client asks again.
	uv_udp_try_send(&listener->udp, &buf, 1, uv_cast_sockaddr(&addr));
}

static int listener_open(struct names *n, unsigned family)
{
	struct ip_endpoint local = {.addr = n->addrs[family], .port = NAMES_PORT};
	struct names_listener *listener = calloc(1, sizeof(*listener));
	struct sockaddr_storage storage;
	const struct sockaddr *sa = uv_cast_sockaddr(&storage);
	int rc;

	if (listener == NULL)
		return -ENOMEM;
	listener->names = n;
	listener->family = family;
	listener->n_open = HANDLES;
	uv_udp_init(n->loop, &listener->udp);
	uv_tcp_init(n->loop, &listener->tcp);
	listener->udp.data = listener->tcp.data = listener;
	n->listeners[family] = listener;
	ip_endpoint_to_sockaddr(&local, &storage);
	rc = uv_udp_bind(&listener->udp, sa, 0);
	if (rc == 0)
		rc = uv_udp_recv_start(&listener->udp, on_alloc, on_udp);
	if (rc == 0)
		rc = uv_tcp_bind(&listener->tcp, sa, 0);
	if (rc == 0)
		rc = uv_listen(uv_cast_stream(&listener->tcp), BACKLOG, on_connection);
	if (rc < 0)
		listener_close(n, family);
	return rc;
}

static void on_bind_timer(uv_timer_t *timer);

static void listeners_open(struct names *n)
{
	unsigned n_failed = 0;

	n->attempts++;
	for (unsigned family = 0; family < NAMES_FAMILIES; family++) {
		char text[IP_TEXT_SIZE];
		int rc = 0;

		if (n->addrs[family].family != IP_FAMILY_NONE && n->listeners[family] == NULL)
			rc = listener_open(n, family);
		if (rc == 0)
			continue;
		n_failed++;
		if (n->attempts == NAMES_BIND_ATTEMPTS) {
			LOG(ERR,
			    "no in-tunnel DNS until the next init: %s port %u: %s",
			    ip_addr_format(&n->addrs[family], text),
			    NAMES_PORT,
			    uv_strerror(rc));
		}
	}
	if (n_failed > 0 && n->attempts < NAMES_BIND_ATTEMPTS)
		uv_timer_start(&n->bind_timer, on_bind_timer, NAMES_BIND_PAUSE_MS, 0);
}

static void on_bind_timer(uv_timer_t *timer)
{
	listeners_open(timer->data);
}

void names_bind(struct names *n, const struct ip_addr *v4, const struct ip_addr *v6)
{
	names_listeners_close(n);
	n->addrs[0] = *v4;
	n->addrs[1] = *v6;
	n->attempts = 0;
	listeners_open(n);
}
