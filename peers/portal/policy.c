// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "peers/portal/policy.h"

#include "control/base/alloc.h"

#include <sodium.h>

#include <stdlib.h>
#include <string.h>

void policy_destroy(struct policy *p)
{
	if (p == NULL)
		return;
	for (size_t i = 0; i < p->n_listen; i++)
		free(p->listen[i]);
	for (size_t i = 0; i < p->n_sites; i++)
		free(p->sites[i].name);
	for (size_t i = 0; i < p->n_gateways; i++)
		free(p->gateways[i].name);
	for (size_t i = 0; i < p->n_clients; i++)
		free(p->clients[i].name);
	for (size_t i = 0; i < p->n_relays; i++)
		free(p->relays[i].name);
	for (size_t i = 0; i < p->n_turn; i++) {
		free(p->turn[i].username);
		free(p->turn[i].password);
	}
	for (size_t i = 0; i < p->n_groups; i++) {
		free(p->groups[i].name);
		free(p->groups[i].is_member);
	}
	for (size_t i = 0; i < p->n_resources; i++) {
		free(p->resources[i].name);
		free(p->resources[i].address);
		free(p->resources[i].description);
		free(p->resources[i].ip_stack);
		filter_list_fini(&p->resources[i].filters);
	}
	free(p->listen);
	free(p->sites);
	free(p->gateways);
	free(p->clients);
	free(p->relays);
	free(p->turn);
	free(p->groups);
	free(p->resources);
	free(p->rules);
	free(p->denials);
	free(p->account);
	free(p->control);
	free(p->state);
	free(p);
}

static void *copy(const void *array, size_t n, size_t size)
{
	void *out = alloc_zero(n, size);

	if (n > 0)
		memcpy(out, array, n * size);
	return out;
}

static void clone_resources(struct policy *out, const struct policy *p)
{
	out->resources = copy(p->resources, p->n_resources, sizeof(*p->resources));
	for (size_t i = 0; i < p->n_resources; i++) {
		struct policy_resource *r = &out->resources[i];

		r->name = alloc_text(r->name);
		r->address = alloc_text(r->address);
		r->description = alloc_text(r->description);
		r->ip_stack = alloc_text(r->ip_stack);
		filter_list_copy(&r->filters, &p->resources[i].filters);
	}
}

struct policy *policy_clone(const struct policy *p)
{
	struct policy *out = copy(p, 1, sizeof(*p));

	out->account = alloc_text(p->account);
	out->control = alloc_text(p->control);
	out->state = alloc_text(p->state);
	out->listen = copy(p->listen, p->n_listen, sizeof(*p->listen));
	for (size_t i = 0; i < p->n_listen; i++)
		out->listen[i] = alloc_text(p->listen[i]);
	out->sites = copy(p->sites, p->n_sites, sizeof(*p->sites));
	for (size_t i = 0; i < p->n_sites; i++)
		out->sites[i].name = alloc_text(p->sites[i].name);
	out->gateways = copy(p->gateways, p->n_gateways, sizeof(*p->gateways));
	for (size_t i = 0; i < p->n_gateways; i++)
		out->gateways[i].name = alloc_text(p->gateways[i].name);
	out->clients = copy(p->clients, p->n_clients, sizeof(*p->clients));
	for (size_t i = 0; i < p->n_clients; i++)
		out->clients[i].name = alloc_text(p->clients[i].name);
	out->relays = copy(p->relays, p->n_relays, sizeof(*p->relays));
	for (size_t i = 0; i < p->n_relays; i++)
		out->relays[i].name = alloc_text(p->relays[i].name);
	out->turn = copy(p->turn, p->n_turn, sizeof(*p->turn));
	for (size_t i = 0; i < p->n_turn; i++) {
		out->turn[i].username = alloc_text(p->turn[i].username);
		out->turn[i].password = alloc_text(p->turn[i].password);
	}
	out->groups = copy(p->groups, p->n_groups, sizeof(*p->groups));
	for (size_t i = 0; i < p->n_groups; i++) {
		out->groups[i].name = alloc_text(p->groups[i].name);
		out->groups[i].is_member = copy(p->groups[i].is_member, p->n_clients, sizeof(bool));
	}
	clone_resources(out, p);
	out->rules = copy(p->rules, p->n_rules, sizeof(*p->rules));
	out->denials = copy(p->denials, p->n_denials, sizeof(*p->denials));
	return out;
}

