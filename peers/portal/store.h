// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include "peers/portal/grants.h"
#include "peers/portal/ident.h"

#include <stdbool.h>
#include <stdint.h>

/**
 * What must outlive the portal process: every device's tunnel addresses and key base, the portal's
 * own signing secret, and the authorizations in force. A file of JSON lines, mode 0600, appended to;
 * a line that a crash cut short is dropped at the next start. Lines about authorizations that are no
 * more are cleared out, by a new file in the place of the old one, when there are many.
 *
 * Addresses come from 100.64.0.0/11 and fd00:2021:1111::/107 and are unique across clients and
 * gateways. Ownership: devices belong to the store and stay until it is closed. Thread-safety: one
 * thread. Writing a device blocks for the time of an fdatasync(); authorizations survive the process
 * but, for the last seconds, not the machine: then clients ask again.
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

/** Keeps an authorization, in the place of a former one of the same triple. */
void store_grant_put(struct store *s, const struct grant *g);
/** Forgets the authorization of this triple. */
void store_grant_del(struct store *s, const struct grant *triple);
/** Calls @p visit for each authorization; it may not put or delete any. */
void store_grant_walk(
	const struct store *s,
	void (*visit)(const struct grant *, void *),
	void *arg);
/** @return NULL if there is none */
const struct store_device *store_device_find(const struct store *s, const struct ident *id);
