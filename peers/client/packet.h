// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include "control/base/addr.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/**
 * Inner IP packets as values: the well-formedness gate that every packet passes in either direction,
 * the protocol key that filters look at, ICMP errors read and written, and the goodbye packet of the
 * tunnel's control protocol. Nothing here follows a pointer past the size it was given.
 *
 * Ownership: a view borrows the packet's bytes. Thread-safety: pure functions.
 */

/** Largest inner packet; also the MTU of the TUN device. Bytes. */
#define PACKET_SIZE_MAX 1280

/** What a filter sees of one side of a packet. */
enum packet_key_kind {
	PACKET_KEY_TCP, // value: port
	PACKET_KEY_UDP, // value: port
	PACKET_KEY_ECHO, // value: identifier
	PACKET_KEY_ICMP_OTHER, // any other ICMP type or code
	PACKET_KEY_OTHER, // any other IP protocol
};

struct packet_key {
	enum packet_key_kind kind;
	uint16_t value; // host order
};

/** A packet that passed packet_parse(). */
struct packet_view {
	const uint8_t *data;
	uint16_t size; // bytes, equal to the length in the IP header
	uint16_t l4_offset; // bytes; l4_offset <= size
	uint8_t protocol; // transport protocol, behind any IPv6 extension headers
	struct ip_addr src, dst;
	struct packet_key src_key, dst_key;
};

/** Why packet_parse() refused a packet. */
enum packet_verdict {
	PACKET_OK = 0,
	PACKET_TOO_LONG,
	PACKET_BAD_VERSION,
	PACKET_BAD_LENGTH,
	PACKET_FRAGMENT,
	PACKET_BAD_TRANSPORT,
};

/**
 * Checks a packet and describes it. Header checksums are not verified: the host stacks at both ends do.
 * @return PACKET_OK with @p out filled, else the reason and @p out is unspecified.
 */
[[nodiscard]] enum packet_verdict
packet_parse(struct packet_view *out, const uint8_t *data, size_t size);

/**
 * Length of the IP packet at the start of @p data, for plaintexts that may carry padding.
 * @return bytes, 0 if the header is absent or promises more than @p size.
 */
size_t packet_length(const uint8_t *data, size_t size);

/** What packet_icmp_classify() found. */
enum packet_icmp_class {
	PACKET_ICMP_NONE, // not ICMP, or echo
	PACKET_ICMP_ERROR, // an error that quotes a readable packet
	PACKET_ICMP_UNREADABLE, // other types, or a quote that cannot be attributed
};

/** An ICMP error and the packet that it quotes. */
struct packet_icmp_error {
	uint8_t type, code;
	bool is_prohibited; // "administratively prohibited": IPv4 3/13, ICMPv6 1/1
	struct ip_addr quoted_src, quoted_dst;
	struct packet_key quoted_src_key, quoted_dst_key;
};

/** Classifies @p p; fills @p out when the answer is PACKET_ICMP_ERROR. */
enum packet_icmp_class
packet_icmp_classify(const struct packet_view *p, struct packet_icmp_error *out);

/**
 * Writes the "administratively prohibited" answer to @p p, as if its destination had sent it.
 * @param out at least PACKET_SIZE_MAX bytes.
 * @return bytes written.
 */
size_t packet_prohibited_build(const struct packet_view *p, uint8_t out[PACKET_SIZE_MAX]);

/** Events of the in-tunnel control protocol. */
enum packet_control_event {
	PACKET_CONTROL_ASSIGNED_IPS = 0,
	PACKET_CONTROL_DOMAIN_STATUS = 1,
	PACKET_CONTROL_GOODBYE = 2,
};

/** Bytes of a goodbye packet. */
#define PACKET_GOODBYE_SIZE 48

/** @return the event type of a control packet, -1 if @p p is not one. */
int packet_control_event(const struct packet_view *p);
/** Writes a goodbye packet. */
void packet_goodbye_build(uint8_t out[PACKET_GOODBYE_SIZE]);

/** ECN bits of the IP header, 0-3. */
uint8_t packet_ecn(const struct packet_view *p);
/** Sets CE on an ECN-capable packet whose outer header carried CE; others stay as they are. */
void packet_ecn_merge(uint8_t *data, const struct packet_view *p, uint8_t outer_ecn);

/** @return whether @p a is 224.0.0.0/4 or ff00::/8. */
bool packet_is_multicast(const struct ip_addr *a);
