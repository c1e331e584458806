// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "control/path/relay_users.h"
#include "control/path/turn_channel.h"
#include "tests/unit/path/relay_double.h"
#include "tests/unit/unit.h"

#include <stdio.h>
#include <stdlib.h>

#define S 1000000000ull
#define USERS (2 * RELAY_USERS_SLICE + 88)
#define RELAYS 2
#define PEER "192.0.2.77:4000"

// The owner of many connections, two relays, and nothing lost between them.
struct world {
	uint64_t now;
	struct stun_mac *mac;
	struct relay_double doubles[RELAYS];
	struct relays *relays;
	struct relay_users *users;
	struct owner {
		struct relay_user user; // first: owners are found by their user
		struct ice_agent *agent;
		unsigned n_lines, n_withdrawn, n_changed, n_routes;
	} all[USERS];
	unsigned n_told; // calls of changed()
	unsigned n_direct; // datagrams to others than relays
	unsigned n_lost, n_empty;
	struct flight { // what the relays sent, on its way
		struct ip_endpoint from, to;
		size_t size;
		uint8_t data[512];
	} flight[64];
	size_t n_flight;
	uint8_t ecn;
};

static struct ip_endpoint endpoint(const char *text)
{
	struct ip_endpoint e;

	assert_int_equal(ip_endpoint_parse(&e, text), 0);
	return e;
}

static void random_bytes(void *, void *buf, size_t size)
{
	static uint64_t state = 1;
	uint8_t *bytes = buf;

	for (size_t i = 0; i < size; i++) {
		state = state * 6364136223846793005u + 1442695040888963407u;
		bytes[i] = (uint8_t)(state >> 56);
	}
}

static void
on_emit(void *ctx,
	const struct ip_endpoint *from,
	const struct ip_endpoint *to,
	const void *data,
	size_t size)
{
	struct world *w = ctx;
	struct flight *f = &w->flight[w->n_flight++];

	assert_true(w->n_flight <= COUNT_OF(w->flight) && size <= sizeof(f->data));
	f->from = *from;
	f->to = *to;
	f->size = size;
	memcpy(f->data, data, size);
}

static void
on_send(void *ctx,
	const struct ip_endpoint *local,
	const struct ip_endpoint *remote,
	const void *data,
	size_t size,
	uint8_t ecn)
{
	struct world *w = ctx;

	w->ecn = ecn;
	for (unsigned i = 0; i < RELAYS; i++) {
		if (double_owns(&w->doubles[i], remote)) {
			double_receive(&w->doubles[i], w->now, local, remote, data, size);
			return;
		}
	}
	w->n_direct++;
}

static void on_signal(
	void *,
	struct relay_user *user,
	const char *const *lines,
	size_t n_lines,
	bool is_withdrawn)
{
	struct owner *o = (struct owner *)user;

	for (size_t i = 0; i < n_lines; i++)
		assert_non_null(strstr(lines[i], "ufrag gate"));
	if (is_withdrawn)
		o->n_withdrawn += (unsigned)n_lines;
	else
		o->n_lines += (unsigned)n_lines;
}

static void on_changed(void *ctx, struct relay_user *user)
{
	struct world *w = ctx;

	((struct owner *)user)->n_changed++;
	w->n_told++;
}

static void on_route_changed(void *, struct relay_user *user)
{
	((struct owner *)user)->n_routes++;
}

static void on_lost(void *ctx, enum relays_event_type type)
{
	struct world *w = ctx;

	w->n_lost += type == RELAYS_EVENT_LOST;
	w->n_empty += type == RELAYS_EVENT_EMPTY;
}

