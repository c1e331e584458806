// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include "control/portal/session.h"
#include "peers/client/client.h"
#include "peers/client/coalesce.h"
#include "peers/client/netlink.h"
#include "peers/client/runtime.h"
#include "peers/client/segment.h"
#include "peers/client/sockets.h"
#include "peers/client/tun.h"

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

/**
 * What runtime.c (loop, devices, signals) and runtime_portal.c (session with the portal) share.
 * Nobody else includes it.
 *
 * Thread-safety: the loop's thread.
 */

enum {
	RUNTIME_LOCALS_MAX = 32,
	RUNTIME_SIGNALS = 4,
};

struct runtime {
	const struct config *config;
	uv_loop_t loop;
	uv_poll_t tun_poll, monitor_poll;
	uv_poll_t *udp_polls[2]; // of the sockets, IPv4 and IPv6; NULL: none
	uv_timer_t timer, partition;
	uv_timer_t reset; // the network has changed; waits until it is quiet
	uv_signal_t signals[RUNTIME_SIGNALS];
	struct tun *tun;
	struct netlink *netlink, *monitor;
	struct sockets *sockets;
	struct session *session; // NULL: none, or gone
	unsigned n_dropped; // sessions that have yet to end
	char portal_host[LOGIN_HOST_SIZE];
	uint16_t portal_port;
	uv_getaddrinfo_t resolve;
	bool is_resolving;
	struct client *client;
	struct ip_endpoint locals[RUNTIME_LOCALS_MAX];
	size_t n_locals;
	uint64_t now; // ns, of this turn
	int status;
	bool is_stopping;
	bool was_up;
	uint8_t packet[CLIENT_HEADROOM + SEGMENT_SIZE_MAX + CLIENT_TAILROOM];
	uint8_t frame[SEGMENT_FRAME_MAX];
	struct coalescer to_host;
};

/** Every callback begins with the time ... */
void runtime_turn_begin(struct runtime *r);
/** ... and ends with sending what it caused and arming the timer. */
void runtime_turn_end(struct runtime *r);
/** Says goodbye everywhere and lets the loop end. Idempotent. */
void runtime_stop(struct runtime *r, int status);

/** Drops the session, if any, and starts one with the client's present key. */
void runtime_portal_restart(struct runtime *r);
/** Starts the session. @return 0, -errno after logging why */
[[nodiscard]] int runtime_portal_start(struct runtime *r);
/** The portal was away for too long. */
void runtime_on_partition(uv_timer_t *timer);
/** Operations of the client, see struct client_ops. */
bool runtime_portal_send(void *ctx, struct portal_push push);
enum portal_dialect runtime_portal_dialect(void *ctx);
