// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "peers/client/tun.h"

#include "control/base/err.h"
#include "control/base/log.h"
#include "peers/client/netlink.h"

#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define LOG_AREA "client.tun"

struct tun {
	int fd;
	unsigned ifindex;
	struct netlink *nl;
	struct ip_prefix addrs[2]; // family none: not set
	uint8_t n_internet; // default routes in place
	struct ip_endpoint bypass[TUN_BYPASS_MAX];
	size_t n_bypass;
};

enum {
	PRIORITY_BYPASS = 20211,
	PRIORITY_RESOURCES = 20212,
	PRIORITY_MAIN = 20213,
	PRIORITY_INTERNET = 20214,
};

static const uint8_t families[] = {IP_FAMILY_V4, IP_FAMILY_V6};

static int rules_add(struct netlink *nl, struct netlink_rule rule)
{
	int rc = 0;

	for (size_t i = 0; i < 2 && rc == 0; i++) {
		rule.family = families[i];
		rc = netlink_rule_add(nl, &rule);
	}
	return rc;
}

static int resource_rules_add(struct netlink *nl)
{
	return rules_add(
		nl,
		(struct netlink_rule){
			.priority = PRIORITY_RESOURCES,
			.unless_mark = TUN_SOCKET_MARK,
			.table = TUN_TABLE,
		});
}

static int internet_rules_add(struct netlink *nl)
{
	const struct netlink_rule local = {
		.priority = PRIORITY_MAIN,
		.table = RT_TABLE_MAIN,
		.is_default_ignored = true,
	};
	const struct netlink_rule internet = {
		.priority = PRIORITY_INTERNET,
		.unless_mark = TUN_SOCKET_MARK,
		.table = TUN_TABLE_INTERNET,
	};
	int rc = rules_add(nl, local);

	return rc < 0 ? rc : rules_add(nl, internet);
}

// Each one is tried, also after a failure.
static int rules_flush(struct netlink *nl, uint32_t first, uint32_t last)
{
	int result = 0;

	for (uint32_t priority = first; priority <= last; priority++) {
		for (size_t i = 0; i < 2; i++) {
			int rc = netlink_rules_flush(nl, families[i], priority);

			if (rc < 0)
				result = rc;
		}
	}
	return result;
}

static int device_open(struct tun *t, const char *name)
{
	struct ifreq ifr = {.ifr_flags = IFF_TUN | IFF_NO_PI | IFF_VNET_HDR};

	t->fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
	if (t->fd < 0)
		return -errno;
	memcpy(ifr.ifr_name, name, strnlen(name, IFNAMSIZ - 1));
	if (ioctl(t->fd, TUNSETIFF, &ifr) < 0)
		return -errno;
	// What segment.c finishes in the kernel's place.
	if (ioctl(t->fd, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6) < 0)
		return -errno;
	t->ifindex = if_nametoindex(ifr.ifr_name);
	return t->ifindex != 0 ? 0 : -errno;
}

struct tun *tun_create(const char *name, uint32_t mtu)
{
	struct tun *t = calloc(1, sizeof(*t));
	int rc;

	if (t == NULL)
		return NULL;
	t->fd = -1;
	t->nl = netlink_create();
	rc = t->nl != NULL ? device_open(t, name) : -errno;
	if (rc == 0)
		rc = netlink_link_up(t->nl, t->ifindex, mtu);
	// What a killed predecessor left behind.
	if (rc == 0)
		rc = rules_flush(t->nl, PRIORITY_BYPASS, PRIORITY_INTERNET);
	if (rc == 0)
		rc = resource_rules_add(t->nl);
	if (rc < 0) {
		tun_destroy(t);
		return err_set_null(-rc);
	}
	return t;
}

void tun_destroy(struct tun *t)
{
	if (t == NULL)
		return;
	if (t->nl != NULL && t->ifindex != 0) {
		int rc = rules_flush(t->nl, PRIORITY_BYPASS, PRIORITY_INTERNET);

		if (rc < 0)
			LOG(WARNING, "routing rules not removed error=\"%s\"", strerror(-rc));
	}
	netlink_destroy(t->nl);
	if (t->fd >= 0)
		close(t->fd);
	free(t);
}

int tun_fd(const struct tun *t)
{
	return t->fd;
}

unsigned tun_ifindex(const struct tun *t)
{
	return t->ifindex;
}

static int addr_replace(struct tun *t, struct ip_prefix *slot, const struct ip_addr *a)
{
	const struct ip_prefix old = *slot;
	const struct ip_prefix p = {.addr = *a, .len = (uint8_t)(ip_addr_size(a) * 8)};
	int rc;

	if (ip_prefix_eq(&old, &p))
		return 0;
	// New before old: with the last address of a family the kernel drops its routes too.
	rc = netlink_addr_set(t->nl, t->ifindex, &p, true);
	if (rc < 0)
		return rc;
	*slot = p;
	if (old.addr.family == IP_FAMILY_NONE)
		return 0;
	return netlink_addr_set(t->nl, t->ifindex, &old, false);
}

int tun_addrs_set(struct tun *t, const struct ip_addr *v4, const struct ip_addr *v6)
{
	static const char *const ranges[] = {"100.64.0.0/11", "fd00:2021:1111::/107"};
	int rc;

	rc = addr_replace(t, &t->addrs[0], v4);
	if (rc == 0)
		rc = addr_replace(t, &t->addrs[1], v6);
	for (size_t i = 0; rc == 0 && i < 2; i++) {
		struct ip_prefix p;

		rc = ip_prefix_parse(&p, ranges[i]);
		if (rc == 0)
			rc = netlink_route_set(t->nl, t->ifindex, TUN_TABLE, &p, true);
	}
	return rc;
}

int tun_route_set(struct tun *t, const struct ip_prefix *p, bool is_add)
{
	int rc;

	if (p->len > 0)
		return netlink_route_set(t->nl, t->ifindex, TUN_TABLE, p, is_add);

	rc = netlink_route_set(t->nl, t->ifindex, TUN_TABLE_INTERNET, p, is_add);
	if (rc < 0)
		return rc;
	if (is_add && t->n_internet++ == 0)
		return internet_rules_add(t->nl);
	if (!is_add && t->n_internet > 0 && --t->n_internet == 0)
		return rules_flush(t->nl, PRIORITY_MAIN, PRIORITY_INTERNET);
	return 0;
}

int tun_bypass_add(struct tun *t, const struct ip_endpoint *to)
{
	const struct netlink_rule rule = {
		.family = to->addr.family,
		.priority = PRIORITY_BYPASS,
		.table = RT_TABLE_MAIN,
		.tcp_to = *to,
	};
	int rc;

	for (size_t i = 0; i < t->n_bypass; i++) {
		if (ip_endpoint_eq(&t->bypass[i], to))
			return 0;
	}
	if (t->n_bypass == TUN_BYPASS_MAX)
		return -ENOSPC;
	rc = netlink_rule_add(t->nl, &rule);
	if (rc == 0)
		t->bypass[t->n_bypass++] = *to;
	return rc;
}

ssize_t tun_read(struct tun *t, uint8_t *frame, size_t size)
{
	ssize_t n = read(t->fd, frame, size);

	return n >= 0 ? n : -errno;
}

int tun_write(struct tun *t, const uint8_t *frame, size_t size)
{
	return write(t->fd, frame, size) >= 0 ? 0 : -errno;
}
