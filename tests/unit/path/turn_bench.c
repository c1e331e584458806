// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "tests/unit/path/turn_bench.h"

#include "tests/unit/unit.h"

#include <stdlib.h>
#include <string.h>

struct ip_endpoint bench_endpoint(const char *text)
{
	struct ip_endpoint ep;

	assert_int_equal(ip_endpoint_parse(&ep, text), 0);
	return ep;
}

static void random_bytes(void *ctx, void *buf, size_t size)
{
	struct bench *b = ctx;
	uint8_t *bytes = buf;

	if (b->random != 0)
		b->random++;
	for (size_t i = 0; i < size; i++)
		bytes[i] = (uint8_t)(b->random == 0 ? i : b->random >> (8 * (i % 8)) ^ i);
}

// The relay's answers.
static void
emit(void *ctx,
     const struct ip_endpoint *from,
     const struct ip_endpoint *to,
     const void *data,
     size_t size)
{
	struct bench *b = ctx;
	struct ip_endpoint local = *to;
	enum turn_rx rx;

	for (unsigned i = 0; i < 2; i++) {
		if (b->mapped_as[i].port != 0 && ip_endpoint_eq(to, &b->mapped_as[i]))
			local = b->local[i];
	}
	if (!ip_endpoint_eq(&local, &b->local[0]) && !ip_endpoint_eq(&local, &b->local[1]))
		return; // for a peer
	b->now += b->latency;
	rx = turn_allocation_handle_packet(b->a, b->now, &local, from, data, size, &b->data);
	b->rx[rx]++;
	if (rx == TURN_RX_DATA) {
		assert_true(b->data.size < sizeof(b->data_bytes));
		memset(b->data_bytes, 0, sizeof(b->data_bytes));
		memcpy(b->data_bytes, b->data.data, b->data.size);
	}
}

struct bench *bench_create(const char *v4, const char *v6)
{
	struct bench *b = calloc(1, sizeof(*b));

	assert_non_null(b);
	b->start = 1000 * BENCH_S;
	b->now = b->start;
	b->random = 1;
	b->mac = stun_mac_create();
	assert_non_null(b->mac);
	double_init(&b->relay, v4, v6);
	b->relay.emit = emit;
	b->relay.emit_ctx = b;
	b->local[0] = bench_endpoint("10.0.0.2:52625");
	b->local[1] = bench_endpoint("[2001:db8:1::2]:52625");
	b->config = (struct turn_config){
		.remote_v4 = b->relay.addrs[0],
		.remote_v6 = b->relay.addrs[1],
		.local_v4 = b->local[0],
		.local_v6 = b->local[1],
		.username = "2145916800:salt",
		.password = "pw",
		.realm = "firezone",
		.software = "snownet",
		.random = random_bytes,
		.random_ctx = b,
		.mac = b->mac,
	};
	return b;
}

void bench_destroy(struct bench *b)
{
	turn_allocation_destroy(b->a);
	double_fini(&b->relay);
	stun_mac_destroy(b->mac);
	free(b);
}

static void log_sent(struct bench *b)
{
	struct bench_sent *sent = &b->sent[b->n_sent];
	struct stun_msg msg;

	assert_true(b->n_sent < BENCH_LOG_MAX);
	b->n_sent++;
	sent->at = b->now - b->start;
	sent->remote = b->last.remote;
	if (turn_channel_header_parse(b->last.data, b->last.size, &sent->method))
		return;
	assert_int_equal(stun_msg_parse(&msg, b->last.data, b->last.size), 0);
	sent->method = msg.method;
}

void bench_drain(struct bench *b)
{
	struct turn_event event;

	while (turn_allocation_poll_transmit(b->a, &b->last)) {
		unsigned family = b->last.remote.addr.family == IP_FAMILY_V6;
		const struct ip_endpoint *from = &b->last.local;

		log_sent(b);
		assert_true(ip_endpoint_eq(from, &b->local[family]));
		if (b->mapped_as[family].port != 0)
			from = &b->mapped_as[family];
		if (!b->is_cut && double_owns(&b->relay, &b->last.remote))
			double_receive(
				&b->relay,
				b->now,
				from,
				&b->last.remote,
				b->last.data,
				b->last.size);
	}
	while (turn_allocation_poll_event(b->a, &event)) {
		if (b->is_quiet)
			continue;
		assert_true(b->n_events < BENCH_LOG_MAX);
		b->events[b->n_events++] = event;
	}
}

void bench_start(struct bench *b)
{
	b->a = turn_allocation_create(&b->config, b->now);
	assert_non_null(b->a);
	bench_drain(b);
}

void bench_run(struct bench *b, uint64_t ns)
{
	uint64_t end = b->now + ns, at;

	for (unsigned i = 0; i < 100000; i++) {
		at = turn_allocation_next_deadline(b->a);
		if (at > end) {
			b->now = end > b->now ? end : b->now;
			return;
		}
		b->now = at > b->now ? at : b->now;
		turn_allocation_handle_timeout(b->a, b->now);
		bench_drain(b);
	}
	fail_msg("the allocation never comes to rest");
}

enum turn_rx bench_deliver(struct bench *b, const void *data, size_t size)
{
	enum turn_rx rx = turn_allocation_handle_packet(
		b->a, b->now, &b->local[0], &b->config.remote_v4, data, size, &b->data);

	bench_drain(b);
	return rx;
}

unsigned bench_count_sent(const struct bench *b, size_t since, uint16_t method)
{
	unsigned n = 0;

	for (size_t i = since; i < b->n_sent; i++)
		n += b->sent[i].method == method ? 1 : 0;
	return n;
}

unsigned bench_count_events(const struct bench *b, enum turn_event_type type)
{
	unsigned n = 0;

	for (size_t i = 0; i < b->n_events; i++)
		n += b->events[i].type == type ? 1 : 0;
	return n;
}

const struct turn_event *bench_event(const struct bench *b, enum turn_event_type type, unsigned nth)
{
	for (size_t i = 0; i < b->n_events; i++) {
		if (b->events[i].type == type && nth-- == 0)
			return &b->events[i];
	}
	fail_msg("event %d did not happen", type);
	return NULL;
}

void bench_from_peer(struct bench *b, const char *peer, const char *relayed, const char *text)
{
	struct ip_endpoint from = bench_endpoint(peer), to = bench_endpoint(relayed);

	double_receive(&b->relay, b->now, &from, &to, text, strlen(text));
	bench_drain(b);
}
