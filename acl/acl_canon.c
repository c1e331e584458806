// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "acl/acl_canon.h"

#include "control/base/cursor.h"
#include "control/base/err.h"

#include <stdlib.h>
#include <string.h>

static bool filter_is_valid(const struct acl_filter *f)
{
	switch (f->protocol) {
	case ACL_PROTOCOL_TCP:
	case ACL_PROTOCOL_UDP:
		return f->port_first <= f->port_last;
	case ACL_PROTOCOL_ICMP:
		return true;
	}
	return false;
}

static bool prefix_is_valid(const struct ip_prefix *p)
{
	size_t size = ip_addr_size(&p->addr);
	unsigned len = p->len;

	if (size == 0 || len > size * 8)
		return false;
	for (size_t i = 0; i < sizeof(p->addr.bytes); i++) {
		unsigned net_bits = len >= (i + 1) * 8 ? 8
			: len > i * 8		       ? len - (unsigned)i * 8
						       : 0;

		if ((p->addr.bytes[i] & (0xffu >> net_bits)) != 0)
			return false;
	}
	return true;
}

static int resource_check(const struct acl_resource *r)
{
	if (r->n_filters > ACL_FILTERS_MAX)
		return -E2BIG;
	switch (r->type) {
	case ACL_RESOURCE_INTERNET:
		// The portal has no filters there; ignoring some would permit what was not meant.
		return r->n_filters == 0 ? 0 : -EINVAL;
	case ACL_RESOURCE_DNS:
		if (r->prefix.len != ip_addr_size(&r->prefix.addr) * 8)
			return -EINVAL;
		break;
	case ACL_RESOURCE_CIDR:
		break;
	default:
		return -EINVAL;
	}
	if (!prefix_is_valid(&r->prefix))
		return -EINVAL;
	for (size_t i = 0; i < r->n_filters; i++) {
		if (!filter_is_valid(&r->filters[i]))
			return -EINVAL;
	}
	return 0;
}

static int uint_cmp(uint64_t a, uint64_t b)
{
	return (a > b) - (a < b);
}

static int filter_cmp(const void *va, const void *vb)
{
	const struct acl_filter *a = va, *b = vb;
	int rc;

	if ((rc = uint_cmp(a->protocol, b->protocol)) != 0)
		return rc;
	if ((rc = uint_cmp(a->port_first, b->port_first)) != 0)
		return rc;
	return uint_cmp(a->port_last, b->port_last);
}

// The first two comparisons are spec/datapath.md 2.2; the others only make the order total.
static int resource_cmp(const void *va, const void *vb)
{
	const struct acl_canon_resource *ca = va, *cb = vb;
	const struct acl_resource *a = &ca->resource, *b = &cb->resource;
	int rc;

	if ((rc = uint_cmp(a->prefix.len, b->prefix.len)) != 0)
		return rc;
	if ((rc = memcmp(a->id, b->id, sizeof(a->id))) != 0)
		return rc;
	if ((rc = ip_addr_cmp(&a->prefix.addr, &b->prefix.addr)) != 0)
		return rc;
	if ((rc = uint_cmp(a->type, b->type)) != 0)
		return rc;
	if ((rc = uint_cmp(a->n_filters, b->n_filters)) != 0)
		return rc;
	for (size_t i = 0; i < a->n_filters; i++) {
		if ((rc = filter_cmp(&a->filters[i], &b->filters[i])) != 0)
			return rc;
	}
	return 0;
}

// Copies the filters to out in canonical form and returns how many are left.
static size_t filters_canonicalize(struct acl_filter *out, const struct acl_filter *in, size_t n)
{
	size_t n_out = 0;

	for (size_t i = 0; i < n; i++) {
		out[i] = in[i];
		if (out[i].protocol == ACL_PROTOCOL_ICMP) {
			out[i].port_first = 0;
			out[i].port_last = UINT16_MAX;
		}
	}
	if (n > 0)
		qsort(out, n, sizeof(*out), filter_cmp);
	for (size_t i = 0; i < n; i++) {
		struct acl_filter *last = n_out > 0 ? &out[n_out - 1] : NULL;

		if (last == NULL || last->protocol != out[i].protocol
		    || out[i].port_first > last->port_last + 1)
			out[n_out++] = out[i];
		else if (out[i].port_last > last->port_last)
			last->port_last = out[i].port_last;
	}
	return n_out;
}

