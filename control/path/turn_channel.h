// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/**
 * ChannelData framing over UDP (RFC 8656 section 12.4), header-inline for the packet worker as well:
 *
 *   | channel number, 2 bytes | payload size, 2 bytes | payload |
 *
 * Strict: no padding, the size field equals what is left of the datagram (Firezone peers and the
 * fast path of their relay accept nothing else).
 *
 * Byte order: parameters are in host order. Thread-safety: pure functions.
 */

#define TURN_CHANNEL_MIN 0x4000
#define TURN_CHANNEL_MAX 0x4fff
#define TURN_CHANNEL_COUNT (TURN_CHANNEL_MAX - TURN_CHANNEL_MIN + 1)
#define TURN_CHANNEL_HEADER_SIZE 4

/** Writes TURN_CHANNEL_HEADER_SIZE bytes in front of a payload of @p size bytes. */
static inline void turn_channel_header_write(uint8_t *out, uint16_t channel, uint16_t size)
{
	out[0] = (uint8_t)(channel >> 8);
	out[1] = (uint8_t)channel;
	out[2] = (uint8_t)(size >> 8);
	out[3] = (uint8_t)size;
}

/** @return whether a first byte is of ChannelData: never of STUN, WireGuard or anything else here */
static inline bool turn_channel_is_first_byte(uint8_t byte)
{
	return byte >= TURN_CHANNEL_MIN >> 8 && byte <= TURN_CHANNEL_MAX >> 8;
}

/**
 * Checks the frame of a whole datagram. The payload is what follows the header.
 * @param channel set on success, TURN_CHANNEL_MIN to TURN_CHANNEL_MAX
 * @return whether it is well-formed ChannelData
 */
static inline bool turn_channel_header_parse(const uint8_t *data, size_t size, uint16_t *channel)
{
	if (size < TURN_CHANNEL_HEADER_SIZE || !turn_channel_is_first_byte(data[0]))
		return false;
	if (((size_t)data[2] << 8 | data[3]) != size - TURN_CHANNEL_HEADER_SIZE)
		return false;
	*channel = (uint16_t)((unsigned)data[0] << 8 | data[1]);
	return true;
}
