// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "kni/netlink.h"

#include "control/base/err.h"
#include "control/base/log.h"
#include "kni/msg.h"

#include <libmnl/libmnl.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdalign.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define LOG_AREA "kni.netlink"

enum {
	REQUEST_SIZE = 512,
	ANSWER_SIZE = 32768, // what the kernel fills a dump's datagrams up to
};

struct kni_nl {
	struct mnl_socket *socket;
	uint32_t seq;
	alignas(struct nlmsghdr) char answer[ANSWER_SIZE];
};

struct request {
	alignas(struct nlmsghdr) char buf[REQUEST_SIZE];
	struct nlmsghdr *nlh;
};

struct kni_nl *kni_nl_create(void)
{
	struct kni_nl *nl = calloc(1, sizeof(*nl));
	int err;

	if (nl == NULL)
		return err_set_null(ENOMEM);
	nl->socket = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
	if (nl->socket == NULL || mnl_socket_bind(nl->socket, 0, MNL_SOCKET_AUTOPID) < 0) {
		err = errno;
		LOG(ERR, "cannot open a netlink socket error=\"%s\"", strerror(err));
		kni_nl_destroy(nl);
		return err_set_null(err);
	}
	return nl;
}

void kni_nl_destroy(struct kni_nl *nl)
{
	if (nl == NULL)
		return;
	if (nl->socket != NULL)
		mnl_socket_close(nl->socket);
	free(nl);
}

// Begins a request with @p size bytes of family header, zeroed.
static void *request_begin(struct request *r, uint16_t type, uint16_t flags, size_t size)
{
	r->nlh = mnl_nlmsg_put_header(r->buf);
	r->nlh->nlmsg_type = type;
	r->nlh->nlmsg_flags = NLM_F_REQUEST | flags;
	return mnl_nlmsg_put_extra_header(r->nlh, size);
}

static void put_addr(struct request *r, uint16_t attr, const struct ip_addr *addr)
{
	mnl_attr_put(r->nlh, attr, ip_addr_size(addr), addr->bytes);
}

static int af_of(const struct ip_addr *addr)
{
	return addr->family == IP_FAMILY_V4 ? AF_INET : AF_INET6;
}

struct answer_sink {
	void (*fn)(void *arg, const struct nlmsghdr *nlh);
	void *arg;
	bool is_interrupted; // the tables changed during the dump
};

// @return 1 for more to come, 0 at the end, -errno as the kernel answers.
static int answer_message(struct answer_sink *sink, const struct nlmsghdr *nlh)
{
	const struct nlmsgerr *err = mnl_nlmsg_get_payload(nlh);

	if ((nlh->nlmsg_flags & NLM_F_DUMP_INTR) != 0)
		sink->is_interrupted = true;
	switch (nlh->nlmsg_type) {
	case NLMSG_DONE:
		return 0;
	case NLMSG_ERROR:
		if (nlh->nlmsg_len < NLMSG_LENGTH(sizeof(err->error)))
			return -EBADMSG;
		return err->error;
	default:
		if (sink->fn != NULL)
			sink->fn(sink->arg, nlh);
		return 1;
	}
}

// Reads until the acknowledgement or the end of the dump.
static int answer_read(struct kni_nl *nl, struct answer_sink *sink)
{
	for (;;) {
		ssize_t n = mnl_socket_recvfrom(nl->socket, nl->answer, sizeof(nl->answer));
		const struct nlmsghdr *nlh;
		size_t pos = 0;

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		while ((nlh = kni_msg_next(nl->answer, (size_t)n, &pos)) != NULL) {
			int rc;

			// The rest of an answer that an earlier call gave up on.
			if (nlh->nlmsg_seq != nl->seq)
				continue;
			rc = answer_message(sink, nlh);
			if (rc <= 0)
				return rc;
		}
	}
}

