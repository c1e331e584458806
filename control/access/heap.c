// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "control/access/heap.h"

#include "control/base/err.h"

#include <assert.h>
#include <stdlib.h>

int heap_init(struct heap *h, size_t cap)
{
	*h = (struct heap){.cap = cap};
	h->nodes = calloc(cap > 0 ? cap : 1, sizeof(struct heap_node *));
	return h->nodes != NULL ? 0 : err_set(ENOMEM);
}

void heap_fini(struct heap *h)
{
	free(h->nodes);
	*h = (struct heap){0};
}

void heap_node_init(struct heap_node *node)
{
	*node = (struct heap_node){.deadline = UINT64_MAX};
}

static void place(struct heap *h, size_t index, struct heap_node *node)
{
	h->nodes[index] = node;
	node->index = index;
}

static void sift_up(struct heap *h, struct heap_node *node)
{
	size_t i = node->index;

	while (i > 0 && h->nodes[(i - 1) / 2]->deadline > node->deadline) {
		place(h, i, h->nodes[(i - 1) / 2]);
		i = (i - 1) / 2;
	}
	place(h, i, node);
}

static void sift_down(struct heap *h, struct heap_node *node)
{
	size_t i = node->index;

	for (;;) {
		size_t child = 2 * i + 1;

		if (child >= h->n)
			break;
		if (child + 1 < h->n && h->nodes[child + 1]->deadline < h->nodes[child]->deadline)
			child++;
		if (h->nodes[child]->deadline >= node->deadline)
			break;
		place(h, i, h->nodes[child]);
		i = child;
	}
	place(h, i, node);
}

static void remove_node(struct heap *h, struct heap_node *node)
{
	struct heap_node *last = h->nodes[--h->n];

	if (last != node) {
		place(h, node->index, last);
		sift_up(h, last);
		sift_down(h, last);
	}
	node->deadline = UINT64_MAX;
}

void heap_set(struct heap *h, struct heap_node *node, uint64_t deadline)
{
	if (node->deadline == deadline)
		return;
	if (deadline == UINT64_MAX) {
		remove_node(h, node);
		return;
	}
	if (node->deadline == UINT64_MAX) {
		assert(h->n < h->cap);
		node->index = h->n++;
		h->nodes[node->index] = node;
	}
	node->deadline = deadline;
	sift_up(h, node);
	sift_down(h, node);
}

struct heap_node *heap_top(const struct heap *h)
{
	return h->n > 0 ? h->nodes[0] : NULL;
}
