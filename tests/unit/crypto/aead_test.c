// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "dataplane/crypto/aead.h"
#include "tests/unit/eal.h"
#include "tests/unit/rand.h"
#include "tests/unit/unit.h"

#include <rte_memory.h>
#include <sodium.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum {
	TEXT_SIZE_MAX = 1400,
	BUFFER_SIZE = TEXT_SIZE_MAX + AEAD_TAG_SIZE + 8,
};

struct state {
	struct aead *aead;
};

static int setup(void **state, enum aead_engine engine)
{
	static struct state s;

	s.aead = aead_create_engine(SOCKET_ID_ANY, engine);
	*state = &s;
	return s.aead != NULL ? 0 : -1;
}

static int setup_best(void **state)
{
	return setup(state, AEAD_ENGINE_BEST);
}

static int setup_ipsec_mb(void **state)
{
	return setup(state, AEAD_ENGINE_IPSEC_MB);
}

static int setup_x16(void **state)
{
	return setup(state, AEAD_ENGINE_X16);
}

static int teardown(void **state)
{
	struct state *s = *state;

	aead_destroy(s->aead);
	aead_destroy(NULL);
	return 0;
}

// The oracle: libsodium's independent implementation, same nonce layout as WireGuard's.
static void sodium_seal(
	uint8_t *out,
	const uint8_t *text,
	uint32_t size,
	const uint8_t key[AEAD_KEY_SIZE],
	uint64_t counter)
{
	uint8_t nonce[12] = {0};
	unsigned long long out_size;

	for (unsigned i = 0; i < 8; i++)
		nonce[4 + i] = (uint8_t)(counter >> 8 * i);
	assert_int_equal(
		crypto_aead_chacha20poly1305_ietf_encrypt(
			out, &out_size, text, size, NULL, 0, NULL, nonce, key),
		0);
	assert_int_equal(out_size, size + AEAD_TAG_SIZE);
}

