// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "control/portal/login.h"

#include <sodium.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int refuse(struct portal_error *err, const char *what)
{
	snprintf(err->text, sizeof(err->text), "%s", what);
	return -EINVAL;
}

struct url {
	bool is_tls;
	char host[LOGIN_HOST_SIZE];
	uint16_t port; // 0: none given
	const char *path;
	size_t path_len; // without a trailing slash
};

static const char *scheme_parse(struct url *u, const char *text)
{
	static const struct {
		const char *prefix;
		bool is_tls;
	} schemes[] = {
		{"http://", false},
		{"ws://", false},
		{"https://", true},
		{"wss://", true},
	};

	for (size_t i = 0; i < sizeof(schemes) / sizeof(schemes[0]); i++) {
		size_t len = strlen(schemes[i].prefix);

		if (strncasecmp(text, schemes[i].prefix, len) == 0) {
			u->is_tls = schemes[i].is_tls;
			return text + len;
		}
	}
	return NULL;
}

static bool is_host_name(const char *host)
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				      "0123456789-._";

	return host[0] != '\0' && host[strspn(host, allowed)] == '\0';
}

// Reads host and port up to the path. Returns where the path starts, or NULL.
static const char *authority_parse(struct url *u, const char *text)
{
	const char *end = text + strcspn(text, "/?#");
	bool is_bracketed = *text == '[';
	const char *host = text + (is_bracketed ? 1 : 0);
	const char *host_end = is_bracketed ? memchr(text, ']', (size_t)(end - text))
					    : text + strcspn(text, ":/?#");
	unsigned long port = 0;
	struct ip_addr addr;

	if (host_end == NULL || (size_t)(host_end - host) >= sizeof(u->host))
		return NULL;
	memcpy(u->host, host, (size_t)(host_end - host));
	u->host[host_end - host] = '\0';
	if (is_bracketed) {
		host_end++;
		if (ip_addr_parse(&addr, u->host) != 0 || addr.family != IP_FAMILY_V6)
			return NULL;
	} else if (!is_host_name(u->host)) {
		return NULL;
	}
	if (host_end == end)
		return end;
	if (*host_end != ':')
		return NULL;
	for (const char *p = host_end + 1; p < end; p++) {
		if (*p < '0' || *p > '9' || port > UINT16_MAX)
			return NULL;
		port = port * 10 + (unsigned long)(*p - '0');
	}
	if (port == 0 || port > UINT16_MAX)
		return NULL;
	u->port = (uint16_t)port;
	return end;
}

static int url_parse(struct url *u, const char *text, struct portal_error *err)
{
	const char *rest = scheme_parse(u, text);

	if (rest == NULL)
		return refuse(err, "api url: scheme must be ws, wss, http or https");
	rest = authority_parse(u, rest);
	if (rest == NULL)
		return refuse(err, "api url: bad host or port");
	if (!u->is_tls && u->port == 0)
		return refuse(err, "api url: give the port, ws:// has no default");
	if (u->port == 0)
		u->port = 443;
	u->path = rest;
	u->path_len = strcspn(rest, "?#");
	for (size_t i = 0; i < u->path_len; i++) {
		if (rest[i] <= 0x20 || rest[i] > 0x7e)
			return refuse(err, "api url: bad character in the path");
	}
	if (u->path_len > 0 && u->path[u->path_len - 1] == '/')
		u->path_len--;
	return 0;
}

// application/x-www-form-urlencoded
static void form_encode(FILE *out, const char *text)
{
	static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				    "0123456789*-._";

	for (; *text != '\0'; text++) {
		if (*text == ' ')
			fputc('+', out);
		else if (strchr(plain, *text) != NULL)
			fputc(*text, out);
		else
			fprintf(out, "%%%02X", (unsigned char)*text);
	}
}

const char *login_role_name(enum login_role role)
{
	static const char *const names[] = {
		[LOGIN_ROLE_GATEWAY] = "gateway",
		[LOGIN_ROLE_CLIENT] = "client",
		[LOGIN_ROLE_RELAY] = "relay",
	};

	return names[role];
}

static void relay_request_write(FILE *out, const struct url *u, const struct login_params *params)
{
	fprintf(out, "%.*s/relay/websocket?name=", (int)u->path_len, u->path);
	form_encode(out, params->name);
	if (params->ipv4 != NULL) {
		fputs("&ipv4=", out);
		form_encode(out, params->ipv4);
	}
	if (params->ipv6 != NULL) {
		fputs("&ipv6=", out);
		form_encode(out, params->ipv6);
	}
	fprintf(out, "&port=%u", params->port);
}

