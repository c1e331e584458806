// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "tests/unit/path/relay_sim.h"

#include "tests/unit/unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LATENCY (5 * RSIM_MS)
#define SIGNALLING (50 * RSIM_MS)
#define STEPS_MAX 1000000
#define DATA "application data"

struct ip_endpoint rsim_endpoint(const char *text)
{
	struct ip_endpoint ep;

	assert_int_equal(ip_endpoint_parse(&ep, text), 0);
	return ep;
}

static uint64_t next_random(struct rsim *sim)
{
	uint64_t z = (sim->seed += 0x9e3779b97f4a7c15);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	return z ^ (z >> 31);
}

static void random_bytes(void *sim, void *buf, size_t size)
{
	uint8_t *bytes = buf;

	for (size_t i = 0; i < size; i++)
		bytes[i] = (uint8_t)(next_random(sim) >> 8);
}

struct rsim *rsim_create(void)
{
	struct rsim *sim = calloc(1, sizeof(*sim));

	assert_non_null(sim);
	sim->now = 1000 * RSIM_S;
	sim->seed = 7;
	sim->mac = stun_mac_create();
	assert_non_null(sim->mac);
	return sim;
}

void rsim_destroy(struct rsim *sim)
{
	for (unsigned i = 0; i < RSIM_NODES_MAX; i++) {
		ice_agent_destroy(sim->nodes[i].agent);
		relays_destroy(sim->nodes[i].relays);
	}
	for (size_t i = 0; i < sim->n_relays; i++)
		double_fini(&sim->relays[i]);
	stun_mac_destroy(sim->mac);
	free(sim);
}

// @return index of the relay that the address belongs to, or RSIM_RELAYS_MAX
static size_t relay_of(const struct rsim *sim, const struct ip_endpoint *ep)
{
	for (size_t i = 0; i < sim->n_relays; i++) {
		if (double_owns(&sim->relays[i], ep))
			return i;
	}
	return RSIM_RELAYS_MAX;
}

static uint64_t delay_of(const struct rsim *sim, const struct ip_endpoint *ep)
{
	size_t relay = relay_of(sim, ep);

	return relay < RSIM_RELAYS_MAX ? sim->delays[relay] : 0;
}

static void net_send(
	struct rsim *sim,
	const struct ip_endpoint *from,
	const struct ip_endpoint *to,
	const void *data,
	size_t size)
{
	struct rsim_packet *p = &sim->flight[sim->n_flight];

	assert_true(sim->n_flight < RSIM_FLIGHT_MAX && size <= sizeof(p->data));
	p->at = sim->now + LATENCY + delay_of(sim, from) + delay_of(sim, to);
	p->from = *from;
	p->to = *to;
	p->size = size;
	memcpy(p->data, data, size);
	sim->n_flight++;
}

static void
emit(void *ctx,
     const struct ip_endpoint *from,
     const struct ip_endpoint *to,
     const void *data,
     size_t size)
{
	net_send(ctx, from, to, data, size);
}

unsigned rsim_relay(struct rsim *sim, const char *v4, const char *v6)
{
	struct relay_double *d = &sim->relays[sim->n_relays];

	assert_true(sim->n_relays < RSIM_RELAYS_MAX);
	double_init(d, v4, v6);
	d->emit = emit;
	d->emit_ctx = sim;
	return (unsigned)sim->n_relays++;
}

void rsim_node(
	struct rsim *sim,
	unsigned node,
	const char *v4,
	const char *v6,
	const char *nat_addr)
{
	struct rsim_node *n = &sim->nodes[node];
	struct relays_config config = {
		.random = random_bytes,
		.random_ctx = sim,
		.mac = sim->mac,
	};

	if (v4 != NULL)
		n->locals[0] = rsim_endpoint(v4);
	if (v6 != NULL)
		n->locals[1] = rsim_endpoint(v6);
	if (nat_addr != NULL) {
		n->nat = RSIM_NAT_SYMMETRIC;
		assert_int_equal(ip_addr_parse(&n->public_addr, nat_addr), 0);
	}
	config.local_v4 = n->locals[0];
	config.local_v6 = n->locals[1];
	n->relays = relays_create(&config, sim->now);
	assert_non_null(n->relays);
}

