// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "control/access/access.h"
#include "tests/unit/eal.h"
#include "tests/unit/unit.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum {
	MAX_CLIENTS = 4,
	HZ = 1000000000, // TSC at 1 GHz: cycles are nanoseconds
};

#define S 1000000000ull
#define START (500 * S) // boot time of creation
#define UNIX_START 1700000000ll

// What the data plane would hold.
struct world {
	struct acl_registry *registry;
	struct access *access;
	const struct acl_policy *policy[MAX_CLIENTS];
	unsigned n_added, n_removed, n_policies;
};

static void on_added(void *ctx, struct access_client *)
{
	struct world *w = ctx;

	w->n_added++;
}

static void on_policy(void *ctx, struct access_client *client, const struct acl_policy *policy)
{
	struct world *w = ctx;

	assert_non_null(policy);
	access_policy_free(w->registry, w->policy[client->slot]);
	w->policy[client->slot] = policy;
	w->n_policies++;
}

static void on_removed(void *ctx, struct access_client *client)
{
	struct world *w = ctx;

	access_policy_free(w->registry, w->policy[client->slot]);
	w->policy[client->slot] = NULL;
	w->n_removed++;
	access_slot_release(w->access, client->slot);
}

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));
	struct access_config config = {
		.max_clients = MAX_CLIENTS,
		.boot_ns = START,
		.unix_ns = UNIX_START * (int64_t)S,
		.tsc_hz = HZ,
		.callbacks =
			{.on_added = on_added, .on_policy = on_policy, .on_removed = on_removed},
		.ctx = w,
	};

	w->registry = acl_registry_create(-1);
	w->access = access_create(&config, w->registry);
	*state = w;
	return w->registry != NULL && w->access != NULL ? 0 : -1;
}

static int teardown(void **state)
{
	struct world *w = *state;

	for (unsigned i = 0; i < MAX_CLIENTS; i++)
		access_policy_free(w->registry, w->policy[i]);
	access_destroy(w->access);
	assert_int_equal(acl_registry_size(w->registry), 0);
	acl_registry_destroy(w->registry);
	free(w);
	return 0;
}

static struct uuid uuid_of(unsigned n)
{
	return (struct uuid){.bytes = {[15] = (uint8_t)n}};
}

static struct ip_addr addr_of(const char *text)
{
	struct ip_addr a;

	assert_int_equal(ip_addr_parse(&a, text), 0);
	return a;
}

// Client n has 100.64.0.n and fd00:2021:1111::n.
static struct access_grant
grant_of(unsigned client, struct portal_resource *resource, int64_t expires_at)
{
	char v4[32], v6[64];

	snprintf(v4, sizeof(v4), "100.64.0.%u", client);
	snprintf(v6, sizeof(v6), "fd00:2021:1111::%u", client);
	return (struct access_grant){
		.client_id = uuid_of(client),
		.ipv4 = addr_of(v4),
		.ipv6 = addr_of(v6),
		.resource = resource,
		.expires_at = expires_at,
	};
}

static struct portal_resource
cidr(unsigned id, const char *network, struct portal_filter *filters, size_t n_filters)
{
	struct portal_resource r = {
		.id = uuid_of(id),
		.type = PORTAL_RESOURCE_CIDR,
		.name = "r",
		.filters = filters,
		.n_filters = n_filters,
	};

	assert_int_equal(ip_prefix_parse(&r.prefix, network), 0);
	return r;
}

static struct portal_filter tcp(uint16_t first, uint16_t last)
{
	return (struct portal_filter){PORTAL_PROTOCOL_TCP, first, last};
}

// Whether the client may open TCP to addr:port at boot time now, judged as a worker does.
static bool allows(struct world *w, unsigned client, const char *addr, uint16_t port, uint64_t now)
{
	struct uuid id = uuid_of(client);
	struct access_client *c = access_by_id(w->access, &id);
	struct ip_addr a = addr_of(addr);
	struct acl_key key = {.class_ = ACL_CLASS_TCP, .family = a.family, .port = port};
	const struct acl_policy *p;
	uint16_t verdict;

	if (c == NULL)
		return false;
	p = w->policy[c->slot];
	memcpy(key.addr, a.bytes, sizeof(key.addr));
	acl_classify_burst(&p->set, &key, &verdict, 1);
	return verdict < p->n_resources && now < p->expires_tsc[verdict];
}

