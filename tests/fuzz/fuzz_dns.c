// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

// The in-tunnel DNS server: a client's message, then a nameserver's response to a good query.

#include "control/names/forwarder.h"
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>
#include <string.h>

static const uint8_t good[] = "\x12\x34\1\0\0\1\0\0\0\0\0\0\1a\4test\0\0\20\0\1";

static void same_id(void *, void *buf, size_t size)
{
	memset(buf, 0, size);
}

// A forwarder with one nameserver.
static struct forwarder *make_ready(void)
{
	struct forwarder *f = forwarder_create(same_id, NULL);
	uint8_t response[DNS_HEAD_SIZE];
	struct ip_addr server;
	struct forward_step step;
	size_t size;

	if (f == NULL || ip_addr_parse(&server, "192.0.2.1") < 0)
		abort();
	forwarder_probe(f, &server, 1);
	step = forwarder_probe_next(f, 0);
	size = dns_probe_write(response, 0);
	response[2] |= 0x80;
	if (forwarder_response(f, 1, step.id, response, size).verdict != FORWARD_DONE)
		abort();
	return f;
}

// An answer of ours has the client's id, says that it is one, and fits.
static void check_reply(const struct forward_step *step, const uint8_t *query)
{
	if (step->verdict != FORWARD_REPLY)
		return;
	if (step->size < DNS_HEADER_SIZE || memcmp(step->data, query, 2) != 0
	    || (step->data[2] & 0x80) == 0
	    || (step->transport == FORWARD_UDP && step->size > DNS_UDP_REPLY_SIZE))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct forwarder *f = make_ready();
	struct forward_step step = forwarder_query(f, 1, FORWARD_UDP, data, size);
	struct ip_addr servers[RESOLV_CONF_NAMESERVERS_MAX];

	if (step.verdict == FORWARD_SEND) {
		step = forwarder_fail(f, step.id);
		if (step.verdict != FORWARD_REPLY)
			abort();
		check_reply(&step, data);
	}
	step = forwarder_query(f, 1, FORWARD_UDP, good, sizeof(good));
	step = forwarder_response(f, 2, step.id, data, size);
	check_reply(&step, good);
	if (resolv_conf_parse(servers, (const char *)data, size) > RESOLV_CONF_NAMESERVERS_MAX)
		abort();
	forwarder_destroy(f);
	return 0;
}
