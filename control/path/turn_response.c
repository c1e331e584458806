// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "control/base/log.h"
#include "control/path/turn_internal.h"

#include <string.h>

#define LOG_AREA "path.turn"
#define REFRESH_RETRY_MIN_NS (10 * TURN_S)

enum {
	CODE_BAD_REQUEST = 400,
	CODE_UNAUTHORIZED = 401,
	CODE_UNKNOWN_ATTRIBUTE = 420,
	CODE_ALLOCATION_MISMATCH = 437,
	CODE_STALE_NONCE = 438,
};

// A response on its way through the judgements.
struct response {
	const struct stun_msg *msg;
	const struct ip_endpoint *local;
	struct turn_request *request;
	const struct turn_attempt *attempt;
};

static bool is_challenge(const struct stun_msg *msg)
{
	return (msg->has & STUN_HAS_REALM) != 0 && (msg->has & STUN_HAS_NONCE) != 0;
}

// Whether an answer without MESSAGE-INTEGRITY may be believed; see the essay in turn.h.
static bool may_be_unsigned(const struct turn_allocation *a, const struct response *re)
{
	unsigned code = re->msg->error_code;

	if (re->msg->cls != STUN_CLASS_ERROR)
		return false;
	switch (a->dialect) {
	case TURN_DIALECT_UNKNOWN:
		return re->request->purpose == TURN_PURPOSE_ALLOCATE && !re->attempt->had_nonce
			&& (code == CODE_BAD_REQUEST || code == CODE_ALLOCATION_MISMATCH
			    || (code == CODE_UNAUTHORIZED && is_challenge(re->msg)));
	case TURN_DIALECT_RFC: // RFC 8489 9.2.5
		return code == CODE_BAD_REQUEST || code == CODE_UNAUTHORIZED
			|| code == CODE_STALE_NONCE;
	case TURN_DIALECT_SIGNED:
		break;
	}
	return false;
}

static enum turn_rx authenticate(struct turn_allocation *a, const struct response *re)
{
	if (re->msg->has & STUN_HAS_INTEGRITY) {
		if (!stun_msg_verify(a->mac, re->msg, a->key, sizeof(a->key)))
			return TURN_RX_BAD_INTEGRITY;
		if (a->dialect == TURN_DIALECT_UNKNOWN)
			a->dialect = TURN_DIALECT_SIGNED;
		return TURN_RX_RESPONSE;
	}
	return may_be_unsigned(a, re) ? TURN_RX_RESPONSE : TURN_RX_UNSIGNED;
}

static void rtt_sample(struct turn_allocation *a, uint64_t now, uint64_t sent)
{
	uint64_t sample = now - sent;

	a->rtt_ns = a->has_rtt ? (7 * a->rtt_ns + sample) / 8 : sample;
	a->has_rtt = true;
	a->has_answered = true;
	a->heard_at = now;
	if (a->is_usable || a->is_suspended)
		return;
	a->is_usable = true;
	turn_event_add(a, &(struct turn_event){.type = TURN_EVENT_USABLE});
}

static void report_candidate(
	struct turn_allocation *a,
	enum ice_kind kind,
	const struct ip_endpoint *addr,
	const struct ip_endpoint *base)
{
	turn_event_add(
		a,
		&(struct turn_event){
			.type = TURN_EVENT_CANDIDATE,
			.candidate = {.kind = kind, .addr = *addr, .base = *base},
			.is_cross_family =
				kind == ICE_KIND_RELAY && turn_family_index(addr) != a->active,
		});
}

// Our addresses as a Binding shows them. Earlier ones stay valid for those who use them.
static void learn_addresses(struct turn_allocation *a, const struct response *re)
{
	unsigned family = re->request->family;
	const struct ip_endpoint *mapped = &re->msg->mapped, *local = re->local;

	if (turn_family_index(local) == family && ice_candidate_is_usable(local)
	    && !ip_endpoint_eq(local, &a->hosts[family])) {
		a->hosts[family] = *local;
		report_candidate(a, ICE_KIND_HOST, local, local);
	}
	if (mapped->addr.family != local->addr.family || !ice_candidate_is_usable(mapped)
	    || (ip_endpoint_eq(mapped, &a->mapped[family])
		&& ip_endpoint_eq(local, &a->mapped_base[family])))
		return;
	a->mapped[family] = *mapped;
	a->mapped_base[family] = *local;
	report_candidate(a, ICE_KIND_SRFLX, mapped, local);
}

static enum turn_rx
handle_binding(struct turn_allocation *a, uint64_t now, const struct response *re)
{
	unsigned family = re->request->family;

	if (re->msg->cls != STUN_CLASS_SUCCESS || !(re->msg->has & STUN_HAS_MAPPED_ADDRESS))
		return TURN_RX_INCOMPLETE;
	rtt_sample(a, now, re->attempt->sent);
	learn_addresses(a, re);
	turn_request_end(a, re->request);
	if (a->active == TURN_ACTIVE_NONE) {
		a->active = family;
		turn_request_start(a, now, TURN_PURPOSE_ALLOCATE);
	}
	return TURN_RX_RESPONSE;
}

