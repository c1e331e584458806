// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "control/base/alloc.h"
#include "control/base/log.h"
#include "peers/portal/portal_priv.h"

#include <sodium.h>

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define LOG_AREA "portal.authorize"

/** How long a gateway may take before its client hears "offline". */
#define ANSWER_TIMEOUT_MS 15000
/** Gateways say something every 10 s; later they are the last choice. */
#define SILENT_MS 15000
/** Authorizations always end; without a policy's or token's limit after this. */
#define AUTHORIZATION_LIFETIME_S (7 * 24 * 3600)
/** Ingest tokens outlive their authorization, for late uploads. */
#define INGEST_GRACE_S (30 * 24 * 3600)

static void fail(struct channel *client, const char *resource_id, const char *reason)
{
	json_t *payload = json_pack("{s:s, s:s}", "resource_id", resource_id, "reason", reason);

	// The only condition that a policy file knows.
	if (strcmp(reason, "forbidden") == 0)
		json_object_set_new(
			payload, "violated_properties", json_pack("[s]", "current_utc_datetime"));
	LOG(INFO,
	    "not authorized client=%s resource=%s reason=%s",
	    client->device->stored->id.text,
	    resource_id,
	    reason);
	channel_push(
		client,
		client->version == 1 ? "flow_creation_failed" : "authorization_creation_failed",
		payload);
}

static void pending_destroy(struct portal *p, struct pending *pending)
{
	TAILQ_REMOVE(&p->pending, pending, link);
	json_decref(pending->answer);
	free(pending);
}

void authorize_pending_cancel(
	struct portal *p,
	const struct device *client,
	const char *resource_id)
{
	struct pending *next;

	for (struct pending *w = TAILQ_FIRST(&p->pending); w != NULL; w = next) {
		next = TAILQ_NEXT(w, link);
		if (w->client->device == client && strcmp(w->resource_id.text, resource_id) == 0)
			pending_destroy(p, w);
	}
}

void authorize_channel_gone(struct channel *ch)
{
	struct portal *p = ch->portal;
	struct pending *next;

	for (struct pending *w = TAILQ_FIRST(&p->pending); w != NULL; w = next) {
		next = TAILQ_NEXT(w, link);
		if (w->gateway == ch)
			fail(w->client, w->resource_id.text, "offline");
		if (w->gateway == ch || w->client == ch)
			pending_destroy(p, w);
	}
}

void authorize_tick(struct portal *p, struct instant now)
{
	struct pending *w;

	while ((w = TAILQ_FIRST(&p->pending)) != NULL && w->deadline_ms <= now.mono_ms) {
		LOG(WARNING,
		    "gateway did not answer in time gateway=%s",
		    w->gateway->device->stored->id.text);
		fail(w->client, w->resource_id.text, "offline");
		pending_destroy(p, w);
	}
}

void authorization_destroy(struct authorization *a)
{
	LIST_REMOVE(a, of_client);
	free(a);
}

static struct grant grant_of(const struct device *client, const struct authorization *a)
{
	struct grant g = {
		.client_id = client->stored->id,
		.resource_id = a->resource_id,
		.gateway_id = a->gateway_id,
		.owner_id = client->owner,
		.rule_id = a->rule_id,
		.id = a->id,
		.expires_at = a->expires_at,
	};

	memcpy(g.basis, a->basis, sizeof(g.basis));
	return g;
}

void authorization_end(struct portal *p, const struct device *client, struct authorization *a)
{
	const struct grant g = grant_of(client, a);

	store_grant_del(p->store, &g);
	authorization_destroy(a);
}

void authorization_basis(
	char out[GRANT_BASIS_SIZE],
	const struct policy *policy,
	const struct policy_resource *resource,
	const struct policy_rule *rule)
{
	uint8_t hash[(GRANT_BASIS_SIZE - 1) / 2];
	char *text = alloc_format(
		"%d %s %s %s %" PRId64 " %" PRId64,
		resource->type,
		resource->address != NULL ? resource->address : "-",
		resource->ip_stack != NULL ? resource->ip_stack : "-",
		policy->sites[resource->site].id.text,
		rule->lifetime_s,
		rule->expires_at);

	crypto_generichash(hash, sizeof(hash), (const uint8_t *)text, strlen(text), NULL, 0);
	sodium_bin2hex(out, GRANT_BASIS_SIZE, hash, sizeof(hash));
	free(text);
}

