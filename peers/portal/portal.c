// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "peers/portal/portal.h"

#include "control/base/alloc.h"
#include "control/base/err.h"
#include "control/base/log.h"
#include "peers/portal/portal_priv.h"

#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LOG_AREA "portal.portal"
#define PARAMETER_SIZE_MAX 255
#define RELAY_PORT_DEFAULT 3478

static int compare(const void *a, const void *b)
{
	const struct device *x = a;
	const struct device *y = b;

	return strcmp(x->stored->id.text, y->stored->id.text);
}

struct portal *
portal_create(struct policy *policy, struct store *store, random_fn random, struct instant now)
{
	struct portal *p = alloc_zero(1, sizeof(*p));

	p->policy = policy;
	p->store = store;
	p->random = random;
	p->visible_at = now.unix_s;
	p->next_expiry = policy_next_expiry(policy, now.unix_s);
	TAILQ_INIT(&p->channels);
	TAILQ_INIT(&p->dirty);
	TAILQ_INIT(&p->relays);
	TAILQ_INIT(&p->pending);
	p->presence_ms = INT64_MAX;
	authorizations_restore(p);
	// What a new policy does not grant any more ends.
	publish_changes(p, policy, policy, now);
	return p;
}

static void device_free(void *arg)
{
	struct device *d = arg;
	struct authorization *a;

	while ((a = LIST_FIRST(&d->authorizations)) != NULL)
		authorization_destroy(a);
	free(d->name);
	free(d);
}

void portal_destroy(struct portal *p)
{
	struct channel *ch;

	if (p == NULL)
		return;
	while ((ch = TAILQ_FIRST(&p->channels)) != NULL)
		channel_destroy(ch, (struct instant){.mono_ms = INT64_MIN, .unix_s = INT64_MIN});
	tdestroy(p->devices, device_free);
	policy_destroy(p->policy);
	free(p);
}

const struct policy *portal_policy(const struct portal *p)
{
	return p->policy;
}

void portal_tick(struct portal *p, struct instant now)
{
	authorize_tick(p, now);
	relays_tick(p, now);
	if (now.unix_s >= p->next_expiry)
		publish_changes(p, p->policy, p->policy, now);
}

void portal_publish(struct portal *p, struct policy *policy, struct instant now)
{
	struct policy *old = p->policy;

	portal_tick(p, now);
	p->policy = policy;
	publish_changes(p, old, policy, now);
	policy_destroy(old);
}

int64_t portal_next_deadline(const struct portal *p, struct instant now)
{
	const struct pending *first = TAILQ_FIRST(&p->pending);
	int64_t deadline = first != NULL ? first->deadline_ms : INT64_MAX;
	int64_t expiry;

	if (p->presence_ms < deadline)
		deadline = p->presence_ms;
	if (p->next_expiry == POLICY_NEVER)
		return deadline;
	expiry = now.mono_ms + (p->next_expiry - now.unix_s) * 1000;
	return expiry < deadline ? expiry : deadline;
}

struct device *portal_device_find(const struct portal *p, const char *id)
{
	struct store_device stored;
	const struct device key = {.stored = &stored};
	struct device *const *found;

	if (ident_parse(&stored.id, id) != 0)
		return NULL;
	found = tfind(&key, &p->devices, compare);
	return found != NULL ? *found : NULL;
}

struct device *portal_device_add(
	struct portal *p,
	const struct store_device *stored,
	bool is_gateway,
	const struct ident *owner,
	const char *name)
{
	struct device *device = alloc_zero(1, sizeof(*device));

	device->stored = stored;
	device->is_gateway = is_gateway;
	device->owner = *owner;
	device->name = alloc_text(name);
	LIST_INIT(&device->authorizations);
	alloc_check(tsearch(device, &p->devices, compare));
	return device;
}

struct walk {
	void (*visit)(struct device *, void *);
	void *arg;
};

