// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include <stdbool.h>

/**
 * User agents and what their versions mean: which component speaks, whether a client and a
 * gateway may be paired, and which spelling of a field a client understands.
 *
 * Thread-safety: pure functions.
 */

enum agent_component {
	AGENT_COMPONENT_NONE = 0,
	AGENT_COMPONENT_RELAY,
	AGENT_COMPONENT_CONNLIB,
	AGENT_COMPONENT_HEADLESS,
	AGENT_COMPONENT_GUI,
	AGENT_COMPONENT_APPLE,
	AGENT_COMPONENT_ANDROID,
	AGENT_COMPONENT_GATEWAY,
	AGENT_COMPONENT_COUNT,
};

/** A semantic version; a pre-release sorts before its release. */
struct agent_version {
	unsigned major;
	unsigned minor;
	unsigned patch;
	bool is_prerelease;
	bool is_valid; // false: absent or not three numbers
};

/** A parsed user agent. */
struct agent {
	enum agent_component component;
	struct agent_version version;
	char version_text[32]; // "" if version is not valid
	char os_name[64];
	char os_version[32];
	char text[256]; // the user agent, cut to 255 bytes
};

/** Parses @p text, which may be NULL. Never fails: what is not understood stays empty. */
void agent_parse(struct agent *out, const char *text);

/** @return whether @p version is at least major.minor.patch; false if it is not valid. */
bool agent_version_is_least(
	const struct agent_version *version,
	unsigned major,
	unsigned minor,
	unsigned patch);

/**
 * Pairing rule: same major, gateway minor from client minor - 1 to client minor + 1. A client
 * without a version takes any gateway, a gateway without one is never taken.
 */
bool agent_is_compatible(const struct agent *client, const struct agent *gateway);

/** @return whether this client reads "sites"; older ones read "gateway_groups". */
bool agent_reads_sites(const struct agent *client);
