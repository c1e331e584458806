// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "acl/acl.h"
#include "tests/unit/eal.h"
#include "tests/unit/unit.h"

#include <rte_malloc.h>
#include <rte_memory.h>

#include <errno.h>
#include <stdlib.h>

static struct acl_resource
cidr(uint8_t id, const char *prefix, const struct acl_filter *filters, size_t n)
{
	struct acl_resource r = {
		.id = {[15] = id},
		.type = ACL_RESOURCE_CIDR,
		.filters = filters,
		.n_filters = n,
	};

	assert_int_equal(ip_prefix_parse(&r.prefix, prefix), 0);
	return r;
}

static const struct acl_filter web[] = {{ACL_PROTOCOL_TCP, 80, 80}, {ACL_PROTOCOL_TCP, 443, 443}};
static const struct acl_filter web_reversed[] = {
	{ACL_PROTOCOL_TCP, 443, 443},
	{ACL_PROTOCOL_TCP, 80, 80},
	{ACL_PROTOCOL_TCP, 80, 80},
};

static int setup(void **state)
{
	*state = acl_registry_create(SOCKET_ID_ANY);
	return *state != NULL ? 0 : -1;
}

static int teardown(void **state)
{
	if (acl_registry_size(*state) != 0)
		return -1;
	acl_registry_destroy(*state);
	acl_registry_destroy(NULL);
	return 0;
}

static void same_content_is_one_set(void **state)
{
	struct acl_registry *registry = *state;
	const struct acl_resource a[] = {
		cidr(1, "10.0.0.0/8", web, 2),
		cidr(2, "10.1.0.0/16", NULL, 0),
		cidr(3, "2001:db8::/32", NULL, 0),
	};
	const struct acl_resource b[] = {
		a[2], a[0], a[1], cidr(1, "10.0.0.0/8", web_reversed, 3), a[2]};
	uint16_t ord_a[COUNT_OF(a)], ord_b[COUNT_OF(b)];
	const struct acl_set *set_a, *set_b;

	set_a = acl_set_get(registry, a, COUNT_OF(a), ord_a);
	set_b = acl_set_get(registry, b, COUNT_OF(b), ord_b);
	assert_non_null(set_a);
	assert_ptr_equal(set_a, set_b);
	assert_int_equal(acl_registry_size(registry), 1);
	assert_int_equal(acl_set_size(set_a), 3);
	// Ordinals are those of the content, whatever the order of the call.
	assert_int_equal(ord_b[0], ord_a[2]);
	assert_int_equal(ord_b[1], ord_a[0]);
	assert_int_equal(ord_b[2], ord_a[1]);
	assert_int_equal(ord_b[3], ord_a[0]);
	assert_int_equal(ord_b[4], ord_a[2]);
	assert_int_equal(1 << ord_a[0] | 1 << ord_a[1] | 1 << ord_a[2], 7);

	acl_set_put(registry, set_b);
	assert_int_equal(acl_registry_size(registry), 1);
	acl_set_put(registry, set_a);
	assert_int_equal(acl_registry_size(registry), 0);
	acl_set_put(registry, NULL);
}

static void filters_are_merged(void **state)
{
	static const struct acl_filter a[] = {
		{ACL_PROTOCOL_TCP, 10, 20},
		{ACL_PROTOCOL_ICMP, 3, 1}, // ports mean nothing here
		{ACL_PROTOCOL_TCP, 21, 30},
		{ACL_PROTOCOL_TCP, 15, 16},
		{ACL_PROTOCOL_UDP, 65535, 65535},
		{ACL_PROTOCOL_UDP, 0, 65535},
	};
	static const struct acl_filter b[] = {
		{ACL_PROTOCOL_TCP, 10, 30},
		{ACL_PROTOCOL_UDP, 0, 65535},
		{ACL_PROTOCOL_ICMP, 0, 0},
	};
	struct acl_registry *registry = *state;
	const struct acl_resource ra = cidr(1, "10.0.0.0/8", a, COUNT_OF(a));
	const struct acl_resource rb = cidr(1, "10.0.0.0/8", b, COUNT_OF(b));
	const struct acl_set *sa = acl_set_get(registry, &ra, 1, NULL);
	const struct acl_set *sb = acl_set_get(registry, &rb, 1, NULL);

	assert_non_null(sa);
	assert_ptr_equal(sa, sb);
	acl_set_put(registry, sa);
	acl_set_put(registry, sb);
}

