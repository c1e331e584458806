// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

/**
 * What every unit test includes: cmocka with the headers it wants before it, and the size of a
 * constant table. Include it after the header under test.
 */

// clang-format off
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
// clang-format on

#define COUNT_OF(table) (sizeof(table) / sizeof((table)[0]))
