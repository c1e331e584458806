// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include "control/path/stun.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/**
 * A relay for tests, written from spec/portal-client.md 4.4 (and RFC 8656 when is_rfc, in the manner of
 * coturn), with a fake clock: Binding, Allocate, Refresh, ChannelBind, ChannelData. It can be told to
 * misbehave. It keeps accounts of what it was asked.
 */

#define DOUBLE_CLIENTS_MAX 4
#define DOUBLE_CHANNELS_MAX 4200
#define DOUBLE_NS 1000000000ull

struct double_channel {
	uint16_t number;
	struct ip_endpoint peer;
	uint64_t bound_at;
};

/** An allocation. */
struct double_client {
	struct ip_endpoint source; // family NONE: free slot
	struct ip_endpoint server; // the address of ours that it talks to
	struct ip_endpoint relayed[2];
	uint64_t expires_at;
	struct double_channel *channels;
	size_t n_channels;
};

struct relay_double {
	struct stun_mac *mac;
	struct ip_endpoint addrs[2]; // IPv4, IPv6; NONE: does not have the family
	struct ip_addr relay_addrs[2]; // of allocations
	const char *realm;
	uint8_t key[STUN_LONG_TERM_KEY_SIZE];
	char username[128];
	bool is_rfc;
	bool is_dead; // answers nothing
	uint32_t lifetime_s;
	uint16_t next_port;
	struct double_client clients[DOUBLE_CLIENTS_MAX];
	unsigned nonce; // serial number of the valid one

	/** Misbehaviour: answer this method with this code, so many times. */
	uint16_t fail_method;
	unsigned fail_code;
	unsigned fail_times;
	bool fails_unsigned; // without MESSAGE-INTEGRITY
	bool fails_badly_signed;
	bool says_nothing_new; // errors carry no NONCE
	bool forgets_lifetime;

	unsigned n_binding, n_allocate, n_refresh, n_delete, n_channel_bind; // requests
	unsigned n_denied; // 401 and 438 sent
	unsigned n_forwarded; // ChannelData, both directions
	unsigned n_unforwarded;
	void (*emit)(
		void *ctx,
		const struct ip_endpoint *from,
		const struct ip_endpoint *to,
		const void *data,
		size_t size);
	void *emit_ctx;
};

/** Fills in a relay with one or both addresses (text or NULL), port 3478; user "2145916800:salt", "pw". */
void double_init(struct relay_double *d, const char *v4, const char *v6);
void double_fini(struct relay_double *d);
/** Sets the credentials that the relay accepts. */
void double_credentials(struct relay_double *d, const char *username, const char *password);
/** @return whether packets to @p to are for this relay */
bool double_owns(const struct relay_double *d, const struct ip_endpoint *to);
void double_receive(
	struct relay_double *d,
	uint64_t now,
	const struct ip_endpoint *from,
	const struct ip_endpoint *to,
	const void *data,
	size_t size);
/** All allocations are gone, as after a restart. */
void double_forget(struct relay_double *d);
/** The allocation of the only or first client; NULL when there is none. */
struct double_client *double_first(struct relay_double *d, uint64_t now);
