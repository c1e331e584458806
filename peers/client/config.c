// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "peers/client/config.h"

#include "control/base/err.h"
#include "control/base/log.h"

#include <sodium.h>

#include <ctype.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char default_api_url[] = "wss://api.firezone.dev/";
static const char default_token_path[] = "/etc/dev.firezone.client/token";
static const char default_tun_name[] = "tun-firezone";
static const char state_path[] = "/var/lib/dev.firezone.client/config/firezone-id.json";
static const char machine_id_path[] = "/etc/machine-id";
static const char token_variable[] = "FIREZONE_TOKEN";

// Longest file that can hold a token, bytes.
enum {
	TOKEN_FILE_MAX = 4096
};

enum option_kind {
	OPTION_TEXT, // char *
	OPTION_TRUE, // bool, a flag without value; the variable takes true or false
	OPTION_BOOL, // bool, exactly true or false
	OPTION_FEATURE, // bool, true or false; anything else keeps the default
	OPTION_DURATION, // uint64_t, milliseconds
	OPTION_TUN_NAME,
	OPTION_HELP,
	OPTION_CHECK,
};

struct option_row {
	const char *flag; // NULL: variable only
	char letter; // 0: none
	const char *variable; // NULL: flag only
	enum option_kind kind;
	size_t offset; // in struct config
	const char *help;
};

#define FIELD(name) offsetof(struct config, name)

static const struct option_row options[] = {
	{"--api-url",
	 'u',
	 "FIREZONE_API_URL",
	 OPTION_TEXT,
	 FIELD(api_url),
	 "portal, ws:// or wss://"},
	{NULL, 0, token_variable, OPTION_TEXT, FIELD(token), "service account token"},
	{"--token-path",
	 0,
	 "FIREZONE_TOKEN_PATH",
	 OPTION_TEXT,
	 FIELD(token_path),
	 "file with the token, root's alone, if the variable is not set"},
	{"--firezone-id", 'i', "FIREZONE_ID", OPTION_TEXT, FIELD(id), "id of this device"},
	{NULL, 0, "FIREZONE_NAME", OPTION_TEXT, FIELD(name), "name of this device [host name]"},
	{"--dns-control",
	 0,
	 "FIREZONE_DNS_CONTROL",
	 OPTION_TEXT,
	 FIELD(dns_control),
	 "only `disabled` is supported so far"},
	{"--activate-internet-resource",
	 0,
	 "FIREZONE_ACTIVATE_INTERNET_RESOURCE",
	 OPTION_TRUE,
	 FIELD(is_internet_active),
	 "route everything else through the Internet resource"},
	{"--no-telemetry",
	 0,
	 "FIREZONE_NO_TELEMETRY",
	 OPTION_TRUE,
	 FIELD(is_telemetry_off),
	 "accepted; there is no telemetry"},
	{"--max-partition-time",
	 'm',
	 "MAX_PARTITION_TIME",
	 OPTION_DURATION,
	 FIELD(max_partition_ms),
	 "give up after this long without the portal, as 5m [never]"},
	{NULL,
	 0,
	 "FZFF_ICMP_ERROR_UNREACHABLE_PROHIBITED_CREATE_NEW_FLOW",
	 OPTION_FEATURE,
	 FIELD(is_prohibited_request),
	 "ask the portal again when a gateway says `prohibited` [false]"},
	{NULL,
	 0,
	 "SALLYPORT_LOCAL_FILTER",
	 OPTION_BOOL,
	 FIELD(is_local_filter),
	 "refuse here what no resource or its filters allow [true]"},
	{"--tun-name", 0, NULL, OPTION_TUN_NAME, FIELD(tun_name), "TUN device [tun-firezone]"},
	{"--log-level",
	 0,
	 "SALLYPORT_LOG_LEVEL",
	 OPTION_TEXT,
	 FIELD(log_level),
	 "err, warning, notice, info or debug [notice]"},
	{"--check", 0, NULL, OPTION_CHECK, 0, "check the settings and end"},
	{"--exit", 0, NULL, OPTION_TRUE, FIELD(is_exit_when_up), "end once the tunnel is up"},
	{"--help", 'h', NULL, OPTION_HELP, 0, "this text"},
};

