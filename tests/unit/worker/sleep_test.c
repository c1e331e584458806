// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "dataplane/worker/idle.h"
#include "tests/unit/stage/packet.h"
#include "tests/unit/unit.h"

#include <rte_dev.h>
#include <rte_eal.h>
#include <rte_eth_ring.h>
#include <rte_ring.h>

#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

// A real worker on a thread of its own that sleeps whenever it can, and a control that does too:
// neither may miss the other. Both lcores share one CPU.

static int eal_init(void **)
{
	char *argv[] = {
		(char[]){"unit"},
		(char[]){"--no-huge"},
		(char[]){"--no-shconf"},
		(char[]){"--no-pci"},
		(char[]){"--no-telemetry"},
		(char[]){"--log-level=lib.*:error"},
		(char[]){"-m"},
		(char[]){"128"},
		(char[]){"--lcores"},
		(char[]){"0@0,1@0,2@0"},
		NULL,
	};

	return rte_eal_init(COUNT_OF(argv) - 1, argv) < 0 ? -1 : 0;
}

static int eal_fini(void **)
{
	return rte_eal_cleanup();
}

// Waits for one event as the control core does. @return false after two seconds
static bool event_wait(struct dp *dp, struct dp_event *e)
{
	struct pollfd fd = {.fd = dp_wake_fd(dp), .events = POLLIN};
	bool is_woken;

	for (;;) {
		if (dp_event_poll(dp, e, 1) == 1)
			return true;
		if (!dp_sleep_enter(dp))
			continue;
		is_woken = poll(&fd, 1, 2000) == 1;
		dp_sleep_leave(dp);
		if (!is_woken)
			return false;
	}
}

static void ping_pong(enum dp_idle idle)
{
	struct rte_ring *ring = rte_ring_create("sleep", 64, SOCKET_ID_ANY, 0);
	const struct dp_port_config port = {.device = "net_ring_sleep", .role = DP_ROLE_WAN};
	const struct dp_config config = {
		.ports = &port,
		.n_ports = 1,
		.worker_lcores = {1},
		.idle = idle,
		.udp_port = 52625,
		.max_clients = 4,
		.max_flows = 16,
		.nat_port_first = 20000,
		.nat_port_last = 20100,
		.n_mbufs = 1023,
	};
	struct dp_worker_stats stats;
	struct dp_event rest[64];
	struct dp *dp;

	assert_non_null(ring);
	assert_true(rte_eth_from_rings("sleep", &ring, 1, &ring, 1, 0) >= 0);
	dp = dp_create(&config);
	assert_non_null(dp);
	assert_int_equal(dp_start(dp), 0);
	for (unsigned i = 0; i < 300; i++) {
		const struct dp_cmd del = {.type = DP_CMD_CLIENT_DEL, .slot = i % 4};
		struct dp_event e;

		assert_int_equal(dp_cmd_send(dp, &del), 0);
		assert_true(event_wait(dp, &e));
		assert_int_equal(e.type, DP_EVENT_CLIENT_GONE);
		assert_int_equal(e.slot, i % 4);
		if (i % 3 == 0)
			usleep(500);
	}
	dp_worker_stats_get(dp, &stats);
	if (idle == DP_IDLE_SLEEP)
		assert_true(stats.sleeps > 0);
	// Commands that are queued when it stops are still done.
	for (unsigned i = 0; i < 50; i++) {
		const struct dp_cmd del = {.type = DP_CMD_CLIENT_DEL, .slot = 1};

		assert_int_equal(dp_cmd_send(dp, &del), 0);
	}
	dp_stop(dp);
	assert_int_equal(dp_event_poll(dp, rest, COUNT_OF(rest)), 50);
	dp_destroy(dp);
	assert_int_equal(rte_eal_hotplug_remove("vdev", port.device), 0);
	rte_ring_free(ring);
}

