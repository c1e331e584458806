// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include "control/base/addr.h"

#include <rte_byteorder.h>

#include <stdint.h>

/**
 * Which worker a packet arrives at: the NIC's own receive side scaling, computed in software.
 *
 *	Toeplitz(source, destination, source port, destination port) % RSS_SPREAD -> worker
 *
 * One random key and one spread serve all ports; port.c programs them into the NICs that take them.
 * The same function says which worker owns a flow or should own a client even where no NIC hashes,
 * so any worker finds an owner from the packet alone and without a shared table.
 *
 * The hash is linear over the bits of its input, so each byte's share of it is a table entry, and
 * another destination port costs two look-ups.
 *
 * Thread-safety: constant after rss_init().
 */

enum {
	RSS_KEY_SIZE = 52, // the longest of any NIC; the tuple of IPv6 needs 40
	RSS_KEY_SIZE_MIN = 40,
	RSS_SPREAD = 64, // the shortest redirection table of any NIC, and a divisor of all others
	RSS_V6_TUPLE = 36,
	RSS_V4_TUPLE = 12,
};

struct rss {
	uint8_t key[RSS_KEY_SIZE];
	uint8_t workers[RSS_SPREAD]; // by the low bits of the hash
	uint8_t shares[RSS_V6_TUPLE][256]; // of a byte at an offset of the tuple, low bits
};

/** @param n_workers 1 .. RSS_SPREAD; the key is random. */
void rss_init(struct rss *rss, const uint8_t key[RSS_KEY_SIZE], unsigned n_workers);

/** Addresses are wire bytes. @return the low bits of the hash without the destination port */
static inline uint8_t rss_bits(
	const struct rss *rss,
	uint8_t family,
	const uint8_t *src,
	const uint8_t *dst,
	rte_be16_t sport)
{
	unsigned size = family == IP_FAMILY_V4 ? 4 : 16;
	uint8_t bits = 0;

	for (unsigned i = 0; i < size; i++)
		bits ^= rss->shares[i][src[i]] ^ rss->shares[size + i][dst[i]];
	return bits ^ rss->shares[2 * size][sport & 0xff] ^ rss->shares[2 * size + 1][sport >> 8];
}

/** @return the worker, from what rss_bits() said and the destination port */
static inline unsigned
rss_worker(const struct rss *rss, uint8_t family, uint8_t bits, rte_be16_t dport)
{
	unsigned at = family == IP_FAMILY_V4 ? RSS_V4_TUPLE - 2 : RSS_V6_TUPLE - 2;

	return rss->workers[bits ^ rss->shares[at][dport & 0xff] ^ rss->shares[at + 1][dport >> 8]];
}
