// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "dataplane/port/port.h"
#include "tests/unit/eal.h"
#include "tests/unit/unit.h"

#include <rte_dev.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>

#include <stdlib.h>
#include <string.h>

// net_null keeps an RSS key and a redirection table like a NIC; the linker puts us between the port
// and the library, so that it can have a larger table than that.

enum {
	QUEUES = 3,
	RETA_MAX = RTE_ETH_RSS_RETA_SIZE_512,
};

static uint16_t fake_reta_size; // 0: the device's own
static struct rte_eth_rss_reta_entry64 fake_reta[UINT16_MAX / RTE_ETH_RETA_GROUP_SIZE];

int __real_rte_eth_dev_info_get(uint16_t port_id, struct rte_eth_dev_info *info);
int __real_rte_eth_dev_rss_reta_update(
	uint16_t port_id,
	struct rte_eth_rss_reta_entry64 *reta,
	uint16_t size);
int __wrap_rte_eth_dev_info_get(uint16_t port_id, struct rte_eth_dev_info *info);
int __wrap_rte_eth_dev_rss_reta_update(
	uint16_t port_id,
	struct rte_eth_rss_reta_entry64 *reta,
	uint16_t size);

int __wrap_rte_eth_dev_info_get(uint16_t port_id, struct rte_eth_dev_info *info)
{
	int rc = __real_rte_eth_dev_info_get(port_id, info);

	if (fake_reta_size != 0)
		info->reta_size = fake_reta_size;
	return rc;
}

int __wrap_rte_eth_dev_rss_reta_update(
	uint16_t port_id,
	struct rte_eth_rss_reta_entry64 *reta,
	uint16_t size)
{
	if (fake_reta_size == 0)
		return __real_rte_eth_dev_rss_reta_update(port_id, reta, size);
	assert_int_equal(size, fake_reta_size);
	memcpy(fake_reta, reta, size / RTE_ETH_RETA_GROUP_SIZE * sizeof(*reta));
	return 0;
}

// Cards with a virtual function per core have tables of 2048.
static void large_table_is_filled(void **)
{
	const struct dp_port_config config = {.device = "net_null0", .role = DP_ROLE_WAN};
	struct rte_mempool *pool, *pools[QUEUES];
	struct rss *rss = malloc(sizeof(*rss));
	struct port_need need = {.n_queues = QUEUES, .pools = pools, .rss = rss};
	const uint8_t key[RSS_KEY_SIZE] = {1, 2, 3};
	struct port port;

	assert_non_null(rss);
	rss_init(rss, key, QUEUES);
	pool = rte_pktmbuf_pool_create("port_test", 4095, 0, 0, 2176, SOCKET_ID_ANY);
	assert_non_null(pool);
	pools[0] = pools[1] = pools[2] = pool;
	fake_reta_size = 2048;
	assert_int_equal(rte_eal_hotplug_add("vdev", "net_null0", ""), 0);
	assert_int_equal(port_open(&port, &config, &need), 0);
	assert_int_equal(port_start(&port), 0);
	assert_true(port.has_rss);
	for (unsigned i = 0; i < fake_reta_size; i++) {
		const struct rte_eth_rss_reta_entry64 *group = &fake_reta[i / 64];

		assert_true(group->mask == UINT64_MAX);
		assert_int_equal(group->reta[i % 64], i % RSS_SPREAD % QUEUES);
	}
	port_close(&port);
	fake_reta_size = 0;
	assert_int_equal(rte_eal_hotplug_remove("vdev", "net_null0"), 0);
	rte_mempool_free(pool);
	free(rss);
}

static void rss_is_programmed(void **)
{
	const struct dp_port_config config = {.device = "net_null0", .role = DP_ROLE_WAN};
	struct rte_eth_rss_reta_entry64 reta[RETA_MAX / RTE_ETH_RETA_GROUP_SIZE];
	uint8_t wanted[RSS_KEY_SIZE], key[RSS_KEY_SIZE] = {0};
	struct rte_eth_rss_conf conf = {.rss_key = key, .rss_key_len = RSS_KEY_SIZE_MIN};
	struct rte_mempool *pool, *pools[QUEUES];
	struct rss *rss = malloc(sizeof(*rss));
	struct port_need need = {.n_queues = QUEUES, .pools = pools, .rss = rss};
	struct rte_eth_dev_info info;
	struct port port;

	assert_non_null(rss);
	for (unsigned i = 0; i < sizeof(wanted); i++)
		wanted[i] = (uint8_t)(3 * i + 1);
	rss_init(rss, wanted, QUEUES);
	pool = rte_pktmbuf_pool_create("port_test", 4095, 0, 0, 2176, SOCKET_ID_ANY);
	assert_non_null(pool);
	pools[0] = pools[1] = pools[2] = pool;
	assert_int_equal(rte_eal_hotplug_add("vdev", "net_null0", ""), 0);
	assert_int_equal(port_open(&port, &config, &need), 0);
	assert_int_equal(port.n_queues, QUEUES);
	assert_int_equal(port_start(&port), 0);
	assert_true(port.has_rss);
	assert_int_equal(rte_eth_dev_info_get(port.id, &info), 0);
	assert_int_equal(rte_eth_dev_rss_hash_conf_get(port.id, &conf), 0);
	assert_memory_equal(key, wanted, RSS_KEY_SIZE_MIN);
	for (unsigned i = 0; i < COUNT_OF(reta); i++)
		reta[i].mask = UINT64_MAX;
	assert_true(info.reta_size >= RSS_SPREAD);
	assert_int_equal(rte_eth_dev_rss_reta_query(port.id, reta, info.reta_size), 0);
	for (unsigned i = 0; i < info.reta_size; i++)
		assert_int_equal(reta[i / 64].reta[i % 64], i % RSS_SPREAD % QUEUES);
	port_close(&port);

	// One queue: nothing to spread.
	assert_int_equal(rte_eal_hotplug_remove("vdev", "net_null0"), 0);
	assert_int_equal(rte_eal_hotplug_add("vdev", "net_null0", ""), 0);
	need.n_queues = 1;
	assert_int_equal(port_open(&port, &config, &need), 0);
	assert_int_equal(port_start(&port), 0);
	assert_false(port.has_rss);
	port_close(&port);
	assert_int_equal(rte_eal_hotplug_remove("vdev", "net_null0"), 0);
	rte_mempool_free(pool);
	free(rss);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rss_is_programmed),
		cmocka_unit_test(large_table_is_filled),
	};

	return cmocka_run_group_tests(tests, unit_eal_init, unit_eal_fini);
}
