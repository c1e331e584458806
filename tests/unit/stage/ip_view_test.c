// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "acl/acl.h"
#include "dataplane/stage/ip_view.h"
#include "tests/unit/rand.h"
#include "tests/unit/stage/packet.h"
#include "tests/unit/unit.h"

#include <rte_common.h>

#include <netinet/in.h>
#include <stdlib.h>

#define C4 "100.64.0.1"
#define S4 "192.0.2.10"
#define C6 "fd00:2021:1111::1"
#define S6 "2001:db8:2::10"

// A heap copy of exactly the packet's size, so that ASan sees each byte read beyond it.
static enum ip_verdict parse(const struct packet *p, size_t size, struct ip_view *view)
{
	uint8_t *copy = malloc(size > 0 ? size : 1);
	enum ip_verdict v;

	assert_non_null(copy);
	memcpy(copy, p->bytes, size);
	v = ip_view_parse(view, copy, (uint32_t)size);
	free(copy);
	return v;
}

static enum ip_icmp icmp(const struct packet *p, struct ip_view *quote)
{
	uint8_t *copy = malloc(p->size);
	struct ip_view view;
	enum ip_icmp kind;

	assert_non_null(copy);
	memcpy(copy, p->bytes, p->size);
	assert_int_equal(ip_view_parse(&view, copy, (uint32_t)p->size), IP_VERDICT_OK);
	kind = ip_view_icmp(&view, copy, quote);
	free(copy);
	return kind;
}

struct sample {
	struct packet p;
	uint8_t class_;
	uint16_t sport, dport; // host order
};

static struct sample samples[10];

[[gnu::noinline]] static void
sample_add(size_t i, struct packet p, uint8_t class_, uint16_t sport, uint16_t dport)
{
	samples[i] = (struct sample){.class_ = class_, .sport = sport, .dport = dport};
	samples[i].p = p;
}

[[gnu::noinline]] static void samples_v4_make(void)
{
	sample_add(0, packet_udp(C4, 5401, S4, 81, "12345678", 8), ACL_CLASS_UDP, 5401, 81);
	sample_add(2, packet_tcp(C4, 5401, S4, 80, PACKET_SYN, 5), ACL_CLASS_TCP, 5401, 80);
	sample_add(4, packet_echo(C4, S4, false, 77, 16), ACL_CLASS_ICMP_ECHO, 77, 77);
	sample_add(6, packet_icmp(C4, S4, 13, 0, 0, NULL, 12), ACL_CLASS_ICMP_OTHER, 0, 0);
	sample_add(8, packet_proto(C4, S4, 47, 16), ACL_CLASS_OTHER, 0, 0);
}

[[gnu::noinline]] static void samples_v6_make(void)
{
	sample_add(1, packet_udp(C6, 5401, S6, 81, "12345678", 8), ACL_CLASS_UDP, 5401, 81);
	sample_add(3, packet_tcp(C6, 5401, S6, 80, PACKET_SYN, 5), ACL_CLASS_TCP, 5401, 80);
	sample_add(5, packet_echo(C6, S6, false, 77, 16), ACL_CLASS_ICMP_ECHO, 77, 77);
	sample_add(7, packet_icmp(C6, S6, 135, 0, 0, NULL, 16), ACL_CLASS_ICMP_OTHER, 0, 0);
	sample_add(9, packet_proto(C6, S6, 132, 16), ACL_CLASS_OTHER, 0, 0);
}

static int samples_make(void **)
{
	samples_v4_make();
	samples_v6_make();
	return 0;
}

static void well_formed(void **)
{
	for (size_t i = 0; i < COUNT_OF(samples); i++) {
		const struct sample *s = &samples[i];
		struct ip_view v;

		assert_int_equal(parse(&s->p, s->p.size, &v), IP_VERDICT_OK);
		assert_int_equal(v.class_, s->class_);
		assert_int_equal(v.size, s->p.size);
		assert_int_equal(v.l4, packet_l4(&s->p));
		assert_int_equal(rte_be_to_cpu_16(v.sport), s->sport);
		assert_int_equal(rte_be_to_cpu_16(v.dport), s->dport);
	}
}

