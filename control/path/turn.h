// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include "control/base/addr.h"
#include "control/path/candidate.h"
#include "control/path/stun.h"
#include "control/path/turn_channel.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/**
 * One TURN allocation (RFC 8656): a node's address at one relay, shared by all its connections.
 * Usually reached through relays.h, which holds the set of them.
 *
 * Sans-IO. After every call that takes `now` the caller drains turn_allocation_poll_transmit() and
 * turn_allocation_poll_event(), then arms one timer for turn_allocation_next_deadline(). `now` is
 * nanoseconds of any monotonic clock, never going back.
 *
 *   Binding to both addresses -> first answer fixes the address used -> Allocate -> ChannelBinds
 *
 * Two dialects are spoken, found out by the first answer to an Allocate that carries credentials but no
 * nonce:
 *  - Firezone relays sign every answer, errors too. After the first validly signed answer nothing
 *    unsigned is believed any more, for the life of the allocation.
 *  - RFC 8656 servers (coturn) refuse such a request with an unsigned 400, an unsigned 401 that has
 *    REALM and NONCE, or an unsigned 437 when a process before us held the port: then the ordinary
 *    dance of RFC 8489 section 9.2 follows, in which 400, 401 and 438 may be unsigned. Everything else
 *    must be signed there too, success above all.
 * An answer with a wrong MESSAGE-INTEGRITY is ignored always, and so is one to an unknown transaction.
 *
 * Addresses: "local" is an address of ours, "remote" one of the relay, "peer" whoever is reached through
 * the relay. "relayed" is our address at the relay: base and address of relay candidates.
 *
 * Ownership: the allocation copies its configuration except the mac, which must outlive it.
 * Thread-safety: none; belongs to the control thread. Packet workers only use turn_channel.h.
 */

struct turn_allocation;

#define TURN_DEADLINE_NONE UINT64_MAX

/** Timers of spec/connectivity.md 3.4 and 3.5, nanoseconds. */
/** Binding; postponed by outgoing ChannelData while the relay was heard of no longer ago than this. */
#define TURN_KEEPALIVE_NS (25 * 1000000000ull)
#define TURN_GIVE_UP_NS 8125000000ull // sends at 0, 1, 2.5 and 4.75 s before
#define TURN_PROBE_NS (1 * 1000000000ull) // patience of turn_allocation_probe()
#define TURN_CHANNEL_REFRESH_NS (300 * 1000000000ull) // if data arrived since the last bind
#define TURN_CHANNEL_LIFETIME_NS (600 * 1000000000ull)
#define TURN_CHANNEL_COOL_DOWN_NS                                                                  \
	(900 * 1000000000ull) // no other peer before, counted from the bind
/** RFC servers drop the permission of a channel after 300 s, so it has to be renewed earlier. */
#define TURN_CHANNEL_REFRESH_RFC_NS (240 * 1000000000ull)
/** Ours: a relay that fell silent or refused to allocate is tried again after this. */
#define TURN_RETRY_NS (60 * 1000000000ull)

#define TURN_TEXT_LEN_MAX 255 // user name, password, realm, software
#define TURN_TRANSMIT_SIZE_MAX 1536
#define TURN_TRANSMIT_QUEUE_MAX 512
#define TURN_BIND_QUEUE_MAX 100

struct turn_config {
	struct ip_endpoint remote_v4; // of the relay; family NONE when it has none
	struct ip_endpoint remote_v6;
	struct ip_endpoint
		local_v4; // source of what we send; address may be unspecified; NONE: no IPv4
	struct ip_endpoint local_v6;
	const char *username;
	const char *password;
	const char *realm; // "firezone"; a relay naming another one is refused
	const char *software; // value of SOFTWARE
	void (*random)(void *random_ctx, void *buf, size_t size); // transaction ids; unguessable
	void *random_ctx;
	struct stun_mac *mac; // borrowed
};

