// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "control/path/turn_internal.h"

#include <string.h>

#define REQUEST_SIZE_MAX 1200
#define TRANSPORT_UDP 17u
#define FAMILY_IPV6 2u

// Waits after the sends of one request (spec/connectivity.md 3.4): 1 s, each 1.5 times the one before.
static const uint64_t waits[] = {
	1000000000ull,
	1500000000ull,
	2250000000ull,
	3375000000ull,
};
#define SENDS_MAX (sizeof(waits) / sizeof(waits[0]))

static uint16_t method_of(enum turn_purpose purpose)
{
	switch (purpose) {
	case TURN_PURPOSE_ALLOCATE:
		return STUN_METHOD_ALLOCATE;
	case TURN_PURPOSE_REFRESH:
	case TURN_PURPOSE_DELETE:
		return STUN_METHOD_REFRESH;
	case TURN_PURPOSE_CHANNEL_BIND:
		return STUN_METHOD_CHANNEL_BIND;
	case TURN_PURPOSE_NONE:
	case TURN_PURPOSE_BINDING:
		break;
	}
	return STUN_METHOD_BINDING;
}

// Firezone peers repeat the attributes of Allocate in Refresh. RFC servers answer 420 to that.
static bool wants_transport(const struct turn_allocation *a, enum turn_purpose purpose)
{
	if (purpose == TURN_PURPOSE_ALLOCATE)
		return true;
	return (purpose == TURN_PURPOSE_REFRESH || purpose == TURN_PURPOSE_DELETE)
		&& a->dialect != TURN_DIALECT_RFC;
}

// coturn gives IPv4 alone unless asked by the number of the draft.
static bool wants_draft_family(const struct turn_allocation *a, enum turn_purpose purpose)
{
	return purpose == TURN_PURPOSE_ALLOCATE && a->dialect == TURN_DIALECT_RFC;
}

// An RFC server is asked without credentials until it has given a nonce.
static bool wants_credentials(const struct turn_allocation *a, enum turn_purpose purpose)
{
	if (purpose == TURN_PURPOSE_BINDING)
		return false;
	return a->dialect != TURN_DIALECT_RFC || a->nonce_size > 0;
}

static int write_request(
	struct turn_allocation *a,
	const struct turn_request *r,
	const struct stun_txid *txid,
	uint8_t buf[REQUEST_SIZE_MAX])
{
	struct stun_writer w;

	stun_writer_init(
		&w, buf, REQUEST_SIZE_MAX, STUN_CLASS_REQUEST, method_of(r->purpose), txid);
	if (wants_transport(a, r->purpose)) {
		stun_writer_add_u32(&w, STUN_ATTR_REQUESTED_TRANSPORT, TRANSPORT_UDP << 24);
		stun_writer_add_u32(&w, STUN_ATTR_ADDITIONAL_ADDRESS_FAMILY, FAMILY_IPV6 << 24);
	}
	// Both numbers are for servers to ignore that do not know them.
	if (wants_draft_family(a, r->purpose))
		stun_writer_add_u32(
			&w, STUN_ATTR_ADDITIONAL_ADDRESS_FAMILY_DRAFT, FAMILY_IPV6 << 24);
	if (r->purpose == TURN_PURPOSE_CHANNEL_BIND) {
		stun_writer_add_xor_address(&w, STUN_ATTR_XOR_PEER_ADDRESS, &r->peer);
		stun_writer_add_u32(&w, STUN_ATTR_CHANNEL_NUMBER, (uint32_t)r->channel << 16);
	}
	stun_writer_add(&w, STUN_ATTR_SOFTWARE, a->software, strlen(a->software));
	if (r->purpose == TURN_PURPOSE_DELETE)
		stun_writer_add_u32(&w, STUN_ATTR_LIFETIME, 0);
	if (wants_credentials(a, r->purpose)) {
		stun_writer_add(&w, STUN_ATTR_USERNAME, a->username, strlen(a->username));
		stun_writer_add(&w, STUN_ATTR_REALM, a->realm, strlen(a->realm));
		if (a->nonce_size > 0)
			stun_writer_add(&w, STUN_ATTR_NONCE, a->nonce, a->nonce_size);
		stun_writer_add_integrity(&w, a->mac, a->key, sizeof(a->key));
	}
	return stun_writer_finish(&w);
}

