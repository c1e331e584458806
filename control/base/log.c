// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "control/base/log.h"

#include "control/base/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

// The level is process wide: it is set once from the command line before any thread starts.
static enum log_level log_level_max = LOG_LEVEL_NOTICE;

static const char *const level_names[] = {
	[LOG_LEVEL_ERR] = "ERR",
	[LOG_LEVEL_WARNING] = "WARNING",
	[LOG_LEVEL_NOTICE] = "NOTICE",
	[LOG_LEVEL_INFO] = "INFO",
	[LOG_LEVEL_DEBUG] = "DEBUG",
};

int log_level_set(const char *name)
{
	for (unsigned i = 0; i < sizeof(level_names) / sizeof(level_names[0]); i++) {
		if (strcasecmp(name, level_names[i]) == 0) {
			log_level_max = (enum log_level)i;
			return 0;
		}
	}
	return err_set(EINVAL);
}

bool log_is_on(enum log_level level)
{
	return level <= log_level_max;
}

void log_write(enum log_level level, const char *area, const char *fmt, ...)
{
	char line[1024];
	struct timespec ts;
	struct tm tm;
	va_list ap;
	size_t n;

	clock_gettime(CLOCK_REALTIME, &ts);
	gmtime_r(&ts.tv_sec, &tm);
	n = strftime(line, sizeof(line), "%Y-%m-%dT%H:%M:%S", &tm);
	n += (size_t)snprintf(
		line + n,
		sizeof(line) - n,
		".%03ldZ %s %s: ",
		ts.tv_nsec / 1000000,
		level_names[level],
		area);
	va_start(ap, fmt);
	vsnprintf(line + n, sizeof(line) - n - 1, fmt, ap);
	va_end(ap);
	n = strnlen(line, sizeof(line) - 1);
	// Portal and peer text may be part of a line: keep it one line.
	for (size_t i = 0; i < n; i++) {
		if ((unsigned char)line[i] < 0x20)
			line[i] = '?';
	}
	line[n++] = '\n';
	if (write(STDERR_FILENO, line, n) < 0)
		return; // nowhere left to report it
}

bool log_limit_pass(long *state)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &ts);
	if (*state == ts.tv_sec + 1)
		return false;
	*state = ts.tv_sec + 1;
	return true;
}
