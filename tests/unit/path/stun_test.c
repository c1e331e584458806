// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "control/path/stun.h"
#include "tests/unit/path/hex.h"
#include "tests/unit/unit.h"

#include <errno.h>

static const struct stun_txid counting = {{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}};

static int setup(void **state)
{
	*state = stun_mac_create();
	return *state != NULL ? 0 : -1;
}

static int teardown(void **state)
{
	stun_mac_destroy(*state);
	return 0;
}

static struct ip_endpoint endpoint(const char *text)
{
	struct ip_endpoint ep;

	assert_int_equal(ip_endpoint_parse(&ep, text), 0);
	return ep;
}

// RFC 5769: what the specification says must verify, and what is inside.
static const struct {
	const char *name;
	const char *hex;
	const char *password; // of short-term
	const char *user, *realm, *long_password; // of long-term
	const char *mapped;
	bool has_fingerprint;
} rfc5769[] = {
	{
		.name = "2.1 request",
		.hex = "00010058 2112a442 b7e7a701bc34d686fa87dfae"
		       "80220010 5354554e207465737420636c69656e74"
		       "00240004 6e0001ff 80290008 932ff9b151263b36"
		       "00060009 6576746a3a68367659202020"
		       "00080014 9aeaa70cbfd8cb56781ef2b5b2d3f249c1b571a2"
		       "80280004 e57a3bcf",
		.password = "VOkJxbRl1RmTxUk/WvJxBt",
		.has_fingerprint = true,
	},
	{
		.name = "2.2 IPv4 response",
		.hex = "0101003c 2112a442 b7e7a701bc34d686fa87dfae"
		       "8022000b 7465737420766563746f7220"
		       "00200008 0001a147e112a643"
		       "00080014 2b91f599fd9e90c38c7489f92af9ba53f06be7d7"
		       "80280004 c07d4c96",
		.password = "VOkJxbRl1RmTxUk/WvJxBt",
		.mapped = "192.0.2.1:32853",
		.has_fingerprint = true,
	},
	{
		.name = "2.3 IPv6 response",
		.hex = "01010048 2112a442 b7e7a701bc34d686fa87dfae"
		       "8022000b 7465737420766563746f7220"
		       "00200014 0002a1470113a9faa5d3f179bc25f4b5bed2b9d9"
		       "00080014 a382954e4be67bf11784c97c8292c275bfe3ed41"
		       "80280004 c8fb0b4c",
		.password = "VOkJxbRl1RmTxUk/WvJxBt",
		.mapped = "[2001:db8:1234:5678:11:2233:4455:6677]:32853",
		.has_fingerprint = true,
	},
	{
		.name = "2.4 long-term request",
		.hex = "00010060 2112a442 78ad3433c6ad72c029da412e"
		       "00060012 e3839ee38388e383aae38383e382afe382b90000"
		       "0015001c 662f2f3439396b39353464364f4c33346f4c3946535476793634734100140"
		       "00b 6578616d706c652e6f726700"
		       "00080014 f67024656dd64a3e02b8e0712e85c9a28ca89666",
		.user = "\xe3\x83\x9e\xe3\x83\x88\xe3\x83\xaa\xe3\x83\x83\xe3\x82\xaf\xe3\x82\xb9",
		.realm = "example.org",
		.long_password = "TheMatrIX",
	},
};

static void test_rfc5769(void **state)
{
	for (size_t i = 0; i < COUNT_OF(rfc5769); i++) {
		uint8_t data[256], key[STUN_LONG_TERM_KEY_SIZE];
		size_t size = hex_read(data, sizeof(data), rfc5769[i].hex);
		const void *k = rfc5769[i].password;
		size_t k_size = k != NULL ? strlen(k) : 0;
		struct stun_msg msg;

		print_message("%s\n", rfc5769[i].name);
		assert_int_equal(stun_msg_parse(&msg, data, size), 0);
		if (k == NULL) {
			assert_int_equal(
				stun_long_term_key(
					key,
					rfc5769[i].user,
					rfc5769[i].realm,
					rfc5769[i].long_password),
				0);
			k = key;
			k_size = sizeof(key);
		}
		assert_true(stun_msg_verify(*state, &msg, k, k_size));
		assert_false(stun_msg_verify(*state, &msg, k, k_size - 1));
		assert_int_equal(stun_msg_verify_fingerprint(&msg), rfc5769[i].has_fingerprint);
		if (rfc5769[i].mapped != NULL) {
			struct ip_endpoint ep = endpoint(rfc5769[i].mapped);

			assert_true(ip_endpoint_eq(&msg.mapped, &ep));
		}
		// Every covered bit counts.
		for (size_t bit = 16 * 8; bit < (msg.integrity_pos + 24) * 8; bit += 7) {
			struct stun_msg forged;

			data[bit / 8] ^= (uint8_t)(1 << bit % 8);
			if (stun_msg_parse(&forged, data, size) == 0)
				assert_false(stun_msg_verify(*state, &forged, k, k_size));
			data[bit / 8] ^= (uint8_t)(1 << bit % 8);
		}
	}
}

