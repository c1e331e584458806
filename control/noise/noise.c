// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "control/noise/noise.h"

#include "control/base/err.h"

#include <sodium.h>

#include <string.h>

static const char construction[] = "Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s";
static const char identifier[] = "WireGuard v1 zx2c4 Jason@zx2c4.com";

static_assert(crypto_scalarmult_BYTES == NOISE_KEY_SIZE, "X25519");
static_assert(crypto_aead_chacha20poly1305_ietf_KEYBYTES == NOISE_KEY_SIZE, "AEAD key");
static_assert(crypto_aead_chacha20poly1305_ietf_ABYTES == NOISE_TAG_SIZE, "AEAD tag");

// Noise's symmetric state; key is the k of the last MixKey.
struct symmetric {
	struct noise_crypto *c;
	uint8_t chaining_key[NOISE_HASH_SIZE];
	uint8_t hash[NOISE_HASH_SIZE];
	uint8_t key[NOISE_KEY_SIZE];
};

static void mix_hash(struct symmetric *s, const void *data, size_t size)
{
	noise_hash(
		s->c, s->hash, (struct noise_span[]){{s->hash, sizeof(s->hash)}, {data, size}}, 2);
}

static void symmetric_begin(
	struct symmetric *s,
	struct noise_crypto *c,
	const uint8_t responder_public[NOISE_KEY_SIZE])
{
	s->c = c;
	noise_hash(
		c,
		s->chaining_key,
		&(struct noise_span){construction, sizeof(construction) - 1},
		1);
	memcpy(s->hash, s->chaining_key, sizeof(s->hash));
	mix_hash(s, identifier, sizeof(identifier) - 1);
	mix_hash(s, responder_public, NOISE_KEY_SIZE);
}

static void
symmetric_resume(struct symmetric *s, struct noise_crypto *c, const struct noise_handshake *hs)
{
	s->c = c;
	memcpy(s->chaining_key, hs->chaining_key, sizeof(s->chaining_key));
	memcpy(s->hash, hs->hash, sizeof(s->hash));
}

static void symmetric_save(const struct symmetric *s, struct noise_handshake *hs)
{
	memcpy(hs->chaining_key, s->chaining_key, sizeof(hs->chaining_key));
	memcpy(hs->hash, s->hash, sizeof(hs->hash));
}

// Without a key (KDF1): what the next token mixes anyway needs none.
static void mix_chain(struct symmetric *s, const uint8_t input[NOISE_KEY_SIZE])
{
	noise_kdf(s->c, s->chaining_key, NULL, NULL, s->chaining_key, input, NOISE_KEY_SIZE);
}

static void mix_key(struct symmetric *s, const uint8_t input[NOISE_KEY_SIZE])
{
	noise_kdf(s->c, s->chaining_key, s->key, NULL, s->chaining_key, input, NOISE_KEY_SIZE);
}

static void mix_psk(struct symmetric *s, const uint8_t psk[NOISE_KEY_SIZE])
{
	uint8_t tau[NOISE_HASH_SIZE];

	noise_kdf(s->c, s->chaining_key, tau, s->key, s->chaining_key, psk, NOISE_KEY_SIZE);
	mix_hash(s, tau, sizeof(tau));
	sodium_memzero(tau, sizeof(tau));
}

static void mix_ephemeral(struct symmetric *s, const uint8_t public_key[NOISE_KEY_SIZE])
{
	mix_chain(s, public_key);
	mix_hash(s, public_key, NOISE_KEY_SIZE);
}

// libsodium fails when the result is all zeros.
static bool
dh(uint8_t out[NOISE_KEY_SIZE],
   const uint8_t private_key[NOISE_KEY_SIZE],
   const uint8_t public_key[NOISE_KEY_SIZE])
{
	return crypto_scalarmult(out, private_key, public_key) == 0;
}

static bool
mix_dh(struct symmetric *s,
       const uint8_t private_key[NOISE_KEY_SIZE],
       const uint8_t public_key[NOISE_KEY_SIZE],
       bool with_key)
{
	uint8_t shared[NOISE_KEY_SIZE];
	bool ok = dh(shared, private_key, public_key);

	if (ok && with_key)
		mix_key(s, shared);
	else if (ok)
		mix_chain(s, shared);
	sodium_memzero(shared, sizeof(shared));
	return ok;
}

static const uint8_t zero_nonce[crypto_aead_chacha20poly1305_ietf_NPUBBYTES];

