// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include "acl/acl.h"
#include "control/access/access.h"
#include "control/access/heap.h"
#include "control/gateway/lane.h"
#include "control/names/names.h"
#include "control/noise/node.h"
#include "control/ops/config.h"
#include "control/path/ice_table.h"
#include "control/path/relays.h"
#include "control/portal/candidates_hold.h"
#include "control/portal/gateway_messages.h"
#include "control/portal/session.h"
#include "dataplane/worker/dp.h"

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

/**
 * The gateway's control core: one libuv loop on the main lcore that owns all long-lived state and
 * drives the sans-IO libraries.
 *
 *   portal session --messages--> portal.c --> access (who may what) --> policies -> workers
 *                                   |
 *                                   +-------> connection.c: ICE agent + WireGuard peer per client
 *   workers --punt--> punt.c --STUN, handshakes--> connection.c --datagrams--> relay.c --> lane.c --> workers
 *                        +-----frames, tunnel packets----> kernel.c (TAPs, TUN, netlink)
 *
 * Thread-safety: everything here runs on the loop's thread.
 */

struct kernel;

/** Counters of the control core, beside those of the workers. */
struct gw_stats {
	uint64_t ice[ICE_RX_COUNT];
	uint64_t turn[TURN_RX_COUNT];
	uint64_t noise[NOISE_VERDICT_COUNT];
	uint64_t portal_refused; // messages with a bad field
	uint64_t authorized; // authorizations granted or refreshed
	uint64_t connections_opened, connections_failed;
	uint64_t relay_no_channel; // datagrams to a peer whose channel was not there yet
	uint64_t static_moved; // static peers followed to another address
	uint64_t timer_late_ns; // by how much a connection's deadline was missed at most
	uint64_t kernel_refused; // frames and requests that the kernel did not take
};

struct gw {
	const struct config *config;
	uv_loop_t *loop;
	struct dp *dp;
	struct lane *lane;
	struct acl_registry *registry;
	struct access *access;
	struct noise_node *node;
	struct stun_mac *stun_mac;
	struct ice_table *ice;
	struct relays *relays;
	struct relay_users *relay_users;
	struct ip_endpoint relay_addrs[DP_RELAYS_MAX]; // what the worker knows of them
	size_t n_relay_addrs;
	struct session *session;
	struct candidates_hold *hold;
	struct kernel *kernel;
	struct names *names; // in-tunnel DNS

	struct ip_addr tunnel_v4, tunnel_v6; // from init; no family before
	uint64_t tsc_hz;

	uv_prepare_t prepare; // drains the workers' rings before the loop sleeps
	uv_check_t check;
	uv_idle_t idle; // keeps the loop awake while there is more to drain
	uv_poll_t wake; // the workers' eventfd
	struct heap deadlines; // of the connections, see timers.h
	uv_timer_t timer; // of all deadlines
	uint64_t timer_deadline; // what it is armed for
	uv_timer_t housekeeping;
	uv_signal_t signals[2];
	uv_timer_t shutdown_timer;

	bool is_stopping;
	bool is_reconciling; // a list of the portal is being put in force
	bool is_forgetting; // the client left by itself: no goodbye
	int exit_code;
	struct gw_stats stats;
};

/** Monotonic, suspend aware; what every sans-IO module is given as now. */
uint64_t gw_now_ns(void);

/**
 * Builds the control core around a data plane that exists but does not run yet. Borrows
 * @p config and @p dp. @return 0, -errno after one log line
 */
[[nodiscard]] int gw_init(struct gw *gw, const struct config *config, struct dp *dp);
/** Connects to the portal and runs until a signal or a fatal answer. @return the exit code */
int gw_run(struct gw *gw);
/** After the workers have stopped. Accepts a partially built gateway. */
void gw_fini(struct gw *gw);
/** Says goodbye to every client, closes the portal session and lets gw_run() return within a second. */
void gw_stop(struct gw *gw, int exit_code);

/** Puts the gateway's own tunnel addresses in force; of no family: leaves that one out. @return 0, -errno */
[[nodiscard]] int gw_tunnel_set(struct gw *gw, const struct ip_addr *v4, const struct ip_addr *v6);

/** Handles a message of the portal; errors are logged and change nothing. */
void portal_message(struct gw *gw, const char *event, const json_t *payload);
/** Sends the candidate changes that were held while the portal was away. */
void portal_flush_held(struct gw *gw);
/** Announces or withdraws candidate lines of a client, or holds them while the portal is away. */
void portal_candidates_send(
	struct gw *gw,
	const struct uuid *client_id,
	const char *const *lines,
	size_t n_lines);
/** Withdraws them, with the lines as they were announced. */
void portal_candidates_withdraw(
	struct gw *gw,
	const struct uuid *client_id,
	const char *const *lines,
	size_t n_lines);

/**
 * Brings the configuration's static peers to life, which stay until the end. Call when the workers
 * run. @return 0, -errno after one log line that names the peer
 */
[[nodiscard]] int static_peers_start(struct gw *gw);

/** Drains events and punted packets up to a bound. @return whether more may be waiting */
bool punt_drain(struct gw *gw);
