// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "peers/relay/sockets.h"

#include "control/base/err.h"
#include "control/base/log.h"
#include "control/base/uv_cast.h"

#include <assert.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define LOG_AREA "relay.sockets"
/** Larger datagrams are dropped; jumbo frames fit. */
#define PACKET_SIZE_MAX 9216
#define HEADROOM 64
/** Bursts of one socket before others have their turn. */
#define BURSTS_MAX 4
#define LISTEN_BUFFER_SIZE (8 << 20)
#define PORT_BUFFER_SIZE (1 << 20)
#define LISTEN_TRIES 16
#define TICK_MS 1000

static_assert(HEADROOM >= RELAY_HEADROOM, "headroom");
static_assert(PACKET_SIZE_MAX >= RELAY_PACKET_SIZE_MIN, "answers fit");

enum {
	IPV4,
	IPV6,
	N_FAMILIES
};

struct socket {
	uv_poll_t poll;
	struct sockets *owner;
	int fd;
	uint16_t port;
};

struct sockets {
	uv_loop_t *loop;
	uv_timer_t timer;
	struct relay *relay;
	struct ip_addr bind[N_FAMILIES];
	uint16_t listen_port;
	struct socket *by_port[UINT16_MAX + 1][N_FAMILIES];
	// One burst on its way in,
	uint8_t (*buffers)[HEADROOM + PACKET_SIZE_MAX];
	struct mmsghdr in[SOCKETS_BURST];
	struct iovec in_iov[SOCKETS_BURST];
	struct sockaddr_storage in_addr[SOCKETS_BURST];
	// and out: out_fd is -1 for what was sent.
	size_t n_out;
	int out_fd[SOCKETS_BURST];
	struct iovec out_iov[SOCKETS_BURST];
	struct sockaddr_storage out_addr[SOCKETS_BURST];
	socklen_t out_addr_size[SOCKETS_BURST];
};

static int family_of(const struct ip_addr *a)
{
	return a->family == IP_FAMILY_V6 ? IPV6 : IPV4;
}

struct relay_now sockets_now(const struct sockets *s)
{
	return (struct relay_now){.mono_ms = uv_now(s->loop), .unix_s = time(NULL)};
}

// Sends what is left of a run, one call for all of it. A packet that the kernel refuses is lost, as on
// the way; those after it are not.
static void run_send(int fd, struct mmsghdr *run, unsigned n)
{
	while (n > 0) {
		const int sent = sendmmsg(fd, run, n, 0);

		if (sent > 0) {
			run += sent;
			n -= (unsigned)sent;
		} else if (errno == EAGAIN) {
			LOG_LIMITED(WARNING, "send buffer is full, dropped=%u", n);
			return;
		} else if (errno != EINTR) {
			LOG_LIMITED(INFO, "a packet cannot be sent error=%m");
			run++;
			n--;
		}
	}
}

// Gathers what leaves by the same socket, in order.
static void out_flush(struct sockets *s)
{
	struct mmsghdr run[SOCKETS_BURST];

	for (size_t i = 0; i < s->n_out; i++) {
		const int fd = s->out_fd[i];
		unsigned n = 0;

		for (size_t k = i; fd >= 0 && k < s->n_out; k++) {
			if (s->out_fd[k] != fd)
				continue;
			s->out_fd[k] = -1;
			run[n++] = (struct mmsghdr){
				.msg_hdr =
					{
						.msg_name = &s->out_addr[k],
						.msg_namelen = s->out_addr_size[k],
						.msg_iov = &s->out_iov[k],
						.msg_iovlen = 1,
					},
			};
		}
		run_send(fd, run, n);
	}
	s->n_out = 0;
}

static void out_add(struct sockets *s, const struct relay_packet *p)
{
	const struct socket *socket = s->by_port[p->port][family_of(&p->remote.addr)];
	const size_t i = s->n_out;

	if (socket == NULL)
		return;
	s->out_fd[i] = socket->fd;
	s->out_iov[i] = (struct iovec){.iov_base = p->data, .iov_len = p->size};
	s->out_addr_size[i] = ip_endpoint_to_sockaddr(&p->remote, &s->out_addr[i]);
	s->n_out++;
}

