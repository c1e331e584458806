// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "kni/mirror.h"

#include "control/base/err.h"
#include "control/base/log.h"
#include "kni/msg.h"
#include "kni/state.h"

#include <errno.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <stdalign.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define LOG_AREA "kni.mirror"

enum {
	EVENT_SIZE = 32768, // the kernel's notifications are far smaller
	EVENT_QUEUE_SIZE = 8 << 20, // bytes; some 30,000 routes between two calls
	EVENTS_MAX = 4096, // datagrams a call
	DUMP_TRIES = 5,
	PAUSE_BASE_MS = 10,
	ROUTES_PER_PAUSE_MS =
		1000, // a build takes about 0.4 us a route; then half the time is free
};

struct mirror {
	int fd; // notifications
	struct kni_nl *nl; // dumps
	struct kni_state *state;
	struct kni_neigh_cursor refresh;
	bool is_stale; // tables are to be dumped again
	alignas(struct nlmsghdr) char event[EVENT_SIZE];
};

union address {
	struct sockaddr any;
	struct sockaddr_nl nl;
};

static int events_open(void)
{
	union address sa = {
		.nl.nl_family = AF_NETLINK,
		.nl.nl_groups = RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR
			| RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_ROUTE | RTMGRP_NEIGH,
	};
	int size = EVENT_QUEUE_SIZE;
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, NETLINK_ROUTE);

	if (fd < 0)
		return -errno;
	// A small queue costs dumps, not correctness.
	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)) < 0)
		LOG(DEBUG, "keeping the default netlink queue error=\"%s\"", strerror(errno));
	if (bind(fd, &sa.any, sizeof(sa.nl)) < 0) {
		int err = errno;

		close(fd);
		return -err;
	}
	return fd;
}

struct dump {
	struct kni_state *state;
	uint64_t now_ms;
	int rc;
};

static void dump_message(void *arg, const struct nlmsghdr *nlh)
{
	struct dump *d = arg;
	struct kni_msg msg;
	int rc;

	if (d->rc < 0)
		return;
	if (kni_msg_parse(&msg, nlh) < 0) {
		LOG_LIMITED(WARNING, "cannot parse a netlink message type=%u", nlh->nlmsg_type);
		return;
	}
	rc = kni_state_apply(d->state, &msg, true, d->now_ms);
	d->rc = rc < 0 ? rc : 0;
}

// Fills a new state. @return 0, -EINTR when the tables changed meanwhile, -errno
static int dump_all(struct mirror *m, struct kni_state *state, uint64_t now_ms)
{
	static const struct {
		uint16_t type;
		const char *what;
	} tables[] = {
		{RTM_GETLINK, "links"},
		{RTM_GETADDR, "addresses"},
		{RTM_GETROUTE, "routes"},
		{RTM_GETNEIGH, "neighbours"},
	};
	struct dump d = {.state = state, .now_ms = now_ms};

	for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++) {
		int rc = kni_nl_dump(m->nl, tables[i].type, tables[i].what, dump_message, &d);

		if (rc < 0)
			return rc;
	}
	return d.rc;
}

// What changes during the dump is notified as well and applied after it, in order, to tables that may have
// it already: each message states a whole entry, so the end result is right.
static int resync(struct mirror *m, uint64_t now_ms)
{
	int rc = -EINTR;

	m->is_stale = true;
	for (int tries = 0; tries < DUMP_TRIES && rc == -EINTR; tries++) {
		struct kni_state *state = kni_state_create(m->state);

		if (state == NULL)
			return -ENOMEM;
		rc = dump_all(m, state, now_ms);
		if (rc < 0) {
			kni_state_destroy(state);
			continue;
		}
		kni_state_destroy(m->state);
		m->state = state;
		m->is_stale = false;
	}
	if (rc < 0)
		LOG(ERR, "cannot mirror the kernel's tables error=\"%s\"", strerror(-rc));
	return rc;
}

struct mirror *mirror_create(uint64_t now_ms)
{
	struct mirror *m = calloc(1, sizeof(*m));
	int err;

	if (m == NULL)
		return err_set_null(ENOMEM);
	m->fd = events_open();
	if (m->fd < 0) {
		err = -m->fd;
		LOG(ERR, "cannot subscribe to netlink error=\"%s\"", strerror(err));
		goto fail;
	}
	m->nl = kni_nl_create();
	if (m->nl == NULL) {
		err = errno;
		goto fail;
	}
	err = -resync(m, now_ms);
	if (err == 0)
		return m;
fail:
	mirror_destroy(m);
	return err_set_null(err);
}

void mirror_destroy(struct mirror *m)
{
	if (m == NULL)
		return;
	if (m->fd >= 0)
		close(m->fd);
	kni_nl_destroy(m->nl);
	kni_state_destroy(m->state);
	free(m);
}