static struct access_client *
authorize(struct world *w, unsigned client, struct portal_resource *r, int64_t expires_at)
{
	struct access_grant g = grant_of(client, r, expires_at);
	struct portal_error err;

	return access_authorize(w->access, &g, &err);
}

static bool reject(struct world *w, unsigned client, unsigned resource)
{
	struct uuid c = uuid_of(client), r = uuid_of(resource);

	return access_reject(w->access, &c, &r);
}

static void authorize_and_reject(void **state)
{
	struct world *w = *state;
	struct portal_resource a = cidr(1, "192.0.2.0/28", NULL, 0);
	struct portal_resource b = cidr(2, "192.0.2.80/32", NULL, 0);

	assert_non_null(authorize(w, 1, &a, PORTAL_NEVER));
	assert_non_null(authorize(w, 1, &b, PORTAL_NEVER));
	assert_int_equal(w->n_added, 1);
	assert_true(allows(w, 1, "192.0.2.1", 80, START));
	assert_true(allows(w, 1, "192.0.2.80", 80, START));
	assert_false(allows(w, 1, "192.0.2.81", 80, START));

	assert_true(reject(w, 1, 2));
	assert_false(reject(w, 1, 2)); // idempotent
	assert_false(reject(w, 9, 2)); // unknown client
	assert_true(allows(w, 1, "192.0.2.1", 80, START));
	assert_false(allows(w, 1, "192.0.2.80", 80, START));
	assert_int_equal(w->n_removed, 0);

	assert_true(reject(w, 1, 1)); // the last one
	assert_int_equal(w->n_removed, 1);
	assert_int_equal(access_count(w->access), 0);
}

static void repeat_replaces_filters_and_expiry_not_network(void **state)
{
	struct world *w = *state;
	struct portal_filter f80 = tcp(80, 80), f443 = tcp(443, 443);
	struct portal_resource r = cidr(1, "192.0.2.0/28", &f80, 1);

	assert_non_null(authorize(w, 1, &r, UNIX_START + 100));
	assert_true(allows(w, 1, "192.0.2.1", 80, START));
	assert_false(allows(w, 1, "192.0.2.1", 80, START + 100 * S));

	r = cidr(1, "198.51.100.0/28", &f443, 1);
	assert_non_null(authorize(w, 1, &r, UNIX_START + 10));
	assert_false(allows(w, 1, "198.51.100.1", 443, START));
	assert_true(allows(w, 1, "192.0.2.1", 443, START));
	assert_false(allows(w, 1, "192.0.2.1", 80, START));
	assert_false(allows(w, 1, "192.0.2.1", 443, START + 10 * S));
	assert_int_equal(access_deadline(w->access), START + 10 * S);
}

static void expiry(void **state)
{
	struct world *w = *state;
	struct portal_resource a = cidr(1, "192.0.2.1/32", NULL, 0);
	struct portal_resource b = cidr(2, "192.0.2.2/32", NULL, 0);

	assert_non_null(authorize(w, 1, &a, UNIX_START + 5));
	assert_non_null(authorize(w, 1, &b, UNIX_START + 9));
	// To the second, without waiting for any sweep.
	assert_true(allows(w, 1, "192.0.2.1", 80, START + 5 * S - 1));
	assert_false(allows(w, 1, "192.0.2.1", 80, START + 5 * S));
	assert_int_equal(access_deadline(w->access), START + 5 * S);
	access_handle_timeout(w->access, START + 5 * S - 1);
	assert_int_equal(access_client_count(access_by_slot(w->access, 0)), 2);
	access_handle_timeout(w->access, START + 5 * S);
	assert_int_equal(access_client_count(access_by_slot(w->access, 0)), 1);
	access_handle_timeout(w->access, START + 9 * S);
	assert_int_equal(w->n_removed, 1);
	assert_int_equal(access_deadline(w->access), ACCESS_DEADLINE_NONE);
}

