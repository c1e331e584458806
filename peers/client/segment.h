// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/**
 * Segmentation of what the kernel hands over unfinished. With offloads on, a TUN frame is a
 * virtio_net_hdr and a packet that may be a TCP segment of up to 64 KB and may lack its transport
 * checksum; reading few large frames instead of many small ones is worth most of the speed.
 *
 * Ownership: a segmenter borrows the frame. Thread-safety: pure but for the segmenter.
 */

/** Bytes of the header in front of each frame, both ways. */
#define SEGMENT_HEADER_SIZE 10
/** Largest frame: header and packet. */
#define SEGMENT_FRAME_MAX (SEGMENT_HEADER_SIZE + 65535 + 40)
/** Largest packet that comes out. */
#define SEGMENT_SIZE_MAX 2048

struct segmenter {
	const uint8_t *packet;
	size_t size; // of the packet
	size_t l4; // offset of the header whose checksum is missing
	size_t csum_offset; // of the checksum in that header
	bool needs_csum;
	size_t header_size; // IP and TCP header, repeated in each segment; 0: a whole packet
	size_t payload_size; // per segment
	size_t pos; // in the payload
	unsigned count; // segments made
	bool is_done;
};

/** Starts on one frame. @return 0, -EBADMSG when its header contradicts the packet */
[[nodiscard]] int segment_init(struct segmenter *s, const uint8_t *frame, size_t size);
/** Writes the next packet. @return bytes, 0 behind the last */
size_t segment_next(struct segmenter *s, uint8_t out[SEGMENT_SIZE_MAX]);
