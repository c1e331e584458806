// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "control/portal/gateway_messages.h"
#include "perf/bench/authority.h"

#include <rte_cycles.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// A whole list (init): every pair there is, with another expiry, so that each client gets a new policy.
// From its text, while the worker forwards packets of all clients.

enum {
	N_PAIRS = BED_CLIENTS * BED_RESOURCES,
	PAIR_TEXT_SIZE = 160,
};

struct samples {
	struct sample_set json, parse, control, slice, p50, p99, worst;
	uint64_t lost;
};

static double ms_since(uint64_t tsc)
{
	return (double)(rte_rdtsc() - tsc) * 1e3 / (double)rte_get_tsc_hz();
}

static char *init_write(long long expires_at, size_t *size)
{
	char *text = malloc(N_PAIRS * (size_t)PAIR_TEXT_SIZE + 1000), *at = text;

	authority_check(text != NULL, "malloc");
	at += sprintf(
		at,
		"{\"interface\":{\"ipv4\":\"100.127.255.1\",\"ipv6\":\"fd00:2021:1111::ff\"},"
		"\"relays\":[],\"authorizations\":[");
	for (uint32_t r = 0; r < BED_RESOURCES; r++)
		for (uint32_t slot = 0; slot < BED_CLIENTS; slot++) {
			struct uuid client = authority_client_id(slot),
				    resource = authority_resource_id(r);
			char text_c[UUID_TEXT_SIZE], text_r[UUID_TEXT_SIZE];

			at += snprintf(
				at,
				PAIR_TEXT_SIZE,
				"%s{\"client_id\":\"%s\",\"resource_id\":\"%s\",\"expires_at\":%"
				"lld}",
				r + slot == 0 ? "" : ",",
				uuid_format(&client, text_c),
				uuid_format(&resource, text_r),
				expires_at);
		}
	at += sprintf(at, "]}");
	*size = (size_t)(at - text);
	return text;
}

// As the gateway's loop does, but for what it does between two slices. @return the longest slice
static double list_apply(struct authority *a, const struct gateway_init *init)
{
	uint64_t t0 = rte_rdtsc();
	double worst = 0;
	bool has_more = true;

	authority_check(init->n_authorizations == N_PAIRS, "init");
	authority_check(
		access_retain(a->access, init->authorizations, init->n_authorizations) == 0,
		"access_retain");
	while (has_more) {
		double ms;

		has_more = access_reconcile(a->access, ACCESS_RECONCILE_BUDGET);
		ms = ms_since(t0);
		worst = ms > worst ? ms : worst;
		t0 = rte_rdtsc();
	}
	return worst;
}

static void text_handle(struct authority *a, const char *text, size_t size, struct samples *s)
{
	struct gateway_message m;
	struct portal_error err;
	uint64_t t0 = rte_rdtsc();
	json_t *payload = json_loadb(text, size, JSON_REJECT_DUPLICATES, NULL);

	authority_check(payload != NULL, "json_loadb");
	sample_add(&s->json, ms_since(t0));
	t0 = rte_rdtsc();
	authority_check(gateway_message_parse(&m, "init", payload, &err) == 0, err.text);
	sample_add(&s->parse, ms_since(t0));
	t0 = rte_rdtsc();
	sample_add(&s->slice, list_apply(a, &m.init));
	sample_add(&s->control, ms_since(t0));
	gateway_message_fini(&m);
	json_decref(payload);
}

static void run_once(struct authority *a, long long expires_at, struct samples *s)
{
	size_t size;
	char *text = init_write(expires_at, &size);

	a->n_pauses = 0;
	a->has_pauses = true;
	authority_traffic_start(a);
	text_handle(a, text, size, s);
	authority_traffic_stop(a);
	a->has_pauses = false;
	free(text);
	authority_check(a->n_pauses > 0, "traffic");
	sample_add(&s->p50, authority_percentile(a->pause_ms, a->n_pauses, 0.5));
	sample_add(&s->p99, authority_percentile(a->pause_ms, a->n_pauses, 0.99));
	sample_add(&s->worst, a->pause_ms[a->n_pauses - 1]);
	s->lost += a->fed - a->passed;
}

void bench_snapshot(struct authority *a, const struct bench_config *config, struct results *r)
{
	struct samples s = {0};
	json_t *result;

	for (unsigned run = 0; run < config->runs; run++)
		run_once(a, 2000000000 + run, &s);
	result = result_add(r, "snapshot", "256", BED_CLIENTS, BED_FLOWS_PER_CLIENT);
	result_samples(result, "json_ms", &s.json);
	result_samples(result, "parse_ms", &s.parse);
	result_samples(result, "control_ms", &s.control);
	result_samples(result, "slice_ms", &s.slice);
	result_samples(result, "p50_ms", &s.p50);
	result_samples(result, "p99_ms", &s.p99);
	result_samples(result, "worst_ms", &s.worst);
	result_number(result, "authorizations", N_PAIRS);
	json_object_set_new(result, "lost", json_integer((json_int_t)s.lost));
}