static void expiry_in_the_past_and_far_away(void **state)
{
	struct world *w = *state;
	struct portal_resource a = cidr(1, "192.0.2.1/32", NULL, 0);

	assert_non_null(authorize(w, 1, &a, 0));
	assert_false(allows(w, 1, "192.0.2.1", 80, START));
	access_handle_timeout(w->access, START + 1);
	assert_int_equal(access_count(w->access), 0);

	assert_non_null(authorize(w, 1, &a, INT64_MIN));
	access_handle_timeout(w->access, START + 1);
	assert_int_equal(access_count(w->access), 0);

	assert_non_null(authorize(w, 1, &a, INT64_MAX - 1));
	assert_true(allows(w, 1, "192.0.2.1", 80, START + 1000000 * S));
}

static void one_of_two_equal_resources_is_enough(void **state)
{
	struct world *w = *state;
	struct portal_resource a = cidr(1, "192.0.2.0/28", NULL, 0);
	struct portal_resource b = cidr(2, "192.0.2.0/28", NULL, 0);

	// Whichever comes first.
	assert_non_null(authorize(w, 1, &a, UNIX_START + 50));
	assert_non_null(authorize(w, 1, &b, UNIX_START + 5));
	access_handle_timeout(w->access, START + 5 * S);
	assert_true(allows(w, 1, "192.0.2.1", 80, START + 6 * S));
	assert_non_null(authorize(w, 1, &b, UNIX_START + 50));
	assert_non_null(authorize(w, 1, &a, UNIX_START + 5));
	access_handle_timeout(w->access, START + 5 * S);
	assert_true(allows(w, 1, "192.0.2.1", 80, START + 6 * S));
	assert_true(reject(w, 1, 2));
	assert_int_equal(w->n_removed, 1);
}

static void resource_update_touches_filters_only(void **state)
{
	struct world *w = *state;
	struct portal_filter f80 = tcp(80, 80);
	struct portal_resource r = cidr(1, "192.0.2.0/28", NULL, 0);
	struct portal_error err;

	assert_non_null(authorize(w, 1, &r, PORTAL_NEVER));
	assert_non_null(authorize(w, 2, &r, PORTAL_NEVER));
	r = cidr(1, "198.51.100.0/28", &f80, 1);
	assert_int_equal(access_resource_update(w->access, &r, &err), 0);
	for (unsigned client = 1; client <= 2; client++) {
		assert_true(allows(w, client, "192.0.2.1", 80, START));
		assert_false(allows(w, client, "192.0.2.1", 81, START));
		assert_false(allows(w, client, "198.51.100.1", 80, START));
	}
	// A change of type is ignored.
	r.type = PORTAL_RESOURCE_INTERNET;
	r.n_filters = 0;
	assert_int_equal(access_resource_update(w->access, &r, &err), 0);
	assert_false(allows(w, 1, "192.0.2.1", 81, START));
}

static void failed_change_leaves_the_former_state(void **state)
{
	static struct portal_filter many[ACL_FILTERS_MAX + 1];
	struct world *w = *state;
	struct portal_resource r = cidr(1, "192.0.2.0/28", NULL, 0);
	struct portal_error err;
	unsigned policies;

	for (unsigned i = 0; i <= ACL_FILTERS_MAX; i++)
		many[i] = tcp((uint16_t)(2 * i + 1), (uint16_t)(2 * i + 1));
	assert_non_null(authorize(w, 1, &r, PORTAL_NEVER));
	policies = w->n_policies;
	r.filters = many;
	r.n_filters = ACL_FILTERS_MAX + 1;
	assert_null(authorize(w, 1, &r, UNIX_START + 1));
	assert_int_equal(errno, E2BIG);
	assert_int_not_equal(access_resource_update(w->access, &r, &err), 0);
	assert_int_equal(w->n_policies, policies);
	assert_true(allows(w, 1, "192.0.2.1", 9999, START + 2 * S));
	// A client that would be new leaves no trace.
	assert_null(authorize(w, 2, &r, PORTAL_NEVER));
	assert_int_equal(access_count(w->access), 1);
	assert_int_equal(w->n_added, 1);
}