static int burst_read(struct sockets *s, int fd)
{
	for (size_t i = 0; i < SOCKETS_BURST; i++) {
		s->in_iov[i] = (struct iovec){
			.iov_base = s->buffers[i] + HEADROOM,
			.iov_len = PACKET_SIZE_MAX,
		};
		s->in[i].msg_hdr = (struct msghdr){
			.msg_name = &s->in_addr[i],
			.msg_namelen = sizeof(s->in_addr[i]),
			.msg_iov = &s->in_iov[i],
			.msg_iovlen = 1,
		};
	}
	return recvmmsg(fd, s->in, SOCKETS_BURST, 0, NULL);
}

static void on_readable(uv_poll_t *poll, int, int)
{
	const struct socket *socket = poll->data;
	struct sockets *s = socket->owner;
	const struct relay_now now = sockets_now(s);
	const uint16_t port = socket->port;
	int n = SOCKETS_BURST;

	for (int round = 0; round < BURSTS_MAX && n == SOCKETS_BURST; round++) {
		n = burst_read(s, socket->fd);
		if (n < 0 && errno != EAGAIN && errno != EINTR)
			LOG_LIMITED(WARNING, "receive error=%m");
		for (int i = 0; i < n; i++) {
			struct relay_packet p = {
				.data = s->buffers[i] + HEADROOM,
				.size = s->in[i].msg_len,
				.cap = PACKET_SIZE_MAX,
				.port = port,
			};

			if ((s->in[i].msg_hdr.msg_flags & MSG_TRUNC) == 0
			    && ip_endpoint_from_sockaddr(&p.remote, (void *)&s->in_addr[i]) == 0
			    && relay_handle_packet(s->relay, now, &p))
				out_add(s, &p);
		}
		out_flush(s);
	}
}

static void on_socket_closed(uv_handle_t *handle)
{
	free(handle->data);
}

static void socket_close(struct socket *socket)
{
	uv_poll_stop(&socket->poll);
	// libuv allows this once the handle is stopped; the port is free at once.
	close(socket->fd);
	uv_close(uv_cast_handle(&socket->poll), on_socket_closed);
}

// Best effort: the kernel's limit may be lower.
static void buffer_sizes_set(int fd, int size)
{
	static const int options[] = {SO_RCVBUF, SO_SNDBUF};

	for (size_t i = 0; i < 2; i++) {
		if (setsockopt(fd, SOL_SOCKET, options[i], &size, sizeof(size)) != 0)
			LOG_LIMITED(INFO, "socket buffer size error=%m");
	}
}

static int fd_open(const struct ip_addr *bind_to, uint16_t port, int buffer_size)
{
	const struct ip_endpoint endpoint = {*bind_to, port};
	struct sockaddr_storage sa;
	const socklen_t size = ip_endpoint_to_sockaddr(&endpoint, &sa);
	const int on = 1;
	const int fd = socket(sa.ss_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return -errno;
	if ((sa.ss_family == AF_INET6
	     && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on)) != 0)
	    || bind(fd, (void *)&sa, size) != 0) {
		const int rc = -errno;

		close(fd);
		return rc;
	}
	buffer_sizes_set(fd, buffer_size);
	return fd;
}

static int socket_open(struct sockets *s, int family, uint16_t port, int buffer_size)
{
	const int fd = fd_open(&s->bind[family], port, buffer_size);
	struct socket *socket;

	if (fd < 0)
		return fd;
	socket = calloc(1, sizeof(*socket));
	if (socket == NULL) {
		close(fd);
		return err_set(ENOMEM);
	}
	socket->owner = s;
	socket->fd = fd;
	socket->port = port;
	socket->poll.data = socket;
	if (uv_poll_init(s->loop, &socket->poll, fd) != 0) {
		close(fd);
		free(socket);
		return err_set(ENOMEM);
	}
	s->by_port[port][family] = socket;
	return 0;
}

static void port_close(struct sockets *s, uint16_t port)
{
	// Packets of this burst may still want to leave by it.
	out_flush(s);
	for (int family = 0; family < N_FAMILIES; family++) {
		if (s->by_port[port][family] != NULL)
			socket_close(s->by_port[port][family]);
		s->by_port[port][family] = NULL;
	}
}

