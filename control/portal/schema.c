// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "control/portal/schema.h"

#include "control/base/log.h"
#include "control/portal/arena.h"

#include <sodium.h>

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define LOG_AREA "portal.schema"

struct walk {
	const char *event;
	struct portal_arena *arena;
	struct portal_error *err;
	size_t path_len;
	char path[128]; // our field names and indexes only, never the peer's text
};

static int value_parse(struct walk *w, const struct schema_field *f, const json_t *v, void *out);
static int object_parse(struct walk *w, const struct schema *s, const json_t *v, void *out);

[[gnu::format(printf, 2, 3)]] static int fail(struct walk *w, const char *fmt, ...)
{
	int len = snprintf(
		w->err->text,
		sizeof(w->err->text),
		w->path_len > 0 ? "%s: %s: " : "%s: %s",
		w->event,
		w->path);
	va_list args;

	if (len < 0 || (size_t)len >= sizeof(w->err->text))
		return -EBADMSG;
	va_start(args, fmt);
	vsnprintf(w->err->text + len, sizeof(w->err->text) - (size_t)len, fmt, args);
	va_end(args);
	return -EBADMSG;
}

// Appends to the path; the caller restores path_len.
[[gnu::format(printf, 2, 3)]] static void path_push(struct walk *w, const char *fmt, ...)
{
	size_t room = sizeof(w->path) - w->path_len;
	va_list args;
	int len;

	va_start(args, fmt);
	len = vsnprintf(w->path + w->path_len, room, fmt, args);
	va_end(args);
	if (len > 0)
		w->path_len += (size_t)len < room ? (size_t)len : room - 1;
}

static void path_pop(struct walk *w, size_t len)
{
	w->path_len = len;
	w->path[len] = '\0';
}

static int string_parse(struct walk *w, const struct schema_field *f, const json_t *v, void *out)
{
	size_t max = f->max > 0 ? (size_t)f->max : PORTAL_TEXT_SIZE;
	size_t len = json_string_length(v);
	char *copy;

	if (!json_is_string(v))
		return fail(w, "expected a string");
	if (len < (size_t)f->min || len > max)
		return fail(w, "expected %zu to %zu bytes of text", (size_t)f->min, max);
	copy = portal_arena_text(w->arena, json_string_value(v), len);
	if (copy == NULL)
		return -ENOMEM;
	memcpy(out, &copy, sizeof(copy));
	return 0;
}

static int uuid_value_parse(struct walk *w, const json_t *v, void *out)
{
	struct uuid u;

	if (!json_is_string(v) || uuid_parse(&u, json_string_value(v)) != 0)
		return fail(w, "expected a UUID");
	memcpy(out, &u, sizeof(u));
	return 0;
}

static int key_parse(struct walk *w, const json_t *v, void *out)
{
	uint8_t key[PORTAL_KEY_SIZE];
	size_t size = 0;
	int rc = -1;

	if (json_is_string(v))
		rc = sodium_base642bin(
			key,
			sizeof(key),
			json_string_value(v),
			json_string_length(v),
			NULL,
			&size,
			NULL,
			sodium_base64_VARIANT_ORIGINAL);
	if (rc == 0 && size == sizeof(key))
		memcpy(out, key, sizeof(key));
	sodium_memzero(key, sizeof(key));
	if (rc != 0 || size != sizeof(key))
		return fail(w, "expected base64 of 32 bytes");
	return 0;
}

static int ip_parse(struct walk *w, const struct schema_field *f, const json_t *v, void *out)
{
	static const char *const expected[] = {
		[SCHEMA_IPV4] = "an IPv4 address",
		[SCHEMA_IPV6] = "an IPv6 address",
		[SCHEMA_IP] = "an IP address",
	};
	struct ip_prefix p;

	// The prefix parser takes a bare address and "/32" or "/128" alike.
	if (!json_is_string(v) || ip_prefix_parse(&p, json_string_value(v)) != 0
	    || p.len != ip_addr_size(&p.addr) * 8
	    || (f->type == SCHEMA_IPV4 && p.addr.family != IP_FAMILY_V4)
	    || (f->type == SCHEMA_IPV6 && p.addr.family != IP_FAMILY_V6))
		return fail(w, "expected %s", expected[f->type]);
	memcpy(out, &p.addr, sizeof(p.addr));
	return 0;
}

static int prefix_parse(struct walk *w, const json_t *v, void *out)
{
	struct ip_prefix p;

	if (!json_is_string(v) || ip_prefix_parse(&p, json_string_value(v)) != 0)
		return fail(w, "expected a CIDR block without host bits");
	memcpy(out, &p, sizeof(p));
	return 0;
}