static void retain_all(struct world *w, const struct portal_authorization *list, size_t n)
{
	assert_int_equal(access_retain(w->access, list, n), 0);
	while (access_reconcile(w->access, 1))
		;
}

static void retain(void **state)
{
	struct world *w = *state;
	struct portal_resource a = cidr(1, "192.0.2.1/32", NULL, 0);
	struct portal_resource b = cidr(2, "192.0.2.2/32", NULL, 0);
	struct portal_authorization list[] = {
		{uuid_of(1), uuid_of(2), UNIX_START + 30},
		{uuid_of(3), uuid_of(1), PORTAL_NEVER}, // unknown pair: means nothing
		{uuid_of(1), uuid_of(9), PORTAL_NEVER}, // likewise
	};

	assert_non_null(authorize(w, 1, &a, PORTAL_NEVER));
	assert_non_null(authorize(w, 1, &b, PORTAL_NEVER));
	assert_non_null(authorize(w, 2, &a, PORTAL_NEVER));
	retain_all(w, list, COUNT_OF(list));
	assert_false(allows(w, 1, "192.0.2.1", 80, START));
	assert_true(allows(w, 1, "192.0.2.2", 80, START + 29 * S));
	assert_false(allows(w, 1, "192.0.2.2", 80, START + 30 * S));
	assert_int_equal(access_count(w->access), 1); // client 2 is not listed at all
	retain_all(w, NULL, 0);
	assert_int_equal(access_count(w->access), 0);
}

static bool reconcile(struct world *w, unsigned budget)
{
	return access_reconcile(w->access, budget);
}

// While a list is being worked on, what is said later holds.
static void later_messages_win_over_a_list(void **state)
{
	struct world *w = *state;
	struct portal_resource a = cidr(1, "192.0.2.1/32", NULL, 0);
	struct portal_resource b = cidr(2, "192.0.2.2/32", NULL, 0);
	struct portal_resource c = cidr(3, "192.0.2.3/32", NULL, 0);
	struct portal_authorization list[] = {
		{uuid_of(1), uuid_of(1), UNIX_START + 100},
		{uuid_of(1), uuid_of(3), UNIX_START + 100},
		{uuid_of(2), uuid_of(1), UNIX_START + 100},
	};
	struct portal_authorization later = {uuid_of(1), uuid_of(1), UNIX_START + 50};

	// The message comes before the first slice, and between any two.
	for (unsigned slices = 0; slices < 8; slices++) {
		assert_non_null(authorize(w, 1, &a, PORTAL_NEVER));
		assert_non_null(authorize(w, 1, &c, PORTAL_NEVER));
		assert_non_null(authorize(w, 2, &a, PORTAL_NEVER));
		assert_int_equal(access_retain(w->access, list, COUNT_OF(list)), 0);
		for (unsigned i = 0; i < slices; i++)
			assert_true(reconcile(w, 1));
		assert_non_null(authorize(w, 1, &b, UNIX_START + 70)); // is not in the list
		assert_non_null(authorize(w, 3, &b, PORTAL_NEVER)); // nor is the client
		assert_true(access_expiry_set(w->access, &later));
		assert_true(reject(w, 2, 1)); // is in the list
		while (reconcile(w, 1))
			;
		assert_true(allows(w, 1, "192.0.2.2", 80, START + 69 * S));
		assert_true(allows(w, 3, "192.0.2.2", 80, START));
		assert_true(allows(w, 1, "192.0.2.1", 80, START + 50 * S - 1));
		assert_false(allows(w, 1, "192.0.2.1", 80, START + 50 * S));
		assert_true(allows(w, 1, "192.0.2.3", 80, START + 99 * S));
		assert_false(allows(w, 1, "192.0.2.3", 80, START + 100 * S));
		assert_int_equal(access_deadline(w->access), START + 50 * S);
		assert_int_equal(access_count(w->access), 2);
		retain_all(w, NULL, 0);
		assert_int_equal(access_count(w->access), 0);
	}
}

