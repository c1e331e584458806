// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "control/path/ice_internal.h"

#include <string.h>

// Timing of the checks of one pair (spec/connectivity.md 2.5). The n-th delay is
// min(initial x 2^(n-1), max).
struct profile {
	uint64_t initial;
	uint64_t max;
	uint64_t burst_max; // stands in for max in the burst: the first seconds after arming
	uint64_t burst;
	unsigned max_attempts; // unanswered ones before the pair is given up
};

// Shorter than the steady pace of any client, longer than its first retries.
#define WORRIED_GAP_NS (1200 * ICE_MS)
// Pace of the server on a pair on which the peer fell silent: see peer_is_silent().
#define SILENT_PACE_NS (20 * ICE_S)
#define SILENT_MARGIN_NS (2 * ICE_S)

enum {
	TEMPO_ACTIVE,
	TEMPO_IDLE,
	TEMPO_COUNT,
};

// The server keeps the clients' pace for 15 s, so that both ends punch their holes together, then
// falls back to 15 s: 13 checks to 15.25 s, given up after 600.25 s (spec/connectivity.md C.5).
static const struct profile profiles[][TEMPO_COUNT] = {
	[ICE_PROFILE_CLIENT] =
		{
			[TEMPO_ACTIVE] = {250 * ICE_MS, 1500 * ICE_MS, 1500 * ICE_MS, 0, 12},
			[TEMPO_IDLE] = {25 * ICE_S, 25 * ICE_S, 25 * ICE_S, 0, 4},
		},
	[ICE_PROFILE_SERVER] =
		{
			[TEMPO_ACTIVE] = {250 * ICE_MS, 15 * ICE_S, 1500 * ICE_MS, 15 * ICE_S, 51},
			[TEMPO_IDLE] = {25 * ICE_S, 25 * ICE_S, 25 * ICE_S, 0, 40},
		},
};

static const struct profile *profile_of(const struct ice_agent *agent)
{
	return &profiles[agent->profile][agent->is_idle ? TEMPO_IDLE : TEMPO_ACTIVE];
}

// While answers come the pace is steady. Once one is overdue by more than half a period the count
// starts over with the unanswered ones: a short burst that finds out quickly.
static uint64_t delay(const struct ice_pair *pair, uint64_t now)
{
	const struct profile *p = profile_of(pair->agent);
	uint64_t max = now - pair->armed < p->burst ? p->burst_max : p->max;
	unsigned n = pair->n_attempts;

	if (pair->n_trailing > 0 && now - pair->trailing_since > p->max / 2)
		n = pair->n_trailing;
	if (n > 10) // beyond every max
		n = 10;
	return p->initial << (n - 1) < max ? p->initial << (n - 1) : max;
}

void ice_check_arm(struct ice_pair *pair, uint64_t now)
{
	pair->armed = now;
	pair->next_tx = now;
	pair->n_attempts = 0;
	pair->n_trailing = 0;
}

void ice_check_reschedule(struct ice_pair *pair, uint64_t now)
{
	if (!pair->agent->is_idle)
		pair->next_tx = now;
	else if (pair->n_attempts > 0)
		pair->next_tx = pair->last_tx + delay(pair, now);
}

// A new transaction id for every attempt; the ring forgets the oldest.
static struct ice_attempt *attempt_begin(struct ice_pair *pair, uint64_t now)
{
	struct ice_agent *agent = pair->agent;
	struct ice_attempt *attempt = &pair->attempts[pair->next_attempt];

	pair->next_attempt = (pair->next_attempt + 1) % ICE_ATTEMPTS_MAX;
	if (agent->table != NULL)
		ice_table_del_attempt(agent->table, attempt);
	agent->random(agent->random_ctx, attempt->txid.bytes, sizeof(attempt->txid.bytes));
	attempt->sent = now;
	attempt->is_pending = true;
	if (agent->table != NULL)
		ice_table_add_attempt(agent->table, attempt);
	return attempt;
}

// Closes the message with the two last attributes and fixes its size in the queue.
static void transmit_finish(
	struct ice_agent *agent,
	struct ice_transmit *transmit,
	struct stun_writer *w,
	const char *key)
{
	int size;

	stun_writer_add_integrity(w, agent->mac, key, strlen(key));
	stun_writer_add_fingerprint(w);
	size = stun_writer_finish(w);
	if (size < 0)
		ice_agent_unqueue(agent); // libcrypto out of memory: as if lost on the way
	else
		transmit->size = (size_t)size;
}