static void walk_node(const void *node, VISIT which, void *closure)
{
	const struct walk *w = closure;

	if (which == postorder || which == leaf)
		w->visit(*(struct device *const *)node, w->arg);
}

void portal_device_walk(struct portal *p, void (*visit)(struct device *, void *), void *arg)
{
	struct walk w = {.visit = visit, .arg = arg};

	twalk_r(p->devices, walk_node, &w);
}

const struct policy_client *portal_client_of(const struct portal *p, const struct device *device)
{
	return policy_client_find(p->policy, device->owner.text);
}

const struct policy_gateway *portal_gateway_of(const struct portal *p, const struct device *device)
{
	return policy_gateway_find(p->policy, device->owner.text);
}

static const struct {
	const char *path;
	enum channel_kind kind;
	unsigned version;
} paths[] = {
	{"/client/websocket", CHANNEL_CLIENT, 1},
	{"/client/v2/websocket", CHANNEL_CLIENT, 2},
	{"/gateway/websocket", CHANNEL_GATEWAY, 1},
	{"/gateway/v2/websocket", CHANNEL_GATEWAY, 2},
	{"/relay/websocket", CHANNEL_RELAY, 1},
};

// What a request turns out to be about.
struct admission {
	enum channel_kind kind;
	unsigned version;
	const struct policy_client *client; // of a client channel
	const struct policy_gateway *gateway; // of a gateway channel
	const struct policy_relay *relay; // of a relay channel
	struct ip_endpoint addresses[2]; // of a relay channel
	size_t n_addresses;
};

static bool find_path(struct admission *out, const char *path)
{
	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
		if (strcmp(paths[i].path, path) == 0) {
			out->kind = paths[i].kind;
			out->version = paths[i].version;
			return true;
		}
	}
	return false;
}

static int unauthorized(struct problem *problem, const char *code, const char *detail)
{
	*problem = (struct problem){401, "Unauthorized", code, detail};
	return err_set(EACCES);
}

static int bad_parameter(struct problem *problem, const char *detail)
{
	*problem = (struct problem){400, "Bad Request", "invalid_connect_params", detail};
	return err_set(EACCES);
}

static bool is_blank(const char *text)
{
	return text == NULL || text[0] == '\0';
}

static int check_token(
	const struct portal *p,
	struct admission *out,
	const char *token,
	struct instant now,
	struct problem *problem)
{
	if (is_blank(token))
		return unauthorized(problem, "missing_token", "Missing token");
	if (out->kind == CHANNEL_CLIENT) {
		out->client = policy_client_by_token(p->policy, token);
		if (out->client == NULL || out->client->expires_at <= now.unix_s)
			return unauthorized(problem, "invalid_token", "Invalid token");
	} else if (out->kind == CHANNEL_RELAY) {
		out->relay = policy_relay_by_token(p->policy, token);
		if (out->relay == NULL)
			return unauthorized(problem, "invalid_token", "Invalid token");
	} else {
		out->gateway = policy_gateway_by_token(p->policy, token);
		if (out->gateway == NULL)
			return unauthorized(problem, "invalid_token", "Invalid token");
	}
	return 0;
}

static int add_relay_address(
	struct admission *a,
	const char *text,
	enum ip_family family,
	uint16_t port,
	struct problem *problem)
{
	struct ip_endpoint *e = &a->addresses[a->n_addresses];

	if (is_blank(text))
		return 0;
	if (ip_addr_parse(&e->addr, text) != 0 || e->addr.family != family)
		return bad_parameter(
			problem, family == IP_FAMILY_V4 ? "ipv4 is invalid" : "ipv6 is invalid");
	e->port = port;
	a->n_addresses++;
	return 0;
}

static int check_relay_parameters(
	struct admission *a,
	const struct connect_request *request,
	struct problem *problem)
{
	unsigned long port = RELAY_PORT_DEFAULT;
	char *end = NULL;
	int rc;

