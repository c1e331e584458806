// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "kni/state.h"

#include "control/base/err.h"

#include <search.h>
#include <stdlib.h>
#include <string.h>

struct port {
	int ifindex;
	uint16_t port_id;
};

// Routes with equal family, prefix, table and metric form a list in the kernel's order of preference; its
// head is in the tree.
struct route {
	struct route *next;
	struct ip_prefix prefix;
	bool is_main;
	bool is_multipath;
	uint8_t kind; // enum kni_route_kind
	uint8_t n_hops;
	uint32_t metric;
	struct ip_addr source;
	struct kni_hop hops[];
};

struct neigh {
	struct kni_msg_neigh n;
	uint64_t failed_ms;
};

// Links, ports and addresses are few and their order matters: arrays. The rest are trees (tsearch(3)).
struct kni_state {
	struct port *ports;
	struct kni_msg_link *links;
	struct kni_msg_addr *addrs;
	size_t n_ports, n_links, n_addrs;
	void *routes, *neighs;
	size_t n_routes, n_failed;
};

// Makes room for one more at @p at and @return the place, or NULL.
static void *array_insert(void **items, size_t *n, size_t at, size_t size)
{
	char *grown = reallocarray(*items, *n + 1, size);

	if (grown == NULL)
		return err_set_null(ENOMEM);
	memmove(grown + (at + 1) * size, grown + at * size, (*n - at) * size);
	*items = grown;
	*n += 1;
	return grown + at * size;
}

static void array_remove(void *items, size_t *n, size_t at, size_t size)
{
	char *p = items;

	*n -= 1;
	memmove(p + at * size, p + (at + 1) * size, (*n - at) * size);
}

static const struct port *port_by_ifindex(const struct kni_state *s, int ifindex)
{
	for (size_t i = 0; i < s->n_ports; i++)
		if (s->ports[i].ifindex == ifindex)
			return &s->ports[i];
	return NULL;
}

static uint16_t port_id_of(const struct kni_state *s, int ifindex)
{
	const struct port *p = port_by_ifindex(s, ifindex);

	return p != NULL ? p->port_id : FIB_PORT_NONE;
}

struct kni_state *kni_state_create(const struct kni_state *from)
{
	struct kni_state *s = calloc(1, sizeof(*s));

	if (s == NULL)
		return err_set_null(ENOMEM);
	for (size_t i = 0; from != NULL && i < from->n_ports; i++) {
		if (kni_state_port_add(s, from->ports[i].ifindex, from->ports[i].port_id) < 0) {
			kni_state_destroy(s);
			return err_set_null(ENOMEM);
		}
	}
	return s;
}

static void route_list_free(void *head)
{
	struct route *r = head;

	while (r != NULL) {
		struct route *next = r->next;

		free(r);
		r = next;
	}
}

void kni_state_destroy(struct kni_state *s)
{
	if (s == NULL)
		return;
	tdestroy(s->routes, route_list_free);
	tdestroy(s->neighs, free);
	free(s->ports);
	free(s->links);
	free(s->addrs);
	free(s);
}

int kni_state_port_add(struct kni_state *s, int ifindex, uint16_t port_id)
{
	struct port *p;
	void *items = s->ports;

	for (size_t i = 0; i < s->n_ports; i++) {
		if (s->ports[i].port_id == port_id || s->ports[i].ifindex == ifindex) {
			s->ports[i] = (struct port){ifindex, port_id};
			return 0;
		}
	}
	p = array_insert(&items, &s->n_ports, s->n_ports, sizeof(*p));
	if (p == NULL)
		return -ENOMEM;
	s->ports = items;
	*p = (struct port){ifindex, port_id};
	return 0;
}

int kni_state_port_ifindex(const struct kni_state *s, uint16_t port_id)
{
	for (size_t i = 0; i < s->n_ports; i++)
		if (s->ports[i].port_id == port_id)
			return s->ports[i].ifindex;
	return 0;
}

size_t kni_state_n_routes(const struct kni_state *s)
{
	return s->n_routes;
}

