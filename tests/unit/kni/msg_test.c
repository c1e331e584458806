// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "kni/msg.h"
#include "tests/unit/unit.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/if_addr.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdalign.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

// Messages as the kernel writes them, made with libmnl's writer, which the parser does not use.

struct message {
	alignas(struct nlmsghdr) char buf[1024];
	struct nlmsghdr *nlh;
};

static const uint8_t mac[6] = {2, 1, 2, 3, 4, 5};

static void *begin(struct message *m, uint16_t type, size_t size)
{
	memset(m, 0, sizeof(*m));
	m->nlh = mnl_nlmsg_put_header(m->buf);
	m->nlh->nlmsg_type = type;
	return mnl_nlmsg_put_extra_header(m->nlh, size);
}

static struct ip_addr addr(const char *text)
{
	struct ip_addr a;

	assert_int_equal(ip_addr_parse(&a, text), 0);
	return a;
}

static void put_addr(struct message *m, uint16_t type, const char *text)
{
	struct ip_addr a = addr(text);

	mnl_attr_put(m->nlh, type, ip_addr_size(&a), a.bytes);
}

static struct ifinfomsg *make_link(struct message *m)
{
	struct ifinfomsg *ifi = begin(m, RTM_NEWLINK, sizeof(*ifi));

	ifi->ifi_index = 7;
	ifi->ifi_flags = IFF_UP | IFF_RUNNING;
	mnl_attr_put_strz(m->nlh, 3, "wan0");
	return ifi;
}

static struct ifaddrmsg *make_addr4(struct message *m)
{
	struct ifaddrmsg *ifa = begin(m, RTM_NEWADDR, sizeof(*ifa));

	ifa->ifa_family = AF_INET;
	ifa->ifa_prefixlen = 24;
	ifa->ifa_index = 7;
	put_addr(m, IFA_ADDRESS, "192.0.2.2");
	put_addr(m, IFA_LOCAL, "192.0.2.1");
	mnl_attr_put_u32(m->nlh, IFA_FLAGS, IFA_F_PERMANENT);
	return ifa;
}

static struct ifaddrmsg *make_addr6(struct message *m, uint32_t flags)
{
	struct ifaddrmsg *ifa = begin(m, RTM_NEWADDR, sizeof(*ifa));

	ifa->ifa_family = AF_INET6;
	ifa->ifa_prefixlen = 64;
	ifa->ifa_index = 7;
	ifa->ifa_flags = (uint8_t)flags;
	put_addr(m, IFA_ADDRESS, "2001:db8::1");
	mnl_attr_put_u32(m->nlh, IFA_FLAGS, flags);
	return ifa;
}

static struct rtmsg *make_route4(struct message *m)
{
	struct rtmsg *rtm = begin(m, RTM_NEWROUTE, sizeof(*rtm));

	rtm->rtm_family = AF_INET;
	rtm->rtm_dst_len = 16;
	rtm->rtm_table = RT_TABLE_MAIN;
	rtm->rtm_type = RTN_UNICAST;
	mnl_attr_put_u32(m->nlh, RTA_TABLE, RT_TABLE_MAIN);
	put_addr(m, RTA_DST, "10.1.0.0");
	mnl_attr_put_u32(m->nlh, RTA_PRIORITY, 50);
	put_addr(m, RTA_PREFSRC, "192.0.2.1");
	put_addr(m, RTA_GATEWAY, "192.0.2.254");
	mnl_attr_put_u32(m->nlh, RTA_OIF, 7);
	return rtm;
}

static struct rtmsg *make_route6_multipath(struct message *m)
{
	struct rtmsg *rtm = begin(m, RTM_NEWROUTE, sizeof(*rtm));
	struct nlattr *nest;

	rtm->rtm_family = AF_INET6;
	rtm->rtm_table = RT_TABLE_MAIN;
	rtm->rtm_type = RTN_UNICAST;
	mnl_attr_put_u32(m->nlh, RTA_PRIORITY, 1024);
	nest = mnl_attr_nest_start(m->nlh, RTA_MULTIPATH);
	for (int i = 0; i < 2; i++) {
		struct rtnexthop *nh = mnl_nlmsg_get_payload_tail(m->nlh);

		m->nlh->nlmsg_len += sizeof(*nh);
		nh->rtnh_ifindex = 7 + i;
		nh->rtnh_flags = i == 0 ? RTNH_F_DEAD : 0;
		put_addr(m, RTA_GATEWAY, i == 0 ? "fe80::1" : "fe80::2");
		nh->rtnh_len = (uint16_t)((char *)mnl_nlmsg_get_payload_tail(m->nlh) - (char *)nh);
	}
	mnl_attr_nest_end(m->nlh, nest);
	return rtm;
}