static int setup(void **state)
{
	static const struct relay_users_ops ops = {
		on_send, on_signal, on_changed, on_route_changed, on_lost};
	struct world *w = calloc(1, sizeof(*w));
	struct relays_config config = {
		.local_v4 = endpoint("10.0.0.2:52625"),
		.random = random_bytes,
	};

	assert_non_null(w);
	w->now = S;
	w->mac = config.mac = stun_mac_create();
	double_init(&w->doubles[0], "198.51.100.5", NULL);
	double_init(&w->doubles[1], "198.51.100.6", NULL);
	for (unsigned i = 0; i < RELAYS; i++) {
		w->doubles[i].emit = on_emit;
		w->doubles[i].emit_ctx = w;
	}
	w->relays = relays_create(&config, w->now);
	w->users = relay_users_create(w->relays, &ops, w);
	assert_non_null(w->users);
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	for (unsigned i = 0; i < USERS; i++) {
		relay_users_leave(w->users, &w->all[i].user);
		ice_agent_destroy(w->all[i].agent);
	}
	relay_users_destroy(w->users);
	relays_destroy(w->relays);
	for (unsigned i = 0; i < RELAYS; i++)
		double_fini(&w->doubles[i]);
	stun_mac_destroy(w->mac);
	free(w);
	return 0;
}

// @return whether anything arrived
static bool deliver(struct world *w)
{
	size_t n = w->n_flight;

	w->n_flight = 0;
	for (size_t i = 0; i < n; i++) {
		const struct flight f = w->flight[i];
		struct relay_datagram d = {f.to, f.from, f.data, f.size};

		relay_users_receive(w->users, w->now, &d);
	}
	return n > 0;
}

static void pump_all(struct world *w)
{
	bool is_more;

	do {
		is_more = relay_users_pump(w->users, w->now);
		is_more = deliver(w) || is_more;
	} while (is_more);
}

// The portal lists the relays of the set @p listed, and says that those of @p gone are.
static void list(struct world *w, unsigned listed, unsigned gone)
{
	struct relays_entry entries[RELAYS] = {0};
	uint8_t ids[RELAYS][RELAYS_ID_SIZE] = {0};
	size_t n = 0, n_gone = 0;

	for (unsigned i = 0; i < RELAYS; i++) {
		if ((listed & 1u << i) != 0) {
			memset(entries[n].id, (int)i + 1, RELAYS_ID_SIZE);
			entries[n].endpoint = w->doubles[i].addrs[0];
			entries[n].username = w->doubles[i].username;
			entries[n++].password = "pw";
		}
		if ((gone & 1u << i) != 0)
			memset(ids[n_gone++], (int)i + 1, RELAYS_ID_SIZE);
	}
	relays_apply(w->relays, w->now, ids, n_gone, entries, n);
}

static void join(struct world *w, unsigned i)
{
	struct owner *o = &w->all[i];
	struct ice_config config = {
		.role = ICE_ROLE_CONTROLLED,
		.profile = ICE_PROFILE_SERVER,
		.local_ufrag = "gate",
		.local_pwd = "gatepassword",
		.remote_ufrag = "clnt",
		.remote_pwd = "clntpassword",
		.random = random_bytes,
		.mac = w->mac,
	};

	o->agent = ice_agent_create(&config, w->now);
	assert_non_null(o->agent);
	relay_users_join(w->users, w->now, &o->user, o->agent, "gate");
}

static size_t n_locals(const struct owner *o)
{
	struct ice_candidate locals[ICE_LOCALS_MAX];

	return ice_agent_list_locals(o->agent, locals, ICE_LOCALS_MAX);
}

static struct ip_endpoint relayed(const struct world *w, const struct owner *o)
{
	struct turn_allocation *a = relays_allocation(w->relays, o->user.relay);
	struct ip_endpoint e;

	assert_non_null(a);
	assert_true(turn_allocation_relayed(a, IP_FAMILY_V4, &e));
	return e;
}

