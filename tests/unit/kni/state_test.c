// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "kni/state.h"
#include "tests/unit/unit.h"

#include <errno.h>
#include <stdio.h>
#include <time.h>

enum {
	WAN = 7, // interface indices
	LAN = 8,
	TUN = 9,
	WAN_PORT = 0,
	LAN_PORT = 1,
};

static const uint8_t mac_a[6] = {2, 0, 0, 0, 0, 0xa};
static const uint8_t mac_b[6] = {2, 0, 0, 0, 0, 0xb};

static struct ip_addr addr(const char *text)
{
	struct ip_addr a = {0};

	if (text != NULL)
		assert_int_equal(ip_addr_parse(&a, text), 0);
	return a;
}

static struct kni_state *make(void)
{
	struct kni_state *s = kni_state_create(NULL);

	assert_non_null(s);
	assert_int_equal(kni_state_port_add(s, WAN, WAN_PORT), 0);
	assert_int_equal(kni_state_port_add(s, LAN, LAN_PORT), 0);
	return s;
}

static int apply(struct kni_state *s, const struct kni_msg *msg)
{
	return kni_state_apply(s, msg, false, 0);
}

static int link_is(struct kni_state *s, int ifindex, bool is_up, bool is_del)
{
	const struct kni_msg msg = {
		.type = KNI_MSG_LINK,
		.is_del = is_del,
		.link = {.ifindex = ifindex, .is_up = is_up}};

	return apply(s, &msg);
}

static struct kni_msg addr_msg(int ifindex, const char *text, uint8_t len)
{
	return (struct kni_msg){
		.type = KNI_MSG_ADDR,
		.addr = {
			.ifindex = ifindex,
			.addr = addr(text),
			.prefix_len = len,
			.is_usable = true}};
}

static void add_addr(struct kni_state *s, int ifindex, const char *text, uint8_t len)
{
	const struct kni_msg msg = addr_msg(ifindex, text, len);

	assert_int_equal(apply(s, &msg), KNI_STATE_CHANGED);
	assert_int_equal(apply(s, &msg), KNI_STATE_SAME);
}

static struct kni_msg
route_msg(const char *prefix, int ifindex, const char *gateway, uint32_t metric)
{
	struct kni_msg msg = {
		.type = KNI_MSG_ROUTE,
		.route = {
			.is_main = true,
			.metric = metric,
			.n_hops = 1,
			.hops = {{.ifindex = ifindex, .gateway = addr(gateway)}}}};

	assert_int_equal(ip_prefix_parse(&msg.route.prefix, prefix), 0);
	return msg;
}

static int add_route(
	struct kni_state *s,
	const char *prefix,
	int ifindex,
	const char *gateway,
	uint32_t metric)
{
	const struct kni_msg msg = route_msg(prefix, ifindex, gateway, metric);

	return apply(s, &msg);
}

static int del(struct kni_state *s, struct kni_msg msg)
{
	msg.is_del = true;
	return apply(s, &msg);
}

static int neigh_at(
	struct kni_state *s,
	int ifindex,
	const char *text,
	enum kni_neigh_state state,
	const uint8_t *mac,
	uint64_t now_ms)
{
	struct kni_msg msg = {
		.type = KNI_MSG_NEIGH,
		.neigh = {.ifindex = ifindex, .addr = addr(text), .state = state}};

	if (mac != NULL)
		memcpy(msg.neigh.mac, mac, 6);
	return kni_state_apply(s, &msg, false, now_ms);
}

// Builds, looks up and compares; NULL strings are not compared.
static void
expect(const struct kni_state *s,
       const char *dst,
       enum fib_verdict verdict,
       uint16_t port_id,
       const char *next_hop,
       const char *source)
{
	struct fib *fib = kni_state_build(s, 1);
	struct fib_adj adj = {0};
	struct ip_addr a = addr(dst);
	char text[IP_TEXT_SIZE];
	enum fib_verdict got;

	assert_non_null(fib);
	got = fib_lookup(fib, &a, &adj);
	if (got != verdict)
		fail_msg("%s: verdict %d, want %d", dst, got, verdict);
	fib_destroy(fib);
	if (verdict == FIB_NO_ROUTE)
		return;
	assert_int_equal(adj.port_id, port_id);
	if (next_hop != NULL)
		assert_string_equal(ip_addr_format(&adj.next_hop, text), next_hop);
	if (source != NULL)
		assert_string_equal(ip_addr_format(&adj.source, text), source);
}