// Each differs from the first in one thing that counts.
static void different_content_is_another_set(void **state)
{
	static const struct acl_filter icmp[] = {{ACL_PROTOCOL_ICMP, 0, 0}};
	static const struct acl_filter wider[] = {
		{ACL_PROTOCOL_TCP, 80, 81}, {ACL_PROTOCOL_TCP, 443, 443}};
	struct acl_registry *registry = *state;
	struct acl_resource list[] = {
		cidr(1, "10.0.0.0/8", web, 2),
		cidr(2, "10.0.0.0/8", web, 2),
		cidr(1, "10.0.0.0/9", web, 2),
		cidr(1, "11.0.0.0/8", web, 2),
		cidr(1, "a00::/8", web, 2),
		cidr(1, "10.0.0.0/8", web, 1),
		cidr(1, "10.0.0.0/8", wider, 2),
		cidr(1, "10.0.0.0/8", icmp, 1),
		cidr(1, "10.0.0.0/8", NULL, 0),
		cidr(1, "10.0.0.0/32", NULL, 0),
		cidr(1, "10.0.0.0/32", NULL, 0),
		{.id = {[15] = 1}, .type = ACL_RESOURCE_INTERNET},
	};
	const struct acl_set *sets[COUNT_OF(list)], *empty;

	list[10].type = ACL_RESOURCE_DNS;
	for (size_t i = 0; i < COUNT_OF(list); i++) {
		sets[i] = acl_set_get(registry, &list[i], 1, NULL);
		assert_non_null(sets[i]);
		assert_int_equal(acl_registry_size(registry), i + 1);
	}
	empty = acl_set_get(registry, NULL, 0, NULL);
	assert_non_null(empty);
	assert_int_equal(acl_set_size(empty), 0);
	assert_int_equal(acl_registry_size(registry), COUNT_OF(list) + 1);
	acl_set_put(registry, empty);
	for (size_t i = 0; i < COUNT_OF(list); i++)
		acl_set_put(registry, sets[i]);
}

// The unused prefix of an Internet resource is no content.
static void internet_prefix_is_ignored(void **state)
{
	struct acl_registry *registry = *state;
	struct acl_resource a = cidr(1, "10.0.0.0/8", NULL, 0), b = cidr(1, "::/0", NULL, 0);
	const struct acl_set *sa, *sb;

	a.type = b.type = ACL_RESOURCE_INTERNET;
	sa = acl_set_get(registry, &a, 1, NULL);
	sb = acl_set_get(registry, &b, 1, NULL);
	assert_non_null(sa);
	assert_ptr_equal(sa, sb);
	acl_set_put(registry, sa);
	acl_set_put(registry, sb);
}

// Names of rte_acl contexts are per process: two registries must not get each other's.
static void registries_are_apart(void **state)
{
	struct acl_registry *other = acl_registry_create(SOCKET_ID_ANY);
	const struct acl_resource a = cidr(1, "10.0.0.0/8", NULL, 0);
	const struct acl_resource b = cidr(1, "11.0.0.0/8", NULL, 0);
	const struct acl_set *sets[2];
	const struct acl_key keys[2] = {
		{ACL_CLASS_TCP, IP_FAMILY_V4, 80, {10, 0, 0, 1}},
		{ACL_CLASS_TCP, IP_FAMILY_V4, 80, {11, 0, 0, 1}},
	};
	uint16_t verdicts[2];

	sets[0] = acl_set_get(*state, &a, 1, NULL);
	sets[1] = acl_set_get(other, &b, 1, NULL);
	assert_true(sets[0] != NULL && sets[1] != NULL && sets[0] != sets[1]);
	acl_classify_burst(sets, keys, verdicts, 2);
	assert_int_equal(verdicts[0], 0);
	assert_int_equal(verdicts[1], 0);
	acl_set_put(*state, sets[0]);
	acl_set_put(other, sets[1]);
	acl_registry_destroy(other);
}