static void seal_and_hash(struct symmetric *s, uint8_t *out, const uint8_t *plain, size_t size)
{
	crypto_aead_chacha20poly1305_ietf_encrypt(
		out, NULL, plain, size, s->hash, sizeof(s->hash), NULL, zero_nonce, s->key);
	mix_hash(s, out, size + NOISE_TAG_SIZE);
}

static bool
open_and_hash(struct symmetric *s, uint8_t *plain, const uint8_t *sealed, size_t sealed_size)
{
	if (crypto_aead_chacha20poly1305_ietf_decrypt(
		    plain,
		    NULL,
		    NULL,
		    sealed,
		    sealed_size,
		    s->hash,
		    sizeof(s->hash),
		    zero_nonce,
		    s->key)
	    != 0)
		return false;
	mix_hash(s, sealed, sealed_size);
	return true;
}

// The initiator sends with the first key.
static void
split(struct symmetric *s,
      bool is_initiator,
      uint32_t local_index,
      uint32_t remote_index,
      struct noise_keypair *keypair)
{
	noise_kdf(
		s->c,
		is_initiator ? keypair->send_key : keypair->recv_key,
		is_initiator ? keypair->recv_key : keypair->send_key,
		NULL,
		s->chaining_key,
		NULL,
		0);
	keypair->local_index = local_index;
	keypair->remote_index = remote_index;
	keypair->is_initiator = is_initiator;
	keypair->created_ns = 0;
}

static int result(const struct noise_crypto *c, bool ok)
{
	if (c->is_broken)
		return err_set(EIO);
	return ok ? 0 : err_set(EBADMSG);
}

int noise_identity_init(struct noise_identity *id, const uint8_t private_key[NOISE_KEY_SIZE])
{
	struct noise_identity tmp;
	int rc = 0;

	memcpy(tmp.private_key, private_key, sizeof(tmp.private_key));
	tmp.private_key[0] &= 248;
	tmp.private_key[31] = (tmp.private_key[31] & 127) | 64;
	if (crypto_scalarmult_base(tmp.public_key, tmp.private_key) != 0)
		rc = err_set(EINVAL);
	else
		*id = tmp;
	sodium_memzero(&tmp, sizeof(tmp));
	return rc;
}

int noise_remote_init(
	struct noise_remote *r,
	const struct noise_identity *id,
	const uint8_t public_key[NOISE_KEY_SIZE],
	const uint8_t psk[NOISE_KEY_SIZE])
{
	struct noise_remote tmp = {0};
	int rc = 0;

	memcpy(tmp.public_key, public_key, sizeof(tmp.public_key));
	if (psk != NULL)
		memcpy(tmp.psk, psk, sizeof(tmp.psk));
	if (!dh(tmp.static_static, id->private_key, public_key))
		rc = err_set(EINVAL);
	else
		*r = tmp;
	sodium_memzero(&tmp, sizeof(tmp));
	return rc;
}

int noise_initiation_create(
	struct noise_crypto *c,
	const struct noise_identity *id,
	const struct noise_remote *remote,
	const uint8_t ephemeral[NOISE_KEY_SIZE],
	uint32_t local_index,
	const struct tai64n *timestamp,
	struct noise_handshake *hs,
	struct noise_msg_initiation *msg)
{
	struct noise_msg_initiation m = {
		.type = noise_le32_make(NOISE_MSG_INITIATION),
		.sender_index = noise_le32_make(local_index),
	};
	struct symmetric s;
	bool ok;
	int rc;

	symmetric_begin(&s, c, remote->public_key);
	// e
	ok = crypto_scalarmult_base(m.ephemeral, ephemeral) == 0;
	mix_ephemeral(&s, m.ephemeral);
	// es
	ok = ok && mix_dh(&s, ephemeral, remote->public_key, true);
	if (ok) {
		// s
		seal_and_hash(&s, m.static_sealed, id->public_key, NOISE_KEY_SIZE);
		// ss
		mix_key(&s, remote->static_static);
		// payload: t
		seal_and_hash(&s, m.timestamp_sealed, timestamp->bytes, NOISE_TIMESTAMP_SIZE);
	}
	rc = result(c, ok);
	if (rc == 0) {
		memset(hs, 0, sizeof(*hs));
		symmetric_save(&s, hs);
		memcpy(hs->ephemeral_private, ephemeral, sizeof(hs->ephemeral_private));
		hs->local_index = local_index;
		*msg = m;
	}
	sodium_memzero(&s, sizeof(s));
	return rc;
}

int noise_initiation_open(
	struct noise_crypto *c,
	const struct noise_identity *id,
	const struct noise_msg_initiation *msg,
	struct noise_initiation_opened *opened)
{
	uint8_t remote_public[NOISE_KEY_SIZE];
	struct symmetric s;
	bool ok;
	int rc;

