// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

// Behaviours 15-17 and 31 of spec/connectivity.md section 8: every bad packet has a name, no answer,
// and changes nothing.

#include "tests/unit/path/sim.h"
#include "tests/unit/unit.h"

#include <errno.h>

#define GATEWAY "192.0.2.20:52625"
#define STRANGER "198.51.100.66:4444"

static const struct stun_txid txid = {{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}};

static int setup(void **state)
{
	struct sim *sim = sim_create();

	sim_start_both(sim);
	sim_host(sim, SIM_GATEWAY, SIM_CLIENT, GATEWAY);
	*state = sim;
	return 0;
}

static int teardown(void **state)
{
	sim_destroy(*state);
	return 0;
}

// What a request is made of; the default is a good one.
struct recipe {
	const char *name;
	const char *username; // NULL: gate:clnt; "": none
	const char *password; // NULL: the gateway's; "": none
	bool no_priority;
	bool use_candidate;
	bool is_controlled;
	bool is_first_integrity; // everything behind MESSAGE-INTEGRITY
	uint64_t tie_breaker;
	enum stun_class cls;
	uint16_t method; // 0: Binding
	const char *local; // NULL: GATEWAY
	enum ice_rx rx;
};

static const struct recipe recipes[] = {
	{.name = "wrong password", .password = "x", .rx = ICE_RX_BAD_INTEGRITY},
	{.name = "the client's password",
	 .password = "clientpasswordclientpw",
	 .rx = ICE_RX_BAD_INTEGRITY},
	{.name = "no integrity", .password = "", .rx = ICE_RX_BAD_INTEGRITY},
	{.name = "integrity first", .is_first_integrity = true, .rx = ICE_RX_NO_USERNAME},
	{.name = "wrong remote ufrag", .username = "gate:evil", .rx = ICE_RX_UNKNOWN_USERNAME},
	{.name = "wrong local ufrag", .username = "evil:clnt", .rx = ICE_RX_UNKNOWN_USERNAME},
	{.name = "half a USERNAME", .username = "gate", .rx = ICE_RX_UNKNOWN_USERNAME},
	{.name = "USERNAME and more", .username = "gate:clntx", .rx = ICE_RX_UNKNOWN_USERNAME},
	{.name = "no USERNAME", .username = "", .rx = ICE_RX_NO_USERNAME},
	{.name = "no PRIORITY", .no_priority = true, .rx = ICE_RX_NO_PRIORITY},
	{.name = "to an address that is not a candidate",
	 .local = "192.0.2.21:52625",
	 .rx = ICE_RX_UNKNOWN_LOCAL},
	{.name = "to another port", .local = "192.0.2.20:52626", .rx = ICE_RX_UNKNOWN_LOCAL},
	{.name = "indication", .cls = STUN_CLASS_INDICATION, .rx = ICE_RX_INDICATION},
	{.name = "error response", .cls = STUN_CLASS_ERROR, .rx = ICE_RX_ERROR_RESPONSE},
	{.name = "success nobody asked for", .cls = STUN_CLASS_SUCCESS, .rx = ICE_RX_UNKNOWN_TXID},
	{.name = "Allocate", .method = STUN_METHOD_ALLOCATE, .rx = ICE_RX_NOT_BINDING},
};

