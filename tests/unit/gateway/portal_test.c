// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

// What the gateway says to the portal, and when: behaviours 4, 9, 10 and 64 of spec/connectivity.md
// section 8. The portal is a list of what was said; access, relays and connections are doubles.

#include "control/base/log.h"
#include "control/gateway/connection.h"
#include "control/gateway/kernel.h"
#include "control/gateway/relay.h"
#include "tests/unit/unit.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define CLIENT_ID "3abd725a-733b-4801-ac16-72f26cd98a24"
#define CANDIDATE "candidate:1 1 udp 2130706175 203.0.113.10 52625 typ host ufrag gate"
#define WITHDRAWN                                                                                  \
	"candidate:2 1 udp 37748479 198.51.100.5 53909 typ relay raddr 0.0.0.0 rport 0 ufrag gate"
#define SAID_MAX 16

static const char authorization[] =
	"{\"ref\":\"the ref\",\"client\":{\"id\":\"" CLIENT_ID "\","
	"\"public_key\":\"YWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWE=\","
	"\"preshared_key\":\"YmJiYmJiYmJiYmJiYmJiYmJiYmJiYmJiYmJiYmJiYmI=\","
	"\"ipv4\":\"100.64.1.1\",\"ipv6\":\"fd00:2021:1111::1:1\"},"
	"\"resource\":{\"id\":\"c7793628-8579-465b-83e3-1a5d4af4db3b\",\"type\":\"cidr\",\"name\":"
	"\"n\","
	"\"address\":\"10.0.0.0/24\",\"filters\":[]},"
	"\"gateway_ice_credentials\":{\"username\":\"gate\",\"password\":"
	"\"gatewaypasswordgateway\"},"
	"\"client_ice_credentials\":{\"username\":\"clnt\",\"password\":\"clientpasswordclientpw\"}"
	"}";
static const char presence[] =
	"{\"disconnected_ids\":[],\"connected\":[{\"id\":\"0a133356-7a9e-4b9a-b413-0d95a5720fd8\","
	"\"type\":\"turn\",\"addr\":\"198.51.100.5:3478\",\"username\":\"u\",\"password\":\"p\","
	"\"expires_at\":2145916800}]}";
static const char init[] =
	"{\"interface\":{\"ipv4\":\"100.64.7.1\",\"ipv6\":\"fd00:2021:1111::7:1\"},"
	"\"config\":{\"ipv4_masquerade_enabled\":true,\"ipv6_masquerade_enabled\":true},"
	"\"account_slug\":\"a\",\"relays\":[],\"authorizations\":[],"
	"\"flow_logs\":{\"api_url\":\"https://x/"
	"\",\"upload_interval_secs\":60,\"upload_batch_size\":1}}";

struct world {
	struct gw gw;
	struct access_client client;
	bool is_known; // the client
	bool is_relay_usable, has_wan_addr, is_joined;
	unsigned n_authorized, n_upserts, n_listed;
	char *said[SAID_MAX]; // event and payload
	size_t n_said;
};

// The doubles find their world here.
static struct world *the_world;

bool session_is_joined(const struct session *)
{
	return the_world->is_joined;
}

enum portal_dialect session_dialect(const struct session *)
{
	return PORTAL_DIALECT_V2;
}

bool session_send(struct session *, struct portal_push push)
{
	struct world *w = the_world;
	char *payload = json_dumps(push.payload, JSON_COMPACT | JSON_SORT_KEYS), *text;

	json_decref(push.payload);
	assert_non_null(payload);
	if (w->is_joined) {
		assert_true(w->n_said < SAID_MAX);
		assert_true(asprintf(&text, "%s %s", push.event, payload) > 0);
		w->said[w->n_said++] = text;
	}
	free(payload);
	return w->is_joined;
}

int kernel_tunnel_set(struct kernel *, const struct ip_addr *, const struct ip_addr *)
{
	return 0;
}

size_t kernel_wan_addrs(const struct kernel *, struct ip_addr *)
{
	return the_world->has_wan_addr ? 1 : 0;
}

void dp_tunnel_set(struct dp *, const struct ip_addr *, const struct ip_addr *) {}

void names_bind(struct names *, const struct ip_addr *, const struct ip_addr *) {}

bool relay_is_usable(struct gw *)
{
	return the_world->is_relay_usable;
}

void relay_list(
	struct gw *,
	const struct uuid *,
	size_t,
	const struct portal_relay *,
	size_t n_connected)
{
	the_world->n_listed += n_connected;
	the_world->is_relay_usable = the_world->is_relay_usable || n_connected > 0;
}

struct access_client *access_by_id(const struct access *, const struct uuid *)
{
	return the_world->is_known ? &the_world->client : NULL;
}

void access_clock_set(struct access *, uint64_t, int64_t) {}

struct access_client *
access_authorize(struct access *, const struct access_grant *grant, struct portal_error *)
{
	the_world->n_authorized++;
	the_world->is_known = true;
	the_world->client.id = grant->client_id;
	the_world->client.user = the_world;
	return &the_world->client;
}

