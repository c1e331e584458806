// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "peers/client/netlink.h"

#include "control/base/err.h"

#include <libmnl/libmnl.h>
#include <linux/fib_rules.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdlib.h>

enum {
	BUFFER_SIZE = 32 * 1024,
	RULES_MAX = 256, // of one priority
};

struct netlink {
	struct mnl_socket *socket;
	uint32_t seq;
	char buffer[BUFFER_SIZE];
};

static struct netlink *open_groups(unsigned groups)
{
	struct netlink *nl = calloc(1, sizeof(*nl));
	int err;

	if (nl == NULL)
		return NULL;
	nl->socket =
		mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC | (groups != 0 ? SOCK_NONBLOCK : 0));
	if (nl->socket == NULL || mnl_socket_bind(nl->socket, groups, MNL_SOCKET_AUTOPID) < 0) {
		err = errno;
		netlink_destroy(nl);
		return err_set_null(err);
	}
	return nl;
}

struct netlink *netlink_create(void)
{
	return open_groups(0);
}

struct netlink *netlink_monitor_create(void)
{
	return open_groups(RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR | RTMGRP_LINK);
}

void netlink_destroy(struct netlink *nl)
{
	if (nl == NULL)
		return;
	if (nl->socket != NULL)
		mnl_socket_close(nl->socket);
	free(nl);
}

int netlink_fd(const struct netlink *nl)
{
	return mnl_socket_get_fd(nl->socket);
}

static uint8_t kernel_family(uint8_t family)
{
	return family == IP_FAMILY_V4 ? AF_INET : AF_INET6;
}

static struct nlmsghdr *request_begin(struct netlink *nl, uint16_t type, uint16_t flags)
{
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(nl->buffer);

	nlh->nlmsg_type = type;
	nlh->nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags);
	nlh->nlmsg_seq = ++nl->seq;
	return nlh;
}

// Sends what request_begin() started and feeds each answer to @p cb until the kernel is done.
static int request_run(struct netlink *nl, struct nlmsghdr *nlh, mnl_cb_t cb, void *ctx)
{
	unsigned portid = mnl_socket_get_portid(nl->socket);
	uint32_t seq = nlh->nlmsg_seq;
	int rc = MNL_CB_OK;

	if (mnl_socket_sendto(nl->socket, nlh, nlh->nlmsg_len) < 0)
		return -errno;
	while (rc > MNL_CB_STOP) {
		ssize_t n = mnl_socket_recvfrom(nl->socket, nl->buffer, sizeof(nl->buffer));

		if (n < 0)
			return -errno;
		rc = mnl_cb_run(nl->buffer, (size_t)n, seq, portid, cb, ctx);
	}
	return rc < 0 ? -errno : 0;
}

// Has to be in force before the interface comes up, which is when the kernel makes the address.
static int link_local_disable(struct netlink *nl, unsigned ifindex)
{
	struct nlmsghdr *nlh = request_begin(nl, RTM_NEWLINK, NLM_F_ACK);
	struct ifinfomsg *link = mnl_nlmsg_put_extra_header(nlh, sizeof(*link));
	struct nlattr *spec, *inet6;

	link->ifi_family = AF_UNSPEC;
	link->ifi_index = (int)ifindex;
	spec = mnl_attr_nest_start(nlh, IFLA_AF_SPEC);
	inet6 = mnl_attr_nest_start(nlh, AF_INET6);
	mnl_attr_put_u8(nlh, IFLA_INET6_ADDR_GEN_MODE, IN6_ADDR_GEN_MODE_NONE);
	mnl_attr_nest_end(nlh, inet6);
	mnl_attr_nest_end(nlh, spec);
	return request_run(nl, nlh, NULL, NULL);
}

int netlink_link_up(struct netlink *nl, unsigned ifindex, uint32_t mtu)
{
	struct nlmsghdr *nlh;
	struct ifinfomsg *link;
	int rc = link_local_disable(nl, ifindex);

	// A host without IPv6 has no such setting.
	if (rc < 0 && rc != -EOPNOTSUPP && rc != -EAFNOSUPPORT)
		return rc;
	nlh = request_begin(nl, RTM_NEWLINK, NLM_F_ACK);
	link = mnl_nlmsg_put_extra_header(nlh, sizeof(*link));
	link->ifi_family = AF_UNSPEC;
	link->ifi_index = (int)ifindex;
	link->ifi_change = IFF_UP;
	link->ifi_flags = IFF_UP;
	mnl_attr_put_u32(nlh, IFLA_MTU, mtu);
	return request_run(nl, nlh, NULL, NULL);
}

