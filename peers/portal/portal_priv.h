// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include "peers/portal/agent.h"
#include "peers/portal/formula.h"
#include "peers/portal/portal.h"

#include <sys/queue.h>

/**
 * What the files of the portal core share: devices, relays, channels, authorizations, and the requests
 * that wait for a gateway. Nothing outside portal.c, channel*.c, authorize.c, publish.c and
 * view.c includes this.
 */

#define WS_CLOSE_GOING_AWAY 1001
#define WS_CLOSE_PROTOCOL_ERROR 1002
#define WS_CLOSE_TOO_BIG 1009
#define WS_CLOSE_INTERNAL 1011
#define WS_CLOSE_RESTART 1012

/** What a peer may leave unread before it is cut off. */
#define CHANNEL_QUEUE_SIZE_MAX (16U << 20)

/** One grant in force: this client reaches this resource through this gateway until then. */
struct authorization {
	LIST_ENTRY(authorization) of_client;
	struct ident id;
	struct ident resource_id;
	struct ident gateway_id;
	struct ident rule_id;
	char basis[GRANT_BASIS_SIZE]; // of what it rests on, authorization_basis()
	int64_t expires_at; // Unix seconds
};

/** A gateway or a client's device, connected or not. */
struct device {
	const struct store_device *stored;
	struct channel *channel; // joined channel, or NULL
	struct ident owner; // policy_gateway.id or policy_client.id
	bool is_gateway;
	char *name;
	LIST_HEAD(, authorization) authorizations; // clients only
};

/** A request that waits for its gateway's answer. */
struct pending {
	TAILQ_ENTRY(pending)
	link; // oldest first; all wait equally long, so also next to expire first
	char ref[FORMULA_REF_TEXT_SIZE];
	int64_t deadline_ms;
	struct channel *client;
	struct channel *gateway;
	struct ident resource_id;
	json_t *answer; // payload for the client once the gateway agrees
};

enum channel_kind {
	CHANNEL_CLIENT,
	CHANNEL_GATEWAY,
	CHANNEL_RELAY,
};

/** Relays that a peer is given at most. */
#define RELAYS_GIVEN_MAX 2

/** A connected relay. It is not stored: a restarted one is another one. */
struct relay_peer {
	struct ident id; // from the secret; none before the join
	char *name;
	struct ip_endpoint addresses[2]; // IPv4 first
	size_t n_addresses;
	char secret[256]; // stamp secret
};

/** One websocket. */
struct channel {
	TAILQ_ENTRY(channel) link;
	TAILQ_ENTRY(channel) dirty_link;
	struct portal *portal;
	struct device *device; // NULL for a relay
	struct relay_peer *relay; // of a relay only
	TAILQ_ENTRY(channel) relay_link; // joined relays
	struct ident given[RELAYS_GIVEN_MAX]; // relays that this peer has been told of last
	size_t n_given;
	enum channel_kind kind;
	unsigned version; // 1: "flow" names, 2: "authorization" names
	bool is_joined;
	bool has_iceless;
	bool is_dirty;
	uint16_t close_code; // 0: stays open
	int64_t heard_ms; // monotonic, when the peer last said something; 0: never
	char public_key[FORMULA_KEY_TEXT_SIZE];
	struct agent agent;
	struct policy_token token; // the one it came with
	char *ip;
	void *user;
	struct frame *frames; // oldest first
	struct frame **frames_end;
	size_t queued_size;
};

struct portal {
	struct policy *policy;
	struct store *store;
	random_fn random;
	int64_t visible_at; // Unix time at which peers' view of the policy was last worked out
	int64_t next_expiry; // Unix time at which it changes by itself
	void *devices; // tsearch tree of struct device by id
	TAILQ_HEAD(, channel) channels;
	TAILQ_HEAD(, channel) dirty;
	TAILQ_HEAD(, channel) relays; // joined
	int64_t presence_ms; // when peers hear of relays that came or went; INT64_MAX: nothing new
	TAILQ_HEAD(, pending) pending;
};

// portal.c
struct device *portal_device_find(const struct portal *p, const char *id);
/** Adds one that is not there yet. */
struct device *portal_device_add(
	struct portal *p,
	const struct store_device *stored,
	bool is_gateway,
	const struct ident *owner,
	const char *name);
/** Calls @p visit for every device; it may not add any. */
void portal_device_walk(struct portal *p, void (*visit)(struct device *, void *), void *arg);
const struct policy_client *portal_client_of(const struct portal *p, const struct device *device);
const struct policy_gateway *portal_gateway_of(const struct portal *p, const struct device *device);

