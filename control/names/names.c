// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "control/names/names.h"

#include "control/base/err.h"
#include "control/base/log.h"
#include "control/base/uv_cast.h"
#include "control/names/impl.h"

#include <sodium.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#define LOG_AREA "names"

#define NSEC_PER_MS 1000000ull

static void random_bytes(void *, void *buf, size_t size)
{
	randombytes_buf(buf, size);
}

void names_buf_alloc(struct names *n, uv_buf_t *buf)
{
	*buf = uv_buf_init((char *)n->buf, sizeof(n->buf));
}

size_t names_frame_length(const struct names_frame *frame)
{
	return frame->size < 2 ? 0 : (size_t)(frame->data[0] << 8 | frame->data[1]);
}

bool names_frame_is_complete(const struct names_frame *frame)
{
	return frame->size >= 2 && frame->size - 2 >= names_frame_length(frame);
}

void names_frame_alloc(struct names_frame *frame, uv_buf_t *buf)
{
	*buf = uv_buf_init(
		(char *)frame->data + frame->size, (unsigned)(sizeof(frame->data) - frame->size));
}

static void on_expire(uv_timer_t *timer);

static void expire_timer_update(struct names *n)
{
	uint64_t deadline = forwarder_deadline(n->forwarder);
	uint64_t now = n->now();

	if (deadline == FORWARDER_DEADLINE_NONE) {
		uv_timer_stop(&n->expire_timer);
		return;
	}
	uv_update_time(n->loop);
	uv_timer_start(
		&n->expire_timer,
		on_expire,
		deadline > now ? (deadline - now) / NSEC_PER_MS + 1 : 0,
		0);
}

void names_deliver(
	struct names *n,
	const struct names_origin *origin,
	const struct forward_step *step)
{
	if (step->verdict != FORWARD_REPLY)
		return;
	if (origin->client != NULL)
		names_client_reply(origin->client, step->data, step->size);
	else
		names_listener_reply(n, origin, step->data, step->size);
}

bool names_query(
	struct names *n,
	const struct names_origin *origin,
	enum forward_transport transport,
	const void *data,
	size_t size)
{
	struct forward_step step = forwarder_query(n->forwarder, n->now(), transport, data, size);

	if (step.verdict == FORWARD_SEND) {
		names_upstream_open(n, &step, origin);
		expire_timer_update(n);
	} else {
		names_deliver(n, origin, &step);
	}
	return step.verdict != FORWARD_NOTHING;
}

void names_step(struct names *n, const struct forward_step *step)
{
	struct names_origin origin;

	if (step->verdict == FORWARD_NOTHING)
		return;
	// The socket's object is what remembers whom the answer is for.
	origin = n->upstreams[forwarder_slot(step->id)]->origin;
	names_upstream_close(n, step->id);
	names_deliver(n, &origin, step);
	expire_timer_update(n);
}

static void on_expire(uv_timer_t *timer)
{
	struct names *n = timer->data;
	struct forward_step step;

	do {
		step = forwarder_expire(n->forwarder, n->now());
		names_step(n, &step);
	} while (step.verdict != FORWARD_NOTHING);
	expire_timer_update(n);
}

static size_t nameservers_read(const char *path, struct ip_addr *out)
{
	FILE *f = fopen(path, "re");
	size_t n = 0, size;
	char *text;

	if (f == NULL) {
		LOG(DEBUG, "%s: %s", path, strerror(errno));
		return 0;
	}
	text = malloc(RESOLV_CONF_SIZE_MAX);
	if (text != NULL) {
		size = fread(text, 1, RESOLV_CONF_SIZE_MAX, f);
		n = resolv_conf_parse(out, text, size);
	}
	free(text);
	fclose(f);
	return n;
}

static void on_probe(uv_timer_t *timer)
{
	static const struct names_origin nobody;
	struct ip_addr servers[RESOLV_CONF_NAMESERVERS_MAX];
	struct names *n = timer->data;
	struct forward_step step;
	size_t n_servers;

	if (forwarder_is_ready(n->forwarder)
	    && n->now() - n->probed_at < FORWARDER_PROBE_INTERVAL_NS)
		return;
	n_servers = nameservers_read(n->resolv_conf, servers);
	if (n_servers != n->n_servers || n->probed_at == 0)
		LOG(NOTICE, "nameservers n=%zu file=%s", n_servers, n->resolv_conf);
	n->n_servers = n_servers;
	n->probed_at = n->now();
	forwarder_probe(n->forwarder, servers, n_servers);
	for (;;) {
		step = forwarder_probe_next(n->forwarder, n->now());
		if (step.verdict == FORWARD_NOTHING)
			break;
		names_upstream_open(n, &step, &nobody);
	}
	expire_timer_update(n);
}

// Each exchange has a socket of its own; the usual limit of a process is less.
static void sockets_allow(void)
{
	const rlim_t want = FORWARDER_SLOTS + NAMES_CLIENTS_MAX + 1024;
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur >= want)
		return;
	limit.rlim_cur = limit.rlim_max < want ? limit.rlim_max : want;
	if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
		LOG(WARNING, "setrlimit: %s", strerror(errno));
}

struct names *names_create(uv_loop_t *loop, const char *resolv_conf, uint64_t (*now)(void))
{
	struct names *n = calloc(1, sizeof(*n));

	if (n == NULL)
		return err_set_null(ENOMEM);
	n->forwarder = forwarder_create(random_bytes, NULL);
	if (n->forwarder == NULL) {
		free(n);
		return err_set_null(ENOMEM);
	}
	n->loop = loop;
	n->resolv_conf = resolv_conf;
	n->now = now;
	TAILQ_INIT(&n->clients);
	sockets_allow();
	uv_timer_init(loop, &n->probe_timer);
	uv_timer_init(loop, &n->expire_timer);
	uv_timer_init(loop, &n->bind_timer);
	n->probe_timer.data = n->expire_timer.data = n->bind_timer.data = n;
	uv_timer_start(&n->probe_timer, on_probe, 0, NAMES_PROBE_RETRY_MS);
	return n;
}

void names_stop(struct names *n)
{
	if (n == NULL)
		return;
	names_listeners_close(n);
	while (!TAILQ_EMPTY(&n->clients))
		names_client_close(TAILQ_FIRST(&n->clients));
	for (size_t i = 0; i < FORWARDER_SLOTS; i++) {
		if (n->upstreams[i] == NULL)
			continue;
		forwarder_cancel(n->forwarder, n->upstreams[i]->id);
		names_upstream_close(n, n->upstreams[i]->id);
	}
	uv_cast_close(&n->probe_timer);
	uv_cast_close(&n->expire_timer);
	uv_cast_close(&n->bind_timer);
}

void names_destroy(struct names *n)
{
	if (n == NULL)
		return;
	forwarder_destroy(n->forwarder);
	free(n);
}

struct forwarder_stats names_stats(const struct names *n)
{
	return n != NULL ? *forwarder_stats(n->forwarder) : (struct forwarder_stats){0};
}