static void test_request_fields(void **)
{
	uint8_t data[256];
	size_t size = hex_read(data, sizeof(data), rfc5769[0].hex), pos = 0, n = 0;
	struct stun_attr attr;
	struct stun_msg msg;
	const uint16_t order[] = {0x8022, 0x0024, 0x8029, 0x0006, 0x0008, 0x8028};

	assert_int_equal(stun_msg_parse(&msg, data, size), 0);
	assert_int_equal(msg.cls, STUN_CLASS_REQUEST);
	assert_int_equal(msg.method, STUN_METHOD_BINDING);
	assert_int_equal(msg.priority, 0x6e0001ff);
	assert_true(msg.tie_breaker == 0x932ff9b151263b36);
	assert_true(msg.has & STUN_HAS_CONTROLLED);
	assert_false(msg.has & STUN_HAS_CONTROLLING);
	assert_int_equal(msg.username.size, 9);
	assert_memory_equal(msg.username.data, "evtj:h6vY", 9);
	while (stun_attr_next(&msg, &pos, &attr))
		assert_int_equal(attr.type, order[n++]);
	assert_int_equal(n, COUNT_OF(order));
}

// spec/connectivity.md appendix B: we must emit exactly these bytes.
static void vector_check(const struct stun_writer *w, const char *hex)
{
	uint8_t want[256];
	size_t size = hex_read(want, sizeof(want), hex);

	assert_true(size > 0);
	assert_int_equal(stun_writer_finish(w), size);
	assert_memory_equal(w->cur.data, want, size);
}

static void appendix_b1_request(void **state)
{
	const char *pwd = "clientpasswordclientpw";
	struct stun_writer w;
	uint8_t buf[256];

	stun_writer_init(&w, buf, sizeof(buf), STUN_CLASS_REQUEST, STUN_METHOD_BINDING, &counting);
	stun_writer_add(&w, STUN_ATTR_USERNAME, "clnt:gate", 9);
	stun_writer_add_u64(&w, STUN_ATTR_ICE_CONTROLLED, 0x0123456789abcdef);
	stun_writer_add_u32(&w, STUN_ATTR_PRIORITY, 0x6efffeff);
	stun_writer_add_integrity(&w, *state, pwd, strlen(pwd));
	stun_writer_add_fingerprint(&w);
	vector_check(
		&w,
		"000100442112a442000102030405060708090a0b00060009636c6e743a676174650000008029000801"
		"23456789abcdef002400046efffeff00080014d376396b9e7f29cba7cfc6ad3233b0cdf7190d3f8028"
		"000400557ce5");
}

static void success_check(struct stun_mac *mac, const char *mapped, const char *hex)
{
	const struct ip_endpoint ep = endpoint(mapped);
	const char *pwd = "gatewaypasswordgateway";
	struct stun_writer w;
	uint8_t buf[256];

	stun_writer_init(&w, buf, sizeof(buf), STUN_CLASS_SUCCESS, STUN_METHOD_BINDING, &counting);
	stun_writer_add_xor_address(&w, STUN_ATTR_XOR_MAPPED_ADDRESS, &ep);
	stun_writer_add_integrity(&w, mac, pwd, strlen(pwd));
	stun_writer_add_fingerprint(&w);
	vector_check(&w, hex);
}

static void appendix_b2_success_v4(void **state)
{
	success_check(
		*state,
		"203.0.113.7:52625",
		"0101002c2112a442000102030405060708090a0b002000080001ec83ea12d545000800140faf963bd0"
		"2519d77fc38a1cd2cbb0db959e464f802800043b600d8b");
}

