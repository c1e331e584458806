// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include "control/portal/types.h"

#include <jansson.h>

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/**
 * What the targets of the portal's messages share: the first line of an input is the event, the rest its
 * payload.
 */

#define MESSAGE_INPUT_EVENT_SIZE 64

/** @return the payload, owned, with @p event filled in; NULL: no such input */
static inline json_t *
message_input_read(char event[MESSAGE_INPUT_EVENT_SIZE], const uint8_t *data, size_t size)
{
	const uint8_t *end = memchr(data, '\n', size);
	size_t len = end != NULL ? (size_t)(end - data) : 0;
	json_error_t error;

	if (end == NULL || len >= MESSAGE_INPUT_EVENT_SIZE)
		return NULL;
	memcpy(event, data, len);
	event[len] = '\0';
	return json_loadb((const char *)end + 1, size - len - 1, JSON_DECODE_ANY, &error);
}

/** Frees the payload, since nothing needs it after a success; a refusal always says why. */
static inline void message_input_end(json_t *payload, int rc, const struct portal_error *err)
{
	json_decref(payload);
	if (rc == -EBADMSG && err->text[0] == '\0')
		abort();
}