static int link_apply(struct kni_state *s, const struct kni_msg_link *link, bool is_del)
{
	void *items = s->links;
	struct kni_msg_link *l;
	bool was_up;
	size_t i = 0;

	while (i < s->n_links && s->links[i].ifindex != link->ifindex)
		i++;
	if (i == s->n_links) {
		if (is_del)
			return KNI_STATE_SAME;
		l = array_insert(&items, &s->n_links, i, sizeof(*l));
		if (l == NULL)
			return -ENOMEM;
		s->links = items;
		*l = *link;
		return KNI_STATE_SAME;
	}
	was_up = s->links[i].is_up;
	s->links[i] = *link;
	if (is_del) {
		array_remove(s->links, &s->n_links, i, sizeof(*l));
		return KNI_STATE_RESYNC;
	}
	// The kernel drops the IPv4 routes of a link that goes down without a word.
	return was_up != link->is_up ? KNI_STATE_RESYNC : KNI_STATE_SAME;
}

static bool addr_is_same(const struct kni_msg_addr *a, const struct kni_msg_addr *b)
{
	return a->is_usable == b->is_usable && a->is_secondary == b->is_secondary
		&& a->prefix_len == b->prefix_len;
}

static int
addr_apply(struct kni_state *s, const struct kni_msg_addr *addr, bool is_del, bool is_dump)
{
	struct kni_msg_addr *a;
	void *items = s->addrs;
	bool is_same;
	size_t i = 0;

	while (i < s->n_addrs
	       && (s->addrs[i].ifindex != addr->ifindex
		   || !ip_addr_eq(&s->addrs[i].addr, &addr->addr)
		   || (addr->addr.family == IP_FAMILY_V4
		       && s->addrs[i].prefix_len != addr->prefix_len)))
		i++;
	if (is_del) {
		if (i == s->n_addrs)
			return KNI_STATE_SAME;
		array_remove(s->addrs, &s->n_addrs, i, sizeof(*a));
		// Routes that prefer this address as source go silently.
		return KNI_STATE_RESYNC;
	}
	if (i < s->n_addrs) {
		is_same = addr_is_same(&s->addrs[i], addr);
		s->addrs[i] = *addr;
		return is_same ? KNI_STATE_SAME : KNI_STATE_CHANGED;
	}
	// The kernel puts a new IPv6 address before the others, and dumps them in its order.
	if (!is_dump && addr->addr.family == IP_FAMILY_V6)
		i = 0;
	a = array_insert(&items, &s->n_addrs, i, sizeof(*a));
	if (a == NULL)
		return -ENOMEM;
	s->addrs = items;
	*a = *addr;
	return KNI_STATE_CHANGED;
}

// In the order in which the FIB wants them: prefixes ascending, the wider first; table local first.
static int route_cmp(const void *pa, const void *pb)
{
	const struct route *a = pa, *b = pb;
	int cmp = ip_addr_cmp(&a->prefix.addr, &b->prefix.addr);

	if (cmp != 0)
		return cmp;
	if (a->prefix.len != b->prefix.len)
		return a->prefix.len < b->prefix.len ? -1 : 1;
	if (a->is_main != b->is_main)
		return a->is_main ? 1 : -1;
	return (a->metric > b->metric) - (a->metric < b->metric);
}

static struct route *route_make(const struct kni_msg_route *m)
{
	struct route *r = calloc(1, sizeof(*r) + m->n_hops * sizeof(r->hops[0]));

	if (r == NULL)
		return err_set_null(ENOMEM);
	r->prefix = m->prefix;
	r->is_main = m->is_main;
	r->is_multipath = m->is_multipath;
	r->kind = (uint8_t)m->kind;
	r->metric = m->metric;
	r->source = m->source;
	r->n_hops = m->n_hops;
	memcpy(r->hops, m->hops, m->n_hops * sizeof(r->hops[0]));
	return r;
}

// Routes of one list are told apart by their first hop.
static bool route_is_same(const struct route *a, const struct route *b)
{
	if (a->kind != b->kind || (a->n_hops == 0) != (b->n_hops == 0))
		return false;
	return a->n_hops == 0
		|| (a->hops[0].ifindex == b->hops[0].ifindex
		    && ip_addr_eq(&a->hops[0].gateway, &b->hops[0].gateway));
}

// @return where the pointer to the route like @p r is, or to the end of the list.
static struct route **route_seek(struct route **at, const struct route *r)
{
	while (*at != NULL && !route_is_same(*at, r))
		at = &(*at)->next;
	return at;
}

static void route_unlink(struct kni_state *s, struct route **at)
{
	struct route *r = *at;

	*at = r->next;
	s->n_routes--;
	free(r);
}