	if (!is_blank(request->port)) {
		port = strtoul(request->port, &end, 10);
		if (*end != '\0' || request->port[0] < '0' || request->port[0] > '9' || port == 0
		    || port > UINT16_MAX)
			return bad_parameter(problem, "port is invalid");
	}
	if (request->name != NULL && strlen(request->name) > PARAMETER_SIZE_MAX)
		return bad_parameter(problem, "name should be at most 255 character(s)");
	rc = add_relay_address(a, request->ipv4, IP_FAMILY_V4, (uint16_t)port, problem);
	if (rc == 0)
		rc = add_relay_address(a, request->ipv6, IP_FAMILY_V6, (uint16_t)port, problem);
	if (rc == 0 && a->n_addresses == 0)
		return bad_parameter(problem, "ipv4 or ipv6 can't be blank");
	return rc;
}

static int check_parameters(
	const struct admission *a,
	const struct connect_request *request,
	struct problem *problem)
{
	struct agent agent;

	if (is_blank(request->public_key))
		return bad_parameter(problem, "public_key can't be blank");
	if (strlen(request->public_key) != FORMULA_KEY_TEXT_SIZE - 1)
		return bad_parameter(problem, "public_key should be 44 character(s)");
	if (!formula_key_is_valid(request->public_key))
		return bad_parameter(problem, "public_key is invalid");
	// A gateway's token says who it is, a client's only whose device it is.
	if (a->kind == CHANNEL_CLIENT && is_blank(request->external_id))
		return bad_parameter(problem, "external_id can't be blank");
	if (request->external_id != NULL && strlen(request->external_id) > PARAMETER_SIZE_MAX)
		return bad_parameter(problem, "external_id should be at most 255 character(s)");
	if (request->name != NULL && strlen(request->name) > PARAMETER_SIZE_MAX)
		return bad_parameter(problem, "name should be at most 255 character(s)");
	agent_parse(&agent, request->user_agent);
	if (a->kind == CHANNEL_CLIENT && agent.component == AGENT_COMPONENT_NONE)
		return bad_parameter(problem, "user_agent is invalid");
	return 0;
}

static int
admit(const struct portal *p,
      struct admission *out,
      const struct connect_request *request,
      struct instant now,
      struct problem *problem)
{
	const struct device *device;
	int rc;

	if (!find_path(out, request->path)) {
		*problem = (struct problem){404, "Not Found", NULL, NULL};
		return err_set(EACCES);
	}
	rc = check_token(p, out, request->token, now, problem);
	if (rc == 0 && out->kind == CHANNEL_RELAY)
		return check_relay_parameters(out, request, problem);
	if (rc == 0)
		rc = check_parameters(out, request, problem);
	if (rc != 0 || out->kind == CHANNEL_CLIENT)
		return rc;
	device = portal_device_find(p, out->gateway->id.text);
	if (device != NULL && device->channel != NULL) {
		*problem = (struct problem){
			409, "Conflict", "gateway_already_connected", "Gateway already connected"};
		return err_set(EACCES);
	}
	return 0;
}

int portal_admit(
	struct portal *p,
	const struct connect_request *request,
	struct instant now,
	struct problem *problem)
{
	struct admission a = {};

	portal_tick(p, now);
	return admit(p, &a, request, now, problem);
}

static struct device *
get_device(struct portal *p, const struct admission *a, const struct connect_request *request)
{
	const bool is_gateway = a->kind == CHANNEL_GATEWAY;
	const char *external_id = request->external_id != NULL ? request->external_id : "";
	const struct store_device *stored;
	struct device *device;
	struct ident id;
	const char *name;

	if (is_gateway) {
		id = a->gateway->id;
		name = a->gateway->name;
	} else {
		char *text = alloc_format("%s:%s", a->client->id.text, external_id);

		id = ident_derive(p->policy->account, "device", text);
		free(text);
		name = is_blank(request->name) ? a->client->name : request->name;
	}
	device = portal_device_find(p, id.text);
	if (device == NULL) {
		stored = store_device_get(p->store, &id, external_id);
		if (stored == NULL) {
			LOG(ERR, "cannot store a device error=%m");
			return NULL;
		}
		return portal_device_add(
			p, stored, is_gateway, is_gateway ? &a->gateway->id : &a->client->id, name);
	}
	device->owner = is_gateway ? a->gateway->id : a->client->id;
	free(device->name);
	device->name = alloc_text(name);
	return device;
}

