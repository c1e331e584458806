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
};

static const struct netlink_rule resource_rules[] = {
	{IP_FAMILY_V4, 20212, TUN_SOCKET_MARK, TUN_TABLE, false},
	{IP_FAMILY_V6, 20212, TUN_SOCKET_MARK, TUN_TABLE, false},
};

static const struct netlink_rule internet_rules[] = {
	{IP_FAMILY_V4, 20213, 0, RT_TABLE_MAIN, true},
	{IP_FAMILY_V6, 20213, 0, RT_TABLE_MAIN, true},
	{IP_FAMILY_V4, 20214, TUN_SOCKET_MARK, TUN_TABLE_INTERNET, false},
	{IP_FAMILY_V6, 20214, TUN_SOCKET_MARK, TUN_TABLE_INTERNET, false},
};

#define N_RULES(rules) (sizeof(rules) / sizeof((rules)[0]))

static int rules_set(struct netlink *nl, const struct netlink_rule *rules, size_t n, bool is_add)
{
	int first = 0;

	for (size_t i = 0; i < n; i++) {
		int rc = netlink_rule_set(nl, &rules[i], is_add);

		if (rc < 0 && first == 0)
			first = rc;
		// When removing, the others have to go all the same.
		if (rc < 0 && is_add)
			break;
	}
	return first;
}

static int device_open(struct tun *t, const char *name)
{
	struct ifreq ifr = {.ifr_flags = IFF_TUN | IFF_NO_PI};

	t->fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
	if (t->fd < 0)
		return -errno;
	memcpy(ifr.ifr_name, name, strnlen(name, IFNAMSIZ - 1));
	if (ioctl(t->fd, TUNSETIFF, &ifr) < 0)
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
	if (rc == 0)
		rc = rules_set(t->nl, resource_rules, N_RULES(resource_rules), true);
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
		int rc = rules_set(t->nl, resource_rules, N_RULES(resource_rules), false);

		if (t->n_internet > 0 && rc == 0)
			rc = rules_set(t->nl, internet_rules, N_RULES(internet_rules), false);
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
		return rules_set(t->nl, internet_rules, N_RULES(internet_rules), true);
	if (!is_add && t->n_internet > 0 && --t->n_internet == 0)
		return rules_set(t->nl, internet_rules, N_RULES(internet_rules), false);
	return 0;
}

ssize_t tun_read(struct tun *t, uint8_t *buf, size_t size)
{
	ssize_t n = read(t->fd, buf, size);

	return n >= 0 ? n : -errno;
}

int tun_write(struct tun *t, const uint8_t *packet, size_t size)
{
	return write(t->fd, packet, size) >= 0 ? 0 : -errno;
}
