// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "control/portal/phoenix.h"
#include "tests/unit/unit.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define JOIN_FRAME "{\"topic\":\"gateway\",\"event\":\"phx_join\",\"payload\":null,\"ref\":0}"
#define OK_REPLY(ref)                                                                              \
	"{\"event\":\"phx_reply\",\"payload\":{\"status\":\"ok\",\"response\":{}},\"ref\":" ref    \
	",\"topic\":\"gateway\"}"
#define ERROR_REPLY(ref, reason)                                                                   \
	"{\"event\":\"phx_reply\",\"payload\":{\"status\":\"error\",\"response\":{\"reason\":"     \
	"\"" reason "\"}},\"ref\":" ref ",\"topic\":\"gateway\"}"
#define PUSH(event, payload)                                                                       \
	"{\"topic\":\"gateway\",\"event\":\"" event "\",\"payload\":" payload ",\"ref\":null}"

static void receive(struct phoenix *p, const char *text, uint64_t now)
{
	phoenix_receive(p, text, strlen(text), now);
}

static void assert_frame(struct phoenix *p, const char *expected)
{
	size_t size = 0;
	char *frame = phoenix_next_frame(p, &size);

	if (expected == NULL) {
		assert_null(frame);
		return;
	}
	assert_non_null(frame);
	assert_string_equal(frame, expected);
	assert_int_equal(size, strlen(expected));
	free(frame);
}

static void assert_event(struct phoenix *p, enum phoenix_event_type type, const char *name)
{
	struct phoenix_event e;

	assert_true(phoenix_next_event(p, &e));
	assert_int_equal(e.type, type);
	if (name != NULL)
		assert_string_equal(e.name, name);
	phoenix_event_fini(&e);
}

static void assert_down(struct phoenix *p, enum phoenix_down down, const char *detail)
{
	struct phoenix_event e;

	assert_true(phoenix_next_event(p, &e));
	assert_int_equal(e.type, PHOENIX_EVENT_DOWN);
	assert_int_equal(e.down, down);
	assert_string_equal(e.detail, detail);
	phoenix_event_fini(&e);
	assert_false(phoenix_next_event(p, &e));
	assert_frame(p, NULL);
	assert_true(phoenix_deadline(p) == PHOENIX_NO_DEADLINE);
}

static void assert_no_event(struct phoenix *p)
{
	struct phoenix_event e;

	assert_false(phoenix_next_event(p, &e));
}

static struct phoenix *opened(uint64_t now)
{
	struct phoenix *p = phoenix_create("gateway");

	assert_non_null(p);
	phoenix_open(p, now);
	assert_frame(p, JOIN_FRAME);
	return p;
}

static struct phoenix *joined(uint64_t now)
{
	struct phoenix *p = opened(now);

	receive(p, OK_REPLY("0"), now);
	assert_event(p, PHOENIX_EVENT_JOINED, NULL);
	return p;
}

static int send_text(struct phoenix *p, const char *event, const char *payload)
{
	json_error_t error;
	json_t *value = json_loads(payload, JSON_DECODE_ANY, &error);
	int rc = phoenix_send(p, event, value);

	json_decref(value);
	return rc;
}

static void join_comes_first(void **)
{
	struct phoenix *p = phoenix_create("gateway");

	assert_int_equal(send_text(p, "x", "{}"), -ENOTCONN);
	assert_frame(p, NULL);
	phoenix_open(p, 1000);
	assert_int_equal(send_text(p, "x", "{}"), -ENOTCONN);
	assert_frame(p, JOIN_FRAME);
	assert_frame(p, NULL);
	// A push that overtakes the reply is not for a member yet.
	receive(p, PUSH("init", "{}"), 1001);
	assert_no_event(p);
	// Heartbeats do not wait for the join, nor does anything else count as its reply.
	receive(p, OK_REPLY("1"), 1002);
	assert_false(phoenix_is_joined(p));
	receive(p, OK_REPLY("0"), 1003);
	assert_event(p, PHOENIX_EVENT_JOINED, NULL);
	assert_true(phoenix_is_joined(p));
	assert_int_equal(send_text(p, "x", "{}"), 0);
	assert_frame(p, "{\"topic\":\"gateway\",\"event\":\"x\",\"payload\":{},\"ref\":1}");
	phoenix_destroy(p);
}