static void bad_resources(void **state)
{
	static const struct acl_filter inverted[] = {
		{ACL_PROTOCOL_TCP, 80, 80}, {ACL_PROTOCOL_UDP, 2, 1}};
	static const struct acl_filter bad_protocol[] = {{(enum acl_protocol)3, 1, 2}};
	const struct acl_resource good = cidr(1, "10.0.0.0/8", web, 2);
	struct acl_resource bad[12];
	uint16_t ordinals[2] = {77, 78};
	size_t n = 0;

	for (size_t i = 0; i < COUNT_OF(bad); i++)
		bad[i] = good;
	bad[n].filters = inverted;
	bad[n++].n_filters = 2;
	bad[n].filters = bad_protocol;
	bad[n++].n_filters = 1;
	bad[n++].type = (enum acl_resource_type)3;
	bad[n++].prefix.addr.bytes[1] = 1; // host bits
	bad[n++].prefix.addr.bytes[3] = 1;
	bad[n++].prefix.addr.bytes[4] = 1; // behind an IPv4 address
	bad[n++].prefix.addr.family = IP_FAMILY_NONE;
	bad[n++].prefix.addr.family = 5;
	bad[n++].prefix.len = 33;
	bad[n++].type = ACL_RESOURCE_DNS; // not a host
	bad[n++].type = ACL_RESOURCE_INTERNET; // with filters
	bad[n] = cidr(1, "2001:db8::/32", NULL, 0);
	bad[n++].prefix.len = 129;
	assert_int_equal(n, COUNT_OF(bad));
	for (size_t i = 0; i < n; i++) {
		const struct acl_resource list[] = {good, bad[i]};

		errno = 0;
		assert_null(acl_set_get(*state, list, 2, ordinals));
		assert_int_equal(errno, EINVAL);
		assert_int_equal(acl_registry_size(*state), 0);
	}
	assert_int_equal(ordinals[0], 77);
	assert_int_equal(ordinals[1], 78);
}

// n resources with the same f filters that cannot be merged
static struct acl_resource *many(size_t n, size_t n_filters, struct acl_filter **filters)
{
	struct acl_resource *list = calloc(n, sizeof(*list));

	*filters = calloc(n_filters + 1, sizeof(**filters));
	assert_true(list != NULL && *filters != NULL);
	for (size_t i = 0; i < n_filters; i++)
		(*filters)[i] =
			(struct acl_filter){ACL_PROTOCOL_TCP, (uint16_t)(i * 2), (uint16_t)(i * 2)};
	for (size_t i = 0; i < n; i++) {
		const uint8_t addr[4] = {10, (uint8_t)(i >> 8), (uint8_t)i, 0};

		list[i].id[0] = (uint8_t)i;
		list[i].prefix.addr = ip_addr_v4(addr);
		list[i].prefix.len = 24;
		list[i].filters = *filters;
		list[i].n_filters = n_filters;
	}
	return list;
}

