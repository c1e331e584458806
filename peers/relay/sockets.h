// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include "control/base/addr.h"
#include "peers/relay/relay.h"

#include <uv.h>

/**
 * The relay's UDP sockets on a libuv loop: one per family on the listen port, and one per allocation
 * and family, so that the kernel finds the allocation. Packets are read and sent in bursts of up to
 * SOCKETS_BURST by recvmmsg(2) and sendmmsg(2) from buffers made at start; what of a burst leaves by the
 * same socket goes in one call.
 *
 * Answers leave with the source address that the kernel picks for the bind address: on a host with
 * several addresses in one family, bind to the public one.
 *
 * Ownership: borrows loop and relay. Thread-safety: one thread, the loop's.
 */

#define SOCKETS_BURST 64

struct sockets;

struct sockets_config {
	struct ip_addr bind_v4; // family NONE: no socket of this family
	struct ip_addr bind_v6;
	uint16_t listen_port; // 0: a free one, the same for both families
};

/**
 * Opens the listen sockets.
 * @return NULL with errno of what failed
 */
struct sockets *sockets_create(uv_loop_t *loop, const struct sockets_config *config);
/** The listen port. */
uint16_t sockets_port(const struct sockets *s);
/** What the relay opens ports with. */
struct relay_ports sockets_ports(struct sockets *s);
/** Begins to read; @p relay came out of relay_create() with sockets_ports(). */
void sockets_start(struct sockets *s, struct relay *relay);
/** Both clocks now, as of the loop's turn. */
struct relay_now sockets_now(const struct sockets *s);
/** Closes everything; the loop then runs until its handles are gone. After relay_destroy(). Accepts NULL. */
void sockets_close(struct sockets *s);
/** Frees closed sockets after the loop has ended. Accepts NULL. */
void sockets_destroy(struct sockets *s);
