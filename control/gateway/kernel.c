// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "control/gateway/kernel.h"

#include "control/base/err.h"
#include "control/base/log.h"
#include "control/base/uv_cast.h"
#include "control/gateway/connection.h"
#include "control/gateway/relay.h"
#include "dataplane/stage/ip_view.h"
#include "kni/mirror.h"
#include "kni/netlink.h"
#include "kni/sysctl.h"
#include "kni/tap.h"

#include <rte_cycles.h>

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LOG_AREA "gateway.kernel"

enum {
	READS_PER_WAKE = 64,
	TAP_MTU = 1500,
	NEIGH_REFRESH_MAX = 256, // re-probes per period
};

// One descriptor on the loop.
struct device {
	struct kernel *kernel;
	uv_poll_t poll;
	int fd;
	int ifindex;
	uint16_t port_id; // TAP only
};

struct kernel {
	struct gw *gw;
	struct kni_nl *nl;
	struct mirror *mirror;
	uv_poll_t mirror_poll;
	uv_timer_t build_timer;
	uint64_t built_ms;
	uint64_t refreshed_ms;
	uint32_t generation;
	const struct fib *fib; // published; for wan_addrs
	struct device taps[CONFIG_PORTS_MAX];
	size_t n_taps;
	struct device tun;
	struct ip_addr tun_v4, tun_v6;
	struct ip_addr hosts[KERNEL_HOSTS_MAX];
	size_t n_hosts;
};

static uint64_t now_ms(void)
{
	return gw_now_ns() / 1000000;
}

static void fib_free(void *, const void *fib)
{
	fib_destroy((struct fib *)(uintptr_t)fib);
}

static size_t hosts_collect(const struct kernel *k, struct ip_addr *out)
{
	static const uint8_t families[] = {IP_FAMILY_V4, IP_FAMILY_V6};
	const struct config *config = k->gw->config;
	size_t n = 0;

	for (size_t i = 0; i < config->n_ports; i++) {
		if (config->ports[i].role != CONFIG_ROLE_WAN)
			continue;
		for (unsigned f = 0; f < 2; f++) {
			if (fib_port_addr(k->fib, dp_port_id(k->gw->dp, i), families[f], &out[n]))
				n++;
		}
	}
	return n;
}

static void host_add(void *arg, struct access_client *client)
{
	struct kernel *k = arg;
	struct connection *conn = client->user;

	for (size_t i = 0; i < k->n_hosts; i++)
		connection_host_add(conn, &k->hosts[i]);
	connection_announce(conn);
}

static void fib_publish(struct kernel *k)
{
	struct fib *fib = mirror_build(k->mirror, ++k->generation);
	struct ip_addr hosts[KERNEL_HOSTS_MAX];
	size_t n;

	if (fib == NULL) {
		LOG(ERR, "mirror_build: %s; the former routes stay in force", strerror(errno));
		return;
	}
	dp_retire(k->gw->dp, dp_fib_publish(k->gw->dp, fib), fib_free, NULL);
	k->fib = fib;
	k->built_ms = now_ms();
	memset(hosts, 0, sizeof(hosts));
	n = hosts_collect(k, hosts);
	if (n == k->n_hosts && memcmp(hosts, k->hosts, sizeof(hosts)) == 0)
		return;
	memcpy(k->hosts, hosts, sizeof(hosts));
	k->n_hosts = n;
	LOG(INFO, "wan addresses changed n=%zu", n);
	relay_hosts_set(k->gw, hosts, n);
	if (k->gw->access != NULL)
		access_each(k->gw->access, host_add, k);
}

static void on_build_timer(uv_timer_t *timer)
{
	fib_publish(timer->data);
}

// Builds now, or a little later when the last build was only just now.
static void fib_schedule(struct kernel *k)
{
	uint64_t due = k->built_ms + mirror_pause_ms(k->mirror);
	uint64_t now = now_ms();

	if (now >= due)
		fib_publish(k);
	else if (!uv_is_active(uv_cast_handle(&k->build_timer)))
		uv_timer_start(&k->build_timer, on_build_timer, due - now, 0);
}

static void on_netlink(uv_poll_t *poll, int, int)
{
	struct kernel *k = poll->data;

	if (mirror_handle(k->mirror, now_ms()) > 0)
		fib_schedule(k);
}

