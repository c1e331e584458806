// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "control/portal/client_messages.h"
#include "tests/fuzz/fuzz.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

// The first line is the event, the rest its payload.
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *end = memchr(data, '\n', size);
	struct client_message m;
	struct portal_error err = {0};
	json_error_t error;
	json_t *payload;
	char event[64];
	size_t len;
	int rc;

	len = end != NULL ? (size_t)(end - data) : 0;
	if (end == NULL || len >= sizeof(event))
		return 0;
	memcpy(event, data, len);
	event[len] = '\0';
	payload = json_loadb((const char *)end + 1, size - len - 1, JSON_DECODE_ANY, &error);
	if (payload == NULL)
		return 0;
	rc = client_message_parse(&m, event, payload, &err);
	// A refusal always says why, and nothing needs the JSON after a success.
	json_decref(payload);
	if (rc == -EBADMSG && err.text[0] == '\0')
		abort();
	if (rc == 0)
		client_message_fini(&m);
	return 0;
}