/** What became of a received packet; X(upper case name, counter name). */
#define TURN_RX_LIST(X)                                                                            \
	X(RESPONSE, "response")                                                                    \
	X(DATA, "data")                                                                            \
	X(NOT_FROM_RELAY, "not_from_relay")                                                        \
	X(FORMER_RELAY, "former_relay")                                                            \
	X(OTHER, "other")                                                                          \
	X(MALFORMED, "malformed")                                                                  \
	X(NOT_RESPONSE, "not_response")                                                            \
	X(UNKNOWN_TXID, "unknown_txid")                                                            \
	X(WRONG_SOCKET, "wrong_socket")                                                            \
	X(BAD_INTEGRITY, "bad_integrity")                                                          \
	X(UNSIGNED, "unsigned")                                                                    \
	X(INCOMPLETE, "incomplete")                                                                \
	X(UNKNOWN_CHANNEL, "unknown_channel")                                                      \
	X(UNCONFIRMED_CHANNEL, "unconfirmed_channel")

/**
 * RESPONSE was taken, DATA is a datagram from a peer. NOT_FROM_RELAY and OTHER (from a relay, but neither
 * STUN nor ChannelData) go on as traffic of a peer. All others are dropped and changed nothing.
 */
enum turn_rx {
#define TURN_RX_ENUM(name, text) TURN_RX_##name,
	TURN_RX_LIST(TURN_RX_ENUM)
#undef TURN_RX_ENUM
	TURN_RX_COUNT
};

/** Counter name of @p rx, e.g. "unknown_channel". */
const char *turn_rx_name(enum turn_rx rx);

/** A datagram that a peer sent us through the relay. */
struct turn_data {
	struct ip_endpoint local; // our relayed address of the peer's family
	struct ip_endpoint remote; // the peer
	uint16_t channel;
	const uint8_t *data; // inside the packet given
	size_t size;
};

/** One datagram to send from @p local to @p remote; an unspecified local address leaves it to routing. */
struct turn_transmit {
	struct ip_endpoint local;
	struct ip_endpoint remote;
	size_t size;
	uint8_t data[TURN_TRANSMIT_SIZE_MAX];
};

/** How a peer is reached: what a packet worker needs to wrap its packets. */
struct turn_route {
	struct ip_endpoint local; // our socket
	struct ip_endpoint remote; // the relay
	uint16_t channel;
	bool is_confirmed; // false: sending is allowed, receiving not yet
};

enum turn_event_type {
	TURN_EVENT_USABLE, // the relay answered for the first time: its round trip is known
	TURN_EVENT_CANDIDATE, // kind, addr, base and is_cross_family for ice_agent_add_local()
	TURN_EVENT_WITHDRAWN, // a relay candidate that is no more; all its channels are gone with it
	TURN_EVENT_CHANNEL_UP, // channel -> peer holds for received packets from now on
	TURN_EVENT_CHANNEL_DOWN, // it lapsed (not told when WITHDRAWN says so)
	TURN_EVENT_FAILED, // final: the allocation is silent from now on; destroy it
};

enum turn_failure {
	TURN_FAILURE_NONE,
	TURN_FAILURE_AUTHENTICATION, // the relay knows other credentials
	TURN_FAILURE_PROTOCOL, // it demands what we do not have, or names another realm
	TURN_FAILURE_NO_RESPONSE, // never any answer
};

struct turn_event {
	enum turn_event_type type;
	struct ice_candidate candidate; // of CANDIDATE and WITHDRAWN; priority not computed
	bool is_cross_family; // of CANDIDATE: allocated over the other family
	uint16_t channel; // of CHANNEL_UP and CHANNEL_DOWN
	struct ip_endpoint peer;
	enum turn_failure failure; // of FAILED
};

/** "authentication", "protocol", "no_response" or "none". */
const char *turn_failure_name(enum turn_failure failure);

/**
 * Creates an allocation and queues the first Bindings.
 * @return owned, or NULL with errno EINVAL (no address in common with the relay, empty or too long text)
 * or ENOMEM
 */
struct turn_allocation *turn_allocation_create(const struct turn_config *config, uint64_t now);
/** Wipes the password and frees; accepts NULL. Sends nothing. */
void turn_allocation_destroy(struct turn_allocation *a);

/**
 * Feeds one datagram that arrived on @p local (its real address, it becomes the host candidate) from
 * @p remote.
 * @param out filled in for TURN_RX_DATA; points into @p data
 */
enum turn_rx turn_allocation_handle_packet(
	struct turn_allocation *a,
	uint64_t now,
	const struct ip_endpoint *local,
	const struct ip_endpoint *remote,
	const void *data,
	size_t size,
	struct turn_data *out);