static struct rtmsg *make_route_via6(struct message *m)
{
	struct rtmsg *rtm = begin(m, RTM_NEWROUTE, sizeof(*rtm));
	struct ip_addr a = addr("fe80::9");
	char via[18] = {AF_INET6};

	rtm->rtm_family = AF_INET;
	rtm->rtm_table = RT_TABLE_MAIN;
	rtm->rtm_type = RTN_UNICAST;
	memcpy(via + 2, a.bytes, 16);
	mnl_attr_put(m->nlh, RTA_VIA, sizeof(via), via);
	mnl_attr_put_u32(m->nlh, RTA_OIF, 7);
	return rtm;
}

static struct ndmsg *make_neigh(struct message *m, uint16_t state, bool has_mac)
{
	struct ndmsg *ndm = begin(m, RTM_NEWNEIGH, sizeof(*ndm));

	ndm->ndm_family = AF_INET6;
	ndm->ndm_ifindex = 7;
	ndm->ndm_state = state;
	put_addr(m, NDA_DST, "2001:db8::7");
	if (has_mac)
		mnl_attr_put(m->nlh, NDA_LLADDR, sizeof(mac), mac);
	return ndm;
}

static void parse(struct kni_msg *out, const struct message *m)
{
	assert_int_equal(kni_msg_parse(out, m->nlh), 0);
}

static void parse_other(const struct message *m)
{
	struct kni_msg msg;

	parse(&msg, m);
	assert_int_equal(msg.type, KNI_MSG_OTHER);
}

static void parse_bad(const struct message *m)
{
	struct kni_msg msg;

	assert_int_equal(kni_msg_parse(&msg, m->nlh), -EBADMSG);
	assert_int_equal(msg.type, KNI_MSG_OTHER);
}

static void test_link(void **)
{
	struct message m;
	struct kni_msg msg;

	make_link(&m);
	parse(&msg, &m);
	assert_int_equal(msg.type, KNI_MSG_LINK);
	assert_false(msg.is_del);
	assert_int_equal(msg.link.ifindex, 7);
	assert_true(msg.link.is_up);
	make_link(&m)->ifi_flags = IFF_RUNNING;
	m.nlh->nlmsg_type = RTM_DELLINK;
	parse(&msg, &m);
	assert_true(msg.is_del);
	assert_false(msg.link.is_up);
	make_link(&m)->ifi_family = AF_BRIDGE;
	parse_other(&m);
}

static void test_addr(void **)
{
	static const struct {
		uint32_t flags;
		bool is_usable, is_secondary;
	} table[] = {
		{0, true, false},
		{IFA_F_PERMANENT | IFA_F_NODAD, true, false},
		{IFA_F_TENTATIVE, false, false},
		{IFA_F_TENTATIVE | IFA_F_OPTIMISTIC, true, false},
		{IFA_F_TENTATIVE | IFA_F_DADFAILED, false, false},
		{IFA_F_DEPRECATED, true, true},
		{IFA_F_TEMPORARY, true, false}, // the bit that means secondary for IPv4
		{IFA_F_MANAGETEMPADDR, true, false}, // beyond the 8 bits of ifa_flags
	};
	struct ip_addr local = addr("192.0.2.1"), v6 = addr("2001:db8::1");
	struct message m;
	struct kni_msg msg;

	make_addr4(&m);
	parse(&msg, &m);
	assert_int_equal(msg.type, KNI_MSG_ADDR);
	assert_int_equal(msg.addr.ifindex, 7);
	assert_int_equal(msg.addr.prefix_len, 24);
	assert_true(ip_addr_eq(&msg.addr.addr, &local));
	assert_true(msg.addr.is_usable);
	for (size_t i = 0; i < COUNT_OF(table); i++) {
		make_addr6(&m, table[i].flags);
		parse(&msg, &m);
		assert_true(ip_addr_eq(&msg.addr.addr, &v6));
		assert_int_equal(msg.addr.is_usable, table[i].is_usable);
		assert_int_equal(msg.addr.is_secondary, table[i].is_secondary);
	}
	make_addr4(&m)->ifa_prefixlen = 33;
	parse_bad(&m);
	make_addr4(&m)->ifa_family = AF_INET6;
	parse_bad(&m);
	make_addr4(&m)->ifa_family = AF_DECnet;
	parse_other(&m);
	begin(&m, RTM_NEWADDR, sizeof(struct ifaddrmsg));
	((struct ifaddrmsg *)mnl_nlmsg_get_payload(m.nlh))->ifa_family = AF_INET;
	parse_bad(&m);
}

