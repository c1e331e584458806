// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "control/base/log.h"
#include "peers/client/client.h"
#include "tests/unit/client/world.h"
#include "tests/unit/unit.h"

#include <sodium.h>

#include <stdlib.h>

// Brings up the connection with one packet to the first resource.
static struct world *connected(bool is_local_filter, bool is_prohibited_request)
{
	struct world *w = world_create(is_local_filter, is_prohibited_request);

	world_host_send(w, "10.20.0.100", 80, "first");
	assert_int_equal(w->n_requests, 1);
	world_authorize(w, WORLD_RESOURCE);
	world_run(w, 1000);
	assert_int_equal(w->gateway.n_packets, 1);
	return w;
}

static void first_packet(void **)
{
	struct world *w = world_create(true, false);

	assert_int_equal(w->n_routes, 3);
	world_host_send(w, "10.20.0.100", 80, "one");
	world_host_send(w, "10.20.0.100", 80, "two");
	world_host_send(w, "10.20.0.100", 80, "two");
	assert_int_equal(w->n_requests, 1);
	assert_string_equal(
		w->last_request,
		"{\"connected_gateway_ids\":[],\"resource_id\":\"" WORLD_RESOURCE "\"}");

	// No timer repeats it, the next packet does, at the earliest after two seconds.
	world_run(w, 1990);
	assert_int_equal(w->n_requests, 1);
	world_host_send(w, "10.20.0.100", 80, "three");
	assert_int_equal(w->n_requests, 1);
	world_run(w, 10);
	world_host_send(w, "10.20.0.100", 80, "four");
	assert_int_equal(w->n_requests, 2);
	assert_int_equal(w->n_candidates, 0);

	world_authorize(w, WORLD_RESOURCE);
	assert_int_equal(w->n_candidates, 1);
	world_run(w, 1000);
	// What waited arrives once each, in order.
	assert_int_equal(w->gateway.n_packets, 4);
	assert_memory_equal(w->gateway.last + 28, "four", 4);
	assert_int_equal(w->gateway.n_initiations, 1);

	world_gateway_reply(w, "10.20.0.100", "100.64.0.11", "answer");
	assert_int_equal(w->n_host, 1);
	assert_memory_equal(w->host + 28, "answer", 6);
	world_destroy(w);
}

static void b10_second_resource_reuses(void **)
{
	struct world *w = connected(true, false);

	world_host_send(w, "2001:db8:20::1", 80, "six");
	assert_int_equal(w->n_requests, 2);
	assert_string_equal(
		w->last_request,
		"{\"connected_gateway_ids\":[\"" WORLD_GATEWAY
		"\"],\"resource_id\":\"" WORLD_RESOURCE_V6 "\"}");
	world_authorize(w, WORLD_RESOURCE_V6);
	// Candidates again, the old session goes on at once.
	assert_int_equal(w->n_candidates, 2);
	world_run(w, 0);
	assert_int_equal(w->gateway.n_packets, 2);
	assert_int_equal(w->gateway.n_initiations, 1);
	world_gateway_reply(w, "2001:db8:20::1", "fd00:2021:1111::b", "six");
	assert_int_equal(w->n_host, 1);
	world_destroy(w);
}

