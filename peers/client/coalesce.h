// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include "peers/client/segment.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/**
 * The opposite of segment.h: consecutive TCP packets of one flow become one frame for the TUN, so
 * that the host's stack handles 64 KB at a time. Only what cannot be told apart afterwards is
 * joined: equal headers but for sequence number, length, IPv4 id and PSH on the last one, payloads
 * without gap and of one size, both checksums right (a joined packet gets new ones, and nothing
 * broken may be blessed by that). The order of packets stays as it was.
 *
 * Ownership: copies packets. A zeroed struct is empty. Thread-safety: none.
 */

struct coalescer {
	size_t size; // of the frame; 0: empty
	size_t l4; // offset of the TCP header in the packet
	size_t header_size; // IP and TCP header
	size_t segment_size; // payload of each packet but the last
	unsigned count; // packets
	bool is_joinable; // more may follow
	uint32_t next_seq;
	uint8_t frame[SEGMENT_FRAME_MAX];
};

/**
 * Takes a well-formed packet.
 * @return false if it does not go with what is held: coalesce_finish(), write that, and try again,
 * which then succeeds
 */
bool coalesce_add(struct coalescer *c, const uint8_t *packet, size_t size);
/** Completes the frame and empties the coalescer. @return bytes in c->frame to write, 0 if empty */
size_t coalesce_finish(struct coalescer *c);
