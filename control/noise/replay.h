// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include "control/noise/messages.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/**
 * Anti-replay window of a transport session: RFC 6479's ring of words, 8192 packets wide.
 *
 *   words:   [ k-128 | ... | k-1 | k ]      k = greatest / 64, ring position k % 129
 *   accepts: greatest - 8191 ... greatest once each, and anything above
 *
 * One word more than the window needs lets a whole word be cleared when the window advances
 * instead of single bits. A zeroed struct is an empty window.
 *
 * Header only, links nothing: workers include it. Thread-safety: one owner.
 */

enum {
	NOISE_REPLAY_WINDOW = 8192, // packets
	NOISE_REPLAY_WORDS = NOISE_REPLAY_WINDOW / 64 + 1,
};

struct noise_replay {
	uint64_t greatest; // counter of the newest accepted packet
	uint64_t words[NOISE_REPLAY_WORDS];
};

/**
 * Tells whether @p counter would be accepted. Reads only; good before decryption, but only
 * noise_replay_update() after authentication decides.
 */
static inline bool noise_replay_check(const struct noise_replay *r, uint64_t counter)
{
	if (counter >= NOISE_REJECT_AFTER_MESSAGES)
		return false;
	if (counter > r->greatest)
		return true;
	if (r->greatest - counter >= NOISE_REPLAY_WINDOW)
		return false;
	return (r->words[counter / 64 % NOISE_REPLAY_WORDS] >> (counter % 64) & 1) == 0;
}

/**
 * Accepts @p counter once. Call after the packet authenticated, before any other effect of it.
 *
 * @return false for a duplicate, too old or too high counter; nothing changed then.
 */
[[nodiscard]] static inline bool noise_replay_update(struct noise_replay *r, uint64_t counter)
{
	uint64_t word = counter / 64;
	uint64_t newest = r->greatest / 64;

	if (!noise_replay_check(r, counter))
		return false;
	if (counter > r->greatest) {
		uint64_t n = word - newest;

		if (n > NOISE_REPLAY_WORDS)
			n = NOISE_REPLAY_WORDS;
		for (uint64_t i = 0; i < n; i++)
			r->words[(word - i) % NOISE_REPLAY_WORDS] = 0;
		r->greatest = counter;
	}
	r->words[word % NOISE_REPLAY_WORDS] |= UINT64_C(1) << (counter % 64);
	return true;
}
