// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include <errno.h>
#include <stddef.h>

/**
 * Error convention of the whole tree: functions that can fail return 0 or -errno, creators
 * return a pointer or NULL with errno set. These two helpers keep the assignment to errno and
 * the return value from drifting apart.
 *
 * Thread-safety: errno is per thread.
 */

/** Sets errno to @p err (positive) and returns -err. */
static inline int err_set(int err)
{
	errno = err;
	return -err;
}

/** Sets errno to @p err (positive) and returns NULL. */
static inline void *err_set_null(int err)
{
	errno = err;
	return NULL;
}