static void not_ours_to_send(void **)
{
	static const struct {
		const char *src, *dst;
		enum client_counter counter;
	} cases[] = {
		{"100.64.0.12", "10.20.0.1", CLIENT_COUNTER_TUN_BAD_SOURCE},
		{"192.0.2.10", "10.20.0.1", CLIENT_COUNTER_TUN_BAD_SOURCE},
		{"fe80::1", "2001:db8:20::1", CLIENT_COUNTER_TUN_BAD_SOURCE},
		{"100.64.0.11", "224.0.0.251", CLIENT_COUNTER_TUN_MULTICAST},
		{"fd00:2021:1111::b", "ff02::fb", CLIENT_COUNTER_TUN_MULTICAST},
		{"100.64.0.11", "198.51.100.77", CLIENT_COUNTER_TUN_NO_RESOURCE},
		{"100.64.0.11",
		 "100.64.0.1",
		 CLIENT_COUNTER_TUN_NO_RESOURCE}, // no such gateway yet
	};
	struct world *w = world_create(true, false);
	uint8_t buf[CLIENT_HEADROOM + 1280 + CLIENT_TAILROOM];

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		unsigned before = world_counter(w, cases[i].counter);
		size_t size =
			world_udp_build(buf + CLIENT_HEADROOM, cases[i].src, cases[i].dst, 80, "x");

		client_tun_packet(w->client, w->now, buf + CLIENT_HEADROOM, size);
		assert_int_equal(world_counter(w, cases[i].counter), before + 1);
	}
	client_tun_packet(w->client, w->now, buf + CLIENT_HEADROOM, 19);
	assert_int_equal(world_counter(w, CLIENT_COUNTER_TUN_MALFORMED), 1);
	assert_int_equal(w->n_requests, 0);
	world_destroy(w);
}

static void gateway_itself(void **)
{
	struct world *w = connected(true, false);

	world_host_send(w, "100.64.0.1", 53, "hello gateway");
	world_host_send(w, "fd00:2021:1111::1", 53, "hello gateway");
	world_run(w, 0);
	assert_int_equal(w->gateway.n_packets, 3);
	assert_int_equal(w->n_requests, 1);
	world_destroy(w);
}

static void local_filter(void **)
{
	struct world *w = world_create(true, false);

	world_host_send(w, "10.30.0.1", 81, "forbidden");
	assert_int_equal(w->n_requests, 0);
	assert_int_equal(w->n_host, 1);
	assert_int_equal(w->host[9], 1);
	assert_int_equal(w->host[20], 3);
	assert_int_equal(w->host[21], 13);
	world_host_send(w, "10.30.0.1", 80, "permitted");
	assert_int_equal(w->n_requests, 1);
	world_destroy(w);

	w = world_create(false, false);
	world_host_send(w, "10.30.0.1", 81, "forbidden, but not by us");
	assert_int_equal(w->n_requests, 1);
	assert_int_equal(w->n_host, 0);
	world_destroy(w);
}

static void prohibited_say(struct world *w, const char *src, const char *dst, uint16_t port)
{
	uint8_t original[1280], answer[PACKET_SIZE_MAX];
	struct packet_view p;
	size_t size = world_udp_build(original, src, dst, port, "x");

	assert_int_equal(packet_parse(&p, original, size), PACKET_OK);
	world_gateway_send(w, answer, packet_prohibited_build(&p, answer));
}

static void prohibited_asks_again(void **)
{
	struct world *w = connected(true, true);

	prohibited_say(w, "100.64.0.11", "10.20.0.100", 80);
	assert_int_equal(w->n_host, 1); // the application hears of it all the same
	assert_int_equal(w->n_requests, 2);
	assert_string_equal(
		w->last_request,
		"{\"connected_gateway_ids\":[\"" WORLD_GATEWAY
		"\"],\"resource_id\":\"" WORLD_RESOURCE "\"}");
	// While that is open: at most one in two seconds.
	prohibited_say(w, "100.64.0.11", "10.20.0.100", 80);
	assert_int_equal(w->n_requests, 2);
	// Meanwhile packets go where they went.
	world_host_send(w, "10.20.0.100", 80, "still going");
	world_run(w, 2000);
	assert_int_equal(w->gateway.n_packets, 2);
	prohibited_say(w, "100.64.0.11", "10.20.0.100", 80);
	assert_int_equal(w->n_requests, 3);
	// After an answer the next one asks at once, on the same connection.
	world_authorize(w, WORLD_RESOURCE);
	world_run(w, 100);
	prohibited_say(w, "100.64.0.11", "10.20.0.100", 80);
	assert_int_equal(w->n_requests, 4);
	assert_int_equal(w->n_host, 4);
	world_host_send(w, "10.20.0.100", 80, "goes");
	world_run(w, 0);
	assert_int_equal(w->gateway.n_packets, 3);
	world_destroy(w);
}

