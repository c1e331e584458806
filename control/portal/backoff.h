// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

/**
 * When to try the portal again, sans-IO. Before the first join a constant second, afterwards
 * exponential with jitter; never giving up: what is final is decided by backoff_is_fatal() alone.
 *
 * Thread-safety: none, one thread.
 */

#define BACKOFF_FIRST_CONNECT_MS 1000
#define BACKOFF_START_MS 500 // x1.5 per attempt
#define BACKOFF_CAP_MS 60000 // before jitter, which adds 0..100 %
/** At least this long after "token_expired", which the loser of a race of two connects gets too. */
#define BACKOFF_TOKEN_EXPIRED_MS 5000
/** A longer Retry-After is cut to this. */
#define BACKOFF_RETRY_AFTER_MAX_MS 3600000
/** A shorter one counts as this, so that a server that always says 0 does not keep us busy. */
#define BACKOFF_RETRY_AFTER_MIN_MS 250
/** No Retry-After. */
#define BACKOFF_NO_RETRY_AFTER (-1)

struct backoff {
	bool was_joined;
	uint32_t step_ms;
};

void backoff_init(struct backoff *b);
/** A join succeeded: start over from the shortest delay. The HTTP upgrade alone is no reason. */
void backoff_reset(struct backoff *b);
/**
 * The delay before the next attempt.
 * @param retry_after_ms from backoff_retry_after_parse(); replaces the computed delay
 * @param random uniform; injected so that tests are exact
 */
uint32_t backoff_next_ms(struct backoff *b, int64_t retry_after_ms, uint32_t random);
/**
 * Value of a Retry-After header: seconds or an HTTP date.
 * @param wall_now for dates. @return milliseconds, a past date is 0; BACKOFF_NO_RETRY_AFTER if not understood
 */
int64_t backoff_retry_after_parse(const char *value, time_t wall_now);
/**
 * Whether an HTTP status ends the session for good: only 401 with a problem code of invalid_token or
 * missing_token.
 * @param code of the problem body, or NULL
 */
bool backoff_is_fatal(int http_status, const char *code);
