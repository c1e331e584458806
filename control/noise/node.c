// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "control/noise/node.h"

#include "control/base/err.h"
#include "control/noise/cookie.h"
#include "control/noise/limiter.h"

#include <sodium.h>

#include <stdlib.h>
#include <string.h>

enum {
	N_PEERS_DEFAULT = 1024
};

struct noise_node {
	struct noise_node_shared shared;
	struct noise_cookie_checker checker;
	struct noise_limiter limiter;
	uint8_t table_key[crypto_shorthash_KEYBYTES];
	uint32_t mask; // slots of each table - 1
	struct noise_peer **by_key;
	struct noise_peer **by_connection;
};

const char *noise_verdict_name(enum noise_verdict v)
{
	static const char *const names[] = {
#define VERDICT_TEXT(name, text) [NOISE_VERDICT_##name] = text,
		NOISE_VERDICTS(VERDICT_TEXT)
#undef VERDICT_TEXT
	};

	return (unsigned)v < NOISE_VERDICT_COUNT ? names[v] : "unknown";
}

static uint32_t table_mask(uint32_t n_peers)
{
	uint32_t n = n_peers != 0 ? n_peers : N_PEERS_DEFAULT;
	uint32_t size = 16;

	while (size < n && size < UINT32_C(1) << 24)
		size *= 2;
	return size - 1;
}

static int keys_init(struct noise_node *n, const struct noise_node_config *config)
{
	uint8_t key[NOISE_KEY_SIZE];
	int rc;

	if (config->private_key != NULL)
		memcpy(key, config->private_key, sizeof(key));
	else
		noise_crypto_random(&n->shared.crypto, key, sizeof(key));
	rc = noise_identity_init(&n->shared.identity, key);
	sodium_memzero(key, sizeof(key));
	return rc;
}

struct noise_node *noise_node_create(const struct noise_node_config *config)
{
	struct noise_node *n;
	int rc;

	if (sodium_init() < 0)
		return err_set_null(ENOTSUP);
	n = sodium_malloc(sizeof(*n)); // guarded, and left out of core dumps
	if (n == NULL)
		return err_set_null(ENOMEM);
	memset(n, 0, sizeof(*n));
	rc = noise_crypto_init(&n->shared.crypto, config->random, config->random_arg);
	if (rc < 0)
		goto err;
	rc = keys_init(n, config);
	if (rc < 0)
		goto err;
	n->shared.clock.wall_ns = config->wall_ns;
	n->shared.clock.mono_ns = config->now_ns;
	noise_cookie_checker_init(&n->checker, &n->shared.crypto, n->shared.identity.public_key);
	noise_limiter_init(
		&n->limiter, &n->shared.crypto, config->handshake_rate, config->source_rate);
	noise_crypto_random(&n->shared.crypto, n->table_key, sizeof(n->table_key));
	n->mask = table_mask(config->n_peers);
	n->by_key = calloc(n->mask + 1, sizeof(*n->by_key));
	n->by_connection = calloc(n->mask + 1, sizeof(*n->by_connection));
	rc = n->by_key == NULL || n->by_connection == NULL ? -ENOMEM : 0;
	if (rc == 0 && n->shared.crypto.is_broken)
		rc = -EIO;
	if (rc < 0)
		goto err;
	return n;
err:
	noise_node_destroy(n);
	return err_set_null(-rc);
}

void noise_node_destroy(struct noise_node *n)
{
	if (n == NULL)
		return;
	free(n->by_key);
	free(n->by_connection);
	noise_crypto_fini(&n->shared.crypto);
	sodium_free(n); // wipes
}

const uint8_t *noise_node_public_key(const struct noise_node *n)
{
	return n->shared.identity.public_key;
}

struct noise_node_shared *noise_node_shared(struct noise_node *n)
{
	return &n->shared;
}

// Tables --------------------------------------------------------------------------------------

