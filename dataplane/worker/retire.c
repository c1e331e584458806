// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "dataplane/worker/retire.h"

#include "control/base/err.h"
#include "control/base/log.h"

#include <rte_malloc.h>

#include <stdlib.h>

#define LOG_AREA "dataplane.retire"

int retire_init(struct retire_queue *q, unsigned n_workers)
{
	*q = (struct retire_queue){0};
	q->rcu = rte_zmalloc("sp_rcu", rte_rcu_qsbr_get_memsize(n_workers), RTE_CACHE_LINE_SIZE);
	if (q->rcu == NULL || rte_rcu_qsbr_init(q->rcu, n_workers) != 0) {
		LOG(ERR, "rte_rcu_qsbr_init failed workers=%u", n_workers);
		return err_set(ENOMEM);
	}
	return 0;
}

static void retire_pop(struct retire_queue *q)
{
	struct retired *r = &q->items[q->first];

	q->first = (q->first + 1) % q->cap;
	q->n--;
	r->free_fn(r->arg, r->object);
}

void retire_fini(struct retire_queue *q)
{
	while (q->n > 0)
		retire_pop(q);
	free(q->items);
	rte_free(q->rcu);
	*q = (struct retire_queue){0};
}

static bool retire_grow(struct retire_queue *q)
{
	size_t cap = q->cap == 0 ? 64 : q->cap * 2;
	struct retired *items = calloc(cap, sizeof(*items));

	if (items == NULL)
		return false;
	for (size_t i = 0; i < q->n; i++)
		items[i] = q->items[(q->first + i) % q->cap];
	free(q->items);
	q->items = items;
	q->cap = cap;
	q->first = 0;
	return true;
}

void retire_push(
	struct retire_queue *q,
	const void *object,
	void (*free_fn)(void *arg, const void *object),
	void *arg)
{
	if (object == NULL)
		return;
	if (q->n == q->cap && !retire_grow(q)) {
		rte_rcu_qsbr_synchronize(q->rcu, RTE_QSBR_THRID_INVALID);
		free_fn(arg, object);
		return;
	}
	q->items[(q->first + q->n) % q->cap] = (struct retired){
		.object = object,
		.free_fn = free_fn,
		.arg = arg,
		.token = rte_rcu_qsbr_start(q->rcu),
	};
	q->n++;
}

size_t retire_reclaim(struct retire_queue *q)
{
	// Tokens ascend: the first one that is not over ends the walk.
	while (q->n > 0 && rte_rcu_qsbr_check(q->rcu, q->items[q->first].token, false) == 1)
		retire_pop(q);
	return q->n;
}
