// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "dataplane/stage/checksum.h"

#include "acl/acl.h"

#include <rte_branch_prediction.h>

#include <immintrin.h>
#include <netinet/in.h>
#include <string.h>

// 2^16 is 1 modulo 65535 and so are its powers: 32-bit words may be added in 64-bit lanes and folded
// at the end. Four lanes take 32 bytes at a time; 65535 bytes cannot overflow them.
static __m256i lanes_add(__m256i sum, const uint8_t *p)
{
	const __m256i low = _mm256_set1_epi64x(0xffffffff);
	__m256i v = _mm256_loadu_si256((const void *)p);

	sum = _mm256_add_epi64(sum, _mm256_and_si256(v, low));
	return _mm256_add_epi64(sum, _mm256_srli_epi64(v, 32));
}

static uint64_t lanes_sum(__m256i v)
{
	__m128i half = _mm_add_epi64(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));

	return (uint64_t)_mm_extract_epi64(half, 0) + (uint64_t)_mm_extract_epi64(half, 1);
}

static uint64_t long_sum(const uint8_t *p, size_t size)
{
	__m256i a = _mm256_setzero_si256(), b = _mm256_setzero_si256();

	for (; size >= 64; size -= 64, p += 64) {
		a = lanes_add(a, p);
		b = lanes_add(b, p + 32);
	}
	if (size >= 32)
		a = lanes_add(a, p);
	return lanes_sum(_mm256_add_epi64(a, b));
}

uint16_t csum_sum(const void *data, size_t size)
{
	const uint8_t *p = data;
	uint64_t sum = 0, words;
	uint32_t word;
	uint16_t half;

	// Below, gathering the lanes costs more than they save.
	if (size >= 128) {
		sum = long_sum(p, size);
		p += size & ~(size_t)31;
		size &= 31;
	}
	for (; size >= 8; size -= 8, p += 8) {
		memcpy(&words, p, sizeof(words));
		sum += (words & 0xffffffff) + (words >> 32);
	}
	if (size & 4) {
		memcpy(&word, p, sizeof(word));
		sum += word;
		p += 4;
	}
	if (size & 2) {
		memcpy(&half, p, sizeof(half));
		sum += half;
		p += 2;
	}
	// A last odd byte counts as the first of its word.
	if (size & 1)
		sum += *p;
	return csum_fold64(sum);
}

bool csum_ipv4_is_ok(const uint8_t *ip)
{
	uint32_t size = (ip[0] & 0x0fu) * 4;
	uint32_t w[5];

	if (unlikely(size != sizeof(w)))
		return csum_sum(ip, size) == 0xffff;
	memcpy(w, ip, sizeof(w));
	return csum_fold64((uint64_t)w[0] + w[1] + w[2] + w[3] + w[4]) == 0xffff;
}

// Addresses, length and protocol. The words of a pseudo header may come in any order.
static uint32_t pseudo_sum(const struct ip_view *view, const uint8_t *ip)
{
	uint16_t size = rte_cpu_to_be_16((uint16_t)(view->size - view->l4));
	uint16_t proto = rte_cpu_to_be_16(view->proto);
	size_t addrs = view->family == IP_FAMILY_V4 ? 8 : 32;

	return (uint32_t)csum_sum(ip_view_src(view, ip), addrs) + size + proto;
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
	sum += csum_sum(l4, view->size - (size_t)view->l4);
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
	sum += csum_sum(l4, view->size - (size_t)view->l4);
	c = (uint16_t)~csum_fold(sum);
	__builtin_memcpy(l4 + 2, &c, 2);
}
