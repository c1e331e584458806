// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "control/names/forwarder.h"

#include "control/base/err.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

enum {
	SLOT_BITS = 10,
	PROBES_MAX = 2 * RESOLV_CONF_NAMESERVERS_MAX,
};
static_assert(FORWARDER_SLOTS <= 1 << SLOT_BITS, "an id holds the slot");

#define RTT_UNKNOWN UINT64_MAX

struct exchange {
	TAILQ_ENTRY(exchange) link; // of the list that it is in
	uint32_t id; // the slot, and how often it has been used
	bool is_used, is_probe;
	enum forward_transport transport;
	struct ip_addr server;
	uint64_t began;
	struct dns_head head;
};

TAILQ_HEAD(exchange_list, exchange);

struct nameserver {
	struct ip_addr addr;
	uint64_t rtt; // the lowest ever
};

struct forwarder {
	void (*random)(void *ctx, void *buf, size_t size);
	void *random_ctx;
	struct nameserver servers[RESOLV_CONF_NAMESERVERS_MAX];
	size_t n_servers;
	size_t n_probed; // of this round: two for each server
	// Each list is in the order of its deadlines, since all of it has the same timeout.
	struct exchange_list queries, probes, unused;
	size_t n_queries, n_probes;
	struct forwarder_stats stats;
	uint8_t out[DNS_HEAD_SIZE]; // what we say ourselves
	struct exchange slots[FORWARDER_SLOTS];
};

struct forwarder *
forwarder_create(void (*random)(void *ctx, void *buf, size_t size), void *random_ctx)
{
	struct forwarder *f = calloc(1, sizeof(*f));

	if (f == NULL)
		return err_set_null(ENOMEM);
	f->random = random;
	f->random_ctx = random_ctx;
	TAILQ_INIT(&f->queries);
	TAILQ_INIT(&f->probes);
	TAILQ_INIT(&f->unused);
	for (uint32_t i = 0; i < FORWARDER_SLOTS; i++) {
		f->slots[i].id = i;
		TAILQ_INSERT_TAIL(&f->unused, &f->slots[i], link);
	}
	return f;
}

void forwarder_destroy(struct forwarder *f)
{
	free(f);
}

size_t forwarder_slot(uint32_t id)
{
	return id & ((1u << SLOT_BITS) - 1);
}

const struct forwarder_stats *forwarder_stats(const struct forwarder *f)
{
	return &f->stats;
}

// There is room: queries and probes are bounded each, and together they are all slots.
static struct exchange *exchange_begin(struct forwarder *f, uint64_t now, bool is_probe)
{
	struct exchange *x = TAILQ_FIRST(&f->unused);

	TAILQ_REMOVE(&f->unused, x, link);
	x->is_used = true;
	x->is_probe = is_probe;
	x->began = now;
	if (is_probe) {
		TAILQ_INSERT_TAIL(&f->probes, x, link);
		f->n_probes++;
	} else {
		TAILQ_INSERT_TAIL(&f->queries, x, link);
		f->n_queries++;
	}
	return x;
}

static void exchange_end(struct forwarder *f, struct exchange *x)
{
	if (x->is_probe) {
		TAILQ_REMOVE(&f->probes, x, link);
		f->n_probes--;
	} else {
		TAILQ_REMOVE(&f->queries, x, link);
		f->n_queries--;
	}
	x->is_used = false;
	x->id += 1u << SLOT_BITS;
	TAILQ_INSERT_TAIL(&f->unused, x, link);
}

static struct exchange *exchange_find(struct forwarder *f, uint32_t id)
{
	size_t slot = forwarder_slot(id);
	struct exchange *x = slot < FORWARDER_SLOTS ? &f->slots[slot] : NULL;

	return x != NULL && x->is_used && x->id == id ? x : NULL;
}

static struct forward_step step_of(const struct exchange *x, enum forward_verdict verdict)
{
	return (struct forward_step){
		.verdict = verdict,
		.id = x->id,
		.transport = x->transport,
		.server = x->server,
	};
}

static struct nameserver *nameserver_find(struct forwarder *f, const struct ip_addr *addr)
{
	for (size_t i = 0; i < f->n_servers; i++) {
		if (ip_addr_eq(&f->servers[i].addr, addr))
			return &f->servers[i];
	}
	return NULL;
}

void forwarder_probe(struct forwarder *f, const struct ip_addr *servers, size_t n)
{
	struct nameserver list[RESOLV_CONF_NAMESERVERS_MAX];

	if (n > RESOLV_CONF_NAMESERVERS_MAX)
		n = RESOLV_CONF_NAMESERVERS_MAX;
	for (size_t i = 0; i < n; i++) {
		const struct nameserver *known = nameserver_find(f, &servers[i]);

		list[i] = (struct nameserver){
			.addr = servers[i],
			.rtt = known != NULL ? known->rtt : RTT_UNKNOWN,
		};
	}
	memcpy(f->servers, list, n * sizeof(list[0]));
	f->n_servers = n;
	f->n_probed = 0;
}

struct forward_step forwarder_probe_next(struct forwarder *f, uint64_t now)
{
	struct forward_step step;
	struct exchange *x;
	uint16_t id;