static void on_tap(uv_poll_t *poll, int, int)
{
	struct device *device = poll->data;
	struct lane *lane = device->kernel->gw->lane;

	for (unsigned i = 0; i < READS_PER_WAKE; i++) {
		struct rte_mbuf *m = dp_mbuf_alloc(device->kernel->gw->dp);
		struct dp_meta *meta;
		ssize_t size;

		if (m == NULL)
			return; // the kernel keeps the frame; its queue is bounded
		size = kni_tap_read(
			device->fd, rte_pktmbuf_mtod(m, void *), rte_pktmbuf_tailroom(m));
		if (size <= 0) {
			rte_pktmbuf_free(m);
			return;
		}
		m->data_len = (uint16_t)size;
		m->pkt_len = (uint32_t)size;
		meta = rte_mbuf_to_priv(m);
		*meta = (struct dp_meta){.kind = DP_INJECT_FRAME, .port_id = device->port_id};
		lane_inject(lane, m);
	}
}

// What the host says with another of its addresses is a resource's answer (spec/datapath.md 1.3).
static bool is_authorized_reply(
	const struct kernel *k,
	const struct access_client *client,
	const struct ip_view *view,
	const uint8_t *packet,
	const struct ip_addr *src)
{
	const struct acl_policy *policy = dp_policy_get(k->gw->dp, client->slot);
	bool has_port = view->class_ == ACL_CLASS_TCP || view->class_ == ACL_CLASS_UDP;
	struct acl_key key = {
		.class_ = view->class_,
		.family = view->family,
		.port = has_port ? ntohs(view->sport) : 0,
	};
	struct ip_view quote;
	uint16_t verdict;

	if (policy == NULL || policy->set == NULL || k->fib == NULL || !fib_is_local(k->fib, src))
		return false;
	if (ip_view_icmp(view, packet, &quote) == IP_ICMP_ERROR)
		return true;
	memcpy(key.addr, src->bytes, sizeof(key.addr));
	acl_classify_burst(&policy->set, &key, &verdict, 1);
	return acl_policy_settle(policy, &key, verdict, dp_now()) < ACL_VERDICT_UNREACHABLE;
}

// What the host sends to a client: from the tunnel addresses, or an answer of a host that the
// client may reach; only to a client's address.
static void tunnel_inject(struct kernel *k, const uint8_t *packet, size_t size)
{
	struct access_client *client;
	struct ip_addr src, dst;
	struct ip_view view;

	if (ip_view_parse(&view, packet, (uint32_t)size) != IP_VERDICT_OK)
		return;
	if (view.family == IP_FAMILY_V4) {
		src = ip_addr_v4(ip_view_src(&view, packet));
		dst = ip_addr_v4(ip_view_dst(&view, packet));
	} else {
		src = ip_addr_v6(ip_view_src(&view, packet));
		dst = ip_addr_v6(ip_view_dst(&view, packet));
	}
	client = access_by_addr(k->gw->access, &dst);
	if (client == NULL)
		return;
	if (ip_addr_eq(&src, &k->tun_v4) || ip_addr_eq(&src, &k->tun_v6)
	    || is_authorized_reply(k, client, &view, packet, &src))
		lane_send_inner(k->gw->lane, client->slot, packet, size);
}

static void on_tun(uv_poll_t *poll, int, int)
{
	struct device *device = poll->data;
	uint8_t packet[DP_INNER_SIZE_MAX];

	for (unsigned i = 0; i < READS_PER_WAKE; i++) {
		ssize_t size = kni_tap_read(device->fd, packet, sizeof(packet));

		if (size <= 0)
			return;
		tunnel_inject(device->kernel, packet, (size_t)size);
	}
}

static int poll_start(struct kernel *k, uv_poll_t *poll, int fd, void *data, uv_poll_cb cb)
{
	int rc = uv_poll_init(k->gw->loop, poll, fd);

	if (rc < 0)
		return err_set(-rc);
	poll->data = data;
	return uv_poll_start(poll, UV_READABLE, cb);
}

static int tap_configure(struct kernel *k, const struct device *tap, const struct config_port *port)
{
	int rc = kni_sysctl_tap(port->name);

	if (rc == 0)
		rc = kni_link_up(k->nl, tap->ifindex);
	for (size_t i = 0; rc == 0 && i < port->n_addrs; i++) {
		rc = kni_addr_add(
			k->nl, tap->ifindex, &port->addrs[i].addr, port->addrs[i].prefix_len);
	}
	for (size_t i = 0; rc == 0 && i < port->n_nat_addrs; i++)
		rc = kni_addr_add_passive(k->nl, tap->ifindex, &port->nat_addrs[i]);
	for (size_t i = 0; rc == 0 && i < port->n_routes; i++) {
		rc = kni_route_add(
			k->nl,
			&(struct kni_route){
				.prefix = port->routes[i].to,
				.ifindex = tap->ifindex,
				.gateway = port->routes[i].via,
			});
	}
	return rc;
}