static size_t build(struct sim *sim, const struct recipe *r, uint8_t buf[ICE_TRANSMIT_SIZE_MAX])
{
	const char *username = r->username != NULL ? r->username : "gate:clnt";
	const char *password = r->password != NULL ? r->password : "gatewaypasswordgateway";
	uint16_t role = r->is_controlled ? STUN_ATTR_ICE_CONTROLLED : STUN_ATTR_ICE_CONTROLLING;
	struct stun_writer w;
	int size;

	stun_writer_init(
		&w,
		buf,
		ICE_TRANSMIT_SIZE_MAX,
		r->cls,
		r->method != 0 ? r->method : STUN_METHOD_BINDING,
		&txid);
	if (r->is_first_integrity)
		stun_writer_add_integrity(&w, sim->mac, password, strlen(password));
	if (username[0] != '\0')
		stun_writer_add(&w, STUN_ATTR_USERNAME, username, strlen(username));
	stun_writer_add_u64(&w, role, r->tie_breaker);
	if (!r->no_priority)
		stun_writer_add_u32(&w, STUN_ATTR_PRIORITY, 1862270719);
	if (r->use_candidate)
		stun_writer_add(&w, STUN_ATTR_USE_CANDIDATE, NULL, 0);
	if (password[0] != '\0' && !r->is_first_integrity)
		stun_writer_add_integrity(&w, sim->mac, password, strlen(password));
	stun_writer_add_fingerprint(&w);
	size = stun_writer_finish(&w);
	assert_true(size > 0);
	return (size_t)size;
}

static void b16_b17_wrong_messages_change_nothing(void **state)
{
	struct sim *sim = *state;
	struct sim_node *gateway = &sim->nodes[SIM_GATEWAY];
	uint64_t deadline = ice_agent_next_deadline(gateway->agent);
	uint8_t buf[ICE_TRANSMIT_SIZE_MAX];

	for (size_t i = 0; i < COUNT_OF(recipes); i++) {
		const char *local = recipes[i].local != NULL ? recipes[i].local : GATEWAY;
		size_t size = build(sim, &recipes[i], buf);

		print_message("%s\n", recipes[i].name);
		assert_int_equal(
			sim_deliver(sim, SIM_GATEWAY, local, STRANGER, buf, size), recipes[i].rx);
		assert_int_equal(gateway->n_answers + gateway->n_role_errors, 0);
		assert_int_equal(gateway->n_requests, 0);
		assert_int_equal(ice_agent_pair_count(gateway->agent), 0);
		assert_true(ice_agent_next_deadline(gateway->agent) == deadline);
	}
}

static void watch_answer(struct sim *sim, const struct sim_packet *packet)
{
	struct ip_endpoint stranger = sim_endpoint(STRANGER), gateway = sim_endpoint(GATEWAY);
	struct stun_msg msg;

	assert_int_equal(stun_msg_parse(&msg, packet->data, packet->size), 0);
	if (msg.cls != STUN_CLASS_SUCCESS)
		return;
	assert_true(ip_endpoint_eq(&packet->to, &stranger));
	assert_true(ip_endpoint_eq(&packet->from, &gateway));
	assert_true(ip_endpoint_eq(&msg.mapped, &stranger));
	assert_memory_equal(&msg.txid, &txid, sizeof(txid));
	assert_true(stun_msg_verify(sim->mac, &msg, "gatewaypasswordgateway", 22));
	assert_int_equal(
		msg.has, STUN_HAS_MAPPED_ADDRESS | STUN_HAS_INTEGRITY | STUN_HAS_FINGERPRINT);
	assert_int_equal(packet->size, 64);
}

static void b15_answer_bytes(void **state)
{
	const struct recipe good = {.use_candidate = true};
	uint8_t buf[ICE_TRANSMIT_SIZE_MAX];
	struct sim *sim = *state;
	struct sim_node *gateway = &sim->nodes[SIM_GATEWAY];
	size_t size = build(sim, &good, buf);

	sim->watch = watch_answer;
	assert_int_equal(
		sim_deliver(sim, SIM_GATEWAY, GATEWAY, STRANGER, buf, size), ICE_RX_REQUEST);
	assert_int_equal(gateway->n_answers, 1);
	// Nominated before any check of ours was answered: used at once (2.6).
	assert_int_equal(gateway->n_connected, 1);
	assert_int_equal(gateway->n_requests, 1);
	// The same bytes again are answered again and select nothing new.
	assert_int_equal(
		sim_deliver(sim, SIM_GATEWAY, GATEWAY, STRANGER, buf, size), ICE_RX_REQUEST);
	assert_int_equal(gateway->n_answers, 2);
	assert_int_equal(gateway->n_selected, 1);
	assert_int_equal(ice_agent_pair_count(gateway->agent), 1);
}

