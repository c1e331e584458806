// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "tests/unit/stage/packet.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// RFC 1071 4.1 as written there: big endian words, one by one.
static uint32_t sum_words(uint32_t sum, const uint8_t *p, size_t size)
{
	for (size_t i = 0; i + 1 < size; i += 2)
		sum += (uint32_t)p[i] << 8 | p[i + 1];
	if (size % 2 != 0)
		sum += (uint32_t)p[size - 1] << 8;
	return sum;
}

static uint16_t sum_fold(uint32_t sum)
{
	while (sum >> 16 != 0)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

static void put_u16(uint8_t *p, uint16_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static bool is_v4(const uint8_t *ip)
{
	return ip[0] >> 4 == 4;
}

static size_t l4_of(const uint8_t *ip)
{
	return is_v4(ip) ? (ip[0] & 15u) * 4 : 40;
}

static uint8_t proto_of(const uint8_t *ip)
{
	return is_v4(ip) ? ip[9] : ip[6];
}

static int checksum_at(uint8_t proto)
{
	switch (proto) {
	case IPPROTO_TCP:
		return 16;
	case IPPROTO_UDP:
		return 6;
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6:
		return 2;
	default:
		return -1;
	}
}

static uint16_t l4_sum(const uint8_t *ip, size_t size)
{
	size_t l4 = l4_of(ip);
	uint32_t sum = 0;

	if (proto_of(ip) != IPPROTO_ICMP) {
		sum = is_v4(ip) ? sum_words(0, ip + 12, 8) : sum_words(0, ip + 8, 32);
		sum += (uint32_t)(size - l4) + proto_of(ip);
	}
	return sum_fold(sum_words(sum, ip + l4, size - l4));
}

void packet_checksums_fix(struct packet *p)
{
	size_t l4 = l4_of(p->bytes);
	int at = checksum_at(proto_of(p->bytes));

	if (is_v4(p->bytes)) {
		put_u16(p->bytes + 10, 0);
		put_u16(p->bytes + 10, (uint16_t)~sum_fold(sum_words(0, p->bytes, l4)));
	}
	if (at < 0)
		return;
	put_u16(p->bytes + l4 + at, 0);
	put_u16(p->bytes + l4 + at, (uint16_t)~l4_sum(p->bytes, p->size));
	if (proto_of(p->bytes) == IPPROTO_UDP && packet_u16(p, l4 + 6) == 0)
		put_u16(p->bytes + l4 + 6, 0xffff);
}

bool packet_checksums_are_ok(const uint8_t *ip, size_t size)
{
	size_t l4 = l4_of(ip);
	uint8_t proto = proto_of(ip);

	if (is_v4(ip) && sum_fold(sum_words(0, ip, l4)) != 0xffff) {
		printf("IPv4 header checksum wrong\n");
		return false;
	}
	if (checksum_at(proto) < 0)
		return true;
	if (proto == IPPROTO_UDP && is_v4(ip) && ip[l4 + 6] == 0 && ip[l4 + 7] == 0)
		return true;
	if (l4_sum(ip, size) != 0xffff) {
		printf("checksum of protocol %u wrong\n", proto);
		return false;
	}
	return true;
}

// An IP header for size bytes of payload, which follow zeroed.
static struct packet ip_make(const char *src, const char *dst, uint8_t proto, size_t size)
{
	struct packet p = {0};

	if (strchr(src, ':') == NULL) {
		p.bytes[0] = 0x45;
		p.bytes[8] = 64;
		p.bytes[9] = proto;
		inet_pton(AF_INET, src, p.bytes + 12);
		inet_pton(AF_INET, dst, p.bytes + 16);
		p.size = 20 + size;
		put_u16(p.bytes + 2, (uint16_t)p.size);
	} else {
		p.bytes[0] = 0x60;
		p.bytes[6] = proto;
		p.bytes[7] = 64;
		inet_pton(AF_INET6, src, p.bytes + 8);
		inet_pton(AF_INET6, dst, p.bytes + 24);
		p.size = 40 + size;
		put_u16(p.bytes + 4, (uint16_t)size);
	}
	return p;
}

struct packet packet_udp(
	const char *src,
	uint16_t sport,
	const char *dst,
	uint16_t dport,
	const void *payload,
	size_t size)
{
	struct packet p = ip_make(src, dst, IPPROTO_UDP, 8 + size);
	uint8_t *udp = p.bytes + l4_of(p.bytes);

	put_u16(udp, sport);
	put_u16(udp + 2, dport);
	put_u16(udp + 4, (uint16_t)(8 + size));
	if (payload != NULL)
		memcpy(udp + 8, payload, size);
	else
		memset(udp + 8, 0x5a, size);
	packet_checksums_fix(&p);
	return p;
}

struct packet packet_tcp(
	const char *src,
	uint16_t sport,
	const char *dst,
	uint16_t dport,
	uint8_t flags,
	size_t size)
{
	struct packet p = ip_make(src, dst, IPPROTO_TCP, 20 + size);
	uint8_t *tcp = p.bytes + l4_of(p.bytes);

	put_u16(tcp, sport);
	put_u16(tcp + 2, dport);
	tcp[12] = 5 << 4;
	tcp[13] = flags;
	memset(tcp + 20, 0xa5, size);
	packet_checksums_fix(&p);
	return p;
}

struct packet packet_icmp(
	const char *src,
	const char *dst,
	uint8_t type,
	uint8_t code,
	uint32_t rest,
	const void *body,
	size_t size)
{
	bool is_v6 = strchr(src, ':') != NULL;
	struct packet p = ip_make(src, dst, is_v6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP, 8 + size);
	uint8_t *icmp = p.bytes + l4_of(p.bytes);

	icmp[0] = type;
	icmp[1] = code;
	put_u16(icmp + 4, (uint16_t)(rest >> 16));
	put_u16(icmp + 6, (uint16_t)rest);
	if (body != NULL)
		memcpy(icmp + 8, body, size);
	packet_checksums_fix(&p);
	return p;
}

struct packet packet_echo(const char *src, const char *dst, bool is_reply, uint16_t id, size_t size)
{
	bool is_v6 = strchr(src, ':') != NULL;
	uint8_t type = is_v6 ? (is_reply ? 129 : 128) : (is_reply ? 0 : 8);

	return packet_icmp(src, dst, type, 0, (uint32_t)id << 16 | 1, NULL, size);
}

struct packet packet_proto(const char *src, const char *dst, uint8_t proto, size_t size)
{
	struct packet p = ip_make(src, dst, proto, size);

	packet_checksums_fix(&p);
	return p;
}

struct packet packet_ether(const uint8_t dst[6], const uint8_t src[6], const struct packet *ip)
{
	struct packet p = {.size = 14 + ip->size};

	memcpy(p.bytes, dst, 6);
	memcpy(p.bytes + 6, src, 6);
	put_u16(p.bytes + 12, is_v4(ip->bytes) ? 0x0800 : 0x86dd);
	memcpy(p.bytes + 14, ip->bytes, ip->size);
	return p;
}

void packet_ttl_set(struct packet *p, uint8_t ttl)
{
	p->bytes[is_v4(p->bytes) ? 8 : 7] = ttl;
	packet_checksums_fix(p);
}

uint8_t packet_ttl(const struct packet *p)
{
	return p->bytes[is_v4(p->bytes) ? 8 : 7];
}

void packet_ecn_set(struct packet *p, uint8_t ecn)
{
	if (is_v4(p->bytes))
		p->bytes[1] = (uint8_t)((p->bytes[1] & ~3) | ecn);
	else
		p->bytes[1] = (uint8_t)((p->bytes[1] & ~0x30) | ecn << 4);
	packet_checksums_fix(p);
}

uint8_t packet_ecn(const struct packet *p)
{
	return (is_v4(p->bytes) ? p->bytes[1] : p->bytes[1] >> 4) & 3;
}

size_t packet_l4(const struct packet *p)
{
	return l4_of(p->bytes);
}

uint16_t packet_u16(const struct packet *p, size_t at)
{
	return (uint16_t)(p->bytes[at] << 8 | p->bytes[at + 1]);
}

static bool is_addr(const struct packet *p, size_t v4_at, size_t v6_at, const char *addr)
{
	uint8_t bytes[16];

	if (is_v4(p->bytes))
		return inet_pton(AF_INET, addr, bytes) == 1
			&& memcmp(p->bytes + v4_at, bytes, 4) == 0;
	return inet_pton(AF_INET6, addr, bytes) == 1 && memcmp(p->bytes + v6_at, bytes, 16) == 0;
}

bool packet_is_from(const struct packet *p, const char *addr)
{
	return is_addr(p, 12, 8, addr);
}

bool packet_is_to(const struct packet *p, const char *addr)
{
	return is_addr(p, 16, 24, addr);
}

struct packet packet_hex(const char *hex)
{
	struct packet p = {.size = strlen(hex) / 2};

	for (size_t i = 0; i < p.size; i++) {
		const char byte[3] = {hex[2 * i], hex[2 * i + 1], 0};

		p.bytes[i] = (uint8_t)strtoul(byte, NULL, 16);
	}
	return p;
}
