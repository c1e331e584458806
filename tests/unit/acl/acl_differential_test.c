// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "acl/acl.h"
#include "perf/bench/acl_yardstick.h"
#include "tests/unit/eal.h"
#include "tests/unit/rand.h"
#include "tests/unit/unit.h"

#include <rte_memory.h>

#include <stdlib.h>

/**
 * Random policies and packets against a reference that reads spec/datapath.md 2.1-2.3 aloud: look at
 * every entry, bit by bit. It shares no code with acl/, the address functions included. One policy
 * in four is judged by rte_acl, too, if it has no Internet resource.
 */

enum {
	N_RESOURCES_MAX = 40,
	N_FILTERS_MAX = 12,
	N_SETS = 4, // alive at once, mixed within a burst
	N_ROUNDS = 300,
	N_BURSTS = 6,
	BURST = 64,
};

struct policy {
	struct acl_resource resources[N_RESOURCES_MAX];
	struct acl_filter filters[N_RESOURCES_MAX][N_FILTERS_MAX];
	uint16_t ordinals[N_RESOURCES_MAX];
	size_t n;
	const struct acl_set *set;
	struct acl_yardstick *yardstick; // NULL: not for this one
};

// ---- the reference ----

static bool covers(uint8_t family, const uint8_t *net, unsigned len, const struct acl_key *key)
{
	if (family != key->family)
		return false;
	for (unsigned bit = 0; bit < len; bit++) {
		unsigned a = net[bit / 8] >> (7 - bit % 8) & 1,
			 b = key->addr[bit / 8] >> (7 - bit % 8) & 1;

		if (a != b)
			return false;
	}
	return true;
}

static bool filters_permit(const struct acl_resource *r, const struct acl_key *key)
{
	if (r->n_filters == 0)
		return true;
	for (size_t i = 0; i < r->n_filters; i++) {
		const struct acl_filter *f = &r->filters[i];
		bool in_range = key->port >= f->port_first && key->port <= f->port_last;

		if (f->protocol == ACL_PROTOCOL_TCP && key->class_ == ACL_CLASS_TCP && in_range)
			return true;
		if (f->protocol == ACL_PROTOCOL_UDP && key->class_ == ACL_CLASS_UDP && in_range)
			return true;
		if (f->protocol == ACL_PROTOCOL_ICMP
		    && (key->class_ == ACL_CLASS_ICMP_ECHO || key->class_ == ACL_CLASS_ICMP_OTHER))
			return true;
	}
	return false;
}

static bool in_text_list(const char *const *list, const struct acl_key *key)
{
	for (; *list != NULL; list++) {
		struct ip_prefix p;

		assert_int_equal(ip_prefix_parse(&p, *list), 0);
		if (covers(p.addr.family, p.addr.bytes, p.len, key))
			return true;
	}
	return false;
}

static const char *const proxy_list[] = {"100.96.0.0/11", "fd00:2021:1111:8000::/107", NULL};
static const char *const block_list[] = {
	"10.0.0.0/8",
	"172.16.0.0/12",
	"192.168.0.0/16",
	"127.0.0.0/8",
	"169.254.0.0/16",
	"100.64.0.0/10",
	"224.0.0.0/4",
	"240.0.0.0/4",
	"::1",
	"::ffff:0:0/96",
	"fc00::/7",
	"fe80::/10",
	"ff00::/8",
	NULL,
};

// Is a a better choice than b (both permit)?
static bool is_better(const struct acl_resource *a, const struct acl_resource *b)
{
	if (a->type != ACL_RESOURCE_INTERNET && a->prefix.len != b->prefix.len)
		return a->prefix.len > b->prefix.len;
	return memcmp(a->id, b->id, sizeof(a->id)) > 0;
}

enum {
	REF_PROHIBITED = -1,
	REF_UNREACHABLE = -2,
};

// Position of the best permitting entry of a type mask, or REF_PROHIBITED.
static int best(const struct policy *p, const struct acl_key *key, unsigned types)
{
	int found = REF_PROHIBITED;

	for (size_t i = 0; i < p->n; i++) {
		const struct acl_resource *r = &p->resources[i];

		if ((types >> r->type & 1) == 0)
			continue;
		if (r->type != ACL_RESOURCE_INTERNET
		    && (!covers(r->prefix.addr.family, r->prefix.addr.bytes, r->prefix.len, key)
			|| !filters_permit(r, key)))
			continue;
		if (found < 0 || is_better(r, &p->resources[found]))
			found = (int)i;
	}
	return found;
}

