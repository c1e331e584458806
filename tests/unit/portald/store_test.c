// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "control/base/addr.h"
#include "peers/portal/store.h"
#include "tests/unit/unit.h"

#include <sodium.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static uint32_t next_random;

// Every device starts looking for an address at the same place.
static void constant(void *out, size_t size)
{
	memset(out, 0, size);
	memcpy(out, &next_random, size < sizeof(next_random) ? size : sizeof(next_random));
}

static struct ident number(unsigned n)
{
	struct ident id;

	snprintf(id.text, sizeof(id.text), "00000000-0000-4000-8000-%012x", n);
	return id;
}

static const struct store_device *get(struct store *s, unsigned n)
{
	const struct ident id = number(n);

	return store_device_get(s, &id, "external");
}

static void test_allocation(void **)
{
	char *error = NULL;
	struct store *s = store_open(NULL, constant, &error);

	assert_non_null(s);
	next_random = 11;
	assert_string_equal(get(s, 1)->ipv4, "100.64.0.11");
	assert_string_equal(get(s, 1)->ipv6, "fd00:2021:1111::b");
	assert_string_equal(get(s, 2)->ipv4, "100.64.0.12");
	assert_string_equal(get(s, 2)->ipv6, "fd00:2021:1111::c");
	// The last address and the first are skipped when wrapping around.
	next_random = 0xffe00000 + (1 << 21) - 2;
	assert_string_equal(get(s, 3)->ipv4, "100.95.255.254");
	assert_string_equal(get(s, 3)->ipv6, "fd00:2021:1111::1f:fffe");
	assert_string_equal(get(s, 4)->ipv4, "100.64.0.1");
	assert_ptr_equal(get(s, 1), get(s, 1));
	store_close(s);
}

static void test_random_within_pool(void **)
{
	char *error = NULL;
	struct store *s = store_open(NULL, randombytes_buf, &error);
	struct ip_prefix v4;
	struct ip_prefix v6;

	assert_int_equal(ip_prefix_parse(&v4, "100.64.0.0/11"), 0);
	assert_int_equal(ip_prefix_parse(&v6, "fd00:2021:1111::/107"), 0);
	for (unsigned i = 0; i < 500; i++) {
		const struct store_device *d = get(s, i);
		struct ip_addr a;

		assert_int_equal(ip_addr_parse(&a, d->ipv4), 0);
		assert_true(ip_prefix_contains(&v4, &a));
		assert_int_equal(ip_addr_parse(&a, d->ipv6), 0);
		assert_true(ip_prefix_contains(&v6, &a));
	}
	store_close(s);
}

static void write_file(const char *path, const char *mode, const char *text)
{
	FILE *f = fopen(path, mode);

	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static void test_persistence(void **)
{
	char dir[] = "/tmp/store-test-XXXXXX";
	char path[64];
	char *error = NULL;
	struct store_device before;
	uint8_t secret[STORE_SECRET_SIZE];
	struct store *s;
	struct stat st;

	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/state", dir);
	s = store_open(path, randombytes_buf, &error);
	assert_non_null(s);
	before = *get(s, 1);
	memcpy(secret, store_secret(s), sizeof(secret));
	store_close(s);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);

	// A crash in the middle of a line.
	write_file(path, "a", "{\"id\":\"0000");
	s = store_open(path, randombytes_buf, &error);
	assert_non_null(s);
	assert_memory_equal(store_secret(s), secret, sizeof(secret));
	assert_string_equal(get(s, 1)->ipv4, before.ipv4);
	assert_string_equal(get(s, 1)->ipv6, before.ipv6);
	assert_memory_equal(get(s, 1)->psk_base, before.psk_base, sizeof(before.psk_base));
	assert_non_null(get(s, 2));
	store_close(s);

	s = store_open(path, randombytes_buf, &error);
	assert_non_null(s);
	assert_string_not_equal(get(s, 2)->ipv4, before.ipv4);
	store_close(s);
	unlink(path);
	rmdir(dir);
}

static struct grant grant(unsigned client, unsigned resource, int64_t expires_at)
{
	return (struct grant){
		.client_id = number(client),
		.resource_id = number(resource),
		.gateway_id = number(3),
		.owner_id = number(4),
		.rule_id = number(5),
		.id = number(6),
		.basis = "00112233445566778899aabbccddeeff",
		.expires_at = expires_at,
	};
}

