// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "kni/msg.h"

#include "control/base/err.h"

#include <libmnl/libmnl.h>
#include <linux/if.h>
#include <linux/if_addr.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <string.h>

enum {
	ATTR_MAX = 32, // no attribute that we read has a higher number
};

// The attributes of a message by number; NULL where absent. Of one that comes twice the last counts.
struct attrs {
	const struct nlattr *by_type[ATTR_MAX];
};

static int attrs_collect(struct attrs *out, const char *data, size_t size)
{
	memset(out, 0, sizeof(*out));
	while (size != 0) {
		const struct nlattr *a = (const void *)data;
		size_t step;
		uint16_t type;

		if (size < sizeof(*a) || a->nla_len < sizeof(*a) || a->nla_len > size)
			return -EBADMSG;
		type = a->nla_type & NLA_TYPE_MASK;
		if (type < ATTR_MAX)
			out->by_type[type] = a;
		// The last attribute may lack its padding.
		step = MNL_ALIGN(a->nla_len);
		step = step < size ? step : size;
		data += step;
		size -= step;
	}
	return 0;
}

static int attrs_of(struct attrs *out, const struct nlmsghdr *nlh, size_t header_size)
{
	size_t skip = MNL_NLMSG_HDRLEN + MNL_ALIGN(header_size);

	if (nlh->nlmsg_len < skip)
		return -EBADMSG;
	return attrs_collect(out, (const char *)nlh + skip, nlh->nlmsg_len - skip);
}

static int attr_u32(uint32_t *out, const struct attrs *attrs, unsigned type)
{
	const struct nlattr *a = attrs->by_type[type];

	if (a == NULL)
		return 0;
	if (mnl_attr_get_payload_len(a) != sizeof(*out))
		return -EBADMSG;
	memcpy(out, mnl_attr_get_payload(a), sizeof(*out));
	return 0;
}

static bool family_is_known(uint8_t family)
{
	return family == AF_INET || family == AF_INET6;
}

static int addr_from(struct ip_addr *out, int family, const void *bytes, size_t size)
{
	if (family == AF_INET && size == 4)
		*out = ip_addr_v4(bytes);
	else if (family == AF_INET6 && size == 16)
		*out = ip_addr_v6(bytes);
	else
		return -EBADMSG;
	return 0;
}

// An absent attribute leaves @p out as it is.
static int attr_addr(struct ip_addr *out, const struct attrs *attrs, unsigned type, int family)
{
	const struct nlattr *a = attrs->by_type[type];

	if (a == NULL)
		return 0;
	return addr_from(out, family, mnl_attr_get_payload(a), mnl_attr_get_payload_len(a));
}

static int link_parse(struct kni_msg *out, const struct nlmsghdr *nlh)
{
	const struct ifinfomsg *ifi = mnl_nlmsg_get_payload(nlh);

	if (nlh->nlmsg_len < NLMSG_LENGTH(sizeof(*ifi)))
		return -EBADMSG;
	// A bridge reports its ports as links of its own family.
	if (ifi->ifi_family != AF_UNSPEC)
		return 0;
	out->type = KNI_MSG_LINK;
	out->link.ifindex = ifi->ifi_index;
	out->link.is_up = (ifi->ifi_flags & IFF_UP) != 0;
	return 0;
}

static int addr_parse(struct kni_msg *out, const struct nlmsghdr *nlh)
{
	const struct ifaddrmsg *ifa = mnl_nlmsg_get_payload(nlh);
	struct kni_msg_addr *addr = &out->addr;
	struct attrs attrs;
	uint32_t flags;

	if (attrs_of(&attrs, nlh, sizeof(*ifa)) < 0)
		return -EBADMSG;
	if (!family_is_known(ifa->ifa_family))
		return 0;
	// On a point-to-point device IFA_ADDRESS is the peer's; IFA_LOCAL is ours where present.
	flags = ifa->ifa_flags;
	if (attr_addr(&addr->addr, &attrs, IFA_ADDRESS, ifa->ifa_family) < 0
	    || attr_addr(&addr->addr, &attrs, IFA_LOCAL, ifa->ifa_family) < 0
	    || attr_u32(&flags, &attrs, IFA_FLAGS) < 0)
		return -EBADMSG;
	if (addr->addr.family == IP_FAMILY_NONE
	    || ifa->ifa_prefixlen > ip_addr_size(&addr->addr) * 8)
		return -EBADMSG;
	out->type = KNI_MSG_ADDR;
	addr->ifindex = (int)ifa->ifa_index;
	addr->prefix_len = ifa->ifa_prefixlen;
	addr->is_usable = (flags & IFA_F_DADFAILED) == 0
		&& ((flags & IFA_F_TENTATIVE) == 0 || (flags & IFA_F_OPTIMISTIC) != 0);
	addr->is_secondary = (flags & IFA_F_DEPRECATED) != 0
		|| (ifa->ifa_family == AF_INET && (flags & IFA_F_SECONDARY) != 0);
	return 0;
}