// Each condition of the trigger on its own.
static void prohibited_conditions(void **)
{
	struct world *w = connected(true, false);

	prohibited_say(w, "100.64.0.11", "10.20.0.100", 80);
	assert_int_equal(w->n_requests, 1); // flag off
	assert_int_equal(w->n_host, 1);
	world_destroy(w);

	w = connected(true, true);
	{
		// Source not allowed: comes as if from a host that this gateway does not serve.
		prohibited_say(w, "100.64.0.11", "10.30.0.1", 80);
		assert_int_equal(world_counter(w, CLIENT_COUNTER_INNER_BAD_SOURCE), 1);
		assert_int_equal(w->n_host, 0);
		assert_int_equal(w->n_requests, 1);
	}
	{
		// Another code: network unreachable, from the gateway itself, checksum aside.
		uint8_t original[1280], answer[PACKET_SIZE_MAX];
		struct packet_view p;
		size_t size = world_udp_build(original, "100.64.0.11", "10.20.0.100", 80, "x");

		assert_int_equal(packet_parse(&p, original, size), PACKET_OK);
		size = packet_prohibited_build(&p, answer);
		answer[21] = 0;
		world_gateway_send(w, answer, size);
		assert_int_equal(w->n_host, 1);
		assert_int_equal(w->n_requests, 1);

		// The embedded destination is what counts: nobody's address.
		packet_prohibited_build(&p, answer);
		answer[28 + 16] = 203;
		world_gateway_send(w, answer, size);
		assert_int_equal(w->n_host, 2);
		assert_int_equal(w->n_requests, 1);

		// A port that the resource's own filters forbid.
		packet_prohibited_build(&p, answer);
		answer[28 + 17] = 30;
		answer[28 + 23] = 81;
		world_gateway_send(w, answer, size);
		assert_int_equal(w->n_host, 3);
		assert_int_equal(w->n_requests, 1);

		// And one that they permit: that resource is asked for.
		answer[28 + 23] = 80;
		world_gateway_send(w, answer, size);
		assert_int_equal(w->n_host, 4);
		assert_int_equal(w->n_requests, 2);
		assert_non_null(strstr(w->last_request, WORLD_RESOURCE_WEB));
	}
	world_destroy(w);
}

static void prohibited_v6(void **)
{
	struct world *w = connected(true, true);

	world_host_send(w, "2001:db8:20::1", 80, "six");
	world_authorize(w, WORLD_RESOURCE_V6);
	world_run(w, 100);
	assert_int_equal(w->n_requests, 2);
	prohibited_say(w, "fd00:2021:1111::b", "2001:db8:20::1", 80);
	assert_int_equal(w->n_requests, 3);
	assert_non_null(strstr(w->last_request, WORLD_RESOURCE_V6));
	assert_int_equal(w->n_host, 1);
	world_destroy(w);
}

static void inner_checks(void **)
{
	static const struct {
		const char *src, *dst;
		unsigned n_host;
		enum client_counter counter;
	} cases[] = {
		{"10.20.3.4", "100.64.0.11", 1, CLIENT_COUNTER_TUN_OUT},
		{"100.64.0.1", "100.64.0.11", 1, CLIENT_COUNTER_TUN_OUT},
		{"fd00:2021:1111::1", "fd00:2021:1111::b", 1, CLIENT_COUNTER_TUN_OUT},
		{"100.64.0.2", "100.64.0.11", 0, CLIENT_COUNTER_INNER_BAD_SOURCE},
		{"10.21.0.1", "100.64.0.11", 0, CLIENT_COUNTER_INNER_BAD_SOURCE},
		{"10.30.0.1", "100.64.0.11", 0, CLIENT_COUNTER_INNER_BAD_SOURCE},
		{"2001:db8:20::1", "fd00:2021:1111::b", 0, CLIENT_COUNTER_INNER_BAD_SOURCE},
		{"10.20.3.4", "100.64.0.12", 0, CLIENT_COUNTER_INNER_BAD_DESTINATION},
		{"10.20.3.4", "192.0.2.10", 0, CLIENT_COUNTER_INNER_BAD_DESTINATION},
		{"10.20.3.4", "224.0.0.1", 0, CLIENT_COUNTER_INNER_BAD_DESTINATION},
	};
	struct world *w = connected(true, false);
	uint8_t packet[1280];
	size_t size;

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		unsigned before = world_counter(w, cases[i].counter);

		w->n_host = 0;
		world_gateway_reply(w, cases[i].src, cases[i].dst, "x");
		if (w->n_host != cases[i].n_host
		    || world_counter(w, cases[i].counter) != before + 1)
			fail_msg("case %zu", i);
	}
	// Authentic, but no good packet: the length in the UDP header, the version.
	w->n_host = 0;
	size = world_udp_build(packet, "10.20.3.4", "100.64.0.11", 80, "x");
	packet[25]++;
	world_gateway_send(w, packet, size);
	packet[25]--;
	packet[0] = 0x55;
	world_gateway_send(w, packet, size);
	assert_int_equal(world_counter(w, CLIENT_COUNTER_INNER_MALFORMED), 2);
	assert_int_equal(w->n_host, 0);
	// Padding is cut off.
	size = world_udp_build(packet, "10.20.3.4", "100.64.0.11", 80, "x");
	memset(packet + size, 0, 3);
	world_gateway_send(w, packet, size + 3);
	assert_int_equal(w->n_host, 1);
	assert_int_equal(w->host_size, size);
	world_destroy(w);
}

