// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "acl/acl_set.h"
#include "control/base/cursor.h"

#include <rte_byteorder.h>
#include <rte_prefetch.h>

#include <assert.h>
#include <string.h>

#define V4(a, b, c, d, bits)                                                                       \
	{                                                                                          \
		.addr = {.family = IP_FAMILY_V4, .bytes = {a, b, c, d}}, .len = (bits)             \
	}
#define V6(bits, ...)                                                                              \
	{                                                                                          \
		.addr = {.family = IP_FAMILY_V6, .bytes = {__VA_ARGS__}}, .len = (bits)            \
	}

// Addresses that stand for DNS resources; they keep their own filters beside an Internet resource.
static const struct ip_prefix proxies[] = {
	V4(100, 96, 0, 0, 11),
	V6(107, 0xfd, 0x00, 0x20, 0x21, 0x11, 0x11, 0x80),
};

// What the Internet resource does not reach (spec/datapath.md 2.3).
static const struct ip_prefix blocked[] = {
	V4(10, 0, 0, 0, 8),
	V4(172, 16, 0, 0, 12),
	V4(192, 168, 0, 0, 16),
	V4(127, 0, 0, 0, 8),
	V4(169, 254, 0, 0, 16),
	V4(100, 64, 0, 0, 10),
	V4(224, 0, 0, 0, 4),
	V4(240, 0, 0, 0, 4),
	V6(128, [15] = 1), // loopback
	V6(96, [10] = 0xff, [11] = 0xff), // IPv4-mapped
	V6(7, 0xfc), // unique local
	V6(10, 0xfe, 0x80), // link local
	V6(8, 0xff), // multicast
};

static bool prefixes_contain(const struct ip_prefix *list, size_t n, const struct acl_key *key)
{
	struct ip_addr addr =
		key->family == IP_FAMILY_V4 ? ip_addr_v4(key->addr) : ip_addr_v6(key->addr);

	for (size_t i = 0; i < n; i++) {
		if (ip_prefix_contains(&list[i], &addr))
			return true;
	}
	return false;
}

static bool key_is_valid(const struct acl_key *key)
{
	return key->class_ >= ACL_CLASS_TCP && key->class_ <= ACL_CLASS_OTHER
		&& (key->family == IP_FAMILY_V4 || key->family == IP_FAMILY_V6);
}

// Whether the verdict needs the rules; if not, it is written.
static bool key_needs_rules(const struct acl_set *set, const struct acl_key *key, uint16_t *verdict)
{
	*verdict = ACL_VERDICT_PROHIBITED;
	if (!key_is_valid(key))
		return false;
	if (set->internet == ACL_VERDICT_PROHIBITED
	    || prefixes_contain(proxies, RTE_DIM(proxies), key))
		return true;
	*verdict = set->internet;
	if (prefixes_contain(blocked, RTE_DIM(blocked), key))
		*verdict = ACL_VERDICT_UNREACHABLE;
	return false;
}

// The searches halve without asking whether they have found it already: the number of steps is the
// same for each packet of a client.

static uint16_t net_find_v4(const struct acl_table *t, uint32_t addr)
{
	const uint64_t *at = t->bounds.v4;
	uint64_t key = (uint64_t)addr << 32 | UINT32_MAX;

	for (uint32_t n = t->n_bounds; n > 1; n -= n / 2)
		at += at[n / 2] <= key ? n / 2 : 0;
	return (uint16_t)*at;
}

static uint16_t net_find_v6(const struct acl_table *t, uint64_t hi, uint64_t lo)
{
	const struct acl_bound_v6 *at = t->bounds.v6;

	for (uint32_t n = t->n_bounds; n > 1; n -= n / 2) {
		const struct acl_bound_v6 *mid = &at[n / 2];
		bool is_right = (mid->hi < hi) | ((mid->hi == hi) & (mid->lo <= lo));

		at += is_right ? n / 2 : 0;
	}
	return (uint16_t)at->net;
}

static uint16_t net_find(const struct acl_table *t, const struct acl_key *key)
{
	uint64_t words[2];
	uint32_t addr;

	if (key->family == IP_FAMILY_V4) {
		memcpy(&addr, key->addr, sizeof(addr));
		return net_find_v4(t, rte_be_to_cpu_32(addr));
	}
	memcpy(words, key->addr, sizeof(words));
	return net_find_v6(t, rte_be_to_cpu_64(words[0]), rte_be_to_cpu_64(words[1]));
}

