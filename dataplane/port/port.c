// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "dataplane/port/port.h"

#include "control/base/log.h"

#include <rte_errno.h>
#include <rte_ethdev.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LOG_AREA "dataplane.port"

static int port_fail(const struct port *port, const char *call, int rc)
{
	LOG(ERR, "%s failed device=%s error=\"%s\"", call, port->name, rte_strerror(-rc));
	return rc < 0 ? rc : -EIO;
}

// net_tap "offers" checksums and does them in software with an extra copy: worse than ours.
static bool port_is_software(const struct rte_eth_dev_info *info)
{
	return strncmp(info->driver_name, "net_", 4) == 0 && info->device != NULL
		&& (strcmp(info->driver_name, "net_tap") == 0
		    || strcmp(info->driver_name, "net_af_packet") == 0);
}

// Not RTE_ETH_TX_OFFLOAD_MBUF_FAST_FREE: packets that control injects come from its own pool.
static void port_pick_offloads(
	struct port *port,
	const struct rte_eth_dev_info *info,
	struct rte_eth_conf *conf)
{
	if (port_is_software(info))
		return;
	if (info->rx_offload_capa & RTE_ETH_RX_OFFLOAD_IPV4_CKSUM) {
		conf->rxmode.offloads |= RTE_ETH_RX_OFFLOAD_IPV4_CKSUM;
		port->has_rx_ip_cksum = true;
	}
	if (info->tx_offload_capa & RTE_ETH_TX_OFFLOAD_UDP_CKSUM) {
		conf->txmode.offloads |= RTE_ETH_TX_OFFLOAD_UDP_CKSUM;
		port->has_tx_udp_cksum = true;
	}
}

static struct rte_eth_rss_conf port_rss_conf(const struct port *port, uint8_t *key)
{
	return (struct rte_eth_rss_conf){
		.rss_key = key,
		.rss_key_len = port->rss_key_size,
		.rss_hf = port->rss_types,
	};
}

// @return 1: yes, 0: no, -errno: the driver does not tell
static int port_has_key(const struct port *port)
{
	uint8_t key[RSS_KEY_SIZE] = {0};
	struct rte_eth_rss_conf conf = port_rss_conf(port, key);
	int rc = rte_eth_dev_rss_hash_conf_get(port->id, &conf);

	return rc < 0 ? rc : memcmp(key, port->rss->key, port->rss_key_size) == 0;
}

// Some drivers take the key only after configuration.
static bool port_key_ensure(const struct port *port)
{
	struct rte_eth_rss_conf conf = port_rss_conf(port, (uint8_t *)(uintptr_t)port->rss->key);

	if (port_has_key(port) != 0)
		return true;
	return rte_eth_dev_rss_hash_update(port->id, &conf) == 0 && port_has_key(port) != 0;
}

// The NIC hashes with our key, as rss.h does. Only then is there something to hash for: a port with
// fewer queues than workers cannot use the same spread.
static void
port_pick_rss(struct port *port, const struct rte_eth_dev_info *info, struct rte_eth_conf *conf)
{
	const uint64_t wanted = RTE_ETH_RSS_IP | RTE_ETH_RSS_TCP | RTE_ETH_RSS_UDP;
	// Drivers that do not say mean the usual one.
	uint8_t key_size = info->hash_key_size != 0 ? info->hash_key_size : RSS_KEY_SIZE_MIN;

	if (port->n_queues < 2 || port->n_queues < port->n_wanted || port_is_software(info)
	    || key_size < RSS_KEY_SIZE_MIN || key_size > RSS_KEY_SIZE
	    || info->reta_size % RSS_SPREAD != 0 || info->reta_size == 0)
		return;
	conf->rxmode.mq_mode = RTE_ETH_MQ_RX_RSS;
	port->rss_types = wanted & info->flow_type_rss_offloads;
	port->rss_key_size = key_size;
	port->reta_size = info->reta_size;
	conf->rx_adv_conf.rss_conf = port_rss_conf(port, (uint8_t *)(uintptr_t)port->rss->key);
}

