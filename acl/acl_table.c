// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "acl/acl_table.h"

#include "control/base/err.h"

#include <stdlib.h>
#include <string.h>

enum {
	CLASS_FIRST = ACL_CLASS_TCP,
	CLASS_LAST = ACL_CLASS_OTHER,
};

// Addresses of both families as one number.
typedef unsigned __int128 addr_int;

static addr_int addr_to_int(const struct ip_addr *addr)
{
	addr_int n = 0;

	for (size_t i = 0; i < ip_addr_size(addr); i++)
		n = n << 8 | addr->bytes[i];
	return n;
}

// Networks --------------------------------------------------------------------------------------

// A resource with its place: what is sorted by network.
struct member {
	addr_int first, last; // addresses
	uint16_t ordinal;
};

// Wider networks before those within them, so that a walk meets parents first.
static int member_cmp(const void *va, const void *vb)
{
	const struct member *a = va, *b = vb;

	if (a->first != b->first)
		return a->first < b->first ? -1 : 1;
	if (a->last != b->last)
		return a->last > b->last ? -1 : 1;
	return (int)a->ordinal - b->ordinal;
}

static bool has_internet(const struct acl_canon *canon)
{
	for (size_t i = 0; i < canon->n_resources; i++) {
		if (canon->resources[i].resource.type == ACL_RESOURCE_INTERNET)
			return true;
	}
	return false;
}

static size_t
members_fill(struct member *members, const struct acl_canon *canon, enum ip_family family)
{
	// With an Internet resource CIDR resources do not count (spec/datapath.md 2.3).
	bool dns_only = has_internet(canon);
	unsigned bits = family == IP_FAMILY_V4 ? 32 : 128;
	size_t n = 0;

	for (size_t i = 0; i < canon->n_resources; i++) {
		const struct acl_resource *r = &canon->resources[i].resource;
		unsigned host_bits = bits - r->prefix.len;
		addr_int hosts;

		if (r->type == ACL_RESOURCE_INTERNET || (dns_only && r->type != ACL_RESOURCE_DNS)
		    || r->prefix.addr.family != family)
			continue;
		hosts = host_bits == 128 ? ~(addr_int)0 : ((addr_int)1 << host_bits) - 1;
		members[n].first = addr_to_int(&r->prefix.addr);
		members[n].last = members[n].first | hosts;
		members[n++].ordinal = (uint16_t)i;
	}
	if (n > 1)
		qsort(members, n, sizeof(*members), member_cmp);
	return n;
}

// Segments --------------------------------------------------------------------------------------

// Class and port as one number, the end excluded.
struct range {
	uint32_t begin, end;
	uint16_t ordinal;
};

struct painter {
	struct range *ranges;
	uint32_t *points; // where ranges begin and end
	uint32_t *next; // by point: itself, or past what is painted
	uint16_t *colours; // by point: ordinal of the stretch that begins there
	size_t n_ranges, n_points;
};

static int painter_init(struct painter *p, size_t n_rules)
{
	*p = (struct painter){
		.ranges = calloc(n_rules, sizeof(*p->ranges)),
		.points = calloc(2 * n_rules, sizeof(*p->points)),
		.next = calloc(2 * n_rules, sizeof(*p->next)),
		.colours = calloc(2 * n_rules, sizeof(*p->colours)),
	};
	return p->ranges != NULL && p->points != NULL && p->next != NULL && p->colours != NULL
		? 0
		: -ENOMEM;
}

static void painter_fini(struct painter *p)
{
	free(p->ranges);
	free(p->points);
	free(p->next);
	free(p->colours);
}

static void ranges_add(struct painter *p, const struct acl_resource *r, uint16_t ordinal)
{
	static const uint8_t classes[][2] = {
		[ACL_PROTOCOL_TCP] = {ACL_CLASS_TCP, ACL_CLASS_TCP},
		[ACL_PROTOCOL_UDP] = {ACL_CLASS_UDP, ACL_CLASS_UDP},
		[ACL_PROTOCOL_ICMP] = {ACL_CLASS_ICMP_ECHO, ACL_CLASS_ICMP_OTHER},
	};

	if (r->n_filters == 0)
		p->ranges[p->n_ranges++] = (struct range){
			.begin = (uint32_t)CLASS_FIRST << ACL_PORT_BITS,
			.end = (CLASS_LAST + 1u) << ACL_PORT_BITS,
			.ordinal = ordinal,
		};
	for (size_t i = 0; i < r->n_filters; i++) {
		const struct acl_filter *f = &r->filters[i];
		const uint8_t *class_ = classes[f->protocol];

		p->ranges[p->n_ranges++] = (struct range){
			.begin = (uint32_t)class_[0] << ACL_PORT_BITS | f->port_first,
			.end = ((uint32_t)class_[1] << ACL_PORT_BITS | f->port_last) + 1,
			.ordinal = ordinal,
		};
	}
}