static void restore_one(const struct grant *g, void *arg)
{
	struct portal *p = arg;
	const struct store_device *stored = store_device_find(p->store, &g->client_id);
	struct device *device = portal_device_find(p, g->client_id.text);
	struct authorization *a;

	if (stored == NULL)
		return;
	if (device == NULL)
		device = portal_device_add(p, stored, false, &g->owner_id, stored->external_id);
	a = alloc_zero(1, sizeof(*a));
	a->id = g->id;
	a->resource_id = g->resource_id;
	a->gateway_id = g->gateway_id;
	a->rule_id = g->rule_id;
	a->expires_at = g->expires_at;
	memcpy(a->basis, g->basis, sizeof(a->basis));
	LIST_INSERT_HEAD(&device->authorizations, a, of_client);
}

void authorizations_restore(struct portal *p)
{
	store_grant_walk(p->store, restore_one, p);
}

static bool is_connected_to(const json_t *connected, const struct channel *gateway)
{
	size_t i;
	json_t *id;

	json_array_foreach(connected, i, id) {
		if (strcmp(json_string_value(id), gateway->device->stored->id.text) == 0)
			return true;
	}
	return false;
}

// How much a gateway is preferred: one that stopped talking is probably dead although its connection
// is not known to be (its peers notice by themselves, and ask again); then one that the client knows.
static unsigned gateway_rank(const struct channel *ch, const json_t *connected, struct instant now)
{
	bool is_silent = ch->heard_ms + SILENT_MS < now.mono_ms;

	return (is_silent ? 0 : 2) + (is_connected_to(connected, ch) ? 1 : 0);
}

// Picks at random among the most preferred of the site's compatible gateways.
static struct channel *pick_gateway(
	struct channel *client,
	const struct policy_resource *resource,
	const json_t *connected,
	struct instant now,
	const char **reason)
{
	struct portal *p = client->portal;
	struct channel *picked = NULL;
	unsigned picked_rank = 0;
	uint32_t n = 0;
	struct channel *ch;

	*reason = "offline";
	TAILQ_FOREACH(ch, &p->channels, link) {
		const struct policy_gateway *gateway;
		unsigned rank;
		uint32_t dice;

		if (ch->kind != CHANNEL_GATEWAY || !ch->is_joined || ch->close_code != 0)
			continue;
		gateway = portal_gateway_of(p, ch->device);
		if (gateway == NULL || gateway->site != resource->site)
			continue;
		if (!agent_is_compatible(&client->agent, &ch->agent)
		    || (resource->type == POLICY_RESOURCE_INTERNET
			&& !agent_version_is_least(&ch->agent.version, 1, 3, 0))) {
			if (picked == NULL)
				*reason = "version_mismatch";
			continue;
		}
		rank = gateway_rank(ch, connected, now);
		if (picked != NULL && rank < picked_rank)
			continue;
		if (rank > picked_rank)
			n = 0;
		// Reservoir of one: the n-th candidate replaces the pick with probability 1/n.
		p->random(&dice, sizeof(dice));
		if (dice % ++n == 0)
			picked = ch;
		picked_rank = rank;
	}
	return picked;
}

static struct authorization *remember(
	struct channel *client,
	const struct channel *gateway,
	const struct policy_resource *resource,
	const struct policy_rule *rule,
	int64_t expires_at)
{
	struct portal *p = client->portal;
	struct device *device = client->device;
	struct authorization *a;
	struct grant g;

	LIST_FOREACH(a, &device->authorizations, of_client) {
		if (ident_eq(&a->resource_id, &resource->id)
		    && ident_eq(&a->gateway_id, &gateway->device->stored->id))
			break;
	}
	if (a == NULL) {
		a = alloc_zero(1, sizeof(*a));
		a->resource_id = resource->id;
		a->gateway_id = gateway->device->stored->id;
		LIST_INSERT_HEAD(&device->authorizations, a, of_client);
	}
	a->id = ident_random(p->random);
	a->rule_id = rule->id;
	authorization_basis(a->basis, p->policy, resource, rule);
	a->expires_at = expires_at;
	g = grant_of(device, a);
	store_grant_put(p->store, &g);
	return a;
}

static json_t *text_or_null(const char *text)
{
	return text[0] != '\0' ? json_string(text) : json_null();
}

