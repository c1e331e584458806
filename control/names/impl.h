// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include "control/names/names.h"

#include <sys/queue.h>
#include <sys/socket.h>

/**
 * What the files of the driver share: listen.c (who asks over UDP, and binding), client.c (who asks
 * over TCP), upstream.c (one socket per exchange), names.c (the forwarder's clock and steps).
 */

enum {
	NAMES_FRAME_SIZE = 2 + DNS_MESSAGE_SIZE, // over TCP: a length and a message
	NAMES_FAMILIES = 2,
};

struct names;
struct names_client;

/** Bytes of a TCP stream up to the end of one message. */
struct names_frame {
	uint8_t data[NAMES_FRAME_SIZE];
	size_t size; // bytes received
};

/** Where an answer goes. */
struct names_origin {
	struct names_client *client; // TCP; NULL for UDP, and for a probe
	struct sockaddr_storage addr; // UDP
	unsigned family; // index of the listener
};

/** Sockets of one tunnel address. */
struct names_listener {
	struct names *names;
	uv_udp_t udp;
	uv_tcp_t tcp;
	unsigned family;
	unsigned n_open; // handles not yet closed
};

/** A client's TCP connection: one query at a time. */
struct names_client {
	TAILQ_ENTRY(names_client) link;
	struct names *names;
	uv_tcp_t tcp;
	uv_timer_t idle;
	struct ip_addr addr;
	struct names_frame frame;
	uint32_t id; // of its exchange
	bool is_waiting; // for the answer
	bool is_closing;
	unsigned n_open;
};

/** The socket of an exchange. */
struct names_upstream {
	struct names *names;
	uint32_t id;
	struct names_origin origin;
	union {
		uv_handle_t handle;
		uv_udp_t udp;
		uv_tcp_t tcp;
	};
	uv_connect_t connect;
	uv_write_t write;
	struct names_frame frame; // TCP: first what is sent, then what comes
};

struct names {
	uv_loop_t *loop;
	const char *resolv_conf;
	uint64_t (*now)(void);
	struct forwarder *forwarder;
	struct names_upstream *upstreams[FORWARDER_SLOTS];
	struct names_listener *listeners[NAMES_FAMILIES];
	struct ip_addr addrs[NAMES_FAMILIES]; // to listen on
	unsigned attempts;
	TAILQ_HEAD(, names_client) clients;
	size_t n_clients;
	size_t n_servers; // in the file, when it was last read
	uint64_t probed_at; // when the last round began
	uv_timer_t probe_timer, expire_timer, bind_timer;
	uint8_t buf[DNS_MESSAGE_SIZE + 1]; // of whichever UDP socket is being read
};

/** Gives out the shared buffer: datagrams are used up inside their callback. */
void names_buf_alloc(struct names *names, uv_buf_t *buf);
/**
 * A message of the client at @p origin: relays or answers it. @return whether it was a query
 */
bool names_query(
	struct names *names,
	const struct names_origin *origin,
	enum forward_transport transport,
	const void *data,
	size_t size);
/** What the forwarder said about an exchange in flight: closes it when it is over, and answers. */
void names_step(struct names *names, const struct forward_step *step);
/** The answer of a step goes to its client. */
void names_deliver(
	struct names *names,
	const struct names_origin *origin,
	const struct forward_step *step);

void names_listeners_close(struct names *names);
/** Sends an answer over UDP. */
void names_listener_reply(
	struct names *names,
	const struct names_origin *to,
	const void *data,
	size_t size);
/** Takes a connection that waits at a listener. */
void names_client_accept(struct names_listener *listener);
/** Sends an answer over TCP and goes on with the next query. */
void names_client_reply(struct names_client *client, const void *data, size_t size);
void names_client_close(struct names_client *client);

/** Opens the exchange's socket and sends; a failure goes back to the forwarder. */
void names_upstream_open(
	struct names *names,
	const struct forward_step *step,
	const struct names_origin *origin);
void names_upstream_close(struct names *names, uint32_t id);

/** Length of the message at the front, as its prefix says; of fewer than two bytes: 0. */
size_t names_frame_length(const struct names_frame *frame);
/** @return whether the message at the front is complete. */
bool names_frame_is_complete(const struct names_frame *frame);
/** Room behind what was received. */
void names_frame_alloc(struct names_frame *frame, uv_buf_t *buf);