size_t rsim_entries(struct rsim *sim, unsigned relay, uint8_t id, struct relays_entry out[2])
{
	const struct relay_double *d = &sim->relays[relay];
	size_t n = 0;

	for (unsigned i = 0; i < 2; i++) {
		if (d->addrs[i].port == 0)
			continue;
		out[n] = (struct relays_entry){
			.endpoint = d->addrs[i],
			.username = d->username,
			.password = "pw",
		};
		memset(out[n].id, id, sizeof(out[n].id));
		n++;
	}
	return n;
}

void rsim_list(struct rsim *sim, unsigned node, unsigned relays)
{
	struct relays_entry entries[2 * RSIM_RELAYS_MAX];
	size_t n = 0;

	for (unsigned i = 0; i < sim->n_relays; i++) {
		if (relays & 1u << i)
			n += rsim_entries(sim, i, (uint8_t)(i + 1), &entries[n]);
	}
	relays_apply(sim->nodes[node].relays, sim->now, NULL, 0, entries, n);
	rsim_drain(sim, node);
}

void rsim_unlist(struct rsim *sim, unsigned node, unsigned relays)
{
	uint8_t ids[RSIM_RELAYS_MAX][RELAYS_ID_SIZE];
	struct relays_entry entries[2 * RSIM_RELAYS_MAX];
	size_t n = 0, n_entries = 0;

	for (unsigned i = 0; i < sim->n_relays; i++) {
		if (relays & 1u << i)
			memset(ids[n++], (int)i + 1, RELAYS_ID_SIZE);
		else
			n_entries += rsim_entries(sim, i, (uint8_t)(i + 1), &entries[n_entries]);
	}
	relays_apply(sim->nodes[node].relays, sim->now, ids, n, entries, n_entries);
	rsim_drain(sim, node);
}

// Out through the NAT.
static void node_send(
	struct rsim *sim,
	struct rsim_node *n,
	const struct ip_endpoint *local,
	const struct ip_endpoint *remote,
	const void *data,
	size_t size)
{
	struct ip_endpoint from = *local;
	size_t i = 0;

	if (n->is_direct_dead && relay_of(sim, remote) == RSIM_RELAYS_MAX)
		return;
	if (n->nat == RSIM_NAT_SYMMETRIC && local->addr.family == IP_FAMILY_V4) {
		while (i < n->n_mappings
		       && !(ip_endpoint_eq(&n->mappings[i].remote, remote)
			    && ip_endpoint_eq(&n->mappings[i].local, local)))
			i++;
		if (i == n->n_mappings) {
			assert_true(i < RSIM_MAPPINGS_MAX);
			n->mappings[n->n_mappings++] =
				(struct rsim_mapping){*local, *remote, (uint16_t)(20000 + 7 * i)};
		}
		from = (struct ip_endpoint){.addr = n->public_addr, .port = n->mappings[i].port};
	}
	net_send(sim, &from, remote, data, size);
}

static const char *ufrag_of(unsigned node)
{
	return node == 0 ? "clnt" : "gate";
}

static void signal_text(struct rsim *sim, unsigned node, bool is_withdrawal, const char *text)
{
	struct rsim_signal *s = &sim->signals[sim->n_signals++];

	assert_true(sim->n_signals <= RSIM_TEXTS_MAX);
	s->at = sim->now + SIGNALLING;
	s->node = 1 - node;
	s->is_withdrawal = is_withdrawal;
	strcpy(s->text, text);
}

static void add_local(struct rsim *sim, unsigned node, const struct turn_event *event)
{
	struct rsim_node *n = &sim->nodes[node];
	struct ice_candidate added;
	char *text = n->announced[n->n_announced];

	if (ice_agent_add_local(
		    n->agent, sim->now, &event->candidate, event->is_cross_family, &added)
	    < 0)
		return;
	assert_true(n->n_announced < RSIM_TEXTS_MAX);
	n->n_announced++;
	assert_true(ice_candidate_format(&added, ufrag_of(node), text) > 0);
	signal_text(sim, node, false, text);
}