static void expect_none(const struct kni_state *s, const char *dst)
{
	expect(s, dst, FIB_NO_ROUTE, 0, NULL, NULL);
}

static void test_links(void **)
{
	struct kni_state *s = make();

	assert_int_equal(link_is(s, WAN, true, false), KNI_STATE_SAME);
	assert_int_equal(link_is(s, WAN, true, false), KNI_STATE_SAME);
	assert_int_equal(link_is(s, WAN, false, false), KNI_STATE_RESYNC);
	assert_int_equal(link_is(s, WAN, true, false), KNI_STATE_RESYNC);
	assert_int_equal(link_is(s, LAN, true, true), KNI_STATE_SAME);
	assert_int_equal(link_is(s, WAN, true, true), KNI_STATE_RESYNC);
	assert_int_equal(link_is(s, WAN, true, true), KNI_STATE_SAME);
	assert_int_equal(kni_state_port_ifindex(s, LAN_PORT), LAN);
	assert_int_equal(kni_state_port_ifindex(s, 9), 0);
	kni_state_destroy(s);
	kni_state_destroy(NULL);
}

static void test_addresses(void **)
{
	struct kni_state *s = make();
	struct kni_msg msg = addr_msg(WAN, "2001:db8::5", 64);

	msg.addr.is_usable = false;
	assert_int_equal(apply(s, &msg), KNI_STATE_CHANGED);
	expect_none(s, "2001:db8::5");
	msg.addr.is_usable = true;
	assert_int_equal(apply(s, &msg), KNI_STATE_CHANGED);
	assert_int_equal(apply(s, &msg), KNI_STATE_SAME);
	expect(s, "2001:db8::5", FIB_LOCAL, WAN_PORT, NULL, "2001:db8::5");
	add_addr(s, TUN, "100.64.0.1", 32);
	expect(s, "100.64.0.1", FIB_LOCAL, FIB_PORT_NONE, NULL, NULL);
	assert_int_equal(del(s, msg), KNI_STATE_RESYNC);
	assert_int_equal(del(s, msg), KNI_STATE_SAME);
	expect_none(s, "2001:db8::5");
	kni_state_destroy(s);
}

// IPv4: as added, secondary ones last. IPv6: the newest first, deprecated ones last.
static void test_source_order(void **)
{
	struct kni_state *s = make();
	struct kni_msg msg = addr_msg(WAN, "203.0.113.9", 24);

	msg.addr.is_secondary = true;
	assert_int_equal(apply(s, &msg), KNI_STATE_CHANGED);
	add_addr(s, WAN, "203.0.113.5", 24);
	add_addr(s, WAN, "203.0.113.6", 24);
	add_addr(s, WAN, "2001:db8::5", 64);
	add_addr(s, WAN, "2001:db8::6", 64);
	add_addr(s, WAN, "fe80::5", 64);
	assert_int_equal(add_route(s, "198.51.100.0/24", WAN, NULL, 0), KNI_STATE_CHANGED);
	assert_int_equal(add_route(s, "203.0.113.0/24", WAN, NULL, 0), KNI_STATE_CHANGED);
	assert_int_equal(add_route(s, "2001:db8:1::/48", WAN, NULL, 1024), KNI_STATE_CHANGED);
	expect(s, "203.0.113.77", FIB_RESOLVE, WAN_PORT, NULL, "203.0.113.5");
	expect(s, "198.51.100.1", FIB_RESOLVE, WAN_PORT, NULL, "203.0.113.5");
	expect(s, "2001:db8:1::1", FIB_RESOLVE, WAN_PORT, NULL, "2001:db8::6");
	msg = addr_msg(WAN, "2001:db8::6", 64);
	msg.addr.is_secondary = true;
	assert_int_equal(apply(s, &msg), KNI_STATE_CHANGED);
	expect(s, "2001:db8:1::1", FIB_RESOLVE, WAN_PORT, NULL, "2001:db8::5");
	kni_state_destroy(s);
}

