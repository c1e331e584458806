// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "peers/portal/grants.h"

#include "control/base/alloc.h"

#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int compare(const void *a, const void *b)
{
	const struct grant *x = a;
	const struct grant *y = b;
	int rc = strcmp(x->client_id.text, y->client_id.text);

	if (rc == 0)
		rc = strcmp(x->resource_id.text, y->resource_id.text);
	return rc != 0 ? rc : strcmp(x->gateway_id.text, y->gateway_id.text);
}

void grants_put(struct grants *set, const struct grant *g)
{
	struct grant *const *found = tfind(g, &set->by_triple, compare);
	struct grant *own;

	if (found != NULL) {
		**found = *g;
		return;
	}
	own = alloc_zero(1, sizeof(*own));
	*own = *g;
	alloc_check(tsearch(own, &set->by_triple, compare));
	set->n++;
}

bool grants_del(struct grants *set, const struct grant *triple)
{
	struct grant *const *found = tfind(triple, &set->by_triple, compare);
	struct grant *own;

	if (found == NULL)
		return false;
	own = *found;
	tdelete(triple, &set->by_triple, compare);
	free(own);
	set->n--;
	return true;
}

struct walk {
	void (*visit)(const struct grant *, void *);
	void *arg;
};

static void walk_node(const void *node, VISIT which, void *closure)
{
	const struct walk *w = closure;

	if (which == postorder || which == leaf)
		w->visit(*(struct grant *const *)node, w->arg);
}

void grants_walk(const struct grants *set, void (*visit)(const struct grant *, void *), void *arg)
{
	struct walk w = {.visit = visit, .arg = arg};

	twalk_r(set->by_triple, walk_node, &w);
}

void grants_fini(struct grants *set)
{
	tdestroy(set->by_triple, free);
	*set = (struct grants){};
}

json_t *grant_line(const struct grant *g)
{
	return alloc_check(json_pack(
		"{s:{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:I}}",
		"grant",
		"client",
		g->client_id.text,
		"resource",
		g->resource_id.text,
		"gateway",
		g->gateway_id.text,
		"owner",
		g->owner_id.text,
		"rule",
		g->rule_id.text,
		"id",
		g->id.text,
		"basis",
		g->basis,
		"expires_at",
		(json_int_t)g->expires_at));
}

json_t *grant_end_line(const struct grant *g)
{
	return alloc_check(json_pack(
		"{s:{s:s, s:s, s:s}}",
		"end",
		"client",
		g->client_id.text,
		"resource",
		g->resource_id.text,
		"gateway",
		g->gateway_id.text));
}

static bool read_id(const json_t *from, const char *key, struct ident *out)
{
	const char *text = json_string_value(json_object_get(from, key));

	return text != NULL && ident_parse(out, text) == 0;
}

static bool read_triple(const json_t *from, struct grant *out)
{
	return read_id(from, "client", &out->client_id)
		&& read_id(from, "resource", &out->resource_id)
		&& read_id(from, "gateway", &out->gateway_id);
}

bool grants_apply(struct grants *set, const json_t *line)
{
	const json_t *end = json_object_get(line, "end");
	const json_t *fields = json_object_get(line, "grant");
	const json_t *expires_at = json_object_get(fields, "expires_at");
	const char *basis = json_string_value(json_object_get(fields, "basis"));
	struct grant g = {};

	if (end != NULL)
		return read_triple(end, &g) && grants_del(set, &g);
	if (!read_triple(fields, &g) || !read_id(fields, "owner", &g.owner_id)
	    || !read_id(fields, "rule", &g.rule_id) || !read_id(fields, "id", &g.id)
	    || basis == NULL || strlen(basis) != GRANT_BASIS_SIZE - 1
	    || !json_is_integer(expires_at))
		return false;
	memcpy(g.basis, basis, GRANT_BASIS_SIZE);
	g.expires_at = json_integer_value(expires_at);
	grants_put(set, &g);
	return true;
}
