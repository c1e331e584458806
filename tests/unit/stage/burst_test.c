// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "dataplane/flow/flow_table.h"
#include "tests/unit/eal.h"
#include "tests/unit/rand.h"
#include "tests/unit/stage/world.h"
#include "tests/unit/unit.h"

#include <rte_ether.h>
#include <sodium.h>

#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>

// The same packets, one at a time and in bursts, must leave the same packets, counters and state.
// They are drawn at random: right ones, hostile ones, forged ones, replays, keys that change between
// them, from both sides. One at a time, every packet also takes the long way through demux.
//
// What a burst may do differently:
//
//   - answers of the gateway to a client are encrypted at the end: their counters, their place among
//     others and, if a new keypair was confirmed meanwhile, their key are not compared
//   - a forgery on a counter or a keypair that a genuine packet of the same burst has used up or
//     retired is refused for its tag
//   - whether a keepalive is due depends on what was sent meanwhile

enum {
	CLIENTS = 3,
	CHUNKS = 300,
	REKEY_EVERY = 10, // chunks
	INNER_MAX = 1300,
	FRAMES_KEPT = 64, // for replays
	KEYS = 3,
};

// What came out, was counted and stayed after a chunk.
struct digest {
	uint64_t lan, lan_order; // by content alone; forwarded packets in their order
	uint64_t client, client_order;
	uint64_t punted, events;
	uint64_t counters[DROP_REASON_COUNT + DP_PUNT_COUNT + 3];
	uint64_t clients, flows;
};

struct player {
	struct unit_rand r;
	struct world *wd;
	struct world_keys keys[CLIENTS][KEYS]; // newest first
	uint8_t generation[CLIENTS];
	struct packet kept[FRAMES_KEPT];
	unsigned n_kept;
	uint64_t start;
	struct digest digest[CHUNKS];
};

static bool chance(struct player *p, unsigned percent)
{
	return unit_rand_below(&p->r, 100) < percent;
}

// Same random bytes for both runs: the flow table's seed decides which NAT ports are taken.
static uint32_t fixed_random(void)
{
	return 0x5a11;
}

static const char *fixed_name(void)
{
	return "fixed";
}

static void fixed_fill(void *const out, const size_t size)
{
	memset(out, 0x5a, size);
}

static randombytes_implementation fixed = {
	.implementation_name = fixed_name,
	.random = fixed_random,
	.buf = fixed_fill,
};

static uint64_t hash(const void *data, size_t size)
{
	static const uint8_t key[crypto_shorthash_KEYBYTES];
	uint8_t out[crypto_shorthash_BYTES];
	uint64_t v;

	crypto_shorthash(out, data, size, key);
	memcpy(&v, out, sizeof(v));
	return v;
}

// Packets -------------------------------------------------------------------------------------

static const char *pick(struct player *p, const char *const *texts, unsigned n)
{
	// The first one is the usual one.
	return texts[chance(p, 75) ? 0 : unit_rand_below(&p->r, n)];
}

static void addresses(struct player *p, unsigned slot, char src[64], const char **dst)
{
	static const char *const v4[] = {
		WORLD_SERVER_V4,
		"10.0.0.1",
		WORLD_GATEWAY_V4,
		"100.64.0.2",
		"224.0.0.5",
		"203.0.113.1",
		"255.255.255.255"};
	static const char *const v6[] = {
		WORLD_SERVER_V6,
		"2001:db8:77::1",
		WORLD_GATEWAY_V6,
		"fd00:2021:1111::2",
		"ff02::1",
		"2001:db8:1::1",
		"::"};
	unsigned from = chance(p, 95) ? slot : unit_rand_below(&p->r, 5);
	bool is_v6 = chance(p, 35);

	snprintf(src, 64, is_v6 ? "fd00:2021:1111::%u" : "100.64.0.%u", from + 1);
	*dst = is_v6 ? pick(p, v6, COUNT_OF(v6)) : pick(p, v4, COUNT_OF(v4));
}

static uint16_t client_port(struct player *p)
{
	// Some outside the NAT range, some that clients share.
	return (uint16_t)(chance(p, 80) ? 20000 + unit_rand_below(&p->r, 40) : 1000 + unit_rand_below(&p->r, 3));
}

