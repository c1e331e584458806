// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include "control/base/addr.h"
#include "control/portal/client_messages.h"
#include "peers/client/packet.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/**
 * The client itself, between four sides:
 *
 *            portal messages (authorizations, resources, candidates)
 *                                  |
 *   TUN packets ----------- struct client ----------- UDP datagrams
 *                                  |
 *                     addresses of this host, time
 *
 * A packet from the TUN belongs to a resource; a resource is served by a gateway once the portal
 * authorized it; a gateway has a connection. What is missing is asked for when the first packet
 * needs it. When a connection is lost its resources are unauthorized and the next packet asks again,
 * which is how a restarted gateway is found without anybody's help.
 *
 * Sans-IO: everything goes out through struct client_ops during the call that caused it. `now` is
 * nanoseconds of one monotonic clock, never 0. After each batch of calls the caller arms one timer
 * for client_deadline().
 *
 * Ownership: create/destroy; arguments are borrowed during the call. Thread-safety: none, one loop.
 */

/** Bytes that TUN and UDP buffers must have before and behind their content. */
#define CLIENT_HEADROOM 32
#define CLIENT_TAILROOM 32

#define CLIENT_NEVER UINT64_MAX

/** The outside. All calls return at once; none may call back into the client. */
struct client_ops {
	/** Sends a datagram; may be lost. @p ecn 0-3 for the outer header. */
	void (*udp_send)(
		void *ctx,
		const struct ip_endpoint *local,
		const struct ip_endpoint *remote,
		const void *data,
		size_t size,
		uint8_t ecn);
	/** Hands an IP packet to the host; may be lost. */
	void (*tun_send)(void *ctx, const uint8_t *packet, size_t size);
	/** Sends to the portal; takes the payload. @return false if it was dropped */
	bool (*portal_send)(void *ctx, struct portal_push push);
	enum portal_dialect (*portal_dialect)(void *ctx);
	/** Gives the TUN its addresses. @return 0, -errno */
	int (*interface_set)(void *ctx, const struct ip_addr *v4, const struct ip_addr *v6);
	/** Adds or removes the route of a resource; length 0: everything else. @return 0, -errno */
	int (*route_set)(void *ctx, const struct ip_prefix *p, bool is_add);
	/** Unpredictable bytes. */
	void (*random)(void *ctx, void *out, size_t size);
};

struct client_config {
	bool is_internet_active; // use the Internet resource
	bool is_local_filter; // refuse here what a resource's filters forbid
	bool is_prohibited_request; // ask again on ICMP "administratively prohibited"
	uint64_t wall_ns; // UNIX time at creation, for handshake stamps
	const uint8_t *private_key; // 32 bytes; NULL: a fresh one
};

/** What became of packets; X(upper case name, counter name). */
#define CLIENT_COUNTERS(X)                                                                         \
	X(TUN_IN, "tun_in")                                                                        \
	X(TUN_MALFORMED, "tun_malformed")                                                          \
	X(TUN_BAD_SOURCE, "tun_bad_source")                                                        \
	X(TUN_MULTICAST, "tun_multicast")                                                          \
	X(TUN_NO_RESOURCE, "tun_no_resource")                                                      \
	X(TUN_FILTERED, "tun_filtered")                                                            \
	X(TUN_WAITING, "tun_waiting")                                                              \
	X(TUN_OUT, "tun_out")                                                                      \
	X(UDP_IN, "udp_in")                                                                        \
	X(UDP_UNKNOWN, "udp_unknown")                                                              \
	X(UDP_RELAY_REFUSED, "udp_relay_refused")                                                  \
	X(UDP_NO_CHANNEL, "udp_no_channel")                                                        \
	X(UDP_STUN_REFUSED, "udp_stun_refused")                                                    \
	X(UDP_HANDSHAKE_REFUSED, "udp_handshake_refused")                                          \
	X(UDP_NO_SESSION, "udp_no_session")                                                        \
	X(UDP_FORGED, "udp_forged")                                                                \
	X(UDP_REPLAYED, "udp_replayed")                                                            \
	X(INNER_MALFORMED, "inner_malformed")                                                      \
	X(INNER_BAD_DESTINATION, "inner_bad_destination")                                          \
	X(INNER_BAD_SOURCE, "inner_bad_source")                                                    \
	X(INNER_CONTROL, "inner_control")                                                          \
	X(INNER_PROHIBITED, "inner_prohibited")

enum client_counter {
#define CLIENT_COUNTER_ENUM(name, text) CLIENT_COUNTER_##name,
	CLIENT_COUNTERS(CLIENT_COUNTER_ENUM)
#undef CLIENT_COUNTER_ENUM
	CLIENT_COUNTER_COUNT,
};

struct client;

/** @return NULL with errno EINVAL (private key), ENOMEM, ENOTSUP, EIO */
struct client *client_create(
	const struct client_config *config,
	const struct client_ops *ops,
	void *ops_ctx,
	uint64_t now);
/** Frees everything; says nothing to anybody, see client_goodbye(). Accepts NULL. */
void client_destroy(struct client *c);

/** Our public key, 32 bytes, fresh per process. */
const uint8_t *client_public_key(const struct client *c);
/** Whether the portal gave us our addresses. */
bool client_is_up(const struct client *c);

/** Handles one message of the portal. */
void client_portal_message(struct client *c, uint64_t now, const struct client_message *m);

/** The addresses of this host that gateways may try, with the port of our sockets. */
void client_locals_set(
	struct client *c,
	uint64_t now,
	const struct ip_endpoint *locals,
	size_t n_locals);

/**
 * The network changed: everything starts over with a new key (client_public_key()), which the
 * portal has to hear of in a new session. Nobody is told. What was in use is asked for again after the
 * next init. @return 0, -errno (then the client is of no use any more)
 */
[[nodiscard]] int client_reset(struct client *c, uint64_t now, uint64_t wall_ns);
/** Gives our addresses at the relays back, before the end. */
void client_relays_release(struct client *c, uint64_t now);

/** A packet of the host. @p buf has CLIENT_HEADROOM before and CLIENT_TAILROOM behind; changed. */
void client_tun_packet(struct client *c, uint64_t now, uint8_t *buf, size_t size);

/** A datagram. @p buf is changed. @p ecn of its outer header. */
void client_udp_packet(
	struct client *c,
	uint64_t now,
	const struct ip_endpoint *local,
	const struct ip_endpoint *remote,
	uint8_t ecn,
	uint8_t *buf,
	size_t size);

/** Does what is due. */
void client_handle_timeout(struct client *c, uint64_t now);
/** When client_handle_timeout() is wanted; CLIENT_NEVER. */
uint64_t client_deadline(const struct client *c);

/** Says goodbye to every gateway and drops the connections. */
void client_goodbye(struct client *c, uint64_t now);

uint64_t client_counter_get(const struct client *c, enum client_counter counter);
const char *client_counter_name(enum client_counter counter);
