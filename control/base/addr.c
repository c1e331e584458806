// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "control/base/addr.h"

#include "control/base/err.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct ip_addr ip_addr_v4(const uint8_t bytes[4])
{
	struct ip_addr a = {.family = IP_FAMILY_V4};

	memcpy(a.bytes, bytes, 4);
	return a;
}

struct ip_addr ip_addr_v6(const uint8_t bytes[16])
{
	struct ip_addr a = {.family = IP_FAMILY_V6};

	memcpy(a.bytes, bytes, 16);
	return a;
}

size_t ip_addr_size(const struct ip_addr *a)
{
	switch (a->family) {
	case IP_FAMILY_V4:
		return 4;
	case IP_FAMILY_V6:
		return 16;
	default:
		return 0;
	}
}

bool ip_addr_eq(const struct ip_addr *a, const struct ip_addr *b)
{
	return memcmp(a, b, sizeof(*a)) == 0;
}

bool ip_endpoint_eq(const struct ip_endpoint *a, const struct ip_endpoint *b)
{
	return a->port == b->port && ip_addr_eq(&a->addr, &b->addr);
}

int ip_addr_cmp(const struct ip_addr *a, const struct ip_addr *b)
{
	return memcmp(a, b, sizeof(*a));
}

bool ip_addr_is_link_local(const struct ip_addr *a)
{
	if (a->family == IP_FAMILY_V4)
		return a->bytes[0] == 169 && a->bytes[1] == 254;
	return a->family == IP_FAMILY_V6 && a->bytes[0] == 0xfe && (a->bytes[1] & 0xc0) == 0x80;
}

// Clears every bit of @p bytes beyond the first @p len; returns whether any of them was set.
static bool mask_bits(uint8_t *bytes, size_t size, unsigned len)
{
	bool any = false;

	for (size_t i = 0; i < size; i++) {
		uint8_t keep = 0;

		if (len >= (i + 1) * 8)
			keep = 0xff;
		else if (len > i * 8)
			keep = (uint8_t)(0xff00u >> (len - i * 8));
		any = any || (bytes[i] & (uint8_t)~keep) != 0;
		bytes[i] &= keep;
	}
	return any;
}

bool ip_prefix_contains(const struct ip_prefix *p, const struct ip_addr *a)
{
	struct ip_addr masked = *a;

	if (a->family != p->addr.family)
		return false;
	mask_bits(masked.bytes, ip_addr_size(a), p->len);
	return ip_addr_eq(&masked, &p->addr);
}

bool ip_prefix_eq(const struct ip_prefix *a, const struct ip_prefix *b)
{
	return a->len == b->len && ip_addr_eq(&a->addr, &b->addr);
}

int ip_addr_parse(struct ip_addr *out, const char *text)
{
	uint8_t bytes[16];

	if (inet_pton(AF_INET, text, bytes) == 1)
		*out = ip_addr_v4(bytes);
	else if (inet_pton(AF_INET6, text, bytes) == 1)
		*out = ip_addr_v6(bytes);
	else
		return err_set(EINVAL);
	return 0;
}

// Decimal digits only, no sign, no space, at most @p max. @return -1 otherwise.
static long parse_decimal(const char *text, long max)
{
	long value = 0;

	if (*text == '\0')
		return -1;
	for (; *text != '\0'; text++) {
		if (*text < '0' || *text > '9')
			return -1;
		value = value * 10 + (*text - '0');
		if (value > max)
			return -1;
	}
	return value;
}

int ip_prefix_parse(struct ip_prefix *out, const char *text)
{
	const char *slash = strchr(text, '/');
	char head[IP_TEXT_SIZE];
	struct ip_prefix p = {0};
	size_t size = slash != NULL ? (size_t)(slash - text) : strlen(text);
	long len, full;

	if (size >= sizeof(head))
		return err_set(EINVAL);
	memcpy(head, text, size);
	head[size] = '\0';
	if (ip_addr_parse(&p.addr, head) < 0)
		return err_set(EINVAL);

	full = (long)ip_addr_size(&p.addr) * 8;
	len = slash != NULL ? parse_decimal(slash + 1, full) : full;
	if (len < 0 || mask_bits(p.addr.bytes, ip_addr_size(&p.addr), (unsigned)len))
		return err_set(EINVAL);
	p.len = (uint8_t)len;
	*out = p;
	return 0;
}

