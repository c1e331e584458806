// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include "control/base/addr.h"
#include "control/portal/login.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

/**
 * One websocket client connection at a time, by libwebsockets on a foreign libuv loop. Knows HTTP and
 * frames; knows nothing of channels or retries. Internal to control/portal.
 *
 * Ownership: the creator, until transport_destroy(); it then frees itself and says so by
 * on_destroyed. Callbacks run inside libwebsockets: they may call transport_want_write() and
 * transport_close(), nothing else of this file.
 * Thread-safety: all on the loop's thread.
 */

/** Why a connection is no more. */
struct transport_end {
	bool was_open;
	int http_status; // of a refused upgrade; 0: no HTTP answer
	int64_t retry_after_ms; // BACKOFF_NO_RETRY_AFTER if none
	char code[64]; // of the problem body of a 401
	char text[160]; // for the log
};

struct transport_callbacks {
	/** The upgrade succeeded. */
	void (*on_open)(void *ctx);
	/** A whole text message. */
	void (*on_message)(void *ctx, const char *text, size_t size);
	/** There is room to send: the next message (malloc) or NULL. */
	char *(*next_frame)(void *ctx, size_t *size);
	/** The connection or the attempt ended by itself or after transport_close(). */
	void (*on_gone)(void *ctx, const struct transport_end *end);
	/** Last call after transport_destroy(). */
	void (*on_destroyed)(void *ctx);
};

struct transport_config {
	const char *ca_file; // borrowed during create only
	const char *user_agent; // borrowed for life
	const char *token; // borrowed for life
	bool is_tls;
	struct transport_callbacks callbacks;
	void *ctx;
};

struct transport;

/** @return NULL with errno ENOMEM or EIO (libwebsockets refused; its reason is in the log) */
struct transport *transport_create(uv_loop_t *loop, const struct transport_config *config);
/** Starts a connection to @p addr. @return 0, -EBUSY, -EIO (failed at once; no on_gone follows) */
[[nodiscard]] int transport_connect(
	struct transport *t,
	const struct ip_addr *addr,
	const struct login_target *target);
/** Whether the TCP connection is up, when the upgrade may still be on its way. */
bool transport_is_tcp_up(const struct transport *t);
/** Asks for next_frame to be called. */
void transport_want_write(struct transport *t);
/** Sends what next_frame still has, then closes with code 1000; on_gone follows. */
void transport_close(struct transport *t);
/** Forgets the connection at once; no on_gone follows. Not from callbacks. */
void transport_drop(struct transport *t);
/** Drops and frees everything on the loop. Not from callbacks. Accepts NULL. */
void transport_destroy(struct transport *t);
