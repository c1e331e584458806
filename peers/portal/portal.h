// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include "peers/portal/policy.h"
#include "peers/portal/store.h"

#include <jansson.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/**
 * The portal itself, without sockets: peers' connect requests and text frames go in with the time,
 * frames for them come out of each channel's queue. server.c drives it from libwebsockets, tests
 * drive it from tables.
 *
 * After any call that takes a portal or a channel, portal_dirty_pop() names the channels that have
 * something to send or want to be closed. Calls never free a channel: only channel_close_done()
 * does, when its socket is gone.
 *
 * Ownership: the portal owns channels and its policy, borrows the store. Thread-safety: one thread.
 */

struct portal;
struct channel;

/** Both clocks at one moment: deadlines run on the first, authorizations expire on the second. */
struct instant {
	int64_t mono_ms; // monotonic, any origin
	int64_t unix_s; // wall clock
};

/** What a peer asks for when it connects; texts are borrowed, NULL where absent. */
struct connect_request {
	const char *path; // without query
	const char *token; // from the header, else from the query
	const char *external_id;
	const char *name;
	const char *public_key; // not of a relay
	const char *user_agent;
	const char *ip; // of the peer, for attribution only
	const char *ipv4; // of a relay, these three: where it serves
	const char *ipv6;
	const char *port;
};

/** Why a connect is refused, as an HTTP answer. */
struct problem {
	unsigned status;
	const char *title;
	const char *code; // NULL: a plain text answer with the title
	const char *detail;
};

/** A frame on its way out. */
struct frame {
	struct frame *next;
	size_t size;
	char text[]; // JSON, no NUL
};

/**
 * @param policy taken
 * @param store borrowed
 * @param random source of ids, references and gateway choice
 */
struct portal *
portal_create(struct policy *policy, struct store *store, random_fn random, struct instant now);
/** Frees the portal and its channels, without telling the peers. Accepts NULL. */
void portal_destroy(struct portal *p);
/** The policy in force, borrowed until the next portal_publish(). */
const struct policy *portal_policy(const struct portal *p);

/**
 * Puts a policy in force and tells the peers what changed for them: resources that appeared,
 * changed or went, authorizations that no longer hold, tokens that no longer exist.
 * @param policy taken
 */
void portal_publish(struct portal *p, struct policy *policy, struct instant now);

/**
 * Rejects access at the gateway alone; the policy stays, so that the client may ask again.
 * @return number of authorizations that were withdrawn
 */
size_t portal_reject(
	struct portal *p,
	const struct policy_client *client,
	const struct policy_resource *resource,
	struct instant now);

/** State of gateways, clients and authorizations for the operator. @return owned */
json_t *portal_status(struct portal *p, struct instant now);

/** When portal_tick() wants to run, on the monotonic clock; INT64_MAX for never. */
int64_t portal_next_deadline(const struct portal *p, struct instant now);
/** Runs what is due. Other calls do it too. */
void portal_tick(struct portal *p, struct instant now);

/** @return 0 and an untouched *problem, or -EACCES with *problem filled. Changes nothing. */
[[nodiscard]] int portal_admit(
	struct portal *p,
	const struct connect_request *request,
	struct instant now,
	struct problem *problem);
/**
 * Makes the channel of an admitted peer.
 * @return NULL with *problem filled
 */
struct channel *portal_connect(
	struct portal *p,
	const struct connect_request *request,
	struct instant now,
	struct problem *problem);
/** Asks every channel to close with @p code. */
void portal_close_all(struct portal *p, uint16_t code);

/** Next channel with frames or a close to send, or NULL. */
struct channel *portal_dirty_pop(struct portal *p);

/** Handles one complete text frame. */
void channel_receive(struct channel *ch, const char *text, size_t size, struct instant now);
/** Takes the next outgoing frame, or NULL. @return owned, free() it */
struct frame *channel_frame_pop(struct channel *ch);
/** Code to close the socket with once no frame is left; 0: stay open. */
uint16_t channel_close_code(const struct channel *ch);
/** Asks for a close; the first code wins. */
void channel_close(struct channel *ch, uint16_t code);
/** The socket is gone: frees the channel. Accepts NULL. */
void channel_destroy(struct channel *ch, struct instant now);

/** Whatever belongs to the socket, set by the driver. */
void channel_set_user(struct channel *ch, void *user);
void *channel_user(const struct channel *ch);
