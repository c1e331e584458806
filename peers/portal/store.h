// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include "peers/portal/ident.h"

#include <stdbool.h>
#include <stdint.h>

/**
 * What must outlive the portal process: every device's tunnel addresses and key base, and the
 * portal's own signing secret. A file of JSON lines, mode 0600, only ever appended to; a line that
 * a crash cut short is dropped at the next start.
 *
 * Addresses come from 100.64.0.0/11 and fd00:2021:1111::/107 and are unique across clients and
 * gateways. Ownership: devices belong to the store and stay until it is closed. Thread-safety: one
 * thread. Writing blocks for the time of an fdatasync().
 */

struct store;

#define STORE_SECRET_SIZE 32

struct store_device {
	struct ident id;
	char *external_id;
	char ipv4[16];
	char ipv6[46];
	uint8_t psk_base[STORE_SECRET_SIZE];
};

/**
 * Opens or creates the file; @p path NULL keeps everything in memory.
 * @return NULL with *error set to owned "path:line: what"
 */
struct store *store_open(const char *path, random_fn random, char **error);
/** Wipes the secrets. Accepts NULL. */
void store_close(struct store *s);

/** Signing secret, STORE_SECRET_SIZE bytes. */
const uint8_t *store_secret(const struct store *s);

/**
 * Finds a device or makes and stores it.
 * @return NULL with errno: ENOSPC no address left, or what writing failed with
 */
const struct store_device *
store_device_get(struct store *s, const struct ident *id, const char *external_id);
