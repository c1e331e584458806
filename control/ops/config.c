// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "control/ops/config.h"

#include "control/base/conf.h"
#include "control/base/err.h"
#include "control/ops/config_peers.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define COUNT_OF(table) (sizeof(table) / sizeof((table)[0]))
#define FILE_SIZE_MAX (64 << 20) // of 65,536 static peers
#define DEFAULT_API_URL "wss://api.firezone.dev"

static const struct config defaults = {
	.control_core = 0,
	.worker_cores = {1},
	.n_workers = 1,
	.is_idle_sleep = false,
	.has_hugepages = true,
	.memory_mb = 1024,
	.file_prefix = "sallyport",
	.tun = "tun-firezone",
	.resolv_conf = "/etc/resolv.conf",
	.udp_port = 52625,
	.nat_port_first = 1024,
	.nat_port_last = 32767,
	.max_clients = 10000,
	.max_flows = 1 << 20,
	.n_mbufs = 32768,
	.icmp_errors_per_second = 1000,
};

static void copy_text(struct conf *s, const struct conf_node *node, char *out, size_t size)
{
	snprintf(out, size, "%s", conf_text(s, node, size - 1));
}

static bool parse_bool(struct conf *s, const struct conf_node *node)
{
	const char *text = conf_text(s, node, 8);

	if (strcmp(text, "true") != 0 && strcmp(text, "false") != 0)
		conf_fail(s, node, "expected true or false");
	return strcmp(text, "true") == 0;
}

// Interface names as the kernel takes them.
static void parse_ifname(struct conf *s, const struct conf_node *node, char *out)
{
	copy_text(s, node, out, CONFIG_NAME_SIZE);
	for (const char *p = out; *p != '\0'; p++) {
		if (!isalnum((unsigned char)*p) && strchr("-_.", *p) == NULL)
			conf_fail(s, node, "\"%s\" is not an interface name", out);
	}
}

static void parse_route_to(struct conf *s, const struct conf_node *node, void *out)
{
	struct config_route *route = out;
	const char *text = conf_text(s, node, IP_TEXT_SIZE);

	if (conf_error(s) == NULL && ip_prefix_parse(&route->to, text) < 0)
		conf_fail(
			s, node, "\"%s\" is not a network (address/length, host bits zero)", text);
}

static void parse_route_via(struct conf *s, const struct conf_node *node, void *out)
{
	struct config_route *route = out;
	const char *text = conf_text(s, node, IP_TEXT_SIZE);

	if (conf_error(s) == NULL && ip_addr_parse(&route->via, text) < 0)
		conf_fail(s, node, "\"%s\" is not an address", text);
}

static void parse_route(struct conf *s, const struct conf_node *node, void *out)
{
	static const struct conf_field fields[] = {
		{"to", parse_route_to, true},
		{"via", parse_route_via, true},
	};
	struct config_port *port = out;
	struct config_route *route;

	if (port->n_routes == CONFIG_ROUTES_MAX) {
		conf_fail(s, node, "more than %d routes", CONFIG_ROUTES_MAX);
		return;
	}
	route = &port->routes[port->n_routes++];
	conf_map(s, node, fields, COUNT_OF(fields), route);
	if (conf_error(s) == NULL && route->to.addr.family != route->via.family)
		conf_fail(s, node, "\"to\" and \"via\" are of different families");
}

static void parse_address(struct conf *s, const struct conf_node *node, void *out)
{
	struct config_port *port = out;
	const char *text = conf_text(s, node, IP_TEXT_SIZE);
	const char *slash = strchr(text, '/');
	struct config_addr *addr;
	struct ip_prefix prefix;
	char head[IP_TEXT_SIZE];
	char network[IP_TEXT_SIZE];

	if (conf_error(s) != NULL)
		return;
	if (port->n_addrs == CONFIG_ADDRS_MAX) {
		conf_fail(s, node, "more than %d addresses", CONFIG_ADDRS_MAX);
		return;
	}
	addr = &port->addrs[port->n_addrs];
	snprintf(head, sizeof(head), "%.*s", (int)(slash != NULL ? slash - text : 0), text);
	// The length is checked by parsing the network of all zeros with it.
	if (slash == NULL || ip_addr_parse(&addr->addr, head) < 0
	    || snprintf(
		       network,
		       sizeof(network),
		       "%s%s",
		       addr->addr.family == IP_FAMILY_V4 ? "0.0.0.0" : "::",
		       slash)
		    >= (int)sizeof(network)
	    || ip_prefix_parse(&prefix, network) < 0) {
		conf_fail(s, node, "\"%s\" is not an address with a length (192.0.2.1/24)", text);
		return;
	}
	addr->prefix_len = prefix.len;
	port->n_addrs++;
}

