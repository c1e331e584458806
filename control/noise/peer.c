// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "control/noise/peer.h"

#include "control/base/err.h"
#include "control/noise/node.h"

#include <sodium.h>

#include <string.h>

static struct noise_node_shared *shared(const struct noise_peer *p)
{
	return noise_node_shared(p->node);
}

static void output_begin(struct noise_output *out)
{
	memset(out, 0, sizeof(*out));
}

void noise_output_wipe(struct noise_output *out)
{
	sodium_memzero(out, sizeof(*out));
}

static struct noise_event *event_add(struct noise_output *out, enum noise_event_type type)
{
	struct noise_event *e = &out->events[out->n_events++];

	e->type = type;
	return e;
}

static void jitter_draw(struct noise_peer *p)
{
	uint32_t r;

	noise_crypto_random(&shared(p)->crypto, &r, sizeof(r));
	p->jitter_ns = (uint64_t)(r % (uint32_t)(NOISE_JITTER_MAX_NS / 1000)) * 1000;
}

int noise_peer_init(
	struct noise_peer *p,
	struct noise_node *node,
	uint64_t now_ns,
	const struct noise_peer_config *config)
{
	struct noise_node_shared *n = noise_node_shared(node);
	int rc;

	memset(p, 0, sizeof(*p));
	if (config->connection > 0xffffff)
		return err_set(EINVAL);
	rc = noise_remote_init(&p->remote, &n->identity, config->public_key, config->psk);
	if (rc < 0)
		return rc;
	p->node = node;
	p->timing = config->timing;
	p->connection = config->connection;
	p->next_index = 1;
	p->last_timestamp = config->last_timestamp;
	p->alive_ns = now_ns;
	noise_cookie_maker_init(&p->cookie, &n->crypto, config->public_key);
	jitter_draw(p);
	if (n->crypto.is_broken) {
		noise_peer_fini(p);
		return err_set(EIO);
	}
	return 0;
}

void noise_peer_fini(struct noise_peer *p)
{
	if (p->node != NULL)
		noise_node_peer_del(p->node, p);
	sodium_memzero(p, sizeof(*p));
}

// Sessions ------------------------------------------------------------------------------------

static const struct noise_peer_session *session_current(const struct noise_peer *p)
{
	const struct noise_peer_session *s = &p->sessions[p->current_index % NOISE_SESSIONS];

	return p->has_current && s->local_index == p->current_index ? s : NULL;
}

