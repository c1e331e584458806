// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "acl/acl.h"
#include "tests/unit/eal.h"
#include "tests/unit/unit.h"

#include <rte_memory.h>

/**
 * spec/datapath.md 11.1, behaviours 15-23 and 28-31, as classification: a policy of one to three
 * resources and what it says to a packet.
 */

enum {
	N_RESOURCES_MAX = 3,
	N_FILTERS_MAX = 3,
};

struct resource {
	enum acl_resource_type type;
	const char *prefix; // NULL: Internet
	uint8_t id;
	uint8_t n_filters;
	struct acl_filter filters[N_FILTERS_MAX];
};

#define CIDR(id, prefix)                                                                           \
	{                                                                                          \
		ACL_RESOURCE_CIDR, prefix, id, 0,                                                  \
		{                                                                                  \
			{                                                                          \
				0                                                                  \
			}                                                                          \
		}                                                                                  \
	}
#define CIDR1(id, prefix, f)                                                                       \
	{                                                                                          \
		ACL_RESOURCE_CIDR, prefix, id, 1,                                                  \
		{                                                                                  \
			f                                                                          \
		}                                                                                  \
	}
#define CIDR3(id, prefix, f, g, h)                                                                 \
	{                                                                                          \
		ACL_RESOURCE_CIDR, prefix, id, 3,                                                  \
		{                                                                                  \
			f, g, h                                                                    \
		}                                                                                  \
	}
#define DNS1(id, prefix, f)                                                                        \
	{                                                                                          \
		ACL_RESOURCE_DNS, prefix, id, 1,                                                   \
		{                                                                                  \
			f                                                                          \
		}                                                                                  \
	}
#define INTERNET(id)                                                                               \
	{                                                                                          \
		ACL_RESOURCE_INTERNET, NULL, id, 0,                                                \
		{                                                                                  \
			{                                                                          \
				0                                                                  \
			}                                                                          \
		}                                                                                  \
	}
#define TCP(a, b)                                                                                  \
	{                                                                                          \
		ACL_PROTOCOL_TCP, a, b                                                             \
	}
#define UDP(a, b)                                                                                  \
	{                                                                                          \
		ACL_PROTOCOL_UDP, a, b                                                             \
	}
#define ICMP                                                                                       \
	{                                                                                          \
		ACL_PROTOCOL_ICMP, 0, 0                                                            \
	}

enum {
	// Verdicts by position in the list of resources; these two stand for the special ones.
	PROHIBITED = -1,
	UNREACHABLE = -2,
};

struct probe {
	enum acl_class class_;
	const char *addr;
	uint16_t port;
	int verdict;
};

struct scenario {
	const char *name;
	struct resource resources[N_RESOURCES_MAX];
	struct probe probes[20];
};

