// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "control/base/alloc.h"
#include "control/base/log.h"
#include "peers/portal/portal_priv.h"

#include <stdlib.h>
#include <string.h>

#define LOG_AREA "portal.channel"

static const char *channel_topic(const struct channel *ch)
{
	switch (ch->kind) {
	case CHANNEL_CLIENT:
		return "client";
	case CHANNEL_RELAY:
		return "relay";
	default:
		return "gateway";
	}
}

const char *channel_id(const struct channel *ch)
{
	return ch->relay != NULL ? ch->relay->id.text : ch->device->stored->id.text;
}

static const char *channel_name(const struct channel *ch)
{
	return ch->relay != NULL ? ch->relay->name : ch->device->name;
}

static void mark_dirty(struct channel *ch)
{
	if (ch->is_dirty)
		return;
	ch->is_dirty = true;
	TAILQ_INSERT_TAIL(&ch->portal->dirty, ch, dirty_link);
}

static void send_frame(struct channel *ch, json_t *message)
{
	const size_t size = json_dumpb(alloc_check(message), NULL, 0, JSON_COMPACT);
	struct frame *f;

	if (ch->close_code == 0 && ch->queued_size + size > CHANNEL_QUEUE_SIZE_MAX) {
		LOG(WARNING, "peer does not read, closing device=%s", channel_id(ch));
		channel_close(ch, WS_CLOSE_GOING_AWAY);
	}
	if (ch->close_code == 0) {
		f = alloc_zero(1, sizeof(*f) + size);
		f->size = size;
		json_dumpb(message, f->text, size, JSON_COMPACT);
		*ch->frames_end = f;
		ch->frames_end = &f->next;
		ch->queued_size += size;
		mark_dirty(ch);
		LOG(DEBUG,
		    "send device=%s event=%s size=%zu",
		    channel_id(ch),
		    json_string_value(json_object_get(message, "event")),
		    size);
	}
	json_decref(message);
}

void channel_push(struct channel *ch, const char *event, json_t *payload)
{
	send_frame(
		ch,
		json_pack(
			"{s:s, s:s, s:o, s:n}",
			"topic",
			channel_topic(ch),
			"event",
			event,
			"payload",
			alloc_check(payload),
			"ref"));
}

void channel_reply(
	struct channel *ch,
	const char *topic,
	const char *status,
	json_t *response,
	json_t *ref)
{
	send_frame(
		ch,
		json_pack(
			"{s:s, s:s, s:{s:s, s:o}, s:O}",
			"topic",
			topic,
			"event",
			"phx_reply",
			"payload",
			"status",
			status,
			"response",
			alloc_check(response),
			"ref",
			ref));
}

void channel_reply_ok(struct channel *ch, json_t *ref)
{
	channel_reply(ch, channel_topic(ch), "ok", json_object(), ref);
}

void channel_reply_error(struct channel *ch, const char *reason, json_t *ref)
{
	channel_reply(ch, channel_topic(ch), "error", json_pack("{s:s}", "reason", reason), ref);
}

void channel_close(struct channel *ch, uint16_t code)
{
	if (ch->close_code != 0)
		return;
	ch->close_code = code;
	mark_dirty(ch);
}

void channel_expel(struct channel *ch)
{
	channel_push(ch, "disconnect", json_pack("{s:s}", "reason", "token_expired"));
	channel_push(ch, "phx_close", json_object());
	channel_close(ch, WS_CLOSE_GOING_AWAY);
}

bool channel_is_text_array(const json_t *array)
{
	size_t i;
	json_t *item;

	if (!json_is_array(array))
		return false;
	json_array_foreach(array, i, item) {
		if (!json_is_string(item))
			return false;
	}
	return true;
}

void channel_detach(struct channel *ch, struct instant now)
{
	if (ch->kind == CHANNEL_RELAY)
		relays_leave(ch, now);
	else if (ch->device->channel == ch)
		ch->device->channel = NULL;
	ch->is_joined = false;
	authorize_channel_gone(ch);
}

static void log_joined(const struct channel *ch)
{
	LOG(INFO,
	    "joined kind=%s device=%s name=%s version=%s channel=v%u",
	    channel_topic(ch),
	    channel_id(ch),
	    channel_name(ch),
	    ch->agent.version_text,
	    ch->version);
}

static void join_relay(struct channel *ch, const json_t *payload, json_t *ref, struct instant now)
{
	if (!relays_join(ch, payload, now)) {
		channel_reply_error(ch, "invalid stamp_secret", ref);
		return;
	}
	ch->is_joined = true;
	log_joined(ch);
	channel_reply_ok(ch, ref);
	channel_push(ch, "init", json_object());
}