// The preferred source, else the address of the next hop's subnet, else the first one.
static void test_source(void **)
{
	struct kni_state *s = make();
	struct kni_msg msg;

	add_addr(s, WAN, "203.0.113.5", 24);
	add_addr(s, WAN, "192.0.2.130", 25);
	add_addr(s, LAN, "192.0.2.140", 25);
	add_addr(s, WAN, "fe80::5", 64);
	add_addr(s, WAN, "2001:db8:2::5", 64);
	add_addr(s, WAN, "2001:db8:1::5", 64);
	assert_int_equal(add_route(s, "10.1.0.0/16", WAN, "192.0.2.254", 0), KNI_STATE_CHANGED);
	assert_int_equal(add_route(s, "10.2.0.0/16", WAN, "192.0.2.1", 0), KNI_STATE_CHANGED);
	assert_int_equal(add_route(s, "192.0.2.128/25", WAN, NULL, 0), KNI_STATE_CHANGED);
	assert_int_equal(add_route(s, "10.3.0.0/16", WAN, "fe80::9", 0), KNI_STATE_CHANGED);
	assert_int_equal(add_route(s, "2001:db8:2::/64", WAN, NULL, 256), KNI_STATE_CHANGED);
	assert_int_equal(add_route(s, "::/0", WAN, "fe80::9", 1024), KNI_STATE_CHANGED);
	msg = route_msg("10.4.0.0/16", WAN, "192.0.2.254", 0);
	msg.route.source = addr("203.0.113.77");
	assert_int_equal(apply(s, &msg), KNI_STATE_CHANGED);

	expect(s, "10.1.0.1", FIB_RESOLVE, WAN_PORT, "192.0.2.254", "192.0.2.130");
	expect(s, "10.2.0.1", FIB_RESOLVE, WAN_PORT, "192.0.2.1", "203.0.113.5");
	expect(s, "192.0.2.200", FIB_RESOLVE, WAN_PORT, "192.0.2.200", "192.0.2.130");
	expect(s, "10.3.0.1", FIB_RESOLVE, WAN_PORT, "fe80::9", "203.0.113.5");
	expect(s, "10.4.0.1", FIB_RESOLVE, WAN_PORT, "192.0.2.254", "203.0.113.77");
	expect(s, "2001:db8:2::9", FIB_RESOLVE, WAN_PORT, NULL, "2001:db8:2::5");
	expect(s, "2001:db8:9::9", FIB_RESOLVE, WAN_PORT, "fe80::9", "2001:db8:1::5");
	kni_state_destroy(s);
}

