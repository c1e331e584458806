// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include "acl/acl.h"
#include "control/base/addr.h"
#include "control/base/clock.h"
#include "dataplane/worker/drops.h"
#include "kni/fib.h"

#include <rte_cycles.h>
#include <rte_mbuf.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/**
 * The data plane as the control core sees it: ports, workers, and the four ways across.
 *
 *   commands   control -> worker   fixed-size messages, SPSC ring; full = back-pressure (-EAGAIN)
 *   events     worker -> control   fixed-size messages, SPSC ring; a worker never waits for it
 *   punt       worker -> control   mbufs, one bounded SPSC ring per class and worker; full = drop
 *   inject     control -> worker   mbufs with struct dp_meta, SPSC ring; full = -EAGAIN
 *
 * With several workers each has rings of its own. Commands go to the worker that owns the slot
 * (owner.h), events and punted packets come from any; control need not know which.
 *
 * Policies and the FIB are published as pointers and freed after an RCU grace period.
 *
 * A *slot* is a client's number, 0 .. max_clients-1, allotted by control and the same as long as
 * the gateway knows the client. WireGuard receiver indices of the client are slot << 8 | n.
 *
 * Thread-safety: every function is for the one control thread unless it says otherwise.
 * Time: ticks of CLOCK_BOOTTIME at the TSC's rate (clock.h, control/base/clock.h): dp_now().
 */

/** The UDP port of the official peers; configurable. */
enum {
	DP_UDP_PORT_DEFAULT = 52625,
	DP_KEY_SIZE = 32,
	DP_BURST_MAX = 64,
	DP_INNER_SIZE_MAX = 1280,
	DP_RELAYS_MAX = 32, // addresses; two per dual-stack relay
	DP_WORKERS_MAX = 32,
};

enum dp_role {
	DP_ROLE_WAN, // faces the clients; may also carry traffic to resources
	DP_ROLE_LAN, // faces resources
};

enum dp_idle {
	DP_IDLE_BUSY, // poll for ever
	DP_IDLE_SLEEP, // sleep when nothing came, woken by rx interrupt, command or a short timer
};

/** @return the time as workers count it. Any thread. */
static inline uint64_t dp_now(void)
{
	return clock_ticks(clock_boot_ns(), rte_get_tsc_hz());
}

struct dp_port_config {
	const char *device; // DPDK device name after probing, e.g. "net_tap0" or "0000:01:00.0"
	enum dp_role role;
	// Sources for what clients send out here; none: the address that the kernel would take.
	const struct ip_addr *nat_addrs; // copied
	size_t n_nat_addrs; // at most FLOW_NAT_ADDRS_MAX of a family
};

struct dp_config {
	const struct dp_port_config *ports;
	size_t n_ports;
	unsigned worker_lcores[DP_WORKERS_MAX];
	unsigned n_workers; // 0 counts as 1
	enum dp_idle idle;
	uint16_t udp_port; // host order
	uint32_t max_clients;
	uint32_t max_flows; // in total; each worker has its part
	uint16_t nat_port_first, nat_port_last; // host order; disjoint from the kernel's own range
	uint32_t n_mbufs; // of each worker's pool
	uint32_t icmp_per_second; // ICMP answers per client in the long run; 0: 1000
	struct ip_addr tunnel_v4, tunnel_v6; // may be set later: dp_tunnel_set()
};

/** Why a packet left the fast path. Each class has its own ring so that a flood of one starves no other. */
enum dp_punt {
	DP_PUNT_HANDSHAKE, // L2 frame to our UDP port: WireGuard types 1-3, bare or in ChannelData
	DP_PUNT_STUN, // L2 frame to our UDP port: STUN, or anything else in a relay's ChannelData
	DP_PUNT_HOST, // L2 frame for the host stack (ARP, NDP, our addresses, anything else)
	DP_PUNT_TUN, // authenticated inner IP packet to an address of the gateway itself
	DP_PUNT_P2P, // authenticated inner p2p control packet (spec/datapath.md 3.2)
	DP_PUNT_COUNT,
};

enum dp_inject {
	DP_INJECT_FRAME, // L2 frame, leaves on port_id as it is
	DP_INJECT_IP, // outer IP packet of ours: route, resolve, send (STUN, handshakes)
	DP_INJECT_CLIENT, // inner IP packet to the client in slot: encrypt and send
};