static int
request_send(struct kni_nl *nl, struct nlmsghdr *nlh, uint16_t flags, struct answer_sink *sink)
{
	int rc;

	nlh->nlmsg_flags |= flags;
	nlh->nlmsg_seq = ++nl->seq;
	if (mnl_socket_sendto(nl->socket, nlh, nlh->nlmsg_len) < 0)
		return -errno;
	rc = answer_read(nl, sink);
	return rc == 0 && sink->is_interrupted ? -EINTR : rc;
}

// Sends a change; @p tolerated is an errno that means "as wished already", or 0.
static int
request_do(struct kni_nl *nl, struct request *r, const char *what, int ifindex, int tolerated)
{
	struct answer_sink sink = {0};
	int rc = request_send(nl, r->nlh, NLM_F_ACK, &sink);

	if (rc == 0 || rc == -tolerated)
		return 0;
	LOG_LIMITED(ERR, "cannot %s ifindex=%d error=\"%s\"", what, ifindex, strerror(-rc));
	return err_set(-rc);
}

int kni_nl_dump(
	struct kni_nl *nl,
	uint16_t type,
	const char *what,
	void (*fn)(void *arg, const struct nlmsghdr *nlh),
	void *arg)
{
	static const int families[] = {AF_INET, AF_INET6};
	struct answer_sink sink = {.fn = fn, .arg = arg};
	// Links have no family.
	size_t n = type == RTM_GETLINK ? 1 : sizeof(families) / sizeof(families[0]);
	int rc = 0;

	for (size_t i = 0; i < n && rc == 0; i++) {
		struct request r;
		// The longest of the headers, each of which begins with the family.
		struct ifinfomsg *head = request_begin(&r, type, 0, sizeof(*head));

		head->ifi_family = type == RTM_GETLINK ? AF_UNSPEC : (unsigned char)families[i];
		rc = request_send(nl, r.nlh, NLM_F_DUMP, &sink);
	}
	if (rc == 0 || rc == -EINTR)
		return rc;
	LOG(ERR, "cannot dump %s error=\"%s\"", what, strerror(-rc));
	return err_set(-rc);
}

int kni_link_index(const char *name)
{
	unsigned ifindex = if_nametoindex(name);

	return ifindex != 0 ? (int)ifindex : err_set(ENODEV);
}

static struct ifinfomsg *link_begin(struct request *r, int ifindex)
{
	struct ifinfomsg *ifi = request_begin(r, RTM_NEWLINK, 0, sizeof(*ifi));

	ifi->ifi_family = AF_UNSPEC;
	ifi->ifi_index = ifindex;
	return ifi;
}

int kni_link_mac_set(struct kni_nl *nl, int ifindex, const uint8_t mac[6])
{
	struct request r;

	link_begin(&r, ifindex);
	mnl_attr_put(r.nlh, IFLA_ADDRESS, 6, mac);
	return request_do(nl, &r, "set the MAC", ifindex, 0);
}

int kni_link_mtu_set(struct kni_nl *nl, int ifindex, uint32_t mtu)
{
	struct request r;

	link_begin(&r, ifindex);
	mnl_attr_put_u32(r.nlh, IFLA_MTU, mtu);
	return request_do(nl, &r, "set the MTU", ifindex, 0);
}

int kni_link_txqlen_set(struct kni_nl *nl, int ifindex, uint32_t len)
{
	struct request r;

	link_begin(&r, ifindex);
	mnl_attr_put_u32(r.nlh, IFLA_TXQLEN, len);
	return request_do(nl, &r, "set the transmit queue length", ifindex, 0);
}

int kni_link_addrgen_none(struct kni_nl *nl, int ifindex)
{
	struct nlattr *spec, *inet6;
	struct request r;

	link_begin(&r, ifindex);
	spec = mnl_attr_nest_start(r.nlh, IFLA_AF_SPEC);
	inet6 = mnl_attr_nest_start(r.nlh, AF_INET6);
	mnl_attr_put_u8(r.nlh, IFLA_INET6_ADDR_GEN_MODE, IN6_ADDR_GEN_MODE_NONE);
	mnl_attr_nest_end(r.nlh, inet6);
	mnl_attr_nest_end(r.nlh, spec);
	return request_do(nl, &r, "turn off link-local addresses", ifindex, 0);
}

