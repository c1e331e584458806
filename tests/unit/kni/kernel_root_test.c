// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "kni/mirror.h"
#include "kni/netlink.h"
#include "kni/sysctl.h"
#include "kni/tap.h"
#include "tests/unit/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

// The slow path against the real kernel, in a network namespace of its own. Needs root.

enum {
	PORT = 3,
	WAIT_MS = 3000,
	FRAME_MAX = 2048,
};

static const uint8_t tap_mac[6] = {0x02, 0xaa, 0, 0, 0, 0x01};
static const uint8_t peer_mac[6] = {0x02, 0xbb, 0, 0, 0, 0x02};
static const uint8_t broadcast[6] = {255, 255, 255, 255, 255, 255};

struct env {
	struct kni_nl *nl;
	struct mirror *mirror;
	struct fib *fib;
	uint32_t generation;
	int tap, tun, ifindex, tun_ifindex;
};

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static struct ip_addr addr(const char *text)
{
	struct ip_addr a;

	assert_int_equal(ip_addr_parse(&a, text), 0);
	return a;
}

static void fib_rebuild(struct env *env)
{
	fib_destroy(env->fib);
	env->fib = mirror_build(env->mirror, ++env->generation);
	assert_non_null(env->fib);
}

static enum fib_verdict lookup(const struct env *env, const char *dst, struct fib_adj *adj)
{
	struct ip_addr a = addr(dst);

	return fib_lookup(env->fib, &a, adj);
}

// Takes notifications until @p dst has the verdict, or gives up.
static void wait_verdict(struct env *env, const char *dst, enum fib_verdict want)
{
	uint64_t until = now_ms() + WAIT_MS;
	enum fib_verdict got;
	struct fib_adj adj;

	do {
		struct pollfd p = {.fd = mirror_fd(env->mirror), .events = POLLIN};

		assert_true(mirror_handle(env->mirror, now_ms()) >= 0);
		fib_rebuild(env);
		got = lookup(env, dst, &adj);
		if (got == want)
			return;
		poll(&p, 1, 50);
	} while (now_ms() < until);
	fail_msg("%s: verdict %d, want %d", dst, got, want);
}

static void add_addr(struct env *env, int ifindex, const char *text, uint8_t len)
{
	struct ip_addr a = addr(text);

	assert_int_equal(kni_addr_add(env->nl, ifindex, &a, len), 0);
}

static void
add_route(struct env *env, const char *prefix, int ifindex, const char *gateway, uint32_t metric)
{
	struct kni_route r = {.ifindex = ifindex, .metric = metric};

	assert_int_equal(ip_prefix_parse(&r.prefix, prefix), 0);
	if (gateway != NULL)
		r.gateway = addr(gateway);
	assert_int_equal(kni_route_add(env->nl, &r), 0);
}

static void configure(struct env *env)
{
	add_addr(env, env->ifindex, "192.0.2.1", 24);
	add_addr(env, env->ifindex, "2001:db8::1", 64);
	add_route(env, "0.0.0.0/0", env->ifindex, "192.0.2.254", 0);
	add_route(env, "::/0", env->ifindex, "fe80::fe", 0);
	add_addr(env, env->tun_ifindex, "100.64.0.1", 32);
	add_addr(env, env->tun_ifindex, "fd00:2021:1111::1", 128);
	add_route(env, "100.64.0.0/11", env->tun_ifindex, NULL, 0);
	add_route(env, "fd00:2021:1111::/107", env->tun_ifindex, NULL, 0);
}

