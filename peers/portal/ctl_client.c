// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "control/base/alloc.h"
#include "peers/portal/ctl.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#define REPLY_TIMEOUT_S 10

static const char usage[] =
	"usage: sallyport-portal ctl [--socket PATH] <command>\n"
	"  status\n"
	"  grant <client> <resource> [--expires SECONDS] [--lifetime SECONDS]\n"
	"  revoke <client> <resource>\n"
	"  reject <client> <resource>\n"
	"  set-filters <resource> <filters>...   like: tcp:80,5000-5010 udp icmp, or: any\n"
	"  delete-token <gateway or client>\n"
	"  reload\n";

// Words into {"command":..,"args":[..],"options":{..}}; NULL when they make no sense.
static json_t *make_request(int argc, char **argv, const char **socket_path)
{
	json_t *args = json_array();
	json_t *options = json_object();
	const char *command = NULL;

	for (int i = 0; i < argc; i++) {
		const bool is_option = strncmp(argv[i], "--", 2) == 0;

		if (is_option && i + 1 == argc)
			goto err;
		if (is_option && strcmp(argv[i], "--socket") == 0)
			*socket_path = argv[++i];
		else if (
			is_option
			&& json_object_set_new(options, argv[i] + 2, json_string(argv[i + 1])) == 0)
			i++;
		else if (command == NULL)
			command = argv[i];
		else if (json_array_append_new(args, json_string(argv[i])) != 0)
			goto err;
	}
	if (command == NULL)
		goto err;
	return json_pack("{s:s, s:o, s:o}", "command", command, "args", args, "options", options);
err:
	json_decref(args);
	json_decref(options);
	return NULL;
}

static int dial(const char *path)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	const struct timeval timeout = {.tv_sec = REPLY_TIMEOUT_S};
	int fd;

	if (strlen(path) >= sizeof(sun.sun_path)) {
		errno = ENAMETOOLONG;
		return -1;
	}
	strcpy(sun.sun_path, path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -1;
	if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout)) != 0
	    || connect(fd, &sun, sizeof(sun)) != 0) {
		close(fd);
		return -1;
	}
	return fd;
}

static json_t *exchange(const char *path, json_t *request)
{
	char *text = alloc_check(json_dumps(request, JSON_COMPACT));
	char *line = alloc_format("%s\n", text);
	char *reply = NULL;
	size_t cap = 0;
	json_t *json = NULL;
	const int fd = dial(path);
	FILE *f = fd >= 0 ? fdopen(fd, "r") : NULL;

	if (f == NULL) {
		fprintf(stderr, "sallyport-portal: %s: %s\n", path, strerror(errno));
	} else if (send(fd, line, strlen(line), MSG_NOSIGNAL) != (ssize_t)strlen(line)) {
		fprintf(stderr, "sallyport-portal: %s: %s\n", path, strerror(errno));
	} else {
		if (getline(&reply, &cap, f) > 0)
			json = json_loads(reply, 0, NULL);
		if (json == NULL)
			fprintf(stderr, "sallyport-portal: %s: no answer\n", path);
	}
	if (f != NULL)
		fclose(f);
	free(reply);
	free(line);
	free(text);
	return json;
}

static int print_reply(const json_t *reply)
{
	const json_t *result = json_object_get(reply, "result");
	const char *error = json_string_value(json_object_get(reply, "error"));

	if (!json_is_true(json_object_get(reply, "ok"))) {
		fprintf(stderr, "sallyport-portal: %s\n", error != NULL ? error : "failed");
		return EXIT_FAILURE;
	}
	if (json_is_string(result))
		puts(json_string_value(result));
	else if (json_dumpf(result, stdout, JSON_INDENT(2)) == 0)
		putchar('\n');
	return EXIT_SUCCESS;
}

int ctl_client_run(int argc, char **argv)
{
	const char *path = CTL_SOCKET_DEFAULT;
	json_t *request = make_request(argc, argv, &path);
	json_t *reply;
	int status = EXIT_FAILURE;

	if (request == NULL) {
		fputs(usage, stderr);
		return 2;
	}
	reply = exchange(path, request);
	if (reply != NULL)
		status = print_reply(reply);
	json_decref(reply);
	json_decref(request);
	return status;
}
