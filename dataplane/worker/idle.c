// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "dataplane/worker/idle.h"

#include "control/base/log.h"
#include "dataplane/port/port.h"
#include "dataplane/worker/handoff.h"

#include <rte_pause.h>

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define LOG_AREA "dataplane.idle"

static void eventfd_signal(int fd)
{
	const uint64_t one = 1;

	// The counter can only be full if nobody ever reads: then the reader is awake anyway.
	if (write(fd, &one, sizeof(one)) < 0)
		return;
}

static void eventfd_drain(int fd)
{
	uint64_t count;

	// EAGAIN: nobody wrote.
	if (read(fd, &count, sizeof(count)) < 0)
		return;
}

static void flag_take(atomic_bool *is_asleep, int fd)
{
	atomic_thread_fence(memory_order_seq_cst);
	if (atomic_load_explicit(is_asleep, memory_order_relaxed)
	    && atomic_exchange_explicit(is_asleep, false, memory_order_acq_rel))
		eventfd_signal(fd);
}

void channel_kick_worker(struct dp_channel *ch)
{
	flag_take(&ch->is_worker_asleep, ch->kick_fd);
}

void channel_wake_control(struct dp_channel *ch)
{
	flag_take(&ch->wake->is_control_asleep, ch->wake->fd);
}

static bool channel_has_news(const struct dp_channel *ch)
{
	if (!rte_ring_empty(ch->events))
		return true;
	for (unsigned i = 0; i < DP_PUNT_COUNT; i++)
		if (!rte_ring_empty(ch->punt[i]))
			return true;
	return false;
}

bool channel_control_sleep(struct dp_channel *channels, unsigned n)
{
	struct dp_wake *wake = channels[0].wake;
	bool has_news = false;

	atomic_store_explicit(&wake->is_control_asleep, true, memory_order_relaxed);
	atomic_thread_fence(memory_order_seq_cst);
	for (unsigned i = 0; i < n && !has_news; i++)
		has_news = channel_has_news(&channels[i]);
	if (!has_news)
		return true;
	channel_control_awake(wake);
	return false;
}

void channel_control_awake(struct dp_wake *wake)
{
	atomic_store_explicit(&wake->is_control_asleep, false, memory_order_relaxed);
	eventfd_drain(wake->fd);
}

int idle_init(struct worker *w)
{
	if (w->idle == DP_IDLE_BUSY) {
		w->epoll_fd = -1;
		return 0;
	}
	w->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (w->epoll_fd < 0)
		return -errno;
	w->kick_event.epdata.event = EPOLLIN;
	if (rte_epoll_ctl(w->epoll_fd, EPOLL_CTL_ADD, w->channel->kick_fd, &w->kick_event) < 0)
		return -EIO;
	return 0;
}

void idle_fini(struct worker *w)
{
	if (w->epoll_fd >= 0)
		close(w->epoll_fd);
	w->epoll_fd = -1;
}

// A NIC's interrupt is armed for each sleep and comes as an edge. A driver without that call (TAP)
// hands out the descriptor of its queue, which is readable as long as packets wait.
static bool port_intr_add(struct worker *w, uint16_t i)
{
	uint16_t id = w->rx_ports[i]->id;
	int fd;

	if (rte_eth_dev_rx_intr_enable(id, (uint16_t)w->index) == 0) {
		w->is_intr_armable[i] = true;
		return rte_eth_dev_rx_intr_ctl_q(
			       id, (uint16_t)w->index, w->epoll_fd, RTE_INTR_EVENT_ADD, NULL)
			== 0;
	}
	fd = rte_eth_dev_rx_intr_ctl_q_get_fd(id, (uint16_t)w->index);
	if (fd < 0)
		return false;
	w->port_events[i].epdata.event = EPOLLIN;
	return rte_epoll_ctl(w->epoll_fd, EPOLL_CTL_ADD, fd, &w->port_events[i]) == 0;
}

void idle_start(struct worker *w)
{
	if (w->epoll_fd < 0)
		return;
	w->has_rx_intr = true; // also of a worker without any queue: others and control kick it
	for (uint16_t i = 0; i < w->n_rx_ports; i++)
		if (!port_intr_add(w, i))
			w->has_rx_intr = false;
	LOG(INFO, "worker sleeps when idle wake=%s", w->has_rx_intr ? "interrupt" : "timer");
}

static void intr_arm(struct worker *w, bool is_on)
{
	for (uint16_t i = 0; i < w->n_rx_ports; i++) {
		if (!w->is_intr_armable[i])
			continue;
		if (is_on)
			rte_eth_dev_rx_intr_enable(w->rx_ports[i]->id, (uint16_t)w->index);
		else
			rte_eth_dev_rx_intr_disable(w->rx_ports[i]->id, (uint16_t)w->index);
	}
}

// Packets that arrived before the interrupt was armed raise none with some NICs. Drivers that
// cannot count say -ENOTSUP; the bounded sleep covers them.
static bool rx_is_empty(const struct worker *w)
{
	for (uint16_t i = 0; i < w->n_rx_ports; i++)
		if (w->is_intr_armable[i]
		    && rte_eth_rx_queue_count(w->rx_ports[i]->id, (uint16_t)w->index) > 0)
			return false;
	return true;
}

static bool worker_has_work(const struct worker *w)
{
	return !rte_ring_empty(w->channel->cmds) || !rte_ring_empty(w->channel->inject)
		|| handoff_is_waiting(w)
		|| atomic_load_explicit(&w->is_stopping, memory_order_relaxed) || !rx_is_empty(w);
}

static void worker_sleep(struct worker *w)
{
	struct rte_epoll_event events[WORKER_PORTS_MAX + 1];
	struct dp_channel *ch = w->channel;

	intr_arm(w, true);
	atomic_store_explicit(&ch->is_worker_asleep, true, memory_order_relaxed);
	atomic_thread_fence(memory_order_seq_cst);
	if (!worker_has_work(w)) {
		stat_add(&w->stats.sleeps, 1);
		rte_epoll_wait_interruptible(w->epoll_fd, events, RTE_DIM(events), WORKER_SLEEP_MS);
	}
	// Control may have taken the flag down already; then there is one write to read.
	if (!atomic_exchange_explicit(&ch->is_worker_asleep, false, memory_order_acq_rel))
		eventfd_drain(ch->kick_fd);
	intr_arm(w, false);
}

static void worker_nap(struct worker *w)
{
	const struct timespec nap = {.tv_nsec = WORKER_NAP_US * 1000};

	stat_add(&w->stats.sleeps, 1);
	nanosleep(&nap, NULL);
}

void idle_wait(struct worker *w)
{
	if (w->idle == DP_IDLE_BUSY || ++w->empty_loops < WORKER_SLEEP_EMPTY_LOOPS) {
		rte_pause();
		return;
	}
	// Nothing that control retires may be held across a sleep, or it would wait for us.
	worker_housekeep(w);
	if (worker_tx_flush(w))
		return;
	rte_rcu_qsbr_thread_offline(w->rcu, w->index);
	if (w->has_rx_intr)
		worker_sleep(w);
	else
		worker_nap(w);
	rte_rcu_qsbr_thread_online(w->rcu, w->index);
	w->empty_loops = 0;
}