struct policy_token policy_token_make(const char *text)
{
	struct policy_token t = {.is_valid = true};

	crypto_hash_sha256(t.hash, (const uint8_t *)text, strlen(text));
	return t;
}

bool policy_token_eq(const struct policy_token *a, const struct policy_token *b)
{
	return a->is_valid && b->is_valid && sodium_memcmp(a->hash, b->hash, sizeof(a->hash)) == 0;
}

const struct policy_gateway *policy_gateway_by_token(const struct policy *p, const char *token)
{
	const struct policy_token t = policy_token_make(token);

	for (size_t i = 0; i < p->n_gateways; i++) {
		if (policy_token_eq(&p->gateways[i].token, &t))
			return &p->gateways[i];
	}
	return NULL;
}

const struct policy_client *policy_client_by_token(const struct policy *p, const char *token)
{
	const struct policy_token t = policy_token_make(token);

	for (size_t i = 0; i < p->n_clients; i++) {
		if (policy_token_eq(&p->clients[i].token, &t))
			return &p->clients[i];
	}
	return NULL;
}

const struct policy_relay *policy_relay_by_token(const struct policy *p, const char *token)
{
	const struct policy_token t = policy_token_make(token);

	for (size_t i = 0; i < p->n_relays; i++) {
		if (policy_token_eq(&p->relays[i].token, &t))
			return &p->relays[i];
	}
	return NULL;
}

const struct policy_relay *policy_relay_find(const struct policy *p, const char *name)
{
	for (size_t i = 0; i < p->n_relays; i++) {
		if (strcmp(p->relays[i].name, name) == 0)
			return &p->relays[i];
	}
	return NULL;
}

static bool is_called(const struct ident *id, const char *name, const char *id_or_name)
{
	return strcmp(id->text, id_or_name) == 0 || strcmp(name, id_or_name) == 0;
}

const struct policy_gateway *policy_gateway_find(const struct policy *p, const char *id_or_name)
{
	for (size_t i = 0; i < p->n_gateways; i++) {
		if (is_called(&p->gateways[i].id, p->gateways[i].name, id_or_name))
			return &p->gateways[i];
	}
	return NULL;
}

const struct policy_client *policy_client_find(const struct policy *p, const char *id_or_name)
{
	for (size_t i = 0; i < p->n_clients; i++) {
		if (is_called(&p->clients[i].id, p->clients[i].name, id_or_name))
			return &p->clients[i];
	}
	return NULL;
}

const struct policy_resource *policy_resource_find(const struct policy *p, const char *id_or_name)
{
	for (size_t i = 0; i < p->n_resources; i++) {
		if (is_called(&p->resources[i].id, p->resources[i].name, id_or_name))
			return &p->resources[i];
	}
	return NULL;
}

static bool rule_names(const struct policy *p, const struct policy_rule *rule, size_t client)
{
	return rule->is_group ? p->groups[rule->subject].is_member[client]
			      : rule->subject == client;
}

static bool is_denied(const struct policy *p, size_t client, size_t resource)
{
	for (size_t i = 0; i < p->n_denials; i++) {
		if (p->denials[i].client == client && p->denials[i].resource == resource)
			return true;
	}
	return false;
}