static enum kni_route_kind route_kind(uint8_t rtm_type)
{
	switch (rtm_type) {
	case RTN_UNICAST:
		return KNI_ROUTE_UNICAST;
	case RTN_LOCAL:
	case RTN_ANYCAST:
		return KNI_ROUTE_LOCAL;
	default:
		return KNI_ROUTE_UNREACHABLE;
	}
}

// RTA_VIA is a gateway of another family (RFC 5549).
static int gateway_parse(struct ip_addr *out, const struct attrs *attrs, int family)
{
	const struct nlattr *via = attrs->by_type[RTA_VIA];
	const size_t head = offsetof(struct rtvia, rtvia_addr);
	struct rtvia v;

	if (via == NULL)
		return attr_addr(out, attrs, RTA_GATEWAY, family);
	if (mnl_attr_get_payload_len(via) < head)
		return -EBADMSG;
	memcpy(&v, mnl_attr_get_payload(via), head);
	return addr_from(
		out,
		v.rtvia_family,
		(const char *)mnl_attr_get_payload(via) + head,
		mnl_attr_get_payload_len(via) - head);
}

static int multipath_parse(struct kni_msg_route *route, const struct nlattr *a, int family)
{
	const char *data = mnl_attr_get_payload(a);
	size_t size = mnl_attr_get_payload_len(a);

	route->is_multipath = true;
	while (size != 0) {
		const struct rtnexthop *nh = (const void *)data;
		struct kni_hop hop = {0};
		struct attrs attrs;
		size_t step;

		if (size < sizeof(*nh) || nh->rtnh_len < sizeof(*nh) || nh->rtnh_len > size)
			return -EBADMSG;
		if (attrs_collect(&attrs, data + sizeof(*nh), nh->rtnh_len - sizeof(*nh)) < 0
		    || gateway_parse(&hop.gateway, &attrs, family) < 0)
			return -EBADMSG;
		hop.ifindex = nh->rtnh_ifindex;
		hop.is_dead = (nh->rtnh_flags & RTNH_F_DEAD) != 0;
		if (route->n_hops < KNI_HOPS_MAX)
			route->hops[route->n_hops++] = hop;
		step = RTNH_ALIGN(nh->rtnh_len);
		step = step < size ? step : size;
		data += step;
		size -= step;
	}
	return 0;
}

static int
hops_parse(struct kni_msg_route *route, const struct attrs *attrs, const struct rtmsg *rtm)
{
	struct kni_hop *hop = &route->hops[0];
	uint32_t oif = 0;

	if (attrs->by_type[RTA_MULTIPATH] != NULL)
		return multipath_parse(route, attrs->by_type[RTA_MULTIPATH], rtm->rtm_family);
	if (attr_u32(&oif, attrs, RTA_OIF) < 0
	    || gateway_parse(&hop->gateway, attrs, rtm->rtm_family) < 0)
		return -EBADMSG;
	hop->ifindex = (int)oif;
	hop->is_dead = (rtm->rtm_flags & RTNH_F_DEAD) != 0;
	route->n_hops = 1;
	return 0;
}

static int prefix_parse(struct ip_prefix *out, const struct attrs *attrs, const struct rtmsg *rtm)
{
	out->addr.family = rtm->rtm_family == AF_INET ? IP_FAMILY_V4 : IP_FAMILY_V6;
	out->len = rtm->rtm_dst_len;
	// Without RTA_DST it is a default route.
	if (attr_addr(&out->addr, attrs, RTA_DST, rtm->rtm_family) < 0)
		return -EBADMSG;
	if (out->len > ip_addr_size(&out->addr) * 8 || !ip_prefix_contains(out, &out->addr))
		return -EBADMSG;
	return 0;
}

