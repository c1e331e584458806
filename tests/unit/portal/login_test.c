// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "control/portal/login.h"
#include "tests/unit/unit.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

// Computed with sha256sum and openssl dgst -hmac.
#define HASH_HYPHENATED "5fc072fae3224a3030df46a391a8f2b2af2db9fb162762dd61ac678d2f75f492"
#define HASH_DIGITS "7ce362189ec83b331e9d83651f8f739071bf2d7a6919de45d67f6bac880f063b"
#define HASH_BRACED "ea0076258a88268286a50b374f424efca468cf2f146f9c17e3045c62e888a992"
#define MACHINE_MAC "eeefe5d1cb3807dfc3ae24794878ec3147027390d839d1d718d8e42bcfde3336"

static const uint8_t public_key[PORTAL_KEY_SIZE] = {
	0x7e, 0x20, 0x23, 0x48, 0x15, 0x83, 0x81, 0x07, 0xc3, 0xd4, 0x21,
	0x49, 0x91, 0x3c, 0x0e, 0x7f, 0x8c, 0xe0, 0xfb, 0x54, 0x21, 0x1f,
	0x47, 0x93, 0x4f, 0xea, 0x0b, 0x69, 0x52, 0x0c, 0xa4, 0x7f,
};
#define KEY_QUERY "&public_key=fiAjSBWDgQfD1CFJkTwOf4zg%2B1QhH0eTT%2BoLaVIMpH8%3D"

static struct login_params params_of(enum login_role role, const char *url)
{
	return (struct login_params){
		.role = role,
		.api_url = url,
		.external_id = "id",
		.name = "n",
		.token = ".tok+en/=",
		.public_key = public_key,
	};
}

static void urls(void **)
{
	static const struct {
		const char *url;
		const char *host; // NULL: refused
		uint16_t port;
		bool is_tls;
		const char *path;
	} cases[] = {
		{"wss://api.example.com", "api.example.com", 443, true, ""},
		{"wss://api.example.com/", "api.example.com", 443, true, ""},
		{"https://api.example.com:8443/base/", "api.example.com", 8443, true, "/base"},
		{"WSS://api.example.com/a/b?x=1#y", "api.example.com", 443, true, "/a/b"},
		{"ws://10.0.0.1:8081", "10.0.0.1", 8081, false, ""},
		{"http://portal:8081/", "portal", 8081, false, ""},
		{"ws://h:80", "h", 80, false, ""},
		{"ws://[2001:db8::1]:8081", "2001:db8::1", 8081, false, ""},
		{"wss://10.0.0.1?token=x", "10.0.0.1", 443, true, ""},
		{"ws://10.0.0.1", NULL, 0, false, NULL},
		{"ws://[2001:db8::1]", NULL, 0, false, NULL},
		{"ws://[2001:db8::1:8081", NULL, 0, false, NULL},
		{"ws://[10.0.0.1]:8081", NULL, 0, false, NULL},
		{"ws://[]:8081", NULL, 0, false, NULL},
		{"ws://2001:db8::1:8081", NULL, 0, false, NULL},
		{"ftp://h:1", NULL, 0, false, NULL},
		{"h:8081", NULL, 0, false, NULL},
		{"", NULL, 0, false, NULL},
		{"ws://", NULL, 0, false, NULL},
		{"ws://:1", NULL, 0, false, NULL},
		{"ws://h:", NULL, 0, false, NULL},
		{"ws://h:0", NULL, 0, false, NULL},
		{"ws://h:65536", NULL, 0, false, NULL},
		{"ws://h:184467440737095516170", NULL, 0, false, NULL},
		{"ws://h:1x", NULL, 0, false, NULL},
		{"ws://user@h:1", NULL, 0, false, NULL},
		{"ws://h h:1", NULL, 0, false, NULL},
		{"ws://h:1/a b", NULL, 0, false, NULL},
		{"ws://h:1/a\r\nX: y", NULL, 0, false, NULL},
	};

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct login_params params = params_of(LOGIN_ROLE_GATEWAY, cases[i].url);
		struct portal_error err = {0};
		struct login_target t;
		char expected[256];
		int rc = login_target_init(&t, &params, PORTAL_DIALECT_V2, &err);

		if (cases[i].host == NULL) {
			assert_int_equal(rc, -EINVAL);
			assert_int_equal(strncmp(err.text, "api url: ", 9), 0);
			continue;
		}
		assert_int_equal(rc, 0);
		assert_string_equal(t.host, cases[i].host);
		assert_int_equal(t.port, cases[i].port);
		assert_int_equal(t.is_tls, cases[i].is_tls);
		snprintf(
			expected,
			sizeof(expected),
			"%s/gateway/v2/websocket?external_id=id&name=n%s",
			cases[i].path,
			KEY_QUERY);
		assert_string_equal(t.request, expected);
		assert_int_equal(t.request_size, strlen(expected) + 1);
		login_target_fini(&t);
	}
}

