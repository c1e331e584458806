// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "control/path/relays.h"
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>
#include <string.h>

// The input is a story: each step is one byte of size, one of time, and a datagram from the relay.
// Transaction ids are 00 01 .. 0b, so that answers fit; "signed" ones are made right here.

#define STEP_SIZE 2
#define TIME_UNIT_NS 1000000000ull
#define INTEGRITY_ATTR_SIZE (4 + STUN_INTEGRITY_SIZE)

static void random_bytes(void *, void *buf, size_t size)
{
	uint8_t *bytes = buf;

	for (size_t i = 0; i < size; i++)
		bytes[i] = (uint8_t)i;
}

static void drain(struct relays *relays)
{
	struct turn_transmit transmit;
	struct relays_event event;

	while (relays_poll_transmit(relays, &transmit)) {
		if (transmit.size == 0 || transmit.size > sizeof(transmit.data))
			abort();
	}
	while (relays_poll_event(relays, &event)) {
		if (event.type == RELAYS_EVENT_CANDIDATE
		    && !ice_candidate_is_usable(&event.turn.candidate.addr))
			abort();
	}
}

// Replaces a last attribute that has the shape of MESSAGE-INTEGRITY by the right one.
static void sign(struct stun_mac *mac, uint8_t *data, size_t size)
{
	uint8_t key[STUN_LONG_TERM_KEY_SIZE];
	struct stun_writer w = {.cur = cursor_writer(data, size)};

	if (size < STUN_HEADER_SIZE + INTEGRITY_ATTR_SIZE || !stun_is_message(data, size)
	    || stun_long_term_key(key, "u", "firezone", "p") < 0)
		return;
	w.cur.pos = size - INTEGRITY_ATTR_SIZE;
	if (data[w.cur.pos] != 0 || data[w.cur.pos + 1] != STUN_ATTR_MESSAGE_INTEGRITY)
		return;
	stun_writer_add_integrity(&w, mac, key, sizeof(key));
}

static void
receive(struct relays *relays, struct stun_mac *mac, uint64_t now, const uint8_t *data, size_t size)
{
	const uint8_t relay4[4] = {198, 51, 100, 5}, local4[4] = {10, 0, 0, 2},
		      peer4[4] = {203, 0, 113, 7};
	struct ip_endpoint remote = {.addr = ip_addr_v4(relay4), .port = 3478};
	struct ip_endpoint local = {.addr = ip_addr_v4(local4), .port = 52625};
	struct ice_candidate peer = {.kind = ICE_KIND_SRFLX};
	uint8_t *copy = malloc(size + 1); // exact size: reading beyond it is found
	struct turn_data out;
	uint32_t relay;

	if (copy == NULL)
		return;
	memcpy(copy, data, size);
	sign(mac, copy, size);
	if (relays_handle_packet(relays, now, &local, &remote, copy, size, &relay, &out)
	    == TURN_RX_DATA) {
		if (out.data != copy + TURN_CHANNEL_HEADER_SIZE
		    || out.size != size - TURN_CHANNEL_HEADER_SIZE)
			abort();
	}
	free(copy);
	drain(relays);
	peer.addr = (struct ip_endpoint){.addr = ip_addr_v4(peer4), .port = (uint16_t)(size + 1)};
	relays_want_channel(relays, now, 1, &peer);
	drain(relays);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t relay4[4] = {198, 51, 100, 5}, any4[4] = {0};
	struct stun_mac *mac = stun_mac_create();
	struct relays_config config = {
		.local_v4 = {.addr = ip_addr_v4(any4), .port = 52625},
		.random = random_bytes,
		.mac = mac,
	};
	const struct relays_entry entry = {
		.endpoint = {.addr = ip_addr_v4(relay4), .port = 3478},
		.username = "u",
		.password = "p",
	};
	struct relays *relays = relays_create(&config, 0);
	struct cursor c = cursor_reader(data, size);
	uint64_t now = 0;

	if (relays == NULL)
		abort();
	relays_apply(relays, now, NULL, 0, &entry, 1);
	drain(relays);
	while (cursor_left(&c) > STEP_SIZE) {
		size_t n = cursor_read_u8(&c), left;

		now += cursor_read_u8(&c) * TIME_UNIT_NS;
		left = cursor_left(&c);
		n = n < left ? n : left;
		relays_handle_timeout(relays, now);
		drain(relays);
		receive(relays, mac, now, cursor_take(&c, n), n);
	}
	relays_destroy(relays);
	stun_mac_destroy(mac);
	return 0;
}