static int route_parse(struct kni_msg *out, const struct nlmsghdr *nlh)
{
	const struct rtmsg *rtm = mnl_nlmsg_get_payload(nlh);
	struct kni_msg_route *route = &out->route;
	struct attrs attrs;
	uint32_t table;

	if (attrs_of(&attrs, nlh, sizeof(*rtm)) < 0)
		return -EBADMSG;
	table = rtm->rtm_table;
	if (attr_u32(&table, &attrs, RTA_TABLE) < 0)
		return -EBADMSG;
	if (!family_is_known(rtm->rtm_family) || (table != RT_TABLE_MAIN && table != RT_TABLE_LOCAL)
	    || (rtm->rtm_flags & RTM_F_CLONED) != 0 || rtm->rtm_tos != 0 || rtm->rtm_src_len != 0)
		return 0;
	if (prefix_parse(&route->prefix, &attrs, rtm) < 0
	    || attr_u32(&route->metric, &attrs, RTA_PRIORITY) < 0
	    || attr_addr(&route->source, &attrs, RTA_PREFSRC, rtm->rtm_family) < 0
	    || hops_parse(route, &attrs, rtm) < 0)
		return -EBADMSG;
	out->type = KNI_MSG_ROUTE;
	route->is_main = table == RT_TABLE_MAIN;
	route->kind = route_kind(rtm->rtm_type);
	route->is_replace = (nlh->nlmsg_flags & NLM_F_REPLACE) != 0;
	route->is_append = rtm->rtm_family == AF_INET6 || (nlh->nlmsg_flags & NLM_F_APPEND) != 0;
	return 0;
}

static enum kni_neigh_state neigh_state(uint16_t ndm_state, bool has_mac)
{
	if ((ndm_state & NUD_FAILED) != 0)
		return KNI_NEIGH_FAILED;
	if (!has_mac)
		return KNI_NEIGH_UNRESOLVED;
	if ((ndm_state & NUD_STALE) != 0)
		return KNI_NEIGH_STALE;
	if ((ndm_state & (NUD_REACHABLE | NUD_DELAY | NUD_PROBE | NUD_PERMANENT | NUD_NOARP)) != 0)
		return KNI_NEIGH_RESOLVED;
	return KNI_NEIGH_UNRESOLVED;
}

static int neigh_parse(struct kni_msg *out, const struct nlmsghdr *nlh)
{
	const struct ndmsg *ndm = mnl_nlmsg_get_payload(nlh);
	struct kni_msg_neigh *neigh = &out->neigh;
	const struct nlattr *mac;
	struct attrs attrs;
	bool has_mac;

	if (attrs_of(&attrs, nlh, sizeof(*ndm)) < 0)
		return -EBADMSG;
	if (!family_is_known(ndm->ndm_family) || (ndm->ndm_flags & NTF_PROXY) != 0)
		return 0;
	if (attr_addr(&neigh->addr, &attrs, NDA_DST, ndm->ndm_family) < 0
	    || neigh->addr.family == IP_FAMILY_NONE)
		return -EBADMSG;
	// Other link types have other address sizes; none of ours does.
	mac = attrs.by_type[NDA_LLADDR];
	has_mac = mac != NULL && mnl_attr_get_payload_len(mac) == sizeof(neigh->mac);
	if (has_mac)
		memcpy(neigh->mac, mnl_attr_get_payload(mac), sizeof(neigh->mac));
	out->type = KNI_MSG_NEIGH;
	neigh->ifindex = ndm->ndm_ifindex;
	neigh->state = neigh_state(ndm->ndm_state, has_mac);
	return 0;
}

static int msg_parse(struct kni_msg *out, const struct nlmsghdr *nlh)
{
	switch (nlh->nlmsg_type) {
	case RTM_NEWLINK:
	case RTM_DELLINK:
		return link_parse(out, nlh);
	case RTM_NEWADDR:
	case RTM_DELADDR:
		return addr_parse(out, nlh);
	case RTM_NEWROUTE:
	case RTM_DELROUTE:
		return route_parse(out, nlh);
	case RTM_NEWNEIGH:
	case RTM_DELNEIGH:
		return neigh_parse(out, nlh);
	default:
		return 0;
	}
}

int kni_msg_parse(struct kni_msg *out, const struct nlmsghdr *nlh)
{
	memset(out, 0, sizeof(*out));
	if (nlh->nlmsg_len < sizeof(*nlh) || msg_parse(out, nlh) < 0) {
		memset(out, 0, sizeof(*out));
		return err_set(EBADMSG);
	}
	out->is_del = nlh->nlmsg_type == RTM_DELLINK || nlh->nlmsg_type == RTM_DELADDR
		|| nlh->nlmsg_type == RTM_DELROUTE || nlh->nlmsg_type == RTM_DELNEIGH;
	return 0;
}

const struct nlmsghdr *kni_msg_next(const void *datagram, size_t size, size_t *pos)
{
	const struct nlmsghdr *nlh = (const void *)((const char *)datagram + *pos);
	size_t step;

	if (size - *pos < sizeof(*nlh) || nlh->nlmsg_len < sizeof(*nlh)
	    || nlh->nlmsg_len > size - *pos)
		return NULL;
	step = NLMSG_ALIGN((size_t)nlh->nlmsg_len);
	*pos += step < size - *pos ? step : size - *pos;
	return nlh;
}