static void lifetime_start(struct turn_allocation *a, uint64_t now, uint32_t lifetime_s)
{
	a->lifetime_s = lifetime_s;
	a->expires_at = now + lifetime_s * TURN_S;
	a->refresh_at = now + lifetime_s * TURN_S / 2;
}

static enum turn_rx
handle_allocated(struct turn_allocation *a, uint64_t now, const struct response *re)
{
	const struct stun_msg *msg = re->msg;
	const struct ip_endpoint *relayed[TURN_FAMILIES] = {&msg->relayed_v4, &msg->relayed_v6};
	bool has_any = false;

	for (unsigned i = 0; i < TURN_FAMILIES; i++)
		has_any = has_any || ice_candidate_is_usable(relayed[i]);
	if (!has_any || !(msg->has & STUN_HAS_LIFETIME) || msg->lifetime_s == 0)
		return TURN_RX_INCOMPLETE;
	turn_request_end(a, re->request);
	a->has_allocation = true;
	a->n_mismatches = 0;
	lifetime_start(a, now, msg->lifetime_s);
	a->keepalive_at = now + TURN_KEEPALIVE_NS;
	for (unsigned i = 0; i < TURN_FAMILIES; i++) {
		if (!ice_candidate_is_usable(relayed[i]))
			continue;
		a->relayed[i] = *relayed[i];
		report_candidate(a, ICE_KIND_RELAY, relayed[i], relayed[i]);
	}
	turn_bind_waiting(a, now);
	return TURN_RX_RESPONSE;
}

static void allocate_again(struct turn_allocation *a, uint64_t now)
{
	turn_invalidate(a, true);
	turn_request_start(a, now, TURN_PURPOSE_ALLOCATE);
}

static enum turn_rx
handle_success(struct turn_allocation *a, uint64_t now, const struct response *re)
{
	struct turn_request *r = re->request;

	switch (r->purpose) {
	case TURN_PURPOSE_ALLOCATE:
		return handle_allocated(a, now, re);
	case TURN_PURPOSE_REFRESH:
		turn_request_end(a, r);
		if (!(re->msg->has & STUN_HAS_LIFETIME))
			lifetime_start(a, now, a->lifetime_s);
		else if (re->msg->lifetime_s > 0)
			lifetime_start(a, now, re->msg->lifetime_s);
		else
			allocate_again(a, now);
		return TURN_RX_RESPONSE;
	case TURN_PURPOSE_DELETE:
		turn_request_end(a, r);
		if (!a->is_released)
			turn_request_start(a, now, TURN_PURPOSE_ALLOCATE);
		return TURN_RX_RESPONSE;
	case TURN_PURPOSE_CHANNEL_BIND:
		turn_request_end(a, r);
		turn_bind_confirm(a, now, r->channel);
		turn_bind_waiting(a, now);
		return TURN_RX_RESPONSE;
	case TURN_PURPOSE_NONE:
	case TURN_PURPOSE_BINDING:
		break;
	}
	return TURN_RX_INCOMPLETE;
}

static void refuse(struct turn_allocation *a, uint64_t now, unsigned code)
{
	LOG_LIMITED(WARNING, "relay does not allocate code=%u", code);
	turn_suspend(a, now, false);
}

static void handle_mismatch(struct turn_allocation *a, uint64_t now, struct turn_request *r)
{
	struct ip_endpoint peer = r->peer;

	switch (r->purpose) {
	case TURN_PURPOSE_ALLOCATE:
		// Left over from a process before us on the same port.
		if (++a->n_mismatches > TURN_MISMATCHES_MAX) {
			refuse(a, now, CODE_ALLOCATION_MISMATCH);
			return;
		}
		turn_request_end(a, r);
		turn_request_start(a, now, TURN_PURPOSE_DELETE);
		return;
	case TURN_PURPOSE_CHANNEL_BIND:
		allocate_again(a, now);
		// It was good enough to be asked for before; if not now, its next packet tells.
		if (turn_allocation_bind(a, now, &peer) < 0)
			return;
		return;
	default:
		allocate_again(a, now);
		return;
	}
}

static void
handle_other_error(struct turn_allocation *a, uint64_t now, struct turn_request *r, unsigned code)
{
	enum turn_purpose purpose = r->purpose;
	uint64_t left;

	turn_request_end(a, r);
	switch (purpose) {
	case TURN_PURPOSE_ALLOCATE:
	case TURN_PURPOSE_DELETE: // 441: what is in our way belongs to other credentials
		refuse(a, now, code);
		return;
	case TURN_PURPOSE_CHANNEL_BIND:
		turn_bind_refuse(a, now, r->channel);
		turn_bind_waiting(a, now);
		return;
	default:
		LOG_LIMITED(WARNING, "relay does not refresh code=%u", code);
		left = a->expires_at > now ? (a->expires_at - now) / 2 : 0;
		a->refresh_at = now + (left > REFRESH_RETRY_MIN_NS ? left : REFRESH_RETRY_MIN_NS);
		return;
	}
}

