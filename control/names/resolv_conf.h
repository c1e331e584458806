// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include "control/base/addr.h"

/**
 * The nameservers of a resolv.conf(5).
 *
 * Thread-safety: pure.
 */

enum {
	RESOLV_CONF_NAMESERVERS_MAX = 8,
	RESOLV_CONF_SIZE_MAX = 64 * 1024, // bytes read of a file
};

/**
 * Reads the `nameserver` lines of @p size bytes of text; all other lines, addresses with an
 * interface and whatever is no address are left out, and so are repeats.
 * @return how many were written to @p out
 */
size_t
resolv_conf_parse(struct ip_addr out[RESOLV_CONF_NAMESERVERS_MAX], const char *text, size_t size);
