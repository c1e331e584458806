// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "dataplane/worker/channel.h"

#include "control/base/err.h"
#include "control/base/log.h"

#include <rte_errno.h>
#include <rte_malloc.h>
#include <sodium.h>

#include <errno.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define LOG_AREA "dataplane.channel"

enum {
	DP_CMD_RING = 1024,
	DP_EVENT_RING = 4096,
	DP_INJECT_RING = 1024,
	DP_HANDOFF_RING = 1024,
};

// What waits for control when it is late, by class.
static const unsigned dp_punt_rings[DP_PUNT_COUNT] = {
	[DP_PUNT_HANDSHAKE] = 512,
	[DP_PUNT_STUN] = 512,
	[DP_PUNT_HOST] = 512,
	[DP_PUNT_TUN] = 256,
	[DP_PUNT_P2P] = 256,
};

static_assert(sizeof(struct dp_cmd) % 4 == 0 && sizeof(struct dp_event) % 4 == 0, "ring elements");

static struct rte_ring *dp_ring_create(unsigned elem_size, unsigned count, int socket_id)
{
	ssize_t size = rte_ring_get_memsize_elem(elem_size, count);
	struct rte_ring *r;

	// Not rte_ring_create_elem(): its names are global to the process.
	r = rte_zmalloc_socket("sp_ring", (size_t)size, RTE_CACHE_LINE_SIZE, socket_id);
	if (r == NULL)
		return NULL;
	if (rte_ring_init(r, "sp_ring", count, RING_F_SP_ENQ | RING_F_SC_DEQ) != 0) {
		rte_free(r);
		return NULL;
	}
	return r;
}

static int channel_fail(const char *call, int error)
{
	LOG(ERR, "%s failed error=\"%s\"", call, rte_strerror(error));
	return err_set(error);
}

int wake_init(struct dp_wake *wake)
{
	wake->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	return wake->fd >= 0 ? 0 : channel_fail("eventfd", errno);
}

void wake_fini(struct dp_wake *wake)
{
	if (wake->fd >= 0)
		close(wake->fd);
	wake->fd = -1;
}

static bool rings_create(struct dp_channel *ch, unsigned index, unsigned n_workers, int socket_id)
{
	bool is_ok;

	ch->cmds = dp_ring_create(sizeof(struct dp_cmd), DP_CMD_RING, socket_id);
	ch->events = dp_ring_create(sizeof(struct dp_event), DP_EVENT_RING, socket_id);
	ch->inject = dp_ring_create(sizeof(void *), DP_INJECT_RING, socket_id);
	is_ok = ch->cmds != NULL && ch->events != NULL && ch->inject != NULL;
	for (unsigned i = 0; i < DP_PUNT_COUNT; i++) {
		ch->punt[i] = dp_ring_create(sizeof(void *), dp_punt_rings[i], socket_id);
		is_ok = is_ok && ch->punt[i] != NULL;
	}
	for (unsigned i = 0; i < n_workers; i++) {
		if (i == index)
			continue;
		ch->handoff[i] = dp_ring_create(sizeof(void *), DP_HANDOFF_RING, socket_id);
		is_ok = is_ok && ch->handoff[i] != NULL;
	}
	return is_ok;
}

int channel_init(
	struct dp_channel *ch,
	struct dp_wake *wake,
	unsigned index,
	unsigned n_workers,
	int socket_id)
{
	ch->wake = wake;
	ch->kick_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (ch->kick_fd < 0)
		return channel_fail("eventfd", errno);
	return rings_create(ch, index, n_workers, socket_id) ? 0 : channel_fail("ring", ENOMEM);
}

static void mbuf_ring_free(struct rte_ring *r)
{
	void *m;

	while (r != NULL && rte_ring_sc_dequeue(r, &m) == 0)
		rte_pktmbuf_free(m);
	rte_free(r);
}

static void cmd_ring_free(struct rte_ring *r)
{
	struct dp_cmd cmd;

	while (r != NULL && rte_ring_sc_dequeue_elem(r, &cmd, sizeof(cmd)) == 0)
		if (cmd.type == DP_CMD_CLIENT_DEL)
			rte_pktmbuf_free(cmd.client_del.mbuf);
	sodium_memzero(&cmd, sizeof(cmd));
	if (r != NULL)
		sodium_memzero(r, (size_t)rte_ring_get_memsize_elem(sizeof(cmd), DP_CMD_RING));
	rte_free(r);
}

void channel_fini(struct dp_channel *ch)
{
	cmd_ring_free(ch->cmds);
	rte_free(ch->events);
	mbuf_ring_free(ch->inject);
	for (unsigned i = 0; i < DP_PUNT_COUNT; i++)
		mbuf_ring_free(ch->punt[i]);
	for (unsigned i = 0; i < DP_WORKERS_MAX; i++)
		mbuf_ring_free(ch->handoff[i]);
	if (ch->kick_fd >= 0)
		close(ch->kick_fd);
	ch->kick_fd = -1;
}