static int
route_add(struct kni_state *s, struct route *r, const struct kni_msg_route *m, bool is_dump)
{
	struct route **head = tsearch(r, &s->routes, route_cmp);
	struct route **at;
	int effect = KNI_STATE_CHANGED;

	if (head == NULL) {
		free(r);
		return err_set(ENOMEM);
	}
	s->n_routes++;
	if (*head == r)
		return KNI_STATE_CHANGED;
	at = route_seek(head, r);
	if (*at == NULL && m->is_replace) {
		// The message does not say which one it replaces.
		if ((*head)->next != NULL)
			effect = KNI_STATE_RESYNC;
		at = head;
	}
	if (*at != NULL) {
		r->next = (*at)->next;
		free(*at);
		s->n_routes--;
	} else if (!m->is_append && !is_dump) {
		at = head;
		r->next = *head;
	}
	*at = r;
	return effect;
}

static int route_del(struct kni_state *s, const struct route *r)
{
	struct route **head = tfind(r, &s->routes, route_cmp);
	struct route **at;

	if (head == NULL)
		return KNI_STATE_SAME;
	at = route_seek(head, r);
	// One hop of a multipath route, perhaps.
	if (*at == NULL || (*at)->is_multipath != r->is_multipath)
		return KNI_STATE_RESYNC;
	if (at == head && (*head)->next == NULL) {
		struct route *last = *head;

		tdelete(last, &s->routes, route_cmp);
		route_unlink(s, &last);
	} else {
		route_unlink(s, at);
	}
	return KNI_STATE_CHANGED;
}

static int
route_apply(struct kni_state *s, const struct kni_msg_route *m, bool is_del, bool is_dump)
{
	struct route *r = route_make(m);
	int effect;

	if (r == NULL)
		return -ENOMEM;
	if (!is_del)
		return route_add(s, r, m, is_dump);
	effect = route_del(s, r);
	free(r);
	return effect;
}

static int neigh_cmp(const void *pa, const void *pb)
{
	const struct neigh *a = pa, *b = pb;

	if (a->n.ifindex != b->n.ifindex)
		return a->n.ifindex < b->n.ifindex ? -1 : 1;
	return ip_addr_cmp(&a->n.addr, &b->n.addr);
}

static bool neigh_has_mac(const struct kni_msg_neigh *n)
{
	return n->state == KNI_NEIGH_RESOLVED || n->state == KNI_NEIGH_STALE;
}

// @return whether the FIB sees a difference.
static bool neigh_differs(const struct kni_msg_neigh *a, const struct kni_msg_neigh *b)
{
	if (neigh_has_mac(a) != neigh_has_mac(b))
		return true;
	if (neigh_has_mac(a))
		return memcmp(a->mac, b->mac, sizeof(a->mac)) != 0;
	return (a->state == KNI_NEIGH_FAILED) != (b->state == KNI_NEIGH_FAILED);
}

static struct neigh *neigh_get(struct kni_state *s, const struct kni_msg_neigh *n)
{
	struct neigh *neigh = calloc(1, sizeof(*neigh));
	struct neigh **found;

	if (neigh == NULL)
		return err_set_null(ENOMEM);
	neigh->n.ifindex = n->ifindex;
	neigh->n.addr = n->addr;
	found = tsearch(neigh, &s->neighs, neigh_cmp);
	if (found == NULL || *found != neigh)
		free(neigh);
	return found != NULL ? *found : err_set_null(ENOMEM);
}

static void neigh_remove(struct kni_state *s, const struct kni_msg_neigh *n)
{
	const struct neigh key = {.n = *n};
	struct neigh **found = tfind(&key, &s->neighs, neigh_cmp);
	struct neigh *neigh;

	if (found == NULL)
		return;
	neigh = *found;
	tdelete(neigh, &s->neighs, neigh_cmp);
	free(neigh);
}

static int neigh_apply(
	struct kni_state *s,
	const struct kni_msg_neigh *n,
	bool is_del,
	bool is_dump,
	uint64_t now_ms)
{
	struct neigh *neigh = neigh_get(s, n);
	struct kni_msg_neigh next = *n;
	bool differs;

	if (neigh == NULL)
		return -ENOMEM;
	if (is_del || (is_dump && next.state == KNI_NEIGH_FAILED))
		next.state = KNI_NEIGH_UNRESOLVED;
	differs = neigh_differs(&neigh->n, &next) && port_by_ifindex(s, n->ifindex) != NULL;
	if (next.state == KNI_NEIGH_FAILED)
		neigh->failed_ms = now_ms;
	s->n_failed += next.state == KNI_NEIGH_FAILED;
	s->n_failed -= neigh->n.state == KNI_NEIGH_FAILED;
	neigh->n = next;
	if (is_del)
		neigh_remove(s, n);
	return differs ? KNI_STATE_CHANGED : KNI_STATE_SAME;
}

