// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "control/base/log.h"
#include "peers/relay/relay_priv.h"

#include <errno.h>
#include <string.h>

#define LOG_AREA "relay.request"
#define TRANSPORT_UDP 17
#define FAMILY_V4 1
#define FAMILY_V6 2
#define UNKNOWN_MAX 8

static const struct {
	unsigned code;
	const char *reason;
} reasons[] = {
	{400, "Bad Request"},
	{401, "Unauthorized"},
	{403, "Forbidden"},
	{420, "Unknown Attribute"},
	{437, "Allocation Mismatch"},
	{438, "Stale Nonce"},
	{440, "Address Family not Supported"},
	{441, "Wrong Credentials"},
	{442, "Unsupported Transport Protocol"},
	{443, "Peer Address Family Mismatch"},
	{508, "Insufficient Capacity"},
};

// A request on its way to an answer.
struct request {
	struct stun_msg msg;
	struct relay_now now;
	struct ip_endpoint from;
	struct relay_client *client; // NULL: no state
	char username[CREDENTIALS_USERNAME_SIZE]; // "" if none or not of our form
	int64_t expires_at; // of the user name
	uint8_t key[STUN_LONG_TERM_KEY_SIZE]; // of the user name
	uint16_t unknown[UNKNOWN_MAX];
	size_t n_unknown;
	bool has_transport;
	bool has_family;
	bool has_additional;
	uint8_t transport;
	uint8_t family;
	uint8_t additional;
};

static bool is_known(uint16_t type)
{
	static const uint16_t known[] = {
		STUN_ATTR_MAPPED_ADDRESS,
		STUN_ATTR_USERNAME,
		STUN_ATTR_MESSAGE_INTEGRITY,
		STUN_ATTR_ERROR_CODE,
		STUN_ATTR_UNKNOWN_ATTRIBUTES,
		STUN_ATTR_CHANNEL_NUMBER,
		STUN_ATTR_LIFETIME,
		STUN_ATTR_XOR_PEER_ADDRESS,
		STUN_ATTR_DATA,
		STUN_ATTR_REALM,
		STUN_ATTR_NONCE,
		STUN_ATTR_XOR_RELAYED_ADDRESS,
		STUN_ATTR_REQUESTED_ADDRESS_FAMILY,
		STUN_ATTR_REQUESTED_TRANSPORT,
		STUN_ATTR_XOR_MAPPED_ADDRESS,
		STUN_ATTR_PRIORITY,
		STUN_ATTR_USE_CANDIDATE,
	};

	// RFC 8489 14: from 0x8000 on they may be ignored.
	if (type >= 0x8000)
		return true;
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		if (known[i] == type)
			return true;
	}
	return false;
}

// The first byte of a 4-byte attribute; of a repeated one the first counts.
static bool read_byte(const struct stun_attr *attr, bool *has, uint8_t *out)
{
	if (*has)
		return true;
	if (attr->value.size != 4)
		return false;
	*has = true;
	*out = attr->value.data[0];
	return true;
}

// What the message parser does not keep.
static bool attributes_read(struct request *rq)
{
	struct stun_attr attr;
	bool is_good = true;

	for (size_t pos = 0; is_good && stun_attr_next(&rq->msg, &pos, &attr);) {
		if (attr.type == STUN_ATTR_MESSAGE_INTEGRITY)
			break;
		if (attr.type == STUN_ATTR_REQUESTED_TRANSPORT)
			is_good = read_byte(&attr, &rq->has_transport, &rq->transport);
		else if (attr.type == STUN_ATTR_REQUESTED_ADDRESS_FAMILY)
			is_good = read_byte(&attr, &rq->has_family, &rq->family);
		else if (attr.type == STUN_ATTR_ADDITIONAL_ADDRESS_FAMILY)
			is_good = read_byte(&attr, &rq->has_additional, &rq->additional);
		else if (!is_known(attr.type) && rq->n_unknown < UNKNOWN_MAX)
			rq->unknown[rq->n_unknown++] = attr.type;
	}
	return is_good;
}

// User name, its expiry and the key that must have signed the request. A name that is not of our
// form has no key: its answers are not signed.
static void key_derive(const struct relay *r, struct request *rq)
{
	const struct stun_bytes *name = &rq->msg.username;
	char password[CREDENTIALS_PASSWORD_SIZE];

	if ((rq->msg.has & STUN_HAS_USERNAME) == 0 || name->size >= sizeof(rq->username)
	    || memchr(name->data, 0, name->size) != NULL)
		return;
	memcpy(rq->username, name->data, name->size);
	if (credentials_of_username(password, &rq->expires_at, r->secret, rq->username) < 0
	    || stun_long_term_key(rq->key, rq->username, CREDENTIALS_REALM, password) < 0)
		memset(rq->username, 0, sizeof(rq->username));
	sodium_memzero(password, sizeof(password));
}