static void appendix_b3_success_v6(void **state)
{
	success_check(
		*state,
		"[2001:db8::7]:52625",
		"010100382112a442000102030405060708090a0b002000140002ec830113a9fa000102030405060708"
		"090a0c00080014afafe2ea8387fcbab3d67c37e29841aa311259b080280004b28d53c5");
}

static void appendix_b4_b5_b6_turn_requests(void **state)
{
	const struct ip_endpoint peer = endpoint("203.0.113.7:52625");
	const char *nonce = "00000000-0000-0000-0000-000000000001";
	uint8_t buf[256], key[STUN_LONG_TERM_KEY_SIZE], want_key[17];
	struct stun_writer w;

	assert_int_equal(stun_long_term_key(key, "2145916800:salt", "firezone", "pw"), 0);
	hex_read(want_key, sizeof(want_key), "069809f43ef1385fc7e03bcf693adcf6");
	assert_memory_equal(key, want_key, sizeof(key));

	stun_writer_init(&w, buf, sizeof(buf), STUN_CLASS_REQUEST, STUN_METHOD_ALLOCATE, &counting);
	stun_writer_add_u32(&w, STUN_ATTR_REQUESTED_TRANSPORT, 17u << 24);
	stun_writer_add_u32(&w, STUN_ATTR_ADDITIONAL_ADDRESS_FAMILY, 2u << 24);
	stun_writer_add(&w, STUN_ATTR_SOFTWARE, "snownet", 7);
	stun_writer_add(&w, STUN_ATTR_USERNAME, "2145916800:salt", 15);
	stun_writer_add(&w, STUN_ATTR_REALM, "firezone", 8);
	stun_writer_add_integrity(&w, *state, key, sizeof(key));
	vector_check(
		&w,
		"000300542112a442000102030405060708090a0b001900041100000080000004020000008022000773"
		"6e"
		"6f776e6574000006000f323134353931363830303a73616c740000140008666972657a6f6e65000800"
		"144aa3e1ae2ff35e454069d505d86493198a57f3ce");

	stun_writer_init(
		&w, buf, sizeof(buf), STUN_CLASS_REQUEST, STUN_METHOD_CHANNEL_BIND, &counting);
	stun_writer_add_xor_address(&w, STUN_ATTR_XOR_PEER_ADDRESS, &peer);
	stun_writer_add_u32(&w, STUN_ATTR_CHANNEL_NUMBER, 0x4000u << 16);
	stun_writer_add(&w, STUN_ATTR_SOFTWARE, "snownet", 7);
	stun_writer_add(&w, STUN_ATTR_USERNAME, "2145916800:salt", 15);
	stun_writer_add(&w, STUN_ATTR_REALM, "firezone", 8);
	stun_writer_add(&w, STUN_ATTR_NONCE, nonce, strlen(nonce));
	stun_writer_add_integrity(&w, *state, key, sizeof(key));
	vector_check(
		&w,
		"000900802112a442000102030405060708090a0b001200080001ec83ea12d545000c00044000000080"
		"220007736e6f776e6574000006000f323134353931363830303a73616c740000140008666972657a6f"
		"6e650015002430303030303030302d303030302d303030302d303030302d3030303030303030303030"
		"3100080014ca30c44cc081f7bc3611342dc6ab88b1e0b586b7");

	stun_writer_init(&w, buf, sizeof(buf), STUN_CLASS_REQUEST, STUN_METHOD_BINDING, &counting);
	stun_writer_add(&w, STUN_ATTR_SOFTWARE, "snownet", 7);
	vector_check(&w, "0001000c2112a442000102030405060708090a0b80220007736e6f776e657400");
}

#define HEAD(type, length) type length "2112a442 000102030405060708090a0b"

