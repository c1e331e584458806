// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

// Behaviours of spec/connectivity.md section 8 that take two agents and a NAT, or the agent's exact
// bytes (appendix B).

#include "tests/unit/path/hex.h"
#include "tests/unit/path/sim.h"
#include "tests/unit/unit.h"

#include <errno.h>
#include <string.h>

#define CLIENT_INSIDE "10.0.0.10:40000"
#define GATEWAY_INSIDE "10.1.1.1:52625"
#define GATEWAY_FORWARDED "203.0.113.9:52625"
#define FLOWS_MAX 16

static int setup(void **state)
{
	*state = sim_create();
	return 0;
}

static int teardown(void **state)
{
	sim_destroy(*state);
	return 0;
}

static bool is_at(const struct ip_endpoint *ep, const char *text)
{
	struct ip_endpoint want = sim_endpoint(text);

	return ip_endpoint_eq(ep, &want);
}

// Transaction ids of the vectors.
static void counting_bytes(void *, void *buf, size_t size)
{
	uint8_t *bytes = buf;

	for (size_t i = 0; i < size; i++)
		bytes[i] = (uint8_t)i;
}

static void keep_bytes(struct sim *sim, const struct sim_packet *packet)
{
	*(struct sim_packet *)sim->test = *packet;
}

static void assert_bytes(const void *data, size_t n, const char *hex)
{
	uint8_t want[ICE_TRANSMIT_SIZE_MAX];
	size_t size = hex_read(want, sizeof(want), hex);

	assert_int_equal(n, size);
	assert_memory_equal(data, want, size);
}

static void appendix_b1_request_of_the_agent(void **state)
{
	struct sim *sim = *state;
	struct ice_config config = sim_config(sim, SIM_GATEWAY);
	struct sim_packet sent = {0};

	config.tie_breaker = 0x0123456789abcdef;
	config.random = counting_bytes;
	sim->test = &sent;
	sim->watch = keep_bytes;
	sim_start(sim, SIM_CLIENT, &config); // the only node
	sim_host(sim, SIM_CLIENT, SIM_CLIENT, "192.0.2.20:52625");
	assert_int_equal(
		ice_agent_add_remote_text(
			sim->nodes[SIM_CLIENT].agent,
			sim->now,
			"candidate:1 1 udp 2130706175 192.0.2.10 40000 typ host ufrag clnt"),
		0);
	sim_drain(sim, SIM_CLIENT);
	assert_bytes(
		sent.data,
		sent.size,
		"000100442112a442000102030405060708090a0b00060009636c6e743a676174650000008029000801"
		"23456789abcdef002400046efffeff00080014d376396b9e7f29cba7cfc6ad3233b0cdf7190d3f8028"
		"000400557ce5");
}

// A request with the transaction id of the vectors arrives, and the answer is the vector.
static void answer_check(struct sim *sim, const char *local, const char *remote, const char *hex)
{
	const struct ip_endpoint to = sim_endpoint(local), from = sim_endpoint(remote);
	struct ice_agent *agent = sim->nodes[SIM_GATEWAY].agent;
	uint8_t buf[ICE_TRANSMIT_SIZE_MAX];
	struct ice_transmit answer;
	struct stun_txid txid;
	struct stun_writer w;

	counting_bytes(NULL, txid.bytes, sizeof(txid.bytes));
	sim_host(sim, SIM_GATEWAY, SIM_GATEWAY, local);
	stun_writer_init(&w, buf, sizeof(buf), STUN_CLASS_REQUEST, STUN_METHOD_BINDING, &txid);
	stun_writer_add(&w, STUN_ATTR_USERNAME, "gate:clnt", 9);
	stun_writer_add_u64(&w, STUN_ATTR_ICE_CONTROLLING, 1);
	stun_writer_add_u32(&w, STUN_ATTR_PRIORITY, 1862270719);
	stun_writer_add_integrity(&w, sim->mac, "gatewaypasswordgateway", 22);
	stun_writer_add_fingerprint(&w);
	assert_int_equal(
		ice_agent_handle_packet(
			agent, sim->now, &to, &from, buf, (size_t)stun_writer_finish(&w)),
		ICE_RX_REQUEST);
	// The answer goes first; a check of the new pair follows.
	assert_true(ice_agent_poll_transmit(agent, &answer));
	assert_bytes(answer.data, answer.size, hex);
	sim_drain(sim, SIM_GATEWAY);
}