int kni_state_apply(struct kni_state *s, const struct kni_msg *msg, bool is_dump, uint64_t now_ms)
{
	switch (msg->type) {
	case KNI_MSG_LINK:
		return link_apply(s, &msg->link, msg->is_del);
	case KNI_MSG_ADDR:
		return addr_apply(s, &msg->addr, msg->is_del, is_dump);
	case KNI_MSG_ROUTE:
		return route_apply(s, &msg->route, msg->is_del, is_dump);
	case KNI_MSG_NEIGH:
		return neigh_apply(s, &msg->neigh, msg->is_del, is_dump, now_ms);
	default:
		return KNI_STATE_SAME;
	}
}

struct expiry {
	struct kni_state *state;
	uint64_t now_ms, age_ms;
	bool has_changed;
};

static void failure_expire(const void *node, VISIT which, void *arg)
{
	struct neigh *neigh = *(struct neigh *const *)node;
	struct expiry *e = arg;

	if ((which != postorder && which != leaf) || neigh->n.state != KNI_NEIGH_FAILED
	    || e->now_ms - neigh->failed_ms < e->age_ms)
		return;
	neigh->n.state = KNI_NEIGH_UNRESOLVED;
	e->state->n_failed--;
	if (port_by_ifindex(e->state, neigh->n.ifindex) != NULL)
		e->has_changed = true;
}

bool kni_state_failures_expire(struct kni_state *s, uint64_t now_ms, uint64_t age_ms)
{
	struct expiry e = {.state = s, .now_ms = now_ms, .age_ms = age_ms};

	if (s->n_failed != 0)
		twalk_r(s->neighs, failure_expire, &e);
	return e.has_changed;
}

struct round {
	const struct kni_state *state;
	struct kni_neigh_cursor *cursor;
	struct neigh from; // where the round began
	bool (*fn)(void *arg, int ifindex, uint16_t port_id, const struct ip_addr *addr);
	void *arg;
	bool is_behind; // first those behind the cursor, then those up to it
	bool is_over;
};

static void stale_visit(const void *node, VISIT which, void *arg)
{
	const struct neigh *neigh = *(struct neigh *const *)node;
	struct round *r = arg;
	uint16_t port_id = port_id_of(r->state, neigh->n.ifindex);

	if ((which != postorder && which != leaf) || r->is_over || port_id == FIB_PORT_NONE
	    || neigh->n.state != KNI_NEIGH_STALE
	    || (neigh_cmp(neigh, &r->from) > 0) != r->is_behind)
		return;
	*r->cursor = (struct kni_neigh_cursor){neigh->n.ifindex, neigh->n.addr};
	r->is_over = !r->fn(r->arg, neigh->n.ifindex, port_id, &neigh->n.addr);
}

void kni_state_stale_each(
	const struct kni_state *s,
	struct kni_neigh_cursor *cursor,
	bool (*fn)(void *arg, int ifindex, uint16_t port_id, const struct ip_addr *addr),
	void *arg)
{
	struct round r = {.state = s, .cursor = cursor, .fn = fn, .arg = arg, .is_behind = true};

	r.from.n.ifindex = cursor->ifindex;
	r.from.n.addr = cursor->addr;
	twalk_r(s->neighs, stale_visit, &r);
	r.is_behind = false;
	twalk_r(s->neighs, stale_visit, &r);
}

// From here on: the FIB.

struct build {
	const struct kni_state *state;
	struct fib_builder *b;
	int rc;
};

static bool is_in_subnet(const struct kni_msg_addr *a, const struct ip_addr *addr)
{
	unsigned whole = a->prefix_len / 8, rest = a->prefix_len % 8;

	return a->addr.family == addr->family && memcmp(a->addr.bytes, addr->bytes, whole) == 0
		&& (rest == 0 || ((a->addr.bytes[whole] ^ addr->bytes[whole]) >> (8 - rest)) == 0);
}