/** Rides in each mbuf's private area (rte_mbuf_to_priv); the pools of both sides reserve it. */
struct dp_meta {
	uint8_t kind; // enum dp_punt or enum dp_inject
	uint8_t reserved;
	uint16_t port_id; // punted frames: where it came from; INJECT_FRAME: where it goes
	uint32_t slot; // punt TUN/P2P and INJECT_CLIENT
	uint16_t l3_offset; // punt frames: start of the IP header
	uint16_t payload_offset; // punt HANDSHAKE/STUN: start of the UDP payload
	uint16_t payload_size; // bytes of it
	uint16_t reserved2;
};

enum dp_cmd_type {
	DP_CMD_CLIENT_ADD, // a slot comes to life: tunnel addresses; no keypair, no path
	DP_CMD_CLIENT_DEL, // after sending mbuf (if any) on the current keypair: keys wiped, flows freed
	DP_CMD_KEYPAIR_ADD, // initiator: becomes current at once; responder: waits for its first packet
	DP_CMD_KEYPAIRS_CLEAR, // the peer restarted: wipe all keypairs of the slot
	DP_CMD_PATH_SET, // the nominated path; no family in remote: none
	DP_CMD_FLOWS_CLEAR, // the client's flows are gone
	DP_CMD_CLIENT_RELEASE, // the data plane's own: another worker has the slot from now on
};

struct dp_cmd {
	enum dp_cmd_type type;
	uint32_t slot;
	union {
		struct {
			struct ip_addr v4, v6; // the client's tunnel addresses
			bool follows_source; // no ICE: the path follows authenticated packets
		} client_add;
		struct {
			struct rte_mbuf *mbuf; // inner packet (goodbye) or NULL; taken
		} client_del;
		struct {
			uint32_t local_index, remote_index; // host order
			uint8_t is_initiator;
			uint8_t send_key[DP_KEY_SIZE], recv_key[DP_KEY_SIZE];
			uint64_t created_tsc;
		} keypair_add;
		struct {
			struct ip_endpoint local, remote; // relayed: our socket and the relay
			uint16_t channel; // ChannelData in front of everything; 0: none
		} path_set;
	};
};

enum dp_event_type {
	DP_EVENT_CLIENT_GONE, // CLIENT_DEL done: the slot may be used again
	DP_EVENT_KEYPAIR_CONFIRMED, // first packet authenticated on local_index
	DP_EVENT_HANDSHAKE_DUE, // data unanswered for 15 s, or our initiator keypair is 120/165 s old
	DP_EVENT_CLIENT_MOVED, // the newest authenticated packet came another way; answer with PATH_SET
	DP_EVENT_RESOLVE, // packets wait for addr on port_id: ask the kernel
};

struct dp_event {
	enum dp_event_type type;
	uint32_t slot;
	union {
		uint32_t local_index;
		struct {
			struct ip_endpoint local, remote;
		} moved;
		struct {
			struct ip_addr addr;
			uint16_t port_id;
		} resolve;
	};
};

/** Per client, written by its worker, read by anyone (each field is torn-free, the set is not a snapshot). */
struct dp_client_stats {
	uint64_t rx_packets, rx_bytes; // inner, from the client
	uint64_t tx_packets, tx_bytes; // inner, to the client
	uint64_t last_rx_tsc, last_tx_tsc; // data packets with content; 0 = never
};

/** Per worker; same rights. */
struct dp_worker_stats {
	uint64_t loops, sleeps;
	uint64_t rx_packets, tx_packets; // frames on all ports
	uint64_t decrypted, encrypted;
	uint64_t flows; // now
	uint64_t handed_off, handed_in; // packets to and from other workers
	uint64_t drops[DROP_REASON_COUNT];
	uint64_t punted[DP_PUNT_COUNT];
};

/** Of control's; see owner.h. */
struct dp_owner_stats {
	uint64_t moved; // clients that moved to the worker at which their path's packets arrive
	uint64_t kept; // paths set whose packets arrive at another worker: they are handed off
};

struct dp;

/**
 * Brings up the ports and the worker's memory; nothing runs yet. EAL is initialised by the caller.
 * @return the data plane, or NULL with errno after one log line that names the failing call.
 */
