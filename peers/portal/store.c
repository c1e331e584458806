// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "peers/portal/store.h"

#include "control/base/addr.h"
#include "control/base/alloc.h"
#include "control/base/err.h"
#include "control/base/log.h"

#include <jansson.h>
#include <sodium.h>

#include <fcntl.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOG_AREA "portal.store"

// Both pools have 21 host bits.
#define POOL_SIZE (1U << 21)
#define POOL_WORDS (POOL_SIZE / 64)
/** Lines about authorizations that are no more: so many, and as many as are needed, may stay. */
#define STALE_LINES_MAX 1000
#define KEY_TEXT_SIZE sodium_base64_ENCODED_LEN(STORE_SECRET_SIZE, sodium_base64_VARIANT_ORIGINAL)

static const uint8_t pool_v4[4] = {100, 64};
static const uint8_t pool_v6[16] = {0xfd, 0x00, 0x20, 0x21, 0x11, 0x11};

struct store {
	int fd; // -1: memory only
	char *path;
	random_fn random;
	void *by_id; // tsearch tree of struct store_device
	uint64_t used_v4[POOL_WORDS];
	uint64_t used_v6[POOL_WORDS];
	uint8_t secret[STORE_SECRET_SIZE];
	bool has_secret;
	struct grants grants;
	size_t n_grant_lines; // in the file
};

static int compare(const void *a, const void *b)
{
	const struct store_device *x = a;
	const struct store_device *y = b;

	return strcmp(x->id.text, y->id.text);
}

static bool is_used(const uint64_t *pool, uint32_t host)
{
	return (pool[host / 64] >> (host % 64) & 1) != 0;
}

static void set_used(uint64_t *pool, uint32_t host)
{
	pool[host / 64] |= UINT64_C(1) << (host % 64);
}

static uint32_t host_of(const uint8_t *bytes, size_t size)
{
	return ((uint32_t)bytes[size - 3] & 0x1f) << 16 | (uint32_t)bytes[size - 2] << 8
		| bytes[size - 1];
}

static struct ip_addr addr_of(bool is_v6, uint32_t host)
{
	uint8_t b[16];
	const size_t size = is_v6 ? 16 : 4;

	memcpy(b, is_v6 ? pool_v6 : pool_v4, size);
	b[size - 3] |= (uint8_t)(host >> 16);
	b[size - 2] |= (uint8_t)(host >> 8);
	b[size - 1] |= (uint8_t)host;
	return is_v6 ? ip_addr_v6(b) : ip_addr_v4(b);
}

// Random start, then the next free one. The first and last address of a pool stay unused.
static int allocate(struct store *s, bool is_v6, struct ip_addr *out)
{
	uint64_t *pool = is_v6 ? s->used_v6 : s->used_v4;
	uint32_t start;

	s->random(&start, sizeof(start));
	for (uint32_t i = 0; i < POOL_SIZE; i++) {
		const uint32_t host = (start + i) % POOL_SIZE;

		if (host == 0 || host == POOL_SIZE - 1 || is_used(pool, host))
			continue;
		set_used(pool, host);
		*out = addr_of(is_v6, host);
		return 0;
	}
	return err_set(ENOSPC);
}

// Takes an address read from the file. false: not ours or taken twice.
static bool claim(struct store *s, const char *text, bool is_v6)
{
	uint64_t *pool = is_v6 ? s->used_v6 : s->used_v4;
	struct ip_addr addr;
	struct ip_addr same;
	uint32_t host;

	if (ip_addr_parse(&addr, text) != 0)
		return false;
	host = host_of(addr.bytes, is_v6 ? 16 : 4);
	same = addr_of(is_v6, host);
	if (!ip_addr_eq(&addr, &same) || is_used(pool, host))
		return false;
	set_used(pool, host);
	return true;
}

static bool read_key(uint8_t out[STORE_SECRET_SIZE], const char *text)
{
	size_t size;

	return text != NULL
		&& sodium_base642bin(
			   out,
			   STORE_SECRET_SIZE,
			   text,
			   strlen(text),
			   NULL,
			   &size,
			   NULL,
			   sodium_base64_VARIANT_ORIGINAL)
		== 0
		&& size == STORE_SECRET_SIZE;
}