// As the kernel does: the address whose subnet holds the next hop.
static const struct ip_addr *
source_near(const struct kni_state *s, int ifindex, const struct ip_addr *next_hop)
{
	const struct ip_addr *last_choice = NULL;

	for (size_t i = 0; i < s->n_addrs; i++) {
		const struct kni_msg_addr *a = &s->addrs[i];

		if (a->ifindex != ifindex || !a->is_usable || !is_in_subnet(a, next_hop)
		    || (a->addr.family == IP_FAMILY_V6 && ip_addr_is_link_local(&a->addr)))
			continue;
		if (!a->is_secondary)
			return &a->addr;
		if (last_choice == NULL)
			last_choice = &a->addr;
	}
	return last_choice;
}

// The first live hop on a port, else the first live one, else NULL.
static const struct kni_hop *hop_choose(const struct kni_state *s, const struct route *r)
{
	const struct kni_hop *other = NULL;

	for (uint8_t i = 0; i < r->n_hops; i++) {
		if (r->hops[i].is_dead)
			continue;
		if (port_by_ifindex(s, r->hops[i].ifindex) != NULL)
			return &r->hops[i];
		if (other == NULL)
			other = &r->hops[i];
	}
	return other;
}

static int unicast_build(struct build *build, const struct route *r, uint32_t metric)
{
	const struct kni_hop *hop = hop_choose(build->state, r);
	const struct ip_addr *gateway = NULL, *source = NULL, *next_hop;

	// A dead route is as good as none: one of higher metric may take its place.
	if (hop == NULL)
		return 0;
	if (hop->gateway.family != IP_FAMILY_NONE)
		gateway = &hop->gateway;
	next_hop = gateway != NULL ? gateway : &r->prefix.addr;
	if (r->source.family != IP_FAMILY_NONE)
		source = &r->source;
	else if (next_hop->family == r->prefix.addr.family)
		source = source_near(build->state, hop->ifindex, next_hop);
	return fib_builder_add_route(
		build->b,
		&r->prefix,
		port_id_of(build->state, hop->ifindex),
		gateway,
		source,
		metric);
}

static int route_build(struct build *build, const struct route *r)
{
	// Table local is asked first, so its metrics do not compete with those of main.
	uint32_t metric = r->is_main ? r->metric : 0;

	if (r->kind == KNI_ROUTE_UNICAST)
		return unicast_build(build, r, metric);
	if (r->kind == KNI_ROUTE_LOCAL && r->prefix.len == ip_addr_size(&r->prefix.addr) * 8)
		return fib_builder_add_local(build->b, &r->prefix.addr, FIB_PORT_NONE);
	return fib_builder_add_route(build->b, &r->prefix, FIB_PORT_NONE, NULL, NULL, metric);
}

static void route_visit(const void *node, VISIT which, void *arg)
{
	const struct route *r = *(struct route *const *)node;
	struct build *build = arg;

	if (which != postorder && which != leaf)
		return;
	for (; r != NULL && build->rc == 0; r = r->next)
		build->rc = route_build(build, r);
}

static void neigh_visit(const void *node, VISIT which, void *arg)
{
	const struct neigh *neigh = *(struct neigh *const *)node;
	struct build *build = arg;
	uint16_t port_id = port_id_of(build->state, neigh->n.ifindex);

	if ((which != postorder && which != leaf) || build->rc != 0 || port_id == FIB_PORT_NONE
	    || neigh->n.state == KNI_NEIGH_UNRESOLVED)
		return;
	build->rc = fib_builder_add_neigh(
		build->b, port_id, &neigh->n.addr, neigh_has_mac(&neigh->n) ? neigh->n.mac : NULL);
}

// Secondary and deprecated addresses come after all others.
static void addrs_build(struct build *build, bool is_secondary)
{
	const struct kni_state *s = build->state;

	for (size_t i = 0; i < s->n_addrs && build->rc == 0; i++) {
		const struct kni_msg_addr *a = &s->addrs[i];

		if (a->is_usable && a->is_secondary == is_secondary)
			build->rc = fib_builder_add_local(
				build->b, &a->addr, port_id_of(s, a->ifindex));
	}
}

struct fib *kni_state_build(const struct kni_state *s, uint32_t generation)
{
	struct build build = {.state = s, .b = fib_builder_create()};
	struct fib *fib = NULL;

	if (build.b == NULL)
		return NULL;
	addrs_build(&build, false);
	addrs_build(&build, true);
	twalk_r(s->routes, route_visit, &build);
	twalk_r(s->neighs, neigh_visit, &build);
	if (build.rc == 0)
		fib = fib_builder_build(build.b, generation);
	else
		errno = -build.rc;
	fib_builder_destroy(build.b);
	return fib;
}
