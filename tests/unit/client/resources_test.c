// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "peers/client/gateways.h"
#include "peers/client/resources.h"
#include "tests/unit/unit.h"

#include <stdlib.h>

static struct portal_filter web[] = {{PORTAL_PROTOCOL_TCP, 80, 443}};
static struct portal_filter dns[] = {
	{PORTAL_PROTOCOL_UDP, 53, 53},
	{PORTAL_PROTOCOL_ICMP, 0, 65535}};

static struct portal_resource cidr(uint8_t id, const char *prefix)
{
	struct portal_resource r = {.id = {{id}}, .type = PORTAL_RESOURCE_CIDR, .name = "r"};

	assert_int_equal(ip_prefix_parse(&r.prefix, prefix), 0);
	return r;
}

static void add(struct resources *set, const struct portal_resource *r)
{
	enum resource_change change;
	struct ip_prefix old;

	assert_int_equal(resources_upsert(set, r, &change, &old), 0);
	assert_int_equal(change, RESOURCE_CHANGE_ADDED);
}

struct lookup_case {
	const char *dst;
	struct packet_key key;
	uint8_t expected; // first byte of the id; 0: none
	bool is_permitted;
};

static void lookups_check(struct resources *set, const struct lookup_case *cases, size_t n)
{
	// Twice: the second time from the cache.
	for (size_t i = 0; i < 2 * n; i++) {
		const struct lookup_case *t = &cases[i % n];
		const struct resource *r;
		struct ip_addr dst;
		bool is_permitted = false;

		assert_int_equal(ip_addr_parse(&dst, t->dst), 0);
		r = resources_lookup(set, &dst, &t->key, &is_permitted);
		if ((r != NULL ? r->id.bytes[0] : 0) != t->expected)
			fail_msg("case %zu dst=%s", i % n, t->dst);
		if (r != NULL && is_permitted != t->is_permitted)
			fail_msg("case %zu dst=%s permitted", i % n, t->dst);
	}
}

static void lookup(void **)
{
	static const struct lookup_case off[] = {
		{"10.0.0.1", {PACKET_KEY_OTHER, 0}, 1, true},
		{"10.20.0.1", {PACKET_KEY_TCP, 80}, 2, true}, // longer prefix
		{"10.20.0.1", {PACKET_KEY_TCP, 443}, 2, true},
		{"10.20.0.1",
		 {PACKET_KEY_TCP, 79},
		 1,
		 true}, // its filters refuse, the shorter permits
		{"10.20.0.1", {PACKET_KEY_TCP, 444}, 1, true},
		{"10.20.0.1", {PACKET_KEY_UDP, 80}, 1, true},
		{"192.0.2.1", {PACKET_KEY_TCP, 80}, 3, true},
		{"192.0.2.1", {PACKET_KEY_UDP, 53}, 4, true},
		{"192.0.2.1", {PACKET_KEY_ECHO, 7}, 4, true},
		{"192.0.2.1", {PACKET_KEY_ICMP_OTHER, 0}, 4, true},
		{"192.0.2.1", {PACKET_KEY_OTHER, 0}, 4, false}, // nobody permits: the larger id
		{"192.0.2.1", {PACKET_KEY_TCP, 22}, 4, false},
		{"2001:db8::1", {PACKET_KEY_TCP, 22}, 5, true},
		{"2001:db9::1", {PACKET_KEY_TCP, 22}, 0, false},
		{"198.51.100.1", {PACKET_KEY_TCP, 22}, 0, false},
	};
	static const struct lookup_case on[] = {
		{"198.51.100.1", {PACKET_KEY_TCP, 22}, 9, true},
		{"2001:db9::1", {PACKET_KEY_OTHER, 0}, 9, true},
		{"10.0.0.1", {PACKET_KEY_TCP, 22}, 1, true},
		{"192.0.2.1", {PACKET_KEY_TCP, 22}, 9, true},
		{"100.64.0.9", {PACKET_KEY_TCP, 22}, 0, false},
		{"100.127.0.9", {PACKET_KEY_TCP, 22}, 0, false},
		{"fd00:2021:1111::9", {PACKET_KEY_TCP, 22}, 0, false},
	};

	for (int is_internet = 0; is_internet < 2; is_internet++) {
		struct resources *set = resources_create(is_internet != 0);
		struct portal_resource r[6];

		r[0] = cidr(1, "10.0.0.0/8");
		r[1] = cidr(2, "10.20.0.0/16");
		r[2] = cidr(3, "192.0.2.0/24");
		r[3] = cidr(4, "192.0.2.0/24");
		r[4] = cidr(5, "2001:db8::/32");
		r[5] = (struct portal_resource){.id = {{9}}, .type = PORTAL_RESOURCE_INTERNET};
		r[1].filters = r[2].filters = web;
		r[1].n_filters = r[2].n_filters = COUNT_OF(web);
		r[3].filters = dns;
		r[3].n_filters = COUNT_OF(dns);
		for (size_t i = 0; i < COUNT_OF(r); i++)
			add(set, &r[i]);
		if (is_internet != 0)
			lookups_check(set, on, COUNT_OF(on));
		else
			lookups_check(set, off, COUNT_OF(off));
		resources_destroy(set);
	}
}

