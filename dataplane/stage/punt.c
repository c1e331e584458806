// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "dataplane/stage/stage.h"

void punt_send(struct worker *w, enum dp_punt class_, struct rte_mbuf *m)
{
	struct dp_meta *meta = rte_mbuf_to_priv(m);

	meta->kind = (uint8_t)class_;
	if (unlikely(rte_ring_sp_enqueue(w->channel->punt[class_], m) < 0)) {
		worker_drop(w, m, DROP_punt_full);
		return;
	}
	stat_add(&w->stats.punted[class_], 1);
	w->is_signal_due = true;
}

void punt_client(struct worker *w, enum dp_punt class_, struct client *c, struct rte_mbuf *m)
{
	struct dp_meta *meta = rte_mbuf_to_priv(m);

	*meta = (struct dp_meta){.slot = worker_slot(w, c)};
	punt_send(w, class_, m);
}