static void damage(struct player *p, struct packet *packet, size_t within)
{
	unsigned n = 1 + unit_rand_below(&p->r, 3);

	if (packet->size < within)
		within = packet->size;
	while (within > 0 && n-- > 0)
		packet->bytes[unit_rand_below(&p->r, (uint32_t)within)] ^=
			(uint8_t)(1u << unit_rand_below(&p->r, 8));
}

static struct packet
plain_packet(struct player *p, const char *src, uint16_t sport, const char *dst, uint16_t dport)
{
	static const uint8_t flags[] = {PACKET_SYN, PACKET_ACK, PACKET_ACK, PACKET_FIN, PACKET_RST};
	uint8_t body[64] = {0x45, [3] = 40, [8] = 64, [9] = 17};
	size_t size = unit_rand_below(&p->r, chance(p, 80) ? 200 : INNER_MAX - 60);

	switch (unit_rand_below(&p->r, 12)) {
	case 0:
	case 1:
	case 2:
	case 3:
		return packet_tcp(
			src,
			sport,
			dst,
			dport,
			flags[unit_rand_below(&p->r, COUNT_OF(flags))],
			size);
	case 4:
		return packet_echo(src, dst, chance(p, 50), sport, size);
	case 5:
		return packet_icmp(src, dst, chance(p, 50) ? 3 : 1, 1, 0, body, sizeof(body));
	case 6:
		return packet_proto(src, dst, 47, size);
	default:
		return packet_udp(src, sport, dst, dport, NULL, size);
	}
}

static struct packet inner_make(struct player *p, unsigned slot)
{
	struct packet packet;
	const char *dst;
	char src[64];

	addresses(p, slot, src, &dst);
	packet = plain_packet(p, src, client_port(p), dst, (uint16_t)(80 + chance(p, 10)));
	if (chance(p, 5))
		packet_ttl_set(&packet, (uint8_t)unit_rand_below(&p->r, 3));
	if (chance(p, 10))
		packet_ecn_set(&packet, (uint8_t)unit_rand_below(&p->r, 4));
	if (chance(p, 10))
		damage(p, &packet, chance(p, 50) ? 48 : packet.size);
	if (chance(p, 5))
		packet.size = unit_rand_below(&p->r, (uint32_t)packet.size + 1);
	else if (chance(p, 10)) // padding
		packet.size += unit_rand_below(&p->r, 16);
	return packet;
}

static void header_checksum_fix(struct packet *ip)
{
	uint32_t sum = 0;

	ip->bytes[10] = ip->bytes[11] = 0;
	for (size_t at = 0; at < 20; at += 2)
		sum += packet_u16(ip, at);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = ~(sum + (sum >> 16));
	ip->bytes[10] = (uint8_t)(sum >> 8);
	ip->bytes[11] = (uint8_t)sum;
}

// An IPv4 header with one word of options.
static void options_insert(struct packet *ip)
{
	memmove(ip->bytes + 24, ip->bytes + 20, ip->size - 20);
	memset(ip->bytes + 20, 1, 4);
	ip->bytes[0] = 0x46;
	ip->size += 4;
	ip->bytes[2] = (uint8_t)(ip->size >> 8);
	ip->bytes[3] = (uint8_t)ip->size;
	packet_checksums_fix(ip);
}

static struct packet outer_make(struct player *p, unsigned slot, const uint8_t *msg, size_t size)
{
	static const uint8_t router[6] = {2, 0, 0, 0, 0, 0xfe}, other[6] = {2, 9, 9, 9, 9, 9};
	struct packet ip, frame;
	char from[64];