static void appendix_b2_b3_answers_of_the_agent(void **state)
{
	struct sim *sim = *state;

	sim_start_both(sim);
	answer_check(
		sim,
		"192.0.2.20:52625",
		"203.0.113.7:52625",
		"0101002c2112a442000102030405060708090a0b002000080001ec83ea12d545000800140faf963bd0"
		"2519d77fc38a1cd2cbb0db959e464f802800043b600d8b");
	answer_check(
		sim,
		"[2001:db8::20]:52625",
		"[2001:db8::7]:52625",
		"010100382112a442000102030405060708090a0b002000140002ec830113a9fa000102030405060708"
		"090a0c00080014afafe2ea8387fcbab3d67c37e29841aa311259b080280004b28d53c5");
}

// Each element of a list counts for itself.
static void b06_garbage_in_a_list_spoils_nothing_else(void **state)
{
	static const struct {
		const char *text;
		int rc;
	} lines[] = {
		{"garbage", -EINVAL},
		{"candidate:1 1 tcp 2130706175 192.0.2.10 40000 typ host", -EPROTONOSUPPORT},
		{"candidate:1 2 udp 2130706175 192.0.2.10 40000 typ host", -EPROTONOSUPPORT},
		{"candidate:1 1 udp 2130706175 192.0.2.10 40000 typ host ufrag evil", -EACCES},
		{"candidate:1 1 udp x 192.0.2.10 40000 typ host ufrag clnt", -EINVAL},
		{"candidate:1 1 udp 2130706175 192.0.2.10 40000 typ host ufrag clnt", 0},
		{"", -EINVAL},
	};
	struct sim *sim = *state;

	sim_start_both(sim);
	sim_host(sim, SIM_GATEWAY, SIM_CLIENT, "192.0.2.20:52625");
	sim_host(sim, SIM_CLIENT, SIM_CLIENT, "192.0.2.10:40000");
	for (size_t i = 0; i < COUNT_OF(lines); i++) {
		int rc = ice_agent_add_remote_text(
			sim->nodes[SIM_GATEWAY].agent, sim->now, lines[i].text);

		assert_int_equal(rc < 0, lines[i].rc < 0);
		assert_int_equal(
			ice_agent_pair_count(sim->nodes[SIM_GATEWAY].agent), i < 5 ? 0 : 1);
	}
	sim_drain(sim, SIM_GATEWAY);
	sim_run(sim, SIM_S);
	assert_true(sim_agree(sim));
}

// NATs before both. The client's is symmetric. The gateway's forwards 52625 to it, but gives what the
// gateway sends by itself another port for each destination, so that nothing but a guess helps.
struct forwarding {
	struct ip_endpoint client_flows[FLOWS_MAX]; // destinations
	struct ip_endpoint gateway_flows[FLOWS_MAX];
	struct ip_endpoint forwarded[FLOWS_MAX]; // who came in through 52625
	size_t n_client_flows, n_gateway_flows, n_forwarded;
};

static size_t flow_find(const struct ip_endpoint *flows, size_t n, const struct ip_endpoint *ep)
{
	size_t i = 0;

	while (i < n && !ip_endpoint_eq(&flows[i], ep))
		i++;
	return i;
}

static size_t flow_of(struct ip_endpoint *flows, size_t *n, const struct ip_endpoint *ep)
{
	size_t i = flow_find(flows, *n, ep);

	if (i == *n) {
		assert_true(*n < FLOWS_MAX);
		flows[(*n)++] = *ep;
	}
	return i;
}

static void forward_out(struct forwarding *f, struct sim_packet *packet)
{
	if (is_at(&packet->from, CLIENT_INSIDE)) {
		packet->from = sim_endpoint("203.0.113.7:61000");
		packet->from.port +=
			(uint16_t)flow_of(f->client_flows, &f->n_client_flows, &packet->to);
	} else if (is_at(&packet->from, GATEWAY_INSIDE)) {
		packet->from = sim_endpoint(GATEWAY_FORWARDED);
		if (flow_find(f->forwarded, f->n_forwarded, &packet->to) < f->n_forwarded)
			return;
		packet->from.port = 33333;
		packet->from.port +=
			(uint16_t)flow_of(f->gateway_flows, &f->n_gateway_flows, &packet->to);
	}
}