static void truncated_at_every_byte(void **)
{
	for (size_t i = 0; i < COUNT_OF(samples); i++) {
		for (size_t size = 0; size < samples[i].p.size; size++) {
			struct packet p = samples[i].p;
			struct ip_view v;

			assert_int_equal(parse(&p, size, &v), IP_VERDICT_MALFORMED);
			// The same with an IP header that tells the truth about the rest.
			p.size = size;
			if (p.bytes[0] >> 4 == 4 && size >= 20) {
				p.bytes[2] = (uint8_t)(size >> 8);
				p.bytes[3] = (uint8_t)size;
			} else if (p.bytes[0] >> 4 == 6 && size >= 40) {
				p.bytes[4] = (uint8_t)((size - 40) >> 8);
				p.bytes[5] = (uint8_t)(size - 40);
			} else {
				continue;
			}
			// Only what counts no bytes of its own may still pass.
			if (parse(&p, size, &v) == IP_VERDICT_OK)
				assert_true(
					samples[i].class_ == ACL_CLASS_OTHER
					|| (samples[i].class_ != ACL_CLASS_UDP
					    && size - v.l4
						    >= (samples[i].class_ == ACL_CLASS_TCP ? 20u
											   : 8u)));
		}
	}
}

static void one_more_byte(void **)
{
	for (size_t i = 0; i < COUNT_OF(samples); i++) {
		struct ip_view v;

		assert_int_equal(
			parse(&samples[i].p, samples[i].p.size + 1, &v), IP_VERDICT_MALFORMED);
	}
}

// Byte to change, what to add; each makes one length wrong.
static void each_length_off_by_one(void **)
{
	static const struct {
		size_t sample, at;
		int add;
	} edits[] = {
		{0, 3, 1},
		{0, 3, -1},
		{1, 5, 1},
		{1, 5, -1}, // total_length, payload_len
		{0, 25, 1},
		{0, 25, -1},
		{1, 45, 1},
		{1, 45, -1}, // udp length
		{0, 0, -1},
		{0, 0, 15 - 5}, // IHL 4, IHL 15
		{2, 32, -16},
		{3, 52, -16}, // TCP data offset 4
		{2, 32, 16 * 2},
		{3, 52, 16 * 2}, // TCP data offset beyond the packet
		{0, 0, 0x10},
		{0, 0, -0x10},
		{1, 0, 0x10}, // versions 5, 3, 7
	};

	for (size_t i = 0; i < COUNT_OF(edits); i++) {
		struct packet p = samples[edits[i].sample].p;
		struct ip_view v;

		p.bytes[edits[i].at] = (uint8_t)(p.bytes[edits[i].at] + edits[i].add);
		if (parse(&p, p.size, &v) != IP_VERDICT_MALFORMED)
			fail_msg("edit %zu was accepted", i);
	}
}

static void icmp_of_the_other_family(void **)
{
	struct packet p = packet_echo(C4, S4, false, 1, 8);
	struct ip_view v;

	p.bytes[9] = IPPROTO_ICMPV6;
	assert_int_equal(parse(&p, p.size, &v), IP_VERDICT_MALFORMED);
	p = packet_echo(C6, S6, false, 1, 8);
	p.bytes[6] = IPPROTO_ICMP;
	assert_int_equal(parse(&p, p.size, &v), IP_VERDICT_MALFORMED);
}

static void ipv4_options_and_fragments(void **)
{
	struct packet p = packet_proto(C4, S4, IPPROTO_UDP, 4 + 8);
	struct ip_view v;

	p.bytes[0] = 0x46;
	p.bytes[29] = 8; // UDP length behind 4 bytes of options
	assert_int_equal(parse(&p, p.size, &v), IP_VERDICT_OK);
	assert_int_equal(v.l4, 24);
	p = samples[0].p;
	p.bytes[6] = 0x20; // MF
	assert_int_equal(parse(&p, p.size, &v), IP_VERDICT_FRAGMENT);
	p.bytes[6] = 0;
	p.bytes[7] = 1; // offset
	assert_int_equal(parse(&p, p.size, &v), IP_VERDICT_FRAGMENT);
	p.bytes[6] = 0x40; // DF
	p.bytes[7] = 0;
	assert_int_equal(parse(&p, p.size, &v), IP_VERDICT_OK);
}

