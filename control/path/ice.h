// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include "control/base/addr.h"
#include "control/path/candidate.h"
#include "control/path/stun.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/**
 * One ICE agent: finds and keeps a working UDP path to one peer (RFC 8445 with trickled
 * candidates, one component, and the timing and nomination habits of Firezone peers).
 *
 * Sans-IO. After every call that may do something (create, add, remove, handle, set_idle, rearm)
 * the caller drains ice_agent_poll_transmit() and ice_agent_poll_event(), then arms one timer for
 * ice_agent_next_deadline(). `now` is nanoseconds of any monotonic clock, never going back.
 *
 * Controlling (client): nominates the best pair that answered, switches at once.
 * Controlled (gateway): follows the peer's nominations as long as the peer's checks keep
 * arriving on the pair; never nominates.
 *
 * "local" in transmits, packets and events is the base: one of our host addresses or the address
 * of our relay allocation.
 *
 * Ownership: the agent copies its configuration; it borrows the mac and the table, which must
 * outlive it. Thread-safety: none; an agent and its table belong to the control thread.
 */

struct ice_agent;
struct ice_table;

enum ice_role {
	ICE_ROLE_CONTROLLED,
	ICE_ROLE_CONTROLLING,
};

enum ice_profile {
	ICE_PROFILE_CLIENT, // 1.5 s checks, a silent pair is given up after 16.5 s
	ICE_PROFILE_SERVER, // 1.5 s checks for 15 s, then every 15 s; given up after 10 min
};

#define ICE_PAIRS_MAX 100
#define ICE_LOCALS_MAX 32
#define ICE_REMOTES_MAX 100
#define ICE_DEADLINE_NONE UINT64_MAX

/** Limits that the peer cannot see; nanoseconds. */
#define ICE_CANDIDATE_TIMEOUT_NS (10 * 1000000000ull)
/**
 * How long an agent without any path waits for another one. The official peers wait 2 s on both sides;
 * our client 1 s, so that with the 16.5 s and one check interval before it a dead gateway is left
 * within 20 s. It cannot be 0: a relay that moves needs it.
 */
#define ICE_DISCONNECTED_GRACE_CLIENT_NS (1 * 1000000000ull)
#define ICE_DISCONNECTED_GRACE_SERVER_NS (2 * 1000000000ull)

struct ice_config {
	enum ice_role role;
	enum ice_profile profile;
	const char *local_ufrag;
	const char *local_pwd;
	const char *remote_ufrag;
	const char *remote_pwd;
	uint64_t tie_breaker; // random, constant for the agent's life
	void (*random)(void *random_ctx, void *buf, size_t size); // transaction ids; unguessable
	void *random_ctx;
	struct stun_mac *mac; // borrowed
	struct ice_table
		*table; // borrowed, may be NULL: then only ice_agent_handle_packet() finds it
	void *user; // see ice_agent_user()
};

/** What became of a received packet; X(upper case name, counter name). */
#define ICE_RX_LIST(X)                                                                             \
	X(REQUEST, "request")                                                                      \
	X(RESPONSE, "response")                                                                    \
	X(NOT_STUN, "not_stun")                                                                    \
	X(MALFORMED, "malformed")                                                                  \
	X(NOT_BINDING, "not_binding")                                                              \
	X(INDICATION, "indication")                                                                \
	X(ERROR_RESPONSE, "error_response")                                                        \
	X(NO_USERNAME, "no_username")                                                              \
	X(UNKNOWN_USERNAME, "unknown_username")                                                    \
	X(NO_PRIORITY, "no_priority")                                                              \
	X(BAD_INTEGRITY, "bad_integrity")                                                          \
	X(UNKNOWN_LOCAL, "unknown_local")                                                          \
	X(WITHDRAWN_REMOTE, "withdrawn_remote")                                                    \
	X(BAD_NOMINATION, "bad_nomination")                                                        \
	X(ROLE_CONFLICT, "role_conflict")                                                          \
	X(NO_MAPPED, "no_mapped")                                                                  \
	X(UNKNOWN_TXID, "unknown_txid")                                                            \
	X(WRONG_PATH, "wrong_path")                                                                \
	X(NO_ROOM, "no_room")                                                                      \
	X(AGENT_FAILED, "agent_failed")

/** REQUEST and RESPONSE are successes; everything else is a named refusal that changed nothing. */
enum ice_rx {
#define ICE_RX_ENUM(name, text) ICE_RX_##name,
	ICE_RX_LIST(ICE_RX_ENUM)
#undef ICE_RX_ENUM
	ICE_RX_COUNT
};

/** Counter name of @p rx, e.g. "bad_integrity". */
const char *ice_rx_name(enum ice_rx rx);

#define ICE_TRANSMIT_SIZE_MAX 256

/** One datagram to send from @p local to @p remote. */
struct ice_transmit {
	struct ip_endpoint local;
	struct ip_endpoint remote;
	size_t size;
	uint8_t data[ICE_TRANSMIT_SIZE_MAX];
};

enum ice_event_type {
	ICE_EVENT_SELECTED_PAIR_CHANGED, // send on local -> remote from now on
	ICE_EVENT_CONNECTED, // first pair selected, or again after DISCONNECTED
	ICE_EVENT_DISCONNECTED, // nothing selected any more; FAILED follows in 2 s if no pair is left to try
	ICE_EVENT_FAILED, // final: the agent is silent from now on; destroy it
};