static uint16_t change_type(bool is_add, uint16_t add)
{
	// In rtnetlink each DEL number follows its NEW number.
	return is_add ? add : (uint16_t)(add + 1);
}

static uint16_t change_flags(bool is_add)
{
	return is_add ? NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL : NLM_F_ACK;
}

static int change_run(struct netlink *nl, struct nlmsghdr *nlh, bool is_add)
{
	int rc = request_run(nl, nlh, NULL, NULL);

	if (is_add && rc == -EEXIST)
		return 0;
	if (!is_add && (rc == -ENOENT || rc == -ESRCH || rc == -EADDRNOTAVAIL))
		return 0;
	return rc;
}

int netlink_addr_set(struct netlink *nl, unsigned ifindex, const struct ip_prefix *p, bool is_add)
{
	struct nlmsghdr *nlh =
		request_begin(nl, change_type(is_add, RTM_NEWADDR), change_flags(is_add));
	struct ifaddrmsg *ifa = mnl_nlmsg_put_extra_header(nlh, sizeof(*ifa));
	size_t size = ip_addr_size(&p->addr);

	ifa->ifa_family = kernel_family(p->addr.family);
	ifa->ifa_prefixlen = p->len;
	ifa->ifa_scope = RT_SCOPE_UNIVERSE;
	ifa->ifa_index = ifindex;
	mnl_attr_put(nlh, IFA_LOCAL, size, p->addr.bytes);
	mnl_attr_put(nlh, IFA_ADDRESS, size, p->addr.bytes);
	if (p->addr.family == IP_FAMILY_V6)
		mnl_attr_put_u32(nlh, IFA_FLAGS, IFA_F_NODAD);
	return change_run(nl, nlh, is_add);
}

int netlink_route_set(
	struct netlink *nl,
	unsigned ifindex,
	uint32_t table,
	const struct ip_prefix *p,
	bool is_add)
{
	struct nlmsghdr *nlh =
		request_begin(nl, change_type(is_add, RTM_NEWROUTE), change_flags(is_add));
	struct rtmsg *rtm = mnl_nlmsg_put_extra_header(nlh, sizeof(*rtm));

	rtm->rtm_family = kernel_family(p->addr.family);
	rtm->rtm_dst_len = p->len;
	rtm->rtm_table = RT_TABLE_UNSPEC;
	rtm->rtm_protocol = RTPROT_STATIC;
	rtm->rtm_scope = p->addr.family == IP_FAMILY_V4 ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE;
	rtm->rtm_type = RTN_UNICAST;
	mnl_attr_put_u32(nlh, RTA_TABLE, table);
	mnl_attr_put_u32(nlh, RTA_OIF, ifindex);
	if (p->len > 0)
		mnl_attr_put(nlh, RTA_DST, ip_addr_size(&p->addr), p->addr.bytes);
	return change_run(nl, nlh, is_add);
}

static struct nlmsghdr *
rule_begin(struct netlink *nl, bool is_add, uint8_t family, uint32_t priority)
{
	struct nlmsghdr *nlh =
		request_begin(nl, change_type(is_add, RTM_NEWRULE), change_flags(is_add));
	struct fib_rule_hdr *frh = mnl_nlmsg_put_extra_header(nlh, sizeof(*frh));

	frh->family = kernel_family(family);
	frh->action = FR_ACT_TO_TBL;
	mnl_attr_put_u32(nlh, FRA_PRIORITY, priority);
	return nlh;
}

int netlink_rule_add(struct netlink *nl, const struct netlink_rule *rule)
{
	struct nlmsghdr *nlh = rule_begin(nl, true, rule->family, rule->priority);
	struct fib_rule_hdr *frh = mnl_nlmsg_get_payload(nlh);
	const struct ip_endpoint *to = &rule->tcp_to;

	mnl_attr_put_u32(nlh, FRA_TABLE, rule->table);
	if (rule->unless_mark != 0) {
		frh->flags = FIB_RULE_INVERT;
		mnl_attr_put_u32(nlh, FRA_FWMARK, rule->unless_mark);
	}
	if (rule->is_default_ignored)
		mnl_attr_put_u32(nlh, FRA_SUPPRESS_PREFIXLEN, 0);
	if (to->addr.family != IP_FAMILY_NONE) {
		const struct fib_rule_port_range port = {to->port, to->port};

		frh->dst_len = (uint8_t)(ip_addr_size(&to->addr) * 8);
		mnl_attr_put(nlh, FRA_DST, ip_addr_size(&to->addr), to->addr.bytes);
		mnl_attr_put_u8(nlh, FRA_IP_PROTO, IPPROTO_TCP);
		mnl_attr_put(nlh, FRA_DPORT_RANGE, sizeof(port), &port);
	}
	return change_run(nl, nlh, true);
}