static const struct scenario scenarios[] = {
	{"nothing authorized",
	 {},
	 {
		 {ACL_CLASS_TCP, "10.0.0.1", 80, PROHIBITED},
		 {ACL_CLASS_ICMP_ECHO, "2001:db8::1", 0, PROHIBITED},
	 }},
	{"15: no filters permit every protocol",
	 {CIDR(1, "10.1.0.0/16")},
	 {
		 {ACL_CLASS_TCP, "10.1.2.3", 80, 0},
		 {ACL_CLASS_UDP, "10.1.255.255", 65535, 0},
		 {ACL_CLASS_ICMP_ECHO, "10.1.0.0", 0, 0},
		 {ACL_CLASS_ICMP_OTHER, "10.1.0.0", 0, 0},
		 {ACL_CLASS_OTHER, "10.1.2.3", 0, 0}, // GRE; 16: the flow table lets replies in
		 {ACL_CLASS_TCP, "10.2.0.0", 80, PROHIBITED},
		 {ACL_CLASS_TCP, "10.0.255.255", 80, PROHIBITED},
		 {ACL_CLASS_TCP, "a01::", 80, PROHIBITED}, // the same bytes as IPv6
	 }},
	{"17: tcp 80-80",
	 {CIDR1(1, "10.1.0.0/16", TCP(80, 80))},
	 {
		 {ACL_CLASS_TCP, "10.1.2.3", 80, 0},
		 {ACL_CLASS_TCP, "10.1.2.3", 79, PROHIBITED},
		 {ACL_CLASS_TCP, "10.1.2.3", 81, PROHIBITED},
		 {ACL_CLASS_TCP, "10.1.2.3", 80 << 8, PROHIBITED}, // byte order
		 {ACL_CLASS_UDP, "10.1.2.3", 80, PROHIBITED},
		 {ACL_CLASS_ICMP_ECHO, "10.1.2.3", 0, PROHIBITED},
		 {ACL_CLASS_ICMP_OTHER, "10.1.2.3", 0, PROHIBITED},
		 {ACL_CLASS_OTHER, "10.1.2.3", 0, PROHIBITED},
	 }},
	{"18: udp without ports",
	 {CIDR1(1, "2001:db8:1::/48", UDP(0, 65535))},
	 {
		 {ACL_CLASS_UDP, "2001:db8:1::1", 0, 0},
		 {ACL_CLASS_UDP, "2001:db8:1:ffff::1", 65535, 0},
		 {ACL_CLASS_TCP, "2001:db8:1::1", 53, PROHIBITED},
		 {ACL_CLASS_OTHER, "2001:db8:1::1", 0, PROHIBITED},
		 {ACL_CLASS_UDP, "2001:db8:2::1", 53, PROHIBITED},
	 }},
	{"19: icmp means echo and every other type",
	 {CIDR1(1, "10.1.0.0/16", ICMP)},
	 {
		 {ACL_CLASS_ICMP_ECHO, "10.1.2.3", 0, 0},
		 {ACL_CLASS_ICMP_OTHER, "10.1.2.3", 0, 0},
		 {ACL_CLASS_TCP, "10.1.2.3", 80, PROHIBITED},
		 {ACL_CLASS_UDP, "10.1.2.3", 80, PROHIBITED},
		 {ACL_CLASS_OTHER, "10.1.2.3", 0, PROHIBITED},
	 }},
	{"20: union of two resources on one network; the larger id is attributed where both permit",
	 {CIDR1(1, "10.1.2.0/24", TCP(22, 443)), CIDR1(2, "10.1.2.0/24", TCP(443, 444))},
	 {
		 {ACL_CLASS_TCP, "10.1.2.3", 22, 0},
		 {ACL_CLASS_TCP, "10.1.2.3", 443, 1},
		 {ACL_CLASS_TCP, "10.1.2.3", 444, 1},
		 {ACL_CLASS_TCP, "10.1.2.3", 445, PROHIBITED},
	 }},
	{"21: the enclosing network permits what the narrower one does not",
	 {CIDR1(1, "10.1.2.0/24", TCP(22, 22)), CIDR(9, "10.1.0.0/16")},
	 {
		 {ACL_CLASS_TCP, "10.1.2.3", 22, 0}, // longer prefix before larger id
		 {ACL_CLASS_TCP, "10.1.2.3", 80, 1},
		 {ACL_CLASS_OTHER, "10.1.2.3", 0, 1},
		 {ACL_CLASS_TCP, "10.1.3.3", 22, 1},
	 }},
	{"22: what is left when one of two overlapping resources is gone",
	 {CIDR1(1, "10.1.2.0/24", TCP(22, 22))},
	 {
		 {ACL_CLASS_TCP, "10.1.2.3", 22, 0},
		 {ACL_CLASS_TCP, "10.1.2.3", 443, PROHIBITED},
	 }},
	{"one resource with several filters, from the default route down to a host",
	 {CIDR3(1, "0.0.0.0/0", TCP(1, 1), UDP(2, 2), ICMP),
	  CIDR1(2, "255.255.255.255/32", TCP(3, 3)),
	  CIDR1(3, "::/0", TCP(4, 4))},
	 {
		 {ACL_CLASS_TCP, "255.255.255.255", 1, 0},
		 {ACL_CLASS_TCP, "255.255.255.255", 3, 1},
		 {ACL_CLASS_TCP, "255.255.255.254", 3, PROHIBITED},
		 {ACL_CLASS_UDP, "0.0.0.0", 2, 0},
		 {ACL_CLASS_ICMP_OTHER, "198.51.100.1", 0, 0},
		 {ACL_CLASS_TCP, "ffff::", 4, 2},
		 {ACL_CLASS_TCP, "::", 1, PROHIBITED},
	 }},
	{"IPv6 host and prefixes that end inside a word",
	 {CIDR1(1, "2001:db8::dead:beef/128", TCP(1, 1)),
	  CIDR1(2, "2001:db8::8000:0/97", TCP(2, 2)),
	  CIDR1(3, "2001:db8:8000::/33", TCP(3, 3))},
	 {
		 {ACL_CLASS_TCP, "2001:db8::dead:beef", 1, 0},
		 {ACL_CLASS_TCP, "2001:db8::dead:beee", 1, PROHIBITED},
		 {ACL_CLASS_TCP, "2001:db8::dead:beef", 2, 1},
		 {ACL_CLASS_TCP, "2001:db8::7fff:ffff", 2, PROHIBITED},
		 {ACL_CLASS_TCP, "2001:db8:ffff::", 3, 2},
		 {ACL_CLASS_TCP, "2001:db8:7fff::", 3, PROHIBITED},
	 }},
	{"28-29: Internet resource, IPv4",
	 {INTERNET(1)},
	 {
		 {ACL_CLASS_TCP, "8.8.8.8", 53, 0},
		 {ACL_CLASS_OTHER, "8.8.8.8", 0, 0},
		 {ACL_CLASS_ICMP_OTHER, "0.0.0.1", 0, 0},
		 {ACL_CLASS_UDP, "192.0.2.1", 1, 0},
		 {ACL_CLASS_UDP, "198.18.0.1", 1, 0},
		 {ACL_CLASS_UDP, "172.15.255.255", 1, 0},
		 {ACL_CLASS_UDP, "172.32.0.0", 1, 0},
		 {ACL_CLASS_TCP, "10.0.0.1", 80, UNREACHABLE},
		 {ACL_CLASS_TCP, "172.16.0.0", 80, UNREACHABLE},
		 {ACL_CLASS_TCP, "172.31.255.255", 80, UNREACHABLE},
		 {ACL_CLASS_TCP, "192.168.255.255", 80, UNREACHABLE},
		 {ACL_CLASS_TCP, "127.0.0.1", 80, UNREACHABLE},
		 {ACL_CLASS_TCP, "169.254.169.254", 80, UNREACHABLE},
		 {ACL_CLASS_TCP, "100.64.0.1", 80, UNREACHABLE},
		 {ACL_CLASS_TCP, "100.95.255.255", 80, UNREACHABLE},
		 {ACL_CLASS_UDP, "239.1.2.3", 80, UNREACHABLE},
		 {ACL_CLASS_UDP, "240.0.0.1", 80, UNREACHABLE},
		 {ACL_CLASS_UDP, "255.255.255.255", 80, UNREACHABLE},
		 {ACL_CLASS_TCP, "100.128.0.0", 80, 0},
	 }},
	{"28-29: Internet resource, IPv6",
	 {INTERNET(1)},
	 {
		 {ACL_CLASS_TCP, "2606:4700::1", 443, 0},
		 {ACL_CLASS_OTHER, "::", 0, 0},
		 {ACL_CLASS_OTHER, "64:ff9b::1", 0, 0},
		 {ACL_CLASS_OTHER, "2001:db8::1", 0, 0},
		 {ACL_CLASS_OTHER, "::2", 0, 0},
		 {ACL_CLASS_OTHER, "fec0::1", 0, 0},
		 {ACL_CLASS_TCP, "::1", 80, UNREACHABLE},
		 {ACL_CLASS_TCP, "::ffff:1.2.3.4", 80, UNREACHABLE},
		 {ACL_CLASS_TCP, "fc00::1", 80, UNREACHABLE},
		 {ACL_CLASS_TCP, "fd12::1", 80, UNREACHABLE},
		 {ACL_CLASS_TCP, "fd00:2021:1111::1", 80, UNREACHABLE},
		 {ACL_CLASS_TCP, "fe80::1", 80, UNREACHABLE},
		 {ACL_CLASS_TCP, "febf::1", 80, UNREACHABLE},
		 {ACL_CLASS_UDP, "ff02::fb", 80, UNREACHABLE},
	 }},
	{"30: a proxy address without a record is prohibited, one with keeps its filters",
	 {INTERNET(9),
	  DNS1(1, "100.96.0.7/32", TCP(443, 443)),
	  DNS1(2, "fd00:2021:1111:8000::7/128", TCP(80, 80))},
	 {
		 {ACL_CLASS_TCP, "100.96.0.7", 443, 1},
		 {ACL_CLASS_TCP, "100.96.0.7", 80, PROHIBITED},
		 {ACL_CLASS_TCP, "100.96.0.8", 443, PROHIBITED},
		 {ACL_CLASS_TCP, "100.127.255.255", 443, PROHIBITED},
		 {ACL_CLASS_TCP, "fd00:2021:1111:8000::7", 80, 2},
		 {ACL_CLASS_TCP, "fd00:2021:1111:8000::7", 81, PROHIBITED},
		 {ACL_CLASS_TCP, "fd00:2021:1111:8000::8", 80, PROHIBITED},
		 {ACL_CLASS_TCP, "fd00:2021:1111:8000::1f:ffff", 80, PROHIBITED},
		 {ACL_CLASS_TCP, "fd00:2021:1111:8000::20:0", 80, UNREACHABLE},
		 {ACL_CLASS_TCP, "203.0.113.1", 443, 0},
	 }},
	{"31: a CIDR beside the Internet resource counts for nothing",
	 {CIDR(9, "10.0.0.0/8"), INTERNET(1), CIDR(8, "0.0.0.0/0")},
	 {
		 {ACL_CLASS_TCP, "10.0.0.1", 80, UNREACHABLE},
		 {ACL_CLASS_TCP, "100.96.0.1", 80, PROHIBITED},
		 {ACL_CLASS_TCP, "8.8.8.8", 80, 1},
	 }},
	{"of two Internet resources the larger id is attributed",
	 {INTERNET(7), INTERNET(3)},
	 {{ACL_CLASS_TCP, "8.8.8.8", 80, 0}}},
	{"a DNS entry outside the Internet mode is a host route",
	 {DNS1(1, "100.96.0.7/32", ICMP), CIDR1(2, "100.96.0.0/11", TCP(80, 80))},
	 {
		 {ACL_CLASS_ICMP_ECHO, "100.96.0.7", 0, 0},
		 {ACL_CLASS_TCP, "100.96.0.7", 80, 1},
		 {ACL_CLASS_ICMP_ECHO, "100.96.0.8", 0, PROHIBITED},
	 }},
};