static void
answer_start(struct relay *r, const struct request *rq, enum stun_class cls, struct stun_writer *w)
{
	stun_writer_init(w, r->answer, sizeof(r->answer), cls, rq->msg.method, &rq->msg.txid);
}

// Ends the answer and puts it where the request was.
static bool
answer_finish(struct relay *r, struct request *rq, struct stun_writer *w, struct relay_packet *p)
{
	int size;

	stun_writer_add(w, STUN_ATTR_SOFTWARE, r->software, strlen(r->software));
	if (rq->msg.method != STUN_METHOD_BINDING && rq->username[0] != '\0')
		stun_writer_add_integrity(w, r->mac, rq->key, sizeof(rq->key));
	sodium_memzero(rq->key, sizeof(rq->key));
	size = stun_writer_finish(w);
	if (size < 0 || (size_t)size > p->cap)
		return relay_drop(r, RELAY_DROP_NO_ANSWER);
	memcpy(p->data, r->answer, (size_t)size);
	p->size = (size_t)size;
	return true;
}

static bool answer_error(struct relay *r, struct request *rq, unsigned code, struct relay_packet *p)
{
	char nonce[CREDENTIALS_UUID_SIZE];
	struct stun_writer w;
	size_t i = 0;

	while (reasons[i].code != code)
		i++;
	r->stats.errors++;
	LOG(DEBUG, "refused method=%u error=%u unknown=%#x", rq->msg.method, code, rq->unknown[0]);
	answer_start(r, rq, STUN_CLASS_ERROR, &w);
	stun_writer_add_error(&w, code, reasons[i].reason);
	if (code == 401 || code == 438) {
		relay_nonce_current(r, rq->client, &rq->from, rq->now.mono_ms, nonce);
		stun_writer_add(
			&w, STUN_ATTR_REALM, CREDENTIALS_REALM, sizeof(CREDENTIALS_REALM) - 1);
		stun_writer_add(&w, STUN_ATTR_NONCE, nonce, strlen(nonce));
	}
	if (code == 420) {
		uint8_t types[2 * UNKNOWN_MAX];

		for (size_t k = 0; k < rq->n_unknown; k++) {
			types[2 * k] = (uint8_t)(rq->unknown[k] >> 8);
			types[2 * k + 1] = (uint8_t)rq->unknown[k];
		}
		stun_writer_add(&w, STUN_ATTR_UNKNOWN_ATTRIBUTES, types, 2 * rq->n_unknown);
	}
	return answer_finish(r, rq, &w, p);
}

static bool answer_binding(struct relay *r, struct request *rq, struct relay_packet *p)
{
	struct stun_writer w;

	answer_start(r, rq, STUN_CLASS_SUCCESS, &w);
	stun_writer_add_xor_address(&w, STUN_ATTR_XOR_MAPPED_ADDRESS, &rq->from);
	return answer_finish(r, rq, &w, p);
}

// Long-term credentials, RFC 8489 9.2.4, in the dialect's order. @return 0 or an error code
static unsigned authenticate(struct relay *r, struct request *rq)
{
	const unsigned needed = STUN_HAS_USERNAME | STUN_HAS_NONCE | STUN_HAS_INTEGRITY;

	if ((rq->msg.has & needed) != needed)
		return 401;
	if (!relay_nonce_check(r, rq->client, &rq->from, rq->now.mono_ms, &rq->msg.nonce))
		return 438;
	if (rq->username[0] == '\0' || rq->expires_at < rq->now.unix_s
	    || !stun_msg_verify(r->mac, &rq->msg, rq->key, sizeof(rq->key)))
		return 401;
	// From here on the sender is known, and is who gets the answers: state may be kept.
	if (rq->client == NULL) {
		rq->client = relay_client_add(r, &rq->from);
		if (rq->client == NULL)
			return 508;
		memcpy(rq->client->nonce, rq->msg.nonce.data, CREDENTIALS_UUID_SIZE - 1);
	}
	rq->client->nonce_uses++;
	return rq->n_unknown > 0 ? 420 : 0;
}

