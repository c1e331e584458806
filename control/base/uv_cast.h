// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include <uv.h>

/**
 * libuv's handles are structs that begin alike; its interface takes a pointer to their common
 * beginning. Through void, since the compiler takes the direct cast for an aliasing mistake.
 *
 * Thread-safety: none needed.
 */

static inline uv_handle_t *uv_cast_handle(void *handle)
{
	return handle;
}

static inline uv_stream_t *uv_cast_stream(void *handle)
{
	return handle;
}

static inline struct sockaddr *uv_cast_sockaddr(void *storage)
{
	return storage;
}

/** Closes a handle that may never have been initialised (zeroed memory) or is closing already. */
static inline void uv_cast_close(void *handle)
{
	uv_handle_t *h = handle;

	if (h->type != UV_UNKNOWN_HANDLE && !uv_is_closing(h))
		uv_close(h, NULL);
}
