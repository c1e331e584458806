// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include "control/path/turn.h"

#include <sodium.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/**
 * What the files of the TURN client share among themselves; nobody else includes it.
 *
 * turn.c holds the life of an allocation and its queues, turn_request.c sends and repeats requests,
 * turn_response.c judges the answers, turn_bind.c keeps the channels.
 */

#define TURN_S 1000000000ull
#define TURN_FAMILIES 2 // index 0 is IPv4, 1 is IPv6
#define TURN_ACTIVE_NONE TURN_FAMILIES
#define TURN_NONCE_SIZE_MAX 255
#define TURN_REQUESTS_MAX 64
// Slots that ChannelBinds leave to the other requests.
#define TURN_REQUESTS_RESERVED 8
// Transactions of one request: each repetition is a new one, and so is each answer to a challenge.
#define TURN_ATTEMPTS_MAX 8
// A relay that answers every request with yet another nonce is not followed further.
#define TURN_CHALLENGES_MAX 4
// Allocate, mismatch, delete, and again.
#define TURN_MISMATCHES_MAX 3

enum turn_purpose {
	TURN_PURPOSE_NONE = 0, // free slot
	TURN_PURPOSE_BINDING,
	TURN_PURPOSE_ALLOCATE,
	TURN_PURPOSE_REFRESH,
	TURN_PURPOSE_DELETE, // Refresh with lifetime 0
	TURN_PURPOSE_CHANNEL_BIND,
};

struct turn_attempt {
	struct stun_txid txid;
	uint64_t sent; // time
	bool had_nonce;
};

/** A request in flight. */
struct turn_request {
	enum turn_purpose purpose;
	unsigned family; // index of the relay's address it goes to
	unsigned n_sends; // since the schedule started
	unsigned n_challenges;
	unsigned
		n_attempts; // all kept while below TURN_ATTEMPTS_MAX, then the newest overwrites the last
	struct turn_attempt attempts[TURN_ATTEMPTS_MAX];
	bool is_probe; // sent once, with short patience
	uint64_t next_tx; // next repetition or giving up
	uint16_t channel; // of CHANNEL_BIND
	struct ip_endpoint peer;
};

enum turn_channel_state {
	TURN_CHANNEL_FREE = 0, // not before free_at
	TURN_CHANNEL_BINDING, // requested, may be sent on
	TURN_CHANNEL_BOUND,
	TURN_CHANNEL_LAPSED, // the number still belongs to the peer
};

struct turn_channel {
	uint8_t state; // enum turn_channel_state
	bool has_rx; // data arrived since the last bind
	bool is_requested; // a ChannelBind is in flight
	uint16_t next; // in the bucket: index + 1, 0 ends
	struct ip_endpoint peer;
	uint64_t bound_at;
	uint64_t free_at;
};

enum turn_dialect {
	TURN_DIALECT_UNKNOWN,
	TURN_DIALECT_SIGNED, // Firezone: everything is signed
	TURN_DIALECT_RFC, // challenges come unsigned
};

struct turn_out {
	struct turn_out *next;
	struct ip_endpoint local;
	struct ip_endpoint remote;
	size_t size;
	uint8_t data[];
};

struct turn_allocation {
	struct stun_mac *mac;
	void (*random)(void *random_ctx, void *buf, size_t size);
	void *random_ctx;
	struct ip_endpoint remotes[TURN_FAMILIES];
	struct ip_endpoint locals[TURN_FAMILIES];
	char username[TURN_TEXT_LEN_MAX + 1];
	char realm[TURN_TEXT_LEN_MAX + 1];
	char software[TURN_TEXT_LEN_MAX + 1];
	uint8_t key[STUN_LONG_TERM_KEY_SIZE];

	enum turn_dialect dialect;
	uint8_t nonce[TURN_NONCE_SIZE_MAX];
	size_t nonce_size; // 0: none known
	unsigned active; // index of the relay's address in use, or TURN_ACTIVE_NONE
	bool has_answered; // ever
	bool is_usable; // answered since it last started
	bool is_suspended;
	bool is_released;
	bool has_failed;
	bool has_rtt;
	uint64_t rtt_ns;
	struct ip_endpoint hosts[TURN_FAMILIES]; // as reported last
	struct ip_endpoint mapped[TURN_FAMILIES];
	struct ip_endpoint mapped_base[TURN_FAMILIES];