static int
link_flag_set(struct kni_nl *nl, int ifindex, unsigned flag, unsigned value, const char *what)
{
	struct request r;
	struct ifinfomsg *ifi = link_begin(&r, ifindex);

	ifi->ifi_change = flag;
	ifi->ifi_flags = value;
	return request_do(nl, &r, what, ifindex, 0);
}

int kni_link_up(struct kni_nl *nl, int ifindex)
{
	return link_flag_set(nl, ifindex, IFF_UP, IFF_UP, "set the link up");
}

int kni_link_down(struct kni_nl *nl, int ifindex)
{
	return link_flag_set(nl, ifindex, IFF_UP, 0, "set the link down");
}

static struct ifaddrmsg *addr_begin(
	struct request *r,
	uint16_t type,
	uint16_t flags,
	int ifindex,
	const struct ip_addr *addr,
	uint8_t prefix_len)
{
	struct ifaddrmsg *ifa = request_begin(r, type, flags, sizeof(*ifa));

	ifa->ifa_family = (unsigned char)af_of(addr);
	ifa->ifa_prefixlen = prefix_len;
	ifa->ifa_index = (unsigned)ifindex;
	put_addr(r, IFA_LOCAL, addr);
	put_addr(r, IFA_ADDRESS, addr);
	return ifa;
}

int kni_addr_add(struct kni_nl *nl, int ifindex, const struct ip_addr *addr, uint8_t prefix_len)
{
	struct request r;

	if (prefix_len > ip_addr_size(addr) * 8 || ip_addr_size(addr) == 0)
		return err_set(EINVAL);
	addr_begin(&r, RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, ifindex, addr, prefix_len);
	if (addr->family == IP_FAMILY_V6)
		mnl_attr_put_u32(r.nlh, IFA_FLAGS, IFA_F_NODAD);
	return request_do(nl, &r, "add an address", ifindex, EEXIST);
}

int kni_addr_add_passive(struct kni_nl *nl, int ifindex, const struct ip_addr *addr)
{
	const struct ifa_cacheinfo life = {.ifa_prefered = 0, .ifa_valid = UINT32_MAX};
	struct request r;

	if (ip_addr_size(addr) == 0)
		return err_set(EINVAL);
	addr_begin(
		&r,
		RTM_NEWADDR,
		NLM_F_CREATE | NLM_F_REPLACE,
		ifindex,
		addr,
		(uint8_t)(ip_addr_size(addr) * 8));
	mnl_attr_put(r.nlh, IFA_CACHEINFO, sizeof(life), &life);
	if (addr->family == IP_FAMILY_V6)
		mnl_attr_put_u32(r.nlh, IFA_FLAGS, IFA_F_NODAD);
	return request_do(nl, &r, "add an address", ifindex, EEXIST);
}

int kni_addr_del(struct kni_nl *nl, int ifindex, const struct ip_addr *addr, uint8_t prefix_len)
{
	struct request r;

	addr_begin(&r, RTM_DELADDR, 0, ifindex, addr, prefix_len);
	return request_do(nl, &r, "remove an address", ifindex, EADDRNOTAVAIL);
}

enum {
	FLUSH_BATCH = 32,
};

struct flush {
	int ifindex;
	size_t n;
	struct kni_msg_addr found[FLUSH_BATCH];
};

static void flush_note(void *arg, const struct nlmsghdr *nlh)
{
	struct flush *f = arg;
	struct kni_msg msg;

	if (kni_msg_parse(&msg, nlh) < 0 || msg.type != KNI_MSG_ADDR
	    || msg.addr.ifindex != f->ifindex
	    || (msg.addr.addr.family == IP_FAMILY_V6 && ip_addr_is_link_local(&msg.addr.addr))
	    || f->n == FLUSH_BATCH)
		return;
	f->found[f->n++] = msg.addr;
}