// Item 26: what is withdrawn is byte for byte what was announced.
static void withdraw(struct rsim *sim, unsigned node, const struct turn_event *event)
{
	struct rsim_node *n = &sim->nodes[node];
	struct ice_candidate removed;
	char text[ICE_CANDIDATE_TEXT_SIZE];
	size_t i = 0;

	if (ice_agent_remove_local(
		    n->agent, sim->now, event->candidate.kind, &event->candidate.addr, &removed)
	    < 0)
		return;
	assert_true(ice_candidate_format(&removed, ufrag_of(node), text) > 0);
	while (i < n->n_announced && strcmp(n->announced[i], text) != 0)
		i++;
	assert_true(i < n->n_announced);
	n->n_withdrawals_sent++;
	signal_text(sim, node, true, text);
}

static void choose_relay(struct rsim *sim, unsigned node)
{
	struct rsim_node *n = &sim->nodes[node];
	struct turn_event all[32];
	size_t n_all;

	n->relay = relays_pick(n->relays);
	n_all = relays_candidates(n->relays, n->relay, all, 32);
	for (size_t i = 0; i < n_all; i++)
		add_local(sim, node, &all[i]);
	for (size_t i = 0; i < n->n_remotes; i++)
		relays_want_channel(n->relays, sim->now, n->relay, &n->remotes[i]);
}

static void relays_say(struct rsim *sim, unsigned node, const struct relays_event *event)
{
	struct rsim_node *n = &sim->nodes[node];

	n->events[event->type]++;
	if (event->type == RELAYS_EVENT_LOST)
		n->failure = event->failure;
	if (n->agent == NULL || event->relay != n->relay)
		return;
	if (event->type == RELAYS_EVENT_CANDIDATE)
		add_local(sim, node, &event->turn);
	else if (event->type == RELAYS_EVENT_WITHDRAWN)
		withdraw(sim, node, &event->turn);
	else if (event->type == RELAYS_EVENT_LOST)
		choose_relay(sim, node);
}

static void ice_says(struct rsim *sim, struct rsim_node *n, const struct ice_event *event)
{
	switch (event->type) {
	case ICE_EVENT_SELECTED_PAIR_CHANGED:
		n->local = event->local;
		n->remote = event->remote;
		break;
	case ICE_EVENT_CONNECTED:
		n->is_connected = true;
		n->connected_at = sim->now;
		break;
	case ICE_EVENT_DISCONNECTED:
		n->is_connected = false;
		break;
	case ICE_EVENT_FAILED:
		n->has_failed = true;
		break;
	}
}

static void ice_send(struct rsim *sim, struct rsim_node *n, const struct ice_transmit *t)
{
	struct stun_msg msg;
	enum relays_send how =
		relays_send(n->relays, sim->now, &t->local, &t->remote, t->data, t->size);

	assert_int_equal(stun_msg_parse(&msg, t->data, t->size), 0);
	if (how == RELAYS_SEND_DIRECT)
		node_send(sim, n, &t->local, &t->remote, t->data, t->size);
	// Item 19: the answer names the peer of the channel, and goes back through it.
	if (msg.cls == STUN_CLASS_SUCCESS)
		assert_true(ip_endpoint_eq(&msg.mapped, &t->remote));
	n->n_relayed_answers += how == RELAYS_SEND_RELAYED && msg.cls == STUN_CLASS_SUCCESS ? 1 : 0;
}

void rsim_drain(struct rsim *sim, unsigned node)
{
	struct rsim_node *n = &sim->nodes[node];
	struct turn_transmit turn;
	struct ice_transmit ice;
	struct relays_event event;
	struct ice_event ice_event;
	bool is_busy = true;

	while (is_busy) {
		is_busy = false;
		while (relays_poll_event(n->relays, &event)) {
			is_busy = true;
			relays_say(sim, node, &event);
		}
		while (n->agent != NULL && ice_agent_poll_event(n->agent, &ice_event))
			ice_says(sim, n, &ice_event);
		while (n->agent != NULL && ice_agent_poll_transmit(n->agent, &ice)) {
			is_busy = true;
			ice_send(sim, n, &ice);
		}
		while (relays_poll_transmit(n->relays, &turn))
			node_send(sim, n, &turn.local, &turn.remote, turn.data, turn.size);
	}
}

