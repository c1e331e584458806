// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include "peers/portal/ctl.h"

#include <uv.h>

/**
 * The control socket: a unix stream socket of mode 0600 whose lines go to ctl_handle(). Whoever
 * may open it is the operator.
 *
 * Ownership: borrows loop and ctl. Thread-safety: one thread, the loop's.
 */

struct ctl_server;

/**
 * Listens at @p path, taking over a socket file that nobody answers on.
 * @param after called after each command, for what it queued
 * @return NULL with errno; EADDRINUSE if another portal answers there
 */
struct ctl_server *ctl_server_create(
	uv_loop_t *loop,
	const char *path,
	struct ctl *ctl,
	void (*after)(void *),
	void *arg);
/** Removes the socket file and closes all connections; the loop has to run once more. Accepts NULL. */
void ctl_server_destroy(struct ctl_server *s);