static const struct {
	const char *name;
	const char *hex;
	bool is_message; // passes the cheap test
	int rc;
} shapes[] = {
	{"no attributes", HEAD("0001", "0000"), true, 0},
	{"empty", "", false, -EBADMSG},
	{"19 bytes", "00010000 2112a442 000102030405060708090a", false, -EBADMSG},
	{"top bit", HEAD("8001", "0000"), false, -EBADMSG},
	{"second bit", HEAD("4001", "0000"), false, -EBADMSG},
	{"cookie", "00010000 2112a443 000102030405060708090a0b", false, -EBADMSG},
	{"trailing bytes", HEAD("0001", "0000") "00000000", false, -EBADMSG},
	{"trailing byte", HEAD("0001", "0000") "00", false, -EBADMSG},
	{"length beyond the end", HEAD("0001", "0008") "80220000", false, -EBADMSG},
	{"unaligned length", HEAD("0001", "0006") "802200026161", false, -EBADMSG},
	{"attribute beyond the end", HEAD("0001", "0008") "80220005 61616161", true, -EBADMSG},
	{"attribute length 65535", HEAD("0001", "0004") "8022ffff", true, -EBADMSG},
	{"padding missing", HEAD("0001", "0004") "80220001", true, -EBADMSG},
	{"padding of any value", HEAD("0001", "0008") "80220001 61ffffff", true, 0},
	{"unknown mandatory attribute", HEAD("0001", "0008") "7fff0003 61616100", true, 0},
	{"PRIORITY of 3", HEAD("0001", "0008") "00240003 01020300", true, -EBADMSG},
	{"PRIORITY of 8", HEAD("0001", "000c") "00240008 0102030405060708", true, -EBADMSG},
	{"USE-CANDIDATE with a value", HEAD("0001", "0008") "00250001 00000000", true, -EBADMSG},
	{"tie-breaker of 4", HEAD("0001", "0008") "802a0004 00000000", true, -EBADMSG},
	{"integrity of 16",
	 HEAD("0001", "0014") "00080010 00000000000000000000000000000000",
	 true,
	 -EBADMSG},
	{"address family 3", HEAD("0101", "000c") "00200008 0003a147e112a643", true, -EBADMSG},
	{"IPv4 with 16 bytes",
	 HEAD("0101", "0018") "00200014 0001a1470113a9faa5d3f179bc25f4b5bed2b9d9",
	 true,
	 -EBADMSG},
	{"IPv6 with 4 bytes", HEAD("0101", "000c") "00200008 0002a147e112a643", true, -EBADMSG},
	{"address of 2", HEAD("0101", "0008") "00200002 00010000", true, -EBADMSG},
	{"error 487", HEAD("0111", "0008") "00090004 00000457", true, 0},
	{"error class 7", HEAD("0111", "0008") "00090004 00000700", true, -EBADMSG},
	{"error number 100", HEAD("0111", "0008") "00090004 00000464", true, -EBADMSG},
	{"error too short", HEAD("0111", "0008") "00090003 00000400", true, -EBADMSG},
	{"WireGuard", "01000000 2112a442 000102030405060708090a0b 00000000", false, -EBADMSG},
};

static void test_shapes(void **)
{
	for (size_t i = 0; i < COUNT_OF(shapes); i++) {
		uint8_t text[128], *data;
		size_t size = hex_read(text, sizeof(text), shapes[i].hex);
		struct stun_msg msg;

		print_message("%s\n", shapes[i].name);
		// A block of the exact size lets ASan see every byte read too many.
		data = test_malloc(size + 1);
		memcpy(data + 1, text, size);
		assert_int_equal(stun_is_message(data + 1, size), shapes[i].is_message);
		assert_int_equal(stun_msg_parse(&msg, data + 1, size), shapes[i].rc);
		test_free(data);
	}
}

// Attributes behind MESSAGE-INTEGRITY are not covered by it and must not be believed.
static void test_after_integrity(void **state)
{
	struct stun_writer w;
	struct stun_msg msg;
	uint8_t buf[256];
	int size;

	stun_writer_init(&w, buf, sizeof(buf), STUN_CLASS_REQUEST, STUN_METHOD_BINDING, &counting);
	stun_writer_add_u32(&w, STUN_ATTR_PRIORITY, 1);
	stun_writer_add_integrity(&w, *state, "key", 3);
	stun_writer_add(&w, STUN_ATTR_USE_CANDIDATE, NULL, 0);
	stun_writer_add_u32(&w, STUN_ATTR_PRIORITY, 2);
	stun_writer_add(&w, STUN_ATTR_USERNAME, "a:b", 3);
	stun_writer_add_fingerprint(&w);
	size = stun_writer_finish(&w);
	assert_true(size > 0);
	assert_int_equal(stun_msg_parse(&msg, buf, (size_t)size), 0);
	assert_int_equal(msg.has, STUN_HAS_PRIORITY | STUN_HAS_INTEGRITY | STUN_HAS_FINGERPRINT);
	assert_int_equal(msg.priority, 1);
	assert_true(stun_msg_verify(*state, &msg, "key", 3));
	assert_true(stun_msg_verify_fingerprint(&msg));
	buf[size - 1] ^= 1;
	assert_int_equal(stun_msg_parse(&msg, buf, (size_t)size), 0);
	assert_false(stun_msg_verify_fingerprint(&msg));
}