	snprintf(from, sizeof(from), "198.51.100.%u", 7 + slot);
	ip = packet_udp(
		from,
		WORLD_CLIENT_PORT,
		chance(p, 98) ? "203.0.113.1" : "203.0.113.7",
		(uint16_t)(WORLD_UDP_PORT + chance(p, 2)),
		msg,
		size);
	if (chance(p, 10))
		packet_ecn_set(&ip, (uint8_t)unit_rand_below(&p->r, 4));
	if (chance(p, 3))
		options_insert(&ip);
	if (chance(p, 3)) { // fragments, other protocols, other lengths, with a right checksum
		ip.bytes[2 + unit_rand_below(&p->r, 8)] ^=
			(uint8_t)(1u << unit_rand_below(&p->r, 8));
		header_checksum_fix(&ip);
	}
	frame = packet_ether(chance(p, 98) ? p->wd->mac[WORLD_WAN] : other, router, &ip);
	if (chance(p, 10)) // Ethernet's padding
		frame.size += unit_rand_below(&p->r, 20);
	if (chance(p, 6))
		damage(p, &frame, 46);
	if (chance(p, 2))
		frame.size = unit_rand_below(&p->r, (uint32_t)frame.size + 1);
	return frame;
}

static struct packet wan_make(struct player *p)
{
	unsigned slot = unit_rand_below(&p->r, CLIENTS);
	struct world_keys *k = &p->keys[slot][chance(p, 70) ? 0 : unit_rand_below(&p->r, KEYS)];
	uint8_t msg[PACKET_MAX];
	struct packet inner, frame;
	size_t size;

	if (p->n_kept > 0 && chance(p, 5))
		return p->kept[unit_rand_below(&p->r, RTE_MIN(p->n_kept, FRAMES_KEPT))];
	inner = inner_make(p, slot);
	if (chance(p, 3))
		inner.size = 0; // keepalive
	if (chance(p, 2))
		k->counter += unit_rand_below(&p->r, 200);
	size = world_seal(k, inner.bytes, inner.size, msg);
	if (chance(p, 6)) // forged, or another type, or another index
		msg[unit_rand_below(&p->r, (uint32_t)size)] ^= 1;
	if (chance(p, 2))
		size = unit_rand_below(&p->r, (uint32_t)size);
	frame = outer_make(p, slot, msg, size);
	p->kept[p->n_kept++ % FRAMES_KEPT] = frame;
	return frame;
}

static struct packet lan_make(struct player *p)
{
	bool is_v6 = chance(p, 35);
	const char *server = is_v6 ? WORLD_SERVER_V6 : WORLD_SERVER_V4;
	struct packet packet = plain_packet(
		p,
		server,
		80,
		is_v6 ? WORLD_LAN_V6 : WORLD_LAN_V4,
		(uint16_t)(20000 + unit_rand_below(&p->r, 60)));

	if (chance(p, 5))
		packet_ttl_set(&packet, (uint8_t)unit_rand_below(&p->r, 3));
	if (chance(p, 10))
		damage(p, &packet, chance(p, 50) ? 48 : packet.size);
	if (chance(p, 3))
		packet.size = unit_rand_below(&p->r, (uint32_t)packet.size + 1);
	return packet;
}

// What came of it ------------------------------------------------------------------------------

static bool is_forwarded(const uint8_t *ip, size_t size)
{
	uint8_t proto = ip[ip[0] >> 4 == 4 ? 9 : 6];

	return size >= 20 && proto != IPPROTO_ICMP && proto != IPPROTO_ICMPV6;
}

static void order_add(uint64_t *order, uint64_t h)
{
	uint64_t both[2] = {*order, h};

	*order = hash(both, sizeof(both));
}

static void lan_collect(struct player *p, struct digest *d)
{
	struct packet frame;

	while (world_take(p->wd, WORLD_LAN, &frame)) {
		uint64_t h = hash(frame.bytes, frame.size);

		d->lan += h;
		if (is_forwarded(frame.bytes + RTE_ETHER_HDR_LEN, frame.size - RTE_ETHER_HDR_LEN))
			order_add(&d->lan_order, h);
	}
}

// Opened, because counters may be dealt out in another order. @return the inner size
static size_t frame_open(const struct packet *frame, unsigned slot, uint8_t *inner)
{
	const uint8_t *msg = frame->bytes + RTE_ETHER_HDR_LEN + 28;
	uint8_t key[DP_KEY_SIZE], nonce[12] = {0};
	unsigned long long size;

	// As world_keypair_add() makes them.
	memset(key, (int)(0x80 + slot * 16 + msg[4]), sizeof(key));
	memcpy(nonce + 4, msg + 8, 8);
	assert_int_equal(
		crypto_aead_chacha20poly1305_ietf_decrypt(
			inner,
			&size,
			NULL,
			msg + 16,
			frame->size - (size_t)(msg - frame->bytes) - 16,
			NULL,
			0,
			nonce,
			key),
		0);
	return (size_t)size;
}