// Every truncation, every trailing byte, both top bits, at every alignment: no message.
static void b31_mangled_messages_are_dropped(void **state)
{
	const struct recipe good = {.name = "good"};
	uint8_t buf[ICE_TRANSMIT_SIZE_MAX], shifted[ICE_TRANSMIT_SIZE_MAX + 8] = {0};
	struct sim *sim = *state;
	size_t size = build(sim, &good, buf);

	for (size_t n = 0; n < size; n++)
		assert_int_equal(
			sim_deliver(sim, SIM_GATEWAY, GATEWAY, STRANGER, buf, n), ICE_RX_NOT_STUN);
	for (size_t shift = 0; shift < 4; shift++) {
		memcpy(shifted + shift, buf, size);
		for (size_t n = 1; n <= 4; n++)
			assert_int_equal(
				sim_deliver(
					sim,
					SIM_GATEWAY,
					GATEWAY,
					STRANGER,
					shifted + shift,
					size + n),
				ICE_RX_NOT_STUN);
		for (unsigned bit = 6; bit < 8; bit++) {
			shifted[shift] ^= (uint8_t)(1 << bit);
			assert_int_equal(
				sim_deliver(
					sim, SIM_GATEWAY, GATEWAY, STRANGER, shifted + shift, size),
				ICE_RX_NOT_STUN);
			shifted[shift] ^= (uint8_t)(1 << bit);
		}
	}
	// An attribute that claims more than there is.
	buf[23] = 200;
	assert_int_equal(
		sim_deliver(sim, SIM_GATEWAY, GATEWAY, STRANGER, buf, size), ICE_RX_MALFORMED);
	assert_int_equal(sim->nodes[SIM_GATEWAY].n_answers, 0);
	assert_int_equal(ice_agent_pair_count(sim->nodes[SIM_GATEWAY].agent), 0);
	// At an odd address the good one is still good.
	assert_int_equal(
		sim_deliver(sim, SIM_GATEWAY, GATEWAY, STRANGER, shifted + 3, size),
		ICE_RX_REQUEST);
}