static void resources_fill(struct acl_canon *canon, const struct acl_resource *in, size_t n)
{
	struct acl_filter *filters = canon->filters;

	for (size_t i = 0; i < n; i++) {
		struct acl_resource *r = &canon->resources[i].resource;

		*r = in[i];
		if (r->type == ACL_RESOURCE_INTERNET)
			r->prefix = (struct ip_prefix){0};
		r->n_filters = filters_canonicalize(filters, in[i].filters, in[i].n_filters);
		r->filters = filters;
		filters += r->n_filters;
		canon->resources[i].input = i;
	}
}

static void resources_sort(struct acl_canon *canon, size_t n)
{
	struct acl_canon_resource *list = canon->resources;

	if (n > 0)
		qsort(list, n, sizeof(*list), resource_cmp);
	for (size_t i = 0; i < n; i++) {
		size_t n_out = canon->n_resources;

		if (n_out == 0 || resource_cmp(&list[n_out - 1], &list[i]) != 0) {
			list[canon->n_resources++] = list[i];
			canon->n_rules +=
				list[i].resource.n_filters > 0 ? list[i].resource.n_filters : 1;
		}
		canon->ordinals[list[i].input] = (uint16_t)(canon->n_resources - 1);
	}
}

int acl_canon_init(struct acl_canon *canon, const struct acl_resource *resources, size_t n)
{
	size_t n_filters = 0;

	*canon = (struct acl_canon){0};
	if (n > ACL_RESOURCES_MAX)
		return -E2BIG;
	for (size_t i = 0; i < n; i++) {
		int rc = resource_check(&resources[i]);

		if (rc < 0)
			return rc;
		n_filters += resources[i].n_filters;
	}
	// One more of each: calloc(0) may return NULL.
	canon->resources = calloc(n + 1, sizeof(*canon->resources));
	canon->filters = calloc(n_filters + 1, sizeof(*canon->filters));
	canon->ordinals = calloc(n + 1, sizeof(*canon->ordinals));
	if (canon->resources == NULL || canon->filters == NULL || canon->ordinals == NULL) {
		acl_canon_fini(canon);
		return -ENOMEM;
	}
	resources_fill(canon, resources, n);
	resources_sort(canon, n);
	return 0;
}

void acl_canon_fini(struct acl_canon *canon)
{
	free(canon->resources);
	free(canon->filters);
	free(canon->ordinals);
	*canon = (struct acl_canon){0};
}

enum {
	RESOURCE_BYTES = 16 + 1 + 1 + 16 + 1 + 2,
	FILTER_BYTES = 1 + 2 + 2,
};

uint8_t *acl_canon_bytes(const struct acl_canon *canon, size_t *size)
{
	size_t n = canon->n_resources * RESOURCE_BYTES + canon->n_rules * FILTER_BYTES;
	uint8_t *bytes = calloc(1, n + ACL_CANON_SPARE_BYTES);
	struct cursor c;

	if (bytes == NULL)
		return err_set_null(ENOMEM);
	c = cursor_writer(bytes, n);
	for (size_t i = 0; i < canon->n_resources; i++) {
		const struct acl_resource *r = &canon->resources[i].resource;

		cursor_write(&c, r->id, sizeof(r->id));
		cursor_write_u8(&c, (uint8_t)r->type);
		cursor_write_u8(&c, r->prefix.addr.family);
		cursor_write(&c, r->prefix.addr.bytes, sizeof(r->prefix.addr.bytes));
		cursor_write_u8(&c, r->prefix.len);
		cursor_write_u16(&c, (uint16_t)r->n_filters);
		for (size_t k = 0; k < r->n_filters; k++) {
			cursor_write_u8(&c, (uint8_t)r->filters[k].protocol);
			cursor_write_u16(&c, r->filters[k].port_first);
			cursor_write_u16(&c, r->filters[k].port_last);
		}
	}
	*size = c.pos;
	return bytes;
}