static void check_send(struct ice_pair *pair, uint64_t now)
{
	struct ice_agent *agent = pair->agent;
	bool is_controlling = agent->role == ICE_ROLE_CONTROLLING;
	struct ice_attempt *attempt = attempt_begin(pair, now);
	struct ice_transmit *transmit;
	struct stun_writer w;

	transmit = ice_agent_queue(agent, &pair->local->base, &pair->remote->c.addr);
	if (transmit == NULL)
		return;
	stun_writer_init(
		&w,
		transmit->data,
		sizeof(transmit->data),
		STUN_CLASS_REQUEST,
		STUN_METHOD_BINDING,
		&attempt->txid);
	stun_writer_add(&w, STUN_ATTR_USERNAME, agent->username_tx, strlen(agent->username_tx));
	stun_writer_add_u64(
		&w,
		is_controlling ? STUN_ATTR_ICE_CONTROLLING : STUN_ATTR_ICE_CONTROLLED,
		agent->tie_breaker);
	stun_writer_add_u32(&w, STUN_ATTR_PRIORITY, ice_priority_prflx(pair->local->priority));
	if (is_controlling && pair->is_nominated)
		stun_writer_add(&w, STUN_ATTR_USE_CANDIDATE, NULL, 0);
	transmit_finish(agent, transmit, &w, agent->remote_pwd);
}

bool ice_check_is_unanswered(const struct ice_pair *pair)
{
	return pair->n_trailing >= profile_of(pair->agent)->max_attempts;
}

static bool is_given_up(const struct ice_pair *pair, uint64_t now)
{
	bool is_heard = pair->n_rx > 0 && now - pair->last_rx <= ICE_PEER_CHECK_GRACE_NS;

	return ice_check_is_unanswered(pair) && !is_heard;
}

// The peer's checks stopped: it is gone, or what it sends does not arrive here. In the second case our
// checks do harm: an official client keeps a pair, and uses it, while it hears us at least every 15 s
// (2.5), however long its own checks stay unanswered. So the server goes below that pace until the peer is
// heard again.
static bool peer_is_silent(const struct ice_pair *pair, uint64_t now)
{
	uint64_t burst = profile_of(pair->agent)->burst;

	return burst > 0 && now - pair->armed >= burst && pair->n_rx >= 2
		&& now - pair->last_rx > 2 * ice_pair_cadence(pair) + SILENT_MARGIN_NS;
}

static void give_up(struct ice_agent *agent, struct ice_pair *pair)
{
	struct ice_remote *remote = pair->remote;

	ice_pair_remove(agent, pair);
	if (!remote->is_signalled && !remote->is_optimistic
	    && ice_pair_count_remote(agent, remote) == 0)
		ice_remote_forget(agent, remote);
}

void ice_check_run(struct ice_agent *agent, uint64_t now)
{
	// Backwards: giving up moves the last pair, which was seen already, into the gap.
	for (size_t i = agent->n_pairs; i-- > 0;) {
		struct ice_pair *pair = agent->pairs[i];

		if (pair->next_tx > now)
			continue;
		if (now - pair->last_tx < SILENT_PACE_NS && peer_is_silent(pair, now)) {
			pair->next_tx = pair->last_tx + SILENT_PACE_NS;
			continue;
		}
		if (is_given_up(pair, now)) {
			give_up(agent, pair);
			continue;
		}
		check_send(pair, now);
		if (pair->n_trailing++ == 0)
			pair->trailing_since = now;
		pair->n_attempts++;
		pair->last_tx = now;
		pair->next_tx = now + delay(pair, now);
	}
}