static_assert(RSS_SPREAD % RTE_ETH_RETA_GROUP_SIZE == 0, "tables are of whole groups");

static int port_reta_update(const struct port *port)
{
	size_t n_groups = port->reta_size / RTE_ETH_RETA_GROUP_SIZE;
	struct rte_eth_rss_reta_entry64 *reta = calloc(n_groups, sizeof(*reta));
	int rc;

	if (reta == NULL)
		return -ENOMEM;
	for (unsigned i = 0; i < port->reta_size; i++) {
		reta[i / RTE_ETH_RETA_GROUP_SIZE].mask = UINT64_MAX;
		reta[i / RTE_ETH_RETA_GROUP_SIZE].reta[i % RTE_ETH_RETA_GROUP_SIZE] =
			port->rss->workers[i % RSS_SPREAD];
	}
	rc = rte_eth_dev_rss_reta_update(port->id, reta, port->reta_size);
	free(reta);
	return rc;
}

// The redirection table, after the start as most drivers want it. Without it packets arrive at
// other workers than computed and are handed off.
static void port_spread(struct port *port)
{
	if (port->reta_size == 0)
		return;
	port->has_rss = port_reta_update(port) == 0 && port_key_ensure(port);
	if (!port->has_rss)
		LOG(WARNING,
		    "RSS key or spread not taken device=%s; packets are handed off",
		    port->name);
}

static int port_queues(
	struct port *port,
	const struct rte_eth_dev_info *info,
	const struct rte_eth_conf *conf,
	const struct port_need *need)
{
	struct rte_eth_rxconf rx = info->default_rxconf;
	struct rte_eth_txconf tx = info->default_txconf;
	uint16_t n_rx = PORT_RX_DESC, n_tx = PORT_TX_DESC;
	int socket = rte_eth_dev_socket_id(port->id);
	int rc;

	rc = rte_eth_dev_adjust_nb_rx_tx_desc(port->id, &n_rx, &n_tx);
	if (rc < 0)
		return port_fail(port, "rte_eth_dev_adjust_nb_rx_tx_desc", rc);
	rx.offloads = conf->rxmode.offloads;
	tx.offloads = conf->txmode.offloads;
	for (uint16_t q = 0; q < port->n_queues; q++) {
		rc = rte_eth_rx_queue_setup(
			port->id, q, n_rx, (unsigned)socket, &rx, need->pools[q]);
		if (rc < 0)
			return port_fail(port, "rte_eth_rx_queue_setup", rc);
		rc = rte_eth_tx_queue_setup(port->id, q, n_tx, (unsigned)socket, &tx);
		if (rc < 0)
			return port_fail(port, "rte_eth_tx_queue_setup", rc);
	}
	return 0;
}

static int port_mtu_ensure(struct port *port)
{
	int rc;

	rc = rte_eth_dev_get_mtu(port->id, &port->mtu);
	if (rc < 0)
		return port_fail(port, "rte_eth_dev_get_mtu", rc);
	if (port->mtu >= PORT_MTU_MIN)
		return 0;
	rc = rte_eth_dev_set_mtu(port->id, PORT_MTU_MIN);
	if (rc < 0)
		return port_fail(port, "rte_eth_dev_set_mtu", rc);
	port->mtu = PORT_MTU_MIN;
	return 0;
}

static int port_configure(struct port *port, const struct port_need *need)
{
	struct rte_eth_conf conf = {.intr_conf.rxq = need->wants_rx_intr};
	struct rte_eth_dev_info info;
	struct rte_ether_addr mac;
	int rc;

	rc = rte_eth_dev_info_get(port->id, &info);
	if (rc < 0)
		return port_fail(port, "rte_eth_dev_info_get", rc);
	port->n_queues = RTE_MIN(need->n_queues, RTE_MIN(info.max_rx_queues, info.max_tx_queues));
	if (port->n_queues == 0)
		return port_fail(port, "queue count", -ENOTSUP);
	port_pick_offloads(port, &info, &conf);
	port_pick_rss(port, &info, &conf);
	rc = rte_eth_dev_configure(port->id, port->n_queues, port->n_queues, &conf);
	if (rc < 0)
		return port_fail(port, "rte_eth_dev_configure", rc);
	rc = rte_eth_macaddr_get(port->id, &mac);
	if (rc < 0)
		return port_fail(port, "rte_eth_macaddr_get", rc);
	memcpy(port->mac, mac.addr_bytes, sizeof(port->mac));
	rc = port_mtu_ensure(port);
	if (rc < 0)
		return rc;
	return port_queues(port, &info, &conf, need);
}

