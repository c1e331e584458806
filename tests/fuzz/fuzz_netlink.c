// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "kni/fib.h"
#include "kni/msg.h"
#include "kni/state.h"
#include "tests/fuzz/fuzz.h"

#include <linux/netlink.h>
#include <stdlib.h>
#include <string.h>

// The first byte says whether the rest, one datagram of the kernel, is of a dump.

static void check(const struct kni_msg *msg)
{
	if (msg->type == KNI_MSG_ROUTE && msg->route.n_hops > KNI_HOPS_MAX)
		abort();
	if (msg->type == KNI_MSG_ADDR && msg->addr.prefix_len > 8 * ip_addr_size(&msg->addr.addr))
		abort();
}

// A snapshot can be made of whatever the kernel said.
static void build(const struct kni_state *s)
{
	struct fib *fib = kni_state_build(s, 1);

	fib_destroy(fib);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct kni_state *s = kni_state_create(NULL);
	const struct nlmsghdr *nlh;
	uint8_t *datagram;
	size_t pos = 0;

	if (size == 0 || s == NULL || kni_state_port_add(s, 7, 0) < 0)
		goto out;
	// malloc() aligns, and the copy's end is the end.
	datagram = malloc(size > 1 ? size - 1 : 1);
	if (datagram == NULL)
		goto out;
	memcpy(datagram, data + 1, size - 1);
	while ((nlh = kni_msg_next(datagram, size - 1, &pos)) != NULL) {
		struct kni_msg msg;

		if (pos > size - 1)
			abort();
		if (kni_msg_parse(&msg, nlh) < 0 || msg.type == KNI_MSG_OTHER)
			continue;
		check(&msg);
		if (kni_state_apply(s, &msg, data[0] != 0, 1000) < 0)
			break;
	}
	free(datagram);
	build(s);
out:
	kni_state_destroy(s);
	return 0;
}