static void test_route(void **)
{
	struct ip_addr gw = addr("192.0.2.254"), src = addr("192.0.2.1"), via = addr("fe80::9");
	struct message m;
	struct kni_msg msg;
	char text[IP_TEXT_SIZE];

	make_route4(&m);
	m.nlh->nlmsg_flags = NLM_F_REPLACE;
	parse(&msg, &m);
	assert_int_equal(msg.type, KNI_MSG_ROUTE);
	assert_string_equal(ip_prefix_format(&msg.route.prefix, text), "10.1.0.0/16");
	assert_true(msg.route.is_main);
	assert_true(msg.route.is_replace);
	assert_false(msg.route.is_append);
	assert_false(msg.route.is_multipath);
	assert_int_equal(msg.route.kind, KNI_ROUTE_UNICAST);
	assert_int_equal(msg.route.metric, 50);
	assert_true(ip_addr_eq(&msg.route.source, &src));
	assert_int_equal(msg.route.n_hops, 1);
	assert_int_equal(msg.route.hops[0].ifindex, 7);
	assert_true(ip_addr_eq(&msg.route.hops[0].gateway, &gw));
	assert_false(msg.route.hops[0].is_dead);

	make_route_via6(&m);
	parse(&msg, &m);
	assert_string_equal(ip_prefix_format(&msg.route.prefix, text), "0.0.0.0/0");
	assert_true(ip_addr_eq(&msg.route.hops[0].gateway, &via));
}

static void test_route_multipath(void **)
{
	struct ip_addr two = addr("fe80::2");
	struct message m;
	struct kni_msg msg;
	char text[IP_TEXT_SIZE];

	make_route6_multipath(&m);
	parse(&msg, &m);
	assert_string_equal(ip_prefix_format(&msg.route.prefix, text), "::/0");
	assert_true(msg.route.is_multipath);
	assert_int_equal(msg.route.n_hops, 2);
	assert_true(msg.route.hops[0].is_dead);
	assert_int_equal(msg.route.hops[1].ifindex, 8);
	assert_false(msg.route.hops[1].is_dead);
	assert_true(ip_addr_eq(&msg.route.hops[1].gateway, &two));
}

static void test_route_kinds(void **)
{
	static const struct {
		uint8_t type;
		enum kni_route_kind kind;
	} table[] = {
		{RTN_UNICAST, KNI_ROUTE_UNICAST},
		{RTN_LOCAL, KNI_ROUTE_LOCAL},
		{RTN_ANYCAST, KNI_ROUTE_LOCAL},
		{RTN_BROADCAST, KNI_ROUTE_UNREACHABLE},
		{RTN_MULTICAST, KNI_ROUTE_UNREACHABLE},
		{RTN_BLACKHOLE, KNI_ROUTE_UNREACHABLE},
		{RTN_UNREACHABLE, KNI_ROUTE_UNREACHABLE},
		{RTN_PROHIBIT, KNI_ROUTE_UNREACHABLE},
		{RTN_THROW, KNI_ROUTE_UNREACHABLE},
	};
	struct message m;
	struct kni_msg msg;

	for (size_t i = 0; i < COUNT_OF(table); i++) {
		make_route4(&m)->rtm_type = table[i].type;
		parse(&msg, &m);
		assert_int_equal(msg.route.kind, table[i].kind);
	}
	make_route4(&m)->rtm_flags = RTNH_F_DEAD;
	parse(&msg, &m);
	assert_true(msg.route.hops[0].is_dead);
}

