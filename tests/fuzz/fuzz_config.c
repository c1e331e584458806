// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "control/ops/config.h"
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>
#include <string.h>

// The operator's file: a refusal is one line that names it, and what is accepted is within its limits.
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char error[CONFIG_ERROR_SIZE] = "";
	struct config *c = config_parse("g.yaml", (const char *)data, size, error);

	if (c == NULL) {
		if (strncmp(error, "g.yaml", 6) != 0 || strchr(error, '\n') != NULL)
			abort();
		return 0;
	}
	if (c->n_ports == 0 || c->n_ports > CONFIG_PORTS_MAX || c->n_workers > CONFIG_WORKERS_MAX
	    || c->nat_port_first > c->nat_port_last || c->max_clients == 0)
		abort();
	for (size_t i = 0; i < c->n_ports; i++) {
		if (c->ports[i].n_addrs > CONFIG_ADDRS_MAX
		    || c->ports[i].n_routes > CONFIG_ROUTES_MAX)
			abort();
	}
	config_destroy(c);
	return 0;
}