static int set_up(void **state)
{
	struct env *env = calloc(1, sizeof(*env));

	*state = env;
	env->nl = kni_nl_create();
	assert_non_null(env->nl);
	assert_int_equal(kni_link_up(env->nl, kni_link_index("lo")), 0);
	env->mirror = mirror_create(now_ms());
	assert_non_null(env->mirror);

	env->tap = kni_tap_create("wan0", tap_mac, 1400);
	assert_true(env->tap >= 0);
	env->ifindex = kni_link_index("wan0");
	assert_int_equal(kni_sysctl_tap("wan0"), 0);
	assert_int_equal(kni_link_up(env->nl, env->ifindex), 0);
	assert_int_equal(mirror_port_add(env->mirror, env->ifindex, PORT), 0);

	env->tun = kni_tun_create(KNI_TUN_NAME, KNI_TUN_MTU, KNI_TUN_TXQLEN);
	assert_true(env->tun >= 0);
	env->tun_ifindex = kni_link_index(KNI_TUN_NAME);
	assert_int_equal(kni_sysctl_tun(KNI_TUN_NAME), 0);
	assert_int_equal(kni_link_up(env->nl, env->tun_ifindex), 0);

	configure(env);
	// Failing takes three tries a second apart; here they are 50 ms apart.
	assert_int_equal(kni_sysctl_set("net/ipv4/neigh/wan0/retrans_time_ms", "50"), 0);
	assert_int_equal(kni_sysctl_set("net/ipv4/neigh/wan0/delay_first_probe_time", "0"), 0);
	return 0;
}

static int tear_down(void **state)
{
	struct env *env = *state;

	fib_destroy(env->fib);
	mirror_destroy(env->mirror);
	mirror_destroy(NULL);
	kni_nl_destroy(env->nl);
	kni_nl_destroy(NULL);
	kni_tap_close(env->tun);
	kni_tap_close(env->tap);
	assert_int_equal(if_nametoindex("wan0"), 0);
	assert_int_equal(if_nametoindex(KNI_TUN_NAME), 0);
	free(env);
	return 0;
}

static long file_number(const char *path)
{
	char text[64] = "";
	int fd = open(path, O_RDONLY);

	assert_true(fd >= 0);
	assert_true(read(fd, text, sizeof(text) - 1) > 0);
	close(fd);
	return strtol(text, NULL, 10);
}

// @return whether a line of @p path holds both words.
static bool file_has(const char *path, const char *one, const char *other)
{
	FILE *f = fopen(path, "r");
	char line[256];
	bool found = false;

	assert_non_null(f);
	while (fgets(line, sizeof(line), f) != NULL)
		found = found || (strstr(line, one) != NULL && strstr(line, other) != NULL);
	fclose(f);
	return found;
}

static bool has_link_local(const char *device)
{
	return file_has("/proc/net/if_inet6", "fe80", device);
}

static void test_devices(void **)
{
	struct ifreq ifr = {.ifr_name = "wan0"};
	int s = socket(AF_INET, SOCK_DGRAM, 0);

	assert_int_equal(ioctl(s, SIOCGIFMTU, &ifr), 0);
	assert_int_equal(ifr.ifr_mtu, 1400);
	assert_int_equal(ioctl(s, SIOCGIFHWADDR, &ifr), 0);
	assert_memory_equal(ifr.ifr_hwaddr.sa_data, tap_mac, 6);
	strcpy(ifr.ifr_name, KNI_TUN_NAME);
	assert_int_equal(ioctl(s, SIOCGIFMTU, &ifr), 0);
	assert_int_equal(ifr.ifr_mtu, KNI_TUN_MTU);
	assert_int_equal(ioctl(s, SIOCGIFTXQLEN, &ifr), 0);
	assert_int_equal(ifr.ifr_qlen, KNI_TUN_TXQLEN);
	close(s);
	assert_false(has_link_local(KNI_TUN_NAME));
	assert_true(has_link_local("wan0"));
	assert_int_equal(file_number("/proc/sys/net/ipv4/conf/wan0/arp_ignore"), 1);
	assert_int_equal(file_number("/proc/sys/net/ipv4/conf/wan0/arp_announce"), 2);
	assert_int_equal(file_number("/proc/sys/net/ipv6/conf/wan0/accept_dad"), 0);
}