static void cache_follows_changes(void **)
{
	static const struct packet_key key = {PACKET_KEY_TCP, 80};
	struct resources *set = resources_create(false);
	struct portal_resource wide = cidr(1, "10.0.0.0/8"), narrow = cidr(2, "10.1.0.0/16");
	struct ip_addr dst;
	bool is_permitted;

	assert_int_equal(ip_addr_parse(&dst, "10.1.2.3"), 0);
	assert_null(resources_lookup(set, &dst, &key, &is_permitted));
	add(set, &wide);
	assert_int_equal(resources_lookup(set, &dst, &key, &is_permitted)->id.bytes[0], 1);
	add(set, &narrow);
	assert_int_equal(resources_lookup(set, &dst, &key, &is_permitted)->id.bytes[0], 2);
	resource_destroy(resources_remove(set, &narrow.id));
	assert_int_equal(resources_lookup(set, &dst, &key, &is_permitted)->id.bytes[0], 1);
	assert_null(resources_remove(set, &narrow.id));
	resources_destroy(set);
}

static void upsert_changes(void **)
{
	struct portal_site site = {.id = {{7}}};
	struct portal_resource base = cidr(1, "10.0.0.0/8"), r;
	struct resources *set = resources_create(false);
	enum resource_change change;
	struct ip_prefix old;

	add(set, &base);
	r = base;
	r.name = "other name";
	assert_int_equal(resources_upsert(set, &r, &change, &old), 0);
	assert_int_equal(change, RESOURCE_CHANGE_NONE);
	assert_string_equal(resources_find(set, &base.id)->name, "other name");

	r.filters = web;
	r.n_filters = 1;
	assert_int_equal(resources_upsert(set, &r, &change, &old), 0);
	assert_int_equal(change, RESOURCE_CHANGE_REPLACED);

	r.sites = &site;
	r.n_sites = 1;
	assert_int_equal(resources_upsert(set, &r, &change, &old), 0);
	assert_int_equal(change, RESOURCE_CHANGE_REPLACED);

	assert_int_equal(ip_prefix_parse(&r.prefix, "10.9.0.0/16"), 0);
	assert_int_equal(resources_upsert(set, &r, &change, &old), 0);
	assert_int_equal(change, RESOURCE_CHANGE_REPLACED);
	assert_true(ip_prefix_eq(&old, &base.prefix));
	assert_false(resources_has_prefix(set, &base.prefix));
	assert_true(resources_has_prefix(set, &r.prefix));

	assert_int_equal(resources_upsert(set, &r, &change, &old), 0);
	assert_int_equal(change, RESOURCE_CHANGE_NONE);
	resources_destroy(set);
}

