// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "peers/client/runtime.h"

#include "control/base/err.h"
#include "control/base/log.h"
#include "control/base/uv_cast.h"
#include "peers/client/runtime_impl.h"

#include <sodium.h>

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define LOG_AREA "client"

enum {
	TUN_BUDGET = 128, // packets per turn, so that neither direction starves the other
	UDP_BUDGET = 4, // batches per turn
	RESET_DELAY_MS = 200, // between the last change of addresses and the reset
};

static uint64_t clock_ns(clockid_t id)
{
	struct timespec t;

	clock_gettime(id, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void on_timer(uv_timer_t *timer);

// Every callback begins with the time and ends with what it caused.
void runtime_turn_begin(struct runtime *r)
{
	// Goes on while the machine sleeps: sessions and paths are then as old as they look.
	r->now = clock_ns(CLOCK_BOOTTIME);
}

static void host_flush(struct runtime *r)
{
	size_t size = coalesce_finish(&r->to_host);
	int rc = size > 0 ? tun_write(r->tun, r->to_host.frame, size) : 0;

	if (rc < 0 && rc != -EAGAIN)
		LOG_LIMITED(WARNING, "TUN write failed error=\"%s\"", strerror(-rc));
}

void runtime_turn_end(struct runtime *r)
{
	uint64_t deadline, now, wait_ms = 0;

	host_flush(r);
	if (r->sockets != NULL)
		sockets_flush(r->sockets);
	if (r->is_stopping)
		return;
	if (client_is_up(r->client) && !r->was_up) {
		r->was_up = true;
		if (r->config->is_exit_when_up) {
			runtime_stop(r, EXIT_SUCCESS);
			return;
		}
	}
	deadline = client_deadline(r->client);
	if (deadline == CLIENT_NEVER) {
		uv_timer_stop(&r->timer);
		return;
	}
	now = clock_ns(CLOCK_BOOTTIME);
	// Rounded up, else the timer fires just before the deadline again and again.
	if (deadline > now)
		wait_ms = (deadline - now + 999999) / 1000000;
	uv_update_time(&r->loop);
	uv_timer_start(&r->timer, on_timer, wait_ms, 0);
}

static void on_timer(uv_timer_t *timer)
{
	struct runtime *r = timer->data;

	runtime_turn_begin(r);
	client_handle_timeout(r->client, r->now);
	runtime_turn_end(r);
}

// @return packets in the frame, at least 1
static unsigned frame_handle(struct runtime *r, size_t size)
{
	uint8_t *packet = r->packet + CLIENT_HEADROOM;
	struct segmenter segmenter;
	unsigned n = 0;
	size_t packet_size;

	if (segment_init(&segmenter, r->frame, size) < 0) {
		LOG_LIMITED(WARNING, "TUN frame refused size=%zu", size);
		return 1;
	}
	while ((packet_size = segment_next(&segmenter, packet)) > 0) {
		client_tun_packet(r->client, r->now, packet, packet_size);
		n++;
	}
	return n;
}

static void on_tun(uv_poll_t *poll, int, int)
{
	struct runtime *r = poll->data;

	runtime_turn_begin(r);
	for (unsigned done = 0; done < TUN_BUDGET;) {
		ssize_t n = tun_read(r->tun, r->frame, sizeof(r->frame));

		if (n <= 0) {
			if (n < 0 && n != -EAGAIN)
				LOG_LIMITED(
					WARNING, "TUN read failed error=\"%s\"", strerror((int)-n));
			break;
		}
		done += frame_handle(r, (size_t)n);
	}
	runtime_turn_end(r);
}

static void on_datagram(
	void *ctx,
	const struct ip_endpoint *local,
	const struct ip_endpoint *remote,
	uint8_t ecn,
	uint8_t *data,
	size_t size)
{
	struct runtime *r = ctx;

	client_udp_packet(r->client, r->now, local, remote, ecn, data, size);
}

static void on_udp(struct runtime *r, enum ip_family family)
{
	runtime_turn_begin(r);
	for (unsigned i = 0; i < UDP_BUDGET; i++) {
		if (sockets_receive(r->sockets, family, on_datagram, r) < SOCKETS_BATCH)
			break;
	}
	runtime_turn_end(r);
}

static void on_udp_v4(uv_poll_t *poll, int, int)
{
	on_udp(poll->data, IP_FAMILY_V4);
}

static void on_udp_v6(uv_poll_t *poll, int, int)
{
	on_udp(poll->data, IP_FAMILY_V6);
}

static int poll_start(struct runtime *r, uv_poll_t *poll, int fd, uv_poll_cb cb)
{
	int rc;

	if (fd < 0)
		return 0;
	rc = uv_poll_init(&r->loop, poll, fd);
	poll->data = r;
	return rc < 0 ? rc : uv_poll_start(poll, UV_READABLE, cb);
}

static void on_udp_poll_closed(uv_handle_t *handle)
{
	free(handle);
}

static void udp_polls_stop(struct runtime *r)
{
	for (unsigned i = 0; i < 2; i++) {
		if (r->udp_polls[i] != NULL)
			uv_close(uv_cast_handle(r->udp_polls[i]), on_udp_poll_closed);
		r->udp_polls[i] = NULL;
	}
}

static int udp_polls_start(struct runtime *r)
{
	static const enum ip_family families[] = {IP_FAMILY_V4, IP_FAMILY_V6};
	static const uv_poll_cb cbs[] = {on_udp_v4, on_udp_v6};

	for (unsigned i = 0; i < 2; i++) {
		int fd = sockets_fd(r->sockets, families[i]), rc;
		uv_poll_t *poll;

		if (fd < 0)
			continue;
		poll = calloc(1, sizeof(*poll));
		if (poll == NULL)
			return err_set(ENOMEM);
		rc = poll_start(r, poll, fd, cbs[i]);
		if (poll->loop != NULL)
			r->udp_polls[i] = poll;
		else
			free(poll);
		if (rc < 0)
			return err_set(-rc);
	}
	return 0;
}

static void local_collect(void *ctx, const struct ip_addr *addr)
{
	struct runtime *r = ctx;
	uint16_t port = sockets_port(r->sockets, addr->family);

	if (port != 0 && r->n_locals < RUNTIME_LOCALS_MAX)
		r->locals[r->n_locals++] = (struct ip_endpoint){.addr = *addr, .port = port};
}

static bool is_listed(const struct ip_endpoint *list, size_t n, const struct ip_endpoint *wanted)
{
	for (size_t i = 0; i < n; i++) {
		if (ip_endpoint_eq(&list[i], wanted))
			return true;
	}
	return false;
}

// Lists our addresses. @return whether one that we had is gone, or the first ones are here
static bool locals_list(struct runtime *r)
{
	struct ip_endpoint former[RUNTIME_LOCALS_MAX];
	size_t n_former = r->n_locals;
	int rc;

	memcpy(former, r->locals, sizeof(former));
	r->n_locals = 0;
	rc = netlink_addrs_list(r->netlink, tun_ifindex(r->tun), local_collect, r);
	if (rc < 0) {
		LOG(WARNING, "addresses not listed error=\"%s\"", strerror(-rc));
		return false;
	}
	for (size_t i = 0; i < n_former; i++) {
		if (!is_listed(r->locals, r->n_locals, &former[i]))
			return true;
	}
	return n_former == 0 && r->n_locals > 0;
}

static void network_reset(struct runtime *r)
{
	struct sockets *fresh;

	uv_timer_stop(&r->reset);
	udp_polls_stop(r);
	sockets_flush(r->sockets);
	// The port is free for the new ones.
	sockets_destroy(r->sockets);
	r->sockets = NULL;
	fresh = sockets_create(TUN_SOCKET_MARK);
	if (fresh == NULL) {
		LOG(ERR, "UDP sockets not opened error=\"%s\"", strerror(errno));
		runtime_stop(r, EXIT_FAILURE);
		return;
	}
	r->sockets = fresh;
	if (udp_polls_start(r) < 0
	    || client_reset(r->client, r->now, clock_ns(CLOCK_REALTIME)) < 0) {
		LOG(ERR, "network reset failed error=\"%s\"", strerror(errno));
		runtime_stop(r, EXIT_FAILURE);
		return;
	}
	locals_list(r);
	client_locals_set(r->client, r->now, r->locals, r->n_locals);
	runtime_portal_restart(r);
}

static void on_reset(uv_timer_t *timer)
{
	struct runtime *r = timer->data;

	runtime_turn_begin(r);
	network_reset(r);
	runtime_turn_end(r);
}

static void on_monitor(uv_poll_t *poll, int, int)
{
	struct runtime *r = poll->data;

	runtime_turn_begin(r);
	if (netlink_monitor_drain(r->monitor)) {
		if (locals_list(r))
			uv_timer_start(&r->reset, on_reset, RESET_DELAY_MS, 0);
		else if (!uv_is_active(uv_cast_handle(&r->reset)))
			client_locals_set(r->client, r->now, r->locals, r->n_locals);
	}
	runtime_turn_end(r);
}

// Operations of the client.

static void op_udp_send(
	void *ctx,
	const struct ip_endpoint *local,
	const struct ip_endpoint *remote,
	const void *data,
	size_t size,
	uint8_t ecn)
{
	struct runtime *r = ctx;

	sockets_send(r->sockets, local, remote, data, size, ecn);
}

static void op_tun_send(void *ctx, const uint8_t *packet, size_t size)
{
	struct runtime *r = ctx;

	if (coalesce_add(&r->to_host, packet, size))
		return;
	host_flush(r);
	coalesce_add(&r->to_host, packet, size);
}

static int op_interface_set(void *ctx, const struct ip_addr *v4, const struct ip_addr *v6)
{
	struct runtime *r = ctx;

	return tun_addrs_set(r->tun, v4, v6);
}

static int op_route_set(void *ctx, const struct ip_prefix *p, bool is_add)
{
	struct runtime *r = ctx;

	return tun_route_set(r->tun, p, is_add);
}

static void op_random(void *, void *out, size_t size)
{
	randombytes_buf(out, size);
}

// Signals and the end.

static void counters_log(const struct runtime *r)
{
	for (unsigned i = 0; i < CLIENT_COUNTER_COUNT; i++) {
		if (client_counter_get(r->client, i) > 0)
			LOG(NOTICE,
			    "counter %s=%llu",
			    client_counter_name(i),
			    (unsigned long long)client_counter_get(r->client, i));
	}
	if (r->sockets != NULL)
		LOG(NOTICE,
		    "counter udp_not_sent=%llu",
		    (unsigned long long)sockets_dropped(r->sockets));
}

static void on_signal(uv_signal_t *signal, int number)
{
	struct runtime *r = signal->data;

	switch (number) {
	case SIGHUP:
		if (!r->is_stopping)
			uv_timer_start(&r->reset, on_reset, 0, 0);
		return;
	case SIGUSR1:
		counters_log(r);
		return;
	}
	if (r->is_stopping) {
		LOG(WARNING, "second signal, ending at once");
		session_destroy(r->session);
		return;
	}
	LOG(NOTICE, "ending on signal %d", number);
	runtime_stop(r, EXIT_SUCCESS);
}

// Takes any libuv handle.
static void handle_close(void *any)
{
	uv_handle_t *handle = any;

	// Handles that were never started have no loop.
	if (handle->loop != NULL && !uv_is_closing(handle))
		uv_close(handle, NULL);
}

void runtime_stop(struct runtime *r, int status)
{
	if (r->is_stopping)
		return;
	r->is_stopping = true;
	r->status = status;
	runtime_turn_begin(r);
	client_goodbye(r->client, r->now);
	client_relays_release(r->client, r->now);
	if (r->sockets != NULL)
		sockets_flush(r->sockets);
	handle_close(&r->tun_poll);
	udp_polls_stop(r);
	handle_close(&r->reset);
	handle_close(&r->monitor_poll);
	handle_close(&r->timer);
	handle_close(&r->partition);
	// The signal handles stay for a second signal, but must not keep the loop.
	for (unsigned i = 0; i < RUNTIME_SIGNALS; i++) {
		void *handle = &r->signals[i];

		uv_unref(handle);
	}
	if (r->session != NULL)
		session_close(r->session);
}

static int handles_start(struct runtime *r)
{
	static const int numbers[RUNTIME_SIGNALS] = {SIGINT, SIGTERM, SIGHUP, SIGUSR1};
	int rc = 0;

	uv_timer_init(&r->loop, &r->timer);
	uv_timer_init(&r->loop, &r->partition);
	uv_timer_init(&r->loop, &r->reset);
	r->reset.data = r;
	r->timer.data = r;
	r->partition.data = r;
	for (unsigned i = 0; i < RUNTIME_SIGNALS; i++) {
		uv_signal_init(&r->loop, &r->signals[i]);
		r->signals[i].data = r;
		if (rc == 0)
			rc = uv_signal_start(&r->signals[i], on_signal, numbers[i]);
	}
	if (rc == 0)
		rc = poll_start(r, &r->tun_poll, tun_fd(r->tun), on_tun);
	if (rc == 0)
		rc = udp_polls_start(r);
	if (rc == 0)
		rc = poll_start(r, &r->monitor_poll, netlink_fd(r->monitor), on_monitor);
	if (rc == 0)
		rc = uv_timer_start(&r->partition, runtime_on_partition, RUNTIME_FIRST_JOIN_MS, 0);
	return rc;
}

static int devices_open(struct runtime *r)
{
	r->tun = tun_create(r->config->tun_name, PACKET_SIZE_MAX);
	if (r->tun == NULL) {
		LOG(ERR,
		    "TUN device not created name=%s error=\"%s\" (needs CAP_NET_ADMIN and "
		    "/dev/net/tun)",
		    r->config->tun_name,
		    strerror(errno));
		return -errno;
	}
	r->netlink = netlink_create();
	r->monitor = netlink_monitor_create();
	if (r->netlink == NULL || r->monitor == NULL) {
		LOG(ERR, "netlink socket not opened error=\"%s\"", strerror(errno));
		return -errno;
	}
	r->sockets = sockets_create(TUN_SOCKET_MARK);
	if (r->sockets == NULL) {
		LOG(ERR, "UDP sockets not opened error=\"%s\"", strerror(errno));
		return -errno;
	}
	return 0;
}

static int client_start(struct runtime *r)
{
	static const struct client_ops ops = {
		.udp_send = op_udp_send,
		.tun_send = op_tun_send,
		.portal_send = runtime_portal_send,
		.portal_dialect = runtime_portal_dialect,
		.interface_set = op_interface_set,
		.route_set = op_route_set,
		.random = op_random,
	};
	const struct client_config config = {
		.is_internet_active = r->config->is_internet_active,
		.is_local_filter = r->config->is_local_filter,
		.is_prohibited_request = r->config->is_prohibited_request,
		.wall_ns = clock_ns(CLOCK_REALTIME),
	};

	runtime_turn_begin(r);
	r->client = client_create(&config, &ops, r, r->now);
	if (r->client == NULL) {
		LOG(ERR, "client not created error=\"%s\"", strerror(errno));
		return -errno;
	}
	return 0;
}

static void loop_end(struct runtime *r)
{
	for (unsigned i = 0; i < RUNTIME_SIGNALS; i++)
		handle_close(&r->signals[i]);
	uv_run(&r->loop, UV_RUN_DEFAULT);
	if (uv_loop_close(&r->loop) < 0)
		LOG(WARNING, "event loop not empty at the end");
}

int runtime_run(const struct config *config)
{
	struct runtime *r = calloc(1, sizeof(*r));
	int rc;

	if (r == NULL)
		return EXIT_FAILURE;
	r->config = config;
	r->status = EXIT_FAILURE;
	if (uv_loop_init(&r->loop) < 0) {
		free(r);
		return EXIT_FAILURE;
	}
	rc = devices_open(r);
	if (rc == 0)
		rc = client_start(r);
	if (rc == 0)
		rc = handles_start(r);
	if (rc == 0)
		rc = runtime_portal_start(r);
	if (rc == 0) {
		locals_list(r);
		client_locals_set(r->client, r->now, r->locals, r->n_locals);
		uv_run(&r->loop, UV_RUN_DEFAULT);
	} else if (r->client != NULL) {
		runtime_stop(r, EXIT_FAILURE);
	}
	loop_end(r);
	if (r->client != NULL && log_is_on(LOG_LEVEL_DEBUG))
		counters_log(r);
	client_destroy(r->client);
	sockets_destroy(r->sockets);
	netlink_destroy(r->monitor);
	netlink_destroy(r->netlink);
	tun_destroy(r->tun);
	rc = r->status;
	sodium_memzero(r, sizeof(*r));
	free(r);
	return rc;
}