static uint64_t min_u64(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

// Handshakes that the peer never confirms must not push out the session that carries traffic, so
// its slot is skipped.
static uint32_t index_peek(const struct noise_peer *p)
{
	uint8_t low = p->next_index;

	if (p->has_current && low % NOISE_SESSIONS == p->current_index % NOISE_SESSIONS)
		low++;
	return p->connection << 8 | low;
}

static void index_take(struct noise_peer *p, uint32_t index)
{
	p->next_index = (uint8_t)(index + 1);
}

static void initiations_wipe(struct noise_peer *p)
{
	sodium_memzero(p->initiations, sizeof(p->initiations));
	p->has_initiation[0] = p->has_initiation[1] = false;
	p->attempt_ns = 0;
	p->initiation_ns = 0;
}

static void
session_add(struct noise_peer *p, uint64_t now_ns, uint32_t local_index, bool is_initiator)
{
	p->sessions[local_index % NOISE_SESSIONS] = (struct noise_peer_session){
		.created_ns = now_ns,
		.local_index = local_index,
		.is_initiator = is_initiator,
	};
	p->alive_ns = now_ns;
	p->is_expired = false;
}

static void session_make_current(struct noise_peer *p, uint32_t local_index)
{
	p->has_current = true;
	p->current_index = local_index;
	initiations_wipe(p);
	jitter_draw(p);
}

bool noise_peer_has_session(const struct noise_peer *p, uint64_t now_ns)
{
	const struct noise_peer_session *s = session_current(p);

	if (s == NULL)
		return false;
	return now_ns - s->created_ns
		< (s->is_initiator ? NOISE_INITIATOR_SEND_TIME_NS : NOISE_REJECT_AFTER_TIME_NS);
}

// Traffic -------------------------------------------------------------------------------------

static void note_sent(struct noise_peer *p, uint64_t at_ns)
{
	if (at_ns > p->sent_ns)
		p->sent_ns = at_ns;
	if (p->keepalive_owed_ns != 0 && at_ns >= p->keepalive_owed_ns)
		p->keepalive_owed_ns = p->data_received_ns > at_ns ? p->data_received_ns : 0;
}

static void note_received(struct noise_peer *p, uint64_t at_ns)
{
	if (at_ns > p->received_ns)
		p->received_ns = at_ns;
	if (p->unanswered_ns != 0 && at_ns >= p->unanswered_ns)
		p->unanswered_ns = p->data_sent_ns > at_ns ? p->data_sent_ns : 0;
}

void noise_peer_note_data_sent(struct noise_peer *p, uint64_t at_ns)
{
	note_sent(p, at_ns);
	if (at_ns > p->data_sent_ns)
		p->data_sent_ns = at_ns;
	if (at_ns >= p->received_ns && (p->unanswered_ns == 0 || at_ns < p->unanswered_ns))
		p->unanswered_ns = at_ns;
}

void noise_peer_note_keepalive_sent(struct noise_peer *p, uint64_t at_ns)
{
	note_sent(p, at_ns);
}

void noise_peer_note_data_received(struct noise_peer *p, uint64_t at_ns)
{
	note_received(p, at_ns);
	if (at_ns > p->data_received_ns)
		p->data_received_ns = at_ns;
	if (at_ns >= p->sent_ns && p->keepalive_owed_ns == 0)
		p->keepalive_owed_ns = at_ns;
}

void noise_peer_note_keepalive_received(struct noise_peer *p, uint64_t at_ns)
{
	note_received(p, at_ns);
}

void noise_peer_note_keypair_confirmed(struct noise_peer *p, uint64_t at_ns, uint32_t local_index)
{
	const struct noise_peer_session *s = &p->sessions[local_index % NOISE_SESSIONS];
	const struct noise_peer_session *current = session_current(p);

	if (s->created_ns == 0 || s->local_index != local_index || s->is_initiator)
		return;
	if (at_ns >= s->created_ns + NOISE_REJECT_AFTER_TIME_NS)
		return;
	// Packets of an older session that arrive late never turn sending back.
	if (current != NULL && (current == s || current->created_ns > s->created_ns))
		return;
	session_make_current(p, local_index);
}

// Handshakes ----------------------------------------------------------------------------------

static int initiate(struct noise_peer *p, uint64_t now_ns, struct noise_output *out)
{
	struct noise_node_shared *n = shared(p);
	struct noise_msg_initiation msg;
	struct noise_handshake hs;
	uint8_t ephemeral[NOISE_KEY_SIZE];
	uint32_t index = index_peek(p);
	struct tai64n stamp = tai64n_clock_next(&n->clock, now_ns);
	int rc;

	noise_crypto_random(&n->crypto, ephemeral, sizeof(ephemeral));
	rc = noise_initiation_create(
		&n->crypto, &n->identity, &p->remote, ephemeral, index, &stamp, &hs, &msg);
	sodium_memzero(ephemeral, sizeof(ephemeral));
	// Also when it failed: the timers go on and end in EXPIRED instead of trying without pause.
	if (p->attempt_ns == 0)
		p->attempt_ns = now_ns;
	p->initiation_ns = now_ns;
	jitter_draw(p);
	if (rc < 0)
		return rc;

	index_take(p, index);
	p->initiations[1] = p->initiations[0];
	p->has_initiation[1] = p->has_initiation[0];
	p->initiations[0] = hs;
	p->has_initiation[0] = true;
	sodium_memzero(&hs, sizeof(hs));
	noise_cookie_macs_add(&p->cookie, &n->crypto, now_ns, &msg, sizeof(msg));
	memcpy(out->bytes, &msg, sizeof(msg));
	out->size = sizeof(msg);
	note_sent(p, now_ns);
	return 0;
}

int noise_peer_rekey(struct noise_peer *p, uint64_t now_ns, struct noise_output *out)
{
	output_begin(out);
	if (p->attempt_ns != 0)
		return err_set(EALREADY);
	if (p->is_expired) {
		p->is_expired = false;
		p->alive_ns = now_ns;
	}
	return initiate(p, now_ns, out);
}

int noise_peer_initiate(struct noise_peer *p, uint64_t now_ns, struct noise_output *out)
{
	int rc;

	output_begin(out);
	if (!p->is_expired && p->proactive_ns != 0
	    && now_ns - p->proactive_ns < NOISE_PROACTIVE_INTERVAL_NS)
		return err_set(EALREADY);
	rc = noise_peer_rekey(p, now_ns, out);
	if (rc == 0)
		p->proactive_ns = now_ns;
	return rc;
}

int noise_peer_handle_initiation(
	struct noise_peer *p,
	uint64_t now_ns,
	const struct noise_initiation_opened *opened,
	struct noise_output *out)
{
	struct noise_node_shared *n = shared(p);
	struct noise_msg_response msg;
	struct noise_keypair keypair;
	struct noise_handshake hs = {0};
	struct noise_event *e;
	struct tai64n stamp;
	uint8_t ephemeral[NOISE_KEY_SIZE];
	uint32_t index = index_peek(p);
	int rc;

	output_begin(out);
	rc = noise_initiation_consume(&n->crypto, &p->remote, opened, &hs, &stamp);
	// An equal stamp is a duplicate, an older one a replay.
	if (rc == 0 && tai64n_cmp(&stamp, &p->last_timestamp) <= 0)
		rc = err_set(EALREADY);
	if (rc == 0) {
		noise_crypto_random(&n->crypto, ephemeral, sizeof(ephemeral));
		rc = noise_response_create(
			&n->crypto, &p->remote, &hs, ephemeral, index, &msg, &keypair);
		sodium_memzero(ephemeral, sizeof(ephemeral));
	}
	sodium_memzero(&hs, sizeof(hs));
	if (rc < 0)
		return rc;

	p->last_timestamp = stamp;
	index_take(p, index);
	session_add(p, now_ns, index, false);
	noise_cookie_macs_add(&p->cookie, &n->crypto, now_ns, &msg, sizeof(msg));
	note_received(p, now_ns);
	note_sent(p, now_ns);
	memcpy(out->bytes, &msg, sizeof(msg));
	out->size = sizeof(msg);
	e = event_add(out, NOISE_EVENT_KEYPAIR_READY);
	keypair.created_ns = now_ns;
	e->keypair = keypair;
	sodium_memzero(&keypair, sizeof(keypair));
	return 0;
}

int noise_peer_handle_response(
	struct noise_peer *p,
	uint64_t now_ns,
	const struct noise_msg_response *msg,
	struct noise_output *out)
{
	struct noise_node_shared *n = shared(p);
	uint32_t index = noise_le32_get(msg->receiver_index);
	const struct noise_handshake *hs = NULL;
	struct noise_keypair keypair;
	struct noise_event *e;
	int rc;

	output_begin(out);
	for (int i = 0; i < 2 && hs == NULL; i++) {
		if (p->has_initiation[i] && p->initiations[i].local_index == index)
			hs = &p->initiations[i];
	}
	if (hs == NULL)
		return err_set(ENOENT);
	rc = noise_response_consume(&n->crypto, &n->identity, &p->remote, hs, msg, &keypair);
	if (rc < 0)
		return rc;

	session_add(p, now_ns, index, true);
	session_make_current(p, index);
	note_received(p, now_ns);
	e = event_add(out, NOISE_EVENT_KEYPAIR_READY);
	e->may_send = true;
	keypair.created_ns = now_ns;
	e->keypair = keypair;
	sodium_memzero(&keypair, sizeof(keypair));
	// The responder may not send before it got a packet on the new session.
	event_add(out, NOISE_EVENT_SEND_KEEPALIVE);
	return 0;
}

int noise_peer_handle_cookie_reply(
	struct noise_peer *p,
	uint64_t now_ns,
	const struct noise_msg_cookie_reply *msg)
{
	return noise_cookie_reply_consume(&p->cookie, now_ns, msg);
}

// Timers --------------------------------------------------------------------------------------

static uint64_t expire_due(const struct noise_peer *p)
{
	uint64_t due = p->alive_ns + NOISE_EXPIRE_TIME_NS;

	if (p->attempt_ns != 0)
		due = min_u64(due, p->attempt_ns + p->timing.rekey_attempt_ns);
	return due;
}

// Only the session's initiator renews it by age; whoever sent data without answer tries too.
static uint64_t initiation_due(const struct noise_peer *p)
{
	const struct noise_peer_session *s = session_current(p);
	uint64_t due = NOISE_NEVER;

	if (p->attempt_ns != 0)
		return p->initiation_ns + p->timing.rekey_timeout_ns + p->jitter_ns;
	if (s != NULL && s->is_initiator) {
		due = s->created_ns + NOISE_REJECT_AFTER_TIME_NS;
		if (p->data_received_ns >= s->created_ns)
			due = s->created_ns + NOISE_REKEY_AFTER_RECV_NS;
		if (p->data_sent_ns >= s->created_ns)
			due = s->created_ns + NOISE_REKEY_AFTER_TIME_NS;
	}
	if (p->unanswered_ns != 0)
		due = min_u64(due, p->unanswered_ns + p->timing.unanswered_ns);
	return due == NOISE_NEVER ? due : due + p->jitter_ns;
}

static uint64_t keepalive_due(const struct noise_peer *p)
{
	return p->keepalive_owed_ns != 0 ? p->keepalive_owed_ns + p->timing.keepalive_ns
					 : NOISE_NEVER;
}

uint64_t noise_peer_deadline(const struct noise_peer *p)
{
	if (p->is_expired)
		return NOISE_NEVER;
	return min_u64(expire_due(p), min_u64(initiation_due(p), keepalive_due(p)));
}

static void expire(struct noise_peer *p, struct noise_output *out)
{
	initiations_wipe(p);
	memset(p->sessions, 0, sizeof(p->sessions));
	p->has_current = false;
	p->unanswered_ns = 0;
	p->keepalive_owed_ns = 0;
	p->is_expired = true;
	event_add(out, NOISE_EVENT_EXPIRED);
}

void noise_peer_handle_timeout(struct noise_peer *p, uint64_t now_ns, struct noise_output *out)
{
	output_begin(out);
	if (p->is_expired)
		return;
	if (now_ns >= expire_due(p)) {
		expire(p, out);
		return;
	}
	if (now_ns >= keepalive_due(p)) {
		p->keepalive_owed_ns = 0;
		if (noise_peer_has_session(p, now_ns))
			event_add(out, NOISE_EVENT_SEND_KEEPALIVE);
	}
	// A failure is the crypto library's; the attempt then ends in EXPIRED.
	if (now_ns >= initiation_due(p) && initiate(p, now_ns, out) < 0)
		out->size = 0;
}
