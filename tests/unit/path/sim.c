// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "tests/unit/path/sim.h"

#include "tests/unit/unit.h"

#include <stdio.h>
#include <stdlib.h>

#define LATENCY (5 * SIM_MS)
#define STEPS_MAX 2000000

struct ip_endpoint sim_endpoint(const char *text)
{
	struct ip_endpoint ep;

	assert_int_equal(ip_endpoint_parse(&ep, text), 0);
	return ep;
}

struct sim *sim_create(void)
{
	struct sim *sim = calloc(1, sizeof(*sim));

	assert_non_null(sim);
	sim->seed = 42;
	sim->now = 1000 * SIM_S;
	sim->mac = stun_mac_create();
	assert_non_null(sim->mac);
	return sim;
}

void sim_destroy(struct sim *sim)
{
	for (size_t i = 0; i < sim->n_nodes; i++)
		ice_agent_destroy(sim->nodes[i].agent);
	stun_mac_destroy(sim->mac);
	free(sim);
}

uint64_t sim_random(struct sim *sim)
{
	uint64_t z = (sim->seed += 0x9e3779b97f4a7c15);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return z ^ (z >> 31);
}

void sim_random_bytes(void *sim, void *buf, size_t size)
{
	uint8_t *bytes = buf;

	for (size_t i = 0; i < size; i++)
		bytes[i] = (uint8_t)sim_random(sim);
}

struct ice_config sim_config(struct sim *sim, unsigned node)
{
	struct ice_config config = {
		.role = node == SIM_CLIENT ? ICE_ROLE_CONTROLLING : ICE_ROLE_CONTROLLED,
		.profile = node == SIM_CLIENT ? ICE_PROFILE_CLIENT : ICE_PROFILE_SERVER,
		.local_ufrag = node == SIM_CLIENT ? "clnt" : "gate",
		.local_pwd =
			node == SIM_CLIENT ? "clientpasswordclientpw" : "gatewaypasswordgateway",
		.remote_ufrag = node == SIM_CLIENT ? "gate" : "clnt",
		.remote_pwd =
			node == SIM_CLIENT ? "gatewaypasswordgateway" : "clientpasswordclientpw",
		.tie_breaker = sim_random(sim),
		.random = sim_random_bytes,
		.random_ctx = sim,
		.mac = sim->mac,
	};

	return config;
}

void sim_start(struct sim *sim, unsigned node, const struct ice_config *config)
{
	ice_agent_destroy(sim->nodes[node].agent);
	memset(&sim->nodes[node], 0, sizeof(sim->nodes[node]));
	sim->nodes[node].agent = ice_agent_create(config, sim->now);
	assert_non_null(sim->nodes[node].agent);
	if (sim->n_nodes <= node)
		sim->n_nodes = node + 1;
}

void sim_start_both(struct sim *sim)
{
	for (unsigned i = 0; i < 2; i++) {
		struct ice_config config = sim_config(sim, i);

		sim_start(sim, i, &config);
	}
}

void sim_host(struct sim *sim, unsigned node, unsigned peer, const char *addr)
{
	struct ice_candidate c = {.kind = ICE_KIND_HOST, .addr = sim_endpoint(addr)}, added;
	struct sim_node *n = &sim->nodes[node];
	char text[ICE_CANDIDATE_TEXT_SIZE];

	assert_int_equal(ice_agent_add_local(n->agent, sim->now, &c, false, &added), 0);
	n->addrs[n->n_addrs++] = c.addr;
	sim_drain(sim, node);
	if (peer == node)
		return;
	assert_true(ice_candidate_format(&added, node == SIM_CLIENT ? "clnt" : "gate", text) > 0);
	assert_int_equal(ice_agent_add_remote_text(sim->nodes[peer].agent, sim->now, text), 0);
	sim_drain(sim, peer);
}

void sim_signal(struct sim *sim, unsigned node, enum ice_kind kind, const char *addr)
{
	struct ice_candidate c = {.kind = kind, .addr = sim_endpoint(addr)};
	char text[ICE_CANDIDATE_TEXT_SIZE];

	c.base = c.addr;
	ice_candidate_complete(&c, 0, false);
	assert_true(ice_candidate_format(&c, node == SIM_CLIENT ? "gate" : "clnt", text) > 0);
	assert_int_equal(ice_agent_add_remote_text(sim->nodes[node].agent, sim->now, text), 0);
	sim_drain(sim, node);
}

static void count_sent(struct sim_node *n, const struct ice_transmit *t)
{
	struct stun_msg msg;

	assert_int_equal(stun_msg_parse(&msg, t->data, t->size), 0);
	assert_true(stun_msg_verify_fingerprint(&msg));
	assert_int_equal(msg.method, STUN_METHOD_BINDING);
	assert_int_equal(t->local.addr.family, t->remote.addr.family);
	n->n_requests += msg.cls == STUN_CLASS_REQUEST ? 1 : 0;
	n->n_answers += msg.cls == STUN_CLASS_SUCCESS ? 1 : 0;
	n->n_role_errors += msg.cls == STUN_CLASS_ERROR && msg.error_code == 487 ? 1 : 0;
	n->n_use_candidate += msg.has & STUN_HAS_USE_CANDIDATE ? 1 : 0;
	n->n_controlling += msg.has & STUN_HAS_CONTROLLING ? 1 : 0;
}