static void join_reply_types(void **)
{
	static const struct {
		const char *reply;
		bool is_joined;
	} cases[] = {
		{OK_REPLY("0"), true},
		{"{\"event\":\"phx_reply\",\"payload\":{\"status\":\"ok\",\"response\":null},"
		 "\"ref\":0,\"topic\":\"gateway\"}",
		 true},
		{"{\"event\":\"phx_reply\",\"payload\":{\"status\":\"ok\"},\"ref\":0,"
		 "\"topic\":\"gateway\",\"join_ref\":null}",
		 true},
		{OK_REPLY("\"0\""), false},
		{OK_REPLY("0.0"), false},
		{OK_REPLY("null"), false},
		{OK_REPLY("-1"), false},
		{OK_REPLY("[]"), false},
		{OK_REPLY("18446744073709551616"), false},
		{"{\"event\":\"phx_reply\",\"payload\":null,\"ref\":0,\"topic\":\"gateway\"}",
		 false},
		{"{\"event\":\"phx_reply\",\"payload\":{\"status\":1},\"ref\":0,"
		 "\"topic\":\"gateway\"}",
		 false},
		{"{\"event\":\"phx_reply\",\"ref\":0,\"topic\":\"gateway\"}", false},
	};

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct phoenix *p = opened(0);

		receive(p, cases[i].reply, 1);
		assert_int_equal(phoenix_is_joined(p), cases[i].is_joined);
		phoenix_destroy(p);
	}
}

static void join_fails(void **)
{
	struct phoenix *p = opened(1000);

	assert_int_equal(phoenix_deadline(p), 6000);
	phoenix_tick(p, 5999);
	assert_no_event(p);
	phoenix_tick(p, 6000);
	assert_down(p, PHOENIX_DOWN_JOIN_TIMEOUT, "");
	// Too late.
	receive(p, OK_REPLY("0"), 6001);
	assert_no_event(p);
	phoenix_destroy(p);

	p = opened(0);
	receive(p, ERROR_REPLY("0", "dis\\u0001abled"), 1);
	assert_down(p, PHOENIX_DOWN_JOIN_REFUSED, "dis?abled");
	phoenix_destroy(p);
}

static void heartbeats(void **)
{
	struct phoenix *p = joined(1000);

	assert_int_equal(phoenix_deadline(p), 11000);
	phoenix_tick(p, 10999);
	assert_frame(p, NULL);
	phoenix_tick(p, 11000);
	assert_frame(p, "{\"topic\":\"phoenix\",\"event\":\"heartbeat\",\"payload\":{},\"ref\":1}");
	assert_frame(p, NULL);
	receive(p,
		"{\"event\":\"phx_reply\",\"payload\":{\"status\":\"ok\",\"response\":{}},"
		"\"ref\":1,\"topic\":\"phoenix\"}",
		11001);
	// Other traffic does not move the next one.
	assert_int_equal(send_text(p, "x", "1"), 0);
	assert_frame(p, "{\"topic\":\"gateway\",\"event\":\"x\",\"payload\":1,\"ref\":2}");
	assert_int_equal(phoenix_deadline(p), 21000);
	for (int i = 0; i < 3; i++) {
		char expected[128];

		phoenix_tick(p, 21000 + (uint64_t)i * 10000);
		snprintf(
			expected,
			sizeof(expected),
			"{\"topic\":\"phoenix\",\"event\":\"heartbeat\",\"payload\":{},\"ref\":%d}",
			3 + i);
		assert_frame(p, expected);
	}
	assert_no_event(p);
	// Three are unanswered, which is fine; the fourth is one too many.
	phoenix_tick(p, 50999);
	assert_no_event(p);
	phoenix_tick(p, 51000);
	assert_down(p, PHOENIX_DOWN_HEARTBEAT_LOST, "");
	phoenix_destroy(p);
}

static void one_late_answer_is_enough(void **)
{
	struct phoenix *p = joined(0);

	for (uint64_t t = 10000; t <= 30000; t += 10000) {
		size_t size;

		phoenix_tick(p, t);
		free(phoenix_next_frame(p, &size));
	}
	receive(p, OK_REPLY("2"), 30001);
	phoenix_tick(p, 40000);
	assert_frame(p, "{\"topic\":\"phoenix\",\"event\":\"heartbeat\",\"payload\":{},\"ref\":4}");
	phoenix_tick(p, 50000);
	assert_down(p, PHOENIX_DOWN_HEARTBEAT_LOST, "");
	phoenix_destroy(p);
}

static void after_a_long_sleep(void **)
{
	struct phoenix *p = joined(0);

	phoenix_tick(p, 1000000);
	assert_frame(p, "{\"topic\":\"phoenix\",\"event\":\"heartbeat\",\"payload\":{},\"ref\":1}");
	phoenix_tick(p, 1000001);
	assert_frame(p, NULL);
	assert_int_equal(phoenix_deadline(p), 1010000);
	phoenix_destroy(p);
}

