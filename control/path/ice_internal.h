// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include "control/base/hash_map.h"
#include "control/path/ice.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/**
 * What the files of the ICE agent share among themselves; nobody else includes it.
 *
 * The public functions of ice.c change candidates or feed packets, then call
 * ice_agent_progress(): it sends what is due, gives up what is dead, selects, and reports.
 */

#define ICE_MS 1000000ull
#define ICE_S 1000000000ull

// Answers later than this are for nobody (HEAD peers do the same).
#define ICE_ATTEMPT_TTL_NS (10 * ICE_S)
// A pair on which the peer's checks arrived this recently is not given up.
#define ICE_PEER_CHECK_GRACE_NS (15 * ICE_S)
// Most transactions that a pair sends in ICE_ATTEMPT_TTL_NS, with room for re-arming.
#define ICE_ATTEMPTS_MAX 12
#define ICE_TRANSMIT_QUEUE_MAX 256
#define ICE_EVENT_QUEUE_MAX 8
#define ICE_USERNAME_SIZE (2 * ICE_UFRAG_LEN_MAX + 2)

/** One outstanding transaction. */
struct ice_attempt {
	struct hash_node node; // first member: the table finds the attempt by its node
	struct ice_pair *pair;
	struct stun_txid txid;
	uint64_t sent; // time
	bool is_pending;
};

struct ice_remote {
	struct ice_candidate c;
	bool is_signalled; // announced by the peer; else peer-reflexive or optimistic
	bool is_optimistic;
	bool is_withdrawn;
};

struct ice_pair {
	struct ice_agent *agent;
	struct ice_candidate *local;
	struct ice_remote *remote;
	uint64_t priority;

	// Our checks.
	uint64_t armed; // time the schedule started over
	uint64_t last_tx;
	uint64_t next_tx;
	unsigned n_attempts; // since armed
	unsigned n_trailing; // unanswered since the last answer
	uint64_t trailing_since; // time of the first of them
	bool has_succeeded;
	struct ice_attempt attempts[ICE_ATTEMPTS_MAX];
	unsigned next_attempt;

	// The peer's checks.
	unsigned n_rx; // stops counting at 3
	uint64_t last_rx;
	uint64_t gaps[2]; // between the last three checks

	bool is_nominated; // ever, by whoever controls
};

struct ice_out {
	struct ice_out *next;
	struct ice_transmit transmit;
};

struct ice_agent {
	struct hash_node node; // first member: the table finds the agent by its node
	struct ice_table *table;
	struct stun_mac *mac;
	void (*random)(void *random_ctx, void *buf, size_t size);
	void *random_ctx;
	void *user;
	enum ice_role role;
	enum ice_profile profile;
	bool is_idle;
	uint64_t tie_breaker;
	char local_ufrag[ICE_UFRAG_LEN_MAX + 1];
	char remote_ufrag[ICE_UFRAG_LEN_MAX + 1];
	char local_pwd[ICE_PWD_LEN_MAX + 1];
	char remote_pwd[ICE_PWD_LEN_MAX + 1];
	char username_rx[ICE_USERNAME_SIZE]; // ours:theirs, of requests to us
	char username_tx[ICE_USERNAME_SIZE]; // theirs:ours, of requests from us

	struct ice_candidate *locals[ICE_LOCALS_MAX];
	size_t n_locals;
	struct ice_remote *remotes[ICE_REMOTES_MAX]; // oldest first
	size_t n_remotes;
	struct ice_pair *pairs[ICE_PAIRS_MAX];
	size_t n_pairs;
	struct ice_pair *selected;
	uint64_t selected_since;

	uint64_t candidate_deadline; // ICE_DEADLINE_NONE once a remote candidate was known
	uint64_t grace_deadline; // ICE_DEADLINE_NONE while some pair can be tried
	bool is_connected;
	bool has_failed;

	struct ice_out *out_head;
	struct ice_out **out_tail;
	size_t n_out;
	struct ice_event events[ICE_EVENT_QUEUE_MAX];
	size_t n_events;
};

// ice_candidates.c

