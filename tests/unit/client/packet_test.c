// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "peers/client/packet.h"
#include "tests/unit/unit.h"

#include <sodium.h>

#include <stdlib.h>

struct bytes {
	uint8_t data[2048];
	size_t size;
};

static struct bytes hex(const char *text)
{
	struct bytes b = {0};

	assert_int_equal(
		sodium_hex2bin(b.data, sizeof(b.data), text, strlen(text), " ", &b.size, NULL), 0);
	return b;
}

// 100.64.0.1:5401 -> 10.0.0.5:81, "12345678"
#define UDP4 "450000240000000040110c84 64400001 0a000005 1519 0051 0010 ab49 3132333435363738"
#define UDP6                                                                                       \
	"6000000000101140 fd002021111100000000000000000001 fd002021111180000000000000000000"       \
	"1519 0051 0010 3d28 3132333435363738"

static void gate(void **)
{
	static const struct {
		const char *what, *packet;
		enum packet_verdict expected;
	} cases[] = {
		{"udp4", UDP4, PACKET_OK},
		{"udp6", UDP6, PACKET_OK},
		{"empty", "", PACKET_BAD_LENGTH},
		{"version 5", "55000024", PACKET_BAD_VERSION},
		{"short ipv4", "45000024000000004011", PACKET_BAD_LENGTH},
		{"ihl 4", "44000014 00000000 40ff0000 01020304 05060708", PACKET_BAD_LENGTH},
		{"ihl 6 beyond end",
		 "46000014 00000000 40ff0000 01020304 05060708",
		 PACKET_BAD_LENGTH},
		{"ihl 6 with option",
		 "46000018 00000000 40ff0000 01020304 05060708 01010101",
		 PACKET_OK},
		{"total length + 1",
		 "45000015 00000000 40ff0000 01020304 05060708",
		 PACKET_BAD_LENGTH},
		{"total length - 1",
		 "45000013 00000000 40ff0000 01020304 05060708",
		 PACKET_BAD_LENGTH},
		{"DF", "45000014 00004000 40ff0000 01020304 05060708", PACKET_OK},
		{"MF", "45000014 00002000 40ff0000 01020304 05060708", PACKET_FRAGMENT},
		{"offset", "45000014 00000001 40ff0000 01020304 05060708", PACKET_FRAGMENT},
		{"udp length + 1",
		 "4500001c 00000000 40110000 01020304 05060708 00010002 00090000",
		 PACKET_BAD_TRANSPORT},
		{"udp length - 1",
		 "4500001c 00000000 40110000 01020304 05060708 00010002 00070000",
		 PACKET_BAD_TRANSPORT},
		{"udp cut",
		 "45000018 00000000 40110000 01020304 05060708 00010002",
		 PACKET_BAD_TRANSPORT},
		{"tcp",
		 "45000028 00000000 40060000 01020304 05060708 "
		 "0001000200000000000000005000000000000000",
		 PACKET_OK},
		{"tcp offset 4",
		 "45000028 00000000 40060000 01020304 05060708 "
		 "0001000200000000000000004000000000000000",
		 PACKET_BAD_TRANSPORT},
		{"tcp offset 6 beyond end",
		 "45000028 00000000 40060000 01020304 05060708 "
		 "0001000200000000000000006000000000000000",
		 PACKET_BAD_TRANSPORT},
		{"icmp cut",
		 "4500001b 00000000 40010000 01020304 05060708 08000000000000",
		 PACKET_BAD_TRANSPORT},
		{"icmpv6 in ipv4",
		 "4500001c 00000000 403a0000 01020304 05060708 8000000000000000",
		 PACKET_BAD_TRANSPORT},
		{"icmpv4 in ipv6",
		 "6000000000080140 fd000000000000000000000000000001 "
		 "fd000000000000000000000000000002"
		 "0800000000000000",
		 PACKET_BAD_TRANSPORT},
		{"ipv6 payload + 1",
		 "60000000000100ff fd000000000000000000000000000001 "
		 "fd000000000000000000000000000002",
		 PACKET_BAD_LENGTH},
		{"ipv6 hop-by-hop then none",
		 "6000000000080040 fd000000000000000000000000000001 "
		 "fd000000000000000000000000000002"
		 "3b00000000000000",
		 PACKET_OK},
		{"ipv6 hop-by-hop beyond end",
		 "6000000000080040 fd000000000000000000000000000001 "
		 "fd000000000000000000000000000002"
		 "3b01000000000000",
		 PACKET_BAD_LENGTH},
		{"ipv6 hop-by-hop cut",
		 "6000000000040040 fd000000000000000000000000000001 "
		 "fd000000000000000000000000000002"
		 "3b000000",
		 PACKET_BAD_LENGTH},
		{"ipv6 atomic fragment",
		 "6000000000082c40 fd000000000000000000000000000001 "
		 "fd000000000000000000000000000002"
		 "3b00000001020304",
		 PACKET_OK},
		{"ipv6 M flag",
		 "6000000000082c40 fd000000000000000000000000000001 "
		 "fd000000000000000000000000000002"
		 "3b00000101020304",
		 PACKET_FRAGMENT},
		{"ipv6 offset",
		 "6000000000082c40 fd000000000000000000000000000001 "
		 "fd000000000000000000000000000002"
		 "3b00000801020304",
		 PACKET_FRAGMENT},
		{"ipv6 esp is a transport",
		 "6000000000043240 fd000000000000000000000000000001 "
		 "fd000000000000000000000000000002"
		 "00000001",
		 PACKET_OK},
	};

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct bytes b = hex(cases[i].packet);
		// On the heap with its exact size, so that ASan sees any read beyond.
		uint8_t *exact = malloc(b.size + 1);
		struct packet_view p;

		assert_non_null(exact);
		memcpy(exact + 1, b.data, b.size);
		if (packet_parse(&p, exact + 1, b.size) != cases[i].expected)
			fail_msg("%s", cases[i].what);
		free(exact);
	}
}