static void duplicates(void **)
{
	struct phoenix *p = joined(0);

	assert_int_equal(send_text(p, "a", "{\"x\":1}"), 0);
	assert_int_equal(send_text(p, "a", "{\"x\":1}"), 0);
	assert_int_equal(send_text(p, "b", "{\"x\":1}"), 0);
	assert_int_equal(send_text(p, "a", "{\"x\":2}"), 0);
	assert_frame(p, "{\"topic\":\"gateway\",\"event\":\"a\",\"payload\":{\"x\":1},\"ref\":1}");
	// Not queued any more: no duplicate.
	assert_int_equal(send_text(p, "a", "{\"x\":1}"), 0);
	assert_frame(p, "{\"topic\":\"gateway\",\"event\":\"b\",\"payload\":{\"x\":1},\"ref\":2}");
	assert_frame(p, "{\"topic\":\"gateway\",\"event\":\"a\",\"payload\":{\"x\":2},\"ref\":3}");
	assert_frame(p, "{\"topic\":\"gateway\",\"event\":\"a\",\"payload\":{\"x\":1},\"ref\":4}");
	assert_frame(p, NULL);
	phoenix_destroy(p);
}

static void queue_is_bounded(void **)
{
	struct phoenix *p = joined(0);
	char payload[16];

	// Few enough to compare with each other quickly, then the limit by many small numbers.
	for (int i = 0; i < PHOENIX_QUEUE_MAX; i++) {
		snprintf(payload, sizeof(payload), "%d", i);
		assert_int_equal(send_text(p, "n", payload), 0);
	}
	assert_int_equal(send_text(p, "n", "\"more\""), -ENOBUFS);
	phoenix_destroy(p);
}

static void events(void **)
{
	struct phoenix *p = joined(0);
	struct phoenix_event e;

	receive(p, PUSH("init", "{\"a\":[1,null]}"), 1);
	receive(p, PUSH("resource_deleted", "\"7b7c1480\""), 1);
	receive(p, "{\"topic\":\"gateway\",\"event\":\"bare\"}", 1);
	assert_true(phoenix_next_event(p, &e));
	assert_string_equal(e.name, "init");
	assert_int_equal(json_array_size(json_object_get(e.payload, "a")), 2);
	phoenix_event_fini(&e);
	assert_true(phoenix_next_event(p, &e));
	assert_string_equal(json_string_value(e.payload), "7b7c1480");
	phoenix_event_fini(&e);
	assert_true(phoenix_next_event(p, &e));
	assert_true(json_is_null(e.payload));
	phoenix_event_fini(&e);
	assert_no_event(p);
	phoenix_destroy(p);
}

static void ignored_frames(void **)
{
	static const char *const frames[] = {
		"",
		"{",
		"null",
		"[\"0\",\"0\",\"gateway\",\"init\",{}]",
		"{}",
		"{\"topic\":\"gateway\"}",
		"{\"topic\":1,\"event\":\"init\",\"payload\":{}}",
		"{\"topic\":\"gateway\",\"event\":null,\"payload\":{}}",
		"{\"topic\":\"other\",\"event\":\"init\",\"payload\":{}}",
		"{\"topic\":\"gateway\",\"topic\":\"gateway\",\"event\":\"init\",\"payload\":{}}",
		"{\"topic\":\"other\",\"event\":\"phx_close\",\"payload\":{}}",
		"{\"topic\":\"phoenix\",\"event\":\"disconnect\","
		"\"payload\":{\"reason\":\"token_expired\"}}",
		PUSH("phx_error", "{}"),
		PUSH("phx_error", "{\"reason\":\"channel_crash\"}"),
		ERROR_REPLY("7", "unknown_message"),
		ERROR_REPLY("7", "invalid_ref"),
		OK_REPLY("99"),
	};
	struct phoenix *p = joined(0);

	for (size_t i = 0; i < COUNT_OF(frames); i++) {
		receive(p, frames[i], 1);
		assert_no_event(p);
		assert_true(phoenix_is_joined(p));
		assert_frame(p, NULL);
	}
	phoenix_destroy(p);
}