int netlink_rules_flush(struct netlink *nl, enum ip_family family, uint32_t priority)
{
	int rc = 0;

	// A request removes one rule that fits; bounded, should the kernel not agree.
	for (int i = 0; i < RULES_MAX && rc == 0; i++)
		rc = request_run(nl, rule_begin(nl, false, (uint8_t)family, priority), NULL, NULL);
	return rc == -ENOENT ? 0 : rc;
}

struct addrs_list {
	unsigned skip_ifindex;
	netlink_addr_fn fn;
	void *ctx;
};

static int attr_collect(const struct nlattr *attr, void *data)
{
	const struct nlattr **tb = data;
	unsigned type = mnl_attr_get_type(attr);

	if (type <= IFA_MAX)
		tb[type] = attr;
	return MNL_CB_OK;
}

static bool is_reachable_address(const struct ip_addr *a)
{
	if (a->family == IP_FAMILY_V4)
		return a->bytes[0] != 0 && a->bytes[0] != 127 && a->bytes[0] < 224
			&& !(a->bytes[0] == 169 && a->bytes[1] == 254);
	return a->bytes[0] != 0xff && !(a->bytes[0] == 0xfe && (a->bytes[1] & 0xc0) == 0x80);
}

static int addr_handle(const struct nlmsghdr *nlh, void *data)
{
	const uint32_t unfit =
		IFA_F_TENTATIVE | IFA_F_DADFAILED | IFA_F_DEPRECATED | IFA_F_TEMPORARY;
	const struct ifaddrmsg *ifa = mnl_nlmsg_get_payload(nlh);
	const struct nlattr *tb[IFA_MAX + 1] = {0};
	const struct addrs_list *list = data;
	const struct nlattr *local;
	uint32_t flags = ifa->ifa_flags;
	struct ip_addr addr;

	if (nlh->nlmsg_type != RTM_NEWADDR || ifa->ifa_index == list->skip_ifindex)
		return MNL_CB_OK;
	if (ifa->ifa_scope != RT_SCOPE_UNIVERSE && ifa->ifa_scope != RT_SCOPE_SITE)
		return MNL_CB_OK;
	mnl_attr_parse(nlh, sizeof(*ifa), attr_collect, tb);
	// On point-to-point links IFA_ADDRESS is the other end.
	local = tb[IFA_LOCAL] != NULL ? tb[IFA_LOCAL] : tb[IFA_ADDRESS];
	if (tb[IFA_FLAGS] != NULL && mnl_attr_get_payload_len(tb[IFA_FLAGS]) == 4)
		flags = mnl_attr_get_u32(tb[IFA_FLAGS]);
	if (local == NULL || (flags & unfit) != 0)
		return MNL_CB_OK;
	if (ifa->ifa_family == AF_INET && mnl_attr_get_payload_len(local) == 4)
		addr = ip_addr_v4(mnl_attr_get_payload(local));
	else if (ifa->ifa_family == AF_INET6 && mnl_attr_get_payload_len(local) == 16)
		addr = ip_addr_v6(mnl_attr_get_payload(local));
	else
		return MNL_CB_OK;
	if (is_reachable_address(&addr))
		list->fn(list->ctx, &addr);
	return MNL_CB_OK;
}

int netlink_addrs_list(struct netlink *nl, unsigned skip_ifindex, netlink_addr_fn fn, void *ctx)
{
	struct addrs_list list = {skip_ifindex, fn, ctx};
	struct nlmsghdr *nlh = request_begin(nl, RTM_GETADDR, NLM_F_DUMP);
	struct ifaddrmsg *ifa = mnl_nlmsg_put_extra_header(nlh, sizeof(*ifa));

	ifa->ifa_family = AF_UNSPEC;
	return request_run(nl, nlh, addr_handle, &list);
}

bool netlink_monitor_drain(struct netlink *nl)
{
	bool has_changed = false;

	for (;;) {
		ssize_t n = mnl_socket_recvfrom(nl->socket, nl->buffer, sizeof(nl->buffer));

		// ENOBUFS: notices were lost, so look again.
		if (n < 0 && errno != ENOBUFS)
			return has_changed;
		has_changed = true;
		if (n == 0)
			return has_changed;
	}
}
