// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "peers/portal/ctl.h"

#include "control/base/alloc.h"
#include "control/base/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LOG_AREA "portal.ctl"
#define SECONDS_MAX (100LL * 366 * 24 * 3600)

// One command in progress: results and errors are set once.
struct call {
	struct ctl *ctl;
	struct instant now;
	const json_t *args;
	const json_t *options;
	json_t *result;
	char *error;
};

static const struct policy *policy_of(const struct call *c)
{
	return portal_policy(c->ctl->portal);
}

static const char *arg(const struct call *c, size_t i)
{
	return json_string_value(json_array_get(c->args, i));
}

[[gnu::format(printf, 2, 3)]] static void fail(struct call *c, const char *fmt, ...)
{
	va_list ap;

	if (c->error != NULL)
		return;
	va_start(ap, fmt);
	if (vasprintf(&c->error, fmt, ap) < 0)
		alloc_check(NULL);
	va_end(ap);
}

[[gnu::format(printf, 2, 3)]] static void done(struct call *c, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	c->result = alloc_check(json_vsprintf(fmt, ap));
	va_end(ap);
	LOG(NOTICE, "%s", json_string_value(c->result));
}

static const struct policy_client *client_arg(struct call *c)
{
	const struct policy_client *client = policy_client_find(policy_of(c), arg(c, 0));

	if (client == NULL)
		fail(c, "there is no client \"%s\"", arg(c, 0));
	return client;
}

static const struct policy_resource *resource_arg(struct call *c, size_t i)
{
	const struct policy_resource *r = policy_resource_find(policy_of(c), arg(c, i));

	if (r == NULL)
		fail(c, "there is no resource \"%s\"", arg(c, i));
	return r;
}

// Seconds of an option, or POLICY_NEVER when it is not given.
static int64_t seconds_option(struct call *c, const char *name)
{
	const char *text = json_string_value(json_object_get(c->options, name));
	char *end;
	long long n;

	if (text == NULL)
		return POLICY_NEVER;
	n = strtoll(text, &end, 10);
	if (text[0] < '0' || text[0] > '9' || *end != '\0' || n < 1 || n > SECONDS_MAX) {
		fail(c, "--%s: \"%s\" is not a number of seconds", name, text);
		return POLICY_NEVER;
	}
	return n;
}

static void run_status(struct call *c)
{
	c->result = portal_status(c->ctl->portal, c->now);
}

static void run_grant(struct call *c)
{
	const struct policy *p = policy_of(c);
	const struct policy_client *client = client_arg(c);
	const struct policy_resource *resource = resource_arg(c, 1);
	const int64_t expires = seconds_option(c, "expires");
	const int64_t lifetime = seconds_option(c, "lifetime");
	struct policy *next;

	if (c->error != NULL)
		return;
	next = policy_clone(p);
	policy_grant(
		next,
		(size_t)(client - p->clients),
		(size_t)(resource - p->resources),
		lifetime,
		expires == POLICY_NEVER ? POLICY_NEVER : c->now.unix_s + expires);
	done(c, "granted %s to %s", resource->name, client->name);
	portal_publish(c->ctl->portal, next, c->now);
}

static void run_revoke(struct call *c)
{
	const struct policy *p = policy_of(c);
	const struct policy_client *client = client_arg(c);
	const struct policy_resource *resource = resource_arg(c, 1);
	struct policy *next;

	if (c->error != NULL)
		return;
	next = policy_clone(p);
	if (!policy_revoke(
		    next, (size_t)(client - p->clients), (size_t)(resource - p->resources))) {
		fail(c, "%s has no access to %s", client->name, resource->name);
		policy_destroy(next);
		return;
	}
	done(c, "revoked %s from %s", resource->name, client->name);
	portal_publish(c->ctl->portal, next, c->now);
}

static void run_reject(struct call *c)
{
	const struct policy_client *client = client_arg(c);
	const struct policy_resource *resource = resource_arg(c, 1);
	size_t n;

	if (c->error != NULL)
		return;
	n = portal_reject(c->ctl->portal, client, resource, c->now);
	if (n == 0)
		fail(c, "%s has no authorization for %s", client->name, resource->name);
	else
		done(c, "rejected %s for %s at %zu gateway(s)", resource->name, client->name, n);
}

// Everything after the resource is filters, so that a shell needs no quotes.
static char *filters_arg(struct call *c, struct filter_list *out)
{
	char *text = alloc_text("");
	char *error;
	json_t *json;

	for (size_t i = 1; i < json_array_size(c->args); i++) {
		char *longer = alloc_format("%s%s%s", text, i > 1 ? " " : "", arg(c, i));

		free(text);
		text = longer;
	}
	if (text[0] == '[') {
		json = json_loads(text, 0, NULL);
		error = filter_list_from_json(out, json);
		json_decref(json);
	} else {
		error = filter_list_parse(out, text);
	}
	free(text);
	return error;
}

static void run_set_filters(struct call *c)
{
	const struct policy *p = policy_of(c);
	const struct policy_resource *resource = resource_arg(c, 0);
	struct filter_list filters = {};
	struct policy_resource *changed;
	struct policy *next;

	if (c->error != NULL)
		return;
	if (resource->type == POLICY_RESOURCE_INTERNET) {
		fail(c, "%s: type internet has no filters", resource->name);
		return;
	}
	c->error = filters_arg(c, &filters);
	if (c->error != NULL)
		return;
	next = policy_clone(p);
	changed = &next->resources[resource - p->resources];
	filter_list_fini(&changed->filters);
	changed->filters = filters;
	done(c, "filters of %s: %zu", resource->name, filters.n_items);
	portal_publish(c->ctl->portal, next, c->now);
}