static void
answer(struct ice_agent *agent,
       const struct ip_endpoint *local,
       const struct ip_endpoint *remote,
       const struct stun_msg *request,
       bool is_conflict)
{
	struct ice_transmit *transmit = ice_agent_queue(agent, local, remote);
	struct stun_writer w;

	if (transmit == NULL)
		return;
	stun_writer_init(
		&w,
		transmit->data,
		sizeof(transmit->data),
		is_conflict ? STUN_CLASS_ERROR : STUN_CLASS_SUCCESS,
		STUN_METHOD_BINDING,
		&request->txid);
	if (is_conflict)
		stun_writer_add_error(&w, 487, "Role Conflict");
	else
		stun_writer_add_xor_address(&w, STUN_ATTR_XOR_MAPPED_ADDRESS, remote);
	transmit_finish(agent, transmit, &w, agent->local_pwd);
}

// Everything that makes a request unacceptable before the path is looked at.
static enum ice_rx judge_request(struct ice_agent *agent, const struct stun_msg *msg)
{
	size_t size = strlen(agent->username_rx);

	if ((msg->has & STUN_HAS_USERNAME) == 0)
		return ICE_RX_NO_USERNAME;
	if (msg->username.size != size || memcmp(msg->username.data, agent->username_rx, size) != 0)
		return ICE_RX_UNKNOWN_USERNAME;
	if ((msg->has & STUN_HAS_PRIORITY) == 0)
		return ICE_RX_NO_PRIORITY;
	if (!stun_msg_verify(agent->mac, msg, agent->local_pwd, strlen(agent->local_pwd)))
		return ICE_RX_BAD_INTEGRITY;
	if (agent->role == ICE_ROLE_CONTROLLING && (msg->has & STUN_HAS_USE_CANDIDATE))
		return ICE_RX_BAD_NOMINATION;
	return ICE_RX_REQUEST;
}

// The portal fixes the roles, so ours never changes. The side with the greater tie-breaker says
// so with a 487 (RFC 8445 7.3.1.1).
static bool is_role_conflict(const struct ice_agent *agent, const struct stun_msg *msg)
{
	uint32_t ours =
		agent->role == ICE_ROLE_CONTROLLING ? STUN_HAS_CONTROLLING : STUN_HAS_CONTROLLED;

	return (msg->has & ours) != 0 && agent->tie_breaker >= msg->tie_breaker;
}

static struct ice_remote *remote_of_request(
	struct ice_agent *agent,
	const struct ip_endpoint *addr,
	const struct stun_msg *msg)
{
	struct ice_candidate c = {
		.kind = ICE_KIND_PRFLX,
		.addr = *addr,
		.priority = msg->priority,
		.foundation = "prflx",
	};
	struct ice_remote *remote = ice_remote_find(agent, addr);

	return remote != NULL ? remote : ice_remote_add(agent, &c);
}

// A peer that misses our answers checks again after 0.5 s (2.5). Our own slow checks would notice
// the dead direction only after 15 s and more, so they start over at the peer's pace. At most once
// in a burst's time: two agents that excite each other would never come to rest.
static bool peer_is_worried(const struct ice_pair *pair, uint64_t now)
{
	const struct profile *p = profile_of(pair->agent);

	return p->burst > 0 && now - pair->armed >= p->burst && pair->n_rx > 0
		&& now - pair->last_rx < WORRIED_GAP_NS && pair->n_trailing == 0;
}

static void pair_heard(struct ice_pair *pair, uint64_t now)
{
	if (peer_is_worried(pair, now))
		ice_check_arm(pair, now);
	pair->gaps[1] = pair->gaps[0];
	pair->gaps[0] = now - pair->last_rx;
	pair->last_rx = now;
	if (pair->n_rx < 3)
		pair->n_rx++;
}