static int64_t min64(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

// When an authorization made now under this rule would end.
static int64_t rule_end(const struct policy_rule *rule, int64_t now)
{
	const int64_t lifetime_end =
		rule->lifetime_s > POLICY_NEVER - now ? POLICY_NEVER : now + rule->lifetime_s;

	return min64(rule->expires_at, lifetime_end);
}

enum policy_verdict policy_judge(
	const struct policy *p,
	const struct policy_client *client,
	const struct policy_resource *resource,
	int64_t now,
	const struct policy_rule **rule,
	int64_t *expires_at)
{
	const size_t c = (size_t)(client - p->clients);
	const size_t r = (size_t)(resource - p->resources);
	enum policy_verdict verdict = POLICY_VERDICT_NOT_FOUND;
	int64_t best = INT64_MIN;

	if (is_denied(p, c, r))
		return POLICY_VERDICT_NOT_FOUND;
	for (size_t i = 0; i < p->n_rules; i++) {
		const struct policy_rule *candidate = &p->rules[i];

		if (candidate->resource != r || !rule_names(p, candidate, c))
			continue;
		if (candidate->expires_at <= now) {
			if (verdict == POLICY_VERDICT_NOT_FOUND)
				verdict = POLICY_VERDICT_FORBIDDEN;
			continue;
		}
		verdict = POLICY_VERDICT_ALLOWED;
		if (rule_end(candidate, now) <= best)
			continue;
		best = rule_end(candidate, now);
		if (rule != NULL)
			*rule = candidate;
	}
	if (expires_at != NULL)
		*expires_at = min64(best, client->expires_at);
	return verdict;
}

bool policy_rule_holds(
	const struct policy *p,
	const struct policy_rule *rule,
	size_t client,
	int64_t now)
{
	return rule->expires_at > now && rule_names(p, rule, client)
		&& !is_denied(p, client, rule->resource);
}

int64_t policy_next_expiry(const struct policy *p, int64_t now)
{
	int64_t next = POLICY_NEVER;

	for (size_t i = 0; i < p->n_rules; i++) {
		if (p->rules[i].expires_at > now)
			next = min64(next, p->rules[i].expires_at);
	}
	for (size_t i = 0; i < p->n_clients; i++) {
		if (p->clients[i].expires_at > now)
			next = min64(next, p->clients[i].expires_at);
	}
	return next;
}

static void remove_rules(struct policy *p, size_t client, size_t resource)
{
	size_t kept = 0;

	for (size_t i = 0; i < p->n_rules; i++) {
		const struct policy_rule *r = &p->rules[i];

		if (r->is_group || r->subject != client || r->resource != resource)
			p->rules[kept++] = *r;
	}
	p->n_rules = kept;
}

static void remove_denials(struct policy *p, size_t client, size_t resource)
{
	size_t kept = 0;

	for (size_t i = 0; i < p->n_denials; i++) {
		if (p->denials[i].client != client || p->denials[i].resource != resource)
			p->denials[kept++] = p->denials[i];
	}
	p->n_denials = kept;
}

struct ident policy_rule_ident(const struct policy *p, const struct policy_rule *rule)
{
	char *name = alloc_format(
		"%s:%s:%s:%lld:%lld",
		rule->is_group ? "group" : "client",
		rule->is_group ? p->groups[rule->subject].name : p->clients[rule->subject].id.text,
		p->resources[rule->resource].id.text,
		(long long)rule->lifetime_s,
		(long long)rule->expires_at);
	const struct ident id = ident_derive(p->account, "policy", name);

	free(name);
	return id;
}

void policy_grant(
	struct policy *p,
	size_t client,
	size_t resource,
	int64_t lifetime_s,
	int64_t expires_at)
{
	struct policy_rule rule = {
		.subject = client,
		.resource = resource,
		.lifetime_s = lifetime_s,
		.expires_at = expires_at,
	};

	rule.id = policy_rule_ident(p, &rule);
	remove_rules(p, client, resource);
	remove_denials(p, client, resource);
	p->rules = alloc_resize(p->rules, p->n_rules + 1, sizeof(*p->rules));
	p->rules[p->n_rules++] = rule;
}

bool policy_revoke(struct policy *p, size_t client, size_t resource)
{
	if (policy_judge(p, &p->clients[client], &p->resources[resource], 0, NULL, NULL)
	    == POLICY_VERDICT_NOT_FOUND)
		return false;
	remove_rules(p, client, resource);
	for (size_t i = 0; i < p->n_rules; i++) {
		if (p->rules[i].resource != resource || !rule_names(p, &p->rules[i], client))
			continue;
		p->denials = alloc_resize(p->denials, p->n_denials + 1, sizeof(*p->denials));
		p->denials[p->n_denials++] =
			(struct policy_denial){.client = client, .resource = resource};
		break;
	}
	return true;
}
