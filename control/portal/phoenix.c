// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "control/portal/phoenix.h"

#include "control/base/err.h"
#include "control/base/log.h"
#include "control/portal/types.h"

#include <sodium.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#define LOG_AREA "portal.phoenix"

enum state {
	STATE_CLOSED = 0,
	STATE_JOINING,
	STATE_JOINED,
	STATE_DOWN, // told the owner so; waits for phoenix_close()
};

struct queued_message {
	STAILQ_ENTRY(queued_message) link;
	char *body; // "event":...,"payload":... as it goes on the wire
};

struct queued_event {
	STAILQ_ENTRY(queued_event) link;
	struct phoenix_event event;
};

struct phoenix {
	char *topic;
	char *topic_json; // with quotes
	char *join_body; // "event":...,"payload":... of the join
	enum state state;
	uint64_t next_ref;
	bool is_join_due; // to be put out
	bool is_join_pending; // put out, not answered
	uint64_t join_ref;
	uint64_t join_deadline;
	bool is_heartbeat_due;
	uint64_t heartbeat_deadline;
	uint64_t unanswered[PHOENIX_HEARTBEATS_UNANSWERED_MAX];
	size_t n_unanswered;
	STAILQ_HEAD(, queued_message) messages;
	size_t n_messages;
	STAILQ_HEAD(, queued_event) events;
	bool has_down_event; // kept apart so that telling needs no memory
	struct phoenix_event down_event;
};

#define JOIN_BODY "\"event\":\"phx_join\",\"payload\":"

static char *quoted(const char *text)
{
	json_t *value = json_string(text);
	char *json = value != NULL ? json_dumps(value, JSON_ENCODE_ANY) : NULL;

	json_decref(value);
	return json;
}

struct phoenix *phoenix_create(const char *topic)
{
	struct phoenix *p = calloc(1, sizeof(*p));

	if (p == NULL)
		return err_set_null(ENOMEM);
	STAILQ_INIT(&p->messages);
	STAILQ_INIT(&p->events);
	p->topic = strdup(topic);
	p->topic_json = quoted(topic);
	p->join_body = strdup(JOIN_BODY "null");
	if (p->topic == NULL || p->topic_json == NULL || p->join_body == NULL) {
		phoenix_destroy(p);
		return err_set_null(ENOMEM);
	}
	return p;
}

static void message_free(struct queued_message *m)
{
	free(m->body);
	free(m);
}

void phoenix_close(struct phoenix *p)
{
	struct phoenix_event e;

	while (!STAILQ_EMPTY(&p->messages)) {
		struct queued_message *m = STAILQ_FIRST(&p->messages);

		STAILQ_REMOVE_HEAD(&p->messages, link);
		message_free(m);
	}
	p->n_messages = 0;
	while (phoenix_next_event(p, &e))
		phoenix_event_fini(&e);
	p->state = STATE_CLOSED;
	p->is_join_due = false;
	p->is_join_pending = false;
	p->is_heartbeat_due = false;
	p->n_unanswered = 0;
	p->next_ref = 0;
}

// A relay's holds its secret.
static void join_body_free(struct phoenix *p)
{
	if (p->join_body != NULL)
		sodium_memzero(p->join_body, strlen(p->join_body));
	free(p->join_body);
	p->join_body = NULL;
}

void phoenix_destroy(struct phoenix *p)
{
	if (p == NULL)
		return;
	phoenix_close(p);
	free(p->topic);
	free(p->topic_json);
	join_body_free(p);
	free(p);
}

int phoenix_join_payload_set(struct phoenix *p, const json_t *payload)
{
	char *json = json_dumps(payload, JSON_ENCODE_ANY | JSON_COMPACT);
	char *body = NULL;
	const int len = json != NULL ? asprintf(&body, JOIN_BODY "%s", json) : -1;

	if (json != NULL)
		sodium_memzero(json, strlen(json));
	free(json);
	if (len < 0)
		return err_set(ENOMEM);
	join_body_free(p);
	p->join_body = body;
	return 0;
}