// Keyed, so that nobody can choose public keys that fall into one slot.
static struct noise_peer **key_slot(const struct noise_node *n, const uint8_t key[NOISE_KEY_SIZE])
{
	uint64_t hash;

	crypto_shorthash((uint8_t *)&hash, key, NOISE_KEY_SIZE, n->table_key);
	return &n->by_key[hash & n->mask];
}

// Connection numbers are ours, so no hash is needed.
static struct noise_peer **connection_slot(const struct noise_node *n, uint32_t connection)
{
	return &n->by_connection[connection & n->mask];
}

struct noise_peer *
noise_node_peer_by_key(const struct noise_node *n, const uint8_t public_key[NOISE_KEY_SIZE])
{
	for (struct noise_peer *p = *key_slot(n, public_key); p != NULL; p = p->next_by_key) {
		if (memcmp(p->remote.public_key, public_key, NOISE_KEY_SIZE) == 0)
			return p;
	}
	return NULL;
}

struct noise_peer *noise_node_peer_by_connection(const struct noise_node *n, uint32_t connection)
{
	struct noise_peer *p = *connection_slot(n, connection);

	while (p != NULL && p->connection != connection)
		p = p->next_by_connection;
	return p;
}

int noise_node_peer_add(struct noise_node *n, struct noise_peer *p)
{
	struct noise_peer **slot;

	if (noise_node_peer_by_key(n, p->remote.public_key) != NULL
	    || noise_node_peer_by_connection(n, p->connection) != NULL)
		return err_set(EEXIST);
	slot = key_slot(n, p->remote.public_key);
	p->next_by_key = *slot;
	*slot = p;
	slot = connection_slot(n, p->connection);
	p->next_by_connection = *slot;
	*slot = p;
	p->is_added = true;
	return 0;
}

void noise_node_peer_del(struct noise_node *n, struct noise_peer *p)
{
	struct noise_peer **at;

	if (!p->is_added)
		return;
	for (at = key_slot(n, p->remote.public_key); *at != p; at = &(*at)->next_by_key)
		;
	*at = p->next_by_key;
	for (at = connection_slot(n, p->connection); *at != p; at = &(*at)->next_by_connection)
		;
	*at = p->next_by_connection;
	p->next_by_key = p->next_by_connection = NULL;
	p->is_added = false;
}

// Messages ------------------------------------------------------------------------------------

static enum noise_verdict verdict_of(int rc)
{
	switch (-rc) {
	case 0:
		return NOISE_VERDICT_OK;
	case ENOENT:
		return NOISE_VERDICT_STALE_INDEX;
	case EALREADY:
		return NOISE_VERDICT_REPLAYED;
	case EBADMSG:
		return NOISE_VERDICT_DECRYPT_FAILED;
	default:
		return NOISE_VERDICT_CRYPTO_ERROR;
	}
}

// The doors before X25519, cheapest first.
static enum noise_verdict
admit(struct noise_node *n,
      uint64_t now_ns,
      const struct ip_endpoint *source,
      const void *bytes,
      size_t size,
      struct noise_output *out)
{
	struct noise_crypto *c = &n->shared.crypto;
	struct noise_msg_cookie_reply reply;

	if (!noise_cookie_mac1_check(&n->checker, c, bytes, size))
		return NOISE_VERDICT_BAD_MAC1;
	if (!noise_limiter_count(&n->limiter, now_ns))
		return NOISE_VERDICT_OK;
	if (noise_cookie_mac2_check(&n->checker, c, now_ns, source, bytes, size))
		return noise_limiter_source_take(&n->limiter, now_ns, source)
			? NOISE_VERDICT_OK
			: NOISE_VERDICT_RATE_LIMITED;
	if (noise_cookie_reply_create(&n->checker, c, now_ns, source, bytes, size, &reply) < 0)
		return NOISE_VERDICT_CRYPTO_ERROR;
	memcpy(out->bytes, &reply, sizeof(reply));
	out->size = sizeof(reply);
	return NOISE_VERDICT_COOKIE_SENT;
}

