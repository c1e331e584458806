// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "control/noise/hash.h"
#include "tests/unit/unit.h"

#include <openssl/core_names.h>
#include <openssl/params.h>
#include <sodium.h>

static struct noise_crypto crypto;

static int setup(void **)
{
	return noise_crypto_init(&crypto, NULL, NULL);
}

static int teardown(void **)
{
	assert_false(crypto.is_broken);
	noise_crypto_fini(&crypto);
	return 0;
}

static void assert_hex(const uint8_t *bytes, size_t size, const char *hex)
{
	char text[600];

	sodium_bin2hex(text, sizeof(text), bytes, size);
	assert_string_equal(text, hex);
}

// RFC 7693 appendix B for "abc"; the others from Python's hashlib.
static void blake2s(void **)
{
	static const struct {
		const char *input;
		const char *hex;
	} cases[] = {
		{"", "69217a3079908094e11121d042354a7c1f55b6482ca1a51e1b250dfd1ed0eef9"},
		{"abc", "508c5e8c327c14e2e1a72ba34eeb452f37458b209ed63a294d999b4c86675982"},
	};
	uint8_t out[NOISE_HASH_SIZE];

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct noise_span span = {cases[i].input, strlen(cases[i].input)};

		noise_hash(&crypto, out, &span, 1);
		assert_hex(out, sizeof(out), cases[i].hex);
	}
	noise_hash(&crypto, out, (struct noise_span[]){{"a", 1}, {"", 0}, {"bc", 2}}, 3);
	assert_hex(out, sizeof(out), cases[1].hex);
}

// Key 00 01 02 ..., input 00 01 02 ..., around the block size; constants from Python's hashlib.
static void keyed(void **)
{
	static const struct {
		size_t key_size, input_size;
		const char *hex;
	} cases[] = {
		{1, 0, "01d7f4cea32638032b156c74aec7e87a"},
		{16, 0, "af4e5d3bb230e9ff9096ca6f7c501f76"},
		{16, 132, "b03d1196bdcfaad40f911db86b79ac7e"},
		{32, 0, "9536f9b267655743dee97b8a670f9f53"},
		{32, 1, "13bacfb85b48a1223c595f8c1e7e82cb"},
		{32, 63, "ece382a8bd5018f1de5da44b72cea75b"},
		{32, 64, "f1efa90d2547036841ecd3627fafbc36"},
		{32, 65, "811ff8686d23a435ecbd0bdafcd27b1b"},
		{32, 116, "072e94ffbfc684bd8ab2a1b9dade2fd5"},
		{32, 255, "cd075928ab7e6883e697fe7fd3ac43ee"},
	};
	uint8_t key[32], input[256], out[NOISE_MAC_SIZE];

	for (size_t i = 0; i < sizeof(key); i++)
		key[i] = (uint8_t)i;
	for (size_t i = 0; i < sizeof(input); i++)
		input[i] = (uint8_t)i;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct noise_span span = {input, cases[i].input_size};

		noise_mac(&crypto, out, key, cases[i].key_size, &span, 1);
		assert_hex(out, sizeof(out), cases[i].hex);
	}
}

static void hmac_libcrypto(
	uint8_t out[NOISE_HASH_SIZE],
	const uint8_t *key,
	size_t key_size,
	const uint8_t *input,
	size_t size)
{
	char digest[] = "BLAKE2S-256";
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
		OSSL_PARAM_construct_end(),
	};
	EVP_MAC *mac = EVP_MAC_fetch(NULL, "HMAC", NULL);
	EVP_MAC_CTX *ctx = EVP_MAC_CTX_new(mac);
	size_t n;

	assert_int_equal(EVP_MAC_init(ctx, key, key_size, params), 1);
	assert_int_equal(EVP_MAC_update(ctx, input, size), 1);
	assert_int_equal(EVP_MAC_final(ctx, out, &n, NOISE_HASH_SIZE), 1);
	EVP_MAC_CTX_free(ctx);
	EVP_MAC_free(mac);
}

