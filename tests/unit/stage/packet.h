// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/**
 * Packets made by hand for tests, and an Internet checksum that shares no code with the gateway.
 * Addresses are text; their family decides the IP version. Sizes are bytes.
 */

enum {
	PACKET_MAX = 2048,
	PACKET_FIN = 0x01,
	PACKET_SYN = 0x02,
	PACKET_RST = 0x04,
	PACKET_ACK = 0x10,
};

struct packet {
	uint8_t bytes[PACKET_MAX];
	size_t size;
};

struct packet packet_udp(
	const char *src,
	uint16_t sport,
	const char *dst,
	uint16_t dport,
	const void *payload,
	size_t size);
struct packet packet_tcp(
	const char *src,
	uint16_t sport,
	const char *dst,
	uint16_t dport,
	uint8_t flags,
	size_t size);
/** Any ICMP message; @p rest are bytes 4-7, @p body follows. */
struct packet packet_icmp(
	const char *src,
	const char *dst,
	uint8_t type,
	uint8_t code,
	uint32_t rest,
	const void *body,
	size_t size);
/** Echo request or reply with @p size bytes of data. */
struct packet
packet_echo(const char *src, const char *dst, bool is_reply, uint16_t id, size_t size);
/** Any other protocol with zero bytes as its payload. */
struct packet packet_proto(const char *src, const char *dst, uint8_t proto, size_t size);
/** The packet in an Ethernet frame. */
struct packet packet_ether(const uint8_t dst[6], const uint8_t src[6], const struct packet *ip);

/** Sets TTL or hop limit, or ECN, and repairs the IPv4 header checksum. */
void packet_ttl_set(struct packet *p, uint8_t ttl);
void packet_ecn_set(struct packet *p, uint8_t ecn);
uint8_t packet_ttl(const struct packet *p);
uint8_t packet_ecn(const struct packet *p);
/** Repairs all checksums after an edit. */
void packet_checksums_fix(struct packet *p);

/** @return whether IPv4 header and transport checksums are right; prints what is wrong. */
bool packet_checksums_are_ok(const uint8_t *ip, size_t size);
/** Offset of the transport header; no extension headers. */
size_t packet_l4(const struct packet *p);
uint16_t packet_u16(const struct packet *p, size_t at);
/** @return whether the address is the source, or the destination, of the packet. */
bool packet_is_from(const struct packet *p, const char *addr);
bool packet_is_to(const struct packet *p, const char *addr);
/** Reads "0a1b..." into a packet. */
struct packet packet_hex(const char *hex);