static int tap_open(struct kernel *k, size_t index)
{
	const struct config_port *port = &k->gw->config->ports[index];
	struct device *tap = &k->taps[index];
	uint8_t mac[6];
	int rc;

	dp_port_mac(k->gw->dp, index, mac);
	tap->kernel = k;
	tap->port_id = dp_port_id(k->gw->dp, index);
	tap->fd = kni_tap_create(port->name, mac, TAP_MTU);
	if (tap->fd < 0)
		return tap->fd;
	k->n_taps++;
	tap->ifindex = kni_link_index(port->name);
	if (tap->ifindex < 0)
		return tap->ifindex;
	rc = tap_configure(k, tap, port);
	if (rc == 0)
		rc = mirror_port_add(k->mirror, tap->ifindex, tap->port_id);
	return rc < 0 ? rc : poll_start(k, &tap->poll, tap->fd, tap, on_tap);
}

static int tun_open(struct kernel *k)
{
	const char *name = k->gw->config->tun;
	struct device *tun = &k->tun;
	int rc;

	tun->kernel = k;
	tun->fd = kni_tun_create(name, KNI_TUN_MTU, KNI_TUN_TXQLEN);
	if (tun->fd < 0)
		return tun->fd;
	tun->ifindex = kni_link_index(name);
	if (tun->ifindex < 0)
		return tun->ifindex;
	rc = kni_sysctl_tun(name);
	if (rc == 0)
		rc = kni_link_up(k->nl, tun->ifindex);
	return rc < 0 ? rc : poll_start(k, &tun->poll, tun->fd, tun, on_tun);
}

static int build_timer_init(struct kernel *k)
{
	uv_timer_init(k->gw->loop, &k->build_timer);
	k->build_timer.data = k;
	return poll_start(k, &k->mirror_poll, mirror_fd(k->mirror), k, on_netlink);
}

// A connection of the host and a NAT flow with the same port, remote and address would be mixed up.
static void nat_ports_check(const struct config *config)
{
	FILE *f = fopen("/proc/sys/net/ipv4/ip_local_port_range", "re");
	unsigned first, last;

	if (f == NULL)
		return;
	if (fscanf(f, "%u %u", &first, &last) == 2 && first <= config->nat_port_last
	    && last >= config->nat_port_first) {
		LOG(WARNING,
		    "nat_ports %u-%u overlap net.ipv4.ip_local_port_range %u-%u",
		    config->nat_port_first,
		    config->nat_port_last,
		    first,
		    last);
	}
	fclose(f);
}

struct kernel *kernel_create(struct gw *gw)
{
	struct kernel *k = calloc(1, sizeof(*k));
	int rc = 0;

	if (k == NULL)
		return err_set_null(ENOMEM);
	k->gw = gw;
	k->tun.fd = -1;
	nat_ports_check(gw->config);
	k->nl = kni_nl_create();
	k->mirror = k->nl != NULL ? mirror_create(now_ms()) : NULL;
	if (k->mirror == NULL) {
		rc = -errno;
		goto err;
	}
	for (size_t i = 0; rc == 0 && i < gw->config->n_ports; i++)
		rc = tap_open(k, i);
	if (rc == 0)
		rc = tun_open(k);
	if (rc == 0)
		rc = build_timer_init(k);
	if (rc < 0)
		goto err;
	rc = mirror_handle(k->mirror, now_ms());
	if (rc < 0)
		goto err;
	fib_publish(k);
	return k;

err:
	// The devices' polls may be open: the process ends after this, so they are left to it.
	kernel_stop(k);
	uv_run(gw->loop, UV_RUN_NOWAIT);
	kernel_destroy(k);
	return err_set_null(-rc);
}

void kernel_stop(struct kernel *k)
{
	if (k == NULL)
		return;
	for (size_t i = 0; i < k->n_taps; i++)
		uv_cast_close(&k->taps[i].poll);
	uv_cast_close(&k->tun.poll);
	uv_cast_close(&k->mirror_poll);
	uv_cast_close(&k->build_timer);
}