static void join_start(struct phoenix *p, uint64_t now_ms)
{
	p->state = STATE_JOINING;
	p->is_join_due = true;
	p->is_join_pending = false;
	p->join_deadline = now_ms + PHOENIX_JOIN_TIMEOUT_MS;
}

void phoenix_open(struct phoenix *p, uint64_t now_ms)
{
	phoenix_close(p);
	join_start(p, now_ms);
	p->heartbeat_deadline = now_ms + PHOENIX_HEARTBEAT_MS;
}

bool phoenix_is_joined(const struct phoenix *p)
{
	return p->state == STATE_JOINED;
}

// The peer's words for our log: printable ASCII, cut to fit.
static void detail_copy(char out[static 96], const char *text)
{
	size_t n = 0;

	for (; text != NULL && *text != '\0' && n < 95; text++)
		out[n++] = *text >= 0x20 && *text <= 0x7e ? *text : '?';
	out[n] = '\0';
}

static void down(struct phoenix *p, enum phoenix_down reason, const char *detail)
{
	if (p->state == STATE_DOWN)
		return;
	p->state = STATE_DOWN;
	p->is_join_due = false;
	p->is_heartbeat_due = false;
	p->has_down_event = true;
	p->down_event = (struct phoenix_event){.type = PHOENIX_EVENT_DOWN, .down = reason};
	detail_copy(p->down_event.detail, detail);
}

static void
event_add(struct phoenix *p, enum phoenix_event_type type, const char *name, json_t *payload)
{
	struct queued_event *e = calloc(1, sizeof(*e));
	char *copy = name != NULL ? strdup(name) : NULL;

	if (e == NULL || (name != NULL && copy == NULL)) {
		free(e);
		free(copy);
		down(p, PHOENIX_DOWN_NO_MEMORY, NULL);
		return;
	}
	e->event.type = type;
	e->event.name = copy;
	e->event.payload = json_incref(payload);
	STAILQ_INSERT_TAIL(&p->events, e, link);
}

static bool is_unmatched_topic(const struct phoenix *p, const char *topic, const char *reason)
{
	return strcmp(topic, p->topic) == 0 && reason != NULL
		&& strcmp(reason, "unmatched topic") == 0;
}

static void join_reply(struct phoenix *p, bool is_ok, const char *reason)
{
	p->is_join_pending = false;
	if (!is_ok) {
		down(p, PHOENIX_DOWN_JOIN_REFUSED, reason);
		return;
	}
	p->state = STATE_JOINED;
	event_add(p, PHOENIX_EVENT_JOINED, NULL, NULL);
}

static bool heartbeat_reply(struct phoenix *p, uint64_t ref)
{
	for (size_t i = 0; i < p->n_unanswered; i++) {
		if (p->unanswered[i] != ref)
			continue;
		p->n_unanswered--;
		memmove(p->unanswered + i,
			p->unanswered + i + 1,
			(p->n_unanswered - i) * sizeof(p->unanswered[0]));
		return true;
	}
	return false;
}

static void reply_handle(
	struct phoenix *p,
	const char *topic,
	const json_t *payload,
	const json_t *ref_value,
	uint64_t now_ms)
{
	const char *status = json_string_value(json_object_get(payload, "status"));
	const json_t *response = json_object_get(payload, "response");
	const char *reason = json_string_value(json_object_get(response, "reason"));
	bool is_ok = status != NULL && strcmp(status, "ok") == 0;
	uint64_t ref;

	// We send integers and a server echoes what it got; anything else is no answer to us.
	if (!json_is_integer(ref_value) || json_integer_value(ref_value) < 0 || status == NULL) {
		LOG_LIMITED(DEBUG, "ignored a reply without status or integer ref");
		return;
	}
	ref = (uint64_t)json_integer_value(ref_value);
	if (p->is_join_pending && ref == p->join_ref) {
		join_reply(p, is_ok, reason);
		return;
	}
	if (heartbeat_reply(p, ref) || is_ok)
		return;
	// References before the join's belong to the membership that is already known to be lost.
	if (p->state == STATE_JOINED && ref > p->join_ref && is_unmatched_topic(p, topic, reason)) {
		LOG(INFO, "the server does not know our topic any more, joining again");
		join_start(p, now_ms);
		event_add(p, PHOENIX_EVENT_REJOINING, NULL, NULL);
		return;
	}
	LOG_LIMITED(INFO, "the server answered a message with an error");
}