static void test_route_kinds(void **)
{
	struct kni_state *s = make();
	struct kni_msg msg = route_msg("0.0.0.0/0", WAN, "192.0.2.254", 0);

	assert_int_equal(apply(s, &msg), KNI_STATE_CHANGED);
	assert_int_equal(apply(s, &msg), KNI_STATE_CHANGED);
	assert_int_equal(kni_state_n_routes(s), 1);
	// Broadcast in table local; local hosts and prefixes; not a port; prohibit.
	msg = route_msg("192.0.2.255/32", WAN, NULL, 0);
	msg.route.is_main = false;
	msg.route.kind = KNI_ROUTE_UNREACHABLE;
	assert_int_equal(apply(s, &msg), KNI_STATE_CHANGED);
	msg = route_msg("198.51.100.7/32", 1, NULL, 0);
	msg.route.is_main = false;
	msg.route.kind = KNI_ROUTE_LOCAL;
	assert_int_equal(apply(s, &msg), KNI_STATE_CHANGED);
	msg = route_msg("198.51.101.0/24", 1, NULL, 0);
	msg.route.is_main = false;
	msg.route.kind = KNI_ROUTE_LOCAL;
	assert_int_equal(apply(s, &msg), KNI_STATE_CHANGED);
	assert_int_equal(add_route(s, "100.64.0.0/11", TUN, NULL, 0), KNI_STATE_CHANGED);
	msg = route_msg("10.0.0.0/8", 0, NULL, 0);
	msg.route.kind = KNI_ROUTE_UNREACHABLE;
	assert_int_equal(apply(s, &msg), KNI_STATE_CHANGED);
	assert_int_equal(kni_state_n_routes(s), 6);

	expect_none(s, "192.0.2.255");
	expect(s, "198.51.100.7", FIB_LOCAL, FIB_PORT_NONE, NULL, NULL);
	expect_none(s, "198.51.101.7");
	expect_none(s, "100.64.0.2");
	expect_none(s, "10.1.1.1");
	expect(s, "11.1.1.1", FIB_RESOLVE, WAN_PORT, "192.0.2.254", NULL);
	assert_int_equal(del(s, msg), KNI_STATE_CHANGED);
	expect(s, "10.1.1.1", FIB_RESOLVE, WAN_PORT, "192.0.2.254", NULL);
	assert_int_equal(del(s, msg), KNI_STATE_SAME);
	kni_state_destroy(s);
}

static void test_route_preference(void **)
{
	struct kni_state *s = make();
	struct kni_msg msg;

	// Metric, whatever the order.
	assert_int_equal(add_route(s, "10.0.0.0/8", WAN, NULL, 20), KNI_STATE_CHANGED);
	assert_int_equal(add_route(s, "10.0.0.0/8", LAN, NULL, 10), KNI_STATE_CHANGED);
	expect(s, "10.1.1.1", FIB_RESOLVE, LAN_PORT, NULL, NULL);
	assert_int_equal(del(s, route_msg("10.0.0.0/8", LAN, NULL, 10)), KNI_STATE_CHANGED);
	expect(s, "10.1.1.1", FIB_RESOLVE, WAN_PORT, NULL, NULL);

	// Same metric: a new one goes first, an appended one last.
	assert_int_equal(add_route(s, "10.0.0.0/8", LAN, NULL, 20), KNI_STATE_CHANGED);
	expect(s, "10.1.1.1", FIB_RESOLVE, LAN_PORT, NULL, NULL);
	msg = route_msg("10.0.0.0/8", LAN, "192.0.2.1", 20);
	msg.route.is_append = true;
	assert_int_equal(apply(s, &msg), KNI_STATE_CHANGED);
	expect(s, "10.1.1.1", FIB_RESOLVE, LAN_PORT, "10.1.1.1", NULL);
	assert_int_equal(kni_state_n_routes(s), 3);
	assert_int_equal(del(s, route_msg("10.0.0.0/8", LAN, NULL, 20)), KNI_STATE_CHANGED);
	expect(s, "10.1.1.1", FIB_RESOLVE, WAN_PORT, "10.1.1.1", NULL);
	assert_int_equal(del(s, route_msg("10.0.0.0/8", WAN, NULL, 20)), KNI_STATE_CHANGED);
	expect(s, "10.1.1.1", FIB_RESOLVE, LAN_PORT, "192.0.2.1", NULL);

	// Table local comes before main, even before a better metric.
	assert_int_equal(add_route(s, "10.0.0.0/8", TUN, NULL, 0), KNI_STATE_CHANGED);
	msg = route_msg("10.0.0.0/8", WAN, NULL, 99);
	msg.route.is_main = false;
	assert_int_equal(apply(s, &msg), KNI_STATE_CHANGED);
	expect(s, "10.1.1.1", FIB_RESOLVE, WAN_PORT, NULL, NULL);
	assert_int_equal(del(s, msg), KNI_STATE_CHANGED);
	assert_int_equal(del(s, route_msg("10.0.0.0/8", TUN, NULL, 0)), KNI_STATE_CHANGED);
	assert_int_equal(del(s, route_msg("10.0.0.0/8", LAN, "192.0.2.1", 20)), KNI_STATE_CHANGED);
	expect_none(s, "10.1.1.1");
	assert_int_equal(kni_state_n_routes(s), 0);
	kni_state_destroy(s);
}