static void joins_before_any_relay_answered(void **state)
{
	struct world *w = *state;

	join(w, 0);
	assert_int_equal(w->all[0].user.relay, RELAYS_NONE);
	assert_int_equal(n_locals(&w->all[0]), 0);
	list(w, 1, 0);
	pump_all(w);
	assert_int_not_equal(w->all[0].user.relay, RELAYS_NONE);
	// Host and relayed address; the server-reflexive one is the host's here.
	assert_int_equal(n_locals(&w->all[0]), 2);
	assert_int_equal(w->all[0].n_lines, 2);
}

static void joins_later_and_tells_nobody_yet(void **state)
{
	struct world *w = *state;

	list(w, 1, 0);
	pump_all(w);
	join(w, 0);
	assert_int_equal(n_locals(&w->all[0]), 2);
	pump_all(w);
	assert_int_equal(w->all[0].n_lines, 0); // the owner announces all together
	assert_int_equal(w->all[0].n_changed, 0);
}

static void tells_many_in_slices(void **state)
{
	struct world *w = *state;
	unsigned n_pumps = 0, n_at_once = 0;
	bool is_more;

	for (unsigned i = 0; i < USERS; i++)
		join(w, i);
	list(w, 1, 0);
	do {
		unsigned before = w->n_told;

		is_more = relay_users_pump(w->users, w->now);
		is_more = deliver(w) || is_more;
		assert_true(w->n_told - before <= RELAY_USERS_SLICE);
		n_at_once += relay_users_deadline(w->users) == 0;
		n_pumps++;
	} while (is_more);
	assert_true(n_pumps > USERS / RELAY_USERS_SLICE);
	assert_true(n_at_once >= USERS / RELAY_USERS_SLICE);
	assert_int_not_equal(relay_users_deadline(w->users), 0);
	for (unsigned i = 0; i < USERS; i++)
		assert_int_equal(w->all[i].n_lines, 2);
}

static void moves_all_to_another_relay(void **state)
{
	struct world *w = *state;
	struct ip_endpoint former, local, host = endpoint("10.0.0.2:52625"), peer = endpoint(PEER);

	list(w, 1, 0);
	pump_all(w);
	for (unsigned i = 0; i < USERS; i++)
		join(w, i);
	former = relayed(w, &w->all[0]);
	list(w, 2, 1);
	assert_true(relay_users_pump(w->users, w->now));
	// Not everybody knows, but nobody sends from what is no address of ours any more.
	assert_false(relay_users_send(w->users, w->now, &former, &peer, "x", 1, 0));
	assert_int_equal(w->n_direct, 0);
	pump_all(w);
	assert_int_equal(w->n_lost, 1);
	assert_int_equal(w->n_empty, 0);
	for (unsigned i = 0; i < USERS; i++) {
		assert_int_equal(w->all[i].n_withdrawn, 1);
		assert_int_equal(w->all[i].n_lines, 1);
		local = relayed(w, &w->all[i]);
		assert_false(ip_endpoint_eq(&former, &local));
	}
	assert_true(relay_users_send(w->users, w->now, &host, &peer, "x", 1, 2));
	assert_int_equal(w->n_direct, 1);
	assert_int_equal(w->ecn, 2);
	list(w, 0, 2);
	pump_all(w);
	assert_int_equal(w->n_empty, 1);
}

static void leaves_in_the_middle(void **state)
{
	struct world *w = *state;
	unsigned n = 0;

	for (unsigned i = 0; i < USERS; i++)
		join(w, i);
	list(w, 1, 0);
	while (w->n_told == 0) {
		bool is_more = relay_users_pump(w->users, w->now);

		assert_true(deliver(w) || is_more);
	}
	// Among them whoever is next.
	for (unsigned i = 1; i < USERS; i += 2) {
		w->all[i].n_changed = 0;
		relay_users_leave(w->users, &w->all[i].user);
	}
	pump_all(w);
	for (unsigned i = 0; i < USERS; i++) {
		if (i % 2 == 1)
			assert_int_equal(w->all[i].n_changed, 0);
		else
			assert_int_equal(w->all[i].n_lines, 2);
		n++;
	}
	assert_int_equal(n, USERS);
}

