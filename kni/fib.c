// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "kni/fib.h"

#include "control/base/err.h"
#include "kni/index.h"
#include "kni/ranges.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

// Where routes lead. A full table has many routes and few hops, so they are interned. The struct is
// its own hash key: no padding, and always zeroed before it is filled.
struct hop {
	uint16_t port_id;
	struct ip_addr gateway; // no family: on link
	struct ip_addr source; // no family: the port's first of the packet's family
};

struct neigh {
	struct ip_addr addr; // key
	uint8_t zero; // key
	uint16_t port_id; // key
	uint8_t mac[6];
	bool is_failed;
};

struct local {
	struct ip_addr addr; // key
	uint16_t port_id;
};

struct port_addr {
	uint16_t port_id;
	struct ip_addr v4, v6;
};

enum {
	NEIGH_KEY_SIZE = offsetof(struct neigh, mac),
	LOCAL_KEY_SIZE = sizeof(struct ip_addr),
};

static_assert(sizeof(struct hop) == 36 && NEIGH_KEY_SIZE == 20, "hash keys have no padding");

// A growing array of fixed-size items.
struct vec {
	void *items;
	size_t len, cap;
};

struct fib_builder {
	struct vec v4, v6; // struct range_route
	struct vec locals, neighs, hops;
	uint32_t *hop_slots;
	uint32_t hop_mask;
};

// Lives in one allocation: the tables follow the struct.
struct fib {
	uint32_t generation;
	uint32_t n_ports;
	struct ranges4 v4;
	struct ranges6 v6;
	const struct hop *hops;
	const struct local *locals;
	const uint32_t *local_slots;
	const struct neigh *neighs;
	const uint32_t *neigh_slots;
	const struct port_addr *ports;
	uint32_t local_mask, neigh_mask;
};

static void *vec_add(struct vec *v, size_t size)
{
	if (v->len == v->cap) {
		size_t cap = v->cap != 0 ? v->cap * 2 : 16;
		void *items = reallocarray(v->items, cap, size);

		if (items == NULL)
			return err_set_null(ENOMEM);
		v->items = items;
		v->cap = cap;
	}
	return memset((char *)v->items + v->len++ * size, 0, size);
}

// The hop with number 0 is "no route": what no prefix covers, and unreachable routes.
static int hops_init(struct fib_builder *b)
{
	struct hop *none = vec_add(&b->hops, sizeof(*none));

	b->hop_mask = 63;
	b->hop_slots = calloc(b->hop_mask + 1, sizeof(*b->hop_slots));
	if (none == NULL || b->hop_slots == NULL)
		return err_set(ENOMEM);
	none->port_id = FIB_PORT_NONE;
	return 0;
}

struct fib_builder *fib_builder_create(void)
{
	struct fib_builder *b = calloc(1, sizeof(*b));

	if (b == NULL)
		return err_set_null(ENOMEM);
	if (hops_init(b) < 0) {
		fib_builder_destroy(b);
		return err_set_null(ENOMEM);
	}
	return b;
}

void fib_builder_destroy(struct fib_builder *b)
{
	if (b == NULL)
		return;
	free(b->v4.items);
	free(b->v6.items);
	free(b->locals.items);
	free(b->neighs.items);
	free(b->hops.items);
	free(b->hop_slots);
	free(b);
}

int fib_builder_add_local(struct fib_builder *b, const struct ip_addr *addr, uint16_t port_id)
{
	struct local *l;

	if (ip_addr_size(addr) == 0)
		return err_set(EINVAL);
	l = vec_add(&b->locals, sizeof(*l));
	if (l == NULL)
		return -ENOMEM;
	l->addr = *addr;
	l->port_id = port_id;
	return 0;
}

int fib_builder_add_neigh(
	struct fib_builder *b,
	uint16_t port_id,
	const struct ip_addr *addr,
	const uint8_t mac[6])
{
	struct neigh *n = vec_add(&b->neighs, sizeof(*n));

	if (n == NULL)
		return -ENOMEM;
	n->addr = *addr;
	n->port_id = port_id;
	n->is_failed = mac == NULL;
	if (mac != NULL)
		memcpy(n->mac, mac, sizeof(n->mac));
	return 0;
}