static void a_list_takes_away_before_it_extends(void **state)
{
	struct world *w = *state;
	struct portal_resource a = cidr(1, "192.0.2.1/32", NULL, 0);
	struct portal_resource b = cidr(2, "192.0.2.2/32", NULL, 0);
	struct portal_authorization list[] = {
		{uuid_of(1), uuid_of(1), UNIX_START + 100}, // longer
		{uuid_of(2), uuid_of(1), UNIX_START + 5}, // shorter
		{uuid_of(3), uuid_of(1), UNIX_START + 10}, // loses another
	};

	assert_non_null(authorize(w, 1, &a, UNIX_START + 10));
	assert_non_null(authorize(w, 2, &a, UNIX_START + 10));
	assert_non_null(authorize(w, 3, &a, UNIX_START + 10));
	assert_non_null(authorize(w, 3, &b, UNIX_START + 10));
	assert_non_null(authorize(w, 4, &a, UNIX_START + 10)); // is not listed
	assert_int_equal(access_retain(w->access, list, COUNT_OF(list)), 0);
	while (access_count(w->access) == 4)
		assert_true(reconcile(w, 1));
	assert_false(allows(w, 2, "192.0.2.1", 80, START + 5 * S));
	assert_false(allows(w, 3, "192.0.2.2", 80, START));
	assert_false(allows(w, 1, "192.0.2.1", 80, START + 10 * S)); // not yet
	while (reconcile(w, 1))
		;
	assert_true(allows(w, 1, "192.0.2.1", 80, START + 99 * S));
}

static void a_later_list_replaces_one_that_is_not_done(void **state)
{
	struct world *w = *state;
	struct portal_resource a = cidr(1, "192.0.2.1/32", NULL, 0);
	struct portal_authorization second = {uuid_of(1), uuid_of(1), UNIX_START + 30};

	assert_non_null(authorize(w, 1, &a, PORTAL_NEVER));
	assert_int_equal(access_retain(w->access, NULL, 0), 0); // would remove the client
	retain_all(w, &second, 1);
	assert_true(allows(w, 1, "192.0.2.1", 80, START + 29 * S));
	assert_int_equal(access_deadline(w->access), START + 30 * S);
	assert_int_equal(w->n_removed, 0);
}

// What runs out while the list is being read may be in it for longer.
static void a_list_comes_before_the_timeout(void **state)
{
	struct world *w = *state;
	struct portal_resource a = cidr(1, "192.0.2.1/32", NULL, 0);
	struct portal_authorization list[] = {
		{uuid_of(1), uuid_of(1), UNIX_START + 30},
		{uuid_of(2), uuid_of(1), UNIX_START + 5},
	};

	for (unsigned slices = 0; slices < 4; slices++) {
		assert_non_null(authorize(w, 1, &a, UNIX_START + 5));
		assert_non_null(authorize(w, 2, &a, UNIX_START + 5));
		assert_int_equal(access_retain(w->access, list, COUNT_OF(list)), 0);
		for (unsigned i = 0; i < slices; i++)
			assert_true(reconcile(w, 1));
		access_handle_timeout(w->access, START + 6 * S);
		while (reconcile(w, 1))
			;
		access_handle_timeout(w->access, START + 6 * S);
		assert_true(allows(w, 1, "192.0.2.1", 80, START + 29 * S));
		assert_int_equal(access_count(w->access), 1);
		retain_all(w, NULL, 0);
	}
}

static const struct acl_set *set_of(const struct world *w, unsigned client)
{
	struct uuid id = uuid_of(client);

	return w->policy[access_by_id(w->access, &id)->slot]->set;
}

