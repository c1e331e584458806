// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "control/path/turn_channel.h"
#include "dataplane/port/port.h"
#include "dataplane/stage/checksum.h"
#include "dataplane/stage/stage.h"
#include "dataplane/worker/handoff.h"

#include <rte_ether.h>
#include <rte_prefetch.h>

#include <netinet/in.h>

enum {
	PREFETCH_AHEAD = 12, // frames: at 50 cycles each, longer than memory takes
	UDP_SIZE = 8,
	STUN_SIZE = 20,
	PLAIN_HEADERS = RTE_ETHER_HDR_LEN + 20 + UDP_SIZE,
	V4_FRAGMENT_MASK = 0x3fff, // MF and offset
};

// What is known of a frame that carries IP.
struct frame {
	const uint8_t *ip;
	uint32_t size; // of the IP packet
	uint32_t l4; // offset of the transport header from ip; UDP only
	uint8_t family;
	bool is_udp;
	uint8_t ecn;
};

static void punt_host(struct worker *w, uint16_t port_id, struct rte_mbuf *m)
{
	struct dp_meta *meta = rte_mbuf_to_priv(m);

	*meta = (struct dp_meta){.port_id = port_id, .l3_offset = RTE_ETHER_HDR_LEN};
	punt_send(w, DP_PUNT_HOST, m);
}

static void punt_payload(
	struct worker *w,
	uint16_t port_id,
	struct rte_mbuf *m,
	enum dp_punt class_,
	uint32_t offset,
	uint32_t size)
{
	struct dp_meta *meta = rte_mbuf_to_priv(m);

	*meta = (struct dp_meta){
		.port_id = port_id,
		.l3_offset = RTE_ETHER_HDR_LEN,
		.payload_offset = (uint16_t)offset,
		.payload_size = (uint16_t)size,
	};
	punt_send(w, class_, m);
}

// RFC 8489 5: two zero bits, the magic cookie, a length of whole words.
static bool is_stun(const uint8_t *p, uint32_t size)
{
	static const uint8_t cookie[4] = {0x21, 0x12, 0xa4, 0x42};

	return size >= STUN_SIZE && (p[0] & 0xc0) == 0 && memcmp(p + 4, cookie, 4) == 0
		&& (p[3] & 3) == 0;
}

// Decrypt will look for the keypair in the client's first line.
static void client_prefetch(const struct worker *w, const uint8_t *payload, uint32_t size)
{
	const struct noise_msg_data *msg = (const void *)payload;
	uint32_t slot;

	if (size < sizeof(*msg))
		return;
	slot = noise_le32_get(msg->receiver_index) >> 8;
	if (slot < w->max_clients)
		rte_prefetch0(&w->clients[slot]);
}

// @return whose the client of a data message is; ours, if nobody's
static unsigned data_owner(const struct worker *w, const struct rte_mbuf *m)
{
	const struct noise_msg_data *msg = rte_pktmbuf_mtod(m, const struct noise_msg_data *);
	uint32_t slot;

	if (w->n_workers == 1 || m->data_len < NOISE_DATA_SIZE_MIN)
		return w->index;
	slot = noise_le32_get(msg->receiver_index) >> 8;
	return slot < w->max_clients ? owner_get(w->published->owners, slot) : w->index;
}

static bool is_from_relay(const struct worker *w, const struct frame *f)
{
	size_t addr_size = f->family == IP_FAMILY_V4 ? 4 : 16;
	const uint8_t *src = f->ip + (f->family == IP_FAMILY_V4 ? 12 : 8);
	uint16_t port = (uint16_t)((unsigned)f->ip[f->l4] << 8 | f->ip[f->l4 + 1]);

	for (size_t i = 0; i < w->relays->n; i++) {
		const struct ip_endpoint *relay = &w->relays->relay[i];

		if (relay->port == port && relay->addr.family == f->family
		    && memcmp(relay->addr.bytes, src, addr_size) == 0)
			return true;
	}
	return false;
}