static void size_limit(void **)
{
	static uint8_t packet[1281] = {0x45, 0, 0x05, 0x01, 0, 0, 0, 0, 64, 0xfd};
	struct packet_view p;

	assert_int_equal(packet_parse(&p, packet, 1281), PACKET_TOO_LONG);
	packet[3] = 0;
	assert_int_equal(packet_parse(&p, packet, 1280), PACKET_OK);
}

// Every prefix of a good packet is bad, and no read goes beyond it.
static void truncated(void **)
{
	static const char *const packets[] = {UDP4, UDP6};

	for (size_t i = 0; i < COUNT_OF(packets); i++) {
		struct bytes b = hex(packets[i]);

		for (size_t size = 0; size < b.size; size++) {
			uint8_t *exact = malloc(size + 1);
			struct packet_view p;

			memcpy(exact + 1, b.data, size);
			assert_int_equal(packet_parse(&p, exact + 1, size), PACKET_BAD_LENGTH);
			assert_int_equal(packet_length(exact + 1, size), 0);
			free(exact);
		}
		assert_int_equal(packet_length(b.data, b.size), b.size);
		assert_int_equal(packet_length(b.data, b.size + 9), b.size);
	}
}

static void keys(void **)
{
	static const struct {
		const char *packet;
		struct packet_key src, dst;
	} cases[] = {
		{UDP4, {PACKET_KEY_UDP, 5401}, {PACKET_KEY_UDP, 81}},
		{UDP6, {PACKET_KEY_UDP, 5401}, {PACKET_KEY_UDP, 81}},
		{"45000028 00000000 40060000 01020304 05060708 "
		 "01bb000200000000000000005000000000000000",
		 {PACKET_KEY_TCP, 443},
		 {PACKET_KEY_TCP, 2}},
		{"4500001c 00000000 40010000 01020304 05060708 0800000012340000",
		 {PACKET_KEY_ECHO, 0x1234},
		 {PACKET_KEY_ECHO, 0x1234}},
		{"4500001c 00000000 40010000 01020304 05060708 0801000012340000",
		 {PACKET_KEY_ICMP_OTHER, 0},
		 {PACKET_KEY_ICMP_OTHER, 0}},
		{"4500001c 00000000 40010000 01020304 05060708 0d00000012340000",
		 {PACKET_KEY_ICMP_OTHER, 0},
		 {PACKET_KEY_ICMP_OTHER, 0}},
		{"45000014 00000000 402f0000 01020304 05060708",
		 {PACKET_KEY_OTHER, 0},
		 {PACKET_KEY_OTHER, 0}},
	};

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct bytes b = hex(cases[i].packet);
		struct packet_view p;

		assert_int_equal(packet_parse(&p, b.data, b.size), PACKET_OK);
		assert_int_equal(p.src_key.kind, cases[i].src.kind);
		assert_int_equal(p.src_key.value, cases[i].src.value);
		assert_int_equal(p.dst_key.kind, cases[i].dst.kind);
		assert_int_equal(p.dst_key.value, cases[i].dst.value);
	}
}

