// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "dataplane/stage/checksum.h"
#include "dataplane/stage/stage.h"

#include <rte_ip.h>

#include <netinet/in.h>
#include <string.h>

enum {
	ICMP_SIZE = 8,
	V4_SIZE = 20,
	V6_SIZE = 40,
	V4_QUOTE_TAIL = 8, // bytes behind the quoted header, for what the official gateway sends
	V4_ERROR_MAX = 576, // for what its kernel sends (RFC 1812 4.3.2.3)
	HOP_LIMIT_GATEWAY = 20,
	HOP_LIMIT_KERNEL = 64,
	TOS_KERNEL = 0xc0, // internetwork control (RFC 1812 4.3.2.5)
	MTU = DP_INNER_SIZE_MAX,
};

struct answer_form {
	uint8_t v4_type, v4_code, v6_type, v6_code;
	uint8_t hop_limit;
	uint8_t tos; // IPv4
	bool is_long_quote; // IPv4: as much as fits, not 8 bytes
};

static const struct answer_form answer_forms[] = {
	[ICMP_ANSWER_PROHIBITED] = {3, 13, 1, 1, HOP_LIMIT_GATEWAY, 0, false},
	[ICMP_ANSWER_NETWORK] = {3, 0, 1, 3, HOP_LIMIT_GATEWAY, 0, false},
	[ICMP_ANSWER_HOST] = {3, 1, 1, 3, HOP_LIMIT_GATEWAY, 0, false},
	[ICMP_ANSWER_TTL] = {11, 0, 3, 0, HOP_LIMIT_KERNEL, TOS_KERNEL, true},
	[ICMP_ANSWER_TOO_BIG] = {3, 4, 2, 0, HOP_LIMIT_KERNEL, TOS_KERNEL, true},
};

// Cuts the packet to what the error quotes. RFC 4443 2.4(c): IPv6 errors fit into 1280 bytes.
static uint32_t quote_cut(struct rte_mbuf *m, bool is_v4, const struct answer_form *form)
{
	const uint8_t *ip = rte_pktmbuf_mtod(m, const uint8_t *);
	uint32_t max = DP_INNER_SIZE_MAX - V6_SIZE - ICMP_SIZE;

	if (is_v4)
		max = form->is_long_quote ? V4_ERROR_MAX - V4_SIZE - ICMP_SIZE
					  : (ip[0] & 0x0fu) * 4 + V4_QUOTE_TAIL;
	if (m->data_len > max)
		rte_pktmbuf_trim(m, (uint16_t)(m->data_len - max));
	return m->data_len;
}

static void
v4_header_write(uint8_t *out, uint32_t size, uint8_t ttl, uint8_t tos, const uint8_t *src)
{
	const uint8_t *quote = out + V4_SIZE + ICMP_SIZE;
	uint16_t c;

	memset(out, 0, V4_SIZE);
	out[0] = 0x45;
	out[1] = tos;
	out[2] = (uint8_t)(size >> 8);
	out[3] = (uint8_t)size;
	out[8] = ttl;
	out[9] = IPPROTO_ICMP;
	memcpy(out + 12, src, 4);
	memcpy(out + 16, quote + 12, 4);
	c = (uint16_t)~rte_raw_cksum(out, V4_SIZE);
	memcpy(out + 10, &c, 2);
}

static void v6_header_write(uint8_t *out, uint32_t size, uint8_t hop_limit, const uint8_t *src)
{
	const uint8_t *quote = out + V6_SIZE + ICMP_SIZE;

	memset(out, 0, V6_SIZE);
	out[0] = 0x60;
	out[4] = (uint8_t)((size - V6_SIZE) >> 8);
	out[5] = (uint8_t)(size - V6_SIZE);
	out[6] = IPPROTO_ICMPV6;
	out[7] = hop_limit;
	memcpy(out + 8, src, 16);
	memcpy(out + 24, quote + 8, 16);
}

bool icmp_error_make(struct rte_mbuf *m, enum icmp_answer answer, const uint8_t *source)
{
	const struct answer_form *form = &answer_forms[answer];
	bool is_v4 = *rte_pktmbuf_mtod(m, const uint8_t *) >> 4 == 4;
	uint16_t l3 = is_v4 ? V4_SIZE : V6_SIZE;
	uint32_t size = l3 + ICMP_SIZE + quote_cut(m, is_v4, form);
	uint8_t *out = (uint8_t *)rte_pktmbuf_prepend(m, l3 + ICMP_SIZE);
	struct ip_view view = {
		.family = is_v4 ? IP_FAMILY_V4 : IP_FAMILY_V6,
		.proto = is_v4 ? IPPROTO_ICMP : IPPROTO_ICMPV6,
		.l4 = l3,
		.size = (uint16_t)size,
	};
	uint8_t *icmp;

	if (out == NULL)
		return false;
	if (source == NULL)
		source = out + l3 + ICMP_SIZE + (is_v4 ? 16 : 24);
	if (is_v4)
		v4_header_write(out, size, form->hop_limit, form->tos, source);
	else
		v6_header_write(out, size, form->hop_limit, source);
	icmp = out + l3;
	memset(icmp, 0, ICMP_SIZE);
	icmp[0] = is_v4 ? form->v4_type : form->v6_type;
	icmp[1] = is_v4 ? form->v4_code : form->v6_code;
	if (answer == ICMP_ANSWER_TOO_BIG) {
		// Both families keep the MTU in the last two of the four free bytes.
		icmp[6] = MTU >> 8;
		icmp[7] = MTU & 0xff;
	}
	csum_icmp_write(&view, out);
	return true;
}

// Shared by both directions. @return whether @p m is now the answer; else it is gone
static bool answer_make(
	struct worker *w,
	struct client *c,
	struct rte_mbuf *m,
	enum icmp_answer answer,
	enum drop_reason reason,
	const uint8_t *source)
{
	stat_add(&w->stats.drops[reason], 1);
	if (!client_icmp_take(c, w->now, w->icmp_interval_tsc)) {
		worker_drop(w, m, DROP_icmp_limited);
		return false;
	}
	if (!icmp_error_make(m, answer, source)) {
		worker_drop(w, m, DROP_no_mbuf);
		return false;
	}
	return true;
}

void icmp_error_to_client(
	struct worker *w,
	struct client *c,
	struct rte_mbuf *m,
	enum icmp_answer answer,
	enum drop_reason reason)
{
	const uint8_t *source = NULL;

	if (answer == ICMP_ANSWER_TTL) {
		bool is_v4 = *rte_pktmbuf_mtod(m, const uint8_t *) >> 4 == 4;
		const struct ip_addr *a = is_v4 ? &w->tunnel->v4 : &w->tunnel->v6;

		// Before `init` there is no address that the client would accept.
		if (a->family == IP_FAMILY_NONE) {
			worker_drop(w, m, reason);
			return;
		}
		source = a->bytes;
	}
	if (answer_make(w, c, m, answer, reason, source))
		seal_push(w, c, m);
}

void icmp_error_to_lan(
	struct worker *w,
	struct client *c,
	struct rte_mbuf *m,
	enum icmp_answer answer,
	enum drop_reason reason)
{
	if (answer_make(w, c, m, answer, reason, NULL))
		forward_outer(w, m);
}
