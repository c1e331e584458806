// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include "control/path/ice.h"
#include "control/path/turn.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/**
 * The relays of a node: one turn_allocation per relay that the portal handed out, shared by all
 * connections. Follows the portal's lists, chooses a relay for each connection, and carries the
 * connections' packets from and to the relays.
 *
 * Wiring, which relay_users.h does for gateway and client:
 *  1. init.relays and relays_presence go to relays_apply().
 *  2. A new connection calls relays_pick(), keeps the handle, and adds each of relays_candidates() to its
 *     ICE agent (ice_agent_add_local(), signal what that accepts).
 *  3. RELAYS_EVENT_CANDIDATE(handle): the same for each connection with that handle.
 *     RELAYS_EVENT_WITHDRAWN: ice_agent_remove_local() and withdraw towards the peer, likewise.
 *     RELAYS_EVENT_LOST: each connection with that handle picks anew as in 2 and calls 4 again for all its
 *     remote candidates. RELAYS_EVENT_EMPTY: tell the portal no_relays.
 *  4. Each remote candidate received goes to the ICE agent and to relays_want_channel().
 *  5. A received packet from a relay (relays_is_relay(), or simply every packet with source port
 *     3478) goes to relays_handle_packet(). RESPONSE: done. DATA: treat out->data as a packet received
 *     on out->local from out->remote. NOT_FROM_RELAY, OTHER: treat the packet as a peer's. Else drop.
 *  6. What an ICE agent or a WireGuard handshake sends goes to relays_send() first: a local address that
 *     is a relayed one is wrapped and appears in relays_poll_transmit(); RELAYS_SEND_DIRECT is yours.
 *  7. Data packets on a selected pair whose local address is a relayed one: relays_route() gives socket,
 *     relay and channel; put turn_channel_header_write() in front. Incoming: RELAYS_EVENT_CHANNEL_UP and
 *     _DOWN say which (relay, channel) is which peer. A worker doing this reports now and then with
 *     turn_allocation_note_sent() and turn_allocation_note_received().
 *
 * Sans-IO: after every call that takes `now`, drain relays_poll_transmit() and relays_poll_event(), then
 * arm relays_next_deadline().
 *
 * Handles are never reused. Ownership: the set owns its allocations and copies all texts.
 * Thread-safety: none; the control thread.
 */

struct relays;

#define RELAYS_ID_SIZE 16
#define RELAYS_MAX 16 // of the portal's lists; it hands out two
#define RELAYS_FORMER_MAX 64 // addresses of former relays remembered
#define RELAYS_NONE 0 // no handle

struct relays_config {
	struct ip_endpoint local_v4; // as in struct turn_config
	struct ip_endpoint local_v6;
	const char *realm; // NULL: "firezone"
	const char *software; // NULL: "snownet"
	void (*random)(void *random_ctx, void *buf, size_t size);
	void *random_ctx;
	struct stun_mac *mac; // borrowed, must outlive the set
};

/** One entry of the portal's lists; entries of equal id are the addresses of one relay. */
struct relays_entry {
	uint8_t id[RELAYS_ID_SIZE];
	struct ip_endpoint endpoint;
	const char *username;
	const char *password;
};

enum relays_event_type {
	RELAYS_EVENT_USABLE, // relays_pick() may choose it from now on
	RELAYS_EVENT_CANDIDATE, // see struct turn_event
	RELAYS_EVENT_WITHDRAWN,
	RELAYS_EVENT_CHANNEL_UP,
	RELAYS_EVENT_CHANNEL_DOWN,
	RELAYS_EVENT_LOST, // the relay is gone or silent: its connections need another one
	RELAYS_EVENT_EMPTY, // the last relay is gone
};

struct relays_event {
	enum relays_event_type type;
	uint32_t relay; // handle; of LOST: of a relay that may already be gone
	struct turn_event turn; // of CANDIDATE, WITHDRAWN, CHANNEL_UP and CHANNEL_DOWN
	enum turn_failure failure; // of LOST
};