static int port_nat_addrs(struct port *port, const struct dp_port_config *config)
{
	for (size_t i = 0; i < config->n_nat_addrs; i++) {
		const struct ip_addr *addr = &config->nat_addrs[i];
		struct flow_nat_pool *pool =
			addr->family == IP_FAMILY_V4 ? &port->nat_v4 : &port->nat_v6;

		if (pool->n == FLOW_NAT_ADDRS_MAX)
			return port_fail(port, "NAT addresses", -E2BIG);
		memcpy(pool->addrs[pool->n++], addr->bytes, sizeof(pool->addrs[0]));
	}
	return 0;
}

int port_open(struct port *port, const struct dp_port_config *config, const struct port_need *need)
{
	int rc;

	*port = (struct port){
		.role = config->role,
		.rss = need->rss,
		.n_wanted = need->n_queues,
	};
	snprintf(port->name, sizeof(port->name), "%s", config->device);
	rc = port_nat_addrs(port, config);
	if (rc < 0)
		return rc;
	rc = rte_eth_dev_get_port_by_name(config->device, &port->id);
	if (rc < 0)
		return port_fail(port, "rte_eth_dev_get_port_by_name", rc);
	port->is_open = true;
	rc = port_configure(port, need);
	if (rc < 0)
		port_close(port);
	return rc;
}

// The host needs multicast (neighbour discovery) but nobody else's unicast. Drivers that cannot
// filter deliver more than asked, and demux looks at the destination anyway.
static void port_filters(struct port *port)
{
	int rc;

	rc = rte_eth_promiscuous_disable(port->id);
	if (rc < 0 && rc != -ENOTSUP)
		LOG(WARNING, "rte_eth_promiscuous_disable failed device=%s", port->name);
	rc = rte_eth_allmulticast_enable(port->id);
	if (rc < 0 && rc != -ENOTSUP)
		LOG(WARNING, "rte_eth_allmulticast_enable failed device=%s", port->name);
}

int port_start(struct port *port)
{
	struct rte_eth_dev_info info;
	int rc;

	rc = rte_eth_dev_start(port->id);
	if (rc < 0)
		return port_fail(port, "rte_eth_dev_start", rc);
	port->is_started = true;
	port_spread(port);
	if (rte_eth_dev_info_get(port->id, &info) == 0 && !port_is_software(&info))
		port_filters(port);
	LOG(NOTICE,
	    "port up device=%s role=%s mac=%02x:%02x:%02x:%02x:%02x:%02x mtu=%u queues=%u "
	    "rss=%d",
	    port->name,
	    port->role == DP_ROLE_WAN ? "wan" : "lan",
	    port->mac[0],
	    port->mac[1],
	    port->mac[2],
	    port->mac[3],
	    port->mac[4],
	    port->mac[5],
	    port->mtu,
	    port->n_queues,
	    port->has_rss);
	return 0;
}

void port_stop(struct port *port)
{
	if (!port->is_started)
		return;
	port->is_started = false;
	if (rte_eth_dev_stop(port->id) < 0)
		LOG(DEBUG, "rte_eth_dev_stop failed device=%s", port->name);
}

void port_close(struct port *port)
{
	if (!port->is_open)
		return;
	port_stop(port);
	port->is_open = false;
	if (rte_eth_dev_close(port->id) < 0)
		LOG(DEBUG, "rte_eth_dev_close failed device=%s", port->name);
}

bool port_link_is_up(const struct port *port)
{
	struct rte_eth_link link = {0};

	return port->is_started && rte_eth_link_get_nowait(port->id, &link) == 0
		&& link.link_status == RTE_ETH_LINK_UP;
}