static void dialects(void **)
{
	static const struct {
		enum login_role role;
		enum portal_dialect dialect;
		const char *request;
	} cases[] = {
		{LOGIN_ROLE_GATEWAY,
		 PORTAL_DIALECT_V1,
		 "/gateway/websocket?token=.tok%2Ben%2F%3D&external_id=a%26b%3D%C3%A4&name=gw+1%2B"
		 "*-._%7E"},
		{LOGIN_ROLE_CLIENT,
		 PORTAL_DIALECT_V1,
		 "/client/websocket?token=.tok%2Ben%2F%3D&external_id=a%26b%3D%C3%A4&name=gw+1%2B"
		 "*-._%7E"},
		{LOGIN_ROLE_CLIENT,
		 PORTAL_DIALECT_V2,
		 "/client/v2/websocket?external_id=a%26b%3D%C3%A4&name=gw+1%2B*-._%7E"},
	};

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct login_params params = params_of(cases[i].role, "ws://h:1");
		struct portal_error err;
		struct login_target t;
		char expected[256];

		params.external_id = "a&b=\xc3\xa4";
		params.name = "gw 1+*-._~";
		assert_int_equal(login_target_init(&t, &params, cases[i].dialect, &err), 0);
		snprintf(expected, sizeof(expected), "%s%s", cases[i].request, KEY_QUERY);
		assert_string_equal(t.request, expected);
		login_target_fini(&t);
	}
}

static void relay_urls(void **)
{
	static const struct {
		const char *ipv4;
		const char *ipv6;
		uint16_t port;
		const char *request; // NULL: refused
	} cases[] = {
		{"203.0.113.101",
		 "203:0:113::101",
		 3478,
		 "/base/relay/websocket?name=r+1&ipv4=203.0.113.101&ipv6=203%3A0%3A113%3A%3A101"
		 "&port=3478"},
		{"203.0.113.101",
		 NULL,
		 65535,
		 "/base/relay/websocket?name=r+1&ipv4=203.0.113.101&port=65535"},
		{NULL, "::1", 1, "/base/relay/websocket?name=r+1&ipv6=%3A%3A1&port=1"},
		{NULL, NULL, 1, NULL},
		{"203.0.113.101", NULL, 0, NULL},
	};

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		const struct login_params params = {
			.role = LOGIN_ROLE_RELAY,
			.api_url = "ws://h:1/base",
			.name = "r 1",
			.token = "t",
			.ipv4 = cases[i].ipv4,
			.ipv6 = cases[i].ipv6,
			.port = cases[i].port,
		};

		// Both dialects are the same to a relay.
		for (int d = PORTAL_DIALECT_V2; d <= PORTAL_DIALECT_V1; d++) {
			struct portal_error err;
			struct login_target t;
			int rc = login_target_init(&t, &params, (enum portal_dialect)d, &err);

			assert_int_equal(rc, cases[i].request != NULL ? 0 : -EINVAL);
			if (rc != 0)
				continue;
			assert_string_equal(t.request, cases[i].request);
			login_target_fini(&t);
		}
	}
}

static void bad_params(void **)
{
	char long_text[300];
	struct portal_error err;
	struct login_target t;
	struct login_params params = params_of(LOGIN_ROLE_GATEWAY, "ws://h:1");

	memset(long_text, 'a', sizeof(long_text) - 1);
	long_text[sizeof(long_text) - 1] = '\0';
	params.external_id = "";
	assert_int_equal(login_target_init(&t, &params, PORTAL_DIALECT_V2, &err), -EINVAL);
	params.external_id = long_text;
	assert_int_equal(login_target_init(&t, &params, PORTAL_DIALECT_V2, &err), -EINVAL);
	params.external_id = "id";
	params.name = long_text;
	assert_int_equal(login_target_init(&t, &params, PORTAL_DIALECT_V2, &err), -EINVAL);
	params.name = "";
	assert_int_equal(login_target_init(&t, &params, PORTAL_DIALECT_V2, &err), -EINVAL);
	params.name = "n";
	params.token = " \n";
	assert_int_equal(login_target_init(&t, &params, PORTAL_DIALECT_V2, &err), -EINVAL);
	assert_string_equal(err.text, "token: empty, too long or with odd characters");
}