// Expiries are the client's, rules are the set's: only new rules make a new set, and only a change
// makes a policy.
static void expiries_keep_the_set(void **state)
{
	struct world *w = *state;
	struct portal_filter f80 = tcp(80, 80);
	struct portal_resource a = cidr(2, "192.0.2.1/32", &f80, 1);
	struct portal_resource b = cidr(1, "192.0.2.2/32", &f80, 1);
	struct portal_authorization list[] = {
		{uuid_of(1), uuid_of(1), UNIX_START + 30},
		{uuid_of(1), uuid_of(2), UNIX_START + 40},
	};
	const struct acl_set *set;
	struct portal_error err;
	unsigned n_policies;

	assert_non_null(authorize(w, 1, &a, PORTAL_NEVER));
	assert_non_null(authorize(w, 1, &b, PORTAL_NEVER));
	set = set_of(w, 1);
	assert_non_null(authorize(w, 1, &a, UNIX_START + 5));
	assert_ptr_equal(set_of(w, 1), set);
	assert_false(allows(w, 1, "192.0.2.1", 80, START + 5 * S));
	assert_true(allows(w, 1, "192.0.2.2", 80, START + 5 * S));
	retain_all(w, list, COUNT_OF(list));
	assert_ptr_equal(set_of(w, 1), set);
	assert_false(allows(w, 1, "192.0.2.2", 80, START + 30 * S));
	assert_true(allows(w, 1, "192.0.2.1", 80, START + 39 * S));
	assert_int_equal(acl_registry_size(w->registry), 1);
	n_policies = w->n_policies;
	retain_all(w, list, COUNT_OF(list));
	assert_int_equal(access_resource_update(w->access, &a, &err), 0);
	assert_int_equal(w->n_policies, n_policies);
}

// An hour forth and back: what was authorized before keeps its end, what comes after is measured anew.
static void wall_clock_steps(void **state)
{
	struct world *w = *state;
	struct portal_resource a = cidr(1, "192.0.2.1/32", NULL, 0);
	struct portal_resource b = cidr(2, "192.0.2.2/32", NULL, 0);
	static const int64_t steps_s[] = {3600, -3600};

	for (unsigned i = 0; i < COUNT_OF(steps_s); i++) {
		int64_t wall_s = UNIX_START + 10 + steps_s[i];
		struct portal_authorization pair = {uuid_of(1), uuid_of(2), wall_s + 60};

		access_clock_set(w->access, START, UNIX_START * (int64_t)S);
		assert_non_null(authorize(w, 1, &a, UNIX_START + 30));
		access_clock_set(w->access, START + 10 * S, wall_s * (int64_t)S);
		access_handle_timeout(w->access, START + 30 * S - 1);
		assert_int_equal(access_deadline(w->access), START + 30 * S);
		assert_true(allows(w, 1, "192.0.2.1", 80, START + 30 * S - 1));
		assert_false(allows(w, 1, "192.0.2.1", 80, START + 30 * S));

		assert_non_null(authorize(w, 1, &b, wall_s + 40));
		assert_true(allows(w, 1, "192.0.2.2", 80, START + 50 * S - 1));
		assert_false(allows(w, 1, "192.0.2.2", 80, START + 50 * S));
		assert_true(access_expiry_set(w->access, &pair));
		assert_false(allows(w, 1, "192.0.2.1", 80, START + 30 * S)); // still
		access_handle_timeout(w->access, START + 30 * S);
		assert_int_equal(access_deadline(w->access), START + 70 * S);
		access_handle_timeout(w->access, START + 70 * S);
		assert_int_equal(access_count(w->access), 0);
	}
}

static void new_tunnel_address_drops_everything(void **state)
{
	struct world *w = *state;
	struct portal_resource a = cidr(1, "192.0.2.1/32", NULL, 0);
	struct portal_resource b = cidr(2, "192.0.2.2/32", NULL, 0);
	struct access_grant g = grant_of(1, &b, PORTAL_NEVER);
	struct ip_addr old = g.ipv4, fresh = addr_of("100.64.9.9");
	struct portal_error err;

	assert_non_null(authorize(w, 1, &a, PORTAL_NEVER));
	g.ipv4 = fresh;
	assert_non_null(access_authorize(w->access, &g, &err));
	assert_int_equal(w->n_removed, 1);
	assert_false(allows(w, 1, "192.0.2.1", 80, START));
	assert_true(allows(w, 1, "192.0.2.2", 80, START));
	assert_null(access_by_addr(w->access, &old));
	assert_non_null(access_by_addr(w->access, &fresh));
}

