// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "control/names/forwarder.h"
#include "tests/unit/names/query.h"
#include "tests/unit/unit.h"

#include <stdlib.h>

#define MS 1000000ull
#define S (1000 * MS)

enum {
	START = 1000,
	SERVERS = 3,
};

struct bench {
	struct forwarder *f;
	struct ip_addr servers[SERVERS];
	uint64_t now;
};

static void fixed(void *, void *buf, size_t size)
{
	memset(buf, 0x5a, size);
}

static int setup(void **state)
{
	static const char *const texts[SERVERS] = {"192.0.2.1", "192.0.2.2", "2001:db8::3"};
	static struct bench b;

	b = (struct bench){.f = forwarder_create(fixed, NULL), .now = START * S};
	assert_non_null(b.f);
	for (size_t i = 0; i < SERVERS; i++)
		assert_int_equal(ip_addr_parse(&b.servers[i], texts[i]), 0);
	*state = &b;
	return 0;
}

static int teardown(void **state)
{
	struct bench *b = *state;

	forwarder_destroy(b->f);
	return 0;
}

static struct forward_step ask(struct bench *b, enum forward_transport transport)
{
	return forwarder_query(b->f, b->now, transport, query, sizeof(query));
}

static struct forward_step
answer(struct bench *b, const struct forward_step *step, size_t size, uint8_t rcode)
{
	static uint8_t response[DNS_MESSAGE_SIZE];

	response_make(response, query, QUERY_HEAD, size, rcode);
	return forwarder_response(b->f, b->now, step->id, response, size);
}

static void assert_servfail(const struct forward_step *step)
{
	assert_int_equal(step->verdict, FORWARD_REPLY);
	assert_int_equal(step->size, QUERY_HEAD);
	assert_memory_equal(step->data, query, 2);
	assert_int_equal(step->data[2], 0x81);
	assert_int_equal(step->data[3], 0x82);
	assert_memory_equal(step->data + 12, query + 12, QUERY_HEAD - 12);
}

/*
 * A round of probes to the first @p n servers. Each probe is answered after its delay (ms; 0:
 * never, negative: with an error), UDP and TCP in turn.
 */
static void round_of_probes(struct bench *b, size_t n, const int delays[])
{
	struct forward_step steps[2 * SERVERS];
	uint64_t start = b->now;
	uint8_t response[64];

	forwarder_probe(b->f, b->servers, n);
	for (size_t i = 0; i < 2 * n; i++) {
		steps[i] = forwarder_probe_next(b->f, start);
		assert_int_equal(steps[i].verdict, FORWARD_SEND);
		assert_int_equal(steps[i].transport, i % 2 == 0 ? FORWARD_UDP : FORWARD_TCP);
		assert_true(ip_addr_eq(&steps[i].server, &b->servers[i / 2]));
		assert_int_equal(steps[i].size, 30);
		assert_memory_equal(steps[i].data, "\x5a\x5a\1\0", 4);
	}
	assert_int_equal(forwarder_probe_next(b->f, start).verdict, FORWARD_NOTHING);
	for (size_t i = 0; i < 2 * n; i++) {
		uint8_t head[DNS_HEAD_SIZE];
		size_t size = dns_probe_write(head, 0x5a5a);
		struct forward_step step;

		if (delays[i] == 0)
			continue;
		response_make(response, head, size, sizeof(response), delays[i] < 0 ? 3 : 0);
		b->now = start + (uint64_t)abs(delays[i]) * MS;
		step = forwarder_response(b->f, b->now, steps[i].id, response, sizeof(response));
		assert_int_equal(step.verdict, FORWARD_DONE);
	}
	b->now = start + FORWARDER_PROBE_TIMEOUT_NS;
	while (forwarder_expire(b->f, b->now).verdict != FORWARD_NOTHING)
		;
	assert_int_equal(forwarder_deadline(b->f), FORWARDER_DEADLINE_NONE);
}

static void assert_asked(struct bench *b, size_t server)
{
	struct forward_step step = ask(b, FORWARD_UDP);

	assert_int_equal(step.verdict, FORWARD_SEND);
	assert_true(ip_addr_eq(&step.server, &b->servers[server]));
	forwarder_cancel(b->f, step.id);
}