static void test_errors(void **state)
{
	struct env *env = *state;
	struct ip_addr a = addr("192.0.2.77");
	struct kni_route r = {.ifindex = env->ifindex, .gateway = addr("203.0.113.1")};

	assert_int_equal(kni_tap_create("wan0", tap_mac, 1500), -EBUSY);
	assert_int_equal(kni_tap_create("much-too-long-a-name", tap_mac, 1500), -EINVAL);
	assert_int_equal(kni_tap_create("", tap_mac, 1500), -EINVAL);
	assert_int_equal(kni_link_index("nothing"), -ENODEV);
	assert_int_equal(kni_link_up(env->nl, 9999), -ENODEV);
	assert_int_equal(kni_addr_add(env->nl, 9999, &a, 24), -ENODEV);
	assert_int_equal(kni_addr_add(env->nl, env->ifindex, &a, 33), -EINVAL);
	assert_int_equal(ip_prefix_parse(&r.prefix, "198.51.100.0/24"), 0);
	assert_int_equal(kni_route_add(env->nl, &r), -ENETUNREACH);
	assert_int_equal(mirror_neigh_request(env->mirror, env->nl, PORT + 1, &a), -ENODEV);
	assert_int_equal(kni_sysctl_set("net/no/such", "1"), -ENOENT);
	assert_int_equal(kni_sysctl_tap("../lo"), -EINVAL);
	// After an error the socket is in order.
	assert_int_equal(kni_link_up(env->nl, env->ifindex), 0);
}

static void test_fib(void **state)
{
	struct env *env = *state;
	struct fib_adj adj;
	char text[IP_TEXT_SIZE];

	configure(env); // once more: nothing of it is an error
	assert_int_equal(mirror_handle(env->mirror, now_ms()), 1);
	assert_int_equal(mirror_handle(env->mirror, now_ms()), 0);
	assert_int_equal(mirror_tick(env->mirror, now_ms()), 0);
	fib_rebuild(env);
	assert_int_equal(lookup(env, "198.51.100.1", &adj), FIB_RESOLVE);
	assert_int_equal(adj.port_id, PORT);
	assert_string_equal(ip_addr_format(&adj.next_hop, text), "192.0.2.254");
	assert_string_equal(ip_addr_format(&adj.source, text), "192.0.2.1");
	assert_int_equal(lookup(env, "2001:db8:9::1", &adj), FIB_RESOLVE);
	assert_string_equal(ip_addr_format(&adj.next_hop, text), "fe80::fe");
	assert_string_equal(ip_addr_format(&adj.source, text), "2001:db8::1");
	assert_int_equal(lookup(env, "192.0.2.50", &adj), FIB_RESOLVE);
	assert_string_equal(ip_addr_format(&adj.next_hop, text), "192.0.2.50");
	assert_int_equal(lookup(env, "192.0.2.1", &adj), FIB_LOCAL);
	assert_int_equal(adj.port_id, PORT);
	assert_int_equal(lookup(env, "2001:db8::1", &adj), FIB_LOCAL);
	assert_int_equal(lookup(env, "100.64.0.1", &adj), FIB_LOCAL);
	assert_int_equal(adj.port_id, FIB_PORT_NONE);
	assert_int_equal(lookup(env, "fd00:2021:1111::1", &adj), FIB_LOCAL);
	assert_int_equal(lookup(env, "192.0.2.255", &adj), FIB_NO_ROUTE);
	assert_int_equal(lookup(env, "100.64.0.2", &adj), FIB_NO_ROUTE);
	assert_int_equal(lookup(env, "fd00:2021:1111::2", &adj), FIB_NO_ROUTE);
	assert_int_equal(lookup(env, "127.0.0.1", &adj), FIB_NO_ROUTE);
}

// @return the size of the next frame from the TAP for which @p match holds.
static size_t
frame_await(struct env *env, uint8_t *frame, bool (*match)(const uint8_t *frame, size_t size))
{
	uint64_t until = now_ms() + WAIT_MS;

	while (now_ms() < until) {
		struct pollfd p = {.fd = env->tap, .events = POLLIN};
		ssize_t n = kni_tap_read(env->tap, frame, FRAME_MAX);

		if (n > 0 && match(frame, (size_t)n))
			return (size_t)n;
		if (n == -EAGAIN)
			poll(&p, 1, 50);
		else
			assert_true(n > 0);
	}
	fail_msg("no such frame");
	return 0;
}

