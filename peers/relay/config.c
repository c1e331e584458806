// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "peers/relay/config.h"

#include "control/base/err.h"

#include <sodium.h>

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PORT_DEFAULT 3478
#define LOWEST_PORT_DEFAULT 49152
#define HIGHEST_PORT_DEFAULT 65535
// Shorter ones can be guessed from one signed packet.
#define SECRET_LEN_MIN 16

[[gnu::format(printf, 2, 3)]] static int refuse(char error[CONFIG_ERROR_SIZE], const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(error, CONFIG_ERROR_SIZE, fmt, args);
	va_end(args);
	return err_set(EINVAL);
}

// An empty variable is as good as none.
static const char *get(config_env_fn env, const char *name)
{
	const char *value = env(name);

	return value != NULL && value[0] != '\0' ? value : NULL;
}

static int read_addr(
	struct ip_addr *out,
	config_env_fn env,
	const char *name,
	enum ip_family family,
	char error[CONFIG_ERROR_SIZE])
{
	const char *value = get(env, name);

	if (value == NULL)
		return 0;
	if (ip_addr_parse(out, value) != 0 || out->family != family)
		return refuse(error, "%s: \"%s\" is not an IPv%d address", name, value, family);
	return 0;
}

static int read_port(
	uint16_t *out,
	config_env_fn env,
	const char *name,
	unsigned min,
	char error[CONFIG_ERROR_SIZE])
{
	const char *value = get(env, name);
	char *end;
	unsigned long port;

	if (value == NULL)
		return 0;
	port = strtoul(value, &end, 10);
	if (*end != '\0' || value[0] < '0' || value[0] > '9' || port < min || port > UINT16_MAX)
		return refuse(error, "%s: \"%s\" is not a port", name, value);
	*out = (uint16_t)port;
	return 0;
}

static int read_text(
	char *out,
	size_t size,
	config_env_fn env,
	const char *name,
	char error[CONFIG_ERROR_SIZE])
{
	const char *value = get(env, name);

	if (value == NULL)
		return 0;
	if (strlen(value) >= size)
		return refuse(error, "%s: longer than %zu bytes", name, size - 1);
	memcpy(out, value, strlen(value) + 1);
	return 0;
}

static int read_addresses(struct config *c, config_env_fn env, char error[CONFIG_ERROR_SIZE])
{
	static const uint8_t any[16];
	int rc;

	c->bind_v4 = ip_addr_v4(any);
	c->bind_v6 = ip_addr_v6(any);
	rc = read_addr(&c->public_v4, env, "PUBLIC_IP4_ADDR", IP_FAMILY_V4, error);
	if (rc == 0)
		rc = read_addr(&c->public_v6, env, "PUBLIC_IP6_ADDR", IP_FAMILY_V6, error);
	if (rc == 0)
		rc = read_addr(&c->bind_v4, env, "BIND_IP4_ADDR", IP_FAMILY_V4, error);
	if (rc == 0)
		rc = read_addr(&c->bind_v6, env, "BIND_IP6_ADDR", IP_FAMILY_V6, error);
	if (rc != 0)
		return rc;
	if (c->public_v4.family == IP_FAMILY_NONE && c->public_v6.family == IP_FAMILY_NONE)
		return refuse(error, "PUBLIC_IP4_ADDR or PUBLIC_IP6_ADDR must be set");
	if (c->public_v4.family == IP_FAMILY_NONE)
		c->bind_v4 = (struct ip_addr){};
	if (c->public_v6.family == IP_FAMILY_NONE)
		c->bind_v6 = (struct ip_addr){};
	return 0;
}

static int read_ports(struct config *c, config_env_fn env, char error[CONFIG_ERROR_SIZE])
{
	const char *health = get(env, "HEALTH_CHECK_ADDR");
	int rc;

	c->listen_port = PORT_DEFAULT;
	c->lowest_port = LOWEST_PORT_DEFAULT;
	c->highest_port = HIGHEST_PORT_DEFAULT;
	// 0 takes a free one, for tests.
	rc = read_port(&c->listen_port, env, "LISTEN_PORT", 0, error);
	if (rc == 0)
		rc = read_port(&c->lowest_port, env, "LOWEST_PORT", 1, error);
	if (rc == 0)
		rc = read_port(&c->highest_port, env, "HIGHEST_PORT", 1, error);
	if (rc != 0)
		return rc;
	if (c->lowest_port > c->highest_port)
		return refuse(error, "LOWEST_PORT is above HIGHEST_PORT");
	if (health != NULL && ip_endpoint_parse(&c->health, health) != 0)
		return refuse(error, "HEALTH_CHECK_ADDR: \"%s\" is not address:port", health);
	return 0;
}

static int read_portal(struct config *c, config_env_fn env, char error[CONFIG_ERROR_SIZE])
{
	int rc;

	rc = read_text(c->api_url, sizeof(c->api_url), env, "FIREZONE_API_URL", error);
	if (rc == 0)
		rc = read_text(c->token, sizeof(c->token), env, "FIREZONE_TOKEN", error);
	if (rc == 0)
		rc = read_text(c->name, sizeof(c->name), env, "FIREZONE_NAME", error);
	if (rc == 0)
		rc = read_text(c->secret, sizeof(c->secret), env, "SALLYPORT_RELAY_SECRET", error);
	if (rc != 0)
		return rc;
	if (c->name[0] == '\0' && gethostname(c->name, sizeof(c->name) - 1) != 0)
		return refuse(error, "FIREZONE_NAME: not set, and the host has no name");
	if (c->secret[0] != '\0' && strlen(c->secret) < SECRET_LEN_MIN)
		return refuse(
			error, "SALLYPORT_RELAY_SECRET: shorter than %d bytes", SECRET_LEN_MIN);
	if (c->api_url[0] != '\0' && c->token[0] == '\0')
		return refuse(error, "FIREZONE_TOKEN must be set with FIREZONE_API_URL");
	if (c->api_url[0] == '\0' && c->secret[0] == '\0')
		return refuse(error, "FIREZONE_API_URL or SALLYPORT_RELAY_SECRET must be set");
	return 0;
}

int config_read(struct config *c, config_env_fn env, char error[CONFIG_ERROR_SIZE])
{
	int rc;

	*c = (struct config){};
	rc = read_addresses(c, env, error);
	if (rc == 0)
		rc = read_ports(c, env, error);
	if (rc == 0)
		rc = read_portal(c, env, error);
	if (rc != 0)
		config_fini(c);
	return rc;
}

void config_fini(struct config *c)
{
	sodium_memzero(c->token, sizeof(c->token));
	sodium_memzero(c->secret, sizeof(c->secret));
}