enum ice_failure {
	ICE_FAILURE_NONE,
	ICE_FAILURE_NO_CANDIDATES, // no remote candidate within 10 s
	ICE_FAILURE_NO_PATH, // every pair given up
};

struct ice_event {
	enum ice_event_type type;
	enum ice_failure failure; // of FAILED
	struct ip_endpoint local; // of SELECTED_PAIR_CHANGED and CONNECTED
	struct ip_endpoint remote;
};

/**
 * Creates an agent and registers it in the table, if any.
 * @return owned agent, or NULL with errno EINVAL (empty or too long credentials) or ENOMEM
 */
struct ice_agent *ice_agent_create(const struct ice_config *config, uint64_t now);
/** Unregisters, wipes the passwords and frees; accepts NULL. Sends nothing. */
void ice_agent_destroy(struct ice_agent *agent);
/** The config's user pointer: lets the owner get from an agent to its connection. */
void *ice_agent_user(const struct ice_agent *agent);

/**
 * Adds a local candidate: @p c gives kind, addr and for srflx its base; priority and foundation are
 * computed. Pairs with all remotes of the family.
 * @param is_cross_family relay only: the allocation was made over the other family
 * @param added the completed candidate to signal to the peer; may be NULL
 * @return 0; -EEXIST redundant, nothing to signal; -EINVAL unusable address; -ENOSPC
 */
[[nodiscard]] int ice_agent_add_local(
	struct ice_agent *agent,
	uint64_t now,
	const struct ice_candidate *c,
	bool is_cross_family,
	struct ice_candidate *added);
/**
 * Removes a local candidate and its pairs (relay lost).
 * @param removed what was announced, to withdraw it with identical text; may be NULL
 * @return 0, -ENOENT
 */
[[nodiscard]] int ice_agent_remove_local(
	struct ice_agent *agent,
	uint64_t now,
	enum ice_kind kind,
	const struct ip_endpoint *addr,
	struct ice_candidate *removed);
/**
 * Lists what to (re)signal, highest priority first; never peer-reflexive ones.
 * @return number written, at most @p cap
 */
size_t ice_agent_list_locals(const struct ice_agent *agent, struct ice_candidate *out, size_t cap);
/**
 * Lists the remote candidates that the peer announced and did not withdraw, oldest first.
 * @return number written, at most @p cap
 */
size_t ice_agent_list_remotes(const struct ice_agent *agent, struct ice_candidate *out, size_t cap);
/** @return the kind under which @p addr is known as a remote candidate, ICE_KIND_COUNT if not */
enum ice_kind ice_agent_remote_kind(const struct ice_agent *agent, const struct ip_endpoint *addr);

/**
 * Adds a signalled remote candidate. Known with a pair: ignored. Known, but its pairs were given
 * up or it was withdrawn: fresh pairs. Known as peer-reflexive or optimistic: takes its place.
 * @return 0, -EINVAL unusable address, -ENOSPC
 */
[[nodiscard]] int
ice_agent_add_remote(struct ice_agent *agent, uint64_t now, const struct ice_candidate *c);
/** As ice_agent_add_remote() from text. @return also the errors of ice_candidate_parse() */
[[nodiscard]] int
ice_agent_add_remote_text(struct ice_agent *agent, uint64_t now, const char *text);
/**
 * Withdraws a remote candidate: its pairs vanish at once and its checks stay unanswered until it
 * is announced again. @return 0, -ENOENT
 */
[[nodiscard]] int
ice_agent_remove_remote(struct ice_agent *agent, uint64_t now, const struct ice_candidate *c);
/** As ice_agent_remove_remote() from text. @return also the errors of ice_candidate_parse() */
[[nodiscard]] int
ice_agent_remove_remote_text(struct ice_agent *agent, uint64_t now, const char *text);

/**
 * Feeds one datagram that arrived on @p local from @p remote. Prefer ice_table_handle_packet()
 * when there are several agents.
 */
enum ice_rx ice_agent_handle_packet(
	struct ice_agent *agent,
	uint64_t now,
	const struct ip_endpoint *local,
	const struct ip_endpoint *remote,
	const void *data,
	size_t size);
/** Does what is due; harmless when nothing is. */
void ice_agent_handle_timeout(struct ice_agent *agent, uint64_t now);
/** When ice_agent_handle_timeout() is wanted next; may be in the past; ICE_DEADLINE_NONE: never. */
uint64_t ice_agent_next_deadline(const struct ice_agent *agent);

/** Takes the next datagram to send. @return whether there was one */
bool ice_agent_poll_transmit(struct ice_agent *agent, struct ice_transmit *out);
/** Takes the next event. @return whether there was one */
bool ice_agent_poll_event(struct ice_agent *agent, struct ice_event *out);

/** Idle peers are checked every 25 s; leaving idle resumes the checks at once. */
void ice_agent_set_idle(struct ice_agent *agent, uint64_t now, bool is_idle);
/**
 * Checks everything afresh, as after creation, without touching the selected pair: wanted when the
 * peer was authorized again with equal parameters and may have lost its half.
 */
void ice_agent_rearm(struct ice_agent *agent, uint64_t now);
/** The pair in use. @return whether there is one */
bool ice_agent_selected(
	const struct ice_agent *agent,
	struct ip_endpoint *local,
	struct ip_endpoint *remote);
/** Number of pairs being checked (telemetry, tests). */
size_t ice_agent_pair_count(const struct ice_agent *agent);
