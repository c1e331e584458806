// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include "peers/portal/portal.h"

/**
 * The operator's commands: one JSON object in, one out, over whatever carries lines.
 *   {"command":"grant","args":["alice","web"],"options":{"expires":"60"}}
 *   {"ok":true,"result":...}  or  {"ok":false,"error":"..."}
 *
 * Thread-safety: one thread, the portal's.
 */

/** Where the control socket is unless the policy file or --socket says otherwise. */
#define CTL_SOCKET_DEFAULT "/run/sallyport-portal.sock"
/** Longest request line in bytes. */
#define CTL_LINE_SIZE_MAX (1U << 20)

/** What commands work on; borrowed. */
struct ctl {
	struct portal *portal;
	const char *policy_path;
};

/** Runs one request. @return owned reply text ending in a newline */
char *ctl_handle(struct ctl *c, const char *line, size_t size, struct instant now);
/** Reads the policy file again and puts it in force; on an error nothing changes. @return NULL or owned error */
char *ctl_reload(struct ctl *c, struct instant now);

/** The program's ctl mode: sends one command line. @return exit status */
int ctl_client_run(int argc, char **argv);
