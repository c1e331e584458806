// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "control/base/log.h"
#include "peers/client/config.h"
#include "peers/client/runtime.h"

#include <sodium.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char *env_get(void *, const char *name)
{
	return getenv(name);
}

static int run(struct config *c)
{
	char error[CONFIG_ERROR_SIZE];

	if (c->log_level != NULL && log_level_set(c->log_level) < 0) {
		fprintf(stderr,
			"--log-level: %s: err, warning, notice, info or debug\n",
			c->log_level);
		return EXIT_FAILURE;
	}
	if (config_complete(c, error) < 0) {
		fprintf(stderr, "%s\n", error);
		return EXIT_FAILURE;
	}
	if (c->action == CONFIG_CHECK) {
		printf("settings are valid\n");
		return EXIT_SUCCESS;
	}
	return runtime_run(c);
}

int main(int argc, char *argv[])
{
	char error[CONFIG_ERROR_SIZE];
	struct config c;
	int status;

	if (sodium_init() < 0) {
		fprintf(stderr, "libsodium does not start\n");
		return EXIT_FAILURE;
	}
	signal(SIGPIPE, SIG_IGN);
	if (config_parse(&c, argc, argv, env_get, NULL, error) < 0) {
		config_token_forget();
		fprintf(stderr, "%s\n", error);
		return EXIT_FAILURE;
	}
	config_token_forget();
	if (c.action == CONFIG_HELP) {
		config_help_print(argv[0]);
		status = EXIT_SUCCESS;
	} else {
		status = run(&c);
	}
	config_fini(&c);
	return status;
}
