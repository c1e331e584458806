// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include <jansson.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/**
 * One Phoenix channel over a text transport (serializer V1: JSON objects), sans-IO. The caller
 * opens it when its transport is up, feeds it text messages and the time, sends what it puts out
 * and closes it when the transport is gone.
 *
 *   CLOSED --phoenix_open--> JOINING --join reply ok--> JOINED
 *      ^                      |   ^------"unmatched topic"----|
 *      |<---- event DOWN -----+-------------------------------+
 *
 * Until the join is answered nothing but the join and heartbeats is put out. After an event DOWN
 * nothing is put out at all: the caller closes its transport and calls phoenix_close(). References
 * are integers that start at 0 with each phoenix_open(). Frames that cannot be understood are
 * logged and ignored.
 *
 * Ownership: creator owns; payloads handed out belong to the event. Thread-safety: none, one thread.
 */

/** Time between heartbeats, whatever else is sent. */
#define PHOENIX_HEARTBEAT_MS 10000
/** Time that the server has to answer a join. */
#define PHOENIX_JOIN_TIMEOUT_MS 5000
/** Unanswered heartbeats that are still fine; with the next one the channel is down. */
#define PHOENIX_HEARTBEATS_UNANSWERED_MAX 3
/** Messages that may wait for the transport. */
#define PHOENIX_QUEUE_MAX 4096
/** phoenix_deadline() when nothing is due. */
#define PHOENIX_NO_DEADLINE UINT64_MAX

enum phoenix_down {
	PHOENIX_DOWN_JOIN_TIMEOUT = 0,
	PHOENIX_DOWN_JOIN_REFUSED,
	PHOENIX_DOWN_HEARTBEAT_LOST,
	PHOENIX_DOWN_CHANNEL_CLOSED, // phx_close
	PHOENIX_DOWN_TOKEN_EXPIRED, // disconnect: tear down, wait, connect again; 401 then is final
	PHOENIX_DOWN_NO_MEMORY,
};

enum phoenix_event_type {
	PHOENIX_EVENT_JOINED = 0, // also after a re-join on the same transport
	PHOENIX_EVENT_REJOINING, // was joined, is not any more, joins again by itself
	PHOENIX_EVENT_MESSAGE,
	PHOENIX_EVENT_DOWN,
};

/** What happened. Free with phoenix_event_fini(). */
struct phoenix_event {
	enum phoenix_event_type type;
	enum phoenix_down down; // DOWN
	char *name; // MESSAGE: event name
	json_t *payload; // MESSAGE: any JSON value, never NULL
	char detail[96]; // DOWN: for the log
};

struct phoenix;

/** @param topic "gateway", "client" or "relay"; copied. @return NULL with errno ENOMEM */
struct phoenix *phoenix_create(const char *topic);
void phoenix_destroy(struct phoenix *p);
/** What joins carry instead of null; borrowed. @return 0, -ENOMEM */
[[nodiscard]] int phoenix_join_payload_set(struct phoenix *p, const json_t *payload);

/** The transport is up: forgets the last connection and queues the join. */
void phoenix_open(struct phoenix *p, uint64_t now_ms);
/** The transport is gone: drops the queue, waiting events and all state. */
void phoenix_close(struct phoenix *p);
bool phoenix_is_joined(const struct phoenix *p);

/** One whole text message arrived. */
void phoenix_receive(struct phoenix *p, const char *text, size_t size, uint64_t now_ms);
/** Does what is due at @p now_ms. */
void phoenix_tick(struct phoenix *p, uint64_t now_ms);
/** When phoenix_tick() is next needed, in the caller's milliseconds; PHOENIX_NO_DEADLINE. */
uint64_t phoenix_deadline(const struct phoenix *p);

/**
 * Queues a message. One that equals a message still queued is dropped silently (0).
 * @param payload borrowed
 * @return 0, -ENOTCONN (not joined), -ENOBUFS (queue full), -EMSGSIZE, -ENOMEM
 */
[[nodiscard]] int phoenix_send(struct phoenix *p, const char *event, const json_t *payload);

/** Takes the next text message to send, NUL-terminated, or NULL. Free it with free(). */
char *phoenix_next_frame(struct phoenix *p, size_t *size);
/** Takes the next event. @return whether there was one */
bool phoenix_next_event(struct phoenix *p, struct phoenix_event *out);
void phoenix_event_fini(struct phoenix_event *e);
/** A few words for the log. */
const char *phoenix_down_name(enum phoenix_down down);