// RFC 8439 appendix A.5: its nonce has WireGuard's form (4 zero bytes). It has associated data, which
// WireGuard never has, so the cipher text is the RFC's and the tag is checked by the next test.
static void rfc8439_a5(void **state)
{
	static const uint8_t key[AEAD_KEY_SIZE] = {
		0x1c, 0x92, 0x40, 0xa5, 0xeb, 0x55, 0xd3, 0x8a, 0xf3, 0x33, 0x88,
		0x86, 0x04, 0xf6, 0xb5, 0xf0, 0x47, 0x39, 0x17, 0xc1, 0x40, 0x2b,
		0x80, 0x09, 0x9d, 0xca, 0x5c, 0xbc, 0x20, 0x70, 0x75, 0xc0,
	};
	static const char text[] =
		"Internet-Drafts are draft documents valid for a maximum of six months and may be "
		"updated, replaced, or obsoleted by other documents at any time. It is "
		"inappropriate to use Internet-Drafts as reference material or to cite them other "
		"than as /\xe2\x80\x9cwork in progress./\xe2\x80\x9d";
	static const uint8_t cipher_text[265] = {
		0x64, 0xa0, 0x86, 0x15, 0x75, 0x86, 0x1a, 0xf4, 0x60, 0xf0, 0x62, 0xc7, 0x9b, 0xe6,
		0x43, 0xbd, 0x5e, 0x80, 0x5c, 0xfd, 0x34, 0x5c, 0xf3, 0x89, 0xf1, 0x08, 0x67, 0x0a,
		0xc7, 0x6c, 0x8c, 0xb2, 0x4c, 0x6c, 0xfc, 0x18, 0x75, 0x5d, 0x43, 0xee, 0xa0, 0x9e,
		0xe9, 0x4e, 0x38, 0x2d, 0x26, 0xb0, 0xbd, 0xb7, 0xb7, 0x3c, 0x32, 0x1b, 0x01, 0x00,
		0xd4, 0xf0, 0x3b, 0x7f, 0x35, 0x58, 0x94, 0xcf, 0x33, 0x2f, 0x83, 0x0e, 0x71, 0x0b,
		0x97, 0xce, 0x98, 0xc8, 0xa8, 0x4a, 0xbd, 0x0b, 0x94, 0x81, 0x14, 0xad, 0x17, 0x6e,
		0x00, 0x8d, 0x33, 0xbd, 0x60, 0xf9, 0x82, 0xb1, 0xff, 0x37, 0xc8, 0x55, 0x97, 0x97,
		0xa0, 0x6e, 0xf4, 0xf0, 0xef, 0x61, 0xc1, 0x86, 0x32, 0x4e, 0x2b, 0x35, 0x06, 0x38,
		0x36, 0x06, 0x90, 0x7b, 0x6a, 0x7c, 0x02, 0xb0, 0xf9, 0xf6, 0x15, 0x7b, 0x53, 0xc8,
		0x67, 0xe4, 0xb9, 0x16, 0x6c, 0x76, 0x7b, 0x80, 0x4d, 0x46, 0xa5, 0x9b, 0x52, 0x16,
		0xcd, 0xe7, 0xa4, 0xe9, 0x90, 0x40, 0xc5, 0xa4, 0x04, 0x33, 0x22, 0x5e, 0xe2, 0x82,
		0xa1, 0xb0, 0xa0, 0x6c, 0x52, 0x3e, 0xaf, 0x45, 0x34, 0xd7, 0xf8, 0x3f, 0xa1, 0x15,
		0x5b, 0x00, 0x47, 0x71, 0x8c, 0xbc, 0x54, 0x6a, 0x0d, 0x07, 0x2b, 0x04, 0xb3, 0x56,
		0x4e, 0xea, 0x1b, 0x42, 0x22, 0x73, 0xf5, 0x48, 0x27, 0x1a, 0x0b, 0xb2, 0x31, 0x60,
		0x53, 0xfa, 0x76, 0x99, 0x19, 0x55, 0xeb, 0xd6, 0x31, 0x59, 0x43, 0x4e, 0xce, 0xbb,
		0x4e, 0x46, 0x6d, 0xae, 0x5a, 0x10, 0x73, 0xa6, 0x72, 0x76, 0x27, 0x09, 0x7a, 0x10,
		0x49, 0xe6, 0x17, 0xd9, 0x1d, 0x36, 0x10, 0x94, 0xfa, 0x68, 0xf0, 0xff, 0x77, 0x98,
		0x71, 0x30, 0x30, 0x5b, 0xea, 0xba, 0x2e, 0xda, 0x04, 0xdf, 0x99, 0x7b, 0x71, 0x4d,
		0x6c, 0x6f, 0x2c, 0x29, 0xa6, 0xad, 0x5c, 0xb4, 0x02, 0x2b, 0x02, 0x70, 0x9b,
	};
	const struct state *s = *state;
	uint8_t data[sizeof(cipher_text) + AEAD_TAG_SIZE];
	struct aead_op op = {
		.data = data,
		.size = sizeof(cipher_text),
		.key = key,
		.counter = 0x0807060504030201,
	};

	assert_int_equal(sizeof(text) - 1, sizeof(cipher_text));
	memcpy(data, text, sizeof(cipher_text));
	aead_seal_burst(s->aead, &op, 1);
	assert_true(op.is_ok);
	assert_memory_equal(data, cipher_text, sizeof(cipher_text));

	op.size = sizeof(data);
	aead_open_burst(s->aead, &op, 1);
	assert_true(op.is_ok);
	assert_memory_equal(data, text, sizeof(cipher_text));
}

// RFC 8439 section 2.8 by hand: the Poly1305 key is the first half of key stream block 0; the tag is
// over the padded cipher text and the two lengths. Primitives from libsodium.
static void tag_by_construction(void **state)
{
	const struct state *s = *state;
	const uint8_t key[AEAD_KEY_SIZE] = {7};
	const uint8_t nonce[12] = {[4] = 9};
	uint8_t data[37 + AEAD_TAG_SIZE] = "thirty-seven bytes of text, not more";
	uint8_t input[48 + 16] = {0};
	uint8_t block[64] = {0}, tag[AEAD_TAG_SIZE];
	struct aead_op op = {.data = data, .size = 37, .key = key, .counter = 9};

	aead_seal_burst(s->aead, &op, 1);
	assert_true(op.is_ok);
	crypto_stream_chacha20_ietf_xor_ic(block, block, sizeof(block), nonce, 0, key);
	memcpy(input, data, 37);
	input[48 + 8] = 37;
	crypto_onetimeauth_poly1305(tag, input, sizeof(input), block);
	assert_memory_equal(data + 37, tag, sizeof(tag));
}

