// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include "control/base/addr.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/**
 * A TURN server (RFC 8656 over UDP) in the dialect that Firezone peers demand, sans-IO: a packet
 * and the time go in, at most one packet comes out, made from the same buffer.
 *
 *   client --listen port--> relay --allocation's port--> peer         ChannelData header taken off
 *   client <--listen port-- relay <--allocation's port-- peer         and put on, payload in place
 *
 * What differs from a plain TURN server: errors are signed when the request had a user name, also the
 * 401 to a request without NONCE; passwords follow from the user name (credentials.h); a user name has
 * one allocation, the next from elsewhere takes its place; data moves by channels only, so
 * CreatePermission is answered and does nothing, Send indications are dropped. Both families of an
 * allocation have the same port.
 *
 * Two allocations of this relay reach each other inside of it, so that it also works where the public
 * address is not one of this host. The relay itself is nobody's peer: packets to its listen port are
 * dropped. Other programs on its host can be peers.
 *
 * An unauthenticated packet never changes state: the first nonce of a client socket is a keyed hash of
 * its address that is good for 18 to 35 minutes; state is kept from the first signed request on.
 *
 * Ownership: the creator. Thread-safety: one thread.
 */

/** Bytes in front of a packet that must be writable. */
#define RELAY_HEADROOM 4
/** A packet's buffer must hold at least this much, for answers to requests. */
#define RELAY_PACKET_SIZE_MIN 1024

#define RELAY_LIFETIME_DEFAULT_S 600
#define RELAY_LIFETIME_MAX_S 3600
/** A channel lives this long from its last bind, */
#define RELAY_CHANNEL_ACTIVE_MS 600000
/** and stays reserved for its peer for this long after that. */
#define RELAY_CHANNEL_RESERVED_MS 300000
/** Requests that a nonce is good for. */
#define RELAY_NONCE_USES 10000
/** Channel numbers, RFC 8656 12. */
#define RELAY_CHANNEL_FIRST 0x4000
#define RELAY_CHANNEL_LAST 0x4fff

/** Families of an allocation, as bits. */
enum relay_families {
	RELAY_V4 = 1,
	RELAY_V6 = 2,
};

/** Both clocks at one moment: lifetimes run on the first, credentials expire on the second. */
struct relay_now {
	uint64_t mono_ms;
	int64_t unix_s;
};

/** A datagram that came or is to be sent. */
struct relay_packet {
	uint8_t *data; // RELAY_HEADROOM bytes before and `cap` bytes from here are writable
	size_t size;
	size_t cap;
	struct ip_endpoint remote; // source, or destination
	uint16_t port; // our UDP port: the listen port or an allocation's; host order
};

/** Where sockets come from. */
struct relay_ports {
	/** Opens a port in all of @p families or in none. @return 0, -errno: another one is tried */
	int (*open)(void *ctx, uint16_t port, unsigned families);
	/** No packet will use this port any more. */
	void (*close)(void *ctx, uint16_t port, unsigned families);
	void *ctx;
};

struct relay_config {
	struct ip_addr public_v4; // as peers see us; family NONE: not served
	struct ip_addr public_v6;
	uint16_t listen_port;
	uint16_t lowest_port; // of allocations
	uint16_t highest_port;
	size_t clients_max; // client sockets with state, more than ports; 0: twice as many
	const char *secret; // stamp secret; copied
	const char *software; // copied
	struct relay_ports ports;
	void (*random)(void *out, size_t size); // sodium's randombytes_buf() has this shape
};

/** Why packets were dropped: name and what it means. */
#define RELAY_DROPS(X)                                                                             \
	X(NOT_STUN, "neither STUN nor ChannelData")                                                \
	X(BAD_STUN, "STUN message with a wrong length")                                            \
	X(NOT_REQUEST, "STUN indication or response")                                              \
	X(BAD_CHANNEL_DATA, "length field beyond the packet")                                      \
	X(NO_ALLOCATION, "ChannelData of a socket without allocation, or to a closed port")        \
	X(NO_CHANNEL, "channel not bound, or peer without a channel")                              \
	X(OWN_ADDRESS, "to our own listen port")                                                   \
	X(NO_ANSWER, "an answer could not be made")

enum relay_drop {
#define X(name, text) RELAY_DROP_##name,
	RELAY_DROPS(X)
#undef X
	RELAY_DROP_COUNT
};

struct relay_stats {
	uint64_t to_peer; // packets
	uint64_t to_peer_bytes; // payload
	uint64_t to_client;
	uint64_t to_client_bytes;
	uint64_t requests;
	uint64_t errors; // requests answered with one
	uint64_t drops[RELAY_DROP_COUNT];
	size_t n_allocations; // now
	size_t n_clients; // now
};

struct relay;

/** @return NULL with errno EINVAL (no family, ports out of order, no secret) or ENOMEM */
struct relay *relay_create(const struct relay_config *config);
/** Closes every port, wipes and frees. Accepts NULL. */
void relay_destroy(struct relay *r);

/**
 * Handles one packet.
 * @return whether @p p now is a packet to send; else it was dropped and its contents mean nothing
 */
bool relay_handle_packet(struct relay *r, struct relay_now now, struct relay_packet *p);

/** Ends what has expired. */
void relay_tick(struct relay *r, struct relay_now now);
/** When relay_tick() is next wanted, in ms of the monotonic clock; UINT64_MAX: not. */
uint64_t relay_next_deadline(const struct relay *r);

const struct relay_stats *relay_stats(const struct relay *r);
/** A drop's name in lower case. */
const char *relay_drop_name(enum relay_drop drop);
