// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include <stddef.h>
#include <stdint.h>

/**
 * What each fuzz_<name>.c defines: one run of its parser over one input. Called by libFuzzer, or
 * by replay.c for each file of the corpus. Findings are aborts, sanitizer reports and time-outs.
 */

/** @return 0 always */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