// Without the local filter packets to nobody's address go out, and their refusal comes back; nothing
// else from such an address does.
static void stray(void **)
{
	struct world *w = connected(false, true);

	world_host_send(w, "203.0.113.7", 80, "to nobody");
	world_run(w, 0);
	assert_int_equal(w->gateway.n_packets, 2);
	assert_int_equal(w->n_requests, 1);
	prohibited_say(w, "100.64.0.11", "203.0.113.7", 80);
	assert_int_equal(w->n_host, 1);
	assert_int_equal(w->n_requests, 1);
	world_gateway_reply(w, "203.0.113.7", "100.64.0.11", "x");
	assert_int_equal(w->n_host, 1);
	assert_int_equal(world_counter(w, CLIENT_COUNTER_INNER_BAD_SOURCE), 1);
	world_destroy(w);
}

static void b65_goodbye_means_ask_again(void **)
{
	struct world *w = connected(true, false);
	uint8_t goodbye[PACKET_GOODBYE_SIZE];

	packet_goodbye_build(goodbye);
	world_gateway_send(w, goodbye, sizeof(goodbye));
	assert_int_equal(w->n_host, 0);
	assert_int_equal(w->gateway.n_goodbyes, 0); // not answered

	// The gateway comes back with new keys; the next packet finds it.
	world_gateway_restart(w);
	world_host_send(w, "10.20.0.100", 80, "again");
	assert_int_equal(w->n_requests, 2);
	world_authorize(w, WORLD_RESOURCE);
	world_run(w, 1000);
	assert_int_equal(w->gateway.n_packets, 1);
	world_destroy(w);
}

static void b12_gateway_dies(void **)
{
	struct world *w = connected(true, false);

	w->gateway.is_alive = false;
	for (int i = 0; i < 15; i++) {
		world_host_send(w, "10.20.0.100", 80, "anybody there");
		world_run(w, 1000);
	}
	assert_int_equal(w->n_requests, 1);
	// Given up 16.5 s after the last answer, and 1 s of grace; asked for again at once.
	world_run(w, 4000);
	assert_int_equal(w->n_requests, 2);
	world_gateway_restart(w);
	world_host_send(w, "10.20.0.100", 80, "again");
	assert_int_equal(w->n_requests, 2);
	world_authorize(w, WORLD_RESOURCE);
	world_run(w, 1000);
	assert_int_equal(w->gateway.n_packets, 1);
	assert_memory_equal(w->gateway.last + 28, "again", 5);
	world_destroy(w);
}

