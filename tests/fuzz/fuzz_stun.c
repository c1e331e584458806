// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "control/path/stun.h"
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct stun_mac *mac = stun_mac_create();
	struct stun_attr attr;
	struct stun_msg msg;
	size_t pos = 0, n = 0;

	if (mac != NULL && stun_msg_parse(&msg, data, size) == 0) {
		stun_msg_verify(mac, &msg, "password", 8);
		stun_msg_verify_fingerprint(&msg);
		while (stun_attr_next(&msg, &pos, &attr))
			n += attr.value.size;
		// A message that parses is walked to its end, and has the shape of one.
		if (n > size || (size > STUN_HEADER_SIZE && pos != size)
		    || !stun_is_message(data, size))
			abort();
	}
	stun_mac_destroy(mac);
	return 0;
}
