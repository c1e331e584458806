// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include "tests/unit/unit.h"

#include <rte_eal.h>
#include <rte_errno.h>

#include <stdio.h>

/**
 * DPDK's memory for a unit test: no root, no hugepages, no devices, nothing shared with other
 * processes. Use it as the group set-up and tear-down of cmocka_run_group_tests().
 */

// cmocka's, for both.
static inline int unit_eal_init(void **)
{
	char *argv[] = {
		(char[]){"unit"},
		(char[]){"--no-huge"},
		(char[]){"--no-shconf"},
		(char[]){"--no-pci"},
		(char[]){"--no-telemetry"},
		(char[]){"--log-level=lib.*:error"},
		(char[]){"-m"},
		(char[]){"128"},
		(char[]){"-l"},
		(char[]){"0"},
		NULL,
	};

	if (rte_eal_init(COUNT_OF(argv) - 1, argv) < 0) {
		fprintf(stderr, "rte_eal_init: %s\n", rte_strerror(rte_errno));
		return -1;
	}
	return 0;
}

static inline int unit_eal_fini(void **)
{
	return rte_eal_cleanup();
}
