// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include <stddef.h>
#include <stdint.h>

/**
 * The Internet checksum (RFC 1071). It comes out right in any byte order as long as the words are
 * read and the result is stored in the same one, so these work on bytes in the order of the packet.
 *
 * Thread-safety: pure functions.
 */

/** Adds @p size bytes to a running sum; every piece but the last has an even size. */
uint64_t checksum_add(uint64_t sum, const uint8_t *data, size_t size);
/** Adds the pseudo header of a transport protocol; @p ip is the IP header. */
uint64_t checksum_pseudo(uint64_t sum, const uint8_t *ip, uint8_t protocol, size_t l4_size);
/** Stores the checksum, the complement of the sum. */
void checksum_store(uint8_t field[2], uint64_t sum);
/** Stores the folded sum itself: what the kernel wants for a checksum that it completes. */
void checksum_store_partial(uint8_t field[2], uint64_t sum);
