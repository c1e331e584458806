// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

/**
 * Internet addresses as values: no allocation, no name resolution, comparable with ip_addr_eq().
 *
 * Byte order: address bytes are in network order as on the wire, ports in host order.
 * Thread-safety: pure functions.
 */

enum ip_family {
	IP_FAMILY_NONE = 0,
	IP_FAMILY_V4 = 4,
	IP_FAMILY_V6 = 6,
};

/** One address. Unused bytes (IPv4 uses the first 4) are always zero, so memcmp() works. */
struct ip_addr {
	uint8_t family; // enum ip_family
	uint8_t bytes[16];
};

/** A CIDR block; host bits are zero. */
struct ip_prefix {
	struct ip_addr addr;
	uint8_t len; // bits
};

/** A UDP or TCP endpoint. */
struct ip_endpoint {
	struct ip_addr addr;
	uint16_t port; // host order
};

/** Longest text: "[xxxx:xxxx:xxxx:xxxx:xxxx:xxxx:255.255.255.255]:65535" and a NUL. */
#define IP_TEXT_SIZE 64

/** Makes an address from 4 wire bytes. */
struct ip_addr ip_addr_v4(const uint8_t bytes[4]);
/** Makes an address from 16 wire bytes. */
struct ip_addr ip_addr_v6(const uint8_t bytes[16]);
/** Number of address bytes on the wire: 4, 16, or 0 for no family. */
size_t ip_addr_size(const struct ip_addr *a);

bool ip_addr_eq(const struct ip_addr *a, const struct ip_addr *b);
bool ip_endpoint_eq(const struct ip_endpoint *a, const struct ip_endpoint *b);
/** Total order: IPv4 before IPv6, then numeric. */
int ip_addr_cmp(const struct ip_addr *a, const struct ip_addr *b);

/** @return whether @p a is in 169.254.0.0/16 or fe80::/10: only valid together with an interface. */
bool ip_addr_is_link_local(const struct ip_addr *a);

/** @return whether @p a lies in @p p (same family). */
bool ip_prefix_contains(const struct ip_prefix *p, const struct ip_addr *a);
bool ip_prefix_eq(const struct ip_prefix *a, const struct ip_prefix *b);

/** Parses "192.0.2.1" or "2001:db8::1"; nothing else. @return 0, -EINVAL */
[[nodiscard]] int ip_addr_parse(struct ip_addr *out, const char *text);
/** Parses "addr/len"; host bits must be zero. A bare address means the full length. @return 0, -EINVAL */
[[nodiscard]] int ip_prefix_parse(struct ip_prefix *out, const char *text);
/** Parses "192.0.2.1:port" or "[2001:db8::1]:port". @return 0, -EINVAL */
[[nodiscard]] int ip_endpoint_parse(struct ip_endpoint *out, const char *text);

/** Writes the text form and a NUL; returns @p buf. */
char *ip_addr_format(const struct ip_addr *a, char buf[IP_TEXT_SIZE]);
char *ip_prefix_format(const struct ip_prefix *p, char buf[IP_TEXT_SIZE]);
char *ip_endpoint_format(const struct ip_endpoint *e, char buf[IP_TEXT_SIZE]);

/** Converts to a socket address. @return its length, 0 if @p e has no family. */
socklen_t ip_endpoint_to_sockaddr(const struct ip_endpoint *e, struct sockaddr_storage *out);
/** Converts from AF_INET/AF_INET6; IPv4-mapped IPv6 becomes IPv4. @return 0, -EAFNOSUPPORT */
[[nodiscard]] int ip_endpoint_from_sockaddr(struct ip_endpoint *out, const struct sockaddr *sa);