static void request_send(struct turn_allocation *a, uint64_t now, struct turn_request *r)
{
	struct turn_attempt attempt = {.sent = now, .had_nonce = a->nonce_size > 0};
	uint8_t buf[REQUEST_SIZE_MAX];
	struct turn_out *out;
	int size;

	if (r->purpose == TURN_PURPOSE_BINDING && r->n_attempts > 0) {
		// Same message again; the first sending counts for the round trip, which errs upwards.
		attempt = r->attempts[0];
	} else {
		a->random(a->random_ctx, attempt.txid.bytes, sizeof(attempt.txid.bytes));
		if (r->n_attempts == TURN_ATTEMPTS_MAX)
			r->n_attempts--;
		r->attempts[r->n_attempts++] = attempt;
	}
	r->next_tx = now + (r->is_probe ? TURN_PROBE_NS : waits[r->n_sends]);
	r->n_sends++;
	size = write_request(a, r, &attempt.txid, buf);
	if (size < 0)
		return;
	// A full queue is like a lost datagram.
	out = turn_out_add(a, r->family, (size_t)size);
	if (out != NULL)
		memcpy(out->data, buf, (size_t)size);
}

static struct turn_request *
request_new(struct turn_allocation *a, enum turn_purpose purpose, unsigned family, unsigned n_slots)
{
	struct turn_request *r = a->requests;

	if (a->n_requests >= n_slots)
		return NULL;
	while (r->purpose != TURN_PURPOSE_NONE)
		r++;
	a->n_requests++;
	*r = (struct turn_request){.purpose = purpose, .family = family};
	return r;
}

struct turn_request *turn_request_start_at(
	struct turn_allocation *a,
	uint64_t now,
	enum turn_purpose purpose,
	unsigned family)
{
	struct turn_request *r = request_new(a, purpose, family, TURN_REQUESTS_MAX);

	if (r != NULL)
		request_send(a, now, r);
	return r;
}

struct turn_request *
turn_request_start(struct turn_allocation *a, uint64_t now, enum turn_purpose purpose)
{
	return turn_request_start_at(a, now, purpose, a->active);
}

struct turn_request *turn_request_start_bind(
	struct turn_allocation *a,
	uint64_t now,
	const struct ip_endpoint *peer,
	uint16_t channel)
{
	struct turn_request *r = request_new(
		a,
		TURN_PURPOSE_CHANNEL_BIND,
		a->active,
		TURN_REQUESTS_MAX - TURN_REQUESTS_RESERVED);

	if (r == NULL)
		return NULL;
	r->peer = *peer;
	r->channel = channel;
	request_send(a, now, r);
	return r;
}

void turn_request_restart(struct turn_allocation *a, uint64_t now, struct turn_request *r)
{
	r->n_sends = 0;
	request_send(a, now, r);
}

void turn_request_end(struct turn_allocation *a, struct turn_request *r)
{
	r->purpose = TURN_PURPOSE_NONE;
	a->n_requests--;
}

void turn_request_end_all(struct turn_allocation *a)
{
	for (size_t i = 0; i < TURN_REQUESTS_MAX; i++)
		a->requests[i].purpose = TURN_PURPOSE_NONE;
	a->n_requests = 0;
}

bool turn_request_any(const struct turn_allocation *a, enum turn_purpose purpose)
{
	for (size_t i = 0; i < TURN_REQUESTS_MAX; i++) {
		if (a->requests[i].purpose == purpose)
			return true;
	}
	return false;
}

static void give_up(struct turn_allocation *a, uint64_t now, struct turn_request *r)
{
	unsigned family = r->family;

	turn_request_end(a, r);
	if (family == a->active) {
		turn_suspend(a, now, true);
		return;
	}
	// The other address of the relay may still answer.
	if (a->active != TURN_ACTIVE_NONE || a->n_requests > 0)
		return;
	if (a->has_answered)
		turn_suspend(a, now, true);
	else
		turn_fail(a, TURN_FAILURE_NO_RESPONSE);
}

void turn_request_run(struct turn_allocation *a, uint64_t now)
{
	for (size_t i = 0; i < TURN_REQUESTS_MAX && a->n_requests > 0; i++) {
		struct turn_request *r = &a->requests[i];

		if (r->purpose == TURN_PURPOSE_NONE || r->next_tx > now)
			continue;
		if (r->is_probe || r->n_sends == SENDS_MAX)
			give_up(a, now, r);
		else
			request_send(a, now, r);
	}
}

struct turn_request *turn_request_find(
	struct turn_allocation *a,
	const struct stun_txid *txid,
	const struct turn_attempt **attempt)
{
	for (size_t i = 0; i < TURN_REQUESTS_MAX; i++) {
		struct turn_request *r = &a->requests[i];

		if (r->purpose == TURN_PURPOSE_NONE)
			continue;
		for (unsigned j = 0; j < r->n_attempts; j++) {
			*attempt = &r->attempts[j];
			if (memcmp(&r->attempts[j].txid, txid, sizeof(*txid)) == 0)
				return r;
		}
	}
	return NULL;
}
