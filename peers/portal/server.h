// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include "peers/portal/portal.h"

#include <uv.h>

/**
 * The portal on the network: WebSocket peers through libwebsockets on a libuv loop. All sockets
 * are opened and accepted here, libwebsockets adopts them; so several addresses, port 0 and clear
 * bind errors need none of its own listening.
 *
 * Ownership: borrows loop and portal. Thread-safety: one thread, the loop's.
 */

struct server;

/** @return NULL with errno */
struct server *server_create(uv_loop_t *loop, struct portal *portal);
/** Listens on "address:port"; port 0 takes a free one. The bound address is logged. @return 0, -errno */
[[nodiscard]] int server_listen(struct server *s, const char *address);
/**
 * Sends what the portal has queued and re-arms its timers. To be called after every use of the
 * portal from outside this file.
 */
void server_pump(struct server *s);
/**
 * Stops listening and closes every peer with 1012; @p done runs when they are gone or do not
 * answer in time.
 */
void server_stop(struct server *s, void (*done)(void *), void *arg);
/** Closes everything; the loop then runs until its handles are gone. Accepts NULL. */
void server_close(struct server *s);
/** Frees a closed server after its loop has ended. Accepts NULL. */
void server_destroy(struct server *s);

/** Both clocks now. */
struct instant server_now(void);