static enum ice_rx receive_request(
	struct ice_agent *agent,
	uint64_t now,
	const struct ip_endpoint *local_addr,
	const struct ip_endpoint *remote_addr,
	const struct stun_msg *msg)
{
	struct ice_candidate *local = ice_local_find(agent, local_addr);
	enum ice_rx rx = judge_request(agent, msg);
	struct ice_remote *remote;
	struct ice_pair *pair;
	bool is_new;

	if (rx != ICE_RX_REQUEST)
		return rx;
	if (local == NULL || remote_addr->addr.family != local_addr->addr.family)
		return ICE_RX_UNKNOWN_LOCAL;
	if (remote_addr->port == 0)
		return ICE_RX_WRONG_PATH;
	remote = ice_remote_find(agent, remote_addr);
	if (remote != NULL && remote->is_withdrawn)
		return ICE_RX_WITHDRAWN_REMOTE;
	if (is_role_conflict(agent, msg)) {
		answer(agent, local_addr, remote_addr, msg, true);
		return ICE_RX_ROLE_CONFLICT;
	}
	// A valid check is answered whatever becomes of the pair: peers give up silent paths.
	answer(agent, local_addr, remote_addr, msg, false);
	remote = remote_of_request(agent, remote_addr, msg);
	pair = remote != NULL ? ice_pair_form(agent, now, local, remote) : NULL;
	if (pair == NULL)
		return ICE_RX_NO_ROOM;
	pair_heard(pair, now);
	is_new = (msg->has & STUN_HAS_USE_CANDIDATE) != 0 && !pair->is_nominated;
	if (is_new) {
		pair->is_nominated = true;
		pair->next_tx = now;
	}
	if (agent->role == ICE_ROLE_CONTROLLED)
		ice_select_run(agent, now, is_new ? pair : NULL);
	return ICE_RX_REQUEST;
}

static struct ice_attempt *attempt_find(struct ice_agent *agent, const struct stun_txid *txid)
{
	for (size_t i = 0; i < agent->n_pairs; i++) {
		for (size_t j = 0; j < ICE_ATTEMPTS_MAX; j++) {
			struct ice_attempt *attempt = &agent->pairs[i]->attempts[j];

			if (attempt->is_pending
			    && memcmp(&attempt->txid, txid, sizeof(attempt->txid)) == 0)
				return attempt;
		}
	}
	return NULL;
}

static enum ice_rx receive_response(
	struct ice_agent *agent,
	uint64_t now,
	const struct ip_endpoint *local,
	const struct ip_endpoint *remote,
	const struct stun_msg *msg,
	struct ice_attempt *attempt)
{
	struct ice_pair *pair;

	if (attempt == NULL)
		attempt = attempt_find(agent, &msg->txid);
	if (attempt == NULL || now - attempt->sent > ICE_ATTEMPT_TTL_NS)
		return ICE_RX_UNKNOWN_TXID;
	if (!stun_msg_verify(agent->mac, msg, agent->remote_pwd, strlen(agent->remote_pwd)))
		return ICE_RX_BAD_INTEGRITY;
	if ((msg->has & STUN_HAS_MAPPED_ADDRESS) == 0)
		return ICE_RX_NO_MAPPED;
	pair = attempt->pair;
	// RFC 8445 7.2.5.2.1: an answer that took another way proves nothing about this one.
	if (!ip_endpoint_eq(&pair->local->base, local)
	    || !ip_endpoint_eq(&pair->remote->c.addr, remote))
		return ICE_RX_WRONG_PATH;
	if (agent->table != NULL)
		ice_table_del_attempt(agent->table, attempt);
	attempt->is_pending = false;
	pair->has_succeeded = true;
	pair->n_trailing = 0;
	return ICE_RX_RESPONSE;
}

enum ice_rx ice_check_screen(const struct stun_msg *msg)
{
	if (msg->method != STUN_METHOD_BINDING)
		return ICE_RX_NOT_BINDING;
	switch (msg->cls) {
	case STUN_CLASS_REQUEST:
		return ICE_RX_REQUEST;
	case STUN_CLASS_SUCCESS:
		return ICE_RX_RESPONSE;
	case STUN_CLASS_INDICATION:
		return ICE_RX_INDICATION;
	case STUN_CLASS_ERROR:
		break;
	}
	return ICE_RX_ERROR_RESPONSE;
}

enum ice_rx ice_check_receive(
	struct ice_agent *agent,
	uint64_t now,
	const struct ip_endpoint *local,
	const struct ip_endpoint *remote,
	const struct stun_msg *msg,
	struct ice_attempt *attempt)
{
	enum ice_rx rx = ice_check_screen(msg);

	if (agent->has_failed)
		return ICE_RX_AGENT_FAILED;
	if (rx == ICE_RX_REQUEST)
		rx = receive_request(agent, now, local, remote, msg);
	else if (rx == ICE_RX_RESPONSE)
		rx = receive_response(agent, now, local, remote, msg, attempt);
	if (rx == ICE_RX_REQUEST || rx == ICE_RX_RESPONSE)
		ice_agent_progress(agent, now);
	return rx;
}