static void parse_addresses(struct conf *s, const struct conf_node *node, void *out)
{
	conf_list(s, node, parse_address, out);
}

static void parse_nat_address(struct conf *s, const struct conf_node *node, void *out)
{
	struct config_port *port = out;
	const char *text = conf_text(s, node, IP_TEXT_SIZE);
	struct ip_addr addr;

	if (conf_error(s) != NULL)
		return;
	if (ip_addr_parse(&addr, text) < 0) {
		conf_fail(s, node, "\"%s\" is not an address", text);
		return;
	}
	if (port->n_nat_addrs == CONFIG_NAT_ADDRS_MAX) {
		conf_fail(s, node, "more than %d addresses", CONFIG_NAT_ADDRS_MAX);
		return;
	}
	for (size_t i = 0; i < port->n_nat_addrs; i++) {
		if (ip_addr_eq(&port->nat_addrs[i], &addr))
			conf_fail(s, node, "\"%s\" stands here twice", text);
	}
	port->nat_addrs[port->n_nat_addrs++] = addr;
}

static void parse_nat_addresses(struct conf *s, const struct conf_node *node, void *out)
{
	conf_list(s, node, parse_nat_address, out);
}

static void parse_routes(struct conf *s, const struct conf_node *node, void *out)
{
	conf_list(s, node, parse_route, out);
}

static void parse_port_name(struct conf *s, const struct conf_node *node, void *out)
{
	struct config_port *port = out;

	parse_ifname(s, node, port->name);
}

static void parse_role(struct conf *s, const struct conf_node *node, void *out)
{
	struct config_port *port = out;
	const char *text = conf_text(s, node, 8);

	if (strcmp(text, "wan") == 0)
		port->role = CONFIG_ROLE_WAN;
	else if (strcmp(text, "lan") == 0)
		port->role = CONFIG_ROLE_LAN;
	else
		conf_fail(s, node, "expected wan or lan");
}

static void parse_device(struct conf *s, const struct conf_node *node, void *out)
{
	struct config_port *port = out;

	copy_text(s, node, port->device, sizeof(port->device));
}

static void parse_port(struct conf *s, const struct conf_node *node, void *out)
{
	static const struct conf_field fields[] = {
		{"name", parse_port_name, true},
		{"role", parse_role, true},
		{"device", parse_device, true},
		{"addresses", parse_addresses, false},
		{"nat_addresses", parse_nat_addresses, false},
		{"routes", parse_routes, false},
	};
	struct config *config = out;
	struct config_port *port;

	if (config->n_ports == CONFIG_PORTS_MAX) {
		conf_fail(s, node, "more than %d ports", CONFIG_PORTS_MAX);
		return;
	}
	port = &config->ports[config->n_ports];
	conf_map(s, node, fields, COUNT_OF(fields), port);
	if (port->n_nat_addrs > 0 && port->role != CONFIG_ROLE_LAN)
		conf_fail(s, node, "nat_addresses are for ports with the role lan");
	for (size_t i = 0; i < config->n_ports; i++) {
		if (strcmp(config->ports[i].name, port->name) == 0)
			conf_fail(s, node, "two ports are named \"%s\"", port->name);
		if (strcmp(config->ports[i].device, port->device) == 0)
			conf_fail(s, node, "two ports use \"%s\"", port->device);
	}
	config->n_ports++;
}

static void parse_ports(struct conf *s, const struct conf_node *node, void *out)
{
	struct config *config = out;
	bool has_wan = false;

	conf_list(s, node, parse_port, config);
	for (size_t i = 0; i < config->n_ports; i++)
		has_wan = has_wan || config->ports[i].role == CONFIG_ROLE_WAN;
	if (!has_wan)
		conf_fail(s, node, "no port has the role wan");
}

static void parse_control_core(struct conf *s, const struct conf_node *node, void *out)
{
	struct config *config = out;

	config->control_core = (unsigned)conf_number(s, node, 0, 1023);
}