static int reference(const struct policy *p, const struct acl_key *key)
{
	int internet = best(p, key, 1u << ACL_RESOURCE_INTERNET);

	if (internet < 0)
		return best(p, key, 1u << ACL_RESOURCE_CIDR | 1u << ACL_RESOURCE_DNS);
	if (in_text_list(proxy_list, key))
		return best(p, key, 1u << ACL_RESOURCE_DNS);
	return in_text_list(block_list, key) ? REF_UNREACHABLE : internet;
}

// ---- random input ----

// A handful of places, so that prefixes overlap often.
static const char *const places[] = {
	"10.0.0.0",
	"10.128.7.1",
	"203.0.113.77",
	"100.96.0.9",
	"0.0.0.0",
	"255.255.255.255",
	"2001:db8::",
	"2001:db8::1:0:0:1",
	"fd00:2021:1111:8000::9",
	"fd00:2021:1111:8000::1f:ffff",
	"::",
	"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
};

static struct ip_addr random_place(struct unit_rand *r)
{
	struct ip_addr addr;

	assert_int_equal(ip_addr_parse(&addr, places[unit_rand_below(r, COUNT_OF(places))]), 0);
	// A few flipped bits make neighbours.
	while (unit_rand_below(r, 2) == 0) {
		unsigned bit = unit_rand_below(r, addr.family == IP_FAMILY_V4 ? 32 : 128);

		addr.bytes[bit / 8] ^= (uint8_t)(0x80u >> bit % 8);
	}
	return addr;
}

static struct ip_prefix random_prefix(struct unit_rand *r, bool is_host)
{
	struct ip_prefix p = {.addr = random_place(r)};
	unsigned bits = p.addr.family == IP_FAMILY_V4 ? 32 : 128;

	p.len = (uint8_t)(is_host || unit_rand_below(r, 4) == 0 ? bits : unit_rand_below(r, bits + 1));
	for (unsigned bit = p.len; bit < bits; bit++)
		p.addr.bytes[bit / 8] &= (uint8_t) ~(0x80u >> bit % 8);
	return p;
}

static uint16_t random_port(struct unit_rand *r)
{
	static const uint16_t edges[] = {0, 1, 22, 79, 80, 81, 443, 0x5000, 65534, 65535};

	return unit_rand_below(r, 3) == 0 ? (uint16_t)unit_rand_u64(r)
					  : edges[unit_rand_below(r, COUNT_OF(edges))];
}

static size_t random_filters(struct unit_rand *r, struct acl_filter *out)
{
	size_t n = unit_rand_below(r, 5) == 0 ? 0 : unit_rand_below(r, N_FILTERS_MAX + 1);

	for (size_t i = 0; i < n; i++) {
		uint16_t a = random_port(r), b = random_port(r);

		out[i] = (struct acl_filter){
			.protocol = (enum acl_protocol)unit_rand_below(r, 3),
			.port_first = a < b ? a : b,
			.port_last = a < b ? b : a,
		};
	}
	return n;
}

static void policy_fill(struct policy *p, struct unit_rand *r)
{
	bool has_internet = unit_rand_below(r, 3) == 0;

	p->n = unit_rand_below(r, N_RESOURCES_MAX + 1);
	for (size_t i = 0; i < p->n; i++) {
		struct acl_resource *a = &p->resources[i];
		unsigned kind = unit_rand_below(r, 8);

		*a = (struct acl_resource){.id = {(uint8_t)unit_rand_below(r, 4)}};
		a->id[15] = (uint8_t)unit_rand_below(r, 4);
		a->filters = p->filters[i];
		if (kind == 0 && has_internet) {
			a->type = ACL_RESOURCE_INTERNET;
			continue;
		}
		a->type = kind < 4 ? ACL_RESOURCE_DNS : ACL_RESOURCE_CIDR;
		a->prefix = random_prefix(r, a->type == ACL_RESOURCE_DNS);
		a->n_filters = random_filters(r, p->filters[i]);
	}
}

static struct acl_key random_key(struct unit_rand *r)
{
	struct ip_addr addr = random_place(r);
	struct acl_key key = {
		.class_ = (uint8_t)(ACL_CLASS_TCP + unit_rand_below(r, 5)),
		.family = addr.family,
	};

	memcpy(key.addr, addr.bytes, sizeof(key.addr));
	if (key.class_ == ACL_CLASS_TCP || key.class_ == ACL_CLASS_UDP)
		key.port = random_port(r);
	return key;
}

// ---- the comparison ----

