// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include "control/base/addr.h"
#include "control/names/message.h"
#include "control/names/resolv_conf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/**
 * The gateway's in-tunnel DNS server without its sockets (spec/datapath.md 3.8): which query goes
 * to which nameserver, what the client is told, and when waiting ends.
 *
 * A query is relayed as it came, over the transport that it came by, to the nameserver with the
 * lowest round trip ever observed. Round trips come from probes. What is not answered in time, or
 * cannot be sent, is answered with SERVFAIL.
 *
 * The caller has one socket per exchange, with the nameserver as its only peer: an exchange begins
 * with FORWARD_SEND or forwarder_probe_next() and is over when a call returns FORWARD_REPLY or
 * FORWARD_DONE for its id, or at forwarder_cancel().
 *
 * Times are nanoseconds of one monotonic clock. Thread-safety: one thread. Ownership:
 * create/destroy; bytes that a call returns are borrowed until the next call.
 */

#define FORWARDER_PROBE_INTERVAL_NS 60000000000ull
#define FORWARDER_PROBE_TIMEOUT_NS 2000000000ull
#define FORWARDER_TIMEOUT_NS 5000000000ull
#define FORWARDER_DEADLINE_NONE UINT64_MAX

enum {
	FORWARDER_QUERIES_MAX = 1000, // of clients, in flight
	FORWARDER_SLOTS = FORWARDER_QUERIES_MAX + 2 * RESOLV_CONF_NAMESERVERS_MAX,
};

enum forward_transport {
	FORWARD_UDP,
	FORWARD_TCP,
};

enum forward_verdict {
	FORWARD_NOTHING, // not a query, not the response, or nothing is due: no change
	FORWARD_SEND, // an exchange begins: send to port 53 of server
	FORWARD_REPLY, // to the client
	FORWARD_DONE, // the exchange is over and nobody is told
};

/** What the caller has to do. */
struct forward_step {
	enum forward_verdict verdict;
	uint32_t id; // of the exchange; of none for a reply to a query that began none
	enum forward_transport transport;
	struct ip_addr server; // FORWARD_SEND
	const uint8_t *data;
	size_t size;
};

/**
 * Counters: queries of clients with exactly one question; malformed, anything else that they sent;
 * answered with a nameserver's response; truncated, those of them that were too long for UDP;
 * servfail by ourselves; strangers, responses that match no query.
 */
#define FORWARDER_COUNTERS(X)                                                                      \
	X(queries) X(malformed) X(answered) X(truncated) X(servfail) X(strangers)

struct forwarder_stats {
#define X(name) uint64_t name;
	FORWARDER_COUNTERS(X)
#undef X
};

struct forwarder;

/** @param random fills buffers, for the ids of probes. @return owned, or NULL with errno ENOMEM */
struct forwarder *
forwarder_create(void (*random)(void *ctx, void *buf, size_t size), void *random_ctx);
/** NULL is allowed. */
void forwarder_destroy(struct forwarder *f);

/**
 * Begins a round of probes to these nameservers, over both transports; at start and every
 * FORWARDER_PROBE_INTERVAL_NS. Nameservers that are no longer listed are used no more; what is
 * known of the others stays.
 */
void forwarder_probe(struct forwarder *f, const struct ip_addr *servers, size_t n);
/** Call after forwarder_probe() until it returns FORWARD_NOTHING. */
struct forward_step forwarder_probe_next(struct forwarder *f, uint64_t now);

/** A client's message. FORWARD_SEND: @p data itself is to be sent; FORWARD_REPLY or FORWARD_NOTHING. */
struct forward_step forwarder_query(
	struct forwarder *f,
	uint64_t now,
	enum forward_transport transport,
	const void *data,
	size_t size);
/** A message of the exchange's nameserver. FORWARD_NOTHING: not the response, go on waiting. */
struct forward_step
forwarder_response(struct forwarder *f, uint64_t now, uint32_t id, const void *data, size_t size);
/** The exchange's socket failed. */
struct forward_step forwarder_fail(struct forwarder *f, uint32_t id);
/** The client went away. An id that is over is no error. */
void forwarder_cancel(struct forwarder *f, uint32_t id);

/** Ends one exchange that is overdue; call until it returns FORWARD_NOTHING. */
struct forward_step forwarder_expire(struct forwarder *f, uint64_t now);
/** When forwarder_expire() has something to do, or FORWARDER_DEADLINE_NONE. */
uint64_t forwarder_deadline(const struct forwarder *f);

/** @return whether queries can be relayed: a nameserver has answered a probe. */
bool forwarder_is_ready(const struct forwarder *f);
/** A number below FORWARDER_SLOTS that no other exchange in flight has. */
size_t forwarder_slot(uint32_t id);
const struct forwarder_stats *forwarder_stats(const struct forwarder *f);