static void sources(void **)
{
	static const struct {
		const char *src;
		bool of_first, of_second;
	} cases[] = {
		{"100.64.0.1", true, false},
		{"fd00:2021:1111::1", true, false},
		{"100.64.0.2", false, true},
		{"10.0.0.1", true, false},
		{"192.0.2.77", false, true},
		{"198.51.100.1", false, false}, // a resource, but nobody serves it
		{"203.0.113.1", false, false},
		{"2001:db8::1", false, true},
		{"100.64.0.3", false, false},
	};
	struct resources *set = resources_create(false);
	struct gateways *gateways = gateways_create();
	struct uuid id1 = {{0xa}}, id2 = {{0xb}};
	struct gateway *g1 = gateways_learn(gateways, &id1), *g2 = gateways_learn(gateways, &id2);
	struct portal_resource r[4];

	r[0] = cidr(1, "10.0.0.0/8");
	r[1] = cidr(2, "192.0.2.0/24");
	r[2] = cidr(3, "198.51.100.0/24");
	r[3] = cidr(4, "2001:db8::/32");
	for (size_t i = 0; i < COUNT_OF(r); i++)
		add(set, &r[i]);
	assert_int_equal(ip_addr_parse(&g1->ipv4, "100.64.0.1"), 0);
	assert_int_equal(ip_addr_parse(&g1->ipv6, "fd00:2021:1111::1"), 0);
	assert_int_equal(ip_addr_parse(&g2->ipv4, "100.64.0.2"), 0);
	assert_int_equal(ip_addr_parse(&g2->ipv6, "fd00:2021:1111::2"), 0);
	assert_int_equal(gateways_grant(gateways, &r[0].id, g1), 0);
	assert_int_equal(gateways_grant(gateways, &r[1].id, g2), 0);
	assert_int_equal(gateways_grant(gateways, &r[3].id, g2), 0);
	for (size_t i = 0; i < 2 * COUNT_OF(cases); i++) {
		struct ip_addr src;

		assert_int_equal(ip_addr_parse(&src, cases[i / 2].src), 0);
		assert_int_equal(
			gateways_allows_source(gateways, g1, set, &src), cases[i / 2].of_first);
		assert_int_equal(
			gateways_allows_source(gateways, g2, set, &src), cases[i / 2].of_second);
	}
	gateways_destroy(gateways);
	resources_destroy(set);
}

// What was accepted once must not outlive its grant or its resource.
static void sources_follow_changes(void **)
{
	struct resources *set = resources_create(false);
	struct gateways *gateways = gateways_create();
	struct portal_resource r = cidr(1, "10.0.0.0/8");
	struct uuid id = {{0xa}};
	struct gateway *g = gateways_learn(gateways, &id);
	struct ip_addr src;

	add(set, &r);
	assert_int_equal(ip_addr_parse(&src, "10.0.0.1"), 0);
	assert_int_equal(gateways_grant(gateways, &r.id, g), 0);
	assert_true(gateways_allows_source(gateways, g, set, &src));
	assert_ptr_equal(gateways_revoke(gateways, &r.id), g);
	assert_false(gateways_allows_source(gateways, g, set, &src));
	assert_null(gateways_revoke(gateways, &r.id));
	assert_int_equal(gateways_grant(gateways, &r.id, g), 0);
	assert_true(gateways_allows_source(gateways, g, set, &src));
	resource_destroy(resources_remove(set, &r.id));
	gateways_resources_changed(gateways);
	assert_false(gateways_allows_source(gateways, g, set, &src));
	gateways_destroy(gateways);
	resources_destroy(set);
}

static void gateway_order(void **)
{
	struct gateways *set = gateways_create();
	const struct uuid ids[] = {{{4}}, {{2}}, {{3}}, {{1}}}, resource = {{9}}, other = {{8}};
	static const uint8_t expected[] = {4, 3, 1, 2};
	struct connection *connected = (struct connection *)set;
	struct uuid *list;
	size_t n;

	assert_null(gateways_list(set, &resource, &n));
	assert_int_equal(n, 0);
	for (size_t i = 0; i < COUNT_OF(ids); i++)
		assert_non_null(gateways_learn(set, &ids[i]));
	gateways_find(set, &ids[2])->connection = connected;
	assert_int_equal(gateways_grant(set, &resource, gateways_find(set, &ids[0])), 0);
	assert_int_equal(gateways_grant(set, &other, gateways_find(set, &ids[0])), 0);
	list = gateways_list(set, &resource, &n);
	assert_int_equal(n, 4);
	for (size_t i = 0; i < n; i++)
		assert_int_equal(list[i].bytes[0], expected[i]);
	free(list);

	assert_int_equal(gateways_revoke_all(set, gateways_find(set, &ids[0]), &other), 1);
	assert_null(gateways_of(set, &resource));
	assert_true(gateways_has_grant(set, gateways_find(set, &ids[0])));
	assert_int_equal(gateways_revoke_all(set, gateways_find(set, &ids[0]), NULL), 1);
	assert_false(gateways_has_grant(set, gateways_find(set, &ids[0])));
	gateways_destroy(set);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lookup),
		cmocka_unit_test(cache_follows_changes),
		cmocka_unit_test(upsert_changes),
		cmocka_unit_test(sources),
		cmocka_unit_test(sources_follow_changes),
		cmocka_unit_test(gateway_order),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