static void test_route_other(void **)
{
	struct message m;
	struct kni_msg msg;

	make_route4(&m)->rtm_tos = 8;
	parse_other(&m);
	make_route4(&m)->rtm_src_len = 8;
	parse_other(&m);
	make_route4(&m)->rtm_flags = RTM_F_CLONED;
	parse_other(&m);
	make_route4(&m)->rtm_family = RTNL_FAMILY_IPMR;
	parse_other(&m);
	// RTA_TABLE has the whole number, rtm_table what fits.
	make_route4(&m);
	mnl_attr_put_u32(m.nlh, RTA_TABLE, 1000);
	parse_other(&m);
	make_route4(&m);
	mnl_attr_put_u32(m.nlh, RTA_TABLE, RT_TABLE_LOCAL);
	parse(&msg, &m);
	assert_false(msg.route.is_main);

	make_route4(&m)->rtm_dst_len = 15; // 10.1.0.0/15 has a host bit
	parse_bad(&m);
	make_route4(&m)->rtm_dst_len = 33;
	parse_bad(&m);
	make_route4(&m);
	mnl_attr_put(m.nlh, RTA_OIF, 3, mac);
	parse_bad(&m);
	make_route4(&m);
	mnl_attr_put(m.nlh, RTA_VIA, 1, mac);
	parse_bad(&m);
	make_route4(&m);
	mnl_attr_put(m.nlh, RTA_MULTIPATH, 6, mac);
	parse_bad(&m);
}

static void test_neigh(void **)
{
	static const struct {
		uint16_t state;
		bool has_mac;
		enum kni_neigh_state want;
	} table[] = {
		{NUD_REACHABLE, true, KNI_NEIGH_RESOLVED},
		{NUD_STALE, true, KNI_NEIGH_STALE},
		{NUD_DELAY, true, KNI_NEIGH_RESOLVED},
		{NUD_PROBE, true, KNI_NEIGH_RESOLVED},
		{NUD_PERMANENT, true, KNI_NEIGH_RESOLVED},
		{NUD_NOARP, true, KNI_NEIGH_RESOLVED},
		{NUD_PERMANENT, false, KNI_NEIGH_UNRESOLVED},
		{NUD_INCOMPLETE, false, KNI_NEIGH_UNRESOLVED},
		{NUD_INCOMPLETE, true, KNI_NEIGH_UNRESOLVED},
		{NUD_NONE, true, KNI_NEIGH_UNRESOLVED},
		{NUD_FAILED, false, KNI_NEIGH_FAILED},
		{NUD_FAILED, true, KNI_NEIGH_FAILED},
	};
	struct ip_addr a = addr("2001:db8::7");
	struct message m;
	struct kni_msg msg;

	for (size_t i = 0; i < COUNT_OF(table); i++) {
		make_neigh(&m, table[i].state, table[i].has_mac);
		parse(&msg, &m);
		assert_int_equal(msg.type, KNI_MSG_NEIGH);
		assert_int_equal(msg.neigh.ifindex, 7);
		assert_true(ip_addr_eq(&msg.neigh.addr, &a));
		assert_int_equal(msg.neigh.state, table[i].want);
		if (table[i].has_mac)
			assert_memory_equal(msg.neigh.mac, mac, 6);
	}
	make_neigh(&m, NUD_REACHABLE, true)->ndm_flags = NTF_PROXY;
	parse_other(&m);
	make_neigh(&m, NUD_REACHABLE, true)->ndm_family = AF_BRIDGE;
	parse_other(&m);
	make_neigh(&m, NUD_REACHABLE, true)->ndm_family = AF_INET;
	parse_bad(&m);
	// A link address of another size is none.
	make_neigh(&m, NUD_REACHABLE, false);
	mnl_attr_put(m.nlh, NDA_LLADDR, 4, mac);
	parse(&msg, &m);
	assert_int_equal(msg.neigh.state, KNI_NEIGH_UNRESOLVED);
}

static void test_uninteresting(void **)
{
	struct message m;

	begin(&m, RTM_NEWRULE, sizeof(struct rtmsg));
	parse_other(&m);
	begin(&m, NLMSG_NOOP, 0);
	parse_other(&m);
}

// Parses a copy that ends where the message ends, so that the sanitizer sees a read beyond it.
static int parse_copy(struct kni_msg *out, const char *bytes, size_t size, uint32_t nlmsg_len)
{
	char *copy = malloc(size);
	int rc;

	memcpy(copy, bytes, size);
	memcpy(copy, &nlmsg_len, sizeof(nlmsg_len));
	rc = kni_msg_parse(out, (const void *)copy);
	free(copy);
	return rc;
}

