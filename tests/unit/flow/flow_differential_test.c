// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "dataplane/flow/flow.h"
#include "tests/unit/flow/fixture.h"
#include "tests/unit/rand.h"
#include "tests/unit/unit.h"

/**
 * Random operations on a small, crowded table against a list that is searched from end to end and
 * knows time in cycles, not ticks.
 */

enum {
	MAX_FLOWS = 96,
	N_PORTS = 12,
	N_STEPS = 150000,
};

struct model_flow {
	struct flow_inside key;
	struct flow_outside reply;
	struct flow *flow;
	uint64_t last_out, last_in;
	uint64_t rst; // when
	bool is_confirmed, is_fin_out, is_fin_in, is_rst;
};

struct model {
	struct model_flow flows[MAX_FLOWS];
	size_t n;
	uint64_t now;
	struct flow_table *t;
	struct unit_rand r;
	unsigned long n_created, n_full, n_no_port, n_expired, n_found;
};

static struct flow_inside random_key(struct unit_rand *r)
{
	static const char *const dsts[] = {"10.0.0.1", "10.0.0.2", "2001:db8::1", "::"};
	static const uint16_t dports[] = {0, 80, 443};
	enum flow_kind kind = (enum flow_kind)(FLOW_KIND_TCP + unit_rand_below(r, 4));
	uint16_t sport = (uint16_t)(FIXTURE_PORT_FIRST - 6 + unit_rand_below(r, N_PORTS + 12));
	uint16_t dport = dports[unit_rand_below(r, COUNT_OF(dports))];

	return fixture_inside(
		unit_rand_below(r, FIXTURE_CLIENTS),
		kind,
		dsts[unit_rand_below(r, COUNT_OF(dsts))],
		kind == FLOW_KIND_OTHER ? 0 : sport,
		kind >= FLOW_KIND_ECHO ? 0 : dport);
}

static struct model_flow *model_find(struct model *m, const struct flow_inside *key)
{
	for (size_t i = 0; i < m->n; i++) {
		if (memcmp(&m->flows[i].key, key, sizeof(*key)) == 0)
			return &m->flows[i];
	}
	return NULL;
}

static struct model_flow *model_find_reply(struct model *m, const struct flow_outside *key)
{
	for (size_t i = 0; i < m->n; i++) {
		if (memcmp(&m->flows[i].reply, key, sizeof(*key)) == 0)
			return &m->flows[i];
	}
	return NULL;
}

static void model_remove(struct model *m, struct model_flow *f)
{
	*f = m->flows[--m->n];
}

static struct flow_outside
outside_of(const struct flow_inside *key, const struct ip_addr *lan, uint32_t port)
{
	struct flow_outside o = {
		.nat_port = rte_cpu_to_be_16((uint16_t)port),
		.dport = key->dport,
		.family = key->family,
		.kind = key->kind,
		.proto = key->proto,
	};

	memcpy(o.lan, lan->bytes, sizeof(o.lan));
	memcpy(o.remote, key->dst, sizeof(o.remote));
	return o;
}

// What creating must come to: 0, or the errno; *own says whether the client's port must be kept.
static int
model_judge(struct model *m, const struct flow_inside *key, const struct ip_addr *lan, bool *own)
{
	uint32_t sport = rte_be_to_cpu_16(key->sport);
	struct flow_outside o = outside_of(key, lan, sport);
	bool in_range = sport >= FIXTURE_PORT_FIRST && sport < FIXTURE_PORT_FIRST + N_PORTS;

	*own = (in_range || key->kind >= FLOW_KIND_ECHO) && model_find_reply(m, &o) == NULL;
	if (m->n == MAX_FLOWS)
		return ENOSPC;
	if (*own || key->kind == FLOW_KIND_ECHO)
		return 0;
	for (uint32_t p = FIXTURE_PORT_FIRST; p < FIXTURE_PORT_FIRST + N_PORTS; p++) {
		o = outside_of(key, lan, p);
		if (key->kind != FLOW_KIND_OTHER && model_find_reply(m, &o) == NULL)
			return 0;
	}
	return EADDRNOTAVAIL;
}