static void peer_packet(
	struct rsim *sim,
	struct rsim_node *n,
	const struct ip_endpoint *local,
	const struct ip_endpoint *remote,
	const void *data,
	size_t size)
{
	if (size == sizeof(DATA) && memcmp(data, DATA, size) == 0) {
		n->n_data++;
		n->data_at = sim->now;
		return;
	}
	if (n->agent != NULL)
		ice_agent_handle_packet(n->agent, sim->now, local, remote, data, size);
}

static void node_receive(
	struct rsim *sim,
	unsigned node,
	const struct ip_endpoint *local,
	const struct rsim_packet *p)
{
	struct rsim_node *n = &sim->nodes[node];
	struct turn_data data;
	uint32_t relay;
	enum turn_rx rx;

	rx = relays_handle_packet(
		n->relays, sim->now, local, &p->from, p->data, p->size, &relay, &data);
	n->rx[rx]++;
	if (rx == TURN_RX_DATA)
		peer_packet(sim, n, &data.local, &data.remote, data.data, data.size);
	else if (rx == TURN_RX_NOT_FROM_RELAY || rx == TURN_RX_OTHER)
		peer_packet(sim, n, local, &p->from, p->data, p->size);
	rsim_drain(sim, node);
}

// In through the NAT. @return the inside address, or NULL
static const struct ip_endpoint *inside_of(const struct rsim_node *n, const struct rsim_packet *p)
{
	for (unsigned i = 0; i < 2; i++) {
		bool is_behind = n->nat != RSIM_NAT_NONE && i == 0;

		if (!is_behind && ip_endpoint_eq(&n->locals[i], &p->to))
			return &n->locals[i];
	}
	if (n->nat == RSIM_NAT_NONE || !ip_addr_eq(&n->public_addr, &p->to.addr))
		return NULL;
	for (size_t i = 0; i < n->n_mappings; i++) {
		if (n->mappings[i].port == p->to.port
		    && ip_endpoint_eq(&n->mappings[i].remote, &p->from))
			return &n->mappings[i].local;
	}
	return NULL;
}

static void arrive(struct rsim *sim, size_t index)
{
	struct rsim_packet p = sim->flight[index];
	size_t relay;

	sim->flight[index] = sim->flight[--sim->n_flight];
	relay = relay_of(sim, &p.to);
	if (relay < RSIM_RELAYS_MAX) {
		double_receive(&sim->relays[relay], sim->now, &p.from, &p.to, p.data, p.size);
		return;
	}
	for (unsigned i = 0; i < RSIM_NODES_MAX; i++) {
		const struct ip_endpoint *inside = inside_of(&sim->nodes[i], &p);

		if (inside != NULL && sim->nodes[i].relays != NULL) {
			node_receive(sim, i, inside, &p);
			return;
		}
	}
}

static void hear(struct rsim *sim, size_t index)
{
	struct rsim_signal s = sim->signals[index];
	struct rsim_node *n = &sim->nodes[s.node];
	struct ice_candidate c;

	sim->signals[index] = sim->signals[--sim->n_signals];
	if (n->agent == NULL)
		return;
	assert_int_equal(ice_candidate_parse(&c, s.text, ufrag_of(1 - s.node)), 0);
	if (s.is_withdrawal) {
		assert_int_equal(ice_agent_remove_remote(n->agent, sim->now, &c), 0);
	} else {
		assert_int_equal(ice_agent_add_remote(n->agent, sim->now, &c), 0);
		assert_true(n->n_remotes < RSIM_TEXTS_MAX);
		n->remotes[n->n_remotes++] = c;
		relays_want_channel(n->relays, sim->now, n->relay, &c);
	}
	rsim_drain(sim, s.node);
}