static void tokens(void **)
{
	char out[LOGIN_TOKEN_SIZE];
	char huge[LOGIN_TOKEN_SIZE + 1];

	assert_int_equal(login_token_clean(out, " .SFM\tyNTY\r\n.a b\n"), 0);
	assert_string_equal(out, ".SFMyNTY.ab");
	assert_int_equal(login_token_clean(out, ""), -EINVAL);
	assert_int_equal(login_token_clean(out, "a\x01"), -EINVAL);
	assert_int_equal(login_token_clean(out, "\xc3\xa4"), -EINVAL);
	memset(huge, 'a', sizeof(huge));
	huge[sizeof(huge) - 1] = '\0';
	assert_int_equal(login_token_clean(out, huge), -E2BIG);
	huge[sizeof(huge) - 2] = '\0';
	assert_int_equal(login_token_clean(out, huge), 0);
}

static void external_ids(void **)
{
	static const struct {
		const char *id;
		const char *expected;
	} cases[] = {
		{"gw-1", "gw-1"},
		{"3abd725a-733b-4801-ac16-72f26cd98a24", HASH_HYPHENATED},
		{"3abd725a733b4801ac1672f26cd98a24", HASH_DIGITS},
		{"{3ABD725A-733B-4801-AC16-72F26CD98A24}", HASH_BRACED},
		{"3abd725a733b4801ac1672f26cd98a2", "3abd725a733b4801ac1672f26cd98a2"},
		{"3abd725a-733b-4801-ac16-72f26cd98a2g", "3abd725a-733b-4801-ac16-72f26cd98a2g"},
	};
	static const char stored[] = "{\"id\":\"gw-7\"}";
	static const char machine_id[] = "0123456789abcdef0123456789abcdef\n";
	char out[LOGIN_ID_SIZE];

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		assert_int_equal(login_external_id_configured(out, cases[i].id), 0);
		assert_string_equal(out, cases[i].expected);
	}
	assert_int_equal(login_external_id_configured(out, ""), -EINVAL);
	login_external_id_machine(out, machine_id, strlen(machine_id));
	assert_string_equal(out, MACHINE_MAC);
	assert_int_equal(login_external_id_stored(out, stored, strlen(stored)), 0);
	assert_string_equal(out, "gw-7");
	assert_int_equal(login_external_id_stored(out, "{\"id\":7}", 8), -EINVAL);
	assert_int_equal(login_external_id_stored(out, "gw-7", 4), -EINVAL);
}

static void external_id_order(void **)
{
	char dir[] = "/tmp/portal_login_test.XXXXXX";
	char state[128];
	char machine[128];
	char first[LOGIN_ID_SIZE];
	char out[LOGIN_ID_SIZE];
	struct stat st;
	FILE *f;

	assert_non_null(mkdtemp(dir));
	snprintf(state, sizeof(state), "%s/sub/gateway_id", dir);
	snprintf(machine, sizeof(machine), "%s/machine-id", dir);
	// Nothing there: a new one that stays.
	umask(0);
	assert_int_equal(login_external_id_resolve(first, "", state, machine), 0);
	assert_int_equal(strlen(first), 64);
	assert_int_equal(stat(state, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0640);
	assert_int_equal(login_external_id_resolve(out, NULL, state, machine), 0);
	assert_string_equal(out, first);
	assert_int_equal(login_external_id_resolve(out, "mine", state, machine), 0);
	assert_string_equal(out, "mine");
	unlink(state);
	f = fopen(machine, "w");
	fputs("0123456789abcdef0123456789abcdef\n", f);
	fclose(f);
	assert_int_equal(login_external_id_resolve(out, "", state, machine), 0);
	assert_string_equal(out, MACHINE_MAC);
	// That one is never written down.
	assert_int_not_equal(access(state, F_OK), 0);
	unlink(machine);
	snprintf(state, sizeof(state), "%s/sub", dir);
	rmdir(state);
	rmdir(dir);
}

static void user_agents(void **)
{
	static const struct {
		enum login_role role;
		struct login_system system;
		const char *expected;
	} cases[] = {
		{LOGIN_ROLE_GATEWAY,
		 {"Ubuntu", "22.04.0", "x86_64", "6.8.0-45-generic"},
		 "Ubuntu/22.04.0 gateway/1.6.0 (x86_64; 6.8.0-45-generic)"},
		{LOGIN_ROLE_RELAY, {"Debian", "12.0.0", "", ""}, "Debian/12.0.0 relay/0.1.0"},
		{LOGIN_ROLE_CLIENT,
		 {"Debian", "12.0.0", "x86_64", "6.1.0"},
		 "Debian/12.0.0 headless-client/1.5.12 (x86_64; 6.1.0)"},
		{LOGIN_ROLE_GATEWAY, {"Debian", "", "x86_64", ""}, "Debian gateway/1.6.0 (x86_64)"},
		{LOGIN_ROLE_GATEWAY, {"", "", "", "6.1"}, "Linux gateway/1.6.0 (6.1)"},
		{LOGIN_ROLE_GATEWAY, {"", "", "", ""}, "Linux gateway/1.6.0"},
		{LOGIN_ROLE_GATEWAY, {"D\xc3\xa4\r\n", "1", "", ""}, "D/1 gateway/1.6.0"},
	};
	char out[LOGIN_USER_AGENT_SIZE];

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		login_user_agent(out, cases[i].role, &cases[i].system);
		assert_string_equal(out, cases[i].expected);
	}
}