static void run_delete_token(struct call *c)
{
	const struct policy *p = policy_of(c);
	const struct policy_client *client = policy_client_find(p, arg(c, 0));
	const struct policy_gateway *gateway = policy_gateway_find(p, arg(c, 0));
	const struct policy_relay *relay = policy_relay_find(p, arg(c, 0));
	struct policy_token *token;
	struct policy *next;

	if (client == NULL && gateway == NULL && relay == NULL) {
		fail(c, "there is no gateway, client or relay \"%s\"", arg(c, 0));
		return;
	}
	if ((client != NULL) + (gateway != NULL) + (relay != NULL) > 1) {
		fail(c, "\"%s\" is more than one thing; use its id", arg(c, 0));
		return;
	}
	next = policy_clone(p);
	if (client != NULL)
		token = &next->clients[client - p->clients].token;
	else if (gateway != NULL)
		token = &next->gateways[gateway - p->gateways].token;
	else
		token = &next->relays[relay - p->relays].token;
	if (!token->is_valid) {
		fail(c, "the token of \"%s\" is already deleted", arg(c, 0));
		policy_destroy(next);
		return;
	}
	token->is_valid = false;
	done(c, "deleted the token of %s", arg(c, 0));
	portal_publish(c->ctl->portal, next, c->now);
}

static void run_reload(struct call *c)
{
	c->error = ctl_reload(c->ctl, c->now);
	if (c->error == NULL)
		done(c, "reloaded %s", c->ctl->policy_path);
}

#define NO_LIMIT SIZE_MAX

static const struct {
	const char *name;
	size_t n_args_min;
	size_t n_args_max;
	void (*run)(struct call *c);
	const char *options; // comma-separated
	const char *usage;
} commands[] = {
	{"status", 0, 0, run_status, "", "status"},
	{"grant",
	 2,
	 2,
	 run_grant,
	 "expires,lifetime",
	 "grant <client> <resource> [--expires SECONDS] [--lifetime SECONDS]"},
	{"revoke", 2, 2, run_revoke, "", "revoke <client> <resource>"},
	{"reject", 2, 2, run_reject, "", "reject <client> <resource>"},
	{"set-filters", 2, NO_LIMIT, run_set_filters, "", "set-filters <resource> <filters>..."},
	{"delete-token", 1, 1, run_delete_token, "", "delete-token <gateway, client or relay>"},
	{"reload", 0, 0, run_reload, "", "reload"},
};

static bool is_option(const char *options, const char *name)
{
	const size_t size = strlen(name);

	for (const char *p = options; *p != '\0';
	     p += strcspn(p, ",") + (p[strcspn(p, ",")] == ',')) {
		if (strcspn(p, ",") == size && strncmp(p, name, size) == 0)
			return true;
	}
	return false;
}

static void check_options(struct call *c, const char *options)
{
	const char *name;
	json_t *value;

	if (c->options != NULL && !json_is_object(c->options))
		fail(c, "\"options\" is not an object");
	json_object_foreach((json_t *)(uintptr_t)c->options, name, value) {
		if (!is_option(options, name))
			fail(c, "unknown option --%s", name);
		else if (!json_is_string(value))
			fail(c, "--%s: expected text", name);
	}
}

static void run(struct call *c, const json_t *request)
{
	const char *name = json_string_value(json_object_get(request, "command"));
	size_t n_args;
	size_t i;
	json_t *item;

	if (name == NULL) {
		fail(c, "expected a JSON object with \"command\"");
		return;
	}
	c->args = json_object_get(request, "args");
	c->options = json_object_get(request, "options");
	n_args = json_array_size(c->args);
	json_array_foreach(c->args, i, item) {
		if (!json_is_string(item)) {
			fail(c, "\"args\" holds something else than text");
			return;
		}
	}
	for (i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		if (strcmp(commands[i].name, name) != 0)
			continue;
		check_options(c, commands[i].options);
		if (n_args < commands[i].n_args_min || n_args > commands[i].n_args_max)
			fail(c, "usage: %s", commands[i].usage);
		if (c->error == NULL)
			commands[i].run(c);
		return;
	}
	fail(c, "unknown command \"%s\"", name);
}

char *ctl_handle(struct ctl *ctl, const char *line, size_t size, struct instant now)
{
	struct call c = {.ctl = ctl, .now = now};
	json_t *request = json_loadb(line, size, 0, NULL);
	json_t *reply;
	char *text;
	char *full;

	run(&c, request);
	json_decref(request);
	if (c.error != NULL)
		reply = json_pack("{s:b, s:s}", "ok", 0, "error", c.error);
	else
		reply = json_pack("{s:b, s:o}", "ok", 1, "result", c.result);
	free(c.error);
	text = alloc_check(json_dumps(alloc_check(reply), JSON_COMPACT));
	full = alloc_format("%s\n", text);
	free(text);
	json_decref(reply);
	return full;
}

static bool has_same_listen(const struct policy *a, const struct policy *b)
{
	if (a->n_listen != b->n_listen)
		return false;
	for (size_t i = 0; i < a->n_listen; i++) {
		if (strcmp(a->listen[i], b->listen[i]) != 0)
			return false;
	}
	return true;
}

char *ctl_reload(struct ctl *c, struct instant now)
{
	char *error = NULL;
	struct policy *next = policy_load(c->policy_path, &error);

	if (next == NULL) {
		LOG(ERR, "reload failed, the old policy stays in force error=\"%s\"", error);
		return error;
	}
	if (!has_same_listen(portal_policy(c->portal), next))
		LOG(WARNING, "listen has changed; restart the portal for it to take effect");
	portal_publish(c->portal, next, now);
	LOG(NOTICE, "policy reloaded path=%s", c->policy_path);
	return NULL;
}
