// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/**
 * The part of a DNS message that a forwarder reads: its header and its one question (RFC 1035
 * section 4.1). Everything behind them is passed on unread.
 *
 * Thread-safety: pure functions. No allocation; sizes are bytes.
 */

enum {
	DNS_HEADER_SIZE = 12,
	DNS_NAME_SIZE = 255, // longest, with its root label
	DNS_HEAD_SIZE = DNS_HEADER_SIZE + DNS_NAME_SIZE + 4, // header and longest question
	DNS_MESSAGE_SIZE = 65535, // longest over TCP
	DNS_UDP_REPLY_SIZE = 1200, // longest answer of ours over UDP
	DNS_RCODE_NOERROR = 0,
	DNS_RCODE_SERVFAIL = 2,
};

/** Header and question of a message, as they were on the wire. */
struct dns_head {
	uint8_t data[DNS_HEAD_SIZE];
	uint16_t size;
};

/**
 * Reads header and question of a query. It must have exactly one question whose name is not
 * compressed. @return 0, -EBADMSG
 */
[[nodiscard]] int dns_query_parse(struct dns_head *head, const void *data, size_t size);

/** @return whether a message answers that query: same id, and the same question unless an error left it out. */
bool dns_response_matches(const struct dns_head *query, const void *data, size_t size);

/** Response code of a message that matches. */
unsigned dns_rcode(const void *data, size_t size);

/** Writes the SERVFAIL answer to a query. @return its size, at most DNS_HEAD_SIZE */
size_t dns_servfail_write(uint8_t out[DNS_HEAD_SIZE], const struct dns_head *query);
/**
 * Writes a response that matches @p query without its records: header and question, marked as
 * truncated. @return its size
 */
size_t
dns_truncated_write(uint8_t out[DNS_HEAD_SIZE], const struct dns_head *query, const void *response);

/** Writes the query that round trips are measured with (firezone.dev A). @return its size */
size_t dns_probe_write(uint8_t out[DNS_HEAD_SIZE], uint16_t id);
