// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "peers/client/sockets.h"

#include "control/base/err.h"
#include "control/base/log.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define LOG_AREA "client.sockets"

enum {
	RECEIVE_BUFFER_SIZE = 16 << 20,
	SEND_BUFFER_SIZE = 2 << 20,
	ECN_MASK = 3,
	SEGMENTS_MAX = 64, // of one train, the kernel's limit
	TRAIN_SIZE_MAX = 65000, // bytes
};

// Room for the packet info and the traffic class of either family, and the segment size.
union control {
	struct cmsghdr align;
	char bytes[CMSG_SPACE(sizeof(struct in6_pktinfo)) + 2 * CMSG_SPACE(sizeof(int))];
};

struct incoming {
	struct mmsghdr msgs[SOCKETS_BATCH];
	struct iovec iov[SOCKETS_BATCH];
	struct sockaddr_storage remotes[SOCKETS_BATCH];
	union control controls[SOCKETS_BATCH];
	uint8_t data[SOCKETS_BATCH][SOCKETS_BUFFER_SIZE];
};

// Datagrams with the same addresses and size, one behind the other, which the kernel takes at once
// (UDP_SEGMENT). The last one may be shorter.
struct train {
	struct ip_endpoint local, remote;
	uint8_t ecn;
	uint8_t *data;
	size_t size; // of all
	size_t segment_size;
	unsigned n_segments;
	bool is_closed; // a shorter one came
};

struct outgoing {
	struct train trains[SOCKETS_BATCH];
	unsigned n_trains;
	size_t used; // of data
	struct mmsghdr msgs[SOCKETS_BATCH];
	struct iovec iov[SOCKETS_BATCH];
	struct sockaddr_storage remotes[SOCKETS_BATCH];
	union control controls[SOCKETS_BATCH];
	uint8_t data[SOCKETS_BATCH * SOCKETS_BUFFER_SIZE];
};

struct socket {
	int fd; // -1: family left out
	int family; // AF_INET, AF_INET6
	uint16_t port;
	bool is_segmentation_off; // the kernel or a device refused it
	struct outgoing out;
};

struct sockets {
	struct socket v4, v6;
	struct incoming in;
	uint64_t dropped;
};

static int option_set(int fd, int level, int name, int value)
{
	return setsockopt(fd, level, name, &value, sizeof(value)) < 0 ? -errno : 0;
}