// A new key, and what was in use is asked for without a packet, even if one asked in vain meanwhile.
static void b66_network_reset(void **)
{
	struct world *w = connected(true, false);
	uint8_t key[32];

	memcpy(key, client_public_key(w->client), sizeof(key));
	assert_int_equal(client_reset(w->client, w->now, w->now), 0);
	assert_memory_not_equal(client_public_key(w->client), key, sizeof(key));
	w->is_portal_up = false;
	world_host_send(w, "10.20.0.100", 80, "lost");
	w->is_portal_up = true;
	assert_int_equal(w->n_requests, 1);
	world_portal_init(w);
	assert_int_equal(w->n_requests, 2);
	world_portal_init(w); // only once
	assert_int_equal(w->n_requests, 2);
	assert_int_equal(w->gateway.n_goodbyes, 0);
	world_destroy(w);
}

// A restarted gateway whose end nobody saw: other parameters replace the connection, and what the
// old process granted is asked for again.
static void b12_replaced(void **)
{
	struct world *w = connected(true, true);

	world_host_send(w, "2001:db8:20::1", 80, "six");
	world_authorize(w, WORLD_RESOURCE_V6);
	world_run(w, 100);
	prohibited_say(w, "100.64.0.11", "10.20.0.100", 80);
	assert_int_equal(w->n_requests, 3);
	world_gateway_restart(w);
	world_authorize(w, WORLD_RESOURCE);
	world_run(w, 1000);
	world_host_send(w, "10.20.0.100", 80, "new connection");
	world_run(w, 10);
	assert_int_equal(w->gateway.n_packets, 1);
	assert_int_equal(w->n_requests, 3);
	world_host_send(w, "2001:db8:20::1", 80, "six");
	assert_int_equal(w->n_requests, 4);
	world_destroy(w);
}

static void b05_no_candidates_then_the_next_packet_asks(void **)
{
	struct world *w = world_create(true, false);

	w->is_network_up = false;
	world_host_send(w, "10.20.0.100", 80, "x");
	world_authorize(w, WORLD_RESOURCE);
	world_run(w, 5000);
	world_host_send(w, "10.20.0.100", 80, "y");
	assert_int_equal(w->n_requests, 1);
	world_run(w, 20000);
	world_host_send(w, "10.20.0.100", 80, "z");
	assert_int_equal(w->n_requests, 2);
	world_destroy(w);
}

#define FAILED(reason) "{\"resource_id\":\"" WORLD_RESOURCE "\",\"reason\":\"" reason "\"}"

static void failures(void **)
{
	static const struct {
		const char *payload;
		bool asks_at_once;
	} cases[] = {
		{FAILED("offline"), true},
		{FAILED("not_found"), false},
		{FAILED("forbidden"), false},
		{FAILED("version_mismatch"), false},
		{FAILED("something new"), false},
	};

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct world *w = world_create(true, false);

		world_host_send(w, "10.20.0.100", 80, "x");
		world_run(w, 100);
		world_portal_say(w, "authorization_creation_failed", cases[i].payload);
		assert_int_equal(w->n_requests, 1);
		world_host_send(w, "10.20.0.100", 80, "y");
		assert_int_equal(w->n_requests, cases[i].asks_at_once ? 2 : 1);
		world_run(w, 2000);
		world_host_send(w, "10.20.0.100", 80, "z");
		assert_int_equal(w->n_requests, cases[i].asks_at_once ? 3 : 2);
		world_destroy(w);
	}
}

static void unsolicited(void **)
{
	struct world *w = world_create(true, false);

	world_authorize(w, WORLD_RESOURCE);
	world_authorize(w, "00000000-0000-0000-0000-000000000001");
	world_run(w, 1000);
	assert_int_equal(w->n_candidates, 0);
	world_host_send(w, "10.20.0.100", 80, "x");
	assert_int_equal(w->n_requests, 1);
	world_destroy(w);
}

