// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "control/portal/phoenix.h"
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>
#include <string.h>

// Puts out and tells everything there is; what is put out must be one JSON object.
static void drain(struct phoenix *p)
{
	struct phoenix_event e;
	json_error_t error;
	char *frame;
	size_t size;

	while ((frame = phoenix_next_frame(p, &size)) != NULL) {
		json_t *value = json_loadb(frame, size, 0, &error);

		if (!json_is_object(value) || json_object_size(value) != 4)
			abort();
		json_decref(value);
		free(frame);
	}
	while (phoenix_next_event(p, &e)) {
		if (e.type == PHOENIX_EVENT_MESSAGE && phoenix_send(p, e.name, e.payload) == 0)
			e.detail[0] = '\0';
		phoenix_event_fini(&e);
	}
}

// Each line is a frame; time passes between them by as much as they are long.
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct phoenix *p = phoenix_create("gateway");
	uint64_t now = 0;

	if (p == NULL)
		return 0;
	phoenix_open(p, now);
	drain(p);
	while (size > 0) {
		const uint8_t *end = memchr(data, '\n', size);
		size_t len = end != NULL ? (size_t)(end - data) : size;

		phoenix_receive(p, (const char *)data, len, now);
		drain(p);
		now += len;
		phoenix_tick(p, now);
		drain(p);
		data += len;
		size -= len;
		if (size > 0) {
			data++;
			size--;
		}
	}
	phoenix_destroy(p);
	return 0;
}