static inline void demux_data(
	struct worker *w,
	uint16_t port_id,
	struct rte_mbuf *m,
	uint8_t ecn,
	uint32_t offset,
	uint32_t size,
	uint8_t outer_size)
{
	unsigned owner;
	uint16_t i;

	rte_pktmbuf_adj(m, (uint16_t)offset);
	rte_pktmbuf_trim(m, (uint16_t)(m->data_len - size));
	owner = data_owner(w, m);
	if (unlikely(owner != w->index)) {
		handoff_up(w, owner, m, port_id, ecn, outer_size);
		return;
	}
	client_prefetch(w, rte_pktmbuf_mtod(m, const uint8_t *), size);
	i = burst_push(&w->up, m);
	w->up.outer_ecn[i] = ecn;
	w->up.outer_size[i] = outer_size;
	w->up.port_id[i] = port_id;
}

/*
 * ChannelData (RFC 8656 12.4) from a relay of ours. Which peer the channel belongs to matters only
 * to control: data finds its client by the receiver index and proves itself.
 */
static void demux_channel(
	struct worker *w,
	uint16_t port_id,
	struct rte_mbuf *m,
	const struct frame *f,
	uint32_t offset,
	uint32_t size)
{
	const uint8_t *payload = rte_pktmbuf_mtod_offset(m, const uint8_t *, offset);
	enum dp_punt class_ = DP_PUNT_STUN;
	uint16_t channel;

	if (!is_from_relay(w, f)) {
		worker_drop(w, m, DROP_relay_unknown);
		return;
	}
	if (!turn_channel_header_parse(payload, size, &channel)) {
		worker_drop(w, m, DROP_relay_framing);
		return;
	}
	switch (noise_msg_type_get(
		payload + TURN_CHANNEL_HEADER_SIZE, size - TURN_CHANNEL_HEADER_SIZE)) {
	case NOISE_MSG_DATA:
		// The address is the relay's: nobody to follow.
		demux_data(
			w,
			port_id,
			m,
			f->ecn,
			offset + TURN_CHANNEL_HEADER_SIZE,
			size - TURN_CHANNEL_HEADER_SIZE,
			0);
		return;
	case NOISE_MSG_INITIATION:
	case NOISE_MSG_RESPONSE:
	case NOISE_MSG_COOKIE_REPLY:
		class_ = DP_PUNT_HANDSHAKE;
		break;
	default:
		break;
	}
	punt_payload(w, port_id, m, class_, offset, size);
}

// A datagram to our port. Its UDP checksum does not matter: all that is acted upon authenticates.
static void
demux_ours(struct worker *w, uint16_t port_id, struct rte_mbuf *m, const struct frame *f)
{
	uint32_t offset = f->l4 + UDP_SIZE;
	const uint8_t *payload = f->ip + offset;
	uint32_t udp_size = (uint32_t)f->ip[f->l4 + 4] << 8 | f->ip[f->l4 + 5];
	uint32_t size;

	if (udp_size < UDP_SIZE || udp_size > f->size - f->l4) {
		worker_drop(w, m, DROP_rx_malformed);
		return;
	}
	size = udp_size - UDP_SIZE;
	offset += RTE_ETHER_HDR_LEN;
	switch (noise_msg_type_get(payload, size)) {
	case NOISE_MSG_DATA:
		demux_data(w, port_id, m, f->ecn, offset, size, (uint8_t)(f->l4 + UDP_SIZE));
		return;
	case NOISE_MSG_INITIATION:
	case NOISE_MSG_RESPONSE:
	case NOISE_MSG_COOKIE_REPLY:
		punt_payload(w, port_id, m, DP_PUNT_HANDSHAKE, offset, size);
		return;
	default:
		break;
	}
	if (is_stun(payload, size))
		punt_payload(w, port_id, m, DP_PUNT_STUN, offset, size);
	else if (size >= TURN_CHANNEL_HEADER_SIZE && turn_channel_is_first_byte(payload[0]))
		demux_channel(w, port_id, m, f, offset, size);
	else
		worker_drop(w, m, DROP_rx_unknown_type);
}

static bool frame_v4_parse(struct frame *f)
{
	const uint8_t *ip = f->ip;

	f->l4 = (ip[0] & 0x0fu) * 4;
	f->ecn = ip[1] & 3;
	if (f->l4 < 20 || f->l4 > f->size)
		return false;
	f->is_udp = ip[9] == IPPROTO_UDP && ((ip[6] << 8 | ip[7]) & V4_FRAGMENT_MASK) == 0
		&& f->size - f->l4 >= UDP_SIZE;
	return true;
}