static int hop_slots_grow(struct fib_builder *b)
{
	const struct hop *hops = b->hops.items;
	uint32_t mask = b->hop_mask * 2 + 1;
	uint32_t *slots = calloc((size_t)mask + 1, sizeof(*slots));

	if (slots == NULL)
		return err_set(ENOMEM);
	for (size_t i = 1; i < b->hops.len; i++)
		slots[index_find(slots, mask, hops, sizeof(*hops), sizeof(*hops), &hops[i])] =
			(uint32_t)i + 1;
	free(b->hop_slots);
	b->hop_slots = slots;
	b->hop_mask = mask;
	return 0;
}

// @return the number of the hop equal to @p key, or -ENOMEM.
static int64_t hop_intern(struct fib_builder *b, const struct hop *key)
{
	struct hop *hop;
	uint32_t *slot;

	if (key->port_id == FIB_PORT_NONE)
		return 0;
	if (b->hops.len > b->hop_mask / 2 && hop_slots_grow(b) < 0)
		return -ENOMEM;
	slot = &b->hop_slots[index_find(
		b->hop_slots, b->hop_mask, b->hops.items, sizeof(*key), sizeof(*key), key)];
	if (*slot != 0)
		return *slot - 1;
	hop = vec_add(&b->hops, sizeof(*hop));
	if (hop == NULL)
		return -ENOMEM;
	*hop = *key;
	*slot = (uint32_t)b->hops.len;
	return *slot - 1;
}

int fib_builder_add_route(
	struct fib_builder *b,
	const struct ip_prefix *prefix,
	uint16_t port_id,
	const struct ip_addr *gateway,
	const struct ip_addr *source,
	uint32_t metric)
{
	struct vec *v = prefix->addr.family == IP_FAMILY_V4 ? &b->v4 : &b->v6;
	size_t size = ip_addr_size(&prefix->addr);
	struct hop key = {.port_id = port_id};
	struct range_route *r;
	int64_t hop;

	if (size == 0 || prefix->len > size * 8 || !ip_prefix_contains(prefix, &prefix->addr))
		return err_set(EINVAL);
	if (source != NULL && source->family != prefix->addr.family)
		return err_set(EINVAL);
	if (gateway != NULL)
		key.gateway = *gateway;
	if (source != NULL)
		key.source = *source;
	hop = hop_intern(b, &key);
	if (hop < 0)
		return err_set(ENOMEM);
	r = vec_add(v, sizeof(*r));
	if (r == NULL)
		return -ENOMEM;
	r->first = range_key(&prefix->addr);
	r->last = r->first | range_host_mask(size * 8, prefix->len);
	r->metric = metric;
	r->order = (uint32_t)v->len;
	r->hop = (uint32_t)hop;
	return 0;
}

static void port_addr_note(struct port_addr *p, const struct ip_addr *addr)
{
	struct ip_addr *a = addr->family == IP_FAMILY_V4 ? &p->v4 : &p->v6;

	if (addr->family == IP_FAMILY_V6 && ip_addr_is_link_local(addr))
		return;
	if (a->family == IP_FAMILY_NONE
	    || (ip_addr_is_link_local(a) && !ip_addr_is_link_local(addr)))
		*a = *addr;
}

// Collects the first address of each port in @p out, which has room for one per local address.
static uint32_t ports_collect(const struct fib_builder *b, struct port_addr *out)
{
	const struct local *locals = b->locals.items;
	uint32_t n = 0;

	for (size_t i = 0; i < b->locals.len; i++) {
		uint32_t p = 0;

		if (locals[i].port_id == FIB_PORT_NONE)
			continue;
		while (p < n && out[p].port_id != locals[i].port_id)
			p++;
		if (p == n)
			out[n++] = (struct port_addr){.port_id = locals[i].port_id};
		port_addr_note(&out[p], &locals[i].addr);
	}
	return n;
}

// Hands out parts of one allocation, or only adds up their sizes while base is NULL.
struct carver {
	char *base;
	size_t size;
};

static void *carve(struct carver *c, size_t n, size_t size)
{
	void *p = c->base != NULL ? c->base + c->size : NULL;

	c->size += (n * size + 15) & ~(size_t)15;
	return p;
}

// The writable view of the parts of a snapshot while it is built.
struct parts {
	struct fib *fib;
	uint32_t *v4_starts, *v4_hops, *v6_hops;
	range_key_t *v6_starts;
	struct hop *hops;
	struct local *locals;
	struct neigh *neighs;
	uint32_t *local_slots, *neigh_slots;
	struct port_addr *ports;
};