static const struct acl_set *
scenario_build(struct acl_registry *registry, const struct scenario *s, uint16_t *ordinals)
{
	struct acl_resource list[N_RESOURCES_MAX] = {0};
	const struct acl_set *set;
	size_t n = 0;

	for (; n < N_RESOURCES_MAX && s->resources[n].id != 0; n++) {
		const struct resource *r = &s->resources[n];

		list[n].id[0] = r->id;
		list[n].type = r->type;
		list[n].filters = r->filters;
		list[n].n_filters = r->n_filters;
		if (r->prefix != NULL)
			assert_int_equal(ip_prefix_parse(&list[n].prefix, r->prefix), 0);
	}
	set = acl_set_get(registry, list, n, ordinals);
	assert_non_null(set);
	assert_int_equal(acl_set_size(set), n);
	return set;
}

static struct acl_key probe_key(const struct probe *p)
{
	struct acl_key key = {.class_ = (uint8_t)p->class_, .port = p->port};
	struct ip_addr addr;

	assert_int_equal(ip_addr_parse(&addr, p->addr), 0);
	key.family = addr.family;
	memcpy(key.addr, addr.bytes, sizeof(key.addr));
	return key;
}

static void spec_behaviours(void **)
{
	struct acl_registry *registry = acl_registry_create(SOCKET_ID_ANY);
	unsigned n_bad = 0;

	assert_non_null(registry);
	for (size_t i = 0; i < COUNT_OF(scenarios); i++) {
		const struct scenario *s = &scenarios[i];
		uint16_t ordinals[N_RESOURCES_MAX], verdicts[COUNT_OF(s->probes)];
		const struct acl_set *set = scenario_build(registry, s, ordinals);
		const struct acl_set *sets[COUNT_OF(s->probes)];
		struct acl_key keys[COUNT_OF(s->probes)];
		unsigned n = 0;

		for (; n < COUNT_OF(s->probes) && s->probes[n].addr != NULL; n++) {
			keys[n] = probe_key(&s->probes[n]);
			sets[n] = set;
		}
		acl_classify_burst(sets, keys, verdicts, n);
		for (unsigned k = 0; k < n; k++) {
			const struct probe *p = &s->probes[k];
			uint16_t want = p->verdict == PROHIBITED ? ACL_VERDICT_PROHIBITED
				: p->verdict == UNREACHABLE	 ? ACL_VERDICT_UNREACHABLE
								 : ordinals[p->verdict];

			if (verdicts[k] == want)
				continue;
			fprintf(stderr,
				"%s: class %d to %s:%u: %#x, not %#x\n",
				s->name,
				p->class_,
				p->addr,
				p->port,
				verdicts[k],
				want);
			n_bad++;
		}
		acl_set_put(registry, set);
	}
	acl_registry_destroy(registry);
	assert_int_equal(n_bad, 0);
}