static int uint32_cmp(const void *va, const void *vb)
{
	uint32_t a = *(const uint32_t *)va, b = *(const uint32_t *)vb;

	return (a > b) - (a < b);
}

static void points_make(struct painter *p)
{
	size_t n = 0;

	for (size_t i = 0; i < p->n_ranges; i++) {
		p->points[n++] = p->ranges[i].begin;
		p->points[n++] = p->ranges[i].end;
	}
	qsort(p->points, n, sizeof(*p->points), uint32_cmp);
	p->n_points = 0;
	for (size_t i = 0; i < n; i++) {
		if (p->n_points > 0 && p->points[p->n_points - 1] == p->points[i])
			continue;
		p->next[p->n_points] = (uint32_t)p->n_points;
		p->colours[p->n_points] = ACL_ORDINAL_NONE;
		p->points[p->n_points++] = p->points[i];
	}
}

// The first point at or behind @p at that has no colour yet.
static uint32_t bare_find(struct painter *p, uint32_t at)
{
	while (p->next[at] != at) {
		p->next[at] = p->next[p->next[at]]; // halves the path for the next search
		at = p->next[at];
	}
	return at;
}

static uint32_t point_of(const struct painter *p, uint32_t value)
{
	const uint32_t *found =
		bsearch(&value, p->points, p->n_points, sizeof(*p->points), uint32_cmp);

	return (uint32_t)(found - p->points);
}

// The strongest come first and keep what they have; each stretch is painted once, so that any number
// of overlapping ranges costs no more than sorting them. Ranges ascend by ordinal. The last point
// ends a range, so it never gets a colour.
static void ranges_paint(struct painter *p)
{
	for (size_t i = p->n_ranges; i > 0; i--) {
		const struct range *r = &p->ranges[i - 1];
		uint32_t end = point_of(p, r->end);

		for (uint32_t at = bare_find(p, point_of(p, r->begin)); at < end;
		     at = bare_find(p, at)) {
			p->colours[at] = r->ordinal;
			p->next[at] = at + 1;
		}
	}
}

static size_t segs_write(const struct painter *p, uint32_t *segs)
{
	uint16_t before = ACL_ORDINAL_NONE;
	size_t n = 0;

	for (size_t i = 0; i < p->n_points; i++) {
		if (p->colours[i] == before)
			continue;
		before = p->colours[i];
		segs[n++] = p->points[i] << ACL_ORDINAL_BITS | before;
	}
	return n;
}

static size_t segs_make(
	struct painter *p,
	const struct acl_canon *canon,
	const struct member *members,
	size_t n,
	uint32_t *segs)
{
	p->n_ranges = 0;
	for (size_t i = 0; i < n; i++)
		ranges_add(p, &canon->resources[members[i].ordinal].resource, members[i].ordinal);
	points_make(p);
	ranges_paint(p);
	return segs_write(p, segs);
}

// The draft -------------------------------------------------------------------------------------

static void bound_add(struct acl_draft *d, addr_int at, uint16_t net)
{
	struct acl_bound_v6 *last = d->n_bounds > 0 ? &d->bounds[d->n_bounds - 1] : NULL;
	struct acl_bound_v6 bound = {.hi = (uint64_t)(at >> 64), .lo = (uint64_t)at, .net = net};

	if (last != NULL && last->hi == bound.hi && last->lo == bound.lo)
		last->net = net;
	else
		d->bounds[d->n_bounds++] = bound;
}

// Leaves the networks that end before @p until (all if there is none), innermost first.
// @return the innermost that is left
static uint16_t
nets_leave(struct acl_draft *d, const addr_int *lasts, uint16_t net, const addr_int *until)
{
	addr_int end = d->family == IP_FAMILY_V4 ? UINT32_MAX : ~(addr_int)0;

	while (net != ACL_NET_NONE && (until == NULL || lasts[net] < *until)) {
		addr_int last = lasts[net];

		net = d->nets[net].parent;
		if (last < end)
			bound_add(d, last + 1, net);
	}
	return net;
}