int ip_endpoint_parse(struct ip_endpoint *out, const char *text)
{
	const char *colon = strrchr(text, ':');
	struct ip_endpoint e = {0};
	char head[IP_TEXT_SIZE];
	const char *start = text;
	size_t size;
	long port;

	if (colon == NULL || (size = (size_t)(colon - text)) >= sizeof(head))
		return err_set(EINVAL);
	if (*text == '[') {
		if (size < 2 || text[size - 1] != ']')
			return err_set(EINVAL);
		start++;
		size -= 2;
	}
	memcpy(head, start, size);
	head[size] = '\0';
	port = parse_decimal(colon + 1, UINT16_MAX);
	if (port < 0 || ip_addr_parse(&e.addr, head) < 0)
		return err_set(EINVAL);
	if ((e.addr.family == IP_FAMILY_V6) != (*text == '['))
		return err_set(EINVAL);
	e.port = (uint16_t)port;
	*out = e;
	return 0;
}

char *ip_addr_format(const struct ip_addr *a, char buf[IP_TEXT_SIZE])
{
	int af = a->family == IP_FAMILY_V4 ? AF_INET : AF_INET6;

	if (a->family == IP_FAMILY_NONE || inet_ntop(af, a->bytes, buf, IP_TEXT_SIZE) == NULL)
		snprintf(buf, IP_TEXT_SIZE, "none");
	return buf;
}

char *ip_prefix_format(const struct ip_prefix *p, char buf[IP_TEXT_SIZE])
{
	size_t used;

	ip_addr_format(&p->addr, buf);
	used = strlen(buf);
	snprintf(buf + used, IP_TEXT_SIZE - used, "/%u", p->len);
	return buf;
}

char *ip_endpoint_format(const struct ip_endpoint *e, char buf[IP_TEXT_SIZE])
{
	char addr[IP_TEXT_SIZE];

	ip_addr_format(&e->addr, addr);
	if (e->addr.family == IP_FAMILY_V6)
		snprintf(buf, IP_TEXT_SIZE, "[%.45s]:%u", addr, e->port);
	else
		snprintf(buf, IP_TEXT_SIZE, "%.45s:%u", addr, e->port);
	return buf;
}

socklen_t ip_endpoint_to_sockaddr(const struct ip_endpoint *e, struct sockaddr_storage *out)
{
	struct sockaddr_in *in = (struct sockaddr_in *)out;
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)out;

	memset(out, 0, sizeof(*out));
	switch (e->addr.family) {
	case IP_FAMILY_V4:
		in->sin_family = AF_INET;
		in->sin_port = htons(e->port);
		memcpy(&in->sin_addr, e->addr.bytes, 4);
		return sizeof(*in);
	case IP_FAMILY_V6:
		in6->sin6_family = AF_INET6;
		in6->sin6_port = htons(e->port);
		memcpy(&in6->sin6_addr, e->addr.bytes, 16);
		return sizeof(*in6);
	default:
		return 0;
	}
}

int ip_endpoint_from_sockaddr(struct ip_endpoint *out, const struct sockaddr *sa)
{
	const struct sockaddr_in6 *in6 = (const void *)sa;
	const struct sockaddr_in *in = (const void *)sa;
	struct ip_endpoint e = {0};

	switch (sa->sa_family) {
	case AF_INET:
		e.addr = ip_addr_v4((const uint8_t *)&in->sin_addr);
		e.port = ntohs(in->sin_port);
		break;
	case AF_INET6:
		if (IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr))
			e.addr = ip_addr_v4(&in6->sin6_addr.s6_addr[12]);
		else
			e.addr = ip_addr_v6(in6->sin6_addr.s6_addr);
		e.port = ntohs(in6->sin6_port);
		break;
	default:
		return err_set(EAFNOSUPPORT);
	}
	*out = e;
	return 0;
}