// The scenario without resource @skip; @from receives the former place of each.
static struct scenario scenario_without(const struct scenario *s, size_t skip, size_t *from)
{
	struct scenario out = {.name = s->name};
	size_t n = 0;

	for (size_t i = 0; i < COUNT_OF(s->resources) && s->resources[i].id != 0; i++) {
		if (i == skip)
			continue;
		from[n] = i;
		out.resources[n++] = s->resources[i];
	}
	return out;
}

static void expired_check(struct acl_registry *registry, const struct scenario *s, size_t skip)
{
	uint16_t ordinals[N_RESOURCES_MAX], rest_ordinals[N_RESOURCES_MAX];
	size_t from[N_RESOURCES_MAX];
	struct scenario rest = scenario_without(s, skip, from);
	const struct acl_set *set = scenario_build(registry, s, ordinals);
	const struct acl_set *rest_set = scenario_build(registry, &rest, rest_ordinals);
	struct acl_policy *policy =
		calloc(1, sizeof(*policy) + N_RESOURCES_MAX * sizeof(policy->expires_tsc[0]));

	assert_non_null(policy);
	policy->set = set;
	for (size_t i = 0; i < N_RESOURCES_MAX; i++)
		policy->expires_tsc[i] = i == ordinals[skip] ? 7 : UINT64_MAX;
	for (size_t k = 0; k < COUNT_OF(s->probes) && s->probes[k].addr != NULL; k++) {
		struct acl_key key = probe_key(&s->probes[k]);
		uint16_t got, want;

		acl_classify_burst(&set, &key, &got, 1);
		assert_int_equal(acl_policy_settle(policy, &key, got, 6), got);
		acl_classify_burst(&rest_set, &key, &want, 1);
		for (size_t i = 0; want < ACL_VERDICT_UNREACHABLE; i++) {
			if (rest_ordinals[i] == want) {
				want = ordinals[from[i]];
				break;
			}
		}
		assert_int_equal(acl_policy_settle(policy, &key, got, 7), want);
	}
	free(policy);
	acl_set_put(registry, set);
	acl_set_put(registry, rest_set);
}

