// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include "control/base/addr.h"

#include <stdbool.h>
#include <uv.h>

/**
 * The health check: a plain HTTP listener that answers GET /healthz with 200 for as long as the process
 * runs and GET /readyz with 200 or 503. Anything else is 404. Each connection carries one request and
 * lives for at most HEALTH_TIMEOUT_MS; of too many the newest are closed.
 *
 * Ownership: borrows the loop. Thread-safety: one thread, the loop's.
 */

#define HEALTH_TIMEOUT_MS 5000

struct health;

/**
 * @param is_ready asked at each /readyz
 * @return NULL with errno
 */
struct health *health_create(
	uv_loop_t *loop,
	const struct ip_endpoint *at,
	bool (*is_ready)(void *ctx),
	void *ctx);
/** Stops and frees itself on the loop. Accepts NULL. */
void health_close(struct health *h);