static void frame_drain(struct env *env)
{
	uint8_t frame[FRAME_MAX];

	while (kni_tap_read(env->tap, frame, sizeof(frame)) > 0)
		continue;
}

static bool is_arp_reply(const uint8_t *f, size_t size)
{
	return size >= 42 && f[12] == 0x08 && f[13] == 0x06 && f[21] == 2;
}

static bool is_arp_request(const uint8_t *f, size_t size)
{
	return size >= 42 && f[12] == 0x08 && f[13] == 0x06 && f[21] == 1;
}

static bool is_neighbour_advert(const uint8_t *f, size_t size)
{
	return size >= 78 && f[12] == 0x86 && f[13] == 0xdd && f[20] == 58 && f[54] == 136;
}

static bool is_neighbour_solicit(const uint8_t *f, size_t size)
{
	// Those with an unspecified source would be duplicate address detection.
	return size >= 78 && f[12] == 0x86 && f[13] == 0xdd && f[20] == 58 && f[54] == 135
		&& f[22] != 0;
}

static void arp_send(
	struct env *env,
	const uint8_t dst[6],
	uint8_t op,
	const char *sender,
	const uint8_t target_mac[6],
	const char *target)
{
	uint8_t f[42] = {[12] = 0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, op};
	struct ip_addr s = addr(sender), t = addr(target);

	memcpy(f, dst, 6);
	memcpy(f + 6, peer_mac, 6);
	memcpy(f + 22, peer_mac, 6);
	memcpy(f + 28, s.bytes, 4);
	memcpy(f + 32, target_mac, 6);
	memcpy(f + 38, t.bytes, 4);
	assert_int_equal(kni_tap_write(env->tap, f, sizeof(f)), 0);
}

static void test_arp_answer(void **state)
{
	static const uint8_t zeros[6];
	struct env *env = *state;
	struct ip_addr a = addr("192.0.2.1");
	uint8_t f[FRAME_MAX];

	frame_drain(env);
	// Not for an address of another device (arp_ignore), then for our own.
	arp_send(env, broadcast, 1, "192.0.2.7", zeros, "100.64.0.1");
	arp_send(env, broadcast, 1, "192.0.2.7", zeros, "192.0.2.1");
	frame_await(env, f, is_arp_reply);
	assert_memory_equal(f, peer_mac, 6);
	assert_memory_equal(f + 22, tap_mac, 6);
	assert_memory_equal(f + 28, a.bytes, 4);
}

// The checksum of an ICMPv6 message in an IPv6 frame (RFC 4443 2.3).
static void icmp6_checksum_set(uint8_t *f, size_t size)
{
	uint32_t sum = (uint32_t)(size - 54) + 58;

	for (size_t i = 22; i < size; i += 2)
		sum += (uint32_t)f[i] << 8 | f[i + 1];
	while (sum >> 16 != 0)
		sum = (sum & 0xffff) + (sum >> 16);
	f[56] = (uint8_t)(~sum >> 8);
	f[57] = (uint8_t)~sum;
}

// A neighbour solicitation (135) or advertisement (136) with one link address option.
static void
nd_send(struct env *env,
	uint8_t type,
	const uint8_t dst_mac[6],
	const char *dst,
	const char *target)
{
	uint8_t f[86] = {[12] = 0x86, 0xdd, 0x60, [19] = 32, 58, 255};
	struct ip_addr s = addr("2001:db8::7"), d = addr(dst), t = addr(target);

	memcpy(f, dst_mac, 6);
	memcpy(f + 6, peer_mac, 6);
	memcpy(f + 22, s.bytes, 16);
	memcpy(f + 38, d.bytes, 16);
	f[54] = type;
	f[58] = type == 136 ? 0x60 : 0; // solicited, override
	memcpy(f + 62, t.bytes, 16);
	f[78] = type == 136 ? 2 : 1;
	f[79] = 1;
	memcpy(f + 80, peer_mac, 6);
	icmp6_checksum_set(f, sizeof(f));
	assert_int_equal(kni_tap_write(env->tap, f, sizeof(f)), 0);
}

