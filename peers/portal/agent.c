// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "peers/portal/agent.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
	const char *prefix;
	enum agent_component component;
} components[] = {
	{"relay/", AGENT_COMPONENT_RELAY},
	{"connlib/", AGENT_COMPONENT_CONNLIB},
	{"headless-client/", AGENT_COMPONENT_HEADLESS},
	{"gui-client/", AGENT_COMPONENT_GUI},
	{"apple-client/", AGENT_COMPONENT_APPLE},
	{"android-client/", AGENT_COMPONENT_ANDROID},
	{"gateway/", AGENT_COMPONENT_GATEWAY},
};

// Reads up to five digits, so that no component overflows.
static bool read_number(const char **p, unsigned *out)
{
	unsigned n = 0;
	int digits = 0;

	for (; isdigit((unsigned char)**p) && digits < 6; (*p)++, digits++)
		n = n * 10 + (unsigned)(**p - '0');
	*out = n;
	return digits > 0 && digits < 6;
}

static void parse_version(struct agent *out, const char *text, size_t size)
{
	struct agent_version v = {};
	const char *p = out->version_text;

	if (size >= sizeof(out->version_text))
		return;
	memcpy(out->version_text, text, size);
	out->version_text[size] = '\0';
	v.is_valid = read_number(&p, &v.major) && *p++ == '.' && read_number(&p, &v.minor)
		&& *p++ == '.' && read_number(&p, &v.patch)
		&& (*p == '\0' || *p == '-' || *p == '+');
	v.is_prerelease = *p == '-';
	if (v.is_valid)
		out->version = v;
	else
		out->version_text[0] = '\0';
}

// "{os}/{os_version} ..."; the name may contain spaces, the version may not.
static void parse_os(struct agent *out)
{
	const char *slash = strchr(out->text, '/');
	size_t size;

	if (slash == NULL)
		return;
	size = (size_t)(slash - out->text);
	if (size < sizeof(out->os_name)) {
		memcpy(out->os_name, out->text, size);
		out->os_name[size] = '\0';
	}
	size = strcspn(slash + 1, " ");
	if (size < sizeof(out->os_version)) {
		memcpy(out->os_version, slash + 1, size);
		out->os_version[size] = '\0';
	}
}

void agent_parse(struct agent *out, const char *text)
{
	size_t size;

	*out = (struct agent){};
	if (text == NULL)
		return;
	snprintf(out->text, sizeof(out->text), "%s", text);
	parse_os(out);
	for (const char *p = out->text; *p != '\0'; p += size + (p[size] == ' ')) {
		size = strcspn(p, " ");
		for (size_t i = 0; i < sizeof(components) / sizeof(components[0]); i++) {
			const size_t prefix_size = strlen(components[i].prefix);

			if (strncmp(p, components[i].prefix, prefix_size) != 0)
				continue;
			out->component = components[i].component;
			parse_version(out, p + prefix_size, size - prefix_size);
			return;
		}
	}
}

// <0, 0, >0 as the version sorts before, at or after the release a.b.c.
static int compare(const struct agent_version *v, unsigned a, unsigned b, unsigned c)
{
	if (v->major != a)
		return v->major < a ? -1 : 1;
	if (v->minor != b)
		return v->minor < b ? -1 : 1;
	if (v->patch != c)
		return v->patch < c ? -1 : 1;
	return v->is_prerelease ? -1 : 0;
}

bool agent_version_is_least(
	const struct agent_version *version,
	unsigned major,
	unsigned minor,
	unsigned patch)
{
	return version->is_valid && compare(version, major, minor, patch) >= 0;
}

bool agent_is_compatible(const struct agent *client, const struct agent *gateway)
{
	const struct agent_version *c = &client->version;
	const struct agent_version *g = &gateway->version;
	const unsigned lowest_minor = c->minor > 0 ? c->minor - 1 : 0;

	if (!g->is_valid)
		return false;
	if (!c->is_valid)
		return true;
	return compare(g, c->major, lowest_minor, 0) >= 0
		&& compare(g, c->major, c->minor + 2, 0) < 0;
}

bool agent_reads_sites(const struct agent *client)
{
	switch (client->component) {
	case AGENT_COMPONENT_HEADLESS:
		return agent_version_is_least(&client->version, 1, 5, 6);
	case AGENT_COMPONENT_GUI:
		return agent_version_is_least(&client->version, 1, 5, 10);
	case AGENT_COMPONENT_APPLE:
		return agent_version_is_least(&client->version, 1, 5, 11);
	case AGENT_COMPONENT_ANDROID:
		return agent_version_is_least(&client->version, 1, 5, 8);
	default:
		return false;
	}
}