static void test_route_replace(void **)
{
	struct kni_state *s = make();
	struct kni_msg msg = route_msg("0.0.0.0/0", LAN, "192.0.2.1", 0);

	assert_int_equal(add_route(s, "0.0.0.0/0", WAN, "203.0.113.1", 0), KNI_STATE_CHANGED);
	msg.route.is_replace = true;
	assert_int_equal(apply(s, &msg), KNI_STATE_CHANGED);
	assert_int_equal(kni_state_n_routes(s), 1);
	expect(s, "198.51.100.1", FIB_RESOLVE, LAN_PORT, "192.0.2.1", NULL);
	// Which of two is replaced nobody says.
	assert_int_equal(add_route(s, "0.0.0.0/0", WAN, "203.0.113.1", 0), KNI_STATE_CHANGED);
	msg = route_msg("0.0.0.0/0", LAN, "192.0.2.2", 0);
	msg.route.is_replace = true;
	assert_int_equal(apply(s, &msg), KNI_STATE_RESYNC);
	kni_state_destroy(s);
}

static void test_route_multipath(void **)
{
	struct kni_state *s = make();
	struct kni_msg msg = route_msg("::/0", TUN, NULL, 1024);

	msg.route.is_multipath = true;
	msg.route.n_hops = 4;
	msg.route.hops[1] = (struct kni_hop){WAN, addr("fe80::1"), true};
	msg.route.hops[2] = (struct kni_hop){LAN, addr("fe80::2"), false};
	msg.route.hops[3] = (struct kni_hop){WAN, addr("fe80::3"), false};
	assert_int_equal(apply(s, &msg), KNI_STATE_CHANGED);
	expect(s, "2001:db8::1", FIB_RESOLVE, LAN_PORT, "fe80::2", NULL);
	// One hop goes away: the message has that hop alone.
	assert_int_equal(del(s, route_msg("::/0", LAN, "fe80::2", 1024)), KNI_STATE_RESYNC);
	assert_int_equal(del(s, route_msg("::/0", TUN, NULL, 1024)), KNI_STATE_RESYNC);
	assert_int_equal(del(s, msg), KNI_STATE_CHANGED);
	expect_none(s, "2001:db8::1");

	// A dead route gives way to one of higher metric; a live one that is no port does not.
	msg = route_msg("10.0.0.0/8", WAN, NULL, 1);
	msg.route.hops[0].is_dead = true;
	assert_int_equal(apply(s, &msg), KNI_STATE_CHANGED);
	assert_int_equal(add_route(s, "10.0.0.0/8", LAN, NULL, 3), KNI_STATE_CHANGED);
	expect(s, "10.1.1.1", FIB_RESOLVE, LAN_PORT, NULL, NULL);
	assert_int_equal(add_route(s, "10.0.0.0/8", TUN, NULL, 2), KNI_STATE_CHANGED);
	expect_none(s, "10.1.1.1");
	kni_state_destroy(s);
}

