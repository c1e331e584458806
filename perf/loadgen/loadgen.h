// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include "control/noise/cookie.h"
#include "control/noise/noise.h"
#include "dataplane/crypto/aead.h"

#include <rte_mbuf.h>

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/**
 * Thousands of WireGuard clients and the LAN behind the gateway, in one thread and on two DPDK ports.
 *
 *   clients 198.18.64.1 ... -- router 198.18.0.2 -- wan 198.18.0.1 [SUT] 198.19.0.1 lan
 *                                             -- router 198.19.0.2 -- servers 198.19.128.1 ...
 *
 * Everything but the two routers' MAC addresses is simulated: real handshakes (control/noise), genuine
 * ciphertext (dataplane/crypto), inner UDP over IPv4 with right checksums, and a LAN that sinks the
 * clients' packets and sends to them through the NAT mappings that it has seen. Addresses are those
 * that RFC 2544 reserves for this.
 *
 * Thread-safety: one thread. Ownership: struct loadgen owns all it points to.
 */

enum {
	LG_BURST = 32,
	LG_CLIENTS_MAX = 16000,
	LG_SIZE_MIN = 60, // inner IP, UDP and struct lg_payload
	LG_SIZE_MAX = 1280,
	LG_INNER_HEADERS = 28,
	LG_OUTER_HEADERS = 14 + 28 + 16, // Ethernet, IPv4, UDP, WireGuard
	LG_GATEWAY_PORT = 52625,
	LG_CLIENT_PORT = 51820,
	LG_SERVER_PORT = 7,
	LG_SERVERS = 1021,
	LG_QUEUES_MAX = 16,
};

// Host order.
#define LG_WAN_GATEWAY 0xc6120001u // 198.18.0.1
#define LG_WAN_ROUTER 0xc6120002u
#define LG_CLIENTS 0xc6124000u // 198.18.64.0/18
#define LG_LAN_GATEWAY 0xc6130001u // 198.19.0.1
#define LG_LAN_ROUTER 0xc6130002u
#define LG_LAN_SERVERS 0xc6138000u // 198.19.128.0/17
#define LG_TUNNEL_GATEWAY 0x64400001u // 100.64.0.1
#define LG_TUNNEL_CLIENTS 0x64410000u // 100.65.0.0/16

enum lg_port {
	LG_WAN,
	LG_LAN,
	LG_PORTS,
};

enum lg_direction {
	LG_UP = 1,
	LG_DOWN = 2,
	LG_BOTH = 3,
};

/** What each inner packet carries behind its UDP header; the rest is filler. */
struct lg_payload {
	uint32_t magic;
	uint32_t flow;
	uint64_t seq; // of the flow in this direction, from 1
	uint64_t sent_tsc;
	uint32_t trial;
	uint32_t direction;
} __attribute__((packed));

struct lg_client {
	struct noise_identity identity;
	struct noise_remote remote;
	struct noise_cookie_maker cookie;
	struct noise_handshake handshake;
	struct noise_keypair keys;
	uint64_t counter;
	uint64_t initiated_ns; // last initiation; 0: none in flight
	uint8_t index; // low bits of the local index
	bool has_keys;
};

struct lg_flow {
	uint64_t seq[LG_BOTH + 1], seen[LG_BOTH + 1]; // by direction
	uint32_t nat_addr; // wire order; 0: not seen yet
	uint16_t nat_port;
};

enum {
	LG_HISTOGRAM_SHIFT = 5, // 32 steps per power of two: within 3 %
	LG_HISTOGRAM_SIZE = 64 << LG_HISTOGRAM_SHIFT,
};

/** What one stretch of traffic showed. */
struct lg_trial {
	double offered_pps; // asked for, per direction
	double seconds;
	uint64_t sent[LG_BOTH + 1], received[LG_BOTH + 1]; // by direction
	uint64_t refused; // of sent: the port's queue was full, i.e. the SUT did not take it
	uint64_t reordered, duplicated, bad;
	uint64_t late_bursts; // the generator itself was behind by more than it may catch up
	double sut_cpu_seconds; // of the process under test, if its id was given
	uint32_t latency[LG_HISTOGRAM_SIZE]; // cycles, log-linear
};

/** What to measure. */
struct lg_plan {
	unsigned size; // inner packet
	enum lg_direction direction;
	double rate; // pps per direction; 0: search
	double rate_max;
	double seconds; // of each trial
	double loss; // share of packets that a trial may lose
	unsigned runs, retries;
	int sut_pid; // 0: none
};

struct lg_options {
	unsigned n_clients, n_flows; // flows per client
	unsigned n_queues;
	bool is_server;
	const char *config_dir;
	const char *names[LG_PORTS];
	struct lg_plan plan;
};