// IPv6: hop-by-hop, destination options and a fragment header before UDP.
static void ipv6_extension_headers(void **)
{
	static const uint8_t chain[] = {
		60,   0,    1, 4,  0, 0, 0, 0, // hop-by-hop, next: destination options
		44,   1,    1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, // 16 bytes, next: fragment
		17,   0,    0, 0,  0, 0, 0, 9, // atomic fragment, next: UDP
		0x15, 0x19, 0, 81, 0, 8, 0, 0, // UDP
	};
	struct packet p = packet_proto(C6, S6, 0, sizeof(chain));
	struct ip_view v;

	memcpy(p.bytes + 40, chain, sizeof(chain));
	assert_int_equal(parse(&p, p.size, &v), IP_VERDICT_OK);
	assert_int_equal(v.l4, 72);
	assert_int_equal(v.class_, ACL_CLASS_UDP);
	assert_int_equal(rte_be_to_cpu_16(v.dport), 81);
	p.bytes[40 + 27] = 1; // M
	assert_int_equal(parse(&p, p.size, &v), IP_VERDICT_FRAGMENT);
	p.bytes[40 + 27] = 8; // offset 1
	assert_int_equal(parse(&p, p.size, &v), IP_VERDICT_FRAGMENT);
	p.bytes[40 + 27] = 0;
	p.bytes[40 + 1] = 200; // a header longer than the packet
	assert_int_equal(parse(&p, p.size, &v), IP_VERDICT_MALFORMED);
	// Every truncation within the chain, with a true payload length.
	for (size_t size = 40; size < p.size; size++) {
		struct packet q = packet_proto(C6, S6, 0, size - 40);

		memcpy(q.bytes + 40, chain, size - 40);
		assert_int_equal(parse(&q, size, &v), IP_VERDICT_MALFORMED);
	}
}

static void icmp_error_kinds(void **)
{
	struct packet udp = packet_udp(S4, 5401, C4, 81, "12345678", 8);
	struct packet udp6 = packet_udp(S6, 5401, C6, 81, "12345678", 8);
	struct packet reply = packet_echo(S4, C4, true, 7, 8);
	struct packet request = packet_echo(S4, C4, false, 7, 8);
	struct packet gre = packet_proto(S4, C4, 47, 8);
	struct packet p;
	struct ip_view q;

	p = packet_icmp(C4, S4, 3, 3, 0, udp.bytes, 28);
	assert_int_equal(icmp(&p, &q), IP_ICMP_ERROR);
	assert_int_equal(rte_be_to_cpu_16(q.sport), 5401);
	p = packet_icmp(C4, S4, 11, 0, 0, udp.bytes, 24); // 4 bytes of UDP suffice
	assert_int_equal(icmp(&p, &q), IP_ICMP_ERROR);
	p = packet_icmp(C4, S4, 3, 3, 0, udp.bytes, 23);
	assert_int_equal(icmp(&p, &q), IP_ICMP_UNUSABLE);
	p = packet_icmp(C4, S4, 3, 3, 0, request.bytes, 28);
	assert_int_equal(icmp(&p, &q), IP_ICMP_ERROR);
	p = packet_icmp(C4, S4, 3, 3, 0, reply.bytes, 28);
	assert_int_equal(icmp(&p, &q), IP_ICMP_UNUSABLE);
	p = packet_icmp(C4, S4, 3, 3, 0, gre.bytes, 28);
	assert_int_equal(icmp(&p, &q), IP_ICMP_UNUSABLE);
	p = packet_icmp(C4, S4, 5, 0, 0, udp.bytes, 28); // redirect
	assert_int_equal(icmp(&p, &q), IP_ICMP_UNUSABLE);
	p = packet_icmp(C6, S6, 2, 0, 1280, udp6.bytes, 48);
	assert_int_equal(icmp(&p, &q), IP_ICMP_ERROR);
	p = packet_icmp(C6, S6, 2, 1, 1280, udp6.bytes, 48);
	assert_int_equal(icmp(&p, &q), IP_ICMP_UNUSABLE);
	p = packet_icmp(C6, S6, 4, 0, 0, udp6.bytes, 48); // parameter problem
	assert_int_equal(icmp(&p, &q), IP_ICMP_UNUSABLE);
	// Every truncation of the quote is unusable or an error, never a read beyond (ASan).
	for (size_t size = 0; size < udp6.size; size++) {
		p = packet_icmp(C6, S6, 1, 1, 0, udp6.bytes, size);
		assert_int_equal(icmp(&p, &q), size >= 44 ? IP_ICMP_ERROR : IP_ICMP_UNUSABLE);
	}
}