static void parse_worker_core(struct conf *s, const struct conf_node *node, void *out)
{
	struct config *config = out;

	if (config->n_workers == CONFIG_WORKERS_MAX) {
		conf_fail(s, node, "at most %d workers", CONFIG_WORKERS_MAX);
		return;
	}
	config->worker_cores[config->n_workers++] = (unsigned)conf_number(s, node, 0, 1023);
}

static void parse_worker_cores(struct conf *s, const struct conf_node *node, void *out)
{
	conf_list(s, node, parse_worker_core, out);
}

static void parse_shared_cores(struct conf *s, const struct conf_node *node, void *out)
{
	struct config *config = out;

	config->has_shared_cores = parse_bool(s, node);
}

static bool cores_are_distinct(const struct config *config)
{
	for (size_t i = 0; i < config->n_workers; i++) {
		if (config->worker_cores[i] == config->control_core)
			return false;
		for (size_t j = 0; j < i; j++)
			if (config->worker_cores[i] == config->worker_cores[j])
				return false;
	}
	return true;
}

static void parse_cores(struct conf *s, const struct conf_node *node, void *out)
{
	static const struct conf_field fields[] = {
		{"control", parse_control_core, true},
		{"worker", parse_worker_core, false},
		{"workers", parse_worker_cores, false},
		{"shared", parse_shared_cores, false},
	};
	struct config *config = out;

	config->n_workers = 0;
	conf_map(s, node, fields, COUNT_OF(fields), config);
	if (config->n_workers == 0)
		conf_fail(s, node, "workers: [CORE, ...] is missing");
	if (!config->has_shared_cores && !cores_are_distinct(config))
		conf_fail(
			s,
			node,
			"control and workers need different cores; a lab may say shared: true");
}

static void parse_idle(struct conf *s, const struct conf_node *node, void *out)
{
	struct config *config = out;
	const char *text = conf_text(s, node, 8);

	if (strcmp(text, "sleep") != 0 && strcmp(text, "busy") != 0)
		conf_fail(s, node, "expected sleep or busy");
	config->is_idle_sleep = strcmp(text, "sleep") == 0;
}

static void parse_hugepages(struct conf *s, const struct conf_node *node, void *out)
{
	struct config *config = out;

	config->has_hugepages = parse_bool(s, node);
}

static void parse_nat_ports(struct conf *s, const struct conf_node *node, void *out)
{
	struct config *config = out;
	const char *text = conf_text(s, node, 16);
	unsigned first, last;
	char rest;

	if (sscanf(text, "%5u-%5u%c", &first, &last, &rest) != 2 || first == 0 || last > 65535
	    || first > last) {
		conf_fail(s, node, "expected a range of ports such as 1024-32767");
		return;
	}
	config->nat_port_first = (uint16_t)first;
	config->nat_port_last = (uint16_t)last;
}

static void parse_private_key_file(struct conf *s, const struct conf_node *node, void *out)
{
	struct config *config = out;

	copy_text(s, node, config->private_key_file, sizeof(config->private_key_file));
}

static void parse_tun(struct conf *s, const struct conf_node *node, void *out)
{
	struct config *config = out;

	parse_ifname(s, node, config->tun);
}

static void parse_file_prefix(struct conf *s, const struct conf_node *node, void *out)
{
	struct config *config = out;

	copy_text(s, node, config->file_prefix, sizeof(config->file_prefix));
	if (strchr(config->file_prefix, '/') != NULL)
		conf_fail(s, node, "must not contain a slash");
}

static void parse_ca_file(struct conf *s, const struct conf_node *node, void *out)
{
	struct config *config = out;

	copy_text(s, node, config->ca_file, sizeof(config->ca_file));
}

static void parse_resolv_conf(struct conf *s, const struct conf_node *node, void *out)
{
	struct config *config = out;

	copy_text(s, node, config->resolv_conf, sizeof(config->resolv_conf));
	if (config->resolv_conf[0] != '/')
		conf_fail(s, node, "expected an absolute path");
}

static void parse_names(struct conf *s, const struct conf_node *node, void *out)
{
	static const struct conf_field fields[] = {
		{"resolv_conf", parse_resolv_conf, false},
	};

	conf_map(s, node, fields, COUNT_OF(fields), out);
}