static bool add_device(struct store *s, const json_t *line)
{
	struct store_device *d = alloc_zero(1, sizeof(*d));
	const char *id = json_string_value(json_object_get(line, "id"));
	const char *external_id = json_string_value(json_object_get(line, "external_id"));
	const char *ipv4 = json_string_value(json_object_get(line, "ipv4"));
	const char *ipv6 = json_string_value(json_object_get(line, "ipv6"));
	const char *psk_base = json_string_value(json_object_get(line, "psk_base"));

	if (id == NULL || external_id == NULL || ipv4 == NULL || ipv6 == NULL
	    || ident_parse(&d->id, id) != 0 || !claim(s, ipv4, false) || !claim(s, ipv6, true)
	    || !read_key(d->psk_base, psk_base) || tfind(d, &s->by_id, compare) != NULL) {
		sodium_memzero(d, sizeof(*d));
		free(d);
		return false;
	}
	d->external_id = alloc_text(external_id);
	snprintf(d->ipv4, sizeof(d->ipv4), "%s", ipv4);
	snprintf(d->ipv6, sizeof(d->ipv6), "%s", ipv6);
	alloc_check(tsearch(d, &s->by_id, compare));
	return true;
}

static bool add_line(struct store *s, const char *text, size_t size)
{
	json_t *line = json_loadb(text, size, 0, NULL);
	const char *secret = json_string_value(json_object_get(line, "secret"));
	bool is_ok;

	if (secret != NULL) {
		is_ok = s->has_secret = read_key(s->secret, secret);
	} else if (json_object_get(line, "id") != NULL) {
		is_ok = add_device(s, line);
	} else {
		is_ok = grants_apply(&s->grants, line);
		s->n_grant_lines++;
	}
	json_decref(line);
	return is_ok;
}

// Reads whole lines; what follows the last newline is cut off.
static char *load(struct store *s, const char *path)
{
	FILE *f = fdopen(dup(s->fd), "r");
	char *line = NULL;
	char *error = NULL;
	size_t cap = 0;
	off_t good = 0;
	ssize_t n;

	if (f == NULL)
		return alloc_format("%s: %m", path);
	for (size_t number = 1; error == NULL && (n = getline(&line, &cap, f)) > 0; number++) {
		if (line[n - 1] != '\n') {
			LOG(WARNING, "dropping an unfinished line path=%s line=%zu", path, number);
			if (ftruncate(s->fd, good) != 0)
				error = alloc_format("%s: %m", path);
			break;
		}
		good += n;
		if (!add_line(s, line, (size_t)n))
			error = alloc_format("%s:%zu: not a device of this portal", path, number);
	}
	if (line != NULL)
		sodium_memzero(line, cap);
	free(line);
	fclose(f);
	return error;
}

// Takes the line. @return 0, -errno
static int line_write(int fd, json_t *line)
{
	char *text = alloc_check(json_dumps(line, JSON_COMPACT));
	char *full = alloc_format("%s\n", text);
	const size_t size = strlen(full);
	const ssize_t n = write(fd, full, size);
	int rc = 0;

	if (n != (ssize_t)size)
		rc = n < 0 ? -errno : -ENOSPC;
	sodium_memzero(text, strlen(text));
	sodium_memzero(full, size);
	free(text);
	free(full);
	json_decref(line);
	return rc;
}

// Takes the line. What could not be written whole is taken back.
static int append(struct store *s, json_t *line, bool is_synced)
{
	off_t end;
	int rc;

	if (s->fd < 0) {
		json_decref(line);
		return 0;
	}
	end = lseek(s->fd, 0, SEEK_END);
	rc = line_write(s->fd, line);
	if (rc == 0 && is_synced && fdatasync(s->fd) != 0)
		rc = -errno;
	if (rc != 0 && (end < 0 || ftruncate(s->fd, end) != 0))
		LOG(ERR, "a broken line stays in the state file");
	return rc;
}

static char *key_text(char out[KEY_TEXT_SIZE], const uint8_t key[STORE_SECRET_SIZE])
{
	return sodium_bin2base64(
		out, KEY_TEXT_SIZE, key, STORE_SECRET_SIZE, sodium_base64_VARIANT_ORIGINAL);
}

static json_t *secret_line(const struct store *s)
{
	char text[KEY_TEXT_SIZE];
	json_t *line = json_pack("{s:s}", "secret", key_text(text, s->secret));

	sodium_memzero(text, sizeof(text));
	return alloc_check(line);
}

static int make_secret(struct store *s)
{
	s->random(s->secret, sizeof(s->secret));
	s->has_secret = true;
	return append(s, secret_line(s), true);
}

struct store *store_open(const char *path, random_fn random, char **error)
{
	struct store *s = alloc_zero(1, sizeof(*s));

	s->random = random;
	s->fd = -1;
	*error = NULL;
	if (path != NULL) {
		s->path = alloc_text(path);
		s->fd = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
		if (s->fd < 0 || fchmod(s->fd, 0600) != 0)
			*error = alloc_format("%s: %m", path);
		else
			*error = load(s, path);
	}
	if (*error == NULL && !s->has_secret && make_secret(s) != 0)
		*error = alloc_format("%s: %m", path);
	if (*error != NULL) {
		store_close(s);
		return NULL;
	}
	return s;
}