// The vectors of the wire specification.
static void prohibited(void **)
{
	static const struct {
		const char *packet, *answer;
	} cases[] = {
		{UDP4,
		 "4500003800000000140138800a00000564400001030d3c2f00000000450000240000000040110c846"
		 "44000010a"
		 "000005151900510010ab49"},
		{UDP6,
		 "6000000000403a14fd002021111180000000000000000000fd0020211111000000000000000000010"
		 "101b0ed00"
		 "0000006000000000101140fd002021111100000000000000000001fd0020211111800000000000000"
		 "000001519"
		 "005100103d283132333435363738"},
	};

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct bytes b = hex(cases[i].packet), expected = hex(cases[i].answer);
		struct packet_icmp_error e;
		struct packet_view p, answer;
		uint8_t out[PACKET_SIZE_MAX];
		size_t size;

		assert_int_equal(packet_parse(&p, b.data, b.size), PACKET_OK);
		size = packet_prohibited_build(&p, out);
		assert_int_equal(size, expected.size);
		assert_memory_equal(out, expected.data, size);

		assert_int_equal(packet_parse(&answer, out, size), PACKET_OK);
		assert_int_equal(packet_icmp_classify(&answer, &e), PACKET_ICMP_ERROR);
		assert_true(e.is_prohibited);
		assert_true(ip_addr_eq(&e.quoted_dst, &p.dst));
		assert_int_equal(e.quoted_dst_key.kind, PACKET_KEY_UDP);
		assert_int_equal(e.quoted_dst_key.value, 81);
	}
}

// A full-size original is quoted only as far as the answer may grow.
static void prohibited_long(void **)
{
	uint8_t packet[1280] = {0x60, 0, 0, 0, 1240 >> 8, 1240 & 0xff, 0xfc, 64, 0xfd};
	uint8_t out[PACKET_SIZE_MAX];
	struct packet_view p;

	assert_int_equal(packet_parse(&p, packet, sizeof(packet)), PACKET_OK);
	assert_int_equal(packet_prohibited_build(&p, out), 1280);
	assert_int_equal(packet_parse(&p, out, 1280), PACKET_OK);
}

#define ICMP4_HEAD "45000038 00000000 14010000 0a000005 64400001 "
#define QUOTE4 "450000240000000040110c84 64400001 0a000005 1519 0051 0010 ab49"

static void icmp_classes(void **)
{
	static const struct {
		const char *what, *packet;
		enum packet_icmp_class expected;
		bool is_prohibited;
	} cases[] = {
		{"not icmp", UDP4, PACKET_ICMP_NONE, false},
		{"3/13", ICMP4_HEAD "030d000000000000" QUOTE4, PACKET_ICMP_ERROR, true},
		{"3/0", ICMP4_HEAD "0300000000000000" QUOTE4, PACKET_ICMP_ERROR, false},
		{"3/9", ICMP4_HEAD "0309000000000000" QUOTE4, PACKET_ICMP_ERROR, false},
		{"3/10", ICMP4_HEAD "030a000000000000" QUOTE4, PACKET_ICMP_ERROR, false},
		{"11/13", ICMP4_HEAD "0b0d000000000000" QUOTE4, PACKET_ICMP_ERROR, false},
		{"redirect", ICMP4_HEAD "050d000000000000" QUOTE4, PACKET_ICMP_UNREADABLE, false},
		{"echo", ICMP4_HEAD "0800000000000000" QUOTE4, PACKET_ICMP_NONE, false},
		{"quote cut in ports",
		 "45000033 00000000 14010000 0a000005 64400001 030d000000000000"
		 "450000240000000040110c84 64400001 0a000005 151900",
		 PACKET_ICMP_UNREADABLE,
		 false},
		{"quote with just the ports",
		 "45000034 00000000 14010000 0a000005 64400001 030d000000000000"
		 "450000240000000040110c84 64400001 0a000005 15190051",
		 PACKET_ICMP_ERROR,
		 true},
		{"quote cut in header",
		 "4500002f 00000000 14010000 0a000005 64400001 030d000000000000"
		 "450000240000000040110c84 64400001 0a0000",
		 PACKET_ICMP_UNREADABLE,
		 false},
		{"no quote",
		 "4500001c 00000000 14010000 0a000005 64400001 030d000000000000",
		 PACKET_ICMP_UNREADABLE,
		 false},
		{"quotes gre",
		 ICMP4_HEAD
		 "030d000000000000 4500002400000000402f0c84 64400001 0a000005 1519005100100000",
		 PACKET_ICMP_UNREADABLE,
		 false},
		{"quotes echo request",
		 ICMP4_HEAD
		 "030d000000000000 450000240000000040010c84 64400001 0a000005 0800000012340000",
		 PACKET_ICMP_ERROR,
		 true},
		{"quotes echo reply",
		 ICMP4_HEAD
		 "030d000000000000 450000240000000040010c84 64400001 0a000005 0000000012340000",
		 PACKET_ICMP_UNREADABLE,
		 false},
		{"quotes ipv6 in ipv4",
		 "4500004c 00000000 14010000 0a000005 64400001 030d000000000000"
		 "6000000000101140 fd002021111100000000000000000001 "
		 "fd002021111180000000000000000000"
		 "15190051 00103d28",
		 PACKET_ICMP_UNREADABLE,
		 false},
		{"v6 1/0",
		 "6000000000383a14 fd002021111180000000000000000000 "
		 "fd002021111100000000000000000001"
		 "0100000000000000"
		 "6000000000101140 fd002021111100000000000000000001 "
		 "fd002021111180000000000000000000"
		 "15190051 00103d28",
		 PACKET_ICMP_ERROR,
		 false},
		{"v6 1/1",
		 "6000000000383a14 fd002021111180000000000000000000 "
		 "fd002021111100000000000000000001"
		 "0101000000000000"
		 "6000000000101140 fd002021111100000000000000000001 "
		 "fd002021111180000000000000000000"
		 "15190051 00103d28",
		 PACKET_ICMP_ERROR,
		 true},
		{"v6 3/1",
		 "6000000000383a14 fd002021111180000000000000000000 "
		 "fd002021111100000000000000000001"
		 "0301000000000000"
		 "6000000000101140 fd002021111100000000000000000001 "
		 "fd002021111180000000000000000000"
		 "15190051 00103d28",
		 PACKET_ICMP_ERROR,
		 false},
	};

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct bytes b = hex(cases[i].packet);
		uint8_t *exact = malloc(b.size + 1);
		struct packet_icmp_error e = {0};
		struct packet_view p;

		memcpy(exact + 1, b.data, b.size);
		if (packet_parse(&p, exact + 1, b.size) != PACKET_OK)
			fail_msg("%s: not even a packet", cases[i].what);
		if (packet_icmp_classify(&p, &e) != cases[i].expected
		    || e.is_prohibited != cases[i].is_prohibited)
			fail_msg("%s", cases[i].what);
		free(exact);
	}
}