// Families to allocate, RFC 8656 7.2. @return 0 or an error code
static unsigned families_choose(const struct relay *r, const struct request *rq, unsigned *out)
{
	const unsigned served = relay_families(r);

	if (rq->has_additional) {
		if (rq->has_family || rq->additional != FAMILY_V6)
			return 400;
		// A relay with one family gives just that.
		*out = served;
		return 0;
	}
	if (!rq->has_family || rq->family == FAMILY_V4)
		*out = RELAY_V4;
	else if (rq->family == FAMILY_V6)
		*out = RELAY_V6;
	else
		return 440;
	return (*out & served) != 0 ? 0 : 440;
}

static uint32_t lifetime_grant(const struct request *rq)
{
	if ((rq->msg.has & STUN_HAS_LIFETIME) == 0 || rq->msg.lifetime_s < RELAY_LIFETIME_DEFAULT_S)
		return RELAY_LIFETIME_DEFAULT_S;
	return rq->msg.lifetime_s < RELAY_LIFETIME_MAX_S ? rq->msg.lifetime_s
							 : RELAY_LIFETIME_MAX_S;
}

static bool answer_allocated(
	struct relay *r,
	struct request *rq,
	const struct relay_allocation *a,
	struct relay_packet *p)
{
	const struct ip_endpoint v4 = {r->config.public_v4, a->port};
	const struct ip_endpoint v6 = {r->config.public_v6, a->port};
	struct stun_writer w;

	answer_start(r, rq, STUN_CLASS_SUCCESS, &w);
	if (a->families & RELAY_V4)
		stun_writer_add_xor_address(&w, STUN_ATTR_XOR_RELAYED_ADDRESS, &v4);
	if (a->families & RELAY_V6)
		stun_writer_add_xor_address(&w, STUN_ATTR_XOR_RELAYED_ADDRESS, &v6);
	stun_writer_add_xor_address(&w, STUN_ATTR_XOR_MAPPED_ADDRESS, &rq->from);
	stun_writer_add_u32(&w, STUN_ATTR_LIFETIME, a->lifetime_s);
	return answer_finish(r, rq, &w, p);
}

static bool allocate(struct relay *r, struct request *rq, struct relay_packet *p)
{
	struct relay_allocation *a = rq->client->allocation;
	unsigned families;
	unsigned code;

	if (a != NULL) {
		// Our answer was lost and this is the same request again.
		if (memcmp(&a->txid, &rq->msg.txid, sizeof(a->txid)) == 0
		    && strcmp(a->username, rq->username) == 0)
			return answer_allocated(r, rq, a, p);
		return answer_error(r, rq, 437, p);
	}
	if (!rq->has_transport)
		return answer_error(r, rq, 400, p);
	if (rq->transport != TRANSPORT_UDP)
		return answer_error(r, rq, 442, p);
	code = families_choose(r, rq, &families);
	if (code != 0)
		return answer_error(r, rq, code, p);
	a = relay_allocation_of_user(r, rq->username);
	if (a != NULL)
		relay_allocation_del(r, a);
	a = relay_allocation_add(
		r, rq->client, rq->username, families, rq->now.mono_ms, lifetime_grant(rq));
	if (a == NULL)
		return answer_error(r, rq, 508, p);
	a->txid = rq->msg.txid;
	return answer_allocated(r, rq, a, p);
}

// The allocation that a request is about. @return NULL with an error code
static struct relay_allocation *own_allocation(const struct request *rq, unsigned *code)
{
	struct relay_allocation *a = rq->client->allocation;

	*code = 437;
	if (a == NULL)
		return NULL;
	*code = 441;
	return strcmp(a->username, rq->username) == 0 ? a : NULL;
}

static bool refresh(struct relay *r, struct request *rq, struct relay_packet *p)
{
	uint32_t lifetime_s = lifetime_grant(rq);
	struct relay_allocation *a;
	struct stun_writer w;
	unsigned code;

	a = own_allocation(rq, &code);
	if (a == NULL)
		return answer_error(r, rq, code, p);
	if ((rq->msg.has & STUN_HAS_LIFETIME) != 0 && rq->msg.lifetime_s == 0) {
		lifetime_s = 0;
		relay_allocation_del(r, a);
	} else {
		relay_allocation_refresh(r, a, rq->now.mono_ms, lifetime_s);
	}
	answer_start(r, rq, STUN_CLASS_SUCCESS, &w);
	stun_writer_add_u32(&w, STUN_ATTR_LIFETIME, lifetime_s);
	return answer_finish(r, rq, &w, p);
}