static bool frame_v6_parse(struct frame *f)
{
	const uint8_t *ip = f->ip;

	f->l4 = 40;
	f->ecn = ip[1] >> 4 & 3;
	f->is_udp = ip[6] == IPPROTO_UDP && f->size - f->l4 >= UDP_SIZE;
	return true;
}

static bool
frame_checksum_is_ok(const struct port *port, const struct rte_mbuf *m, const uint8_t *ip)
{
	if (port->has_rx_ip_cksum) {
		uint64_t flags = m->ol_flags & RTE_MBUF_F_RX_IP_CKSUM_MASK;

		if (flags == RTE_MBUF_F_RX_IP_CKSUM_GOOD)
			return true;
	}
	return csum_ipv4_is_ok(ip);
}

static void demux_ip(struct worker *w, const struct port *port, struct rte_mbuf *m, uint8_t family)
{
	uint32_t room = m->data_len - (uint32_t)RTE_ETHER_HDR_LEN;
	struct frame f = {
		.ip = rte_pktmbuf_mtod_offset(m, const uint8_t *, RTE_ETHER_HDR_LEN),
		.family = family,
	};
	const uint8_t *dst;
	uint16_t i;

	f.size = ip_claimed_size(f.ip, room);
	if (f.size == 0 || f.size > room || f.ip[0] >> 4 != family
	    || !(family == IP_FAMILY_V4 ? frame_v4_parse(&f) : frame_v6_parse(&f))) {
		worker_drop(w, m, DROP_rx_malformed);
		return;
	}
	if (family == IP_FAMILY_V4 && !frame_checksum_is_ok(port, m, f.ip)) {
		worker_drop(w, m, DROP_ip_checksum);
		return;
	}
	// Ethernet pads short frames.
	rte_pktmbuf_trim(m, (uint16_t)(room - f.size));
	dst = f.ip + (family == IP_FAMILY_V4 ? 16 : 24);
	if (f.is_udp && memcmp(f.ip + f.l4 + 2, &w->udp_port, 2) == 0
	    && worker_is_local(w, family, dst)) {
		demux_ours(w, port->id, m, &f);
		return;
	}
	if (ip_is_multicast(family, dst)) {
		punt_host(w, port->id, m);
		return;
	}
	rte_pktmbuf_adj(m, RTE_ETHER_HDR_LEN);
	i = burst_push(&w->down, m);
	w->down.port_id[i] = port->id;
}

static void demux_one(struct worker *w, const struct port *port, struct rte_mbuf *m)
{
	const struct rte_ether_hdr *eth = rte_pktmbuf_mtod(m, const struct rte_ether_hdr *);
	bool is_group;

	if (unlikely(m->nb_segs > 1 || m->data_len < RTE_ETHER_HDR_LEN)) {
		worker_drop(w, m, DROP_rx_malformed);
		return;
	}
	is_group = (eth->dst_addr.addr_bytes[0] & 1) != 0;
	if (unlikely(!is_group && memcmp(eth->dst_addr.addr_bytes, port->mac, 6) != 0)) {
		worker_drop(w, m, DROP_rx_other_host);
		return;
	}
	switch (eth->ether_type) {
	case RTE_BE16(RTE_ETHER_TYPE_IPV4):
	case RTE_BE16(RTE_ETHER_TYPE_IPV6):
		break;
	case RTE_BE16(RTE_ETHER_TYPE_VLAN):
	case RTE_BE16(RTE_ETHER_TYPE_QINQ):
		worker_drop(w, m, DROP_rx_vlan);
		return;
	default:
		punt_host(w, port->id, m);
		return;
	}
	if (is_group)
		punt_host(w, port->id, m);
	else if (eth->ether_type == RTE_BE16(RTE_ETHER_TYPE_IPV4))
		demux_ip(w, port, m, IP_FAMILY_V4);
	else
		demux_ip(w, port, m, IP_FAMILY_V6);
}

// What nearly all frames have in common, as words to compare with. Those that differ in anything
// take the long way above, which knows every case.
struct plain {
	uint64_t mac; // of the port, in the lower 48 bits
	uint32_t local; // our address of last time, wire bytes
	bool has_local;
};

#define MAC_MASK UINT64_C(0xffffffffffff)