static struct relay_peer *
get_relay(const struct admission *a, const struct connect_request *request)
{
	struct relay_peer *r = alloc_zero(1, sizeof(*r));

	r->name = alloc_text(is_blank(request->name) ? a->relay->name : request->name);
	memcpy(r->addresses, a->addresses, sizeof(r->addresses));
	r->n_addresses = a->n_addresses;
	return r;
}

static struct policy_token admitted_token(const struct admission *a)
{
	switch (a->kind) {
	case CHANNEL_CLIENT:
		return a->client->token;
	case CHANNEL_RELAY:
		return a->relay->token;
	default:
		return a->gateway->token;
	}
}

struct channel *portal_connect(
	struct portal *p,
	const struct connect_request *request,
	struct instant now,
	struct problem *problem)
{
	struct admission a = {};
	struct device *device = NULL;
	struct channel *ch;

	portal_tick(p, now);
	if (admit(p, &a, request, now, problem) != 0)
		return NULL;
	if (a.kind != CHANNEL_RELAY)
		device = get_device(p, &a, request);
	if (a.kind != CHANNEL_RELAY
	    && (device == NULL || device->is_gateway != (a.kind == CHANNEL_GATEWAY))) {
		*problem = (struct problem){
			500,
			"Internal Server Error",
			"unhandled_connect_error",
			"The device cannot be registered"};
		return NULL;
	}
	ch = alloc_zero(1, sizeof(*ch));
	ch->portal = p;
	ch->device = device;
	ch->relay = a.kind == CHANNEL_RELAY ? get_relay(&a, request) : NULL;
	ch->kind = a.kind;
	ch->version = a.version;
	ch->token = admitted_token(&a);
	if (a.kind != CHANNEL_RELAY)
		snprintf(ch->public_key, sizeof(ch->public_key), "%s", request->public_key);
	agent_parse(&ch->agent, request->user_agent);
	ch->ip = alloc_text(request->ip != NULL ? request->ip : "");
	ch->frames_end = &ch->frames;
	TAILQ_INSERT_TAIL(&p->channels, ch, link);
	return ch;
}

void portal_close_all(struct portal *p, uint16_t code)
{
	struct channel *ch;

	TAILQ_FOREACH(ch, &p->channels, link)
		channel_close(ch, code);
}

struct channel *portal_dirty_pop(struct portal *p)
{
	struct channel *ch = TAILQ_FIRST(&p->dirty);

	if (ch != NULL) {
		TAILQ_REMOVE(&p->dirty, ch, dirty_link);
		ch->is_dirty = false;
	}
	return ch;
}

struct rejection {
	struct portal *portal;
	const struct ident *client_id;
	const struct ident *resource_id;
	size_t n_withdrawn;
};

static void reject_device(struct device *device, void *arg)
{
	struct rejection *r = arg;
	struct authorization *next;

	if (device->is_gateway || !ident_eq(&device->owner, r->client_id))
		return;
	for (struct authorization *a = LIST_FIRST(&device->authorizations); a != NULL; a = next) {
		next = LIST_NEXT(a, of_client);
		if (!ident_eq(&a->resource_id, r->resource_id))
			continue;
		publish_withdraw(r->portal, device, a);
		r->n_withdrawn++;
	}
}

size_t portal_reject(
	struct portal *p,
	const struct policy_client *client,
	const struct policy_resource *resource,
	struct instant now)
{
	struct rejection r = {
		.portal = p,
		.client_id = &client->id,
		.resource_id = &resource->id,
	};

	portal_tick(p, now);
	portal_device_walk(p, reject_device, &r);
	return r.n_withdrawn;
}