static void resource_deleted(void **)
{
	struct world *w = connected(true, false);

	world_host_send(w, "2001:db8:20::1", 80, "six");
	world_authorize(w, WORLD_RESOURCE_V6);
	world_run(w, 100);
	world_portal_say(w, "resource_deleted", "\"" WORLD_RESOURCE "\"");
	assert_int_equal(w->n_routes, 2);
	world_run(w, 10);
	assert_int_equal(w->gateway.n_goodbyes, 0); // it still serves the other one
	world_gateway_reply(w, "10.20.0.100", "100.64.0.11", "late");
	assert_int_equal(w->n_host, 0);
	world_portal_say(w, "resource_deleted", "\"" WORLD_RESOURCE_V6 "\"");
	world_run(w, 10);
	assert_int_equal(w->gateway.n_goodbyes, 1);
	assert_int_equal(w->n_routes, 1);
	world_portal_say(w, "resource_deleted", "\"" WORLD_RESOURCE_V6 "\"");
	world_destroy(w);
}

static void portal_returns(void **)
{
	struct world *w = connected(true, false);

	// An equal init changes nothing for the connection.
	world_portal_init(w);
	assert_int_equal(w->n_routes, 3);
	world_host_send(w, "10.20.0.100", 80, "through");
	world_run(w, 0);
	assert_int_equal(w->gateway.n_packets, 2);
	assert_int_equal(w->n_requests, 1);

	// One without our resource takes it away.
	world_portal_say(
		w,
		"init",
		"{\"interface\":{\"ipv4\":\"100.64.0.11\",\"ipv6\":\"fd00:2021:1111::b\"},"
		"\"flow_logs\":{\"api_url\":\"https://x/\",\"upload_interval_secs\":0,"
		"\"upload_batch_size\":1},\"relays\":[],\"resources\":[]}");
	world_run(w, 0);
	assert_int_equal(w->n_routes, 0);
	assert_int_equal(w->gateway.n_goodbyes, 1);
	world_host_send(w, "10.20.0.100", 80, "nowhere");
	assert_int_equal(w->n_requests, 1);
	world_destroy(w);
}

static void b64_portal_away(void **)
{
	struct world *w = world_create(true, false);
	struct ip_endpoint locals[2];

	world_host_send(w, "10.20.0.100", 80, "x");
	w->is_portal_up = false;
	// The authorization came, then the link broke: candidates wait for the next init.
	world_authorize(w, WORLD_RESOURCE);
	assert_int_equal(ip_endpoint_parse(&locals[0], "192.0.2.10:52625"), 0);
	assert_int_equal(ip_endpoint_parse(&locals[1], "192.0.2.11:52625"), 0);
	client_locals_set(w->client, w->now, locals, 2);
	world_run(w, 100);
	assert_int_equal(w->n_candidates, 0);
	w->is_portal_up = true;
	world_portal_init(w);
	assert_int_equal(w->n_candidates, 2);
	world_portal_init(w);
	assert_int_equal(w->n_candidates, 2);
	world_run(w, 1000);
	assert_int_equal(w->gateway.n_packets, 1);
	world_destroy(w);
}

static void goodbye_out(void **)
{
	struct world *w = connected(true, false);

	client_goodbye(w->client, w->now);
	world_run(w, 0);
	assert_int_equal(w->gateway.n_goodbyes, 1);
	assert_int_equal(client_deadline(w->client), CLIENT_NEVER);
	world_destroy(w);
}

// Checks become rare when nobody talks; the connection lives on and packets pass at once.
static void b30_b53_idle_and_rekey(void **)
{
	struct world *w = connected(true, false);

	world_run(w, 300 * 1000);
	assert_int_equal(w->n_requests, 1);
	assert_true(w->gateway.n_initiations >= 2);
	world_host_send(w, "10.20.0.100", 80, "awake");
	world_run(w, 1000);
	assert_int_equal(w->gateway.n_packets, 2);
	assert_int_equal(w->n_requests, 1);
	world_destroy(w);
}