static void send_one(struct sim *sim, const struct ice_transmit *t)
{
	struct sim_packet packet = {
		.at = sim->now + LATENCY,
		.from = t->local,
		.to = t->remote,
		.size = t->size,
	};

	memcpy(packet.data, t->data, t->size);
	if (sim->watch != NULL)
		sim->watch(sim, &packet);
	if (sim->filter != NULL && !sim->filter(sim, &packet))
		return;
	if (sim->loss_percent > 0 && sim_random(sim) % 100 < sim->loss_percent)
		return;
	assert_true(sim->n_flight < SIM_FLIGHT_MAX);
	sim->flight[sim->n_flight++] = packet;
}

static void see_event(struct sim *sim, struct sim_node *n, const struct ice_event *event)
{
	switch (event->type) {
	case ICE_EVENT_SELECTED_PAIR_CHANGED:
		n->n_selected++;
		n->selected_at = sim->now;
		n->local = event->local;
		n->remote = event->remote;
		break;
	case ICE_EVENT_CONNECTED:
		n->n_connected++;
		n->connected_at = sim->now;
		break;
	case ICE_EVENT_DISCONNECTED:
		n->n_disconnected++;
		break;
	case ICE_EVENT_FAILED:
		n->n_failed++;
		n->failure = event->failure;
		break;
	}
}

void sim_drain(struct sim *sim, unsigned node)
{
	struct sim_node *n = &sim->nodes[node];
	struct ice_transmit t;
	struct ice_event event;

	while (ice_agent_poll_transmit(n->agent, &t)) {
		count_sent(n, &t);
		send_one(sim, &t);
	}
	while (ice_agent_poll_event(n->agent, &event))
		see_event(sim, n, &event);
}

static enum ice_rx
receive(struct sim *sim,
	unsigned node,
	const struct ip_endpoint *local,
	const struct ip_endpoint *remote,
	const void *data,
	size_t size)
{
	struct sim_node *n = &sim->nodes[node];
	enum ice_rx rx = ice_agent_handle_packet(n->agent, sim->now, local, remote, data, size);

	n->rx[rx]++;
	sim_drain(sim, node);
	return rx;
}

enum ice_rx sim_deliver(
	struct sim *sim,
	unsigned node,
	const char *local,
	const char *remote,
	const void *data,
	size_t size)
{
	struct ip_endpoint l = sim_endpoint(local), r = sim_endpoint(remote);

	return receive(sim, node, &l, &r, data, size);
}

static void arrive(struct sim *sim, size_t index)
{
	struct sim_packet packet = sim->flight[index];

	sim->flight[index] = sim->flight[--sim->n_flight];
	for (unsigned i = 0; i < sim->n_nodes; i++) {
		for (size_t j = 0; j < sim->nodes[i].n_addrs; j++) {
			if (!ip_endpoint_eq(&sim->nodes[i].addrs[j], &packet.to))
				continue;
			receive(sim, i, &packet.to, &packet.from, packet.data, packet.size);
			return;
		}
	}
}

// The next thing to happen: a packet (its index), a deadline (SIM_FLIGHT_MAX + node), or nothing.
static size_t next_step(const struct sim *sim, uint64_t *at)
{
	size_t what = SIZE_MAX;

	for (size_t i = 0; i < sim->n_flight; i++) {
		if (sim->flight[i].at < *at || (what == SIZE_MAX && sim->flight[i].at == *at)) {
			*at = sim->flight[i].at;
			what = i;
		}
	}
	for (size_t i = 0; i < sim->n_nodes; i++) {
		uint64_t deadline = ice_agent_next_deadline(sim->nodes[i].agent);

		if (deadline < *at || (what == SIZE_MAX && deadline == *at)) {
			*at = deadline;
			what = SIM_FLIGHT_MAX + i;
		}
	}
	return what;
}

void sim_run(struct sim *sim, uint64_t ns)
{
	uint64_t end = sim->now + ns;

	for (unsigned i = 0; i < STEPS_MAX; i++) {
		uint64_t at = end;
		size_t what = next_step(sim, &at);

		if (what == SIZE_MAX) {
			sim->now = end;
			return;
		}
		sim->now = at > sim->now ? at : sim->now;
		if (what < SIM_FLIGHT_MAX) {
			arrive(sim, what);
			continue;
		}
		ice_agent_handle_timeout(sim->nodes[what - SIM_FLIGHT_MAX].agent, sim->now);
		sim_drain(sim, (unsigned)(what - SIM_FLIGHT_MAX));
	}
	fail_msg("the agents never come to rest");
}

bool sim_agree(const struct sim *sim)
{
	struct ip_endpoint cl, cr, gl, gr;

	return ice_agent_selected(sim->nodes[SIM_CLIENT].agent, &cl, &cr)
		&& ice_agent_selected(sim->nodes[SIM_GATEWAY].agent, &gl, &gr)
		&& ip_endpoint_eq(&cl, &gr) && ip_endpoint_eq(&cr, &gl);
}