static void step_create(struct model *m)
{
	struct flow_inside key = random_key(&m->r);
	struct ip_addr lan =
		fixture_addr(unit_rand_below(&m->r, 4) == 0 ? "192.0.2.2" : "192.0.2.1");
	struct model_flow *known = model_find(m, &key), *mf;
	bool own;
	int want = model_judge(m, &key, &lan, &own);
	struct flow *f;

	errno = 0;
	f = flow_create(m->t, &key, lan.bytes, key.dst, flow_table_tick(m->t, m->now));
	if (known != NULL) {
		assert_ptr_equal(f, known->flow);
		return;
	}
	if (want != 0) {
		assert_null(f);
		assert_int_equal(errno, want);
		m->n_full += want == ENOSPC;
		m->n_no_port += want == EADDRNOTAVAIL;
		return;
	}
	assert_non_null(f);
	mf = &m->flows[m->n];
	*mf = (struct model_flow){.key = key, .flow = f, .last_out = m->now};
	mf->reply = outside_of(&key, &lan, rte_be_to_cpu_16(f->nat_port));
	assert_null(model_find_reply(m, &mf->reply));
	if (own)
		assert_int_equal(f->nat_port, key.sport);
	else if (key.kind != FLOW_KIND_ECHO)
		assert_in_range(
			rte_be_to_cpu_16(f->nat_port),
			FIXTURE_PORT_FIRST,
			FIXTURE_PORT_FIRST + N_PORTS - 1);
	m->n++;
	m->n_created++;
}

static void step_lookup(struct model *m)
{
	struct flow_inside keys[FLOW_BURST_MAX] = {};
	struct flow_outside replies[FLOW_BURST_MAX] = {};
	struct flow *found[FLOW_BURST_MAX];
	unsigned n = unit_rand_below(&m->r, FLOW_BURST_MAX + 1);

	for (unsigned i = 0; i < n; i++) {
		struct ip_addr lan = fixture_addr("192.0.2.1");

		keys[i] = random_key(&m->r);
		replies[i] = outside_of(&keys[i], &lan, rte_be_to_cpu_16(keys[i].sport));
	}
	flow_inside_lookup_burst(m->t, keys, found, n);
	for (unsigned i = 0; i < n; i++) {
		const struct model_flow *mf = model_find(m, &keys[i]);

		assert_ptr_equal(found[i], mf != NULL ? mf->flow : NULL);
		m->n_found += mf != NULL;
	}
	flow_outside_lookup_burst(m->t, replies, found, n);
	for (unsigned i = 0; i < n; i++) {
		const struct model_flow *mf = model_find_reply(m, &replies[i]);

		assert_ptr_equal(found[i], mf != NULL ? mf->flow : NULL);
	}
}

static void step_touch(struct model *m)
{
	struct model_flow *mf;
	uint32_t tick = flow_table_tick(m->t, m->now);
	uint8_t flags;

	if (m->n == 0)
		return;
	mf = &m->flows[unit_rand_below(&m->r, (uint32_t)m->n)];
	flags = unit_rand_below(&m->r, 8) == 0 ? (uint8_t)unit_rand_u64(&m->r) : 0x10;
	if (unit_rand_below(&m->r, 2) == 0) {
		flow_touch_out(m->t, mf->flow, tick, 100, flags);
		mf->last_out = m->now;
		mf->is_fin_out |= (flags & 1) != 0;
	} else {
		flow_touch_in(m->t, mf->flow, tick, 100, flags);
		mf->last_in = m->now;
		mf->is_confirmed = true;
		mf->is_fin_in |= (flags & 1) != 0;
	}
	if ((flags & 4) != 0 && !mf->is_rst) {
		mf->is_rst = true;
		mf->rst = m->now;
	}
}