static void none_known(void **state)
{
	struct bench *b = *state;
	struct forward_step step = ask(b, FORWARD_UDP);

	assert_servfail(&step);
	assert_false(forwarder_is_ready(b->f));
	round_of_probes(b, 2, (const int[]){0, 0, -5, -5});
	step = ask(b, FORWARD_TCP);
	assert_servfail(&step);
	assert_int_equal(forwarder_stats(b->f)->servfail, 2);
	assert_int_equal(forwarder_deadline(b->f), FORWARDER_DEADLINE_NONE);
}

static void lowest_round_trip(void **state)
{
	struct bench *b = *state;

	round_of_probes(b, 3, (const int[]){30, 40, 25, 0, 0, 20});
	assert_true(forwarder_is_ready(b->f));
	assert_asked(b, 2); // by TCP's round trip
	round_of_probes(b, 3, (const int[]){0, 0, 10, 90, 500, 600});
	assert_asked(b, 1);
	// What was seen once counts for ever, even of one that is silent now.
	round_of_probes(b, 3, (const int[]){15, 15, 0, 0, 11, 11});
	assert_asked(b, 1);
	round_of_probes(b, 3, (const int[]){-1, -1, 0, 0, 0, 9});
	assert_asked(b, 2);
	// No longer listed, no longer asked; listed again, measured again.
	round_of_probes(b, 1, (const int[]){0, 0});
	assert_asked(b, 0);
	round_of_probes(b, 3, (const int[]){0, 0, 500, 0, 0, 0});
	assert_asked(b, 0);
	forwarder_probe(b->f, b->servers, 0);
	assert_false(forwarder_is_ready(b->f));
}

static void late_probe(void **state)
{
	struct bench *b = *state;
	struct forward_step step;
	uint8_t head[DNS_HEAD_SIZE], response[64];

	forwarder_probe(b->f, b->servers, 1);
	step = forwarder_probe_next(b->f, b->now);
	assert_int_equal(forwarder_deadline(b->f), b->now + FORWARDER_PROBE_TIMEOUT_NS);
	b->now += FORWARDER_PROBE_TIMEOUT_NS - 1;
	assert_int_equal(forwarder_expire(b->f, b->now).verdict, FORWARD_NOTHING);
	b->now++;
	assert_int_equal(forwarder_expire(b->f, b->now).verdict, FORWARD_DONE);
	response_make(response, head, dns_probe_write(head, 0x5a5a), sizeof(response), 0);
	step = forwarder_response(b->f, b->now, step.id, response, sizeof(response));
	assert_int_equal(step.verdict, FORWARD_NOTHING);
	assert_false(forwarder_is_ready(b->f));
}

static void ready(struct bench *b)
{
	round_of_probes(b, 1, (const int[]){10, 10});
}

static void relays(void **state)
{
	static const enum forward_transport transports[] = {FORWARD_UDP, FORWARD_TCP};
	struct bench *b = *state;

	ready(b);
	for (size_t i = 0; i < COUNT_OF(transports); i++) {
		struct forward_step step = ask(b, transports[i]), reply;

		assert_int_equal(step.verdict, FORWARD_SEND);
		assert_int_equal(step.transport, transports[i]);
		assert_ptr_equal(step.data, query);
		assert_int_equal(step.size, sizeof(query));
		reply = answer(b, &step, 200, 3);
		assert_int_equal(reply.verdict, FORWARD_REPLY);
		assert_int_equal(reply.transport, transports[i]);
		assert_int_equal(reply.size, 200);
		assert_int_equal(reply.data[3] & 15, 3);
		// Over: what comes now is of nobody.
		assert_int_equal(answer(b, &step, 200, 0).verdict, FORWARD_NOTHING);
		assert_int_equal(forwarder_fail(b->f, step.id).verdict, FORWARD_NOTHING);
	}
	assert_int_equal(forwarder_stats(b->f)->answered, 2);
	assert_int_equal(forwarder_stats(b->f)->strangers, 2);
}

static void truncates(void **state)
{
	static const struct {
		enum forward_transport transport;
		size_t size, expected;
	} cases[] = {
		{FORWARD_UDP, 1200, 1200},
		{FORWARD_UDP, 1201, QUERY_HEAD},
		{FORWARD_UDP, 65535, QUERY_HEAD},
		{FORWARD_TCP, 65535, 65535},
	};
	struct bench *b = *state;

	ready(b);
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct forward_step step = ask(b, cases[i].transport);
		struct forward_step reply = answer(b, &step, cases[i].size, 0);
		bool is_cut = cases[i].expected != cases[i].size;

		assert_int_equal(reply.size, cases[i].expected);
		assert_int_equal(reply.data[2], is_cut ? 0x87 : 0x85);
		assert_int_equal(reply.data[7], is_cut ? 0 : 1);
	}
	assert_int_equal(forwarder_stats(b->f)->truncated, 2);
}