static void parts_carve(
	struct parts *p,
	struct carver *c,
	const struct fib_builder *b,
	size_t n_v4,
	size_t n_v6)
{
	p->fib = carve(c, 1, sizeof(*p->fib));
	p->v4_starts = carve(c, n_v4, sizeof(*p->v4_starts));
	p->v4_hops = carve(c, n_v4, sizeof(*p->v4_hops));
	p->v6_starts = carve(c, n_v6, sizeof(*p->v6_starts));
	p->v6_hops = carve(c, n_v6, sizeof(*p->v6_hops));
	p->hops = carve(c, b->hops.len, sizeof(*p->hops));
	p->locals = carve(c, b->locals.len, sizeof(*p->locals));
	p->neighs = carve(c, b->neighs.len, sizeof(*p->neighs));
	p->ports = carve(c, b->locals.len, sizeof(*p->ports));
	p->local_slots = carve(c, index_n_slots(b->locals.len), sizeof(uint32_t));
	p->neigh_slots = carve(c, index_n_slots(b->neighs.len), sizeof(uint32_t));
}

static void locals_index(struct parts *p, size_t n, uint32_t mask)
{
	for (size_t i = 0; i < n; i++) {
		uint32_t *slot = &p->local_slots[index_find(
			p->local_slots,
			mask,
			p->locals,
			sizeof(*p->locals),
			LOCAL_KEY_SIZE,
			&p->locals[i])];

		// The first one counts, but an address on a port rather than on none.
		if (*slot == 0 || p->locals[*slot - 1].port_id == FIB_PORT_NONE)
			*slot = (uint32_t)i + 1;
	}
}

static void neighs_index(struct parts *p, size_t n, uint32_t mask)
{
	for (size_t i = 0; i < n; i++) {
		uint32_t slot = index_find(
			p->neigh_slots,
			mask,
			p->neighs,
			sizeof(*p->neighs),
			NEIGH_KEY_SIZE,
			&p->neighs[i]);

		p->neigh_slots[slot] = (uint32_t)i + 1;
	}
}

static void copy(void *to, const struct vec *from, size_t size)
{
	if (from->len != 0)
		memcpy(to, from->items, from->len * size);
}

static void parts_fill(
	struct parts *p,
	const struct fib_builder *b,
	const struct range_list *v4,
	const struct range_list *v6)
{
	struct fib *fib = p->fib;

	for (size_t i = 0; i < v4->len; i++) {
		p->v4_starts[i] = (uint32_t)v4->items[i].start;
		p->v4_hops[i] = v4->items[i].hop;
	}
	for (size_t i = 0; i < v6->len; i++) {
		p->v6_starts[i] = v6->items[i].start;
		p->v6_hops[i] = v6->items[i].hop;
	}
	copy(p->hops, &b->hops, sizeof(*p->hops));
	copy(p->locals, &b->locals, sizeof(*p->locals));
	copy(p->neighs, &b->neighs, sizeof(*p->neighs));
	fib->n_ports = ports_collect(b, p->ports);
	fib->local_mask = index_n_slots(b->locals.len) - 1;
	fib->neigh_mask = index_n_slots(b->neighs.len) - 1;
	locals_index(p, b->locals.len, fib->local_mask);
	neighs_index(p, b->neighs.len, fib->neigh_mask);
	fib->v4 = (struct ranges4){p->v4_starts, p->v4_hops, (uint32_t)v4->len};
	fib->v6 = (struct ranges6){p->v6_starts, p->v6_hops, (uint32_t)v6->len};
	fib->hops = p->hops;
	fib->locals = p->locals;
	fib->local_slots = p->local_slots;
	fib->neighs = p->neighs;
	fib->neigh_slots = p->neigh_slots;
	fib->ports = p->ports;
}

struct fib *fib_builder_build(const struct fib_builder *b, uint32_t generation)
{
	struct range_list v4 = {0}, v6 = {0};
	struct carver carver = {0};
	struct parts parts;
	struct fib *fib = NULL;

	if (range_list_make(&v4, b->v4.items, b->v4.len, 32) < 0
	    || range_list_make(&v6, b->v6.items, b->v6.len, 128) < 0)
		goto out;
	parts_carve(&parts, &carver, b, v4.len, v6.len);
	carver.base = calloc(1, carver.size);
	if (carver.base == NULL)
		goto out;
	carver.size = 0;
	parts_carve(&parts, &carver, b, v4.len, v6.len);
	fib = parts.fib;
	fib->generation = generation;
	parts_fill(&parts, b, &v4, &v6);
out:
	range_list_fini(&v4);
	range_list_fini(&v6);
	return fib != NULL ? fib : err_set_null(ENOMEM);
}