static void join(struct channel *ch, json_t *ref, struct instant now)
{
	struct device *device = ch->device;
	struct channel *other = device->channel;

	if (other != NULL && other != ch) {
		// Two at once: of a gateway the first stays, of a client the last.
		if (ch->kind == CHANNEL_GATEWAY) {
			channel_expel(ch);
			return;
		}
		channel_expel(other);
		authorize_channel_gone(other);
		other->is_joined = false;
	}
	device->channel = ch;
	ch->is_joined = true;
	ch->has_iceless = false;
	log_joined(ch);
	channel_reply_ok(ch, ref);
	if (ch->kind == CHANNEL_CLIENT)
		channel_client_joined(ch, now);
	else
		channel_gateway_joined(ch, now);
}

static void leave(struct channel *ch, json_t *ref, struct instant now)
{
	channel_reply_ok(ch, ref);
	channel_push(ch, "phx_close", json_object());
	channel_detach(ch, now);
}

static bool
dispatch(struct channel *ch, const char *event, json_t *payload, json_t *ref, struct instant now)
{
	switch (ch->kind) {
	case CHANNEL_CLIENT:
		return channel_client_event(ch, event, payload, ref, now);
	case CHANNEL_GATEWAY:
		return channel_gateway_event(ch, event, payload, ref, now);
	default:
		return false;
	}
}

static void
own_topic(struct channel *ch, const char *event, json_t *payload, json_t *ref, struct instant now)
{
	if (strcmp(event, "phx_join") == 0) {
		if (ch->kind == CHANNEL_RELAY)
			join_relay(ch, payload, ref, now);
		else
			join(ch, ref, now);
		return;
	}
	if (!ch->is_joined) {
		channel_reply_error(ch, "unmatched topic", ref);
		return;
	}
	if (strcmp(event, "phx_leave") == 0) {
		leave(ch, ref, now);
		return;
	}
	if (strcmp(event, "set_snownet_capabilities") == 0 && json_is_object(payload)) {
		ch->has_iceless = json_is_true(json_object_get(payload, "iceless"));
		return;
	}
	if (ch->kind != CHANNEL_RELAY && strcmp(event, "no_relays") == 0) {
		// It has dropped them all: the answer names none as gone.
		ch->n_given = 0;
		relays_push(ch);
		return;
	}
	if (!dispatch(ch, event, payload, ref, now)) {
		LOG_LIMITED(INFO, "message not understood device=%s", channel_id(ch));
		channel_reply_error(ch, "unknown_message", ref);
	}
}

void channel_receive(struct channel *ch, const char *text, size_t size, struct instant now)
{
	json_t *message;
	const char *topic;
	const char *event;
	json_t *payload;
	json_t *ref;

	ch->heard_ms = now.mono_ms;
	if (ch->close_code != 0)
		return;
	portal_tick(ch->portal, now);
	message = json_loadb(text, size, JSON_REJECT_DUPLICATES, NULL);
	topic = json_string_value(json_object_get(message, "topic"));
	event = json_string_value(json_object_get(message, "event"));
	payload = json_object_get(message, "payload");
	ref = json_object_get(message, "ref");
	if (topic == NULL || event == NULL || payload == NULL || ref == NULL) {
		LOG_LIMITED(WARNING, "malformed frame, closing device=%s", channel_id(ch));
		channel_close(ch, WS_CLOSE_INTERNAL);
	} else if (strcmp(topic, channel_topic(ch)) == 0) {
		own_topic(ch, event, payload, ref, now);
	} else if (strcmp(topic, "phoenix") == 0 && strcmp(event, "heartbeat") == 0) {
		channel_reply(ch, topic, "ok", json_object(), ref);
	} else {
		channel_reply(
			ch, topic, "error", json_pack("{s:s}", "reason", "unmatched topic"), ref);
	}
	json_decref(message);
}

struct frame *channel_frame_pop(struct channel *ch)
{
	struct frame *f = ch->frames;

	if (f == NULL)
		return NULL;
	ch->frames = f->next;
	if (ch->frames == NULL)
		ch->frames_end = &ch->frames;
	ch->queued_size -= f->size;
	return f;
}

uint16_t channel_close_code(const struct channel *ch)
{
	return ch->close_code;
}

void channel_destroy(struct channel *ch, struct instant now)
{
	struct portal *p;

	if (ch == NULL)
		return;
	p = ch->portal;
	portal_tick(p, now);
	if (ch->is_joined)
		LOG(INFO,
		    "left kind=%s device=%s name=%s",
		    channel_topic(ch),
		    channel_id(ch),
		    channel_name(ch));
	channel_detach(ch, now);
	if (ch->is_dirty)
		TAILQ_REMOVE(&p->dirty, ch, dirty_link);
	TAILQ_REMOVE(&p->channels, ch, link);
	for (struct frame *f; (f = channel_frame_pop(ch)) != NULL;)
		free(f);
	relay_peer_destroy(ch->relay);
	free(ch->ip);
	free(ch);
}

void channel_set_user(struct channel *ch, void *user)
{
	ch->user = user;
}

void *channel_user(const struct channel *ch)
{
	return ch->user;
}
