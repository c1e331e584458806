// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include "control/portal/login.h"

#include <net/if.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

/**
 * Settings of the client: one table of (flag, environment variable, meaning) that drives the
 * command line, the environment and --help. The variables are those of the official client;
 * flags win over variables.
 *
 * Ownership: a config owns its strings; config_fini() wipes the token.
 * Thread-safety: call before any thread starts, config_parse() edits the environment.
 */

enum config_action {
	CONFIG_RUN = 0,
	CONFIG_HELP, // --help was asked for
	CONFIG_CHECK, // --check: say whether the settings are good and end
};

struct config {
	enum config_action action;
	char *api_url;
	char *token; // secret; without white space after config_complete()
	char *token_path;
	char *id; // device id as given; NULL: not given
	char external_id[LOGIN_ID_SIZE]; // as it goes to the portal, by config_complete()
	char *name;
	char *dns_control;
	char *log_level; // NULL: notice
	char tun_name[IFNAMSIZ];
	bool is_internet_active;
	bool is_exit_when_up; // --exit
	bool is_telemetry_off; // accepted, there is none
	bool is_local_filter; // refuse on this side what the resource's filters forbid
	bool is_prohibited_request; // ask the portal again on ICMP "administratively prohibited"
	uint64_t max_partition_ms; // 0: no limit
};

/** Text of an error, ready for the operator. */
#define CONFIG_ERROR_SIZE 256

/** Where variables come from; @p ctx is the caller's. @return the value or NULL. */
typedef char *(*config_env_get)(void *ctx, const char *name);

/**
 * Reads flags and variables. Does not open files.
 * @param error gets the reason when the answer is negative.
 * @return 0, -EINVAL, -ENOMEM
 */
[[nodiscard]] int config_parse(
	struct config *c,
	int argc,
	char *const argv[],
	config_env_get env,
	void *env_ctx,
	char error[CONFIG_ERROR_SIZE]);

/**
 * Fills what the environment left open from this machine: the token from its file, the id from the
 * state file or /etc/machine-id, the name from the host name. @return 0, -EINVAL, -errno
 */
[[nodiscard]] int config_complete(struct config *c, char error[CONFIG_ERROR_SIZE]);

/** Wipes and frees; accepts a zeroed struct. */
void config_fini(struct config *c);

/** Overwrites the token in the process's environment block and removes the variable. */
void config_token_forget(void);

/** Text for --help. */
void config_help_print(const char *program);

/** @return NULL if a token file with these attributes may be used, else what is wrong with it. */
const char *config_token_file_problem(const struct stat *st);

/** Parses "90s", "5m", "1h 30m". @return 0, -EINVAL, -ERANGE */
[[nodiscard]] int config_duration_parse(uint64_t *out_ms, const char *text);