static int endpoint_parse(struct walk *w, const struct schema_field *f, const json_t *v, void *out)
{
	struct ip_endpoint e;

	if (!json_is_string(v) || ip_endpoint_parse(&e, json_string_value(v)) != 0 || e.port == 0)
		return fail(w, "expected \"address:port\"");
	if (f->type == SCHEMA_ENDPOINT_ADDR)
		memcpy(out, &e.addr, sizeof(e.addr));
	else
		memcpy(out, &e, sizeof(e));
	return 0;
}

static int bool_parse(struct walk *w, const json_t *v, void *out)
{
	bool b = json_is_true(v);

	if (!json_is_boolean(v))
		return fail(w, "expected true or false");
	memcpy(out, &b, sizeof(b));
	return 0;
}

static int int_parse(struct walk *w, const struct schema_field *f, const json_t *v, void *out)
{
	int64_t i = json_integer_value(v);

	if (!json_is_integer(v))
		return fail(w, "expected an integer");
	if (f->min != f->max && (i < f->min || i > f->max))
		return fail(w, "expected %lld to %lld", (long long)f->min, (long long)f->max);
	memcpy(out, &i, sizeof(i));
	return 0;
}

static int port_parse(struct walk *w, const json_t *v, void *out)
{
	int64_t i = json_integer_value(v);
	uint16_t port = (uint16_t)i;

	if (!json_is_integer(v) || i < 0 || i > UINT16_MAX)
		return fail(w, "expected a port of 0 to 65535");
	memcpy(out, &port, sizeof(port));
	return 0;
}

static int enum_parse(struct walk *w, const struct schema_field *f, const json_t *v, void *out)
{
	unsigned value = 0;

	if (!json_is_string(v))
		return fail(w, "expected a string");
	while (f->names[value] != NULL && strcmp(f->names[value], json_string_value(v)) != 0)
		value++;
	if (f->names[value] == NULL) {
		if ((f->flags & SCHEMA_ENUM_OPEN) == 0)
			return fail(w, "unknown value");
		value = (unsigned)f->fallback;
	}
	memcpy(out, &value, sizeof(value));
	return 0;
}

// RFC 8839 section 5.1: candidate:<foundation> <component> <transport> <priority> <address> ...
static bool is_candidate(const char *text)
{
	static const char prefix[] = "candidate:";
	const char *p = text;

	if (strncmp(text, prefix, sizeof(prefix) - 1) != 0)
		return false;
	for (const char *c = text; *c != '\0'; c++) {
		if (*c < 0x20 || *c > 0x7e)
			return false;
	}
	for (int field = 1; field < 4; field++) {
		p = strchr(p, ' ');
		if (p == NULL)
			return false;
		p++;
	}
	if (*p < '0' || *p > '9')
		return false;
	p += strspn(p, "0123456789");
	return *p == ' ';
}

static int candidate_parse(struct walk *w, const struct schema_field *f, const json_t *v, void *out)
{
	if (!json_is_string(v) || json_string_length(v) >= PORTAL_CANDIDATE_SIZE
	    || !is_candidate(json_string_value(v)))
		return fail(w, "expected a candidate line");
	return string_parse(w, f, v, out);
}

// Parses the elements into array. @return how many are good, or a negative errno
static int list_fill(
	struct walk *w,
	const struct schema_field *f,
	const json_t *v,
	unsigned char *array,
	size_t *n,
	size_t *n_skipped)
{
	size_t depth = w->path_len;
	size_t i;
	json_t *item;

	json_array_foreach(v, i, item) {
		unsigned char *slot = array + *n * f->element_size;
		int rc;

		path_push(w, "[%zu]", i);
		rc = value_parse(w, f->element, item, slot);
		path_pop(w, depth);
		if (rc == -EBADMSG && (f->flags & SCHEMA_SKIP_BAD) != 0) {
			LOG_LIMITED(WARNING, "left out: %s", w->err->text);
			memset(slot, 0, f->element_size);
			w->err->text[0] = '\0';
			++*n_skipped;
			continue;
		}
		if (rc != 0)
			return rc;
		++*n;
	}
	return 0;
}

// base is the struct that holds the list; pointer and count are at their own offsets.
static int
list_parse(struct walk *w, const struct schema_field *f, const json_t *v, unsigned char *base)
{
	unsigned char *array = NULL;
	size_t n = 0;
	size_t n_skipped = 0;
	int rc;

	if (!json_is_array(v))
		return fail(w, "expected a list");
	if (json_array_size(v) > (size_t)f->max)
		return fail(w, "more than %lld entries", (long long)f->max);
	if ((f->flags & SCHEMA_ELSE) != 0) {
		memcpy(&n, base + f->count_offset, sizeof(n));
		if (n > 0)
			return 0;
	}
	if (json_array_size(v) > 0) {
		array = portal_arena_alloc(w->arena, json_array_size(v) * f->element_size);
		if (array == NULL)
			return -ENOMEM;
		rc = list_fill(w, f, v, array, &n, &n_skipped);
		if (rc != 0)
			return rc;
	}
	memcpy(base + f->offset, &array, sizeof(array));
	memcpy(base + f->count_offset, &n, sizeof(n));
	if (f->skipped_offset != 0)
		memcpy(base + f->skipped_offset, &n_skipped, sizeof(n_skipped));
	return 0;
}