static void client_collect(struct player *p, struct digest *d)
{
	struct packet frame, inner;

	while (world_take(p->wd, WORLD_WAN, &frame)) {
		const uint8_t *ip = frame.bytes + RTE_ETHER_HDR_LEN;
		unsigned slot = ip[19] - 7u;
		uint64_t h;

		assert_true(packet_checksums_are_ok(ip, frame.size - RTE_ETHER_HDR_LEN));
		inner.size = frame_open(&frame, slot, inner.bytes);
		// The outer ECN and who it is for ride along.
		inner.bytes[inner.size] = ip[1];
		inner.bytes[inner.size + 1] = (uint8_t)slot;
		h = hash(inner.bytes, inner.size + 2);
		d->client += h;
		if (inner.size > 0 && is_forwarded(inner.bytes, inner.size))
			order_add(&d->client_order, h);
	}
}

static void punts_collect(struct player *p, struct digest *d)
{
	struct dp_event event;
	struct packet packet;
	struct dp_meta meta;

	for (unsigned class_ = 0; class_ < DP_PUNT_COUNT; class_++)
		while (world_punt(p->wd, class_, &packet, &meta))
			d->punted += hash(packet.bytes, packet.size)
				+ hash(&meta, sizeof(meta)) * (class_ + 1);
	while (world_event(p->wd, &event))
		d->events += hash(&event.slot, sizeof(event.slot)) * ((uint64_t)event.type + 1);
}

static void counters_collect(const struct worker *w, struct digest *d)
{
	struct flow_table_stats flows;
	uint64_t *at = d->counters;

	flow_table_stats_get(w->flows, &flows);

	for (unsigned i = 0; i < DROP_REASON_COUNT; i++)
		*at++ = w->stats.drops[i];
	// See the top.
	d->counters[DROP_wg_auth] +=
		d->counters[DROP_wg_replay] + d->counters[DROP_wg_unknown_index];
	d->counters[DROP_wg_replay] = d->counters[DROP_wg_unknown_index] = 0;
	for (unsigned i = 0; i < DP_PUNT_COUNT; i++)
		*at++ = w->stats.punted[i];
	*at++ = w->stats.decrypted;
	*at++ = w->stats.encrypted;
	*at = flows.created;
}

static void state_collect(const struct player *p, struct digest *d)
{
	const struct worker *w = p->wd->w;

	for (unsigned slot = 0; slot < CLIENTS; slot++) {
		const struct client *c = &w->clients[slot];
		struct dp_client_stats stats = c->stats;

		stats.last_rx_tsc -= stats.last_rx_tsc != 0 ? p->start : 0;
		stats.last_tx_tsc -= stats.last_tx_tsc != 0 ? p->start : 0;
		order_add(&d->clients, hash(&stats, sizeof(stats)));
		order_add(&d->clients, hash(c->role, sizeof(c->role)));
		order_add(&d->clients, hash(c->local_index, sizeof(c->local_index)));
		order_add(&d->clients, c->icmp_tat != 0 ? c->icmp_tat - p->start : 0);
		for (unsigned i = 0; i < CLIENT_KEYPAIRS; i++) {
			const struct keypair *k = &c->keypairs[i];

			order_add(&d->clients, hash(k->recv_key, sizeof(k->recv_key)));
			order_add(&d->clients, hash(&k->replay, sizeof(k->replay)));
		}
	}
	for (uint32_t i = 0; i < w->flows->max_flows; i++) {
		struct flow f = w->flows->flows[i];

		if (f.expires_tsc != 0 && f.expires_tsc != UINT64_MAX)
			f.expires_tsc -= p->start;
		order_add(&d->flows, hash(&f, sizeof(f)));
	}
}

// Playing --------------------------------------------------------------------------------------

static void rekey(struct player *p, unsigned slot)
{
	uint8_t n = p->generation[slot]++;

	assert_in_range(n, 0, 15);
	memmove(&p->keys[slot][1], &p->keys[slot][0], (KEYS - 1) * sizeof(p->keys[slot][0]));
	p->keys[slot][0] = world_keypair_add(p->wd, slot, n, n == 0);
}