static bool forward_in(struct forwarding *f, struct sim_packet *packet)
{
	struct ip_endpoint client = sim_endpoint("203.0.113.7:61000");
	struct ip_endpoint gateway = sim_endpoint("203.0.113.9:33333");
	size_t i;

	if (is_at(&packet->to, GATEWAY_FORWARDED)) {
		flow_of(f->forwarded, &f->n_forwarded, &packet->from);
		packet->to = sim_endpoint(GATEWAY_INSIDE);
		return true;
	}
	if (ip_addr_eq(&packet->to.addr, &client.addr)) {
		i = flow_find(f->client_flows, f->n_client_flows, &packet->from);
		if (i == f->n_client_flows || packet->to.port != client.port + i)
			return false;
		packet->to = sim_endpoint(CLIENT_INSIDE);
		return true;
	}
	if (!ip_addr_eq(&packet->to.addr, &gateway.addr))
		return false; // addresses from behind a NAT are nobody's outside
	i = flow_find(f->gateway_flows, f->n_gateway_flows, &packet->from);
	if (i == f->n_gateway_flows || packet->to.port != gateway.port + i)
		return false;
	packet->to = sim_endpoint(GATEWAY_INSIDE);
	return true;
}

static bool forward_filter(struct sim *sim, struct sim_packet *packet)
{
	forward_out(sim->test, packet);
	return forward_in(sim->test, packet);
}

static void b28_gateway_behind_a_forwarded_port(void **state)
{
	struct forwarding f = {.n_client_flows = 0};
	struct sim *sim = *state;

	sim->test = &f;
	sim->filter = forward_filter;
	sim_start_both(sim);
	sim_host(sim, SIM_GATEWAY, SIM_CLIENT, GATEWAY_INSIDE);
	sim_host(sim, SIM_CLIENT, SIM_GATEWAY, CLIENT_INSIDE);
	sim_signal(sim, SIM_GATEWAY, ICE_KIND_SRFLX, "203.0.113.7:60999");
	sim_run(sim, 2 * SIM_S);
	assert_int_equal(sim->nodes[SIM_CLIENT].n_connected, 0);
	sim_signal(sim, SIM_CLIENT, ICE_KIND_SRFLX, "203.0.113.9:33332");
	sim_run(sim, 2 * SIM_S);
	assert_int_equal(sim->nodes[SIM_CLIENT].n_connected, 1);
	assert_int_equal(sim->nodes[SIM_GATEWAY].n_connected, 1);
	assert_true(is_at(&sim->nodes[SIM_CLIENT].remote, GATEWAY_FORWARDED));
	sim_run(sim, 60 * SIM_S);
	assert_int_equal(sim->nodes[SIM_CLIENT].n_disconnected, 0);
	assert_int_equal(sim->nodes[SIM_GATEWAY].n_disconnected, 0);
}

// A NAT that forgets a mapping after 30 s without an outgoing packet.
struct forgetful {
	uint64_t last_out;
	uint64_t longest; // between two outgoing packets
	uint16_t port;
};

static bool forgetful_filter(struct sim *sim, struct sim_packet *packet)
{
	struct ip_endpoint inside = sim_endpoint(CLIENT_INSIDE);
	struct ip_endpoint outside = sim_endpoint("203.0.113.7:1");
	struct forgetful *nat = sim->test;
	uint64_t age = sim->now - nat->last_out;

	outside.port = nat->port;
	if (ip_endpoint_eq(&packet->from, &inside)) {
		if (nat->last_out != 0 && age > nat->longest)
			nat->longest = age;
		if (age > 30 * SIM_S)
			outside.port = ++nat->port;
		nat->last_out = sim->now;
		packet->from = outside;
		return true;
	}
	if (!ip_endpoint_eq(&packet->to, &outside) || age > 30 * SIM_S)
		return false;
	packet->to = inside;
	return true;
}