/** The best candidate that sends from @p base. @return borrowed, or NULL */
struct ice_candidate *ice_local_find(const struct ice_agent *agent, const struct ip_endpoint *base);
struct ice_remote *ice_remote_find(const struct ice_agent *agent, const struct ip_endpoint *addr);
/** Remembers a new remote, forgetting a useless one when full. @return borrowed, or NULL */
struct ice_remote *ice_remote_add(struct ice_agent *agent, const struct ice_candidate *c);
/** Removes the remote, its pairs, and frees it. */
void ice_remote_forget(struct ice_agent *agent, struct ice_remote *remote);
/** @return whether there is a remote candidate that is not withdrawn */
bool ice_remote_any(const struct ice_agent *agent);

// ice_pairs.c

struct ice_pair *ice_pair_find(
	const struct ice_agent *agent,
	const struct ip_endpoint *base,
	const struct ip_endpoint *remote);
/** Forms the pair unless redundant or beyond the limit. @return the pair of these addresses, or NULL */
struct ice_pair *ice_pair_form(
	struct ice_agent *agent,
	uint64_t now,
	struct ice_candidate *local,
	struct ice_remote *remote);
/** Forms what is missing between a remote and all locals. */
void ice_pair_form_remote(struct ice_agent *agent, uint64_t now, struct ice_remote *remote);
/** Unlinks and frees; the selection becomes empty if it was this one. */
void ice_pair_remove(struct ice_agent *agent, struct ice_pair *pair);
void ice_pair_remove_local(struct ice_agent *agent, const struct ice_candidate *local);
void ice_pair_remove_remote(struct ice_agent *agent, const struct ice_remote *remote);
/** How often the peer checks the pair, ns: between the cadences of official clients, active and idle. */
uint64_t ice_pair_cadence(const struct ice_pair *pair);
size_t ice_pair_count_remote(const struct ice_agent *agent, const struct ice_remote *remote);
/** The candidate of one end changed its priority. */
void ice_pair_rank(struct ice_pair *pair);

// ice_checks.c

/** Starts the schedule over, first check now. */
void ice_check_arm(struct ice_pair *pair, uint64_t now);
/** Sends the checks that are due; removes pairs that were given up. */
void ice_check_run(struct ice_agent *agent, uint64_t now);
/** @return whether as many of our checks in a row stayed unanswered as make a pair useless to us */
bool ice_check_is_unanswered(const struct ice_pair *pair);
/** Adapts the schedule after a change of is_idle. */
void ice_check_reschedule(struct ice_pair *pair, uint64_t now);
/** @return ICE_RX_REQUEST or ICE_RX_RESPONSE if an agent should see it, else why none does */
enum ice_rx ice_check_screen(const struct stun_msg *msg);
/** Judges a parsed message addressed to this agent. @param attempt of a response, or NULL: search */
enum ice_rx ice_check_receive(
	struct ice_agent *agent,
	uint64_t now,
	const struct ip_endpoint *local,
	const struct ip_endpoint *remote,
	const struct stun_msg *msg,
	struct ice_attempt *attempt);

// ice_select.c

/**
 * Chooses the pair to use.
 * @param nominated a pair that the peer nominated just now for the first time, or NULL
 */
void ice_select_run(struct ice_agent *agent, uint64_t now, struct ice_pair *nominated);
/** Follows the agent's state and reports changes. */
void ice_select_report(struct ice_agent *agent, uint64_t now);

// ice.c

/** Sends, gives up, selects, reports. */
void ice_agent_progress(struct ice_agent *agent, uint64_t now);
/** Appends an empty datagram to fill in; NULL when the queue is full or memory is short. */
struct ice_transmit *ice_agent_queue(
	struct ice_agent *agent,
	const struct ip_endpoint *local,
	const struct ip_endpoint *remote);
/** Takes back the datagram appended last. */
void ice_agent_unqueue(struct ice_agent *agent);
void ice_agent_report(struct ice_agent *agent, const struct ice_event *event);

// ice_table.c

void ice_table_add_agent(struct ice_table *table, struct ice_agent *agent);
void ice_table_del_agent(struct ice_table *table, struct ice_agent *agent);
void ice_table_add_attempt(struct ice_table *table, struct ice_attempt *attempt);
void ice_table_del_attempt(struct ice_table *table, struct ice_attempt *attempt);