static void limits(void **state)
{
	static const struct {
		size_t n, n_filters;
		int err;
	} table[] = {
		{ACL_RESOURCES_MAX + 1, 0, E2BIG},
		{1, ACL_FILTERS_MAX + 1, E2BIG},
		{ACL_RULES_MAX / ACL_FILTERS_MAX + 1, ACL_FILTERS_MAX, E2BIG},
		{ACL_RESOURCES_MAX, 0, 0},
		{1, ACL_FILTERS_MAX, 0},
	};

	for (size_t i = 0; i < COUNT_OF(table); i++) {
		struct acl_filter *filters;
		struct acl_resource *list = many(table[i].n, table[i].n_filters, &filters);
		const struct acl_set *set;

		errno = 0;
		set = acl_set_get(*state, list, table[i].n, NULL);
		assert_int_equal(set == NULL, table[i].err != 0);
		assert_int_equal(errno, table[i].err);
		assert_int_equal(acl_registry_size(*state), table[i].err == 0);
		acl_set_put(*state, set);
		free(list);
		free(filters);
	}
}

// malloc's memory: the n-th calloc() from now on fails once.
static unsigned calloc_countdown;

void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);

void *__wrap_calloc(size_t n, size_t size)
{
	if (calloc_countdown > 0 && --calloc_countdown == 0)
		return NULL;
	return __real_calloc(n, size);
}

// Each allocation fails once; a failure must leave nothing behind.
static void out_of_memory(void **state)
{
	struct acl_filter *filters;
	struct acl_resource *list = many(64, 8, &filters);
	const struct acl_set *set = NULL;
	unsigned n_failed = 0;

	while (set == NULL) {
		calloc_countdown = n_failed + 1;
		errno = 0;
		set = acl_set_get(*state, list, 64, NULL);
		if (set == NULL) {
			assert_int_equal(errno, ENOMEM);
			assert_int_equal(acl_registry_size(*state), 0);
			n_failed++;
		}
	}
	calloc_countdown = 0;
	assert_true(n_failed > 10);
	assert_int_equal(acl_registry_size(*state), 1);
	acl_set_put(*state, set);
	free(list);
	free(filters);
}

// The set itself is in DPDK's memory: takes all of that, and gives it back little by little.
static void out_of_dpdk_memory(void **state)
{
	void *blocks[1024] = {NULL};
	struct acl_filter *filters;
	struct acl_resource *list = many(64, 8, &filters);
	const struct acl_set *set = NULL;
	size_t n = 0, n_failed = 0;

	for (size_t size = 64 << 20; size >= 1024; size /= 2) {
		while (n < COUNT_OF(blocks) && (blocks[n] = rte_malloc(NULL, size, 0)) != NULL)
			n++;
	}
	assert_true(n > 0 && n < COUNT_OF(blocks));
	while (set == NULL && n > 0) {
		errno = 0;
		set = acl_set_get(*state, list, 64, NULL);
		if (set == NULL) {
			assert_int_equal(errno, ENOMEM);
			assert_int_equal(acl_registry_size(*state), 0);
			n_failed++;
			rte_free(blocks[--n]);
		}
	}
	assert_non_null(set);
	assert_true(n_failed > 0);
	assert_int_equal(acl_registry_size(*state), 1);
	while (n > 0)
		rte_free(blocks[--n]);
	acl_set_put(*state, set);
	free(list);
	free(filters);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(same_content_is_one_set, setup, teardown),
		cmocka_unit_test_setup_teardown(filters_are_merged, setup, teardown),
		cmocka_unit_test_setup_teardown(different_content_is_another_set, setup, teardown),
		cmocka_unit_test_setup_teardown(internet_prefix_is_ignored, setup, teardown),
		cmocka_unit_test_setup_teardown(registries_are_apart, setup, teardown),
		cmocka_unit_test_setup_teardown(bad_resources, setup, teardown),
		cmocka_unit_test_setup_teardown(limits, setup, teardown),
		cmocka_unit_test_setup_teardown(out_of_memory, setup, teardown),
		cmocka_unit_test_setup_teardown(out_of_dpdk_memory, setup, teardown),
	};

	return cmocka_run_group_tests(tests, unit_eal_init, unit_eal_fini);
}
