// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

/**
 * Every reason for which the data plane gives up a packet, once. The list makes the enum, the
 * counters, the telemetry (/sallyport/drops) and the table in the documentation.
 *
 * X(name, text)
 */
#define DROP_REASONS(X)                                                                            \
	X(rx_malformed, "frame too short or IP header inconsistent")                               \
	X(rx_vlan, "VLAN tag that no port carries")                                                \
	X(rx_other_host, "unicast frame for another station")                                      \
	X(rx_spoofed, "source in the tunnel range outside a tunnel")                               \
	X(rx_unknown_type, "datagram to our port that is neither WireGuard nor STUN")              \
	X(relay_unknown, "ChannelData from an address that is none of our relays")                 \
	X(relay_framing, "ChannelData whose length is not that of the datagram")                   \
	X(ip_checksum, "bad IPv4 header checksum")                                                 \
	X(l4_checksum, "bad TCP, UDP or ICMP checksum")                                            \
	X(ip_fragment, "fragment, which the tunnel never carries")                                 \
	X(wg_short, "WireGuard data shorter than header and tag")                                  \
	X(wg_unknown_index, "receiver index of no keypair")                                        \
	X(wg_expired, "keypair older than REJECT_AFTER_TIME or used up")                           \
	X(wg_auth, "AEAD tag wrong")                                                               \
	X(wg_replay, "counter already seen or behind the window")                                  \
	X(wg_no_keypair, "no keypair to send on")                                                  \
	X(wg_no_path, "no nominated path to the client")                                           \
	X(inner_malformed, "inner packet not well formed")                                         \
	X(inner_too_big, "inner packet over 1280 bytes")                                           \
	X(inner_multicast, "inner destination multicast")                                          \
	X(inner_icmp_error, "ICMP error from a client")                                            \
	X(inner_spoofed, "inner source is not the client's; answered prohibited")                  \
	X(inner_tunnel_dst, "another tunnel address; answered prohibited")                         \
	X(policy_prohibited, "no authorization; answered prohibited")                              \
	X(policy_unreachable, "blocked for the Internet resource; answered unreachable")           \
	X(policy_reply, "reply no longer authorized")                                              \
	X(icmp_limited, "ICMP answer over the client's rate")                                      \
	X(ttl_expired, "TTL or hop limit ran out; answered time exceeded")                         \
	X(flow_table_full, "no free flow entry")                                                   \
	X(nat_ports_full, "no free NAT port toward the destination")                               \
	X(no_flow, "from the LAN without a flow")                                                  \
	X(no_route, "no route to the destination")                                                 \
	X(no_source, "egress port has no address of the family")                                   \
	X(mtu_exceeded, "over 1280 bytes toward a client; answered too big where allowed")         \
	X(neigh_failed, "next hop did not resolve")                                                \
	X(neigh_timeout, "held too long for its next hop")                                         \
	X(neigh_hold_full, "too many packets wait for next hops")                                  \
	X(punt_full, "punt ring full")                                                             \
	X(handoff_full, "ring to the owning worker full")                                          \
	X(inject_bad, "injected packet for a client or port that is gone")                         \
	X(tx_full, "NIC queue full")                                                               \
	X(no_mbuf, "mbuf pool empty")

enum drop_reason {
#define X(name, text) DROP_##name,
	DROP_REASONS(X)
#undef X
	DROP_REASON_COUNT,
};

/** @return the reason's name, e.g. "wg_replay"; never NULL. */
const char *drop_reason_name(enum drop_reason reason);
/** @return one line for people; never NULL. */
const char *drop_reason_text(enum drop_reason reason);