static void own_topic_handle(struct phoenix *p, const char *event, json_t *payload)
{
	const char *reason = json_string_value(json_object_get(payload, "reason"));

	if (strcmp(event, "phx_close") == 0) {
		down(p, PHOENIX_DOWN_CHANNEL_CLOSED, NULL);
	} else if (strcmp(event, "phx_error") == 0) {
		// The server closes the transport by itself if it means it.
		LOG(INFO, "the server reports a channel error");
	} else if (
		strcmp(event, "disconnect") == 0 && reason != NULL
		&& strcmp(reason, "token_expired") == 0) {
		down(p, PHOENIX_DOWN_TOKEN_EXPIRED, NULL);
	} else if (p->state == STATE_JOINED) {
		event_add(p, PHOENIX_EVENT_MESSAGE, event, payload);
	} else {
		LOG_LIMITED(DEBUG, "ignored a message before the join was answered");
	}
}

void phoenix_receive(struct phoenix *p, const char *text, size_t size, uint64_t now_ms)
{
	json_error_t error;
	json_t *frame;
	const char *topic;
	const char *event;
	json_t *payload;

	if (p->state != STATE_JOINING && p->state != STATE_JOINED)
		return;
	frame = json_loadb(text, size, JSON_REJECT_DUPLICATES, &error);
	topic = json_string_value(json_object_get(frame, "topic"));
	event = json_string_value(json_object_get(frame, "event"));
	payload = json_object_get(frame, "payload");
	if (topic == NULL || event == NULL) {
		LOG_LIMITED(WARNING, "ignored a frame that is no channel message size=%zu", size);
	} else if (strcmp(event, "phx_reply") == 0) {
		reply_handle(p, topic, payload, json_object_get(frame, "ref"), now_ms);
	} else if (strcmp(topic, p->topic) == 0) {
		json_t *null = json_null();

		own_topic_handle(p, event, payload != NULL ? payload : null);
	} else {
		LOG_LIMITED(DEBUG, "ignored a message on another topic");
	}
	json_decref(frame);
}

void phoenix_tick(struct phoenix *p, uint64_t now_ms)
{
	if (p->state != STATE_JOINING && p->state != STATE_JOINED)
		return;
	if (p->state == STATE_JOINING && now_ms >= p->join_deadline) {
		down(p, PHOENIX_DOWN_JOIN_TIMEOUT, NULL);
		return;
	}
	if (now_ms < p->heartbeat_deadline)
		return;
	p->heartbeat_deadline += PHOENIX_HEARTBEAT_MS;
	// After a long pause of the process: one heartbeat, not a burst.
	if (p->heartbeat_deadline <= now_ms)
		p->heartbeat_deadline = now_ms + PHOENIX_HEARTBEAT_MS;
	if (p->is_heartbeat_due || p->n_unanswered == PHOENIX_HEARTBEATS_UNANSWERED_MAX) {
		down(p, PHOENIX_DOWN_HEARTBEAT_LOST, NULL);
		return;
	}
	p->is_heartbeat_due = true;
}

uint64_t phoenix_deadline(const struct phoenix *p)
{
	if (p->state == STATE_JOINING && p->join_deadline < p->heartbeat_deadline)
		return p->join_deadline;
	if (p->state == STATE_JOINING || p->state == STATE_JOINED)
		return p->heartbeat_deadline;
	return PHOENIX_NO_DEADLINE;
}