bool access_reject(struct access *, const struct uuid *, const struct uuid *)
{
	return false;
}

int access_resource_update(struct access *, const struct portal_resource *, struct portal_error *)
{
	return 0;
}

int access_retain(struct access *, const struct portal_authorization *, size_t)
{
	return 0;
}

bool access_expiry_set(struct access *, const struct portal_authorization *)
{
	return false;
}

void access_forget(struct access *, struct access_client *)
{
	the_world->is_known = false;
}

int connection_upsert(struct connection *, const struct connection_params *)
{
	the_world->n_upserts++;
	return 0;
}

void connection_announce(struct connection *)
{
	const char *line = CANDIDATE;

	portal_candidates_send(&the_world->gw, &the_world->client.id, &line, 1);
}

void connection_candidate(struct connection *, const char *, bool) {}

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	assert_non_null(w);
	w->gw.hold = candidates_hold_create();
	assert_non_null(w->gw.hold);
	w->is_joined = true;
	the_world = w;
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	for (size_t i = 0; i < w->n_said; i++)
		free(w->said[i]);
	candidates_hold_destroy(w->gw.hold);
	free(w);
	return 0;
}

static void say(struct world *w, const char *event, const char *payload)
{
	json_t *json = json_loads(payload, 0, NULL);

	assert_non_null(json);
	portal_message(&w->gw, event, json);
	json_decref(json);
}

// Forgets what was said before.
static void assert_said(struct world *w, const char *const *want, size_t n)
{
	assert_int_equal(w->n_said, n);
	for (size_t i = n; i-- > 0;) {
		assert_string_equal(w->said[i], want[i]);
		free(w->said[i]);
		w->n_said = i;
	}
}

#define ANSWER "authorization_created {\"ref\":\"the ref\"}"
#define BROADCAST                                                                                  \
	"broadcast_ice_candidates {\"candidates\":[\"" CANDIDATE                                   \
	"\"],\"client_ids\":[\"" CLIENT_ID "\"]}"
#define NO_RELAYS "no_relays {}"

static void b04_b10_answer_then_candidates_each_time(void **state)
{
	const char *const want[] = {ANSWER, BROADCAST};
	struct world *w = *state;

	w->is_relay_usable = true;
	for (unsigned i = 1; i < 4; i++) {
		say(w, "create_authorization", authorization);
		assert_said(w, want, COUNT_OF(want));
		assert_int_equal(w->n_upserts, i);
	}
}

// Neither a relay nor an address of its own: not answered, and the portal is asked. The client's next
// request is served.
static void b09_no_relay_then_presence_then_served(void **state)
{
	const char *const asked[] = {NO_RELAYS}, *const served[] = {ANSWER, BROADCAST};
	struct world *w = *state;

	say(w, "create_authorization", authorization);
	assert_said(w, asked, COUNT_OF(asked));
	assert_int_equal(w->n_authorized + w->n_upserts, 0);
	say(w, "relays_presence", presence);
	assert_int_equal(w->n_listed, 1);
	assert_said(w, NULL, 0);
	say(w, "create_authorization", authorization);
	assert_said(w, served, COUNT_OF(served));
}

// An address of its own may be behind a NAT: answered, and the portal is asked all the same.
static void b09_no_relay_but_an_address(void **state)
{
	const char *const want[] = {ANSWER, BROADCAST, NO_RELAYS};
	struct world *w = *state;

	w->has_wan_addr = true;
	say(w, "create_authorization", authorization);
	assert_said(w, want, COUNT_OF(want));
}

// Said while the portal is away: held until the next init. What was withdrawn meanwhile is never said.
static void b64_candidates_wait_for_the_next_init(void **state)
{
	const char *const want[] = {BROADCAST};
	const char *line = CANDIDATE, *other = WITHDRAWN;
	struct world *w = *state;

	w->is_relay_usable = true;
	assert_int_equal(uuid_parse(&w->client.id, CLIENT_ID), 0);
	w->is_joined = false;
	portal_candidates_send(&w->gw, &w->client.id, &line, 1);
	portal_candidates_send(&w->gw, &w->client.id, &other, 1);
	portal_candidates_withdraw(&w->gw, &w->client.id, &other, 1);
	assert_int_equal(w->n_said, 0);
	w->is_joined = true;
	say(w, "init", init);
	assert_said(w, want, COUNT_OF(want));
	say(w, "init", init);
	assert_said(w, NULL, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			b04_b10_answer_then_candidates_each_time, setup, teardown),
		cmocka_unit_test_setup_teardown(
			b09_no_relay_then_presence_then_served, setup, teardown),
		cmocka_unit_test_setup_teardown(b09_no_relay_but_an_address, setup, teardown),
		cmocka_unit_test_setup_teardown(
			b64_candidates_wait_for_the_next_init, setup, teardown),
	};

	if (log_level_set("err") < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
