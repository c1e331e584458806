// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "dataplane/stage/checksum.h"

#include "acl/acl.h"

#include <rte_branch_prediction.h>

#include <immintrin.h>
#include <netinet/in.h>
#include <string.h>

enum {
	LONG_SIZE = 128, // below, gathering the lanes costs more than they save
};

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

// What is there already and a message, a last odd byte as the first of its word.
static inline struct csum message_add(struct csum c, const uint8_t *p, size_t size)
{
	uint16_t half;

	if (size >= LONG_SIZE) {
		c.sum += long_sum(p, size);
		p += size & ~(size_t)31;
		size &= 31;
	}
	for (; size >= 8; size -= 8, p += 8)
		csum_add64(&c, p);
	if (size & 4) {
		csum_add32(&c, p);
		p += 4;
	}
	if (size & 2) {
		memcpy(&half, p, sizeof(half));
		c.sum += half;
		p += 2;
	}
	if (size & 1)
		c.sum += *p;
	return c;
}

uint16_t csum_sum(const void *data, size_t size)
{
	struct csum c = message_add((struct csum){0}, data, size);

	return csum_end(&c);
}

static inline bool has_pseudo(const struct ip_view *view)
{
	return view->proto != IPPROTO_ICMP;
}

// Addresses, length and protocol. The words of a pseudo header may come in any order.
static inline struct csum pseudo_csum(const struct ip_view *view, const uint8_t *ip)
{
	const uint8_t *addrs = ip_view_src(view, ip);
	uint16_t size = rte_cpu_to_be_16((uint16_t)(view->size - view->l4));
	uint16_t proto = rte_cpu_to_be_16(view->proto);
	struct csum c = {(uint32_t)size + proto};

	csum_add64(&c, addrs);
	if (view->family == IP_FAMILY_V6) {
		csum_add64(&c, addrs + 8);
		csum_add64(&c, addrs + 16);
		csum_add64(&c, addrs + 24);
	}
	return c;
}

// Everything that the checksum of a message covers; it is right if that is 0xffff.
static inline uint16_t l4_sum(const struct ip_view *view, const uint8_t *ip)
{
	struct csum c = {0};

	if (has_pseudo(view))
		c = pseudo_csum(view, ip);
	c = message_add(c, ip + view->l4, view->size - (size_t)view->l4);
	return csum_end(&c);
}

bool csum_l4_is_ok(const struct ip_view *view, const uint8_t *ip)
{
	const uint8_t *l4 = ip + view->l4;

	if (view->class_ == ACL_CLASS_OTHER)
		return true;
	if (view->class_ == ACL_CLASS_UDP && l4[6] == 0 && l4[7] == 0)
		return true;
	return l4_sum(view, ip) == 0xffff;
}

void csum_icmp_write(const struct ip_view *view, uint8_t *ip)
{
	uint8_t *l4 = ip + view->l4;
	uint16_t c;

	l4[2] = l4[3] = 0;
	c = (uint16_t)~l4_sum(view, ip);
	__builtin_memcpy(l4 + 2, &c, 2);
}