static void os_release(void **)
{
	static const struct {
		const char *text;
		const char *name;
		const char *version;
	} cases[] = {
		{"NAME=\"Debian GNU/Linux\"\nVERSION_ID=\"12\"\nID=debian\n", "Debian", "12.0.0"},
		{"ID=ubuntu\nVERSION_ID=\"22.04\"", "Ubuntu", "22.04.0"},
		{"ID='alpine'\nVERSION_ID=3.19.1\n", "Alpine", "3.19.1"},
		{"ID_LIKE=debian\n", "", ""},
		{"ID=\nVERSION_ID=\"\"\n", "", ""},
		{"", "", ""},
	};

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct login_system system = {0};

		login_system_parse_os_release(&system, cases[i].text);
		assert_string_equal(system.os_name, cases[i].name);
		assert_string_equal(system.os_version, cases[i].version);
	}
}

static void uuids(void **)
{
	static const struct {
		const char *text;
		bool is_good; // for uuid_parse
		bool is_any;
	} cases[] = {
		{"3abd725a-733b-4801-ac16-72f26cd98a24", true, true},
		{"3ABD725A-733B-4801-AC16-72F26CD98A24", true, true},
		{"3abd725a733b4801ac1672f26cd98a24", false, true},
		{"{3abd725a-733b-4801-ac16-72f26cd98a24}", false, true},
		{"urn:uuid:3abd725a-733b-4801-ac16-72f26cd98a24", false, true},
		{"{3abd725a733b4801ac1672f26cd98a24}", false, false},
		{"3abd725a-733b-4801-ac16-72f26cd98a2", false, false},
		{"3abd725a-733b-4801-ac16-72f26cd98a244", false, false},
		{"3abd725a-733b-4801-ac16x72f26cd98a24", false, false},
		{"3abd725a-733b-4801-ac16-72f26cd98a2g", false, false},
		{"", false, false},
		{"{}", false, false},
	};
	const uint8_t ones[16] = {
		255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255};
	char buf[UUID_TEXT_SIZE];
	struct uuid u;

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		assert_int_equal(uuid_parse(&u, cases[i].text), cases[i].is_good ? 0 : -EINVAL);
		assert_int_equal(uuid_is_any_form(cases[i].text), cases[i].is_any);
		if (cases[i].is_good)
			assert_string_equal(
				uuid_format(&u, buf), "3abd725a-733b-4801-ac16-72f26cd98a24");
	}
	u = uuid_v4(ones);
	assert_string_equal(uuid_format(&u, buf), "ffffffff-ffff-4fff-bfff-ffffffffffff");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(urls),
		cmocka_unit_test(dialects),
		cmocka_unit_test(relay_urls),
		cmocka_unit_test(bad_params),
		cmocka_unit_test(tokens),
		cmocka_unit_test(external_ids),
		cmocka_unit_test(external_id_order),
		cmocka_unit_test(user_agents),
		cmocka_unit_test(os_release),
		cmocka_unit_test(uuids),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