int kni_addr_flush(struct kni_nl *nl, int ifindex)
{
	struct flush f = {.ifindex = ifindex};

	do {
		int rc;

		f.n = 0;
		rc = kni_nl_dump(nl, RTM_GETADDR, "addresses", flush_note, &f);
		// A dump that was overtaken by a change may have missed one: the next round has it.
		if (rc < 0 && rc != -EINTR)
			return rc;
		for (size_t i = 0; i < f.n; i++) {
			rc = kni_addr_del(nl, ifindex, &f.found[i].addr, f.found[i].prefix_len);
			if (rc < 0)
				return rc;
		}
	} while (f.n != 0);
	return 0;
}

static void
route_begin(struct request *r, uint16_t type, uint16_t flags, const struct kni_route *route)
{
	struct rtmsg *rtm = request_begin(r, type, flags, sizeof(*rtm));

	rtm->rtm_family = (unsigned char)af_of(&route->prefix.addr);
	rtm->rtm_dst_len = route->prefix.len;
	rtm->rtm_table = RT_TABLE_MAIN;
	rtm->rtm_type = RTN_UNICAST;
	rtm->rtm_protocol = RTPROT_STATIC;
	rtm->rtm_scope = RT_SCOPE_UNIVERSE;
	if (route->gateway.family == IP_FAMILY_NONE && route->prefix.addr.family == IP_FAMILY_V4)
		rtm->rtm_scope = RT_SCOPE_LINK;
	put_addr(r, RTA_DST, &route->prefix.addr);
	mnl_attr_put_u32(r->nlh, RTA_OIF, (uint32_t)route->ifindex);
	if (route->gateway.family != IP_FAMILY_NONE)
		put_addr(r, RTA_GATEWAY, &route->gateway);
	if (route->source.family != IP_FAMILY_NONE)
		put_addr(r, RTA_PREFSRC, &route->source);
	if (route->metric != 0)
		mnl_attr_put_u32(r->nlh, RTA_PRIORITY, route->metric);
}

static bool route_is_valid(const struct kni_route *route)
{
	uint8_t family = route->prefix.addr.family;

	return ip_addr_size(&route->prefix.addr) != 0
		&& (route->gateway.family == IP_FAMILY_NONE || route->gateway.family == family)
		&& (route->source.family == IP_FAMILY_NONE || route->source.family == family);
}

int kni_route_add(struct kni_nl *nl, const struct kni_route *route)
{
	struct request r;

	if (!route_is_valid(route))
		return err_set(EINVAL);
	route_begin(&r, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, route);
	return request_do(nl, &r, "add a route", route->ifindex, EEXIST);
}

int kni_route_del(struct kni_nl *nl, const struct kni_route *route)
{
	struct request r;

	if (!route_is_valid(route))
		return err_set(EINVAL);
	route_begin(&r, RTM_DELROUTE, 0, route);
	return request_do(nl, &r, "remove a route", route->ifindex, ESRCH);
}

int kni_neigh_use(struct kni_nl *nl, int ifindex, const struct ip_addr *addr)
{
	struct request r;
	struct ndmsg *ndm = request_begin(&r, RTM_NEWNEIGH, NLM_F_CREATE, sizeof(*ndm));

	if (ip_addr_size(addr) == 0)
		return err_set(EINVAL);
	ndm->ndm_family = (unsigned char)af_of(addr);
	ndm->ndm_ifindex = ifindex;
	ndm->ndm_state = NUD_NONE;
	ndm->ndm_flags = NTF_USE;
	put_addr(&r, NDA_DST, addr);
	return request_do(nl, &r, "use a neighbour", ifindex, 0);
}