enum {
	N_OPTIONS = sizeof(options) / sizeof(options[0])
};

static void *field_of(struct config *c, const struct option_row *o)
{
	return (char *)c + o->offset;
}

static int text_set(char **field, const char *value)
{
	char *copy = strdup(value);

	if (copy == NULL)
		return -ENOMEM;
	free(*field);
	*field = copy;
	return 0;
}

static bool takes_value(const struct option_row *o)
{
	return o->kind != OPTION_TRUE && o->kind != OPTION_HELP && o->kind != OPTION_CHECK;
}

static int bool_parse(bool *out, const char *value)
{
	if (strcmp(value, "true") == 0)
		*out = true;
	else if (strcmp(value, "false") == 0)
		*out = false;
	else
		return -EINVAL;
	return 0;
}

// Gives a row its value; @p value is NULL for a flag without one.
static int
option_apply(struct config *c, const struct option_row *o, const char *value, const char **problem)
{
	void *field = field_of(c, o);

	switch (o->kind) {
	case OPTION_TEXT:
		return text_set(field, value);
	case OPTION_TRUE:
		if (value == NULL) {
			*(bool *)field = true;
			return 0;
		}
		[[fallthrough]];
	case OPTION_BOOL:
		*problem = "must be true or false";
		return bool_parse(field, value);
	case OPTION_FEATURE:
		if (bool_parse(field, value) < 0)
			*(bool *)field = false;
		return 0;
	case OPTION_DURATION:
		*problem = "must be a duration such as 90s or 5m";
		return config_duration_parse(field, value);
	case OPTION_TUN_NAME:
		*problem = "must be an interface name of 1 to 15 characters";
		if (value[0] == '\0' || strlen(value) >= IFNAMSIZ
		    || strpbrk(value, "/ \t%") != NULL)
			return -EINVAL;
		strcpy(field, value);
		return 0;
	case OPTION_HELP:
		c->action = CONFIG_HELP;
		return 0;
	case OPTION_CHECK:
		if (c->action != CONFIG_HELP)
			c->action = CONFIG_CHECK;
		return 0;
	}
	return -EINVAL;
}

static int option_complain(int rc, char *error, const char *name, const char *problem)
{
	if (rc == -ENOMEM)
		snprintf(error, CONFIG_ERROR_SIZE, "out of memory");
	else
		snprintf(
			error,
			CONFIG_ERROR_SIZE,
			"%s: %s",
			name,
			problem != NULL ? problem : "not valid");
	return rc;
}

static int env_read(struct config *c, config_env_get env, void *env_ctx, char *error)
{
	for (size_t i = 0; i < N_OPTIONS; i++) {
		const struct option_row *o = &options[i];
		const char *value, *problem = NULL;
		int rc;

		value = o->variable != NULL ? env(env_ctx, o->variable) : NULL;
		if (value == NULL || value[0] == '\0')
			continue;
		rc = option_apply(c, o, value, &problem);
		if (rc < 0)
			return option_complain(rc, error, o->variable, problem);
	}
	return 0;
}

// Finds the row of an argument; *value points behind "--flag=".
static const struct option_row *option_find(const char *arg, const char **value)
{
	size_t len = strcspn(arg, "=");

	*value = NULL;
	for (size_t i = 0; i < N_OPTIONS; i++) {
		const struct option_row *o = &options[i];

		if (o->letter != 0 && arg[0] == '-' && arg[1] == o->letter && arg[2] == '\0')
			return o;
		if (o->flag == NULL || strlen(o->flag) != len || strncmp(o->flag, arg, len) != 0)
			continue;
		if (arg[len] == '=')
			*value = arg + len + 1;
		return o;
	}
	return NULL;
}

