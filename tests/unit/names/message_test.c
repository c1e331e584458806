// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "control/names/message.h"
#include "tests/unit/names/query.h"
#include "tests/unit/unit.h"

#include <errno.h>

static void parses_a_query(void **)
{
	struct dns_head head;

	assert_int_equal(dns_query_parse(&head, query, sizeof(query)), 0);
	assert_int_equal(head.size, QUERY_HEAD);
	assert_memory_equal(head.data, query, QUERY_HEAD);
	assert_int_equal(dns_query_parse(&head, query, QUERY_HEAD), 0);
}

// One byte changed, or the end cut off.
static void refuses(void **)
{
	static const struct {
		size_t at;
		uint8_t value;
	} cases[] = {
		{2, 0x81}, // a response
		{5, 0}, // no question
		{5, 2}, // two questions
		{4, 1}, // 257 of them
		{12, 0xc0}, // compressed
		{12, 64}, // reserved
		{12, 63}, // beyond the end
		{19, 9}, // no root label
	};
	uint8_t bad[QUERY_HEAD];
	struct dns_head head;

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		memcpy(bad, query, sizeof(bad));
		bad[cases[i].at] = cases[i].value;
		if (dns_query_parse(&head, bad, sizeof(bad)) != -EBADMSG)
			fail_msg("case %zu", i);
	}
	for (size_t size = 0; size < QUERY_HEAD; size++)
		assert_int_equal(dns_query_parse(&head, query, size), -EBADMSG);
}

// Labels of @p len bytes, then the root: a name of n * (len + 1) + 1 bytes.
static size_t long_query(uint8_t *out, size_t n, uint8_t len)
{
	size_t at = DNS_HEADER_SIZE;

	memcpy(out, query, DNS_HEADER_SIZE);
	for (size_t i = 0; i < n; i++) {
		out[at] = len;
		memset(out + at + 1, 'x', len);
		at += 1u + len;
	}
	memset(out + at, 0, 5);
	return at + 5;
}

static void bounds_the_name(void **)
{
	struct dns_head head;
	uint8_t data[512];
	size_t size = long_query(data, 127, 1);

	assert_int_equal(dns_query_parse(&head, data, size), 0);
	assert_int_equal(head.size, DNS_HEAD_SIZE);
	size = long_query(data, 128, 1);
	assert_int_equal(dns_query_parse(&head, data, size), -EBADMSG);
	size = long_query(data, 4, 63);
	assert_int_equal(dns_query_parse(&head, data, size), -EBADMSG);
}

static void matches_responses(void **)
{
	uint8_t response[64];
	struct dns_head head;

	assert_int_equal(dns_query_parse(&head, query, sizeof(query)), 0);
	response_make(response, query, QUERY_HEAD, sizeof(response), 0);
	assert_true(dns_response_matches(&head, response, sizeof(response)));
	assert_true(dns_response_matches(&head, response, QUERY_HEAD));
	assert_int_equal(dns_rcode(response, sizeof(response)), 0);
	response[13] = 'A'; // the server's case
	assert_true(dns_response_matches(&head, response, sizeof(response)));
	for (size_t size = 0; size < QUERY_HEAD; size++)
		assert_false(dns_response_matches(&head, response, size));
	for (size_t at = 0; at < QUERY_HEAD; at++) {
		static const size_t ours[] = {3, 6, 7, 8, 9, 10, 11}; // may be anything
		bool is_ours = false;

		for (size_t i = 0; i < COUNT_OF(ours); i++)
			is_ours = is_ours || ours[i] == at;
		response[at] ^= 0x80;
		if (dns_response_matches(&head, response, sizeof(response)) != is_ours)
			fail_msg("byte %zu", at);
		response[at] ^= 0x80;
	}
	// An error may leave the question out; success may not.
	response[5] = 0;
	assert_false(dns_response_matches(&head, response, sizeof(response)));
	response[3] = 0x85;
	assert_true(dns_response_matches(&head, response, DNS_HEADER_SIZE));
	assert_int_equal(dns_rcode(response, DNS_HEADER_SIZE), 5);
}

static void writes(void **)
{
	uint8_t out[DNS_HEAD_SIZE], response[1500], want[QUERY_HEAD];
	struct dns_head head;

	assert_int_equal(dns_query_parse(&head, query, sizeof(query)), 0);
	memcpy(want, query, QUERY_HEAD);
	want[2] = 0x81; // QR, RD
	want[3] = 0x82; // RA, SERVFAIL
	want[11] = 0; // no OPT
	assert_int_equal(dns_servfail_write(out, &head), QUERY_HEAD);
	assert_memory_equal(out, want, QUERY_HEAD);

	response_make(response, query, QUERY_HEAD, sizeof(response), 3);
	want[2] = 0x87; // QR, AA, TC, RD
	want[3] = 0x83;
	assert_int_equal(dns_truncated_write(out, &head, response), QUERY_HEAD);
	assert_memory_equal(out, want, QUERY_HEAD);

	assert_int_equal(dns_probe_write(out, 0xbeef), 30);
	assert_memory_equal(out, "\xbe\xef\1\0\0\1\0\0\0\0\0\0\10firezone\3dev\0\0\1\0\1", 30);
	assert_int_equal(dns_query_parse(&head, out, 30), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(parses_a_query),
		cmocka_unit_test(refuses),
		cmocka_unit_test(bounds_the_name),
		cmocka_unit_test(matches_responses),
		cmocka_unit_test(writes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