// Each single bit of a good request flipped: refused, unless it is one that nobody protects.
static void test_bit_flips(void **state)
{
	const struct recipe good = {.use_candidate = true};
	uint8_t buf[ICE_TRANSMIT_SIZE_MAX];
	struct sim *sim = *state;
	size_t size = build(sim, &good, buf);

	// The last 8 bytes are FINGERPRINT, which MESSAGE-INTEGRITY makes superfluous.
	for (size_t bit = 0; bit < (size - 8) * 8; bit++) {
		buf[bit / 8] ^= (uint8_t)(1 << bit % 8);
		assert_int_not_equal(
			sim_deliver(sim, SIM_GATEWAY, GATEWAY, STRANGER, buf, size),
			ICE_RX_REQUEST);
		buf[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	assert_int_equal(sim->nodes[SIM_GATEWAY].n_answers, 0);
	assert_int_equal(sim->nodes[SIM_GATEWAY].n_connected, 0);
}

// The greater tie-breaker answers 487; nobody changes roles, and a 487 received means nothing.
static void b17_b24_roles_never_change(void **state)
{
	struct recipe r = {.is_controlled = true, .use_candidate = true};
	uint8_t buf[ICE_TRANSMIT_SIZE_MAX];
	struct sim *sim = *state;
	struct sim_node *gateway = &sim->nodes[SIM_GATEWAY];
	size_t size;

	r.tie_breaker = 0;
	size = build(sim, &r, buf);
	assert_int_equal(
		sim_deliver(sim, SIM_GATEWAY, GATEWAY, STRANGER, buf, size), ICE_RX_ROLE_CONFLICT);
	assert_int_equal(gateway->n_role_errors, 1);
	assert_int_equal(gateway->n_answers, 0);
	assert_int_equal(ice_agent_pair_count(gateway->agent), 0);
	r.tie_breaker = UINT64_MAX;
	size = build(sim, &r, buf);
	assert_int_equal(
		sim_deliver(sim, SIM_GATEWAY, GATEWAY, STRANGER, buf, size), ICE_RX_REQUEST);
	assert_int_equal(gateway->n_role_errors, 1);
	assert_int_equal(gateway->n_answers, 1);
	sim_run(sim, 5 * SIM_S);
	assert_int_equal(gateway->n_controlling, 0);
	assert_int_equal(gateway->n_use_candidate, 0);
}

// A controlling agent takes no nomination.
static void test_nomination_of_controlling(void **state)
{
	struct sim *sim = *state;
	const struct recipe r = {
		.username = "clnt:gate",
		.password = "clientpasswordclientpw",
		.use_candidate = true,
		.is_controlled = true,
	};
	uint8_t buf[ICE_TRANSMIT_SIZE_MAX];
	size_t size = build(sim, &r, buf);
	unsigned n_before;

	sim_host(sim, SIM_CLIENT, SIM_CLIENT, "192.0.2.10:40000");
	n_before = sim->nodes[SIM_CLIENT].n_answers;
	assert_int_equal(
		sim_deliver(sim, SIM_CLIENT, "192.0.2.10:40000", STRANGER, buf, size),
		ICE_RX_BAD_NOMINATION);
	assert_int_equal(sim->nodes[SIM_CLIENT].n_answers, n_before);
}

// The last request that the client sent to the gateway.
static void keep_request(struct sim *sim, const struct sim_packet *packet)
{
	*(struct sim_packet *)sim->test = *packet;
}

static size_t build_success(
	struct sim *sim,
	const struct sim_packet *request,
	const char *password,
	bool has_mapped,
	uint8_t buf[ICE_TRANSMIT_SIZE_MAX])
{
	struct stun_writer w;
	struct stun_msg msg;

	assert_int_equal(stun_msg_parse(&msg, request->data, request->size), 0);
	stun_writer_init(
		&w, buf, ICE_TRANSMIT_SIZE_MAX, STUN_CLASS_SUCCESS, STUN_METHOD_BINDING, &msg.txid);
	if (has_mapped)
		stun_writer_add_xor_address(&w, STUN_ATTR_XOR_MAPPED_ADDRESS, &request->from);
	stun_writer_add_integrity(&w, sim->mac, password, strlen(password));
	stun_writer_add_fingerprint(&w);
	return (size_t)stun_writer_finish(&w);
}

static void test_responses(void **state)
{
	const char *client = "192.0.2.10:40000", *good = "gatewaypasswordgateway";
	struct sim *sim = *state;
	struct sim_packet request = {0};
	uint8_t buf[ICE_TRANSMIT_SIZE_MAX];
	size_t size;

	sim->test = &request;
	sim->watch = keep_request;
	sim_host(sim, SIM_CLIENT, SIM_CLIENT, client);
	assert_true(request.size > 0);
	sim->watch = NULL;
	size = build_success(sim, &request, "wrong", true, buf);
	assert_int_equal(
		sim_deliver(sim, SIM_CLIENT, client, GATEWAY, buf, size), ICE_RX_BAD_INTEGRITY);
	size = build_success(sim, &request, good, false, buf);
	assert_int_equal(
		sim_deliver(sim, SIM_CLIENT, client, GATEWAY, buf, size), ICE_RX_NO_MAPPED);
	size = build_success(sim, &request, good, true, buf);
	assert_int_equal(
		sim_deliver(sim, SIM_CLIENT, client, STRANGER, buf, size), ICE_RX_WRONG_PATH);
	assert_int_equal(sim->nodes[SIM_CLIENT].n_connected, 0);
	// None of these used up the transaction; its real answer does.
	assert_int_equal(sim_deliver(sim, SIM_CLIENT, client, GATEWAY, buf, size), ICE_RX_RESPONSE);
	assert_int_equal(sim->nodes[SIM_CLIENT].n_connected, 1);
	assert_int_equal(
		sim_deliver(sim, SIM_CLIENT, client, GATEWAY, buf, size), ICE_RX_UNKNOWN_TXID);
}

static void test_late_response(void **state)
{
	const char *client = "192.0.2.10:40000";
	struct sim *sim = *state;
	struct sim_packet request = {0};
	uint8_t buf[ICE_TRANSMIT_SIZE_MAX];
	size_t size;

	sim->test = &request;
	sim->watch = keep_request;
	sim_host(sim, SIM_CLIENT, SIM_CLIENT, client);
	sim->watch = NULL;
	sim->n_nodes = 1; // the gateway does not hear anything
	size = build_success(sim, &request, "gatewaypasswordgateway", true, buf);
	sim_run(sim, 10 * SIM_S + SIM_MS);
	assert_int_equal(
		sim_deliver(sim, SIM_CLIENT, client, GATEWAY, buf, size), ICE_RX_UNKNOWN_TXID);
	sim->n_nodes = 2;
}

static void test_config(void **state)
{
	struct sim *sim = *state;
	struct ice_config config = sim_config(sim, SIM_CLIENT), bad;
	char text[ICE_PWD_LEN_MAX + 2];

	memset(text, 'x', sizeof(text));
	text[ICE_PWD_LEN_MAX + 1] = '\0';
	bad = config;
	bad.local_pwd = text;
	assert_null(ice_agent_create(&bad, 0));
	assert_int_equal(errno, EINVAL);
	bad = config;
	bad.remote_ufrag = "";
	assert_null(ice_agent_create(&bad, 0));
	bad = config;
	bad.mac = NULL;
	assert_null(ice_agent_create(&bad, 0));
	ice_agent_destroy(NULL);
	for (unsigned i = 0; i < ICE_RX_COUNT; i++)
		assert_true(strlen(ice_rx_name((enum ice_rx)i)) > 2);
}

// Credentials of the greatest size still fit every datagram.
static void test_longest_credentials(void **state)
{
	struct sim *sim = *state;
	char local[ICE_UFRAG_LEN_MAX + 1], remote[ICE_UFRAG_LEN_MAX + 1], pwd[ICE_PWD_LEN_MAX + 1];
	struct ice_config config = sim_config(sim, SIM_CLIENT);
	struct ice_candidate c = {.kind = ICE_KIND_HOST, .addr = sim_endpoint("[2001:db8::1]:1")};

	memset(local, 'l', sizeof(local));
	memset(remote, 'r', sizeof(remote));
	memset(pwd, 'p', sizeof(pwd));
	local[ICE_UFRAG_LEN_MAX] = remote[ICE_UFRAG_LEN_MAX] = pwd[ICE_PWD_LEN_MAX] = '\0';
	config.local_ufrag = local;
	config.remote_ufrag = remote;
	config.local_pwd = pwd;
	config.remote_pwd = pwd;
	sim_start(sim, SIM_CLIENT, &config);
	assert_int_equal(
		ice_agent_add_local(sim->nodes[SIM_CLIENT].agent, sim->now, &c, false, NULL), 0);
	c.addr = sim_endpoint("[2001:db8::2]:1");
	assert_int_equal(ice_agent_add_remote(sim->nodes[SIM_CLIENT].agent, sim->now, &c), 0);
	sim_drain(sim, SIM_CLIENT);
	assert_int_equal(sim->nodes[SIM_CLIENT].n_requests, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			b16_b17_wrong_messages_change_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(b15_answer_bytes, setup, teardown),
		cmocka_unit_test_setup_teardown(b31_mangled_messages_are_dropped, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bit_flips, setup, teardown),
		cmocka_unit_test_setup_teardown(b17_b24_roles_never_change, setup, teardown),
		cmocka_unit_test_setup_teardown(test_nomination_of_controlling, setup, teardown),
		cmocka_unit_test_setup_teardown(test_responses, setup, teardown),
		cmocka_unit_test_setup_teardown(test_late_response, setup, teardown),
		cmocka_unit_test_setup_teardown(test_config, setup, teardown),
		cmocka_unit_test_setup_teardown(test_longest_credentials, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
