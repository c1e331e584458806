// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "control/base/addr.h"
#include "tests/unit/unit.h"

struct parse_case {
	const char *text;
	const char *canonical; // NULL: refused
};

static void prefix_parse(void **)
{
	static const struct parse_case cases[] = {
		{"10.0.0.0/8", "10.0.0.0/8"},
		{"10.0.0.1/32", "10.0.0.1/32"},
		{"10.0.0.1", "10.0.0.1/32"},
		{"0.0.0.0/0", "0.0.0.0/0"},
		{"2001:db8::/32", "2001:db8::/32"},
		{"2001:DB8::1", "2001:db8::1/128"},
		{"10.0.0.1/8", NULL},
		{"10.0.0.0/33", NULL},
		{"10.0.0.0/", NULL},
		{"10.0.0.0/-1", NULL},
		{"10.0.0.0/ 8", NULL},
		{"10.0.0/8", NULL},
		{"2001:db8::/129", NULL},
		{"2001:db8::1/64", NULL},
		{"", NULL},
		{"/8", NULL},
	};

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct ip_prefix p;
		char buf[IP_TEXT_SIZE];

		if (cases[i].canonical == NULL) {
			assert_int_not_equal(ip_prefix_parse(&p, cases[i].text), 0);
			continue;
		}
		assert_int_equal(ip_prefix_parse(&p, cases[i].text), 0);
		assert_string_equal(ip_prefix_format(&p, buf), cases[i].canonical);
	}
}

static void endpoint_parse(void **)
{
	static const struct parse_case cases[] = {
		{"192.0.2.1:3478", "192.0.2.1:3478"},
		{"[2001:db8::1]:65535", "[2001:db8::1]:65535"},
		{"192.0.2.1:65536", NULL},
		{"192.0.2.1:", NULL},
		{"192.0.2.1", NULL},
		{"2001:db8::1:80", NULL},
		{"[192.0.2.1]:80", NULL},
		{"[2001:db8::1:80", NULL},
		{"[]:80", NULL},
		{":", NULL},
	};

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct ip_endpoint e;
		char buf[IP_TEXT_SIZE];

		if (cases[i].canonical == NULL) {
			assert_int_not_equal(ip_endpoint_parse(&e, cases[i].text), 0);
			continue;
		}
		assert_int_equal(ip_endpoint_parse(&e, cases[i].text), 0);
		assert_string_equal(ip_endpoint_format(&e, buf), cases[i].canonical);
	}
}

static void prefix_contains(void **)
{
	static const struct {
		const char *prefix, *addr;
		bool expected;
	} cases[] = {
		{"10.0.0.0/8", "10.255.255.255", true},
		{"10.0.0.0/8", "11.0.0.0", false},
		{"10.0.0.0/9", "10.128.0.0", false},
		{"0.0.0.0/0", "255.255.255.255", true},
		{"0.0.0.0/0", "::", false},
		{"2001:db8::/33", "2001:db8:7fff::1", true},
		{"2001:db8::/33", "2001:db8:8000::1", false},
	};

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct ip_prefix p;
		struct ip_addr a;

		assert_int_equal(ip_prefix_parse(&p, cases[i].prefix), 0);
		assert_int_equal(ip_addr_parse(&a, cases[i].addr), 0);
		assert_int_equal(ip_prefix_contains(&p, &a), cases[i].expected);
	}
}

static void link_local(void **)
{
	static const struct {
		const char *addr;
		bool expected;
	} cases[] = {
		{"169.253.255.255", false},
		{"169.254.0.0", true},
		{"169.254.255.255", true},
		{"169.255.0.0", false},
		{"fe7f:ffff::1", false},
		{"fe80::1", true},
		{"febf:ffff::1", true},
		{"fec0::1", false},
		{"a9fe::1", false},
	};

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct ip_addr a;

		assert_int_equal(ip_addr_parse(&a, cases[i].addr), 0);
		assert_int_equal(ip_addr_is_link_local(&a), cases[i].expected);
	}
	assert_false(ip_addr_is_link_local(&(struct ip_addr){0}));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(prefix_parse),
		cmocka_unit_test(endpoint_parse),
		cmocka_unit_test(prefix_contains),
		cmocka_unit_test(link_local),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
