// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include <stdbool.h>

/**
 * Line log of the control programs (gateway control core, client, portal), written to stderr as
 *   2026-11-23T13:48:56.123Z NOTICE portal.session: joined topic=gateway
 * Message first, then key=value pairs. No DPDK, so that peers link it too; workers never log.
 *
 * Levels: ERR lost function, WARNING the operator should look, NOTICE lifecycle, INFO session
 * changes, DEBUG protocol. User addresses appear at DEBUG only. Attacker-driven paths log through
 * LOG_LIMITED.
 *
 * Thread-safety: one write(2) per line; may be called from any control thread.
 */

enum log_level {
	LOG_LEVEL_ERR = 0,
	LOG_LEVEL_WARNING,
	LOG_LEVEL_NOTICE,
	LOG_LEVEL_INFO,
	LOG_LEVEL_DEBUG,
};

/** Sets the level from "err", "warning", "notice", "info" or "debug". @return 0, -EINVAL */
[[nodiscard]] int log_level_set(const char *name);
/** @return whether a line at @p level would be written. */
bool log_is_on(enum log_level level);
/** Writes one line; @p area is "module.file". */
[[gnu::format(printf, 3, 4)]] void
log_write(enum log_level level, const char *area, const char *fmt, ...);
/** Per-site limiter: true at most once a second. @p state is a static long of the call site. */
bool log_limit_pass(long *state);

// Each .c file that logs defines LOG_AREA before use.
#define LOG(level, ...)                                                                            \
	do {                                                                                       \
		if (log_is_on(LOG_LEVEL_##level))                                                  \
			log_write(LOG_LEVEL_##level, LOG_AREA, __VA_ARGS__);                       \
	} while (0)

#define LOG_LIMITED(level, ...)                                                                    \
	do {                                                                                       \
		static long log_limit_state;                                                       \
		if (log_is_on(LOG_LEVEL_##level) && log_limit_pass(&log_limit_state))              \
			log_write(LOG_LEVEL_##level, LOG_AREA, __VA_ARGS__);                       \
	} while (0)
