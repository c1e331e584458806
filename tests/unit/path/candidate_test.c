// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "control/path/candidate.h"
#include "tests/unit/unit.h"

#include <errno.h>
#include <stdbool.h>

// spec/connectivity.md 2.3.
static const struct {
	const char *name;
	enum ice_kind kind;
	enum ip_family family;
	unsigned nth;
	bool is_cross;
	uint32_t priority;
} priorities[] = {
	{"first host IPv4", ICE_KIND_HOST, IP_FAMILY_V4, 0, false, 2130706175},
	{"first host IPv6", ICE_KIND_HOST, IP_FAMILY_V6, 0, false, 2130706431},
	{"second host IPv4", ICE_KIND_HOST, IP_FAMILY_V4, 1, false, 2130705663},
	{"first srflx IPv4", ICE_KIND_SRFLX, IP_FAMILY_V4, 0, false, 1686109951},
	{"first srflx IPv6", ICE_KIND_SRFLX, IP_FAMILY_V6, 0, false, 1686110207},
	{"first relay IPv4", ICE_KIND_RELAY, IP_FAMILY_V4, 0, false, 37748479},
	{"first relay IPv6", ICE_KIND_RELAY, IP_FAMILY_V6, 0, false, 37748735},
	{"cross family relay IPv4", ICE_KIND_RELAY, IP_FAMILY_V4, 0, true, 37492479},
	{"cross family relay IPv6", ICE_KIND_RELAY, IP_FAMILY_V6, 0, true, 37492735},
	{"absurdly many", ICE_KIND_RELAY, IP_FAMILY_V4, 4000000000, true, 33554687},
};

static void test_priorities(void **)
{
	for (size_t i = 0; i < COUNT_OF(priorities); i++) {
		uint16_t preference = ice_local_preference(
			priorities[i].kind,
			priorities[i].family,
			priorities[i].nth,
			priorities[i].is_cross);

		print_message("%s\n", priorities[i].name);
		assert_int_equal(
			ice_priority(priorities[i].kind, preference), priorities[i].priority);
	}
}

static void test_prflx_priorities(void **)
{
	assert_int_equal(ice_priority_prflx(2130706175), 1862270719);
	assert_int_equal(ice_priority_prflx(2130706431), 1862270975);
	assert_int_equal(ice_priority_prflx(37748479), 1849687807);
	assert_int_equal(ice_priority_prflx(37748735), 1849688063);
}

static void test_pair_priorities(void **)
{
	// 2^32 min + 2 max + (controlling greater)
	assert_true(ice_pair_priority(5, 3) == (3ull << 32) + 11);
	assert_true(ice_pair_priority(3, 5) == (3ull << 32) + 10);
	assert_true(ice_pair_priority(7, 7) == (7ull << 32) + 14);
	assert_true(
		ice_pair_priority(2130706431, 37748479)
		== 37748479ull * 4294967296ull + 2 * 2130706431ull + 1);
}