static void test_nd_answer(void **state)
{
	static const uint8_t group[6] = {0x33, 0x33, 0xff, 0, 0, 1};
	struct env *env = *state;
	struct ip_addr a = addr("2001:db8::1");
	uint8_t f[FRAME_MAX];

	// The kernel joins the solicited-node group a moment after it has the address.
	for (int i = 0; i < WAIT_MS / 10; i++) {
		if (file_has("/proc/net/igmp6", "ff0200000000000000000001ff000001", "wan0"))
			break;
		usleep(10000);
	}
	frame_drain(env);
	nd_send(env, 135, group, "ff02::1:ff00:1", "2001:db8::1");
	frame_await(env, f, is_neighbour_advert);
	assert_memory_equal(f + 62, a.bytes, 16);
}

static void test_resolve_v4(void **state)
{
	struct env *env = *state;
	struct ip_addr a = addr("192.0.2.254");
	struct fib_adj adj;
	uint8_t f[FRAME_MAX];

	frame_drain(env);
	wait_verdict(env, "198.51.100.1", FIB_RESOLVE);
	assert_int_equal(mirror_neigh_request(env->mirror, env->nl, PORT, &a), 0);
	frame_await(env, f, is_arp_request);
	assert_memory_equal(f, broadcast, 6);
	assert_memory_equal(f + 6, tap_mac, 6);
	assert_memory_equal(f + 38, a.bytes, 4);
	arp_send(env, tap_mac, 2, "192.0.2.254", tap_mac, "192.0.2.1");
	wait_verdict(env, "198.51.100.1", FIB_FORWARD);
	assert_int_equal(lookup(env, "198.51.100.1", &adj), FIB_FORWARD);
	assert_memory_equal(adj.dst_mac, peer_mac, 6);
}

static void test_resolve_v6(void **state)
{
	struct env *env = *state;
	struct ip_addr a = addr("2001:db8::7");
	uint8_t f[FRAME_MAX];

	// The solicitation of test_nd_answer made it known already.
	assert_int_equal(system("ip -6 neigh flush dev wan0"), 0);
	wait_verdict(env, "2001:db8::7", FIB_RESOLVE);
	frame_drain(env);
	assert_int_equal(mirror_neigh_request(env->mirror, env->nl, PORT, &a), 0);
	frame_await(env, f, is_neighbour_solicit);
	assert_memory_equal(f + 62, a.bytes, 16);
	nd_send(env, 136, tap_mac, "2001:db8::1", "2001:db8::7");
	wait_verdict(env, "2001:db8::7", FIB_FORWARD);
}

// A failure is reported, forgotten after a while, and the next request tries again.
static void test_failure(void **state)
{
	struct env *env = *state;
	struct ip_addr a = addr("192.0.2.99");
	uint8_t f[FRAME_MAX];

	assert_int_equal(mirror_neigh_request(env->mirror, env->nl, PORT, &a), 0);
	wait_verdict(env, "192.0.2.99", FIB_FAILED);
	assert_int_equal(mirror_tick(env->mirror, now_ms()), 0);
	assert_int_equal(mirror_tick(env->mirror, now_ms() + MIRROR_FAILED_MS), 1);
	assert_int_equal(mirror_tick(env->mirror, now_ms() + MIRROR_FAILED_MS), 0);
	wait_verdict(env, "192.0.2.99", FIB_RESOLVE);
	frame_drain(env);
	assert_int_equal(mirror_neigh_request(env->mirror, env->nl, PORT, &a), 0);
	frame_await(env, f, is_arp_request);
	wait_verdict(env, "192.0.2.99", FIB_FAILED);
}

static bool is_unused(void *, uint16_t, const struct ip_addr *)
{
	return false;
}