static void waits_for_the_right_one(void **state)
{
	struct bench *b = *state;
	struct forward_step step, reply;
	uint8_t other[64];

	ready(b);
	step = ask(b, FORWARD_UDP);
	response_make(other, query, QUERY_HEAD, sizeof(other), 0);
	other[1] ^= 1;
	reply = forwarder_response(b->f, b->now, step.id, other, sizeof(other));
	assert_int_equal(reply.verdict, FORWARD_NOTHING);
	assert_int_equal(forwarder_response(b->f, b->now, step.id, "", 0).verdict, FORWARD_NOTHING);
	assert_int_equal(answer(b, &step, 64, 0).verdict, FORWARD_REPLY);
}

static void gives_up(void **state)
{
	struct bench *b = *state;
	struct forward_step first, second, step;

	ready(b);
	first = ask(b, FORWARD_UDP);
	b->now += 100 * MS;
	second = ask(b, FORWARD_TCP);
	assert_int_equal(forwarder_deadline(b->f), b->now - 100 * MS + FORWARDER_TIMEOUT_NS);
	b->now += FORWARDER_TIMEOUT_NS - 100 * MS - 1;
	assert_int_equal(forwarder_expire(b->f, b->now).verdict, FORWARD_NOTHING);
	b->now++;
	step = forwarder_expire(b->f, b->now);
	assert_servfail(&step);
	assert_int_equal(step.id, first.id);
	assert_int_equal(forwarder_expire(b->f, b->now).verdict, FORWARD_NOTHING);
	step = forwarder_fail(b->f, second.id);
	assert_servfail(&step);
	assert_int_equal(step.transport, FORWARD_TCP);
	assert_int_equal(forwarder_deadline(b->f), FORWARDER_DEADLINE_NONE);
}

static void bounded(void **state)
{
	static struct forward_step steps[FORWARDER_QUERIES_MAX];
	static bool seen[FORWARDER_SLOTS];
	struct forward_step step;
	struct bench *b = *state;

	ready(b);
	memset(seen, 0, sizeof(seen));
	for (size_t i = 0; i < COUNT_OF(steps); i++) {
		steps[i] = ask(b, FORWARD_UDP);
		assert_int_equal(steps[i].verdict, FORWARD_SEND);
		assert_true(forwarder_slot(steps[i].id) < FORWARDER_SLOTS);
		assert_false(seen[forwarder_slot(steps[i].id)]);
		seen[forwarder_slot(steps[i].id)] = true;
	}
	step = ask(b, FORWARD_UDP);
	assert_servfail(&step);
	// Probes have room of their own.
	forwarder_probe(b->f, b->servers, SERVERS);
	for (size_t i = 0; i < 2 * SERVERS; i++)
		assert_int_equal(forwarder_probe_next(b->f, b->now).verdict, FORWARD_SEND);
	assert_int_equal(answer(b, &steps[500], 64, 0).verdict, FORWARD_REPLY);
	assert_int_equal(ask(b, FORWARD_UDP).verdict, FORWARD_SEND);
	forwarder_cancel(b->f, steps[0].id);
	forwarder_cancel(b->f, steps[0].id);
	assert_int_equal(ask(b, FORWARD_UDP).verdict, FORWARD_SEND);
	step = ask(b, FORWARD_UDP);
	assert_servfail(&step);
}

static void hostile(void **state)
{
	struct bench *b = *state;
	struct forward_step step;

	ready(b);
	for (size_t size = 0; size < QUERY_HEAD; size++) {
		step = forwarder_query(b->f, b->now, FORWARD_UDP, query, size);
		assert_int_equal(step.verdict, FORWARD_NOTHING);
	}
	assert_int_equal(forwarder_stats(b->f)->malformed, QUERY_HEAD);
	for (unsigned bit = 0; bit < 32; bit++)
		forwarder_fail(b->f, 1u << bit); // ids that nobody has
	assert_int_equal(forwarder_fail(b->f, UINT32_MAX).verdict, FORWARD_NOTHING);
	assert_int_equal(ask(b, FORWARD_UDP).verdict, FORWARD_SEND);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(none_known),
		TEST(lowest_round_trip),
		TEST(late_probe),
		TEST(relays),
		TEST(truncates),
		TEST(waits_for_the_right_one),
		TEST(gives_up),
		TEST(bounded),
		TEST(hostile),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