static void hmac(void **)
{
	uint8_t key[64], input[300], ours[NOISE_HASH_SIZE], theirs[NOISE_HASH_SIZE];

	for (unsigned i = 0; i < 200; i++) {
		size_t key_size = 1 + i % sizeof(key), size = i * 7 % sizeof(input);

		randombytes_buf(key, sizeof(key));
		randombytes_buf(input, sizeof(input));
		noise_hmac(
			&crypto,
			ours,
			key,
			key_size,
			(struct noise_span[]){
				{input, size / 2}, {input + size / 2, size - size / 2}},
			2);
		hmac_libcrypto(theirs, key, key_size, input, size);
		assert_memory_equal(ours, theirs, sizeof(ours));
	}
}

// Constants from Python's hmac and hashlib.
static void kdf(void **)
{
	uint8_t key[NOISE_HASH_SIZE], a[NOISE_HASH_SIZE], b[NOISE_HASH_SIZE], c[NOISE_HASH_SIZE];

	for (size_t i = 0; i < sizeof(key); i++)
		key[i] = (uint8_t)i;
	noise_kdf(&crypto, a, b, c, key, "input", 5);
	assert_hex(
		a, sizeof(a), "87b7f70b24183c6db5dc4f6d9f4c47cdb203321aa2a0bef714896adb3107a040");
	assert_hex(
		b, sizeof(b), "538a02e1eb2e31b7e4d4b82476d1fe2acf50085d3fb584537279195f5d1f5824");
	assert_hex(
		c, sizeof(c), "9ad858025593be88de0f9442a589cfe84a88dc19e4753d93684d1c5efc4837f9");
	// An output may replace the key.
	noise_kdf(&crypto, key, b, NULL, key, "input", 5);
	assert_memory_equal(key, a, sizeof(key));
	noise_kdf(&crypto, a, NULL, NULL, a, NULL, 0);
	assert_hex(
		a, sizeof(a), "a8e800f2f94d7a42cde2c30000ae18d83d7ba923798a025627311426abc6588b");
}

// RFC 8439 section 2.8.2, against the library call that the handshake and the sessions use.
static void aead_rfc8439(void **)
{
	static const char plain[] =
		"Ladies and Gentlemen of the class of '99: If I could offer you "
		"only one tip for the future, sunscreen would be it.";
	static const uint8_t ad[] = {
		0x50, 0x51, 0x52, 0x53, 0xc0, 0xc1, 0xc2, 0xc3, 0xc4, 0xc5, 0xc6, 0xc7};
	static const uint8_t nonce[] = {7, 0, 0, 0, 0x40, 0x41, 0x42, 0x43, 0x44, 0x45, 0x46, 0x47};
	uint8_t key[32], out[sizeof(plain) - 1 + 16];

	for (size_t i = 0; i < sizeof(key); i++)
		key[i] = (uint8_t)(0x80 + i);
	crypto_aead_chacha20poly1305_ietf_encrypt(
		out,
		NULL,
		(const uint8_t *)plain,
		sizeof(plain) - 1,
		ad,
		sizeof(ad),
		NULL,
		nonce,
		key);
	assert_hex(
		out,
		sizeof(out),
		"d31a8d34648e60db7b86afbc53ef7ec2a4aded51296e08fea9e2b5a736ee62d6"
		"3dbea45e8ca9671282fafb69da92728b1a71de0a9e060b2905d6a5b67ecd3b36"
		"92ddbd7f2d778b8c9803aee328091b58fab324e4fad675945585808b4831d7bc"
		"3ff4def08e4b7a9de576d26586cec64b6116"
		"1ae10b594f09e26a7e902ecbd0600691");
}

// A failing library must never look like success.
static void broken_context(void **)
{
	uint8_t out[NOISE_HASH_SIZE], zeros[NOISE_HASH_SIZE] = {0}, key[65] = {1};

	noise_hmac(&crypto, out, key, sizeof(key), NULL, 0);
	assert_true(crypto.is_broken);
	assert_memory_equal(out, zeros, sizeof(out));
	crypto.is_broken = false;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(blake2s, setup, teardown),
		cmocka_unit_test_setup_teardown(keyed, setup, teardown),
		cmocka_unit_test_setup_teardown(hmac, setup, teardown),
		cmocka_unit_test_setup_teardown(kdf, setup, teardown),
		cmocka_unit_test_setup_teardown(aead_rfc8439, setup, teardown),
		cmocka_unit_test_setup_teardown(broken_context, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