static void test_dual_relayed(void **)
{
	const struct ip_endpoint v4 = endpoint("198.51.100.5:50000"),
				 v6 = endpoint("[2001:db8:5::5]:50000"),
				 other = endpoint("192.0.2.9:1");
	struct stun_writer w;
	struct stun_msg msg;
	uint8_t buf[128];

	stun_writer_init(&w, buf, sizeof(buf), STUN_CLASS_SUCCESS, STUN_METHOD_ALLOCATE, &counting);
	stun_writer_add_xor_address(&w, STUN_ATTR_XOR_RELAYED_ADDRESS, &v4);
	stun_writer_add_xor_address(&w, STUN_ATTR_XOR_RELAYED_ADDRESS, &v6);
	stun_writer_add_xor_address(&w, STUN_ATTR_XOR_RELAYED_ADDRESS, &other);
	stun_writer_add_u32(&w, STUN_ATTR_LIFETIME, 600);
	assert_int_equal(stun_msg_parse(&msg, buf, (size_t)stun_writer_finish(&w)), 0);
	assert_int_equal(msg.cls, STUN_CLASS_SUCCESS);
	assert_int_equal(msg.method, STUN_METHOD_ALLOCATE);
	assert_true(ip_endpoint_eq(&msg.relayed_v4, &v4));
	assert_true(ip_endpoint_eq(&msg.relayed_v6, &v6));
	assert_int_equal(msg.lifetime_s, 600);
}

static void test_error(void **)
{
	struct stun_writer w;
	struct stun_msg msg;
	uint8_t buf[128];

	stun_writer_init(&w, buf, sizeof(buf), STUN_CLASS_ERROR, STUN_METHOD_BINDING, &counting);
	stun_writer_add_error(&w, 487, "Role Conflict");
	assert_int_equal(stun_msg_parse(&msg, buf, (size_t)stun_writer_finish(&w)), 0);
	assert_int_equal(msg.cls, STUN_CLASS_ERROR);
	assert_int_equal(msg.error_code, 487);
	assert_int_equal(msg.error_reason.size, 13);
	assert_memory_equal(msg.error_reason.data, "Role Conflict", 13);
	stun_writer_add_error(&w, 299, "");
	assert_int_equal(stun_writer_finish(&w), -EMSGSIZE);
}

// Too small a buffer at every size: an error, and not a byte beyond it (ASan).
static void test_writer_overflow(void **state)
{
	for (size_t cap = 0; cap < 56; cap++) {
		uint8_t *buf = test_malloc(cap + 1);
		struct stun_writer w;

		stun_writer_init(
			&w, buf + 1, cap, STUN_CLASS_REQUEST, STUN_METHOD_BINDING, &counting);
		stun_writer_add(&w, STUN_ATTR_USE_CANDIDATE, NULL, 0);
		stun_writer_add_integrity(&w, *state, "key", 3);
		stun_writer_add_fingerprint(&w);
		assert_int_equal(stun_writer_finish(&w), -EMSGSIZE);
		test_free(buf);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rfc5769),
		cmocka_unit_test(test_request_fields),
		cmocka_unit_test(appendix_b1_request),
		cmocka_unit_test(appendix_b2_success_v4),
		cmocka_unit_test(appendix_b3_success_v6),
		cmocka_unit_test(appendix_b4_b5_b6_turn_requests),
		cmocka_unit_test(test_shapes),
		cmocka_unit_test(test_after_integrity),
		cmocka_unit_test(test_dual_relayed),
		cmocka_unit_test(test_error),
		cmocka_unit_test(test_writer_overflow),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
