// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "control/portal/backoff.h"

#include <stddef.h>
#include <string.h>

void backoff_init(struct backoff *b)
{
	b->was_joined = false;
	b->step_ms = BACKOFF_START_MS;
}

void backoff_reset(struct backoff *b)
{
	b->was_joined = true;
	b->step_ms = BACKOFF_START_MS;
}

uint32_t backoff_next_ms(struct backoff *b, int64_t retry_after_ms, uint32_t random)
{
	uint32_t step = b->step_ms;

	if (retry_after_ms >= BACKOFF_RETRY_AFTER_MAX_MS)
		return BACKOFF_RETRY_AFTER_MAX_MS;
	if (retry_after_ms != BACKOFF_NO_RETRY_AFTER && retry_after_ms < BACKOFF_RETRY_AFTER_MIN_MS)
		return BACKOFF_RETRY_AFTER_MIN_MS;
	if (retry_after_ms != BACKOFF_NO_RETRY_AFTER)
		return (uint32_t)retry_after_ms;
	if (!b->was_joined)
		return BACKOFF_FIRST_CONNECT_MS;
	b->step_ms = step + step / 2 < BACKOFF_CAP_MS ? step + step / 2 : BACKOFF_CAP_MS;
	return step + (uint32_t)((uint64_t)step * random / UINT32_MAX);
}

// RFC 9110 section 5.6.7, the preferred form, and what mail dates have at the end.
static bool date_parse(const char *value, time_t *out)
{
	static const char *const zones[] = {" GMT", " UTC", " +0000", " -0000"};
	struct tm tm = {0};
	const char *rest = strptime(value, "%a, %d %b %Y %H:%M:%S", &tm);

	for (size_t i = 0; rest != NULL && i < sizeof(zones) / sizeof(zones[0]); i++) {
		if (strcmp(rest, zones[i]) == 0) {
			*out = timegm(&tm);
			return true;
		}
	}
	return false;
}

int64_t backoff_retry_after_parse(const char *value, time_t wall_now)
{
	size_t n_digits;
	int64_t seconds = 0;
	time_t date;

	value += strspn(value, " \t");
	n_digits = strspn(value, "0123456789");
	if (n_digits > 0 && value[n_digits + strspn(value + n_digits, " \t")] == '\0') {
		for (size_t i = 0; i < n_digits && seconds < BACKOFF_RETRY_AFTER_MAX_MS; i++)
			seconds = seconds * 10 + (value[i] - '0');
	} else if (date_parse(value, &date)) {
		seconds = date > wall_now ? date - wall_now : 0;
	} else {
		return BACKOFF_NO_RETRY_AFTER;
	}
	if (seconds >= BACKOFF_RETRY_AFTER_MAX_MS / 1000)
		return BACKOFF_RETRY_AFTER_MAX_MS;
	return seconds * 1000;
}

bool backoff_is_fatal(int http_status, const char *code)
{
	return http_status == 401 && code != NULL
		&& (strcmp(code, "invalid_token") == 0 || strcmp(code, "missing_token") == 0);
}