static void control(void **)
{
	struct bytes goodbye = hex(
		"600000000008ff00 00000000000000000000000000000000 00000000000000000000000000000000"
		"0200000000000000");
	uint8_t built[PACKET_GOODBYE_SIZE];
	struct packet_view p;

	packet_goodbye_build(built);
	assert_int_equal(goodbye.size, sizeof(built));
	assert_memory_equal(built, goodbye.data, sizeof(built));
	assert_int_equal(packet_parse(&p, built, sizeof(built)), PACKET_OK);
	assert_int_equal(packet_control_event(&p), PACKET_CONTROL_GOODBYE);

	// Any address bit makes it an ordinary packet.
	built[39] = 1;
	assert_int_equal(packet_parse(&p, built, sizeof(built)), PACKET_OK);
	assert_int_equal(packet_control_event(&p), -1);
	// Too short for an event.
	packet_goodbye_build(built);
	built[5] = 7;
	assert_int_equal(packet_parse(&p, built, sizeof(built) - 1), PACKET_OK);
	assert_int_equal(packet_control_event(&p), -1);
}

static void ecn(void **)
{
	static const struct {
		const char *packet, *after; // with CE outside
	} cases[] = {
		{"45000014 00000000 40ff0000 01020304 05060708",
		 "45000014 00000000 40ff0000 01020304 05060708"},
		// 4502 -> 4503: the checksum falls by one.
		{"45020014 00000000 40ff66ce 01020304 05060708",
		 "45030014 00000000 40ff66cd 01020304 05060708"},
		{"45010014 00000000 40ff66cf 01020304 05060708",
		 "45030014 00000000 40ff66cd 01020304 05060708"},
		{"6020000000003b40 fd000000000000000000000000000001 "
		 "fd000000000000000000000000000002",
		 "6030000000003b40 fd000000000000000000000000000001 "
		 "fd000000000000000000000000000002"},
	};

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct bytes b = hex(cases[i].packet), after = hex(cases[i].after), copy = b;
		struct packet_view p;

		assert_int_equal(packet_parse(&p, b.data, b.size), PACKET_OK);
		packet_ecn_merge(b.data, &p, 2);
		assert_memory_equal(b.data, copy.data, b.size);
		packet_ecn_merge(b.data, &p, 3);
		assert_memory_equal(b.data, after.data, b.size);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(gate),
		cmocka_unit_test(size_limit),
		cmocka_unit_test(truncated),
		cmocka_unit_test(keys),
		cmocka_unit_test(prohibited),
		cmocka_unit_test(prohibited_long),
		cmocka_unit_test(icmp_classes),
		cmocka_unit_test(control),
		cmocka_unit_test(ecn),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