static int options_set(int fd, int family, uint32_t mark)
{
	int rc;

	rc = option_set(fd, SOL_SOCKET, SO_MARK, (int)mark);
	if (rc < 0)
		return rc;
	// Larger than the system's limit where we may, the limit otherwise.
	if (option_set(fd, SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER_SIZE) < 0)
		rc = option_set(fd, SOL_SOCKET, SO_RCVBUF, RECEIVE_BUFFER_SIZE);
	if (rc == 0 && option_set(fd, SOL_SOCKET, SO_SNDBUFFORCE, SEND_BUFFER_SIZE) < 0)
		rc = option_set(fd, SOL_SOCKET, SO_SNDBUF, SEND_BUFFER_SIZE);
	if (rc < 0)
		return rc;
	if (family == AF_INET) {
		rc = option_set(fd, IPPROTO_IP, IP_PKTINFO, 1);
		return rc < 0 ? rc : option_set(fd, IPPROTO_IP, IP_RECVTOS, 1);
	}
	rc = option_set(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
	if (rc == 0)
		rc = option_set(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1);
	return rc < 0 ? rc : option_set(fd, IPPROTO_IPV6, IPV6_RECVTCLASS, 1);
}

static int port_bind(struct socket *s, uint16_t port)
{
	const struct ip_endpoint any = {
		.addr = {.family = s->family == AF_INET ? IP_FAMILY_V4 : IP_FAMILY_V6},
		.port = port,
	};
	struct sockaddr_storage storage;
	struct ip_endpoint local;
	void *address = &storage;
	socklen_t size;
	int rc;

	size = ip_endpoint_to_sockaddr(&any, &storage);
	if (bind(s->fd, address, size) < 0)
		return -errno;
	size = sizeof(storage);
	if (getsockname(s->fd, address, &size) < 0)
		return -errno;
	rc = ip_endpoint_from_sockaddr(&local, address);
	if (rc == 0)
		s->port = local.port;
	return rc;
}

static int socket_open(struct socket *s, int family, uint32_t mark)
{
	int rc;

	s->family = family;
	s->fd = socket(family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (s->fd < 0)
		return -errno;
	rc = options_set(s->fd, family, mark);
	if (rc == 0) {
		rc = port_bind(s, SOCKETS_PORT);
		if (rc < 0)
			rc = port_bind(s, 0);
	}
	if (rc < 0) {
		close(s->fd);
		s->fd = -1;
	}
	return rc;
}

struct sockets *sockets_create(uint32_t mark)
{
	struct sockets *s = calloc(1, sizeof(*s));
	int rc_v4, rc_v6;

	if (s == NULL)
		return NULL;
	rc_v4 = socket_open(&s->v4, AF_INET, mark);
	rc_v6 = socket_open(&s->v6, AF_INET6, mark);
	if (rc_v4 < 0 && rc_v6 < 0) {
		sockets_destroy(s);
		return err_set_null(-rc_v4);
	}
	if (rc_v4 < 0 || rc_v6 < 0)
		LOG(WARNING,
		    "no %s socket error=\"%s\"",
		    rc_v4 < 0 ? "IPv4" : "IPv6",
		    strerror(rc_v4 < 0 ? -rc_v4 : -rc_v6));
	return s;
}

void sockets_destroy(struct sockets *s)
{
	if (s == NULL)
		return;
	if (s->v4.fd >= 0)
		close(s->v4.fd);
	if (s->v6.fd >= 0)
		close(s->v6.fd);
	free(s);
}

int sockets_fd(const struct sockets *s, enum ip_family family)
{
	return family == IP_FAMILY_V4 ? s->v4.fd : s->v6.fd;
}

uint16_t sockets_port(const struct sockets *s, enum ip_family family)
{
	return family == IP_FAMILY_V4 ? s->v4.port : s->v6.port;
}

// Reads the destination and the traffic class. @return whether the destination was there
static bool control_read(struct msghdr *msg, struct ip_addr *local, uint8_t *ecn)
{
	bool has_local = false;

	*ecn = 0;
	for (struct cmsghdr *m = CMSG_FIRSTHDR(msg); m != NULL; m = CMSG_NXTHDR(msg, m)) {
		const uint8_t *data = CMSG_DATA(m);

		if (m->cmsg_level == IPPROTO_IP && m->cmsg_type == IP_PKTINFO) {
			*local = ip_addr_v4(data + offsetof(struct in_pktinfo, ipi_addr));
			has_local = true;
		} else if (m->cmsg_level == IPPROTO_IPV6 && m->cmsg_type == IPV6_PKTINFO) {
			*local = ip_addr_v6(data + offsetof(struct in6_pktinfo, ipi6_addr));
			has_local = true;
		} else if (m->cmsg_level == IPPROTO_IP && m->cmsg_type == IP_TOS) {
			*ecn = data[0] & ECN_MASK;
		} else if (m->cmsg_level == IPPROTO_IPV6 && m->cmsg_type == IPV6_TCLASS) {
			int value;

			memcpy(&value, data, sizeof(value));
			*ecn = (uint8_t)(value & ECN_MASK);
		}
	}
	return has_local;
}

static void receive_prepare(struct incoming *b)
{
	for (unsigned i = 0; i < SOCKETS_BATCH; i++) {
		b->iov[i] = (struct iovec){b->data[i], SOCKETS_BUFFER_SIZE};
		b->msgs[i].msg_hdr = (struct msghdr){
			.msg_name = &b->remotes[i],
			.msg_namelen = sizeof(b->remotes[i]),
			.msg_iov = &b->iov[i],
			.msg_iovlen = 1,
			.msg_control = &b->controls[i],
			.msg_controllen = sizeof(b->controls[i]),
		};
	}
}

unsigned sockets_receive(struct sockets *s, enum ip_family family, sockets_receive_fn fn, void *ctx)
{
	const struct socket *socket = family == IP_FAMILY_V4 ? &s->v4 : &s->v6;
	struct incoming *b = &s->in;
	int n;

	receive_prepare(b);
	n = recvmmsg(socket->fd, b->msgs, SOCKETS_BATCH, MSG_DONTWAIT, NULL);
	for (int i = 0; i < n; i++) {
		struct ip_endpoint local = {.port = socket->port}, remote;
		struct msghdr *msg = &b->msgs[i].msg_hdr;
		uint8_t ecn;

		if ((msg->msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0)
			continue;
		if (!control_read(msg, &local.addr, &ecn))
			continue;
		if (ip_endpoint_from_sockaddr(&remote, (const struct sockaddr *)msg->msg_name) < 0)
			continue;
		fn(ctx, &local, &remote, ecn, b->data[i], b->msgs[i].msg_len);
	}
	return n > 0 ? (unsigned)n : 0;
}

static void control_add(struct msghdr *msg, int level, int type, const void *data, size_t size)
{
	struct cmsghdr *m = (void *)((char *)msg->msg_control + msg->msg_controllen);

	m->cmsg_level = level;
	m->cmsg_type = type;
	m->cmsg_len = CMSG_LEN(size);
	memcpy(CMSG_DATA(m), data, size);
	msg->msg_controllen += CMSG_SPACE(size);
}

static void control_write(struct msghdr *msg, const struct ip_addr *local, uint8_t ecn)
{
	const int traffic_class = ecn;

	if (local->family == IP_FAMILY_V4) {
		struct in_pktinfo info = {0};

		memcpy(&info.ipi_spec_dst, local->bytes, 4);
		control_add(msg, IPPROTO_IP, IP_PKTINFO, &info, sizeof(info));
		if (ecn != 0)
			control_add(msg, IPPROTO_IP, IP_TOS, &traffic_class, sizeof(traffic_class));
	} else {
		struct in6_pktinfo info = {0};

		memcpy(&info.ipi6_addr, local->bytes, 16);
		control_add(msg, IPPROTO_IPV6, IPV6_PKTINFO, &info, sizeof(info));
		if (ecn != 0)
			control_add(
				msg,
				IPPROTO_IPV6,
				IPV6_TCLASS,
				&traffic_class,
				sizeof(traffic_class));
	}
}

static void message_make(struct socket *socket, unsigned i, const struct train *t)
{
	struct outgoing *out = &socket->out;
	struct msghdr *msg = &out->msgs[i].msg_hdr;

	out->iov[i] = (struct iovec){t->data, t->size};
	*msg = (struct msghdr){
		.msg_name = &out->remotes[i],
		.msg_namelen = ip_endpoint_to_sockaddr(&t->remote, &out->remotes[i]),
		.msg_iov = &out->iov[i],
		.msg_iovlen = 1,
		.msg_control = &out->controls[i],
	};
	control_write(msg, &t->local.addr, t->ecn);
	if (t->n_segments > 1) {
		const uint16_t segment_size = (uint16_t)t->segment_size;

		control_add(msg, SOL_UDP, UDP_SEGMENT, &segment_size, sizeof(segment_size));
	}
}

// Sends the datagrams of a train one by one.
static void train_split(struct sockets *s, struct socket *socket, const struct train *t)
{
	for (size_t at = 0; at < t->size; at += t->segment_size) {
		struct train one = *t;

		one.data += at;
		one.size = t->size - at < t->segment_size ? t->size - at : t->segment_size;
		one.n_segments = 1;
		message_make(socket, 0, &one);
		if (sendmsg(socket->fd, &socket->out.msgs[0].msg_hdr, 0) < 0)
			s->dropped++;
	}
}

static void socket_flush(struct sockets *s, struct socket *socket)
{
	struct outgoing *out = &socket->out;
	unsigned first = 0;

	while (first < out->n_trains) {
		const struct train *t = &out->trains[first];
		int n;

		for (unsigned i = first; i < out->n_trains; i++)
			message_make(socket, i - first, &out->trains[i]);
		n = sendmmsg(socket->fd, out->msgs, out->n_trains - first, 0);
		if (n > 0) {
			first += (unsigned)n;
			continue;
		}
		// The first one cannot go; the others may. EIO: the device cannot checksum segments.
		// EINVAL: a segment is larger than the MTU, or the source address is gone.
		if (t->n_segments > 1 && (errno == EIO || errno == EINVAL)) {
			socket->is_segmentation_off = errno == EIO;
			train_split(s, socket, t);
		} else {
			s->dropped += t->n_segments;
		}
		first++;
	}
	out->n_trains = 0;
	out->used = 0;
}

void sockets_flush(struct sockets *s)
{
	socket_flush(s, &s->v4);
	socket_flush(s, &s->v6);
}

static bool train_takes(const struct socket *socket, const struct train *t, size_t size)
{
	return !socket->is_segmentation_off && !t->is_closed && size <= t->segment_size
		&& t->n_segments < SEGMENTS_MAX && t->size + size <= TRAIN_SIZE_MAX;
}

static bool is_same_way(
	const struct train *t,
	const struct ip_endpoint *local,
	const struct ip_endpoint *remote,
	uint8_t ecn)
{
	return t->ecn == ecn && ip_endpoint_eq(&t->remote, remote)
		&& ip_endpoint_eq(&t->local, local);
}

void sockets_send(
	struct sockets *s,
	const struct ip_endpoint *local,
	const struct ip_endpoint *remote,
	const void *data,
	size_t size,
	uint8_t ecn)
{
	struct socket *socket = remote->addr.family == IP_FAMILY_V4 ? &s->v4 : &s->v6;
	struct outgoing *out = &socket->out;
	struct train *t;

	if (socket->fd < 0 || size == 0 || size > SOCKETS_BUFFER_SIZE
	    || local->addr.family != remote->addr.family) {
		s->dropped++;
		return;
	}
	if (out->used + size > sizeof(out->data))
		socket_flush(s, socket);
	t = out->n_trains > 0 ? &out->trains[out->n_trains - 1] : NULL;
	if (t == NULL || !is_same_way(t, local, remote, ecn) || !train_takes(socket, t, size)) {
		if (out->n_trains == SOCKETS_BATCH)
			socket_flush(s, socket);
		t = &out->trains[out->n_trains++];
		*t = (struct train){
			.local = *local,
			.remote = *remote,
			.ecn = ecn,
			.data = out->data + out->used,
			.segment_size = size,
		};
	}
	memcpy(out->data + out->used, data, size);
	out->used += size;
	t->size += size;
	t->n_segments++;
	t->is_closed = size < t->segment_size;
}

uint64_t sockets_dropped(const struct sockets *s)
{
	return s->dropped;
}