static void test_neighbours(void **)
{
	static const struct {
		enum kni_neigh_state state;
		const uint8_t *mac;
		int effect;
		enum fib_verdict verdict;
	} steps[] = {
		{KNI_NEIGH_UNRESOLVED, NULL, KNI_STATE_SAME, FIB_RESOLVE},
		{KNI_NEIGH_RESOLVED, mac_a, KNI_STATE_CHANGED, FIB_FORWARD},
		{KNI_NEIGH_STALE, mac_a, KNI_STATE_SAME, FIB_FORWARD},
		{KNI_NEIGH_RESOLVED, mac_a, KNI_STATE_SAME, FIB_FORWARD},
		{KNI_NEIGH_STALE, mac_b, KNI_STATE_CHANGED, FIB_FORWARD},
		{KNI_NEIGH_FAILED, NULL, KNI_STATE_CHANGED, FIB_FAILED},
		{KNI_NEIGH_FAILED, NULL, KNI_STATE_SAME, FIB_FAILED},
		{KNI_NEIGH_UNRESOLVED, NULL, KNI_STATE_CHANGED, FIB_RESOLVE},
		{KNI_NEIGH_FAILED, NULL, KNI_STATE_CHANGED, FIB_FAILED},
		{KNI_NEIGH_RESOLVED, mac_a, KNI_STATE_CHANGED, FIB_FORWARD},
	};
	struct kni_state *s = make();
	struct kni_msg gone = {
		.type = KNI_MSG_NEIGH,
		.is_del = true,
		.neigh = {.ifindex = WAN, .addr = addr("192.0.2.9"), .state = KNI_NEIGH_STALE}};

	assert_int_equal(add_route(s, "192.0.2.0/24", WAN, NULL, 0), KNI_STATE_CHANGED);
	for (size_t i = 0; i < COUNT_OF(steps); i++) {
		assert_int_equal(
			neigh_at(s, WAN, "192.0.2.9", steps[i].state, steps[i].mac, 0),
			steps[i].effect);
		expect(s, "192.0.2.9", steps[i].verdict, WAN_PORT, NULL, NULL);
	}
	// Elsewhere nobody cares.
	assert_int_equal(
		neigh_at(s, TUN, "192.0.2.10", KNI_NEIGH_RESOLVED, mac_a, 0), KNI_STATE_SAME);
	assert_int_equal(apply(s, &gone), KNI_STATE_CHANGED);
	assert_int_equal(apply(s, &gone), KNI_STATE_SAME);
	expect(s, "192.0.2.9", FIB_RESOLVE, WAN_PORT, NULL, NULL);
	kni_state_destroy(s);
}

static void test_failures(void **)
{
	struct kni_state *s = make();
	struct kni_msg msg = {
		.type = KNI_MSG_NEIGH,
		.neigh = {.ifindex = WAN, .addr = addr("192.0.2.8"), .state = KNI_NEIGH_FAILED}};

	assert_int_equal(add_route(s, "192.0.2.0/24", WAN, NULL, 0), KNI_STATE_CHANGED);
	assert_false(kni_state_failures_expire(s, 0, 3000));
	assert_int_equal(
		neigh_at(s, WAN, "192.0.2.9", KNI_NEIGH_FAILED, NULL, 1000), KNI_STATE_CHANGED);
	assert_false(kni_state_failures_expire(s, 3999, 3000));
	expect(s, "192.0.2.9", FIB_FAILED, WAN_PORT, NULL, NULL);
	// Failed again: the time counts from then.
	assert_int_equal(
		neigh_at(s, WAN, "192.0.2.9", KNI_NEIGH_FAILED, NULL, 2000), KNI_STATE_SAME);
	assert_false(kni_state_failures_expire(s, 4000, 3000));
	assert_true(kni_state_failures_expire(s, 5000, 3000));
	assert_false(kni_state_failures_expire(s, 9000, 3000));
	expect(s, "192.0.2.9", FIB_RESOLVE, WAN_PORT, NULL, NULL);
	// A failure in a dump is of unknown age.
	assert_int_equal(kni_state_apply(s, &msg, true, 9000), KNI_STATE_SAME);
	expect(s, "192.0.2.8", FIB_RESOLVE, WAN_PORT, NULL, NULL);
	kni_state_destroy(s);
}

struct seen {
	size_t n, max;
	char texts[8][IP_TEXT_SIZE];
	uint16_t ports[8];
};

static bool see(void *arg, int ifindex, uint16_t port_id, const struct ip_addr *a)
{
	struct seen *seen = arg;

	assert_true(seen->n < COUNT_OF(seen->texts));
	assert_int_equal(ifindex, port_id == WAN_PORT ? WAN : LAN);
	seen->ports[seen->n] = port_id;
	ip_addr_format(a, seen->texts[seen->n++]);
	return seen->n < seen->max;
}