struct loadgen {
	struct lg_options opt;
	struct lg_plan plan; // being carried out
	uint16_t port[LG_PORTS];
	bool is_started[LG_PORTS];
	uint8_t mac[LG_PORTS][6]; // ours
	uint8_t peer_mac[LG_PORTS][6]; // the SUT's
	bool has_peer_mac[LG_PORTS];
	struct rte_mempool *pool;
	struct aead *aead;
	struct noise_crypto crypto;
	uint64_t tsc_hz;
	uint32_t random;

	struct lg_client *clients;
	struct lg_flow *flows;
	unsigned n_sessions;
	uint32_t trial_number;
	struct lg_trial *trial; // counts go here; NULL: nowhere
	uint8_t filler[LG_SIZE_MAX];
	uint16_t filler_sum;
	uint64_t handshake_bad, other; // messages that we could not use
};

/** Gives a fresh mbuf @p size bytes of data, uninitialised. It must have the room. */
static inline uint8_t *lg_frame(struct rte_mbuf *m, size_t size)
{
	m->data_len = (uint16_t)size;
	m->pkt_len = (uint32_t)size;
	return rte_pktmbuf_mtod(m, uint8_t *);
}

// options.c

void lg_usage(FILE *out);
/** @return false: unknown option or a value out of range */
bool lg_options_parse(struct lg_options *o, int argc, char **argv);
/** The options of a plan in one line, which is written to. @return false: they make no sense */
bool lg_plan_parse(struct lg_plan *p, char *line);

// measure.c

/** Searches or measures and prints a JSON line each. @return false: the clients got nowhere */
bool lg_plan_run(struct loadgen *g, const struct lg_plan *plan);

// keys.c

/** The SUT's private key and the clients' identities follow from fixed seeds. */
void lg_key_gateway(uint8_t private_key[NOISE_KEY_SIZE]);
void lg_key_client(uint8_t private_key[NOISE_KEY_SIZE], unsigned client);
/** Writes sections for the gateway's configuration. */
void lg_config_gateway(FILE *out, unsigned n_clients, const char *key_file);
/** Writes wg(8) configuration with the same peers. */
void lg_config_wg(FILE *out, unsigned n_clients);
/** Prints the key in base64 with a newline. */
void lg_key_print(FILE *out, const uint8_t key[NOISE_KEY_SIZE]);

// session.c

/** Prepares all clients. @return 0, -ENOMEM, -EIO */
[[nodiscard]] int lg_clients_init(struct loadgen *g);
void lg_clients_fini(struct loadgen *g);
/** Makes sessions of all clients that are younger than @p max_age_s. @return how many have none */
unsigned lg_sessions_establish(struct loadgen *g, uint64_t max_age_s, double timeout_s);
/** A handshake message from the SUT. */
void lg_session_handle(struct loadgen *g, const uint8_t *msg, size_t size);

// wire.c

uint64_t lg_now_ns(void);
/** Broadcasts who we are and asks who the SUT is on both sides. @return false: no answer in time */
bool lg_arp_resolve(struct loadgen *g, double timeout_s);
void lg_arp_handle(struct loadgen *g, enum lg_port port, const uint8_t *frame, size_t size);
/** Sends one UDP payload of a client to the SUT. */
void lg_client_send(struct loadgen *g, unsigned client, const void *payload, size_t size);
/** Writes Ethernet, IPv4 and UDP headers for @p size bytes of UDP payload; addresses in host order. */
void lg_headers_write(
	const struct loadgen *g,
	enum lg_port port,
	uint8_t *frame,
	uint32_t src,
	uint32_t dst,
	uint16_t src_port,
	uint16_t dst_port,
	size_t size);

// traffic.c

/** From now on packets are those of @p plan. */
void lg_plan_set(struct loadgen *g, const struct lg_plan *plan);
/** Handles what has arrived; counts into g->trial. @return the number of packets */
unsigned lg_receive(struct loadgen *g);
/** Sends a packet on each flow until the LAN knows all mappings. @return flows without one */
unsigned lg_flows_prime(struct loadgen *g);
/** Sends @p n packets on flows picked at random, in each direction of the plan. */
void lg_send(struct loadgen *g, unsigned n);

// trial.c

/** One packet has arrived. @param latency cycles */
void lg_trial_count(struct lg_trial *t, enum lg_direction direction, uint64_t latency);
/** Offers @p pps per direction for @p seconds and waits for the rest. */
void lg_trial_run(struct loadgen *g, double pps, double seconds, struct lg_trial *out);
/** Lost packets of all directions. */
uint64_t lg_trial_lost(const struct lg_trial *t);
/** Latency in microseconds at quantile @p q. */
double lg_trial_latency_us(const struct loadgen *g, const struct lg_trial *t, double q);
/** Cycles of the AEAD alone per packet of this size, sealing. */
double lg_aead_cycles(struct loadgen *g);
