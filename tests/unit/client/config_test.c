// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "peers/client/config.h"
#include "tests/unit/unit.h"

#include <stdlib.h>

// "NAME=value" pairs up to NULL.
static char *fake_env(void *ctx, const char *name)
{
	size_t len = strlen(name);

	for (char **pair = ctx; *pair != NULL; pair++) {
		if (strncmp(*pair, name, len) == 0 && (*pair)[len] == '=')
			return *pair + len + 1;
	}
	return NULL;
}

#define N_WORDS 8

static int
parse(struct config *c,
      const char *const env[N_WORDS],
      const char *const args[N_WORDS],
      char *error)
{
	char *argv[N_WORDS + 1] = {(char *)(uintptr_t) "client"};
	char *pairs[N_WORDS + 1] = {0};
	int argc = 1;

	for (size_t i = 0; i < N_WORDS && env[i] != NULL; i++)
		pairs[i] = (char *)(uintptr_t)env[i];
	for (size_t i = 0; i < N_WORDS && args[i] != NULL; i++)
		argv[argc++] = (char *)(uintptr_t)args[i];
	return config_parse(c, argc, argv, fake_env, pairs, error);
}

#define DNS_OFF "FIREZONE_DNS_CONTROL=disabled"
#define FLAG "FZFF_ICMP_ERROR_UNREACHABLE_PROHIBITED_CREATE_NEW_FLOW"

static void refused(void **)
{
	static const struct {
		const char *env[N_WORDS];
		const char *args[N_WORDS];
		const char *mention;
	} cases[] = {
		{{NULL}, {NULL}, "FIREZONE_DNS_CONTROL"},
		{{"FIREZONE_DNS_CONTROL=systemd-resolved"}, {NULL}, "FIREZONE_DNS_CONTROL"},
		{{DNS_OFF, "FIREZONE_API_URL=ftp://x"}, {NULL}, "FIREZONE_API_URL"},
		{{DNS_OFF, "FIREZONE_API_URL=ws://"}, {NULL}, "FIREZONE_API_URL"},
		{{DNS_OFF, "FIREZONE_ACTIVATE_INTERNET_RESOURCE=yes"}, {NULL}, "INTERNET_RESOURCE"},
		{{DNS_OFF, "MAX_PARTITION_TIME=5"}, {NULL}, "MAX_PARTITION_TIME"},
		{{DNS_OFF, "MAX_PARTITION_TIME=-5m"}, {NULL}, "MAX_PARTITION_TIME"},
		{{DNS_OFF, "SALLYPORT_LOCAL_FILTER=0"}, {NULL}, "SALLYPORT_LOCAL_FILTER"},
		{{DNS_OFF}, {"--tun-name", "abcdefghijklmnop"}, "--tun-name"},
		{{DNS_OFF}, {"--tun-name", "a/b"}, "--tun-name"},
		{{DNS_OFF}, {"--tun-name", ""}, "--tun-name"},
		{{DNS_OFF}, {"--api-url"}, "--api-url"},
		{{DNS_OFF}, {"--unknown"}, "--unknown"},
		{{DNS_OFF}, {"positional"}, "positional"},
	};

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		char error[CONFIG_ERROR_SIZE] = "";
		struct config c;

		if (parse(&c, cases[i].env, cases[i].args, error) == 0)
			fail_msg("case %zu accepted", i);
		if (strstr(error, cases[i].mention) == NULL)
			fail_msg("case %zu says: %s", i, error);
	}
}

static void defaults(void **)
{
	static const char *const env[N_WORDS] = {DNS_OFF, "FIREZONE_NAME="};
	static const char *const args[N_WORDS] = {NULL};
	char error[CONFIG_ERROR_SIZE];
	struct config c;

	assert_int_equal(parse(&c, env, args, error), 0);
	assert_int_equal(c.action, CONFIG_RUN);
	assert_string_equal(c.api_url, "wss://api.firezone.dev/");
	assert_string_equal(c.token_path, "/etc/dev.firezone.client/token");
	assert_string_equal(c.tun_name, "tun-firezone");
	assert_null(c.token);
	assert_null(c.id);
	assert_null(c.name);
	assert_true(c.is_local_filter);
	assert_false(c.is_prohibited_request);
	assert_false(c.is_internet_active);
	assert_false(c.is_exit_when_up);
	assert_int_equal(c.max_partition_ms, 0);
	config_fini(&c);
}