static inline uint64_t load64(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

static inline uint32_t load32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

static inline uint16_t load_be16(const uint8_t *p)
{
	rte_be16_t v;

	memcpy(&v, p, sizeof(v));
	return rte_be_to_cpu_16(v);
}

static struct plain plain_make(const struct worker *w, const struct port *port)
{
	struct plain plain = {
		.has_local = w->local_generation == w->fib_generation && w->fib_generation != 0
			&& w->local_v4.family == IP_FAMILY_V4,
	};

	memcpy(&plain.mac, port->mac, sizeof(port->mac));
	memcpy(&plain.local, w->local_v4.bytes, sizeof(plain.local));
	return plain;
}

// A unicast frame to us with an IPv4 packet of @p size bytes whose header has no options and no
// fault.
static inline bool plain_is_v4(
	const struct plain *plain,
	const struct port *port,
	const struct rte_mbuf *m,
	const uint8_t *p,
	uint32_t *size)
{
	if (unlikely(m->nb_segs > 1 || m->data_len < PLAIN_HEADERS))
		return false;
	*size = load_be16(p + 16);
	// EtherType, version and header length; the fourth byte is DSCP and ECN.
	return (load64(p) & MAC_MASK) == plain->mac && (load32(p + 12) & 0xffffff) == 0x450008
		&& *size >= PLAIN_HEADERS - RTE_ETHER_HDR_LEN
		&& *size <= m->data_len - (uint32_t)RTE_ETHER_HDR_LEN
		&& frame_checksum_is_ok(port, m, p + RTE_ETHER_HDR_LEN);
}

// A datagram to our port, no fragment. @return whether it was transport data for us
static inline bool plain_data(
	struct worker *w,
	const struct plain *plain,
	uint16_t port_id,
	struct rte_mbuf *m,
	const uint8_t *p,
	uint32_t size)
{
	uint32_t udp_size = load_be16(p + 38);

	if (!plain->has_local || load32(p + 30) != plain->local
	    || udp_size < UDP_SIZE + NOISE_DATA_SIZE_MIN || udp_size > size - 20
	    || load32(p + PLAIN_HEADERS) != NOISE_MSG_DATA)
		return false;
	demux_data(
		w,
		port_id,
		m,
		p[15] & 3,
		PLAIN_HEADERS,
		udp_size - UDP_SIZE,
		PLAIN_HEADERS - RTE_ETHER_HDR_LEN);
	return true;
}

// @return whether it was one of the usual frames and is dealt with
static inline bool demux_plain(
	struct worker *w,
	const struct plain *plain,
	const struct port *port,
	struct rte_mbuf *m)
{
	const uint8_t *p = rte_pktmbuf_mtod(m, const uint8_t *);
	uint32_t size;
	uint16_t i;

	if (unlikely(!plain_is_v4(plain, port, m, p, &size)))
		return false;
	// MF and offset zero, protocol UDP, destination port ours.
	if ((load32(p + 20) & 0xff00ff3f) == (uint32_t)IPPROTO_UDP << 24
	    && memcmp(p + 36, &w->udp_port, 2) == 0)
		return plain_data(w, plain, port->id, m, p, size);
	if (unlikely(ip_is_multicast(IP_FAMILY_V4, p + 30)))
		return false;
	rte_pktmbuf_trim(m, (uint16_t)(m->data_len - RTE_ETHER_HDR_LEN - size));
	rte_pktmbuf_adj(m, RTE_ETHER_HDR_LEN);
	i = burst_push(&w->down, m);
	w->down.port_id[i] = port->id;
	return true;
}

static void frame_prefetch(const struct rte_mbuf *m)
{
	const uint8_t *p = rte_pktmbuf_mtod(m, const uint8_t *);

	rte_prefetch0(p);
	rte_prefetch0(p + RTE_CACHE_LINE_SIZE);
}

void stage_demux(struct worker *w, uint16_t port_id, struct rte_mbuf **pkts, uint16_t n)
{
	const struct port *port = w->tx[port_id].port;
	struct plain plain = plain_make(w, port);

	burst_reset(&w->up);
	burst_reset(&w->down);
	for (uint16_t i = 0; i < n && i < PREFETCH_AHEAD; i++)
		frame_prefetch(pkts[i]);
	for (uint16_t i = 0; i < n; i++) {
		if (i + PREFETCH_AHEAD < n)
			frame_prefetch(pkts[i + PREFETCH_AHEAD]);
		if (likely(demux_plain(w, &plain, port, pkts[i])))
			continue;
		demux_one(w, port, pkts[i]);
		// It may have found another address of ours.
		plain = plain_make(w, port);
	}
}