static enum noise_verdict handle_initiation(
	struct noise_node *n,
	uint64_t now_ns,
	const struct noise_msg_initiation *msg,
	struct noise_peer **peer,
	struct noise_output *out)
{
	struct noise_initiation_opened opened;
	int rc = noise_initiation_open(&n->shared.crypto, &n->shared.identity, msg, &opened);

	if (rc < 0)
		return verdict_of(rc);
	*peer = noise_node_peer_by_key(n, opened.remote_public_key);
	if (*peer != NULL)
		rc = noise_peer_handle_initiation(*peer, now_ns, &opened, out);
	sodium_memzero(&opened, sizeof(opened));
	return *peer != NULL ? verdict_of(rc) : NOISE_VERDICT_UNKNOWN_PEER;
}

static enum noise_verdict handle_response(
	struct noise_node *n,
	uint64_t now_ns,
	const struct noise_msg_response *msg,
	struct noise_peer **peer,
	struct noise_output *out)
{
	*peer = noise_node_peer_by_connection(n, noise_le32_get(msg->receiver_index) >> 8);
	if (*peer == NULL)
		return NOISE_VERDICT_UNKNOWN_INDEX;
	return verdict_of(noise_peer_handle_response(*peer, now_ns, msg, out));
}

static enum noise_verdict handle_cookie_reply(
	struct noise_node *n,
	uint64_t now_ns,
	const struct noise_msg_cookie_reply *msg,
	struct noise_peer **peer)
{
	*peer = noise_node_peer_by_connection(n, noise_le32_get(msg->receiver_index) >> 8);
	if (*peer == NULL)
		return NOISE_VERDICT_UNKNOWN_INDEX;
	if (noise_peer_handle_cookie_reply(*peer, now_ns, msg) < 0)
		return NOISE_VERDICT_COOKIE_REFUSED;
	return NOISE_VERDICT_OK;
}

static enum noise_verdict frame_check(const void *bytes, size_t size, uint32_t *type)
{
	static const size_t sizes[] = {
		[NOISE_MSG_INITIATION] = sizeof(struct noise_msg_initiation),
		[NOISE_MSG_RESPONSE] = sizeof(struct noise_msg_response),
		[NOISE_MSG_COOKIE_REPLY] = sizeof(struct noise_msg_cookie_reply),
	};

	if (size < sizeof(struct noise_le32))
		return NOISE_VERDICT_TOO_SHORT;
	*type = noise_msg_type_get(bytes, size);
	if (*type == 0 || *type == NOISE_MSG_DATA)
		return NOISE_VERDICT_BAD_TYPE;
	if (size < sizes[*type])
		return NOISE_VERDICT_TOO_SHORT;
	return size == sizes[*type] ? NOISE_VERDICT_OK : NOISE_VERDICT_BAD_SIZE;
}

enum noise_verdict noise_node_handle_handshake(
	struct noise_node *n,
	uint64_t now_ns,
	const struct ip_endpoint *source,
	const void *bytes,
	size_t size,
	struct noise_peer **peer,
	struct noise_output *out)
{
	enum noise_verdict v;
	uint32_t type;

	*peer = NULL;
	memset(out, 0, sizeof(*out));
	v = frame_check(bytes, size, &type);
	if (v != NOISE_VERDICT_OK)
		return v;
	if (type == NOISE_MSG_COOKIE_REPLY)
		return handle_cookie_reply(n, now_ns, bytes, peer);
	v = admit(n, now_ns, source, bytes, size, out);
	if (v != NOISE_VERDICT_OK)
		return v;
	if (type == NOISE_MSG_INITIATION)
		return handle_initiation(n, now_ns, bytes, peer, out);
	return handle_response(n, now_ns, bytes, peer, out);
}