struct message {
	uint8_t key[AEAD_KEY_SIZE];
	uint8_t text[TEXT_SIZE_MAX];
	uint8_t sealed[TEXT_SIZE_MAX + AEAD_TAG_SIZE];
	uint8_t data[BUFFER_SIZE];
	uint32_t size;
	uint64_t counter;
};

static void message_fill(struct message *m, struct unit_rand *r, uint32_t size)
{
	unit_rand_fill(r, m->key, sizeof(m->key));
	unit_rand_fill(r, m->text, size);
	m->size = size;
	m->counter = unit_rand_u64(r) >> unit_rand_below(r, 64);
	memset(m->data, 0xa5, sizeof(m->data));
	memcpy(m->data, m->text, size);
	sodium_seal(m->sealed, m->text, size, m->key, m->counter);
}

static void assert_untouched_behind(const struct message *m)
{
	for (size_t i = m->size + AEAD_TAG_SIZE; i < sizeof(m->data); i++)
		assert_int_equal(m->data[i], 0xa5);
}

static void messages_check(struct aead *aead, struct message *m, unsigned n)
{
	struct aead_op ops[AEAD_BURST_MAX];

	for (unsigned i = 0; i < n; i++)
		ops[i] = (struct aead_op){m[i].data, m[i].size, m[i].key, m[i].counter, false};
	aead_seal_burst(aead, ops, n);
	for (unsigned i = 0; i < n; i++) {
		assert_true(ops[i].is_ok);
		assert_memory_equal(m[i].data, m[i].sealed, m[i].size + AEAD_TAG_SIZE);
		assert_untouched_behind(&m[i]);
		ops[i].size += AEAD_TAG_SIZE;
	}
	aead_open_burst(aead, ops, n);
	for (unsigned i = 0; i < n; i++) {
		assert_true(ops[i].is_ok);
		assert_memory_equal(m[i].data, m[i].text, m[i].size);
		assert_untouched_behind(&m[i]);
	}
}

// Every size, in bursts of mixed sizes, keys and counters and of every length.
static void all_sizes_like_libsodium(void **state)
{
	const struct state *s = *state;
	struct message *m = calloc(AEAD_BURST_MAX, sizeof(*m));
	struct unit_rand r = unit_rand_init(8439);
	uint32_t size = 0;
	unsigned n = 1;

	assert_non_null(m);
	while (size <= TEXT_SIZE_MAX) {
		for (unsigned i = 0; i < n; i++) {
			// Every other message is of any size, so that neighbours differ much.
			if (i % 2 == 0 && size <= TEXT_SIZE_MAX)
				message_fill(&m[i], &r, size++);
			else
				message_fill(&m[i], &r, unit_rand_below(&r, TEXT_SIZE_MAX + 1));
		}
		messages_check(s->aead, m, n);
		n = n % AEAD_BURST_MAX + 1;
	}
	free(m);
}

// One operation per byte of the packet has that byte changed; a good one sits between each two.
static void tampered_byte_fails_alone(void **state)
{
	static const uint32_t sizes[] = {0, 1, 16, 63, 64, 65, 96, 300};
	const struct state *s = *state;
	struct unit_rand r = unit_rand_init(1305);
	struct message m;

	for (size_t k = 0; k < COUNT_OF(sizes); k++) {
		uint32_t sealed_size = sizes[k] + AEAD_TAG_SIZE;

		message_fill(&m, &r, sizes[k]);
		for (uint32_t at = 0; at < sealed_size; at++) {
			uint8_t bufs[3][300 + AEAD_TAG_SIZE];
			struct aead_op ops[3];

			for (unsigned i = 0; i < 3; i++) {
				memcpy(bufs[i], m.sealed, sealed_size);
				ops[i] = (struct aead_op){
					bufs[i], sealed_size, m.key, m.counter, i == 1};
			}
			bufs[1][at] ^= (uint8_t)(1u << unit_rand_below(&r, 8));
			aead_open_burst(s->aead, ops, 3);
			assert_true(ops[0].is_ok);
			assert_false(ops[1].is_ok);
			assert_true(ops[2].is_ok);
			assert_memory_equal(bufs[2], m.text, sizes[k]);
		}
	}
}

