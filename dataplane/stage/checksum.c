// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "dataplane/stage/checksum.h"

#include "acl/acl.h"

#include <rte_ip.h>

#include <netinet/in.h>

bool csum_ipv4_is_ok(const uint8_t *ip)
{
	return rte_raw_cksum(ip, (ip[0] & 0x0fu) * 4) == 0xffff;
}

// Addresses, length and protocol. The words of a pseudo header may come in any order.
static uint32_t pseudo_sum(const struct ip_view *view, const uint8_t *ip)
{
	uint16_t size = rte_cpu_to_be_16((uint16_t)(view->size - view->l4));
	uint16_t proto = rte_cpu_to_be_16(view->proto);
	size_t addrs = view->family == IP_FAMILY_V4 ? 8 : 32;

	return (uint32_t)rte_raw_cksum(ip_view_src(view, ip), addrs) + size + proto;
}

static bool has_pseudo(const struct ip_view *view)
{
	return view->proto != IPPROTO_ICMP;
}

bool csum_l4_is_ok(const struct ip_view *view, const uint8_t *ip)
{
	const uint8_t *l4 = ip + view->l4;
	uint32_t sum = 0;

	if (view->class_ == ACL_CLASS_OTHER)
		return true;
	if (view->class_ == ACL_CLASS_UDP && l4[6] == 0 && l4[7] == 0)
		return true;
	if (has_pseudo(view))
		sum = pseudo_sum(view, ip);
	sum += rte_raw_cksum(l4, view->size - (size_t)view->l4);
	return csum_fold(sum) == 0xffff;
}

void csum_icmp_write(const struct ip_view *view, uint8_t *ip)
{
	uint8_t *l4 = ip + view->l4;
	uint32_t sum = 0;
	uint16_t c;

	l4[2] = l4[3] = 0;
	if (has_pseudo(view))
		sum = pseudo_sum(view, ip);
	sum += rte_raw_cksum(l4, view->size - (size_t)view->l4);
	c = (uint16_t)~csum_fold(sum);
	__builtin_memcpy(l4 + 2, &c, 2);
}