static uint16_t table_judge(const struct acl_table *t, const struct acl_key *key)
{
	const uint32_t *segs = (const uint32_t *)(t->nets + t->n_nets);
	uint32_t wanted = (uint32_t)key->class_ << (ACL_PORT_BITS + ACL_ORDINAL_BITS)
		| (uint32_t)key->port << ACL_ORDINAL_BITS | ACL_ORDINAL_NONE;
	uint16_t net;

	if (t->n_bounds == 0)
		return ACL_VERDICT_PROHIBITED;
	for (net = net_find(t, key); net != ACL_NET_NONE; net = t->nets[net].parent) {
		const uint32_t *at = &segs[t->nets[net].segs];

		for (uint32_t n = t->nets[net].n_segs; n > 1; n -= n / 2)
			at += at[n / 2] <= wanted ? n / 2 : 0;
		if (*at <= wanted && (*at & ACL_ORDINAL_NONE) != ACL_ORDINAL_NONE)
			return *at & ACL_ORDINAL_NONE;
	}
	return ACL_VERDICT_PROHIBITED;
}

void acl_classify_burst(
	const struct acl_set *const *sets,
	const struct acl_key *keys,
	uint16_t *verdicts,
	unsigned n)
{
	assert(n <= ACL_CLASSIFY_MAX);
	for (unsigned i = 0; i < n; i++)
		rte_prefetch0(sets[i]);
	for (unsigned i = 0; i < n; i++) {
		const struct acl_set *set = sets[i];

		if (set == NULL)
			verdicts[i] = ACL_VERDICT_PROHIBITED;
		else if (key_needs_rules(set, &keys[i], &verdicts[i]))
			verdicts[i] = table_judge(
				keys[i].family == IP_FAMILY_V4 ? &set->v4 : &set->v6, &keys[i]);
	}
}

// Reads the next resource of a canonical form (acl_canon.c). @return whether it permits @p key
static bool
resource_permits(struct cursor *c, const struct acl_key *key, enum acl_resource_type *type)
{
	struct ip_prefix prefix = {0};
	struct ip_addr addr =
		key->family == IP_FAMILY_V4 ? ip_addr_v4(key->addr) : ip_addr_v6(key->addr);
	const uint8_t *bytes;
	bool permits;
	unsigned n;

	cursor_take(c, sizeof(((struct acl_resource *)0)->id));
	*type = (enum acl_resource_type)cursor_read_u8(c);
	prefix.addr.family = cursor_read_u8(c);
	bytes = cursor_take(c, sizeof(prefix.addr.bytes));
	if (bytes == NULL)
		return false;
	memcpy(prefix.addr.bytes, bytes, sizeof(prefix.addr.bytes));
	prefix.len = cursor_read_u8(c);
	n = cursor_read_u16(c);
	permits = n == 0;
	for (unsigned i = 0; i < n; i++) {
		uint8_t protocol = cursor_read_u8(c);
		uint16_t first = cursor_read_u16(c), last = cursor_read_u16(c);

		if (protocol == ACL_PROTOCOL_ICMP)
			permits = permits || key->class_ == ACL_CLASS_ICMP_ECHO
				|| key->class_ == ACL_CLASS_ICMP_OTHER;
		else if (
			key->class_
			== (protocol == ACL_PROTOCOL_TCP ? ACL_CLASS_TCP : ACL_CLASS_UDP))
			permits = permits || (key->port >= first && key->port <= last);
	}
	return *type == ACL_RESOURCE_INTERNET
		|| (permits && prefix.addr.family == key->family
		    && ip_prefix_contains(&prefix, &addr));
}

static uint16_t
policy_walk(const struct acl_policy *policy, const struct acl_key *key, uint64_t now)
{
	const struct acl_set *set = policy->set;
	struct cursor c = cursor_reader(set->bytes, set->bytes_size);
	uint16_t internet = ACL_VERDICT_PROHIBITED, cidr = ACL_VERDICT_PROHIBITED;
	uint16_t dns = ACL_VERDICT_PROHIBITED;

	// The order is that of attribution: the last one that permits wins.
	for (uint32_t i = 0; i < set->n_resources; i++) {
		enum acl_resource_type type;

		if (!resource_permits(&c, key, &type) || now >= policy->expires_tsc[i])
			continue;
		if (type == ACL_RESOURCE_INTERNET)
			internet = (uint16_t)i;
		else if (type == ACL_RESOURCE_CIDR)
			cidr = (uint16_t)i;
		else
			dns = (uint16_t)i;
	}
	if (internet == ACL_VERDICT_PROHIBITED) {
		if (cidr == ACL_VERDICT_PROHIBITED || dns == ACL_VERDICT_PROHIBITED)
			return cidr < dns ? cidr : dns;
		return cidr > dns ? cidr : dns;
	}
	if (prefixes_contain(proxies, RTE_DIM(proxies), key))
		return dns;
	return prefixes_contain(blocked, RTE_DIM(blocked), key) ? ACL_VERDICT_UNREACHABLE
								: internet;
}

uint16_t acl_policy_settle(
	const struct acl_policy *policy,
	const struct acl_key *key,
	uint16_t verdict,
	uint64_t now)
{
	uint16_t resource = verdict >= ACL_VERDICT_UNREACHABLE ? policy->set->internet : verdict;

	if (resource == ACL_VERDICT_PROHIBITED || now < policy->expires_tsc[resource])
		return verdict;
	return policy_walk(policy, key, now);
}