static char *ingest_token(
	struct channel *client,
	const struct policy_resource *resource,
	const struct authorization *a,
	const char *role,
	int64_t now)
{
	struct portal *p = client->portal;
	const struct policy_client *owner = portal_client_of(p, client->device);
	const struct ident account = ident_derive(p->policy->account, "account", "");
	char authorized_at[32];
	char expires_at[32];
	json_t *claims;
	char *token;

	view_time(now, authorized_at);
	view_time(a->expires_at, expires_at);
	claims = json_pack(
		"{s:s, s:I, s:I, s:b, s:s, s:s, s:s, s:s, s:s}",
		"account_id",
		account.text,
		"iat",
		(json_int_t)now,
		"exp",
		(json_int_t)(a->expires_at + INGEST_GRACE_S),
		"uploads_enabled",
		0,
		"role",
		role,
		"initiator_device_id",
		client->device->stored->id.text,
		"responder_device_id",
		a->gateway_id.text,
		"policy_authorization_id",
		a->id.text,
		"policy_id",
		a->rule_id.text);
	alloc_check(claims);
	json_object_set_new(claims, "resource_id", json_string(resource->id.text));
	json_object_set_new(claims, "resource_name", json_string(resource->name));
	if (resource->address != NULL)
		json_object_set_new(claims, "resource_address", json_string(resource->address));
	json_object_set_new(claims, "initiator_actor_id", json_string(owner->id.text));
	json_object_set_new(claims, "initiator_actor_name", json_string(owner->name));
	json_object_set_new(claims, "authorized_at", json_string(authorized_at));
	json_object_set_new(claims, "authorization_expires_at", json_string(expires_at));
	token = formula_jwt(claims, store_secret(p->store));
	json_decref(claims);
	return token;
}

static json_t *ice_json(
	const char user[FORMULA_ICE_USER_LEN + 1],
	const char password[FORMULA_ICE_PASSWORD_LEN + 1])
{
	return json_pack("{s:s, s:s}", "username", user, "password", password);
}

static json_t *subject_json(struct channel *client)
{
	const struct policy_client *owner = portal_client_of(client->portal, client->device);

	return json_pack(
		"{s:s, s:s, s:n, s:s, s:n, s:s, s:n, s:n, s:n, s:n, s:s}",
		"actor_id",
		owner->id.text,
		"actor_name",
		owner->name,
		"actor_email",
		"actor_type",
		"service_account",
		"auth_provider_id",
		"ip",
		client->ip,
		"ip_region",
		"ip_city",
		"ip_lat",
		"ip_lon",
		"user_agent",
		client->agent.text);
}

static json_t *client_json(struct channel *client, const char *psk)
{
	const struct store_device *d = client->device->stored;

	return json_pack(
		"{s:s, s:s, s:s, s:s, s:s, s:o, s:n, s:o, s:o, s:n, s:n, s:n}",
		"id",
		d->id.text,
		"public_key",
		client->public_key,
		"preshared_key",
		psk,
		"ipv4",
		d->ipv4,
		"ipv6",
		d->ipv6,
		"version",
		text_or_null(client->agent.version_text),
		"device_serial",
		"device_os_name",
		text_or_null(client->agent.os_name),
		"device_os_version",
		text_or_null(client->agent.os_version),
		"device_uuid",
		"firebase_installation_id",
		"identifier_for_vendor");
}

// What both peers are told about one authorization.
struct terms {
	char psk[FORMULA_KEY_TEXT_SIZE];
	struct formula_ice ice;
	char *initiator_token;
	char *responder_token;
};

static void push_to_gateway(
	struct channel *client,
	struct channel *gateway,
	const struct policy_resource *resource,
	const struct authorization *a,
	const struct terms *terms,
	const char *ref)
{
	channel_push(
		gateway,
		gateway->version == 1 ? "authorize_flow" : "create_authorization",
		json_pack(
			"{s:s, s:o, s:o, s:o, s:o, s:I, s:o, s:b, s:s}",
			"ref",
			ref,
			"resource",
			view_gateway_resource(resource),
			"client",
			client_json(client, terms->psk),
			"client_ice_credentials",
			ice_json(terms->ice.client_user, terms->ice.client_password),
			"gateway_ice_credentials",
			ice_json(terms->ice.gateway_user, terms->ice.gateway_password),
			"expires_at",
			(json_int_t)a->expires_at,
			"subject",
			subject_json(client),
			"use_iceless",
			0,
			"flow_logs_ingest_token",
			terms->responder_token));
}

