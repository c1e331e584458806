// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "dataplane/stage/stage.h"
#include "dataplane/worker/session.h"

enum {
	DATA_OVERHEAD = NOISE_DATA_SIZE_MIN,
	DATA_HEADER = sizeof(struct noise_msg_data),
};

// Three passes over the burst:
//
//   1  lengths, receiver index, keypair life, window: reads only
//   2  one AEAD burst
//   3  effects, in this order: replay window, key confirmation, timers and counters
//
// Nothing about a client changes before its packet authenticated, so whoever cannot make a valid
// tag cannot move a window, confirm a key, refresh a timer or count as traffic of a client.
// tests/unit/stage/decrypt_test.c forges packets and compares the client byte by byte.

struct decrypt_job {
	uint8_t place;
	struct client *client;
	struct keypair *keypair;
	uint32_t local_index;
	uint64_t counter;
};

struct decrypt_batch {
	unsigned n;
	struct decrypt_job job[DP_BURST_MAX];
	struct aead_op op[DP_BURST_MAX];
};

// Finds the keypair of one message. @return DROP_REASON_COUNT if it has one
static enum drop_reason
decrypt_find(const struct worker *w, const struct rte_mbuf *m, struct decrypt_job *job)
{
	const struct noise_msg_data *msg = rte_pktmbuf_mtod(m, const struct noise_msg_data *);
	uint32_t slot;

	if (m->data_len < DATA_OVERHEAD)
		return DROP_wg_short;
	job->local_index = noise_le32_get(msg->receiver_index);
	slot = job->local_index >> 8;
	if (slot >= w->max_clients || !w->clients[slot].is_alive)
		return DROP_wg_unknown_index;
	job->client = &w->clients[slot];
	job->keypair = client_keypair_find(job->client, job->local_index);
	if (job->keypair == NULL)
		return DROP_wg_unknown_index;
	job->counter = noise_le64_get(msg->counter);
	client_prefetch_open(job->client, job->keypair, job->counter);
	return DROP_REASON_COUNT;
}

// Checks it. @return DROP_REASON_COUNT if it may be decrypted
static enum drop_reason decrypt_check(const struct worker *w, const struct decrypt_job *job)
{
	if (w->now >= job->keypair->expires_tsc || job->counter >= NOISE_REJECT_AFTER_MESSAGES)
		return DROP_wg_expired;
	// Saves the cipher for what pass 3 would refuse.
	if (!noise_replay_check(&job->keypair->replay, job->counter))
		return DROP_wg_replay;
	return DROP_REASON_COUNT;
}

// In two walks, so that the keypairs of the whole burst are on their way before the first is read.
static void decrypt_pass1(struct worker *w, struct burst *b, struct decrypt_batch *batch)
{
	unsigned n_found = 0;

	BURST_FOREACH(b, i) {
		struct decrypt_job *job = &batch->job[n_found];
		enum drop_reason reason = decrypt_find(w, b->pkt[i], job);

		if (unlikely(reason != DROP_REASON_COUNT)) {
			worker_drop(w, b->pkt[i], reason);
			continue;
		}
		job->place = (uint8_t)i;
		n_found++;
	}
	batch->n = 0;
	for (unsigned j = 0; j < n_found; j++) {
		const struct decrypt_job *job = &batch->job[j];
		struct rte_mbuf *m = b->pkt[job->place];
		enum drop_reason reason = decrypt_check(w, job);

		if (unlikely(reason != DROP_REASON_COUNT)) {
			worker_drop(w, m, reason);
			continue;
		}
		if (unlikely(batch->n != j))
			batch->job[batch->n] = *job;
		batch->op[batch->n++] = (struct aead_op){
			.data = rte_pktmbuf_mtod_offset(m, uint8_t *, DATA_HEADER),
			.size = m->data_len - (uint32_t)DATA_HEADER,
			.key = job->keypair->recv_key,
			.counter = job->counter,
		};
	}
}

static void confirmed_tell(struct worker *w, struct client *c, const struct keypair *k)
{
	const struct dp_event event = {
		.type = DP_EVENT_KEYPAIR_CONFIRMED,
		.slot = worker_slot(w, c),
		.local_index = k->local_index,
	};

	// With the ring full, the client's next packet tries again.
	c->confirm_retry = !worker_event_send(w, &event);
}

// Only the newest packet says where a client is: older ones may have been on the way for long, or
// held back by somebody.
static void source_follow(
	struct worker *w,
	const struct decrypt_job *job,
	const struct rte_mbuf *m,
	uint8_t outer_size)
{
	struct client *c = job->client;

	if (client_keypair(c, CLIENT_ROLE_CURRENT) == job->keypair
	    && job->keypair->replay.greatest == job->counter)
		session_source_check(
			w, c, rte_pktmbuf_mtod(m, const uint8_t *) - outer_size, outer_size);
}

// Effects of one authenticated message. @return DROP_REASON_COUNT to keep its plaintext
static enum drop_reason
decrypt_effects(struct worker *w, const struct decrypt_job *job, uint32_t size)
{
	struct client *c = job->client;
	struct keypair *k = job->keypair;

	// A confirmation earlier in this burst may have retired the keypair and wiped it.
	if (unlikely(client_keypair_find(c, job->local_index) != k))
		return DROP_wg_unknown_index;
	if (unlikely(!noise_replay_update(&k->replay, job->counter)))
		return DROP_wg_replay;
	if (unlikely(client_keypair_confirm(c, k) || c->confirm_retry))
		confirmed_tell(w, c, k);
	session_received(w, c, k, size);
	return DROP_REASON_COUNT;
}

static void decrypt_pass3(struct worker *w, struct burst *b, const struct decrypt_batch *batch)
{
	uint16_t kept = 0;

	for (unsigned j = 0; j < batch->n; j++) {
		const struct decrypt_job *job = &batch->job[j];
		struct rte_mbuf *m = b->pkt[job->place];
		uint32_t size = m->data_len - (uint32_t)DATA_OVERHEAD;
		enum drop_reason reason = DROP_wg_auth;

		if (likely(batch->op[j].is_ok))
			reason = decrypt_effects(w, job, size);
		if (unlikely(reason != DROP_REASON_COUNT)) {
			worker_drop(w, m, reason);
			continue;
		}
		if (unlikely(job->client->follows_source && b->outer_size[job->place] != 0))
			source_follow(w, job, m, b->outer_size[job->place]);
		stat_add(&w->stats.decrypted, 1);
		if (size == 0) {
			rte_pktmbuf_free(m); // a keepalive has done its work
			continue;
		}
		rte_pktmbuf_adj(m, DATA_HEADER);
		rte_pktmbuf_trim(m, NOISE_TAG_SIZE);
		b->client[job->place] = job->client;
		b->live[kept++] = job->place;
	}
	b->n_live = kept;
}

void stage_decrypt(struct worker *w, struct burst *b)
{
	struct decrypt_batch batch;

	decrypt_pass1(w, b, &batch);
	PROBE(w, open_check);
	if (batch.n > 0)
		aead_open_burst(w->aead, batch.op, batch.n);
	PROBE(w, open_aead);
	decrypt_pass3(w, b, &batch);
	PROBE(w, open_effects);
}
