// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "acl/acl_set.h"
#include "control/base/cursor.h"

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

struct batch {
	struct acl_input inputs[ACL_CLASSIFY_MAX];
	const uint8_t *data[ACL_CLASSIFY_MAX];
	uint8_t index[ACL_CLASSIFY_MAX]; // of the key
	unsigned n;
};

static void batch_add(struct batch *b, const struct acl_key *key, unsigned index)
{
	struct acl_input *in = &b->inputs[b->n];

	*in = (struct acl_input){.class_ = key->class_, .port = rte_cpu_to_be_16(key->port)};
	memcpy(in->addr, key->addr, key->family == IP_FAMILY_V4 ? 4 : 16);
	b->data[b->n] = (const uint8_t *)in;
	b->index[b->n++] = (uint8_t)index;
}

static void batch_run(struct batch *b, const struct rte_acl_ctx *ctx, uint16_t *verdicts)
{
	uint32_t results[ACL_CLASSIFY_MAX];

	// Without rules of the family everything stays prohibited.
	if (b->n == 0 || ctx == NULL || rte_acl_classify(ctx, b->data, results, b->n, 1) != 0)
		return;
	for (unsigned i = 0; i < b->n; i++) {
		if (results[i] != 0)
			verdicts[b->index[i]] = (uint16_t)(results[i] - 1);
	}
}

static void
set_classify(const struct acl_set *set, const struct acl_key *keys, uint16_t *verdicts, unsigned n)
{
	struct batch v4, v6;

	v4.n = 0;
	v6.n = 0;
	for (unsigned i = 0; i < n; i++) {
		if (set == NULL)
			verdicts[i] = ACL_VERDICT_PROHIBITED;
		else if (key_needs_rules(set, &keys[i], &verdicts[i]))
			batch_add(keys[i].family == IP_FAMILY_V4 ? &v4 : &v6, &keys[i], i);
	}
	if (set == NULL)
		return;
	batch_run(&v4, set->v4, verdicts);
	batch_run(&v6, set->v6, verdicts);
}

void acl_classify_burst(
	const struct acl_set *const *sets,
	const struct acl_key *keys,
	uint16_t *verdicts,
	unsigned n)
{
	unsigned first = 0;

	assert(n <= ACL_CLASSIFY_MAX);
	while (first < n) {
		unsigned end = first + 1;

		while (end < n && sets[end] == sets[first])
			end++;
		set_classify(sets[first], keys + first, verdicts + first, end - first);
		first = end;
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