static void collect(const struct grant *g, void *arg)
{
	char *text = arg;

	snprintf(
		text + strlen(text),
		256 - strlen(text),
		"%s %s %d;",
		g->client_id.text + 34,
		g->resource_id.text + 34,
		(int)g->expires_at);
	assert_string_equal(g->owner_id.text, number(4).text);
	assert_string_equal(g->rule_id.text, number(5).text);
	assert_string_equal(g->basis, "00112233445566778899aabbccddeeff");
}

static void expect_grants(const struct store *s, const char *expected)
{
	char text[256] = "";

	store_grant_walk(s, collect, text);
	assert_string_equal(text, expected);
}

static void test_grants(void **)
{
	char dir[] = "/tmp/store-test-XXXXXX";
	char path[64];
	char *error = NULL;
	struct store_device before;
	struct store *s;
	struct stat st;
	struct grant g;

	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/state", dir);
	s = store_open(path, randombytes_buf, &error);
	before = *get(s, 9);
	for (unsigned i = 1; i <= 3; i++) {
		g = grant(i, 8, 100 + i);
		store_grant_put(s, &g);
	}
	g = grant(2, 8, 200);
	store_grant_put(s, &g);
	g = grant(1, 8, 0);
	store_grant_del(s, &g);
	store_grant_del(s, &g);
	expect_grants(s, "02 08 200;03 08 103;");
	store_close(s);
	s = store_open(path, randombytes_buf, &error);
	assert_non_null(s);
	expect_grants(s, "02 08 200;03 08 103;");

	// What is no more does not fill the disk, and nothing else gets lost over it.
	for (unsigned i = 0; i < 5000; i++) {
		g = grant(2, 8, 1000 + i);
		store_grant_put(s, &g);
	}
	store_close(s);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_in_range(st.st_size, 1000, 1100 * 500);
	s = store_open(path, randombytes_buf, &error);
	assert_non_null(s);
	expect_grants(s, "02 08 5999;03 08 103;");
	assert_string_equal(get(s, 9)->ipv4, before.ipv4);
	assert_memory_equal(get(s, 9)->psk_base, before.psk_base, sizeof(before.psk_base));
	store_close(s);
	unlink(path);
	rmdir(dir);
}

#define KEY "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
#define LINE(id, v4, v6, key)                                                                      \
	"{\"id\":\"00000000-0000-4000-8000-00000000000" id                                         \
	"\",\"external_id\":\"e\",\"ipv4\":\"" v4 "\",\"ipv6\":\"" v6 "\",\"psk_base\":\"" key     \
	"\"}\n"

static void test_broken_file(void **)
{
	static const struct {
		const char *text;
		int line;
	} cases[] = {
		{"garbage\n", 1},
		{"{}\n", 1},
		{"{\"secret\":\"short\"}\n", 1},
		{LINE("1", "100.64.0.1", "fd00:2021:1111::1", KEY) "\n", 2},
		{LINE("1", "100.64.0.1", "fd00:2021:1111::1", KEY)
			 LINE("1", "100.64.0.2", "fd00:2021:1111::2", KEY),
		 2},
		{LINE("1", "100.64.0.1", "fd00:2021:1111::1", KEY)
			 LINE("2", "100.64.0.1", "fd00:2021:1111::2", KEY),
		 2},
		{LINE("1", "100.96.0.1", "fd00:2021:1111::1", KEY), 1},
		{LINE("1", "100.64.0.1", "fd00:2021:1112::1", KEY), 1},
		{LINE("1", "100.64.0.1", "fd00:2021:1111::1", "AAAA"), 1},
		{LINE("x", "100.64.0.1", "fd00:2021:1111::1", KEY), 1},
		{"{\"grant\":{}}\n", 1},
		{"{\"end\":{}}\n", 1},
	};
	char dir[] = "/tmp/store-test-XXXXXX";
	char path[64];

	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/state", dir);
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		char expected[128];
		char *error = NULL;

		write_file(path, "w", cases[i].text);
		assert_null(store_open(path, randombytes_buf, &error));
		snprintf(
			expected,
			sizeof(expected),
			"%s:%d: not a device of this portal",
			path,
			cases[i].line);
		assert_string_equal(error, expected);
		free(error);
	}
	unlink(path);
	rmdir(dir);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_allocation),
		cmocka_unit_test(test_random_within_pool),
		cmocka_unit_test(test_persistence),
		cmocka_unit_test(test_grants),
		cmocka_unit_test(test_broken_file),
	};

	return sodium_init() < 0 ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