static void channel_events_find_their_user(void **state)
{
	struct world *w = *state;
	struct ip_endpoint local, peer = endpoint(PEER), other = endpoint("192.0.2.78:4000"),
				  host = endpoint("10.0.0.2:52625");

	list(w, 1, 0);
	pump_all(w);
	for (unsigned i = 0; i < 4; i++)
		join(w, i);
	local = relayed(w, &w->all[0]);
	assert_true(relay_users_path_set(w->users, &w->all[0].user, &local, &peer));
	assert_true(relay_users_path_set(w->users, &w->all[1].user, &local, &other));
	assert_true(relay_users_path_set(w->users, &w->all[2].user, &local, &peer));
	assert_false(relay_users_path_set(w->users, &w->all[2].user, &host, &peer));
	// No channel yet: this one is lost, and one is bound.
	assert_false(relay_users_send(w->users, w->now, &local, &peer, "x", 1, 0));
	pump_all(w);
	assert_int_equal(w->all[0].n_routes, 1);
	assert_int_equal(w->all[1].n_routes + w->all[2].n_routes + w->all[3].n_routes, 0);
	assert_true(relay_users_send(w->users, w->now, &local, &peer, "x", 1, 0));
	assert_int_equal(w->doubles[0].n_forwarded, 1);
	relay_users_leave(w->users, &w->all[0].user);
	w->now += 601 * S;
	relays_handle_timeout(w->relays, w->now);
	pump_all(w);
	assert_int_equal(w->all[0].n_routes, 1);
}

static void unwraps_what_a_relay_brings(void **state)
{
	struct world *w = *state;
	uint8_t packet[TURN_CHANNEL_HEADER_SIZE + 5];
	struct ip_endpoint local, peer = endpoint(PEER);
	struct relay_datagram d;
	struct turn_route route;

	list(w, 1, 0);
	pump_all(w);
	join(w, 0);
	local = relayed(w, &w->all[0]);
	assert_false(relay_users_send(w->users, w->now, &local, &peer, "x", 1, 0));
	pump_all(w);
	assert_int_equal(relays_route(w->relays, w->now, &local, &peer, &route), 0);
	turn_channel_header_write(packet, route.channel, 5);
	memcpy(packet + TURN_CHANNEL_HEADER_SIZE, "hello", 5);
	d = (struct relay_datagram){route.local, route.remote, packet, sizeof(packet)};
	assert_true(relay_users_is_peers(relay_users_receive(w->users, w->now, &d)));
	assert_true(ip_endpoint_eq(&d.local, &local));
	assert_true(ip_endpoint_eq(&d.remote, &peer));
	assert_int_equal(d.size, 5);
	assert_memory_equal(d.data, "hello", 5);
	// A peer's own, and one for a channel that nobody has.
	d = (struct relay_datagram){route.local, peer, packet, sizeof(packet)};
	assert_true(relay_users_is_peers(relay_users_receive(w->users, w->now, &d)));
	assert_ptr_equal(d.data, packet);
	turn_channel_header_write(packet, route.channel + 1, 5);
	d = (struct relay_datagram){route.local, route.remote, packet, sizeof(packet)};
	assert_false(relay_users_is_peers(relay_users_receive(w->users, w->now, &d)));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(joins_before_any_relay_answered, setup, teardown),
		cmocka_unit_test_setup_teardown(joins_later_and_tells_nobody_yet, setup, teardown),
		cmocka_unit_test_setup_teardown(tells_many_in_slices, setup, teardown),
		cmocka_unit_test_setup_teardown(moves_all_to_another_relay, setup, teardown),
		cmocka_unit_test_setup_teardown(leaves_in_the_middle, setup, teardown),
		cmocka_unit_test_setup_teardown(channel_events_find_their_user, setup, teardown),
		cmocka_unit_test_setup_teardown(unwraps_what_a_relay_brings, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
