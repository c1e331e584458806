// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "control/base/alloc.h"
#include "control/base/log.h"
#include "control/base/uv_cast.h"
#include "peers/portal/ctl.h"
#include "peers/portal/ctl_server.h"
#include "peers/portal/server.h"

#include <sodium.h>

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LOG_AREA "portal.main"

static const char usage[] =
	"usage: sallyport-portal [--log-level LEVEL] [--socket PATH] [--state FILE] POLICY.yaml\n"
	"       sallyport-portal check POLICY.yaml\n"
	"       sallyport-portal ctl [--socket PATH] <command> [argument]...\n"
	"LEVEL is err, warning, notice (default), info or debug.\n";

struct options {
	const char *policy;
	const char *socket;
	const char *state;
};

// Everything of a running portal.
struct program {
	uv_loop_t loop;
	uv_signal_t signals[3]; // SIGTERM, SIGINT, SIGHUP
	struct store *store;
	struct portal *portal;
	struct server *server;
	struct ctl ctl;
	struct ctl_server *ctl_server;
	bool is_stopping;
};

static struct policy *load(const char *path)
{
	char *error = NULL;
	struct policy *policy = policy_load(path, &error);

	if (policy == NULL)
		fprintf(stderr, "%s\n", error);
	free(error);
	return policy;
}

static int check(int argc, char **argv)
{
	struct policy *policy;

	if (argc != 1) {
		fputs(usage, stderr);
		return 2;
	}
	policy = load(argv[0]);
	if (policy == NULL)
		return EXIT_FAILURE;
	printf("%s: ok, %zu gateways, %zu clients, %zu resources, %zu policies\n",
	       argv[0],
	       policy->n_gateways,
	       policy->n_clients,
	       policy->n_resources,
	       policy->n_rules);
	policy_destroy(policy);
	return EXIT_SUCCESS;
}

static void after_command(void *arg)
{
	struct program *p = arg;

	server_pump(p->server);
}

static void on_stopped(void *arg)
{
	struct program *p = arg;

	for (size_t i = 0; i < 3; i++)
		uv_close(uv_cast_handle(&p->signals[i]), NULL);
	ctl_server_destroy(p->ctl_server);
	server_close(p->server);
}

static void on_signal(uv_signal_t *handle, int signal)
{
	struct program *p = handle->data;

	if (p->is_stopping)
		return;
	if (signal == SIGHUP) {
		// The outcome is in the log.
		free(ctl_reload(&p->ctl, server_now()));
		server_pump(p->server);
		return;
	}
	LOG(NOTICE, "stopping signal=%d", signal);
	p->is_stopping = true;
	server_stop(p->server, on_stopped, p);
}

static int start_listening(struct program *p, const struct options *o)
{
	const struct policy *policy = portal_policy(p->portal);
	const char *socket = o->socket != NULL ? o->socket : policy->control;

	p->server = server_create(&p->loop, p->portal);
	if (p->server == NULL) {
		LOG(ERR, "libwebsockets has no libuv event loop (libwebsockets-evlib-uv)");
		return -1;
	}
	for (size_t i = 0; i < policy->n_listen; i++) {
		if (server_listen(p->server, policy->listen[i]) != 0) {
			LOG(ERR, "cannot listen address=%s error=%m", policy->listen[i]);
			return -1;
		}
	}
	if (socket == NULL)
		socket = CTL_SOCKET_DEFAULT;
	p->ctl_server = ctl_server_create(&p->loop, socket, &p->ctl, after_command, p);
	if (p->ctl_server == NULL) {
		LOG(ERR, "cannot make the control socket path=%s error=%m", socket);
		return -1;
	}
	return 0;
}

static void start_signals(struct program *p)
{
	static const int numbers[3] = {SIGTERM, SIGINT, SIGHUP};

	for (size_t i = 0; i < 3; i++) {
		uv_signal_init(&p->loop, &p->signals[i]);
		p->signals[i].data = p;
		uv_signal_start(&p->signals[i], on_signal, numbers[i]);
	}
}

static int run(const struct options *o)
{
	struct program p = {};
	struct policy *policy = load(o->policy);
	char *state;
	char *error = NULL;
	int rc;

	if (policy == NULL)
		return EXIT_FAILURE;
	if (o->state != NULL || policy->state != NULL)
		state = alloc_text(o->state != NULL ? o->state : policy->state);
	else
		state = alloc_format("%s.state", o->policy);
	p.store = store_open(state, randombytes_buf, &error);
	free(state);
	if (p.store == NULL) {
		LOG(ERR, "%s", error);
		free(error);
		policy_destroy(policy);
		return EXIT_FAILURE;
	}
	p.portal = portal_create(policy, p.store, randombytes_buf, server_now());
	p.ctl = (struct ctl){.portal = p.portal, .policy_path = o->policy};
	uv_loop_init(&p.loop);
	start_signals(&p);
	rc = start_listening(&p, o);
	if (rc != 0)
		on_stopped(&p);
	else
		LOG(NOTICE, "portal is up account=%s", policy->account);
	uv_run(&p.loop, UV_RUN_DEFAULT);
	server_destroy(p.server);
	uv_loop_close(&p.loop);
	portal_destroy(p.portal);
	store_close(p.store);
	return rc == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"help", no_argument, NULL, 'h'},
		{"log-level", required_argument, NULL, 'l'},
		{"socket", required_argument, NULL, 's'},
		{"state", required_argument, NULL, 't'},
		{},
	};
	struct options o = {};
	int c;

	if (sodium_init() < 0) {
		fputs("sallyport-portal: libsodium does not start\n", stderr);
		return EXIT_FAILURE;
	}
	if (argc > 1 && strcmp(argv[1], "ctl") == 0)
		return ctl_client_run(argc - 2, argv + 2);
	if (argc > 1 && strcmp(argv[1], "check") == 0)
		return check(argc - 2, argv + 2);
	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c == 's') {
			o.socket = optarg;
		} else if (c == 't') {
			o.state = optarg;
		} else if (c == 'l' && log_level_set(optarg) == 0) {
			continue;
		} else if (c == 'h') {
			fputs(usage, stdout);
			return EXIT_SUCCESS;
		} else {
			fputs(usage, stderr);
			return 2;
		}
	}
	if (optind != argc - 1) {
		fputs(usage, stderr);
		return 2;
	}
	o.policy = argv[optind];
	return run(&o);
}
