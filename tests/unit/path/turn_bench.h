// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include "control/path/turn.h"
#include "tests/unit/path/relay_double.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/**
 * One TURN allocation, one relay double, a fake clock and a wire without delay between them (a
 * reply comes `latency` later: the clock jumps). Records what was sent and reported.
 */

#define BENCH_MS 1000000ull
#define BENCH_S 1000000000ull
#define BENCH_LOG_MAX 512

struct bench_sent {
	uint64_t at; // since the start
	uint16_t method; // of STUN, or the channel number
	struct ip_endpoint remote;
};

struct bench {
	uint64_t start;
	uint64_t now;
	uint64_t latency;
	struct stun_mac *mac;
	struct turn_allocation *a;
	struct turn_config config;
	struct relay_double relay;
	bool is_cut; // nothing reaches the relay
	bool is_quiet; // events are not recorded
	uint64_t random; // 0: transaction ids are 00 01 .. 0b
	struct ip_endpoint local[2];
	struct ip_endpoint mapped_as[2]; // port != 0: the relay sees this source
	struct bench_sent sent[BENCH_LOG_MAX];
	size_t n_sent;
	struct turn_transmit last; // sent last
	struct turn_event events[BENCH_LOG_MAX];
	size_t n_events;
	unsigned rx[TURN_RX_COUNT];
	struct turn_data data; // received last
	uint8_t data_bytes[64];
};

struct ip_endpoint bench_endpoint(const char *text);
/** A relay with these addresses (NULL: without); nothing has happened yet. */
struct bench *bench_create(const char *v4, const char *v6);
void bench_destroy(struct bench *b);
/** Creates the allocation and lets everything happen that happens at once. */
void bench_start(struct bench *b);
/** Sends and reports what is pending. */
void bench_drain(struct bench *b);
/** Lets @p ns pass. */
void bench_run(struct bench *b, uint64_t ns);
/** A datagram from the relay's IPv4 address. */
enum turn_rx bench_deliver(struct bench *b, const void *data, size_t size);
/** How often a method was sent since the given index of the log. */
unsigned bench_count_sent(const struct bench *b, size_t since, uint16_t method);
/** How many events of the type there were. */
unsigned bench_count_events(const struct bench *b, enum turn_event_type type);
/** The nth event of the type; fails the test when there is none. */
const struct turn_event *
bench_event(const struct bench *b, enum turn_event_type type, unsigned nth);
/** The peer's datagram arrives at the relay. */
void bench_from_peer(struct bench *b, const char *peer, const char *relayed, const char *text);