static bool realm_is_ours(const struct turn_allocation *a, const struct stun_msg *msg)
{
	return !(msg->has & STUN_HAS_REALM)
		|| (msg->realm.size == strlen(a->realm)
		    && memcmp(msg->realm.data, a->realm, msg->realm.size) == 0);
}

// Remembers the nonce and asks again. A relay that is never content is left to time out.
static enum turn_rx
handle_challenge(struct turn_allocation *a, uint64_t now, const struct response *re)
{
	const struct stun_msg *msg = re->msg;

	if (!realm_is_ours(a, msg)) {
		turn_fail(a, TURN_FAILURE_PROTOCOL);
		return TURN_RX_RESPONSE;
	}
	if (!(msg->has & STUN_HAS_NONCE) || msg->nonce.size == 0
	    || msg->nonce.size > sizeof(a->nonce))
		return TURN_RX_INCOMPLETE;
	if (re->request->n_challenges == TURN_CHALLENGES_MAX)
		return TURN_RX_RESPONSE;
	re->request->n_challenges++;
	memcpy(a->nonce, msg->nonce.data, msg->nonce.size);
	a->nonce_size = msg->nonce.size;
	turn_request_restart(a, now, re->request);
	return TURN_RX_RESPONSE;
}

static enum turn_rx handle_error(struct turn_allocation *a, uint64_t now, const struct response *re)
{
	unsigned code = re->msg->error_code;

	if (!(re->msg->has & STUN_HAS_ERROR_CODE))
		return TURN_RX_INCOMPLETE;
	if (a->dialect == TURN_DIALECT_UNKNOWN) {
		// Unsigned, else it were known: the server wants the dance of the RFC.
		a->dialect = TURN_DIALECT_RFC;
		if (code == CODE_BAD_REQUEST) {
			turn_request_restart(a, now, re->request);
			return TURN_RX_RESPONSE;
		}
	}
	if (code == CODE_STALE_NONCE || (code == CODE_UNAUTHORIZED && !re->attempt->had_nonce))
		return handle_challenge(a, now, re);
	if (code == CODE_UNAUTHORIZED) {
		// Of an earlier sending, perhaps with an earlier nonce: the newest decides.
		if (re->attempt != &re->request->attempts[re->request->n_attempts - 1])
			return TURN_RX_RESPONSE;
		turn_fail(a, TURN_FAILURE_AUTHENTICATION);
	} else if (code == CODE_UNKNOWN_ATTRIBUTE) {
		turn_fail(a, TURN_FAILURE_PROTOCOL);
	} else if (code == CODE_ALLOCATION_MISMATCH) {
		handle_mismatch(a, now, re->request);
	} else {
		handle_other_error(a, now, re->request, code);
	}
	return TURN_RX_RESPONSE;
}

static bool method_matches(const struct turn_request *r, unsigned method)
{
	switch (method) {
	case STUN_METHOD_BINDING:
		return r->purpose == TURN_PURPOSE_BINDING;
	case STUN_METHOD_ALLOCATE:
		return r->purpose == TURN_PURPOSE_ALLOCATE;
	case STUN_METHOD_REFRESH:
		return r->purpose == TURN_PURPOSE_REFRESH || r->purpose == TURN_PURPOSE_DELETE;
	case STUN_METHOD_CHANNEL_BIND:
		return r->purpose == TURN_PURPOSE_CHANNEL_BIND;
	default:
		return false;
	}
}

enum turn_rx turn_response_handle(
	struct turn_allocation *a,
	uint64_t now,
	const struct ip_endpoint *local,
	const struct ip_endpoint *remote,
	const struct stun_msg *msg)
{
	struct response re = {.msg = msg, .local = local};
	enum turn_rx rx;

	if (msg->cls != STUN_CLASS_SUCCESS && msg->cls != STUN_CLASS_ERROR)
		return TURN_RX_NOT_RESPONSE;
	re.request = turn_request_find(a, &msg->txid, &re.attempt);
	if (re.request == NULL || !method_matches(re.request, msg->method))
		return TURN_RX_UNKNOWN_TXID;
	if (re.request->family != turn_family_index(remote))
		return TURN_RX_WRONG_SOCKET;
	if (msg->method == STUN_METHOD_BINDING)
		return handle_binding(a, now, &re);
	rx = authenticate(a, &re);
	if (rx != TURN_RX_RESPONSE)
		return rx;
	rtt_sample(a, now, re.attempt->sent);
	return msg->cls == STUN_CLASS_SUCCESS ? handle_success(a, now, &re)
					      : handle_error(a, now, &re);
}