static void ranges(void **)
{
	static const struct {
		const char *addr;
		bool is_tunnel, is_multicast;
	} rows[] = {
		{"100.64.0.0", true, false},
		{"100.95.255.255", true, false},
		{"100.96.0.0", false, false},
		{"100.63.255.255", false, false},
		{"224.0.0.251", false, true},
		{"239.255.255.255", false, true},
		{"240.0.0.1", false, false},
		{"223.255.255.255", false, false},
		{"fd00:2021:1111::", true, false},
		{"fd00:2021:1111::1f:ffff", true, false},
		{"fd00:2021:1111::20:0", false, false},
		{"fd00:2021:1112::1", false, false},
		{"fd00:2021:1111:8000::1", false, false},
		{"ff02::fb", false, true},
		{"fd00:2021:1111::f:ffff", true, false},
		{"fe80::1", false, false},
	};

	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct ip_addr a;

		assert_int_equal(ip_addr_parse(&a, rows[i].addr), 0);
		if (ip_is_tunnel(a.family, a.bytes) != rows[i].is_tunnel
		    || ip_is_multicast(a.family, a.bytes) != rows[i].is_multicast)
			fail_msg("%s", rows[i].addr);
	}
}

// What is recognized at a glance is what the long way says of it, damaged or not.
static void at_a_glance_like_the_long_way(void **)
{
	struct unit_rand r = unit_rand_init(4096);
	unsigned n_plain = 0;

	for (unsigned i = 0; i < 200000; i++) {
		const struct packet *p = &samples[unit_rand_below(&r, COUNT_OF(samples))].p;
		struct ip_view plain, any;
		uint8_t bytes[128];
		size_t size = RTE_MIN(p->size, sizeof(bytes));

		memcpy(bytes, p->bytes, size);
		for (unsigned n = unit_rand_below(&r, 4); n > 0; n--)
			bytes[unit_rand_below(&r, (uint32_t)size)] ^=
				(uint8_t)(1u << unit_rand_below(&r, 8));
		if (ip_claimed_size(bytes, (uint32_t)size) != size
		    || !ip_view_parse_plain(&plain, bytes, (uint32_t)size))
			continue;
		n_plain++;
		assert_int_equal(ip_view_parse_any(&any, bytes, (uint32_t)size), IP_VERDICT_OK);
		assert_memory_equal(&plain, &any, sizeof(plain));
	}
	assert_in_range(n_plain, 10000, 200000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(well_formed),
		cmocka_unit_test(truncated_at_every_byte),
		cmocka_unit_test(one_more_byte),
		cmocka_unit_test(each_length_off_by_one),
		cmocka_unit_test(icmp_of_the_other_family),
		cmocka_unit_test(ipv4_options_and_fragments),
		cmocka_unit_test(ipv6_extension_headers),
		cmocka_unit_test(icmp_error_kinds),
		cmocka_unit_test(ranges),
		cmocka_unit_test(at_a_glance_like_the_long_way),
	};

	return cmocka_run_group_tests(tests, samples_make, NULL);
}