static void values(void **)
{
	static const char *const env[N_WORDS] = {
		DNS_OFF,
		"FIREZONE_TOKEN=secret",
		"FIREZONE_API_URL=wss://variable.example",
		"FIREZONE_ACTIVATE_INTERNET_RESOURCE=true",
		"MAX_PARTITION_TIME=1h 30m",
		FLAG "=true",
		"SALLYPORT_LOCAL_FILTER=false",
	};
	static const char *const args[N_WORDS] = {
		"-u",
		"ws://flag.example:8081",
		"--firezone-id=lab",
		"--tun-name=tun9",
		"--exit",
		"--check",
	};
	char error[CONFIG_ERROR_SIZE];
	struct config c;

	assert_int_equal(parse(&c, env, args, error), 0);
	assert_int_equal(c.action, CONFIG_CHECK);
	assert_string_equal(c.api_url, "ws://flag.example:8081");
	assert_string_equal(c.token, "secret");
	assert_string_equal(c.id, "lab");
	assert_string_equal(c.tun_name, "tun9");
	assert_true(c.is_internet_active);
	assert_true(c.is_exit_when_up);
	assert_true(c.is_prohibited_request);
	assert_false(c.is_local_filter);
	assert_int_equal(c.max_partition_ms, 5400000);
	config_fini(&c);
}

// A feature flag is exactly true or false; anything else is the default.
static void feature_flag(void **)
{
	static const struct {
		const char *pair;
		bool expected;
	} cases[] = {
		{FLAG "=true", true},
		{FLAG "=false", false},
		{FLAG "=TRUE", false},
		{FLAG "=1", false},
		{FLAG "= true", false},
		{FLAG "=", false},
	};

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		const char *const env[N_WORDS] = {DNS_OFF, cases[i].pair};
		static const char *const args[N_WORDS] = {NULL};
		char error[CONFIG_ERROR_SIZE];
		struct config c;

		assert_int_equal(parse(&c, env, args, error), 0);
		assert_int_equal(c.is_prohibited_request, cases[i].expected);
		config_fini(&c);
	}
}

// Help must work without any setting.
static void help(void **)
{
	static const char *const env[N_WORDS] = {NULL};
	static const char *const args[N_WORDS] = {"--help"};
	char error[CONFIG_ERROR_SIZE];
	struct config c;

	assert_int_equal(parse(&c, env, args, error), 0);
	assert_int_equal(c.action, CONFIG_HELP);
	config_fini(&c);
}

static void durations(void **)
{
	static const struct {
		const char *text;
		int64_t expected; // -1: refused
	} cases[] = {
		{"90s", 90000},
		{"5m", 300000},
		{"1h30m", 5400000},
		{"1h 30m", 5400000},
		{"250ms", 250},
		{"2d", 172800000},
		{"0s", 0},
		{"", -1},
		{"5", -1},
		{"m", -1},
		{"5 m", -1},
		{"5min", -1},
		{"5m ", -1},
		{"-5m", -1},
		{"99999999999s", -1},
		{"4000000000d", -1},
	};

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		uint64_t ms = 0;
		int rc = config_duration_parse(&ms, cases[i].text);

		if ((rc == 0) != (cases[i].expected >= 0))
			fail_msg("\"%s\"", cases[i].text);
		if (rc == 0)
			assert_int_equal(ms, cases[i].expected);
	}
}

static void token_file(void **)
{
	static const struct {
		struct stat st;
		bool is_good;
	} cases[] = {
		{{.st_mode = S_IFREG | 0600}, true},
		{{.st_mode = S_IFREG | 0400}, true},
		{{.st_mode = S_IFREG | 0640}, false},
		{{.st_mode = S_IFREG | 0604}, false},
		{{.st_mode = S_IFREG | 0700}, false},
		{{.st_mode = S_IFDIR | 0600}, false},
		{{.st_mode = S_IFREG | 0600, .st_uid = 1000}, false},
		{{.st_mode = S_IFREG | 0600, .st_gid = 1000}, false},
	};

	for (size_t i = 0; i < COUNT_OF(cases); i++)
		assert_int_equal(config_token_file_problem(&cases[i].st) == NULL, cases[i].is_good);
}

static void token_forgotten(void **)
{
	static char pair[] = "FIREZONE_TOKEN=secret";

	assert_int_equal(putenv(pair), 0);
	config_token_forget();
	assert_null(getenv("FIREZONE_TOKEN"));
	assert_null(strstr(pair, "secret"));
	config_token_forget();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(refused),
		cmocka_unit_test(defaults),
		cmocka_unit_test(values),
		cmocka_unit_test(feature_flag),
		cmocka_unit_test(help),
		cmocka_unit_test(durations),
		cmocka_unit_test(token_file),
		cmocka_unit_test(token_forgotten),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
