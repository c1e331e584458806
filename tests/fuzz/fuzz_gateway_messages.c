// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "control/portal/gateway_messages.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/message_input.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char event[MESSAGE_INPUT_EVENT_SIZE];
	json_t *payload = message_input_read(event, data, size);
	struct portal_error err = {0};
	struct gateway_message m;
	int rc;

	if (payload == NULL)
		return 0;
	rc = gateway_message_parse(&m, event, payload, &err);
	message_input_end(payload, rc, &err);
	if (rc == 0)
		gateway_message_fini(&m);
	return 0;
}