static void channel_ends(void **)
{
	struct phoenix *p = joined(0);

	receive(p, PUSH("phx_close", "{}"), 1);
	assert_down(p, PHOENIX_DOWN_CHANNEL_CLOSED, "");
	phoenix_destroy(p);

	p = joined(0);
	receive(p, PUSH("disconnect", "{\"reason\":\"token_expired\"}"), 1);
	// What usually follows changes nothing.
	receive(p, PUSH("phx_close", "{}"), 1);
	assert_down(p, PHOENIX_DOWN_TOKEN_EXPIRED, "");
	phoenix_destroy(p);

	// Another reason is only news; the server closes when it means it.
	p = joined(0);
	receive(p, PUSH("disconnect", "{\"reason\":\"certificate_revoked\"}"), 1);
	assert_event(p, PHOENIX_EVENT_MESSAGE, "disconnect");
	assert_true(phoenix_is_joined(p));
	phoenix_destroy(p);
}

static void rejoin(void **)
{
	struct phoenix *p = joined(0);

	assert_int_equal(send_text(p, "a", "1"), 0);
	assert_int_equal(send_text(p, "b", "2"), 0);
	assert_frame(p, "{\"topic\":\"gateway\",\"event\":\"a\",\"payload\":1,\"ref\":1}");
	assert_int_equal(send_text(p, "c", "3"), 0);
	assert_frame(p, "{\"topic\":\"gateway\",\"event\":\"b\",\"payload\":2,\"ref\":2}");
	receive(p, ERROR_REPLY("1", "unmatched topic"), 100);
	assert_event(p, PHOENIX_EVENT_REJOINING, NULL);
	assert_false(phoenix_is_joined(p));
	assert_int_equal(send_text(p, "d", "4"), -ENOTCONN);
	// The second echo of the same loss is no new loss.
	receive(p, ERROR_REPLY("2", "unmatched topic"), 101);
	assert_no_event(p);
	assert_frame(
		p, "{\"topic\":\"gateway\",\"event\":\"phx_join\",\"payload\":null,\"ref\":3}");
	assert_frame(p, NULL);
	assert_int_equal(phoenix_deadline(p), 5100);
	receive(p, OK_REPLY("3"), 102);
	receive(p, ERROR_REPLY("2", "unmatched topic"), 103);
	assert_event(p, PHOENIX_EVENT_JOINED, NULL);
	assert_no_event(p);
	assert_frame(p, "{\"topic\":\"gateway\",\"event\":\"c\",\"payload\":3,\"ref\":4}");
	phoenix_destroy(p);
}

static void reopen_starts_over(void **)
{
	struct phoenix *p = joined(0);

	assert_int_equal(send_text(p, "a", "1"), 0);
	receive(p, PUSH("init", "{}"), 1);
	phoenix_tick(p, 10000);
	phoenix_close(p);
	assert_no_event(p);
	assert_frame(p, NULL);
	phoenix_tick(p, 20000);
	assert_true(phoenix_deadline(p) == PHOENIX_NO_DEADLINE);
	phoenix_open(p, 30000);
	assert_frame(p, JOIN_FRAME);
	assert_frame(p, NULL);
	assert_int_equal(phoenix_deadline(p), 35000);
	phoenix_destroy(p);
}

static void client_topic(void **)
{
	struct phoenix *p = phoenix_create("client");

	phoenix_open(p, 0);
	assert_frame(p, "{\"topic\":\"client\",\"event\":\"phx_join\",\"payload\":null,\"ref\":0}");
	phoenix_destroy(p);
}

static void join_payload(void **)
{
	struct phoenix *p = phoenix_create("relay");
	json_t *payload = json_pack("{s:s}", "stamp_secret", "00ff");
	static const char join[] = "{\"topic\":\"relay\",\"event\":\"phx_join\",\"payload\":"
				   "{\"stamp_secret\":\"00ff\"},\"ref\":0}";

	assert_int_equal(phoenix_join_payload_set(p, payload), 0);
	json_decref(payload);
	// The same on every connection.
	for (int i = 0; i < 2; i++) {
		phoenix_open(p, 0);
		assert_frame(p, join);
	}
	phoenix_destroy(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(join_comes_first),
		cmocka_unit_test(join_reply_types),
		cmocka_unit_test(join_fails),
		cmocka_unit_test(heartbeats),
		cmocka_unit_test(one_late_answer_is_enough),
		cmocka_unit_test(after_a_long_sleep),
		cmocka_unit_test(duplicates),
		cmocka_unit_test(queue_is_bounded),
		cmocka_unit_test(events),
		cmocka_unit_test(ignored_frames),
		cmocka_unit_test(channel_ends),
		cmocka_unit_test(rejoin),
		cmocka_unit_test(reopen_starts_over),
		cmocka_unit_test(client_topic),
		cmocka_unit_test(join_payload),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