static void request_write(
	FILE *out,
	const struct url *u,
	const struct login_params *params,
	enum portal_dialect dialect,
	const char *token)
{
	char key[sodium_base64_ENCODED_LEN(PORTAL_KEY_SIZE, sodium_base64_VARIANT_ORIGINAL)];

	fprintf(out,
		"%.*s/%s%s/websocket?",
		(int)u->path_len,
		u->path,
		login_role_name(params->role),
		dialect == PORTAL_DIALECT_V2 ? "/v2" : "");
	if (dialect == PORTAL_DIALECT_V1) {
		fputs("token=", out);
		form_encode(out, token);
		fputc('&', out);
	}
	fputs("external_id=", out);
	form_encode(out, params->external_id);
	fputs("&name=", out);
	form_encode(out, params->name);
	sodium_bin2base64(
		key,
		sizeof(key),
		params->public_key,
		PORTAL_KEY_SIZE,
		sodium_base64_VARIANT_ORIGINAL);
	fputs("&public_key=", out);
	form_encode(out, key);
}

int login_target_init(
	struct login_target *out,
	const struct login_params *params,
	enum portal_dialect dialect,
	struct portal_error *err)
{
	char token[LOGIN_TOKEN_SIZE];
	struct url u = {0};
	FILE *stream;
	int rc = url_parse(&u, params->api_url, err);

	if (rc != 0)
		return rc;
	if (params->role == LOGIN_ROLE_RELAY) {
		if ((params->ipv4 == NULL && params->ipv6 == NULL) || params->port == 0)
			return refuse(err, "relay: needs an address and a port");
	} else if (params->external_id[0] == '\0' || strlen(params->external_id) >= LOGIN_ID_SIZE) {
		return refuse(err, "external id: must have 1 to 255 characters");
	}
	if (params->name[0] == '\0' || strlen(params->name) > 255)
		return refuse(err, "name: must have 1 to 255 characters");
	if (login_token_clean(token, params->token) != 0)
		return refuse(err, "token: empty, too long or with odd characters");
	*out = (struct login_target){.is_tls = u.is_tls, .port = u.port};
	memcpy(out->host, u.host, sizeof(out->host));
	stream = open_memstream(&out->request, &out->request_size);
	if (stream != NULL) {
		if (params->role == LOGIN_ROLE_RELAY)
			relay_request_write(stream, &u, params);
		else
			request_write(stream, &u, params, dialect, token);
		rc = ferror(stream) ? -ENOMEM : 0;
		if (fclose(stream) != 0)
			rc = -ENOMEM;
		out->request_size++;
	} else {
		rc = -ENOMEM;
	}
	sodium_memzero(token, sizeof(token));
	if (rc != 0) {
		login_target_fini(out);
		refuse(err, "out of memory");
	}
	return rc;
}

void login_target_fini(struct login_target *t)
{
	if (t->request != NULL)
		sodium_memzero(t->request, strlen(t->request));
	free(t->request);
	*t = (struct login_target){0};
}

int login_token_clean(char out[LOGIN_TOKEN_SIZE], const char *token)
{
	size_t n = 0;

	for (; *token != '\0'; token++) {
		if (strchr(" \t\r\n\v\f", *token) != NULL)
			continue;
		if (*token < 0x21 || *token > 0x7e || n == LOGIN_TOKEN_SIZE - 1) {
			sodium_memzero(out, n);
			return n == LOGIN_TOKEN_SIZE - 1 ? -E2BIG : -EINVAL;
		}
		out[n++] = *token;
	}
	out[n] = '\0';
	return n > 0 ? 0 : -EINVAL;
}

static const char *role_version(enum login_role role)
{
	static const char *const versions[] = {
		[LOGIN_ROLE_GATEWAY] = "gateway/" LOGIN_GATEWAY_VERSION,
		[LOGIN_ROLE_CLIENT] = "headless-client/" LOGIN_CLIENT_VERSION,
		[LOGIN_ROLE_RELAY] = "relay/" LOGIN_RELAY_VERSION,
	};

	return versions[role];
}

void login_user_agent(
	char out[LOGIN_USER_AGENT_SIZE],
	enum login_role role,
	const struct login_system *system)
{
	bool has_both = system->machine[0] != '\0' && system->kernel[0] != '\0';
	bool has_any = system->machine[0] != '\0' || system->kernel[0] != '\0';
	char raw[LOGIN_USER_AGENT_SIZE];
	size_t n = 0;

	snprintf(
		raw,
		sizeof(raw),
		"%s%s%s %s%s%s%s%s%s",
		system->os_name[0] != '\0' ? system->os_name : "Linux",
		system->os_version[0] != '\0' ? "/" : "",
		system->os_version,
		role_version(role),
		has_any ? " (" : "",
		system->machine,
		has_both ? "; " : "",
		system->kernel,
		has_any ? ")" : "");
	for (const char *p = raw; *p != '\0'; p++) {
		if (*p >= 0x20 && *p <= 0x7e)
			out[n++] = *p;
	}
	out[n] = '\0';
}