static void device_free(void *p)
{
	struct store_device *d = p;

	free(d->external_id);
	sodium_memzero(d, sizeof(*d));
	free(d);
}

void store_close(struct store *s)
{
	if (s == NULL)
		return;
	if (s->fd >= 0)
		close(s->fd);
	tdestroy(s->by_id, device_free);
	grants_fini(&s->grants);
	free(s->path);
	sodium_memzero(s, sizeof(*s));
	free(s);
}

const uint8_t *store_secret(const struct store *s)
{
	return s->secret;
}

static json_t *device_line(const struct store_device *d)
{
	char text[KEY_TEXT_SIZE];
	json_t *line = json_pack(
		"{s:s, s:s, s:s, s:s, s:s}",
		"id",
		d->id.text,
		"external_id",
		d->external_id,
		"ipv4",
		d->ipv4,
		"ipv6",
		d->ipv6,
		"psk_base",
		key_text(text, d->psk_base));

	sodium_memzero(text, sizeof(text));
	return alloc_check(line);
}

const struct store_device *store_device_find(const struct store *s, const struct ident *id)
{
	const struct store_device key = {.id = *id};
	struct store_device *const *found = tfind(&key, &s->by_id, compare);

	return found != NULL ? *found : NULL;
}

const struct store_device *
store_device_get(struct store *s, const struct ident *id, const char *external_id)
{
	const struct store_device *found = store_device_find(s, id);
	struct store_device *d;
	struct ip_addr v4;
	struct ip_addr v6;
	char text[IP_TEXT_SIZE];
	int rc;

	if (found != NULL)
		return found;
	if (allocate(s, false, &v4) != 0 || allocate(s, true, &v6) != 0)
		return NULL;
	d = alloc_zero(1, sizeof(*d));
	d->id = *id;
	d->external_id = alloc_text(external_id);
	snprintf(d->ipv4, sizeof(d->ipv4), "%.15s", ip_addr_format(&v4, text));
	snprintf(d->ipv6, sizeof(d->ipv6), "%.45s", ip_addr_format(&v6, text));
	s->random(d->psk_base, sizeof(d->psk_base));
	rc = append(s, device_line(d), true);
	if (rc != 0) {
		device_free(d);
		return err_set_null(-rc);
	}
	alloc_check(tsearch(d, &s->by_id, compare));
	return d;
}

// A file on its way to become the new one.
struct rewrite {
	int fd;
	int rc;
};

static void rewrite_line(struct rewrite *w, json_t *line)
{
	const int rc = line_write(w->fd, line);

	if (w->rc == 0)
		w->rc = rc;
}

static void rewrite_device(const void *node, VISIT which, void *closure)
{
	if (which == postorder || which == leaf)
		rewrite_line(closure, device_line(*(struct store_device *const *)node));
}

static void rewrite_grant(const struct grant *g, void *arg)
{
	rewrite_line(arg, grant_line(g));
}

// Writes everything anew, without what is no more. When that fails the old file stays.
static void rewrite(struct store *s)
{
	char *path = alloc_format("%s.new", s->path);
	struct rewrite w = {
		.fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600),
	};

	// Also when it fails: not again at once.
	s->n_grant_lines = s->grants.n;
	if (w.fd >= 0) {
		rewrite_line(&w, secret_line(s));
		twalk_r(s->by_id, rewrite_device, &w);
		grants_walk(&s->grants, rewrite_grant, &w);
	}
	if (w.fd < 0 || w.rc != 0 || fsync(w.fd) != 0 || rename(path, s->path) != 0) {
		LOG(WARNING, "state file not cleared out path=%s error=%m", path);
		if (w.fd >= 0)
			close(w.fd);
		unlink(path);
	} else {
		close(s->fd);
		s->fd = w.fd;
	}
	free(path);
}

static void grant_append(struct store *s, json_t *line)
{
	const int rc = append(s, line, false);

	if (rc != 0)
		LOG_LIMITED(WARNING, "authorization not stored error=\"%s\"", strerror(-rc));
	s->n_grant_lines++;
	if (s->fd >= 0 && s->n_grant_lines > 2 * s->grants.n + STALE_LINES_MAX)
		rewrite(s);
}

void store_grant_put(struct store *s, const struct grant *g)
{
	grants_put(&s->grants, g);
	grant_append(s, grant_line(g));
}

void store_grant_del(struct store *s, const struct grant *triple)
{
	// A copy: it may be the one in the set.
	const struct grant key = *triple;

	if (grants_del(&s->grants, &key))
		grant_append(s, grant_end_line(&key));
}

void store_grant_walk(const struct store *s, void (*visit)(const struct grant *, void *), void *arg)
{
	grants_walk(&s->grants, visit, arg);
}
