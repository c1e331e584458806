// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "control/base/log.h"
#include "peers/portal/portal_priv.h"

#include <string.h>

#define LOG_AREA "portal.publish"

struct change {
	struct portal *portal;
	const struct policy *old;
	const struct policy *new;
	struct instant now;
};

static bool text_eq(const char *a, const char *b)
{
	return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

// Whether an authorization of one is one of the other.
static bool is_same_target(
	const struct policy *old,
	const struct policy_resource *a,
	const struct policy *new,
	const struct policy_resource *b)
{
	return a->type == b->type && text_eq(a->address, b->address)
		&& text_eq(a->ip_stack, b->ip_stack)
		&& ident_eq(&old->sites[a->site].id, &new->sites[b->site].id);
}

static bool is_same_to_client(
	const struct policy *old,
	const struct policy_resource *a,
	const struct policy *new,
	const struct policy_resource *b)
{
	return is_same_target(old, a, new, b) && text_eq(a->name, b->name)
		&& text_eq(a->description, b->description)
		&& text_eq(old->sites[a->site].name, new->sites[b->site].name)
		&& filter_list_eq(&a->filters, &b->filters);
}

// The token that this channel came with must still be its owner's.
static bool is_token_good(const struct change *c, const struct channel *ch)
{
	if (ch->kind == CHANNEL_GATEWAY) {
		const struct policy_gateway *g =
			policy_gateway_find(c->new, ch->device->owner.text);

		return g != NULL && policy_token_eq(&g->token, &ch->token);
	}
	if (ch->kind == CHANNEL_RELAY) {
		for (size_t i = 0; i < c->new->n_relays; i++) {
			if (policy_token_eq(&c->new->relays[i].token, &ch->token))
				return true;
		}
		return false;
	}
	const struct policy_client *client = policy_client_find(c->new, ch->device->owner.text);

	return client != NULL && policy_token_eq(&client->token, &ch->token)
		&& client->expires_at > c->now.unix_s;
}

static void expel_tokenless(const struct change *c)
{
	struct channel *ch;

	TAILQ_FOREACH(ch, &c->portal->channels, link) {
		if (ch->close_code != 0 || is_token_good(c, ch))
			continue;
		LOG(NOTICE, "token is gone device=%s", channel_id(ch));
		channel_expel(ch);
		channel_detach(ch, c->now);
	}
}

static const struct policy_rule *find_rule(const struct policy *p, const struct ident *id)
{
	for (size_t i = 0; i < p->n_rules; i++) {
		if (ident_eq(&p->rules[i].id, id))
			return &p->rules[i];
	}
	return NULL;
}

static bool
holds(const struct change *c, const struct device *device, const struct authorization *a)
{
	const struct policy_client *client = policy_client_find(c->new, device->owner.text);
	const struct policy_resource *resource = policy_resource_find(c->new, a->resource_id.text);
	const struct policy_gateway *gateway = policy_gateway_find(c->new, a->gateway_id.text);
	const struct policy_rule *rule = find_rule(c->new, &a->rule_id);
	char basis[GRANT_BASIS_SIZE];

	if (client == NULL || !client->token.is_valid || resource == NULL || gateway == NULL
	    || gateway->site != resource->site || rule == NULL
	    || rule->resource != (size_t)(resource - c->new->resources))
		return false;
	authorization_basis(basis, c->new, resource, rule);
	return strcmp(basis, a->basis) == 0
		&& policy_rule_holds(
			c->new, rule, (size_t)(client - c->new->clients), c->now.unix_s);
}

void publish_withdraw(struct portal *p, struct device *device, struct authorization *a)
{
	const struct device *gateway = portal_device_find(p, a->gateway_id.text);

	LOG(INFO,
	    "withdrawn client=%s resource=%s gateway=%s",
	    device->stored->id.text,
	    a->resource_id.text,
	    a->gateway_id.text);
	if (gateway != NULL && gateway->channel != NULL)
		channel_push(
			gateway->channel,
			"reject_access",
			json_pack(
				"{s:s, s:s}",
				"client_id",
				device->stored->id.text,
				"resource_id",
				a->resource_id.text));
	authorize_pending_cancel(p, device, a->resource_id.text);
	authorization_end(p, device, a);
}

static void check_authorizations(struct device *device, void *arg)
{
	const struct change *c = arg;
	struct authorization *next;

	for (struct authorization *a = LIST_FIRST(&device->authorizations); a != NULL; a = next) {
		next = LIST_NEXT(a, of_client);
		// The gateway ends these by itself.
		if (a->expires_at <= c->now.unix_s)
			authorization_end(c->portal, device, a);
		else if (!holds(c, device, a))
			publish_withdraw(c->portal, device, a);
	}
}

static bool
sees(const struct policy *p,
     const struct policy_client *client,
     const struct policy_resource *resource,
     int64_t now)
{
	return client != NULL && resource != NULL
		&& policy_judge(p, client, resource, now, NULL, NULL) == POLICY_VERDICT_ALLOWED;
}

// Deletions first, so that a client never holds two resources for one address.
static void tell_client(const struct change *c, struct channel *ch)
{
	const char *owner = ch->device->owner.text;
	const struct policy_client *was = policy_client_find(c->old, owner);
	const struct policy_client *is = policy_client_find(c->new, owner);
	const int64_t before = c->portal->visible_at;

	for (size_t i = 0; i < c->old->n_resources; i++) {
		const struct policy_resource *r = &c->old->resources[i];
		const struct policy_resource *now = policy_resource_find(c->new, r->id.text);

		if (sees(c->old, was, r, before) && !sees(c->new, is, now, c->now.unix_s))
			channel_push(ch, "resource_deleted", json_string(r->id.text));
	}
	for (size_t i = 0; i < c->new->n_resources; i++) {
		const struct policy_resource *r = &c->new->resources[i];
		const struct policy_resource *old = policy_resource_find(c->old, r->id.text);

		if (!sees(c->new, is, r, c->now.unix_s))
			continue;
		if (!sees(c->old, was, old, before) || !is_same_to_client(c->old, old, c->new, r))
			channel_push(
				ch,
				"resource_created_or_updated",
				view_client_resource(c->new, r, &ch->agent));
	}
}

static void tell_gateway(const struct change *c, struct channel *ch)
{
	if (strcmp(c->old->account, c->new->account) != 0)
		channel_push(ch, "init", view_gateway_init(ch, c->now.unix_s));
	for (size_t i = 0; i < c->new->n_resources; i++) {
		const struct policy_resource *r = &c->new->resources[i];
		const struct policy_resource *old = policy_resource_find(c->old, r->id.text);

		if (old != NULL && old->type == r->type
		    && !filter_list_eq(&old->filters, &r->filters))
			channel_push(ch, "resource_updated", view_gateway_resource(r));
	}
}

void publish_changes(
	struct portal *p,
	const struct policy *old,
	const struct policy *new,
	struct instant now)
{
	struct change c = {.portal = p, .old = old, .new = new, .now = now};
	struct channel *ch;

	expel_tokenless(&c);
	portal_device_walk(p, check_authorizations, &c);
	TAILQ_FOREACH(ch, &p->channels, link) {
		if (!ch->is_joined)
			continue;
		if (ch->kind == CHANNEL_CLIENT)
			tell_client(&c, ch);
		else if (old != new && ch->kind == CHANNEL_GATEWAY)
			tell_gateway(&c, ch);
	}
	if (relays_policy_differs(old, new))
		relays_changed(p, now);
	p->visible_at = now.unix_s;
	p->next_expiry = policy_next_expiry(new, now.unix_s);
}