static void test_stale_rounds(void **)
{
	struct kni_state *s = make();
	struct kni_neigh_cursor cursor = {0};
	struct seen seen = {.max = 3};

	neigh_at(s, WAN, "192.0.2.1", KNI_NEIGH_STALE, mac_a, 0);
	neigh_at(s, WAN, "192.0.2.2", KNI_NEIGH_RESOLVED, mac_a, 0);
	neigh_at(s, WAN, "192.0.2.3", KNI_NEIGH_STALE, mac_a, 0);
	neigh_at(s, LAN, "192.0.2.4", KNI_NEIGH_STALE, mac_a, 0);
	neigh_at(s, LAN, "2001:db8::5", KNI_NEIGH_STALE, mac_a, 0);
	neigh_at(s, TUN, "192.0.2.6", KNI_NEIGH_STALE, mac_a, 0);
	kni_state_stale_each(s, &cursor, see, &seen);
	assert_int_equal(seen.n, 3);
	assert_string_equal(seen.texts[0], "192.0.2.1");
	assert_string_equal(seen.texts[1], "192.0.2.3");
	assert_string_equal(seen.texts[2], "192.0.2.4");
	assert_int_equal(seen.ports[2], LAN_PORT);
	seen = (struct seen){.max = 2};
	kni_state_stale_each(s, &cursor, see, &seen);
	assert_int_equal(seen.n, 2);
	assert_string_equal(seen.texts[0], "2001:db8::5");
	assert_string_equal(seen.texts[1], "192.0.2.1");
	seen = (struct seen){.max = 100};
	kni_state_stale_each(s, &cursor, see, &seen);
	assert_int_equal(seen.n, 4);
	assert_string_equal(seen.texts[0], "192.0.2.3");
	kni_state_destroy(s);
}

static void test_ports_are_kept(void **)
{
	struct kni_state *s = make(), *next;

	// The port of an interface that came back under another index.
	assert_int_equal(kni_state_port_add(s, LAN + 10, LAN_PORT), 0);
	next = kni_state_create(s);
	assert_non_null(next);
	kni_state_destroy(s);
	assert_int_equal(kni_state_port_ifindex(next, LAN_PORT), LAN + 10);
	assert_int_equal(kni_state_port_ifindex(next, WAN_PORT), WAN);
	assert_int_equal(add_route(next, "10.0.0.0/8", LAN, NULL, 0), KNI_STATE_CHANGED);
	expect_none(next, "10.0.0.1");
	kni_state_destroy(next);
}

static double now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec * 1e3 + (double)ts.tv_nsec / 1e6;
}

// Printed, not asserted.
static void test_measure(void **)
{
	enum {
		N = 100000,
	};
	struct kni_state *s = make();
	struct kni_msg msg = route_msg("0.0.0.0/0", WAN, "192.0.2.254", 0);
	double start = now_ms(), mid;
	struct fib *fib;

	for (uint32_t i = 0; i < N; i++) {
		const uint8_t bytes[4] = {(uint8_t)(20 + (i >> 16)), (uint8_t)(i >> 8), (uint8_t)i};

		msg.route.prefix = (struct ip_prefix){.addr = ip_addr_v4(bytes), .len = 24};
		assert_int_equal(apply(s, &msg), KNI_STATE_CHANGED);
	}
	mid = now_ms();
	fib = kni_state_build(s, 1);
	assert_non_null(fib);
	printf("state: %d routes taken in %.1f ms, FIB built in %.1f ms\n",
	       N,
	       mid - start,
	       now_ms() - mid);
	fib_destroy(fib);
	kni_state_destroy(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_links),
		cmocka_unit_test(test_addresses),
		cmocka_unit_test(test_source_order),
		cmocka_unit_test(test_source),
		cmocka_unit_test(test_route_kinds),
		cmocka_unit_test(test_route_preference),
		cmocka_unit_test(test_route_replace),
		cmocka_unit_test(test_route_multipath),
		cmocka_unit_test(test_neighbours),
		cmocka_unit_test(test_failures),
		cmocka_unit_test(test_stale_rounds),
		cmocka_unit_test(test_ports_are_kept),
		cmocka_unit_test(test_measure),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