/** @return owned, empty set, or NULL with errno EINVAL or ENOMEM */
struct relays *relays_create(const struct relays_config *config, uint64_t now);
/** Destroys all allocations; accepts NULL. Sends nothing. */
void relays_destroy(struct relays *relays);

/**
 * Follows init.relays (nothing disconnected) or relays_presence: removes the disconnected; adds unknown
 * ones; keeps those with equal addresses and credentials, replaces those with other ones; probes what
 * is not listed. Bad entries are skipped.
 * @return number of relays held now
 */
size_t relays_apply(
	struct relays *relays,
	uint64_t now,
	const uint8_t (*disconnected)[RELAYS_ID_SIZE],
	size_t n_disconnected,
	const struct relays_entry *connected,
	size_t n_connected);
/** Network change: all allocations start over from new sockets. */
void relays_restart(
	struct relays *relays,
	uint64_t now,
	const struct ip_endpoint *local_v4,
	const struct ip_endpoint *local_v6);
/** Shutdown: gives all relayed addresses back; drain the transmits once more, then destroy. */
void relays_release(struct relays *relays, uint64_t now);

/**
 * Chooses a relay for a new connection: at random among those about as near as the nearest.
 * @return handle, or RELAYS_NONE when none has answered yet
 */
uint32_t relays_pick(struct relays *relays);
/**
 * Candidates of a new connection: host and server-reflexive ones of all relays, relay ones of @p relay.
 * @return number written, at most @p cap
 */
size_t
relays_candidates(const struct relays *relays, uint32_t relay, struct turn_event *out, size_t cap);
/** The allocation behind a handle. @return borrowed until the next call, or NULL when it is gone */
struct turn_allocation *relays_allocation(struct relays *relays, uint32_t relay);
/** Number of relays held. */
size_t relays_count(const struct relays *relays);

/**
 * A remote candidate was received: binds a channel to it on @p relay unless it is a host candidate (those
 * get one when a check is first sent to them).
 */
void relays_want_channel(
	struct relays *relays,
	uint64_t now,
	uint32_t relay,
	const struct ice_candidate *remote);

/** @return whether packets from @p remote are to be given to relays_handle_packet() */
bool relays_is_relay(const struct relays *relays, const struct ip_endpoint *remote);
/**
 * Feeds one received datagram; see turn_allocation_handle_packet() and step 5 above.
 * @param relay set to the handle of the relay it came from, or RELAYS_NONE
 */
enum turn_rx relays_handle_packet(
	struct relays *relays,
	uint64_t now,
	const struct ip_endpoint *local,
	const struct ip_endpoint *remote,
	const void *data,
	size_t size,
	uint32_t *relay,
	struct turn_data *out);

enum relays_send {
	RELAYS_SEND_DIRECT, // local is no relayed address: send it yourself
	RELAYS_SEND_RELAYED, // wrapped and queued
	RELAYS_SEND_DROPPED, // no channel yet (one is being bound), or the queue is full
};

/** Sends a datagram through the relay that @p local belongs to, if it does. */
enum relays_send relays_send(
	struct relays *relays,
	uint64_t now,
	const struct ip_endpoint *local,
	const struct ip_endpoint *remote,
	const void *data,
	size_t size);
/** The relay whose relayed address @p local is. @return handle or RELAYS_NONE */
uint32_t relays_find_relayed(const struct relays *relays, const struct ip_endpoint *local);
/**
 * How a relayed path is sent on, for a client's or worker's own packets.
 * @return 0; -EADDRNOTAVAIL @p local is no relayed address; also the errors of turn_allocation_route()
 */
[[nodiscard]] int relays_route(
	struct relays *relays,
	uint64_t now,
	const struct ip_endpoint *local,
	const struct ip_endpoint *remote,
	struct turn_route *out);

void relays_handle_timeout(struct relays *relays, uint64_t now);
/** ICE_DEADLINE_NONE or TURN_DEADLINE_NONE (the same): never. */
uint64_t relays_next_deadline(const struct relays *relays);
bool relays_poll_transmit(struct relays *relays, struct turn_transmit *out);
bool relays_poll_event(struct relays *relays, struct relays_event *out);
