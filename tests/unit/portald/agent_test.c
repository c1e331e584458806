// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "peers/portal/agent.h"
#include "tests/unit/unit.h"

#include <stdio.h>

static void test_parse(void **)
{
	static const struct {
		const char *text;
		enum agent_component component;
		const char *version;
		const char *os_name;
		const char *os_version;
	} cases[] = {
		{"Ubuntu/24.4.0 headless-client/1.5.12 (x86_64; 6.8.0-45-generic)",
		 AGENT_COMPONENT_HEADLESS,
		 "1.5.12",
		 "Ubuntu",
		 "24.4.0"},
		{"Red Hat Enterprise Linux/9.4.0 gateway/1.6.1-dev (x86_64)",
		 AGENT_COMPONENT_GATEWAY,
		 "1.6.1-dev",
		 "Red Hat Enterprise Linux",
		 "9.4.0"},
		{"gateway/1.6", AGENT_COMPONENT_GATEWAY, "", "gateway", "1.6"},
		{"x/1 gateway/1.6.1.2", AGENT_COMPONENT_GATEWAY, "", "x", "1"},
		{"x/1 gateway/dev", AGENT_COMPONENT_GATEWAY, "", "x", "1"},
		{"x/1 gateway/999999999999.1.1", AGENT_COMPONENT_GATEWAY, "", "x", "1"},
		{"x/1 mygateway/1.2.3", AGENT_COMPONENT_NONE, "", "x", "1"},
		{"x/1 relay/0.1.0 gateway/1.2.3", AGENT_COMPONENT_RELAY, "0.1.0", "x", "1"},
		{"curl", AGENT_COMPONENT_NONE, "", "", ""},
		{"", AGENT_COMPONENT_NONE, "", "", ""},
		{NULL, AGENT_COMPONENT_NONE, "", "", ""},
	};

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct agent a;

		agent_parse(&a, cases[i].text);
		assert_int_equal(a.component, cases[i].component);
		assert_string_equal(a.version_text, cases[i].version);
		assert_int_equal(a.version.is_valid, cases[i].version[0] != '\0');
		assert_string_equal(a.os_name, cases[i].os_name);
		assert_string_equal(a.os_version, cases[i].os_version);
	}
}

static void test_long(void **)
{
	char text[1024];
	struct agent a;

	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	text[300] = '/';
	agent_parse(&a, text);
	assert_int_equal(strlen(a.text), 255);
	assert_int_equal(a.component, AGENT_COMPONENT_NONE);
}

static void test_compatible(void **)
{
	static const struct {
		const char *client;
		const char *gateway;
		bool is_compatible;
	} cases[] = {
		{"1.5.12", "1.3.9", false},
		{"1.5.12", "1.4.0-dev", false},
		{"1.5.12", "1.4.0", true},
		{"1.5.0", "1.6.99", true},
		{"1.5.12", "1.7.0-dev", true},
		{"1.5.12", "1.7.0", false},
		{"1.5.12", "2.5.0", false},
		{"1.0.0", "1.0.0", true},
		{"1.0.0", "1.2.0", false},
		{"1.5.12", "dev", false},
		{"dev", "0.0.1", true},
		{"dev", "dev", false},
	};

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		char text[64];
		struct agent client;
		struct agent gateway;

		snprintf(text, sizeof(text), "x/1 headless-client/%s", cases[i].client);
		agent_parse(&client, text);
		snprintf(text, sizeof(text), "x/1 gateway/%s", cases[i].gateway);
		agent_parse(&gateway, text);
		assert_int_equal(agent_is_compatible(&client, &gateway), cases[i].is_compatible);
	}
}

static void test_sites(void **)
{
	static const struct {
		const char *text;
		bool reads_sites;
	} cases[] = {
		{"x/1 headless-client/1.5.5", false},
		{"x/1 headless-client/1.5.6-dev", false},
		{"x/1 headless-client/1.5.6", true},
		{"x/1 gui-client/1.5.9", false},
		{"x/1 gui-client/1.5.10", true},
		{"x/1 apple-client/1.5.11", true},
		{"x/1 android-client/1.5.7", false},
		{"x/1 android-client/1.6.0", true},
		{"x/1 connlib/1.6.0", false},
	};

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct agent a;

		agent_parse(&a, cases[i].text);
		assert_int_equal(agent_reads_sites(&a), cases[i].reads_sites);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_parse),
		cmocka_unit_test(test_long),
		cmocka_unit_test(test_compatible),
		cmocka_unit_test(test_sites),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
