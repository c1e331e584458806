// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include "control/path/stun.h"
#include "peers/relay/credentials.h"
#include "peers/relay/relay.h"

#include <sodium.h>

#include <assert.h>
#include <sys/queue.h>

/**
 * What the files of the relay share. Nothing outside relay*.c and nonce.c includes this.
 *
 * Thread-safety: one thread.
 */

/** Slots of one second; more than the longest lifetime. */
#define RELAY_WHEEL_SLOTS 4096
/** No channel, no bucket entry. */
#define RELAY_NONE UINT16_MAX

static_assert(RELAY_WHEEL_SLOTS > RELAY_LIFETIME_MAX_S + 2, "a lap is longer than any lifetime");

/** A peer that a client may talk to. */
struct relay_channel {
	struct ip_endpoint peer;
	uint16_t number;
	uint16_t next; // in the bucket of its peer, by slot
	uint64_t active_until_ms; // and RELAY_CHANNEL_RESERVED_MS more reserved
};

struct relay_allocation {
	LIST_ENTRY(relay_allocation) of_user; // bucket of the user name
	LIST_ENTRY(relay_allocation) of_second; // slot of the wheel
	struct relay_client *client;
	char username[CREDENTIALS_USERNAME_SIZE];
	struct stun_txid txid; // of the Allocate, to know its retransmission
	uint16_t port;
	unsigned families; // enum relay_families
	uint64_t expires_ms;
	uint32_t lifetime_s; // as last granted
	uint16_t slot_of_number[RELAY_CHANNEL_LAST - RELAY_CHANNEL_FIRST + 1];
	struct relay_channel *channels; // by slot
	uint16_t *buckets; // slot by hash of the peer; n_buckets of them
	uint16_t n_channels;
	uint16_t cap_channels;
	uint32_t n_buckets; // power of two
};

/** A client's socket that has signed a request. */
struct relay_client {
	LIST_ENTRY(relay_client) of_hash;
	TAILQ_ENTRY(relay_client) of_idle; // without an allocation, longest first
	struct ip_endpoint endpoint;
	struct relay_allocation *allocation; // or NULL
	char nonce[CREDENTIALS_UUID_SIZE];
	unsigned nonce_uses;
};

LIST_HEAD(relay_clients, relay_client);
LIST_HEAD(relay_allocations, relay_allocation);

struct relay {
	struct relay_config config; // its texts are the copies below
	char *secret;
	char *software;
	struct stun_mac *mac;
	uint8_t hash_key[crypto_shorthash_KEYBYTES];
	uint8_t nonce_key[32];
	struct relay_clients *clients; // buckets
	struct relay_allocations *users; // buckets
	size_t n_buckets; // of both; power of two
	TAILQ_HEAD(, relay_client) idle;
	struct relay_allocation **by_port; // from lowest_port
	struct relay_allocations wheel[RELAY_WHEEL_SLOTS];
	uint64_t wheel_s; // seconds before this are done
	struct relay_stats stats;
	uint8_t answer[RELAY_PACKET_SIZE_MIN];
};

/** Counts a drop. @return false */
bool relay_drop(struct relay *r, enum relay_drop why);
/** Our public address of a family (enum ip_family); family NONE if there is none. */
const struct ip_addr *relay_public(const struct relay *r, uint8_t family);
/** Families that the relay serves. */
unsigned relay_families(const struct relay *r);
/** Bit of an address's family; 0 for none. */
unsigned relay_family_bit(const struct ip_addr *a);

// relay_request.c
bool relay_request_handle(struct relay *r, struct relay_now now, struct relay_packet *p);

// relay_nonce.c
/** The nonce to give to this socket now; @p client NULL: one without state. */
void relay_nonce_current(
	const struct relay *r,
	const struct relay_client *client,
	const struct ip_endpoint *from,
	uint64_t now_ms,
	char out[CREDENTIALS_UUID_SIZE]);
/** @return whether a request from this socket may use the nonce; a used-up one is replaced. */
bool relay_nonce_check(
	const struct relay *r,
	struct relay_client *client,
	const struct ip_endpoint *from,
	uint64_t now_ms,
	const struct stun_bytes *nonce);

// relay_table.c
[[nodiscard]] int relay_table_init(struct relay *r);
void relay_table_fini(struct relay *r);
struct relay_client *relay_client_find(const struct relay *r, const struct ip_endpoint *endpoint);
/** @return NULL when all clients_max have allocations or memory is short */
struct relay_client *relay_client_add(struct relay *r, const struct ip_endpoint *endpoint);
struct relay_allocation *relay_allocation_of_user(const struct relay *r, const char *username);
struct relay_allocation *relay_allocation_of_port(const struct relay *r, uint16_t port);
/** Opens a port and makes the client's allocation. @return NULL: no port, no memory */
struct relay_allocation *relay_allocation_add(
	struct relay *r,
	struct relay_client *client,
	const char *username,
	unsigned families,
	uint64_t now_ms,
	uint32_t lifetime_s);
void relay_allocation_del(struct relay *r, struct relay_allocation *a);
void relay_allocation_refresh(
	struct relay *r,
	struct relay_allocation *a,
	uint64_t now_ms,
	uint32_t lifetime_s);
/** Active or not; NULL if it was never bound. */
struct relay_channel *relay_channel_of_number(const struct relay_allocation *a, uint16_t number);
struct relay_channel *relay_channel_of_peer(
	const struct relay *r,
	const struct relay_allocation *a,
	const struct ip_endpoint *peer);
/** Binds or renews. @return 0, -EEXIST: number or peer are another's for now, -ENOMEM */
[[nodiscard]] int relay_channel_bind(
	const struct relay *r,
	struct relay_allocation *a,
	uint16_t number,
	const struct ip_endpoint *peer,
	uint64_t now_ms);