/** Does what is due; harmless when nothing is. */
void turn_allocation_handle_timeout(struct turn_allocation *a, uint64_t now);
/** When turn_allocation_handle_timeout() is wanted next; may be in the past or a little early. */
uint64_t turn_allocation_next_deadline(const struct turn_allocation *a);
/** Takes the next datagram to send. @return whether there was one */
bool turn_allocation_poll_transmit(struct turn_allocation *a, struct turn_transmit *out);
/** Takes the next event. @return whether there was one */
bool turn_allocation_poll_event(struct turn_allocation *a, struct turn_event *out);

/**
 * Wants a channel to @p peer. Repeating it is harmless; without an allocation it is queued.
 * @return 0; -EAFNOSUPPORT the allocation lacks the family; -ENOSPC no number left; -EINVAL bad address
 */
[[nodiscard]] int
turn_allocation_bind(struct turn_allocation *a, uint64_t now, const struct ip_endpoint *peer);
/**
 * How to reach @p peer. Without a channel one is wanted as by turn_allocation_bind(), and this packet is
 * to be dropped. @return 0; -ENOTCONN no channel yet; also the errors of turn_allocation_bind()
 */
[[nodiscard]] int turn_allocation_route(
	struct turn_allocation *a,
	uint64_t now,
	const struct ip_endpoint *peer,
	struct turn_route *out);
/**
 * Queues a datagram to @p peer as ChannelData. @return 0; -EMSGSIZE; -ENOBUFS queue full; also the errors
 * of turn_allocation_route(). After an error the datagram is dropped.
 */
[[nodiscard]] int turn_allocation_send(
	struct turn_allocation *a,
	uint64_t now,
	const struct ip_endpoint *peer,
	const void *data,
	size_t size);
/** ChannelData was sent past turn_allocation_send(), by a packet worker: postpones the keep-alive. */
void turn_allocation_note_sent(struct turn_allocation *a, uint64_t now);
/** ChannelData was received past turn_allocation_handle_packet(): the channel is worth refreshing. */
void turn_allocation_note_received(struct turn_allocation *a, uint64_t now, uint16_t channel);

/** Peer of a confirmed channel. @return whether it is one */
bool turn_allocation_channel_peer(
	const struct turn_allocation *a,
	uint16_t channel,
	struct ip_endpoint *peer);

/**
 * One Refresh with 1 s of patience: wanted when the portal stopped listing the relay. Without an answer
 * the candidates are withdrawn. An allocation that had given up starts over.
 */
void turn_allocation_probe(struct turn_allocation *a, uint64_t now);
/**
 * Starts over from new sockets (network change, or a silent relay that is listed again): candidates are
 * withdrawn, the credentials stay. A local address of family NONE: not available.
 */
void turn_allocation_restart(
	struct turn_allocation *a,
	uint64_t now,
	const struct ip_endpoint *local_v4,
	const struct ip_endpoint *local_v6);
/** @return whether the allocation was made with these addresses of the relay and these credentials */
bool turn_allocation_matches(
	const struct turn_allocation *a,
	const struct ip_endpoint *remote_v4,
	const struct ip_endpoint *remote_v6,
	const char *username,
	const char *password);
/** Withdraws the candidates and gives the addresses back: one Refresh with lifetime 0, then silence. */
void turn_allocation_release(struct turn_allocation *a, uint64_t now);

/** Round trip estimate. @return whether there is one and the relay is not silent */
bool turn_allocation_rtt(const struct turn_allocation *a, uint64_t *rtt_ns);
/** Our address at the relay. @return whether there is one of the family */
bool turn_allocation_relayed(
	const struct turn_allocation *a,
	enum ip_family family,
	struct ip_endpoint *out);
/** Whether the relay fell silent or refused: waiting for TURN_RETRY_NS or turn_allocation_restart(). */
bool turn_allocation_is_suspended(const struct turn_allocation *a);
/**
 * Lists the candidates known now: host, server-reflexive and relay, as TURN_EVENT_CANDIDATE gave them.
 * @return number written to @p out, at most @p cap; 6 are enough
 */
size_t
turn_allocation_candidates(const struct turn_allocation *a, struct turn_event *out, size_t cap);