	symmetric_begin(&s, c, id->public_key);
	// e
	mix_ephemeral(&s, msg->ephemeral);
	// es
	ok = mix_dh(&s, id->private_key, msg->ephemeral, true);
	// s
	ok = ok && open_and_hash(&s, remote_public, msg->static_sealed, sizeof(msg->static_sealed));
	rc = result(c, ok);
	if (rc == 0) {
		memset(opened, 0, sizeof(*opened));
		symmetric_save(&s, &opened->handshake);
		memcpy(opened->handshake.remote_ephemeral, msg->ephemeral, NOISE_KEY_SIZE);
		opened->handshake.remote_index = noise_le32_get(msg->sender_index);
		memcpy(opened->remote_public_key, remote_public, sizeof(remote_public));
		memcpy(opened->timestamp_sealed,
		       msg->timestamp_sealed,
		       sizeof(opened->timestamp_sealed));
	}
	sodium_memzero(&s, sizeof(s));
	return rc;
}

int noise_initiation_consume(
	struct noise_crypto *c,
	const struct noise_remote *remote,
	const struct noise_initiation_opened *opened,
	struct noise_handshake *hs,
	struct tai64n *timestamp)
{
	struct tai64n t;
	struct symmetric s;
	bool ok;
	int rc;

	symmetric_resume(&s, c, &opened->handshake);
	ok = sodium_memcmp(remote->public_key, opened->remote_public_key, NOISE_KEY_SIZE) == 0;
	// ss
	mix_key(&s, remote->static_static);
	// payload: t
	ok = ok
		&& open_and_hash(
			&s, t.bytes, opened->timestamp_sealed, sizeof(opened->timestamp_sealed));
	rc = result(c, ok);
	if (rc == 0) {
		*hs = opened->handshake;
		symmetric_save(&s, hs);
		*timestamp = t;
	}
	sodium_memzero(&s, sizeof(s));
	return rc;
}

int noise_response_create(
	struct noise_crypto *c,
	const struct noise_remote *remote,
	const struct noise_handshake *hs,
	const uint8_t ephemeral[NOISE_KEY_SIZE],
	uint32_t local_index,
	struct noise_msg_response *msg,
	struct noise_keypair *keypair)
{
	struct noise_msg_response m = {
		.type = noise_le32_make(NOISE_MSG_RESPONSE),
		.sender_index = noise_le32_make(local_index),
		.receiver_index = noise_le32_make(hs->remote_index),
	};
	struct noise_keypair k = {0};
	struct symmetric s;
	bool ok;
	int rc;

	symmetric_resume(&s, c, hs);
	// e
	ok = crypto_scalarmult_base(m.ephemeral, ephemeral) == 0;
	mix_ephemeral(&s, m.ephemeral);
	// ee
	ok = ok && mix_dh(&s, ephemeral, hs->remote_ephemeral, false);
	// se
	ok = ok && mix_dh(&s, ephemeral, remote->public_key, false);
	// psk
	mix_psk(&s, remote->psk);
	// payload: empty
	seal_and_hash(&s, m.empty_sealed, NULL, 0);
	split(&s, false, local_index, hs->remote_index, &k);
	rc = result(c, ok);
	if (rc == 0) {
		*msg = m;
		*keypair = k;
	}
	sodium_memzero(&k, sizeof(k));
	sodium_memzero(&s, sizeof(s));
	return rc;
}

int noise_response_consume(
	struct noise_crypto *c,
	const struct noise_identity *id,
	const struct noise_remote *remote,
	const struct noise_handshake *hs,
	const struct noise_msg_response *msg,
	struct noise_keypair *keypair)
{
	struct noise_keypair k = {0};
	uint8_t empty[1];
	struct symmetric s;
	bool ok;
	int rc;

	symmetric_resume(&s, c, hs);
	// e
	mix_ephemeral(&s, msg->ephemeral);
	// ee
	ok = mix_dh(&s, hs->ephemeral_private, msg->ephemeral, false);
	// se
	ok = ok && mix_dh(&s, id->private_key, msg->ephemeral, false);
	// psk
	mix_psk(&s, remote->psk);
	// payload: empty
	ok = ok && open_and_hash(&s, empty, msg->empty_sealed, sizeof(msg->empty_sealed));
	if (ok)
		split(&s, true, hs->local_index, noise_le32_get(msg->sender_index), &k);
	rc = result(c, ok);
	if (rc == 0)
		*keypair = k;
	sodium_memzero(&k, sizeof(k));
	sodium_memzero(&s, sizeof(s));
	return rc;
}