static int value_parse(struct walk *w, const struct schema_field *f, const json_t *v, void *base)
{
	unsigned char *out = (unsigned char *)base + f->offset;

	switch (f->type) {
	case SCHEMA_STRING:
		return string_parse(w, f, v, out);
	case SCHEMA_UUID:
		return uuid_value_parse(w, v, out);
	case SCHEMA_KEY:
		return key_parse(w, v, out);
	case SCHEMA_IPV4:
	case SCHEMA_IPV6:
	case SCHEMA_IP:
		return ip_parse(w, f, v, out);
	case SCHEMA_PREFIX:
		return prefix_parse(w, v, out);
	case SCHEMA_ENDPOINT:
	case SCHEMA_ENDPOINT_ADDR:
		return endpoint_parse(w, f, v, out);
	case SCHEMA_BOOL:
		return bool_parse(w, v, out);
	case SCHEMA_INT:
		return int_parse(w, f, v, out);
	case SCHEMA_PORT:
		return port_parse(w, v, out);
	case SCHEMA_ENUM:
		return enum_parse(w, f, v, out);
	case SCHEMA_CANDIDATE:
		return candidate_parse(w, f, v, out);
	case SCHEMA_OBJECT:
		return object_parse(w, f->object, v, out);
	case SCHEMA_LIST:
		return list_parse(w, f, v, base);
	}
	return fail(w, "unknown schema type");
}

static void fallback_apply(const struct schema_field *f, unsigned char *out)
{
	uint16_t port = (uint16_t)f->fallback;
	unsigned value = (unsigned)f->fallback;

	switch (f->type) {
	case SCHEMA_INT:
		memcpy(out, &f->fallback, sizeof(f->fallback));
		break;
	case SCHEMA_PORT:
		memcpy(out, &port, sizeof(port));
		break;
	case SCHEMA_ENUM:
		memcpy(out, &value, sizeof(value));
		break;
	default:
		break;
	}
}

// A lenient value that turned out bad must not leave half of itself behind.
static void lenient_clear(const struct schema_field *f, unsigned char *out)
{
	const char *none = NULL;

	if (f->type == SCHEMA_OBJECT)
		memset(out, 0, f->object->size);
	else if (f->type == SCHEMA_STRING)
		memcpy(out, &none, sizeof(none));
	else
		fallback_apply(f, out);
}

static int
field_parse(struct walk *w, const struct schema_field *f, const json_t *object, unsigned char *base)
{
	const json_t *v = json_object_get(object, f->name);
	const json_t *other = f->alias != NULL ? json_object_get(object, f->alias) : NULL;
	size_t depth = w->path_len;
	const char *name = v == NULL && other != NULL ? f->alias : f->name;
	int rc = 0;

	path_push(w, depth > 0 ? ".%s" : "%s", name);
	if (v != NULL && other != NULL)
		rc = fail(w, "given twice, also as %s", f->alias);
	else if (v == NULL)
		v = other;
	if (rc == 0 && (v == NULL || json_is_null(v))) {
		if ((f->flags & SCHEMA_OPTIONAL) != 0)
			fallback_apply(f, base + f->offset);
		else
			rc = fail(w, v == NULL ? "missing" : "null, but required");
	} else if (rc == 0) {
		rc = value_parse(w, f, v, base);
	}
	if (rc == -EBADMSG && (f->flags & SCHEMA_LENIENT) != 0) {
		LOG_LIMITED(INFO, "not understood: %s", w->err->text);
		lenient_clear(f, base + f->offset);
		w->err->text[0] = '\0';
		rc = 0;
	}
	path_pop(w, depth);
	return rc;
}

static int object_parse(struct walk *w, const struct schema *s, const json_t *v, void *out)
{
	if (!json_is_object(v))
		return fail(w, "expected an object");
	for (; s != NULL; s = s->next != NULL ? s->next(out) : NULL) {
		const char *wrong;

		for (size_t i = 0; i < s->n_fields; i++) {
			int rc = field_parse(w, &s->fields[i], v, out);

			if (rc != 0)
				return rc;
		}
		wrong = s->check != NULL ? s->check(out) : NULL;
		if (wrong != NULL)
			return fail(w, "%s", wrong);
	}
	return 0;
}

int schema_parse(
	const struct schema_field *root,
	const json_t *value,
	void *out,
	struct portal_arena *arena,
	const char *event,
	struct portal_error *err)
{
	struct walk w = {.event = event, .arena = arena, .err = err};

	err->text[0] = '\0';
	return value_parse(&w, root, value, out);
}