static void port_start(struct sockets *s, uint16_t port)
{
	for (int family = 0; family < N_FAMILIES; family++) {
		if (s->by_port[port][family] != NULL)
			uv_poll_start(&s->by_port[port][family]->poll, UV_READABLE, on_readable);
	}
}

static int on_port_open(void *ctx, uint16_t port, unsigned families)
{
	struct sockets *s = ctx;
	int rc = 0;

	if (families & RELAY_V4)
		rc = socket_open(s, IPV4, port, PORT_BUFFER_SIZE);
	if (rc == 0 && (families & RELAY_V6) != 0)
		rc = socket_open(s, IPV6, port, PORT_BUFFER_SIZE);
	if (rc == 0) {
		port_start(s, port);
		LOG(INFO, "allocation opened port=%u", port);
	} else {
		LOG_LIMITED(INFO, "port cannot be opened port=%u: %s", port, strerror(-rc));
		port_close(s, port);
	}
	return rc;
}

static void on_port_close(void *ctx, uint16_t port, unsigned)
{
	port_close(ctx, port);
	LOG(INFO, "allocation closed port=%u", port);
}

struct relay_ports sockets_ports(struct sockets *s)
{
	return (struct relay_ports){on_port_open, on_port_close, s};
}

static void on_tick(uv_timer_t *timer)
{
	struct sockets *s = timer->data;

	relay_tick(s->relay, sockets_now(s));
}

static uint16_t bound_port(int fd)
{
	struct sockaddr_storage sa;
	socklen_t size = sizeof(sa);
	struct ip_endpoint e;

	if (getsockname(fd, (void *)&sa, &size) != 0
	    || ip_endpoint_from_sockaddr(&e, (void *)&sa) != 0)
		return 0;
	return e.port;
}

static int listen_open(struct sockets *s, uint16_t port)
{
	int rc = 0;

	for (int family = 0; rc == 0 && family < N_FAMILIES; family++) {
		if (s->bind[family].family != IP_FAMILY_NONE)
			rc = socket_open(s, family, port, LISTEN_BUFFER_SIZE);
	}
	if (rc != 0)
		port_close(s, port);
	else
		s->listen_port = port;
	return rc;
}

// A port that is free in all families.
static int listen_open_any(struct sockets *s)
{
	const int family = s->bind[IPV4].family != IP_FAMILY_NONE ? IPV4 : IPV6;
	int rc = -EADDRINUSE;

	for (int i = 0; i < LISTEN_TRIES && rc == -EADDRINUSE; i++) {
		const int fd = fd_open(&s->bind[family], 0, PORT_BUFFER_SIZE);
		const uint16_t port = fd >= 0 ? bound_port(fd) : 0;

		if (fd < 0)
			return fd;
		close(fd);
		rc = listen_open(s, port);
	}
	return rc;
}

struct sockets *sockets_create(uv_loop_t *loop, const struct sockets_config *config)
{
	struct sockets *s = calloc(1, sizeof(*s));
	int rc;

	if (s == NULL)
		return err_set_null(ENOMEM);
	s->loop = loop;
	s->bind[IPV4] = config->bind_v4;
	s->bind[IPV6] = config->bind_v6;
	s->buffers = calloc(SOCKETS_BURST, sizeof(*s->buffers));
	if (s->buffers == NULL) {
		sockets_destroy(s);
		return err_set_null(ENOMEM);
	}
	rc = config->listen_port != 0 ? listen_open(s, config->listen_port) : listen_open_any(s);
	if (rc != 0) {
		uv_run(loop, UV_RUN_NOWAIT);
		sockets_destroy(s);
		return err_set_null(-rc);
	}
	uv_timer_init(loop, &s->timer);
	s->timer.data = s;
	return s;
}

uint16_t sockets_port(const struct sockets *s)
{
	return s->listen_port;
}

void sockets_start(struct sockets *s, struct relay *relay)
{
	s->relay = relay;
	port_start(s, s->listen_port);
	uv_timer_start(&s->timer, on_tick, TICK_MS, TICK_MS);
}

void sockets_close(struct sockets *s)
{
	if (s == NULL)
		return;
	port_close(s, s->listen_port);
	uv_cast_close(&s->timer);
}

void sockets_destroy(struct sockets *s)
{
	if (s == NULL)
		return;
	free(s->buffers);
	free(s);
}