// publish.c
/** Tells the peers what differs between @p old as last seen and @p new now; may be the same. */
void publish_changes(
	struct portal *p,
	const struct policy *old,
	const struct policy *new,
	struct instant now);

/** Rejects access at the gateway, if it is there, and frees @p a. */
void publish_withdraw(struct portal *p, struct device *device, struct authorization *a);

// channel.c
/** Queues an event; takes @p payload. */
void channel_push(struct channel *ch, const char *event, json_t *payload);
/** Queues a reply; takes @p response. @p ref and @p topic are borrowed. */
void channel_reply(
	struct channel *ch,
	const char *topic,
	const char *status,
	json_t *response,
	json_t *ref);
void channel_reply_ok(struct channel *ch, json_t *ref);
void channel_reply_error(struct channel *ch, const char *reason, json_t *ref);
/** Takes the channel out of everything that a joined one is part of. */
void channel_detach(struct channel *ch, struct instant now);
/** Names the peer for the log. */
const char *channel_id(const struct channel *ch);
/** Tells the peer that its token is gone, which ends official peers, and closes. */
void channel_expel(struct channel *ch);
/** @return whether a payload's member is an array of strings; absent is not. */
bool channel_is_text_array(const json_t *array);

// channel_client.c, channel_gateway.c
void channel_client_joined(struct channel *ch, struct instant now);
/** @return false when the event or its payload is not understood. */
bool channel_client_event(
	struct channel *ch,
	const char *event,
	json_t *payload,
	json_t *ref,
	struct instant now);
void channel_gateway_joined(struct channel *ch, struct instant now);
bool channel_gateway_event(
	struct channel *ch,
	const char *event,
	json_t *payload,
	json_t *ref,
	struct instant now);

// relays.c
/** A relay's join. @return false when the payload has no secret to work with */
bool relays_join(struct channel *ch, const json_t *payload, struct instant now);
/** A relay is no longer there; also before it joined. */
void relays_leave(struct channel *ch, struct instant now);
/** Something about the relays is different: peers hear of it in a second. */
void relays_changed(struct portal *p, struct instant now);
/** Whether two policies hand out different TURN servers. */
bool relays_policy_differs(const struct policy *a, const struct policy *b);
void relays_tick(struct portal *p, struct instant now);
/** Chooses relays for this peer and remembers which. @return owned list with credentials */
json_t *relays_give(struct channel *ch);
/** Sends relays_presence with a new choice. */
void relays_push(struct channel *ch);
void relay_peer_destroy(struct relay_peer *r);

// authorize.c
void authorize_request(
	struct channel *client,
	const char *resource_id,
	const json_t *connected_gateway_ids,
	struct instant now);
/** The gateway's answer. @return false if the reference was never made for this gateway. */
bool authorize_answer(struct channel *gateway, const char *ref);
/** Drops what waits for or from this channel; clients hear "offline". */
void authorize_channel_gone(struct channel *ch);
/** Drops what this client asked for about this resource. */
void authorize_pending_cancel(
	struct portal *p,
	const struct device *client,
	const char *resource_id);
void authorize_tick(struct portal *p, struct instant now);
/** Frees it; the store keeps it. */
void authorization_destroy(struct authorization *a);
/** Frees it and has the store forget it. */
void authorization_end(struct portal *p, const struct device *client, struct authorization *a);
/** Digest of what must not change under an authorization: the resource's target, the rule's terms. */
void authorization_basis(
	char out[GRANT_BASIS_SIZE],
	const struct policy *policy,
	const struct policy_resource *resource,
	const struct policy_rule *rule);
/** Those of the store, of a portal that ran before; to be done once. */
void authorizations_restore(struct portal *p);

// view.c
json_t *view_flow_logs(void);
json_t *view_client_resource(
	const struct policy *policy,
	const struct policy_resource *resource,
	const struct agent *client);
/** For the operator: as the newest client sees it. */
json_t *
view_client_resource_full(const struct policy *policy, const struct policy_resource *resource);
json_t *view_gateway_resource(const struct policy_resource *resource);
json_t *view_client_init(struct channel *ch, int64_t now);
json_t *view_gateway_init(struct channel *ch, int64_t now);
/** RFC 3339 UTC text. */
void view_time(int64_t unix_s, char out[32]);
