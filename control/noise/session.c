// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "control/noise/session.h"

#include "control/base/err.h"

#include <sodium.h>

#include <string.h>

enum {
	NONCE_SIZE = crypto_aead_chacha20poly1305_ietf_NPUBBYTES,
	IPV4_HEADER_SIZE = 20,
	IPV6_HEADER_SIZE = 40,
};

void noise_session_init(struct noise_session *s, struct noise_peer *peer)
{
	memset(s, 0, sizeof(*s));
	s->peer = peer;
}

void noise_session_fini(struct noise_session *s)
{
	sodium_memzero(s, sizeof(*s));
}

static void keypair_install(struct noise_session *s, const struct noise_event *event)
{
	struct noise_session_slot *slot;

	slot = &s->slots[event->keypair.local_index % NOISE_SESSIONS];
	if (s->current == slot)
		s->current = NULL;
	sodium_memzero(slot, sizeof(*slot));
	slot->keypair = event->keypair;
	slot->is_used = true;
	slot->is_confirmed = event->may_send;
	if (event->may_send)
		s->current = slot;
}

void noise_session_handle_event(struct noise_session *s, const struct noise_event *event)
{
	switch (event->type) {
	case NOISE_EVENT_KEYPAIR_READY:
		keypair_install(s, event);
		break;
	case NOISE_EVENT_EXPIRED:
		s->current = NULL;
		sodium_memzero(s->slots, sizeof(s->slots));
		break;
	case NOISE_EVENT_SEND_KEEPALIVE:
		break;
	}
}

static void nonce_make(uint8_t nonce[NONCE_SIZE], struct noise_le64 counter)
{
	memset(nonce, 0, NONCE_SIZE);
	memcpy(nonce + 4, counter.bytes, sizeof(counter.bytes));
}

int noise_session_seal(struct noise_session *s, uint64_t now_ns, uint8_t *buf, size_t size)
{
	struct noise_session_slot *slot = s->current;
	struct noise_msg_data header;
	uint8_t nonce[NONCE_SIZE];
	uint8_t *body = buf + NOISE_SESSION_HEADROOM;

	if (slot == NULL || now_ns >= noise_keypair_send_until_ns(&slot->keypair)
	    || slot->send_counter >= NOISE_REJECT_AFTER_MESSAGES)
		return err_set(ENOKEY);
	header = (struct noise_msg_data){
		.type = noise_le32_make(NOISE_MSG_DATA),
		.receiver_index = noise_le32_make(slot->keypair.remote_index),
		.counter = noise_le64_make(slot->send_counter++),
	};
	nonce_make(nonce, header.counter);
	crypto_aead_chacha20poly1305_ietf_encrypt(
		body, NULL, body, size, NULL, 0, NULL, nonce, slot->keypair.send_key);
	memcpy(buf, &header, sizeof(header));
	if (size == 0)
		noise_peer_note_keepalive_sent(s->peer, now_ns);
	else
		noise_peer_note_data_sent(s->peer, now_ns);
	return (int)(size + NOISE_DATA_SIZE_MIN);
}

// Peers may pad; the inner header knows the true size.
static int inner_size(const uint8_t *ip, size_t size)
{
	size_t inner;

	if (size >= IPV4_HEADER_SIZE && ip[0] >> 4 == 4) {
		inner = (size_t)ip[2] << 8 | ip[3];
		if (inner < IPV4_HEADER_SIZE)
			return err_set(EPROTO);
	} else if (size >= IPV6_HEADER_SIZE && ip[0] >> 4 == 6) {
		inner = IPV6_HEADER_SIZE + ((size_t)ip[4] << 8 | ip[5]);
	} else {
		return err_set(EPROTO);
	}
	return inner <= size ? (int)inner : err_set(EPROTO);
}

static struct noise_session_slot *
slot_find(struct noise_session *s, uint64_t now_ns, uint32_t local_index)
{
	struct noise_session_slot *slot = &s->slots[local_index % NOISE_SESSIONS];

	if (!slot->is_used || slot->keypair.local_index != local_index
	    || now_ns >= noise_keypair_recv_until_ns(&slot->keypair))
		return NULL;
	return slot;
}

// What an authentic packet does: replay window (done), key confirmation, timers.
static void
effects(struct noise_session *s, struct noise_session_slot *slot, uint64_t now_ns, size_t size)
{
	if (!slot->is_confirmed) {
		slot->is_confirmed = true;
		if (s->current == NULL
		    || s->current->keypair.created_ns <= slot->keypair.created_ns)
			s->current = slot;
		noise_peer_note_keypair_confirmed(s->peer, now_ns, slot->keypair.local_index);
	}
	if (size == 0)
		noise_peer_note_keepalive_received(s->peer, now_ns);
	else
		noise_peer_note_data_received(s->peer, now_ns);
}

int noise_session_open(struct noise_session *s, uint64_t now_ns, uint8_t *buf, size_t size)
{
	struct noise_session_slot *slot;
	struct noise_msg_data header;
	uint8_t nonce[NONCE_SIZE];
	uint8_t *body = buf + NOISE_SESSION_HEADROOM;
	uint64_t counter;
	size_t plain_size;

	if (size < NOISE_DATA_SIZE_MIN || noise_msg_type_get(buf, size) != NOISE_MSG_DATA)
		return err_set(EBADMSG);
	memcpy(&header, buf, sizeof(header));
	slot = slot_find(s, now_ns, noise_le32_get(header.receiver_index));
	if (slot == NULL)
		return err_set(ENOENT);
	counter = noise_le64_get(header.counter);
	if (!noise_replay_check(&slot->replay, counter))
		return err_set(EALREADY);
	nonce_make(nonce, header.counter);
	if (crypto_aead_chacha20poly1305_ietf_decrypt(
		    body,
		    NULL,
		    NULL,
		    body,
		    size - sizeof(header),
		    NULL,
		    0,
		    nonce,
		    slot->keypair.recv_key)
	    != 0)
		return err_set(EBADMSG);

	// Authentic from here on.
	if (!noise_replay_update(&slot->replay, counter))
		return err_set(EALREADY);
	plain_size = size - NOISE_DATA_SIZE_MIN;
	effects(s, slot, now_ns, plain_size);
	return plain_size == 0 ? 0 : inner_size(body, plain_size);
}
