// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "peers/relay/credentials.h"
#include "tests/unit/unit.h"

#include <sodium.h>

#include <errno.h>

// The portal protocol's published vectors.
#define SECRET "4c98bf59c99b3e467ecd7cf9d6b3e5279645fca59be67bc5bb4af3cf653761ab"
#define PUBLIC_KEY "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
#define USERNAME "2145916800:kF8o3vGOqsBa5vErLDRSdEr69ibaE0PVezlbVE4FGbY"
#define PASSWORD "w5eemSt/cvynH6o07o696HL4LJbA7RZff2Ac32MQj0I"

static void relay_id(void **)
{
	char id[CREDENTIALS_UUID_SIZE];

	credentials_relay_id(id, SECRET);
	assert_string_equal(id, "aa93cc3a-23e1-4e3b-93b9-0b7bb3c0a369");
}

static void make(void **)
{
	struct credentials c;

	credentials_make(&c, SECRET, PUBLIC_KEY, 2145916800);
	assert_string_equal(c.username, USERNAME);
	assert_string_equal(c.password, PASSWORD);
}

static void of_username(void **)
{
	static const struct {
		const char *username;
		int64_t expires_at; // -1: refused
	} cases[] = {
		{USERNAME, 2145916800},
		{"0:x", 0},
		{"999999999999999:x", 999999999999999},
		{"1:", 1},
		{"1:a:b", 1},
		{"9999999999999999:x", -1},
		{"", -1},
		{":", -1},
		{":x", -1},
		{"1", -1},
		{"-1:x", -1},
		{" 1:x", -1},
		{"1 :x", -1},
		{"1x:x", -1},
	};
	char password[CREDENTIALS_PASSWORD_SIZE];
	int64_t expires_at;

	assert_int_equal(credentials_of_username(password, &expires_at, SECRET, USERNAME), 0);
	assert_string_equal(password, PASSWORD);
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		const int rc =
			credentials_of_username(password, &expires_at, SECRET, cases[i].username);

		assert_int_equal(rc, cases[i].expires_at < 0 ? -EINVAL : 0);
		if (rc == 0)
			assert_int_equal(expires_at, cases[i].expires_at);
	}
}

// Another implementation's published vector, of which only the password is given.
static void upstream(void **)
{
	char password[CREDENTIALS_PASSWORD_SIZE];
	int64_t expires_at;

	assert_int_equal(
		credentials_of_username(
			password, &expires_at, SECRET, "1892160000:n23JJ2wKKtt30oXi"),
		0);
	assert_string_equal(password, "00hqldgk5xLeKKOB+xls9mHMVtgqzie9DulfgQwMv68");
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(relay_id),
		cmocka_unit_test(make),
		cmocka_unit_test(of_username),
		cmocka_unit_test(upstream),
	};

	return sodium_init() < 0 ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