// A stale neighbour is probed (unicast) on refresh and fails when it does not answer.
static void test_refresh(void **state)
{
	struct env *env = *state;
	uint8_t f[FRAME_MAX];

	assert_int_equal(system("ip neigh flush dev wan0"), 0);
	assert_int_equal(
		system("ip neigh replace 192.0.2.7 lladdr 02:bb:00:00:00:02 dev wan0 nud stale"),
		0);
	wait_verdict(env, "192.0.2.7", FIB_FORWARD);
	assert_int_equal(kni_neigh_refresh(env->mirror, env->nl, is_unused, NULL, 10), 0);
	assert_int_equal(kni_neigh_refresh(env->mirror, env->nl, NULL, NULL, 0), 0);
	frame_drain(env);
	assert_int_equal(kni_neigh_refresh(env->mirror, env->nl, NULL, NULL, 10), 1);
	frame_await(env, f, is_arp_request);
	assert_memory_equal(f, peer_mac, 6);
	wait_verdict(env, "192.0.2.7", FIB_FAILED);
}

// Lost notifications: the mirror dumps again.
static void test_lost(void **state)
{
	struct env *env = *state;
	int size = 1;
	FILE *batch;

	assert_int_equal(
		setsockopt(mirror_fd(env->mirror), SOL_SOCKET, SO_RCVBUF, &size, sizeof(size)), 0);
	batch = popen("ip -batch -", "w");
	assert_non_null(batch);
	for (int i = 0; i < 200; i++)
		fprintf(batch, "route add 198.18.%d.0/24 via 192.0.2.33\n", i);
	assert_int_equal(pclose(batch), 0);
	assert_int_equal(mirror_handle(env->mirror, now_ms()), 1);
	fib_rebuild(env);
	for (int i = 0; i < 200; i++) {
		struct fib_adj adj;
		char text[IP_TEXT_SIZE];

		snprintf(text, sizeof(text), "198.18.%d.1", i);
		assert_int_equal(lookup(env, text, &adj), FIB_RESOLVE);
		assert_string_equal(ip_addr_format(&adj.next_hop, text), "192.0.2.33");
	}
}

// What the kernel drops silently when addresses and links go.
static void test_removal(void **state)
{
	struct env *env = *state;

	assert_int_equal(system("ip route add 203.0.113.0/24 dev wan0 src 192.0.2.1"), 0);
	wait_verdict(env, "203.0.113.9", FIB_RESOLVE);
	wait_verdict(env, "192.0.2.1", FIB_LOCAL);
	assert_int_equal(kni_addr_flush(env->nl, env->ifindex), 0);
	assert_true(has_link_local("wan0"));
	wait_verdict(env, "192.0.2.1", FIB_NO_ROUTE);
	wait_verdict(env, "203.0.113.9", FIB_NO_ROUTE);
	wait_verdict(env, "2001:db8::1", FIB_RESOLVE);

	add_addr(env, env->ifindex, "192.0.2.1", 24);
	add_route(env, "0.0.0.0/0", env->ifindex, "192.0.2.254", 0);
	wait_verdict(env, "198.51.100.1", FIB_RESOLVE);
	assert_int_equal(kni_link_down(env->nl, env->ifindex), 0);
	wait_verdict(env, "198.51.100.1", FIB_NO_ROUTE);
	wait_verdict(env, "192.0.2.50", FIB_NO_ROUTE);
	assert_int_equal(kni_tap_write(env->tap, broadcast, sizeof(broadcast)), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_devices),
		cmocka_unit_test(test_errors),
		cmocka_unit_test(test_fib),
		cmocka_unit_test(test_arp_answer),
		cmocka_unit_test(test_nd_answer),
		cmocka_unit_test(test_resolve_v4),
		cmocka_unit_test(test_resolve_v6),
		cmocka_unit_test(test_failure),
		cmocka_unit_test(test_refresh),
		cmocka_unit_test(test_lost),
		cmocka_unit_test(test_removal),
	};

	if (geteuid() != 0) {
		printf("skipped: needs root\n");
		return 77;
	}
	if (unshare(CLONE_NEWNET) < 0) {
		printf("skipped: unshare(CLONE_NEWNET): %s\n", strerror(errno));
		return 77;
	}
	if (access("/dev/net/tun", R_OK | W_OK) < 0) {
		printf("skipped: /dev/net/tun: %s\n", strerror(errno));
		return 77;
	}
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
