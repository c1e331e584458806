// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "peers/portal/ctl_server.h"

#include "control/base/alloc.h"
#include "control/base/err.h"
#include "control/base/log.h"
#include "control/base/uv_cast.h"
#include "peers/portal/server.h"

#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define LOG_AREA "portal.ctl"
#define READ_SIZE 4096

struct connection {
	uv_pipe_t pipe;
	LIST_ENTRY(connection) link;
	struct ctl_server *server;
	char chunk[READ_SIZE];
	char *line;
	size_t line_size;
};

struct ctl_server {
	uv_pipe_t pipe;
	struct ctl *ctl;
	void (*after)(void *);
	void *arg;
	char *path;
	LIST_HEAD(, connection) connections;
};

struct reply {
	uv_write_t write;
	char *text;
};

static void on_connection_closed(uv_handle_t *handle)
{
	struct connection *c = handle->data;

	free(c->line);
	free(c);
}

static void connection_close(struct connection *c)
{
	if (uv_is_closing(uv_cast_handle(&c->pipe)))
		return;
	LIST_REMOVE(c, link);
	uv_close(uv_cast_handle(&c->pipe), on_connection_closed);
}

static void on_written(uv_write_t *write, int)
{
	struct reply *r = write->data;

	free(r->text);
	free(r);
}

static void handle_line(struct connection *c, size_t size)
{
	struct reply *r = alloc_zero(1, sizeof(*r));
	uv_buf_t buf;

	r->text = ctl_handle(c->server->ctl, c->line, size, server_now());
	r->write.data = r;
	buf = uv_buf_init(r->text, (unsigned)strlen(r->text));
	if (uv_write(&r->write, uv_cast_stream(&c->pipe), &buf, 1, on_written) != 0)
		on_written(&r->write, 0);
	c->server->after(c->server->arg);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
	struct connection *c = stream->data;
	char *newline;

	if (n < 0 || c->line_size + (size_t)n > CTL_LINE_SIZE_MAX) {
		connection_close(c);
		return;
	}
	c->line = alloc_resize(c->line, c->line_size + (size_t)n, 1);
	memcpy(c->line + c->line_size, buf->base, (size_t)n);
	c->line_size += (size_t)n;
	while ((newline = memchr(c->line, '\n', c->line_size)) != NULL) {
		const size_t size = (size_t)(newline - c->line);

		handle_line(c, size);
		c->line_size -= size + 1;
		memmove(c->line, newline + 1, c->line_size);
	}
}

static void on_alloc(uv_handle_t *handle, size_t, uv_buf_t *buf)
{
	struct connection *c = handle->data;

	*buf = uv_buf_init(c->chunk, sizeof(c->chunk));
}

static void on_connect(uv_stream_t *stream, int status)
{
	struct ctl_server *s = stream->data;
	struct connection *c;

	if (status != 0)
		return;
	c = alloc_zero(1, sizeof(*c));
	c->server = s;
	c->pipe.data = c;
	uv_pipe_init(stream->loop, &c->pipe, 0);
	LIST_INSERT_HEAD(&s->connections, c, link);
	if (uv_accept(stream, uv_cast_stream(&c->pipe)) != 0
	    || uv_read_start(uv_cast_stream(&c->pipe), on_alloc, on_read) != 0)
		connection_close(c);
}

// A socket file left by a portal that died is in the way of the next bind.
static int remove_stale(const char *path)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	struct stat st;
	int fd;
	int rc;

	if (strlen(path) >= sizeof(sun.sun_path))
		return err_set(ENAMETOOLONG);
	if (lstat(path, &st) != 0)
		return 0;
	if (!S_ISSOCK(st.st_mode))
		return err_set(EEXIST);
	strcpy(sun.sun_path, path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	rc = connect(fd, &sun, sizeof(sun));
	close(fd);
	if (rc == 0)
		return err_set(EADDRINUSE);
	return unlink(path) != 0 ? -errno : 0;
}

static void on_server_closed(uv_handle_t *handle)
{
	struct ctl_server *s = handle->data;

	free(s->path);
	free(s);
}

struct ctl_server *ctl_server_create(
	uv_loop_t *loop,
	const char *path,
	struct ctl *ctl,
	void (*after)(void *),
	void *arg)
{
	struct ctl_server *s;
	mode_t mask;
	int rc = remove_stale(path);

	if (rc != 0)
		return err_set_null(-rc);
	s = alloc_zero(1, sizeof(*s));
	s->ctl = ctl;
	s->after = after;
	s->arg = arg;
	s->path = alloc_text(path);
	s->pipe.data = s;
	LIST_INIT(&s->connections);
	uv_pipe_init(loop, &s->pipe, 0);
	mask = umask(0177);
	rc = uv_pipe_bind(&s->pipe, path);
	umask(mask);
	if (rc == 0)
		rc = uv_listen(uv_cast_stream(&s->pipe), 16, on_connect);
	if (rc != 0) {
		uv_close(uv_cast_handle(&s->pipe), on_server_closed);
		return err_set_null(-rc);
	}
	LOG(NOTICE, "control socket path=%s", path);
	return s;
}

void ctl_server_destroy(struct ctl_server *s)
{
	struct connection *c;

	if (s == NULL)
		return;
	while ((c = LIST_FIRST(&s->connections)) != NULL)
		connection_close(c);
	// libuv removes the file of a pipe that it bound.
	uv_close(uv_cast_handle(&s->pipe), on_server_closed);
}