static int args_read(struct config *c, int argc, char *const argv[], char *error)
{
	for (int i = 1; i < argc; i++) {
		const char *value, *problem = NULL;
		const struct option_row *o = option_find(argv[i], &value);
		int rc;

		if (o == NULL)
			return option_complain(
				-EINVAL, error, argv[i], "unknown argument, see --help");
		if (takes_value(o) && value == NULL) {
			if (i + 1 >= argc)
				return option_complain(-EINVAL, error, argv[i], "needs a value");
			value = argv[++i];
		}
		rc = option_apply(c, o, value, &problem);
		if (rc < 0)
			return option_complain(rc, error, o->flag, problem);
	}
	return 0;
}

static int semantics_check(const struct config *c, char *error)
{
	static const char *const schemes[] = {"ws://", "wss://", "http://", "https://"};
	bool is_url = false;

	for (size_t i = 0; i < sizeof(schemes) / sizeof(schemes[0]); i++) {
		size_t len = strlen(schemes[i]);

		is_url = is_url
			|| (strncmp(c->api_url, schemes[i], len) == 0 && c->api_url[len] != '\0');
	}
	if (!is_url)
		return option_complain(
			-EINVAL, error, "FIREZONE_API_URL", "must be a ws, wss, http or https URL");
	if (c->dns_control == NULL || strcmp(c->dns_control, "disabled") != 0)
		return option_complain(
			-EINVAL,
			error,
			"FIREZONE_DNS_CONTROL",
			"only `disabled` is supported so far; set it to that");
	return 0;
}

int config_parse(
	struct config *c,
	int argc,
	char *const argv[],
	config_env_get env,
	void *env_ctx,
	char error[CONFIG_ERROR_SIZE])
{
	int rc;

	*c = (struct config){.is_local_filter = true};
	strcpy(c->tun_name, default_tun_name);
	rc = text_set(&c->api_url, default_api_url);
	if (rc == 0)
		rc = text_set(&c->token_path, default_token_path);
	if (rc < 0) {
		option_complain(rc, error, "", NULL);
		goto err;
	}
	rc = env_read(c, env, env_ctx, error);
	if (rc == 0)
		rc = args_read(c, argc, argv, error);
	if (rc == 0 && c->action != CONFIG_HELP)
		rc = semantics_check(c, error);
	if (rc < 0)
		goto err;
	return 0;

err:
	config_fini(c);
	return rc;
}

const char *config_token_file_problem(const struct stat *st)
{
	if (!S_ISREG(st->st_mode))
		return "is not a regular file";
	if (st->st_uid != 0 || st->st_gid != 0)
		return "must belong to root:root";
	if ((st->st_mode & (S_IRWXG | S_IRWXO)) != 0)
		return "must not be accessible by group or others (chmod 600)";
	if ((st->st_mode & S_IXUSR) != 0)
		return "must not be executable";
	return NULL;
}

static int token_file_read(struct config *c, char *error)
{
	char text[TOKEN_FILE_MAX + 1] = {0};
	const char *problem;
	struct stat st;
	ssize_t n;
	int fd, rc;

	fd = open(c->token_path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0) {
		rc = -errno;
		snprintf(
			error,
			CONFIG_ERROR_SIZE,
			"no token: FIREZONE_TOKEN is not set and %s: %s",
			c->token_path,
			strerror(-rc));
		return rc;
	}
	rc = fstat(fd, &st) < 0 ? -errno : 0;
	problem = rc < 0 ? strerror(-rc) : config_token_file_problem(&st);
	if (problem == NULL) {
		n = read(fd, text, TOKEN_FILE_MAX);
		if (n <= 0)
			problem = n == 0 ? "is empty" : strerror(errno);
	}
	close(fd);
	rc = problem != NULL ? option_complain(-EINVAL, error, c->token_path, problem)
			     : text_set(&c->token, text);
	sodium_memzero(text, sizeof(text));
	return rc;
}