struct dp *dp_create(const struct dp_config *config);
/** Starts the workers on their lcores. @return 0, -errno */
[[nodiscard]] int dp_start(struct dp *dp);
/** Stops the workers (they drain their transmit queues first) and the ports. */
void dp_stop(struct dp *dp);
/** Frees everything, mbufs in rings included. NULL is allowed. */
void dp_destroy(struct dp *dp);

/** @return the DPDK port id and MAC of config->ports[i]. */
uint16_t dp_port_id(const struct dp *dp, size_t i);
void dp_port_mac(const struct dp *dp, size_t i, uint8_t mac[6]);

/** @return whether config->ports[i] has link; for readiness. */
bool dp_port_link_is_up(const struct dp *dp, size_t i);

/** The gateway's tunnel addresses (from `init`); applies from the next burst. */
void dp_tunnel_set(struct dp *dp, const struct ip_addr *v4, const struct ip_addr *v6);
/**
 * The addresses that ChannelData is taken from; applies from the next burst. Those beyond
 * DP_RELAYS_MAX are left out.
 */
void dp_relays_set(struct dp *dp, const struct ip_endpoint *relays, size_t n);

/** Queues a command for the slot's owner. @return 0, -EAGAIN when the ring is full: keep it and try again. */
[[nodiscard]] int dp_cmd_send(struct dp *dp, const struct dp_cmd *cmd);
/** @return how many events were written to @p out. */
unsigned dp_event_poll(struct dp *dp, struct dp_event *out, unsigned n);
/** @return how many mbufs of @p class_ were written to @p out; the caller frees them. */
unsigned dp_punt_poll(struct dp *dp, enum dp_punt class_, struct rte_mbuf **out, unsigned n);
/** @return an empty mbuf of control's own pool with default headroom, or NULL. */
struct rte_mbuf *dp_mbuf_alloc(struct dp *dp);
/**
 * Hands @p m with its dp_meta to a worker, which frees it. An outer packet leaves after the last
 * command that was sent has been carried out: a handshake's answer after its keys are in place.
 * @return 0, -EAGAIN (still the caller's)
 */
[[nodiscard]] int dp_inject(struct dp *dp, struct rte_mbuf *m);

/** Publishes the client's policy (NULL: prohibited) and @return the former one, for dp_retire(). */
const struct acl_policy *
dp_policy_publish(struct dp *dp, uint32_t slot, const struct acl_policy *policy);
/** @return what was published last. Control core only: nobody else retires it. */
const struct acl_policy *dp_policy_get(const struct dp *dp, uint32_t slot);
/** Publishes the FIB and @return the former one, for dp_retire(). */
const struct fib *dp_fib_publish(struct dp *dp, const struct fib *fib);
/** Calls free_fn(arg, object) once no worker can still hold @p object. NULL objects are ignored. */
void dp_retire(
	struct dp *dp,
	const void *object,
	void (*free_fn)(void *arg, const void *object),
	void *arg);
/** Frees what the grace periods allow; call it each loop. @return how many objects still wait. */
size_t dp_reclaim(struct dp *dp);

/**
 * Sleeping of the control loop without polling: the worker writes to this eventfd when it queued
 * something while control said that it was about to sleep. Before each wait: dp_sleep_enter(), which
 * returns false if there is work already; after it: dp_sleep_leave().
 */
int dp_wake_fd(const struct dp *dp);
bool dp_sleep_enter(struct dp *dp);
void dp_sleep_leave(struct dp *dp);

/** @return the number of workers. */
unsigned dp_n_workers(const struct dp *dp);
/** Any thread. The sum over all workers. */
void dp_worker_stats_get(const struct dp *dp, struct dp_worker_stats *out);
/** Any thread. Of worker @p index; @return false if there is none. */
bool dp_worker_stats_of(const struct dp *dp, unsigned index, struct dp_worker_stats *out);
/** Any thread (each field is torn-free). */
void dp_owner_stats_get(const struct dp *dp, struct dp_owner_stats *out);
/** Any thread. @return false if the slot is out of range. */
bool dp_client_stats_get(const struct dp *dp, uint32_t slot, struct dp_client_stats *out);