static void draft_fill(
	struct acl_draft *d,
	const struct acl_canon *canon,
	const struct member *members,
	size_t n_members,
	struct painter *painter,
	addr_int *lasts)
{
	uint16_t inner = ACL_NET_NONE;
	size_t n;

	bound_add(d, 0, ACL_NET_NONE);
	for (size_t i = 0; i < n_members; i += n) {
		const struct member *m = &members[i];
		uint16_t net = (uint16_t)d->n_nets++;

		for (n = 1; i + n < n_members && m[n].first == m->first && m[n].last == m->last;)
			n++;
		inner = nets_leave(d, lasts, inner, &m->first);
		bound_add(d, m->first, net);
		lasts[net] = m->last;
		d->nets[net].parent = inner;
		d->nets[net].segs = (uint32_t)d->n_segs;
		d->nets[net].n_segs =
			(uint16_t)segs_make(painter, canon, m, n, d->segs + d->n_segs);
		d->n_segs += d->nets[net].n_segs;
		inner = net;
	}
	nets_leave(d, lasts, inner, NULL);
}

int acl_draft_init(struct acl_draft *d, const struct acl_canon *canon, enum ip_family family)
{
	struct member *members = calloc(canon->n_resources + 1, sizeof(*members));
	addr_int *lasts = calloc(canon->n_resources + 1, sizeof(*lasts));
	struct painter painter;
	size_t n_members;
	int rc;

	*d = (struct acl_draft){
		.family = family,
		.bounds = calloc(2 * canon->n_resources + 1, sizeof(*d->bounds)),
		.nets = calloc(canon->n_resources + 1, sizeof(*d->nets)),
		.segs = calloc(2 * canon->n_rules + 1, sizeof(*d->segs)),
	};
	rc = painter_init(&painter, canon->n_rules + 1);
	if (members == NULL || lasts == NULL || d->bounds == NULL || d->nets == NULL
	    || d->segs == NULL)
		rc = -ENOMEM;
	if (rc == 0) {
		n_members = members_fill(members, canon, family);
		if (n_members > 0)
			draft_fill(d, canon, members, n_members, &painter, lasts);
	}
	painter_fini(&painter);
	free(members);
	free(lasts);
	if (rc < 0)
		acl_draft_fini(d);
	return rc;
}

void acl_draft_fini(struct acl_draft *d)
{
	free(d->bounds);
	free(d->nets);
	free(d->segs);
	*d = (struct acl_draft){0};
}

static size_t bounds_size(const struct acl_draft *d)
{
	return d->n_bounds
		* (d->family == IP_FAMILY_V4 ? sizeof(uint64_t) : sizeof(struct acl_bound_v6));
}

static size_t nets_size(const struct acl_draft *d)
{
	return d->n_nets * sizeof(struct acl_net);
}

size_t acl_draft_size(const struct acl_draft *d)
{
	size_t size = bounds_size(d) + nets_size(d) + d->n_segs * sizeof(uint32_t);

	return (size + 7) / 8 * 8;
}

void acl_draft_write(const struct acl_draft *d, struct acl_table *table, void *memory)
{
	uint64_t *v4 = memory;
	struct acl_bound_v6 *v6 = memory;
	struct acl_net *nets = (void *)((uint8_t *)memory + bounds_size(d));
	uint32_t *segs = (void *)((uint8_t *)nets + nets_size(d));

	*table = (struct acl_table){
		.nets = nets,
		.n_nets = (uint32_t)d->n_nets,
		.n_bounds = (uint32_t)d->n_bounds,
	};
	if (d->n_bounds == 0)
		return;
	memcpy(nets, d->nets, nets_size(d));
	memcpy(segs, d->segs, d->n_segs * sizeof(*segs));
	if (d->family == IP_FAMILY_V4) {
		for (size_t i = 0; i < d->n_bounds; i++)
			v4[i] = d->bounds[i].lo << 32 | d->bounds[i].net;
		table->bounds.v4 = v4;
	} else {
		memcpy(v6, d->bounds, bounds_size(d));
		table->bounds.v6 = v6;
	}
}