static void wrong_key_counter_or_size_fails(void **state)
{
	const struct state *s = *state;
	struct unit_rand r = unit_rand_init(1);
	uint8_t bufs[8][64 + AEAD_TAG_SIZE], bad_key[AEAD_KEY_SIZE];
	struct aead_op ops[8];
	struct message m;

	message_fill(&m, &r, 64);
	memcpy(bad_key, m.key, sizeof(bad_key));
	bad_key[31] ^= 0x80;
	for (unsigned i = 0; i < COUNT_OF(ops); i++) {
		memcpy(bufs[i], m.sealed, sizeof(bufs[i]));
		ops[i] = (struct aead_op){bufs[i], sizeof(bufs[i]), m.key, m.counter, true};
	}
	ops[0].key = bad_key;
	ops[1].counter++;
	ops[2].counter ^= 1ULL << 63;
	ops[3].size--;
	ops[4].size = AEAD_TAG_SIZE - 1;
	ops[5].size = 0;
	ops[6].size = AEAD_SIZE_MAX + 1;
	aead_open_burst(s->aead, ops, COUNT_OF(ops));
	for (unsigned i = 0; i < 7; i++)
		assert_false(ops[i].is_ok);
	assert_true(ops[7].is_ok);
	// What was refused for its size was not touched.
	assert_memory_equal(bufs[4], m.sealed, sizeof(bufs[4]));

	ops[0] = (struct aead_op){bufs[0], AEAD_SIZE_MAX, m.key, 0, true};
	aead_seal_burst(s->aead, ops, 1);
	assert_false(ops[0].is_ok);
	aead_seal_burst(s->aead, ops, 0);
}

// The largest packet an operation takes, beside the smallest ones.
static void largest_beside_smallest(void **state)
{
	const struct state *s = *state;
	uint32_t size = AEAD_SIZE_MAX - AEAD_TAG_SIZE;
	uint8_t *data = calloc(2, AEAD_SIZE_MAX);
	uint8_t small[20][AEAD_TAG_SIZE], sealed[AEAD_TAG_SIZE];
	const uint8_t key[AEAD_KEY_SIZE] = {3};
	struct aead_op ops[21];

	assert_non_null(data);
	for (unsigned i = 0; i < 20; i++)
		ops[i] = (struct aead_op){.data = small[i], .key = key, .counter = i};
	ops[20] = (struct aead_op){.data = data, .size = size, .key = key, .counter = 20};
	aead_seal_burst(s->aead, ops, COUNT_OF(ops));
	sodium_seal(data + AEAD_SIZE_MAX, data + AEAD_SIZE_MAX, size, key, 20);
	assert_true(ops[20].is_ok);
	assert_memory_equal(data, data + AEAD_SIZE_MAX, AEAD_SIZE_MAX);
	for (unsigned i = 0; i < 20; i++) {
		sodium_seal(sealed, sealed, 0, key, i);
		assert_memory_equal(small[i], sealed, AEAD_TAG_SIZE);
	}
	free(data);
}

static int group_run(const char *name, CMFixtureFunction group_setup)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rfc8439_a5),
		cmocka_unit_test(tag_by_construction),
		cmocka_unit_test(all_sizes_like_libsodium),
		cmocka_unit_test(tampered_byte_fails_alone),
		cmocka_unit_test(wrong_key_counter_or_size_fails),
		cmocka_unit_test(largest_beside_smallest),
	};

	return _cmocka_run_group_tests(name, tests, COUNT_OF(tests), group_setup, teardown);
}

static bool cpu_has_x16(void)
{
	struct aead *a = aead_create_engine(SOCKET_ID_ANY, AEAD_ENGINE_X16);

	aead_destroy(a);
	return a != NULL || errno != ENOTSUP;
}

int main(void)
{
	int failed = 0;

	if (unit_eal_init(NULL) < 0 || sodium_init() < 0)
		return 1;
	failed += group_run("ipsec_mb", setup_ipsec_mb);
	if (cpu_has_x16())
		failed += group_run("x16", setup_x16);
	else
		fputs("aead_test: this CPU has no AVX-512 IFMA, x16 was not tested\n", stderr);
	failed += group_run("best", setup_best);
	unit_eal_fini(NULL);
	return failed;
}