static void sleeping_worker(void **)
{
	ping_pong(DP_IDLE_SLEEP);
}

static void frame_send(struct rte_ring *ring, struct dp *dp, uint16_t dport)
{
	struct packet ip = packet_udp("192.0.2.10", 53, "192.0.2.1", dport, "stray", 5);
	struct packet frame = packet_ether((uint8_t[6]){0}, (uint8_t[6]){2}, &ip);
	struct rte_mbuf *m = dp_mbuf_alloc(dp);

	assert_non_null(m);
	memcpy(rte_pktmbuf_append(m, (uint16_t)frame.size), frame.bytes, frame.size);
	while (rte_ring_enqueue(ring, m) != 0)
		usleep(100);
}

// The second worker has no queue and sleeps until the first one hands it something: replies whose
// flows, if there were any, would be its.
static void sleeping_owner(void **)
{
	struct rte_ring *rx = rte_ring_create("owner_rx", 64, SOCKET_ID_ANY, 0);
	struct rte_ring *tx = rte_ring_create("owner_tx", 64, SOCKET_ID_ANY, 0);
	const struct dp_port_config port = {.device = "net_ring_owner", .role = DP_ROLE_LAN};
	const struct dp_config config = {
		.ports = &port,
		.n_ports = 1,
		.worker_lcores = {1, 2},
		.n_workers = 2,
		.idle = DP_IDLE_SLEEP,
		.udp_port = 52625,
		.max_clients = 4,
		.max_flows = 16,
		.nat_port_first = 20000,
		.nat_port_last = 20999,
		.n_mbufs = 1023,
	};
	struct dp_worker_stats stats;
	struct dp *dp;

	assert_non_null(rx);
	assert_non_null(tx);
	assert_true(rte_eth_from_rings("owner", &rx, 1, &tx, 1, 0) >= 0);
	dp = dp_create(&config);
	assert_non_null(dp);
	assert_int_equal(dp_start(dp), 0);
	for (uint64_t sent = 1; sent <= 600; sent++) {
		frame_send(rx, dp, (uint16_t)(20000 + sent));
		if (sent % 3 == 0)
			usleep(300);
		for (unsigned i = 0; sent % 20 == 0 && i < 20000; i++) {
			dp_worker_stats_get(dp, &stats);
			if (stats.drops[DROP_no_flow] == sent)
				break;
			usleep(100);
		}
	}
	dp_worker_stats_get(dp, &stats);
	assert_int_equal(stats.drops[DROP_no_flow], 600);
	assert_in_range(stats.handed_off, 100, 500);
	assert_int_equal(stats.handed_in, stats.handed_off);
	assert_true(dp_worker_stats_of(dp, 1, &stats));
	assert_int_equal(stats.handed_in, stats.drops[DROP_no_flow]);
	assert_int_equal(stats.rx_packets, 0);
	assert_true(stats.sleeps > 0);
	assert_false(dp_worker_stats_of(dp, 2, &stats));
	dp_destroy(dp);
	assert_int_equal(rte_eal_hotplug_remove("vdev", port.device), 0);
	rte_ring_free(rx);
	rte_ring_free(tx);
}

static void bad_config(void **)
{
	const struct dp_port_config port = {.device = "net_nowhere"};
	struct dp_config config = {
		.ports = &port,
		.n_ports = 1,
		.max_clients = 4,
		.max_flows = 16,
		.nat_port_first = 20000,
		.nat_port_last = 20100,
		.n_mbufs = 1023,
	};

	assert_null(dp_create(&config));
	assert_int_equal(errno, ENODEV);
	config.n_ports = 0;
	assert_null(dp_create(&config));
	assert_int_equal(errno, EINVAL);
	dp_destroy(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sleeping_worker),
		cmocka_unit_test(sleeping_owner),
		cmocka_unit_test(bad_config),
	};

	return cmocka_run_group_tests(tests, eal_init, eal_fini);
}