static void chunk_play(struct player *p, struct digest *d, bool is_burst)
{
	unsigned n_wan = 1 + unit_rand_below(&p->r, DP_BURST_MAX);
	unsigned n_lan = unit_rand_below(&p->r, DP_BURST_MAX + 1);

	for (unsigned i = 0; i < n_wan + n_lan; i++) {
		struct packet packet = i < n_wan ? wan_make(p) : lan_make(p);

		if (i < n_wan)
			world_wan_put(p->wd, &packet);
		else
			world_lan_put(p->wd, &packet);
		if (is_burst)
			continue;
		// Without a memory of our own address, demux takes the long way.
		p->wd->w->local_generation = 0;
		world_run(p->wd);
	}
	world_run(p->wd);
	lan_collect(p, d);
	client_collect(p, d);
	punts_collect(p, d);
	counters_collect(p->wd->w, d);
	state_collect(p, d);
}

static struct player *play(uint64_t seed, bool is_burst)
{
	struct player *p = calloc(1, sizeof(*p));
	void *state = NULL;

	assert_non_null(p);
	p->r = (struct unit_rand){.state = seed};
	assert_int_equal(world_setup(&state), 0);
	p->wd = state;
	p->wd->now = p->start = p->wd->w->flows->base + 10 * p->wd->w->tsc_hz;
	for (unsigned slot = 0; slot < CLIENTS; slot++) {
		if (slot > 0)
			world_client_add(p->wd, slot);
		for (unsigned i = 0; i < KEYS; i++)
			rekey(p, slot);
		world_policy_open(
			p->wd, slot, slot == 2 ? p->start + 3 * p->wd->w->tsc_hz : UINT64_MAX);
	}
	for (unsigned i = 0; i < CHUNKS; i++) {
		if (i % REKEY_EVERY == 0)
			rekey(p, i / REKEY_EVERY % CLIENTS);
		chunk_play(p, &p->digest[i], is_burst);
		// Less than 10 s in all, so that no timer runs; enough for the rate of ICMP answers.
		p->wd->now += p->wd->w->tsc_hz / 50;
	}
	assert_int_equal(world_teardown(&state), 0);
	return p;
}

static void one_by_one_like_bursts(void **)
{
	struct unit_rand seed = unit_rand_init(64);
	struct player *one = play(seed.state, false), *burst = play(seed.state, true);
	const struct digest *last = &one->digest[CHUNKS - 1];

	for (unsigned i = 0; i < CHUNKS; i++) {
		const struct digest *a = &one->digest[i], *b = &burst->digest[i];

		for (size_t j = 0; j < COUNT_OF(a->counters); j++)
			if (a->counters[j] != b->counters[j])
				fail_msg(
					"chunk %u: counter %zu (%s) is %llu one by one, %llu in "
					"bursts",
					i,
					j,
					j < DROP_REASON_COUNT ? drop_reason_name(j) : "no drop",
					(unsigned long long)a->counters[j],
					(unsigned long long)b->counters[j]);
		assert_int_equal(a->lan, b->lan);
		assert_int_equal(a->lan_order, b->lan_order);
		assert_int_equal(a->client, b->client);
		assert_int_equal(a->client_order, b->client_order);
		assert_int_equal(a->punted, b->punted);
		assert_int_equal(a->events, b->events);
		assert_int_equal(a->clients, b->clients);
		assert_int_equal(a->flows, b->flows);
	}
	// That much of everything was there.
	assert_in_range(last->counters[DROP_REASON_COUNT + DP_PUNT_COUNT], 3000, UINT64_MAX);
	assert_in_range(last->counters[DROP_REASON_COUNT + DP_PUNT_COUNT + 1], 2000, UINT64_MAX);
	assert_in_range(last->counters[DROP_REASON_COUNT + DP_PUNT_COUNT + 2], 100, UINT64_MAX);
	free(one);
	free(burst);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_by_one_like_bursts),
	};

	randombytes_set_implementation(&fixed);
	return cmocka_run_group_tests(tests, unit_eal_init, unit_eal_fini);
}