#define NUMBER_FIELD(name, min, max)                                                               \
	static void parse_##name(struct conf *s, const struct conf_node *node, void *out)          \
	{                                                                                          \
		struct config *config = out;                                                       \
                                                                                                   \
		config->name = (typeof(config->name))conf_number(s, node, min, max);               \
	}

NUMBER_FIELD(memory_mb, 64, 1 << 20)
NUMBER_FIELD(udp_port, 1, 65535)
NUMBER_FIELD(max_clients, 1, 1 << 24)
NUMBER_FIELD(max_flows, 1024, 1 << 27)
NUMBER_FIELD(n_mbufs, 1024, 1 << 24)
NUMBER_FIELD(icmp_errors_per_second, 1, 1000000)

static void parse_root(struct conf *s, struct config *config)
{
	static const struct conf_field fields[] = {
		{"ports", parse_ports, true},
		{"cores", parse_cores, false},
		{"idle", parse_idle, false},
		{"hugepages", parse_hugepages, false},
		{"memory_mb", parse_memory_mb, false},
		{"mbufs", parse_n_mbufs, false},
		{"max_clients", parse_max_clients, false},
		{"max_flows", parse_max_flows, false},
		{"icmp_errors_per_second", parse_icmp_errors_per_second, false},
		{"udp_port", parse_udp_port, false},
		{"nat_ports", parse_nat_ports, false},
		{"tun", parse_tun, false},
		{"ca_file", parse_ca_file, false},
		{"names", parse_names, false},
		{"file_prefix", parse_file_prefix, false},
		{"private_key_file", parse_private_key_file, false},
		{"tunnel_addresses", config_tunnel_parse, false},
		{"peers", config_peers_parse, false},
	};

	conf_map(s, conf_root(s), fields, COUNT_OF(fields), config);
	if (config->udp_port >= config->nat_port_first && config->udp_port <= config->nat_port_last)
		conf_fail(s, NULL, "udp_port lies within nat_ports");
}

struct config *
config_parse(const char *file, const char *text, size_t size, char error[CONFIG_ERROR_SIZE])
{
	struct config *config = malloc(sizeof(*config));
	struct conf *s;

	if (config == NULL)
		return err_set_null(ENOMEM);
	*config = defaults;
	s = conf_create(file, text, size);
	parse_root(s, config);
	if (conf_error(s) != NULL) {
		snprintf(error, CONFIG_ERROR_SIZE, "%s", conf_error(s));
		conf_destroy(s);
		config_destroy(config);
		return err_set_null(EINVAL);
	}
	conf_destroy(s);
	return config;
}

// The whole file with a NUL behind it. @return owned, or NULL with errno
static char *file_read(const char *path, size_t max, size_t *size)
{
	FILE *f = fopen(path, "re");
	char *text;
	int err = 0;

	if (f == NULL)
		return NULL;
	text = malloc(max + 1);
	if (text != NULL) {
		*size = fread(text, 1, max, f);
		text[*size] = '\0';
		if (ferror(f) || !feof(f))
			err = ferror(f) ? EIO : EFBIG;
	} else {
		err = ENOMEM;
	}
	fclose(f);
	if (err != 0) {
		free(text);
		return err_set_null(err);
	}
	return text;
}

static int
set_env(char *out, size_t size, const char *name, const char *value, char error[CONFIG_ERROR_SIZE])
{
	if (value == NULL)
		value = "";
	if ((size_t)snprintf(out, size, "%s", value) >= size) {
		snprintf(error, CONFIG_ERROR_SIZE, "%s: longer than %zu bytes", name, size - 1);
		return err_set(EINVAL);
	}
	return 0;
}