// Whether a peer can be one. Private addresses can: peers of an allocation behind the same NAT.
// Loopback only where the relay itself is there, for tests; a port of the host is not for others.
static bool is_peer_allowed(const struct relay *r, const struct ip_endpoint *peer)
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
	static const uint8_t zeros[16];
	const struct ip_addr *self = relay_public(r, peer->addr.family);
	const uint8_t *b = peer->addr.bytes;

	if (peer->port == 0)
		return false;
	if (peer->addr.family == IP_FAMILY_V4) {
		// 0.0.0.0/8, 127.0.0.0/8, and multicast and what is above.
		return b[0] != 0 && b[0] < 224 && (b[0] != 127 || self->bytes[0] == 127);
	}
	if (b[0] == 0xff || memcmp(b, mapped, sizeof(mapped)) == 0)
		return false;
	// :: and ::1
	return memcmp(b, zeros, 15) != 0 || b[15] > 1 || ip_addr_eq(&peer->addr, self);
}

static bool channel_bind(struct relay *r, struct request *rq, struct relay_packet *p)
{
	const unsigned needed = STUN_HAS_CHANNEL_NUMBER | STUN_HAS_PEER_ADDRESS;
	struct relay_allocation *a;
	struct stun_writer w;
	unsigned code;
	int rc;

	a = own_allocation(rq, &code);
	if (a == NULL)
		return answer_error(r, rq, code, p);
	if ((rq->msg.has & needed) != needed || rq->msg.channel < RELAY_CHANNEL_FIRST
	    || rq->msg.channel > RELAY_CHANNEL_LAST)
		return answer_error(r, rq, 400, p);
	if ((relay_family_bit(&rq->msg.peer.addr) & a->families) == 0)
		return answer_error(r, rq, 443, p);
	if (!is_peer_allowed(r, &rq->msg.peer))
		return answer_error(r, rq, 403, p);
	rc = relay_channel_bind(r, a, rq->msg.channel, &rq->msg.peer, rq->now.mono_ms);
	if (rc < 0)
		return answer_error(r, rq, rc == -EEXIST ? 400 : 508, p);
	answer_start(r, rq, STUN_CLASS_SUCCESS, &w);
	return answer_finish(r, rq, &w, p);
}

static bool create_permission(struct relay *r, struct request *rq, struct relay_packet *p)
{
	struct stun_writer w;

	answer_start(r, rq, STUN_CLASS_SUCCESS, &w);
	return answer_finish(r, rq, &w, p);
}

static bool dispatch(struct relay *r, struct request *rq, struct relay_packet *p)
{
	unsigned code;

	if (rq->msg.method == STUN_METHOD_BINDING)
		return rq->n_unknown > 0 ? answer_error(r, rq, 420, p) : answer_binding(r, rq, p);
	key_derive(r, rq);
	rq->client = relay_client_find(r, &rq->from);
	// Gone on time, also when the timer is late.
	if (rq->client != NULL && rq->client->allocation != NULL
	    && rq->now.mono_ms >= rq->client->allocation->expires_ms)
		relay_allocation_del(r, rq->client->allocation);
	code = authenticate(r, rq);
	if (code != 0)
		return answer_error(r, rq, code, p);
	switch (rq->msg.method) {
	case STUN_METHOD_ALLOCATE:
		return allocate(r, rq, p);
	case STUN_METHOD_REFRESH:
		return refresh(r, rq, p);
	case STUN_METHOD_CHANNEL_BIND:
		return channel_bind(r, rq, p);
	case STUN_METHOD_CREATE_PERMISSION:
		return create_permission(r, rq, p);
	default:
		return answer_error(r, rq, 400, p);
	}
}

bool relay_request_handle(struct relay *r, struct relay_now now, struct relay_packet *p)
{
	struct request rq = {.now = now, .from = p->remote};
	bool is_answered;

	if (!stun_is_message(p->data, p->size))
		return relay_drop(r, RELAY_DROP_NOT_STUN);
	if (stun_msg_parse(&rq.msg, p->data, p->size) < 0 || !attributes_read(&rq))
		return relay_drop(r, RELAY_DROP_BAD_STUN);
	if (rq.msg.cls != STUN_CLASS_REQUEST)
		return relay_drop(r, RELAY_DROP_NOT_REQUEST);
	r->stats.requests++;
	is_answered = dispatch(r, &rq, p);
	sodium_memzero(rq.key, sizeof(rq.key));
	return is_answered;
}