static void verdict_check(const struct policy *p, const struct acl_key *key, uint16_t verdict)
{
	int want = reference(p, key);
	const struct acl_resource *got;
	size_t at = 0;

	if (want == REF_PROHIBITED) {
		assert_int_equal(verdict, ACL_VERDICT_PROHIBITED);
		return;
	}
	if (want == REF_UNREACHABLE) {
		assert_int_equal(verdict, ACL_VERDICT_UNREACHABLE);
		return;
	}
	while (at < p->n && p->ordinals[at] != verdict)
		at++;
	assert_true(at < p->n);
	got = &p->resources[at];
	// Entries of one id and prefix with different filters are equally good; either may be named,
	// but it must be one that permits.
	assert_memory_equal(got->id, p->resources[want].id, sizeof(got->id));
	if (got->type != ACL_RESOURCE_INTERNET) {
		assert_true(ip_prefix_eq(&got->prefix, &p->resources[want].prefix));
		assert_true(filters_permit(got, key));
	}
}

static void policy_compile(struct policy *p, struct acl_registry *registry, bool wants_yardstick)
{
	p->set = acl_set_get(registry, p->resources, p->n, p->ordinals);
	assert_non_null(p->set);
	for (size_t i = 0; i < p->n; i++)
		if (p->resources[i].type == ACL_RESOURCE_INTERNET)
			wants_yardstick = false;
	p->yardstick =
		wants_yardstick ? acl_yardstick_create(p->resources, p->n, p->ordinals) : NULL;
	assert_int_equal(p->yardstick != NULL, wants_yardstick);
}

static void random_policies_like_reference(void **)
{
	struct unit_rand r = unit_rand_init(20261123);
	struct acl_registry *registry = acl_registry_create(SOCKET_ID_ANY);
	struct policy *policies = calloc(N_SETS, sizeof(*policies));
	unsigned long n_verdicts = 0, n_permits = 0, n_unreachable = 0, n_seconds = 0;
	uint16_t second;

	assert_true(registry != NULL && policies != NULL);
	for (unsigned round = 0; round < N_ROUNDS; round++) {
		for (unsigned i = 0; i < N_SETS; i++) {
			policy_fill(&policies[i], &r);
			policy_compile(&policies[i], registry, i == 0);
		}
		for (unsigned burst = 0; burst < N_BURSTS; burst++) {
			unsigned n = burst == 0 ? unit_rand_below(&r, BURST + 1) : BURST;
			unsigned spread = 1 + unit_rand_below(&r, N_SETS);
			const struct acl_set *sets[BURST];
			struct acl_key keys[BURST];
			uint16_t verdicts[BURST];
			unsigned owner[BURST];

			for (unsigned i = 0; i < n; i++) {
				owner[i] = unit_rand_below(&r, spread);
				sets[i] = policies[owner[i]].set;
				keys[i] = random_key(&r);
			}
			acl_classify_burst(sets, keys, verdicts, n);
			for (unsigned i = 0; i < n; i++) {
				const struct policy *p = &policies[owner[i]];
				const struct acl_yardstick *y = p->yardstick;

				verdict_check(p, &keys[i], verdicts[i]);
				if (y == NULL)
					continue;
				acl_yardstick_burst(&y, &keys[i], &second, 1);
				assert_int_equal(verdicts[i], second);
				n_seconds++;
			}
			for (unsigned i = 0; i < n; i++) {
				n_permits += verdicts[i] < ACL_VERDICT_UNREACHABLE;
				n_unreachable += verdicts[i] == ACL_VERDICT_UNREACHABLE;
			}
			n_verdicts += n;
		}
		for (unsigned i = 0; i < N_SETS; i++) {
			acl_set_put(registry, policies[i].set);
			acl_yardstick_destroy(policies[i].yardstick);
		}
	}
	fprintf(stderr,
		"%lu verdicts: %lu permits, %lu unreachable; %lu judged by rte_acl, too\n",
		n_verdicts,
		n_permits,
		n_unreachable,
		n_seconds);
	assert_true(n_verdicts >= 100000 && n_permits > n_verdicts / 10 && n_unreachable > 1000);
	assert_true(n_seconds > n_verdicts / 4);
	assert_true(n_permits < n_verdicts * 9 / 10);
	assert_int_equal(acl_registry_size(registry), 0);
	acl_registry_destroy(registry);
	free(policies);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_policies_like_reference),
	};

	return cmocka_run_group_tests(tests, unit_eal_init, unit_eal_fini);
}