int phoenix_send(struct phoenix *p, const char *event, const json_t *payload)
{
	struct queued_message *m;
	char *event_json = NULL;
	char *payload_json = NULL;
	int rc = 0;

	if (p->state != STATE_JOINED)
		return -ENOTCONN;
	if (p->n_messages >= PHOENIX_QUEUE_MAX)
		return -ENOBUFS;
	m = calloc(1, sizeof(*m));
	event_json = quoted(event);
	payload_json = json_dumps(payload, JSON_COMPACT | JSON_ENCODE_ANY);
	if (m == NULL || event_json == NULL || payload_json == NULL) {
		rc = -ENOMEM;
	} else if (strlen(payload_json) > PORTAL_FRAME_MAX / 2) {
		rc = -EMSGSIZE;
	} else if (
		asprintf(&m->body, "\"event\":%s,\"payload\":%s", event_json, payload_json) < 0) {
		m->body = NULL;
		rc = -ENOMEM;
	}
	free(event_json);
	free(payload_json);
	if (rc != 0) {
		free(m);
		return rc;
	}
	for (struct queued_message *q = STAILQ_FIRST(&p->messages); q != NULL;
	     q = STAILQ_NEXT(q, link)) {
		if (strcmp(q->body, m->body) == 0) {
			message_free(m);
			return 0;
		}
	}
	STAILQ_INSERT_TAIL(&p->messages, m, link);
	p->n_messages++;
	return 0;
}

static char *frame_build(struct phoenix *p, const char *topic_json, const char *body, size_t *size)
{
	char *frame = NULL;
	int len = asprintf(
		&frame,
		"{\"topic\":%s,%s,\"ref\":%llu}",
		topic_json,
		body,
		(unsigned long long)p->next_ref);

	if (len < 0) {
		down(p, PHOENIX_DOWN_NO_MEMORY, NULL);
		return NULL;
	}
	p->next_ref++;
	*size = (size_t)len;
	return frame;
}

char *phoenix_next_frame(struct phoenix *p, size_t *size)
{
	struct queued_message *m;
	char *frame;

	if (p->state != STATE_JOINING && p->state != STATE_JOINED)
		return NULL;
	if (p->is_join_due) {
		p->is_join_due = false;
		p->is_join_pending = true;
		p->join_ref = p->next_ref;
		return frame_build(p, p->topic_json, p->join_body, size);
	}
	if (p->is_heartbeat_due) {
		p->is_heartbeat_due = false;
		p->unanswered[p->n_unanswered++] = p->next_ref;
		return frame_build(
			p, "\"phoenix\"", "\"event\":\"heartbeat\",\"payload\":{}", size);
	}
	m = p->state == STATE_JOINED ? STAILQ_FIRST(&p->messages) : NULL;
	if (m == NULL)
		return NULL;
	STAILQ_REMOVE_HEAD(&p->messages, link);
	p->n_messages--;
	frame = frame_build(p, p->topic_json, m->body, size);
	message_free(m);
	return frame;
}

bool phoenix_next_event(struct phoenix *p, struct phoenix_event *out)
{
	struct queued_event *e = STAILQ_FIRST(&p->events);

	if (e != NULL) {
		STAILQ_REMOVE_HEAD(&p->events, link);
		*out = e->event;
		free(e);
		return true;
	}
	if (!p->has_down_event)
		return false;
	p->has_down_event = false;
	*out = p->down_event;
	return true;
}

void phoenix_event_fini(struct phoenix_event *e)
{
	free(e->name);
	json_decref(e->payload);
	e->name = NULL;
	e->payload = NULL;
}

const char *phoenix_down_name(enum phoenix_down reason)
{
	static const char *const names[] = {
		[PHOENIX_DOWN_JOIN_TIMEOUT] = "the join was not answered",
		[PHOENIX_DOWN_JOIN_REFUSED] = "the join was refused",
		[PHOENIX_DOWN_HEARTBEAT_LOST] = "heartbeats were not answered",
		[PHOENIX_DOWN_CHANNEL_CLOSED] = "the portal closed the channel",
		[PHOENIX_DOWN_TOKEN_EXPIRED] = "the portal says token_expired",
		[PHOENIX_DOWN_NO_MEMORY] = "out of memory",
	};

	return names[reason];
}