static void hostile_datagrams(void **)
{
	struct world *w = connected(true, false);
	uint8_t packet[1280], good[1400], buf[1400];
	struct ip_endpoint from, to;
	size_t inner, size;
	int sealed;

	assert_int_equal(ip_endpoint_parse(&from, "203.0.113.9:1234"), 0);
	assert_int_equal(ip_endpoint_parse(&to, "192.0.2.10:52625"), 0);
	inner = world_udp_build(packet, "10.20.0.1", "100.64.0.11", 80, "payload");
	memcpy(good + NOISE_SESSION_HEADROOM, packet, inner);
	sealed = noise_session_seal(&w->gateway.session, w->now, good, inner);
	assert_true(sealed > 0);
	size = (size_t)sealed;

	// Every length, and every byte changed.
	for (size_t n = 0; n < size; n++) {
		memcpy(buf, good, n);
		client_udp_packet(w->client, w->now, &to, &from, 0, buf, n);
		memcpy(buf, good, size);
		buf[n] ^= 0x40;
		client_udp_packet(w->client, w->now, &to, &from, 0, buf, size);
	}
	for (int i = 0; i < 2000; i++) {
		size_t n = randombytes_uniform(200);

		randombytes_buf(buf, n);
		if (n > 3 && i % 2 == 0) {
			buf[0] = (uint8_t)(1 + i / 2 % 4);
			buf[1] = buf[2] = buf[3] = 0;
		}
		client_udp_packet(w->client, w->now, &to, &from, 0, buf, n);
	}
	assert_int_equal(w->n_host, 0);
	assert_int_equal(w->n_requests, 1);
	assert_true(world_counter(w, CLIENT_COUNTER_UDP_FORGED) > 0);
	assert_true(world_counter(w, CLIENT_COUNTER_UDP_UNKNOWN) > 0);
	assert_true(world_counter(w, CLIENT_COUNTER_UDP_NO_SESSION) > 0);

	// The good one still counts, from wherever it comes, once.
	memcpy(buf, good, size);
	client_udp_packet(w->client, w->now, &to, &from, 0, buf, size);
	memcpy(buf, good, size);
	client_udp_packet(w->client, w->now, &to, &from, 0, buf, size);
	assert_int_equal(w->n_host, 1);
	assert_int_equal(world_counter(w, CLIENT_COUNTER_UDP_REPLAYED), 1);
	// And it did not move the path.
	world_host_send(w, "10.20.0.1", 80, "x");
	assert_true(ip_endpoint_eq(&w->to_gateway[w->n_to_gateway - 1].to, &w->gateway.local));
	world_run(w, 0);
	assert_int_equal(w->gateway.n_packets, 2);
	world_destroy(w);
}

static void b62_ecn_copied(void **)
{
	struct world *w = connected(true, false);
	uint8_t buf[CLIENT_HEADROOM + 1280 + CLIENT_TAILROOM];
	size_t size = world_udp_build(buf + CLIENT_HEADROOM, "100.64.0.11", "10.20.0.1", 80, "x");

	buf[CLIENT_HEADROOM + 1] = 0xb8 | 2;
	client_tun_packet(w->client, w->now, buf + CLIENT_HEADROOM, size);
	world_run(w, 0);
	assert_int_equal(w->gateway.n_packets, 2);
	assert_int_equal(w->gateway.last_ecn, 2);
	world_destroy(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(first_packet),
		cmocka_unit_test(b10_second_resource_reuses),
		cmocka_unit_test(not_ours_to_send),
		cmocka_unit_test(gateway_itself),
		cmocka_unit_test(local_filter),
		cmocka_unit_test(prohibited_asks_again),
		cmocka_unit_test(prohibited_conditions),
		cmocka_unit_test(prohibited_v6),
		cmocka_unit_test(inner_checks),
		cmocka_unit_test(stray),
		cmocka_unit_test(b65_goodbye_means_ask_again),
		cmocka_unit_test(b12_gateway_dies),
		cmocka_unit_test(b66_network_reset),
		cmocka_unit_test(b12_replaced),
		cmocka_unit_test(b05_no_candidates_then_the_next_packet_asks),
		cmocka_unit_test(failures),
		cmocka_unit_test(unsolicited),
		cmocka_unit_test(resource_deleted),
		cmocka_unit_test(portal_returns),
		cmocka_unit_test(b64_portal_away),
		cmocka_unit_test(goodbye_out),
		cmocka_unit_test(b30_b53_idle_and_rekey),
		cmocka_unit_test(hostile_datagrams),
		cmocka_unit_test(b62_ecn_copied),
	};

	if (sodium_init() < 0 || log_level_set("err") < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