	if (f->n_probed >= 2 * f->n_servers || f->n_probes == PROBES_MAX)
		return (struct forward_step){.verdict = FORWARD_NOTHING};
	x = exchange_begin(f, now, true);
	x->server = f->servers[f->n_probed / 2].addr;
	x->transport = f->n_probed % 2 == 0 ? FORWARD_UDP : FORWARD_TCP;
	f->n_probed++;
	f->random(f->random_ctx, &id, sizeof(id));
	x->head.size = (uint16_t)dns_probe_write(x->head.data, id);
	step = step_of(x, FORWARD_SEND);
	step.data = x->head.data;
	step.size = x->head.size;
	return step;
}

static const struct nameserver *nameserver_fastest(const struct forwarder *f)
{
	const struct nameserver *best = NULL;
	uint64_t rtt = RTT_UNKNOWN;

	for (size_t i = 0; i < f->n_servers; i++) {
		if (f->servers[i].rtt < rtt) {
			best = &f->servers[i];
			rtt = best->rtt;
		}
	}
	return best;
}

bool forwarder_is_ready(const struct forwarder *f)
{
	return nameserver_fastest(f) != NULL;
}

static struct forward_step
servfail(struct forwarder *f, struct forward_step step, const struct dns_head *head)
{
	step.verdict = FORWARD_REPLY;
	step.data = f->out;
	step.size = dns_servfail_write(f->out, head);
	f->stats.servfail++;
	return step;
}

struct forward_step forwarder_query(
	struct forwarder *f,
	uint64_t now,
	enum forward_transport transport,
	const void *data,
	size_t size)
{
	struct forward_step step = {.verdict = FORWARD_NOTHING, .transport = transport};
	const struct nameserver *server = nameserver_fastest(f);
	struct dns_head head;
	struct exchange *x;

	if (dns_query_parse(&head, data, size) < 0) {
		f->stats.malformed++;
		return step;
	}
	f->stats.queries++;
	if (server == NULL || f->n_queries == FORWARDER_QUERIES_MAX)
		return servfail(f, step, &head);
	x = exchange_begin(f, now, false);
	x->transport = transport;
	x->server = server->addr;
	x->head = head;
	step = step_of(x, FORWARD_SEND);
	step.data = data;
	step.size = size;
	return step;
}

static void probe_answered(struct forwarder *f, const struct exchange *x, uint64_t now)
{
	struct nameserver *server = nameserver_find(f, &x->server);

	if (server != NULL && now - x->began < server->rtt)
		server->rtt = now - x->began;
}

struct forward_step
forwarder_response(struct forwarder *f, uint64_t now, uint32_t id, const void *data, size_t size)
{
	struct exchange *x = exchange_find(f, id);
	struct forward_step step;

	if (x == NULL || !dns_response_matches(&x->head, data, size)) {
		f->stats.strangers++;
		return (struct forward_step){.verdict = FORWARD_NOTHING};
	}
	step = step_of(x, x->is_probe ? FORWARD_DONE : FORWARD_REPLY);
	step.data = data;
	step.size = size;
	if (x->is_probe) {
		if (dns_rcode(data, size) == DNS_RCODE_NOERROR)
			probe_answered(f, x, now);
	} else {
		f->stats.answered++;
		if (x->transport == FORWARD_UDP && size > DNS_UDP_REPLY_SIZE) {
			f->stats.truncated++;
			step.size = dns_truncated_write(f->out, &x->head, data);
			step.data = f->out;
		}
	}
	exchange_end(f, x);
	return step;
}

static struct forward_step exchange_fail(struct forwarder *f, struct exchange *x)
{
	struct forward_step step = step_of(x, FORWARD_DONE);

	if (!x->is_probe)
		step = servfail(f, step, &x->head);
	exchange_end(f, x);
	return step;
}

struct forward_step forwarder_fail(struct forwarder *f, uint32_t id)
{
	struct exchange *x = exchange_find(f, id);

	if (x == NULL)
		return (struct forward_step){.verdict = FORWARD_NOTHING};
	return exchange_fail(f, x);
}

void forwarder_cancel(struct forwarder *f, uint32_t id)
{
	struct exchange *x = exchange_find(f, id);

	if (x != NULL)
		exchange_end(f, x);
}

struct forward_step forwarder_expire(struct forwarder *f, uint64_t now)
{
	struct exchange *query = TAILQ_FIRST(&f->queries);
	struct exchange *probe = TAILQ_FIRST(&f->probes);

	if (query != NULL && now >= query->began + FORWARDER_TIMEOUT_NS)
		return exchange_fail(f, query);
	if (probe != NULL && now >= probe->began + FORWARDER_PROBE_TIMEOUT_NS)
		return exchange_fail(f, probe);
	return (struct forward_step){.verdict = FORWARD_NOTHING};
}

uint64_t forwarder_deadline(const struct forwarder *f)
{
	const struct exchange *query = TAILQ_FIRST(&f->queries);
	const struct exchange *probe = TAILQ_FIRST(&f->probes);
	uint64_t deadline = FORWARDER_DEADLINE_NONE;

	if (query != NULL)
		deadline = query->began + FORWARDER_TIMEOUT_NS;
	if (probe != NULL && probe->began + FORWARDER_PROBE_TIMEOUT_NS < deadline)
		deadline = probe->began + FORWARDER_PROBE_TIMEOUT_NS;
	return deadline;
}
