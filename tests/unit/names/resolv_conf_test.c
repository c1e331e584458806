// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "control/names/resolv_conf.h"
#include "tests/unit/unit.h"

static void table(void **)
{
	static const struct {
		const char *text;
		const char *expected; // addresses, each with a space behind it
	} cases[] = {
		{"", ""},
		{"nameserver 192.0.2.1", "192.0.2.1 "},
		{"nameserver 192.0.2.1\nnameserver\t2001:db8::1\n", "192.0.2.1 2001:db8::1 "},
		{"search x\nnameserver   192.0.2.1   \r\noptions trust-ad\n", "192.0.2.1 "},
		{"nameserver 192.0.2.1 # first\nnameserver 192.0.2.2;x\n", "192.0.2.1 192.0.2.2 "},
		{"# nameserver 192.0.2.1\n;nameserver 192.0.2.2\n nameserver 192.0.2.3\n", ""},
		{"nameserver\nnameserver \nnameservers 192.0.2.1\nnameserver192.0.2.1\n", ""},
		{"nameserver fe80::1%eth0\nnameserver x\nnameserver 192.0.2.256\n", ""},
		{"nameserver 192.0.2.1\nnameserver 192.0.2.1\n", "192.0.2.1 "},
		{"nameserver 192.0.2.1                                                          "
		 "x\n",
		 "192.0.2.1 "},
		{"nameserver                                                          192.0.2.1\n",
		 ""},
		{"nameserver 127.0.0.53\n\n\n\nnameserver ::1", "127.0.0.53 ::1 "},
		{"nameserver 10.0.0.1\nnameserver 10.0.0.2\nnameserver 10.0.0.3\nnameserver "
		 "10.0.0.4\nnameserver 10.0.0.5\nnameserver 10.0.0.6\nnameserver "
		 "10.0.0.7\nnameserver 10.0.0.8\nnameserver 10.0.0.9\n",
		 "10.0.0.1 10.0.0.2 10.0.0.3 10.0.0.4 10.0.0.5 10.0.0.6 10.0.0.7 10.0.0.8 "},
	};

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct ip_addr out[RESOLV_CONF_NAMESERVERS_MAX];
		size_t n = resolv_conf_parse(out, cases[i].text, strlen(cases[i].text));
		char got[1024] = "", text[IP_TEXT_SIZE];

		for (size_t j = 0; j < n; j++) {
			strcat(got, ip_addr_format(&out[j], text));
			strcat(got, " ");
		}
		if (strcmp(got, cases[i].expected) != 0)
			fail_msg("case %zu: \"%s\"", i, got);
	}
}

static void nul_bytes_end_nothing(void **)
{
	static const char text[] = "nameserver 192.0.2.1\0\nnameserver 192.0.2.2\n";
	struct ip_addr out[RESOLV_CONF_NAMESERVERS_MAX];

	assert_int_equal(resolv_conf_parse(out, text, sizeof(text) - 1), 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(table),
		cmocka_unit_test(nul_bytes_end_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
