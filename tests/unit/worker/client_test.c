// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "dataplane/worker/client.h"
#include "dataplane/worker/drops.h"
#include "tests/unit/unit.h"

#include <stdlib.h>

static int setup(void **state)
{
	const struct ip_addr none = {0};
	struct client *c = aligned_alloc(64, sizeof(*c));

	assert_non_null(c);
	memset(c, 0, sizeof(*c));
	client_init(c, &none, &none);
	*state = c;
	return 0;
}

static int teardown(void **state)
{
	free(*state);
	return 0;
}

static void add(struct client *c, uint32_t index, bool is_initiator)
{
	const struct dp_cmd cmd = {
		.type = DP_CMD_KEYPAIR_ADD,
		.keypair_add =
			{
				.local_index = index,
				.remote_index = index + 100,
				.is_initiator = is_initiator,
				.created_tsc = index,
			},
	};

	client_keypair_add(c, &cmd, 1000);
}

// Indices in next, current and previous; 0: none.
static void expect(struct client *c, uint32_t next, uint32_t current, uint32_t previous)
{
	const uint32_t want[CLIENT_ROLE_COUNT] = {next, current, previous};

	for (unsigned role = 0; role < CLIENT_ROLE_COUNT; role++) {
		const struct keypair *k = client_keypair(c, role);

		assert_int_equal(k != NULL ? k->local_index : 0, want[role]);
		if (k != NULL)
			assert_ptr_equal(client_keypair_find(c, want[role]), k);
	}
}

static bool confirm(struct client *c, uint32_t index)
{
	return client_keypair_confirm(c, client_keypair_find(c, index));
}

// The table of the WireGuard kernel module's noise.c, as moves.
static void rotation(void **state)
{
	struct client *c = *state;

	expect(c, 0, 0, 0);
	add(c, 1, false);
	expect(c, 1, 0, 0);
	add(c, 2, false); // the peer did not get our response and tried again
	expect(c, 2, 0, 0);
	assert_null(client_keypair_find(c, 1));
	assert_true(confirm(c, 2));
	expect(c, 0, 2, 0);
	assert_false(confirm(c, 2));
	add(c, 3, false);
	expect(c, 3, 2, 0);
	assert_false(confirm(c, 2));
	assert_true(confirm(c, 3));
	expect(c, 0, 3, 2);
	assert_false(confirm(c, 2));
	add(c, 4, false);
	expect(c, 4, 3, 2);
	add(c, 5, false);
	expect(c, 5, 3, 2);
	add(c, 6, true); // ours: the unconfirmed next is the newest of the others
	expect(c, 0, 6, 5);
	add(c, 7, true);
	expect(c, 0, 7, 6);
	client_keypairs_clear(c);
	expect(c, 0, 0, 0);
}

static void a_new_keypair_starts_empty(void **state)
{
	struct client *c = *state;
	struct keypair *k;

	add(c, 1, true);
	k = &c->keypairs[c->role[CLIENT_ROLE_CURRENT]];
	assert_true(noise_replay_update(&k->replay, 500));
	k->send_counter = 77;
	add(c, 2, true);
	add(c, 3, true); // takes the place of 1
	k = &c->keypairs[c->role[CLIENT_ROLE_CURRENT]];
	assert_int_equal(k->local_index, 3);
	assert_int_equal(k->send_counter, 0);
	assert_int_equal(k->replay.greatest, 0);
	assert_true(noise_replay_update(&k->replay, 0));
	assert_int_equal(k->expires_tsc, 1003);
}

// Index 0 belongs to slot 0 and is as good as any.
static void index_zero(void **state)
{
	struct client *c = *state;

	assert_null(client_keypair_find(c, 0));
	add(c, 0, false);
	assert_non_null(client_keypair_find(c, 0));
	client_keypairs_clear(c);
	assert_null(client_keypair_find(c, 0));
}

static void owns_its_addresses_only(void **state)
{
	struct client *c = *state;
	static const uint8_t zero[16];
	struct ip_addr a, b;

	assert_false(client_owns(c, IP_FAMILY_V4, zero));
	assert_false(client_owns(c, IP_FAMILY_V6, zero));
	assert_int_equal(ip_addr_parse(&a, "100.64.0.1"), 0);
	assert_int_equal(ip_addr_parse(&b, "fd00:2021:1111::1"), 0);
	client_init(c, &a, &b);
	assert_true(client_owns(c, IP_FAMILY_V4, a.bytes));
	assert_true(client_owns(c, IP_FAMILY_V6, b.bytes));
	a.bytes[3] = 2;
	assert_false(client_owns(c, IP_FAMILY_V4, a.bytes));
}

static void every_drop_has_a_name(void **)
{
	for (unsigned i = 0; i < DROP_REASON_COUNT; i++) {
		assert_true(strlen(drop_reason_name(i)) > 3);
		assert_true(strlen(drop_reason_text(i)) > 8);
		for (unsigned j = 0; j < i; j++)
			assert_string_not_equal(drop_reason_name(i), drop_reason_name(j));
	}
	assert_string_equal(drop_reason_name(DROP_wg_replay), "wg_replay");
	assert_string_equal(drop_reason_name(DROP_REASON_COUNT), "unknown");
	assert_non_null(drop_reason_text(DROP_REASON_COUNT));
}

#define CLIENT_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CLIENT_TEST(rotation),
		CLIENT_TEST(a_new_keypair_starts_empty),
		CLIENT_TEST(index_zero),
		CLIENT_TEST(owns_its_addresses_only),
		cmocka_unit_test(every_drop_has_a_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