static void step_delete(struct model *m)
{
	struct model_flow *mf;

	if (m->n == 0)
		return;
	mf = &m->flows[unit_rand_below(&m->r, (uint32_t)m->n)];
	flow_delete(m->t, mf->flow);
	model_remove(m, mf);
}

static void step_clear(struct model *m)
{
	uint32_t slot = unit_rand_below(&m->r, FIXTURE_CLIENTS);
	unsigned n = 0;

	for (size_t i = m->n; i-- > 0;) {
		if (m->flows[i].key.slot != slot)
			continue;
		model_remove(m, &m->flows[i]);
		n++;
	}
	while (n >= 5) {
		assert_int_equal(flow_client_clear(m->t, slot, 5), 5);
		n -= 5;
	}
	assert_int_equal(flow_client_clear(m->t, slot, 5), n);
}

static uint64_t model_end(const struct model_flow *f)
{
	bool is_tcp = f->key.kind == FLOW_KIND_TCP;
	uint64_t last = f->last_out > f->last_in ? f->last_out : f->last_in;
	uint64_t end = last + (is_tcp ? 7440 : 120) * FIXTURE_HZ;

	if (!f->is_confirmed && f->last_out + 60 * FIXTURE_HZ < end)
		end = f->last_out + 60 * FIXTURE_HZ;
	if (is_tcp && f->is_fin_out && f->is_fin_in && last + 5 * FIXTURE_HZ < end)
		end = last + 5 * FIXTURE_HZ;
	if (is_tcp && f->is_rst)
		end = f->rst;
	return end;
}

static void step_time(struct model *m)
{
	uint64_t ranges[] = {10, 200, 3000, 40000, 500000};
	unsigned n_before = (unsigned)m->n, n_freed;

	m->now +=
		unit_rand_below(&m->r, (uint32_t)ranges[unit_rand_below(&m->r, COUNT_OF(ranges))]);
	n_freed = flow_table_expire(m->t, m->now, UINT32_MAX);
	for (size_t i = m->n; i-- > 0;) {
		struct model_flow *mf = &m->flows[i];
		uint64_t end = model_end(mf);
		bool is_there = fixture_find(m->t, &mf->key) != NULL;

		// Within two ticks both are right.
		assert_true(is_there || m->now >= end);
		assert_true(!is_there || m->now < end + 2 * FIXTURE_TICK);
		if (!is_there)
			model_remove(m, mf);
	}
	assert_int_equal(n_before - m->n, n_freed);
	m->n_expired += n_freed;
}

static void check_all(struct model *m)
{
	assert_int_equal(fixture_count(m->t), m->n);
	for (size_t i = 0; i < m->n; i++) {
		assert_ptr_equal(fixture_find(m->t, &m->flows[i].key), m->flows[i].flow);
		assert_ptr_equal(fixture_find_reply(m->t, &m->flows[i].reply), m->flows[i].flow);
	}
}

static void random_operations_like_model(void **)
{
	static struct model m;

	m.r = unit_rand_init(5);
	m.now = FIXTURE_START;
	m.t = fixture_create(MAX_FLOWS, N_PORTS);
	for (unsigned step = 0; step < N_STEPS; step++) {
		unsigned what = unit_rand_below(&m.r, 1000);

		if (what < 550)
			step_create(&m);
		else if (what < 640)
			step_lookup(&m);
		else if (what < 930)
			step_touch(&m);
		else if (what < 940)
			step_delete(&m);
		else if (what < 942)
			step_clear(&m);
		else
			step_time(&m);
		if (step % 64 == 0)
			check_all(&m);
	}
	fprintf(stderr,
		"%lu created, %lu full, %lu without port, %lu expired, %lu found\n",
		m.n_created,
		m.n_full,
		m.n_no_port,
		m.n_expired,
		m.n_found);
	assert_true(m.n_full > 1000 && m.n_no_port > 1000 && m.n_expired > 10000);
	flow_table_destroy(m.t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_operations_like_model),
	};

	return cmocka_run_group_tests(tests, unit_eal_init, unit_eal_fini);
}
