// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "kni/ranges.h"

#include "control/base/err.h"

#include <stdlib.h>
#include <string.h>

enum {
	NEST_MAX = 129, // prefixes of 0 to 128 bits inside each other
};

range_key_t range_key(const struct ip_addr *addr)
{
	uint64_t hi, lo;
	uint32_t v4;

	if (addr->family == IP_FAMILY_V4) {
		memcpy(&v4, addr->bytes, sizeof(v4));
		return __builtin_bswap32(v4);
	}
	memcpy(&hi, addr->bytes, sizeof(hi));
	memcpy(&lo, addr->bytes + 8, sizeof(lo));
	return (range_key_t)__builtin_bswap64(hi) << 64 | __builtin_bswap64(lo);
}

range_key_t range_host_mask(size_t bits, uint8_t len)
{
	// A shift by the whole width is undefined.
	if (len == 0)
		return ~(range_key_t)0 >> (128 - bits);
	return ((range_key_t)1 << (bits - len)) - 1;
}

// Ascending start, the wider prefix first, then the better route first.
static int route_cmp(const void *pa, const void *pb)
{
	const struct range_route *a = pa, *b = pb;

	if (a->first != b->first)
		return a->first < b->first ? -1 : 1;
	if (a->last != b->last)
		return a->last > b->last ? -1 : 1;
	if (a->metric != b->metric)
		return a->metric < b->metric ? -1 : 1;
	return (a->order > b->order) - (a->order < b->order);
}

static bool is_sorted(const struct range_route *routes, size_t n)
{
	for (size_t i = 1; i < n; i++)
		if (route_cmp(&routes[i - 1], &routes[i]) > 0)
			return false;
	return true;
}

// From @p start on the answer is @p hop.
static void list_emit(struct range_list *list, range_key_t start, uint32_t hop)
{
	if (list->items[list->len - 1].start == start)
		list->len--;
	if (list->len == 0 || list->items[list->len - 1].hop != hop)
		list->items[list->len++] = (struct range){.start = start, .hop = hop};
}

// Sweeps over the sorted routes; the stack holds those that enclose the current address.
static void
list_sweep(struct range_list *list, const struct range_route *routes, size_t n, range_key_t top)
{
	const struct range_route *stack[NEST_MAX];
	size_t depth = 0;

	list->items[0] = (struct range){0};
	list->len = 1;
	for (size_t i = 0; i <= n; i++) {
		const struct range_route *r = i < n ? &routes[i] : NULL;

		while (depth > 0 && (r == NULL || stack[depth - 1]->last < r->first)) {
			range_key_t end = stack[--depth]->last;

			if (end != top)
				list_emit(list, end + 1, depth > 0 ? stack[depth - 1]->hop : 0);
		}
		if (r == NULL)
			break;
		if (depth > 0 && stack[depth - 1]->first == r->first
		    && stack[depth - 1]->last == r->last)
			continue;
		list_emit(list, r->first, r->hop);
		stack[depth++] = r;
	}
}

int range_list_make(struct range_list *out, const struct range_route *routes, size_t n, size_t bits)
{
	struct range_route *sorted = NULL;

	*out = (struct range_list){0};
	out->items = reallocarray(NULL, 2 * n + 1, sizeof(*out->items));
	if (out->items == NULL)
		return err_set(ENOMEM);
	if (!is_sorted(routes, n)) {
		sorted = reallocarray(NULL, n, sizeof(*sorted));
		if (sorted == NULL) {
			range_list_fini(out);
			return err_set(ENOMEM);
		}
		memcpy(sorted, routes, n * sizeof(*sorted));
		qsort(sorted, n, sizeof(*sorted), route_cmp);
		routes = sorted;
	}
	list_sweep(out, routes, n, range_host_mask(bits, 0));
	free(sorted);
	return 0;
}

void range_list_fini(struct range_list *list)
{
	free(list->items);
	*list = (struct range_list){0};
}

uint32_t ranges4_find(const struct ranges4 *r, uint32_t key)
{
	uint32_t at = 0, left = r->len;

	// Invariant: starts[at] <= key, and the answer is among the left ranges from at on.
	while (left > 1) {
		uint32_t half = left / 2;

		at = r->starts[at + half] <= key ? at + half : at;
		left -= half;
	}
	return r->hops[at];
}

uint32_t ranges6_find(const struct ranges6 *r, range_key_t key)
{
	uint32_t at = 0, left = r->len;

	while (left > 1) {
		uint32_t half = left / 2;

		at = r->starts[at + half] <= key ? at + half : at;
		left -= half;
	}
	return r->hops[at];
}