int mirror_port_add(struct mirror *m, int ifindex, uint16_t port_id)
{
	return kni_state_port_add(m->state, ifindex, port_id);
}

int mirror_fd(const struct mirror *m)
{
	return m->fd;
}

// @return whether the FIB changed. What needs a dump is left in is_stale.
static bool event_apply(struct mirror *m, size_t size, uint64_t now_ms)
{
	const struct nlmsghdr *nlh;
	bool has_changed = false;
	size_t pos = 0;

	while ((nlh = kni_msg_next(m->event, size, &pos)) != NULL) {
		struct kni_msg msg;
		int effect;

		if (kni_msg_parse(&msg, nlh) < 0) {
			LOG_LIMITED(
				WARNING, "cannot parse a netlink message type=%u", nlh->nlmsg_type);
			m->is_stale = true;
			continue;
		}
		effect = kni_state_apply(m->state, &msg, false, now_ms);
		if (effect < 0 || effect == KNI_STATE_RESYNC)
			m->is_stale = true;
		else if (effect == KNI_STATE_CHANGED)
			has_changed = true;
	}
	return has_changed;
}

// @return bytes in m->event, 0 for one to skip, -EAGAIN, -ENOBUFS, other -errno
static ssize_t event_read(struct mirror *m)
{
	union address from = {0};
	socklen_t from_size = sizeof(from);
	ssize_t n = recvfrom(m->fd, m->event, sizeof(m->event), MSG_TRUNC, &from.any, &from_size);

	if (n < 0)
		return -errno;
	if ((size_t)n > sizeof(m->event))
		return -ENOBUFS;
	// Other processes may send to the group as well.
	return from.nl.nl_pid == 0 ? n : 0;
}

int mirror_handle(struct mirror *m, uint64_t now_ms)
{
	bool has_changed = false;
	int rc;

	for (unsigned i = 0; i < EVENTS_MAX; i++) {
		ssize_t n = event_read(m);

		if (n == -EINTR)
			continue;
		if (n == -EAGAIN)
			break;
		if (n == -ENOBUFS) {
			LOG_LIMITED(NOTICE, "netlink notifications lost, dumping again");
			m->is_stale = true;
		} else if (n < 0) {
			LOG_LIMITED(
				ERR, "cannot read notifications error=\"%s\"", strerror((int)-n));
			return err_set((int)-n);
		} else if (event_apply(m, (size_t)n, now_ms)) {
			has_changed = true;
		}
	}
	if (!m->is_stale)
		return has_changed;
	rc = resync(m, now_ms);
	return rc < 0 ? err_set(-rc) : 1;
}

int mirror_tick(struct mirror *m, uint64_t now_ms)
{
	bool has_changed = kni_state_failures_expire(m->state, now_ms, MIRROR_FAILED_MS);
	int rc;

	if (!m->is_stale)
		return has_changed;
	rc = resync(m, now_ms);
	return rc < 0 ? err_set(-rc) : 1;
}

struct fib *mirror_build(struct mirror *m, uint32_t generation)
{
	return kni_state_build(m->state, generation);
}

uint32_t mirror_pause_ms(const struct mirror *m)
{
	return PAUSE_BASE_MS + (uint32_t)(kni_state_n_routes(m->state) / ROUTES_PER_PAUSE_MS);
}

int mirror_neigh_request(
	struct mirror *m,
	struct kni_nl *nl,
	uint16_t port_id,
	const struct ip_addr *addr)
{
	int ifindex = kni_state_port_ifindex(m->state, port_id);

	return ifindex != 0 ? kni_neigh_use(nl, ifindex, addr) : err_set(ENODEV);
}

struct refresh {
	struct kni_nl *nl;
	bool (*in_use)(void *arg, uint16_t port_id, const struct ip_addr *addr);
	void *arg;
	size_t n, max;
	int rc;
};

static bool refresh_one(void *arg, int ifindex, uint16_t port_id, const struct ip_addr *addr)
{
	struct refresh *r = arg;

	if (r->in_use != NULL && !r->in_use(r->arg, port_id, addr))
		return true;
	r->rc = kni_neigh_use(r->nl, ifindex, addr);
	r->n += r->rc == 0;
	return r->rc == 0 && r->n < r->max;
}

int kni_neigh_refresh(
	struct mirror *m,
	struct kni_nl *nl,
	bool (*in_use)(void *arg, uint16_t port_id, const struct ip_addr *addr),
	void *arg,
	size_t max)
{
	struct refresh r = {.nl = nl, .in_use = in_use, .arg = arg, .max = max};

	if (max != 0)
		kni_state_stale_each(m->state, &m->refresh, refresh_one, &r);
	return r.rc < 0 ? r.rc : (int)r.n;
}
