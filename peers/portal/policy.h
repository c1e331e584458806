// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include "control/base/addr.h"
#include "peers/portal/filter.h"
#include "peers/portal/ident.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/**
 * Who may reach what: the content of a policy file as a value. A policy in force is never changed;
 * a change is a clone, edited and then put in force by portal_publish(), which works out what the
 * peers have to be told. Run-time commands and a reload of the file take the same way.
 *
 * Cross references are indexes into the arrays of the same policy.
 *
 * Ownership: policy_destroy() frees everything. Thread-safety: one thread.
 */

#define POLICY_TOKEN_HASH_SIZE 32
/** No expiry. */
#define POLICY_NEVER INT64_MAX

struct policy_site {
	struct ident id;
	char *name;
};

/** A token is kept only as its SHA-256, so that neither a log nor a dump shows it. */
struct policy_token {
	uint8_t hash[POLICY_TOKEN_HASH_SIZE];
	bool is_valid; // false after its deletion
};

struct policy_gateway {
	struct ident id;
	char *name;
	struct policy_token token;
	size_t site;
};

/** Relays may connect with this token, any number of them. */
struct policy_relay {
	char *name;
	struct policy_token token;
};

#define POLICY_TURN_ADDRESSES_MAX 2

/** A plain TURN server with fixed credentials that is handed out like a relay. */
struct policy_turn {
	struct ident id; // derived from everything else: a change makes another one
	struct ip_endpoint addresses[POLICY_TURN_ADDRESSES_MAX];
	size_t n_addresses;
	char *username;
	char *password;
};

/** Someone who may connect clients: each device (external id) with its token is a client of it. */
struct policy_client {
	struct ident id;
	char *name;
	struct policy_token token;
	int64_t expires_at; // of the token: Unix seconds or POLICY_NEVER
};

struct policy_group {
	char *name;
	bool *is_member; // by client index
};

enum policy_resource_type {
	POLICY_RESOURCE_CIDR,
	POLICY_RESOURCE_IP,
	POLICY_RESOURCE_DNS,
	POLICY_RESOURCE_INTERNET,
};

struct policy_resource {
	struct ident id;
	char *name;
	enum policy_resource_type type;
	char *address; // as on the wire: CIDR text or DNS pattern; NULL for internet
	char *description; // may be NULL
	char *ip_stack; // dns only: "dual", "ipv4_only", "ipv6_only"
	struct filter_list filters;
	size_t site;
};

/** One grant of a resource to a client or a group. */
struct policy_rule {
	struct ident id;
	bool is_group;
	size_t subject; // client or group index
	size_t resource;
	int64_t lifetime_s; // of each authorization, from when it is made; POLICY_NEVER
	int64_t expires_at; // of the rule: Unix seconds; POLICY_NEVER
};

/** A run-time revocation that outweighs whatever the client's groups grant. */
struct policy_denial {
	size_t client;
	size_t resource;
};

struct policy {
	char *account;
	char **listen; // "addr:port" texts
	char *control; // path of the control socket; NULL: default
	char *state; // path of the device file; NULL: default
	struct policy_site *sites;
	struct policy_gateway *gateways;
	struct policy_client *clients;
	struct policy_relay *relays;
	struct policy_turn *turn;
	struct policy_group *groups;
	struct policy_resource *resources;
	struct policy_rule *rules;
	struct policy_denial *denials;
	size_t n_listen;
	size_t n_sites;
	size_t n_gateways;
	size_t n_clients;
	size_t n_relays;
	size_t n_turn;
	size_t n_groups;
	size_t n_resources;
	size_t n_rules;
	size_t n_denials;
};

/**
 * Parses and checks a policy file's text.
 * @param file name for messages
 * @return owned policy, or NULL with *error set to owned "file:line: key: what"
 */
struct policy *policy_parse(const char *file, const char *text, size_t size, char **error);
/** Reads @p path and parses it; as policy_parse(). */
struct policy *policy_load(const char *path, char **error);
/** Accepts NULL. */
void policy_destroy(struct policy *p);
struct policy *policy_clone(const struct policy *p);

/** Hash under which a token is kept. */
struct policy_token policy_token_make(const char *text);
/** @return whether both are valid and the same. */
bool policy_token_eq(const struct policy_token *a, const struct policy_token *b);

/** Look-ups by token, id text or name. @return NULL if there is none */
const struct policy_gateway *policy_gateway_by_token(const struct policy *p, const char *token);
const struct policy_client *policy_client_by_token(const struct policy *p, const char *token);
const struct policy_relay *policy_relay_by_token(const struct policy *p, const char *token);
const struct policy_gateway *policy_gateway_find(const struct policy *p, const char *id_or_name);
const struct policy_client *policy_client_find(const struct policy *p, const char *id_or_name);
const struct policy_relay *policy_relay_find(const struct policy *p, const char *name);
const struct policy_resource *policy_resource_find(const struct policy *p, const char *id_or_name);

enum policy_verdict {
	POLICY_VERDICT_ALLOWED,
	POLICY_VERDICT_NOT_FOUND, // no rule names this client and resource
	POLICY_VERDICT_FORBIDDEN, // rules do, but none holds now
};

/**
 * Judges a client's access to a resource at @p now (Unix seconds). Of several rules that hold,
 * the one that lasts longest wins.
 * @param rule set to the winning rule when allowed; may be NULL
 * @param expires_at set to when an authorization made now would end: the earliest of rule, rule's
 *     lifetime and client token, or POLICY_NEVER; may be NULL
 */
enum policy_verdict policy_judge(
	const struct policy *p,
	const struct policy_client *client,
	const struct policy_resource *resource,
	int64_t now,
	const struct policy_rule **rule,
	int64_t *expires_at);

/** @return whether @p rule grants this client its resource at @p now. */
bool policy_rule_holds(
	const struct policy *p,
	const struct policy_rule *rule,
	size_t client,
	int64_t now);

/** @return when, after @p now, the next rule ends; POLICY_NEVER if none does. */
int64_t policy_next_expiry(const struct policy *p, int64_t now);

/**
 * Gives a client a resource.
 * @param lifetime_s of each authorization; POLICY_NEVER for no limit of its own
 * @param expires_at end of the grant in Unix seconds; POLICY_NEVER
 */
void policy_grant(
	struct policy *p,
	size_t client,
	size_t resource,
	int64_t lifetime_s,
	int64_t expires_at);
/** The id of a rule that has none of its own, from everything that makes it what it is. */
struct ident policy_rule_ident(const struct policy *p, const struct policy_rule *rule);
/** Takes it away, whoever granted it. @return whether there was anything to take. */
bool policy_revoke(struct policy *p, size_t client, size_t resource);
