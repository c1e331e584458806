// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include "control/portal/login.h"
#include "control/portal/types.h"

#include <jansson.h>

#include <stdbool.h>
#include <uv.h>

/**
 * A lasting connection to the portal on a libuv loop: websocket (libwebsockets), channel
 * (phoenix.h), retries (backoff.h), dialect fallback v2 -> v1 on 404 and 308. Never gives up but for
 * HTTP 401 with code invalid_token or missing_token.
 *
 * While it is down nothing is queued: session_send() says false. The owner holds candidate changes
 * (candidates_hold.h) and flushes them when the init after on_joined() has been handled.
 *
 * Ownership: the creator owns the session until session_close() or session_destroy(), after which
 * it frees itself on the loop; the loop must run until then. Names are resolved in libuv's thread pool,
 * so the loop never blocks. Thread-safety: everything, callbacks too, on the loop's thread.
 * Callbacks may call session_send() and session_close(), not session_destroy().
 */

/** Time for the TCP connection, and for TCP, TLS and the upgrade together. */
#define SESSION_CONNECT_MS 5000
#define SESSION_HANDSHAKE_MS 15000
/** Longest time that session_close() waits for the close handshake. */
#define SESSION_CLOSE_MS 1000

struct session_callbacks {
	/** The channel is joined; the portal's init follows. Called again after each reconnect. */
	void (*on_joined)(void *ctx);
	/** A message on our topic. @p payload is borrowed. */
	void (*on_message)(void *ctx, const char *event, const json_t *payload);
	/** Was joined and is not any more; it reconnects by itself. */
	void (*on_down)(void *ctx, const char *reason);
	/** The portal refuses our token for good; nothing more happens until session_close(). */
	void (*on_fatal)(void *ctx, const char *reason);
	/** The session is gone and its memory freed: last call. May be NULL. */
	void (*on_closed)(void *ctx);
};

/** Everything is copied but ctx. */
struct session_config {
	struct login_params login;
	const char *ca_file; // PEM, in addition to the system's trust store; NULL: none
	const char *user_agent;
	const json_t *join_payload; // what the join carries; NULL: null
	struct session_callbacks callbacks;
	void *ctx;
};

struct session;

/**
 * Starts connecting.
 * @return NULL with errno EINVAL (@p err says which part of the configuration) or ENOMEM
 */
struct session *
session_create(uv_loop_t *loop, const struct session_config *config, struct portal_error *err);
bool session_is_joined(const struct session *s);
/** The dialect of the current or last join; the push builders need it. */
enum portal_dialect session_dialect(const struct session *s);
/** Sends a message; takes push.payload in any case. @return false if it was dropped (not joined) */
bool session_send(struct session *s, struct portal_push push);
/** Closes with code 1000, waits at most SESSION_CLOSE_MS, then frees everything. Idempotent. */
void session_close(struct session *s);
/** Drops the connection without a close handshake. Accepts NULL. The loop must still run once. */
void session_destroy(struct session *s);