void fib_destroy(struct fib *fib)
{
	free(fib);
}

uint32_t fib_generation(const struct fib *fib)
{
	return fib->generation;
}

static const struct local *local_find(const struct fib *fib, const struct ip_addr *addr)
{
	uint32_t i = fib->local_slots[index_find(
		fib->local_slots,
		fib->local_mask,
		fib->locals,
		sizeof(*fib->locals),
		LOCAL_KEY_SIZE,
		addr)];

	return i != 0 ? &fib->locals[i - 1] : NULL;
}

static const struct neigh *
neigh_find(const struct fib *fib, uint16_t port_id, const struct ip_addr *addr)
{
	const struct neigh key = {.addr = *addr, .port_id = port_id};
	uint32_t i = fib->neigh_slots[index_find(
		fib->neigh_slots,
		fib->neigh_mask,
		fib->neighs,
		sizeof(*fib->neighs),
		NEIGH_KEY_SIZE,
		&key)];

	return i != 0 ? &fib->neighs[i - 1] : NULL;
}

bool fib_is_local(const struct fib *fib, const struct ip_addr *addr)
{
	return local_find(fib, addr) != NULL;
}

bool fib_port_addr(const struct fib *fib, uint16_t port_id, uint8_t family, struct ip_addr *out)
{
	for (uint32_t i = 0; i < fib->n_ports; i++) {
		const struct port_addr *p = &fib->ports[i];

		if (p->port_id != port_id)
			continue;
		*out = family == IP_FAMILY_V4 ? p->v4 : p->v6;
		return out->family != IP_FAMILY_NONE;
	}
	return false;
}

// Destinations that are never routed, whatever the table says (RFC 1122 3.2.1.3, RFC 4291 2.5).
static bool is_unroutable(const struct ip_addr *a)
{
	static const uint8_t v6_low[15]; // :: and ::1
	static const uint8_t v4_all[4] = {255, 255, 255, 255};

	switch (a->family) {
	case IP_FAMILY_V4:
		return a->bytes[0] == 0 || a->bytes[0] == 127 || (a->bytes[0] & 0xf0) == 0xe0
			|| memcmp(a->bytes, v4_all, sizeof(v4_all)) == 0;
	case IP_FAMILY_V6:
		return a->bytes[0] == 0xff
			|| (memcmp(a->bytes, v6_low, sizeof(v6_low)) == 0 && a->bytes[15] <= 1);
	default:
		return true;
	}
}

static const struct hop *route_find(const struct fib *fib, const struct ip_addr *dst)
{
	uint32_t hop;

	if (dst->family == IP_FAMILY_V4)
		hop = ranges4_find(&fib->v4, (uint32_t)range_key(dst));
	else
		hop = ranges6_find(&fib->v6, range_key(dst));
	return hop != 0 ? &fib->hops[hop] : NULL;
}

enum fib_verdict fib_lookup(const struct fib *fib, const struct ip_addr *dst, struct fib_adj *out)
{
	const struct local *local;
	const struct neigh *neigh;
	const struct hop *hop;

	if (is_unroutable(dst))
		return FIB_NO_ROUTE;
	local = local_find(fib, dst);
	if (local != NULL) {
		*out = (struct fib_adj){
			.port_id = local->port_id, .next_hop = *dst, .source = *dst};
		return FIB_LOCAL;
	}
	if (dst->family == IP_FAMILY_V6 && ip_addr_is_link_local(dst))
		return FIB_NO_ROUTE;
	hop = route_find(fib, dst);
	if (hop == NULL)
		return FIB_NO_ROUTE;

	*out = (struct fib_adj){.port_id = hop->port_id};
	out->next_hop = hop->gateway.family != IP_FAMILY_NONE ? hop->gateway : *dst;
	if (hop->source.family != IP_FAMILY_NONE)
		out->source = hop->source;
	else if (!fib_port_addr(fib, hop->port_id, dst->family, &out->source))
		out->source = (struct ip_addr){0};
	neigh = neigh_find(fib, hop->port_id, &out->next_hop);
	if (neigh == NULL)
		return FIB_RESOLVE;
	if (neigh->is_failed)
		return FIB_FAILED;
	memcpy(out->dst_mac, neigh->mac, sizeof(out->dst_mac));
	return FIB_FORWARD;
}