	bool has_allocation;
	struct ip_endpoint relayed[TURN_FAMILIES];
	uint32_t lifetime_s;
	unsigned n_mismatches;
	uint64_t refresh_at; // all TURN_DEADLINE_NONE when not wanted
	uint64_t expires_at;
	uint64_t keepalive_at;
	uint64_t heard_at; // last datagram of the relay
	uint64_t retry_at;

	struct turn_request requests[TURN_REQUESTS_MAX];
	unsigned n_requests;

	struct turn_channel channels[TURN_CHANNEL_COUNT];
	uint16_t buckets[TURN_CHANNEL_COUNT]; // by peer: index + 1, 0: empty
	uint8_t hash_key[crypto_shorthash_KEYBYTES];
	unsigned next_channel; // index to try next
	uint64_t channels_at; // nothing happens to any channel before
	struct ip_endpoint waiting[TURN_BIND_QUEUE_MAX]; // peers to bind, oldest first
	size_t n_waiting;

	struct turn_out *out_head;
	struct turn_out **out_tail;
	size_t n_out;
	struct turn_event *events;
	size_t n_events;
	size_t first_event;
	size_t cap_events;
};

/** Index of a family; IP_FAMILY_V4 or IP_FAMILY_V6 only. */
static inline unsigned turn_family_index(const struct ip_endpoint *ep)
{
	return ep->addr.family == IP_FAMILY_V6 ? 1 : 0;
}

// turn.c

/** Appends a datagram of @p size bytes to fill in; NULL when the queue is full or memory is short. */
struct turn_out *turn_out_add(struct turn_allocation *a, unsigned family, size_t size);
void turn_event_add(struct turn_allocation *a, const struct turn_event *event);
/** Withdraws the relay candidates, forgets channels and requests. @param is_coming_back keep the peers wanted */
void turn_invalidate(struct turn_allocation *a, bool is_coming_back);
/** Gives up for a while; without an address in use when the relay is @p is_silent. */
void turn_suspend(struct turn_allocation *a, uint64_t now, bool is_silent);
void turn_fail(struct turn_allocation *a, enum turn_failure failure);
void turn_begin(struct turn_allocation *a, uint64_t now);

// turn_request.c

/** Takes a slot and sends for the first time. @return borrowed, or NULL when there is no slot */
struct turn_request *
turn_request_start(struct turn_allocation *a, uint64_t now, enum turn_purpose purpose);
/** The same to a given address of the relay. */
struct turn_request *turn_request_start_at(
	struct turn_allocation *a,
	uint64_t now,
	enum turn_purpose purpose,
	unsigned family);
struct turn_request *turn_request_start_bind(
	struct turn_allocation *a,
	uint64_t now,
	const struct ip_endpoint *peer,
	uint16_t channel);
/** Sends again at once, from the start of the schedule, with the nonce known now. */
void turn_request_restart(struct turn_allocation *a, uint64_t now, struct turn_request *r);
void turn_request_end(struct turn_allocation *a, struct turn_request *r);
void turn_request_end_all(struct turn_allocation *a);
/** @return whether a request of this purpose is in flight */
bool turn_request_any(const struct turn_allocation *a, enum turn_purpose purpose);
/** Repeats and gives up what is due. */
void turn_request_run(struct turn_allocation *a, uint64_t now);
struct turn_request *turn_request_find(
	struct turn_allocation *a,
	const struct stun_txid *txid,
	const struct turn_attempt **attempt);

// turn_response.c

enum turn_rx turn_response_handle(
	struct turn_allocation *a,
	uint64_t now,
	const struct ip_endpoint *local,
	const struct ip_endpoint *remote,
	const struct stun_msg *msg);

// turn_bind.c

/** Binds what waits, as far as there are slots. */
void turn_bind_waiting(struct turn_allocation *a, uint64_t now);
void turn_bind_confirm(struct turn_allocation *a, uint64_t now, uint16_t channel);
/** The relay refused: the number rests, the peer gets another one when something is sent. */
void turn_bind_refuse(struct turn_allocation *a, uint64_t now, uint16_t channel);
/** Refreshes and lapses what is due. */
void turn_bind_run(struct turn_allocation *a, uint64_t now);
/** Forgets all channels. @param is_coming_back their peers wait to be bound again */
void turn_bind_clear(struct turn_allocation *a, bool is_coming_back);
enum turn_rx
turn_bind_receive(struct turn_allocation *a, uint64_t now, uint16_t channel, struct turn_data *out);