void kernel_destroy(struct kernel *k)
{
	if (k == NULL)
		return;
	dp_retire(k->gw->dp, dp_fib_publish(k->gw->dp, NULL), fib_free, NULL);
	for (size_t i = 0; i < k->n_taps; i++)
		kni_tap_close(k->taps[i].fd);
	kni_tap_close(k->tun.fd);
	mirror_destroy(k->mirror);
	kni_nl_destroy(k->nl);
	free(k);
}

void kernel_frame(struct kernel *k, uint16_t port_id, const void *data, size_t size)
{
	for (size_t i = 0; i < k->n_taps; i++) {
		if (k->taps[i].port_id != port_id)
			continue;
		if (kni_tap_write(k->taps[i].fd, data, size) < 0)
			k->gw->stats.kernel_refused++;
		return;
	}
}

void kernel_tunnel_packet(struct kernel *k, const void *data, size_t size)
{
	if (kni_tap_write(k->tun.fd, data, size) < 0)
		k->gw->stats.kernel_refused++;
}

static int
tunnel_addr_replace(struct kernel *k, struct ip_addr *current, const struct ip_addr *addr)
{
	uint8_t len = (uint8_t)(ip_addr_size(addr) * 8);
	int rc = 0;

	if (ip_addr_eq(current, addr))
		return 0;
	if (current->family != IP_FAMILY_NONE) {
		rc = kni_addr_del(
			k->nl, k->tun.ifindex, current, (uint8_t)(ip_addr_size(current) * 8));
		if (rc < 0)
			return rc;
		*current = (struct ip_addr){0};
	}
	if (addr->family == IP_FAMILY_NONE)
		return 0;
	rc = kni_addr_add(k->nl, k->tun.ifindex, addr, len);
	if (rc == 0)
		*current = *addr;
	return rc;
}

// The tunnel networks of every gateway and client (spec/datapath.md).
static const char *const tunnel_networks[] = {"100.64.0.0/11", "fd00:2021:1111::/107"};

static int tunnel_route_add(struct kernel *k, const char *network)
{
	struct kni_route route = {.ifindex = k->tun.ifindex};
	int rc = ip_prefix_parse(&route.prefix, network);

	return rc < 0 ? rc : kni_route_add(k->nl, &route);
}

int kernel_tunnel_host_add(struct kernel *k, const struct ip_addr *addr)
{
	struct kni_route route = {
		.prefix = {.addr = *addr, .len = (uint8_t)(ip_addr_size(addr) * 8)},
		.ifindex = k->tun.ifindex,
	};

	for (unsigned i = 0; i < sizeof(tunnel_networks) / sizeof(tunnel_networks[0]); i++) {
		struct ip_prefix network;

		if (ip_prefix_parse(&network, tunnel_networks[i]) == 0
		    && ip_prefix_contains(&network, addr))
			return 0;
	}
	return addr->family == IP_FAMILY_NONE ? 0 : kni_route_add(k->nl, &route);
}

int kernel_tunnel_set(struct kernel *k, const struct ip_addr *v4, const struct ip_addr *v6)
{
	int rc = tunnel_addr_replace(k, &k->tun_v4, v4);

	if (rc == 0)
		rc = tunnel_addr_replace(k, &k->tun_v6, v6);
	for (unsigned i = 0; rc == 0 && i < sizeof(tunnel_networks) / sizeof(tunnel_networks[0]);
	     i++)
		rc = tunnel_route_add(k, tunnel_networks[i]);
	return rc;
}

void kernel_resolve(struct kernel *k, uint16_t port_id, const struct ip_addr *addr)
{
	if (mirror_neigh_request(k->mirror, k->nl, port_id, addr) < 0)
		k->gw->stats.kernel_refused++;
}

void kernel_tick(struct kernel *k)
{
	uint64_t now = now_ms();

	if (mirror_tick(k->mirror, now) > 0)
		fib_schedule(k);
	if (now - k->refreshed_ms < MIRROR_REFRESH_MS)
		return;
	k->refreshed_ms = now;
	if (kni_neigh_refresh(k->mirror, k->nl, NULL, NULL, NEIGH_REFRESH_MAX) < 0)
		k->gw->stats.kernel_refused++;
}

size_t kernel_wan_addrs(const struct kernel *k, struct ip_addr *out)
{
	memcpy(out, k->hosts, k->n_hosts * sizeof(*out));
	return k->n_hosts;
}
