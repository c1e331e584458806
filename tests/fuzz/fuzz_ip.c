// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "acl/acl.h"
#include "dataplane/stage/ip_view.h"
#include "peers/client/packet.h"
#include "tests/fuzz/fuzz.h"

#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

// The gate that inner packets pass, of both ends: the gateway's (ip_view) and the client's (packet) were
// written apart and must agree. The first byte says whether the lengths are made right first, without
// which nearly all mutations end at the first check.

static uint8_t *copy_make(const uint8_t *data, size_t size, bool is_mended)
{
	uint8_t *copy = malloc(size > 0 ? size : 1);

	if (copy == NULL)
		abort();
	memcpy(copy, data, size);
	if (is_mended && size >= 20 && copy[0] >> 4 == 4) {
		copy[2] = (uint8_t)(size >> 8);
		copy[3] = (uint8_t)size;
	} else if (is_mended && size >= 40 && copy[0] >> 4 == 6) {
		copy[4] = (uint8_t)((size - 40) >> 8);
		copy[5] = (uint8_t)(size - 40);
	}
	return copy;
}

static bool kinds_agree(uint8_t class_, enum packet_key_kind kind)
{
	static const enum packet_key_kind kinds[] = {
		[ACL_CLASS_TCP] = PACKET_KEY_TCP,
		[ACL_CLASS_UDP] = PACKET_KEY_UDP,
		[ACL_CLASS_ICMP_ECHO] = PACKET_KEY_ECHO,
		[ACL_CLASS_ICMP_OTHER] = PACKET_KEY_ICMP_OTHER,
		[ACL_CLASS_OTHER] = PACKET_KEY_OTHER,
	};

	return kinds[class_] == kind;
}

static void views_compare(const struct ip_view *v, const struct packet_view *p, const uint8_t *ip)
{
	if (v->size != p->size || v->l4 != p->l4_offset || v->l4 > v->size
	    || v->proto != p->protocol || v->family != p->src.family
	    || !kinds_agree(v->class_, p->src_key.kind))
		abort();
	if (rte_be_to_cpu_16(v->sport) != p->src_key.value
	    || rte_be_to_cpu_16(v->dport) != p->dst_key.value)
		abort();
	if (memcmp(ip_view_src(v, ip), p->src.bytes, ip_addr_size(&p->src)) != 0
	    || memcmp(ip_view_dst(v, ip), p->dst.bytes, ip_addr_size(&p->dst)) != 0
	    || ip_is_multicast(v->family, ip_view_dst(v, ip)) != packet_is_multicast(&p->dst))
		abort();
}

static void quotes_compare(const struct ip_view *v, const struct packet_view *p, const uint8_t *ip)
{
	static const enum packet_icmp_class classes[] = {
		[IP_ICMP_NONE] = PACKET_ICMP_NONE,
		[IP_ICMP_ERROR] = PACKET_ICMP_ERROR,
		[IP_ICMP_UNUSABLE] = PACKET_ICMP_UNREADABLE,
	};
	struct packet_icmp_error error;
	struct ip_view quote;
	enum ip_icmp kind = ip_view_icmp(v, ip, &quote);

	if (packet_icmp_classify(p, &error) != classes[kind])
		abort();
	if (kind != IP_ICMP_ERROR)
		return;
	if (quote.l4 > quote.size || v->l4 + 8u + quote.size != v->size
	    || !kinds_agree(quote.class_, error.quoted_src_key.kind)
	    || rte_be_to_cpu_16(quote.sport) != error.quoted_src_key.value
	    || rte_be_to_cpu_16(quote.dport) != error.quoted_dst_key.value)
		abort();
}

// The client's own answer passes the gate, and quotes the packet that it answers.
static void prohibited_check(const struct packet_view *p)
{
	uint8_t bytes[PACKET_SIZE_MAX], *out;
	size_t size = packet_prohibited_build(p, bytes);
	struct packet_icmp_error error;
	struct packet_view answer;

	if (size == 0 || size > sizeof(bytes))
		abort();
	out = copy_make(bytes, size, false);
	if (packet_parse(&answer, out, size) != PACKET_OK || !ip_addr_eq(&answer.dst, &p->src))
		abort();
	// Long extension headers may push the ports out of the quote.
	if ((p->src_key.kind == PACKET_KEY_TCP || p->src_key.kind == PACKET_KEY_UDP)
	    && p->l4_offset <= 60
	    && (packet_icmp_classify(&answer, &error) != PACKET_ICMP_ERROR || !error.is_prohibited
		|| !ip_addr_eq(&error.quoted_src, &p->src)
		|| error.quoted_src_key.value != p->src_key.value))
		abort();
	free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct packet_view p;
	struct ip_view v;
	bool is_good;
	uint8_t *ip;

	if (size == 0 || size - 1 > PACKET_SIZE_MAX)
		return 0;
	ip = copy_make(data + 1, size - 1, (data[0] & 1) != 0);
	is_good = ip_view_parse(&v, ip, (uint32_t)(size - 1)) == IP_VERDICT_OK;
	if ((packet_parse(&p, ip, size - 1) == PACKET_OK) != is_good)
		abort();
	if (is_good) {
		views_compare(&v, &p, ip);
		quotes_compare(&v, &p, ip);
		prohibited_check(&p);
		packet_ecn_merge(ip, &p, data[0] >> 6);
		if (packet_parse(&p, ip, size - 1) != PACKET_OK)
			abort();
	}
	free(ip);
	return 0;
}