// The token: FIREZONE_TOKEN, or the file that it names, or systemd's credential of that name.
static int token_load(
	struct config *config,
	const char *(*getenv_fn)(const char *name),
	char error[CONFIG_ERROR_SIZE])
{
	const char *value = getenv_fn("FIREZONE_TOKEN");
	const char *dir = getenv_fn("CREDENTIALS_DIRECTORY");
	char path[CONFIG_TEXT_SIZE] = "";
	char *text = NULL;
	size_t size = 0;
	int rc;

	if (value != NULL && value[0] == '/')
		snprintf(path, sizeof(path), "%s", value);
	else if ((value == NULL || value[0] == '\0') && dir != NULL)
		snprintf(path, sizeof(path), "%s/FIREZONE_TOKEN", dir);
	if (path[0] != '\0') {
		text = file_read(path, CONFIG_TOKEN_SIZE, &size);
		if (text == NULL) {
			int err = errno;

			snprintf(error, CONFIG_ERROR_SIZE, "%s: %s", path, strerror(err));
			return err_set(err);
		}
		value = text;
	}
	if (value != NULL)
		value += strspn(value, " \t\r\n");
	rc = set_env(config->token, sizeof(config->token), "FIREZONE_TOKEN", value, error);
	if (text != NULL)
		explicit_bzero(text, size);
	free(text);
	if (rc < 0)
		return rc;
	config->token[strcspn(config->token, "\r\n")] = '\0';
	if (config->token[0] == '\0' && config->n_peers == 0) {
		snprintf(
			error,
			CONFIG_ERROR_SIZE,
			"no token: set FIREZONE_TOKEN (or the systemd credential of that name), or "
			"configure peers");
		return err_set(EINVAL);
	}
	return 0;
}

static int environment_load(
	struct config *config,
	const char *(*getenv_fn)(const char *name),
	char error[CONFIG_ERROR_SIZE])
{
	const char *url = getenv_fn("FIREZONE_API_URL");
	const char *name = getenv_fn("FIREZONE_NAME");
	const char *id = getenv_fn("FIREZONE_ID");
	char host[CONFIG_TEXT_SIZE] = "";
	int rc;

	if (url == NULL || url[0] == '\0')
		url = DEFAULT_API_URL;
	if (name == NULL || name[0] == '\0') {
		if (gethostname(host, sizeof(host) - 1) < 0 || host[0] == '\0')
			snprintf(host, sizeof(host), "gateway");
		name = host;
	}
	rc = set_env(config->api_url, sizeof(config->api_url), "FIREZONE_API_URL", url, error);
	if (rc == 0)
		rc = set_env(config->name, sizeof(config->name), "FIREZONE_NAME", name, error);
	if (rc == 0)
		rc = set_env(config->id, sizeof(config->id), "FIREZONE_ID", id, error);
	return rc < 0 ? rc : token_load(config, getenv_fn, error);
}

static int private_key_load(struct config *config, char error[CONFIG_ERROR_SIZE])
{
	const char *path = config->private_key_file;
	size_t size = 0;
	char *text;
	int rc = 0;

	if (path[0] == '\0')
		return 0;
	text = file_read(path, CONFIG_TEXT_SIZE, &size);
	if (text == NULL) {
		int err = errno;

		snprintf(error, CONFIG_ERROR_SIZE, "private_key_file: %s: %s", path, strerror(err));
		return err_set(err);
	}
	text[strcspn(text, "\r\n")] = '\0';
	if (!config_key_parse(config->private_key, text)) {
		snprintf(
			error,
			CONFIG_ERROR_SIZE,
			"private_key_file: %s: expected a key as wg genkey writes it",
			path);
		rc = err_set(EINVAL);
	}
	explicit_bzero(text, size);
	free(text);
	return rc;
}

struct config *config_load(
	const char *path,
	const char *(*getenv_fn)(const char *name),
	char error[CONFIG_ERROR_SIZE])
{
	struct config *config;
	size_t size;
	char *text;

	text = file_read(path, FILE_SIZE_MAX, &size);
	if (text == NULL) {
		int err = errno;

		snprintf(error, CONFIG_ERROR_SIZE, "%s: %s", path, strerror(err));
		return err_set_null(err);
	}
	config = config_parse(path, text, size, error);
	free(text);
	if (config == NULL)
		return NULL;
	if (private_key_load(config, error) < 0 || environment_load(config, getenv_fn, error) < 0) {
		int err = errno;

		config_destroy(config);
		return err_set_null(err);
	}
	return config;
}

void config_destroy(struct config *config)
{
	if (config == NULL)
		return;
	config_peers_free(config);
	explicit_bzero(config, sizeof(*config));
	free(config);
}

bool config_device_is_vdev(const char *device)
{
	// PCI: dddd:bb:dd.f or bb:dd.f
	return strchr(device, ':') == NULL || strchr(device, ',') != NULL
		|| !isxdigit((unsigned char)device[0]);
}
