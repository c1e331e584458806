// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "control/base/alloc.h"
#include "peers/portal/formula.h"
#include "tests/unit/unit.h"

#include <sodium.h>

#include <errno.h>
#include <stdlib.h>

// The portal protocol's published vector: keys 00..1f and 20..3f, bases of 11 and 22.
static const char client_key[] = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
static const char gateway_key[] = "ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8=";
static const uint8_t client_base[32] = {[0 ... 31] = 0x11};
static const uint8_t gateway_base[32] = {[0 ... 31] = 0x22};
static const struct formula_peer client = {
	"7b7c1480-bf18-4112-b09a-ad2c2f6b2a70",
	client_key,
	client_base,
};
static const struct formula_peer gateway = {
	"3c492c15-8d41-49a4-afc7-9d8cfe6e066f",
	gateway_key,
	gateway_base,
};

static void count_up(void *out, size_t size)
{
	memset(out, 0x5a, size);
}

static void test_psk(void **)
{
	char psk[FORMULA_KEY_TEXT_SIZE];

	formula_psk(&client, &gateway, psk);
	assert_string_equal(psk, "3Gc7HrusF04fGLP8KnMQMPCmbfuLueIll1oghrX2DXA=");
}

static void test_ice(void **)
{
	struct formula_ice ice;

	formula_ice(&client, &gateway, &ice);
	assert_string_equal(ice.client_user, "euez");
	assert_string_equal(ice.client_password, "anfok4ngd2b4r4rfkhnj6t");
	assert_string_equal(ice.gateway_user, "ptrp");
	assert_string_equal(ice.gateway_password, "febda525ybyjxlmz7kz3eq");
}

// Made with Python's hmac and base64 modules.
static void test_jwt(void **)
{
	uint8_t secret[FORMULA_SECRET_SIZE];
	json_t *claims = json_pack("{s:i, s:b}", "iat", 1, "uploads_enabled", 0);
	char *token;

	memset(secret, 'k', sizeof(secret));
	token = formula_jwt(claims, secret);
	assert_string_equal(
		token,
		"eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9."
		"eyJpYXQiOjEsInVwbG9hZHNfZW5hYmxlZCI6ZmFsc2V9."
		"O6PMNZjketHrSHOR8SqT4pQyn_XUjcJV_IGzWH-VbKo");
	free(token);
	json_decref(claims);
}

static void test_ref(void **)
{
	uint8_t secret[FORMULA_SECRET_SIZE] = {1};
	char ref[FORMULA_REF_TEXT_SIZE];

	formula_ref_make(secret, gateway.id, count_up, ref);
	assert_true(formula_ref_is_valid(secret, gateway.id, ref));
	assert_false(formula_ref_is_valid(secret, client.id, ref));
	assert_false(formula_ref_is_valid(secret, gateway.id, ""));
	assert_false(formula_ref_is_valid(secret, gateway.id, ref + 1));
	ref[0] ^= 1;
	assert_false(formula_ref_is_valid(secret, gateway.id, ref));
	ref[0] ^= 1;
	ref[FORMULA_REF_TEXT_SIZE - 2] ^= 1;
	assert_false(formula_ref_is_valid(secret, gateway.id, ref));
	ref[FORMULA_REF_TEXT_SIZE - 2] ^= 1;
	secret[0] = 2;
	assert_false(formula_ref_is_valid(secret, gateway.id, ref));
}

static void test_key(void **)
{
	static const struct {
		const char *text;
		bool is_valid;
	} cases[] = {
		{client_key, true},
		{"", false},
		{"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8", false},
		{"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8==", false},
		{"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8A", false},
		{"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHg==", false},
		{"!AECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=", false},
	};

	for (size_t i = 0; i < COUNT_OF(cases); i++)
		assert_int_equal(formula_key_is_valid(cases[i].text), cases[i].is_valid);
}

// Made with Python's uuid.uuid5().
static void test_ident(void **)
{
	const struct ident derived = ident_derive("acme", "resource", "web");
	struct ident id;

	assert_string_equal(derived.text, "152a0fdd-e1f5-5a85-8122-6180d4b3e566");
	id = ident_random(count_up);
	assert_string_equal(id.text, "5a5a5a5a-5a5a-4a5a-9a5a-5a5a5a5a5a5a");
	assert_int_equal(ident_parse(&id, "3C492C15-8D41-49A4-AFC7-9D8CFE6E066F"), 0);
	assert_string_equal(id.text, gateway.id);
	assert_int_equal(ident_parse(&id, "3c492c158d4149a4afc79d8cfe6e066f"), -EINVAL);
	assert_int_equal(ident_parse(&id, "3c492c15-8d41-49a4-afc7-9d8cfe6e066g"), -EINVAL);
	assert_int_equal(ident_parse(&id, ""), -EINVAL);
	assert_string_equal(id.text, gateway.id);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_psk),
		cmocka_unit_test(test_ice),
		cmocka_unit_test(test_jwt),
		cmocka_unit_test(test_ref),
		cmocka_unit_test(test_key),
		cmocka_unit_test(test_ident),
	};

	return sodium_init() < 0 ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