static const struct {
	const char *name;
	const char *text;
	const char *ufrag;
	int rc;
	enum ice_kind kind;
	const char *addr;
	uint32_t priority;
} texts[] = {
	// The examples of spec/connectivity.md 2.4.
	{"host",
	 "candidate:fffeff7e5e895846293d220a 1 udp 2130706175 192.0.2.10 52625 typ host ufrag jbi4",
	 "jbi4",
	 0,
	 ICE_KIND_HOST,
	 "192.0.2.10:52625",
	 2130706175},
	{"host IPv6",
	 "candidate:ffffff7e1b2c3d4e5f607182 1 udp 2130706431 2001:db8::10 52625 typ host ufrag "
	 "jbi4",
	 "jbi4",
	 0,
	 ICE_KIND_HOST,
	 "[2001:db8::10]:52625",
	 2130706431},
	{"srflx",
	 "candidate:fffe7f64a1b2c3d4e5f60718 1 udp 1686109951 203.0.113.7 40123 typ srflx raddr "
	 "0.0.0.0 rport 0 ufrag jbi4",
	 "jbi4",
	 0,
	 ICE_KIND_SRFLX,
	 "203.0.113.7:40123",
	 1686109951},
	{"relay",
	 "candidate:fffe3f02cafebabe12345678 1 udp 37748479 198.51.100.5 53909 typ relay raddr "
	 "0.0.0.0 rport 0 ufrag jbi4",
	 "jbi4",
	 0,
	 ICE_KIND_RELAY,
	 "198.51.100.5:53909",
	 37748479},
	{"relay IPv6",
	 "candidate:ffff3f02cafebabe87654321 1 udp 37748735 2001:db8:5::5 53909 typ relay raddr :: "
	 "rport 0 ufrag jbi4",
	 "jbi4",
	 0,
	 ICE_KIND_RELAY,
	 "[2001:db8:5::5]:53909",
	 37748735},
	{"no ufrag", "candidate:1 1 udp 1 192.0.2.1 1 typ host", "jbi4", 0, 0, "192.0.2.1:1", 1},
	{"upper case", "candidate:1 1 UDP 1 192.0.2.1 1 typ host", "jbi4", 0, 0, "192.0.2.1:1", 1},
	{"prflx",
	 "candidate:1 1 udp 1 192.0.2.1 1 typ prflx",
	 "jbi4",
	 0,
	 ICE_KIND_PRFLX,
	 "192.0.2.1:1",
	 1},
	{"srflx without raddr",
	 "candidate:1 1 udp 1 192.0.2.1 1 typ srflx",
	 "jbi4",
	 0,
	 ICE_KIND_SRFLX,
	 "192.0.2.1:1",
	 1},
	{"white space",
	 "  candidate:1\t1  udp 4294967295 192.0.2.1 65535 typ  host \r\n",
	 "jbi4",
	 0,
	 0,
	 "192.0.2.1:65535",
	 4294967295},
	{"extensions",
	 "candidate:1 1 udp 1 192.0.2.1 1 typ host generation 0 network-id 3 ufrag jbi4 "
	 "network-cost 9",
	 "jbi4",
	 0,
	 0,
	 "192.0.2.1:1",
	 1},
	{"any ufrag",
	 "candidate:1 1 udp 1 192.0.2.1 1 typ host ufrag x",
	 NULL,
	 0,
	 0,
	 "192.0.2.1:1",
	 1},
	{"wrong ufrag",
	 "candidate:1 1 udp 1 192.0.2.1 1 typ host ufrag jbi5",
	 "jbi4",
	 -EKEYREJECTED,
	 0,
	 NULL,
	 0},
	{"tcp",
	 "candidate:1 1 tcp 1 192.0.2.1 9 typ host tcptype active",
	 "jbi4",
	 -EPROTONOSUPPORT,
	 0,
	 NULL,
	 0},
	{"component 2",
	 "candidate:1 2 udp 1 192.0.2.1 1 typ host",
	 "jbi4",
	 -EOPNOTSUPP,
	 0,
	 NULL,
	 0},
	{"empty", "", "jbi4", -EINVAL, 0, NULL, 0},
	{"garbage", "\xff\xfe garbage", "jbi4", -EINVAL, 0, NULL, 0},
	{"a= prefix", "a=candidate:1 1 udp 1 192.0.2.1 1 typ host", "jbi4", -EINVAL, 0, NULL, 0},
	{"no foundation", "candidate: 1 udp 1 192.0.2.1 1 typ host", "jbi4", -EINVAL, 0, NULL, 0},
	{"foundation of 33",
	 "candidate:123456789012345678901234567890123 1 udp 1 192.0.2.1 1 typ host",
	 "jbi4",
	 -EINVAL,
	 0,
	 NULL,
	 0},
	{"priority text",
	 "candidate:1 1 udp high 192.0.2.1 1 typ host",
	 "jbi4",
	 -EINVAL,
	 0,
	 NULL,
	 0},
	{"priority 2^32",
	 "candidate:1 1 udp 4294967296 192.0.2.1 1 typ host",
	 "jbi4",
	 -EINVAL,
	 0,
	 NULL,
	 0},
	{"negative priority",
	 "candidate:1 1 udp -1 192.0.2.1 1 typ host",
	 "jbi4",
	 -EINVAL,
	 0,
	 NULL,
	 0},
	{"name for an address",
	 "candidate:1 1 udp 1 a.local 1 typ host",
	 "jbi4",
	 -EINVAL,
	 0,
	 NULL,
	 0},
	{"brackets", "candidate:1 1 udp 1 [2001:db8::1] 1 typ host", "jbi4", -EINVAL, 0, NULL, 0},
	{"port 65536", "candidate:1 1 udp 1 192.0.2.1 65536 typ host", "jbi4", -EINVAL, 0, NULL, 0},
	{"unknown kind", "candidate:1 1 udp 1 192.0.2.1 1 typ guess", "jbi4", -EINVAL, 0, NULL, 0},
	{"no kind", "candidate:1 1 udp 1 192.0.2.1 1", "jbi4", -EINVAL, 0, NULL, 0},
	{"raddr without rport",
	 "candidate:1 1 udp 1 192.0.2.1 1 typ srflx raddr 0.0.0.0",
	 "jbi4",
	 -EINVAL,
	 0,
	 NULL,
	 0},
	{"key without value",
	 "candidate:1 1 udp 1 192.0.2.1 1 typ host generation",
	 "jbi4",
	 -EINVAL,
	 0,
	 NULL,
	 0},
	{"port 0", "candidate:1 1 udp 1 192.0.2.1 0 typ host", "jbi4", -EADDRNOTAVAIL, 0, NULL, 0},
	{"unspecified",
	 "candidate:1 1 udp 1 0.0.0.0 1 typ host",
	 "jbi4",
	 -EADDRNOTAVAIL,
	 0,
	 NULL,
	 0},
	{"unspecified IPv6",
	 "candidate:1 1 udp 1 :: 1 typ host",
	 "jbi4",
	 -EADDRNOTAVAIL,
	 0,
	 NULL,
	 0},
	{"multicast",
	 "candidate:1 1 udp 1 224.0.0.1 1 typ host",
	 "jbi4",
	 -EADDRNOTAVAIL,
	 0,
	 NULL,
	 0},
	{"multicast IPv6",
	 "candidate:1 1 udp 1 ff02::1 1 typ host",
	 "jbi4",
	 -EADDRNOTAVAIL,
	 0,
	 NULL,
	 0},
	{"broadcast",
	 "candidate:1 1 udp 1 255.255.255.255 1 typ host",
	 "jbi4",
	 -EADDRNOTAVAIL,
	 0,
	 NULL,
	 0},
	{"link-local",
	 "candidate:1 1 udp 1 169.254.1.1 1 typ host",
	 "jbi4",
	 -EADDRNOTAVAIL,
	 0,
	 NULL,
	 0},
	{"loopback", "candidate:1 1 udp 1 127.0.0.1 1 typ host", "jbi4", 0, 0, "127.0.0.1:1", 1},
	{"IPv6 link-local",
	 "candidate:1 1 udp 1 fe80::1 1 typ host",
	 "jbi4",
	 0,
	 0,
	 "[fe80::1]:1",
	 1},
};