void rsim_connect(struct rsim *sim)
{
	for (unsigned i = 0; i < 2; i++) {
		struct ice_config config = {
			.role = i == 0 ? ICE_ROLE_CONTROLLING : ICE_ROLE_CONTROLLED,
			.profile = i == 0 ? ICE_PROFILE_CLIENT : ICE_PROFILE_SERVER,
			.local_ufrag = ufrag_of(i),
			.local_pwd = i == 0 ? "clientpasswordclientpw" : "gatewaypasswordgateway",
			.remote_ufrag = ufrag_of(1 - i),
			.remote_pwd = i == 0 ? "gatewaypasswordgateway" : "clientpasswordclientpw",
			.tie_breaker = next_random(sim),
			.random = random_bytes,
			.random_ctx = sim,
			.mac = sim->mac,
		};

		sim->nodes[i].agent = ice_agent_create(&config, sim->now);
		assert_non_null(sim->nodes[i].agent);
	}
	for (unsigned i = 0; i < 2; i++) {
		choose_relay(sim, i);
		rsim_drain(sim, i);
	}
}

void rsim_send(struct rsim *sim, unsigned node)
{
	struct rsim_node *n = &sim->nodes[node];
	struct ip_endpoint local, remote;

	if (!ice_agent_selected(n->agent, &local, &remote))
		return;
	if (relays_send(n->relays, sim->now, &local, &remote, DATA, sizeof(DATA))
	    == RELAYS_SEND_DIRECT)
		node_send(sim, n, &local, &remote, DATA, sizeof(DATA));
	rsim_drain(sim, node);
}

static void due_now(struct rsim *sim)
{
	for (size_t i = sim->n_flight; i-- > 0;) {
		if (i < sim->n_flight && sim->flight[i].at <= sim->now)
			arrive(sim, i);
	}
	for (size_t i = sim->n_signals; i-- > 0;) {
		if (i < sim->n_signals && sim->signals[i].at <= sim->now)
			hear(sim, i);
	}
	for (unsigned i = 0; i < RSIM_NODES_MAX; i++) {
		struct rsim_node *n = &sim->nodes[i];

		if (n->relays == NULL)
			continue;
		if (relays_next_deadline(n->relays) <= sim->now)
			relays_handle_timeout(n->relays, sim->now);
		if (n->agent != NULL && ice_agent_next_deadline(n->agent) <= sim->now)
			ice_agent_handle_timeout(n->agent, sim->now);
		rsim_drain(sim, i);
	}
}

static uint64_t next_at(const struct rsim *sim)
{
	uint64_t at = UINT64_MAX, each;

	for (size_t i = 0; i < sim->n_flight; i++)
		at = sim->flight[i].at < at ? sim->flight[i].at : at;
	for (size_t i = 0; i < sim->n_signals; i++)
		at = sim->signals[i].at < at ? sim->signals[i].at : at;
	for (unsigned i = 0; i < RSIM_NODES_MAX; i++) {
		const struct rsim_node *n = &sim->nodes[i];

		if (n->relays == NULL)
			continue;
		each = relays_next_deadline(n->relays);
		at = each < at ? each : at;
		each = n->agent != NULL ? ice_agent_next_deadline(n->agent) : UINT64_MAX;
		at = each < at ? each : at;
	}
	return at;
}

void rsim_run(struct rsim *sim, uint64_t ns)
{
	uint64_t end = sim->now + ns, at;

	for (unsigned i = 0; i < STEPS_MAX; i++) {
		at = next_at(sim);
		if (at > end) {
			sim->now = end;
			return;
		}
		sim->now = at > sim->now ? at : sim->now;
		due_now(sim);
	}
	fail_msg("the nodes never come to rest");
}

uint64_t rsim_talk(struct rsim *sim, uint64_t ns)
{
	uint64_t end = sim->now + ns, longest = 0;

	for (unsigned i = 0; i < 2; i++)
		sim->nodes[i].data_at = sim->now;
	while (sim->now < end) {
		for (unsigned i = 0; i < 2; i++)
			rsim_send(sim, i);
		rsim_run(sim, 100 * RSIM_MS);
		for (unsigned i = 0; i < 2; i++) {
			uint64_t gap = sim->now - sim->nodes[i].data_at;

			longest = gap > longest ? gap : longest;
		}
	}
	return longest;
}

bool rsim_is_relayed(const struct rsim *sim, unsigned node)
{
	return relays_find_relayed(sim->nodes[node].relays, &sim->nodes[node].local) != RELAYS_NONE;
}