static int token_clean(struct config *c, char *error)
{
	char clean[LOGIN_TOKEN_SIZE];
	int rc = login_token_clean(clean, c->token);

	if (rc < 0)
		return option_complain(
			rc, error, token_variable, "is empty, too long or not printable ASCII");
	// It never grows.
	memcpy(c->token, clean, strlen(clean) + 1);
	sodium_memzero(clean, sizeof(clean));
	return 0;
}

int config_complete(struct config *c, char error[CONFIG_ERROR_SIZE])
{
	char host[256] = {0};
	int rc = 0;

	if (c->token == NULL)
		rc = token_file_read(c, error);
	if (rc == 0)
		rc = token_clean(c, error);
	if (rc < 0)
		return rc;
	rc = login_external_id_resolve(c->external_id, c->id, state_path, machine_id_path);
	if (rc < 0)
		return option_complain(
			rc, error, "FIREZONE_ID", "not set or too long, and no id of this machine");
	if (c->name != NULL)
		return 0;
	if (gethostname(host, sizeof(host) - 1) < 0 || host[0] == '\0')
		strcpy(host, "sallyport-client");
	return text_set(&c->name, host);
}

void config_fini(struct config *c)
{
	if (c->token != NULL)
		sodium_memzero(c->token, strlen(c->token));
	free(c->api_url);
	free(c->token);
	free(c->token_path);
	free(c->id);
	free(c->name);
	free(c->dns_control);
	free(c->log_level);
	*c = (struct config){0};
}

void config_token_forget(void)
{
	char *value = getenv(token_variable);

	if (value == NULL)
		return;
	// unsetenv() only forgets the pointer; the text would stay readable in /proc/<pid>/environ.
	sodium_memzero(value, strlen(value));
	unsetenv(token_variable);
}

void config_help_print(const char *program)
{
	printf("usage: %s [flags]\n\nFlags win over environment variables.\n\n", program);
	for (size_t i = 0; i < N_OPTIONS; i++) {
		const struct option_row *o = &options[i];
		const char letter[] = {',', ' ', '-', o->letter, '\0'};
		const char *flag = o->flag != NULL ? o->flag : "";
		const char *variable = o->variable != NULL ? o->variable : "";

		printf("  %s%s%s%s\n\t%s\n",
		       flag,
		       o->letter != 0 ? letter : "",
		       *flag != '\0' && *variable != '\0' ? " / " : "",
		       variable,
		       o->help);
	}
}

static int duration_unit_parse(const char **text, uint64_t *ms)
{
	static const struct {
		const char *name;
		uint64_t ms;
	} units[] = {
		{"ms", 1},
		{"s", 1000},
		{"m", 60 * 1000},
		{"h", 3600 * 1000},
		{"d", 24 * 3600 * 1000},
	};

	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		size_t len = strlen(units[i].name);

		if (strncmp(*text, units[i].name, len) == 0
		    && !isalpha((unsigned char)(*text)[len])) {
			*text += len;
			*ms = units[i].ms;
			return 0;
		}
	}
	return -EINVAL;
}

int config_duration_parse(uint64_t *out_ms, const char *text)
{
	const uint64_t max_ms = 3650ull * 24 * 3600 * 1000;
	uint64_t total = 0;

	if (*text == '\0')
		return -EINVAL;
	while (*text != '\0') {
		uint64_t n = 0, unit;

		if (!isdigit((unsigned char)*text))
			return -EINVAL;
		for (; isdigit((unsigned char)*text); text++) {
			n = n * 10 + (uint64_t)(*text - '0');
			if (n > UINT32_MAX)
				return -ERANGE;
		}
		if (duration_unit_parse(&text, &unit) < 0)
			return -EINVAL;
		total += n * unit;
		if (total > max_ms)
			return -ERANGE;
		if (*text == ' ' && text[1] != '\0')
			text++;
	}
	*out_ms = total;
	return 0;
}