static void address_belongs_to_the_last_that_claims_it(void **state)
{
	struct world *w = *state;
	struct portal_resource a = cidr(1, "192.0.2.1/32", NULL, 0);
	struct access_grant g = grant_of(2, &a, PORTAL_NEVER);
	struct ip_addr shared;
	struct portal_error err;
	struct uuid id = uuid_of(2);

	assert_non_null(authorize(w, 1, &a, PORTAL_NEVER));
	shared = g.ipv4 = grant_of(1, &a, 0).ipv4;
	assert_non_null(access_authorize(w->access, &g, &err));
	assert_ptr_equal(access_by_addr(w->access, &shared), access_by_id(w->access, &id));
	assert_true(reject(w, 1, 1)); // the former owner leaves without taking the entry along
	assert_ptr_equal(access_by_addr(w->access, &shared), access_by_id(w->access, &id));
	assert_true(reject(w, 2, 1));
	assert_null(access_by_addr(w->access, &shared));
}

static void slots_run_out_and_come_back(void **state)
{
	struct world *w = *state;
	struct portal_resource a = cidr(1, "192.0.2.1/32", NULL, 0);

	for (unsigned i = 1; i <= MAX_CLIENTS; i++)
		assert_non_null(authorize(w, i, &a, PORTAL_NEVER));
	assert_null(authorize(w, MAX_CLIENTS + 1, &a, PORTAL_NEVER));
	assert_int_equal(errno, ENOSPC);
	assert_true(reject(w, 2, 1));
	assert_non_null(authorize(w, MAX_CLIENTS + 1, &a, PORTAL_NEVER));
	assert_true(allows(w, MAX_CLIENTS + 1, "192.0.2.1", 80, START));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

// The portal's list says nothing about clients that are not the portal's; one family is enough.
static void retain_leaves_static(void **state)
{
	struct world *w = *state;
	struct portal_resource web = cidr(10, "192.0.2.80/32", NULL, 0);
	struct portal_error err;

	for (unsigned i = 1; i <= 2; i++) {
		struct access_grant grant = grant_of(i, &web, PORTAL_NEVER);

		grant.is_static = true;
		grant.ipv6 = (struct ip_addr){0};
		assert_non_null(access_authorize(w->access, &grant, &err));
	}
	assert_null(access_by_addr(w->access, &(struct ip_addr){0}));
	retain_all(w, NULL, 0);
	assert_int_equal(access_count(w->access), 2);
	assert_true(allows(w, 1, "192.0.2.80", 80, START));
	access_forget(w->access, access_by_slot(w->access, 0));
	assert_true(allows(w, 2, "192.0.2.80", 80, START));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(authorize_and_reject),
		TEST(repeat_replaces_filters_and_expiry_not_network),
		TEST(expiry),
		TEST(expiry_in_the_past_and_far_away),
		TEST(one_of_two_equal_resources_is_enough),
		TEST(resource_update_touches_filters_only),
		TEST(failed_change_leaves_the_former_state),
		TEST(retain),
		TEST(retain_leaves_static),
		TEST(later_messages_win_over_a_list),
		TEST(a_list_takes_away_before_it_extends),
		TEST(a_later_list_replaces_one_that_is_not_done),
		TEST(a_list_comes_before_the_timeout),
		TEST(expiries_keep_the_set),
		TEST(wall_clock_steps),
		TEST(new_tunnel_address_drops_everything),
		TEST(address_belongs_to_the_last_that_claims_it),
		TEST(slots_run_out_and_come_back),
	};

	return cmocka_run_group_tests(tests, unit_eal_init, unit_eal_fini);
}