static void b06_b07_candidate_strings(void **)
{
	for (size_t i = 0; i < COUNT_OF(texts); i++) {
		struct ice_candidate c;
		struct ip_endpoint want;

		print_message("%s\n", texts[i].name);
		assert_int_equal(
			ice_candidate_parse(&c, texts[i].text, texts[i].ufrag), texts[i].rc);
		if (texts[i].rc != 0)
			continue;
		assert_int_equal(ip_endpoint_parse(&want, texts[i].addr), 0);
		assert_int_equal(c.kind, texts[i].kind);
		assert_int_equal(c.priority, texts[i].priority);
		assert_true(ip_endpoint_eq(&c.addr, &want));
		assert_true(ip_endpoint_eq(&c.base, &want));
	}
}

// The examples of the spec come back byte for byte, whatever the related address was.
static void b07_b26_strings_come_back_byte_for_byte(void **)
{
	for (size_t i = 0; i < 5; i++) {
		char buf[ICE_CANDIDATE_TEXT_SIZE];
		struct ice_candidate c;

		assert_int_equal(ice_candidate_parse(&c, texts[i].text, NULL), 0);
		assert_int_equal(ice_candidate_format(&c, "jbi4", buf), strlen(texts[i].text));
		assert_string_equal(buf, texts[i].text);
	}
}

static void test_complete(void **)
{
	struct ice_candidate c = {.kind = ICE_KIND_SRFLX}, d;
	char buf[ICE_CANDIDATE_TEXT_SIZE];

	assert_int_equal(ip_endpoint_parse(&c.addr, "203.0.113.7:40123"), 0);
	assert_int_equal(ip_endpoint_parse(&c.base, "192.168.1.5:52625"), 0);
	ice_candidate_complete(&c, 0, false);
	assert_int_equal(c.priority, 1686109951);
	assert_int_equal(strncmp(c.foundation, "fffe7f64", 8), 0);
	assert_int_equal(strlen(c.foundation), 24);
	assert_true(ice_candidate_format(&c, "gate", buf) > 0);
	assert_null(strstr(buf, "192.168"));
	assert_non_null(strstr(buf, " typ srflx raddr 0.0.0.0 rport 0 ufrag gate"));
	d = c;
	d.kind = ICE_KIND_HOST;
	ice_candidate_complete(&d, 0, false);
	assert_string_not_equal(c.foundation, d.foundation);
	assert_true(ip_endpoint_eq(&d.base, &d.addr));
}

static void test_format_limits(void **)
{
	char buf[ICE_CANDIDATE_TEXT_SIZE], ufrag[ICE_UFRAG_LEN_MAX + 2];
	struct ice_candidate c = {.kind = ICE_KIND_HOST};

	assert_int_equal(ice_candidate_format(&c, "gate", buf), -EINVAL);
	assert_int_equal(ip_endpoint_parse(&c.addr, "192.0.2.1:1"), 0);
	ice_candidate_complete(&c, 0, false);
	memset(ufrag, 'u', sizeof(ufrag));
	ufrag[ICE_UFRAG_LEN_MAX + 1] = '\0';
	assert_int_equal(ice_candidate_format(&c, ufrag, buf), -EINVAL);
	ufrag[ICE_UFRAG_LEN_MAX] = '\0';
	assert_true(ice_candidate_format(&c, ufrag, buf) > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_priorities),
		cmocka_unit_test(test_prflx_priorities),
		cmocka_unit_test(test_pair_priorities),
		cmocka_unit_test(b06_b07_candidate_strings),
		cmocka_unit_test(b07_b26_strings_come_back_byte_for_byte),
		cmocka_unit_test(test_complete),
		cmocka_unit_test(test_format_limits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