static json_t *client_answer(
	struct channel *gateway,
	const struct policy *policy,
	const struct policy_resource *resource,
	const struct terms *terms)
{
	const struct store_device *d = gateway->device->stored;

	return alloc_check(json_pack(
		"{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:o, s:o, s:b, s:s}",
		"resource_id",
		resource->id.text,
		"gateway_id",
		d->id.text,
		"site_id",
		policy->sites[resource->site].id.text,
		"gateway_public_key",
		gateway->public_key,
		"gateway_ipv4",
		d->ipv4,
		"gateway_ipv6",
		d->ipv6,
		"preshared_key",
		terms->psk,
		"client_ice_credentials",
		ice_json(terms->ice.client_user, terms->ice.client_password),
		"gateway_ice_credentials",
		ice_json(terms->ice.gateway_user, terms->ice.gateway_password),
		"use_iceless",
		0,
		"flow_logs_ingest_token",
		terms->initiator_token));
}

static void dispatch(
	struct channel *client,
	struct channel *gateway,
	const struct policy_resource *resource,
	const struct authorization *a,
	struct instant now)
{
	struct portal *p = client->portal;
	struct pending *w = alloc_zero(1, sizeof(*w));
	const struct formula_peer c = {
		client->device->stored->id.text,
		client->public_key,
		client->device->stored->psk_base};
	const struct formula_peer g = {
		gateway->device->stored->id.text,
		gateway->public_key,
		gateway->device->stored->psk_base};
	struct terms terms = {
		.initiator_token = ingest_token(client, resource, a, "initiator", now.unix_s),
		.responder_token = ingest_token(client, resource, a, "responder", now.unix_s),
	};

	formula_psk(&c, &g, terms.psk);
	formula_ice(&c, &g, &terms.ice);
	formula_ref_make(store_secret(p->store), g.id, p->random, w->ref);
	w->client = client;
	w->gateway = gateway;
	w->resource_id = resource->id;
	w->deadline_ms = now.mono_ms + ANSWER_TIMEOUT_MS;
	w->answer = client_answer(gateway, p->policy, resource, &terms);
	TAILQ_INSERT_TAIL(&p->pending, w, link);
	push_to_gateway(client, gateway, resource, a, &terms, w->ref);
	free(terms.initiator_token);
	free(terms.responder_token);
	explicit_bzero(&terms, sizeof(terms));
}

void authorize_request(
	struct channel *client,
	const char *resource_id,
	const json_t *connected_gateway_ids,
	struct instant now)
{
	struct portal *p = client->portal;
	const struct policy_resource *resource = policy_resource_find(p->policy, resource_id);
	const struct policy_rule *rule = NULL;
	enum policy_verdict verdict = POLICY_VERDICT_NOT_FOUND;
	struct channel *gateway;
	const char *reason;
	int64_t expires_at = POLICY_NEVER;

	// A newer request stands for the older one.
	authorize_pending_cancel(p, client->device, resource_id);
	if (resource != NULL)
		verdict = policy_judge(
			p->policy,
			portal_client_of(p, client->device),
			resource,
			now.unix_s,
			&rule,
			&expires_at);
	if (verdict != POLICY_VERDICT_ALLOWED) {
		fail(client,
		     resource_id,
		     verdict == POLICY_VERDICT_FORBIDDEN ? "forbidden" : "not_found");
		return;
	}
	gateway = pick_gateway(client, resource, connected_gateway_ids, now, &reason);
	if (gateway == NULL) {
		fail(client, resource_id, reason);
		return;
	}
	if (expires_at == POLICY_NEVER)
		expires_at = now.unix_s + AUTHORIZATION_LIFETIME_S;
	dispatch(
		client,
		gateway,
		resource,
		remember(client, gateway, resource, rule, expires_at),
		now);
}

bool authorize_answer(struct channel *gateway, const char *ref)
{
	struct portal *p = gateway->portal;
	struct pending *w;

	if (!formula_ref_is_valid(store_secret(p->store), gateway->device->stored->id.text, ref))
		return false;
	TAILQ_FOREACH(w, &p->pending, link) {
		if (w->gateway != gateway || strcmp(w->ref, ref) != 0)
			continue;
		LOG(INFO,
		    "authorized client=%s resource=%s gateway=%s",
		    w->client->device->stored->id.text,
		    w->resource_id.text,
		    gateway->device->stored->id.text);
		channel_push(
			w->client,
			w->client->version == 1 ? "flow_created" : "authorization_created",
			json_incref(w->answer));
		pending_destroy(p, w);
		break;
	}
	return true;
}