// With one resource expired, the others decide as if it had never been.
static void expired_resources_hide_nothing(void **)
{
	struct acl_registry *registry = acl_registry_create(SOCKET_ID_ANY);

	assert_non_null(registry);
	for (size_t i = 0; i < COUNT_OF(scenarios); i++) {
		const struct scenario *s = &scenarios[i];

		for (size_t r = 0; r < COUNT_OF(s->resources) && s->resources[r].id != 0; r++)
			expired_check(registry, s, r);
	}
	acl_registry_destroy(registry);
}

static void bad_keys_are_prohibited(void **)
{
	static const struct resource all[] = {CIDR(1, "0.0.0.0/0"), INTERNET(1)};
	struct acl_registry *registry = acl_registry_create(SOCKET_ID_ANY);

	for (size_t i = 0; i < COUNT_OF(all); i++) {
		struct scenario s = {.resources = {all[i]}};
		const struct acl_set *set = scenario_build(registry, &s, NULL);
		const struct acl_set *sets[] = {set, set, set, set, NULL};
		const struct acl_key keys[] = {
			{.class_ = 0, .family = IP_FAMILY_V4, .addr = {8, 8, 8, 8}},
			{.class_ = ACL_CLASS_OTHER + 1, .family = IP_FAMILY_V4, .addr = {8}},
			{.class_ = 255, .family = IP_FAMILY_V4, .addr = {8}},
			{.class_ = ACL_CLASS_TCP, .family = 5, .addr = {8}},
			{.class_ = ACL_CLASS_TCP, .family = IP_FAMILY_V4, .addr = {8}},
		};
		uint16_t verdicts[COUNT_OF(keys)];

		acl_classify_burst(sets, keys, verdicts, COUNT_OF(keys));
		for (size_t k = 0; k < COUNT_OF(keys); k++)
			assert_int_equal(verdicts[k], ACL_VERDICT_PROHIBITED);
		acl_set_put(registry, set);
	}
	acl_registry_destroy(registry);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(spec_behaviours),
		cmocka_unit_test(expired_resources_hide_nothing),
		cmocka_unit_test(bad_keys_are_prohibited),
	};

	return cmocka_run_group_tests(tests, unit_eal_init, unit_eal_fini);
}