static size_t make_any(struct message *m, unsigned which)
{
	switch (which) {
	case 0:
		make_link(m);
		return 1;
	case 1:
		make_addr4(m);
		return 1;
	case 2:
		make_addr6(m, IFA_F_PERMANENT);
		return 1;
	case 3:
		make_route4(m);
		return 1;
	case 4:
		make_route6_multipath(m);
		return 1;
	case 5:
		make_route_via6(m);
		return 1;
	case 6:
		make_neigh(m, NUD_REACHABLE, true);
		return 1;
	default:
		return 0;
	}
}

// Every truncation: of the message, which then is malformed or lacks whole attributes.
static void test_truncated(void **)
{
	struct message m;

	for (unsigned which = 0; make_any(&m, which) != 0; which++) {
		for (size_t size = sizeof(uint32_t); size < m.nlh->nlmsg_len; size++) {
			struct kni_msg msg;
			int rc = parse_copy(&msg, m.buf, size, (uint32_t)size);

			if (rc == 0)
				assert_true(size >= NLMSG_HDRLEN + sizeof(struct ifaddrmsg));
			else
				assert_int_equal(rc, -EBADMSG);
		}
	}
}

// Every byte with every value: lengths and types that lie.
static void test_corrupt(void **)
{
	struct message m;
	unsigned n_bad = 0;

	for (unsigned which = 0; make_any(&m, which) != 0; which++) {
		size_t size = m.nlh->nlmsg_len;

		for (size_t at = sizeof(uint32_t); at < size; at++) {
			char was = m.buf[at];

			for (int value = 0; value < 256; value++) {
				struct kni_msg msg;

				m.buf[at] = (char)value;
				n_bad += parse_copy(&msg, m.buf, size, (uint32_t)size) != 0;
				if (msg.type == KNI_MSG_ROUTE)
					assert_true(msg.route.n_hops <= KNI_HOPS_MAX);
			}
			m.buf[at] = was;
		}
	}
	assert_true(n_bad > 1000);
}

static void test_many_hops(void **)
{
	struct rtnexthop hops[KNI_HOPS_MAX + 3];
	struct message m;
	struct kni_msg msg;

	for (size_t i = 0; i < COUNT_OF(hops); i++)
		hops[i] = (struct rtnexthop){.rtnh_len = sizeof(hops[0]), .rtnh_ifindex = (int)i};
	make_route4(&m);
	mnl_attr_put(m.nlh, RTA_MULTIPATH, sizeof(hops), hops);
	parse(&msg, &m);
	assert_int_equal(msg.route.n_hops, KNI_HOPS_MAX);
	assert_int_equal(msg.route.hops[KNI_HOPS_MAX - 1].ifindex, KNI_HOPS_MAX - 1);
}

static void test_datagram(void **)
{
	alignas(struct nlmsghdr) char datagram[512];
	struct message m;
	size_t size, pos = 0;

	make_link(&m);
	memcpy(datagram, m.buf, NLMSG_ALIGN(m.nlh->nlmsg_len));
	size = NLMSG_ALIGN(m.nlh->nlmsg_len);
	make_neigh(&m, NUD_STALE, true);
	m.nlh->nlmsg_len -= 2; // the last attribute's padding is missing
	memcpy(datagram + size, m.buf, m.nlh->nlmsg_len);

	for (size_t cut = 0; cut <= size + m.nlh->nlmsg_len; cut++) {
		unsigned n = 0;

		for (pos = 0; kni_msg_next(datagram, cut, &pos) != NULL;)
			n++;
		assert_int_equal(n, (cut >= size) + (cut == size + m.nlh->nlmsg_len));
		assert_true(pos <= cut);
	}
	// A length below that of the header would never end.
	((struct nlmsghdr *)(void *)datagram)->nlmsg_len = 0;
	pos = 0;
	assert_null(kni_msg_next(datagram, sizeof(datagram), &pos));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_link),
		cmocka_unit_test(test_addr),
		cmocka_unit_test(test_route),
		cmocka_unit_test(test_route_multipath),
		cmocka_unit_test(test_route_kinds),
		cmocka_unit_test(test_route_other),
		cmocka_unit_test(test_neigh),
		cmocka_unit_test(test_uninteresting),
		cmocka_unit_test(test_truncated),
		cmocka_unit_test(test_corrupt),
		cmocka_unit_test(test_many_hops),
		cmocka_unit_test(test_datagram),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