static void b30_nat_binding_survives_five_idle_minutes(void **state)
{
	struct forgetful nat = {.port = 61000};
	struct sim *sim = *state;
	struct sim_node *gateway = &sim->nodes[SIM_GATEWAY], *client = &sim->nodes[SIM_CLIENT];
	uint16_t port;

	sim->test = &nat;
	sim->filter = forgetful_filter;
	sim_start_both(sim);
	sim_host(sim, SIM_GATEWAY, SIM_CLIENT, "192.0.2.20:52625");
	sim_host(sim, SIM_CLIENT, SIM_GATEWAY, CLIENT_INSIDE);
	sim_run(sim, 20 * SIM_S);
	assert_int_equal(gateway->n_connected, 1);
	port = nat.port;
	ice_agent_set_idle(client->agent, sim->now, true);
	ice_agent_set_idle(gateway->agent, sim->now, true);
	sim_run(sim, 300 * SIM_S);
	// Either side's first packet finds the mapping of before.
	assert_int_equal(nat.port, port);
	assert_in_range(nat.longest, 20 * SIM_S, 26 * SIM_S);
	ice_agent_set_idle(gateway->agent, sim->now, false);
	ice_agent_set_idle(client->agent, sim->now, false);
	sim_drain(sim, SIM_GATEWAY);
	sim_drain(sim, SIM_CLIENT);
	sim_run(sim, 5 * SIM_S);
	assert_int_equal(gateway->n_selected, 1);
	assert_int_equal(client->n_selected, 1);
	assert_int_equal(client->n_disconnected + gateway->n_disconnected, 0);
}

// Where the check with each transaction id went.
struct questions {
	struct stun_txid txids[64];
	struct ip_endpoint to[64];
	size_t n;
	unsigned n_answered;
};

static void watch_addresses(struct sim *sim, const struct sim_packet *packet)
{
	struct questions *q = sim->test;
	struct stun_msg msg;

	assert_int_equal(stun_msg_parse(&msg, packet->data, packet->size), 0);
	if (msg.cls == STUN_CLASS_REQUEST) {
		q->txids[q->n % COUNT_OF(q->txids)] = msg.txid;
		q->to[q->n++ % COUNT_OF(q->to)] = packet->to;
		return;
	}
	for (size_t i = 0; i < COUNT_OF(q->txids); i++) {
		if (memcmp(&q->txids[i], &msg.txid, sizeof(msg.txid)) != 0)
			continue;
		assert_true(ip_endpoint_eq(&q->to[i], &packet->from));
		q->n_answered++;
	}
}

static void b63_answers_leave_from_the_address_of_the_check(void **state)
{
	static const char *const addrs[] = {
		"192.0.2.20:52625", "192.0.2.21:52625", "198.51.100.20:52625"};
	struct questions questions = {.n = 0};
	struct sim *sim = *state;

	sim->test = &questions;
	sim->watch = watch_addresses;
	sim_start_both(sim);
	for (size_t i = 0; i < COUNT_OF(addrs); i++)
		sim_host(sim, SIM_GATEWAY, SIM_CLIENT, addrs[i]);
	sim_host(sim, SIM_CLIENT, SIM_GATEWAY, "192.0.2.10:40000");
	sim_run(sim, 30 * SIM_S);
	assert_true(sim_agree(sim));
	assert_int_equal(ice_agent_pair_count(sim->nodes[SIM_GATEWAY].agent), COUNT_OF(addrs));
	assert_true(questions.n_answered > 3 * 20);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(appendix_b1_request_of_the_agent, setup, teardown),
		cmocka_unit_test_setup_teardown(
			appendix_b2_b3_answers_of_the_agent, setup, teardown),
		cmocka_unit_test_setup_teardown(
			b06_garbage_in_a_list_spoils_nothing_else, setup, teardown),
		cmocka_unit_test_setup_teardown(
			b28_gateway_behind_a_forwarded_port, setup, teardown),
		cmocka_unit_test_setup_teardown(
			b30_nat_binding_survives_five_idle_minutes, setup, teardown),
		cmocka_unit_test_setup_teardown(
			b63_answers_leave_from_the_address_of_the_check, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
